"""How long a study of 200 different points takes, each compiled, 32 tokens generated and 2 KB scored. Prints one JSON object.

The programs are compiled anew, in a folder of caches that has the compiled kernels alone; a result is known for no point.
`overhead_seconds` is what a point costs beside its own work: the time that all processes had, less what compiling and running took
in them. So it holds starting the processes, handing out and writing; and the work holds that two cores share what is between them.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from isa.caches import usual
from isa.shipped import ROOT
from slimulator.explore.pool import Processes, Task, usual_workers
from slimulator.explore.study import Study
from slimulator.explore.sweep import sweep
from slimulator.explore.work import DONE, Record

SCORED = 560            # tokens of the demo model in 2 KB of the stories


def study() -> Study:
    """200 points: five formats, two caches, five sizes of the scratchpad, four rates of the memory."""
    return Study.of("200 points", machine="slim-llama", weights=["t2", "i8", "i4:32", "c3", "t5"], kv=["f32", "i8"], tokens=32,
                    text=str(ROOT / "programs/studies/stories.txt"), score=SCORED,
                    **{"region.sram.size": ["64K", "128K", "256K", "500K", "1M"],
                       "region.dram.bytes_per_cycle": [4.0, 8.0, 16.0, 32.0]})


class Timed(Processes):
    """Processes that write down how long each task took."""

    def __init__(self, workers: int, times: Path) -> None:
        super().__init__(workers)
        self.times = times

    def _submit(self, task: Task) -> Future[Record]:
        return super()._submit(replace(task, work=timed, given=(self.times, task.work, task.given)))


def timed(times: Path, work: Callable[..., Record], given: tuple[Any, ...]) -> Record:
    """What `work` gives; its seconds become a line of the file `times`."""
    start = time.perf_counter()
    record = work(*given)
    with times.open("a") as file:
        file.write(f"{time.perf_counter() - start}\n")
    return record


def main() -> None:
    kernels = usual() / "kernels"
    with TemporaryDirectory() as home:
        (Path(home) / "slimulator").mkdir()
        (Path(home) / "slimulator" / "kernels").symlink_to(kernels)
        os.environ["XDG_CACHE_HOME"] = home
        workers, times, start = usual_workers(), Path(home) / "times", time.perf_counter()
        rows = sweep(study(), Path(home) / "results", pool=Timed(workers, times)).rows
        wall = time.perf_counter() - start
        work = sum(map(float, times.read_text().split()))
    print(json.dumps({"points": len(rows), "done": sum(row["status"] == DONE and row["same_as"] is None for row in rows),
                      "workers": workers, "seconds": wall, "scored_bytes": rows[0]["scored_bytes"],
                      "work_seconds": work / len(rows), "overhead_seconds": (wall * workers - work) / len(rows)}, indent=2))


if __name__ == "__main__":
    main()
