"""Dense matrix-vector products: y = W x by rows, y += W^T h by rows of W, with fp32, fp16, bf16 or int8 weights.

`form` and the bytes of a weight are constants where these functions are called from.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from emulator.kernel_words import DONE, LARGE, PORT, PUNT, count, csr, csr_number, overlap, readable, slot, writable
from emulator.native.inlining import inline, specialised
from emulator.native.machine_code import load, store
from emulator.simd.folds import dot_bytes, fold, fold4, put_four, words_of
from emulator.simd.functions import ZERO, canonical, f32_from_bf16, f32_from_f16
from emulator.simd.lanes import ask_for, convert, put, put_part, spread, take, take_part, take_up_to
from emulator.threads.parallel import in_parallel

VEC = PORT["vec"]
f32, i32, i8, u16 = np.float32, np.int32, np.int8, np.uint16
F32, F16, BF16, I8, I8_BY_I8 = range(5)      # I8_BY_I8: int8 weights and an int8 vector, sums in int32 that wrap
NEAR, NEARER = 1 << 19, 24 << 10        # bytes that are sure to stay in a second-level, in a first-level cache
AHEAD = 2 << 10                         # bytes of a row that are asked of memory before they are needed
COLS, ROW_STRIDE = csr_number("vec.cols"), csr_number("vec.row_stride")
MACS, MACS_I8 = slot("vec.macs"), slot("vec.macs_i8")


@inline
def matrix(block: int, size: int, W: int, rows: int) -> tuple[int, int, int, int, int]:
    """(host address, counter slot, columns, bytes from row to row, bytes from the first to the end of the last) of a matrix operand
    of 1 row or more; host address 0: punt."""
    cols, stride = csr(block, COLS), csr(block, ROW_STRIDE)
    if cols <= 0 or cols > LARGE >> 3:
        return 0, 0, 0, 0, 0
    if stride == 0:
        stride = cols * size
    if stride < cols * size or stride > LARGE or stride & (size - 1) or rows > LARGE // stride:
        return 0, 0, 0, 0, 0
    extent = (rows - 1) * stride + cols * size
    source, read = readable(block, VEC, W, extent, size)
    return source, read, cols, stride, extent


@inline
def weights(form: int, address: int, left: int = 16) -> Any:
    """16 weights as fp32, or as many as are left, then zeros."""
    if form == F32:
        return take_up_to(address, f32, left, ZERO)
    if form == I8:
        return convert(take_up_to(address, i8, left, 0), f32)
    if form == F16:
        return f32_from_f16(take_up_to(address, u16, left, 0))
    return f32_from_bf16(take_up_to(address, u16, left, 0))


@inline
def in_fours(rows: int, row_bytes: int, vector_bytes: int) -> int:
    """Leading rows to take four at a time, the others one by one.

    In fours there are enough sums for the latency of an addition, and the vector is loaded less often. But of a large matrix,
    short rows come from memory twice as fast one after the other, as one stream of addresses (bf16, 1024 columns: 33 instead
    of 13 GB/s); until the row and the vector together leave no room in the first-level cache.
    """
    return 0 if rows * row_bytes > NEAR and row_bytes + vector_bytes <= NEARER else rows & -4


@inline
def four_from(w: Any, stride: Any) -> Any:
    """Four addresses, `stride` bytes apart."""
    return w, w + stride, w + 2 * stride, w + 3 * stride


@inline
def moved(four: Any, offset: Any) -> Any:
    """Four addresses, all `offset` bytes further."""
    a, b, c, d = four
    return a + offset, b + offset, c + offset, d + offset


@inline
def add_four(form: Any, sums: Any, w: Any, v: Any, left: int = 16) -> Any:
    """The sums of four rows, and 16 more products of each, or as many as are left."""
    a, b, c, d = sums
    w0, w1, w2, w3 = w
    return (a + weights(form, w0, left) * v, b + weights(form, w1, left) * v, c + weights(form, w2, left) * v,
            d + weights(form, w3, left) * v)


@inline
def end_four(form: Any, sums: Any, w: Any, vector: Any, left: Any, target: Any) -> None:
    """Add the last columns of four rows, fewer than 16, and store the sums."""
    if left:
        sums = add_four(form, sums, w, take_part(vector, f32, left, ZERO), left)
    a, b, c, d = sums
    put_four(target, canonical(fold4(a, b, c, d)))


@inline
def plus_rows(form: Any, v: Any, factors: Any, w: Any, left: int = 16) -> Any:
    """v plus 16 weights of each of four rows, or as many as are left, times the factor of the row: row after row."""
    f0, f1, f2, f3 = factors
    w0, w1, w2, w3 = w
    v = v + f0 * weights(form, w0, left)
    v = v + f1 * weights(form, w1, left)
    v = v + f2 * weights(form, w2, left)
    return v + f3 * weights(form, w3, left)


@specialised
def four_rows(form: int, size: int, p: int, stride: int, whole: int, left: int, vector: int, target: int) -> None:
    """y = W x for the four rows from p on, which lie in a cache."""
    zero = spread(ZERO)
    sums = (zero, zero, zero, zero)
    for i in range(0, whole, 16):
        sums = add_four(form, sums, four_from(p + size * i, stride), take(vector + 4 * i, f32))
    end_four(form, sums, four_from(p + size * whole, stride), vector + 4 * whole, left, target)


@specialised
def eight_rows(form: int, size: int, p: int, stride: int, whole: int, left: int, vector: int, target: int) -> None:
    """y = W x for the eight rows from p on, which come from memory. The next eight rows are asked of memory meanwhile."""
    zero, q = spread(ZERO), p + 4 * stride
    upper = lower = (zero, zero, zero, zero)
    row = size * (whole + left)
    reach = min(AHEAD, row)
    for i in range(0, whole, 16):
        v, at = take(vector + 4 * i, f32), size * i
        ahead = p + at + (reach if at + reach < row else reach - row + 8 * stride)
        for k in range(8):
            ask_for(ahead + k * stride)
        upper = add_four(form, upper, four_from(p + at, stride), v)
        lower = add_four(form, lower, four_from(q + at, stride), v)
    end_four(form, upper, four_from(p + size * whole, stride), vector + 4 * whole, left, target)
    end_four(form, lower, four_from(q + size * whole, stride), vector + 4 * whole, left, target + 16)


@inline
def some_rows(first: int, last: int, form: int, size: int, source: int, stride: int, cols: int, vector: int, target: int,
              fours: int, far: bool) -> None:
    """y = W x for the rows first..last.

    Numbers alone, as `in_parallel` passes them.
    """
    whole, left = cols & -16, cols & 15
    fours = max(first, min(last, fours))
    eights = first + (fours - first & -8) if far else first
    for row in range(first, eights, 8):
        eight_rows(form, size, source + row * stride, stride, whole, left, vector, target + 4 * row)
    for row in range(eights, fours, 4):
        four_rows(form, size, source + row * stride, stride, whole, left, vector, target + 4 * row)
    for row in range(fours, last):
        p = source + row * stride
        a = spread(ZERO)
        for i in range(0, whole, 16):
            a = a + weights(form, p + size * i) * take(vector + 4 * i, f32)
        if left:
            a = a + weights(form, p + size * whole, left) * take_part(vector + 4 * whole, f32, left, ZERO)
        put_part(target + 4 * row, canonical(fold4(a, a, a, a)), 1)


@inline
def some_columns(first: int, last: int, form: int, size: int, source: int, stride: int, rows: int, cols: int, factors: int,
                 target: int, fours: int) -> None:
    """y += W^T h for the columns 16 first..16 last, or as many as there are.

    Numbers alone, as `in_parallel` passes them.
    """
    source, target, cols = source + 16 * first * size, target + 64 * first, min(16 * last, cols) - 16 * first
    whole, left = cols & -16, cols & 15
    for row in range(0, fours, 4):
        p = source + row * stride
        h = (spread(load(factors + 4 * row, f32)), spread(load(factors + 4 * row + 4, f32)),
             spread(load(factors + 4 * row + 8, f32)), spread(load(factors + 4 * row + 12, f32)))
        for i in range(0, whole, 16):
            put(target + 4 * i, canonical(plus_rows(form, take(target + 4 * i, f32), h, four_from(p + size * i, stride))))
        if left:
            v = take_part(target + 4 * whole, f32, left, ZERO)
            put_part(target + 4 * whole, canonical(plus_rows(form, v, h, four_from(p + size * whole, stride), left)), left)
    for row in range(fours, rows):
        p, factor = source + row * stride, spread(load(factors + 4 * row, f32))
        for i in range(0, whole, 16):
            put(target + 4 * i, canonical(take(target + 4 * i, f32) + factor * weights(form, p + size * i)))
        if left:
            v = take_part(target + 4 * whole, f32, left, ZERO) + factor * weights(form, p + size * whole, left)
            put_part(target + 4 * whole, canonical(v), left)


# ------------------------------------------------------------------------------------------------ int8

SIGNS = i32(-0x7F7F_7F80)       # 0x80 in each byte: x ^ 0x80 is x + 128 unsigned


@inline
def some_rows_i8(first: int, last: int, source: int, stride: int, cols: int, vector: int, target: int) -> None:
    """64 weights at a time. The dot product wants one factor unsigned: W + 128, so 128 times the sum of x is taken off."""
    rounds, whole, signs, zero = cols & -256, cols & -64, spread(SIGNS), spread(i32(0))
    excess = zero
    for i in range(0, whole, 64):
        excess = excess - dot_bytes(zero, signs, take(vector + i, i32))
    for row in range(first, last):
        p = source + row * stride
        a, b, c, d = excess, zero, zero, zero
        for i in range(0, rounds, 256):
            w, v = p + i, vector + i
            a = dot_bytes(a, take(w, i32) ^ signs, take(v, i32))
            b = dot_bytes(b, take(w + 64, i32) ^ signs, take(v + 64, i32))
            c = dot_bytes(c, take(w + 128, i32) ^ signs, take(v + 128, i32))
            d = dot_bytes(d, take(w + 192, i32) ^ signs, take(v + 192, i32))
        for i in range(rounds, whole, 64):
            b = dot_bytes(b, take(p + i, i32) ^ signs, take(vector + i, i32))
        for i in range(whole, cols, 16):
            c = c + convert(take_part(p + i, i8, cols - i, 0), i32) * convert(take_part(vector + i, i8, cols - i, 0), i32)
        store(target + 4 * row, fold((a + b) + (c + d)))


@inline
def some_columns_i8(first: int, last: int, source: int, stride: int, rows: int, cols: int, factors: int, target: int) -> None:
    """As some_columns, in int32."""
    source, target, cols = source + 16 * first, target + 64 * first, min(16 * last, cols) - 16 * first
    whole, left, fours, signs = cols & -16, cols & 15, rows & -4, spread(SIGNS)
    for row in range(0, fours, 4):
        p, h4 = source + row * stride, spread(load(factors + row, i32))
        excess = dot_bytes(spread(i32(0)), signs, h4)
        for i in range(0, whole, 16):
            w = p + i
            ask_for(p + 4 * stride + 4 * i)
            w4 = words_of(take(w, i8), take(w + stride, i8), take(w + 2 * stride, i8), take(w + 3 * stride, i8))
            put(target + 4 * i, dot_bytes(take(target + 4 * i, i32) - excess, w4 ^ signs, h4))
        if left:
            w = p + whole
            w4 = words_of(take_part(w, i8, left, 0), take_part(w + stride, i8, left, 0),
                          take_part(w + 2 * stride, i8, left, 0), take_part(w + 3 * stride, i8, left, 0))
            v = dot_bytes(take_part(target + 4 * whole, i32, left, 0) - excess, w4 ^ signs, h4)
            put_part(target + 4 * whole, v, left)
    for row in range(fours, rows):
        p, factor = source + row * stride, spread(i32(load(factors + row, i8)))
        for i in range(0, whole, 16):
            put(target + 4 * i, take(target + 4 * i, i32) + factor * convert(take(p + i, i8), i32))
        if left:
            v = take_part(target + 4 * whole, i32, left, 0) + factor * convert(take_part(p + whole, i8, left, 0), i32)
            put_part(target + 4 * whole, v, left)


# ------------------------------------------------------------------------------------------------ products


@specialised
def gemv(form: int, size: int, y: int, W: int, x: int, rows: int, block: int) -> int:
    """y = W x."""
    if rows == 0:
        return DONE
    source, read, cols, stride, extent = matrix(block, size, W, rows)
    item = 1 if form == I8_BY_I8 else 4
    vector, vector_read = readable(block, VEC, x, item * cols, item)
    if source == 0 or vector == 0 or overlap(source, extent, y, 4 * rows) or overlap(vector, item * cols, y, 4 * rows):
        return PUNT
    if form == I8_BY_I8:
        in_parallel(block, extent, rows, 16, some_rows_i8, source, stride, cols, vector, y)
    else:
        fours = in_fours(rows, cols * size, 4 * cols)
        in_parallel(block, extent, rows, 16, some_rows, form, size, source, stride, cols, vector, y, fours, extent > NEAR)
    count(block, read, rows * cols * size)
    count(block, vector_read, item * cols)
    count(block, MACS, rows * cols)
    if form == I8_BY_I8:
        count(block, MACS_I8, rows * cols)
    return DONE


@specialised
def mac_t(form: int, size: int, y: int, W: int, h: int, h_bytes: int, rows: int, block: int) -> int:
    """y += W^T h. W is read as it lies, y stays in the cache."""
    if rows == 0:
        return DONE
    source, read, cols, stride, extent = matrix(block, size, W, rows)
    sums, sums_read = readable(block, VEC, y, 4 * cols, 4)
    target, written = writable(block, VEC, y, 4 * cols, 4)
    if source == 0 or sums == 0 or target == 0:
        return PUNT
    if overlap(source, extent, target, 4 * cols) or overlap(h, h_bytes, target, 4 * cols):
        return PUNT
    if form == I8_BY_I8:
        in_parallel(block, extent, (cols + 15) >> 4, 8, some_columns_i8, source, stride, rows, cols, h, target)
    else:
        in_parallel(block, extent, (cols + 15) >> 4, 8, some_columns, form, size, source, stride, rows, cols, h, target,
                    in_fours(rows, cols * size, 4 * cols))
    count(block, read, rows * cols * size)
    count(block, sums_read, 4 * cols)
    count(block, written, 4 * cols)
    count(block, MACS, rows * cols)
    if form == I8_BY_I8:
        count(block, MACS_I8, rows * cols)
    return DONE
