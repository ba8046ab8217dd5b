"""Joules of a run: events times the energy of each, and watts times seconds.

A machine preset gives pJ for each event that spends energy, and the watts of what stands still (isa/timing/figures.py). A run of n
events of a counter takes n times its pJ; the core, a unit or a region takes its watts for as long as the run lasts.

The parts make up the whole exactly, added in any order. Each part is computed as a fraction without error, then rounded to a whole
multiple of one power of two. Of this quantum the total has less than 2**53: so each part is a float as it is, and so is each sum of
some of them. The quantum is less than a part in 2**50 of the total.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from isa.preset import Preset
from isa.timing.figures import owner_of

PICO = Fraction(1, 10 ** 12)

_BITS = 52          # of the total in quanta: one less than a float has, so that rounding the parts up has room


@dataclass(frozen=True)
class Energy:
    """What a run has taken, in joules. All figures add up exactly: by_event to by_unit, and by_unit and static to joules."""

    by_event: dict[str, float]      # by counter, of all that spend energy, zeros too
    static: dict[str, float]        # of the core, units and regions: standing still

    @property
    def by_unit(self) -> dict[str, float]:
        """What the events took, by the core, unit or region that they belong to."""
        units: dict[str, float] = {}
        for name, joules in self.by_event.items():
            units[owner_of(name)] = units.get(owner_of(name), 0.0) + joules
        return units

    @property
    def dynamic_joules(self) -> float:
        return sum(self.by_event.values())

    @property
    def static_joules(self) -> float:
        return sum(self.static.values())

    @property
    def joules(self) -> float:
        return self.dynamic_joules + self.static_joules


def energy_of(counters: Mapping[str, int], preset: Preset, seconds: float | Fraction) -> Energy | None:
    """The energy of a run that has counted this and lasted so long on the machine's own clock. None: the machine has no energies.

    counters: events by name, of all counters of the machine. seconds: 0 or more, finite.
    """
    if preset.energies is None or preset.powers is None:
        return None
    time = Fraction(seconds)
    events = {name: counters[name] * figure * PICO for name, figure in preset.energies.items()}
    standing = {name: watts * time for name, watts in preset.powers.items()}
    quantum = _quantum(sum(events.values(), Fraction()) + sum(standing.values(), Fraction()))
    return Energy({name: float(round(part / quantum) * quantum) for name, part in events.items()},
                  {name: float(round(part / quantum) * quantum) for name, part in standing.items()})


def _quantum(total: Fraction) -> Fraction:
    """The least power of two of which `total` has at most 2**_BITS."""
    power = 0
    if total:
        power = total.numerator.bit_length() - total.denominator.bit_length() + 1 - _BITS      # total < 2**(power + _BITS)
    return Fraction(2) ** power
