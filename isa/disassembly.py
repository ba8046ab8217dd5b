"""One instruction as text, in the manner of objdump; it assembles back to the same bits.

Everything that is printed derives from the row: operands in the row's syntax, registers by ABI name, CSRs by name, branch
targets as addresses. Words that are no instruction are printed as `.word`. Shorter names
(`ret`, `li`, `beqz`) are rows of ALIASES: an instruction with some of its operands fixed.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Container, Iterable

import isa.units  # noqa: F401  (fills the instruction table)
from isa.csrs import csr_text
from isa.formats import FIELDS, Field
from isa.instruction import TABLE, TARGET, Operand, Row, find
from isa.program import Program, Symbol
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

REMEMBERED = 1 << 16        # texts kept per operand field


class _Texts(dict[int, str]):
    """Text of an operand by the bits of the word that carry it; made on first use."""

    def __init__(self, field: Field, show: Callable[[int], str]) -> None:
        super().__init__()
        self.field, self.show = field, show

    def __missing__(self, bits: int) -> str:
        if len(self) >= REMEMBERED:
            self.clear()
        text = self[bits] = self.show(self.field.extract(bits))
        return text


def _fence_set(bits: int) -> str:
    return "".join(letter for letter, bit in zip("iorw", (8, 4, 2, 1), strict=True) if bits & bit) or "0"


_SHOWN = {"csr": csr_text, "pred": _fence_set, "succ": _fence_set, "u_imm": hex,
          **dict.fromkeys(("rd", "rs1", "rs2", "rs3"), ABI_NAMES.__getitem__)}
_TEXTS = {name: _Texts(field, _SHOWN.get(name, str)) for name, field in FIELDS.items()}


class _Pattern:
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
                self.parts.append((operand.field.mask, _TEXTS[operand.field.name]))
        self.aliases: list[tuple[int, int, _Pattern]] = []          # (mask, match, pattern)

    def text(self, word: int) -> str:
        """All but a target."""
        return self.template % tuple([texts[word & mask] for mask, texts in self.parts])


def _patterns() -> dict[str, _Pattern]:
    patterns = {name: _Pattern(row, name, row.syntax, row.operands) for name, row in TABLE.items()}
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
        patterns[mnemonic].aliases.append((mask, match, _Pattern(row, name, syntax, operands)))
    return patterns


_PATTERNS = _patterns()


def render(word: int, aliases: bool, missing: Container[str] = ()) -> tuple[Row | None, str, Field | None]:
    """Row of a word, its text but for a target's address, and the field of the target. Units in `missing` have no instructions."""
    row = find(word)
    if row is None or row.unit in missing:
        return None, f".word 0x{word:08x}", None
    pattern = _PATTERNS[row.mnemonic]
    if aliases:
        pattern = next((alias for mask, match, alias in pattern.aliases if word & mask == match), pattern)
    return row, pattern.text(word), pattern.target


class SymbolIndex:
    """Finds the name of an address: the nearest symbol at or below it in the same section."""

    def __init__(self, program: Program) -> None:
        self._sections = sorted((s.address, s.end, s.name) for s in program.sections if "a" in s.flags)
        self._starts = [start for start, _, _ in self._sections]
        self._symbols: dict[str, tuple[list[int], list[Symbol]]] = {}
        # Of several names for an address the last is taken.
        for symbol in sorted((s for s in program.symbols if s.section is not None), key=Symbol.rank):
            addresses, symbols = self._symbols.setdefault(symbol.section or "", ([], []))
            addresses.append(symbol.value)
            symbols.append(symbol)

    def labels(self, section: str) -> dict[int, tuple[str, ...]]:
        """The names of each address of a section that has any."""
        labels: dict[int, tuple[str, ...]] = {}
        for address, symbol in zip(*self._symbols.get(section, ([], [])), strict=True):
            labels[address] = (*labels.get(address, ()), symbol.name)
        return labels

    def name(self, address: int, within: int | None = None) -> str:
        """"name" or "name+0x10"; "" when no symbol is near. `within`: the address whose symbol it is instead (Program.before)."""
        within = address if within is None else within
        place = bisect_right(self._starts, within) - 1
        while place > 0 and self._sections[place][1] <= within:     # step over empty sections at the same address
            place -= 1
        if place < 0 or within > self._sections[place][1]:
            return ""
        addresses, symbols = self._symbols.get(self._sections[place][2], ([], []))
        index = bisect_right(addresses, within) - 1
        if index < 0:
            return ""
        offset = address - addresses[index]
        return symbols[index].name + (f"+{offset:#x}" if offset else "")


def format_instruction(word: int, pc: int = 0, symbols: SymbolIndex | None = None, *, aliases: bool = False) -> str:
    """The instruction that `word` is at address `pc`, as assembly; with `symbols`, a target's name behind it in `<>`."""
    _, text, target_field = render(word, aliases)
    if target_field is None:
        return text
    target = (pc + target_field.extract(word)) % (1 << 64)
    name = symbols.name(target) if symbols else ""
    return f"{text}{target:#x}" + (f" <{name}>" if name else "")
