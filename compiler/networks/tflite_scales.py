"""Scales of TFLite tensors as integers, computed as TFLite's kernels prepare them (quantization_util.cc, kernel_util.cc).

Where they compute in fp32, and where in fp64, decides the last bit.
"""

from __future__ import annotations

from math import floor, frexp

import numpy as np

INT32 = (1 << 31) - 1
Scale = np.float32


def integer(factor: float) -> tuple[int, int]:
    """(multiplier, shift) of a factor: QuantizeMultiplier."""
    if factor == 0:
        return 0, 0
    fraction, shift = frexp(factor)
    multiplier = floor(fraction * (1 << 31) + 0.5)
    if multiplier == 1 << 31:
        multiplier, shift = multiplier // 2, shift + 1
    if shift < -31:
        return 0, 0
    return (INT32, 30) if shift > 30 else (multiplier, shift)


def of_product(x: Scale, w: Scale, y: Scale) -> float:
    """x * w / y of products with weights: in fp64."""
    return float(x) * float(w) / float(y)


def of_mul(a: Scale, b: Scale, y: Scale) -> float:
    """a * b / y of MUL: all in fp32."""
    return float(a * b / y)


def of_mean(x: Scale, y: Scale, n: int) -> tuple[int, int]:
    """(multiplier, shift) of MEAN, the division by n among them: QuantizedMeanOrSum."""
    multiplier, shift = integer(float(x) / float(y))
    places = min(n.bit_length() - 1, 32, 31 + shift)
    return (multiplier << places) // n, shift - places


def of_add(a: Scale, b: Scale, y: Scale, left: int = 20) -> list[tuple[int, int]]:
    """(multiplier, shift) of both operands and of the sum of ADD and SUB, whose operands are shifted to the left first."""
    twice = np.float32(2) * max(a, b)
    return [integer(float(above) / float(below)) for above, below in ((a, twice), (b, twice), (twice, np.float32(1 << left) * y))]


def of_softmax(x: Scale, beta: float) -> tuple[int, int, int]:
    """(multiplier, shift, least difference) of SOFTMAX in integers: PreprocessSoftmaxScaling, CalculateInputRadius."""
    multiplier, shift = integer(min(float(np.float32(beta)) * float(x) * (1 << 26), float(INT32)))
    return multiplier, shift, -min(floor(31 * (1 << 26) / 2 ** shift), 255)


_RANGES = {"NONE": (None, None), "RELU": (0, None), "RELU6": (0, 6), "RELU_N1_TO_1": (-1, 1)}
ACTIVATIONS = tuple(_RANGES)


def bounds(activation: str, scale: Scale, zero: int) -> list[int]:
    """The least and the greatest int8 result: CalculateActivationRangeQuantized."""
    low, high = (None if value is None else zero + _round(np.float32(value) / scale) for value in _RANGES[activation])
    return [-128 if low is None else max(-128, low), 127 if high is None else min(127, high)]


def _round(value: np.float32) -> int:
    """To nearest, halves away from zero."""
    return int(np.sign(value)) * floor(abs(float(value)) + 0.5)
