"""The report of a run that is over: how it ended and where, the counters, the instruction mix. As text, JSON and CSV.

docs/json.md describes the JSON, docs/command-line.md the CSV.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from emulator.observe.cost import Cost
from isa.counters import COUNTERS
from isa.program import Program, place_text
from isa.reference import ReferenceMachine, RunResult
from isa.text import counted
from isa.timing.clock import Clock

if TYPE_CHECKING:
    from emulator.observe.breakdown import Breakdown
    from emulator.observe.hazards import HazardCheck
    from emulator.observe.mix import Mix

UNWRITABLE = "write error"          # the reason of a run that ended because a disk is full or a reader has left
INTERRUPTED_STATUS = 130            # as in a shell: 128 + the number of SIGINT


class Written(Protocol):
    """A file or stream that lines or output went to, and what went wrong there."""

    path: Any
    error: OSError | None


@dataclass
class RunReport:
    """A run that is over. `file` and `engine` are the user's names. `logs` are the files and streams that were written during
    the run, among them the program's own output. `hazards` and `mix` are None unless they were asked for.
    """

    file: str
    engine: str
    machine: ReferenceMachine
    result: RunResult
    hazards: HazardCheck | None = None
    logs: Sequence[Written] = ()
    mix: Mix | None = None
    what_if: Sequence[tuple[str, Clock]] = ()       # further clocks that the machine kept, by what is changed
    breakdown: Breakdown | None = None

    @property
    def status(self) -> int:
        """The exit status: 1 when something was wrong, 130 when the run was interrupted, otherwise the program's own."""
        if (self.hazards and self.hazards.hazards) or any(log.error for log in self.logs):
            return 1
        if self.result.exit_code is not None:
            return self.result.exit_code
        return INTERRUPTED_STATUS if self.result.reason == "interrupted" else 1

    @property
    def place(self) -> str:
        """Where the run stopped, as far as it is known: "pc 0x80000010 <loop+0x4> (sum.s:12)"."""
        pc, program = self.machine.pc, self.machine.program or Program()
        return f"pc {place_text(pc, program.symbol_at(pc), program.line_at(pc))}"

    def summary(self) -> Iterator[str]:
        """Lines for a person: tokens, how it ended, the counters that are not zero, the mix."""
        if tokens := self.machine.host.tokens:
            left_out = self.machine.counter("tokens.emitted") - len(tokens)
            yield f"tokens: {f'({left_out:,} earlier ones not kept) ' * (left_out > 0)}{' '.join(map(str, tokens))}"
        yield (f"{self.result.reason} after {counted(self.result.instructions, 'instruction', ',')} on {self.machine.preset.name} "
               f"({self.engine} engine)")
        width = max(map(len, COUNTERS))
        for name, events in self.machine.counters.items():
            if events:
                yield f"  {name.ljust(width)}  {events:>15,} {COUNTERS[name].unit}"
        yield from self.cost.lines()
        if self.breakdown is not None:
            yield from self.breakdown.table()
        if self.mix is not None:
            yield from self.mix.table()

    @property
    def cost(self) -> Cost:
        """What the run has cost on the machine."""
        return Cost.of(self.machine, self.what_if)

    def errors(self, **limits: object) -> Iterator[str]:
        """What went wrong. `limits` maps a reason for which a run stops to the command's option that sets the limit."""
        match self.result.reason:
            case "trap":
                yield f"{self.file}: error: {self.result.trap}"
            case "interrupted":
                yield f"{self.file}: interrupted at {self.place}"
            case reason if reason in limits:
                yield f"{self.file}: error: stopped by {limits[reason]} at {self.place}"
        for hazard in self.hazards.hazards if self.hazards else ():
            yield f"{self.file}: error: hazard: {hazard}"
        for log in self.logs:
            if log.error and not isinstance(log.error, BrokenPipeError):            # the reader has left: no message
                where = f"; the run stopped at {self.place}" if self.result.reason == UNWRITABLE else ""
                yield f"{log.path}: error: {log.error.strerror}{where}"

    def as_json(self) -> dict[str, Any]:
        """Plain data; the keys are documented."""
        result, host, trap = self.result, self.machine.host, self.result.trap
        program = self.machine.program or Program()
        pc = self.machine.pc
        within = program.before(pc) if self.machine.exit_code is not None else pc
        return {
            "program": self.file, "machine": self.machine.preset.name, "engine": self.engine, "reason": result.reason,
            "exit_code": result.exit_code, "instructions": result.instructions,
            "pc": pc, "symbol": program.symbol_at(pc, within), "place": program.line_at(within),
            "counters": self.machine.counters, "output": host.output.decode("utf-8", "replace"),
            "errors": host.errors.decode("utf-8", "replace"), "output_bytes": host.written[0], "errors_bytes": host.written[1],
            "tokens": host.tokens,
            "trap": None if trap is None else {
                "cause": int(trap.cause), "name": trap.cause.name, "pc": trap.pc, "value": trap.value,
                "instruction": trap.instruction, "symbol": trap.symbol, "place": trap.place, "reason": trap.detail},
            **self.cost.as_json(),
            "by": None if self.breakdown is None else {self.breakdown.kind: self.breakdown.as_json()},
            "mix": None if self.mix is None else self.mix.as_json(),
            "hazards": None if self.hazards is None else [asdict(hazard) for hazard in self.hazards.hazards]}

    def as_csv(self) -> Iterator[str]:
        """A header and a line for every counter, zero or not: counter, events, unit, text."""
        for row in (("counter", "events", "unit", "text"),
                    *((c.name, self.machine.counter(c.name), c.unit, c.text) for c in COUNTERS.values())):
            line = io.StringIO()
            csv.writer(line, lineterminator="").writerow(row)
            yield line.getvalue()
