"""Executes the float graph in NumPy: tokens in, logits out, one token at a time. Compiled programs are compared with it.

`step` at the end goes through the operations. Above it stands what each operation does, in the order in which a token meets them.
Weights are read from the model's files when they are needed. Up to `keep` bytes of them, decoded to fp32, are kept for the next
token; the rest is read again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from typing import Any

import numpy as np

from compiler.errors import ModelError
from compiler.graph.arithmetic import PLAIN, Arithmetic
from compiler.graph.bank_products import BankOperations
from compiler.graph.ops import Graph, Op, role_of
from compiler.graph.prompts import PromptOperations
from compiler.graph.reuse_products import ReuseOperations
from compiler.graph.select_kinds import SELECTED
from compiler.graph.selected import SelectOperations
from compiler.model.model import Model
from compiler.model.tensors import BLOCK, F32, Codes, Tensor
from isa import arithmetic as exact

Observer = Callable[[int | None, Op, tuple[Any, ...]], None]
"""Called after each operation with its layer (None outside), itself, and the arrays that it wrote."""

KEEP = 1 << 30          # bytes of decoded weights
LEAST_OF_16 = np.float32(2.0 ** -100)       # that the largest of activations of 16 bits counts as


class Executor(BankOperations, ReuseOperations, SelectOperations, PromptOperations):
    """A model at work on one text. `step(token)` gives the logits of the next one."""

    def __init__(self, graph: Graph, model: Model, arithmetic: Arithmetic = PLAIN, *, observe: Observer | None = None,
                 keep: int = KEEP) -> None:
        self.graph, self.model, self.arithmetic, self.observe = graph, model, arithmetic, observe
        self.position = self.row = 0
        self.left_out = [0] * len(graph.segments)
        self.values: dict[str, Any] = {}
        self._caches: dict[tuple[int | None, str], Any] = {}        # (positions so far, and room; n) by layer and name
        self._kept: dict[str, Any] = {}
        self._parts = {}
        self._room = keep

    # -------------------------------------------------------------------------------------------- weights

    def _vector(self, role: str) -> F32:
        if role not in self._kept:
            self._kept[role] = self.model.tensor(role).vector()
        vector: F32 = self._kept[role]
        return vector

    def _blocks(self, role: str, read: Callable[[Tensor, int, int], Any], size: int) -> Iterator[Any]:
        """The matrix of a role in blocks of rows, `size` bytes a value. It is kept if there is room for it."""
        if role in self._kept:
            yield from self._kept[role]
            return
        tensor = self.model.tensor(role)
        wanted = int(np.prod(tensor.shape)) * size
        if wanted <= self._room:
            self._room -= wanted
            self._kept[role] = [read(tensor, first, last) for first, last in tensor.blocks(wanted)]
            yield from self._kept[role]
        else:
            yield from (read(tensor, first, last) for first, last in tensor.blocks(BLOCK))

    def _floats(self, role: str) -> Iterator[F32]:
        return self._blocks(role, Tensor.rows, 4)

    def _codes(self, role: str) -> Iterator[Codes]:
        return self._blocks(role, Tensor.codes, 1)

    # -------------------------------------------------------------------------------------------- operations

    def _embedding(self, index: int, *, W: str, offset: float) -> F32:
        row = index + int(offset)
        return self.model.tensor(W).rows(row, row + 1).reshape(-1)

    def _rmsnorm(self, x: F32, *, W: str, eps: float) -> F32:
        gain = self._vector(W)
        parts = [self.arithmetic.rmsnorm(part, gain, np.float32(eps)) for part in x.reshape(-1, len(gain))]
        return np.concatenate(parts)

    def _layernorm(self, x: F32, *, W: str, eps: float) -> F32:
        return self.arithmetic.layernorm(x, self._vector(W), np.float32(eps))

    def _bias(self, x: F32, *, W: str) -> F32:
        return x + self._vector(W)

    def _quantise(self, x: F32, group: int = 0) -> tuple[Any, F32]:
        with np.errstate(all="ignore"):         # of a vector of zeros
            return exact.quantise(x, group)

    def _gemv(self, x: F32, *, W: str) -> F32:
        return np.concatenate([self.arithmetic.gemv(block, x) for block in self._floats(W)])

    def _gemv_decoded(self, x: F32, *, W: str) -> F32:
        return np.concatenate([self.arithmetic.gemv(block.floats(), x) for block in self._codes(W)])

    def _gemv_i8(self, x: Any, scale: F32, *, W: str) -> F32:
        if not self.model.tensor(W).format.has_codes:
            return self._gemv(x.astype(np.float32), W=W) * scale
        return np.concatenate([self.arithmetic.gemv_codes(block, x, scale) for block in self._codes(W)])

    def _active(self, x: F32) -> Any:
        return np.flatnonzero(x > 0).astype(np.uint32)

    def _active_above(self, x: F32, *, W: str, sparsity: float) -> Any:
        return np.flatnonzero(np.abs(x) > self._threshold(W, sparsity)).astype(np.uint32)

    def _active_over(self, x: F32, *, W: str, sparsity: float) -> Any:
        return np.flatnonzero(x > self._threshold(W, sparsity)).astype(np.uint32)

    def _threshold(self, W: str, sparsity: float) -> np.float32:
        """The threshold of the first level that is at least a sparsity, else of the last one."""
        levels, thresholds = self._vector(W).reshape(2, -1)
        reached = np.flatnonzero(levels >= np.float32(sparsity))
        threshold: np.float32 = thresholds[reached[0] if len(reached) else -1]
        return threshold

    _gemv_sparse, _gemv_i8_sparse = _gemv, _gemv_i8         # zeros add nothing
    _gemv_i8_cim = _gemv_i8

    def _gemv_i8_parts(self, x: Any, scale: F32, *, W: str) -> F32:
        lower, upper = x & 15, x >> 4
        return self._gemv_i8(lower + 16 * upper, scale, W=W)            # sums are exact: with both as with the whole

    def _quantise_i16(self, x: F32) -> tuple[Any, F32]:
        with np.errstate(all="ignore"):         # of NaN and infinity
            largest = np.maximum(exact.largest_magnitude(x), LEAST_OF_16)
            most, limit = np.full(1, largest, np.float32), np.float32(32767)
            return exact.i32_from_f32(x * (limit / most)), exact.canonical(most / limit)

    def _gemv_i16_parts(self, x: Any, scale: F32, *, W: str) -> F32:
        lower = sum((x >> shift & 15) << shift for shift in (0, 4, 8))
        return self._gemv_i8(lower + ((((x >> 12) + 8 & 15) - 8) << 12), scale, W=W)

    _gemv_heads, _gemv_i8_heads = _gemv, _gemv_i8

    def _gemv_active(self, x: F32, active: Any, *, W: str) -> F32:
        return self._of_rows(self._gemv(x, W=W), active)

    def _gemv_i8_active(self, x: Any, scale: F32, active: Any, *, W: str) -> F32:
        return self._of_rows(self._gemv_i8(x, scale, W=W), active)

    def _of_rows(self, y: F32, rows: Any) -> F32:
        result = np.zeros_like(y)
        result[rows] = y[rows]
        return result

    def _macT_active(self, h: F32, active: Any, *, W: str) -> F32:
        return np.concatenate([self.arithmetic.mac_t(block[:, active].T, h[active]) for block in self._floats(W)])

    def _macT_i8_active(self, h: Any, scale: F32, active: Any, *, W: str) -> F32:
        chosen = np.zeros_like(h)
        chosen[active] = h[active]
        return self._gemv_i8(chosen, scale, W=W)

    def _gemv_objects(self, x: F32, active: Any, *, W: str) -> F32:
        return self._pick(self._gemv(x, W=W), active)

    def _gemv_objects_gated(self, x: F32, active: Any, *, W: str, V: str) -> tuple[F32, F32]:
        return self._gemv_objects(x, active, W=W), self._gemv_objects(x, active, W=V)

    def _gemv_i8_objects(self, x: Any, scale: F32, active: Any, *, W: str) -> F32:
        return self._pick(self._gemv_i8(x, scale, W=W), active)

    def _gemv_i8_objects_gated(self, x: Any, scale: F32, active: Any, *, W: str, V: str) -> tuple[F32, F32]:
        return self._gemv_i8_objects(x, scale, active, W=W), self._gemv_i8_objects(x, scale, active, W=V)

    def _macT_objects(self, h: F32, active: Any, *, W: str) -> F32:
        return np.concatenate([self.arithmetic.mac_t(block[:, active].T, h) for block in self._floats(W)])

    def _macT_i8_objects(self, h: Any, scale: F32, active: Any, *, W: str) -> F32:
        rows, cols = self.model.tensor(W).shape
        if not len(active):
            return np.zeros(rows, np.float32)
        whole = np.zeros(cols, np.int8)
        whole[active] = h
        return self._gemv_i8(whole, scale, W=W)

    def _bias_listed(self, x: F32, active: Any, *, W: str) -> F32:
        return x + self._pick(self._vector(W), active)

    def _spread(self, x: F32, active: Any) -> F32:
        y = np.zeros(int(self.graph.values["active"].shape[0]), np.float32)
        y[active] = x
        return y

    def _pick(self, x: F32, active: Any) -> F32:
        picked: F32 = x[active]
        return picked

    def _rope(self, x: F32, *, head_dim: float, adjacent: float) -> F32:
        rope = self.graph.config.rope
        assert rope is not None
        heads = x.reshape(-1, int(head_dim))
        return exact.rope(heads, rope.table(self.position), adjacent=bool(adjacent)).reshape(-1)

    def _quantise_heads(self, x: F32, *, kv_heads: float) -> tuple[Any, F32]:
        return self._quantise(x, len(x) // int(kv_heads))

    def _scale(self, x: F32, *, factor: float) -> F32:
        return x * np.float32(factor)

    def _round(self, x: F32) -> Any:
        with np.errstate(over="ignore"):
            return exact.f16_bits(x)

    def _scores(self, q: F32, keys: Any, *, heads: float, kv_heads: float, window: float) -> F32:
        queries = q.reshape(int(heads), -1)                                 # (heads, head_dim)
        return np.stack([self.arithmetic.gemv(_as_f32(key), query)
                         for key, query in zip(_heads(keys, heads, kv_heads, window), queries, strict=True)])

    def _softmax(self, x: F32) -> F32:
        return np.stack([self.arithmetic.softmax(row) for row in x])

    def _scale_heads(self, x: F32, scales: F32, *, heads: float, kv_heads: float, window: float) -> F32:
        last = scales[:, max(0, scales.shape[1] - int(window)):] if window else scales
        return x * np.repeat(last, int(heads) // int(kv_heads), axis=0)

    def _context(self, p: F32, values: Any, *, heads: float, kv_heads: float, window: float) -> F32:
        return np.concatenate([self.arithmetic.mac_t(_as_f32(value), row)
                               for value, row in zip(_heads(values, heads, kv_heads, window), p, strict=True)])

    _scores_f16, _context_f16 = _scores, _context
    _scores_i8, _context_i8 = _scores, _context
    _scores_rows, _scores_rows_f16 = _scores, _scores
    _softmax_attn, _context_attn, _context_attn_f16 = _softmax, _context, _context

    def _scores_attn(self, q: F32, keys: Any, *, heads: float, kv_heads: float, window: float) -> F32:
        return self._scores(q, keys.T, heads=heads, kv_heads=kv_heads, window=window)

    _scores_attn_f16 = _scores_attn

    def _scores_rows_i8(self, q: F32, keys: Any, scales: F32, *, heads: float, kv_heads: float, window: float) -> F32:
        codes, query_scales = self._quantise(q, len(q) // int(heads))
        parts = zip(_heads(keys, heads, kv_heads, window), _heads(scales, heads, kv_heads, window),
                    codes.reshape(int(heads), -1).astype(np.int32), query_scales, strict=True)
        return np.stack([(key.astype(np.int32) @ query).astype(np.float32) * key_scales[:, 0] * scale
                         for key, key_scales, query, scale in parts])

    def _context_attn_i8(self, p: F32, values: Any, scales: F32, *, heads: float, kv_heads: float, window: float) -> F32:
        shares = self._scale_heads(p, scales.T, heads=heads, kv_heads=kv_heads, window=window)
        return self._context(shares, values, heads=heads, kv_heads=kv_heads, window=window)

    def _silu(self, x: F32) -> F32:
        return self.arithmetic.silu(x)

    def _gelu(self, x: F32) -> F32:
        return self.arithmetic.gelu(x)

    def _relu(self, x: F32) -> F32:
        return exact.relu(x)

    def _relu2(self, x: F32) -> F32:
        return exact.relu_squared(x)

    def _mul(self, a: F32, b: F32) -> F32:
        return a * b

    def _add(self, a: F32, b: F32) -> F32:
        return a + b

    def _stored(self, op: Op, inputs: Sequence[Any]) -> Sequence[Any]:
        """What an operation appends to its caches."""
        match op.kind:
            case "append.attn.f16":
                return (self._round(*inputs),)
            case "append.rows.i8":
                return self._quantise_heads(inputs[0], kv_heads=op.attributes["kv_heads"])
            case _:
                return inputs

    def _append(self, layer: int | None, name: str, x: Any) -> Any:
        """Append to a layer's cache. Returns it up to and with this row: (positions, n), or as declared (n, positions).

        It doubles when it is full.
        """
        cache = self._caches.get((layer, name))
        if cache is None or len(cache) == self.row:
            room = min(self.graph.config.context, max(64, 2 * self.row))
            grown = np.zeros((room, len(x)), x.dtype)
            if cache is not None:
                grown[:len(cache)] = cache
            self._caches[layer, name] = cache = grown
        cache[self.row] = x
        rows = cache[:self.row + 1]
        return rows if self.graph.values[name].shape[0] == "positions" else rows.T

    def restart(self) -> None:
        """Begin another text. Weights that are in memory stay there."""
        self.position, self.row, self._caches, self.left_out = 0, 0, {}, [0] * len(self.left_out)

    def another(self) -> Executor:
        """An executor for another text beside this one. They share the weights that are in memory."""
        other = copy(self)
        other.values = {}
        other.restart()
        return other

    # -------------------------------------------------------------------------------------------- a token

    def perform(self, layer: int | None, op: Op) -> None:
        """One operation, on `values`. An operation of a cache appends at `row`."""
        inputs = [self.values[name] for name in op.inputs]
        if op.kind == "mean.query":
            if not self.is_asked():
                return
            results: Any = self.mean_query(op, *inputs)
        elif op.kind in SELECTED:
            results = self.select(layer, op, inputs)
        elif op.kind.startswith("append"):
            results = tuple(self._append(layer, *pair) for pair in zip(op.outputs, self._stored(op, inputs), strict=True))
        else:
            numbers = {**op.attributes, **{name: role_of(role, layer) for name, role in zip("WV", op.weights, strict=False)}}
            results = getattr(self, "_" + op.kind.replace(".", "_"))(*inputs, **numbers)
        results = results if isinstance(results, tuple) else (results,)
        self.values.update(zip(op.outputs, results, strict=True))
        if self.observe:
            self.observe(layer, op, results)

    def check_token(self, token: int) -> None:
        """Raise ModelError for a token beyond the vocabulary, or one that the context has no room for."""
        c = self.graph.config
        if not 0 <= token < c.vocab:
            raise ModelError(self.model.path, "token", got=str(token), expected=f"0 to {c.vocab - 1}, the vocabulary")
        if self.position >= c.context:
            raise ModelError(self.model.path, "context", got=f"more than {c.context} tokens",
                             expected="at most the context of the model", hint="shorten the prompt, or ask for fewer tokens")

    def step(self, token: int) -> F32:
        """Logits (vocab,) after one more token. Raises ModelError beyond the vocabulary or the context."""
        self.check_token(token)
        self.values.update(token=token, position=self.position)
        for layer, op in self.graph.steps():
            self.row = self.position - (self.left_out[self.graph.segment_of(layer)] if layer is not None else 0)
            self.perform(layer, op)
        self.position += 1
        logits: F32 = self.values["logits"]
        return logits


def _heads(cache: Any, heads: float, kv_heads: float, window: float) -> Iterator[Any]:
    """For each head of queries its part of a cache, the last `window` positions (0: all): (positions, head_dim)."""
    last = cache[max(0, len(cache) - int(window)):] if window else cache
    parts = last.reshape(len(last), int(kv_heads), -1)
    return (parts[:, head * int(kv_heads) // int(heads)] for head in range(int(heads)))


def _as_f32(cached: Any) -> F32:
    """Elements of a cache as fp32: of int8 its codes."""
    floats: F32 = exact.f32_from_f16(cached) if cached.dtype == np.uint16 else cached.astype(np.float32, copy=False)
    return floats
