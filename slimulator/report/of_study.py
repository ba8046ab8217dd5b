"""The report of a study: accuracy against energy with the front, each figure along what varies, energy by unit, the whole table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from emulator.observe.cost import quantity
from isa.changed import number
from slimulator.explore.table import Results, Row
from slimulator.report.marks import STILL, bars, colours, escape, section, table, tiles
from slimulator.report.of_run import commands, figures_of
from slimulator.report.page import page
from slimulator.report.plots import Axis, Dot, Line, plot

_STILL = "standing still"
_PLAIN = ("machine", "weights", "sparse", "prune", "model", "shape", "config", "text", "prompt")     # they say what they are
_MOST_BARS = 40
_MOST_TICKS = 8
_FIGURES = (("joules_per_token", "energy a token", "J"), ("seconds_per_token", "time a token", "s"),
            ("bits_per_byte", "bits per byte", ""))


def report_of_study(results: Results, lines: Sequence[str]) -> str:
    """The whole page. `lines`: the commands that make it again."""
    from isa.preset import load_preset
    study, rows = results.study, [row for row in results.done if row["same_as"] is None]
    names = study.varied
    machines = dict.fromkeys(str(row["machine"]) for row in results.rows)
    counts = ", ".join(f"{count:,} {status}" for status in ("done", "refused", "failed", "interrupted")
                       if (count := results.count(status)))
    parts = [tiles(_best(rows, names)),
             section("What was found", "", f"<p>{escape(study.finding)}</p>") if study.finding else "",
             *_fronts(results, names), *_along(rows, names), _energy(rows, names), _table(results),
             commands(lines), figures_of(*(load_preset(name) for name in machines))]
    return page(study.title or "A study", f"{len(results):,} points: {counts}. {', '.join(names)} "
                f"{'vary' if len(names) != 1 else 'varies'}.", parts)


def label(row: Row, names: Sequence[str]) -> str:
    """What a point is, by what varies."""
    return ", ".join(_said(name, row[name]) for name in names if row.get(name) is not None) or f"point {row['point']}"


def _said(name: str, value: Any) -> str:
    """A setting in short: a number and a format of another option need the name, a file has its own."""
    if value is None:
        return f"no {name}"
    text = str(value).rpartition("/")[2]
    return text if name in _PLAIN and isinstance(number(text), str) else f"{name} {text}"


def _best(rows: Sequence[Row], names: Sequence[str]) -> Iterator[tuple[str, str]]:
    for column, title, unit in _FIGURES:
        known = [row for row in rows if row[column] is not None]
        if known:
            row = min(known, key=lambda row: row[column])
            value = quantity(row[column], unit) if unit else f"{row[column]:.4f}"
            yield f"least {title}: {label(row, names)}", value


def _fronts(results: Results, names: Sequence[str]) -> Iterator[str]:
    """Bits against joules and seconds; without a text seconds against joules."""
    scored = any(row["bits_per_byte"] is not None for row in results.done)
    pairs = [("joules_per_token", "bits_per_byte"), ("seconds_per_token", "bits_per_byte")] if scored else [
        ("seconds_per_token", "joules_per_token")]
    split = _fewest(results, names)
    for x, y in pairs:
        rows = [row for row in results.done if row["same_as"] is None and row[x] is not None and row[y] is not None]
        best = results.front(x, y)
        dots = [Dot(row[x], row[y], _said(split, row[split]) if split else "", f"{label(row, names)}\n{_told(row)}",
                    label(row, [name for name in names if name != split]) if row in best else "") for row in rows]
        yield section(f"{_title(y)} against {_title(x)}",
                      "Lower and further left is better. The line joins the points that no other one beats in both.",
                      plot(_axis(x), _axis(y), dots, [Line([(row[x], row[y]) for row in best])]), source=True)


def _fewest(results: Results, names: Sequence[str]) -> str:
    """The setting that gives points their colours: that of two to five values, the first of them."""
    return next((name for name in names if 2 <= len({row[name] for row in results.rows}) <= 5), "")


def _told(row: Row) -> str:
    parts = [quantity(row[column], unit) if unit else f"{row[column]:.4f} {title}" for column, title, unit in _FIGURES
             if row[column] is not None]
    return "; ".join([*parts, (row["bottleneck"] or "").partition(";")[0]])


def _title(column: str) -> str:
    title = next(title for name, title, _ in _FIGURES if name == column)
    return title[0].upper() + title[1:]


def _axis(column: str) -> Axis:
    unit = next(unit for name, _, unit in _FIGURES if name == column)
    return Axis(_title(column), lambda value: quantity(value, unit) if unit else f"{value:g}", log=bool(unit))


def _along(rows: Sequence[Row], names: Sequence[str]) -> Iterator[str]:
    """Each figure along every setting that is a number."""
    for name in names:
        said = {row[name]: number(row[name]) for row in rows if row[name] is not None}
        values = {text: value for text, value in said.items() if not isinstance(value, str)}
        if len(values) < 3 or len(values) < len(said):
            continue
        others = [other for other in names if other != name]
        groups: dict[str, list[Row]] = {}
        for row in rows:
            if row[name] is not None:
                groups.setdefault(label(row, others) if others else "", []).append(row)
        ticks = sorted(set(values.values()))
        wide = ticks[0] > 0 and ticks[-1] >= 4 * ticks[0]
        for column, title, unit in _FIGURES:
            known = {group: sorted((values[row[name]], row[column]) for row in found if row[column] is not None)
                     for group, found in groups.items()}
            dots = [Dot(x, y, group, f"{group} {name} = {x:g}\n{quantity(y, unit) if unit else f'{y:.4f}'}") for group, found in
                    known.items() for x, y in found]
            flat = len({dot.y for dot in dots}) < 2
            lines = [Line(found, group) for group, found in known.items()]
            form = Axis(name, _short, log=wide, ticks=ticks if len(ticks) <= _MOST_TICKS else ())
            yield section(f"{title[0].upper()}{title[1:]} along {name}", "", "" if flat else plot(form, Axis(
                title, _axis(column).form, log=False), dots, lines))


def _short(value: float) -> str:
    """Powers of two as sizes."""
    for power, letter in ((30, "G"), (20, "M"), (10, "K")):
        if value >= 1 << power and value % (1 << power) == 0:
            return f"{int(value) >> power}{letter}"
    return f"{value:g}"


def _energy(rows: Sequence[Row], names: Sequence[str]) -> str:
    shown: dict[str, dict[str, float]] = {}
    units: dict[str, None] = {}
    for row in rows[:_MOST_BARS]:
        each = row["generated"] or 1
        parts = {key.partition(".")[2]: joules / each for key, joules in row.items() if key.startswith("joules.") and joules}
        units |= dict.fromkeys(parts)
        if row["joules_standing"]:
            parts[_STILL] = row["joules_standing"] / each
        shown[f"{row['point']}: {label(row, names)}"] = parts
    return section("Energy a token, by unit and memory", "Of the whole run, divided by its tokens.",
                   bars(shown, "J", of=colours(units) | {_STILL: STILL}), source=True)


def _table(results: Results) -> str:
    heads, *rows = results.shown()
    used = [place for place in range(len(heads)) if any(row[place] for row in rows)]
    right = [place for place, column in enumerate(used) if len(heads) - 5 < column < len(heads) - 1]
    return section("All points", "results.csv has all columns.",
                   table([heads[place] for place in used], [[row[place] for place in used] for row in rows], right))
