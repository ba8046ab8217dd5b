"""The two phases of a run that emits tokens: prefill, until the first token is out, and decode, what comes behind it.

    phases = Phases(machine)                                    # from now on
    machine.host = Host(prompt, emit=lambda token: phases.emitted())
    machine.run()
    phases.parts() -> {"prefill": Part, "decode": Part}

The border lies behind the environment call that emits the first token, as in a Breakdown by phase: that call is the last of the
prefill. A Breakdown has to look at each environment call, which costs a small model a quarter of its speed. Here the host says when
a token comes, so that the run is looked at once.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from emulator.observe.breakdown import DECODE, PREFILL, Part
from isa.counters import COUNTERS
from isa.energy import energy_of
from isa.preset import Preset
from isa.reference import ReferenceMachine, Step


class Phases:
    """Splits what `machine` does from now on at its first token."""

    def __init__(self, machine: ReferenceMachine) -> None:
        self.machine = machine
        self._start = self._now()
        self._border: Part | None = None
        self._awaited = False

    def emitted(self) -> None:
        """To be called by the host for each token, while the machine emits it."""
        if not self._awaited:
            self._awaited, here = True, self.machine.pc
            self.machine.hook(self._look, lambda pc, _row: pc == here)

    def _look(self, machine: ReferenceMachine, _step: Step) -> None:
        self._border = self._now()
        machine.unhook(self._look)

    def _now(self) -> Part:
        time = self.machine.time
        return Part(time.cycles if time else 0, 1, self.machine.counts.copy())

    def parts(self) -> dict[str, Part]:
        """What the machine has done in each phase so far. Together they are all that it has done."""
        end = self._now()
        border = self._border or end
        return {PREFILL: _between(self._start, border), DECODE: _between(border, end)}


def _between(earlier: Part, later: Part) -> Part:
    return Part(later.cycles - earlier.cycles, 1, later.counts - earlier.counts)


def as_json(part: Part, preset: Preset, tokens: int, timed: bool) -> dict[str, Any]:
    """The machine's figures of a phase, with the keys of docs/json.md. `tokens`: those by which its rate counts; `timed`: whether a
    clock was kept.
    """
    counters = {name: int(part.counts[counter.slot]) for name, counter in COUNTERS.items()}
    seconds = Fraction(part.cycles, preset.clock_hz)
    energy = energy_of(counters, preset, seconds) if timed else None
    time = {"cycles": part.cycles, "seconds": float(seconds), "tokens_per_second": float(tokens / seconds) if part.cycles else None}
    return {"time": time if timed else None, "energy": None if energy is None else {"joules": energy.joules},
            "macs": part.macs, "counters": counters}
