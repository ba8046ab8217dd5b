"""Fetch operations on a memory with a name: the clock hands over what an operation touched, and the rules of that memory answer.

Only the fetch unit says row by row where it goes, so its operations take what the rows of DRAM and the pages of flash take
(memory_rules.py, flash_rules.py). The linear operands of other units, and what the core loads, take the latency and the bandwidth
that a long run of bytes has there.

    read        an index list, then the source, then the destination; each row of a table by itself
    linear      an operation with one side in the memory, whose rows lie side by side: refresh is reckoned by rank
    writes      only where nothing is read there

An index list is read as the operation has found it, even where it has written over it. The rows of a table may lie in several
regions; each memory counts those that lie in it.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt

from isa.csrs import CSRS
from isa.timing import flash_rules, memory_rules
from isa.timing.flash_rules import begin as begin_flash
from isa.timing.flash_rules import busy as flash_busy
from isa.timing.flash_rules import span as flash_span
from isa.timing.memories import Dram, Memory, Nand
from isa.timing.memory_rules import begin as begin_dram
from isa.timing.memory_rules import finish as dram_finish
from isa.timing.memory_rules import span as dram_span
from isa.timing.rates import bounded, rule, scaled

Words = npt.NDArray[np.int64]

COPY, COPY2D, ROWS, SCATTER = range(1, 5)
FORMS: dict[str, int] = {"fetch.copy": COPY, "fetch.copy2d": COPY2D, "fetch.rows": ROWS, "fetch.scatter": SCATTER,
                         "fetch.unpack": COPY}
"""What each instruction touches, 0 is any other. Of fetch.unpack it is the stream, as if it were copied."""
ROW_BYTES, SRC_STRIDE, DST_STRIDE = (CSRS[f"fetch.{name}"].address for name in ("row_bytes", "src_stride", "dst_stride"))

IS_FLASH, BASE, SIZE, EVENTS, NUMERATOR, DENOMINATOR = range(6)     # of a memory: where its events stand in the clock's state, what
FIGURES = 6                                             # a cycle of the machine is in its cycles, or in ps; then its figures


def figures_of(memory: Memory, base: int, size: int, events: int, period_ps: Fraction) -> list[int]:
    """The figures of a memory as the rules here read them; none for one that has no rule."""
    if isinstance(memory, Dram):
        ratio = bounded(period_ps / memory.period_ps)
        return [0, base, size, events, ratio.numerator, ratio.denominator, *memory_rules.figures_of(memory).tolist()]
    if isinstance(memory, Nand):
        ratio = bounded(period_ps)
        return [1, base, size, events, ratio.numerator, ratio.denominator, *flash_rules.figures_of(memory).tolist()]
    return []


def events_of(figures: Words) -> Words:
    """The state of a memory that has not been used."""
    return (flash_rules if figures[IS_FLASH] else memory_rules).events_of(figures[FIGURES:])


@rule
def holds(m: Words, address: int) -> int:
    """Whether an address lies in a memory."""
    return int(address >= m[BASE] and address - m[BASE] < m[SIZE])


@rule
def touch(events: Words, m: Words, address: int, count: int) -> None:
    """Count bytes side by side."""
    if holds(m, address) and count <= m[SIZE]:
        if m[IS_FLASH]:
            flash_span(events, m[FIGURES:], address - m[BASE], count)
        else:
            dram_span(events, m[FIGURES:], address - m[BASE], count)


@rule
def touch_rows(events: Words, m: Words, address: int, rows: int, row_bytes: int, stride: int) -> None:
    """Count rows that lie so far apart."""
    if stride == row_bytes:
        touch(events, m, address, rows * row_bytes)
    elif holds(m, address):
        for i in range(rows):
            touch(events, m, address + i * stride, row_bytes)


@rule
def touch_listed(events: Words, m: Words, address: int, numbers: Words, rows: int, row_bytes: int, stride: int) -> None:
    """Count rows of a table, by a list of their numbers. The table may begin outside of the memory, its rows inside."""
    for i in range(rows):
        touch(events, m, address + numbers[i] * stride, row_bytes)


@rule
def count_events(events: Words, m: Words, csrs: Words, numbers: Words, form: int, a: int, b: int, c: int, rows: int,
                 size: int) -> None:
    """Count what an operation touches in a memory: its first operands, rows and bytes that it moved, the numbers of its list.
    Numbers alone: it is compiled."""
    row_bytes = csrs[ROW_BYTES]
    if form == COPY:
        row_bytes = size
    src_stride, dst_stride = row_bytes, row_bytes
    if form != COPY and csrs[SRC_STRIDE] != 0:
        src_stride = csrs[SRC_STRIDE]
    if form != COPY and csrs[DST_STRIDE] != 0:
        dst_stride = csrs[DST_STRIDE]
    if m[IS_FLASH]:
        begin_flash(events)
    else:
        begin_dram(events)
    if form >= ROWS:
        touch(events, m, c, 4 * rows)
    if form == ROWS:
        touch_listed(events, m, b, numbers, rows, row_bytes, src_stride)
    else:
        touch_rows(events, m, b, rows, row_bytes, src_stride)
    if form == SCATTER:
        touch_listed(events, m, a, numbers, rows, row_bytes, dst_stride)
    else:
        touch_rows(events, m, a, rows, row_bytes, dst_stride)


@rule
def linear_place(m: Words, csrs: Words, form: int, a: int, b: int) -> int:
    """The offset of the only side of an operation that lies in a memory, byte beside byte; -1 for everything else."""
    if (form != COPY and form != COPY2D) or holds(m, a) == holds(m, b):
        return -1
    place, stride = b, csrs[SRC_STRIDE]
    if holds(m, a):
        place, stride = a, csrs[DST_STRIDE]
    if form == COPY2D and stride != 0 and stride != csrs[ROW_BYTES]:
        return -1
    return place - m[BASE]


@rule
def cycles(t: Words, m: Words, csrs: Words, numbers: Words, form: int, a: int, b: int, c: int, rows: int, size: int,
           start: int) -> int:
    """Cycles of the machine from `start` on until an operation's last byte has moved in a memory. Numbers alone: it is compiled."""
    events = t[m[EVENTS]:]
    count_events(events, m, csrs, numbers, form, a, b, c, rows, size)
    if m[IS_FLASH]:
        return max(1, scaled(flash_busy(m[FIGURES:], events), m[DENOMINATOR], m[NUMERATOR]))
    writes = int(holds(m, a) and not holds(m, b) and not (form >= ROWS and holds(m, c)))
    begin = scaled(start, m[NUMERATOR], m[DENOMINATOR])
    end = dram_finish(m[FIGURES:], events, linear_place(m, csrs, form, a, b), writes, begin)
    return max(1, scaled(end, m[DENOMINATOR], m[NUMERATOR]) - start)
