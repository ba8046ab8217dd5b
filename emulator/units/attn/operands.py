"""Operands of attention: the heads that are set, score rows, lists of cache rows, the cache itself.

Functions give host addresses and counter slots, as `readable` does, and notice what is to be left to the meaning.
"""

from __future__ import annotations

import numpy as np

from emulator.kernel_words import LARGE, PORT, STATE_INDEX, count, csr, csr_number, readable, slot, state
from emulator.native.inlining import inline
from emulator.native.machine_code import load
from emulator.simd.lanes import ask_for
from emulator.units.vec.dense import I8

ATTN = PORT["attn"]
MODEL, LOADED, QUERY, CODES, SCALES = (STATE_INDEX[f"attn.{name}"] for name in ("model", "loaded", "query", "codes", "scales"))
KEY_STRIDE, VALUE_STRIDE, SCORE_STRIDE, ROW_LIST, LIST_STRIDE = (csr_number(f"attn.{name}") for name in (
    "key_stride", "value_stride", "score_stride", "row_list", "list_stride"))
LOADED_F32, LOADED_I8 = 1, 2      # forms of the query buffer
MOST = 1 << 28                  # tokens: more are left to the meaning
MACS, SCORES, PROBABILITIES, ROWS, ROW_RUNS, CACHE_BYTES = (slot(f"attn.{name}") for name in (
    "macs", "scores", "probabilities", "rows", "row_runs", "cache_bytes"))
u32, i64 = np.uint32, np.int64
AHEAD = 8                       # rows of a cache that are asked of memory before they are needed


@inline
def head_layout(block: int) -> tuple[int, int, int, int, int]:
    """(heads that share a head of the cache, heads of the cache, channels of a head, first head set, heads set); 0s: none."""
    place = state(block, MODEL)
    heads, kv_heads, head_dim = i64(load(place, u32)), i64(load(place + 4, u32)), i64(load(place + 8, u32))
    if heads == 0:
        return 0, 0, 0, 0, 0
    return heads // kv_heads, kv_heads, head_dim, i64(load(place + 12, u32)), i64(load(place + 16, u32))


@inline
def query_offset(block: int, wanted: int) -> int:
    """Number of the first of the heads set in the query buffer, -1 if the buffer does not hold them in the form that is wanted."""
    _, _, head_dim, first, active = head_layout(block)
    place = state(block, LOADED)
    start, held = i64(load(place + 4, u32)), i64(load(place + 8, u32))
    if load(place, u32) != wanted or i64(load(place + 12, u32)) != head_dim or first < start or first + active > start + held:
        return -1
    return first - start


@inline
def score_rows(block: int, n: int, count: int) -> tuple[int, int]:
    """(bytes from one head's scores to the next, bytes of all); 0, 0: punt."""
    stride = csr(block, SCORE_STRIDE)
    if stride == 0:
        stride = 4 * n
    if stride < 4 * n or stride > LARGE >> 8 or stride & 3:
        return 0, 0
    return stride, (count - 1) * stride + 4 * n


@inline
def row_lists(block: int, n: int, count: int) -> tuple[int, int, int, int]:
    """(host address of the first list of rows, counter slot, bytes from a head's list to the next one's, lists).

    No lists: address 0, and rows are 0..n-1. Lists -1: punt.
    """
    base, stride = csr(block, ROW_LIST), csr(block, LIST_STRIDE)
    if base == 0:
        return 0, 0, 0, 0
    lists = 1 if stride == 0 else count
    if stride != 0 and (stride < 4 * n or stride > LARGE >> 8 or stride & 3):
        return 0, 0, 0, -1
    place, reads = readable(block, ATTN, base, (lists - 1) * stride + 4 * n, 4)
    return place, reads, stride, lists if place else -1


@inline
def listed_rows(place: int, stride: int, lists: int, n: int) -> tuple[int, int]:
    """(largest row, runs of rows with successive numbers) of some lists; those of rows 0..n-1 if there is none."""
    if lists == 0:
        return n - 1, 1
    most, joined = 0, 0
    for index in range(lists):
        before = i64(-2)
        for i in range(n):
            row = i64(load(place + index * stride + 4 * i, u32))
            most = max(most, row)
            joined += row == before + 1
            before = row
    return most, lists * n - joined


@inline
def row_bytes(form: int, size: int, kv_heads: int, head_dim: int) -> int:
    """Bytes of a row of the cache; of int8 with the scales behind the codes."""
    codes = kv_heads * head_dim * size
    return ((codes + 3) & -4) + 4 * kv_heads if form == I8 else codes


@inline
def cache_rows(block: int, base: int, setting: int, form: int, size: int, last: int) -> tuple[int, int, int, int]:
    """(host address, counter slot, bytes from row to row, bytes up to the end of row `last`) of a cache; address 0: punt."""
    _, kv_heads, head_dim, _, _ = head_layout(block)
    packed, step = row_bytes(form, size, kv_heads, head_dim), 4 if form == I8 else size
    stride = csr(block, setting)
    if stride == 0:
        stride = packed
    if stride < packed or stride > LARGE or stride & (step - 1) or last >= LARGE // stride:
        return 0, 0, 0, 0
    extent = last * stride + packed
    place, reads = readable(block, ATTN, base, extent, step)
    return place, reads, stride, extent


@inline
def row_at(source: int, stride: int, rows: int, i: int) -> int:
    """Host address of the row of position i."""
    return source + (i if rows == 0 else i64(load(rows + 4 * i, u32))) * stride


@inline
def ask_for_bytes(p: int, size: int) -> None:
    """Have the `size` bytes at p come from memory, 256 at most, AHEAD rows before they are needed. No loop: it would stay one.

    A head's part of a row is too short for a host to notice by itself that the next rows follow.
    """
    ask_for(p)
    if size > 64:
        ask_for(p + 64)
    if size > 128:
        ask_for(p + 128)
        ask_for(p + 192)


@inline
def ask_for_listed(source: int, stride: int, rows: int, i: int, last: int, size: int) -> None:
    """Have `size` bytes of the AHEAD rows behind position i of a list come from memory. What a list says no host foresees."""
    for ahead in range(i + AHEAD, min(i + 2 * AHEAD, last)):
        ask_for_bytes(row_at(source, stride, rows, ahead), size)


@inline
def heads_of_cache(block):
    """How many heads of the cache the heads set attend to."""
    group, _, _, first, heads = head_layout(block)
    return (first + heads - 1) // group - first // group + 1


@inline
def count_rows(block, reads, form, size, head_dim, rows, runs):
    """Keys or values read, of one token and one head of the cache each, and the runs of rows that they lie in."""
    read = rows * (head_dim * size + (4 if form == I8 else 0))
    count(block, reads, read)
    count(block, ROWS, rows)
    count(block, ROW_RUNS, runs)
    count(block, CACHE_BYTES, read)
