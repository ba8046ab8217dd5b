"""Program -> text: instructions in the manner of objdump, each of which assembles back to the same bits.

Everything that is printed derives from the row: operands in the row's syntax, registers by ABI name, CSRs by name, branch
targets as addresses. (A conditional branch to a bare address is assembled in its long form, as by GNU as; with a label or
`. + distance` in its place the bits are the same.) Words that are no instruction are printed as `.word`. Shorter names
(`ret`, `li`, `beqz`) are rows of ALIASES: an instruction with some of its operands fixed.
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import isa.units  # noqa: F401  (fills the instruction table)
from isa.arithmetic import s32
from isa.csrs import BY_ADDRESS
from isa.formats import FIELDS, Field
from isa.instruction import TABLE, TARGET, Operand, Row, find
from isa.program import Program, ProgramError, Section, Symbol
from isa.registers import ABI_NAMES

# What is printed instead, of which instruction, when these operands have these values. The first that fits is taken.
ALIASES = """
nop               addi    rd=0 rs1=0 imm=0
li rd, imm        addi    rs1=0
mv rd, rs1        addi    imm=0
sext.w rd, rs1    addiw   imm=0
not rd, rs1       xori    imm=-1
zext.b rd, rs1    andi    imm=255
neg rd, rs2       sub     rs1=0
negw rd, rs2      subw    rs1=0
seqz rd, rs1      sltiu   imm=1
snez rd, rs2      sltu    rs1=0
sltz rd, rs1      slt     rs2=0
sgtz rd, rs2      slt     rs1=0
beqz rs1, imm     beq     rs2=0
bnez rs1, imm     bne     rs2=0
blez rs2, imm     bge     rs1=0
bgez rs1, imm     bge     rs2=0
bltz rs1, imm     blt     rs2=0
bgtz rs2, imm     blt     rs1=0
j imm             jal     rd=0
jal imm           jal     rd=1
ret               jalr    rd=0 rs1=1 imm=0
jr rs1            jalr    rd=0 imm=0
jr imm(rs1)       jalr    rd=0
jalr rs1          jalr    rd=1 imm=0
jalr imm(rs1)     jalr    rd=1
csrr rd, csr      csrrs   rs1=0
csrw csr, rs1     csrrw   rd=0
csrs csr, rs1     csrrs   rd=0
csrc csr, rs1     csrrc   rd=0
csrwi csr, zimm   csrrwi  rd=0
csrsi csr, zimm   csrrsi  rd=0
csrci csr, zimm   csrrci  rd=0
fence             fence   pred=15 succ=15
"""

_REMEMBERED = 1 << 16       # texts kept per operand field


class Instruction(NamedTuple):
    """One word of code. `text` is what the assembler takes; `note` is for the reader: where a target lies."""

    address: int
    word: int
    size: int               # bytes: 4, less for what is left over at the end of a section
    text: str
    note: str               # "<loop+0x8>", "# 0x80000100 <message>" or ""
    labels: tuple[str, ...]  # names of this address

    def __str__(self) -> str:
        return f"{self.text} {self.note}" if self.note else self.text


class _Texts(dict[int, str]):
    """Text of an operand by the bits of the word that carry it; made on first use."""

    def __init__(self, field: Field, show: Callable[[int], str]) -> None:
        super().__init__()
        self.field, self.show = field, show

    def __missing__(self, bits: int) -> str:
        if len(self) >= _REMEMBERED:
            self.clear()
        text = self[bits] = self.show(self.field.extract(bits))
        return text


def _csr(number: int) -> str:
    return BY_ADDRESS[number].name if number in BY_ADDRESS else f"{number:#x}"


def _fence_set(bits: int) -> str:
    return "".join(letter for letter, bit in zip("iorw", (8, 4, 2, 1), strict=True) if bits & bit) or "0"


_REGISTERS = {name: _Texts(FIELDS[name], ABI_NAMES.__getitem__) for name in ("rd", "rs1", "rs2", "rs3")}
_OTHERS = {name: _Texts(field, {"csr": _csr, "pred": _fence_set, "succ": _fence_set, "u_imm": hex}.get(name, str))
           for name, field in FIELDS.items()}


class _Shape:
    """How one instruction or alias is written: a template, and for each operand the bits that carry it and their texts."""

    def __init__(self, row: Row, name: str, syntax: str, operands: Iterable[Operand]) -> None:
        self.row = row
        self.template = name + (" " + re.sub(r"\w+", "%s", syntax) if syntax else "")
        self.parts: list[tuple[int, _Texts]] = []
        self.target: Field | None = None
        for operand in operands:
            if operand.role == TARGET:                  # the last operand; its text depends on the instruction's address
                self.target = operand.field
                self.template = self.template.removesuffix("%s")
            else:
                texts = (_REGISTERS if operand.is_register else _OTHERS)[operand.field.name]
                self.parts.append((operand.field.mask, texts))
        self.aliases: list[tuple[int, int, _Shape]] = []            # (mask, match, shape)

    def text(self, word: int) -> str:
        """All but a target."""
        return self.template % tuple([texts[word & mask] for mask, texts in self.parts])


def _shapes() -> dict[str, _Shape]:
    shapes = {name: _Shape(row, name, row.syntax, row.operands) for name, row in TABLE.items()}
    for line in ALIASES.strip().splitlines():
        alias, mnemonic, conditions = re.split(r"\s{2,}", line)
        name, _, syntax = alias.partition(" ")
        row = TABLE[mnemonic]
        mask = match = 0
        for operand_name, value in (item.split("=") for item in conditions.split()):
            field = row.operand(operand_name).field
            mask |= field.mask
            match |= field.insert(int(value))
        operands = [row.operand(operand) for operand in re.findall(r"\w+", syntax)]
        shapes[mnemonic].aliases.append((mask, match, _Shape(row, name, syntax, operands)))
    return shapes


_SHAPES = _shapes()


def _read(word: int, aliases: bool) -> tuple[Row | None, str, Field | None]:
    """Row of a word, its text but for a target's address, and the field of the target."""
    row = find(word)
    if row is None:
        return None, f".word 0x{word:08x}", None
    shape = _SHAPES[row.mnemonic]
    if aliases:
        shape = next((alias for mask, match, alias in shape.aliases if word & mask == match), shape)
    return row, shape.text(word), shape.target


class SymbolIndex:
    """Finds the name of an address: the nearest symbol at or below it in the same section."""

    def __init__(self, program: Program) -> None:
        self._sections = sorted((s.address, s.end, s.name) for s in program.sections if "a" in s.flags)
        self._starts = [start for start, _, _ in self._sections]
        self._symbols: dict[str, tuple[list[int], list[Symbol]]] = {}
        # Of several names for an address the last is taken: functions and data before bare labels, global before local.
        ordered = sorted((s for s in program.symbols if s.section is not None),
                         key=lambda s: (s.value, s.kind != "notype", s.binding != "local"))
        for symbol in ordered:
            addresses, symbols = self._symbols.setdefault(symbol.section or "", ([], []))
            addresses.append(symbol.value)
            symbols.append(symbol)

    def labels(self, section: str) -> dict[int, tuple[str, ...]]:
        """The names of each address of a section that has any."""
        labels: dict[int, tuple[str, ...]] = {}
        for address, symbol in zip(*self._symbols.get(section, ([], [])), strict=True):
            labels[address] = (*labels.get(address, ()), symbol.name)
        return labels

    def name(self, address: int) -> str:
        """"name" or "name+0x10"; "" when no symbol is near."""
        place = bisect_right(self._starts, address) - 1
        while place > 0 and self._sections[place][1] <= address:    # step over empty sections at the same address
            place -= 1
        if place < 0 or address > self._sections[place][1]:
            return ""
        addresses, symbols = self._symbols.get(self._sections[place][2], ([], []))
        index = bisect_right(addresses, address) - 1
        if index < 0:
            return ""
        offset = address - addresses[index]
        return symbols[index].name + (f"+{offset:#x}" if offset else "")


def format_instruction(word: int, pc: int = 0, symbols: SymbolIndex | None = None, *, aliases: bool = False) -> str:
    """The instruction that `word` is at address `pc`, as assembly; with `symbols`, a target's name behind it in `<>`."""
    _, text, target_field = _read(word, aliases)
    if target_field is None:
        return text
    target = (pc + target_field.extract(word)) % (1 << 64)
    name = symbols.name(target) if symbols else ""
    return f"{text}{target:#x}" + (f" <{name}>" if name else "")


def instructions(program: Program, *, section: str | None = None, aliases: bool = False) -> Iterator[Instruction]:
    """The words of a section, or of all executable ones in the program's order. Bytes left over come as `.byte`.

    Raises ProgramError when there is no such section.
    """
    index = SymbolIndex(program)
    for chosen in _chosen(program, section):
        yield from _section(chosen, index, aliases)


def _chosen(program: Program, name: str | None) -> list[Section]:
    if name is None:
        return [section for section in program.sections if "x" in section.flags]
    section = program.section(name)
    if section is None:
        raise ProgramError(f"the program has no section {name}",
                           hint="its sections are " + ", ".join(section.name for section in program.sections))
    return [section]


def _section(section: Section, index: SymbolIndex, aliases: bool) -> Iterator[Instruction]:
    labels = index.labels(section.name)
    address = section.address
    upper: tuple[int, int] | None = None            # (register, value) that an auipc just before has made
    known: dict[int, tuple[Row | None, str, Field | None]] = {}
    for word in _words(section):
        names = labels.get(address, ())
        if isinstance(word, bytes):
            value, text = int.from_bytes(word, "little"), ".byte " + ", ".join(map(hex, word))
            yield Instruction(address, value, len(word), text, "", names)
            return
        if word not in known:
            if len(known) >= _REMEMBERED:
                known.clear()
            known[word] = _read(word, aliases)
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
    """The section's 32-bit words, however its contents are cut into chunks, then the bytes that make no whole word."""
    rest = b""
    for block in section.blocks():
        data = rest + block
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
    index = SymbolIndex(program)
    for chosen in _chosen(program, section):
        yield f"Disassembly of section {chosen.name}:"
        for instruction in _section(chosen, index, aliases):
            if instruction.address == chosen.address and not instruction.labels:
                yield ""
            for label in instruction.labels:
                yield ""
                yield f"{instruction.address:016x} <{label}>:"
            word = f"{instruction.word:0{2 * instruction.size}x}"
            yield f"{instruction.address:8x}:  {word:<8}  {instruction}"
        yield ""
