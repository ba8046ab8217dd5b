"""compare: programs, machines and points of sweeps side by side."""

from __future__ import annotations

from pathlib import Path

import click

from slimulator.commands.shared import FILE, to_stdout


@click.command("compare", short_help="Programs, machines or points of a sweep side by side.")
@click.argument("names", nargs=-1, required=True, metavar="A [B]...")
@click.option("--model", default="demo", show_default=True, metavar="MODEL", help="The checkpoint that is compiled for machines.")
@click.option("-n", "--tokens", type=click.IntRange(min=1), default=32, show_default=True, metavar="N", help="Tokens to generate.")
@click.option("--prompt", default="Once upon a time", show_default=True, metavar="TEXT", help="The text that is continued.")
@click.option("--report", type=FILE, metavar="F.html", help="Write a page with pictures: one file that needs no network.")
def compare(names: tuple[str, ...], model: str, tokens: int, prompt: str, report: Path | None) -> None:
    """Print results side by side: the settings that differ first, then figures, absolute and as a ratio to the first, and beside
    them what a plain CPU would take at least.

    A and B are programs of models (FILE.elf), machines (a preset or a .toml file, for which the MODEL is compiled), or results of a
    sweep: its folder, or FOLDER:3 for its point 3.
    """
    from isa.files import check_directory
    from slimulator.explore.compare import lines, subjects
    from slimulator.explore.errors import StudyError
    from slimulator.explore.plan import Run
    from slimulator.report.of_comparison import report_of_comparison
    from slimulator.report.page import write_page
    from slimulator.report.watched import command_line
    if report:
        check_directory(report)
    try:
        several = subjects(names, Run(tokens, prompt), model)
    except StudyError as error:
        raise click.UsageError(str(error)) from None
    to_stdout(lines(several))
    if report:
        write_page(report, report_of_comparison(several, [command_line()]))
