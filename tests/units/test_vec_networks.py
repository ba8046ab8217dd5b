"""int8 networks: vec.conv.i8 and its relatives against loops over integers of Python, with the published rules of CMSIS-NN and
gemmlowp written once more; borders, halves, saturation, strides, traps."""

import math
import random
from fractions import Fraction

import numpy as np
import pytest
from unit_bench import FLASH, Bench, refused

from isa import quantised
from isa.instruction import TABLE
from isa.traps import Cause

INT32 = (1 << 31) - 1


def int32(value):
    return (value + (1 << 31)) % (1 << 32) - (1 << 31)


def requantise(value, multiplier, shift, gemmlowp=False):
    """arm_nn_requantize; `gemmlowp`: TFLite's MultiplyByQuantizedMultiplier, whose products are nudged and divided towards zero."""
    value = int32(value << max(shift, 0))
    product = value * multiplier
    if gemmlowp:
        nudged = product + ((1 << 30) if product >= 0 else 1 - (1 << 30))
        high = INT32 if value == multiplier == -(1 << 31) else (abs(nudged) >> 31) * (1 if nudged >= 0 else -1)
    else:
        high = int32((product + (1 << 30)) >> 31)
    places = max(-shift, 0)
    mask = (1 << places) - 1
    return (high >> places) + ((high & mask) > (mask >> 1) + (high < 0))


def rounded_once(value, multiplier, shift):
    """TFLite's MultiplyByQuantizedMultiplier with TFLITE_SINGLE_ROUNDING."""
    return int32(math.floor(Fraction(value * multiplier, 1 << 31 - shift) + Fraction(1, 2)))


def clamp(value, low=-128, high=127):
    return max(low, min(high, value))


@pytest.mark.parametrize(("value", "multiplier", "shift", "expected"), [
    (5, 1 << 30, 0, 3), (-5, 1 << 30, 0, -2), (3, 1 << 30, -1, 1), (-3, 1 << 30, 0, -1), (7, 1 << 30, 1, 7), (-6, 1 << 30, -1, -2),
    (6, 1 << 30, -1, 2), (1 << 30, 1 << 30, 2, 0), (-(1 << 31), INT32, 0, -INT32), (-(1 << 31), -(1 << 31), 0, INT32)])
def test_halves_and_saturation(value, multiplier, shift, expected):
    """Worked by hand: of products halves go up, of the shift away from zero."""
    assert quantised.requantised(value, multiplier, shift) == expected == requantise(value, multiplier, shift, gemmlowp=True)


@pytest.mark.parametrize(("value", "multiplier", "shift", "expected"), [
    (5, 1 << 30, 0, 3), (-5, 1 << 30, 0, -2), (3, 1 << 30, -1, 1), (-6, 1 << 30, -1, -1), (-2, 1 << 30, -1, 0), (7, 1 << 30, 1, 7),
    (1 << 30, 1 << 30, 2, -(1 << 31)), (-(1 << 31), -(1 << 31), -31, 1), (-(1 << 31), -(1 << 31), 0, -(1 << 31)), (3, 5, 31, 15)])
def test_rounded_once(value, multiplier, shift, expected):
    """Worked by hand: halves go up, what int32 does not hold wraps."""
    assert quantised.requantised(value, multiplier, shift, once=True) == expected


def test_rounding_once_is_that_of_the_fraction():
    source = random.Random(4)
    for _ in range(3000):
        value, multiplier = source.randint(-(1 << 31), INT32) >> source.randint(0, 31), source.randint(1 << 30, INT32)
        shift = source.randint(-31, 31)
        assert quantised.requantised(value, multiplier, shift, once=True) == rounded_once(value, multiplier, shift)


@pytest.mark.parametrize("gemmlowp", [False, True])
def test_requantisation_of_many_values(gemmlowp):
    source = random.Random(3)
    for _ in range(3000):
        value, multiplier = source.randint(-(1 << 31), INT32) >> source.randint(0, 31), source.randint(1 << 30, INT32)
        shift = source.randint(-31, 4)
        assert quantised.requantised(value, multiplier, shift) == requantise(value, multiplier, shift, gemmlowp)


def test_the_exponential_and_the_reciprocal_are_close():
    values = -np.arange(0, 15 << 26, 1 << 20)
    powers = quantised.exp_of_negative(values) / (1 << 31)
    assert np.abs(powers - np.exp(values / (1 << 26))).max() < 3e-7
    x = np.arange(0, INT32, 1 << 22)
    assert np.abs(quantised.one_over_one_plus(x) / (1 << 31) - 1 / (1 + x / (1 << 31))).max() < 2e-8


# ------------------------------------------------------------------------------------------------ windows


class Net(Bench):
    """A bench with a random image (lines, pixels, channels) and what makes results."""

    def __init__(self, seed, lines, pixels, channels, outputs, group=1, once=False):
        super().__init__()
        self.once = once
        self.source = random.Random(seed)
        values = [self.source.randint(-128, 127) for _ in range(lines * pixels * channels)]
        self.image = np.array(values).reshape(lines, pixels, channels)
        self.channels, self.pixels = channels, pixels
        groups = -(-outputs // group) if group else 1
        self.m_, self.h_ = [[self.source.randint(low, high) for _ in range(groups)] for low, high in ((1 << 30, INT32), (-9, -6))]
        self.bias = [self.source.randint(-3000, 3000) for _ in range(outputs)]
        self.group, self.offsets = group, (5, -3, 7)
        self.x, self.y = self.put(self.image.astype("i1")), self.put(np.full(5000, 99, "i1"))
        self.set(vec__cols=channels, vec__scale_group=group, vec__bias=self.put(np.array(self.bias, "<i4")),
                 vec__multipliers=self.put(np.array(self.m_, "<i4")), vec__shifts=self.put(np.array(self.h_, "i1")),
                 vec__offsets=5 | 0xFFFD << 16 | 7 << 32, vec__outputs=outputs, vec__rounding=int(once))

    def result(self, total, output, bias=True):
        group = output // self.group if self.group else 0
        scale = rounded_once if self.once else requantise
        return clamp(scale(int32(total + bias * self.bias[output]), self.m_[group], self.h_[group]) + 7)

    def windows(self, down, across, lines, pixels, stride):
        line = self.pixels * self.channels
        self.set(vec__windows=down << 16 | across, vec__taps=lines << 16 | pixels, vec__step=stride * self.channels,
                 vec__line=line, vec__window_line=stride * line)
        return [self.image[i * stride:i * stride + lines, j * stride:j * stride + pixels].reshape(-1, self.channels).tolist()
                for i in range(down) for j in range(across)]

    def got(self, count):
        return self.get(self.y, "i1", count).tolist()


@pytest.mark.parametrize(("stride", "once"), [(1, False), (2, False), (1, True)])
def test_a_convolution(stride, once):
    bench = Net(1, 6, 7, 3, 5, once=once)
    weights = [[bench.source.randint(-128, 127) for _ in range(27)] for _ in range(5)]
    windows = bench.windows(2, 2, 3, 3, stride)
    bench.run("vec.conv.i8", y=bench.y, x=bench.x, W=bench.put(np.array(weights, "i1")))
    flat = [[value for tap in window for value in tap] for window in windows]
    assert bench.got(21) == [bench.result(sum((a + 5) * (b - 3) for a, b in zip(window, row, strict=True)), o)
                             for window in flat for o, row in enumerate(weights)] + [99]


def test_a_product_of_matrices_with_strides_and_one_scale():
    bench = Net(2, 1, 3, 4, 2, group=0)
    bench.windows(1, 3, 1, 1, 1)
    rows = [[bench.source.randint(-128, 127) for _ in range(6)] for _ in range(2)]
    bench.set(vec__row_stride=6, vec__result_stride=5)
    done = bench.run("vec.conv.i8", y=bench.y, x=bench.x, W=bench.put(np.array(rows, "i1")))
    got = bench.got(15)
    for v, vector in enumerate(bench.image[0].tolist()):
        assert got[5 * v:5 * v + 2] == [bench.result(sum((a + 5) * (b - 3) for a, b in zip(vector, row[:4], strict=True)), o)
                                        for o, row in enumerate(rows)]
    assert (got[2], got[12]) == (99, 99)
    assert done.counts == {"core.instructions": 1, "vec.ops": 1, "vec.elements": 6, "vec.macs": 24, "vec.macs_i8": 24,
                           "sram.bytes_read": 12 + 8 + 8 + 4 + 1, "sram.bytes_written": 6}


def test_depthwise():
    bench = Net(3, 4, 5, 6, 6)
    weights = [[bench.source.randint(-128, 127) for _ in range(6)] for _ in range(4)]
    windows = bench.windows(3, 4, 2, 2, 1)
    bench.run("vec.depthwise.i8", y=bench.y, x=bench.x, W=bench.put(np.array(weights, "i1")))
    assert bench.got(73) == [bench.result(sum((tap[c] + 5) * (row[c] - 3) for tap, row in zip(window, weights, strict=True)), c)
                             for window in windows for c in range(6)] + [99]


def test_pools():
    bench = Net(4, 4, 4, 3, 3)
    windows = bench.windows(2, 2, 2, 2, 2)
    bench.run("vec.maxpool.i8", y=bench.y, x=bench.x)
    assert bench.got(12) == [bench.result(max(tap[c] for tap in window) + 5, c, False) for window in windows for c in range(3)]
    bench.run("vec.meanpool.i8", y=bench.y, x=bench.x)

    def mean(total):
        return (abs(total) + 2) // 4 * (1 if total >= 0 else -1)
    totals = [(sum(tap[c] for tap in window), c) for window in windows for c in range(3)]
    assert bench.got(12) == [bench.result(mean(total) + 5, c, False) for total, c in totals]


def test_layer_norm():
    bench = Net(5, 1, 3, 10, 10, group=0)
    gain = [bench.source.randint(-128, 127) for _ in range(10)]
    bench.windows(1, 3, 1, 1, 1)
    bench.run("vec.layernorm.i8", y=bench.y, x=bench.x, gain=bench.put(np.array(gain, "i1")))
    expected = []
    for row in bench.image[0].tolist():
        total = sum(row) + 10 * 5 + 5
        mean = abs(total) // 10 * (1 if total >= 0 else -1)
        d = [value + 5 - mean for value in row]
        factor = 128 // max(math.isqrt(sum(value * value for value in d) // 10), 1)
        expected += [bench.result(clamp(value * factor, -32768, 32767) * gain[c], c) for c, value in enumerate(d)]
    assert bench.got(30) == expected


def test_softmax_is_close_to_the_real_one_and_cuts_off():
    bench = Net(6, 1, 4, 32, 32, group=0)
    bench.image[0, 1] = 7                       # all the same
    bench.image[0, 2, :] = -128
    bench.image[0, 2, 3] = 127
    bench.x = bench.put(bench.image.astype("i1"))
    bench.windows(1, 4, 1, 1, 1)
    bench.set(vec__multipliers=bench.put(np.array([1 << 30], "<i4")), vec__shifts=bench.put(np.array([23], "i1")), vec__cutoff=248)
    bench.run("vec.softmax.i8", y=bench.y, x=bench.x)
    scale = 2.0 ** (30 + 23 - 57)
    powers = np.exp((bench.image[0] - bench.image[0].max(axis=1, keepdims=True)) * scale)
    real = powers / powers.sum(axis=1, keepdims=True) * 256 - 128
    got = np.array(bench.got(128)).reshape(4, 32)
    assert np.abs(got - np.minimum(real, 127)).max() <= 0.51
    assert set(got[1]) == {-120} and got[2].max() == 127 and set(got[2]) == {-128, 127}


def test_additions_of_two_scales():
    bench = Net(7, 1, 1, 1, 1)
    a, b = ([bench.source.randint(-128, 127) for _ in range(50)] for _ in range(2))
    m, h = (1119869440, 2001946752, INT32), (1, -3, 0)
    for left in (0, 10):
        bench.set(vec__multipliers=bench.put(np.array(m, "<i4")), vec__shifts=bench.put(np.array(h, "i1")), vec__left=left,
                  vec__clamp=0x3C00)
        bench.run("vec.add.i8", y=bench.y, a=bench.put(np.array(a, "i1")), b=bench.put(np.array(b, "i1")), n=50)
        sums = [requantise(int32(p + 5 << left), m[0], h[0]) + requantise(int32(q - 3 << left), m[1], h[1])
                for p, q in zip(a, b, strict=True)]
        assert bench.got(50) == [clamp(requantise(total, m[2], h[2]) + 7, 0, 60) for total in sums]


def test_results_of_sums():
    bench = Net(8, 1, 1, 1, 4)
    sums = [bench.source.randint(-20000, 20000) for _ in range(12)]
    bench.run("vec.requant.i8", y=bench.y, sums=bench.put(np.array(sums, "<i4")), rows=3)
    assert bench.got(13) == [bench.result(total, i % 4) for i, total in enumerate(sums)] + [99]


def test_nothing_is_done_without_windows_outputs_or_elements():
    bench = Net(9, 1, 1, 4, 4)
    bench.set(vec__windows=0, vec__taps=0)
    for name, operands in (("conv", {"W": 0}), ("depthwise", {"W": 0}), ("maxpool", {}), ("meanpool", {}),
                           ("layernorm", {"gain": 0}), ("softmax", {})):
        assert bench.run(f"vec.{name}.i8", y=3, x=0, **operands).counts == {"core.instructions": 1, "vec.ops": 1}
    assert bench.run("vec.add.i8", y=0, a=0, b=0, n=0).counts == {"core.instructions": 1, "vec.ops": 1}
    assert bench.run("vec.requant.i8", y=0, sums=0, rows=0).counts == {"core.instructions": 1, "vec.ops": 1}


@pytest.mark.parametrize(("setting", "cause", "text"), [
    ({"vec__taps": 0x1_0000}, Cause.ILLEGAL_OPERAND, "vec.taps says 1 lines of 0 pixels; expected 1 or more"),
    ({"vec__cols": 0}, Cause.ILLEGAL_OPERAND, "vec.cols is 0: expected the channels of a pixel"),
    ({"vec__offsets": 0x100}, Cause.ILLEGAL_OPERAND, "vec.offsets says 256, 0, 0; expected -255..255 each"),
    ({"vec__outputs": 1 << 30}, Cause.CAPACITY, "1 times 1073741824 results; expected at most 0x10000000"),
    ({"vec__windows": 0xFFFF_FFFF}, Cause.CAPACITY,
     "4294836225 windows of 4 elements; expected at most 0x10000000 elements together"),
    ({"vec__result_stride": 3}, Cause.ILLEGAL_OPERAND,
     "vec.result_stride is 3; expected 0 (packed) or at least the 4 bytes of 4 results"),
])
def test_settings_that_trap(setting, cause, text):
    bench = Net(10, 1, 1, 4, 4)
    bench.set(**setting)
    assert refused(cause, bench, "vec.conv.i8", y=bench.y, x=bench.x, W=bench.x) == text


def test_a_shift_that_is_none_traps():
    bench = Net(11, 1, 1, 4, 4)
    bench.set(vec__shifts=bench.put(np.array([0, 0, 32, 0], "i1")))
    text = refused(Cause.ILLEGAL_OPERAND, bench, "vec.conv.i8", y=bench.y, x=bench.x, W=bench.x)
    assert text == "shift 2 is 32; expected -31..31"
    bench.set(vec__shifts=bench.put(np.array([-1], "i1")))
    text = refused(Cause.ILLEGAL_OPERAND, bench, "vec.softmax.i8", y=bench.y, x=bench.x)
    assert text == "shift 0 is -1; expected 0..31 for softmax"
    bench.set(vec__left=32)
    text = refused(Cause.ILLEGAL_OPERAND, bench, "vec.add.i8", y=bench.y, a=bench.x, b=bench.x, n=1)
    assert text == "vec.left is 32; expected 0..31"


ROWS = [row for row in TABLE.values() if row.meaning.__module__ == "isa.units.vec.networks"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.mnemonic)
def test_every_address_is_checked(row):
    """One that is nowhere, one of flash for results, one that is not aligned; nothing is written."""
    bench = Net(12, 1, 1, 4, 4, group=0)
    bench.windows(1, 1, 1, 1, 1)
    bench.set(vec__multipliers=bench.put(np.array([1 << 30] * 3, "<i4")), vec__shifts=bench.put(np.zeros(3, "i1")))
    places = {"y": bench.y, "sums": bench.put(np.zeros(8, "<i4"))}
    good = {operand.name: places.get(operand.name, bench.x) if operand.access else 2 for operand in row.operands}
    bench.run(row.mnemonic, **good)
    before = bench.got(64)
    for operand in (each for each in row.operands if each.access):
        access = Cause.LOAD_ACCESS if "<" in operand.access else Cause.STORE_ACCESS
        refused(access, bench, row.mnemonic, **good | {operand.name: 16})
        if operand.shape.startswith("i32"):
            refused(Cause.MISALIGNED_OPERAND, bench, row.mnemonic, **good | {operand.name: good[operand.name] + 1})
        if ">" in operand.access:
            refused(Cause.STORE_ACCESS, bench, row.mnemonic, **good | {operand.name: FLASH})
    assert bench.got(64) == before
