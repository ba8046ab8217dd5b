"""Context of a cache by row: tokens by eights and heads within them, as in scores.py; sums stay in registers meanwhile."""

from __future__ import annotations

from typing import Any

import numpy as np

from emulator.kernel import kernel
from emulator.kernel_words import DONE, PUNT, count, overlap, readable, writable
from emulator.native.inlining import inline, specialised
from emulator.native.machine_code import clear_bytes, load
from emulator.simd.functions import ZERO, canonical
from emulator.simd.lanes import ask_for, put, put_up_to, spread, take, take_up_to
from emulator.threads.parallel import in_parallel
from emulator.units.attn.operands import (
    AHEAD,
    ATTN,
    MACS,
    MOST,
    PROBABILITIES,
    VALUE_STRIDE,
    ask_for_bytes,
    ask_for_listed,
    cache_rows,
    count_rows,
    head_layout,
    heads_of_cache,
    listed_rows,
    row_at,
    row_bytes,
    row_lists,
    score_rows,
)
from emulator.units.vec.dense import F16, F32, I8, weights

f32 = np.float32


@inline
def factor(form: int, weight: Any, scale: int) -> Any:
    """A probability, times the scale of its value if that is int8, in all lanes."""
    return spread(f32(weight * load(scale, f32)) if form == I8 else weight)


@inline
def some_context(first: int, last: int, form: int, size: int, source: int, stride: int, rows: int, list_stride: int,
                 probabilities: int, score_stride: int, head_dim: int, group: int, kv_heads: int, first_head: int, n: int,
                 target: int) -> None:
    """Context of the heads first..last of those that are set, eight tokens at a time, added to what is there.

    Numbers alone, as `in_parallel` passes them.
    """
    spans, scales = head_dim & -64, row_bytes(form, size, kv_heads, head_dim) - 4 * kv_heads
    for i in range(0, n, 8):
        end = min(i + 8, n)
        kv, shared = (first_head + first) // group, group - (first_head + first) % group
        for head in range(first, last):
            index, p, to = rows + head * list_stride, probabilities + head * score_stride, target + 4 * head * head_dim
            at, scale = source + kv * head_dim * size, source + scales + 4 * kv
            ahead = AHEAD * stride if rows == 0 and (head == first or shared == group) else 0
            if rows != 0:
                ask_for_listed(at, stride, index, i, n, head_dim * size)
                if form == I8:
                    ask_for_listed(scale, stride, index, i, n, 4)
            for j in range(0, spans, 64):
                add_64(form, size, at + size * j, scale, stride, index, i, end, p, to + 4 * j, ahead)
            for j in range(spans, head_dim, 16):
                add_16(form, size, at + size * j, scale, stride, index, i, end, p, to + 4 * j, ahead, head_dim - j)
            shared -= 1
            if shared == 0:
                kv, shared = kv + 1, group


@inline
def add_64(form: int, size: int, values: int, scales: int, stride: int, rows: int, first: int, last: int, probabilities: int,
           target: int, ahead: int) -> None:
    """Add 64 channels of the tokens first..last, times their probabilities. Numbers alone, so that sums stay in registers.

    ahead: bytes from a value to the one that is asked of memory meanwhile; 0: none.
    """
    a, b, c, d = take(target, f32), take(target + 64, f32), take(target + 128, f32), take(target + 192, f32)
    for i in range(first, last):
        w, scale = row_at(values, stride, rows, i), row_at(scales, stride, rows, i)
        if ahead:
            ask_for_value(form, w + ahead, 64 * size, scale + ahead)
        f = factor(form, load(probabilities + 4 * i, f32), scale)
        a, b = a + f * weights(form, w), b + f * weights(form, w + 16 * size)
        c, d = c + f * weights(form, w + 32 * size), d + f * weights(form, w + 48 * size)
    put(target, canonical(a))
    put(target + 64, canonical(b))
    put(target + 128, canonical(c))
    put(target + 192, canonical(d))


@inline
def add_16(form: int, size: int, values: int, scales: int, stride: int, rows: int, first: int, last: int, probabilities: int,
           target: int, ahead: int, left: int) -> None:
    """As add_64, for 16 channels or as many as are left. Numbers alone."""
    v = take_up_to(target, f32, left, ZERO)
    for i in range(first, last):
        w, scale = row_at(values, stride, rows, i), row_at(scales, stride, rows, i)
        if ahead:
            ask_for_value(form, w + ahead, 1, scale + ahead)
        v = v + factor(form, load(probabilities + 4 * i, f32), scale) * weights(form, w, left)
    put_up_to(target, canonical(v), left)


@inline
def ask_for_value(form: int, value: int, size: int, scale: int) -> None:
    """Have `size` bytes of a value come from memory, and of int8 its scale."""
    ask_for_bytes(value, size)
    if form == I8:
        ask_for(scale)


@specialised
def weighted_values(form, size, adds, to, values, probs, n, block):
    """context = probabilities . values, from zero or added."""
    if n == 0:
        return DONE
    group, kv_heads, head_dim, first, heads = head_layout(block)
    if heads == 0 or n < 0 or n > MOST:
        return PUNT
    score_stride, score_bytes = score_rows(block, n, heads)
    lists, list_reads, list_stride, how_many = row_lists(block, n, heads)
    if score_stride == 0 or how_many < 0:
        return PUNT
    last, runs = listed_rows(lists, list_stride, how_many, n)
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
    count_rows(block, reads, form, size, head_dim, rows, runs)
    count(block, weight_reads, 4 * n * heads)
    count(block, writes, total)
    count(block, PROBABILITIES, n * heads)
    count(block, MACS, n * heads * head_dim)
    return DONE


def _form(name, form, size):
    @kernel(f"attn.macT.{name}")
    def mac_t_form(context, values, probs, n, block):
        return weighted_values(form, size, True, context, values, probs, n, block)

    @kernel(f"attn.context.{name}")
    def context_form(context, values, probs, n, block):
        return weighted_values(form, size, False, context, values, probs, n, block)


_form("f32", F32, 4)
_form("f16", F16, 2)
_form("i8",  I8,  1)
