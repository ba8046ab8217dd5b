"""vec kernels against the meanings: every row, bit by bit, over special values, sizes around 16 lanes, sharing of memory, CSRs.

Regular operands must never be left to the reference engine (Pair.run sees to it); `shared` ones may.
"""

from functools import cache

import numpy as np
import pytest
from both_engines import DRAM, SRAM, Pair

from isa.instruction import TABLE, rows

pytestmark = pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")      # test data overflows on purpose
SIZES = (0, 1, 2, 7, 15, 16, 17, 31, 32, 33, 47, 48, 64, 100, 257, 1000)
OUT, FAR = SRAM + 0x8000, DRAM + 0x10000            # results: in the window that Pair compares
UNARY = [row.mnemonic for row in rows("vec") if [o.name for o in row.operands] == ["dst", "x", "n"]]
BINARY = [row.mnemonic for row in rows("vec") if [o.name for o in row.operands] == ["dst", "a", "b", "n"]]
REDUCE = [row.mnemonic for row in rows("vec") if row.result is not None and row.mnemonic != "vec.dot.f32"]
GEMV = [row.mnemonic for row in rows("vec") if ".gemv." in row.mnemonic]
MAC_T = [row.mnemonic for row in rows("vec") if ".macT." in row.mnemonic]


@cache
def the_pair() -> Pair:
    return Pair()


@pytest.fixture
def pair() -> Pair:
    pair = the_pair()
    pair.fresh()
    return pair


@cache
def strata() -> np.ndarray:
    """fp32 bits: each exponent and sign with mantissas at both ends, in the middle and at random; NaNs of all kinds; halves."""
    random = np.random.default_rng(1)
    mantissas = np.array([0, 1, 2, 0x1000, 0x1FFF, 0x2000, 0x3000, 0x7FFF, 0x8000, 0x8001, 0x18000, 0x400000, 0x400001, 0x7FFFFE,
                          0x7FFFFF, *random.integers(0, 1 << 23, 17)], np.uint32)
    tops = np.arange(512, dtype=np.uint32) << 23
    halves = (np.arange(-600, 600, dtype=np.float32) / 2).view(np.uint32)
    borders = np.array([-128, -104, -103.97208, 88.72284, 89, 0.625, 65504, 65520, 2**31, -2**31, 2147483520], np.float32)
    near = (borders.view(np.int32)[:, None] + np.arange(-3, 4, dtype=np.int32)).view(np.uint32).reshape(-1)
    return np.concatenate([(tops[:, None] | mantissas).reshape(-1), halves, near])


def values(dtype: str, n: int, seed: int = 0, special: float = 0.3) -> np.ndarray:
    """n values: normal ones mixed with special ones; integers over their whole range."""
    random = np.random.default_rng(seed)
    if np.dtype(dtype).kind in "iu":
        limits = np.iinfo(dtype)
        return random.integers(limits.min, limits.max, n, dtype, endpoint=True)
    plain = random.standard_normal(n).astype(np.float32)
    return np.where(random.random(n) < special, random.choice(strata(), n).view(np.float32), plain)


def operand_dtype(mnemonic: str, name: str) -> str:
    form = TABLE[mnemonic].operand(name).shape.partition("[")[0]
    return {"f32": "f4", "i32": "i4", "f16": "u2", "bf16": "u2", "i8": "i1"}[form]


# ------------------------------------------------------------------------------------------------ element-wise and reductions


@pytest.mark.parametrize("name", UNARY)
def test_unary_of_the_strata(pair, name):
    form = operand_dtype(name, "x")
    every = {"u2": np.arange(1 << 16, dtype=np.uint16), "f4": strata()}.get(form, values(form, 4000))
    for start in range(0, len(every), 4000):
        pair.fresh()
        x = pair.put(every[start:start + 4000])
        pair.run(name, dst=OUT, x=x, n=len(every[start:start + 4000]))


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("n", SIZES)
def test_unary(pair, name, n):
    form = operand_dtype(name, "x")
    for special in (0.0, 0.02, 0.5):
        pair.fresh()
        x = pair.put(values(form, n + 4, n, special))
        pair.run(name, dst=FAR + 4, x=x, n=n)
        pair.run(name, dst=x, x=x, n=n, inline=np.dtype(form).itemsize >= np.dtype(operand_dtype(name, "dst")).itemsize)
        pair.run(name, dst=x + 4, x=x, n=n, inline=n == 0)
        pair.run(name, dst=x, x=x + 4, n=n, inline=n == 0)


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("n", SIZES)
def test_binary(pair, name, n):
    form = operand_dtype(name, "a")
    a, b = values(form, 2000, 1, 0.7), values(form, 2000, 2, 0.7)
    b[::5] = a[::5]
    a, b = pair.put(a[:n + 4]), pair.put(b[:n + 4])
    pair.run(name, dst=OUT + 8, a=a, b=b, n=n)
    pair.run(name, dst=a, a=a, b=b, n=n)
    pair.run(name, dst=b, a=a, b=b, n=n)
    pair.run(name, dst=a, a=a, b=a, n=n)
    pair.run(name, dst=a + 4, a=a, b=b, n=n, inline=n == 0)
    pair.run(name, dst=b, a=a, b=b + 4, n=n, inline=n == 0)


@pytest.mark.parametrize("name", REDUCE)
@pytest.mark.parametrize("n", SIZES)
def test_reduce(pair, name, n):
    for seed, special in enumerate((0, 0, 0.02, 0.3, 1)):
        data = values("f4", n, seed, special)
        pair.run(name, x=pair.put(data, gap=4), n=n)
        pair.run(name, x=pair.put(np.where(np.isnan(data), np.float32(-0.0), data)), n=n)
        pair.run(name, x=pair.put(np.where(np.isnan(data), np.float32(-np.inf), np.round(data))), n=n)
        pair.run(name, x=pair.put(np.random.default_rng(seed).choice(np.array([0.0, -0.0], "f4"), n)), n=n)
    for one in (np.nan, -np.inf, np.inf, -0.0):
        pair.run(name, x=pair.put(np.full(n, one, np.float32)), n=n)


@pytest.mark.parametrize("n", SIZES)
def test_dot_axpy_scale_fill(pair, n):
    for special in (0, 0.05, 1):
        pair.fresh()
        a, b = pair.put(values("f4", n + 4, 3, special)), pair.put(values("f4", n + 4, 4, special))
        pair.run("vec.dot.f32", a=a, b=b, n=n)
        pair.run("vec.dot.f32", a=a, b=a, n=n)
        for s in (0x3F00_0001, 0xFFFF_FFFF_BF80_0000, 0x7F80_0000, 0x7FA0_0001, 0, 0x8000_0000, 1):
            pair.run("vec.axpy.f32", y=a, s=s, x=b, n=n)
            pair.run("vec.axpy.f32", y=a, s=s, x=a, n=n)
            pair.run("vec.axpy.f32", y=a, s=s, x=a + 4, n=n, inline=n == 0)
            pair.run("vec.scale.f32", dst=OUT, x=b, s=s, n=n)
            pair.run("vec.scale.f32", dst=b, x=b, s=s, n=n)
            pair.run("vec.fill.32", dst=OUT + 4, value=s, n=n)


# ------------------------------------------------------------------------------------------------ normalisation and position


@pytest.mark.parametrize("name", ["vec.rmsnorm.f32", "vec.layernorm.f32"])
@pytest.mark.parametrize("n", SIZES)
def test_norm(pair, name, n):
    for special, scale, eps in ((0, 1, 0x3727_C5AC), (0, 1e20, 0), (0, 0, 0), (0, 1e-30, 0x2EDB_E6FF), (0.01, 1, 0xBF80_0000),
                                (0.3, 1, 0x7F80_0000), (0, 1, 0x7FC0_0001)):
        pair.fresh()
        pair.set(vec__eps=eps)
        x = pair.put(values("f4", n + 4, 5, special) * np.float32(scale))
        gain = pair.put(values("f4", n + 4, 6, special))
        pair.run(name, dst=OUT, x=x, gain=gain, n=n)
        pair.run(name, dst=x, x=x, gain=gain, n=n)
        pair.run(name, dst=gain, x=x, gain=gain, n=n)
        pair.run(name, dst=gain + 4, x=x, gain=gain, n=n, inline=n == 0)
    data = values("f4", n, 7, 0)
    data[-1:] = 3e38
    pair.run(name, dst=OUT, x=pair.put(data), gain=gain, n=n)


@pytest.mark.parametrize("n", SIZES)
def test_softmax(pair, n):
    random = np.random.default_rng(n)
    for scale in (1, 30, 1e30):
        pair.run("vec.softmax.f32", dst=OUT, x=pair.put(random.standard_normal(n).astype("f4") * np.float32(scale)), n=n)
    for fill in (-np.inf, np.inf, np.nan, -0.0):
        data = random.standard_normal(n).astype("f4")
        data[:n // 2] = fill
        pair.fresh()
        for each in (data, data[::-1], np.full(n, fill, "f4")):
            x = pair.put(each)
            pair.run("vec.softmax.f32", dst=OUT, x=x, n=n)
            pair.run("vec.softmax.f32", dst=x, x=x, n=n)


@pytest.mark.parametrize("name", ["vec.rope.f32", "vec.ropehalf.f32"])
@pytest.mark.parametrize("head_dim", [2, 4, 6, 16, 30, 32, 34, 48, 64, 80, 128])
def test_rope(pair, name, head_dim):
    for heads, special in ((0, 0), (1, 0), (3, 0), (8, 0.05)):
        pair.fresh()
        pair.set(vec__head_dim=head_dim)
        n = heads * head_dim
        x, table = pair.put(values("f4", n + 4, 8, special)), pair.put(values("f4", head_dim, 9, special))
        pair.run(name, dst=OUT, x=x, table=table, n=n)
        pair.run(name, dst=x, x=x, table=table, n=n)
        pair.run(name, dst=x + 4, x=x, table=table, n=n, inline=n == 0)
        pair.run(name, dst=table, x=x, table=table, n=n, inline=n == 0)
        pair.run(name, dst=OUT, x=x, table=table, n=n + 1)      # traps
    for bad in (0, 3, 1 << 63):
        pair.set(vec__head_dim=bad)
        pair.run(name, dst=OUT, x=x, table=table, n=8 * head_dim)


# ------------------------------------------------------------------------------------------------ quantisation


@pytest.mark.parametrize("group", [0, 1, 2, 15, 16, 17, 32, 64, 1000, 1 << 63])
@pytest.mark.parametrize("n", SIZES)
def test_quantisation(pair, n, group):
    for special, scale in ((0, 1), (0, 1e-37), (0, 3e-38), (0, 1e38), (0.02, 1), (0.5, 1)):
        pair.fresh()
        pair.set(vec__scale_group=group)
        x = pair.put(values("f4", n + 4, 10, special) * np.float32(scale))
        codes, wide = pair.put(values("i1", n)), pair.put(values("i4", n + 4))
        scales = pair.put(values("f4", n + 4, 11, special) * np.float32(scale))
        pair.run("vec.quant.i8", dst=OUT, x=x, scale=FAR, n=n)
        pair.run("vec.quant.i8", dst=x, x=x, scale=FAR, n=n)
        pair.run("vec.quant.i8", dst=OUT, x=x, scale=x, n=n, inline=n == 0)
        pair.run("vec.quant.i8", dst=OUT, x=x, scale=OUT + (n & ~3), n=n, inline=n % 4 == 0)
        pair.run("vec.dequant.i8", dst=OUT, x=codes, scale=scales, n=n)
        pair.run("vec.dequant.i8", dst=codes & ~3, x=codes, scale=scales, n=n, inline=False)
        pair.run("vec.dequant.i32", dst=OUT, x=wide, scale=scales, n=n)
        pair.run("vec.dequant.i32", dst=wide, x=wide, scale=scales, n=n)
        pair.run("vec.dequant.i32", dst=wide, x=wide, scale=wide, n=n, inline=False)


# ------------------------------------------------------------------------------------------------ dense mat-vec


@pytest.mark.parametrize("name", [*GEMV, *MAC_T])
@pytest.mark.parametrize("cols", [1, 3, 15, 16, 17, 32, 50, 63, 64, 65, 128, 200])
def test_matrix_products(pair, name, cols):
    transposed = name in MAC_T
    form = operand_dtype(name, "W")
    size = np.dtype(form).itemsize
    other = "h" if transposed else "x"
    for rows_, gap, special in ((0, 0, 0), (1, 0, 0), (2, 3, 0), (3, 0, 0.01), (4, 1, 0), (5, 16, 0), (8, 0, 0), (21, 0, 0),
                                (7, 1, 0.3)):
        pair.fresh()
        stride = (cols + gap) * size
        pair.set(vec__cols=cols, vec__row_stride=stride if gap else 0)
        weights = values(form, rows_ * (cols + gap) + 4, 12, special)
        if form == "u2" and not special:
            weights = values("f4", len(weights), 13, 0).view("u4").astype("u4") >> 16       # bfloat16 of normal size
            weights = (weights if "bf16" in name else weights & 0xBFFF).astype("u2")
        W = pair.put(weights, gap=size)
        v = pair.put(values(operand_dtype(name, other), max(rows_, cols) + 4, 14, special))
        y = pair.put(values(operand_dtype(name, "y"), max(rows_, cols) + 4, 15, special))
        pair.run(name, y=y, W=W, rows=rows_, **{other: v})
        pair.run(name, y=v & ~3, W=W, rows=rows_, inline=rows_ == 0, **{other: v})
        pair.run(name, y=(W + size * 3) & ~3, W=W, rows=rows_, inline=rows_ == 0, **{other: v})


@pytest.mark.parametrize("name", [*GEMV, *MAC_T])
@pytest.mark.parametrize("cols", [700, 4100])
def test_large_matrices_row_by_row(pair, name, cols):
    """More than what stays in the caches: other loops, for short rows and for long ones."""
    other, form = "h" if name in MAC_T else "x", operand_dtype(name, "W")
    rows_ = 1_100_000 // (cols * np.dtype(form).itemsize)
    pair.set(vec__cols=cols)
    weights = values("f4", rows_ * cols, 16, 0)
    weights = values("i1", rows_ * cols, 16) if form == "i1" else weights.astype("f2").view("u2") if form == "u2" else weights
    vector = pair.put(values(operand_dtype(name, other), max(rows_, cols), 17, 0))
    y = pair.put(values(operand_dtype(name, "y"), max(rows_, cols), 18, 0))
    pair.run(name, y=y, W=pair.put(weights), rows=rows_, **{other: vector})


@pytest.mark.parametrize("name", [*GEMV, *MAC_T])
def test_matrices_that_do_not_fit(pair, name):
    other = "h" if name in MAC_T else "x"
    size = np.dtype(operand_dtype(name, "W")).itemsize
    for cols, stride in ((0, 0), (16, 15 * size), (16, 16 * size + 1), (1 << 63, 0), (1 << 62, 0), (16, 1 << 63), (16, 1 << 39),
                         ((1 << 64) - 1, 0)):
        for rows_ in (0, 1, 3, 1 << 40, 1 << 62, (1 << 64) - 1):
            pair.set(vec__cols=cols, vec__row_stride=stride)
            pair.run(name, y=OUT, W=SRAM, rows=rows_, inline=False, **{other: SRAM + 0x4000})


def test_int8_sums_wrap(pair):
    n = 40_000
    pair.set(vec__cols=n)
    low = pair.put(np.full(n, -128, "i1"))
    pair.run("vec.gemv.i8", y=OUT + 0x4000, W=low, x=low, rows=1)
    y = pair.put(np.full(16, 2**31 - 1, "i4"))
    pair.set(vec__cols=16)
    pair.run("vec.macT.i8", y=y, W=low, h=low, rows=2000)


# ------------------------------------------------------------------------------------------------ operands out of order


@pytest.mark.parametrize("name", [row.mnemonic for row in rows("vec")])
def test_strange_addresses_and_lengths(pair, name):
    """Whatever traps, traps on both; a length that no memory has does not crash."""
    row = TABLE[name]
    pair.set(vec__cols=16, vec__head_dim=16)
    pair.put(values("f4", 4000))
    usual = {o.name: SRAM + 0x2000 * i for i, o in enumerate(o for o in row.operands if o is not row.result)} | {
        o.name: 16 for o in row.operands if o.name in ("n", "rows")}
    end = SRAM + (16 << 20)
    for operand in usual:
        lengths = (0, 1, 1 << 20, 1 << 31, 1 << 38, 1 << 62, 1 << 63, (1 << 64) - 1) if operand in ("n", "rows") else ()
        if operand not in ("n", "rows", "s", "value"):
            lengths = (0, SRAM + 1, SRAM + 2, end - 4, end - 64, end, 0x0200_0000, 1 << 63, (1 << 64) - 4, DRAM, DRAM - 32)
        for value in lengths:
            if name == "vec.fill.32" and value == 1 << 20:
                continue
            pair.run(name, inline=False, **(usual | {operand: value}))
