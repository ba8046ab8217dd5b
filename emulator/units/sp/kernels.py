"""sp: builds and products, with the events that the unit would have had.

A product of integers is an exact sum, so it may be computed in any order. Results go to scratch first: metadata may turn out to be
malformed at any row, and then nothing may have been written.

One function serves all layouts and formats: it is compiled once, and numbers say which they are.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from emulator.kernel import ANYWHERE, kernel
from emulator.kernel_words import DONE, LARGE, PUNT, count, csr, readable, state, writable
from emulator.native.inlining import specialised
from emulator.native.machine_code import load, move, store
from emulator.threads.parallel import in_parallel
from emulator.units.lut.kernels import scaled
from emulator.units.lut.products import scale_rows
from emulator.units.sp.listed import some_block_sums, some_listed_sums
from emulator.units.sp.operands import (
    ACTIVATIONS,
    CODES_STRIDE,
    FLOAT,
    INT8,
    MATRIX,
    RESULT_STRIDE,
    SCALE_GROUP,
    SCALE_STRIDE,
    SCALES,
    SCALES_AT,
    SHIFT,
    SP,
    VECTOR,
    VECTORS,
    X_GROUP,
    built,
    count_products,
    layout,
    note_words,
    open_matrix,
    remember,
    vectors_of,
)
from emulator.units.sp.plain import (
    BAD,
    BL,
    BM,
    COLS,
    CS,
    F16,
    F32,
    I8,
    NM,
    ROWS,
    SIZE,
    SLOTS,
    WORDS,
    P,
    Q,
    some_float_sums,
    some_sums,
    some_transposed_sums,
)
from emulator.units.sp.rows import (
    CHUNK,
    dealt,
    group_sums,
    has_gather_code,
    has_lane_code,
    has_mask_code,
    some_gathered_sums,
    some_masked_lanes,
    some_masked_sums,
)
from emulator.units.vectors import Build, accumulate, accumulators, group_count, load_vectors, spaced, store_f32, vectors_asked
from isa.sparse import KINDS
from isa.sparse.layout import FORMS
from isa.units.sp.matrices import LAYOUTS

BUILD = Build(SP, VECTORS, SCALE_GROUP, CODES_STRIDE, SCALE_STRIDE, ACTIVATIONS, SCALES)
GRAIN = 16                      # rows that a thread takes at least
SLOW = 16                       # a stored value taken alone costs as much as these bytes by vector code

i64, f32 = np.int64, np.float32

# ------------------------------------------------------------------------------------------------ builds


@kernel("sp.build.i8")
def sp_build_i8(x, scale, n, block):
    if load_vectors(block, BUILD, x, scale, n) == 0:
        return PUNT
    built(block, INT8, n)
    store(state(block, X_GROUP), csr(block, SCALE_GROUP))
    return DONE


@kernel("sp.build.f32")
def sp_build_f32(x, n, block):
    vectors = vectors_asked(block, VECTORS, VECTOR, n)
    step, extent = spaced(block, CODES_STRIDE, vectors, 4 * n, 4)
    if vectors == 0 or step < 0:
        return PUNT
    values, values_read = readable(block, SP, x, extent, 4)
    if values == 0:
        return PUNT
    for v in range(vectors if n > 0 else 0):
        move(state(block, VECTOR) + 4 * v * n, values + v * step, 4 * n)
    built(block, FLOAT, n)
    count(block, values_read, 4 * vectors * n)
    return DONE


# ------------------------------------------------------------------------------------------------ products of integers


@njit
def plain_sums(block, matrix, vectors, x, group, groups, sums, found):
    """sums[v, r, g] int32 = sum over the stored c in g of W[r, c] x[v, c]. False if it fails. The numbers are addresses."""
    rows, slots = load(matrix + 8 * ROWS, i64), load(matrix + 8 * SLOTS, i64)
    return in_parallel(block, SLOW * rows * vectors * slots, rows, 1, some_sums, matrix, vectors, x, group, groups, sums, found)


@njit
def masked_sums(block, matrix, vectors, x, group, groups, sums, found):
    """`plain_sums` of int8 values of a bitmask, by vector code where there is any."""
    rows, cols = load(matrix + 8 * ROWS, i64), load(matrix + 8 * COLS, i64)
    if not has_mask_code(load(matrix + 8 * P, i64), group, groups):
        return plain_sums(block, matrix, vectors, x, group, groups, sums, found)
    apart, excess = (cols + 3 * CHUNK - 1) & -CHUNK, np.zeros(vectors * groups, np.int32)   # bytes from a vector to the next one
    scratch = np.empty(vectors * apart + CHUNK, np.uint8)
    first = (scratch.ctypes.data + CHUNK - 1) & -CHUNK
    for v in range(vectors):
        dealt(x + v * cols, cols, 0, first + v * apart)
        group_sums(x + v * cols, cols, group, groups, excess.ctypes.data + 4 * v * groups)
    done = in_parallel(block, rows * vectors * cols, rows, GRAIN, some_masked_sums, matrix, vectors, first, apart, group, groups,
                       excess.ctypes.data, sums, found)
    scratch[0] = excess[0] = 0          # keeps their memory alive until here
    return done


@njit
def gathered_sums(block, matrix, vectors, x, group, groups, sums, found):
    """`plain_sums` of int8 values of N of M, by vector code where there is any."""
    rows, cols = load(matrix + 8 * ROWS, i64), load(matrix + 8 * COLS, i64)
    if not has_gather_code(load(matrix + 8 * P, i64), load(matrix + 8 * Q, i64), group, groups):
        return plain_sums(block, matrix, vectors, x, group, groups, sums, found)
    apart = (cols + 3 * CHUNK - 1) & -CHUNK
    scratch = np.empty(vectors * apart + CHUNK, np.uint8)
    first = (scratch.ctypes.data + CHUNK - 1) & -CHUNK
    for v in range(vectors):
        dealt(x + v * cols, cols, 128, first + v * apart)
    done = in_parallel(block, rows * vectors * cols, rows, GRAIN, some_gathered_sums, matrix, vectors, first, apart, group, groups,
                       sums, found)
    scratch[0] = 0                      # keeps its memory alive until here
    return done


@njit
def listed_sums(block, matrix, vectors, x, group, groups, sums, found):
    """`plain_sums` of int8 values of listed columns."""
    rows, size = load(matrix + 8 * ROWS, i64), load(matrix + 8 * SIZE, i64)
    if groups > 1:
        return plain_sums(block, matrix, vectors, x, group, groups, sums, found)
    return in_parallel(block, 4 * vectors * size, rows, GRAIN, some_listed_sums, matrix, vectors, x, sums, found)


@njit
def block_sums(block, matrix, vectors, x, group, groups, sums, found):
    """`plain_sums` of int8 values of blocks."""
    rows, q, size = load(matrix + 8 * ROWS, i64), load(matrix + 8 * Q, i64), load(matrix + 8 * SIZE, i64)
    if groups > 1:
        return plain_sums(block, matrix, vectors, x, group, groups, sums, found)
    return in_parallel(block, 2 * vectors * size, (rows + q - 1) // q, 1, some_block_sums, matrix, vectors, x, sums, found)


SUMS_OF = {(BM, I8): masked_sums, (NM, I8): gathered_sums, (CS, I8): listed_sums, (BL, I8): block_sums}


@specialised
def sums_of(block, function, kind, form, W, rows, vectors, cols, group, groups, sums):
    """sums[v, r, g] int32 (vectors * rows * groups,) or more, by a function like `plain_sums`. False if it fails, or something is
    malformed. Counts the matrix and its products.

    Numbers alone, as compiled functions take them (emulator/threads/parallel.py).
    """
    noted = group if groups > 1 and form == I8 else 0
    matrix, found = np.zeros(MATRIX, np.int64), np.zeros(WORDS, np.int64)
    notes = np.empty(note_words(kind, form, rows, cols, noted), np.int64)
    if not open_matrix(block, kind, form, W, rows, cols, noted, matrix, notes):
        return False
    done = function(block, matrix.ctypes.data, vectors, state(block, ACTIVATIONS), group, groups, sums.ctypes.data,
                    found.ctypes.data)
    if not done or found[BAD]:
        return False
    remember(block, noted, matrix, found)
    count_products(block, matrix, found, vectors)
    notes[:1] = 0               # keeps its memory alive until here
    return True


@specialised
def mac(block, function, kind, form, acc, W, rows):
    """sp.mac of a layout and a format."""
    (p, _), (vectors, cols), shift = layout(block, kind), vectors_of(block, INT8), csr(block, SHIFT)
    if p == 0 or cols < 0 or not 0 <= shift <= 31:
        return PUNT
    target, read, written, between, _ = accumulators(block, SP, RESULT_STRIDE, acc, vectors, rows)
    if target == 0:
        return PUNT
    sums = np.zeros(max(vectors * rows, 1), np.int32)
    if rows > 0 and cols > 0 and not sums_of(block, function, kind, form, W, rows, vectors, cols, cols, 1, sums):
        return PUNT
    accumulate(block, target, between, read, written, sums, shift, vectors, rows)
    return DONE


@njit
def mac_transposed(block, kind, form, acc, W, cols):
    """sp.macT of a layout and a format."""
    (p, _), (vectors, rows), shift = layout(block, kind), vectors_of(block, INT8), csr(block, SHIFT)
    if p == 0 or rows < 0 or not 0 <= shift <= 31:
        return PUNT
    target, read, written, between, _ = accumulators(block, SP, RESULT_STRIDE, acc, vectors, cols)
    if target == 0:
        return PUNT
    sums = np.zeros(max(vectors * cols, 1), np.int64)
    if rows > 0 and cols > 0:
        matrix, found = np.zeros(MATRIX, np.int64), np.zeros(WORDS, np.int64)
        notes = np.empty(note_words(kind, form, rows, cols, 0), np.int64)
        if not open_matrix(block, kind, form, W, rows, cols, 0, matrix, notes):
            return PUNT
        done = in_parallel(block, SLOW * rows * vectors * matrix[SLOTS], rows, 16, some_transposed_sums,
                           matrix.ctypes.data, vectors, state(block, ACTIVATIONS), sums.ctypes.data, found.ctypes.data)
        if not done or found[BAD]:
            return PUNT
        count_products(block, matrix, found, vectors)
        notes[:1] = 0               # keeps its memory alive until here
    accumulate(block, target, between, read, written, sums, shift, vectors, cols)
    return DONE


# ------------------------------------------------------------------------------------------------ products to f32


@njit
def put_results(block, y, written, between, results, vectors, rows):
    """Write f32 results (vectors * rows,) to the host address y, vectors `between` bytes apart, a NaN as the canonical one."""
    for v in range(vectors):
        for r in range(rows):
            store_f32(y + v * between + 4 * r, results[v * rows + r])
    count(block, written, 4 * vectors * rows)


@specialised
def gemv(block, function, kind, form, y, W, rows):
    """sp.gemv of a layout and a format of integers."""
    (p, _), (vectors, cols) = layout(block, kind), vectors_of(block, INT8)
    w_group, x_group = csr(block, SCALE_GROUP), load(state(block, X_GROUP), i64)
    if p == 0 or cols < 0 or (w_group != 0 and x_group != 0 and w_group != x_group):
        return PUNT
    group = w_group if w_group != 0 else x_group
    groups = group_count(cols, group)
    if groups <= 1:
        group = cols
    between, extent = spaced(block, RESULT_STRIDE, vectors, 4 * rows, 4)
    if between < 0 or rows > (LARGE >> 2) // max(groups, 1):
        return PUNT
    scale_size = 4 * (rows * groups if w_group != 0 else min(rows * groups, 1))
    scales, scales_slot = readable(block, SP, csr(block, SCALES_AT), scale_size, 4)
    target, written = writable(block, SP, y, extent, 4)
    if scales == 0 or target == 0:
        return PUNT
    results = np.zeros(max(vectors * rows, 1), np.float32)
    if rows > 0 and cols > 0:
        sums = np.empty(vectors * rows * groups, np.int32)
        if not sums_of(block, function, kind, form, W, rows, vectors, cols, group, groups, sums):
            return PUNT
        w_step, x_step = 4 if w_group != 0 else 0, 4 if x_group != 0 else 0
        for v in range(vectors):
            x_scales = state(block, SCALES) + 4 * v * (groups if x_step != 0 else 1)
            at, out = sums.ctypes.data + 4 * v * rows * groups, results.ctypes.data + 4 * v * rows
            if groups == 1:
                scale_rows(at, rows, scales, w_step, load(x_scales, f32), out)
            else:
                for r in range(rows):
                    store(out + 4 * r, scaled(at + 4 * r * groups, scales + r * groups * w_step, w_step, x_scales, x_step, groups))
        sums[0] = 0             # keeps its memory alive until here
    put_results(block, target, written, between, results, vectors, rows)
    count(block, scales_slot, scale_size)
    return DONE


@njit
def plain_float_sums(block, matrix, vectors, x, results, found):
    """results[v, r] f32 = lane sum over the stored c of W[r, c] x[v, c]. False if it fails. The numbers are addresses."""
    rows, slots = load(matrix + 8 * ROWS, i64), load(matrix + 8 * SLOTS, i64)
    return in_parallel(block, SLOW * rows * vectors * slots, rows, 1, some_float_sums, matrix, vectors, x, results, found)


@njit
def masked_float_sums(block, matrix, vectors, x, results, found):
    """`plain_float_sums` of f32 values of a bitmask, by vector code where there is any."""
    rows, cols = load(matrix + 8 * ROWS, i64), load(matrix + 8 * COLS, i64)
    if not has_lane_code(load(matrix + 8 * P, i64)):
        return plain_float_sums(block, matrix, vectors, x, results, found)
    copies = np.zeros(vectors * cols + 16, np.float32)
    move(copies.ctypes.data, x, 4 * vectors * cols)
    done = in_parallel(block, 4 * rows * vectors * cols, rows, GRAIN, some_masked_lanes, matrix, vectors, copies.ctypes.data,
                       results, found)
    copies[0] = 0               # keeps its memory alive until here
    return done


@specialised
def float_gemv(block, function, kind, form, y, W, rows):
    """sp.gemv of a layout and a floating-point format, by a function like `plain_float_sums`."""
    (p, _), (vectors, cols) = layout(block, kind), vectors_of(block, FLOAT)
    if p == 0 or cols < 0:
        return PUNT
    between, extent = spaced(block, RESULT_STRIDE, vectors, 4 * rows, 4)
    if between < 0:
        return PUNT
    target, written = writable(block, SP, y, extent, 4)
    if target == 0:
        return PUNT
    results = np.zeros(max(vectors * rows, 1), np.float32)
    if rows > 0 and cols > 0:
        matrix, found = np.zeros(MATRIX, np.int64), np.zeros(WORDS, np.int64)
        notes = np.empty(note_words(kind, form, rows, cols, 0), np.int64)
        if not open_matrix(block, kind, form, W, rows, cols, 0, matrix, notes):
            return PUNT
        done = function(block, matrix.ctypes.data, vectors, state(block, VECTOR), results.ctypes.data, found.ctypes.data)
        if not done or found[BAD]:
            return PUNT
        remember(block, 0, matrix, found)
        count_products(block, matrix, found, vectors)
        notes[:1] = 0               # keeps its memory alive until here
    put_results(block, target, written, between, results, vectors, rows)
    return DONE


def _define(kind: int, form: int) -> None:
    name, sums, float_sums = f"{KINDS[kind]}.{FORMS[form]}", SUMS_OF.get((kind, form), plain_sums), (
        masked_float_sums if (kind, form) == (BM, F32) else plain_float_sums)
    if form < F16:
        @kernel(f"sp.mac.{name}", overlap=ANYWHERE)
        def sp_mac(acc, W, rows, block):
            return mac(block, sums, kind, form, acc, W, rows)

        @kernel(f"sp.macT.{name}", overlap=ANYWHERE)
        def sp_macT(acc, W, cols, block):
            return mac_transposed(block, kind, form, acc, W, cols)

        @kernel(f"sp.gemv.{name}", overlap=ANYWHERE)
        def sp_gemv(y, W, rows, block):
            return gemv(block, sums, kind, form, y, W, rows)
    else:
        @kernel(f"sp.gemv.{name}", overlap=ANYWHERE)
        def sp_float_gemv(y, W, rows, block):
            return float_gemv(block, float_sums, kind, form, y, W, rows)


for _kind in LAYOUTS:
    for _form in range(len(FORMS)):
        _define(KINDS.index(_kind), _form)
