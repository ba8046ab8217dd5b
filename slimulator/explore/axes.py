"""What a study can vary: every option of the compiler by its name, what is run, and every figure of a machine.

    parse("weights", "i4:32", folder)           a value as a point has it; None where the text says `none`
    kind_of("region.sram.size")                 FIGURE: what is no option is a figure of the machine

Options of the compiler are those of `slimulator compile`, read from the command itself: a new one is an axis without a line here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import click

from compiler.errors import ModelError
from compiler.settings import Settings
from isa.changed import number
from isa.hints import nearest
from isa.preset import PresetError, load_preset
from isa.text import shortened
from slimulator.explore.errors import StudyError

Value = str | int | float | None

COMPILER, RUN, FIGURE = "compiler", "run", "figure"
NOTHING = "none"                        # the text for an option that is not given
MACHINE = "machine"
HALF = "half"                           # of what is scored
DEMO = "demo"                           # the shipped demo model, by this name


_FIELDS = {"reuse_columns": "reuse"}    # what Settings calls an option, where it has another name


@cache
def compiler_options() -> dict[str, click.Option]:
    """The options of the compiler by their names without dashes, in the order of the help. A switch before another option
    (--reuse, --predict) is none: the other one says it all."""
    from slimulator.commands.compile import compile_program
    known = {field.name for field in fields(Settings)}
    return {option.opts[0].removeprefix("--"): option for option in compile_program.params
            if isinstance(option, click.Option) and not option.is_flag and _field(option) in known}


def _field(option: click.Option) -> str:
    return _FIELDS.get(str(option.name), str(option.name))


def _count(text: Value) -> int:
    value = number(text) if text is not None else 0
    if not isinstance(value, int) or value < 1:
        raise ValueError("a whole number, 1 or more")
    return value


def _text(text: Value) -> str:
    return str(text)


def _half(text: Value) -> str:
    if text != HALF:
        raise ValueError(f"{HALF}, or none")
    return HALF


RUNS: dict[str, tuple[Callable[[Value], Value], str]] = {
    "model": (_text, "a checkpoint, or demo"),
    "shape": (_text, "a model of this size with random weights: 15m, 125m, 730m or 3b"),
    "config": (_text, "the model of a config.json, with random weights"),
    "prompt": (_text, "the text that is continued"),
    "prompt-file": (_text, "a file with the text that is continued"),
    "tokens": (_count, "how many tokens are generated"),
    "depth": (_count, "of a shape or a config: the tokens of the prompt"),
    "text": (_text, "a text that is scored"),
    "score": (_count, "how many tokens of it"),
    "scored": (_half, "half: only the second half of each document; the first one is its prompt"),
}
"""What is run, by name: how a value is read, and what it is."""

FILES = ("model", "config", "prompt-file", "text", "calibrate", "adapter")            # values that name files, wherever they are


def kind_of(name: str) -> str:
    return COMPILER if name in compiler_options() else RUN if name in RUNS else FIGURE


def named(folder: Path, text: str) -> str:
    """A file that a study names: beside the study, if it is there, else as the command line means it."""
    beside = folder / text
    return str(beside) if not Path(text).is_absolute() and beside.exists() else text


def parse(name: str, given: Value, folder: Path) -> Value:
    """A value of an axis. Raises StudyError for one that means nothing there, whatever the point is."""
    if given == NOTHING or given is None:
        return None
    flag = name in compiler_options() and compiler_options()[name].is_flag
    if (isinstance(given, bool) and not flag) or not isinstance(given, str | int | float):
        raise StudyError(name, f"got {shortened(repr(given), 60)}", "a text or a number, or a list of them")
    if isinstance(given, str) and not given.strip():
        raise StudyError(name, "an empty value", "a value, or `none` for a point without it", "is there a comma too many?")
    if isinstance(given, str) and (name in FILES or given.endswith(".toml")):
        given = named(folder, given)
    if name in RUNS:
        try:
            return RUNS[name][0](given)
        except ValueError as error:
            raise StudyError(name, f"got {given!r}", str(error)) from None
    if name in compiler_options():
        setting(name, given)
    return given


def setting(name: str, given: Value) -> dict[str, Any]:
    """An option of the compiler as an argument of Settings. Raises StudyError for a value that no model and no machine has."""
    option = compiler_options()[name]
    context = click.Context(click.Command("compile"))
    try:
        value = option.process_value(context, str(given))
        if name == MACHINE:
            load_preset(str(value))
        Settings(**{_field(option): value}).check()
    except click.BadParameter as error:
        raise StudyError(f"--{name}", error.message) from None
    except ModelError as error:
        if not error.file and error.place.split(" ")[0] not in (f"--{name}", ""):
            return {str(option.name): value}        # about another option, which a point may have
        place = f"{error.place}: " if error.place.removeprefix("--") not in ("", name) else ""
        raise StudyError(f"--{name}", place + error.got, error.expected, error.hint, error.file) from None
    except PresetError as error:
        problem = error.problems[0]
        raise StudyError(f"--{name}", f"{problem.key}: " * bool(problem.key) + problem.got, problem.expected, problem.hint,
                         error.path) from None
    except OSError as error:
        raise StudyError(f"--{name}", f"{error.filename or given}: {error.strerror}") from None
    return {_field(option): value}


def unknown(name: str, figures: list[str]) -> StudyError:
    """The error for a name that is no option and no figure of any machine of the study."""
    hint = nearest(name, [*compiler_options(), *RUNS, *figures]) or "slimulator machines NAME lists the figures of a machine"
    return StudyError(name, "no option of the compiler, nothing that is run, and no figure of a machine of the study",
                      f"one of {', '.join([*compiler_options(), *RUNS])}, or a figure such as region.sram.size", hint)
