"""lut: the operands of kernels, what the unit has loaded, and what an operation counts."""

from __future__ import annotations

import numpy as np
from numba import njit

from emulator.kernel_words import (
    LUT_CORES,
    PORT,
    STATE_INDEX,
    count,
    csr,
    csr_number,
    readable,
    slot,
    state,
)
from emulator.native.machine_code import load
from emulator.units.lut.plain import (
    B1,
    BUFFER_READS,
    LOOKUPS,
    PLANES,
    SKIPPED_GROUPS,
    STEPS,
    STEPS_LONGEST,
    ZERO_WEIGHTS,
    row_bytes,
)
from emulator.units.vectors import spaced

LUT = PORT["lut"]
MODE, ROW_STRIDE, SCALE_GROUP, SHIFT, VECTORS, CODES_STRIDE, SCALE_STRIDE, RESULT_STRIDE, PIECES, CENTRES, PAIRS = (
    csr_number(f"lut.{name}") for name in ("mode", "row_stride", "scale_group", "shift", "vectors", "codes_stride", "scale_stride",
                                           "result_stride", "pieces", "centres", "pairs"))
KIND, BUILT_VECTORS, LENGTH, ACTIVATIONS, X_GROUP, SCALES, BOOK_I8, BOOK_F32 = (STATE_INDEX[f"lut.{name}"] for name in (
    "kind", "built_vectors", "length", "activations", "x_group", "scales", "codebook_i8", "codebook_f32"))
TABLES_BUILT, LOOKUP, BUFFER_READ, STEP, STEP_LONGEST, MACS, MACS_SKIPPED, GROUPS_SKIPPED, WEIGHT_BYTES, INDEX_TOGGLES = (
    slot(f"lut.{name}") for name in ("tables_built", "lookups", "buffer_reads", "steps", "steps_longest", "macs", "macs_skipped",
                                     "groups_skipped", "weight_bytes", "index_toggles"))
INT8, BINARY = 1, 2             # lut.kind

i8, u8, i32, u32, i64, f32 = np.int8, np.uint8, np.int32, np.uint32, np.int64, np.float32


# ------------------------------------------------------------------------------------------------ what is set and loaded


@njit
def settings_are_legal(block):
    return 0 <= csr(block, MODE) <= 2 and 0 <= csr(block, SHIFT) <= 31


@njit
def activations(block):
    """(vectors, activations of each) that were built; the number is -1 when nothing is built or a setting is out of range."""
    if not settings_are_legal(block) or not load(state(block, KIND), u8):
        return 0, -1
    return max(load(state(block, BUILT_VECTORS), i64), 1), load(state(block, LENGTH), i64)


# ------------------------------------------------------------------------------------------------ memory


@njit
def matrix(block, fmt, W, rows, cols):
    """(host address, counter slot, stride, bytes from first to last) of a matrix of weights; host address 0: punt."""
    stride, extent = spaced(block, ROW_STRIDE, rows, row_bytes(i64(fmt), cols), 1)
    if stride < 0:
        return 0, 0, 0, 0
    host, counter = readable(block, LUT, W, extent, 1)
    return host, counter, stride, extent


# ------------------------------------------------------------------------------------------------ results and counters


@njit
def cores_for(block, outputs):
    """Cores of the unit that work on so many outputs, at least 1."""
    return max(min(load(block + 8 * LUT_CORES, i64), outputs), 1)


@njit
def are_alike(fmt):
    """True for formats whose outputs all take the same steps."""
    return fmt == B1 or PLANES[fmt] == 0


@njit
def looked_up(block, codes):
    """Look-ups for codes of a codebook that lie side by side."""
    return codes + 1 >> 1 if csr(block, PAIRS) != 0 else codes


@njit
def count_codes(fmt, outputs, each, events):
    """Put the look-ups of codes to the events of one vector: so many for each output."""
    if PLANES[fmt] == 0:
        events[LOOKUPS] = events[STEPS] = outputs * each


@njit
def count_product(block, fmt, vectors, outputs, length, weight_slot, weight_bytes, cores, events):
    """Count an operation over `outputs` times `length` weights, whose events for one vector have been collected."""
    weights = outputs * length
    if are_alike(fmt) and outputs > 0:
        events[STEPS_LONGEST] = events[STEPS] // outputs * ((outputs + cores - 1) // cores)
    count(block, weight_slot, weight_bytes)
    count(block, WEIGHT_BYTES, weight_bytes)
    count(block, MACS, vectors * weights)
    count(block, MACS_SKIPPED, vectors * events[ZERO_WEIGHTS])
    count(block, LOOKUP, vectors * events[LOOKUPS])
    count(block, BUFFER_READ, vectors * events[BUFFER_READS])
    count(block, STEP, vectors * events[STEPS])
    count(block, STEP_LONGEST, vectors * events[STEPS_LONGEST])
    count(block, GROUPS_SKIPPED, vectors * events[SKIPPED_GROUPS])
