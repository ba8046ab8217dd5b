"""Scores of a cache by row, tokens by eights and heads within them.

So a cache is read once, as it lies, and the heads that share keys find them in the first-level cache: of more tokens they would not
all stay there, where rows are a multiple of 4 KB. Sums are those of emulator/units/vec/dense.py, in the same order. `form` and
`size`, the bytes of an element, are constants where functions are called from.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from emulator.kernel import kernel
from emulator.kernel_words import DONE, PUNT, count, overlap, state, writable
from emulator.native.inlining import inline, specialised
from emulator.native.machine_code import load, store
from emulator.simd.folds import dot_bytes, fold8, put_eight, quarters
from emulator.simd.functions import NAN, ZERO, canonical
from emulator.simd.lanes import ask_for, convert, put_part, spread, take, take_part
from emulator.threads.parallel import in_parallel
from emulator.units.attn.operands import (
    AHEAD,
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
    ask_for_bytes,
    ask_for_listed,
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
from emulator.units.vec.dense import F16, F32, I8, SIGNS, add_four, moved

f32, i32, i8 = np.float32, np.int32, np.int8
MANY = 8                # heads that threads share among them, as in softmax and context: what a thread reads is in its own cache


@inline
def some_scores(first: int, last: int, form: int, size: int, source: int, stride: int, rows: int, list_stride: int, query: int,
                query_scales: int, head_dim: int, group: int, kv_heads: int, first_head: int, heads: int, n: int, target: int,
                score_stride: int) -> None:
    """Scores of the heads first..last of those that are set, or where there are few, of the positions first..last of all.

    Numbers alone, as `in_parallel` passes them.
    """
    head_0, end, i_0, last = (first, last, 0, n) if heads >= MANY else (0, heads, first, last)
    scales = row_bytes(form, size, kv_heads, head_dim) - 4 * kv_heads
    for i in range(i_0, last, 8):
        here = min(8, last - i)
        kv, shared = (first_head + head_0) // group, group - (first_head + head_0) % group
        for head in range(head_0, end):
            index, at, to = rows + head * list_stride, kv * head_dim * size, target + head * score_stride + 4 * i
            ahead = AHEAD * stride if rows == 0 and (head == head_0 or shared == group) else 0
            if rows != 0:
                ask_for_listed(source + at, stride, index, i, last, head_dim * size)
                if form == I8:
                    ask_for_listed(source + scales + 4 * kv, stride, index, i, last, 4)
            four, others = rows_of_four(source + at, stride, index, i, last), rows_of_four(source + at, stride, index, i + 4, last)
            if form == I8:
                codes = query + head * head_dim
                dots = dots_of_four(four, codes, head_dim, ahead)
                put_scores(to, fold8(dots, dots_of_four(others, codes, head_dim, ahead) if here > 4 else dots), here)
                finish_i8(to, here, source + scales + 4 * kv, stride, index, i, load(query_scales + 4 * head, f32), ahead)
            else:
                vector = query + 4 * head * head_dim
                sums = sums_of_four(form, size, four, vector, head_dim, ahead)
                more = sums_of_four(form, size, others, vector, head_dim, ahead) if here > 4 else sums
                put_scores(to, canonical(fold8(sums, more)), here)
            shared -= 1
            if shared == 0:
                kv, shared = kv + 1, group


@inline
def rows_of_four(source: int, stride: int, rows: int, i: int, last: int) -> tuple[int, int, int, int]:
    """Host addresses of the rows of positions i to i + 3, of the last one for those that are none."""
    end = last - 1
    return (row_at(source, stride, rows, min(i, end)), row_at(source, stride, rows, min(i + 1, end)),
            row_at(source, stride, rows, min(i + 2, end)), row_at(source, stride, rows, min(i + 3, end)))


@inline
def put_scores(to: int, scores: Any, here: int) -> None:
    """Store the first 1 to 8 lanes."""
    if here == 8:
        put_eight(to, scores)
    else:
        put_part(to, scores, here)


@inline
def ask_for_four(keys: Any, ahead: int, size: int) -> None:
    """Have `size` bytes come from memory, `ahead` bytes behind each of four addresses."""
    for p in keys:
        ask_for_bytes(p + ahead, size)


@inline
def sums_of_four(form: int, size: int, keys: Any, query: int, head_dim: int, ahead: int) -> Any:
    """The products of four keys and a query: `quarters` of their sums.

    ahead: bytes from a key to the one that is asked of memory meanwhile; 0: none.
    """
    spans, whole, left, zero = head_dim & -64, head_dim & -16, head_dim & 15, spread(ZERO)
    sums = (zero, zero, zero, zero)
    for i in range(0, spans, 64):
        w = moved(keys, size * i)
        if ahead:
            ask_for_four(w, ahead, 64 * size)
        for j in range(0, 64, 16):
            sums = add_four(form, sums, moved(w, size * j), take(query + 4 * (i + j), f32))
    for i in range(spans, whole, 16):
        w = moved(keys, size * i)
        if ahead:
            ask_for_four(w, ahead, 1)
        sums = add_four(form, sums, w, take(query + 4 * i, f32))
    if left:
        sums = add_four(form, sums, moved(keys, size * whole), take_part(query + 4 * whole, f32, left, ZERO), left)
    a, b, c, d = sums
    return quarters(a, b, c, d)


@inline
def dots_of_four(keys: Any, query: int, n: int, ahead: int) -> Any:
    """As sums_of_four of n codes, in int32.

    The dot product wants one factor unsigned: 128 is added to the cache's codes, and 128 times the sum of the query taken off.
    """
    whole, signs, zero = n & -64, spread(SIGNS), spread(i32(0))
    a = b = c = d = excess = zero
    for i in range(0, whole, 64):
        p0, p1, p2, p3 = moved(keys, i)
        if ahead:
            ask_for_four(moved(keys, i), ahead, 64)
        q = take(query + i, i32)
        excess = excess - dot_bytes(zero, signs, q)
        a, b = dot_bytes(a, take(p0, i32) ^ signs, q), dot_bytes(b, take(p1, i32) ^ signs, q)
        c, d = dot_bytes(c, take(p2, i32) ^ signs, q), dot_bytes(d, take(p3, i32) ^ signs, q)
    for i in range(whole, n, 16):
        p0, p1, p2, p3 = moved(keys, i)
        q, left = convert(take_part(query + i, i8, n - i, 0), i32), n - i
        a, b = a + convert(take_part(p0, i8, left, 0), i32) * q, b + convert(take_part(p1, i8, left, 0), i32) * q
        c, d = c + convert(take_part(p2, i8, left, 0), i32) * q, d + convert(take_part(p3, i8, left, 0), i32) * q
    return quarters(a + excess, b + excess, c + excess, d + excess)


@inline
def finish_i8(to: int, here: int, scales: int, stride: int, rows: int, i: int, query_scale: Any, ahead: int) -> None:
    """Up to eight int32 sums become scores: times the scale of the key, then of the query."""
    for j in range(here):
        scale = row_at(scales, stride, rows, i + j)
        if ahead:
            ask_for(scale + ahead)
        value = f32(f32(f32(load(to + 4 * j, i32)) * load(scale, f32)) * query_scale)
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
    parts, grain = (heads, 1) if heads >= MANY else (n, 16)
    in_parallel(block, rows * head_dim * size, parts, grain, some_scores, form, size, source, stride, lists, list_stride, query,
                state(block, SCALES) + 4 * start, head_dim, group, kv_heads, first, heads, n, target, score_stride)
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
