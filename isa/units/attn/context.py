"""Context: the values of a cache, weighted by the probabilities of each head."""

from __future__ import annotations

import numpy as np

from isa.instruction import instruction
from isa.units.attn.cache import SCALES, by_row, read_scores, row_stride, score_stride
from isa.units.attn.query import head_layout


def _context(row, form, adds, example=""):
    """A row context = probabilities . values, that starts from zero or adds."""
    def meaning(m, context, values, probs, n):
        if n == 0:
            return
        layout = head_layout(m)
        score_stride(m, n)
        stride = row_stride(m, n, form, "attn.value_stride")
        shape = layout.active, layout.head_dim
        totals = m.read_f32(context, layout.active * layout.head_dim).reshape(shape) if adds else np.zeros(shape, np.float32)
        cached = by_row(m, values, n, form, stride)
        weights = read_scores(m, probs, n)
        for total, factors, (elements, scales) in zip(totals, weights, cached, strict=True):
            for factor, element in zip(factors * scales if form == "i8" else factors, elements, strict=True):
                total[:] = total + factor * element.astype(np.float32)
        m.write_f32(context, totals)
        m.count("attn.probabilities", layout.active * n)
        m.count("attn.macs", totals.size * n)

    weight = "(probs[h,i] * scale of value i)" if form == "i8" else "probs[h,i]"
    instruction(row, ("" if adds else "context[h,c] = 0; ") + "for head h and its kv = h * kv_heads / heads, for i rising: "
                f"context[h,c] = context[h,c] + {weight} * f32(values[i,kv,c])",
                operands=f"context{'<>' if adds else '>'}f32[heads,head_dim] values<{form}[n,kv_heads,head_dim]{SCALES[form]} "
                         "probs<f32[heads,n] n",
                example=example)(meaning)


_context("attn.macT.f32     R4 opcode=0x7B funct3=5 funct2=0", "f32", True,
         example="attn.macT.f32 a0, a1, a2, a3     # a0 += values of the next a3 tokens, by their probabilities")
_context("attn.macT.f16     R4 opcode=0x7B funct3=5 funct2=1", "f16", True,
         example="attn.macT.f16 a0, a1, a2, a3     # one more tile of a cache that is fetched in tiles")
_context("attn.macT.i8      R4 opcode=0x7B funct3=5 funct2=2", "i8", True,
         example="attn.context.i8 a0, a1, a2, a3   # the first tile of a cache ...\n"
                 "attn.macT.i8    a0, a4, a5, a3   # ... and the next one")
_context("attn.context.f32  R4 opcode=0x7B funct3=6 funct2=0", "f32", False,
         example="attn.sfm.f32     a2, a2, a3\nattn.context.f32 a0, a1, a2, a3")
_context("attn.context.f16  R4 opcode=0x7B funct3=6 funct2=1", "f16", False,
         example="attn.sfm.f32     a2, a2, a3\n"
                 "attn.context.f16 a0, a1, a2, a3  # values in fp16, sums in fp32")
_context("attn.context.i8   R4 opcode=0x7B funct3=6 funct2=2", "i8", False,
         example="attn.sfm.f32    a2, a2, a3\n"
                 "attn.context.i8 a0, a1, a2, a3   # each value has a scale for each head")
