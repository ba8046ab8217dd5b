"""What is checked of an instruction's operands before its meaning is called, in one order for every instruction.

1. Each length operand, in operand order: CAPACITY beyond 2**28.
2. Each memory operand whose bytes follow from the row (`Row.plain`): all that are read, in operand order, then all that are
   written. Of each: MISALIGNED_OPERAND; then LOAD_ACCESS or STORE_ACCESS outside of a region; then PORT; then LOAD_ACCESS or
   STORE_ACCESS where the region has no such bytes, or none that can be written.

A meaning may rely on it. Whatever else it checks (CSRs, state, memory operands whose size depends on these) comes after. The
kernels of the fast engine check the same, in any order: where a check fails, they leave the instruction to the reference engine.
docs/isa/traps.md says all this for people.
"""

from __future__ import annotations

from collections.abc import Mapping

from isa.engine.vocabulary import Vocabulary
from isa.instruction import LONGEST, Row
from isa.traps import Cause, Trap


def check_operands(m: Vocabulary, row: Row, values: Mapping[str, int]) -> None:
    """Check the operands of a row, by name. Raises Trap."""
    for name in row.lengths:
        if values[name] > LONGEST:
            raise Trap(Cause.CAPACITY, values[name],
                       f"{name} is {values[name]:#x}; expected at most {LONGEST:#x}: is it an address?")
    for direction, check in (("<", m.check_read), (">", m.check_write)):
        for operand in row.plain:
            if direction in operand.access:
                check(values[operand.name], operand.layout.size(values), operand.align)
