"""Bits -> text -> bits: every row, random operands, random words, plain and with aliases; and what a disassembly looks like."""

from __future__ import annotations

import random
import re
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

import asm
from asm.disassembler import disassemble, instructions
from isa.csrs import CSRS
from isa.disassembly import SymbolIndex, format_instruction
from isa.instruction import TABLE, Row, decode, find
from isa.program import FileSlice, Program, ProgramError, Section, Symbol
from isa.registers import NUMBER

CODE = 0x8000_0000
ROWS = list(TABLE.values())


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
    for name, field in row.slots:
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
def test_the_text_assembles_to_the_same_bits(aliases: bool) -> None:
    chance = random.Random(3)
    jumps = {row.mnemonic for row in ROWS if any(operand.role == "target" for operand in row.operands)}
    words = [any_word(row, chance) for row in ROWS for _ in range(30) if row.mnemonic not in jumps]
    words += [word for word in (chance.getrandbits(32) for _ in range(2000)) if not ((row := find(word)) and row.mnemonic in jumps)]
    for mnemonic in sorted(jumps):              # to targets inside the section, written as a distance
        row = TABLE[mnemonic]
        for offset in (-2048, -4, 0, 4, 2048):
            words.insert(1000, row.encode({name: offset if name == "imm" else chance.choice((0, 1, 9)) for name, _ in row.slots}))
    lines = [re.sub(r"0x8000\w{4}$", lambda target, at=i.address: f". + {int(target[0], 16) - at}", i.text)
             for i in instructions(program(*words), aliases=aliases)]
    assembled = asm.assemble("\n".join(lines) + "\n").section(".text")
    assert assembled is not None
    again = [word for (word,) in struct.iter_unpack("<I", assembled.bytes())]
    assert [(hex(a), line) for a, b, line in zip(words, again, lines, strict=True) if a != b] == []


def test_a_bare_address_as_target_reaches_it_too() -> None:
    """A conditional branch to a number is assembled long, as GNU as does, so the bits differ there; a jump's do not."""
    assert asm.assemble(format_instruction(0x0080006F, CODE)).section(".text").bytes() == (0x0080006F).to_bytes(4, "little")
    long = asm.assemble(format_instruction(0x00B50463, CODE))
    assert [i.text for i in instructions(long)] == ["bne a0, a1, 0x80000008", "jal zero, 0x80000008"]


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
