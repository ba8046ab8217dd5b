"""Instruction words to rows of integers, once: what the compiled loop walks over.

The operation of a row is the position of its mnemonic in OPERATIONS; whatever the loop does not do itself is OTHER and goes to
the reference engine. An Xslim instruction is KERNEL (or KERNEL_RESULT, if it writes rd) with the index of its kernel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from emulator.native.block import NO_REGISTER
from isa.counters import COUNTERS
from isa.csrs import BY_ADDRESS, CSRS
from isa.instruction import TABLE, Row, decode
from isa.units import UNITS

OPERATIONS: tuple[str, ...] = (
    "OTHER", "KERNEL", "KERNEL_RESULT", "NOTHING",
    "lui", "auipc", "jal", "jalr", "beq", "bne", "blt", "bge", "bltu", "bgeu",
    "lb", "lh", "lw", "ld", "lbu", "lhu", "lwu", "sb", "sh", "sw", "sd",
    "addi", "slti", "sltiu", "xori", "ori", "andi", "slli", "srli", "srai", "addiw", "slliw", "srliw", "sraiw",
    "add", "sub", "sll", "slt", "sltu", "xor", "srl", "sra", "or", "and", "addw", "subw", "sllw", "srlw", "sraw",
    "mul", "mulh", "mulhsu", "mulhu", "div", "divu", "rem", "remu", "mulw", "divw", "divuw", "remw", "remuw",
    "csrrw", "csrrs", "csrrc", "csrrwi", "csrrsi", "csrrci")
NUMBER: dict[str, int] = {name: i for i, name in enumerate(OPERATIONS)}

# Columns of a decoded instruction. For KERNEL, the registers of its up to four operands are RS1, RS2, RS3, RS4.
OPERATION, RD, RS1, RS2, RS3, RS4, VALUE, OPS_SLOT = range(8)

KERNEL_NAMES: tuple[str, ...] = tuple(row.mnemonic for row in TABLE.values() if row.is_xslim)
KERNEL_NUMBER: dict[str, int] = {name: i for i, name in enumerate(KERNEL_NAMES)}
_PLAIN_CSRS = {csr.address for unit in UNITS.values() for csr in unit.csrs} | {
    CSRS[name].address for name in ("mtvec", "mscratch", "mepc", "mcause", "mtval")}
_NOTHING = {"fence", "fence.tso", "fence.i", "wfi"}         # stores to code are seen at once, so fence.i has nothing to do

DecodedCode = npt.NDArray[np.int32]


def decode_words(words: npt.NDArray[np.uint32], units: tuple[str, ...]) -> DecodedCode:
    """(n,) words -> (n, 8) rows. `units` are those of the machine; an instruction of another one is OTHER, so it will trap."""
    code = np.zeros((len(words), 8), np.int32)
    known: dict[int, Any] = {}
    for i, word in enumerate(words.tolist()):
        if word not in known:
            found = decode(word)
            known[word] = None if found is None else _row(*found, units)
        if known[word] is not None:
            code[i] = known[word]
    return code


def _row(row: Row, fields: dict[str, int], units: tuple[str, ...]) -> list[int] | None:
    if row.is_xslim:
        if row.unit not in units:
            return None
        registers = [fields[operand.name] for operand in row.operands if operand is not row.result]
        rd = fields[row.result.name] if row.result else 0
        return [NUMBER["KERNEL_RESULT" if row.result else "KERNEL"], rd or NO_REGISTER, *registers, *[0] * (4 - len(registers)),
                KERNEL_NUMBER[row.mnemonic], COUNTERS[f"{row.unit}.ops"].slot]
    if row.mnemonic in _NOTHING:
        return [NUMBER["NOTHING"], *[0] * 7]
    operation = NUMBER.get(row.mnemonic)
    if operation is None:
        return None
    value = next((fields[name] for name in ("imm", "shamt6", "shamt5", "csr") if name in fields), 0)
    match row.mnemonic:
        case "lui" | "auipc":
            value = (value << 12 ^ 1 << 31) - (1 << 31)             # sign-extended from bit 31
        case "jal" | "beq" | "bne" | "blt" | "bge" | "bltu" | "bgeu":
            if value % 4:                                           # would trap, if taken
                return None
            value //= 4                                             # in instructions
        case name if name.startswith("csr") and (value not in _PLAIN_CSRS or BY_ADDRESS[value].reset & ~BY_ADDRESS[value].writable):
            return None                                             # with fixed bits or an effect, a counter, or none
    source = fields.get("rs1", fields.get("zimm", 0))
    return [operation, fields.get("rd", 0) or NO_REGISTER, source, fields.get("rs2", 0), 0, 0, value, 0]
