"""Transposed keys: a row for each channel. Scores, a token in each SIMD lane, and the writing of a token's column."""

from __future__ import annotations

from typing import Any

import numpy as np

from emulator.attention import (
    ATTN,
    CODES,
    KEY_STRIDE,
    LOADED_F32,
    LOADED_I8,
    MACS,
    MOST,
    QUERY,
    ROW_LIST,
    SCALES,
    SCORES,
    count_rows,
    heads_of_cache,
    model,
    query_offset,
    score_rows,
)
from emulator.context import DONE, LARGE, PUNT, count, csr, inline, leaf, overlap, readable, slot, state, writable
from emulator.dense import F16, F32, I8, some_weights, weights
from emulator.folds import lane_0
from emulator.kernels import kernel
from emulator.lanes import convert, put, put_part, spread, take_up_to
from emulator.machine_code import load, store
from emulator.recipes import NAN, ONE, ZERO, canonical, f16_bits
from emulator.threads import in_parallel
from emulator.units.attn.query import C127, codes_of, largest_magnitude, step_of

f32, i32, i8 = np.float32, np.int32, np.int8

TRANSPOSED = slot("attn.transposed")


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


@inline
def xmac(form, size, scores, keys, n, block):
    """scores = keys . query, of transposed keys."""
    if n == 0:
        return DONE
    group, kv_heads, head_dim, first, heads = model(block)
    start = query_offset(block, LOADED_I8 if form == I8 else LOADED_F32)
    if heads == 0 or n < 0 or n > MOST or start < 0 or csr(block, ROW_LIST):
        return PUNT
    score_stride, score_bytes = score_rows(block, n, heads)
    stride, extent = channels(block, form, size, kv_heads, head_dim, n)
    if score_stride == 0 or stride == 0:
        return PUNT
    source, reads = readable(block, ATTN, keys, extent, 4 if form == I8 else size)
    target, writes = writable(block, ATTN, scores, score_bytes, 4)
    if source == 0 or target == 0 or overlap(source, extent, target, score_bytes):
        return PUNT
    query = state(block, CODES) + start * head_dim if form == I8 else state(block, QUERY) + 4 * start * head_dim
    rows = n * heads_of_cache(block)
    in_parallel(block, rows * head_dim * size, (n + 15) >> 4, 4, some_scores_by_channel, form, size, source, stride, query,
                state(block, SCALES) + 4 * start, head_dim, group, kv_heads, first, heads, target, score_stride, n)
    count_rows(block, reads, form, size, head_dim, rows)
    count(block, writes, 4 * n * heads)
    count(block, SCORES, n * heads)
    count(block, MACS, n * heads * head_dim)
    return DONE


@leaf
def channels(block, form, size, kv_heads, head_dim, tokens):
    """(bytes from channel to channel, bytes up to the end of the last one's tokens) of transposed keys; 0, 0: punt."""
    stride = csr(block, KEY_STRIDE)
    if stride < tokens * size or stride > LARGE >> 20 or stride & ((4 if form == I8 else size) - 1):
        return 0, 0
    if form == I8:
        return stride, (kv_heads * head_dim + 4 * (kv_heads - 1)) * stride + 4 * tokens
    return stride, (kv_heads * head_dim - 1) * stride + size * tokens


@inline
def transpose(form, size, keys, k, position, block):
    """A token's key as a column of transposed keys."""
    group, kv_heads, head_dim, first, _ = model(block)
    if kv_heads == 0 or position < 0 or position > MOST:
        return PUNT
    stride, extent = channels(block, form, size, kv_heads, head_dim, position + 1)
    if stride == 0:
        return PUNT
    heads = heads_of_cache(block)
    n = heads * head_dim
    source, reads = readable(block, ATTN, k, 4 * n, 4)
    target, writes = writable(block, ATTN, keys, extent, 4 if form == I8 else size)
    if source == 0 or target == 0 or overlap(source, 4 * n, target, extent):
        return PUNT
    kv = first // group
    column, one = target + kv * head_dim * stride + size * position, spread(ONE)
    for head in range(heads):
        x, to = source + 4 * head * head_dim, column + head * head_dim * stride
        if form == I8:
            a = spread(largest_magnitude(x, one, head_dim))
            inverse = C127 / a
            for c in range(head_dim):
                store(to + c * stride, i8(lane_0(codes_of(spread(load(x + 4 * c, f32)), inverse))))
            store(target + (kv_heads * head_dim + 4 * (kv + head)) * stride + 4 * position, step_of(a, inverse))
        elif form == F16:
            for c in range(head_dim):
                store(to + c * stride, lane_0(f16_bits(spread(load(x + 4 * c, f32)))))
        else:
            for c in range(head_dim):
                value = load(x + 4 * c, f32)
                store(to + c * stride, value if value == value else NAN)
    count(block, reads, 4 * n)
    count(block, writes, n * size + (4 * heads if form == I8 else 0))
    count(block, TRANSPOSED, n)
    return DONE


def _form(name, form, size):
    @kernel(f"attn.xmac.{name}")
    def xmac_form(scores, keys, n, _, block):
        return xmac(form, size, scores, keys, n, block)

    @kernel(f"attn.xpose.{name}")
    def xpose_form(keys, k, position, _, block):
        return transpose(form, size, keys, k, position, block)


_form("f32", F32, 4)
_form("f16", F16, 2)
_form("i8",  I8,  1)
