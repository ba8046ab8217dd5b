"""`slimulator debug --gdb PORT`: gdb's remote serial protocol, on 127.0.0.1 alone, one client after the other.

The program's output goes to this process's stdout at once. A trap that ends the run is a signal for gdb; our report of it goes to
gdb's console. The server ends when gdb kills the program, or leaves after the program's end, or detaches: then the program runs to
its end first. After a client that leaves in another way, the program stays where it is for the next client, without breakpoints.

Source: Debugging with GDB, appendix "GDB Remote Serial Protocol": "Packets", "Stop Reply Packets", "General Query Packets".
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterable
from contextlib import closing

from emulator.debug.access import DebugError, read_memory, readable, write_memory
from emulator.debug.gdb_connection import Connection, Gone
from emulator.debug.gdb_packets import LARGEST, escape, unescape
from emulator.debug.gdb_target import PC, SIGINT, SIGNALS, SIGTRAP, description, read_register, set_register
from emulator.debug.places import unit_operations
from emulator.debug.session import Breakpoint, Point, Session, Stop, Watchpoint, check_watch
from emulator.debug.viewer import Viewer
from isa.engine.watchdog import INTERRUPTED
from isa.reference import RunResult
from isa.text import printable

ADDRESS = "127.0.0.1"
_ASKED = "asked by gdb"                         # the reason of a stop after gdb has sent 0x03
_SOFTWARE, _HARDWARE, _WRITE = "0", "1", "2"    # the kinds of Z packets that are supported
_FEATURES = f"PacketSize={LARGEST:x};qXfer:features:read+;vContSupported+;swbreak+;hwbreak+;QStartNoAckMode+"
_FIXED = {                                      # answers that are always the same: there is one thread, number 1
    "qC": "QC1", "qfThreadInfo": "m1", "qsThreadInfo": "l", "qAttached": "0", "qSymbol::": "OK", "vCont?": "vCont;c;C;s;S",
    "Hg0": "OK", "Hg1": "OK", "Hg-1": "OK", "Hc0": "OK", "Hc1": "OK", "Hc-1": "OK", "T1": "OK", "T0": "OK"}


class DebuggingEnded(Exception):
    """The server ends. `status` is the command's exit status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Monitor(Viewer):
    """The commands of `monitor`."""

    def __init__(self, session: Session, say: Callable[[str], None]) -> None:
        super().__init__(session, say)
        self.targets: Iterable[int] = ()        # addresses at which the next `continue` stops, too

    def do_unit(self, text: str) -> None:
        """unit [NAME]
        Make the next `continue` stop before the next operation of a unit, or of any unit."""
        self.targets = unit_operations(self.session.machine, text)
        self.say(f"`continue` stops at the next {text or 'unit'} operation")


class GdbServer:
    """Answers packets about the program of a session."""

    def __init__(self, session: Session, say: Callable[[str], None]) -> None:
        self.session, self.machine, self.say = session, session.machine, say
        self._numbers: dict[str, int] = {}      # numbers of breakpoints and watchpoints, by gdb's text of them
        self._last = Stop("there", RunResult("limit", None, self.machine.counter("core.instructions")))
        self._connection: Connection
        self._tells_breakpoints = False         # gdb understands a stop reply that names a breakpoint
        self._behind = 0                        # bytes by which pc is ahead of the pc that gdb is told
        self._monitor = Monitor(session, lambda line: self._connection.console(f"{line}\n"))

    def serve(self, listener: socket.socket) -> int:
        """Serve clients until the program has ended. Returns its exit status, 0 if it was killed, 1 if it trapped."""
        while True:
            listener.setblocking(True)
            client, _ = listener.accept()
            with closing(Connection(client, listener, self.say, lambda: self.machine.stop(_ASKED))) as self._connection:
                try:
                    while True:
                        reply = self.answer(self._connection.packet())
                        if reply is not None:
                            self._connection.send(reply)
                except Gone as reason:
                    self._forget()
                    if self.machine.exit_code is not None:
                        return self.machine.exit_code
                    place = self.session.places.name(self.machine.pc)
                    self.say(f"the client disconnected: {reason}; the program is stopped at {place}, waiting for the next client")
                except DebuggingEnded as end:
                    return end.status

    def _forget(self) -> None:
        """Drop the breakpoints and requests of a client that has left."""
        self.session.points.clear()
        self._numbers.clear()
        self.machine.withdraw(_ASKED)

    # ---------------------------------------------------------------------------------------------- packets

    def answer(self, packet: bytes) -> bytes | None:
        """The answer to a packet, b"" for one that is not supported, None for one without one. Raises Gone, DebuggingEnded."""
        text = packet.decode("latin-1")
        if text in _FIXED:
            return _FIXED[text].encode()
        name = next((name for name in _ANSWERS if text.startswith(name)), None)
        if name is None:
            return b""
        try:
            reply = _ANSWERS[name](self, text.removeprefix(name))
        except DebugError as error:
            return b"E01" if name == "m" else b"E." + str(error).encode("ascii", "replace")       # no text may answer m
        except (ValueError, IndexError, OverflowError):
            return b"E.malformed packet"
        return reply.encode("latin-1") if isinstance(reply, str) else reply

    def _features(self, text: str) -> str:
        """qXfer:features:read:target.xml:OFFSET,LENGTH"""
        annex, _, part = text.partition(":")
        if annex != "target.xml":
            raise DebugError(f"there is no {annex}")
        offset, length = _numbers(part, 2)
        data = description().encode()
        part_of_it = data[offset:offset + min(length, LARGEST // 2)]
        return ("m" if offset + len(part_of_it) < len(data) else "l") + escape(part_of_it).decode("latin-1")

    def _supported(self, text: str) -> str:
        """qSupported:FEATURE;FEATURE..."""
        self._tells_breakpoints = "swbreak+" in text
        return _FEATURES

    def _no_acknowledgements(self, text: str) -> None:
        self._connection.send(b"OK")
        self._connection.acknowledge = False

    def _read(self, number: int) -> str:
        """A register as hexadecimal bytes, in the order of memory."""
        value = read_register(self.machine, number) - (self._behind if number == PC else 0)
        return value.to_bytes(8, "little").hex()

    def _write(self, number: int, value: int) -> None:
        if number == PC:
            self._behind = 0
        set_register(self.machine, number, value)

    def _registers(self, text: str) -> str:
        return "".join(map(self._read, range(PC + 1)))

    def _set_registers(self, text: str) -> str:
        data = bytes.fromhex(text)
        if len(data) != 8 * (PC + 1):
            raise DebugError(f"{len(data)} bytes for {PC + 1} registers")
        for number in range(PC + 1):
            self._write(number, int.from_bytes(data[8 * number:8 * number + 8], "little"))
        return "OK"

    def _register(self, text: str) -> str:
        return self._read(int(text, 16))

    def _set_register(self, text: str) -> str:
        number, _, value = text.partition("=")
        data = bytes.fromhex(value)
        if len(data) != 8:
            raise DebugError(f"{len(data)} bytes for a register")
        self._write(int(number, 16), int.from_bytes(data, "little"))
        return "OK"

    def _memory(self, text: str) -> str:
        address, size = _numbers(text, 2)
        data = readable(self.machine, address, min(size, LARGEST // 2))
        if size and not len(data):
            raise DebugError(f"there is no memory at {address:#x}")
        return data.tobytes().hex()

    def _set_memory(self, text: str, binary: bool = False) -> str:
        place, colon, data = text.partition(":")
        address, size = _numbers(place, 2)
        content = unescape(data.encode("latin-1")) if binary else bytes.fromhex(data)
        if not colon or len(content) != size:
            raise DebugError(f"{len(content)} bytes where {size} were announced")
        if size:
            write_memory(self.machine, address, content)
        return "OK"

    def _set_binary(self, text: str) -> str:
        return self._set_memory(text, binary=True)

    def _insert(self, text: str) -> str:
        """Z0 and Z1: a breakpoint; Z2: a watchpoint for writes. Others are not supported."""
        kind, address, size = text[0], *_numbers(text[1:].removeprefix(",").partition(";")[0], 2)
        number = next(reversed(self.session.points), 0) + 1     # the newest has the largest number
        point: Point
        if kind in (_SOFTWARE, _HARDWARE):
            if address % 4:
                raise DebugError(f"{address:#x} is not a multiple of 4")
            read_memory(self.machine, address, 4)
            point = Breakpoint(number, text, addresses=(address,))
        elif kind == _WRITE:
            check_watch(self.machine, address, size)
            point = Watchpoint(number, text, address=address, size=size)
        else:
            return ""
        if text not in self._numbers:
            self._numbers[text], self.session.points[number] = number, point
        return "OK"

    def _remove(self, text: str) -> str:
        if text[0] not in (_SOFTWARE, _HARDWARE, _WRITE):
            return ""
        if text in self._numbers:
            del self.session.points[self._numbers.pop(text)]
        return "OK"

    def _monitor_command(self, text: str) -> str:
        """qRcmd,HEX"""
        self._monitor.onecmd(bytes.fromhex(text).decode("utf-8", "replace"))
        return "OK"

    # ---------------------------------------------------------------------------------------------- going on, leaving

    def _actions(self, text: str) -> str:
        """vCont;ACTION[:THREAD];...: the first action is for our only thread."""
        action = text.removeprefix(";").partition(";")[0].partition(":")[0]
        if action[:1] not in ("c", "C", "s", "S"):
            return ""
        return self._go(1 if action[:1] in ("s", "S") else None)

    def _continue(self, text: str) -> str:
        return self._go(None, text)

    def _step(self, text: str) -> str:
        return self._go(1, text)

    def _continue_with_signal(self, text: str) -> str:
        return self._go(None, text.partition(";")[2])

    def _step_with_signal(self, text: str) -> str:
        return self._go(1, text.partition(";")[2])

    def _go(self, limit: int | None, address: str = "") -> str:
        """Run the program and say why it has stopped. Signals are not delivered: a trap without a handler would come again.

        gdb believes that a RISC-V machine stops before a write to watched bytes (riscv-tdep.c), and steps over it before it looks.
        Our machine stops after the write. So gdb is told the pc of the instruction that wrote, and the step that follows does
        nothing.
        """
        if self.machine.exit_code is None:
            if address:
                self._write(PC, int(address, 16))
            behind, self._behind = self._behind, 0
            if behind and (limit or self._at_breakpoint()):
                self._last = Stop("there", self._last.result, self._at_breakpoint())
                return self._why("")
            self.session.before = self.machine.counters
            targets, self._monitor.targets = (self._monitor.targets, ()) if limit is None else ((), self._monitor.targets)
            sys.stdout.flush()
            with self._connection.listening():
                self._last = self.session.resume(limit, until=targets)
            if self._last.reason == INTERRUPTED:            # by Ctrl-C at our terminal
                raise KeyboardInterrupt
            if self._last.result.trap is not None:
                self._connection.console(f"{self._last.result.trap}\n")
            self._behind = 4 if self._last.writes else 0
        return self._why("")

    def _at_breakpoint(self) -> list[Breakpoint]:
        return [point for point in self.session.points.values()
                if isinstance(point, Breakpoint) and self.machine.pc in point.addresses]

    def _why(self, text: str) -> str:
        """?: the last stop reply"""
        stop = self._last
        if self.machine.exit_code is not None:
            return f"W{self.machine.exit_code:02x}"
        signal, reason = SIGTRAP, ""
        if stop.result.trap is not None:
            signal = SIGNALS[stop.result.trap.cause]
        elif stop.reason == _ASKED:
            signal = SIGINT
        elif stop.writes:
            reason = f"watch:{stop.writes[0].watchpoint.address:x};"
        elif stop.breakpoints and self._tells_breakpoints:
            reason = "swbreak:;" if stop.breakpoints[0].text[0] == _SOFTWARE else "hwbreak:;"
        return f"T{signal:02x}{PC:02x}:{self._read(PC)};{reason}thread:1;"

    def _detach(self, text: str) -> str:
        """D: the program runs on without gdb."""
        self._connection.send(b"OK")
        self._connection.hang_up("the program runs on to its end")
        self._forget()
        self.say("gdb has detached; the program runs on")
        with self._connection.listening():
            stop = self.session.resume() if self.machine.exit_code is None else self._last
        if stop.reason == INTERRUPTED:
            raise KeyboardInterrupt
        if stop.result.trap is not None:
            self.say(f"error: {stop.result.trap}")
            raise DebuggingEnded(1)
        raise DebuggingEnded(self.machine.exit_code or 0)

    def _kill(self, text: str) -> str:
        self.say("gdb has killed the program")
        raise DebuggingEnded(0)

    def _kill_politely(self, text: str) -> str:
        self._connection.send(b"OK")
        return self._kill(text)


def _numbers(text: str, count: int) -> list[int]:
    """`count` hexadecimal numbers, separated by commas. Raises ValueError."""
    parts = text.split(",")
    if len(parts) != count or any(part.startswith(("-", "+")) for part in parts):
        raise ValueError(text)
    return [int(part, 16) for part in parts]


_ANSWERS: dict[str, Callable[[GdbServer, str], str | None]] = {     # by the start of the packet; longer starts come first
    "qSupported": GdbServer._supported,
    "QStartNoAckMode": GdbServer._no_acknowledgements,
    "qXfer:features:read:": GdbServer._features,
    "qRcmd,": GdbServer._monitor_command,
    "vCont": GdbServer._actions,
    "vKill;": GdbServer._kill_politely,
    "?": GdbServer._why, "g": GdbServer._registers, "G": GdbServer._set_registers,
    "p": GdbServer._register, "P": GdbServer._set_register,
    "m": GdbServer._memory, "M": GdbServer._set_memory, "X": GdbServer._set_binary,
    "Z": GdbServer._insert, "z": GdbServer._remove,
    "c": GdbServer._continue, "s": GdbServer._step, "C": GdbServer._continue_with_signal, "S": GdbServer._step_with_signal,
    "D": GdbServer._detach, "k": GdbServer._kill,
}


def serve(session: Session, port: int, name: str) -> int:
    """Listen on `port` of 127.0.0.1 (0: any free one) and serve gdb. Returns the command's exit status."""
    def say(line: str) -> None:
        print(printable(line, keep="\n\t"), file=sys.stderr, flush=True)
    try:
        listener = socket.create_server((ADDRESS, port))
    except OSError as error:
        say(f"error: port {port} of {ADDRESS}: {os.strerror(error.errno or 0)}")
        return 1
    with listener:
        port = listener.getsockname()[1]
        say(f"waiting for gdb on {ADDRESS}:{port}: gdb-multiarch {name} -ex 'target remote :{port}'")
        return GdbServer(session, say).serve(listener)
