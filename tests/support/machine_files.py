"""Machine files that differ from a shipped one."""

from __future__ import annotations

import re
from functools import cache

from isa.preset import Preset, load_preset, preset_of


def without_unit(text: str, unit: str) -> str:
    """A machine file's text without a unit: its table, its ports and its figures of energy."""
    start = text.index(f"[unit.{unit}]")
    end = re.compile(r"^\[", re.MULTILINE).search(text, start + 1)
    assert end
    text = text[:start] + text[end.start():]
    return re.sub(rf'^(?:"{unit}\.\w+"|{unit}) *= .*\n', "", text.replace(f', "{unit}"', ""), flags=re.MULTILINE)


@cache
def with_tables(like: str, activations: int, scratchpad: int | None = None) -> Preset:
    """A preset whose lut unit holds so many activations, with a scratchpad of another size."""
    data = load_preset(like).file.model_dump(exclude_none=True)
    data["unit"]["lut"]["parameters"]["activations"]["value"] = activations
    data["region"]["sram"]["size"]["value"] = scratchpad or data["region"]["sram"]["size"]["value"]
    return preset_of(data)


@cache
def with_cores(cores: int) -> Preset:
    """The slim machine with so many cores in its lut unit."""
    data = load_preset("slim").file.model_dump(exclude_none=True)
    data["unit"]["lut"]["parameters"]["cores"]["value"] = cores
    return preset_of(data)


def without_figures(text: str) -> str:
    """A machine file's text without time and energy: no rates, energies and powers."""
    return re.sub(r"^\[(?:core|energy|power)\].*\n(?:.+\n)*|^rates\..*\n", "", text, flags=re.MULTILINE)


@cache
def with_macros(**parameters: int | str) -> Preset:
    """The slim machine with another cim unit: macros=2, rows=128, patterns="2:4"."""
    data = load_preset("slim").file.model_dump(exclude_none=True)
    for name, value in parameters.items():
        data["unit"]["cim"]["parameters"][name]["value"] = value
    return preset_of(data)
