"""Matrix times vector for the formats that have vector code, in lut.mode 0: whole matrices, row by row.

`row_sums` gives one integer for each row, `grouped_sums` one fp32 number: the scaled sum over the groups of the row. Each is
compiled for one format at a time, so the format is a number in the source where they are called.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from emulator.native.inlining import inline, specialised
from emulator.native.machine_code import array, clear_bytes, load, move, store
from emulator.simd.folds import even, fold, odd
from emulator.simd.lanes import convert, put, spread, take, take_part
from emulator.threads.parallel import add_events, in_parallel
from emulator.units.lut.counts import IS_COUNTED, entry_of, recall, remember
from emulator.units.lut.layouts import BIAS, FACTOR, FIVES, SLICES, is_rewritten, last_bytes, rewrite, size_of
from emulator.units.lut.plain import (
    B1,
    LOOKUPS,
    PLANES,
    SKIPPED_GROUPS,
    STEPS,
    STEPS_LONGEST,
    ZERO_WEIGHTS,
    count_binary,
    most,
)
from emulator.units.lut.rows import deal, row_products, word_products

LONGEST = 1 << 16               # activations: beyond, sums of codes in place could leave 32 bits
LINE = 64
ROWS = 4                        # rows whose groups are summed together
WORDS = 1024                    # sums of words that stay in a first-level cache beside the activations
TAILS = 12                      # rows of FIVES whose last blocks are put in order together
GRAIN = 16                      # rows that a thread takes at least
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
        deal(fmt, spare, 1, dealt + blocks * step)
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


@inline
def some_row_sums(first, last, shape, host, stride, end, length, dealt, blocks, line, keep, book, sums, known, cores, found):
    """The sums of codes * x of rows first..last, and unless they are known the counts: with several cores row by row.

    Numbers alone, as `in_parallel` passes them.
    """
    spare, counted = np.empty(LINE * (TAILS + 4) + ROWS * line, np.uint8), np.zeros(BY_CORE + cores, np.int64)
    at, events = (spare.ctypes.data + LINE - 1) & -LINE, counted.ctypes.data
    r = first
    while r < last:
        row, row_step, tail, tail_step, some = ready(i64(shape), host + r * stride, stride, last - r, length, end, known, at)
        if known:
            row_products(shape, 0, some, row, row_step, dealt, blocks, tail, tail_step, keep, book, sums + 4 * r, 4, events)
        else:
            together = some if cores == 1 else 1
            for i in range(0, some, together):
                before = load(events + 8, i64)
                row_products(shape, 1, together, row + i * row_step, row_step, dealt, blocks, tail + i * tail_step, tail_step, keep,
                             book, sums + 4 * (r + i), 4, events)
                counted[BY_CORE + (r + i) % cores] += load(events + 8, i64) - before
        r += some
    add_events(found, counted)
    spare[0] = 0                # keeps its memory alive until here


@specialised
def row_sums(fmt, shape, block, host, stride, end, rows, length, x, book, sums, mode, cores, events):
    """sums[r] int32 = sum over c of W[r, c] x[c], rows and length > 0. `end`: address behind the matrix. False if it fails.

    shape: number of the layout as which the rows are seen (`layout_of_rows`).

    Numbers alone, as compiled functions take them (emulator/threads/parallel.py).
    """
    step = LINE * SLICES[shape]
    blocks, all_blocks = length // step, (length + step - 1) // step
    scratch, found = np.empty(all_blocks * step + LINE * (SLICES[shape] + 2), np.uint8), np.zeros(BY_CORE + cores, np.int64)
    dealt = (scratch.ctypes.data + LINE - 1) & -LINE
    keep = dealt + all_blocks * step
    prepare(shape, x, length, dealt, keep, keep + LINE)
    entry = entry_of(block, i64(fmt), host, stride, rows, length)
    known = recall(entry, i64(fmt), host, stride, rows, length, found) or not IS_COUNTED[fmt]
    if not in_parallel(block, rows * all_blocks * LINE, rows, GRAIN, some_row_sums, shape, host, stride, end, length, dealt, blocks,
                       LINE * all_blocks, keep, book, sums.ctypes.data, known, cores, found.ctypes.data):
        return False
    if not known:
        found[BY_CORE] = most(found[BY_CORE:])
        remember(entry, i64(fmt), host, stride, rows, length, found)
    bias = BIAS[shape] * sum_of(x, length)
    for r in range(rows):
        sums[r] = FACTOR[shape] * sums[r] - bias
    collect(i64(fmt), mode, rows, length, rows * (all_blocks * step - length), book, found, events)
    events[STEPS_LONGEST] = found[BY_CORE]
    scratch[0] = 0              # keeps its memory alive until here
    return True


# ------------------------------------------------------------------------------------------------ groups with scales


@njit
def has_words(fmt, group):
    """True if a group is whole 32-bit words of weights."""
    return group % (4 * SLICES[fmt]) == 0


@njit
def add_pairs(words, n, out):
    """(n + 1) / 2 sums of two neighbours of n int32. Reads up to 31 words more and writes up to 15; out may be words."""
    for i in range((n + 31) >> 5):
        a, b = take(words + 128 * i, np.int32), take(words + 128 * i + 64, np.int32)
        put(out + 64 * i, even(a, b) + odd(a, b))


@njit
def group_sums(words, n, per_group, out):
    """Address of the sums of `per_group` neighbours of the n int32 at `words`, n a multiple of it: there, or at `out`."""
    while per_group & 1 == 0:
        add_pairs(words, n, out)
        words, n, per_group = out, n >> 1, per_group >> 1
    if per_group > 1:
        for g in range(n // per_group):
            total = i32(0)
            for i in range(g * per_group, (g + 1) * per_group):
                total += load(words + 4 * i, i32)
            store(out + 4 * g, total)
        words = out
    return words


@njit
def scaled_sum(fmt, sums, bias, w_scale, x_scale, groups):
    """Lane sum over g of f32(factor * sums[g] - bias[g]) * (w_scale[g] * x_scale[g])."""
    total = spread(f32(0))
    factor = i32(FACTOR[fmt])
    whole = groups & -16
    for g in range(0, 4 * whole, 64):
        s = take(sums + g, np.int32) * factor - take(bias + g, np.int32)
        total = total + convert(s, np.float32) * (take(w_scale + g, np.float32) * take(x_scale + g, np.float32))
    if whole < groups:
        rest, g = groups - whole, 4 * whole
        s = take_part(sums + g, np.int32, rest, spread(i32(0))) * factor - take_part(bias + g, np.int32, rest, spread(i32(0)))
        scales = take_part(w_scale + g, np.float32, rest, spread(f32(0))) * take_part(x_scale + g, np.float32, rest, spread(f32(0)))
        total = total + convert(s, np.float32) * scales
    return fold(total)


@njit
def repeated(scale, step, groups, target):
    """Address of `groups` scales: those at `scale`, or, for step 0, the one there repeated at `target`."""
    if step != 0:
        return scale
    for g in range(groups):
        store(target + 4 * g, load(scale, f32))
    return target


@inline
def some_grouped_sums(first, last, fmt, host, stride, end, length, dealt, blocks, line, keep, book, row_words, per_group, groups,
                      bias, w_scale, w_step, x_scale, y, known, cores, found):
    """y[r] for the rows first..last, counted as `some_row_sums` does.

    Numbers alone, as `in_parallel` passes them.
    """
    spare_size, size = LINE * (SLICES[fmt] + 3) + ROWS * line, 4 * row_words * ROWS + 2 * LINE
    scratch, counted = np.zeros(spare_size + 2 * size, np.uint8), np.zeros(BY_CORE + cores, np.int64)
    spare = (scratch.ctypes.data + LINE - 1) & -LINE
    words, events = spare + spare_size - LINE, counted.ctypes.data
    at_once = max(1, min(ROWS, WORDS // row_words))
    r = first
    while r < last:
        row, row_step, tail, tail_step, some = ready(i64(fmt), host + r * stride, stride, min(last - r, at_once), length, end,
                                                     known, spare)
        if known:
            word_products(fmt, 0, some, row, row_step, dealt, blocks, tail, tail_step, keep, book, words, 4 * row_words, events)
        else:
            together = some if cores == 1 else 1
            for i in range(0, some, together):
                before = load(events + 8, i64)
                word_products(fmt, 1, together, row + i * row_step, row_step, dealt, blocks, tail + i * tail_step, tail_step, keep,
                              book, words + 4 * row_words * i, 4 * row_words, events)
                counted[BY_CORE + (r + i) % cores] += load(events + 8, i64) - before
        sums = group_sums(words, some * row_words, per_group, words + size)
        for i in range(some):
            at = r + i
            store(y + 4 * at, scaled_sum(i64(fmt), sums + 4 * i * (row_words // per_group), bias, w_scale + at * groups * w_step,
                                         x_scale, groups))
        r += some
    add_events(found, counted)
    scratch[0] = 0              # keeps its memory alive until here


@specialised
def grouped_sums(fmt, block, host, stride, end, rows, length, group, x, book, w_scale, w_step, x_scale, x_step, y, mode, cores,
                 events):
    """y[r] f32 = lane sum over g of f32(sum over c in g of W[r, c] x[c]) * (w_scale[r, g] x_scale[g]), more than one group.

    A step is 4, or 0 for one scale that goes for everything. False if it fails.

    Numbers alone, as compiled functions take them (emulator/threads/parallel.py).
    """
    step, per_word = LINE * SLICES[fmt], 4 * SLICES[fmt]
    blocks, all_blocks = length // step, (length + step - 1) // step
    groups = (length + group - 1) // group
    per_group = group // per_word
    row_words = (16 * all_blocks + per_group - 1) // per_group * per_group      # groups beyond the row have the sum 0
    scratch = np.empty(all_blocks * step + 12 * groups + LINE * (SLICES[fmt] + 2), np.uint8)
    found = np.zeros(BY_CORE + cores, np.int64)
    dealt = (scratch.ctypes.data + LINE - 1) & -LINE
    keep = dealt + all_blocks * step
    bias = keep + LINE * (SLICES[fmt] + 1)
    x_scales = bias + 4 * groups
    w_scales = x_scales + 4 * groups
    prepare(fmt, x, length, dealt, keep, keep + LINE)
    for g in range(groups):
        store(bias + 4 * g, i32(BIAS[fmt] * sum_of(x + g * group, min(group, length - g * group))))
    x_scale = repeated(x_scale, x_step, groups, x_scales)
    w_scale = repeated(w_scale, w_step, groups, w_scales)
    entry = entry_of(block, i64(fmt), host, stride, rows, length)
    known = recall(entry, i64(fmt), host, stride, rows, length, found) or not IS_COUNTED[fmt]
    if not in_parallel(block, rows * all_blocks * LINE, rows, GRAIN, some_grouped_sums, fmt, host, stride, end, length, dealt,
                       blocks, LINE * all_blocks, keep, book, row_words, per_group, groups, bias, w_scale, w_step, x_scale, y,
                       known, cores, found.ctypes.data):
        return False
    if not known:
        found[BY_CORE] = most(found[BY_CORE:])
        remember(entry, i64(fmt), host, stride, rows, length, found)
    collect(i64(fmt), mode, rows, length, rows * (all_blocks * step - length), book, found, events)
    events[STEPS_LONGEST] = found[BY_CORE]
    scratch[0] = 0              # keeps its memory alive until here
    return True
