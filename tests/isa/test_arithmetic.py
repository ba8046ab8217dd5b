"""Exact arithmetic against outside truths: float64, rationals, struct's binary16, scalar loops. Never against itself."""

import struct
import zlib
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isa import arithmetic as exact
from isa.arithmetic import f32_bits, f32_from_bits

NAN_BITS = 0x7FC0_0000
INF = np.float32(np.inf)
SPECIALS = np.array([0x0000_0000, 0x8000_0000, 0x0000_0001, 0x8000_0001, 0x007F_FFFF, 0x0080_0000, 0x3F80_0000, 0xBF80_0000,
                     0x7F7F_FFFF, 0xFF7F_FFFF, 0x7F80_0000, 0xFF80_0000, 0x7FC0_0000, 0xFFC0_0000, 0x7F80_0001, 0x7FFF_FFFF],
                    np.uint32).view(np.float32)


@pytest.fixture(autouse=True)
def _as_in_the_engine():
    with np.errstate(all="ignore"):
        yield


def f32(*values):
    return np.array(values, np.float32)


def bits(x):
    return np.asarray(x, np.float32).view(np.uint32)


def random_f32(n, seed=0, scale=1.0):
    return (np.random.default_rng(seed).standard_normal(n) * scale).astype(np.float32)


def random_bits(n, seed=0):
    """Any fp32 pattern: all exponents, NaNs and infinities among them."""
    return np.random.default_rng(seed).integers(0, 1 << 32, n, np.uint32).view(np.float32)


# ------------------------------------------------------------------------------------------------ integers and bits


@pytest.mark.parametrize(("value", "low", "signed"), [(0, 0, 0), (0x7FFF_FFFF, 32, 0x7FFF_FFFF), (0x8000_0000, 32, -0x8000_0000),
                                                (-1, 32, -1), (1 << 40, 32, 0), (1 << 63, 64, -(1 << 63)), ((1 << 64) - 1, 64, -1)])
def test_signed_views(value, low, signed):
    assert (exact.s64 if low == 64 else exact.s32)(value) == signed


@given(st.integers(0, (1 << 64) - 1))
def test_scalars_are_the_low_32_bits_of_a_register(register):
    low = register & 0xFFFF_FFFF
    value = struct.unpack("<f", struct.pack("<I", low))[0]
    assert np.array_equal(np.float32(value), f32_from_bits(register), equal_nan=True)
    assert f32_bits(f32_from_bits(register)) == (NAN_BITS if value != value else low)


def test_canonical_changes_nans_only():
    x = np.concatenate([SPECIALS, random_bits(1000)])
    y = exact.canonical(x)
    nan = np.isnan(x)
    assert set(bits(y[nan]).tolist()) == {NAN_BITS}
    assert np.array_equal(bits(y[~nan]), bits(x[~nan]))


# ------------------------------------------------------------------------------------------------ sums and extremes


def scalar_lane_sum(x):
    """The 16-lane rule with one scalar addition at a time."""
    lanes = [np.float32(0)] * 16
    for i, value in enumerate(x):
        lanes[i % 16] = np.float32(lanes[i % 16] + value)
    for half in (8, 4, 2, 1):
        lanes = [np.float32(lanes[j] + lanes[j + half]) for j in range(half)]
    return lanes[0]


@pytest.mark.parametrize("n", [0, 1, 2, 15, 16, 17, 31, 32, 33, 100, 1000, 1023])
def test_lane_sum_is_the_rule(n):
    x = random_f32(n, n, 1e3)
    assert f32_bits(exact.lane_sum(x)) == f32_bits(scalar_lane_sum(x))


def test_lane_sum_is_not_another_order():
    x = random_f32(1000, 3)
    in_order = np.add.accumulate(x)[-1]
    assert f32_bits(exact.lane_sum(x)) not in (f32_bits(in_order), f32_bits(np.sum(x)))


def test_lane_sum_of_rows_is_the_sum_of_each_row():
    x = random_f32(3 * 5 * 37, 1).reshape(3, 5, 37)
    y = exact.lane_sum(x)
    assert y.shape == (3, 5)
    for i, j in np.ndindex(3, 5):
        assert f32_bits(y[i, j]) == f32_bits(scalar_lane_sum(x[i, j]))


def test_lane_sum_specials():
    assert f32_bits(exact.lane_sum(f32())) == 0
    assert f32_bits(exact.lane_sum(f32(*[-0.0] * 40))) == 0
    assert f32_bits(exact.lane_sum(f32(INF, 1, -INF))) == NAN_BITS
    assert exact.lane_sum(f32(3e38, *[0] * 15, 3e38)) == INF
    assert exact.lane_sum(f32(1e-45, 1e-45)) == np.float32(2.8e-45)


def test_cumulative_sum_is_sequential():
    x = random_f32(500, 5, 10)
    total = x[0]
    for value, got in zip(x[1:], exact.cumulative_sum(x)[1:], strict=True):
        total = np.float32(total + value)
        assert f32_bits(got) == f32_bits(total)
    assert bits(exact.cumulative_sum(f32(-0.0, -0.0))).tolist() == [0x8000_0000] * 2
    assert len(exact.cumulative_sum(f32())) == 0


@pytest.mark.parametrize(("values", "largest", "smallest", "magnitude"), [
    ([],                 -INF, INF,  0),
    ([3, -7, 2],         3,    -7,   7),
    ([-0.0, -0.0],       0,    0,    0),
    ([0.0, -0.0],        0,    0,    0),
    ([INF, -INF],        INF,  -INF, INF),
    ([-1e-45, -1e-45],   -1e-45, -1e-45, 1e-45),
    ([1, np.nan, 2],     np.nan, np.nan, np.nan)])
def test_extremes(values, largest, smallest, magnitude):
    x = f32(*values)
    assert f32_bits(exact.largest(x)) == f32_bits(largest)
    assert f32_bits(exact.smallest(x)) == f32_bits(smallest)
    assert f32_bits(exact.largest_magnitude(x)) == f32_bits(magnitude)


@pytest.mark.parametrize(("values", "index"), [([], 0), ([1, 3, 3], 1), ([np.nan, -5], 1), ([np.nan, np.nan], 0),
                                               ([-INF, np.nan], 0), ([np.nan, INF, INF], 1), ([-0.0, 0.0], 0),
                                               ([-1, 0.0, -0.0], 1)])
def test_index_of_largest(values, index):
    assert exact.index_of_largest(f32(*values)) == index


def test_elementwise_extremes():
    a, b = f32(1, 2, -0.0, 0.0, np.nan, 1, -INF), f32(2, 1, 0.0, -0.0, 1, np.nan, INF)
    assert bits(exact.maximum(a, b)).tolist() == bits(f32(2, 2, 0.0, -0.0, np.nan, np.nan, INF)).tolist()
    assert bits(exact.minimum(a, b)).tolist() == bits(f32(1, 1, 0.0, -0.0, np.nan, np.nan, -INF)).tolist()


# ------------------------------------------------------------------------------------------------ exp and its family


def logistic(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def gelu_tanh(x):
    return x * logistic(2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3))


# function, its truth in float64, greatest error in ulp for arguments from `low` upward: what the docstrings state
RECIPES = [
    (exact.exp,     np.exp,                    0.98, -np.inf),
    (exact.sigmoid, logistic,                  2.41, -np.inf),
    (exact.tanh,    np.tanh,                   1.34, -np.inf),
    (exact.silu,    lambda x: x * logistic(x), 4.71, -np.inf),
    (exact.gelu,    gelu_tanh,                 4.1,  -1),
    (exact.gelu,    gelu_tanh,                 24.1, -4),
    (exact.gelu,    gelu_tanh,                 214,  -np.inf),
]


# Where the recipes are worst, found by trying every fp32 number of magnitude 2**-30 to 256.
WORST = (-5.8606462478637695, -4.157293796539307, 0.6310442090034485, -9.164222717285156,       # exp, sigmoid, tanh, silu
         -0.33987125754356384, -3.8879311084747314, -10.041107177734375)                        # gelu


def arguments():
    """Every 1031st fp32 number but NaN and infinity, a dense stretch around 0, the points where recipes change branch, WORST."""
    step = np.arange(0, 1 << 32, 1031, np.uint64).astype(np.uint32).view(np.float32)
    turning = f32(0.625, 88.722839, 87.33654, 103.97208, 104, 89, 128, *(np.arange(300) * np.log(2) / 2))
    near = (bits(turning)[:, None] + np.arange(-200, 200)).astype(np.uint32).reshape(-1).view(np.float32)
    x = np.concatenate([step, near, -near, np.linspace(-20, 20, 400_001, dtype=np.float32), SPECIALS, f32(*WORST)])
    return x[np.isfinite(x)]


def worst_ulp(function, truth, x):
    """Greatest error of function(x) in units in the last place of the float64 truth; inf when one overflows alone."""
    want, got = truth(x.astype(np.float64)), function(x).astype(np.float64)
    unit = np.ldexp(1.0, np.maximum(np.frexp(want)[1] - 1, -126) - 23)
    overflow = np.abs(want) >= 2.0**128 * (1 - 2.0**-25)
    error = np.where(overflow, np.where(got == np.sign(want) * np.inf, 0, np.inf), np.abs(got - want) / unit)
    return float(np.max(np.where(np.isnan(error), np.inf, error)))


@pytest.mark.parametrize(("function", "truth", "bound", "low"), RECIPES, ids=lambda value: getattr(value, "__name__", str(value)))
def test_recipe_error(function, truth, bound, low):
    x = arguments()
    x = x[x >= low]
    error = worst_ulp(function, truth, x)
    assert error <= bound
    assert error > bound * 0.99, "the docstring promises less than the recipe holds"
    assert str(bound) in function.__doc__, "the docstring promises something else"
    assert worst_ulp(lambda x: function(x) * np.float32(1 + 2.0**-20 * (1 + bound)), truth, x) > bound, "the measure is blind"


def test_gelu_tail_is_small_in_absolute_terms():
    x = np.linspace(-30, 0, 300_001, dtype=np.float32)
    assert np.max(np.abs(exact.gelu(x) - gelu_tanh(x.astype(np.float64)))) < 2.0**-23


@pytest.mark.parametrize(("function", "at_minus_inf", "at_minus_0", "at_0", "at_inf"), [
    (exact.exp,          0.0,  1.0,  1.0, INF),
    (exact.sigmoid,      0.0,  0.5,  0.5, 1.0),
    (exact.tanh,         -1.0, -0.0, 0.0, 1.0),
    (exact.silu,         -0.0, -0.0, 0.0, INF),
    (exact.gelu,         -0.0, -0.0, 0.0, INF),
    (exact.relu,         0.0,  0.0,  0.0, INF),
    (exact.relu_squared, 0.0,  0.0,  0.0, INF)])
def test_recipe_specials(function, at_minus_inf, at_minus_0, at_0, at_inf):
    assert bits(function(f32(-INF, -0.0, 0.0, INF))).tolist() == bits(f32(at_minus_inf, at_minus_0, at_0, at_inf)).tolist()
    nans = np.array([NAN_BITS, 0xFFC0_0000, 0x7F80_0001, 0xFFFF_FFFF], np.uint32).view(np.float32)
    assert bits(function(nans)).tolist() == [NAN_BITS] * 4
    huge = function(f32(-3.4028235e38, 3.4028235e38))
    assert bits(huge[0]) == bits(f32(at_minus_inf))[0]
    assert huge[1] == (at_inf if at_inf == 1 or function in (exact.exp, exact.relu_squared) else np.float32(3.4028235e38))


def test_exp_at_its_ends():
    just_fits, too_large = np.float32(88.72283), np.nextafter(np.float32(88.72283), INF)
    assert np.isfinite(exact.exp(f32(just_fits)))[0]
    assert exact.exp(f32(too_large))[0] == INF
    smallest = np.float32(-103.972075)                              # just above ln 2**-150, where the result rounds to 0
    assert bits(exact.exp(f32(smallest, -103.97209, -104, -200))).tolist() == [1, 0, 0, 0]
    subnormal = np.linspace(-103, -88, 5001, dtype=np.float32)
    want = np.exp(subnormal.astype(np.float64)).astype(np.float32)
    assert np.max(np.abs(bits(exact.exp(subnormal)).astype(np.int64) - bits(want))) <= 1


def test_tanh_is_odd_and_functions_take_any_shape():
    x = random_f32(999, 8, 3)
    assert np.array_equal(bits(exact.tanh(-x)), bits(-exact.tanh(x)))
    for function in (exact.exp, exact.sigmoid, exact.tanh, exact.silu, exact.gelu, exact.relu):
        assert np.array_equal(function(x.reshape(3, 333)), function(x).reshape(3, 333))
        assert function(f32()).shape == (0,)


@pytest.mark.parametrize(("function", "checksum"), [
    (exact.exp, 0x1851_A76D), (exact.sigmoid, 0x14AE_7CA4), (exact.tanh, 0xC3BB_9893), (exact.silu, 0x355E_27A3),
    (exact.gelu, 0x81C0_FDE7)],
    ids=lambda value: getattr(value, "__name__", ""))
def test_recipes_give_the_same_bits_on_every_host(function, checksum):
    """A recipe is architecture: another coefficient or order would change tokens. CRC-32 of results as little-endian fp32."""
    x = np.concatenate([np.arange(0, 1 << 32, 65_521, np.uint64).astype(np.uint32).view(np.float32),
                        np.arange(-20_000, 20_000, dtype=np.float32) / np.float32(1024),
                        np.arange(-20_000, 20_000, dtype=np.float32) / np.float32(32768)])
    assert zlib.crc32(function(x).astype("<f4").tobytes()) == checksum


# ------------------------------------------------------------------------------------------------ vectors of a layer


@pytest.mark.parametrize("n", [1, 2, 5, 16, 33, 1000])
def test_softmax(n):
    x = random_f32(n, n, 5)
    e = np.exp(x.astype(np.float64) - x.max())
    assert np.allclose(exact.softmax(x), e / e.sum(), rtol=4e-6, atol=0)


def test_softmax_specials():
    assert exact.softmax(f32()).shape == (0,)
    assert exact.softmax(f32(7, -INF, 7)).tolist() == [0.5, 0, 0.5]
    for bad in ((1, np.nan), (1, INF), (-INF, -INF)):
        assert np.isnan(exact.softmax(f32(*bad))).all()


@pytest.mark.parametrize("n", [1, 7, 16, 64, 1000])
def test_norms(n):
    x, gain, eps = random_f32(n, 1, 3), random_f32(n, 2), np.float32(1e-5)
    wide = x.astype(np.float64)
    assert np.allclose(exact.rmsnorm(x, gain, eps), wide / np.sqrt(np.mean(wide**2) + 1e-5) * gain, rtol=2e-6, atol=1e-7)
    centred = wide - wide.mean()
    assert np.allclose(exact.layernorm(x, gain, eps), centred / np.sqrt(np.mean(centred**2) + 1e-5) * gain, rtol=1e-4, atol=1e-5)


def test_norms_round_in_the_stated_order():
    x, gain, eps = random_f32(100, 1, 3), random_f32(100, 2), np.float32(1e-6)
    r = np.float32(1) / np.sqrt(np.float32(scalar_lane_sum(x * x) / np.float32(100)) + eps)
    assert exact.rmsnorm(x, gain, eps).tolist() == [np.float32(np.float32(a * r) * g) for a, g in zip(x, gain, strict=True)]
    d = x - np.float32(scalar_lane_sum(x) / np.float32(100))
    r = np.float32(1) / np.sqrt(np.float32(scalar_lane_sum(d * d) / np.float32(100)) + eps)
    assert exact.layernorm(x, gain, eps).tolist() == [np.float32(np.float32(a * r) * g) for a, g in zip(d, gain, strict=True)]


@pytest.mark.parametrize("adjacent", [True, False])
def test_rope_turns_complex_numbers(adjacent):
    heads, half = 3, 4
    angle = np.random.default_rng(0).uniform(-3, 3, half)
    table = np.concatenate([np.cos(angle), np.sin(angle)]).astype(np.float32)
    x = random_f32(heads * half * 2, 4).reshape(heads, -1)
    real, imaginary = (x[:, 0::2], x[:, 1::2]) if adjacent else (x[:, :half], x[:, half:])
    turned = (real + 1j * imaginary) * np.exp(1j * angle)
    y = exact.rope(x, table, adjacent=adjacent)
    real, imaginary = (y[:, 0::2], y[:, 1::2]) if adjacent else (y[:, :half], y[:, half:])
    assert np.allclose(real, turned.real, atol=1e-6)
    assert np.allclose(imaginary, turned.imag, atol=1e-6)


# ------------------------------------------------------------------------------------------------ quantisation


@pytest.mark.parametrize(("n", "group", "count"), [(0, 0, 0), (0, 4, 0), (1, 0, 1), (9, 0, 1), (9, 1, 9), (9, 4, 3), (8, 4, 2),
                                             (3, 1 << 60, 1)])
def test_group_count(n, group, count):
    assert exact.group_count(n, group) == count
    codes, scales = exact.quantise(random_f32(n), group)
    assert (len(codes), len(scales)) == (n, count)
    assert len(exact.dequantise(codes, scales, group)) == n


@pytest.mark.parametrize(("n", "group"), [(1, 0), (100, 0), (100, 7), (64, 32), (65, 32)])
def test_quantise_is_the_formula(n, group):
    x = random_f32(n, n, 4)
    codes, scales = exact.quantise(x, group)
    for g in range(len(scales)):
        part = slice(g * group, (g + 1) * group) if group else slice(None)
        a = max(abs(Fraction(float(v))) for v in x[part])
        inverse = np.float32(127) / np.float32(float(a))
        want = [round(float(np.float32(v * inverse))) for v in x[part]]     # Python rounds half to even
        assert codes[part].tolist() == want
        assert max(abs(code) for code in want) == 127
        assert scales[g] == np.float32(float(a)) / np.float32(127)
        step = float(scales[g])
        assert np.max(np.abs(codes[part] * step - x[part].astype(np.float64))) <= step * 0.50001


def test_quantise_multiplies_by_the_rounded_inverse():
    """Values beside the ties, where x * (127/a), x / (a/127) and x * (1/(a/127)) part."""
    rng = np.random.default_rng(0)
    parted = 0
    for a in rng.uniform(0.1, 10, 200).astype(np.float32):
        inverse = np.float32(127) / a
        beside = ((np.arange(-120, 120) + 0.5) / np.float64(inverse)).astype(np.float32)
        codes, _ = exact.quantise(np.append(beside, a))
        assert codes.tolist() == [*(round(float(np.float32(v * inverse))) for v in beside), 127]
        scale = a / np.float32(127)
        parted += sum(codes[:-1] != np.rint(beside / scale)) > 0
        parted += sum(codes[:-1] != np.rint(beside * (np.float32(1) / scale))) > 0
    assert parted > 100


def test_quantise_rounds_half_to_even():
    codes, scales = exact.quantise(f32(127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5))
    assert codes.tolist() == [127, 0, 2, 2, 0, -2, -2, 126]
    assert scales.tolist() == [1]


def test_quantise_specials():
    tiny = np.float32(3.7e-37)                          # 127 / tiny overflows
    least = np.float32(3.8e-37)                         # 127 / least does not
    x = f32(0, -0.0,   1, np.nan,   INF, 5,   -INF, 0,   tiny, -tiny,   1e-45, 0,   least, -least,   3.4e38, -1e38)
    codes, scales = exact.quantise(x, 2)
    assert codes.tolist() == [0, 0,   0, 0,   0, 0,   0, 0,   0, 0,   0, 0,   127, -127,   127, -37]
    assert bits(scales).tolist() == bits(f32(0, np.nan, INF, INF, 0, 0, least / np.float32(127), np.float32(3.4e38) / 127)).tolist()


def test_dequantise_multiplies_by_the_groups_scale():
    codes = np.array([1, -2, 3, -4, 127], np.int8)
    assert exact.dequantise(codes, f32(0.5), 0).tolist() == [0.5, -1, 1.5, -2, 63.5]
    assert exact.dequantise(codes, f32(1, 2, 4), 2).tolist() == [1, -2, 6, -8, 508]
    wide = np.array([(1 << 24) + 1, (1 << 24) + 3, -(1 << 31)], np.int32)       # halfway cases go to even
    assert exact.dequantise(wide, f32(1), 0).tolist() == [1 << 24, (1 << 24) + 4, -(1 << 31)]


# ------------------------------------------------------------------------------------------------ conversions


def test_f16_widening_is_exact_for_every_pattern():
    patterns = np.arange(1 << 16, dtype=np.uint16)
    for pattern, got in zip(patterns.tolist(), exact.f32_from_f16(patterns), strict=True):
        want = struct.unpack("<e", struct.pack("<H", pattern))[0]
        assert f32_bits(got) == f32_bits(want)
    finite = patterns[np.isfinite(exact.f32_from_f16(patterns))]
    assert np.array_equal(exact.f16_bits(exact.f32_from_f16(finite)), finite)


def test_f16_rounding_agrees_with_struct():
    x = np.concatenate([SPECIALS, random_f32(3000, 1, 100), random_f32(3000, 2, 1e-5), random_bits(3000),
                        f32(65504, 65519.996, 65520, -65520, 2.0**-24, 2.0**-25, 2.0**-25 * 1.0001)])
    for value, got in zip(x, exact.f16_bits(x), strict=True):
        if np.isnan(value):
            want = 0x7E00
        else:
            try:
                want = struct.unpack("<H", struct.pack("<e", float(value)))[0]
            except OverflowError:                       # struct refuses what IEEE rounds to infinity
                want = 0x7C00 | (0x8000 if value < 0 else 0)
        assert got == want, value


def test_bf16_rounding_is_to_the_nearest_neighbour():
    x = np.concatenate([random_f32(2000, 1), random_bits(2000, 4), SPECIALS,
                        f32(3.3895314e38, 3.4e38, -3.4028235e38, 1 + 2.0**-8, 1 + 3 * 2.0**-8, 1e-45)])
    for value, got in zip(x, exact.bf16_bits(x).tolist(), strict=True):
        if np.isnan(value):
            assert got == 0x7FC0
        elif np.isinf(value):
            assert got == int(bits(value)) >> 16
        else:
            low = int(bits(value)) >> 16                # the neighbour towards zero; 0x7F80 stands for 2**128
            below, above = (Fraction(2)**128 if pattern & 0x7FFF == 0x7F80 else abs(Fraction(float(f32_from_bits(pattern << 16))))
                            for pattern in (low, low + 1))
            down, up = abs(Fraction(float(value))) - below, above - abs(Fraction(float(value)))
            assert got == low + (down > up or (down == up and low & 1 == 1)), value


def test_bf16_widening_is_exact_for_every_pattern():
    patterns = np.arange(1 << 16, dtype=np.uint16)
    for pattern, got in zip(patterns.tolist(), exact.f32_from_bf16(patterns), strict=True):
        want = struct.unpack("<f", struct.pack("<HH", 0, pattern))[0]
        assert f32_bits(got) == f32_bits(want)


def test_integer_conversions():
    integers = np.array([0, 1, -1, (1 << 24) + 1, (1 << 31) - 1, -(1 << 31)], np.int32)
    assert exact.f32_from_i32(integers).tolist() == [0, 1, -1, 1 << 24, 1 << 31, -(1 << 31)]
    x = f32(0.5, 1.5, 2.5, -0.5, -1.5, 2147483520, 2147483648, -2147483648, -3e9, INF, -INF, np.nan, -0.0)
    top, bottom = (1 << 31) - 1, -(1 << 31)
    assert exact.i32_from_f32(x).tolist() == [0, 2, 2, 0, -2, 2147483520, top, bottom, bottom, top, bottom, top, 0]
