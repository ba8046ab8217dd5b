"""Places of a program: from symbols and source lines to addresses, and back; and the text of the source lines.

    main   main+8   0x80000010   *EXPRESSION      an address
    gemv.s:12   12                                a source line, of the file that pc is in
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from emulator.debug.access import DebugError, code_words, read_memory, read_number
from emulator.debug.expressions import integer, parse_expression
from isa.disassembly import SymbolIndex, format_instruction
from isa.engine.state import WORD
from isa.formats import FIELDS
from isa.hints import nearest
from isa.instruction import TABLE, XSLIM_OPCODES, find
from isa.program import Program, place_text
from isa.reference import ReferenceMachine


class SourceLine(NamedTuple):
    """A line of a source file, counted from 1."""

    file: str
    number: int

    def __str__(self) -> str:
        return f"{self.file}:{self.number}"


class Places:
    """Finds places in one program. `folder` is the one of the program file: sources are looked for there, too."""

    def __init__(self, program: Program, folder: Path | None = None) -> None:
        self.program, self.folder = program, folder or Path()
        self.symbols = SymbolIndex(program)
        self._sources: dict[str, list[str] | None] = {}
        self._starts: dict[SourceLine, list[int]] = {}          # where the code of a line starts; a line of a macro has many
        before = SourceLine("", 0)
        for row in program.lines:
            line = SourceLine(row.file, row.line)
            if row.file and line != before:
                self._starts.setdefault(line, []).append(row.address)
            before = line

    # ---------------------------------------------------------------------------------------------- address -> name

    def name(self, address: int, within: int | None = None) -> str:
        """"0x80000010 <main+0x8> (gemv.s:12)", as far as it is known; `within`: the address whose symbol and line it is instead."""
        within = address if within is None else within
        return place_text(address, self.symbols.name(address, within), self.program.line_at(within))

    def line(self, address: int) -> SourceLine | None:
        """The source line of an instruction, None where it is not known."""
        file, _, number = self.program.line_at(address).rpartition(":")
        return SourceLine(file, int(number)) if file else None

    def text(self, line: SourceLine) -> str | None:
        """The text of a source line, None when the file is not there."""
        lines = self.source(line.file)
        return lines[line.number - 1] if lines is not None and 0 < line.number <= len(lines) else None

    def source(self, file: str) -> list[str] | None:
        """The lines of a source file: from where the program says, or from beside the program. None if it is in neither place."""
        if file not in self._sources:
            self._sources[file] = None
            for path in (Path(file), self.folder / file, self.folder / Path(file).name):
                try:
                    self._sources[file] = path.read_text(encoding="utf-8", errors="replace").splitlines()
                    break
                except (OSError, ValueError):           # ValueError: a name with a zero byte
                    continue
        return self._sources[file]

    def instruction(self, machine: ReferenceMachine, address: int) -> str:
        """The instruction in memory at an address, as text."""
        return format_instruction(read_number(machine, address, 4), address, self.symbols, aliases=True)

    # ---------------------------------------------------------------------------------------------- name -> address

    def code(self, text: str, machine: ReferenceMachine) -> list[int]:
        """The addresses for a breakpoint at a place: one, or all at which the code of a line starts.

        Raises DebugError, also for a place in data. A number or *EXPRESSION may lie in data: a program may have put code there.
        """
        line = self.source_line(text, machine)
        addresses = self._starts[line] if line else [self.address(text, machine)]
        for address in addresses:
            if address % 4:
                raise DebugError(f"{address:#x} is not a multiple of 4: no instruction starts there")
            read_memory(machine, address, 4)
            data = next((s.name for s in self.program.sections if s.address <= address < s.end and "x" not in s.flags), "")
            if data and re.match(r"[^*\d]", text.strip()):
                raise DebugError(f"{text.strip()} lies in {data}, which has no code; use `*{text.strip()}` to stop there anyway")
        return addresses

    def address(self, text: str, machine: ReferenceMachine) -> int:
        """The value of an expression, as an address. Raises DebugError."""
        return integer(parse_expression(text.strip().removeprefix("*"), self.program).evaluate(machine), "an address") & WORD

    def source_line(self, text: str, machine: ReferenceMachine) -> SourceLine | None:
        """The line that `file:12` or `12` names, or the next one that has code; None for another kind of place.

        Raises DebugError for an unknown file and for a line after the last one with code.
        """
        found = re.fullmatch(r"(?:(.+):)?(\d+)", text.strip())
        if found is None:
            return None
        if found[1]:
            file = self._file(found[1])
        else:
            here = self.line(machine.pc)
            if here is None:
                raise DebugError(f"line {found[2]}: expected FILE:LINE, because there is no source line at pc "
                                 f"{machine.pc:#x}")
            file = here.file
        wanted = int(found[2])
        numbers = [line.number for line in self._starts if line.file == file]
        number = min((n for n in numbers if n >= wanted), default=None)
        if number is None:
            raise DebugError(f"{file} has no code at line {wanted} or after it; the last line with code is {max(numbers)}")
        return SourceLine(file, number)

    def _file(self, name: str) -> str:
        """The file with code whose path ends in `name`."""
        files = dict.fromkeys(line.file for line in self._starts)
        ends = [file for file in files if file == name] or [file for file in files if f"/{file}".endswith(f"/{name}")]
        if len(ends) == 1:
            return ends[0]
        if ends:
            raise DebugError(f"{name} is ambiguous: " + " or ".join(ends))
        if not files:
            raise DebugError("the program has no source lines: give an address or a symbol")
        hint = nearest(name, {Path(file).name for file in files}, quote="")
        raise DebugError(f"no code is from a file {name}; {hint or 'expected one of ' + ', '.join(files)}")

    def symbol_names(self) -> Iterator[str]:
        return (symbol.name for symbol in self.program.symbols)


def unit_operations(machine: ReferenceMachine, unit: str = "") -> set[int]:
    """Addresses of the instructions of a unit, or of all units, in the code that is in memory now.

    Raises DebugError for a unit without instructions, and where the program has none of them.
    """
    units = dict.fromkeys(row.unit for row in TABLE.values() if row.is_xslim)
    if unit and unit not in units:
        raise DebugError(f"no unit `{unit}`; expected one of {', '.join(units)}")
    addresses: set[int] = set()
    for base, words in code_words(machine):
        for opcode in XSLIM_OPCODES:
            for i in ((words & FIELDS["opcode"].mask) == opcode).nonzero()[0].tolist():
                row = find(int(words[i]))
                if row is not None and unit in ("", row.unit):
                    addresses.add(base + 4 * i)
    if not addresses:
        raise DebugError(f"the program has no {unit or 'unit'} operation")
    return addresses
