"""Ctrl-C and time limits: they ask a running machine to stop at its next instruction boundary.

A run in compiled code sees no Python, so a signal handler alone would come too late. The C part of Python's signal handling
writes to a file descriptor at once; a thread of this room waits there and passes the request on, as it does when time is up.
"""

from __future__ import annotations

import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from isa.files import ends

_DAY = 86_400.0                                     # seconds: a longer pause is beyond what select takes

Stop = Callable[[str], None]
INTERRUPTED, TIMEOUT = "interrupted", "timeout"     # what `stop` is called with


class _Watchdog(threading.Thread):
    """One for the process, from the first run on."""

    def __init__(self) -> None:
        super().__init__(name="slimulator watchdog", daemon=True)
        self.wake, self._woken = socket.socketpair()
        self.wake.setblocking(False)
        self._lock = threading.Lock()
        self._runs: dict[int, tuple[Stop, float]] = {}          # (stop, deadline) by number
        self._next = 0
        self.start()

    def add(self, stop: Stop, deadline: float) -> int:
        with self._lock:
            self._next += 1
            self._runs[self._next] = stop, deadline
        if deadline != float("inf"):
            self.wake.send(b"\0")                               # the thread must not sleep beyond it
        return self._next

    def remove(self, number: int) -> None:
        with self._lock:
            del self._runs[number]

    def run(self) -> None:
        while True:
            with self._lock:
                nearest = min((deadline for _, deadline in self._runs.values()), default=float("inf"))
            pause = None if nearest == float("inf") else min(max(0.0, nearest - time.monotonic()), _DAY)
            ready, _, _ = select.select([self._woken], [], [], pause)
            signals = self._woken.recv(4096) if ready else b""
            now = time.monotonic()
            with self._lock:
                for number, (stop, deadline) in self._runs.items():
                    if not (ends() | {signal.SIGINT}).isdisjoint(signals):
                        stop(INTERRUPTED)
                    elif deadline <= now:
                        stop(TIMEOUT)
                        self._runs[number] = stop, float("inf")


_watchdog: _Watchdog | None = None


@contextmanager
def watched(stop: Stop, timeout: float | None = None) -> Iterator[None]:
    """While the block runs, call `stop` with INTERRUPTED on Ctrl-C and with TIMEOUT after `timeout` seconds; a second Ctrl-C
    raises KeyboardInterrupt.

    Ctrl-C is left alone outside the main thread, and where the application has a handler of its own.
    """
    global _watchdog
    main = threading.current_thread() is threading.main_thread()
    mine = main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    heard = mine or (main and ends())               # what ends the process is handled when the machine has stopped
    if not heard and timeout is None:
        yield
        return
    _watchdog = _watchdog if _watchdog is not None and _watchdog.is_alive() else _Watchdog()
    number = _watchdog.add(stop, float("inf") if timeout is None else time.monotonic() + timeout)
    again = False

    def handler(_signal: int, frame: Any) -> None:
        nonlocal again
        if again:
            raise KeyboardInterrupt
        again = True
        stop(INTERRUPTED)

    descriptor = -1
    if mine:
        signal.signal(signal.SIGINT, handler)
    if heard:
        descriptor = signal.set_wakeup_fd(_watchdog.wake.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        if heard:
            signal.set_wakeup_fd(descriptor)
        if mine:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        _watchdog.remove(number)
