"""The front door: the public API and the `slimulator` command.

    from slimulator import Machine, Program, assemble, load_preset

Names are imported when they are first used, so that `slimulator --help` answers at once. The commands stand in
commands/, what they do in the packages.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from commands.assemble import assemble_file, disassemble_file
from commands.compile import compile_program
from commands.debug import debug
from commands.look_up import look_up, machines
from commands.models import COMMANDS as OF_MODELS
from commands.run import run_program
from isa.files import Ended, end_cleanly

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
    end_cleanly()
    try:
        status = invoke(sys.argv[1:])
    except Ended as end:                                        # everything is cleaned up
        signal.signal(end.number, signal.SIG_DFL)
        signal.raise_signal(end.number)
        raise
    sys.exit(status)


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
    from emulator.errors import SimdError, TraceError
    from isa.manual import UnknownEntry
    from isa.preset import PresetError
    from isa.program import ProgramError
    match error:
        case AssemblyError() | PresetError() | ModelError():
            return str(error)
        case ProgramError():
            return f"{error.path}: error: {str(error).removeprefix(f'{error.path}: ')}" if error.path else f"error: {error}"
        case UnknownEntry() | SimdError() | TraceError():
            return f"error: {error}"
        case MemoryError():
            return "error: out of memory\nhint: data belongs into files (.incbin), where it stays until the program is written"
        case _:
            return None


class _Commands(click.Group):
    """Answers an unknown command with those that there are."""

    def resolve_command(self, context: click.Context, arguments: list[str]) -> Any:
        name = arguments[0]
        if not name.startswith("-") and self.get_command(context, name) is None:
            from isa.hints import nearest
            hint = nearest(name, self.commands, cutoff=0.5)
            context.fail(f"No such command {name!r}; expected one of {', '.join(self.commands)}." + (hint and f" D{hint[1:]}"))
        return super().resolve_command(context, arguments)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="slimulator")
def command() -> None:
    """Write, assemble and run programs for the Slim machine, an accelerator for sparse and low-bit language models."""


for _command in (assemble_file, disassemble_file, run_program, debug, compile_program, *OF_MODELS, look_up, machines):
    command.add_command(_command)


if __name__ == "__main__":
    main()
