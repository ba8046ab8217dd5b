"""The devices of a machine: registers in mmio through which a program reaches the host without `ecall`.

`tohost` and `fromhost` are the host-target interface (HTIF), as the public RISC-V tests and Spike use it; a store to `console`
prints a byte. A program may define the symbols `tohost` and `fromhost` elsewhere in memory: then they are the registers.
"""

from __future__ import annotations

import weakref
from contextlib import suppress

from isa import services
from isa.engine.state import WORD, State
from isa.regions import DEVICE_BYTES, MMIO
from isa.traps import Trap

TOHOST, FROMHOST, CONSOLE = 0x00, 0x08, 0x10        # offsets from the start of mmio
REGISTER_BYTES = 8                                  # of each register
assert CONSOLE + REGISTER_BYTES == DEVICE_BYTES


class Devices:
    """The devices of one machine. `tohost`, `fromhost` and `console` are the addresses of their registers."""

    def __init__(self, machine: State) -> None:
        self._machine: State = weakref.proxy(machine)       # which has this object: in a circle it would outlive its last user
        self._mmio = machine.preset.region(MMIO).base
        self.console = self._mmio + CONSOLE
        self.place()

    def place(self, tohost: int | None = None, fromhost: int | None = None) -> None:
        """Where a program has `tohost` and `fromhost`; None: in mmio."""
        self.tohost = self._mmio + TOHOST if tohost is None else tohost
        self.fromhost = self._mmio + FROMHOST if fromhost is None else fromhost

    def __str__(self) -> str:
        return f"tohost {self.tohost:#x}, fromhost {self.fromhost:#x}, console {self.console:#x}"

    def have(self, address: int, size: int) -> bool:
        """True if all of these bytes lie in one register."""
        return any(register <= address and address + size <= register + REGISTER_BYTES
                   for register in (self.tohost, self.fromhost, self.console))

    def stored(self, address: int, size: int) -> None:
        """React to a store of the core that has just become visible."""
        if address <= self.tohost < address + size:
            with suppress(Trap):        # a request that names memory that is not there: a device cannot trap, so no answer
                self._request()
        if address <= self.console < address + size:
            self._machine.host.write(1, self._machine.peek(self.console, 1).tobytes())

    def _request(self) -> None:
        """Exit, print a character, or make a system call, as `tohost` says.

        Each request except an exit is taken: `tohost` becomes 0. Each is answered in `fromhost`, except the wish to read a
        character: none ever comes. The program goes on whatever it has asked for.
        """
        machine = self._machine
        request = int(machine.peek(self.tohost, 8).view("<u8")[0])
        device, command, payload = request >> 56, request >> 48 & 0xFF, request & ((1 << 48) - 1)
        if request == 0:
            return
        if (device, command) == (0, 0) and payload & 1:
            machine.exit_code = payload >> 1 & 0xFF
            return
        self._put(self.tohost, 0)
        match device, command:
            case 0, 0: self._call(payload)
            case 1, 1: machine.host.write(1, bytes([payload & 0xFF]))
            case 1, 0: return
        self._put(self.fromhost, request >> 48 << 48 | 1)

    def _call(self, block: int) -> None:
        """The system call in a block of four 64-bit words: number, then arguments. The result replaces the number."""
        machine = self._machine
        region = machine.memory.region(block, 32)
        if region is None or not region.writable:
            return
        number, file, start, length = (int(word) for word in machine.memory.view(region, block, 32).view("<u8"))
        result = -services.ENOSYS
        if number == services.EXIT:
            machine.exit_code, result = file & 0xFF, 0
        elif number == services.WRITE and file not in (1, 2):
            result = -services.EBADF
        elif number == services.WRITE:
            try:
                machine.host.write_all(file, machine.peek(start, length))
                result = length
            except Trap:
                result = -services.EFAULT
        self._put(block, result & WORD)

    def _put(self, address: int, value: int) -> None:
        self._machine.peek(address, 8).view("<u8")[0] = value
        self._machine.code_changed(address, 8)
