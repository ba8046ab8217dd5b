"""The program file: a `ProgramFile` as a static ELF64 executable for RISC-V. isa/elf/reader.py is the way back.

Written front to back in bounded memory: header, one PT_LOAD per section with contents or zeros, section contents in
order of address, debug tables, `.slim.meta` (JSON: ISA version, the whole machine, units, meta), symbol table, section headers.
A section lies in the file at an offset congruent to its address modulo the page size, so it can be mapped instead of read;
blocks of zeros are holes. The section headers end the file, so a file that is cut short anywhere is noticed.

Source: System V ABI, chapter "Object Files" (ELF-64); RISC-V ELF psABI, chapter "ELF Object Files".
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import IO

from isa.elf.dwarf import encode_lines
from isa.files import LARGE_PAGE, replacing
from isa.program_file import ISA_VERSION, META_SCHEMA, ProgramError, ProgramFile, Section, require

PAGE = 4096                      # bytes; file offsets of sections are congruent to their addresses modulo this
META = ".slim.meta"
HEADER_SIZE, SEGMENT_SIZE, SECTION_SIZE, SYMBOL_SIZE = 64, 56, 64, 24

EM_RISCV, ET_REL, ET_EXEC, ET_DYN = 243, 1, 2, 3
PT_LOAD, PT_INTERP = 1, 3
SHT_NULL, SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB, SHT_NOBITS = 0, 1, 2, 3, 8
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR, SHF_TLS = 1, 2, 4, 0x400
SHN_UNDEF, SHN_LORESERVE, SHN_ABS = 0, 0xFF00, 0xFFF1
EF_RVC, EF_FLOAT_ABI = 1, 6
SECTION_FLAGS = {"a": SHF_ALLOC, "w": SHF_WRITE, "x": SHF_EXECINSTR}
SEGMENT_FLAGS = {"x": 1, "w": 2, "a": 4}                          # PF_X, PF_W, PF_R
KINDS = ("notype", "object", "func")                              # STT_NOTYPE, STT_OBJECT, STT_FUNC
BINDINGS = ("local", "global", "weak")                            # STB_LOCAL, STB_GLOBAL, STB_WEAK

_ZEROS = bytes(1 << 20)           # as long as the blocks of a FileSlice

RESERVED = frozenset(("", ".symtab", ".strtab", ".shstrtab", META))


def is_reserved(name: str) -> bool:
    """True for the names of sections that this file makes itself: they are never sections of a program."""
    return name in RESERVED or is_debugging(name)


def is_debugging(name: str) -> bool:
    """True for the names of sections with debugging information. A program has its source lines, and no more of them."""
    return name.startswith((".debug_", ".zdebug_"))


class _Names:
    """A string table under construction."""

    def __init__(self) -> None:
        self.data = bytearray(b"\0")
        self._offsets: dict[str, int] = {"": 0}

    def add(self, name: str) -> int:
        """Offset of the name. Raises ProgramError for a name that a string table cannot hold."""
        if name not in self._offsets:
            try:
                encoded = name.encode()
            except UnicodeEncodeError:
                raise ProgramError(f"the name {name!r} is not valid Unicode") from None
            require(b"\0" not in encoded, f"the name {name!r} contains a zero byte")
            self._offsets[name] = len(self.data)
            self.data += encoded + b"\0"
        return self._offsets[name]


def write_elf(program: ProgramFile, path: Path) -> None:
    """Write the program to `path`: the whole file appears there, or what was there before stays.

    Raises ProgramError for a program that is not well formed (overlapping sections, bad names, meta that is not
    JSON), OSError when the file, or one that a section takes its contents from, cannot be used.
    """
    check_sections(program.sections)
    blocks = _file_blocks(program)
    with replacing(path) as stream:
        _write(blocks, stream)


def _write(blocks: Iterator[bytes], stream: IO[bytes]) -> None:
    """Write blocks to an empty file, zeros as holes.

    A write ends where a large page ends, so that the operating system may keep the file in large pages: mapped by them, weights are
    read up to a third faster (isa/engine/pages.py).
    """
    has_holes, at, waiting = stream.seekable(), 0, bytearray()          # `waiting` is what comes at `at`
    for block in blocks:
        if has_holes and len(block) >= PAGE and _ZEROS.startswith(block):
            stream.write(waiting)
            at += len(waiting) + len(block)
            waiting.clear()
            stream.seek(len(block), os.SEEK_CUR)
            continue
        waiting += block
        if whole := max((at + len(waiting)) // LARGE_PAGE * LARGE_PAGE - at, 0):
            stream.write(waiting[:whole])
            at += whole
            del waiting[:whole]
    stream.write(waiting)


def check_sections(sections: list[Section]) -> None:
    """Raise ProgramError unless names, alignment and addresses are such that the sections can stand in one program."""
    names: set[str] = set()
    for section in sections:
        name, address, align = section.name, section.address, section.align
        require(not is_reserved(name), f"the section name {name!r} is reserved")
        require(name not in names, f"two sections are named {name}")
        names.add(name)
        require(align > 0 and not align & (align - 1), f"section {name}: alignment {align} is not a power of two")
        require(address % align == 0, f"section {name}: address {address:#x} is not aligned to {align}")
        require(address >= 0 and section.end <= 1 << 64, f"section {name}: {address:#x}..{section.end:#x} is not within 64 bits")
        require(not (section.zero_size and section.chunks),
                f"section {name} has both contents and zeros that the file does not hold")
        unknown = set(section.flags) - set(SECTION_FLAGS)
        require(not unknown, f"section {name}: unknown flag {min(unknown, default='')!r}", hint="flags are letters of 'awx'")
    require(len(sections) <= SHN_LORESERVE - 16, f"{len(sections)} sections, at most {SHN_LORESERVE - 16} are possible")
    if pair := overlap(sections):
        raise ProgramError(f"sections {pair[0].name} ({pair[0].address:#x}..{pair[0].end:#x}) and {pair[1].name} "
                           f"({pair[1].address:#x}..{pair[1].end:#x}) overlap")


def overlap(sections: list[Section]) -> tuple[Section, Section] | None:
    """Two sections that claim the same memory, or None."""
    placed = sorted((s for s in sections if "a" in s.flags and s.size), key=lambda s: s.address)
    return next(((before, after) for before, after in pairwise(placed) if after.address < before.end), None)


def _file_blocks(program: ProgramFile) -> Iterator[bytes]:
    """The file's bytes from first to last. Everything but section contents is made before the first block is given out."""
    tables = _tables(program)
    names = _Names()
    loaded = sorted((s for s in program.sections if "a" in s.flags and s.size), key=lambda s: s.address)
    others = [s for s in program.sections if not ("a" in s.flags and s.size)]
    position = HEADER_SIZE + SEGMENT_SIZE * len(loaded)
    offsets: dict[str, int] = {}
    segments = bytearray()
    for section in loaded:
        offset = position + (section.address - position) % PAGE
        offsets[section.name] = offset
        held = section.size - section.zero_size
        flags = sum(SEGMENT_FLAGS[letter] for letter in set(section.flags))
        segments += struct.pack("<IIQQQQQQ", PT_LOAD, flags, offset, section.address, section.address,
                                held, section.size, PAGE)
        if held:
            position = offset + held
    for section in others:
        offsets[section.name] = position
        position += section.size - section.zero_size
    headers = bytearray(SECTION_SIZE)
    for section in program.sections:
        kind = SHT_NOBITS if section.zero_size else SHT_PROGBITS
        flags = sum(SECTION_FLAGS[letter] for letter in set(section.flags))
        headers += struct.pack("<IIQQQQIIQQ", names.add(section.name), kind, flags, section.address, offsets[section.name],
                               section.size, 0, 0, section.align, 0)
    contents = [s for s in (*loaded, *others) if s.size > s.zero_size]
    tail = bytearray()
    tail_start = position + -position % 8

    def table(name: str, kind: int, data: bytes, link: int = 0, info: int = 0, entry_size: int = 0) -> None:
        tail.extend(bytes(-len(tail) % 8))
        headers.extend(struct.pack("<IIQQQQIIQQ", names.add(name), kind, 0, 0, tail_start + len(tail), len(data), link, info,
                                   8 if kind == SHT_SYMTAB else 1, entry_size))
        tail.extend(data)

    for name, data in tables.items():
        table(name, SHT_PROGBITS, data)
    symbols, strings, first_global = _symbol_table(program)
    count = len(headers) // SECTION_SIZE
    table(".symtab", SHT_SYMTAB, symbols, link=count + 1, info=first_global, entry_size=SYMBOL_SIZE)
    table(".strtab", SHT_STRTAB, strings)
    names.add(".shstrtab")
    table(".shstrtab", SHT_STRTAB, bytes(names.data))
    tail.extend(bytes(-len(tail) % 8))
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", ET_EXEC, EM_RISCV, 1, _unsigned("entry", program.entry),
                         HEADER_SIZE if loaded else 0, tail_start + len(tail), 0, HEADER_SIZE, SEGMENT_SIZE, len(loaded),
                         SECTION_SIZE, count + 3, count + 2)
    return _stream(header + bytes(segments), contents, offsets, tail_start, bytes(tail + headers))


def _stream(head: bytes, contents: list[Section], offsets: dict[str, int], tail_start: int, tail: bytes) -> Iterator[bytes]:
    yield head
    position = len(head)
    for section in contents:
        yield bytes(offsets[section.name] - position)
        yield from section.blocks()
        position = offsets[section.name] + section.size
    yield bytes(tail_start - position)
    yield tail


def _tables(program: ProgramFile) -> dict[str, bytes]:
    """Contents of the sections that describe the program: source lines and metadata."""
    for line in program.lines:
        if not 0 <= line.address < 1 << 64:
            raise ProgramError(f"{line.file}:{line.line}: address {line.address:#x} is not a 64-bit address")
    tables = encode_lines(program.lines, program.sections)
    try:
        tables[META] = json.dumps({"isa_version": ISA_VERSION, "schema": META_SCHEMA,
                                   "machine": program.built_for.contents if program.built_for else None,
                                   "units": program.units, "meta": program.meta}, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ProgramError(f"the program's metadata cannot be written as JSON: {error}") from None
    return tables


def _symbol_table(program: ProgramFile) -> tuple[bytes, bytes, int]:
    """The symbol table, its strings and the index of the first symbol that is not local."""
    numbers: dict[str | None, int] = {section.name: number for number, section in enumerate(program.sections, 1)}
    numbers[None] = SHN_ABS
    names = _Names()
    ordered = sorted(program.symbols, key=lambda symbol: symbol.binding != "local")
    table = bytearray(SYMBOL_SIZE)
    for symbol in ordered:
        if symbol.section not in numbers:
            raise ProgramError(f"symbol {symbol.name} is in section {symbol.section}, which the program does not have")
        if symbol.kind not in KINDS or symbol.binding not in BINDINGS:
            raise ProgramError(f"symbol {symbol.name}: unknown kind {symbol.kind!r} or binding {symbol.binding!r}")
        info = BINDINGS.index(symbol.binding) << 4 | KINDS.index(symbol.kind)
        value, size = _unsigned(f"symbol {symbol.name}", symbol.value), _unsigned(f"size of {symbol.name}", symbol.size)
        table += struct.pack("<IBBHQQ", names.add(symbol.name), info, 0, numbers[symbol.section], value, size)
    first_global = 1 + sum(symbol.binding == "local" for symbol in ordered)
    return bytes(table), bytes(names.data), first_global


def _unsigned(what: str, value: int) -> int:
    """The 64-bit pattern of a number. Raises ProgramError for one that needs more bits."""
    require(-(1 << 63) <= value < 1 << 64, f"{what}: {value:#x} does not fit 64 bits")
    return value % (1 << 64)
