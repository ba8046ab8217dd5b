"""Products of int8 values of listed columns and of blocks, some rows at a time: what is stored is walked through as it lies."""

from __future__ import annotations

import numpy as np

from emulator.native.inlining import inline
from emulator.native.machine_code import array, load, store
from emulator.threads.parallel import add_events
from emulator.units.sp.plain import BAD, COLS, HOST, KNOWN, META, NONZERO, ROWS, STORED, WORDS, P, Q, listed
from emulator.units.sp.rows import counted

i8, u16, i32, i64 = np.int8, np.uint16, np.int32, np.int64


@inline
def rise(numbers, n, end):
    """True if n listed numbers rise and are below `end`."""
    last, sound = i64(-1), True
    for k in range(n):
        number = i64(load(numbers + 2 * k, u16))
        sound &= last < number < end
        last = number
    return sound


@inline
def some_listed_sums(first, last, matrix, vectors, x, sums, found):
    """sums[v, r] int32 at an address = sum over the listed columns c of W[r, c] x[v, c], for the rows first..last.

    Numbers alone, as `in_parallel` passes them.
    """
    rows, cols, known = load(matrix + 8 * ROWS, i64), load(matrix + 8 * COLS, i64), load(matrix + 8 * KNOWN, i64)
    events = np.zeros(WORDS, np.int64)
    for r in range(first, last):
        begin, end = listed(matrix, r)
        values, columns, n = load(matrix + 8 * HOST, i64) + begin, load(matrix + 8 * META, i64) + 2 * begin, end - begin
        if not known:
            if not rise(columns, n, cols):
                events[BAD] = 1
                break
            events[STORED] += n
            events[NONZERO] += counted(values, values + n)
        for v in range(vectors):
            vector, total = x + v * cols, i32(0)
            for k in range(n):
                total += i32(load(values + k, i8)) * i32(load(vector + i64(load(columns + 2 * k, u16)), i8))
            store(sums + 4 * (v * rows + r), i32(total))
    add_events(found, events)


@inline
def is_padded(values, lines, width, p, q):
    """True if the values of a block outside of its first lines and columns are zero."""
    for i in range(q):
        for j in range(0 if i >= lines else width, p):
            if load(values + i * p + j, i8) != 0:
                return False
    return True


@inline
def some_block_sums(first, last, matrix, vectors, x, sums, found):
    """sums[v, r] int32 at an address = sum over the stored columns c of W[r, c] x[v, c], for the rows of blocks first..last.

    Numbers alone, as `in_parallel` passes them.
    """
    rows, cols, known = load(matrix + 8 * ROWS, i64), load(matrix + 8 * COLS, i64), load(matrix + 8 * KNOWN, i64)
    p, q, host = load(matrix + 8 * P, i64), load(matrix + 8 * Q, i64), load(matrix + 8 * HOST, i64)
    meta, events, totals = load(matrix + 8 * META, i64), np.zeros(WORDS, np.int64), np.zeros(q, np.int32)
    for b in range(first, last):
        begin, end = listed(matrix, b * q)
        lines = min(q, rows - b * q)
        if not known:
            sound = rise(meta + 2 * begin, end - begin, (cols + p - 1) // p)
            for k in range(begin, end if sound else begin):
                sound &= is_padded(host + k * p * q, lines, min(p, cols - p * i64(load(meta + 2 * k, u16))), p, q)
            if not sound:
                events[BAD] = 1
                break
            events[STORED] += (end - begin) * p * q
            events[NONZERO] += counted(host + begin * p * q, host + end * p * q)
        for v in range(vectors):
            for i in range(lines):
                totals[i] = 0
            for k in range(begin, end):
                start, values = p * i64(load(meta + 2 * k, u16)), array(host + k * p * q, i8, p * q)
                width = min(p, cols - start)
                vector = array(x + v * cols + start, i8, width)
                if p == 1:
                    factor = i32(vector[0])
                    for i in range(lines):
                        totals[i] += i32(values[i]) * factor
                else:
                    for i in range(lines):
                        row, total = values[i * p:], i32(0)
                        for j in range(width):
                            total += i32(row[j]) * i32(vector[j])
                        totals[i] += total
            for i in range(lines):
                store(sums + 4 * (v * rows + b * q + i), totals[i])
    add_events(found, events)
