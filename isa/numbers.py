"""Number formats: how values lie in bytes, and what kind of value they are.

A matrix is packed row by row and every row starts on a byte, so a row can be fetched, skipped or strided over by itself.
Within a byte the first value sits in the lowest bits. What is left of the last byte of a row is written as zeros and
ignored when read. Multi-byte values are little-endian. So a row of cols values of b bits has ceil(cols * b / 8) bytes; in i3 and
c3 it is ceil(cols / 4) + ceil(cols / 8), in t5 ceil(cols / 5), in bipolar formats b * ceil(cols / 8).

Two formats have codes to spare. No tool writes them, every instruction reads them as the rule says. Code 3 of t2 is the weight
+2: products use 2, and where zeros are skipped it counts as any other weight that is not zero. A byte of t5 from 243 on holds the
five weights of the byte less 243.
"""

# FORMATS["t2"].pack(values)          values (rows, cols) -> uint8 (rows, row_bytes(cols))
# FORMATS["t2"].unpack(data, cols)    uint8 (rows, row_bytes(cols)) -> values (rows, cols)
#
# The docstring and `text` and `picture` of each format go to the manual as they stand.

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]


class ValueKind(Enum):
    """What a stored value is. Code that treats formats differently asks for the kind, and refuses one that it does not know."""

    FLOAT = "a floating-point number"
    INTEGER = "an integer"
    SIGN = "-1, 1 or, in ternary formats, 0"
    CODEBOOK = "an index: the value stands in a table that belongs to the matrix"
    BIPOLAR = "an odd integer: bit i is worth 2**i or -2**i"


@dataclass(frozen=True)
class NumberFormat(ABC):
    """A way to write values in bytes. `bits` is the storage of one value as text, `dtype` what `unpack` returns."""

    name: str
    kind: ValueKind
    text: str
    bits: str
    dtype: str
    picture: str

    @abstractmethod
    def row_bytes(self, cols: int) -> int:
        """Bytes of a row of `cols` values."""

    @abstractmethod
    def _encode(self, values: Array) -> Bytes: ...

    @abstractmethod
    def _decode(self, data: Bytes, cols: int) -> Array: ...

    @property
    def held(self) -> tuple[int, ...]:
        """The values that the format can hold, rising; () for `Words`, which hold a range."""
        return ()

    @property
    def values(self) -> str:
        """The values that the format can hold, as text."""
        if len(self.held) <= 4:
            return ", ".join(map(str, self.held))
        return f"{self.held[0]}..{self.held[-1]}{', odd' if self.kind is ValueKind.BIPOLAR else ''}"

    def _legal(self, values: Array) -> npt.NDArray[np.bool_]:
        held = self.held
        if values.dtype == np.int8 and len(held) == held[-1] - held[0] + 1:         # no gaps: much faster
            return (values >= np.int8(held[0])) & (values <= np.int8(held[-1]))
        return np.isin(values, held)

    @property
    def fields(self) -> tuple[int, ...]:
        """Widths of the bit fields that a code is split into; () for a format that is laid out in another way."""
        return ()

    def pack(self, values: npt.ArrayLike) -> Bytes:
        """Bytes of a matrix: (rows, cols) -> uint8 (rows, row_bytes(cols)).

        Raises ValueError for a value that the format does not hold (floats are rounded instead) or another shape.
        """
        array = np.asarray(values)
        if array.ndim != 2:
            raise ValueError(f"{self.name}: expected a matrix (rows, cols), got shape {array.shape}")
        wrong = np.argwhere(~self._legal(array))
        if len(wrong):
            row, col = wrong[0]
            raise ValueError(f"{self.name} cannot hold {array[row, col]} (row {row}, column {col}); it holds {self.values}")
        return self._encode(array)

    def unpack(self, data: npt.ArrayLike, cols: int) -> Array:
        """Values of a matrix: uint8 (rows, row_bytes(cols)) -> (rows, cols). Raises ValueError for another shape."""
        array = np.ascontiguousarray(data, np.uint8)
        if array.ndim != 2 or array.shape[1] != self.row_bytes(cols):
            raise ValueError(f"{self.name}: {cols} columns are (rows, {self.row_bytes(cols)}) bytes, got {array.shape}")
        return self._decode(array, cols)


@dataclass(frozen=True)
class Words(NumberFormat):
    """Values of whole bytes: NumPy's little-endian types. Floats are rounded to nearest even, integers must fit."""

    word: str = ""      # NumPy type code of a stored value, or "bf16", which NumPy does not have

    def row_bytes(self, cols: int) -> int:
        return cols * int(self.bits) // 8

    @property
    def values(self) -> str:
        if np.dtype(self.dtype).kind == "f":
            return "floating-point numbers"
        return f"{np.iinfo(self.dtype).min}..{np.iinfo(self.dtype).max}"

    def _legal(self, values: Array) -> npt.NDArray[np.bool_]:
        if np.dtype(self.dtype).kind == "f":
            return np.ones(values.shape, np.bool_)
        limits = np.iinfo(self.dtype)
        legal: npt.NDArray[np.bool_] = (values >= limits.min) & (values <= limits.max) & (values == np.trunc(values))
        return legal

    def _encode(self, values: Array) -> Bytes:
        if self.word == "bf16":
            stored = _bf16_bits(values.astype(np.float32))
        else:
            with np.errstate(over="ignore"):    # a value too large for f16 becomes infinity
                stored = values.astype(self.word)
        return np.ascontiguousarray(stored).view(np.uint8).reshape(len(values), self.row_bytes(values.shape[1]))

    def _decode(self, data: Bytes, cols: int) -> Array:
        if self.word == "bf16":
            upper = data.view("<u2").astype(np.uint32) << np.uint32(16)
            return upper.view(np.float32).reshape(len(data), cols)
        return data.view(self.word).astype(self.dtype).reshape(len(data), cols)


def _bf16_bits(values: npt.NDArray[np.float32]) -> Array:
    """Upper 16 bits of fp32 values, rounded to nearest even; a NaN keeps its sign and becomes quiet.

    Packing is for tools; instructions convert as arithmetic says.
    """
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded = (bits + (((bits >> 16) & 1) + 0x7FFF).astype(np.uint32)) >> 16
    return np.where(np.isnan(values), (bits >> 16) | 0x40, rounded).astype("<u2")


@dataclass(frozen=True)
class Codes(NumberFormat):
    """Values of a few bits. `table[code]` is the value of a code; the first `writable` codes' values may be packed.

    `fields` are the widths of the bit fields that a code is split into, low bits first: (2, 1) stores the two low bits of
    all columns of a row, then their high bits.
    """

    table: tuple[int, ...] = ()
    fields: tuple[int, ...] = ()
    writable: int = 256

    def row_bytes(self, cols: int) -> int:
        return sum((cols * width + 7) // 8 for width in self.fields)

    @property
    def held(self) -> tuple[int, ...]:
        return tuple(sorted(self.table[:self.writable]))

    def _encode(self, values: Array) -> Bytes:
        legal = self.table[:self.writable]
        if self.kind is ValueKind.INTEGER:                                          # two's complement
            codes = values.astype(np.int8).view(np.uint8) & np.uint8(len(legal) - 1)
        else:
            by_value = np.zeros(max(legal) - min(legal) + 1, np.uint8)
            by_value[np.array(legal) - min(legal)] = range(len(legal))
            codes = by_value[values.astype(np.int16) - min(legal)]
        lows = np.cumsum((0, *self.fields[:-1]))
        return np.concatenate([_join(codes >> np.uint8(low) & np.uint8((1 << width) - 1), width)
                               for low, width in zip(lows, self.fields, strict=True)], axis=1)

    def _decode(self, data: Bytes, cols: int) -> Array:
        codes, start, low = np.zeros((len(data), cols), np.uint8), 0, 0
        for width in self.fields:
            end = start + (cols * width + 7) // 8
            codes |= _split(data[:, start:end], width)[:, :cols] << np.uint8(low)
            start, low = end, low + width
        return np.array(self.table, self.dtype)[codes]


def _join(codes: Bytes, width: int) -> Bytes:
    """Codes of `width` bits (1, 2, 4 or 8), as many as fit to a byte, the first lowest: (rows, cols) -> (rows, bytes)."""
    rows, cols = codes.shape
    per_byte = 8 // width
    padded = np.pad(codes, ((0, 0), (0, -cols % per_byte))).reshape(rows, -(-cols // per_byte), per_byte)
    joined = np.zeros(padded.shape[:2], np.uint8)
    for position in range(per_byte):
        joined |= padded[:, :, position] << np.uint8(width * position)
    return joined


def _split(data: Bytes, width: int) -> Bytes:
    """The reverse of `_join`: (rows, bytes) -> (rows, bytes * codes per byte)."""
    parts = [data >> np.uint8(low) & np.uint8((1 << width) - 1) for low in range(0, 8, width)]
    return np.stack(parts, axis=2).reshape(len(data), data.shape[1] * len(parts))


@dataclass(frozen=True)
class Base3(NumberFormat):
    """Five ternary values in a byte, as digits of base 3: 3**5 = 243 of 256 codes are used, 1.6 bits a value."""

    def row_bytes(self, cols: int) -> int:
        return (cols + 4) // 5

    @property
    def held(self) -> tuple[int, ...]:
        return (-1, 0, 1)

    def _encode(self, values: Array) -> Bytes:
        rows, cols = values.shape
        digits = np.pad(values.astype(np.int8) + 1, ((0, 0), (0, -cols % 5))).reshape(rows, self.row_bytes(cols), 5)
        return sum((digits[:, :, i].astype(np.uint8) * np.uint8(3**i) for i in range(5)), np.zeros(digits.shape[:2], np.uint8))

    def _decode(self, data: Bytes, cols: int) -> Array:
        digits = np.stack([data // np.uint8(3**i) % np.uint8(3) for i in range(5)], axis=2).astype(self.dtype)
        return (digits - np.int8(1)).reshape(len(data), data.shape[1] * 5)[:, :cols]


# ------------------------------------------------------------------------------------------------ pictures

_ONE = """\
bit     7    6    5    4    3    2    1    0
      | w7 | w6 | w5 | w4 | w3 | w2 | w1 | w0 |    next byte: w8 ..."""

_TWO = """\
bit     7  6   5  4   3  2   1  0
      |  w3  |  w2  |  w1  |  w0  |    next byte: w4 ..."""

_FOUR = """\
bit     7 .. 4   3 .. 0
      |   w1   |   w0   |    next byte: w2, w3 ..."""

_THREE = """\
bit     7  6   5  4   3  2   1  0
      |  w3  |  w2  |  w1  |  w0  |              bits 1..0 of each value: ceil(cols / 4) bytes, then
      | w7| w6| w5| w4| w3| w2| w1| w0|          bit 2 of each value:     ceil(cols / 8) bytes"""

_PLANES = """\
bit     7    6    5    4    3    2    1    0
      | w7 | w6 | w5 | w4 | w3 | w2 | w1 | w0 |    bit 0 of each value: ceil(cols / 8) bytes, then
                                                   bit 1, bit 2 ... of each value: as many bytes each"""

_FIVE = """\
byte = (w0 + 1) + 3 (w1 + 1) + 9 (w2 + 1) + 27 (w3 + 1) + 81 (w4 + 1)
wi   = floor(byte / 3**i) mod 3 - 1              next byte: w5 .. w9 ..."""

_BYTES = "| w0 | w1 | w2 ...    one byte each"
_PAIRS = "| w0 | w1 | w2 ...    two bytes each, low byte first"
_QUADS = "| w0 | w1 | w2 ...    four bytes each, low byte first"

_SIGNED_8, _SIGNED_4, _SIGNED_3, _SIGNED_2 = ((*range(n), *range(-n, 0)) for n in (128, 8, 4, 2))
_ODD_4, _ODD_3, _ODD_2 = (tuple(range(-n, n + 1, 2)) for n in (15, 7, 3))

FLOAT, INTEGER, SIGN, CODEBOOK, BIPOLAR = ValueKind

FORMATS: dict[str, NumberFormat] = {fmt.name: fmt for fmt in (
    #     name    kind      what it is                                              bits   unpacked, layout, how it is stored
    Words("f32",  FLOAT,    "IEEE 754 binary32",                                    "32",  "f4", _QUADS, "<f4"),
    Words("f16",  FLOAT,    "IEEE 754 binary16",                                    "16",  "f4", _PAIRS, "<f2"),
    Words("bf16", FLOAT,    "bfloat16: the upper half of an f32",                   "16",  "f4", _PAIRS, "bf16"),
    Words("i32",  INTEGER,  "32-bit integer, two's complement",                     "32",  "i4", _QUADS, "<i4"),
    Words("u32",  INTEGER,  "32-bit unsigned integer",                              "32",  "u4", _QUADS, "<u4"),
    Words("u8",   INTEGER,  "8-bit unsigned integer",                               "8",   "u1", _BYTES, "u1"),
    Codes("i8",   INTEGER,  "8-bit integer, two's complement",                      "8",   "i1", _BYTES, _SIGNED_8, (8,)),
    Codes("i4",   INTEGER,  "4-bit integer, two's complement, two to a byte",       "4",   "i1", _FOUR,  _SIGNED_4, (4,)),
    Codes("i3",   INTEGER,  "3-bit integer, two's complement, in two planes",       "3",   "i1", _THREE, _SIGNED_3, (2, 1)),
    Codes("i2",   INTEGER,  "2-bit integer, two's complement, four to a byte",      "2",   "i1", _TWO,   _SIGNED_2, (2,)),
    Codes("t2",   SIGN,     "ternary in two bits: code = w + 1 (code 3: w = 2)",    "2",   "i1", _TWO,   (-1, 0, 1, 2), (2,), 3),
    Base3("t5",   SIGN,     "ternary, five to a byte in base 3",                    "1.6", "i1", _FIVE),
    Codes("b1",   SIGN,     "binary: bit 1 is +1, bit 0 is -1; eight to a byte",    "1",   "i1", _ONE,   (-1, 1), (1,)),
    Codes("c2",   CODEBOOK, "2-bit codebook index, laid out as i2",                 "2",   "i1", _TWO,   tuple(range(4)), (2,)),
    Codes("c3",   CODEBOOK, "3-bit codebook index, laid out as i3",                 "3",   "i1", _THREE, tuple(range(8)), (2, 1)),
    Codes("c4",   CODEBOOK, "4-bit codebook index, laid out as i4",                 "4",   "i1", _FOUR,  tuple(range(16)), (4,)),
    Codes("bp2",  BIPOLAR,  "bipolar in two bits: code = (w + 3) / 2, in planes",   "2",   "i1", _PLANES, _ODD_2, (1,) * 2),
    Codes("bp3",  BIPOLAR,  "bipolar in three bits: code = (w + 7) / 2, in planes", "3",   "i1", _PLANES, _ODD_3, (1,) * 3),
    Codes("bp4",  BIPOLAR,  "bipolar in four bits: code = (w + 15) / 2, in planes", "4",   "i1", _PLANES, _ODD_4, (1,) * 4),
)}
