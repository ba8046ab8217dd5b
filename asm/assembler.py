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
from functools import cached_property
from pathlib import Path
from typing import Any

import asm.crf
import asm.debug_info  # noqa: F401  registers .file, .loc, .uleb128, .sleb128
from asm import insn
from asm.assembly import Assembly
from asm.budget import FRAGMENT, Budget, Exhausted
from asm.diagnostics import AssemblyError, Diagnostic, Note, SourceError, Span, UnknownName, nearest, plural
from asm.directives import DATA, DIRECTIVES, RAW
from asm.encoding import Reloc, operand_bits, signed64
from asm.expressions import Function, Name, Node, Place, Unresolved, evaluate, names, number, span
from asm.fragments import Align, AssemblySection, Data, Fragment
from asm.instructions import forms, is_constant, plan
from asm.layout import kind_of, lay_out
from asm.marks import LineMarks, Marks, listing_lines, misplaced, source_lines
from asm.preprocess import Again, Preprocessor
from asm.source import LABEL, Site, Statement, decode, file_buffer
from asm.symbols import Entry, SymbolTable
from asm.syntax import Memory, Operand, String, Type, parse_operands
from isa.csrs import CSRS
from isa.elf.writer import is_debugging
from isa.files import contents as read
from isa.instruction import CSR, TABLE, TARGET
from isa.preset import Preset, PresetError, load_preset, presets_with
from isa.program import Chunk, FileSlice, Program, Section, Symbol
from isa.units import UNITS

ENTRY = "_start"
TEXT = "<text>"         # the file name of source that is not in a file
MOST_KEPT = 256         # bytes of a data statement that are kept for equal ones
MOST_MESSAGES = 1000    # errors and warnings that are told; the others are counted

# instructions that a RISC-V programmer may expect: C, F and D, A, V
_OTHER_EXTENSION = re.compile(r"c\.|f[a-z.]*\.[sdwlx]\b|f[ls][wd]$|amo|lr\.|sc\.|vset|v(?!ec\.)[a-z0-9]+\.(v|m|w|x|i|f)")
_NOT_HERE = ("the core is RV64IM: no compressed, floating-point, atomic or V instructions; "
             "`slimulator isa` lists what there is, `slimulator isa vec` what works on f32")


def assemble(source: str | Path, *, machine: str = "slim", include_paths: Iterable[str | Path] = (),
             defines: Mapping[str, int] | None = None, include_only: Iterable[str | Path] | None = None,
             files: Mapping[str, FileSlice | bytes] | None = None) -> Program:
    """Assemble source text (str) or a source file (Path) into a program.

    `machine` is the preset the program is built for unless it says .machine; `include_paths` are searched by .include,
    .incbin and .meta after the folder of the including file; `defines` are symbols set before the first line. `include_only`: the
    source is not trusted, and opens no file outside these folders, nor a machine's file. `files` are taken instead of
    files of these names: a slice by .incbin, bytes by .meta.
    Raises AssemblyError with everything that is wrong, OSError when the file cannot be read.
    """
    assembly = assemble_with_listing(source, machine=machine, include_paths=include_paths, defines=defines,
                                     include_only=include_only, files=files)
    if assembly.program is None:
        raise AssemblyError(assembly.diagnostics)
    return assembly.program


def assemble_with_listing(source: str | Path, *, machine: str = "slim", include_paths: Iterable[str | Path] = (),
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
        return Assembler(name, text, machine, tuple(map(Path, include_paths)), defines or {}, only, files or {}).run()


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
    """One run. Directives and instruction emitters work on its public attributes."""

    def __init__(self, name: str, text: str, machine: str, include_paths: tuple[Path, ...], defines: Mapping[str, int],
                 include_only: tuple[str, ...] | None, files: Mapping[str, FileSlice | bytes]) -> None:
        self.files = files
        self.diagnostics: list[Diagnostic] = []
        self._untold = {"error": 0, "warning": 0}
        self.budget, self._exhausted = Budget(), False
        self._order: dict[int, tuple[int, ...]] = {}                    # id of a diagnostic -> its place in reading order
        self.symbols = SymbolTable()
        self.sections: dict[str, AssemblySection] = {}
        self.section = self.previous = self._section(".text", None, None, None)
        self.section_stack: list[tuple[AssemblySection, AssemblySection]] = []
        self.mentioned: list[tuple[Entry, Operand, Site]] = []          # symbols that must be defined in the end
        self.pcrel: dict[tuple[Fragment, int], Node] = {}               # place of a %pcrel_hi -> its expression
        self.marks = Marks()
        self.lines = LineMarks()
        main, open_comment = file_buffer(name, text)
        self.main = main
        self.preprocessor = Preprocessor(main, include_paths, evaluate=self._evaluate, is_defined=self.symbols.is_defined,
                                         report=self.report, budget=self.budget, include_only=include_only)
        self.preset: Preset | None = None
        self.meta: dict[str, Any] = {}
        self.units: dict[str, Site] = {}                                # whose instructions there are: where first
        for symbol, value in defines.items():
            try:
                self.symbols.assign(symbol, value, None, variable=True)
            except SourceError as error:
                self._report_file(f"definition of {symbol}: {error.message}")
        if open_comment is not None:
            self.report(open_comment, SourceError("unterminated comment: its */ is missing"))
            self.preprocessor.incomplete = True
        self._machine_name = machine

    def run(self) -> Assembly:
        self._read()
        if self._exhausted:                     # what follows would be about a source that was not read to its end
            return self._result(None, [])
        try:
            self.preset = self.preset or load_preset(self._machine_name)
        except (PresetError, OSError) as error:
            self._report_file(str(error).removeprefix("error: "))
            self.preset = load_preset("slim")
        sections = list(self.sections.values())
        self._pad_code(sections)
        made: list[Section] = []
        if lay_out(sections, self.preset, self.symbols, self._report_layout):
            self._fill_in(sections)
            # Also those of size 0: they may hold code whose size could not be worked out, which is reported here.
            finished = [(section, self._finish(section)) for section in sections if not section.left_out]
            made = [made for section, made in finished if section.size or section.fixed_address is not None]
            if not any(section.size for section in sections) and not self.diagnostics:
                self._report_file("there is nothing to assemble: no instruction and no data")
            for site, address in misplaced(self.marks):
                self.report(site, SourceError(f"instruction at {address:#x}, which is not a multiple of 4",
                                              hint="put .balign 4 after the data before it"))
            self._check_units(self.preset)
        symbols = list(self.symbols.symbols())
        program = None
        if not any(diagnostic.severity == "error" for diagnostic in self.diagnostics):
            made.sort(key=lambda section: ("a" not in section.flags, section.address))
            program = Program(made, symbols, source_lines(self.marks, self.lines), self._entry(), self.preset.name, self.meta,
                              units=tuple(unit for unit in UNITS if unit in self.units))
        return self._result(program, symbols)

    def _result(self, program: Program | None, symbols: list[Symbol]) -> Assembly:
        self.diagnostics.sort(key=lambda diagnostic: self._order.get(id(diagnostic), ()))
        for severity, count in self._untold.items():
            if count:
                self.diagnostics.append(Diagnostic(f"and {plural(count, f'more {severity}')}: the first {MOST_MESSAGES} are told",
                                                   Span(self.main.file, 1), severity=severity))
        return Assembly(program, self.diagnostics, symbols, lambda: listing_lines(self.marks, self.symbols.value))

    # ---------------------------------------------------------------------------------------- read

    def _read(self) -> None:
        marks = self.marks
        fragment: Data | None = None
        add_site, add_offset = marks.sites.append, marks.offsets.append
        for site in self.preprocessor.sites():
            if isinstance(site, Again):
                self._repeat(site)
                continue
            section = self.section
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
                        self.budget.statement(statement.operands)
                    self._statement(site, statement)
                    if site.buffer.grown and section.tail is not tail:
                        self.budget.spend(FRAGMENT)
                except SourceError as error:
                    self._report_operands(site, error)
                    if self._exhausted:
                        break
        marks.enter(self.section.tail)
        marks.sites.append(Site(self.main, 0, Statement("", 0)))
        marks.offsets.append(len(self.section.tail.data))

    def _repeat(self, again: Again) -> None:
        """The bytes of the statements before, again."""
        data = b"".join(site.statement.plan for site in again.sites if site.statement.operation)
        if data and not self.section.has_contents:
            return                                      # the first round was refused
        self.section.tail.data += data * again.rounds
        self.marks.repeat(len(again.sites), again.rounds, len(data))

    def _statement(self, site: Site, statement: Statement) -> None:
        operation = statement.operation
        if operation == LABEL:
            self.symbols.define_label(statement.operands, self.section.here, site)
            return
        directive = DIRECTIVES.get(operation)
        if directive is not None:
            operands = () if operation in RAW else parse_operands(statement.operands)
            tail = self.section.tail
            before = len(tail.data)
            directive(self, site, operands)
            if operation in DATA and len(tail.data) - before <= MOST_KEPT and all(map(is_constant, operands)):
                statement.plan = bytes(tail.data[before:])
            return
        if statement.plan is None:
            try:
                statement.plan = insn.plan(statement) if operation == ".insn" else plan(statement)
                statement.is_code = True
            except KeyError:
                raise self._unknown(operation, statement) from None
            row = TABLE.get(operation.lower())
            if row is not None and row.is_xslim:
                self.units.setdefault(row.unit, site)
        section = self.contents(site)
        parts = statement.plan
        if isinstance(parts, bytes):
            section.tail.data += parts
            return
        for part in parts:
            if isinstance(part, bytes):
                section.tail.data += part
            else:
                part.emit(self, site)

    def _unknown(self, operation: str, statement: Statement) -> SourceError:
        """The error for an operation that is none."""
        error = self._unknown_operation(operation, statement)
        if isinstance(error, UnknownName):
            error.follows = operation in self.preprocessor.spoilt
        return error

    def _unknown_operation(self, operation: str, statement: Statement) -> SourceError:
        start = statement.column - statement.operands_column        # errors count from the operands
        end = start + len(operation)
        if operation.startswith("."):
            return UnknownName(f"unknown directive `{operation}`", start, end,
                               hint=lambda: nearest(operation, [*DIRECTIVES, *self.preprocessor.directives]))
        if not (operation[0].isalpha() or operation[0] == "_"):
            return SourceError(f"unexpected `{operation}`: a label, an instruction or a directive is expected", start, end)
        name = operation.lower()
        return UnknownName(f"unknown instruction `{operation}`", start, end, hint=lambda: _NOT_HERE if _OTHER_EXTENSION.match(name)
                           else nearest(name, [*forms(), *self.preprocessor.macros]))

    # ---------------------------------------------------------------------------------------- what directives use

    def contents(self, site: Site) -> AssemblySection:
        """The current section, into which something else than zeros is about to go. Raises SourceError for .bss."""
        section = self.section
        if section.nobits:
            section.nobits = False          # said once
            what = "data" if site.statement.operation in DIRECTIVES else "an instruction"
            raise SourceError(f"{what} in section {section.name}, which holds only zeros (.zero, .skip, .align)",
                              hint="switch back with .text or .data")
        section.has_contents = True
        return section

    def enter_section(self, name: str, flags: str | None, nobits: bool | None, site: Site) -> None:
        """Go on in section `name`, which is made if it is new. Raises SourceError when its flags differ from before."""
        known = self.sections.get(name)
        if known is not None and ((flags is not None and flags != known.flags) or (nobits is not None and nobits != known.nobits)):
            if known.site is not None or known.size or known.has_contents:
                notes = (Note("first use of the section", known.site.span()),) if known.site else ()
                raise SourceError(f"section {name} had the flags \"{known.flags}\" before", notes=notes)
            known.flags, known.nobits = flags if flags is not None else known.flags, bool(nobits)
        self.previous = self.section
        self.section = known or self._section(name, flags, nobits, site)
        if self.section.site is None:
            self.section.site = site

    def enter_nowhere(self, site: Site) -> None:
        """Go on in a section that is left out: the one that was meant is an error."""
        self.previous = self.section
        self.section = self._section(f"section {len(self.sections)}", "", False, site)
        self.section.left_out = True

    def _section(self, name: str, flags: str | None, nobits: bool | None, site: Site | None) -> AssemblySection:
        _, _, usual_flags, usual_nobits = kind_of(name)
        section = AssemblySection(name, usual_flags if flags is None else flags, usual_nobits if nobits is None else nobits,
                                  site=site, left_out=is_debugging(name))
        self.sections[name] = section
        return section

    def choose_machine(self, name: str) -> None:
        """.machine NAME. Raises SourceError for a preset that is not there."""
        if name.endswith(".toml"):
            self.preprocessor.check_allowed(Path(name))
        try:
            self.preset = load_preset(name)
        except (PresetError, OSError) as error:
            raise SourceError(str(error).removeprefix("error: ")) from None

    def not_yet(self, node: Node, site: Site) -> SourceError:
        """The error for an expression that must be known here and is not: a name without a definition, or an address."""
        for name in names(node):
            if name.text != "." and not self.symbols.is_defined(name.text):
                error = self.symbols.undefined(name)
                error.hint = error.hint_text or f"{site.statement.operation} needs a value that is defined above"
                return error
        return SourceError(f"{site.statement.operation} needs a number, and this depends on addresses that are not known yet",
                           *span(node))

    def _evaluate(self, text: str, site: Site, column: int) -> int:
        """The value of an expression for .if and .rept."""
        try:
            operands = parse_operands(text)
            if len(operands) != 1 or isinstance(operands[0], Memory | String | Type):
                raise SourceError(f"{site.statement.operation} needs one expression", 0, len(text))
            node = operands[0]
            try:
                return number(self.symbols.now(node, self.section.here))
            except Unresolved:
                raise self.not_yet(node, site) from None
        except SourceError as error:
            if error.start is not None:
                error.start, error.end = error.start + column, (error.end or error.start + 1) + column
            raise

    # ---------------------------------------------------------------------------------------- diagnostics

    def report(self, site: Site, error: SourceError) -> None:
        """Note an error, unless it only follows from another one; its columns count from the start of the line."""
        if isinstance(error, UnknownName) and (error.follows or self.preprocessor.incomplete):
            return
        if isinstance(error, Exhausted):
            self._exhausted = True
            self.preprocessor.stop()
        self._note(site, error)

    def warn(self, site: Site, message: str) -> None:
        self._note(site, SourceError(message), "warning")

    def _note(self, site: Site, error: SourceError, severity: str = "error") -> None:
        if len(self.diagnostics) >= MOST_MESSAGES and not isinstance(error, Exhausted):
            self._untold[severity] += 1
            return
        diagnostic = Diagnostic(error.message, site.span(error.start, error.end), error.hint_text, (*error.notes, *site.notes()),
                                severity)
        self._order[id(diagnostic)] = site.path()
        self.diagnostics.append(diagnostic)

    def _report_operands(self, site: Site, error: SourceError) -> None:
        """Note an error whose columns count from the operands."""
        if error.start is not None:
            column = site.statement.operands_column
            error.start, error.end = error.start + column, (error.end or error.start + 1) + column
        self.report(site, error)

    def _report_late(self, site: Site, error: SourceError, node: Node) -> None:
        """Note an error in an expression that was worked out after layout."""
        start, end = span(node)
        if start is not None and not (error.start is not None and start <= error.start < (end or start)):
            error.start, error.end = start, end         # the error may stem from another line, by way of .set
        self._report_operands(site, error)

    def _report_layout(self, site: Site | None, error: SourceError) -> None:
        if site is None:
            self._report_file(error.message, error.hint_text, error.notes)
        else:
            self._report_operands(site, error)

    def _report_file(self, message: str, hint: str = "", notes: tuple[Note, ...] = ()) -> None:
        self.diagnostics.append(Diagnostic(message, Span(self.main.file, 1), hint, notes))

    # ---------------------------------------------------------------------------------------- fill in

    def _pad_code(self, sections: Iterable[AssemblySection]) -> None:
        """Code ends on its alignment, with no-operations, as GNU as leaves it."""
        for section in sections:
            if "x" in section.flags and section.align > 4 and (section.tail.data or len(section.fragments) > 1):
                section.append(Align(section, section.align, None))

    def _fill_in(self, sections: Iterable[AssemblySection]) -> None:
        for entry, operand, site in self.mentioned:
            if entry.value is None and entry.binding != "weak" and isinstance(operand, Name):
                self._report_operands(site, self.symbols.undefined(operand))
        for entry in list(self.symbols.entries.values()):
            for node, where in ((entry.value, entry.site), entry.size or (None, None)):
                if node is not None and where is not None and not isinstance(node, Place):
                    self._check_symbol(entry.name, node, where)
        for section in sections:
            for fragment in section.fragments if not section.left_out else ():
                if isinstance(fragment, Data):
                    for reloc in fragment.relocs:
                        try:
                            self._relocate(fragment, reloc)
                        except SourceError as error:
                            self._report_late(reloc.site, error, reloc.written)

    def _check_units(self, machine: Preset) -> None:
        for unit, site in self.units.items():
            if not machine.has_unit(unit):
                self.report(site, SourceError(f"machine {machine.name} has no {unit} unit", hint=presets_with([unit])))

    def _check_symbol(self, name: str, node: Node, site: Site) -> None:
        """Report a value or size of a symbol that cannot be worked out or written to the program file."""
        try:
            value = number(evaluate(node, self.symbols.value))
            if not -(1 << 63) <= value < 1 << 64:
                raise SourceError(f"`{name}` cannot be {value:#x}: a symbol has 64 bits")
        except SourceError as error:
            self._report_operands(site, error)
            self.symbols.spoil(name)
            if isinstance(error, UnknownName):          # uses of the symbol may stand for what it was set to
                self.symbols.spoil(error.symbol)

    @cached_property
    def _pcrel_targets(self) -> dict[int, Node]:
        """Address of each auipc with %pcrel_hi -> the expression in it. Made after layout."""
        return {fragment.section.address + fragment.offset + offset: node for (fragment, offset), node in self.pcrel.items()}

    def _relocate(self, fragment: Data, reloc: Reloc) -> None:
        """Fill in one place. Raises SourceError."""
        node, operand = reloc.node, reloc.operand
        at, size = reloc.offset, reloc.size
        if operand is None:
            value = number(evaluate(node, self.symbols.value))
            if not -(1 << (8 * size - 1)) <= value < 1 << (8 * size):
                raise SourceError(f"{value:#x} does not fit {size} bytes")
            fragment.data[at:at + size] = (value % (1 << (8 * size))).to_bytes(size, "little")
            return
        place = fragment.section.address + fragment.offset + at
        if isinstance(node, Function):
            bits = operand_bits(reloc.mnemonic, operand, self._modified(node, place), node.name)
        else:
            if operand.role == CSR and isinstance(node, Name) and node.text not in self.symbols.entries:
                raise SourceError(f"unknown CSR `{node.text}`", node.start, node.end, hint=nearest(node.text, CSRS))
            value = number(evaluate(node, self.symbols.value))
            bits = operand_bits(reloc.mnemonic, operand, signed64((value - place) % (1 << 64)) if operand.role == TARGET
                                else signed64(value))
        word = int.from_bytes(fragment.data[at:at + 4], "little") | bits
        fragment.data[at:at + 4] = word.to_bytes(4, "little")

    def _modified(self, node: Function, place: int) -> int:
        """The value of which %hi and the like take a part."""
        value = evaluate(node.operand, self.symbols.value)
        if node.name == "pcrel_hi":
            return number(value) - place
        if node.name == "pcrel_lo":
            target = self._pcrel_targets.get(number(value))
            if target is None:
                raise SourceError("%pcrel_lo needs the label of an auipc with %pcrel_hi", node.start, node.end)
            return number(evaluate(target, self.symbols.value)) - number(value)
        return number(value)

    # ---------------------------------------------------------------------------------------- hand over

    def _finish(self, section: AssemblySection) -> Section:
        """The section as the program holds it: neighbouring bytes in one chunk, files as slices."""
        if section.nobits:
            return Section(section.name, section.flags, section.address, section.align, [], section.size)
        chunks: list[Chunk] = []
        for fragment in section.fragments:
            if isinstance(fragment, Data):
                pieces: Iterable[Chunk] = (fragment.data,)
            else:
                pieces = self._pieces(fragment)
            for piece in pieces:
                if isinstance(piece, FileSlice) or len(piece) >= 1 << 20:
                    chunks.append(piece)
                elif chunks and isinstance(chunks[-1], bytearray):
                    chunks[-1] += piece
                elif piece:
                    chunks.append(bytearray(piece))
        return Section(section.name, section.flags, section.address, section.align, chunks)

    def _pieces(self, fragment: Fragment) -> Iterable[Chunk]:
        try:
            pieces = list(fragment.chunks(self.symbols.value))
            if sum(map(len, pieces)) != fragment.size:          # what it depends on could not be worked out before
                raise SourceError("the size of this could not be worked out in time")
            return pieces
        except SourceError as error:
            site = getattr(fragment, "site", None)
            node = getattr(fragment, "target", None) or getattr(fragment, "node", None)
            self._report_late(site or Site(self.main, 0, Statement("", 0)), error, 0 if node is None else node)
            return []

    def _entry(self) -> int:
        """_start, or the first instruction of .text."""
        entry = self.symbols.entries.get(ENTRY)
        if entry is not None and entry.value is not None:
            return number(evaluate(entry.value, self.symbols.value))
        return self.sections[".text"].address
