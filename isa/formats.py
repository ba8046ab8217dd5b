"""Fields and formats: the only place that knows which bit of an instruction word means what.

A `Field` names the bits of the word that carry one value; a `Format` is a list of fields that covers all 32 bits
exactly once. Encoder and decoder are the same table read in two directions. Rows (isa/instruction.py) name a format
and give the fixed fields; nothing else in the project touches bit positions.

Source: The RISC-V Instruction Set Manual, Volume I, chapters "RV32I Base Integer Instruction Set" and "RV64I".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Field:
    """Bits of the instruction word that carry one value.

    `segments` lists (high bit in word, low bit in word, low bit in value), as the manual draws them: a B-type
    immediate is `(31, 31, 12), (7, 7, 11), (30, 25, 5), (11, 8, 1)`.
    """

    name: str
    segments: tuple[tuple[int, int, int], ...]
    signed: bool = False

    @cached_property
    def width(self) -> int:
        """Bits of the value, implied zeros at the bottom included."""
        return max(low + high_word - low_word + 1 for high_word, low_word, low in self.segments)

    @cached_property
    def step(self) -> int:
        """Values are multiples of this (2 for branch targets)."""
        return 1 << min(low for _, _, low in self.segments)

    @cached_property
    def minimum(self) -> int:
        return -(1 << (self.width - 1)) if self.signed else 0

    @cached_property
    def maximum(self) -> int:
        return (1 << (self.width - self.signed)) - self.step

    @cached_property
    def mask(self) -> int:
        """Bits of the instruction word that this field owns."""
        return sum(((1 << (high - low + 1)) - 1) << low for high, low, _ in self.segments)

    def fits(self, value: int) -> bool:
        return self.minimum <= value <= self.maximum and value % self.step == 0

    def insert(self, value: int) -> int:
        """The word bits for `value`. Raises ValueError when it does not fit: nothing is ever masked silently."""
        if not self.fits(value):
            raise ValueError(f"{self.name} {value} does not fit {self.minimum}..{self.maximum} step {self.step}")
        return sum(((value >> value_low) & ((1 << (high - low + 1)) - 1)) << low for high, low, value_low in self.segments)

    def extract(self, word: int) -> int:
        """The value that `word` carries in this field."""
        value = sum(((word >> low) & ((1 << (high - low + 1)) - 1)) << value_low for high, low, value_low in self.segments)
        return value - (1 << self.width) if self.signed and value >> (self.width - 1) else value


FIELDS: dict[str, Field] = {
    field.name: field
    for field in (
        Field("opcode",  ((6, 0, 0),)),
        Field("rd",      ((11, 7, 0),)),
        Field("funct3",  ((14, 12, 0),)),
        Field("rs1",     ((19, 15, 0),)),
        Field("rs2",     ((24, 20, 0),)),
        Field("rs3",     ((31, 27, 0),)),
        Field("funct2",  ((26, 25, 0),)),
        Field("funct7",  ((31, 25, 0),)),
        Field("funct6",  ((31, 26, 0),)),
        Field("funct12", ((31, 20, 0),)),
        Field("shamt6",  ((25, 20, 0),)),
        Field("shamt5",  ((24, 20, 0),)),
        Field("csr",     ((31, 20, 0),)),
        Field("zimm",    ((19, 15, 0),)),
        Field("fm",      ((31, 28, 0),)),
        Field("pred",    ((27, 24, 0),)),
        Field("succ",    ((23, 20, 0),)),
        Field("i_imm",   ((31, 20, 0),), signed=True),
        Field("s_imm",   ((31, 25, 5), (11, 7, 0)), signed=True),
        Field("b_imm",   ((31, 31, 12), (7, 7, 11), (30, 25, 5), (11, 8, 1)), signed=True),
        Field("u_imm",   ((31, 12, 0),)),  # the 20-bit number that is written in assembly, not shifted
        Field("j_imm",   ((31, 31, 20), (19, 12, 12), (20, 20, 11), (30, 21, 1)), signed=True),
    )
}


@dataclass(frozen=True)
class Format:
    """An instruction format: its fields from bit 31 down to bit 0, and the operand syntax that rows use by default."""

    name: str
    fields: tuple[Field, ...]
    syntax: str

    def __contains__(self, field_name: str) -> bool:
        return any(field.name == field_name for field in self.fields)


def _format(name: str, fields: str, syntax: str) -> Format:
    return Format(name, tuple(FIELDS[field] for field in fields.split()), syntax)


FORMATS: dict[str, Format] = {
    fmt.name: fmt
    for fmt in (
        #       name      fields, bit 31 first                      assembly operands
        _format("R",      "funct7 rs2 rs1 funct3 rd opcode",        "rd, rs1, rs2"),
        _format("R4",     "rs3 funct2 rs2 rs1 funct3 rd opcode",    "rd, rs1, rs2, rs3"),
        _format("I",      "i_imm rs1 funct3 rd opcode",             "rd, rs1, i_imm"),
        _format("LOAD",   "i_imm rs1 funct3 rd opcode",             "rd, i_imm(rs1)"),
        _format("SHIFT",  "funct6 shamt6 rs1 funct3 rd opcode",     "rd, rs1, shamt6"),
        _format("SHIFTW", "funct7 shamt5 rs1 funct3 rd opcode",     "rd, rs1, shamt5"),
        _format("S",      "s_imm rs2 rs1 funct3 opcode",            "rs2, s_imm(rs1)"),
        _format("B",      "b_imm rs2 rs1 funct3 opcode",            "rs1, rs2, b_imm"),
        _format("U",      "u_imm rd opcode",                        "rd, u_imm"),
        _format("J",      "j_imm rd opcode",                        "rd, j_imm"),
        _format("CSR",    "csr rs1 funct3 rd opcode",               "rd, csr, rs1"),
        _format("CSRI",   "csr zimm funct3 rd opcode",              "rd, csr, zimm"),
        _format("FENCE",  "fm pred succ rs1 funct3 rd opcode",      "pred, succ"),
        _format("SYSTEM", "funct12 rs1 funct3 rd opcode",           ""),
    )
}
