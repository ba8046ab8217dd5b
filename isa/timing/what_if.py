"""What if: the preset of a machine with other rates.

    what_if(preset, "lut=2")                        the lut unit is twice as fast: each of its rates, and its start-up
    what_if(preset, "dram=2")                       a region: its latency and bandwidth, or each cycle of the memory that it names
    what_if(preset, "dram.bytes_per_cycle=38.4")    one figure is another
    what_if(preset, "dram.memory=LPDDR4-2400")      the region is this memory, of as many channels as one has
    what_if(preset, "core=1.5,dram=2")              several, each figure once

A figure that follows from a factor is rounded as a machine file has it: to 11 digits, 12 of them behind the point at most.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from isa.preset import Preset, PresetError, Problem, preset_of
from isa.preset_file import unknown_problem
from isa.regions import HBM
from isa.timing.figures import rates_of
from isa.timing.memories import MEMORIES, Nand, PimDram, memories_of
from isa.timing.rates import MOST_PART, exact, fits

_SOURCE = "assumed: what if"
_OF_REGION = ("latency_cycles", "bytes_per_cycle", "channels", "mapping", "stripe", "speed", "memory")


def what_if(preset: Preset, text: str) -> Preset:
    """The preset with the changes that `text` lists. Raises PresetError for what it does not have, or what is no number above 0."""
    if preset.rates is None:
        raise _error(f"machine {preset.name} gives no rates", "a machine whose time is modelled")
    file: dict[str, Any] = preset.file.model_dump(mode="json", by_alias=True)
    changed: dict[str, str] = {}
    for change in map(str.strip, text.split(",")):
        for figure, value in _figures_of(preset, file, change).items():
            if figure in changed:
                raise _error(f"{figure} is changed by {changed[figure]} and by {change}", "each figure once")
            changed[figure] = change
            table, key = _place(file, figure)
            table[key] = None if value is None else {"value": value, "source": _SOURCE}
    return preset_of(file)


def _error(got: str, expected: str, *, alone: bool = False) -> PresetError:
    return PresetError("", [Problem("--what-if", got, expected, alone=alone)])


def _figures_of(preset: Preset, file: dict[str, Any], change: str) -> dict[str, int | float | str | None]:
    """What figures are behind a change, by name; None: there is none. `file` has the changes before it."""
    name, _, value = map(str.strip, change.partition("="))
    region, _, key = name.partition(".")
    table = file["region"].get(region)
    if key == "memory" and table is not None:
        _check_banks(preset, region, value)
        new = MEMORIES.get(value)
        kept = "stripe" if isinstance(new, Nand) and new.processed_per_second else ""
        gone: dict[str, int | float | str | None] = {f"{region}.{key}": None for key in _OF_REGION
                                                     if table[key] is not None and key != kept}
        return gone | {name: value}
    if key in ("mapping", "stripe") and table is not None:
        raise _error(f"{name}: where an address lies is not a rate",
                     f"NAME=NUMBER or {region}.memory=NAME; a machine file can say another {key}")
    factor = _factor(change, value) if key != "memory" else Fraction(1)
    if table is None or table["memory"] is None:
        return {figure: _number(factor) if figure == name else _faster(preset, figure, factor) for figure in _figures(preset, name)}
    if not key:
        return {f"{region}.speed": _number(_rounded(factor * exact(table["speed"]["value"] if table["speed"] else 1)))}
    if key not in ("channels", "speed"):
        raise _error(f"{name}: {region} has the times of {table['memory']['value']}",
                     f"{region}=X, X times as fast, or {region}.memory=NAME, one of {', '.join(memories_of(region))}")
    return {name: _number(factor)}


def _check_banks(preset: Preset, region: str, name: str) -> None:
    """Raise PresetError for a memory without processors in the place of one whose banks the pim unit's operations are timed by."""
    if region == HBM and preset.has_unit("pim") and isinstance(preset.memory(HBM), PimDram) and not isinstance(
            MEMORIES.get(name, preset.memory(HBM)), PimDram):
        raise _error(f"hbm.memory={name}: without processors at its banks, by which operations of the pim unit are timed",
                     "one of " + ", ".join(other for other, memory in MEMORIES.items() if isinstance(memory, PimDram)))


def _factor(change: str, value: str) -> Fraction:
    """The number of a change. Raises PresetError for what is no number above 0."""
    try:
        factor = exact(float(value))
        if factor > 0:
            return factor
    except ValueError:
        pass
    raise _error(repr(change), "NAME=NUMBER, the number above 0, such as lut=2", alone=True)


def _figures(preset: Preset, name: str) -> list[str]:
    """The rates that a name stands for: itself, or all of the core, a unit or a region but the depth of its queue."""
    assert preset.rates is not None
    if name in preset.rates:
        return [name]
    found = [rate for rate in preset.rates if rate.startswith(f"{name}.") and not rate.endswith(".queue_depth")]
    if not found:
        owners = dict.fromkeys(rate.partition(".")[0] for rate in preset.rates) | dict.fromkeys(preset.file.region)
        memories = [f"{region}.memory" for region in preset.file.region if memories_of(region)]
        raise PresetError("", [unknown_problem("figure", name, "--what-if", [*owners, *preset.rates, *memories])])
    return found


def _faster(preset: Preset, figure: str, factor: Fraction) -> int | float:
    """A rate of something so many times as fast. Cycles of a region, and other integers, are rounded up."""
    assert preset.rates is not None
    value = preset.rates[figure] * factor if figure.endswith("_per_cycle") else preset.rates[figure] / factor
    known = rates_of(preset.file.unit).get(figure)
    whole = known.whole if known else figure.endswith(".latency_cycles")
    return -(-value.numerator // value.denominator) if whole else _number(_rounded(value))


def _number(value: Fraction) -> int | float:
    """As a machine file has it."""
    return value.numerator if value.denominator == 1 else float(value)


def _rounded(value: Fraction) -> Fraction:
    """The nearest value that a machine file can have. What is too large stays as large: it is refused."""
    if value >= MOST_PART:
        return Fraction(round(value))
    decimals = exact(float(value))
    return decimals if fits(decimals) else round(exact(float(f"{float(value):.11g}")), 12)


def _place(file: dict[str, Any], figure: str) -> tuple[dict[str, Any], str]:
    owner, _, key = figure.partition(".")
    if owner in file["region"]:
        return file["region"][owner], key
    return (file["core"] if owner == "core" else file["unit"][owner])["rates"], key
