"""Weights as GPTQ, AWQ, compressed-tensors and torch pack them: a matrix to tensors of a file, number by number."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

Tensors = dict[str, np.ndarray]


def _words(numbers: Iterable[int], bits: int) -> list[int]:
    """Numbers one after the other as one long integer, cut into 32-bit words."""
    numbers = list(numbers)
    whole = sum(int(number) << bits * place for place, number in enumerate(numbers))
    return [whole >> 32 * word & 0xFFFFFFFF for word in range(-(-len(numbers) * bits // 32))]


def _int32(rows: list[list[int]]) -> np.ndarray:
    return np.array(rows, np.uint32).view(np.int32)


def gptq(module: str, codes: np.ndarray, zeros: np.ndarray, scales: np.ndarray, bits: int, *, version: int = 1) -> Tensors:
    """codes (rows, cols) from 0, zeros and scales (rows, groups)."""
    stored = (zeros - 1) % (1 << bits) if version == 1 else zeros
    group = codes.shape[1] // zeros.shape[1]
    return {f"{module}.qweight": np.ascontiguousarray(_int32([_words(row, bits) for row in codes]).T),
            f"{module}.qzeros": _int32([_words(column, bits) for column in stored.T]),
            f"{module}.scales": np.ascontiguousarray(scales.T),
            f"{module}.g_idx": np.arange(codes.shape[1], dtype=np.int32) // group}


def awq(module: str, codes: np.ndarray, zeros: np.ndarray, scales: np.ndarray) -> Tensors:
    def packed(values: np.ndarray) -> np.ndarray:
        """(rows, n) -> (n, rows / 8)"""
        return _int32([[sum(int(values[8 * word + row, at]) << 4 * place for place, row in enumerate((0, 2, 4, 6, 1, 3, 5, 7)))
                        for word in range(len(values) // 8)] for at in range(values.shape[1])])

    return {f"{module}.qweight": packed(codes), f"{module}.qzeros": packed(zeros),
            f"{module}.scales": np.ascontiguousarray(scales.T)}


def _in_words(row: Iterable[int], bits: int) -> list[int]:
    """Each word has 32 // bits numbers, and bits that are left over at its top."""
    row, each = list(row), 32 // bits
    return [sum(int(number) << bits * place for place, number in enumerate(row[at:at + each])) for at in range(0, len(row), each)]


def pack_quantized(module: str, codes: np.ndarray, scales: np.ndarray, bits: int, zeros: np.ndarray | None = None) -> Tensors:
    """codes and zeros are signed."""
    half = 1 << bits - 1
    packed = {f"{module}.weight_packed": _int32([_in_words(row + half, bits) for row in codes.astype(int)]),
              f"{module}.weight_scale": scales, f"{module}.weight_shape": np.array(codes.shape, np.int64)}
    if zeros is not None:
        packed[f"{module}.weight_zero_point"] = np.ascontiguousarray(
            _int32([_in_words(column + half, bits) for column in zeros.astype(int).T]).T)
    return packed


def bitmask(prefix: str, dense: np.ndarray, *, two_of_four: bool = False) -> Tensors:
    rows, cols = dense.shape
    kept = np.zeros((rows, cols), bool)
    for row in range(rows):
        for col in range(cols):
            four = np.abs(dense[row, col // 4 * 4:][:4].astype(float))
            kept[row, col] = col % 4 in sorted(np.argsort(-four, kind="stable")[:2]) if two_of_four else dense[row, col] != 0
    mask = np.zeros((rows, -(-cols // 8)), np.uint8)
    for row, col in np.argwhere(kept):
        mask[row, col // 8] |= 1 << col % 8
    values = np.array([dense[row, col] for row, col in np.argwhere(kept)], dense.dtype)
    shape = np.array(dense.shape, np.int64)
    if two_of_four:
        return {f"{prefix}.shape": shape.reshape(2, 1), f"{prefix}.bitmask": mask, f"{prefix}.compressed": values.reshape(rows, -1)}
    counts = kept.sum(axis=1)
    return {f"{prefix}.shape": shape, f"{prefix}.bitmask": mask, f"{prefix}.compressed": values,
            f"{prefix}.row_offsets": (np.cumsum(counts) - counts).astype(np.int64)}


def by_rows(prefix: str, dense: np.ndarray, block: tuple[int, int] | None = None, indices: Any = np.int64) -> Tensors:
    """CSR, or BSR with blocks."""
    tall, wide = block or (1, 1)
    starts, columns, values = [0], [], []
    for top in range(0, len(dense), tall):
        for left in range(0, dense.shape[1], wide):
            part = dense[top:top + tall, left:left + wide]
            if part.any():
                columns.append(left // wide)
                values.append(part if block else part[0, 0])
        starts.append(len(columns))
    return {f"{prefix}.crow_indices": np.array(starts, indices), f"{prefix}.col_indices": np.array(columns, indices),
            f"{prefix}.values": np.array(values, dense.dtype)}
