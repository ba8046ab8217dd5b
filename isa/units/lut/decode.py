"""Codes of a codebook to f32."""

from __future__ import annotations

import numpy as np

from isa.arithmetic import group_count
from isa.instruction import instruction
from isa.numbers import FORMATS
from isa.units.lut.counting import looked_up


def _define_decode(number: int, name: str) -> None:
    fmt = FORMATS[name]

    @instruction(f"lut.decode.{name}  R4 opcode=0x2B funct3=4 funct2={number}",
                 "dst[i] = codebook_f32[codes[i]] * scale[i / lut.scale_group]",
                 operands=f"dst>f32[n] codes<{name}[n] scale<f32[groups] n",
                 example=f"lut.codebook.f32 a0, a1\nlut.decode.{name} a2, a3, a4, a5")
    def lut_decode(m, dst, codes, scale, n):
        group = m.csr("lut.scale_group")
        m.check_write(dst, 4 * n, 4)
        weights = fmt.unpack(m.read(codes, fmt.row_bytes(n)).reshape(1, -1), n)[0]
        scales = m.read_f32(scale, group_count(n, group))
        m.write_f32(dst, m.state["lut.codebook_f32"][weights] * scales[np.arange(n) // (min(group, n) or n)])
        lookups = looked_up(m, n)
        m.count("lut.lookups", lookups)
        m.count("lut.steps", lookups)
        m.count("lut.steps_longest", group_count(lookups, m.parameter("lut.cores")))
        m.count("lut.weight_bytes", fmt.row_bytes(n))


for _number, _name in enumerate(("c2", "c3", "c4"), start=1):
    _define_decode(_number, _name)
