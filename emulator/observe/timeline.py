"""The timeline: what ran when on the machine, as Chrome trace JSON that Perfetto and chrome://tracing open.

A track for the core, for each unit's queue and for each region of memory. An operation is a slice on the track of its queue, within
the slice of the symbol that its instruction stands under; what the core waits for is a slice on the core's track. Times are in
microseconds of the machine's clock. `args` have the source line, the counters that moved and the operands.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from emulator.observe.line_log import LineLog
from isa.counters import COUNTERS
from isa.instruction import Row
from isa.queues import CORE, QUEUES, Action, edges
from isa.reference import ReferenceMachine, Step
from isa.regions import REGIONS
from isa.timing import clock as words

_PROCESS = 1
_FIRST_REGION = 100         # thread numbers: those of queues, and from here on those of regions


class Timeline(LineLog):
    """Writes the slices of what a machine does. Use as a context around the run; raises OSError.

    `begin` and `length` are in cycles of the machine's clock: slices that end before, or start after these, are left out. After
    `limit` slices nothing is written any more. A file of a run that was interrupted is complete up to there.
    """

    def __init__(self, path: Path, begin: int = 0, length: int | None = None, limit: int = 1_000_000) -> None:
        super().__init__(path)
        self.begin, self.end, self.limit = begin, None if length is None else begin + length, limit
        self.written = 0                    # slices
        self.left_out = False               # the limit was reached
        self._groups: dict[int, tuple[str, int, int]] = {}          # by track: symbol, its start, its end so far
        self._before: list[int] = []
        self._machine: ReferenceMachine | None = None

    def watch(self, machine: ReferenceMachine) -> None:
        """Look on from now on. The machine has a clock."""
        self._machine = machine
        self._before = machine.clocks[0].words.tolist()
        tracks = {number: "core" if number == CORE else f"queue {name}" for number, name in enumerate(QUEUES)
                  if number == CORE or machine.preset.has_unit(name)}
        tracks |= {_FIRST_REGION + i: f"memory {name}" for i, name in enumerate(REGIONS) if name in machine.preset.file.region}
        named: list[tuple[str, int, dict[str, Any]]] = [("process_name", 0, {"name": f"machine {machine.preset.name}"})]
        for number, name in tracks.items():
            named += [("thread_name", number, {"name": name}), ("thread_sort_index", number, {"sort_index": number})]
        self._write(machine, "[" + ",".join(json.dumps(
            {"name": key, "ph": "M", "pid": _PROCESS, "tid": number, "args": args}) for key, number, args in named))
        machine.hook(self, lambda pc, row: row is not None and row.is_xslim)

    def __call__(self, machine: ReferenceMachine, step: Step) -> None:
        if step.trap is not None or step.row is None:
            return
        t, before = machine.clocks[0].words.tolist(), self._before
        self._before = t
        for kind, queue, _ in edges(step.row):
            if kind is Action.ISSUE:
                self._operation(machine, step, step.row, queue, t, before)
        waited = words.QUEUE_STATE + words.WAITED
        for i, reason in enumerate(words.REASONS):
            cycles = t[waited + i] - before[waited + i]
            if cycles > 0:
                now = t[words.NOW]
                self._slice(machine, CORE, f"waits: {reason}", now - cycles, now, {"instruction": step.row.mnemonic})
        if (self.end is not None and t[words.NOW] > self.end) or self.left_out:
            machine.unhook(self)

    def _operation(self, machine: ReferenceMachine, step: Step, row: Row, queue: int, t: list[int], before: list[int]) -> None:
        state = words.QUEUE_STATE + words.QUEUE_WORDS * queue
        end = t[state + words.FREE]
        start = end - (t[state + words.BUSY] - before[state + words.BUSY])
        program, group = machine.program, ""
        args: dict[str, Any] = {"pc": f"{step.pc:#x}", **{name: int(value) for name, value in step.values.items()}}
        if program is not None:
            group = program.symbol_at(step.pc).partition("+")[0]
            args["line"] = program.line_at(step.pc)
        args |= {name: moved for name, counter in COUNTERS.items() if (moved := int(machine.counts[counter.slot]) - int(
            step.before[counter.slot])) and name != "core.instructions"}
        self._enter(machine, queue, group, start, end)
        self._slice(machine, queue, row.mnemonic, start, end, args)
        for i, name in enumerate(REGIONS):
            region = words.REGION_STATE + words.REGION_WORDS * i
            cycles = t[region + words.REGION_BUSY] - before[region + words.REGION_BUSY]
            if cycles > 0:
                free = t[region + words.REGION_FREE]
                self._slice(machine, _FIRST_REGION + i, row.mnemonic, free - cycles, free, {
                    key: args[key] for key in (f"{name}.bytes_read", f"{name}.bytes_written") if key in args})

    def _enter(self, machine: ReferenceMachine, track: int, group: str, start: int, end: int) -> None:
        """The operation belongs to a symbol: the slice of the symbol before is complete when this is another one."""
        name, first, _ = self._groups.get(track, ("", 0, 0))
        if name == group:
            self._groups[track] = name, first, end
        else:
            self._leave(machine, track)
            self._groups[track] = group, start, end

    def _leave(self, machine: ReferenceMachine, track: int) -> None:
        name, first, last = self._groups.pop(track, ("", 0, 0))
        if name:
            self._slice(machine, track, name, first, last, {})

    def _slice(self, machine: ReferenceMachine, track: int, name: str, start: int, end: int, args: dict[str, Any]) -> None:
        if end < self.begin or (self.end is not None and start > self.end) or self.left_out:
            return
        if self.written == self.limit:
            self.left_out = True
            return
        self.written += 1
        microsecond = machine.preset.clock_hz / 1e6
        event = {"name": name, "ph": "X", "pid": _PROCESS, "tid": track, "ts": start / microsecond,
                 "dur": (end - start) / microsecond, "args": {"cycles": end - start, **args}}
        self._write(machine, "," + json.dumps(event))

    def __exit__(self, *failure: Any) -> None:
        machine = self._machine
        if machine is not None and self.error is None:
            machine.unhook(self)
            self.left_out, self.limit = False, self.limit + len(self._groups)       # what has begun is shown
            for track in list(self._groups):
                self._leave(machine, track)
            self._write(machine, "]")
        super().__exit__(*failure)

