"""The diagnostics of the assembler: what is wrong, where, what is expected; and how they are printed.

    sum.s:4:14: error: 5000 is out of range for the immediate of addi: -2048..2047
        addi a0, a0, 5000
                     ^^^^
    hint: ...
    lib.s:3: note: in macro `twice`, called here

Any part of them may come from outside: the printed text has no control characters (isa/text.py) and no endless lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from isa import hints
from isa.text import printable, shortened

SHOWN = 120     # characters of a source line that a diagnostic shows
WORD, MESSAGE = 200, 1000       # characters of a word in a message, and of a message; a longer one loses its middle
_LONG = re.compile(rf"\S{{{WORD + 1},}}")


@dataclass(frozen=True)
class Span:
    """A stretch of source: `line` and `column` count from 1, `text` is the line as the assembler saw it (macros expanded).

    `indent`: columns of the line that stand before `text`, which then is only a part of the line.
    """

    file: str
    line: int
    column: int = 0             # 0: the line as a whole, or the file
    length: int = 1
    text: str = ""
    indent: int = 0

    def place(self) -> str:
        return f"{printable(self.file)}:{self.line}" + (f":{self.column}" if self.column else "")

    def picture(self) -> str:
        """The source line with the stretch underlined; a long line is cut around the stretch."""
        if not self.column or not self.text or self.text.isspace():
            return ""
        text, start = self.text, self.column - 1 - self.indent
        first = max(0, start - SHOWN // 2) if len(text) > SHOWN else 0
        part = text[first:first + SHOWN].replace("\t", " ").rstrip()
        left, under = printable(part[:start - first]), printable(part[start - first:start - first + self.length])
        line = ("..." if first else "") + printable(part) + ("..." if first + SHOWN < len(text) else "")
        return f"\n    {line}\n    {' ' * (3 * bool(first) + len(left))}{'^' * max(1, len(under))}"


@dataclass(frozen=True)
class Note:
    """A second place of a diagnostic: the first definition, the macro call, the include."""

    message: str
    span: Span

    def __str__(self) -> str:
        return f"{self.span.place()}: note: {shown(self.message)}{self.span.picture()}"


@dataclass(frozen=True)
class Diagnostic:
    """One error or warning."""

    message: str
    span: Span
    hint: str = ""
    notes: tuple[Note, ...] = ()
    severity: str = "error"

    def __str__(self) -> str:
        hint = f"\nhint: {shown(self.hint)}" if self.hint else ""
        notes = "".join(f"\n{note}" for note in self.notes)
        return f"{self.span.place()}: {self.severity}: {shown(self.message)}{self.span.picture()}{hint}{notes}"


def shown(message: str) -> str:
    """A message or hint as it is printed. It may have several lines."""
    if len(message) > WORD:
        message = shortened(_LONG.sub(lambda word: shortened(word[0], WORD), message), MESSAGE)
    return printable(message, keep="\n")


class AssemblyError(Exception):
    """The source does not make a program. `diagnostics` holds everything that is wrong with it, in source order."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("\n".join(map(str, self.diagnostics)))


class SourceError(Exception):
    """Raised while one statement is worked on; the assembler adds the place and goes on with the next statement.

    `start` and `end` are columns in the statement's line, counted from 0; without them the whole statement is meant. A hint that
    takes time to find is a function; it is called only for messages that are printed.
    """

    def __init__(self, message: str, start: int | None = None, end: int | None = None, *, hint: str | Callable[[], str] = "",
                 notes: tuple[Note, ...] = ()) -> None:
        super().__init__(message)
        self.message, self.start, self.end, self.hint, self.notes = message, start, end, hint, notes

    @property
    def hint_text(self) -> str:
        return self.hint if isinstance(self.hint, str) else self.hint()


class UnknownName(SourceError):
    """A symbol without a definition, or an unknown operation. The cause may be an error that is reported already.

    `symbol`: the symbol. `follows`: such an error is certainly the cause.
    """

    symbol = ""
    follows = False


def nearest(name: str, candidates: Iterable[str]) -> str:
    """A hint with the candidate that `name` was probably meant to be, or ""."""
    return hints.nearest(name, candidates, quote="`")


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")
