"""Another machine: a preset with some figures changed.

    changed(preset, {"region.sram.size": 65536})            one figure of its file, by the name that `slimulator machines` prints
    changed(preset, {"region.sram.size": "64K"})            a number as people write it: 64K, 16M, 0x1000_0000, 38.4
    changed(preset, {"lut": 2, "dram.memory": "HBM2"})      rates as isa/timing/what_if.py changes them

A changed figure has the source "assumed: set to ..."; one that is set to what it is stays as it is. The name of the machine says
what was changed, so no preset and no file can be taken for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from isa.hints import nearest
from isa.preset import Preset, PresetError, Problem, preset_of
from isa.timing.memories import memories_of
from isa.timing.what_if import what_if

_PLACE = "--set"
_SIZES = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


def changed(preset: Preset, changes: Mapping[str, int | float | str]) -> Preset:
    """The preset with these figures. Raises PresetError for a figure that it lacks, or for a value that cannot be."""
    before = preset
    for name, value in changes.items():
        if name not in figure_names(before):
            known = figure_names(before)
            hint = nearest(name, known) or f"slimulator machines {before.name} lists them"
            got = f"{name}: machine {before.name} has no such figure"
            raise PresetError("", [Problem(_PLACE, got, "one of its figures", hint)])
        preset = _with(preset, name, value)
    if preset is before or preset.contents == before.contents:
        return before
    said = ", ".join(f"{name}={number(value)}" for name, value in changes.items())
    return preset_of(preset.contents | {"name": f"{before.name} with {said}"})


def figure_names(preset: Preset) -> list[str]:
    """All names that `changed` takes for a machine: figures of its file, then what --what-if takes."""
    file = preset.contents
    names = ["clock_hz", *(f"core.rates.{key}" for key in file["core"]["rates"])]
    names += [f"region.{region}.{key}" for region, table in file["region"].items() for key, figure in table.items() if figure]
    names += [f"unit.{unit}.{kind}.{key}" for unit, table in file["unit"].items() for kind in ("parameters", "rates")
              for key in table[kind]]
    names += [f"{table}.{key}" for table in ("energy", "power") for key in file[table]]
    return [name for name in names if not name.endswith(".ports")] + list(_of_what_if(preset))


def number(text: int | float | str) -> int | float | str:
    """What a text means as a figure: a number, 64K and the like in units of 1024, else the text itself."""
    if not isinstance(text, str):
        return text
    found = re.fullmatch(r"(\d[\d_]*(?:\.\d+)?)([KMGT])(?:i?B)?", text.strip())
    if found:
        size = float(found[1]) * (1 << _SIZES[found[2]])
        return int(size) if size == int(size) else size
    for kind in (lambda word: int(word, 0), float):
        try:
            return kind(text.strip())
        except ValueError:
            continue
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


def _with(preset: Preset, name: str, text: int | float | str) -> Preset:
    if name in _of_what_if(preset):
        return what_if(preset, f"{name}={number(text)}")
    file, value = preset.contents, number(text)
    table, key = _place(file, name)
    figure = table[key] if isinstance(table[key], dict) else {"value": None}
    if figure["value"] != value or isinstance(value, str) != isinstance(figure["value"], str):
        table[key] = {"value": value, "source": f"assumed: set to {text}"}
    try:
        return preset_of(file)
    except PresetError as error:
        raise PresetError("", [Problem(problem.key if place else f"{_PLACE} {name}={text}", problem.got, problem.expected,
                                       problem.hint) for place, problem in enumerate(error.problems)]) from None


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
