"""Thresholds for skipping neurons, found on a text: in each layer the wanted share of neurons lies below the threshold.

    with_thresholds(model, graph, tokens, 0.5) -> a model whose layers have a vector "thresholds": levels, then a threshold for each

Source: SLIM, arXiv 2507.09201, section 3 (a table of thresholds by layer and sparsity); TEAL, arXiv 2408.14690, section 4 (the
threshold of a sparsity is that quantile of the magnitudes).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from compiler.errors import ModelError
from compiler.formats.weight_format import WEIGHT_FORMATS
from compiler.graph import PLAIN, Executor, Graph, Op
from compiler.model.model import Model
from compiler.model.tensors import F32, Tensor
from isa.text import counted

LEVELS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)       # sparsities that a running program can choose from
MOST_TOKENS = 2048                                                      # of the text: more would hardly change the quantiles


@dataclass(frozen=True)
class FoundTensor(Tensor):
    """fp32 values that calibration has found, held in memory."""

    values: F32 = field(default_factory=lambda: np.zeros(0, np.float32), repr=False)
    origin: Path = Path()

    @classmethod
    def of(cls, name: str, values: F32, origin: Path) -> FoundTensor:
        """A matrix or vector, for a model at `origin`."""
        return cls(name, values.shape, WEIGHT_FORMATS["f32"], values=values, origin=origin)

    @property
    def file(self) -> Path:
        return self.origin

    def _rows(self, first: int, last: int) -> F32:
        return self.values.reshape(self.matrix)[first:last]


def with_thresholds(model: Model, graph: Graph, tokens: Sequence[int], progress: Callable[[int, int], None] | None = None) -> Model:
    """The model with thresholds from the magnitudes of its neurons on `tokens`. Raises ModelError if the text is too short."""
    c, tokens = graph.config, tokens[:MOST_TOKENS]
    if len(tokens) < 16:
        raise ModelError(model.path, "--calibrate", got=f"a text of {counted(len(tokens), 'token')}", expected="at least 16")
    seen: list[list[Any]] = [[] for _ in range(c.layers)]

    def look(layer: int | None, op: Op, results: tuple[Any, ...]) -> None:
        if op.kind == c.activation and layer is not None:
            seen[layer].append(np.abs(results[0]))

    executor = Executor(graph, model, PLAIN, observe=look)
    for done, token in enumerate(tokens, 1):
        if executor.position == c.context:
            executor = Executor(graph, model, PLAIN, observe=look)
        executor.step(token)
        if progress:
            progress(done, len(tokens))
    return with_quantiles(model, [np.concatenate(found) for found in seen])


def with_quantiles(model: Model, magnitudes: Sequence[F32]) -> Model:
    """The model with thresholds from magnitudes of neurons, given for each layer."""
    tables = {f"layers.{layer}.thresholds": np.concatenate([LEVELS, np.quantile(found, LEVELS)]).astype(np.float32)
              for layer, found in enumerate(magnitudes)}
    return replace(model, tensors={**model.tensors, **{
        role: FoundTensor.of(role, table, model.path) for role, table in tables.items()}})
