"""cs: the values of a row that are not zero, with a list of their columns. As CSR, whose columns are 16 bits here.

    values    a run for each row
    meta      the column of each value, u16, low byte first, rising in each row
    offsets   u32[rows + 1]: values before each row; the first is 0, the last is how many values there are

What is stored like this elsewhere: CSR tensors of torch and SciPy, the outliers of SpQR.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isa.numbers import NumberFormat
from isa.sparse.layout import Array, Bytes, Malformed, Mask, Slots, SparseLayout, check_ascending, counted, run_bytes

LARGEST = 1 << 16       # columns of a matrix


@dataclass(frozen=True)
class Columns(SparseLayout):
    """Listed columns."""

    @property
    def kind(self) -> str:
        return "cs"

    @property
    def name(self) -> str:
        return "cs"

    @property
    def has_offsets(self) -> bool:
        return True

    def meta_bytes(self, rows: int, cols: int, stored: int = 0) -> int:
        return 2 * stored

    def value_bytes(self, meta: Bytes, rows: int, cols: int, fmt: NumberFormat, offsets: Array | None = None) -> int:
        return run_bytes(counted(offsets, rows), fmt)

    def slots(self, meta: Bytes, rows: int, cols: int, offsets: Array | None = None) -> Slots:
        runs = counted(offsets, rows)
        if meta.size != 2 * int(runs.sum()):
            raise Malformed(meta.size, f"{meta.size} bytes of columns; expected {2 * int(runs.sum())}")
        columns = meta.view("<u2").astype(np.int64)
        check_ascending(columns, runs, cols, "column")
        return Slots(runs, np.repeat(np.arange(rows, dtype=np.int64), runs), columns)

    def _kept(self, present: Mask) -> tuple[Slots, Bytes, Array | None]:
        if present.shape[1] > LARGEST:
            raise ValueError(f"cs: {present.shape[1]} columns; expected at most {LARGEST}")
        runs = np.count_nonzero(present, axis=1).astype(np.int64)
        in_rows, columns = np.nonzero(present)
        return Slots(runs, in_rows, columns), columns.astype("<u2").view(np.uint8), np.concatenate(([0], np.cumsum(runs)))
