"""With which texts a meaning calls its helpers: which CSR `m.stride(name, ...)` looks at, of what `check(m, what, ...)` speaks.

The reasons of traps are templates in helpers that many meanings share (isa/effects.py). A parameter in such a template is often a
text that the meaning gives, or a helper between the two. This file follows the texts from call to call. It reads the Python and
runs nothing, as isa/reach.py does, whose definitions it uses.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import chain
from typing import Any

from isa.reach import Definition, closure, executed, named, named_by, tree_of

Texts = Mapping[str, str]           # parameters of a function, and the text that each is called with, where that is known
NO_TEXTS: Texts = {}


def template(node: ast.AST, texts: Texts = NO_TEXTS) -> str:
    """What an expression of text says, with {expressions} in it. A parameter whose text is known is replaced by that."""
    match node:
        case ast.Constant(value=str(text)):                 return text
        case ast.JoinedStr(values=parts):                   return "".join(template(part, texts) for part in parts)
        case ast.FormattedValue(value=ast.Name(id=name)) if name in texts: return texts[name]
        case ast.FormattedValue(value=value):               return "{" + ast.unparse(value) + "}"
        case ast.BinOp(left=left, op=ast.Add(), right=right): return template(left, texts) + template(right, texts)
        case ast.IfExp(body=body, orelse=orelse):
            return " / ".join(filter(None, (template(body, texts), template(orelse, texts))))
        case _:                                             return "{" + ast.unparse(node) + "}"


@cache
def texts_given(meaning: Any) -> dict[Definition, list[Texts]]:
    """For each function that a meaning reaches, with which texts it is called: once for each way in which that is done."""
    given: dict[Definition, list[Texts]] = {}
    around: Texts = {name: value for name, value in closure(meaning).items() if isinstance(value, str)}
    work = list(_calls(executed(tree_of(meaning)), named_by(meaning), around))
    while work:
        definition, texts = work.pop(0)
        if texts not in given.setdefault(definition, []):
            given[definition].append(texts)
            work += _calls(definition.bodies, named(definition), texts)
    return given


def _calls(bodies: list[ast.AST], names: Mapping[str, Definition], texts: Texts) -> Iterator[tuple[Definition, Texts]]:
    """What a text calls or names, and with which texts. `names`: what it names, as written; `texts`: its own parameters'."""
    nodes = [node for node in chain.from_iterable(map(ast.walk, bodies)) if isinstance(node, ast.Name | ast.Attribute | ast.Call)]
    called = {id(node.func): node for node in nodes if isinstance(node, ast.Call)}
    for node in nodes:
        if not isinstance(node, ast.Call):
            written = ast.unparse(node)
            definition = names.get(written) or names.get(re.sub("^self[.]", "m.", written))
            if definition is not None:
                yield definition, _passed(definition, called[id(node)], texts) if id(node) in called else NO_TEXTS


def _passed(definition: Definition, call: ast.Call, texts: Texts) -> Texts:
    """The texts that a call gives to the parameters of a function."""
    tree = definition.tree
    if not isinstance(tree, ast.FunctionDef):
        return NO_TEXTS
    parameters = [argument.arg for argument in (*tree.args.posonlyargs, *tree.args.args)]
    if "." in definition.name and not tree.decorator_list:              # a word of the vocabulary; its `self` is not in the call
        parameters = parameters[1:]
    stars = (place for place, argument in enumerate(call.args) if isinstance(argument, ast.Starred))
    given = dict(zip(parameters, call.args[:next(stars, None)], strict=False))
    given |= {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
    found = {name: _known(value, texts) for name, value in given.items()}
    return {name: text for name, text in found.items() if text is not None}


def _known(node: ast.AST, texts: Texts) -> str | None:
    """The text that an argument is, None if it is no text or not known."""
    match node:
        case ast.Constant(value=str()) | ast.JoinedStr():   return template(node, texts)
        case ast.Name(id=name):                             return texts.get(name)
        case _:                                             return None
