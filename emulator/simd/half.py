"""16-bit arithmetic (isa/half.py) on 16 lanes. A number of binary16 is carried as the fp32 number that it is.

So a product or a sum is that of fp32, rounded to binary16: `rounded`. A NaN keeps its bits; it becomes the canonical one where
the 16 bits are made (`f16_bits`, `bf16_bits` of emulator/simd/functions.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from emulator.native.features import F16C
from emulator.native.inlining import inline
from emulator.simd.folds import high2, high4, high8, high16, low2, low4, low8, low16
from emulator.simd.functions import is_nan
from emulator.simd.lanes import float_to_half, half_to_float, same_bits, where

f32, u32, u16 = np.float32, np.uint32, np.uint16
LARGEST, TINY = u32(0x477F_F000), u32(0x3880_0000)          # 65520, which rounds to infinity; 2**-14, the smallest normal number
HALF = f32(0.5)


@inline
def _rounded_by_hand(x: Any) -> Any:
    """Drop 13 bits, half to even, NaN not. Below 2**-14 an addition drops them: in 0.5 + |x| the last bit is worth 2**-24."""
    bits = same_bits(x, u32)
    size = bits & 0x7FFF_FFFF
    normal = (size + 0xFFF + ((size >> 13) & 1)) & 0xFFFF_E000
    small = same_bits((same_bits(size, f32) + HALF) - HALF, u32)
    kept = where(size < TINY, small, where(size < LARGEST, normal, where(is_nan(x), size, u32(0x7F80_0000))))
    return same_bits(kept | (bits & 0x8000_0000), f32)


@inline
def rounded(x: Any) -> Any:
    """fp32 numbers to the nearest numbers of binary16."""
    return half_to_float(float_to_half(x)) if F16C else _rounded_by_hand(x)


@inline
def f16_mac(lanes: Any, a: Any, b: Any) -> Any:
    """lanes + a * b."""
    return rounded(lanes + rounded(a * b))


@inline
def f16_fold4(a: Any, b: Any, c: Any, d: Any) -> Any:
    """The sums of four times 16 lanes, 16 -> 8 -> 4 -> 2 -> 1, each rounded: in lanes 0 to 3."""
    p, q = rounded(low16(a, b) + high16(a, b)), rounded(low16(c, d) + high16(c, d))
    p = rounded(low8(p, q) + high8(p, q))
    p = rounded(low4(p, p) + high4(p, p))
    return rounded(low2(p, p) + high2(p, p))
