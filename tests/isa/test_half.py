"""16-bit arithmetic against float64, where products and sums of two numbers are exact, and rationals. Never against itself."""

from fractions import Fraction

import numpy as np
import pytest

from isa import half
from isa.arithmetic import bf16_bits, f32_from_bf16

EVERY = np.arange(1 << 16, dtype=np.uint16)
SPECIAL = np.array([0x0000, 0x8000, 0x0001, 0x8001, 0x0002, 0x0003, 0x01FF, 0x0200, 0x03FF, 0x83FF, 0x0400, 0x8400, 0x0401, 0x07FF,
                    0x1000, 0x13FF, 0x1400, 0x1401, 0x2BFF, 0x2C00, 0x37FF, 0x3800, 0x3801, 0xB800, 0x3BFF, 0x3C00, 0xBC00, 0x3C01,
                    0x3E00, 0x3FFF, 0x4000, 0x4001, 0x4200, 0x5BFF, 0x63FF, 0x6400, 0x6401, 0x6BFF, 0x7800, 0x7801, 0x7BFE, 0x7BFF,
                    0xFBFF, 0x7C00, 0xFC00, 0x7C01, 0x7DFF, 0x7E00, 0xFE00, 0x7FFF, 0xFFFF], np.uint16)
FINITE_BF16 = np.array([0, 1, 2, 0x7F, 0x80, 0x81, 0x3F7F, 0x3F80, 0x3F81, 0x4049, 0x1F80, 0x2000, 0x5F00, 0x7F7E, 0x7F7F],
                       np.uint16)


@pytest.fixture(autouse=True)
def _as_in_the_engine():
    with np.errstate(all="ignore"):
        yield


def f64(bits):
    return bits.view(np.float16).astype(np.float64)


def once(exact):
    """Bits of binary16 of exact float64 numbers, rounded once."""
    return np.where(np.isnan(exact), np.uint16(0x7E00), exact.astype(np.float16).view(np.uint16))


@pytest.mark.parametrize("other", SPECIAL.tolist())
def test_f16_products_and_sums_of_every_number(other):
    b = np.full(1 << 16, other, np.uint16)
    assert np.array_equal(half.f16_product(EVERY, b), once(f64(EVERY) * f64(b)))
    assert np.array_equal(half.f16_sum(EVERY, b), once(f64(EVERY) + f64(b)))
    half_numbers = EVERY.view(np.float16), b.view(np.float16)
    for got, expected in ((half.f16_product(EVERY, b), half_numbers[0] * half_numbers[1]),
                          (half.f16_sum(EVERY, b), half_numbers[0] + half_numbers[1])):
        assert np.array_equal(got, np.where(np.isnan(expected), np.uint16(0x7E00), expected.view(np.uint16)))


def test_f16_products_and_sums_of_random_numbers():
    a, b = np.random.default_rng(0).integers(0, 1 << 16, (2, 1 << 20), np.uint16)
    assert np.array_equal(half.f16_product(a, b), once(f64(a) * f64(b)))
    assert np.array_equal(half.f16_sum(a, b), once(f64(a) + f64(b)))


def test_f16_mac_rounds_twice():
    """(1 + 2**-10)**2 is 1 + 2**-9 + 2**-20, and what is behind is lost before the sum: a fused MAC would give 2**-20."""
    a = np.array([1 + 2**-10], np.float16).view(np.uint16)
    squared = half.f16_product(a, a)
    assert squared.view(np.float16)[0] == np.float16(1 + 2**-9)
    minus = np.array([-(1 + 2**-9)], np.float16).view(np.uint16)
    assert half.f16_mac(minus, a, a).tolist() == [0]


def test_f16_mac_and_fold_one_number_at_a_time():
    random = np.random.default_rng(1)
    a, b = random.standard_normal((2, 100, 16)).astype(np.float16)
    lanes, numbers = np.zeros(16, np.uint16), [np.float16(0)] * 16
    for x, y in zip(a, b, strict=True):
        lanes = half.f16_mac(lanes, x.view(np.uint16), y.view(np.uint16))
        for j in range(16):
            product = np.float16(float(x[j]) * float(y[j]))
            numbers[j] = np.float16(float(numbers[j]) + float(product))
    assert lanes.view(np.float16).tolist() == numbers
    for width in (8, 4, 2, 1):
        numbers = [np.float16(float(numbers[j]) + float(numbers[j + width])) for j in range(width)]
    assert half.f16_fold(lanes).view(np.float16) == numbers[0]


# ------------------------------------------------------------------------------------------------ bfloat16


def exact_bf16(bits):
    sign, exponent, mantissa = bits >> 15, bits >> 7 & 255, bits & 127
    magnitude = Fraction(mantissa if exponent == 0 else mantissa + 128) * Fraction(2) ** (max(exponent, 1) - 134)
    return -magnitude if sign else magnitude


def round_to(value, digits, least):
    """A positive rational to the nearest number of `digits` significant bits, no finer than 2**least, ties to even."""
    scale = Fraction(2) ** least
    while value / scale >= 2**digits:
        scale *= 2
    return round(value / scale) * scale


@pytest.mark.parametrize("name", ["product", "sum"])
def test_bf16_against_rationals(name):
    random = np.random.default_rng(2)
    a = np.concatenate([np.repeat(FINITE_BF16, len(FINITE_BF16)), random.integers(0, 0x7F80, 2000, np.uint16)])
    b = np.concatenate([np.tile(FINITE_BF16, len(FINITE_BF16)), random.integers(0, 0x7F80, 2000, np.uint16)])
    got = getattr(half, f"bf16_{name}")(a, b)
    for x, y, bits in zip(a.tolist(), b.tolist(), got.tolist(), strict=True):
        exact = exact_bf16(x) * exact_bf16(y) if name == "product" else exact_bf16(x) + exact_bf16(y)
        expected = round_to(round_to(exact, 24, -149), 8, -133)
        if expected >= 2**128:
            assert bits == 0x7F80
        else:
            assert exact_bf16(bits) == expected, (hex(x), hex(y))
        if name == "sum":
            assert round_to(exact, 8, -133) == expected         # rounded as if once


def test_bf16_of_what_is_not_finite():
    one, infinity, nan, zero = (np.array([bits], np.uint16) for bits in (0x3F80, 0x7F80, 0xFFC1, 0))
    assert half.bf16_product(infinity, zero).tolist() == [0x7FC0]
    assert half.bf16_sum(infinity, infinity | np.uint16(0x8000)).tolist() == [0x7FC0]
    assert half.bf16_product(nan, one).tolist() == half.bf16_sum(nan, one).tolist() == [0x7FC0]
    assert half.bf16_mac(np.zeros(1, np.float32), nan, one).view(np.uint32).tolist() == [0x7FC0_0000]


def test_bf16_mac_and_fold_one_number_at_a_time():
    random = np.random.default_rng(3)
    a, b = bf16_bits(random.standard_normal((2, 60, 16)).astype(np.float32).reshape(-1)).reshape(2, 60, 16)
    lanes, numbers = np.zeros(16, np.float32), [np.float32(0)] * 16
    for x, y in zip(a, b, strict=True):
        lanes = half.bf16_mac(lanes, x, y)
        for j in range(16):
            numbers[j] = np.float32(float(numbers[j]) + float(exact_bf16(int(x[j])) * exact_bf16(int(y[j]))))
    assert np.array_equal(lanes, numbers)
    for width in (8, 4, 2, 1):
        numbers = [np.float32(float(numbers[j]) + float(numbers[j + width])) for j in range(width)]
    total = abs(Fraction(float(numbers[0])))
    assert abs(exact_bf16(int(half.bf16_fold(lanes)))) == round_to(total, 8, -133)


# ------------------------------------------------------------------------------------------------ activation by table


@pytest.mark.parametrize("form", ["f16", "bf16"])
def test_activation_is_the_table_and_linear_between(form):
    infinity = 0x7C00 if form == "f16" else 0x7F80
    starts = (np.arange(1024, dtype=np.uint16) << 6)
    to_f32 = (lambda bits: bits.view(np.float16).astype(np.float32)) if form == "f16" else f32_from_bf16
    with np.errstate(all="ignore"):
        function = np.tanh(to_f32(starts))
    table = function.astype(np.float16).view(np.uint16) if form == "f16" else bf16_bits(function)
    got = getattr(half, f"{form}_activation")(table, EVERY)
    nan = infinity < (EVERY & 0x7FFF)
    assert set(got[nan].tolist()) == {0x7E00 if form == "f16" else 0x7FC0}
    there = ~nan & (EVERY & 63 == 0)
    assert np.array_equal(got[there], table[EVERY[there] >> 6])
    for x in (0x3C21 if form == "f16" else 0x3F95, 0xB87F, 0x0001, 0x1234):
        low, high = (float(to_f32(table[[i]])[0]) for i in (x >> 6, (x >> 6) + 1))
        exact = low + (high - low) * (x & 63) / 64
        step = abs(exact) * (2**-11 if form == "f16" else 2**-8) + 2**-25
        assert abs(float(to_f32(got[[x]])[0]) - exact) <= step


def test_activation_at_the_ends():
    """A table of the identity gives infinity at infinity, and what is between the greatest entry and infinity is infinite."""
    table = np.arange(1024, dtype=np.uint16) << np.uint16(6)
    x = np.array([0x7C00, 0xFC00, 0x7BC0, 0x7BC1, 0xFBFF, 0x8000, 0x0000, 0x0033], np.uint16)
    assert half.f16_activation(table, x).tolist() == [0x7C00, 0xFC00, 0x7BC0, 0x7C00, 0xFC00, 0x8000, 0x0000, 0x0033]
