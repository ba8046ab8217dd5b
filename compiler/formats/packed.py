"""Packed chunks: a matrix as numbers of chunks of its rows, and a table of the chunks that there are.

    packed = pack(rows, 2)          rows (n, row_bytes) of packed weights, in chunks of 2 bytes
    packed.table, packed.stream     as fetch.unpack reads them (isa/units/fetch.py)

Chunks are numbered by how often they occur, the most frequent first, so that frequent ones have few bits. A packet of 32 numbers
has as many bits for each as its largest number needs.

Source: MEADOW, arXiv 2503.11663 (from a third-party reading note). It does not say how many weights a chunk has.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compiler.formats.weight_format import WeightFormat
from isa.numbers import Bytes
from isa.units.fetch import MOST_CHUNKS, PACKET

LENGTHS = (4, 8)            # weights of a chunk


@dataclass(frozen=True)
class Packed:
    """The chunks that occur, uint8 (chunks, bytes), and the packets of all rows."""

    table: Bytes
    stream: Bytes

    @property
    def size(self) -> int:
        return self.table.size + self.stream.size


def chunk_bytes(form: WeightFormat, weights: int) -> int:
    """Bytes of a chunk of so many weights; 0: it does not begin and end with a byte, or lies in several places."""
    fields = form.packing.fields
    return fields[0] * weights // 8 if form.has_codes and len(fields) == 1 and fields[0] * weights % 8 == 0 else 0


def pack(rows: Bytes, size: int) -> Packed | None:
    """A matrix as chunks of `size` bytes, 1..8. None: there are more chunks than packets can name."""
    count, row_bytes = rows.shape
    each = -(-row_bytes // size)
    wide = np.zeros((count, each * size), np.uint8)
    wide[:, :row_bytes] = rows
    keys = np.zeros((count * each, 8), np.uint8)
    keys[:, :size] = wide.reshape(-1, size)
    chunks, inverse, often = np.unique(keys.view("<u8")[:, 0], return_inverse=True, return_counts=True)
    if len(chunks) > MOST_CHUNKS:
        return None
    order = np.argsort(-often, kind="stable")
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.arange(len(order))
    table = np.ascontiguousarray(chunks[order]).view(np.uint8).reshape(-1, 8)[:, :size]
    return Packed(np.ascontiguousarray(table), _packets(numbers[inverse].reshape(count, each)))


def _packets(numbers: np.ndarray[tuple[int, int], np.dtype[np.int64]]) -> Bytes:
    """The packets of rows of numbers (rows, chunks of a row)."""
    count, each = numbers.shape
    packets = -(-each // PACKET)
    padded = np.zeros((count, packets * PACKET), np.int64)
    padded[:, :each] = numbers
    widths = np.frexp(padded.reshape(count, packets, PACKET).max(axis=2).astype(np.float64))[1].astype(np.int64)
    held = np.minimum(each - PACKET * np.arange(packets), PACKET)
    head, sizes = -(-packets // 2), (held * widths + 7) // 8                    # (count, packets) bytes
    row_bytes = head + sizes.sum(axis=1)
    row_starts = np.cumsum(row_bytes) - row_bytes
    bits = np.zeros((int(row_bytes.sum()), 8), np.uint8).reshape(-1)
    starts = 8 * (row_starts[:, None] + head + np.cumsum(sizes, axis=1) - sizes)
    width_of = np.repeat(widths, held, axis=1)                                  # of each number
    start_of = np.repeat(starts, held, axis=1) + np.arange(each) % PACKET * width_of
    for bit in range(int(widths.max(initial=0))):
        there = width_of > bit
        bits[start_of[there] + bit] = numbers[there] >> bit & 1
    nibbles = 8 * row_starts[:, None] + 4 * np.arange(packets)
    for bit in range(4):
        bits[nibbles + bit] = widths >> bit & 1
    return np.packbits(bits, bitorder="little")
