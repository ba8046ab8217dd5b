"""The order of traps: of several faults, the first in the order of isa/engine/operand_checks.py is the one that traps."""

from __future__ import annotations

import pytest
from unit_bench import FLASH, Bench, refused

from isa.instruction import LONGEST, TABLE, Row
from isa.traps import Cause

SRAM, MMIO, NOWHERE = 0x1000_0000, 0x200_0000, 0x10
ROWS = [row for row in TABLE.values() if row.is_xslim and row.plain]


def faults(row: Row) -> list[tuple[str, int, Cause]]:
    """(operand, a value of it that is wrong, the trap), in order. Flash holds nothing here."""
    found = [(name, LONGEST + 1, Cause.CAPACITY) for name in row.lengths]
    for direction, access in (("<", Cause.LOAD_ACCESS), (">", Cause.STORE_ACCESS)):
        for operand in row.plain:
            if direction in operand.access and not (direction == ">" and "<" in operand.access):    # reading it comes first
                if operand.layout.align > 1:
                    found.append((operand.name, NOWHERE + 1, Cause.MISALIGNED_OPERAND))
                found += [(operand.name, NOWHERE, access), (operand.name, MMIO, Cause.PORT), (operand.name, FLASH, access)]
    return found


@pytest.mark.parametrize("row", ROWS, ids=[row.mnemonic for row in ROWS])
def test_the_first_fault_in_order_traps(row):
    bench, wrong = Bench(), faults(row)
    good = {operand.name: SRAM + 4096 * i if operand.access else 4
            for i, operand in enumerate(row.operands) if operand is not row.result}
    for i, (name, value, cause) in enumerate(wrong):
        later = {other: worse for other, worse, _ in wrong[i + 1:]}
        refused(cause, bench, row.mnemonic, **good | later | {name: value})


def test_nothing_is_checked_of_an_operand_of_no_bytes():
    Bench().run("vec.add.f32", dst=NOWHERE + 1, a=MMIO, b=FLASH + 1, n=0)
