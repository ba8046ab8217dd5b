"""What a graph must be: rows (kind or its first words, condition, message), and the check that walks through them.

Operands must have the shapes that KINDS gives: a letter there becomes a number at its first use and must be the same number at
every other use. Conditions see these numbers, the attributes and the configuration by name. Each pass checks the graph that it
has made. A violation is a mistake in a pass or a frontend, never the user's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from compiler.errors import shown
from compiler.graph.ops import KINDS, Argument, Graph, Op

# (kind or its first words, condition, message): a row of "scores" is for "scores.i8" too. `s` has the letters of shapes,
# attributes, and `config`.
CHECKS: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("embedding", lambda s: s.offset >= 0,                         "the offset {s.offset} is negative"),
    ("rmsnorm",   lambda s: s.eps > 0,                             "eps is {s.eps}: expected a positive number"),
    ("rmsnorm",   lambda s: s.n % s.size == 0,                     "{s.n} elements are not whole parts of {s.size}"),
    ("layernorm", lambda s: s.eps > 0,                             "eps is {s.eps}: expected a positive number"),
    *((kind, lambda s: s.padded == s.size >= s.n,                  "{s.padded} results are not {s.size} or below {s.n}")
      for kind in ("quantise.banks", "round.banks")),
    ("gemv.banks", lambda s: s.tiles * s.tile >= s.cols,          "{s.tiles} tiles of {s.tile} do not hold {s.cols} columns"),
    ("gemv.banks", lambda s: s.padded >= s.tiles * s.tile,        "{s.padded} elements are fewer than {s.tiles} tiles of {s.tile}"),
    ("gemv.banks", lambda s: s.height <= s.banks,                 "{s.height} rows do not lie in {s.banks} banks"),
    *((kind, lambda s: s.places == -(-s.rows // s.height) * s.banks, "{s.places} places are not those of {s.rows} rows")
      for kind in ("gemv.banks", "collect")),
    *((kind, lambda s: s.pieces * s.columns >= s.cols,            "{s.pieces} pieces of {s.columns} columns do not hold {s.cols}")
      for kind in ("centre.sums", "gemv.i8.reuse")),
    ("rope",      lambda s: s.config.rope is not None,             "the model has no rotary positions"),
    ("rope",      lambda s: s.head_dim % 2 == 0,                   "a head of {s.head_dim} elements has no whole pairs"),
    ("rope",      lambda s: s.n % s.head_dim == 0,                 "{s.n} elements are not whole heads of {s.head_dim}"),
    ("scores",    lambda s: s.heads % s.kv_heads == 0,             "{s.kv_heads} heads of keys do not divide {s.heads} heads"),
    ("scores",    lambda s: s.n % s.heads == 0,                    "{s.n} elements are not {s.heads} heads"),
    ("scores",    lambda s: s.m * s.heads == s.n * s.kv_heads,     "heads of queries and of keys differ in size"),
    ("scores",    lambda s: s.window >= 0,                         "the window {s.window} is negative"),
    ("context",   lambda s: s.heads % s.kv_heads == 0,             "{s.kv_heads} heads of values do not divide {s.heads} heads"),
    ("context",   lambda s: s.m * s.heads == s.n * s.kv_heads,     "the result is not {s.heads} heads of the values' size"),
    *((kind, lambda s: s.n % s.kv_heads == 0,                      "{s.n} elements are not {s.kv_heads} heads")
      for kind in ("quantise.heads", "append.rows")),
    ("scale.heads", lambda s: s.heads % s.kv_heads == 0,           "{s.kv_heads} heads of scales do not divide {s.heads} heads"),
)


class GraphError(Exception):
    """A graph that breaks a rule: a mistake in what made it."""


def check(graph: Graph) -> Graph:
    """The graph, or GraphError with everything that is wrong, one line each."""
    problems: list[str] = []
    written = {"token", "position"} | {name for name, value in graph.values.items() if value.state}
    for (section, ops), weights in zip(graph.sections(), graph.shapes(), strict=True):
        for number, op in enumerate(ops):
            found = list(_problems(graph, weights, op, written))
            problems += [f"{section}, {number}: {op.kind} -> {', '.join(op.outputs)}: {problem}" for problem in found]
            written |= set(op.outputs)
    if "logits" not in written:
        problems.append("nothing writes logits")
    if problems:
        raise GraphError("\n".join(problems))
    return graph


def _problems(graph: Graph, weights: Mapping[str, tuple[int, ...]], op: Op, written: set[str]) -> list[str]:
    kind = KINDS.get(op.kind)
    if kind is None:
        return [f"unknown kind; known are {', '.join(KINDS)}"]
    unknown = ([f"{name} is read before it is written" for name in op.inputs if name not in written]
               + [f"{name} has no declared shape" for name in (*op.outputs, *op.inputs) if name not in graph.values]
               + [f"there is no weight {role}" for role in op.weights if role not in weights])
    counts = [(what, len(got), len(expected)) for what, got, expected in (
        ("inputs", op.inputs, kind.inputs()), ("weights", op.weights, kind.weights()), ("results", op.outputs, kind.outputs()))]
    unknown += [f"{got} {what}, expected {expected}" for what, got, expected in counts if got != expected]
    if set(op.attributes) != set(kind.attributes.split()):
        unknown.append(f"attributes {sorted(op.attributes)}, expected {sorted(kind.attributes.split())}")
    if unknown:
        return unknown

    bound: dict[str, Any] = {}
    problems = []
    for names, operands in ((op.inputs, kind.inputs()), (op.outputs, kind.outputs())):
        for name, operand in zip(names, operands, strict=True):
            value = graph.values[name]
            if value.format != operand.format:
                problems.append(f"{name} is {value.format}, expected {operand.format}")
            problems += _bind(bound, name, value.shape, operand)
    for role, operand in zip(op.weights, kind.weights(), strict=True):
        problems += _bind(bound, role, weights[role], operand)
    if problems:
        return problems

    scope = SimpleNamespace(**{**bound, **op.attributes, "config": graph.config})
    return [message.format(s=scope) for name, holds, message in CHECKS
            if (op.kind == name or op.kind.startswith(name + ".")) and not holds(scope)]


def _bind(bound: dict[str, Any], name: str, shape: Sequence[int | str], operand: Argument) -> list[str]:
    """Give the letters of an operand their numbers. Returns what does not fit, as text."""
    if len(shape) != len(operand.shape):
        return [f"{name} has shape {shown(tuple(shape))}, expected {shown(operand.shape)}"]
    return [f"{name} has shape {shown(tuple(shape))}, but {letter} is {bound[letter]} in {operand.name}{shown(operand.shape)}"
            for letter, size in zip(operand.shape, shape, strict=True) if bound.setdefault(letter, size) != size]
