"""Diagnostics of sources that come from anywhere: escaped, and no longer than a person reads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from asm import Assembly, assemble_with_listing
from asm.listing import listing


def failed(source: str | Path) -> Assembly:
    assembly = assemble_with_listing(source)
    assert assembly.program is None
    return assembly


def test_nothing_that_a_terminal_obeys_is_printed(tmp_path: Path) -> None:
    path = tmp_path / "\x1b[2J\n.s"
    path.write_text(".error \"\x1b]52;c;aGk=\x07\"\n\x1b[31m\nadd a0, \u202ea1, \x9b1m, x\n.globl \x1b\n .include \"\x1b.s\"\n"
                    ".macro m a\n frob \\a\n.endm\n m \"\x1b[1m\"\nx: .section \"\x1b\"\nx: nop\n.machine \x1b\n.option \x1b\n")
    assembly = failed(path)
    text = "\n".join(map(str, assembly.diagnostics)) + "\n".join(listing(assembly))
    assert len(assembly.diagnostics) > 6
    assert re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text) is None
    assert "\\x1b]52;c;aGk=\\x07" in text and "\\x1b[2J\\n.s:2" in text


def test_the_caret_stands_under_an_escaped_character() -> None:
    (diagnostic,) = failed("nop\n add \x1b\x1b, @@\n").diagnostics
    _, line, caret = str(diagnostic).splitlines()
    assert line[caret.index("^"):].startswith("\\x1b") and caret.count("^") == 4


LONG = ["x" * 40_000 + " a0", "nop " + "y" * 40_000, " .word " + "z" * 40_000, "# " + "c" * 40_000 + "\n}",
        "nop;" * 10_000 + "addi a0, a0, 5000;" + "nop;" * 10_000, "a" * 40_000 + ": ;" + "a" * 40_000 + ":",
        ".macro m\n frob \\@ " + "q" * 40_000 + "\n.endm\n" + "m;" * 3, ".section " + "s" * 40_000 + "\x01, 5"]


@pytest.mark.parametrize("source", LONG, ids=range(len(LONG)))
def test_a_long_line_is_cut_around_the_caret(source: str) -> None:
    for diagnostic in failed(source).diagnostics:
        assert len(str(diagnostic)) < 2000
        assert all(len(line) < 700 for line in str(diagnostic).splitlines())
