"""Convolutions and products of int8 matrices with int8 results, for dense weights (vec) and streams (sp).

Weights are packed by sixteen outputs: four weights of each of them lie side by side, so that one dot product of 64 bytes does four
elements of a window for all. Packed weights are int8, windows unsigned, x + 128. What that and the offsets add is known for each
output, but for the sum of a window times the offset of the weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from emulator.kernel_words import LARGE, csr, readable
from emulator.native.emitting import alloca_once, for_range
from emulator.native.machine_code import array, load, store
from emulator.simd.bytes64 import I32, I64, SIZE, Vector, dot, pointer, vector_type, zeros
from emulator.units.windows import (
    BIAS,
    ELEMENTS,
    MANY,
    OUTPUTS,
    ROW_STRIDE_CSR,
    W_OFFSET,
    X_OFFSET,
    gather,
    put_results,
    spread_factors,
)

LANES, TOGETHER = 16, 8         # outputs of a vector of sums; windows that share the loads of the weights

i8, u8, u32, i32, i64 = np.int8, np.uint8, np.uint32, np.int32, np.int64


@intrinsic  # type: ignore[untyped-decorator]
def some_dots(typing: Any, x: Any, apart: Any, weights: Any, fours: Any, out: Any) -> Any:
    """some_dots(x, apart, weights, fours, out): int32 sums (TOGETHER, LANES) of so many fours of unsigned bytes at x, windows
    `apart` bytes apart, times packed weights."""
    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        x, apart, weights, fours, out = arguments
        slots = [alloca_once(builder, vector_type(I32)) for _ in range(TOGETHER)]
        starts = [builder.add(x, builder.mul(apart, I64(i))) for i in range(TOGETHER)]
        for slot in slots:
            builder.store(zeros(builder).value, slot)
        with for_range(builder, fours, intp=I64) as loop:
            w = Vector.load(builder, builder.add(weights, builder.mul(loop.index, I64(SIZE))))
            for start, slot in zip(starts, slots, strict=True):
                four = builder.load(pointer(builder, builder.add(start, builder.mul(loop.index, I64(4))), I32))
                four.align = 1
                kind = vector_type(I32)
                one = builder.insert_element(ir.Constant(kind, ir.Undefined), four, I32(0))
                u = Vector(builder, builder.shuffle_vector(one, one, ir.Constant(kind, [0] * kind.count)))
                builder.store(dot(Vector(builder, builder.load(slot)), u, w, 255).of(I32), slot)
        for i, slot in enumerate(slots):
            Vector(builder, builder.load(slot)).store(builder.add(out, I64(SIZE * i)))
        return context.get_dummy_value()
    return types.void(*[types.int64] * 5), emit


@njit
def packed_bytes(outputs, elements):
    """Bytes of packed weights."""
    return (outputs + LANES - 1) // LANES * ((elements + 3) // 4) * SIZE


@njit
def packed_place(output, element, fours):
    """Where a weight lies among the packed ones."""
    return ((output // LANES) * fours + (element >> 2)) * SIZE + (output % LANES) * 4 + (element & 3)


@njit
def weights_at(block, port, W, rows, cols):
    """(host address, stride, counter slot, bytes from first to last) of int8 rows; address 0: punt."""
    stride = csr(block, ROW_STRIDE_CSR)
    if stride == 0:
        stride = cols
    if not cols <= stride <= LARGE >> 18 or rows > LARGE // stride:
        return 0, 0, 0, 0
    extent = (rows - 1) * stride + cols
    host, read = readable(block, port, W, extent, 1)
    return host, stride, read, extent


@njit
def pack(host, stride, outputs, elements, packed, totals):
    """Pack weights, int8 rows `stride` bytes apart, to the address `packed`, which is zeros. Their sums go to totals int32
    (outputs,)."""
    fours = (elements + 3) // 4
    for o in range(outputs):
        row, at = array(host + o * stride, i8, elements), packed + packed_place(o, 0, fours)
        total = i32(0)
        for e in range(elements):
            total += row[e]
        totals[o] = total
        for k in range(elements >> 2):
            store(at + k * SIZE, load(host + o * stride + 4 * k, u32))
        for e in range(elements & -4, elements):
            store(packed + packed_place(o, e, fours), row[e])


@njit
def convolve(frame, packed, totals):
    """Write the results of all windows with packed weights, whose sums are totals int32 (outputs,)."""
    outputs, elements = frame[OUTPUTS], frame[ELEMENTS]
    fours = (elements + 3) // 4
    apart, blocks = 4 * fours, (outputs + LANES - 1) // LANES
    multipliers, shifts = np.empty(outputs, np.int64), np.empty(outputs, np.int64)
    spread_factors(frame, multipliers, shifts)
    added = np.empty(outputs, np.int32)
    for o in range(outputs):
        bias = load(frame[BIAS] + 4 * o, i32) if frame[BIAS] != 0 else i32(0)
        added[o] = i32(bias + (frame[X_OFFSET] - 128) * totals[o] + elements * frame[X_OFFSET] * frame[W_OFFSET])
    windows, sums = np.zeros(TOGETHER * apart, np.uint8), np.empty(TOGETHER * LANES, np.int32)
    of_window = np.zeros(TOGETHER, np.int64)
    x, out, some = windows.ctypes.data, sums.ctypes.data, np.empty(LANES, np.int32)
    for first in range(0, frame[MANY], TOGETHER):
        here = min(TOGETHER, frame[MANY] - first)
        for i in range(here):
            gather(frame, first + i, x + i * apart)
            window = windows[i * apart:i * apart + elements]
            if frame[W_OFFSET] != 0:
                total = i64(0)
                for e in range(elements):
                    total += i8(window[e])
                of_window[i] = total * frame[W_OFFSET]
            for e in range(elements):
                window[e] ^= u8(128)
        for b in range(blocks):
            some_dots(x, apart, packed + b * fours * SIZE, fours, out)
            begin = b * LANES
            n = min(LANES, outputs - begin)
            for i in range(here):
                for o in range(n):
                    some[o] = i32(sums[i * LANES + o] + added[begin + o] + of_window[i])
                put_results(frame, first + i, begin, some[:n], multipliers, shifts)
    windows[0] = sums[0] = 0                # keeps their memory alive until here
