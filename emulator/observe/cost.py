"""What a run has cost on the machine: time and energy, as text and as JSON.

None of these figures is the host's. docs/json.md describes the JSON.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from isa.energy import Energy, energy_of
from isa.preset import Preset
from isa.reference import ReferenceMachine
from isa.regions import REGIONS
from isa.timing.clock import Clock, Time

_PREFIXES = ((1, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n"), (1e-12, "p"))
_LEAST_SHARE = 0.0005               # of the whole: less is 0.0 %


@dataclass(frozen=True)
class Other:
    """What the same run would take at other rates. The energy is None where a region would be another memory: the machine says
    nothing of that one's. Else each event takes what it takes, and standing still as long as the run then lasts."""

    time: Time
    energy: Energy | None


@dataclass(frozen=True)
class Cost:
    """The time and the energy of a run. None: the machine's preset says nothing of it, or no clock was kept."""

    preset: Preset
    time: Time | None
    energy: Energy | None
    what_if: dict[str, Other]           # of further clocks, by what is changed

    @classmethod
    def of(cls, machine: ReferenceMachine, clocks: Iterable[tuple[str, Clock]] = ()) -> Cost:
        """What a machine has taken so far. `clocks`: those of other rates that it kept, by what is changed."""
        time = machine.time
        counters, preset, others = machine.counters, machine.preset, {}
        for text, clock in clocks:
            other = clock.time(machine.counts)
            same = _memories(clock.preset) == _memories(preset)
            others[text] = Other(other, energy_in(other, counters, preset) if same else None)
        return cls(preset, time, None if time is None else energy_in(time, counters, preset), others)

    def lines(self) -> Iterator[str]:
        """For a person."""
        time, energy = self.time, self.energy
        if time is None:
            yield f"time and energy: {without_clock(self.preset)}"
            return
        yield (f"time on {self.preset.name}: {time.cycles:,} cycles at {quantity(time.clock_hz, 'Hz')} = "
               f"{quantity(time.seconds, 's')}")
        yield from self._tokens(time)
        yield f"  bottleneck: {bottleneck(time)}"
        yield from _table(time)
        if time.attention and any(time.attention.values()):
            yield (f"  attention in hbm: {time.attention['rows_opened']:,} rows opened, {time.attention['columns_read']:,} columns "
                   "read, of each bank by itself")
        for text, other in self.what_if.items():
            yield f"  what if {text}: {self._compared(other, time)}; bottleneck: {bottleneck(other.time)}"
        if energy is None:
            yield f"energy: not modelled, machine {self.preset.name} gives no energies"
            return
        yield (f"energy on {self.preset.name}: {quantity(energy.joules, 'J')}: events {quantity(energy.dynamic_joules, 'J')}, "
               f"standing still {quantity(energy.static_joules, 'J')}")
        yield f"  events: {_shares(energy.by_unit, energy.dynamic_joules)}"
        yield f"  standing still: {_shares(energy.static, energy.static_joules)}"
        yield f"  {_belief(self.preset)}; slimulator machines {self.preset.name} shows each"

    def _compared(self, other: Other, time: Time) -> str:
        text = f"{quantity(other.time.seconds, 's')}, {other.time.cycles / max(1, time.cycles):.3f} of the time"
        if other.energy is not None and self.energy is not None and self.energy.joules:
            text += f"; {quantity(other.energy.joules, 'J')}, {other.energy.joules / self.energy.joules:.3f} of the energy"
            if time.tokens:
                text += f", {quantity(other.energy.joules / time.tokens, 'J')} a token"
        return text

    def _tokens(self, time: Time) -> Iterator[str]:
        if not time.tokens or time.first_token is None:
            return
        text = f"  tokens: {time.tokens:,}, the first after {quantity(time.first_token / time.clock_hz, 's')}"
        if (rate := time.tokens_per_second) is not None:
            text += f", then {quantity(1 / rate, 's')} each: {rate:,.{_digits(rate)}f} tokens/s"
        if self.energy is not None:
            text += f"; {quantity(self.energy.joules / time.tokens, 'J')} a token"
        yield text

    def as_json(self) -> dict[str, Any]:
        """The keys "time", "energy" and "what_if"; None for what is not modelled."""
        time, energy = self.time, self.energy
        rate = None if time is None else time.tokens_per_second
        return {
            "time": None if time is None else {
                "seconds": time.seconds, "cycles": time.cycles, "clock_hz": time.clock_hz, "tokens": time.tokens,
                "tokens_per_second": rate, "seconds_per_token": None if rate is None else 1 / rate,
                "time_to_first_token": None if time.first_token is None else time.first_token / time.clock_hz,
                "queues": {name: {"busy": queue.busy, "waiting": queue.waiting, "idle": queue.idle}
                           for name, queue in time.queues.items()},
                "regions": time.regions, "critical_path": time.critical_path, "bottleneck": bottleneck(time),
                **({"attention": time.attention} if time.attention else {})},
            "energy": None if energy is None or time is None else {
                **_joules(energy, time),
                "by_unit": energy.by_unit, "by_event": energy.by_event, "static_joules": energy.static_joules,
                "static": energy.static},
            "what_if": {text: {"seconds": other.time.seconds, "cycles": other.time.cycles,
                               "critical_path": other.time.critical_path, **_joules(other.energy, other.time)}
                        for text, other in self.what_if.items()}}


def energy_in(time: Time, counters: Mapping[str, int], preset: Preset) -> Energy | None:
    """The energy of a run that has counted this and lasted so long."""
    return energy_of(counters, preset, Fraction(time.cycles, time.clock_hz))


def _memories(preset: Preset) -> dict[str, str | None]:
    """The names of the memories of regions."""
    return {name: table.memory.value if table.memory else None for name, table in preset.file.region.items()}


def _joules(energy: Energy | None, time: Time) -> dict[str, float | None]:
    """In all and of a token; None for what is not known."""
    return {"joules": None if energy is None else energy.joules,
            "joules_per_token": None if energy is None or not time.tokens else energy.joules / time.tokens}


def without_clock(preset: Preset) -> str:
    """Why nothing is known of the time of a run, in words."""
    return "not known, no clock was kept" if preset.rates else f"not modelled, machine {preset.name} gives no rates"


def bottleneck(time: Time) -> str:
    """What the critical path mostly consists of, in words."""
    if not time.critical_path:
        return "nothing took time"
    name, cycles = max(time.critical_path.items(), key=lambda item: item[1])
    what = "the core, which executes instructions" if name == "core" else f"the {name} {'memory' if name in REGIONS else 'unit'}"
    rest = _shares({other: part for other, part in time.critical_path.items() if other != name}, time.cycles, "")
    return f"{what}: {_share(cycles, time.cycles)} of the time" + (f"; then {rest}" if rest else "")


def _belief(preset: Preset) -> str:
    """How many of the figures of time and energy are assumed, in words."""
    file = preset.file
    keys = ("latency_cycles", "bytes_per_cycle", "memory", "channels", "mapping", "speed")
    regions = [getattr(table, key) for table in file.region.values() for key in keys]
    figures = [file.clock_hz, *file.rates.values(), *filter(None, regions), *file.energy.values(), *file.power.values()]
    assumed = sum(figure.source.startswith("assumed") for figure in figures)
    return f"{assumed} of the {len(figures)} figures behind this are assumed"


def _table(time: Time) -> Iterator[str]:
    used = {name: queue for name, queue in time.queues.items() if queue.busy or queue.waiting}
    waits = {name: _shares(queue.waiting, time.cycles, "") for name, queue in used.items()}
    name_width, wait_width = max(map(len, [*used, "core"])), max(map(len, ["waits for", *waits.values()]))
    yield f"  {''.ljust(name_width)}  {'busy':>7}  {'waits for'.ljust(wait_width)}  {'idle':>7}"
    for name, queue in used.items():
        yield (f"  {name.ljust(name_width)}  {_share(queue.busy, time.cycles):>7}  {waits[name].ljust(wait_width)}  "
               f"{_share(queue.idle, time.cycles):>7}")
    moving = {name: cycles for name, cycles in time.regions.items() if cycles}
    if moving:
        yield f"  moving bytes: {_shares(moving, time.cycles)}"


def _digits(value: float) -> int:
    """Decimals that make four digits of a number."""
    return max(0, 3 - int(math.log10(value))) if value >= 1 else 4


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole if whole else 0:.1f} %"


def _shares(parts: Mapping[str, float], whole: float, nothing: str = "nothing") -> str:
    """The parts by falling share, as text; those that would be shown as 0.0 % together."""
    shown = [(name, part) for name, part in parts.items() if whole and part / whole >= _LEAST_SHARE]
    return ", ".join(f"{name} {_share(part, whole)}" for name, part in sorted(shown, key=lambda item: -item[1])) or nothing


def quantity(value: float, unit: str) -> str:
    """A figure with four digits and the prefix that fits: 12.35 ms."""
    if value >= 1000:
        for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if value >= factor:
                return f"{value / factor:.4g} {prefix}{unit}"
    factor, prefix = next(((factor, prefix) for factor, prefix in _PREFIXES if abs(value) >= factor), _PREFIXES[0])
    return f"{value / factor:.4g} {prefix}{unit}"
