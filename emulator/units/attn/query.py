"""The heads of the model, those that are set, and the query buffer."""

from __future__ import annotations

import numpy as np

from emulator.kernel import kernel
from emulator.kernel_words import DONE, PUNT, count, csr, csr_number, readable, slot, state, state_length
from emulator.native.inlining import inline
from emulator.native.machine_code import clear_bytes, load, store
from emulator.simd.folds import any_lane, fold_largest, lane_0
from emulator.simd.functions import INFINITY, NAN, ZERO, canonical, is_nan
from emulator.simd.lanes import convert, first_lanes, magnitude, put_up_to, round_even, same_bits, spread, take_up_to, where
from emulator.units.attn.operands import ATTN, CODES, LOADED, LOADED_F32, LOADED_I8, MODEL, QUERY, SCALES, head_layout

f32, i32, u32, i8 = np.float32, np.int32, np.uint32, np.int8

QUERIES, SCALE = slot("attn.queries"), csr_number("attn.scale")
C127 = f32(127)


@kernel("attn.setm")
def attn_setm(heads, kv_heads, head_dim, block):
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
def attn_seth(first, count, block):
    place = state(block, MODEL)
    heads = np.int64(load(place, u32))
    if not 1 <= count <= heads or not 0 <= first <= heads - count:
        return PUNT
    store(place + 12, u32(first))
    store(place + 16, u32(count))
    return DONE


@inline
def largest_magnitude(x, factor, n):
    """Largest |x[i] * factor|. NaN if there is one."""
    best = spread(ZERO)
    nans = is_nan(best)
    for i in range(0, n, 16):
        v = magnitude(take_up_to(x + 4 * i, f32, n - i, ZERO) * factor)
        v = v if n - i >= 16 else where(first_lanes(n - i), v, ZERO)
        best, nans = where(v > best, v, best), nans | is_nan(v)
    return NAN if any_lane(nans) else fold_largest(best)


@inline
def codes_of(x, inverse):
    """int8 codes, as int32."""
    product = round_even(x * inverse)
    return convert(where(magnitude(product) < INFINITY, product, ZERO), i32)


@inline
def step_of(a, inverse):
    """The scale of codes whose largest magnitude is a."""
    return lane_0(where(inverse == INFINITY, ZERO, canonical(a / C127)))


@inline
def to_query_buffer(form, q, block):
    """WR_GB: the queries of the heads set, times attn.scale, as f32 or int8."""
    _, _, head_dim, first, heads = head_layout(block)
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
def attn_wrgb_f32(q, block):
    return to_query_buffer(LOADED_F32, q, block)


@kernel("attn.wrgb.i8")
def attn_wrgb_i8(q, block):
    return to_query_buffer(LOADED_I8, q, block)
