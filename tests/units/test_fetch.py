"""fetch: copies, gathers, scatters and packed chunks against loops over bytes; pages against a walk over every byte."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from machine_files import without_unit
from packets import rows_of, stream_of
from unit_bench import FLASH, Bench, refused

from isa.preset import PRESETS
from isa.traps import Cause

PAGE = 4096
DRAM = 0x8001_0000


def random_bytes(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, n, np.uint8)


def pages_of_every_byte(addresses, size):
    """Page reads of a unit that keeps one page at hand, byte by byte."""
    reads, at_hand = 0, None
    for address in addresses:
        for byte in range(address, address + size):
            if byte // PAGE != at_hand:
                reads, at_hand = reads + 1, byte // PAGE
    return reads


def runs(rows):
    """How often the next (first, last) does not begin behind the last one, or at it."""
    return sum(number == 0 or first not in (rows[number - 1][1], rows[number - 1][1] + 1) for number, (first, _) in enumerate(rows))


def side_by_side(addresses, size):
    """Runs of rows without a gap and without a step back."""
    return sum(number == 0 or address != addresses[number - 1] + size for number, address in enumerate(addresses))


@given(st.integers(0, 60), st.integers(0, 70), st.integers(0, 70))
def test_copy_reads_all_before_it_writes(size, src, dst):
    bench, data = Bench(), random_bytes(140)
    base = bench.put(data)
    done = bench.run("fetch.copy", dst=base + dst, src=base + src, bytes=size)
    expected = data.copy()
    expected[dst:dst + size] = data[src:src + size]
    assert np.array_equal(bench.get(base, "u1", 140), expected)
    assert done.counts.get("fetch.bytes", 0) == done.counts.get("sram.bytes_read", 0) == size
    assert done.counts.get("sram.bytes_written", 0) == size
    assert done.counts.get("fetch.rows", 0) == done.counts.get("fetch.row_runs", 0) == (size > 0)
    assert {"fetch.pages", "fetch.page_runs"}.isdisjoint(done.counts)


@given(rows=st.integers(0, 6), row_bytes=st.integers(1, 9), src_gap=st.integers(0, 5), dst_gap=st.integers(0, 5))
def test_copy2d(rows, row_bytes, src_gap, dst_gap):
    bench, data = Bench(), random_bytes(200)
    src, dst = bench.put(data), bench.put(np.zeros(200, np.uint8))
    bench.set(fetch__row_bytes=row_bytes, fetch__src_stride=row_bytes + src_gap if src_gap else 0,
              fetch__dst_stride=row_bytes + dst_gap if dst_gap else 0)
    done = bench.run("fetch.copy2d", dst=dst, src=src, rows=rows)
    expected = np.zeros(200, np.uint8)
    for i in range(rows):
        for j in range(row_bytes):
            expected[i * (row_bytes + dst_gap) + j] = data[i * (row_bytes + src_gap) + j]
    assert np.array_equal(bench.get(dst, "u1", 200), expected)
    assert done.counts.get("fetch.rows", 0) == rows
    assert done.counts.get("fetch.row_runs", 0) == (rows if src_gap else min(rows, 1))
    assert done.counts.get("fetch.bytes", 0) == done.counts.get("sram.bytes_read", 0) == rows * row_bytes


def test_source_rows_may_overlap():
    bench = Bench()
    src, dst = bench.put(np.arange(10, dtype=np.uint8)), bench.put(np.zeros(9, np.uint8))
    bench.set(fetch__row_bytes=3, fetch__src_stride=2)
    done = bench.run("fetch.copy2d", dst=dst, src=src, rows=3)  # windows of 3 with a step of 2
    assert done.counts["fetch.row_runs"] == 3
    assert bench.get(dst, "u1", 9).tolist() == [0, 1, 2, 2, 3, 4, 4, 5, 6]


@given(index=st.lists(st.integers(0, 9), max_size=12), row_bytes=st.integers(1, 7), gap=st.integers(0, 3), known=st.booleans())
def test_gather_rows(index, row_bytes, gap, known):
    bench, table = Bench(), random_bytes(10 * 10)
    addresses = bench.put(table), bench.put(np.array(index, np.uint32)), bench.put(np.zeros(12 * 7, np.uint8))
    bench.set(fetch__row_bytes=row_bytes, fetch__src_stride=row_bytes + gap, fetch__table_rows=10 if known else 0)
    done = bench.run("fetch.rows", dst=addresses[2], table=addresses[0], index=addresses[1], count=len(index))
    expected = [table[i * (row_bytes + gap) + j] for i in index for j in range(row_bytes)]
    assert bench.get(addresses[2], "u1", len(expected)).tolist() == expected
    counts = done.counts
    assert counts.get("fetch.rows", 0) == len(index)
    assert counts.get("fetch.row_runs", 0) == side_by_side([i * (row_bytes + gap) for i in index], row_bytes)
    assert counts.get("fetch.bytes", 0) == len(index) * row_bytes
    assert counts.get("sram.bytes_read", 0) == len(index) * (row_bytes + 4)
    left = sum(1 for row in range(10) if row not in index)
    assert counts.get("fetch.rows_left", 0) == (left if known else 0)       # rows named + rows left = rows of the table
    assert counts.get("fetch.bytes_left", 0) == (left * row_bytes if known else 0)


@given(index=st.lists(st.integers(0, 9), max_size=12), row_bytes=st.integers(1, 7))
def test_scatter_rows_later_wins(index, row_bytes):
    bench, data = Bench(), random_bytes(12 * 7)
    table, src = bench.put(np.zeros(10 * 8, np.uint8)), bench.put(data)
    bench.set(fetch__row_bytes=row_bytes, fetch__dst_stride=8, fetch__table_rows=10)
    done = bench.run("fetch.scatter", table=table, src=src, index=bench.put(np.array(index, np.uint32)), count=len(index))
    expected = np.zeros(10 * 8, np.uint8)
    for i, row in enumerate(index):
        for j in range(row_bytes):
            expected[row * 8 + j] = data[i * row_bytes + j]
    assert np.array_equal(bench.get(table, "u1", 80), expected)
    assert done.counts.get("fetch.bytes", 0) == done.counts.get("sram.bytes_written", 0) == len(index) * row_bytes
    assert done.counts.get("fetch.row_runs", 0) == len(index)
    assert "fetch.rows_left" not in done.counts


@given(index=st.lists(st.integers(0, 11), min_size=1, max_size=10), row_bytes=st.sampled_from([1, 100, 2000, 4096, 5000]),
       start=st.sampled_from([0, 1, 4000, 4096]))
def test_pages_of_gathered_rows(index, row_bytes, start):
    flash = random_bytes(20 * PAGE).tobytes()
    bench = Bench(flash=flash)
    bench.set(fetch__row_bytes=row_bytes)
    done = bench.run("fetch.rows", dst=DRAM, table=FLASH + start, index=bench.put(np.array(index, np.uint32)), count=len(index))
    rows = [FLASH + start + i * row_bytes for i in index]
    assert done.counts["fetch.pages"] == pages_of_every_byte(rows, row_bytes)
    assert done.counts["fetch.page_runs"] == runs([(row // PAGE, (row + row_bytes - 1) // PAGE) for row in rows])
    assert done.counts["flash.bytes_read"] == len(index) * row_bytes
    assert bench.get(DRAM, "u1", row_bytes).tobytes() == flash[start + index[0] * row_bytes:][:row_bytes]


@pytest.mark.parametrize(("start", "size", "expected"), [(0, 1, 1), (0, PAGE, 1), (1, PAGE, 2), (PAGE - 1, 2, 2), (5, 3 * PAGE, 4)])
def test_pages_of_a_copy(start, size, expected):
    bench = Bench(flash=bytes(5 * PAGE))
    counts = bench.run("fetch.copy", dst=DRAM, src=FLASH + start, bytes=size).counts
    assert (counts["fetch.pages"], counts["fetch.page_runs"]) == (expected, 1)


@pytest.mark.parametrize(("stride", "index", "rows", "pages"), [
    (3, [0, 2, 4, 6, 8], 1, 1), (2, [0, 3, 6, 5, 8], 2, 1), (4, [0, 1, 3], 3, 1), (6, [3, 3, 4, 2, 3], 3, 1),
    (PAGE, [0, 1, 3, 4, 4, 3], 6, 3), (3 * PAGE, [0, 1, 0], 3, 3)])
def test_runs_of_rows_that_overlap_or_lie_apart(stride, index, rows, pages):
    """Rows of 6 bytes. Those that start at the end of the one before are of one run, whatever their numbers are."""
    bench = Bench(flash=bytes(8 * PAGE))
    bench.set(fetch__row_bytes=6, fetch__src_stride=stride)
    place = bench.put(np.array(index, np.uint32))
    counts = bench.run("fetch.rows", dst=DRAM, table=FLASH, index=place, count=len(index)).counts
    assert (counts["fetch.row_runs"], counts["fetch.page_runs"]) == (rows, pages)


def test_runs_of_rows_that_are_scattered():
    bench = Bench()
    table, src = bench.put(np.zeros(40, np.uint8)), bench.put(np.arange(40, dtype=np.uint8))
    index = bench.put(np.array([2, 3, 4, 0, 1, 9], np.uint32))
    bench.set(fetch__row_bytes=4, fetch__src_stride=6)
    assert bench.run("fetch.scatter", table=table, src=src, index=index, count=6).counts["fetch.row_runs"] == 3


def test_rows_beyond_the_end_of_addresses_are_in_no_region():
    """Rows 0 and 2 with a stride of 2**63 bytes are not the same byte."""
    bench = Bench(flash=bytes(PAGE))
    bench.set(fetch__row_bytes=1, fetch__src_stride=1 << 63)
    index = bench.put(np.array([0, 2], np.uint32))
    assert bench.run("fetch.rows", dst=DRAM, table=FLASH, index=index, count=1).counts["fetch.pages"] == 1
    reason = refused(Cause.LOAD_ACCESS, bench, "fetch.rows", dst=DRAM, table=FLASH, index=index, count=2)
    assert reason.startswith(f"1 bytes at {FLASH + (1 << 64):#x} do not lie in one region")


def test_rows_that_are_written_may_not_overlap():
    bench = Bench()
    a, b = bench.put(np.arange(16, dtype=np.uint8)), bench.put(np.zeros(16, np.uint8))
    bench.set(fetch__row_bytes=4, fetch__src_stride=3)
    bench.run("fetch.copy2d", dst=b, src=a, rows=2)
    reason = refused(Cause.ILLEGAL_OPERAND, bench, "fetch.scatter", table=b, src=a, index=b, count=2)
    assert reason == "fetch.src_stride is 3; expected 0 (packed) or at least the 4 bytes of a row (fetch.row_bytes)"
    bench.set(fetch__src_stride=4, fetch__dst_stride=3)
    reason = refused(Cause.ILLEGAL_OPERAND, bench, "fetch.copy2d", dst=b, src=a, rows=2)
    assert reason == "fetch.dst_stride is 3; expected 0 (packed) or at least the 4 bytes of a row (fetch.row_bytes)"


def test_neighbouring_rows_share_a_page_within_an_operation_but_not_across():
    bench = Bench(flash=bytes(2 * PAGE))
    bench.set(fetch__row_bytes=1024)
    for _ in range(2):
        assert bench.run("fetch.copy2d", dst=DRAM, src=FLASH, rows=4).counts["fetch.pages"] == 1


@pytest.mark.parametrize("mnemonic", ["fetch.copy", "fetch.copy2d", "fetch.rows", "fetch.scatter"])
def test_a_tag_is_signalled_when_the_operation_is_done(mnemonic):
    bench = Bench()
    a, b = bench.put(np.zeros(64, np.uint8)), bench.put(np.zeros(64, np.uint8))
    operands = {"fetch.copy": {"dst": a, "src": b, "bytes": 4}, "fetch.copy2d": {"dst": a, "src": b, "rows": 2},
                "fetch.rows": {"dst": a, "table": b, "index": b, "count": 2},
                "fetch.scatter": {"table": a, "src": b, "index": b, "count": 2}}[mnemonic]
    bench.set(fetch__row_bytes=4)
    assert "sync.signals" not in bench.run(mnemonic, **operands).counts
    assert "nothing has signalled tag 63" in refused(Cause.NEVER_SIGNALLED, bench, "sync.wait", tag=63)
    bench.set(fetch__tag=63)
    assert bench.run(mnemonic, **operands).counts["sync.signals"] == 1
    bench.run("sync.wait", tag=63)
    bench.set(fetch__tag=64)
    assert "fetch.tag is 64; expected 0 (none) or 1..63" in refused(Cause.ILLEGAL_OPERAND, bench, mnemonic, **operands)


def test_a_tag_on_a_machine_without_signals_is_refused(tmp_path):
    text = (PRESETS / "slim.toml").read_text(encoding="utf-8")
    (tmp_path / "no-sync.toml").write_text(without_unit(text, "sync"), encoding="utf-8")
    bench = Bench(str(tmp_path / "no-sync.toml"))
    bench.set(fetch__tag=1)
    reason = refused(Cause.ILLEGAL_OPERAND, bench, "fetch.copy", dst=DRAM, src=DRAM, bytes=1)
    assert reason == "tag 1 is to be signalled, but this machine has no sync unit"


def test_a_row_size_is_needed():
    bench = Bench()
    a = bench.put(np.zeros(64, np.uint8))
    assert refused(Cause.ILLEGAL_OPERAND, bench, "fetch.copy2d", dst=a, src=a, rows=3) == (
        "fetch.row_bytes is 0; expected the bytes of each of the 3 rows")
    assert bench.run("fetch.copy2d", dst=a, src=a, rows=0).counts.keys() == {"fetch.ops", "core.instructions"}


@pytest.mark.parametrize("mnemonic", ["fetch.rows", "fetch.scatter"])
def test_indices_beyond_a_known_table_are_refused(mnemonic):
    bench = Bench()
    a, index = bench.put(np.zeros(64, np.uint8)), bench.put(np.array([3, 4, 5], np.uint32))
    bench.set(fetch__row_bytes=4, fetch__table_rows=4)
    operands = {"dst" if mnemonic == "fetch.rows" else "src": a, "table": a, "index": index, "count": 3}
    assert refused(Cause.ILLEGAL_OPERAND, bench, mnemonic, **operands) == (
        "index[1] is 4; the table has 4 rows (fetch.table_rows)")


@pytest.mark.parametrize(("mnemonic", "operands", "cause"), [
    ("fetch.copy", {"dst": DRAM, "src": DRAM, "bytes": (1 << 28) + 1}, Cause.CAPACITY),
    ("fetch.copy", {"dst": FLASH, "src": DRAM, "bytes": 1}, Cause.STORE_ACCESS),
    ("fetch.copy", {"dst": 0x0200_0000, "src": DRAM, "bytes": 1}, Cause.PORT),
    ("fetch.copy2d", {"dst": DRAM, "src": DRAM, "rows": 1 << 60}, Cause.CAPACITY),
    ("fetch.rows", {"dst": DRAM, "table": DRAM, "index": DRAM, "count": 1 << 60}, Cause.CAPACITY),
    ("fetch.rows", {"dst": DRAM, "table": 0x20_0000_0000 - 4, "index": DRAM, "count": 1}, Cause.LOAD_ACCESS),
    ("fetch.rows", {"dst": DRAM, "table": DRAM, "index": DRAM + 2, "count": 1}, Cause.MISALIGNED_OPERAND),
    ("fetch.scatter", {"table": FLASH, "src": DRAM, "index": DRAM, "count": 1}, Cause.STORE_ACCESS),
])
def test_accesses_that_memory_does_not_allow(mnemonic, operands, cause):
    bench = Bench()
    bench.set(fetch__row_bytes=8)
    refused(cause, bench, mnemonic, **operands)


def test_a_trap_in_the_last_row_leaves_nothing_written():
    bench = Bench()
    sram = bench.m.preset.region("sram")
    table = sram.base + sram.size - 8
    bench.set(fetch__row_bytes=8)
    refused(Cause.STORE_ACCESS, bench, "fetch.scatter", table=table, src=bench.put(np.ones(16, np.uint8)),
            index=bench.put(np.array([0, 1], np.uint32)), count=2)
    assert bench.get(table, "u1", 8).tolist() == [0] * 8


# ------------------------------------------------------------------------------------------------ packed chunks


def chunks(bench, table, row_bytes, at=0):
    """Set what fetch.unpack takes of a table (chunks, bytes)."""
    bench.set(fetch__chunk_table=at or bench.put(table), fetch__table_rows=len(table), fetch__chunk_bytes=table.shape[1],
              fetch__row_bytes=row_bytes)


@given(rows=st.integers(0, 5), row_bytes=st.integers(1, 200), size=st.integers(1, 16), count=st.integers(1, 40),
       seed=st.integers(0, 1 << 20))
def test_unpacked_rows(rows, row_bytes, size, count, seed):
    """Rows of every length, the last chunk and the last packet short, widths from 0 on, some wider than they need to be."""
    source, each = random.Random(seed), -(-row_bytes // size)
    most = source.choice([1, 2, count])
    numbers = [[source.randrange(min(most, count)) for _ in range(each)] for _ in range(rows)]
    bench, table = Bench(), random_bytes(count * size, seed).reshape(count, size)
    stream = stream_of(numbers, source)
    chunks(bench, table, row_bytes)
    dst, src = bench.put(np.full(rows * row_bytes + 1, 0xEE, np.uint8)), bench.put(np.array([*stream, 0xAA], np.uint8))
    done = bench.run("fetch.unpack", dst=dst, src=src, rows=rows)
    expected = [byte for row in rows_of(numbers, table, row_bytes) for byte in row]
    assert bench.get(dst, "u1", rows * row_bytes + 1).tolist() == [*expected, 0xEE]
    assert done.result == src + len(stream)
    counts = done.counts
    assert counts.get("fetch.chunks", 0) == rows * each and counts.get("fetch.rows", 0) == (rows > 0)
    assert counts.get("fetch.bytes", 0) == len(stream)
    assert counts.get("sram.bytes_read", 0) == (len(stream) + table.size) * (rows > 0)
    assert counts.get("sram.bytes_written", 0) == rows * row_bytes


def test_tiles_go_on_where_the_one_before_has_ended():
    bench, table = Bench(), np.arange(12, dtype=np.uint8).reshape(6, 2)
    numbers = [[0, 5, 1], [4, 4, 4], [0, 0, 0], [3, 2, 1]]
    chunks(bench, table, 6)
    dst, src = bench.put(np.zeros(24, np.uint8)), bench.put(np.array(stream_of(numbers), np.uint8))
    at = src
    for row in range(0, 4, 2):
        at = bench.run("fetch.unpack", dst=dst + 6 * row, src=at, rows=2).result
    assert bench.get(dst, "u1", 24).tolist() == [byte for row in rows_of(numbers, table, 6) for byte in row]
    assert at == src + len(stream_of(numbers))


def test_pages_of_packets_in_flash():
    numbers = [[row % 2] * 40 for row in range(3)]
    stream = stream_of(numbers)
    bench = Bench(flash=bytes(PAGE - 5) + bytes(stream) + bytes(PAGE))
    table = np.array([[1], [2]], np.uint8)
    chunks(bench, table, 40)
    dst = bench.put(np.zeros(120, np.uint8))
    done = bench.run("fetch.unpack", dst=dst, src=FLASH + PAGE - 5, rows=3)
    assert bench.get(dst, "u1", 120).tolist() == [1] * 40 + [2] * 40 + [1] * 40
    assert (done.counts["fetch.pages"], done.counts["fetch.page_runs"], done.counts["flash.bytes_read"]) == (2, 1, len(stream))


def test_a_number_that_the_table_does_not_have_traps_with_its_place():
    bench = Bench()
    chunks(bench, np.zeros((5, 1), np.uint8), 40)
    numbers = [[4] * 40, [0] * 37 + [6, 4, 5]]
    dst = bench.put(np.full(80, 7, np.uint8))
    reason = refused(Cause.ILLEGAL_OPERAND, bench, "fetch.unpack", dst=dst, src=bench.put(np.array(stream_of(numbers), np.uint8)),
                     rows=2)
    assert reason == "chunk 37 of row 1 is number 6; the table has 5 chunks (fetch.table_rows)"
    assert set(bench.get(dst, "u1", 80)) == {7}


def test_packets_that_leave_their_region_trap():
    bench = Bench()
    chunks(bench, np.zeros((5, 1), np.uint8), 40)
    end = max(region.end for region in bench.m.preset.regions if region.name == "sram")
    bench.m.peek(end - 2, 2)[:] = [0x33, 0xFF]
    refused(Cause.LOAD_ACCESS, bench, "fetch.unpack", dst=bench.free, src=end - 2, rows=1)


@pytest.mark.parametrize(("settings", "reason"), [
    ({"fetch__chunk_bytes": 0}, "fetch.chunk_bytes is 0; expected 1..16"),
    ({"fetch__chunk_bytes": 17}, "fetch.chunk_bytes is 17; expected 1..16"),
    ({"fetch__table_rows": 0}, "fetch.table_rows is 0; expected 1..32768 chunks of the table"),
    ({"fetch__table_rows": 32769}, "fetch.table_rows is 32769; expected 1..32768 chunks of the table"),
    ({"fetch__row_bytes": 0}, "fetch.row_bytes is 0; expected the bytes of each of the 1 rows")])
def test_settings_of_chunks(settings, reason):
    bench = Bench()
    chunks(bench, np.zeros((5, 1), np.uint8), 4)
    bench.set(**settings)
    assert refused(Cause.ILLEGAL_OPERAND, bench, "fetch.unpack", dst=bench.free, src=bench.free, rows=1) == reason
    assert bench.run("fetch.unpack", dst=0, src=5, rows=0).result == 5
