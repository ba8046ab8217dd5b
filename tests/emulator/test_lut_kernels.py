"""lut: every kernel against its meaning, on both engines at once, at the sizes where vector code changes its ways."""


import numpy as np
import pytest
from both_engines import DRAM, FLASH, SRAM, Pair
from machine_files import with_cores

from isa.instruction import TABLE
from isa.numbers import FORMATS
from isa.program import Program, Section

FORMAT_NAMES = ("b1", "t2", "t5", "i2", "i3", "i4", "i8", "c2", "c3", "c4")
LENGTHS = (0, 1, 3, 4, 17, 63, 64, 65, 127, 128, 200, 256, 257, 320, 511, 512, 640, 1000, 1100)
GROUPS = (0, 5, 16, 20, 32, 64, 96, 128, 256, 512, 1 << 63)
VECTORS = (0, 1, 1, 2, 3, 4, 5, 8, 9, 13)
RUNS = 25                                               # of each instruction


@pytest.fixture(params=[1, 4], ids=lambda count: f"cores_{count}", scope="module")
def pair(request):
    return Pair(with_cores(request.param))


def scales_of(n, group):
    return -(-n // group) if group else min(n, 1)


def numbers(rng, count):
    """fp32 scales, once in a while a strange one."""
    scales = rng.standard_normal(max(count, 1)).astype(np.float32)
    if rng.random() < 0.2:
        scales[rng.integers(len(scales))] = rng.choice([np.nan, np.inf, -np.inf, -0.0, 3e38, 1e-40])
    return scales


def packed(rng, name, rows, cols):
    """Bytes of a matrix (rows, row_bytes): any bytes at all, or mostly zeros with anything behind the end of a row."""
    fmt = FORMATS[name]
    data = rng.integers(0, 256, (rows, fmt.row_bytes(cols)), np.uint8)
    if name == "b1" or rng.random() < 0.4:
        return data
    values = np.minimum(fmt.unpack(data, cols), 1) if name in ("t2", "t5") else fmt.unpack(data, cols)
    values[rng.random(values.shape) < rng.choice([0.5, 0.9, 1.0])] = 0
    sparse = fmt.pack(values)
    if sparse.size and name in ("t2", "i2", "i4", "c2", "c4"):
        used = cols % (8 // int(fmt.bits)) * int(fmt.bits)
        if used:
            sparse[:, -1] |= (rng.integers(0, 256, rows) & (0xFF << used) & 0xFF).astype(np.uint8)
    return sparse


def build(pair, rng, length, x_group, binary, built=0):
    """Put activations, scales and codebooks into the unit's state: of `built` vectors, 0: one."""
    extremes, n = [-1, 1] if binary else [-128, 127], max(built, 1) * length
    x = rng.choice(extremes, n) if binary or rng.random() < 0.2 else rng.integers(-128, 128, n)
    book = rng.integers(-128, 128, 16)
    book[rng.integers(0, 16, 3)] = 0
    pair.start_state = {
        "lut.kind": np.array([2 if binary else 1], "u1"), "lut.length": np.array([length], "u8"), "lut.activations": x.astype("i1"),
        "lut.built_vectors": np.array([built], "u8"), "lut.x_group": np.array([x_group], "u8"),
        "lut.scales": numbers(rng, max(built, 1) * scales_of(length, x_group)),
        "lut.codebook_i8": book.astype("i1"), "lut.codebook_f32": numbers(rng, 16)}


def place(pair, rng, data):
    """Place weights with some stride, often so that they end with the scratchpad. Returns their address."""
    rows, size = data.shape
    stride = rng.choice([0, size, size + rng.integers(1, 70)])
    if stride:
        wide = rng.integers(0, 256, (rows, stride), np.uint8)
        wide[:, :size] = data
        data = wide.reshape(-1)[:(rows - 1) * stride + size if rows else 0]
    pair.set(lut__row_stride=int(stride))
    if rng.random() < 0.4:
        address = pair.reference.preset.region("sram").end - data.size
        pair.place(address, data)
        return address
    return pair.put(data, gap=int(rng.integers(0, 16)))


def results(pair, rng, vectors, outputs, dtype):
    """Place results of each vector with some stride between them. Returns their address."""
    stride = 4 * int(outputs + rng.choice([0, rng.integers(1, 40)]))
    pair.set(lut__result_stride=int(rng.choice([0, stride])) if stride == 4 * outputs else stride)
    return pair.put(rng.integers(-1 << 31, 1 << 31, vectors * stride // 4).astype("<i4").view(dtype))


def one_product(pair, operation, name, seed):
    rng = np.random.default_rng([seed, FORMAT_NAMES.index(name)])
    pair.fresh()
    length, other = int(rng.choice(LENGTHS)), int(rng.integers(0, 10))
    group = int(rng.choice(GROUPS))
    w_group, x_group = [(0, 0), (group, group), (0, group), (group, 0)][rng.integers(4)] if operation == "gemv" else (0, 3)
    built = int(rng.choice(VECTORS))
    vectors = max(built, 1)
    build(pair, rng, length, x_group, rng.random() < (0.5 if operation == "xnor" else 0.1), built)
    pair.set(lut__mode=int(rng.choice([0, 0, 0, 1, 2])), lut__shift=int(rng.integers(32)), lut__scale_group=w_group,
             lut__pairs=int(rng.integers(2)))
    if operation == "macT":
        other = int(rng.choice(LENGTHS))
        acc = results(pair, rng, vectors, other, "<i4")
        pair.run(f"lut.macT.{name}", acc=acc, W=place(pair, rng, packed(rng, name, length, other)), cols=other)
        return
    W = place(pair, rng, packed(rng, name, other, length))
    if operation == "gemv":
        scale = pair.put(numbers(rng, other * scales_of(length, w_group or x_group)))
        pair.run(f"lut.gemv.{name}", y=results(pair, rng, vectors, other, "<f4"), W=W, scale=scale, rows=other)
        return
    acc = results(pair, rng, vectors, other, "<i4")
    pair.run("lut.xnor" if operation == "xnor" else f"lut.mac.{name}", acc=acc, W=W, rows=other)


@pytest.mark.parametrize("name", FORMAT_NAMES)
@pytest.mark.parametrize("operation", ["mac", "macT", "gemv"])
def test_products(pair, operation, name):
    for seed in range(RUNS):
        one_product(pair, operation, name, seed)


@pytest.mark.parametrize("name", FORMAT_NAMES)
def test_many_vectors(pair, name):
    """Whole tiles of rows and vectors, and what is left of them, for each format; rows that end with memory too."""
    for seed, (rows, vectors) in enumerate(((1, 6), (16, 16), (31, 17), (32, 64), (33, 32), (75, 33), (64, 7), (40, 49))):
        rng = np.random.default_rng([seed, FORMAT_NAMES.index(name)])
        pair.fresh()
        length = int(rng.choice([length for length in LENGTHS[4:] if length * vectors <= 65536]))     # what the unit holds
        build(pair, rng, length, 0, False, vectors)
        W = place(pair, rng, packed(rng, name, rows, length))
        pair.run(f"lut.mac.{name}", acc=results(pair, rng, vectors, rows, "<i4"), W=W, rows=rows)
        w_group = int(rng.choice([0, length]))
        pair.set(lut__scale_group=w_group)
        scale = pair.put(numbers(rng, rows if w_group else 1))
        pair.run(f"lut.gemv.{name}", y=results(pair, rng, vectors, rows, "<f4"), W=W, scale=scale, rows=rows)


@pytest.mark.parametrize("cores", [1, 5])
@pytest.mark.parametrize("name", FORMAT_NAMES)
def test_read_only_weights_are_counted_once_and_for_all(name, cores):
    """The same matrix again and again, and others that share its address: what is remembered must be the right thing."""
    rng = np.random.default_rng(FORMAT_NAMES.index(name))
    rows, cols = 24, 500
    weights = packed(rng, name, rows, cols)
    pair, size = Pair(with_cores(cores), flash=weights.tobytes()), weights.shape[1]
    build(pair, rng, cols, 0, False)
    acc = pair.put(rng.integers(-1 << 31, 1 << 31, rows).astype("<i4"))
    scale = pair.put(numbers(rng, rows))
    for count, stride, start in ((24, 0, 0), (24, 0, 0), (12, 2 * size, 0), (24, 0, 0), (7, 0, 0), (12, 2 * size, size), (7, 0, 0)):
        pair.set(lut__row_stride=stride)
        for mode in (0, 1, 2, 0):                               # what is counted in one is not that of another
            pair.set(lut__mode=mode)
            pair.run(f"lut.mac.{name}", acc=acc, W=FLASH + start, rows=count)
        pair.run(f"lut.gemv.{name}", y=acc, W=FLASH + start, scale=scale, rows=count)
    build(pair, rng, 480, 0, False)
    pair.set(lut__row_stride=size)
    pair.run(f"lut.mac.{name}", acc=acc, W=FLASH, rows=24)
    other = packed(rng, name, rows, cols)
    program = Program([Section(".text", "ax", DRAM, 4, [bytes(4096)]), Section(".weights", "a", FLASH, 4096, [other.tobytes()])],
                      [], [], DRAM)
    for each in pair.machines:
        each.memory = type(each.memory)(each.preset)
        each.load(program)
    sram = [each.peek(SRAM, 4 * rows) for each in pair.machines]
    for each in pair.machines:                                  # another program on the same machine: other weights there
        each.x[10:13] = [SRAM, FLASH, rows]
        each.peek(DRAM, 4).view("<u4")[0] = TABLE[f"lut.mac.{name}"].encode({"acc": 10, "W": 11, "rows": 12})
    pair.fast.code_changed(DRAM, 4)
    for each in pair.machines:
        each.run(max_instructions=1)
    assert np.array_equal(*sram) and np.array_equal(pair.reference.counts, pair.fast.counts)


@pytest.mark.parametrize("name", FORMAT_NAMES)
def test_buffer_mode(pair, name):
    """Two activations a step: rows that end anywhere in eight bytes, with one vector and several."""
    for seed in range(RUNS):
        rng = np.random.default_rng(seed)
        pair.fresh()
        length, rows, built = int(rng.choice([*LENGTHS, *range(30)])), int(rng.integers(0, 10)), int(rng.choice(VECTORS))
        build(pair, rng, length, 0, False, built)
        pair.set(lut__mode=1)
        W = place(pair, rng, packed(rng, name, rows, length))
        pair.run(f"lut.mac.{name}", acc=results(pair, rng, max(built, 1), rows, "<i4"), W=W, rows=rows)


def test_reuse(pair):
    for seed in range(2 * RUNS):
        rng = np.random.default_rng(seed)
        pair.fresh()
        pieces, centres, rows = int(rng.integers(0, 60)), int(rng.choice([0, 1, 5, 128, 256])), int(rng.integers(0, 70))
        pair.set(lut__pieces=pieces, lut__centres=centres)
        size, most = max(pieces, 1), centres or 256
        sums = pair.put(rng.integers(-1 << 31, 1 << 31, size * most).astype("<i4"))
        assigned = pair.put(rng.integers(0, most + (seed % 5 == 0), rows * size).astype(np.uint8), gap=int(rng.integers(0, 5)))
        acc = pair.put(rng.integers(-1 << 31, 1 << 31, rows).astype("<i4"))
        pair.run("lut.reuse.u8", acc=acc, sums=sums, assigned=assigned, rows=rows)
    for wrong in ({"acc": acc + 2}, {"sums": acc + 1}, {"assigned": 0x40}, {"rows": 1 << 62}):
        assert pair.run("lut.reuse.u8", **{"acc": acc, "sums": sums, "assigned": assigned, "rows": 4, **wrong}).trap
    for csrs in ({"lut__centres": 257}, {"lut__pieces": 1 << 40}, {"lut__pieces": (1 << 64) - 1}):
        pair.csrs = {}
        pair.set(**csrs)
        assert pair.run("lut.reuse.u8", acc=acc, sums=sums, assigned=assigned, rows=4).trap
    pair.csrs = {}
    pair.set(lut__pieces=1, lut__centres=4)
    pair.run("lut.reuse.u8", acc=sums, sums=sums, assigned=assigned, rows=1, inline=False)


def test_xnor(pair):
    for seed in range(RUNS):
        one_product(pair, "xnor", "b1", seed)


def test_builds_codebooks_decoders_and_planes(pair):
    for seed in range(RUNS):
        rng = np.random.default_rng(seed)
        pair.fresh()
        n, group = int(rng.integers(0, 100)), int(rng.choice([0, 1, 3, 16, 200, 1 << 63]))
        built = int(rng.choice(VECTORS))
        codes_stride, scale_stride = n + int(rng.integers(0, 9)), 4 * (scales_of(n, group) + int(rng.integers(0, 9)))
        x = pair.put(rng.integers(0, 256, max(built, 1) * codes_stride, np.uint8), gap=int(rng.integers(0, 5)))
        scale = pair.put(numbers(rng, max(built, 1) * scale_stride // 4))
        table, dst = pair.put(numbers(rng, 16)), pair.put(np.zeros(n, "<f4"))
        pair.set(lut__scale_group=group, lut__vectors=built, lut__codes_stride=codes_stride, lut__scale_stride=scale_stride)
        pair.run("lut.build.i8", x=x, scale=scale, n=n)
        pair.run("lut.build.b1", x=x, n=n)
        for size in (4, 8, 16):
            pair.run("lut.codebook.i8", table=table, n=size)
            pair.run("lut.codebook.f32", table=table, n=size)
        pair.run("lut.plane", dst=dst, x=x, bit=int(rng.integers(8)), n=n)
        pair.run("lut.part.i8", dst=dst, x=x, part=int(rng.integers(2)), n=n)
        pair.run("lut.part.i16", dst=dst, x=scale, part=int(rng.integers(4)), n=min(n, built * scale_stride // 4))
        build(pair, rng, 3, 0, False)
        pair.set(lut__pairs=seed % 2)
        for name in ("c2", "c3", "c4"):
            pair.run(f"lut.decode.{name}", dst=dst, codes=x, scale=scale, n=n)


def test_what_traps_or_overlaps_is_left_to_the_meaning(pair):
    rng = np.random.default_rng(0)
    pair.fresh()
    W = pair.put(rng.integers(0, 256, 4096, np.uint8))
    acc = pair.put(np.arange(64, dtype="<i4"))
    assert pair.run("lut.mac.t2", acc=acc, W=W, rows=4).trap                       # nothing is built
    build(pair, rng, 64, 0, False)
    pair.run("lut.mac.t2", acc=W + 16, W=W, rows=8, inline=False)
    pair.run("lut.macT.i4", acc=W + 16, W=W, cols=8, inline=False)
    for wrong in ({"acc": acc + 2}, {"W": 0x40}, {"rows": 1 << 62}, {"rows": -1}):
        assert pair.run("lut.mac.t2", **{"acc": acc, "W": W, "rows": 4, **wrong}).trap
    for csrs in ({"lut__mode": 3}, {"lut__shift": 32}, {"lut__row_stride": 15}, {"lut__row_stride": 1 << 62}):
        pair.csrs = {}
        pair.set(**csrs)
        assert pair.run("lut.mac.t2", acc=acc, W=W, rows=4).trap
    pair.csrs = {}
    pair.set(lut__scale_group=16)
    pair.start_state["lut.x_group"] = np.array([32], "u8")
    assert pair.run("lut.gemv.t2", y=acc, W=W, scale=acc, rows=4).trap
