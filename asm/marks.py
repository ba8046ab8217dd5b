"""Marks: where each statement's bytes begin. After layout they give the source-line map and the listing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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


def source_lines(marks: Sequence[Mark]) -> list[Line]:
    """The source line of every instruction, by address; for macros that of the call."""
    lines: list[Line] = []
    for mark in marks:
        if mark.is_instruction and "x" in mark.section.flags:
            site = mark.site.callers()
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
