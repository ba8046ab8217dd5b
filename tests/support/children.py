"""Processes that tests start. All that is waited for has a deadline: a test may fail, but not stand still.

    with Child(*SLIMULATOR, "run", "p.elf") as child:
        child.wait_for("ready")
        child.interrupt()
        out, err = child.end()
"""

from __future__ import annotations

import os
import pty
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]
SLIMULATOR = sys.executable, "-m", "slimulator"
LIMIT = 400.0           # seconds for anything: a process that compiles kernels on a busy host takes its time


def run(*command: object, timeout: float = LIMIT, **options: Any) -> subprocess.CompletedProcess[str]:
    """A process from its start to its end: status, stdout, stderr."""
    options = {"cwd": ROOT, "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
               "text": True} | options
    return subprocess.run(list(map(str, command)), timeout=timeout, check=False, **options)


class Child:
    """A process that runs beside the test. As a context it is killed at the end; `terminal`: it sees a terminal of its own.

    What it writes to stdout ("out") and stderr ("err") is read whenever something is waited for; a terminal's is all "out".
    """

    def __init__(self, *command: object, terminal: bool = False, **options: Any) -> None:
        controller, ends = -1, {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        if terminal:
            controller, end = pty.openpty()
            ends = {"stdin": end, "stdout": end, "stderr": end, "env": os.environ | {"TERM": "dumb"}}
        options = {"cwd": ROOT, **ends, **options}
        self.process = subprocess.Popen(list(map(str, command)), **options)
        self._selector = selectors.DefaultSelector()
        self._texts = {"out": b"", "err": b""}
        self._files: dict[str, int] = {}
        if terminal:
            os.close(end)
            self._files["out"] = controller
        else:
            self._files |= {name: os.dup(stream.fileno()) for name, stream in
                            (("out", self.process.stdout), ("err", self.process.stderr)) if stream is not None}
            for stream in (self.process.stdout, self.process.stderr):
                if stream is not None:
                    stream.close()
        self._input = controller if terminal else self.process.stdin.fileno() if self.process.stdin else -1
        for name, file in self._files.items():
            self._selector.register(file, selectors.EVENT_READ, name)

    @property
    def status(self) -> int | None:
        """Exit status, None while it runs."""
        return self.process.poll()

    def _read(self, deadline: float, wanted: str) -> None:
        ready = self._selector.select(max(0.0, deadline - time.monotonic()))
        if not ready:
            self.process.kill()
            raise AssertionError(f"no {wanted} in time; so far {self._texts}")
        for key, _ in ready:
            try:
                data = os.read(key.fd, 1 << 16)
            except OSError:                         # a terminal whose other end is closed
                data = b""
            self._texts[key.data] += data
            if not data:
                self.close(key.data)

    def close(self, stream: str) -> None:
        """Read no more of a stream: who writes to it then gets an error."""
        if stream in self._files:
            self._selector.unregister(self._files[stream])
            os.close(self._files.pop(stream))

    def wait_for(self, text: str, stream: str = "out", timeout: float = LIMIT) -> str:
        """All up to a text, which must come. What is behind it is kept."""
        deadline = time.monotonic() + timeout
        while text.encode() not in self._texts[stream]:
            assert stream in self._files, f"no {text!r} any more: {self._texts}"
            self._read(deadline, repr(text))
        before, found, self._texts[stream] = self._texts[stream].partition(text.encode())
        return (before + found).decode()

    def characters(self, count: int, stream: str = "out", timeout: float = LIMIT) -> str:
        """The next so many bytes, which must come."""
        deadline = time.monotonic() + timeout
        while len(self._texts[stream]) < count:
            assert stream in self._files, f"no {count} bytes any more: {self._texts}"
            self._read(deadline, f"{count} bytes")
        found, self._texts[stream] = self._texts[stream][:count], self._texts[stream][count:]
        return found.decode()

    def line(self, stream: str = "out", timeout: float = LIMIT) -> str:
        """The next line with its end."""
        return self.wait_for("\n", stream, timeout)

    def send(self, text: str) -> None:
        """Write to its stdin, or to its terminal."""
        os.write(self._input, text.encode())

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.signal(signal.SIGINT)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self, timeout: float = LIMIT) -> tuple[str, str]:
        """Wait for its end: (stdout, stderr), as far as they were not read yet."""
        deadline = time.monotonic() + timeout
        if self.process.stdin:
            self.process.stdin.close()
        while self._files:
            self._read(deadline, "end")
        self.process.wait(max(0.1, deadline - time.monotonic()))
        return self._texts["out"].decode(), self._texts["err"].decode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        for name in list(self._files):
            self.close(name)
        self._selector.close()
        if self.process.stdin:
            self.process.stdin.close()
        self.process.wait(LIMIT)
