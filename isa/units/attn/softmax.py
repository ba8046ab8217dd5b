"""Score rows: a mask, and the softmax of each head, whole or in the three parts between which the cores of a split head talk."""

from __future__ import annotations

import numpy as np

from isa import arithmetic as exact
from isa.arithmetic import lane_sum
from isa.instruction import instruction
from isa.units.attn.cache import read_scores, score_stride, write_scores
from isa.units.attn.query import head_layout


def _kept(m, n):
    """Which scores of the heads set the mask leaves in: (heads, n), or (1, n) for all heads; None: there is no mask."""
    mask, size = m.csr("attn.mask"), -(-n // 8)
    if not mask:
        return None
    stride = m.stride("attn.mask_stride", size, f"a mask of {n} bits", zero=0)
    count = head_layout(m).active if stride else 1
    m.check_read(mask, m.span(count, size, stride))
    masks = [m.read(mask + i * stride, size) for i in range(count)]
    return np.unpackbits(np.stack(masks), axis=1, bitorder="little")[:, :n] == 1


def _masked(m, scores, n):
    """The scores of the heads set, -infinity where the mask is 0: (heads, n)."""
    head_layout(m)
    score_stride(m, n)
    kept = _kept(m, n)
    values = read_scores(m, scores, n)
    m.count("attn.elements", values.size)
    if kept is None:
        return values
    m.count("attn.masked", np.count_nonzero(np.broadcast_to(~kept, values.shape)))
    return np.where(kept, values, -exact.INFINITY)


@instruction("attn.sfm.f32      R  opcode=0x7B funct3=4 funct7=0x21",
             "for head h, with x[i] = mask bit i ? scores[h,i] : -inf: e[i] = e ** (x[i] - max(x)); probs[h,i] = e[i] / lanesum(e)",
             operands="probs>f32[heads,n] scores<f32[heads,n] n", example="attn.sfm.f32 a1, a1, a3          # in place")
def attn_sfm_f32(m, probs, scores, n):
    if n == 0:
        return
    x = _masked(m, scores, n)
    write_scores(m, probs, np.stack([exact.softmax(row) for row in x]))
    m.count("attn.exponentials", x.size)


@instruction("attn.mvsb.f32     R  opcode=0x7B funct3=4 funct7=0x20",
             "for head h, with x[i] = mask bit i ? scores[h,i] : -inf: most[h] = max(x); NaN if one is",
             operands="most>f32[heads] scores<f32[heads,n] n",
             example="attn.mvsb.f32 a0, a1, a3         # of this core's tokens\n"
                     "vec.maximum.f32 a0, a0, a4, a5   # with another core's, a5 heads")
def attn_mvsb_f32(m, most, scores, n):
    if n == 0:
        return
    m.write_f32(most, [exact.largest(row) for row in _masked(m, scores, n)])


@instruction("attn.exp.f32      R4 opcode=0x7B funct3=7 funct2=0",
             "for head h, with x[i] = mask bit i ? scores[h,i] : -inf: scores[h,i] = e ** (x[i] - most[h]); "
             "sums[h] = lanesum(scores[h])",
             operands="scores<>f32[heads,n] most<f32[heads] sums>f32[heads] n", example="attn.exp.f32 a1, a0, a2, a3")
def attn_exp_f32(m, scores, most, sums, n):
    if n == 0:
        return
    x = _masked(m, scores, n)
    e = exact.exp(x - m.read_f32(most, len(x))[:, None])
    write_scores(m, scores, e)
    m.write_f32(sums, lane_sum(e))
    m.count("attn.exponentials", x.size)


@instruction("attn.mvgb.f32     R4 opcode=0x7B funct3=7 funct2=1", "for head h: probs[h,i] = e[h,i] / sums[h]",
             operands="probs>f32[heads,n] e<f32[heads,n] sums<f32[heads] n",
             example="vec.add.f32 a2, a2, a4, a5       # the sums of all cores\nattn.mvgb.f32 a1, a1, a2, a3")
def attn_mvgb_f32(m, probs, e, sums, n):
    if n == 0:
        return
    values = read_scores(m, e, n)
    write_scores(m, probs, values / m.read_f32(sums, len(values))[:, None])
    m.count("attn.elements", values.size)
