"""Matrices with two of each four columns, as tensor cores read them: torch's semi-structured tensors, and marlin-24.

    torch, CUTLASS    NAME.packed (rows, cols / 2): F16, BF16, I8, or F32 with one of each two columns
                      NAME.meta I16, or I32 for I8 (rows, words): four bits for each four columns, the place of the first value and
                      4 * the place of the second; the words are reordered (`places`)
    marlin-24         MODULE.weight_packed I32 (cols / 32, rows * bits / 2), unsigned codes of 4 or 8 bits (Marlin24)
                      MODULE.scale_packed F16 (groups, rows), MODULE.meta I16, of any shape, reordered otherwise

safetensors has no names for torch's tensors; these are the names of their parts in torch.
Source: torch 2.13, sparse/_semi_structured_conversions.py; compressed-tensors 0.14.0.1, compressors/sparse_quantized_compressors,
utils/semi_structured_conversions.py and permutations_24.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from compiler.errors import ModelError, shown
from compiler.frontends.shards import Stored
from compiler.frontends.stored.files import Files
from compiler.frontends.stored.matrices import Matrix, Rows, numbers, unpacked


def semi_structured(files: Files, prefix: str, shape: tuple[int, int], dtypes: Iterable[str]) -> Matrix:
    """The matrix of PREFIX.packed and PREFIX.meta. Raises ModelError."""
    rows, cols = shape
    values = files.take(f"{prefix}.packed", dtypes, (rows, cols // 2), why="half of the columns")
    kind, per_word = ("I32", 32) if values.dtype == "I8" else ("I16", 8 if values.dtype == "F32" else 16)
    _check(values, shape, 16 if kind == "I32" else 32, 2 * per_word)
    return SemiStructured(values, shape, files.take(f"{prefix}.meta", [kind], (rows, cols // per_word), why="places of values"))


def _check(stored: Stored, shape: tuple[int, int], rows: int, cols: int) -> None:
    if shape[0] % rows or shape[1] % cols:
        raise ModelError(stored.where.file, f"tensor {stored.name}", got=f"a matrix of {shown(shape)}",
                         expected=f"rows in multiples of {rows} and columns in multiples of {cols}")


def torch_rows(rows: int, group: int) -> Any:
    """Where torch has the metadata of each row: of each `group`, 32 or 16, the rows 0, 8, 16 ... come first, then 1, 9, 17 ..."""
    row = np.arange(rows)
    return row // group * group + row % 8 * (group // 8) + row % group // 8


def marlin_rows(rows: int) -> Any:
    """Where marlin-24 has it, 64 rows at a time."""
    row = np.arange(rows)
    return row // 64 * 64 + row % 4 // 2 * 32 + row % 64 // 8 * 4 + row % 2 * 2 + row % 8 // 4


def places(order: Any, words: int) -> Any:
    """Where each word of metadata lies: indices (rows, words) into the stored ones. `order`: where each row goes.

    Then the other diagonal of each 2 x 2 words is swapped, and the words of two columns lie together, row by row.
    """
    row, word = np.broadcast_arrays(order[:, None], np.arange(words))
    swap = (row + 1) % 2 * (word % 2) - row % 2 * ((word + 1) % 2)
    row, word = row + swap, word - swap
    return word // 2 * 2 * len(order) + 2 * row + word % 2


def spread(values: Any, meta: Stored, order: Any, first: int, last: int) -> Any:
    """Rows first to last of a matrix, of their values (last - first, cols / 2). Raises ModelError for places that do not rise."""
    words = numbers(meta)
    found = words[places(order, len(words) // len(order))[first:last]]
    fours = found[..., None] >> np.arange(0, 8 * words.itemsize, 4, dtype=words.dtype) & 15
    fours = fours.reshape(last - first, -1)
    low, high = fours & 3, fours >> 2
    halves = values.dtype == np.uint16
    if wrong := np.argwhere((low % 2 == 1) | (high != low + 1) if halves else low >= high)[:1].tolist():
        row, four = wrong[0]
        raise ModelError(meta.where.file, f"tensor {meta.name}", hint="the checkpoint is damaged",
                         got=f"places {low[row, four]} and {high[row, four]} in group {four} of row {first + row}",
                         expected="0 and 1, or 2 and 3" if halves else "two of 0 to 3 that rise")
    dense = np.zeros((*fours.shape, 4), values.dtype)
    np.put_along_axis(dense, np.stack([low, high], -1).astype(np.int64), values.reshape(*fours.shape, 2), 2)
    return dense.reshape(last - first, -1)


@dataclass(frozen=True)
class SemiStructured(Matrix):
    """`meta` says which two of each four columns the values are. fp32: halves of numbers are placed, so it is one of each two."""

    meta: Stored

    def block(self, first: int, last: int) -> Any:
        half = self.shape[1] // 2
        values = numbers(self.stored, first * half, last * half).reshape(-1, half)
        order = torch_rows(self.shape[0], 32 if self.meta.dtype == "I16" else 16)
        if self.stored.dtype == "F32":
            return spread(values.view(np.uint16), self.meta, order, first, last).view(np.float32)
        return spread(values, self.meta, order, first, last)


# ------------------------------------------------------------------------------------------------ marlin-24


def marlin24(files: Files, module: str, shape: tuple[int, int], bits: int, group: int) -> tuple[Matrix, Matrix]:
    """(codes, scales) of a module. `group`: columns that share a scale. Raises ModelError."""
    rows, cols = shape
    packed = files.take(f"{module}.weight_packed", ["I32"], (cols // 32, rows * bits // 2), why=f"half of the {bits}-bit codes")
    _check(packed, shape, 64, 32)
    meta = files.take(f"{module}.meta", ["I16"])
    if int(np.prod(meta.shape)) != rows * cols // 16:
        raise ModelError(meta.where.file, f"tensor {meta.name}", got=f"shape {shown(meta.shape)}",
                         expected=f"{rows * cols // 16:,} numbers, one for 16 columns of each row")
    scales = files.take(f"{module}.scale_packed", ["F16"], (-(-cols // group), rows), why="scales of groups")
    return Marlin24(packed, shape, meta, bits), MarlinScales(scales, (rows, scales.shape[0]), 2 * group < cols)


@dataclass(frozen=True)
class Marlin24(Matrix):
    """Signed codes. The values that are kept, (cols / 2, rows), lie in tiles of 16 x 16, four tiles of a row of them together.

    Numbers of these 1,024 are taken in the order in which threads of a tensor core want them; a word has 32 / bits of them.
    """

    meta: Stored
    bits: int

    def block(self, first: int, last: int) -> Any:
        rows, cols = self.shape
        codes = unpacked(numbers(self.stored).reshape(cols // 32, -1), self.bits).reshape(-1, 1024)
        tiles = np.empty_like(codes)
        tiles[:, _order(self.bits)] = codes
        kept = tiles.reshape(cols // 32, rows // 16, 16, 16).transpose(1, 3, 0, 2).reshape(rows, -1)[first:last]
        return spread((kept.astype(np.int16) - (1 << self.bits - 1)).astype(np.int8), self.meta, marlin_rows(rows), first, last)


def _order(bits: int) -> Any:
    """Of the numbers of four tiles (tile, row, column) as they are stored: which ones they are."""
    thread, column, half, row = np.indices((32, 4, 2, 4))
    tile, side = thread // 8, thread // 4 % 2
    order = (256 * tile + 16 * (2 * (thread % 4) + row % 2 + row // 2 * 8) + 8 * side + 4 * half + column).reshape(-1, 32 // bits)
    return np.concatenate([order[:, 0::2], order[:, 1::2]], axis=1).reshape(-1)


@dataclass(frozen=True)
class MarlinScales(Matrix):
    """Scales (rows, groups). `mixed`: of each eight rows the second four lie between the first four."""

    mixed: bool

    def block(self, first: int, last: int) -> Any:
        scales = Rows(self.stored, self.shape[::-1]).whole()
        if self.mixed:
            scales = scales.reshape(-1, 4, 2).swapaxes(1, 2).reshape(scales.shape)
        return scales.T[first:last]
