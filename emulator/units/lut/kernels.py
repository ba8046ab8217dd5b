"""lut: products of packed weights and int8 activations, with the events that the unit would have had.

A product is an exact integer sum, so it may be computed in any order. Vector code (emulator/units/lut/rows.py) does it in mode 0, a
whole row of packed weights at a time. emulator/units/lut/plain.py does everything else, weight by weight.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from emulator.kernel import kernel
from emulator.kernel_words import (
    DONE,
    LARGE,
    LUT_CORES,
    PORT,
    PUNT,
    STATE_INDEX,
    count,
    csr,
    csr_number,
    overlap,
    readable,
    slot,
    state,
    state_length,
)
from emulator.native.inlining import inline, specialised
from emulator.native.machine_code import array, clear_bytes, load, move, store
from emulator.threads.parallel import add_events, in_parallel
from emulator.units.lut import products as lut_products
from emulator.units.lut.columns import columns_apart, some_column_sums
from emulator.units.lut.layouts import layout_of_rows
from emulator.units.lut.plain import (
    B1,
    BUFFER_READS,
    C3,
    C4,
    EVENTS,
    LOOKUPS,
    PLANES,
    SKIPPED_GROUPS,
    STEPS,
    STEPS_LONGEST,
    ZERO_WEIGHTS,
    count_row,
    most,
    row_bytes,
    row_sums,
    transposed_sums,
    unpack,
)
from emulator.units.lut.products import has_vector_code, has_words
from isa.units.lut import FORMAT_NUMBERS

LUT = PORT["lut"]
MODE, ROW_STRIDE, SCALE_GROUP, SHIFT = (csr_number(f"lut.{name}") for name in ("mode", "row_stride", "scale_group", "shift"))
KIND, LENGTH, ACTIVATIONS, X_GROUP, SCALES, BOOK_I8, BOOK_F32 = (STATE_INDEX[f"lut.{name}"] for name in (
    "kind", "length", "activations", "x_group", "scales", "codebook_i8", "codebook_f32"))
TABLES_BUILT, LOOKUP, BUFFER_READ, STEP, STEP_LONGEST, MACS, MACS_SKIPPED, GROUPS_SKIPPED, WEIGHT_BYTES = (
    slot(f"lut.{name}") for name in ("tables_built", "lookups", "buffer_reads", "steps", "steps_longest", "macs", "macs_skipped",
                                     "groups_skipped", "weight_bytes"))
INT8, BINARY = 1, 2             # lut.kind
XNOR_WIDTH = 64                 # columns that a step of lut.xnor compares
SLOW = 16                       # a weight taken alone costs as much as these bytes of weights by vector code

i8, u8, i32, u32, i64, f32 = np.int8, np.uint8, np.int32, np.uint32, np.int64, np.float32
CANONICAL_NAN = u32(0x7FC0_0000)


@njit
def group_count(n, group):
    """Scales of n elements. A group of 2**63 or more looks negative here: it holds them all."""
    if n == 0 or group <= 0 or group >= n:
        return min(n, 1)
    return (n + group - 1) // group


@njit
def store_f32(address, value):
    """Store an fp32 result: a NaN as the canonical one."""
    if value != value:
        store(address, CANONICAL_NAN)
    else:
        store(address, value)


# ------------------------------------------------------------------------------------------------ activations, codebooks


@njit
def settings_are_legal(block):
    return 0 <= csr(block, MODE) <= 2 and 0 <= csr(block, SHIFT) <= 31


@njit
def built(block, kind, n, group):
    """Note what has been built."""
    store(state(block, KIND), u8(kind))
    store(state(block, LENGTH), n)
    store(state(block, X_GROUP), group)
    mode = csr(block, MODE)
    if mode != 1:
        count(block, TABLES_BUILT, (n + 3) >> 2 if mode == 0 else (n + 6) // 7)


@kernel("lut.build.i8")
def lut_build_i8(x, scale, n, block):
    if n > state_length(block, ACTIVATIONS) or not settings_are_legal(block):
        return PUNT
    group = csr(block, SCALE_GROUP)
    groups = group_count(n, group)
    scales, scales_read = readable(block, LUT, scale, 4 * groups, 4)
    if scales == 0:
        return PUNT
    move(state(block, ACTIVATIONS), x, n)
    move(state(block, SCALES), scales, 4 * groups)
    count(block, scales_read, 4 * groups)
    built(block, INT8, n, group)
    return DONE


@kernel("lut.build.b1")
def lut_build_b1(x, n, block):
    if n > state_length(block, ACTIVATIONS) or not settings_are_legal(block):
        return PUNT
    activations = state(block, ACTIVATIONS)
    for i in range(n):
        store(activations + i, i8((load(x + (i >> 3), u8) >> (i & 7) & 1) * 2 - 1))
    if n > 0:
        store(state(block, SCALES), f32(1))
    built(block, BINARY, n, 0)
    return DONE


@njit
def load_codebook(block, book, table, n, size):
    """Set a codebook from n entries of `size` bytes; the rest of the 16 become 0."""
    if n != 4 and n != 8 and n != 16:
        return PUNT
    target = state(block, book)
    move(target, table, n * size)
    clear_bytes(target + n * size, (16 - n) * size)
    return DONE


@kernel("lut.codebook.i8")
def lut_codebook_i8(table, n, block):
    return load_codebook(block, BOOK_I8, table, n, 1)


@kernel("lut.codebook.f32")
def lut_codebook_f32(table, n, block):
    return load_codebook(block, BOOK_F32, table, n, 4)


# ------------------------------------------------------------------------------------------------ operands


@njit
def activations(block):
    """Number of activations built; -1 when nothing is built or a setting is out of range."""
    if not settings_are_legal(block) or not load(state(block, KIND), u8):
        return -1
    return load(state(block, LENGTH), i64)


@njit
def matrix(block, fmt, W, rows, cols):
    """(host address, counter slot, stride, bytes from first to last) of a matrix of weights; host address 0: punt."""
    size, stride = row_bytes(i64(fmt), cols), csr(block, ROW_STRIDE)
    if stride == 0:
        stride = size
    if stride < size or stride > LARGE or rows > LARGE // (stride + 1):
        return 0, 0, 0, 0
    extent = (rows - 1) * stride + size if rows > 0 and cols > 0 else 0
    host, counter = readable(block, LUT, W, extent, 1)
    return host, counter, stride, extent


@njit
def accumulate(block, acc, sums, rows):
    """acc += sums << lut.shift."""
    shift = csr(block, SHIFT)
    total = array(acc, i32, rows)
    for r in range(rows):
        total[r] += i32(i64(sums[r]) << shift)


@njit
def cores_for(block, outputs):
    """Cores of the unit that work on so many outputs, at least 1."""
    return max(min(load(block + 8 * LUT_CORES, i64), outputs), 1)


@njit
def are_alike(fmt):
    """True for formats whose outputs all take the same steps."""
    return fmt == B1 or PLANES[fmt] == 0


@njit
def count_product(block, fmt, outputs, length, weight_slot, weight_bytes, cores, events):
    """Count an operation over `outputs` times `length` weights, whose events have been collected."""
    weights = outputs * length
    if PLANES[fmt] == 0:
        events[LOOKUPS] = events[STEPS] = weights
    if are_alike(fmt) and outputs > 0:
        events[STEPS_LONGEST] = events[STEPS] // outputs * ((outputs + cores - 1) // cores)
    count(block, weight_slot, weight_bytes)
    count(block, WEIGHT_BYTES, weight_bytes)
    count(block, MACS, weights)
    count(block, MACS_SKIPPED, events[ZERO_WEIGHTS])
    count(block, LOOKUP, events[LOOKUPS])
    count(block, BUFFER_READ, events[BUFFER_READS])
    count(block, STEP, events[STEPS])
    count(block, STEP_LONGEST, events[STEPS_LONGEST])
    count(block, GROUPS_SKIPPED, events[SKIPPED_GROUPS])


# ------------------------------------------------------------------------------------------------ multiply-accumulate


@njit
def count_output(fmt, mode, weights, length, core, events):
    """Count an output whose `length` weights lie at `weights`, and its steps as those of a core too."""
    before = events[STEPS]
    count_row(fmt, mode, weights, length, events)
    events[EVENTS + core] += events[STEPS] - before


@inline
def plain_row_sums(first, last, fmt, block, host, stride, length, sums, cores, found):
    """sums[r] int32 = sum over c of W[r, c] x[c] for the rows first..last.

    Numbers alone, as `in_parallel` passes them.
    """
    weights, events = np.empty(length, np.int8), np.zeros(EVENTS + cores, np.int64)
    for r in range(first, last):
        unpack(fmt, host + r * stride, length, state(block, BOOK_I8), weights.ctypes.data)
        row_sums(weights.ctypes.data, state(block, ACTIVATIONS), length, length, sums + 4 * r)
        count_output(fmt, csr(block, MODE), weights.ctypes.data, length, r % cores, events)
    add_events(found, events)


@specialised
def product(block, fmt, shape, host, stride, extent, rows, length, sums, cores, events):
    """sums[r] int32 = sum over c of W[r, c] x[c], by vector code where there is some. False if it fails.

    Numbers alone, as compiled functions take them (emulator/threads/parallel.py).
    """
    if has_vector_code(i64(fmt), csr(block, MODE), length):
        return lut_products.row_sums(fmt, shape, block, host, stride, host + extent, rows, length, state(block, ACTIVATIONS),
                                     state(block, BOOK_I8), sums, csr(block, MODE), cores, events)
    if not in_parallel(block, SLOW * rows * length, rows, 1, plain_row_sums, i64(fmt), block, host, stride, length,
                       sums.ctypes.data, cores, events.ctypes.data):
        return False
    events[STEPS_LONGEST] = most(events[EVENTS:])
    return True


@specialised
def mac(block, fmt, shape, acc, W, rows):
    """lut.mac of one format."""
    length = activations(block)
    if length < 0:
        return PUNT
    host, weight_slot, stride, extent = matrix(block, i64(fmt), W, rows, length)
    if host == 0 or overlap(acc, 4 * rows, host, extent):
        return PUNT
    cores = cores_for(block, rows)
    sums, events = np.zeros(rows, np.int32), np.zeros(EVENTS + cores, np.int64)
    if extent > 0 and not product(block, fmt, shape, host, stride, extent, rows, length, sums, cores, events):
        return PUNT
    accumulate(block, acc, sums, rows)
    count_product(block, i64(fmt), rows, length, weight_slot, rows * row_bytes(i64(fmt), length), cores, events)
    return DONE


@specialised
def mac_transposed(block, fmt, acc, W, cols):
    """lut.macT of one format."""
    length = activations(block)
    if length < 0:
        return PUNT
    host, weight_slot, stride, extent = matrix(block, i64(fmt), W, length, cols)
    if host == 0 or overlap(acc, 4 * cols, host, extent):
        return PUNT
    cores = cores_for(block, cols)
    sums, events = np.zeros(cols, np.int32), np.zeros(EVENTS + cores, np.int64)
    if extent > 0 and has_vector_code(i64(fmt), csr(block, MODE), length) and (cores == 1 or are_alike(i64(fmt))):
        step = columns_apart(fmt, cols)
        if not in_parallel(block, extent, (cols + step - 1) // step, 1, some_column_sums, fmt, step, host, stride, host + extent,
                           length, cols, state(block, ACTIVATIONS), state(block, BOOK_I8), sums.ctypes.data, csr(block, MODE),
                           events.ctypes.data):
            return PUNT
        events[STEPS_LONGEST] = events[STEPS]
    elif extent > 0:
        transposed_sums(i64(fmt), csr(block, MODE), host, stride, length, cols, state(block, ACTIVATIONS), state(block, BOOK_I8),
                        sums, cores, events)
    accumulate(block, acc, sums, cols)
    count_product(block, i64(fmt), cols, length, weight_slot, length * row_bytes(i64(fmt), cols), cores, events)
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
def plain_grouped_sums(first, last, fmt, block, host, stride, length, group, groups, target, scales, w_step, x_step, cores, found):
    """y[r] f32 at `target` for the rows first..last.

    Numbers alone, as `in_parallel` passes them.
    """
    weights, sums, events = np.empty(length, np.int8), np.empty(groups, np.int32), np.zeros(EVENTS + cores, np.int64)
    for r in range(first, last):
        unpack(fmt, host + r * stride, length, state(block, BOOK_I8), weights.ctypes.data)
        row_sums(weights.ctypes.data, state(block, ACTIVATIONS), length, group, sums.ctypes.data)
        count_output(fmt, csr(block, MODE), weights.ctypes.data, length, r % cores, events)
        factors = scales + r * groups * w_step
        store_f32(target + 4 * r, scaled(sums.ctypes.data, factors, w_step, state(block, SCALES), x_step, groups))
    add_events(found, events)


@specialised
def gemv(block, fmt, shape, y, W, scale, rows):
    """lut.gemv of one format."""
    length, w_group, x_group = activations(block), csr(block, SCALE_GROUP), load(state(block, X_GROUP), i64)
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
    if host == 0 or scales == 0 or overlap(y, 4 * rows, host, extent) or overlap(y, 4 * rows, scales, scale_bytes):
        return PUNT
    cores = cores_for(block, rows)
    events = np.zeros(EVENTS + cores, np.int64)
    w_step, x_step = 4 if w_group != 0 else 0, 4 if x_group != 0 else 0
    if extent > 0 and groups == 1:
        sums = np.empty(rows, np.int32)
        if not product(block, fmt, shape, host, stride, extent, rows, length, sums, cores, events):
            return PUNT
        x_scale = load(state(block, SCALES), f32)
        for r in range(rows):       # 0 is the sum of the other 15 lanes: it makes -0.0 a 0.0
            store_f32(y + 4 * r, f32(sums[r]) * (load(scales + r * w_step, f32) * x_scale) + f32(0))
    elif extent > 0 and has_vector_code(i64(fmt), csr(block, MODE), length) and has_words(i64(fmt), group):
        if not lut_products.grouped_sums(fmt, block, host, stride, host + extent, rows, length, group, state(block, ACTIVATIONS),
                                         state(block, BOOK_I8), scales, w_step, state(block, SCALES), x_step, y,
                                         csr(block, MODE), cores, events):
            return PUNT
        for r in range(rows):
            store_f32(y + 4 * r, load(y + 4 * r, f32))
    elif extent > 0:
        if not in_parallel(block, SLOW * rows * length, rows, 1, plain_grouped_sums, i64(fmt), block, host, stride, length, group,
                           groups, y, scales, w_step, x_step, cores, events.ctypes.data):
            return PUNT
        events[STEPS_LONGEST] = most(events[EVENTS:])
    else:
        clear_bytes(y, 4 * rows)
    count(block, scale_slot, scale_bytes)
    count_product(block, i64(fmt), rows, length, weight_slot, rows * row_bytes(i64(fmt), length), cores, events)
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

# ------------------------------------------------------------------------------------------------ codebooks to f32


@njit
def decode(block, fmt, dst, codes, scale, n):
    """lut.decode of one codebook format."""
    group = csr(block, SCALE_GROUP)
    size, groups = row_bytes(i64(fmt), n), group_count(n, group)
    if groups <= 1:
        group = n
    scales, scale_slot = readable(block, LUT, scale, 4 * groups, 4)
    if scales == 0 or overlap(dst, 4 * n, scales, 4 * groups):
        return PUNT
    book, high = state(block, BOOK_F32), codes + (n + 3 >> 2)
    for g in range(groups):
        factor = load(scales + 4 * g, f32)
        for i in range(g * group, min((g + 1) * group, n)):
            if fmt == C4:
                code = i64(load(codes + (i >> 1), u8) >> 4 * (i & 1) & 15)
            else:
                code = i64(load(codes + (i >> 2), u8) >> 2 * (i & 3) & 3)
                if fmt == C3:
                    code |= i64(load(high + (i >> 3), u8) >> (i & 7) & 1) << 2
            store_f32(dst + 4 * i, load(book + 4 * code, f32) * factor)
    count(block, scale_slot, 4 * groups)
    count(block, LOOKUP, n)
    count(block, STEP, n)
    count(block, STEP_LONGEST, group_count(n, cores_for(block, n)))
    count(block, WEIGHT_BYTES, size)
    return DONE


def _define_decode(fmt: int, name: str) -> None:
    @kernel(f"lut.decode.{name}")
    def lut_decode(dst, codes, scale, n, block):
        return decode(block, fmt, dst, codes, scale, n)


for _name, _fmt in FORMAT_NUMBERS.items():
    if PLANES[_fmt] == 0:               # codebooks
        _define_decode(_fmt, _name)

# ------------------------------------------------------------------------------------------------ bit planes


@kernel("lut.xnor")
def lut_xnor(acc, W, rows, block):
    length = activations(block)
    if length < 0 or load(state(block, KIND), u8) != BINARY:
        return PUNT
    host, weight_slot, stride, extent = matrix(block, B1, W, rows, length)
    if host == 0 or overlap(acc, 4 * rows, host, extent):
        return PUNT
    cores = cores_for(block, rows)
    sums, events = np.zeros(rows, np.int32), np.zeros(EVENTS + cores, np.int64)
    if extent > 0 and not product(block, B1, B1, host, stride, extent, rows, length, sums, cores, events):
        return PUNT
    accumulate(block, acc, sums, rows)
    size, steps = rows * row_bytes(B1, length), (length + XNOR_WIDTH - 1) // XNOR_WIDTH
    count(block, weight_slot, size)
    count(block, WEIGHT_BYTES, size)
    count(block, MACS, rows * length)
    count(block, STEP, rows * steps)
    count(block, STEP_LONGEST, group_count(rows, cores) * steps)
    return DONE


@kernel("lut.plane")
def lut_plane(dst, x, bit, n):
    if not 0 <= bit <= 7:
        return PUNT
    for at in range(n + 7 >> 3):
        byte = 0
        for i in range(8 * at, min(8 * at + 8, n)):
            byte |= i64(load(x + i, u8) >> bit & 1) << (i & 7)
        store(dst + at, u8(byte))
    return DONE
