"""Physical memory: the regions of a machine preset and the bytes in them.

A region's bytes are pages that the operating system provides when they are touched (isa/engine/pages.py), so a large region and a
large section cost nothing until they are used. Flash holds just what the program file holds there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from isa.engine import pages
from isa.engine.pages import Bytes as Bytes
from isa.host import most_address_space
from isa.preset import Preset, PresetError, Problem
from isa.program_file import Chunk, FileSlice, ProgramError, ProgramFile, Section, require
from isa.regions import DEVICE_BYTES, HBM, Region
from isa.traps import Cause, Trap

LEAST_CONSTANT = 1 << 16            # bytes of a section whose contents are worth knowing as constant


class Memory:
    """Bytes by address. All methods raise Trap for an access that the machine does not allow."""

    def __init__(self, preset: Preset) -> None:
        """Raises PresetError where the host has no address space for the regions (about 48 GiB for machine slim)."""
        self.preset = preset            # mmio ends behind the last register of a device
        self.regions = tuple(replace(r, size=DEVICE_BYTES) if r.is_devices else r for r in preset.regions)
        self._bytes: dict[str, Bytes] = {
            region.name: self._reserved(region) for region in self.regions if region.writable}
        self._mapped: list[tuple[int, Bytes]] = []          # (address, contents) of read-only sections
        self.constants: tuple[tuple[int, int], ...] = ()
        """(start, end) of writable memory where nothing can have changed what a read-only section has placed there."""
        self._shown = 1 << 64, 0            # from the first to behind the last byte that a view could have changed
        self._loaded = False

    def _reserved(self, region: Region) -> Bytes:
        try:
            return pages.zeros(region.size)
        except (OSError, OverflowError) as error:
            whole, limit = sum(r.size for r in self.regions if r.writable), most_address_space()
            raise PresetError("", [Problem(
                f"machine {self.preset.name}, region.{region.name}.size",
                f"{region.size:,} bytes of address space cannot be reserved: {getattr(error, 'strerror', None) or error}",
                f"room for {whole:,}, all regions that can be written" + (f"; `ulimit -v` allows {limit:,}" if limit else ""),
                "raise `ulimit -v`, or choose a machine with smaller regions; memory is taken for what is touched")]) from None

    def load(self, program: ProgramFile) -> None:
        """Place every section. Sections in flash of an earlier program are gone. Memory outside of sections stays as it is.

        Raises ProgramError for a section outside the regions, before anything is placed, and for a file that has become shorter.
        """
        places: list[tuple[Section, Region]] = []
        for section in program.sections:
            if "a" not in section.flags or not section.size:
                continue
            region = self.region(section.address, section.size)
            if region is None:
                raise ProgramError(f"section {section.name} at {section.address:#x}..{section.end:#x} lies in no region of "
                                   f"machine {self.preset.name}", path=program.path,
                                   hint="`slimulator machines NAME` prints the regions; choose a machine that has the room")
            require(not region.is_devices, f"section {section.name} at {section.address:#x} lies in device registers",
                    path=program.path, hint="a symbol names a register, and takes no section: tohost = 0x2000000")
            places.append((section, region))
        again, self._loaded, self._mapped, self.constants = self._loaded, True, [], ()
        for section, region in places:
            if region.writable:
                target = self.look(region, section.address, section.size)
                if again and section.zero_size:
                    pages.clear(target)
                place(section, target)
            else:
                contents = _mapped(section)
                contents.flags.writeable = False
                self._mapped.append((section.address, contents))
        low, high = self._shown
        self.constants = tuple((section.address, section.end) for section, region in places
                               if region.writable and not set("wx") & set(section.flags) and section.size >= LEAST_CONSTANT
                               and region.name != HBM              # whose banks are written without an address
                               and (section.end <= low or section.address >= high))

    def __getitem__(self, addresses: slice) -> Bytes:
        """`memory[0x10000000:0x10000040]`: these bytes as a view, read-only in flash. Counts nothing.

        Raises IndexError for addresses that do not lie in one region, or where flash holds nothing.
        """
        if not isinstance(addresses, slice) or addresses.step is not None or None in (addresses.start, addresses.stop):
            raise IndexError(f"memory[{addresses}]: expected memory[start:end] with two addresses")
        start, size = addresses.start, addresses.stop - addresses.start
        region = self.region(start, size) if size > 0 else None
        if region is None:
            raise IndexError(f"memory[{start:#x}:{addresses.stop:#x}] does not lie in one region of {self.preset.name}: "
                             + ", ".join(f"{r.name} {r.base:#x}..{r.base + r.size:#x}" for r in self.regions))
        try:
            return self.view(region, start, size)
        except Trap as trap:
            raise IndexError(trap.detail) from None

    def __setitem__(self, addresses: slice, data: Bytes | bytes | int) -> None:
        """Write bytes, an array's bytes as they stand, or one value everywhere. Raises IndexError, ValueError for another size."""
        target = self[addresses]
        if isinstance(data, int):
            target[:] = data
            return
        source = np.frombuffer(np.ascontiguousarray(data) if isinstance(data, np.ndarray) else data, np.uint8)
        if len(source) != len(target):
            raise ValueError(f"{len(source)} bytes for the {len(target)} of memory[{addresses.start:#x}:{addresses.stop:#x}]")
        target[:] = source

    def spans(self) -> Iterator[tuple[Region, int, Bytes]]:
        """(region, address, bytes) of every writable region, and of every section in a read-only region."""
        for region in self.regions:
            if region.writable:
                yield region, region.base, self._bytes[region.name]
            else:
                yield from ((region, base, contents) for base, contents in self._mapped
                            if region.base <= base < region.base + region.size)

    def region(self, address: int, size: int) -> Region | None:
        """The region that holds all of `size` bytes from `address`, or None."""
        for region in self.regions:
            if region.base <= address and address + size <= region.base + region.size:
                return region
        return None

    def holds(self, region: Region, address: int, size: int) -> bool:
        """True if there are bytes at all of a range inside `region`: in flash, if one section of the program covers it."""
        return region.writable or any(base <= address and address + size <= base + len(contents)
                                      for base, contents in self._mapped)

    def view(self, region: Region, address: int, size: int) -> Bytes:
        """The bytes themselves (not a copy) of a range inside `region`. Raises Trap for flash that holds nothing there.

        It may be written to at any time, so this range has no `constants` any more; `look` is for those who only read.
        """
        if region.writable:
            end = address + size
            self._shown = min(self._shown[0], address), max(self._shown[1], end)
            if any(start < end and address < stop for start, stop in self.constants):
                self.constants = tuple(each for each in self.constants if end <= each[0] or each[1] <= address)
        return self.look(region, address, size)

    def look(self, region: Region, address: int, size: int) -> Bytes:
        """As `view`, for those who only read."""
        if region.writable:
            start = address - region.base
            return self._bytes[region.name][start:start + size]
        for base, contents in self._mapped:
            if base <= address and address + size <= base + len(contents):
                return contents[address - base:address - base + size]
        raise Trap(Cause.LOAD_ACCESS, address, f"{region.name} holds nothing at {address:#x}..{address + size:#x}: "
                                               "no section of the program is there")


def place(section: Section, target: Bytes) -> None:
    """Put a section's contents into writable memory of its size. Large pieces of a file are mapped where pages allow it."""
    at = 0
    if section.zero_size:
        pages.sparse(target)
    for chunk in section.chunks:
        part = target[at:at + len(chunk)]
        if isinstance(chunk, FileSlice):
            pages.place(chunk, part)
        else:
            part[:] = np.frombuffer(chunk, np.uint8)
        at += len(chunk)


def contents(chunk: Chunk) -> Bytes:
    """A piece of a section, read-only: mapped if it is in a file."""
    return pages.mapped(chunk) if isinstance(chunk, FileSlice) else np.frombuffer(chunk, np.uint8)


def _mapped(section: Section) -> Bytes:
    """The contents of a section as one read-only array, mapped from its file where it has one."""
    match section.chunks:
        case [chunk]:
            return contents(chunk)
        case []:
            return pages.zeros(section.zero_size)
        case _:
            return np.frombuffer(section.bytes(), np.uint8)
