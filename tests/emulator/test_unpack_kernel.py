"""fetch.unpack and lut.reuse.u8: the kernel against the meaning, on one thread and on several, at the sizes where vector code
changes its ways."""


import random

import numpy as np
import pytest
from both_engines import SRAM
from packets import stream_of
from test_threads import sharing

from isa.preset import load_preset

SIZES = (1, 2, 3, 4, 8, 16)
COUNTS = (1, 2, 7, 64, 81, 128, 129, 255, 256, 257, 300, 2000)
RUNS = 60
END = SRAM + load_preset("slim").region("sram").size


@pytest.fixture(params=[1, 3], ids=lambda count: f"threads_{count}", scope="module")
def pair(request):
    return sharing(request.param)


def unpack(pair, seed, numbers, table, row_bytes, **where):
    """Run it on rows of numbers; `beyond`: the table has fewer chunks. `end`: the packets are the last bytes of their region."""
    stream = np.array(stream_of(numbers, random.Random(seed) if seed % 3 == 0 else None), np.uint8)
    pair.set(fetch__chunk_bytes=table.shape[1], fetch__table_rows=len(table) - where.get("beyond", 0), fetch__row_bytes=row_bytes)
    if where.get("end"):
        src = END - len(stream)
        pair.place(src, stream)
        pair.set(fetch__chunk_table=pair.put(table.reshape(-1)))
    elif where.get("table_at_end"):
        pair.place(END - table.size, table.reshape(-1))
        pair.set(fetch__chunk_table=END - table.size)
        src = pair.put(stream)
    else:
        src, _ = pair.put(stream), pair.set(fetch__chunk_table=pair.put(table.reshape(-1)))
    dst = pair.put(np.full(len(numbers) * row_bytes + 1, 0xEE, np.uint8))
    return pair.run("fetch.unpack", dst=dst, src=src, rows=len(numbers))


@pytest.mark.parametrize("size", SIZES)
def test_rows_of_every_kind(pair, size):
    for seed in range(RUNS):
        rng = np.random.default_rng([seed, size])
        pair.fresh()
        count, rows = int(rng.choice(COUNTS)), int(rng.choice([1, 2, 5, 9, 40]))
        each = min(int(rng.choice([1, 31, 32, 33, 63, 64, 65, 96, 128, 200])), 12000 // rows // size)
        row_bytes = each * size - int(rng.integers(0, size))
        numbers = np.minimum(*rng.integers(0, count, (2, rows, each))).tolist()
        table = rng.integers(0, 256, (count, size), np.uint8)
        done = unpack(pair, seed, numbers, table, row_bytes, end=seed % 4 == 1, table_at_end=seed % 4 == 2)
        assert not done.handed_over


@pytest.mark.parametrize("size", SIZES)
def test_a_number_too_large_leaves_the_result_as_it_was(pair, size):
    for seed in range(8):
        rng = np.random.default_rng([seed, size])
        pair.fresh()
        count, rows, each = int(rng.choice([5, 81, 128, 256, 700])), int(rng.integers(1, 30)), int(rng.integers(1, 100))
        numbers = rng.integers(0, count, (rows, each))
        numbers[rng.integers(rows), rng.integers(each)] = count             # anywhere, also behind whole packets
        table = rng.integers(0, 256, (count + 1, size), np.uint8)
        assert unpack(pair, seed, numbers.tolist(), table, each * size, beyond=1).trap


@pytest.mark.parametrize(("pieces", "centres", "rows"), [
    (16, 128, 64), (17, 128, 65), (31, 112, 200), (130, 128, 130), (300, 16, 64), (16, 128, 63), (20, 128, 1), (40, 100, 64)])
def test_sums_of_centres_of_16_bits(pair, pieces, centres, rows):
    """Looked up by permutations, 64 rows together; sums that need more bits are gathered."""
    for bits, beyond in ((15, 0), (16, 0), (15, 1)):
        rng = np.random.default_rng([bits, beyond, pieces])
        pair.fresh()
        pair.set(lut__pieces=pieces, lut__centres=centres)
        sums = rng.integers(-1 << bits, 1 << bits, pieces * centres).astype("<i4")
        sums[:2] = -1 << bits, (1 << bits) - 1
        assigned = rng.integers(0, centres, rows * pieces).astype(np.uint8)
        if beyond:
            assigned[rng.integers(len(assigned))] = centres
        acc = pair.put(rng.integers(-1 << 31, 1 << 31, rows).astype("<i4"))
        done = pair.run("lut.reuse.u8", acc=acc, sums=pair.put(sums), assigned=pair.put(assigned, gap=1), rows=rows)
        assert bool(done.trap) == bool(beyond) and (beyond or not done.handed_over)


def test_sums_of_centres(pair):
    for seed in range(RUNS):
        rng = np.random.default_rng(seed)
        pair.fresh()
        pieces, centres, rows = int(rng.choice([1, 2, 15, 16, 17, 32, 40, 63])), int(rng.choice([1, 5, 16, 64])), int(
            rng.choice([0, 1, 5, 64, 200]))
        pair.set(lut__pieces=pieces, lut__centres=centres)
        sums = pair.put(rng.integers(-1 << 31, 1 << 31, pieces * centres).astype("<i4"))
        beyond = seed % 5 == 0
        assigned = rng.integers(0, centres, rows * pieces).astype(np.uint8)
        if beyond and len(assigned):
            assigned[rng.integers(len(assigned))] = rng.integers(centres, 256)
        acc = pair.put(rng.integers(-1 << 31, 1 << 31, rows).astype("<i4"))
        done = pair.run("lut.reuse.u8", acc=acc, sums=sums, assigned=pair.put(assigned), rows=rows)
        assert bool(done.trap) == (beyond and rows > 0)
