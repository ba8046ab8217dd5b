"""Where counters, time and energy go: by operation, layer, phase or source line.

The machine is looked at from time to time, and what has happened since the last look belongs to one part:

    operation    in the program of a model, what came before the mark behind an operation (marks.py). In other programs each symbol
                 of the code begins a part, which ends at the next one
    layer        the same marks. Operation 0 is the first of a layer
    phase        prefill until the first token has been emitted, then decode: looked at behind each environment call
    line         the source line of an instruction of a unit: its own, and what the core did before it

Time is that by which the end of the run has moved, so parts that overlap are not counted twice, and all parts add up to the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from emulator.observe.cost import quantity
from emulator.observe.marks import NO_LAYER, Marks
from isa.counters import COUNTERS, SLOTS
from isa.energy import energy_of
from isa.reference import ReferenceMachine, Step

KINDS = ("operation", "layer", "line", "phase")
PREFILL, DECODE, OUTSIDE = "prefill", "decode", "outside of layers"
_SHOWN = 20                 # rows of the table; JSON has all


@dataclass
class Part:
    """What belongs to one operation, layer, line or phase."""

    cycles: int = 0
    times: int = 0                      # how often it began
    counts: np.ndarray = field(default_factory=lambda: np.zeros(SLOTS, np.uint64))

    @property
    def macs(self) -> int:
        """Multiply-accumulates that were executed, on any unit."""
        return sum(int(self.counts[entry.slot]) for name, entry in COUNTERS.items() if name.endswith(".macs"))


class Breakdown:
    """Looks on while `machine` runs a program, from now on. `kind` is one of KINDS. `parts`: by name, the first to begin first."""

    def __init__(self, machine: ReferenceMachine, kind: str) -> None:
        assert machine.program is not None and kind in KINDS
        self.machine, self.kind, self.program = machine, kind, machine.program
        self.parts: dict[str, Part] = {}
        self._begun = ""                                        # the symbol or phase of which nothing was counted yet
        self._last = ""                                         # the part to which something was added last
        time = machine.time                                     # of a run that goes on from a snapshot: more than 0 cycles
        self._cycles, self._counts = time.cycles if time else 0, machine.counts.copy()
        if kind == "phase":
            self._begun = PREFILL
        self._marks = Marks(self.program)
        if kind == "line":
            machine.hook(self._look, lambda pc, row: row is not None and row.is_xslim)
        elif kind == "phase":
            machine.hook(self._look, lambda pc, row: row is not None and row.mnemonic == "ecall")
        else:
            machine.hook_before(self._look, self._marks.names)

    def _look(self, machine: ReferenceMachine, step: Step) -> None:
        if part := self._part(step):
            self._account(part)

    def _part(self, step: Step) -> str:
        """The name of the part to which belongs what has happened since the last look; "" if it goes on, or nothing has begun."""
        if self.kind == "line":
            return self.program.line_at(step.pc) or f"{step.pc:#x}"
        if self.kind == "phase":
            if self._begun == DECODE or not self.machine.counter("tokens.emitted"):
                return ""
            self._begun = DECODE
            return PREFILL
        if not self._marks.of_model:
            name, self._begun = self._begun, self._marks.names[step.pc]
            return name if self.kind == "operation" else OUTSIDE
        before = self._marks.reached(step.pc)
        if self.kind == "operation":
            return before.name
        return OUTSIDE if before.layer == NO_LAYER else f"layer {before.layer}"

    def _account(self, name: str) -> None:
        """What has happened since the last look belongs to a part."""
        time, counts = self.machine.time, self.machine.counts
        cycles = time.cycles if time is not None else 0
        part = self.parts.setdefault(name, Part())
        part.times += self.kind != "layer" or name != self._last       # a layer has many marks, the other parts begin at each
        self._last = name
        part.cycles += cycles - self._cycles
        part.counts += counts - self._counts
        self._cycles, self._counts = cycles, counts.copy()

    def finish(self) -> None:
        """The run has ended: what is left belongs to what began last."""
        self._account(OUTSIDE if self.kind == "layer" else self._begun or "(the end)")
        self.machine.unhook(self._look)

    # ---------------------------------------------------------------------------------------------- what users see

    def as_json(self) -> dict[str, Any]:
        """By name: cycles, seconds, joules, times, and the counters that moved."""
        preset = self.machine.preset
        found = {}
        for name, part in self.parts.items():
            counters = {counter: int(part.counts[entry.slot]) for counter, entry in COUNTERS.items()}
            energy = energy_of(counters, preset, Fraction(part.cycles, preset.clock_hz)) if self.machine.clocks else None
            found[name] = {"times": part.times, "cycles": part.cycles if self.machine.clocks else None,
                           "seconds": part.cycles / preset.clock_hz if self.machine.clocks else None,
                           "joules": None if energy is None else energy.joules, "macs": part.macs,
                           "counters": {counter: events for counter, events in counters.items() if events}}
        return found

    def table(self) -> Iterator[str]:
        """For a person: the parts that took longest."""
        parts = self.as_json()
        whole = sum(part["cycles"] or 0 for part in parts.values())
        yield f"by {self.kind}: {'share':>7}  {'time':>10}  {'energy':>10}  {'MACs':>10}  {'times':>7}"
        order = sorted(parts, key=lambda name: -(parts[name]["cycles"] or 0)) if self.kind != "layer" else list(parts)
        for name in order[:_SHOWN]:
            part = parts[name]
            time = "-" if part["seconds"] is None else quantity(part["seconds"], "s")
            energy = "-" if part["joules"] is None else quantity(part["joules"], "J")
            macs = quantity(part["macs"], "").rstrip() if part["macs"] else "-"
            share = f"{100 * part['cycles'] / whole:.1f} %" if whole else "-"
            yield f"  {share:>14}  {time:>10}  {energy:>10}  {macs:>10}  {part['times']:>7,}  {name}"
        if len(order) > _SHOWN:
            yield f"  and {len(order) - _SHOWN} more"

