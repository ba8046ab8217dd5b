"""What a machine file says: its tables and figures, and the errors in it.

Every figure is a table `{ value = ..., source = "..." }`. Here are the shapes of all tables. What one table says of another is
checked in preset_checks.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import NoneType
from typing import Annotated, Any, Generic, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator

from isa.hints import nearest
from isa.text import printable, shortened
from isa.timing.rates import MOST_CYCLES, MOST_PART, exact, fits

MOST = 1 << 62              # of any figure: an address of a region, and its end, fit the 64 bits of a register
A_TABLE = "a table"         # what is expected where a value stands for one
A_FIGURE = '{ value = ..., source = "..." }'
_MOST_SHOWN = 300           # characters of what stands in the file, in a message


# ------------------------------------------------------------------------------------------------ errors


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a preset: at `key`, found `got`, where `expected` would do. `alone`: no machine can have it,
    whatever else is in its file."""

    key: str
    got: str
    expected: str
    hint: str = ""
    alone: bool = False

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


def unknown_problem(what: str, name: str, key: str, candidates: Iterable[str]) -> Problem:
    known = list(candidates)
    return Problem(key, f"unknown {what} {name!r}", "one of " + ", ".join(known), nearest(name, known))


# ------------------------------------------------------------------------------------------------ what the file says

T = TypeVar("T")
MOST_CHANNELS = 1024        # of a named memory
MOST_STRIPE = 1 << 20       # pages side by side in one die

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


def _figure(value: Any, *, zero: bool) -> int | float:
    """A figure of time or energy, which has to be an exact fraction."""
    least = "0 or more" if zero else "greater than 0"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"a number, {least}")
    try:
        figure = exact(value)
    except ValueError:                      # an infinity, or NaN
        raise ValueError(f"a number, {least}") from None
    if figure < 0 or not (figure or zero):
        raise ValueError(f"a number, {least}")
    if not fits(figure):
        raise ValueError(f"a number of at most 12 digits: as a reduced fraction, of two integers below {MOST_PART}")
    return value


def _rate(value: Any) -> int | float:
    figure = _figure(value, zero=False)
    if exact(figure) * MOST_CYCLES < 1:
        raise ValueError(f"a number of at least 1 / {MOST_CYCLES}: an event takes {MOST_CYCLES} cycles at most")
    return figure


def _amount(value: Any) -> int | float:
    return _figure(value, zero=True)


RateValue = Annotated[int | float, PlainValidator(_rate)]
"""Above 0: of rates and of bandwidth."""

Amount = Annotated[int | float, PlainValidator(_amount)]
"""0 or above: of energy and of power."""

Hertz = Annotated[int, Field(gt=0, lt=MOST_PART)]
Cycles = Annotated[int, Field(gt=0, le=MOST_CYCLES)]


class Sourced(_Table, Generic[T]):
    """A figure and where it comes from."""

    value: T
    source: Source


class CoreTable(_Table):
    """[core]: the rates of the control core."""

    rates: dict[str, Sourced[RateValue]] = {}


class RegionTable(_Table):
    """[region.NAME]: sizes in bytes, times in cycles of the machine's clock. `memory` names one that has its times instead; it has
    so many `channels`, and is so many times as fast as `speed` says. Of flash with processors, so many pages side by side as
    `stripe` says lie in one die."""

    base: Sourced[Number]
    size: Sourced[Count]
    ports: Sourced[list[str]]
    latency_cycles: Sourced[Cycles] | None = None
    bytes_per_cycle: Sourced[RateValue] | None = None
    memory: Sourced[str] | None = None
    channels: Sourced[Annotated[int, Field(gt=0, le=MOST_CHANNELS)]] | None = None
    mapping: Sourced[str] | None = None
    stripe: Sourced[Annotated[int, Field(gt=0, le=MOST_STRIPE)]] | None = None
    speed: Sourced[RateValue] | None = None
    page_bytes: Sourced[Count] | None = None


def _parameter(value: Any) -> int | str:
    if isinstance(value, bool) or not (isinstance(value, str) or (isinstance(value, int) and 0 <= value < MOST)):
        raise ValueError(f"an integer from 0 on, less than {MOST}, or a text where the unit declares one")
    return value


class UnitTable(_Table):
    """[unit.NAME]: `source` says why the machine has this unit; `parameters` and `rates` are those that the unit declares."""

    source: Source
    parameters: dict[str, Sourced[Annotated[int | str, PlainValidator(_parameter)]]] = {}
    rates: dict[str, Sourced[RateValue]] = {}


def _quoted(table: Any) -> Any:
    """Names with a point in them need quotes: without them TOML takes each part for a table."""
    for name, figure in table.items() if isinstance(table, dict) else ():
        if isinstance(figure, dict) and figure and all(isinstance(inner, dict) for inner in figure.values()):
            raise ValueError(f'the name in quotes: "{name}.{next(iter(figure))}" = {{ value = ..., source = "..." }}')
    return table


class PresetFile(_Table):
    """The whole file."""

    name: str
    title: str
    description: str
    clock_hz: Sourced[Hertz]
    core: CoreTable = CoreTable()
    region: dict[str, RegionTable]
    unit: dict[str, UnitTable] = {}
    energy: Annotated[dict[str, Sourced[Amount]], BeforeValidator(_quoted)] = {}
    power: dict[str, Sourced[Amount]] = {}
    facts: dict[str, Sourced[Number | Annotated[float, Field(allow_inf_nan=False)] | str]] = {}

    @property
    def rates(self) -> dict[str, Sourced[RateValue]]:
        """The rates of the core and of the units: "core.division_cycles", "lut.steps_per_cycle"."""
        tables = {"core": self.core.rates} | {name: table.rates for name, table in self.unit.items()}
        return {f"{owner}.{key}": figure for owner, rates in tables.items() for key, figure in rates.items()}


# ------------------------------------------------------------------------------------------------ what is wrong with a table


def schema_problem(entry: Mapping[str, Any]) -> Problem:
    """What pydantic found in a preset file: the key, what is there, what is expected there."""
    *above, last = entry["loc"]
    key = ".".join(str(part) for part in entry["loc"])
    if entry["type"] == "extra_forbidden":
        return unknown_problem("key", str(last), key, _table_at(above).model_fields)
    problem = replace(problem_of(entry), alone=True)
    if entry["type"] == "missing":
        kind = _table_at(above).model_fields[str(last)].annotation
        figure = isinstance(kind, type) and issubclass(kind, Sourced)
        return replace(problem, expected=f"{last} = {A_FIGURE}") if figure else problem
    if problem.expected == A_TABLE and issubclass(_table_at(entry["loc"]), Sourced):
        return replace(problem, expected=A_FIGURE)
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
