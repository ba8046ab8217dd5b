"""The vocabulary in which meanings speak, over the state of one Slim machine (isa/engine/state.py).

Addresses are integers: a sum or a product is exact, and what lies beyond 64 bits lies in no region. Only the meanings of the core's
loads and stores add modulo 2**64.

One rule makes traps precise and overlapping operands harmless: an instruction reads everything before anything is written.
Writes to memory and to unit state are held back until the meaning has returned (`commit`); a trap drops them.
The loop that calls meanings stands in isa/reference.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from isa import services
from isa.arithmetic import canonical, s64
from isa.counters import COUNTERS
from isa.csrs import BY_ADDRESS, INSTRUCTION_COUNTS, MSTATUS_MIE, MSTATUS_MPIE, is_read_only
from isa.engine.devices import REGISTER_BYTES, Devices
from isa.engine.memory import Bytes
from isa.engine.state import WORD, State
from isa.preset import Preset
from isa.regions import MMIO, Region
from isa.traps import Cause, Trap
from isa.units.pim.banks import COLUMN_BYTES

_A0, _A7 = 10, 17


class Vocabulary(State):
    """The words of meanings: `m.read_f32(address, n)`, `m.write_f32(...)`, `m.count(...)`, and what they do to the machine's state.

    Of the current instruction, `fields` are the operand numbers, `unit` names whose memory port it uses, `next_pc` is where the
    program goes on, `written` is the register that it has set.
    """

    def __init__(self, preset: Preset, host: services.Host) -> None:
        super().__init__(preset, host)
        self.devices = Devices(self)
        self.next_pc = 0
        self.fields: dict[str, int] = {}
        self.unit = "core"
        self.written: tuple[int, int] | None = None                     # (register, value) that the current instruction has set
        self._reads: list[tuple[int, int]] = []                         # (address, bytes), for those who observe
        self._writes: list[tuple[int, Bytes, Bytes]] = []               # (address, destination view, new bytes)
        self._state_writes: list[tuple[str, int, npt.NDArray[Any]]] = []

    # ---------------------------------------------------------------------------------------------- one instruction

    def begin(self) -> None:
        """Forget what an earlier instruction read and held back."""
        self._reads, self._writes, self._state_writes = [], [], []

    def commit(self) -> None:
        """Make the writes of the instruction visible, then tell the devices of each store."""
        for _, destination, data in self._writes:
            destination[:] = data
        for name, start, values in self._state_writes:
            self.state[name][start:start + len(values)] = values
        if self.unit == "core":             # stores of units do not reach devices
            for address, destination, _ in self._writes:
                self.devices.stored(address, len(destination))

    # ---------------------------------------------------------------------------------------------- control

    def jump(self, target: int) -> int:
        """Continue at `target`; returns the link address. Raises Trap for a target that is not a multiple of 4."""
        target &= WORD
        if target % 4:
            raise Trap(Cause.FETCH_MISALIGNED, target, f"jump to {target:#x}, which is not a multiple of 4")
        self.next_pc = target
        return self.pc + 4

    def branch(self, taken: bool, offset: int) -> None:
        """Count a conditional branch and follow it if it is taken."""
        self.count("core.branches")
        if taken:
            self.count("core.branches_taken")
            self.jump(self.pc + offset)

    def return_from_trap(self) -> None:
        """`mret`: back to mepc, interrupt enable restored."""
        status = self.csr("mstatus")
        self.set_csr("mstatus", (status & ~MSTATUS_MIE) | (MSTATUS_MIE if status & MSTATUS_MPIE else 0) | MSTATUS_MPIE)
        self.next_pc = self.csr("mepc")

    def environment_call(self) -> None:
        """`ecall`: call a service of the environment. Numbers below 0x5110 trap when the program has installed a handler."""
        number, (a0, a1, a2) = self.x[_A7], self.x[_A0:_A0 + 3]
        handler = self.csr("mtvec") != 0
        if not services.is_served(number, handler):
            raise Trap(Cause.ENVIRONMENT_CALL, 0,
                       f"ecall with a7 = {number}: a trap handler is installed (mtvec), and numbers below 0x5110 are left to it"
                       if handler and number < services.READ_TOKEN else f"ecall with a7 = {number}: no such service")
        self.count("core.services")
        match number:
            case services.EXIT:
                self.exit_code = a0 & 0xFF      # the run ends when this instruction has retired
                return
            case services.WRITE:
                result = -services.EBADF
                if a0 in (1, 2):
                    if region := self.check_read(a1, a2):
                        self.count(f"{region.name}.bytes_read", a2)
                        self._reads.append((a1, a2))
                        self.host.write_all(a0, self.memory.look(region, a1, a2))
                    result = a2
            case services.READ_TOKEN:
                result = self.host.read_token()
                self.count("tokens.read", int(result >= 0))
            case services.EMIT_TOKEN:
                self.host.emit_token(s64(a0))
                self.count("tokens.emitted")
                result = a0
            case services.SEQUENCE:
                self.host.sequence = result = a0
            case services.SHOW:
                if region := self.check_read(a0, 4 * a1):
                    self.count(f"{region.name}.bytes_read", 4 * a1)
                    self._reads.append((a0, 4 * a1))
                    self.host.show(self.memory.view(region, a0, 4 * a1).view("<f4"))
                result = a1
        self.x[_A0] = result & WORD
        self.written = _A0, self.x[_A0]

    # ---------------------------------------------------------------------------------------------- CSRs

    def swap_csr(self, address: int, change: Callable[[int], int] | None) -> int:
        """Old value of a CSR; `change` gives the new one from the old, or is None for a pure read. Raises Trap (illegal)."""
        if address not in BY_ADDRESS:
            raise Trap(Cause.ILLEGAL_INSTRUCTION, detail=f"there is no CSR {address:#x}")
        old = self._read_csr(address)
        if change is not None:
            csr = BY_ADDRESS[address]
            if is_read_only(address):
                raise Trap(Cause.ILLEGAL_INSTRUCTION, detail=f"CSR {csr.name} is read-only")
            value = (change(old) & csr.writable) | (csr.reset & ~csr.writable)
            if csr.name in INSTRUCTION_COUNTS:      # what the next instruction reads is what was written
                value -= self.counter("core.instructions") + 1
            self.csr_values[address] = value & WORD
        return old

    # ---------------------------------------------------------------------------------------------- memory

    def read(self, address: int, size: int, align: int = 1) -> Bytes:
        """A copy of `size` bytes. Raises Trap for a range, port or alignment that the machine does not allow."""
        region = self.check_read(address, size, align)
        if region is None:
            return np.zeros(0, np.uint8)
        data = self.memory.look(region, address, size).copy()
        self.count(f"{region.name}.bytes_read", size)
        self._reads.append((address, size))
        return data

    def write(self, address: int, data: Bytes, align: int = 1) -> None:
        """Write bytes when the instruction completes. Raises Trap like `read`, and for a write to flash."""
        region = self.check_write(address, len(data), align)
        if region is None:
            return
        self._writes.append((address, self.memory.view(region, address, len(data)), data))
        self.count(f"{region.name}.bytes_written", len(data))

    def read_columns(self, addresses: npt.NDArray[np.int64]) -> Bytes:
        """Copies of the banks' columns at these linear addresses: (...) -> (..., 32). Raises Trap like `read`.

        Counts nothing: hbm.bytes_read counts what is read through linear addresses.
        """
        if not addresses.size:
            return np.zeros((*addresses.shape, COLUMN_BYTES), np.uint8)
        columns, numbers = self._columns(addresses, Cause.LOAD_ACCESS)
        self._reads += [(address, size) for address, _, size in _runs(addresses.reshape(-1))]
        return columns[numbers]

    def write_columns(self, addresses: npt.NDArray[np.int64], data: npt.NDArray[Any]) -> None:
        """Write the banks' columns at these linear addresses, (...) and (..., 32) bytes or as many of another type, when the
        instruction completes. Raises Trap like `write`; nothing is counted."""
        if addresses.size:
            columns, numbers = self._columns(addresses, Cause.STORE_ACCESS)
            region, source = columns.reshape(-1), np.ascontiguousarray(data).view(np.uint8).reshape(-1)
            starts = numbers.reshape(-1) * COLUMN_BYTES
            self._writes += [(address, region[starts[first]:starts[first] + size],
                              source[COLUMN_BYTES * first:COLUMN_BYTES * first + size])
                             for address, first, size in _runs(addresses.reshape(-1))]

    def _columns(self, addresses: npt.NDArray[np.int64], cause: Cause) -> tuple[Bytes, npt.NDArray[np.int64]]:
        """All columns of the region that holds these addresses, (n, 32), and the number in it of each."""
        first, last = int(addresses.min()), int(addresses.max())
        region = self._check(first, last + COLUMN_BYTES - first, COLUMN_BYTES, cause)
        assert region is not None
        return (self.memory.view(region, region.base, region.size // COLUMN_BYTES * COLUMN_BYTES).reshape(-1, COLUMN_BYTES),
                (addresses - region.base) // COLUMN_BYTES)

    def check_read(self, address: int, size: int, align: int = 1) -> Region | None:
        """The region of a read, None for an empty one. Raises Trap as `read` does; nothing is read or counted."""
        region = self._check(address, size, align, Cause.LOAD_ACCESS)
        if region is not None and not self.memory.holds(region, address, size):
            raise Trap(Cause.LOAD_ACCESS, address, f"{region.name} holds nothing at {address:#x}..{address + size:#x}: "
                                                   "no section of the program covers it")
        return region

    def check_write(self, address: int, size: int, align: int = 1) -> Region | None:
        """The region of a write, None for an empty one. Raises Trap as `write` does; nothing is written or counted."""
        region = self._check(address, size, align, Cause.STORE_ACCESS)
        if region is not None and not region.writable:
            raise Trap(Cause.STORE_ACCESS, address, f"{region.name} is read-only")
        return region

    def _check(self, address: int, size: int, align: int, cause: Cause) -> Region | None:
        """The region of an access, None for one of no bytes. Raises Trap, in this order: for the alignment; for bytes
        outside of one region (`cause`); for a region without a port for the unit; for no register there in mmio (`cause`)."""
        if size == 0:
            return None
        if address % align:
            raise Trap(Cause.MISALIGNED_OPERAND, address, f"address {address:#x} is not a multiple of {align}")
        region = self.memory.region(address, size) or self._mmio(address, size)
        if region is None:
            raise Trap(cause, address, self._nowhere(address, size))
        if self.unit not in region.ports:
            raise Trap(Cause.PORT, address, f"unit {self.unit} has no port to {region.name}; it reaches "
                       + ", ".join(r.name for r in self.preset.regions if self.unit in r.ports))
        if region.is_devices and not self.devices.have(address, size):
            raise Trap(cause, address, self._nowhere(address, size))
        return region

    def _mmio(self, address: int, size: int) -> Region | None:
        """The mmio region, also where no device has a register: a unit without a port to it is told so there too."""
        mmio = self.preset.region(MMIO)
        return mmio if mmio.base <= address and address + size <= mmio.end else None

    def _nowhere(self, address: int, size: int) -> str:
        """The reason why nothing answers at these addresses, as text."""
        mmio = self.preset.region(MMIO)
        if mmio.base <= address < mmio.end:
            return f"no device has a register of {size} bytes at {address:#x}; of {REGISTER_BYTES} bytes are {self.devices}"
        return f"{size} bytes at {address:#x} do not lie in one region of {self.preset.name}"

    def stride(self, name: str, row_bytes: int, row: str, align: int = 1, *, zero: int | None) -> int:
        """Bytes from row to row, as a CSR says. `zero` is what 0 says there: packed rows, one row for all (0), None: nothing.

        `row` names a row in the reason. Raises Trap for a number that is no multiple of `align`, or less than the bytes of a row.
        """
        stride = self.csr(name)
        if stride == 0 and zero is not None:
            return zero
        if stride < row_bytes or stride % align:
            other = "" if zero is None else "0 (packed) or " if zero else "0 (one for all) or "
            multiple = f"a multiple of {align}, " if align > 1 else ""
            raise Trap(Cause.ILLEGAL_OPERAND, stride,
                       f"{name} is {stride}; expected {other}{multiple}at least the {row_bytes} bytes of {row}")
        return stride

    @staticmethod
    def span(rows: int, row_bytes: int, stride: int) -> int:
        """Bytes from the start of the first row to the end of the last one; 0 if there is no row."""
        return (rows - 1) * stride + row_bytes if rows else 0

    def _array(self, address: int, count: int, dtype: str) -> npt.NDArray[Any]:
        """`count` elements of a NumPy type, aligned to one."""
        size = np.dtype(dtype).itemsize
        return self.read(address, count * size, size).view(dtype)

    def read_i8(self, address: int, count: int) -> npt.NDArray[np.int8]:
        """`count` int8 from memory; raises Trap like `read`, as the next ones do."""
        return self._array(address, count, "<i1")

    def read_u8(self, address: int, count: int) -> npt.NDArray[np.uint8]:
        """`count` uint8."""
        return self._array(address, count, "<u1")

    def read_u16(self, address: int, count: int) -> npt.NDArray[np.uint16]:
        """`count` uint16, low byte first."""
        return self._array(address, count, "<u2")

    def read_i32(self, address: int, count: int) -> npt.NDArray[np.int32]:
        """`count` int32, low byte first."""
        return self._array(address, count, "<i4")

    def read_u32(self, address: int, count: int) -> npt.NDArray[np.uint32]:
        """`count` uint32, low byte first."""
        return self._array(address, count, "<u4")

    def read_f32(self, address: int, count: int) -> npt.NDArray[np.float32]:
        """`count` fp32 numbers, low byte first, as their bits are: also NaN."""
        return self._array(address, count, "<f4")

    def _write_array(self, address: int, values: npt.ArrayLike, dtype: str) -> None:
        """Write values of a NumPy type, those of the last dimension side by side, aligned to an element."""
        data = np.ascontiguousarray(values, np.dtype(dtype)).reshape(-1)
        self.write(address, data.view(np.uint8), data.dtype.itemsize)

    def write_i8(self, address: int, values: npt.ArrayLike) -> None:
        """Write int8 when the instruction completes; raises Trap like `write`, as the next ones do."""
        self._write_array(address, values, "<i1")

    def write_u16(self, address: int, values: npt.ArrayLike) -> None:
        """Write uint16, low byte first."""
        self._write_array(address, values, "<u2")

    def write_i32(self, address: int, values: npt.ArrayLike) -> None:
        """Write int32, low byte first."""
        self._write_array(address, values, "<i4")

    def write_u32(self, address: int, values: npt.ArrayLike) -> None:
        """Write uint32, low byte first."""
        self._write_array(address, values, "<u4")

    def write_f32(self, address: int, values: npt.ArrayLike) -> None:
        """fp32 results; every NaN is written as the canonical one."""
        self._write_array(address, canonical(np.asarray(values, np.float32)), "<f4")

    def load_int(self, address: int, dtype: str) -> int:
        """Scalar load of NumPy type "i1" ... "u8"; any alignment. Counts `core.loads`, and a load of the region."""
        self.count("core.loads")
        value = int(self.read(address, np.dtype(dtype).itemsize).view("<" + dtype)[0])
        self.count(f"{self.region_name(address)}.loads")
        return value

    def store_int(self, address: int, value: int, dtype: str) -> None:
        """Scalar store of the low bytes of `value`; any alignment. Counts `core.stores`."""
        self.count("core.stores")
        size = np.dtype(dtype).itemsize
        self.write(address, np.frombuffer((value & WORD).to_bytes(8, "little")[:size], np.uint8))

    def set_state(self, name: str, values: npt.ArrayLike, start: int = 0) -> None:
        """Replace elements of a unit's state array, from `start` on, when the instruction completes."""
        self._state_writes.append((name, start, np.asarray(values, self.state[name].dtype).reshape(-1)))

    # ---------------------------------------------------------------------------------------------- events

    def count(self, name: str, events: int = 1) -> None:
        """Add events to a counter, modulo 2**64."""
        slot = COUNTERS[name].slot
        self.counts[slot] = (int(self.counts[slot]) + int(events)) & WORD


def _runs(addresses: npt.NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """(address, place in the list, bytes) of the runs of columns that lie side by side, in the order of the list."""
    starts = [0, *(np.flatnonzero(np.diff(addresses) != COLUMN_BYTES) + 1).tolist()]
    return [(int(addresses[first]), first, (last - first) * COLUMN_BYTES)
            for first, last in zip(starts, [*starts[1:], len(addresses)], strict=True)]
