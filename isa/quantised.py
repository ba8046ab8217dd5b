"""Arithmetic of int8 networks: int32 sums become int8 results by an integer multiplication and a shift.

Functions take and return NumPy int64 arrays that hold int32 values. A real factor f is (multiplier, shift): f = multiplier / 2**31
* 2**shift with 2**30 <= multiplier < 2**31. The rules are those of CMSIS-NN (arm_nnsupportfunctions.h), gemmlowp (fixedpoint.h) and
TFLite's reference kernels (common.h).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

LEAST, GREATEST = -(1 << 31), (1 << 31) - 1


def wrapped(values: Any) -> Ints:
    """Modulo 2**32, as int32."""
    result: Ints = (np.asarray(values, np.int64) + (1 << 31) & 0xFFFF_FFFF) - (1 << 31)
    return result


def doubled_high(a: Any, b: Any) -> Ints:
    """2 * a * b / 2**32 of int32 values, to nearest, halves up; at most 2**31 - 1, which is less only for -2**31 times itself.

    That is gemmlowp's SaturatingRoundingDoublingHighMul, and arm_nn_doubling_high_mult of CMSIS-NN with its twin that does not
    saturate: what they add to a negative product and their division towards zero make floor((a * b + 2**30) / 2**31) too.
    """
    result: Ints = np.minimum(np.asarray(a, np.int64) * np.asarray(b, np.int64) + (1 << 30) >> 31, GREATEST)
    return result


def shifted_right(values: Any, places: Any) -> Ints:
    """values / 2**places, places 0..31, halves away from zero."""
    values, places = np.asarray(values, np.int64), np.asarray(places, np.int64)
    mask = (np.int64(1) << places) - 1
    below = values & mask
    result: Ints = (values >> places) + (below > (mask >> 1) + (values < 0))
    return result


def requantised(values: Any, multiplier: Any, shift: Any, once: bool = False) -> Ints:
    """values * multiplier / 2**31 * 2**shift, shift -31..31, in two steps: first to the left if shift > 0, wrapping, and the
    rounded upper half of the product; then to the right if shift < 0. So do arm_nn_requantize and gemmlowp.

    `once`: the whole product is shifted and rounded once, halves up, and wraps: TFLite's MultiplyByQuantizedMultiplier with
    TFLITE_SINGLE_ROUNDING, arm_nn_requantize with CMSIS_NN_USE_SINGLE_ROUNDING."""
    shift = np.asarray(shift, np.int64)
    if once:
        places = 31 - shift                     # 0..62; the product has 63 bits, and a half of 2**62 is the most that is added
        return wrapped(np.asarray(values, np.int64) * np.asarray(multiplier, np.int64) + (np.int64(1) << places >> 1) >> places)
    lifted = wrapped(np.asarray(values, np.int64) << np.maximum(shift, 0))
    return shifted_right(doubled_high(lifted, multiplier), np.maximum(-shift, 0))


def divided(total: Any, by: Any) -> Ints:
    """total / by, by > 0, halves away from zero."""
    total = np.asarray(total, np.int64)
    result: Ints = np.where(total >= 0, (total + by // 2) // by, -((-total + by // 2) // by))
    return result


# ------------------------------------------------------------------------------------------------ normalisation


def scaled_layernorm(x: Ints, offset: int, gain: Ints, bias: Ints) -> Ints:
    """int32 results of rows x (rows, n) of int8, before they are requantised: TorchQuanter's Scaled-LayerNorm, in integers.

        average = (sum(x + offset) + n / 2) / n             divisions towards zero; as int16
        d = x + offset - average; variance = min(sum(d * d), 2**31 - 1) / n
        factor = 128 / max(isqrt(variance), 1); result = clamp16(d * factor) * gain + bias
    """
    n = x.shape[1]
    total = x.sum(axis=1, keepdims=True) + n * offset + n // 2
    average = np.where(total >= 0, total // n, -(-total // n))
    average = (average + (1 << 15) & 0xFFFF) - (1 << 15)
    d = x + offset - average
    variance = np.minimum((d * d).sum(axis=1, keepdims=True), GREATEST) // n
    deviation = np.maximum(np.floor(np.sqrt(variance.astype(np.float64))).astype(np.int64), 1)      # exact below 2**52
    return wrapped(np.clip(d * (128 // deviation), -(1 << 15), (1 << 15) - 1) * gain + bias)


# ------------------------------------------------------------------------------------------------ softmax

_FIFTHS = ((24, 1672461947), (25, 1302514674), (26, 790015084), (27, 290630308), (28, 39332535), (29, 720401), (30, 242))
"""(bit, e to the minus what the bit is worth, times 2**31), from 1/4 on, of a number with 26 places."""


def exp_of_negative(values: Any) -> Ints:
    """e ** (value / 2**26) for value <= 0, with 31 places: gemmlowp's exp_on_negative_values. A Taylor polynomial of the rest in
    -1/4..0, times a constant for each bit above."""
    values = np.asarray(values, np.int64)
    rest = (values & (1 << 24) - 1) - (1 << 24)
    above = rest - values
    x = wrapped((rest << 5) + (1 << 28))
    square = doubled_high(x, x)
    cube = doubled_high(square, x)
    fourth = shifted_right(doubled_high(square, square), 2)
    tail = shifted_right(doubled_high(fourth + cube, 715827883) + square, 1)
    result = 1895147668 + doubled_high(1895147668, x + tail)
    for bit, factor in _FIFTHS:
        result = np.where(above >> bit & 1, doubled_high(result, factor), result)
    return np.where(values == 0, GREATEST, result)


def _times_power(values: Ints, places: int) -> Ints:
    """values * 2**places, saturated."""
    most = (1 << 31 - places) - 1
    return np.where(values > most, GREATEST, np.where(values < -most, LEAST, values << places))


def one_over_one_plus(values: Ints) -> Ints:
    """1 / (1 + value / 2**31) with 31 places for 0 <= value < 2**31: gemmlowp's, three steps of Newton's method."""
    total = values + GREATEST
    half = np.where(total >= 0, (total + 1) // 2, -((1 - total) // 2))
    x = 1515870810 + doubled_high(half, -1010580540)
    for _ in range(3):
        x = x + _times_power(doubled_high(x, (1 << 29) - doubled_high(half, x)), 2)
    return _times_power(x, 1)


def softmax(x: Ints, multiplier: int, shift: int, cutoff: int) -> Ints:
    """int8 rows (rows, n) whose results are probabilities * 256 - 128: CMSIS-NN's arm_softmax_s8.

    (x - max(x)) * 2**shift * multiplier / 2**31 is the exponent with 26 places; what is more than `cutoff` below the largest is 0.
    Sums have 12 bits before the point.
    """
    difference = x - x.max(axis=1, keepdims=True)
    counted = difference >= -cutoff
    power = exp_of_negative(doubled_high(wrapped(np.where(counted, difference, 0) << shift), multiplier))
    total = np.where(counted, shifted_right(power, 12), 0).sum(axis=1, keepdims=True) & 0xFFFF_FFFF
    headroom = 32 - np.array([[int(one).bit_length()] for one in total[:, 0]])
    scale = one_over_one_plus(wrapped((total << headroom) - (1 << 31)))
    places = 12 - headroom + 23
    return np.where(counted, np.clip(shifted_right(doubled_high(scale, power), places) - 128, -128, 127), -128)
