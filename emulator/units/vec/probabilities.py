"""Softmax of int8: the exponential of a difference is looked up, for a row's differences are 0..255. As isa.quantised.softmax."""

from __future__ import annotations

import numpy as np
from numba import njit

from emulator.native.machine_code import array
from emulator.units.windows import Y_STRIDE, Y, doubled_high, shifted_right
from isa.quantised import _FIFTHS as FACTORS

GREATEST, LEAST = (1 << 31) - 1, -(1 << 31)
BITS, WORTH = (np.array(column, np.int64) for column in zip(*FACTORS, strict=True))

i8, i32, i64 = np.int8, np.int32, np.int64


@njit
def exp_of_negative(value):
    """e ** (value / 2**26), value <= 0, with 31 places."""
    if value == 0:
        return i64(GREATEST)
    rest = (value & (1 << 24) - 1) - (1 << 24)
    above = rest - value
    x = i64(i32((rest << 5) + (1 << 28)))
    square = doubled_high(x, x)
    cube, fourth = doubled_high(square, x), shifted_right(doubled_high(square, square), 2)
    tail = shifted_right(doubled_high(fourth + cube, 715827883) + square, 1)
    power = 1895147668 + doubled_high(1895147668, x + tail)
    for i in range(len(BITS)):
        if above >> BITS[i] & 1:
            power = doubled_high(power, WORTH[i])
    return power


@njit
def times_power(value, places):
    """value * 2**places, saturated."""
    most = (1 << 31 - places) - 1
    if value > most:
        return i64(GREATEST)
    return i64(LEAST) if value < -most else value << places


@njit
def one_over_one_plus(value):
    """1 / (1 + value / 2**31) with 31 places, int32 value."""
    total = value + GREATEST
    half = (total + 1) // 2 if total >= 0 else -((1 - total) // 2)
    x = 1515870810 + doubled_high(half, -1010580540)
    for _ in range(3):
        x = x + times_power(doubled_high(x, (1 << 29) - doubled_high(half, x)), 2)
    return times_power(x, 1)


@njit
def table_of_powers(multiplier, shift):
    """int64 (256,): e to the power of minus a difference, times the factor, with 31 places."""
    powers = np.empty(256, np.int64)
    for difference in range(256):
        powers[difference] = exp_of_negative(doubled_high(i64(i32(-difference << shift)), multiplier))
    return powers


@njit
def put_probabilities(frame, number, row, powers, cutoff):
    """Write the results of a row, int8 (elements,). What is more than `cutoff` below the largest is 0."""
    n = len(row)
    largest, total = i64(-128), i64(0)
    for e in range(n):
        largest = max(largest, i64(row[e]))
    for e in range(n):
        difference = largest - row[e]
        if difference <= cutoff:
            total += shifted_right(powers[difference], 12)
    total &= 0xFFFF_FFFF
    bits = 0
    while total >> bits:
        bits += 1
    headroom = 32 - bits
    scale = one_over_one_plus(i64(i32((total << headroom) - (1 << 31))))
    made, y = np.empty(256, np.int8), array(frame[Y] + number * frame[Y_STRIDE], i8, n)
    for difference in range(256):
        value = i64(-128)
        if difference <= cutoff:
            value = min(max(shifted_right(doubled_high(scale, powers[difference]), 35 - headroom) - 128, -128), 127)
        made[difference] = value
    for e in range(n):
        y[e] = made[largest - row[e]]
