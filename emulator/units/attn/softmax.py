"""Softmax of score rows under a mask, whole or in the parts that a head split over cores needs.

As in emulator/units/vec/normalisation.py, for one head after the other. A mask is a bit for each score, address 0 for none; `part`
says what is done with a row and is a constant where these functions are called from.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from emulator.kernel import kernel
from emulator.kernel_words import DONE, LARGE, PUNT, apart, count, csr, csr_number, overlap, readable, slot, writable
from emulator.native.inlining import inline, specialised
from emulator.native.machine_code import load, ones, store
from emulator.simd.folds import any_lane, fold, fold_largest
from emulator.simd.functions import NAN, ZERO, canonical, exp, is_nan
from emulator.simd.lanes import first_lanes, lane_numbers, put_up_to, spread, take_up_to, where
from emulator.threads.parallel import in_parallel
from emulator.units.attn.operands import ATTN, MOST, head_layout, score_rows

ELEMENTS, EXPONENTIALS, MASKED = slot("attn.elements"), slot("attn.exponentials"), slot("attn.masked")


f32, i32, u8, i64 = np.float32, np.int32, np.uint8, np.int64
LOWEST = f32(-np.inf)
MASK, MASK_STRIDE = csr_number("attn.mask"), csr_number("attn.mask_stride")
SFM, MVSB, EXP, MVGB = range(4)
WORK = 64               # of a score, in bytes: it takes as long as to read these, and the threads that made the scores have them


@inline
def masks(block: int, n: int, count: int) -> tuple[int, int, int, int]:
    """(host address of the first mask, counter slot, bytes from a head's mask to the next one's, masks). Masks -1: punt."""
    base, stride = csr(block, MASK), csr(block, MASK_STRIDE)
    if base == 0:
        return 0, 0, 0, 0
    how_many, size = 1 if stride == 0 else count, (n + 7) >> 3
    if stride != 0 and (stride < size or stride > LARGE >> 8):
        return 0, 0, 0, -1
    place, reads = readable(block, ATTN, base, (how_many - 1) * stride + size, 1)
    return place, reads, stride, how_many if place else -1


@inline
def left_out(mask: int, n: int) -> int:
    """How many of the first n bits of a mask are 0."""
    kept, whole = 0, n >> 3
    for i in range(whole):
        kept += i64(ones(load(mask + i, u8)))
    if n & 7:
        kept += i64(ones(u8(load(mask + whole, u8) & u8((1 << (n & 7)) - 1))))
    return n - kept


@inline
def scores_at(row: int, mask: int, i: int, n: int) -> Any:
    """The scores i..i+15 of n, or as many as are left; -infinity where the mask is 0 and behind the end."""
    v = take_up_to(row + 4 * i, f32, n - i, LOWEST)
    if mask == 0:
        return v
    bits = i32(load(mask + (i >> 3), u8))
    if n - i > 8:
        bits |= i32(load(mask + (i >> 3) + 1, u8)) << 8
    return where(((spread(i32(bits)) >> lane_numbers()) & 1) != 0, v, LOWEST)


@inline
def largest_of(row: int, mask: int, n: int) -> Any:
    """Largest score. NaN if there is one; a zero is +0.0."""
    best = spread(LOWEST)
    nans = is_nan(best)
    for i in range(0, n, 16):
        v = scores_at(row, mask, i, n)
        best, nans = where(v > best, v, best), nans | is_nan(v)
    return NAN if any_lane(nans) else fold_largest(best + ZERO)


@inline
def exponentials(target: int, row: int, mask: int, most: Any, n: int) -> Any:
    """target[i] = e ** (score i - most); returns their sum."""
    top, lanes = spread(most), spread(ZERO)
    for i in range(0, n, 16):
        e = exp(scores_at(row, mask, i, n) - top)
        put_up_to(target + 4 * i, e, n - i)
        lanes = lanes + (e if n - i >= 16 else where(first_lanes(n - i), e, ZERO))
    return fold(lanes)


@inline
def divide(target: int, row: int, total: Any, n: int) -> None:
    """target[i] = row[i] / total."""
    divisor = spread(total)
    for i in range(0, n, 16):
        put_up_to(target + 4 * i, canonical(take_up_to(row + 4 * i, f32, n - i, ZERO) / divisor), n - i)


@inline
def store_f32(address: int, value: Any) -> None:
    """Store an fp32 result: a NaN as the canonical one."""
    store(address, value if value == value else NAN)


@inline
def some_heads(first: int, last: int, part: int, target: int, source: int, stride: int, mask: int, mask_stride: int, most: int,
               sums: int, n: int) -> None:
    """The part for the heads first..last of those that are set.

    Numbers alone, as `in_parallel` passes them.
    """
    for head in range(first, last):
        row, to, bits = source + head * stride, target + head * stride, mask + head * mask_stride
        if part == SFM:
            divide(to, to, exponentials(to, row, bits, largest_of(row, bits, n), n), n)
        elif part == MVSB:
            store_f32(most + 4 * head, largest_of(row, bits, n))
        elif part == EXP:
            store_f32(sums + 4 * head, exponentials(to, row, bits, load(most + 4 * head, f32), n))
        else:
            divide(to, row, load(sums + 4 * head, f32), n)


@specialised
def score_part(part, to, e, most, sums, n, block):
    """A part of softmax, from the rows at e to those at `to`; `most` and `sums` are a number for each head."""
    if n == 0:
        return DONE
    _, _, _, _, heads = head_layout(block)
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
    in_parallel(block, WORK * heads * n, heads, 1, some_heads, part, target, source, stride, mask, mask_stride, top, total, n)
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
def attn_sfm_f32(probs, scores, n, block):
    return score_part(SFM, probs, scores, 0, 0, n, block)


@kernel("attn.mvsb.f32")
def attn_mvsb_f32(most, scores, n, block):
    return score_part(MVSB, 0, scores, most, 0, n, block)


@kernel("attn.exp.f32")
def attn_exp_f32(scores, most, sums, n, block):
    return score_part(EXP, scores, scores, most, sums, n, block)


@kernel("attn.mvgb.f32")
def attn_mvgb_f32(probs, e, sums, n, block):
    return score_part(MVGB, probs, e, 0, sums, n, block)
