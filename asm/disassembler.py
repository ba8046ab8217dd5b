"""Program -> text: the instructions of a program with their addresses, bits and symbols, in the layout of objdump.

How one instruction is written stands in isa/disassembly.py.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from isa.arithmetic import s32
from isa.disassembly import REMEMBERED, SymbolIndex, render
from isa.formats import Field
from isa.instruction import TABLE, Row
from isa.program import Program, ProgramError, Section
from isa.units import UNITS


class Instruction(NamedTuple):
    """One word of code. `text` is what the assembler takes; `note` is for the reader: where a target lies."""

    address: int
    word: int
    size: int               # bytes: 4, less for what is left over at the start or end of a section
    text: str
    note: str               # "<loop+0x8>", "# 0x80000100 <message>" or ""
    labels: tuple[str, ...]  # names of this address

    def __str__(self) -> str:
        return f"{self.text} {self.note}" if self.note else self.text


def instructions(program: Program, *, section: str | None = None, aliases: bool = False) -> Iterator[Instruction]:
    """The words of a section, or of all executable ones in the program's order. Bytes left over come as `.byte`.

    Raises ProgramError when there is no such section.
    """
    index, missing = SymbolIndex(program), _missing(program)
    for chosen in _chosen(program, section):
        yield from _section(chosen, index, missing, aliases)


def _missing(program: Program) -> set[str]:
    """The units that the program's machine does not have: words that would be theirs are no instructions there."""
    machine = program.machine
    return {unit for unit in UNITS if not machine.has_unit(unit)}


def _chosen(program: Program, name: str | None) -> list[Section]:
    if name is None:
        return [section for section in program.sections if "x" in section.flags]
    section = program.section(name)
    if section is None:
        raise ProgramError(f"the program has no section {name}",
                           hint="its sections are " + ", ".join(section.name for section in program.sections))
    return [section]


def _section(section: Section, index: SymbolIndex, missing: set[str], aliases: bool) -> Iterator[Instruction]:
    labels = index.labels(section.name)
    address = section.address
    upper: tuple[int, int] | None = None            # (register, value) that an auipc just before has made
    known: dict[int, tuple[Row | None, str, Field | None]] = {}
    for word in _words(section):
        names = labels.get(address, ())
        if isinstance(word, bytes):
            value, text = int.from_bytes(word, "little"), ".byte " + ", ".join(map(hex, word))
            yield Instruction(address, value, len(word), text, "", names)
            address += len(word)
            continue
        if word not in known:
            if len(known) >= REMEMBERED:
                known.clear()
            known[word] = render(word, aliases, missing)
        row, text, target_field = known[word]
        note = ""
        if target_field is not None:
            target = (address + target_field.extract(word)) % (1 << 64)
            name = index.name(target)
            text, note = f"{text}{target:#x}", f"<{name}>" if name else ""
        elif upper is not None and row is not None:
            note = _pair_note(row, word, upper, index)
        upper = None
        if row is not None and row.mnemonic == "auipc":
            values = row.decode(word)
            upper = (values["rd"], address + s32(values["imm"] << 12))
        yield Instruction(address, word, 4, text, note, names)
        address += 4


def _pair_note(row: Row, word: int, upper: tuple[int, int], index: SymbolIndex) -> str:
    """Where the second instruction of a pc-relative pair points: what the programmer wrote as `la`, `call` or a load."""
    values = row.decode(word)
    if values.get("rs1") != upper[0] or "imm" not in values or row.mnemonic not in _SECOND:
        return ""
    target = (upper[1] + values["imm"]) % (1 << 64)
    name = index.name(target)
    return f"# {target:#x}" + (f" <{name}>" if name else "")


_SECOND = {"addi"} | {row.mnemonic for row in TABLE.values() if row.syntax.endswith("_imm(rs1)")}


def _words(section: Section) -> Iterator[int | bytes]:
    """The section's 32-bit words, however its contents are cut into chunks; bytes before the first and behind the last."""
    rest, before = b"", -section.address % 4
    for block in section.blocks():
        data = rest + block
        if before:
            rest = data
            if len(data) < before:
                continue
            yield data[:before]
            data, before = data[before:], 0
        whole = len(data) & ~3
        for (word,) in struct.iter_unpack("<I", memoryview(data)[:whole]):
            yield word
        rest = data[whole:]
    if rest:
        yield rest


def disassemble(program: Program, *, section: str | None = None, aliases: bool = False) -> Iterator[str]:
    """Lines of text as objdump prints them: section titles, labels, address, word, instruction.

    Raises ProgramError when there is no such section.
    """
    index, missing = SymbolIndex(program), _missing(program)
    for chosen in _chosen(program, section):
        yield f"Disassembly of section {chosen.name}:"
        for instruction in _section(chosen, index, missing, aliases):
            if instruction.address == chosen.address and not instruction.labels:
                yield ""
            for label in instruction.labels:
                yield ""
                yield f"{instruction.address:016x} <{label}>:"
            word = f"{instruction.word:0{2 * instruction.size}x}"
            yield f"{instruction.address:8x}:  {word:<8}  {instruction}"
        yield ""
