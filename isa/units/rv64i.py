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


@instruction("lui     U  opcode=0x37", "x[rd] = sext(imm << 12)",
             example="lui  a0, 0x12345          # a0 = 0x12345000\n"
                     "addi a0, a0, 0x678        # a0 = 0x12345678: what `li` writes for it")
def lui(m, imm):
    return s32(imm << 12)


@instruction("auipc   U  opcode=0x17", "x[rd] = pc + sext(imm << 12)",
             example="auipc a0, 0               # a0 = address of this instruction\n"
                     "addi  a0, a0, 12          # that of the one behind these two\n"
                     "jr    a0")
def auipc(m, imm):
    return m.pc + s32(imm << 12)


# ------------------------------------------------------------------------------------------------ jumps and branches


@instruction("jal     J  opcode=0x6F", "x[rd] = pc + 4; pc += imm",
             example="jal ra, 1f                # call: ra = address behind it\n"
                     "j   2f\n"
                     "1:  ret\n"
                     "2:")
def jal(m, imm):
    return m.jump(m.pc + imm)


@instruction("jalr    LOAD opcode=0x67 funct3=0", "t = (x[rs1] + imm) & ~1; x[rd] = pc + 4; pc = t",
             example="la   t0, 1f\n"
                     "jalr ra, 0(t0)            # call through a register\n"
                     "j    2f\n"
                     "1:  ret\n"
                     "2:")
def jalr(m, rs1, imm):
    return m.jump((rs1 + imm) & ~1)


@instruction("beq     B  opcode=0x63 funct3=0", "if x[rs1] == x[rs2]: pc += imm",
             example="li  a0, 3\n"
                     "1:  beq a0, zero, 2f           # leave the loop at 0\n"
                     "addi a0, a0, -1\n"
                     "j   1b\n"
                     "2:")
def beq(m, rs1, rs2, imm):
    m.branch(rs1 == rs2, imm)


@instruction("bne     B  opcode=0x63 funct3=1", "if x[rs1] != x[rs2]: pc += imm",
             example="li   a0, 3\n"
                     "1:  addi a0, a0, -1\n"
                     "bne  a0, zero, 1b          # three rounds")
def bne(m, rs1, rs2, imm):
    m.branch(rs1 != rs2, imm)


@instruction("blt     B  opcode=0x63 funct3=4", "if signed(x[rs1]) < signed(x[rs2]): pc += imm",
             example="li  a0, -1\n"
                     "blt a0, zero, 1f          # taken: -1 < 0\n"
                     "li  a0, 0\n"
                     "1:")
def blt(m, rs1, rs2, imm):
    m.branch(s64(rs1) < s64(rs2), imm)


@instruction("bge     B  opcode=0x63 funct3=5", "if signed(x[rs1]) >= signed(x[rs2]): pc += imm",
             example="bge a0, a1, 1f            # a0 = max(a0, a1)\n"
                     "mv  a0, a1\n"
                     "1:")
def bge(m, rs1, rs2, imm):
    m.branch(s64(rs1) >= s64(rs2), imm)


@instruction("bltu    B  opcode=0x63 funct3=6", "if x[rs1] < x[rs2]: pc += imm",
             example="li   a0, -1\n"
                     "bltu a0, a1, 1f           # not taken: -1 is the largest of all\n"
                     "li   a0, 0\n"
                     "1:")
def bltu(m, rs1, rs2, imm):
    m.branch(rs1 < rs2, imm)


@instruction("bgeu    B  opcode=0x63 funct3=7", "if x[rs1] >= x[rs2]: pc += imm",
             example="li   t0, 10\n"
                     "bgeu a0, t0, 1f           # an index outside 0..9, a negative one too\n"
                     "slli a0, a0, 2\n"
                     "1:")
def bgeu(m, rs1, rs2, imm):
    m.branch(rs1 >= rs2, imm)


# ------------------------------------------------------------------------------------------------ loads and stores


def _address(base, offset):
    """The address of a load or store: a sum modulo 2**64."""
    return (base + offset) % (1 << 64)


@instruction("lb      LOAD opcode=0x03 funct3=0", "x[rd] = sext(mem8[x[rs1] + imm])",
             example="li t0, 0xff\n"
                     "sb t0, 0(sp)\n"
                     "lb a0, 0(sp)              # a0 = -1")
def lb(m, rs1, imm):
    return m.load_int(_address(rs1, imm), "i1")


@instruction("lh      LOAD opcode=0x03 funct3=1", "x[rd] = sext(mem16[x[rs1] + imm])",
             example="li t0, 0x8000\n"
                     "sh t0, 0(sp)\n"
                     "lh a0, 0(sp)              # a0 = -0x8000")
def lh(m, rs1, imm):
    return m.load_int(_address(rs1, imm), "i2")


@instruction("lw      LOAD opcode=0x03 funct3=2", "x[rd] = sext(mem32[x[rs1] + imm])",
             example="lw a0, 4(sp)              # an int32 or the bits of an f32, any alignment")
def lw(m, rs1, imm):
    return m.load_int(_address(rs1, imm), "i4")


@instruction("ld      LOAD opcode=0x03 funct3=3", "x[rd] = mem64[x[rs1] + imm]",
             example="sd ra, 8(sp)              # save a register on the stack ...\n"
                     "ld ra, 8(sp)              # ... and take it back")
def ld(m, rs1, imm):
    return m.load_int(_address(rs1, imm), "i8")


@instruction("lbu     LOAD opcode=0x03 funct3=4", "x[rd] = mem8[x[rs1] + imm]",
             example="li  t0, 0xff\n"
                     "sb  t0, 0(sp)\n"
                     "lbu a0, 0(sp)             # a0 = 255")
def lbu(m, rs1, imm):
    return m.load_int(_address(rs1, imm), "u1")


@instruction("lhu     LOAD opcode=0x03 funct3=5", "x[rd] = mem16[x[rs1] + imm]",
             example="lhu a0, 6(sp)             # the bits of an f16")
def lhu(m, rs1, imm):
    return m.load_int(_address(rs1, imm), "u2")


@instruction("lwu     LOAD opcode=0x03 funct3=6", "x[rd] = mem32[x[rs1] + imm]",
             example="li  t0, -1\n"
                     "sw  t0, 0(sp)\n"
                     "lwu a0, 0(sp)             # a0 = 0xffffffff")
def lwu(m, rs1, imm):
    return m.load_int(_address(rs1, imm), "u4")


@instruction("sb      S  opcode=0x23 funct3=0", "mem8[x[rs1] + imm] = x[rs2]",
             example="li t0, 65\n"
                     "sb t0, 0(sp)              # one byte, 'A'; the bytes beside it stay")
def sb(m, rs2, rs1, imm):
    m.store_int(_address(rs1, imm), rs2, "u1")


@instruction("sh      S  opcode=0x23 funct3=1", "mem16[x[rs1] + imm] = x[rs2]",
             example="li t0, 0x3c00\n"
                     "sh t0, 2(sp)              # 1.0 as f16")
def sh(m, rs2, rs1, imm):
    m.store_int(_address(rs1, imm), rs2, "u2")


@instruction("sw      S  opcode=0x23 funct3=2", "mem32[x[rs1] + imm] = x[rs2]",
             example="li t0, 0x3f800000\n"
                     "sw t0, 4(sp)              # 1.0 as f32")
def sw(m, rs2, rs1, imm):
    m.store_int(_address(rs1, imm), rs2, "u4")


@instruction("sd      S  opcode=0x23 funct3=3", "mem64[x[rs1] + imm] = x[rs2]",
             example="addi sp, sp, -16\n"
                     "sd   ra, 8(sp)            # before a call")
def sd(m, rs2, rs1, imm):
    m.store_int(_address(rs1, imm), rs2, "u8")


# ------------------------------------------------------------------------------------------------ immediates


@instruction("addi    I  opcode=0x13 funct3=0", "x[rd] = x[rs1] + imm",
             example="addi a0, a0, -1           # count down\n"
                     "addi a1, a0, 0            # `mv a1, a0`")
def addi(m, rs1, imm):
    return rs1 + imm


@instruction("slti    I  opcode=0x13 funct3=2", "x[rd] = signed(x[rs1]) < imm",
             example="slti a0, a1, 10           # a0 = a1 < 10, as numbers with sign")
def slti(m, rs1, imm):
    return int(s64(rs1) < imm)


@instruction("sltiu   I  opcode=0x13 funct3=3", "x[rd] = x[rs1] < unsigned(imm)",
             example="sltiu a0, a1, 1           # a0 = a1 == 0: `seqz a0, a1`")
def sltiu(m, rs1, imm):
    return int(rs1 < imm % (1 << 64))


@instruction("xori    I  opcode=0x13 funct3=4", "x[rd] = x[rs1] ^ imm",
             example="xori a0, a0, -1           # every bit changed: `not a0, a0`")
def xori(m, rs1, imm):
    return rs1 ^ imm


@instruction("ori     I  opcode=0x13 funct3=6", "x[rd] = x[rs1] | imm",
             example="ori a0, a0, 1             # bit 0 set")
def ori(m, rs1, imm):
    return rs1 | imm


@instruction("andi    I  opcode=0x13 funct3=7", "x[rd] = x[rs1] & imm",
             example="andi a0, a1, 63           # a1 mod 64")
def andi(m, rs1, imm):
    return rs1 & imm


@instruction("slli    SHIFT opcode=0x13 funct3=1 funct6=0x00", "x[rd] = x[rs1] << shamt6",
             example="slli a0, a1, 2            # bytes of a1 words")
def slli(m, rs1, shamt6):
    return rs1 << shamt6


@instruction("srli    SHIFT opcode=0x13 funct3=5 funct6=0x00", "x[rd] = x[rs1] >> shamt6, zeros shifted in",
             example="srli a0, a1, 32           # the upper half")
def srli(m, rs1, shamt6):
    return rs1 >> shamt6


@instruction("srai    SHIFT opcode=0x13 funct3=5 funct6=0x10", "x[rd] = signed(x[rs1]) >> shamt6, sign shifted in",
             example="srai a0, a1, 1            # a1 / 2, rounded down, of negative numbers too")
def srai(m, rs1, shamt6):
    return s64(rs1) >> shamt6


@instruction("addiw   I  opcode=0x1B funct3=0", "x[rd] = sext32(x[rs1] + imm)",
             example="addiw a0, a0, 0           # bit 31 copied up: `sext.w a0, a0`")
def addiw(m, rs1, imm):
    return s32(rs1 + imm)


@instruction("slliw   SHIFTW opcode=0x1B funct3=1 funct7=0x00", "x[rd] = sext32(x[rs1] << shamt5)",
             example="li    a0, 1\n"
                     "slliw a0, a0, 31          # a0 = -0x80000000")
def slliw(m, rs1, shamt5):
    return s32(rs1 << shamt5)


@instruction("srliw   SHIFTW opcode=0x1B funct3=5 funct7=0x00", "x[rd] = sext32(low32(x[rs1]) >> shamt5)",
             example="li    a0, -1\n"
                     "srliw a0, a0, 28          # a0 = 15: the upper half of the register is not looked at")
def srliw(m, rs1, shamt5):
    return s32((rs1 & 0xFFFF_FFFF) >> shamt5)


@instruction("sraiw   SHIFTW opcode=0x1B funct3=5 funct7=0x20", "x[rd] = sext32(x[rs1]) >> shamt5, sign shifted in",
             example="li    a0, 0x80000000\n"
                     "sraiw a0, a0, 31          # a0 = -1: bit 31 is the sign")
def sraiw(m, rs1, shamt5):
    return s32(rs1) >> shamt5


# ------------------------------------------------------------------------------------------------ registers


@instruction("add     R  opcode=0x33 funct3=0 funct7=0x00", "x[rd] = x[rs1] + x[rs2]",
             example="slli t0, a1, 2\n"
                     "add  a0, a2, t0           # address of word a1 of an array at a2")
def add(m, rs1, rs2):
    return rs1 + rs2


@instruction("sub     R  opcode=0x33 funct3=0 funct7=0x20", "x[rd] = x[rs1] - x[rs2]",
             example="sub a0, a1, a2            # bytes between two addresses")
def sub(m, rs1, rs2):
    return rs1 - rs2


@instruction("sll     R  opcode=0x33 funct3=1 funct7=0x00", "x[rd] = x[rs1] << (x[rs2] & 63)",
             example="li  t0, 1\n"
                     "sll a0, t0, a1            # only bit a1")
def sll(m, rs1, rs2):
    return rs1 << (rs2 & 63)


@instruction("slt     R  opcode=0x33 funct3=2 funct7=0x00", "x[rd] = signed(x[rs1]) < signed(x[rs2])",
             example="slt a0, a1, a2            # a0 = 1 if a1 < a2, as numbers with sign, else 0")
def slt(m, rs1, rs2):
    return int(s64(rs1) < s64(rs2))


@instruction("sltu    R  opcode=0x33 funct3=3 funct7=0x00", "x[rd] = x[rs1] < x[rs2]",
             example="add  a0, a1, a2\n"
                     "sltu t0, a0, a1           # t0 = the carry of the sum")
def sltu(m, rs1, rs2):
    return int(rs1 < rs2)


@instruction("xor     R  opcode=0x33 funct3=4 funct7=0x00", "x[rd] = x[rs1] ^ x[rs2]",
             example="xor  a0, a1, a2\n"
                     "seqz a0, a0               # a0 = a1 == a2")
def xor(m, rs1, rs2):
    return rs1 ^ rs2


@instruction("srl     R  opcode=0x33 funct3=5 funct7=0x00", "x[rd] = x[rs1] >> (x[rs2] & 63), zeros shifted in",
             example="srl  a0, a1, a2           # bit a2 of a1 ...\n"
                     "andi a0, a0, 1            # ... alone")
def srl(m, rs1, rs2):
    return rs1 >> (rs2 & 63)


@instruction("sra     R  opcode=0x33 funct3=5 funct7=0x20", "x[rd] = signed(x[rs1]) >> (x[rs2] & 63), sign shifted in",
             example="sra a0, a1, a2            # a1 / 2**a2, rounded down")
def sra(m, rs1, rs2):
    return s64(rs1) >> (rs2 & 63)


@instruction("or      R  opcode=0x33 funct3=6 funct7=0x00", "x[rd] = x[rs1] | x[rs2]",
             example="slli t0, a1, 32\n"
                     "or   a0, t0, a2           # two halves of a word of 64 bits")
def or_(m, rs1, rs2):
    return rs1 | rs2


@instruction("and     R  opcode=0x33 funct3=7 funct7=0x00", "x[rd] = x[rs1] & x[rs2]",
             example="and a0, a1, a2            # bits that both have")
def and_(m, rs1, rs2):
    return rs1 & rs2


@instruction("addw    R  opcode=0x3B funct3=0 funct7=0x00", "x[rd] = sext32(x[rs1] + x[rs2])",
             example="li   a0, 0x7fffffff\n"
                     "li   a1, 1\n"
                     "addw a0, a0, a1           # a0 = -0x80000000: int32 wraps")
def addw(m, rs1, rs2):
    return s32(rs1 + rs2)


@instruction("subw    R  opcode=0x3B funct3=0 funct7=0x20", "x[rd] = sext32(x[rs1] - x[rs2])",
             example="li   a0, 0\n"
                     "li   a1, 1\n"
                     "subw a0, a0, a1           # a0 = -1")
def subw(m, rs1, rs2):
    return s32(rs1 - rs2)


@instruction("sllw    R  opcode=0x3B funct3=1 funct7=0x00", "x[rd] = sext32(x[rs1] << (x[rs2] & 31))",
             example="sllw a0, a1, a2           # an int32 shifted by the low 5 bits of a2")
def sllw(m, rs1, rs2):
    return s32(rs1 << (rs2 & 31))


@instruction("srlw    R  opcode=0x3B funct3=5 funct7=0x00", "x[rd] = sext32(low32(x[rs1]) >> (x[rs2] & 31))",
             example="srlw a0, a1, a2           # a uint32 shifted, and copied up from bit 31")
def srlw(m, rs1, rs2):
    return s32((rs1 & 0xFFFF_FFFF) >> (rs2 & 31))


@instruction("sraw    R  opcode=0x3B funct3=5 funct7=0x20", "x[rd] = sext32(x[rs1]) >> (x[rs2] & 31), sign shifted in",
             example="sraw a0, a1, a2           # an int32 / 2**a2, rounded down")
def sraw(m, rs1, rs2):
    return s32(rs1) >> (rs2 & 31)


# ------------------------------------------------------------------------------------------------ fences and system


# Volume I, "Memory Ordering Instructions": for forward compatibility base implementations ignore rd and rs1 and treat reserved
# settings of fm as a normal fence; of fence.i ("Zifencei") they ignore the immediate, rs1 and rd.
@instruction("fence     FENCE  opcode=0x0F funct3=0 fm=0",
             "no operation: memory is sequentially consistent; reserved values of fm, rs1 and rd do not matter",
             ignores="fm rs1 rd",
             example="fetch.copy a0, a1, a2\n"
                     "sync.fence                # this waits for the units\n"
                     "fence rw, rw              # and this for nothing")
def fence(m, pred, succ):
    return None


@instruction("fence.tso FENCE  opcode=0x0F funct3=0 fm=8 pred=3 succ=3", "no operation", syntax="",
             example="fence.tso                 # stands in compiled code")
def fence_tso(m):
    return None


@instruction("fence.i   SYSTEM opcode=0x0F funct3=1 funct12=0",
             "no operation: fetches see all earlier stores at once; reserved values of the immediate, rs1 and rd do not matter",
             ignores="funct12 rs1 rd",
             example="li t0, 0x13               # the word of `nop`\n"
                     "la t1, 1f\n"
                     "sw t0, 0(t1)\n"
                     "fence.i\n"
                     "1:  ebreak                     # now a nop")
def fence_i(m):
    return None


@instruction("ecall     SYSTEM opcode=0x73 funct3=0 funct12=0",
             "service a7 of the environment; traps for a number of no service, and while mtvec is not 0 for every number "
             "below 0x5110",
             example="li a0, 0\n"
                     "li a7, 93                 # exit with code a0\n"
                     "ecall")
def ecall(m):
    m.environment_call()


@instruction("ebreak    SYSTEM opcode=0x73 funct3=0 funct12=1", "trap: breakpoint",
             example="la t0, 1f\n"
                     "csrw mtvec, t0\n"
                     "ebreak                    # to the handler, with mcause = 3\n"
                     ".balign 4\n"
                     "1:  csrr a0, mcause")
def ebreak(m):
    raise Trap(Cause.BREAKPOINT, m.pc, "ebreak")
