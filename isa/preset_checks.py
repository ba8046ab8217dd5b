"""What one table of a machine file says of another: units and their figures, regions, banks, and what time and energy need."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from math import ceil
from typing import Any

from isa.preset_file import A_FIGURE, PresetFile, Problem, RegionTable, Sourced, unknown_problem
from isa.regions import DEVICE_BYTES, DRAM, FLASH, HBM, MMIO, REGIONS
from isa.sparse.nm import LARGEST
from isa.timing.figures import CORE, owner_of, rates_of, spending_of, standing_of
from isa.timing.memories import FIELDS, MEMORIES, Dram, Nand, memories_of
from isa.timing.rates import CORE_RATES, MOST_CYCLES, MOST_PART, PICOSECONDS, Rate, exact, fits
from isa.units import UNITS
from isa.units.cim.patterns import patterns
from isa.units.pim.banks import COLUMN_BYTES, MappingError, Organisation

CORE_UNITS = ("rv64i", "rv64m", "zicsr")
"""Units that every machine has: the control core. Their memory accesses go through the port "core"."""

MOST_CELLS = 1 << 32
"""Cells of all macros of a cim unit."""

BASE_ALIGNMENT = 4096
"""Region bases are multiples of this, so that program segments can be mapped. Flash: also of its own page size."""


def problems_of(file: PresetFile) -> list[Problem]:
    """Everything that is wrong with a file whose tables have the right shape. What rests on these tables is checked behind them."""
    problems = [*unit_problems(file), *region_problems(file)]
    return problems or [*bank_problems(file), *macro_problems(file), *time_problems(file), *energy_problems(file)]


def unit_problems(file: PresetFile) -> Iterator[Problem]:
    """Units that the ISA does not have, parameters that they do not declare or that are missing."""
    for name, table in file.unit.items():
        if name not in UNITS or name in CORE_UNITS:
            yield unknown_problem("unit", name, f"unit.{name}", [unit for unit in UNITS if unit not in CORE_UNITS])
            continue
        declared = {parameter.name.removeprefix(f"{name}."): parameter for parameter in UNITS[name].parameters}
        for key in table.parameters.keys() - declared.keys():
            yield unknown_problem("parameter", key, f"unit.{name}.parameters", declared)
        for key in declared.keys() - table.parameters.keys():
            yield Problem(f"unit.{name}.parameters.{key}", "missing", declared[key].text)
        for key in declared.keys() & table.parameters.keys():
            value, kind = table.parameters[key].value, declared[key].type
            if not isinstance(value, kind):
                yield Problem(f"unit.{name}.parameters.{key}.value", f"got {value!r}",
                              ("an integer: " if kind is int else "a text: ") + declared[key].text, alone=True)
            elif isinstance(value, int) and value < declared[key].least:
                yield Problem(f"unit.{name}.parameters.{key}.value", f"got {value}",
                              f"an integer from {declared[key].least} on: {declared[key].text}", alone=True)
        yield from _rate_problems(name, f"unit.{name}", table.rates, UNITS[name].rates)
    yield from _rate_problems(CORE, CORE, file.core.rates, CORE_RATES)


def _rate_problems(owner: str, key: str, given: Mapping[str, Sourced[Any]], rates: Iterable[Rate]) -> Iterator[Problem]:
    """Rates that the core or a unit does not declare, and integers that are none or too large."""
    declared = {rate.name.removeprefix(f"{owner}."): rate for rate in rates}
    for name, figure in given.items():
        if name not in declared:
            yield unknown_problem("rate", name, f"{key}.rates", declared)
        elif declared[name].whole and not (isinstance(figure.value, int) and figure.value <= declared[name].most):
            yield Problem(f"{key}.rates.{name}.value", f"got {figure.value!r}",
                          f"an integer from 1 to {declared[name].most}: {declared[name].text}", alone=True)
        elif declared[name].unit == "cycles" and figure.value > MOST_CYCLES:
            yield Problem(f"{key}.rates.{name}.value", f"got {figure.value!r}", f"at most {MOST_CYCLES}: {declared[name].text}",
                          alone=True)


def region_problems(file: PresetFile) -> Iterator[Problem]:
    """Region names, alignment, overlap, ports; page_bytes for flash and for nothing else."""
    ports = ["core", *file.unit]
    for name, table in file.region.items():
        key = f"region.{name}"
        if name not in REGIONS:
            yield unknown_problem("region", name, key, REGIONS)
            continue
        if (name == FLASH) != (table.page_bytes is not None):
            yield Problem(f"{key}.page_bytes", "missing" if name == FLASH else "present", "it for flash, and only there")
        page = max(BASE_ALIGNMENT, table.page_bytes.value if table.page_bytes else 1)
        if table.base.value < 0 or table.base.value % page:
            yield Problem(f"{key}.base.value", f"got {table.base.value:#x}", f"a multiple of {page}, not negative",
                          alone=table.base.value < 0 or bool(table.base.value % BASE_ALIGNMENT))
        if name == MMIO and table.size.value < DEVICE_BYTES:
            yield Problem(f"{key}.size.value", f"got {table.size.value}", f"{DEVICE_BYTES} or more: tohost, fromhost, console")
        for port in table.ports.value:
            if port not in ports:
                yield unknown_problem("unit", port, f"{key}.ports.value", ports)
        if "core" not in table.ports.value:
            yield Problem(f"{key}.ports.value", f"got {table.ports.value!r}", '"core" among them: it places and prints data')
        yield from _access_problems(name, table, file.clock_hz.value)
    for name in (DRAM, MMIO):
        if name not in file.region:
            yield Problem(f"region.{name}", "missing", f"a region for {REGIONS[name].needed}")
    spans = sorted((table.base.value, table.base.value + table.size.value, name) for name, table in file.region.items())
    for (_, end, first), (base, _, second) in pairwise(spans):
        if base < end:
            yield Problem(f"region.{second}.base.value", f"got {base:#x}, inside {first}", f"{end:#x} or above")


def _access_problems(name: str, table: RegionTable, clock_hz: int) -> Iterator[Problem]:
    """A region has either a latency and a bandwidth, or the name of a memory that fits it."""
    key, memory = f"region.{name}", table.memory.value if table.memory else ""
    if not table.memory:
        for part, figure in (("latency_cycles", table.latency_cycles), ("bytes_per_cycle", table.bytes_per_cycle)):
            if figure is None:
                yield Problem(f"{key}.{part}", "missing", f"{part} = {A_FIGURE}" + (
                    f", or memory = ... with one of {', '.join(memories_of(name))}" if memories_of(name) else ""))
        for part, given in (("channels", table.channels), ("mapping", table.mapping), ("stripe", table.stripe),
                            ("speed", table.speed)):
            if given:
                yield Problem(f"{key}.{part}", "present", "it beside the name of a memory, and only there")
    elif memory not in memories_of(name):
        known = memories_of(name)
        yield replace(unknown_problem("memory", memory, f"{key}.memory.value", known), alone=True) if known else Problem(
            f"{key}.memory", "present", "it for dram, hbm and flash, and only there")
    else:
        for part, figure in (("latency_cycles", table.latency_cycles), ("bytes_per_cycle", table.bytes_per_cycle)):
            if figure is not None:
                yield Problem(f"{key}.{part}", "present", f"no such figure: {key}.memory gives the times of the region")
        record = MEMORIES[memory]
        if not isinstance(record, Dram):
            if table.mapping:
                yield Problem(f"{key}.mapping", "present", f"no mapping: {memory} has none")
        elif table.mapping and sorted(table.mapping.value.split()) != sorted(FIELDS):
            yield Problem(f"{key}.mapping.value", f"got {table.mapping.value!r}",
                          f"each of {', '.join(FIELDS)} once, from the top of an address down, as {record.mapping!r}")
        if table.stripe and not (isinstance(record, Nand) and record.processed_per_second):
            yield Problem(f"{key}.stripe", "present", f"no stripe: {memory} has no processors")
        if isinstance(record, Nand) and table.page_bytes and table.page_bytes.value != record.page_bytes:
            yield Problem(f"{key}.page_bytes.value", f"got {table.page_bytes.value}", f"{record.page_bytes}, the page of {memory}")
        if table.speed:
            record = record.faster(exact(table.speed.value))
            times = record.tick_ps, record.byte_ps(), record.latency_ps()
            tick, byte, latency = (time * clock_hz / PICOSECONDS for time in times)
            if not (fits(tick) and fits(byte) and latency < MOST_PART):
                yield Problem(f"{key}.speed.value", f"got {table.speed.value!r}",
                              f"a number of fewer digits: times of {memory} in cycles of the machine have to be fractions of two "
                              f"integers below {MOST_PART}")
                return
        slowest = ceil(max(record.latency_ps(), record.byte_ps()) * clock_hz / PICOSECONDS)
        if slowest > MOST_CYCLES:
            yield Problem(f"{key}.{'speed' if table.speed else 'memory'}.value",
                          f"got {memory}, of which an access takes {slowest} cycles of the machine",
                          f"at most {MOST_CYCLES}: a lower clock_hz, or a higher speed")


def organisation(file: PresetFile) -> Organisation:
    """The banks of a machine with a pim unit. Raises MappingError."""
    values: dict[str, Any] = {key: figure.value for key, figure in file.unit["pim"].parameters.items()}
    return Organisation(**values, base=file.region[HBM].base.value)


def bank_problems(file: PresetFile) -> Iterator[Problem]:
    """The banks of the pim unit are the hbm region: as many bytes, each at one address."""
    if "pim" not in file.unit:
        return
    if HBM not in file.region or "pim" not in file.region[HBM].ports.value:
        yield Problem("region.hbm", 'without a port for "pim"' if HBM in file.region else "missing",
                      'a region whose ports have "pim" in them: the banks of that unit')
        return
    try:
        banks = organisation(file)
    except MappingError as error:
        yield Problem("unit.pim.parameters", f"got {error.got}", error.expected)
        return
    size = file.region[HBM].size.value
    if size != banks.size:
        product = " * ".join(f"{count} {name}s" for name, count in banks.sizes.items())
        yield Problem("region.hbm.size.value", f"got {size:_}", f"{banks.size:_}: unit.pim has {product} of {COLUMN_BYTES} bytes")


def macro_problems(file: PresetFile) -> Iterator[Problem]:
    """The macros of the cim unit: their sizes, and the N of M that their cells hold."""
    if "cim" not in file.unit:
        return
    key = "unit.cim.parameters"
    values: dict[str, Any] = {name: figure.value for name, figure in file.unit["cim"].parameters.items()}
    if values["rows"] < LARGEST:
        yield Problem(f"{key}.rows.value", f"got {values['rows']}", f"{LARGEST} or more: a group has up to {LARGEST} values")
    if values["rows"] > MOST_CELLS or values["macros"] * values["rows"] * values["columns"] > MOST_CELLS:
        yield Problem(f"{key}.macros.value", f"{values['macros']} macros of {values['columns']} columns of {values['rows']} cells",
                      f"at most {MOST_CELLS} cells")
    if values["rows"] % values["sub_macros"]:
        yield Problem(f"{key}.sub_macros.value", f"got {values['sub_macros']}",
                      f"a number that divides the {values['rows']} cells of a column")
    try:
        patterns(values["patterns"])
    except ValueError as error:
        yield Problem(f"{key}.patterns.value", f"got {str(error)!r}",
                      f"N:M with 1 <= N < M <= {LARGEST}, separated by spaces, as `2:4 4:8`; or `any`, or `none`", alone=True)


# ------------------------------------------------------------------------------------------------ time and energy

def time_problems(file: PresetFile) -> Iterator[Problem]:
    """With any rate, all of them: those of the core and of every unit."""
    keys = {name: f"{owner}.rates.{key}" if owner == CORE else f"unit.{owner}.rates.{key}"
            for name in rates_of(file.unit) for owner, _, key in [name.partition(".")]}
    if file.rates:
        yield from _missing("rates", file.rates, keys)


def energy_problems(file: PresetFile) -> Iterator[Problem]:
    """With any energy or power, all of them, and rates: what stands still spends power for a time."""
    if not (file.energy or file.power):
        return
    everywhere, here = (UNITS, REGIONS), (file.unit, file.region)
    for table, given, what, declared, known in (
            ("energy", file.energy, "counter that spends energy", spending_of(*here), spending_of(*everywhere)),
            ("power", file.power, "part that stands", standing_of(*here), standing_of(*everywhere))):
        for name in given:
            if name in known and name not in declared:
                yield Problem(f"{table}.{name}", "present", f"no such figure: this machine has no {owner_of(name)}")
            elif name not in declared:
                yield unknown_problem(what, name, table, declared)
        yield from _missing(table, given, {name: f'"{name}"' for name in declared})
    if not file.rates:
        yield Problem("energy" if file.energy else "power", "present without rates",
                      "rates of the core and of every unit too: standing still takes power for as long as a run lasts")


def _missing(what: str, given: Collection[str], keys: Mapping[str, str]) -> Iterator[Problem]:
    """One problem for all figures that a file lacks, of which it has some. keys: how each is written there, by name."""
    if missing := [key for name, key in keys.items() if name not in given]:
        yield Problem(what, f"{len(missing)} of {len(keys)} figures are missing", f"also {', '.join(missing)}; or none at all")
