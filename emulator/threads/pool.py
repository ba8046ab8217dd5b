"""What the threads of a pool execute: workers that help with one large operation at a time (emulator/threads/workers.py starts
them).

A worker waits for the next job. At first it stays awake, then it gives way to other threads that want its core, and after some
milliseconds it sleeps. (A worker that sleeps after some microseconds looks idle to the scheduler of the host, which then puts
several on one core.) No job waits for a worker to wake up. A worker that comes takes a part of what is left; a worker that comes
when the door is closed does nothing. So a job ends even if no worker comes.
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
    DOOR,
    FAILED,
    FINISHED,
    FUNCTION,
    GRAIN,
    LEAST,
    LEFT,
    MUTEX,
    ONE_AT_BACK,
    ONE_JOB,
    ONE_WORKER,
    OPEN,
    PARTS,
    ROWS,
    SHARE,
    SLEEPERS,
    STOP,
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


def prepare(pool, threads, share, least):
    store(pool + 8 * SHARE, share)
    store(pool + 8 * LEAST, least)
    store(pool + 8 * PARTS, 2 * threads)
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
def _take_part(pool, of_master):
    """Do ranges of the job until none is left: large ones first, so that all threads end at about the same time.

    The master takes them from the front, workers from the back: what is computed again and again meets the core whose cache has
    its operands.
    """
    function, arguments = load(pool + 8 * FUNCTION, i64), load(pool + 8 * ARGUMENTS, i64)
    rows, grain, parts = load(pool + 8 * ROWS, i64), load(pool + 8 * GRAIN, i64), load(pool + 8 * PARTS, i64)
    while True:
        left = atomic_load(pool + 8 * LEFT)
        first, last = left & (ONE_AT_BACK - 1), left // ONE_AT_BACK
        if first >= last:
            return
        some = max((last - first) // parts, 1)
        if of_master:
            last, rest = first + some, left + some
        else:
            first, rest = last - some, left - some * ONE_AT_BACK
        if exchange_if(pool + 8 * LEFT, left, rest) and not call_part(function, arguments, first * grain, min(last * grain, rows)):
            atomic_store(pool + 8 * FAILED, 1)


def share(pool, work, function, arguments, rows, grain):
    """Do a job, alone or with the workers that come. False if a part has failed."""
    if work < load(pool + 8 * LEAST, i64):
        return call_part(function, arguments, 0, rows)
    grain *= 1 + rows // (grain * (ONE_AT_BACK // 2))          # LEFT cannot hold more grains
    store(pool + 8 * FUNCTION, function)
    store(pool + 8 * ARGUMENTS, arguments)
    store(pool + 8 * ROWS, rows)
    store(pool + 8 * GRAIN, grain)
    atomic_store(pool + 8 * LEFT, (rows + grain - 1) // grain * ONE_AT_BACK)
    atomic_store(pool + 8 * FINISHED, 0)
    atomic_store(pool + 8 * FAILED, 0)
    atomic_store(pool + 8 * DOOR, (atomic_load(pool + 8 * DOOR) & -ONE_JOB) + ONE_JOB + OPEN)
    if atomic_load(pool + 8 * SLEEPERS):
        _wake(pool)
    _take_part(pool, True)
    joined = (atomic_add(pool + 8 * DOOR, -OPEN) & (ONE_JOB - 1)) >> 1
    looks = 0
    while atomic_load(pool + 8 * FINISHED) != joined:
        pause()
        looks += 1
        if looks > PATIENCE:
            _yield()
    return atomic_load(pool + 8 * FAILED) == 0


@njit
def _invited(pool, last_job):
    """The door, if it is open to who did `last_job` last, else 0."""
    door = atomic_load(pool + 8 * DOOR)
    return door if door & OPEN and door // ONE_JOB != last_job else 0


def work(pool):
    """The life of a worker."""
    job = looks = 0
    while not atomic_load(pool + 8 * STOP):
        door = _invited(pool, job)
        if door and exchange_if(pool + 8 * DOOR, door, door + ONE_WORKER):
            job, looks = door // ONE_JOB, 0
            _take_part(pool, False)
            atomic_add(pool + 8 * FINISHED, 1)
            continue
        pause()
        looks += 1
        if looks > PATIENCE and looks % 64 == 0:
            _yield()
        if looks > AWAKE:
            looks = 0
            _lock(pool + 8 * MUTEX)
            atomic_add(pool + 8 * SLEEPERS, 1)
            while not _invited(pool, job) and not atomic_load(pool + 8 * STOP):
                _cond_wait(pool + 8 * CONDITION, pool + 8 * MUTEX)
            atomic_add(pool + 8 * SLEEPERS, -1)
            _unlock(pool + 8 * MUTEX)
    return 0
