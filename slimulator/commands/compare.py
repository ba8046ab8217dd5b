"""compare: programs, machines and points of sweeps side by side."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from slimulator.commands.shared import BINARY, to_stdout


@click.command("compare", short_help="Programs, machines or points of a sweep side by side.")
@click.argument("names", nargs=-1, required=True, metavar="A [B]...")
@click.option("--model", metavar="MODEL", help="The checkpoint that is compiled for machines; by default the demo model.")
@click.option("-n", "--tokens", type=click.IntRange(min=1), default=32, show_default=True, metavar="N", help="Tokens to generate.")
@click.option("--prompt", default="Once upon a time", show_default=True, metavar="TEXT", help="The text that is continued.")
@click.option("--report", type=BINARY, metavar="F.html", help="Write a page with pictures: one file that needs no network.")
def compare(names: tuple[str, ...], model: str | None, tokens: int, prompt: str, report: Path | None) -> None:
    """Print results side by side: the settings that differ first, then figures, absolute and as a ratio to the first, and beside
    them what a plain CPU would take at least.

    A and B are programs of models (FILE.elf), machines (a preset or a .toml file, for which the MODEL is compiled), or results of a
    sweep: its folder, or FOLDER:3 for its point 3.
    """
    from contextlib import ExitStack

    from emulator.observe.cost import Cost
    from isa.files import check_directory
    from slimulator.explore.compare import lines, subjects, table_of
    from slimulator.explore.errors import StudyError
    from slimulator.explore.plan import Run
    from slimulator.report.of_comparison import report_of_comparison
    from slimulator.report.page import write_page
    from slimulator.report.watched import Watched, command_line
    if report:
        check_directory(report)
    given = [option for option in ("model", "tokens", "prompt")
             if click.get_current_context().get_parameter_source(option) is ParameterSource.COMMANDLINE]
    if given and all(table_of(name) for name in names):
        raise click.UsageError(f"--{given[0]} is for machines and programs; the results of a sweep are there already")
    watched: list[Watched] = []
    with ExitStack() as files:
        try:
            several = subjects(names, Run(tokens, prompt), model, (
                lambda machine: watched.append(files.enter_context(Watched(machine)))) if report else lambda _machine: None)
        except StudyError as error:
            raise click.UsageError(str(error)) from None
        to_stdout(lines(several))
        if report:
            ran = [each.name for each in several if each.ran]
            runs = {name: each.subject(name, "", Cost.of(each.machine)) for name, each in zip(ran, watched, strict=True)}
            write_page(report, report_of_comparison(several, [command_line()], runs))
