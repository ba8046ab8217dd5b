"""Matrix times vector for the formats that have vector code, in lut.mode 0: whole matrices, row by row.

`row_sums` gives one integer for each row. It is compiled for one format at a time, so the format is a number in the source where it
is called. Where groups of columns have scales of their own: groups.py.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from emulator.native.features import AMX, AVX512
from emulator.native.inlining import inline, specialised
from emulator.native.machine_code import array, clear_bytes, load, move, store
from emulator.simd.functions import canonical
from emulator.simd.lanes import ask_for, convert, put_up_to, spread, take_up_to
from emulator.threads.parallel import add_events, in_parallel
from emulator.units.lut.counts import IS_COUNTED, entry_of, recall, remember
from emulator.units.lut.layouts import (
    BIAS,
    DEALT,
    FACTOR,
    FIVES,
    IS_BOOK,
    LOWER,
    SLICES,
    UPPER,
    is_rewritten,
    last_bytes,
    rewrite,
    size_of,
)
from emulator.units.lut.plain import (
    B1,
    I3,
    LOOKUPS,
    PLANES,
    SKIPPED_GROUPS,
    STEPS,
    STEPS_LONGEST,
    ZERO_WEIGHTS,
    count_binary,
    most,
)
from emulator.units.lut.rows import AHEAD, deal, row_products
from emulator.units.lut.tiles import TOGETHER, by_tiles, end_tiles, order_tiles, room_for, start_tiles, tile_rows, whole_tiles

LONGEST = 1 << 16               # activations: beyond, sums of codes in place could leave 32 bits
LINE = 64
ROWS = 4                        # rows that are rewritten together
TAILS = 12                      # rows of FIVES whose last blocks are put in order together
QUAD = 4                        # vectors that go together
NEAR = 16 << 10                 # bytes of rows that stay in a first-level cache while all vectors pass
GRAIN = 16                      # rows that a thread takes at least
PART = 16 << 10                 # bytes that it reads at least, with one vector: to begin anew costs what reading some of them does
IN_PARTS = I3 if AVX512 else -1     # the format whose rows are multiplied in two parts
PASS = 8                        # bytes that a pass over sums takes for each
BY_CORE = 2                     # word of what is counted: weights that are not zero, look-ups, then the look-ups of each core

u8, i8, i32, i64, f32 = np.uint8, np.int8, np.int32, np.int64, np.float32


@njit
def has_vector_code(fmt, mode, length):
    """True if the functions here may be called: where what is counted is mode 0's, or follows from the sizes alone."""
    return (mode == 0 or fmt == B1 or PLANES[fmt] == 0) and length <= LONGEST


@specialised
def prepare(fmt, x, length, dealt, keep, spare):
    """Deal the activations out to `dealt`, whole blocks, zeros behind the last; mask of the bytes of a last block to `keep`."""
    step = LINE * SLICES[fmt]
    blocks = length // step
    rest = length - blocks * step
    deal(fmt, x, blocks, dealt)
    if rest > 0:
        move(spare, x + blocks * step, rest)
        clear_bytes(spare + rest, step - rest)
        deal(fmt, spare, 1, dealt + blocks * DEALT[fmt])
        for at in range(LINE):
            bits = min(max(rest - at * SLICES[fmt], 0), SLICES[fmt]) * (8 // SLICES[fmt])
            if fmt == FIVES:            # The mask keeps or drops whole bytes. Digits behind the row meet activations of 0.
                bits = 8 if bits > 0 else 0                                 # Where digits are counted, last_bytes removes them.
            store(keep + at, u8((1 << bits) - 1))


@njit
def sum_of(x, n):
    """Sum of n int8."""
    total = i32(0)
    values = array(x, i8, n)
    for i in range(n):
        total += i32(values[i])
    return total


@njit
def ready(fmt, row, stride, rows, length, end, known, spare):
    """(address, stride, address of the last blocks, their stride, rows) of the next rows, as row_products takes them: as many of
    `rows` as go.

    The last block of a row is read whole, so rows before `end` are moved to `spare`, as are those that must be rewritten, or
    counted to the last digit of base 3.
    """
    step = LINE * SLICES[fmt]
    blocks, line = length // step, (length + step - 1) // step * LINE
    if is_rewritten(fmt):
        rows = min(rows, ROWS)
        for i in range(rows):
            rewrite(fmt, row + i * stride, length, spare + LINE + i * line, spare)
        row, stride, end = spare + LINE, line, spare + LINE + rows * line
    tail = row + LINE * blocks
    if LINE * blocks == line:
        return row, stride, 0, 0, rows
    if fmt == FIVES and not known:
        rows = min(rows, TAILS)
        for i in range(rows):
            last_bytes(tail + i * stride, size_of(fmt, length) - LINE * blocks, length, spare + LINE * i)
        return row, stride, spare, LINE, rows
    if tail + (rows - 1) * stride + LINE <= end:
        return row, stride, tail, stride, rows
    rows = min((end - LINE - tail) // max(stride, 1) + 1 if end - LINE >= tail else 0, rows)
    if rows > 0:
        return row, stride, tail, stride, rows
    move(spare, tail, size_of(fmt, length) - LINE * blocks)
    return row, stride, spare, LINE, 1


@njit
def collect(fmt, mode, rows, length, extra, book, found, events):
    """Turn what vector code counted, (weights that are not zero, look-ups), into events. `extra` weights came from no matrix."""
    if fmt == B1:
        count_binary(mode, rows, length, events)
        return
    planes = PLANES[fmt]
    if planes == 0 and load(book, i8) != 0:         # their code was 0
        found[0] -= extra
    events[ZERO_WEIGHTS] = rows * length - found[0]
    if planes > 0:
        events[LOOKUPS] = events[STEPS] = found[1]
        events[SKIPPED_GROUPS] = rows * planes * (length + 3 >> 2) - found[1]


@njit
def quads_of(vectors):
    """How many times QUAD vectors go together. The last time it may be one fewer; or one or two are left, which go alone."""
    return (vectors + 1) // QUAD


@njit
def places_for(vectors):
    """Vectors that there is room for, so that every quad, or every tile, is a whole one."""
    return whole_tiles(vectors) if by_tiles(vectors) else max(vectors, QUAD * quads_of(vectors))


@njit
def passes_for(vectors):
    """How often weights pass: once for each quad, then for each vector that goes alone."""
    return quads_of(vectors) + max(vectors - QUAD * quads_of(vectors), 0)


@inline
def ask_for_start(weights, size):
    """Have the first of `size` bytes of weights come from memory. `row_products` asks for those behind them."""
    for at in range(0, min(size, AHEAD), LINE):
        ask_for(weights + at)


@inline
def some_row_sums(first, last, by_vectors, shape, host, stride, end, rows, vectors, length, dealt, apart, tiles, starts, blocks,
                  line, keep, book, sums, known, cores, found):
    """The sums of codes * x of rows first..last with all vectors, and unless they are known the counts: with several cores row by
    row. by_vectors: of all rows in the passes first..last. tiles: where activations are in the order of tiles; 0: they are not.
    Then sums begin with the int32 of each vector at `starts`.

    Numbers alone, as `in_parallel` passes them.
    """
    room, codes_room = LINE * (TAILS + 3) + ROWS * line, room_for(shape, line // LINE) if tiles != 0 else 0
    spare, counted = np.empty(LINE + room + codes_room, np.uint8), np.zeros(BY_CORE + cores, np.int64)
    ignored = np.zeros(BY_CORE, np.int64)           # what the weights count, they count once
    at, events = (spare.ctypes.data + LINE - 1) & -LINE, counted.ctypes.data
    quads = quads_of(vectors)
    if not by_vectors:
        ask_for_start(host + first * stride, (last - first) * stride)
    r, stop, one, others = first, last, 0, passes_for(vectors)
    if by_vectors:
        r, stop, one, others = 0, rows, first, last
    near = max(NEAR // line, 1) if vectors > 1 else rows
    if AMX and tiles != 0:
        near, others = max(NEAR // line, TOGETHER) // TOGETHER * TOGETHER, one
        start_tiles()
    while r < stop:
        row, row_step, tail, tail_step, some = ready(i64(shape), host + r * stride, stride, min(stop - r, near), length, end, known,
                                                     at)
        if not known and one == 0:
            together = some if cores == 1 else 1
            for i in range(0, some, together):
                before = load(events + 8, i64)
                row_products(shape, 1, 1, together, row + i * row_step, row_step, dealt, 0, blocks, tail + i * tail_step, tail_step,
                             keep, book, sums + 4 * (r + i), 4, 0, events)
                counted[BY_CORE + (r + i) % cores] += load(events + 8, i64) - before
        if AMX and tiles != 0:
            tile_rows(shape, some, row, row_step, blocks, tail, tail_step, tiles, whole_tiles(vectors), apart // LINE, starts,
                      book, at + room, sums + 4 * r, 4 * rows)
        for q in range(one, others):
            v, seen = QUAD * q if q < quads else q + (QUAD - 1) * quads, events if q == 0 else ignored.ctypes.data
            x, out = dealt + v * apart, sums + 4 * (v * rows + r)
            if q < quads:
                row_products(shape, 0, QUAD, some, row, row_step, x, apart, blocks, tail, tail_step, keep, book, out, 4, 4 * rows,
                             seen)
            elif known or q > 0:
                row_products(shape, 0, 1, some, row, row_step, x, 0, blocks, tail, tail_step, keep, book, out, 4, 0, seen)
        r += some
    if AMX and tiles != 0:
        end_tiles()
    add_events(found, counted)
    spare[0] = ignored[0] = 0   # keeps their memory alive until here


@inline
def some_biases(first, last, bias_of, factor, rows, length, x, sums):
    """From sums of codes * x to those of weights * x, of the vectors first..last.

    Numbers alone, as `in_parallel` passes them.
    """
    for v in range(first, last):
        bias, total = bias_of * sum_of(x + v * length, length), array(sums + 4 * v * rows, i32, rows)
        for r in range(rows):
            total[r] = factor * total[r] - bias


@specialised
def code_sums(shape, block, host, stride, end, rows, vectors, length, x, book, starts, sums, known, cores, found):
    """sums[v, r] int32 = sum over c of code[r, c] x[v, c], of rows that are seen as the layout `shape`; unless they are known, the
    counts to found. False if it fails. starts: int32 for each vector, with which the sums of tiles begin.

    Numbers alone, as compiled functions take them (emulator/threads/parallel.py).
    """
    ask_for_start(host, end - host)
    step = LINE * SLICES[shape]
    blocks, all_blocks = length // step, (length + step - 1) // step
    apart, tiled = all_blocks * DEALT[shape], by_tiles(vectors)
    dealt_bytes = places_for(vectors) * apart
    scratch = np.empty((2 if tiled else 1) * dealt_bytes + LINE * (SLICES[shape] + 2), np.uint8)
    dealt = (scratch.ctypes.data + LINE - 1) & -LINE
    keep = dealt + dealt_bytes
    tiles = keep + LINE * (SLICES[shape] + 1) if tiled else 0
    for v in range(vectors):
        prepare(shape, x + v * length, length, dealt + v * apart, keep, keep + LINE)
    clear_bytes(dealt + vectors * apart, dealt_bytes - vectors * apart)
    if AMX and tiled:
        order_tiles(places_for(vectors), dealt, apart, apart // LINE, tiles)
    by_vectors = vectors > QUAD and rows < 2 * GRAIN and not tiled
    pieces, grain = rows, TOGETHER if tiled else GRAIN
    if by_vectors:
        pieces, grain = passes_for(vectors), 1
    elif vectors == 1:
        grain = max(grain, PART // (LINE * all_blocks))
    if not in_parallel(block, rows * all_blocks * LINE * vectors, pieces, grain, some_row_sums, by_vectors, shape, host,
                       stride, end, rows, vectors, length, dealt, apart, tiles, starts, blocks, LINE * all_blocks, keep, book,
                       sums.ctypes.data, known and not (tiled and IS_BOOK[shape]), cores, found.ctypes.data):
        return False            # tiles count no weights, so with a codebook one vector is counted each time
    scratch[0] = 0              # keeps its memory alive until here
    return True


@specialised
def part_sums(block, host, stride, end, rows, vectors, length, x, book, starts, sums, known, cores, found):
    """As code_sums, of rows of i3 whose counts are known: the products of the lower two bits, less four times those of the upper.

    Numbers alone, as compiled functions take them (emulator/threads/parallel.py).
    """
    upper = np.empty(len(sums), np.int32)
    if not code_sums(LOWER, block, host, stride, end, rows, vectors, length, x, book, starts, sums, known, cores, found):
        return False
    if not code_sums(UPPER, block, host + size_of(LOWER, length), stride, end, rows, vectors, length, x, book, starts, upper,
                     known, cores, found):
        return False
    for i in range(vectors * rows):
        sums[i] -= 4 * upper[i]
    return True


@specialised
def row_sums(fmt, shape, block, host, stride, end, rows, vectors, length, x, book, sums, mode, cores, events):
    """sums[v, r] int32 = sum over c of W[r, c] x[v, c], rows and length > 0; the events are those of one vector. False if it fails.

    shape: number of the layout as which the rows are seen (`layout_of_rows`). `end`: address behind the matrix. `sums` has room for
    `places_for(vectors)`.

    Numbers alone, as compiled functions take them (emulator/threads/parallel.py).
    """
    found = np.zeros(BY_CORE + cores, np.int64)
    entry = entry_of(block, i64(fmt), host, stride, rows, length)
    known = recall(entry, i64(fmt), host, stride, rows, length, found) or not IS_COUNTED[fmt]
    in_parts = fmt == IN_PARTS and known
    bias_of, factor = (i32(0), i32(1)) if in_parts else (i32(BIAS[shape]), i32(FACTOR[shape]))
    starts, biased = np.zeros(places_for(vectors), np.int32), by_tiles(vectors) and factor == 1
    for v in range(vectors if biased else 0):
        starts[v] = -bias_of * sum_of(x + v * length, length)
    if in_parts:
        done = part_sums(block, host, stride, end, rows, vectors, length, x, book, starts.ctypes.data, sums, known, cores, found)
    else:
        done = code_sums(shape, block, host, stride, end, rows, vectors, length, x, book, starts.ctypes.data, sums, known, cores,
                         found)
    if not done:
        return False
    if not known:
        found[BY_CORE] = most(found[BY_CORE:])
        remember(entry, i64(fmt), host, stride, rows, length, found)
    if not biased and not in_parallel(block, PASS * rows * vectors, vectors, 1, some_biases, bias_of, factor, rows, length, x,
                                      sums.ctypes.data):
        return False
    starts[0] = 0               # keeps its memory alive until here
    step = LINE * SLICES[shape]
    collect(i64(fmt), mode, rows, length, rows * (-length % step), book, found, events)
    events[STEPS_LONGEST] = found[BY_CORE]
    return True


@njit
def scale_rows(sums, rows, w_scale, w_step, x_scale, y):
    """y[r] = f32(sums[r]) * (w_scale[r] * x_scale) + 0, a NaN as the canonical one. w_step: 4, or 0 for one scale of all rows.

    0 is the sum of the other 15 lanes of a lane sum: it makes -0.0 a 0.0.
    """
    factor = spread(load(w_scale, f32) * x_scale)
    for r in range(0, rows, 16):
        left = rows - r
        if w_step != 0:
            factor = take_up_to(w_scale + 4 * r, np.float32, left, spread(f32(0))) * spread(x_scale)
        result = convert(take_up_to(sums + 4 * r, np.int32, left, spread(i32(0))), np.float32) * factor + spread(f32(0))
        put_up_to(y + 4 * r, canonical(result), left)


@inline
def some_scaled(first, last, rows, sums, w_scale, w_step, x_scales, y, apart):
    """`scale_rows` of the vectors first..last; results of each are `apart` bytes behind those of the one before.

    Numbers alone, as `in_parallel` passes them.
    """
    for v in range(first, last):
        scale_rows(sums + 4 * v * rows, rows, w_scale, w_step, load(x_scales + 4 * v, f32), y + v * apart)
