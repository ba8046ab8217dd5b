"""The threads of a machine that has several: a pool of workers, which help with one large operation at a time.

Here they are started and ended; what they do in between is compiled (emulator/threads/pool.py).
"""

from __future__ import annotations

import os
import threading
import weakref
from ctypes import CDLL, CFUNCTYPE, c_int64
from numbers import Integral
from typing import Any

import numpy as np

from emulator.native import objects
from emulator.threads.words import WORDS

SMALL = 1 << 17             # bytes of work that are not shared out: they take 3 to 5 us, sharing out 1 us


def cores() -> int:
    """Cores of the host that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pool_of(threads: int) -> Pool | None:
    """The pool of a machine with so many threads, None for one. Raises ValueError for less and for more than there are cores,
    TypeError for what is no integer."""
    if isinstance(threads, bool) or not isinstance(threads, Integral):
        raise TypeError(f"threads={threads!r}; expected an integer, 1..{cores()}")
    threads = int(threads)
    if not 1 <= threads <= cores():
        raise ValueError(f"{threads} threads; expected 1..{cores()}, the cores that there are")
    return Pool(threads, SMALL) if threads > 1 else None


class Pool:
    """`threads` - 1 threads that help the one that runs the machine. `address` is what a context block holds of it.

    least: bytes of work that are shared out, less is not. The threads end with the pool.
    """

    def __init__(self, threads: int, least: int) -> None:
        self._words = np.zeros(WORDS + 8, np.int64)
        self.address = (self._words.ctypes.data + 63) & -64
        _compiled("prepare", 4)(self.address, threads, _address("share", 6, "boolean"), least)
        work = _compiled("work", 1)
        others = _other_cores()
        workers = [threading.Thread(target=_live, args=(work, self.address, others), daemon=True, name="slimulator")
                   for _ in range(threads - 1)]
        for worker in workers:
            worker.start()
        self.stop = weakref.finalize(self, _stop, self._words, self.address, workers, _compiled("dismiss", 1))


def _other_cores() -> set[int]:
    """Cores of this process without the one that this thread is on; none where the host does not tell."""
    if not hasattr(os, "sched_setaffinity"):
        return set()
    return os.sched_getaffinity(0) - {CDLL(None).sched_getcpu()}


def _live(work: Any, address: int, others: set[int]) -> None:
    """A worker's life, on a core of its own: the scheduler of a host would have threads that wait for each other share one."""
    if others:
        os.sched_setaffinity(0, others)         # of this thread
    work(address)


def _stop(words: Any, address: int, workers: list[threading.Thread], dismiss: Any) -> None:
    """End the workers. `words` is here so that their memory lives on until then."""
    dismiss(address)
    for worker in workers:
        worker.join()


def _address(name: str, arguments: int, result: str = "int64") -> int:
    """Host address of a function of emulator/threads/pool.py, whose arguments are int64."""
    def function() -> Any:
        from emulator.threads import pool
        return getattr(pool, name)
    return objects.entry("emulator.threads.pool", name, f"{result}({', '.join(['int64'] * arguments)})", function, "the threads")


def _compiled(name: str, arguments: int) -> Any:
    return CFUNCTYPE(c_int64, *[c_int64] * arguments)(_address(name, arguments))
