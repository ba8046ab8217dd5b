"""Windows of images and int8 results, for kernels of vec and sp. The twin of isa/windows.py.

What an instruction knows of its windows and results stands in a *frame*, int64 (FRAME,), whose words are numbered here.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from emulator.kernel_words import LARGE, count, csr, csr_number, overlap, readable, writable
from emulator.native.inlining import inline
from emulator.native.machine_code import array, load, move
from isa.windows import LARGEST, OFFSET

(MANY, DOWN, ACROSS, LINES, PIXELS, CHANNELS, STEP, WINDOW_LINE, LINE, TAPS, ELEMENTS, IMAGE, IMAGE_BYTES, IMAGE_SLOT,
 ROWS, OUTPUTS, Y, Y_BYTES, Y_STRIDE, Y_SLOT, BIAS, BIAS_SLOT, MULTIPLIERS, MULTIPLIER_SLOT, SHIFTS, SHIFT_SLOT, GROUP, GROUPS,
 X_OFFSET, W_OFFSET, Y_OFFSET, LEAST, GREATEST, ONCE, FRAME) = range(35)
(WINDOWS_CSR, TAPS_CSR, STEP_CSR, WINDOW_LINE_CSR, LINE_CSR, OUTPUTS_CSR, RESULT_STRIDE_CSR, OFFSETS_CSR, CLAMP_CSR, BIAS_CSR,
 MULTIPLIERS_CSR, SHIFTS_CSR, COLS_CSR, ROW_STRIDE_CSR, SCALE_GROUP_CSR, ROUNDING_CSR) = (csr_number(f"vec.{name}") for name in (
     "windows", "taps", "step", "window_line", "line", "outputs", "result_stride", "offsets", "clamp", "bias", "multipliers",
     "shifts", "cols", "row_stride", "scale_group", "rounding"))
NOTHING, FOUND, REFUSED = 0, 1, 2       # no windows; windows; punt

i8, u8, i16, i32, i64 = np.int8, np.uint8, np.int16, np.int32, np.int64


@njit
def windows(block, port, x, frame):
    """Put the windows of the image at address x to the frame. NOTHING, FOUND, or REFUSED: punt."""
    many, taps, channels = csr(block, WINDOWS_CSR), csr(block, TAPS_CSR), csr(block, COLS_CSR)
    frame[DOWN], frame[ACROSS], frame[LINES], frame[PIXELS], frame[CHANNELS] = (
        many >> 16, many & 0xFFFF, taps >> 16, taps & 0xFFFF, channels)
    frame[MANY], frame[TAPS] = frame[DOWN] * frame[ACROSS], frame[LINES] * frame[PIXELS]
    if frame[MANY] == 0:
        return NOTHING
    if frame[TAPS] == 0 or channels <= 0 or channels > LARGEST or frame[TAPS] > LARGEST // channels:
        return REFUSED
    frame[ELEMENTS] = frame[TAPS] * channels
    if frame[MANY] > LARGEST // frame[ELEMENTS]:
        return REFUSED
    frame[STEP] = csr(block, STEP_CSR) if frame[ACROSS] > 1 else 0
    frame[WINDOW_LINE] = csr(block, WINDOW_LINE_CSR) if frame[DOWN] > 1 else 0
    frame[LINE] = csr(block, LINE_CSR) if frame[LINES] > 1 else 0
    for word in (STEP, WINDOW_LINE, LINE):
        if not 0 <= frame[word] <= LARGE >> 18:
            return REFUSED
    frame[IMAGE_BYTES] = ((frame[DOWN] - 1) * frame[WINDOW_LINE] + (frame[ACROSS] - 1) * frame[STEP]
                          + (frame[LINES] - 1) * frame[LINE] + frame[PIXELS] * channels)
    frame[IMAGE], frame[IMAGE_SLOT] = readable(block, port, x, frame[IMAGE_BYTES], 1)
    return FOUND if frame[IMAGE] != 0 else REFUSED


@inline
def window_at(frame, number):
    """Host address of a window."""
    return frame[IMAGE] + number // frame[ACROSS] * frame[WINDOW_LINE] + number % frame[ACROSS] * frame[STEP]


@njit
def gather(frame, number, target):
    """Copy the elements of a window to `target`."""
    at, size = window_at(frame, number), frame[PIXELS] * frame[CHANNELS]
    for line in range(frame[LINES]):
        move(target + line * size, at + line * frame[LINE], size)


@inline
def field(word, places, bits):
    """A signed field of a word."""
    half = 1 << bits - 1
    return (word >> places & (half << 1) - 1 ^ half) - half


@njit
def factors(block, port, groups, frame):
    """Put `groups` multipliers and shifts, offsets, bounds and the kind of rounding to the frame. False: punt."""
    word, bounds = csr(block, OFFSETS_CSR), csr(block, CLAMP_CSR)
    frame[LEAST], frame[GREATEST], frame[ONCE] = field(bounds, 0, 8), field(bounds, 8, 8), csr(block, ROUNDING_CSR)
    for i in range(3):
        frame[X_OFFSET + i] = field(word, 16 * i, 16)
        if abs(frame[X_OFFSET + i]) > OFFSET:
            return False
    frame[MULTIPLIERS], frame[MULTIPLIER_SLOT] = readable(block, port, csr(block, MULTIPLIERS_CSR), 4 * groups, 4)
    frame[SHIFTS], frame[SHIFT_SLOT] = readable(block, port, csr(block, SHIFTS_CSR), groups, 1)
    frame[GROUPS] = groups
    if frame[MULTIPLIERS] == 0 or frame[SHIFTS] == 0:
        return False
    largest = i64(0)
    for i in range(groups):
        largest = max(largest, abs(i64(load(frame[SHIFTS] + i, i8))))
    return largest <= 31


@njit
def target(block, port, y, rows, outputs, frame):
    """Put where `rows` of int8 results go to the frame. False: punt."""
    frame[ROWS], frame[OUTPUTS], frame[Y_STRIDE] = rows, outputs, csr(block, RESULT_STRIDE_CSR)
    if frame[Y_STRIDE] == 0:
        frame[Y_STRIDE] = outputs
    if not outputs <= frame[Y_STRIDE] <= LARGE >> 18 or outputs > LARGEST // rows:
        return False
    frame[Y_BYTES] = (rows - 1) * frame[Y_STRIDE] + outputs
    frame[Y], frame[Y_SLOT] = writable(block, port, y, frame[Y_BYTES], 1)
    return frame[Y] != 0


@njit
def results(block, port, y, rows, outputs, biased, frame):
    """Put all that makes `rows` of int8 results of sums to the frame. False: punt."""
    if outputs <= 0 or not target(block, port, y, rows, outputs, frame):
        return False
    group = csr(block, SCALE_GROUP_CSR)
    frame[GROUP] = group if 0 < group < outputs else outputs
    frame[BIAS] = 0
    if biased and csr(block, BIAS_CSR) != 0:
        frame[BIAS], frame[BIAS_SLOT] = readable(block, port, csr(block, BIAS_CSR), 4 * outputs, 4)
        if frame[BIAS] == 0 or touches(frame, frame[BIAS], 4 * outputs):
            return False
    if not factors(block, port, (outputs + frame[GROUP] - 1) // frame[GROUP], frame):
        return False
    return not touches(frame, frame[MULTIPLIERS], 4 * frame[GROUPS]) and not touches(frame, frame[SHIFTS], frame[GROUPS])


@inline
def touches(frame, host, size):
    """True if results share a byte with an operand."""
    return overlap(frame[Y], frame[Y_BYTES], host, size)


@inline
def in_place(frame):
    """True if each window lies where its results go, and no other: row by row, results may replace them."""
    return (frame[Y] == frame[IMAGE] and frame[OUTPUTS] == frame[ELEMENTS] and (frame[LINES] == 1 or
            frame[LINE] == frame[PIXELS] * frame[CHANNELS]) and (frame[ACROSS] == 1 or frame[STEP] == frame[Y_STRIDE])
            and (frame[DOWN] == 1 or frame[WINDOW_LINE] == frame[ACROSS] * frame[Y_STRIDE]))


@njit
def count_results(block, frame):
    """Count what results have read and written."""
    count(block, frame[Y_SLOT], frame[ROWS] * frame[OUTPUTS])
    if frame[BIAS] != 0:
        count(block, frame[BIAS_SLOT], 4 * frame[OUTPUTS])
    count_factors(block, frame)


@njit
def count_factors(block, frame):
    """Count multipliers and shifts that were read."""
    count(block, frame[MULTIPLIER_SLOT], 4 * frame[GROUPS])
    count(block, frame[SHIFT_SLOT], frame[GROUPS])


# ------------------------------------------------------------------------------------------------ arithmetic


@inline
def doubled_high(a, b):
    """isa.quantised.doubled_high of int32 values as int64."""
    return min(a * b + (1 << 30) >> 31, (1 << 31) - 1)


@inline
def shifted_right(value, places):
    """value / 2**places, halves away from zero."""
    mask = (1 << places) - 1
    return (value >> places) + i64((value & mask) > (mask >> 1) + i64(value < 0))


@inline
def requantised(value, multiplier, shift):
    """isa.quantised.requantised of an int32 value as int64."""
    lifted = i64(i32(value << max(shift, 0)))
    return shifted_right(doubled_high(lifted, multiplier), max(-shift, 0))


@inline
def rounded_once(value, multiplier, shift):
    """isa.quantised.requantised of an int32 value as int64, `once`."""
    places = 31 - shift
    return i64(i32(value * multiplier + (i64(1) << places >> 1) >> places))


@njit
def spread_factors(frame, multipliers, shifts):
    """The multiplier and the shift of each output, int64 (outputs,)."""
    scale, place = array(frame[MULTIPLIERS], i32, frame[GROUPS]), array(frame[SHIFTS], i8, frame[GROUPS])
    for o in range(frame[OUTPUTS]):
        multipliers[o], shifts[o] = scale[o // frame[GROUP]], place[o // frame[GROUP]]


@njit
def add_bias(frame, sums):
    """Add the bias to int32 sums (outputs,)."""
    if frame[BIAS] != 0:
        bias = array(frame[BIAS], i32, frame[OUTPUTS])
        for o in range(frame[OUTPUTS]):
            sums[o] += bias[o]


@njit
def put_results(frame, row, first, sums, multipliers, shifts):
    """Write the results of int32 sums to a row, from output `first` on."""
    n = len(sums)
    y, offset = array(frame[Y] + row * frame[Y_STRIDE] + first, i8, n), frame[Y_OFFSET]
    least, greatest = frame[LEAST], frame[GREATEST]
    if frame[ONCE] != 0:
        for o in range(n):
            y[o] = min(max(rounded_once(i64(sums[o]), multipliers[first + o], shifts[first + o]) + offset, least), greatest)
        return
    for o in range(n):
        y[o] = min(max(requantised(i64(sums[o]), multipliers[first + o], shifts[first + o]) + offset, least), greatest)
