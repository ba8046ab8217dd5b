"""Marks: where each statement's bytes begin. After layout they give the source-line map and the listing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from asm.assembly import SHOWN_BYTES, ListingLine
from asm.diagnostics import SourceError
from asm.fragments import AssemblySection, Data, Lookup
from asm.source import Buffer, Site
from isa.program import FileSlice, Line


@dataclass(eq=False, slots=True)
class Mark:
    """Where a statement's bytes begin."""

    site: Site
    section: AssemblySection
    fragment: Data
    offset: int

    @property
    def address(self) -> int:
        return self.section.address + self.fragment.offset + self.offset

    @property
    def is_instruction(self) -> bool:
        return self.site.statement.plan is not None


@dataclass(eq=False)
class LineMarks:
    """What a compiler says of the lines that its output comes from: `.file NUMBER "NAME"` and `.loc NUMBER LINE`.

    `files` by source buffer and number; `said` has each .loc as (number of the next mark, buffer, file, line).
    """

    files: dict[tuple[Buffer, int], str] = field(default_factory=dict)
    said: list[tuple[int, Buffer, str, int]] = field(default_factory=list)


def source_lines(marks: Sequence[Mark], compiled: LineMarks) -> list[Line]:
    """The source line of every instruction, by address; for macros that of the call.

    In the output of a compiler it is what its last .loc says, up to the end of the file in which that stands.
    """
    lines: list[Line] = []
    said = iter(compiled.said)
    following = next(said, None)
    buffer, file, number = None, "", 0
    for index, mark in enumerate(marks):
        while following is not None and following[0] <= index:
            (_, buffer, file, number), following = following, next(said, None)
        if mark.is_instruction and "x" in mark.section.flags:
            site = mark.site.callers()
            if site.buffer is buffer:
                lines.append(Line(mark.address, file, number))
            else:
                lines.append(Line(mark.address, site.buffer.file, site.line))
    lines.sort(key=lambda line: line.address)
    return lines


def listing_lines(marks: Sequence[Mark], lookup: Lookup) -> list[ListingLine]:
    """One line per source line and section; a statement's bytes reach to where the next one begins."""
    listing: list[ListingLine] = []
    last: tuple[Buffer, int, int] | None = None             # line and column of the statement before
    for mark, after in pairwise(marks):
        section, site = mark.section, mark.site
        size = after.address - mark.address if after.section is section else 0
        data = b"" if section.nobits else _bytes(mark, min(size, SHOWN_BYTES), lookup)
        address = mark.address if section.laid_out else None
        same_line = last is not None and last[:2] == (site.buffer, site.index) and last[2] < site.statement.column
        if same_line and listing[-1].section == section.name:
            before = listing.pop()
            address, size, data = before.address, before.size + size, (before.data + data)[:SHOWN_BYTES]
        listing.append(ListingLine(section.name, address, size, data, site.buffer.file, site.line, site.text, site.buffer.origin))
        last = site.buffer, site.index, site.statement.column
    return listing


def _bytes(mark: Mark, size: int, lookup: Lookup) -> bytes:
    """The first `size` bytes from a mark."""
    fragments, data = mark.section.fragments, mark.fragment.data[mark.offset:mark.offset + size]
    index = mark.fragment.index + 1
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
