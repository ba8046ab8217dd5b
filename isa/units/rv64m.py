"""RV64M: integer multiplication and division.

Source: The RISC-V Instruction Set Manual, Volume I, chapter "M Standard Extension". Division by zero and overflow give
the defined results of that chapter's table; nothing traps.
"""

from __future__ import annotations

from isa.arithmetic import s32, s64
from isa.instruction import instruction
from isa.unit import Unit

UNIT = Unit("rv64m", "Multiply and divide", "Integer multiplication and division of the control core.")


def _divide(dividend: int, divisor: int) -> int:
    """Quotient rounded towards zero; all ones for a zero divisor."""
    if divisor == 0:
        return -1
    quotient = abs(dividend) // abs(divisor)
    return quotient if (dividend < 0) == (divisor < 0) else -quotient


def _remainder(dividend: int, divisor: int) -> int:
    """Remainder with the dividend's sign; the dividend itself for a zero divisor."""
    return dividend if divisor == 0 else dividend - divisor * _divide(dividend, divisor)


@instruction("mul     R  opcode=0x33 funct3=0 funct7=0x01", "x[rd] = low64(x[rs1] * x[rs2])")
def mul(m, rs1, rs2):
    return rs1 * rs2


@instruction("mulh    R  opcode=0x33 funct3=1 funct7=0x01", "x[rd] = high64(signed(x[rs1]) * signed(x[rs2]))")
def mulh(m, rs1, rs2):
    return (s64(rs1) * s64(rs2)) >> 64


@instruction("mulhsu  R  opcode=0x33 funct3=2 funct7=0x01", "x[rd] = high64(signed(x[rs1]) * x[rs2])")
def mulhsu(m, rs1, rs2):
    return (s64(rs1) * rs2) >> 64


@instruction("mulhu   R  opcode=0x33 funct3=3 funct7=0x01", "x[rd] = high64(x[rs1] * x[rs2])")
def mulhu(m, rs1, rs2):
    return (rs1 * rs2) >> 64


@instruction("div     R  opcode=0x33 funct3=4 funct7=0x01", "x[rd] = signed(x[rs1]) / signed(x[rs2]), towards zero")
def div(m, rs1, rs2):
    return _divide(s64(rs1), s64(rs2))


@instruction("divu    R  opcode=0x33 funct3=5 funct7=0x01", "x[rd] = x[rs1] / x[rs2]")
def divu(m, rs1, rs2):
    return _divide(rs1, rs2)


@instruction("rem     R  opcode=0x33 funct3=6 funct7=0x01", "x[rd] = signed(x[rs1]) % signed(x[rs2]), sign of x[rs1]")
def rem(m, rs1, rs2):
    return _remainder(s64(rs1), s64(rs2))


@instruction("remu    R  opcode=0x33 funct3=7 funct7=0x01", "x[rd] = x[rs1] % x[rs2]")
def remu(m, rs1, rs2):
    return _remainder(rs1, rs2)


@instruction("mulw    R  opcode=0x3B funct3=0 funct7=0x01", "x[rd] = sext32(x[rs1] * x[rs2])")
def mulw(m, rs1, rs2):
    return s32(rs1 * rs2)


@instruction("divw    R  opcode=0x3B funct3=4 funct7=0x01", "x[rd] = sext32(sext32(x[rs1]) / sext32(x[rs2]))")
def divw(m, rs1, rs2):
    return s32(_divide(s32(rs1), s32(rs2)))


@instruction("divuw   R  opcode=0x3B funct3=5 funct7=0x01", "x[rd] = sext32(low32(x[rs1]) / low32(x[rs2]))")
def divuw(m, rs1, rs2):
    return s32(_divide(rs1 & 0xFFFF_FFFF, rs2 & 0xFFFF_FFFF))


@instruction("remw    R  opcode=0x3B funct3=6 funct7=0x01", "x[rd] = sext32(sext32(x[rs1]) % sext32(x[rs2]))")
def remw(m, rs1, rs2):
    return s32(_remainder(s32(rs1), s32(rs2)))


@instruction("remuw   R  opcode=0x3B funct3=7 funct7=0x01", "x[rd] = sext32(low32(x[rs1]) % low32(x[rs2]))")
def remuw(m, rs1, rs2):
    return s32(_remainder(rs1 & 0xFFFF_FFFF, rs2 & 0xFFFF_FFFF))
