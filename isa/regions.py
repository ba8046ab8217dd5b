"""The regions of memory: which there are, what each is for, and where one lies on a machine.

The ISA counts the bytes of each region, so their names are fixed. A machine preset says which regions a machine has, where they
lie, and which units have a port to them.
"""

from __future__ import annotations

from dataclasses import dataclass

MMIO, SRAM, DRAM, FLASH, HBM = "mmio", "sram", "dram", "flash", "hbm"

DEVICE_BYTES = 0x18         # of mmio, from its start: the registers of devices (isa/engine/devices.py). Behind them nothing answers


@dataclass(frozen=True)
class RegionKind:
    """A region that a machine may have."""

    name: str
    text: str                   # what it holds
    called: str                 # in the texts of its counters
    read: int                   # slot of the counter NAME.bytes_read
    written: int | None         # slot of NAME.bytes_written; None: it cannot be written
    loads: int                  # slot of NAME.loads
    needed: str = ""            # what every machine needs it for; "": a machine may lack it


REGIONS: dict[str, RegionKind] = {kind.name: kind for kind in (
    #           name   holds                                                      called                              counters
    RegionKind(MMIO,  "tohost, fromhost, console",                               "device registers",                 15, 16, 84,
               needed="tohost and the console"),
    RegionKind(SRAM,  "on-chip scratchpad: operands of the units",               "the scratchpad",                    8, 9, 85),
    RegionKind(DRAM,  "program, data, KV cache",                                 "DRAM",                             10, 11, 86,
               needed="programs and their data"),
    RegionKind(FLASH, "read-only, read in pages; mapped from the program file",  "flash",                            12, None, 87),
    RegionKind(HBM,   "HBM banks, seen linearly by loads and stores",            "HBM through its linear addresses", 13, 14, 88),
)}


_MOVED = sorted(slot for kind in REGIONS.values() for slot in (kind.read, kind.written) if slot is not None)
BYTES = range(_MOVED[0], _MOVED[-1] + 1)
"""Slots of the counters of bytes, which stand side by side."""

assert [*BYTES] == _MOVED


@dataclass(frozen=True)
class Region:
    """A region of one machine: a run of physical addresses. `ports` are the units that may touch it, "core" for loads, stores and
    instruction fetches."""

    name: str
    base: int
    size: int
    ports: frozenset[str]
    writable: bool = True
    page_bytes: int = 0         # read granularity of flash, 0 elsewhere

    @property
    def end(self) -> int:
        return self.base + self.size

    @property
    def is_devices(self) -> bool:
        """True for device registers: no place for programs and data."""
        return self.name == MMIO
