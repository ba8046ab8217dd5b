"""run: execute a program, with traces, logs and checks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from slimulator.commands import shared
from slimulator.commands.shared import BINARY, ENGINE, FILE, MACHINE, PROMPT, THREADS


def _seconds(_context: click.Context, _parameter: click.Parameter, value: float | None) -> float | None:
    if value is not None and not 0 < value < float("inf"):
        raise click.BadParameter(f"{value}; expected a number of seconds above 0")
    return value


_RUN_OPTIONS = (
    ENGINE, MACHINE, THREADS, PROMPT,
    click.option("--max-instructions", type=click.IntRange(min=1), metavar="N", help="Stop after N instructions."),
    click.option("--timeout", type=float, metavar="SECONDS", callback=_seconds, help="Stop after this time on the host's clock."),
    click.option("--quiet", is_flag=True, help="Print only the program's output, and errors."),
    click.option("--mix", is_flag=True, help="Also count executed instructions by mnemonic, unit, symbol and source line."),
    click.option("--hazards", "hazards", flag_value="first", help="Stop at the first missing wait between units. Slow."),
    click.option("--all-hazards", "hazards", flag_value="all", help="Report every missing wait and continue."),
    click.option("--save-snapshot", type=BINARY, metavar="F", help="Save the machine's state when the run ends, for any reason."),
    click.option("--restore", type=FILE, metavar="F", help="Continue from a snapshot, with FILE or the program that it names."),
    click.option("--json", "json_file", type=FILE, metavar="F", help="Write result, counters, mix and hazards as JSON."),
    click.option("--csv", "csv_file", type=FILE, metavar="F", help="Write the counters as CSV."),
    click.option("--commit-log", type=FILE, metavar="F", help="Write what each instruction changed, in Spike's format."),
    click.option("--trace", type=FILE, metavar="F", help="Write a line for each instruction, with its effects."),
    shared.NO_TIME, shared.WHAT_IF, shared.BY, shared.REPORT,
    click.option("--timeline", type=FILE, metavar="F", help="Write what ran when on the machine, for Perfetto. Slow."),
)
_MEMORY_TRACE_OPTIONS = (   # these are about --memory-trace
    click.option("--memory-trace", type=FILE, metavar="F", help="Write what a memory sees, for simulators of memories. Slow."),
    click.option("--trace-format", type=click.Choice(["ramulator2", "dramsim3"]), help="Format of --memory-trace: ramulator2, "
                 "the default, is the LoadStoreTrace of Ramulator 2; dramsim3 has cycles."),
    click.option("--trace-region", type=click.Choice(["dram", "hbm"]), help="The memory of --memory-trace; by default dram."),
)
_TIMELINE_OPTIONS = (       # each narrows --timeline
    click.option("--timeline-from", type=click.IntRange(min=0), metavar="N", help="Leave out what ends before cycle N."),
    click.option("--timeline-for", type=click.IntRange(min=1), metavar="N", help="Write N cycles, then no more."),
)
_TRACE_OPTIONS = (          # each narrows --trace
    click.option("--trace-unit", "units", multiple=True, metavar="U", help="Trace only this unit (core: base instructions)."),
    click.option("--trace-pc", "code", multiple=True, metavar="A..B",
                 help="Trace only instructions from A up to but not including B."),
    click.option("--trace-symbol", "code", multiple=True, metavar="NAME", help="Trace only this function."),
    click.option("--trace-registers", "registers", multiple=True, metavar="R,...",
                 help="Trace only instructions that set one of these (any: all registers)."),
    click.option("--trace-writes", "writes", multiple=True, metavar="A..B",
                 help="Trace only instructions that write to this memory."),
    click.option("--trace-limit", "limit", type=click.IntRange(min=1), metavar="N",
                 help="Trace no more than N lines; --memory-trace has at most 10,000,000 by default."),
)


@dataclass(frozen=True)
class RunOptions:
    """What the options of `slimulator run` say."""

    engine: str
    machine: str | None
    threads: int
    prompt: str
    max_instructions: int | None
    timeout: float | None
    quiet: bool
    mix: bool
    hazards: str | None                 # "first", "all"
    save_snapshot: Path | None
    restore: Path | None
    json_file: Path | None
    csv_file: Path | None
    commit_log: Path | None
    trace: Path | None
    no_time: bool
    what_if: tuple[str, ...]
    by: str | None
    report: Path | None
    timeline: Path | None
    timeline_from: int | None
    timeline_for: int | None
    memory_trace: Path | None
    trace_format: str | None
    trace_region: str | None
    units: tuple[str, ...]              # from here on: what --trace is narrowed to
    code: tuple[str, ...]
    registers: tuple[str, ...]
    writes: tuple[str, ...]
    limit: int | None

    def __post_init__(self) -> None:
        if self.restore and self.prompt:
            raise click.UsageError("--prompt cannot be combined with --restore: the snapshot has the prompt tokens that are left")
        if self.restore and self.what_if:
            raise click.UsageError("--what-if cannot be combined with --restore: the snapshot has the clock of its machine alone")
        if self.memory_trace is None and (self.trace_format or self.trace_region):
            raise click.UsageError("--trace-format and --trace-region need --memory-trace F")
        if self.no_time and self.trace_format == "dramsim3":
            raise click.UsageError("--no-time cannot be combined with --trace-format dramsim3: it has cycles, ramulator2 has none")
        if self.trace is None and (self.units or self.code or self.registers or self.writes or (
                self.limit and self.memory_trace is None)):
            raise click.UsageError("the --trace-... options need --trace F")
        if self.timeline is None and (self.timeline_from is not None or self.timeline_for is not None):
            raise click.UsageError("the --timeline-... options need --timeline F")
        if self.no_time and (self.timeline or self.what_if or self.report):
            raise click.UsageError("--no-time cannot be combined with --timeline, --what-if or --report: all need the clock")


@click.command("run", short_help="Run a program and count what it does.")
@click.argument("file", type=FILE, required=False)
@shared.options(*_RUN_OPTIONS, *_TRACE_OPTIONS, *_TIMELINE_OPTIONS, *_MEMORY_TRACE_OPTIONS)
def run_program(file: Path | None, **said: Any) -> int:
    """Run a program and count what it does.

    The program's output goes to stdout; counters that are not zero go to stderr. A file F may be '-': then stdout has only this
    file, and the program's output goes to stderr. The exit status is the program's own, 1 if a trap, a limit or an error ends the
    run, 130 if Ctrl-C does.
    """
    from emulator.observe.breakdown import Breakdown
    from emulator.observe.cost import Cost, without_clock
    from emulator.observe.line_log import LineLog
    from emulator.observe.memory_trace import MemoryTrace
    from emulator.observe.report import RunReport
    from emulator.observe.timeline import Timeline
    from isa.services import KEPT, Host
    from slimulator.report.watched import Watched
    o = RunOptions(**said)
    written = o.json_file, o.csv_file, o.commit_log, o.trace, o.timeline, o.memory_trace, o.report
    shared.distinct((*written, o.save_snapshot), file)
    on_stdout = "-" in map(str, written)
    console = _Console(2 if on_stdout else 1)
    host = Host(shared.token_list(o.prompt), write=console, keep=KEPT if o.json_file or o.save_snapshot or o.report else 0)
    with ExitStack() as files:                      # opened first, so that a file that cannot be written is known before the run
        texts: list[tuple[Path | None, Callable[[Any], Iterable[str]]]] = [
            (o.json_file, lambda report: [shared.json_text(report.as_json())]), (o.csv_file, RunReport.as_csv)]
        writers = [(files.enter_context(shared.writer(path)), lines) for path, lines in texts if path and str(path) != "-"]
        with ExitStack() as logging:
            tracing, committing = (path and logging.enter_context(LineLog(path)) for path in (o.trace, o.commit_log))
            timeline = logging.enter_context(Timeline(o.timeline, o.timeline_from or 0, o.timeline_for)) if o.timeline else None
            memory = logging.enter_context(MemoryTrace(
                o.memory_trace, o.trace_format or "ramulator2", o.trace_region or "dram", o.limit)) if o.memory_trace else None
            runner = _loaded(file, host, o)
            clocks = shared.add_clocks(runner, o.what_if)
            console.machine = runner
            check = _hazard_check(runner, o.hazards)
            _follow(runner, tracing, committing, o)
            breakdown = Breakdown(runner, o.by) if o.by else None
            if timeline:
                if not runner.clocks:
                    raise click.UsageError(f"--timeline needs the time of the machine: {without_clock(runner.preset)}")
                timeline.watch(runner)
            if memory:
                if not runner.clocks and memory.form == "dramsim3":
                    raise click.UsageError("--trace-format dramsim3 needs the time of the machine: "
                                           f"{without_clock(runner.preset)}; ramulator2 has no cycles")
                memory.watch(runner)
            watched = logging.enter_context(Watched(runner, o.report)) if o.report else None
            if o.mix:
                runner.profile()
            result = runner.run(o.max_instructions, o.timeout)
            if breakdown:
                breakdown.finish()
            if watched:
                watched.write(f"{Path(file or runner.program.path or 'a program').name} on {runner.preset.name}",
                              f"{result.instructions:,} instructions", Cost.of(runner), host.output.decode("utf-8", "replace"))
        sys.stdout.flush()
        logs = [log for log in (console, tracing, committing, timeline, memory) if log]
        report = RunReport(str(file or runner.program.path), o.engine, runner, result, check, logs, what_if=clocks,
                           breakdown=breakdown)
        if o.mix:
            from emulator.observe.mix import instruction_mix
            report.mix = instruction_mix(runner)
        for line in () if o.quiet else report.summary():
            shared.say(line)
        for note in filter(None, (log.note() for log in (timeline, memory) if log)):
            shared.say(note)
        for line in report.errors(limit=f"--max-instructions {o.max_instructions}", timeout=f"--timeout {o.timeout}"):
            shared.say(line)
        for write_file, lines in writers:
            write_file(lines(report))
    if o.save_snapshot:
        runner.save(o.save_snapshot)
    for path, lines in texts:                       # last: when the reader of stdout has left, the files are there
        if path and str(path) == "-":
            shared.write(path, lines(report))
    return report.status


class _Console:
    """Writes what a program prints, at once. When that is not possible any more, the run stops at that instruction."""

    machine: Any

    def __init__(self, output: int) -> None:
        self.output = output                    # where the program's output goes: 1, stdout, or 2, stderr
        self.path = ""
        self.error: OSError | None = None

    def __call__(self, file: int, data: bytes) -> None:
        from emulator.observe.report import UNWRITABLE
        from isa.services import to_terminal
        if self.error is None:
            file = max(file, self.output)
            try:
                to_terminal(file, data)
            except OSError as error:
                self.path, self.error = ("stdout", "stderr")[file - 1], error
                shared.abandon((sys.stdout, sys.stderr)[file - 1])
                self.machine.stop(UNWRITABLE)


def _follow(runner: Any, trace: Any, commit_log: Any, o: RunOptions) -> None:
    """Make the machine write the logs that were opened."""
    if trace:
        from emulator.observe.trace import Trace, selection
        chosen = selection(runner.program, o.units, o.code, o.registers, o.writes)
        trace.follow(runner, Trace(runner.program, chosen), chosen.where(runner), chosen.writes, Trace.header, o.limit)
    if commit_log:
        from emulator.observe.commit_log import commit_line
        commit_log.follow(runner, commit_line)


def _loaded(file: Path | None, host: Any, o: RunOptions) -> Any:
    """A machine with a program, at its start or at the point of a snapshot."""
    from isa.preset import load_preset
    from isa.program import Program
    engine = shared.engine_named(o.engine, o.quiet)
    options = {**shared.thread_options(o.engine, o.threads), "time": not o.no_time}
    if o.restore:
        return engine.restore(o.restore, Program.load(file) if file else None, load_preset(o.machine) if o.machine else None, host,
                              **options)
    if file is None:
        raise click.UsageError("Missing argument 'FILE'.")
    program = Program.load(file)
    runner = engine(shared.preset_for(program, o.machine), host, **options)
    runner.load(program)
    return runner


def _hazard_check(runner: Any, hazards: str | None) -> Any:
    if hazards is None:
        return None
    from emulator.observe.hazards import HazardCheck
    return HazardCheck(runner, every=hazards == "all")
