"""Matrix times vector for the formats that have vector code, in lut.mode 0: whole matrices, row by row.

`row_sums` yields one integer for each row, `grouped_sums` one fp32 number: the scaled sum over the groups of the row. Formats
are numbers in the source wherever these functions are called, for they are compiled for one format each.
"""

from __future__ import annotations

import numpy as np
from numba import literally, njit

from emulator.lanes import convert, even, fold, odd, put, spread, take, take_part
from emulator.lut_plain import B1, C2, EVENTS, LOOKUPS, SKIPPED_GROUPS, STEPS, ZERO_WEIGHTS, planes_of, row_bytes
from emulator.lut_rows import BY_NUMBER, deal, row_products, word_products
from emulator.machine_code import array, load, store

SLICES = tuple(layout.slices if layout else 0 for layout in BY_NUMBER)
FACTOR = tuple(layout.factor if layout else 0 for layout in BY_NUMBER)
BIAS = tuple(layout.bias if layout else 0 for layout in BY_NUMBER)
LONGEST = 1 << 20               # activations: beyond, sums of codes in place could leave 32 bits
LINE = 64
AT_ONCE = 2                     # rows that share the loads of the activations

u8, i8, i32, i64, f32 = np.uint8, np.int8, np.int32, np.int64, np.float32


@njit
def has_vector_code(fmt, mode, length):
    """True if the functions here may be called."""
    return SLICES[fmt] > 0 and mode == 0 and length <= LONGEST


@njit
def prepare(fmt, x, length, dealt, keep, spare):
    """Deal the activations out to `dealt`, whole blocks, zeros behind the last; mask of the bytes of a last block to `keep`."""
    literally(fmt)
    step = LINE * SLICES[fmt]
    blocks = length // step
    rest = length - blocks * step
    deal(fmt, x, blocks, dealt)
    if rest > 0:
        last = array(spare, i8, step)
        last[:rest] = array(x + blocks * step, i8, rest)
        last[rest:] = 0
        deal(fmt, spare, 1, dealt + blocks * step)
        for at in range(LINE):
            bits = min(max(rest - at * SLICES[fmt], 0), SLICES[fmt]) * (8 // SLICES[fmt])
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
def tails(fmt, row, stride, rows, length, end, spare):
    """(address, stride) of the last blocks of some rows, 64 readable bytes each: moved to `spare` if they lie before `end`."""
    blocks = length // (LINE * SLICES[fmt])
    at = row + LINE * blocks
    if length == blocks * LINE * SLICES[fmt]:
        return 0, 0
    if at + (rows - 1) * stride + LINE <= end:
        return at, stride
    size = row_bytes(fmt, length) - LINE * blocks
    for r in range(rows):
        array(spare + LINE * r, u8, size)[:] = array(at + r * stride, u8, size)
    return spare, LINE


@njit
def collect(fmt, rows, length, book, found, events):
    """Turn what vector code counted, (weights that are not zero, look-ups), into events."""
    weights, groups = rows * length, rows * planes_of(fmt) * (length + 3 >> 2)
    if fmt == B1:
        found[0], found[1] = weights, groups
    if fmt >= C2 and load(book, i8) != 0:           # behind the end of a row stood code 0
        step = LINE * SLICES[fmt]
        found[0] -= rows * ((length + step - 1) // step * step - length)
    events[ZERO_WEIGHTS] = weights - found[0]
    if fmt < C2:
        events[LOOKUPS] = events[STEPS] = found[1]
        events[SKIPPED_GROUPS] = groups - found[1]


@njit
def row_sums(fmt, host, stride, end, rows, length, x, book, sums, events):
    """sums[r] int32 = sum over c of W[r, c] x[c], rows and length > 0. `end`: address behind the matrix."""
    literally(fmt)
    step = LINE * SLICES[fmt]
    blocks, all_blocks = length // step, (length + step - 1) // step
    scratch = np.empty(all_blocks * step + LINE * (AT_ONCE + SLICES[fmt] + 2), np.uint8)
    dealt = (scratch.ctypes.data + LINE - 1) & -LINE
    keep = dealt + all_blocks * step
    spare = keep + LINE
    prepare(fmt, x, length, dealt, keep, spare)
    found = np.zeros(EVENTS, np.int64)
    out, counts = sums.ctypes.data, found.ctypes.data
    for r in range(0, rows, AT_ONCE):
        row = host + r * stride
        some = min(rows - r, AT_ONCE)
        tail, tail_stride = tails(fmt, row, stride, some, length, end, spare)
        if some == AT_ONCE:
            row_products(fmt, AT_ONCE, row, stride, dealt, blocks, tail, tail_stride, keep, book, out + 4 * r, counts)
            continue
        for i in range(some):
            row_products(fmt, 1, row + i * stride, stride, dealt, blocks, tail + i * tail_stride, tail_stride, keep, book,
                         out + 4 * (r + i), counts)
    bias = BIAS[fmt] * sum_of(x, length)
    for r in range(rows):
        sums[r] = FACTOR[fmt] * sums[r] - bias
    collect(fmt, rows, length, book, found, events)
    scratch[0] = 0              # used to here: its address was


# ------------------------------------------------------------------------------------------------ groups with scales


@njit
def has_words(fmt, group):
    """True if a group is whole 32-bit words of weights."""
    return group % (4 * SLICES[fmt]) == 0


@njit
def add_pairs(words, n):
    """n int32 become (n + 1) / 2 sums of two neighbours, in place. Reads up to 31 words more."""
    for i in range((n + 31) >> 5):
        a, b = take(words + 128 * i, np.int32), take(words + 128 * i + 64, np.int32)
        put(words + 64 * i, even(a, b) + odd(a, b))


@njit
def group_sums(words, n, per_group):
    """The n int32 at `words` become sums of `per_group` neighbours each; the last may be of fewer."""
    while per_group & 1 == 0:
        add_pairs(words, n)
        n, per_group = n + 1 >> 1, per_group >> 1
    if per_group > 1:
        values = array(words, i32, n)
        for g in range((n + per_group - 1) // per_group):
            total = i32(0)
            for i in range(g * per_group, min((g + 1) * per_group, n)):
                total += values[i]
            values[g] = total


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
    array(target, f32, groups)[:] = load(scale, f32)
    return target


@njit
def grouped_sums(fmt, host, stride, end, rows, length, group, x, book, w_scale, w_step, x_scale, x_step, y, events):
    """y[r] f32 = lane sum over g of f32(sum over c in g of W[r, c] x[c]) * (w_scale[r, g] x_scale[g]), more than one group.

    A step is 4, or 0 for one scale that goes for everything.
    """
    literally(fmt)
    step, per_word = LINE * SLICES[fmt], 4 * SLICES[fmt]
    blocks, all_blocks = length // step, (length + step - 1) // step
    groups = (length + group - 1) // group
    scratch = np.zeros(all_blocks * (step + LINE) + 12 * groups + LINE * (SLICES[fmt] + 9), np.uint8)
    dealt = (scratch.ctypes.data + LINE - 1) & -LINE
    keep = dealt + all_blocks * step
    spare = keep + LINE
    words = spare + LINE * (SLICES[fmt] + 1)
    bias = words + LINE * (all_blocks + 2)
    x_scales = bias + 4 * groups
    w_scales = x_scales + 4 * groups
    prepare(fmt, x, length, dealt, keep, spare)
    for g in range(groups):
        store(bias + 4 * g, i32(BIAS[fmt] * sum_of(x + g * group, min(group, length - g * group))))
    x_scale = repeated(x_scale, x_step, groups, x_scales)
    w_scale = repeated(w_scale, w_step, groups, w_scales)
    found = np.zeros(EVENTS, np.int64)
    for r in range(rows):
        row = host + r * stride
        tail, tail_stride = tails(fmt, row, stride, 1, length, end, spare)
        word_products(fmt, 1, row, stride, dealt, blocks, tail, tail_stride, keep, book, words, found.ctypes.data)
        group_sums(words, (length + per_word - 1) // per_word, group // per_word)
        store(y + 4 * r, scaled_sum(fmt, words, bias, w_scale + r * groups * w_step, x_scale, groups))
    collect(fmt, rows, length, book, found, events)
    scratch[0] = 0              # used to here: its address was
