"""The symbol table: labels, .set values, numeric local labels, and what a name means at a line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from asm.budget import MOST_WALKS, WALKS_OF_A_NAME, Exhausted
from asm.diagnostics import Note, SourceError, UnknownName, nearest
from asm.expressions import Clock, Location, Name, Node, Shared, Unresolved, Value, bind, evaluate, number
from asm.source import Site
from isa.program import Symbol
from isa.registers import NUMBER as REGISTER_NUMBER

LOCAL_MARK = "\x02"     # separates the two numbers in the internal name of a numeric local label, as in GNU as
MOST_COMPARED = 100_000 # names that are compared for hints in one run: about a second


@dataclass(eq=False)
class Entry:
    """What is known about a symbol. `value` is None while there is no definition (.globl before the label)."""

    name: str
    value: Value | Shared | None = None
    site: Site | None = None            # of the definition
    variable: bool = False              # by .set, .equ or =: may be given another value
    kind: str = "notype"
    binding: str = ""                   # "", "global", "weak", "local"
    size: tuple[Node, Site] | None = None       # and the place of .size
    spoilt: bool = field(default=False, init=False)         # its definition is an error that has been reported


class SymbolTable:
    """Names and their meaning. What depends on the line takes `here`, the place of the next byte."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self._local: dict[str, int] = {}        # numeric local label -> number of definitions so far
        self._hints: dict[str, str] = {}        # undefined name -> what to say of it
        self._awaited: set[str] = set()         # names that had no meaning yet in expressions that were kept
        self.clock = Clock()                    # goes on when what one of these had been given is replaced

    def entry(self, name: str) -> Entry:
        """The entry for `name`, made if it is new."""
        found = self.entries.get(name)
        if found is None:
            found = self.entries[name] = Entry(name)
        return found

    def define_label(self, name: str, place: Location, site: Site) -> None:
        """`name:` at `place`. Raises SourceError for a second definition or a reserved name."""
        if name.isascii() and name.isdigit():
            count = self._local[name] = self._local.get(name, 0) + 1
            name = f"{name}{LOCAL_MARK}{count}"
        elif name[0].isdigit():
            raise SourceError(f"`{name}` cannot be a label: a label starts with a letter, _, . or $, or is a number")
        self.assign(name, place, site, variable=False)

    def assign(self, name: str, value: Node, site: Site | None, *, variable: bool) -> None:
        """`.set name, value` (variable) or `.equiv`; without a site, from the command line. Raises SourceError for a taken name."""
        if name == ".":
            raise SourceError("`.` cannot be assigned: use .org")
        entry = self.entry(name)
        if entry.value is not None and not (variable and entry.variable):
            notes = (Note(f"first definition of `{name}`", entry.site.span()),) if entry.site else ()
            raise SourceError(f"`{name}` is defined twice", notes=notes,
                              hint="numeric labels such as 1: may repeat; in macros, \\@ makes names unique"
                              if isinstance(value, Location) else "")
        if entry.value is not None and name in self._awaited:
            self.clock.era += 1
            if self.clock.walks > MOST_WALKS + WALKS_OF_A_NAME * len(self.entries):
                raise Exhausted(f"the source becomes too large here: `{name}` is redefined too often, each time with a long "
                                "chain of definitions that depend on it", hint="define symbols after the value that they depend on")
        entry.value = value if isinstance(value, int | Location | Shared) else Shared(name, value, self.clock)
        entry.site, entry.variable = site, variable

    # ---------------------------------------------------------------------------------------- meaning

    def _internal(self, text: str) -> str:
        """The key of a symbol in the table: numeric local labels are counted."""
        if text[0].isdigit() and text[-1] in "bf":
            count = self._local.get(text[:-1], 0) + (text[-1] == "f")
            return f"{text[:-1]}{LOCAL_MARK}{count}"
        return text

    def bound(self, node: Node, here: Location) -> Node:
        """The expression as it is meant at this line: "." and known names replaced, so that it can be worked out later."""

        def meaning(name: Name) -> Node:
            if name.text == ".":
                return here
            internal = self._internal(name.text)
            entry = self.entries.get(internal)
            if entry is not None and entry.value is not None and (entry.variable or isinstance(entry.value, Location)):
                return entry.value
            self._awaited.add(internal)
            return name if internal == name.text else Name(internal, name.start, name.end)

        return bind(node, meaning)

    def now(self, node: Node, here: Location) -> Value:
        """The value at this line. Raises Unresolved when it has none yet, SourceError when it can have none."""

        def lookup(name: Name) -> Value | Shared:
            if name.text == ".":
                return here
            entry = self.entries.get(self._internal(name.text))
            if entry is None or entry.value is None:
                raise Unresolved
            return entry.value

        return evaluate(node, lookup)

    def known(self, node: Node, here: Location) -> int | None:
        """The number at this line, None when it is an address or depends on one. Raises SourceError as `now` does."""
        try:
            value = self.now(node, here)
        except Unresolved:
            return None
        return value if isinstance(value, int) else None

    def value(self, name: Name) -> Value | Shared:
        """What a bound name was given, when the whole source has been read. Raises SourceError when it is undefined."""
        entry = self.entries.get(name.text)
        if entry is None or entry.value is None:
            raise self.undefined(name)
        return entry.value

    def spoil(self, name: str) -> None:
        """The definition of a symbol is an error that has been reported: uses of the symbol are not reported."""
        entry = self.entry(name)
        entry.value, entry.spoilt = None, True

    def undefined(self, name: Name) -> UnknownName:
        """The error for a name without a definition."""
        text, hint = name.text, ""
        if LOCAL_MARK in text:
            digits, _, count = text.partition(LOCAL_MARK)
            direction, word = ("b", "before") if int(count) <= self._local.get(digits, 0) or count == "0" else ("f", "after")
            message = f"undefined local label {digits}{direction}: there is no `{digits}:` {word} this line"
        elif text in REGISTER_NUMBER:
            message = f"register {text} where a number or label is expected"
            hint = f"there is no symbol {text}; the memory at the address in it is written 0({text}), a jump there `jr {text}`"
        else:
            message, hint = f"undefined symbol `{text}`", self._nearest(text)
            if not hint and re.fullmatch(r"[afstx]\d+", text):
                hint = f"there is no register {text} either: x0..x31, a0..a7, s0..s11, t0..t6"
        error = UnknownName(message, name.start, name.end, hint=hint)
        error.symbol, error.follows = text, text in self.entries and self.entries[text].spoilt
        return error

    def _nearest(self, text: str) -> str:
        """A hint with the name that was probably meant. In a large source with many undefined names only the first get one."""
        if text not in self._hints:
            if (len(self._hints) + 1) * len(self.entries) > MOST_COMPARED:
                return ""
            self._hints[text] = nearest(text, [entry.name for entry in self.entries.values()
                                               if entry.value is not None and LOCAL_MARK not in entry.name])
        return self._hints[text]

    def is_defined(self, name: str) -> bool:
        """True when the name has a value at this line (.ifdef)."""
        entry = self.entries.get(self._internal(name))
        return entry is not None and entry.value is not None

    # ---------------------------------------------------------------------------------------- for the program file

    def symbols(self) -> Iterator[Symbol]:
        """Every symbol that has a value, after layout. Numeric labels and names in .L stay inside the assembler."""
        for entry in self.entries.values():
            if entry.value is None or LOCAL_MARK in entry.name or entry.name.startswith(".L"):
                continue
            try:
                value = evaluate(entry.value, self.value)
                size = number(evaluate(entry.size[0], self.value)) if entry.size is not None else 0
                if isinstance(value, Location) and value.fragment.section.left_out:
                    continue
                section = value.fragment.section.name if isinstance(value, Location) else None
                yield Symbol(entry.name, number(value), size, entry.kind, entry.binding or "local", section)
            except (SourceError, Unresolved):
                continue        # reported where it is defined or used
