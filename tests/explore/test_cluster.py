"""A real scheduler and two workers on loopback; one of them is killed in the middle."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import pytest
from children import LIMIT, Child
from tiny_checkpoint import write_checkpoint

import slimulator
from slimulator.explore.errors import StudyError
from slimulator.explore.study import Study
from slimulator.explore.sweep import sweep

pytestmark = pytest.mark.skipif(not find_spec("distributed"), reason="needs the extra cluster")
ROOT = Path(__file__).parents[2]


class Dask:
    """A scheduler and workers as processes."""

    def __init__(self, files: ExitStack, folder: Path) -> None:
        self.files, self.folder = files, folder
        self.environment = os.environ | {"PYTHONPATH": str(ROOT)}
        self.scheduler = self._start("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
                                     "--scheduler-file", str(folder / "scheduler.json"))
        end = time.monotonic() + LIMIT
        while not (folder / "scheduler.json").exists() and time.monotonic() < end:
            time.sleep(0.05)
        self.address = re.findall(r'"address": "([^"]+)"', (folder / "scheduler.json").read_text())[0]
        self.workers = [self._worker(number) for number in range(2)]

    def _worker(self, number: int) -> Child:
        return self._start("distributed.cli.dask_worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard",
                           "--name", str(number), "--local-directory", str(self.folder / f"w{number}"))

    def _start(self, module: str, *arguments: str) -> Child:
        return self.files.enter_context(Child(sys.executable, "-m", module, *arguments, env=self.environment, cwd=self.folder,
                                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))


@pytest.fixture
def dask(tmp_path: Path) -> Iterator[Dask]:
    with ExitStack() as files:
        yield Dask(files, tmp_path)


def test_a_worker_that_is_killed_loses_and_doubles_no_row(dask: Dask, tmp_path: Path) -> None:
    from slimulator.explore.cluster import Cluster
    study = Study.of(model=str(write_checkpoint(tmp_path / "m")), tokens=3, prompt="abc", weights=["t2", "i4:16", "i8", "f32"],
                     **{"region.sram.size": ["1K", "32K", "64K"]})
    ended: list[str] = []

    def told(progress: object) -> None:
        ended.append(str(progress))
        if len(ended) == 3:
            dask.workers[0].signal(signal.SIGKILL)

    with Cluster(dask.address) as pool:
        results = sweep(study, tmp_path / "cluster", pool=pool, told=told)
    assert results.count("done") == 8 and results.count("refused") == 4
    assert len(ended) == 12 + 8                                                 # each program and each run once
    assert results.hash == sweep(study, tmp_path / "here", workers=0).hash


def test_a_scheduler_that_goes_away_ends_the_study_and_keeps_what_is_done(dask: Dask, tmp_path: Path) -> None:
    from slimulator.explore.cluster import Cluster
    study = Study.of(model=str(write_checkpoint(tmp_path / "m")), tokens=3, prompt="abc", weights=["t2", "i8", "f32"],
                     **{"region.sram.size": ["32K", "64K"]})
    ended: list[str] = []

    def told(progress: object) -> None:
        ended.append(str(progress))
        if len(ended) == 7:                 # the first run: five more are to come, of which four can be under way
            dask.scheduler.signal(signal.SIGKILL)

    with pytest.raises(StudyError, match=r"gone away[^$]*the same command goes on"), Cluster(dask.address) as pool:
        sweep(study, tmp_path / "out", pool=pool, told=told)
    assert len(list((tmp_path / "out" / "points").glob("*.json"))) >= 1
    assert sweep(study, tmp_path / "out", workers=0).count("done") == 6


def test_no_scheduler_is_an_error_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    from slimulator.explore import cluster
    monkeypatch.setattr(cluster, "_PATIENCE", 1.0)
    assert slimulator.invoke(["sweep", "--weights", "t2", "--cluster", "tcp://127.0.0.1:9", "--out", str(tmp_path / "out")]) == 2
    assert "no scheduler answers" in capsys.readouterr().err
