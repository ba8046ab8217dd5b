"""thr: compare, list, select, top-k against plain Python."""

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit_bench import Bench, refused

from isa.instruction import rows
from isa.traps import Cause

VALUES = st.lists(st.floats(width=32) | st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0]), max_size=40)


def f32_bits(value: float) -> int:
    return struct.unpack("<I", struct.pack("<f", value))[0]


@pytest.mark.parametrize("name", ["thr.gt.f32", "thr.absgt.f32"])
@given(values=VALUES, theta=st.floats(width=32) | st.sampled_from([0.0, 1.0]))
def test_compare_to_mask(name, values, theta):
    bench = Bench()
    x = bench.put(np.array(values, np.float32))
    mask = bench.put(np.full(10, 0xAA, np.uint8))
    done = bench.run(name, mask=mask, x=x, theta=0xFFFF_FFFF << 32 | f32_bits(theta), n=len(values))
    passed = [(abs(v) if "abs" in name else v) > theta for v in values]
    expected = [sum(bit << i for i, bit in enumerate(passed[start:start + 8])) for start in range(0, len(values), 8)]
    assert bench.get(mask, "u1", len(expected)).tolist() == expected
    assert bench.get(mask + len(expected), "u1", 10 - len(expected)).tolist() == [0xAA] * (10 - len(expected))
    assert done.counts.get("thr.compares", 0) == len(values)
    assert done.counts.get("thr.passes", 0) == sum(passed)
    assert done.counts["thr.ops"] == 1


@given(st.lists(st.booleans(), max_size=50), st.integers(0, 255))
def test_mask_to_index_list(bits, rest):
    bench, n = Bench(), len(bits)
    packed = [sum(bit << i for i, bit in enumerate(bits[start:start + 8])) for start in range(0, n, 8)]
    if n % 8:
        packed[-1] |= rest << n % 8 & 0xFF          # bits behind the end do not matter
    mask = bench.put(np.array(packed, np.uint8))
    index = bench.put(np.full(51, 7, np.uint32))
    done = bench.run("thr.index", mask=mask, index=index, n=n)
    expected = [i for i, bit in enumerate(bits) if bit]
    assert done.result == len(expected)
    assert bench.get(index, "<u4", 51).tolist() == expected + [7] * (51 - len(expected))
    assert done.counts.get("thr.selected", 0) == len(expected)


def repeatedly_pick(values, k, largest):
    """k times: the best value that is left, the first of equal ones."""
    left, picked = dict(enumerate(values)), []
    for _ in range(k):
        best = None
        for i, v in left.items():
            v = (-math.inf if largest else math.inf) if math.isnan(v) else v
            if best is None or (v > best[1] if largest else v < best[1]):
                best = (i, v)
        picked.append(best[0])
        del left[best[0]]
    return picked


@pytest.mark.parametrize("name", ["thr.topk.f32", "thr.bottomk.f32"])
@given(values=VALUES, data=st.data())
def test_top_and_bottom_k(name, values, data):
    k = data.draw(st.integers(0, len(values)))
    bench = Bench()
    x, index = bench.put(np.array(values, np.float32)), bench.put(np.full(41, 99, np.uint32))
    done = bench.run(name, index=index, x=x, k=k, n=len(values))
    expected = repeatedly_pick(values, k, "topk" in name)
    assert bench.get(index, "<u4", 41).tolist() == expected + [99] * (41 - k)
    assert done.counts.get("thr.selected", 0) == k
    assert done.counts.get("thr.compares", 0) == len(values)


@pytest.mark.parametrize("name", ["thr.topk.f32", "thr.bottomk.f32"])
def test_more_than_there_are_is_refused(name):
    bench = Bench()
    x = bench.put(np.zeros(4, np.float32))
    assert refused(Cause.ILLEGAL_OPERAND, bench, name, index=x, x=x, k=5, n=4) == "5 of 4 elements; expected k <= n"


TABLE = np.array([[0.3, 0.5, 0.9],      # sparsity levels
                  [1.0, 2.0, 3.0],      # thresholds of row 0
                  [4.0, 5.0, 6.0]], np.float32)


@pytest.mark.parametrize(("row", "sparsity", "theta"), [
    (0, 0.0, 1.0), (0, 0.3, 1.0), (0, 0.31, 2.0), (0, 0.5, 2.0), (1, 0.6, 6.0), (1, 0.9, 6.0), (1, 0.95, 6.0),
    (1, math.nan, 6.0), (0, -math.inf, 1.0)])
def test_threshold_from_table(row, sparsity, theta):
    bench = Bench()
    bench.set(thr__levels=3)
    done = bench.run("thr.select", table=bench.put(TABLE), row=row, sparsity=f32_bits(sparsity))
    assert done.result == f32_bits(theta)
    assert done.counts["thr.compares"] == 3
    assert done.counts["sram.bytes_read"] == 4 * 3 + 4


def test_a_threshold_table_without_levels_is_refused():
    bench = Bench()
    reason = refused(Cause.ILLEGAL_OPERAND, bench, "thr.select", table=bench.put(TABLE), row=0, sparsity=0)
    assert "thr.levels is 0; expected" in reason


def test_a_row_beyond_memory_traps_as_a_load():
    bench = Bench()
    bench.set(thr__levels=3)
    refused(Cause.LOAD_ACCESS, bench, "thr.select", table=bench.put(TABLE), row=1 << 61, sparsity=0)


@given(st.lists(st.integers(0, 20) | st.integers(0, (1 << 32) - 1), max_size=12),
       st.integers(0, 60) | st.integers(0, (1 << 64) - 1))
def test_prefix_that_fits_a_budget(sizes, budget):
    bench = Bench()
    done = bench.run("thr.prefix", sizes=bench.put(np.array(sizes, np.uint32)), budget=budget, n=len(sizes))
    expected = max(k for k in range(len(sizes) + 1) if sum(sizes[:k]) <= budget)
    assert done.result == expected
    assert done.counts.get("thr.selected", 0) == expected
    assert done.counts.get("thr.compares", 0) == len(sizes)


@given(st.lists(st.integers(0, 9), max_size=12), st.lists(st.integers(0, 30), min_size=11, max_size=11), st.integers(0, 60))
def test_ranges_up_to_a_budget(ranks, bounds, budget):
    """Also ranges that end before they begin, which are empty, and a range twice."""
    bench = Bench()
    bench.set(thr__budget=budget)
    index = bench.put(np.full(60, 77, np.uint32))
    done = bench.run("thr.ranges", index=index, ranks=bench.put(np.array(ranks, np.uint32)),
                     bounds=bench.put(np.array(bounds, np.uint32)), n=len(ranks))
    expected = [number for rank in ranks for number in range(bounds[rank], bounds[rank + 1])][:budget]
    assert bench.get(index, np.uint32, 60).tolist() == expected + [77] * (60 - len(expected))
    assert done.counts.get("thr.selected", 0) == len(expected)
    assert done.counts.get("thr.compares", 0) == len(ranks)


def test_ranges_look_no_further_than_the_budget():
    """The second rank leads between two regions; a range of 2**32 - 1 numbers does not fit, which is seen before they are made."""
    bench = Bench()
    ranks, bounds, index = bench.put(np.array([0, 1 << 26], np.uint32)), bench.put(np.array([5, 9], np.uint32)), bench.free + 64
    bench.set(thr__budget=4)
    done = bench.run("thr.ranges", index=index, ranks=ranks, bounds=bounds, n=2)
    assert bench.get(index, np.uint32, 4).tolist() == [5, 6, 7, 8]
    assert done.counts["thr.selected"] == 4
    bench.set(thr__budget=5)
    refused(Cause.LOAD_ACCESS, bench, "thr.ranges", index=index, ranks=ranks, bounds=bounds, n=2)
    bench.set(thr__budget=(1 << 64) - 1)
    huge = bench.put(np.array([0, (1 << 32) - 1], np.uint32))
    refused(Cause.STORE_ACCESS, bench, "thr.ranges", index=bench.free, ranks=ranks, bounds=huge, n=1)


@pytest.mark.parametrize("name", [row.mnemonic for row in rows("thr") if row.mnemonic != "thr.select"])
def test_impossible_lengths_trap_before_anything_is_allocated(name):
    bench = Bench()
    operands = {operand.name: bench.free for operand in next(r for r in rows("thr") if r.mnemonic == name).operands}
    refused(Cause.CAPACITY, bench, name, **{**operands, "n": 1 << 60})
    refused(Cause.LOAD_ACCESS, bench, name, **{**operands, **({"k": 1} if "k" in operands else {}), "n": 1 << 28})


def test_mask_and_list_may_replace_their_source():
    bench = Bench()
    x = bench.put(np.array([1, -1, 2, -2], np.float32))
    bench.run("thr.gt.f32", mask=x, x=x, theta=0, n=4)
    assert bench.run("thr.index", mask=x, index=x, n=4).result == 2
    assert bench.get(x, "<u4", 2).tolist() == [0, 2]
