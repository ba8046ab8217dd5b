"""Bits -> text -> bits: every row, random operands, random words, plain and with aliases; and what a disassembly looks like."""

from __future__ import annotations

import random
import re
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reassembly import differences

import asm
from asm.disassembler import disassemble, instructions
from isa.csrs import CSRS
from isa.disassembly import SymbolIndex, format_instruction
from isa.instruction import TABLE, Row, decode, find
from isa.preset import load_preset
from isa.program import FileSlice, Program, ProgramError, Section, Symbol
from isa.registers import NUMBER

CODE = 0x8000_0000
ROWS = list(TABLE.values())
ROOT = Path(__file__).parents[2]


def program(*words: int, symbols: list[Symbol] | None = None, address: int = CODE) -> Program:
    return Program([Section(".text", "ax", address, 4, [struct.pack(f"<{len(words)}I", *words)])], symbols or [])


def reread(text: str, pc: int) -> int:
    """The word that plain text stands for, by the row's syntax alone: a second assembler, of ten lines."""
    mnemonic, _, operands = text.partition(" ")
    row = TABLE[mnemonic]
    written = dict(zip([o.name for o in row.operands], re.findall(r"[^\s,()]+", operands), strict=True))
    values = {}
    for operand in row.operands:
        item = written[operand.name]
        if operand.is_register:
            values[operand.name] = NUMBER[item]
        elif operand.role == "csr" and item in CSRS:
            values[operand.name] = CSRS[item].address
        elif operand.role == "fence set":
            values[operand.name] = sum({"i": 8, "o": 4, "r": 2, "w": 1}[letter] for letter in item.strip("0"))
        elif operand.role == "target":
            offset = (int(item, 0) - pc) % (1 << 64)
            values[operand.name] = offset - (1 << 64) if offset >> 63 else offset
        else:
            values[operand.name] = int(item, 0)
    return row.encode(values)


def any_word(row: Row, chance: random.Random) -> int:
    """Random operands, the extremes of each field more often than by chance."""
    values = {}
    for name, field in row.variable:
        extreme = chance.choice((field.minimum, field.maximum, 0, field.step))
        values[name] = extreme if chance.random() < 0.3 else chance.randrange(field.minimum, field.maximum + 1, field.step)
    return row.encode(values)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.mnemonic)
def test_every_row_prints_what_it_is(row: Row) -> None:
    chance = random.Random(row.mnemonic)
    for _ in range(60):
        word, pc = any_word(row, chance), 4 * chance.randrange(1 << 62)
        assert reread(format_instruction(word, pc), pc) == word


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**62 - 1).map(lambda n: 4 * n))
def test_any_word_has_a_text(word: int, pc: int) -> None:
    text = format_instruction(word, pc)
    if text.startswith(".word "):
        assert find(word) is None                  # a reserved fence is executed, but no assembler writes it
        assert int(text.split()[1], 16) == word
    else:
        assert reread(text, pc) == word


@given(st.sampled_from(ROWS), st.integers(0, 2**32 - 1))
def test_decode_and_encode_are_inverse(row: Row, bits: int) -> None:
    word = row.match | (bits & ~row.mask)
    found = decode(word)
    assert found is not None
    assert found[0] is row
    assert found[0].encode(found[1]) == word


@pytest.mark.parametrize("aliases", [False, True])
@pytest.mark.parametrize("address", [CODE, 0x1000_0000, 0x20_0000_0000])
def test_the_text_assembles_to_the_same_bits(address: int, aliases: bool) -> None:
    """Every row, random words, and bytes that are no whole word: branches and jumps to bare addresses among them."""
    chance = random.Random(3)
    words = [any_word(row, chance) for row in ROWS for _ in range(30)] + [chance.getrandbits(32) for _ in range(3000)]
    words += [0, 0xFFFF_FFFF, 0x0000_4501, 0x0FF0_000F, 0x8330_000F, 0x0000_100F]    # nothing, compressed, fences
    made = program(*words, address=address)
    made.sections[0].chunks.append(b"\1\2\3")
    assert differences(made, aliases=aliases) == []


@pytest.mark.parametrize("start", [1, 2, 3])
def test_code_that_does_not_start_on_a_word(start: int) -> None:
    """What lies before the first multiple of 4 is no instruction: none could be executed there."""
    made = Program([Section(".text", "ax", CODE + start, 1, [bytes(range(1, 4 - start + 1)) + bytes.fromhex("13000000 6f000000")])])
    assert differences(made) == []
    first, second, third = instructions(made)
    assert (first.address, first.size, first.text) == (CODE + start, 4 - start, ".byte " + ", ".join(map(hex, range(1, 5 - start))))
    assert (second.address, second.text, third.text) == (CODE + 4, "addi zero, zero, 0", "jal zero, 0x80000008")


def test_several_sections_and_targets_in_others() -> None:
    made = asm.assemble(".text\nbeq a0, a1, x\nj x\n.balign 2048\nnop\n.section .text.two, \"ax\"\nx: beqz a0, _start\nj _start\n"
                        ".section .text.far, \"ax\"\n.address 0x80080000\ny: bnez a0, x\nj x\n.section .text.e, \"ax\"\n"
                        "_start: call y\n.word 0x12345678, x\n")
    assert differences(made) == []


@pytest.mark.parametrize("path", sorted((ROOT / "programs").glob("*.s")), ids=lambda path: path.stem)
def test_our_programs_come_back(path: Path) -> None:
    made = asm.assemble(path)
    assert differences(made) == []
    assert differences(made, aliases=True) == []


def test_a_bare_address_as_target() -> None:
    """In reach it is the short form, so that a disassembly comes back; a branch that does not reach it goes around a jump."""
    short = asm.assemble("beq a0, a1, 0x80000008\nj 0x80000000\n.set x, 0x80000ffe + 8\nbne a0, a1, x\nbne a0, a1, x - 2\n")
    assert [i.text for i in instructions(short)] == [
        "beq a0, a1, 0x80000008", "jal zero, 0x80000000", "bne a0, a1, 0x80001006", "bne a0, a1, 0x80001004"]
    long = asm.assemble("nop\nbeq a0, a1, 0x80001004\nbeq a0, a1, 0x80000000 + (1 << 20)\n")
    assert [i.text for i in instructions(long)] == ["addi zero, zero, 0", "bne a0, a1, 0x8000000c", "jal zero, 0x80001004",
                                                    "bne a0, a1, 0x80000014", "jal zero, 0x80100000"]
    for text, reach in (("beq a0, a1, 0x80200000", "a branch reaches"), ("j 0x80200000", "jal reaches|j reaches")):
        with pytest.raises(asm.AssemblyError, match=reach):
            asm.assemble(text + "\n")


# ------------------------------------------------------------------------------------------------ appearance

EXAMPLE = """\
Disassembly of section .text:

0000000080000000 <_start>:
80000000:  00001597  auipc a1, 0x1
80000004:  00858593  addi a1, a1, 8 # 0x80001008 <message>

0000000080000008 <loop>:
80000008:  00b50463  beq a0, a1, 0x80000010 <loop+0x8>
8000000c:  ff5ff06f  jal zero, 0x80000000 <_start>
80000010:  00008067  jalr zero, 0(ra)
80000014:  ffffffff  .word 0xffffffff
80000018:  80049573  csrrw a0, vec.cols, s1
8000001c:  0ff0000f  fence iorw, iorw
80000020:  fe000ae3  beq zero, zero, 0x80000014 <loop+0xc>
80000024:  0201      .byte 0x1, 0x2
"""


def example() -> Program:
    made = program(0x00001597, 0x00858593, 0x00B50463, 0xFF5FF06F, 0x00008067, 0xFFFFFFFF, 0x80049573, 0x0FF0000F, 0xFE000AE3,
                   symbols=[Symbol("_start", CODE, 8, "func", "global", ".text"), Symbol("loop", CODE + 8, section=".text"),
                            Symbol("message", CODE + 0x1008, 4, "object", section=".data"), Symbol("N", CODE + 4)])
    made.sections[0].chunks.append(b"\1\2")
    made.sections.append(Section(".data", "aw", CODE + 0x1000, 4, [b"12345678hiho"]))
    return made


def test_a_disassembly_in_full() -> None:
    assert "\n".join(disassemble(example())) == EXAMPLE


def test_aliases() -> None:
    text = "\n".join(disassemble(example(), aliases=True))
    for line in ("j 0x80000000 <_start>", "ret", "fence", "beqz zero, 0x80000014 <loop+0xc>", "csrrw a0, vec.cols, s1"):
        assert f"  {line}\n" in text


def test_structured_form() -> None:
    first, second, third, *_, last = instructions(example())
    assert (first.address, first.word, first.size, first.labels) == (CODE, 0x00001597, 4, ("_start",))
    assert (second.text, second.note) == ("addi a1, a1, 8", "# 0x80001008 <message>")
    assert (third.text, third.note, third.labels) == ("beq a0, a1, 0x80000010", "<loop+0x8>", ("loop",))
    assert (last.text, last.size) == (".byte 0x1, 0x2", 2)


def test_sections() -> None:
    assert [i.address for i in instructions(example(), section=".data")] == [CODE + 0x1000, CODE + 0x1004, CODE + 0x1008]
    with pytest.raises(ProgramError, match=r"no section \.txt(.|\n)*\.text, \.data"):
        list(disassemble(example(), section=".txt"))
    assert list(disassemble(Program())) == []


def test_words_across_chunks_and_files(tmp_path) -> None:
    words = [0x13, 0x00008067, 0x00B50463]
    data = struct.pack("<3I", *words)
    (tmp_path / "code").write_bytes(data)
    chunks = [data[:1], bytearray(data[1:3]), FileSlice(str(tmp_path / "code"), 3, 8), data[11:]]
    made = Program([Section(".text", "ax", CODE, 4, chunks)])
    assert [i.word for i in instructions(made)] == words


def test_the_best_name_of_an_address() -> None:
    sections = [Section(".a", "ax", 0x100, 4, [bytes(16)]), Section(".b", "ax", 0x110, 4, [bytes(16)])]
    index = SymbolIndex(Program(sections, [
        Symbol("global_label", 0x100, binding="global", section=".a"), Symbol("function", 0x100, 8, "func", section=".a"),
        Symbol("local_label", 0x100, section=".a"), Symbol("late", 0x118, section=".b"), Symbol("number", 0x104)]))
    assert index.name(0x100) == "function"
    assert index.name(0x104) == "function+0x4"
    assert index.name(0x110) == ""                      # .b has no name there, and .a has ended
    assert index.name(0x11C) == "late+0x4"
    assert index.name(0x90) == index.name(0x2000) == ""


def test_words_of_units_that_the_machine_lacks_are_no_instructions() -> None:
    word = next(row for row in ROWS if row.unit == "lut").match
    assert next(instructions(program(word))).text.startswith("lut.")
    made = program(word)
    made.built_for = load_preset("hbm2-pim")
    assert next(instructions(made)).text == f".word 0x{word:08x}"
    assert differences(made) == []
