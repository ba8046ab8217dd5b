"""cim: every kernel against its meaning, on both engines at once: patterns, sizes of macros, vectors, groups, ADCs, bad bytes."""

import numpy as np
import pytest
from both_engines import DRAM, SRAM, Pair
from machine_files import with_macros

from isa import sparse
from isa.traps import Cause

PATTERNS = ("2:4", "1:4", "2:8", "4:8", "4:16", "8:16", "3:5", "1:2", "1:1", "4:4", "8:8", "16:16", "15:16")
LENGTHS = (1, 3, 4, 15, 16, 17, 63, 64, 65, 127, 128, 200, 256, 320, 511, 512, 640, 1000)
MACHINES = {"flexcim": with_macros(macros=16, rows=128, columns=32, adcs=0), "square": with_macros(macros=5, rows=64, columns=64),
            "odd": with_macros(macros=40, rows=20, columns=7, sub_macros=2, adcs=3),
            "large": with_macros(macros=3, rows=256, columns=256, sub_macros=1, adcs=1)}
RUNS = 60


@pytest.fixture(scope="module", params=MACHINES)
def pair(request):
    return Pair(MACHINES[request.param])


def keep(pair):
    """What the unit holds now is what it starts from."""
    pair.start_state = {name: array.copy() for name, array in pair.reference.state.items() if name.startswith("cim.")}


def size(pair, name):
    return pair.reference.parameter(f"cim.{name}")


def tiles_of(pair, n, m, rows, cols):
    """Tiles of a matrix."""
    groups = -(-cols // m)
    return -(-rows // size(pair, "columns")) * -(-groups // (size(pair, "rows") // n))


def matrix(rng, n, m, rows, cols):
    """A random matrix with at most n values that are not zero in each m columns."""
    dense = rng.integers(-128, 128, (rows, cols)).astype(np.int8)
    dense[rng.random((rows, cols)) >= rng.choice((0, 0.3, 1, 1))] = 0
    groups = np.pad(dense, ((0, 0), (0, -cols % m))).reshape(rows, -1, m)
    kept = np.argsort(np.argsort(rng.random(groups.shape), axis=2), axis=2) < n
    return (groups * kept).reshape(rows, -1)[:, :cols].astype(np.int8)


def load(rng, pair, dense, n, m, first):
    """Load a matrix into macros. Its tiles must fit."""
    packed = sparse.NOfM(n, m).pack(dense, "i8")
    at = int(rng.choice([SRAM + 0x8_0000, DRAM + 0x8_0000])) + int(rng.integers(7))
    pair.place(at, dense if n == m else packed.values)
    pair.place(at + 0x8_0000, packed.meta)
    pair.set(**{"cim.meta": at + 0x8_0000, "cim.nm": n | m << 8, "cim.cols": dense.shape[1], "cim.first": first})
    done = pair.run("cim.load.nm", values=at, rows=len(dense))
    assert done.trap is None
    keep(pair)


def build(rng, pair, vectors, length, group):
    """Load vectors, with or without strides."""
    groups = -(-length // group) if group else min(length, 1)
    codes, scales = length + int(rng.integers(0, 9)), groups + int(rng.integers(0, 3))
    pair.set(**{"cim.vectors": vectors, "cim.scale_group": group, "cim.codes_stride": codes, "cim.scale_stride": 4 * scales,
                "cim.x_scales": pair.put(rng.standard_normal(vectors * scales + 1).astype("<f4"))})
    x = rng.choice([-128, 127], vectors * codes + 1) if rng.random() < 0.2 else rng.integers(-128, 128, vectors * codes + 1)
    done = pair.run("cim.build.i8", x=pair.put(x.astype("i1")), n=length)
    assert done.trap is None
    keep(pair)


def settings(rng, pair, outputs):
    """What products look at."""
    adc = 0
    if size(pair, "adcs") and rng.random() < 0.3:
        adc = int(rng.integers(1, 17)) | int(rng.integers(0, 18)) << 8
    pair.set(**{"cim.adc": adc, "cim.shift": int(rng.choice((0, 0, 1, 31))),
                "cim.result_stride": int(rng.choice((0, 4 * outputs + 4 * int(rng.integers(9)))))})


def test_matrices(pair):
    matrices(pair, RUNS)


def matrices(pair, runs):
    """So many random matrices, products with each."""
    rng, seen = np.random.default_rng(1), 0
    while seen < runs:
        n, m = map(int, str(rng.choice(PATTERNS)).split(":"))
        rows, cols = int(rng.integers(1, 90)), int(rng.choice(LENGTHS))
        tiles = tiles_of(pair, n, m, rows, cols)
        if tiles > size(pair, "macros"):
            continue
        seen += 1
        pair.fresh()
        vectors, first = int(rng.integers(1, 5)), int(rng.integers(0, size(pair, "macros") - tiles + 1))
        x_group, w_group = (int(rng.choice((0, 0, 16, 40, 5))) for _ in range(2))
        x_group = w_group if x_group and w_group else x_group
        build(rng, pair, vectors, cols, x_group)
        load(rng, pair, matrix(rng, n, m, rows, cols), n, m, first)
        settings(rng, pair, rows)
        groups = -(-cols // (x_group or w_group or cols))
        pair.set(**{"cim.scale_group": w_group, "cim.scales": pair.put(rng.standard_normal(rows * groups).astype("<f4"))})
        room = vectors * (rows + 9)
        acc = pair.put(rng.integers(-1 << 31, 1 << 31, room).astype("<i4"))
        assert pair.run("cim.mac", acc=acc, first=first, rows=rows).trap is None
        assert pair.run("cim.gemv", y=pair.put(np.ones(room, "<f4")), first=first, rows=rows).trap is None
        assert pair.run("cim.mac", acc=SRAM, first=first, rows=rows + 1).trap.cause == Cause.ILLEGAL_OPERAND
        assert pair.run("cim.gemv", y=SRAM, first=first + 1, rows=rows).trap.cause == Cause.ILLEGAL_OPERAND


def test_a_matrix_of_no_rows_or_a_vector_of_no_elements(pair):
    rng = np.random.default_rng(2)
    for rows, length in ((0, 5), (5, 0), (0, 0)):
        pair.fresh()
        build(rng, pair, 2, length, 0)
        pair.set(**{"cim.cols": length, "cim.result_stride": 0})
        acc = pair.put(np.arange(20, dtype="<i4"))
        for name, operands in (("cim.load.nm", {"values": 1}), ("cim.mac", {"acc": acc, "first": 1 << 40}),
                               ("cim.gemv", {"y": acc, "first": 1 << 40})):
            assert pair.run(name, rows=rows, **operands).trap is None
        assert pair.get(acc, "<f4", 10).tolist() == [0] * 10 if rows else True


def test_blocks(pair):
    blocks_of_factors(pair, RUNS if size(pair, "rows") == size(pair, "columns") else 3)


def blocks_of_factors(pair, runs):
    """So many random factors, products with each."""
    rng, square = np.random.default_rng(3), size(pair, "rows") == size(pair, "columns")
    for _ in range(runs):
        pair.fresh()
        cells, kind = size(pair, "rows"), int(rng.integers(1, 3))
        block = int(rng.choice((1, 2, 3, 8, 13, 16, 32, 64))) if square else 4
        slots = (cells // block) ** kind
        factor, across = int(rng.integers(1, 7)), int(rng.integers(1, 4))
        f = min(int(rng.integers(0, 7)), size(pair, "macros") * slots // factor)
        first = int(rng.integers(0, min(slots, size(pair, "macros") * slots - f * factor + 1)))
        blocks = rng.integers(-128, 128, (first + f * factor, block, block)).astype("i1")
        pair.set(**{"cim.block": block, "cim.map": kind, "cim.factor": factor, "cim.across": across, "cim.first": 0})
        done = pair.run("cim.load.bd", blocks=pair.put(blocks), n=len(blocks))
        assert (done.trap is None) == square
        keep(pair)
        n, vectors = factor * block, int(rng.integers(1, 4))
        for name, length, outputs in (("spread", across * n, f * n), ("join", f * n, -(-f // across) * n)):
            build(rng, pair, vectors, length, 0)
            settings(rng, pair, outputs)
            group = int(rng.choice((0, length + 1, 1 << 63)))
            pair.set(**{"cim.scale_group": group, "cim.scales": pair.put(rng.standard_normal(outputs + 1).astype("<f4"))})
            room = vectors * (outputs + 9)
            acc = pair.put(rng.integers(-1 << 31, 1 << 31, room).astype("<i4"))
            assert (pair.run(f"cim.{name}.i32", acc=acc, first=first, f=f).trap is None) == square
            assert (pair.run(f"cim.{name}.f32", y=pair.put(np.ones(room, "<f4")), first=first, f=f).trap is None) == square
            for wrong in ({"first": first, "f": f + 1}, {"first": first + 1, "f": f}):
                done = pair.run(f"cim.{name}.i32", acc=acc, **wrong)
                assert done.trap is not None or not f or (name, *wrong.values()) == ("spread", first, f + 1) or not square


def test_blocks_are_loaded_piece_by_piece(pair):
    """Into a macro that has some, into one that held something else, and with gaps, which trap."""
    if size(pair, "rows") != size(pair, "columns"):
        return
    rng = np.random.default_rng(4)
    pair.fresh()
    trapped = 0
    for _ in range(RUNS):
        pair.set(**{"cim.block": int(rng.choice((16, 32))), "cim.map": int(rng.integers(1, 3)),
                    "cim.first": int(rng.integers(0, 6))})
        n = int(rng.integers(0, 5))
        done = pair.run("cim.load.bd", blocks=pair.put(rng.integers(-128, 128, n * 1024).astype("i1")), n=n)
        trapped += done.trap is not None
        keep(pair)
        pair.free = SRAM
        if rng.random() < 0.2 and size(pair, "macros") > 2:
            load(rng, pair, matrix(rng, 2, 4, 5, 40), 2, 4, int(rng.integers(0, 2)))
    assert 3 < trapped < RUNS - 3


def test_bytes_that_are_no_metadata(pair):
    """Places of any bytes: what is malformed traps alike, before anything is changed."""
    rng, trapped = np.random.default_rng(5), 0
    for _ in range(RUNS):
        pair.fresh()
        n, m = map(int, str(rng.choice(PATTERNS[:8])).split(":"))
        rows, cols = int(rng.integers(1, 8)), int(rng.choice((5, 16, 64, 65, 100)))
        if tiles_of(pair, n, m, rows, cols) > size(pair, "macros"):
            continue
        packed = sparse.NOfM(n, m).pack(matrix(rng, n, m, rows, cols), "i8")
        meta, values = packed.meta.copy(), packed.values.copy()
        if rng.random() < 0.5:
            meta[rng.integers(len(meta))] ^= 1 << int(rng.integers(8))
        else:
            values[-1] = 1
        pair.set(**{"cim.meta": pair.put(meta), "cim.nm": n | m << 8, "cim.cols": cols})
        done = pair.run("cim.load.nm", values=pair.put(values), rows=rows)
        if done.trap is not None:
            trapped += 1
            assert done.trap.cause == Cause.ILLEGAL_OPERAND
            assert not pair.reference.state["cim.held"].any()
    assert trapped > 5
