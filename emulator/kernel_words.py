"""The words in which kernels speak: counters, CSRs, state, and the memory of operands.

All of them take the host address of the context block (emulator/native/block.py), which holds the addresses of all this. A kernel
returns DONE when the instruction is executed. It returns PUNT when the case is not the one that it was written for: an operand
would trap, operands overlap, a setting is out of range. Then the engine executes the row's meaning instead. So a kernel decides
nothing about traps. But it must return PUNT before it has written or counted anything.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from emulator.native.block import (  # noqa: F401 - kernels have all from here  # isort: skip
    BANKS, BASE, COUNTED_ENTRIES, COUNTED_TABLE, COUNTED_WORDS, COUNTS, CSR_FILE, DONE, FIXED, GUARD_BYTES, GUARD_COUNT,
    GUARD_START, GUARDS, HOST, LARGE, LUT_CORES, MACROS, NOTES, NOTES_AT, PAGE_BYTES, POOL, PORT, PORTS, PUNT, READ_SLOT, RESULT,
    SINK, SIZE, SPAN_COUNT, SPAN_WORDS, SPANS, STATE, STATE_INDEX, STOP, TOHOST, WORDS, WRITABLE, WRITE_SLOT, csr_number, slot,
)
from emulator.native.inlining import inline
from emulator.native.machine_code import load, store
from emulator.simd.lanes import same_bits


@inline
def count(block: int, counter: int, events: int) -> None:
    """Add events to a counter slot."""
    address = load(block + 8 * COUNTS, np.int64) + 8 * counter
    store(address, load(address, np.int64) + events)


@inline
def csr(block: int, number: int) -> int:
    """Value of a unit's CSR, as int64."""
    return load(load(block + 8 * CSR_FILE, np.int64) + 8 * number, np.int64)


@inline
def result(block: int, value: int) -> None:
    """Set what goes to rd."""
    store(block + 8 * RESULT, np.int64(value))


@inline
def state(block: int, index: int) -> int:
    """Host address of a unit's state array, by its STATE_INDEX."""
    return load(block + 8 * index, np.int64)


@inline
def state_length(block: int, index: int) -> int:
    """Elements of a unit's state array."""
    return load(block + 8 * index + 8, np.int64)


@inline
def scalar(bits: int) -> float:
    """The fp32 number in the low 32 bits of a register."""
    return same_bits(np.uint32(bits), np.float32)


@inline
def overlap(a: int, a_size: int, b: int, b_size: int) -> bool:
    """True if two ranges of host memory share a byte."""
    return a < b + b_size and b < a + a_size


@inline
def apart(a: int, a_size: int, b: int, b_size: int) -> bool:
    """True if two ranges of host memory share no byte, or start at the same one."""
    return not overlap(a, a_size, b, b_size) or a == b


@njit
def guarded(block: int, address: int, size: int) -> bool:
    """True if the engine must see a write there: it changes decoded instructions, or is watched."""
    if not overlap(address, size, load(block + 8 * GUARD_START, np.int64), load(block + 8 * GUARD_BYTES, np.int64)):
        return False
    place = load(block + 8 * GUARDS, np.int64)                  # (address, bytes) of each range that is guarded
    for _ in range(load(block + 8 * GUARD_COUNT, np.int64)):
        if overlap(address, size, load(place, np.int64), load(place + 8, np.int64)):
            return True
        place += 16
    return False


@njit
def _find(block: int, port: int, address: int, size: int, align: int, write: int) -> tuple[int, int]:
    """(host address, counter slot) of an operand. (0, SINK): punt. (1, SINK): it has no bytes."""
    if size == 0:
        return 1, SINK
    if size < 0 or size > LARGE or address & (align - 1):
        return 0, SINK
    span = load(block + 8 * SPANS, np.int64)
    for _ in range(load(block + 8 * SPAN_COUNT, np.int64)):
        offset = address - load(span + 8 * BASE, np.int64)
        if offset >= 0 and offset <= load(span + 8 * SIZE, np.int64) - size:        # no sum: it might wrap around
            if not load(span + 8 * PORTS, np.int64) >> port & 1 or (write and not load(span + 8 * WRITABLE, np.int64)):
                return 0, SINK
            if write and guarded(block, address, size):
                return 0, SINK
            return load(span + 8 * HOST, np.int64) + offset, load(span + 8 * (WRITE_SLOT if write else READ_SLOT), np.int64)
        span += 8 * SPAN_WORDS
    return 0, SINK


@njit
def is_fixed(block: int, host: int, size: int) -> bool:
    """True if nothing has changed `size` bytes at the host address of an operand since the program was loaded. If anything can
    change them later, the machine then forgets what is remembered."""
    span = load(block + 8 * SPANS, np.int64)
    for _ in range(load(block + 8 * SPAN_COUNT, np.int64)):
        offset = host - load(span + 8 * HOST, np.int64)
        if load(span + 8 * FIXED, np.int64) and 0 <= offset <= load(span + 8 * SIZE, np.int64) - size:
            return True
        span += 8 * SPAN_WORDS
    return False


@inline
def readable(block: int, port: int, address: int, size: int, align: int) -> tuple[int, int]:
    """(host address, counter slot) of `size` bytes that the unit may read; host address 0: punt. Counts nothing."""
    return _find(block, port, address, size, align, 0)


@inline
def writable(block: int, port: int, address: int, size: int, align: int) -> tuple[int, int]:
    """(host address, counter slot) of `size` bytes that the unit may write; host address 0: punt. Counts nothing."""
    return _find(block, port, address, size, align, 1)
