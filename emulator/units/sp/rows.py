"""Products of int8 values by vector code, LINES rows at a time: bitmasks (bitmask.py) and N of M (gather.py).

A row is worked on in pieces: the columns of a group that shares a scale, or all. A piece is whole chunks, but for a row's last. Of
rows that are left over one at a time takes all the lines.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from emulator.native.features import AVX512
from emulator.native.inlining import inline
from emulator.native.machine_code import array, load, move, store
from emulator.simd.folds import fold
from emulator.simd.lanes import take
from emulator.threads.parallel import add_events
from emulator.units.sp.bitmask import (
    AHEAD,
    ENDS,
    LINES,
    STARTS,
    SUMS,
    TABLE,
    TAILS,
    bitmask_dots,
    bitmask_lanes,
    blocks_with_code,
    not_zero,
    total_of,
)
from emulator.units.sp.gather import gather_dots
from emulator.units.sp.places import has_unpacking, row_places
from emulator.units.sp.plain import (
    BAD,
    COLS,
    HOST,
    KNOWN,
    META,
    META_BYTES,
    NONZERO,
    NOTED,
    ROWS,
    SIZE,
    SLOTS,
    STORED,
    WORDS,
    P,
    Q,
    index_bits,
)

CHUNK = 64
LOTS = 8                # times LINES rows of N of M that are worked on before the next vector is
MOST_BLOCK = max(blocks_with_code(), default=0)

i8, u8, i32, u32, i64, f32 = np.int8, np.uint8, np.int32, np.uint32, np.int64, np.float32

# ------------------------------------------------------------------------------------------------ which code there is

if AVX512:
    @njit
    def masked(p, mask, step, chunks, rest, x, ahead, table):
        """bitmask_dots for blocks of p."""
        if p == 1:
            bitmask_dots(1, mask, step, chunks, rest, x, ahead, table)
        elif p == 2:
            bitmask_dots(2, mask, step, chunks, rest, x, ahead, table)
        else:
            bitmask_dots(4, mask, step, chunks, rest, x, ahead, table)

    @inline
    def some_dots(n, m, lots, places, place_step, windows, w, step, x, ahead, out):
        """gather_dots of `lots` times LINES rows, one behind the other.

        Numbers alone, as compiled functions take them (emulator/threads/parallel.py).
        """
        for i in range(0, LINES * lots, LINES):
            gather_dots(n, m, places + i * place_step, place_step, windows, w + i * step, step, x, ahead, out + 4 * i)

    @njit
    def gathered(p, q, lots, places, place_step, windows, w, step, x, ahead, out):
        """some_dots for p of q.

        Numbers alone, as compiled functions take them (emulator/threads/parallel.py).
        """
        if q == 4 and p == 1:
            some_dots(1, 4, lots, places, place_step, windows, w, step, x, ahead, out)
        elif q == 4:
            some_dots(2, 4, lots, places, place_step, windows, w, step, x, ahead, out)
        elif q == 8 and p == 2:
            some_dots(2, 8, lots, places, place_step, windows, w, step, x, ahead, out)
        elif q == 8:
            some_dots(4, 8, lots, places, place_step, windows, w, step, x, ahead, out)
        elif p == 4:
            some_dots(4, 16, lots, places, place_step, windows, w, step, x, ahead, out)
        else:
            some_dots(8, 16, lots, places, place_step, windows, w, step, x, ahead, out)
else:
    @njit
    def masked(p, mask, step, chunks, rest, x, ahead, table):
        """bitmask_dots for blocks of 1; elsewhere there is none."""
        if MOST_BLOCK:
            bitmask_dots(1, mask, step, chunks, rest, x, ahead, table)

    @njit
    def gathered(p, q, lots, places, place_step, windows, w, step, x, ahead, out):
        """There is none.

        Numbers alone, as compiled functions take them (emulator/threads/parallel.py).
        """


@njit
def has_mask_code(p, group, groups):
    """True if `some_masked_sums` may be called, for int8 values in pieces of `group` columns."""
    return (p == 1 or p == 2 or p == 4) and p <= MOST_BLOCK and (groups == 1 or group % CHUNK == 0)


@njit
def has_gather_code(p, q, group, groups):
    """True if `some_gathered_sums` may be called, for int8 values in pieces of `group` columns."""
    return has_unpacking(p, q) and (groups == 1 or group % CHUNK == 0)


@njit
def has_lane_code(p):
    """True if `some_masked_lanes` may be called."""
    return AVX512 and p == 1


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
def summed(address, end):
    """The sum of int8."""
    whole = (end - address) >> 6
    total = total_of(address, whole)
    for at in range(address + CHUNK * whole, end):
        total += i32(load(at, i8))
    return i32(total)


@njit
def dealt(x, cols, flip, out):
    """The vector as vector code takes it, to `out` (cols + 2 * CHUNK,): x, or with a `flip` of 128 x + 128."""
    vector, target = array(x, i8, cols), array(out, u8, cols + 2 * CHUNK)
    for c in range(cols):
        target[c] = u8(vector[c]) ^ u8(flip)
    for c in range(cols, cols + 2 * CHUNK):
        target[c] = u8(flip)


@njit
def group_sums(x, cols, group, groups, out):
    """128 times the sum of each group of the vector, int32 (groups,) at an address."""
    vector, sums = array(x, i8, cols), array(out, i32, groups)
    for g in range(groups):
        total = i32(0)
        for c in range(g * group, min((g + 1) * group, cols)):
            total += i32(vector[c])
        sums[g] = total << 7


# ------------------------------------------------------------------------------------------------ some rows of a bitmask


@inline
def end_of(matrix, r):
    """Bytes of the values up to the end of row r - 1."""
    return load(load(matrix + 8 * NOTED, i64) + 8 * r, i64) if r < load(matrix + 8 * ROWS, i64) else load(matrix + 8 * SIZE, i64)


@njit
def put_starts(matrix, r, lines, table, spare, room):
    """The starts of LINES rows from r on, or of one, to their table. Values with fewer than 64 bytes behind them are copied to
    `spare`, `room` bytes each."""
    host, near_end = load(matrix + 8 * HOST, i64), end_of(matrix, r + lines) + CHUNK > load(matrix + 8 * SIZE, i64)
    for i in range(lines):
        start, end = end_of(matrix, r + i), end_of(matrix, r + i + 1)
        if near_end:
            move(spare + i * room, host + start, end - start)
        store(table + STARTS + 8 * i, i64(spare + i * room if near_end else host + start))
    for i in range(lines, LINES):
        store(table + STARTS + 8 * i, load(table + STARTS, i64))


@njit
def look_at_masked(first, last, matrix, events):
    """Count the values of some rows of a bitmask, and note if what is behind the last column is not zero."""
    host, begin, end = load(matrix + 8 * HOST, i64), end_of(matrix, first), end_of(matrix, last)
    events[STORED], events[NONZERO] = end - begin, counted(host + begin, host + end)
    cols, p, meta_bytes = load(matrix + 8 * COLS, i64), load(matrix + 8 * P, i64), load(matrix + 8 * META_BYTES, i64)
    if cols % p > 0:
        block = cols // p
        for r in range(first, last):
            if load(load(matrix + 8 * META, i64) + r * meta_bytes + (block >> 3), u8) >> (block & 7) & 1:
                for i in range(1, p - cols % p + 1):
                    events[BAD] |= load(host + end_of(matrix, r + 1) - i, u8) != 0


@inline
def some_masked_sums(first, last, matrix, vectors, x, apart, group, groups, excess, sums, found):
    """sums[v, r, g] int32 at an address, for the rows first..last of a bitmask.

    x int8, a vector each `apart` bytes, zeros behind its last column; excess (vectors, groups) int32 at an address: 128 times its
    sums. Numbers alone, as `in_parallel` passes them.
    """
    rows, cols, p, meta_bytes = (load(matrix + 8 * ROWS, i64), load(matrix + 8 * COLS, i64), load(matrix + 8 * P, i64),
                                 load(matrix + 8 * META_BYTES, i64))
    room, events = cols + p + 2 * CHUNK, np.zeros(WORDS, np.int64)
    scratch = np.empty(TABLE + LINES * room, np.uint8)
    table = scratch.ctypes.data
    if not load(matrix + 8 * KNOWN, i64):
        look_at_masked(first, last, matrix, events)
    r = first
    while r < last:
        lines = LINES if r + LINES <= last else 1
        mask, step = load(matrix + 8 * META, i64) + r * meta_bytes, meta_bytes if lines > 1 else 0
        ahead = max(AHEAD, end_of(matrix, r + lines) - end_of(matrix, r))
        put_starts(matrix, r, lines, table, table + TABLE, room)
        for g in range(groups):
            start = g * group
            n = min(cols - start, group)
            chunks, rest, here = n >> 6, n & 63, mask + start // p // 8
            for i in range(LINES if rest > 0 else 0):
                store(table + TAILS + 8 * i, bits_of(here + i * step + CHUNK * chunks // p // 8, (rest + p - 1) // p))
            for v in range(vectors):
                masked(p, here, step, chunks, rest, x + v * apart + start, ahead, table)
                too_much = load(excess + 4 * (v * groups + g), i32)
                for i in range(lines):
                    store(sums + 4 * ((v * rows + r + i) * groups + g), i32(load(table + SUMS + 4 * i, i32) - too_much))
            for i in range(LINES if groups > 1 else 0):
                store(table + STARTS + 8 * i, load(table + ENDS + 8 * i, i64))
        r += lines
    add_events(found, events)
    scratch[0] = 0              # keeps its memory alive until here


# ------------------------------------------------------------------------------------------------ some rows of N of M


@njit
def look_at_gathered(first, last, matrix, group, groups, events):
    """Count the values of some rows of N of M, and note if places or padding are malformed. The sums of each group go to the notes,
    int32 (rows, groups)."""
    host, slots, cols = load(matrix + 8 * HOST, i64), load(matrix + 8 * SLOTS, i64), load(matrix + 8 * COLS, i64)
    p, q, scratch = load(matrix + 8 * P, i64), load(matrix + 8 * Q, i64), np.empty(slots + CHUNK, np.uint8)
    for r in range(first, last):
        row, places = host + r * slots, load(matrix + 8 * META, i64) + r * load(matrix + 8 * META_BYTES, i64)
        events[BAD] |= not row_places(places, slots, p, q, cols, row, scratch.ctypes.data)
        events[NONZERO] += counted(row, row + slots)
        for g in range(groups):
            begin, end = g * group // q * p, (g + 1) * group // q * p if g < groups - 1 else slots
            store(load(matrix + 8 * NOTED, i64) + 4 * (r * groups + g), summed(row + begin, row + end))
    events[STORED] = (last - first) * slots
    scratch[0] = 0              # keeps its memory alive until here


@njit
def put_sums(lines, groups, dots, behind, rest, weights, sums):
    """Sums of so many rows: what was gathered, and if there is a rest that behind it, less 128 times the sums of weights. The last
    two have `groups` numbers a row."""
    if groups == 1 and rest == 0:
        found, too_much, target = array(dots, i32, lines), array(weights, i32, lines), array(sums, i32, lines)
        for i in range(lines):
            target[i] = found[i] - (too_much[i] << 7)
        return
    for i in range(lines):
        total = load(dots + 4 * i, i32) - (load(weights + 4 * i * groups, i32) << 7)
        store(sums + 4 * i * groups, i32(total + load(behind + 4 * i, i32) if rest > 0 else total))


@inline
def some_gathered_sums(first, last, matrix, vectors, x, apart, group, groups, sums, found):
    """sums[v, r, g] int32 at an address, for the rows first..last of N of M.

    x + 128 unsigned, a vector each `apart` bytes, 128 behind its last column. Numbers alone, as `in_parallel` passes them.
    """
    rows, cols, p, q = (load(matrix + 8 * ROWS, i64), load(matrix + 8 * COLS, i64), load(matrix + 8 * P, i64),
                        load(matrix + 8 * Q, i64))
    slots, meta_bytes, noted = load(matrix + 8 * SLOTS, i64), load(matrix + 8 * META_BYTES, i64), load(matrix + 8 * NOTED, i64)
    events, bits, share = np.zeros(WORDS, np.int64), index_bits(q), CHUNK * p // q         # values of a row in a window
    most = LINES * LOTS
    scratch = np.zeros(8 * most + 2 * CHUNK * most + most * meta_bytes + CHUNK, np.uint8)
    dots, ends = scratch.ctypes.data, scratch.ctypes.data + 8 * most        # sums, and of what is behind the last whole window
    behind_dots, ends_of_places = dots + 4 * most, ends + CHUNK * most
    if not load(matrix + 8 * KNOWN, i64):
        look_at_gathered(first, last, matrix, group, groups, events)
    r = first
    while r < last:
        lots = min((last - r) // LINES, LOTS)
        lines, scale = (LINES * lots, 1) if lots > 0 else (1, 0)            # one row alone: it is on all lines
        lots, row, step, place_step = max(lots, 1), load(matrix + 8 * HOST, i64) + r * slots, scale * slots, scale * meta_bytes
        places = load(matrix + 8 * META, i64) + r * meta_bytes
        if (rows - r - lines) * meta_bytes < CHUNK:     # vector code reads behind the places
            move(ends_of_places + CHUNK * most, places, lines * meta_bytes)
            places = ends_of_places + CHUNK * most
        for g in range(groups):
            start = g * group
            n, begin = min(cols - start, group), start // q * p
            windows, rest = n >> 6, n & 63
            behind, left = begin + share * windows, (rest + q - 1) // q * p
            for i in range(lines if rest > 0 else 0):
                move(ends + CHUNK * i, row + i * step + behind, left)
                move(ends_of_places + CHUNK * i, places + i * place_step + (behind * bits >> 3), left * bits + 7 >> 3)
            for v in range(vectors):
                vector = x + v * apart + start
                gathered(p, q, lots, places + (begin * bits >> 3), place_step, windows, row + begin, step, vector,
                         max(AHEAD, LINES * slots), dots)
                if rest > 0:
                    gathered(p, q, lots, ends_of_places, CHUNK, 1, ends, CHUNK, vector + CHUNK * windows, 0, behind_dots)
                put_sums(lines, groups, dots, behind_dots, rest, noted + 4 * (r * groups + g),
                         sums + 4 * ((v * rows + r) * groups + g))
        r += lines
    add_events(found, events)
    scratch[0] = 0              # keeps its memory alive until here


# ------------------------------------------------------------------------------------------------ some rows of f32


if AVX512:
    @inline
    def some_masked_lanes(first, last, matrix, vectors, x, target, found):
        """y[v, r] f32 at `target` for the rows first..last of a bitmask with blocks of 1. x f32 (vectors, cols), 15 more that are
        read.

        Numbers alone, as `in_parallel` passes them.
        """
        rows, cols, meta_bytes = load(matrix + 8 * ROWS, i64), load(matrix + 8 * COLS, i64), load(matrix + 8 * META_BYTES, i64)
        scratch, events = np.zeros(4 * cols + 4 * CHUNK, np.uint8), np.zeros(WORDS, np.int64)
        host, lanes = load(matrix + 8 * HOST, i64), scratch.ctypes.data
        spare, chunks, rest = lanes + CHUNK, cols >> 4, cols & 15
        if not load(matrix + 8 * KNOWN, i64):
            begin, end = host + end_of(matrix, first), host + end_of(matrix, last)
            weights = array(begin, u32, (end - begin) >> 2)
            for i in range(len(weights)):
                events[NONZERO] += weights[i] & u32(0x7FFF_FFFF) != 0
            events[STORED] = len(weights)
        for r in range(first, last):
            mask, values, size = load(matrix + 8 * META, i64) + r * meta_bytes, host + end_of(matrix, r), end_of(matrix, r + 1)
            tail = bits_of(mask + 2 * chunks, rest) if rest > 0 else 0
            if size + CHUNK > load(matrix + 8 * SIZE, i64):
                move(spare, values, host + size - values)
                values = i64(spare)
            for v in range(vectors):
                bitmask_lanes(mask, chunks, tail, values, x + 4 * v * cols, lanes)
                store(target + 4 * (v * rows + r), fold(take(lanes, f32)))
        add_events(found, events)
        scratch[0] = 0              # keeps its memory alive until here
else:
    @inline
    def some_masked_lanes(first, last, matrix, vectors, x, target, found):
        """Never called: has_lane_code is False.

        Numbers alone, as `in_parallel` passes them.
        """
