"""The operations of a list in groups, for a chunk of tokens: a prompt runs layer by layer over several tokens at once.

A product with a whole matrix is a group of its own: it is done for all tokens of the chunk, so that the matrix is read once. The
operations between two products are a group that is done for one token after the other. What each operation computes is the same as
token by token: keys and values of a token are appended before it and those behind it look at them.

From a product that is made head by head (passes/dataflow.py) to the context all is one group, done for one head after the other,
each for all tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from compiler.graph.ops import Graph, Op

TOGETHER = ("gemv", "gemv.i8", "gemv.decoded", "gemv.sparse", "gemv.i8.sparse", "gemv.i8.cim", "gemv.i8.reuse",
            "gemv.i8.parts", "gemv.i16.parts")
"""Kinds that are done for all tokens of a chunk: products whose matrix is the same for each token, all rows of it."""
BY_HEAD = ("gemv.heads", "gemv.i8.heads")
"""Kinds that begin a group that is done by head."""


@dataclass(frozen=True)
class Group:
    """Operations of a list, from number `first` on. `together`: one operation, for all tokens. `by_head`: each head does them all,
    for all tokens. Else each token does them all."""

    first: int
    ops: Sequence[Op]
    together: bool
    by_head: bool = False


def groups(ops: Sequence[Op]) -> Iterator[Group]:
    """The groups of a list of operations, in its order."""
    start = 0
    for number, op in enumerate(ops):
        if op.kind in BY_HEAD:
            if start < number:
                yield Group(start, ops[start:number], together=False)
            start = next(behind for behind, other in enumerate(ops[number:], number + 1) if other.kind.startswith("context"))
            yield Group(number, ops[number:start], together=False, by_head=True)
        elif op.kind in TOGETHER:
            if start < number:
                yield Group(start, ops[start:number], together=False)
            yield Group(number, [op], together=True)
            start = number + 1
    if start < len(ops):
        yield Group(start, ops[start:], together=False)


def head_product(graph: Graph) -> int | None:
    """The number, in the end of the model, of the product that makes logits for all tokens of a chunk at once. None where a product
    is for one token after the other, or where what is behind it works with more than logits."""
    number = next((number for number, op in enumerate(graph.finish) if op.kind in TOGETHER and op.outputs == ("logits",)), None)
    made = {"logits"}
    for op in graph.finish[number + 1:] if number is not None else ():
        if op.kind in TOGETHER or not made.issuperset(op.inputs):
            return None
        made.update(op.outputs)
    return number


def across_groups(graph: Graph, *, finish: bool = False) -> frozenset[str]:
    """The values that more than one group works with: each token of a chunk needs bytes of its own for them.

    Unless the end of the model is done for all tokens too (`finish`), it is one group, for one token. Caches, the token and its
    position are no such values; what a cut works with is of all tokens.
    """
    where: dict[str, set[tuple[str, int]]] = {"logits": {("sampling", 0)}}
    cuts = {cut.name for cut in graph.cuts}
    for section, ops in ((section, ops) for section, ops in graph.named() if section not in cuts):
        for number, group in enumerate(groups(ops) if finish or section != "finish" else [Group(0, ops, together=False)]):
            for op in group.ops:
                for name in (*op.inputs, *op.outputs):
                    where.setdefault(name, set()).add((section, number))
    single = {"token", "position"} | {name for name, value in graph.values.items() if value.state}
    if not finish:
        single.add("logits")
    return frozenset(name for name, places in where.items() if len(places) > 1 and name not in single)
