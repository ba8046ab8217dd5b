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
import numpy.typing as npt

from isa.numbers import FORMATS, NumberFormat
from isa.sparse.layout import Array, Bytes, Malformed, Packed, Slots, SparseLayout, held, run_bytes

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

    def pack(self, matrix: npt.ArrayLike, form: str) -> Packed:
        """See SparseLayout.pack. All groups at once, one of their M columns after the other."""
        dense = held(matrix, form)
        rows, cols = dense.shape
        whole = np.pad(dense, ((0, 0), (0, -cols % self.m))) if cols % self.m else dense
        columns = np.ascontiguousarray(whole.reshape(-1, self.m).T)                     # (M, groups of all rows)
        present = columns != 0
        count = np.count_nonzero(present, axis=0)
        if len(crowded := np.flatnonzero(count > self.n)):
            row, group = divmod(int(crowded[0]), self.groups(cols))
            raise ValueError(f"{self.name}: {count[crowded[0]]} values that are not zero in row {row}, columns "
                             f"{group * self.m}..{min((group + 1) * self.m, cols) - 1}; expected at most {self.n}")
        free, used = (self.n - count).astype(np.int8), np.zeros(len(count), np.int8)    # zeros to be stored, places that are taken
        values, places = np.zeros((self.n, len(count)), dense.dtype), np.zeros((self.n, len(count)), np.uint8)
        for place in range(self.m):
            zeros = ~present[place] & (free > 0)
            kept = present[place] | zeros
            free -= zeros
            for slot in range(min(place + 1, self.n)):
                here = kept & (used == slot)
                places[slot] |= here * np.uint8(place)
                np.copyto(values[slot], columns[place], where=here)
            used += kept
        shape = (rows, self.groups(cols) * self.n)
        return Packed(form, rows, cols, FORMATS[form].pack(values.T.reshape(shape)).reshape(-1),
                      self._meta(places.T.reshape(shape)).reshape(-1))

    def _meta(self, places: Array) -> Array:
        """Bytes of rows of places: uint8 (rows, n) to (rows, bytes). Eight places are as many bytes as a place has bits."""
        rows, n = places.shape
        eights = np.pad(places, ((0, 0), (0, -n % 8))).reshape(rows, (n + 7) // 8, 8)
        words = np.zeros(eights.shape[:2], "<u4")
        for at in range(8):
            words |= eights[:, :, at].astype("<u4") << np.uint32(self.index_bits * at)
        data = words.view(np.uint8).reshape(*words.shape, 4)[:, :, :self.index_bits].reshape(rows, words.shape[1] * self.index_bits)
        return data[:, :(n * self.index_bits + 7) // 8]
