"""The clock of the loop: the rules of isa/timing, compiled.

A rule is in the part of Python that numba compiles. Here it is compiled together with the rules that it calls.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any

import numpy as np
from numba import njit

from emulator.native.block import CLOCK_COUNT, CLOCK_FIGURES, CLOCK_WORDS, CLOCKS, COUNTS, CSR_FILE, DONE
from emulator.native.machine_code import array, load
from isa.counters import SLOTS
from isa.timing import clock
from isa.timing.rates import is_rule

i64 = np.int64
_ANY = 1 << 40              # elements: a rule's indices are right by construction, and nothing checks them


@cache
def compiled(rule: FunctionType) -> Any:
    """A rule for numba, and with it the rules that it calls."""
    scope = dict(rule.__globals__)
    for name in rule.__code__.co_names:
        if is_rule(scope.get(name)):
            scope[name] = compiled(scope[name])
    return njit(FunctionType(rule.__code__, scope, rule.__name__))


_before, _outside = compiled(clock.before), compiled(clock.operation_outside_of_banks)
_operation = compiled(clock.operation)


def before(a, b, c, d, block):  # type: ignore[no-untyped-def]
    """Before an operation of a unit. The arguments are those of a kernel."""
    counts = array(load(block + 8 * COUNTS, i64), i64, SLOTS)
    each = load(block + 8 * CLOCKS, i64)
    for _ in range(load(block + 8 * CLOCK_COUNT, i64)):
        _before(array(load(each + 8 * CLOCK_WORDS, i64), i64, _ANY), array(load(each + 8 * CLOCK_FIGURES, i64), i64, _ANY), counts)
        each += 16
    return DONE


def after(number, a, b, c, block):  # type: ignore[no-untyped-def]
    """After an operation of a unit that has retired, but pim: its number, and its first three operands."""
    counts, csrs = array(load(block + 8 * COUNTS, i64), i64, SLOTS), array(load(block + 8 * CSR_FILE, i64), i64, 4096)
    each = load(block + 8 * CLOCKS, i64)
    for _ in range(load(block + 8 * CLOCK_COUNT, i64)):
        _outside(array(load(each + 8 * CLOCK_WORDS, i64), i64, _ANY), array(load(each + 8 * CLOCK_FIGURES, i64), i64, _ANY),
                 counts, csrs, number, a)
        each += 16
    return DONE


def after_any(number, a, b, c, block):  # type: ignore[no-untyped-def]
    """The same, for pim too."""
    counts, csrs = array(load(block + 8 * COUNTS, i64), i64, SLOTS), array(load(block + 8 * CSR_FILE, i64), i64, 4096)
    each = load(block + 8 * CLOCKS, i64)
    for _ in range(load(block + 8 * CLOCK_COUNT, i64)):
        _operation(array(load(each + 8 * CLOCK_WORDS, i64), i64, _ANY), array(load(each + 8 * CLOCK_FIGURES, i64), i64, _ANY),
                   counts, csrs, number, a, b, c)
        each += 16
    return DONE


ENTRIES: dict[str, Callable[..., int]] = {"clock.before": before, "clock.after": after, "clock.after_any": after_any}
"""By the name under which an entry is compiled; all are called as kernels are."""
