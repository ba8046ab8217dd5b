"""The memory trace: what one memory sees of a run, as text that simulators of memories read.

    ramulator2      LD 0x1c0            Ramulator 2's LoadStoreTrace: LD or ST, and an address
    dramsim3        0x1c0 READ 1200     DRAMsim3's trace: an address, READ or WRITE, and the cycle from which on it may start

A line is a burst. Each access of an instruction, a run of bytes, is as many lines as bursts that it touches: its bytes are rounded
to whole bursts, so the lines of a run have at least the bytes that the region's counters have. A burst is that of the memory that
the region names, otherwise 64 bytes. Addresses are those of bursts, less the region's base: where the memory begins is 0.

Accesses stand in the order in which the machine's clock has them start: those of an operation all at its start, what it reads
before what it writes. Without a clock it is the order of the program. A cycle is one of the clock of the memory that the region
names, otherwise of the machine's.

Left out: fetching instructions, which is counted nowhere; in hbm what the pim unit does, which sends commands to banks, and what
the attn unit reads in a memory with attention units, where it stays.

Sources: CMU-SAFARI/ramulator2, src/ramulator/frontend/impl/memory_trace/loadstore_trace.cpp; umd-memsys/DRAMsim3 2981759,
src/common.cc, operator>> of Transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import cache
from heapq import heappop, heappush
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from emulator.observe.line_log import LineLog
from isa.effects import counters
from isa.instruction import TABLE, Row
from isa.reference import ReferenceMachine, Step
from isa.regions import DRAM, HBM, REGIONS
from isa.timing import clock_rules as words
from isa.timing.memories import AttentionDram, Dram, Memory, PimDram

FORMATS = ("ramulator2", "dramsim3")
TRACED = (DRAM, HBM)            # regions that are DRAM
BURST = 64                      # bytes, where the region names no memory
LIMIT = 10_000_000              # lines
_COLUMN = 32                    # bytes of a burst of a memory with processors
_AT_ONCE = 1 << 16              # lines that are made before they are written

Access = tuple[int, int, bool]  # offset in the region, bytes, whether they are written


def burst_bytes(memory: Memory | None) -> int:
    """Bytes of a burst of the memory that a region names."""
    return memory.burst_bytes if isinstance(memory, Dram) else _COLUMN if isinstance(memory, PimDram) else BURST


class MemoryTrace(LineLog):
    """Writes what a region sees of a machine's run. Use as a context around the run; raises OSError.

    `form` is one of FORMATS, `limit` the most lines: then nothing is written any more, and `left_out` is true. What waits for its
    turn are the accesses of operations that have been issued and have not started: of no more operations than the queues hold.
    """

    def __init__(self, path: Path, form: str = FORMATS[0], region: str = DRAM, limit: int | None = None) -> None:
        assert form in FORMATS and region in TRACED
        super().__init__(path)
        self.form, self.name, self.limit = form, region, LIMIT if limit is None else limit
        self.written = 0                                # lines
        self.left_out = False                           # the limit was reached
        self._waiting: list[tuple[int, int, list[Access]]] = []         # start, number, accesses: a heap
        self._number = 0
        self._machine: ReferenceMachine | None = None

    def watch(self, machine: ReferenceMachine) -> None:
        """Look on from now on. Raises PresetError if the machine has no such region. `dramsim3` needs a machine with a clock."""
        assert machine.clocks or self.form != "dramsim3"
        region = machine.preset.region(self.name)
        self._base, self._end = region.base, region.end
        memory = machine.preset.memory(self.name)
        self._burst = burst_bytes(memory)
        self._stays = isinstance(memory, AttentionDram)             # what attention reads of it
        self._ratio = Fraction(1) if memory is None else machine.preset.period / memory.tick_ps     # its cycles of the machine's
        number = list(REGIONS).index(self.name)
        self._state = words.REGION_STATE + words.REGION_WORDS * number
        self._latency = words.REGION_FIGURES + words.REGION_FIGURE_WORDS * number + words.LATENCY
        self._machine, self._busy = machine, self._busy_now(machine)
        machine.hook(self, _matters)

    def _busy_now(self, machine: ReferenceMachine) -> int:
        return int(machine.clocks[0].words[self._state + words.REGION_BUSY]) if machine.clocks else 0

    def __call__(self, machine: ReferenceMachine, step: Step) -> None:
        if step.trap is not None or step.row is None:
            return
        busy = self._busy_now(machine)
        moved, self._busy = busy - self._busy, busy
        accesses = [] if step.row.unit == "pim" and self.name == HBM else self._accesses(step)
        if step.row.unit == "attn" and self._stays:
            accesses = [access for access in accesses if access[2]]
        now = self._now(machine)
        if accesses:
            start = now
            if machine.clocks and step.row.is_xslim:
                start = int(machine.clocks[0].words[self._state + words.FREE]) - moved
            elif machine.clocks and step.row.mnemonic in _loads():
                start = now - int(machine.clocks[0].figures[self._latency])
            heappush(self._waiting, (start, self._number, accesses))
            self._number += 1
        self._write_until(machine, now)

    def _accesses(self, step: Step) -> list[Access]:
        found = [(address, size, False) for address, size in step.reads]
        found += [(address, len(data), True) for address, data in step.writes]
        return [(address - self._base, size, writes) for address, size, writes in found
                if size and self._base <= address < self._end]

    def _now(self, machine: ReferenceMachine) -> int:
        """The cycle that the core has come to, before which nothing starts any more."""
        if not machine.clocks:
            return 0
        clock = machine.clocks[0]
        words.core_time(clock.words, clock.figures, machine.counts.view(np.int64))
        return int(clock.words[words.NOW])

    # ---------------------------------------------------------------------------------------------- lines

    def _write_until(self, machine: ReferenceMachine, now: int | None) -> None:
        """Write what starts up to this cycle; None: all."""
        while self._waiting and (now is None or self._waiting[0][0] <= now) and not self.left_out:
            start, _, accesses = heappop(self._waiting)
            self._put(machine, self._lines(start, accesses))
        if self.left_out:
            self._waiting.clear()
            machine.unhook(self)

    def _lines(self, start: int, accesses: Iterable[Access]) -> Iterator[str]:
        cycle = ceil(start * self._ratio)
        for offset, size, writes in accesses:
            for place in range(offset // self._burst, (offset + size - 1) // self._burst + 1):
                address = place * self._burst
                if self.form == "dramsim3":
                    yield f"{address:#x} {'WRITE' if writes else 'READ'} {cycle}\n"
                else:
                    yield f"{'ST' if writes else 'LD'} {address:#x}\n"

    def _put(self, machine: ReferenceMachine, lines: Iterable[str]) -> None:
        made: list[str] = []
        for line in lines:
            if self.written == self.limit:
                self.left_out = True
                break
            self.written += 1
            made.append(line)
            if len(made) == _AT_ONCE:
                self._put_text(machine, "".join(made))
                made.clear()
        self._put_text(machine, "".join(made))

    def note(self) -> str | None:
        """What is to be said when the run is over, None if nothing is."""
        return (f"{self.path}: note: the trace ends after {self.written:,} lines, before the run does; --trace-limit N writes N"
                if self.left_out else None)

    def __exit__(self, *failure: Any) -> None:
        machine = self._machine
        if machine is not None and self.error is None:
            machine.unhook(self)
            self._write_until(machine, None)
        super().__exit__(*failure)


def _matters(_pc: int, row: Row | None) -> bool:
    """True for instructions that touch memory or make the core wait."""
    return row is not None and (row.is_xslim or row.mnemonic in _of_core())


@cache
def _of_core() -> frozenset[str]:
    """Instructions of the core that touch memory."""
    return frozenset(row.mnemonic for row in TABLE.values()
                     if not row.is_xslim and not {"core.loads", "core.stores", "core.services"}.isdisjoint(counters(row)))


@cache
def _loads() -> frozenset[str]:
    return frozenset(row.mnemonic for row in TABLE.values() if not row.is_xslim and "core.loads" in counters(row))
