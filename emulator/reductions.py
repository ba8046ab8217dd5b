"""From n fp32 numbers at a host address to one number, in the machine's order (isa/arithmetic.py)."""

from __future__ import annotations

from typing import Any

import numpy as np

from emulator.context import inline
from emulator.lanes import (
    any_lane,
    first_lanes,
    fold,
    fold_largest,
    fold_smallest,
    lane_numbers,
    magnitude,
    spread,
    take,
    take_part,
    where,
)
from emulator.recipes import INFINITY, NAN, ZERO, is_nan

f32, i32 = np.float32, np.int32
LOWEST = f32(-np.inf)
LANE_NUMBERS_END = 1 << 31      # elements whose numbers lanes can hold


@inline
def lane_sum(x: int, n: int) -> Any:
    """Sum."""
    lanes, whole = spread(ZERO), n & -16
    for i in range(0, whole, 16):
        lanes = lanes + take(x + 4 * i, f32)
    if n & 15:
        lanes = lanes + take_part(x + 4 * whole, f32, n & 15, ZERO)
    return fold(lanes)


@inline
def lane_sum_of_products(a: int, b: int, n: int) -> Any:
    """Sum of a[i] * b[i]."""
    lanes, whole = spread(ZERO), n & -16
    for i in range(0, whole, 16):
        lanes = lanes + take(a + 4 * i, f32) * take(b + 4 * i, f32)
    if n & 15:
        lanes = lanes + take_part(a + 4 * whole, f32, n & 15, ZERO) * take_part(b + 4 * whole, f32, n & 15, ZERO)
    return fold(lanes)


@inline
def lane_sum_of_squares(x: int, mean: Any, n: int) -> Any:
    """Sum of (x[i] - mean) squared; the mean stands in 16 lanes."""
    lanes, whole = spread(ZERO), n & -16
    for i in range(0, whole, 16):
        d = take(x + 4 * i, f32) - mean
        lanes = lanes + d * d
    if n & 15:
        d = take_part(x + 4 * whole, f32, n & 15, ZERO) - mean
        lanes = lanes + where(first_lanes(n & 15), d * d, ZERO)
    return fold(lanes)


@inline
def largest(x: int, n: int) -> Any:
    """Largest. NaN if there is one, -inf of nothing; a zero is +0.0."""
    best, whole = spread(LOWEST), n & -16
    nans = is_nan(best)
    for i in range(0, whole, 16):
        v = take(x + 4 * i, f32)
        best, nans = where(v > best, v, best), nans | is_nan(v)
    if n & 15:
        v = take_part(x + 4 * whole, f32, n & 15, LOWEST)
        best, nans = where(v > best, v, best), nans | is_nan(v)
    return NAN if any_lane(nans) else fold_largest(best + ZERO)


@inline
def smallest(x: int, n: int) -> Any:
    """Smallest. NaN if there is one, inf of nothing; a zero is +0.0."""
    best, whole = spread(INFINITY), n & -16
    nans = is_nan(best)
    for i in range(0, whole, 16):
        v = take(x + 4 * i, f32)
        best, nans = where(v < best, v, best), nans | is_nan(v)
    if n & 15:
        v = take_part(x + 4 * whole, f32, n & 15, INFINITY)
        best, nans = where(v < best, v, best), nans | is_nan(v)
    return NAN if any_lane(nans) else fold_smallest(best + ZERO)


@inline
def largest_magnitude(x: int, n: int) -> Any:
    """Largest |x[i]|. NaN if there is one, 0 of nothing."""
    best, whole = spread(ZERO), n & -16
    nans = is_nan(best)
    for i in range(0, whole, 16):
        v = magnitude(take(x + 4 * i, f32))
        best, nans = where(v > best, v, best), nans | is_nan(v)
    if n & 15:
        v = magnitude(take_part(x + 4 * whole, f32, n & 15, ZERO))
        best, nans = where(v > best, v, best), nans | is_nan(v)
    return NAN if any_lane(nans) else fold_largest(best)


@inline
def index_of_largest(x: int, n: int) -> Any:
    """Number of the first of the largest; NaN counts as -inf; 0 of nothing. n is below LANE_NUMBERS_END."""
    best, at, number, whole = spread(LOWEST), spread(i32(0)), lane_numbers(), n & -16
    for i in range(0, whole, 16):
        v = take(x + 4 * i, f32)
        rises = v > best
        best, at = where(rises, v, best), where(rises, number, at)
        number = number + 16
    if n & 15:
        v = take_part(x + 4 * whole, f32, n & 15, LOWEST)
        rises = v > best
        best, at = where(rises, v, best), where(rises, number, at)
    most = fold_largest(best)
    if most == LOWEST:
        return 0
    return np.int64(fold_smallest(where(best == most, at, i32(LANE_NUMBERS_END - 1))))
