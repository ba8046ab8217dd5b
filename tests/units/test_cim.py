"""cim: products against NumPy, what stands in the cells, published counts, counters, every trap."""

from itertools import pairwise

import numpy as np
import pytest
from machine_files import with_macros
from macro_cells import Macros, fitting, placed
from unit_bench import Bench, Trapped, refused

from isa.instruction import rows
from isa.traps import Cause
from isa.units.cim.held import sound

ILLEGAL = Cause.ILLEGAL_OPERAND
PATTERNS = ((2, 4), (1, 4), (2, 8), (4, 8), (3, 5), (8, 16), (1, 1), (4, 4), (8, 8))
FLEXCIM = with_macros(macros=16, rows=128, columns=32, adcs=0)
ODD = with_macros(macros=40, rows=20, columns=7, sub_macros=2, adcs=3)
SQUARE = with_macros(macros=16, rows=256, columns=256, sub_macros=1, adcs=1)


def load(bench, dense, n, m, first=0):
    """Load a matrix into macros."""
    values, meta = placed(dense, n, m)
    bench.set(cim__meta=bench.put(meta, 3), cim__nm=n | m << 8, cim__cols=dense.shape[1], cim__first=first)
    return bench.run("cim.load.nm", values=bench.put(values, 1), rows=len(dense))


def build(bench, x, scales=1.0, group=0):
    """Load vectors (v, n) or one (n,)."""
    x = np.atleast_2d(np.asarray(x, np.int8))
    groups = -(-x.shape[1] // group) if group else 1
    bench.set(cim__vectors=len(x), cim__scale_group=group,
              cim__x_scales=bench.put(np.broadcast_to(np.asarray(scales, np.float32), (len(x), groups))))
    bench.run("cim.build.i8", x=bench.put(x), n=x.shape[1])


def load_blocks(bench, blocks, kind, first=0):
    """Load blocks (n, b, b) into slots."""
    bench.set(cim__block=blocks.shape[1], cim__map=kind, cim__first=first)
    return bench.run("cim.load.bd", blocks=bench.put(np.asarray(blocks, np.int8)), n=len(blocks))


def events(done):
    return {name.removeprefix("cim."): count for name, count in done.counts.items() if name.startswith("cim.")}


# ------------------------------------------------------------------------------------------------ tiles


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 1)])
def test_what_no_load_leaves_is_no_sound_state(n, m):
    """As a snapshot may say it: another number of weights, a weight beyond the matrix, places that do not rise."""
    bench = Bench(FLEXCIM)
    load(bench, np.tile(np.where(np.arange(67) % 4 < 2, 3, 0), (33, 1)), n, m, 1)

    def is_sound(name=None, at=0, value=0):
        state = {key: array.copy() for key, array in bench.m.state.items()}
        if name:
            state[f"cim.{name}"].reshape(16, -1)[1, at] = value
        return sound(state, bench.m.parameter)

    rows, count = 128, int(bench.m.state["cim.held"][6 + 5])
    stored = 67 if n == m else 34
    assert is_sound() and is_sound("held", 5, count)
    assert not is_sound("held", 5, count + 1) and not is_sound("held", 5, 0) and not is_sound("cells", 31 * rows + stored, 1)
    if n < m:
        assert not is_sound("places", 1, 0) and not is_sound("places", 0, 4)
        state = {key: array.copy() for key, array in bench.m.state.items()}
        state["cim.places"].reshape(16, -1)[1, 32:34] = 2, 3            # columns 66 and 67 of the first row: 67 is not there
        state["cim.cells"].reshape(16, -1)[1, 33] = 1
        state["cim.held"][6 + 5] = np.count_nonzero(state["cim.cells"].reshape(16, -1)[1])
        assert not sound(state, bench.m.parameter)


@pytest.mark.parametrize("preset", [FLEXCIM, ODD, SQUARE], ids=["flexcim", "odd", "square"])
@pytest.mark.parametrize(("n", "m"), PATTERNS)
def test_tiles_and_their_products(preset, n, m):
    rng = np.random.default_rng(n * 17 + m)
    for height, width, vectors in ((1, 1, 1), (3, 7, 2), (33, 64, 1), (40, 129, 3)):
        bench, expected = Bench(preset), Macros(preset)
        down, across = expected.tiles(n, m, height, width)
        if down * across + 1 > expected.macros:
            continue
        dense = fitting(rng, n, m, height, width)
        stored = width if n == m else -(-width // m) * n
        done, place = load(bench, dense, n, m, 1), stored * (m - 1).bit_length()
        expected.load_matrix(dense, n, m, 1)
        for name, array in expected.state.items():
            assert np.array_equal(bench.m.state[name], array), name
        counts = {"ops": 1, "lines_written": height * across, "cells_written": height * stored, "weight_bytes": height * stored}
        assert events(done) == counts | ({"meta_bytes": height * -(-place // 8)} if n < m else {})
        assert done.counts["sram.bytes_read"] == height * (stored + (-(-place // 8) if n < m else 0))

        x, before = rng.integers(-128, 128, (vectors, width)), rng.integers(-1 << 31, 1 << 31, (vectors, height))
        build(bench, x)
        shift = int(rng.choice([0, 3, 31]))
        bench.set(cim__shift=shift)
        acc = bench.put(before.astype(np.int32))
        done = bench.run("cim.mac", acc=acc, first=1, rows=height)
        wanted = before + ((x @ dense.T.astype(np.int64)).astype(np.int32).astype(np.int64) << shift)
        assert bench.get(acc, "i4", vectors * height).tolist() == wanted.astype(np.int32).reshape(-1).tolist()
        columns, adcs, parts = (preset.parameter(f"cim.{name}") for name in ("columns", "adcs", "sub_macros"))
        nonzero = int(np.count_nonzero(dense)) * vectors
        counts = {"ops": 1, "tiles": down * across, "steps": down * across * vectors, "steps_longest": vectors, "macs": nonzero,
                  "macs_skipped": dense.size * vectors - nonzero, "rows_on": down * stored * vectors,
                  "mux_selects": height * stored * vectors * (n < m), "merges": (parts - 1) * height * across * vectors}
        if adcs:
            counts |= {"conversions": height * across * vectors, "adc_longest": -(-min(height, columns) // adcs) * vectors}
        assert events(done) == {name: count for name, count in counts.items() if count}


@pytest.mark.parametrize(("w_group", "x_group"), [(0, 0), (16, 16), (0, 5), (24, 0), (1000, 0)])
def test_gemv_is_that_of_the_lut_unit(w_group, x_group):
    rng = np.random.default_rng(5)
    for height, width in ((1, 1), (5, 64), (17, 140)):
        bench, dense = Bench(FLEXCIM), fitting(rng, 2, 4, height, width)
        load(bench, dense, 2, 4)
        x = rng.integers(-128, 128, (2, width)).astype(np.int8)
        w_scales = bench.put(rng.standard_normal((height, -(-width // w_group) if w_group else 1)).astype(np.float32))
        x_scales = bench.put(rng.standard_normal((2, -(-width // x_group) if x_group else 1)).astype(np.float32))
        y, z, at = bench.put(np.zeros(2 * height, np.float32)), bench.put(np.zeros(2 * height, np.float32)), bench.put(x)
        bench.set(cim__scale_group=x_group, lut__scale_group=x_group, cim__vectors=2, lut__vectors=2, cim__x_scales=x_scales,
                  cim__scales=w_scales)
        bench.run("cim.build.i8", x=at, n=width)
        bench.run("lut.build.i8", x=at, scale=x_scales, n=width)
        bench.set(cim__scale_group=w_group, lut__scale_group=w_group)
        done = bench.run("cim.gemv", y=y, first=0, rows=height)
        bench.run("lut.gemv.i8", y=z, W=bench.put(dense), scale=w_scales, rows=height)
        assert bench.get(y, "u4", 2 * height).tolist() == bench.get(z, "u4", 2 * height).tolist()
        starts = {*range(0, width, w_group or x_group or width), *range(0, width, 256)}
        assert done.counts["cim.steps"] == 2 * len(starts)


def test_the_worked_example_of_the_manual():
    bench = Bench(FLEXCIM)
    row = np.array([[0, 5, 0, -3, 7, 0, 0, 0]], np.int8)
    values, meta = placed(row, 2, 4)
    assert values.tolist() == [5, -3, 7, 0] and meta.tolist() == [0x4D]
    load(bench, row, 2, 4)
    assert bench.m.state["cim.cells"][:5].tolist() == [5, -3, 7, 0, 0]
    places = bench.m.state["cim.places"][:4].tolist()
    assert places == [1, 3, 0, 1] and [(place >> 1, place & 1) for place in places] == [(0, 1), (1, 1), (0, 0), (0, 1)]


@pytest.mark.parametrize(("n", "m", "tiles"), [(2, 8, 4), (2, 4, 8), (4, 8, 8), (1, 1, 16)])
def test_tiles_of_flexcim(n, m, tiles):
    """64 rows of 1024 columns (FLOW's RTL: 128 values a column, 32 columns a macro)."""
    bench = Bench(FLEXCIM)
    done = load(bench, fitting(np.random.default_rng(1), n, m, 64, 1024), n, m)
    assert done.counts["cim.lines_written"] == 32 * tiles
    build(bench, np.ones(1024))
    done = bench.run("cim.mac", acc=bench.put(np.zeros(64, np.int32)), first=0, rows=64)
    assert done.counts["cim.tiles"] == done.counts["cim.steps"] == tiles and done.counts["cim.steps_longest"] == 1


# ------------------------------------------------------------------------------------------------ blocks


def monarch(rng, blocks, size, f):
    return rng.integers(-128, 128, (f, blocks, size, size)).astype(np.int8)


@pytest.mark.parametrize("kind", [1, 2])
def test_spread_and_join(kind):
    rng = np.random.default_rng(kind)
    shapes = ((4, 4, 1, 1, 1), (8, 3, 2, 6, 2), (13, 5, 3, 5, 1), (64, 16, 1, 1, 1), (1, 2, 2, 2, 3))
    for size, blocks, across, f, vectors in shapes:
        bench, n = Bench(SQUARE), size * blocks
        factors = monarch(rng, blocks, size, f)
        done = load_blocks(bench, factors.reshape(-1, size, size), kind)
        assert events(done) == {"ops": 1, "lines_written": f * n, "cells_written": f * n * size, "weight_bytes": f * n * size}
        expected = Macros(SQUARE)
        expected.load_blocks(factors.reshape(-1, size, size), kind)
        for name, array in expected.state.items():
            assert np.array_equal(bench.m.state[name], array), name
        bench.set(cim__factor=blocks, cim__across=across)
        for name in ("spread", "join"):
            length, outputs = (across * n, f * n) if name == "spread" else (f * n, -(-f // across) * n)
            x, wanted = rng.integers(-128, 128, (vectors, length)), np.zeros((vectors, outputs), np.int64)
            for t in range(f):
                start, out = ((t % across) * n, t * n) if name == "spread" else (t * n, t // across * n)
                for k, r in np.ndindex(blocks, size):
                    inputs = x[:, start + k * size:start + (k + 1) * size]
                    wanted[:, out + r * blocks + k] += inputs @ factors[t, k, r].astype(int)
            build(bench, x, 0.5)
            acc = bench.put(np.zeros((vectors, outputs), np.int32))
            done = bench.run(f"cim.{name}.i32", acc=acc, first=0, f=f)
            assert bench.get(acc, "i4", vectors * outputs).tolist() == wanted.reshape(-1).tolist()
            slots = (256 // size) ** kind
            of_macros = [min(slots, f * blocks - start) for start in range(0, f * blocks, slots)]
            nonzero = vectors * int(np.count_nonzero(factors))
            assert events(done) == {
                "ops": 1, "tiles": len(of_macros), "steps": vectors * (sum(of_macros) if kind == 2 else len(of_macros)),
                "steps_longest": vectors * (max(of_macros) if kind == 2 else 1), "rows_on": vectors * f * n, "macs": nonzero,
                "macs_skipped": vectors * f * n * n - nonzero, "conversions": vectors * f * n,
                "adc_longest": vectors * max(of_macros) * size}
            scales = rng.standard_normal(outputs).astype(np.float32)
            bench.set(cim__scales=bench.put(scales), cim__scale_group=length)
            bench.run(f"cim.{name}.f32", y=acc, first=0, f=f)
            result = wanted.astype(np.float32) * (scales * np.float32(0.5)) + np.float32(0)
            assert bench.get(acc, "f4", vectors * outputs).tolist() == result.reshape(-1).tolist()


@pytest.mark.parametrize(("kind", "arrays", "steps"), [(1, 4, 1), (2, 1, 16)])
def test_sixteen_blocks_of_four(kind, arrays, steps):
    """The worked example of the two mappings: blocks of 4 x 4 in arrays of 16 x 16."""
    bench = Bench(with_macros(macros=4, rows=16, columns=16, sub_macros=1, adcs=1))
    load_blocks(bench, monarch(np.random.default_rng(0), 16, 4, 1)[0], kind)
    bench.set(cim__factor=16)
    build(bench, np.ones(64))
    done = bench.run("cim.spread.i32", acc=bench.put(np.zeros(64, np.int32)), first=0, f=1)
    assert (done.counts["cim.tiles"], done.counts["cim.steps_longest"], done.counts["cim.conversions"]) == (arrays, steps, 64)


def test_arrays_of_a_square_matrix():
    """1024 x 1024 with blocks of 64 in arrays of 256: arrays 87.5 % fewer than without zeros, 75 % fewer than with SparseMap."""
    bench, rng = Bench(SQUARE), np.random.default_rng(0)
    done = load(bench, rng.integers(1, 9, (1024, 1024)), 1, 1)
    build(bench, np.ones(1024))
    linear = bench.run("cim.mac", acc=bench.put(np.zeros(1024, np.int32)), first=0, rows=1024).counts["cim.tiles"]
    arrays = {}
    for kind in (1, 2):
        load_blocks(bench, np.concatenate([monarch(rng, 16, 64, 1)[0] for _ in range(2)]), kind)
        bench.set(cim__factor=16)
        build(bench, np.ones(1024))
        acc = bench.put(np.zeros(1024, np.int32))
        arrays[kind] = sum(bench.run(f"cim.{name}.i32", acc=acc, first=first, f=1).counts["cim.tiles"]
                           for name, first in (("spread", 0), ("join", 16)))
    assert (linear, arrays) == (16, {1: 8, 2: 2})
    assert done.counts["cim.lines_written"] == 4096


def test_a_monarch_matrix_is_its_two_products():
    """M = P L P R: what spread leaves, taken by join, is the product with the dense matrix."""
    rng, b = np.random.default_rng(2), 4
    left, right = rng.integers(-9, 10, (b, b, b)), rng.integers(-9, 10, (b, b, b))
    dense = np.zeros((b * b, b * b), np.int64)
    for i1, i2, j1, j2 in np.ndindex(b, b, b, b):
        dense[i1 * b + i2, j1 * b + j2] = left[i2, i1, j1] * right[j1, i2, j2]
    bench, x = Bench(SQUARE), rng.integers(-1, 2, b * b)
    load_blocks(bench, np.concatenate([right, left]), 2)
    bench.set(cim__factor=b)
    build(bench, x)
    between, y = bench.put(np.zeros(b * b, np.int32)), bench.put(np.zeros(b * b, np.int32))
    bench.run("cim.spread.i32", acc=between, first=0, f=1)
    build(bench, bench.get(between, "i4", b * b))
    bench.run("cim.join.i32", acc=y, first=b, f=1)
    assert bench.get(y, "i4", b * b).tolist() == (dense @ x).tolist()


# ------------------------------------------------------------------------------------------------ ADCs


def test_sums_go_through_the_adc():
    """Half goes to even, clipped at both ends; of each macro's column by itself."""
    bench = Bench(ODD)
    dense = np.array([[1] * 20 + [2] * 20, [-128] * 40], np.int8)
    load(bench, dense, 1, 1)
    build(bench, [1] * 5 + [0] * 15 + [1] * 3 + [0] * 17)
    acc = bench.put(np.zeros(2, np.int32))
    for bits, shift, wanted in ((8, 0, (5 + 6, -128 - 128)), (3, 1, ((2 + 3) * 2, (-4 - 4) * 2)), (16, 2, ((1 + 2) * 4, -1024)),
                                (2, 0, (1 + 1, -4)), (16, 9, (0, -1024))):
        bench.m.peek(acc, 8)[:] = 0
        bench.set(cim__adc=bits | shift << 8)
        bench.run("cim.mac", acc=acc, first=0, rows=2)
        assert tuple(bench.get(acc, "i4", 2).tolist()) == wanted, (bits, shift)


# ------------------------------------------------------------------------------------------------ traps


def test_products_need_their_tiles():
    bench, dense = Bench(FLEXCIM), fitting(np.random.default_rng(0), 2, 4, 40, 300)
    acc = bench.put(np.zeros(64, np.int32))
    assert "cim.build.i8 must come first" in refused(ILLEGAL, bench, "cim.mac", acc=acc, first=0, rows=1)
    build(bench, np.ones(300))
    assert "cim.load.nm must come first" in refused(ILLEGAL, bench, "cim.mac", acc=acc, first=0, rows=1)
    load(bench, dense, 2, 4, 2)
    for first, height in ((0, 40), (3, 40), (2, 39), (2, 41), (1 << 40, 40)):
        for name, operand in (("cim.mac", "acc"), ("cim.gemv", "y")):
            refused(ILLEGAL, bench, name, **{operand: acc}, first=first, rows=height)
    bench.run("cim.mac", acc=acc, first=2, rows=40)
    load(bench, dense[:3, :8], 2, 4, 4)                         # over a tile of the matrix
    refused(ILLEGAL, bench, "cim.mac", acc=acc, first=2, rows=40)
    build(bench, np.ones(8))
    bench.run("cim.mac", acc=acc, first=4, rows=3)
    build(bench, np.ones(9))
    refused(ILLEGAL, bench, "cim.mac", acc=acc, first=4, rows=3)


def test_what_does_not_fit_or_cannot_be_held():
    bench = Bench(with_macros(macros=2, rows=64, columns=32, patterns="2:4"))
    assert "2 macros" in refused(Cause.CAPACITY, bench, "cim.load.nm", values=bench.free, rows=96 * (bench.set(cim__cols=1) or 1))
    bench.set(cim__first=2)
    refused(Cause.CAPACITY, bench, "cim.load.nm", values=bench.free, rows=1)
    bench.set(cim__first=0, cim__nm=0x0804)
    assert "2:4" in refused(ILLEGAL, bench, "cim.load.nm", values=bench.free, rows=1)
    for value in (0, 0x0400, 0x0405, 0x1101, 0x0001):
        bench.set(cim__nm=value)
        assert "expected 1 <= N <= M <= 16" in refused(ILLEGAL, bench, "cim.load.nm", values=bench.free, rows=0)
    bench.set(cim__nm=0x0202)
    bench.run("cim.load.nm", values=bench.free, rows=1)
    assert "square" in refused(ILLEGAL, bench, "cim.load.bd", blocks=bench.free, n=0)
    most = bench.m.parameter("cim.activations")
    refused(Cause.CAPACITY, bench, "cim.build.i8", x=bench.free, n=most + 1)


def test_a_product_with_more_than_one_group_of_scales_for_blocks():
    bench = Bench(SQUARE)
    load_blocks(bench, np.ones((2, 2, 2)), 1)
    bench.set(cim__factor=2)
    build(bench, np.ones(4), group=2)
    y = bench.put(np.zeros(4, np.float32))
    bench.set(cim__scale_group=0)
    for name in ("cim.spread.f32", "cim.join.f32"):
        assert "one scale" in refused(ILLEGAL, bench, name, y=y, first=0, f=1)
    assert bench.run("cim.spread.i32", acc=y, first=0, f=1)


def test_slots_have_no_gaps():
    bench, blocks = Bench(SQUARE), np.ones((3, 100, 100))
    assert "without gaps" in refused(ILLEGAL, bench, "cim.load.bd", blocks=bench.free,
                                     n=1 * (bench.set(cim__block=100, cim__map=2, cim__first=1) or 1))
    load_blocks(bench, blocks, 2)
    load_blocks(bench, blocks[:1], 2, 3)
    load_blocks(bench, blocks[:1], 2, 1)                        # in the middle: the others stay
    bench.set(cim__factor=4)
    build(bench, np.ones(400))
    acc = bench.put(np.zeros(800, np.int32))
    bench.run("cim.join.i32", acc=acc, first=0, f=1)
    assert "cim.load.bd must come first" in refused(ILLEGAL, bench, "cim.join.i32", acc=acc, first=1, f=1)
    load_blocks(bench, blocks[:1], 1)                           # the macro is emptied
    assert bench.m.state["cim.held"][:4].tolist() == [2, 100, 1, 1] and bench.m.state["cim.cells"].sum() == 100 * 100


def test_encodings_are_one_after_the_other():
    numbers = sorted(row.fixed["funct7"] for row in rows("cim"))
    assert numbers[0] == 0 and all(b - a == 1 for a, b in pairwise(numbers))


@pytest.mark.parametrize(("cols", "meta", "values", "wrong"), [
    (4, [0b01_01], [1, 2], 1), (8, [0b11_10_00_01], [1, 2, 3, 4], 0), (5, [0b10_00_01_00], [1, 2, 3, 4], 6)])
def test_malformed_metadata_traps_before_anything_is_changed(cols, meta, values, wrong):
    bench = Bench(FLEXCIM)
    load(bench, np.ones((1, 3), np.int8), 1, 1)
    bench.set(cim__nm=0x0402, cim__cols=cols, cim__meta=bench.put(np.array(meta, np.uint8)))
    at = bench.put(np.array(values, np.int8))
    assert "malformed" in refused(ILLEGAL, bench, "cim.load.nm", values=at, rows=1)
    with pytest.raises(Trapped) as trapped:
        bench.run("cim.load.nm", values=at, rows=1)
    assert trapped.value.value == wrong
