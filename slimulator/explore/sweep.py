"""A study from its plan to its table: what is missing is compiled, then run; what is known already is taken as it is.

    results = sweep(study, Path("out"), workers=2)

Points that compile the same are compiled once; programs that are the same, and run the same, are run once. Each record is written
when it is there, so a study that was stopped goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from slimulator.explore.plan import Plan, Point, make_plan, run_key, size_of
from slimulator.explore.pool import BASE, Here, Pool, Processes, Task, usual_workers
from slimulator.explore.records import Records
from slimulator.explore.study import Study
from slimulator.explore.table import Results, row_of
from slimulator.explore.work import COMPILED, INTERRUPTED, REFUSED, Record, compile_point, run_point

_EVERY = 20.0           # seconds between two versions of the table while a study runs


@dataclass(frozen=True)
class Progress:
    """How far a study is: `what` is done now, so many of so many, and seconds that are left as far as they can be known."""

    what: str
    done: int
    whole: int
    left: float | None


Told = Callable[[Progress], None]


def sweep(study: Study, out: Path | str, *, workers: int | None = None, pool: Pool | None = None, store: str = "",
          told: Told = lambda _progress: None) -> Results:
    """Do all points of a study that are not known in the folder `out`, and write its table there.

    workers     processes; None: as many as there are cores; 0: none but this one
    pool        where points are done instead, for as long as this takes
    store       a folder or a URL where workers share programs and kernels (store.py), "" for none
    Raises StudyError for a study that means nothing, OSError where the folder has no room. What is done by then is kept.
    """
    if not isinstance(study, Study):
        raise TypeError(f"the study is {study!r}; expected a Study, such as Study.of(weights=['t2', 'i8'])")
    plan, out = make_plan(study), Path(out)
    with opened(out, workers, pool) as (records, workers_of):
        follow = Follow(plan, records, told, store)
        try:
            follow.all(workers_of)
        finally:
            results = follow.results()
            results.write(out)
    return results


@contextmanager
def opened(out: Path, workers: int | None, pool: Pool | None) -> Iterator[tuple[Records, Pool]]:
    """The records of a folder, and where points are done: `pool`, else so many processes of this host, as `sweep` has them."""
    count = usual_workers() if workers is None else workers
    with Records(out).open() as records, pool or (Processes(count) if count else Here()) as workers_of:
        yield records, workers_of


class Follow:
    """A study while it runs."""

    def __init__(self, plan: Plan, records: Records, told: Told, store: str = "") -> None:
        self.plan, self.records, self.told, self.store = plan, records, told, store
        self._written = time.monotonic()
        self._keys: dict[int, str] = {}         # of results, by the number of a point whose program is known

    def all(self, pool: Pool) -> None:
        """Do everything that is missing."""
        self.through(pool, "compiling", self.to_compile(), self.records.keep_compiled)
        self.through(pool, "running", self.to_run(), self.records.keep_result)

    def to_compile(self) -> list[Task]:
        return [Task(key, compile_point, (job, self.store), BASE + 4 * size_of(job)) for key, job in self.plan.compiles.items()
                if self.records.compiled(key) is None]

    def to_run(self) -> list[Task]:
        tasks: dict[str, Task] = {}
        for point in self.plan.points:
            key = self._key(point)
            if point.job and key and self.records.result(key) is None:
                compiled = self.records.compiled(point.key) or {}
                given = point.job, compiled["program"], compiled["digest"], self.store
                tasks.setdefault(key, Task(key, run_point, given, BASE + 2 * compiled["bytes"]))
        return list(tasks.values())

    def through(self, pool: Pool, what: str, tasks: list[Task], keep: Callable[[str, Record], None]) -> None:
        """Do tasks, and keep each record as soon as it is there."""
        start = time.monotonic()
        for done, (task, record) in enumerate(pool.run(tasks), 1):
            keep(task.key, record)
            now = time.monotonic()
            self.told(Progress(what, done, len(tasks), (now - start) / done * (len(tasks) - done)))
            if now - self._written > _EVERY:
                self.results().write(self.records.folder)
                self._written = time.monotonic()

    def results(self) -> Results:
        """The table as it is now: points that are not done yet are `interrupted`."""
        first: dict[str, int] = {}
        names = list(dict.fromkeys(name for point in self.plan.points for name in point.said))
        rows = []
        for point in self.plan.points:
            key = self._key(point) or point.key
            same = first.setdefault(key, point.number) if key else point.number
            rows.append(row_of(point, self.records.compiled(point.key), self._record(point), same if same < point.number else None,
                               names))
        return Results(self.plan.study, names, rows)

    def _record(self, point: Point) -> Record:
        if point.refused:
            return {"status": REFUSED, "reason": point.refused}
        compiled = self.records.compiled(point.key)
        if compiled and compiled["status"] != COMPILED:
            return compiled
        result = self.records.result(key) if (key := self._key(point)) else None
        return result or {"status": INTERRUPTED, "reason": "not done yet: the same command goes on with it"}

    def _key(self, point: Point) -> str:
        """The key of a point's results; "" while it has no program."""
        if point.number not in self._keys and point.job:
            compiled = self.records.compiled(point.key)
            if compiled and compiled["status"] == COMPILED:
                self._keys[point.number] = run_key(compiled["digest"], point.job.run)
        return self._keys.get(point.number, "")
