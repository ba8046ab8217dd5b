"""A point of a published simulator, as a row of a CSV file has it, and what a program gives for it here."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isa.files import text_of
from isa.text import printable

MACHINES = Path(__file__).parent / "machines"
SHIPPED = Path(__file__).parent / "points.csv"
PARAMETERS = 4                          # pairs of columns: p1_name, p1 ...
NEEDED = ("simulator", "config", "workload", *(f"p{i}{end}" for i in range(1, PARAMETERS + 1) for end in ("_name", "")), "cycles")
ENERGY = "energy_pJ"                    # may be absent
MOST = 1 << 40                          # of any number in a file


class PointsError(Exception):
    """A file of points that cannot be read. The message has file, line, what was expected and found."""


class Inexpressible(ValueError):
    """A point that no program here stands for. The message is the reason."""


@dataclass(frozen=True)
class Point:
    """A row of a file: what was run, how long it took in cycles of the memory's clock, what it spent. None: not published."""

    simulator: str
    config: str
    workload: str
    parameters: Mapping[str, int]       # by name, as in the file
    cycles: int | None
    energy_pj: float | None = None
    line: int = 0                       # of the file, from 1

    def size(self, name: str, most: int, of: int = 1) -> int:
        """A parameter, from `of` to `most` and a multiple of `of`. Raises Inexpressible."""
        if name not in self.parameters:
            raise Inexpressible(f"no parameter {name}; got {', '.join(self.parameters) or 'none'}")
        value = self.parameters[name]
        if not of <= value <= most or value % of:
            raise Inexpressible(f"{name} {value}; expected {f'a multiple of {of}' if of > 1 else '1'} up to {most}")
        return value


@dataclass(frozen=True)
class Outcome:
    """What an executed program gives: cycles of the memory's clock, pJ, events by name. `wrong`: values that are not NumPy's."""

    cycles: int
    energy_pj: float | None = None
    events: Mapping[str, int] = field(default_factory=dict)
    wrong: tuple[str, ...] = ()


def points_of(path: Path, simulator: str | None = None) -> Iterator[Point]:
    """The points of a file, of one simulator or of all. Raises PointsError and OSError."""
    try:
        text = text_of(path)
    except UnicodeDecodeError as error:
        raise PointsError(f"{path}: error: byte {error.start}: no UTF-8; expected a CSV file") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        if missing := [name for name in NEEDED if name not in header]:
            raise PointsError(f"{path}:1: error: got {_shown(', '.join(header)) or 'nothing'}; "
                              f"expected a CSV file with a column {', '.join(missing)}")
        if twice := next((name for name in header if header.count(name) > 1), None):
            raise PointsError(f"{path}:1: error: two columns {_shown(twice)!r}; expected different names")
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise PointsError(f"{path}:{reader.line_num}: error: got {len(row)} columns; expected {len(header)}")
            point = _point(path, reader.line_num, dict(zip(header, row, strict=True)))
            if simulator in (None, point.simulator):
                yield point
    except csv.Error as error:
        raise PointsError(f"{path}:{reader.line_num}: error: no CSV: {error}") from None


def _point(path: Path, line: int, row: dict[str, str]) -> Point:
    def number(column: str, read: Callable[[str], Any], expected: str) -> Any:
        try:
            value = read(row[column])
            if 0 <= value < MOST and (value or column != "cycles"):
                return value
        except ValueError:
            pass
        raise PointsError(f"{path}:{line}: error: {column}: got {_shown(row[column])!r}; expected {expected}")

    for column in ("simulator", "workload"):
        if not row[column]:
            raise PointsError(f"{path}:{line}: error: {column}: got nothing; expected a name")
    names = {f"p{i}": row[f"p{i}_name"] for i in range(1, PARAMETERS + 1) if row[f"p{i}_name"] and row[f"p{i}"]}
    if len({*names.values()}) < len(names):
        raise PointsError(f"{path}:{line}: error: two parameters {_shown(', '.join(names.values()))!r}; expected different names")
    whole, most = "a whole number", f"below {MOST}"
    return Point(row["simulator"], row["config"], row["workload"],
                 {name: number(column, _whole, f"{whole} {most}") for column, name in names.items()},
                 number("cycles", _whole, f"{whole} from 1 to {MOST - 1}, or nothing") if row["cycles"] else None,
                 number(ENERGY, float, f"a number {most}, or nothing") if row.get(ENERGY) else None, line)


def _whole(text: str) -> int:
    """A number of digits alone: int() takes other scripts and underscores, too."""
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(text)
    return int(text)


def _shown(text: str) -> str:
    """The beginning of a text, without control characters."""
    return printable(text[:60]) + "..." * (len(text) > 60)


def difference(ours: float, published: float) -> float:
    """How much ours is more than what was published: 0.01 is one per cent."""
    return ours / published - 1
