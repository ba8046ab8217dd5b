"""The pass that says in which order a chunk of a prompt goes through attention.

    by_head(graph, "machine slim-llama")

token by token   all heads of a token, then the next token's: each token reads the keys and values of all positions before it
tphs             one head after the other, each for all tokens of the chunk: queries of the head, scores, softmax, context. The keys
                 and values of a head are read once for the tokens of a text whose scores the scratchpad has room for

The name is MEADOW's: token-parallel, head-sequential (arXiv 2503.11663). Keys and values are made and appended first; then the
operations from the product that makes queries up to the context follow each other, and compiler/graph/groups.py makes one group of
them. What each operation computes does not change, nor does the code for one token.
"""

from __future__ import annotations

from dataclasses import replace

from compiler.errors import ModelError, one_of
from compiler.graph import Graph, Op, check
from compiler.graph.groups import BY_HEAD

BY_TOKEN, TPHS = DATAFLOWS = "token-by-token", "tphs"

_BETWEEN = ("bias", "rope", "scale", "scores", "scores.f16", "scores.i8", "scale.heads", "softmax", "context", "context.f16",
            "context.i8")
"""Kinds between the product and the context that are done for a head alone."""
_ATTENTION = ("scores", "scale.heads", "softmax", "context")
"""How kinds of attention begin."""


def check_dataflow(dataflow: str, chunk: int | None) -> None:
    """Raise ModelError for an order that there is not, or that is not for chunks like these (as compile_model takes them)."""
    if dataflow not in DATAFLOWS:
        raise ModelError("", "--dataflow", got=repr(dataflow), expected=one_of(DATAFLOWS))
    if dataflow == TPHS and chunk == 1:
        raise ModelError("", f"--dataflow {TPHS}", got="--chunk 1",
                         expected="chunks of 2 or more tokens, which share keys and values")


def is_by_head(graph: Graph) -> bool:
    return any(op.kind in BY_HEAD for _, op in graph.steps())


def by_head(graph: Graph, place: str) -> Graph:
    """The graph whose attention is done by head. Raises ModelError for one in which heads cannot be taken one by one."""
    norms = {role for role, shape in graph.weights.items() if shape == (graph.config.head_dim,)}
    return check(graph.in_layers(lambda ops, _: _reordered(ops, norms, place)))


def _reordered(ops: list[Op], norms: set[str], place: str) -> list[Op]:
    """`norms`: roles of gains that are as long as a head."""
    scores = next((op for op in ops if op.kind.startswith("scores")), None)
    end = next((number for number, op in enumerate(ops) if op.kind.startswith("context")), None)
    if scores is None or end is None:
        raise _refused(place, "a graph without scores and context", "layers with attention")
    queries = scores.inputs[0]
    chain = [op for op in ops[:end + 1] if op.outputs[0] == queries or op.kind.startswith(_ATTENTION)]
    product, *others = chain
    if product.kind not in ("gemv", "gemv.i8"):
        raise _refused(place, f"queries that {product.kind} makes", "the product with a whole, dense matrix of a unit's own format",
                       "--sparse off, no --reuse, no --project")
    for op in others:
        if op.kind not in _BETWEEN and not (op.kind == "rmsnorm" and op.weights[0] in norms):
            unit = op.kind.startswith(_ATTENTION)
            raise _refused(place, f"{op.kind} between queries and context",
                           "attention on the vector unit" if unit else "operations that look at one head alone",
                           "--machine slim-llama" if unit else "")
        if op.attributes.get("window"):
            raise _refused(place, f"a window of {op.attributes['window']:g} positions", "attention to all positions")
    rest = [op for op in ops[:end + 1] if all(op is not other for other in chain)]
    return [*rest, replace(product, kind=f"{product.kind}.heads"), *others, *ops[end + 1:]]


def _refused(place: str, got: str, expected: str, hint: str = "") -> ModelError:
    return ModelError("", place, got=f"--dataflow {TPHS}, and {got}", expected=expected, hint=hint or f"--dataflow {BY_TOKEN}")
