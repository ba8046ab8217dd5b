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

from emulator.kernel_words import PORT, csr, csr_number, readable
from emulator.native.block import CLOCK_COUNT, CLOCK_FIGURES, CLOCK_WORDS, CLOCKS, COUNTS, CSR_FILE, DONE, EARLIER, STATE_INDEX
from emulator.native.machine_code import load
from emulator.native.words import numbers, words
from isa.timing import clock_rules
from isa.timing.clock_figures import LISTED, NUMBER
from isa.timing.rates import cycles_of, is_rule

i64 = np.int64
FETCH, ATTN, MODEL, ROW_LIST = PORT["fetch"], PORT["attn"], STATE_INDEX["attn.model"], csr_number("attn.row_list")


@cache
def compiled(rule: FunctionType) -> Any:
    """A rule for numba, and with it the rules that it calls. Those of every operation become one function; no rule divides by 0."""
    scope = dict(rule.__globals__)
    for name in rule.__code__.co_names:
        if is_rule(scope.get(name)):
            scope[name] = compiled(scope[name])
    often = rule.__module__ == clock_rules.__name__ or rule is cycles_of
    return njit(FunctionType(rule.__code__, scope, rule.__name__), error_model="numpy", forceinline=often)


_simple, _token = compiled(clock_rules.simple_operation), compiled(clock_rules.token)
_outside, _operation = compiled(clock_rules.operation_outside_of_banks), compiled(clock_rules.operation)
ROWS, SCATTER = NUMBER["fetch.rows"], NUMBER["fetch.scatter"]       # whose third operand is an index list
ATTENDS = tuple(NUMBER[mnemonic] for mnemonic in LISTED)            # whose lists are where attn.row_list points to


def after_simple(number, a, b, c, block):  # type: ignore[no-untyped-def]
    """After an operation that has retired: its number, and its first three operands. Not of pim where there are banks, nor of fetch
    or attn where memories have rules of their own."""
    counts, earlier, csrs = (words(load(block + 8 * COUNTS, i64)), words(load(block + 8 * EARLIER, i64)),
                             words(load(block + 8 * CSR_FILE, i64)))
    each = load(block + 8 * CLOCKS, i64)
    for _ in range(load(block + 8 * CLOCK_COUNT, i64)):
        _simple(words(load(each + 8 * CLOCK_WORDS, i64)), words(load(each + 8 * CLOCK_FIGURES, i64)),
                counts, earlier, csrs, number, a)
        each += 16
    return DONE


def _index_list(number, c, block):  # type: ignore[no-untyped-def]
    """Host address of the index list of an operation, or of its lists of cache rows; 0 for none."""
    if number == ROWS or number == SCATTER:
        return readable(block, FETCH, c, 4, 1)[0]
    if number in ATTENDS and csr(block, ROW_LIST) != 0:
        return readable(block, ATTN, csr(block, ROW_LIST), 4, 1)[0]
    return 0


_list = njit(_index_list)


def _after(rule: Any) -> Callable[..., int]:
    """The same for any unit, or any but pim: what a rule compiled with more of the others makes of an operation."""
    def after(number, a, b, c, block):  # type: ignore[no-untyped-def]
        counts, earlier, csrs = (words(load(block + 8 * COUNTS, i64)), words(load(block + 8 * EARLIER, i64)),
                                 words(load(block + 8 * CSR_FILE, i64)))
        each, rows, model = load(block + 8 * CLOCKS, i64), numbers(_list(number, c, block)), numbers(load(block + 8 * MODEL, i64))
        for _ in range(load(block + 8 * CLOCK_COUNT, i64)):
            rule(words(load(each + 8 * CLOCK_WORDS, i64)), words(load(each + 8 * CLOCK_FIGURES, i64)),
                 counts, earlier, csrs, rows, model, number, a, b, c)
            each += 16
        return DONE
    return after


def token(a, b, c, d, block):  # type: ignore[no-untyped-def]
    """After an instruction by which the program has emitted a token. The arguments are those of a kernel."""
    counts = words(load(block + 8 * COUNTS, i64))
    each = load(block + 8 * CLOCKS, i64)
    for _ in range(load(block + 8 * CLOCK_COUNT, i64)):
        _token(words(load(each + 8 * CLOCK_WORDS, i64)), words(load(each + 8 * CLOCK_FIGURES, i64)), counts)
        each += 16
    return DONE


ENTRIES: dict[str, Callable[..., int]] = {"clock.after_simple": after_simple, "clock.after": _after(_outside),
                                          "clock.after_any": _after(_operation), "clock.token": token}
"""By the name under which an entry is compiled; all are called as kernels are."""
