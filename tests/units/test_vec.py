"""vec: every row against float64, struct or scalar loops; sizes, zero lengths, overlap, special values, CSRs, counters, traps."""

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_bench import FLASH, Bench, refused

from isa.instruction import TABLE, rows
from isa.traps import Cause

NAN = 0x7FC0_0000
SIZES = (0, 1, 2, 15, 16, 17, 100)
HUGE = (1 << 64) - 1
SRAM_END = 0x1000_0000 + (16 << 20)
FLOATS = st.lists(st.floats(width=32) | st.sampled_from([0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan]), max_size=40)
GUARD = 0xDEAD_BEEF         # fills the memory around results


def f32_bits(value):
    return struct.unpack("<I", struct.pack("<f", value))[0]


def normal(n, seed=0, scale=1.0):
    return (np.random.default_rng(seed).standard_normal(n) * scale).astype(np.float32)


def small_integers(n, seed, form):
    return np.random.default_rng(seed).integers(-128, 128, n).astype(form)


def results(bench, n):
    """Room for n results of up to 4 bytes, guarded by a pattern behind it."""
    return bench.put(np.full(n + 4, GUARD, np.uint32))


def got(bench, address, dtype, n):
    """n results, after checking that nothing was written behind them."""
    size = n * np.dtype(dtype).itemsize
    room = bench.get(address, "u1", (n + 4) * 4)
    untouched = np.full(n + 4, GUARD, "<u4").view("u1")
    assert np.array_equal(room[size:], untouched[size:]), "written past the end"
    return room[:size].view(dtype)


def lane_sum(values):
    """The 16-lane rule, one scalar addition at a time."""
    lanes = [np.float32(0)] * 16
    with np.errstate(all="ignore"):
        for i, value in enumerate(values):
            lanes[i % 16] = lanes[i % 16] + np.float32(value)
        for half in (8, 4, 2, 1):
            lanes = [lanes[j] + lanes[j + half] for j in range(half)]
    return lanes[0]


def same(values, expected):
    """Equal bits, canonical NaNs."""
    expected = np.asarray(expected, np.float32)
    wanted = np.where(np.isnan(expected), NAN, expected.view(np.uint32))
    return np.array_equal(np.asarray(values, np.float32).view(np.uint32), wanted)


# ------------------------------------------------------------------------------------------------ one vector to one vector


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


UNARY = {  # float64 truth, relative error allowed, counts exponentials
    "vec.relu.f32":    (lambda x: np.maximum(x, 0),                                                      0,    False),
    "vec.relu2.f32":   (lambda x: np.maximum(x, 0) ** 2,                                                 1e-7, False),
    "vec.sqrt.f32":    (np.sqrt,                                                                         1e-7, False),
    "vec.silu.f32":    (lambda x: x * sigmoid(x),                                                        6e-7, True),
    "vec.gelu.f32":    (lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),     3e-6, True),
    "vec.exp.f32":     (np.exp,                                                                          2e-7, True),
    "vec.sigmoid.f32": (sigmoid,                                                                         4e-7, True),
    "vec.tanh.f32":    (np.tanh,                                                                         4e-7, True),
    "vec.softmax.f32": (lambda x: np.exp(x - x.max()) / np.exp(x - x.max()).sum(),                       3e-6, True),
    "vec.cumsum.f32":  (np.cumsum,                                                                       1e-4, False),
}


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("n", SIZES)
def test_unary(name, n):
    truth, tolerance, exponentials = UNARY[name]
    bench, x = Bench(), normal(n, n)
    if name == "vec.sqrt.f32":
        x = np.abs(x)
    source, dst = bench.put(x), results(bench, n)
    done = bench.run(name, dst=dst, x=source, n=n)
    values = got(bench, dst, "<f4", n)
    assert n == 0 or np.allclose(values, truth(x.astype(np.float64)), rtol=tolerance, atol=1e-5 if "cumsum" in name else 0)
    assert done.counts.get("vec.elements", 0) == n
    assert done.counts.get("vec.exponentials", 0) == (n if exponentials else 0)
    assert done.counts.get("vec.divisions", 0) == (
        0 if name == "vec.exp.f32" else n if exponentials or name == "vec.sqrt.f32" else 0)
    assert done.counts.get("vec.reduced", 0) == (2 * n if name == "vec.softmax.f32" else 0)
    assert done.counts["vec.ops"] == 1
    assert (done.counts.get("sram.bytes_read", 0), done.counts.get("sram.bytes_written", 0)) == (4 * n, 4 * n)


@pytest.mark.parametrize("name", UNARY)
def test_unary_in_place_overlapping_and_with_nan(name):
    x = np.abs(normal(20, 1))
    x[3] = np.array(0xFF80_0001, np.uint32).view(np.float32)        # a signalling NaN with its sign bit set
    apart, close = Bench(), Bench()
    dst = results(apart, 20)
    apart.run(name, dst=dst, x=apart.put(x), n=20)
    expected = got(apart, dst, "<u4", 20)
    assert expected[3] == NAN
    for shift in (-8, 0, 4):
        room = close.put(np.zeros(40, np.float32)) + 32
        close.m.peek(room, 80)[:] = x.view(np.uint8)
        close.run(name, dst=room + shift, x=room, n=20)
        assert close.get(room + shift, "<u4", 20).tolist() == expected.tolist()


@given(FLOATS)
def test_relu_and_cumsum_of_anything(values):
    bench, x = Bench(), np.array(values, np.float32)
    source, dst = bench.put(x), results(bench, len(x))
    bench.run("vec.relu.f32", dst=dst, x=source, n=len(x))
    assert same(got(bench, dst, "<f4", len(x)), [0.0 if v <= 0 else v for v in values])
    bench.run("vec.cumsum.f32", dst=dst, x=source, n=len(x))
    with np.errstate(all="ignore"):
        sums = [x[0]] if values else []
        for value in x[1:]:
            sums.append(np.float32(sums[-1] + value))
    assert same(got(bench, dst, "<f4", len(x)), sums)


# ------------------------------------------------------------------------------------------------ number formats


def to_half(value):
    if math.isnan(value):
        return 0x7E00
    try:
        return struct.unpack("<H", struct.pack("<e", value))[0]
    except OverflowError:                                           # struct refuses what IEEE rounds to infinity
        return 0x7C00 if value > 0 else 0xFC00


def to_bfloat(value):
    """Nearest even by comparing distances to the two neighbours, the one above the largest finite being 2**128."""
    if math.isnan(value):
        return 0x7FC0
    low = f32_bits(value) >> 16
    if math.isinf(value):
        return low
    below, above = (2.0**128 if p & 0x7FFF == 0x7F80 else abs(from_bfloat(p)) for p in (low, low + 1))
    down, up = abs(value) - below, above - abs(value)               # exact in float64
    return low + (down > up or (down == up and low % 2 == 1))


def from_half(bits):
    return struct.unpack("<e", struct.pack("<H", bits))[0]


def from_bfloat(bits):
    return struct.unpack("<f", struct.pack("<I", bits << 16))[0]


def to_int32(value):
    if math.isnan(value):
        return 2**31 - 1
    return min(max(value if math.isinf(value) else round(value), -2**31), 2**31 - 1)


CONVERSIONS = {  # source and destination as they lie in memory, one value
    "vec.cvt.f16.f32":  ("<f4", "<u2", to_half),
    "vec.cvt.bf16.f32": ("<f4", "<u2", to_bfloat),
    "vec.cvt.f32.f16":  ("<u2", "<f4", from_half),
    "vec.cvt.f32.bf16": ("<u2", "<f4", from_bfloat),
    "vec.cvt.f32.i32":  ("<i4", "<f4", float),
    "vec.cvt.i32.f32":  ("<f4", "<i4", to_int32),
}


@pytest.mark.parametrize("name", CONVERSIONS)
@pytest.mark.parametrize("n", SIZES)
def test_convert(name, n):
    source, destination, convert = CONVERSIONS[name]
    patterns = np.random.default_rng(n).integers(0, 256, n * 4, np.uint8).view("<u4")
    if source == "<f4" and n > 10:
        patterns[:10] = [f32_bits(v) for v in (0.5, 1.5, -2.5, 65519.9, 65520, 1e9, -1e9, math.inf, -0.0, 1e-7)]
        patterns[10] = 0xFFC0_1234
    x = patterns.view(source)[:n]
    bench = Bench()
    address, dst = bench.put(x), results(bench, n)
    done = bench.run(name, dst=dst, x=address, n=n)
    expected = [convert(value) for value in x.tolist()]
    values = got(bench, dst, destination, n)
    assert same(values, expected) if destination == "<f4" else values.tolist() == expected
    assert done.counts.get("vec.elements", 0) == n
    assert done.counts.get("sram.bytes_read", 0) == n * x.itemsize


# ------------------------------------------------------------------------------------------------ reductions


def extreme(choose, empty):
    def reduce(values):
        if any(math.isnan(v) for v in values):
            return math.nan
        return choose(values, default=empty) + 0.0                  # -0.0 becomes +0.0
    return reduce


REDUCTIONS = {
    "vec.sum.f32":    lane_sum,
    "vec.max.f32":    extreme(max, -math.inf),
    "vec.min.f32":    extreme(min, math.inf),
    "vec.absmax.f32": lambda values: extreme(max, 0.0)([abs(v) for v in values]),
}


@pytest.mark.parametrize("name", REDUCTIONS)
@given(FLOATS)
def test_reduce(name, values):
    bench = Bench()
    done = bench.run(name, x=bench.put(np.array(values, np.float32)), n=len(values))
    expected = float(REDUCTIONS[name](values))
    assert done.result == (NAN if math.isnan(expected) else f32_bits(expected))
    assert done.counts.get("vec.elements", 0) == done.counts.get("vec.reduced", 0) == len(values)


@given(FLOATS)
def test_argmax(values):
    bench = Bench()
    done = bench.run("vec.argmax.f32", x=bench.put(np.array(values, np.float32)), n=len(values))
    order = [-math.inf if math.isnan(v) else v for v in values]
    assert done.result == (order.index(max(order)) if values else 0)
    assert done.counts.get("vec.elements", 0) == done.counts.get("vec.reduced", 0) == len(values)


@pytest.mark.parametrize("n", SIZES)
def test_dot(n):
    bench, a, b = Bench(), normal(n, 1), normal(n, 2)
    done = bench.run("vec.dot.f32", a=bench.put(a), b=bench.put(b), n=n)
    assert done.result == f32_bits(lane_sum(a * b))
    assert (done.counts.get("vec.macs", 0), "vec.elements" in done.counts) == (n, False)


# ------------------------------------------------------------------------------------------------ two vectors to one


def divide(a, b):
    return a / b if b else math.nan if a == 0 or math.isnan(a) else math.copysign(math.inf, a) * math.copysign(1, b)


def nan_or(choice):
    return lambda a, b: math.nan if math.isnan(a) or math.isnan(b) else choice(a, b)


BINARY = {
    "vec.add.f32":     lambda a, b: a + b,
    "vec.sub.f32":     lambda a, b: a - b,
    "vec.mul.f32":     lambda a, b: a * b,
    "vec.div.f32":     divide,
    "vec.minimum.f32": nan_or(lambda a, b: a if a < b else b),
    "vec.maximum.f32": nan_or(lambda a, b: a if a > b else b),
}


def rounded(value):
    """float64 -> fp32, overflow to infinity. One operation in float64, then rounded, rounds as the operation in fp32 does."""
    with np.errstate(all="ignore"):
        return np.float32(value)


@pytest.mark.parametrize("name", BINARY)
@given(FLOATS, st.randoms())
def test_binary(name, values, random):
    other = random.sample(values, len(values))
    bench, n = Bench(), len(values)
    a, b = bench.put(np.array(values, np.float32)), bench.put(np.array(other, np.float32))
    dst = results(bench, n)
    done = bench.run(name, dst=dst, a=a, b=b, n=n)
    assert same(got(bench, dst, "<f4", n), [rounded(BINARY[name](x, y)) for x, y in zip(values, other, strict=True)])
    assert done.counts.get("vec.elements", 0) == n
    assert done.counts.get("vec.divisions", 0) == (n if name == "vec.div.f32" else 0)


def test_add_i32_wraps_and_works_in_place():
    bench = Bench()
    a = bench.put(np.array([2**31 - 1, -2**31, 5, -7], np.int32))
    b = bench.put(np.array([1, -1, -6, 7], np.int32))
    done = bench.run("vec.add.i32", dst=a, a=a, b=b, n=4)
    assert bench.get(a, "<i4", 4).tolist() == [-2**31, 2**31 - 1, -1, 0]
    assert done.counts["vec.elements"] == 4


@pytest.mark.parametrize("n", SIZES)
def test_scale_and_axpy_take_a_scalar_from_the_low_half_of_a_register(n):
    bench, x, y, s = Bench(), normal(n, 1), normal(n, 2), np.float32(0.37)
    register = 0xABCD_EF01 << 32 | f32_bits(s)
    dst, source = results(bench, n), bench.put(x)
    done = bench.run("vec.scale.f32", dst=dst, x=source, s=register, n=n)
    assert same(got(bench, dst, "<f4", n), [np.float32(v * s) for v in x])
    assert done.counts.get("vec.elements", 0) == n
    total = bench.put(y)
    done = bench.run("vec.axpy.f32", y=total, s=register, x=source, n=n)
    assert same(bench.get(total, "<f4", n), [np.float32(b + np.float32(a * s)) for a, b in zip(x, y, strict=True)])
    assert (done.counts.get("vec.macs", 0), "vec.elements" in done.counts) == (n, False)


def test_axpy_rounds_twice():
    bench = Bench()
    a = np.float32(1 + 2**-12)                      # a * a = 1 + 2**-11 + 2**-24: a fused operation would keep the last term
    y = bench.put(np.array([-(1 + 2**-11)], np.float32))
    bench.run("vec.axpy.f32", y=y, s=f32_bits(a), x=bench.put(a), n=1)
    assert bench.get(y, "<f4", 1)[0] == 0


@pytest.mark.parametrize("n", SIZES)
def test_fill_writes_the_raw_pattern(n):
    bench = Bench()
    dst = results(bench, n)
    bench.run("vec.fill.32", dst=dst, value=0x1_FF80_0001, n=n)     # a NaN's bits stay
    assert got(bench, dst, "<u4", n).tolist() == [0xFF80_0001] * n


# ------------------------------------------------------------------------------------------------ normalisation and position


@pytest.mark.parametrize("name", ["vec.rmsnorm.f32", "vec.layernorm.f32"])
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("eps", [None, 0.5])
def test_norm(name, n, eps):
    bench, x, gain = Bench(), normal(n, 1, 2), normal(n, 2)
    if eps:
        bench.set(vec__eps=f32_bits(eps))
    dst = results(bench, n)
    done = bench.run(name, dst=dst, x=bench.put(x), gain=bench.put(gain), n=n)
    wide = x.astype(np.float64)
    if n:
        wide = wide - wide.mean() if "layer" in name else wide
        expected = wide / np.sqrt((wide**2).mean() + (eps or 1e-5)) * gain
        assert np.allclose(got(bench, dst, "<f4", n), expected, rtol=1e-5, atol=1e-6)
    got(bench, dst, "<f4", n)
    assert done.counts.get("vec.elements", 0) == n
    centred = "layer" in name
    assert (done.counts.get("vec.divisions", 0), done.counts.get("vec.reduced", 0)) == ((3 + centred) * (n > 0), (1 + centred) * n)


@pytest.mark.parametrize("name", ["vec.rope.f32", "vec.ropehalf.f32"])
@pytest.mark.parametrize(("heads", "head_dim"), [(0, 8), (1, 2), (3, 8), (2, 10)])
def test_rope(name, heads, head_dim):
    bench, n, half = Bench(), heads * head_dim, head_dim // 2
    angle = np.random.default_rng(head_dim).uniform(-3, 3, half)
    x = normal(n, 1).reshape(heads, head_dim)
    bench.set(vec__head_dim=head_dim)
    place = bench.put(x)
    table = bench.put(np.concatenate([np.cos(angle), np.sin(angle)]).astype(np.float32))
    done = bench.run(name, dst=place, x=place, table=table, n=n)                # in place
    first, second = (slice(0, None, 2), slice(1, None, 2)) if name == "vec.rope.f32" else (slice(half), slice(half, None))
    turned = (x[:, first] + 1j * x[:, second]) * np.exp(1j * angle)
    y = bench.get(place, "<f4", n).reshape(heads, head_dim)
    assert np.allclose(y[:, first], turned.real, atol=1e-6)
    assert np.allclose(y[:, second], turned.imag, atol=1e-6)
    assert done.counts.get("vec.elements", 0) == n


@pytest.mark.parametrize("name", ["vec.rope.f32", "vec.ropehalf.f32"])
@pytest.mark.parametrize("head_dim", [0, 3, 8, 24, 1 << 63])
def test_rope_refuses_a_head_that_does_not_fit(name, head_dim):
    bench = Bench()
    x = bench.put(normal(12))
    bench.set(vec__head_dim=head_dim)
    reason = refused(Cause.ILLEGAL_OPERAND, bench, name, dst=x, x=x, table=x, n=12)
    assert f"vec.head_dim is {head_dim}" in reason
    assert "even number" in reason
    assert "n = 12" in reason
    bench.run(name, dst=x, x=x, table=x, n=0)       # nothing to rotate, nothing to refuse


# ------------------------------------------------------------------------------------------------ quantisation


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("group", [0, 1, 7, 16, HUGE])
def test_quantise_and_back(n, group):
    bench, x = Bench(), normal(n, n, 3)
    bench.set(vec__scale_group=group)
    size = min(group or n, n)
    groups = [x[start:start + size] for start in range(0, n, size)] if n else []
    codes, scale, back = results(bench, n), results(bench, len(groups)), results(bench, n)
    done = bench.run("vec.quant.i8", dst=codes, x=bench.put(x), scale=scale, n=n)
    want = [round(float(np.float32(v * (np.float32(127) / max(abs(part)))))) for part in groups for v in part]
    assert got(bench, codes, "i1", n).tolist() == want
    assert same(got(bench, scale, "<f4", len(groups)), [max(abs(part)) / np.float32(127) for part in groups])
    assert done.counts.get("sram.bytes_written", 0) == n + 4 * len(groups)
    assert done.counts.get("vec.elements", 0) == done.counts.get("vec.reduced", 0) == n
    assert done.counts.get("vec.divisions", 0) == 2 * len(groups)
    done = bench.run("vec.dequant.i8", dst=back, x=codes, scale=scale, n=n)
    steps = np.repeat([max(abs(part)) / 127 for part in groups], [len(part) for part in groups])
    assert np.all(np.abs(got(bench, back, "<f4", n) - x) <= steps * 0.50001)
    assert done.counts.get("vec.elements", 0) == n


def test_quantise_special_groups():
    bench = Bench()
    bench.set(vec__scale_group=2)
    x = bench.put(np.array([0, -0.0, 1, np.nan, np.inf, 5, 1e-40, -1e-37, 127, 0.5], np.float32))
    codes, scale = results(bench, 10), results(bench, 5)
    bench.run("vec.quant.i8", dst=codes, x=x, scale=scale, n=10)
    assert got(bench, codes, "i1", 10).tolist() == [0] * 8 + [127, 0]
    assert same(got(bench, scale, "<f4", 5), [0, np.nan, np.inf, 0, 1])


@pytest.mark.parametrize("group", [0, 1, 3])
def test_dequantise_accumulators(group):
    bench = Bench()
    bench.set(vec__scale_group=group)
    x = np.array([1, -2, 2**24 + 1, -2**31, 7], np.int32)
    scales = normal(len(x) if group == 1 else 2 if group else 1, 1)
    dst = results(bench, 5)
    bench.run("vec.dequant.i32", dst=dst, x=bench.put(x), scale=bench.put(scales), n=5)
    expected = [np.float32(np.float32(v) * scales[i // group if group else 0]) for i, v in enumerate(x)]
    assert same(got(bench, dst, "<f4", 5), expected)


# ------------------------------------------------------------------------------------------------ dense mat-vec


def weights(form, count, seed=0):
    """Random weights: as they lie in memory, and what they are worth."""
    if form == "i8":
        stored = small_integers(count, seed, np.int8)
        return stored, stored.tolist()
    value = normal(count, seed)
    if form == "f32":
        return value, value.tolist()
    to, back = {"f16": (to_half, from_half), "bf16": (to_bfloat, from_bfloat)}[form]
    stored = np.array([to(v) for v in value.tolist()], np.uint16)
    return stored, [back(bits) for bits in stored.tolist()]


def matrix(bench, form, rows_, cols, pad):
    """Places a matrix whose rows are `pad` elements apart; returns its address and values (rows, cols)."""
    form = form.removesuffix(".f32")
    stored, values = weights(form, rows_ * (cols + pad), 1)
    bench.set(vec__cols=cols, vec__row_stride=(cols + pad) * stored.itemsize if pad else 0)
    return bench.put(stored), np.array(values).reshape(rows_, cols + pad)[:, :cols], stored.itemsize


SHAPES = [(1, 1, 0), (3, 17, 0), (5, 16, 0), (4, 33, 3), (7, 5, 1), (1, 40, 8)]


@pytest.mark.parametrize("form", ["f32", "f16", "bf16", "i8.f32"])
@pytest.mark.parametrize(("rows_", "cols", "pad"), SHAPES)
def test_gemv(form, rows_, cols, pad):
    bench, x = Bench(), normal(cols, 2)
    W, values, size = matrix(bench, form, rows_, cols, pad)
    y = results(bench, rows_)
    done = bench.run(f"vec.gemv.{form}", y=y, W=W, x=bench.put(x), rows=rows_)
    expected = [lane_sum([np.float32(w) * v for w, v in zip(row, x, strict=True)]) for row in values]
    assert same(got(bench, y, "<f4", rows_), expected)
    assert done.counts["vec.macs"] == rows_ * cols and "vec.macs_i8" not in done.counts
    assert done.counts["sram.bytes_read"] == rows_ * cols * size + 4 * cols


@pytest.mark.parametrize("form", ["f32", "f16", "bf16", "i8.f32"])
@pytest.mark.parametrize(("rows_", "cols", "pad"), SHAPES)
def test_mac_transposed(form, rows_, cols, pad):
    bench, h, y = Bench(), normal(rows_, 2), normal(cols, 3)
    W, values, size = matrix(bench, form, rows_, cols, pad)
    total = bench.put(y)
    done = bench.run(f"vec.macT.{form}", y=total, W=W, h=bench.put(h), rows=rows_)
    expected = list(y)
    for j in range(rows_):
        expected = [np.float32(t + np.float32(h[j] * np.float32(w))) for t, w in zip(expected, values[j], strict=True)]
    assert same(bench.get(total, "<f4", cols), expected)
    assert done.counts["vec.macs"] == rows_ * cols and "vec.macs_i8" not in done.counts
    assert done.counts["sram.bytes_read"] == rows_ * cols * size + 4 * cols + 4 * rows_


@pytest.mark.parametrize(("rows_", "cols", "pad"), SHAPES)
def test_int8_products(rows_, cols, pad):
    bench, x, h = Bench(), small_integers(cols, 2, np.int8), small_integers(rows_, 3, np.int8)
    W, values, _ = matrix(bench, "i8", rows_, cols, pad)
    y = results(bench, rows_)
    done = bench.run("vec.gemv.i8", y=y, W=W, x=bench.put(x), rows=rows_)
    assert got(bench, y, "<i4", rows_).tolist() == [sum(int(w) * int(v) for w, v in zip(row, x, strict=True)) for row in values]
    assert done.counts["vec.macs"] == done.counts["vec.macs_i8"] == rows_ * cols
    start = np.array([c - 2**31 for c in range(cols)], np.int32)    # sums below it wrap
    total = bench.put(start)
    done = bench.run("vec.macT.i8", y=total, W=W, h=bench.put(h), rows=rows_)
    assert done.counts["vec.macs"] == done.counts["vec.macs_i8"] == rows_ * cols
    exactly = [int(s) + sum(int(h[j]) * int(values[j][c]) for j in range(rows_)) for c, s in enumerate(start)]
    assert bench.get(total, "<i4", cols).tolist() == [(v + 2**31) % 2**32 - 2**31 for v in exactly]


PRODUCTS = [row.mnemonic for row in rows("vec") if "gemv" in row.mnemonic or "macT" in row.mnemonic]


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_of_no_rows_do_nothing(name):
    bench = Bench()
    done = bench.run(name, **{operand.name: 1 for operand in TABLE[name].operands} | {"rows": 0})
    assert done.counts == {"core.instructions": 1, "vec.ops": 1}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_refuse_a_matrix_that_cannot_be(name):
    bench = Bench()
    size = {"f32": 4, "f16": 2, "bf16": 2, "i8": 1}[name.split(".")[2]]
    vector = "x" if "gemv" in name else "h"
    y, W, v = results(bench, 64), bench.put(np.zeros(64, np.float32)), bench.put(np.zeros(64, np.float32))

    def reason(cause, **more):
        return refused(cause, bench, name, **({"y": y, "W": W, vector: v, "rows": 2} | more))

    assert "vec.cols is 0" in reason(Cause.ILLEGAL_OPERAND)
    bench.set(vec__cols=8, vec__row_stride=7 * size)                # rows would overlap: a stride in elements, perhaps
    assert f"at least the {8 * size} bytes of a row of 8 columns" in reason(Cause.ILLEGAL_OPERAND)
    if size > 1:
        bench.set(vec__row_stride=8 * size + 1)
        assert f"a multiple of {size}" in reason(Cause.ILLEGAL_OPERAND)
    bench.set(vec__row_stride=0)
    reason(Cause.LOAD_ACCESS, W=SRAM_END - 15 * size)               # one element too many
    reason(Cause.STORE_ACCESS if "gemv" in name else Cause.LOAD_ACCESS, rows=1 << 28)      # y or h, then the matrix
    reason(Cause.CAPACITY, rows=HUGE)
    reason(Cause.STORE_ACCESS if "gemv" in name else Cause.LOAD_ACCESS, y=SRAM_END)
    reason(Cause.MISALIGNED_OPERAND, y=y + 2)
    if size > 1:
        reason(Cause.MISALIGNED_OPERAND, W=W + 1)
    bench.set(vec__row_stride=1 << 40)                              # the whole matrix is checked before a row is read
    assert f"{(1 << 40) + 8 * size} bytes at {W:#x}" in reason(Cause.LOAD_ACCESS)
    bench.set(vec__cols=HUGE, vec__row_stride=0)
    reason(Cause.LOAD_ACCESS)


def test_large_matrices_are_read_in_blocks_from_flash():
    cols, rows_ = 1024, 1030                                        # more than one block of the meaning
    W = small_integers(rows_ * cols, 1, np.int8)
    bench = Bench(flash=W.tobytes())
    x = small_integers(cols, 2, np.int8)
    bench.set(vec__cols=cols)
    y = results(bench, rows_)
    done = bench.run("vec.gemv.i8", y=y, W=FLASH, x=bench.put(x), rows=rows_)
    assert got(bench, y, "<i4", rows_).tolist() == (W.reshape(rows_, cols).astype(np.int64) @ x).tolist()
    assert done.counts["flash.bytes_read"] == rows_ * cols
    h, total = small_integers(rows_, 3, np.int8), bench.put(np.zeros(cols, np.int32))
    bench.run("vec.macT.i8", y=total, W=FLASH, h=bench.put(h), rows=rows_)
    assert bench.get(total, "<i4", cols).tolist() == (h.astype(np.int64) @ W.reshape(rows_, cols)).tolist()


def test_attention_of_one_head_in_a_grouped_kv_cache():
    """Scores, softmax and context of one query head over the keys of its group, as a decode loop issues them."""
    positions, kv_heads, head_dim, group = 9, 2, 8, 1
    keys, values = (normal(positions * kv_heads * head_dim, seed).reshape(positions, kv_heads, head_dim) for seed in (1, 2))
    query = normal(head_dim, 3)
    bench = Bench()
    K, V, q = bench.put(keys), bench.put(values), bench.put(query)
    scores, context = results(bench, positions), results(bench, head_dim)
    bench.set(vec__cols=head_dim, vec__row_stride=kv_heads * head_dim * 4)
    bench.run("vec.gemv.f32", y=scores, W=K + group * head_dim * 4, x=q, rows=positions)
    bench.run("vec.scale.f32", dst=scores, x=scores, s=f32_bits(head_dim**-0.5), n=positions)
    bench.run("vec.softmax.f32", dst=scores, x=scores, n=positions)
    bench.run("vec.fill.32", dst=context, value=0, n=head_dim)
    bench.run("vec.macT.f32", y=context, W=V + group * head_dim * 4, h=scores, rows=positions)
    logits = keys[:, group].astype(np.float64) @ query * head_dim**-0.5
    probability = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    assert np.allclose(got(bench, context, "<f4", head_dim), probability @ values[:, group], rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------------------------------------ every row


def operands_of(name):
    """An address in SRAM for every operand of a row but its result."""
    row = TABLE[name]
    return {operand.name: 0x1000_0000 + 4096 * i for i, operand in enumerate(row.operands) if operand is not row.result}


OF_VECTORS = [row.mnemonic for row in rows("vec") if row.meaning.__module__ == "isa.units.vec.floats"]
"""The others, of int8 networks, are in test_vec_networks.py."""


@pytest.mark.parametrize("name", OF_VECTORS)
def test_lengths_that_cannot_be_trap_at_once_and_leave_no_trace(name):
    bench = Bench()
    bench.set(vec__cols=2, vec__head_dim=2, vec__scale_group=1)
    reads = any("<" in operand.access for operand in TABLE[name].plain)         # then that is looked at first
    cause = Cause.LOAD_ACCESS if reads else Cause.STORE_ACCESS
    refused(cause, bench, name, **operands_of(name) | {TABLE[name].operands[-1].name: 1 << 28})
    for n in ((1 << 28) + 1, 1 << 62, HUGE):
        refused(Cause.CAPACITY, bench, name, **operands_of(name) | {TABLE[name].operands[-1].name: n})


@pytest.mark.parametrize("name", OF_VECTORS)
def test_every_address_is_checked_for_range_and_alignment(name):
    bench = Bench()
    bench.set(vec__cols=4, vec__head_dim=4, vec__scale_group=1)
    good = operands_of(name) | {TABLE[name].operands[-1].name: 4}
    bench.run(name, **good)
    for operand in TABLE[name].operands:
        if not operand.access:
            continue
        access = Cause.LOAD_ACCESS if "<" in operand.access else Cause.STORE_ACCESS
        refused(access, bench, name, **good | {operand.name: SRAM_END - 1 if operand.shape[:2] == "i8" else SRAM_END - 4})
        refused(access, bench, name, **good | {operand.name: 16})
        if operand.shape[:2] != "i8":
            refused(Cause.MISALIGNED_OPERAND, bench, name, **good | {operand.name: good[operand.name] + 1})
        if ">" in operand.access:
            flash = Bench(flash=bytes(4096))
            flash.set(vec__cols=4, vec__head_dim=4, vec__scale_group=1)
            refused(Cause.STORE_ACCESS, flash, name, **good | {operand.name: FLASH})
