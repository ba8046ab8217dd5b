"""lut: products of packed weights and int8 activations, with the events that the unit would have had.

A product is an exact integer sum, so it may be computed in any order. Vector code (emulator/units/lut/rows.py) does it in mode 0, a
whole row of packed weights at a time. emulator/units/lut/plain.py does everything else, weight by weight.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from emulator.kernel import kernel
from emulator.kernel_words import DONE, LARGE, PUNT, count, csr, overlap, readable, state, writable
from emulator.native.inlining import inline, specialised
from emulator.native.machine_code import clear_bytes, load, store
from emulator.threads.parallel import add_events, in_parallel
from emulator.units.lut import products as lut_products
from emulator.units.lut.columns import columns_apart, some_column_sums
from emulator.units.lut.counts import FILLED, LONGEST_PAIRS, PAIRS, READS, buffered, is_buffered, toggles
from emulator.units.lut.groups import grouped_sums, has_words
from emulator.units.lut.layouts import layout_of_rows
from emulator.units.lut.operands import (
    ACTIVATIONS,
    BINARY,
    BOOK_I8,
    INDEX_TOGGLES,
    KIND,
    LUT,
    MACS,
    MODE,
    RESULT_STRIDE,
    SCALE_GROUP,
    SCALES,
    SHIFT,
    STEP,
    STEP_LONGEST,
    WEIGHT_BYTES,
    X_GROUP,
    activations,
    are_alike,
    cores_for,
    count_codes,
    count_product,
    looked_up,
    matrix,
)
from emulator.units.lut.plain import (
    B1,
    BUFFER_READS,
    EVENTS,
    LOOKUPS,
    PLANES,
    SKIPPED_GROUPS,
    STEPS,
    STEPS_LONGEST,
    count_row,
    most,
    row_bytes,
    row_sums,
    transposed_sums,
    unpack,
)
from emulator.units.lut.products import PASS, has_vector_code, places_for, some_scaled
from emulator.units.vectors import accumulate, accumulators, group_count, spaced, store_f32
from isa.units.lut.products import FORMAT_NUMBERS

XNOR_WIDTH = 64                 # columns that a step of lut.xnor compares
XNOR_PASSES = 9                 # of int8 activations: their bit planes, and one for the sum of the weights
SLOW = 16                       # a weight taken alone costs as much as these bytes of weights by vector code

u8, i32, i64, f32 = np.uint8, np.int32, np.int64, np.float32


# ------------------------------------------------------------------------------------------------ multiply-accumulate


@njit
def count_output(fmt, mode, weights, length, core, events):
    """Count an output whose `length` weights lie at `weights`, and its steps as those of a core too."""
    before = events[STEPS]
    count_row(fmt, mode, weights, length, events)
    events[EVENTS + core] += events[STEPS] - before


@inline
def plain_row_sums(first, last, fmt, block, host, stride, rows, vectors, length, sums, cores, found):
    """sums[v, r] int32 = sum over c of W[r, c] x[v, c] for the rows first..last.

    Numbers alone, as `in_parallel` passes them.
    """
    weights, events = np.empty(length, np.int8), np.zeros(EVENTS + cores, np.int64)
    for r in range(first, last):
        unpack(fmt, host + r * stride, length, state(block, BOOK_I8), weights.ctypes.data)
        for v in range(vectors):
            row_sums(weights.ctypes.data, state(block, ACTIVATIONS) + v * length, length, length, sums + 4 * (v * rows + r))
        count_output(fmt, csr(block, MODE), weights.ctypes.data, length, r % cores, events)
    add_events(found, events)


@specialised
def products(block, fmt, shape, host, stride, extent, rows, vectors, length, sums, cores, events):
    """sums[v, r] int32 = sum over c of W[r, c] x[v, c], by vector code where there is some; the events are those of one vector.
    False if it fails. `sums` has room for `places_for(vectors)`.

    Numbers alone, as compiled functions take them (emulator/threads/parallel.py).
    """
    in_pairs = csr(block, MODE) == 1 and is_buffered(i64(fmt))
    if has_vector_code(i64(fmt), 0 if in_pairs else csr(block, MODE), length):
        done = lut_products.row_sums(fmt, shape, block, host, stride, host + extent, rows, vectors, length,
                                     state(block, ACTIVATIONS), state(block, BOOK_I8), sums, csr(block, MODE), cores, events)
        if done and in_pairs:
            count_pairs(block, i64(fmt), host, stride, rows, length, cores, events)
        return done
    if not in_parallel(block, SLOW * rows * vectors * length, rows, 1, plain_row_sums, i64(fmt), block, host, stride, rows, vectors,
                       length, sums.ctypes.data, cores, events.ctypes.data):
        return False
    events[STEPS_LONGEST] = most(events[EVENTS:])
    return True


@njit
def count_pairs(block, fmt, host, stride, rows, length, cores, events):
    """Put what mode 1 counts to the events of one vector."""
    found = np.zeros(4, np.int64)
    buffered(block, fmt, host, stride, rows, length, cores, found)
    events[LOOKUPS], events[BUFFER_READS], events[STEPS] = 0, found[READS], found[READS] + found[PAIRS] >> 1
    events[SKIPPED_GROUPS] = rows * PLANES[fmt] * (length + 7 >> 3) - found[FILLED]
    events[STEPS_LONGEST] = found[LONGEST_PAIRS]


@specialised
def mac(block, fmt, shape, acc, W, rows):
    """lut.mac of one format."""
    vectors, length = activations(block)
    if length < 0:
        return PUNT
    host, weight_slot, stride, extent = matrix(block, i64(fmt), W, rows, length)
    acc, read, written, between, acc_extent = accumulators(block, LUT, RESULT_STRIDE, acc, vectors, rows)
    if host == 0 or acc == 0 or overlap(acc, acc_extent, host, extent):
        return PUNT
    cores = cores_for(block, rows)
    sums, events = np.zeros(places_for(vectors) * rows, np.int32), np.zeros(EVENTS + cores, np.int64)
    if extent > 0 and not products(block, fmt, shape, host, stride, extent, rows, vectors, length, sums, cores, events):
        return PUNT
    accumulate(block, acc, between, read, written, sums, csr(block, SHIFT), vectors, rows)
    count_codes(i64(fmt), rows, looked_up(block, length), events)
    count_product(block, i64(fmt), vectors, rows, length, weight_slot, rows * row_bytes(i64(fmt), length), cores, events)
    count_toggles(block, i64(fmt), host, stride, extent, rows, length)
    return DONE


@njit
def count_toggles(block, fmt, host, stride, extent, rows, length):
    """Count the bits of packed weights that switch from row to row."""
    if extent > 0:
        count(block, INDEX_TOGGLES, toggles(block, host, stride, rows, row_bytes(fmt, length)))


@specialised
def transposed(block, fmt, host, stride, extent, length, cols, x, sums, cores, events):
    """sums[c] int32 (cols,) = sum over j of x[j] W[j, c], by vector code where there is some. False if it fails.

    Numbers alone, as compiled functions take them (emulator/threads/parallel.py).
    """
    if has_vector_code(i64(fmt), csr(block, MODE), length) and (cores == 1 or are_alike(i64(fmt))):
        step = columns_apart(fmt, cols)
        if not in_parallel(block, extent, (cols + step - 1) // step, 1, some_column_sums, fmt, step, host, stride, host + extent,
                           length, cols, x, state(block, BOOK_I8), sums.ctypes.data, csr(block, MODE), events.ctypes.data):
            return False
        events[STEPS_LONGEST] = events[STEPS]
        return True
    transposed_sums(i64(fmt), csr(block, MODE), host, stride, length, cols, x, state(block, BOOK_I8), sums, cores, events)
    return True


@specialised
def mac_transposed(block, fmt, acc, W, cols):
    """lut.macT of one format."""
    vectors, length = activations(block)
    if length < 0:
        return PUNT
    host, weight_slot, stride, extent = matrix(block, i64(fmt), W, length, cols)
    acc, read, written, between, acc_extent = accumulators(block, LUT, RESULT_STRIDE, acc, vectors, cols)
    if host == 0 or acc == 0 or overlap(acc, acc_extent, host, extent):
        return PUNT
    cores = cores_for(block, cols)
    sums, events = np.zeros(vectors * cols, np.int32), np.zeros(EVENTS + cores, np.int64)
    for v in range(vectors if extent > 0 else 0):
        events[:] = 0
        if not transposed(block, fmt, host, stride, extent, length, cols, state(block, ACTIVATIONS) + v * length, sums[v * cols:],
                          cores, events):
            return PUNT
    accumulate(block, acc, between, read, written, sums, csr(block, SHIFT), vectors, cols)
    count_codes(i64(fmt), cols, length, events)
    count_product(block, i64(fmt), vectors, cols, length, weight_slot, length * row_bytes(i64(fmt), cols), cores, events)
    return DONE


# ------------------------------------------------------------------------------------------------ with scales


@njit
def scaled(sums, w_scale, w_step, x_scale, x_step, groups):
    """Lane sum over g of f32(sums[g]) * (w_scale[g] * x_scale[g]); a step of 0 stays at one scale."""
    lanes = np.zeros(16, np.float32)
    for g in range(groups):
        factor = load(w_scale + g * w_step, f32) * load(x_scale + g * x_step, f32)
        lanes[g & 15] += f32(load(sums + 4 * g, i32)) * factor
    half = 8
    while half > 0:
        for lane in range(half):
            lanes[lane] += lanes[lane + half]
        half >>= 1
    return lanes[0]


@inline
def plain_grouped_sums(first, last, fmt, block, host, stride, rows, vectors, length, group, groups, target, scales, w_step, x_step,
                       cores, found):
    """y[v, r] f32 at `target` for the rows first..last.

    Numbers alone, as `in_parallel` passes them.
    """
    weights, sums, events = np.empty(length, np.int8), np.empty(groups, np.int32), np.zeros(EVENTS + cores, np.int64)
    for r in range(first, last):
        unpack(fmt, host + r * stride, length, state(block, BOOK_I8), weights.ctypes.data)
        count_output(fmt, csr(block, MODE), weights.ctypes.data, length, r % cores, events)
        for v in range(vectors):
            row_sums(weights.ctypes.data, state(block, ACTIVATIONS) + v * length, length, group, sums.ctypes.data)
            x_scales = state(block, SCALES) + 4 * v * (groups if x_step != 0 else 1)
            total = scaled(sums.ctypes.data, scales + r * groups * w_step, w_step, x_scales, x_step, groups)
            store(target + 4 * (v * rows + r), total)
    add_events(found, events)


@specialised
def grouped(block, fmt, host, stride, extent, rows, vectors, length, group, groups, scales, w_step, x_step, y, cores, events):
    """y[v, r] f32 = lane sum over the groups, more than one, by vector code where there is some. False if it fails.

    Numbers alone, as compiled functions take them (emulator/threads/parallel.py).
    """
    if has_vector_code(i64(fmt), csr(block, MODE), length) and has_words(i64(fmt), group):
        return grouped_sums(fmt, block, host, stride, host + extent, rows, vectors, length, group, state(block, ACTIVATIONS),
                            state(block, BOOK_I8), scales, w_step, state(block, SCALES), x_step, y, csr(block, MODE), cores, events)
    if not in_parallel(block, SLOW * rows * vectors * length, rows, 1, plain_grouped_sums, i64(fmt), block, host, stride, rows,
                       vectors, length, group, groups, y, scales, w_step, x_step, cores, events.ctypes.data):
        return False
    events[STEPS_LONGEST] = most(events[EVENTS:])
    return True


@specialised
def gemv(block, fmt, shape, y, W, scale, rows):
    """lut.gemv of one format."""
    (vectors, length), w_group, x_group = activations(block), csr(block, SCALE_GROUP), load(state(block, X_GROUP), i64)
    if length < 0 or (w_group != 0 and x_group != 0 and w_group != x_group):
        return PUNT
    group = w_group if w_group != 0 else x_group
    groups = group_count(length, group)
    if groups <= 1:
        group = length
    host, weight_slot, stride, extent = matrix(block, i64(fmt), W, rows, length)
    if groups > 0 and rows > (LARGE >> 2) // groups:
        return PUNT
    scale_bytes = 4 * (rows * groups if w_group != 0 else min(rows * groups, 1))
    scales, scale_slot = readable(block, LUT, scale, scale_bytes, 4)
    between, y_extent = spaced(block, RESULT_STRIDE, vectors, 4 * rows, 4)
    y, written = writable(block, LUT, y, y_extent, 4)
    if (host == 0 or scales == 0 or between < 0 or y == 0 or overlap(y, y_extent, host, extent)
            or overlap(y, y_extent, scales, scale_bytes)):
        return PUNT
    cores = cores_for(block, rows)
    events = np.zeros(EVENTS + cores, np.int64)
    w_step, x_step = 4 if w_group != 0 else 0, 4 if x_group != 0 else 0
    if extent > 0 and groups == 1:
        sums = np.empty(places_for(vectors) * rows, np.int32)
        if not products(block, fmt, shape, host, stride, extent, rows, vectors, length, sums, cores, events):
            return PUNT
        if not in_parallel(block, PASS * rows * vectors, vectors, 1, some_scaled, rows, sums.ctypes.data, scales, w_step,
                           state(block, SCALES), y, between):
            return PUNT
        sums[0] = 0                 # keeps its memory alive until here
    elif extent > 0:
        result = np.empty(vectors * rows, np.float32)
        if not grouped(block, fmt, host, stride, extent, rows, vectors, length, group, groups, scales, w_step, x_step,
                       result.ctypes.data, cores, events):
            return PUNT
        for v in range(vectors):
            for r in range(rows):
                store_f32(y + v * between + 4 * r, result[v * rows + r])
    else:
        for v in range(vectors if rows > 0 else 0):
            clear_bytes(y + v * between, 4 * rows)
    count(block, scale_slot, scale_bytes)
    count(block, written, 4 * vectors * rows)
    count_codes(i64(fmt), rows, looked_up(block, length), events)
    count_product(block, i64(fmt), vectors, rows, length, weight_slot, rows * row_bytes(i64(fmt), length), cores, events)
    count_toggles(block, i64(fmt), host, stride, extent, rows, length)
    return DONE


def _define(fmt: int, shape: int, name: str) -> None:
    @kernel(f"lut.mac.{name}")
    def lut_mac(acc, W, rows, block):
        return mac(block, fmt, shape, acc, W, rows)

    @kernel(f"lut.macT.{name}")
    def lut_macT(acc, W, cols, block):
        return mac_transposed(block, fmt, acc, W, cols)

    @kernel(f"lut.gemv.{name}")
    def lut_gemv(y, W, scale, rows, block):
        return gemv(block, fmt, shape, y, W, scale, rows)


for _name, _fmt in FORMAT_NUMBERS.items():
    _define(_fmt, layout_of_rows(_fmt), _name)

# ------------------------------------------------------------------------------------------------ bit planes


@kernel("lut.xnor")
def lut_xnor(acc, W, rows, block):
    vectors, length = activations(block)
    if length < 0:
        return PUNT
    host, weight_slot, stride, extent = matrix(block, B1, W, rows, length)
    acc, read, written, between, acc_extent = accumulators(block, LUT, RESULT_STRIDE, acc, vectors, rows)
    if host == 0 or acc == 0 or overlap(acc, acc_extent, host, extent):
        return PUNT
    cores = cores_for(block, rows)
    sums, events = np.zeros(places_for(vectors) * rows, np.int32), np.zeros(EVENTS + cores, np.int64)
    if extent > 0 and not products(block, B1, B1, host, stride, extent, rows, vectors, length, sums, cores, events):
        return PUNT
    accumulate(block, acc, between, read, written, sums, csr(block, SHIFT), vectors, rows)
    passes = 1 if load(state(block, KIND), u8) == BINARY else XNOR_PASSES
    size, steps = rows * row_bytes(B1, length), (length + XNOR_WIDTH - 1) // XNOR_WIDTH * passes
    count(block, weight_slot, size)
    count(block, WEIGHT_BYTES, size)
    count(block, MACS, vectors * rows * length)
    count(block, STEP, vectors * rows * steps)
    count(block, STEP_LONGEST, vectors * group_count(rows, cores) * steps)
    count_toggles(block, B1, host, stride, extent, rows, length)
    return DONE
