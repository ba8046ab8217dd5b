"""Transposed keys: a row for each channel. Scores, a token in each SIMD lane, and the writing of a token's column."""

from __future__ import annotations

from typing import Any

import numpy as np

from emulator.kernel import kernel
from emulator.kernel_words import DONE, LARGE, PUNT, count, csr, overlap, readable, slot, state, writable
from emulator.native.inlining import inline, specialised
from emulator.native.machine_code import load, store
from emulator.simd.folds import dot_bytes, lane_0, words_of
from emulator.simd.functions import NAN, ONE, ZERO, canonical, f16_bits
from emulator.simd.lanes import convert, put, put_up_to, spread, take, take_part, take_up_to
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
    ROW_LIST,
    SCALES,
    SCORES,
    count_rows,
    head_layout,
    heads_of_cache,
    query_offset,
    score_rows,
)
from emulator.units.attn.query import C127, codes_of, largest_magnitude, step_of
from emulator.units.vec.dense import F16, F32, I8, SIGNS, weights

f32, i32, i8 = np.float32, np.int32, np.int8
TRANSPOSED = slot("attn.transposed")


# ------------------------------------------------------------------------------------------------ 64 tokens: four times 16


@inline
def plus(a: Any, b: Any) -> Any:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]


@inline
def lane_of_64(form: int, size: int, keys: int, stride: int, query: int, first: int, head_dim: int) -> Any:
    """The machine's lane `first` of the sums of each token: channels first, first + 16, ... in rising order."""
    a = b = c = d = spread(ZERO)
    for channel in range(first, head_dim, 16):
        p, q = keys + channel * stride, spread(load(query + 4 * channel, f32))
        a, b = a + weights(form, p) * q, b + weights(form, p + 16 * size) * q
        c, d = c + weights(form, p + 32 * size) * q, d + weights(form, p + 48 * size) * q
    return a, b, c, d


@inline
def lanes_of_64(form: int, size: int, keys: int, stride: int, query: int, first: int, head_dim: int) -> Any:
    """What a fold makes of the lanes first, + 8, + 4, + 12."""
    a = plus(lane_of_64(form, size, keys, stride, query, first, head_dim),
             lane_of_64(form, size, keys, stride, query, first + 8, head_dim))
    return plus(a, plus(lane_of_64(form, size, keys, stride, query, first + 4, head_dim),
                        lane_of_64(form, size, keys, stride, query, first + 12, head_dim)))


@inline
def sums_of_64(form: int, size: int, keys: int, stride: int, query: int, head_dim: int) -> Any:
    """The sums of each token, folded 16 -> 8 -> 4 -> 2 -> 1: 0 with 8, 4, 12; 2 with 10, 6, 14; and the odd ones."""
    a = plus(lanes_of_64(form, size, keys, stride, query, 0, head_dim), lanes_of_64(form, size, keys, stride, query, 2, head_dim))
    return plus(a, plus(lanes_of_64(form, size, keys, stride, query, 1, head_dim),
                        lanes_of_64(form, size, keys, stride, query, 3, head_dim)))


@inline
def integers_of_64(keys: int, stride: int, query: int, head_dim: int) -> Any:
    """int32 sums of each token, four channels at a time. One factor is wanted unsigned, as in emulator/units/vec/dense.py."""
    a = b = c = d = excess = spread(i32(0))
    fours, signs = head_dim & -4, spread(SIGNS)
    for channel in range(0, fours, 4):
        p, q = keys + channel * stride, spread(load(query + channel, i32))
        excess = excess - dot_bytes(spread(i32(0)), signs, q)
        a, b = dot_bytes(a, four_codes(p, stride) ^ signs, q), dot_bytes(b, four_codes(p + 16, stride) ^ signs, q)
        c, d = dot_bytes(c, four_codes(p + 32, stride) ^ signs, q), dot_bytes(d, four_codes(p + 48, stride) ^ signs, q)
    for channel in range(fours, head_dim):
        p, q = keys + channel * stride, spread(i32(load(query + channel, i8)))
        a, b = a + convert(take(p, i8), i32) * q, b + convert(take(p + 16, i8), i32) * q
        c, d = c + convert(take(p + 32, i8), i32) * q, d + convert(take(p + 48, i8), i32) * q
    return a + excess, b + excess, c + excess, d + excess


@inline
def four_codes(p: int, stride: int) -> Any:
    """Codes of four channels of 16 tokens, as int32 lanes."""
    return words_of(take(p, i8), take(p + stride, i8), take(p + 2 * stride, i8), take(p + 3 * stride, i8))


# ------------------------------------------------------------------------------------------------ 16 tokens, or fewer


@inline
def lane(form: int, size: int, keys: int, stride: int, query: int, first: int, head_dim: int, left: int) -> Any:
    """As lane_of_64."""
    total = spread(ZERO)
    for c in range(first, head_dim, 16):
        total = total + weights(form, keys + c * stride, left) * spread(load(query + 4 * c, f32))
    return total


@inline
def lanes(form: int, size: int, keys: int, stride: int, query: int, first: int, head_dim: int, left: int) -> Any:
    """As lanes_of_64."""
    a = lane(form, size, keys, stride, query, first, head_dim, left)
    a = a + lane(form, size, keys, stride, query, first + 8, head_dim, left)
    b = lane(form, size, keys, stride, query, first + 4, head_dim, left)
    return a + (b + lane(form, size, keys, stride, query, first + 12, head_dim, left))


@inline
def sums(form: int, size: int, keys: int, stride: int, query: int, head_dim: int, left: int) -> Any:
    """As sums_of_64."""
    a = lanes(form, size, keys, stride, query, 0, head_dim, left) + lanes(form, size, keys, stride, query, 2, head_dim, left)
    b = lanes(form, size, keys, stride, query, 1, head_dim, left) + lanes(form, size, keys, stride, query, 3, head_dim, left)
    return a + b


@inline
def integers(keys: int, stride: int, query: int, head_dim: int, left: int) -> Any:
    """As integers_of_64."""
    total = spread(i32(0))
    for c in range(head_dim):
        total = total + convert(take_part(keys + c * stride, i8, left, 0), i32) * spread(i32(load(query + c, i8)))
    return total


@inline
def put_scaled(target: int, total: Any, scales: int, scale: Any, left: int) -> None:
    """Scores of 16 tokens, or as many as are left: int32 sums times the scales of the keys, then of the query."""
    put_up_to(target, canonical(convert(total, f32) * take_up_to(scales, f32, left, ZERO) * scale), left)


@inline
def some_scores_by_channel(first: int, last: int, form: int, size: int, source: int, stride: int, query: int, query_scales: int,
                           head_dim: int, group: int, kv_heads: int, first_head: int, count: int, target: int,
                           score_stride: int, n: int) -> None:
    """Scores of the tokens 16 first..16 last, or as many as there are, of all heads that are set: a token in each SIMD lane, and
    the machine's lanes one after the other.

    Numbers alone, as `in_parallel` passes them.
    """
    i, end = 16 * first, min(16 * last, n)
    while i < end:
        whole = end - i >= 64
        for head in range(count):
            kv, scale = (first_head + head) // group, spread(load(query_scales + 4 * head, f32))
            keys, to = source + kv * head_dim * stride + size * i, target + head * score_stride + 4 * i
            q = query + head * head_dim if form == I8 else query + 4 * head * head_dim
            scales = source + (kv_heads * head_dim + 4 * kv) * stride + 4 * i
            if whole and form == I8:
                w = integers_of_64(keys, stride, q, head_dim)
                put_scaled(to, w[0], scales, scale, 16)
                put_scaled(to + 64, w[1], scales + 64, scale, 16)
                put_scaled(to + 128, w[2], scales + 128, scale, 16)
                put_scaled(to + 192, w[3], scales + 192, scale, 16)
            elif whole:
                v = sums_of_64(form, size, keys, stride, q, head_dim)
                put(to, canonical(v[0]))
                put(to + 64, canonical(v[1]))
                put(to + 128, canonical(v[2]))
                put(to + 192, canonical(v[3]))
            elif form == I8:
                put_scaled(to, integers(keys, stride, q, head_dim, end - i), scales, scale, end - i)
            else:
                put_up_to(to, canonical(sums(form, size, keys, stride, q, head_dim, end - i)), end - i)
        i += 64 if whole else 16


# ------------------------------------------------------------------------------------------------ instructions


@specialised
def xmac(form, size, scores, keys, n, block):
    """scores = keys . query, of transposed keys."""
    if n == 0:
        return DONE
    group, kv_heads, head_dim, first, heads = head_layout(block)
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
    count_rows(block, reads, form, size, head_dim, rows, 1)
    count(block, writes, 4 * n * heads)
    count(block, SCORES, n * heads)
    count(block, MACS, n * heads * head_dim)
    return DONE


@inline
def channels(block, form, size, kv_heads, head_dim, tokens):
    """(bytes from channel to channel, bytes up to the end of the last one's tokens) of transposed keys; 0, 0: punt."""
    stride = csr(block, KEY_STRIDE)
    if stride < tokens * size or stride > LARGE >> 20 or stride & ((4 if form == I8 else size) - 1):
        return 0, 0
    if form == I8:
        return stride, (kv_heads * head_dim + 4 * (kv_heads - 1)) * stride + 4 * tokens
    return stride, (kv_heads * head_dim - 1) * stride + size * tokens


@specialised
def transpose(form, size, keys, k, position, block):
    """A token's key as a column of transposed keys."""
    group, kv_heads, head_dim, first, _ = head_layout(block)
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
    def xmac_form(scores, keys, n, block):
        return xmac(form, size, scores, keys, n, block)

    @kernel(f"attn.xpose.{name}")
    def xpose_form(keys, k, position, block):
        return transpose(form, size, keys, k, position, block)


_form("f32", F32, 4)
_form("f16", F16, 2)
_form("i8",  I8,  1)
