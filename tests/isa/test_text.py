"""Text from outside: nothing that a terminal obeys reaches a message, nothing that ends a comment or a string reaches a source."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from asm import assemble
from asm.syntax import String, parse_operands
from compiler.emit import Emitter
from isa.text import printable, quoted, shortened


@given(st.text())
def test_printable_text_holds_nothing_that_a_terminal_obeys(text: str) -> None:
    shown = printable(text)
    assert not any(character < " " or "\x7f" <= character <= "\x9f" for character in shown)
    shown.encode()                                          # no halves of surrogate pairs


def test_what_is_escaped_and_what_stays() -> None:
    assert printable("\x1b]52;c;aGk=\x07\n\u202eabc\udcff\x9b1m") == "\\x1b]52;c;aGk=\\x07\\n\\u202eabc\\udcff\\x9b1m"
    assert printable("a\nb\tc\r", keep="\n\t") == "a\nb\tc\\r"
    assert printable("naïve λ 模型 🎉 \\n") == "naïve λ 模型 🎉 \\n"


@given(st.binary())
def test_a_quoted_name_reads_back_as_its_bytes(data: bytes) -> None:
    text = quoted(os.fsdecode(data))
    (operand,) = parse_operands(text)
    assert isinstance(operand, String) and operand.value == data
    assert "\n" not in text and "\r" not in text
    assert os.fsencode(operand.path()) == data


def test_files_of_any_name_are_found(tmp_path: Path) -> None:
    for number, name in enumerate(('new\nline', 'quo"te', "back\\slash", "\x1b[2J", "é", "dot; .error", os.fsdecode(b"\xff\xfe"))):
        (tmp_path / name).write_bytes(bytes([number]))
        (tmp_path / f"{name}.inc").write_text(f".byte {number}\n")
        source = f".data\n.incbin {quoted(name)}\n.include {quoted(name + '.inc')}\n"
        assert assemble(source, include_paths=[tmp_path]).sections[-1].bytes() == bytes([number, number])


def test_comments_of_compiled_programs_stay_comments() -> None:
    emitter = Emitter()
    emitter.heading("model\n.error \"from outside\"")
    emitter.comment("layer\r\n.error \"from outside\"")
    emitter.line("nop", "tensor\n.error \"from outside\"")
    assert len(assemble("\n".join(emitter.lines)).sections[0].bytes()) == 4


def test_long_texts_lose_their_middle() -> None:
    assert shortened("short", 20) == "short"
    assert shortened("a" * 50 + "b" * 50, 25) == "a" * 10 + " ... " + "b" * 10
