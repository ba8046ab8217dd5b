"""Marks: where each statement's bytes begin. After layout, the source-line map and the listing are made from them.

A source of millions of lines has millions of marks. So a mark is a reference and a number, not an object, and a repetition of
plain instructions is one note: the marks before it come again.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

from asm.assembly import SHOWN_BYTES, ListingLine
from asm.diagnostics import SourceError
from asm.expressions import Lookup
from asm.fragments import Data
from asm.source import Buffer, Site
from isa.program import FileSlice, Line


class Marks:
    """Statement number i is `sites[i]`; its bytes begin `offsets[i]` bytes into the fragment that `runs` has for it."""

    def __init__(self) -> None:
        self.sites: list[Site] = []
        self.offsets = array("q")
        self.runs: list[tuple[int, Data]] = []                  # from this statement on, bytes go to this fragment
        self.repeats: dict[int, tuple[int, int, int]] = {}      # at a statement: statements before it, rounds, bytes of a round

    def __len__(self) -> int:
        return len(self.sites)

    def enter(self, fragment: Data) -> None:
        """The next statements' bytes go to another fragment."""
        self.runs.append((len(self.sites), fragment))

    def repeat(self, statements: int, rounds: int, size: int) -> None:
        """The last statements come again so many times, each time `size` bytes further."""
        self.repeats[len(self.sites)] = statements, rounds, size

    def spans(self) -> Iterator[tuple[Data, range]]:
        """Each fragment with the numbers of its statements; what is repeated is there once."""
        for (start, fragment), (end, _) in pairwise([*self.runs, (len(self.sites), None)]):
            assert fragment is not None
            yield fragment, range(start, end)

    def __iter__(self) -> Iterator[tuple[Site, Data, int]]:
        """Every statement with its place, repeated ones as often as they are."""
        sites, offsets = self.sites, self.offsets
        for fragment, numbers in self.spans():
            for number in numbers:
                yield sites[number], fragment, offsets[number]
                if number + 1 in self.repeats:
                    statements, rounds, size = self.repeats[number + 1]
                    for round_number in range(1, rounds + 1):
                        for again in range(number + 1 - statements, number + 1):
                            yield sites[again], fragment, offsets[again] + round_number * size


@dataclass(eq=False)
class LineMarks:
    """The source lines that a compiler names in its output: `.file NUMBER "NAME"` and `.loc NUMBER LINE`.

    `files` by source buffer and number; `said` has each .loc as (number of the next mark, buffer, file, line).
    """

    files: dict[tuple[Buffer, int], str] = field(default_factory=dict)
    said: list[tuple[int, Buffer, str, int]] = field(default_factory=list)


def source_lines(marks: Marks, compiled: LineMarks) -> list[Line]:
    """The source line of every instruction, by address; for macros and repetitions that of the call.

    In the output of a compiler it is what its last .loc says, up to the end of the file in which that stands. A repetition of
    plain instructions is one line of the source, and has no more than its first round here: a line reaches to the next one.
    """
    lines: list[Line] = []
    said = iter(compiled.said)
    following = next(said, None)
    buffer, file, line = None, "", 0
    for fragment, numbers in marks.spans():
        base = fragment.section.address + fragment.offset
        is_code = "x" in fragment.section.flags
        for number in numbers:
            while following is not None and following[0] <= number:
                (_, buffer, file, line), following = following, next(said, None)
            site = marks.sites[number]
            if is_code and site.statement.is_code:
                if site.buffer.parent is not None:
                    site = site.callers()
                if site.buffer is buffer:
                    lines.append(Line(base + marks.offsets[number], file, line))
                else:
                    lines.append(Line(base + marks.offsets[number], site.buffer.file, site.line))
    lines.sort(key=lambda line: line.address)
    return lines


def misplaced(marks: Marks) -> Iterator[tuple[Site, int]]:
    """The first instruction of each section whose address is no multiple of 4, and that address."""
    seen: set[str] = set()
    for fragment, numbers in marks.spans():
        base = fragment.section.address + fragment.offset
        if fragment.section.name in seen or fragment.section.left_out:
            continue
        for number in numbers:
            if (base + marks.offsets[number]) & 3 and marks.sites[number].statement.is_code:
                seen.add(fragment.section.name)
                yield marks.sites[number], base + marks.offsets[number]
                break


def listing_lines(marks: Marks, lookup: Lookup) -> list[ListingLine]:
    """One line per source line and section; a statement's bytes reach to where the next one begins.

    Where a macro's lines or another section come between the statements of a line, it is there in pieces.
    """
    listing: list[ListingLine] = []
    latest: dict[Buffer, tuple[int, int, int]] = {}         # the last statement: its line, column and place in the listing
    for (site, fragment, offset), (_, next_fragment, next_offset) in pairwise(marks):
        section, buffer, column = fragment.section, site.buffer, site.statement.column
        at = section.address + fragment.offset + offset
        address = at if section.laid_out else None
        size = section.address + next_fragment.offset + next_offset - at if next_fragment.section is section else 0
        data = b"" if section.nobits else _bytes(fragment, offset, min(size, SHOWN_BYTES), lookup)
        index, column_before, place = latest.get(buffer, (-1, 0, 0))
        same_line = index == site.index and column_before < column
        if same_line and place == len(listing) - 1 and listing[place].section == section.name:
            before = listing[place]
            listing[place] = replace(before, size=before.size + size, data=(before.data + data)[:SHOWN_BYTES])
        else:
            if same_line:
                listing[place] = replace(listing[place], end=column)
            listing.append(ListingLine(section.name, address, size, data, buffer.file, site.line, site.text, buffer.origin,
                                       start=column if same_line else 0))
        latest[buffer] = site.index, column, len(listing) - 1
    return listing


def _bytes(fragment: Data, offset: int, size: int, lookup: Lookup) -> bytes:
    """The first `size` bytes from a place."""
    fragments, data = fragment.section.fragments, fragment.data[offset:offset + size]
    index = fragment.index + 1
    while len(data) < size and index < len(fragments):
        try:
            for chunk in fragments[index].chunks(lookup):
                data += next(chunk.blocks(size)) if isinstance(chunk, FileSlice) else chunk[:size]
                if len(data) >= size:
                    break
        except SourceError:                     # reported; the place stays empty
            data += bytes(min(fragments[index].size, size))
        index += 1
    return bytes(data[:size])
