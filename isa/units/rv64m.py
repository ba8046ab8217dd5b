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


@instruction("mul     R  opcode=0x33 funct3=0 funct7=0x01", "x[rd] = low64(x[rs1] * x[rs2])",
             example="mul a0, a1, a2            # elements of a matrix of a1 rows")
def mul(m, rs1, rs2):
    m.count("core.multiplications")
    return rs1 * rs2


@instruction("mulh    R  opcode=0x33 funct3=1 funct7=0x01", "x[rd] = high64(signed(x[rs1]) * signed(x[rs2]))",
             example="mul  a0, a2, a3           # low half ...\n"
                     "mulh a1, a2, a3           # ... and high half of a product with sign")
def mulh(m, rs1, rs2):
    m.count("core.multiplications")
    return (s64(rs1) * s64(rs2)) >> 64


@instruction("mulhsu  R  opcode=0x33 funct3=2 funct7=0x01", "x[rd] = high64(signed(x[rs1]) * x[rs2])",
             example="mulhsu a0, a1, a2         # high half; a1 has a sign, a2 has none")
def mulhsu(m, rs1, rs2):
    m.count("core.multiplications")
    return (s64(rs1) * rs2) >> 64


@instruction("mulhu   R  opcode=0x33 funct3=3 funct7=0x01", "x[rd] = high64(x[rs1] * x[rs2])",
             example="mulhu a0, a1, a2          # high half of a product without sign")
def mulhu(m, rs1, rs2):
    m.count("core.multiplications")
    return (rs1 * rs2) >> 64


@instruction("div     R  opcode=0x33 funct3=4 funct7=0x01", "x[rd] = signed(x[rs1]) / signed(x[rs2]), towards zero",
             example="li  a0, -7\n"
                     "li  a1, 2\n"
                     "div a0, a0, a1            # a0 = -3; by 0 it were -1")
def div(m, rs1, rs2):
    m.count("core.divisions")
    return _divide(s64(rs1), s64(rs2))


@instruction("divu    R  opcode=0x33 funct3=5 funct7=0x01", "x[rd] = x[rs1] / x[rs2]",
             example="addi a0, a0, 63\n"
                     "li   t0, 64\n"
                     "divu a0, a0, t0           # tiles of 64 that hold a0 elements")
def divu(m, rs1, rs2):
    m.count("core.divisions")
    return _divide(rs1, rs2)


@instruction("rem     R  opcode=0x33 funct3=6 funct7=0x01", "x[rd] = signed(x[rs1]) % signed(x[rs2]), sign of x[rs1]",
             example="li  a0, -7\n"
                     "li  a1, 2\n"
                     "rem a0, a0, a1            # a0 = -1: the sign of a0")
def rem(m, rs1, rs2):
    m.count("core.divisions")
    return _remainder(s64(rs1), s64(rs2))


@instruction("remu    R  opcode=0x33 funct3=7 funct7=0x01", "x[rd] = x[rs1] % x[rs2]",
             example="li   a1, 10\n"
                     "remu a0, a0, a1           # the last decimal digit; by 0 it were a0")
def remu(m, rs1, rs2):
    m.count("core.divisions")
    return _remainder(rs1, rs2)


@instruction("mulw    R  opcode=0x3B funct3=0 funct7=0x01", "x[rd] = sext32(x[rs1] * x[rs2])",
             example="li   a0, 0x10000\n"
                     "mulw a0, a0, a0           # a0 = 0: int32 wraps")
def mulw(m, rs1, rs2):
    m.count("core.multiplications")
    return s32(rs1 * rs2)


@instruction("divw    R  opcode=0x3B funct3=4 funct7=0x01", "x[rd] = sext32(sext32(x[rs1]) / sext32(x[rs2]))",
             example="li   a0, 0x80000000\n"
                     "li   a1, -1\n"
                     "divw a0, a0, a1           # a0 = -0x80000000: it does not fit")
def divw(m, rs1, rs2):
    m.count("core.divisions")
    return s32(_divide(s32(rs1), s32(rs2)))


@instruction("divuw   R  opcode=0x3B funct3=5 funct7=0x01", "x[rd] = sext32(low32(x[rs1]) / low32(x[rs2]))",
             example="li    a0, -1\n"
                     "li    a1, 2\n"
                     "divuw a0, a0, a1          # a0 = 0x7fffffff")
def divuw(m, rs1, rs2):
    m.count("core.divisions")
    return s32(_divide(rs1 & 0xFFFF_FFFF, rs2 & 0xFFFF_FFFF))


@instruction("remw    R  opcode=0x3B funct3=6 funct7=0x01", "x[rd] = sext32(sext32(x[rs1]) % sext32(x[rs2]))",
             example="li   a0, -7\n"
                     "li   a1, 4\n"
                     "remw a0, a0, a1           # a0 = -3")
def remw(m, rs1, rs2):
    m.count("core.divisions")
    return s32(_remainder(s32(rs1), s32(rs2)))


@instruction("remuw   R  opcode=0x3B funct3=7 funct7=0x01", "x[rd] = sext32(low32(x[rs1]) % low32(x[rs2]))",
             example="li    a0, -1\n"
                     "li    a1, 10\n"
                     "remuw a0, a0, a1          # a0 = 5: the last digit of 4294967295")
def remuw(m, rs1, rs2):
    m.count("core.divisions")
    return s32(_remainder(rs1 & 0xFFFF_FFFF, rs2 & 0xFFFF_FFFF))
