"""Bipolar integers bit plane by bit plane, and parts of activations."""

from __future__ import annotations

import numpy as np

from isa.arithmetic import group_count
from isa.instruction import instruction
from isa.numbers import FORMATS
from isa.traps import Cause, Trap
from isa.units.lut.counting import count_longest
from isa.units.lut.loading import B1, check_settings, loaded
from isa.units.lut.weights import CHUNK, row_stride_of, weights_of
from isa.vectors import accumulate, before, check_results, result_stride

_XNOR_WIDTH = 64        # columns that one step compares
_XNOR_PASSES = 9        # of int8 activations: their bit planes, and one for the sum of the weights


def agreements(x, weights):
    """The sum of each of the weights times x, of +1 and -1: (length,), (rows, length) -> (rows,)."""
    return 2 * (weights == x).sum(axis=1) - len(x)


def plane_by_plane(x, weights):
    """The sums of `weights` (rows, length), +1 and -1, times int8 `x` (length,), from the bit planes of x. With the bits of
    two's complement as +1 and -1 the planes make 2 x + 1: the sum of the weights is too much, and all is twice too much."""
    total = -agreements(np.ones(len(x), np.int8), weights)
    for bit in range(8):
        plane = np.where(x >> bit & 1, 1, -1)
        total += agreements(plane, weights) * (1 << bit if bit < 7 else -(1 << bit))
    return total >> 1


@instruction("lut.xnor         R  opcode=0x2B funct3=0 funct7=0x23",
             "acc[v, r] += (2 * popcount(xnor(W[r], activations of v)) - length) << lut.shift; "
             "of int8 activations (sum over c of W[r, c] * activation[v, c]) << lut.shift, from their bit planes",
             operands="acc<>i32[vectors,rows] W<b1[rows,length] rows",
             example="lut.build.b1 a0, a1         # bit plane j of the activations\n"
                     "csrwi lut.shift, 3          # i + j = 3\n"
                     "lut.xnor a2, a3, a4         # bit plane i of the weights")
def lut_xnor(m, acc, W, rows):
    check_settings(m)
    x, binary = loaded(m), m.state["lut.kind"][0] == B1
    vectors, length = x.shape
    row_stride, step = row_stride_of(m, FORMATS["b1"], rows, length), result_stride(m, "lut.result_stride", rows)
    start = before(m, acc, vectors, rows, step)
    matrix = weights_of(m, FORMATS["b1"], W, rows, length, row_stride, CHUNK // max(length, 1) + 1)
    check_results(m, acc, vectors, rows, step)
    sums, steps = np.zeros((vectors, rows), np.int32), group_count(length, _XNOR_WIDTH) * (1 if binary else _XNOR_PASSES)
    for first, weights in matrix:
        for v in range(vectors):
            sums[v, first:first + len(weights)] = agreements(x[v], weights) if binary else plane_by_plane(x[v], weights)
        m.count("lut.macs", vectors * weights.size)
        m.count("lut.steps", vectors * len(weights) * steps)
    count_longest(m, np.full(rows, steps), vectors)
    accumulate(m, acc, start, sums, m.csr("lut.shift"), step)


@instruction("lut.plane        R4 opcode=0x2B funct3=5 funct2=0", "dst[i] = bit `bit` of x[i], as +1 for 1 and -1 for 0",
             operands="dst>b1[n] x<u8[n] bit n", example="li a2, 7\nlut.plane a0, a1, a2, a3    # the top bits of a3 codes")
def lut_plane(m, dst, x, bit, n):
    if bit > 7:
        raise Trap(Cause.ILLEGAL_OPERAND, bit, f"bit {bit} of a byte; expected 0..7")
    m.write(dst, np.packbits(m.read_u8(x, n) >> bit & 1, bitorder="little"))


@instruction("lut.part.i8      R4 opcode=0x2B funct3=5 funct2=2",
             "dst[i] = part 0 of x[i]: its lower four bits, 0..15; or part 1: its upper ones, -8..7. x = part 0 + 16 * part 1",
             operands="dst>i8[n] x<i8[n] part n",
             example="li a2, 1\nlut.part.i8 a0, a1, a2, a3  # the upper four bits of a3 activations")
def lut_part_i8(m, dst, x, part, n):
    if part > 1:
        raise Trap(Cause.ILLEGAL_OPERAND, part, f"part {part} of an activation of 8 bits; expected 0 or 1")
    m.write_i8(dst, m.read_i8(x, n) >> 4 if part else m.read_i8(x, n) & 15)


@instruction("lut.part.i16     R4 opcode=0x2B funct3=5 funct2=3",
             "v = the lower 16 bits of x[i], two's complement. dst[i] = part 0, 1 or 2: bits 4 * part to 4 * part + 3 of v, 0..15; "
             "or part 3: its upper four bits, -8..7. v = sum over p of part p * 16**p",
             operands="dst>i8[n] x<i32[n] part n",
             example="vec.cvt.i32.f32 a1, a1, a3      # activations as integers of 16 bits\nli a2, 3\n"
                     "lut.part.i16 a0, a1, a2, a3     # their upper four bits")
def lut_part_i16(m, dst, x, part, n):
    if part > 3:
        raise Trap(Cause.ILLEGAL_OPERAND, part, f"part {part} of an activation of 16 bits; expected 0..3")
    values = m.read_i32(x, n) >> 4 * part
    m.write_i8(dst, (values + 8 & 15) - 8 if part == 3 else values & 15)
