"""Machine presets: which regions, units and sizes a Slim machine has, and where every figure comes from.

A preset is a TOML file in isa/machines (or anywhere: `load_preset("my.toml")`). Every figure in it is a table
`{ value = ..., source = "..." }`; the source is a citation, or "assumed: " and the reason. Unknown keys, missing sources,
unknown units and overlapping regions are refused. What an instruction means on a machine is not here.

    name = "tiny"                                     [region.sram]
    title = "..."                                     base  = { value = 0x1000_0000, source = "assumed: ..." }
    description = "..."                               size  = { value = 65536, source = "..." }
    clock_hz = { value = ..., source = "..." }        ports = { value = ["core", "lut"], source = "..." }
                                                      latency_cycles, bytes_per_cycle; page_bytes for flash
    [unit.lut]
    source = "..."                                    [facts]       # published figures that nothing executes
    parameters.activations = { value = ..., ... }     die_area_mm2 = { value = 20.25, source = "..." }

The pim unit's parameters are its banks and their mapping (isa/units/pim/banks.py): they have to make up the hbm region exactly.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import pairwise
from math import prod
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Generic, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, ValidationError

from isa.files import text_of
from isa.hints import nearest
from isa.regions import DEVICE_BYTES, DRAM, FLASH, HBM, MMIO, REGIONS, Region
from isa.text import printable, shortened
from isa.units import UNITS
from isa.units.pim.banks import COLUMN_BYTES, MappingError, Organisation

CORE_UNITS = ("rv64i", "rv64m", "zicsr")
"""Units that every machine has: the control core. Their memory accesses go through the port "core"."""

BASE_ALIGNMENT = 4096
"""Region bases are multiples of this, so that program segments can be mapped. Flash: also of its own page size."""

MOST = 1 << 62              # of any figure: an address of a region, and its end, fit the 64 bits of a register
MOST_STATE = 1 << 28        # bytes inside all units
A_TABLE = "a table"         # what is expected where a value stands for one
_MOST_SHOWN = 300           # characters of what stands in the file, in a message

PRESETS = Path(__file__).parent / "machines"


# ------------------------------------------------------------------------------------------------ errors


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a preset: at `key`, found `got`, where `expected` would do."""

    key: str
    got: str
    expected: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{_shown(self.key)}: " if self.key else ""
        return f"{place}{_shown(self.got)}; expected {self.expected}" + (f"\nhint: {self.hint}" if self.hint else "")


def _shown(text: str) -> str:
    return shortened(printable(text), _MOST_SHOWN)


class PresetError(Exception):
    """A machine that cannot be used. `problems` lists everything that is wrong in the preset `path` ("" for a bad name)."""

    def __init__(self, path: str, problems: Iterable[Problem]) -> None:
        self.path, self.problems = path, tuple(problems)
        place = f"{path}: " if path else ""
        super().__init__("\n".join(f"{place}error: {problem}" for problem in self.problems))


def _unknown(what: str, name: str, key: str, candidates: Iterable[str]) -> Problem:
    known = list(candidates)
    return Problem(key, f"unknown {what} {name!r}", "one of " + ", ".join(known), nearest(name, known))


# ------------------------------------------------------------------------------------------------ what the file says

T = TypeVar("T")
Number = Annotated[int, Field(gt=-MOST, lt=MOST)]
Count = Annotated[int, Field(gt=0, lt=MOST)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _citation(source: str) -> str:
    assumed = source.startswith("assumed")
    if not source.removeprefix("assumed").strip(" :") or (assumed and not source.startswith("assumed: ")):
        raise ValueError('a citation, or "assumed: " and the reason')
    return source


Source = Annotated[str, AfterValidator(_citation)]


class Sourced(_Table, Generic[T]):
    """A figure and where it comes from."""

    value: T
    source: Source


class RegionTable(_Table):
    """[region.NAME]: sizes in bytes, cost of an access in cycles of the machine's clock."""

    base: Sourced[Number]
    size: Sourced[Count]
    ports: Sourced[list[str]]
    latency_cycles: Sourced[Count]
    bytes_per_cycle: Sourced[Annotated[float, Field(gt=0, allow_inf_nan=False)]]
    page_bytes: Sourced[Count] | None = None


def _parameter(value: Any) -> int | str:
    if isinstance(value, bool) or not (isinstance(value, str) or (isinstance(value, int) and 0 < value < MOST)):
        raise ValueError(f"an integer greater than 0 and less than {MOST}, or a text where the unit declares one")
    return value


class UnitTable(_Table):
    """[unit.NAME]: `source` says why the machine has this unit; `parameters` are those that the unit declares."""

    source: Source
    parameters: dict[str, Sourced[Annotated[int | str, PlainValidator(_parameter)]]] = {}


class PresetFile(_Table):
    """The whole file."""

    name: str
    title: str
    description: str
    clock_hz: Sourced[Count]
    region: dict[str, RegionTable]
    unit: dict[str, UnitTable] = {}
    facts: dict[str, Sourced[Number | Annotated[float, Field(allow_inf_nan=False)] | str]] = {}


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
        raise PresetError("", [_unknown("region", name, f"machine {self.name}", [region.name for region in self.regions])])

    def __reduce__(self) -> tuple[Any, ...]:
        return preset_of, (self.file.model_dump(mode="json"),)

    @property
    def units(self) -> tuple[str, ...]:
        """The control core's units, then the preset's, in the ISA's order."""
        return tuple(name for name in UNITS if self.has_unit(name))

    def has_unit(self, name: str) -> bool:
        return name in CORE_UNITS or name in self.file.unit

    def parameter(self, name: str) -> int:
        """The number "unit.parameter". Raises PresetError when the machine lacks the unit or the unit the parameter."""
        if name not in self.parameters:
            raise PresetError("", [_unknown("parameter", name, f"machine {self.name}", self.parameters)])
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
        return _organisation(self.file) if "pim" in self.file.unit else None

    @property
    def page_bytes(self) -> int:
        """Bytes of a flash page, 0 on a machine without flash."""
        return max(region.page_bytes for region in self.regions)


def preset_names() -> tuple[str, ...]:
    """The shipped presets, by name."""
    return tuple(sorted(path.stem for path in PRESETS.glob("*.toml")))


def load_preset(name_or_path: str | Path) -> Preset:
    """The machine of a shipped preset (by name) or of a preset file (a path that ends in .toml).

    Raises PresetError for an unknown name or a preset that is wrong, naming file, key, what is there and what may be;
    OSError when the file cannot be read.
    """
    text = str(name_or_path)
    if text.endswith(".toml"):
        return _read(Path(text))
    if text not in preset_names():
        names = ", ".join(preset_names())
        raise PresetError("", [Problem("", f"no machine preset {text!r}", f"one of {names}, or a path ending in .toml",
                                        nearest(text, preset_names()))])
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
        raise PresetError(path, [_schema_problem(dict(entry)) for entry in error.errors()]) from None
    problems = [*_unit_problems(file), *_region_problems(file)]
    problems += () if problems else _bank_problems(file)
    if problems:
        raise PresetError(path, problems)
    regions = (Region(name, table.base.value, table.size.value, frozenset(table.ports.value), REGIONS[name].written is not None,
                      table.page_bytes.value if table.page_bytes else 0) for name, table in file.region.items())
    preset = Preset(file.name, file.clock_hz.value, tuple(sorted(regions, key=lambda region: region.base)), file)
    state = sum(preset.length(array.length) * int(array.dtype[1:]) for name in preset.units for array in UNITS[name].state)
    if state > MOST_STATE:
        raise PresetError(path, [Problem("unit", f"{state:,} bytes inside the units", f"at most {MOST_STATE:,}")])
    return preset


# ------------------------------------------------------------------------------------------------ checks


def _schema_problem(entry: dict[str, Any]) -> Problem:
    """What pydantic found in a preset file: the key, what is there, what is expected there."""
    *above, last = entry["loc"]
    key = ".".join(str(part) for part in entry["loc"])
    if entry["type"] == "extra_forbidden":
        return _unknown("key", str(last), key, _table_at(above).model_fields)
    problem = problem_of(entry)
    if problem.expected == A_TABLE and issubclass(_table_at(entry["loc"]), Sourced):
        return replace(problem, expected='{ value = ..., source = "..." }')
    return problem


def problem_of(entry: Mapping[str, Any]) -> Problem:
    """An entry of pydantic's `ValidationError.errors()` in our words, of any schema."""
    key = ".".join(str(part) for part in entry["loc"])
    if entry["type"] == "missing":
        return Problem(key, "missing", f"{entry['loc'][-1]} = ...")
    got = f"got {_value(entry['input'])}"
    if entry["type"] in ("model_type", "model_attributes_type"):
        return Problem(key, got, A_TABLE)
    expected = re.sub(r"^Value error, |^\w+ should (be|have) |, unable to parse .*| after validation, .*", "", entry["msg"])
    return Problem(key, got, expected)


def _value(value: Any) -> str:
    try:
        return repr(value)
    except ValueError:                      # Python refuses to write out thousands of digits
        return "a number of thousands of digits"


def _table_at(location: Iterable[Any]) -> type[_Table]:
    """The schema class of the table at a key path."""
    kind: Any = PresetFile
    for part in location:
        kind = kind.model_fields[part].annotation if hasattr(kind, "model_fields") else get_args(kind)[1]
        if NoneType in get_args(kind):
            kind = get_args(kind)[0]
    table: type[_Table] = kind
    return table


def _unit_problems(preset: PresetFile) -> Iterator[Problem]:
    """Units that the ISA does not have, parameters that they do not declare or that are missing."""
    for name, table in preset.unit.items():
        if name not in UNITS or name in CORE_UNITS:
            yield _unknown("unit", name, f"unit.{name}", [unit for unit in UNITS if unit not in CORE_UNITS])
            continue
        declared = {parameter.name.removeprefix(f"{name}."): parameter for parameter in UNITS[name].parameters}
        for key in table.parameters.keys() - declared.keys():
            yield _unknown("parameter", key, f"unit.{name}.parameters", declared)
        for key in declared.keys() - table.parameters.keys():
            yield Problem(f"unit.{name}.parameters.{key}", "missing", declared[key].text)
        for key in declared.keys() & table.parameters.keys():
            value, kind = table.parameters[key].value, declared[key].type
            if not isinstance(value, kind):
                yield Problem(f"unit.{name}.parameters.{key}.value", f"got {value!r}",
                              ("an integer: " if kind is int else "a text: ") + declared[key].text)


def _region_problems(preset: PresetFile) -> Iterator[Problem]:
    """Region names, alignment, overlap, ports; page_bytes for flash and for nothing else."""
    ports = ["core", *preset.unit]
    for name, table in preset.region.items():
        key = f"region.{name}"
        if name not in REGIONS:
            yield _unknown("region", name, key, REGIONS)
            continue
        if (name == FLASH) != (table.page_bytes is not None):
            yield Problem(f"{key}.page_bytes", "missing" if name == FLASH else "present", "it for flash, and only there")
        page = max(BASE_ALIGNMENT, table.page_bytes.value if table.page_bytes else 1)
        if table.base.value < 0 or table.base.value % page:
            yield Problem(f"{key}.base.value", f"got {table.base.value:#x}", f"a multiple of {page}, not negative")
        if name == MMIO and table.size.value < DEVICE_BYTES:
            yield Problem(f"{key}.size.value", f"got {table.size.value}", f"{DEVICE_BYTES} or more: tohost, fromhost, console")
        for port in table.ports.value:
            if port not in ports:
                yield _unknown("unit", port, f"{key}.ports.value", ports)
        if "core" not in table.ports.value:
            yield Problem(f"{key}.ports.value", f"got {table.ports.value!r}", '"core" among them: it places and prints data')
    for name in (DRAM, MMIO):
        if name not in preset.region:
            yield Problem(f"region.{name}", "missing", f"a region for {REGIONS[name].needed}")
    spans = sorted((table.base.value, table.base.value + table.size.value, name) for name, table in preset.region.items())
    for (_, end, first), (base, _, second) in pairwise(spans):
        if base < end:
            yield Problem(f"region.{second}.base.value", f"got {base:#x}, inside {first}", f"{end:#x} or above")


def _organisation(preset: PresetFile) -> Organisation:
    """The banks of a machine with a pim unit. Raises MappingError."""
    values: dict[str, Any] = {key: figure.value for key, figure in preset.unit["pim"].parameters.items()}
    return Organisation(**values, base=preset.region[HBM].base.value)


def _bank_problems(preset: PresetFile) -> Iterator[Problem]:
    """The banks of the pim unit are the hbm region: as many bytes, each at one address."""
    if "pim" not in preset.unit:
        return
    if HBM not in preset.region or "pim" not in preset.region[HBM].ports.value:
        yield Problem("region.hbm", 'without a port for "pim"' if HBM in preset.region else "missing",
                      'a region whose ports have "pim" in them: the banks of that unit')
        return
    try:
        banks = _organisation(preset)
    except MappingError as error:
        yield Problem("unit.pim.parameters", f"got {error.got}", error.expected)
        return
    size = preset.region[HBM].size.value
    if size != banks.size:
        product = " * ".join(f"{count} {name}s" for name, count in banks.sizes.items())
        yield Problem("region.hbm.size.value", f"got {size:_}", f"{banks.size:_}: unit.pim has {product} of {COLUMN_BYTES} bytes")
