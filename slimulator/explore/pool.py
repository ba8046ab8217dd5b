"""Several points at once: in processes of this host, which die alone and are replaced.

    with Processes(workers) as pool:
        for task, record in pool.run(tasks): ...        # in the order in which they end

A process has one thread and one point at a time. Points start while there is memory for what they are thought to need. If a
process dies, what was in flight runs again, each point alone, so that the one that kills its process is found; it has failed then.
The pool is loky's, joblib's pool of processes.
"""

from __future__ import annotations

import os
import signal
import warnings
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from isa.host import free_memory
from slimulator.explore.work import FAILED, Record

BASE = 300 << 20            # bytes of a process with the compiler and kernels
_LOOK = 5.0                 # seconds after which a pool that gives no results is looked at
TRIES = 2                   # how often a point may be in a process that dies
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")      # one each: workers are enough


@dataclass(frozen=True)
class Task:
    """Work to do once: `work(*given)`. `key` names its result; `bytes` is what it is thought to need."""

    key: str
    work: Callable[..., Record]
    given: tuple[Any, ...]
    bytes: int = BASE


def usual_workers() -> int:
    """As many as this process may use cores."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Pool(ABC):
    """Where tasks run. A subclass makes an executor, and says which errors mean that a worker was lost."""

    lost: tuple[type[BaseException], ...] = ()
    tries = TRIES

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._executor: Executor | None = None

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close(at_once=kind is not None)

    @abstractmethod
    def make(self) -> Executor:
        """A new executor."""

    @abstractmethod
    def close(self, at_once: bool) -> None:
        """Let go of the workers; `at_once`: end what they do."""

    def free(self) -> int:
        """Bytes that are free for tasks, 0 where that is not known."""
        return 0

    def alive(self) -> bool:
        """Whether what does tasks is still there."""
        return True

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Record]]:
        """Each task with its record, as they end. A task whose worker was lost TRIES times has failed."""
        waiting, alone, strikes = deque(tasks), deque[Task](), dict[str, int]()
        flying: dict[Future[Record], Task] = {}
        while waiting or alone or flying:
            room = self.free()
            while waiting and not alone and len(flying) < self.workers:
                if 0 < room < waiting[0].bytes and flying:
                    break                                           # until another one has ended
                task = waiting.popleft()
                if 0 < room < task.bytes - BASE:
                    yield task, {"status": FAILED, "reason": f"it needs about {task.bytes >> 20:,} MiB of memory, "
                                                             f"and {room >> 20:,} MiB are free"}
                    continue
                room = max(1, room - task.bytes) if room else 0
                flying[self._submit(task)] = task
            if alone and not flying:
                task = alone.popleft()
                flying[self._submit(task)] = task
            done, _ = wait(flying, timeout=_LOOK, return_when=FIRST_COMPLETED)
            if not done and not self.alive():
                raise TimeoutError
            lost = False
            for future in done:
                try:
                    record = future.result()
                except self.lost:
                    lost = True
                    continue
                yield flying.pop(future), record
            if lost:                                                # with the executor of this host all in flight are
                for future, task in flying.items():
                    if future.done() or self.all_lost():
                        strikes[task.key] = strikes.get(task.key, 0) + 1
                        if strikes[task.key] < self.tries:
                            alone.append(task)
                        else:
                            yield task, {"status": FAILED, "reason": f"its process died {TRIES} times: it may need more memory "
                                                                     "than there is"}
                flying = {} if self.all_lost() else {future: task for future, task in flying.items() if not future.done()}
                self.replace()

    def _submit(self, task: Task) -> Future[Record]:
        if self._executor is None:
            self._executor = self.make()
        return self._executor.submit(task.work, *task.given)

    def all_lost(self) -> bool:
        """Whether one lost worker takes the executor along."""
        return True

    def replace(self) -> None:
        """After a worker was lost: a new executor comes with the next task."""
        self.close(at_once=True)
        self._executor = None


class Processes(Pool):
    """Processes of this host, at most one for each core: more would only wait for each other."""

    def __init__(self, workers: int) -> None:
        from concurrent.futures.process import BrokenProcessPool
        super().__init__(max(1, min(workers, usual_workers())))
        self.lost = (BrokenProcessPool,)

    def make(self) -> Executor:
        from loky import ProcessPoolExecutor
        warnings.filterwarnings("ignore", "A worker was restarted|A worker stopped", UserWarning)      # it has grown: no news
        threads = dict.fromkeys(THREADS, "1")
        executor: Executor = ProcessPoolExecutor(self.workers, initializer=_quiet, env=threads)
        return executor

    def free(self) -> int:
        return free_memory()

    def close(self, at_once: bool) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=True, kill_workers=at_once)        # type: ignore[call-arg]


class Here(Pool):
    """No process but this one: for one worker without protection, and for debuggers."""

    def __init__(self) -> None:
        super().__init__(1)

    def make(self) -> Executor:
        return _Here()

    def close(self, at_once: bool) -> None:
        pass


class _Here(Executor):
    """Does what is submitted at once. Ctrl-C ends the study, not the task alone."""

    def submit(self, work: Callable[..., Any], /, *given: Any, **more: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(work(*given, **more))
        return future


def _quiet() -> None:
    """In a worker: Ctrl-C is for the process that waits for it, which ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
