"""int8 networks: every kernel against its meaning, on both engines: random windows, offsets, scales, streams of any bytes."""

import numpy as np
import pytest
from both_engines import DRAM, FLASH, SRAM, Pair

from isa import sparse
from isa.instruction import TABLE

RUNS = 30
WHOLE = ("vec.conv.i8", "vec.depthwise.i8", "vec.maxpool.i8", "vec.meanpool.i8", "vec.layernorm.i8", "vec.softmax.i8",
         "sp.conv.rl.i8", "sp.depthwise.rl.i8")


def test_all_of_them_are_here():
    assert {row.mnemonic for row in TABLE.values() for operand in row.operands if "windows" in operand.shape} == set(WHOLE)
    assert [row.mnemonic for row in TABLE.values() if any("vec.outputs" in operand.shape for operand in row.operands)] == [
        "vec.requant.i8"]


@pytest.fixture(scope="module")
def pair():
    return Pair("slim")


def codes(rng, n):
    return (rng.choice([-128, 127, 0], n) if rng.random() < 0.2 else rng.integers(-128, 128, n)).astype("i1")


def geometry(rng, pair):
    """Random windows: (how many, elements of each, taps, channels). The CSRs are set and an image is placed at `x`."""
    channels = int(rng.choice([1, 2, 3, 4, 5, 16, 17, 33, 64, 70]))
    lines, pixels = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    down, across = int(rng.integers(1, 4)), int(rng.choice([1, 2, 3, 7, 8, 9, 17]))
    stride, width = int(rng.integers(1, 3)), 40
    pair.set(**{"vec.cols": channels, "vec.windows": down << 16 | across, "vec.taps": lines << 16 | pixels,
                "vec.step": stride * channels, "vec.line": width * channels, "vec.window_line": stride * width * channels})
    return down * across, lines * pixels * channels, lines * pixels, channels


def settings(rng, pair, outputs, softmax=False):
    """Scales, bias, offsets, bounds, strides: what makes results."""
    group = int(rng.choice([0, 1, 1, 3, 1000]))
    groups = -(-outputs // group) if group else 1
    scales = rng.integers(1 << 30, 1 << 31, groups).astype("i4")
    shifts = rng.integers(-12, 3, groups)
    if rng.random() < 0.2:
        scales, shifts = rng.choice([-(1 << 31), -1, 0, 1, (1 << 31) - 1], groups).astype("i4"), rng.integers(-31, 32, groups)
    if softmax:
        shifts[:] = rng.integers(18, 26)
    offsets = rng.integers(-128, 129, 3)
    low, high = sorted(codes(rng, 2).tolist()) if rng.random() < 0.3 else (-128, 127)
    pair.set(**{
        "vec.scale_group": group, "vec.multipliers": pair.put(scales),
        "vec.shifts": pair.put(shifts.astype("i1"), int(rng.integers(3))),
        "vec.bias": pair.put(rng.integers(-(1 << 18), 1 << 18, outputs).astype("i4")) if rng.random() < 0.7 else 0,
        "vec.offsets": sum((int(value) & 0xFFFF) << 16 * i for i, value in enumerate(offsets)),
        "vec.clamp": (low & 255) | (high & 255) << 8,
        "vec.cutoff": int(rng.choice([248, 20, 0, 999])), "vec.rounding": int(rng.integers(2)),
        "vec.result_stride": outputs + int(rng.integers(1, 9)) if rng.random() < 0.3 else 0})


def stream(rng, pair, outputs, elements):
    """A sparse matrix as one stream, and its CSRs."""
    block = int(rng.choice([1, 2, 3, 4, 7]))
    dense = codes(rng, outputs * elements)
    dense[rng.random(dense.size) >= rng.choice([0, 0.002, 0.1, 0.4, 1])] = 0
    packed = sparse.RunLength(block).pack(dense.reshape(1, -1), "i8")
    pair.set(**{"sp.block": block, "sp.stream": packed.values.size})
    return packed.values


@pytest.mark.parametrize("name", WHOLE)
def test_kernels_agree_with_meanings(pair, name):
    rng = np.random.default_rng(len(name) * 1000 + sum(map(ord, name)))
    for _ in range(RUNS):
        pair.fresh()
        _, elements, taps, channels = geometry(rng, pair)
        outputs = (int(rng.choice([1, 2, 15, 16, 17, 40])) if "conv" in name else
                   channels if "pool" in name or "depthwise" in name else elements)
        settings(rng, pair, outputs, "softmax" in name)
        pair.set(**{"vec.outputs": outputs})
        x = DRAM + 0x8000 + int(rng.integers(9))
        pair.place(x, codes(rng, 24000))
        operands = {"x": x, "y": SRAM + 0x8000 + int(rng.integers(9))}
        if name.startswith("sp."):
            data = stream(rng, pair, outputs, elements) if "conv" in name else stream(rng, pair, channels, taps)
            operands["W"] = DRAM + 0x1_0000 + int(rng.integers(9))
            pair.place(operands["W"], data)
        elif "conv" in name or "depthwise" in name:
            rows, cols = (outputs, elements) if "conv" in name else (taps, channels)
            stride = cols + int(rng.integers(9)) if rng.random() < 0.3 else 0
            pair.set(**{"vec.row_stride": stride})
            operands["W"] = DRAM + 0x1_0000 + int(rng.integers(9))
            pair.place(operands["W"], codes(rng, rows * (stride or cols)))
        elif "layernorm" in name:
            operands["gain"] = pair.put(codes(rng, elements), int(rng.integers(3)))
        done = pair.run(name, **operands)
        assert done.trap is None
        assert done.counts["vec.ops" if name.startswith("vec") else "sp.ops"] == 1


@pytest.mark.parametrize("name", ["vec.softmax.i8", "vec.layernorm.i8"])
def test_rows_in_place(pair, name):
    rng = np.random.default_rng(5)
    for n, rows in ((1, 1), (44, 7), (300, 3)):
        pair.fresh()
        settings(rng, pair, n, "softmax" in name)
        pair.set(**{"vec.cols": n, "vec.windows": 1 << 16 | rows, "vec.step": n, "vec.result_stride": 0})
        x = pair.put(codes(rng, rows * n))
        gain = {"gain": pair.put(codes(rng, n))} if "layernorm" in name else {}
        assert pair.run(name, x=x, y=x, **gain).trap is None
        assert pair.run(name, x=x, y=x + 1, inline=False, **gain).trap is None


def test_additions_and_requantised_sums(pair):
    rng = np.random.default_rng(6)
    for n in (0, 1, 16, 100, 1000):
        for _ in range(4):
            pair.fresh()
            settings(rng, pair, 3)
            pair.set(**{"vec.multipliers": pair.put(rng.integers(1 << 30, 1 << 31, 3).astype("i4")),
                        "vec.left": int(rng.choice([0, 20])), "vec.shifts": pair.put(rng.integers(-20, 2, 3).astype("i1"))})
            a, b = pair.put(codes(rng, n)), pair.put(codes(rng, n))
            assert pair.run("vec.add.i8", y=SRAM + 0x8000, a=a, b=b, n=n).trap is None
            assert pair.run("vec.add.i8", y=a, a=a, b=b, n=n).trap is None
            outputs, rows = int(rng.choice([1, 5, 16])), int(rng.integers(4))
            settings(rng, pair, outputs)
            pair.set(**{"vec.outputs": outputs})
            sums = pair.put(rng.integers(-(1 << 31), 1 << 31, rows * outputs).astype("i4"))
            assert pair.run("vec.requant.i8", y=SRAM + 0x8000, sums=sums, rows=rows).trap is None


@pytest.mark.parametrize("name", ["sp.conv.rl.i8", "sp.depthwise.rl.i8"])
def test_streams_of_any_bytes(pair, name):
    rng = np.random.default_rng(7)
    traps = 0
    for _ in range(60):
        pair.fresh()
        settings(rng, pair, 4)
        size = int(rng.integers(0, 12))
        pair.set(**{"vec.cols": 4, "vec.outputs": 4, "vec.windows": 1 << 16 | 2, "sp.block": int(rng.choice([1, 2, 3])),
                    "sp.stream": size})
        near = rng.choice([0x80, 0x81, 0x82, 0x83, 0, 1, 127, 255], size).astype("u1")
        done = pair.run(name, x=pair.put(codes(rng, 8)), W=pair.put(near), y=SRAM + 0x8000)
        traps += done.trap is not None
    assert 5 < traps < 60


def test_what_kernels_refuse_is_left_to_meanings(pair):
    """Settings that trap, and operands that overlap."""
    pair.fresh()
    rng = np.random.default_rng(8)
    settings(rng, pair, 4)
    x, W = pair.put(codes(rng, 64)), pair.put(codes(rng, 64))
    plain = {"vec.cols": 4, "vec.outputs": 4, "vec.scale_group": 0, "vec.clamp": 0x7F80, "vec.result_stride": 0}
    pair.set(**plain)
    for wrong in ({"vec.taps": 0x1_0000}, {"vec.cols": 0}, {"vec.cols": 1 << 40}, {"vec.outputs": 1 << 40}, {"vec.offsets": 0x100},
                  {"vec.result_stride": 3}, {"vec.row_stride": 3}, {"vec.bias": 3}, {"vec.bias": FLASH - 4},
                  {"vec.multipliers": 0}, {"vec.shifts": pair.put(np.array([32], "i1"))}, {"vec.windows": 0xFFFF_FFFF},
                  {"vec.windows": 0x1_0002, "vec.step": 1 << 62}):
        pair.set(**wrong)
        assert pair.run("vec.conv.i8", y=SRAM + 0x8000, x=x, W=W).trap is not None, wrong
        pair.set(**plain, **{"vec.taps": 0x1_0001, "vec.offsets": 0, "vec.row_stride": 0, "vec.bias": 0, "vec.windows": 0x1_0001,
                             "vec.multipliers": pair.put(np.array([1 << 30], "i4")), "vec.shifts": pair.put(np.array([0], "i1"))})
    assert pair.run("vec.conv.i8", y=x, x=x, W=W, inline=False).trap is None
    for none in ({"vec.windows": 0}, {"vec.outputs": 0}):
        pair.set(**{"vec.windows": 0x1_0001, "vec.outputs": 4} | none)
        assert not pair.run("vec.conv.i8", y=3, x=0, W=0, inline=False).counts.keys() - {"vec.ops", "core.instructions"}
