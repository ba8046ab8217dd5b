"""What a unit declares: its queue, CSRs, counters, parameters, rates and state.

A unit file in isa/units has one `Unit` beside its instruction rows. The tables of CSRs and counters, the machine presets and
the manual are made from these declarations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from isa.timing.rates import Rate


@dataclass(frozen=True)
class Counter:
    """An exact event counter. `slot` gives its CSR address (isa/counters.py). `spends`: a machine with energies has one for it."""

    name: str       # "lut.lookups"
    slot: int
    unit: str       # what is counted: "operations", "bytes", ...
    text: str
    spends: bool = False


def spending(names: str, counters: tuple[Counter, ...]) -> tuple[Counter, ...]:
    """These counters, and energy is spent on the events of those named: "macs elements", without their unit."""
    marked = names.split()
    last = [counter.name.rpartition(".")[2] for counter in counters]
    assert set(marked) <= set(last), f"{names!r} names more than {last}"
    return tuple(replace(counter, spends=name in marked) for counter, name in zip(counters, last, strict=True))


@dataclass(frozen=True)
class Csr:
    """A control and status register. `reset` is its value at power-up, `writable` the bits that a write can change.

    `points_to` is for one that holds the address of something that instructions read: the format of its elements, as in shapes.
    """

    name: str
    address: int
    text: str
    reset: int = 0
    writable: int = (1 << 64) - 1
    points_to: str = ""         # "u32"; "": it holds no such address


@dataclass(frozen=True)
class Parameter:
    """A value that a machine preset must give for a unit: a size, e.g. the capacity of the LUT tables, or a text (type str).

    `least`: the smallest size."""

    name: str
    unit: str
    text: str
    type: type[int] | type[str] = int
    least: int = 1


@dataclass(frozen=True)
class StateArray:
    """Architectural state inside a unit: an array of fixed length. `length` is a number, or a product of parameters and numbers
    such as "pim.channels * pim.banks * 16". `reset` is the value of each element at power-up."""

    name: str       # "lut.activations"
    dtype: str      # NumPy type code: "i1", "f4", ...
    length: int | str
    text: str
    reset: int = 0


@dataclass(frozen=True)
class Unit:
    """A functional unit: one file, or one package, in isa/units.

    `queue` is the number of its queue (isa/queues.py), 1 or more. 0: it has none, and the core executes its instructions.
    """

    name: str
    title: str
    text: str
    queue: int = 0
    csrs: tuple[Csr, ...] = ()
    counters: tuple[Counter, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    rates: tuple[Rate, ...] = ()
    state: tuple[StateArray, ...] = ()
    sound: Callable[[Mapping[str, Any], Callable[[str], int]], bool] = lambda state, parameter: True
    """Can instructions have left this state, by name, on a machine with these parameters? Kernels rely on it."""
