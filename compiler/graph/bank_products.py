"""Products in the banks of a PIM memory, in NumPy: operations of the executor (execute.py).

A matrix lies in the banks slice by slice: `height` rows, each in its own bank. It may be divided into tiles of columns too. The sum
that a bank computes of its row is a part. There is a part for each tile and bank; it is 0 for a bank without a row. `collect` puts
the parts together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from compiler.graph.arithmetic import Arithmetic, Half
from compiler.model.tensors import F32, Codes, Tensor
from isa import arithmetic as exact

if TYPE_CHECKING:
    from compiler.model.model import Model


class BankOperations:
    """The operations of the executor that work on banks. Shapes are those of KINDS (ops.py)."""

    arithmetic: Arithmetic
    model: Model
    _blocks: Callable[[str, Callable[[Tensor, int, int], Any], int], Iterator[Any]]
    _codes: Callable[[str], Iterator[Codes]]
    _quantise: Callable[[F32], tuple[Any, F32]]

    def _quantise_banks(self, x: F32, *, size: float) -> tuple[Any, F32]:
        codes, scale = self._quantise(x)
        return _padded(codes, int(size)), scale

    def _round_banks(self, x: F32, *, size: float) -> Any:
        return _padded(exact.f16_bits(x), int(size))

    def _gemv_banks_i8(self, x: Any, *, W: str, tile: float, height: float, banks: float) -> Any:
        rows = [_tile_sums(block.values, x, int(tile)) for block in self._codes(W)]
        return _placed(np.concatenate(rows, axis=1), int(height), int(banks))

    def _gemv_banks_f16(self, x: Half, *, W: str, tile: float, height: float, banks: float) -> Any:
        tiles = range(-(-self.model.tensor(W).shape[1] // int(tile)))
        rows = [np.stack([self.arithmetic.gemv_half(*_tile(block, x, t, int(tile))) for t in tiles])
                for block in self._blocks(W, _half_rows, 2)]
        return _placed(np.concatenate(rows, axis=1), int(height), int(banks))

    def _collect_i8(self, parts: Any, scale: F32, *, W: str, height: float, banks: float) -> Any:
        rows = self.model.tensor(W).shape[0]
        sums = parts.sum(axis=0, dtype=np.int32)
        scales = np.concatenate([np.broadcast_to(block.scales, (len(block.values), 1)).reshape(-1) for block in self._codes(W)])
        return _of_rows(sums, rows, int(height), int(banks)).astype(np.float32) * (scales * scale)

    def _collect_f16(self, parts: Half, *, W: str, height: float, banks: float) -> Any:
        rows, values = self.model.tensor(W).shape[0], exact.f32_from_f16(parts)
        total: F32 = values[0]
        for value in values[1:]:
            total = total + value
        return _of_rows(total, rows, int(height), int(banks))


def _padded(values: Any, size: int) -> Any:
    result = np.zeros(size, values.dtype)
    result[:len(values)] = values
    return result


def _half_rows(tensor: Tensor, first: int, last: int) -> Half:
    """Rows of a matrix as fp16: its format is one of them, so nothing is rounded."""
    return exact.f16_bits(tensor.rows(first, last))


def _tile(values: Half, x: Half, number: int, tile: int) -> tuple[Half, Half]:
    """The columns of a tile and what they are multiplied with: (rows, columns), (columns,). Zeros behind would change no sum."""
    last = min((number + 1) * tile, values.shape[1])
    return values[:, number * tile:last], x[number * tile:last]


def _tile_sums(values: Any, x: Any, tile: int) -> Any:
    """Integer sums over each tile of columns: codes (rows, cols), x (padded,) -> (tiles, rows)."""
    cols = values.shape[1]
    products = values.astype(np.int32) * x[:cols].astype(np.int32)
    return np.add.reduceat(products, np.arange(0, cols, tile), axis=1, dtype=np.int32).T


def _placed(values: Any, height: int, banks: int) -> Any:
    """A number for each row at the place of its bank, 0 elsewhere: (tiles, rows) -> (tiles, places)."""
    tiles, rows = values.shape
    slices = -(-rows // height)
    result = np.zeros((tiles, slices * height), values.dtype)
    result[:, :rows] = values
    return np.pad(result.reshape(tiles, slices, height), ((0, 0), (0, 0), (0, banks - height))).reshape(tiles, -1)


def _of_rows(values: Any, rows: int, height: int, banks: int) -> Any:
    """The inverse for one tile: (places,) -> (rows,)."""
    return values.reshape(-1, banks)[:, :height].reshape(-1)[:rows]
