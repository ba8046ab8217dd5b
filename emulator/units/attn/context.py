"""Context of a cache by row: tokens by fours and heads within them, as in scores.py; sums stay in the first-level cache."""

from __future__ import annotations

from typing import Any

import numpy as np

from emulator.kernel import kernel
from emulator.kernel_words import DONE, PUNT, count, overlap, readable, writable
from emulator.native.inlining import inline, specialised
from emulator.native.machine_code import clear_bytes, load
from emulator.simd.functions import ZERO, canonical
from emulator.simd.lanes import put, put_part, spread, take, take_part
from emulator.threads.parallel import in_parallel
from emulator.units.attn.operands import (
    ATTN,
    MACS,
    MOST,
    PROBABILITIES,
    VALUE_STRIDE,
    ask_for_rows,
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
from emulator.units.vec.dense import F16, F32, I8, moved, plus_rows, weights

f32 = np.float32


@inline
def factor(form: int, weight: Any, row: int, scale: int) -> Any:
    """A probability, times the scale of its value if that is int8, in all lanes."""
    return spread(f32(weight * load(row + scale, f32)) if form == I8 else weight)


@inline
def some_context(first: int, last: int, form: int, size: int, source: int, stride: int, rows: int, list_stride: int,
                 probabilities: int, score_stride: int, head_dim: int, group: int, kv_heads: int, first_head: int, n: int,
                 target: int) -> None:
    """Context of the heads first..last of those that are set, four tokens at a time, added to what is there.

    Numbers alone, as `in_parallel` passes them.
    """
    whole, left = head_dim & -16, head_dim & 15
    scales = row_bytes(form, size, kv_heads, head_dim) - 4 * kv_heads
    for i in range(0, n, 4):
        here = min(4, n - i)
        kv, shared = (first_head + first) // group, group - (first_head + first) % group
        for head in range(first, last):
            index, p, to = rows + head * list_stride, probabilities + head * score_stride + 4 * i, target + 4 * head * head_dim
            at, scale = kv * head_dim * size, scales + 4 * kv
            if rows == 0 and (head == first or shared == group):
                ask_for_rows(form, source + i * stride + at, stride, head_dim * size, scale - at)
            if here == 4:
                r0, r1 = row_at(source, stride, index, i), row_at(source, stride, index, i + 1)
                r2, r3 = row_at(source, stride, index, i + 2), row_at(source, stride, index, i + 3)
                f = (factor(form, load(p, f32), r0, scale), factor(form, load(p + 4, f32), r1, scale),
                     factor(form, load(p + 8, f32), r2, scale), factor(form, load(p + 12, f32), r3, scale))
                four = moved((r0, r1, r2, r3), at)
                for j in range(0, whole, 16):
                    put(to + 4 * j, canonical(plus_rows(form, take(to + 4 * j, f32), f, moved(four, size * j))))
                if left:
                    v = plus_rows(form, take_part(to + 4 * whole, f32, left, ZERO), f, moved(four, size * whole), left)
                    put_part(to + 4 * whole, canonical(v), left)
            else:
                for t in range(here):
                    row = row_at(source, stride, index, i + t)
                    of_row = factor(form, load(p + 4 * t, f32), row, scale)
                    for j in range(0, head_dim, 16):
                        rest = head_dim - j
                        v = take_part(to + 4 * j, f32, rest, ZERO) + of_row * weights(form, row + at + size * j, rest)
                        put_part(to + 4 * j, canonical(v), rest)
            shared -= 1
            if shared == 0:
                kv, shared = kv + 1, group


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
