"""Products of int8 values by vector code, some rows at a time: bitmasks (bitmask.py) and N of M (gather.py).

A row is worked on in pieces: the columns of a group that shares a scale, or all. A piece is whole chunks, but for a row's last.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from emulator.native.features import AVX512
from emulator.native.inlining import inline
from emulator.native.machine_code import array, clear_bytes, load, move, store
from emulator.simd.folds import fold
from emulator.simd.lanes import take
from emulator.threads.parallel import add_events
from emulator.units.sp.bitmask import bitmask_dot, bitmask_lanes, blocks_with_code, not_zero
from emulator.units.sp.gather import gather_dot
from emulator.units.sp.plain import BAD, BM, F32, NONZERO, STORED, WORDS, index_bits

CHUNK = 64
BATCH = 16 << 10        # bytes of values that are still in a first-level cache when they are looked at for zeros
MOST_BLOCK = max(blocks_with_code(), default=0)
GATHERS = ((1, 4), (2, 4), (2, 8), (4, 8), (4, 16), (8, 16)) if AVX512 else ()     # of gather.GATHERED those with code here
WINDOW = 256            # bytes of the vector that a gather may read behind the last column

i8, u8, i32, u32, i64, f32 = np.int8, np.uint8, np.int32, np.uint32, np.int64, np.float32

# ------------------------------------------------------------------------------------------------ which code there is

if AVX512:
    @njit
    def masked(p, mask, chunks, rest, tail, w, x, out):
        """bitmask_dot for blocks of p."""
        if p == 1:
            return bitmask_dot(1, mask, chunks, rest, tail, w, x, out)
        if p == 2:
            return bitmask_dot(2, mask, chunks, rest, tail, w, x, out)
        return bitmask_dot(4, mask, chunks, rest, tail, w, x, out)

    @njit
    def gathered(p, q, meta, chunks, w, x, out):
        """gather_dot for p of q."""
        if q == 4:
            return gather_dot(1, 4, meta, chunks, w, x, out) if p == 1 else gather_dot(2, 4, meta, chunks, w, x, out)
        if q == 8:
            return gather_dot(2, 8, meta, chunks, w, x, out) if p == 2 else gather_dot(4, 8, meta, chunks, w, x, out)
        return gather_dot(4, 16, meta, chunks, w, x, out) if p == 4 else gather_dot(8, 16, meta, chunks, w, x, out)
else:
    @njit
    def masked(p, mask, chunks, rest, tail, w, x, out):
        """bitmask_dot for blocks of 1; elsewhere there is none."""
        return bitmask_dot(1, mask, chunks, rest, tail, w, x, out) if MOST_BLOCK else w

    @njit
    def gathered(p, q, meta, chunks, w, x, out):
        """There is none."""
        return 0


@njit
def has_vector_code(kind, p, q, group, groups):
    """True if `some_masked_sums` or `some_gathered_sums` may be called, for int8 values in pieces of `group` columns."""
    if kind == BM:
        return (p == 1 or p == 2 or p == 4) and p <= MOST_BLOCK and (groups == 1 or group % CHUNK == 0)
    if len(GATHERS) == 0 or not ((q == 4 and 1 <= p <= 2) or (q == 8 and (p == 2 or p == 4)) or (q == 16 and (p == 4 or p == 8))):
        return False
    return groups == 1 or group % (CHUNK // p * q) == 0


# ------------------------------------------------------------------------------------------------ small pieces


@njit
def bits_of(mask, count):
    """The next `count` bits of a mask, fewer than 64."""
    bits = i64(0)
    for i in range(count + 7 >> 3):
        bits |= i64(load(mask + i, u8)) << 8 * i
    return bits


@njit
def counted(address, end):
    """Bytes that are not zero."""
    whole = (end - address) >> 6
    found = not_zero(address, whole)
    for at in range(address + CHUNK * whole, end):
        found += load(at, u8) != 0
    return found


@njit
def place_of(meta, bits, slot):
    """A place of N of M: that of a value of a row."""
    at, word = meta + (slot * bits >> 3), i64(0)
    for i in range((slot * bits & 7) + bits + 7 >> 3):
        word |= i64(load(at + i, u8)) << 8 * i
    return word >> (slot * bits & 7) & (1 << bits) - 1


# ------------------------------------------------------------------------------------------------ some rows


@inline
def some_masked_sums(first, last, host, end, starts, meta, meta_bytes, rows, vectors, cols, p, x, apart, group, groups, excess,
                     sums, known, found):
    """sums[v, r, g] int32 at an address, for the rows first..last of a bitmask with blocks of p.

    `end`: behind the last value. x int8, a vector each `apart` bytes, zeros behind its last column; excess (vectors, groups) int32
    at an address: 128 times its sums.

    Numbers alone, as `in_parallel` passes them.
    """
    scratch, events = np.zeros(cols + 4 * CHUNK, np.uint8), np.zeros(WORDS, np.int64)
    spare, blocks = scratch.ctypes.data, (cols + p - 1) // p
    place = host + load(starts + 8 * first, i64)
    begin = looked = place
    for r in range(first, last):
        mask = meta + r * meta_bytes
        for g in range(groups):
            start = g * group
            n = min(cols - start, group)
            chunks, rest = n >> 6, n & 63
            tail = bits_of(mask + (start + CHUNK * chunks) // p // 8, (rest + p - 1) // p) if rest > 0 else 0
            here, values = mask + start // p // 8, place
            if place + n + 2 * CHUNK > end:
                move(spare, place, min(end - place, n + p))
                values = i64(spare)
            behind = values
            for v in range(vectors):
                out = sums + 4 * ((v * rows + r) * groups + g)
                behind = masked(p, here, chunks, rest, tail, values, x + v * apart + start, out)
                store(out, i32(load(out, i32) - load(excess + 4 * (v * groups + g), i32)))
            place += behind - values
        if cols % p > 0 and load(mask + (blocks - 1 >> 3), u8) >> (blocks - 1 & 7) & 1:
            for i in range(1, p - cols % p + 1):
                events[BAD] |= load(place - i, u8) != 0
        if not known and (place - looked >= BATCH or r == last - 1):
            events[NONZERO] += counted(looked, place)
            looked = place
    events[STORED] = place - begin
    add_events(found, events)
    scratch[0] = 0              # keeps its memory alive until here


@inline
def some_gathered_sums(first, last, host, slots, meta, meta_bytes, rows, vectors, cols, p, q, x, apart, group, groups, sums, known,
                       found):
    """sums[v, r, g] int32 at an address, for the rows first..last of p of q. x + 128 unsigned, a vector each `apart` bytes, 128
    behind its last column.

    Numbers alone, as `in_parallel` passes them.
    """
    scratch, events, bits = np.zeros(4 * CHUNK, np.uint8), np.zeros(WORDS, np.int64), index_bits(q)
    spare, window = scratch.ctypes.data, CHUNK // p * q
    looked = host + first * slots
    for r in range(first, last):
        row, places = host + r * slots, meta + r * meta_bytes
        for g in range(groups):
            start = g * group
            n = (min(cols - start, group) + q - 1) // q * p             # values
            begin = start // q * p
            chunks, rest = n >> 6, n & 63
            if rest > 0:
                behind = begin + CHUNK * chunks
                clear_bytes(spare, 2 * CHUNK)
                move(spare, row + behind, rest)
                move(spare + CHUNK, places + (behind * bits >> 3), (rest * bits + 7) >> 3)
            for v in range(vectors):
                out, vector = sums + 4 * ((v * rows + r) * groups + g), x + v * apart + start
                wrong = gathered(p, q, places + (begin * bits >> 3), chunks, row + begin, vector, out)
                events[BAD] |= wrong != 0
                if rest > 0:
                    wrong = gathered(p, q, spare + CHUNK, 1, spare, vector + window * chunks, spare + 2 * CHUNK)
                    events[BAD] |= wrong & ((1 << rest) - 1) != 0
                    store(out, i32(load(out, i32) + load(spare + 2 * CHUNK, i32)))
        if cols % q > 0:
            for slot in range(slots - p, slots):
                beyond = cols // q * q + place_of(places, bits, slot) >= cols
                events[BAD] |= beyond and load(row + slot, u8) != 0
        if not known and (row + slots - looked >= BATCH or r == last - 1):
            events[NONZERO] += counted(looked, row + slots)
            looked = row + slots
    events[STORED] = (last - first) * slots
    add_events(found, events)
    scratch[0] = 0              # keeps its memory alive until here


if AVX512:
    @inline
    def some_masked_lanes(first, last, host, end, starts, meta, meta_bytes, rows, vectors, cols, x, target, known, found):
        """y[v, r] f32 at `target` for the rows first..last of a bitmask with blocks of 1. x f32 (vectors, cols), 15 more that are
        read.

        Numbers alone, as `in_parallel` passes them.
        """
        scratch, events = np.zeros(4 * cols + 4 * CHUNK, np.uint8), np.zeros(WORDS, np.int64)
        lanes = scratch.ctypes.data
        spare, chunks, rest = lanes + CHUNK, cols >> 4, cols & 15
        place = host + load(starts + 8 * first, i64)
        begin = looked = place
        for r in range(first, last):
            mask = meta + r * meta_bytes
            tail = bits_of(mask + 2 * chunks, rest) if rest > 0 else 0
            values = behind = place
            if place + 4 * cols + CHUNK > end:
                move(spare, place, min(end - place, 4 * cols))
                values = i64(spare)
            for v in range(vectors):
                behind = bitmask_lanes(mask, chunks, tail, values, x + 4 * v * cols, lanes)
                store(target + 4 * (v * rows + r), fold(take(lanes, f32)))
            place += behind - values
            if not known and (place - looked >= BATCH or r == last - 1):
                values = array(looked, u32, (place - looked) >> 2)
                for i in range(len(values)):
                    events[NONZERO] += values[i] & u32(0x7FFF_FFFF) != 0
                looked = place
        events[STORED] = (place - begin) >> 2
        add_events(found, events)
        scratch[0] = 0              # keeps its memory alive until here
else:
    @inline
    def some_masked_lanes(first, last, host, end, starts, meta, meta_bytes, rows, vectors, cols, x, target, known, found):
        """Never called: has_lane_code is False.

        Numbers alone, as `in_parallel` passes them.
        """


@njit
def has_lane_code(kind, form, p):
    """True if `some_masked_lanes` may be called."""
    return AVX512 and kind == BM and form == F32 and p == 1


@njit
def dealt(kind, x, cols, group, groups, out, excess):
    """The vector as vector code takes it, to `out` (cols + 2 * WINDOW,), and 128 times the sum of each group to `excess`."""
    vector, target = array(x, i8, cols), array(out, u8, cols + 2 * WINDOW)
    flip = 0 if kind == BM else 128
    for c in range(cols):
        target[c] = u8(vector[c]) ^ u8(flip)
    for c in range(cols, cols + 2 * WINDOW):
        target[c] = u8(flip)
    if kind == BM:
        sums = array(excess, i32, groups)
        for g in range(groups):
            total = i32(0)
            for c in range(g * group, min((g + 1) * group, cols)):
                total += i32(vector[c])
            sums[g] = total << 7
