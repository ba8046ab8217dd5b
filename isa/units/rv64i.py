"""RV64I: the integer base of the control core.

Source: The RISC-V Instruction Set Manual, Volume I, chapters "RV32I" and "RV64I".
Registers hold 64-bit values, passed as unsigned integers; a result is taken modulo 2**64.
"""

from __future__ import annotations

from isa.arithmetic import s32, s64
from isa.instruction import instruction
from isa.traps import Cause, Trap
from isa.unit import Unit

UNIT = Unit("rv64i", "Integer base", "Scalar integer instructions of the control core.")

# ------------------------------------------------------------------------------------------------ upper immediates


@instruction("lui     U  opcode=0x37", "x[rd] = sext(imm << 12)")
def lui(m, imm):
    return s32(imm << 12)


@instruction("auipc   U  opcode=0x17", "x[rd] = pc + sext(imm << 12)")
def auipc(m, imm):
    return m.pc + s32(imm << 12)


# ------------------------------------------------------------------------------------------------ jumps and branches


@instruction("jal     J  opcode=0x6F", "x[rd] = pc + 4; pc += imm")
def jal(m, imm):
    return m.jump(m.pc + imm)


@instruction("jalr    LOAD opcode=0x67 funct3=0", "t = (x[rs1] + imm) & ~1; x[rd] = pc + 4; pc = t")
def jalr(m, rs1, imm):
    return m.jump((rs1 + imm) & ~1)


@instruction("beq     B  opcode=0x63 funct3=0", "if x[rs1] == x[rs2]: pc += imm")
def beq(m, rs1, rs2, imm):
    m.branch(rs1 == rs2, imm)


@instruction("bne     B  opcode=0x63 funct3=1", "if x[rs1] != x[rs2]: pc += imm")
def bne(m, rs1, rs2, imm):
    m.branch(rs1 != rs2, imm)


@instruction("blt     B  opcode=0x63 funct3=4", "if signed(x[rs1]) < signed(x[rs2]): pc += imm")
def blt(m, rs1, rs2, imm):
    m.branch(s64(rs1) < s64(rs2), imm)


@instruction("bge     B  opcode=0x63 funct3=5", "if signed(x[rs1]) >= signed(x[rs2]): pc += imm")
def bge(m, rs1, rs2, imm):
    m.branch(s64(rs1) >= s64(rs2), imm)


@instruction("bltu    B  opcode=0x63 funct3=6", "if x[rs1] < x[rs2]: pc += imm")
def bltu(m, rs1, rs2, imm):
    m.branch(rs1 < rs2, imm)


@instruction("bgeu    B  opcode=0x63 funct3=7", "if x[rs1] >= x[rs2]: pc += imm")
def bgeu(m, rs1, rs2, imm):
    m.branch(rs1 >= rs2, imm)


# ------------------------------------------------------------------------------------------------ loads and stores


@instruction("lb      LOAD opcode=0x03 funct3=0", "x[rd] = sext(mem8[x[rs1] + imm])")
def lb(m, rs1, imm):
    return m.load_int(rs1 + imm, "i1")


@instruction("lh      LOAD opcode=0x03 funct3=1", "x[rd] = sext(mem16[x[rs1] + imm])")
def lh(m, rs1, imm):
    return m.load_int(rs1 + imm, "i2")


@instruction("lw      LOAD opcode=0x03 funct3=2", "x[rd] = sext(mem32[x[rs1] + imm])")
def lw(m, rs1, imm):
    return m.load_int(rs1 + imm, "i4")


@instruction("ld      LOAD opcode=0x03 funct3=3", "x[rd] = mem64[x[rs1] + imm]")
def ld(m, rs1, imm):
    return m.load_int(rs1 + imm, "i8")


@instruction("lbu     LOAD opcode=0x03 funct3=4", "x[rd] = mem8[x[rs1] + imm]")
def lbu(m, rs1, imm):
    return m.load_int(rs1 + imm, "u1")


@instruction("lhu     LOAD opcode=0x03 funct3=5", "x[rd] = mem16[x[rs1] + imm]")
def lhu(m, rs1, imm):
    return m.load_int(rs1 + imm, "u2")


@instruction("lwu     LOAD opcode=0x03 funct3=6", "x[rd] = mem32[x[rs1] + imm]")
def lwu(m, rs1, imm):
    return m.load_int(rs1 + imm, "u4")


@instruction("sb      S  opcode=0x23 funct3=0", "mem8[x[rs1] + imm] = x[rs2]")
def sb(m, rs2, rs1, imm):
    m.store_int(rs1 + imm, rs2, "u1")


@instruction("sh      S  opcode=0x23 funct3=1", "mem16[x[rs1] + imm] = x[rs2]")
def sh(m, rs2, rs1, imm):
    m.store_int(rs1 + imm, rs2, "u2")


@instruction("sw      S  opcode=0x23 funct3=2", "mem32[x[rs1] + imm] = x[rs2]")
def sw(m, rs2, rs1, imm):
    m.store_int(rs1 + imm, rs2, "u4")


@instruction("sd      S  opcode=0x23 funct3=3", "mem64[x[rs1] + imm] = x[rs2]")
def sd(m, rs2, rs1, imm):
    m.store_int(rs1 + imm, rs2, "u8")


# ------------------------------------------------------------------------------------------------ immediates


@instruction("addi    I  opcode=0x13 funct3=0", "x[rd] = x[rs1] + imm")
def addi(m, rs1, imm):
    return rs1 + imm


@instruction("slti    I  opcode=0x13 funct3=2", "x[rd] = signed(x[rs1]) < imm")
def slti(m, rs1, imm):
    return int(s64(rs1) < imm)


@instruction("sltiu   I  opcode=0x13 funct3=3", "x[rd] = x[rs1] < unsigned(imm)")
def sltiu(m, rs1, imm):
    return int(rs1 < imm % (1 << 64))


@instruction("xori    I  opcode=0x13 funct3=4", "x[rd] = x[rs1] ^ imm")
def xori(m, rs1, imm):
    return rs1 ^ imm


@instruction("ori     I  opcode=0x13 funct3=6", "x[rd] = x[rs1] | imm")
def ori(m, rs1, imm):
    return rs1 | imm


@instruction("andi    I  opcode=0x13 funct3=7", "x[rd] = x[rs1] & imm")
def andi(m, rs1, imm):
    return rs1 & imm


@instruction("slli    SHIFT opcode=0x13 funct3=1 funct6=0x00", "x[rd] = x[rs1] << shamt6")
def slli(m, rs1, shamt6):
    return rs1 << shamt6


@instruction("srli    SHIFT opcode=0x13 funct3=5 funct6=0x00", "x[rd] = x[rs1] >> shamt6, zeros shifted in")
def srli(m, rs1, shamt6):
    return rs1 >> shamt6


@instruction("srai    SHIFT opcode=0x13 funct3=5 funct6=0x10", "x[rd] = signed(x[rs1]) >> shamt6, sign shifted in")
def srai(m, rs1, shamt6):
    return s64(rs1) >> shamt6


@instruction("addiw   I  opcode=0x1B funct3=0", "x[rd] = sext32(x[rs1] + imm)")
def addiw(m, rs1, imm):
    return s32(rs1 + imm)


@instruction("slliw   SHIFTW opcode=0x1B funct3=1 funct7=0x00", "x[rd] = sext32(x[rs1] << shamt5)")
def slliw(m, rs1, shamt5):
    return s32(rs1 << shamt5)


@instruction("srliw   SHIFTW opcode=0x1B funct3=5 funct7=0x00", "x[rd] = sext32(low32(x[rs1]) >> shamt5)")
def srliw(m, rs1, shamt5):
    return s32((rs1 & 0xFFFF_FFFF) >> shamt5)


@instruction("sraiw   SHIFTW opcode=0x1B funct3=5 funct7=0x20", "x[rd] = sext32(x[rs1]) >> shamt5, sign shifted in")
def sraiw(m, rs1, shamt5):
    return s32(rs1) >> shamt5


# ------------------------------------------------------------------------------------------------ registers


@instruction("add     R  opcode=0x33 funct3=0 funct7=0x00", "x[rd] = x[rs1] + x[rs2]")
def add(m, rs1, rs2):
    return rs1 + rs2


@instruction("sub     R  opcode=0x33 funct3=0 funct7=0x20", "x[rd] = x[rs1] - x[rs2]")
def sub(m, rs1, rs2):
    return rs1 - rs2


@instruction("sll     R  opcode=0x33 funct3=1 funct7=0x00", "x[rd] = x[rs1] << (x[rs2] & 63)")
def sll(m, rs1, rs2):
    return rs1 << (rs2 & 63)


@instruction("slt     R  opcode=0x33 funct3=2 funct7=0x00", "x[rd] = signed(x[rs1]) < signed(x[rs2])")
def slt(m, rs1, rs2):
    return int(s64(rs1) < s64(rs2))


@instruction("sltu    R  opcode=0x33 funct3=3 funct7=0x00", "x[rd] = x[rs1] < x[rs2]")
def sltu(m, rs1, rs2):
    return int(rs1 < rs2)


@instruction("xor     R  opcode=0x33 funct3=4 funct7=0x00", "x[rd] = x[rs1] ^ x[rs2]")
def xor(m, rs1, rs2):
    return rs1 ^ rs2


@instruction("srl     R  opcode=0x33 funct3=5 funct7=0x00", "x[rd] = x[rs1] >> (x[rs2] & 63), zeros shifted in")
def srl(m, rs1, rs2):
    return rs1 >> (rs2 & 63)


@instruction("sra     R  opcode=0x33 funct3=5 funct7=0x20", "x[rd] = signed(x[rs1]) >> (x[rs2] & 63), sign shifted in")
def sra(m, rs1, rs2):
    return s64(rs1) >> (rs2 & 63)


@instruction("or      R  opcode=0x33 funct3=6 funct7=0x00", "x[rd] = x[rs1] | x[rs2]")
def or_(m, rs1, rs2):
    return rs1 | rs2


@instruction("and     R  opcode=0x33 funct3=7 funct7=0x00", "x[rd] = x[rs1] & x[rs2]")
def and_(m, rs1, rs2):
    return rs1 & rs2


@instruction("addw    R  opcode=0x3B funct3=0 funct7=0x00", "x[rd] = sext32(x[rs1] + x[rs2])")
def addw(m, rs1, rs2):
    return s32(rs1 + rs2)


@instruction("subw    R  opcode=0x3B funct3=0 funct7=0x20", "x[rd] = sext32(x[rs1] - x[rs2])")
def subw(m, rs1, rs2):
    return s32(rs1 - rs2)


@instruction("sllw    R  opcode=0x3B funct3=1 funct7=0x00", "x[rd] = sext32(x[rs1] << (x[rs2] & 31))")
def sllw(m, rs1, rs2):
    return s32(rs1 << (rs2 & 31))


@instruction("srlw    R  opcode=0x3B funct3=5 funct7=0x00", "x[rd] = sext32(low32(x[rs1]) >> (x[rs2] & 31))")
def srlw(m, rs1, rs2):
    return s32((rs1 & 0xFFFF_FFFF) >> (rs2 & 31))


@instruction("sraw    R  opcode=0x3B funct3=5 funct7=0x20", "x[rd] = sext32(x[rs1]) >> (x[rs2] & 31), sign shifted in")
def sraw(m, rs1, rs2):
    return s32(rs1) >> (rs2 & 31)


# ------------------------------------------------------------------------------------------------ fences and system


# Volume I, "Memory Ordering Instructions": for forward compatibility base implementations ignore rd and rs1 and treat reserved
# settings of fm as a normal fence; of fence.i ("Zifencei") they ignore the immediate, rs1 and rd.
@instruction("fence     FENCE  opcode=0x0F funct3=0 fm=0",
             "no operation: memory is sequentially consistent; reserved values of fm, rs1 and rd do not matter",
             ignores="fm rs1 rd")
def fence(m, pred, succ):
    return None


@instruction("fence.tso FENCE  opcode=0x0F funct3=0 fm=8 pred=3 succ=3", "no operation", syntax="")
def fence_tso(m):
    return None


@instruction("fence.i   SYSTEM opcode=0x0F funct3=1 funct12=0",
             "no operation: fetches see all earlier stores at once; reserved values of the immediate, rs1 and rd do not matter",
             ignores="funct12 rs1 rd")
def fence_i(m):
    return None


@instruction("ecall     SYSTEM opcode=0x73 funct3=0 funct12=0",
             "service a7 of the environment; traps for a number of no service, and while mtvec is not 0 for every number "
             "below 0x5110")
def ecall(m):
    m.environment_call()


@instruction("ebreak    SYSTEM opcode=0x73 funct3=0 funct12=1", "trap: breakpoint")
def ebreak(m):
    raise Trap(Cause.BREAKPOINT, m.pc, "ebreak")
