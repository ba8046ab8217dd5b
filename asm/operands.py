"""Forms of operands: which operands an instruction takes, matched against those of a statement.

A form is a list of patterns, made from the syntax of an instruction row ("rd, i_imm(rs1)") or of a pseudo-instruction
("rd, symbol"). Matching gives a value for each name in the syntax: register numbers, CSR numbers and fence sets as integers,
everything else as an expression that is worked out later.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from asm.diagnostics import SourceError, nearest, plural
from asm.expressions import Binary, Constant, Function, Group, Name, Node, span
from asm.syntax import Memory, ParsedOperand, String, Type
from isa.csrs import CSRS
from isa.formats import FIELDS
from isa.instruction import CSR, FENCE_SET, IMMEDIATE, REGISTER, TARGET, Operand
from isa.registers import ABI_NAMES, NUMBER

Values = dict[str, int | Node]

# Words in the syntax of pseudo-instructions that are not fields: word -> its name in messages.
SPECIAL = {"near": "label", "far": "label", "symbol": "symbol", "constant": "number"}
_SPELLED = {"near": "label", "far": "label", "b_imm": "label", "j_imm": "label", "constant": "number", "shamt6": "shamt",
            "shamt5": "shamt", "i_imm": "imm", "s_imm": "imm", "u_imm": "imm", "zimm": "imm"}
_ROLES = {"csr": CSR, "b_imm": TARGET, "j_imm": TARGET, **dict.fromkeys(("rd", "rs1", "rs2", "rs3"), REGISTER)}
IMMEDIATES = ("i_imm", "s_imm", "u_imm")
FENCE_BITS = {"i": 8, "o": 4, "r": 2, "w": 1}


class Mismatch(Exception):
    """The statement's operand number `index` does not fit the form: `expected` says what does, `kind` is that of the pattern."""

    def __init__(self, index: int, expected: str, kind: str = "") -> None:
        super().__init__(expected)
        self.index, self.expected, self.kind = index, expected, kind


@dataclass(frozen=True)
class OperandPattern:
    """One operand of a form. `kind`: register, expression, memory, csr or fence; `base` is the register of a memory operand."""

    kind: str
    name: str
    base: str = ""
    expected: str = ""


def patterns_of(syntax: str, operands: Sequence[Operand] = ()) -> tuple[OperandPattern, ...]:
    """The patterns of a syntax. With `operands` (of a row) names are those of the operands, else those in the syntax."""
    described = iter(operands)
    patterns = []
    for item in filter(None, (part.strip() for part in syntax.split(","))):
        words = re.findall(r"\w+", item)
        named = [next(described) for _ in words] if operands else [field_operand(word) for word in words]
        if len(words) == 2:
            patterns.append(OperandPattern("memory", named[0].name, named[1].name, "offset(register)"))
        else:
            patterns.append(_pattern(named[0]))
    return tuple(patterns)


def field_operand(word: str) -> Operand:
    """The operand that a word in the syntax of a pseudo-instruction or of .insn stands for: a field, or one of SPECIAL."""
    if word in SPECIAL:
        return Operand(word, FIELDS["j_imm"], word)
    return Operand(word, FIELDS[word], _ROLES.get(word, IMMEDIATE))


def _pattern(operand: Operand) -> OperandPattern:
    if operand.is_register:
        expected = f"{operand.name}: {operand.describe()}" if operand.name not in FIELDS else "a register"
        return OperandPattern("register", operand.name, expected=expected)
    if operand.role == CSR:
        return OperandPattern("csr", operand.name, expected="a CSR name or number")
    if operand.role == FENCE_SET:
        return OperandPattern("fence", operand.name, expected="a set of the letters i, o, r, w")
    if operand.role in SPECIAL:
        return OperandPattern("expression", operand.name, expected=f"a {SPECIAL[operand.role]}")
    if operand.role == TARGET:
        return OperandPattern("expression", operand.name, expected="a label")
    return OperandPattern("immediate" if operand.field.name in IMMEDIATES else "expression", operand.name,
                expected=f"a number {operand.field.minimum}..{operand.field.maximum}")


def match(patterns: Sequence[OperandPattern], operands: Sequence[ParsedOperand]) -> Values:
    """The values that the operands give to the names of a form. Raises Mismatch."""
    if len(operands) != len(patterns):
        index = min(len(operands), len(patterns))
        raise Mismatch(index, patterns[index].expected if index < len(patterns) else "no further operand")
    values: Values = {}
    for index, pattern in enumerate(patterns):
        operand = operands[index]
        kind = pattern.kind
        if kind == "register":
            number = NUMBER.get(operand.text) if isinstance(operand, Name) else None
            if number is None:
                raise Mismatch(index, pattern.expected, kind)
            values[pattern.name] = number
        elif kind == "memory":
            offset, base = memory_parts(operand)
            if base is None or starts_with_register(offset):
                raise Mismatch(index, pattern.expected, kind)
            values[pattern.name], values[pattern.base] = offset, base
        elif isinstance(operand, Memory | String | Type) or (kind == "immediate" and starts_with_register(operand)):
            raise Mismatch(index, pattern.expected)
        elif kind == "csr" and isinstance(operand, Name) and operand.text in CSRS:
            values[pattern.name] = CSRS[operand.text].address
        elif kind == "fence":
            values[pattern.name] = fence_set(operand, index, pattern)
        else:
            values[pattern.name] = operand
    return values


def is_register(operand: ParsedOperand) -> bool:
    """True for a register, also in parentheses."""
    if isinstance(operand, Group):
        operand = operand.operand
    return isinstance(operand, Name) and operand.text in NUMBER


def starts_with_register(node: ParsedOperand) -> bool:
    """True for `a0` and `a0 + 4`: as the immediate of an instruction they are a mistake, whatever symbols there are.

    As a target, an address, a CSR, a shift amount and in data, a register's name is the name of a symbol. So says GNU as.
    """
    while isinstance(node, Binary):
        node = node.left
    return isinstance(node, Name) and node.text in NUMBER


def memory_parts(operand: ParsedOperand) -> tuple[Node, int | None]:
    """Offset and register number of "offset(register)" or "(register)"; register None for anything else."""
    if isinstance(operand, Memory) and isinstance(operand.base, Name):
        return operand.offset, NUMBER.get(operand.base.text)
    if isinstance(operand, Group) and isinstance(operand.operand, Name):
        return 0, NUMBER.get(operand.operand.text)
    return 0, None


def fence_set(operand: ParsedOperand, index: int, pattern: OperandPattern) -> int:
    """The four bits of "iorw" and the like."""
    if isinstance(operand, Constant) and operand.value == 0:
        return 0
    text = operand.text if isinstance(operand, Name) else ""
    if not text or len(set(text)) != len(text) or not set(text) <= set(FENCE_BITS):
        raise Mismatch(index, pattern.expected)
    return sum(FENCE_BITS[letter] for letter in text)


# ------------------------------------------------------------------------------------------------ messages


def describe(operand: ParsedOperand) -> str:
    """What an operand is, for messages."""
    match operand:
        case Memory(offset=offset):
            return "a memory operand" + (" whose offset starts with a register" if starts_with_register(offset) else "")
        case String():
            return "a string"
        case Type():
            return "a type"
        case Name(text=text) if text in NUMBER:
            return f"register {text}"
        case Name(text=text):
            return f"`{text}`"
        case Constant(text=text):
            return f"the number {text}"
        case Group(operand=inner) if is_register(operand):
            return f"register {inner.text} in parentheses" if isinstance(inner, Name) else "an expression"
        case Function(name=name):
            return f"%{name}(...)"
        case _:
            return "an expression"


def mismatch_error(mnemonic: str, syntaxes: Sequence[str], forms: Sequence[Sequence[OperandPattern]],
                   operands: Sequence[ParsedOperand]) -> SourceError:
    """The error for operands that fit none of an instruction's forms. It compares them with the nearest form."""
    written = " or ".join(f"`{mnemonic} {syntax}`".replace(" `", "`") for syntax in dict.fromkeys(map(spelled, syntaxes)))
    counts = sorted({len(form) for form in forms})
    if len(operands) not in counts:
        takes = " or ".join(map(str, counts)) if counts != [0] else "no"
        extra = operands[counts[-1]] if len(operands) > counts[-1] else None
        start = getattr(extra, "start", None)
        noun = "operand" if counts == [1] else "operands"
        return SourceError(f"{mnemonic} takes {takes} {noun}, {plural(len(operands), 'operand')} given", start,
                           getattr(operands[-1], "end", None) if start is not None else None, hint=f"written as {written}")
    best: Mismatch | None = None
    for form in forms:
        try:
            match(form, operands)
        except Mismatch as mismatch:
            if len(form) == len(operands) and (best is None or mismatch.index > best.index):
                best = mismatch
    assert best is not None
    operand = operands[best.index]
    if isinstance(operand, Memory) and isinstance(operand.base, Name) and operand.base.text not in NUMBER \
            and best.kind == "memory":
        return unknown_register(operand.base)
    if isinstance(operand, Name) and operand.text not in NUMBER and best.kind == "register":
        return unknown_register(operand)
    return SourceError(f"operand {best.index + 1} of {mnemonic} is {describe(operand)}: expected {best.expected}", *span(operand),
                       hint=f"written as {written}")


def spelled(syntax: str) -> str:
    """A form's syntax for the user: "rd, imm(rs1)", "rs1, label"."""
    return re.sub(r"\w+", lambda word: _SPELLED.get(word[0], word[0]), syntax)


def unknown_register(name: Name) -> SourceError:
    """The error for a name where only a register can stand."""
    close = nearest(name.text.lower(), NUMBER)
    return SourceError(f"unknown register `{name.text}`", name.start, name.end,
                       hint=close or "registers are x0..x31 or " + " ".join(ABI_NAMES))
