"""sp: every kernel against its meaning, on both engines at once: layouts, densities, odd sizes, and metadata of any bytes."""

import numpy as np
import pytest
from both_engines import DRAM, FLASH, SRAM, Pair

from isa import sparse
from isa.instruction import TABLE
from isa.numbers import FORMATS
from isa.traps import Cause

CHOICES = {"nm": ("nm:2:4", "nm:1:4", "nm:4:8", "nm:2:8", "nm:1:16", "nm:8:16", "nm:3:5", "nm:1:1", "nm:4:4", "nm:16:16"),
           "bm": ("bm", "bm", "bm:4", "bm:2", "bm:3", "bm:16", "bm:64"),
           "bl": ("bl:1x1", "bl:2x2", "bl:16x1", "bl:1x16", "bl:3x5", "bl:8x16"),
           "cs": ("cs",)}
LENGTHS = (0, 1, 3, 4, 15, 16, 17, 63, 64, 65, 127, 128, 200, 256, 320, 511, 512, 640, 1000, 1100)
DENSITIES = (0, 0.05, 0.3, 0.5, 0.9, 1)
VECTORS = (0, 0, 1, 2, 3, 7)
RUNS = 40
SP = [row.mnemonic for row in TABLE.values() if row.unit == "sp"]
PRODUCTS = [name for name in SP if name.split(".")[1] in ("mac", "macT", "gemv")]


@pytest.fixture(scope="module")
def pair():
    return Pair("slim")


def matrix(rng, form, rows, cols):
    """A dense matrix of a random density."""
    if form in ("f16", "f32"):
        dense = rng.standard_normal((rows, cols)).astype(np.float16).astype(np.float32)
    else:
        held = FORMATS[form].held
        dense = rng.integers(held[0], held[-1] + 1, (rows, cols)).astype(np.int8)
    dense[rng.random((rows, cols)) >= rng.choice(DENSITIES)] = 0
    return dense


def fitting(layout, dense):
    """The matrix with as many zeros as the layout needs."""
    if layout.kind != "nm":
        return dense
    rows, cols = dense.shape
    groups = np.pad(dense, ((0, 0), (0, -cols % layout.m))).reshape(rows, layout.groups(cols), layout.m)
    kept = np.where(np.cumsum(groups != 0, axis=2) > layout.n, 0, groups).reshape(rows, layout.groups(cols) * layout.m)
    return kept[:, :cols].astype(dense.dtype)


def setting(layout):
    """The CSRs that say a layout."""
    match layout:
        case sparse.NOfM(n, m):
            return {"sp.nm": n | m << 8}
        case sparse.RByC(rows, block):
            return {"sp.block_rows": rows, "sp.block": block}
    return {"sp.block": layout.block} if layout.kind == "bm" else {}


def vector(rng, pair, length, group=0, floats=False, built=0):
    """Put vectors into the unit's state, 0: one. How many there are."""
    vectors = max(built, 1)
    count, n = vectors * (-(-length // group) if group else min(length, 1)), vectors * length
    x = rng.choice([-128, 127], n) if rng.random() < 0.2 else rng.integers(-128, 128, n)
    y = rng.standard_normal(n).astype(np.float32)
    if n and rng.random() < 0.1:
        y[rng.integers(n)] = rng.choice([np.nan, np.inf, -0.0, 1e-40])
    pair.start_state = {
        "sp.kind": np.array([2 if floats else 1], "u1"), "sp.length": np.array([length], "u8"), "sp.activations": x.astype("i1"),
        "sp.built_vectors": np.array([built], "u8"), "sp.x_group": np.array([group], "u8"),
        "sp.scales": rng.standard_normal(count).astype("f4"), "sp.vector": y}
    return vectors


def placed(rng, pair, packed, where=None):
    """Put a packed matrix into memory at odd addresses: the operand W."""
    place = int(rng.choice([SRAM + 0x8000, DRAM + 0x8000])) if where is None else where
    size = max(int(FORMATS[packed.form].bits) // 8, 1)
    W = place + size * int(rng.integers(0, 5))
    pair.place(W, packed.values)
    meta = place + 0x4_0000 + int(rng.integers(0, 7))
    pair.place(meta, packed.meta)
    pair.set(**{"sp.meta": meta})
    if packed.offsets is not None:
        offsets = place + 0x5_8000 + 4 * int(rng.integers(0, 5))
        pair.place(offsets, packed.offsets)
        pair.set(**{"sp.offsets": offsets})
    return W


def described(packed):
    """Bytes of metadata and offsets."""
    return packed.bytes - packed.values.size


@pytest.mark.parametrize("name", PRODUCTS)
def test_products(pair, name):
    products(pair, name, RUNS)


def products(pair, name, runs):
    """A product of random matrices, some times, its counters against what a packer has made of the matrix."""
    rng = np.random.default_rng(sum(map(ord, name)))
    _, operation, kind, form = name.split(".")
    for _ in range(runs):
        pair.fresh()
        layout = sparse.named(str(rng.choice(CHOICES[kind])))
        length, others = int(rng.choice(LENGTHS)), int(rng.choice([0, 1, 2, 3, 5, 17, 40]))
        group = int(rng.choice([0, 0, 5, 16, 64, 128])) if operation == "gemv" else 0
        w_group = int(rng.choice([0, group]))
        vectors = vector(rng, pair, length, int(rng.choice([0, group])) if w_group else group, form in ("f16", "f32"),
                         int(rng.choice(VECTORS)))
        shape = (length, others) if operation == "macT" else (others, length)
        packed = layout.pack(fitting(layout, matrix(rng, form, *shape)), form)
        W = placed(rng, pair, packed)
        groups = -(-length // w_group) if w_group else min(length, 1)
        scales = pair.put(rng.standard_normal(max(others * groups, 1)).astype("<f4"))
        pair.set(**setting(layout), **{"sp.shift": int(rng.choice([0, 1, 31])), "sp.scale_group": w_group, "sp.scales": scales})
        stride = 4 * (others + int(rng.choice([0, 3])))
        pair.set(**{"sp.result_stride": stride if stride > 4 * others else int(rng.choice([0, stride]))})
        target = pair.put(rng.integers(-1 << 31, 1 << 31, max(vectors * stride // 4, 1)).astype("<i4"))
        names = {"mac": ("acc", "rows"), "macT": ("acc", "cols"), "gemv": ("y", "rows")}[operation]
        done = pair.run(name, **{names[0]: target, "W": W, names[1]: others})
        assert done.trap is None
        counts = {key.removeprefix("sp."): value for key, value in done.counts.items() if key.startswith("sp.")}
        if length and others:
            assert counts.get("macs", 0) + counts.get("macs_skipped", 0) == vectors * length * others
            assert counts.get("values", 0) == counts.get("macs", 0) + counts.get("zeros_stored", 0)
            assert counts.get("weight_bytes", 0) == packed.values.size and counts.get("meta_bytes", 0) == described(packed)
        else:
            assert set(counts) == {"ops"}


@pytest.mark.parametrize("name", [name for name in SP if name.startswith("sp.expand")])
def test_expand(pair, name):
    rng = np.random.default_rng(sum(map(ord, name)))
    _, _, kind, form = name.split(".")
    for _ in range(RUNS):
        pair.fresh()
        layout = sparse.named(str(rng.choice(CHOICES[kind])))
        rows, cols = int(rng.choice([0, 1, 2, 7])), int(rng.choice(LENGTHS))
        dense = fitting(layout, matrix(rng, form, rows, cols))
        packed = layout.pack(dense, form)
        W = placed(rng, pair, packed)
        pair.set(**setting(layout), **{"sp.cols": cols})
        done = pair.run(name, dst=SRAM + 64, W=W, rows=rows)
        assert done.trap is None
        size = rows * FORMATS[form].row_bytes(cols)
        assert pair.fast.peek(SRAM + 64, size).tobytes() == FORMATS[form].pack(dense).tobytes()


@pytest.mark.parametrize("name", [name for name in SP if name.startswith("sp.compress")])
def test_compress(pair, name):
    rng = np.random.default_rng(sum(map(ord, name)))
    form = name.rpartition(".")[2]
    for _ in range(RUNS):
        pair.fresh()
        layout = sparse.named(str(rng.choice(CHOICES["bm"])))
        cols = int(rng.choice(LENGTHS))
        dense = matrix(rng, form, 1, cols)
        x = pair.put(FORMATS[form].pack(dense))
        pair.set(**setting(layout), **{"sp.cols": cols})
        done = pair.run(name, values=SRAM + 0x8000, mask=SRAM + 0x6001, x=x)
        packed = layout.pack(dense, form)
        assert pair.fast.peek(SRAM + 0x8000, packed.values.size).tobytes() == packed.values.tobytes()
        assert pair.fast.peek(SRAM + 0x6001, packed.meta.size).tobytes() == packed.meta.tobytes()
        assert done.result == packed.values.size // FORMATS[form].row_bytes(1)


@pytest.mark.parametrize("name", [name for name in SP if "build" not in name and "compress" not in name and ".rl." not in name])
def test_metadata_of_any_bytes(pair, name):
    """Most is malformed. Both engines trap alike, with nothing written, or do the same."""
    rng = np.random.default_rng(sum(map(ord, name)))
    _, operation, kind, form = name.split(".")
    trapped = 0
    for _ in range(RUNS):
        pair.fresh()
        layout = sparse.named(str(rng.choice(CHOICES[kind])))
        length, others = int(rng.choice([1, 3, 8, 17, 64, 70])), int(rng.choice([1, 2, 3]))
        rows, cols = (length, others) if operation == "macT" else (others, length)
        vector(rng, pair, length, 0, form in ("f16", "f32"))
        packed = layout.pack(fitting(layout, matrix(rng, form, rows, cols)), form)
        meta = packed.meta.copy()
        if rng.random() < 0.4:
            meta = rng.integers(0, 256, max(layout.meta_bytes(rows, cols), 64)).astype(np.uint8)
        elif meta.size:                     # sound, but for a byte
            meta[rng.integers(meta.size)] ^= 1 << rng.integers(8)
        if packed.offsets is not None:
            offsets = packed.offsets.copy()
            if rng.random() < 0.3:
                offsets[rng.integers(offsets.size)] += rng.choice([1, 2, 1 << 31])
            pair.place(SRAM + 0x2000, offsets)
        values = rng.integers(0, 256, 4 * (rows + 64) * (cols + 64)).astype(np.uint8)
        W = SRAM + 0x8000
        pair.place(W, values)
        pair.place(SRAM + 0x4000, meta)
        pair.set(**setting(layout), **{"sp.meta": SRAM + 0x4000, "sp.cols": cols, "sp.scales": SRAM + 0x1000,
                                       "sp.offsets": SRAM + 0x2000})
        operands = {"mac": {"acc": SRAM + 64, "rows": others}, "macT": {"acc": SRAM + 64, "cols": others},
                    "gemv": {"y": SRAM + 64, "rows": others}, "expand": {"dst": SRAM + 64, "rows": rows}}[operation]
        done = pair.run(name, **operands, W=W, inline=False)
        trapped += done.trap is not None
        assert done.trap is None or done.trap.cause in (Cause.ILLEGAL_OPERAND, Cause.LOAD_ACCESS)
    assert trapped > 2


def test_builds(pair):
    rng = np.random.default_rng(1)
    for n in (0, 1, 17, 300):
        for group in (0, 5, 1 << 63):
            pair.fresh()
            for vectors, gap in ((0, 0), (1, 0), (3, 0), (3, 8)):
                pair.set(**{"sp.scale_group": group, "sp.vectors": vectors, "sp.codes_stride": gap and n + gap,
                            "sp.scale_stride": gap and 4 * n + gap})
                x = pair.put(rng.integers(-128, 128, 3 * (n + 9)).astype(np.int8))
                assert pair.run("sp.build.i8", x=x, scale=pair.put(rng.random(3 * (n + 9)).astype("<f4")), n=n).trap is None
                pair.set(**{"sp.codes_stride": gap and 4 * n + gap})
                assert pair.run("sp.build.f32", x=pair.put(rng.random(3 * (n + 9)).astype("<f4")), n=n).trap is None


def test_weights_in_flash_and_at_the_end_of_a_region():
    """What is fixed may be remembered, by whichever instruction comes first; nothing behind the last byte is read."""
    rng = np.random.default_rng(2)
    for name, form in (("bm", "i8"), ("bm:3", "i8"), ("bm", "i4"), ("nm:2:4", "i8"), ("bm", "f32"), ("nm:4:8", "f16"),
                       ("nm:4:8", "i8"), ("nm:2:8", "i8"), ("cs", "i8"), ("bl:3x2", "i4")):
        layout = sparse.named(name)
        packed = layout.pack(fitting(layout, matrix(rng, form, 40, 40)), form)
        offsets = b"" if packed.offsets is None else packed.offsets.tobytes()
        values = packed.values.tobytes() + bytes(-packed.values.size % 4)
        pair = Pair("slim", flash=offsets + values + packed.meta.tobytes())
        vector(rng, pair, 40, 0, form in ("f16", "f32"))
        at = FLASH + len(offsets)
        pair.set(**setting(layout), **{"sp.meta": at + len(values), "sp.cols": 40, "sp.offsets": FLASH})
        pair.set(**{"sp.scales": pair.put(np.ones(1, "<f4"))})
        out = pair.put(np.zeros(40, "<i4"))
        for operation in ("mac", "gemv", "macT", "expand", "mac", "gemv", "macT", "gemv"):
            mnemonic = f"sp.{operation}.{layout.kind}.{form}"
            target = {"gemv": "y", "expand": "dst"}.get(operation, "acc")
            if mnemonic in SP:
                place = SRAM + 0x4000 if operation == "expand" else out
                done = pair.run(mnemonic, **{target: place, "W": at, "cols" if operation == "macT" else "rows": 40})
                assert done.trap is None
