"""How keys, values and scores lie in memory: a row for each token, or a row for each channel; a row of scores for each head."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from isa import arithmetic as exact
from isa.traps import Cause, Trap
from isa.units.attn.query import the_model

SIZE = {"f32": 4, "f16": 2, "i8": 1}       # bytes of an element


class Cached(NamedTuple):
    """Keys or values of a head: f32 or int8 (n, head_dim), and the scales (n,) of int8."""

    elements: Any
    scales: Any = None


def _read(m, address, count, form):
    """Elements of the cache: f32 as they are, fp16 as fp32, int8 codes."""
    match form:
        case "f32": return m.read_f32(address, count)
        case "f16": return exact.f32_from_f16(m.read_u16(address, count))
        case _:     return m.read_i8(address, count)


def lists(m, n):
    """For each list of cache rows: (how many of the heads set it is for, its rows)."""
    heads, base, stride = the_model(m).active, m.csr("attn.row_list"), m.csr("attn.list_stride")
    if not base:
        return [(heads, range(n))]
    if not stride:
        return [(heads, m.read_u32(base, n).tolist())]
    return [(1, m.read_u32(base + head * stride, n).tolist()) for head in range(heads)]


def count_rows(m, rows, form):
    """Count keys or values, of one token and one head of the cache each, and their bytes."""
    m.count("attn.rows", rows)
    m.count("attn.cache_bytes", rows * (the_model(m).head_dim * SIZE[form] + 4 * (form == "i8")))


def by_row(m, base, n, form, setting):
    """A cache with a row for each token: a Cached for each of the heads set. A row is read once for all heads of a list."""
    model, size = the_model(m), SIZE[form]
    codes = model.kv_heads * model.head_dim * size
    row_bytes = codes if form != "i8" else codes + -codes % 4 + 4 * model.kv_heads
    stride, step = m.csr(setting) or row_bytes, max(size, 4 * (form == "i8"))
    if stride < row_bytes or stride % step:
        raise Trap(Cause.ILLEGAL_OPERAND, stride, f"{setting} is {stride}: expected 0 (packed rows) or a multiple of {step}, at "
                   f"least the {row_bytes} bytes of a row of {model.kv_heads} heads of {model.head_dim} channels")
    listed = m.csr("attn.row_list")
    m.check_read(base, 0 if listed else (n - 1) * stride + row_bytes, step)
    found: list[Cached] = []
    for heads, rows in lists(m, n):
        kv = model.kv_of_heads[len(found):len(found) + heads]
        first, width = kv[0], kv[-1] - kv[0] + 1
        elements, scales = [], []
        for row in rows:
            start = base + row * stride
            m.check_read(start, row_bytes if listed else 0, step)
            elements.append(_read(m, start + first * model.head_dim * size, width * model.head_dim, form))
            if form == "i8":
                scales.append(m.read_f32(start + row_bytes - 4 * (model.kv_heads - first), width))
        every = np.reshape(elements, (n, width, model.head_dim))
        each = np.reshape(scales, (n, width)) if scales else np.zeros((n, width), np.float32)
        found += [Cached(every[:, head - first], each[:, head - first]) for head in kv]
        count_rows(m, n * width, form)
    return found


def by_channel(m, base, n, form):
    """Transposed keys: a Cached for each of the heads set."""
    model = the_model(m)
    stride = channel_stride(m, n, form)
    if m.csr("attn.row_list"):
        raise Trap(Cause.ILLEGAL_OPERAND, m.csr("attn.row_list"),
                   "attn.row_list is set; expected 0, for transposed keys are read whole: mask them, or use attn.mac")
    found = {}
    for head in sorted(set(model.kv_of_heads)):
        start = base + head * model.head_dim * stride
        channels = [_read(m, start + channel * stride, n, form) for channel in range(model.head_dim)]
        scales = m.read_f32(base + (model.kv_heads * model.head_dim + 4 * head) * stride, n) if form == "i8" else None
        found[head] = Cached(np.stack(channels).T, scales)
    count_rows(m, n * len(found), form)
    return [found[head] for head in model.kv_of_heads]


def channel_stride(m, tokens, form):
    """attn.key_stride, checked for rows of so many tokens."""
    stride, size, step = m.csr("attn.key_stride"), SIZE[form], 4 if form == "i8" else SIZE[form]
    if stride < tokens * size or stride % step:
        raise Trap(Cause.ILLEGAL_OPERAND, stride, f"attn.key_stride is {stride}: expected a multiple of {step}, at least the "
                   f"{tokens * size} bytes of {tokens} tokens in a channel")
    return stride


def score_rows(m, base, n):
    """Addresses of the score rows of the heads set."""
    stride = m.csr("attn.score_stride") or 4 * n
    if stride < 4 * n or stride % 4:
        raise Trap(Cause.ILLEGAL_OPERAND, stride, f"attn.score_stride is {stride}: expected 0 (packed) or a multiple of 4, at "
                   f"least the {4 * n} bytes of {n} scores")
    return [base + head * stride for head in range(the_model(m).active)]
