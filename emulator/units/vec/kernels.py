"""vec: the kernels by instruction."""

from __future__ import annotations

import numpy as np

from emulator.kernel import IN_PLACE, kernel
from emulator.kernel_words import DONE, count, result, slot
from emulator.native.inlining import specialised
from emulator.native.machine_code import load, store
from emulator.simd.functions import NAN, ZERO
from emulator.simd.lanes import put, put_part, same_bits, spread
from emulator.units.vec import dense, normalisation
from emulator.units.vec import elementwise as each
from emulator.units.vec import reductions as whole
from emulator.units.vec.elementwise import AXPY, SCALE, map_one, map_two

ELEMENTS, MACS, EXPONENTIALS, DIVISIONS, REDUCED = (
    slot(f"vec.{name}") for name in ("elements", "macs", "exponentials", "divisions", "reduced"))
f32, i32, u32, i8, u16, i64 = np.float32, np.int32, np.uint32, np.int8, np.uint16, np.int64
CANONICAL = 0x7FC0_0000


@specialised
def bits_of(value):
    """What a result register holds of an fp32 number."""
    return i64(same_bits(value, u32)) if value == value else CANONICAL


# ------------------------------------------------------------------------------------------------ one vector to one vector


def _unary(mnemonic, operation, to_size=4, size=4, kind=f32, exponentials=False, divisions=False):
    """`exponentials`, `divisions`: True if each element needs one."""
    @kernel(mnemonic, overlap=IN_PLACE)
    def unary(dst, x, n, block):
        map_one(operation, to_size, size, kind, dst, x, ZERO, n)
        count(block, ELEMENTS, n)
        if exponentials:
            count(block, EXPONENTIALS, n)
        if divisions:
            count(block, DIVISIONS, n)
        return DONE


_unary("vec.relu.f32",     each.RELU)
_unary("vec.relu2.f32",    each.RELU2)
_unary("vec.silu.f32",     each.SILU, exponentials=True, divisions=True)
_unary("vec.gelu.f32",     each.GELU, exponentials=True, divisions=True)
_unary("vec.exp.f32",      each.EXP, exponentials=True)
_unary("vec.sigmoid.f32",  each.SIGMOID, exponentials=True, divisions=True)
_unary("vec.tanh.f32",     each.TANH, exponentials=True, divisions=True)
_unary("vec.sqrt.f32",     each.SQRT, divisions=True)
#                                           bytes of a result, of an element
_unary("vec.cvt.f16.f32",  each.TO_F16,     2, 4)
_unary("vec.cvt.bf16.f32", each.TO_BF16,    2, 4)
_unary("vec.cvt.f32.f16",  each.FROM_F16,   4, 2, u16)
_unary("vec.cvt.f32.bf16", each.FROM_BF16,  4, 2, u16)
_unary("vec.cvt.f32.i32",  each.FROM_I32,   4, 4, i32)
_unary("vec.cvt.i32.f32",  each.TO_I32,     4, 4)


@kernel("vec.scale.f32", overlap=IN_PLACE)
def vec_scale_f32(dst, x, s, n, block):
    map_one(SCALE, 4, 4, f32, dst, x, s, n)
    count(block, ELEMENTS, n)
    return DONE


@kernel("vec.fill.32")
def vec_fill_32(dst, value, n, block):
    values = spread(i32(value))
    for i in range(0, n & -16, 16):
        put(dst + 4 * i, values)
    if n & 15:
        put_part(dst + 4 * (n & -16), values, n & 15)
    count(block, ELEMENTS, n)
    return DONE


@kernel("vec.cumsum.f32", overlap=IN_PLACE)
def vec_cumsum_f32(dst, x, n, block):
    if n:
        total = load(x, f32)
        store(dst, total if total == total else NAN)
        for i in range(1, n):
            total = f32(total + load(x + 4 * i, f32))
            store(dst + 4 * i, total if total == total else NAN)
    count(block, ELEMENTS, n)
    return DONE


# ------------------------------------------------------------------------------------------------ two vectors to one


def _binary(mnemonic, operation, kind=f32, divisions=False):
    @kernel(mnemonic, overlap=IN_PLACE)
    def binary(dst, a, b, n, block):
        map_two(operation, kind, dst, a, b, ZERO, n)
        count(block, ELEMENTS, n)
        if divisions:
            count(block, DIVISIONS, n)
        return DONE


_binary("vec.add.f32",     each.ADD)
_binary("vec.sub.f32",     each.SUB)
_binary("vec.mul.f32",     each.MUL)
_binary("vec.div.f32",     each.DIV, divisions=True)
_binary("vec.minimum.f32", each.MINIMUM)
_binary("vec.maximum.f32", each.MAXIMUM)
_binary("vec.add.i32",     each.ADD_I32, i32)


@kernel("vec.axpy.f32", overlap=IN_PLACE)
def vec_axpy_f32(y, s, x, n, block):
    map_two(AXPY, f32, y, y, x, s, n)
    count(block, MACS, n)
    return DONE


# ------------------------------------------------------------------------------------------------ reductions


@kernel("vec.sum.f32")
def vec_sum_f32(x, n, block):
    result(block, bits_of(whole.lane_sum(x, n)))
    count(block, ELEMENTS, n)
    count(block, REDUCED, n)
    return DONE


def _extreme(mnemonic, which):
    @kernel(mnemonic)
    def extreme(x, n, block):
        result(block, bits_of(whole.extreme(which, x, n)))
        count(block, ELEMENTS, n)
        count(block, REDUCED, n)
        return DONE


_extreme("vec.max.f32",    whole.MAX)
_extreme("vec.min.f32",    whole.MIN)
_extreme("vec.absmax.f32", whole.ABSMAX)


@kernel("vec.argmax.f32")
def vec_argmax_f32(x, n, block):
    result(block, whole.index_of_largest(x, n))
    count(block, ELEMENTS, n)
    count(block, REDUCED, n)
    return DONE


@kernel("vec.dot.f32")
def vec_dot_f32(a, b, n, block):
    result(block, bits_of(whole.lane_sum_of_products(a, b, n)))
    count(block, MACS, n)
    return DONE


# ------------------------------------------------------------------------------------------------ normalisation, quantisation


@kernel("vec.softmax.f32", overlap=IN_PLACE)
def vec_softmax_f32(dst, x, n, block):
    return normalisation.softmax(dst, x, n, block)


@kernel("vec.rmsnorm.f32", overlap=IN_PLACE)
def vec_rmsnorm_f32(dst, x, gain, n, block):
    return normalisation.normalise(False, dst, x, gain, n, block)


@kernel("vec.layernorm.f32", overlap=IN_PLACE)
def vec_layernorm_f32(dst, x, gain, n, block):
    return normalisation.normalise(True, dst, x, gain, n, block)


@kernel("vec.rope.f32", overlap=IN_PLACE)
def vec_rope_f32(dst, x, table, n, block):
    return normalisation.rotate(True, dst, x, table, n, block)


@kernel("vec.ropehalf.f32", overlap=IN_PLACE)
def vec_ropehalf_f32(dst, x, table, n, block):
    return normalisation.rotate(False, dst, x, table, n, block)


@kernel("vec.quant.i8", overlap=IN_PLACE)
def vec_quant_i8(dst, x, scale, n, block):
    return normalisation.quantise(dst, x, scale, n, block)


@kernel("vec.dequant.i8", overlap=IN_PLACE)
def vec_dequant_i8(dst, x, scale, n, block):
    return normalisation.dequantise(1, i8, dst, x, scale, n, block)


@kernel("vec.dequant.i32", overlap=IN_PLACE)
def vec_dequant_i32(dst, x, scale, n, block):
    return normalisation.dequantise(4, i32, dst, x, scale, n, block)


# ------------------------------------------------------------------------------------------------ dense mat-vec


def _products(gemv_mnemonic, mac_t_mnemonic, form, size):
    @kernel(gemv_mnemonic)
    def gemv(y, W, x, rows, block):
        return dense.gemv(form, size, y, W, x, rows, block)

    @kernel(mac_t_mnemonic)
    def mac_t(y, W, h, h_bytes, rows, block):
        return dense.mac_t(form, size, y, W, h, h_bytes, rows, block)


_products("vec.gemv.f32",    "vec.macT.f32",    dense.F32,  4)
_products("vec.gemv.f16",    "vec.macT.f16",    dense.F16,  2)
_products("vec.gemv.bf16",   "vec.macT.bf16",   dense.BF16, 2)
_products("vec.gemv.i8.f32", "vec.macT.i8.f32", dense.I8,   1)
_products("vec.gemv.i8",     "vec.macT.i8",     dense.I8_BY_I8, 1)
