"""RV64IM and Zicsr on the reference machine, one instruction at a time, against results found by another route.

Wrapping arithmetic is checked against NumPy's fixed-width integers, high products against sums of 32-bit partial products,
division against exact fractions and against the table of the manual, control flow and memory against written-out cases.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from isa.instruction import TABLE, find
from isa.reference import ReferenceMachine, TrapReport
from isa.traps import Cause

CODE, DATA = 0x8000_0000, 0x8001_0000
ALL = (1 << 64) - 1
MIN, MINUS_ONE, MIN_W = 1 << 63, ALL, 0x8000_0000
_RNG = random.Random(64)
EDGES = sorted({value & ALL for value in (
    0, 1, 2, 3, 7, 31, 32, 63, 64, -1, -2, -7, -64, (1 << 31) - 1, 1 << 31, -(1 << 31), -(1 << 31) - 1, (1 << 32) - 1,
    1 << 32, (1 << 63) - 1, 1 << 63, (1 << 63) + 1, 0x5555_5555_5555_5555, 0xAAAA_AAAA_AAAA_AAAA, 0xFFFF_FFFF_0000_0000,
    0x0000_0001_8000_0000, _RNG.getrandbits(64), _RNG.getrandbits(64), _RNG.getrandbits(40))})
PAIRS = [(a, b) for a in EDGES for b in EDGES]


@pytest.fixture(scope="module")
def machine() -> ReferenceMachine:
    return ReferenceMachine("slim")


def poke(machine: ReferenceMachine, address: int, data: bytes) -> None:
    region = machine.memory.region(address, len(data))
    assert region is not None
    machine.memory.view(region, address, len(data))[:] = np.frombuffer(data, np.uint8)


def peek(machine: ReferenceMachine, address: int, size: int) -> bytes:
    region = machine.memory.region(address, size)
    assert region is not None
    return machine.memory.view(region, address, size).tobytes()


def step(machine: ReferenceMachine, mnemonic: str, **values: int) -> TrapReport | None:
    """Execute one instruction at CODE."""
    poke(machine, CODE, TABLE[mnemonic].encode(values).to_bytes(4, "little"))
    machine.pc = CODE
    return machine.step()


def binary(machine: ReferenceMachine, mnemonic: str, a: int, b: int) -> int:
    """rd of a register-register instruction."""
    machine.x[5], machine.x[6], machine.x[7] = a, b, 0x1234
    assert step(machine, mnemonic, rd=7, rs1=5, rs2=6) is None
    assert machine.pc == CODE + 4
    return machine.x[7]


# ------------------------------------------------------------------------------------------------ wrapping arithmetic

u64, i64 = np.uint64, np.int64


def signed(values: np.ndarray) -> np.ndarray:
    return values.view(np.int64)


def word(values: np.ndarray) -> np.ndarray:
    """The low halves as int32."""
    return values.astype(np.uint32).view(np.int32)


def extend(values: np.ndarray) -> np.ndarray:
    """int32 results as registers hold them."""
    return values.astype(np.int64).view(np.uint64)


def high_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Upper 64 bits of an unsigned product, from four partial products of 32-bit halves."""
    low, half = u64(0xFFFF_FFFF), u64(32)
    a0, a1, b0, b1 = a & low, a >> half, b & low, b >> half
    middle = a1 * b0 + ((a0 * b0) >> half)
    return a1 * b1 + (middle >> half) + ((a0 * b1 + (middle & low)) >> half)


def negative(values: np.ndarray) -> np.ndarray:
    """All ones where the sign bit is set."""
    return u64(0) - (values >> u64(63))


FIXED_WIDTH: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "add":    lambda a, b: a + b,
    "sub":    lambda a, b: a - b,
    "and":    lambda a, b: a & b,
    "or":     lambda a, b: a | b,
    "xor":    lambda a, b: a ^ b,
    "sll":    lambda a, b: a << (b % u64(64)),
    "srl":    lambda a, b: a >> (b % u64(64)),
    "sra":    lambda a, b: (signed(a) >> signed(b % u64(64))).view(u64),
    "slt":    lambda a, b: (signed(a) < signed(b)).astype(u64),
    "sltu":   lambda a, b: (a < b).astype(u64),
    "addw":   lambda a, b: extend(word(a) + word(b)),
    "subw":   lambda a, b: extend(word(a) - word(b)),
    "sllw":   lambda a, b: extend(word(a) << (word(b) % 32)),
    "srlw":   lambda a, b: extend((a.astype(np.uint32) >> (b % u64(32)).astype(np.uint32)).view(np.int32)),
    "sraw":   lambda a, b: extend(word(a) >> (word(b) % 32)),
    "mul":    lambda a, b: a * b,
    "mulw":   lambda a, b: extend(word(a) * word(b)),
    "mulhu":  high_product,
    # A negative factor counts 2**64 too much as unsigned: take the other factor off the upper half for each.
    "mulhsu": lambda a, b: high_product(a, b) - (negative(a) & b),
    "mulh":   lambda a, b: high_product(a, b) - (negative(a) & b) - (negative(b) & a),
}

IMMEDIATE = {"addi": "add", "andi": "and", "ori": "or", "xori": "xor", "slti": "slt", "sltiu": "sltu", "addiw": "addw"}
SHIFTS = {"slli": "sll", "srli": "srl", "srai": "sra", "slliw": "sllw", "srliw": "srlw", "sraiw": "sraw"}


@pytest.mark.parametrize("mnemonic", FIXED_WIDTH)
def test_registers(machine: ReferenceMachine, mnemonic: str) -> None:
    a, b = (np.array(column, u64) for column in zip(*PAIRS, strict=True))
    expected = FIXED_WIDTH[mnemonic](a, b)
    for (left, right), result in zip(PAIRS, expected.tolist(), strict=True):
        assert binary(machine, mnemonic, left, right) == result, f"{mnemonic} {left:#x}, {right:#x}"


@pytest.mark.parametrize("mnemonic", IMMEDIATE)
def test_immediates(machine: ReferenceMachine, mnemonic: str) -> None:
    for value in EDGES:
        for imm in (0, 1, -1, 2, -2, 2047, -2048, 1365, -1366):
            machine.x[5] = value
            assert step(machine, mnemonic, rd=7, rs1=5, imm=imm) is None
            expected = FIXED_WIDTH[IMMEDIATE[mnemonic]](np.array([value], u64), np.array([imm], i64).view(u64))
            assert machine.x[7] == expected[0], f"{mnemonic} {value:#x}, {imm}"


@pytest.mark.parametrize("mnemonic", SHIFTS)
def test_shifts_by_immediate(machine: ReferenceMachine, mnemonic: str) -> None:
    (amount,) = (name for name in ("shamt5", "shamt6") if name in TABLE[mnemonic].format)
    for value in EDGES:
        for shift in range(1 << int(amount[-1])):
            machine.x[5] = value
            assert step(machine, mnemonic, rd=7, rs1=5, **{amount: shift}) is None
            expected = FIXED_WIDTH[SHIFTS[mnemonic]](np.array([value], u64), np.array([shift], u64))
            assert machine.x[7] == expected[0], f"{mnemonic} {value:#x}, {shift}"


def test_upper_immediates(machine: ReferenceMachine) -> None:
    for imm, upper in ((0, 0), (1, 0x1000), (0x7FFFF, 0x7FFF_F000), (0x80000, 0xFFFF_FFFF_8000_0000),
                       (0xFFFFF, 0xFFFF_FFFF_FFFF_F000)):
        assert step(machine, "lui", rd=7, imm=imm) is None
        assert machine.x[7] == upper
        assert step(machine, "auipc", rd=7, imm=imm) is None
        assert machine.x[7] == (CODE + upper) % 2**64


# ------------------------------------------------------------------------------------------------ division


def truncated(bits: int, is_signed: bool, remainder: bool) -> Callable[[int, int], int]:
    """Division by the text of the manual, on exact fractions; results as a register holds them."""
    def interpret(value: int) -> int:
        value %= 1 << bits
        return value - (1 << bits) if is_signed and value >> (bits - 1) else value

    def divide(left: int, right: int) -> int:
        dividend, divisor = interpret(left), interpret(right)
        if divisor == 0:
            result = dividend if remainder else ALL
        else:
            quotient = math.trunc(Fraction(dividend, divisor))
            result = dividend - quotient * divisor if remainder else quotient
        low = result % (1 << bits)
        return low | (ALL >> bits << bits if low >> (bits - 1) else 0)

    return divide


DIVISIONS = {name + suffix: truncated(bits, not name.endswith("u"), name.startswith("rem"))
             for name in ("div", "divu", "rem", "remu") for bits, suffix in ((64, ""), (32, "w"))}


@pytest.mark.parametrize("mnemonic", DIVISIONS)
def test_division(machine: ReferenceMachine, mnemonic: str) -> None:
    for left, right in PAIRS:
        expected = DIVISIONS[mnemonic](left, right)
        assert binary(machine, mnemonic, left, right) == expected, f"{mnemonic} {left:#x}, {right:#x}"


@pytest.mark.parametrize(("mnemonic", "dividend", "divisor", "result"), [
    # Volume I, "Semantics for division by zero and division overflow"; then signs, from "towards zero".
    ("div", 7, 0, MINUS_ONE), ("divu", 7, 0, ALL), ("rem", 7, 0, 7), ("remu", 7, 0, 7),
    ("div", MIN, MINUS_ONE, MIN), ("rem", MIN, MINUS_ONE, 0),
    ("divw", 7, 0, MINUS_ONE), ("divuw", 7, 0, ALL), ("remw", 7, 0, 7), ("remuw", 7, 0, 7),
    ("divw", MIN_W, MINUS_ONE, 0xFFFF_FFFF_8000_0000), ("remw", MIN_W, MINUS_ONE, 0),
    ("remuw", 0x8000_0000, 0, 0xFFFF_FFFF_8000_0000), ("divuw", 0xFFFF_FFFF, 1, ALL),
    ("div", -7 & ALL, 2, -3 & ALL), ("rem", -7 & ALL, 2, -1 & ALL), ("div", 7, -2 & ALL, -3 & ALL),
    ("rem", 7, -2 & ALL, 1), ("div", -7 & ALL, -2 & ALL, 3), ("rem", -7 & ALL, -2 & ALL, -1 & ALL),
    ("divu", MIN, ALL, 0), ("remu", MIN, ALL, MIN),
    ("mulh", MIN, MIN, 1 << 62), ("mulhu", ALL, ALL, ALL - 1), ("mulhsu", ALL, ALL, ALL), ("mulh", ALL, ALL, 0)])
def test_division_table(machine: ReferenceMachine, mnemonic: str, dividend: int, divisor: int, result: int) -> None:
    assert binary(machine, mnemonic, dividend, divisor) == result


# ------------------------------------------------------------------------------------------------ control flow

CONDITIONS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "beq":  lambda a, b: a == b,                    "bne":  lambda a, b: a != b,
    "blt":  lambda a, b: signed(a) < signed(b),     "bge":  lambda a, b: signed(a) >= signed(b),
    "bltu": lambda a, b: a < b,                     "bgeu": lambda a, b: a >= b,
}


@pytest.mark.parametrize("mnemonic", CONDITIONS)
def test_branches(machine: ReferenceMachine, mnemonic: str) -> None:
    a, b = (np.array(column, u64) for column in zip(*PAIRS, strict=True))
    offsets = (8, -4, 4092, -4096, 64)
    for position, taken in enumerate(CONDITIONS[mnemonic](a, b).tolist()):
        machine.x[5], machine.x[6] = PAIRS[position]
        offset = offsets[position % len(offsets)]
        assert step(machine, mnemonic, rs1=5, rs2=6, imm=offset) is None
        assert machine.pc == CODE + (offset if taken else 4), f"{mnemonic} {PAIRS[position]}"


def test_jumps(machine: ReferenceMachine) -> None:
    for offset in (8, -4, (1 << 20) - 4, -(1 << 20), 0):
        assert step(machine, "jal", rd=1, imm=offset) is None
        assert (machine.pc, machine.x[1]) == (CODE + offset, CODE + 4)
    for base, imm, target in ((DATA, 0, DATA), (DATA, -4, DATA - 4), (DATA, 2044, DATA + 2044), (DATA + 1, 0, DATA),
                              (DATA, 1, DATA), (4, -4, 0), (0, -4, ALL - 3)):
        for link in (1, 5):                         # x5 is also the base: the target uses the old value
            machine.x[5] = base
            assert step(machine, "jalr", rd=link, rs1=5, imm=imm) is None
            assert (machine.pc, machine.x[link]) == (target, CODE + 4)


def test_x0_stays_zero(machine: ReferenceMachine) -> None:
    machine.x[5] = 99
    for mnemonic, values in (("addi", {"rs1": 5, "imm": 1}), ("lui", {"imm": 5}), ("jal", {"imm": 8}),
                             ("mul", {"rs1": 5, "rs2": 5}), ("csrrs", {"csr": 0xF14, "rs1": 0})):
        assert step(machine, mnemonic, rd=0, **values) is None
        assert machine.x[0] == 0


def test_misaligned_targets_trap(machine: ReferenceMachine) -> None:
    machine.x[5], machine.x[1] = DATA + 2, 77
    for mnemonic, values in (("jal", {"rd": 1, "imm": 6}), ("jalr", {"rd": 1, "rs1": 5, "imm": 0}),
                             ("beq", {"rs1": 0, "rs2": 0, "imm": 2})):
        report = step(machine, mnemonic, **values)
        assert report is not None
        assert report.cause == Cause.FETCH_MISALIGNED
        assert (machine.pc, machine.x[1]) == (CODE, 77)         # nothing happened
    assert step(machine, "bne", rs1=0, rs2=0, imm=2) is None    # not taken: no trap


# ------------------------------------------------------------------------------------------------ memory

PATTERN = bytes([0x80, 0x7F, 0xFF, 0x01, 0x00, 0xFE, 0x10, 0x88, 0x11, 0x22, 0x33, 0xC4, 0x55, 0x66, 0x77, 0x99])
SIZES = {"b": 1, "h": 2, "w": 4, "d": 8}


@pytest.mark.parametrize("mnemonic", ["lb", "lh", "lw", "ld", "lbu", "lhu", "lwu"])
def test_loads(machine: ReferenceMachine, mnemonic: str) -> None:
    poke(machine, DATA, PATTERN)
    size = SIZES[mnemonic[1]]
    for offset in range(16 - size + 1):             # scalar accesses need no alignment
        expected = int.from_bytes(PATTERN[offset:offset + size], "little", signed=not mnemonic.endswith("u")) & ALL
        for base, imm in ((DATA, offset), (DATA + 2048, offset - 2048), (DATA - 2047 + offset, 2047)):
            machine.x[5] = base
            assert step(machine, mnemonic, rd=7, rs1=5, imm=imm) is None
            assert machine.x[7] == expected, f"{mnemonic} {offset}"


@pytest.mark.parametrize("mnemonic", ["sb", "sh", "sw", "sd"])
def test_stores(machine: ReferenceMachine, mnemonic: str) -> None:
    size, value = SIZES[mnemonic[1]], 0xF1E2_D3C4_B5A6_9788
    for offset in range(16 - size + 1):
        poke(machine, DATA, PATTERN)
        machine.x[5], machine.x[6] = DATA, value
        assert step(machine, mnemonic, rs1=5, rs2=6, imm=offset) is None
        expected = PATTERN[:offset] + value.to_bytes(8, "little")[:size] + PATTERN[offset + size:]
        assert peek(machine, DATA, 16) == expected


@pytest.mark.parametrize(("mnemonic", "cause"), [("lw", Cause.LOAD_ACCESS), ("sd", Cause.STORE_ACCESS)])
def test_access_outside_memory_traps(machine: ReferenceMachine, mnemonic: str, cause: Cause) -> None:
    dram = machine.preset.region("dram")
    for address in (0, dram.base + dram.size - 2, ALL):
        machine.x[5], machine.x[7] = address, 77
        report = step(machine, mnemonic, rs1=5, imm=0, **({"rs2": 6} if mnemonic == "sd" else {"rd": 7}))
        assert report is not None
        assert (report.cause, report.value, machine.x[7], machine.pc) == (cause, address, 77, CODE)


# ------------------------------------------------------------------------------------------------ system

MSCRATCH, MHARTID = 0x340, 0xF14


def test_csr_instructions(machine: ReferenceMachine) -> None:
    old, source = 0xF0F0_F0F0_1234_5678, 0x0FF0_0FF0_FFFF_0000
    for mnemonic, new in (("csrrw", source), ("csrrs", old | source), ("csrrc", old & ~source & ALL)):
        machine.set_csr("mscratch", old)
        machine.x[5] = source
        assert step(machine, mnemonic, rd=7, csr=MSCRATCH, rs1=5) is None
        assert (machine.x[7], machine.csr("mscratch")) == (old, new)
    for mnemonic, new in (("csrrwi", 0b10110), ("csrrsi", old | 0b10110), ("csrrci", old & ~0b10110 & ALL)):
        machine.set_csr("mscratch", old)
        assert step(machine, mnemonic, rd=7, csr=MSCRATCH, zimm=0b10110) is None
        assert (machine.x[7], machine.csr("mscratch")) == (old, new)
    machine.set_csr("mscratch", old)
    machine.x[5] = source
    assert step(machine, "csrrw", rd=5, csr=MSCRATCH, rs1=5) is None        # swap in place
    assert (machine.x[5], machine.csr("mscratch")) == (old, source)


def test_read_only_csrs(machine: ReferenceMachine) -> None:
    for mnemonic, values in (("csrrs", {"rs1": 0}), ("csrrc", {"rs1": 0}), ("csrrsi", {"zimm": 0}), ("csrrci", {"zimm": 0})):
        assert step(machine, mnemonic, rd=7, csr=MHARTID, **values) is None
    for mnemonic, values in (("csrrw", {"rs1": 0}), ("csrrs", {"rs1": 5}), ("csrrwi", {"zimm": 0}), ("csrrci", {"zimm": 1})):
        report = step(machine, mnemonic, rd=7, csr=MHARTID, **values)
        assert report is not None
        assert report.cause == Cause.ILLEGAL_INSTRUCTION


def test_trap_and_return(machine: ReferenceMachine) -> None:
    machine.set_csr("mtvec", DATA)
    machine.set_csr("mstatus", 1 << 3)              # MIE
    assert step(machine, "ebreak") is None          # a handler is installed: no report
    assert (machine.pc, machine.csr("mepc"), machine.csr("mcause")) == (DATA, CODE, 3)
    assert machine.csr("mstatus") & 0x88 == 0x80    # MIE moved to MPIE
    assert step(machine, "mret") is None
    assert machine.pc == CODE
    assert machine.csr("mstatus") & 0x88 == 0x88
    machine.set_csr("mtvec", 0)
    report = step(machine, "ebreak")
    assert report is not None
    assert report.cause == Cause.BREAKPOINT


def test_fences_do_nothing(machine: ReferenceMachine) -> None:
    before = list(machine.x)
    for mnemonic, values in (("fence", {"pred": 15, "succ": 15}), ("fence.tso", {}), ("fence.i", {}), ("wfi", {})):
        assert step(machine, mnemonic, **values) is None
        assert machine.pc == CODE + 4
    assert machine.x == before


@pytest.mark.parametrize("word", [0x8320_008F, 0x0100_080F, 0xC330_000F, 0x1000_000F, 0x8330_000F | 0x1F << 15, 0x0010_100F,
                                  0x0000_120F, 0xFFFF_9F8F])
def test_reserved_settings_of_fences_are_ignored(machine: ReferenceMachine, word: int) -> None:
    """Volume I: "for forward compatibility, base implementations shall ignore these fields". QEMU does."""
    before = list(machine.x)
    poke(machine, CODE, word.to_bytes(4, "little"))
    machine.pc = CODE
    assert machine.step() is None
    assert (machine.pc, machine.x) == (CODE + 4, before)
    assert find(word) is None                       # so that a disassembler prints what assembles to the same bits


def test_every_base_row_is_checked() -> None:
    """A row that is added to the control core needs a case here."""
    checked = {*FIXED_WIDTH, *IMMEDIATE, *SHIFTS, *DIVISIONS, *CONDITIONS, "lui", "auipc", "jal", "jalr",
               "lb", "lh", "lw", "ld", "lbu", "lhu", "lwu", "sb", "sh", "sw", "sd", "fence", "fence.tso", "fence.i", "wfi",
               "ebreak", "mret", "csrrw", "csrrs", "csrrc", "csrrwi", "csrrsi", "csrrci",
               "ecall"}                             # services: tests/isa/test_reference.py
    assert {row.mnemonic for row in TABLE.values() if not row.is_xslim} == checked
