"""lut: results against Python integers, counters against a walk over every group of weights."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machine_files import with_cores
from unit_bench import FLASH, Bench, Trapped, refused

from isa.effects import counters
from isa.instruction import TABLE, decode, rows
from isa.numbers import FORMATS
from isa.traps import Cause
from isa.units import UNITS
from isa.units.lut import products
from isa.units.lut.counting import bit_planes

FORMAT_NAMES = ("b1", "t2", "t5", "i2", "i3", "i4", "i8", "c2", "c3", "c4")
RANGE = {"b1": (-1, 1), "t2": (-1, 0, 1), "t5": (-1, 0, 1), "i2": range(-2, 2), "i3": range(-4, 4), "i4": range(-8, 8),
         "i8": range(-128, 128), "c2": range(4), "c3": range(8), "c4": range(16)}
COUNTED = ("lut.lookups", "lut.buffer_reads", "lut.steps", "lut.macs", "lut.macs_skipped", "lut.groups_skipped",
           "lut.weight_bytes", "lut.steps_longest")
CORES = st.sampled_from([1, 2, 3, 64])
ONE = np.ones(1, np.float32)


def wrap(value: int) -> int:
    return (int(value) + (1 << 31)) % (1 << 32) - (1 << 31)


def random_matrix(name, height, width, seed, sparsity=0.0):
    """Codes or values of a format, as Python lists; zero where the format has a zero, with the given probability."""
    rng = np.random.default_rng(seed)
    matrix = rng.choice(list(RANGE[name]), (height, width))
    if name != "b1":
        matrix[rng.random((height, width)) < sparsity] = 0
    return matrix


def brute_force_events(vectors, name, mode, cores):
    """The events of one operation, from `vectors`: for each output its weights in the order of the activations."""
    parts = [events_of(vectors[core::cores], name, mode) for core in range(cores)]
    return {event: sum(part[event] for part in parts) for event in COUNTED} | {
        "lut.steps_longest": max(part["lut.steps"] for part in parts)}


def events_of(vectors, name, mode):
    """The events of the outputs of one core."""
    events = dict.fromkeys(COUNTED, 0)
    for weights in vectors:
        events["lut.macs"] += len(weights)
        events["lut.macs_skipped"] += sum(w == 0 for w in weights)
        if name[0] == "c":
            events["lut.lookups"] += len(weights)
            events["lut.steps"] += len(weights)
            continue
        bits = range(int(name[1])) if name[0] == "i" else [None]
        for bit in bits:
            plane = [(int(w) >> bit) & 1 if bit is not None else int(w != 0) for w in weights]
            size = {0: 4, 1: 8, 2: 7}[mode]
            for start in range(0, len(plane), size):
                group = plane[start:start + size]
                if sum(group) == 0:
                    events["lut.groups_skipped"] += 1
                elif mode == 0:
                    events["lut.lookups"] += 1
                    events["lut.steps"] += 1
                elif mode == 2 and sum(group[:3]) == 3:
                    events["lut.lookups"] += 1
                    events["lut.buffer_reads"] += sum(group[3:])
                    events["lut.steps"] += (1 + sum(group[3:]) + 1) // 2
                else:
                    events["lut.buffer_reads"] += sum(group)
                    events["lut.steps"] += (sum(group) + 1) // 2
    return events


def check_events(done, expected, weight_bytes):
    expected["lut.weight_bytes"] = weight_bytes
    assert {name: done.counts.get(name, 0) for name in COUNTED} == expected
    assert done.counts["lut.ops"] == 1


def build(bench, x, scales=ONE):
    return bench.run("lut.build.i8", x=bench.put(np.array(x, np.int8)), scale=bench.put(np.array(scales, np.float32)), n=len(x))


def codebook(bench, name, seed):
    """Load a random codebook for a cN format; returns a function from code to weight. Other formats: the identity."""
    if name[0] != "c":
        return int
    entries = np.random.default_rng(seed).integers(-128, 128, 1 << int(name[1]), np.int8)
    entries[0] = 0
    bench.run("lut.codebook.i8", table=bench.put(entries), n=len(entries))
    return lambda code: int(entries[code])


def put_weights(bench, name, matrix, stride):
    """Pack a matrix with `stride` bytes from row to row (0: packed) and set lut.row_stride."""
    packed = FORMATS[name].pack(matrix)
    if stride:
        packed = np.pad(packed, ((0, 0), (0, stride - packed.shape[1])), constant_values=0x5A)
    bench.set(lut__row_stride=stride)
    return bench.put(packed)


matrices = {"height": st.integers(0, 7), "length": st.integers(0, 33), "mode": st.integers(0, 2), "seed": st.integers(0, 999),
            "sparsity": st.sampled_from([0.0, 0.5, 0.9, 1.0]), "gap": st.sampled_from([None, 0, 3]), "shift": st.integers(0, 31),
            "cores": CORES}


@pytest.mark.parametrize("name", FORMAT_NAMES)
@settings(max_examples=60, deadline=None)
@given(**matrices)
def test_mac(name, height, length, mode, seed, sparsity, gap, shift, cores):
    bench, rng = Bench(with_cores(cores)), np.random.default_rng(seed)
    x = rng.integers(-128, 128, length)
    before = rng.integers(-(1 << 31), 1 << 31, height)
    matrix = random_matrix(name, height, length, seed, sparsity)
    row_bytes = FORMATS[name].row_bytes(length)
    weight = codebook(bench, name, seed)
    W = put_weights(bench, name, matrix, row_bytes + gap if gap is not None else 0)
    acc = bench.put(before.astype(np.int32))
    build(bench, x)
    bench.set(lut__mode=mode, lut__shift=shift)
    done = bench.run(f"lut.mac.{name}", acc=acc, W=W, rows=height)
    weights = [[weight(matrix[r, c]) for c in range(length)] for r in range(height)]
    expected = [wrap(int(before[r]) + (wrap(sum(weights[r][c] * int(x[c]) for c in range(length))) << shift))
                for r in range(height)]
    assert bench.get(acc, "<i4", height).tolist() == expected
    check_events(done, brute_force_events(weights, name, mode, cores), height * row_bytes)


@pytest.mark.parametrize("name", FORMAT_NAMES)
@settings(max_examples=60, deadline=None)
@given(**matrices)
def test_macT(name, height, length, mode, seed, sparsity, gap, shift, cores):
    cols = height                           # outputs
    bench, rng = Bench(with_cores(cores)), np.random.default_rng(seed)
    x = rng.integers(-128, 128, length)
    before = rng.integers(-(1 << 31), 1 << 31, cols)
    matrix = random_matrix(name, length, cols, seed, sparsity)
    row_bytes = FORMATS[name].row_bytes(cols)
    weight = codebook(bench, name, seed)
    W = put_weights(bench, name, matrix, row_bytes + gap if gap is not None else 0)
    acc = bench.put(before.astype(np.int32))
    build(bench, x)
    bench.set(lut__mode=mode, lut__shift=shift)
    done = bench.run(f"lut.macT.{name}", acc=acc, W=W, cols=cols)
    columns = [[weight(matrix[j, c]) for j in range(length)] for c in range(cols)]
    expected = [wrap(int(before[c]) + (wrap(sum(columns[c][j] * int(x[j]) for j in range(length))) << shift))
                for c in range(cols)]
    assert bench.get(acc, "<i4", cols).tolist() == expected
    check_events(done, brute_force_events(columns, name, mode, cores), length * row_bytes if cols else 0)


def lane_sum_by_hand(values):
    lanes = [np.float32(0)] * 16
    for i, value in enumerate(values):
        lanes[i % 16] = np.float32(lanes[i % 16] + value)
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = [np.float32(lanes[i] + lanes[i + half]) for i in range(half)]
    return lanes[0]


@pytest.mark.parametrize("name", FORMAT_NAMES)
@settings(max_examples=60, deadline=None)
@given(height=st.integers(0, 6), length=st.integers(0, 70), group=st.sampled_from([1, 3, 16, 64, 1 << 63]),
       grouped=st.sampled_from(["both", "weights", "activations", "none"]), mode=st.integers(0, 2), seed=st.integers(0, 999),
       cores=CORES)
def test_gemv(name, height, length, group, grouped, mode, seed, cores):
    bench, rng = Bench(with_cores(cores)), np.random.default_rng(seed)
    x = rng.integers(-128, 128, length)
    matrix = random_matrix(name, height, length, seed, 0.3)
    groups = -(-length // group) if grouped != "none" else min(length, 1)
    x_scale = rng.random(groups if grouped in ("both", "activations") else 1).astype(np.float32)
    w_scale = rng.normal(size=(height, groups) if grouped in ("both", "weights") else (1, 1)).astype(np.float32)
    weight = codebook(bench, name, seed)
    W, scale, y = put_weights(bench, name, matrix, 0), bench.put(w_scale), bench.put(np.full(6, 7, np.float32))
    bench.set(lut__scale_group=group if grouped in ("both", "activations") else 0, lut__mode=mode, lut__shift=9)
    build(bench, x, x_scale)
    bench.set(lut__scale_group=group if grouped in ("both", "weights") else 0)
    done = bench.run(f"lut.gemv.{name}", y=y, W=W, scale=scale, rows=height)
    weights = [[weight(matrix[r, c]) for c in range(length)] for r in range(height)]
    expected = []
    for r in range(height):
        terms = []
        for g in range(groups):
            columns = range(g * group, min((g + 1) * group, length)) if grouped != "none" else range(length)
            total = np.float32(wrap(sum(weights[r][c] * int(x[c]) for c in columns)))
            ws = w_scale[r, g] if grouped in ("both", "weights") else w_scale[0, 0]
            xs = x_scale[g] if grouped in ("both", "activations") else x_scale[0]
            terms.append(np.float32(total * np.float32(ws * xs)))
        expected.append(lane_sum_by_hand(terms))
    got = bench.get(y, "<f4", 6)
    assert got[:height].tobytes() == np.array(expected, np.float32).tobytes()
    assert got[height:].tolist() == [7.0] * (6 - height)
    check_events(done, brute_force_events(weights, name, mode, cores), height * FORMATS[name].row_bytes(length))


@pytest.mark.parametrize("name", FORMAT_NAMES)
@pytest.mark.parametrize("mnemonic", ["mac", "macT", "gemv"])
def test_a_large_matrix_goes_in_pieces_without_a_trace(name, mnemonic, monkeypatch):
    results = []
    for chunk in (1 << 22, 900):
        monkeypatch.setattr(products, "CHUNK", chunk)
        bench, rng = Bench(with_cores(7)), np.random.default_rng(1)
        length = 600
        matrix = random_matrix(name, *((90, length) if mnemonic != "macT" else (length, 90)), 2, 0.8)
        codebook(bench, name, 3)
        W, out = put_weights(bench, name, matrix, 0), bench.put(np.zeros(90, np.int32))
        bench.set(lut__scale_group=32, lut__mode=2)
        build(bench, rng.integers(-128, 128, length), rng.random(19))
        scale = bench.put(rng.random((90, 19)).astype(np.float32))
        operands = {"mac": {"acc": out, "rows": 90}, "macT": {"acc": out, "cols": 90},
                    "gemv": {"y": out, "rows": 90, "scale": scale}}[mnemonic]
        done = bench.run(f"lut.{mnemonic}.{name}", W=W, **operands)
        results.append((bench.get(out, "u1", 360).tobytes(), done.counts))
    assert results[0] == results[1]


@pytest.mark.parametrize("name", [name for name in FORMAT_NAMES if name[0] != "c"])
@pytest.mark.parametrize(("mode", "size"), [(0, 4), (1, 8), (2, 7)])
@pytest.mark.parametrize("cores", [1, 6])
def test_conservation(name, mode, size, cores):
    bench, length, height = Bench(with_cores(cores)), 100, 20
    matrix = random_matrix(name, height, length, 5, 0.7)
    build(bench, np.arange(length))
    bench.set(lut__mode=mode)
    counts = bench.run(f"lut.mac.{name}", acc=bench.put(np.zeros(height, np.int32)),
                       W=put_weights(bench, name, matrix, 0), rows=height).counts
    planes = int(name[1]) if name[0] == "i" else 1
    groups = planes * height * -(-length // size)
    assert counts["lut.macs"] == height * length
    assert counts.get("lut.macs_skipped", 0) == np.count_nonzero(matrix == 0)
    if mode == 0:
        assert counts["lut.lookups"] + counts.get("lut.groups_skipped", 0) == groups
        assert "lut.buffer_reads" not in counts
    else:
        ones = sum(int(np.count_nonzero(matrix.astype(int) >> bit & 1)) for bit in range(planes)) if planes > 1 else (
            np.count_nonzero(matrix))
        assert 3 * counts.get("lut.lookups", 0) + counts["lut.buffer_reads"] == ones
        assert counts["lut.steps"] >= groups - counts.get("lut.groups_skipped", 0)
    assert -(-counts["lut.steps"] // cores) <= counts["lut.steps_longest"] <= counts["lut.steps"]
    assert cores > 1 or counts["lut.steps_longest"] == counts["lut.steps"]
    assert counts["lut.weight_bytes"] == height * FORMATS[name].row_bytes(length)
    assert counts["sram.bytes_read"] == counts["lut.weight_bytes"] + 4 * height


def test_the_core_with_most_steps_is_what_an_operation_takes():
    """Rows of 2, 0, 1, 2, 1 groups that are not zero. Two cores: rows 0 2 4 and 1 3; three cores: rows 0 3, 1 4 and 2."""
    rows = [[1, 0, 0, 0, -1, 0, 0, 0], [0] * 8, [0, 0, 1, 1, 0, 0, 0, 0], [1] * 8, [0, 0, 0, 0, 0, 0, 0, 1]]
    for cores, longest in ((1, 6), (2, 4), (3, 4), (4, 3), (5, 2), (64, 2)):
        bench = Bench(with_cores(cores))
        build(bench, [1] * 8)
        W, acc = put_weights(bench, "t2", np.array(rows), 0), bench.put(np.zeros(5, np.int32))
        counts = bench.run("lut.mac.t2", acc=acc, W=W, rows=5).counts
        assert (counts["lut.steps"], counts["lut.steps_longest"]) == (6, longest)


def test_outputs_are_columns_of_transposed_products_and_elements_of_a_decode():
    bench = Bench(with_cores(2))
    build(bench, [1] * 8)
    acc = bench.put(np.zeros(3, np.int32))
    W = put_weights(bench, "t2", np.array([[1, 1, 0]] * 4 + [[1, 0, 0]] * 4), 0)
    counts = bench.run("lut.macT.t2", acc=acc, W=W, cols=3).counts
    assert (counts["lut.steps"], counts["lut.steps_longest"]) == (3, 2)         # 2 of column 0, 1 of column 1, none of column 2
    codes, scale, dst = bench.put(np.zeros(4, np.uint8)), bench.put(ONE), bench.put(np.zeros(7, np.float32))
    counts = bench.run("lut.decode.c4", dst=dst, codes=codes, scale=scale, n=7).counts
    assert (counts["lut.steps"], counts["lut.steps_longest"]) == (7, 4)
    codebook(bench, "c4", 1)
    counts = bench.run("lut.mac.c4", acc=acc, W=bench.put(np.zeros(12, np.uint8)), rows=3).counts
    assert (counts["lut.steps"], counts["lut.steps_longest"]) == (24, 16)       # every code is looked up: two rows of 8


def test_code_3_of_two_bit_ternary_counts_as_two():
    bench = Bench()
    build(bench, [10, 20, 30, 40])
    acc = bench.put(np.zeros(1, np.int32))
    done = bench.run("lut.mac.t2", acc=acc, W=bench.put(np.array([0b01_01_11_01], np.uint8)), rows=1)
    assert bench.get(acc, "<i4", 1).tolist() == [40]
    assert done.counts["lut.macs_skipped"] == 3


def test_weights_may_stream_from_flash():
    matrix = random_matrix("t2", 8, 64, 1)
    bench = Bench(flash=FORMATS["t2"].pack(matrix).tobytes())
    build(bench, np.arange(64))
    acc = bench.put(np.zeros(8, np.int32))
    done = bench.run("lut.mac.t2", acc=acc, W=FLASH, rows=8)
    assert bench.get(acc, "<i4", 8).tolist() == (matrix.astype(int) @ np.arange(64)).tolist()
    assert done.counts["flash.bytes_read"] == done.counts["lut.weight_bytes"] == 8 * 16


def test_accumulators_wrap():
    bench = Bench()
    build(bench, [-128] * 4096)
    acc = bench.put(np.array([(1 << 31) - 1], np.int32))
    W = bench.put(np.full(4096, -128, np.int8))
    bench.run("lut.mac.i8", acc=acc, W=W, rows=1)           # 2**26
    assert bench.get(acc, "<i4", 1).tolist() == [wrap((1 << 31) - 1 + (1 << 26))]
    bench.set(lut__shift=6)
    bench.run("lut.mac.i8", acc=acc, W=W, rows=1)           # 2**32, which is 0
    assert bench.get(acc, "<i4", 1).tolist() == [wrap((1 << 31) - 1 + (1 << 26))]


# ------------------------------------------------------------------------------------------------ activations, codebooks


@given(st.lists(st.integers(-128, 127), max_size=40), st.sampled_from([0, 1, 8, 32]))
def test_build_loads_activations_and_their_scales(x, group):
    bench = Bench()
    bench.set(lut__scale_group=group)
    groups = -(-len(x) // group) if group else int(bool(x))
    scales = np.arange(groups, dtype=np.float32) + 0.5
    done = build(bench, x, scales)
    state = bench.m.state
    assert (state["lut.kind"][0], state["lut.length"][0], state["lut.x_group"][0]) == (1, len(x), group)
    assert state["lut.activations"][:len(x)].tolist() == x
    assert state["lut.scales"][:groups].tolist() == scales.tolist()
    assert done.counts.get("lut.tables_built", 0) == -(-len(x) // 4)
    assert done.counts.get("sram.bytes_read", 0) == len(x) + 4 * groups


@given(st.lists(st.sampled_from([-1, 1]), max_size=40))
def test_build_of_binary_activations(x):
    bench = Bench()
    bench.set(lut__scale_group=8)
    done = bench.run("lut.build.b1", x=bench.put(FORMATS["b1"].pack([x]) if x else np.zeros(1, np.uint8)), n=len(x))
    state = bench.m.state
    assert (state["lut.kind"][0], state["lut.length"][0], state["lut.x_group"][0]) == (2, len(x), 0)
    assert state["lut.activations"][:len(x)].tolist() == x
    assert not x or state["lut.scales"][0] == 1
    assert done.counts.get("lut.tables_built", 0) == -(-len(x) // 4)


@pytest.mark.parametrize(("mode", "tables"), [(0, 6), (1, 0), (2, 3)])
def test_tables_depend_on_the_mode(mode, tables):
    """21 activations: six groups of four, no tables for a buffer, three times a table of 3 and a buffer of 4."""
    bench = Bench()
    bench.set(lut__mode=mode)
    assert build(bench, [1] * 21).counts.get("lut.tables_built", 0) == tables


@pytest.mark.parametrize("kind", ["i8", "b1"])
def test_build_beyond_the_tables_is_refused(kind):
    bench = Bench("slim-llama")
    capacity = bench.m.parameter("lut.activations")
    x = bench.put(np.zeros(capacity + 1, np.int8))
    operands = {"x": x, "scale": x} if kind == "i8" else {"x": x}
    assert bench.run(f"lut.build.{kind}", **operands, n=capacity).counts["lut.tables_built"] == capacity // 4
    assert refused(Cause.CAPACITY, bench, f"lut.build.{kind}", **operands, n=capacity + 1) == (
        f"{capacity + 1} activations (1 x {capacity + 1}); the tables of this machine hold {capacity} (lut.activations)")


@pytest.mark.parametrize("kind", ["i8", "b1"])
def test_vectors_together_fill_the_tables_and_no_more(kind):
    bench = Bench("slim-llama")
    capacity = bench.m.parameter("lut.activations")
    x, scale = bench.put(np.zeros(capacity, np.int8)), bench.put(np.ones(64, np.float32))
    operands = {"x": x, "scale": scale} if kind == "i8" else {"x": x}
    bench.set(lut__vectors=64)
    done = bench.run(f"lut.build.{kind}", **operands, n=capacity // 64)
    assert done.counts["lut.tables_built"] == capacity // 4
    assert done.counts["sram.bytes_read"] == (capacity + 4 * 64 if kind == "i8" else capacity // 8)
    assert refused(Cause.CAPACITY, bench, f"lut.build.{kind}", **operands, n=capacity // 64 + 1) == (
        f"{capacity + 64} activations (64 x {capacity // 64 + 1}); the tables of this machine hold {capacity} (lut.activations)")
    bench.set(lut__vectors=capacity + 1)
    refused(Cause.CAPACITY, bench, f"lut.build.{kind}", **operands, n=0)
    bench.set(lut__vectors=(1 << 64) - 1)
    with pytest.raises(Trapped) as trapped:
        bench.run(f"lut.build.{kind}", **operands, n=3)
    assert (trapped.value.cause, trapped.value.value) == (Cause.CAPACITY, (1 << 64) - 3)


@pytest.mark.parametrize(("kind", "dtype"), [("i8", np.int8), ("f32", np.float32)])
@pytest.mark.parametrize("n", [4, 8, 16])
def test_codebook_clears_what_it_does_not_set(kind, dtype, n):
    bench = Bench()
    bench.run(f"lut.codebook.{kind}", table=bench.put(np.full(16, 9, dtype)), n=16)
    bench.run(f"lut.codebook.{kind}", table=bench.put(np.arange(1, n + 1, dtype=dtype)), n=n)
    assert bench.m.state[f"lut.codebook_{kind}"].tolist() == [*range(1, n + 1), *[0] * (16 - n)]


@pytest.mark.parametrize("kind", ["i8", "f32"])
@pytest.mark.parametrize("n", [0, 3, 5, 17, 256])
def test_codebooks_have_4_8_or_16_entries(kind, n):
    bench = Bench()
    reason = refused(Cause.ILLEGAL_OPERAND, bench, f"lut.codebook.{kind}", table=bench.free, n=n)
    assert reason == f"a codebook of {n} values; expected 4, 8 or 16"
    refused(Cause.LOAD_ACCESS, bench, f"lut.codebook.{kind}", table=bench.free, n=1 << 28)      # the table is looked at first


@pytest.mark.parametrize("name", ["c2", "c3", "c4"])
@given(n=st.integers(0, 40), group=st.sampled_from([0, 1, 16, 1 << 63]), seed=st.integers(0, 99))
def test_decode(name, n, group, seed):
    bench, rng = Bench(), np.random.default_rng(seed)
    codes, entries = rng.choice(list(RANGE[name]), n), rng.normal(size=1 << int(name[1])).astype(np.float32)
    scales = rng.random(max(-(-n // group) if group else 1, 1)).astype(np.float32)
    bench.run("lut.codebook.f32", table=bench.put(entries), n=len(entries))
    bench.set(lut__scale_group=group)
    dst = bench.put(np.full(41, 7, np.float32))
    done = bench.run(f"lut.decode.{name}", dst=dst, codes=bench.put(np.append(FORMATS[name].pack([codes]), np.uint8(0))),
                     scale=bench.put(scales), n=n)
    expected = [float(np.float32(entries[code] * scales[i // group if group else 0])) for i, code in enumerate(codes)]
    assert bench.get(dst, "<f4", 41).tolist() == expected + [7.0] * (41 - n)
    assert done.counts.get("lut.lookups", 0) == done.counts.get("lut.steps", 0) == n
    assert done.counts.get("lut.weight_bytes", 0) == FORMATS[name].row_bytes(n)


# ------------------------------------------------------------------------------------------------ several vectors

ONE_BY_ONE = [f"lut.{operation}.{name}" for operation in ("mac", "macT", "gemv") for name in FORMAT_NAMES] + ["lut.xnor"]
ONCE = ("lut.index_toggles", "lut.ops", "lut.weight_bytes", "core.instructions")


@pytest.mark.parametrize("mnemonic", ONE_BY_ONE)
@settings(max_examples=25, deadline=None)
@given(vectors=st.integers(2, 6), outputs=st.integers(0, 6), length=st.integers(0, 40), group=st.sampled_from([0, 3, 16, 1 << 63]),
       mode=st.integers(0, 2), gaps=st.tuples(*[st.sampled_from([0, 0, 4, 60])] * 3), seed=st.integers(0, 999), cores=CORES)
def test_several_vectors_are_several_operations_that_read_their_weights_once(
        mnemonic, vectors, outputs, length, group, mode, gaps, seed, cores):
    """Results and counters beside those of an instruction for each vector, which the tests above compare with Python's integers."""
    name = "b1" if mnemonic == "lut.xnor" else mnemonic.rpartition(".")[2]
    bench, rng = Bench(with_cores(cores)), np.random.default_rng(seed)
    groups, gemv = (-(-length // group) if group else min(length, 1)), "gemv" in mnemonic
    shape = (length, outputs) if "macT" in mnemonic else (outputs, length)
    W = put_weights(bench, name, random_matrix(name, *shape, seed, 0.4), 0)
    codebook(bench, name, seed)
    binary = mnemonic == "lut.xnor" or (not gemv and seed % 3 == 0)
    x = rng.choice([-1, 1], (vectors, length)) if binary else rng.integers(-128, 128, (vectors, length))
    codes = FORMATS["b1"].pack(x) if binary else x.astype(np.int8).view(np.uint8)
    x_scale = rng.standard_normal((vectors, groups)).astype(np.float32)
    w_scale = bench.put(np.append(rng.standard_normal(outputs * groups), 0).astype(np.float32))
    before = rng.integers(-(1 << 31), 1 << 31, (vectors, outputs)).astype(np.int32)
    operands = {"W": W, "rows": outputs, "cols": outputs, "scale": w_scale}
    bench.set(lut__mode=mode, lut__scale_group=group, lut__shift=seed % 32)

    def run(codes, scales, results):
        """(bytes of the results with those between them, counts of the build, counts of the product) of one or several vectors."""
        def put(array, gap):
            rows = array.view(np.uint8).reshape(len(array), -1)
            return bench.put(np.append(np.pad(rows, ((0, 0), (0, gap)), constant_values=0xEE), np.uint8(0))), rows.shape[1] + gap

        places = [put(array, gap) for array, gap in zip((codes, scales, results), gaps, strict=True)]
        bench.set(lut__vectors=len(codes) if len(codes) > 1 else seed % 2, lut__codes_stride=places[0][1] if gaps[0] else 0,
                  lut__scale_stride=places[1][1] if gaps[1] else 0, lut__result_stride=places[2][1] if gaps[2] else 0)
        scale = {} if binary else {"scale": places[1][0]}
        built = bench.run(f"lut.build.{'b1' if binary else 'i8'}", x=places[0][0], n=length, **scale)
        given = operands | {"y" if gemv else "acc": places[2][0]}
        done = bench.run(mnemonic, **{operand.name: given[operand.name] for operand in TABLE[mnemonic].operands})
        return bench.get(places[2][0], "u1", len(results) * places[2][1]).tobytes(), built.counts, done.counts

    together, built, counts = run(codes, x_scale, before)
    apart = [run(*(array[v:v + 1] for array in (codes, x_scale, before))) for v in range(vectors)]
    assert together == b"".join(part for part, *_ in apart)
    for number, total in ((1, built), (2, counts)):
        for event in {name for part in apart for name in part[number]} | total.keys():
            parts = [part[number].get(event, 0) for part in apart]
            if event == "sram.bytes_read" and number == 2:
                scales = 4 * (outputs * groups if group else min(outputs * groups, 1)) * gemv
                assert total.get(event, 0) == sum(parts) - (vectors - 1) * (counts.get("lut.weight_bytes", 0) + scales)
            else:
                assert total.get(event, 0) == (parts[0] if event in ONCE else sum(parts)), event


def test_vectors_lie_one_behind_the_other_in_the_unit():
    bench = Bench()
    bench.set(lut__vectors=2, lut__codes_stride=5, lut__scale_stride=12, lut__scale_group=2)
    x, scales = bench.put(np.array([1, 2, 3, 9, 9, 4, 5, 6], np.int8)), bench.put(np.array([1, 2, 9, 3, 4], np.float32))
    done = bench.run("lut.build.i8", x=x, scale=scales, n=3)
    state = bench.m.state
    assert (state["lut.built_vectors"][0], state["lut.length"][0], state["lut.x_group"][0]) == (2, 3, 2)
    assert state["lut.activations"][:6].tolist() == [1, 2, 3, 4, 5, 6]
    assert state["lut.scales"][:4].tolist() == [1, 2, 3, 4]
    assert done.counts == {"core.instructions": 1, "lut.ops": 1, "lut.tables_built": 2, "sram.bytes_read": 6 + 16}
    bench.set(lut__vectors=0, lut__result_stride=16)                        # the product is for what is loaded
    y = bench.put(np.full(8, 7, np.float32))
    W, w_scale = bench.put(np.array([1, 0, 2, -1, 1, 0], np.int8)), bench.put(np.array([1, 1, 10, 10], np.float32))
    done = bench.run("lut.gemv.i8", y=y, W=W, scale=w_scale, rows=2)
    assert bench.get(y, "<f4", 8).tolist() == [1 + 3 * 2 * 2, (2 - 1) * 10, 7, 7, 4 * 3 + 2 * 6 * 4, (5 - 4) * 3 * 10, 7, 7]
    assert done.counts["lut.weight_bytes"] == 6 and done.counts["lut.macs"] == 12 and done.counts["lut.macs_skipped"] == 4
    assert (done.counts["sram.bytes_read"], done.counts["sram.bytes_written"]) == (6 + 16, 16)


@pytest.mark.parametrize("mnemonic", ["lut.mac.t2", "lut.gemv.t2", "lut.xnor"])
def test_strides_of_vectors_out_of_range_are_refused(mnemonic):
    bench = Bench()
    bench.run("lut.build.b1", x=bench.free, n=16)
    for wrong, reason in ((8, "8; expected 0 (packed) or a multiple of 4, at least the 12 bytes of 3 results"),
                          (14, "14; expected")):
        bench.set(lut__result_stride=wrong)
        said = refused(Cause.ILLEGAL_OPERAND, bench, mnemonic, **operands_of(bench, mnemonic, rows=3))
        assert said.startswith(f"lut.result_stride is {reason}")
    bench.set(lut__codes_stride=15)
    said = refused(Cause.ILLEGAL_OPERAND, bench, "lut.build.i8", x=bench.free, scale=bench.free, n=16)
    assert said == "lut.codes_stride is 15; expected 0 (packed) or at least the 16 bytes of a vector of 16 codes"
    bench.set(lut__codes_stride=16, lut__scale_stride=2)
    said = refused(Cause.ILLEGAL_OPERAND, bench, "lut.build.i8", x=bench.free, scale=bench.free, n=16)
    assert said == "lut.scale_stride is 2; expected 0 (packed) or a multiple of 4, at least the 4 bytes of 1 scales"


# ------------------------------------------------------------------------------------------------ reuse, toggles


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(0, 9), pieces=st.integers(0, 5), centres=st.sampled_from([1, 3, 128, 0]), seed=st.integers(0, 99),
       cores=CORES)
def test_reuse(rows, pieces, centres, seed, cores):
    bench, rng = Bench(with_cores(cores)), np.random.default_rng(seed)
    of_row, of_piece = max(pieces, 1), centres or 256
    sums = rng.integers(-(1 << 31), 1 << 31, (of_row, of_piece)).astype(np.int32)
    assigned = rng.integers(0, of_piece, (rows, of_row)).astype(np.uint8)
    before = rng.integers(-(1 << 31), 1 << 31, rows).astype(np.int32)
    bench.set(lut__pieces=pieces, lut__centres=centres, lut__shift=32, lut__mode=3)         # it looks at neither of the last two
    acc = bench.put(before)
    counts = bench.run("lut.reuse.u8", acc=acc, sums=bench.put(sums), assigned=bench.put(assigned), rows=rows).counts
    assert bench.get(acc, "<i4", rows).tolist() == [
        wrap(int(before[r]) + sum(int(sums[p, assigned[r, p]]) for p in range(of_row))) for r in range(rows)]
    size = rows * of_row
    assert [counts.get(f"lut.{name}", 0) for name in ("ops", "lookups", "steps", "weight_bytes", "steps_longest", "macs")] == [
        1, size, size, size, -(-rows // cores) * of_row, 0]
    assert counts.get("sram.bytes_read", 0) == (4 * rows + size + sums.nbytes if rows else 0)


def test_reuse_of_a_centre_that_there_is_not():
    bench = Bench()
    bench.set(lut__pieces=2, lut__centres=3)
    operands = {"acc": bench.put(np.zeros(2, np.int32)), "sums": bench.put(np.zeros(6, np.int32)),
                "assigned": bench.put(np.array([0, 2, 1, 3], np.uint8))}
    said = refused(Cause.ILLEGAL_OPERAND, bench, "lut.reuse.u8", **operands, rows=2)
    assert said == "assigned[1, 1] is 3; there are 3 centres (lut.centres)"
    bench.run("lut.reuse.u8", **operands, rows=1)
    bench.set(lut__centres=257)
    said = refused(Cause.ILLEGAL_OPERAND, bench, "lut.reuse.u8", **operands, rows=0)
    assert said == "lut.centres is 257; expected 1..256, or 0 for 256"
    bench.set(lut__centres=0, lut__pieces=1 << 40)
    refused(Cause.LOAD_ACCESS, bench, "lut.reuse.u8", **operands, rows=1)


def test_bits_that_switch_from_row_to_row():
    """By hand: t2 codes 0 1 2 for -1 0 1, four to a byte; two vectors read the rows once, and a transposed product has no index."""
    bench = Bench()
    build(bench, [1] * 5)
    matrix = np.array([[0, 0, 0, 0, 1], [1, 0, 0, 0, 1], [1, 1, -1, 0, -1]])            # 55 02, 56 02, 4a 00
    for gap in (0, 7):
        for name, operands in (("mac", {"acc": bench.free + 512}), ("gemv", {"y": bench.free + 512, "scale": bench.put(ONE)})):
            W = put_weights(bench, "t2", matrix, gap)
            counts = bench.run(f"lut.{name}.t2", **operands, W=W, rows=3).counts
            assert counts["lut.index_toggles"] == 2 + 3 + 1
            assert "lut.index_toggles" not in bench.run(f"lut.{name}.t2", **operands, W=W, rows=1).counts
    bench.set(lut__row_stride=0, lut__vectors=2)
    bench.run("lut.build.b1", x=bench.put(np.zeros(8, np.uint8)), n=9)
    W = bench.put(np.array([0xFF, 1, 0xF0, 0, 0x0F, 1], np.uint8))
    for mnemonic, toggles in (("lut.xnor", 5 + 9), ("lut.mac.b1", 5 + 9), ("lut.macT.b1", None)):
        rows = {"cols" if "macT" in mnemonic else "rows": 3}
        counts = bench.run(mnemonic, acc=bench.free, W=W, **rows).counts
        assert counts.get("lut.index_toggles") == toggles


# ------------------------------------------------------------------------------------------------ bit planes


@given(height=st.integers(0, 5), length=st.integers(0, 150), shift=st.integers(0, 31), seed=st.integers(0, 99), cores=CORES)
def test_xnor(height, length, shift, seed, cores):
    bench, rng = Bench(with_cores(cores)), np.random.default_rng(seed)
    a, w = rng.integers(0, 2, length), rng.integers(0, 2, (height, length))
    before = rng.integers(-(1 << 31), 1 << 31, height)
    bench.run("lut.build.b1", x=bench.put(np.append(np.packbits(a, bitorder="little"), np.uint8(0))), n=length)
    W = bench.put(np.append(np.packbits(w, axis=1, bitorder="little"), np.uint8(0)))
    acc, copy = bench.put(before.astype(np.int32)), bench.put(before.astype(np.int32))
    bench.set(lut__shift=shift)
    done = bench.run("lut.xnor", acc=acc, W=W, rows=height)
    expected = [wrap(int(before[r]) + ((2 * sum(int(a[c] == w[r, c]) for c in range(length)) - length) << shift))
                for r in range(height)]
    assert bench.get(acc, "<i4", height).tolist() == expected
    assert done.counts.get("lut.macs", 0) == height * length
    assert done.counts.get("lut.steps", 0) == height * -(-length // 64)
    assert done.counts.get("lut.steps_longest", 0) == -(-height // cores) * -(-length // 64)
    bench.run("lut.mac.b1", acc=copy, W=W, rows=height)
    assert bench.get(copy, "<i4", height).tolist() == expected          # two routes to one result


@given(height=st.integers(0, 5), length=st.integers(0, 150), shift=st.integers(0, 31), seed=st.integers(0, 99), cores=CORES)
def test_xnor_of_int8_activations(height, length, shift, seed, cores):
    """The plain product, in nine passes of 64 columns a step."""
    bench, rng = Bench(with_cores(cores)), np.random.default_rng(seed)
    x, w = rng.integers(-128, 128, length), rng.integers(0, 2, (height, length))
    before = rng.integers(-(1 << 31), 1 << 31, height)
    build(bench, x.tolist())
    acc = bench.put(before.astype(np.int32))
    bench.set(lut__shift=shift)
    W = bench.put(np.append(np.packbits(w, axis=1, bitorder="little"), np.uint8(0)))
    done = bench.run("lut.xnor", acc=acc, W=W, rows=height)
    sums = [sum(int(x[c]) * (1 if w[r, c] else -1) for c in range(length)) for r in range(height)]
    expected = [wrap(int(before[r]) + (sums[r] << shift)) for r in range(height)]
    assert bench.get(acc, "<i4", height).tolist() == expected
    assert done.counts.get("lut.macs", 0) == height * length
    assert done.counts.get("lut.steps", 0) == 9 * height * -(-length // 64)
    assert done.counts.get("lut.steps_longest", 0) == 9 * -(-height // cores) * -(-length // 64)


@given(st.lists(st.integers(0, 255), max_size=30), st.integers(0, 7))
def test_plane(codes, bit):
    bench = Bench()
    dst = bench.put(np.full(4, 0xEE, np.uint8))
    bench.run("lut.plane", dst=dst, x=bench.put(np.array(codes, np.uint8)), bit=bit, n=len(codes))
    expected = [sum((code >> bit & 1) << i for i, code in enumerate(codes[start:start + 8])) for start in range(0, len(codes), 8)]
    assert bench.get(dst, "u1", 4).tolist() == expected + [0xEE] * (4 - len(expected))


@given(st.lists(st.integers(-128, 127), max_size=30))
def test_parts_of_activations(codes):
    bench = Bench()
    x, dst = bench.put(np.array([*codes, 0], np.int8)), bench.put(np.full(31, 0xEE, np.uint8))
    parts = []
    for part in range(2):
        bench.run("lut.part.i8", dst=dst, x=x, part=part, n=len(codes))
        parts.append(bench.get(dst, "i1", len(codes)).tolist())
        assert bench.get(dst + len(codes), "u1", 1).tolist() == [0xEE]
    assert all(0 <= low < 16 and -8 <= high < 8 and low + 16 * high == code
               for low, high, code in zip(*parts, codes, strict=True))
    bench.run("lut.part.i8", dst=x, x=x, part=1, n=len(codes))                  # in place
    assert bench.get(x, "i1", len(codes)).tolist() == parts[1]


@given(st.lists(st.integers(-(1 << 31), (1 << 31) - 1) | st.integers(-(1 << 15), (1 << 15) - 1), max_size=30))
def test_parts_of_activations_of_16_bits(codes):
    bench = Bench()
    x, dst = bench.put(np.array([*codes, 0], np.int32)), bench.put(np.full(31, 0xEE, np.uint8))
    parts = []
    for part in range(4):
        bench.run("lut.part.i16", dst=dst, x=x, part=part, n=len(codes))
        parts.append(bench.get(dst, "i1", len(codes)).tolist())
        assert bench.get(dst + len(codes), "u1", 1).tolist() == [0xEE]
    for p0, p1, p2, p3, code in zip(*parts, codes, strict=True):
        assert all(0 <= part < 16 for part in (p0, p1, p2)) and -8 <= p3 < 8
        value = p0 + 16 * p1 + 256 * p2 + 4096 * p3
        assert -(1 << 15) <= value < 1 << 15 and (value - code) % (1 << 16) == 0
    bench.run("lut.part.i16", dst=x, x=x, part=3, n=len(codes))                 # in place
    assert bench.get(x, "i1", len(codes)).tolist() == parts[3]


@pytest.mark.parametrize(("length", "rows"), [(1, 3), (8, 2), (9, 5), (0, 2)])
@pytest.mark.parametrize("name", ["c2", "c3", "c4"])
def test_pairs_of_codes(name, length, rows):
    """A look-up for two codes that lie side by side: the same results of fewer steps, but for transposed products."""
    counts = {}
    for pairs in (0, 1, 1 << 63):
        bench = Bench(with_cores(2))
        codebook(bench, name, 5)
        build(bench, list(range(length)))
        bench.set(lut__pairs=pairs)
        W, acc = put_weights(bench, name, random_matrix(name, rows, length, 1, 0.3), 0), bench.put(np.zeros(rows, np.int32))
        down, across = put_weights(bench, name, random_matrix(name, length, rows, 1, 0.3), 0), bench.put(np.zeros(rows, np.int32))
        scale, f32 = bench.put(np.ones(rows + 1, np.float32)), bench.put(np.zeros(rows * length + 1, np.float32))
        done = [bench.run(f"lut.mac.{name}", acc=acc, W=W, rows=rows),
                bench.run(f"lut.gemv.{name}", y=f32, W=W, scale=scale, rows=rows),
                bench.run(f"lut.decode.{name}", dst=f32, codes=W, scale=scale, n=length),
                bench.run(f"lut.macT.{name}", acc=across, W=down, cols=rows)]
        results = [bench.get(place, "<i4", rows).tolist() for place in (acc, across)] + [bench.get(f32, "<i4", length).tolist()]
        for each in done:
            assert each.counts.get("lut.lookups", 0) == each.counts.get("lut.steps", 0)
        counts[pairs] = results, [[each.counts.get(f"lut.{event}", 0) for each in done] for event in ("steps", "steps_longest")]
    half = -(-length // 2)
    assert counts[0][0] == counts[1][0] and counts[1] == counts[1 << 63]
    assert counts[0][1] == [[rows * length, rows * length, length, rows * length],
                            [-(-rows // 2) * length, -(-rows // 2) * length, half, -(-rows // 2) * length]]
    assert counts[1][1] == [[rows * half, rows * half, half, rows * length],
                            [-(-rows // 2) * half, -(-rows // 2) * half, -(-half // 2), -(-rows // 2) * length]]


@given(length=st.integers(1, 40), seed=st.integers(0, 99))
def test_bipolar_matrix_vector_product_from_bit_planes(length, seed):
    """Two-bit bipolar weights times three-bit bipolar activations: x = sum of 2**i (2 bit_i - 1)."""
    bench, rng = Bench(), np.random.default_rng(seed)
    w, x = rng.integers(0, 4, (3, length)), rng.integers(0, 8, length)
    acc, planes = bench.put(np.zeros(3, np.int32)), bench.put(np.zeros(8, np.uint8))
    codes = bench.put(x.astype(np.uint8))
    for j in range(3):
        bench.run("lut.plane", dst=planes, x=codes, bit=j, n=length)
        bench.run("lut.build.b1", x=planes, n=length)
        for i in range(2):
            bench.set(lut__shift=i + j)
            bench.run("lut.xnor", acc=acc, W=bench.put(np.packbits(w >> i & 1, axis=1, bitorder="little")), rows=3)
    assert bench.get(acc, "<i4", 3).tolist() == ((2 * w - 3) @ (2 * x - 7)).tolist()


# ------------------------------------------------------------------------------------------------ refusals

MACS = [row.mnemonic for row in rows("lut") if row.mnemonic.startswith(("lut.mac", "lut.gemv", "lut.xnor"))]


def some_operands(bench, mnemonic, **others):
    return {**{operand.name: bench.free for operand in TABLE[mnemonic].operands}, "rows": 1, "cols": 1, **others}


def operands_of(bench, mnemonic, **others):
    names = {operand.name for operand in TABLE[mnemonic].operands}
    return {name: value for name, value in some_operands(bench, mnemonic, **others).items() if name in names}


@pytest.mark.parametrize("mnemonic", MACS)
def test_nothing_built_is_refused(mnemonic):
    bench = Bench()
    assert refused(Cause.ILLEGAL_OPERAND, bench, mnemonic, **operands_of(bench, mnemonic)) == (
        "no activations are loaded; lut.build.i8 or lut.build.b1 must come first")


@pytest.mark.parametrize("mnemonic", MACS)
def test_settings_out_of_range_are_refused(mnemonic):
    bench = Bench()
    bench.run("lut.build.b1", x=bench.free, n=16)
    bench.set(lut__mode=3)
    reason = refused(Cause.ILLEGAL_OPERAND, bench, mnemonic, **operands_of(bench, mnemonic))
    assert reason == "lut.mode is 3; expected 0 (LUT), 1 (buffer) or 2 (mixed)"
    bench.set(lut__mode=0, lut__shift=32)
    reason = refused(Cause.ILLEGAL_OPERAND, bench, mnemonic, **operands_of(bench, mnemonic))
    assert reason == "lut.shift is 32; expected 0..31"
    bench.set(lut__shift=0, lut__row_stride=1)
    if "macT" not in mnemonic:
        reason = refused(Cause.ILLEGAL_OPERAND, bench, mnemonic, **operands_of(bench, mnemonic))
        assert reason.startswith("lut.row_stride is 1; expected 0 (packed) or at least ")


@pytest.mark.parametrize("mnemonic", MACS)
def test_impossible_sizes_trap_before_anything_is_allocated(mnemonic):
    for length in (0, 16):
        bench = Bench()
        bench.run("lut.build.b1", x=bench.free, n=length)
        with_huge = operands_of(bench, mnemonic, rows=1 << 60, cols=1 << 60)
        refused(Cause.CAPACITY, bench, mnemonic, **with_huge)
        with_most = operands_of(bench, mnemonic, rows=1 << 28, cols=1 << 28)
        no_weights = "gemv" in mnemonic and not length
        refused(Cause.STORE_ACCESS if no_weights else Cause.LOAD_ACCESS, bench, mnemonic, **with_most)


def test_a_matrix_that_leaves_its_region_traps_at_once():
    bench = Bench()
    bench.run("lut.build.b1", x=bench.free, n=16)
    bench.set(lut__row_stride=1 << 40)
    reason = refused(Cause.LOAD_ACCESS, bench, "lut.mac.b1", **operands_of(bench, "lut.mac.b1", rows=2))
    assert f"{(1 << 40) + 2} bytes" in reason


def test_groups_of_weights_and_activations_must_agree():
    bench = Bench()
    bench.set(lut__scale_group=32)
    build(bench, [1] * 64, [1, 1])
    bench.set(lut__scale_group=16)
    assert refused(Cause.ILLEGAL_OPERAND, bench, "lut.gemv.i4", **operands_of(bench, "lut.gemv.i4")) == (
        "lut.scale_group is 16, but the activations were built with groups of 32; expected the same, or 0 (one scale) "
        "for one of them")


def test_a_byte_has_eight_planes():
    bench = Bench()
    assert refused(Cause.ILLEGAL_OPERAND, bench, "lut.plane", dst=bench.free, x=bench.free, bit=8, n=1) == (
        "bit 8 of a byte; expected 0..7")


def test_a_byte_has_two_parts_and_16_bits_have_four():
    bench = Bench()
    assert refused(Cause.ILLEGAL_OPERAND, bench, "lut.part.i8", dst=bench.free, x=bench.free, part=2, n=1) == (
        "part 2 of an activation of 8 bits; expected 0 or 1")
    assert refused(Cause.ILLEGAL_OPERAND, bench, "lut.part.i16", dst=bench.free, x=bench.free, part=4, n=1) == (
        "part 4 of an activation of 16 bits; expected 0..3")


@pytest.mark.parametrize("mnemonic", ["lut.decode.c4", "lut.plane", "lut.part.i8", "lut.part.i16"])
def test_impossible_lengths(mnemonic):
    bench = Bench()                                     # what is read is looked at before what is written
    refused(Cause.LOAD_ACCESS, bench, mnemonic, **operands_of(bench, mnemonic, n=1 << 28, bit=0, part=0))
    reason = refused(Cause.CAPACITY, bench, mnemonic, **operands_of(bench, mnemonic, n=(1 << 28) + 1, bit=0, part=0))
    assert reason == "n is 0x10000001; expected at most 0x10000000: is it an address?"


def test_slim_llama_computes_in_the_scratchpad_only():
    bench = Bench("slim-llama")
    build(bench, [1, 2, 3, 4])
    acc = bench.put(np.zeros(1, np.int32))
    assert "no port to dram" in refused(Cause.PORT, bench, "lut.mac.t2", acc=acc, W=0x8000_0100, rows=1)


def test_canonical_nan():
    bench = Bench()
    build(bench, [1], [struct.unpack("<f", b"\x01\x00\xa0\xff")[0]])
    y = bench.put(np.zeros(1, np.float32))
    bench.run("lut.gemv.i8", y=y, W=bench.put(np.ones(1, np.int8)), scale=bench.put(ONE), rows=1)
    assert bench.get(y, "<u4", 1).tolist() == [0x7FC0_0000]


def test_formats_and_their_numbers_in_the_encoding():
    assert tuple(products.FORMAT_NUMBERS) == FORMAT_NAMES and tuple(products.FORMAT_NUMBERS.values()) == tuple(range(10))
    for number, name in enumerate(FORMAT_NAMES):
        assert TABLE[f"lut.mac.{name}"].fixed["funct7"] == number
        assert TABLE[f"lut.macT.{name}"].fixed["funct7"] == 16 + number
        gemv = TABLE[f"lut.gemv.{name}"].fixed
        assert gemv["funct3"] * 4 + gemv["funct2"] == 4 + number


@pytest.mark.parametrize("number", range(10, 16))
def test_numbers_of_formats_to_come_are_free(number):
    """None of the words that they would have is an instruction."""
    words = [funct << at | 0x2B for at, funct in ((25, number), (25, 16 + number))]
    words.append(number % 4 << 25 | (1, 2, 3, 6)[number // 4] << 12 | 0x2B)
    assert [decode(word) for word in words] == [None] * 3


def test_a_kind_that_the_unit_does_not_know_is_refused():
    with pytest.raises(ValueError, match="f16 is a floating-point number, which the LUT unit does not multiply"):
        bit_planes(FORMATS["f16"])


def test_every_counter_of_the_unit_is_one_of_a_row():
    declared = {name for row in rows("lut") for name in counters(row)} - {"core.instructions"}
    assert declared == {counter.name for counter in UNITS["lut"].counters}
