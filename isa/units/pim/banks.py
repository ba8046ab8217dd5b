"""DRAM banks: how many there are, and which byte of a linear address lies in which channel, bank, row and column.

A PIM memory is channels of banks of rows; a row is read and written in columns of 32 bytes, one column command each. The mapping
from linear addresses is a preset's text: the four coordinates from the most significant to the least, the byte in a column left
out. A coordinate may stand in pieces; a piece with a number is that many bits, one without takes what is left of it:

    row column bank channel             as Samsung's Scheme8: neighbouring columns lie in different channels
    row column:3 bank channel column:2  four neighbouring columns lie in one row
    channel bank row column             each bank is one run of addresses

So an address is a sum of what each coordinate adds to it, and a table for each coordinate is the whole mapping: that is what
meanings and kernels use. Sizes need not be powers of two, but for the pieces below the topmost.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

COLUMN_BYTES = 32           # of a column command: 256 bits, 16 lanes of fp16
MOST_CHANNELS = 256         # the bits of four mask CSRs
MOST_ROWS = 1 << 24         # of a bank: each has an entry in a table
COORDINATES = ("channel", "bank", "row", "column")

Offsets = npt.NDArray[np.int64]


class MappingError(ValueError):
    """A mapping or an organisation that cannot be: what is there, and what is expected."""

    def __init__(self, got: str, expected: str) -> None:
        super().__init__(f"{got}; expected {expected}")
        self.got, self.expected = got, expected


def _require(holds: bool, got: str, expected: str) -> None:
    """Raise MappingError unless `holds` is true."""
    if not holds:
        raise MappingError(got, expected)


class MappingPiece(NamedTuple):
    """A part of a coordinate in the address: (coordinate // weight) % size stands there, in steps of `stride` bytes."""

    coordinate: str
    size: int
    weight: int
    stride: int


class Place(NamedTuple):
    """Coordinates of columns: integers, or arrays of one shape."""

    channel: Any
    bank: Any
    row: Any
    column: Any


@dataclass(frozen=True)
class Organisation:
    """The banks of a machine. `banks` are those of a channel, all its groups; `blocks` are its PIM blocks; `base` is where the
    region starts. Raises MappingError for numbers that do not divide and a mapping that does not fit them."""

    channels: int
    bank_groups: int
    banks: int
    rows: int
    columns: int
    blocks: int
    mapping: str
    base: int = 0

    def __post_init__(self) -> None:
        _require(self.banks % self.bank_groups == 0, f"{self.banks} banks in {self.bank_groups} bank groups",
                 "as many banks in each group")
        _require(self.blocks in (self.banks, self.banks / 2), f"{self.blocks} PIM blocks for {self.banks} banks",
                 "one for each bank, or one for every two")
        _require(self.channels <= MOST_CHANNELS, f"{self.channels} channels",
                 f"at most {MOST_CHANNELS}, the bits of the channel masks")
        _require(self.rows <= MOST_ROWS, f"{self.rows} rows", f"at most {MOST_ROWS}")
        _ = self.pieces

    @property
    def banks_per_block(self) -> int:
        """2: a PIM block has an even and an odd bank; 1: each bank is an even one."""
        return self.banks // self.blocks

    @property
    def sizes(self) -> dict[str, int]:
        """How many there are of each coordinate, in the order of COORDINATES."""
        return {"channel": self.channels, "bank": self.banks, "row": self.rows, "column": self.columns}

    @property
    def size(self) -> int:
        """Bytes of all banks."""
        return prod(self.sizes.values()) * COLUMN_BYTES

    @property
    def row_bytes(self) -> int:
        return self.columns * COLUMN_BYTES

    @cached_property
    def pieces(self) -> tuple[MappingPiece, ...]:
        """The mapping, the least significant piece first."""
        left, weight, stride = self.sizes, dict.fromkeys(COORDINATES, 1), COLUMN_BYTES
        found: list[MappingPiece] = []
        whole: set[str] = set()                             # coordinates whose topmost piece, the one without bits, has come
        text, exactly = f"the mapping {self.mapping!r}", "pieces that make up each coordinate exactly"
        for word in reversed(self.mapping.split()):
            parts = re.fullmatch(r"([a-z]+)(?::([0-9]{1,2}))?", word)
            if parts is None or parts[1] not in COORDINATES:
                raise MappingError(f"{word!r} in {text}", f"{', '.join(COORDINATES)}, alone or with bits: row:14")
            name = parts[1]
            size = 1 << int(parts[2]) if parts[2] else left[name]
            _require(left[name] % size == 0 and name not in whole,
                     f"{word!r} in {text}, where {left[name]} of {self.sizes[name]} {name}s are left", exactly)
            whole |= set() if parts[2] else {name}
            found.append(MappingPiece(name, size, weight[name], stride))
            left[name] //= size
            weight[name] *= size
            stride *= size
        for name, rest in left.items():
            _require(rest <= 1 and name in (piece.coordinate for piece in found),
                     f"{text}, which leaves {rest} of {self.sizes[name]} {name}s without an address", exactly)
        return tuple(found)

    @cached_property
    def offsets(self) -> dict[str, Offsets]:
        """What each value of a coordinate adds to an address, in bytes: channel (channels,), bank (banks,), ..."""
        tables = {}
        for name, size in self.sizes.items():
            values = np.arange(size, dtype=np.int64)
            tables[name] = np.zeros(size, np.int64)
            for piece in self.pieces:
                if piece.coordinate == name:
                    tables[name] += values // piece.weight % piece.size * piece.stride
        return tables

    @cached_property
    def contiguous(self) -> int:
        """Columns of a row that lie side by side in the address space: as many as a run of them starts at a multiple of."""
        first = self.pieces[0]
        return first.size if first.coordinate == "column" else 1

    def address(self, channel: Any, bank: Any, row: Any, column: Any) -> Any:
        """Linear address of columns: integers, or integer arrays that broadcast, each in range."""
        at = self.offsets
        return self.base + at["channel"][channel] + at["bank"][bank] + at["row"][row] + at["column"][column]

    def place(self, address: Any) -> Place:
        """Where the bytes at linear addresses lie: an integer or an array of any shape, inside the region."""
        offset = np.asarray(address, np.int64) - self.base
        found = {name: np.zeros_like(offset) for name in COORDINATES}
        for piece in self.pieces:
            found[piece.coordinate] += offset // piece.stride % piece.size * piece.weight
        return Place(**found)

    def picture(self) -> str:
        """The mapping with the values of each piece, the most significant first: "row 16384 | column 32 | ... | byte 32"."""
        return " | ".join([*(f"{piece.coordinate} {piece.size}" for piece in reversed(self.pieces)), f"byte {COLUMN_BYTES}"])
