"""Rules that the pages of vec, lut, thr and fetch state in words, each tried on both engines.

What operands of no length do, codes that no tool writes, sizes of codebooks, groups of scales, flash outside of the program's
sections, bytes between rows, ties and NaNs of selections. Every expectation is computed here, from the page.
"""

from __future__ import annotations

import re
from fractions import Fraction

import numpy as np
import pytest
from both_engines import FLASH, SRAM, Pair

from isa.counters import COUNTERS
from isa.instruction import TABLE, rows
from isa.program import Program, Section
from isa.traps import Cause
from isa.units import UNITS

TEXT, NOWHERE = 0x8000_0000, 0x123                  # in no region, and aligned to nothing
ABSURD = (1 << 64) - 3
NAN = 0x7FC0_0000
UNIT_NAMES = ("vec", "lut", "thr", "fetch")


@pytest.fixture(scope="module")
def both():
    return Pair(flash=bytes(4096))


@pytest.fixture
def pair(both):
    both.fresh()
    return both


def traps(done, cause, value):
    assert done.trap is not None
    assert (done.trap.cause, done.trap.value) == (cause, value)


def counted(done, **expected):
    """What the instruction counted besides itself and bytes."""
    assert done.trap is None, done.trap
    got = {name: events for name, events in done.counts.items()
           if not name.endswith((".ops", ".bytes_read", ".bytes_written")) and name != "core.instructions"}
    assert got == {name.replace("__", "."): events for name, events in expected.items() if events}


def built(pair, x, x_group=0, scales=(1.0,)):
    """The state after `lut.build.i8` of these activations."""
    pair.start_state = {"lut.kind": np.array([1], "u1"), "lut.length": np.array([len(x)], "u8"),
                        "lut.activations": np.array(x, "i1"), "lut.x_group": np.array([x_group], "u8"),
                        "lut.scales": np.array(scales, "<f4")}


# ------------------------------------------------------------------------------------------------ counters


@pytest.mark.parametrize("name", UNIT_NAMES)
def test_every_counter_of_a_unit_has_its_equation_on_the_page(name):
    """tests/emulator/test_conservation.py holds the equations themselves."""
    tables = [line for line in UNITS[name].text.splitlines() if line.startswith("    ")]
    missing = [counter.name for counter in UNITS[name].counters if not any(counter.name in line for line in tables)]
    assert missing == []
    named = {word for line in tables for word in re.findall(rf"\b{name}\.\w+", line)}
    assert named <= COUNTERS.keys() | {csr.name for csr in UNITS[name].csrs}


# ------------------------------------------------------------------------------------------------ no length


@pytest.mark.parametrize("row", [*rows("vec")], ids=lambda row: row.mnemonic)
def test_a_vec_operation_of_no_length_does_nothing(pair, row):
    pair.set(vec__cols=ABSURD, vec__row_stride=ABSURD, vec__scale_group=ABSURD, vec__head_dim=ABSURD, vec__eps=NAN, vec__windows=0)
    operands = {o.name: 0 if o.name in row.lengths else NOWHERE for o in row.operands if o is not row.result}
    done = pair.run(row.mnemonic, **operands)
    assert done.trap is None
    assert done.counts == {"core.instructions": 1, "vec.ops": 1}
    inf = 0x7F80_0000
    assert done.result == {"vec.max.f32": 1 << 31 | inf, "vec.min.f32": inf}.get(row.mnemonic, 0 if row.result else None)


@pytest.mark.parametrize("row", [row for row in rows("vec") if "vec.gemv" in row.mnemonic or "vec.macT" in row.mnemonic],
                         ids=lambda row: row.mnemonic)
def test_a_matrix_of_no_columns_traps_if_it_has_a_row(pair, row):
    places = {o.name: SRAM + 256 * i for i, o in enumerate(row.operands)}
    pair.set(vec__cols=0)
    traps(pair.run(row.mnemonic, **places | {"rows": 1}), Cause.ILLEGAL_OPERAND, 0)


@pytest.mark.parametrize("name", ["vec.rope.f32", "vec.ropehalf.f32"])
@pytest.mark.parametrize("head_dim", [0, 1, 3, 8, ABSURD])
def test_heads_must_be_even_and_divide_the_vector(pair, name, head_dim):
    pair.set(vec__head_dim=head_dim)
    traps(pair.run(name, dst=SRAM, x=SRAM, table=SRAM + 1024, n=12), Cause.ILLEGAL_OPERAND, head_dim)


@pytest.mark.parametrize("row", [row for row in rows("thr") if row.lengths], ids=lambda row: row.mnemonic)
def test_a_thr_operation_of_no_length_does_nothing(pair, row):
    operands = {o.name: 0 if o.role == "value" else NOWHERE for o in row.operands if o is not row.result}
    done = pair.run(row.mnemonic, **operands)
    assert done.counts == {"core.instructions": 1, "thr.ops": 1}
    assert done.result in (0, None)


PRODUCTS = [row for row in rows("lut") if row.mnemonic.startswith(("lut.mac", "lut.gemv", "lut.xnor"))]


@pytest.mark.parametrize("row", PRODUCTS, ids=lambda row: row.mnemonic)
def test_a_product_of_no_rows_checks_its_settings_and_does_no_more(pair, row):
    operands = {o.name: 0 if o.name in row.lengths else NOWHERE for o in row.operands}
    traps(pair.run(row.mnemonic, **operands), Cause.ILLEGAL_OPERAND, 0)             # nothing was built
    built(pair, [1, 2, 3])
    done = pair.run(row.mnemonic, **operands)
    assert done.counts == {"core.instructions": 1, "lut.ops": 1}
    for name, value in (("lut__mode", 3), ("lut__shift", 32)):
        pair.csrs = {}
        pair.set(**{name: value})
        traps(pair.run(row.mnemonic, **operands), Cause.ILLEGAL_OPERAND, value)


@pytest.mark.parametrize("row", PRODUCTS, ids=lambda row: row.mnemonic)
def test_a_product_with_no_activations_adds_nothing_and_reads_no_weights(pair, row):
    built(pair, [])
    before = np.array([5, -6, 7], "<i4")
    place = pair.put(before)
    operands = {o.name: NOWHERE for o in row.operands} | {row.operands[0].name: place, row.lengths[0]: 3}
    done = pair.run(row.mnemonic, **operands)
    counted(done)
    is_gemv = row.mnemonic.startswith("lut.gemv")
    assert pair.get(place, "<i4", 3).tolist() == ([0, 0, 0] if is_gemv else before.tolist())
    assert (done.counts.get("sram.bytes_read", 0), done.counts["sram.bytes_written"]) == (0 if is_gemv else 12, 12)
    pair.set(lut__row_stride=1)                                                     # which is not looked at
    assert pair.run(row.mnemonic, inline=False, **operands).trap is None


def test_other_lut_operations_of_no_length(pair):
    pair.set(lut__mode=ABSURD, lut__shift=ABSURD, lut__scale_group=ABSURD)          # which they do not look at
    for name in ("lut.decode.c2", "lut.decode.c3", "lut.decode.c4"):
        done = pair.run(name, dst=NOWHERE, codes=NOWHERE, scale=NOWHERE, n=0)
        assert done.counts == {"core.instructions": 1, "lut.ops": 1}
    assert pair.run("lut.plane", dst=NOWHERE, x=NOWHERE, bit=7, n=0).counts == {"core.instructions": 1, "lut.ops": 1}
    traps(pair.run("lut.plane", dst=NOWHERE, x=NOWHERE, bit=8, n=0), Cause.ILLEGAL_OPERAND, 8)
    pair.csrs = {}
    for kind, name, operands in ((1, "lut.build.i8", {"x": NOWHERE, "scale": NOWHERE}), (2, "lut.build.b1", {"x": NOWHERE})):
        built(pair, [1, 2, 3])
        counted(pair.run(name, **operands, n=0))
        assert (pair.fast.state["lut.kind"][0], pair.fast.state["lut.length"][0]) == (kind, 0)


def test_fetches_of_nothing_signal_and_count_what_is_left(pair):
    pair.set(fetch__tag=5, fetch__table_rows=9, fetch__row_bytes=32)
    for name in ("fetch.copy", "fetch.copy2d", "fetch.rows", "fetch.scatter"):
        row = TABLE[name]
        done = pair.run(name, **{o.name: 0 if o.role == "value" else NOWHERE for o in row.operands})
        left = {"fetch__rows_left": 9, "fetch__bytes_left": 9 * 32} if name == "fetch.rows" else {}
        counted(done, sync__signals=1, **left)
        assert pair.fast.state["sync.signalled"][5] == 1
    pair.set(fetch__row_bytes=0)
    for name in ("fetch.copy2d", "fetch.rows", "fetch.scatter"):
        operands = {o.name: 1 if o.role == "value" else SRAM + 256 * i for i, o in enumerate(TABLE[name].operands)}
        traps(pair.run(name, **operands), Cause.ILLEGAL_OPERAND, 0)
    pair.set(fetch__row_bytes=ABSURD, fetch__src_stride=ABSURD, fetch__dst_stride=ABSURD, fetch__tag=0)
    counted(pair.run("fetch.copy", dst=SRAM, src=SRAM + 64, bytes=3), fetch__rows=1, fetch__row_runs=1, fetch__bytes=3)
    pair.set(fetch__tag=64)
    traps(pair.run("fetch.copy", dst=SRAM, src=SRAM + 64, bytes=0), Cause.ILLEGAL_OPERAND, 64)


# ------------------------------------------------------------------------------------------------ codes that no tool writes


def t2(data, count):
    """Weights of two bits each as the page of numbers says."""
    codes = [int(data[i // 4]) >> 2 * (i % 4) & 3 for i in range(count)]
    return [2 if code == 3 else code - 1 for code in codes]


def t5(data, count):
    values = [int(byte) - 243 * (byte >= 243) for byte in data]
    return [values[i // 5] // 3 ** (i % 5) % 3 - 1 for i in range(count)]


def events(weights, mode):
    """Counters of one plane by the table of docs/isa/lut.md. `weights`: for each output those in the order of activations."""
    lookups = reads = steps = skipped = 0
    for one in weights:
        for start in range(0, len(one), (4, 8, 7)[mode]):
            group = [w != 0 for w in one[start:start + (4, 8, 7)[mode]]]
            w, f = sum(group), int(mode == 2 and len(group) >= 3 and all(group[:3]))
            lookups += f if mode == 2 else int(mode == 0 and w > 0)
            reads += (0, w, w - 3 * f)[mode]
            steps += (int(w > 0), -(-w // 2), -(-(f + w - 3 * f) // 2))[mode]
            skipped += w == 0
    zeros = sum(w == 0 for one in weights for w in one)
    return {"lut__lookups": lookups, "lut__buffer_reads": reads, "lut__steps": steps, "lut__steps_longest": steps,
            "lut__groups_skipped": skipped, "lut__macs": sum(map(len, weights)), "lut__macs_skipped": zeros}


@pytest.mark.parametrize("mode", range(3))
@pytest.mark.parametrize(("form", "decode", "density"), [("t2", t2, 4), ("t5", t5, 5)])
@pytest.mark.parametrize("length", [1, 3, 9, 32, 129])
def test_spare_codes_are_weights_as_the_page_says(pair, form, decode, density, length, mode):
    """Code 3 of t2 is +2, in products and in what is counted; bytes of t5 from 243 on are those less 243."""
    random, count = np.random.default_rng(length), 6
    x = random.integers(-128, 128, length).tolist()
    built(pair, x)
    pair.set(lut__mode=mode)
    acc, scale = pair.put(np.zeros(200, "<i4")), pair.put(np.ones(1, "<f4"))

    size = -(-length // density)
    data = random.integers(0, 256, (count, size), np.uint8) | (0xF3 if density == 5 else 0)
    data[:, 0] = 0xFF                                                       # all codes are 3
    W = pair.put(data)
    weights = [decode(row, length) for row in data]
    assert form == "t5" or all(row[0] == 2 for row in weights)
    sums = [sum(w * v for w, v in zip(row, x, strict=True)) for row in weights]
    switched = int(np.unpackbits(data[1:] ^ data[:-1]).sum())
    expected = events(weights, mode) | {"lut__weight_bytes": count * size, "lut__index_toggles": switched}
    counted(pair.run(f"lut.mac.{form}", acc=acc, W=W, rows=count), **expected)
    assert pair.get(acc, "<i4", count).tolist() == sums
    counted(pair.run(f"lut.gemv.{form}", y=acc, W=W, scale=scale, rows=count), **expected)
    assert pair.get(acc, "<f4", count).tolist() == sums

    cols = 21
    size = -(-cols // density)
    data = random.integers(0, 256, (length, size), np.uint8) | 0xC0
    W = pair.put(data)
    by_input = [decode(row, cols) for row in data]
    by_output = [list(column) for column in zip(*by_input, strict=True)]
    counted(pair.run(f"lut.macT.{form}", acc=acc, W=W, cols=cols), **events(by_output, mode), lut__weight_bytes=length * size)
    assert pair.get(acc, "<i4", cols).tolist() == [sum(w * v for w, v in zip(column, x, strict=True)) for column in by_output]


def test_decode_has_codebooks_alone():
    assert sorted(name for name in TABLE if name.startswith("lut.decode")) == ["lut.decode.c2", "lut.decode.c3", "lut.decode.c4"]


# ------------------------------------------------------------------------------------------------ codebooks and scales


@pytest.mark.parametrize("form", ["i8", "f32"])
@pytest.mark.parametrize("n", [*range(18), 32, 1 << 28, 1 << 40])
def test_codebooks_have_4_8_or_16_values(pair, form, n):
    state, dtype = f"lut.codebook_{form}", {"i8": "i1", "f32": "<f4"}[form]
    table = np.arange(1, 17).astype(dtype)
    pair.start_state[state] = np.full(16, 99, dtype)
    done = pair.run(f"lut.codebook.{form}", table=pair.put(table), n=n)
    if n > 1 << 28:
        traps(done, Cause.CAPACITY, n)
    elif n == 1 << 28:
        assert done.trap.cause == Cause.LOAD_ACCESS
    elif n not in (4, 8, 16):
        traps(done, Cause.ILLEGAL_OPERAND, n)
    else:
        counted(done)
        assert pair.fast.state[state].tolist() == [*range(1, n + 1), *[0] * (16 - n)]


def test_codes_behind_a_short_codebook_are_zero(pair):
    pair.start_state["lut.codebook_i8"] = np.array([3, -5, 0, 7] + [0] * 12, "i1")
    codes = np.array([0x10, 0x32, 0xF4], np.uint8)                          # 0 1 2 3 4 15
    built_state, pair.start_state = pair.start_state, {}
    built(pair, [1, 10, 100, 25, 50, 60])
    pair.start_state |= built_state
    acc = pair.put(np.zeros(1, "<i4"))
    counted(pair.run("lut.mac.c4", acc=acc, W=pair.put(codes), rows=1), lut__lookups=6, lut__steps=6,
            lut__steps_longest=6, lut__macs=6, lut__macs_skipped=3, lut__weight_bytes=3)
    assert pair.get(acc, "<i4", 1).tolist() == [3 - 50 + 175]


@pytest.mark.parametrize("length", [1, 4, 10, 33])
@pytest.mark.parametrize(("group", "x_group"), [(0, 0), (4, 0), (0, 4), (4, 4), (33, 0), (1000, 0), (1000, 1000), (0, 1000)])
def test_groups_of_scales_end_with_what_is_left(pair, length, group, x_group):
    random, count = np.random.default_rng(length), 3
    x, weights = random.integers(-20, 20, length), random.integers(-8, 8, (count, length))
    size = group or x_group or length
    groups = -(-length // size)
    scales = np.array(2.0 ** random.integers(-3, 4, (count, groups)), "<f4")
    x_scales = np.array(2.0 ** random.integers(-3, 4, groups), "<f4")
    if not group:
        scales[:] = scales[0, 0]
    if not x_group:
        x_scales[:] = x_scales[0]
    built(pair, x, x_group, x_scales if x_group else x_scales[:1])
    pair.set(lut__scale_group=group)
    packed = np.array([[(row[i] & 15) | (row[i + 1] & 15 if i + 1 < length else 0) << 4 for i in range(0, length, 2)]
                       for row in weights.tolist()], np.uint8)
    y = pair.put(np.zeros(count, "<f4"))
    done = pair.run("lut.gemv.i4", y=y, W=pair.put(packed), scale=pair.put(scales if group else scales[0, :1]), rows=count)
    assert done.trap is None
    expected = [float(sum(Fraction(int(weights[r, c]) * int(x[c])) * Fraction(float(scales[r, c // size]))
                          * Fraction(float(x_scales[c // size])) for c in range(length))) for r in range(count)]
    assert pair.get(y, "<f4", count).tolist() == expected                   # powers of two: all sums are exact
    assert done.counts["sram.bytes_read"] == packed.size + 4 * (count * groups if group else 1)


def test_groups_are_compared_as_numbers(pair):
    built(pair, [1, 2], 7)
    pair.set(lut__scale_group=8)
    traps(pair.run("lut.gemv.i8", y=SRAM, W=SRAM, scale=SRAM, rows=1), Cause.ILLEGAL_OPERAND, 8)


# ------------------------------------------------------------------------------------------------ memory


READS = [(row, operand) for name in UNIT_NAMES for row in rows(name) for operand in row.plain if "<" in operand.access]


@pytest.mark.parametrize(("row", "operand"), READS, ids=lambda value: getattr(value, "mnemonic", getattr(value, "name", "")))
def test_flash_holds_what_one_section_covers(pair, row, operand):
    """A read over the end of a section, or across two that touch, is a LOAD_ACCESS with its address."""
    sections = [Section(".text", "ax", TEXT, 4, [bytes(4096)]),
                *(Section(f".weights{i}", "a", FLASH + 4096 * i, 4096, [bytes(4096)]) for i in range(2))]
    try:
        for each in pair.machines:
            each.load(Program(sections, [], [], TEXT))
        pair._word = -1
        for end in (FLASH + 4096, FLASH + 8192):
            operands = {o.name: 64 if o.role == "value" else SRAM + 4096 * i for i, o in enumerate(row.operands)}
            size = operand.layout.size(operands)
            address = end - size // 2 // 4 * 4
            traps(pair.run(row.mnemonic, **operands | {operand.name: address}), Cause.LOAD_ACCESS, address)
    finally:
        for each in pair.machines:
            each.load(Program([sections[0], Section(".weights", "a", FLASH, 4096, [bytes(4096)])], [], [], TEXT))


def test_bytes_between_rows_are_not_counted(pair):
    W, x, y = pair.put(np.arange(64, dtype="<f4")), pair.put(np.ones(3, "<f4")), pair.put(np.zeros(8, "<f4"))
    pair.set(vec__cols=3, vec__row_stride=32)
    assert pair.run("vec.gemv.f32", y=y, W=W, x=x, rows=5).counts["sram.bytes_read"] == 5 * 12 + 12
    assert pair.run("vec.macT.f32", y=y, W=W, h=x, rows=3).counts["sram.bytes_read"] == 3 * 12 + 12 + 12
    pair.fresh()
    built(pair, [1] * 10)
    W, acc = pair.put(np.zeros(256, "u1")), pair.put(np.zeros(8, "<i4"))
    pair.set(lut__row_stride=16)
    done = pair.run("lut.mac.i4", acc=acc, W=W, rows=6)
    assert (done.counts["lut.weight_bytes"], done.counts["sram.bytes_read"]) == (6 * 5, 6 * 5 + 24)
    pair.fresh()
    src, dst = pair.put(np.zeros(256, "u1")), pair.put(np.zeros(256, "u1"))
    pair.set(fetch__row_bytes=5, fetch__src_stride=11, fetch__dst_stride=17)
    done = pair.run("fetch.copy2d", dst=dst, src=src, rows=7)
    assert {done.counts[name] for name in ("fetch.bytes", "sram.bytes_read", "sram.bytes_written")} == {35}


def test_scales_stay_where_codes_overlap_them(pair):
    """The one instruction of these units that writes two operands."""
    assert [row.mnemonic for name in UNIT_NAMES for row in rows(name) if sum(">" in o.access for o in row.operands) > 1] == [
        "vec.quant.i8"]
    x, room = pair.put(np.array([127, 1, 2, 3, 4, 5, 6, 7], "<f4")), pair.put(np.zeros(8, "u1"))
    done = pair.run("vec.quant.i8", inline=False, dst=room, x=x, scale=room + 4, n=8)
    assert done.trap is None
    assert pair.get(room, "i1", 4).tolist() == [127, 1, 2, 3]
    assert pair.get(room + 4, "<f4", 1).tolist() == [1]


def test_of_rows_in_one_place_the_last_stays(pair):
    src = pair.put(np.arange(12, dtype="u1"))
    table, index = pair.put(np.zeros(32, "u1")), pair.put(np.array([2, 0, 2], "<u4"))
    pair.set(fetch__row_bytes=4)
    counted(pair.run("fetch.scatter", inline=False, table=table, src=src, index=index, count=3),
            fetch__rows=3, fetch__row_runs=3, fetch__bytes=12)
    assert pair.get(table, "u1", 12).tolist() == [4, 5, 6, 7, 0, 0, 0, 0, 8, 9, 10, 11]


# ------------------------------------------------------------------------------------------------ selections


def test_levels_of_a_table_need_not_rise_and_nans_are_never_reached(pair):
    nan = np.array([0x7F80_0001], "<u4").view("<f4")[0]
    levels = np.array([0.5, np.nan, 0.25, 0.75], "<f4")
    entries = np.array([0x3F80_0000, NAN, 0xFF80_0001, 0x8000_0000], "<u4").view("<f4")
    pair.set(thr__levels=4)
    table = pair.put(np.concatenate([levels, np.zeros(4, "<f4"), entries]))
    for sparsity, column in ((0.2, 0), (0.5, 0), (0.6, 3), (0.9, 3), (-np.inf, 0), (np.nan, 3), (nan, 3)):
        bits = int(np.array([sparsity], "<f4").view("<u4")[0]) | 0xABCD << 32           # upper bits are ignored
        done = pair.run("thr.select", table=table, row=1, sparsity=bits)
        assert done.result == int(entries.view("<u4")[column])
        counted(done, thr__compares=4)
        assert done.counts["sram.bytes_read"] == 20


def test_ties_and_nans_of_rankings(pair):
    x = pair.put(np.array([0.0, np.nan, -0.0, 1, -np.inf, np.inf, 1, np.nan], "<f4"))
    index = pair.put(np.zeros(8, "<u4"))
    for name, expected in (("thr.topk.f32", [5, 3, 6, 0, 2, 1, 4, 7]), ("thr.bottomk.f32", [4, 0, 2, 3, 6, 1, 5, 7])):
        for k in (1, 5, 8):
            counted(pair.run(name, index=index, x=x, k=k, n=8), thr__compares=8, thr__selected=k)
            assert pair.get(index, "<u4", k).tolist() == expected[:k]
        traps(pair.run(name, index=index, x=x, k=9, n=8), Cause.ILLEGAL_OPERAND, 9)


def test_bits_behind_a_mask_are_written_as_zero_and_ignored(pair):
    x, mask = pair.put(np.array([1, -1, np.nan, 0, -0.0], "<f4")), pair.put(np.full(4, 0xFF, "u1"))
    index = pair.put(np.zeros(8, "<u4"))
    counted(pair.run("thr.gt.f32", mask=mask, x=x, theta=0, n=5), thr__compares=5, thr__passes=1)
    assert pair.get(mask, "u1", 2).tolist() == [0b00001, 0xFF]
    done = pair.run("thr.index", mask=mask, index=index, n=5)
    assert (done.result, pair.get(index, "<u4", 5).tolist()) == (5, [0, 1, 2, 3, 4])
    codes, plane = pair.put(np.full(11, 255, "u1")), pair.put(np.full(4, 0xFF, "u1"))
    pair.run("lut.plane", dst=plane, x=codes, bit=3, n=11)
    assert pair.get(plane, "u1", 3).tolist() == [0xFF, 0b111, 0xFF]


def test_budgets_are_unsigned(pair):
    sizes = pair.put(np.full(4, 0xFFFF_FFFF, "<u4"))
    most = 0xFFFF_FFFF
    for budget, fits in ((0, 0), (most, 1), (2 * most, 2), (2 * most - 1, 1), (1 << 63, 4), ((1 << 64) - 1, 4)):
        done = pair.run("thr.prefix", sizes=sizes, budget=budget, n=4)
        assert done.result == fits
        counted(done, thr__compares=4, thr__selected=fits)


# ------------------------------------------------------------------------------------------------ NaN


def test_what_moves_bits_keeps_them_and_results_have_the_canonical_nan(pair):
    odd = np.array([0xFFA5_5A01, 0x3F80_0000, 0x7F80_0001, 0x8000_0000], "<u4")
    table, one = pair.put(odd), pair.put(np.ones(1, "<f4"))
    counted(pair.run("lut.codebook.f32", table=table, n=4))
    assert pair.fast.state["lut.codebook_f32"][:4].view("<u4").tolist() == odd.tolist()
    pair.set(lut__scale_group=1)
    pair.run("lut.build.i8", x=pair.put(np.ones(4, "i1")), scale=table, n=4)
    assert pair.fast.state["lut.scales"][:4].view("<u4").tolist() == odd.tolist()
    pair.set(lut__scale_group=0)
    pair.start_state["lut.codebook_f32"] = odd.view("<f4")
    dst = pair.put(np.zeros(4, "<u4"))
    pair.run("lut.decode.c2", dst=dst, codes=pair.put(np.array([0b11100100], "u1")), scale=one, n=4)
    assert pair.get(dst, "<u4", 4).tolist() == [NAN, 0x3F80_0000, NAN, 0x8000_0000]
    pair.run("vec.fill.32", dst=dst, value=0xABCD_0000_0000 | 0xFFA5_5A01, n=3)
    assert pair.get(dst, "<u4", 4).tolist() == [0xFFA5_5A01] * 3 + [0]
    for name, nan in (("vec.cvt.f16.f32", 0x7E00), ("vec.cvt.bf16.f32", 0x7FC0)):
        pair.run(name, dst=dst, x=table, n=1)
        assert pair.get(dst, "<u2", 1).tolist() == [nan]
    for name in ("vec.sum.f32", "vec.max.f32", "vec.min.f32", "vec.absmax.f32"):
        assert pair.run(name, x=table, n=1).result == NAN                   # with zeros above
