"""What the threads of a pool execute: workers that help with one large operation at a time (emulator/threads/workers.py starts
them).

A worker waits for the next job. At first it stays awake, then it gives way to other threads that want its core, and after some
milliseconds it sleeps. (A worker that sleeps after some microseconds looks idle to the scheduler of the host, which then puts
several on one core.) No job waits for a worker to wake up. A worker that comes takes a part of what is left, if something is. So a
job ends even if no worker comes.

One word says what is left, and of which job; what a worker must know stands beside it. So a job is begun with one cache line that
goes from core to core, and whoever takes a part has joined. An attention of one token takes some microseconds: each line counts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from emulator.native.machine_code import atomic_add, atomic_load, atomic_store, exchange_if, load, pause, store
from emulator.threads.words import (
    ARGUMENTS,
    CONDITION,
    DONE,
    FAILED,
    FUNCTION,
    GRAIN,
    LEAST,
    LEFT,
    MOST,
    MUTEX,
    ONE_AT_BACK,
    ONE_JOB,
    ROWS,
    SHARE,
    SLEEPERS,
    STOP,
    THREADS,
)

i64 = np.int64

# Looks at what another thread will change, 10 to 40 ns each: before giving way, and before going to sleep.
PATIENCE, AWAKE = 3000, 100_000

# ------------------------------------------------------------------------------------------------ the C library's


def _of_c(name: str, arguments: int) -> Any:
    return types.ExternalFunction(name, types.int32(*[types.int64] * arguments))


_mutex_init, _cond_init, _cond_wait = (_of_c(f"pthread_{name}", 2) for name in ("mutex_init", "cond_init", "cond_wait"))
_lock, _unlock, _wake_all = (_of_c(f"pthread_{name}", 1) for name in ("mutex_lock", "mutex_unlock", "cond_broadcast"))
_yield = _of_c("sched_yield", 0)

# ------------------------------------------------------------------------------------------------ workers and their master


@intrinsic  # type: ignore[untyped-decorator]
def call_part(typing: Any, function: Any, arguments: Any, first: Any, last: Any) -> Any:
    """Call what `in_parallel` has made of a function. True if all went well."""
    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        word = ir.IntType(64)
        pointer = builder.inttoptr(values[0], ir.FunctionType(ir.IntType(1), [word] * 3).as_pointer())
        return builder.call(pointer, values[1:])
    return types.boolean(*[types.int64] * 4), emit


@intrinsic  # type: ignore[untyped-decorator]
def announce(typing: Any, address: Any, value: Any) -> Any:
    """Put an int64 to an aligned host address, behind all that this thread has stored before. Unlike atomic_store it does not wait
    until other threads can see it."""
    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        builder.store_atomic(values[1], builder.inttoptr(values[0], ir.IntType(64).as_pointer()), "release", 8)
        return context.get_dummy_value()
    return types.void(types.int64, types.int64), emit


def prepare(pool, threads, share, least):
    store(pool + 8 * SHARE, share)
    store(pool + 8 * LEAST, least)
    store(pool + 8 * THREADS, threads)
    _mutex_init(pool + 8 * MUTEX, 0)
    _cond_init(pool + 8 * CONDITION, 0)
    return 0


@njit
def _wake(pool):
    _lock(pool + 8 * MUTEX)
    _wake_all(pool + 8 * CONDITION)
    _unlock(pool + 8 * MUTEX)


def dismiss(pool):
    atomic_store(pool + 8 * STOP, 1)
    _wake(pool)
    return 0


@njit
def _range(left):
    """The grains that are left of a job: first, last. None are if these are equal."""
    return left & MOST, left // ONE_AT_BACK & MOST


@njit
def _part(left, threads, of_master):
    """What a thread takes of what is left: first, last, and what is left then. Five sixths of its share: large parts first, so that
    all threads end at about the same time and few parts are handed out.

    The master takes them from the front, workers from the back: what is computed again and again meets the core whose cache has
    its operands.
    """
    first, last = _range(left)
    some = max((last - first) * 5 // (6 * threads), 1)
    if of_master:
        return first, first + some, left + some
    return last - some, last, left - some * ONE_AT_BACK


def share(pool, work, function, arguments, rows, grain):
    """Do a job, alone or with the workers that come. False if a part has failed."""
    if work < load(pool + 8 * LEAST, i64) or rows <= grain:
        return call_part(function, arguments, 0, rows)
    grain *= 1 + rows // (grain * MOST)                        # LEFT cannot hold more grains
    grains, threads, before = (rows + grain - 1) // grain, load(pool + 8 * THREADS, i64), atomic_load(pool + 8 * DONE)
    store(pool + 8 * FUNCTION, function)
    store(pool + 8 * ARGUMENTS, arguments)
    store(pool + 8 * ROWS, rows)
    store(pool + 8 * GRAIN, grain)
    job = (atomic_load(pool + 8 * LEFT) // ONE_JOB + 1) * ONE_JOB
    first, last, left = _part(job + grains * ONE_AT_BACK, threads, True)
    announce(pool + 8 * LEFT, left)
    if atomic_load(pool + 8 * SLEEPERS):
        _wake(pool)
    others, well = grains, True
    while first < last:
        well = call_part(function, arguments, first * grain, min(last * grain, rows)) and well
        others -= last - first
        first, last = _take(pool, threads)
    looks = 0
    while atomic_load(pool + 8 * DONE) - before != others:
        pause()
        looks += 1
        if looks > PATIENCE:
            _yield()
    if atomic_load(pool + 8 * FAILED):
        atomic_store(pool + 8 * FAILED, 0)
        return False
    return well


@njit
def _take(pool, threads):
    """The next grains of the master: first, last. They are equal if none is left."""
    while True:
        before = atomic_load(pool + 8 * LEFT)
        first, last, left = _part(before, threads, True)
        if first >= _range(before)[1]:
            return first, first
        if exchange_if(pool + 8 * LEFT, before, left):
            return first, last


@njit
def _is_left(pool):
    first, last = _range(atomic_load(pool + 8 * LEFT))
    return first < last


@njit
def _help(pool):
    """Do parts of the job until none is left. True if there was one.

    What stands beside LEFT is that of the job which LEFT names: the exchange fails if there has been another one since. And while
    a part is under way there is none.
    """
    threads, grains, well = load(pool + 8 * THREADS, i64), 0, True
    while True:
        before = atomic_load(pool + 8 * LEFT)
        first, last = _range(before)
        if first >= last:
            break
        function, arguments = load(pool + 8 * FUNCTION, i64), load(pool + 8 * ARGUMENTS, i64)
        rows, grain = load(pool + 8 * ROWS, i64), load(pool + 8 * GRAIN, i64)
        first, last, left = _part(before, threads, False)
        if exchange_if(pool + 8 * LEFT, before, left):
            well = call_part(function, arguments, first * grain, min(last * grain, rows)) and well
            grains += last - first
    if not well:
        atomic_store(pool + 8 * FAILED, 1)
    if grains:
        atomic_add(pool + 8 * DONE, grains)
    return grains > 0


def work(pool):
    """The life of a worker."""
    looks = 0
    while not atomic_load(pool + 8 * STOP):
        if _help(pool):
            looks = 0
            continue
        pause()
        looks += 1
        if looks > PATIENCE and looks % 64 == 0:
            _yield()
        if looks > AWAKE:
            looks = 0
            _lock(pool + 8 * MUTEX)
            atomic_add(pool + 8 * SLEEPERS, 1)
            while not _is_left(pool) and not atomic_load(pool + 8 * STOP):
                _cond_wait(pool + 8 * CONDITION, pool + 8 * MUTEX)
            atomic_add(pool + 8 * SLEEPERS, -1)
            _unlock(pool + 8 * MUTEX)
    return 0
