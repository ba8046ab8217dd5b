"""What an instruction may touch besides its operands: CSRs, counters and traps, derived from its meaning.

A meaning is Python. The names of CSRs and counters and the causes of traps stand in it, in the helpers that it calls, and in the
words of the vocabulary that it uses. Where a loop makes several rows, what differs between them is in the meaning's closure.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from dataclasses import dataclass
from functools import cache
from itertools import chain
from types import FunctionType, ModuleType
from typing import Any

from isa.counters import COUNTERS
from isa.csrs import CSRS
from isa.engine.vocabulary import Vocabulary
from isa.instruction import Row
from isa.traps import Cause


def csrs(row: Row) -> list[str]:
    """Unit and machine CSRs that the instruction's effect depends on or that it writes, in order of address."""
    strings = mentions(row.meaning).strings
    return [name for name in CSRS if name in strings and name not in COUNTERS]


def counters(row: Row) -> list[str]:
    """Counters that the instruction may add to, besides the bytes of its memory operands; in slot order."""
    words = {word for text in mentions(row.meaning).strings for word in text.split()}
    touched = words | {"core.instructions"} | ({f"{row.unit}.ops"} if row.is_xslim else set())
    return [name for name in COUNTERS if name in touched]


def traps(row: Row) -> list[Cause]:
    """Traps that the instruction itself may raise, in order of cause: those of its memory operands, and those that its
    meaning mentions."""
    access = "".join(operand.access for operand in row.operands)
    aligned = any(operand.access and operand.layout.align > 1 for operand in row.operands)
    possible = {Cause[name] for name in mentions(row.meaning).causes} - {Cause.MISALIGNED_OPERAND}
    possible |= {cause for cause, applies in ((Cause.LOAD_ACCESS, "<" in access), (Cause.STORE_ACCESS, ">" in access),
                                              (Cause.PORT, access), (Cause.MISALIGNED_OPERAND, aligned)) if applies}
    return sorted(possible)


@dataclass(frozen=True)
class Mentions:
    """What a meaning, the helpers that it calls and the vocabulary behind them mention, by what it is used for."""

    strings: frozenset[str]
    causes: frozenset[str]


@cache
def mentions(meaning: Any) -> Mentions:
    """What a row's meaning mentions."""
    strings, causes = set(), set()
    work, seen = [meaning], set()
    while work:
        function = work.pop()
        if not isinstance(function, FunctionType) or function in seen or not function.__module__.startswith("isa."):
            continue
        seen.add(function)
        scope = function.__globals__ | closure(function)
        for node in chain.from_iterable(map(ast.walk, _body(function))):
            match node:
                case ast.Constant(value=str(text)):
                    strings.add(text)
                case ast.Attribute(value=ast.Name(id="Cause"), attr=name):
                    causes.add(name)
                case ast.Attribute(value=ast.Name(id="m" | "self"), attr=name):
                    work.append(getattr(Vocabulary, name, None))
                case ast.Attribute(value=ast.Name(id=owner), attr=name) if isinstance(scope.get(owner), ModuleType):
                    work.append(getattr(scope[owner], name, None))
                case ast.Name(id=name) if isinstance(scope.get(name), str):
                    strings.add(scope[name])
                case ast.Name(id=name):
                    work.append(scope.get(name))
    return Mentions(frozenset(strings), frozenset(causes))


def _body(function: FunctionType) -> list[ast.stmt]:
    """The statements of a function, without its decorators and its docstring."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    if not isinstance(tree, ast.FunctionDef):
        return []
    return tree.body[ast.get_docstring(tree) is not None:]


def closure(function: Any) -> dict[str, Any]:
    """What a function takes from the functions around it, by name."""
    return dict(zip(function.__code__.co_freevars, (cell.cell_contents for cell in function.__closure__ or ()), strict=True))
