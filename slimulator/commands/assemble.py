"""asm and disasm: text to program, and back."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from slimulator.commands.shared import BINARY, FILE, distinct, json_text, say, to_stdout, write


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


@click.command("asm", short_help="Assemble a program.")
@click.argument("file", type=FILE)
@click.option("-o", "--output", type=BINARY, metavar="FILE.elf", help="The program file; by default FILE.elf next to the source.")
@click.option("--machine", metavar="M", show_default="slim",
              help="Preset name or .toml file to build for; .machine in the source overrides it.")
@click.option("-I", "include_paths", type=FILE, multiple=True, metavar="DIR",
              help="Also search DIR for .include, .incbin and .meta. Not needed for lib/macros.s and lib/print.s.")
@click.option("--include-only", type=FILE, multiple=True, metavar="DIR",
              help="For a FILE that you do not trust: open no file outside DIR. May be repeated.")
@click.option("-D", "defines", multiple=True, metavar="NAME=VALUE", callback=_definitions, help="Define a symbol.")
@click.option("--listing", "listing", type=FILE, metavar="F", help="Write address, bytes and source of every line.")
@click.option("--symbols", "symbols", type=FILE, metavar="F", help="Write sections and symbols.")
@click.option("--lines", "lines", type=FILE, metavar="F", help="Write the source line of each address.")
@click.option("--json", "json", type=FILE, metavar="F", help="Write all of these as JSON.")
def assemble_file(file: Path, output: Path | None, machine: str | None, include_paths: tuple[Path, ...],
                  include_only: tuple[Path, ...], defines: dict[str, int], **outputs: Path | None) -> int:
    """Assemble FILE.s into a program.

    All errors of the source are reported. Listing, symbols and JSON are written even if there are errors; '-' means stdout.
    """
    from asm import listing
    from asm.assembler import assemble_with_listing
    from isa.preset import load_preset
    preset = load_preset(machine or "slim")
    if file.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(file))
    output = output or file.with_suffix(".elf")
    distinct((output, *outputs.values()), file)
    assembly = assemble_with_listing(file, machine=preset, include_paths=include_paths, defines=defines,
                                     include_only=include_only or None)
    for diagnostic in assembly.diagnostics:
        click.echo(diagnostic, err=True)
    program = assembly.program
    texts: list[tuple[Path | None, Callable[[], Iterable[str]]]] = [
        (outputs["listing"], lambda: listing.listing(assembly)),
        (outputs["symbols"], lambda: listing.symbol_map(assembly.symbols, program.sections if program else [])),
        (outputs["lines"], lambda: listing.line_map(program.lines if program else [])),
        (outputs["json"], lambda: [json_text(listing.as_json(assembly))])]
    for path, text in texts:
        if path and str(path) != "-":
            write(path, text())
    status = _save(program, output, file, machine and preset.name)
    for path, text in texts:                        # last: when the reader of stdout has left, the files are there
        if path and str(path) == "-":
            write(path, text())
    return status


def _save(program: Any, output: Path, file: Path, machine: str | None) -> int:
    """Write a program, if there is one, and return the exit status. `machine` is what the command line asked for."""
    if program is None:
        return 1
    if machine and program.machine.name != machine:
        say(f"{file}: warning: built for {program.machine.name}: .machine in the source overrides --machine {machine}")
    program.save(output)
    return 0


@click.command("disasm", short_help="Print a program as assembly.")
@click.argument("file", type=FILE)
@click.option("--section", metavar="S", help="Print this section; by default all sections with instructions.")
@click.option("--aliases", is_flag=True, help="Print short names, such as ret for jalr zero, 0(ra).")
def disassemble_file(file: Path, section: str | None, aliases: bool) -> None:
    """Print a program's instructions with their addresses, bits and symbols."""
    from asm.disassembler import disassemble
    from isa.program import Program
    to_stdout(disassemble(Program.load(file), section=section, aliases=aliases))
