"""Services of the environment: what `ecall` does, and the host, which does it.

The number goes in a7, arguments in a0-a2, the result comes back in a0. Numbers below 0x5110 are those of RISC-V Linux; while a
trap handler is installed (mtvec is not 0) they trap instead, so that a program can serve its own calls. Numbers of no service trap
in any case.
Console output and tokens go through a `Host`, so a run can be captured, streamed or driven from Python.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

WRITE, EXIT, READ_TOKEN, EMIT_TOKEN, SHOW, SEQUENCE = 64, 93, 0x5110, 0x5111, 0x5112, 0x5113
EBADF, EFAULT, ENOSYS = 9, 14, 38       # Linux errno: bad file descriptor, bad address, no such system call


@dataclass(frozen=True)
class Service:
    """One environment call, for the manual."""

    number: int
    name: str
    arguments: str
    text: str


SERVICES: tuple[Service, ...] = (
    Service(WRITE,      "write",      "a0 file, a1 address, a2 bytes", "1: output, 2: errors; a0 = bytes written, -9 for others"),
    Service(EXIT,       "exit",       "a0 exit code",                  "end the run"),
    Service(READ_TOKEN, "read_token", "",                              "a0 = next prompt token, -1 when there is none left"),
    Service(EMIT_TOKEN, "emit_token", "a0 token",                      "hand a token to the host"),
    Service(SHOW,       "show",       "a0 address, a1 numbers",        "let the host look at fp32 numbers; a0 = a1"),
    Service(SEQUENCE,   "sequence",   "a0 number",                     "whose tokens are emitted from now on; at first 0"),
)

NUMBERS = frozenset(service.number for service in SERVICES)


def is_served(number: int, handler: bool) -> bool:
    """Whether `ecall` with this number in a7 is served, not trapped. `handler`: mtvec is not 0."""
    return number in NUMBERS and not (handler and number < READ_TOKEN)


KEPT = 1 << 24                  # bytes of output and of errors
TOKENS_KEPT = 1 << 20
_PIECE = 1 << 20              # bytes that go to the host at a time


class Host:
    """The outside world of a run: console, prompt tokens, emitted tokens.

    Pass `write` to see console bytes as they come, `emit` for tokens, `show` for numbers, (n,) fp32, that are the program's memory:
    they may change when it returns. `sequence` is the one that emitted tokens belong to. `output` and `errors` are the last `keep`
    bytes that the program wrote to each, `tokens` the last TOKENS_KEPT that it emitted; `written` counts all bytes, [output,
    errors].
    """

    def __init__(self, prompt: Iterable[int] = (), *, write: Callable[[int, bytes], None] | None = None,
                 emit: Callable[[int], None] | None = None, show: Callable[[npt.NDArray[np.float32]], None] | None = None,
                 keep: int = KEPT) -> None:
        self.prompt = iter(prompt)
        self.output = bytearray()
        self.errors = bytearray()
        self.written = [0, 0]
        self.keep = keep
        self.sequence = 0
        self._tokens: deque[int] = deque(maxlen=TOKENS_KEPT)
        self._write, self._emit, self._show = write, emit, show

    @property
    def tokens(self) -> list[int]:
        """The tokens that were emitted, a copy."""
        return list(self._tokens)

    def write(self, file: int, data: bytes) -> None:
        """Take what the program writes to file 1 or 2."""
        kept = self.output if file == 1 else self.errors
        self.written[file - 1] += len(data)
        kept += data
        if len(kept) > self.keep:
            del kept[:len(kept) - self.keep]
        if self._write:
            self._write(file, data)

    def write_all(self, file: int, data: npt.NDArray[np.uint8]) -> None:
        """Write bytes piece by piece: a program may write all of memory at once."""
        for start in range(0, len(data), _PIECE):
            self.write(file, data[start:start + _PIECE].tobytes())

    def read_token(self) -> int:
        return next(self.prompt, -1)

    def emit_token(self, token: int) -> None:
        self._tokens.append(token)
        if self._emit:
            self._emit(token)

    def show(self, numbers: npt.NDArray[np.float32]) -> None:
        if self._show:
            self._show(numbers)

    def replay(self, output: bytes, errors: bytes, written: Iterable[int], tokens: Iterable[int], prompt: Iterable[int],
               sequence: int = 0) -> None:
        """Take the state of a host after a run. `write` and `emit` are not called for it."""
        self.sequence = sequence
        for kept, data in ((self.output, output), (self.errors, errors)):
            kept[:] = data[max(0, len(data) - self.keep):]
        self.written, self.prompt = list(written), iter(prompt)
        self._tokens = deque(tokens, TOKENS_KEPT)


def to_terminal(file: int, data: bytes) -> None:
    """A `write` for Host that passes console bytes on to this process's stdout or stderr as they come."""
    stream = sys.stdout if file == 1 else sys.stderr
    stream.buffer.write(data)
    stream.flush()
