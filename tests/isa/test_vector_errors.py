"""How far random vectors are from the truth, in float64, of the same operands: sums, and codes with scales.

A bound must hold, and that of codes be reached. tests/isa/test_error_bounds.py searches for the worst vectors.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from isa import arithmetic as exact

U = 2.0**-24            # greatest relative error of a rounding
SIZES = (1, 2, 3, 16, 17, 33, 64, 100, 256, 768, 1000, 2048, 4096)


@pytest.fixture(autouse=True)
def _as_in_the_engine():
    with np.errstate(all="ignore"):
        yield


def vectors(scales: tuple[float, ...], least: int = 1) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Random vectors of normal numbers, and normal gains for them."""
    for n in (n for n in SIZES if n >= least):
        for seed in range(60):
            random = np.random.default_rng((n, seed))
            for scale in scales:
                yield (random.standard_normal(n) * scale).astype(np.float32), random.standard_normal(n).astype(np.float32)


def ulps(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """Errors in units in the last place of the truth."""
    return np.abs(got - want) / np.ldexp(1.0, np.maximum(np.frexp(want)[1] - 1, -126) - 23)


def stated(worst: float, bound: float, function: object, text: str, slack: float = 0.1) -> None:
    """The greatest error found is what a docstring says."""
    assert bound - slack <= worst <= bound
    assert text in " ".join(str(function.__doc__).split())


# ------------------------------------------------------------------------------------------------ sums


def test_lane_sum_and_dot_of_random_vectors_are_within_the_bound():
    for x, y in vectors((1, 1e20)):
        roundings, wide = -(-len(x) // 16) + 3, x.astype(np.float64)
        assert abs(exact.lane_sum(x) - wide.sum()) <= roundings * U * np.abs(wide).sum()
        products = wide * y
        assert abs(exact.lane_sum(x * y) - products.sum()) <= (roundings + 1) * U * np.abs(products).sum() * (1 + 2**-20)


# ------------------------------------------------------------------------------------------------ codes


def test_quantise_is_half_a_step_and_the_roundings():
    worst = 0.0
    for x, _ in vectors((1e-3, 1, 1e10), least=16):
        codes, scales = exact.quantise(x)
        worst = max(worst, np.abs(codes * scales.astype(np.float64) - x).max() / float(scales[0]))
    stated(worst, 0.50003, exact.quantise, "within 0.50003 * scale of x", 0.0001)


def test_dequantise():
    random = np.random.default_rng(1)
    scales = random.standard_normal(20_000).astype(np.float32)
    for low, high, bound in ((-128, 128, 0.5), (1 - (1 << 31), 1 << 31, 1.5)):
        codes = random.integers(low, high, 20_000).astype(np.int32)
        worst = ulps(exact.dequantise(codes, scales, 1), codes * scales.astype(np.float64)).max()
        stated(worst, bound, exact.dequantise, "above within 1.5" if bound > 1 else "Within 0.5 ulp for int8")
