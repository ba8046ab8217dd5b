"""Scores of a cache by row, tokens by fours and heads within them.

So a cache is read once, as it lies, and the heads that share keys find them in the first-level cache. Sums are those of
emulator/units/vec/dense.py, in the same order. `form` and `size`, the bytes of an element, are constants where functions are called
from.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from emulator.kernel import kernel
from emulator.kernel_words import DONE, PUNT, count, overlap, state, writable
from emulator.native.inlining import inline, specialised
from emulator.native.machine_code import load, store
from emulator.simd.folds import dot_bytes, fold4, put_four
from emulator.simd.functions import NAN, ZERO
from emulator.simd.lanes import convert, put_part, spread, take, take_part
from emulator.threads.parallel import in_parallel
from emulator.units.attn.operands import (
    ATTN,
    CODES,
    KEY_STRIDE,
    LOADED_F32,
    LOADED_I8,
    MACS,
    MOST,
    QUERY,
    SCALES,
    SCORES,
    ask_for_rows,
    cache_rows,
    count_rows,
    head_layout,
    heads_of_cache,
    listed_rows,
    query_offset,
    row_at,
    row_bytes,
    row_lists,
    score_rows,
)
from emulator.units.vec.dense import F16, F32, I8, SIGNS, add_four, end_four, moved

f32, i32, i8 = np.float32, np.int32, np.int8


@inline
def some_scores(first: int, last: int, form: int, size: int, source: int, stride: int, rows: int, list_stride: int, query: int,
                query_scales: int, head_dim: int, group: int, kv_heads: int, first_head: int, count: int, target: int,
                score_stride: int) -> None:
    """Scores of the positions first..last of all heads that are set.

    Numbers alone, as `in_parallel` passes them.
    """
    whole, left = head_dim & -16, head_dim & 15
    scales = row_bytes(form, size, kv_heads, head_dim) - 4 * kv_heads
    for i in range(first, last, 4):
        here = min(4, last - i)
        kv, shared = first_head // group, group - first_head % group
        r0 = r1 = r2 = r3 = source
        for head in range(count):
            if head == 0 or list_stride:
                index = rows + head * list_stride
                r0, r1 = row_at(source, stride, index, i), row_at(source, stride, index, min(i + 1, last - 1))
                r2, r3 = row_at(source, stride, index, min(i + 2, last - 1)), row_at(source, stride, index, min(i + 3, last - 1))
            at = kv * head_dim * size
            if rows == 0 and (head == 0 or shared == group):
                ask_for_rows(form, r0 + at, stride, head_dim * size, scales + 4 * kv - at)
            p0, p1, p2, p3, to = r0 + at, r1 + at, r2 + at, r3 + at, target + head * score_stride + 4 * i
            if form == I8:
                sums_of_four = dots(p0, p1, p2, p3, query + head * head_dim, head_dim)
                if here == 4:
                    put_four(to, sums_of_four)
                else:
                    put_part(to, sums_of_four, here)
                finish_i8(to, here, r0, r1, r2, r3, scales + 4 * kv, load(query_scales + 4 * head, f32))
            else:
                vector = query + 4 * head * head_dim
                zero, four = spread(ZERO), (p0, p1, p2, p3)
                sums = (zero, zero, zero, zero)
                for j in range(0, whole, 16):
                    sums = add_four(form, sums, moved(four, size * j), take(vector + 4 * j, f32))
                end_four(form, sums, moved(four, size * whole), vector + 4 * whole, left, to, here)
            shared -= 1
            if shared == 0:
                kv, shared = kv + 1, group


@inline
def dots(p0: int, p1: int, p2: int, p3: int, query: int, n: int) -> Any:
    """int32 sums of the products of four times n codes and those of a query: in lanes 0 to 3.

    The dot product wants one factor unsigned: 128 is added to the cache's codes, and 128 times the sum of the query taken off.
    """
    whole, signs, zero = n & -64, spread(SIGNS), spread(i32(0))
    a = b = c = d = excess = zero
    for i in range(0, whole, 64):
        q = take(query + i, i32)
        excess = excess - dot_bytes(zero, signs, q)
        a, b = dot_bytes(a, take(p0 + i, i32) ^ signs, q), dot_bytes(b, take(p1 + i, i32) ^ signs, q)
        c, d = dot_bytes(c, take(p2 + i, i32) ^ signs, q), dot_bytes(d, take(p3 + i, i32) ^ signs, q)
    for i in range(whole, n, 16):
        q, left = convert(take_part(query + i, i8, n - i, 0), i32), n - i
        a, b = a + convert(take_part(p0 + i, i8, left, 0), i32) * q, b + convert(take_part(p1 + i, i8, left, 0), i32) * q
        c, d = c + convert(take_part(p2 + i, i8, left, 0), i32) * q, d + convert(take_part(p3 + i, i8, left, 0), i32) * q
    return fold4(a + excess, b + excess, c + excess, d + excess)


@inline
def finish_i8(to: int, here: int, r0: int, r1: int, r2: int, r3: int, scale: int, query_scale: Any) -> None:
    """Up to four int32 sums become scores: times the scale of the key, then of the query."""
    for j in range(here):
        row = r0 if j == 0 else r1 if j == 1 else r2 if j == 2 else r3
        value = f32(f32(f32(load(to + 4 * j, i32)) * load(row + scale, f32)) * query_scale)
        store(to + 4 * j, value if value == value else NAN)


@specialised
def mac(form, size, scores, keys, n, block):
    """scores = keys . query."""
    if n == 0:
        return DONE
    group, kv_heads, head_dim, first, heads = head_layout(block)
    start = query_offset(block, LOADED_I8 if form == I8 else LOADED_F32)
    if heads == 0 or n < 0 or n > MOST or start < 0:
        return PUNT
    score_stride, score_bytes = score_rows(block, n, heads)
    lists, list_reads, list_stride, how_many = row_lists(block, n, heads)
    if score_stride == 0 or how_many < 0:
        return PUNT
    last, runs = listed_rows(lists, list_stride, how_many, n)
    source, reads, stride, extent = cache_rows(block, keys, KEY_STRIDE, form, size, last)
    target, writes = writable(block, ATTN, scores, score_bytes, 4)
    if source == 0 or target == 0 or overlap(source, extent, target, score_bytes):
        return PUNT
    if how_many and overlap(lists, (how_many - 1) * list_stride + 4 * n, target, score_bytes):
        return PUNT
    query = state(block, CODES) + start * head_dim if form == I8 else state(block, QUERY) + 4 * start * head_dim
    rows = n * (heads if how_many > 1 else heads_of_cache(block))
    in_parallel(block, rows * head_dim * size, n, 16, some_scores, form, size, source, stride, lists, list_stride, query,
                state(block, SCALES) + 4 * start, head_dim, group, kv_heads, first, heads, target, score_stride)
    if how_many:
        count(block, list_reads, 4 * n * how_many)
    count_rows(block, reads, form, size, head_dim, rows, runs)
    count(block, writes, 4 * n * heads)
    count(block, SCORES, n * heads)
    count(block, MACS, n * heads * head_dim)
    return DONE


def _form(name, form, size):
    @kernel(f"attn.mac.{name}")
    def mac_form(scores, keys, n, block):
        return mac(form, size, scores, keys, n, block)


_form("f32", F32, 4)
_form("f16", F16, 2)
_form("i8",  I8,  1)
