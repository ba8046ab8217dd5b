"""What if: the preset of a machine with other rates.

    what_if(preset, "lut=2")                        the lut unit is twice as fast: each of its rates, and its start-up
    what_if(preset, "dram.bytes_per_cycle=38.4")    one figure is another
    what_if(preset, "core=1.5,dram=2")              several; a region is so much faster in latency and bandwidth

A figure that follows from a factor is rounded as a machine file has it: to 11 digits, 12 of them behind the point at most.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from isa.preset import Preset, PresetError, Problem, preset_of
from isa.preset_file import unknown_problem
from isa.timing.figures import rates_of
from isa.timing.rates import MOST_PART, exact, fits

_SOURCE = "assumed: what if"


def what_if(preset: Preset, text: str) -> Preset:
    """The preset with the changes that `text` lists. Raises PresetError for what it does not have, or what is no number above 0."""
    if preset.rates is None:
        raise PresetError("", [Problem("--what-if", f"machine {preset.name} gives no rates", "a machine whose time is modelled")])
    file: dict[str, Any] = preset.file.model_dump(mode="json", by_alias=True)
    changed: dict[str, str] = {}
    for change in map(str.strip, text.split(",")):
        name, _, value = map(str.strip, change.partition("="))
        try:
            factor = float(value)
            if not factor > 0:
                raise ValueError
            exact(factor)
        except ValueError:
            raise PresetError("", [Problem("--what-if", repr(change), "NAME=NUMBER, the number above 0, such as lut=2")]) from None
        for figure in _figures(preset, name):
            if figure in changed:
                raise PresetError("", [Problem("--what-if", f"{figure} is changed by {changed[figure]} and by {change}",
                                               "each figure once")])
            changed[figure] = change
            table, key = _place(file, figure)
            new = _number(exact(factor)) if figure == name else _faster(preset, figure, exact(factor))
            table[key] = {"value": new, "source": _SOURCE}
    return preset_of(file)


def _figures(preset: Preset, name: str) -> list[str]:
    """The rates that a name stands for: itself, or all of the core, a unit or a region but the depth of its queue."""
    assert preset.rates is not None
    if name in preset.rates:
        return [name]
    found = [rate for rate in preset.rates if rate.startswith(f"{name}.") and not rate.endswith(".queue_depth")]
    if not found:
        owners = dict.fromkeys(rate.partition(".")[0] for rate in preset.rates)
        raise PresetError("", [unknown_problem("figure", name, "--what-if", [*owners, *preset.rates])])
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
