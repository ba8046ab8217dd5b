"""How keys, values and scores lie in memory: a row for each token, or a row for each channel; a row of scores for each head."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from isa import arithmetic as exact
from isa.units.attn.query import head_layout

SIZE = {"f32": 4, "f16": 2, "i8": 1}       # bytes of an element
ALIGN = SIZE | {"i8": 4}                    # of a cache and its strides: fp32 scales stand behind int8 elements
SCALES = {"f32": "", "f16": "", "i8": "+f32"}       # of a cache, as rows write them


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


def list_stride(m, n):
    """Bytes from a head's list of n cache rows to the next one's; 0: there are none, or one for all heads."""
    return m.stride("attn.list_stride", 4 * n, f"a list of {n} rows", 4, zero=0) if m.csr("attn.row_list") else 0


def lists(m, n):
    """For each list of cache rows: (how many of the heads set it is for, its rows)."""
    heads, base, stride = head_layout(m).active, m.csr("attn.row_list"), list_stride(m, n)
    if not base:
        return [(heads, range(n))]
    count = heads if stride else 1
    m.check_read(base, m.span(count, 4 * n, stride), 4)
    return [(heads // count, m.read_u32(base + i * stride, n).tolist()) for i in range(count)]


def row_runs(rows):
    """Runs of row numbers, one or more, of which each is one more than the one before."""
    return 1 + np.count_nonzero(np.diff(rows) != 1)


def count_rows(m, rows, form):
    """Count keys or values, of one token and one head of the cache each, and their bytes."""
    m.count("attn.rows", rows)
    m.count("attn.cache_bytes", rows * (head_layout(m).head_dim * SIZE[form] + 4 * (form == "i8")))


def bytes_of_row(m, form):
    """Bytes of a row of the cache, a token's keys or values of all heads: elements, and of int8 the scales behind."""
    layout = head_layout(m)
    codes = layout.kv_heads * layout.head_dim * SIZE[form]
    return codes if form != "i8" else codes + -codes % 4 + 4 * layout.kv_heads


def row_stride(m, n, form, setting):
    """Bytes from row to row of a cache. The stride of the lists that name n of its rows is checked, too."""
    layout, row_bytes = head_layout(m), bytes_of_row(m, form)
    stride = m.stride(setting, row_bytes, f"a row of {layout.kv_heads} heads of {layout.head_dim} channels", ALIGN[form],
                      zero=row_bytes)
    list_stride(m, n)
    return stride


def by_row(m, base, n, form, stride):
    """A cache with a row for each token: a Cached for each of the heads set. A row is read once for all heads of a list."""
    layout, size, step, row_bytes = head_layout(m), SIZE[form], ALIGN[form], bytes_of_row(m, form)
    every_list, listed = lists(m, n), m.csr("attn.row_list")
    m.check_read(base, 0 if listed else m.span(n, row_bytes, stride), step)
    found: list[Cached] = []
    for heads, rows in every_list:
        kv = layout.kv_of_heads[len(found):len(found) + heads]
        first, width = kv[0], kv[-1] - kv[0] + 1
        elements, scales = [], []
        for row in rows:
            start = base + row * stride
            m.check_read(start, row_bytes if listed else 0, step)
            elements.append(_read(m, start + first * layout.head_dim * size, width * layout.head_dim, form))
            if form == "i8":
                scales.append(m.read_f32(start + row_bytes - 4 * (layout.kv_heads - first), width))
        every = np.reshape(elements, (n, width, layout.head_dim))
        each = np.reshape(scales, (n, width)) if scales else np.zeros((n, width), np.float32)
        found += [Cached(every[:, head - first], each[:, head - first]) for head in kv]
        count_rows(m, n * width, form)
        m.count("attn.row_runs", row_runs(rows))
    return found


def by_channel(m, base, n, form, stride):
    """Transposed keys: a Cached for each of the heads set."""
    layout = head_layout(m)
    m.check_read(base, channel_span(m, n, form, stride), ALIGN[form])
    found = {}
    for head in sorted(set(layout.kv_of_heads)):
        start = base + head * layout.head_dim * stride
        channels = [_read(m, start + channel * stride, n, form) for channel in range(layout.head_dim)]
        scales = m.read_f32(base + (layout.kv_heads * layout.head_dim + 4 * head) * stride, n) if form == "i8" else None
        found[head] = Cached(np.stack(channels).T, scales)
    count_rows(m, n * len(found), form)
    m.count("attn.row_runs")
    return [found[head] for head in layout.kv_of_heads]


def channel_stride(m, tokens, form):
    """Bytes from channel to channel of transposed keys, of so many tokens."""
    return m.stride("attn.key_stride", tokens * SIZE[form], f"{tokens} tokens in a channel", ALIGN[form], zero=None)


def channel_span(m, tokens, form, stride):
    """Bytes of transposed keys of all heads of the cache, int8 scales included, up to the last of so many tokens."""
    layout = head_layout(m)
    channels = layout.kv_heads * layout.head_dim
    if form == "i8":
        return m.span(channels + 4 * layout.kv_heads - 3, 4 * tokens, stride)        # the scales of a head: where four rows are
    return m.span(channels, tokens * SIZE[form], stride)


def score_stride(m, n):
    """Bytes from a head's row of n scores to the next one's."""
    return m.stride("attn.score_stride", 4 * n, f"{n} scores", 4, zero=4 * n)


def read_scores(m, base, n):
    """The score rows of the heads set: (heads, n)."""
    heads, stride = head_layout(m).active, score_stride(m, n)
    m.check_read(base, m.span(heads, 4 * n, stride), 4)
    return np.stack([m.read_f32(base + head * stride, n) for head in range(heads)])


def write_scores(m, base, scores):
    """Write the score rows of the heads set."""
    heads, n = scores.shape
    stride = score_stride(m, n)
    m.check_write(base, m.span(heads, 4 * n, stride), 4)
    for head, row in enumerate(scores):
        m.write_f32(base + head * stride, row)
