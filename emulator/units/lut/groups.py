"""Matrix times vector for the formats that have vector code, in lut.mode 0, where groups of columns have scales of their own.

`grouped_sums` gives one fp32 number for each row: the scaled sum over the groups of the row. It is compiled for one format at a
time, so the format is a number in the source where it is called. Whole rows: products.py.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from emulator.native.inlining import inline, specialised
from emulator.native.machine_code import clear_bytes, load, store
from emulator.simd.folds import even, fold, odd
from emulator.simd.lanes import convert, put, spread, take, take_part
from emulator.threads.parallel import add_events, in_parallel
from emulator.units.lut.counts import IS_COUNTED, entry_of, recall, remember
from emulator.units.lut.layouts import BIAS, DEALT, FACTOR, SLICES
from emulator.units.lut.plain import STEPS_LONGEST, most
from emulator.units.lut.products import BY_CORE, GRAIN, LINE, QUAD, ROWS, collect, passes_for, prepare, quads_of, ready, sum_of
from emulator.units.lut.rows import word_products

WORDS = 1024                    # sums of words that stay in a first-level cache beside the activations

i32, i64, f32 = np.int32, np.int64, np.float32


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
def some_grouped_sums(first, last, fmt, host, stride, end, rows, vectors, length, dealt, apart, blocks, line, keep, book, row_words,
                      per_group, groups, bias, w_scale, w_step, x_scale, y, known, cores, found):
    """y[v, r] for the rows first..last, counted as `some_row_sums` does.

    Numbers alone, as `in_parallel` passes them.
    """
    quads = quads_of(vectors)
    together = QUAD if quads > 0 else 1
    spare_size, size = LINE * (SLICES[fmt] + 3) + ROWS * line, 4 * row_words * ROWS * together + 2 * LINE
    scratch, counted = np.zeros(spare_size + 2 * size, np.uint8), np.zeros(BY_CORE + cores, np.int64)
    ignored = np.zeros(BY_CORE, np.int64)           # what the weights count, they count once
    spare = (scratch.ctypes.data + LINE - 1) & -LINE
    words, events = spare + spare_size - LINE, counted.ctypes.data
    at_once = max(1, min(ROWS, WORDS // (row_words * together)))
    per_row = row_words // per_group
    r = first
    while r < last:
        row, row_step, tail, tail_step, some = ready(i64(fmt), host + r * stride, stride, min(last - r, at_once), length, end,
                                                     known, spare)
        if not known:
            step = some if cores == 1 else 1
            for i in range(0, some, step):
                before = load(events + 8, i64)
                word_products(fmt, 1, 1, step, row + i * row_step, row_step, dealt, 0, blocks, tail + i * tail_step, tail_step,
                              keep, book, words + 4 * row_words * i, 4 * row_words, 0, events)
                counted[BY_CORE + (r + i) % cores] += load(events + 8, i64) - before
        for q in range(passes_for(vectors)):
            v, these = QUAD * q if q < quads else q + (QUAD - 1) * quads, QUAD if q < quads else 1
            x, seen = dealt + v * apart, events if q == 0 else ignored.ctypes.data
            if q < quads:
                word_products(fmt, 0, QUAD, some, row, row_step, x, apart, blocks, tail, tail_step, keep, book, words,
                              4 * row_words, 4 * row_words * some, seen)
            elif known or q > 0:
                word_products(fmt, 0, 1, some, row, row_step, x, 0, blocks, tail, tail_step, keep, book, words, 4 * row_words, 0,
                              seen)
            sums = group_sums(words, these * some * row_words, per_group, words + size)
            for each in range(min(these, vectors - v)):
                for i in range(some):
                    total = scaled_sum(i64(fmt), sums + 4 * (each * some + i) * per_row, bias + 4 * (v + each) * groups,
                                       w_scale + (r + i) * groups * w_step, x_scale + 4 * (v + each) * groups, groups)
                    store(y + 4 * ((v + each) * rows + r + i), total)
        r += some
    add_events(found, counted)
    scratch[0] = ignored[0] = 0         # keeps their memory alive until here


@specialised
def grouped_sums(fmt, block, host, stride, end, rows, vectors, length, group, x, book, w_scale, w_step, x_scale, x_step, y, mode,
                 cores, events):
    """y[v, r] f32 = lane sum over g of f32(sum over c in g of W[r, c] x[v, c]) * (w_scale[r, g] x_scale[v, g]), more than one
    group; the events are those of one vector. A step is 4, or 0 for one scale that goes for everything. False if it fails.

    Numbers alone, as compiled functions take them (emulator/threads/parallel.py).
    """
    step, per_word = LINE * SLICES[fmt], 4 * SLICES[fmt]
    blocks, all_blocks = length // step, (length + step - 1) // step
    groups = (length + group - 1) // group
    per_group = group // per_word
    row_words = (16 * all_blocks + per_group - 1) // per_group * per_group      # groups beyond the row have the sum 0
    apart, places = all_blocks * DEALT[fmt], max(vectors, QUAD * quads_of(vectors))
    scratch = np.empty(places * apart + (8 * vectors + 4) * groups + LINE * (SLICES[fmt] + 2), np.uint8)
    found = np.zeros(BY_CORE + cores, np.int64)
    dealt = (scratch.ctypes.data + LINE - 1) & -LINE
    keep = dealt + places * apart
    bias = keep + LINE * (SLICES[fmt] + 1)
    w_scales = bias + 4 * vectors * groups
    x_scales = w_scales + 4 * groups
    for v in range(vectors):
        prepare(fmt, x + v * length, length, dealt + v * apart, keep, keep + LINE)
        for g in range(groups):
            store(bias + 4 * (v * groups + g), i32(BIAS[fmt] * sum_of(x + v * length + g * group, min(group, length - g * group))))
            store(x_scales + 4 * (v * groups + g), load(x_scale + 4 * (v * groups + g if x_step != 0 else v), f32))
    clear_bytes(dealt + vectors * apart, (places - vectors) * apart)
    w_scale = repeated(w_scale, w_step, groups, w_scales)
    entry = entry_of(block, i64(fmt), host, stride, rows, length)
    known = recall(entry, i64(fmt), host, stride, rows, length, found) or not IS_COUNTED[fmt]
    if not in_parallel(block, rows * all_blocks * LINE * vectors, rows, GRAIN, some_grouped_sums, fmt, host, stride, end, rows,
                       vectors, length, dealt, apart, blocks, LINE * all_blocks, keep, book, row_words, per_group, groups, bias,
                       w_scale, w_step, x_scales, y, known, cores, found.ctypes.data):
        return False
    if not known:
        found[BY_CORE] = most(found[BY_CORE:])
        remember(entry, i64(fmt), host, stride, rows, length, found)
    collect(i64(fmt), mode, rows, length, rows * (all_blocks * step - length), book, found, events)
    events[STEPS_LONGEST] = found[BY_CORE]
    scratch[0] = 0              # keeps its memory alive until here
    return True
