"""vec: the kernels by instruction. What they do stands by theme in emulator/:

    elementwise.py      one or two vectors to one           normalisation.py    softmax, norms, rope, quantisation
    reductions.py       a vector to a number                dense.py            matrix-vector products
"""

from __future__ import annotations

import numpy as np

from emulator.kernel_words import DONE, PUNT, count, inline, readable, result, slot, writable
from emulator.load_kernels import kernel
from emulator.native.machine_code import load, store
from emulator.simd.functions import NAN, ZERO
from emulator.simd.lanes import put, put_part, same_bits, spread
from emulator.units.vec import dense, normalisation
from emulator.units.vec import elementwise as each
from emulator.units.vec import reductions as whole
from emulator.units.vec.elementwise import AXPY, MOST, SCALE, VEC, apart, map_one, map_two

ELEMENTS, MACS, EXPONENTIALS = slot("vec.elements"), slot("vec.macs"), slot("vec.exponentials")
f32, i32, u32, i8, u16, i64 = np.float32, np.int32, np.uint32, np.int8, np.uint16, np.int64
CANONICAL = 0x7FC0_0000


@inline
def scalar(bits):
    """The fp32 number in the low 32 bits of a register."""
    return same_bits(i32(bits), f32)


@inline
def bits_of(value):
    """What a result register holds of an fp32 number."""
    return i64(same_bits(value, u32)) if value == value else CANONICAL


# ------------------------------------------------------------------------------------------------ one vector to one vector


def _unary(mnemonic, operation, to_size=4, size=4, kind=f32, exponentials=0):
    """`exponentials`: how many an element needs."""
    @kernel(mnemonic)
    def unary(dst, x, n, _, block):
        status = map_one(operation, to_size, size, kind, dst, x, ZERO, n, block)
        if status == DONE:
            count(block, ELEMENTS, n)
            if exponentials:
                count(block, EXPONENTIALS, n)
        return status


_unary("vec.relu.f32",     each.RELU)
_unary("vec.relu2.f32",    each.RELU2)
_unary("vec.silu.f32",     each.SILU, exponentials=1)
_unary("vec.gelu.f32",     each.GELU, exponentials=1)
_unary("vec.exp.f32",      each.EXP, exponentials=1)
_unary("vec.sigmoid.f32",  each.SIGMOID, exponentials=1)
_unary("vec.tanh.f32",     each.TANH, exponentials=1)
_unary("vec.sqrt.f32",     each.SQRT)
#                                           bytes of a result, of an element
_unary("vec.cvt.f16.f32",  each.TO_F16,     2, 4)
_unary("vec.cvt.bf16.f32", each.TO_BF16,    2, 4)
_unary("vec.cvt.f32.f16",  each.FROM_F16,   4, 2, u16)
_unary("vec.cvt.f32.bf16", each.FROM_BF16,  4, 2, u16)
_unary("vec.cvt.f32.i32",  each.FROM_I32,   4, 4, i32)
_unary("vec.cvt.i32.f32",  each.TO_I32,     4, 4)


@kernel("vec.scale.f32")
def vec_scale_f32(dst, x, s, n, block):
    status = map_one(SCALE, 4, 4, f32, dst, x, scalar(s), n, block)
    if status == DONE:
        count(block, ELEMENTS, n)
    return status


@kernel("vec.fill.32")
def vec_fill_32(dst, value, n, _, block):
    if n < 0 or n > MOST:
        return PUNT
    target, writes = writable(block, VEC, dst, 4 * n, 4)
    if target == 0:
        return PUNT
    values = spread(i32(value))
    for i in range(0, n & -16, 16):
        put(target + 4 * i, values)
    if n & 15:
        put_part(target + 4 * (n & -16), values, n & 15)
    count(block, writes, 4 * n)
    count(block, ELEMENTS, n)
    return DONE


@kernel("vec.cumsum.f32")
def vec_cumsum_f32(dst, x, n, _, block):
    if n < 0 or n > MOST:
        return PUNT
    source, reads = readable(block, VEC, x, 4 * n, 4)
    target, writes = writable(block, VEC, dst, 4 * n, 4)
    if source == 0 or target == 0 or not apart(source, 4 * n, target, 4 * n):
        return PUNT
    if n:
        total = load(source, f32)
        store(target, total if total == total else NAN)
        for i in range(1, n):
            total = f32(total + load(source + 4 * i, f32))
            store(target + 4 * i, total if total == total else NAN)
    count(block, reads, 4 * n)
    count(block, writes, 4 * n)
    count(block, ELEMENTS, n)
    return DONE


# ------------------------------------------------------------------------------------------------ two vectors to one


def _binary(mnemonic, operation, kind=f32):
    @kernel(mnemonic)
    def binary(dst, a, b, n, block):
        status = map_two(operation, kind, dst, a, b, ZERO, n, block)
        if status == DONE:
            count(block, ELEMENTS, n)
        return status


_binary("vec.add.f32",     each.ADD)
_binary("vec.sub.f32",     each.SUB)
_binary("vec.mul.f32",     each.MUL)
_binary("vec.div.f32",     each.DIV)
_binary("vec.minimum.f32", each.MINIMUM)
_binary("vec.maximum.f32", each.MAXIMUM)
_binary("vec.add.i32",     each.ADD_I32, i32)


@kernel("vec.axpy.f32")
def vec_axpy_f32(y, s, x, n, block):
    status = map_two(AXPY, f32, y, y, x, scalar(s), n, block)
    if status == DONE:
        count(block, MACS, n)
    return status


# ------------------------------------------------------------------------------------------------ reductions

SUM, LARGEST, SMALLEST, LARGEST_MAGNITUDE, INDEX_OF_LARGEST = range(5)


def _reduction(mnemonic, operation, most=MOST):
    @kernel(mnemonic)
    def reduction(x, n, _2, _3, block):
        if n < 0 or n > most:
            return PUNT
        source, reads = readable(block, VEC, x, 4 * n, 4)
        if source == 0:
            return PUNT
        if operation == SUM:
            result(block, bits_of(whole.lane_sum(source, n)))
        elif operation == LARGEST:
            result(block, bits_of(whole.largest(source, n)))
        elif operation == SMALLEST:
            result(block, bits_of(whole.smallest(source, n)))
        elif operation == LARGEST_MAGNITUDE:
            result(block, bits_of(whole.largest_magnitude(source, n)))
        else:
            result(block, whole.index_of_largest(source, n))
        count(block, reads, 4 * n)
        count(block, ELEMENTS, n)
        return DONE


_reduction("vec.sum.f32",    SUM)
_reduction("vec.max.f32",    LARGEST)
_reduction("vec.min.f32",    SMALLEST)
_reduction("vec.absmax.f32", LARGEST_MAGNITUDE)
_reduction("vec.argmax.f32", INDEX_OF_LARGEST, whole.LANE_NUMBERS_END - 16)


@kernel("vec.dot.f32")
def vec_dot_f32(a, b, n, _, block):
    if n < 0 or n > MOST:
        return PUNT
    first, first_reads = readable(block, VEC, a, 4 * n, 4)
    second, second_reads = readable(block, VEC, b, 4 * n, 4)
    if first == 0 or second == 0:
        return PUNT
    result(block, bits_of(whole.lane_sum_of_products(first, second, n)))
    count(block, first_reads, 4 * n)
    count(block, second_reads, 4 * n)
    count(block, MACS, n)
    return DONE


# ------------------------------------------------------------------------------------------------ normalisation, quantisation


@kernel("vec.softmax.f32")
def vec_softmax_f32(dst, x, n, _, block):
    return normalisation.softmax(dst, x, n, block)


@kernel("vec.rmsnorm.f32")
def vec_rmsnorm_f32(dst, x, gain, n, block):
    return normalisation.normalise(False, dst, x, gain, n, block)


@kernel("vec.layernorm.f32")
def vec_layernorm_f32(dst, x, gain, n, block):
    return normalisation.normalise(True, dst, x, gain, n, block)


@kernel("vec.rope.f32")
def vec_rope_f32(dst, x, table, n, block):
    return normalisation.rotate(True, dst, x, table, n, block)


@kernel("vec.ropehalf.f32")
def vec_ropehalf_f32(dst, x, table, n, block):
    return normalisation.rotate(False, dst, x, table, n, block)


@kernel("vec.quant.i8")
def vec_quant_i8(dst, x, scale, n, block):
    return normalisation.quantise(dst, x, scale, n, block)


@kernel("vec.dequant.i8")
def vec_dequant_i8(dst, x, scale, n, block):
    return normalisation.dequantise(1, i8, dst, x, scale, n, block)


@kernel("vec.dequant.i32")
def vec_dequant_i32(dst, x, scale, n, block):
    return normalisation.dequantise(4, i32, dst, x, scale, n, block)


# ------------------------------------------------------------------------------------------------ dense mat-vec


def _products(gemv_mnemonic, mac_t_mnemonic, form, size):
    @kernel(gemv_mnemonic)
    def gemv(y, W, x, rows, block):
        return dense.gemv(form, size, y, W, x, rows, block)

    @kernel(mac_t_mnemonic)
    def mac_t(y, W, h, rows, block):
        return dense.mac_t(form, size, y, W, h, rows, block)


_products("vec.gemv.f32",    "vec.macT.f32",    dense.F32,  4)
_products("vec.gemv.f16",    "vec.macT.f16",    dense.F16,  2)
_products("vec.gemv.bf16",   "vec.macT.bf16",   dense.BF16, 2)
_products("vec.gemv.i8.f32", "vec.macT.i8.f32", dense.I8,   1)


@kernel("vec.gemv.i8")
def vec_gemv_i8(y, W, x, rows, block):
    return dense.gemv_i8(y, W, x, rows, block)


@kernel("vec.macT.i8")
def vec_mac_t_i8(y, W, h, rows, block):
    return dense.mac_t_i8(y, W, h, rows, block)
