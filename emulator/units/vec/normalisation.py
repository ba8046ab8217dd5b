"""Whole-vector operations of the vector unit: softmax, rmsnorm, layernorm, rotary embedding, quantisation and its reverse.

Written as emulator/units/vec/elementwise.py: flags, sizes and kinds are constants where these functions are called from.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from emulator.kernel_words import DONE, PORT, PUNT, count, csr, csr_number, overlap, readable, slot, writable
from emulator.native.inlining import specialised
from emulator.native.machine_code import load, store
from emulator.simd.folds import even, fold, lane_0, merged_high, merged_low, odd
from emulator.simd.functions import INFINITY, ONE, ZERO, canonical, exp
from emulator.simd.lanes import (
    convert,
    first_lanes,
    magnitude,
    put_up_to,
    round_even,
    same_bits,
    spread,
    square_root,
    take_up_to,
    where,
)
from emulator.units.vec.reductions import ABSMAX, MAX, extreme, lane_sum, lane_sum_of_products, lane_sum_of_squares

VEC = PORT["vec"]
f32, i32, i8 = np.float32, np.int32, np.int8
C127 = f32(127)
ELEMENTS, EXPONENTIALS, DIVISIONS, REDUCED = (
    slot(f"vec.{name}") for name in ("elements", "exponentials", "divisions", "reduced"))
EPS, SCALE_GROUP, HEAD_DIM = csr_number("vec.eps"), csr_number("vec.scale_group"), csr_number("vec.head_dim")


@specialised
def softmax(dst: int, x: int, n: int, block: int) -> int:
    """Exponentials go to dst first, then are divided by their sum."""
    most, lanes = spread(extreme(MAX, x, n)), spread(ZERO)
    for i in range(0, n, 16):
        e = exp(take_up_to(x + 4 * i, f32, n - i, ZERO) - most)
        put_up_to(dst + 4 * i, e, n - i)
        lanes = lanes + (e if n - i >= 16 else where(first_lanes(n - i), e, ZERO))
    total = spread(fold(lanes))
    for i in range(0, n, 16):
        put_up_to(dst + 4 * i, canonical(take_up_to(dst + 4 * i, f32, n - i, ZERO) / total), n - i)
    count(block, ELEMENTS, n)
    count(block, EXPONENTIALS, n)
    count(block, DIVISIONS, n)
    count(block, REDUCED, 2 * n)
    return DONE


@specialised
def normalise(centred: bool, dst: int, x: int, gain: int, n: int, block: int) -> int:
    """dst[i] = ((x[i] - mean) * r) * gain[i], r from the mean square; without the mean if not `centred`."""
    elements, eps, mean = spread(f32(n)), spread(same_bits(i32(csr(block, EPS)), f32)), spread(ZERO)
    if centred:
        mean = spread(lane_sum(x, n)) / elements
        squares = lane_sum_of_squares(x, mean, n)
    else:
        squares = lane_sum_of_products(x, x, n)
    r = ONE / square_root(spread(squares) / elements + eps)
    for i in range(0, n, 16):
        v, g = take_up_to(x + 4 * i, f32, n - i, ZERO), take_up_to(gain + 4 * i, f32, n - i, ZERO)
        put_up_to(dst + 4 * i, canonical(((v - mean if centred else v) * r) * g), n - i)
    count(block, ELEMENTS, n)
    count(block, DIVISIONS, 0 if n == 0 else 4 if centred else 3)
    count(block, REDUCED, 2 * n if centred else n)
    return DONE


@specialised
def rotate(adjacent: bool, dst: int, x: int, table: int, n: int, block: int) -> int:
    """Rotary embedding of whole heads: the members of a pair are neighbours, or half a head apart."""
    if n == 0:
        return DONE
    head_dim = csr(block, HEAD_DIM)
    if head_dim <= 0 or head_dim > n or head_dim & 1 or n % head_dim:
        return PUNT
    cosines, table_read = readable(block, VEC, table, 4 * head_dim, 4)
    if cosines == 0 or overlap(cosines, 4 * head_dim, dst, 4 * n):
        return PUNT
    half = head_dim >> 1
    sines = cosines + 4 * half
    for head in range(0, 4 * n, 4 * head_dim):
        for i in range(0, half, 16):
            left = half - i
            c, s = take_up_to(cosines + 4 * i, f32, left, ZERO), take_up_to(sines + 4 * i, f32, left, ZERO)
            if adjacent:
                place = head + 8 * i
                p, q = take_up_to(x + place, f32, 2 * left, ZERO), take_up_to(x + place + 64, f32, 2 * left - 16, ZERO)
                a, b = even(p, q), odd(p, q)
            else:
                place = head + 4 * i
                a, b = take_up_to(x + place, f32, left, ZERO), take_up_to(x + place + 4 * half, f32, left, ZERO)
            u, v = canonical(a * c - b * s), canonical(b * c + a * s)
            if adjacent:
                put_up_to(dst + place, merged_low(u, v), 2 * left)
                put_up_to(dst + place + 64, merged_high(u, v), 2 * left - 16)
            else:
                put_up_to(dst + place, u, left)
                put_up_to(dst + place + 4 * half, v, left)
    count(block, table_read, 4 * head_dim)
    count(block, ELEMENTS, n)
    return DONE


@specialised
def group_size(block: int, n: int) -> int:
    """Elements that share a scale; n > 0."""
    group = csr(block, SCALE_GROUP)         # a number from 2**63 on is negative here
    return group if 0 < group < n else n


@specialised
def quantise(dst: int, x: int, scale: int, n: int, block: int) -> int:
    """Codes and scales of each group."""
    if n == 0:
        return DONE
    size = group_size(block, n)
    groups = (n + size - 1) // size
    scales, scale_written = writable(block, VEC, scale, 4 * groups, 4)
    if scales == 0 or overlap(scales, 4 * groups, dst, n) or overlap(scales, 4 * groups, x, 4 * n):
        return PUNT
    for group in range(groups):
        start = group * size
        end = min(start + size, n)
        a = spread(extreme(ABSMAX, x + 4 * start, end - start))
        inverse = C127 / a
        for i in range(start, end, 16):
            product = round_even(take_up_to(x + 4 * i, f32, end - i, ZERO) * inverse)
            codes = convert(where(magnitude(product) < INFINITY, product, ZERO), i32)
            put_up_to(dst + i, convert(codes, i8), end - i)
        step = where(inverse == INFINITY, ZERO, canonical(a / C127))
        store(scales + 4 * group, lane_0(step))
    count(block, scale_written, 4 * groups)
    count(block, ELEMENTS, n)
    count(block, DIVISIONS, 2 * groups)
    count(block, REDUCED, n)
    return DONE


@specialised
def dequantise(size: int, kind: Any, dst: int, x: int, scale: int, n: int, block: int) -> int:
    """dst[i] = f32(x[i]) * scale, with codes of `size` bytes."""
    if n == 0:
        return DONE
    per_scale = group_size(block, n)
    groups = (n + per_scale - 1) // per_scale
    scales, scale_read = readable(block, VEC, scale, 4 * groups, 4)
    if scales == 0 or overlap(scales, 4 * groups, dst, 4 * n):
        return PUNT
    if per_scale == 1:
        for i in range(0, n, 16):
            v = convert(take_up_to(x + size * i, kind, n - i, 0), f32) * take_up_to(scales + 4 * i, f32, n - i, ZERO)
            put_up_to(dst + 4 * i, canonical(v), n - i)
    else:
        for group in range(groups):
            start = group * per_scale
            end = min(start + per_scale, n)
            s = spread(load(scales + 4 * group, f32))
            for i in range(start, end, 16):
                v = convert(take_up_to(x + size * i, kind, end - i, 0), f32) * s
                put_up_to(dst + 4 * i, canonical(v), end - i)
    count(block, scale_read, 4 * groups)
    count(block, ELEMENTS, n)
    return DONE
