"""Reads and changes a machine that stands still, for the debugger's commands and for gdb.

Such an access counts no event, needs no port and has no effect on devices. What cannot be done is a DebugError that says why.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from isa.csrs import CSRS, INSTRUCTION_COUNTS, is_read_only
from isa.engine.memory import Bytes
from isa.engine.state import WORD
from isa.reference import ReferenceMachine
from isa.traps import Trap


class DebugError(Exception):
    """The user asked for something that cannot be done. The message is one line: why, and a hint where there is one."""


def read_memory(machine: ReferenceMachine, address: int, size: int) -> Bytes:
    """A view of the bytes in memory, not a copy. Raises DebugError where there is no memory."""
    try:
        return machine.peek(address & WORD, size)
    except Trap as trap:
        raise DebugError(str(trap)) from None


def read_number(machine: ReferenceMachine, address: int, size: int) -> int:
    """`size` bytes as an unsigned number. Raises DebugError where there is no memory."""
    return int.from_bytes(read_memory(machine, address, size).tobytes(), "little")


def readable(machine: ReferenceMachine, address: int, most: int) -> Bytes:
    """The bytes from `address` to the end of its region, in flash of its section, `most` at most; none without memory there."""
    for _, base, contents in machine.memory.spans():
        if base <= address < base + len(contents):
            return contents[address - base:address - base + most]
    return np.zeros(0, np.uint8)


def write_memory(machine: ReferenceMachine, address: int, data: bytes) -> None:
    """Change memory; it may be code. Raises DebugError where there is no memory, and in flash."""
    region = machine.memory.region(address & WORD, len(data))
    if region is None:
        raise DebugError(f"{len(data)} bytes at {address & WORD:#x} do not lie in one region of {machine.preset.name}")
    if not region.writable:
        raise DebugError(f"{address & WORD:#x} lies in {region.name}, which is read-only")
    machine.memory.view(region, address & WORD, len(data))[:] = np.frombuffer(data, np.uint8)
    machine.code_changed(address & WORD, len(data))


def write_register(machine: ReferenceMachine, number: int, value: int) -> None:
    """Set an integer register. Raises DebugError for x0."""
    if number == 0:
        raise DebugError("register zero is always 0")
    machine.x[number] = value & WORD


def write_csr(machine: ReferenceMachine, name: str, value: int) -> None:
    """Set those bits of a CSR that can be written. A counter of instructions counts on from the value. Raises DebugError."""
    csr = CSRS[name]
    if is_read_only(csr.address) or not csr.writable:
        raise DebugError(f"CSR {name} is read-only")
    if name in INSTRUCTION_COUNTS:
        machine.csr_values[csr.address] = (value - machine.counter("core.instructions")) & WORD
    else:
        machine.set_csr(name, value & WORD)


def code_words(machine: ReferenceMachine) -> list[tuple[int, npt.NDArray[np.uint32]]]:
    """(address, words) of the program's executable sections, with the words that are in memory now."""
    program = machine.program
    found = []
    for section in program.sections if program else ():
        start, end = -(-section.address // 4) * 4, section.end // 4 * 4
        if "a" in section.flags and "x" in section.flags and start < end:
            found.append((start, read_memory(machine, start, end - start).view("<u4")))
    return found
