"""Projecting: the matrices of a dense model's layers become block-diagonal ones (model/monarch.py), the nearest that there are.

    model = project(model, parse_project("monarch:8"))

With rows r * block + k and columns b * block + c of a square, P L P R is

    W[r * block + k, b * block + c] = left[k, r, b] * right[b, k, c]

So for each k and b the slice over r and c has rank 1, and slices share nothing. The nearest such matrix (least sum of squares) has
of each slice the first pair of its singular value decomposition, u and v with singular value s. `left` gets u * sqrt(s), `right`
v * sqrt(s), rounded to fp32. The sign is free: here the largest |u| is positive (*assumed*).

Sources: T. Dao et al., "Monarch", arXiv:2204.00595, section 4; arXiv:2510.11192 (D2S).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from io import SEEK_END
from tempfile import TemporaryFile
from weakref import finalize

import numpy as np

from compiler.errors import ModelError
from compiler.formats.weight_format import WEIGHT_FORMATS
from compiler.model.model import LINEARS, STAGES, Model, roles
from compiler.model.monarch import LEFT, RIGHT, Squares, check_sides, stage_tensor
from compiler.model.tensors import F32, DerivedTensor, Tensor

Progress = Callable[[int, int], None] | None


def parse_project(text: str) -> int:
    """The block of `monarch:8`. Raises ModelError."""
    name, _, block = text.partition(":")
    if name != "monarch" or not (block.isdecimal() and block.isascii() and int(block) >= 2):
        raise ModelError("", "--project", got=repr(text), expected="monarch:B, with blocks of B x B: monarch:8")
    return int(block)


class _Kept:
    """Blocks of a model's matrices, fp32, in a file without a name: together they may be larger than memory."""

    def __init__(self) -> None:
        self._file = TemporaryFile()            # noqa: SIM115 (open as long as tensors read it)
        finalize(self, self._file.close)

    def end(self) -> int:
        """Where what is put next may begin."""
        return self._file.seek(0, SEEK_END)

    def put(self, start: int, values: F32) -> None:
        self._file.seek(start)
        self._file.write(values.tobytes())

    def get(self, start: int, count: int) -> F32:
        self._file.seek(start)
        return np.frombuffer(self._file.read(4 * count), np.float32)


class Projection:
    """The nearest block-diagonal matrix of a matrix. It is found when it is asked for, and kept."""

    def __init__(self, matrix: Tensor, squares: Squares, kept: _Kept) -> None:
        self.matrix, self.squares, self._kept = matrix, squares, kept

    @cached_property
    def _found(self) -> tuple[int, float, float]:
        """Where its blocks are kept; the squares of the matrix, and of what is left of it.

        One stage behind the other, each fp32 (down, across, block, block, block).
        """
        side, block, across = self.squares.side, self.squares.block, self.squares.across
        start, whole, rest = self._kept.end(), 0.0, 0.0
        for down in range(self.squares.down):
            rows = self.matrix.rows(down * side, (down + 1) * side).astype(np.float64)
            slices = rows.reshape(block, block, across, block, block).transpose(2, 1, 3, 0, 4)      # (j, k, b, r, c)
            u, s, v = np.linalg.svd(slices)
            first, root = u[..., 0], np.sqrt(s[..., :1])                                            # (j, k, b, r), (j, k, b, 1)
            largest = np.take_along_axis(first, np.abs(first).argmax(-1, keepdims=True), -1)
            root_with_sign = np.where(largest < 0, -root, root)
            for stage, blocks in ((LEFT, (first * root_with_sign).transpose(0, 1, 3, 2)),
                                  (RIGHT, (v[..., 0, :] * root_with_sign).transpose(0, 2, 1, 3))):
                at = start + STAGES.index(stage) * self._stage_bytes + down * self._stage_bytes // self.squares.down
                self._kept.put(at, blocks.astype(np.float32))
            whole += float(np.square(s).sum())
            rest += float(np.square(s[..., 1:]).sum())
        return start, whole, rest

    @property
    def _stage_bytes(self) -> int:
        return 4 * self.squares.between * self.squares.block

    def blocks(self, stage: str, first: int, last: int) -> F32:
        """Rows of all blocks of a stage, which files have as (down * across * n, block)."""
        cols, start = self.squares.block, self._found[0] + STAGES.index(stage) * self._stage_bytes
        return self._kept.get(start + 4 * first * cols, (last - first) * cols).reshape(-1, cols)

    @property
    def sums(self) -> tuple[float, float]:
        """The sum of the squares of the matrix, and of its difference to the block-diagonal one."""
        return self._found[1:]


@dataclass(frozen=True, kw_only=True)
class ProjectedBlocks(DerivedTensor):
    """All blocks of a stage of the nearest block-diagonal matrix."""

    projection: Projection
    stage: str

    def _rows(self, first: int, last: int) -> F32:
        return self.projection.blocks(self.stage, first, last)


def project(model: Model, block: int, progress: Progress = None, *, count: bool = True) -> Model:
    """The model with block-diagonal matrices in its layers; its `projected` says so, with the error of each role.

    `progress` is told how many layers are done, and all. `count`: whether to say errors, for which all matrices are decomposed.
    Raises ModelError for matrices that cannot be cut in squares, and for a model that is block-diagonal already.
    """
    c, form = model.config, WEIGHT_FORMATS["f32"]
    if c.monarch:
        raise ModelError(model.path, "--project", got="a model with block-diagonal matrices", expected="a dense model")
    check_sides(c, block, model.path, "--project", f"monarch:{block}")
    config, tensors, found = replace(c, monarch=block), dict[str, Tensor](), dict[str, Projection]()
    kept = _Kept()
    for role, _ in roles(config):
        name, _, stage = role.rpartition(".")
        if stage not in STAGES:
            tensors[role] = model.tensors[role]
            continue
        matrix = model.tensors[name]
        squares = Squares(matrix.shape[0] // block ** 2, matrix.shape[1] // block ** 2, block)
        projection = found.setdefault(name, Projection(matrix, squares, kept))
        blocks = ProjectedBlocks(f"{matrix.name} ({stage} of its projection)", (squares.between, block), form, source=matrix,
                                 projection=projection, stage=stage)
        tensors[role] = stage_tensor(blocks, squares, stage)
    said = [f"projected: block-diagonal, blocks of {block} x {block} in squares of {block ** 2} x {block ** 2}"]
    if count:
        said.append(f"relative error of the matrices: {_errors(found, c.layers, progress)}")
    return replace(model, config=config, tensors=tensors, projected=tuple(said))


def _errors(found: dict[str, Projection], layers: int, progress: Progress) -> str:
    """||W - M|| / ||W|| by role, over all layers: "q 0.812, k 0.790 ..."."""
    sums = dict[str, list[float]]()
    for layer in range(layers):
        for role in LINEARS:
            if projection := found.get(f"layers.{layer}.{role}"):
                sums[role] = [one + other for one, other in zip(sums.get(role, [0.0, 0.0]), projection.sums, strict=True)]
        if progress:
            progress(layer + 1, layers)
    return ", ".join(f"{role} {math.sqrt(rest / whole) if whole else 0:.3f}" for role, (whole, rest) in sums.items())
