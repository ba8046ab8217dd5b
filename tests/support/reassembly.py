"""A program's disassembly is assembled again, as a user would do it: from what is printed."""

from __future__ import annotations

import re

import asm
from asm.disassembler import disassemble
from isa.program import Program, Section

_LINE = re.compile(r" *[0-9a-f]+:  [0-9a-f]+ +(?P<text>.*?)( <\S+>)?$")        # address, word, text, where a target lies


def shown(program: Program) -> list[Section]:
    """The sections with instructions, and small ones with data: a word of data is printed as what it would be as code."""
    return [section for section in program.sections if "a" in section.flags and section.size and not section.zero_size
            and ("x" in section.flags or section.size < 8192)]


def source(program: Program, *, aliases: bool = False) -> str:
    """The text column of every section that is printed, under the section's name and address."""
    parts = []
    for section in shown(program):
        printed = disassemble(program, section=section.name, aliases=aliases)
        parts += [f'.section "{section.name}", "{section.flags}"', f".address {section.address:#x}",
                  *(found["text"] for line in printed if (found := _LINE.match(line)))]
    return "\n".join(parts) + "\n"


def differences(program: Program, *, aliases: bool = False) -> list[str]:
    """The first words of each section that come back as others; none when everything is the same."""
    text = source(program, aliases=aliases)
    again = asm.assemble(text, machine=program.machine)
    found = []
    for section in shown(program):
        mine = again.section(section.name)
        assert mine is not None
        before, after = section.bytes(), mine.bytes()
        if (section.address, before) != (mine.address, after):
            at = next((at for at in range(0, len(before), 4) if before[at:at + 4] != after[at:at + 4]), len(before))
            found.append(f"{section.name} + {at:#x}: {before[at:at + 8].hex(' ', 4)} came back as {after[at:at + 8].hex(' ', 4)}")
    return found
