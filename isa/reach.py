"""What a meaning reaches: every function, class and constant that its text names, and what their texts name in turn.

A meaning is Python. Whoever builds the machine needs what stands behind each name in it: helpers of the unit, words of the
vocabulary, recipes of the arithmetic, constants. This file follows the names from definition to definition. Counters, CSRs
and traps of an instruction (isa/effects.py) and the pages of the manual (isa/manual) are derived from what it finds.

It reads the text and runs nothing. What a loop hands to the meanings that it makes stands in their closures. Of a method,
the type of its object must be known: that of `m` and `self` is, and that of the banks in `m.preset.banks`.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from types import FunctionType
from typing import Any

from isa.engine.vocabulary import Vocabulary

WORDS = Vocabulary.__module__               # the module of the vocabulary
TYPES = {"m.preset.banks": ("isa.units.pim.banks", "Organisation")}

# What tables of the manual print is not followed: they name everything that there is.
TABLES = {("isa.counters", "COUNTERS"), ("isa.csrs", "CSRS"), ("isa.csrs", "BY_ADDRESS"), ("isa.csrs", "COUNTER_BY_ADDRESS"),
          ("isa.services", "NUMBERS")}
# Neither is what has pages of its own, or says nothing of the machine.
CLOSED = ("isa.arithmetic", "isa.half", "isa.numbers", "isa.traps", "isa.regions")


@dataclass(frozen=True)
class Definition:
    """A function, class or constant of a module; of the vocabulary, a word: "Vocabulary.read_f32"."""

    module: str
    name: str

    @property
    def is_constant(self) -> bool:
        return isinstance(self.tree, ast.Assign | ast.AnnAssign)

    @property
    def is_open(self) -> bool:
        """Is what it names followed?"""
        return (self.module, self.name) not in TABLES and self.module not in CLOSED

    @property
    def tree(self) -> ast.stmt:
        return _statements(self.module)[self.name]

    @property
    def text(self) -> str:
        """The Python as it stands, with comments at its side and above it."""
        lines, tree = _module(self.module)[0], self.tree
        first = min([tree.lineno, *(decorator.lineno for decorator in getattr(tree, "decorator_list", ()))]) - 1
        while self.is_constant and lines[first - 1].startswith("# ") and not lines[first - 1].startswith("# ---"):
            first -= 1
        return textwrap.dedent("\n".join(lines[first:tree.end_lineno]))

    @property
    def bodies(self) -> list[ast.AST]:
        """What of the tree is executed or worked out."""
        return executed(self.tree)


@cache
def named(definition: Definition) -> dict[str, Definition]:
    """What the text of a definition names, by the name as written."""
    if not definition.is_open:
        return {}
    return dict(_names(definition.bodies, definition.module, _local(definition.tree), "self" if "." in definition.name else "m"))


def closure(function: Any) -> dict[str, Any]:
    """What a function takes from the functions around it, by name."""
    return dict(zip(function.__code__.co_freevars, (cell.cell_contents for cell in function.__closure__ or ()), strict=True))


@cache
def named_by(meaning: Any) -> dict[str, Definition]:
    """What the text of a row's meaning names, by the name as written, what it takes from the functions around it included."""
    found = {name: definition_of(value) for name, value in closure(meaning).items()
             if isinstance(value, FunctionType) and value.__module__.startswith("isa.")}
    return found | _names_of(meaning, _tree_of(meaning))


@cache
def reached(meaning: Any) -> tuple[Definition, ...]:
    """Every definition that a meaning reaches, in the order in which they are found."""
    text = _names_of(meaning, tree_of(meaning))
    found = dict.fromkeys([*text.values(), *(value for name, value in named_by(meaning).items() if name in closure(meaning))])
    work = list(found)
    while work:
        for definition in named(work.pop(0)).values():
            if definition not in found:
                found[definition] = None
                work.append(definition)
    return tuple(found)


def definition_of(value: Any) -> Definition:
    """The definition of a function or class."""
    return Definition(value.__module__, value.__qualname__)


@cache
def tree_of(meaning: Any) -> ast.FunctionDef:
    """The tree of a row's meaning, without the branches that what the meaning takes from around it rules out: forms of an
    operation share a text, and a branch may be for some of them."""
    return _Pruned(closure(meaning)).visit(deepcopy(_tree_of(meaning)))       # type: ignore[no-any-return]


def text_of(meaning: Any) -> str:
    """The Python of a row's meaning, without its decorators."""
    tree = _tree_of(meaning)
    return textwrap.dedent("\n".join(_module(meaning.__module__)[0][tree.lineno - 1:tree.end_lineno]))


class _Pruned(ast.NodeTransformer):
    """Leaves of `a if test else b` what is executed, where `known` decides the test."""

    def __init__(self, known: dict[str, Any]) -> None:
        self.known = known

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        self.generic_visit(node)
        if {part.id for part in ast.walk(node.test) if isinstance(part, ast.Name)} <= self.known.keys():
            return node.body if eval(ast.unparse(node.test), self.known.copy()) else node.orelse
        return node


# ------------------------------------------------------------------------------------------------ trees


@cache
def _module(name: str) -> tuple[list[str], ast.Module]:
    """The lines of a module, and its tree."""
    text = inspect.getsource(sys.modules[name])
    return text.splitlines(), ast.parse(text)


@cache
def _functions(module: str) -> dict[int, ast.FunctionDef]:
    """All functions of a module, inner ones too, by the line where they start, decorators included."""
    return {min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]): node
            for node in ast.walk(_module(module)[1]) if isinstance(node, ast.FunctionDef)}


def _tree_of(meaning: Any) -> ast.FunctionDef:
    return _functions(meaning.__module__)[meaning.__code__.co_firstlineno]


def _names_of(meaning: Any, tree: ast.FunctionDef) -> dict[str, Definition]:
    return dict(_names(executed(tree), meaning.__module__, _local(tree), "m"))


@cache
def _statements(module: str) -> dict[str, ast.stmt]:
    """The definitions of a module by name; the words of the vocabulary as "Vocabulary.name", its base class included."""
    found: dict[str, ast.stmt] = {}
    for statement in _module(module)[1].body:
        match statement:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                found[name] = statement
                if isinstance(statement, ast.ClassDef) and issubclass(Vocabulary, getattr(sys.modules[module], name)):
                    found |= {f"{name}.{word.name}": word for word in statement.body if isinstance(word, ast.FunctionDef)}
            case ast.Assign(targets=targets):
                for target in targets:
                    found |= {part.id: statement for part in ast.walk(target) if isinstance(part, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                found[name] = statement
    return found


@cache
def _imports(module: str) -> dict[str, tuple[str, str]]:
    """Where the names that a module imports from this package come from: (module, name there, "" for the module itself)."""
    found = {}
    for node in ast.walk(_module(module)[1]):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "isa":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found[alias.asname or alias.name] = (inner, "") if inner in sys.modules else (str(node.module), alias.name)
    return found


def definition_behind(module: str, name: str) -> Definition | None:
    """The definition behind a name in a module, None if it is none of this package."""
    if name in _statements(module):
        return Definition(module, name)
    if name in _imports(module):
        origin, there = _imports(module)[name]
        return definition_behind(origin, there) if there and origin != "isa.hints" else None       # texts for people
    return None


def _word(name: str) -> Definition | None:
    """The word of the vocabulary, None for a part of the machine's state."""
    for kind in Vocabulary.__mro__[:-1]:
        if f"{kind.__name__}.{name}" in _statements(kind.__module__):
            return Definition(kind.__module__, f"{kind.__name__}.{name}")
    return None


def _local(tree: ast.AST) -> set[str]:
    """Names that a function or the functions in it set or take."""
    if isinstance(tree, ast.Assign | ast.AnnAssign):
        return {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    return ({node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
            | {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)})


def executed(tree: ast.AST) -> list[ast.AST]:
    """What of a definition is executed or worked out: no docstring, no annotation, no decorator."""
    match tree:
        case ast.FunctionDef(body=body):
            return [*body[ast.get_docstring(tree) is not None:], *tree.args.defaults]
        case ast.ClassDef(body=body, bases=bases):
            return [*bases, *(part for statement in body for part in executed(statement))]
        case ast.Assign(value=value) | ast.AnnAssign(value=value):
            return [value] if value else []
        case _:
            return []


def _names(bodies: list[ast.AST], module: str, local: set[str], machine: str) -> Iterator[tuple[str, Definition]]:
    """(name as written, definition) of what trees name. `machine` is what they call the machine."""
    for body in bodies:
        for node in _walk(body):
            text = ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""
            first, dot, rest = text.partition(".")
            definition = None
            if isinstance(node, ast.Name) and first not in local:
                definition = definition_behind(module, first)
            elif dot and text.removeprefix("self.") in TYPES:
                definition = Definition(*TYPES[text.removeprefix("self.")])
            elif dot and first not in local and _imports(module).get(first, ("", "x"))[1] == "":
                definition = definition_behind(_imports(module)[first][0], rest)
            elif dot and "." not in rest and first == machine and (machine == "m" or module.startswith("isa.engine.")):
                definition = _word(rest)
            elif text.startswith("self.m.") and text.count(".") == 2 and not module.startswith("isa.engine."):
                definition = _word(text.removeprefix("self.m."))
            if definition is not None:
                yield (f"m.{rest}" if machine == "self" and first == "self" else text), definition


def _walk(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but annotations, in the order of the text."""
    yield tree
    for name, value in ast.iter_fields(tree):
        if name not in ("annotation", "returns", "decorator_list"):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _walk(child)
