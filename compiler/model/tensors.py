"""Tensors of a checkpoint: where they lie in which file and how, read block by block, never kept.

A `Tensor` is a matrix (rows, cols) or a vector (n,), which is read as one row. Nothing is read when it is made. Each read
maps the bytes of the rows asked for, decodes them and lets go of the mapping, so that resident memory does not grow with the
model; every value that is handed out is finite, or ModelError names the element.

What a few-bit tensor holds exactly, integer codes and their scales, is what `codes` returns; `rows` is the same as fp32.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from compiler.errors import ModelError
from compiler.formats.weight_format import WeightFormat

F32 = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

BLOCK = 1 << 22         # values that are decoded at once where a whole tensor is walked through: 16 MB of fp32


@dataclass(frozen=True)
class Codes:
    """Rows of a few-bit matrix as it is stored: value[r, c] = values[r, c] * scales[r, c // group].

    values  int8 (rows, cols)
    scales  fp32 (rows, cols / group), or (1, 1): one for the whole tensor
    group   columns that share a scale
    """

    values: npt.NDArray[np.int8]
    scales: F32
    group: int

    def floats(self) -> F32:
        """The same as fp32 (rows, cols): one rounding a value. A scale that is not finite shows in its values."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self.values.astype(np.float32) * np.repeat(self.scales, self.group, axis=1)


TERNARY = (-1, 0, 1)


@dataclass(frozen=True)
class FileRange:
    """Bytes of a file: `size` of them from `offset`."""

    file: Path
    offset: int
    size: int

    def read(self, start: int = 0, size: int | None = None) -> Bytes:
        """`size` bytes from `start`, mapped while they are in use. ModelError if the file has become shorter."""
        size = self.size - start if size is None else size
        if size == 0:
            return np.zeros(0, np.uint8)
        try:
            return np.memmap(self.file, np.uint8, "r", self.offset + start, (size,))
        except (ValueError, OSError) as error:
            raise ModelError(self.file, f"bytes from {self.offset + start}", got=f"{size} of them cannot be read: {error}",
                             expected="the file that was opened, unchanged") from None


@dataclass(frozen=True)
class Tensor(ABC):
    """A matrix (rows, cols) or vector (n,) of a checkpoint. It declares how a program stores it, so that nobody has to read it.

    name    as its file has it
    format  that a program stores it in: of codes in a layout of the file's own, the narrowest that holds them
    group   columns that share a scale; 0: one scale for all, or floats, which have none
    """

    name: str
    shape: tuple[int, ...]
    format: WeightFormat
    group: int = 0

    @property
    def levels(self) -> tuple[int, ...]:
        """The values that its codes may have, rising; () for floats, and for blocks of codes with an offset."""
        return self.format.levels

    @property
    def table(self) -> str:
        """What a recipe says of its codebook: "nf4", "fit"; "": nothing."""
        return ""

    @property
    def stored(self) -> str:
        """Format and columns that share a scale: "f32", "t2:tensor", "i8:64", "c4:nf4:64"."""
        if not self.format.has_codes:
            return self.format.name
        return ":".join((self.format.name, *filter(None, [self.table]), str(self.group or "tensor")))

    @property
    @abstractmethod
    def file(self) -> Path:
        """The file that errors name."""

    def _rows(self, first: int, last: int) -> F32:
        """Rows as fp32: here, codes times their scales."""
        return self._codes(first, last).floats()

    def _codes(self, first: int, last: int) -> Codes:
        """Rows as codes and scales, of a tensor whose format has codes."""
        raise TypeError(f"tensor {self.name} is {self.format}, which has no codes")

    @property
    def matrix(self) -> tuple[int, int]:
        """(rows, cols); a vector is one row."""
        return (1, self.shape[0]) if len(self.shape) == 1 else (self.shape[0], self.shape[1])

    def rows(self, first: int = 0, last: int | None = None) -> F32:
        """Rows first to last (exclusive) as fp32: (last - first, cols). Raises ModelError for NaN and infinity."""
        last = self.matrix[0] if last is None else last
        values = self._rows(first, last)
        finite = np.isfinite(values)
        if not finite.all():
            row, col = np.argwhere(~finite)[0]
            raise ModelError(self.file, f"tensor {self.name}", got=f"element [{first + row}, {col}] is {values[row, col]}",
                             expected="finite weights", hint="the checkpoint is damaged, or its training diverged")
        return values

    def codes(self, first: int = 0, last: int | None = None) -> Codes:
        """Rows first to last (exclusive) as codes and scales, exactly as stored. TypeError for floats."""
        last = self.matrix[0] if last is None else last
        codes = self._codes(first, last)
        if not np.isfinite(codes.scales).all():
            row, group = np.argwhere(~np.isfinite(codes.scales))[0]
            raise ModelError(self.file, f"tensor {self.name}", expected="finite weights", hint="the checkpoint is damaged",
                             got=f"the scale of group {group} in row {first + row} is {codes.scales[row, group]}")
        return codes

    def blocks(self, values: int = BLOCK) -> Iterator[tuple[int, int]]:
        """(first, last) of blocks of rows that hold about `values` elements, to walk through the tensor."""
        rows, cols = self.matrix
        step = max(1, values // cols)
        return ((first, min(first + step, rows)) for first in range(0, rows, step))

    def vector(self) -> F32:
        """A vector as fp32 (n,)."""
        return self.rows().reshape(-1)

    def check(self) -> None:
        """Walk through the tensor once; ModelError for NaN and infinity."""
        for first, last in self.blocks():
            self.rows(first, last)


# ------------------------------------------------------------------------------------------------ floats


@dataclass(frozen=True, kw_only=True)
class FileTensor(Tensor):
    """A tensor whose values are one run of bytes."""

    where: FileRange

    @property
    def file(self) -> Path:
        return self.where.file


@dataclass(frozen=True, kw_only=True)
class FloatTensor(FileTensor):
    """Row-major floats, packed: f32, f16 or bf16."""

    def _rows(self, first: int, last: int) -> F32:
        cols = self.matrix[1]
        size = self.format.row_bytes(cols)
        stored = self.where.read(first * size, (last - first) * size).reshape(last - first, size)
        values: F32 = self.format.packing.unpack(stored, cols)
        return values


# ------------------------------------------------------------------------------------------------ integers with scales


@dataclass(frozen=True, kw_only=True)
class GroupTensor(Tensor):
    """int8 codes (rows, cols), packed, and somewhere else a fp32 scale for every `scaled` of them in that order: llama2.c's Q8_0.

    Where rows are no multiple of `scaled`, a scale goes for codes of two rows. `group` columns of a row always share a scale.
    """

    values: FileRange
    scales: FileRange
    scaled: int

    @property
    def file(self) -> Path:
        return self.values.file

    def _codes(self, first: int, last: int) -> Codes:
        cols = self.matrix[1]
        values = self.values.read(first * cols, (last - first) * cols).view(np.int8)
        starts = np.arange(first * cols, last * cols, self.group) // self.scaled
        begin, end = first * cols // self.scaled, -(-last * cols // self.scaled)
        scales = self.scales.read(begin * 4, (end - begin) * 4).view("<f4").astype(np.float32)
        return Codes(np.array(values).reshape(-1, cols), scales[starts - begin].reshape(-1, cols // self.group), self.group)


# ------------------------------------------------------------------------------------------------ made of other tensors


@dataclass(frozen=True, kw_only=True)
class DerivedTensor(Tensor):
    """A tensor whose rows are made from those of `source`.

    rounds   its values are those of the source, rounded: where that has a zero, this has one
    """

    source: Tensor
    rounds: ClassVar[bool] = False

    @property
    def file(self) -> Path:
        return self.source.file

    @property
    def table(self) -> str:
        return self.source.table if self.format == self.source.format else ""


@dataclass(frozen=True, kw_only=True)
class AbsmeanTensor(DerivedTensor):
    """Floats that are ternary when used: codes rint(w / s) within -1..1 with s = mean |w| of the matrix, at least 1e-5.

    Source: Ma et al., "The Era of 1-bit LLMs", arXiv:2402.17764, section 2; transformers, integrations/bitnet.py, WeightQuant.
    """

    rounds = True

    @cached_property
    def _inverse(self) -> np.float32:
        """1 / s. The mean is taken in fp64."""
        total = sum(float(np.abs(self.source.rows(first, last)).sum(dtype=np.float64)) for first, last in self.blocks())
        return np.float32(1) / max(np.float32(total / math.prod(self.shape)), np.float32(1e-5))

    def _codes(self, first: int, last: int) -> Codes:
        codes = np.clip(np.rint(self.source.rows(first, last) * self._inverse), -1, 1).astype(np.int8)
        return Codes(codes, np.full((1, 1), np.float32(1) / self._inverse, np.float32), self.matrix[1])
