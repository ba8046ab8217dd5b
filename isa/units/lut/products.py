"""Products of packed weights with the activations that are loaded, and the numbers of the formats."""

from __future__ import annotations

import numpy as np

from isa.arithmetic import group_count, lane_sum
from isa.instruction import instruction
from isa.numbers import FORMATS
from isa.units.lut.counting import count_columns_of_codes, count_longest, work_of
from isa.units.lut.loading import check_settings, loaded, scale_group
from isa.units.lut.weights import CHUNK, row_stride_of, weights_of
from isa.vectors import accumulate, before, check_results, result_stride

FORMAT_NUMBERS = {"b1": 0, "t2": 1, "t5": 2, "i2": 3, "i3": 4, "i4": 5, "i8": 6, "c2": 7, "c3": 8, "c4": 9}
"""The weight formats and their numbers. A number has four bits and is the same in all instructions; the next format gets 10.

    lut.mac     funct7 = number
    lut.macT    funct7 = 16 + number
    lut.gemv    funct3 = 1, 2, 3, 6 for number / 4 = 0, 1, 2, 3; funct2 = number mod 4
    lut.decode  codebooks alone: funct3 = 4, funct2 = 1, 2, 3 for c2, c3, c4
"""


def _define_mac(number: int, name: str) -> None:
    fmt = FORMATS[name]
    count_work = work_of(fmt)

    @instruction(f"lut.mac.{name}   R  opcode=0x2B funct3=0 funct7={number:#04x}",
                 "acc[v, r] += (sum over c of W[r, c] * activation[v, c]) << lut.shift",
                 operands=f"acc<>i32[vectors,rows] W<{name}[rows,length] rows",
                 example=f"lut.build.i8 a0, a1, a2\nlut.mac.{name} a3, a4, a5")
    def lut_mac(m, acc, W, rows):
        check_settings(m)
        x = loaded(m)
        vectors, length = x.shape
        row_stride, step = row_stride_of(m, fmt, rows, length), result_stride(m, "lut.result_stride", rows)
        start = before(m, acc, vectors, rows, step)
        matrix = weights_of(m, fmt, W, rows, length, row_stride, CHUNK // max(length, 1) + 1)
        check_results(m, acc, vectors, rows, step)
        sums, steps = np.zeros((vectors, rows), np.int32), np.zeros(rows, np.int64)
        for first, weights in matrix:
            chunk = slice(first, first + len(weights))
            sums[:, chunk] = x @ weights.astype(np.int32).T
            steps[chunk] = count_work(m, fmt, weights, vectors)
        count_longest(m, steps, vectors)
        accumulate(m, acc, start, sums, m.csr("lut.shift"), step)


def _define_macT(number: int, name: str) -> None:
    fmt = FORMATS[name]
    count_work = work_of(fmt, count_columns_of_codes)

    @instruction(f"lut.macT.{name}  R  opcode=0x2B funct3=0 funct7={0x10 + number:#04x}",
                 "acc[v, c] += (sum over j of activation[v, j] * W[j, c]) << lut.shift",
                 operands=f"acc<>i32[vectors,cols] W<{name}[length,cols] cols",
                 example=f"lut.build.i8 a0, a1, a2\nlut.macT.{name} a3, a4, a5")
    def lut_macT(m, acc, W, cols):
        check_settings(m)
        x = loaded(m)
        vectors, length = x.shape
        row_stride, step = row_stride_of(m, fmt, length, cols), result_stride(m, "lut.result_stride", cols)
        start = before(m, acc, vectors, cols, step)
        whole = 4 * 7 * 8       # groups run down the rows here: cut between the groups of every mode
        matrix = weights_of(m, fmt, W, length, cols, row_stride, (CHUNK // max(cols, 1) // whole + 1) * whole, by_output=False)
        check_results(m, acc, vectors, cols, step)
        sums, steps = np.zeros((vectors, cols), np.int32), np.zeros(cols, np.int64)
        for first, weights in matrix:
            sums += x[:, first:first + len(weights)] @ weights.astype(np.int32)
            steps += count_work(m, fmt, weights.T, vectors)
        count_longest(m, steps, vectors)
        accumulate(m, acc, start, sums, m.csr("lut.shift"), step)


def _define_gemv(number: int, name: str) -> None:
    fmt = FORMATS[name]
    count_work = work_of(fmt)

    @instruction(f"lut.gemv.{name}  R4 opcode=0x2B funct3={(1, 2, 3, 6)[number // 4]} funct2={number % 4}",
                 "y[v, r] = lanesum over g of f32(sum over c in g of W[r, c] * activation[v, c]) * (scale[r, g] * x_scale[v, g])",
                 operands=f"y>f32[vectors,rows] W<{name}[rows,length] scale<f32[rows,groups] rows",
                 example=f"lut.build.i8 a0, a1, a2\nlut.gemv.{name} a3, a4, a5, a6")
    def lut_gemv(m, y, W, scale, rows):
        check_settings(m)
        x, group = loaded(m), scale_group(m)
        vectors, length = x.shape
        groups = group_count(length, group)
        starts = np.arange(0, length, min(group, length) or length or 1)                # first column of each group
        row_stride, step = row_stride_of(m, fmt, rows, length), result_stride(m, "lut.result_stride", rows)
        matrix = weights_of(m, fmt, W, rows, length, row_stride, CHUNK // max(length, 1) + 1)
        per_group = m.csr("lut.scale_group") != 0
        w_scale = m.read_f32(scale, rows * groups if per_group else min(rows * groups, 1))
        check_results(m, y, vectors, rows, step)
        x_groups = group_count(length, int(m.state["lut.x_group"][0]))
        x_scale = m.state["lut.scales"][:vectors * x_groups].reshape(vectors, x_groups)
        result, steps = np.zeros((vectors, rows), np.float32), np.zeros(rows, np.int64)
        for first, weights in matrix:
            chunk = slice(first, first + len(weights))
            for v in range(vectors):
                sums = np.add.reduceat(weights * x[v], starts, axis=1, dtype=np.int32)  # (k, groups)
                factors = (w_scale.reshape(rows, groups)[chunk] if per_group else w_scale) * x_scale[v]
                result[v, chunk] = lane_sum(sums.astype(np.float32) * factors)
            steps[chunk] = count_work(m, fmt, weights, vectors)
        count_longest(m, steps, vectors)
        for v in range(vectors):
            m.write_f32(y + v * step, result[v])


for _define in (_define_mac, _define_macT, _define_gemv):
    for _name, _number in FORMAT_NUMBERS.items():
        _define(_number, _name)
