"""A matrix as centres and differences in the weights file: differences row by row, scales, centres, the centres of pieces, rows.

    differences   (rows, cols) in the format of differences, rows in their order (formats/reuse.py); then their scales
    centres       (CENTRES, columns), for all pieces
    assigned      (rows, pieces) u8: of each row, in this order, the centres of its pieces
    order         (rows,) u32: the rows of the matrix in this order
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from compiler.formats.reuse import CENTRES, Reuse
from compiler.passes.reuse import ReusedTensor


@dataclass(frozen=True)
class Reused:
    """Where the parts of a matrix are, in bytes from where its own offset counts; the first `buffered` rows are for buffer mode."""

    reuse: Reuse
    columns: int
    pieces: int
    buffered: int
    centres: int = 0
    assigned: int = 0
    order: int = 0

    @property
    def centres_bytes(self) -> int:
        return CENTRES * self.reuse.centres.row_bytes(self.columns)

    def bytes_beside(self, rows: int) -> int:
        """Bytes of what lies beside differences and scales."""
        return self.centres_bytes + rows * (self.pieces + 4)


def write(stream: IO[bytes], tensor: ReusedTensor, reused: Reused, offset: int, scales: int) -> Iterator[int]:
    """Write the parts of a matrix; yields the position in the file as it goes on. offset, scales: where the matrix and its scales
    are, as those of `reused`."""
    start = stream.tell() - offset
    differences, assigned, factors = tensor.in_order()
    stream.write(reused.reuse.differences.packing.pack(differences).tobytes())
    yield stream.tell()
    for at, part in ((scales, factors.astype("<f4")), (reused.centres, reused.reuse.centres.packing.pack(tensor.clusters.centres)),
                     (reused.assigned, assigned), (reused.order, tensor.order.rows.astype("<u4"))):
        stream.write(bytes(start + at - stream.tell()))
        stream.write(part.tobytes())
    yield stream.tell()
