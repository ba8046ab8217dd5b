"""Points on a cluster: Dask distributed, whose workers have this project installed and see the files of the study.

    with Cluster("tcp://scheduler:8786") as pool:
        results = sweep(study, Path("out"), pool=pool)

Results come back to this process, which alone writes the folder. A worker that is lost loses what it was doing, which another one
does. Start workers with one thread each, as many as cores: `dask worker tcp://scheduler:8786 --nthreads 1 --nworkers N`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError, Executor
from typing import Any

from slimulator.explore.errors import StudyError
from slimulator.explore.pool import Pool, Task
from slimulator.explore.work import Record

_PATIENCE = 10.0            # seconds for the scheduler to answer
_AHEAD = 2                  # tasks for each thread of the workers: so none waits for this process


class Cluster(Pool):
    """The workers of a scheduler. Raises StudyError if it does not answer, or dask is not installed."""

    tries = 1               # Dask itself has tried before

    def __init__(self, address: str) -> None:
        try:
            from distributed import Client
            from distributed.scheduler import KilledWorker
        except ImportError:
            raise StudyError("--cluster", "dask is not installed", "pip install 'slimulator[cluster]'") from None
        self.address = address
        try:
            self._client: Any = Client(address, timeout=_PATIENCE)
        except (OSError, ValueError, TimeoutError) as error:
            raise StudyError("--cluster", f"{address}: no scheduler answers ({type(error).__name__})",
                             "the address that `dask scheduler` prints, such as tcp://127.0.0.1:8786") from None
        super().__init__(0)
        self.lost = (KilledWorker,)

    @property
    def workers(self) -> int:
        """How many tasks are given out at once: workers may come and go."""
        threads: int = sum(self._client.nthreads().values())
        return max(1, _AHEAD * threads)

    @workers.setter
    def workers(self, _count: int) -> None:
        pass

    def make(self) -> Executor:
        executor: Executor = self._client.get_executor(pure=False)
        return executor

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Record]]:
        """As Pool.run. Raises StudyError if the scheduler goes away."""
        try:
            yield from super().run(tasks)
        except (CancelledError, OSError, TimeoutError) as error:
            raise StudyError("--cluster", f"{self.address}: the scheduler has gone away ({type(error).__name__})",
                             hint="what is done is kept: start a scheduler, and the same command goes on") from None

    def alive(self) -> bool:
        return bool(self._client.status == "running")

    def all_lost(self) -> bool:
        return False

    def replace(self) -> None:
        pass                                # other workers go on

    def close(self, at_once: bool) -> None:
        self._client.close(timeout=_PATIENCE)
