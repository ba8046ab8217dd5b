"""nm: of every M columns of a row exactly N values are stored, zeros among them where there are fewer.

    values    a run for each row: ceil(cols / M) groups of N values
    meta      a row: for each value its place in its group, ceil(log2 M) bits, the first in the lowest bits; rows start on a byte

Places in a group rise. A group with fewer than N values that are not zero also stores zeros: those at its lowest places. The last
group of a row may be short: columns that are not there are zeros. Bits behind the last place of a row are ignored.

What is stored like this elsewhere: 2:4 of NVIDIA's sparse tensor cores, the 1:4 to 8:16 of papers, FlexCiM's index memory (FLOW,
arXiv 2504.14365).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isa.numbers import NumberFormat
from isa.sparse.layout import Array, Bytes, Malformed, Mask, Slots, SparseLayout, run_bytes

LARGEST = 16        # M


@dataclass(frozen=True)
class NOfM(SparseLayout):
    """N of every M columns, 1 <= N <= M <= 16."""

    n: int
    m: int

    def __post_init__(self) -> None:
        if not 1 <= self.n <= self.m <= LARGEST:
            raise ValueError(f"nm:{self.n}:{self.m}: expected 1 <= N <= M <= {LARGEST}")

    @property
    def kind(self) -> str:
        return "nm"

    @property
    def name(self) -> str:
        return f"nm:{self.n}:{self.m}"

    @property
    def index_bits(self) -> int:
        """Bits of a place in a group."""
        return (self.m - 1).bit_length()

    def groups(self, cols: int) -> int:
        """Groups of a row."""
        return -(-cols // self.m)

    def row_meta(self, cols: int) -> int:
        """Bytes of metadata of a row."""
        return (self.groups(cols) * self.n * self.index_bits + 7) // 8

    def row_values(self, cols: int, fmt: NumberFormat) -> int:
        return run_bytes(np.array([self.groups(cols) * self.n]), fmt)

    def meta_bytes(self, rows: int, cols: int, stored: int = 0) -> int:
        return rows * self.row_meta(cols)

    def value_bytes(self, meta: Bytes, rows: int, cols: int, fmt: NumberFormat, offsets: Array | None = None) -> int:
        return rows * self.row_values(cols, fmt)

    def slots(self, meta: Bytes, rows: int, cols: int, offsets: Array | None = None) -> Slots:
        count, bits = self.groups(cols) * self.n, self.index_bits
        stream = np.unpackbits(meta.reshape(rows, self.row_meta(cols)), axis=1, bitorder="little")[:, :count * bits]
        places = (stream.reshape(rows, count, bits).astype(np.int64) << np.arange(bits)).sum(axis=2)
        groups = places.reshape(rows, self.groups(cols), self.n)
        beyond = groups[groups >= self.m]
        if len(beyond):
            raise Malformed(int(beyond[0]), f"place {beyond[0]} in a group of {self.m} columns")
        falls = groups[:, :, 1:][np.diff(groups, axis=2) <= 0]
        if len(falls):
            raise Malformed(int(falls[0]), f"place {falls[0]} of a group stands behind one that is not less; expected "
                                           "rising places")
        columns = groups + self.m * np.arange(self.groups(cols))[:, None]
        return Slots(np.full(rows, count, np.int64), np.repeat(np.arange(rows, dtype=np.int64), count), columns.reshape(-1))

    def _kept(self, present: Mask) -> tuple[Slots, Bytes, Array | None]:
        rows, cols = present.shape
        groups = np.pad(present, ((0, 0), (0, -cols % self.m))).reshape(rows, self.groups(cols), self.m)
        crowded = np.argwhere(groups.sum(axis=2) > self.n)
        if len(crowded):
            row, group = crowded[0]
            raise ValueError(f"{self.name}: {groups[row, group].sum()} values that are not zero in row {row}, columns "
                             f"{group * self.m}..{min((group + 1) * self.m, cols) - 1}; expected at most {self.n}")
        free = self.n - groups.sum(axis=2, keepdims=True)
        kept = groups | (~groups & (np.cumsum(~groups, axis=2) <= free))
        in_rows, in_groups, places = np.nonzero(kept)
        bits = (places[:, None] >> np.arange(self.index_bits) & 1).astype(np.uint8)
        meta = np.packbits(bits.reshape(rows, self.groups(cols) * self.n * self.index_bits), axis=1, bitorder="little")
        runs = np.full(rows, self.groups(cols) * self.n, np.int64)
        return Slots(runs, in_rows, in_groups * self.m + places), meta.reshape(-1), None
