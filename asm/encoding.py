"""Instruction words that depend on values: immediates with their modifiers, `li`, long branches, and relocations."""

from __future__ import annotations

from dataclasses import dataclass

import isa.units  # noqa: F401  fills the instruction table
from asm.diagnostics import SourceError
from asm.expressions import Node
from asm.source import Site
from isa.formats import FIELDS
from isa.instruction import IMMEDIATE, TABLE, TARGET, Operand

BRANCH_REACH = 1 << 12      # bytes that a conditional branch reaches, backwards; forwards 2 less
JUMP_REACH = 1 << 20        # bytes that jal reaches
MODIFIERS = {"hi": "u_imm", "lo": "i_imm s_imm", "pcrel_hi": "u_imm", "pcrel_lo": "i_imm s_imm"}
ADDI, ADDIW, SLLI, LUI, JAL = (TABLE[name].match for name in ("addi", "addiw", "slli", "lui", "jal"))


@dataclass(eq=False, slots=True)
class Reloc:
    """A place in a Data fragment that is filled in after layout: `size` bytes of data, or an operand of an instruction.

    `node` is the expression with "." and known names replaced, `written` the one in the source, for diagnostics.
    """

    offset: int
    node: Node
    written: Node
    site: Site
    size: int
    operand: Operand | None = None
    mnemonic: str = ""


def signed64(value: int) -> int:
    """A number from 2**63 to 2**64 - 1 read as two's complement, as GNU as reads 0xFFFF_FFFF_FFFF_FFFF; others unchanged."""
    return value - (1 << 64) if 1 << 63 <= value < 1 << 64 else value


def hi20(value: int) -> int:
    """The upper 20 bits of a 32-bit value, so that the sign-extended low 12 bits complete it."""
    return (value + 0x800 >> 12) & 0xFFFFF


def low12(value: int) -> int:
    """The low 12 bits, sign-extended."""
    return ((value & 0xFFF) ^ 0x800) - 0x800


def lo12(value: int, field_name: str) -> int:
    """The low 12 bits of a value, as word bits of an immediate field."""
    return FIELDS[field_name].insert(low12(value))


def address_reach(distance: int) -> bool:
    """True when auipc with a 12-bit offset spans the distance."""
    return -(1 << 31) <= distance + 0x800 < 1 << 31


def constant_words(register: int, value: int) -> list[int]:
    """`li`, by the algorithm of GNU as (load_const): lui and addiw, then slli and addi for every further 12 bits."""
    if not -(1 << 63) <= value < 1 << 64:
        raise SourceError(f"{value:#x} does not fit a register: {-(1 << 63)}..{(1 << 64) - 1}")
    value = signed64(value)
    if -2048 <= value < 2048:
        return [ADDI | register << 7 | (value & 0xFFF) << 20]
    return _load(register, value)


def _load(register: int, value: int) -> list[int]:
    low = low12(value)
    upper = value - low
    if -(1 << 31) <= value < 1 << 31:
        words = [LUI | register << 7 | (upper >> 12 & 0xFFFFF) << 12] if upper else []
        if low or not upper or register == 0:               # for x0 GNU as forgets that there was a lui
            words.append(ADDIW | register << 7 | (register if upper else 0) << 15 | (low & 0xFFF) << 20)
        return words
    upper = signed64(upper % (1 << 64))
    shift = 12
    while not upper >> shift & 1:
        shift += 1
    words = [*_load(register, upper >> shift), SLLI | register << 7 | register << 15 | shift << 20]
    if low:
        words.append(ADDI | register << 7 | register << 15 | (low & 0xFFF) << 20)
    return words


def jump_over(branch: int, distance: int) -> list[int]:
    """The inverted conditional branch over a jal, which lies 4 bytes further."""
    if not -JUMP_REACH <= distance - 4 < JUMP_REACH:
        raise SourceError(f"the target is {distance} bytes away: a branch reaches -{JUMP_REACH}..{JUMP_REACH - 2}",
                          hint="branch around a `tail` or `jump`, which reach +-2 GiB")
    if distance % 2:
        raise SourceError(f"the branch target is {distance} bytes away: an odd distance")
    return [branch ^ 1 << 12 | FIELDS["b_imm"].insert(8), JAL | FIELDS["j_imm"].insert(distance - 4)]


def operand_bits(mnemonic: str, operand: Operand, value: int, modifier: str = "") -> int:
    """Word bits of an immediate operand. `value` is an offset for a target and for %pcrel. Raises SourceError."""
    field = operand.field
    if modifier:
        if modifier not in MODIFIERS:
            raise SourceError(f"unknown modifier %{modifier}: known are " + " ".join(f"%{name}" for name in MODIFIERS))
        if field.name not in MODIFIERS[modifier].split():
            raise SourceError(f"%{modifier} does not fit {mnemonic}: its immediate is {operand.describe()}")
        if modifier.endswith("hi"):
            if not address_reach(value):            # lui extends the sign: from 0x7FFFF800 on the address would be another
                raise SourceError(f"{value:#x} is out of range for %{modifier}: {-(1 << 31):#x}..{(1 << 31) - 0x801:#x}",
                                  hint="`la` reaches any address; of a compiler: -mcmodel=medany")
            return field.insert(hi20(value))
        return field.insert(low12(value))
    if operand.role == IMMEDIATE:
        value = signed64(value)
    if field.fits(value):
        return field.insert(value)
    if operand.role == TARGET:
        if value % field.step:
            raise SourceError(f"the target is {value} bytes away: an odd distance")
        raise SourceError(f"the target is {value} bytes away: {mnemonic} reaches {field.minimum}..{field.maximum}",
                          hint="`call`, `tail` and `jump` reach +-2 GiB; a bare number is an address, `.+8` an offset")
    hint = "%hi(...) is the upper part of a number, `la` loads an address" if field.name == "u_imm" and value > 0 else ""
    what = ("CSR number" if field.name == "csr" else "shift amount" if field.name.startswith("shamt")
            else field.name if field.name.startswith(("opcode", "funct")) else "immediate")
    raise SourceError(f"{_number(value)} is out of range for the {what} of {mnemonic}: {field.minimum}..{field.maximum}",
                      hint=hint)


def _number(value: int) -> str:
    return str(value) if abs(value) < 1 << 20 else f"{value:#x}"
