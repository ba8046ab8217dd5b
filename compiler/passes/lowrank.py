"""Low-rank repair: two thin dense matrices beside a pruned one, which bring back the most of what pruning took.

    y = W x + B (A x)           W pruned (rows, cols), A (rank, cols): "layers.3.q.side_in", B (rows, rank): "layers.3.q.side_out"

B A is the matrix of this rank that makes the sum of the squares of (V - W - B A) D least. V is the matrix before pruning, D has
the norms of the inputs on its diagonal: weights of strong inputs count more. Without norms (magnitude) D is 1. So B A = U U^T (V
- W), with the strongest vectors U of (V - W) D. B is U * sqrt(s) and A the rest, with s the singular values: then both have
numbers of one size when they are quantised. The sign is free: here the largest |u| of a vector is positive (*assumed*).

Source: M. Mozaffari et al., "SLiM", arXiv:2410.09615, SLiM-LoRA, which weighs with mean magnitudes of the inputs where this takes
the norms that Wanda has anyway; and which takes what quantising lost too, where this repairs what pruning took alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from compiler.errors import ModelError, shown
from compiler.formats.weight_format import WEIGHT_FORMATS
from compiler.model.model import LINEARS, SIDES, Model, layer_roles
from compiler.model.tensors import F32, DerivedTensor, Tensor

SIDE_IN, SIDE_OUT = SIDES


class Repair:
    """The two thin matrices of one that was pruned. They are found when they are asked for, and kept.

    norms   (columns,), or None: of the inputs
    """

    def __init__(self, whole: Tensor, pruned: Tensor, norms: F32 | None, rank: int) -> None:
        self.whole, self.pruned, self.norms, self.rank = whole, pruned, norms, rank

    @cached_property
    def _found(self) -> tuple[F32, F32, float, float]:
        """A, B, the weighted squares of what pruning took, and of what is still missing."""
        lost = np.concatenate([self.whole.rows(*block) - self.pruned.rows(*block) for block in self.whole.blocks()])
        weight = np.ones(lost.shape[1]) if self.norms is None else self.norms.astype(np.float64)
        weighted = lost * weight                                            # fp64 (rows, cols)
        rows, cols = lost.shape
        if rows <= cols:
            squares, vectors = _strongest(weighted @ weighted.T, self.rank)
        else:                       # U from the smaller product: (V - W) D v / s
            squares, right = _strongest(weighted.T @ weighted, self.rank)
            vectors = weighted @ right / np.sqrt(np.where(squares > 0, squares, 1))
        signs = np.sign(np.take_along_axis(vectors, np.abs(vectors).argmax(0)[None], 0))
        vectors, root = vectors * np.where(signs == 0, 1, signs), squares ** 0.25
        into = vectors.T @ lost / np.where(root > 0, root, 1)[:, None]
        before = float(np.square(weighted).sum())
        return (into.astype(np.float32), (vectors * root).astype(np.float32), before, max(0.0, before - float(squares.sum())))

    @property
    def matrices(self) -> dict[str, F32]:
        """(rank, cols) and (rows, rank)."""
        return {SIDE_IN: self._found[0], SIDE_OUT: self._found[1]}

    @property
    def squares(self) -> tuple[float, float]:
        """What pruning took, and what is still missing: sums of squares, weighted with the inputs."""
        return self._found[2:]


def _strongest(product: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest eigenvalues of a symmetric matrix, falling, at least 0, and their vectors in columns."""
    values, vectors = np.linalg.eigh(product)
    return np.maximum(values[::-1][:rank], 0), vectors[:, ::-1][:, :rank]


@dataclass(frozen=True, kw_only=True)
class SideTensor(DerivedTensor):
    """One of the two thin matrices, of `source`, the matrix before pruning."""

    repair: Repair
    side: str

    def _rows(self, first: int, last: int) -> F32:
        return self.repair.matrices[self.side][first:last]


@dataclass(frozen=True, kw_only=True)
class RepairedTensor(DerivedTensor):
    """The pruned matrix, `source`, with the product of the thin ones added: what the three compute together."""

    repair: Repair

    def _rows(self, first: int, last: int) -> F32:
        found = self.repair.matrices
        rows: F32 = self.source.rows(first, last) + found[SIDE_OUT][first:last] @ found[SIDE_IN]
        return rows


def check_rank(model: Model, rank: int, method: str) -> None:
    """Raise ModelError for a rank that is no less than a side of a matrix."""
    for layer in range(model.config.layers):
        for role, shape in layer_roles(model.config.of_layer(layer)):
            if len(shape) == 2 and rank >= min(shape):
                raise ModelError(model.path, "--prune", got=f"{method}, and layers.{layer}.{role} is {shown(shape)}",
                                 expected=f"a rank below {min(shape)}: a repair has a small part of a matrix's weights")


def repairs(whole: Model, pruned: Model, layer: int, norms: Mapping[str, F32], rank: int) -> dict[str, Repair]:
    """The repair of each matrix of a layer, by its role in the model."""
    found = {}
    for role in LINEARS:
        name = f"layers.{layer}.{role}"
        if name in whole.tensors:
            found[name] = Repair(whole.tensors[name], pruned.tensors[name], norms.get(role), rank)
    return found


def repaired(model: Model, found: Mapping[str, Repair]) -> Model:
    """A pruned model that computes in one matrix what the pruned one and its repair do: the layers behind it see that."""
    return replace(model, tensors={**model.tensors, **{
        name: RepairedTensor(tensor.name, tensor.shape, WEIGHT_FORMATS["f32"], source=tensor, repair=repair)
        for name, repair in found.items() for tensor in [model.tensors[name]]}})


def with_sides(model: Model, found: Mapping[str, Repair], rank: int) -> Model:
    """The pruned model with both thin matrices beside each matrix."""
    tensors, form = dict(model.tensors), WEIGHT_FORMATS["f32"]
    for name, repair in found.items():
        whole = repair.whole
        rows, cols = whole.matrix
        for side, shape in ((SIDE_IN, (rank, cols)), (SIDE_OUT, (rows, rank))):
            tensors[f"{name}.{side}"] = SideTensor(f"{whole.name} ({side} of its repair)", shape, form, source=whole, repair=repair,
                                                   side=side)
    return replace(model, config=replace(model.config, side_rank=rank), tensors=tensors)


def said(found: Mapping[str, Repair]) -> str:
    """||(V - W - B A) D|| / ||(V - W) D|| by role, over all layers: "q 0.812, k 0.790 ..."."""
    sums = dict[str, list[float]]()
    for name, repair in found.items():
        role = name.rpartition(".")[2]
        sums[role] = [one + other for one, other in zip(sums.get(role, [0.0, 0.0]), repair.squares, strict=True)]
    return ", ".join(f"{role} {(rest / lost) ** 0.5 if lost else 0:.3f}" for role, (lost, rest) in sums.items())
