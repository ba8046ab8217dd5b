"""Preprocessing: which lines the assembler gets, in which order.

.include, .macro, .rept, .irp, .irpc and the conditionals work on lines of text, before their operands are parsed. All other
statements are handed on, one at a time. Conditions and counts may use symbols that are defined above, so preprocessing and assembly
alternate: the assembler asks for the next statement, and the values of symbols are known up to that line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from asm.budget import BYTE, CALL, FILE, LINE
from asm.diagnostics import Note, SourceError
from asm.macros import BODIES, ENDS, Macro, arguments_of, fill_in, parse_header, split_arguments, unquoted
from asm.source import Body, Buffer, Site, Statement, decode, file_buffer, split_statements
from asm.state import AssemblyState
from asm.syntax import Memory, String, Type, parse_operands

DEEPEST = 100               # includes, macro calls and repetitions inside one another
REMEMBERED = 1 << 17        # lines whose statements are kept for equal ones


@dataclass(eq=False, slots=True)
class Reading:
    """A buffer and how far it has been read: the next line, and in it the next statement.

    `conditions` are the .ifs opened in it: [site, taken now, taken once, else seen, skipping before it]. `round` holds the
    statements of the first of several rounds, as long as there is nothing among them that could make another round differ.
    """

    buffer: Buffer
    index: int = 0
    position: int = 0
    repeat: int = 1
    conditions: list[list[object]] = field(default_factory=list)
    round: list[Site] | None = None


@dataclass(eq=False, slots=True)
class Again:
    """The statements that were handed on last come again, `rounds` times: a repetition of plain instructions."""

    sites: list[Site]
    rounds: int


class Preprocessor:
    """Reads the main file."""

    def __init__(self, main: Buffer, state: AssemblyState) -> None:
        self.state = state
        self.stack = [Reading(main)]
        self.macros: dict[str, Macro] = {}
        self.spoilt: set[str] = set()           # names of macros whose header is an error, which has been reported
        self._included: set[str] = set()
        self.expansions = 0
        self.skipping = False
        self._statements = lru_cache(REMEMBERED)(split_statements)      # equal lines share their statements
        self.directives: dict[str, Callable[[Site], None]] = {
            ".include": self._include, ".macro": self._macro, ".purgem": self._purgem, ".exitm": self._exitm,
            ".rept": self._repeat, ".irp": self._irp, ".irpc": self._irp, ".end": self._end,
            **dict.fromkeys((".endm", ".endmacro", ".endr"), self._stray),
            **dict.fromkeys(_CONDITIONS, self._if),
            ".elseif": self._else, ".else": self._else, ".endif": self._endif}

    def sites(self) -> Iterator[Site | Again]:
        """Every statement to assemble. The other lines come as empty statements, for the listing."""
        handlers, macros, messages = self.directives, self.macros, self.state.messages
        while self.stack:
            reading = self.stack[-1]
            buffer, index, start = reading.buffer, reading.index, reading.position
            if index >= len(buffer.code):
                if again := self._leave(reading):
                    yield again
                continue
            statements = self._statements(buffer.code[index])
            reading.index, reading.position = index + 1, 0
            for position in range(start, len(statements)):
                statement = statements[position]
                operation = statement.operation
                if self.skipping and operation not in CONDITIONALS:
                    continue
                site = Site(buffer, index, statement)
                if operation in handlers or operation in macros:
                    reading.round = None
                    yield Site(buffer, index, Statement("", statement.column))
                    reading.index, reading.position = index, position + 1      # where to go on; the handler may change it
                    try:
                        if buffer.grown:
                            self.state.budget.statement(statement.operands)
                        if operation in macros:
                            self._expand(site, macros[operation])
                        else:
                            handlers[operation](site)
                    except SourceError as error:
                        messages.report(site, error)
                        messages.incomplete |= operation == ".include"
                        if messages.exhausted:
                            return
                    break
                if reading.round is not None:
                    reading.round.append(site)
                yield site

    def _leave(self, reading: Reading) -> Again | None:
        """The end of a buffer: again for a repetition, else back to where it came from."""
        for condition in reversed(reading.conditions):
            site = condition[0]
            assert isinstance(site, Site)
            self.state.messages.report(site, SourceError(f"unterminated {site.statement.operation}: its .endif is missing"))
            self.state.messages.incomplete |= self.skipping
        reading.conditions.clear()
        self.skipping = False
        if reading.repeat > 1:
            if reading.round and all(site.statement.is_plain for site in reading.round):
                self.stack.pop()
                return Again(reading.round, reading.repeat - 1)
            reading.repeat -= 1
            reading.index, reading.round = 0, None
        else:
            self.stack.pop()
        return None

    # ---------------------------------------------------------------------------------------- files

    def _enter(self, buffer: Buffer, repeat: int = 1) -> None:
        if buffer.depth > DEEPEST:
            del self.stack[1:]              # all of it is given up: in each level there may be another call
            self.skipping = any(not condition[1] for condition in self.stack[0].conditions)
            what = f"macro `{buffer.name}`" if buffer.kind == "macro" else buffer.kind
            raise SourceError(f"more than {DEEPEST} levels of macros, repetitions and includes: "
                              f"does {what} use itself without end?")
        if buffer.grown:
            self.state.budget.spend(CALL + repeat * (len(buffer.code) + (sum(map(len, buffer.code)) >> 3)))
        if len(buffer.code):
            self.stack.append(Reading(buffer, repeat=repeat, round=[] if repeat > 1 else None))

    def _include(self, site: Site) -> None:
        files, name = self.state.files, _file_name(site)
        path = files.find(name, site)
        real = files.real(str(path))
        for buffer in (site.buffer, *(parent.buffer for _, parent in site.buffer.callers_outward())):
            if buffer.kind in ("file", "include") and files.real(buffer.file) == real:
                raise SourceError(f"recursive include: {name} is already being read")
        again = site.buffer.grown or real in self._included
        self._included.add(real)
        try:
            if again:
                self.state.budget.spend(FILE + path.stat().st_size // 4)
            text = decode(path.read_bytes(), name)
        except OSError as error:
            raise SourceError(f"cannot read {name}: {error.strerror}") from None
        buffer, open_comment = file_buffer(str(path), text, "include", site, again)
        if open_comment is not None:
            self.state.messages.report(open_comment, SourceError("unterminated comment: its */ is missing"))
            self.state.messages.incomplete = True
        self._enter(buffer)

    def _end(self, site: Site) -> None:
        self.stack.clear()

    # ---------------------------------------------------------------------------------------- macros and repetitions

    def _body(self, site: Site) -> Body:
        """What stands from here to the matching end. Raises SourceError when the end is missing."""
        reading, buffer = self.stack[-1], site.buffer
        first, start, depth = reading.index, reading.position, 1
        behind = self._statements(buffer.code[first])
        column = behind[start].column if start < len(behind) else None
        ending = BODIES[site.statement.operation]
        for index in range(first, len(buffer.code)):
            statements = self._statements(buffer.code[index])
            for position in range(start, len(statements)):
                statement = statements[position]
                if BODIES.get(statement.operation) == ending:
                    depth += 1
                elif ENDS.get(statement.operation) == ending:
                    depth -= 1
                    if depth == 0:
                        reading.index, reading.position = index, position + 1
                        return _cut(buffer, first, column, index, statement.column)
            start = 0
        reading.index, reading.position = len(buffer.code), 0
        self.state.messages.incomplete = True
        raise SourceError(f"unterminated {site.statement.operation}: its {ending} is missing")

    def _macro(self, site: Site) -> None:
        statement = site.statement
        body = self._body(site)
        try:
            macro = parse_header(statement.operands)
        except SourceError:
            self.spoilt.add(re.split(r"[\s,]", statement.operands, maxsplit=1)[0])
            raise
        if macro.name in self.macros:
            notes = (Note(f"first definition of `{macro.name}`", self.macros[macro.name].site.span()),)
            raise SourceError(f"macro `{macro.name}` is defined twice", notes=notes, hint="remove it with .purgem before")
        if macro.name in self.directives:
            raise SourceError(f"`{macro.name}` is a directive and cannot be a macro")
        macro.site, macro.body = site, body
        self.macros[macro.name] = macro

    def _purgem(self, site: Site) -> None:
        name = site.statement.operands.strip()
        if self.macros.pop(name, None) is None:
            raise SourceError(f"there is no macro `{name}`")

    def _exitm(self, site: Site) -> None:
        if not any(reading.buffer.kind == "macro" for reading in self.stack):
            raise SourceError(".exitm outside a macro")
        while self.stack.pop().buffer.kind != "macro":
            pass
        self.skipping = False

    def _expand(self, site: Site, macro: Macro) -> None:
        self.state.budget.spend(4 * len(macro.parameters))
        notes = (Note(f"macro `{macro.name}` is defined here", macro.site.span()),)
        try:
            values = arguments_of(macro, site.statement.operands)
        except SourceError as error:
            error.notes = notes
            raise
        body = macro.body
        lines = self._fill_in(body.lines, values)
        code = lines if body.lines == body.code else self._fill_in(body.code, values)
        self.expansions += 1
        self._enter(Buffer(macro.site.buffer.file, lines, code, body.first, "macro", macro.name, site, indent=body.indent))

    def _fill_in(self, lines: list[str], values: dict[str, str]) -> list[str]:
        """The lines of a body with its parameters filled in; they are paid for before they are made."""
        longest = max(map(len, values.values()), default=0)
        for line in lines:
            if "\\" in line:
                self.state.budget.spend(LINE + (len(line) + line.count("\\") * longest >> BYTE))
        return [fill_in(line, values, self.expansions) for line in lines]

    def _repeat(self, site: Site) -> None:
        lines, code, first, indent = self._body(site)
        count = self._value(site)
        if count < 0:
            raise SourceError(f"repetition count {count}: it cannot be negative", 0, len(site.statement.operands))
        if count:
            self._enter(Buffer(site.buffer.file, lines, code, first, "rept", "", site, indent=indent), count)

    def _irp(self, site: Site) -> None:
        """.irp name, value, value ...: the body once per value; .irpc: once per character."""
        statement = site.statement
        lines, code, first, indent = self._body(site)
        name, *values = [unquoted(text) for text, _ in split_arguments(statement.operands)] or [""]
        if not re.fullmatch(r"[A-Za-z_$][\w$]*", name):
            raise SourceError(f"{statement.operation} needs a parameter name and values")
        if statement.operation == ".irpc":
            values = list("".join(values))
        self.state.budget.spend((len(values) + 1) * len(lines))
        all_lines = [line for value in values or [""] for line in self._fill_in(lines, {name: value})]
        all_code = [line for value in values or [""] for line in self._fill_in(code, {name: value})]
        self._enter(Buffer(site.buffer.file, all_lines, all_code, first, statement.operation[1:], name, site, period=len(lines),
                           indent=indent))

    def _stray(self, site: Site) -> None:
        opening = next(start for start, end in BODIES.items() if ENDS[site.statement.operation] == end)
        raise SourceError(f"{site.statement.operation} without {opening}")

    def _value(self, site: Site) -> int:
        """The value of an expression for .if and .rept. Raises SourceError."""
        text = site.statement.operands
        operands = parse_operands(text)
        if len(operands) != 1 or isinstance(operands[0], Memory | String | Type):
            raise SourceError(f"{site.statement.operation} needs one expression", 0, len(text))
        return self.state.known_number(operands[0], site)

    # ---------------------------------------------------------------------------------------- conditions

    def _if(self, site: Site) -> None:
        taken = not self.skipping and self._holds(site, site.statement.operation)
        # While an outer block is skipped, neither branch of this one may be taken.
        self.stack[-1].conditions.append([site, taken, taken or self.skipping, False, self.skipping])
        self.skipping = self.skipping or not taken

    def _holds(self, site: Site, operation: str) -> bool:
        try:
            return _CONDITIONS[operation](self, site)
        except SourceError as error:
            self.state.messages.report(site, error)
            return False

    def _else(self, site: Site) -> None:
        condition = self._open(site)
        if condition[3]:
            raise SourceError(f"{site.statement.operation} after .else")
        operation = site.statement.operation
        condition[3] = operation == ".else"
        taken = not condition[2] and (operation == ".else" or self._holds(site, ".if"))
        condition[1], condition[2] = taken, bool(condition[2]) or taken
        self.skipping = not taken

    def _endif(self, site: Site) -> None:
        self._open(site)
        self.skipping = bool(self.stack[-1].conditions.pop()[4])

    def _open(self, site: Site) -> list[object]:
        if not self.stack[-1].conditions:
            raise SourceError(f"{site.statement.operation} without .if")
        return self.stack[-1].conditions[-1]


def _cut(buffer: Buffer, first: int, column: int | None, last: int, end: int) -> Body:
    """The body from `column` of line `first` (None: from the next line) to before column `end` of line `last`."""
    if column is None:
        first, column = first + 1, 0
    lines, code = buffer.lines[first:last + 1], buffer.code[first:last + 1]
    part = code[-1][column if first == last else 0:end]
    if (column and first == last) or part.strip():
        lines[-1] = code[-1] = part
    else:
        del lines[-1], code[-1]
    if column and first < last:
        lines[0] = code[0] = code[0][column:]
    return Body(lines, code, buffer.line(first), buffer.indent_of(first) + column)


def _file_name(site: Site) -> str:
    """The file name of .include. Raises SourceError."""
    operands = parse_operands(site.statement.operands)
    if len(operands) != 1 or not isinstance(operands[0], String) or not operands[0].value:
        raise SourceError(f"{site.statement.operation} needs a file name in double quotes", 0, len(site.statement.operands))
    return operands[0].path()


def _pair_is_equal(site: Site) -> bool:
    left, _, right = site.statement.operands.partition(",")
    return left.strip().strip("'\"") == right.strip().strip("'\"")


def _is_defined(p: Preprocessor, site: Site) -> bool:
    text = site.statement.operands
    if not re.fullmatch(r"[\w.$]+\s*", text):
        raise SourceError(f"{site.statement.operation} needs one symbol", 0, len(text))
    return p.state.symbols.is_defined(text.strip())


_CONDITIONS: dict[str, Callable[[Preprocessor, Site], bool]] = {
    ".if":     lambda p, site: p._value(site) != 0,
    ".ifne":   lambda p, site: p._value(site) != 0,
    ".ifeq":   lambda p, site: p._value(site) == 0,
    ".iflt":   lambda p, site: p._value(site) < 0,
    ".ifle":   lambda p, site: p._value(site) <= 0,
    ".ifgt":   lambda p, site: p._value(site) > 0,
    ".ifge":   lambda p, site: p._value(site) >= 0,
    ".ifdef":  lambda p, site: _is_defined(p, site),
    ".ifndef": lambda p, site: not _is_defined(p, site),
    ".ifb":    lambda p, site: not site.statement.operands.strip(),
    ".ifnb":   lambda p, site: bool(site.statement.operands.strip()),
    ".ifc":    lambda p, site: _pair_is_equal(site),
    ".ifnc":   lambda p, site: not _pair_is_equal(site),
}
CONDITIONALS = frozenset(_CONDITIONS) | {".elseif", ".else", ".endif"}
