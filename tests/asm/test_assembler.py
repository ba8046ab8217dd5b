"""What source files of tests/asm cannot show: the API, whole-file mistakes, placement, bounded memory, how diagnostics look."""

from __future__ import annotations

import struct
import tracemalloc
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machine_files import without_unit

from asm import Assembly, AssemblyError, assemble, assemble_with_listing
from asm.syntax import parse_operands
from isa.instruction import TABLE, Row, decode
from isa.preset import PRESETS, load_preset
from isa.program import FileSlice, Program


def words(program: Program) -> list[int]:
    section = program.section(".text")
    assert section is not None
    data = section.bytes()
    return [int.from_bytes(data[at:at + 4], "little") for at in range(0, len(data), 4)]


def failed(source: str | Path) -> Assembly:
    assembly = assemble_with_listing(source)
    assert assembly.program is None
    return assembly


# ------------------------------------------------------------------------------------------------ the API


def test_text_and_file_give_the_same(tmp_path: Path) -> None:
    source = "_start: li a0, 7\n ecall\n"
    path = tmp_path / "a.s"
    path.write_text(source)
    assert words(assemble(source)) == words(assemble(path)) == [0x00700513, 0x00000073]
    assert assemble(path).lines[1].file == str(path)
    assert assemble(path).lines[1].line == 2


def test_a_file_name_as_text_is_explained() -> None:
    diagnostic, = failed("programs/hello.s").diagnostics
    assert "as source text" in diagnostic.message
    assert diagnostic.hint == "for the file: assemble(Path('programs/hello.s'))"


def test_a_program_is_short_at_the_prompt() -> None:
    text = repr(assemble("_start: nop\n.data\n.rept 1000\n.dword 5\n.endr\n"))
    assert "Section('.data', 'aw', 0x80001000..0x80002f40)" in text
    assert len(text) < 300


def test_defines_and_include_paths(tmp_path: Path) -> None:
    (tmp_path / "inc").mkdir()
    (tmp_path / "inc" / "x.inc").write_text(".equ from_include, 3\n")
    source = '.include "x.inc"\n .ifdef N\n li a0, N + from_include\n .endif\n'
    program = assemble(source, include_paths=[tmp_path / "inc"], defines={"N": 4})
    assert words(program) == [0x00700513]
    with pytest.raises(AssemblyError, match=r"file not found: x\.inc"):
        assemble(source, defines={"N": 4})


def test_machine() -> None:
    assert assemble("nop").machine == load_preset("slim")
    assert assemble("nop", machine="slim-llama").machine == load_preset("slim-llama")
    assert assemble("nop", machine=load_preset("slim-llama")).machine == load_preset("slim-llama")
    assert assemble(".machine slim-llama\nnop").machine == load_preset("slim-llama")
    with pytest.raises(AssemblyError, match="no machine preset 'slm'"):
        assemble("nop", machine="slm")


def test_metadata_of_files() -> None:
    assert assemble("nop").meta == {}
    assert assemble(Path(__file__).parent / "includes" / "ok_include.s").meta == {"model": {"dim": 64}, "of": "two"}


def test_entry_is_start_or_the_beginning_of_text() -> None:
    assert assemble("nop\n_start: nop").entry == 0x8000_0004
    assert assemble("nop").entry == 0x8000_0000


def test_symbols() -> None:
    program = assemble(".globl f\n.type f, @function\nf: nop\n.size f, . - f\n.equ K, 5\n1: nop\n.Lhidden: nop\n")
    assert {symbol.name for symbol in program.symbols} == {"f", "K"}
    f, k = program.symbol("f"), program.symbol("K")
    assert f is not None and (f.value, f.size, f.kind, f.binding, f.section) == (0x8000_0000, 4, "func", "global", ".text")
    assert k is not None and (k.value, k.section) == (5, None)


def test_listing_and_symbols_in_spite_of_errors() -> None:
    assembly = failed("f: nop\n addi a0, a0, 5000\n g: .word 1\n")
    assert [(line.line, line.address, line.size) for line in assembly.listing] == [
        (1, 0x8000_0000, 4), (2, 0x8000_0004, 0), (3, 0x8000_0004, 4)]
    assert [symbol.name for symbol in assembly.symbols] == ["f", "g"]


def test_listing_origin_of_macro_lines() -> None:
    listing = assemble_with_listing(".macro two x\n nop\n li a0, \\x\n.endm\n two 5\n").listing
    inner = [line for line in listing if line.depth]
    assert [(line.line, line.text) for line in inner] == [(2, " nop"), (3, " li a0, 5")]
    assert [(frame.kind, frame.name, frame.line) for frame in inner[0].origin] == [("macro", "two", 5)]


def test_lines_of_macros_are_those_of_the_call() -> None:
    program = assemble(".macro two\n nop\n nop\n.endm\n two\n nop\n")
    assert [(line.address, line.line) for line in program.lines] == [(0x8000_0000, 5), (0x8000_0004, 5), (0x8000_0008, 6)]


# ------------------------------------------------------------------------------------------------ whole-file mistakes


def test_empty() -> None:
    for source in ("", "\n\n", "# nothing\n", ".equ x, 1\n"):
        assert "there is nothing to assemble" in failed(source).diagnostics[0].message


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "latin.s"
    path.write_bytes(b"nop\n# caf\xe9\n")
    assert "is not UTF-8 text: byte 0xe9 in line 2" in failed(path).diagnostics[0].message


def test_text_that_no_file_can_hold() -> None:
    assert "is not UTF-8 text" in failed('.ascii "\udc80"\n').diagnostics[0].message


def test_line_ends_and_byte_order_mark_of_text() -> None:
    assert words(assemble("\ufeffnop\r\naddi a0, a0, 1\r\n")) == [0x0000_0013, 0x0015_0513]


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"nothing\.s"):
        assemble(tmp_path / "nothing.s")


def test_very_long_line() -> None:
    source = "nop\n addi a0, a0, 1 " + "+ 1 " * 250_000 + "\n nop nop\n"
    diagnostics = failed(source).diagnostics
    assert [diagnostic.span.line for diagnostic in diagnostics] == [2, 3]
    assert all(len(line) < 300 for diagnostic in diagnostics for line in str(diagnostic).splitlines())
    assert len(words(assemble(" .byte " + "1, " * 300_000 + "1\n .balign 4\n"))) >= 75_000


def test_deep_nesting() -> None:
    for text, value in (("(" * 5000 + "1" + ")" * 5000, 1), ("-" * 5000 + "1", 1), ("f" + "+f" * 5000, 15_003),
                        ("~(" * 5001 + "f" + ")" * 5001, ~3),
                        ("1 + " * 20_000 + "1", 20_001), ("1 + (" * 5000 + "f" + ")" * 5000, 5003)):
        assert words(assemble(f".word {text}\n.equ f, 3\n")) == [value % (1 << 32)]
        assert words(assemble(f".equ f, 3\nli a0, ({text}) * 0 + 1\n")) == [0x00100513]
    assert words(assemble(".text\n.float " + "-(" * 5001 + "1.5" + ")" * 5001)) == [0xBFC00000]


def test_endless_numbers_are_refused() -> None:
    for text in (".word " + "9" * 5000, ".float 0." + "1" * 5000, ".set x, 3\n.rept 40\n.set x, x * x\n.endr", ".org 1 << 62",
                 ".data\n.zero 1 << 47", ".balign 1 << 1000 << 1000"):
        assert all(len(str(diagnostic)) < 500 for diagnostic in failed(text + "\nnop\n").diagnostics)


def test_defines_that_cannot_be() -> None:
    diagnostics = assemble_with_listing("x: nop\n", defines={".": 1, "x": 2}).diagnostics
    assert [diagnostic.message for diagnostic in diagnostics] == [
        "definition of .: `.` cannot be assigned: use .org", "`x` is defined twice"]
    assert not diagnostics[1].notes                         # the first definition is in no line


@pytest.mark.parametrize(("before", "wrong", "after"), [            # the error is under `wrong`
    ("nop; .macro m  ", "1x", "\n.endm"),
    ("nop; .macro m a ", "a", "\n.endm"),
    ("nop; .if 1 ", "2", "\n.endif"),
    ("nop; .if ", "nowhere", " + 1\n.endif"),
    ("nop; .if ", "1, 2", "\n.endif"),
    (".if 0\n  .elseif 1 ", "2", "\n.endif"),
    ("nop; .ifdef ", "a b", "\n.endif"),
    ("nop; .rept 1 ", "x", "\n.endr"),
    ("nop; .rept ", "3 - 4", "\n nop\n.endr"),
    ("nop; .include ", "part", ""),
    ("nop; .include ", '""', ""),
    ("nop; .incbin ", "part", ""),
    (".macro m a\n.endm\n nop; m 1, ", "2", ""),
    (".macro m a:req, b\n.endm\n nop; ", "m b=2", ""),
    ("x: ", "frob", " a0"),
    ("nop; ", ".frob", " 1"),
])
def test_an_error_of_preprocessing_is_under_its_words(before: str, wrong: str, after: str) -> None:
    (diagnostic,) = failed(f"{before}{wrong}{after}\n").diagnostics
    assert (diagnostic.span.column, diagnostic.span.length) == (1 + len(before.rpartition("\n")[2]), len(wrong))


def test_err_takes_no_text() -> None:
    """As in GNU as: `.error` has one."""
    for line, message in ((".err", ".err here"), ('.err "text"', ".err takes no operand"),
                          (".err two words", ".err takes no operand"), (".error", ".error here"), ('.error "text"', "text"),
                          (".error text", "`text` where .error expects a string in double quotes"),
                          ('.error "a", "b"', ".error takes 0 to 1 operands, 2 given")):
        assert [diagnostic.message for diagnostic in failed(f" nop\n {line}\n").diagnostics] == [message]


def test_recursive_include(tmp_path: Path) -> None:
    (tmp_path / "a.s").write_text('nop\n.include "b.s"\n')
    (tmp_path / "b.s").write_text('.include "a.s"\n')
    (diagnostic,) = failed(tmp_path / "a.s").diagnostics
    assert diagnostic.message == "recursive include: a.s is already being read"
    assert [note.span.file for note in diagnostic.notes] == [str(tmp_path / "a.s")]


def test_long_chains_of_definitions() -> None:
    chain = "".join(f".set y{number + 1}, y{number} + 1\n" for number in range(1200))
    for use in ("li a0, y1200\n.zero 4 * 1199", ".zero y1200 * 4", ".org y1200 * 4", ".zero y1200 * 4 - 4\n.word y1200"):
        program = assemble(f"{chain}{use}\n.set y0, 1\n")
        assert program.sections[0].size == 4 * 1201 - 4 * ("li" in use)
        symbol = program.symbol("y1200")
        assert symbol is not None and symbol.value == 1201


def test_definitions_that_double_are_worked_out_once() -> None:
    chain = "".join(f".set y{number + 1}, y{number} + y{number}\n" for number in range(60))
    assert words(assemble(f".text\n{chain}\n.word y60 / y59\n.set y0, 1\n")) == [2]
    late = "nop\n.word (y59 - y58) >> 59\n nop\n2:\n.set y0, 2b - start\n.set start, 2b - 8\n"
    assert words(assemble(chain + late))[1] == 4


def test_definitions_in_terms_of_themselves() -> None:
    for source in (".set a, b + 1\n.set b, a + 1\n.word a\n", ".set a, a + 1\n.word a",
                   ".equiv a, b\n.equiv b, c\n.equiv c, a\n nop"):
        assert any("in terms of itself" in diagnostic.message for diagnostic in failed(source).diagnostics)


def test_many_undefined_names_take_no_minutes() -> None:
    labels = "".join(f"label{number}: nop\n" for number in range(5000))
    diagnostics = failed(labels + "".join(f" j lebel{number}\n" for number in range(500))).diagnostics
    assert len(diagnostics) == 500
    hints = [diagnostic.hint for diagnostic in diagnostics]
    assert hints[0] == "did you mean `label0`?" and 0 < hints.count("") < 500


def test_every_error_is_reported() -> None:
    source = "".join(f" addi a0, a0, {5000 + number}\n" for number in range(200))
    assert len(failed(source).diagnostics) == 200


# ------------------------------------------------------------------------------------------------ how it looks


def test_picture() -> None:
    (diagnostic,) = failed("nop\n\taddi\ta0, a0, 5000  # why\n").diagnostics
    assert str(diagnostic) == (
        "<text>:2:15: error: 5000 is out of range for the immediate of addi: -2048..2047\n"
        "     addi a0, a0, 5000  # why\n"
        "                  ^^^^")


def test_macro_chain(tmp_path: Path) -> None:
    path = tmp_path / "m.s"
    path.write_text(".macro inner x\n addi a0, a0, \\x\n.endm\n.macro outer x\n inner \\x\n.endm\n outer 9999\n")
    (diagnostic,) = failed(path).diagnostics
    assert diagnostic.span.line == 2
    assert diagnostic.span.text == " addi a0, a0, 9999"
    assert [(note.span.line, note.message) for note in diagnostic.notes] == [
        (5, "in the expansion of macro `inner`, called here"), (7, "in the expansion of macro `outer`, called here")]


def test_errors_come_in_reading_order() -> None:
    lines = [diagnostic.span.line for diagnostic in failed(" j nowhere\n addi a0, a0, 5000\n .word gone\n frob\n").diagnostics]
    assert lines == [1, 2, 3, 4]


@settings(deadline=None)
@given(st.text(alphabet="a0 x,()+-*/%<>=!~'\"\\@.:;#1fb\t[]{}é", max_size=30))
def test_any_text_gives_a_program_or_diagnostics(text: str) -> None:
    for source in (text, f" add {text}\n", f" .word {text}\n", f".macro m a\n{text}\n.endm\n m {text}\n"):
        assembly = assemble_with_listing(source)
        assert assembly.program is not None or assembly.diagnostics
        messages = "\n".join(map(str, assembly.diagnostics))
        assert "__ANON" not in messages and "LPAR" not in messages and "$END" not in messages
        assert assembly.listing is not None


# ------------------------------------------------------------------------------------------------ placement and memory


def test_regions_and_order() -> None:
    program = assemble(".bss\n.zero 8\n.data\n.byte 1\n.section .rodata\n.byte 1\n.section .hbm.kv\n.byte 1\n"
                       ".section .flash\n.byte 1\n.section .sram\n.zero 4\n.section mine\n.byte 2\n.text\nnop\n")
    assert [(section.name, section.address) for section in program.sections] == [
        (".sram", 0x1000_0000), (".text", 0x8000_0000), (".rodata", 0x8000_1000), (".data", 0x8000_2000), ("mine", 0x8000_2001),
        (".bss", 0x8000_3000), (".flash", 0x10_0000_0000), (".hbm.kv", 0x20_0000_0000)]
    sram, bss = program.section(".sram"), program.section(".bss")
    assert sram is not None and bss is not None
    assert (sram.zero_size, bss.zero_size) == (4, 8)


def test_scratchpad_keeps_an_instruction_that_was_read_before() -> None:
    """A section without contents is zeros; an instruction whose bytes are known from an earlier line is contents too."""
    section = assemble("nop\n.section .sram\nnop\n").section(".sram")
    assert section is not None and (section.bytes(), section.zero_size) == (bytes.fromhex("13000000"), 0)


def test_sections_flow_around_fixed_ones() -> None:
    program = assemble(".section .a, \"aw\"\n.address 0x80000000\n.fill 5000, 1, 1\n.text\nnop\n")
    text = program.section(".text")
    assert text is not None and text.address == 0x8000_2000
    spans = sorted((section.address, section.end) for section in program.sections)
    assert all(first[1] <= second[0] for first, second in pairwise(spans))


def test_a_gigabyte_stays_in_its_file(tmp_path: Path) -> None:
    with (tmp_path / "weights.bin").open("wb") as stream:
        stream.truncate(1 << 30)
    source = '.section .flash\nw: .incbin "weights.bin", 4096, (1 << 30) - 8192\nend: .byte 1\n.text\n_start: la a0, end\n'
    (tmp_path / "a.s").write_text(source)
    tracemalloc.start()
    assembly = assemble_with_listing(tmp_path / "a.s")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert assembly.program is not None and peak < 20 << 20
    flash = assembly.program.section(".flash")
    assert flash is not None and flash.size == (1 << 30) - 8191
    assert flash.chunks[0] == FileSlice(str(tmp_path / "weights.bin"), 4096, (1 << 30) - 8192)
    assert assembly.listing[1].size == (1 << 30) - 8192
    assert len(assembly.listing[1].data) == 64


def test_files_that_a_caller_gives_are_not_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor opened, if they are there. Contents are taken whole."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").write_bytes(b"of somebody else")
    given = FileSlice("nowhere", 0, 100)
    source = '.meta "card"\n.section .flash\nw: .incbin "weights"\n.byte 1\n.text\n_start: nop\n'
    program = assemble(source, files={"weights": given, "card": b'{"name": "m"}'})
    flash = program.section(".flash")
    assert flash is not None and flash.chunks == [given, bytearray(b"\1")] and program.meta == {"name": "m"}
    with pytest.raises(AssemblyError, match="takes 1 operand, 2 given"):
        assemble(source.replace('"weights"', '"weights", 4'), files={"weights": given, "card": b"{}"})


@pytest.mark.parametrize(("contents", "wrong"), [
    (b"", "card is not JSON"), (b"[", "card is not JSON"), (b"\xff", "card is not JSON"), (b"NaN", "card is not JSON"),
    (b"[1]", "card holds list; expected a JSON object"), (b"null", "card holds NoneType; expected a JSON object")])
def test_contents_that_a_caller_gives_are_checked_as_a_file_is(contents: bytes, wrong: str) -> None:
    with pytest.raises(AssemblyError, match=f"2:1: error: {wrong}"):
        assemble('_start: nop\n.meta "card"\n', files={"card": contents})


def test_large_fills_are_bounded() -> None:
    tracemalloc.start()
    program = assemble(".data\n.fill 1 << 27, 4, 0x01020304\n.byte 5\n.bss\n.zero 1 << 32\n.text\nnop\n")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 << 20
    data = program.section(".data")
    assert data is not None and data.size == (1 << 29) + 1
    assert next(data.blocks())[:8] == bytes([4, 3, 2, 1, 4, 3, 2, 1])


# ------------------------------------------------------------------------------------------------ instructions


@pytest.mark.parametrize("row", TABLE.values(), ids=lambda row: row.mnemonic)
def test_every_row_assembles_from_its_syntax(row: Row) -> None:
    """Each operand at its lowest and its highest value: what is decoded is what was written."""
    for end in ("minimum", "maximum"):
        values = {operand.name: getattr(operand.field, end) for operand in row.operands}
        text = row.syntax
        spelled = {operand.field.name if operand.field.name in text else operand.name: operand for operand in row.operands}
        parts = []
        for word in text.replace("(", " ( ").replace(")", " ) ").replace(",", " , ").split():
            operand = spelled.get(word)
            if operand is None:
                parts.append(word)
            elif operand.is_register:
                parts.append(f"x{values[operand.name]}")
            elif operand.role == "target":
                parts.append(f". + {values[operand.name]}")
            elif operand.role == "fence set":
                parts.append("".join(letter for bit, letter in enumerate("wroi") if values[operand.name] >> bit & 1)[::-1] or "0")
            else:
                parts.append(str(values[operand.name]))
        source = f"{row.mnemonic} {' '.join(parts)}"
        if row.format.name == "J":
            source = f".address 0x80200000\n{source}"
        if row.format.name == "B":
            source = f".address 0x80200000\n.zero 8192\n{source}\n.zero 8192"
        word, = (w for w in words(assemble(source)) if w)
        assert decode(word) == (row, values), source


@given(st.integers(-(1 << 63), (1 << 64) - 1))
@settings(deadline=None)
def test_li_gives_the_value(value: int) -> None:
    register = 0
    for word in words(assemble(f"li a0, {value}")):
        row, operands = decode(word) or (None, {})
        assert row is not None
        match row.mnemonic:
            case "lui":
                register = (operands["imm"] << 12 ^ 1 << 31) - (1 << 31)
            case "addi" | "addiw":
                register = (register if operands["rs1"] else 0) + operands["imm"]
                if row.mnemonic == "addiw":
                    register = (register + (1 << 31)) % (1 << 32) - (1 << 31)
            case "slli":
                register <<= operands["shamt6"]
    assert register % (1 << 64) == value % (1 << 64)


@given(st.floats(width=32))
@settings(deadline=None)
def test_float_is_correctly_rounded(value: float) -> None:
    program = assemble(f".data\n.float {value!r}\n.double {value!r}\n")
    section = program.section(".data")
    assert section is not None
    single, double = struct.unpack("<fd", section.bytes())
    assert repr((single, double)) == repr((value, value))       # also for nan, and for the sign of zero


def test_equal_operands_are_parsed_once() -> None:
    assert parse_operands("a0, a1, 4") is parse_operands("a0, a1, 4")


# ------------------------------------------------------------------------------------------------ units


def test_a_program_names_the_units_whose_instructions_it_holds() -> None:
    source = """
    .macro twice
    sync.fence
    sync.fence
    .endm
    _start: twice
            LUT.MAC.T2 a0, a1, a2
            csrr a0, fetch.bytes
            .if 0
            thr.index a0, a1, a2, a3
            .endif
    """
    assert assemble(source).units == ("lut", "sync")
    assert assemble("_start: ecall").units == ()


@pytest.mark.parametrize("row", [row for row in TABLE.values() if row.is_xslim], ids=lambda row: row.mnemonic)
def test_each_instruction_of_a_unit_makes_the_program_need_it(row: Row) -> None:
    operands = ", ".join(f"a{i}" for i, _ in enumerate(row.operands))
    assert assemble(f"_start: {row.mnemonic} {operands}").units == (row.unit,)


def test_an_instruction_of_a_unit_that_the_machine_lacks_is_an_error(tmp_path: Path) -> None:
    text = (PRESETS / "slim.toml").read_text().replace('name = "slim"', 'name = "bare"', 1)
    (tmp_path / "bare.toml").write_text(without_unit(text, "lut"))
    source = f'_start: vec.relu.f32 a0, a0, a1\n lut.mac.t2 a0, a1, a2\n lut.mac.t2 a0, a1, a2\n .machine "{tmp_path}/bare.toml"\n'
    assert [str(diagnostic) for diagnostic in failed(source).diagnostics] == [
        "<text>:2:2: error: machine bare has no lut unit\n     lut.mac.t2 a0, a1, a2\n     ^^^^^^^^^^^^^^^^^^^^^\n"
        "hint: machines that have it: slim, slim-llama, slim-nsp, slim-nsp-tlc"]


def test_code_of_an_unknown_size_is_reported_though_it_is_all_there_is() -> None:
    for text in ("la a0, nowhere", "beq a0, a1, nowhere", "li a0, nowhere", ".zero nowhere"):
        (diagnostic,) = failed(text + "\n").diagnostics
        assert diagnostic.message == "undefined symbol `nowhere`"
