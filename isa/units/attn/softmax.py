"""Score rows: a mask, and the softmax of each head, whole or in the three parts between which the cores of a split head talk."""

from __future__ import annotations

import numpy as np

from isa import arithmetic as exact
from isa.arithmetic import lane_sum
from isa.instruction import instruction
from isa.units.attn.cache import score_rows


def _masked(m, scores, n):
    """The scores of the heads set, -infinity where the mask is 0: (heads, n)."""
    rows, mask, stride = score_rows(m, scores, n), m.csr("attn.mask"), m.csr("attn.mask_stride")
    values = np.stack([m.read_f32(row, n) for row in rows])
    m.count("attn.elements", values.size)
    if not mask:
        return values
    masks = [m.read(mask + head * stride, -(-n // 8)) for head in range(len(rows) if stride else 1)]
    kept = np.unpackbits(np.stack(masks), axis=1, bitorder="little")[:, :n] == 1
    m.count("attn.masked", np.count_nonzero(np.broadcast_to(~kept, values.shape)))
    return np.where(kept, values, -exact.INFINITY)


def _write_rows(m, base, values):
    """Write values (heads, n) to the score rows at `base`."""
    for row, value in zip(score_rows(m, base, values.shape[1]), values, strict=True):
        m.write_f32(row, value)


@instruction("attn.sfm.f32      R  opcode=0x7B funct3=4 funct7=0x21",
             "for head h, with x[i] = mask bit i ? scores[h,i] : -inf: e[i] = e ** (x[i] - max(x)); probs[h,i] = e[i] / lanesum(e)",
             operands="probs>f32[heads,n] scores<f32[heads,n] n", example="attn.sfm.f32 a1, a1, a3          # in place")
def attn_sfm_f32(m, probs, scores, n):
    if n == 0:
        return
    x = _masked(m, scores, n)
    _write_rows(m, probs, np.stack([exact.softmax(row) for row in x]))
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
    _write_rows(m, scores, e)
    m.write_f32(sums, lane_sum(e))
    m.count("attn.exponentials", x.size)


@instruction("attn.mvgb.f32     R4 opcode=0x7B funct3=7 funct2=1", "for head h: probs[h,i] = e[h,i] / sums[h]",
             operands="probs>f32[heads,n] e<f32[heads,n] sums<f32[heads] n",
             example="vec.add.f32 a2, a2, a4, a5       # the sums of all cores\nattn.mvgb.f32 a1, a1, a2, a3")
def attn_mvgb_f32(m, probs, e, sums, n):
    if n == 0:
        return
    values = np.stack([m.read_f32(row, n) for row in score_rows(m, e, n)])
    _write_rows(m, probs, values / m.read_f32(sums, len(values))[:, None])
    m.count("attn.elements", values.size)
