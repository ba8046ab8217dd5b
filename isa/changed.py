"""Another machine: a preset with some figures changed.

    changed(preset, {"region.sram.size": 65536})            one figure of its file, by the name that `slimulator machines` prints
    changed(preset, {"region.sram.size": "64K"})            a number as people write it: 64K, 16M, 0x1000_0000, 38.4
    changed(preset, {"lut": 2, "dram.memory": "HBM2"})      rates as isa/timing/what_if.py changes them

A changed figure has the source "assumed: set to ..."; one that is set to what it is stays as it is. The name of the machine says
what was changed, so no preset and no file can be taken for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

from isa.hints import nearest
from isa.preset import Preset, PresetError, Problem, preset_of
from isa.timing.memories import memories_of
from isa.timing.what_if import what_if

_PLACE = "--set"
_SIZES = {"K": 10, "M": 20, "G": 30, "T": 40}
_EXACT = 1 << 53            # integers below it have a float of their own


def changed(preset: Preset, changes: Mapping[str, int | float | str]) -> Preset:
    """The preset with these figures: first those of its file, which may need each other, then what --what-if takes, in order.

    Raises PresetError for a figure that it lacks, or for a value that cannot be there.
    """
    before = preset
    figures = set(_of_file(preset))
    preset = _with(preset, {name: value for name, value in changes.items() if name in figures})
    for name, value in changes.items():
        if name not in figures:
            if name not in _of_what_if(preset):
                known = figure_names(preset)
                hint = nearest(name, known) or f"slimulator machines {before.name} lists them"
                raise PresetError("", [Problem(_PLACE, f"{name}: machine {before.name} has no such figure", "one of its figures",
                                               hint)])
            preset = _checked({name: value}, partial(what_if, preset, f"{name}={number(value)}"))
    if preset is before or preset.contents == before.contents:
        return before
    said = ", ".join(f"{name}={number(value)}" for name, value in changes.items())
    name = f"{before.name} with {said}"
    return replace(preset, name=name, file=preset.file.model_copy(update={"name": name}))


def figure_names(preset: Preset) -> list[str]:
    """All names that `changed` takes for a machine: figures of its file, then what --what-if takes."""
    return [*_of_file(preset), *_of_what_if(preset)]


def _of_file(preset: Preset) -> list[str]:
    file = preset.contents
    names = ["clock_hz", *(f"core.rates.{key}" for key in file["core"]["rates"])]
    names += [f"region.{region}.{key}" for region, table in file["region"].items() for key, figure in table.items() if figure]
    names += [f"unit.{unit}.{kind}.{key}" for unit, table in file["unit"].items() for kind in ("parameters", "rates")
              for key in table[kind]]
    names += [f"{table}.{key}" for table in ("energy", "power") for key in file[table]]
    return [name for name in names if not name.endswith(".ports")]


def number(text: int | float | str) -> int | float | str:
    """What a text means as a figure: a number (16, 0x10, 1e3), 64K and the like in units of 1024, else the text itself."""
    if not isinstance(text, str):
        return text
    found = re.fullmatch(r"(\d[\d_]{0,30})(\.\d{1,30})?([kKMGT])(?:i?B)?", text.strip())
    if found:
        size = Fraction(found[1].replace("_", "") + (found[2] or "")) * (1 << _SIZES[found[3].upper()])
        return int(size) if size.denominator == 1 else float(size)
    for kind in (lambda word: int(word, 0), float):
        try:
            value = kind(text.strip())
        except ValueError:
            continue
        return int(value) if abs(value) < _EXACT and value == int(value) else value
    return text


def _of_what_if(preset: Preset) -> Iterator[str]:
    if preset.rates is None:
        return
    rates = preset.rates
    yield from dict.fromkeys(rate.partition(".")[0] for rate in rates)
    yield from (region for region in preset.file.region if region not in {rate.partition(".")[0] for rate in rates})
    yield from rates
    for region, table in preset.file.region.items():
        if memories_of(region):
            yield f"{region}.memory"
        if table.memory is not None:
            yield from (f"{region}.channels", f"{region}.speed")


def _with(preset: Preset, changes: Mapping[str, int | float | str]) -> Preset:
    file = preset.contents
    for name, text in changes.items():
        table, key = _place(file, name)
        figure, value = table[key] if isinstance(table[key], dict) else {"value": None}, number(text)
        if figure["value"] != value or isinstance(value, str) != isinstance(figure["value"], str):
            table[key] = {"value": value, "source": f"assumed: set to {text}"}
    return _checked(changes, partial(preset_of, file)) if changes else preset


def _checked(changes: Mapping[str, int | float | str], made: Callable[[], Preset]) -> Preset:
    """What `made` makes. Of an error's problems the first names the change that it is about, as it was said."""
    try:
        return made()
    except PresetError as error:
        first, *others = error.problems
        about = [name for name in changes if first.key.startswith(f"{name}.")] or list(changes)
        place = f"{_PLACE} " + ", ".join(f"{name}={changes[name]}" for name in about)
        raise PresetError("", [replace(first, key=place), *others]) from None


def _place(file: dict[str, Any], name: str) -> tuple[dict[str, Any], str]:
    """The table of a figure and its key there. Names of counters, under energy, have points in them."""
    owner, _, rest = name.partition(".")
    if owner in ("energy", "power"):
        return file[owner], rest
    *path, key = name.split(".")
    table = file
    for part in path:
        table = table[part]
    return table, key
