"""The functions of isa/arithmetic.py on 16 lanes: the same operations in the same order, so the same bits.

Before a result goes to memory as fp32, `canonical` must be applied, as in isa/arithmetic.py. A function that has done so
says it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from emulator.native.features import F16C
from emulator.native.inlining import inline
from emulator.simd.lanes import convert, float_to_half, half_to_float, magnitude, round_even, same_bits, square_root, where
from isa import arithmetic as exact

f32, i32, u32, u16 = np.float32, np.int32, np.uint32, np.uint16
NAN, INFINITY, ZERO, ONE, TWO = exact.NAN, exact.INFINITY, exact.ZERO, exact.ONE, exact.TWO
HALF, MINUS_HALF, TWO_112 = f32(0.5), f32(-0.5), f32(2**112)
LOW, HIGH, LOG2_E, LN2_HIGH, LN2_LOW = exact.EXP_LOW, exact.EXP_HIGH, exact.LOG2_E, exact.LN2_HIGH, exact.LN2_LOW
E4, E3, E2, E1, E0 = exact.EXP_POLYNOMIAL
T4, T3, T2, T1, T0 = exact.TANH_POLYNOMIAL
TANH_SMALL, GELU_1, GELU_3, GATE_LOW = exact.TANH_SMALL, exact.GELU_1, exact.GELU_3, exact.GATE_LOW
SIGN = i32(-1 << 31)
INT_TOP, INT_BOTTOM, INT_MAX = f32(2**31), f32(-2**31), i32(2**31 - 1)


@inline
def is_nan(x: Any) -> Any:
    return x != x


@inline
def canonical(x: Any) -> Any:
    """Every NaN replaced by the canonical one."""
    return where(is_nan(x), NAN, x)


# ------------------------------------------------------------------------------------------------ exp and its family


@inline
def _power_of_two(exponent: Any) -> Any:
    return same_bits((exponent + 127) << 23, f32)


@inline
def _exp(x: Any) -> Any:
    """exp where x is not NaN, anything where it is."""
    argument = where(x < LOW, LOW, where(x > HIGH, HIGH, x))
    k = round_even(argument * LOG2_E)
    r = (argument - k * LN2_HIGH) - k * LN2_LOW
    q = (((E4 * r + E3) * r + E2) * r + E1) * r + E0
    value = (r + (r * r) * q) + ONE
    whole = convert(k, i32)
    half = whole >> 1
    return (value * _power_of_two(half)) * _power_of_two(whole - half)


@inline
def exp(x: Any) -> Any:
    """e**x. NaN canonical."""
    return where(is_nan(x), NAN, _exp(x))


@inline
def sigmoid(x: Any) -> Any:
    """1 / (1 + e**-x). NaN canonical."""
    e = _exp(ZERO - magnitude(x))
    return where(is_nan(x), NAN, where(x < ZERO, e, ONE) / (ONE + e))


@inline
def _times_sigmoid(x: Any, u: Any) -> Any:
    """x * sigmoid(u), where x and u have the same sign. NaN canonical."""
    h = _exp(magnitude(u) * MINUS_HALF)
    return where(is_nan(u), NAN, where(x < ZERO, (x * h) * h, x) / (ONE + h * h))


@inline
def silu(x: Any) -> Any:
    """x * sigmoid(x). NaN canonical."""
    x = where(x < GATE_LOW, GATE_LOW, x)
    return _times_sigmoid(x, x)


@inline
def gelu(x: Any) -> Any:
    """The tanh form of the Gaussian error linear unit. NaN canonical."""
    x = where(x < GATE_LOW, GATE_LOW, x)
    return _times_sigmoid(x, x * ((x * x) * GELU_3 + GELU_1))


@inline
def tanh(x: Any) -> Any:
    """Hyperbolic tangent. NaN canonical."""
    a = magnitude(x)
    z = a * a
    small = a + (a * z) * ((((T4 * z + T3) * z + T2) * z + T1) * z + T0)
    large = ONE - TWO / (ONE + _exp(a + a))
    signed = same_bits(where(a < TANH_SMALL, small, large), i32) | (same_bits(x, i32) & SIGN)
    return where(is_nan(x), NAN, same_bits(signed, f32))


@inline
def relu(x: Any) -> Any:
    """+0.0 if x <= 0, else x. NaN canonical."""
    return where(x <= ZERO, ZERO, canonical(x))


@inline
def relu_squared(x: Any) -> Any:
    return canonical(relu(x) * relu(x))


@inline
def root(x: Any) -> Any:
    """Square root. NaN canonical: made so before, because LLVM holds "x < 0 ? NaN : root of x" for the root itself."""
    return square_root(where(x < ZERO, NAN, canonical(x)))


@inline
def maximum(a: Any, b: Any) -> Any:
    """a if a > b, else b; NaN (canonical) if either is."""
    return where(is_nan(a), NAN, where(is_nan(b), NAN, where(a > b, a, b)))


@inline
def minimum(a: Any, b: Any) -> Any:
    """a if a < b, else b; NaN (canonical) if either is."""
    return where(is_nan(a), NAN, where(is_nan(b), NAN, where(a < b, a, b)))


# ------------------------------------------------------------------------------------------------ conversions


@inline
def _f16_bits_by_hand(x: Any) -> Any:
    """Nearest even; not for NaN. Below 2**-14 an addition rounds: in 0.5 + |x| the last bit is worth what it is in binary16."""
    bits = same_bits(x, u32)
    size = bits & 0x7FFF_FFFF
    normal = (size - 0x3800_0000 + 0xFFF + ((size >> 13) & 1)) >> 13
    small = same_bits(same_bits(size, f32) + HALF, u32) - 0x3F00_0000
    rounded = where(size < 0x3880_0000, small, where(size < 0x477F_F000, normal, u32(0x7C00)))
    return convert(rounded | ((bits >> 16) & 0x8000), u16)


@inline
def _f32_by_hand(bits: Any) -> Any:
    """The exponent is moved by a multiplication, which also makes subnormal numbers normal; infinity and NaN do not fit."""
    wide = convert(bits, u32)
    size = (wide & 0x7FFF) << 13
    moved = where(size < 0x0F80_0000, same_bits(same_bits(size, f32) * TWO_112, u32), size | 0x7F80_0000)
    return same_bits(moved | ((wide & 0x8000) << 16), f32)


@inline
def f16_bits(x: Any) -> Any:
    """Bits of binary16, nearest even."""
    return where(is_nan(x), u16(0x7E00), float_to_half(x) if F16C else _f16_bits_by_hand(x))


@inline
def f32_from_f16(bits: Any) -> Any:
    """A NaN keeps its bits."""
    return half_to_float(bits) if F16C else _f32_by_hand(bits)


@inline
def bf16_bits(x: Any) -> Any:
    bits = same_bits(x, u32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return where(is_nan(x), u16(0x7FC0), convert(rounded, u16))


@inline
def f32_from_bf16(bits: Any) -> Any:
    """A NaN keeps its bits."""
    return same_bits(convert(bits, u32) << 16, f32)


@inline
def i32_from_f32(x: Any) -> Any:
    """Nearest even; out of range the nearer end, NaN the upper one."""
    inside = where(x < INT_BOTTOM, INT_BOTTOM, x)
    return where(inside < INT_TOP, convert(round_even(inside), i32), INT_MAX)
