"""A Slim program in memory, and what can be asked of it.

The assembler and the compiler build programs; isa/elf/writer.py writes them as ELF, isa/elf/reader.py reads them; engines load
them. The parts of a program stand in isa/program_file.py, and can be imported from here too.
"""

from __future__ import annotations

import bisect
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isa.hints import nearest
from isa.notebook import as_frame, as_html
from isa.program_file import ISA_VERSION, Chunk, FileSlice, Line, ProgramError, ProgramFile, Section, Symbol, require
from isa.regions import HBM
from isa.text import printable

if TYPE_CHECKING:
    from isa.preset import Preset
    from isa.regions import Region

__all__ = ["ISA_VERSION", "Chunk", "FileSlice", "Line", "Program", "ProgramError", "Section", "Symbol", "place_text"]


class Program(ProgramFile):
    """Everything that a program file holds, with addresses by name and names by address."""

    @property
    def machine(self) -> Preset:
        """The machine that it was built for, as it was then: the file carries it. Of a program that names none: slim."""
        from isa.preset import load_preset
        return self.built_for or load_preset("slim")

    def _repr_html_(self) -> str:
        rows = [(section.name, f"{section.address:#x}", section.size) for section in self.sections]
        return as_html(("section", "address", "bytes"), rows, f"program {self.path or ''}, entry {self.entry:#x}")

    def to_pandas(self) -> Any:
        """A DataFrame with a row for each symbol: `symbol`, `address`, `bytes`, `section`. Raises ImportError without pandas."""
        return as_frame(("symbol", "address", "bytes", "section"), [
            (symbol.name, symbol.value, symbol.size, symbol.section) for symbol in self.symbols])

    def section(self, name: str) -> Section | None:
        return next((section for section in self.sections if section.name == name), None)

    def symbol(self, name: str) -> Symbol | None:
        return next((symbol for symbol in self.symbols if symbol.name == name), None)

    def address(self, text: str) -> int:
        """The address that "0x80000010", "main", "main+8" or "main-0x10" names. Raises ProgramError with the nearest symbol."""
        if symbol := self.symbol(text):
            return symbol.value % (1 << 64)
        name, sign, offset = re.fullmatch(r"\s*(.*?)\s*(?:([+-])\s*(\w+)\s*)?", text, re.DOTALL).groups()  # type: ignore[union-attr]
        symbol = self.symbol(name)
        try:
            base = symbol.value if symbol else int(name, 0)
            address = base + int(f"{sign}{offset}" if sign else "0", 0)
        except ValueError:
            raise ProgramError(f"{text!r} is not an address; expected a number or a symbol, e.g. 0x80000000 or main+8",
                               hint="" if symbol else nearest(name, [other.name for other in self.symbols])) from None
        require(0 <= address < 1 << 64, f"{text!r} is {address:#x}, which is not a 64-bit address")
        return address

    def extent(self, symbol: Symbol) -> tuple[int, int]:
        """(start, end) of what a symbol names: its size, or without one, up to the next symbol of its section.

        The labels inside a function are not its end: where it is global or a function, only the next such symbol is.
        """
        section = next((s for s in self.sections if s.name == symbol.section), None)
        if symbol.size or section is None:
            return symbol.value, symbol.value + max(symbol.size, 1)
        whole = symbol.kind == "func" or symbol.binding != "local"
        return symbol.value, min((s.value for s in self.symbols if s.section == symbol.section and s.value > symbol.value
                                  and (not whole or s.kind == "func" or s.binding != "local")), default=section.end)

    def range(self, text: str) -> tuple[int, int]:
        """(start, end) of "START..END" or "START..+SIZE" (as in `address`; the end left out), of a symbol, or of one byte.

        Raises ProgramError for text that names no range.
        """
        start, dots, end = text.partition("..")
        if not dots:
            symbol = self.symbol(text)
            address = self.address(text)
            return self.extent(symbol) if symbol else (address, address + 1)
        first = self.address(start)
        last = first + self.address(end[1:]) if end.startswith("+") else self.address(end)
        require(first < last, f"the range {text!r} is empty: {first:#x}..{last:#x}", hint="a range does not include its end")
        require(last <= 1 << 64, f"the range {text!r} ends after the last address")
        return first, last

    def symbol_at(self, address: int, within: int | None = None) -> str:
        """"name+0x10" of the nearest symbol at or below `address` in the same section, "" when there is none.

        `within`: the address whose symbol it is instead (see `before`). Of several symbols in a place the last by `rank` counts.
        """
        within = address if within is None else within
        section = next((s.name for s in self.sections if s.address <= within < s.end), None)
        best = max((s for s in reversed(self.symbols) if s.section is not None and s.section == section and s.value <= within),
                   key=Symbol.rank, default=None)
        if best is None:
            return ""
        return best.name if best.value == address else f"{best.name}+{address - best.value:#x}"

    def before(self, address: int) -> int:
        """The address by whose symbol to name a place behind an instruction: a return address, or the end of a program.

        It is the place itself. If another function starts there, or no code is there, it is the instruction before: a call that
        never returns.
        """
        section = next((s.name for s in self.sections if s.address <= address < s.end and "x" in s.flags), None)
        another = any(s.value == address and s.section == section and (s.kind == "func" or s.binding != "local")
                      for s in self.symbols)
        return address - 4 if section is None or another else address

    def line_at(self, address: int) -> str:
        """"file:line" of the source line that the instruction at `address` comes from, "" when it is not known."""
        index = bisect.bisect_right(self.lines, address, key=lambda line: line.address) - 1
        section = next((s for s in self.sections if s.address <= address < s.end and "x" in s.flags), None)
        if index < 0 or section is None or self.lines[index].address < section.address or not self.lines[index].file:
            return ""
        return f"{self.lines[index].file}:{self.lines[index].line}"

    def check_machine(self, machine: Preset) -> None:
        """Raise ProgramError, naming all that is missing or differs, unless `machine` has what the program needs.

        That is the units whose instructions it has, with the same parameters; and each region where it has a section, or that
        `pim` computes in, at the same base, as large or larger, and with the ports of the core and of these units. Of a program
        that names no machine only the units are known. Clock, rates and energies may be others.
        """
        from isa.preset import presets_with
        missing = [unit for unit in self.units if not machine.has_unit(unit)]
        units = f"{'units' if len(missing) > 1 else 'unit'} {', '.join(missing)}"
        problems = [f"the program needs {units}, which machine {machine.name} does not have"] if missing else []
        hint = "assemble or compile it for this machine, or run it on its own: without --machine"
        if self.built_for and (differing := list(self._differences(self.built_for, machine))):
            problems.append(f"the program was built for machine {self.built_for.name}, and this {machine.name} differs: "
                            + ", ".join(f"{key} is {here} instead of {there}" for key, here, there in differing))
            if ends := [f"{self._end_in(region):,} bytes into {region.name}" for region in self.built_for.regions
                        if f"{region.name}.size" in (key for key, _, _ in differing)]:
                hint = f"its sections end {', '.join(ends)}; what its code uses behind them is not known: {hint}"
        if problems:
            raise ProgramError("; ".join(problems), path=self.path, hint=presets_with(missing) if missing else hint)

    def _end_in(self, region: Region) -> int:
        """How far into a region the program's sections reach, in bytes."""
        return max((s.end - region.base for s in self.sections
                    if "a" in s.flags and s.size and region.base <= s.address < region.end), default=0)

    def _differences(self, own: Preset, other: Preset) -> Iterator[tuple[str, str, str]]:
        """(what, on `other`, on its `own` machine): differences that the program may notice, besides units that are missing."""
        for name, value in own.settings.items():
            unit = name.partition(".")[0]
            if unit in self.units and other.has_unit(unit) and other.settings[name] != value:
                yield name, str(other.settings[name]), str(value)
        regions, users = {region.name: region for region in other.regions}, {"core", *self.units}
        for mine in own.regions:
            if not ((mine.name == HBM and "pim" in self.units) or any(
                    "a" in s.flags and s.size and mine.base <= s.address < mine.end for s in self.sections)):
                continue
            theirs = regions.get(mine.name)
            if theirs is None:
                yield mine.name, "absent", f"{mine.base:#x}..{mine.end:#x}"
                continue
            if theirs.base != mine.base:
                yield f"{mine.name}.base", f"{theirs.base:#x}", f"{mine.base:#x}"
            if theirs.size < mine.size:
                yield f"{mine.name}.size", f"{theirs.size:,}", f"{mine.size:,}"
            if mine.ports & users - theirs.ports:
                yield f"{mine.name}.ports", " ".join(sorted(theirs.ports)), " ".join(sorted(mine.ports))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the program as ELF. The file appears under `path` whole or not at all. Raises OSError, ProgramError."""
        from isa.elf.writer import write_elf
        write_elf(self, Path(path))

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Program:
        """Read an ELF program; large sections stay in the file. Raises OSError, ProgramError (what, at which offset)."""
        from isa.elf.reader import read_elf
        return read_elf(Path(path), Program)


def place_text(address: int, symbol: str, line: str) -> str:
    """"0x80000010 <loop+0x4> (sum.s:12)": a place as messages write it, with what is known of it."""
    return " ".join(filter(None, (f"{address:#x}", symbol and f"<{printable(symbol)}>", line and f"({printable(line)})")))
