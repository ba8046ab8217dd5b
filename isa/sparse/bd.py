"""bd: blocks on diagonals, one stage of a block-diagonal (Monarch) matrix. Nothing says where they stand: the layout does.

    values    factor after factor, block after block: the rows of a block one after the other, a run each
    meta      none

The matrix is one of `factors` of n x n, n = block * block, `across` of them side by side. Factor t is block-diagonal, with `block`
blocks; behind it stands the permutation that makes row k * block + r the row r * block + k. Block k has in row r and column c

    spread    row t * n + r * block + k                 column (t mod across) * n + k * block + c
    join      row (t / across) * n + r * block + k      column t * n + k * block + c

The cim unit loads these bytes (`cim.load.bd`), and multiplies with `cim.spread` and `cim.join`.

Source: T. Dao et al., "Monarch", arXiv:2204.00595; the two stages and the permutation: arXiv:2510.11192.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isa.numbers import NumberFormat
from isa.sparse.layout import Array, Bytes, Malformed, Mask, Slots, SparseLayout, run_bytes


@dataclass(frozen=True)
class Diagonals(SparseLayout):
    """Factors with blocks of `block` x `block`, `across` side by side; `join`: the second stage, which adds them up."""

    block: int
    across: int
    join: bool

    @property
    def kind(self) -> str:
        return "bd"

    @property
    def name(self) -> str:
        return f"bd:{self.block}"

    @property
    def side(self) -> int:
        """Inputs and outputs of a factor."""
        return self.block ** 2

    def factors(self, rows: int, cols: int) -> int:
        """How many a matrix has. Raises Malformed for one that they do not make up."""
        count = (cols if self.join else rows) // self.side
        if not count or (rows, cols) != (self.shape(count)):
            raise Malformed(rows, f"a matrix of {rows} rows and {cols} columns; expected factors of {self.side} x {self.side}, "
                                  f"{self.across} side by side")
        return count

    def shape(self, factors: int) -> tuple[int, int]:
        """(rows, columns) of so many factors."""
        outputs, inputs = -(-factors // self.across) * self.side, factors * self.side
        return (outputs, inputs) if self.join else (inputs, self.across * self.side)

    def meta_bytes(self, rows: int, cols: int, stored: int = 0) -> int:
        return 0

    def value_bytes(self, meta: Bytes, rows: int, cols: int, fmt: NumberFormat, offsets: Array | None = None) -> int:
        return self.factors(rows, cols) * self.side * run_bytes(np.array([self.block]), fmt)

    def slots(self, meta: Bytes, rows: int, cols: int, offsets: Array | None = None) -> Slots:
        factors, side, size = self.factors(rows, cols), self.side, self.block
        t, k, r, c = np.ogrid[:factors, :size, :size, :size]
        down, right = (t // self.across, t) if self.join else (t, t % self.across)
        every = (factors, size, size, size)
        return Slots(np.full(factors * side, size, np.int64),
                     np.broadcast_to(down * side + r * size + k, every).reshape(-1).astype(np.int64),
                     np.broadcast_to(right * side + k * size + c, every).reshape(-1).astype(np.int64))

    def _kept(self, present: Mask) -> tuple[Slots, Bytes, Array | None]:
        rows, cols = present.shape
        meta = np.zeros(0, np.uint8)
        try:
            slots = self.slots(meta, rows, cols)
        except Malformed as error:
            raise ValueError(f"{self.name}: {error}") from None
        outside = present.copy()
        outside[slots.rows, slots.columns] = False
        if outside.any():
            row, col = np.argwhere(outside)[0]
            raise ValueError(f"{self.name}: the value in row {row}, column {col} is not zero; it lies in no block")
        return slots, meta, None
