"""bl: dense blocks of r rows and c columns, with a list of where they stand. As BSR, whose columns are 16 bits here.

    values    a run for each block: its r rows of c values, one after the other
    meta      the block column of each block, u16, low byte first, rising in each row of blocks
    offsets   u32[ceil(rows / r) + 1]: blocks before each row of blocks; the first is 0, the last is how many blocks there are

A stored block may hold zeros. Blocks at the right and the lower edge may be short: they are stored whole, and what lies outside of
the matrix is zero.

What is stored like this elsewhere: BSR tensors of torch and SciPy, TFLite's block sparsity, the 16x1 blocks of LPCNet and the 8x1
of QNNPACK.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isa.numbers import FORMATS, NumberFormat
from isa.sparse.layout import Array, Bytes, Ints, Malformed, Mask, Packed, Slots, SparseLayout, check_ascending, counted, run_bytes

MOST_ROWS, MOST_COLUMNS = 64, 1 << 16       # of a block; also the most block columns


@dataclass(frozen=True)
class RByC(SparseLayout):
    """Blocks of `block_rows` rows, 1..64, and `block` columns, 1..65,536."""

    block_rows: int
    block: int

    def __post_init__(self) -> None:
        if not (1 <= self.block_rows <= MOST_ROWS and 1 <= self.block <= MOST_COLUMNS):
            raise ValueError(f"{self.name}: expected blocks of 1..{MOST_ROWS} rows and 1..{MOST_COLUMNS} columns")

    @property
    def kind(self) -> str:
        return "bl"

    @property
    def name(self) -> str:
        return f"bl:{self.block_rows}x{self.block}"

    @property
    def has_offsets(self) -> bool:
        return True

    @property
    def together(self) -> int:
        return self.block_rows

    def runs(self, rows: int) -> int:
        return -(-rows // self.block_rows)

    def meta_bytes(self, rows: int, cols: int, stored: int = 0) -> int:
        return 2 * stored

    def value_bytes(self, meta: Bytes, rows: int, cols: int, fmt: NumberFormat, offsets: Array | None = None) -> int:
        return int(counted(offsets, self.runs(rows)).sum()) * self._block_bytes(fmt)

    def _block_bytes(self, fmt: NumberFormat) -> int:
        return run_bytes(np.array([self.block_rows * self.block]), fmt)

    def bytes_together(self, packed: Packed) -> Ints:
        return counted(packed.offsets, self.runs(packed.rows)) * self._block_bytes(FORMATS[packed.form])

    def slots(self, meta: Bytes, rows: int, cols: int, offsets: Array | None = None) -> Slots:
        counts = counted(offsets, self.runs(rows))
        if meta.size != 2 * int(counts.sum()):
            raise Malformed(meta.size, f"{meta.size} bytes of block columns; expected {2 * int(counts.sum())}")
        columns = meta.view("<u2").astype(np.int64)
        check_ascending(columns, counts, -(-cols // self.block), "block column")
        return self._slots(np.repeat(np.arange(len(counts), dtype=np.int64), counts), columns)

    def _slots(self, block_rows: Array, block_columns: Array) -> Slots:
        """The slots of blocks that stand there, (blocks,) each."""
        place = np.arange(self.block_rows * self.block)
        return Slots(np.full(len(block_rows), len(place), np.int64),
                     (block_rows[:, None] * self.block_rows + place // self.block).reshape(-1),
                     (block_columns[:, None] * self.block + place % self.block).reshape(-1))

    def _kept(self, present: Mask) -> tuple[Slots, Bytes, Array | None]:
        rows, cols = present.shape
        across = -(-cols // self.block)
        if across > MOST_COLUMNS:
            raise ValueError(f"{self.name}: {across} block columns; expected at most {MOST_COLUMNS}")
        padded = np.pad(present, ((0, -rows % self.block_rows), (0, -cols % self.block)))
        stored = padded.reshape(self.runs(rows), self.block_rows, across, self.block).any(axis=(1, 3))
        block_rows, block_columns = np.nonzero(stored)
        return (self._slots(block_rows, block_columns), block_columns.astype("<u2").view(np.uint8),
                np.concatenate(([0], np.cumsum(np.count_nonzero(stored, axis=1)))))
