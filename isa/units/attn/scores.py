"""Scores: each key of a cache . the query. And the writing of keys that lie transposed."""

from __future__ import annotations

import numpy as np

from isa import arithmetic as exact
from isa.arithmetic import lane_sum
from isa.instruction import instruction
from isa.traps import Cause, Trap
from isa.units.attn.cache import (
    ALIGN,
    SCALES,
    SIZE,
    by_channel,
    by_row,
    channel_span,
    channel_stride,
    row_stride,
    score_stride,
    write_scores,
)
from isa.units.attn.query import head_layout, query_buffer


def _keys_by_row(m, keys, n, form):
    """Keys with a row for each token: a Cached for each of the heads set."""
    return by_row(m, keys, n, form, row_stride(m, n, form, "attn.key_stride"))


def _keys_by_channel(m, keys, n, form):
    """Transposed keys, which are read whole: a Cached for each of the heads set."""
    stride = channel_stride(m, n, form)
    if m.csr("attn.row_list"):
        raise Trap(Cause.ILLEGAL_OPERAND, m.csr("attn.row_list"),
                   "attn.row_list is set; expected 0, for transposed keys are read whole: mask them, or use attn.mac")
    return by_channel(m, keys, n, form, stride)


def _mac(row, form, transposed=False, example=""):
    """A row scores = keys . query."""
    keys_of_heads = _keys_by_channel if transposed else _keys_by_row
    key = "keys[kv,c,i]" if transposed else "keys[i,kv,c]"
    rule = (f"f32(sum over c of {key} * query[h,c]) * scale of key i * scale of the query" if form == "i8" else
            f"lanesum over c of f32({key}) * query[h,c]")

    def meaning(m, scores, keys, n):
        if n == 0:
            return
        queries, query_scales = query_buffer(m, form)
        score_stride(m, n)
        cached = keys_of_heads(m, keys, n, form)
        found = np.zeros((len(queries), n), np.float32)
        for target, query, scale, (elements, scales) in zip(found, queries, query_scales, cached, strict=True):
            if form == "i8":
                sums = elements.astype(np.int32) @ query.astype(np.int32)
                target[:] = sums.astype(np.float32) * scales * scale
            else:
                target[:] = lane_sum(elements * query)
        write_scores(m, scores, found)
        m.count("attn.scores", found.size)
        m.count("attn.macs", queries.size * n)

    shape = (f"{form}[kv_heads,head_dim,n]" if transposed else f"{form}[n,kv_heads,head_dim]") + SCALES[form]
    instruction(row, f"for head h and its kv = h * kv_heads / heads: scores[h,i] = {rule}",
                operands=f"scores>f32[heads,n] keys<{shape} n", example=example)(meaning)


_mac("attn.mac.f32      R  opcode=0x7B funct3=4 funct7=0x10", "f32", example="""\
csrw attn.score_stride, s1       # room for a full context
attn.wrgb.f32 a0
attn.mac.f32  a1, a2, a3         # scores of a3 tokens, all heads""")
_mac("attn.mac.f16      R  opcode=0x7B funct3=4 funct7=0x11", "f16",
     example="attn.wrgb.f32 a0\n"
             "attn.mac.f16  a1, a2, a3         # keys in fp16, the query in fp32")
_mac("attn.mac.i8       R  opcode=0x7B funct3=4 funct7=0x12", "i8", example="""\
attn.wrgb.i8 a0
csrw attn.row_list, a4               # a list of a3 rows
attn.mac.i8 a1, a2, a3
csrw attn.row_list, zero""")
_mac("attn.xmac.f32     R  opcode=0x7B funct3=4 funct7=0x14", "f32", True,
     example="attn.wrgb.f32 a0\n"
             "attn.xmac.f32 a1, a2, a3         # attn.key_stride: bytes of a channel's row")
_mac("attn.xmac.f16     R  opcode=0x7B funct3=4 funct7=0x15", "f16", True, example="""\
csrw attn.key_stride, t0         # 2 bytes for each token of a full context
attn.xmac.f16 a1, a2, a3""")
_mac("attn.xmac.i8      R  opcode=0x7B funct3=4 funct7=0x16", "i8", True,
     example="attn.wrgb.i8 a0\n"
             "attn.xmac.i8 a1, a2, a3          # scales stand behind all channels")


def _transpose(row, form, example=""):
    """A row that writes a token's key into transposed keys."""
    def meaning(m, keys, k, position):
        layout = head_layout(m)
        stride = channel_stride(m, position + 1, form)
        heads = sorted(set(layout.kv_of_heads))
        values = m.read_f32(k, len(heads) * layout.head_dim)
        codes, scales = exact.quantise(values, layout.head_dim) if form == "i8" else (values, None)
        write = {"f32": m.write_f32, "f16": m.write_u16, "i8": m.write_i8}[form]
        m.check_write(keys, channel_span(m, position + 1, form, stride), ALIGN[form])
        first = heads[0] * layout.head_dim
        for channel, value in enumerate(exact.f16_bits(codes) if form == "f16" else codes, first):
            write(keys + channel * stride + position * SIZE[form], [value])
        if scales is not None:
            for head, scale in zip(heads, scales, strict=True):
                m.write_f32(keys + (layout.kv_heads * layout.head_dim + 4 * head) * stride + 4 * position, [scale])
        m.count("attn.transposed", len(values))

    rule = {"f32": "k[kv,c]", "f16": "f16(k[kv,c])", "i8": "the code of k[kv,c], as vec.quant.i8 with a scale for each head"}[form]
    instruction(row, f"for kv of the heads that are set: keys[kv,c,position] = {rule}",
                operands=f"keys>{form}[kv_heads,head_dim,position+1]{SCALES[form]} k<f32[kv_heads,head_dim] position",
                example=example)(meaning)


_transpose("attn.xpose.f32    R  opcode=0x7B funct3=4 funct7=0x30", "f32",
           example="attn.xpose.f32 a0, a1, a2        # the key of token a2\n"
                   "attn.wrgb.f32  a3\n"
                   "addi           a2, a2, 1\n"
                   "attn.xmac.f32  a4, a0, a2        # scores of all tokens up to it")
_transpose("attn.xpose.f16    R  opcode=0x7B funct3=4 funct7=0x31", "f16",
           example="attn.xpose.f16 a0, a1, a2        # the key of token a2")
_transpose("attn.xpose.i8     R  opcode=0x7B funct3=4 funct7=0x32", "i8",
           example="attn.xpose.i8 a0, a1, a2         # codes to the channels, a scale a head behind them")
