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
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import click

__version__ = "0.1.0"

_PUBLIC = {
    "assemble": "asm.assembler", "assemble_with_listing": "asm.assembler", "disassemble": "asm.disassembler",
    "Assembly": "asm.assembly", "AssemblyError": "asm.diagnostics",
    "Program": "isa.program", "ProgramError": "isa.program", "Section": "isa.program", "Symbol": "isa.program",
    "Preset": "isa.preset", "PresetError": "isa.preset", "load_preset": "isa.preset", "preset_names": "isa.preset",
    "Machine": "emulator.engine", "ReferenceMachine": "isa.reference", "RunResult": "isa.reference", "Host": "isa.services",
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
    from isa.manual import UnknownEntry
    from isa.preset import PresetError
    from isa.program import ProgramError
    match error:
        case AssemblyError() | PresetError():
            return str(error)
        case ProgramError():
            return f"{error.path}: error: {str(error).removeprefix(f'{error.path}: ')}" if error.path else f"error: {error}"
        case UnknownEntry():
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
    taken: set[Path] = set()
    for written in (output, listing_file, symbols_file, lines_file, json_file):
        if written is None or str(written) == "-" or (written.exists() and not written.is_file()):
            continue
        if written.absolute() == file.absolute():
            raise click.UsageError(f"{written} is the source: it would be overwritten")
        if written.absolute() in taken:
            raise click.UsageError(f"{written} is named for two outputs: one would overwrite the other")
        taken.add(written.absolute())
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


@command.command("run", short_help="Run a program and count what it does.")
@click.argument("file", type=_FILE)
@click.option("--engine", type=click.Choice(["fast", "reference"]), default="fast", show_default=True,
              help="What executes the program. fast: compiled kernels; reference: the NumPy meanings, one at a time.")
@click.option("--machine", metavar="M", help="Preset name or .toml file; by default the one that the program was built for.")
@click.option("--json", "json_file", type=_FILE, metavar="F", help="Write result and counters as JSON ('-': to stdout).")
@click.option("--max-instructions", type=click.IntRange(min=1), metavar="N", help="Stop after N instructions.")
@click.option("--prompt", default="", metavar="TOKENS", help="Prompt tokens for the program to read, e.g. \"1 42 7\".")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, metavar="N",
              help="Work on large operations with N threads, at most as many as the host has cores. Changes the time alone.")
def run_program(file: Path, engine: str, machine: str | None, json_file: Path | None, max_instructions: int | None,
                prompt: str, threads: int) -> int:
    """Run a program.

    Its output goes to stdout and the counters that are not zero to stderr. The exit status is the program's own, 1 when it
    traps or reaches the limit.
    """
    from isa.counters import COUNTERS
    from isa.preset import PresetError, load_preset
    from isa.program import Program, ProgramError
    from isa.services import Host, to_terminal
    tokens = _tokens(prompt)
    program = Program.load(file)
    try:
        preset = load_preset(machine or program.machine)
    except PresetError as error:
        if machine:
            raise
        raise ProgramError(f"it was built for machine {program.machine!r}, which is no preset here", path=str(file),
                           hint="give the machine's .toml file with --machine") from error
    host = Host(tokens, write=to_terminal if str(json_file) != "-" else None)
    runner = _engine(engine, threads)(preset, host)
    runner.load(program)
    try:
        result = runner.run(max_instructions)
    except KeyboardInterrupt:
        sys.stdout.flush()
        click.echo(f"\n{file}: interrupted after {runner.counter('core.instructions')} instructions at "
                   f"{_where(program, runner.pc)}", err=True)
        return 130
    sys.stdout.flush()
    counters = runner.counters
    if json_file is not None:
        _write(json_file, [_dump({
            "program": str(file), "machine": preset.name, "engine": engine, "reason": result.reason,
            "exit_code": result.exit_code, "instructions": result.instructions, "counters": counters,
            "output": host.output.decode("utf-8", "replace"), "errors": host.errors.decode("utf-8", "replace"),
            "tokens": host.tokens, "trap": None if result.trap is None else {
                "cause": int(result.trap.cause), "name": result.trap.cause.name, "pc": result.trap.pc,
                "value": result.trap.value, "instruction": result.trap.instruction, "symbol": result.trap.symbol,
                "place": result.trap.place, "reason": result.trap.detail}})])
    if host.tokens:
        click.echo(f"tokens: {' '.join(map(str, host.tokens))}", err=True)
    click.echo(f"{result.reason} after {result.instructions} instructions on {preset.name} ({engine} engine)", err=True)
    width = max(map(len, COUNTERS))
    for name, events in counters.items():
        if events:
            click.echo(f"  {name.ljust(width)}  {events:>15,} {COUNTERS[name].unit}", err=True)
    if result.trap is not None:
        click.echo(f"{file}: error: {result.trap}", err=True)
    if result.reason == "limit":
        click.echo(f"{file}: error: stopped by --max-instructions {max_instructions} at "
                   f"{_where(program, runner.pc)}", err=True)
    return result.exit_code if result.reason == "exit" else 1


def _where(program: Any, pc: int) -> str:
    """ "pc 0x80000010 <loop+0x4> (sum.s:12)", as far as it is known."""
    symbol, place = program.symbol_at(pc), program.line_at(pc)
    return " ".join(filter(None, (f"pc {pc:#x}", symbol and f"<{symbol}>", place and f"({place})")))


def _engine(name: str, threads: int) -> Any:
    """What makes a machine of an engine. The first run on a host compiles the fast one: a terminal is told so."""
    if name == "reference":
        if threads > 1:
            raise click.BadParameter("the reference engine has one thread", param_hint="--threads")
        from isa.reference import ReferenceMachine
        return ReferenceMachine
    from emulator.engine import Machine
    from emulator.kernels import on_compile
    from emulator.threads import cores
    if threads > cores():
        raise click.BadParameter(f"{threads} is not in the range 1<=x<={cores()}, the cores of this host", param_hint="--threads")
    if sys.stderr.isatty():
        on_compile(lambda what: click.echo(f"\r\x1b[K{what and f'compiling {what} ...'}", nl=False, err=True))
    return partial(Machine, threads=threads)


def _tokens(text: str) -> list[int]:
    try:
        return [int(item) for item in text.replace(",", " ").split()]
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a list of token numbers, e.g. \"1 42 7\"",
                                 param_hint="--prompt") from None


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


def _write(path: Path, lines: Iterable[str]) -> None:
    """Write a whole file or nothing; "-" is stdout."""
    from isa.elf import replacing
    if str(path) == "-":
        sys.stdout.writelines(f"{line}\n" for line in lines)
        return
    with replacing(path) as stream:
        stream.writelines(f"{line}\n".encode() for line in lines)


if __name__ == "__main__":
    main()
