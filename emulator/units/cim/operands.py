"""cim: sizes of the machine's macros, state, the ADC, results, and what an operation counts."""

from __future__ import annotations

import numpy as np
from numba import njit

from emulator.kernel_words import (
    MACROS,
    PORT,
    STATE_INDEX,
    count,
    csr,
    csr_number,
    slot,
    state,
)
from emulator.native.block import M_ADCS, M_COLUMNS, M_PATTERNS, M_ROWS, M_SUB_MACROS
from emulator.native.inlining import inline
from emulator.native.machine_code import array, load
from emulator.units.lut.products import scale_rows
from isa.units.cim.held import WORDS

CIM = PORT["cim"]
(VECTORS, CODES_STRIDE, SCALE_STRIDE, RESULT_STRIDE, SCALE_GROUP, SHIFT, X_SCALES_AT, FIRST, META, N_OF_M, COLS_SET, SCALES_AT,
 BLOCK, MAP, FACTOR, ACROSS, ADC) = (csr_number(f"cim.{name}") for name in (
     "vectors", "codes_stride", "scale_stride", "result_stride", "scale_group", "shift", "x_scales", "first", "meta", "nm", "cols",
     "scales", "block", "map", "factor", "across", "adc"))
BUILT_VECTORS, LENGTH, ACTIVATIONS, X_GROUP, X_SCALES, CELLS, PLACES, HELD = (STATE_INDEX[f"cim.{name}"] for name in (
    "built_vectors", "length", "activations", "x_group", "x_scales", "cells", "places", "held"))
(LINES_WRITTEN, CELLS_WRITTEN, WEIGHT_BYTES, META_BYTES, TILES, STEPS, STEPS_LONGEST, ROWS_ON, MACS, MACS_SKIPPED, MUX_SELECTS,
 MERGES, CONVERSIONS, ADC_LONGEST) = (slot(f"cim.{name}") for name in (
     "lines_written", "cells_written", "weight_bytes", "meta_bytes", "tiles", "steps", "steps_longest", "rows_on", "macs",
     "macs_skipped", "mux_selects", "merges", "conversions", "adc_longest"))

i32, u32, i64, f32 = np.int32, np.uint32, np.int64, np.float32

# ------------------------------------------------------------------------------------------------ the machine and its state


@inline
def figure(block, which):
    """A size of the machine's macros: M_ROWS, M_COLUMNS ..."""
    return load(load(block + 8 * MACROS, i64) + 8 * which, i64)


@njit
def holds(block, n, m):
    """True if the cells can hold N of M."""
    return 1 <= n <= m <= 16 and (n == m or figure(block, M_PATTERNS + n) >> m & 1)


@inline
def cells_of(block, which, macro):
    """Host address of the cells or places of a macro."""
    return state(block, which) + macro * figure(block, M_ROWS) * figure(block, M_COLUMNS)


@njit
def held(block, macro):
    """What a macro holds, its WORDS words."""
    return array(state(block, HELD) + 4 * WORDS * macro, u32, WORDS)


@njit
def vectors_built(block):
    """(vectors, elements of each) that were built; no vectors: nothing was."""
    return load(state(block, BUILT_VECTORS), i64), load(state(block, LENGTH), i64)


# ------------------------------------------------------------------------------------------------ the ADC


@njit
def adc_is_legal(block):
    setting = csr(block, ADC)
    return setting == 0 or (figure(block, M_ADCS) > 0 and 1 <= setting & 0xFF <= 16 and setting >> 8 <= 31)


@inline
def converted(setting, total):
    """What the ADCs make of a sum."""
    if setting == 0:
        return total
    bits, shift = setting & 0xFF, setting >> 8
    if shift > 0:
        total = (total + (1 << shift - 1) - 1 + (total >> shift & 1)) >> shift
    most = 1 << bits - 1
    return min(max(total, -most), most - 1) << shift


# ------------------------------------------------------------------------------------------------ results


@njit
def scale_sums(block, y, stride, scales, w_step, sums, vectors, outputs):
    """y[v, o] = f32(sums[v, o]) * (scale[o] * x_scale[v]): vectors with one scale each."""
    for v in range(vectors if outputs > 0 else 0):
        x_scale = load(state(block, X_SCALES) + 4 * v, f32)
        scale_rows(sums[v * outputs:].ctypes.data, outputs, scales, w_step, x_scale, y + v * stride)


# ------------------------------------------------------------------------------------------------ counters


@njit
def count_columns(block, sums, longest):
    """Count the sums that columns yielded; `longest`: those that one ADC converts one after the other."""
    count(block, MERGES, (figure(block, M_SUB_MACROS) - 1) * sums)
    if figure(block, M_ADCS) > 0:
        count(block, CONVERSIONS, sums)
        count(block, ADC_LONGEST, longest)


@njit
def count_macs(block, nonzero, elements):
    """Count the products of a dense matrix of so many elements."""
    count(block, MACS, nonzero)
    count(block, MACS_SKIPPED, elements - nonzero)


