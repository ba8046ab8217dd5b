"""`.insn`: an instruction by its format and fields, or by its bits, as GNU as takes it.

    .insn r CUSTOM_0, 1, 0, a0, a1, a2          # opcode, funct3, funct7, rd, rs1, rs2
    .insn i LOAD, 3, a0, 8(sp)
    .insn 0x00c58533                            # the whole word
    .insn 4, 0x00c58533                         # with its length in bytes

Source: GNU assembler manual, "RISC-V Instruction Formats"; The RISC-V Instruction Set Manual, Volume I, "RV32/64G Instruction
Set Listings" for the names of opcodes, and "Expanded Instruction-Length Encoding".
"""

from __future__ import annotations

import re
from functools import partial

from asm.diagnostics import SourceError, nearest
from asm.expressions import Name, Node, span
from asm.instructions import Plan, bits_of, branch, pending_word
from asm.operands import Mismatch, OperandPattern, Values, field_operand, match, mismatch_error, patterns_of
from asm.source import Site, Statement
from asm.state import AssemblyState
from asm.syntax import Memory, ParsedOperand, String, Type, parse_operands
from isa.formats import FIELDS
from isa.instruction import TABLE, Operand, find

_OPCODE_MAP = """
    LOAD    LOAD_FP   CUSTOM_0  MISC_MEM  OP_IMM  AUIPC  OP_IMM_32  -
    STORE   STORE_FP  CUSTOM_1  AMO       OP      LUI    OP_32      -
    MADD    MSUB      NMSUB     NMADD     OP_FP   OP_V   CUSTOM_2   -
    BRANCH  JALR      -         JAL       SYSTEM  -      CUSTOM_3   -"""
OPCODES = {name: number << 2 | 3 for number, name in enumerate(_OPCODE_MAP.split()) if name != "-"}
SELECTORS = ("opcode", "funct3", "funct7", "funct2")            # fields whose value must be known where the line stands

# name of the format, operands
FORMS: tuple[tuple[str, str], ...] = (
    ("r",  "opcode, funct3, funct7, rd, rs1, rs2"),
    ("r",  "opcode, funct3, funct2, rd, rs1, rs2, rs3"),
    ("r4", "opcode, funct3, funct2, rd, rs1, rs2, rs3"),
    ("i",  "opcode, funct3, rd, rs1, i_imm"),
    ("i",  "opcode, funct3, rd, i_imm(rs1)"),
    ("s",  "opcode, funct3, rs2, s_imm(rs1)"),
    ("b",  "opcode, funct3, rs1, rs2, b_imm"),
    ("sb", "opcode, funct3, rs1, rs2, b_imm"),
    ("u",  "opcode, rd, u_imm"),
    ("j",  "opcode, rd, j_imm"),
    ("uj", "opcode, rd, j_imm"),
)
_PATTERNS: dict[str, list[tuple[str, tuple[OperandPattern, ...]]]] = {}
for _name, _syntax in FORMS:
    _PATTERNS.setdefault(_name, []).append((_syntax, patterns_of(_syntax)))


def plan(statement: Statement) -> Plan:
    """What to emit for `.insn`. Raises SourceError with columns that count from the start of the operands."""
    text = statement.operands
    found = re.match(r"([A-Za-z]\w*)\s+(?=\S)(?![-+*/%,<>=&|^)])", text)
    if found is None:
        return [partial(_bits, parse_operands(text))]
    if found[1] not in _PATTERNS:
        raise SourceError(f".insn has no format `{found[1]}`", 0, found.end(1), hint=f"formats are {' '.join(_PATTERNS)}")
    forms, operands = _PATTERNS[found[1]], parse_operands(" " * found.end() + text[found.end():])      # columns stay
    for _, patterns in forms:
        try:
            return [partial(_fields, f".insn {found[1]}", match(patterns, operands))]
        except Mismatch:
            continue
    raise mismatch_error(f".insn {found[1]}", [syntax for syntax, _ in forms], [patterns for _, patterns in forms], operands)


def _fields(mnemonic: str, values: Values, state: AssemblyState, site: Site) -> None:
    """An instruction as values by field."""
    word = 0
    pending: list[tuple[Operand, Node]] = []
    for name, value in values.items():
        operand = field_operand(name)
        if isinstance(value, int):                      # a register, or an offset that is left out
            word |= operand.field.insert(value)
        elif name in SELECTORS:
            word |= bits_of(mnemonic, operand, _selector(name, value, state, site), value)
        else:
            pending.append((operand, value))
    note_unit(state, site, word)
    if "b_imm" in values:
        branch(TABLE["beq"], word, pending[0][1], state, site)
    else:
        pending_word(mnemonic, word, pending, state, site)


def _selector(name: str, node: Node, state: AssemblyState, site: Site) -> int:
    if name == "opcode" and isinstance(node, Name):
        if node.text in OPCODES:
            return OPCODES[node.text]
        if not state.symbols.is_defined(node.text):
            raise SourceError(f"unknown opcode `{node.text}`", node.start, node.end,
                              hint=nearest(node.text, OPCODES) or "a number, or one of " + " ".join(OPCODES))
    value = state.known_number(node, site)
    if name == "opcode" and FIELDS[name].fits(value) and length_of(value) != 4:
        raise SourceError(f"{value:#x} is not an opcode of a 4-byte instruction: expected 3 in its two lowest bits and not 7 "
                          "in the three above", *span(node), hint="or a name: " + " ".join(OPCODES))
    return value


def _bits(operands: tuple[ParsedOperand, ...], state: AssemblyState, site: Site) -> None:
    """An instruction as a number, maybe behind its length in bytes."""
    if not 1 <= len(operands) <= 2:
        raise SourceError(f".insn takes a format and its fields, or 1 or 2 numbers, {len(operands)} given",
                          hint="written as `.insn 0x00c58533` or `.insn 4, 0x00c58533`")
    nodes: list[Node] = []
    for operand in operands:
        if isinstance(operand, Memory | String | Type):
            raise SourceError(".insn expects a number here", operand.start, operand.end)
        nodes.append(operand)
    bits = state.known_number(nodes[-1], site)
    length = length_of(bits)
    said = state.known_number(nodes[0], site) if len(nodes) == 2 else length
    if not length or not 0 <= bits < 1 << 8 * length or said != length:
        what = f"an instruction of {said} bytes" if len(nodes) == 2 else "an instruction"
        raise SourceError(f"{bits:#x} is not {what}", *span(nodes[-1]),
                          hint="its lowest bits give its length: 4 bytes where the two lowest are 3 and the three above not 7")
    if length == 4:
        note_unit(state, site, bits)
    state.section.tail.data += bits.to_bytes(length, "little")


def length_of(bits: int) -> int:
    """The length in bytes of an instruction that starts with these bits; 0 for one of more than 8."""
    if bits & 3 != 3:
        return 2
    if bits & 0x1C != 0x1C:
        return 4
    return 6 if bits & 0x3F == 0x1F else 8 if bits & 0x7F == 0x3F else 0


def note_unit(state: AssemblyState, site: Site, word: int) -> None:
    """The program needs the unit whose instruction this is."""
    row = find(word)
    if row is not None and row.is_xslim:
        state.units.setdefault(row.unit, site)
