"""debug: stop a program and look, at a prompt or from gdb."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from slimulator.commands.shared import ENGINE, FILE, MACHINE, PROMPT, engine_named, preset_for, token_list


@click.command("debug", short_help="Step through a program, at a prompt or from gdb.")
@click.argument("file", type=FILE)
@ENGINE
@MACHINE
@click.option("--script", type=FILE, metavar="F", help="Read the commands from a file.")
@click.option("--gdb", "port", type=click.IntRange(0, 65535), metavar="PORT",
              help="Serve gdb's remote protocol on this port of 127.0.0.1 (0: any free port).")
@PROMPT
def debug(file: Path, engine: str, machine: str | None, script: Path | None, port: int | None, prompt: str) -> int:
    """Stop a program at symbols, lines and writes to memory, step through it, and show tensors, counters and units.

    Commands come from a terminal, a pipe or a script; `help` lists them. The first error of a pipe or script ends it with status 1.
    With --gdb, gdb controls the program, and the exit status is the program's own.
    """
    from emulator.debug.session import Session
    from isa.program import Program
    from isa.services import Host, to_terminal
    if script is not None and port is not None:
        raise click.UsageError("--script and --gdb cannot be combined: with --gdb the commands come from gdb")
    tokens = token_list(prompt)
    program = Program.load(file)
    preset = preset_for(program, machine)

    def start() -> Any:
        sys.stdout.flush()
        runner = engine_named(engine)(preset, Host(tokens, write=to_terminal, emit=lambda token: click.echo(f"token {token}")))
        runner.load(program)
        return runner

    session = Session(start, file.parent)
    if port is not None:
        from emulator.debug.gdb_server import serve
        return serve(session, port, str(file))
    from emulator.debug.debugger import run_debugger
    return run_debugger(session, script)
