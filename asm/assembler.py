"""The assembler, told in the order in which it happens: read, place, fill in, hand over.

    read       every statement in order; bytes, fragments and relocations collect in sections
    lay out    sizes and addresses (asm/layout.py)
    fill in    what depended on addresses
    hand over  the program, or the diagnostics; a listing and the symbols in any case
"""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import asm.crf
import asm.debug_info  # noqa: F401  registers .file, .loc, .uleb128, .sleb128
from asm import insn
from asm.assembly import Assembly
from asm.budget import FRAGMENT
from asm.diagnostics import AssemblyError, Diagnostic, SourceError, Span, UnknownName, nearest
from asm.directives import DATA, DIRECTIVES, RAW, no_machine
from asm.expressions import evaluate, number
from asm.files import SourceFiles
from asm.fragments import Align, AssemblySection, Data, Fragment
from asm.instructions import forms, forms_of, is_constant, plan
from asm.layout import lay_out
from asm.marks import listing_lines, misplaced, source_lines
from asm.messages import Messages
from asm.preprocess import Again, Preprocessor
from asm.relocation import fill_in_addresses
from asm.source import LABEL, Buffer, Site, Statement, decode, file_buffer
from asm.state import AssemblyState
from asm.syntax import parse_operands
from isa.files import contents as read
from isa.preset import Preset, PresetError, load_preset, presets_with
from isa.program import Chunk, FileSlice, Program, Section, Symbol
from isa.units import UNITS

ENTRY = "_start"
TEXT = "<text>"         # the file name of source that is not in a file
MOST_KEPT = 256         # bytes of a data statement that are kept for equal ones

# instructions that a RISC-V programmer may expect: C, F and D, A, V
_OTHER_EXTENSION = re.compile(r"c\.|f[a-z.]*\.[sdwlx]\b|f[ls][wd]$|amo|lr\.|sc\.|vset|v(?!ec\.)[a-z0-9]+\.(v|m|w|x|i|f)")
_NOT_HERE = ("the core is RV64IM: no compressed, floating-point, atomic or V instructions; "
             "`slimulator isa` lists what there is, `slimulator isa vec` what works on f32")


def assemble(source: str | Path, *, machine: str | Preset = "slim", include_paths: Iterable[str | Path] = (),
             defines: Mapping[str, int] | None = None, include_only: Iterable[str | Path] | None = None,
             files: Mapping[str, FileSlice | bytes] | None = None) -> Program:
    """Assemble source text (str) or a source file (Path) into a program.

    `machine`, a preset or the name or file of one, is what the program is built for unless it says .machine; `include_paths` are
    searched by .include, .incbin and .meta after the folder of the including file; `defines` are symbols set before the first
    line. `include_only`: the source is not trusted, and opens no file outside these folders, nor a machine's file. `files` are
    taken instead of files of these names: a slice by .incbin, bytes by .meta.
    Raises AssemblyError with everything that is wrong, OSError when the file cannot be read.
    """
    assembly = assemble_with_listing(source, machine=machine, include_paths=include_paths, defines=defines,
                                     include_only=include_only, files=files)
    if assembly.program is None:
        raise AssemblyError(assembly.diagnostics)
    return assembly.program


def assemble_with_listing(source: str | Path, *, machine: str | Preset = "slim", include_paths: Iterable[str | Path] = (),
                          defines: Mapping[str, int] | None = None, include_only: Iterable[str | Path] | None = None,
                          files: Mapping[str, FileSlice | bytes] | None = None) -> Assembly:
    """As `assemble`, but errors are in the result, which also has the listing and the symbols. Raises OSError."""
    name = str(source) if isinstance(source, Path) else TEXT
    if isinstance(source, str) and re.fullmatch(r"\S+\.[sS]", source):
        return Assembly(None, [Diagnostic(f"{source!r} is assembled as source text, not as the name of a file",
                                          Span(name, 1), f"for the file: assemble(Path({source!r}))")])
    try:
        text = decode(read(source) if isinstance(source, Path) else source.encode("utf-8", "surrogatepass"), name)
    except SourceError as error:
        return Assembly(None, [Diagnostic(error.message, Span(name, 1), error.hint_text)])
    with _collector_paused():
        only = None if include_only is None else tuple(map(os.path.realpath, include_only))
        main, open_comment = file_buffer(name, text)
        state = AssemblyState(Messages(name), SourceFiles(tuple(map(Path, include_paths)), only, files or {}))
        if open_comment is not None:
            state.messages.report(open_comment, SourceError("unterminated comment: its */ is missing"))
            state.messages.incomplete = True
        for symbol, value in (defines or {}).items():
            try:
                state.symbols.assign(symbol, value, None, variable=True)
            except SourceError as error:
                state.messages.report_file(f"definition of {symbol}: {error.message}")
        return Assembler(main, state, machine).run()


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Without garbage collection: a run makes millions of objects and no garbage; walking them took half of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class Assembler:
    """One run over the main file. `machine` is the preset for a source that names none."""

    def __init__(self, main: Buffer, state: AssemblyState, machine: str | Preset) -> None:
        self.state, self.messages = state, state.messages
        self.preprocessor = Preprocessor(main, state)
        self.nowhere = Site(main, 0, Statement("", 0))
        self.machine = machine

    def run(self) -> Assembly:
        state, messages = self.state, self.messages
        self._read()
        if messages.exhausted:                  # what follows would be about a source that was not read to its end
            return self._result(None, [])
        preset = state.preset or self._preset()
        sections = list(state.sections.values())
        self._pad_code()
        made: list[Section] = []
        if lay_out(sections, preset, state.symbols, messages.report_layout):
            fill_in_addresses(state)
            # Also those of size 0: they may hold code whose size could not be worked out, which is reported here.
            finished = [(section, self._finish(section)) for section in sections if not section.left_out]
            made = [made for section, made in finished if section.size or section.fixed_address is not None]
            if not any(section.size for section in sections) and messages.is_empty:
                messages.report_file("there is nothing to assemble: no instruction and no data")
            for site, address in misplaced(state.marks):
                messages.report(site, SourceError(f"instruction at {address:#x}, which is not a multiple of 4",
                                                  hint="put .balign 4 after the data before it"))
            for unit, site in state.units.items():
                if not preset.has_unit(unit):
                    messages.report(site, SourceError(f"machine {preset.name} has no {unit} unit", hint=presets_with([unit])))
        symbols = list(state.symbols.symbols())
        program = None
        if not messages.has_errors:
            made.sort(key=lambda section: ("a" not in section.flags, section.address))
            program = Program(made, symbols, source_lines(state.marks, state.lines), self._entry(), preset, state.meta,
                              units=tuple(unit for unit in UNITS if unit in state.units))
        return self._result(program, symbols)

    def _preset(self) -> Preset:
        """The machine for a source that names none; slim where it cannot be had, for the messages that follow."""
        if isinstance(self.machine, Preset):
            return self.machine
        try:
            return load_preset(self.machine)
        except (PresetError, OSError) as error:
            wrong = no_machine(self.machine, error)
            self.messages.report_file(wrong.message, wrong.hint_text)
            return load_preset("slim")

    def _result(self, program: Program | None, symbols: list[Symbol]) -> Assembly:
        marks, lookup = self.state.marks, self.state.symbols.value
        return Assembly(program, self.messages.in_order(), symbols, lambda: listing_lines(marks, lookup))

    # ---------------------------------------------------------------------------------------- read

    def _read(self) -> None:
        state = self.state
        marks = state.marks
        fragment: Data | None = None
        add_site, add_offset = marks.sites.append, marks.offsets.append
        for site in self.preprocessor.sites():
            if isinstance(site, Again):
                self._repeat(site)
                continue
            section = state.section
            tail = section.tail
            if tail is not fragment:
                fragment = tail
                marks.enter(tail)
            add_site(site)
            add_offset(len(tail.data))
            statement = site.statement
            ready = statement.plan
            if type(ready) is bytes and section.has_contents:
                tail.data += ready
            elif statement.operation:
                try:
                    if site.buffer.grown:
                        state.budget.statement(statement.operands)
                    self._statement(site, statement)
                    if site.buffer.grown and section.tail is not tail:
                        state.budget.spend(FRAGMENT)
                except SourceError as error:
                    self.messages.report(site, error)
                    if self.messages.exhausted:
                        break
        marks.enter(state.section.tail)
        marks.sites.append(self.nowhere)
        marks.offsets.append(len(state.section.tail.data))

    def _repeat(self, again: Again) -> None:
        """The bytes of the statements before, again."""
        data = b"".join(site.statement.plan for site in again.sites if site.statement.operation)
        if data and not self.state.section.has_contents:
            return                                      # the first round was refused
        self.state.section.tail.data += data * again.rounds
        self.state.marks.repeat(len(again.sites), again.rounds, len(data))

    def _statement(self, site: Site, statement: Statement) -> None:
        state, operation = self.state, statement.operation
        if operation == LABEL:
            state.symbols.define_label(statement.operands, state.section.here, site)
            return
        directive = DIRECTIVES.get(operation)
        if directive is not None:
            operands = () if operation in RAW else parse_operands(statement.operands)
            tail = state.section.tail
            before = len(tail.data)
            directive(state, site, operands)
            if operation in DATA and len(tail.data) - before <= MOST_KEPT and all(map(is_constant, operands)):
                statement.plan = bytes(tail.data[before:])
            return
        if statement.plan is None:
            try:
                statement.plan = insn.plan(statement) if operation == ".insn" else plan(statement)
                statement.is_code = True
            except KeyError:
                raise self._unknown(operation, statement) from None
            for made in () if operation == ".insn" else forms_of(operation)[0].rows:
                if made.row.is_xslim:
                    state.units.setdefault(made.row.unit, site)
        section = state.contents(site)
        parts = statement.plan
        if isinstance(parts, bytes):
            section.tail.data += parts
            return
        for part in parts:
            if isinstance(part, bytes):
                section.tail.data += part
            else:
                part(state, site)

    def _unknown(self, operation: str, statement: Statement) -> SourceError:
        """The error for an unknown operation."""
        start = statement.column - statement.operands_column        # errors count from the operands
        end = start + len(operation)
        if operation.startswith("."):
            error = UnknownName(f"unknown directive `{operation}`", start, end,
                                hint=lambda: nearest(operation, [*DIRECTIVES, *self.preprocessor.directives]))
        elif operation[0].isalpha() or operation[0] == "_":
            name = operation.lower()
            error = UnknownName(f"unknown instruction `{operation}`", start, end, hint=lambda: _NOT_HERE if
                                _OTHER_EXTENSION.match(name) else nearest(name, [*forms(), *self.preprocessor.macros]))
        else:
            return SourceError(f"unexpected `{operation}`: a label, an instruction or a directive is expected", start, end)
        error.follows = operation in self.preprocessor.spoilt
        return error

    # ---------------------------------------------------------------------------------------- hand over

    def _pad_code(self) -> None:
        """Code ends on its alignment, with no-operations, as GNU as leaves it."""
        for section in self.state.sections.values():
            if "x" in section.flags and section.align > 4 and (section.tail.data or len(section.fragments) > 1):
                section.append(Align(section, section.align, None))

    def _finish(self, section: AssemblySection) -> Section:
        """The section as the program holds it: neighbouring bytes in one chunk, files as slices."""
        if section.nobits:
            return Section(section.name, section.flags, section.address, section.align, [], section.size)
        chunks: list[Chunk] = []
        for fragment in section.fragments:
            for piece in self._pieces(fragment):
                if isinstance(piece, FileSlice) or len(piece) >= 1 << 20:
                    chunks.append(piece)
                elif chunks and isinstance(chunks[-1], bytearray):
                    chunks[-1] += piece
                elif piece:
                    chunks.append(bytearray(piece))
        return Section(section.name, section.flags, section.address, section.align, chunks)

    def _pieces(self, fragment: Fragment) -> Iterable[Chunk]:
        try:
            pieces = list(fragment.chunks(self.state.symbols.value))
            if sum(map(len, pieces)) != fragment.size:          # what it depends on could not be worked out before
                raise SourceError("the size of this cannot be computed: it takes too long")
            return pieces
        except SourceError as error:
            site = getattr(fragment, "site", None)
            node = getattr(fragment, "target", None) or getattr(fragment, "node", None)
            self.messages.report_late(site or self.nowhere, error, 0 if node is None else node)
            return []

    def _entry(self) -> int:
        """_start, or the first instruction of .text."""
        entry = self.state.symbols.entries.get(ENTRY)
        if entry is not None and entry.value is not None:
            return number(evaluate(entry.value, self.state.symbols.value))
        return self.state.sections[".text"].address
