"""The command line: the group of commands, how a command ends, and the message for a mistake.

The commands are in slimulator/commands; the work is done in the other packages.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import click

from isa.files import Ended, end_cleanly
from isa.host import most_address_space
from slimulator.commands.assemble import assemble_file, disassemble_file
from slimulator.commands.bench import bench
from slimulator.commands.cache import cache
from slimulator.commands.compare import compare
from slimulator.commands.compile import compile_program
from slimulator.commands.debug import debug
from slimulator.commands.evaluate import evaluate_model
from slimulator.commands.infer import infer
from slimulator.commands.look_up import look_up, machines
from slimulator.commands.models import COMMANDS as OF_MODELS
from slimulator.commands.run import run_program
from slimulator.commands.shared import abandon
from slimulator.commands.sweep import sweep
from slimulator.commands.validate import validate
from slimulator.version import VERSION

ENOUGH = 1 << 30        # bytes of address space in which kernels are compiled
_PACKAGES = frozenset(("asm", "compiler", "emulator", "isa", "slimulator"))




def run() -> None:
    """Execute the command that the process was called with, and end the process."""
    _open_streams()
    end_cleanly()
    try:
        status = invoke(sys.argv[1:])
    except Ended as end:                                        # the temporary files are removed
        signal.signal(end.number, signal.SIG_DFL)
        signal.raise_signal(end.number)
        raise
    sys.exit(status)


def _open_streams() -> None:
    """Replace a closed stdin, stdout or stderr, so that no file that is opened later gets its number.

    Writing to such a stdout is an error, as to any closed file. Where stderr cannot be written, error messages are lost. A
    character that the encoding of the locale lacks is written as its number, `\\u65e5`.
    """
    for name, mode, kind in (("stdin", os.O_RDONLY, None), ("stdout", os.O_RDONLY, _Named), ("stderr", os.O_WRONLY, _Unfailing)):
        old = getattr(sys, name)
        buffer = old.buffer if old else open(os.open(os.devnull, mode), "wb" if kind else "rb")         # noqa: SIM115
        errors = "replace" if not old else "backslashreplace" if old.errors == "strict" else old.errors
        if kind:
            setattr(sys, name, kind(buffer, encoding=old.encoding if old else "utf-8", errors=errors,
                                    line_buffering=bool(old and old.line_buffering), write_through=bool(old and old.write_through)))
        elif not old:
            sys.stdin = io.TextIOWrapper(buffer)


class _Named(io.TextIOWrapper):
    """stdout: its errors name the file "stdout"."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            error.filename = "stdout"
            raise

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            error.filename = "stdout"
            raise


class _Unfailing(io.TextIOWrapper):
    """stderr: an error while writing here cannot be told, so it is ignored."""

    def write(self, text: str) -> int:
        with suppress(OSError):
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            super().flush()


def invoke(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status. Errors and warnings go to stderr, without a traceback."""
    with warnings.catch_warnings():
        warnings.showwarning = partial(_warn, warnings.showwarning)
        return _invoke(arguments)


def _warn(others: Any, message: Warning | str, category: type[Warning], *place: Any) -> None:
    """Show a warning of this project as one line; `others` shows those of libraries."""
    if category.__module__.startswith("isa."):
        click.echo(_shown(f"warning: {message}"), err=True)
    else:
        others(message, category, *place)


def _invoke(arguments: Sequence[str]) -> int:
    try:
        status = command.main(list(arguments), prog_name="slimulator", standalone_mode=False)
        sys.stdout.flush()
        return status or 0
    except click.ClickException as error:
        vars(error)["message"] = _shown(error.message)
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return 130
    except Exception as error:
        return _failed(error)


def _failed(error: Exception) -> int:
    """Say what a user's input, the system or a limit of memory has caused; raise what is our own mistake. The exit status."""
    if message := _too_little_space(error):
        pass
    elif isinstance(error, OSError):
        if error.filename == "stdout" or isinstance(error, BrokenPipeError):
            abandon(sys.stdout)
        if isinstance(error, BrokenPipeError):                              # the reader has left: no message
            return 1
        message = f"{error.filename or 'slimulator'}: error: {error.strerror or error}"
    else:
        try:
            message = _mistake(error)
        except (MemoryError, ImportError) as shortage:                      # no space is left for the modules that know the error
            message = _too_little_space(shortage)
    if message is None:
        raise error
    click.echo(_shown(message), err=True)
    return 1


def _too_little_space(error: Exception) -> str | None:
    """The message for an error of a library that found too little address space; None for others. Each has its own error."""
    limit = most_address_space()
    of_library = type(error).__module__.partition(".")[0] not in _PACKAGES
    if not 0 < limit < ENOUGH or not of_library or (isinstance(error, OSError) and error.errno is not None):
        return None
    return (f"error: out of address space ({type(error).__name__}): `ulimit -v` allows {limit:,} bytes; expected {ENOUGH:,} or "
            "more to compile kernels\nhint: raise `ulimit -v`, or try --engine reference, which compiles nothing")


def _shown(message: str) -> str:
    """A message without control characters: names of files, sections and the like come from outside."""
    from isa.text import printable
    return printable(message, keep="\n\t")


def _mistake(error: Exception) -> str | None:
    """The message for an error that a user's input caused, None for a bug in this project."""
    from asm.diagnostics import AssemblyError
    from compiler.errors import ModelError
    from emulator.errors import SimdError, TraceError
    from isa.caches import CacheError
    from isa.manual import UnknownEntry
    from isa.preset import PresetError
    from isa.program import ProgramError
    from slimulator.validate.points import PointsError
    match error:
        case AssemblyError() | PresetError() | ModelError() | PointsError():
            return str(error)
        case ProgramError():
            return f"{error.path}: error: {str(error).removeprefix(f'{error.path}: ')}" if error.path else f"error: {error}"
        case UnknownEntry() | SimdError() | TraceError() | CacheError():
            return f"error: {error}"
        case MemoryError():
            return ("error: out of memory\n"
                    "hint: put large data into files (.incbin); they are copied only when the program is written")
        case _:
            return None


class _Commands(click.Group):
    """Answers an unknown command with the list of commands."""

    def resolve_command(self, context: click.Context, arguments: list[str]) -> Any:
        name = arguments[0]
        if not name.startswith("-") and self.get_command(context, name) is None:
            from isa.hints import nearest
            hint = nearest(name, self.commands, cutoff=0.5)
            context.fail(f"No such command {name!r}; expected one of {', '.join(self.commands)}." + (hint and f" D{hint[1:]}"))
        return super().resolve_command(context, arguments)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(VERSION, prog_name="slimulator")
def command() -> None:
    """Write, assemble and run programs for the Slim machine, an accelerator for sparse and low-bit language models."""


for _command in (assemble_file, disassemble_file, run_program, debug, compile_program, *OF_MODELS, evaluate_model, infer, bench,
                 sweep, compare, look_up, machines, validate, cache):
    command.add_command(_command)
