"""From n fp32 numbers at a host address to one number, in the machine's order (isa/arithmetic.py)."""

from __future__ import annotations

from typing import Any

import numpy as np

from emulator.native.inlining import inline, specialised
from emulator.simd.folds import any_lane, fold, fold_largest, fold_smallest
from emulator.simd.functions import INFINITY, NAN, ZERO, is_nan
from emulator.simd.lanes import first_lanes, lane_numbers, magnitude, spread, take_up_to, where

f32, i32 = np.float32, np.int32
LOWEST = f32(-np.inf)
MAX, MIN, ABSMAX = range(3)     # what `extreme` looks for
LANE_NUMBERS_END = 1 << 31      # elements whose numbers lanes can hold


@inline
def lane_sum(x: int, n: int) -> Any:
    """Sum."""
    lanes = spread(ZERO)
    for i in range(0, n, 16):
        lanes = lanes + take_up_to(x + 4 * i, f32, n - i, ZERO)
    return fold(lanes)


@inline
def lane_sum_of_products(a: int, b: int, n: int) -> Any:
    """Sum of a[i] * b[i]."""
    lanes = spread(ZERO)
    for i in range(0, n, 16):
        lanes = lanes + take_up_to(a + 4 * i, f32, n - i, ZERO) * take_up_to(b + 4 * i, f32, n - i, ZERO)
    return fold(lanes)


@inline
def lane_sum_of_squares(x: int, mean: Any, n: int) -> Any:
    """Sum of (x[i] - mean) squared; the mean stands in 16 lanes."""
    lanes = spread(ZERO)
    for i in range(0, n, 16):
        d = take_up_to(x + 4 * i, f32, n - i, ZERO) - mean
        lanes = lanes + (d * d if n - i >= 16 else where(first_lanes(n - i), d * d, ZERO))
    return fold(lanes)


@specialised
def extreme(which: int, x: int, n: int) -> Any:
    """MAX, MIN, or ABSMAX (the largest magnitude): NaN if there is one; -inf, inf, 0 of nothing; a zero is +0.0."""
    nothing = LOWEST if which == MAX else INFINITY if which == MIN else ZERO
    best = spread(nothing)
    nans = is_nan(best)
    for i in range(0, n, 16):
        v = take_up_to(x + 4 * i, f32, n - i, nothing)
        if which == ABSMAX:
            v = magnitude(v)
        best, nans = where(v < best if which == MIN else v > best, v, best), nans | is_nan(v)
    best = best + ZERO
    return NAN if any_lane(nans) else fold_smallest(best) if which == MIN else fold_largest(best)


@inline
def index_of_largest(x: int, n: int) -> Any:
    """Number of the first of the largest; NaN counts as -inf; 0 of nothing. The numbers of 2**28 elements fit a lane."""
    best, at, number = spread(LOWEST), spread(i32(0)), lane_numbers()
    for i in range(0, n, 16):
        v = take_up_to(x + 4 * i, f32, n - i, LOWEST)
        rises = v > best
        best, at = where(rises, v, best), where(rises, number, at)
        number = number + 16
    most = fold_largest(best)
    if most == LOWEST:
        return 0
    return np.int64(fold_smallest(where(best == most, at, i32(LANE_NUMBERS_END - 1))))
