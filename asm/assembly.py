"""The result of an assembler run: the program if there is one, the diagnostics, and the lines of a listing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from asm.diagnostics import Diagnostic
from isa.program import Program, Symbol

SHOWN_BYTES = 64    # bytes of a statement that a listing line holds at most


@dataclass(frozen=True)
class Frame:
    """One step on the way from the file that was assembled to a line: an include, a macro call, a repetition."""

    kind: str           # "include", "macro", "rept", "irp", "irpc"
    name: str           # the file included, the macro's name, or ""
    file: str           # where the .include, the call or the .rept stands
    line: int


@dataclass(frozen=True, slots=True)
class ListingLine:
    """One source line as it was assembled. Lines of macro bodies appear once per expansion, with `text` expanded.

    `address` is that of the line's first byte, None for lines before any layout (errors) or without a place (comments
    have one: the address where code would go). `size` counts all bytes that the line made; `data` holds the first
    SHOWN_BYTES of them, and none for zeros that the program file does not hold.

    Where macro lines or another section come between the statements of a line, there is a ListingLine for each piece of it:
    `text` is the whole line, and the piece reaches from column `start` to before `end` (from 0; None: to the end of the line).
    """

    section: str
    address: int | None
    size: int
    data: bytes
    file: str
    line: int
    text: str
    origin: tuple[Frame, ...] = ()      # outermost first; empty for the lines of the file itself
    start: int = 0
    end: int | None = None

    @property
    def part(self) -> str:
        """The piece's own text."""
        return self.text[self.start:self.end]

    @property
    def depth(self) -> int:
        return len(self.origin)


@dataclass
class Assembly:
    """The result of an assembler run. `program` is None exactly when a diagnostic is an error.

    `symbols` and `listing` are there in any case; after errors they show what was assembled without the wrong statements.
    """

    program: Program | None
    diagnostics: list[Diagnostic] = field(default_factory=list)
    symbols: list[Symbol] = field(default_factory=list)
    make_listing: Callable[[], list[ListingLine]] = list

    @cached_property
    def listing(self) -> list[ListingLine]:
        """Every source line in the order in which it was read; made on first use."""
        return self.make_listing()
