"""Caches that choose, in NumPy: operations of the executor (execute.py) that keep more than rows of keys and values.

A result is a new array wherever an earlier one may still be looked at: what a token has seen stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from compiler.graph.arithmetic import Arithmetic
from compiler.graph.ops import BLOCK, CLUSTERS, Graph, Op, Value
from compiler.model.tensors import F32
from isa import arithmetic as exact

if TYPE_CHECKING:
    from collections.abc import Mapping

DTYPE = {"f32": np.float32, "f16": np.uint16, "i8": np.int8, "index": np.uint32}
FORMS = (".f16", ".i8")
ROUNDS = 16             # of a clustering, at most: STARC, arXiv 2505.05772
TINY = 1e-12            # keeps a key of zeros from dividing by 0; ours


class SelectOperations:
    """The operations of the executor that choose. Shapes are those of KINDS (select_kinds.py)."""

    graph: Graph
    position: int
    _caches: dict[tuple[int | None, str], Any]
    arithmetic: Arithmetic
    _softmax: Callable[[F32], F32]
    _quantise_heads: Callable[..., tuple[Any, F32]]
    _scores: Callable[..., F32]
    _scores_rows_i8: Callable[..., F32]
    _context: Callable[..., F32]
    _context_attn_i8: Callable[..., F32]

    def select(self, layer: int | None, op: Op, inputs: Sequence[Any]) -> tuple[Any, ...]:
        """The results of an operation of SELECTED. Numbers are its attributes."""
        kind = next((op.kind.removesuffix(form) for form in FORMS if op.kind.endswith(form)), op.kind)
        numbers = {name: int(value) for name, value in op.attributes.items()}
        codes = op.kind.endswith(".i8")
        if kind == "scores.parted":
            return (self._parted(inputs, codes, **numbers),)
        if kind == "cluster":
            return self._cluster(layer, op.outputs, codes, **numbers)
        if kind != "choose.channels" and not kind.startswith(("append", "sum")):
            budget = int(self.graph.values[op.outputs[0]].shape[-1]) if kind == "choose.rows" else 0
            return (self._chosen(kind, inputs, codes, budget, **numbers),)
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

    # -------------------------------------------------------------------------------------------- STARC

    def _cluster(self, layer: int | None, names: Sequence[str], codes: bool, *, kv_heads: int) -> tuple[Any, ...]:
        """Results are the caches up to this position, with the last 64 rows in the order of clusters where they are whole."""
        *caches, centroids, bounds = names
        form = self.graph.values[centroids].format
        known = self._caches.get((layer, centroids), np.zeros((0, self.graph.config.kv_dim), DTYPE[form]))
        ends = self._caches.get((layer, bounds), np.zeros((kv_heads, 1), np.uint32))
        if (self.position + 1) % BLOCK == 0:
            block = slice(self.position + 1 - BLOCK, self.position + 1)
            new = {name: self._caches[layer, name].copy() for name in caches}
            parts = {name: new[name][block].reshape(BLOCK, kv_heads, -1) for name in caches}        # views
            found, sizes = [], []
            for head in range(kv_heads):
                keys = parts[caches[0]][:, head]
                floats = exact.f32_from_f16(keys) if keys.dtype == np.uint16 else keys.astype(np.float32)
                labels, means = self._k_means(floats * parts[caches[1]][:, head] if codes else floats)
                for part in parts.values():
                    part[:, head] = part[np.argsort(labels, kind="stable"), head]
                found.append(exact.f16_bits(means) if form == "f16" else means)
                sizes.append(np.bincount(labels, minlength=CLUSTERS))
            known = np.concatenate([known, np.stack(found, axis=1).reshape(CLUSTERS, -1)])
            ends = np.concatenate([ends, (block.start + np.cumsum(sizes, axis=1)).astype(np.uint32)], axis=1)
            self._caches.update({(layer, name): cache for name, cache in new.items()})
            self._caches[layer, centroids], self._caches[layer, bounds] = known, ends
        return (*(self._caches[layer, name][:self.position + 1] for name in caches), known, ends)

    def _k_means(self, keys: F32) -> tuple[Any, F32]:
        """Labels (64,) and centroids (4, head_dim) of the keys of a head (64, head_dim), as KINDS says it."""
        a, size = self.arithmetic, keys.shape[1]
        gain = np.full(size, np.float32(size ** -0.5), np.float32)
        x = np.stack([a.rmsnorm(key, gain, np.float32(TINY)) for key in keys])
        means, labels = x[:CLUSTERS], np.full(BLOCK, -1)
        for _ in range(ROUNDS):
            near = np.stack([a.gemv(x, mean) + a.gemv(mean[None], mean) * np.float32(-0.5) for mean in means])
            best, now = near[0], np.zeros(BLOCK, int)
            for cluster in range(1, CLUSTERS):
                now[near[cluster] - best > 0] = cluster
                best = exact.maximum(near[cluster], best)
            if (now == labels).all():
                break
            labels, sizes = now, np.bincount(now, minlength=CLUSTERS)
            sums = [a.mac_t(x[labels == cluster], np.ones(sizes[cluster], np.float32)) if sizes[cluster] else np.zeros_like(x[0])
                    for cluster in range(CLUSTERS)]
            means = np.stack([total * (np.float32(1) / np.float32(max(1, count)))
                              for total, count in zip(sums, sizes, strict=True)])
        return labels, means

    def _chosen(self, kind: str, inputs: Sequence[Any], codes: bool, budget: int, **numbers: int) -> Any:
        """Scores of centroids, the rows that they choose, attention to these."""
        numbers.pop("window", None)
        match kind:
            case "scores.centroids":
                q, centroids = inputs
                none = np.zeros((numbers["heads"], 0), np.float32)
                return self._scores(q, centroids, **numbers, window=0) if len(centroids) else none
            case "choose.rows":
                scores, bounds = inputs
                late = np.arange(bounds[0, -1], self.position + 1)
                lists = [[late, *(np.arange(ends[each], ends[each + 1]) for each in ranked(row))]
                         for row, ends in zip(scores, np.repeat(bounds, len(scores) // len(bounds), axis=0), strict=True)]
                return np.stack([np.concatenate(each)[:budget] for each in lists]).astype(np.uint32)
            case "softmax.listed":
                return self._softmax(*inputs)
        first, cache, *scales, rows = inputs
        group, results = numbers["heads"] // numbers["kv_heads"], []
        parts = first if kind == "context.listed" else first.reshape(numbers["heads"], -1)
        for head, (part, row) in enumerate(zip(parts, rows, strict=True)):
            mine = [each[row].reshape(len(row), numbers["kv_heads"], -1)[:, head // group] for each in (cache, *scales)]
            one = {"heads": 1, "kv_heads": 1, "window": 0}
            if kind == "scores.listed":
                results.append((self._scores_rows_i8 if codes else self._scores)(part, *mine, **one)[0])
            else:
                results.append((self._context_attn_i8 if codes else self._context)(part[None], *mine, **one))
        return np.stack(results) if kind == "scores.listed" else np.concatenate(results)


def ranked(scores: F32) -> Any:
    """Numbers of scores, the largest first, of equal ones the lower; NaN is the smallest."""
    return np.argsort(-np.where(np.isnan(scores), np.float32(-np.inf), scores), kind="stable")
