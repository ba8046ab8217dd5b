"""The pass that reuses outputs: binary and ternary matrices of layers as centres and differences (formats/reuse.py).

    reuse_outputs(model, graph, columns) -> (model, graph)

A product becomes three operations. `centre.sums` multiplies the pieces of a vector by the centres, once for all rows.
`gemv.i8.reuse` adds up for each row the sums of its pieces' centres and its differences, in the order in which rows are stored.
`place` puts the results in the order of the matrix. Integer sums are exact, so the results are those of the plain product.

Source: Slim-Llama, ISSCC 2025 paper 23.9.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from compiler.errors import ModelError, one_of
from compiler.formats.reuse import CENTRES, REUSED, Clusters, Order, Reuse, cluster, in_order
from compiler.graph import Graph, Op, Value, check, role_of
from compiler.model.model import Model
from compiler.model.tensors import F32, Codes, DerivedTensor, Tensor
from isa.preset import Preset

Progress = Callable[[int, int], None] | None


@dataclass(frozen=True, kw_only=True)
class ReusedTensor(DerivedTensor):
    """A matrix that is stored as centres and differences, in pieces of so many columns. Its values are those of its source."""

    columns: int

    @property
    def levels(self) -> tuple[int, ...]:
        return self.source.levels

    @property
    def stored(self) -> str:
        return f"{super().stored} reuse:{self.columns}"

    @property
    def reuse(self) -> Reuse:
        return REUSED[self.format.name]

    @property
    def pieces(self) -> int:
        """Of each row."""
        return -(-self.matrix[1] // self.columns)

    def _rows(self, first: int, last: int) -> F32:
        return self.source.rows(first, last)

    def _codes(self, first: int, last: int) -> Codes:
        return self.source.codes(first, last)

    @cached_property
    def clusters(self) -> Clusters:
        """The whole matrix is read for them."""
        return self._found[0]

    @cached_property
    def order(self) -> Order:
        return self._found[1]

    @cached_property
    def zeros(self) -> int:
        """Differences that are zero."""
        return self._found[2]

    @cached_property
    def _found(self) -> tuple[Clusters, Order, int]:
        codes = self.codes().values
        clusters = cluster(codes, self.columns)
        differences = clusters.differences(codes)
        order = in_order(differences >> self.reuse.shift, self.reuse.differences)
        return clusters, order, differences.size - int(np.count_nonzero(differences))

    def in_order(self) -> tuple[Any, Any, F32]:
        """Differences, as stored, and centres of pieces in the order of rows; scales (rows, 1) or (1, 1)."""
        codes, rows = self.codes(), self.order.rows
        differences = self.clusters.differences(codes.values)[rows] >> self.reuse.shift
        scales = codes.scales[rows] if self.group else codes.scales
        return differences, self.clusters.assigned[rows], scales


def can_reuse(tensor: Tensor) -> bool:
    """Whether a matrix has a format of which outputs are reused."""
    return len(tensor.shape) == 2 and tensor.format.name in REUSED


def check_columns(columns: int) -> None:
    """Raise ModelError for pieces that there cannot be."""
    if columns % 8 or not 8 <= columns <= 1024:
        raise ModelError("", "--reuse-columns", got=str(columns), expected="a multiple of 8 from 8 to 1,024")


def reuse_outputs(model: Model, graph: Graph, columns: int, machine: Preset, progress: Progress = None) -> tuple[Model, Graph]:
    """The model with each matrix of its layers that can be as centres and differences, and the graph that computes with them.

    `progress` is told how many weights are done, and all. Raises ModelError where there is no such matrix, for scales of groups of
    columns, and for a machine that cannot compute so.
    """
    check_columns(columns)
    chosen = {role: tensor for role, tensor in model.tensors.items() if role.startswith("layers.") and can_reuse(tensor)}
    if not chosen:
        formats = dict.fromkeys(tensor.format.name for role, tensor in model.tensors.items()
                                if role.startswith("layers.") and len(tensor.shape) == 2)
        raise ModelError(model.path, "--reuse", got=f"weights in {', '.join(formats)}", expected=f"matrices in {one_of(REUSED)}",
                         hint="centres and differences have few bits where weights have: --weights b1 or t2")
    if not machine.has_unit("lut"):
        raise ModelError("", f"machine {machine.name}", got="no lut unit, and --reuse", expected="one: it adds the sums of centres")
    if model.config.monarch:
        raise ModelError(model.path, "--reuse", got="block-diagonal matrices", expected="dense ones",
                         hint="most of a stage is zero already: zeros are not stored")
    done, weights = 0, sum(tensor.shape[0] * tensor.shape[1] for tensor in chosen.values())
    tensors = dict(model.tensors)
    for role, tensor in chosen.items():
        _check(tensor, role, columns, machine)
        made = ReusedTensor(tensor.name, tensor.shape, tensor.format, tensor.group, source=tensor, columns=columns)
        if progress:
            progress(done, weights)
            assert made.order
        tensors[role], done = made, done + tensor.shape[0] * tensor.shape[1]
    if progress:
        progress(weights, weights)
    model = replace(model, tensors=tensors)

    def converted(ops: list[Op], layer: int | None = None) -> list[Op]:
        return [made for op in ops for made in _products(graph, op, model, layer)]

    return model, check(graph.in_layers(converted))


def _check(tensor: Tensor, role: str, columns: int, machine: Preset) -> None:
    if tensor.group not in (0, tensor.shape[1]):
        raise ModelError(tensor.file, f"tensor {tensor.name}", got=f"--reuse and {tensor.stored}",
                         expected="one scale for the matrix or for a row: sums of centres go through all columns",
                         hint=f"--weights {tensor.format}:row")
    held = machine.parameter("lut.activations")
    if (cols := -(-tensor.shape[1] // columns) * columns) > held:
        raise ModelError("", f"machine {machine.name}", got=f"--reuse, and {role} with {cols:,} columns in whole pieces",
                         expected=f"at most the {held:,} activations that its tables hold (lut.activations)")


def _products(graph: Graph, op: Op, model: Model, layer: int | None) -> list[Op]:
    """The operations for one of the graph."""
    if op.kind != "gemv.i8" or not isinstance(tensor := model.tensor(role_of(op.weights[0], layer)), ReusedTensor):
        return [op]
    (codes, scale), (result,) = op.inputs, op.outputs
    sums, stored = f"{result}_sums", f"{result}_stored"
    graph.values |= {sums: Value("i32", (tensor.pieces, CENTRES)), stored: graph.values[result]}
    columns = {"columns": tensor.columns}
    return [Op("centre.sums", (sums,), (codes,), op.weights, columns),
            Op("gemv.i8.reuse", (stored,), (codes, scale, sums), op.weights, columns),
            Op("place", (result,), (stored,), op.weights)]
