"""The results of an assembler run as text: listing, symbol map, source-line map, and all three as JSON.

Everything here works for failed runs as well; errors then stand beneath the lines that they are about.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from asm.assembly import Assembly, ListingLine
from asm.diagnostics import Diagnostic, plural, shown
from isa.program import Line, Section, Symbol
from isa.text import printable

ROW_BYTES, ROWS = 8, 4          # bytes in a row of the listing, rows for one statement
WIDTH = 160                     # characters of source that are shown of a line
_SOURCE = " " * 41              # what stands left of the source text


def listing(assembly: Assembly) -> Iterator[str]:
    """Lines of text: line number, address, bytes in memory order, source.

    Lines that a macro, a repetition or an include brought in are marked with one `>` for each; a title tells where the file
    or the section changes. Long data is cut after ROWS rows, long lines after WIDTH characters.
    """
    yield f"{'line':>5}  {'address':<10}  {'bytes':<19}   source"
    place = None
    waiting = _by_line(assembly)
    for line in assembly.listing:
        if place != (line.file, line.section):
            place = line.file, line.section
            yield f"\n{printable(line.file)}" + (f", section {printable(line.section)}" if line.section else "")
        yield from _statement(line)
        yield from _messages(line, waiting)
    rest = [diagnostic for diagnostics in waiting.values() for diagnostic in diagnostics]
    yield ""
    yield from (str(diagnostic) for diagnostic in rest)     # about a file as a whole, or a line that was never reached
    counts = {kind: sum(d.severity == kind for d in assembly.diagnostics) for kind in ("error", "warning")}
    if any(counts.values()):
        yield ", ".join(plural(count, kind) for kind, count in counts.items() if count)


def _statement(line: ListingLine) -> Iterator[str]:
    address = "" if line.address is None else f"{line.address:08x}"
    rows = [line.data[at:at + ROW_BYTES] for at in range(0, min(len(line.data), ROWS * ROW_BYTES), ROW_BYTES)] or [b""]
    text = "> " * line.depth + line.text[:WIDTH + 1]        # a line may be in thousands of pieces
    source = printable(text[:WIDTH], keep="\t") + ("..." if len(text) > WIDTH else "")
    yield f"{line.line:5}  {address:<10}  {_hex(rows[0]):<19}   {source}".rstrip()
    for number, row in enumerate(rows[1:], 1):
        yield f"{'':5}  {(line.address or 0) + number * ROW_BYTES:08x}    {_hex(row)}"
    if more := line.size - sum(map(len, rows)):
        yield f"{'':5}  {'':<10}  ... {plural(more, 'more byte' if line.data else 'zero byte')}"


def _hex(row: bytes) -> str:
    return row.hex(" ", -4) if row else ""


def _by_line(assembly: Assembly) -> dict[tuple[str, int], list[Diagnostic]]:
    waiting: dict[tuple[str, int], list[Diagnostic]] = {}
    for diagnostic in assembly.diagnostics:
        waiting.setdefault((diagnostic.span.file, diagnostic.span.line), []).append(diagnostic)
    return waiting


def _messages(line: ListingLine, waiting: dict[tuple[str, int], list[Diagnostic]]) -> Iterator[str]:
    """Diagnostics about this line. One about a macro's line stands below the expansion that it is about."""
    diagnostics = waiting.get((line.file, line.line), [])
    for diagnostic in [d for d in diagnostics if not d.span.text or d.span.text.strip() == line.text.strip()]:
        diagnostics.remove(diagnostic)
        span = diagnostic.span
        text, start = "> " * line.depth + line.text, len("> " * line.depth) + span.column - 1 - span.indent
        if span.column and start < WIDTH:
            left, under = (len(printable(part, keep="\t")) for part in (text[:start], text[start:min(start + span.length, WIDTH)]))
            yield _SOURCE + " " * left + "^" * max(1, under)
        yield f"{_SOURCE}{diagnostic.severity}: {shown(diagnostic.message)}"
        if diagnostic.hint:
            yield f"{_SOURCE}hint: {shown(diagnostic.hint)}"
        yield from (f"{_SOURCE}{note.span.place()}: note: {shown(note.message)}" for note in diagnostic.notes)


def symbol_map(symbols: list[Symbol], sections: list[Section]) -> Iterator[str]:
    """Lines of text: the sections, then the symbols by address, then those that are plain values."""
    yield f"{'address':<18}  {'size':>12}  flags  section"
    for section in sections:
        yield f"{section.address:#018x}  {section.size:12}  {section.flags:<5}  {printable(section.name)}"
    yield ""
    yield f"{'address':<18}  {'size':>12}  {'binding':<7}  {'kind':<7}  {'section':<16}  symbol"
    for symbol in _ordered(symbols):
        yield (f"{symbol.value % (1 << 64):#018x}  {symbol.size:12}  {symbol.binding:<7}  {symbol.kind:<7}  "
               f"{printable(symbol.section or '(value)'):<16}  {printable(symbol.name)}")


def _ordered(symbols: list[Symbol]) -> list[Symbol]:
    return sorted(symbols, key=lambda symbol: (symbol.section is None, symbol.value, symbol.name))


def line_map(lines: list[Line]) -> Iterator[str]:
    """Lines of text: each address at which another source line begins, and that line."""
    yield f"{'address':<18}  source line"
    before = ("", 0)
    for line in lines:
        if (line.file, line.line) != before:
            before = line.file, line.line
            yield f"{line.address:#018x}  {printable(line.file)}:{line.line}" if line.file else f"{line.address:#018x}  (not known)"


def as_json(assembly: Assembly) -> dict[str, Any]:
    """Listing, symbol map and source-line map as data for json.dump. Addresses and sizes are numbers, `bytes` is hexadecimal.

    `ok` says whether there is a program; `sections` and `lines` are empty when there is none. `bytes` holds the first bytes of
    a statement (asm.assembly.SHOWN_BYTES at most), `size` counts all of them; `origin` lists the includes, macro calls and
    repetitions that led to the line, outermost first. `text` is the line; where the lines of a macro or another section come
    between its statements, the line is there in pieces, each with its own part of the text.
    """
    program = assembly.program
    return {
        "ok": program is not None,
        "diagnostics": [{
            "severity": d.severity, "message": d.message, "file": d.span.file, "line": d.span.line, "column": d.span.column,
            "length": d.span.length, "hint": d.hint,
            "notes": [{"message": n.message, "file": n.span.file, "line": n.span.line} for n in d.notes],
        } for d in assembly.diagnostics],
        "listing": [{
            "file": line.file, "line": line.line, "section": line.section, "address": line.address, "size": line.size,
            "bytes": line.data.hex(), "text": line.part,
            "origin": [{"kind": f.kind, "name": f.name, "file": f.file, "line": f.line} for f in line.origin],
        } for line in assembly.listing],
        "sections": [{
            "name": s.name, "flags": s.flags, "address": s.address, "size": s.size, "align": s.align,
        } for s in (program.sections if program else [])],
        "symbols": [{
            "name": s.name, "value": s.value, "size": s.size, "kind": s.kind, "binding": s.binding, "section": s.section,
        } for s in _ordered(assembly.symbols)],
        "lines": [{"address": x.address, "file": x.file, "line": x.line} for x in (program.lines if program else [])],
    }
