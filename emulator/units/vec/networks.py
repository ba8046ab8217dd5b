"""vec: the kernels of int8 networks. What windows and results have in common stands in emulator/units/windows.py."""

from __future__ import annotations

import numpy as np
from numba import njit

from emulator.kernel import IN_PLACE, kernel
from emulator.kernel_words import DONE, PORT, PUNT, count, csr, csr_number, readable, slot
from emulator.native.inlining import inline
from emulator.native.machine_code import array, load
from emulator.units.vec.convolutions import convolve, pack, packed_bytes, weights_at
from emulator.units.vec.probabilities import put_probabilities, table_of_powers
from emulator.units.windows import (
    BIAS,
    CHANNELS,
    ELEMENTS,
    FRAME,
    GREATEST,
    IMAGE,
    IMAGE_BYTES,
    IMAGE_SLOT,
    LEAST,
    LINE,
    MANY,
    MULTIPLIERS,
    NOTHING,
    ONCE,
    OUTPUTS_CSR,
    PIXELS,
    REFUSED,
    SHIFTS,
    TAPS,
    W_OFFSET,
    X_OFFSET,
    Y_BYTES,
    Y_OFFSET,
    Y_SLOT,
    Y,
    add_bias,
    count_factors,
    count_results,
    factors,
    gather,
    in_place,
    put_results,
    requantised,
    results,
    rounded_once,
    spread_factors,
    target,
    touches,
    window_at,
    windows,
)
from isa.windows import LARGEST

VEC = PORT["vec"]
LEFT, CUTOFF = csr_number("vec.left"), csr_number("vec.cutoff")
ELEMENTS_COUNTED, MACS, MACS_I8, EXPONENTIALS, DIVISIONS, REDUCED = (
    slot(f"vec.{name}") for name in ("elements", "macs", "macs_i8", "exponentials", "divisions", "reduced"))

MOST_TAPS = 1 << 24         # whose int8 sums fit int32

i8, i16, i32, i64 = np.int8, np.int16, np.int32, np.int64

# ------------------------------------------------------------------------------------------------ convolutions


@kernel("vec.conv.i8")
def vec_conv_i8(y, x, W, block):
    frame = np.zeros(FRAME, np.int64)
    found, outputs = windows(block, VEC, x, frame), csr(block, OUTPUTS_CSR)
    if found == REFUSED:
        return PUNT
    if found == NOTHING or outputs == 0:
        return DONE
    if not results(block, VEC, y, frame[MANY], outputs, True, frame):
        return PUNT
    elements = frame[ELEMENTS]
    host, stride, weights_slot, extent = weights_at(block, VEC, W, outputs, elements)
    if host == 0 or touches(frame, host, extent) or touches(frame, frame[IMAGE], frame[IMAGE_BYTES]):
        return PUNT
    packed, totals = np.zeros(packed_bytes(outputs, elements), np.uint8), np.empty(outputs, np.int32)
    pack(host, stride, outputs, elements, packed.ctypes.data, totals)
    convolve(frame, packed.ctypes.data, totals)
    packed[0] = 0                   # keeps its memory alive until here
    macs = frame[MANY] * elements * outputs
    count(block, frame[IMAGE_SLOT], frame[MANY] * elements)
    count(block, weights_slot, outputs * elements)
    count_results(block, frame)
    count(block, ELEMENTS_COUNTED, frame[MANY] * outputs)
    count(block, MACS, macs)
    count(block, MACS_I8, macs)
    return DONE


@njit
def depthwise(frame, weights):
    """Write the results of all windows with weights int32 (taps, channels), offsets included."""
    channels, pixels = frame[CHANNELS], frame[PIXELS]
    multipliers, shifts, sums = np.empty(channels, np.int64), np.empty(channels, np.int64), np.empty(channels, np.int32)
    spread_factors(frame, multipliers, shifts)
    offset = i32(frame[X_OFFSET])
    for number in range(frame[MANY]):
        for c in range(channels):
            sums[c] = 0
        at = window_at(frame, number)
        for tap in range(frame[TAPS]):
            place = at + tap // pixels * frame[LINE] + tap % pixels * channels
            pixel, row = array(place, i8, channels), weights[tap]
            for c in range(channels):
                sums[c] += (i32(pixel[c]) + offset) * row[c]
        add_bias(frame, sums)
        put_results(frame, number, 0, sums, multipliers, shifts)


@kernel("vec.depthwise.i8")
def vec_depthwise_i8(y, x, W, block):
    frame = np.zeros(FRAME, np.int64)
    found = windows(block, VEC, x, frame)
    if found == REFUSED:
        return PUNT
    if found == NOTHING:
        return DONE
    channels, taps = frame[CHANNELS], frame[TAPS]
    if not results(block, VEC, y, frame[MANY], channels, True, frame):
        return PUNT
    host, stride, weights_slot, extent = weights_at(block, VEC, W, taps, channels)
    if host == 0 or touches(frame, host, extent) or touches(frame, frame[IMAGE], frame[IMAGE_BYTES]):
        return PUNT
    weights = np.empty((taps, channels), np.int32)
    for tap in range(taps):
        row = array(host + tap * stride, i8, channels)
        for c in range(channels):
            weights[tap, c] = row[c] + frame[W_OFFSET]
    depthwise(frame, weights)
    macs = frame[MANY] * frame[ELEMENTS]
    count(block, frame[IMAGE_SLOT], macs)
    count(block, weights_slot, taps * channels)
    count_results(block, frame)
    count(block, ELEMENTS_COUNTED, frame[MANY] * channels)
    count(block, MACS, macs)
    count(block, MACS_I8, macs)
    return DONE


# ------------------------------------------------------------------------------------------------ pools


@njit
def pool(block, y, x, mean):
    """maxpool or meanpool."""
    frame = np.zeros(FRAME, np.int64)
    found = windows(block, VEC, x, frame)
    if found == REFUSED:
        return PUNT
    if found == NOTHING:
        return DONE
    channels, pixels, taps = frame[CHANNELS], frame[PIXELS], frame[TAPS]
    if taps >= MOST_TAPS:
        return PUNT
    if not results(block, VEC, y, frame[MANY], channels, False, frame) or touches(frame, frame[IMAGE], frame[IMAGE_BYTES]):
        return PUNT
    multipliers, shifts, sums = np.empty(channels, np.int64), np.empty(channels, np.int64), np.empty(channels, np.int32)
    spread_factors(frame, multipliers, shifts)
    for number in range(frame[MANY]):
        for c in range(channels):
            sums[c] = 0 if mean else -128
        at = window_at(frame, number)
        for tap in range(taps):
            pixel = array(at + tap // pixels * frame[LINE] + tap % pixels * channels, i8, channels)
            if mean:
                for c in range(channels):
                    sums[c] += i32(pixel[c])
            else:
                for c in range(channels):
                    sums[c] = max(sums[c], i32(pixel[c]))
        for c in range(channels):
            total = i64(sums[c])
            if mean:
                half = taps // 2
                total = (total + half) // taps if total >= 0 else -((half - total) // taps)
            sums[c] = total + frame[X_OFFSET]
        put_results(frame, number, 0, sums, multipliers, shifts)
    count(block, frame[IMAGE_SLOT], frame[MANY] * frame[ELEMENTS])
    count_results(block, frame)
    count(block, ELEMENTS_COUNTED, frame[MANY] * channels)
    count(block, REDUCED, frame[MANY] * frame[ELEMENTS])
    if mean:
        count(block, DIVISIONS, frame[MANY] * channels)
    return DONE


@kernel("vec.maxpool.i8")
def vec_maxpool_i8(y, x, block):
    return pool(block, y, x, False)


@kernel("vec.meanpool.i8")
def vec_meanpool_i8(y, x, block):
    return pool(block, y, x, True)


# ------------------------------------------------------------------------------------------------ rows


@njit
def root(n):
    """The largest integer whose square is at most n, n below 2**52."""
    return i64(np.sqrt(np.float64(n)))


@njit
def normalise(frame, gain, sums):
    """int32 sums (elements,) of a row of int8, which `sums` holds, by layer norm."""
    n, offset = frame[ELEMENTS], frame[X_OFFSET]
    total = n * offset + n // 2
    for e in range(n):
        total += sums[e]
    average = i64(i16(total // n if total >= 0 else -(-total // n)))
    squares = i64(0)
    for e in range(n):
        d = sums[e] + offset - average
        squares += d * d
    factor = 128 // max(root(min(squares, (1 << 31) - 1) // n), 1)
    for e in range(n):
        scaled = min(max((sums[e] + offset - average) * factor, -(1 << 15)), (1 << 15) - 1)
        sums[e] = scaled * gain[e] + (load(frame[BIAS] + 4 * e, i32) if frame[BIAS] != 0 else 0)


@kernel("vec.layernorm.i8")
def vec_layernorm_i8(y, x, gain, block):
    frame = np.zeros(FRAME, np.int64)
    found = windows(block, VEC, x, frame)
    if found == REFUSED:
        return PUNT
    if found == NOTHING:
        return DONE
    n, many = frame[ELEMENTS], frame[MANY]
    gains, gains_slot = readable(block, VEC, gain, n, 1)
    if gains == 0 or not results(block, VEC, y, many, n, True, frame) or touches(frame, gains, n) or (
            touches(frame, frame[IMAGE], frame[IMAGE_BYTES]) and not in_place(frame)):
        return PUNT
    multipliers, shifts, sums = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int32)
    spread_factors(frame, multipliers, shifts)
    row = np.empty(n, np.int8)
    for number in range(many):
        gather(frame, number, row.ctypes.data)
        for e in range(n):
            sums[e] = row[e]
        normalise(frame, array(gains, i8, n), sums)
        put_results(frame, number, 0, sums, multipliers, shifts)
    row[0] = 0                      # keeps its memory alive until here
    count(block, frame[IMAGE_SLOT], many * n)
    count(block, gains_slot, n)
    count_results(block, frame)
    count(block, ELEMENTS_COUNTED, many * n)
    count(block, REDUCED, 2 * many * n)
    count(block, DIVISIONS, 4 * many)
    return DONE


@kernel("vec.softmax.i8")
def vec_softmax_i8(y, x, block):
    frame = np.zeros(FRAME, np.int64)
    found = windows(block, VEC, x, frame)
    if found == REFUSED:
        return PUNT
    if found == NOTHING:
        return DONE
    n, many, cutoff = frame[ELEMENTS], frame[MANY], csr(block, CUTOFF)
    if not target(block, VEC, y, many, n, frame) or not factors(block, VEC, 1, frame):
        return PUNT
    multiplier, shift = i64(load(frame[MULTIPLIERS], i32)), i64(load(frame[SHIFTS], i8))
    if (shift < 0 or touches(frame, frame[MULTIPLIERS], 4) or touches(frame, frame[SHIFTS], 1)
            or (touches(frame, frame[IMAGE], frame[IMAGE_BYTES]) and not in_place(frame))):
        return PUNT
    powers, row = table_of_powers(multiplier, shift), np.empty(n, np.int8)
    for number in range(many):
        gather(frame, number, row.ctypes.data)
        put_probabilities(frame, number, row, powers, cutoff if 0 <= cutoff < 255 else 255)
    row[0] = 0                      # keeps its memory alive until here
    count(block, frame[IMAGE_SLOT], many * n)
    count(block, frame[Y_SLOT], many * n)
    count_factors(block, frame)
    count(block, ELEMENTS_COUNTED, many * n)
    count(block, EXPONENTIALS, many * n)
    count(block, REDUCED, 2 * many * n)
    count(block, DIVISIONS, many)
    return DONE


# ------------------------------------------------------------------------------------------------ sums and additions


@kernel("vec.requant.i8")
def vec_requant_i8(y, sums, rows, block):
    outputs = csr(block, OUTPUTS_CSR)
    if rows == 0 or outputs == 0:
        return DONE
    frame = np.zeros(FRAME, np.int64)
    if not 0 < outputs <= LARGEST // rows or not results(block, VEC, y, rows, outputs, True, frame):
        return PUNT
    host, sums_slot = readable(block, VEC, sums, 4 * rows * outputs, 4)
    if host == 0 or touches(frame, host, 4 * rows * outputs):
        return PUNT
    multipliers, shifts, row = np.empty(outputs, np.int64), np.empty(outputs, np.int64), np.empty(outputs, np.int32)
    spread_factors(frame, multipliers, shifts)
    for number in range(rows):
        given = array(host + 4 * number * outputs, i32, outputs)
        for o in range(outputs):
            row[o] = given[o]
        add_bias(frame, row)
        put_results(frame, number, 0, row, multipliers, shifts)
    count(block, sums_slot, 4 * rows * outputs)
    count_results(block, frame)
    count(block, ELEMENTS_COUNTED, rows * outputs)
    return DONE


@inline
def scaled(frame, value, m, h):
    """An int32 value requantised, with the rounding of the frame."""
    return rounded_once(value, i64(m), i64(h)) if frame[ONCE] != 0 else requantised(value, i64(m), i64(h))


@njit
def add_rows(frame, y, a, b, n, left):
    """y = a + b, each with a scale of its own."""
    first, second, target = array(a, i8, n), array(b, i8, n), array(y, i8, n)
    m, h = array(frame[MULTIPLIERS], i32, 3), array(frame[SHIFTS], i8, 3)
    least, greatest = frame[LEAST], frame[GREATEST]
    lifted = np.empty((2, 256), np.int64)               # what each code becomes
    for which in range(2):
        for code in range(256):
            value = i64(i32(code - 128 + frame[X_OFFSET + which] << left))
            lifted[which, code] = scaled(frame, value, m[which], h[which])
    for i in range(n):
        total = i64(i32(lifted[0, i64(first[i]) + 128] + lifted[1, i64(second[i]) + 128]))
        target[i] = min(max(scaled(frame, total, m[2], h[2]) + frame[Y_OFFSET], least), greatest)


@kernel("vec.add.i8", overlap=IN_PLACE)
def vec_add_i8(y, a, b, n, block):
    if n == 0:
        return DONE
    frame, left = np.zeros(FRAME, np.int64), csr(block, LEFT)
    frame[Y], frame[Y_BYTES] = y, n
    if (not 0 <= left <= 31 or not factors(block, VEC, 3, frame) or touches(frame, frame[MULTIPLIERS], 12)
            or touches(frame, frame[SHIFTS], 3)):
        return PUNT
    add_rows(frame, y, a, b, n, left)
    count_factors(block, frame)
    count(block, ELEMENTS_COUNTED, n)
    return DONE
