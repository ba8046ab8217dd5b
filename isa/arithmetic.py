"""Exact arithmetic: every rule by which the machine rounds, sums, wraps and approximates.

Integers wrap as two's complement. fp32 is IEEE 754 binary32, round to nearest even, subnormals kept, multiply and add
rounded apart (no fused multiply-add); +, -, *, /, sqrt and rint are IEEE's. A NaN that an operation writes is the canonical
one. Sums of fp32 go through 16 lanes (`lane_sum`). exp, sigmoid, tanh, silu and gelu are fixed recipes of these operations.

Meanings call these functions, and the fast kernels must agree with them in every bit. So a recipe is a straight line of
elementary operations and selects, the same for every element: what a SIMD kernel can repeat.

Errors. The exact result is that of the fp32 operands as they are; an ulp is a unit in the last place of it, and u = 2**-24. Every
bound is derived, where the function stands, and beside it is the greatest error that was found. An operation rounds to nearest,
so its result is off by a factor between exp(-u) and exp(u). What k operations have rounded one after the other is off by at most
e(k) = exp(k * u) - 1 of itself, which is k * u and a little more: about k ulp at most. A square root halves the k of what it
takes; a sum of terms of one sign has the k of the term that is rounded most often. This holds as long as nothing on the way is
subnormal or overflows; where a bound holds for subnormal numbers too, it says so.

- exp, sigmoid, tanh, silu and gelu were tried with all fp32 arguments of magnitude 2**-30 to 256, against float64. The greatest
error is an exact figure: the first one that their texts give, rounded up. Smaller arguments give 1, 1/2, x or x / 2 and larger ones
the limit or x, within half an ulp.
- For vectors the greatest error comes from a search among constant vectors, random ones, and those in which a lane's first element
is so large that every later one is rounded away.

Arrays are float32 of any shape unless a shape is given. Functions may return any NaN where their results go to memory
through `m.write_f32`; where they say "canonical", they see to it themselves.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
LANES = 16

# ------------------------------------------------------------------------------------------------ integers


def s32(value: int) -> int:
    """The low 32 bits of `value` as a signed integer."""
    return ((value & 0xFFFF_FFFF) ^ 0x8000_0000) - 0x8000_0000


def s64(value: int) -> int:
    """The low 64 bits of `value` as a signed integer."""
    return ((value & 0xFFFF_FFFF_FFFF_FFFF) ^ (1 << 63)) - (1 << 63)


# ------------------------------------------------------------------------------------------------ fp32 and its bits


def f32_from_bits(bits: int) -> np.float32:
    """The fp32 number in the low 32 bits of `bits`, as registers hold scalars."""
    return np.uint32(bits & 0xFFFF_FFFF).view(np.float32)


def f32_bits(value: np.float32 | float) -> int:
    """The 32 bits of an fp32 number, canonical for NaN."""
    return 0x7FC0_0000 if np.isnan(value) else int(np.float32(value).view(np.uint32))


NAN = f32_from_bits(0x7FC0_0000)
INFINITY = f32_from_bits(0x7F80_0000)
ZERO, ONE, TWO = np.float32(0), np.float32(1), np.float32(2)


def canonical(x: F32) -> F32:
    """`x` with every NaN replaced by the canonical one."""
    return np.where(np.isnan(x), NAN, x)


# ------------------------------------------------------------------------------------------------ sums and extremes


def lane_sum(x: F32) -> Any:
    """Sum over the last axis in the machine's order: (..., n) -> (...).

    Element i is added to lane i % 16, in rising i; every lane starts at +0.0. Then the upper half of the lanes is added to
    the lower half, 16 -> 8 -> 4 -> 2 -> 1. The sum of nothing is +0.0, and no sum is -0.0.

    The error is at most e(ceil(n / 16) + 3) of the sum of |x|, subnormal numbers included: as many roundings as an element may
    go through, for the first addition in a lane, to 0, is exact. In a dot product or matrix-vector product, where x are
    products that were rounded, it is e(ceil(n / 16) + 4).
    """
    lanes = np.zeros((*x.shape[:-1], LANES), np.float32)
    whole = x.shape[-1] // LANES * LANES
    for start in range(0, whole, LANES):
        lanes = lanes + x[..., start:start + LANES]
    rest = x.shape[-1] - whole
    lanes[..., :rest] += x[..., whole:]
    half = LANES // 2
    while half:
        lanes = lanes[..., :half] + lanes[..., half:]
        half //= 2
    return lanes[..., 0]


def cumulative_sum(x: F32) -> F32:
    """y[0] = x[0], y[i] = y[i-1] + x[i], one after the other: (n,) -> (n,). Within e(i) of the sum of |x| up to i."""
    return np.add.accumulate(x, dtype=np.float32)


def largest(x: F32) -> np.float32:
    """Largest of x (n,). NaN if there is one (canonical), -inf of nothing; a zero result is +0.0, so order cannot matter."""
    return NAN if np.isnan(x).any() else np.float32(np.max(x, initial=-INFINITY) + ZERO)


def smallest(x: F32) -> np.float32:
    """Smallest of x (n,). NaN if there is one (canonical), +inf of nothing; a zero result is +0.0."""
    return NAN if np.isnan(x).any() else np.float32(np.min(x, initial=INFINITY) + ZERO)


def largest_magnitude(x: F32) -> np.float32:
    """Largest |x| (n,). NaN if there is one (canonical), 0 of nothing."""
    return NAN if np.isnan(x).any() else np.float32(np.max(np.abs(x), initial=ZERO))


def index_of_largest(x: F32) -> int:
    """Index of the first largest element of x (n,). NaN counts as -inf, -0.0 equals +0.0; 0 of nothing."""
    return int(np.argmax(np.where(np.isnan(x), -INFINITY, x))) if len(x) else 0


def maximum(a: F32, b: F32) -> F32:
    """a if a > b, else b; NaN if either is."""
    return np.where(np.isnan(a) | np.isnan(b), NAN, np.where(a > b, a, b))


def minimum(a: F32, b: F32) -> F32:
    """a if a < b, else b; NaN if either is."""
    return np.where(np.isnan(a) | np.isnan(b), NAN, np.where(a < b, a, b))


# ------------------------------------------------------------------------------------------------ exp and its family

# exp(x) = 2**k * exp(r) with k = rint(x / ln 2), r = x - k * ln 2 in [-0.3467, 0.3467]. ln 2 is split: the upper part has
# 16 significant bits, so k * LN2_HIGH is exact for |k| < 256, and so is its difference to x.
LOG2_E   = f32_from_bits(0x3FB8_AA3B)       # 1 / ln 2         = 1.44269502
LN2_HIGH = f32_from_bits(0x3F31_7200)       # ln 2, 16 bits    = 0.693145752
LN2_LOW  = f32_from_bits(0x35BF_BE8E)       # ln 2 - LN2_HIGH  = 1.42860677e-6

# q in exp(r) = 1 + (r + r*r*q(r)): minimax in relative error of exp(r) over |r| <= 0.3467, fitted by Lawson's iteratively
# reweighted least squares in float64 and rounded to fp32. Rounded, it is within 0.07 * 2**-24 of exp. Highest power first.
EXP_POLYNOMIAL = tuple(map(f32_from_bits, (
    0x3AB5_11F0,                            # r**4  0.00138145499
    0x3C09_1D05,                            # r**3  0.00836873520
    0x3D2A_AC79,                            # r**2  0.0416683890
    0x3E2A_AA49,                            # r     0.166665211
    0x3EFF_FFFE)))                          # 1     0.499999940

# exp is 0 below the first and infinite above the second, so arguments are clamped to them and k stays in -150..128.
EXP_LOW, EXP_HIGH = np.float32(-104), np.float32(89)

# p in tanh(x) = x + x*x*x*p(x*x): minimax in relative error of tanh over |x| <= 0.625, by the Remez exchange in 80-bit
# arithmetic, coefficients rounded to fp32 from the lowest up with the rest refitted each time: within 0.08 * 2**-24.
TANH_POLYNOMIAL = tuple(map(f32_from_bits, (
    0xBBBA_8672,                            # x**8  -0.00569229666
    0x3CA8_FC67,                            # x**6   0.0206281673
    0xBD5C_1AD2,                            # x**4  -0.0537365153
    0x3E08_837B,                            # x**2   0.133314058
    0xBEAA_AA99)))                          # 1     -0.333332807
TANH_SMALL = np.float32(0.625)

# gelu's argument: 2 * sqrt(2 / pi) * (x + 0.044715 x**3) = x * (GELU_1 + GELU_3 * x*x).
# Hendrycks and Gimpel, "Gaussian Error Linear Units", arXiv:1606.08415, section 2.
GELU_1 = f32_from_bits(0x3FCC_422A)         # 2 * sqrt(2 / pi)             = 1.59576917
GELU_3 = f32_from_bits(0x3D92_2279)         # 2 * sqrt(2 / pi) * 0.044715  = 0.0713548139

# Below this silu and gelu are -0.0. Arguments are clamped to it, so that -inf gives the limit and not inf * 0.
GATE_LOW = np.float32(-128)


def _horner(coefficients: tuple[np.float32, ...], x: F32) -> F32:
    """Polynomial in x, highest power first; each product and each sum is rounded."""
    total = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        total = total * x + coefficient
    return total


def _power_of_two(exponent: npt.NDArray[np.int32]) -> F32:
    """2**exponent for exponents -126..127, built from its bits."""
    return ((exponent + 127) << 23).astype(np.int32).view(np.float32)


def exp(x: F32) -> F32:
    """e**x, within 0.98 ulp, by derivation within 1.2. exp(-inf) = 0, exp(inf) = inf, NaN canonical.

    The derivation, in u where exp(r) < 1 and u is an ulp; above, where it is half of one, there is less. The subtraction that
    makes r is rounded by 0.25, which costs 0.18 at r = -0.347. The polynomial is off by 0.05. r * r, q and their product are
    rounded by 3.4 u of r * r * q < 0.054, 0.19 together; the sum with r by 0.25, the sum with 1 by 0.5.

    The factor 2**k is applied as two powers of two, because k reaches 128 and -150: overflow to infinity and rounding to a
    subnormal then happen in the last multiplication, once.
    """
    x = np.asarray(x, np.float32)
    argument = np.where(x < EXP_LOW, EXP_LOW, np.where(x > EXP_HIGH, EXP_HIGH, np.where(np.isnan(x), ZERO, x)))
    k: F32 = np.rint(argument * LOG2_E)
    r: F32 = (argument - k * LN2_HIGH) - k * LN2_LOW
    value = (r + (r * r) * _horner(EXP_POLYNOMIAL, r)) + ONE
    whole = k.astype(np.int32)
    half = whole >> 1                       # floor(k / 2)
    return np.where(np.isnan(x), NAN, (value * _power_of_two(half)) * _power_of_two(whole - half))


def sigmoid(x: F32) -> F32:
    """1 / (1 + e**-x), within 2.41 ulp, by derivation within 4. 0 at -inf, 1 at inf, NaN canonical.

    With e = exp(-|x|) it is 1 / (1 + e) for x >= 0 and e / (1 + e) below, so that neither tail loses digits. The derivation:
    0.98 ulp of e are at most 1.96 u, the sum and the quotient one each.
    """
    x = np.asarray(x, np.float32)
    e = exp(-np.abs(x))
    return canonical(np.where(x < ZERO, e, ONE) / (ONE + e))


def _times_sigmoid(x: F32, u: F32) -> F32:
    """x * sigmoid(u), where x and u have the same sign. NaN canonical.

    As in `sigmoid`, but e is h * h with h = exp(-|u|/2), multiplied to x in two steps: e alone would be subnormal, and so
    coarse, where x * e is not yet.
    """
    h = exp(np.abs(u) * np.float32(-0.5))
    return canonical(np.where(x < ZERO, (x * h) * h, x) / (ONE + h * h))


def silu(x: F32) -> F32:
    """x * sigmoid(x), within 4.71 ulp, by derivation within 8. -0.0 at -inf, inf at inf, NaN canonical.

    The derivation: h is off by 1.96 u. The product (x * h) * h has h twice, and two roundings; the divisor's h * h has the same
    h, so its error only takes away; the sum and the quotient are rounded once each. 2 * 1.96 + 4 < 8.
    Source: Elfwing, Uchibe and Doya, "Sigmoid-Weighted Linear Units", arXiv:1702.03118.
    """
    x = np.asarray(x, np.float32)
    x = np.where(x < GATE_LOW, GATE_LOW, x)
    return _times_sigmoid(x, x)


def gelu(x: F32) -> F32:
    """Gaussian error linear unit in its tanh form, x/2 * (1 + tanh(u)) with u = sqrt(2/pi) * (x + 0.044715 x**3).

    Computed as x * sigmoid(2u), which is the same function and keeps the digits of the negative tail. There the exponential
    amplifies the rounding of 2u: within 4.1 ulp for x >= -1, 24.1 for x >= -4, 214 for all x; the absolute error for x < 0
    stays below 2**-23. By derivation within 8 + 5 * |2u| ulp: five roundings of 2u, its two constants among them, change the
    exponential by 5 * |2u| units of 2**-24, and the rest is as in silu. -0.0 at -inf, inf at inf, NaN canonical.
    """
    x = np.asarray(x, np.float32)
    x = np.where(x < GATE_LOW, GATE_LOW, x)
    return _times_sigmoid(x, x * ((x * x) * GELU_3 + GELU_1))


def tanh(x: F32) -> F32:
    """Hyperbolic tangent, within 1.34 ulp, by derivation within 2.1; odd, -0.0 stays. +-1 at +-inf, NaN canonical.

    For a = |x| a polynomial below 0.625, else 1 - 2 / (1 + exp(2a)); then the sign of x. The derivation: in the polynomial's
    branch five roundings of a * z * p, which is below 0.13 of the result, the polynomial's 0.08 and the last sum; in the other
    at most 3.6 u of the quotient, which is below 0.45, and half an ulp (u / 2) for the difference.
    """
    x = np.asarray(x, np.float32)
    a = np.abs(x)
    z = a * a
    small = a + (a * z) * _horner(TANH_POLYNOMIAL, z)
    large = ONE - TWO / (ONE + exp(a + a))
    return canonical(np.copysign(np.where(a < TANH_SMALL, small, large), x))


def relu(x: F32) -> F32:
    """+0.0 if x <= 0, else x: so -0.0 gives +0.0 and NaN stays NaN (canonical)."""
    return canonical(np.where(x <= ZERO, ZERO, x))


def relu_squared(x: F32) -> F32:
    """relu(x) * relu(x)."""
    return relu(x) * relu(x)


# ------------------------------------------------------------------------------------------------ vectors of a layer


def softmax(x: F32) -> F32:
    """e[i] / lane_sum(e) with e[i] = exp(x[i] - max(x)): (n,) -> (n,).

    All NaN if an element is NaN or +inf, or if all are -inf; else an element of -inf gives 0.

    With d = |x[i] - max(x)|, the error of an element is at most e(d + ceil(n / 16) + ln n + 8) times it, and 2**-148 more,
    which is for subnormal numbers.
    The difference is rounded once, and exp makes d roundings of that; exp adds 1.96, the quotient 1. In the sum a term goes
    through ceil(n / 16) + 3 roundings, has exp's 1.96 and its own d; these weigh as the terms do, and the mean of d under
    the probabilities is their entropy less the logarithm of the sum, so at most ln n.
    Found: d + 254.9 ulp for n = 4096, where the bound is d + 272.4; 16 zeros, then -16.636. For one 0 and 4095 times
    -0.038631841 it is d + 63.6.
    """
    e = exp(x - largest(x))
    total: np.float32 = lane_sum(e)
    return e / total


def rmsnorm(x: F32, gain: F32, eps: np.float32) -> F32:
    """(x[i] * r) * gain[i] with r = 1 / sqrt(lane_sum(x*x) / n + eps): (n,), (n,) -> (n,).

    n is rounded to fp32. The error of an element is at most e(ceil(n / 16) / 2 + 7) times it; for n beyond 2**24, whose rounding
    counts, it is 7.5 instead of 7. A square is rounded once, in the sum ceil(n / 16) + 3 times, the quotient and the sum with eps
    once each; the root halves these. The root itself, 1 / root and the two products are rounded once each. A square that is
    subnormal adds nothing to this if eps is 2**-100 or more. Found: 127.5 ulp for n = 4096, where the bound is 135; 16 ones, then
    2**-12 * (1 - 2**-13), with eps = 0. For 4096 times 3.8020957 and eps = 1e-5 it is 33.8.
    Source: Zhang and Sennrich, "Root Mean Square Layer Normalization", arXiv:1910.07467.
    """
    r: np.float32 = ONE / np.sqrt(lane_sum(x * x) / np.float32(len(x)) + eps)
    return (x * r) * gain


def layernorm(x: F32, gain: F32, eps: np.float32) -> F32:
    """(d[i] * r) * gain[i] with d = x - lane_sum(x) / n and r = 1 / sqrt(lane_sum(d*d) / n + eps): (n,), (n,) -> (n,).

    n is rounded to fp32. The mean is within e(ceil(n / 16) + 4) of mean(|x|): t = (ceil(n / 16) + 4) * u * mean(|x|) / deviation
    deviations, where the deviation is sqrt(variance + eps). All d have this error, so it moves the variance only by its square.
    An element is within |gain[i]| * t + |result| * ((ceil(n / 16) / 2 + 9) * u + t * t / 2), to first order in u: d is rounded
    once, which the square has twice, and once more in the product; the others are those of rmsnorm. A mean far larger than the
    deviation takes its digits from every d. Found: 0.68 of the bound, n = 4096.
    A bias is a separate addition.
    Source: Ba, Kiros and Hinton, "Layer Normalization", arXiv:1607.06450.
    """
    count = np.float32(len(x))
    d: F32 = x - lane_sum(x) / count
    r: np.float32 = ONE / np.sqrt(lane_sum(d * d) / count + eps)
    return (d * r) * gain


def rope(x: F32, table: F32, *, adjacent: bool) -> F32:
    """Rotary position embedding of whole heads: (heads, head_dim), (head_dim,) -> (heads, head_dim).

    Pair i of a head is (2i, 2i+1) if `adjacent`, else (i, i + head_dim/2). `table` holds head_dim/2 cosines, then as many sines,
    for one position. (a, b) becomes (a*cos - b*sin, b*cos + a*sin), every product and sum rounded: within e(2) * (|a*cos| +
    |b*sin|) or e(2) * (|b*cos| + |a*sin|), which is at most e(2) of the pair's length, sqrt(a*a + b*b), times that of (cos, sin).
    Found: 0.95 of the bound.
    Source: Su et al., "RoFormer", arXiv:2104.09864, section 3.2.2.
    """
    half = len(table) // 2
    cosine, sine = table[:half], table[half:]
    first, second = (np.s_[:, 0::2], np.s_[:, 1::2]) if adjacent else (np.s_[:, :half], np.s_[:, half:])
    a, b = x[first], x[second]
    rotated = np.empty_like(x)
    rotated[first] = a * cosine - b * sine
    rotated[second] = b * cosine + a * sine
    return rotated


# ------------------------------------------------------------------------------------------------ conversions


def group_count(n: int, group: int) -> int:
    """Number of scales for n elements, `group` elements to a scale (0: one scale for all). None for no elements."""
    return -(-n // (group or n)) if n else 0


def quantise(x: F32, group: int = 0) -> tuple[npt.NDArray[np.int8], F32]:
    """int8 codes and scales, symmetric: (n,) -> (n,), (groups,). A last group may be short.

    Per group, with a = max |x|: code = rint(x * (127 / a)), half to even; scale = a / 127. Codes stay within +-127, for the
    two roundings cannot carry a product to 127.5. code * scale is within 0.50003 * scale of x: half a step, two roundings of
    127 (0.000015) and that of the scale, times 127 (0.000008). A scale that is subnormal (a below 1.5e-36) is rounded more
    coarsely: 0.50005. Found: 0.500014 and 0.500036.
    - a so small that 127 / a overflows (below 3.74e-37, so all zeros too): scale 0 and codes 0, as if the group were zero.
    - a infinite: scale inf and codes 0. A NaN in the group: scale NaN (canonical) and codes 0.
    """
    if not len(x):
        return np.zeros(0, np.int8), np.zeros(0, np.float32)
    size = min(group or len(x), len(x))
    padded = np.zeros((group_count(len(x), size), size), np.float32)
    padded.reshape(-1)[:len(x)] = x
    largest_of = np.max(np.abs(padded), axis=1)                 # (groups,); NaN passes through
    inverse = np.float32(127) / largest_of
    codes = np.rint(padded * inverse[:, None])
    codes = np.where(np.isfinite(codes), codes, ZERO)           # infinite or NaN where a is tiny, infinite or NaN
    scales = np.where(inverse == INFINITY, ZERO, canonical(largest_of / np.float32(127)))
    return codes.astype(np.int8).reshape(-1)[:len(x)], scales


def dequantise(codes: npt.NDArray[Any], scales: F32, group: int = 0) -> F32:
    """fp32 of the integer times its group's scale: (n,), (groups,) -> (n,).

    Within 0.5 ulp for int8 and up to 2**24, above within 1.5, for the integer is rounded to nearest even first.
    """
    index = np.arange(len(codes)) // min(group or len(codes), len(codes) or 1) if len(codes) else np.zeros(0, np.intp)
    return codes.astype(np.float32) * scales[index]


def f16_bits(x: F32) -> npt.NDArray[np.uint16]:
    """fp32 -> bits of binary16: nearest even, subnormals exact, overflow (from 65520) to infinity, NaN 0x7E00."""
    return np.where(np.isnan(x), np.uint16(0x7E00), x.astype(np.float16).view(np.uint16))


def f32_from_f16(bits: npt.NDArray[np.uint16]) -> F32:
    """Bits of binary16 -> fp32, exact; NaN canonical."""
    return canonical(bits.view(np.float16).astype(np.float32))


def bf16_bits(x: F32) -> npt.NDArray[np.uint16]:
    """fp32 -> bits of bfloat16, the upper half of an fp32: nearest even, overflow to infinity, NaN 0x7FC0."""
    bits = x.view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> 16) & np.uint32(1))) >> 16
    return np.where(np.isnan(x), np.uint16(0x7FC0), rounded.astype(np.uint16))


def f32_from_bf16(bits: npt.NDArray[np.uint16]) -> F32:
    """Bits of bfloat16 -> fp32, exact; NaN canonical."""
    return canonical((bits.astype(np.uint32) << 16).view(np.float32))


def f32_from_i32(values: npt.NDArray[np.int32]) -> F32:
    """int32 -> fp32, nearest even."""
    return values.astype(np.float32)


def i32_from_f32(x: F32) -> npt.NDArray[np.int32]:
    """fp32 -> int32, nearest even; out of range gives the nearer end of int32, NaN the upper one, as RISC-V's fcvt.w.s."""
    wide = np.rint(np.where(np.isnan(x), INFINITY, x)).astype(np.float64)
    return np.clip(wide, -(1 << 31), (1 << 31) - 1).astype(np.int32)
