"""Which figures of time and energy a machine file gives: those that its core, its units and its regions declare.

A machine without any rates is not modelled in time, one without any energies not in energy. One that has some must have all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from isa.counters import COUNTERS
from isa.regions import MMIO
from isa.timing.rates import CORE_RATES, Rate
from isa.unit import Counter
from isa.units import UNITS

CORE = "core"


def rates_of(units: Iterable[str]) -> dict[str, Rate]:
    """The rates of the core and of these units, by name."""
    return {rate.name: rate for rates in (CORE_RATES, *(UNITS[unit].rates for unit in units)) for rate in rates}


def owner_of(counter: str) -> str:
    """What a counter belongs to: "core", a unit or a region."""
    return counter.partition(".")[0]


def spending_of(units: Collection[str], regions: Collection[str]) -> dict[str, Counter]:
    """The counters on whose events a machine with these units and regions spends energy, by name."""
    return {name: counter for name, counter in COUNTERS.items()
            if counter.spends and owner_of(name) in (CORE, *units, *regions)}


def standing_of(units: Iterable[str], regions: Iterable[str]) -> tuple[str, ...]:
    """What spends power all the time: the core, the units that have a queue, and the regions but for the device registers."""
    return CORE, *(unit for unit in units if UNITS[unit].queue), *(region for region in regions if region != MMIO)
