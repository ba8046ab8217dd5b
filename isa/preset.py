"""Machine presets: which regions, units and sizes a Slim machine has, and where every figure comes from.

A preset is a TOML file in isa/machines (or anywhere: `load_preset("my.toml")`). Every figure in it is a table
`{ value = ..., source = "..." }`; the source is a citation, or "assumed: " and the reason. Unknown keys, missing sources,
unknown units and overlapping regions are refused. What an instruction means on a machine is not here.

    name = "tiny"                                     [region.sram]
    title = "..."                                     base  = { value = 0x1000_0000, source = "assumed: ..." }
    description = "..."                               size  = { value = 65536, source = "..." }
    clock_hz = { value = ..., source = "..." }        ports = { value = ["core", "lut"], source = "..." }
                                                      latency_cycles, bytes_per_cycle, or memory; page_bytes for flash
    [core]
    rates.division_cycles = { value = 20, ... }       [energy]      # pJ an event, by counter
                                                      "lut.steps" = { value = 0.03, source = "..." }
    [unit.lut]
    source = "..."                                    [power]       # W of standing still: core, units, regions
    parameters.activations = { value = ..., ... }     lut = { value = 0.1, source = "..." }
    rates.steps_per_cycle = { value = ..., ... }
                                                      [facts]       # published figures that nothing executes
                                                      die_area_mm2 = { value = 20.25, source = "..." }

The pim unit's parameters are its banks and their mapping (isa/units/pim/banks.py): they have to make up the hbm region exactly.
Rates, energies and powers are all there or not at all: time and energy of a machine are modelled whole (isa/timing/figures.py).
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache, cached_property
from math import prod
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from isa.files import text_of
from isa.hints import nearest
from isa.notebook import as_frame, as_html
from isa.preset_checks import CORE_UNITS as CORE_UNITS
from isa.preset_checks import organisation, problems_of
from isa.preset_file import PresetError as PresetError
from isa.preset_file import PresetFile as PresetFile
from isa.preset_file import Problem as Problem
from isa.preset_file import problem_of as problem_of
from isa.preset_file import schema_problem, unknown_problem
from isa.regions import REGIONS, Region
from isa.timing.figures import rates_of, spending_of, standing_of
from isa.timing.memories import MEMORIES, OWN, Memory
from isa.timing.rates import PICOSECONDS, exact
from isa.units import UNITS
from isa.units.pim.banks import Organisation

MOST_STATE = 1 << 28        # bytes inside all units

PRESETS = Path(__file__).parent / "machines"


# ------------------------------------------------------------------------------------------------ what engines use


@dataclass(frozen=True)
class Preset:
    """A checked preset: regions by rising address, units with their parameters, and `file`, which has the sources."""

    name: str
    clock_hz: int
    regions: tuple[Region, ...]
    file: PresetFile

    def region(self, name: str) -> Region:
        """The region called `name`. Raises PresetError when this machine has none."""
        for region in self.regions:
            if region.name == name:
                return region
        raise PresetError("", [unknown_problem("region", name, f"machine {self.name}", [region.name for region in self.regions])])

    def __reduce__(self) -> tuple[Any, ...]:
        return preset_of, (self.contents,)

    @property
    def contents(self) -> dict[str, Any]:
        """The whole file as JSON: `preset_of` makes the same machine of it. Programs and snapshots carry it."""
        return self.file.model_dump(mode="json")

    @property
    def figures(self) -> list[tuple[str, Any, str]]:
        """Every figure of its file: name, as `slimulator machines` prints it, value, source."""
        return list(_figures(self.contents))

    def _repr_html_(self) -> str:
        return as_html(("figure", "value", "source"), self.figures, f"machine {self.name}")

    def to_pandas(self) -> Any:
        """A DataFrame with a row for each figure: `figure`, `value`, `source`. Raises ImportError without pandas."""
        return as_frame(("figure", "value", "source"), self.figures)

    @property
    def units(self) -> tuple[str, ...]:
        """The control core's units, then the preset's, in the ISA's order."""
        return tuple(name for name in UNITS if self.has_unit(name))

    def has_unit(self, name: str) -> bool:
        return name in CORE_UNITS or name in self.file.unit

    def parameter(self, name: str) -> int:
        """The number "unit.parameter". Raises PresetError when the machine lacks the unit or the unit the parameter."""
        if name not in self.parameters:
            raise PresetError("", [unknown_problem("parameter", name, f"machine {self.name}", self.parameters)])
        value = self.settings[name]
        assert isinstance(value, int)
        return value

    def length(self, text: int | str) -> int:
        """A StateArray's length: a number, or a product of numbers and parameters. Raises PresetError like `parameter`."""
        return text if isinstance(text, int) else prod(
            int(word) if word.isdecimal() else self.parameter(word) for word in text.split(" * "))

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of all numbers that it gives, "unit.parameter"."""
        return tuple(name for name, value in self.settings.items() if isinstance(value, int))

    @cached_property
    def settings(self) -> dict[str, int | str]:
        """All numbers and texts that it gives, by "unit.parameter"."""
        return {f"{unit}.{key}": figure.value for unit, table in self.file.unit.items() for key, figure in table.parameters.items()}

    @cached_property
    def banks(self) -> Organisation | None:
        """The banks behind the hbm region, None on a machine without the pim unit."""
        return organisation(self.file) if "pim" in self.file.unit else None

    @property
    def period(self) -> Fraction:
        """Picoseconds of a cycle of the machine's clock."""
        return Fraction(PICOSECONDS, self.clock_hz)

    @cached_property
    def rates(self) -> dict[str, Fraction] | None:
        """All rates by name, the core's first. "core.division_cycles", "lut.steps_per_cycle"; also "dram.latency_cycles" and
        "dram.bytes_per_cycle", of each region that names no memory. None: the file has no rates, and time is not modelled."""
        given = self.file.rates
        if not given:
            return None
        rates = {name: exact(given[name].value) for name in rates_of(self.file.unit)}
        for region, table in self.file.region.items():
            if table.latency_cycles is not None and table.bytes_per_cycle is not None:
                rates[f"{region}.latency_cycles"] = exact(table.latency_cycles.value)
                rates[f"{region}.bytes_per_cycle"] = exact(table.bytes_per_cycle.value)
        return rates

    def memory(self, region: str) -> Memory | None:
        """The memory that a region names, with its own channels, mapping and stripe, as fast as it is there. None: the region has
        a latency and a bandwidth."""
        table = self.file.region[region]
        if table.memory is None:
            return None
        memory = MEMORIES[table.memory.value]
        own: dict[str, Any] = {key: figure.value for key in OWN if (figure := getattr(table, key))}
        memory = replace(memory, **own) if own else memory
        return memory if table.speed is None else memory.faster(exact(table.speed.value))

    @cached_property
    def energies(self) -> dict[str, Fraction] | None:
        """pJ of an event by its counter, in the order of the counters. None: energy is not modelled."""
        given = self.file.energy
        return {name: exact(given[name].value) for name in spending_of(self.file.unit, self.file.region)} if given else None

    @cached_property
    def powers(self) -> dict[str, Fraction] | None:
        """Watts of standing still: of the core, of units, of regions. None: energy is not modelled."""
        given = self.file.power
        return {name: exact(given[name].value) for name in standing_of(self.file.unit, self.file.region)} if given else None

    @property
    def page_bytes(self) -> int:
        """Bytes of a flash page, 0 on a machine without flash."""
        return max(region.page_bytes for region in self.regions)


def preset_names() -> tuple[str, ...]:
    """The shipped presets, by name."""
    return tuple(sorted(path.stem for path in PRESETS.glob("*.toml")))


def load_preset(name_or_path: str | Path | Preset) -> Preset:
    """The machine of a shipped preset (by name) or of a preset file (a path that ends in .toml); a Preset is one already.

    Raises PresetError for an unknown name or a preset that is wrong, naming file, key, what is there and what may be;
    OSError when the file cannot be read; TypeError for what is neither a name nor a path.
    """
    if isinstance(name_or_path, Preset):
        return name_or_path
    if not isinstance(name_or_path, str | Path):
        raise TypeError(f"the machine is {name_or_path!r}; expected a Preset, the name of one ({', '.join(preset_names())}), or "
                        "the path of a .toml file")
    text = str(name_or_path)
    if text.endswith(".toml"):
        return _read(Path(text))
    if text not in preset_names():
        names = ", ".join(preset_names())
        raise PresetError("", [Problem("", f"no machine preset {text!r}", f"one of {names}, or a path ending in .toml",
                                        nearest(text.lower(), preset_names()))])
    return _shipped(text)


def presets_with(units: Iterable[str]) -> str:
    """The shipped presets that have all of these units, as text for hints."""
    names = [name for name in preset_names() if all(load_preset(name).has_unit(unit) for unit in units)]
    return ("machines that have it: " + ", ".join(names)) if names else "no machine preset here has it"


@cache
def _shipped(name: str) -> Preset:
    return _read(PRESETS / f"{name}.toml")


def _read(path: Path) -> Preset:
    try:
        data = tomllib.loads(text_of(path))
    except (ValueError, RecursionError) as error:           # TOML, UTF-8, numbers of 5,000 digits, 1,000 brackets
        raise PresetError(str(path), [Problem("", str(error), "a TOML file in UTF-8")]) from None
    if not data:
        raise PresetError(str(path), [Problem("", "the file is empty", "a machine, as those in isa/machines")])
    return preset_of(data, str(path))


def preset_of(data: dict[str, Any], path: str = "") -> Preset:
    """The machine of a preset file's contents, as they were read from TOML. Raises PresetError, which names `path`."""
    try:
        file = PresetFile.model_validate(data)
    except ValidationError as error:
        raise PresetError(path, [schema_problem(dict(entry)) for entry in error.errors()]) from None
    if problems := problems_of(file):
        raise PresetError(path, problems)
    regions = (Region(name, table.base.value, table.size.value, frozenset(table.ports.value), REGIONS[name].written is not None,
                      table.page_bytes.value if table.page_bytes else 0) for name, table in file.region.items())
    preset = Preset(file.name, file.clock_hz.value, tuple(sorted(regions, key=lambda region: region.base)), file)
    state = sum(preset.length(array.length) * int(array.dtype[1:]) for name in preset.units for array in UNITS[name].state)
    if state > MOST_STATE:
        raise PresetError(path, [Problem("unit", f"{state:,} bytes inside the units", f"at most {MOST_STATE:,}")])
    return preset


def _figures(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Figures of a preset's file, table by table: {"value": ..., "source": ...} under the names of the tables around it."""
    for name, value in table.items():
        if isinstance(value, dict):
            if {"value", "source"} <= value.keys():
                yield prefix + name, value["value"], value["source"]
            else:
                yield from _figures(value, f"{prefix}{name}.")
