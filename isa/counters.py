"""Counters: exact events that are part of the architecture.

Each is 64 bits wide, starts at zero, and can be read by the program through a CSR: slot s is CSR 0xCC0 + s for s < 64 and
0xFC0 + (s - 64) above, the two ranges that the privileged specification leaves to custom read-only registers. Here stand
the counters of the core, of the memory regions and of the token services; a unit's counters stand in its own file.

Cycles and joules are not counters: they are estimates that a machine preset derives from these events.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

from isa.hints import unknown
from isa.notebook import as_frame, as_html
from isa.regions import MMIO, REGIONS
from isa.unit import Counter, spending
from isa.units import UNITS

CORE: tuple[Counter, ...] = spending("instructions", (
    Counter("core.instructions",     0, "instructions", "instructions retired, Xslim included; a trapped instruction is not"),
    Counter("core.loads",            1, "instructions", "scalar loads retired"),
    Counter("core.stores",           2, "instructions", "scalar stores retired"),
    Counter("core.branches",         3, "instructions", "conditional branches retired"),
    Counter("core.branches_taken",   4, "instructions", "conditional branches that were taken"),
    Counter("core.traps",            5, "traps",        "traps entered, or that ended the run"),
    Counter("core.services",         6, "calls",        "environment calls served"),
    Counter("core.multiplications",  7, "instructions", "multiplications retired: mul, mulh, mulhsu, mulhu, mulw"),
    Counter("core.divisions",       17, "instructions", "divisions and remainders retired: div, divu, rem, remu, of words too"),
))

# Bytes that loads, stores and unit operands move, and the core's loads. Instruction fetches are not counted.
REGION: tuple[Counter, ...] = (
    *(Counter(f"{kind.name}.bytes_read", kind.read, "bytes", f"bytes read from {kind.called}", kind.name != MMIO)
      for kind in REGIONS.values()),
    *(Counter(f"{kind.name}.bytes_written", kind.written, "bytes", f"bytes written to {kind.called}", kind.name != MMIO)
      for kind in REGIONS.values() if kind.written is not None),
    *(Counter(f"{kind.name}.loads", kind.loads, "instructions", f"scalar loads from {kind.called} that retired")
      for kind in REGIONS.values()),
)

TOKENS: tuple[Counter, ...] = (
    Counter("tokens.read",    18, "tokens", "prompt tokens that the program has read"),
    Counter("tokens.emitted", 19, "tokens", "tokens that the program has emitted"),
)


def _in_order(counters: Iterable[Counter]) -> Iterator[Counter]:
    """By slot, but all of a unit or a region behind its first."""
    groups: dict[str, list[Counter]] = {}
    for counter in sorted(counters, key=attrgetter("slot")):
        groups.setdefault(counter.name.partition(".")[0], []).append(counter)
    return chain.from_iterable(groups.values())


COUNTERS: dict[str, Counter] = {counter.name: counter for counter in _in_order(
    (*CORE, *REGION, *TOKENS, *chain.from_iterable(unit.counters for unit in UNITS.values())))}

SLOTS = 128     # size of the counter file


class Counters(dict[str, int]):
    """Events by counter name, also by unit: `counters["lut.lookups"]`, `counters.lut.lookups`."""

    def __getattr__(self, unit: str) -> Any:
        events = {name.removeprefix(f"{unit}."): count for name, count in self.items() if name.startswith(f"{unit}.")}
        if not events:
            raise AttributeError(f"no counter of a unit {unit!r}; units are {', '.join(sorted({n.split('.')[0] for n in self}))}")
        return SimpleNamespace(**events)

    def __missing__(self, name: str) -> int:
        raise KeyError(unknown("counter", name, self))

    def _repr_html_(self) -> str:
        return as_html(("counter", "events"), [pair for pair in self.items() if pair[1]], "counters that are not zero")

    def to_pandas(self) -> Any:
        """A DataFrame with a row for each counter: `counter`, `events`, `of` (what is counted), `meaning`.

        Raises ImportError without pandas.
        """
        known = {name: COUNTERS[name] for name in self if name in COUNTERS}
        return as_frame(("counter", "events", "of", "meaning"), [
            (name, count, known[name].unit if name in known else "", known[name].text if name in known else "")
            for name, count in self.items()])


def csr_address(slot: int) -> int:
    """CSR number of a counter slot."""
    return 0xCC0 + slot if slot < 64 else 0xFC0 + slot - 64
