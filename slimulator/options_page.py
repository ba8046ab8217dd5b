"""docs/options.md: every command with its options and their defaults, as `--help` has them.

    python -m slimulator.options_page docs/options.md
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import click

from isa.files import replacing
from isa.manual.document import Block, Heading, Paragraph, Table, markdown
from slimulator.command_line import command

_TEXT = """
Every command with its arguments, its options and their defaults; `slimulator COMMAND --help` prints the same. What they are for
is in [the command line](command-line.md), what changes a command from outside in [environment variables](environment.md).
A *recipe* is a file with a format for each matrix ([recipes](command-line.md#recipes)).

- *none*: without the option nothing is done, written or limited.
- *off*: the option is a switch.
- `...`: the option may be given several times."""
_DEFAULT = re.compile(r"\bby default,? (.+?)(?:[.;:](?: |$)|$)|\b(\S+), the default\b", re.IGNORECASE)


def page() -> str:
    """The page as Markdown."""
    blocks: list[Block] = [Paragraph("<!-- Generated from the commands by `make docs`. Do not edit. -->"), Heading(1, "Options"),
                           Paragraph(_TEXT)]
    with click.Context(command, info_name="slimulator") as outer:
        for name in command.list_commands(outer):
            of = command.commands[name]
            with click.Context(of, info_name=name, parent=outer) as context:
                usage = " ".join(["slimulator", name, *of.collect_usage_pieces(context)])
                blocks += [Heading(2, name), Paragraph(f"`{usage}`: {of.get_short_help_str(limit=200)}"),
                           Table(("option", "default", "is"), [row(option) for option in options(of)])]
    return markdown(blocks)


def options(of: click.Command) -> list[click.Option]:
    """The options of a command, in the order of its help."""
    return [option for option in of.params if isinstance(option, click.Option)]


def row(option: click.Option) -> tuple[str, str, str]:
    """(names, default, help) of an option."""
    metavar = "" if option.is_flag else f" {option.metavar or _choices(option.type)}"
    several = " ..." if option.multiple else ""
    return ", ".join(f"`{name}{metavar}`" for name in option.opts) + several, default(option), option.help or ""


def default(option: click.Option) -> str:
    """What holds without the option: click's default, or what the help says behind "by default"."""
    if isinstance(option.show_default, str):
        return option.show_default
    if option.is_flag:
        return "off"
    if isinstance(option.default, str | int | float) and option.default != "":
        return str(option.default)
    found = _DEFAULT.search(option.help or "")
    return (found[1] or found[2]).strip() if found else "none"


def _choices(kind: click.ParamType[Any]) -> str:
    return "|".join(kind.choices) if isinstance(kind, click.Choice) else kind.name.upper()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m slimulator.options_page FILE")
    with replacing(Path(sys.argv[1])) as stream:
        stream.write(page().encode())
