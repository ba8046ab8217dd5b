"""Stored values one at a time: every layout and number format, for what the vector code leaves.

Layouts and formats are numbered as in the encoding. `p` and `q` are the parameters of the layout: N and M, or columns and rows of a
block. Addresses are host addresses.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from emulator.native.inlining import inline
from emulator.native.machine_code import array, load, ones
from emulator.simd.functions import f32_from_f16
from emulator.simd.lanes import put_up_to, take_up_to
from emulator.threads.parallel import add_events
from isa.sparse import KINDS
from isa.sparse.layout import FORMS

NM, BM, BL, CS = (KINDS.index(kind) for kind in ("nm", "bm", "bl", "cs"))
I8, I4, T2, F16, F32 = range(len(FORMS))
# What is known of a matrix, int64 words: addresses of values, metadata and offsets; bytes of metadata of a row, where all rows have
# as many; the most values of a row; bytes of as many, in bl of a block; bytes of all values; the address of notes of its rows
# (operands.note_words); whether it was seen before, so that it is sound, the notes are there, and nothing is counted; layout and
# format.
HOST, META, OFFSETS, ROWS, COLS, P, Q, META_BYTES, SLOTS, ROW_BYTES, SIZE, NOTED, KNOWN, KIND, FORM = range(15)
BAD, STORED, NONZERO, WORDS = range(4)          # what is found in a matrix: not 0 if malformed; values; those that are not zero

u8, i8, u16, i32, u32, i64, u64, f32 = np.uint8, np.int8, np.uint16, np.int32, np.uint32, np.int64, np.uint64, np.float32

# ------------------------------------------------------------------------------------------------ sizes


@njit
def run_bytes(form, n):
    """Bytes of n values that start on a byte."""
    if form == I4:
        return n + 1 >> 1
    if form == T2:
        return n + 3 >> 2
    return n if form == I8 else 2 * n if form == F16 else 4 * n


@njit
def value_align(form):
    """Bytes of which the address of values is a multiple."""
    return 4 if form == F32 else 2 if form == F16 else 1


@njit
def index_bits(q):
    """Bits of a place in a group of q columns."""
    bits = 0
    while 1 << bits < q:
        bits += 1
    return bits


@njit
def row_meta(kind, cols, p, q):
    """Bytes of metadata of a row, 0 where rows have different ones."""
    if kind == NM:
        return ((cols + q - 1) // max(q, 1) * p * index_bits(q) + 7) >> 3
    return ((cols + p - 1) // max(p, 1) + 7) >> 3 if kind == BM else 0


@njit
def marked(meta, blocks):
    """Blocks that a mask marks as stored, -1 if it has bits behind the last."""
    size, found, at = blocks + 7 >> 3, 0, 0
    while at + 8 <= size:
        found += i64(ones(load(meta + at, u64)))
        at += 8
    while at < size:
        found += i64(ones(u64(load(meta + at, u8))))
        at += 1
    if blocks & 7 and load(meta + size - 1, u8) >> (blocks & 7):
        return -1
    return found


# ------------------------------------------------------------------------------------------------ a row


@inline
def listed(matrix, r):
    """The first listed number of row r, and the first one behind it."""
    offsets, row = load(matrix + 8 * OFFSETS, i64), r // load(matrix + 8 * Q, i64)
    before = i64(load(offsets, u32))
    return i64(load(offsets + 4 * row, u32)) - before, i64(load(offsets + 4 * row + 4, u32)) - before


@njit
def row_columns(matrix, r, columns):
    """The columns of the stored values of row r, to columns (int32). How many there are; -1: the metadata is malformed. `matrix` is
    the address of the words."""
    kind = load(matrix + 8 * KIND, i64)
    cols, p, q = load(matrix + 8 * COLS, i64), load(matrix + 8 * P, i64), load(matrix + 8 * Q, i64)
    meta, n = load(matrix + 8 * META, i64) + r * load(matrix + 8 * META_BYTES, i64), 0
    if kind == BM:
        blocks = (cols + p - 1) // p
        if marked(meta, blocks) < 0:
            return -1
        for k in range(blocks):
            if load(meta + (k >> 3), u8) >> (k & 7) & 1:
                for c in range(k * p, k * p + p):
                    columns[n] = c
                    n += 1
        return n
    if kind == NM:
        return nm_columns(meta, cols, p, q, columns)
    first, end = listed(matrix, r)
    last = i64(-1)
    for k in range(first, end):
        number = i64(load(meta + 2 * k, u16))
        if number <= last or number * p >= cols:
            return -1
        for c in range(number * p, number * p + p):
            columns[n] = c
            n += 1
        last = number
    return n


@njit
def nm_columns(meta, cols, p, q, columns):
    """`row_columns` of p of q."""
    n, bits, at, held, word = 0, index_bits(q), meta, 0, i64(0)
    for start in range(0, cols, q):
        last = -1
        for _ in range(p):
            if held < bits:
                word |= i64(load(at, u8)) << held
                at += 1
                held += 8
            place = word & (1 << bits) - 1
            word >>= bits
            held -= bits
            if place >= q or place <= last:
                return -1
            columns[n] = start + place
            last = place
            n += 1
    return n


@inline
def place_of_value(matrix, r, k):
    """(address, number of the value from there on) of value k of row r."""
    kind = load(matrix + 8 * KIND, i64)
    host, size = load(matrix + 8 * HOST, i64), load(matrix + 8 * ROW_BYTES, i64)
    if kind == NM:
        return host + r * size, k
    if kind == BL:
        p, q = load(matrix + 8 * P, i64), load(matrix + 8 * Q, i64)
        first, _ = listed(matrix, r)
        return host + (first + k // p) * size, r % q * p + k % p
    return host + load(load(matrix + 8 * NOTED, i64) + 8 * r, i64), k


@njit
def row_codes(matrix, r, n, values):
    """The n integers of row r, as int8 to values. How many are not zero."""
    kind, form = load(matrix + 8 * KIND, i64), load(matrix + 8 * FORM, i64)
    found, p = 0, load(matrix + 8 * P, i64) if kind == BL else max(n, 1)        # so many lie one after the other
    for start in range(0, n, p):
        address, first = place_of_value(matrix, r, start)
        for k in range(start, start + p):
            at = first + k - start
            if form == I8:
                value = i64(load(address + at, i8))
            elif form == I4:
                value = (i64(load(address + (at >> 1), u8)) >> 4 * (at & 1) & 15 ^ 8) - 8
            else:
                value = (i64(load(address + (at >> 2), u8)) >> 2 * (at & 3) & 3) - 1
            values[k] = value
            found += value != 0
    return found


@njit
def row_floats(matrix, r, n, values):
    """The n floating-point numbers of row r, as f32 to values. How many are not zero."""
    kind, form = load(matrix + 8 * KIND, i64), load(matrix + 8 * FORM, i64)
    found, p, target = 0, load(matrix + 8 * P, i64) if kind == BL else max(n, 1), values.ctypes.data
    for start in range(0, n, p):
        address, first = place_of_value(matrix, r, start)
        if form == F16:
            for k in range(0, p, 16):
                put_up_to(target + 4 * (start + k), f32_from_f16(take_up_to(address + 2 * (first + k), u16, p - k, u16(0))), p - k)
        else:
            source = array(address + 4 * first, f32, p)
            for k in range(p):
                values[start + k] = source[k]
    for k in range(n):
        found += values[k] != f32(0)
    return found


@njit
def row_values(matrix, r, n, values):
    """The n values of row r to values, int8 or f32. How many are not zero."""
    return row_codes(matrix, r, n, values) if load(matrix + 8 * FORM, i64) < F16 else row_floats(matrix, r, n, values)


@njit
def ends_well(columns, values, n, cols):
    """True if values behind the last column are zero. They stand at the end of a row."""
    while n > 0 and columns[n - 1] >= cols:
        n -= 1
        if values[n] != 0:
            return False
    return True


@njit
def read_row(matrix, r, columns, values, events):
    """Columns and values of row r, int8 or f32: how many there are; -1: something is malformed. Counts them. With the last row of
    blocks goes what lies below the last row of the matrix."""
    n, cols = row_columns(matrix, r, columns), load(matrix + 8 * COLS, i64)
    if n < 0:
        return -1
    if load(matrix + 8 * KIND, i64) == BL:
        rows, q = load(matrix + 8 * ROWS, i64), load(matrix + 8 * Q, i64)
        for below in range(rows, (r + q) // q * q if r == rows - 1 else 0):
            if row_values(matrix, below, n, values) > 0:
                return -1
            events[STORED] += n
    events[STORED] += n
    events[NONZERO] += row_values(matrix, r, n, values)
    return n if ends_well(columns, values, n, cols) else -1


# ------------------------------------------------------------------------------------------------ some rows


@njit
def some_sums(first, last, matrix, vectors, x, group, groups, sums, found):
    """sums[v, r, g] int32 at an address = sum over the stored columns c of group g of W[r, c] x[v, c], for the rows first..last.

    Numbers alone, as `in_parallel` passes them.
    """
    rows, cols, slots = load(matrix + 8 * ROWS, i64), load(matrix + 8 * COLS, i64), load(matrix + 8 * SLOTS, i64)
    columns, values, events = np.empty(slots, np.int32), np.empty(slots, np.int8), np.zeros(WORDS, np.int64)
    for r in range(first, last):
        n = read_row(matrix, r, columns, values, events)
        if n < 0:
            events[BAD] = 1
            break
        while n > 0 and columns[n - 1] >= cols:
            n -= 1
        for v in range(vectors):
            row, vector = array(sums + 4 * (v * rows + r) * groups, i32, groups), array(x + v * cols, i8, cols)
            if groups == 1:
                total = i32(0)
                for k in range(n):
                    total += i32(values[k]) * i32(vector[columns[k]])
                row[0] = total
            else:
                for g in range(groups):
                    row[g] = 0
                for k in range(n):
                    c = i64(columns[k])
                    row[c // group] += i32(values[k]) * i32(vector[c])
    add_events(found, events)


@njit
def some_float_sums(first, last, matrix, vectors, x, target, found):
    """y[v, r] f32 at `target` = lane sum over the stored columns c of W[r, c] x[v, c], for the rows first..last.

    Numbers alone, as `in_parallel` passes them.
    """
    rows, cols, slots = load(matrix + 8 * ROWS, i64), load(matrix + 8 * COLS, i64), load(matrix + 8 * SLOTS, i64)
    columns, values, events = np.empty(slots, np.int32), np.empty(slots, np.float32), np.zeros(WORDS, np.int64)
    lanes, results = np.empty(16, np.float32), array(target, f32, vectors * rows)
    for r in range(first, last):
        n = read_row(matrix, r, columns, values, events)
        if n < 0:
            events[BAD] = 1
            break
        for v in range(vectors):
            vector = array(x + 4 * v * cols, f32, cols)
            for lane in range(16):
                lanes[lane] = 0
            for k in range(n):
                if columns[k] < cols:
                    c = i64(columns[k])
                    lanes[c & 15] += values[k] * vector[c]
            half = 8
            while half > 0:
                for lane in range(half):
                    lanes[lane] += lanes[lane + half]
                half >>= 1
            results[v * rows + r] = lanes[0]
    add_events(found, events)


@njit
def some_transposed_sums(first, last, matrix, vectors, x, sums, found):
    """Adds to sums[v, c] int64 at an address the sum over j in first..last of x[v, j] W[j, c].

    Numbers alone, as `in_parallel` passes them.
    """
    rows, cols, slots = load(matrix + 8 * ROWS, i64), load(matrix + 8 * COLS, i64), load(matrix + 8 * SLOTS, i64)
    columns, values, events = np.empty(slots, np.int32), np.empty(slots, np.int8), np.zeros(WORDS, np.int64)
    own, codes = np.zeros(vectors * cols, np.int64), array(x, i8, vectors * rows)
    for j in range(first, last):
        n = read_row(matrix, j, columns, values, events)
        if n < 0:
            events[BAD] = 1
            break
        for v in range(vectors):
            for k in range(n):
                if columns[k] < cols:
                    own[v * cols + columns[k]] += i64(values[k]) * i64(codes[v * rows + j])
    add_events(sums, own)
    add_events(found, events)
