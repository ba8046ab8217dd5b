"""Ctrl-C and time limits: they ask a running machine to stop at its next instruction boundary.

A request is never lost: the machine keeps it until a run has reported it (isa/reference.py). This file makes requests.

A run in compiled code sees no Python, so a signal handler alone would come too late. The C part of Python's signal handling
writes to a file descriptor at once. A thread waits there and wakes the machine. The machine then returns to Python, where the
handler makes the request. When time is up, the thread makes the request itself.
"""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from isa.files import ends

_DAY = 86_400.0                                     # seconds: a longer pause is beyond what poll takes
_NEVER = float("inf")

INTERRUPTED, TIMEOUT = "interrupted", "timeout"     # what `stop` is called with


class Stoppable(Protocol):
    """What is watched: a machine. All methods may be called from any thread."""

    def stop(self, reason: str) -> None: ...
    def withdraw(self, reason: str) -> bool: ...
    def wake(self) -> None: ...


class _Watchdog(threading.Thread):
    """The thread. A process has one, from its first run on."""

    def __init__(self) -> None:
        super().__init__(name="slimulator watchdog", daemon=True)
        self.alarm, self._heard = socket.socketpair()           # Python waits there with poll, which takes any descriptor
        self.alarm.setblocking(False)
        self._lock = threading.Lock()
        self._runs: dict[int, tuple[Stoppable, float]] = {}     # (machine, deadline) by number
        self._next = 0
        self.start()

    def add(self, machine: Stoppable, deadline: float) -> int:
        with self._lock:
            self._next += 1
            self._runs[self._next] = machine, deadline
        if deadline != _NEVER:
            with suppress(BlockingIOError):                     # full: then the thread is awake
                self.alarm.send(b"\0")                          # it must not sleep beyond the deadline
        return self._next

    def remove(self, number: int) -> None:
        """Watch a run no more: its machine gets no further requests."""
        with self._lock:
            self._runs.pop(number, None)

    def run(self) -> None:
        while True:
            with self._lock:
                nearest = min((deadline for _, deadline in self._runs.values()), default=_NEVER)
            self._heard.settimeout(None if nearest == _NEVER else min(max(0.001, nearest - time.monotonic()), _DAY))
            try:
                signals = self._heard.recv(4096)
            except TimeoutError:
                signals = b""
            now = time.monotonic()
            with self._lock:
                for number, (machine, deadline) in self._runs.items():
                    if signals.strip(b"\0"):                     # any signal: its handler has to run in Python
                        machine.wake()
                    if deadline <= now:
                        machine.stop(TIMEOUT)
                        self._runs[number] = machine, _NEVER


_watchdog: _Watchdog | None = None


def _on_duty() -> _Watchdog:
    global _watchdog
    _watchdog = _watchdog if _watchdog is not None and _watchdog.is_alive() else _Watchdog()
    return _watchdog


@contextmanager
def watched(machine: Stoppable, deadline: float = _NEVER) -> Iterator[None]:
    """While the block runs, ask `machine` to stop with INTERRUPTED on Ctrl-C and with TIMEOUT at `deadline`, a time.monotonic().

    A second Ctrl-C raises KeyboardInterrupt at once. A first one that no run has reported raises it at the end of the block. A
    TIMEOUT that no run has reported is withdrawn, so that it does not limit the next run. Outside the main thread, and where the
    application has a handler of its own, Ctrl-C is left alone.
    """
    main = threading.current_thread() is threading.main_thread()
    mine = main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    heard = mine or (main and ends())                           # these handlers raise, once the machine has returned to Python
    if not heard and deadline == _NEVER:
        yield
        return
    asked = False
    watchdog: _Watchdog | None = None
    number, before = 0, -1

    def handler(_signal: int, frame: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        machine.stop(INTERRUPTED)

    try:
        if mine:
            signal.signal(signal.SIGINT, handler)               # first of all: from here on nothing breaks in
        watchdog = _on_duty()
        if heard:
            before = signal.set_wakeup_fd(watchdog.alarm.fileno(), warn_on_full_buffer=False)
        number = watchdog.add(machine, deadline)
        yield
    finally:
        if watchdog is not None:
            watchdog.remove(number)
            if heard:
                signal.set_wakeup_fd(before)
        if mine:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if deadline != _NEVER:
            machine.withdraw(TIMEOUT)
        late = asked and machine.withdraw(INTERRUPTED)
    if late:
        raise KeyboardInterrupt
