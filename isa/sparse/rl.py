"""rl: a stream of bytes for each row: the distance to the next block, then the b values of the block. int8 alone.

    values    the streams of the rows, one after the other
    meta      none
    offsets   u32[rows + 1]: bytes before each row; the first is 0, the last is the length of all

A row is read from column `position` = 0 on:

    d = byte - 128 (mod 256: 0..255, the byte as int8 plus 128); position += d
    if the next byte is 0:  it is skipped: an escape, which moves on alone
    else:                   the next b bytes are the values of columns position .. position + b - 1; position += b - 1

A block starts with a value that is not zero, so an escape cannot be a block. The packer writes a block wherever the next value that
is not zero stands; distances of 256 or more begin with escapes of 255. Values behind the last column are zero.

What is stored like this elsewhere: the weights of TinyFormer (Gausbon/sparse-engine), there one stream for a whole tensor, which is
a matrix of one row here.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from isa.numbers import NumberFormat
from isa.sparse.layout import Array, Bytes, Malformed, Mask, Packed, Slots, SparseLayout, counted, held, placed

LARGEST, FURTHEST, ESCAPE = 255, 255, 127       # values of a block; a distance; the byte of an escape of the packer


@dataclass(frozen=True)
class RunLength(SparseLayout):
    """Blocks of `block` values, 1..255, at coded distances."""

    block: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.block <= LARGEST:
            raise ValueError(f"rl:{self.block}: expected a block of 1..{LARGEST} values")

    @property
    def kind(self) -> str:
        return "rl"

    @property
    def name(self) -> str:
        return f"rl:{self.block}"

    @property
    def has_offsets(self) -> bool:
        return True

    def meta_bytes(self, rows: int, cols: int, stored: int = 0) -> int:
        return 0

    def value_bytes(self, meta: Bytes, rows: int, cols: int, fmt: NumberFormat, offsets: Array | None = None) -> int:
        return int(counted(offsets, rows).sum())

    def slots(self, meta: Bytes, rows: int, cols: int, offsets: Array | None = None) -> Slots:
        """The slots of streams: here `meta` are the streams themselves."""
        counts = counted(offsets, rows)
        if meta.size != int(counts.sum()):
            raise Malformed(meta.size, f"{meta.size} bytes of streams; expected {int(counts.sum())}")
        ends = np.cumsum(counts)
        starts = [self._blocks(meta[end - count:end].tolist(), row, cols)
                  for row, (count, end) in enumerate(zip(counts, ends, strict=True))]
        blocks = np.array([start for row in starts for start in row], np.int64)
        in_rows = np.repeat(np.arange(rows, dtype=np.int64), [len(row) for row in starts])
        return Slots(np.array([len(row) * self.block for row in starts], np.int64), np.repeat(in_rows, self.block),
                     (blocks[:, None] + np.arange(self.block)).reshape(-1))

    def _blocks(self, stream: list[int], row: int, cols: int) -> list[int]:
        """The first column of each block of a row."""
        found: list[int] = []
        at, position = 0, 0
        while at < len(stream):
            position += (stream[at] + 128) % 256
            if at + 1 < len(stream) and stream[at + 1] == 0:
                at += 2
                continue
            if at + 1 + self.block > len(stream):
                raise Malformed(len(stream), f"the stream of row {row} ends inside a block, after {len(stream)} bytes")
            if position >= cols:
                raise Malformed(position, f"a block of row {row} starts at column {position}, beyond the last, {cols - 1}")
            if found and position < found[-1] + self.block:
                raise Malformed(position, f"a block of row {row} starts at column {position}, inside the one before it")
            found.append(position)
            at, position = at + 1 + self.block, position + self.block - 1
        return found

    def _kept(self, present: Mask) -> tuple[Slots, Bytes, Array | None]:
        starts = [self._starts(np.flatnonzero(row).tolist()) for row in present]
        blocks = np.array([start for row in starts for start in row], np.int64)
        in_rows = np.repeat(np.arange(len(present), dtype=np.int64), [len(row) for row in starts])
        return (Slots(np.array([len(row) * self.block for row in starts], np.int64), np.repeat(in_rows, self.block),
                      (blocks[:, None] + np.arange(self.block)).reshape(-1)), np.zeros(0, np.uint8), None)

    def _starts(self, columns: list[int]) -> list[int]:
        """The first column of each block, of the columns of a row that are not zero."""
        found: list[int] = []
        for column in columns:
            if not found or column >= found[-1] + self.block:
                found.append(column)
        return found

    # ---------------------------------------------------------------------------------------------- streams

    def pack(self, matrix: npt.ArrayLike, form: str) -> Packed:
        if form != "i8":
            raise ValueError(f"{self.name} holds i8 values alone, not {form}")
        dense = held(matrix, form)
        rows, cols = dense.shape
        streams = []
        for row in np.pad(dense, ((0, 0), (0, self.block))):
            stream, last = bytearray(), 0
            for start in self._starts(np.flatnonzero(row).tolist()):
                distance = start - last
                while distance > FURTHEST:
                    stream += bytes((ESCAPE, 0))
                    distance -= FURTHEST
                stream.append((distance - 128) % 256)
                stream += row[start:start + self.block].tobytes()
                last = start + self.block - 1
            streams.append(bytes(stream))
        offsets = np.cumsum([0, *map(len, streams)]).astype(np.uint32)
        return Packed(form, rows, cols, np.frombuffer(b"".join(streams), np.uint8), np.zeros(0, np.uint8), offsets)

    def decoded(self, packed: Packed) -> tuple[Array, Mask]:
        slots = self.slots(packed.values, packed.rows, packed.cols, packed.offsets)
        return placed(slots, self.stored_values(packed.values, packed.offsets), packed.rows, packed.cols)

    def stored_values(self, streams: Bytes, offsets: Array | None) -> Array:
        """The values of sound streams, int8 (slots,)."""
        found, ends = bytearray(), [] if offsets is None else offsets.tolist()
        for start, end in pairwise(ends):
            stream, at = streams[start:end].tobytes(), 0
            while at < len(stream):
                if at + 1 < len(stream) and stream[at + 1] == 0:
                    at += 2
                    continue
                found += stream[at + 1:at + 1 + self.block]
                at += 1 + self.block
        return np.frombuffer(bytes(found), np.int8)
