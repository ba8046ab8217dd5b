"""int8 networks: convolutions, pools, additions, normalisation and softmax, all with int8 operands and results.

What windows and results have in common stands in isa/windows.py, how integers are rounded in isa/quantised.py. Encoding: custom-2
(0x5B), funct3=6 (R), and vec.add.i8 beside the quantisation of vec (R4).

Sources: CMSIS-NN (Apache-2.0) for requantisation, addition and softmax; TinyFormer, arXiv 2311.01759, and TorchQuanter for layer
norm.
"""

from __future__ import annotations

import numpy as np

from isa import quantised
from isa.instruction import instruction
from isa.traps import Cause, Trap
from isa.windows import (
    clamped,
    factors,
    offsets,
    products,
    read_weights,
    read_windows,
    result_stride,
    scaled,
    weight_stride,
    windows_of,
    write_results,
)


@instruction("vec.conv.i8      R  opcode=0x5B funct3=6 funct7=0x00",
             "y[v, o] = result of the sum of (x[e] + x_offset) * (W[o, e] + w_offset), e of window v, + bias[o]",
             operands="y>i8[windows,outputs] x<i8[image] W<i8[outputs,window]",
             example="csrw vec.cols, s0               # channels; one window of one tap: a fully connected layer\n"
                     "csrw vec.outputs, s1\ncsrw vec.multipliers, s2\ncsrw vec.shifts, s3\nvec.conv.i8 a0, a1, a2")
def vec_conv_i8(m, y, x, W):
    some = windows_of(m)
    outputs = m.csr("vec.outputs")
    if not some or not outputs:
        return
    stride, of_weights, (x_offset, w_offset, _) = result_stride(m, some.many, outputs), weight_stride(m, some.elements), offsets(m)
    image = read_windows(m, x, some).reshape(some.many, -1)
    weights = read_weights(m, W, outputs, some.elements, of_weights)
    write_results(m, y, products(image + x_offset, weights + w_offset), stride)
    m.count("vec.elements", outputs * some.many)
    m.count("vec.macs", outputs * some.many * some.elements)
    m.count("vec.macs_i8", outputs * some.many * some.elements)


@instruction("vec.depthwise.i8 R  opcode=0x5B funct3=6 funct7=0x01",
             "y[v, c] = result of the sum of (x[t, c] + x_offset) * (W[t, c] + w_offset), t of window v, + bias[c]",
             operands="y>i8[windows,channels] x<i8[image] W<i8[taps,channels]",
             example="csrwi vec.scale_group, 1        # a multiplier and a shift for each channel\n"
                     "vec.depthwise.i8 a0, a1, a2")
def vec_depthwise_i8(m, y, x, W):
    some = windows_of(m)
    if not some:
        return
    stride, of_weights, (x_offset, w_offset, _) = (result_stride(m, some.many, some.channels), weight_stride(m, some.channels),
                                                   offsets(m))
    image = read_windows(m, x, some) + x_offset
    weights = read_weights(m, W, some.taps, some.channels, of_weights) + w_offset
    write_results(m, y, (image * weights).sum(axis=1), stride)
    m.count("vec.elements", some.many * some.channels)
    m.count("vec.macs", some.many * some.elements)
    m.count("vec.macs_i8", some.many * some.elements)


@instruction("vec.maxpool.i8   R  opcode=0x5B funct3=6 funct7=0x02",
             "y[v, c] = result of the largest x[t, c], t of window v, + x_offset",
             operands="y>i8[windows,channels] x<i8[image]",
             example="vec.maxpool.i8 a0, a1           # windows as vec.windows and vec.taps say")
def vec_maxpool_i8(m, y, x):
    some = windows_of(m)
    if not some:
        return
    stride, offset = result_stride(m, some.many, some.channels), offsets(m)[0]
    write_results(m, y, read_windows(m, x, some).max(axis=1) + offset, stride, biased=False)
    m.count("vec.elements", some.many * some.channels)
    m.count("vec.reduced", some.many * some.elements)


@instruction("vec.meanpool.i8  R  opcode=0x5B funct3=6 funct7=0x03",
             "y[v, c] = result of the sum of x[t, c], t of window v, / taps, to nearest, half away from zero, + x_offset",
             operands="y>i8[windows,channels] x<i8[image]",
             example="vec.meanpool.i8 a0, a1          # one window: the mean of an image")
def vec_meanpool_i8(m, y, x):
    some = windows_of(m)
    if not some:
        return
    stride, offset = result_stride(m, some.many, some.channels), offsets(m)[0]
    mean = quantised.divided(read_windows(m, x, some).sum(axis=1), some.taps)
    write_results(m, y, mean + offset, stride, biased=False)
    m.count("vec.elements", some.many * some.channels)
    m.count("vec.reduced", some.many * some.elements)
    m.count("vec.divisions", some.many * some.channels)


@instruction("vec.layernorm.i8 R  opcode=0x5B funct3=6 funct7=0x04",
             "of each window, n elements: mean = (sum(x + x_offset) + n/2) / n; d = x + x_offset - mean; "
             "f = 128 / max(isqrt(sum(d*d) / n), 1); y[i] = result of clamp16(d[i] * f) * gain[i] + bias[i]",
             operands="y>i8[windows,window] x<i8[image] gain<i8[window]",
             example="csrw vec.bias, s4               # i32, as many as gains\nvec.layernorm.i8 a0, a0, a2      # in place")
def vec_layernorm_i8(m, y, x, gain):
    some = windows_of(m)
    if not some:
        return
    n, stride, offset = some.elements, result_stride(m, some.many, some.elements), offsets(m)[0]
    rows = read_windows(m, x, some).reshape(some.many, n)
    gains, bias = m.read_i8(gain, n).astype(np.int64), m.read_i32(m.csr("vec.bias"), n).astype(np.int64) if m.csr("vec.bias") else 0
    write_results(m, y, quantised.scaled_layernorm(rows, offset, gains, bias), stride, biased=False)
    m.count("vec.elements", some.many * n)
    m.count("vec.reduced", 2 * some.many * n)
    m.count("vec.divisions", 4 * some.many)


@instruction("vec.softmax.i8   R  opcode=0x5B funct3=6 funct7=0x05",
             "of each window: d[i] = x[i] - max(x), p[i] = e ** (d[i] * 2**shift * multiplier / 2**57), 0 if d[i] < "
             "-vec.cutoff; y[i] = p[i] / sum(p) * 256 - 128",
             operands="y>i8[windows,window] x<i8[image]", example="csrw vec.cutoff, t0\nvec.softmax.i8 a0, a0           # in place")
def vec_softmax_i8(m, y, x):
    some = windows_of(m)
    if not some:
        return
    n, cutoff = some.elements, min(m.csr("vec.cutoff"), 255)
    stride = result_stride(m, some.many, n)
    rows = read_windows(m, x, some).reshape(some.many, n)
    multipliers, shifts = factors(m, 1)
    if shifts[0] < 0:
        raise Trap(Cause.ILLEGAL_OPERAND, 0, f"shift 0 is {shifts[0]}; expected 0..31 for softmax")
    results = quantised.softmax(rows, int(multipliers[0]), int(shifts[0]), cutoff)
    m.check_write(y, m.span(some.many, n, stride))
    for row, values in enumerate(results):
        m.write_i8(y + row * stride, values)
    m.count("vec.elements", some.many * n)
    m.count("vec.exponentials", some.many * n)
    m.count("vec.reduced", 2 * some.many * n)
    m.count("vec.divisions", some.many)


@instruction("vec.requant.i8   R  opcode=0x5B funct3=6 funct7=0x06", "y[r, o] = result of sums[r, o] + bias[o]",
             operands="y>i8[rows,vec.outputs] sums<i32[rows,vec.outputs] rows",
             example="lut.mac.i4 a1, s5, s1           # sums of s1 outputs, from any unit\ncsrw vec.outputs, s1\nli a2, 1\n"
                     "vec.requant.i8 a0, a1, a2")
def vec_requant_i8(m, y, sums, rows):
    outputs = m.csr("vec.outputs")
    if rows and outputs:
        stride = result_stride(m, rows, outputs)
        offsets(m)
        write_results(m, y, m.read_i32(sums, rows * outputs).reshape(rows, outputs).astype(np.int64), stride)
        m.count("vec.elements", rows * outputs)


@instruction("vec.add.i8       R4 opcode=0x0B funct3=4 funct2=3",
             "y[i] = clamp(rq2(rq0((a[i] + x_offset) << vec.left) + rq1((b[i] + w_offset) << vec.left)) + y_offset)",
             operands="y>i8[n] a<i8[n] b<i8[n] n", example="vec.add.i8 a0, a1, a2, a3        # a residual connection of two scales")
def vec_add_i8(m, y, a, b, n):
    if not n:
        return
    left, (a_offset, b_offset, y_offset) = m.csr("vec.left"), offsets(m)
    if left > 31:
        raise Trap(Cause.ILLEGAL_OPERAND, left, f"vec.left is {left}; expected 0..31")
    multipliers, shifts = factors(m, 3)
    first, second = (scaled(m, m.read_i8(at, n).astype(np.int64) + offset << left, multipliers[i], shifts[i])
                     for i, (at, offset) in enumerate(((a, a_offset), (b, b_offset))))
    m.write_i8(y, clamped(m, scaled(m, first + second, multipliers[2], shifts[2]) + y_offset))
    m.count("vec.elements", n)
