"""Several results side by side: what differs in their settings first, then each figure, absolute and as a ratio to the first.

    rows = subjects(["slim", "hpim"], run)              a machine: the demo model compiled for it
    rows = subjects(["a.elf", "b.elf"], run)            a program
    rows = subjects(["formats.results:1", "formats.results:4"], run)        points of a sweep; without a number all of them
    for line in lines(rows): ...
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from compiler.running.generate import is_program
from compiler.settings import Settings
from emulator.observe.cost import quantity
from isa.changed import number
from isa.counters import COUNTERS
from isa.hints import nearest
from isa.preset import preset_names
from slimulator.explore.axes import DEMO
from slimulator.explore.baseline import SAID
from slimulator.explore.errors import StudyError
from slimulator.explore.plan import Job, Point, Run, make_plan
from slimulator.explore.study import Study
from slimulator.explore.table import BESIDE, FIRST, LAST, MAIN, NAME, Row, row_of
from slimulator.explore.work import COMPILED, DONE, Record, compile_point, of_program

_UNITS = {"seconds_per_token": "s", "joules_per_token": "J", "seconds": "s", "seconds_to_first_token": "s", "joules": "J",
          "joules_events": "J", "joules_standing": "J"}
_NUMBERS = ("bits_per_byte", *_UNITS, "cycles")
_UNITS |= {f"cpu_{name}": _UNITS[name] for name in ("seconds_per_token", "joules_per_token")}
CPU = "a CPU"


@dataclass(frozen=True)
class Compared:
    """One of the results: its name, what it was made with, and its row of results. `ran`: it ran now, and could be looked at."""

    name: str
    settings: dict[str, Any]
    row: Row
    ran: bool = False


Look = Callable[[Any], None]


def subjects(names: Sequence[str], run: Run, model: str | None = None, look: Look = lambda _machine: None) -> list[Compared]:
    """The results of programs, machines and points of sweeps, in order. `look` gets each machine before it runs.

    Raises StudyError for what is none of these, or does not work; PresetError, ModelError, ProgramError, OSError.
    """
    found: list[Compared] = []
    for name in names:
        for each in _of(name, run, model, look):
            times = sum(other.name.partition(" (")[0] == each.name for other in found)
            found.append(replace(each, name=f"{each.name} ({times + 1})") if times else each)
    return found


def table_of(name: str) -> tuple[Path, str] | None:
    """The table of a sweep that a name means, and the number of a point, "" for all; None for something else."""
    folder, _, place = name.rpartition(":") if name.rpartition(":")[2].isdecimal() else (name, "", "")
    path = Path(folder)
    if path.suffix == ".csv" and path.exists():
        return path, place
    return (path / f"{NAME}.csv", place) if (path / f"{NAME}.csv").is_file() else None


def _of(name: str, run: Run, model: str | None, look: Look) -> Iterator[Compared]:
    path = Path(name)
    if table := table_of(name):
        yield from _of_table(*table, name)
    elif is_program(path):
        record = of_program(Job(Settings(), run), path, look)
        yield _of_record(path.name, {"program": name}, record, None)
    elif not name.endswith(".toml") and name not in preset_names():
        what = "a folder without results.csv" if path.is_dir() else "no compiled program" if path.exists() else "not here"
        raise StudyError(name, what, "a machine, a program of a model, or results of a sweep: its folder, or FOLDER:3 for its "
                         "point 3", nearest(name, preset_names()))
    else:
        study = Study.of(machine=name, model=model)
        point = make_plan(study).points[0]
        job = Job(point.job.settings, run, point.job.model) if point.job else None
        if job is None:
            raise StudyError(name, point.refused)
        compiled = compile_point(job)
        record = of_program(job, Path(compiled["program"]), look) if compiled["status"] == COMPILED else compiled
        yield _of_record(name, {"machine": name, "model": model or DEMO}, record, compiled)


def _of_record(name: str, settings: dict[str, Any], record: Record, compiled: Record | None) -> Compared:
    if record["status"] != DONE:
        raise StudyError(name, record["reason"])
    row = row_of(Point(1, settings, None), compiled, record, None, list(settings))
    return Compared(name, settings | {"weights": record["weights"], "machine": record["machine"]}, row, ran=True)


def _of_table(path: Path, place: str, name: str) -> Iterator[Compared]:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            table = list(csv.DictReader(stream))
    except (ValueError, csv.Error) as error:
        raise StudyError(name, str(error), "a table that a sweep has written") from None
    if not table or any(row.get(column) is None for row in table for column in ("point", "status", *_NUMBERS)):
        raise StudyError(name, "a table without points, or without their columns", "one that a sweep has written")
    chosen = [row for row in table if place in ("", row["point"])]
    if not chosen:
        raise StudyError(name, f"no point {place}", f"1 to {len(table)}")
    done = [row for row in chosen if row["status"] == DONE]
    if not done:
        raise StudyError(name, f"this point is {chosen[0]['status']}: {chosen[0]['reason']}" if place else "no point is done",
                         "a point that is done")
    for cells in done:
        fixed = {*FIRST, *MAIN, *BESIDE, *LAST, *COUNTERS}
        settings = {key: cell for key, cell in cells.items() if key not in fixed and not key.startswith((
            "joules.", "joules_standing.", "busy.", "memory."))}
        row = {key: _read(name, key, cell) if key in {*_NUMBERS, *COUNTERS} or key.startswith(("joules.", "memory.", "cpu_"))
               else cell or None for key, cell in cells.items()}
        yield Compared(f"{path.parent.name or path.stem}:{cells['point']}", settings, row)


def _read(name: str, column: str, cell: str | None) -> float | None:
    """A number of a table. Raises StudyError."""
    value = number(cell) if cell else None
    if isinstance(value, str):
        raise StudyError(name, f"{column} is {cell!r}", "a number, as a sweep has written it")
    return value


# ------------------------------------------------------------------------------------------------ side by side


def differing(several: Sequence[Compared]) -> dict[str, list[Any]]:
    """The settings that are not the same in all, in order."""
    names = dict.fromkeys(key for each in several for key in each.settings)
    found = {key: [each.settings.get(key) for each in several] for key in names}
    return {key: values for key, values in found.items() if len(set(map(str, values))) > 1}


def figures(several: Sequence[Compared]) -> dict[str, list[float | None]]:
    """Figures by name, a value for each result; then one for a CPU, where there is one. Counters of bytes and events at last."""
    found: dict[str, list[float | None]] = {}
    for name in _NUMBERS:
        cpus = [each.row.get(f"cpu_{name}") for each in several]
        found[name] = [*(each.row.get(name) for each in several), cpus[0]]
        if len({said(f"cpu_{name}", cpu) for cpu in cpus}) > 1:         # of other weights: a CPU beside each
            found[f"cpu_{name}"] = [*cpus, None]
    others = [name for name in COUNTERS if name.endswith((".bytes_read", ".bytes_written", ".macs")) or name == "core.instructions"]
    for name in others:
        found[name] = [*(each.row.get(name) for each in several), None]
    return {name: values for name, values in found.items() if any(value is not None for value in values)}


def said(name: str, value: float | None) -> str:
    """A figure as people read it; "" where it is not known."""
    if value is None:
        return ""
    if name in _UNITS:
        return quantity(value, _UNITS[name])
    return f"{value:.4f}" if name == "bits_per_byte" else f"{int(value):,}"


def rows(several: Sequence[Compared]) -> list[list[str]]:
    """Heads, settings that differ, figures with their ratio to the first. The last column is a CPU."""
    table = [["", *(each.name for each in several), CPU]]
    table += [[key, *("" if value is None else str(value) for value in values), ""] for key, values in differing(several).items()]
    for name, values in figures(several).items():
        first = values[0]
        table.append([name.replace("_", " ").replace("cpu", CPU + ","), *(said(name, value) + (
            f" ({value / first:.3g})" if place and value is not None and first else "") for place, value in enumerate(values))])
    return table


def lines(several: Sequence[Compared]) -> list[str]:
    """`rows` as text, in columns; then what the CPU is."""
    table = rows(several)
    widths = [max(len(row[place]) for row in table) for place in range(len(table[0]))]
    return [*("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table),
            f"in brackets: of the first. {CPU[0].upper()}{SAID[1:]}"]
