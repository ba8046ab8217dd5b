"""The chapter on encoding: what an implementer's decoder needs, from the tables of formats and instructions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from isa.formats import FIELDS, Field
from isa.instruction import TABLE, XSLIM_OPCODES, Row
from isa.manual.document import Block, Heading, Paragraph, Table
from isa.numbers import FORMATS
from isa.shapes import parse_shape

# Source: The RISC-V Instruction Set Manual, Volume I, "RV32/64G Instruction Set Listings", the map of major opcodes.
_MAJOR = ("LOAD LOAD-FP custom-0 MISC-MEM OP-IMM AUIPC OP-IMM-32 48b STORE STORE-FP custom-1 AMO OP LUI OP-32 64b "
          "MADD MSUB NMSUB NMADD OP-FP OP-V custom-2 48b BRANCH JALR reserved JAL SYSTEM OP-VE custom-3 >=80b")
MAJOR: dict[int, str] = {number << 2 | 3: name for number, name in enumerate(_MAJOR.split())}
"""The names that RISC-V gives to the opcodes of 32-bit instructions, by the low 7 bits of the word."""

WORDS = """
Memory is little-endian, for data and for instructions alike: the byte at the lowest address has the bits 7..0. An instruction is
one word of 32 bits whose low two bits are 11, at an address that is a multiple of 4. There are no instructions of other lengths:
extension C is absent, and a word that ends in 00, 01 or 10 is illegal. So are the words 0x00000000 and 0xffffffff.

A word is an instruction if it agrees with a row of the last table of this page: `word & mask == match`. No word agrees with two
rows. A word that agrees with the row of fence or fence.i except in the fields below is executed as that instruction, too. All other
words are reserved and trap: ILLEGAL_INSTRUCTION, with mtval = the word. So does an instruction of a unit that the machine does not
have. A field that an instruction does not use has fixed bits, zeros in Xslim. A word with other bits there is reserved.

The reserved bits of these fields alone are not looked at, as RISC-V asks:"""

DATA = """
Loads and stores of the core need no alignment; their bytes must lie in one region, and in mmio in one register. The memory
operands of units must be aligned as their format asks:"""

OPERANDS = """
A field of 5 bits holds the number of an integer register. In a base instruction the names say it: rs1 and rs2 are read, rd is
written. The operands of an Xslim instruction take the fields in the order in which they are written in assembly:

1. A first operand that is a result register, or the address of memory that is written, is in rd. Other instructions have rd = 0.
2. The operands after it are in rs1, rs2, rs3.
3. A register field that is left over is 0, and any other value there is reserved.

So rd is a source register in most Xslim instructions, and up to four registers are read: `vec.add.f32 dst, a, b, n` reads the
address dst from rd, a from rs1, b from rs2, n from rs3, and writes no register. These alone write rd:"""

REGISTERS = """
x0 may stand in every register field. As a source it is 0: a length of 0, an address 0, the number 0 or the bits of +0.0. As a
result register it drops the result; everything else happens as if rd were another register: memory, counters, unit state, traps,
and the core waits for the operation. Numbers and addresses have all 64 bits of the register, unsigned. Of the bits of an f32 the
low 32 count, and the others are not looked at; a result that is the bits of an f32 is zero-extended.

rd is written last, when nothing can trap any more, so it may be the register of a source. An instruction that traps writes no
register. One register may stand in several fields."""

FREE = """
Xslim has the four custom opcodes. Each pair of opcode and funct3 has one format and one unit. What is free is reserved: it traps,
and later versions of the instruction set may use it."""

ALL = """
The bits of every instruction: those of the mask have the value in match, the others hold operands."""


def encoding() -> tuple[list[Block], Any]:
    """(blocks, data) of the chapter."""
    immediates = [FIELDS[name] for name in
                  ("i_imm", "s_imm", "b_imm", "u_imm", "j_imm", "shamt6", "shamt5", "csr", "zimm", "pred", "succ")]
    xslim = _xslim_map()
    blocks: list[Block] = [
        Heading(1, "Encoding"),
        Paragraph(WORDS),
        Table(("instruction", "fields whose bits are not looked at"), _ignored()),
        Heading(2, "Operands and registers"),
        Paragraph(OPERANDS.strip() + " " + ", ".join(f"`{row.mnemonic}`" for row in _with_result()) + "."),
        Paragraph(REGISTERS),
        Heading(2, "Immediates"),
        Paragraph("Numbers inside the word. [Formats](formats.md) says where their bits are."),
        Table(("field", "bits", "range", "multiple of", "is"), [
            (f.name, str(f.width), f"{f.minimum}..{f.maximum}", str(f.step), _use(f)) for f in immediates]),
        Heading(2, "Alignment of data"),
        Paragraph(DATA.strip() + " " + _alignments() + "."),
        Heading(2, "Opcodes"),
        Table(("opcode", "RISC-V's name", "used by"), [(f"{opcode:#04x}", MAJOR[opcode], _users(opcode)) for opcode in MAJOR]),
        Heading(2, "Numbers of Xslim instructions"),
        Paragraph(FREE),
        Table(("opcode", "funct3", "unit", "format", "taken", "free"), [
            (f"{entry['opcode']:#04x}", str(entry["funct3"]), entry["unit"] or "none", entry["format"] or "any",
             ", ".join(f"{number} {name}" for number, name in entry["taken"].items()) or "none",
             f"{entry['field']} " + _ranges(entry["free"]) if entry["free"] else "none") for entry in xslim]),
        Heading(2, "Every instruction"),
        Paragraph(ALL),
        Table(("instruction", "format", "match", "mask"), [
            (row.mnemonic, row.format.name, f"{row.match:#010x}", f"{row.mask:#010x}") for row in TABLE.values()]),
    ]
    return blocks, {"opcodes": [{"opcode": opcode, "name": name, "used_by": _users(opcode)} for opcode, name in MAJOR.items()],
                    "xslim": xslim}


def _ignored() -> list[tuple[str, str]]:
    return [(row.mnemonic, ", ".join(name for name in row.fixed if row.ignored & FIELDS[name].mask))
            for row in TABLE.values() if row.ignored]


def _with_result() -> Iterator[Row]:
    return (row for row in TABLE.values() if row.is_xslim and row.result)


def _use(field: Field) -> str:
    return {"zimm": "zero-extended", "csr": "number of a CSR", "shamt6": "places to shift by", "shamt5": "places to shift by",
            "pred": "letters of fence: i 8, o 4, r 2, w 1", "succ": "letters of fence: i 8, o 4, r 2, w 1",
            "u_imm": "bits 31..12 of a number whose low 12 bits are 0, sign-extended from bit 31"}.get(
                field.name, "sign-extended to 64 bits")


def _alignments() -> str:
    """"1 byte i8, u8, ...; 2 bytes u16, f16" """
    names: dict[int, list[str]] = defaultdict(list)
    for name in FORMATS:
        names[parse_shape(f"{name}[n]").align].append(name)
    return "; ".join(f"{bytes_} byte{'s' * (bytes_ > 1)} for {', '.join(some)}" for bytes_, some in sorted(names.items()))


def _users(opcode: int) -> str:
    """The instructions with an opcode, or of Xslim the units, or "reserved"."""
    some = [row for row in TABLE.values() if row.fixed["opcode"] == opcode]
    names = dict.fromkeys(row.unit if row.is_xslim else row.mnemonic for row in some)
    return ", ".join(names) or "reserved: illegal"


def _xslim_map() -> list[dict[str, Any]]:
    """Of each custom opcode and funct3: unit, format, the field that tells its instructions apart, numbers taken and free."""
    entries = []
    for opcode in XSLIM_OPCODES:
        for funct3 in range(8):
            some = [row for row in TABLE.values() if (row.fixed["opcode"], row.fixed.get("funct3")) == (opcode, funct3)]
            form = some[0].format.name if some else None
            field = {"R": "funct7", "R4": "funct2", None: "funct7"}[form]
            taken = {row.fixed[field]: row.mnemonic for row in sorted(some, key=lambda row: row.fixed[field])}
            entries.append({"opcode": opcode, "funct3": funct3, "unit": some[0].unit if some else None, "format": form,
                            "field": field, "taken": taken, "free": sorted({*range(FIELDS[field].maximum + 1)} - taken.keys())})
    return entries


def _ranges(numbers: Iterable[int]) -> str:
    """"3, 5..7" """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(f"{first}..{last}" if last > first else str(first) for first, last in runs)
