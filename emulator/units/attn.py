"""attn: the kernels by instruction. What they do stands in emulator/attention.py (scores, context) and attention_softmax.py."""

from __future__ import annotations

import numpy as np

from emulator.attention import (
    ATTN,
    CODES,
    F16,
    F32,
    I8,
    KEY_STRIDE,
    LOADED,
    MODEL,
    MOST,
    QUERY,
    ROW_LIST,
    SCALES,
    VALUE_STRIDE,
    cache_rows,
    largest_row,
    model,
    query_offset,
    row_lists,
    score_rows,
    some_context,
    some_scores,
    some_scores_by_channel,
)
from emulator.attention_softmax import EXP, MVGB, MVSB, SFM, left_out, masks, some_heads
from emulator.context import (
    DONE,
    LARGE,
    PUNT,
    count,
    csr,
    csr_number,
    inline,
    leaf,
    overlap,
    readable,
    slot,
    state,
    state_length,
    writable,
)
from emulator.elementwise import apart
from emulator.folds import any_lane, fold_largest, lane_0
from emulator.kernels import kernel
from emulator.lanes import convert, first_lanes, magnitude, put_up_to, round_even, same_bits, spread, take_up_to, where
from emulator.machine_code import clear_bytes, load, store
from emulator.recipes import INFINITY, NAN, ONE, ZERO, canonical, f16_bits, is_nan
from emulator.threads import in_parallel

f32, i32, u32, i8 = np.float32, np.int32, np.uint32, np.int8
MACS, QUERIES, SCORES, PROBABILITIES, ROWS, CACHE_BYTES = (slot(f"attn.{name}") for name in (
    "macs", "queries", "scores", "probabilities", "rows", "cache_bytes"))
ELEMENTS, EXPONENTIALS, MASKED, TRANSPOSED = (slot(f"attn.{name}") for name in ("elements", "exponentials", "masked", "transposed"))
SCALE = csr_number("attn.scale")
LOADED_F32, LOADED_I8 = 1, 2
C127 = f32(127)


# ------------------------------------------------------------------------------------------------ model and heads


@kernel("attn.setm")
def attn_setm(heads, kv_heads, head_dim, _, block):
    if not 1 <= heads <= state_length(block, SCALES) or not 1 <= kv_heads <= heads or heads % kv_heads:
        return PUNT
    if not 1 <= head_dim <= state_length(block, QUERY):
        return PUNT
    place = state(block, MODEL)
    store(place, u32(heads))
    store(place + 4, u32(kv_heads))
    store(place + 8, u32(head_dim))
    store(place + 12, u32(0))
    store(place + 16, u32(heads))
    clear_bytes(state(block, LOADED), 16)
    return DONE


@kernel("attn.seth")
def attn_seth(first, how_many, _2, _3, block):
    place = state(block, MODEL)
    heads = np.int64(load(place, u32))
    if not 1 <= how_many <= heads or not 0 <= first <= heads - how_many:
        return PUNT
    store(place + 12, u32(first))
    store(place + 16, u32(how_many))
    return DONE


# ------------------------------------------------------------------------------------------------ query buffer


@leaf
def largest_magnitude(x, factor, n):
    """Largest |x[i] * factor|. NaN if there is one."""
    best = spread(ZERO)
    nans = is_nan(best)
    for i in range(0, n, 16):
        v = magnitude(take_up_to(x + 4 * i, f32, n - i, ZERO) * factor)
        v = v if n - i >= 16 else where(first_lanes(n - i), v, ZERO)
        best, nans = where(v > best, v, best), nans | is_nan(v)
    return NAN if any_lane(nans) else fold_largest(best)


@leaf
def codes_of(x, inverse):
    """int8 codes, as int32."""
    product = round_even(x * inverse)
    return convert(where(magnitude(product) < INFINITY, product, ZERO), i32)


@leaf
def step_of(a, inverse):
    """The scale of codes whose largest magnitude is a."""
    return lane_0(where(inverse == INFINITY, ZERO, canonical(a / C127)))


@leaf
def to_query_buffer(form, q, block):
    """WR_GB: the queries of the heads set, times attn.scale, as f32 or int8."""
    _, _, head_dim, first, heads = model(block)
    n = heads * head_dim
    if n == 0 or n > state_length(block, QUERY):
        return PUNT
    source, reads = readable(block, ATTN, q, 4 * n, 4)
    if source == 0:
        return PUNT
    factor = spread(same_bits(i32(csr(block, SCALE)), f32))
    if form == LOADED_F32:
        target = state(block, QUERY)
        for i in range(0, n, 16):
            put_up_to(target + 4 * i, canonical(take_up_to(source + 4 * i, f32, n - i, ZERO) * factor), n - i)
    else:
        target, scales = state(block, CODES), state(block, SCALES)
        for head in range(heads):
            x, to = source + 4 * head * head_dim, target + head * head_dim
            a = spread(largest_magnitude(x, factor, head_dim))
            inverse = C127 / a
            for i in range(0, head_dim, 16):
                codes = codes_of(take_up_to(x + 4 * i, f32, head_dim - i, ZERO) * factor, inverse)
                put_up_to(to + i, convert(codes, i8), head_dim - i)
            store(scales + 4 * head, step_of(a, inverse))
    place = state(block, LOADED)
    store(place, u32(form))
    store(place + 4, u32(first))
    store(place + 8, u32(heads))
    store(place + 12, u32(head_dim))
    count(block, reads, 4 * n)
    count(block, QUERIES, n)
    return DONE


@kernel("attn.wrgb.f32")
def attn_wrgb_f32(q, _1, _2, _3, block):
    return to_query_buffer(LOADED_F32, q, block)


@kernel("attn.wrgb.i8")
def attn_wrgb_i8(q, _1, _2, _3, block):
    return to_query_buffer(LOADED_I8, q, block)


# ------------------------------------------------------------------------------------------------ scores


@leaf
def heads_of_cache(block):
    """How many heads of the cache the heads set attend to."""
    group, _, _, first, heads = model(block)
    return (first + heads - 1) // group - first // group + 1


@leaf
def count_rows(block, reads, form, size, head_dim, rows):
    """Keys or values read, of one token and one head of the cache each."""
    read = rows * (head_dim * size + (4 if form == I8 else 0))
    count(block, reads, read)
    count(block, ROWS, rows)
    count(block, CACHE_BYTES, read)


@inline
def mac(form, size, scores, keys, n, block):
    """scores = keys . query."""
    if n == 0:
        return DONE
    group, kv_heads, head_dim, first, heads = model(block)
    start = query_offset(block, LOADED_I8 if form == I8 else LOADED_F32)
    if heads == 0 or n < 0 or n > MOST or start < 0:
        return PUNT
    score_stride, score_bytes = score_rows(block, n, heads)
    lists, list_reads, list_stride, how_many = row_lists(block, n, heads)
    if score_stride == 0 or how_many < 0:
        return PUNT
    last = largest_row(lists, list_stride, how_many, n) if how_many else n - 1
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
    count_rows(block, reads, form, size, head_dim, rows)
    count(block, writes, 4 * n * heads)
    count(block, SCORES, n * heads)
    count(block, MACS, n * heads * head_dim)
    return DONE


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


# ------------------------------------------------------------------------------------------------ softmax


@inline
def score_part(part, to, e, most, sums, n, block):
    """A part of softmax, from the rows at e to those at `to`; `most` and `sums` are a number for each head."""
    if n == 0:
        return DONE
    _, _, _, _, heads = model(block)
    if heads == 0 or n < 0 or n > MOST:
        return PUNT
    stride, extent = score_rows(block, n, heads)
    mask, mask_reads, mask_stride, how_many = masks(block, n, heads) if part != MVGB else (0, 0, 0, 0)
    if stride == 0 or how_many < 0:
        return PUNT
    mask_bytes = (how_many - 1) * mask_stride + ((n + 7) >> 3) if how_many else 0
    source, reads = readable(block, ATTN, e, extent, 4)
    target, writes = source, 0
    top, total, top_moves, total_moves = 0, 0, 0, 0
    if source == 0:
        return PUNT
    if part == MVSB:
        top, top_moves = writable(block, ATTN, most, 4 * heads, 4)
        if top == 0 or overlap(top, 4 * heads, source, extent) or overlap(top, 4 * heads, mask, mask_bytes):
            return PUNT
    else:
        target, writes = writable(block, ATTN, to, extent, 4)
        if target == 0 or not apart(source, extent, target, extent) or overlap(target, extent, mask, mask_bytes):
            return PUNT
    if part == EXP:
        top, top_moves = readable(block, ATTN, most, 4 * heads, 4)
        total, total_moves = writable(block, ATTN, sums, 4 * heads, 4)
        if top == 0 or total == 0 or overlap(top, 4 * heads, target, extent) or overlap(total, 4 * heads, target, extent):
            return PUNT
        if not apart(top, 4 * heads, total, 4 * heads) or overlap(total, 4 * heads, mask, mask_bytes):
            return PUNT
    elif part == MVGB:
        total, total_moves = readable(block, ATTN, sums, 4 * heads, 4)
        if total == 0 or overlap(total, 4 * heads, target, extent):
            return PUNT
    in_parallel(block, 16 * heads * n, heads, 1, some_heads, part, target, source, stride, mask, mask_stride, top, total, n)
    for head in range(heads if how_many else 0):
        count(block, MASKED, left_out(mask + head * mask_stride, n))
    if how_many:
        count(block, mask_reads, how_many * ((n + 7) >> 3))
    count(block, reads, 4 * heads * n)
    if part != MVSB:
        count(block, writes, 4 * heads * n)
    if part in (MVSB, EXP):
        count(block, top_moves, 4 * heads)
    if part in (EXP, MVGB):
        count(block, total_moves, 4 * heads)
    count(block, ELEMENTS, heads * n)
    if part in (SFM, EXP):
        count(block, EXPONENTIALS, heads * n)
    return DONE


@kernel("attn.sfm.f32")
def attn_sfm_f32(probs, scores, n, _, block):
    return score_part(SFM, probs, scores, 0, 0, n, block)


@kernel("attn.mvsb.f32")
def attn_mvsb_f32(most, scores, n, _, block):
    return score_part(MVSB, 0, scores, most, 0, n, block)


@kernel("attn.exp.f32")
def attn_exp_f32(scores, most, sums, n, block):
    return score_part(EXP, scores, scores, most, sums, n, block)


@kernel("attn.mvgb.f32")
def attn_mvgb_f32(probs, e, sums, n, block):
    return score_part(MVGB, probs, e, 0, sums, n, block)


# ------------------------------------------------------------------------------------------------ context


@inline
def context(form, size, adds, to, values, probs, n, block):
    """context = probabilities . values, from zero or added."""
    if n == 0:
        return DONE
    group, kv_heads, head_dim, first, heads = model(block)
    if heads == 0 or n < 0 or n > MOST:
        return PUNT
    score_stride, score_bytes = score_rows(block, n, heads)
    lists, list_reads, list_stride, how_many = row_lists(block, n, heads)
    if score_stride == 0 or how_many < 0:
        return PUNT
    last = largest_row(lists, list_stride, how_many, n) if how_many else n - 1
    source, reads, stride, extent = cache_rows(block, values, VALUE_STRIDE, form, size, last)
    weights, weight_reads = readable(block, ATTN, probs, score_bytes, 4)
    total = 4 * heads * head_dim
    target, writes = writable(block, ATTN, to, total, 4)
    if source == 0 or weights == 0 or target == 0:
        return PUNT
    if overlap(source, extent, target, total) or overlap(weights, score_bytes, target, total):
        return PUNT
    if how_many and overlap(lists, (how_many - 1) * list_stride + 4 * n, target, total):
        return PUNT
    if adds:
        _, sum_reads = readable(block, ATTN, to, total, 4)
        count(block, sum_reads, total)
    else:
        clear_bytes(target, total)
    rows = n * (heads if how_many > 1 else heads_of_cache(block))
    in_parallel(block, rows * head_dim * size, heads, 1, some_context, form, size, source, stride, lists, list_stride, weights,
                score_stride, head_dim, group, kv_heads, first, n, target)
    if how_many:
        count(block, list_reads, 4 * n * how_many)
    count_rows(block, reads, form, size, head_dim, rows)
    count(block, weight_reads, 4 * n * heads)
    count(block, writes, total)
    count(block, PROBABILITIES, n * heads)
    count(block, MACS, n * heads * head_dim)
    return DONE


def _cache_forms(name, form, size):
    @kernel(f"attn.mac.{name}")
    def mac_form(scores, keys, n, _, block):
        return mac(form, size, scores, keys, n, block)

    @kernel(f"attn.xmac.{name}")
    def xmac_form(scores, keys, n, _, block):
        return xmac(form, size, scores, keys, n, block)

    @kernel(f"attn.xpose.{name}")
    def xpose_form(keys, k, position, _, block):
        return transpose(form, size, keys, k, position, block)

    @kernel(f"attn.macT.{name}")
    def mac_t_form(to, values, probs, n, block):
        return context(form, size, True, to, values, probs, n, block)

    @kernel(f"attn.context.{name}")
    def context_form(to, values, probs, n, block):
        return context(form, size, False, to, values, probs, n, block)


_cache_forms("f32", F32, 4)
_cache_forms("f16", F16, 2)
_cache_forms("i8",  I8,  1)
