"""The stream of fetch.unpack, bit by bit, as docs/isa/fetch.md says it."""

from __future__ import annotations

import random

import numpy as np
import numpy.typing as npt


def stream_of(rows: list[list[int]], wider: random.Random | None = None) -> list[int]:
    """The bytes of rows of numbers. `wider`: some packets get more bits than they need, and bits that are left are not 0."""
    found: list[int] = []
    for numbers in rows:
        packets = [numbers[at:at + 32] for at in range(0, len(numbers), 32)]
        widths = [max(packet).bit_length() for packet in packets]
        if wider:
            widths = [wider.randint(width, 15) if wider.random() < 0.3 else width for width in widths]
        found += [sum(width << 4 * side for side, width in enumerate(widths[at:at + 2])) for at in range(0, len(widths), 2)]
        for packet, width in zip(packets, widths, strict=True):
            bits = "".join(f"{number:0{width}b}" if width else "" for number in reversed(packet))
            bits = bits.rjust(-(-len(bits) // 8) * 8, "1" if wider else "0")
            found += [int(bits[at:at + 8], 2) for at in range(len(bits) - 8, -1, -8)]
    return found


def rows_of(rows: list[list[int]], table: npt.NDArray[np.uint8], row_bytes: int) -> list[list[int]]:
    """What they stand for."""
    return [[int(byte) for number in numbers for byte in table[number]][:row_bytes] for numbers in rows]
