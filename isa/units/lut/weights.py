"""Matrices of packed weights from memory."""

from __future__ import annotations

import numpy as np

from isa.numbers import ValueKind
from isa.vectors import stride

CHUNK = 1 << 22                         # weights unpacked at a time, to bound the memory of a large operation


def row_stride_of(m, fmt, rows, cols):
    """Bytes from row to row of a matrix of packed weights."""
    return stride(m, "lut.row_stride", fmt.row_bytes(cols) if rows else 0, f"a row of {cols} {fmt.name}")


def weights_of(m, fmt, W, rows, cols, row_stride, rows_at_a_time, by_output=True):
    """Checks a matrix of packed weights, and streams it: yields (first row, weights int8 (k, cols)). Counts the bytes and, if rows
    are outputs, the bits that switch."""
    if not rows or not cols:
        return iter(())
    m.check_read(W, m.span(rows, fmt.row_bytes(cols), row_stride))
    return _stream(m, fmt, W, rows, cols, row_stride, rows_at_a_time, by_output)


def toggles(data):
    """Bits in which rows of bytes, (rows, bytes), differ from the rows before them."""
    return int(np.unpackbits(data[1:] ^ data[:-1]).sum(dtype=np.int64))


def _stream(m, fmt, W, rows, cols, row_stride, rows_at_a_time, by_output):
    """What `weights_of` yields."""
    row_bytes = fmt.row_bytes(cols)
    before = np.zeros((0, row_bytes), np.uint8) if by_output else None      # the last row so far
    for first in range(0, rows, rows_at_a_time):
        k = min(rows_at_a_time, rows - first)
        if row_stride == row_bytes:
            data = m.read(W + first * row_stride, k * row_bytes).reshape(k, row_bytes)
        else:
            data = np.stack([m.read(W + row * row_stride, row_bytes) for row in range(first, first + k)])
        m.count("lut.weight_bytes", k * row_bytes)
        if before is not None:
            m.count("lut.index_toggles", toggles(np.concatenate([before, data])))
            before = data[-1:]
        weights = fmt.unpack(data, cols)
        yield first, m.state["lut.codebook_i8"][weights] if fmt.kind is ValueKind.CODEBOOK else weights
