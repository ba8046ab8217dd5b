"""validate: published simulators' workloads as programs of our machines, and how far our cycles are from theirs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slimulator.commands import shared
from slimulator.commands.shared import FILE, Printer

if TYPE_CHECKING:
    from slimulator.validate.points import Point
    from slimulator.validate.results import Result


@click.command("validate", short_help="Compare cycles with those of published simulators.")
@click.argument("file", required=False, type=FILE, metavar="[POINTS.csv]")
@click.option("--simulator", "simulators", multiple=True, metavar="NAME", help="Only the points of this simulator; by default all.")
@click.option("--systems", is_flag=True, help="Only the published systems and energies, no points.")
@click.option("--json", "json_file", type=FILE, metavar="F", help="Write the result as JSON; '-' means stdout.")
def validate(file: Path | None, simulators: tuple[str, ...], systems: bool, json_file: Path | None) -> int:
    """Run published simulators' workloads as programs, and print their published cycles, ours and the error of ours.

    Each program runs on the fast engine; its values are compared with NumPy's. POINTS.csv has a workload a line; without it the
    points that come with Slimulator are taken, and then times and energies of published systems are compared with those of programs
    of their shapes. The exit status is 1 if a value is wrong or joules do not add up, however far the figures are off.
    """
    from slimulator.validate.points import SHIPPED, points_of
    from slimulator.validate.results import result_of, summary
    if systems and (file or simulators):
        raise click.UsageError("--systems takes no points: it stands without POINTS.csv and --simulator")
    shared.distinct([json_file], file)
    points = [] if systems else _chosen(list(points_of(file or SHIPPED)), simulators)
    shared.engine_named("fast", str(json_file) == "-")
    say, progress = Printer(json_file), shared.progress("running the workloads")
    results: list[Result] = []
    lines = _Lines(points)
    for done, point in enumerate(points):
        progress(done, len(points))
        results.append(result_of(point))
        progress(len(points), len(points))              # takes the line of a terminal away
        for line in lines.of(results[-1]):
            say(line)
    by_simulator = summary(results)
    for line in () if systems else _table(by_simulator):
        say(line)
    checked = {} if file or simulators else _checked(say)
    shared.write_json(json_file, {"file": str(file) if file else None, "rows": [result.as_json() for result in sorted(
        results, key=lambda result: result.point.line)], "summary": by_simulator, "systems": checked.get("systems", []),
        "energy": checked.get("energy", [])})
    say.end()
    return int(any(row["wrong"] for row in by_simulator.values())
               or not all(row["adds_up"] for rows in checked.values() for row in rows))


def _checked(say: Printer) -> dict[str, list[dict[str, Any]]]:
    """The tables of published systems and of energy, which are printed."""
    from slimulator.validate import checks, energy, systems
    found: dict[str, list[dict[str, Any]]] = {}
    for name, title, room in (("systems", "published systems", systems), ("energy", "energy", energy)):
        found[name] = [check.as_json() for check in room.checks()]
        for line in checks.lines(title, found[name]):
            say(line)
    return found


def _chosen(points: list[Point], simulators: tuple[str, ...]) -> list[Point]:
    """The points of some simulators or of all, those of a configuration one behind the other."""
    from isa.hints import nearest
    known = list(dict.fromkeys(point.simulator for point in points))
    for name in simulators:
        if name not in known:
            hint = nearest(name, known)
            raise click.BadParameter(f"{name!r}; expected one of {', '.join(known) or 'none: the file has no points'}"
                                     + (f"; {hint}" if hint else ""), param_hint="--simulator")
    order = {key: number for number, key in enumerate(dict.fromkeys((point.simulator, point.config) for point in points))}
    return sorted((point for point in points if not simulators or point.simulator in simulators),
                  key=lambda point: (known.index(point.simulator), order[point.simulator, point.config]))


class _Lines:
    """The lines of the table of points, of equal width. A configuration has a line of its own above its points."""

    def __init__(self, points: list[Point]) -> None:
        self._last: tuple[str, str] | None = None
        self._widths = [max((len(text) for text in column), default=0) for column in zip(*map(_words, points), strict=True)]

    def of(self, result: Result) -> Iterator[str]:
        point = result.point
        if (point.simulator, point.config) != self._last:
            if self._last:
                yield ""
            self._last = point.simulator, point.config
            yield f"{point.simulator}: {point.config}"
            yield _row(("simulator", "workload", "parameters"), self._widths, "published", "ours", "error")
        published = f"{point.cycles:,}" if point.cycles is not None else "-"
        if result.reason is not None:
            yield f"{_row(_words(point), self._widths, published, '-', '-')}  {result.reason}"
        else:
            assert result.outcome
            yield _row(_words(point), self._widths, published, f"{result.outcome.cycles:,}", _percent(result.error, sign=True))


def _words(point: Point) -> tuple[str, str, str]:
    return point.simulator, point.workload, " ".join(f"{name}={value}" for name, value in point.parameters.items())


def _row(words: tuple[str, ...], widths: list[int], *numbers: str) -> str:
    left = "  ".join(f"{text:<{max(width, 9)}}" for text, width in zip(words, widths, strict=True))
    return left + "".join(f"{text:>12}" for text in numbers)


def _table(by_simulator: dict[str, dict[str, Any]]) -> Iterator[str]:
    """The summary. Errors are absolute."""
    width = max((len(name) for name in by_simulator), default=0)
    yield ""
    heads = ("rows", "expressed", "mean", "p95", "max")
    yield f"{'errors by simulator':<{max(width, 19)}}" + "".join(f"{text:>11}" for text in heads)
    for name, row in by_simulator.items():
        yield f"{name:<{max(width, 19)}}{row['rows']:>11,}{row['expressed']:>11,}" + "".join(
            f"{_percent(row[key]):>11}" for key in ("mean", "p95", "max"))


def _percent(part: float | None, sign: bool = False) -> str:
    return "-" if part is None else f"{100 * part:{'+' if sign else ''}.2f} %"
