"""Matrices of numbers as files hold them. `block(first, last)` reads rows: fp32, or integers.

    Rows            row by row
    Turned          another matrix, columns as rows
    Unpacked        numbers of a few bits in the 32-bit words of another matrix
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compiler.frontends.shards import Stored
from compiler.frontends.stored.floats import FLOATS
from isa.numbers import FORMATS

WHOLE = {"I8": np.int8, "U8": np.uint8, "I16": np.int16, "I32": np.int32, "I64": np.int64, "BOOL": np.uint8}
"""Types of integers by the names that safetensors has for them."""


@dataclass(frozen=True)
class Matrix(ABC):
    """A matrix of numbers, (rows, cols). `stored` is the tensor that it lies in, or the one of several that errors name."""

    stored: Stored
    shape: tuple[int, int]

    @property
    def name(self) -> str:
        return self.stored.name

    @property
    def file(self) -> Path:
        return self.stored.where.file

    @abstractmethod
    def block(self, first: int, last: int) -> Any:
        """Rows first to last (exclusive)."""

    def whole(self) -> Any:
        """All rows."""
        return self.block(0, self.shape[0])


def numbers(stored: Stored, first: int = 0, last: int | None = None) -> Any:
    """The numbers first to last (exclusive) of a tensor in the order of its file: fp32 (n,), or integers of its own type."""
    if stored.dtype in FLOATS:
        packing = FORMATS[FLOATS[stored.dtype]]
        size = packing.row_bytes(1)
        last = stored.where.size // size if last is None else last
        return packing.unpack(stored.where.read(first * size, (last - first) * size).reshape(1, -1), last - first)[0]
    kind = np.dtype(WHOLE[stored.dtype])
    last = stored.where.size // kind.itemsize if last is None else last
    return stored.where.read(first * kind.itemsize, (last - first) * kind.itemsize).view(kind)


@dataclass(frozen=True)
class Rows(Matrix):
    """Numbers row by row. Its `shape` may be another view of the tensor: (rows, 1) of a vector."""

    def block(self, first: int, last: int) -> Any:
        return numbers(self.stored, first * self.shape[1], last * self.shape[1]).reshape(last - first, self.shape[1])


@dataclass(frozen=True)
class Turned(Matrix):
    """Rows are the columns of another matrix, which is read whole."""

    of: Matrix

    def block(self, first: int, last: int) -> Any:
        return self.of.whole()[:, first:last].T


def turned(of: Matrix) -> Turned:
    return Turned(of.stored, of.shape[::-1], of)


@dataclass(frozen=True)
class Unpacked(Matrix):
    """Numbers of `bits` bits, the lowest bits first, in 32-bit words.

    crossing  numbers follow without gaps and may begin in one word and end in the next; else a word has 32 // bits of them
    """

    of: Matrix
    bits: int
    crossing: bool

    def block(self, first: int, last: int) -> Any:
        words = self.of.block(first, last)
        return (without_gaps(words, self.bits) if self.crossing else unpacked(words, self.bits))[:, :self.shape[1]]


def unpacked_of(of: Matrix, bits: int, cols: int, *, crossing: bool = False) -> Unpacked:
    return Unpacked(of.stored, (of.shape[0], cols), of, bits, crossing)


def unpacked(words: Any, bits: int, places: Sequence[int] = ()) -> Any:
    """(rows, words) -> uint8 (rows, numbers), 32 // bits from a word. `places` in a word of the first number, the second ..."""
    words = np.ascontiguousarray(words).view(np.uint32)
    parts = [(words >> np.uint32(bits * place) & np.uint32((1 << bits) - 1)).astype(np.uint8)
             for place in places or range(32 // bits)]
    return np.stack(parts, axis=2).reshape(len(words), -1)


def without_gaps(words: Any, bits: int) -> Any:
    """(rows, words) -> uint8 (rows, numbers): bits of one word after the other."""
    words = np.ascontiguousarray(words).view(np.uint32)
    starts = np.arange(words.shape[1] * 32 // bits) * bits
    at, low = starts // 32, (starts % 32).astype(np.uint64)
    following = words[:, np.minimum(at + 1, words.shape[1] - 1)].astype(np.uint64) << np.uint64(32)
    return ((following | words[:, at]) >> low & np.uint64((1 << bits) - 1)).astype(np.uint8)


def words_for(numbers: int, bits: int, *, crossing: bool = False) -> int:
    """How many 32-bit words hold so many numbers."""
    return -(-numbers * bits // 32) if crossing else -(-numbers // (32 // bits))
