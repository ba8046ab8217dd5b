"""Stored values one at a time: every layout and number format, for what the vector code leaves.

Layouts and formats are numbered as in the encoding. `p` and `q` are the parameters of the layout: N and M, or the columns of a
block and 0. Addresses are host addresses.
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

NM, BM = (KINDS.index(kind) for kind in ("nm", "bm"))
I8, I4, T2, F16, F32 = range(len(FORMS))
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
    """Bytes of metadata of a row."""
    if kind == NM:
        return ((cols + q - 1) // q * p * index_bits(q) + 7) >> 3
    return ((cols + p - 1) // p + 7) >> 3


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


@njit
def row_columns(kind, meta, cols, p, q, columns):
    """The columns of the stored values of a row, to columns (int32). How many there are; -1: the metadata is malformed."""
    n = 0
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
    bits, at, held, word = index_bits(q), meta, 0, i64(0)
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


@njit
def row_codes(form, address, n, values):
    """n integers that start on a byte, as int8 to values. How many are not zero."""
    found = 0
    for k in range(n):
        if form == I8:
            value = i64(load(address + k, i8))
        elif form == I4:
            value = (i64(load(address + (k >> 1), u8)) >> 4 * (k & 1) & 15 ^ 8) - 8
        else:
            value = (i64(load(address + (k >> 2), u8)) >> 2 * (k & 3) & 3) - 1
        values[k] = value
        found += value != 0
    return found


@njit
def row_floats(form, address, n, values):
    """n floating-point numbers, as f32 to values. How many are not zero."""
    found = 0
    if form == F16:
        target = values.ctypes.data
        for k in range(0, n, 16):
            put_up_to(target + 4 * k, f32_from_f16(take_up_to(address + 2 * k, u16, n - k, u16(0))), n - k)
    else:
        source = array(address, f32, n)
        for k in range(n):
            values[k] = source[k]
    for k in range(n):
        found += values[k] != f32(0)
    return found


@njit
def ends_well(columns, values, n, cols):
    """True if values behind the last column are zero. They stand at the end of a row."""
    while n > 0 and columns[n - 1] >= cols:
        n -= 1
        if values[n] != 0:
            return False
    return True


@inline
def start_of(kind, form, starts, r, slots):
    """Bytes before the values of row r: `starts` (rows,) has them in a bitmask, elsewhere each row has `slots` values."""
    return load(starts + 8 * r, i64) if kind == BM else r * run_bytes(form, slots)


# ------------------------------------------------------------------------------------------------ some rows


@inline
def some_sums(first, last, kind, form, host, starts, meta, meta_bytes, slots, rows, vectors, cols, p, q, x, group, groups, sums,
              found):
    """sums[v, r, g] int32 at an address = sum over the stored columns c of group g of W[r, c] x[v, c], for the rows first..last.

    Numbers alone, as `in_parallel` passes them.
    """
    columns, values, events = np.empty(slots, np.int32), np.empty(slots, np.int8), np.zeros(WORDS, np.int64)
    for r in range(first, last):
        n = row_columns(kind, meta + r * meta_bytes, cols, p, q, columns)
        if n < 0:
            events[BAD] = 1
            break
        events[STORED] += n
        events[NONZERO] += row_codes(form, host + start_of(kind, form, starts, r, slots), n, values)
        if not ends_well(columns, values, n, cols):
            events[BAD] = 1
            break
        for v in range(vectors):
            row, vector = array(sums + 4 * (v * rows + r) * groups, i32, groups), array(x + v * cols, i8, cols)
            for g in range(groups):
                row[g] = 0
            for k in range(n):
                if columns[k] < cols:
                    c = i64(columns[k])
                    row[c // group] += i32(values[k]) * i32(vector[c])
    add_events(found, events)


@inline
def some_float_sums(first, last, kind, form, host, starts, meta, meta_bytes, slots, rows, vectors, cols, p, q, x, target, found):
    """y[v, r] f32 at `target` = lane sum over the stored columns c of W[r, c] x[v, c], for the rows first..last.

    Numbers alone, as `in_parallel` passes them.
    """
    columns, values, events = np.empty(slots, np.int32), np.empty(slots, np.float32), np.zeros(WORDS, np.int64)
    lanes, results = np.empty(16, np.float32), array(target, f32, vectors * rows)
    for r in range(first, last):
        n = row_columns(kind, meta + r * meta_bytes, cols, p, q, columns)
        if n < 0:
            events[BAD] = 1
            break
        events[STORED] += n
        events[NONZERO] += row_floats(form, host + start_of(kind, form, starts, r, slots), n, values)
        if not ends_well(columns, values, n, cols):
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


@inline
def some_transposed_sums(first, last, kind, form, host, starts, meta, meta_bytes, slots, rows, vectors, cols, p, q, x, sums, found):
    """Adds to sums[v, c] int64 at an address the sum over j in first..last of x[v, j] W[j, c].

    Numbers alone, as `in_parallel` passes them.
    """
    columns, values, events = np.empty(slots, np.int32), np.empty(slots, np.int8), np.zeros(WORDS, np.int64)
    own, codes = np.zeros(vectors * cols, np.int64), array(x, i8, vectors * rows)
    for j in range(first, last):
        n = row_columns(kind, meta + j * meta_bytes, cols, p, q, columns)
        if n < 0:
            events[BAD] = 1
            break
        events[STORED] += n
        events[NONZERO] += row_codes(form, host + start_of(kind, form, starts, j, slots), n, values)
        if not ends_well(columns, values, n, cols):
            events[BAD] = 1
            break
        for v in range(vectors):
            for k in range(n):
                if columns[k] < cols:
                    own[v * cols + columns[k]] += i64(values[k]) * i64(codes[v * rows + j])
    add_events(sums, own)
    add_events(found, events)
