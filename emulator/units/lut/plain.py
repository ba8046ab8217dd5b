"""Weights of the LUT unit one at a time: every format, mode, group size and direction, for what the vector code leaves.

Formats are numbered as in the encoding (isa.units.lut.FORMAT_NUMBERS). Addresses are host addresses.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from emulator.native.machine_code import load, ones, store
from isa.numbers import FORMATS
from isa.units.lut.counting import bit_planes
from isa.units.lut.products import FORMAT_NUMBERS

B1, T2, T5, I2, I3, I4, I8, C2, C3, C4 = FORMAT_NUMBERS.values()        # a new format stops here: it needs code below
PLANES = tuple(bit_planes(FORMATS[name]) for name in FORMAT_NUMBERS)    # 0 for codebooks

# What one operation counts, as words of an int64 array: STEPS_LONGEST are the steps of the core that has most. Behind these words
# stand the steps of each core, where they are counted one by one. As many cores as there are outputs suffice.
LOOKUPS, BUFFER_READS, STEPS, SKIPPED_GROUPS, ZERO_WEIGHTS, STEPS_LONGEST = range(6)
EVENTS = 6

i8, u8, i32, i64 = np.int8, np.uint8, np.int32, np.int64


@njit
def row_bytes(fmt, cols):
    """Bytes of a row of weights."""
    if fmt == B1:
        return cols + 7 >> 3
    if fmt == T5:
        return (cols + 4) // 5
    if fmt == I8:
        return cols
    if fmt in (I4, C4):
        return cols + 1 >> 1
    if fmt in (I3, C3):
        return (cols + 3 >> 2) + (cols + 7 >> 3)
    return cols + 3 >> 2


@njit
def unpack(fmt, row, cols, book, out):
    """Weights of the row at `row` to int8 at `out`; `book` holds the values of a codebook's codes."""
    if fmt == I8:
        for c in range(cols):
            store(out + c, load(row + c, i8))
    elif fmt == T5:
        for c in range(cols):
            store(out + c, u8(load(row + c // 5, u8)))
        for c in range(cols):
            digits = i64(load(out + c, u8))
            for _ in range(c % 5):
                digits //= 3
            store(out + c, i8(digits % 3 - 1))
    elif fmt == B1:
        for c in range(cols):
            store(out + c, i8((load(row + (c >> 3), u8) >> (c & 7) & 1) * 2 - 1))
    elif fmt == I4:
        for c in range(cols):
            store(out + c, i8((load(row + (c >> 1), u8) >> 4 * (c & 1) & 15 ^ 8) - 8))
    elif fmt == C4:
        for c in range(cols):
            store(out + c, load(book + i64(load(row + (c >> 1), u8) >> 4 * (c & 1) & 15), i8))
    else:
        high = row + (cols + 3 >> 2)
        for c in range(cols):
            code = i64(load(row + (c >> 2), u8) >> 2 * (c & 3) & 3)
            if fmt in (I3, C3):
                code |= i64(load(high + (c >> 3), u8) >> (c & 7) & 1) << 2
            if fmt == T2:
                code -= 1
            elif fmt == I2:
                code = (code ^ 2) - 2
            elif fmt == I3:
                code = (code ^ 4) - 4
            else:
                code = i64(load(book + code, i8))
            store(out + c, i8(code))


@njit
def _group(mask, mode, events):
    """Count one group, whose weights that are not zero are the bits of `mask`."""
    weights = ones(mask)
    events[SKIPPED_GROUPS] += mask == 0
    if mode == 0:
        events[LOOKUPS] += mask != 0
        events[STEPS] += mask != 0
        return
    entries = i64(mode == 2 and mask & 7 == 7)
    reads = weights - 3 * entries
    events[LOOKUPS] += entries
    events[BUFFER_READS] += reads
    events[STEPS] += (entries + reads + 1) >> 1


@njit
def _nonzero(fmt, weight, plane):
    """1 if the weight has an event in the plane."""
    return i64(weight >> plane & 1) if PLANES[fmt] > 1 else i64(weight != 0)


@njit
def group_size(mode):
    """Weights of a group."""
    return 8 if mode == 1 else 7 if mode == 2 else 4


@njit
def count_row(fmt, mode, weights, length, events):
    """Count an output whose `length` weights lie at `weights`."""
    for c in range(length):
        events[ZERO_WEIGHTS] += load(weights + c, i8) == 0
    size = group_size(mode)
    for plane in range(PLANES[fmt]):
        for start in range(0, length, size):
            mask = 0
            for c in range(start, min(start + size, length)):
                mask |= _nonzero(fmt, load(weights + c, i8), plane) << (c - start)
            _group(mask, mode, events)


@njit
def count_binary(mode, outputs, length, events):
    """Count `outputs` times `length` weights of which none is zero."""
    size = group_size(mode)
    one = np.zeros(EVENTS, np.int64)
    _group((1 << size) - 1, mode, one)
    for i in range(EVENTS):
        events[i] += one[i] * (outputs * (length // size))
        one[i] = 0
    if length % size > 0:
        _group((1 << length % size) - 1, mode, one)
        for i in range(EVENTS):
            events[i] += one[i] * outputs


@njit
def most(by_core):
    """The steps of the core that has most, by the steps of each."""
    longest = i64(0)
    for steps in by_core:
        longest = max(longest, steps)
    return longest


@njit
def row_sums(weights, x, length, group, out):
    """int32 sums of weight times activation over each group of columns, to `out`."""
    at = out
    for start in range(0, length, group):
        total = i64(0)
        for c in range(start, min(start + group, length)):
            total += i64(load(weights + c, i8)) * i64(load(x + c, i8))
        store(at, i32(total))
        at += 4


@njit
def transposed_sums(fmt, mode, W, stride, length, cols, x, book, sums, cores, events):
    """sums[c] int32 (cols,) = sum over j of x[j] W[j, c], for the matrix (length, cols) at `W`; counts its events, also by core.

    Numbers alone, as compiled functions take them (emulator/threads/parallel.py).
    """
    weights = np.empty(cols, np.int8)
    planes, size = PLANES[fmt], group_size(mode)
    masks = np.zeros((planes, cols), np.uint8)
    for c in range(cols):
        sums[c] = 0
    for j in range(length):
        unpack(fmt, W + j * stride, cols, book, weights.ctypes.data)
        activation = i32(load(x + j, i8))
        for c in range(cols):
            sums[c] += activation * i32(weights[c])
            events[ZERO_WEIGHTS] += weights[c] == 0
        for plane in range(planes):
            for c in range(cols):
                masks[plane, c] |= _nonzero(fmt, weights[c], plane) << j % size
        if j % size == size - 1 or j == length - 1:
            for plane in range(planes):
                for c in range(cols):
                    before = events[STEPS]
                    _group(i64(masks[plane, c]), mode, events)
                    events[EVENTS + c % cores] += events[STEPS] - before
                    masks[plane, c] = 0
    events[STEPS_LONGEST] = most(events[EVENTS:])
