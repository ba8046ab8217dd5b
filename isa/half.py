"""Exact arithmetic in 16 bits, as the units of PIM banks do it: binary16 (f16) and bfloat16 (bf16).

Numbers are uint16 arrays of bits, of any shape that NumPy broadcasts. A NaN that an operation writes is the canonical one,
0x7E00 or 0x7FC0. Subnormals are kept, rounding is to nearest even.

f16: an accumulator is 16 bits wide. A MAC rounds its product to fp16, then its sum. Both are computed in fp32 and then rounded to
fp16; the result is the same as with one rounding. A product of two 11-bit significands is exact in fp32. A sum that is rounded to
24 bits and then to 11 is the sum rounded to 11, because 24 >= 2 * 11 + 2; a subnormal sum is exact.
Sources: Samsung's units multiply and add apart in half precision (SAITPublic/PIMSimulator, README and half.h); Figueroa, "When is
double rounding innocuous?", SIGNUM Newsletter 30(3), 1995.

bf16: a MAC multiplies and adds in fp32, each rounded as fp32 rounds, and an accumulator is an fp32 number; what leaves the bank is
rounded to bf16 once. This rule is assumed: SK hynix's GDDR6-AiM multiplies bf16, and its accumulator's width is not published.
An element-wise product or sum is that of fp32, rounded to bf16.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from isa.arithmetic import F32, LANES, bf16_bits, canonical, f16_bits, f32_from_bf16, f32_from_f16

Bits = npt.NDArray[np.uint16]

# ------------------------------------------------------------------------------------------------ binary16


def f16_product(a: Bits, b: Bits) -> Bits:
    """a * b, rounded once."""
    return f16_bits(f32_from_f16(a) * f32_from_f16(b))


def f16_sum(a: Bits, b: Bits) -> Bits:
    """a + b, rounded once."""
    return f16_bits(f32_from_f16(a) + f32_from_f16(b))


def f16_mac(lanes: Bits, a: Bits, b: Bits) -> Bits:
    """lanes + a * b: the product is rounded, then the sum."""
    return f16_sum(lanes, f16_product(a, b))


def f16_fold(lanes: Bits) -> Bits:
    """The sum of 16 lanes, 16 -> 8 -> 4 -> 2 -> 1 (lane j + lane j + half), every sum rounded: (..., 16) -> (...)."""
    folded: Bits = _fold(lanes, f16_sum)
    return folded


# ------------------------------------------------------------------------------------------------ bfloat16


def bf16_product(a: Bits, b: Bits) -> Bits:
    """a * b in fp32, rounded to bf16. That is rounding once, but for products below 2**-126, which fp32 rounds too."""
    return bf16_bits(f32_from_bf16(a) * f32_from_bf16(b))


def bf16_sum(a: Bits, b: Bits) -> Bits:
    """a + b, rounded once: fp32 has 24 >= 2 * 8 + 2 bits, and its sums below 2**-126 are exact."""
    return bf16_bits(f32_from_bf16(a) + f32_from_bf16(b))


def bf16_mac(lanes: F32, a: Bits, b: Bits) -> F32:
    """lanes + a * b in fp32, product and sum each rounded as fp32 is; NaN canonical."""
    return canonical(lanes + f32_from_bf16(a) * f32_from_bf16(b))


def bf16_fold(lanes: F32) -> Bits:
    """The sum of 16 fp32 lanes as `f16_fold`, in fp32, then rounded to bf16: (..., 16) -> (...)."""
    return bf16_bits(_fold(lanes, np.add))


def _fold(lanes: Any, add: Any) -> Any:
    half = LANES // 2
    while half:
        lanes = add(lanes[..., :half], lanes[..., half:])
        half //= 2
    return lanes[..., 0]


# ------------------------------------------------------------------------------------------------ activation by table

TABLE_LENGTH = 1024         # entries of an activation table: its number is the upper ten bits of the argument
_FRACTION_BITS = 6


def f16_activation(table: Bits, x: Bits) -> Bits:
    """A function given by a table (1024,), linear in between: t + (u - t) * f / 64 in fp32, then rounded to f16.

    t is entry x >> 6, u the entry behind it, f the lower six bits of x; entry i holds the function at the number with the bits
    64 * i, so a binade has 16 of them. f = 0 gives t as it is; NaN gives NaN. Interpolation is published of GDDR6-AiM, the
    division of the argument is assumed.
    """
    return _activation(table, x, 0x7C00, f32_from_f16, f16_bits)


def bf16_activation(table: Bits, x: Bits) -> Bits:
    """The same in bf16: a binade has two entries."""
    return _activation(table, x, 0x7F80, f32_from_bf16, bf16_bits)


def _activation(table: Bits, x: Bits, infinity: int, widened: Any, narrowed: Any) -> Bits:
    at, rest = x >> np.uint16(_FRACTION_BITS), x & np.uint16((1 << _FRACTION_BITS) - 1)
    low, high = widened(table[at]), widened(table[(at + 1) % TABLE_LENGTH])
    fraction = rest.astype(np.float32) * np.float32(2**-_FRACTION_BITS)
    value = np.where(rest == 0, low, low + (high - low) * fraction)
    result: Bits = narrowed(np.where(x & 0x7FFF > infinity, np.float32(np.nan), value))
    return result
