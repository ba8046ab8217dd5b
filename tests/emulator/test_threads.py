"""Threads: every kernel that shares its work out gives, with 1, 2 and 3 threads, the bytes and counters of the reference."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from both_engines import Pair
from machine_files import with_cores
from numba import njit
from test_attn_kernels import FORMS, OPERATIONS, seeds
from test_cim_kernels import blocks_of_factors, matrices
from test_lut_kernels import FORMAT_NAMES, VECTORS, build, numbers, packed, place, results, scales_of
from test_sp_kernels import PRODUCTS, products

from emulator.kernel_words import POOL, WORDS
from emulator.machine import Machine
from emulator.native.machine_code import atomic_add, atomic_load
from emulator.threads import workers
from emulator.threads.parallel import in_parallel

RUNS = int(os.environ.get("SLIMULATOR_FUZZ", "6"))      # of each instruction
ROWS, COLUMNS = (1, 16, 17, 50, 83), (1, 15, 64, 257, 600)


def sharing(threads, machine="slim"):
    """A pair whose fast machine shares out whatever it can, however small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "cores", lambda: 3)
        patch.setattr(workers, "SMALL", 0)
        return Pair(machine, threads=threads)


@pytest.fixture(params=[1, 2, 3], ids=lambda count: f"{count}_threads", scope="module")
def pair(request):
    return sharing(request.param)


@pytest.fixture(params=[(1, 7), (3, 7)], ids=lambda both: f"{both[0]}_threads_{both[1]}_cores", scope="module")
def cored_pair(request):
    """The same, with several cores in the lut unit."""
    threads, cores = request.param
    return sharing(threads, with_cores(cores))


@pytest.mark.parametrize("name", FORMAT_NAMES)
@pytest.mark.parametrize("operation", ["mac", "macT", "gemv"])
def test_packed_weights(pair, operation, name):
    packed_weights(pair, operation, name)


@pytest.mark.parametrize("name", PRODUCTS)
def test_sparse_weights(pair, name):
    products(pair, name, RUNS)


def test_macros(pair):
    matrices(pair, RUNS)
    blocks_of_factors(pair, RUNS)


@pytest.mark.parametrize("name", FORMAT_NAMES)
@pytest.mark.parametrize("operation", ["mac", "macT", "gemv"])
def test_the_longest_of_cores_does_not_depend_on_threads(cored_pair, operation, name):
    packed_weights(cored_pair, operation, name)


def packed_weights(pair, operation, name):
    for seed in range(RUNS):
        rng = np.random.default_rng([seed, FORMAT_NAMES.index(name)])
        pair.fresh()
        rows, columns = int(rng.choice(ROWS)), int(rng.choice(COLUMNS))
        group = int(rng.choice([0, 0, 32, 64, 5])) if operation == "gemv" else 0
        vectors = int(rng.choice(VECTORS))
        build(pair, rng, rows if operation == "macT" else columns, group, False, vectors)
        pair.set(lut__mode=int(rng.choice([0, 0, 1, 2])), lut__scale_group=group)
        W = place(pair, rng, packed(rng, name, rows, columns))
        sums = results(pair, rng, max(vectors, 1), columns if operation == "macT" else rows, "<i4")
        if operation == "mac":
            pair.run(f"lut.mac.{name}", acc=sums, W=W, rows=rows)
        elif operation == "macT":
            pair.run(f"lut.macT.{name}", acc=sums, W=W, cols=columns)
        else:
            pair.run(f"lut.gemv.{name}", y=sums, W=W, scale=pair.put(numbers(rng, rows * scales_of(columns, group))), rows=rows)


@pytest.mark.parametrize(("suffix", "dtype"), [("f32", "<f4"), ("f16", "<f2"), ("bf16", "<u2"), ("i8.f32", "i1"), ("i8", "i1")])
@pytest.mark.parametrize("operation", ["gemv", "macT"])
def test_dense_weights(pair, operation, suffix, dtype):
    for seed in range(RUNS):
        rng = np.random.default_rng(seed)
        pair.fresh()
        rows, columns = int(rng.choice(ROWS)), int(rng.choice(COLUMNS))
        bits = rng.integers(0, 256, rows * columns * np.dtype(dtype).itemsize, np.uint8)        # NaN and infinity as they come
        W = pair.put(rng.standard_normal(rows * columns).astype(dtype) if dtype in ("<f4", "<f2") and seed % 2 else bits)
        x = rng.integers(-128, 128, max(rows, columns)).astype("i1") if suffix == "i8" else rng.standard_normal(max(rows, columns))
        vector = pair.put(x if suffix == "i8" else x.astype("<f4"))
        y = pair.put(rng.standard_normal(max(rows, columns)).astype("<f4"))
        pair.set(vec__cols=columns)
        pair.run(f"vec.{operation}.{suffix}", y=y, W=W, rows=rows, **{"x" if operation == "gemv" else "h": vector})


@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_attention(pair, operation, form):
    for rng in seeds(f"threads {operation.__name__} {form}", RUNS):
        operation(pair, rng, form)


@pytest.mark.parametrize("form", ["f16", "bf16", "i8"])
def test_macs_in_banks(pair, form):
    banks = pair.reference.preset.banks
    for seed, channels in enumerate(((0,), (1, 2, 40), (0, 3, 5, 8, 13, 21, 34, 63))[:RUNS]):
        rng = np.random.default_rng(seed)
        pair.fresh()
        for channel in channels:
            for bank in range(banks.banks):
                pair.place(int(banks.address(channel, bank, 3, 0)), rng.integers(0, 256, banks.row_bytes, np.uint8))
        buffers = rng.integers(0, 256, len(pair.reference.state["pim.global_buffer"]), np.uint8)
        pair.start_state["pim.global_buffer"] = buffers
        pair.set(pim__channel_mask=sum(1 << channel for channel in channels))
        pair.run(f"pim.mac_abk.{form}", opsize=banks.columns - seed, row=3)


def test_a_count_that_the_host_has_not_is_refused():
    for count in (0, -1, workers.cores() + 1):
        with pytest.raises(ValueError, match=rf"{count} threads; expected 1..{workers.cores()}"):
            Machine("slim", threads=count)


# ---------------------------------------------------------------------------------------------------- the pool itself


@njit
def meet(first, last, together, wanted):
    """Wait, some seconds at most, until `wanted` ranges are under way at the same time. Fails without."""
    atomic_add(together, 1)
    for _ in range(200_000_000):
        if atomic_load(together) >= wanted:
            return
    raise ValueError


@njit
def job(block, work, rows, together, wanted):
    return in_parallel(block, work, rows, 1, meet, together, wanted)


@pytest.fixture
def block(monkeypatch):
    """The context block of nothing but a pool of two threads, and the int64 that `meet` counts in."""
    monkeypatch.setattr(workers, "cores", lambda: 2)
    words, pool = np.zeros(WORDS, np.int64), workers.pool_of(2)
    words[POOL] = pool.address
    yield words
    pool.stop()


def done(block, work, rows, wanted):
    together = np.zeros(1, np.int64)
    return job(block.ctypes.data, work, rows, together.ctypes.data, wanted), int(together[0])


def test_large_work_is_done_by_two_threads_at_once(block):
    assert done(block, workers.SMALL, 2, wanted=2) == (True, 2)
    time.sleep(0.1)                                             # the worker is asleep now
    assert done(block, workers.SMALL, 2, wanted=2) == (True, 2)


def test_small_work_stays_on_one(block):
    assert done(block, workers.SMALL - 1, 2, wanted=1) == (True, 1)


def test_a_part_that_fails_is_told(block):
    assert done(block, workers.SMALL, 1, wanted=2) == (False, 1)


def test_ranges_are_whole_grains_and_cover_all_rows_once(block):
    for rows in (1, 7, 8, 9, 1000, 4096, 600_000):          # the last are more grains than are counted: larger ones are taken
        seen = np.zeros(rows + 1, np.int64)
        assert cover(block.ctypes.data, rows, seen.ctypes.data)
        assert seen.tolist() == [1] * rows + [0]


@njit
def once(first, last, seen):
    if first % 8 != 0 or last <= first:
        raise ValueError
    for row in range(first, last):
        atomic_add(seen + 8 * row, 1)


@njit
def cover(block, rows, seen):
    return in_parallel(block, workers.SMALL, rows, 8, once, seen)


def test_an_idle_pool_sleeps(block):
    done(block, workers.SMALL, 2, wanted=2)
    time.sleep(0.1)
    start = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - start < 0.1


def test_threads_end_with_the_machine(monkeypatch):
    monkeypatch.setattr(workers, "cores", lambda: 3)
    before = threading.active_count()
    machine = Machine("slim", threads=3)
    assert threading.active_count() == before + 2
    del machine
    assert threading.active_count() == before


def test_the_interpreter_ends_with_a_machine_that_nobody_let_go():
    program = "from emulator.threads import workers\nworkers.cores = lambda: 2\n" \
              "from emulator.machine import Machine\nm = Machine('slim', threads=2)"
    subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], check=True, timeout=60)
