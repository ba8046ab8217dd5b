"""sp: builds and products, with the events that the unit would have had.

A product of integers is an exact sum, so it may be computed in any order. Results go to scratch first: metadata may turn out to be
malformed at any row, and then nothing may have been written.
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
from emulator.units.sp.operands import (
    ACTIVATIONS,
    CODES_STRIDE,
    FLOAT,
    INT8,
    KNOWN,
    MEMO,
    RESULT_STRIDE,
    RUNNING,
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
    count_matrix,
    count_products,
    layout,
    matrix,
    most_slots,
    remember,
    vectors_of,
)
from emulator.units.sp.plain import BAD, BM, F16, I8, STORED, WORDS, some_float_sums, some_sums, some_transposed_sums
from emulator.units.sp.rows import (
    CHUNK,
    WINDOW,
    dealt,
    has_lane_code,
    has_vector_code,
    some_gathered_sums,
    some_masked_lanes,
    some_masked_sums,
)
from emulator.units.vectors import accumulate, accumulators, group_count, spaced, store_f32, vectors_asked
from isa.sparse import KINDS
from isa.sparse.layout import FORMS
from isa.units.sp import LAYOUTS

GRAIN = 16                      # rows that a thread takes at least
SLOW = 16                       # a stored value taken alone costs as much as these bytes by vector code

i8, i32, i64, f32 = np.int8, np.int32, np.int64, np.float32

# ------------------------------------------------------------------------------------------------ builds


@kernel("sp.build.i8")
def sp_build_i8(x, scale, n, block):
    vectors, group = vectors_asked(block, VECTORS, ACTIVATIONS, n), csr(block, SCALE_GROUP)
    size = 4 * group_count(n, group)
    codes_stride, codes_extent = spaced(block, CODES_STRIDE, vectors, n, 1)
    scale_stride, scale_extent = spaced(block, SCALE_STRIDE, vectors, size, 4)
    if vectors == 0 or codes_stride < 0 or scale_stride < 0:
        return PUNT
    codes, codes_read = readable(block, SP, x, codes_extent, 1)
    scales, scales_read = readable(block, SP, scale, scale_extent, 4)
    if codes == 0 or scales == 0:
        return PUNT
    for v in range(vectors if n > 0 else 0):
        move(state(block, ACTIVATIONS) + v * n, codes + v * codes_stride, n)
        move(state(block, SCALES) + v * size, scales + v * scale_stride, size)
    built(block, INT8, n)
    store(state(block, X_GROUP), group)
    count(block, codes_read, vectors * n)
    count(block, scales_read, vectors * size)
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


@specialised
def sums_of(block, kind, form, host, size, starts, meta, meta_bytes, rows, vectors, cols, p, q, group, groups, sums, known, found):
    """sums[v, r, g] int32 (vectors * rows * groups,) or more = sum over the stored c in g of W[r, c] x[v, c]. False if it fails,
    or something is malformed.

    Numbers alone, as compiled functions take them (emulator/threads/parallel.py).
    """
    slots, x = most_slots(kind, cols, p, q), state(block, ACTIVATIONS)
    if form == I8 and has_vector_code(kind, p, q, group, groups):
        apart = (cols + 2 * WINDOW + CHUNK - 1) & -CHUNK                # bytes from a vector to the next one
        scratch, excess = np.empty(vectors * apart + CHUNK, np.uint8), np.zeros(vectors * groups, np.int32)
        first = (scratch.ctypes.data + CHUNK - 1) & -CHUNK
        for v in range(vectors):
            dealt(kind, x + v * cols, cols, group, groups, first + v * apart, excess.ctypes.data + 4 * v * groups)
        if kind == BM:
            done = in_parallel(block, rows * vectors * cols, rows, GRAIN, some_masked_sums, host, host + size, starts.ctypes.data,
                               meta, meta_bytes, rows, vectors, cols, p, first, apart, group, groups, excess.ctypes.data,
                               sums.ctypes.data, known, found.ctypes.data)
        else:
            done = in_parallel(block, rows * vectors * cols, rows, GRAIN, some_gathered_sums, host, slots, meta, meta_bytes, rows,
                               vectors, cols, p, q, first, apart, group, groups, sums.ctypes.data, known, found.ctypes.data)
        scratch[0] = excess[0] = starts[0] = 0          # keeps their memory alive until here
        return done and not found[BAD]
    done = in_parallel(block, SLOW * rows * vectors * slots, rows, 1, some_sums, kind, form, host, starts.ctypes.data, meta,
                       meta_bytes, slots, rows, vectors, cols, p, q, x, group, groups, sums.ctypes.data, found.ctypes.data)
    starts[0] = 0               # keeps its memory alive until here
    return done and not found[BAD]


@specialised
def mac(block, kind, form, acc, W, rows):
    """sp.mac of one layout and format."""
    (p, q), (vectors, cols), shift = layout(block, kind), vectors_of(block, INT8), csr(block, SHIFT)
    if p == 0 or cols < 0 or not 0 <= shift <= 31:
        return PUNT
    target, read, written, between, _ = accumulators(block, SP, RESULT_STRIDE, acc, vectors, rows)
    if target == 0:
        return PUNT
    sums = np.zeros(max(vectors * rows, 1), np.int32)
    if rows > 0 and cols > 0:
        starts, found, memo = np.empty(rows, np.int64), np.zeros(WORDS, np.int64), np.zeros(MEMO, np.int64)
        memo[RUNNING] = form == I8 and has_vector_code(kind, p, q, cols, 1)
        host, values_slot, size, meta, meta_slot, meta_bytes = matrix(block, kind, form, W, rows, cols, p, q, starts, memo)
        if host == 0 or not sums_of(block, kind, form, host, size, starts, meta, meta_bytes, rows, vectors, cols, p, q, cols, 1,
                                    sums, memo[KNOWN], found):
            return PUNT
        remember(memo, host, meta, rows, cols, found)
        count_matrix(block, form, values_slot, size, meta_slot, rows * meta_bytes, vectors * found[STORED])
        count_products(block, form, found, rows * cols, vectors)
    accumulate(block, target, between, read, written, sums, shift, vectors, rows)
    return DONE


@specialised
def mac_transposed(block, kind, form, acc, W, cols):
    """sp.macT of one layout and format."""
    (p, q), (vectors, rows), shift = layout(block, kind), vectors_of(block, INT8), csr(block, SHIFT)
    if p == 0 or rows < 0 or not 0 <= shift <= 31:
        return PUNT
    target, read, written, between, _ = accumulators(block, SP, RESULT_STRIDE, acc, vectors, cols)
    if target == 0:
        return PUNT
    sums = np.zeros(max(vectors * cols, 1), np.int64)
    if rows > 0 and cols > 0:
        starts, found, memo = np.empty(rows, np.int64), np.zeros(WORDS, np.int64), np.zeros(MEMO, np.int64)
        host, values_slot, size, meta, meta_slot, meta_bytes = matrix(block, kind, form, W, rows, cols, p, q, starts, memo)
        if host == 0:
            return PUNT
        slots = most_slots(kind, cols, p, q)
        if not in_parallel(block, SLOW * rows * vectors * slots, rows, 16, some_transposed_sums, kind, form, host,
                           starts.ctypes.data, meta, meta_bytes, slots, rows, vectors, cols, p, q, state(block, ACTIVATIONS),
                           sums.ctypes.data, found.ctypes.data) or found[BAD]:
            return PUNT
        starts[0] = 0               # keeps its memory alive until here
        count_matrix(block, form, values_slot, size, meta_slot, rows * meta_bytes, vectors * found[STORED])
        count_products(block, form, found, rows * cols, vectors)
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
def gemv(block, kind, form, y, W, rows):
    """sp.gemv of one layout and a format of integers."""
    (p, q), (vectors, cols) = layout(block, kind), vectors_of(block, INT8)
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
        starts, found, memo = np.empty(rows, np.int64), np.zeros(WORDS, np.int64), np.zeros(MEMO, np.int64)
        memo[RUNNING] = form == I8 and has_vector_code(kind, p, q, group, groups)
        host, values_slot, size, meta, meta_slot, meta_bytes = matrix(block, kind, form, W, rows, cols, p, q, starts, memo)
        sums = np.empty(vectors * rows * groups, np.int32)
        if host == 0 or not sums_of(block, kind, form, host, size, starts, meta, meta_bytes, rows, vectors, cols, p, q, group,
                                    groups, sums, memo[KNOWN], found):
            return PUNT
        remember(memo, host, meta, rows, cols, found)
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
        count_matrix(block, form, values_slot, size, meta_slot, rows * meta_bytes, vectors * found[STORED])
        count_products(block, form, found, rows * cols, vectors)
    put_results(block, target, written, between, results, vectors, rows)
    count(block, scales_slot, scale_size)
    return DONE


@specialised
def float_gemv(block, kind, form, y, W, rows):
    """sp.gemv of one layout and a floating-point format."""
    (p, q), (vectors, cols) = layout(block, kind), vectors_of(block, FLOAT)
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
        starts, found, memo = np.empty(rows, np.int64), np.zeros(WORDS, np.int64), np.zeros(MEMO, np.int64)
        memo[RUNNING] = has_lane_code(kind, form, p)
        host, values_slot, size, meta, meta_slot, meta_bytes = matrix(block, kind, form, W, rows, cols, p, q, starts, memo)
        if host == 0:
            return PUNT
        slots, x = most_slots(kind, cols, p, q), state(block, VECTOR)
        if has_lane_code(kind, form, p):
            copies = np.zeros(vectors * cols + 16, np.float32)
            move(copies.ctypes.data, x, 4 * vectors * cols)
            done = in_parallel(block, 4 * rows * vectors * cols, rows, GRAIN, some_masked_lanes, host, host + size,
                               starts.ctypes.data, meta, meta_bytes, rows, vectors, cols, copies.ctypes.data, results.ctypes.data,
                               memo[KNOWN], found.ctypes.data)
            copies[0] = 0           # keeps its memory alive until here
        else:
            done = in_parallel(block, SLOW * rows * vectors * slots, rows, 1, some_float_sums, kind, form, host, starts.ctypes.data,
                               meta, meta_bytes, slots, rows, vectors, cols, p, q, x, results.ctypes.data, found.ctypes.data)
        starts[0] = 0               # keeps its memory alive until here
        if not done or found[BAD]:
            return PUNT
        remember(memo, host, meta, rows, cols, found)
        count_matrix(block, form, values_slot, size, meta_slot, rows * meta_bytes, vectors * found[STORED])
        count_products(block, form, found, rows * cols, vectors)
    put_results(block, target, written, between, results, vectors, rows)
    return DONE


def _define(kind: int, form: int) -> None:
    name = f"{KINDS[kind]}.{FORMS[form]}"
    if form < F16:
        @kernel(f"sp.mac.{name}", overlap=ANYWHERE)
        def sp_mac(acc, W, rows, block):
            return mac(block, kind, form, acc, W, rows)

        @kernel(f"sp.macT.{name}", overlap=ANYWHERE)
        def sp_macT(acc, W, cols, block):
            return mac_transposed(block, kind, form, acc, W, cols)

        @kernel(f"sp.gemv.{name}", overlap=ANYWHERE)
        def sp_gemv(y, W, rows, block):
            return gemv(block, kind, form, y, W, rows)
    else:
        @kernel(f"sp.gemv.{name}", overlap=ANYWHERE)
        def sp_float_gemv(y, W, rows, block):
            return float_gemv(block, kind, form, y, W, rows)


for _kind in LAYOUTS:
    for _form in range(len(FORMS)):
        _define(KINDS.index(_kind), _form)
