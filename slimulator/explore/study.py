"""A study: which settings are combined. From a TOML file, from a command line, or from Python.

    title  = "Scratchpad size"              [axes]                                      [[points]]      # a list, instead of
    tokens = 32                             "region.sram.size" = ["64K", "256K"]        weights = "t2"  # axes or with them
    text   = "stories.txt"                  weights = ["t2", "i4:32"]

Names outside a table are settings of all points. The points are the product of the axes, the last of them varies fastest; with a
list, each entry of it with each point of the product. Files are looked for beside the study first. `none`: without that option.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from isa.files import text_of
from slimulator.explore.axes import FIGURE, Value, kind_of, parse
from slimulator.explore.errors import StudyError

MOST_POINTS = 100_000
_TABLES = ("title", "finding", "axes", "points")


@dataclass(frozen=True)
class Study:
    """What is varied. `axes`: values by name, of options and figures; `points`: further settings, each entry with all axes.

    finding  what a shipped study has found, in words
    """

    title: str = ""
    axes: dict[str, tuple[Value, ...]] = field(default_factory=dict)
    points: tuple[dict[str, Value], ...] = ()
    finding: str = ""

    @classmethod
    def of(cls, title: str = "", **axes: Any) -> Study:
        """The product of axes: a value or a list of values by name. `Study.of(weights=["t2", "i8"], ffn_sparsity="exact")`; an
        underscore stands for the hyphen of an option. Names of figures have points: `Study.of(**{"region.sram.size": [...]})`.

        Raises StudyError for a value that means nothing.
        """
        return study_of({"title": title, "axes": {option if kind_of(option := name.replace("_", "-")) != FIGURE else name: values
                                                  for name, values in axes.items()}}, Path())

    @property
    def names(self) -> list[str]:
        """All settings that are said, in order."""
        return list(dict.fromkeys([*self.axes, *(name for point in self.points for name in point)]))

    @property
    def varied(self) -> list[str]:
        """The settings of which there are several values."""
        values = {name: set(self.axes.get(name, ())) for name in self.names}
        for name in self.names:
            values[name] |= {point.get(name) for point in self.points if name in point or name not in self.axes}
        return [name for name, several in values.items() if len(several) > 1]

    def __len__(self) -> int:
        return prod(map(len, self.axes.values())) * max(1, len(self.points))

    def settings(self) -> Iterator[dict[str, Value]]:
        """What each point sets, by name."""
        for entry in self.points or ({},):
            for values in product(*self.axes.values()):
                yield dict(zip(self.axes, values, strict=True)) | entry

    def with_axes(self, axes: Mapping[str, Sequence[Value]]) -> Study:
        """The same with other axes too, or in the place of those of the same name."""
        return study_of({"title": self.title, "finding": self.finding, "axes": {**self.axes, **axes},
                         "points": list(self.points)}, Path())


def read_study(path: Path) -> Study:
    """The study of a TOML file. Raises StudyError, OSError."""
    try:
        data = tomllib.loads(text_of(path))
    except (ValueError, RecursionError) as error:
        raise StudyError("", str(error), "a TOML file in UTF-8", file=path) from None
    try:
        return study_of(data, path.parent, path.stem)
    except StudyError as error:
        if error.file:                  # of a recipe or a machine that the study names: the place is there
            raise
        raise StudyError(error.key, error.got, error.expected, error.hint, file=path) from None


def study_of(data: Mapping[str, Any], folder: Path, title: str = "") -> Study:
    """The study of a file's contents. Raises StudyError for what cannot be a study; what names mean is checked in plan.py."""
    for key, kind, what in (("title", str, "a text"), ("finding", str, "a text"), ("axes", dict, "a table"),
                            ("points", list, "a list of tables")):
        if not isinstance(data.get(key, kind()), kind):
            raise StudyError(key, f"got {data[key]!r}", what)
    common = {key: value for key, value in data.items() if key not in _TABLES}
    axes = {name: _values(name, given, folder) for name, given in (common | data.get("axes", {})).items()}
    points: list[dict[str, Value]] = []
    for number, entry in enumerate(data.get("points", []), 1):
        if not isinstance(entry, dict):
            raise StudyError(f"points, entry {number}", f"got {entry!r}", "a table")
        points.append({name: parse(name, value, folder) for name, value in entry.items()})
    study = Study(data.get("title", title), axes, tuple(points), data.get("finding", ""))
    if not study.names:
        raise StudyError("", "nothing to vary", "axes, points or settings")
    if len(study) > MOST_POINTS:
        raise StudyError("", f"{len(study):,} points", f"at most {MOST_POINTS:,}")
    return study


def _values(name: str, given: Any, folder: Path) -> tuple[Value, ...]:
    if isinstance(given, dict):
        raise StudyError(name, "a table", "a value or a list of values", f'quotes around a name with points in it: "{name}.'
                         f'{next(iter(given), "...")}" = ...')
    values = given if isinstance(given, list | tuple) else [given]
    if not values:
        raise StudyError(name, "an empty list", "at least one value")
    return tuple(parse(name, value, folder) for value in values)
