"""The front door: the public API and the `slimulator` command.

    from slimulator import Machine, Program, assemble, load_preset

Names are imported when they are first used, so that `slimulator --help` answers at once. What a command does stands in the
packages; here stand its arguments and its output.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from difflib import get_close_matches
from functools import partial, reduce
from importlib import import_module
from pathlib import Path
from typing import Any

import click

import model_commands

__version__ = "0.1.0"

_PUBLIC = {
    "assemble": "asm.assembler", "assemble_with_listing": "asm.assembler", "disassemble": "asm.disassembler",
    "Assembly": "asm.assembly", "AssemblyError": "asm.diagnostics",
    "Program": "isa.program", "ProgramError": "isa.program", "Section": "isa.program", "Symbol": "isa.program",
    "SnapshotError": "isa.snapshot",
    "Preset": "isa.preset", "PresetError": "isa.preset", "load_preset": "isa.preset", "preset_names": "isa.preset",
    "Machine": "emulator.engine", "ReferenceMachine": "isa.reference", "RunResult": "isa.reference", "Host": "isa.services",
    "HazardCheck": "emulator.observe.hazards",
}

__all__ = sorted((*_PUBLIC, "main"))


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'slimulator' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def main() -> None:
    """The console script: exit status 0, 1 for a user's mistake, 2 for usage, or the exit code of the program that ran."""
    sys.exit(invoke(sys.argv[1:]))


def invoke(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status. Errors go to stderr, without a traceback."""
    try:
        status = command.main(list(arguments), prog_name="slimulator", standalone_mode=False)
        sys.stdout.flush()
        return status or 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())     # nobody reads: Python's last flush must not fail
        return 1
    except OSError as error:
        click.echo(f"{error.filename or 'slimulator'}: error: {error.strerror or error}", err=True)
        return 1
    except Exception as error:
        message = _mistake(error)
        if message is None:
            raise
        click.echo(message, err=True)
        return 1


def _mistake(error: Exception) -> str | None:
    """The text of an error that a user's input caused, None for one of ours."""
    from asm.diagnostics import AssemblyError
    from compiler.errors import ModelError
    from emulator.observe.trace import TraceError
    from isa.manual import UnknownEntry
    from isa.preset import PresetError
    from isa.program import ProgramError
    match error:
        case AssemblyError() | PresetError() | ModelError():
            return str(error)
        case ProgramError():
            return f"{error.path}: error: {str(error).removeprefix(f'{error.path}: ')}" if error.path else f"error: {error}"
        case UnknownEntry() | TraceError():
            return f"error: {error}"
        case MemoryError():
            return "error: out of memory\nhint: data belongs into files (.incbin), where it stays until the program is written"
        case _:
            return None


_FILE = click.Path(path_type=Path, readable=False)         # what cannot be read is a mistake in the input, not in the usage
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


class _Commands(click.Group):
    """Answers an unknown command with those that there are."""

    def resolve_command(self, context: click.Context, arguments: list[str]) -> Any:
        name = arguments[0]
        if not name.startswith("-") and self.get_command(context, name) is None:
            near = get_close_matches(name, self.commands, n=1, cutoff=0.5)
            context.fail(f"No such command {name!r}; expected one of {', '.join(self.commands)}."
                         + (f" Did you mean {near[0]!r}?" if near else ""))
        return super().resolve_command(context, arguments)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="slimulator")
def command() -> None:
    """Write, assemble and run programs for the Slim machine, an accelerator for sparse and low-bit language models."""


# ------------------------------------------------------------------------------------------------ programs


def _definitions(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, int]:
    """-D NAME=VALUE, any number of times."""
    defines = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            defines[name] = int(value, 0)
        except ValueError:
            raise click.BadParameter(f"{text!r}; expected NAME=VALUE with a number") from None
        if not re.fullmatch(r"[A-Za-z_.$][\w.$]*", name):
            raise click.BadParameter(f"{text!r}; expected NAME=VALUE with the name of a symbol")
    return defines


def _distinct(source: Path | None, outputs: Iterable[Path | None]) -> None:
    """Refuse outputs that would overwrite the source or each other."""
    taken: set[Path] = set()
    for written in outputs:
        if written is None or str(written) == "-" or (written.exists() and not written.is_file()):
            continue
        if source and written.absolute() == source.absolute():
            raise click.UsageError(f"{written} is the source: it would be overwritten")
        if written.absolute() in taken:
            raise click.UsageError(f"{written} is named for two outputs: one would overwrite the other")
        taken.add(written.absolute())


@command.command("asm", short_help="Assemble a program.")
@click.argument("file", type=_FILE)
@click.option("-o", "--output", type=_FILE, metavar="FILE.elf", help="The program file; by default FILE.elf beside the source.")
@click.option("--machine", metavar="M", show_default="slim",
              help="Preset name or .toml file that the program is built for; a .machine in the source has the last word.")
@click.option("-I", "include_paths", type=_FILE, multiple=True, metavar="DIR", help="Search DIR for .include and .incbin.")
@click.option("-D", "defines", multiple=True, metavar="NAME=VALUE", callback=_definitions, help="Define a symbol.")
@click.option("--listing", "listing_file", type=_FILE, metavar="F", help="Write address, bytes and source of every line.")
@click.option("--symbols", "symbols_file", type=_FILE, metavar="F", help="Write sections and symbols.")
@click.option("--lines", "lines_file", type=_FILE, metavar="F", help="Write which address comes from which source line.")
@click.option("--json", "json_file", type=_FILE, metavar="F", help="Write all of these as JSON.")
def assemble_file(file: Path, output: Path | None, machine: str | None, include_paths: tuple[Path, ...], defines: dict[str, int],
                  listing_file: Path | None, symbols_file: Path | None, lines_file: Path | None,
                  json_file: Path | None) -> int:
    """Assemble FILE.s into a program.

    Every error of the source is reported. Listing, symbols and JSON are written even then; '-' stands for stdout.
    """
    from asm import listing
    from asm.assembler import assemble_with_listing
    from isa.preset import load_preset
    preset = load_preset(machine or "slim")
    output = output or file.with_suffix(".elf")
    _distinct(file, (output, listing_file, symbols_file, lines_file, json_file))
    assembly = assemble_with_listing(file, machine=machine or "slim", include_paths=include_paths, defines=defines)
    for diagnostic in assembly.diagnostics:
        click.echo(diagnostic, err=True)
    program = assembly.program
    if listing_file:
        _write(listing_file, listing.listing(assembly))
    if symbols_file:
        _write(symbols_file, listing.symbol_map(assembly.symbols, program.sections if program else []))
    if lines_file:
        _write(lines_file, listing.line_map(program.lines if program else []))
    if json_file:
        _write(json_file, [_dump(listing.as_json(assembly))])
    if program is None:
        return 1
    if machine and program.machine != preset.name:
        click.echo(f"{file}: warning: built for {program.machine}, which its .machine names, not for --machine {machine}", err=True)
    program.save(output)
    return 0


@command.command("disasm", short_help="Print a program as assembly.")
@click.argument("file", type=_FILE)
@click.option("--section", metavar="S", help="Print this section; by default those that hold instructions.")
@click.option("--aliases", is_flag=True, help="Print short names: ret for jalr zero, 0(ra).")
def disassemble_file(file: Path, section: str | None, aliases: bool) -> None:
    """Print a program's instructions with their addresses, bits and symbols."""
    from asm.disassembler import disassemble
    from isa.program import Program
    sys.stdout.writelines(f"{line}\n" for line in disassemble(Program.load(file), section=section, aliases=aliases))


def _seconds(_context: click.Context, _parameter: click.Parameter, value: float | None) -> float | None:
    if value is not None and not 0 < value < float("inf"):
        raise click.BadParameter(f"{value} is no time; expected a number of seconds above 0")
    return value


_RUN_OPTIONS = (
    click.option("--engine", type=click.Choice(["fast", "reference"]), default="fast", show_default=True,
                 help="What executes the program. fast: compiled kernels; reference: the NumPy meanings, one at a time."),
    click.option("--machine", metavar="M", help="Preset name or .toml file; by default the one that the program was built for."),
    click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, metavar="N",
                 help="Work on large operations with N threads, at most as many as the host has cores. Changes the time alone."),
    click.option("--prompt", default="", metavar="TOKENS", help="Prompt tokens for the program to read, e.g. \"1 42 7\"."),
    click.option("--max-instructions", type=click.IntRange(min=1), metavar="N", help="Stop after N instructions."),
    click.option("--timeout", type=float, metavar="SECONDS", callback=_seconds, help="Stop after this time."),
    click.option("--quiet", is_flag=True, help="Print no counters: only the program's output and errors."),
    click.option("--mix", is_flag=True, help="Count what was executed by mnemonic, unit, symbol and source line."),
    click.option("--hazards", "hazards", flag_value="first", help="Stop at bytes of an operation that was not waited for. Slow."),
    click.option("--all-hazards", "hazards", flag_value="all", help="Report every pair of instructions that do so, and go on."),
    click.option("--save-snapshot", type=_FILE, metavar="F", help="Write the machine's state when the run ends, however it ends."),
    click.option("--restore", type=_FILE, metavar="F", help="Go on from a snapshot; by default with the FILE that it names."),
    click.option("--json", "json_file", type=_FILE, metavar="F", help="Write result, counters, mix and hazards as JSON."),
    click.option("--csv", "csv_file", type=_FILE, metavar="F", help="Write the counters as CSV."),
    click.option("--commit-log", type=_FILE, metavar="F", help="Write what each instruction changed, in Spike's form."),
    click.option("--trace", type=_FILE, metavar="F", help="Write a line for each instruction, with what it did."),
)
_TRACE_OPTIONS = (          # each narrows --trace
    click.option("--trace-unit", "units", multiple=True, metavar="U", help="Trace this unit (core: base instructions)."),
    click.option("--trace-pc", "code", multiple=True, metavar="A..B", help="Trace instructions from A to before B."),
    click.option("--trace-symbol", "code", multiple=True, metavar="NAME", help="Trace this function."),
    click.option("--trace-registers", "registers", multiple=True, metavar="R,...", help="Trace what sets one (any: all)."),
    click.option("--trace-writes", "writes", multiple=True, metavar="A..B", help="Trace what writes to this memory."),
    click.option("--trace-limit", "limit", type=click.IntRange(min=1), metavar="N", help="Trace no more than N lines."),
)


def _options(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Several click options as one decorator."""
    return lambda function: reduce(lambda decorated, option: option(decorated), reversed(options), function)


@command.command("run", short_help="Run a program and count what it does.")
@click.argument("file", type=_FILE, required=False)
@_options(*_RUN_OPTIONS, *_TRACE_OPTIONS)
def run_program(file: Path | None, engine: str, machine: str | None, prompt: str, max_instructions: int | None,
                timeout: float | None, quiet: bool, mix: bool, hazards: str | None, json_file: Path | None, csv_file: Path | None,
                commit_log: Path | None, trace: Path | None, threads: int, save_snapshot: Path | None, restore: Path | None,
                **filters: Any) -> int:
    """Run a program.

    Its output goes to stdout and the counters that are not zero to stderr. A file F may be '-': then stdout holds this alone,
    and what the program prints goes to stderr. The exit status is the program's own, 1 when a trap, a limit or a mistake ends
    the run, 130 when Ctrl-C does.
    """
    from emulator.observe.line_log import LineLog
    from emulator.observe.report import Report
    from isa.services import Host, to_terminal
    if restore and prompt:
        raise click.UsageError("--prompt with --restore: the prompt tokens that are left are in the snapshot")
    if trace is None and any(filters.values()):
        raise click.UsageError("the --trace-... options choose what --trace F writes: give it too")
    _distinct(file, (json_file, csv_file, commit_log, trace, save_snapshot))
    on_stdout = [str(output) for output in (json_file, csv_file, commit_log, trace)].count("-")
    if on_stdout > 1:
        raise click.UsageError("stdout ('-') is named for two outputs")
    host = Host(_tokens(prompt), write=(lambda _, data: to_terminal(2, data)) if on_stdout else to_terminal)
    with ExitStack() as files:                      # opened first, so that what cannot be written is known before the run
        writers = [(files.enter_context(_writer(path)), lines) for path, lines in (
            (json_file, lambda report: [_dump(report.as_json())]), (csv_file, Report.as_csv)) if path is not None]
        with ExitStack() as logging:
            tracing, committing = (path and logging.enter_context(LineLog(path)) for path in (trace, commit_log))
            runner = _loaded(file, _engine(engine), machine, host, restore, **_threads(engine, threads))
            check = _hazard_check(runner, hazards)
            _follow(runner, tracing, committing, **filters)
            if mix:
                runner.profile()
            result = runner.run(max_instructions, timeout)
        sys.stdout.flush()
        logs = [log for log in (tracing, committing) if log]
        report = Report(str(file or runner.program.path), engine, runner, result, check, logs)
        if mix:
            from emulator.observe.mix import instruction_mix
            report.mix = instruction_mix(runner)
        for line in () if quiet else report.summary():
            click.echo(line, err=True)
        for line in report.errors(limit=f"--max-instructions {max_instructions}", timeout=f"--timeout {timeout}"):
            click.echo(line, err=True)
        for write, lines in writers:
            write(lines(report))
    if save_snapshot:
        runner.save(save_snapshot)
    return report.status


def _follow(runner: Any, trace: Any, commit_log: Any, *, limit: int | None, **filters: Sequence[str]) -> None:
    """Have the logs written that were opened."""
    if trace:
        from emulator.observe.trace import Trace, selection
        chosen = selection(runner.program, **filters)
        trace.follow(runner, Trace(runner.program, chosen), chosen.where(runner), chosen.writes, Trace.header, limit)
    if commit_log:
        from emulator.observe.commit_log import commit_line
        commit_log.follow(runner, commit_line)


def _loaded(file: Path | None, engine: Any, machine: str | None, host: Any, snapshot: Path | None, **options: int) -> Any:
    """A machine with a program: at its start, or as a snapshot has it."""
    from isa.preset import load_preset
    from isa.program import Program
    if snapshot:
        return engine.restore(snapshot, Program.load(file) if file else None, load_preset(machine) if machine else None, host,
                              **options)
    if file is None:
        raise click.UsageError("Missing argument 'FILE'.")
    program = Program.load(file)
    runner = engine(_preset(program, file, machine), host, **options)
    runner.load(program)
    return runner


def _hazard_check(runner: Any, hazards: str | None) -> Any:
    if hazards is None:
        return None
    from emulator.observe.hazards import HazardCheck
    return HazardCheck(runner, every=hazards == "all")


@command.command("debug", short_help="Step through a program, at a prompt or from gdb.")
@click.argument("file", type=_FILE)
@click.option("--engine", type=click.Choice(["fast", "reference"]), default="fast", show_default=True,
              help="What executes the program, as in run.")
@click.option("--machine", metavar="M", help="Preset name or .toml file; by default the one that the program was built for.")
@click.option("--script", type=_FILE, metavar="F", help="Execute the commands of a file instead of asking for them.")
@click.option("--gdb", "port", type=click.IntRange(0, 65535), metavar="PORT",
              help="Serve gdb's remote protocol on this port of 127.0.0.1 (0: a free one).")
@click.option("--prompt", default="", metavar="TOKENS", help="Prompt tokens for the program to read, e.g. \"1 42 7\".")
def debug(file: Path, engine: str, machine: str | None, script: Path | None, port: int | None, prompt: str) -> int:
    """Stop a program at symbols, lines and writes to memory, step through it, look at tensors, counters and units.

    Commands come from a terminal, a pipe or a script; `help` lists them. An error in a script ends it with status 1. With --gdb,
    gdb drives the program instead, and the exit status is the program's own.
    """
    from emulator.debug.session import Session
    from isa.program import Program
    from isa.services import Host, to_terminal
    if script is not None and port is not None:
        raise click.UsageError("--script are commands of the debugger, and with --gdb they come from gdb: give one of the two")
    tokens = _tokens(prompt)
    program = Program.load(file)
    preset = _preset(program, file, machine)

    def start() -> Any:
        sys.stdout.flush()
        runner = _engine(engine)(preset, Host(tokens, write=to_terminal, emit=lambda token: click.echo(f"token {token}")))
        runner.load(program)
        return runner

    session = Session(start, file.parent)
    if port is not None:
        from emulator.debug.gdb_server import serve
        return serve(session, port, str(file))
    from emulator.debug.debugger import run_debugger
    return run_debugger(session, script)


def _preset(program: Any, file: Path, machine: str | None) -> Any:
    """The machine to run a program on: what --machine says, else the preset that it was built for."""
    from isa.preset import PresetError, load_preset
    from isa.program import ProgramError
    try:
        return load_preset(machine or program.machine)
    except PresetError as error:
        if machine:
            raise
        raise ProgramError(f"it was built for machine {program.machine!r}, which is no preset here", path=str(file),
                           hint="give the machine's .toml file with --machine") from error


def _engine(name: str) -> Any:
    """The class of an engine. The first run on a host compiles the fast one: a terminal is told so."""
    if name == "reference":
        from isa.reference import ReferenceMachine
        return ReferenceMachine
    from emulator.engine import Machine
    from emulator.kernels import on_compile
    if sys.stderr.isatty():
        on_compile(lambda what: click.echo(f"\r\x1b[K{what and f'compiling {what} ...'}", nl=False, err=True))
    return Machine


def _maker(name: str, threads: int) -> Any:
    """What makes a machine of an engine with a number of threads."""
    return partial(_engine(name), **_threads(name, threads))


def _threads(engine: str, threads: int) -> dict[str, int]:
    """What a machine of an engine is told about threads."""
    if engine == "reference":
        if threads > 1:
            raise click.BadParameter("the reference engine has one thread", param_hint="--threads")
        return {}
    from emulator.threads import cores
    if threads > cores():
        raise click.BadParameter(f"{threads} is not in the range 1<=x<={cores()}, the cores of this host", param_hint="--threads")
    return {"threads": threads}


def _tokens(text: str) -> list[int]:
    try:
        return [int(item) for item in text.replace(",", " ").split()]
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a list of token numbers, e.g. \"1 42 7\"",
                                 param_hint="--prompt") from None


# ------------------------------------------------------------------------------------------------ models


def _sparsity(_context: click.Context, _parameter: click.Parameter, text: str | None) -> float | str | None:
    """--ffn-sparsity exact|S."""
    if text in (None, "exact"):
        return text
    try:
        value = float(text or "")
    except ValueError:
        value = -1.0
    if not 0 <= value <= 0.95:
        raise click.BadParameter(f"{text!r}; expected exact, or a number from 0 to 0.95")
    return value


@command.command("compile", short_help="Compile a model's checkpoint to a program.")
@click.argument("model", type=_FILE)
@click.option("-o", "--output", type=_FILE, metavar="FILE.elf", help="The program file; by default MODEL.elf here.")
@click.option("--machine", metavar="M", default="slim", show_default=True, help="Preset name or .toml file to compile for.")
@click.option("--weights", metavar="FMT|RECIPE.toml",
              help="Format of the layers' matrices: f32 f16 bf16 i8 i4 i3 i2 t2 t5 b1, of integers with the columns that share a "
                   "scale (i4:32, t2:row); or a recipe that names matrices. By default as the checkpoint has them.")
@click.option("--context", type=click.IntRange(min=1), metavar="N", help="Most positions; by default the model's, at most 2048.")
@click.option("--tokenizer", type=_FILE, metavar="F", help="Tokenizer file; by default the one beside the model.")
@click.option("--ffn-sparsity", metavar="exact|S", callback=_sparsity,
              help="exact: read only rows of neurons that are not zero, in models with relu or relu2. A number, 0.5: leave this "
                   "share alone, by thresholds from the text of --calibrate; the result changes.")
@click.option("--calibrate", type=_FILE, metavar="TEXT", help="A text in UTF-8 to find thresholds on.")
@click.option("-S", "source", is_flag=True, help="Write assembly instead, FILE.s, and FILE.weights beside it.")
def compile_program(model: Path, output: Path | None, machine: str, weights: str | None, context: int | None,
                    tokenizer: Path | None, ffn_sparsity: float | str | None, calibrate: Path | None,
                    source: bool) -> None:
    """Compile MODEL to a program that generates text.

    MODEL is a Hugging Face directory, a .gguf file or a llama2.c .bin. The program holds the whole loop over tokens, the
    weights and the tokenizer. Its memory map goes to stderr.
    """
    from compiler.compile import compile_model
    from compiler.frontends import load, need_tokenizer
    from compiler.recipe import read_recipe
    output = output or Path(f"{model.resolve().stem if model.is_file() else model.resolve().name}.{'s' if source else 'elf'}")
    if source and output.suffix in ("", ".weights"):
        raise click.UsageError(f"-S writes assembly and its weights; expected a name like {output.with_suffix('.s')}, got {output}")
    if model.exists() and output.exists() and model.samefile(output):
        raise click.UsageError(f"{output} is the model: it would be overwritten")
    recipe = read_recipe(weights) if weights else None
    if isinstance(ffn_sparsity, float) != (calibrate is not None):
        raise click.UsageError("--ffn-sparsity with a number needs --calibrate TEXT, and --calibrate needs such a number")
    loaded = load(model, tokenizer)
    text = calibrate.read_text(encoding="utf-8", errors="replace")[:50_000] if calibrate else ""
    tokens = need_tokenizer(loaded).encode(text) if calibrate else ()
    compiled = compile_model(loaded, machine=machine, recipe=recipe, context=context, sparse=ffn_sparsity is not None,
                             sparsity=ffn_sparsity if isinstance(ffn_sparsity, float) else None, calibration=tokens,
                             progress=_progress("calibrating"))
    (compiled.save_source if source else compiled.save)(output, _progress("writing weights"))
    click.echo(f"{output}: {compiled.model.config.architecture} for machine {compiled.machine.name}", err=True)
    click.echo(compiled.summary(), err=True)


def _progress(what: str) -> Any:
    """A function of (done, all) that shows the share on a terminal, None where there is none."""
    if not sys.stderr.isatty():
        return None
    return lambda done, whole: click.echo(
        "\r\x1b[K" + (f"{what} {100 * done // whole} %" if done < whole else ""), nl=False, err=True)


# ------------------------------------------------------------------------------------------------ look things up


@command.command("isa", short_help="Look up an instruction, CSR, counter, trap or format.")
@click.argument("query", default="")
@_JSON
def look_up(query: str, as_json: bool) -> None:
    """The manual: an instruction, a pseudo-instruction, a family (lut.mac), a unit, a CSR, counter or trap, or a topic.

    Topics: registers formats numbers arithmetic memory csrs counters traps services machines. Without a QUERY: all
    instructions by unit; with --json every row with its fields, fixed bits and operands.
    """
    from isa import manual
    pseudo = _pseudo_instruction(query)
    if query in manual.TOPICS and pseudo:           # `csrs` is both
        answer = manual.look_up(query)
        answer.blocks.extend(pseudo.blocks)
    else:
        answer = pseudo or manual.look_up(query)
    _show(answer, as_json)


def _pseudo_instruction(name: str) -> Any:
    """The manual's answer for a name that only the assembler knows, None for others."""
    from asm.pseudo import PSEUDO
    from isa.document import Heading, Paragraph, Table
    from isa.instruction import TABLE
    from isa.manual import Answer
    forms = [(f"{name} {operands}".strip(), expansion if expansion != name else "lui, addi, addiw, slli as the value needs")
             for found, operands, expansion in PSEUDO if found == name]
    if not forms or name in TABLE:
        return None
    return Answer([Heading(1, name), Paragraph("A pseudo-instruction: the assembler writes base instructions for it."),
                   Table(("written", "assembled"), forms)],
                  {"pseudo": name, "forms": [{"syntax": syntax, "expansion": expansion} for syntax, expansion in forms]})


@command.command("machines", short_help="List machine presets, or every figure of one with its source.")
@click.argument("name", default="")
@_JSON
def machines(name: str, as_json: bool) -> None:
    """List the machine presets, or print every figure of one (a name or a .toml file) with its source."""
    from isa import manual
    from isa.preset import load_preset
    _show(manual.machine_answer(load_preset(name)) if name else manual.look_up("machines"), as_json)


def _show(answer: Any, as_json: bool) -> None:
    from isa.document import plain
    width = min(shutil.get_terminal_size((110, 24)).columns, 120)
    click.echo(_dump(answer.data) if as_json else plain(answer.blocks, width).rstrip("\n"))


def _dump(data: Any) -> str:
    return json.dumps(data, indent=2)


@contextmanager
def _writer(path: Path) -> Iterator[Callable[[Iterable[str]], None]]:
    """Something to call with lines. What it writes is a file when the block has ended, whole or not at all; "-" is stdout."""
    from isa.elf import replacing
    if str(path) == "-":
        yield lambda lines: sys.stdout.writelines(f"{line}\n" for line in lines)
        return
    with replacing(path) as stream:
        yield lambda lines: stream.writelines(f"{line}\n".encode() for line in lines)


def _write(path: Path, lines: Iterable[str]) -> None:
    with _writer(path) as write:
        write(lines)


for _command in model_commands.COMMANDS:
    command.add_command(_command)

if __name__ == "__main__":
    main()
