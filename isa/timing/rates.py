"""Rates: what a unit declares that a machine preset must give for it, and how exact these figures are.

A rate is a number above zero: so much a cycle, so many cycles, or entries of a queue. The decimal text of a machine file becomes a
reduced fraction of two integers below 2**40. So time is exact: no sum of it depends on the order, the engine or the host. Numbers
of TOML have 64 bits; what counts is the shortest decimal text of such a number, which is what people have written.

A rule is a function of integers that the reference engine calls as Python and the fast engine compiles with numba. It has int64
numbers and arrays, also what is left of one from an index on (`a[n:]`), copies of a part (`a[i:j] = a[n:m]`), if, while, for over
range, other rules with arguments by position, and integers that its module names. It has no floats, lists, classes, closures,
keyword arguments or exceptions, and `//` and `%` only of what is not negative.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, isfinite
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.int64]

MOST_PART = 1 << 40
"""Numerator and denominator of a figure are below this. `scaled` rests on it: its products stay below 2**62."""

MOST_SHORT = 1 << 22
"""The product of fewer events and a part of a figure is below 2**62."""

MOST_CYCLES = 1 << 24
"""What one event can take, and a latency: 2**38 of them, and sums of all, are below 2**63."""

PICOSECONDS = 10 ** 12      # a second: ticks are picoseconds


@dataclass(frozen=True)
class Rate:
    """A figure of time that a machine preset gives for the core or a unit.

    `counter`: whose events it gives time to, but for those of the counter `less`; "": none that is counted.
    `whole`: it is an integer, at most `most`.
    """

    name: str               # "lut.steps_per_cycle"
    unit: str               # "steps a cycle"
    text: str
    counter: str = ""
    less: str = ""
    whole: bool = False
    most: int = MOST_PART - 1


F = TypeVar("F", bound=Callable[..., object])

RULES: dict[str, Callable[..., object]] = {}
"""All rules, by module and name: what the fast engine compiles and the tests read."""


def rule(function: F) -> F:
    """Mark a function as a rule. It stays what it is."""
    RULES[f"{function.__module__}.{function.__qualname__}"] = function
    return function


def is_rule(value: object) -> bool:
    """Whether this is a function that was marked as a rule."""
    return any(value is function for function in RULES.values())


MOST_START, MOST_QUEUE = 1 << 20, 1 << 12       # the clock has an entry for each operation that a queue holds


def queue_rates(unit: str) -> tuple[Rate, ...]:
    """What every unit with a queue declares."""
    return (
        Rate(f"{unit}.start_cycles", "cycles", "cycles from the start of an operation to its first result",
             whole=True, most=MOST_START),
        Rate(f"{unit}.queue_depth", "operations", "operations that the queue holds; the core waits while it is full",
             whole=True, most=MOST_QUEUE))


CORE_RATES: tuple[Rate, ...] = (
    Rate("core.instructions_per_cycle", "instructions a cycle", "instructions that the core executes", "core.instructions"),
    Rate("core.taken_branch_cycles", "cycles", "what a taken branch takes more than that, on average", "core.branches_taken"),
    Rate("core.multiplication_cycles", "cycles", "what a multiplication takes more", "core.multiplications"),
    Rate("core.division_cycles", "cycles", "what a division or a remainder takes more", "core.divisions"),
    Rate("core.service_cycles", "cycles", "what an environment call takes more", "core.services"),
)
"""A load takes the latency_cycles of its region more, a store nothing."""


# ------------------------------------------------------------------------------------------------ exact figures


def exact(value: float) -> Fraction:
    """The fraction that a number of a machine file is: 38.4 is 192/5. Raises ValueError for an infinity and NaN."""
    if isinstance(value, int):
        return Fraction(value)
    if not isfinite(value):
        raise ValueError(f"{value} is no figure")
    return Fraction(repr(value))


def bounded(figure: Fraction) -> Fraction:
    """The nearest fraction that fits. What follows from several figures, such as the bandwidth of a memory in cycles of the
    machine, may have longer parts."""
    return figure.limit_denominator(max(1, int((MOST_PART - 1) / max(figure, Fraction(1)))))


def fits(figure: Fraction) -> bool:
    """Whether both parts of a figure are small enough to be exact."""
    return abs(figure.numerator) < MOST_PART and figure.denominator < MOST_PART


@rule
def scaled(count: int, numerator: int, denominator: int) -> int:
    """ceil(count * numerator / denominator), where the result fits int64: 0 <= count, and both parts are from 1 on below MOST_PART.

    Ticks of n cycles are scaled(n, ...) by the picoseconds of a cycle, cycles of n events scaled(n, ...) by one over their rate.
    """
    if count < MOST_SHORT:
        return (count * numerator + denominator - 1) // denominator
    whole = count // denominator
    rest = count % denominator                              # below 2**40, so in two halves of 20 bits
    high = (rest // 1048576) * numerator                    # below 2**60, as the next
    low = (high % denominator) * 1048576 + (rest % 1048576) * numerator
    return whole * numerator + (high // denominator) * 1048576 + (low + denominator - 1) // denominator


MOST, FACTOR, SHIFT, NUMERATOR, DENOMINATOR = range(5)      # of cycles of an event, as figures that `cycles_of` reads
CYCLES_WORDS = 5


def cycles_figures(cycles: Fraction) -> tuple[int, int, int, int, int]:
    """The cycles of an event as figures: up to MOST events take ceil(events * FACTOR / 2**SHIFT), which needs no division.

    FACTOR / 2**SHIFT is rounded down. It is too small by less than 1 / 2**SHIFT, and the cycles of MOST events by less than
    1 / DENOMINATOR. So the result is exact: cycles that are no whole number are at least 1 / DENOMINATOR above one.
    """
    shift = max(0, 61 - MOST_SHORT.bit_length() - ceil(cycles).bit_length())
    factor = int(cycles * (1 << shift))
    most = min(MOST_SHORT, ((1 << shift) - 1) // cycles.denominator)
    return most, factor, shift, cycles.numerator, cycles.denominator


@rule
def cycles_of(r: Words, place: int, events: int) -> int:
    """Cycles of so many events, by the figures at this place, rounded up."""
    if events <= r[place]:
        return (events * r[place + FACTOR] + (1 << r[place + SHIFT]) - 1) >> r[place + SHIFT]
    return scaled(events, r[place + NUMERATOR], r[place + DENOMINATOR])
