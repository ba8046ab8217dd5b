"""cim: products with block-diagonal factors."""

from __future__ import annotations

import numpy as np
from numba import njit

from emulator.kernel import kernel
from emulator.kernel_words import DONE, PUNT, count, csr, overlap, readable, state, writable
from emulator.native.block import M_ADCS, M_MACROS, M_ROWS
from emulator.native.inlining import inline, specialised
from emulator.native.machine_code import array, load
from emulator.threads.parallel import add_events, in_parallel
from emulator.units.cim.cells import TOGETHER, dots_of_cells
from emulator.units.cim.loading import blocks_held, cell_of, mapping
from emulator.units.cim.operands import (
    ACROSS,
    ACTIVATIONS,
    ADC,
    CIM,
    FACTOR,
    MAP,
    RESULT_STRIDE,
    ROWS_ON,
    SCALE_GROUP,
    SCALES_AT,
    SHIFT,
    STEPS,
    STEPS_LONGEST,
    TILES,
    X_GROUP,
    adc_is_legal,
    converted,
    count_columns,
    count_macs,
    figure,
    scale_sums,
    vectors_built,
)
from emulator.units.sp.rows import counted
from emulator.units.vectors import accumulate, accumulators, group_count, spaced
from isa.instruction import LONGEST

i8, i32, i64 = np.int8, np.int32, np.int64


@njit
def total_of(x, size):
    """The sum of as many int8 as are whole vectors of 64 bytes."""
    vector, total = array(x, i8, size), i32(0)
    for c in range(size & -64):
        total += i32(vector[c])
    return total


@njit
def dot_of_bytes(a, b, size):
    """The sum of products of int8."""
    x, y, total = array(a, i8, size), array(b, i8, size), i32(0)
    for c in range(size):
        total += i32(x[c]) * i32(y[c])
    return i64(total)


@inline
def some_block_sums(first, last, spread, block, size, of_a_row, slots, slot, f, factor, across, x, length, vectors, outputs, sums,
                    found):
    """sums[v, o] int32 at an address of the blocks first..last of each factor; how many of their weights are not zero.

    Blocks of one number share outputs with those of other factors, and with no others. Numbers alone, as `in_parallel` passes them.
    """
    cells, adc, events, excess = figure(block, M_ROWS), csr(block, ADC), np.zeros(1, np.int64), np.zeros(vectors, np.int32)
    dots = np.zeros(TOGETHER, np.int32)
    whole = size & -64
    for k in range(first, last):
        for t in range(f):
            weights = cell_of(block, size, of_a_row, slots, slot + t * factor + k)
            begin = ((t % across if spread else t) * factor + k) * size
            out = (t if spread else t // across) * factor * size + k
            for v in range(vectors):
                excess[v] = total_of(x + v * length + begin, size) << 7
            r = 0
            while r < size:
                row, lines = weights + r * cells, TOGETHER if r + TOGETHER <= size else 1
                for v in range(vectors):
                    vector = x + v * length + begin
                    dots_of_cells(lines, 1, 1, row, row, 1, 0, cells, size >> 6, vector, dots.ctypes.data)
                    for i in range(lines):
                        total = i64(dots[i]) - excess[v]
                        if size > whole:
                            total += dot_of_bytes(row + i * cells + whole, vector + whole, size - whole)
                        target = array(sums + 4 * (v * outputs + out + (r + i) * factor), i32, 1)
                        target[0] += i32(converted(adc, total))
                for i in range(lines):
                    events[0] += counted(row + i * cells, row + i * cells + size)
                r += lines
    add_events(found, events)
    dots[0] = 0                 # keeps its memory alive until here


@njit
def are_loaded(block, size, slots, first, blocks):
    """True if so many blocks are loaded from slot `first` on."""
    if blocks == 0:
        return True
    if not 0 <= first <= figure(block, M_MACROS) * slots - blocks:
        return False
    last = first + blocks - 1
    for macro in range(first // slots, last // slots):
        if blocks_held(block, macro, size) < slots:
            return False
    return blocks_held(block, last // slots, size) > last % slots


@njit
def count_product(block, size, slots, first, blocks, vectors, nonzero, elements):
    """Count a product with so many blocks, of matrices with so many elements."""
    adcs, tiles, longest = max(figure(block, M_ADCS), 1), i64(0), i64(0)
    if blocks > 0:
        for macro in range(first // slots, (first + blocks - 1) // slots + 1):
            tiles += 1
            longest = max(longest, min(first + blocks, (macro + 1) * slots) - max(first, macro * slots))
    at_once = csr(block, MAP) == 1
    count(block, TILES, tiles)
    count(block, STEPS, (tiles if at_once else blocks) * vectors)
    count(block, STEPS_LONGEST, (min(longest, 1) if at_once else longest) * vectors)
    count(block, ROWS_ON, blocks * size * vectors)
    count_macs(block, nonzero * vectors, elements * vectors)
    converting = (longest * size + adcs - 1) // adcs if at_once else longest * ((size + adcs - 1) // adcs)
    count_columns(block, blocks * size * vectors, converting * vectors)


@njit
def shape(block, spread, size, f, length):
    """(blocks of a factor, factors side by side, outputs) of f factors; outputs -1: punt."""
    factor, across = csr(block, FACTOR), csr(block, ACROSS)
    if not 1 <= factor <= LONGEST or not 1 <= across <= LONGEST or not 0 <= f <= LONGEST:
        return 0, 1, -1
    n = factor * size
    if length % n != 0 or length // n != (across if spread else f):
        return 0, 1, -1
    return factor, across, (f if spread else (f + across - 1) // across) * n


@specialised
def product(block, spread, size, of_a_row, slots, first, f, factor, across, vectors, length, outputs, sums):
    """sums[v, o] int32 (vectors * outputs,), which are zeros before. False if it fails. Counts the product.

    Numbers alone, as compiled functions take them (emulator/threads/parallel.py).
    """
    found = np.zeros(1, np.int64)
    if f > 0 and not in_parallel(block, 4 * f * factor * size * size * vectors, factor, 1, some_block_sums, spread, block, size,
                                 of_a_row, slots, first, f, factor, across, state(block, ACTIVATIONS), length, vectors, outputs,
                                 sums.ctypes.data, found.ctypes.data):
        return False
    count_product(block, size, slots, first, f * factor, vectors, found[0], f * (factor * size) ** 2)
    return True


@specialised
def i32_sums(block, spread, acc, first, f):
    """cim.spread.i32, cim.join.i32."""
    (size, of_a_row, slots), shift, (vectors, length) = mapping(block), csr(block, SHIFT), vectors_built(block)
    if size == 0 or not 0 <= shift <= 31 or vectors == 0 or not adc_is_legal(block):
        return PUNT
    factor, across, outputs = shape(block, spread, size, f, length)
    if outputs < 0 or not are_loaded(block, size, slots, first, f * factor):
        return PUNT
    host, read, written, stride, _ = accumulators(block, CIM, RESULT_STRIDE, acc, vectors, outputs)
    if host == 0:
        return PUNT
    sums = np.zeros(vectors * outputs, np.int32)
    if not product(block, spread, size, of_a_row, slots, first, f, factor, across, vectors, length, outputs, sums):
        return PUNT
    accumulate(block, host, stride, read, written, sums, shift, vectors, outputs)
    return DONE


@specialised
def f32_sums(block, spread, y, first, f):
    """cim.spread.f32, cim.join.f32."""
    (size, of_a_row, slots), (vectors, length) = mapping(block), vectors_built(block)
    w_group, x_group = csr(block, SCALE_GROUP), load(state(block, X_GROUP), i64)
    if size == 0 or vectors == 0 or (w_group != 0 and x_group != 0 and w_group != x_group) or not adc_is_legal(block):
        return PUNT
    factor, across, outputs = shape(block, spread, size, f, length)
    if (outputs < 0 or group_count(length, w_group if w_group != 0 else x_group) > 1
            or not are_loaded(block, size, slots, first, f * factor)):
        return PUNT
    scale_size = 4 * (outputs if w_group != 0 else min(outputs, 1))
    scales, scale_slot = readable(block, CIM, csr(block, SCALES_AT), scale_size, 4)
    stride, extent = spaced(block, RESULT_STRIDE, vectors, 4 * outputs, 4)
    host, written = writable(block, CIM, y, extent, 4)
    if scales == 0 or stride < 0 or host == 0 or overlap(host, extent, scales, scale_size):
        return PUNT
    sums = np.zeros(vectors * outputs, np.int32)
    if not product(block, spread, size, of_a_row, slots, first, f, factor, across, vectors, length, outputs, sums):
        return PUNT
    scale_sums(block, host, stride, scales, 4 if w_group != 0 else 0, sums, vectors, outputs)
    count(block, scale_slot, scale_size)
    count(block, written, 4 * vectors * outputs)
    return DONE


@kernel("cim.spread.i32")
def cim_spread_i32(acc, first, f, block):
    return i32_sums(block, 1, acc, first, f)


@kernel("cim.spread.f32")
def cim_spread_f32(y, first, f, block):
    return f32_sums(block, 1, y, first, f)


@kernel("cim.join.i32")
def cim_join_i32(acc, first, f, block):
    return i32_sums(block, 0, acc, first, f)


@kernel("cim.join.f32")
def cim_join_f32(y, first, f, block):
    return f32_sums(block, 0, y, first, f)
