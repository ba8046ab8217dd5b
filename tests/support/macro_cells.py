"""What stands in the macros of a cim unit, from the text of its manual: tiles of a matrix, blocks in slots."""

from __future__ import annotations

from typing import Any

import numpy as np

from isa import sparse
from isa.preset import Preset


class Macros:
    """The cells of a machine's macros, and what they hold."""

    def __init__(self, preset: Preset) -> None:
        self.macros, self.columns, self.rows = (preset.parameter(f"cim.{name}") for name in ("macros", "columns", "rows"))
        self.cells = np.zeros((self.macros, self.columns, self.rows), np.int8)
        self.places = np.zeros_like(self.cells, np.uint8)
        self.held = np.zeros((self.macros, 6), np.uint32)

    @property
    def state(self) -> dict[str, np.ndarray]:
        """Arrays of the unit's state."""
        return {"cim.cells": self.cells.reshape(-1), "cim.places": self.places.reshape(-1), "cim.held": self.held.reshape(-1)}

    def tiles(self, n: int, m: int, rows: int, cols: int) -> tuple[int, int]:
        """(down, across): the tiles of a matrix."""
        groups, per_column = -(-cols // m), self.rows // n
        return -(-rows // self.columns), -(-groups // per_column)

    def load_matrix(self, dense: np.ndarray, n: int, m: int, first: int) -> None:
        """Put a matrix (rows, cols) that N of M can hold into tiles, value by value."""
        rows, cols = dense.shape
        down, across = self.tiles(n, m, rows, cols)
        part = np.s_[first:first + down * across]
        self.cells[part], self.places[part] = 0, 0
        padded = np.pad(dense, ((0, 0), (0, -cols % m)))
        for r in range(rows):
            for group in range(-(-cols // m)):
                values = padded[r, group * m:(group + 1) * m]
                free = [c for c in range(m) if not values[c]][:n - int(np.count_nonzero(values))]
                for s, c in enumerate(sorted({*np.flatnonzero(values).tolist(), *free})):
                    macro = first + r // self.columns * across + group // (self.rows // n)
                    cell = macro, r % self.columns, group % (self.rows // n) * n + s
                    self.cells[cell], self.places[cell] = values[c], c if n < m else 0
        for tile in range(down * across):
            nonzero = int(np.count_nonzero(self.cells[first + tile]))
            self.held[first + tile] = 1, n | m << 8, rows, cols, tile, nonzero

    def slots(self, block: int, kind: int) -> int:
        """Slots of a macro."""
        of_a_row = self.rows // block
        return of_a_row ** kind

    def load_blocks(self, blocks: np.ndarray, kind: int) -> None:
        """Put blocks (n, block, block) into slots 0 and on."""
        block = blocks.shape[1]
        of_a_row = self.rows // block
        for slot, weights in enumerate(blocks):
            macro, inside = divmod(slot, self.slots(block, kind))
            p = inside % of_a_row
            q = (p + inside // of_a_row) % of_a_row
            self.cells[macro, q * block:(q + 1) * block, p * block:(p + 1) * block] = weights
            self.held[macro] = 2, block, inside + 1, kind, 0, 0


def placed(matrix: Any, n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """(values, metadata) of a matrix as cim.load.nm reads them."""
    dense = np.asarray(matrix, np.int8)
    if n == m:
        return dense.reshape(-1), np.zeros(1, np.uint8)
    packed = sparse.NOfM(n, m).pack(dense, "i8")
    return packed.values.view(np.int8), packed.meta


def fitting(rng: np.random.Generator, n: int, m: int, rows: int, cols: int) -> np.ndarray:
    """A random matrix with at most n values that are not zero in each m columns."""
    dense = rng.integers(-128, 128, (rows, cols)).astype(np.int8)
    dense[rng.random((rows, cols)) >= rng.choice((0, 0.3, 1, 1))] = 0
    groups = np.pad(dense, ((0, 0), (0, -cols % m))).reshape(rows, -(-cols // m), m)
    kept = np.argsort(np.argsort(rng.random(groups.shape), axis=2), axis=2) < n
    return (groups * kept).reshape(rows, groups.shape[1] * m)[:, :cols].astype(np.int8)
