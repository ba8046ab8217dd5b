"""Floating-point data: the bits of .float and .double operands, correctly rounded from what is written."""

from __future__ import annotations

import math
import struct
from fractions import Fraction

from asm.diagnostics import SourceError
from asm.expressions import Constant, Group, Name, Unary, span
from asm.syntax import ParsedOperand

_NAMES = {"inf": math.inf, "infinity": math.inf, "nan": math.nan}


def _parse(operand: ParsedOperand) -> tuple[bool, Fraction | float]:
    """Sign and magnitude. The magnitude is exact, or one of the floats inf and nan."""
    negative, inner = False, operand
    while isinstance(inner, Group) or (isinstance(inner, Unary) and inner.operator in "+-"):
        negative ^= isinstance(inner, Unary) and inner.operator == "-"
        inner = inner.operand
    match inner:
        case Constant(value=int() as value):
            return negative, Fraction(value)
        case Constant(text=text):
            if len(text) > 4000 or abs(int(text.lower().partition("e")[2] or "0")) > 5000:
                raise SourceError(f"{text[:40]} is out of range for a floating-point number", inner.start, inner.end)
            return negative, Fraction(text)
        case Name(text=text) if text.lower() in _NAMES:
            return negative, _NAMES[text.lower()]
        case _:
            raise SourceError("a floating-point number is expected: 1.5, -2e-3, inf or nan", *span(inner))


def _bits(operand: ParsedOperand, significand: int, exponent: int) -> int:
    """IEEE 754 bits with so many significand bits (the implied one included) and exponent bits, round to nearest even."""
    negative, value = _parse(operand)
    bias = (1 << exponent - 1) - 1
    infinity = ((1 << exponent) - 1) << significand - 1
    sign = negative << significand + exponent - 1
    if isinstance(value, float):
        return sign | infinity | ((1 << significand - 1) - 1 if math.isnan(value) else 0)      # GNU as: every bit of a NaN is set
    if not value:
        return sign
    power = value.numerator.bit_length() - value.denominator.bit_length()
    power -= value < Fraction(2) ** power               # 2**power <= value < 2**(power + 1)
    power = max(power, 1 - bias)                        # subnormal numbers share the least exponent
    steps = round(value / Fraction(2) ** (power - significand + 1))         # half to even
    bits = steps + ((power + bias - 1) << significand - 1)                  # a carry moves into the exponent as it should
    if bits >= infinity:
        raise SourceError("too large for this floating-point format", *span(operand), hint="write inf for infinity")
    return sign | bits


def single_bits(operand: ParsedOperand) -> int:
    """The 32 bits of .float. Raises SourceError."""
    return _bits(operand, 24, 8)


def double_bits(operand: ParsedOperand) -> int:
    """The 64 bits of .double. Raises SourceError."""
    if isinstance(operand, Constant) and isinstance(operand.value, float) and math.isfinite(operand.value):
        return int(struct.unpack("<Q", struct.pack("<d", operand.value))[0])
    return _bits(operand, 53, 11)
