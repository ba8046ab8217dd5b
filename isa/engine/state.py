"""The state of a machine: registers, memory, CSRs, counters, what is inside the units, where the program stands.

A snapshot saves this state and the host. Reading the state counts no event and needs no port. The meanings of instructions change
it with the words of isa/engine/vocabulary.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from isa.counters import COUNTERS, SLOTS
from isa.csrs import BY_ADDRESS, COUNTER_BY_ADDRESS, CSRS, INSTRUCTION_COUNTS
from isa.engine.memory import Bytes, Memory
from isa.hints import unknown
from isa.preset import Preset
from isa.services import Host
from isa.traps import Cause, Trap
from isa.units import UNITS

WORD = (1 << 64) - 1


class State:
    """`pc`, `x` (32 registers as unsigned integers), `memory`, `counts` (by slot), `csr_values` (by number), `state` (arrays of the
    units, by name), `host` (console, tokens). `exit_code` is set when the program has asked to end."""

    def __init__(self, preset: Preset, host: Host) -> None:
        self.preset = preset
        self.host = host
        self.memory = Memory(preset)
        self.pc = 0
        self.x = [0] * 32
        self.exit_code: int | None = None
        self.counts = np.zeros(SLOTS, np.uint64)
        self.csr_values = np.zeros(4096, np.uint64)
        for csr in CSRS.values():
            self.csr_values[csr.address] = csr.reset
        self.state: dict[str, npt.NDArray[Any]] = {
            array.name: np.full(preset.length(array.length), array.reset, array.dtype)
            for unit in UNITS.values() if preset.has_unit(unit.name) for array in unit.state}

    def csr(self, name: str) -> int:
        """The value of a CSR by name. Raises KeyError for one that there is not."""
        if name not in CSRS:
            raise KeyError(unknown("CSR", name, CSRS))
        return self._read_csr(CSRS[name].address)

    def _read_csr(self, address: int) -> int:
        """The value of a CSR by number."""
        name = BY_ADDRESS[address].name
        if address in COUNTER_BY_ADDRESS:
            return self.counter(name)
        if name in INSTRUCTION_COUNTS:
            return (self.counter("core.instructions") + int(self.csr_values[CSRS[INSTRUCTION_COUNTS[name]].address])) & WORD
        return int(self.csr_values[address])

    def set_csr(self, name: str, value: int) -> None:
        """Set a CSR by name, as far as its bits are writable."""
        csr = CSRS[name]
        self.csr_values[csr.address] = (value & csr.writable) | (csr.reset & ~csr.writable)

    def counter(self, name: str) -> int:
        """Events counted so far."""
        return int(self.counts[COUNTERS[name].slot])

    def parameter(self, name: str) -> int:
        """A size of this machine, e.g. "lut.activations"."""
        return self.preset.parameter(name)

    @property
    def page_bytes(self) -> int:
        """Bytes of a flash page, 0 on a machine without flash."""
        return self.preset.page_bytes

    def region_name(self, address: int) -> str:
        """The region that holds the byte at `address`, "" for none."""
        region = self.memory.region(address, 1)
        return region.name if region else ""

    def peek(self, address: int, size: int) -> Bytes:
        """The bytes themselves, without counting or ports: for devices, debuggers and tests. Raises Trap outside memory."""
        region = self.memory.region(address, size)
        if region is None:
            raise Trap(Cause.LOAD_ACCESS, address, f"{size} bytes at {address:#x} do not lie in one region")
        return self.memory.view(region, address, size)

    def code_changed(self, address: int, size: int) -> None:
        """To be called after each write to memory that is not by an instruction: an engine may have decoded what stood there."""
