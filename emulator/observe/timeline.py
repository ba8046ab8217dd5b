"""The timeline: what ran when on the machine, as Chrome trace JSON that Perfetto and chrome://tracing open.

A track for the core, for each unit's queue and for each region of memory. An operation of a unit is a slice on the track of its
queue, within the slice of the symbol that its instruction stands under; what the core waits for is a slice on the core's track.
Times are in microseconds of the machine's clock. `args` have the source line, the counters that moved and the operands.

In the program of a model the enclosing slices are positions, layers and operations of the model (marks.py) in the place of symbols.
A track more, the first, has these alone, each for as long as the end of the run moved while it was the latest: as in a breakdown.

On each track slices nest or follow each other. A slice is a pair of events, B and E, in the order of time. A beginning with a
duration would do too, but viewers add the two up as binary fractions, and then slices that end together may seem to overlap.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from emulator.observe.line_log import LineLog
from emulator.observe.marks import NO_LAYER, Marks, Reached
from isa.counters import COUNTERS
from isa.instruction import Row
from isa.queues import CORE, QUEUES, Action, edges
from isa.reference import ReferenceMachine, Step
from isa.regions import REGIONS
from isa.timing import clock_rules as words

_PROCESS = 1
_FIRST_REGION = 100         # thread numbers: those of queues, from here on those of regions, and that of the model
_MODEL = 200
_WAITS = (words.FOR_ROOM, words.FOR_SIGNAL, words.FOR_MEMORY, words.FOR_FENCE, words.FOR_RESULT)       # in the order of time


@dataclass
class _Track:
    """The open enclosing slices, the outermost first; the end of the last slice; slices whose enclosing ones are not known yet."""

    open: list[str] = field(default_factory=list)
    end: int = 0
    held: list[tuple[str, int, int, dict[str, Any]]] = field(default_factory=list)


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
        self._tracks: dict[int, _Track] = {}
        self._before: list[int] = []
        self._done, self._counts = 0, np.zeros(0, np.uint64)        # where the last operation of a model ended, and the counters
        self._marks: Marks | None = None                            # of the program of a model
        self._looking = True                                        # what has been asked for is not complete yet
        self._pc = 0                                                # of the last operation of a unit
        self._machine: ReferenceMachine | None = None

    def watch(self, machine: ReferenceMachine) -> None:
        """Look on from now on. The machine has a clock."""
        self._machine = machine
        self._before = machine.clocks[0].words.tolist()
        self._done, self._counts = self._before[words.all_done(machine.clocks[0].words)], machine.counts.copy()
        marks = Marks(machine.program) if machine.program is not None else None
        self._marks = marks if marks is not None and marks.of_model else None
        tracks = {_MODEL: "model"} if self._marks else {}
        tracks |= {number: "core" if number == CORE else f"queue {name}" for number, name in enumerate(QUEUES)
                   if number == CORE or machine.preset.has_unit(name)}
        tracks |= {_FIRST_REGION + i: f"memory {name}" for i, name in enumerate(REGIONS) if name in machine.preset.file.region}
        named: list[tuple[str, int, dict[str, Any]]] = [("process_name", 0, {"name": f"machine {machine.preset.name}"})]
        for place, (number, name) in enumerate(tracks.items()):
            named += [("thread_name", number, {"name": name}), ("thread_sort_index", number, {"sort_index": place})]
        self._write(machine, "[" + ",".join(json.dumps(
            {"name": key, "ph": "M", "pid": _PROCESS, "tid": number, "ts": 0, "args": args}) for key, number, args in named))
        machine.hook(self, lambda pc, row: row is not None and row.is_xslim)
        if self._marks:
            machine.hook_before(self._look_at_mark, self._marks.names)

    # ---------------------------------------------------------------------------------------------- what happens

    def __call__(self, machine: ReferenceMachine, step: Step) -> None:
        if step.trap is not None or step.row is None:
            return
        t, before = machine.clocks[0].words.tolist(), self._before
        self._before, self._pc = t, step.pc
        for kind, queue, _ in edges(step.row):
            if kind is Action.ISSUE:
                self._operation(machine, step, step.row, queue, t, before)
        self._waits(machine, step.row, t, before)
        if (self.end is not None and t[words.NOW] > self.end) or self.left_out:
            self._leave(machine)
            self._looking = False

    def _look_at_mark(self, machine: ReferenceMachine, step: Step) -> None:
        if self._marks:
            self._reached(machine, self._marks.reached(step.pc))

    def _leave(self, machine: ReferenceMachine) -> None:
        machine.unhook(self)
        machine.unhook(self._look_at_mark)

    def _waits(self, machine: ReferenceMachine, row: Row, t: list[int], before: list[int]) -> None:
        """What the core has waited for, one behind the other."""
        waited = words.QUEUE_STATE + words.WAITED
        cycles = {reason: t[waited + reason] - before[waited + reason] for reason in _WAITS}
        start = t[words.NOW] - sum(cycles.values())
        for reason in _WAITS:
            if cycles[reason] > 0:
                self._slice(machine, CORE, f"waits: {words.REASONS[reason]}", start, start + cycles[reason],
                            {"instruction": row.mnemonic}, "")
                start += cycles[reason]

    def _operation(self, machine: ReferenceMachine, step: Step, row: Row, queue: int, t: list[int], before: list[int]) -> None:
        state = words.QUEUE_STATE + words.QUEUE_WORDS * queue
        end = t[state + words.FREE]
        start = end - (t[state + words.BUSY] - before[state + words.BUSY])
        program, symbol = machine.program, ""
        args: dict[str, Any] = {"pc": f"{step.pc:#x}", **{name: int(value) for name, value in step.values.items()}}
        if program is not None:
            symbol = program.symbol_at(step.pc).partition("+")[0]
            args["line"] = program.line_at(step.pc)
        args |= {name: moved for name, moved in _events(machine, step.before).items() if name != "core.instructions"}
        self._slice(machine, queue, row.mnemonic, start, end, args, symbol)
        for i, name in enumerate(REGIONS):
            region = words.REGION_STATE + words.REGION_WORDS * i
            cycles = t[region + words.REGION_BUSY] - before[region + words.REGION_BUSY]
            if cycles > 0:
                free = t[region + words.FREE]
                self._slice(machine, _FIRST_REGION + i, row.mnemonic, free - cycles, free, {
                    key: args[key] for key in (f"{name}.bytes_read", f"{name}.bytes_written") if key in args}, "")

    def _reached(self, machine: ReferenceMachine, mark: Reached) -> None:
        """A mark of a model's program: now it is known what encloses the slices before it."""
        outer = [f"position {mark.position}", *([] if mark.layer == NO_LAYER else [f"layer {mark.layer}"])]
        for number, track in self._tracks.items():
            held, track.held = track.held, []
            for name, start, end, args in held:
                self._write_slice(machine, number, name, start, end, args, [*outer, mark.name])
        clock = machine.clocks[0]
        clock.time(machine.counts)                          # the core's time up to here
        done = int(words.all_done(clock.words))
        if self._looking and done > self._done and not self._is_outside(self._done, done):
            self._write_slice(machine, _MODEL, mark.name, self._done, done, _events(machine, self._counts), outer)
        self._done, self._counts = done, machine.counts.copy()

    # ---------------------------------------------------------------------------------------------- slices

    def _is_outside(self, start: int, end: int) -> bool:
        return end < self.begin or (self.end is not None and start > self.end)

    def _slice(self, machine: ReferenceMachine, number: int, name: str, start: int, end: int, args: dict[str, Any],
               symbol: str) -> None:
        """A slice, within that of a symbol if there is one; in the program of a model, held until its operation is known."""
        if self._is_outside(start, end) or self.left_out:
            return
        if self._marks and number < _FIRST_REGION:
            self._tracks.setdefault(number, _Track()).held.append((name, start, end, args))
        else:
            self._write_slice(machine, number, name, start, end, args, [symbol] if symbol else [])

    def _write_slice(self, machine: ReferenceMachine, number: int, name: str, start: int, end: int, args: dict[str, Any],
                     within: list[str]) -> None:
        if self.written == self.limit:
            self.left_out = True
            return
        self.written += 1
        track = self._tracks.setdefault(number, _Track())
        kept = 0
        while kept < len(within) and track.open[kept:kept + 1] == [within[kept]]:
            kept += 1
        self._close(machine, number, kept)
        for outer in within[kept:]:
            self._event(machine, number, outer, "B", start)
            track.open.append(outer)
        track.end = max(track.end, end)
        self._event(machine, number, name, "B", start, args={"cycles": end - start, **args})
        self._event(machine, number, name, "E", end)

    def _close(self, machine: ReferenceMachine, number: int, kept: int) -> None:
        """End the enclosing slices of a track but for some of the outermost."""
        track = self._tracks[number]
        while len(track.open) > kept:
            self._event(machine, number, track.open.pop(), "E", track.end)

    def _event(self, machine: ReferenceMachine, number: int, name: str, kind: str, cycle: int, **more: Any) -> None:
        self._write(machine, "," + json.dumps(
            {"name": name, "ph": kind, "pid": _PROCESS, "tid": number, "ts": self._time(machine, cycle), **more}))

    def _time(self, machine: ReferenceMachine, cycle: int) -> float:
        """Microseconds, in whole picoseconds: an end is at the same time as what begins there."""
        return round(cycle * 1e6 / machine.preset.clock_hz, 6)

    def note(self) -> str | None:
        """What is to be said when the run is over, None if nothing is."""
        return (f"{self.path}: note: the timeline ends after {self.written:,} slices, before the run does; --timeline-from N "
                "begins later" if self.left_out else None)

    def __exit__(self, *failure: Any) -> None:
        machine = self._machine
        if machine is not None and self.error is None:
            self._leave(machine)
            if self._marks:                                                         # what has begun is shown
                behind = self._marks.behind(self._pc) if any(track.held for track in self._tracks.values()) else None
                self._reached(machine, Reached("(the end)", NO_LAYER, self._marks.position) if behind is None
                              else self._marks.reached(behind))
            for number in self._tracks:
                self._close(machine, number, 0)
            self._write(machine, "]")
        super().__exit__(*failure)


def _events(machine: ReferenceMachine, before: np.ndarray) -> dict[str, int]:
    """The counters that have moved, by name."""
    return {name: moved for name, counter in COUNTERS.items()
            if (moved := int(machine.counts[counter.slot]) - int(before[counter.slot]))}
