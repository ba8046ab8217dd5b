"""cim: products with a matrix in tiles.

Results go to scratch: what is written may lie where scales are read.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from emulator.kernel import kernel
from emulator.kernel_words import DONE, LARGE, PUNT, count, csr, overlap, readable, state, writable
from emulator.native.block import M_ADCS, M_COLUMNS, M_MACROS, M_ROWS
from emulator.native.inlining import inline
from emulator.native.machine_code import array, clear_bytes, load, store
from emulator.threads.parallel import in_parallel
from emulator.units.cim.cells import TOGETHER, dots_of_cells, has_dot
from emulator.units.cim.operands import (
    ACTIVATIONS,
    ADC,
    CELLS,
    CIM,
    MUX_SELECTS,
    PLACES,
    RESULT_STRIDE,
    ROWS_ON,
    SCALE_GROUP,
    SCALES_AT,
    SHIFT,
    STEPS,
    STEPS_LONGEST,
    TILES,
    X_GROUP,
    X_SCALES,
    adc_is_legal,
    converted,
    count_columns,
    count_macs,
    figure,
    held,
    scale_sums,
    vectors_built,
)
from emulator.units.lut.kernels import scaled
from emulator.units.vectors import accumulate, accumulators, group_count, spaced, store_f32
from isa.units.cim.held import COLS, FORM, KIND, NONZERO, NUMBER, ROWS, TILE

GRAIN = 16                      # rows that a thread takes at least, a multiple of TOGETHER
SLOW = 16                       # a value taken alone costs as much as these bytes by vector code
WINDOW = 512                    # bytes that vector code may read behind the last column

i8, u8, i32, i64, f32 = np.int8, np.uint8, np.int32, np.int64, np.float32

# ------------------------------------------------------------------------------------------------ which tiles


@njit
def tiles_held(block, first, rows, cols):
    """(N, M, tiles down, tiles across, values that are not zero) of the matrix from macro `first` on; N = 0: it is not there."""
    macros = figure(block, M_MACROS)
    if not 0 <= first < macros or held(block, first)[KIND] != TILE:
        return 0, 0, 0, 0, 0
    form, nonzero = held(block, first)[FORM], i64(0)
    n, q = i64(form & 0xFF), i64(form >> 8)
    per_column, groups = figure(block, M_ROWS) // n, (cols + q - 1) // q
    down, across = (rows + figure(block, M_COLUMNS) - 1) // figure(block, M_COLUMNS), (groups + per_column - 1) // per_column
    if first + down * across > macros:
        return 0, 0, 0, 0, 0
    for tile in range(down * across):
        words = held(block, first + tile)
        if words[KIND] != TILE or words[FORM] != form or words[ROWS] != rows or words[COLS] != cols or words[NUMBER] != tile:
            return 0, 0, 0, 0, 0
        nonzero += words[NONZERO]
    return n, q, down, across, nonzero


# ------------------------------------------------------------------------------------------------ sums


@inline
def some_fast_sums(first, last, n, q, cells, places, columns, size, across, x, x_bytes, excess, vectors, rows, sums):
    """sums[v, r] int32 at an address, for the rows first..last. x as `dots_of_cells` takes it, `x_bytes` for each vector; `excess`
    int32 (vectors,) at an address: what is too much.

    Numbers alone, as `in_parallel` passes them.
    """
    r, together = first, TOGETHER if columns % TOGETHER == 0 else 1
    while r < last:
        lines = together if r + together <= last else 1
        at = ((r // columns) * across * columns + r % columns) * size
        for v in range(vectors):
            out = sums + 4 * (v * rows + r)
            dots_of_cells(lines, n, q, cells + at, places + at, across, columns * size, size, size >> 6, x + v * x_bytes, out)
            for i in range(lines):
                store(out + 4 * i, i32(load(out + 4 * i, i32) - load(excess + 4 * v, i32)))
        r += lines


@inline
def some_plain_sums(first, last, n, q, cells, places, columns, size, across, x, cols, vectors, rows, group, groups, adc, sums):
    """sums[v, r, g] int32 at an address, for the rows first..last: each tile's column yields a sum for each group.

    Numbers alone, as `in_parallel` passes them.
    """
    per_column = size // n
    for r in range(first, last):
        at = ((r // columns) * across * columns + r % columns) * size
        for v in range(vectors):
            vector, row = array(x + v * cols, i8, cols), array(sums + 4 * (v * rows + r) * groups, i32, groups)
            for g in range(groups):
                row[g] = 0
            for j in range(across):
                here, begin = at + j * columns * size, j * per_column * q
                g, total = begin // group, i64(0)
                for slot in range(min(per_column, (cols - begin + q - 1) // q) * n):
                    c = begin + slot // n * q + (slot % n if n == q else i64(load(places + here + slot, u8)))
                    if c < cols:
                        if c // group != g:
                            row[g] += i32(converted(adc, total))
                            g, total = c // group, i64(0)
                        total += i64(load(cells + here + slot, i8)) * i64(vector[c])
                row[g] += i32(converted(adc, total))


@njit
def dealt(x, vectors, cols, room, flip, target, excess):
    """The vectors as `dots_of_cells` takes them at `target`, `room` bytes each: x + 128 if `flip` is 128, x if it is 0. Then 128
    times the sum of each goes to excess (vectors,)."""
    for v in range(vectors):
        vector, out, total = array(x + v * cols, i8, cols), array(target + v * room, u8, room), i32(0)
        for c in range(cols):
            out[c] = u8(vector[c]) ^ u8(flip)
            total += i32(vector[c])
        for c in range(cols, room):
            out[c] = u8(flip)
        excess[v] = 0 if flip else total << 7


@njit
def sums_of(block, first, n, q, across, vectors, rows, cols, group, groups, sums):
    """sums[v, r, g] int32 (vectors * rows * groups,). False if it fails.

    Numbers alone, as compiled functions take them (emulator/threads/parallel.py).
    """
    size, columns, x = figure(block, M_ROWS), figure(block, M_COLUMNS), state(block, ACTIVATIONS)
    cells, places = state(block, CELLS) + first * columns * size, state(block, PLACES) + first * columns * size
    if groups == 1 and csr(block, ADC) == 0 and has_dot(n, q, size):
        room = across * (size // n * q) + WINDOW
        scratch, excess = np.empty(vectors * room, np.uint8), np.empty(vectors, np.int32)
        dealt(x, vectors, cols, room, 128 if n < q else 0, scratch.ctypes.data, excess)
        done = in_parallel(block, rows * vectors * across * size, rows, GRAIN, some_fast_sums, n, q, cells, places, columns, size,
                           across, scratch.ctypes.data, room, excess.ctypes.data, vectors, rows, sums.ctypes.data)
        scratch[0] = excess[0] = 0          # keeps their memory alive until here
        return done
    return in_parallel(block, SLOW * rows * vectors * across * size, rows, 1, some_plain_sums, n, q, cells, places, columns, size,
                       across, x, cols, vectors, rows, group, groups, csr(block, ADC), sums.ctypes.data)


@njit
def count_product(block, n, q, down, across, nonzero, vectors, rows, cols, group):
    """Count a product with a matrix that stands in macros.

    Numbers alone, as compiled functions take them (emulator/threads/parallel.py).
    """
    window, columns, adcs = figure(block, M_ROWS) // n * q, figure(block, M_COLUMNS), max(figure(block, M_ADCS), 1)
    pieces, longest = i64(0), i64(0)
    for j in range(across):
        steps = (min(cols, (j + 1) * window) - 1) // group - j * window // group + 1
        pieces += steps
        longest = max(longest, steps)
    stored = cols if n == q else (cols + q - 1) // q * n
    count(block, TILES, down * across)
    count(block, STEPS, down * pieces * vectors)
    count(block, STEPS_LONGEST, longest * vectors)
    count(block, ROWS_ON, down * stored * vectors)
    count(block, MUX_SELECTS, rows * stored * vectors if n < q else 0)
    count_macs(block, nonzero * vectors, rows * cols * vectors)
    count_columns(block, rows * pieces * vectors, (min(rows, columns) + adcs - 1) // adcs * longest * vectors)


# ------------------------------------------------------------------------------------------------ instructions


@kernel("cim.mac")
def cim_mac(acc, first, rows, block):
    (vectors, cols), shift = vectors_built(block), csr(block, SHIFT)
    if vectors == 0 or not 0 <= shift <= 31 or not adc_is_legal(block):
        return PUNT
    n, q, down, across, nonzero = 1, 1, 0, 0, 0
    if rows > 0 and cols > 0:
        n, q, down, across, nonzero = tiles_held(block, first, rows, cols)
    if n == 0 or rows > LARGE // vectors >> 2:
        return PUNT
    host, read, written, stride, _ = accumulators(block, CIM, RESULT_STRIDE, acc, vectors, rows)
    if host == 0:
        return PUNT
    sums = np.zeros(vectors * rows, np.int32)
    if down > 0:
        if not sums_of(block, first, n, q, across, vectors, rows, cols, cols, 1, sums):
            return PUNT
        count_product(block, n, q, down, across, nonzero, vectors, rows, cols, cols)
    accumulate(block, host, stride, read, written, sums, shift, vectors, rows)
    return DONE


@kernel("cim.gemv")
def cim_gemv(y, first, rows, block):
    (vectors, cols), w_group, x_group = vectors_built(block), csr(block, SCALE_GROUP), load(state(block, X_GROUP), i64)
    if vectors == 0 or (w_group != 0 and x_group != 0 and w_group != x_group) or not adc_is_legal(block):
        return PUNT
    group = w_group if w_group != 0 else x_group
    groups = group_count(cols, group)
    if groups <= 1:
        group = cols
    n, q, down, across, nonzero = 1, 1, 0, 0, 0
    if rows > 0 and cols > 0:
        n, q, down, across, nonzero = tiles_held(block, first, rows, cols)
    if n == 0 or rows > (LARGE >> 2) // vectors // max(groups, 1):
        return PUNT
    w_step, x_step = 4 if w_group != 0 else 0, 4 if x_group != 0 else 0
    scale_size = 4 * (rows * groups if w_group != 0 else min(rows * groups, 1))
    scales, scale_slot = readable(block, CIM, csr(block, SCALES_AT), scale_size, 4)
    stride, extent = spaced(block, RESULT_STRIDE, vectors, 4 * rows, 4)
    host, written = writable(block, CIM, y, extent, 4)
    if scales == 0 or stride < 0 or host == 0 or overlap(host, extent, scales, scale_size):
        return PUNT
    sums = np.zeros(vectors * rows * max(groups, 1), np.int32)
    if down > 0:
        if not sums_of(block, first, n, q, across, vectors, rows, cols, group, groups, sums):
            return PUNT
        count_product(block, n, q, down, across, nonzero, vectors, rows, cols, group)
    if groups == 1 and down > 0:
        scale_sums(block, host, stride, scales, w_step, sums, vectors, rows)
    else:
        for v in range(vectors if rows > 0 else 0):
            if groups == 0:
                clear_bytes(host + v * stride, 4 * rows)
            x_scales = state(block, X_SCALES) + 4 * v * (groups if x_step != 0 else 1)
            for r in range(rows if groups > 1 else 0):
                store_f32(host + v * stride + 4 * r,
                          scaled(sums[(v * rows + r) * groups:].ctypes.data, scales + r * groups * w_step, w_step, x_scales, x_step,
                                 groups))
    count(block, scale_slot, scale_size)
    count(block, written, 4 * vectors * rows)
    return DONE
