"""From a statement to instruction words: choose the form that the operands fit, and plan what to emit.

A plan is made once for equal statements. Without symbols it is the bytes. Otherwise it is a list of bytes and emitters. An emitter
works out its expressions at each line: at once if the value is known, after layout if it is not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

from asm.diagnostics import SourceError
from asm.encoding import Reloc, constant_words, operand_bits
from asm.expressions import Binary, Constant, Function, Name, Node, Unary, Unresolved, evaluate, names, number, span
from asm.fragments import Branch, LongConstant, Reach
from asm.operands import FENCE_BITS, Mismatch, OperandPattern, Values, match, mismatch_error, patterns_of
from asm.pseudo import PSEUDO
from asm.source import Site, Statement
from asm.state import AssemblyState
from asm.syntax import Memory, ParsedOperand, String, Type, parse_operands
from isa.csrs import CSRS
from isa.instruction import FENCE_SET, TABLE, TARGET, Operand, Row
from isa.registers import NUMBER

Sources = tuple[tuple[str, int | str], ...]         # operand of the row <- number, or name in the form


@dataclass(frozen=True)
class FormRow:
    """One instruction of a form's expansion."""

    row: Row
    sources: Sources


@dataclass(frozen=True)
class Form:
    """One way to write an instruction. `special`: "li", "reach" (the last row takes an address), or "" for plain rows."""

    mnemonic: str
    syntax: str
    patterns: tuple[OperandPattern, ...]
    rows: tuple[FormRow, ...]
    special: str = ""


@cache
def forms() -> dict[str, tuple[Form, ...]]:
    """Every mnemonic with its forms; a row's own form comes first."""
    table: dict[str, list[Form]] = {}
    for row in TABLE.values():
        own = FormRow(row, tuple((operand.name, operand.name) for operand in row.operands))
        table.setdefault(row.mnemonic, []).append(Form(row.mnemonic, row.syntax, patterns_of(row.syntax, row.operands), (own,)))
    for name, syntax, expansion in PSEUDO:
        patterns = patterns_of(syntax)
        known = set(re.findall(r"\w+", syntax))
        if expansion == "li":
            form = Form(name, syntax, patterns, (), "li")
        else:
            rows = tuple(_form_row(text.strip(), known) for text in expansion.split(";"))
            form = Form(name, syntax, patterns, rows, "reach" if expansion.startswith("auipc") else "")
        table.setdefault(name, []).append(form)
    return {name: tuple(found) for name, found in table.items()}


def forms_of(operation: str) -> tuple[Form, ...]:
    """The forms of a mnemonic, as it is written or in small letters. Raises KeyError for an unknown one."""
    return forms().get(operation) or forms()[operation.lower()]


def _form_row(text: str, known: set[str]) -> FormRow:
    """An instruction of an expansion: its operands in the order of the row's syntax."""
    mnemonic, _, operands = text.partition(" ")
    row = TABLE[mnemonic]
    words = re.findall(r"[\w-]+", operands)
    return FormRow(row, tuple((operand.name, _source(word, operand, known))
                           for operand, word in zip(row.operands, words, strict=True)))


def _source(word: str, operand: Operand, known: set[str]) -> int | str:
    if word in known:
        return word
    if operand.role == FENCE_SET:
        return sum(FENCE_BITS.get(letter, 0) for letter in word)
    if word == "lo":
        return 0                                    # filled in when the address is known
    return NUMBER[word] if word in NUMBER else CSRS[word].address if word in CSRS else int(word)


# ------------------------------------------------------------------------------------------------ emitters


def pending_word(mnemonic: str, word: int, pending: list[tuple[Operand, Node]], state: AssemblyState, site: Site) -> None:
    """An instruction with operands that are expressions."""
    section, symbols = state.section, state.symbols
    data, here = section.tail.data, section.here
    for operand, node in pending:
        if operand.role != TARGET and not isinstance(node, Function):
            value = symbols.known(node, here)
            if value is not None:
                word |= bits_of(mnemonic, operand, value, node)
                continue
        bound = symbols.bound(node, here)
        section.tail.relocs.append(Reloc(len(data), bound, node, site, 4, operand, mnemonic))
        if isinstance(bound, Function) and bound.name == "pcrel_hi":
            state.upper_halves[section.tail, len(data)] = bound.operand
    data += word.to_bytes(4, "little")


def bits_of(mnemonic: str, operand: Operand, value: int, node: Node, modifier: str = "") -> int:
    """Word bits of an operand; an error points at the expression `node`."""
    try:
        return operand_bits(mnemonic, operand, value, modifier)
    except SourceError as error:
        error.start, error.end = span(node)
        raise


def branch(row: Row, word: int, node: Node, state: AssemblyState, site: Site) -> None:
    """A conditional branch: its size depends on the distance."""
    section = state.section
    section.append(Branch(section, site, row, word, state.symbols.bound(node, section.here)))


def constant_code(register: int, value: int, node: Node) -> bytes:
    """The bytes of `li`; an error points at the expression `node`."""
    try:
        return b"".join(word.to_bytes(4, "little") for word in constant_words(register, value))
    except SourceError as error:
        error.start, error.end = span(node)
        raise


def load_constant(register: int, node: Node, state: AssemblyState, site: Site) -> None:
    """`li`; also `la` of a number."""
    section = state.section
    value = state.symbols.known(node, section.here)
    if value is not None:
        section.tail.data += constant_code(register, value, node)
    else:
        section.append(LongConstant(section, site, register, state.symbols.bound(node, section.here)))


def reach_address(register: int, word: int, reloc: str, address_only: bool, node: Node, state: AssemblyState, site: Site) -> None:
    """An address in a register, and the instruction that uses it."""
    section = state.section
    bound = state.symbols.bound(node, section.here)
    if address_only and state.symbols.known(node, section.here) is not None:
        load_constant(register, node, state, site)
    else:
        section.append(Reach(section, site, register, word, reloc, address_only, bound))


Emitter = Callable[[AssemblyState, Site], None]
Plan = list[bytes | Emitter]


# ------------------------------------------------------------------------------------------------ planning


def plan(statement: Statement) -> Plan | bytes:
    """What to emit for an instruction: its bytes when no name occurs in it.

    Raises LookupError for an unknown mnemonic, SourceError with columns that count from the start of the operands.
    """
    found = forms_of(statement.operation)
    operands = parse_operands(statement.operands)
    for form in found:
        try:
            values = match(form.patterns, operands)
        except Mismatch:
            continue
        parts = _parts(form, values)
        return b"".join(parts) if all(isinstance(part, bytes) for part in parts) else parts   # type: ignore[arg-type]
    raise explain(found, operands)


def explain(found: Sequence[Form], operands: Sequence[ParsedOperand]) -> SourceError:
    """Why the operands fit none of the forms."""
    mnemonic = found[0].mnemonic
    error = mismatch_error(mnemonic, [form.syntax for form in found], [form.patterns for form in found], operands)
    last = operands[-1] if operands else None
    if isinstance(last, Constant | Unary | Binary | Function) and "register" in error.message and mnemonic in TABLE:
        if mnemonic in ("sub", "subw"):
            error.hint = f"there is no {mnemonic} with a number: use {mnemonic.replace('sub', 'addi')} with the negative number"
        elif TABLE[mnemonic].format.name in ("R", "R4"):
            error.hint = f"{mnemonic} takes registers only: load the number into one with `li`"
    return error


def _parts(form: Form, values: Values) -> Plan:
    if form.special == "li":
        register, node = values["rd"], values["constant"]
        assert isinstance(register, int)
        if is_constant(node):
            return [constant_code(register, number(evaluate(node, _no_names)), node)]
        return [partial(load_constant, register, node)]
    if form.special == "reach":
        first, last = form.rows
        register = _given(first.sources[0][1], values)
        word, _ = _word(last, values, form.mnemonic)
        assert isinstance(register, int)
        return [partial(reach_address, register, word, last.row.operand("imm").field.name, last.row.mnemonic == "addi",
                        values["symbol"])]
    parts: Plan = []
    for expanded in form.rows:
        word, pending = _word(expanded, values, form.mnemonic)
        if not pending:
            parts.append(word.to_bytes(4, "little"))
        elif expanded.row.format.name == "B":
            parts.append(partial(branch, expanded.row, word, pending[0][1]))
        else:
            parts.append(partial(pending_word, form.mnemonic, word, pending))
    return parts


def _word(expanded: FormRow, values: Values, mnemonic: str) -> tuple[int, list[tuple[Operand, Node]]]:
    """The word of a row with everything in it that is known, and the operands that are expressions with names."""
    word = expanded.row.match
    pending: list[tuple[Operand, Node]] = []
    for operand, (_, source) in zip(expanded.row.operands, expanded.sources, strict=True):
        value = _given(source, values)
        if isinstance(value, int):
            word |= operand.field.insert(value)
        elif operand.role != TARGET and is_constant(value):
            word |= bits_of(mnemonic, operand, number(evaluate(value, _no_names)), value)
        else:
            pending.append((operand, value))
    return word, pending


def _given(source: int | str, values: Values) -> int | Node:
    return values[source] if isinstance(source, str) else source


def is_constant(node: ParsedOperand) -> bool:
    """True when no name and no modifier occurs: the value is the same on every line."""
    if isinstance(node, Constant | String | int):
        return True
    return not isinstance(node, Memory | Type) and not isinstance(node, Function | Name) and next(names(node), None) is None


def _no_names(name: Name) -> int:
    raise Unresolved
