"""Source text: files, lines, statements, and where each of them comes from.

Comments are blanked here, once per file, so that columns stay true; a line is then split into statements: labels, and an
operation with the text of its operands. Operands are parsed later (asm/syntax.py), macros are expanded in asm/preprocess.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from asm.assembly import Frame
from asm.diagnostics import Note, SourceError, Span

# Strings and character constants are matched so that a "#" in them starts no comment.
# The expressions never go back (*+): a long string costs time in proportion to its length, and no memory.
_STRING = r'"[^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*+"?'
_COMMENT = re.compile(rf"{_STRING}|'(?:\\[^\n]|[^\\\n])'?"
                      r"|(?P<block>/\*[^*]*+(?:\*(?!/)[^*]*+)*+(?:\*/)?)|(?P<line>(?:#|//)[^\n]*+)")
_SEPARATOR = re.compile(rf"{_STRING}|'(?:\\.|[^\\])'?|(?P<semicolon>;)")
_LABEL = re.compile(r"\s*+(?P<name>[\w.$]++)\s*+:")
_OPERATION = re.compile(r"\s*+(?P<name>[\w.$\\@]++)\s*+")
_ASSIGNMENT = re.compile(r"\s*+(?P<name>(?:[^\W\d]|[.$])[\w.$]*+)\s*+=(?!=)\s*+")


@dataclass(eq=False, slots=True)
class Statement:
    """A label definition (`operation` LABEL) or an operation with its operands, at a column (from 0) of its line.

    Statements are shared by all lines that read the same; what the assembler works out about one is kept in `plan`: its bytes,
    or the emitters of its bytes.
    """

    operation: str
    column: int
    operands: str = ""          # not parsed yet
    operands_column: int = 0
    plan: Any = None
    is_code: bool = False       # an instruction

    @property
    def is_plain(self) -> bool:
        """True when it is known to make the same bytes at every place, or none."""
        return type(self.plan) is bytes or not self.operation

    @property
    def end(self) -> int:
        return self.operands_column + len(self.operands) if self.operands else self.column + len(self.operation)


LABEL, ASSIGNMENT = "label:", "="      # no operation in a source can be called "label:"
NOTHING: tuple[Statement, ...] = (Statement("", 0),)       # an empty line: shown in the listing


class Body(NamedTuple):
    """The lines of a macro or repetition, as a Buffer has them."""

    lines: list[str]
    code: list[str]
    first: int
    indent: int


@dataclass(eq=False, slots=True)
class Buffer:
    """A run of lines that is read from top to bottom: a file, or one expansion of a macro or repetition.

    `lines` are what the user wrote (macro arguments filled in), `code` the same without comments. `first` is the number of
    the first line in `file`; `parent` is the place that caused this buffer to be read. `grown` says that its lines are not
    written out in a file that is read once: they cost something (asm/budget.py). `indent` is the number of columns that stand
    before the first line in `file`: more than 0 for a body that begins behind its .macro or .rept, on the same line.
    """

    file: str
    lines: list[str]
    code: list[str]
    first: int = 1
    kind: str = "file"
    name: str = ""
    parent: Site | None = None
    period: int = 0             # lines of one round, when the rounds of a repetition differ and follow each other
    grown: bool = False
    indent: int = 0
    depth: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.parent is not None:
            above = self.parent.buffer
            self.depth = above.depth + 1
            self.grown |= above.grown or self.kind != "include"

    def line(self, index: int) -> int:
        """The number in `file` of a line."""
        return self.first + (index % self.period if self.period else index)

    def indent_of(self, index: int) -> int:
        """Columns that stand before a line in `file`."""
        return self.indent if self.line(index) == self.first else 0

    def callers_outward(self) -> Iterator[tuple[Buffer, Site]]:
        """The buffers from this one out to the file that was assembled, each with the place that caused it; not that file."""
        buffer = self
        while buffer.parent is not None:
            yield buffer, buffer.parent
            buffer = buffer.parent.buffer

    @property
    def origin(self) -> tuple[Frame, ...]:
        """The includes, calls and repetitions that led here, outermost first."""
        frames = [Frame(buffer.kind, buffer.name, parent.buffer.file, parent.line) for buffer, parent in self.callers_outward()]
        return tuple(reversed(frames))


@dataclass(eq=False, slots=True)
class Site:
    """One statement in one place: a line of a buffer."""

    buffer: Buffer
    index: int
    statement: Statement

    @property
    def line(self) -> int:
        return self.buffer.line(self.index)

    @property
    def text(self) -> str:
        return self.buffer.lines[self.index]

    def span(self, start: int | None = None, end: int | None = None) -> Span:
        """The stretch between two columns of the line, by default the statement."""
        if start is None:
            start = self.statement.column
            end = self.statement.end if self.statement.operation else len(self.text)
        indent = self.buffer.indent_of(self.index)
        return Span(self.buffer.file, self.line, indent + start + 1, max(1, (end or start + 1) - start), self.text, indent)

    def notes(self) -> Iterator[Note]:
        """The includes, calls and repetitions that led here, innermost first."""
        for buffer, parent in self.buffer.callers_outward():
            message = {"include": "included from here", "macro": f"in the expansion of macro `{buffer.name}`, called here"}
            yield Note(message.get(buffer.kind, f"in the repetition that .{buffer.kind} starts here"), parent.span())

    def path(self) -> tuple[int, ...]:
        """Line numbers from the main file down to this one: sorting by it gives reading order."""
        buffer = self.buffer
        return (self.line,) if buffer.parent is None else (*buffer.parent.path(), self.line)

    def callers(self) -> Site:
        """The place in a file where the macros and repetitions that led here were started; in a file, the site itself."""
        site = self
        while site.buffer.kind not in ("file", "include") and site.buffer.parent is not None:
            site = site.buffer.parent
        return site


def blank_comments(text: str) -> tuple[str, int | None]:
    """`text` with comments replaced by blanks, and the offset of a /* that is never closed."""
    if "#" not in text and "/" not in text:
        return text, None
    open_at: int | None = None

    def blank(match: re.Match[str]) -> str:
        nonlocal open_at
        if match["line"] is not None:
            return ""
        if match["block"] is None:
            return match[0]
        if not match[0].endswith("*/") or len(match[0]) < 4:
            open_at = match.start()
        return re.sub(r"[^\n]", " ", match[0])

    return _COMMENT.sub(blank, text), open_at


def decode(data: bytes, name: str) -> str:
    """The text of a source file. Raises SourceError when it is not UTF-8, with the line."""
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SourceError(f"{name} is not UTF-8 text: byte {data[error.start]:#04x} in line {line}",
                          hint="save the file in UTF-8, or include it with .incbin if it is data") from None


def file_buffer(name: str, text: str, kind: str = "file", parent: Site | None = None,
                again: bool = False) -> tuple[Buffer, Site | None]:
    """The buffer for a file's text, `again` when it was read before; and the place of a block comment that is never closed."""
    blanked, open_at = blank_comments(text)
    lines = text.split("\n")
    code = lines[:] if blanked is text else [ours if ours == line else line                 # equal lines are kept once
                                             for ours, line in zip(lines, blanked.split("\n"), strict=True)]
    if lines[-1] == "":                                     # after the last line feed there is no line
        lines.pop()
        code.pop()
    buffer = Buffer(name, lines, code, kind=kind, name=name if parent else "", parent=parent, grown=again)
    if open_at is None:
        return buffer, None
    index = text.count("\n", 0, open_at)
    return buffer, Site(buffer, index, Statement("/*", open_at - (text.rfind("\n", 0, open_at) + 1)))


def split_statements(line: str) -> tuple[Statement, ...]:
    """The statements of a line that holds no comment."""
    if ";" not in line:
        return tuple(_statements(line, 0)) or NOTHING
    cuts = [match.start() for match in _SEPARATOR.finditer(line) if match["semicolon"]]
    starts, ends = [0, *(cut + 1 for cut in cuts)], [*cuts, len(line)]
    return tuple(statement for start, end in zip(starts, ends, strict=True)
                 for statement in _statements(line[start:end], start)) or NOTHING


def _statements(text: str, column: int) -> Iterator[Statement]:
    at = 0
    while (label := _LABEL.match(text, at)) is not None:
        yield Statement(LABEL, column + label.start("name"), label["name"], column + label.start("name"))
        at = label.end()
    rest = text[at:].rstrip()
    if not rest.strip():
        return
    assignment = _ASSIGNMENT.match(rest)
    if assignment is not None:
        start = assignment.start("name")
        value = rest[start + len(assignment["name"]):].replace("=", " ", 1)     # keeps its columns
        operands = f"{assignment['name']},{value[1:]}"
        yield Statement(ASSIGNMENT, column + at + start, operands, column + at + start)
        return
    operation = _OPERATION.match(rest)
    if operation is None:
        start = len(rest) - len(rest.lstrip())
        yield Statement(rest[start], column + at + start)
        return
    yield Statement(operation["name"], column + at + operation.start("name"),
                    rest[operation.end():], column + at + operation.end())
