"""A file of lines about a run, one for each chosen instruction: traces and commit logs.

The file appears under its name when the run is over, complete, however the run ends. '-' is stdout. Lines for stdout, devices and
pipes are written at once. Control characters of a name are written as escapes: a line is one line. When a line cannot be written,
the run stops at that instruction and the file is removed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from emulator.observe.report import UNWRITABLE
from isa.files import replacing
from isa.reference import ReferenceMachine, Step, Where
from isa.text import printable

Render = Callable[[ReferenceMachine, Step], str]


class LineLog:
    """Opens `path` at once, so that a file that cannot be written is known before the run. Use as a context; raises OSError.

    After the context, `error` is what went wrong while writing, or None.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.error: OSError | None = None
        self._files = ExitStack()
        self._stream: IO[bytes] = sys.stdout.buffer if str(path) == "-" else self._files.enter_context(replacing(path))
        self._render: Render = lambda machine, step: ""
        self._left = 0

    def follow(self, machine: ReferenceMachine, render: Render, where: Where | None = None,
               writes: Sequence[tuple[int, int]] = (), header: str = "", limit: int | None = None) -> None:
        """Write the lines that `render` makes of the instructions that `where` and `writes` choose, at most `limit`.

        When the limit is reached, the run goes on and is not observed any more.
        """
        self._render, self._left = render, -1 if limit is None else limit
        if header:
            self._write(machine, header)
        machine.hook(self, where, writes)

    def __call__(self, machine: ReferenceMachine, step: Step) -> None:
        text = self._render(machine, step)
        if text:
            self._left -= 1
            if not self._left:
                machine.unhook(self)
            self._write(machine, text)

    def _write(self, machine: ReferenceMachine, text: str) -> None:
        self._put_text(machine, f"{printable(text)}\n")                 # a name may hold what ends a line

    def _put_text(self, machine: ReferenceMachine, text: str) -> None:
        """Lines, each with its end."""
        try:
            self._stream.write(text.encode())
        except OSError as error:
            self.error = error
            machine.unhook(self)
            machine.stop(UNWRITABLE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if self._stream is sys.stdout.buffer and error is None and self.error is None:
                self._stream.flush()
            failed = error or self.error                        # then the file is removed
            self._files.__exit__(type(failed) if failed else None, failed, trace)
        except OSError as late:                                 # the last lines did not fit
            if late is not error:
                self.error = late
        if isinstance(self.error, BrokenPipeError):             # the reader has left: no message
            raise self.error
