"""Caches that choose, in NumPy: operations of the executor (execute.py) that keep more than rows of keys and values.

A result is a new array wherever an earlier one may still be looked at: what a token has seen stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from compiler.graph.ops import Graph, Op, Value
from compiler.model.tensors import F32

if TYPE_CHECKING:
    from collections.abc import Mapping

DTYPE = {"f32": np.float32, "f16": np.uint16, "i8": np.int8, "index": np.uint32}
FORMS = (".f16", ".i8")


class SelectOperations:
    """The operations of the executor that choose. Shapes are those of KINDS (select_kinds.py)."""

    graph: Graph
    position: int
    _caches: dict[tuple[int | None, str], Any]
    _quantise_heads: Callable[..., tuple[Any, F32]]
    _scores: Callable[..., F32]
    _scores_rows_i8: Callable[..., F32]

    def select(self, layer: int | None, op: Op, inputs: Sequence[Any]) -> tuple[Any, ...]:
        """The results of an operation of SELECTED. Numbers are its attributes."""
        kind = next((op.kind.removesuffix(form) for form in FORMS if op.kind.endswith(form)), op.kind)
        numbers = {name: int(value) for name, value in op.attributes.items()}
        if kind.startswith("scores"):
            return (self._parted(inputs, op.kind.endswith(".i8"), **numbers),)
        before = [self._state(layer, name) for name in op.outputs]
        choose: Mapping[str, Callable[..., tuple[Any, ...]]] = {
            "append.ring": self._ring, "sum.squares": self._squares, "choose.channels": self._channels,
            "append.kept": self._compress}
        results = choose[kind](before, inputs, **numbers)
        self._caches.update({(layer, name): result for name, result in zip(op.outputs, results, strict=True)})
        return results

    def _state(self, layer: int | None, name: str) -> Any:
        """A state as it is; at first zeros, of positions and chosen elements none."""
        value: Value = self.graph.values[name]
        shape = [0 if isinstance(length, str) else length for length in value.shape]
        return self._caches.get((layer, name), np.zeros(0 if value.format == "index" else shape, DTYPE[value.format]))

    # -------------------------------------------------------------------------------------------- ThinK

    def _ring(self, before: Sequence[Any], inputs: Sequence[Any], kv_heads: int = 0) -> tuple[Any, ...]:
        rows = self._quantise_heads(inputs[0], kv_heads=kv_heads) if kv_heads else inputs
        slots = np.arange(len(before[0]))[:, None] == self.position % len(before[0])
        return tuple(np.where(slots, row, ring) for row, ring in zip(rows, before, strict=True))

    def _squares(self, before: Sequence[F32], inputs: Sequence[F32], start: int, window: int) -> tuple[F32, ...]:
        (q_squares, k_squares), (q, k) = before, inputs
        if start - window <= self.position < start:
            q_squares = q_squares + q * q
        return q_squares, k_squares + k * k if self.position < start else k_squares

    def _channels(self, before: Sequence[Any], inputs: Sequence[F32], heads: int, kv_heads: int, start: int) -> tuple[Any, ...]:
        if self.position != start - 1:
            return tuple(before)
        of_heads = inputs[0].reshape(kv_heads, heads // kv_heads, -1)
        keys = inputs[1].reshape(kv_heads, -1)
        total = of_heads[:, 0]
        for one in range(1, heads // kv_heads):
            total = total + of_heads[:, one]
        scores = total * keys
        dropped = keys.shape[1] - self._kept_channels() // kv_heads
        ranked = np.argsort(np.where(np.isnan(scores), np.float32(np.inf), scores), axis=1, kind="stable")
        stay = np.ones(keys.shape, bool)
        np.put_along_axis(stay, ranked[:, :dropped], values=False, axis=1)
        return (np.flatnonzero(stay).astype(np.uint32),
                np.flatnonzero(np.repeat(stay, heads // kv_heads, axis=0)).astype(np.uint32))

    def _kept_channels(self) -> int:
        return int(self.graph.values["channels"].shape[0])

    def _compress(self, before: Sequence[Any], inputs: Sequence[Any], start: int, window: int) -> tuple[Any, ...]:
        *rings, channels = inputs
        if self.position < start - 1:
            return tuple(before)
        last = self.position - window
        slots = np.arange(0 if self.position == start - 1 else last, last + 1) % len(rings[0])
        rows = [rings[0][slots][:, channels], *(scales[slots] for scales in rings[1:])]
        return tuple(np.concatenate([old, new]) for old, new in zip(before, rows, strict=True))

    def _parted(self, inputs: Sequence[Any], codes: bool, *, heads: int, kv_heads: int, window: int, start: int) -> F32:
        q, *caches, query_channels = inputs
        rings, olds = caches[:len(caches) // 2], caches[len(caches) // 2:]
        slots = np.arange(len(olds[0]), self.position + 1) % len(rings[0])
        scores, numbers = self._scores_rows_i8 if codes else self._scores, {"heads": heads, "kv_heads": kv_heads, "window": 0}
        late = scores(q, *(ring[slots] for ring in rings), **numbers)
        if not len(olds[0]):
            return late
        return np.concatenate([scores(q[query_channels], *olds, **numbers), late], axis=1)
