"""Products of a matrix with the vectors: of integers to int32, of integers with scales and of floats to f32."""

from __future__ import annotations

import numpy as np

from isa.arithmetic import group_count, lane_sum
from isa.instruction import instruction
from isa.numbers import FORMATS
from isa.units.sp.matrices import FLOATS, INTEGERS, LAYOUTS, OFFSETS, number, products
from isa.units.sp.vectors import float_vectors_built, scale_group, shift_of, vectors_built, write_results
from isa.vectors import accumulate, before, check_results, result_stride

# ------------------------------------------------------------------------------------------------ products of integers


def _define_mac(kind: str, form: str) -> None:
    fmt, layout_of, offsets_of = FORMATS[form], LAYOUTS[kind], OFFSETS[kind]

    @instruction(f"sp.mac.{kind}.{form}  R  opcode=0x2B funct3=7 funct7={number(kind, form):#04x}",
                 "acc[v, r] += (sum over stored c of W[r, c] * vector[v, c]) << sp.shift",
                 operands=f"acc<>i32[vectors,rows] W<{form}[stored] rows",
                 example=f"sp.build.i8 a0, a1, a2\ncsrw sp.meta, a6\nsp.mac.{kind}.{form} a3, a4, a5")
    def sp_mac(m, acc, W, rows):
        shift, layout, x = shift_of(m), layout_of(m), vectors_built(m)
        vectors, cols = x.shape
        step = result_stride(m, "sp.result_stride", rows)
        start, sums = before(m, acc, vectors, rows, step), np.zeros((vectors, rows), np.int32)
        for first, dense, _ in products(m, layout, offsets_of, fmt, W, rows, cols, vectors):
            sums[:, first:first + len(dense)] = x @ dense.astype(np.int32).T
        check_results(m, acc, vectors, rows, step)
        accumulate(m, acc, start, sums, shift, step)


def _define_macT(kind: str, form: str) -> None:
    fmt, layout_of, offsets_of = FORMATS[form], LAYOUTS[kind], OFFSETS[kind]

    @instruction(f"sp.macT.{kind}.{form} R  opcode=0x2B funct3=7 funct7={0x20 + number(kind, form):#04x}",
                 "acc[v, c] += (sum over j that stores c of vector[v, j] * W[j, c]) << sp.shift",
                 operands=f"acc<>i32[vectors,cols] W<{form}[stored] cols",
                 example=f"sp.build.i8 a0, a1, a2\ncsrw sp.meta, a6\nsp.macT.{kind}.{form} a3, a4, a5")
    def sp_macT(m, acc, W, cols):
        shift, layout, x = shift_of(m), layout_of(m), vectors_built(m)
        vectors, rows = x.shape
        step = result_stride(m, "sp.result_stride", cols)
        start, sums = before(m, acc, vectors, cols, step), np.zeros((vectors, cols), np.int32)
        for first, dense, _ in products(m, layout, offsets_of, fmt, W, rows if cols else 0, cols, vectors):
            sums += x[:, first:first + len(dense)] @ dense.astype(np.int32)
        check_results(m, acc, vectors, cols, step)
        accumulate(m, acc, start, sums, shift, step)


# ------------------------------------------------------------------------------------------------ products to f32

def _define_gemv(kind: str, form: str) -> None:
    fmt, layout_of, offsets_of = FORMATS[form], LAYOUTS[kind], OFFSETS[kind]

    @instruction(f"sp.gemv.{kind}.{form} R  opcode=0x2B funct3=7 funct7={0x40 + number(kind, form):#04x}",
                 "y[v, r] = lanesum over g of f32(sum over stored c in g of W[r, c] * vector[v, c]) "
                 "* (scale[r, g] * x_scale[v, g])",
                 operands=f"y>f32[vectors,rows] W<{form}[stored] rows",
                 example=f"sp.build.i8 a0, a1, a2\ncsrw sp.meta, a6\ncsrw sp.scales, a7\nsp.gemv.{kind}.{form} a3, a4, a5")
    def sp_gemv(m, y, W, rows):
        layout, x, group = layout_of(m), vectors_built(m), scale_group(m)
        vectors, cols = x.shape
        groups, step = group_count(cols, group), result_stride(m, "sp.result_stride", rows)
        starts = np.arange(0, cols, min(group, cols) or cols or 1)                      # first column of each group
        per_group = m.csr("sp.scale_group") != 0
        scale = m.read_f32(m.csr("sp.scales"), rows * groups if per_group else min(rows * groups, 1))
        x_groups = group_count(cols, int(m.state["sp.x_group"][0]))
        x_scale = m.state["sp.scales"][:vectors * x_groups].reshape(vectors, x_groups)
        result = np.zeros((vectors, rows), np.float32)
        for first, dense, _ in products(m, layout, offsets_of, fmt, W, rows, cols, vectors):
            chunk = slice(first, first + len(dense))
            for v in range(vectors):
                sums = np.add.reduceat(dense * x[v], starts, axis=1, dtype=np.int32)    # (k, groups)
                factors = (scale.reshape(rows, groups)[chunk] if per_group else scale) * x_scale[v]
                result[v, chunk] = lane_sum(sums.astype(np.float32) * factors)
        write_results(m, y, result, step)


def _define_float_gemv(kind: str, form: str) -> None:
    fmt, layout_of, offsets_of = FORMATS[form], LAYOUTS[kind], OFFSETS[kind]

    @instruction(f"sp.gemv.{kind}.{form} R  opcode=0x2B funct3=7 funct7={0x40 + number(kind, form):#04x}",
                 "y[v, r] = lanesum over stored c of W[r, c] * vector[v, c], in lane c mod 16",
                 operands=f"y>f32[vectors,rows] W<{form}[stored] rows",
                 example=f"sp.build.f32 a0, a2\ncsrw sp.meta, a6\nsp.gemv.{kind}.{form} a3, a4, a5")
    def sp_gemv(m, y, W, rows):
        layout, x = layout_of(m), float_vectors_built(m)
        vectors, cols = x.shape
        step, result = result_stride(m, "sp.result_stride", rows), np.zeros((vectors, rows), np.float32)
        for first, dense, stored in products(m, layout, offsets_of, fmt, W, rows, cols, vectors):
            for v in range(vectors):
                result[v, first:first + len(dense)] = lane_sum(np.where(stored, dense * x[v], np.float32(0)))
        write_results(m, y, result, step)


for _kind in LAYOUTS:
    for _form in INTEGERS:
        _define_mac(_kind, _form)
for _kind in LAYOUTS:
    for _form in INTEGERS:
        _define_macT(_kind, _form)
for _kind in LAYOUTS:
    for _form in INTEGERS:
        _define_gemv(_kind, _form)
    for _form in FLOATS:
        _define_float_gemv(_kind, _form)
