"""A machine that is looked at for a report while it runs: by operation, layer and tensor, and what ran when.

    with Watched(machine) as watched:
        machine.run()
        page = report_of(watched.subject("a title", "about it", Cost.of(machine)))
"""

from __future__ import annotations

import shlex
import sys
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from emulator.observe.breakdown import Breakdown
from emulator.observe.cost import Cost
from emulator.observe.tensors import Tensors
from emulator.observe.timeline import Timeline
from isa.files import check_directory, temporary_folder
from isa.program import Program
from isa.reference import ReferenceMachine
from slimulator.report.of_run import Subject, report_of
from slimulator.report.page import write_page
from slimulator.report.timeline import MOST, picture


class Watched:
    """Looks from when the block begins. With a `path` raises OSError where the report cannot be written, before anything runs."""

    def __init__(self, machine: ReferenceMachine, path: Path | None = None) -> None:
        if path is not None:
            check_directory(path)
        self.machine, self.path = machine, path
        self._folder, self._lines = ExitStack(), ExitStack()
        self._timeline: Timeline | None = None
        self._tensors: Tensors | None = None
        self._by: dict[str, Breakdown] = {}

    def __enter__(self) -> Watched:
        if self.machine.clocks:
            folder = self._folder.enter_context(temporary_folder())
            self._timeline = self._lines.enter_context(Timeline(folder / "timeline", limit=MOST))
            self._timeline.watch(self.machine)
            self._by = {kind: Breakdown(self.machine, kind) for kind in ("operation", "layer")}
            self._tensors = Tensors(self.machine)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._folder:
            self._lines.__exit__(kind, error, trace)

    def subject(self, title: str, about: str, cost: Cost, text: str = "") -> Subject:
        """The run has ended: what a report says of it. Once."""
        for breakdown in self._by.values():
            breakdown.finish()
        if self._tensors:
            self._tensors.finish()
        self._lines.close()
        parts = {kind: breakdown.as_json() for kind, breakdown in self._by.items()}
        return Subject(title, about, [command_line()], cost, dict(self.machine.counters), self.machine.program or Program(),
                       parts.get("operation", {}), parts.get("layer", {}), self._tensors,
                       picture(self._timeline.path) if self._timeline else "", text)

    def write(self, title: str, about: str, cost: Cost, text: str = "") -> None:
        """The run has ended: write the page. Raises OSError."""
        assert self.path is not None
        write_page(self.path, report_of(self.subject(title, about, cost, text)))


def command_line() -> str:
    """The command of this process, as it would be typed."""
    return shlex.join(["slimulator", *sys.argv[1:]])
