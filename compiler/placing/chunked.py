"""A matrix of packed chunks in the weights file: packets, scales, codebook, the table of chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

import numpy as np

from compiler.passes.pack import PackedTensor, room_of


@dataclass(frozen=True)
class Chunks:
    """What a matrix has room for, the most of all layers: `size` bytes of packets, where its own offset is, and at `table` `count`
    chunks of so many bytes, or weights."""

    weights: int
    bytes: int
    count: int
    size: int
    table: int = 0

    @classmethod
    def of(cls, tensors: Sequence[PackedTensor]) -> Chunks:
        """Of these layers."""
        return cls(tensors[0].chunk, tensors[0].chunk_bytes, *room_of(tensors))

    @property
    def table_bytes(self) -> int:
        return self.count * self.bytes


def write(stream: IO[bytes], tensor: PackedTensor, chunks: Chunks, offset: int, scales: int) -> Iterator[int]:
    """Write the parts of a matrix; yields the position in the file as it goes on. offset, scales: where the matrix and its scales
    are, as `chunks.table`."""
    start, packed = stream.tell() - offset, tensor.packed()
    assert packed, "too many chunks"
    stream.write(packed.stream.tobytes())
    yield stream.tell()
    found = np.concatenate([tensor.codes(*block).scales.reshape(-1) for block in tensor.blocks()])
    stream.write(bytes(start + scales - stream.tell()))
    stream.write((found if tensor.group else found[:1]).astype("<f4").tobytes())
    if tensor.format.book:
        stream.write(np.array(tensor.levels, np.int8).tobytes())
    stream.write(bytes(start + chunks.table - stream.tell()))
    stream.write(packed.table.tobytes())
    stream.write(bytes(start + chunks.table + chunks.table_bytes - stream.tell()))
    yield stream.tell()
