"""Whole prompts in NumPy, of a graph with cuts: operations of the executor (execute.py).

    for part in executor.parts(tokens):
        ...                                 # its operations are done
    logits = executor.read(tokens)

All tokens go through the layers in front of the first cut, one after the other. Their hidden states wait. The cut leaves some out;
what is left goes through the next layers. There a token has two numbers: `position`, its place in the text, and `row`, its place in
the caches of these layers. A token that comes behind the prompt looks at all rows, and gets the next one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from compiler.graph.ops import Op
from compiler.model.tensors import F32
from isa import arithmetic as exact

if TYPE_CHECKING:
    from compiler.graph.arithmetic import Arithmetic
    from compiler.graph.ops import Graph


@dataclass(frozen=True)
class Part:
    """What is done of a prompt at a time: operations for a chunk of tokens, or a cut for all of them.

    section  "start", "layers", "finish", or the name of a cut
    first    the row of the first token; places: the positions of the tokens
    """

    section: str
    first: int
    places: Sequence[int]
    layers: range = range(0)


class PromptOperations:
    """What the executor does with prompts. Shapes are those of KINDS (ops.py)."""

    graph: Graph
    arithmetic: Arithmetic
    values: dict[str, Any]
    position: int
    row: int
    left_out: list[int]                     # of each segment: tokens of the prompt
    _asks_from: int | None = None           # the first row whose query counts

    def read(self, tokens: Sequence[int]) -> F32:
        """Logits (vocab,) behind a prompt, which is the start of a text. Raises ModelError as `step` does."""
        if not self.graph.cuts:
            for token in tokens:
                logits = self.step(token)
            return logits
        for _ in self.parts(tokens):
            pass
        logits = self.values["logits"]          # of its last token
        return np.asarray(logits)

    def parts(self, tokens: Sequence[int], chunk: int = 64) -> Iterator[Part]:
        """Do a prompt, `chunk` tokens at a time. The last part is the end of the model, for the last token."""
        waiting: list[F32] = []
        for first, places in _chunks(range(len(tokens)), chunk):
            for place in places:
                self.position = self.row = place
                self.check_token(tokens[place])
                self.values.update(token=tokens[place], position=place)
                self._perform(None, self.graph.start)
                waiting.append(self.values["x"])
            yield Part("start", first, places)
        left: Any = np.arange(len(tokens), dtype=np.uint32)
        states = np.stack(waiting)
        operations = {layer: body.ops for body in self.graph.bodies for layer in body.layers}
        for number, (layers, cut) in enumerate(zip(self.graph.segments, [*self.graph.cuts, None], strict=True)):
            self.left_out[number] = len(tokens) - len(left)
            cuts = cut is not None and len(left) > cut.budget
            self._asks_from = len(left) - _asked(operations[layers[-1]]) if cuts else None
            for first, places in _chunks(left.tolist(), chunk):
                for self.row, self.position in enumerate(places, first):
                    self.values.update(x=states[self.row], position=self.position)
                    for layer in layers:
                        self._perform(layer, operations[layer])
                    states[self.row] = self.values["x"]
                yield Part("layers", first, places, layers)
            if cut is not None and cuts:
                self.values.update(waiting=states, places=left)
                self._perform(None, cut.ops)
                states, left = self.values["waiting"], self.values["places"]
                yield Part(cut.name, 0, left.tolist())
        self._asks_from = None
        self._perform(None, self.graph.finish)
        self.position = len(tokens)
        yield Part("finish", self.row, left[-1:].tolist())

    def _perform(self, layer: int | None, ops: Sequence[Op]) -> None:
        for op in ops:
            self.perform(layer, op)

    def is_asked(self) -> bool:
        """Whether the query of the current token counts at the next cut."""
        return self._asks_from is not None and self.row >= self._asks_from

    def mean_query(self, op: Op, q: F32) -> F32:
        """The sum of queries so far, this one included, each times f32(1 / how many)."""
        before = np.zeros_like(q) if self.row == self._asks_from else self.values[op.outputs[0]]
        mean: F32 = before + np.float32(1 / op.attributes["last"]) * q
        return mean

    # -------------------------------------------------------------------------------------------- operations of cuts

    def _score_blocks(self, mean: F32, keys: Any, scales: F32 | None = None, *, heads: float, kv_heads: float, block: float,
                      unit: float) -> F32:
        rows = exact.f32_from_f16(keys) if keys.dtype == np.uint16 else keys.astype(np.float32, copy=False)
        parts = rows.reshape(len(rows), int(kv_heads), -1)                      # (tokens, kv_heads, head_dim)
        weights = np.full((int(kv_heads), len(rows)), np.float32(1 / unit), np.float32)
        if scales is not None:
            weights = scales * np.float32(1 / unit)
        queries = mean.reshape(int(heads), -1)
        scores = []
        for start in range(int(block), (len(rows) - 1) // int(block) * int(block), int(block)):
            units = [slice(first, first + int(unit)) for first in range(start, start + int(block), int(unit))]
            means = np.stack([[self.arithmetic.mac_t(parts[rows_of, head], weights[head, rows_of])
                               for head in range(int(kv_heads))] for rows_of in units])             # (units, kv_heads, head_dim)
            products = np.stack([self.arithmetic.gemv(means[:, head * int(kv_heads) // int(heads)], query)
                                 for head, query in enumerate(queries)])
            scores.append(exact.largest(products.reshape(-1)))
        return np.array(scores, np.float32)

    def _score_blocks_f16(self, mean: F32, keys: Any, **numbers: float) -> F32:
        return self._score_blocks(mean, keys, None, **numbers)

    def _score_blocks_i8(self, mean: F32, keys: Any, scales: F32, **numbers: float) -> F32:
        return self._score_blocks(mean, keys, scales, **numbers)

    def _score_blocks_rows_i8(self, mean: F32, keys: Any, scales: F32, **numbers: float) -> F32:
        return self._score_blocks(mean, keys, scales.T, **numbers)

    def _score_order(self, *, seed: float) -> F32:
        return order_of_blocks(int(self.graph.values["scores_of_blocks"].shape[0]), int(seed))

    def _keep_blocks(self, scores: F32, *, block: float, budget: float) -> Any:
        last = (len(self.values["places"]) - 1) // int(block)                   # the number of the last block
        between = np.where(np.isnan(scores[:last - 1]), -np.inf, scores[:last - 1])
        room = (int(budget) - int(block) - (len(self.values["places"]) - last * int(block))) // int(block)
        return np.sort(np.argsort(-between, kind="stable")[:room]).astype(np.uint32)

    def _gather_blocks(self, kept: Any, *, block: float) -> tuple[F32, Any]:
        states, places = self.values["waiting"], self.values["places"]
        last = (len(places) - 1) // int(block)
        rows = np.concatenate([np.arange(number * int(block), min((number + 1) * int(block), len(places)))
                               for number in (0, *(kept.astype(int) + 1), last)])
        return states[rows], places[rows]

    if TYPE_CHECKING:
        def step(self, token: int) -> F32: ...
        def check_token(self, token: int) -> None: ...
        def perform(self, layer: int | None, op: Op) -> None: ...


def order_of_blocks(blocks: int, seed: int) -> F32:
    """Scores of so many blocks that look at no token: of seed 0 the later block has the higher one, else an order is drawn."""
    order = np.random.default_rng(seed).permutation(blocks) if seed else np.arange(blocks)
    return order.astype(np.float32)


def _chunks(places: Sequence[int], size: int) -> Iterator[tuple[int, Sequence[int]]]:
    """(number of the first one, places) of each chunk."""
    return ((first, places[first:first + size]) for first in range(0, len(places), size))


def _asked(ops: Sequence[Op]) -> int:
    """How many tokens a layer before a cut takes the mean query of: 0 where no score asks for it."""
    return next((int(op.attributes["last"]) for op in ops if op.kind == "mean.query"), 0)
