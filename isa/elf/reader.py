"""Reading program files: our own, and static RISC-V executables of other tools that use nothing the machine lacks.

Headers go through pyelftools after a check of everything that it would believe: what is wrong is said with the offset
where it is.

Source: System V ABI, chapter "Object Files" (ELF-64); RISC-V ELF psABI, chapter "ELF Object Files".
"""

from __future__ import annotations

import json
import os
import re
import struct
from bisect import bisect_right
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any, TypeVar

from isa.elf import writer as elf
from isa.elf.dwarf import decode_lines
from isa.files import opened
from isa.preset import PresetError, preset_of
from isa.program_file import (
    ISA_VERSION,
    META_SCHEMA,
    Chunk,
    FileSlice,
    ProgramError,
    ProgramFile,
    Section,
    Symbol,
    brief,
    is_version,
    require,
)

LARGE = 1 << 20              # bytes from which on the contents of a section are not read but left in the file
LARGEST_TABLE = 1 << 26      # bytes that a compressed debug section or metadata may unpack to; others are no larger than the file

_MAPPING = re.compile(r"\$(d|x(rv\w*)?)(\..*)?", re.DOTALL)      # symbols that mark where code and data begin, in the psABI
_RV64IM = "compile with -march=rv64im -mabi=lp64"
_ANOTHER = "use the Slimulator that made it, or make the program again: assemble or compile it"

P = TypeVar("P", bound=ProgramFile)


def read_elf(path: Path, kind: type[P]) -> P:
    """The program in the file `path`, as an object of this class; contents of large sections stay in the file as FileSlice.

    Raises OSError, and ProgramError for a file that is damaged, foreign or of another version: what is wrong, at which offset.
    """
    with opened(path) as stream:
        try:
            return _File(stream, str(path)).program(kind)
        except ProgramError as error:
            raise ProgramError(error.message, path=str(path), offset=error.offset, hint=error.hint) from None


class _File:
    """An ELF file while it is read."""

    def __init__(self, stream: IO[bytes], path: str) -> None:
        from elftools.elf.elffile import ELFFile
        self.stream, self.path = stream, path
        self.size = os.fstat(stream.fileno()).st_size
        self._check_header()
        try:
            file = ELFFile(stream)
            self.header = file.header
            self.segments = [segment.header for segment in file.iter_segments()]
            self.elf_sections = list(file.iter_sections())
        except Exception as error:          # pyelftools raises whatever its parsers stumble over
            raise ProgramError(f"the headers are damaged: {str(error) or type(error).__name__}") from None
        self.names = [section.name for section in self.elf_sections]
        self._check_extents()

    def _check_header(self) -> None:
        """Refuse what is not a static RISC-V executable that this machine can run, before anything is believed."""
        from elftools.elf.enums import ENUM_E_MACHINE
        data = self.stream.read(elf.HEADER_SIZE)
        require(data, "the file is empty")
        require(data[:4] == b"\x7fELF"[:len(data)], "not an ELF file: it does not start with 7f 45 4c 46", offset=0,
                hint="assembly source goes through `slimulator asm` first")
        require(len(data) == elf.HEADER_SIZE, f"the file ends inside the ELF header, after {len(data)} of {elf.HEADER_SIZE} bytes",
                offset=len(data))
        require(data[4] == 2, "not a 64-bit ELF file", offset=4, hint=_RV64IM)
        require(data[5] == 1, "not a little-endian ELF file", offset=5)
        (kind, machine, version, _, segments, sections, flags, size,
         segment_size, segment_count, section_size, section_count, names) = struct.unpack("<HHIQQQIHHHHHH", data[16:])
        other = next((name for name, number in ENUM_E_MACHINE.items() if number == machine), "an unknown machine")
        require(machine == elf.EM_RISCV, f"the program is for {other.removeprefix('EM_')} ({machine}), not for RISC-V", offset=18)
        what, hint = {
            elf.ET_REL: ("a relocatable object that is not linked", "link it with riscv64-unknown-elf-ld"),
            elf.ET_DYN: ("position independent or a shared library", "link with -static -no-pie"),
        }.get(kind, (f"of ELF type {kind}", ""))
        require(kind == elf.ET_EXEC, f"not an executable: the file is {what}", offset=16, hint=hint)
        require(not flags & elf.EF_RVC, "the program uses compressed instructions (extension C), which the machine does not have",
                offset=48, hint=_RV64IM)
        require(not flags & elf.EF_FLOAT_ABI, "the program passes arguments in floating-point registers, which the machine does "
                "not have", offset=48, hint=_RV64IM)
        for number, at in ((data[6], 6), (version, 20)):
            require(number == 1, f"ELF version {number}, expected 1", offset=at)
        require(size >= elf.HEADER_SIZE, f"the ELF header says that it has {size} bytes, expected {elf.HEADER_SIZE}", offset=52)
        require(not segment_count or segment_size == elf.SEGMENT_SIZE,
                f"program headers of {segment_size} bytes, expected {elf.SEGMENT_SIZE}", offset=54)
        require(not section_count or section_size == elf.SECTION_SIZE,
                f"section headers of {section_size} bytes, expected {elf.SECTION_SIZE}", offset=58)
        for what, start, length, at in (("program", segments, segment_size * segment_count, 32),
                                        ("section", sections, section_size * section_count, 40)):
            end = start + length
            require(not length or end <= self.size, f"the {what} headers ({start:#x}..{end:#x}) reach over the end of the file "
                    f"({self.size:#x}): the file is truncated or damaged", offset=at)
        require(names < section_count or not section_count, f"the section names are in section {names} of {section_count}",
                offset=62)
        require(section_count or not sections, "more section headers than an ELF header can count", offset=60)

    def _at(self, index: int) -> int:
        """File offset of a section header, or of the program header that a section without one is made from."""
        if index < 0:
            return int(self.header.e_phoff) + (-index - 1) // 2 * elf.SEGMENT_SIZE
        return int(self.header.e_shoff) + index * elf.SECTION_SIZE

    def _check_extents(self) -> None:
        """Refuse segments and sections that reach over the end of the file or of the address space."""
        for index, segment in enumerate(self.segments):
            at = int(self.header.e_phoff) + index * elf.SEGMENT_SIZE
            require(segment.p_type != "PT_INTERP", "the program wants a dynamic loader", offset=at,
                    hint="link with -static -no-pie")
            if segment.p_type == "PT_LOAD":
                require(not segment.p_filesz or segment.p_offset + segment.p_filesz <= self.size,
                        f"segment {index} reaches over the end of the file", offset=at)
                require(segment.p_filesz <= segment.p_memsz and segment.p_vaddr + segment.p_memsz <= 1 << 64,
                        f"segment {index} has an impossible size", offset=at)
        total = 0
        for index, section in enumerate(self.elf_sections):
            if section["sh_type"] not in ("SHT_NULL", "SHT_NOBITS"):
                require(section["sh_offset"] + section["sh_size"] <= self.size,
                        f"section {self.names[index] or index} reaches over the end of the file", offset=self._at(index))
                total += section["sh_size"]
        require(total <= self.size, "sections overlap in the file: their sizes add up to more than the file's")

    def _read(self, offset: int, size: int) -> bytes:
        self.stream.seek(offset)
        data = self.stream.read(size)
        require(len(data) == size, "the file became shorter while it was read", offset=offset)
        return data

    def _table(self, name: str) -> bytes:
        """Contents of a section that describes the program, decompressed; nothing when there is no such section."""
        if name not in self.names:
            return b""
        index = self.names.index(name)
        section = self.elf_sections[index]
        require(section["sh_type"] != "SHT_NOBITS" and (not section.compressed or section.data_size <= LARGEST_TABLE),
                f"section {name} has no contents or is too large", offset=self._at(index))
        try:
            return bytes(section.data())
        except Exception as error:          # as above; zlib's own exceptions as well
            raise ProgramError(f"section {name} is damaged: {str(error) or type(error).__name__}",
                               offset=self._at(index)) from None

    def program(self, kind: type[P]) -> P:
        meta = self._meta()
        sections = self._sections()
        lines = decode_lines(self._table(".debug_line"), self._table(".debug_line_str"), self._table(".debug_str"),
                             list(sections.values()))
        return kind(list(sections.values()), self._symbols(sections), lines, int(self.header.e_entry), meta["machine"],
                    meta["meta"], tuple(meta["units"]), self.path)

    def _sections(self) -> dict[int, Section]:
        """Sections of the program by their index in the file."""
        sections: dict[int, Section] = {}
        for index, elf_section in enumerate(self.elf_sections):
            header, name = elf_section.header, self.names[index]
            loaded = bool(header.sh_flags & elf.SHF_ALLOC)
            empty = header.sh_type == "SHT_NOBITS"
            if header.sh_type == "SHT_NULL" or (empty and header.sh_flags & elf.SHF_TLS):
                continue                    # .tbss describes memory of threads, it is no memory of its own
            if not loaded and (elf.is_reserved(name) or header.sh_type not in ("SHT_PROGBITS", "SHT_NOBITS")):
                continue
            require(header.sh_addr + header.sh_size <= 1 << 64, f"section {name} reaches over the end of the address space",
                    offset=self._at(index))
            section = Section(name, "".join(letter for letter, bit in elf.SECTION_FLAGS.items() if header.sh_flags & bit),
                              self._load_address(header.sh_addr) if loaded else header.sh_addr, max(1, header.sh_addralign))
            if empty:
                section.zero_size = header.sh_size
            elif header.sh_size:
                section.chunks.append(self._chunk(header.sh_offset, header.sh_size))
            sections[index] = section
        if not any("a" in section.flags for section in sections.values()):
            self._add_segments(sections)
        if pair := elf.overlap(list(sections.values())):
            at = next(self._at(index) for index, section in sections.items() if section is pair[1])
            raise ProgramError(f"sections {pair[0].name} and {pair[1].name} overlap at {pair[1].address:#x}", offset=at)
        return sections

    def _load_address(self, address: int) -> int:
        """Where the section at a virtual address is loaded: there are only physical addresses when the machine starts.

        A linker script may place initial values elsewhere than where the program will copy them. Segments without a
        physical address say 0.
        """
        before = bisect_right(self._moved, address, key=lambda segment: segment.p_vaddr) - 1
        if before >= 0:
            segment = self._moved[before]
            if address < segment.p_vaddr + max(1, segment.p_filesz):
                return int(address - segment.p_vaddr + segment.p_paddr)
        return address

    @cached_property
    def _moved(self) -> list[Any]:
        """Segments that say where they are loaded, by rising virtual address."""
        return sorted((segment for segment in self.segments if segment.p_type == "PT_LOAD" and segment.p_paddr),
                      key=lambda segment: segment.p_vaddr)

    def _add_segments(self, sections: dict[int, Section]) -> None:
        """Make sections from the segments, for files whose section headers were removed."""
        for index, segment in enumerate(self.segments):
            if segment.p_type != "PT_LOAD":
                continue
            flags = "".join(letter for letter in "awx" if letter == "a" or segment.p_flags & elf.SEGMENT_FLAGS[letter])
            address = self._load_address(segment.p_vaddr)
            if segment.p_filesz:
                sections[-2 * index - 2] = Section(f".load{index}", flags, address, 1,
                                                   [self._chunk(segment.p_offset, segment.p_filesz)])
            if zeros := segment.p_memsz - segment.p_filesz:
                sections[-2 * index - 1] = Section(f".zero{index}", flags, address + segment.p_filesz, 1, zero_size=zeros)

    def _chunk(self, offset: int, size: int) -> Chunk:
        return self._read(offset, size) if size < LARGE else FileSlice(os.path.abspath(self.path), offset, size)

    def _meta(self) -> dict[str, Any]:
        """What `.slim.meta` says, with the machine as a Preset. Programs of other tools have none, and name no machine."""
        usual: dict[str, Any] = {"machine": None, "units": [], "meta": {}}
        if elf.META not in self.names:
            return usual
        at = int(self.elf_sections[self.names.index(elf.META)]["sh_offset"])
        try:
            meta = json.loads(self._table(elf.META))
        except (ValueError, RecursionError) as error:
            raise ProgramError(f"{elf.META} is not JSON: {error}", offset=at) from None
        known = meta if isinstance(meta, dict) else {}
        version, schema = known.get("isa_version", ISA_VERSION), known.get("schema", META_SCHEMA)
        require(is_version(version, ISA_VERSION), f"the program is for version {brief(version)} of the instruction set, this "
                f"Slimulator has version {ISA_VERSION}", offset=at, hint=_ANOTHER)
        require(is_version(schema, META_SCHEMA), f"{elf.META} has schema {brief(schema)}, this Slimulator reads {META_SCHEMA}",
                offset=at, hint=_ANOTHER)
        meta = usual | {"meta": None} | known
        require("isa_version" in known and "machine" in known and isinstance(meta["meta"], dict),
                f"{elf.META} lacks isa_version, machine or meta", offset=at)
        machine = meta["machine"]
        require(machine is None or isinstance(machine, dict), f"{elf.META}: machine is {brief(machine)}; expected the contents of "
                "its file", offset=at, hint=_ANOTHER)
        try:
            meta["machine"] = None if machine is None else preset_of(machine)
        except PresetError as error:
            first = error.problems[0]
            raise ProgramError(f"{elf.META}: {replace(first, key=f'machine.{first.key}'.rstrip('.'), hint='')}", offset=at,
                               hint=_ANOTHER) from None
        units = meta["units"]
        require(isinstance(units, list) and all(isinstance(unit, str) for unit in units),
                f"{elf.META}: units is {units!r}; expected a list of names", offset=at)
        return meta

    def _symbols(self, sections: dict[int, Section]) -> list[Symbol]:
        """The symbols that name an address or a value. Those of files, sections and threads, and local labels, do not."""
        index = next((i for i, s in enumerate(self.elf_sections) if s["sh_type"] == "SHT_SYMTAB"), None)
        if index is None:
            return []
        table = self.elf_sections[index].header
        require(table.sh_size % elf.SYMBOL_SIZE == 0 and 0 < table.sh_link < len(self.elf_sections),
                "the symbol table's size or string table is wrong", offset=self._at(index))
        strings_header = self.elf_sections[table.sh_link].header
        require(strings_header.sh_type == "SHT_STRTAB", "the symbol table's strings are not a string table", offset=self._at(index))
        strings = self._read(strings_header.sh_offset, strings_header.sh_size)
        symbols: list[Symbol] = []
        entries = struct.iter_unpack("<IBBHQQ", self._read(table.sh_offset, table.sh_size))
        for number, (name_at, info, _, place, value, size) in enumerate(entries):
            kind, binding = info & 15, info >> 4
            if kind >= 3 or place == elf.SHN_UNDEF or (place not in sections and place != elf.SHN_ABS):
                continue
            end = strings.find(b"\0", name_at)
            if end < 0:
                raise ProgramError(f"the name of symbol {number} reaches over the end of its string table",
                                   offset=int(table.sh_offset) + number * elf.SYMBOL_SIZE)
            name = strings[name_at:end].decode("utf-8", "replace")
            # Mapping symbols, and labels that assemblers keep to themselves: ld leaves .L in with --emit-relocs.
            if not name or (binding == 0 and (name.startswith(".L") or (kind == 0 and _MAPPING.fullmatch(name)))):
                continue
            symbols.append(Symbol(name, value, size, elf.KINDS[kind], elf.BINDINGS[min(binding, 2)],
                                  None if place == elf.SHN_ABS else sections[place].name))
        return symbols
