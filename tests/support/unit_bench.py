"""A test bench for single instructions: place data, set CSRs, execute one instruction, see what it did.

    bench = Bench()
    x = bench.put(np.arange(8, dtype=np.int8))
    done = bench.run("lut.build.i8", x=x, scale=scale, n=8)
    done.counts["lut.tables_built"]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from isa.effects import counters
from isa.instruction import TABLE
from isa.preset import Preset
from isa.program import Program, Section
from isa.reference import ReferenceMachine
from isa.traps import Cause

TEXT, FLASH = 0x8000_0000, 0x10_0000_0000


@dataclass(frozen=True)
class Done:
    """What one instruction did: the result register (None if the row has none) and the counters that moved."""

    result: int | None
    counts: dict[str, int]


class Trapped(Exception):
    """The instruction trapped."""

    def __init__(self, report) -> None:
        super().__init__(str(report))
        self.cause, self.value, self.detail = report.cause, report.value, report.detail


class Bench:
    def __init__(self, machine: Preset | str = "slim", flash: bytes = b"") -> None:
        self.m = ReferenceMachine(machine)
        sections = [Section(".text", "ax", TEXT, 4, [bytes(4096)])]
        if flash:
            sections.append(Section(".weights", "a", FLASH, 4096, [flash]))
        self.m.load(Program(sections, [], [], TEXT))
        self.free = self.m.preset.region("sram").base

    def put(self, array, gap: int = 0) -> int:
        """Place an array in the scratchpad, 16-byte aligned and `gap` bytes past that; returns its address."""
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        address = self.free + gap
        self.m.peek(address, len(data))[:] = data
        self.free = (address + len(data) + 31) & ~15
        return address

    def get(self, address: int, dtype: str, count: int) -> np.ndarray:
        """A copy of what lies at an address."""
        return self.m.peek(address, count * np.dtype(dtype).itemsize).copy().view(dtype)

    def set(self, **csrs: int) -> None:
        """Set CSRs: `lut__mode=1` is lut.mode."""
        for name, value in csrs.items():
            self.m.set_csr(name.replace("__", "."), value)

    def run(self, mnemonic: str, **operands: int) -> Done:
        """Execute one instruction with these register contents. Raises Trapped."""
        row, m = TABLE[mnemonic], self.m
        registers = {operand.name: 10 + number for number, operand in enumerate(row.operands)}
        for name, value in operands.items():
            m.x[registers[name]] = int(value) & (1 << 64) - 1
        m.peek(TEXT, 4).view("<u4")[0] = row.encode(registers)
        m.pc, before = TEXT, m.counters
        report = m.step()
        if report is not None:
            raise Trapped(report)
        counts = {name: value - before[name] for name, value in m.counters.items() if value != before[name]}
        for name in counts:
            moved = name.endswith((".bytes_read", ".bytes_written", ".loads"))
            assert moved or name in counters(row), f"of the counters of {mnemonic}, {name} is none"
        return Done(m.x[registers[row.result.name]] if row.result else None, counts)


def refused(cause: Cause, bench: Bench, mnemonic: str, **operands: int) -> str:
    """Execute an instruction that must trap with `cause`, and change nothing; returns the reason."""
    m = bench.m
    before = {region.name: m.peek(region.base, min(region.size, 4096)).copy() for region in m.memory.regions if region.writable}
    state, counters = {name: array.copy() for name, array in m.state.items()}, m.counters
    with pytest.raises(Trapped) as trapped:
        bench.run(mnemonic, **operands)
    assert trapped.value.cause == cause, str(trapped.value)
    now = m.counters
    assert {name for name in now if now[name] != counters[name]} == {"core.traps"}
    assert all(m.state[name].tobytes() == array.tobytes() for name, array in state.items())       # NaN is a state, too
    for region, data in before.items():
        if region != "dram":        # where the instruction itself was placed
            assert np.array_equal(m.peek(m.preset.region(region).base, len(data)), data)
    detail: str = trapped.value.detail
    return detail
