"""Attention over a key-value cache: scores = K q and context = p V, a block of tokens at a time for all heads.

Tokens go by fours and heads within them, so that a cache is read once, as it lies, and the heads that share keys and values find
them in the first-level cache. Sums are those of emulator/dense.py, in the same order. `form` and `size`, the bytes of an element,
are constants where these functions are called from.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from emulator.context import (
    LARGE,
    PORT,
    STATE_INDEX,
    csr,
    csr_number,
    leaf,
    readable,
    state,
)
from emulator.dense import F16, F32, I8, SIGNS, some_weights, weights
from emulator.folds import dot_bytes, fold4
from emulator.lanes import convert, put, put_part, spread, take, take_part, take_up_to
from emulator.machine_code import load, store
from emulator.recipes import NAN, ZERO, canonical

f32, i32, u32, i8, i64 = np.float32, np.int32, np.uint32, np.int8, np.int64
ATTN = PORT["attn"]
MODEL, LOADED, QUERY, CODES, SCALES = (STATE_INDEX[f"attn.{name}"] for name in ("model", "loaded", "query", "codes", "scales"))
KEY_STRIDE, VALUE_STRIDE, SCORE_STRIDE, ROW_LIST, LIST_STRIDE = (csr_number(f"attn.{name}") for name in (
    "key_stride", "value_stride", "score_stride", "row_list", "list_stride"))
MOST = 1 << 28                  # tokens: more are left to the meaning
__all__ = ["F16", "F32", "I8"]  # forms of a cache


# ------------------------------------------------------------------------------------------------ operands


@leaf
def model(block: int) -> tuple[int, int, int, int, int]:
    """(heads that share a head of the cache, heads of the cache, channels of a head, first head set, heads set); 0s: none."""
    place = state(block, MODEL)
    heads, kv_heads, head_dim = i64(load(place, u32)), i64(load(place + 4, u32)), i64(load(place + 8, u32))
    if heads == 0:
        return 0, 0, 0, 0, 0
    return heads // kv_heads, kv_heads, head_dim, i64(load(place + 12, u32)), i64(load(place + 16, u32))


@leaf
def query_offset(block: int, wanted: int) -> int:
    """Number of the first of the heads set in the query buffer, -1 if the buffer does not hold them in the form that is wanted."""
    _, _, head_dim, first, count = model(block)
    place = state(block, LOADED)
    start, held = i64(load(place + 4, u32)), i64(load(place + 8, u32))
    if load(place, u32) != wanted or i64(load(place + 12, u32)) != head_dim or first < start or first + count > start + held:
        return -1
    return first - start


@leaf
def score_rows(block: int, n: int, count: int) -> tuple[int, int]:
    """(bytes from one head's scores to the next, bytes of all); 0, 0: punt."""
    stride = csr(block, SCORE_STRIDE)
    if stride == 0:
        stride = 4 * n
    if stride < 4 * n or stride > LARGE >> 8 or stride & 3:
        return 0, 0
    return stride, (count - 1) * stride + 4 * n


@leaf
def row_lists(block: int, n: int, count: int) -> tuple[int, int, int, int]:
    """(host address of the first list of rows, counter slot, bytes from a head's list to the next one's, lists).

    No lists: address 0, and rows are 0..n-1. Lists -1: punt.
    """
    base, stride = csr(block, ROW_LIST), csr(block, LIST_STRIDE)
    if base == 0:
        return 0, 0, 0, 0
    lists = 1 if stride == 0 else count
    if stride < 0 or stride > LARGE >> 8 or stride & 3:
        return 0, 0, 0, -1
    place, reads = readable(block, ATTN, base, (lists - 1) * stride + 4 * n, 4)
    return place, reads, stride, lists if place else -1


@leaf
def largest_row(place: int, stride: int, lists: int, n: int) -> int:
    """The largest row of some lists."""
    most = 0
    for index in range(lists):
        for i in range(n):
            most = max(most, i64(load(place + index * stride + 4 * i, u32)))
    return most


@leaf
def row_bytes(form: int, size: int, kv_heads: int, head_dim: int) -> int:
    """Bytes of a row of the cache; of int8 with the scales behind the codes."""
    codes = kv_heads * head_dim * size
    return ((codes + 3) & -4) + 4 * kv_heads if form == I8 else codes


@leaf
def cache_rows(block: int, base: int, setting: int, form: int, size: int, last: int) -> tuple[int, int, int, int]:
    """(host address, counter slot, bytes from row to row, bytes up to the end of row `last`) of a cache; address 0: punt."""
    _, kv_heads, head_dim, _, _ = model(block)
    packed, step = row_bytes(form, size, kv_heads, head_dim), 4 if form == I8 else size
    stride = csr(block, setting)
    if stride == 0:
        stride = packed
    if stride < packed or stride > LARGE or stride & (step - 1) or last >= LARGE // stride:
        return 0, 0, 0, 0
    extent = last * stride + packed
    place, reads = readable(block, ATTN, base, extent, step)
    return place, reads, stride, extent


@leaf
def row_at(source: int, stride: int, rows: int, i: int) -> int:
    """Host address of the row of position i."""
    return source + (i if rows == 0 else i64(load(rows + 4 * i, u32))) * stride


# ------------------------------------------------------------------------------------------------ scores


@leaf
def some_scores(first: int, last: int, form: int, size: int, source: int, stride: int, rows: int, list_stride: int, query: int,
                query_scales: int, head_dim: int, group: int, kv_heads: int, first_head: int, count: int, target: int,
                score_stride: int) -> None:
    """Scores of the positions first..last of all heads that are set."""
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
            p0, p1, p2, p3, to = r0 + at, r1 + at, r2 + at, r3 + at, target + head * score_stride + 4 * i
            if form == I8:
                put_part(to, dots(p0, p1, p2, p3, query + head * head_dim, head_dim), here)
                finish_i8(to, here, r0, r1, r2, r3, scales + 4 * kv, load(query_scales + 4 * head, f32))
            else:
                vector = query + 4 * head * head_dim
                a = b = c = d = spread(ZERO)
                for j in range(0, whole, 16):
                    v = take(vector + 4 * j, f32)
                    a = a + weights(form, p0 + size * j) * v
                    b = b + weights(form, p1 + size * j) * v
                    c = c + weights(form, p2 + size * j) * v
                    d = d + weights(form, p3 + size * j) * v
                if left:
                    v = take_part(vector + 4 * whole, f32, left, ZERO)
                    a = a + some_weights(form, p0 + size * whole, left) * v
                    b = b + some_weights(form, p1 + size * whole, left) * v
                    c = c + some_weights(form, p2 + size * whole, left) * v
                    d = d + some_weights(form, p3 + size * whole, left) * v
                put_part(to, canonical(fold4(a, b, c, d)), here)
            shared -= 1
            if shared == 0:
                kv, shared = kv + 1, group


@leaf
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


@leaf
def finish_i8(to: int, here: int, r0: int, r1: int, r2: int, r3: int, scale: int, query_scale: Any) -> None:
    """Up to four int32 sums become scores: times the scale of the key, then of the query."""
    for j in range(here):
        row = r0 if j == 0 else r1 if j == 1 else r2 if j == 2 else r3
        value = f32(f32(f32(load(to + 4 * j, i32)) * load(row + scale, f32)) * query_scale)
        store(to + 4 * j, value if value == value else NAN)


# ------------------------------------------------------------------------------------------------ scores of transposed keys


@leaf
def lane(form: int, size: int, keys: int, stride: int, query: int, first: int, head_dim: int, left: int) -> Any:
    """Lane `first` of the sums of 16 tokens: channels first, first + 16, ... in rising order."""
    total = spread(ZERO)
    for c in range(first, head_dim, 16):
        p = keys + c * stride
        total = total + (weights(form, p) if left >= 16 else some_weights(form, p, left)) * spread(load(query + 4 * c, f32))
    return total


@leaf
def four_lanes(form: int, size: int, keys: int, stride: int, query: int, first: int, head_dim: int, left: int) -> Any:
    """What a fold makes of the lanes first, + 8, + 4, + 12."""
    a = lane(form, size, keys, stride, query, first, head_dim, left)
    a = a + lane(form, size, keys, stride, query, first + 8, head_dim, left)
    b = lane(form, size, keys, stride, query, first + 4, head_dim, left)
    return a + (b + lane(form, size, keys, stride, query, first + 12, head_dim, left))


@leaf
def some_scores_by_channel(first: int, last: int, form: int, size: int, source: int, stride: int, query: int, query_scales: int,
                           head_dim: int, group: int, kv_heads: int, first_head: int, count: int, target: int,
                           score_stride: int, n: int) -> None:
    """As some_scores for the tokens 16 first..16 last, or as many as there are, of transposed keys: a token in each SIMD lane,
    and the machine's lanes one after the other."""
    for i in range(16 * first, min(16 * last, n), 16):
        left = n - i
        for head in range(count):
            kv = (first_head + head) // group
            keys, to = source + kv * head_dim * stride + size * i, target + head * score_stride + 4 * i
            if form == I8:
                sums = spread(i32(0))
                for c in range(head_dim):
                    codes = convert(take_up_to(keys + c * stride, i8, left, 0), i32)
                    sums = sums + codes * spread(i32(load(query + head * head_dim + c, i8)))
                scales = take_up_to(source + (kv_heads * head_dim + 4 * kv) * stride + 4 * i, f32, left, ZERO)
                v = convert(sums, f32) * scales * spread(load(query_scales + 4 * head, f32))
            else:
                q = query + 4 * head * head_dim
                a = four_lanes(form, size, keys, stride, q, 0, head_dim, left)
                a = a + four_lanes(form, size, keys, stride, q, 2, head_dim, left)
                b = four_lanes(form, size, keys, stride, q, 1, head_dim, left)
                v = a + (b + four_lanes(form, size, keys, stride, q, 3, head_dim, left))
            if left >= 16:
                put(to, canonical(v))
            else:
                put_part(to, canonical(v), left)


# ------------------------------------------------------------------------------------------------ context


@leaf
def factor(form: int, weight: Any, row: int, scale: int) -> Any:
    """A probability, times the scale of its value if that is int8, in all lanes."""
    return spread(f32(weight * load(row + scale, f32)) if form == I8 else weight)


@leaf
def some_context(first: int, last: int, form: int, size: int, source: int, stride: int, rows: int, list_stride: int,
                 probabilities: int, score_stride: int, head_dim: int, group: int, kv_heads: int, first_head: int, n: int,
                 target: int) -> None:
    """Context of the heads first..last of those that are set, four tokens at a time, added to what is there."""
    whole, left = head_dim & -16, head_dim & 15
    scales = row_bytes(form, size, kv_heads, head_dim) - 4 * kv_heads
    for i in range(0, n, 4):
        here = min(4, n - i)
        kv, shared = (first_head + first) // group, group - (first_head + first) % group
        for head in range(first, last):
            index, p, to = rows + head * list_stride, probabilities + head * score_stride + 4 * i, target + 4 * head * head_dim
            at, scale = kv * head_dim * size, scales + 4 * kv
            if here == 4:
                r0, r1 = row_at(source, stride, index, i), row_at(source, stride, index, i + 1)
                r2, r3 = row_at(source, stride, index, i + 2), row_at(source, stride, index, i + 3)
                f0, f1 = factor(form, load(p, f32), r0, scale), factor(form, load(p + 4, f32), r1, scale)
                f2, f3 = factor(form, load(p + 8, f32), r2, scale), factor(form, load(p + 12, f32), r3, scale)
                r0, r1, r2, r3 = r0 + at, r1 + at, r2 + at, r3 + at
                for j in range(0, whole, 16):
                    v = take(to + 4 * j, f32) + f0 * weights(form, r0 + size * j)
                    v = v + f1 * weights(form, r1 + size * j)
                    v = v + f2 * weights(form, r2 + size * j)
                    v = v + f3 * weights(form, r3 + size * j)
                    put(to + 4 * j, canonical(v))
                if left:
                    v = take_part(to + 4 * whole, f32, left, ZERO) + f0 * some_weights(form, r0 + size * whole, left)
                    v = v + f1 * some_weights(form, r1 + size * whole, left)
                    v = v + f2 * some_weights(form, r2 + size * whole, left)
                    v = v + f3 * some_weights(form, r3 + size * whole, left)
                    put_part(to + 4 * whole, canonical(v), left)
            else:
                for t in range(here):
                    row = row_at(source, stride, index, i + t)
                    f = factor(form, load(p + 4 * t, f32), row, scale)
                    for j in range(0, head_dim, 16):
                        rest = head_dim - j
                        v = take_part(to + 4 * j, f32, rest, ZERO) + f * some_weights(form, row + at + size * j, rest)
                        put_part(to + 4 * j, canonical(v), rest)
            shared -= 1
            if shared == 0:
                kv, shared = kv + 1, group
