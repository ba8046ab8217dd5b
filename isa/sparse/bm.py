"""bm: a bit for every block of b columns of a row; blocks whose bit is 1 are stored, b values each, the others are zeros.

    values    a run for each row: the stored blocks, one after the other
    meta      a row: ceil(ceil(cols / b) / 8) bytes; bit k % 8 of byte k / 8 is block k

A stored block may hold zeros. The last block of a row may be short: it is stored as b values, of which those behind the last column
are zero. Bits behind the last block are 0.

What is stored like this elsewhere: sparse-bitmask of compressed-tensors, whose `bitmask` and `compressed` are these bytes for
b = 1, and sparse-24-bitmask; the 1 x 4 blocks of oBERT.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isa.numbers import NumberFormat
from isa.sparse.layout import Array, Bytes, Malformed, Mask, Slots, SparseLayout, run_bytes

LARGEST = 1 << 16       # columns of a block


@dataclass(frozen=True)
class Bitmask(SparseLayout):
    """A bit for each block of `block` columns, 1..65,536."""

    block: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.block <= LARGEST:
            raise ValueError(f"bm:{self.block}: expected a block of 1..{LARGEST} columns")

    @property
    def kind(self) -> str:
        return "bm"

    @property
    def name(self) -> str:
        return "bm" if self.block == 1 else f"bm:{self.block}"

    def blocks(self, cols: int) -> int:
        """Blocks of a row, stored or not."""
        return -(-cols // self.block)

    def row_meta(self, cols: int) -> int:
        """Bytes of metadata of a row."""
        return (self.blocks(cols) + 7) // 8

    def meta_bytes(self, rows: int, cols: int, stored: int = 0) -> int:
        return rows * self.row_meta(cols)

    def value_bytes(self, meta: Bytes, rows: int, cols: int, fmt: NumberFormat, offsets: Array | None = None) -> int:
        return run_bytes(np.count_nonzero(self._bits(meta, rows, cols), axis=1).astype(np.int64) * self.block, fmt)

    def slots(self, meta: Bytes, rows: int, cols: int, offsets: Array | None = None) -> Slots:
        return self._slots(self._bits(meta, rows, cols))

    def _bits(self, meta: Bytes, rows: int, cols: int) -> Array:
        """Which blocks are stored, 0 or 1, (rows, blocks). Raises Malformed."""
        bits = np.unpackbits(meta.reshape(rows, self.row_meta(cols)), axis=1, bitorder="little")
        behind = np.argwhere(bits[:, self.blocks(cols):])
        if len(behind):
            row = int(behind[0, 0])
            last = meta.reshape(rows, -1)[row, -1]
            raise Malformed(int(last), f"the last byte of the mask of row {row} is {last:#04x}: it has bits behind block "
                                       f"{self.blocks(cols) - 1}, the last one")
        return bits[:, :self.blocks(cols)]

    def _slots(self, stored: Array) -> Slots:
        """The slots of blocks that are stored, (rows, blocks)."""
        in_rows, blocks = np.nonzero(stored)
        columns = blocks[:, None] * self.block + np.arange(self.block)
        return Slots(np.count_nonzero(stored, axis=1).astype(np.int64) * self.block, np.repeat(in_rows, self.block),
                     columns.reshape(-1))

    def _kept(self, present: Mask) -> tuple[Slots, Bytes, Array | None]:
        rows, cols = present.shape
        padded = np.pad(present, ((0, 0), (0, -cols % self.block)))
        stored: Mask = np.any(padded.reshape(rows, self.blocks(cols), self.block), axis=2)
        return self._slots(stored), np.packbits(stored, axis=1, bitorder="little").reshape(-1), None
