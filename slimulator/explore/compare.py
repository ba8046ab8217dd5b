"""Several results side by side: what differs in their settings first, then each figure, absolute and as a ratio to the first.

    rows = subjects(["slim", "hpim"], run)              a machine: the demo model compiled for it
    rows = subjects(["a.elf", "b.elf"], run)            a program
    rows = subjects(["formats.results:1", "formats.results:4"], run)        points of a sweep; without a number all of them
    for line in lines(rows): ...
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compiler.running.generate import is_program
from compiler.settings import Settings
from emulator.observe.cost import quantity
from isa.changed import number
from isa.counters import COUNTERS
from isa.preset import load_preset
from slimulator.explore.axes import DEMO
from slimulator.explore.baseline import SAID
from slimulator.explore.errors import StudyError
from slimulator.explore.plan import Job, Point, Run, make_plan
from slimulator.explore.study import Study
from slimulator.explore.table import BESIDE, FIRST, LAST, MAIN, NAME, Row, row_of
from slimulator.explore.work import COMPILED, DONE, Record, compile_point, of_program, run_point

_UNITS = {"seconds_per_token": "s", "joules_per_token": "J", "seconds": "s", "seconds_to_first_token": "s", "joules": "J",
          "joules_events": "J", "joules_standing": "J"}
_NUMBERS = ("bits_per_byte", *_UNITS, "cycles")
CPU = "a CPU"


@dataclass(frozen=True)
class Compared:
    """One of the results: its name, what it was made with, and its row of results."""

    name: str
    settings: dict[str, Any]
    row: Row


def subjects(names: Sequence[str], run: Run, model: str = DEMO) -> list[Compared]:
    """The results of programs, machines and points of sweeps, in order. Raises StudyError for what is none of these, or does not
    work; PresetError, ModelError, ProgramError, OSError."""
    return [each for name in names for each in _of(name, run, model)]


def _of(name: str, run: Run, model: str) -> Iterator[Compared]:
    folder, _, place = name.rpartition(":") if name.rpartition(":")[2].isdecimal() else (name, "", "")
    path = Path(folder)
    if (path / f"{NAME}.csv").is_file() or path.suffix == ".csv":
        yield from _of_table(path if path.suffix == ".csv" else path / f"{NAME}.csv", place, name)
    elif is_program(path):
        record = of_program(Job(Settings(), run), path)
        yield _of_record(path.name, {"program": name}, record, None)
    else:
        study = Study.of(machine=str(load_preset(name).name if not name.endswith(".toml") else name), model=model)
        point = make_plan(study).points[0]
        job = Job(point.job.settings, run, point.job.model) if point.job else None
        if job is None:
            raise StudyError(name, point.refused)
        compiled = compile_point(job)
        record = run_point(job, compiled["program"]) if compiled["status"] == COMPILED else compiled
        yield _of_record(name, {"machine": name, "model": model}, record, compiled)


def _of_record(name: str, settings: dict[str, Any], record: Record, compiled: Record | None) -> Compared:
    if record["status"] != DONE:
        raise StudyError(name, record["reason"])
    row = row_of(Point(1, settings, None), compiled, record, None, list(settings))
    return Compared(name, settings | {"weights": record["weights"], "machine": record["machine"]}, row)


def _of_table(path: Path, place: str, name: str) -> Iterator[Compared]:
    with path.open(encoding="utf-8", newline="") as stream:
        table = list(csv.DictReader(stream))
    chosen = [row for row in table if place in ("", row["point"])]
    if not chosen:
        raise StudyError(name, f"no point {place}", f"1 to {len(table)}")
    for cells in chosen:
        if cells["status"] != DONE:
            if place:
                raise StudyError(name, f"this point is {cells['status']}: {cells['reason']}", "a point that is done")
            continue
        fixed = {*FIRST, *MAIN, *BESIDE, *LAST, *COUNTERS}
        settings = {key: cell for key, cell in cells.items() if key not in fixed and not key.startswith((
            "joules.", "joules_standing.", "busy.", "memory."))}
        row = {key: None if cell == "" else number(cell) if key in {*_NUMBERS, *COUNTERS} or key.startswith((
            "joules.", "memory.", "cpu_")) else cell for key, cell in cells.items()}
        yield Compared(f"{path.parent.name or path.stem}:{cells['point']}", settings, row)


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
        cpu = several[0].row.get(f"cpu_{name}")
        found[name] = [*(each.row.get(name) for each in several), cpu]
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
        table.append([name.replace("_", " "), *(said(name, value) + (
            f" ({value / first:.3g})" if place and value is not None and first else "") for place, value in enumerate(values))])
    return table


def lines(several: Sequence[Compared]) -> list[str]:
    """`rows` as text, in columns; then what the CPU is."""
    table = rows(several)
    widths = [max(len(row[place]) for row in table) for place in range(len(table[0]))]
    return [*("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table),
            f"in brackets: of the first. {CPU[0].upper()}{SAID[1:]}"]
