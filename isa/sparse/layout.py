"""What all sparse layouts have. A layout says where the stored values belong; how a value lies in bytes is its number format.

Values stand in *runs*: a row of the matrix, in bl a block. Each run starts on a byte, as rows do in isa/numbers.py. What a layout
stores behind the last column, or below the last row, to fill a group or a block, is padding: its value has to be zero.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from isa.numbers import FORMATS, NumberFormat

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

FORMS = ("i8", "i4", "t2", "f16", "f32")
"""The number formats of values, in the order of the encoding (isa/units/sp)."""


class Malformed(ValueError):
    """Bytes that no packer writes. `value`: the number that is wrong, for mtval."""

    def __init__(self, value: int, text: str) -> None:
        super().__init__(text)
        self.value = int(value)


class Slots(NamedTuple):
    """Where the stored values of a matrix belong, in the order in which they lie in memory."""

    runs: Ints          # (runs,)  values of each run
    rows: Ints          # (slots,) the row of each value, `rows` of the matrix or more: padding
    columns: Ints       # (slots,) its column, `cols` of the matrix or more: padding


@dataclass(frozen=True)
class Packed:
    """A matrix (rows, cols) in a layout: what a program has in memory."""

    form: str           # number format of the values
    rows: int
    cols: int
    values: Bytes       # (n,)
    meta: Bytes         # (n,), what the CSR sp.meta points to
    offsets: npt.NDArray[np.uint32] | None = None       # what sp.offsets points to, in layouts that need it

    @property
    def bytes(self) -> int:
        """Bytes of values, metadata and offsets."""
        return self.values.nbytes + self.meta.nbytes + (0 if self.offsets is None else self.offsets.nbytes)


@dataclass(frozen=True)
class SparseLayout(ABC):
    """A way to store a matrix with zeros. Parameters are checked when it is made: ValueError."""

    @property
    @abstractmethod
    def kind(self) -> str:
        """Its name in mnemonics: "nm"."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Its name with its parameters, as `named` takes it: "nm:2:4"."""

    @property
    def has_offsets(self) -> bool:
        """Whether the number of values of a run stands in offsets."""
        return False

    def runs(self, rows: int) -> int:
        """Runs of a matrix with so many rows, where there are offsets one less than these."""
        return rows

    @property
    def together(self) -> int:
        """Rows that belong together: a part of a matrix begins at a multiple of them."""
        return 1

    def part(self, meta: Bytes, offsets: Array | None, first: int, rows: int, cols: int) -> tuple[Bytes, Array | None]:
        """(metadata, offsets) of some rows of a matrix, of sound ones. `first` is a multiple of `together`."""
        if offsets is None:
            start, end = self.meta_bytes(first, cols), self.meta_bytes(first + rows, cols)
            return meta[start:end], None
        own = offsets[first // self.together:][:self.runs(rows) + 1].astype(np.int64)
        start, end = self.meta_bytes(first, cols, int(own[0])), self.meta_bytes(first + rows, cols, int(own[-1]))
        return meta[start:end], own - own[0]

    def row_values(self, cols: int, fmt: NumberFormat) -> int:
        """Bytes of the stored values of a row, where these are the same for every matrix; 0: they are not."""
        return 0

    @abstractmethod
    def meta_bytes(self, rows: int, cols: int, stored: int = 0) -> int:
        """Bytes of metadata of a matrix. `stored`: the last of its offsets, where there are offsets."""

    @abstractmethod
    def value_bytes(self, meta: Bytes, rows: int, cols: int, fmt: NumberFormat, offsets: Array | None = None) -> int:
        """Bytes of the stored values, as the metadata says. Raises Malformed, but not for all that `slots` does."""

    @abstractmethod
    def slots(self, meta: Bytes, rows: int, cols: int, offsets: Array | None = None) -> Slots:
        """Where the stored values belong. meta (meta_bytes,), offsets (runs + 1,). Raises Malformed."""

    def _kept(self, present: Mask) -> tuple[Slots, Bytes, Array | None]:
        """What a matrix is stored as, whose elements that are not zero are `present` (rows, cols): slots, metadata, offsets.
        Raises ValueError where the layout cannot hold it. A layout has this or a `pack` of its own."""
        raise NotImplementedError

    def bytes_together(self, packed: Packed) -> Ints:
        """Bytes of the values of each row, or of the rows that belong together, (ceil(rows / together),). Raises Malformed."""
        fmt = FORMATS[packed.form]
        runs = self.slots(packed.meta, packed.rows, packed.cols, packed.offsets).runs
        sizes: Ints = -(-runs // values_per_byte(fmt)) * max(int(fmt.bits) // 8, 1)
        return sizes

    # ---------------------------------------------------------------------------------------------- both ways

    def pack(self, matrix: npt.ArrayLike, form: str) -> Packed:
        """A dense matrix (rows, cols) in this layout, values in a number format: i8, i4, t2, f16, bf16 or f32.

        Zero is what is zero in the number format; -0.0 is, too. Raises ValueError for a value that the format does not hold, for
        what is no matrix, and for zeros that lie otherwise than the layout needs, with the place.
        """
        dense = held(matrix, form)
        rows, cols = dense.shape
        slots, meta, offsets = self._kept(dense != 0)
        padded = np.zeros((max(rows, int(slots.rows.max(initial=-1)) + 1), max(cols, int(slots.columns.max(initial=-1)) + 1)),
                          dense.dtype)
        padded[:rows, :cols] = dense
        values = pack_runs(padded[slots.rows, slots.columns], slots.runs, FORMATS[form])
        return Packed(form, rows, cols, values, meta, None if offsets is None else offsets.astype(np.uint32))

    def unpack(self, packed: Packed) -> Array:
        """The dense matrix (rows, cols), of the type that FORMATS[form].unpack yields. Raises Malformed."""
        return self.decoded(packed)[0]

    def decoded(self, packed: Packed) -> tuple[Array, Mask]:
        """The dense matrix, (rows, cols), and which of its elements are stored. Raises Malformed."""
        slots = self.slots(packed.meta, packed.rows, packed.cols, packed.offsets)
        if packed.values.size != (size := run_bytes(slots.runs, FORMATS[packed.form])):
            raise Malformed(packed.values.size, f"{packed.values.size} bytes of values; expected {size}")
        return placed(slots, unpack_runs(packed.values, slots.runs, FORMATS[packed.form]), packed.rows, packed.cols)


def placed(slots: Slots, values: Array, rows: int, cols: int) -> tuple[Array, Mask]:
    """The dense matrix of values (slots,), and which of its elements are stored, (rows, cols) each. Raises Malformed for padding
    that is not zero."""
    dense, stored = np.zeros((rows, cols), values.dtype), np.zeros((rows, cols), np.bool_)
    inside = (slots.rows < rows) & (slots.columns < cols)
    wrong = np.flatnonzero(~inside & (values != 0))
    if len(wrong):
        raise Malformed(int(slots.columns[wrong[0]]),
                        f"a value for row {slots.rows[wrong[0]]}, column {slots.columns[wrong[0]]} is not zero; "
                        f"the matrix has {rows} rows and {cols} columns")
    dense[slots.rows[inside], slots.columns[inside]] = values[inside]
    stored[slots.rows[inside], slots.columns[inside]] = True
    return dense, stored


def held(matrix: npt.ArrayLike, form: str) -> Array:
    """A matrix as the format holds it. Raises ValueError."""
    fmt, dense = FORMATS[form], np.asarray(matrix)
    return fmt.unpack(fmt.pack(dense), dense.shape[1])


# ------------------------------------------------------------------------------------------------ runs of values


def values_per_byte(fmt: NumberFormat) -> int:
    """Values that share a byte, 1 where a value is a byte or more."""
    return max(8 // int(fmt.bits), 1)


def run_bytes(runs: Ints, fmt: NumberFormat) -> int:
    """Bytes of runs with so many values, (runs,), each from a byte on."""
    per_byte = values_per_byte(fmt)
    return int((-(-np.asarray(runs, np.int64) // per_byte)).sum()) * max(int(fmt.bits) // 8, 1)


def _places(runs: Ints, per_byte: int) -> tuple[Ints, int]:
    """(place of each value, places) where each run starts at a multiple of `per_byte`."""
    padded = -(-runs // per_byte) * per_byte
    ahead = np.cumsum(padded - runs) - (padded - runs)                  # places left out before each run
    return np.arange(int(runs.sum()), dtype=np.int64) + np.repeat(ahead, runs), int(padded.sum())


def pack_runs(values: Array, runs: Ints, fmt: NumberFormat) -> Bytes:
    """Values (slots,) as bytes, run by run; bits behind the last value of a run are zeros."""
    places, count = _places(runs, values_per_byte(fmt))
    row = np.full(count, fmt.unpack(np.zeros((1, fmt.row_bytes(1)), np.uint8), 1)[0, 0], values.dtype)
    row[places] = values
    data: Bytes = fmt.pack(row[None, :])[0]
    return data


def unpack_runs(data: Bytes, runs: Ints, fmt: NumberFormat) -> Array:
    """The values (slots,) of bytes that `pack_runs` would write; bits behind the last value of a run are ignored."""
    places, count = _places(runs, values_per_byte(fmt))
    values: Array = fmt.unpack(np.asarray(data, np.uint8)[None, :], count)[0, places]
    return values


# ------------------------------------------------------------------------------------------------ offsets


def counted(offsets: Array | None, runs: int, *, part: bool = False) -> Ints:
    """Values of each run (runs,), from offsets (runs + 1,) that start at 0 and do not fall; those of a `part` of a matrix start
    anywhere. Raises Malformed."""
    if offsets is None or len(offsets) != runs + 1:
        raise Malformed(0 if offsets is None else len(offsets), f"expected {runs + 1} offsets")
    ends = offsets.astype(np.int64)
    if ends[0] != 0 and not part:
        raise Malformed(int(ends[0]), f"the first offset is {ends[0]}; expected 0")
    counts: Ints = np.diff(ends)
    falls = np.flatnonzero(counts < 0)
    if len(falls):
        raise Malformed(int(ends[falls[0] + 1]), f"offset {falls[0] + 1} is {ends[falls[0] + 1]}, less than the one before, "
                                                 f"{ends[falls[0]]}")
    return counts


def check_ascending(columns: Ints, runs: Ints, end: int, what: str) -> None:
    """Raises Malformed unless the columns of each run, (slots,), rise and are below `end`."""
    beyond = np.flatnonzero(columns >= end)
    if len(beyond):
        raise Malformed(int(columns[beyond[0]]), f"{what} {columns[beyond[0]]} is beyond the last, {end - 1}")
    first = np.zeros(len(columns) + 1, np.bool_)
    first[np.cumsum(runs) - runs] = True
    falls = np.flatnonzero(~first[1:-1] & (np.diff(columns) <= 0)) + 1
    if len(falls):
        raise Malformed(int(columns[falls[0]]), f"{what} {columns[falls[0]]} stands behind {columns[falls[0] - 1]}; "
                                                "expected rising numbers")
