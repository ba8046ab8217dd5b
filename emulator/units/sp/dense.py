"""sp: to the dense matrix and back. Bits are moved as they are, also those of NaNs and of spare codes."""

from __future__ import annotations

import numpy as np
from numba import njit

from emulator.kernel import kernel
from emulator.kernel_words import DONE, LARGE, PUNT, count, csr, overlap, readable, result, writable
from emulator.native.machine_code import clear_bytes, load, move, store
from emulator.units.sp.operands import (
    COLS_SET,
    ELEMENTS,
    MATRIX,
    META_SIZE,
    OFFSETS_SIZE,
    SP,
    VALUES,
    VALUES_FLOAT,
    count_matrix,
    layout,
    note_words,
    open_matrix,
)
from emulator.units.sp.plain import (
    BM,
    F16,
    F32,
    HOST,
    I4,
    I8,
    META,
    OFFSETS,
    SIZE,
    SLOTS,
    STORED,
    T2,
    WORDS,
    place_of_value,
    read_row,
    row_columns,
    run_bytes,
    value_align,
)
from isa.instruction import LONGEST
from isa.sparse import KINDS
from isa.sparse.layout import FORMS
from isa.units.sp.matrices import LAYOUTS

u8, i64 = np.uint8, np.int64
ZEROS = 0x55                    # four t2 weights that are 0


@njit
def put_code(form, row, c, address, k):
    """Put value k of a run at `address` to column c of a dense row, which is zeros there."""
    if form == I8:
        store(row + c, load(address + k, u8))
    elif form == F16:
        move(row + 2 * c, address + 2 * k, 2)
    elif form == F32:
        move(row + 4 * c, address + 4 * k, 4)
    elif form == I4:
        code = load(address + (k >> 1), u8) >> 4 * (k & 1) & 15
        store(row + (c >> 1), u8(load(row + (c >> 1), u8) | code << 4 * (c & 1)))
    else:
        code, place = load(address + (k >> 2), u8) >> 2 * (k & 3) & 3, 2 * (c & 3)
        store(row + (c >> 2), u8(load(row + (c >> 2), u8) & ~(3 << place) | code << place))


@njit
def clear_row(form, row, cols):
    """A dense row of zeros. Bits behind the last column are 0."""
    size = run_bytes(form, cols)
    clear_bytes(row, size)
    if form == T2:
        for at in range(size):
            left = min(cols - 4 * at, 4)
            store(row + at, u8(ZEROS & (1 << 2 * left) - 1))


@njit
def expand(block, kind, form, dst, W, rows):
    """sp.expand of a layout and a format."""
    (p, _), cols = layout(block, kind), csr(block, COLS_SET)
    if p == 0 or not 0 <= cols <= LONGEST:
        return PUNT
    if rows == 0 or cols == 0:
        return DONE
    row_bytes = run_bytes(form, cols)
    if row_bytes > LARGE // rows:
        return PUNT
    place, written = writable(block, SP, dst, rows * row_bytes, value_align(form))
    if place == 0:
        return PUNT
    matrix, events = np.zeros(MATRIX, np.int64), np.zeros(WORDS, np.int64)
    notes = np.empty(note_words(kind, form, rows, cols, 0), np.int64)
    if not open_matrix(block, kind, form, W, rows, cols, 0, matrix, notes):
        return PUNT
    for start, size in ((HOST, SIZE), (META, META_SIZE), (OFFSETS, OFFSETS_SIZE)):
        if overlap(place, rows * row_bytes, matrix[start], matrix[size]):
            return PUNT
    at, columns = matrix.ctypes.data, np.empty(matrix[SLOTS], np.int32)
    codes, floats = np.empty(matrix[SLOTS], np.int8), np.empty(matrix[SLOTS], np.float32)
    for r in range(rows):
        n = (read_row(at, r, columns, codes, events) if form < F16
             else read_row(at, r, columns, floats, events))
        if n < 0:
            return PUNT
    for r in range(rows):
        n, row = row_columns(at, r, columns), place + r * row_bytes
        clear_row(form, row, cols)
        for k in range(n):
            if columns[k] < cols:
                address, number = place_of_value(at, r, k)
                put_code(form, row, i64(columns[k]), address, number)
    count(block, written, rows * row_bytes)
    count(block, ELEMENTS, rows * cols)
    count_matrix(block, matrix, events[STORED])
    matrix[0] = 0               # keeps its memory alive until here
    notes[:1] = 0
    return DONE


@njit
def is_zero(form, address):
    """True for a value that is zero, of either sign."""
    if form == I8:
        return load(address, u8) == 0
    if form == F16:
        return load(address, np.uint16) & 0x7FFF == 0
    return load(address, np.uint32) & 0x7FFF_FFFF == 0


@njit
def block_is_zero(form, x, start, end, item):
    """True if the elements start..end are zero."""
    c = start
    while c < end and is_zero(form, x + item * c):
        c += 1
    return c == end


@njit
def compress(block, form, values, mask, x):
    """sp.compress.bm of one format."""
    (p, _), cols, item = layout(block, BM), csr(block, COLS_SET), value_align(form)
    if p == 0 or not 0 <= cols <= LONGEST:
        return PUNT
    source, read = readable(block, SP, x, item * cols, item)
    blocks, stored = (cols + p - 1) // p, 0
    if source == 0:
        return PUNT
    for k in range(blocks):
        stored += not block_is_zero(form, source, k * p, min(k * p + p, cols), item)
    size, mask_size = item * stored * p, blocks + 7 >> 3
    bits, mask_written = writable(block, SP, mask, mask_size, 1)
    target, written = writable(block, SP, values, size, item)
    if (bits == 0 or target == 0 or overlap(bits, mask_size, source, item * cols) or overlap(target, size, source, item * cols)
            or overlap(bits, mask_size, target, size)):
        return PUNT
    clear_bytes(bits, mask_size)
    for k in range(blocks):
        start, end = k * p, min(k * p + p, cols)
        if not block_is_zero(form, source, start, end, item):
            store(bits + (k >> 3), u8(load(bits + (k >> 3), u8) | 1 << (k & 7)))
            move(target, source + item * start, item * (end - start))
            clear_bytes(target + item * (end - start), item * (start + p - end))
            target += item * p
    count(block, read, item * cols)
    count(block, mask_written, mask_size)
    count(block, written, size)
    count(block, VALUES, stored * p)
    count(block, VALUES_FLOAT, stored * p if form >= F16 else 0)
    count(block, ELEMENTS, cols)
    result(block, stored * p)
    return DONE


def _define_expand(kind: int, form: int) -> None:
    @kernel(f"sp.expand.{KINDS[kind]}.{FORMS[form]}")
    def sp_expand(dst, W, rows, block):
        return expand(block, kind, form, dst, W, rows)


def _define_compress(form: int) -> None:
    @kernel(f"sp.compress.bm.{FORMS[form]}")
    def sp_compress(values, mask, x, block):
        return compress(block, form, values, mask, x)


for _kind in LAYOUTS:
    for _form in range(len(FORMS)):
        _define_expand(KINDS.index(_kind), _form)
for _form in (I8, F16, F32):
    _define_compress(_form)
