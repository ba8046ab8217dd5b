"""How far whole-vector recipes are from the truth, in float64, of the same operands: what their docstrings state, and no less.

A bound must hold and be reached: a recipe that loses a tenth of a unit fails, and so does a statement that is too modest.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest

from isa import arithmetic as exact

U = 2.0**-24            # greatest relative error of a rounding
EPS = np.float32(1e-5)
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


def lost_everywhere(n: int) -> np.ndarray:
    """1 in the first lane, and at each place where something is added to it an element that is half an ulp and is lost."""
    x = np.zeros(n, np.float32)
    x[::16] = U
    x[[8, 4, 2, 1]] = U
    x[0] = 1
    return x


@pytest.mark.parametrize("n", [16, 32, 1000, 1024, 65_536])
def test_lane_sum_loses_what_it_may_and_no_more(n):
    x = lost_everywhere(n)
    error = abs(Fraction(float(exact.lane_sum(x))) - sum(map(Fraction, x.tolist())))
    roundings = -(-n // 16) + 3
    relative = float(error / sum(map(Fraction, x.tolist()))) / U
    stated(relative / roundings, 1, exact.lane_sum, "(ceil(n / 16) + 3) * 2**-24", 0.01)


def test_lane_sum_and_dot_of_random_vectors_are_within_the_bound():
    for x, y in vectors((1, 1e20)):
        roundings, wide = -(-len(x) // 16) + 3, x.astype(np.float64)
        assert abs(exact.lane_sum(x) - wide.sum()) <= roundings * U * np.abs(wide).sum()
        products = wide * y
        assert abs(exact.lane_sum(x * y) - products.sum()) <= (roundings + 1) * U * np.abs(products).sum() * (1 + 2**-20)


def test_cumulative_sum_loses_what_it_may_and_no_more():
    x = np.full(3000, U, np.float32)
    x[0] = 1
    truth, roundings = np.cumsum(x.astype(np.float64)), np.arange(3000)
    relative = np.abs(exact.cumulative_sum(x) - truth) / truth / U
    assert (relative <= roundings).all()
    stated(float(relative[-1] / roundings[-1]), 1, exact.cumulative_sum, "i * 2**-24 of the sum of |x| up to i", 0.01)


# ------------------------------------------------------------------------------------------------ layers


def test_softmax():
    worst = 0.0
    for x, _ in vectors((0.1, 1, 5, 20)):
        distance = x.astype(np.float64) - x.max()
        e = np.exp(distance)
        worst = max(worst, (ulps(exact.softmax(x), e / e.sum()) + distance).max())
    stated(worst, 11.1, exact.softmax, "|x[i] - max(x)| + 11.1 ulp")


def test_rmsnorm():
    worst = 0.0
    for x, gain in vectors((0.1, 1, 5, 20)):
        wide = x.astype(np.float64)
        worst = max(worst, ulps(exact.rmsnorm(x, gain, EPS), wide / np.sqrt(np.mean(wide * wide) + np.float64(EPS)) * gain).max())
    stated(worst, 4.3, exact.rmsnorm, "Within 4.3 ulp")


def test_layernorm():
    worst = 0.0
    for x, gain in vectors((0.1, 1, 5, 20), least=16):
        for mean in (0, np.sqrt(np.mean(x * x))):
            moved = (x + mean).astype(np.float32)
            d = moved.astype(np.float64) - moved.mean(dtype=np.float64)
            want = d / np.sqrt(np.mean(d * d) + np.float64(EPS)) * gain
            worst = max(worst, (np.abs(exact.layernorm(moved, gain, EPS) - want) / (np.abs(gain) + np.abs(want))).max() * 2**23)
    stated(worst, 2.1, exact.layernorm, "2.1 * 2**-23 * (|gain[i]| + |result|)")


@pytest.mark.parametrize("adjacent", [True, False])
def test_rope(adjacent):
    worst, pairs = 0.0, 4096
    for seed in range(100):
        random = np.random.default_rng(seed)
        angle = random.uniform(-4, 4, pairs)
        table = np.concatenate([np.cos(angle), np.sin(angle)]).astype(np.float32)
        x = random.standard_normal((1, 2 * pairs)).astype(np.float32)
        first, second = (np.s_[0, ::2], np.s_[0, 1::2]) if adjacent else (np.s_[0, :pairs], np.s_[0, pairs:])
        a, b, cosine, sine = (part.astype(np.float64) for part in (x[first], x[second], table[:pairs], table[pairs:]))
        got = exact.rope(x, table, adjacent=adjacent)
        for part, want in ((got[first], a * cosine - b * sine), (got[second], b * cosine + a * sine)):
            worst = max(worst, (np.abs(part - want) / np.hypot(a, b)).max() * 2**23)
    stated(worst, 1, exact.rope, "within 2**-23 of the pair's length")


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
