"""Block-diagonal (Monarch) matrices: instead of one product two, one after the other, each with a matrix of blocks on diagonals.

A matrix (rows, cols) is cut in squares of n x n, n = block * block. Square (i, j) is P L P R: R has the blocks right[i, j, 0 ..] on
its diagonal, L the blocks left[i, j, 0 ..], each (block, block), and (P v)[a * block + b] = v[b * block + a]. P stands behind a
product, so it only permutes the rows of a matrix. So the whole is two products, each with a matrix that is nearly all zeros:

    right   (down * across * n, cols)   row (i * across + j) * n + r * block + k, columns j * n + k * block + c
                                        hold right[i, j, k, r, c]
    left    (rows, down * across * n)   row i * n + r * block + k, columns (i * across + j) * n + k * block + c
                                        hold left[i, j, k, r, c]

Everything else follows from there being two matrices: formats, scales, sparse layouts, code. `stage_of` tells a lowering where the
blocks of a matrix are.

Source: T. Dao et al., "Monarch", arXiv:2204.00595; the order P L P R and its two stages: arXiv:2510.11192.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd, isqrt
from pathlib import Path
from typing import Any

import numpy as np

from compiler.errors import ModelError, one_of, shown
from compiler.model.model import STAGES, Config, layer_roles
from compiler.model.tensors import F32, Codes, DerivedTensor, Tensor
from isa.sparse import Bitmask, Diagonals

RIGHT, LEFT = STAGES


@dataclass(frozen=True)
class Squares:
    """How a matrix is cut: `down` x `across` squares with sides of block * block."""

    down: int
    across: int
    block: int

    @property
    def side(self) -> int:
        return self.block ** 2

    @property
    def between(self) -> int:
        """Elements of the vector between the two products."""
        return self.down * self.across * self.side

    @property
    def blocks_shape(self) -> tuple[int, ...]:
        """Of all blocks of a stage, as files have them."""
        return (self.down, self.across, self.block, self.block, self.block)


def check_sides(c: Config, block: int, file: Path | str, place: str, said: str) -> None:
    """Raise ModelError unless all matrices of layers can be cut in squares. `c` is the dense model's configuration, and `place` is
    where the block is `said`."""
    matrices = [(f"layers.{layer}.{role}", shape) for layer in range(c.layers) for role, shape in layer_roles(c.of_layer(layer))
                if len(shape) == 2]
    side = gcd(*(size for _, shape in matrices for size in shape))
    for role, shape in matrices:
        if any(size % block ** 2 for size in shape):
            fits = [other for other in range(2, isqrt(side) + 1) if side % other ** 2 == 0]
            raise ModelError(file, place, got=f"{said}, and {role} is {shown(shape)}",
                             expected=f"matrices with sides that are multiples of {block ** 2}, {block} * {block}",
                             hint=f"{one_of(map(str, fits))} would do for all matrices" if fits else
                             "no block would do: the sides have no square as common divisor")


def squares_of(stage: str, shape: tuple[int, ...], block: int) -> Squares:
    """The squares of a matrix, from the shape of one of its stages."""
    rows, cols = (size // block ** 2 for size in shape)
    return Squares(rows // cols, cols, block) if stage == RIGHT else Squares(rows, cols // rows, block)


def stage_tensor(blocks: Tensor, squares: Squares, stage: str) -> StageTensor:
    """The matrix of a stage, of all its blocks in the order of files: (down * across * n, block)."""
    between, side = squares.between, squares.side
    shape = (between, squares.across * side) if stage == RIGHT else (squares.down * side, between)
    stored = squares.block if stage == RIGHT else squares.across * squares.block
    rows = BlockRows(blocks.name, (shape[0], stored), blocks.format, source=blocks, squares=squares, stage=stage)
    return StageTensor(blocks.name, shape, blocks.format, source=rows, squares=squares, stage=stage)


@dataclass(frozen=True, kw_only=True)
class BlockRows(DerivedTensor):
    """The rows of a stage without their zeros: (rows, block) of `right`, (rows, across * block) of `left`.

    source      all blocks in the order of files, (down * across * n, block): row by row, block by block, square by square
    """

    squares: Squares
    stage: str

    def _rows(self, first: int, last: int) -> F32:
        side, block, each = self.squares.side, self.squares.block, self.matrix[1] // self.squares.block
        start, end = first // side, -(-last // side)
        blocks = self.source.rows(start * each * side, end * each * side).reshape(end - start, each, block, block, block)
        rows: F32 = blocks.transpose(0, 3, 2, 1, 4).reshape(-1, each * block)           # (i, j, k, r, c) to (i, r, k; j, c)
        return rows[first - start * side:last - start * side]


@dataclass(frozen=True, kw_only=True)
class StageTensor(DerivedTensor):
    """The matrix of a stage. `source` has its rows without their zeros, as BlockRows has them, in any format with a zero."""

    squares: Squares
    stage: str

    @property
    def levels(self) -> tuple[int, ...]:
        return self.source.levels

    @property
    def layout(self) -> Bitmask:
        """The sparse layout in which nothing is stored but blocks."""
        return Bitmask(self.squares.block)

    @property
    def diagonals(self) -> Diagonals:
        """The layout of macros: its blocks alone, one after the other."""
        return Diagonals(self.squares.block, self.squares.across, self.stage == LEFT)

    @property
    def density(self) -> float:
        """The share of its elements that lie in blocks."""
        return self.source.matrix[1] / self.matrix[1]

    def stored_blocks(self, first: int, last: int) -> Any:
        """Which blocks of columns lie in blocks of the diagonals, for some rows: whole numbers (last - first, blocks of a row)."""
        across, block, rows = self.squares.across, self.squares.block, np.arange(first, last)
        square = rows // self.squares.side              # of `right` i * across + j, of `left` i
        starts = square % across if self.stage == RIGHT else square * across
        return (starts[:, None] + np.arange(self.source.matrix[1] // block)) * block + rows[:, None] % block

    def converted(self, source: Tensor) -> StageTensor:
        """The stage with other values in its blocks: another format, or scales."""
        return replace(self, source=source, format=source.format, group=self.matrix[1] if source.group else 0)

    def _spread(self, values: Any, first: int, last: int) -> Any:
        """Rows with their zeros, of rows without them."""
        rows, block = last - first, self.squares.block
        result = np.zeros((rows, self.matrix[1] // block, block), values.dtype)
        places = self.stored_blocks(first, last)
        result[np.arange(rows)[:, None], places] = values.reshape(*places.shape, block)
        return result.reshape(rows, self.matrix[1])

    def _rows(self, first: int, last: int) -> F32:
        rows: F32 = self._spread(self.source.rows(first, last), first, last)
        return rows

    def _codes(self, first: int, last: int) -> Codes:
        codes = self.source.codes(first, last)
        return replace(codes, values=self._spread(codes.values, first, last), group=self.matrix[1])


def stage_of(tensor: Tensor) -> StageTensor | None:
    """The stage that a matrix is, whatever format and layout it has: its `squares` and which of the two; None: it is no stage."""
    while isinstance(tensor, DerivedTensor) and not isinstance(tensor, StageTensor):
        tensor = tensor.source
    return tensor if isinstance(tensor, StageTensor) else None
