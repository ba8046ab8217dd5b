"""Instruction rows: what a program may say, with the meaning of each row beside it.

A row is written as one string, in the manner of riscv-opcodes, above the short function that is its meaning:

    @instruction("add         R   opcode=0x33 funct3=0 funct7=0x00", "x[rd] = x[rs1] + x[rs2]")
    def add(m, rs1, rs2):
        return rs1 + rs2

    @instruction("vec.add.f32 R4  opcode=0x0B funct3=1 funct2=0", "dst[i] = a[i] + b[i]",
                 operands="dst>f32[n] a<f32[n] b<f32[n] n")
    def vec_add_f32(m, dst, a, b, n):
        m.write_f32(dst, m.read_f32(a, n) + m.read_f32(b, n))

Everything else derives from the row: encoder, decoder, disassembler, operand checks, error texts, the manual, trace
names, fuzzers and completeness tests. The meaning's parameters are the row's operands by name: register operands
arrive as the 64-bit unsigned value in the register, immediates as Python integers. What a meaning returns is written
to `rd`, modulo 2**64. `m` is the machine's vocabulary (isa/engine/vocabulary.py).

This file holds the row, the registry and encode/decode. It does not know any particular instruction.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from isa.formats import FIELDS, FORMATS, Field, Format
from isa.shapes import Shape, parse_shape

Meaning = Callable[..., int | None]

# Roles of an operand. A register operand of a base instruction has role "register".
REGISTER, RESULT, VALUE, SCALAR, ADDRESS, IMMEDIATE, TARGET, CSR, FENCE_SET = (
    "register", "result", "value", "f32", "address", "immediate", "target", "csr", "fence set")


@dataclass(frozen=True)
class Operand:
    """One operand of a row.

    `name` is the meaning's parameter, `field` where it is encoded, `role` what it is. For an ADDRESS operand `access`
    is "<" (memory read), ">" (written) or "<>" (both), and `shape` says what lies there, e.g. `f32[n]` (isa/shapes.py).
    `scales` is the format of the scales that lie between or behind these elements, "" if there are none.
    """

    name: str
    field: Field
    role: str
    access: str = ""
    shape: str = ""
    scales: str = ""

    @cached_property
    def layout(self) -> Shape:
        """What lies at the address, of an ADDRESS operand. Scales are not in it."""
        return parse_shape(self.shape)

    @cached_property
    def align(self) -> int:
        """Bytes of which the address must be a multiple."""
        return max(self.layout.align, parse_shape(self.scales).align if self.scales else 1)

    @property
    def contents(self) -> str:
        """What lies at the address, in words."""
        return self.shape + (f" with {self.scales} scales" if self.scales else "")

    @property
    def is_register(self) -> bool:
        return self.role in (REGISTER, RESULT, VALUE, SCALAR, ADDRESS)

    def describe(self) -> str:
        """One phrase for the manual and for error messages."""
        if self.role == ADDRESS:
            verb = {"<": "read", ">": "written", "<>": "read and written"}[self.access]
            return f"integer register with the address of {self.contents}, {verb}"
        return {REGISTER:  "integer register",
                RESULT:    "integer register that receives the result",
                VALUE:     "integer register",
                SCALAR:    "integer register that holds the bits of an f32",
                IMMEDIATE: f"number {self.field.minimum}..{self.field.maximum}",
                TARGET:    "label or address",
                CSR:       "control and status register",
                FENCE_SET: "any of the letters i, o, r, w, or 0"}[self.role]


@dataclass(frozen=True)
class Row:
    """One instruction: its name, bits, operands, text and meaning."""

    mnemonic: str
    unit: str
    format: Format
    fixed: dict[str, int]              # field name -> value, for the fields that select this row
    operands: tuple[Operand, ...]      # in assembly order
    syntax: str                        # "dst, a, b, n" or "rd, i_imm(rs1)"
    text: str                          # pseudo-code, for the manual
    meaning: Meaning
    example: str = ""                  # one or more lines of assembly, shown in the manual
    match: int = 0
    mask: int = 0
    ignored: int = 0                   # bits of the mask whose other values are reserved: they are executed alike
    variable: tuple[tuple[str, Field], ...] = field(default=())    # (operand name, field) of the fields that are not fixed

    def encode(self, values: dict[str, int]) -> int:
        """The 32-bit word for operand values keyed by operand name. Raises ValueError when a value does not fit."""
        return self.match + sum(place.insert(values[name]) for name, place in self.variable)

    def decode(self, word: int) -> dict[str, int]:
        """Operand values by name: register numbers, immediates, CSR numbers."""
        return {name: place.extract(word) for name, place in self.variable}

    def operand(self, name: str) -> Operand:
        return next(operand for operand in self.operands if operand.name == name)

    @cached_property
    def result(self) -> Operand | None:
        """The register operand that the instruction writes, if there is one."""
        return next((o for o in self.operands if o.field.name == "rd" and o.role in (REGISTER, RESULT)), None)

    @cached_property
    def lengths(self) -> tuple[str, ...]:
        """Operands that say how much memory another operand covers: those that a shape mentions."""
        names = {name for operand in self.operands if operand.access for name in operand.layout.names}
        return tuple(operand.name for operand in self.operands if operand.role == VALUE and operand.name in names)

    @cached_property
    def plain(self) -> tuple[Operand, ...]:
        """The addresses whose bytes follow from the row: each dimension is a number or one of `lengths`.

        They are checked by the row alone (isa/engine/operand_checks.py), and a kernel gets them translated (emulator/kernel.py).
        What CSRs, strides or the unit's state take part in is left to the meaning and to the kernel.
        """
        return tuple(operand for operand in self.operands
                     if operand.access and not operand.scales
                     and all(dim in self.lengths or dim.isdecimal() for dim in operand.layout.dims))

    @cached_property
    def is_xslim(self) -> bool:
        return self.fixed["opcode"] in XSLIM_OPCODES


LONGEST = 1 << 28           # the most elements, rows or bytes that a length operand may ask for

XSLIM_OPCODES = {0x0B: "CUSTOM_0", 0x2B: "CUSTOM_1", 0x5B: "CUSTOM_2", 0x7B: "CUSTOM_3"}

TABLE: dict[str, Row] = {}                                         # mnemonic -> row, in order of definition
_BY_OPCODE: dict[int, dict[int, dict[int, Row]]] = {}              # opcode|funct3 -> mask -> match -> row
_KEY_MASK = 0x0000_707F                                            # opcode and funct3
_FORGIVING: list[Row] = []                                         # rows that ignore bits

_OPERAND = re.compile(r"(?P<result>=)?(?P<name>\w+)(?:(?P<access><>|<|>|:)(?P<shape>\w+(?:\[\S+\])?)(?:\+(?P<scales>\w+))?)?$")


def instruction(row: str, text: str, *, operands: str = "", syntax: str | None = None, example: str = "",
                ignores: str = "") -> Callable[[Meaning], Meaning]:
    """Register a row and the function below it as its meaning.

    `row` is "mnemonic format field=value ...". `operands` describes an Xslim row: `=name` a result register,
    `name` a value, `name:f32` the bits of a scalar, `name<shape` / `name>shape` / `name<>shape` an address whose memory is
    read / written / both; `+f32` behind the shape: with fp32 scales. Fields are given out in order: `rd` to a first operand
    that is a result or is written to, then `rs1`, `rs2`, `rs3`; a register field left over is fixed to zero. A base row takes
    `syntax` or its format's.
    `ignores` names fixed fields whose other values are reserved: they are executed alike, but no assembler writes them.
    The unit is the module that holds the row, isa/units/UNIT.py, or the package: isa/units/UNIT/ANY.py.
    Raises ValueError for a row that is malformed or already there.
    """
    mnemonic, format_name, *assignments = row.split()
    fmt = FORMATS[format_name]
    fixed = {name: int(value, 0) for name, value in (item.split("=") for item in assignments)}
    if operands or fixed["opcode"] in XSLIM_OPCODES:
        described = _xslim_operands(operands, fmt)
        syntax = ", ".join(operand.name for operand in described)
    else:
        syntax = fmt.syntax if syntax is None else syntax
        described = _base_operands(syntax)
    used = {operand.field.name for operand in described}
    for slot in fmt.fields:
        if slot.name not in used and slot.name not in fixed:
            if slot.name not in ("rd", "rs1", "rs2", "rs3"):
                raise ValueError(f"{mnemonic}: field {slot.name} has no value")
            fixed[slot.name] = 0
    match = sum(FIELDS[name].insert(value) for name, value in fixed.items())
    mask = sum(FIELDS[name].mask for name in fixed)

    def register(meaning: Meaning) -> Meaning:
        if mnemonic in TABLE:
            raise ValueError(f"{mnemonic} is defined twice")
        unit = meaning.__module__.removeprefix("isa.units.").partition(".")[0]
        entry = Row(mnemonic, unit, fmt, fixed, described, syntax, text, meaning, example,
                    match, mask, sum(FIELDS[name].mask for name in ignores.split()),
                    tuple((operand.name, operand.field) for operand in described))
        TABLE[mnemonic] = entry
        _file(entry)
        return meaning

    return register


def _xslim_operands(text: str, fmt: Format) -> tuple[Operand, ...]:
    described: list[Operand] = []
    sources = iter([name for name in ("rs1", "rs2", "rs3") if name in fmt])
    for position, item in enumerate(text.split()):
        parts = _OPERAND.match(item)
        if parts is None:
            raise ValueError(f"operand {item!r}: expected [=]name[<shape|>shape|<>shape|:f32][+scales]")
        access = parts["access"] or ""
        writes = bool(parts["result"]) or ">" in access
        slot = "rd" if position == 0 and writes else next(sources)
        role = RESULT if parts["result"] else SCALAR if access == ":" else ADDRESS if access else VALUE
        described.append(Operand(parts["name"], FIELDS[slot], role,
                                 access if role == ADDRESS else "", parts["shape"] or "", parts["scales"] or ""))
    return tuple(described)


_BASE_ROLES = {"csr": CSR, "b_imm": TARGET, "j_imm": TARGET, "pred": FENCE_SET, "succ": FENCE_SET}


def _base_operands(syntax: str) -> tuple[Operand, ...]:
    return tuple(Operand("imm" if name.endswith("_imm") else name, FIELDS[name],
                         REGISTER if name in ("rd", "rs1", "rs2") else _BASE_ROLES.get(name, IMMEDIATE))
                 for name in re.findall(r"\w+", syntax))


def _file(entry: Row) -> None:
    """Make the row findable by its bits. Rows that do not fix funct3 are filed under all eight values."""
    keys = [entry.match & _KEY_MASK] if entry.mask & 0x7000 == 0x7000 else [
        (entry.match & 0x7F) | (funct3 << 12) for funct3 in range(8)]
    for key in keys:
        _BY_OPCODE.setdefault(key, {}).setdefault(entry.mask, {})[entry.match] = entry
    if entry.ignored:
        _FORGIVING.append(entry)


def find(word: int) -> Row | None:
    """The row that `word` encodes as assemblers write it, or None."""
    for mask, matches in _BY_OPCODE.get(word & _KEY_MASK, {}).items():
        row = matches.get(word & mask)
        if row is not None:
            return row
    return None


def decode(word: int) -> tuple[Row, dict[str, int]] | None:
    """Row and operand values of a 32-bit word, or None for an illegal instruction."""
    row = find(word) or next((row for row in _FORGIVING if not (word ^ row.match) & row.mask & ~row.ignored), None)
    return None if row is None else (row, row.decode(word))


def rows(unit: str | None = None) -> Iterator[Row]:
    """All rows in order of definition, or those of one unit."""
    return (row for row in TABLE.values() if unit is None or row.unit == unit)
