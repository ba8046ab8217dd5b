"""What an instruction may touch besides its operands: CSRs, counters and traps, derived from its row and its meaning.

The names of CSRs and counters and the causes of traps stand in the meaning, in the helpers that it calls, and in the words of the
vocabulary that it uses (isa/reach.py). Where a loop makes several rows, what differs between them is in the meaning's closure.
What is checked of the operands before the meaning is called follows from the row (isa/engine/operand_checks.py). The reason of a
trap is its text in the function that raises it, with what that function is called with (isa/called.py).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Any

from isa.called import NO_TEXTS, Texts, template, texts_given
from isa.counters import COUNTERS
from isa.csrs import CSRS
from isa.instruction import Row
from isa.reach import Definition, closure, definition_behind, executed, reached, tree_of
from isa.shapes import parse_shape
from isa.traps import Cause

_MEMORY = {Cause.LOAD_ACCESS, Cause.STORE_ACCESS, Cause.PORT, Cause.MISALIGNED_OPERAND}


def csrs(row: Row) -> list[str]:
    """Unit and machine CSRs that the instruction's effect depends on or that it writes, in order of address."""
    strings = _strings(row.meaning)
    return [name for name in CSRS if name in strings and name not in COUNTERS]


def counters(row: Row) -> list[str]:
    """Counters that the instruction may add to, besides the bytes of its memory operands; in slot order."""
    words = {word for text in _strings(row.meaning) for word in text.split()}
    touched = words | {"core.instructions"} | ({f"{row.unit}.ops"} if row.is_xslim else set())
    return [name for name in COUNTERS if name in touched]


# ------------------------------------------------------------------------------------------------ traps


@dataclass(frozen=True)
class TrapRule:
    """A way in which an instruction traps: what mtval is, and when it happens. `place` is the function that raises it, None for
    what is checked before the meaning is called and for memory accesses."""

    cause: Cause
    mtval: str
    when: str
    place: Definition | None = None


def traps(row: Row) -> list[Cause]:
    """Traps that the instruction itself may raise, in order of cause."""
    return sorted({rule.cause for rule in trap_rules(row)})


def trap_rules(row: Row) -> list[TrapRule]:
    """All ways in which the instruction itself may trap: those of its unit, its lengths, its memory, its meaning."""
    rules = []
    if row.is_xslim:
        rules.append(TrapRule(Cause.ILLEGAL_INSTRUCTION, "the instruction", f"the machine has no {row.unit} unit"))
    rules += [TrapRule(Cause.CAPACITY, f"`{name}`", f"`{name}` is more than 2**28") for name in row.lengths]
    rules += _of_memory(row)
    given = texts_given(row.meaning)
    found = [*_raised(executed(tree_of(row.meaning)), row.meaning.__module__, None),
             *(rule for definition in reached(row.meaning) for texts in given.get(definition, [NO_TEXTS])
               for rule in _of_definition(definition, tuple(texts.items())))]
    return [*rules, *dict.fromkeys(found)]


_NOTHING_THERE = "the bytes do not lie in one region, or nothing is there"
_WHEN = {Cause.LOAD_ACCESS: _NOTHING_THERE, Cause.STORE_ACCESS: f"{_NOTHING_THERE} that can be written"}


def _of_memory(row: Row) -> Iterator[TrapRule]:
    """The traps of memory accesses. Addresses are operands, and CSRs where these hold one. Where an operand's bytes follow from the
    row, mtval is the operand; of all other accesses it is where they start. The core has a port to every region."""
    if not row.is_xslim:
        words = {definition.name for definition in reached(row.meaning)}
        for cause, word in ((Cause.LOAD_ACCESS, "Vocabulary.check_read"), (Cause.STORE_ACCESS, "Vocabulary.check_write")):
            if word in words:
                yield TrapRule(cause, "the address", _WHEN[cause])
        return
    plain = {f"`{operand.name}`": operand for operand in row.plain}
    others = {f"`{operand.name}`": operand for operand in row.operands if operand.access and operand not in row.plain}
    held = {f"what `{name}` points to": parse_shape(CSRS[name].points_to) for name in csrs(row) if CSRS[name].points_to}
    settings = list(held)
    for cause, access in ((Cause.LOAD_ACCESS, "<"), (Cause.STORE_ACCESS, ">")):
        also = settings if access == "<" else []
        yield from _at(cause, [name for name, o in plain.items() if access in o.access],
                       [*(name for name, o in others.items() if access in o.access), *also], _WHEN[cause])
    yield from _at(Cause.PORT, list(plain), [*others, *settings], f"the {row.unit} unit has no port to the region")
    yield from _at(Cause.MISALIGNED_OPERAND, [name for name, o in plain.items() if o.align > 1],
                   [*(name for name, o in others.items() if o.align > 1), *(name for name, at in held.items() if at.align > 1)],
                   "the address is no multiple of the bytes of an element"
                   + (", or of a scale" if any(o.scales for o in others.values()) else ""))


def _at(cause: Cause, plain: list[str], others: list[str], when: str) -> Iterator[TrapRule]:
    if plain:
        yield TrapRule(cause, " or ".join(plain), when)
    if others:
        yield TrapRule(cause, f"where an access to {' or '.join(others)} starts", when)


@cache
def _of_definition(definition: Definition, texts: tuple[tuple[str, str], ...]) -> tuple[TrapRule, ...]:
    if not definition.is_open:
        return ()
    return tuple(_raised(definition.bodies, definition.module, definition, dict(texts)))


def _raised(bodies: list[ast.AST], module: str, place: Definition | None, texts: Texts = NO_TEXTS) -> Iterator[TrapRule]:
    """The traps that statements raise. Those of memory accesses are left out: `_of_memory` has them."""
    for node in chain.from_iterable(map(ast.walk, bodies)):
        if not isinstance(node, ast.Raise) or not isinstance(node.exc, ast.Call):
            continue
        causes, value, detail = _trap(node.exc, module, texts)
        for cause in causes:
            if cause not in _MEMORY:
                yield TrapRule(cause, "the instruction" if cause is Cause.ILLEGAL_INSTRUCTION else value, detail, place)


def _trap(call: ast.Call, module: str, texts: Texts) -> tuple[list[Cause], str, str]:
    """(causes, mtval, reason) of the call that makes a trap: `Trap(Cause.X, value, detail)`, or of a function that returns one."""
    maker = definition_behind(module, ast.unparse(call.func))
    arguments = [*call.args, *(keyword.value for keyword in call.keywords)]
    if maker is not None and maker.name != "Trap":
        for node in chain.from_iterable(map(ast.walk, maker.bodies)):
            if isinstance(node, ast.Return) and isinstance(node.value, ast.Call):
                causes, _, _ = _trap(node.value, maker.module, NO_TEXTS)
                return causes, _value(arguments[0]), template(arguments[1], texts)
    if maker is None or maker.name != "Trap":
        return [], "", ""
    causes = [Cause[node.attr] for node in ast.walk(arguments[0])
              if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "Cause"]
    value = _value(call.args[1]) if len(call.args) > 1 else "0"
    return causes, value, template(arguments[-1], texts)


def _value(node: ast.AST) -> str:
    return ast.unparse(node) if isinstance(node, ast.Constant) else f"`{ast.unparse(node)}`"


# ------------------------------------------------------------------------------------------------ names


@cache
def _strings(meaning: Any) -> frozenset[str]:
    """Every text that a meaning, what it reaches and the functions around it mention."""
    return frozenset[str]().union(_texts(executed(tree_of(meaning))), map(str, closure(meaning).values()), *(
        _texts_of(definition) for definition in reached(meaning) if definition.is_open and definition.module != "isa.csrs"))


@cache
def _texts_of(definition: Definition) -> frozenset[str]:
    return _texts(definition.bodies)


def _texts(trees: list[ast.AST]) -> frozenset[str]:
    return frozenset(node.value for node in chain.from_iterable(map(ast.walk, trees))
                     if isinstance(node, ast.Constant) and isinstance(node.value, str))
