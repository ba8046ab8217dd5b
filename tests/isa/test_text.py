"""Text from outside: nothing that a terminal obeys reaches a message, nothing that ends a comment or a string reaches a source."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asm import assemble
from asm.syntax import String, parse_operands
from compiler.lowering.emit import Emitter
from isa.program import Line, Program, Section, Symbol
from isa.text import counted, printable, quoted, shortened
from slimulator import invoke
from slimulator.commands.shared import to_stdout


def test_one_is_no_plural() -> None:
    assert [counted(count, "document") for count in (0, 1, 2)] == ["0 documents", "1 document", "2 documents"]
    assert counted(1234, "token", ",") == "1,234 tokens"


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
    emitter.comment("layer\r\n.error \"from outside\"")
    emitter.line("nop", "tensor\n.error \"from outside\"")
    assert len(assemble("\n".join(emitter.lines)).sections[0].bytes()) == 4


def test_long_texts_lose_their_middle() -> None:
    assert shortened("short", 20) == "short"
    assert shortened("a" * 50 + "b" * 50, 25) == "a" * 10 + " ... " + "b" * 10


def test_no_command_lets_a_file_speak_to_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names of files, symbols and sections that hold escape sequences, in messages, traps, listings and the debugger."""
    evil = "\x1b]52;c;aGk=\x07\x9b31m"
    program = Program([Section(f".text{evil}", "ax", 0x8000_0000, 4, [bytes(8)])], [Symbol(f"main{evil}", 0x8000_0000,
                      section=f".text{evil}")], [Line(0x8000_0000, f"{evil}.s", 1)], 0x8000_0000)
    path, script = tmp_path / f"a{evil}.elf", tmp_path / "script"
    program.save(path)
    script.write_text(f"where\nprint main{evil}\nx main{evil}\nlist\ndisassemble\nbreak *0x80000004\nnonsense{evil}\n")
    shown = ""
    for arguments in (["run", "--engine", "reference", str(path)], ["run", str(tmp_path / f"no{evil}.elf")],
                      ["asm", str(tmp_path / f"no{evil}.s")], ["debug", "--engine", "reference", str(path), "-x", str(script)],
                      ["disasm", str(path), "--section", f"no{evil}"], ["run", str(path), f"--no{evil}"], [f"no{evil}"]):
        assert invoke(arguments) in (1, 2)
        captured = capsys.readouterr()
        shown += captured.err + captured.out
    assert re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown) is None
    assert shown.count("\\x1b]52") >= 7


def test_what_is_printed_on_a_terminal_is_escaped_and_in_a_pipe_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for terminal in (True, False):
        stream = io.StringIO()
        monkeypatch.setattr(stream, "isatty", lambda terminal=terminal: terminal)
        monkeypatch.setattr("sys.stdout", stream)
        to_stdout(["\x1b[2J\tx"])
        assert stream.getvalue() == ("\\x1b[2J\tx\n" if terminal else "\x1b[2J\tx\n")


def test_a_machines_words_are_escaped_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.toml"
    text = (Path(__file__).parents[2] / "isa" / "machines" / "slim.toml").read_text()
    path.write_text(re.sub(r'^title = ".*"', r'title = "\\u001b[2J"', text, flags=re.M))
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdout", stream)
    assert invoke(["machines", str(path)]) == 0
    assert "\\x1b[2J" in stream.getvalue() and "\x1b" not in stream.getvalue()
