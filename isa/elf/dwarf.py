"""Source lines as DWARF: what addr2line, objdump -dl and gdb read, and back.

Written are version 4 tables: one compilation unit, its address ranges, one line program with a sequence per section.
Read is `.debug_line` of versions 2 to 5, so that programs of other toolchains keep their source lines. A sequence's end
inside a section becomes a `Line` without a file: from there on the source is not known.

Source: DWARF Debugging Information Format, Version 5, sections 6.2 (line number information) and 7.5.
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_left
from collections.abc import Iterator
from itertools import groupby

import numpy as np

from isa.program_file import Line, ProgramError, Section, require

# The line program's parameters: one byte per row when the line moves by -3..8 and the address by 0..19.
MOST_ROWS = 1 << 22     # of the line tables of a program with less code: one byte makes a row, so a damaged file could fill memory
_LINE_BASE, _LINE_RANGE, _OPCODE_BASE = -3, 12, 13
_OPERANDS = bytes((0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1))         # ULEB operands of standard opcodes 1..12

_COPY, _ADVANCE_PC, _ADVANCE_LINE, _SET_FILE, _CONST_ADD_PC, _FIXED_ADVANCE_PC = 1, 2, 3, 4, 8, 9
_END_SEQUENCE, _SET_ADDRESS, _DEFINE_FILE = 1, 2, 3

_ABBREVIATIONS = bytes((
    1, 0x11, 0,       # 1: DW_TAG_compile_unit without children
    0x10, 0x17,       # DW_AT_stmt_list, DW_FORM_sec_offset
    0x55, 0x17,       # DW_AT_ranges, DW_FORM_sec_offset
    0x11, 0x01,       # DW_AT_low_pc, DW_FORM_addr
    0x13, 0x05,       # DW_AT_language, DW_FORM_data2
    0x25, 0x08,       # DW_AT_producer, DW_FORM_string
    0x03, 0x08,       # DW_AT_name, DW_FORM_string
    0, 0, 0))
_ASSEMBLER = 0x8001   # DW_LANG_Mips_Assembler, what assemblers of every target use


def _uleb(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _sleb(value: int) -> bytes:
    out = bytearray()
    while not -0x40 <= value < 0x40:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value & 0x7F)
    return bytes(out)


def _string(text: str) -> bytes:
    """A zero-terminated string. File names keep bytes that are not UTF-8, as Python's file functions do."""
    data = text.encode("utf-8", "surrogateescape")
    require(b"\0" not in data, f"the source file name {text!r} contains a zero byte")
    return data + b"\0"


def encode_lines(lines: list[Line], sections: list[Section]) -> dict[str, bytes]:
    """The debug sections by name; none when there is no line. Raises ProgramError for a file name with a zero byte."""
    files = {file: number for number, file in enumerate(dict.fromkeys(line.file for line in lines if line.file), 1)}
    if not files:
        return {}
    most = most_rows(sections)
    require(len(lines) <= most, f"{len(lines):,} source lines; at most {most:,} are read back with as much code")
    program = bytearray()
    ranges = bytearray()
    for sequence, end in _sequences(lines, sections):
        ranges += struct.pack("<QQ", sequence[0].address, end)
        program += _encode_sequence(sequence, end, files)
    table = b"".join(_string(file) + b"\0\0\0" for file in files)        # name, directory 0, no time, no length
    header = struct.pack("<BBBbBB", 1, 1, 1, _LINE_BASE, _LINE_RANGE, _OPCODE_BASE) + _OPERANDS + b"\0" + table + b"\0"
    line_unit = struct.pack("<HI", 4, len(header)) + header + program
    attributes = struct.pack("<IIQH", 0, 0, 0, _ASSEMBLER) + _string("slimulator") + _string(next(iter(files)))
    info = struct.pack("<HIB", 4, 0, 8) + b"\1" + attributes       # abbreviation 1
    return {".debug_line": struct.pack("<I", len(line_unit)) + line_unit,
            ".debug_info": struct.pack("<I", len(info)) + info,
            ".debug_abbrev": _ABBREVIATIONS,
            ".debug_ranges": bytes(ranges) + bytes(16)}


def most_rows(sections: list[Section]) -> int:
    """How many source lines a program may have: one for each byte of code in its file, or MOST_ROWS."""
    return max(MOST_ROWS, sum(s.size - s.zero_size for s in sections if "x" in s.flags))


def _sequences(lines: list[Line], sections: list[Section]) -> Iterator[tuple[list[Line], int]]:
    """Runs of lines that lie in one section, each with the address of its end."""
    bounds = sorted((s.address, s.end) for s in sections if "a" in s.flags and s.size)
    position = 0

    def section_end(line: Line) -> int:
        """End of the section that holds the line, 0 when none does. Called with rising addresses."""
        nonlocal position
        while position < len(bounds) and bounds[position][1] <= line.address:
            position += 1
        return bounds[position][1] if position < len(bounds) and bounds[position][0] <= line.address else 0

    for end, group in groupby(sorted(lines, key=lambda line: line.address), section_end):
        run: list[Line] = []
        for line in group:
            if line.file:
                run.append(line)
            elif run:
                yield run, line.address
                run = []
        if run:
            yield run, end or run[-1].address + 1


def _encode_sequence(sequence: list[Line], end: int, files: dict[str, int]) -> bytes:
    out = bytearray(b"\0\x09\x02" + struct.pack("<Q", sequence[0].address))
    address, number, file = sequence[0].address, 1, 1
    for line in sequence:
        if files[line.file] != file:
            file = files[line.file]
            out += bytes((_SET_FILE,)) + _uleb(file)
        advance, step = line.address - address, line.line - number
        if not _LINE_BASE <= step < _LINE_BASE + _LINE_RANGE:
            out += bytes((_ADVANCE_LINE,)) + _sleb(step)
            step = 0
        opcode = step - _LINE_BASE + _LINE_RANGE * advance + _OPCODE_BASE
        if opcode > 255:
            out += bytes((_ADVANCE_PC,)) + _uleb(advance)
            opcode -= _LINE_RANGE * advance
        out.append(opcode)
        address, number = line.address, line.line
    return bytes(out) + bytes((_ADVANCE_PC,)) + _uleb(end - address) + b"\0\1\1"


class _Reader:
    """A cursor over section bytes. Raises ProgramError where they end too early; offsets are those in the section."""

    def __init__(self, data: bytes, position: int = 0, end: int | None = None) -> None:
        self.data, self.position, self.end = data, position, len(data) if end is None else end

    def fail(self, message: str) -> ProgramError:
        return ProgramError(f".debug_line: {message}", offset=self.position, hint="remove the debug sections (objcopy -g)")

    def require(self, holds: object, message: str) -> None:
        """Raise `fail(message)` unless `holds` is true."""
        if not holds:
            raise self.fail(message)

    def take(self, size: int) -> bytes:
        if self.position + size > self.end:
            raise self.fail("the data ends in the middle of an entry")
        self.position += size
        return self.data[self.position - size:self.position]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def uleb(self) -> int:
        value = shift = 0
        while True:
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
            if shift > 70:
                raise self.fail("a number is longer than 64 bits")

    def sleb(self) -> int:
        start = self.position
        value = self.uleb()
        bits = 7 * (self.position - start)
        return value - (1 << bits) if value >> (bits - 1) & 1 else value

    def string(self) -> str:
        stop = self.data.find(b"\0", self.position, self.end)
        self.require(stop >= 0, "a string has no end")
        text = self.data[self.position:stop].decode("utf-8", "surrogateescape")
        self.position = stop + 1
        return text


def decode_lines(debug_line: bytes, debug_line_str: bytes, debug_str: bytes, sections: list[Section]) -> list[Line]:
    """All rows of the section, by rising address. Raises ProgramError with the offset in `.debug_line`."""
    lines: list[Line] = []
    ends: set[int] = set()
    starts: set[int] = set()
    reader, most = _Reader(debug_line), most_rows(sections)
    while reader.position < len(debug_line):
        size, wide = reader.number(4), 4
        if size == 0xFFFF_FFFF:
            size, wide = reader.number(8), 8
        reader.require(size <= len(debug_line) - reader.position, "a line table is longer than the section")
        unit = _Reader(debug_line, reader.position, reader.position + size)
        _decode_unit(unit, wide, {0x1F: debug_line_str, 0x0E: debug_str}, lines, starts, ends, most)
        reader.position = unit.end
    bounds = sorted((s.address, s.end) for s in sections if "x" in s.flags and s.size)
    for end in ends - starts:
        before = bisect_left(bounds, (end, 0)) - 1              # sections do not overlap: it can lie in one alone
        if before >= 0 and end < bounds[before][1]:
            lines.append(Line(end, "", 0))
    return sorted(lines, key=lambda line: line.address)


def _decode_unit(unit: _Reader, wide: int, strings: dict[int, bytes], lines: list[Line], starts: set[int],
                 ends: set[int], most: int) -> None:
    """Append one unit's rows to `lines`, the addresses at which its sequences start and end to `starts` and `ends`."""
    version = unit.number(2)
    unit.require(2 <= version <= 5, f"DWARF version {version}, expected 2 to 5")
    address_size = 8
    if version == 5:
        address_size = unit.number(1)
        unit.take(1)                                    # size of a segment selector
    header_size = unit.number(wide)
    program_start = unit.position + header_size
    unit.require(program_start <= unit.end, "the line program starts behind its end")
    smallest = unit.number(1)
    unit.take(2 if version >= 4 else 1)                 # operations per instruction (version 4 on), default_is_stmt
    line_base = int.from_bytes(unit.take(1), "little", signed=True)
    line_range, opcode_base = unit.number(1), unit.number(1)
    unit.require(line_range and opcode_base, "line_range or opcode_base is 0")
    operands = b"\0" + unit.take(opcode_base - 1)
    files = _file_names(unit, version, wide, strings)
    unit.position = program_start
    special = re.compile(b"[\\x%02x-\\xff]+" % opcode_base, re.DOTALL)
    # By opcode: how far a special opcode moves the address and the line.
    moves = [divmod(opcode - opcode_base, line_range) if opcode >= opcode_base else (0, 0) for opcode in range(256)]
    address, file, number, open_sequence = 0, 1, 1, False

    def row() -> None:
        nonlocal open_sequence
        if not open_sequence:
            if address >> 64:
                raise unit.fail("an address is longer than 64 bits")
            starts.add(address)
            open_sequence = True
        if len(lines) >= most:
            raise unit.fail(f"more than {most} rows")
        lines.append(Line(address, files.get(file, ""), number))

    while unit.position < unit.end:
        opcode = unit.data[unit.position]
        unit.position += 1
        if opcode >= opcode_base and open_sequence and unit.position < unit.end and unit.data[unit.position] >= opcode_base:
            match = special.match(unit.data, unit.position - 1, unit.end)               # nearly all of what we write
            assert match is not None
            if len(lines) + len(match[0]) > most:
                raise unit.fail(f"more than {most} rows")
            advances, steps = np.divmod(np.frombuffer(match[0], np.uint8).astype(np.int64) - opcode_base, line_range)
            addresses, numbers = (advances * smallest).cumsum().tolist(), (steps + line_base).cumsum().tolist()
            name = files.get(file, "")
            lines.extend([Line(address + further, name, number + below) for further, below in zip(addresses, numbers, strict=True)])
            address, number = lines[-1].address, lines[-1].line
            unit.position = match.end()
        elif opcode >= opcode_base:
            advance, step = moves[opcode]
            address += advance * smallest
            number += line_base + step
            row()
        elif opcode == 0:
            length = unit.uleb()
            stop = unit.position + length
            unit.require(length and stop <= unit.end, "an extended opcode is longer than its line table")
            extended = unit.number(1)
            if extended == _END_SEQUENCE:
                ends.add(address)
                address, file, number, open_sequence = 0, 1, 1, False
            elif extended == _SET_ADDRESS:
                address = unit.number(min(length - 1, address_size))
            elif extended == _DEFINE_FILE:
                files[max(files, default=0) + 1] = unit.string()
            unit.position = stop
        elif opcode == _COPY:
            row()
        elif opcode == _ADVANCE_PC:
            address += unit.uleb() * smallest
        elif opcode == _ADVANCE_LINE:
            number += unit.sleb()
        elif opcode == _SET_FILE:
            file = unit.uleb()
        elif opcode == _CONST_ADD_PC:
            address += moves[255][0] * smallest
        elif opcode == _FIXED_ADVANCE_PC:
            address += unit.number(2)
        else:                                           # column, statement and block marks, and what newer versions add
            for _ in range(operands[opcode]):
                unit.uleb()


def _file_names(unit: _Reader, version: int, wide: int, strings: dict[int, bytes]) -> dict[int, str]:
    """File names by number, relative to the directory of the compilation unless they are absolute."""
    if version == 5:
        directories = [name for name, _ in _entries(unit, wide, strings)]
        listed = list(_entries(unit, wide, strings))
        first = 0
    else:
        directories, listed, first = [""], [], 1
        while name := unit.string():
            directories.append(name)
        while name := unit.string():
            listed.append((name, unit.uleb()))
            unit.uleb()                                 # time
            unit.uleb()                                 # length

    def path(name: str, directory: int) -> str:
        if name.startswith("/") or not 0 < directory < len(directories):
            return name
        return f"{directories[directory]}/{name}"

    return {number: path(name, directory) for number, (name, directory) in enumerate(listed, first)}


def _entries(unit: _Reader, wide: int, strings: dict[int, bytes]) -> Iterator[tuple[str, int]]:
    """(name, directory) of the entries of a version 5 table. Entries of no size are refused: their count has no bound."""
    formats = [(unit.uleb(), unit.uleb()) for _ in range(unit.number(1))]
    count = unit.uleb()
    unit.require(formats or not count, "a file table has entries without contents")
    for _ in range(count):
        name, directory = "", 0
        for content, form in formats:
            value = _form(unit, form, wide, strings)
            if content == 1 and isinstance(value, str):             # DW_LNCT_path
                name = value
            elif content == 2 and isinstance(value, int):           # DW_LNCT_directory_index
                directory = value
        yield name, directory


def _form(unit: _Reader, form: int, wide: int, strings: dict[int, bytes]) -> str | int:
    """One value of a version 5 table entry."""
    if form in strings:                                             # DW_FORM_line_strp, DW_FORM_strp
        return _Reader(strings[form], unit.number(wide)).string()
    if form == 0x08:                                                # DW_FORM_string
        return unit.string()
    if form == 0x0F:                                                # DW_FORM_udata
        return unit.uleb()
    size = {0x0B: 1, 0x05: 2, 0x06: 4, 0x07: 8, 0x1E: 16}.get(form)  # DW_FORM_data1, 2, 4, 8, 16
    if size is None:
        raise unit.fail(f"a file table has values of form {form:#x}, which is not known")
    return unit.number(size)
