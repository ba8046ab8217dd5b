"""sp: convolutions with a run-length stream of weights. The stream is brought into the packed form of dense weights first; then it
is the convolution of vec (emulator/units/vec/convolutions.py)."""

from __future__ import annotations

import numpy as np
from numba import njit

from emulator.kernel import kernel
from emulator.kernel_words import DONE, PUNT, count, csr, csr_number, readable
from emulator.native.machine_code import load, store
from emulator.units.sp.operands import (
    BLOCK,
    ELEMENTS,
    MACS,
    MACS_SKIPPED,
    META_BYTES_READ,
    SP,
    VALUES,
    WEIGHT_BYTES,
    ZEROS_STORED,
)
from emulator.units.vec.convolutions import convolve, packed_bytes, packed_place
from emulator.units.vec.networks import depthwise
from emulator.units.windows import (
    CHANNELS,
    FRAME,
    IMAGE,
    IMAGE_BYTES,
    IMAGE_SLOT,
    MANY,
    NOTHING,
    OUTPUTS_CSR,
    REFUSED,
    TAPS,
    W_OFFSET,
    count_results,
    results,
    touches,
    windows,
)
from emulator.units.windows import ELEMENTS as OF_A_WINDOW
from isa.instruction import LONGEST

STREAM = csr_number("sp.stream")
STORED, NONZERO = 0, 1

u8, i8, i32, i64 = np.uint8, np.int8, np.int32, np.int64


@njit
def stream_at(block, W, frame):
    """(host address, bytes, counter slot) of a stream; address 0: punt."""
    size, p = csr(block, STREAM), csr(block, BLOCK)
    if not 0 <= size <= LONGEST or not 1 <= p <= 255:
        return 0, 0, 0
    host, read = readable(block, SP, W, size, 1)
    if host == 0 or touches(frame, host, size) or touches(frame, frame[IMAGE], frame[IMAGE_BYTES]):
        return 0, 0, 0
    return host, size, read


@njit
def unpack(host, size, p, rows, cols, packed, totals, weights, found):
    """A stream of a matrix (rows, cols) with blocks of p, to packed weights and their sums int32 (rows,) where `packed` is an
    address, else to weights int32 (cols, rows). False if it is malformed."""
    at, position, behind, n, fours = 0, 0, 0, rows * cols, (cols + 3) // 4
    while at < size:
        position += i64(load(host + at, u8)) + 128 & 255
        if at + 1 < size and load(host + at + 1, u8) == 0:
            at += 2
            continue
        if at + 1 + p > size or position >= n or position < behind:
            return False
        row, col = position // cols, position % cols
        for i in range(p):
            value = load(host + at + 1 + i, i8)
            found[NONZERO] += value != 0
            if row >= rows:
                if value != 0:
                    return False
            elif packed != 0:
                store(packed + packed_place(row, col, fours), value)
                totals[row] += value
            else:
                weights[col, row] = value
            col += 1
            if col == cols:
                row, col = row + 1, 0
        found[STORED] += p
        behind = position + p
        at, position = at + 1 + p, position + p - 1
    return True


@njit
def count_stream(block, frame, found, size, read, products, outputs):
    """Count a stream of so many bytes, with `products` in its dense matrix, and results."""
    many = frame[MANY]
    count(block, read, size)
    count(block, frame[IMAGE_SLOT], many * frame[OF_A_WINDOW])
    count_results(block, frame)
    count(block, VALUES, many * found[STORED])
    count(block, MACS, many * found[NONZERO])
    count(block, MACS_SKIPPED, many * (products - found[NONZERO]))
    count(block, ZEROS_STORED, many * (found[STORED] - found[NONZERO]))
    count(block, WEIGHT_BYTES, found[STORED])
    count(block, META_BYTES_READ, size - found[STORED])
    count(block, ELEMENTS, many * outputs)


@kernel("sp.conv.rl.i8")
def sp_conv_rl_i8(y, x, W, block):
    frame, found = np.zeros(FRAME, np.int64), np.zeros(2, np.int64)
    state, outputs = windows(block, SP, x, frame), csr(block, OUTPUTS_CSR)
    if state == REFUSED:
        return PUNT
    if state == NOTHING or outputs == 0:
        return DONE
    if not results(block, SP, y, frame[MANY], outputs, True, frame):
        return PUNT
    frame[W_OFFSET] = 0
    elements = frame[OF_A_WINDOW]
    host, size, read = stream_at(block, W, frame)
    if host == 0:
        return PUNT
    packed, totals = np.zeros(packed_bytes(outputs, elements), np.uint8), np.zeros(outputs, np.int32)
    none = np.empty((0, 0), np.int32)
    if not unpack(host, size, csr(block, BLOCK), outputs, elements, packed.ctypes.data, totals, none, found):
        return PUNT
    convolve(frame, packed.ctypes.data, totals)
    packed[0] = 0                   # keeps its memory alive until here
    count_stream(block, frame, found, size, read, outputs * elements, outputs)
    return DONE


@kernel("sp.depthwise.rl.i8")
def sp_depthwise_rl_i8(y, x, W, block):
    frame, found = np.zeros(FRAME, np.int64), np.zeros(2, np.int64)
    state = windows(block, SP, x, frame)
    if state == REFUSED:
        return PUNT
    if state == NOTHING:
        return DONE
    channels, taps = frame[CHANNELS], frame[TAPS]
    if not results(block, SP, y, frame[MANY], channels, True, frame):
        return PUNT
    host, size, read = stream_at(block, W, frame)
    if host == 0:
        return PUNT
    weights, none = np.zeros((taps, channels), np.int32), np.empty(0, np.int32)
    if not unpack(host, size, csr(block, BLOCK), channels, taps, 0, none, weights, found):
        return PUNT
    depthwise(frame, weights)
    count_stream(block, frame, found, size, read, taps * channels, channels)
    return DONE
