"""The assembler's tests are source files: tests/asm/FEATURE/ok_*.s and err_*.s, with the expectation in the line.

    addi a0, a0, 1          # = 0x00150513              what the line makes: numbers, little-endian, as wide as they are written
    addi a0, a0, 5000       # error: out of range       part of a message that belongs to this line
                            # hint: ... and note: ... after it on the same line are parts of the same diagnostic

In an ok file every "=" must hold; in an err file every diagnostic must be expected, and every expectation met.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from asm import Diagnostic, assemble_with_listing

HERE = Path(__file__).parent
EXPECTED_BYTES = re.compile(r"#\s*=\s*(0x[0-9a-fA-F]+(?:\s+0x[0-9a-fA-F]+)*)\s*$")
EXPECTED_MESSAGE = re.compile(r"#\s*(error|warning|hint|note):\s*([^#]*[^#\s])")


@pytest.mark.parametrize("path", sorted(HERE.glob("*/ok_*.s")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_ok(path: Path) -> None:
    assembly = assemble_with_listing(path)
    assert not assembly.diagnostics, "\n".join(map(str, assembly.diagnostics))
    checked = 0
    for line in assembly.listing:
        expected = EXPECTED_BYTES.search(line.text)
        if expected is not None:
            numbers = [word[2:] for word in expected[1].split()]
            assert line.data == b"".join(bytes.fromhex(digits)[::-1] for digits in numbers), f"{line.file}:{line.line}: {line.text}"
            checked += 1
    assert checked, "no expectation in the file"


@pytest.mark.parametrize("path", sorted(HERE.glob("*/err_*.s")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_err(path: Path) -> None:
    assembly = assemble_with_listing(path)
    assert assembly.program is None
    found = [diagnostic for diagnostic in assembly.diagnostics if diagnostic.span.file == str(path)]
    assert len(found) == len(assembly.diagnostics)
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        expected = EXPECTED_MESSAGE.findall(text)
        mine = [diagnostic for diagnostic in found if diagnostic.span.line == number]
        wanted = sum(kind in ("error", "warning") for kind, _ in expected)
        shown = "\n".join(map(str, mine)) or "nothing"
        assert len(mine) == wanted, f"{path.name}:{number}: {text}\nfound:\n{shown}"
        for kind, words in expected:
            parts = [part for diagnostic in mine for part in _parts(diagnostic, kind)]
            assert any(words in part for part in parts), f"{path.name}:{number}: {kind}: {words}\nfound:\n{shown}"


def _parts(diagnostic: Diagnostic, kind: str) -> list[str]:
    if kind == "hint":
        return [diagnostic.hint]
    if kind == "note":
        return [str(note) for note in diagnostic.notes]
    return [diagnostic.message] if diagnostic.severity == kind else []
