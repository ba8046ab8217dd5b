"""The bounds of errors that isa/arithmetic.py states: bad inputs are searched for, and none may pass its bound.

Each search starts with vectors that are known to be bad, goes on with random ones, and changes the worst that it has found. The
truth is computed in NumPy's longdouble (80 bits on x86). What the search must reach of a bound says that it is not blind, and
that the bound says something; a sum in another order must pass it. SLIMULATOR_FUZZ=100000 tries 5000 vectors in each search
instead of 100; SLIMULATOR_FUZZ_SEED=7 tries others.
"""

import os

import numpy as np
import pytest
from unit_bench import Bench

from isa import arithmetic as exact
from isa.units import UNITS

STEPS = max(int(os.environ.get("SLIMULATOR_FUZZ", "2000")) // 20, 60)       # vectors that each search tries
SEED = int(os.environ.get("SLIMULATOR_FUZZ_SEED", "1"))
U = 2.0**-24
TINY = np.longdouble(2)**-148           # what rounding among subnormal numbers may add
EPS = np.float32(1e-5)
f32, wide = np.float32, np.longdouble


@pytest.fixture(autouse=True)
def _as_in_the_engine():
    with np.errstate(all="ignore"):
        yield


def e(k):
    """What k roundings one after the other may change, of the number itself."""
    return np.expm1(np.asarray(k, wide) * wide(U))


def lane(n):
    """Elements of the longest lane."""
    return -(-n // 16)


# ------------------------------------------------------------------------------------------------ the stated bounds
#
# Each: the greatest error of a result, as a part of its bound.


def lane_sum_part(x):
    return abs(wide(exact.lane_sum(x)) - np.sum(x.astype(wide))) / (np.sum(np.abs(x.astype(wide))) * e(lane(len(x)) + 3))


def dot_part(x, y):
    products = x.astype(wide) * y.astype(wide)
    return abs(wide(exact.lane_sum(x * y)) - np.sum(products)) / (np.sum(np.abs(products)) * e(lane(len(x)) + 4))


def cumulative_sum_part(x):
    x = x[:500]
    truth = np.cumsum(x.astype(wide))
    bound = np.cumsum(np.abs(x.astype(wide))) * e(np.arange(len(x)))
    return np.max(np.abs(exact.cumulative_sum(x) - truth)[1:] / bound[1:], initial=0)


def softmax_part(x):
    below = x.astype(wide) - np.max(x)
    powers = np.exp(below)
    truth = powers / np.sum(powers)
    bound = truth * e(-below + lane(len(x)) + np.log(wide(len(x))) + 8) + TINY
    return np.max(np.abs(exact.softmax(x) - truth) / bound)


def rmsnorm_part(x, gain, eps=EPS):
    truth = x.astype(wide) / np.sqrt(np.mean(x.astype(wide)**2) + wide(eps)) * gain
    bound = np.abs(truth) * e(lane(len(x)) / 2 + 7) + TINY
    return np.max(np.abs(exact.rmsnorm(x, gain, eps) - truth) / bound)


def layernorm_part(x, gain, eps=EPS):
    n, k = len(x), lane(len(x)) / 2 + 9
    centred = x.astype(wide) - np.mean(x.astype(wide))
    deviation = np.sqrt(np.mean(centred**2) + wide(eps))
    truth = centred / deviation * gain
    t = e(lane(n) + 4) * np.mean(np.abs(x.astype(wide))) / deviation
    bound = np.abs(gain) * t * (1 + e(k)) + np.abs(truth) * (e(k) + t * t / 2) + TINY
    return np.max(np.abs(exact.layernorm(x, gain, eps) - truth) / bound)


def rope_part(x, table):
    """Heads of one pair, x (2 * heads,), and a cosine and a sine (2,); test_arithmetic.py has the order of longer ones."""
    a, b, c, s = x[0::2].astype(wide), x[1::2].astype(wide), *table.astype(wide)
    got = exact.rope(x.reshape(-1, 2), table, adjacent=True)
    errors = np.abs(got[:, 0] - (a * c - b * s)), np.abs(got[:, 1] - (b * c + a * s))
    bounds = e(2) * (np.abs(a * c) + np.abs(b * s)) + TINY, e(2) * (np.abs(b * c) + np.abs(a * s)) + TINY
    return max(np.max(errors[0] / bounds[0]), np.max(errors[1] / bounds[1]))


# ------------------------------------------------------------------------------------------------ bad inputs


def lost(n, small):
    """A lane's first element so large that the others may be rounded away: 16 ones, then `small`."""
    x = np.full(n, small, f32)
    x[:16] = 1
    return x


def starts(random, n):
    """Vectors that are bad for one sum or another."""
    yield np.full(n, 3.8020957, f32)
    yield np.full(n, f32(random.uniform(0.1, 10)))
    yield np.append(np.full(n - 1, -0.038631841, f32), f32(0))
    yield lost(n, 2.0**-24 * (1 - 2.0**-13))
    yield lost(n, 2.0**-12 * (1 - 2.0**-13))
    yield lost(n, -16.636) - lost(n, 0)                              # 16 zeros: exp makes ones of them
    yield np.where(np.arange(n) % 2, f32(1.25), f32(-1.25))
    yield (np.arange(n) / f32(max(n, 1))).astype(f32)


def at_random(random, n):
    x = random.standard_normal(n) * 10.0 ** random.uniform(-3, 1.5)
    kind = random.integers(4)
    if kind == 0:
        x = x + 10.0 ** random.uniform(-2, 2)                       # a mean
    if kind == 1:
        x = np.where(random.random(n) < 0.02, x * 100, x)           # outliers, as activations have them
    if kind == 2:
        x = np.sign(x) * (1 + np.round(x * 4) * 2.0**-23)           # beside ties
    return np.clip(x, -1e6, 1e6).astype(f32)


def changed(random, x):
    """A vector near x: other numbers at a few places, or all a little larger or smaller."""
    x = x.copy()
    if random.random() < 0.5:
        return x * f32(1 + random.uniform(-1, 1) * 10.0 ** random.integers(-7, -1))
    place = random.integers(0, len(x), 1 + random.integers(4))
    x[place] = random.choice(x, len(place)) * f32(random.uniform(-1.5, 1.5))
    return x


def search(part, steps=STEPS, sizes=(1, 2, 3, 15, 16, 17, 33, 100, 768, 4096), others=0):
    """The greatest part of a bound that a search finds. `others`: vectors besides x that `part` takes."""
    random, worst, at = np.random.default_rng(SEED), 0.0, None
    ones = [np.ones(4096, f32)] * others
    first = [(x, *(one[:len(x)] for one in ones)) for x in starts(random, 4096)]
    for step in range(steps):
        if step < len(first):
            vectors = first[step]
        elif step % 2 and at is not None:
            vectors = tuple(changed(random, x) for x in at)
        else:
            n = int(random.choice(sizes))
            vectors = tuple(at_random(random, n) for _ in range(1 + others))
        found = float(part(*vectors))
        if found > worst:
            worst, at = found, vectors
    return worst


# function, vectors besides x, what the search reaches of the bound at least
VECTORS = [(lane_sum_part, 0, 0.9), (dot_part, 1, 0.9), (cumulative_sum_part, 0, 0.9), (softmax_part, 0, 0.9),
           (rmsnorm_part, 1, 0.9), (layernorm_part, 1, 0.6)]


@pytest.mark.parametrize(("part", "others", "reached"), VECTORS, ids=lambda value: getattr(value, "__name__", ""))
def test_no_vector_passes_its_bound(part, others, reached, fuzzed):
    worst = search(part, others=others)
    fuzzed["vectors"] += STEPS
    assert worst <= 1
    assert worst >= reached, "the search is blind, or the bound says too little"


@pytest.mark.parametrize(("part", "others", "reached"), VECTORS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_sum_in_another_order_passes_the_bound(part, others, reached, monkeypatch):
    def in_order(x):
        return np.add.accumulate(x, dtype=np.float32)[-1] if len(x) else f32(0)

    monkeypatch.setattr(exact, "lane_sum", in_order)
    monkeypatch.setattr(exact, "cumulative_sum", lambda x: np.cumsum(x * f32(1 + 2 * U), dtype=np.float32))
    assert search(part, steps=8, others=others) > 1


@pytest.mark.parametrize(("function", "stated"), [
    (exact.lane_sum,       ("e(ceil(n / 16) + 3) of the sum of |x|", "e(ceil(n / 16) + 4)")),
    (exact.cumulative_sum, ("e(i) of the sum of |x| up to i",)),
    (exact.softmax,        ("e(d + ceil(n / 16) + ln n + 8) times it, and 2**-148", "d + 254.9 ulp", "d + 63.6")),
    (exact.rmsnorm,        ("e(ceil(n / 16) / 2 + 7) times it", "127.5 ulp", "33.8")),
    (exact.layernorm,      ("t = (ceil(n / 16) + 4) * u * mean(|x|) / deviation",
                            "|gain[i]| * t + |result| * ((ceil(n / 16) / 2 + 9) * u + t * t / 2)")),
    (exact.rope,           ("e(2) * (|a*cos| + |b*sin|)", "e(2) * (|b*cos| + |a*sin|)")),
    (exact.quantise,       ("within 0.50003 * scale", "0.50005")),
    (exact.gelu,           ("within 8 + 5 * |2u| ulp",))], ids=lambda value: getattr(value, "__name__", ""))
def test_the_texts_state_these_bounds(function, stated):
    text = " ".join(function.__doc__.split())
    assert [bound for bound in stated if bound not in text] == []


def ulp(truth):
    return np.ldexp(wide(1), np.maximum(np.frexp(truth)[1] - 1, -126) - 23)


# What the texts name: vectors of 4096 elements, and the greatest error in ulp.


@pytest.mark.parametrize(("x", "eps", "found"), [(np.full(4096, 3.8020957, f32), EPS, 33.8),
                                                 (lost(4096, 2.0**-12 * (1 - 2.0**-13)), f32(0), 127.5)])
def test_vectors_that_rmsnorm_names(x, eps, found):
    truth = x.astype(wide) / np.sqrt(np.mean(x.astype(wide)**2) + wide(eps))
    errors = np.abs(exact.rmsnorm(x, np.ones(4096, f32), eps) - truth) / ulp(truth)
    assert np.max(errors) == pytest.approx(found, abs=0.06)


@pytest.mark.parametrize(("x", "found"), [(np.append(np.full(4095, -0.038631841, f32), f32(0)), 63.6),
                                          (lost(4096, -16.636) - lost(4096, 0), 254.9)])
def test_vectors_that_softmax_names(x, found):
    powers = np.exp(x.astype(wide) - np.max(x))
    truth = powers / np.sum(powers)
    errors = np.abs(exact.softmax(x) - truth) / ulp(truth) - (np.max(x) - x)
    assert np.max(errors) == pytest.approx(found, abs=0.06)


def test_rotation(fuzzed):
    random, worst = np.random.default_rng(SEED), 0.0
    for _ in range(STEPS):
        angle = random.uniform(-np.pi, np.pi)
        table = np.array([np.cos(angle), np.sin(angle)], f32)
        worst = max(worst, rope_part(at_random(random, 4096), table))
        fuzzed["vectors"] += 1
    assert 0.9 < worst <= 1


# ------------------------------------------------------------------------------------------------ products of vec and lut


def mac_t_part(y, W, h):
    """y (cols,), W (rows, cols), h (rows,) through `vec.macT.f32`."""
    bench = Bench()
    place = bench.put(y)
    bench.set(vec__cols=len(y))
    bench.run("vec.macT.f32", y=place, W=bench.put(W), h=bench.put(h), rows=len(h))
    products = h.astype(wide)[:, None] * W.astype(wide)
    bound = (np.abs(y) + np.sum(np.abs(products), axis=0)) * e(len(h) + 1)
    return np.max(np.abs(bench.get(place, "<f4", len(y)) - (y + np.sum(products, axis=0))) / bound)


def gemv_part(weights, x, scales, x_scales, group):
    """weights (rows, length) and x of int8, scales (rows, groups), x_scales (groups,) through `lut.gemv.i8`."""
    bench = Bench()
    bench.set(lut__scale_group=group)
    bench.run("lut.build.i8", x=bench.put(x), scale=bench.put(x_scales), n=len(x))
    y = bench.put(np.zeros(len(weights), "<f4"))
    bench.run("lut.gemv.i8", y=y, W=bench.put(weights), scale=bench.put(scales), rows=len(weights))
    sums = np.add.reduceat(weights.astype(wide) * x, np.arange(0, len(x), group), axis=1)
    terms = sums * scales.astype(wide) * x_scales
    errors = np.abs(bench.get(y, "<f4", len(weights)) - np.sum(terms, axis=1))
    return np.max(errors / (np.sum(np.abs(terms), axis=1) * e(lane(terms.shape[1]) + 6)))


def test_transposed_products():
    random, cols, count = np.random.default_rng(SEED), 17, 400
    bad = mac_t_part(np.ones(cols, f32), np.full((count, cols), 2.0**-12 * (1 - 2.0**-13), f32), np.full(count, 2.0**-12, f32))
    assert 0.9 < bad <= 1
    for _ in range(STEPS // 20):
        W = at_random(random, count * cols).reshape(count, cols)
        assert mac_t_part(at_random(random, cols), W, at_random(random, count)) <= 1
    assert "e(rows + 1) of |y[c]| + the sum of |h[j] * W[j, c]|" in " ".join(UNITS["vec"].text.split())


def test_products_with_scales():
    random, length, group, count = np.random.default_rng(SEED), 4096, 4, 3
    weights, x = np.ones((count, length), np.int8), np.ones(length, np.int8)
    groups = length // group
    bad = gemv_part(weights, x, np.tile(lost(groups, 2.0**-24 * (1 - 2.0**-13)), (count, 1)), np.ones(groups, f32), group)
    assert 0.8 < bad <= 1
    for group in (4, 64, 4096):
        groups = length // group
        for _ in range(STEPS // 20):
            weights, x = (random.integers(-128, 128, shape).astype(np.int8) for shape in ((count, length), length))
            scales = at_random(random, count * groups).reshape(count, groups)
            assert gemv_part(weights, x, scales, at_random(random, groups), group) <= 1
    assert "e(ceil(groups / 16) + 6) of the sum of the groups' magnitudes" in " ".join(UNITS["lut"].text.split())


# ------------------------------------------------------------------------------------------------ quantisation


def off(x):
    """The greatest distance of code * scale from x, in scales. The product is exact in float64."""
    codes, scales = exact.quantise(x)
    scale = scales.astype(np.float64)
    return float(np.max(np.abs(x - codes * scale) / scale))


def beside_ties(a):
    """The numbers beside those in the middle of two codes, and the largest, a."""
    ties = ((np.arange(-127, 127) + 0.5) * (float(a) / 127)).astype(f32)
    return np.concatenate([ties, np.nextafter(ties, f32(0)), np.nextafter(ties, f32(np.inf)), [a]]).astype(f32)


def test_quantisation(fuzzed):
    random, worst, coarse = np.random.default_rng(SEED), 0.0, 0.0
    for _ in range(4 * STEPS):
        worst = max(worst, off(beside_ties(f32(random.uniform(1, 2) * 2.0 ** random.integers(-119, 127)))))
        coarse = max(coarse, off(beside_ties(f32(random.uniform(3.75e-37, 4e-37)))))
        fuzzed["vectors"] += 2
    assert 0.50001 < worst <= 0.50003
    assert 0.50003 < coarse <= 0.50005


# ------------------------------------------------------------------------------------------------ one argument


def gelu_argument(x):
    return 2 * np.sqrt(2 / wide(np.pi)) * (x + wide(0.044715) * x ** 3)


# function, truth, bound in ulp for each argument, exact figure from all arguments or by derivation
ARGUMENTS = [
    (exact.exp,     np.exp,                                                        lambda x: 0.98),
    (exact.sigmoid, lambda x: 1 / (1 + np.exp(-x)),                                lambda x: 2.41),
    (exact.tanh,    np.tanh,                                                       lambda x: 1.34),
    (exact.silu,    lambda x: x / (1 + np.exp(-x)),                                lambda x: 4.71),
    (exact.gelu,    lambda x: x / (1 + np.exp(-gelu_argument(x))),                 lambda x: np.minimum(214, 8 + 5 * np.abs(
        gelu_argument(x)))),
]


@pytest.mark.parametrize(("function", "truth", "bound"), ARGUMENTS, ids=lambda value: getattr(value, "__name__", ""))
def test_any_argument(function, truth, bound, fuzzed):
    random = np.random.default_rng(SEED)
    for _ in range(STEPS // 20):
        x = random.integers(0, 1 << 32, 1 << 15, np.uint32).view(f32)
        x = np.concatenate([x[np.abs(x) < 88], random.uniform(-20, 20, 1 << 14).astype(f32)])
        want = truth(x.astype(wide))
        assert np.all(np.abs(function(x) - want) <= bound(x.astype(wide)) * ulp(want))
        fuzzed["arguments"] += len(x)


@pytest.mark.parametrize(("function", "truth"), [pair[:2] for pair in ARGUMENTS], ids=lambda value: getattr(value, "__name__", ""))
def test_arguments_out_of_the_range_that_was_tried_as_a_whole(function, truth):
    patterns = np.random.default_rng(SEED).integers(0, 1 << 32, 1 << 17, np.uint32)
    x = np.concatenate([patterns.view(f32), (patterns & 0x807F_FFFF).view(f32)])        # half of them subnormal
    x = x[(np.abs(x) < 2.0**-30) | ((np.abs(x) > 256) & np.isfinite(x))]
    want = truth(x.astype(wide))
    beyond = np.abs(want) >= 2.0**128
    got = function(x)
    assert np.array_equal(got[beyond], np.sign(x[beyond]) * f32(np.inf))
    assert np.all(np.abs(got - want)[~beyond] <= 0.5 * (1 + 1e-6) * ulp(want[~beyond]))
