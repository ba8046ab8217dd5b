"""Words of the command register file (CRF): the instructions of Samsung's HBM-PIM, 32 bits each.

`.crf mac grf_b[0], grf_a[0], even_bank, aam` in assembly, a Word here, 32 bits in the CRF: PICTURE has the fields. AAM is
address-aligned mode. src2 of MAD shares the index of src1. What a word does stands in isa/units/pim/microprograms.py.

Source: SAITPublic/PIMSimulator, src/PIMCmd.h and src/PIMCmd.cpp for the fields, README 2.3 for the operands of each opcode.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

PICTURE = """\
31   28 27 25 24  22 21  19 18  16 15  14 13 12 11 10    8 7        4 3        0
+------+-----+------+------+------+---+-----+--+----------+----------+----------+
|opcode| dst | src0 | src1 | src2 |AAM|  0  |R |dst index |src0 index|src1 index|   ADD MUL MAC MAD MOV FILL
+------+-----+------+------+------+---+-----+--+--+-------+----------+----------+
|opcode| count                                    | offset                      |   JUMP
+------+------------------------------------------+-----------------------------+
|opcode| 0                                        | count                       |   NOP
+------+------------------------------------------+-----------------------------+
|opcode| 0                                                                      |   EXIT
+------+------------------------------------------------------------------------+"""

ENTRIES = 32                # words of a CRF
REGISTERS = 8               # of GRF_A, of GRF_B, of either half of SRF
REPEATS = 8                 # column commands that an instruction in AAM, and a FILL, takes

NOP, ADD, MUL, MAC, MAD, MOV, FILL, JUMP, EXIT = 0, 1, 2, 3, 4, 8, 9, 14, 15
OPCODES = {"nop": NOP, "add": ADD, "mul": MUL, "mac": MAC, "mad": MAD, "mov": MOV, "fill": FILL, "jump": JUMP, "exit": EXIT}

A_OUT, M_OUT, EVEN_BANK, ODD_BANK, GRF_A, GRF_B, SRF_M, SRF_A = range(8)
OPERANDS = ("a_out", "m_out", "even_bank", "odd_bank", "grf_a", "grf_b", "srf_m", "srf_a")

_GRF, _BANK, _SRF = {GRF_A, GRF_B}, {EVEN_BANK, ODD_BANK}, {SRF_M, SRF_A}
_ANY = _GRF | _BANK | _SRF


class OpcodeShape(NamedTuple):
    """What an opcode may have: the classes of its operands in assembly order, and whether AAM and ReLU."""

    operands: tuple[set[int], ...]
    aam: bool = False
    relu: bool = False


SHAPES: dict[int, OpcodeShape] = {
    #           dst                   src0          src1  src2
    ADD:  OpcodeShape((_GRF,                _ANY,         _ANY),       aam=True),
    MUL:  OpcodeShape((_GRF,                _GRF | _BANK, _ANY),       aam=True),
    MAC:  OpcodeShape(({GRF_B},             _GRF | _BANK, _ANY),       aam=True),
    MAD:  OpcodeShape((_GRF,                _GRF | _BANK, _ANY, _ANY), aam=True),
    MOV:  OpcodeShape((_GRF | _BANK | _SRF, _GRF | _BANK),             relu=True),
    FILL: OpcodeShape((_GRF,                _BANK),                    relu=True),
}


class CrfError(ValueError):
    """A word that is no instruction: `operand` is the place of the one that is wrong, None for the whole."""

    def __init__(self, message: str, operand: int | None = None) -> None:
        super().__init__(message)
        self.message, self.operand = message, operand


@dataclass(frozen=True)
class Word:
    """One instruction; fields that its opcode does not have are 0. `count` and `offset` are those of JUMP, `count` that of NOP."""

    opcode: int
    dst: int = 0
    src0: int = 0
    src1: int = 0
    src2: int = 0
    aam: int = 0
    relu: int = 0
    dst_index: int = 0
    src0_index: int = 0
    src1_index: int = 0
    count: int = 0
    offset: int = 0

    @property
    def operands(self) -> tuple[tuple[int, int], ...]:
        """(class, index) of dst and the sources that the opcode has."""
        every = ((self.dst, self.dst_index), (self.src0, self.src0_index), (self.src1, self.src1_index),
                 (self.src2, self.src1_index))
        return every[:len(SHAPES[self.opcode].operands)] if self.opcode in SHAPES else ()

    @property
    def commands(self) -> int:
        """Column commands that it takes each time it is reached; 0 for JUMP and EXIT."""
        if self.opcode in (JUMP, EXIT):
            return 0
        return self.count + 1 if self.opcode == NOP else REPEATS if self.aam or self.opcode == FILL else 1

    def check(self) -> None:
        """Raise CrfError, with what is there and what may be, unless this is an instruction that blocks execute."""
        name = next((name for name, opcode in OPCODES.items() if opcode == self.opcode), "")
        if not name:
            raise CrfError(f"opcode {self.opcode} is reserved; expected " + ", ".join(f"{n} {o}" for n, o in OPCODES.items()))
        if self.opcode not in SHAPES:
            return
        shape = SHAPES[self.opcode]
        if self.aam and not shape.aam:
            raise CrfError(f"{name} has no aam" + ("; it repeats eight times, with indices from the column, by itself"
                                                   if self.opcode == FILL else ""))
        if self.relu and not shape.relu:
            raise CrfError(f"{name} has no relu; mov and fill have")
        for place, ((kind, index), may_be) in enumerate(zip(self.operands, shape.operands, strict=True)):
            role = "the destination" if place == 0 else f"source {place - 1}"
            if kind not in may_be:
                raise CrfError(f"{OPERANDS[kind]} cannot be {role} of {name}; expected " + " or ".join(
                    OPERANDS[one] for one in sorted(may_be)), place)
            if kind not in _BANK and index >= REGISTERS:
                raise CrfError(f"{OPERANDS[kind]}[{index}], {role} of {name}; expected an index 0..{REGISTERS - 1}", place)
        if self.opcode == MOV and self.dst in _BANK and self.src0 in _BANK:
            raise CrfError("mov between two banks; expected a register on one side", 1)

    def encode(self) -> int:
        """The 32 bits. Raises CrfError for a field that does not fit; what the fields mean together is `check`'s."""
        bits = 0
        for name, (high, low) in _layout(self.opcode).items():
            value = getattr(self, name)
            if not 0 <= value < 1 << (high - low + 1):
                raise CrfError(f"{name.replace('_', ' ')} {value} does not fit 0..{(1 << (high - low + 1)) - 1}")
            bits |= value << low
        return bits

    def __str__(self) -> str:
        name = next((name for name, opcode in OPCODES.items() if opcode == self.opcode), f"(opcode {self.opcode})")
        if self.opcode in (NOP, JUMP):
            return f"{name} {self.count}" + (f", {self.offset}" if self.opcode == JUMP else "")
        parts = [OPERANDS[kind] + (f"[{index}]" if kind not in _BANK else "") for kind, index in self.operands]
        parts += ["aam"] * self.aam + ["relu"] * self.relu
        return f"{name} {', '.join(parts)}".strip()


_ALL = {"opcode": (31, 28)}
_OPERATION = _ALL | {"dst": (27, 25), "src0": (24, 22), "src1": (21, 19), "src2": (18, 16), "aam": (15, 15), "relu": (12, 12),
                     "dst_index": (11, 8), "src0_index": (7, 4), "src1_index": (3, 0)}
_JUMP = _ALL | {"count": (27, 11), "offset": (10, 0)}
_NOP = _ALL | {"count": (10, 0)}


def _layout(opcode: int) -> dict[str, tuple[int, int]]:
    """Field -> (high bit, low bit) of the words of an opcode."""
    return {NOP: _NOP, JUMP: _JUMP, EXIT: _ALL}.get(opcode, _OPERATION)


def decode(bits: int) -> Word:
    """The fields of a 32-bit word, whatever it is; `check` says if it is an instruction. Bits of no field are not looked at."""
    return Word(**{name: bits >> low & (1 << (high - low + 1)) - 1 for name, (high, low) in _layout(bits >> 28).items()})
