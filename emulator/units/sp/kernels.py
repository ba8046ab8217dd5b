"""sp: builds and products, with the events that the unit would have had.

A product of integers is an exact sum, so it may be computed in any order. Results go to scratch first: metadata may turn out to be
malformed at any row, and then nothing may have been written.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from emulator.kernel import ANYWHERE, kernel
from emulator.kernel_words import DONE, LARGE, PUNT, count, csr, readable, state, state_length
from emulator.native.inlining import specialised
from emulator.native.machine_code import array, load, move, store
from emulator.threads.parallel import in_parallel
from emulator.units.lut.kernels import scaled
from emulator.units.lut.operands import group_count, store_f32
from emulator.units.lut.products import scale_rows
from emulator.units.sp.operands import (
    ACTIVATIONS,
    FLOAT,
    INT8,
    KNOWN,
    MEMO,
    RUNNING,
    SCALE_GROUP,
    SCALES,
    SCALES_AT,
    SHIFT,
    SP,
    VECTOR,
    X_GROUP,
    built,
    count_matrix,
    count_products,
    layout,
    length_of,
    matrix,
    most_slots,
    remember,
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
from isa.sparse import KINDS
from isa.sparse.layout import FORMS
from isa.units.sp import LAYOUTS

GRAIN = 16                      # rows that a thread takes at least
SLOW = 16                       # a stored value taken alone costs as much as these bytes by vector code

i8, i32, i64, f32 = np.int8, np.int32, np.int64, np.float32

# ------------------------------------------------------------------------------------------------ builds


@kernel("sp.build.i8")
def sp_build_i8(x, scale, n, block):
    group = csr(block, SCALE_GROUP)
    size = 4 * group_count(n, group)
    scales, scales_read = readable(block, SP, scale, size, 4)
    if n > state_length(block, ACTIVATIONS) or scales == 0:
        return PUNT
    if n > 0:
        move(state(block, ACTIVATIONS), x, n)
        move(state(block, SCALES), scales, size)
    built(block, INT8, n)
    store(state(block, X_GROUP), group)
    count(block, scales_read, size)
    return DONE


@kernel("sp.build.f32")
def sp_build_f32(x, n, block):
    if n > state_length(block, VECTOR):
        return PUNT
    if n > 0:
        move(state(block, VECTOR), x, 4 * n)
    built(block, FLOAT, n)
    return DONE


# ------------------------------------------------------------------------------------------------ products of integers


@njit
def accumulate(acc, sums, rows, shift):
    """acc += sums << shift, int32 at an address."""
    total = array(acc, i32, rows)
    for r in range(rows):
        total[r] += i32(i64(sums[r]) << shift)


@specialised
def sums_of(block, kind, form, host, size, starts, meta, meta_bytes, rows, cols, p, q, group, groups, sums, known, found):
    """sums[r, g] int32 (rows * groups,) = sum over the stored c in g of W[r, c] x[c]. False if it fails, or something is malformed.

    Numbers alone, as compiled functions take them (emulator/threads/parallel.py).
    """
    slots, x = most_slots(kind, cols, p, q), state(block, ACTIVATIONS)
    if form == I8 and has_vector_code(kind, p, q, group, groups):
        scratch, excess = np.empty(cols + 2 * WINDOW + CHUNK, np.uint8), np.zeros(groups, np.int32)
        vector = (scratch.ctypes.data + CHUNK - 1) & -CHUNK
        dealt(kind, x, cols, group, groups, vector, excess.ctypes.data)
        if kind == BM:
            done = in_parallel(block, rows * cols, rows, GRAIN, some_masked_sums, host, host + size, starts.ctypes.data, meta,
                               meta_bytes, cols, p, vector, group, groups, excess.ctypes.data, sums.ctypes.data, known,
                               found.ctypes.data)
        else:
            done = in_parallel(block, rows * cols, rows, GRAIN, some_gathered_sums, host, slots, meta, meta_bytes, cols, p, q,
                               vector, group, groups, sums.ctypes.data, known, found.ctypes.data)
        scratch[0] = excess[0] = starts[0] = 0          # keeps their memory alive until here
        return done and not found[BAD]
    done = in_parallel(block, SLOW * rows * slots, rows, 1, some_sums, kind, form, host, starts.ctypes.data, meta, meta_bytes,
                       slots, cols, p, q, x, group, groups, sums.ctypes.data, found.ctypes.data)
    starts[0] = 0               # keeps its memory alive until here
    return done and not found[BAD]


@specialised
def mac(block, kind, form, acc, W, rows):
    """sp.mac of one layout and format."""
    (p, q), cols, shift = layout(block, kind), length_of(block, INT8), csr(block, SHIFT)
    if p == 0 or cols < 0 or not 0 <= shift <= 31:
        return PUNT
    if rows == 0 or cols == 0:
        return DONE
    sums, starts, found, memo = (np.empty(rows, np.int32), np.empty(rows, np.int64), np.zeros(WORDS, np.int64),
                                 np.zeros(MEMO, np.int64))
    memo[RUNNING] = form == I8 and has_vector_code(kind, p, q, cols, 1)
    host, values_slot, size, meta, meta_slot, meta_bytes = matrix(block, kind, form, W, rows, cols, p, q, starts, memo)
    if host == 0 or not sums_of(block, kind, form, host, size, starts, meta, meta_bytes, rows, cols, p, q, cols, 1, sums,
                                memo[KNOWN], found):
        return PUNT
    remember(memo, host, meta, rows, cols, found)
    accumulate(acc, sums, rows, shift)
    count_matrix(block, form, values_slot, size, meta_slot, rows * meta_bytes, found[STORED])
    count_products(block, form, found, rows * cols)
    return DONE


@specialised
def mac_transposed(block, kind, form, acc, W, cols):
    """sp.macT of one layout and format."""
    (p, q), rows, shift = layout(block, kind), length_of(block, INT8), csr(block, SHIFT)
    if p == 0 or rows < 0 or not 0 <= shift <= 31:
        return PUNT
    if rows == 0 or cols == 0:
        return DONE
    sums, starts, found, memo = (np.zeros(cols, np.int64), np.empty(rows, np.int64), np.zeros(WORDS, np.int64),
                                 np.zeros(MEMO, np.int64))
    host, values_slot, size, meta, meta_slot, meta_bytes = matrix(block, kind, form, W, rows, cols, p, q, starts, memo)
    if host == 0:
        return PUNT
    slots = most_slots(kind, cols, p, q)
    if not in_parallel(block, SLOW * rows * slots, rows, 16, some_transposed_sums, kind, form, host, starts.ctypes.data, meta,
                       meta_bytes, slots, cols, p, q, state(block, ACTIVATIONS), sums.ctypes.data, found.ctypes.data) or found[BAD]:
        return PUNT
    starts[0] = 0               # keeps its memory alive until here
    accumulate(acc, sums, cols, shift)
    count_matrix(block, form, values_slot, size, meta_slot, rows * meta_bytes, found[STORED])
    count_products(block, form, found, rows * cols)
    return DONE


# ------------------------------------------------------------------------------------------------ products to f32


@specialised
def gemv(block, kind, form, y, W, rows):
    """sp.gemv of one layout and a format of integers."""
    (p, q), cols = layout(block, kind), length_of(block, INT8)
    w_group, x_group = csr(block, SCALE_GROUP), load(state(block, X_GROUP), i64)
    if p == 0 or cols < 0 or (w_group != 0 and x_group != 0 and w_group != x_group):
        return PUNT
    group = w_group if w_group != 0 else x_group
    groups = group_count(cols, group)
    if groups <= 1:
        group = cols
    if rows == 0:
        return DONE
    results = array(y, f32, rows)
    if cols == 0:
        for r in range(rows):
            results[r] = 0
        return DONE
    if rows > (LARGE >> 2) // groups:
        return PUNT
    scale_size = 4 * (rows * groups if w_group != 0 else 1)
    scales, scales_slot = readable(block, SP, csr(block, SCALES_AT), scale_size, 4)
    starts, found, memo = np.empty(rows, np.int64), np.zeros(WORDS, np.int64), np.zeros(MEMO, np.int64)
    memo[RUNNING] = form == I8 and has_vector_code(kind, p, q, group, groups)
    host, values_slot, size, meta, meta_slot, meta_bytes = matrix(block, kind, form, W, rows, cols, p, q, starts, memo)
    sums = np.empty(rows * groups, np.int32)
    if host == 0 or scales == 0 or not sums_of(block, kind, form, host, size, starts, meta, meta_bytes, rows, cols, p, q, group,
                                               groups, sums, memo[KNOWN], found):
        return PUNT
    remember(memo, host, meta, rows, cols, found)
    w_step, x_step, scratch = 4 if w_group != 0 else 0, 4 if x_group != 0 else 0, np.empty(rows, np.float32)
    if groups == 1:
        scale_rows(sums.ctypes.data, rows, scales, w_step, load(state(block, SCALES), f32), scratch.ctypes.data)
    else:
        for r in range(rows):
            store_f32(scratch.ctypes.data + 4 * r,
                      scaled(sums.ctypes.data + 4 * r * groups, scales + r * groups * w_step, w_step, state(block, SCALES), x_step,
                             groups))
    move(y, scratch.ctypes.data, 4 * rows)
    count(block, scales_slot, scale_size)
    count_matrix(block, form, values_slot, size, meta_slot, rows * meta_bytes, found[STORED])
    count_products(block, form, found, rows * cols)
    scratch[0] = sums[0] = 0    # keeps their memory alive until here
    return DONE


@specialised
def float_gemv(block, kind, form, y, W, rows):
    """sp.gemv of one layout and a floating-point format."""
    (p, q), cols = layout(block, kind), length_of(block, FLOAT)
    if p == 0 or cols < 0:
        return PUNT
    if rows == 0:
        return DONE
    results = array(y, f32, rows)
    if cols == 0:
        for r in range(rows):
            results[r] = 0
        return DONE
    sums, starts, found, memo = (np.empty(rows, np.float32), np.empty(rows, np.int64), np.zeros(WORDS, np.int64),
                                 np.zeros(MEMO, np.int64))
    memo[RUNNING] = has_lane_code(kind, form, p)
    host, values_slot, size, meta, meta_slot, meta_bytes = matrix(block, kind, form, W, rows, cols, p, q, starts, memo)
    if host == 0:
        return PUNT
    slots, x = most_slots(kind, cols, p, q), state(block, VECTOR)
    if has_lane_code(kind, form, p):
        vector = np.zeros(cols + 16, np.float32)
        move(vector.ctypes.data, x, 4 * cols)
        done = in_parallel(block, 4 * rows * cols, rows, GRAIN, some_masked_lanes, host, host + size, starts.ctypes.data, meta,
                           meta_bytes, cols, vector.ctypes.data, sums.ctypes.data, memo[KNOWN], found.ctypes.data)
        vector[0] = 0           # keeps its memory alive until here
    else:
        done = in_parallel(block, SLOW * rows * slots, rows, 1, some_float_sums, kind, form, host, starts.ctypes.data, meta,
                           meta_bytes, slots, cols, p, q, x, sums.ctypes.data, found.ctypes.data)
    starts[0] = 0               # keeps its memory alive until here
    if not done or found[BAD]:
        return PUNT
    remember(memo, host, meta, rows, cols, found)
    for r in range(rows):
        store_f32(y + 4 * r, sums[r])
    count_matrix(block, form, values_slot, size, meta_slot, rows * meta_bytes, found[STORED])
    count_products(block, form, found, rows * cols)
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
