"""A program under the debugger: breakpoints and watchpoints with conditions, and the ways to go on.

Every way to go on is one run of the machine up to some addresses (`resume`), or several, on either engine at its full speed. The
result is a Stop, which says why the program has stopped. Nothing is printed here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from emulator.debug.access import DebugError, read_memory, read_number
from emulator.debug.call_stack import SP, backtrace, is_call
from emulator.debug.expressions import Expression
from emulator.debug.places import Places, unit_operations
from isa.counters import Counters
from isa.engine.watchdog import INTERRUPTED, watched
from isa.reference import ReferenceMachine, RunResult

LARGEST_WATCH = 1 << 20     # bytes: they are compared with a copy


@dataclass
class Point:
    """A breakpoint or watchpoint. `text` is what the user wrote, `hits` counts the stops at which the condition held."""

    number: int
    text: str
    condition: Expression | None = None
    hits: int = 0


@dataclass
class Breakpoint(Point):
    addresses: tuple[int, ...] = ()
    temporary: bool = False


@dataclass
class Watchpoint(Point):
    address: int = 0
    size: int = 0
    old: bytes = b""        # the bytes at the last look


@dataclass(frozen=True)
class Write:
    """A write to watched bytes, by the instruction at `pc`."""

    watchpoint: Watchpoint
    old: bytes
    new: bytes
    pc: int


@dataclass(frozen=True)
class Stop:
    """Why the program has stopped.

    `reason` is "breakpoint", "watchpoint", "there" (it has come where it was told to go), "exit", "trap" or "interrupted".
    """

    reason: str
    result: RunResult
    breakpoints: list[Breakpoint] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)       # conditions that could not be evaluated


class Session:
    """A loaded machine and its breakpoints and watchpoints. `start` makes the machine, and makes it again for `restart`."""

    def __init__(self, start: Callable[[], ReferenceMachine], folder: Path | None = None) -> None:
        self.start = start
        self.machine = start()
        if self.machine.program is None:
            raise ValueError("the machine has no program")
        self.places = Places(self.machine.program, folder)
        self.points: dict[int, Point] = {}
        self.before: Counters = self.machine.counters           # the counters at the stop before this one
        self._last_number = 0

    def restart(self) -> None:
        """Load the program again. Breakpoints and watchpoints stay."""
        self.machine = self.start()
        self.before = self.machine.counters

    # ---------------------------------------------------------------------------------------------- points

    def break_at(self, text: str, condition: Expression | None = None, temporary: bool = False) -> Breakpoint:
        """Stop before a place. Raises DebugError for text that is no place."""
        addresses = tuple(self.places.code(text, self.machine))
        self._last_number += 1
        point = Breakpoint(self._last_number, text, condition, addresses=addresses, temporary=temporary)
        self.points[point.number] = point
        return point

    def watch(self, text: str, address: int, size: int, condition: Expression | None = None) -> Watchpoint:
        """Stop after a write to any of these bytes. Raises DebugError for bytes that nothing can write to."""
        check_watch(self.machine, address, size)
        self._last_number += 1
        point = Watchpoint(self._last_number, text, condition, address=address, size=size)
        self.points[point.number] = point
        return point

    # ---------------------------------------------------------------------------------------------- going on

    def resume(self, limit: int | None = None, until: Iterable[int] = (), when: Callable[[], bool] = lambda: True) -> Stop:
        """Go on to the next breakpoint or watchpoint whose condition holds, or to one of the addresses `until` if `when()` is
        true there, for at most `limit` instructions.

        A request to stop (Machine.stop) that comes when the program is at a breakpoint is kept: the next call reports it.
        """
        machine, targets = self.machine, set(until)
        breakpoints = [point for point in self.points.values() if isinstance(point, Breakpoint)]
        watchpoints = [point for point in self.points.values() if isinstance(point, Watchpoint)]
        for watchpoint in watchpoints:
            watchpoint.old = read_memory(machine, watchpoint.address, watchpoint.size).tobytes()
        machine.breakpoints = {address for point in breakpoints for address in point.addresses} | targets
        machine.watchpoints = [(point.address, point.size) for point in watchpoints]
        first = machine.spent
        with watched(machine):
            while True:
                before = machine.spent
                result = machine.run(None if limit is None else limit - (before - first))
                if result.reason in ("exit", "trap"):
                    return Stop(result.reason, result)
                asked = result.reason not in ("breakpoint", "watchpoint", "limit")
                if machine.spent == before:                     # asked for before the run: what is here was reported
                    return Stop(result.reason if asked else "there", result)
                problems: list[str] = []
                writes = self._writes(watchpoints, result.reason == "watchpoint", problems)
                hits = [point for point in breakpoints if machine.pc in point.addresses and self._holds(point, problems)]
                if hits or writes:
                    if asked:
                        machine.stop(result.reason)
                    return self._stopped("breakpoint" if hits else "watchpoint", result, hits, writes, problems)
                if asked:
                    return Stop(result.reason, result)
                if (machine.pc in targets and when()) or (limit is not None and machine.spent - first >= limit):
                    return Stop("there", result)

    def _writes(self, watchpoints: list[Watchpoint], stopped: bool, problems: list[str]) -> list[Write]:
        """The last instruction's writes to watched bytes, of watchpoints whose condition holds."""
        writes = []
        for point in watchpoints:
            new = read_memory(self.machine, point.address, point.size).tobytes()
            if new != point.old or (stopped and self.machine.wrote(point.address, point.size)):
                write = Write(point, point.old, new, self.machine.pc - 4)       # an instruction that writes to memory never jumps
                point.old = new
                if self._holds(point, problems):
                    writes.append(write)
        return writes

    def _holds(self, point: Point, problems: list[str]) -> bool:
        """Whether the condition of a point holds. One that cannot be evaluated holds, so that the user is told."""
        if point.condition is None:
            return True
        try:
            return bool(point.condition.evaluate(self.machine))
        except DebugError as error:
            problems.append(f"condition `{point.condition.text}` of {point.number}: {error}")
            return True

    def _stopped(self, reason: str, result: RunResult, hits: list[Breakpoint], writes: list[Write], problems: list[str]) -> Stop:
        for point in (*hits, *(write.watchpoint for write in writes)):
            point.hits += 1
        for point in hits:
            if point.temporary:
                del self.points[point.number]
        return Stop(reason, result, hits, writes, problems)

    # ---------------------------------------------------------------------------------------------- ways to go on

    def advance(self, way: Callable[[], Stop]) -> Stop:
        """Go on in a way that the user has chosen. Raises DebugError when the program has ended."""
        if self.machine.exit_code is not None:
            raise DebugError("the program has ended; `restart` starts it again")
        before = self.machine.counters
        with watched(self.machine):                         # around all runs of the way
            stop = way()                                    # it raises only before the program has moved
            self.machine.withdraw(INTERRUPTED)              # the program has stopped: a request to interrupt it is answered
        self.before = before
        return stop

    def line(self, over_calls: bool) -> Stop:
        """Go to the next source line. Into a called function only if it has source lines and `over_calls` is false.

        Where pc has no source line: one instruction.
        """
        start = self.places.line(self.machine.pc)
        while True:
            called = self._is_call(self.machine.pc)
            behind, level = self.machine.pc + 4, self.machine.x[SP]
            stop = self.resume(limit=1)
            stepped_in = stop.reason == "there" and called and self.machine.pc != behind
            if stepped_in and (over_calls or self.places.line(self.machine.pc) is None):
                stop = self._return_to(behind, level)
            if stop.reason != "there" or start is None or self.places.line(self.machine.pc) != start:
                return stop

    def _is_call(self, pc: int) -> bool:
        try:
            return is_call(read_number(self.machine, pc, 4))
        except DebugError:
            return False

    def unit(self, name: str = "") -> Stop:
        """Go to the next operation of a unit, or of any unit. Raises DebugError when the program has none."""
        return self.resume(until=unit_operations(self.machine, name))

    def finish(self) -> Stop:
        """Go on until the function has returned. Raises DebugError when the caller is not known."""
        calls, why = backtrace(self.machine)
        if len(calls) < 2:
            raise DebugError("this function's caller is not known: " + (why or "the program starts here"))
        caller = calls[1]
        return self._return_to(caller.pc, caller.sp)

    def _return_to(self, address: int, level: int) -> Stop:
        """Go on until pc is there and sp is at `level` or above. Below it, a recursive call has returned."""
        return self.resume(until=[address], when=lambda: self.machine.x[SP] >= level)


def check_watch(machine: ReferenceMachine, address: int, size: int) -> None:
    """Raise DebugError for bytes that nothing can write to, or that are too many to watch."""
    if not 0 < size <= LARGEST_WATCH:
        raise DebugError(f"a watchpoint of {size} bytes; expected 1..{LARGEST_WATCH}")
    read_memory(machine, address, size)
    region = machine.memory.region(address, size)
    if region is None or not region.writable:
        raise DebugError(f"{address:#x} lies in read-only memory: nothing writes there")


def changed_bytes(old: bytes, new: bytes) -> list[int]:
    """Positions at which two equally long byte strings differ."""
    positions: list[int] = np.flatnonzero(np.frombuffer(old, np.uint8) != np.frombuffer(new, np.uint8)).tolist()
    return positions
