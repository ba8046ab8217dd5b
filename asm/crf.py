"""`.crf`: an instruction of a PIM micro-program, one 32-bit word of data.

    .crf mac grf_b[0], grf_a[0], even_bank, aam
    .crf jump 7, 2                  # seven times back by one: offset 2 is the entry in front of the JUMP
    .crf nop 7                      # takes eight column commands
    .crf exit

Names in any case, as in Samsung's documents. The words stand in isa/units/pim/crf.py.
"""

from __future__ import annotations

import re

from asm.diagnostics import SourceError, nearest, plural
from asm.directives import Operands, directive
from asm.source import Site
from asm.state import AssemblyState
from isa.units.pim.crf import ENTRIES, EVEN_BANK, JUMP, NOP, ODD_BANK, OPCODES, OPERANDS, SHAPES, CrfError, Word

_REGISTER = re.compile(r"(\w+)\s*(?:\[\s*([0-9]+)\s*\])?$")
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|[0-9]+")
_NAMES = ("dst", "src0", "src1", "src2")


@directive(".crf", raw=True)
def crf(state: AssemblyState, site: Site, _: Operands) -> None:
    """Put the word into the section. Raises SourceError, with the operand that is wrong."""
    word = parse(site.statement.operands)
    state.contents(site).tail.data += word.encode().to_bytes(4, "little")


def parse(text: str) -> Word:
    """The word that "mac grf_b[0], grf_a[0], even_bank, aam" names. Raises SourceError; its columns count from the text's start."""
    match = re.match(r"\s*(\S*)\s*", text)
    assert match is not None
    name, start = match[1].lower(), match.start(1)
    if name not in OPCODES:
        raise SourceError(f"unknown micro-program instruction `{match[1]}`" if name else ".crf needs an instruction", start,
                          match.end(1) or 1, hint=nearest(name, OPCODES) or "one of " + ", ".join(OPCODES))
    opcode = OPCODES[name]
    parts = [(found[0].strip(), found.start() + len(found[0]) - len(found[0].lstrip()))
             for found in re.finditer(r"[^,]+", text[match.end():])]
    parts = [(part, match.end() + column) for part, column in parts]
    word = _counts(opcode, name, parts, text) if opcode not in SHAPES else _operation(opcode, name, parts, text)
    try:
        word.encode()
        word.check()
    except CrfError as error:
        part = parts[error.operand] if error.operand is not None and error.operand < len(parts) else (text[start:].rstrip(), start)
        raise SourceError(error.message, part[1], part[1] + len(part[0])) from None
    return word


def _counts(opcode: int, name: str, parts: list[tuple[str, int]], text: str) -> Word:
    wanted = {NOP: ("COUNT",), JUMP: ("COUNT", "OFFSET")}.get(opcode, ())
    if len(parts) != len(wanted):
        raise SourceError(f"{name} takes {plural(len(wanted), 'operand')}, {len(parts)} given", 0, len(text.rstrip()),
                          hint=f"written as `.crf {' '.join([name, ', '.join(wanted)]).strip()}`")
    for part, column in parts:
        if not _NUMBER.fullmatch(part):
            raise SourceError(f"`{part}` where {name} expects a number", column, column + len(part))
    word = Word(opcode, **dict(zip(("count", "offset"), (int(part, 0) for part, _ in parts), strict=False)))
    if word.offset > ENTRIES:           # even of a JUMP in the last entry
        part, column = parts[1]
        raise SourceError(f"offset {part} of {name}; expected 0..{ENTRIES}: the CRF has {ENTRIES} entries", column,
                          column + len(part))
    return word


def _operation(opcode: int, name: str, parts: list[tuple[str, int]], text: str) -> Word:
    values = {}
    for flag in ("aam", "relu"):
        flagged = [part for part in parts if part[0].lower() == flag]
        parts[:] = [part for part in parts if part[0].lower() != flag]
        values[flag] = int(bool(flagged))
    count = len(SHAPES[opcode].operands)
    if len(parts) != count:
        raise SourceError(f"{name} takes {count} operands, {len(parts)} given", 0, len(text.rstrip()),
                          hint=f"written as `.crf {name} {', '.join(_NAMES[:count])}`")
    for field, (part, column) in zip(_NAMES, parts, strict=False):
        match = _REGISTER.match(part.lower())
        if match is None or match[1] not in OPERANDS:
            raise SourceError(f"unknown operand `{part}` of a micro-program", column, column + len(part),
                              hint=nearest(part.lower().partition("[")[0], OPERANDS) or "one of " + ", ".join(OPERANDS))
        values[field] = OPERANDS.index(match[1])
        is_bank = values[field] in (EVEN_BANK, ODD_BANK)
        if is_bank == (match[2] is not None):
            raise SourceError(f"{match[1]} has no index: the column command gives the column" if is_bank else
                              f"{match[1]} needs an index: {match[1]}[0]", column, column + len(part))
        index = int(match[2] or 0)
        if field == "src2" and values["src1"] not in (EVEN_BANK, ODD_BANK):
            if not is_bank and index != values["src1_index"]:
                raise SourceError(f"index {index} of the fourth operand; the word has one index for the third and the fourth, "
                                  f"{values['src1_index']}", column, column + len(part))
        else:
            values["src1_index" if field == "src2" else f"{field}_index"] = index
    return Word(opcode, **values)
