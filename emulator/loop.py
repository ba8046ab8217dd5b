"""The compiled loop: base instructions inline, Xslim instructions through the table of kernel addresses.

It knows no trap, no device and no service. It stops in front of an instruction that it cannot do. Then the fast engine has the
reference engine execute that one instruction (emulator/machine.py).
"""

from __future__ import annotations

from types import FunctionType
from typing import Any

import numpy as np

from emulator.decode import NUMBER, OPERATION, OPS_SLOT, RD, RS1, RS2, RS3, RS4, VALUE
from emulator.kernel_words import _find, count, guarded
from emulator.native.block import (
    BASE,
    CLOCK_AFTER,
    CODE,
    CODE_AT,
    COUNTS,
    CSR_FILE,
    CSR_MASKS,
    DONE,
    EARLIER,
    GUARD_BYTES,
    GUARD_START,
    HOST,
    KERNEL_TABLE,
    LENGTH,
    NO_REGISTER,
    PC,
    REGISTERS,
    RESULT,
    SIZE,
    SPANS,
    STOP,
    TOHOST,
    VISITS,
)
from emulator.native.inlining import specialised
from emulator.native.machine_code import array, call, high_mixed, high_signed, high_unsigned, load, move, store
from isa.counters import COUNTERS, SLOTS
from isa.regions import BYTES, REGIONS

BYTES_AT, BYTES_SIZE = 8 * BYTES.start, 8 * len(BYTES)         # the counters that the clock wants to have as before an operation
_N = NUMBER
OTHER, KERNEL, KERNEL_RESULT, NOTHING = _N["OTHER"], _N["KERNEL"], _N["KERNEL_RESULT"], _N["NOTHING"]
LUI, AUIPC, JAL, JALR = _N["lui"], _N["auipc"], _N["jal"], _N["jalr"]
BEQ, BNE, BLT, BGE, BLTU, BGEU = (_N[name] for name in ("beq", "bne", "blt", "bge", "bltu", "bgeu"))
LB, LH, LW, LD, LBU, LHU, LWU = (_N[name] for name in ("lb", "lh", "lw", "ld", "lbu", "lhu", "lwu"))
SB, SH, SW, SD = (_N[name] for name in ("sb", "sh", "sw", "sd"))
ADDI, SLTI, SLTIU, XORI, ORI, ANDI = (_N[name] for name in ("addi", "slti", "sltiu", "xori", "ori", "andi"))
SLLI, SRLI, SRAI, ADDIW, SLLIW, SRLIW, SRAIW = (_N[n] for n in ("slli", "srli", "srai", "addiw", "slliw", "srliw", "sraiw"))
ADD, SUB, SLL, SLT, SLTU, XOR, SRL, SRA, OR, AND = (
    _N[name] for name in ("add", "sub", "sll", "slt", "sltu", "xor", "srl", "sra", "or", "and"))
ADDW, SUBW, SLLW, SRLW, SRAW = (_N[name] for name in ("addw", "subw", "sllw", "srlw", "sraw"))
MUL, MULH, MULHSU, MULHU, DIV, DIVU, REM, REMU = (
    _N[name] for name in ("mul", "mulh", "mulhsu", "mulhu", "div", "divu", "rem", "remu"))
MULW, DIVW, DIVUW, REMW, REMUW = (_N[name] for name in ("mulw", "divw", "divuw", "remw", "remuw"))
CSRRW, CSRRS, CSRRC, CSRRWI, CSRRSI, CSRRCI = (_N[n] for n in ("csrrw", "csrrs", "csrrc", "csrrwi", "csrrsi", "csrrci"))

INSTRUCTIONS, LOADS, STORES, BRANCHES, TAKEN, MULTIPLICATIONS, DIVISIONS = (COUNTERS[f"core.{name}"].slot for name in (
    "instructions", "loads", "stores", "branches", "branches_taken", "multiplications", "divisions"))
DRAM_READ, DRAM_WRITTEN, DRAM_LOADS = (COUNTERS[f"dram.{name}"].slot for name in ("bytes_read", "bytes_written", "loads"))
LOADS_OF = np.zeros(SLOTS, np.int64)            # slot of a region's bytes read -> slot of its loads
for _kind in REGIONS.values():
    LOADS_OF[_kind.read] = _kind.loads

PROFILED = False            # _execute is compiled for either value
i8, u8, i16, u16, i32, u32, i64, u64 = (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64)


@specialised
def _column(row: int, number: int) -> int:
    return i64(load(row + 4 * number, i32))


@specialised
def _load(host: int, operation: int) -> int:
    if operation == LD:
        return load(host, i64)
    if operation == LW:
        return i64(load(host, i32))
    if operation == LWU:
        return i64(load(host, u32))
    if operation == LBU:
        return i64(load(host, u8))
    if operation == LB:
        return i64(load(host, i8))
    if operation == LH:
        return i64(load(host, i16))
    return i64(load(host, u16))


@specialised
def _store(host: int, operation: int, value: int) -> None:
    if operation == SD:
        store(host, value)
    elif operation == SW:
        store(host, i32(value))
    elif operation == SB:
        store(host, i8(value))
    else:
        store(host, i16(value))


@specialised
def _quotient(a: int, b: int) -> int:
    if b == 0:
        return -1
    if b == -1:
        return -a               # also for the smallest number, which wraps to itself
    q = a // b
    return q + 1 if q < 0 and q * b != a else q


@specialised
def _remainder(a: int, b: int) -> int:
    if b == 0:
        return a
    return 0 if b == -1 else a - b * _quotient(a, b)


@specialised
def _add(counts, slot, events):
    """Add to a counter. Numbers alone: it is compiled."""
    place = counts + 8 * slot
    store(place, load(place, i64) + i64(events))


@specialised
def _tell(counts, loads, stores, branches, taken, multiplications, divisions, read, written, of_dram):
    """Add to the counters of the core what the loop has counted beside instructions; `of_dram`: loads. Numbers alone: it is
    compiled."""
    for events, counter in ((loads, LOADS), (stores, STORES), (branches, BRANCHES), (taken, TAKEN),
                            (multiplications, MULTIPLICATIONS), (divisions, DIVISIONS), (read, DRAM_READ), (written, DRAM_WRITTEN),
                            (of_dram, DRAM_LOADS)):
        _add(counts, counter, events)


def _execute(piece, block, limit):  # type: ignore[no-untyped-def]
    """Run at most `limit` instructions of a piece of decoded code, from pc. -> instructions retired.

    Host addresses: `piece`, of a description (emulator/native/block.py), `block`, of the context block, whose first span is DRAM.
    Code is int32 (instructions, 8); visits, how often each was retired, is counted if PROFILED. Stops early in front of an
    instruction that is not plain, when pc leaves the code, and at a kernel once STOP is set.
    """
    code, length = load(piece + 8 * CODE, i64), load(piece + 8 * LENGTH, i64)
    base, visits = load(piece + 8 * CODE_AT, i64), load(piece + 8 * VISITS, i64)
    registers, kernels = load(block + 8 * REGISTERS, i64), load(block + 8 * KERNEL_TABLE, i64)
    csr_masks = load(block + 8 * CSR_MASKS, i64)
    x = array(registers, i64, NO_REGISTER + 1)
    pc = load(registers + 8 * PC, i64)
    dram = load(block + 8 * SPANS, i64)
    dram_base, dram_last, dram_host = load(dram + 8 * BASE, i64), load(dram + 8 * SIZE, i64) - 8, load(dram + 8 * HOST, i64)
    guard_start, guard_bytes = load(block + 8 * GUARD_START, i64), load(block + 8 * GUARD_BYTES, i64)
    tohost = load(block + 8 * TOHOST, i64)
    csr_file = load(block + 8 * CSR_FILE, i64)
    counts = load(block + 8 * COUNTS, i64)
    after, earlier = load(block + 8 * CLOCK_AFTER, i64), load(block + 8 * EARLIER, i64)
    at = (pc - base) >> 2
    done = told = loads = stores = branches = taken = multiplications = divisions = read = written = elsewhere = 0
    while done < limit:
        if u64(at) >= u64(length):
            break
        row = code + 32 * at
        operation = _column(row, OPERATION)
        rd, value = _column(row, RD), _column(row, VALUE)
        a, b = x[_column(row, RS1)], x[_column(row, RS2)]
        following = at + 1

        if operation == ADDI:
            x[rd] = a + value
        elif operation == ADD:
            x[rd] = a + b
        elif operation >= BEQ and operation <= BGEU:
            branches += 1
            if operation == BEQ:
                jump = a == b
            elif operation == BNE:
                jump = a != b
            elif operation == BLT:
                jump = a < b
            elif operation == BGE:
                jump = a >= b
            elif operation == BLTU:
                jump = u64(a) < u64(b)
            else:
                jump = u64(a) >= u64(b)
            if jump:
                taken += 1
                following = at + value
        elif operation >= LB and operation <= LWU:
            address = a + value
            size = 1
            if operation == LD:
                size = 8
            elif operation == LW or operation == LWU:
                size = 4
            elif operation == LH or operation == LHU:
                size = 2
            offset = address - dram_base
            if u64(offset) <= u64(dram_last):
                read += size
                x[rd] = _load(dram_host + offset, operation)
            else:
                host, counter = _find(block, 0, address, size, 1, 0)
                if host == 0:
                    break
                count(block, counter, size)
                count(block, LOADS_OF[counter], 1)
                elsewhere += 1
                x[rd] = _load(host, operation)
            loads += 1
        elif operation >= SB and operation <= SD:
            address = a + value
            size = 1
            if operation == SD:
                size = 8
            elif operation == SW:
                size = 4
            elif operation == SH:
                size = 2
            offset = address - dram_base
            if u64(address - tohost + 7) < u64(15):
                break
            if u64(address - guard_start + 7) < u64(guard_bytes + 7) and guarded(block, address, size):
                break
            if u64(offset) <= u64(dram_last):
                written += size
                _store(dram_host + offset, operation, b)
            else:
                host, counter = _find(block, 0, address, size, 1, 1)
                if host == 0:
                    break
                count(block, counter, size)
                _store(host, operation, b)
            stores += 1
        elif operation == LUI:
            x[rd] = value
        elif operation == AUIPC:
            x[rd] = base + (at << 2) + value
        elif operation == JAL:
            x[rd] = base + (following << 2)
            following = at + value
        elif operation == JALR:
            target = (a + value) & ~1
            if target & 3:
                break
            x[rd] = base + (following << 2)
            following = (target - base) >> 2
        elif operation == KERNEL or operation == KERNEL_RESULT:
            function, c, d = load(kernels + 8 * value, i64), x[_column(row, RS3)], x[_column(row, RS4)]
            if load(block + 8 * STOP, i64):             # a kernel may take long: so look before each
                break
            if after != 0:
                _add(counts, INSTRUCTIONS, done - told)
                told = done
                if loads + stores + branches + multiplications + divisions != 0:        # most operations follow a few additions
                    _tell(counts, loads, stores, branches, taken, multiplications, divisions, read, written, loads - elsewhere)
                    loads = stores = branches = taken = multiplications = divisions = read = written = elsewhere = 0
                move(earlier + BYTES_AT, counts + BYTES_AT, BYTES_SIZE)
            if function == 0 or call(function, a, b, c, d, block) != DONE:
                break
            count(block, _column(row, OPS_SLOT), 1)
            if after != 0:
                call(after, value, a, b, c, block)
            if operation == KERNEL_RESULT:
                x[rd] = load(block + 8 * RESULT, i64)
        elif operation == XORI:
            x[rd] = a ^ value
        elif operation == ORI:
            x[rd] = a | value
        elif operation == ANDI:
            x[rd] = a & value
        elif operation == SLTI:
            x[rd] = i64(a < value)
        elif operation == SLTIU:
            x[rd] = i64(u64(a) < u64(value))
        elif operation == SLLI:
            x[rd] = a << value
        elif operation == SRLI:
            x[rd] = i64(u64(a) >> u64(value))
        elif operation == SRAI:
            x[rd] = a >> value
        elif operation == ADDIW:
            x[rd] = i64(i32(a + value))
        elif operation == SLLIW:
            x[rd] = i64(i32(a << value))
        elif operation == SRLIW:
            x[rd] = i64(i32(u32(a) >> u32(value)))
        elif operation == SRAIW:
            x[rd] = i64(i32(a)) >> value
        elif operation == SUB:
            x[rd] = a - b
        elif operation == SLL:
            x[rd] = a << (b & 63)
        elif operation == SRL:
            x[rd] = i64(u64(a) >> u64(b & 63))
        elif operation == SRA:
            x[rd] = a >> (b & 63)
        elif operation == SLT:
            x[rd] = i64(a < b)
        elif operation == SLTU:
            x[rd] = i64(u64(a) < u64(b))
        elif operation == XOR:
            x[rd] = a ^ b
        elif operation == OR:
            x[rd] = a | b
        elif operation == AND:
            x[rd] = a & b
        elif operation == ADDW:
            x[rd] = i64(i32(a + b))
        elif operation == SUBW:
            x[rd] = i64(i32(a - b))
        elif operation == SLLW:
            x[rd] = i64(i32(a << (b & 31)))
        elif operation == SRLW:
            x[rd] = i64(i32(u32(a) >> u32(b & 31)))
        elif operation == SRAW:
            x[rd] = i64(i32(a)) >> (b & 31)
        elif operation == MUL:
            multiplications += 1
            x[rd] = a * b
        elif operation == MULH:
            multiplications += 1
            x[rd] = high_signed(a, b)
        elif operation == MULHSU:
            multiplications += 1
            x[rd] = high_mixed(a, b)
        elif operation == MULHU:
            multiplications += 1
            x[rd] = high_unsigned(a, b)
        elif operation == DIV:
            divisions += 1
            x[rd] = _quotient(a, b)
        elif operation == REM:
            divisions += 1
            x[rd] = _remainder(a, b)
        elif operation == DIVU:
            divisions += 1
            x[rd] = i64(u64(a) // u64(b)) if b != 0 else -1
        elif operation == REMU:
            divisions += 1
            x[rd] = i64(u64(a) % u64(b)) if b != 0 else a
        elif operation == MULW:
            multiplications += 1
            x[rd] = i64(i32(a * b))
        elif operation == DIVW:
            divisions += 1
            x[rd] = i64(i32(_quotient(i64(i32(a)), i64(i32(b)))))
        elif operation == REMW:
            divisions += 1
            x[rd] = i64(i32(_remainder(i64(i32(a)), i64(i32(b)))))
        elif operation == DIVUW:
            divisions += 1
            x[rd] = i64(i32((a & 0xFFFFFFFF) // (b & 0xFFFFFFFF))) if b & 0xFFFFFFFF else -1
        elif operation == REMUW:
            divisions += 1
            x[rd] = i64(i32((a & 0xFFFFFFFF) % (b & 0xFFFFFFFF))) if b & 0xFFFFFFFF else i64(i32(a))
        elif operation >= CSRRW and operation <= CSRRCI:
            number = _column(row, RS1)                  # register or immediate
            given = a if operation <= CSRRC else number
            place = csr_file + 8 * value
            old = load(place, i64)
            if operation == CSRRW or operation == CSRRWI:
                store(place, given & load(csr_masks + 8 * value, i64))
            elif number != 0:
                if operation == CSRRS or operation == CSRRSI:
                    store(place, (old | given) & load(csr_masks + 8 * value, i64))
                else:
                    store(place, old & ~given)
            x[rd] = old
        elif operation != NOTHING:
            break
        if PROFILED:
            store(visits + 8 * at, load(visits + 8 * at, i64) + 1)
        done += 1
        at = following
    _add(counts, INSTRUCTIONS, done - told)
    _tell(counts, loads, stores, branches, taken, multiplications, divisions, read, written, loads - elsewhere)
    store(registers + 8 * PC, base + (at << 2))
    return done


def execute(profiled: bool) -> Any:
    """The loop, or the one that also counts how often each instruction is retired: as functions that are to be compiled."""
    return FunctionType(_execute.__code__, dict(_execute.__globals__, PROFILED=profiled))
