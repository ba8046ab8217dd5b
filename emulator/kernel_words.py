"""The context block: what compiled kernels see of the machine, and the words in which they speak.

A kernel gets its operand values and the host address of this block: addresses of the counters, the CSR file, the memory
spans and the units' state. It returns DONE, or PUNT when the operation is not the plain case that it was written for: an
operand that would trap, operands that overlap, a setting that is out of range. The engine then executes the row's meaning
instead. So a kernel decides nothing about traps; it must only notice, before it writes anything, that it is not in its element.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from emulator.native.block import (  # noqa: F401 - kernels have all from here  # isort: skip
    BANKS, BASE, COUNTED_ENTRIES, COUNTED_TABLE, COUNTED_WORDS, COUNTS, CSR_FILE, DONE, FIXED, GUARD_BYTES, GUARD_COUNT,
    GUARD_START, GUARDS, HOST, LARGE, PAGE_BYTES, POOL, PORT, PORTS, PUNT, READ_SLOT, RESULT, SINK, SIZE, SPAN_COUNT, SPAN_WORDS,
    SPANS, STATE, STATE_INDEX, STOP, TOHOST, WORDS, WRITABLE, WRITE_SLOT, csr_number, slot,
)
from emulator.native.machine_code import load, store

inline: Any = njit(inline="always")
leaf: Any = njit(forceinline=True)


@leaf
def count(block: int, counter: int, events: int) -> None:
    """Add events to a counter slot."""
    address = load(block + 8 * COUNTS, np.int64) + 8 * counter
    store(address, load(address, np.int64) + events)


@leaf
def csr(block: int, number: int) -> int:
    """Value of a unit's CSR, as int64."""
    return load(load(block + 8 * CSR_FILE, np.int64) + 8 * number, np.int64)


@leaf
def result(block: int, value: int) -> None:
    """Set what goes to rd."""
    store(block + 8 * RESULT, np.int64(value))


@leaf
def state(block: int, index: int) -> int:
    """Host address of a unit's state array, by its STATE_INDEX."""
    return load(block + 8 * index, np.int64)


@leaf
def state_length(block: int, index: int) -> int:
    """Elements of a unit's state array."""
    return load(block + 8 * index + 8, np.int64)


@leaf
def overlap(a: int, a_size: int, b: int, b_size: int) -> bool:
    """True if two ranges of host memory share a byte."""
    return a < b + b_size and b < a + a_size


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
    """(host address, counter slot) of an operand, (0, SINK) when the meaning must look at it, (1, SINK) when it is empty."""
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
def is_fixed(block: int, host: int) -> bool:
    """True if what is at a host address of an operand can never change."""
    span = load(block + 8 * SPANS, np.int64)
    for _ in range(load(block + 8 * SPAN_COUNT, np.int64)):
        if load(span + 8 * FIXED, np.int64) and 0 <= host - load(span + 8 * HOST, np.int64) < load(span + 8 * SIZE, np.int64):
            return True
        span += 8 * SPAN_WORDS
    return False


@leaf
def readable(block: int, port: int, address: int, size: int, align: int) -> tuple[int, int]:
    """(host address, counter slot) of `size` bytes that the unit may read; host address 0: punt. Counts nothing."""
    return _find(block, port, address, size, align, 0)


@leaf
def writable(block: int, port: int, address: int, size: int, align: int) -> tuple[int, int]:
    """(host address, counter slot) of `size` bytes that the unit may write; host address 0: punt. Counts nothing."""
    return _find(block, port, address, size, align, 1)
