"""What the passes of one assembler run share, and who fills it.

    read       bytes, fragments and relocations go to `sections`, names to `symbols`, the places of statements to `marks`
    lay out    every section and fragment gets its address and size
    fill in    works out `mentioned`, `upper_halves` and the relocations, all of which wait for addresses
    hand over  `preset`, `meta` and `units` go to the program; the messages to the user in any case
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from asm.budget import Budget
from asm.diagnostics import Note, SourceError
from asm.expressions import Node, names, span
from asm.files import SourceFiles
from asm.fragments import AssemblySection, Fragment
from asm.layout import kind_of
from asm.marks import LineMarks, Marks
from asm.messages import Messages
from asm.source import Site
from asm.symbols import Entry, SymbolTable
from asm.syntax import ParsedOperand
from isa.elf.writer import is_debugging
from isa.preset import Preset


@dataclass(eq=False, slots=True)
class AssemblyState:
    """One run. Statements go to `section`; `previous` is the one before it, for .previous."""

    messages: Messages
    files: SourceFiles
    budget: Budget = field(default_factory=Budget)
    symbols: SymbolTable = field(default_factory=SymbolTable)
    sections: dict[str, AssemblySection] = field(default_factory=dict)
    section: AssemblySection = field(init=False)
    previous: AssemblySection = field(init=False)
    section_stack: list[tuple[AssemblySection, AssemblySection]] = field(default_factory=list)      # of .pushsection
    marks: Marks = field(default_factory=Marks)
    lines: LineMarks = field(default_factory=LineMarks)
    mentioned: list[tuple[Entry, ParsedOperand, Site]] = field(default_factory=list)      # symbols that must be defined in the end
    upper_halves: dict[tuple[Fragment, int], Node] = field(default_factory=dict)        # place of a %pcrel_hi -> its expression
    preset: Preset | None = None                                                        # of .machine
    meta: dict[str, Any] = field(default_factory=dict)                                  # of .meta
    units: dict[str, Site] = field(default_factory=dict)                # units whose instructions there are -> the first of them

    def __post_init__(self) -> None:
        self.section = self.previous = self._new_section(".text", None, None, None)

    def contents(self, site: Site) -> AssemblySection:
        """The current section, for something else than zeros. Raises SourceError for .bss."""
        section = self.section
        if section.nobits:
            section.nobits = False          # said once
            what = "an instruction" if site.statement.is_code else "data"
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
        self.section = known or self._new_section(name, flags, nobits, site)
        if self.section.site is None:
            self.section.site = site

    def enter_nowhere(self, site: Site) -> None:
        """Go on in a section that is left out: the statement that should have chosen one is an error."""
        self.previous = self.section
        self.section = self._new_section(f"section {len(self.sections)}", "", False, site)
        self.section.left_out = True

    def _new_section(self, name: str, flags: str | None, nobits: bool | None, site: Site | None) -> AssemblySection:
        _, _, usual_flags, usual_nobits = kind_of(name)
        section = AssemblySection(name, usual_flags if flags is None else flags, usual_nobits if nobits is None else nobits,
                                  site=site, left_out=is_debugging(name))
        self.sections[name] = section
        return section

    def known_number(self, node: Node, site: Site) -> int:
        """The number that an expression has at this line. Raises SourceError when it has none yet."""
        value = self.symbols.known(node, self.section.here)
        if value is None:
            raise self.not_yet(node, site)
        return value

    def not_yet(self, node: Node, site: Site) -> SourceError:
        """The error for an expression that must be known here and is not: a name without a definition, or an address."""
        for name in names(node):
            if name.text != "." and not self.symbols.is_defined(name.text):
                error = self.symbols.undefined(name)
                error.hint = error.hint_text or f"{site.statement.operation} needs a value that is defined above"
                return error
        return SourceError(f"{site.statement.operation} needs a number, and this depends on addresses that are not known yet",
                           *span(node))
