"""A text through a model layer by layer: all tokens pass one layer before the next one begins, so that each matrix is read once.

    run = LayerByLayer(model, tokens)
    for layer in range(layers):
        seen = run.inputs(layer)                the mean square of each input of the layer's matrices: {"q": (dim,), ...}
        run.advance(layer, model)               with the tensors of this model, which may have changed

The operations are those of the float graph (graph/execute.py). Products are one matrix product for all tokens, and attention one
for each head: the same sums in another order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from compiler.graph import PLAIN, Executor, graph_of
from compiler.graph.groups import groups
from compiler.graph.ops import Op
from compiler.model.model import Model
from compiler.model.tensors import F32

_ALIKE = ("rmsnorm", "bias", "scale", "silu", "gelu", "relu", "relu2", "mul", "add")        # the same for vectors below one another
_TOGETHER = 16          # tokens whose vectors stay in the cache of a processor
_QUERIES = 256          # of a head that look at their keys together
_ATTENTION = ("scores", "softmax", "context")


def _attention(q: F32, keys: F32, values: F32, kv_heads: int, window: int) -> F32:
    """Attention of all tokens of a text, head by head: q (tokens, heads * head_dim), the others (tokens, kv_heads * head_dim)."""
    tokens, head_dim = len(q), keys.shape[1] // kv_heads
    heads = q.shape[1] // head_dim
    result = np.empty_like(q)
    for head in range(heads):
        own, other = (slice(number * head_dim, (number + 1) * head_dim) for number in (head, head * kv_heads // heads))
        for first in range(0, tokens, _QUERIES):
            last, oldest = min(first + _QUERIES, tokens), max(first - window + 1, 0) if window else 0
            scores = q[first:last, own] @ keys[oldest:last, other].T
            later = scores[:, first - oldest:]
            later[np.triu(np.ones(later.shape, bool), 1)] = -np.inf
            if window:
                scores[np.tri(len(scores), scores.shape[1], first - oldest - window, bool)] = -np.inf
            scores -= scores.max(axis=1, keepdims=True)
            powers = np.exp(scores, out=scores)
            result[first:last, own] = powers @ values[oldest:last, other] / powers.sum(axis=1, keepdims=True)
    return result


class LayerByLayer:
    """`tokens` in pieces as long as the context, each a text of its own. Values between layers are kept, weights are not."""

    def __init__(self, model: Model, tokens: Sequence[int]) -> None:
        self._executor = Executor(graph_of(model), model, PLAIN, keep=0)
        self._context = model.config.context
        self._states: list[dict[str, Any]] = []             # of each token, between two layers
        self._next: list[dict[str, Any]] | None = None      # behind a layer that was computed and not changed since
        for at, token in enumerate(tokens):
            self._executor.values = {"token": token, "position": at % self._context}
            self._executor.position = at % self._context
            for op in self._executor.graph.start:
                self._executor.perform(None, op)
            self._states.append({name: self._executor.values[name] for name in ("x", "position")})

    def inputs(self, layer: int) -> dict[str, F32]:
        """Of each matrix of the layer, by role: the mean over all tokens of the squares of its inputs, (columns,)."""
        seen: dict[str, F32] = {}
        self._next = self._through(layer, seen)
        return seen

    def advance(self, layer: int, model: Model) -> None:
        """Go on behind the layer, as this model computes it. The model that was there is the default of what follows."""
        if model is not self._executor.model:
            self._executor.model, self._next = model, None
        self._states, self._next = self._next or self._through(layer, {}), None

    def _through(self, layer: int, seen: dict[str, F32]) -> list[dict[str, Any]]:
        e = self._executor
        ops = next(body.ops for body in e.graph.bodies if layer in body.layers)
        states = [dict(state) for state in self._states]
        for group in groups(ops):
            if group.together:
                op, = group.ops
                inputs = np.stack([_input(op, state) for state in states])                  # (tokens, columns)
                seen[op.weights[0].removeprefix("layer.")] = _mean_square(inputs)
                for state, result in zip(states, self._product(layer, op, inputs), strict=True):
                    state[op.outputs[0]] = result
                continue
            for first in range(0, len(states), self._context):
                e.restart()
                self._text(layer, group.ops, states[first:first + self._context])
        return [{name: state[name] for name in ("x", "position")} for state in states]

    def _text(self, layer: int, ops: Sequence[Op], states: list[dict[str, Any]]) -> None:
        """Operations between two products, for the tokens of one text."""
        e, at = self._executor, 0
        while at < len(ops):
            op = ops[at]
            if tuple(each.kind for each in ops[at:at + len(_ATTENTION)]) == _ATTENTION:
                (q, keys), (_, values) = op.inputs, ops[at + 2].inputs
                last, numbers = states[-1], {name: int(number) for name, number in op.attributes.items()}
                results = _attention(np.stack([state[q] for state in states]), last[keys], last[values], numbers["kv_heads"],
                                     numbers["window"])
                for state, result in zip(states, results, strict=True):
                    state[ops[at + 2].outputs[0]] = result
                at += len(_ATTENTION)
                continue
            if op.kind in _ALIKE:
                for first in range(0, len(states), _TOGETHER):
                    some = states[first:first + _TOGETHER]
                    e.values = {name: np.stack([state[name] for state in some]) for name in op.inputs}
                    e.perform(layer, op)
                    for state, result in zip(some, e.values[op.outputs[0]].reshape(len(some), -1), strict=True):
                        state[op.outputs[0]] = result
                at += 1
                continue
            for position, state in enumerate(states):
                e.position = e.row = position
                e.values = state
                e.perform(layer, op)
            at += 1

    def _product(self, layer: int, op: Op, inputs: F32) -> F32:
        """All tokens times the matrix of an operation: (tokens, rows)."""
        tensor = self._executor.model.tensor(op.weights[0].replace("layer.", f"layers.{layer}.", 1))
        result: F32 = np.concatenate([inputs @ tensor.rows(first, last).T for first, last in tensor.blocks()], axis=1)
        return result


def _input(op: Op, state: dict[str, Any]) -> F32:
    """What a product multiplies: a vector, or int8 codes times their scale."""
    x = state[op.inputs[0]]
    vector: F32 = x if len(op.inputs) == 1 else x.astype(np.float32) * state[op.inputs[1]]
    return vector


def _mean_square(inputs: F32) -> F32:
    """The mean of squares of each column, summed in fp64 token by token: the same on every host for the same inputs."""
    total = np.zeros(inputs.shape[1])
    for row in inputs:
        total += np.square(row, dtype=np.float64)
    mean: F32 = (total / len(inputs)).astype(np.float32)
    return mean
