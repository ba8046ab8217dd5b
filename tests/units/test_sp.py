"""sp: results against NumPy and against the dense instructions of lut and vec, counters against the matrix, every trap."""

import numpy as np
import pytest
from unit_bench import FLASH, Bench, Trapped, refused

from isa import sparse
from isa.instruction import TABLE, rows
from isa.numbers import FORMATS
from isa.traps import Cause
from isa.units.sp.matrices import number

ILLEGAL = Cause.ILLEGAL_OPERAND
INTEGERS, FLOATS = ("i8", "i4", "t2"), ("f16", "f32")
NAMES = ("nm:2:4", "nm:3:8", "nm:1:16", "nm:4:4", "nm:2:5", "bm", "bm:4", "bm:7", "cs", "bl:2x3", "bl:16x1", "bl:1x4")
SIZES = ((1, 1), (3, 7), (5, 64), (2, 129), (17, 40))


def matrix(form, rows, cols, density, seed):
    """A dense matrix, and zeros where no layout of NAMES could hold more: at most one of each 16 columns, or all that fit."""
    rng = np.random.default_rng(seed)
    if form in FLOATS:
        dense = rng.standard_normal((rows, cols)).astype(np.float16).astype(np.float32)
    else:
        dense = rng.choice(FORMATS[form].held, (rows, cols)).astype(np.int8)
    dense[rng.random((rows, cols)) >= density] = 0
    return dense


def fitted(layout, dense):
    if layout.kind == "nm":
        for row in dense:
            for start in range(0, len(row), layout.m):
                group = row[start:start + layout.m]
                group[np.flatnonzero(group)[layout.n:]] = 0
    return dense


def place(bench, layout, dense, form, gap=3):
    """Put a matrix into memory and set the CSRs of its layout: the operand W, and the bytes of values and metadata."""
    packed = layout.pack(dense, form)
    bench.set(sp__meta=bench.put(packed.meta if packed.meta.size else np.zeros(1, np.uint8), gap))
    if packed.offsets is not None:
        bench.set(sp__offsets=bench.put(packed.offsets))
    settings(bench, layout)
    return bench.put(packed.values if packed.values.size else np.zeros(4, np.uint8)), packed


def settings(bench, layout):
    """The CSRs that say a layout."""
    match layout:
        case sparse.NOfM(n, m):
            bench.set(sp__nm=n | m << 8)
        case sparse.RByC(rows, block):
            bench.set(sp__block_rows=rows, sp__block=block)
        case sparse.Bitmask(block):
            bench.set(sp__block=block)


def described(packed):
    """Bytes of metadata and offsets."""
    return packed.bytes - packed.values.size


def build(bench, x, scales=(1,), group=0):
    bench.set(sp__scale_group=group)
    done = bench.run("sp.build.i8", x=bench.put(np.array(x, np.int8)), scale=bench.put(np.array(scales, np.float32)), n=len(x))
    assert done.counts["sram.bytes_read"] == len(x) + 4 * (-(-len(x) // group) if group else 1)


def sp_counts(done):
    return {name.removeprefix("sp."): count for name, count in done.counts.items() if name.startswith("sp.")}


def expected_counts(dense, packed, floats=False):
    """What a product counts, from the dense matrix and what a packer has made of it."""
    nonzero, bits = int(np.count_nonzero(dense)), int(FORMATS[packed.form].bits)
    layout_slots = packed.values.size * 8 // bits
    counts = {"ops": 1, "macs": nonzero, "macs_skipped": dense.size - nonzero, "weight_bytes": packed.values.size,
              "meta_bytes": described(packed)} | ({"macs_float": nonzero} if floats else {})
    return {name: count for name, count in counts.items() if count}, layout_slots


def check_counts(done, dense, packed, stored, floats=False):
    expected, _ = expected_counts(dense, packed, floats)
    values = {"values": stored, "values_float": stored if floats else 0, "zeros_stored": stored - np.count_nonzero(dense)}
    assert sp_counts(done) == expected | {name: count for name, count in values.items() if count}


def stored_of(layout, dense):
    """Stored values, padding among them, from the text of the layout."""
    rows, cols = dense.shape
    if layout.kind == "nm":
        return rows * -(-cols // layout.m) * layout.n
    down, across = getattr(layout, "block_rows", 1), getattr(layout, "block", 1)
    padded = np.pad(dense, ((0, -rows % down), (0, -cols % across))).reshape(-(-rows // down), down, -1, across)
    return int((padded != 0).any(axis=(1, 3)).sum()) * down * across


# ------------------------------------------------------------------------------------------------ products


@pytest.mark.parametrize("form", INTEGERS)
@pytest.mark.parametrize("name", NAMES)
def test_mac_and_macT(name, form):
    layout = sparse.named(name)
    for seed, (height, width) in enumerate(SIZES):
        for density in (0, 0.3, 1):
            bench, rng = Bench(), np.random.default_rng(seed)
            dense = fitted(layout, matrix(form, height, width, density, seed))
            W, packed = place(bench, layout, dense, form)
            for operation, length, outputs, wide in (("mac", width, height, dense), ("macT", height, width, dense.T)):
                x, before = rng.integers(-128, 128, length), rng.integers(-1 << 31, 1 << 31, outputs)
                build(bench, x)
                shift = int(rng.choice([0, 3, 31]))
                bench.set(sp__shift=shift)
                acc = bench.put(before.astype(np.int32))
                done = (bench.run(f"sp.mac.{layout.kind}.{form}", acc=acc, W=W, rows=outputs) if operation == "mac" else
                        bench.run(f"sp.macT.{layout.kind}.{form}", acc=acc, W=W, cols=outputs))
                sums = [int(old) + (sum(int(w) * int(v) for w, v in zip(row, x, strict=True)) << shift)
                        for old, row in zip(before, wide, strict=True)]
                assert bench.get(acc, "i4", outputs).tolist() == [(total + (1 << 31)) % (1 << 32) - (1 << 31) for total in sums]
                check_counts(done, dense, packed, stored_of(layout, dense))
                assert done.counts["sram.bytes_read"] == packed.bytes + 4 * outputs
                assert done.counts["sram.bytes_written"] == 4 * outputs


@pytest.mark.parametrize(("w_group", "x_group"), [(0, 0), (16, 16), (0, 5), (24, 0)])
@pytest.mark.parametrize("form", INTEGERS)
@pytest.mark.parametrize("name", NAMES[:2] + NAMES[5:7] + NAMES[8:10])
def test_gemv_of_integers_is_that_of_the_lut_unit(name, form, w_group, x_group):
    layout = sparse.named(name)
    for seed, (height, width) in enumerate(SIZES):
        bench, rng = Bench(), np.random.default_rng(seed)
        dense = fitted(layout, matrix(form, height, width, 0.5, seed))
        W, _ = place(bench, layout, dense, form)
        x = rng.integers(-128, 128, width).astype(np.int8)
        w_scales = bench.put(rng.standard_normal((height, -(-width // w_group) if w_group else 1)).astype(np.float32))
        x_scales = bench.put(rng.standard_normal(-(-width // x_group) if x_group else 1).astype(np.float32))
        y, z, at = bench.put(np.zeros(height, np.float32)), bench.put(np.zeros(height, np.float32)), bench.put(x)
        for unit in ("sp", "lut"):
            bench.set(**{f"{unit}__scale_group": x_group})
            bench.run(f"{unit}.build.i8", x=at, scale=x_scales, n=width)
            bench.set(**{f"{unit}__scale_group": w_group})
        bench.set(sp__scales=w_scales)
        bench.run(f"sp.gemv.{layout.kind}.{form}", y=y, W=W, rows=height)
        bench.run(f"lut.gemv.{form}", y=z, W=bench.put(FORMATS[form].pack(dense)), scale=w_scales, rows=height)
        assert bench.get(y, "u4", height).tolist() == bench.get(z, "u4", height).tolist()


@pytest.mark.parametrize("form", FLOATS)
@pytest.mark.parametrize("name", NAMES)
def test_gemv_of_floats_is_that_of_the_vector_unit(name, form):
    layout = sparse.named(name)
    for seed, (height, width) in enumerate(SIZES):
        for density in (0, 0.4, 1):
            bench, rng = Bench(), np.random.default_rng(seed)
            dense = fitted(layout, matrix(form, height, width, density, seed))
            W, packed = place(bench, layout, dense, form)
            x = rng.standard_normal(width).astype(np.float32)
            x[rng.random(width) < 0.1] = -0.0
            at, y, z = bench.put(x), bench.put(np.zeros(height, np.float32)), bench.put(np.zeros(height, np.float32))
            bench.run("sp.build.f32", x=at, n=width)
            done = bench.run(f"sp.gemv.{layout.kind}.{form}", y=y, W=W, rows=height)
            check_counts(done, dense, packed, stored_of(layout, dense), floats=True)
            bench.set(vec__cols=width)
            bench.run(f"vec.gemv.{form}", y=z, W=bench.put(FORMATS[form].pack(dense)), x=at, rows=height)
            assert bench.get(y, "u4", height).tolist() == bench.get(z, "u4", height).tolist()


def test_what_is_not_stored_adds_nothing_even_to_infinities():
    bench = Bench()
    W, _ = place(bench, sparse.named("bm"), np.array([[1, 0, 2], [0, 0, 0]]), "f32")
    bench.run("sp.build.f32", x=bench.put(np.array([1, np.inf, 3], np.float32)), n=3)
    y = bench.put(np.ones(2, np.float32))
    bench.run("sp.gemv.bm.f32", y=y, W=W, rows=2)
    assert bench.get(y, "f4", 2).tolist() == [7, 0]
    W, _ = place(bench, sparse.named("nm:2:2"), np.array([[1, 0]]), "f32")            # here the zero is stored
    bench.run("sp.build.f32", x=bench.put(np.array([1, np.inf], np.float32)), n=2)
    bench.run("sp.gemv.nm.f32", y=y, W=W, rows=1)
    assert bench.get(y, "u4", 1)[0] == 0x7FC0_0000


# ------------------------------------------------------------------------------------------------ to dense and back


@pytest.mark.parametrize("form", INTEGERS + FLOATS)
@pytest.mark.parametrize("name", NAMES)
def test_expand(name, form):
    layout = sparse.named(name)
    for seed, (height, width) in enumerate(SIZES):
        bench = Bench()
        dense = fitted(layout, matrix(form, height, width, 0.5, seed))
        W, packed = place(bench, layout, dense, form)
        bench.set(sp__cols=width)
        expected = FORMATS[form].pack(dense).tobytes()
        dst = bench.put(np.full(len(expected), 0xA5, np.uint8))
        done = bench.run(f"sp.expand.{layout.kind}.{form}", dst=dst, W=W, rows=height)
        assert bench.get(dst, "u1", len(expected)).tobytes() == expected
        stored = stored_of(layout, dense)
        expected_values = {"ops": 1, "values": stored, "weight_bytes": packed.values.size, "meta_bytes": described(packed),
                           "elements": height * width} | ({"values_float": stored} if form in FLOATS else {})
        assert sp_counts(done) == {key: count for key, count in expected_values.items() if count}


def test_expand_moves_bits_as_they_are():
    bench, bits = Bench(), np.array([0x7F80_0001, 0x8000_0000], np.uint32)
    bench.set(sp__cols=3, sp__meta=bench.put(np.array([0b101], np.uint8)))
    dst = bench.put(np.ones(3, np.float32))
    bench.run("sp.expand.bm.f32", dst=dst, W=bench.put(bits), rows=1)
    assert bench.get(dst, "u4", 3).tolist() == [0x7F80_0001, 0, 0x8000_0000]
    bench.run("sp.expand.bm.t2", dst=dst, W=bench.put(np.array([0b11_00], np.uint8)), rows=1)        # -1, and the spare code
    assert bench.get(dst, "u1", 1).tolist() == [0b11_01_00]


@pytest.mark.parametrize(("form", "block"), [("i8", 1), ("f16", 1), ("f32", 1), ("i8", 4), ("f32", 3), ("f16", 64)])
def test_compress(form, block):
    layout = sparse.named(f"bm:{block}" if block > 1 else "bm")
    for cols in (1, 7, 64, 129):
        for density in (0, 0.3, 1):
            bench = Bench()
            dense = matrix(form, 1, cols, density, cols)
            x, size = bench.put(FORMATS[form].pack(dense)), FORMATS[form].row_bytes(1)
            packed = layout.pack(dense, form)
            mask, values = bench.put(np.full(64, 0xA5, np.uint8)), bench.put(np.full(2048, 0xA5, np.uint8))
            bench.set(sp__cols=cols, sp__block=block)
            done = bench.run(f"sp.compress.bm.{form}", values=values, mask=mask, x=x)
            assert done.result == packed.values.size // size
            assert bench.get(values, "u1", packed.values.size + 1).tobytes() == packed.values.tobytes() + b"\xa5"
            assert bench.get(mask, "u1", packed.meta.size + 1).tobytes() == packed.meta.tobytes() + b"\xa5"
            counts = {"ops": 1, "elements": cols, "values": done.result, "values_float": done.result * (form != "i8")}
            assert sp_counts(done) == {key: count for key, count in counts.items() if count}


# ------------------------------------------------------------------------------------------------ traps

MALFORMED = [
    # layout,  columns, metadata of a row,    bytes of values, mtval, what is said
    ("nm:2:4", 4,       [0b01_01],            [1, 2],          1,     "expected rising places"),
    ("nm:2:4", 8,       [0b11_10_00_01],      [1, 2, 3, 4],    0,     "expected rising places"),
    ("nm:2:5", 5,       [0b110_001],          [1, 2],          6,     "place 6 in a group of 5 columns"),
    ("nm:2:4", 5,       [0b10_00_01_00],      [1, 2, 3, 4],    6,     "column 6 is not zero"),
    ("bm",     5,       [0b10_0001],          [1],             0x21,  "behind block 4"),
    ("bm:4",   5,       [0b11],               [1] * 8,         5,     "column 5 is not zero"),
]


LISTED = [
    # layout,  columns, columns or blocks, offsets,  bytes of values, mtval, what is said
    ("cs",     4,       [1, 1],            [0, 2],   2,               1,     "expected rising numbers"),
    ("cs",     4,       [2, 1],            [0, 2],   2,               1,     "column 1 stands behind 2"),
    ("cs",     4,       [4],               [0, 1],   1,               4,     "column 4 is beyond the last, 3"),
    ("bl:1x2", 4,       [2],               [0, 1],   2,               2,     "block column 2 is beyond the last, 1"),
    ("bl:1x2", 4,       [1, 0],            [0, 2],   4,               0,     "block column 0 stands behind 1"),
    ("bl:1x3", 4,       [1],               [0, 1],   3,               4,     "a value for row 0, column 4 is not zero"),
    ("bl:2x1", 4,       [1],               [0, 1],   2,               1,     "a value for row 1, column 1 is not zero"),
]


@pytest.mark.parametrize(("name", "cols", "listed", "offsets", "values", "wrong", "message"), LISTED)
def test_malformed_lists_trap_before_anything_is_written(name, cols, listed, offsets, values, wrong, message):
    layout, bench = sparse.named(name), Bench()
    settings(bench, layout)
    bench.set(sp__meta=bench.put(np.array(listed, np.uint16)), sp__offsets=bench.put(np.array(offsets, np.uint32)),
              sp__cols=cols, sp__scales=bench.put(np.ones(1, np.float32)))
    W, out = bench.put(np.ones(values, np.uint8)), bench.put(np.full(64, 7, np.uint8))
    build(bench, [1] * cols)
    for operation, target in (("mac", "acc"), ("gemv", "y"), ("expand", "dst")):
        operands = {"W": W, target: out, "rows": 1}
        assert message in refused(ILLEGAL, bench, f"sp.{operation}.{layout.kind}.i8", **operands)
        with pytest.raises(Trapped) as trapped:
            bench.run(f"sp.{operation}.{layout.kind}.i8", **operands)
        assert trapped.value.value == wrong


def test_offsets_that_fall_or_are_not_there():
    bench = Bench()
    build(bench, [1] * 4)
    bench.set(sp__meta=bench.put(np.zeros(8, np.uint8)), sp__offsets=bench.put(np.array([0, 1, 0], np.uint32)))
    operands = {"acc": bench.put(np.zeros(2, np.int32)), "W": bench.put(np.zeros(4, np.uint8)), "rows": 2}
    assert "offset 2 is 0, less than the one before, 1" in refused(ILLEGAL, bench, "sp.mac.cs.i8", **operands)
    bench.set(sp__offsets=bench.put(np.zeros(3, np.uint32)) + 2)
    refused(Cause.MISALIGNED_OPERAND, bench, "sp.mac.cs.i8", **operands)
    bench.set(sp__offsets=0)
    refused(Cause.LOAD_ACCESS, bench, "sp.mac.cs.i8", **operands)


@pytest.mark.parametrize("name", ["cs", "bl:2x3"])
def test_some_rows_of_a_matrix_are_a_matrix(name):
    layout, bench, dense = sparse.named(name), Bench(), matrix("i8", 12, 17, 0.4, 1)
    W, packed = place(bench, layout, dense, "i8")
    step, run = getattr(layout, "block_rows", 1), getattr(layout, "block_rows", 1) * getattr(layout, "block", 1)
    ahead, x = int(packed.offsets[4 // step]), np.arange(17) - 8
    bench.set(sp__offsets=bench.m.csr("sp.offsets") + 16 // step, sp__meta=bench.m.csr("sp.meta") + 2 * ahead)
    build(bench, x)
    acc = bench.put(np.zeros(6, np.int32))
    bench.run(f"sp.mac.{layout.kind}.i8", acc=acc, W=W + run * ahead, rows=6)
    assert bench.get(acc, "i4", 6).tolist() == (dense[4:10].astype(int) @ x).tolist()


def test_rows_of_blocks_lie_below_one_another():
    """By hand: two blocks of 2 x 2 beside each other, one below them whose second row is padding."""
    bench = Bench()
    bench.set(sp__block_rows=2, sp__block=2, sp__meta=bench.put(np.array([0, 1, 1], np.uint16)),
              sp__offsets=bench.put(np.array([0, 2, 3], np.uint32)))
    build(bench, [1, 10, 100, 50])
    acc = bench.put(np.zeros(3, np.int32))
    bench.run("sp.mac.bl.i8", acc=acc, W=bench.put(np.array([1, 2, 3, 4, 5, 6, 7, 8, 9, -1, 0, 0], np.int8)), rows=3)
    assert bench.get(acc, "i4", 3).tolist() == [1 + 20 + 500 + 300, 3 + 40 + 700 + 400, 900 - 50]


@pytest.mark.parametrize(("name", "cols", "meta", "values", "wrong", "message"), MALFORMED)
def test_malformed_metadata_traps_before_anything_is_written(name, cols, meta, values, wrong, message):
    layout, bench = sparse.named(name), Bench()
    place(bench, layout, np.zeros((1, cols), np.int8), "i8")
    bench.set(sp__meta=bench.put(np.array(meta, np.uint8)), sp__cols=cols, sp__scales=bench.put(np.ones(1, np.float32)))
    W, out = bench.put(np.array(values, np.uint8)), bench.put(np.full(64, 7, np.uint8))
    build(bench, [1] * cols)
    for operation, target in (("mac", "acc"), ("gemv", "y"), ("expand", "dst")):
        operands = {"W": W, target: out, "rows": 1}
        assert message in refused(ILLEGAL, bench, f"sp.{operation}.{layout.kind}.i8", **operands)
        with pytest.raises(Trapped) as trapped:
            bench.run(f"sp.{operation}.{layout.kind}.i8", **operands)
        assert trapped.value.value == wrong
    build(bench, [1])
    assert message in refused(ILLEGAL, bench, f"sp.macT.{layout.kind}.i8", acc=out, W=W, cols=cols)


def test_settings_that_are_no_layout():
    bench = Bench()
    build(bench, [1] * 4)
    for value in (0, 0x0400, 0x0405, 0x1101, 0x0001):
        bench.set(sp__nm=value)
        assert "expected 1 <= N <= M <= 16" in refused(ILLEGAL, bench, "sp.mac.nm.i8", acc=bench.free, W=bench.free, rows=0)
    for value in (0, 65_537, 1 << 63):
        bench.set(sp__block=value)
        for kind in ("bm", "bl"):
            assert "expected 1..65536" in refused(ILLEGAL, bench, f"sp.mac.{kind}.i8", acc=bench.free, W=bench.free, rows=0)
    for value in (0, 65, 1 << 63):
        bench.set(sp__block_rows=value)
        assert "expected 1..64" in refused(ILLEGAL, bench, "sp.mac.bl.i8", acc=bench.free, W=bench.free, rows=0)
    bench.set(sp__cols=(1 << 28) + 1, sp__block=1)
    assert "expected at most 2**28" in refused(ILLEGAL, bench, "sp.expand.bm.i8", dst=bench.free, W=bench.free, rows=0)
    bench.set(sp__shift=32)
    assert "sp.shift is 32" in refused(ILLEGAL, bench, "sp.mac.bm.i8", acc=bench.free, W=bench.free, rows=0)


def test_the_vector_has_to_be_there_and_of_the_right_kind():
    bench = Bench()
    operands = {"W": bench.free, "rows": 0}
    assert "sp.build.i8 must come first" in refused(ILLEGAL, bench, "sp.mac.bm.i8", acc=bench.free, **operands)
    assert "sp.build.f32 must come first" in refused(ILLEGAL, bench, "sp.gemv.bm.f32", y=bench.free, **operands)
    build(bench, [1, 2])
    assert "sp.build.f32 must come first" in refused(ILLEGAL, bench, "sp.gemv.bm.f16", y=bench.free, **operands)
    bench.run("sp.build.f32", x=bench.put(np.ones(2, np.float32)), n=2)
    assert "sp.build.i8 must come first" in refused(ILLEGAL, bench, "sp.gemv.bm.i8", y=bench.free, **operands)
    most = bench.m.parameter("sp.activations")
    refused(Cause.CAPACITY, bench, "sp.build.i8", x=bench.free, scale=bench.free, n=most + 1)
    refused(Cause.CAPACITY, bench, "sp.build.f32", x=bench.free, n=most + 1)


def test_groups_that_differ():
    bench = Bench()
    build(bench, [1] * 8, [1, 2], 4)
    bench.set(sp__scale_group=8)
    assert "built with groups of 4" in refused(ILLEGAL, bench, "sp.gemv.bm.i8", y=bench.free, W=bench.free, rows=1)


def test_addresses_that_are_refused():
    bench = Bench(flash=bytes(4096))
    build(bench, [1] * 8)
    acc = bench.put(np.zeros(4, np.int32))
    bench.set(sp__meta=0)
    refused(Cause.LOAD_ACCESS, bench, "sp.mac.bm.i8", acc=acc, W=acc, rows=1)
    bench.set(sp__meta=bench.put(np.full(8, 0xFF, np.uint8)))
    refused(Cause.LOAD_ACCESS, bench, "sp.mac.bm.i8", acc=acc, W=0, rows=1)
    refused(Cause.STORE_ACCESS, bench, "sp.mac.bm.i8", acc=FLASH, W=acc, rows=1)
    bench.set(sp__cols=8)
    refused(Cause.STORE_ACCESS, bench, "sp.expand.bm.i8", dst=FLASH, W=acc, rows=1)
    refused(Cause.MISALIGNED_OPERAND, bench, "sp.expand.bm.f32", dst=acc + 2, W=acc, rows=1)
    refused(Cause.MISALIGNED_OPERAND, bench, "sp.expand.bm.f16", dst=acc, W=acc + 1, rows=1)
    refused(Cause.STORE_ACCESS, bench, "sp.compress.bm.i8", values=FLASH, mask=acc, x=bench.put(np.ones(8, np.int8)))
    refused(Cause.STORE_ACCESS, bench, "sp.compress.bm.i8", values=acc, mask=0, x=bench.put(np.ones(8, np.int8)))


def test_nothing_happens_with_no_rows_or_no_columns():
    bench = Bench()
    nowhere = {"W": 1}
    for n in (0, 5):
        build(bench, [1] * n) if n else bench.run("sp.build.i8", x=1, scale=1, n=0)
        for mnemonic, operands in (("sp.mac.bm.i8", {"acc": 1, "rows": 0}), ("sp.macT.nm.i8", {"acc": 1, "cols": 0}),
                                   ("sp.gemv.nm.i4", {"y": 1, "rows": 0}), ("sp.expand.bm.t2", {"dst": 1, "rows": 0})):
            assert bench.run(mnemonic, **operands, **nowhere).counts == {"core.instructions": 1, "sp.ops": 1}
    bench.run("sp.build.i8", x=1, scale=1, n=0)
    acc, y = bench.put(np.array([5], np.int32)), bench.put(np.ones(1, np.float32))
    bench.run("sp.mac.bm.i8", acc=acc, W=1, rows=1)
    bench.run("sp.gemv.bm.i8", y=y, W=1, rows=1)
    assert bench.get(acc, "i4", 1)[0] == 5 and bench.get(y, "u4", 1)[0] == 0
    bench.set(sp__cols=0)
    assert bench.run("sp.expand.bm.i8", dst=1, W=1, rows=3).counts == {"core.instructions": 1, "sp.ops": 1}
    done = bench.run("sp.compress.bm.f32", values=1, mask=1, x=1)
    assert done.result == 0 and done.counts == {"core.instructions": 1, "sp.ops": 1}


# ------------------------------------------------------------------------------------------------ the encoding


def test_the_map_of_the_encoding():
    """Layout and format make a number, five bits; the operation is the two bits above it."""
    places = {name: (row.fixed["opcode"], row.fixed["funct3"], row.fixed.get("funct7", row.fixed.get("funct2")))
              for name, row in TABLE.items() if row.unit == "sp"}
    assert len(places) == len([*rows("sp")]) == len(set(places.values()))
    assert places["sp.mac.nm.i8"] == (0x2B, 7, 0) and places["sp.mac.bm.t2"] == (0x2B, 7, 7)
    assert places["sp.macT.nm.i4"] == (0x2B, 7, 0x21) and places["sp.gemv.nm.f32"] == (0x2B, 7, 0x44)
    assert places["sp.expand.bm.f16"] == (0x2B, 7, 0x68) and places["sp.build.f32"] == (0x2B, 7, 0x1E)
    assert places["sp.mac.bl.i8"] == (0x2B, 7, 10) and places["sp.gemv.cs.f32"] == (0x2B, 7, 0x53)
    assert places["sp.build.i8"] == (0x5B, 7, 0) and places["sp.compress.bm.f32"] == (0x5B, 7, 3)
    assert {number(kind, form) for kind in sparse.KINDS for form in INTEGERS + FLOATS} == set(range(25))


# ------------------------------------------------------------------------------------------------ several vectors


@pytest.mark.parametrize("mnemonic", [name for name in TABLE if name.startswith(("sp.mac.", "sp.macT.", "sp.gemv."))])
def test_several_vectors_are_several_operations_that_read_their_matrix_once(mnemonic):
    _, operation, kind, form = mnemonic.split(".")
    layout = sparse.named({"nm": "nm:2:4", "bm": "bm", "cs": "cs", "bl": "bl:2x3"}[kind])
    for seed, (vectors, height, width, group, gap) in enumerate(
            ((2, 5, 16, 0, 0), (3, 2, 129, 16, 12), (5, 1, 7, 0, 4), (4, 3, 64, 16, 0))):
        bench, rng = Bench(), np.random.default_rng(seed)
        dense = fitted(layout, matrix(form, height, width, 0.5, seed))
        W, _ = place(bench, layout, dense, form)
        length, outputs = (height, width) if operation == "macT" else (width, height)
        floats, groups = form in FLOATS, -(-length // group) if group else 1
        x = rng.standard_normal((vectors, length)).astype(np.float32) if floats else rng.integers(
            -128, 128, (vectors, length)).astype(np.int8)
        scales = rng.standard_normal((vectors, groups)).astype(np.float32)
        before = rng.integers(-1 << 31, 1 << 31, (vectors, outputs)).astype(np.int32)
        w_scales = bench.put(rng.standard_normal(outputs * groups).astype(np.float32))
        bench.set(sp__scale_group=group, sp__shift=seed, sp__scales=w_scales)

        def run(codes, scales, results, bench=bench, W=W, outputs=outputs, length=length, gap=gap, floats=floats):
            """(results of each vector, counts of the build, counts of the product) of one or several vectors."""
            def put(array):
                rows = array.view(np.uint8).reshape(len(array), -1)
                return bench.put(np.pad(rows, ((0, 0), (0, gap)), constant_values=0xEE).reshape(-1)), rows.shape[1] + gap

            (x_at, x_step), (s_at, s_step), (y_at, y_step) = map(put, (codes, scales, results))
            bench.set(sp__vectors=len(codes), sp__codes_stride=gap and x_step, sp__scale_stride=gap and s_step,
                      sp__result_stride=gap and y_step)
            built = (bench.run("sp.build.f32", x=x_at, n=length) if floats else
                     bench.run("sp.build.i8", x=x_at, scale=s_at, n=length))
            given = {"W": W, "rows": outputs, "cols": outputs, "y": y_at, "acc": y_at}
            done = bench.run(mnemonic, **{operand.name: given[operand.name] for operand in TABLE[mnemonic].operands})
            return bench.get(y_at, "u1", len(results) * y_step).reshape(len(results), y_step), built.counts, done.counts

        together, built, counts = run(x, scales, before)
        apart = [run(x[v:v + 1], scales[v:v + 1], before[v:v + 1]) for v in range(vectors)]
        assert together.tolist() == [part[0].tolist() for part, *_ in apart]
        once = {"sp.ops", "core.instructions", "sp.weight_bytes", "sp.meta_bytes"}
        again = counts["sp.weight_bytes"] + counts["sp.meta_bytes"]
        again += 4 * (outputs * groups if group else 1) if operation == "gemv" and not floats else 0
        for part_of, total in ((1, built), (2, counts)):
            for event in {name for part in apart for name in part[part_of]} | total.keys():
                parts = [part[part_of].get(event, 0) for part in apart]
                more = again if part_of == 2 and event == "sram.bytes_read" else 0
                assert total.get(event, 0) == (parts[0] if event in once else sum(parts) - (vectors - 1) * more), event


def test_vectors_together_fill_the_unit_and_no_more():
    bench = Bench()
    n = bench.m.parameter("sp.activations") // 4
    x, scale = bench.put(np.zeros(4 * n, np.int8)), bench.put(np.zeros(4, np.float32))
    bench.set(sp__vectors=4)
    bench.run("sp.build.i8", x=x, scale=scale, n=n)
    bench.set(sp__vectors=5)
    for name, operands in (("sp.build.i8", {"x": x, "scale": scale, "n": n}), ("sp.build.f32", {"x": x, "n": n})):
        assert refused(Cause.CAPACITY, bench, name, **operands) == (
            f"{5 * n} activations (5 x {n}); the unit of this machine holds {4 * n} (sp.activations)")
