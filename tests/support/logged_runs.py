"""A program's run under a log, and the log's lines."""

from __future__ import annotations

from pathlib import Path

from emulator.observe.commit_log import commit_line
from emulator.observe.line_log import LineLog
from emulator.observe.trace import Trace, selection
from isa.program import Program
from isa.reference import ReferenceMachine


def run(engine: type[ReferenceMachine], program: Program, path: Path, render: str = "trace", limit: int | None = None,
        **filters: list[str]) -> tuple[ReferenceMachine, list[str]]:
    """A machine that has run a program under a log, and the log's lines without the header."""
    machine = engine(program.machine)
    chosen = selection(program, **filters)
    with LineLog(path) as log:
        machine.load(program)
        if render == "trace":
            log.follow(machine, Trace(program, chosen), chosen.where(machine), chosen.writes, Trace.header, limit)
        else:
            log.follow(machine, commit_line)
        machine.run(max_instructions=100_000)
    assert log.error is None
    lines = path.read_text(encoding="utf-8").splitlines()
    return machine, lines[1:] if render == "trace" else lines
