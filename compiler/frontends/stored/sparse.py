"""Sparse matrices in files: their zeros are not there. Each is read as a dense one with exact zeros.

NAME is the tensor's name with or without .weight at the end.

    compressed-tensors sparse-bitmask       NAME.shape, NAME.bitmask U8 (rows, bytes): bit k of byte j is column 8j + k
                                            NAME.compressed (n,), the values of set bits, row by row; NAME.row_offsets I64 (rows,)
    compressed-tensors sparse-24-bitmask    the same, two bits of each four; no row_offsets, NAME.compressed (rows, cols / 2)
    CSR                                     NAME.crow_indices (rows + 1,), NAME.col_indices (n,), NAME.values (n,)
    BSR                                     the same of blocks, NAME.values (n, block rows, block columns)

The last two have the names of torch's sparse tensors; safetensors has none of its own.
Source: compressed-tensors 0.14.0.1, compressors/sparse_compressors; torch, docs/sparse (CSR, BSR).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from compiler.errors import ModelError, shown
from compiler.formats.weight_format import WEIGHT_FORMATS
from compiler.frontends.shards import Stored
from compiler.frontends.stored.files import Files
from compiler.frontends.stored.floats import FLOATS
from compiler.frontends.stored.matrices import Matrix, numbers
from compiler.frontends.stored.two_of_four import semi_structured
from compiler.model.tensors import F32, Tensor

INDICES = ("I32", "I64")


@dataclass(frozen=True, kw_only=True)
class MatrixTensor(Tensor):
    """The floats of a matrix as the model's."""

    of: Matrix

    @property
    def file(self) -> Any:
        return self.of.file

    def _rows(self, first: int, last: int) -> F32:
        rows: F32 = self.of.block(first, last)
        return rows


def sparse_tensor(files: Files, name: str, shape: tuple[int, ...]) -> MatrixTensor | None:
    """The matrix of floats that lies in `files` as a sparse one under this name; None if none does."""
    found = sparse_matrix(files, name, shape, tuple(FLOATS)) if len(shape) == 2 else None
    return None if found is None else MatrixTensor(name, found.shape, WEIGHT_FORMATS[FLOATS[found.stored.dtype]], of=found)


def sparse_matrix(files: Files, name: str, shape: tuple[int, ...], dtypes: Iterable[str]) -> Matrix | None:
    """The sparse matrix of a name, with values of one of these types; None if there is none. Raises ModelError."""
    rows, cols = shape
    for prefix in (name, name.removesuffix(".weight")):
        if f"{prefix}.bitmask" in files:
            return _bitmask(files, prefix, (rows, cols), dtypes)
        if f"{prefix}.crow_indices" in files:
            return _by_rows(files, prefix, (rows, cols), dtypes)
        if f"{prefix}.packed" in files:
            return semi_structured(files, prefix, (rows, cols), dtypes)
    return None


def _wrong(stored: Stored, got: str, expected: str) -> ModelError:
    return ModelError(stored.where.file, f"tensor {stored.name}", got=got, expected=expected, hint="the checkpoint is damaged")


# ------------------------------------------------------------------------------------------------ bitmasks


def _bitmask(files: Files, prefix: str, shape: tuple[int, int], dtypes: Iterable[str]) -> Matrix:
    rows, cols = shape
    if f"{prefix}.shape" in files:
        said = files.take(f"{prefix}.shape", INDICES)
        if tuple(numbers(said).tolist()) != shape:
            raise ModelError(said.where.file, f"tensor {said.name}", got=f"shape {shown(tuple(numbers(said).tolist()))}",
                             expected=f"{shown(shape)}, as the configuration says")
    mask = files.take(f"{prefix}.bitmask", ["U8"], (rows, -(-cols // 8)), why=f"a bit for each of {cols} columns")
    if f"{prefix}.row_offsets" in files:
        values = files.take(f"{prefix}.compressed", dtypes)
        return Bitmask(values, shape, mask, files.take(f"{prefix}.row_offsets", INDICES, (rows,)))
    if cols % 4:
        raise ModelError(mask.where.file, f"tensor {mask.name}", got=f"{cols} columns", expected="whole groups of four")
    return Bitmask(files.take(f"{prefix}.compressed", dtypes, (rows, cols // 2), why="two of each four"), shape, mask, None)


@dataclass(frozen=True)
class Bitmask(Matrix):
    """`values` where bits of `mask` are set. `offsets`: where the values of each row begin; None: every row has cols / 2."""

    mask: Stored
    offsets: Stored | None

    def block(self, first: int, last: int) -> Any:
        rows, cols = self.shape
        width, total = self.mask.shape[1], int(np.prod(self.stored.shape))
        packed = numbers(self.mask, first * width, last * width).reshape(-1, width)
        bits = np.unpackbits(packed, axis=1, bitorder="little")
        if bits[:, cols:].any():
            raise _wrong(self.mask, "bits that are set behind the last column", f"bits for {cols} columns")
        bits = bits[:, :cols].astype(bool)
        counts = bits.sum(axis=1)
        if self.offsets is None:
            if wrong := np.argwhere(bits.reshape(len(bits), -1, 4).sum(axis=2) != 2)[:1].tolist():
                row, group = wrong[0]
                raise _wrong(self.mask, f"{bits[row, 4 * group:4 * group + 4].sum()} bits for columns {4 * group} to "
                             f"{4 * group + 3} of row {first + row}", "two of each four")
            starts = np.arange(first, last + 1) * (cols // 2)
        else:
            starts = np.append(numbers(self.offsets, first, min(last + 1, rows)), [total] * (last == rows))
            wrong = np.flatnonzero(np.diff(starts) != counts)[:1].tolist()
            if wrong or not 0 <= starts[0] <= starts[-1] <= total or (first == 0 and starts[0]):
                row = wrong[0] if wrong else 0
                raise _wrong(self.offsets, f"values {starts[row]} to {starts[row + 1] - 1} for row {first + row}",
                             f"{counts[row]} values, as its bits say")
        values = numbers(self.stored, int(starts[0]), int(starts[-1]))
        dense = np.zeros(bits.shape, values.dtype)
        dense[bits] = values
        return dense


# ------------------------------------------------------------------------------------------------ compressed rows


def _by_rows(files: Files, prefix: str, shape: tuple[int, int], dtypes: Iterable[str]) -> Matrix:
    values = files.take(f"{prefix}.values", dtypes)
    block = values.shape[1:] or (1, 1)
    if len(block) != 2 or 0 in block or shape[0] % block[0] or shape[1] % block[1]:
        raise ModelError(values.where.file, f"tensor {values.name}", got=f"shape {shown(values.shape)}",
                         expected=f"(n,), or (n, r, c) with blocks that divide {shown(shape)}")
    starts = files.take(f"{prefix}.crow_indices", INDICES, (shape[0] // block[0] + 1,), why="where each row begins")
    return CompressedRows(values, shape, starts, files.take(f"{prefix}.col_indices", INDICES, values.shape[:1]), block)


@dataclass(frozen=True)
class CompressedRows(Matrix):
    """Blocks of values, row by row: block (i, j) of the matrix is there if j is one of the columns of row i."""

    starts: Stored
    columns: Stored
    size: tuple[int, ...]

    def block(self, first: int, last: int) -> Any:
        (tall, wide), cols = self.size, self.shape[1]
        low, high = first // tall, -(-last // tall)
        starts = numbers(self.starts, low, high + 1).astype(np.int64)
        count = self.stored.shape[0]
        if (np.diff(starts) < 0).any() or starts[0] < 0 or starts[-1] > count or (low == 0 and starts[0]) or (
                last == self.shape[0] and starts[-1] != count):
            raise _wrong(self.starts, f"rows that begin at {shown(tuple(starts[:8].tolist()))}", f"rising, from 0 to {count}")
        columns = numbers(self.columns, starts[0], starts[-1]).astype(np.int64)
        rows = np.repeat(np.arange(high - low), np.diff(starts))
        places = rows * (cols // wide) + columns
        outside = (columns < 0) | (columns >= cols // wide)
        if outside.any() or (np.diff(places) <= 0).any():
            raise _wrong(self.columns, f"column {columns[outside][0]}" if outside.any() else "columns of a row that do not rise",
                         f"rising columns below {cols // wide}")
        values = numbers(self.stored, starts[0] * tall * wide, starts[-1] * tall * wide).reshape(-1, tall, wide)
        dense = np.zeros((high - low, cols // wide, tall, wide), values.dtype)
        dense[rows, columns] = values
        return dense.transpose(0, 2, 1, 3).reshape(-1, cols)[first - low * tall:last - low * tall]
