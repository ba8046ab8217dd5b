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


# ------------------------------------------------------------------------------------------------ two of four, for tensor cores


def _two_of_four(dense: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(values (rows, cols / 2), four bits for each group (rows, cols / 4)). A group with fewer values keeps its last zeros too."""
    groups = dense.reshape(len(dense), -1, 4)
    values, bits = np.zeros((*groups.shape[:2], 2), dense.dtype), np.zeros(groups.shape[:2], np.int64)
    for row, group in np.ndindex(bits.shape):
        kept = [place for place in range(4) if groups[row, group, place]]
        kept = sorted(kept + [place for place in (3, 2, 1, 0) if place not in kept][:2 - len(kept)])
        values[row, group], bits[row, group] = groups[row, group, kept], kept[0] + 4 * kept[1]
    return values.reshape(len(dense), -1), bits


def _meta(bits: np.ndarray, order: list[int], kind: Any) -> np.ndarray:
    """Words of metadata as tensor cores read them. `order`: which row comes first, which second ..."""
    each = np.dtype(kind).itemsize * 2
    words = np.array([[sum(int(four) << 4 * place for place, four in enumerate(row[at:at + each]))
                       for at in range(0, len(row), each)] for row in bits], np.uint64)[order]
    words[0::2, 1::2], words[1::2, 0::2] = words[1::2, 0::2].copy(), words[0::2, 1::2].copy()
    rows, count = words.shape
    together = words.reshape(rows, count // 2, 2).swapaxes(0, 1).reshape(rows, count)
    return together.astype(f"u{np.dtype(kind).itemsize}").view(kind)


def semi_structured(prefix: str, dense: np.ndarray) -> Tensors:
    """As torch has it in the layout of CUTLASS. Of fp32 one of each two is kept: both halves of it are."""
    halves = dense.dtype == np.float32
    values, bits = _two_of_four(dense.view(np.uint16) if halves else dense)
    if halves:                                              # a half may be 0 in a number that is not, and the other way round
        kept = dense.reshape(len(dense), -1, 2) != 0
        second = kept[..., 1] | ~kept[..., 0]
        values, bits = np.where(second, dense[:, 1::2], dense[:, 0::2]), np.where(second, 2 + 4 * 3, 0 + 4 * 1)
    group = 16 if dense.dtype == np.int8 else 32
    order = [top + 8 * eighth + row for top in range(0, len(dense), group) for row in range(8) for eighth in range(group // 8)]
    return {f"{prefix}.packed": values, f"{prefix}.meta": _meta(bits, order, np.int32 if group == 16 else np.int16)}


def marlin24(module: str, codes: np.ndarray, scales: np.ndarray, bits: int) -> Tensors:
    """codes (rows, cols) signed, scales (rows, groups)."""
    rows, cols = codes.shape
    values, fours = _two_of_four(codes)
    goes = {row // 64 * 64 + row % 2 * 2 + row % 8 // 4 + row % 4 // 2 * 32 + row % 64 // 8 * 4: row for row in range(rows)}
    meta = _meta(fours, [goes[at] for at in range(rows)], np.int16)
    turned = values.T.astype(int) + (1 << bits - 1)         # (cols / 2, rows)
    words = []
    for top in range(0, cols // 2, 16):
        numbers = [turned[top + k, left + 16 * (thread // 8) + 8 * (thread // 4 % 2) + 4 * half + column]
                   for left in range(0, rows, 64) for thread in range(32) for column in range(4) for half in range(2)
                   for k in (2 * (thread % 4), 2 * (thread % 4) + 1, 2 * (thread % 4) + 8, 2 * (thread % 4) + 9)]
        each = 32 // bits
        words.append([sum(int(numbers[at + place]) << bits * turn for turn, place in
                          enumerate((*range(0, each, 2), *range(1, each, 2)))) for at in range(0, len(numbers), each)])
    packed = scales.T.astype(np.float16)                    # (groups, rows)
    if scales.shape[1] > 1 and cols // scales.shape[1] < cols // 2:
        packed = packed[:, [8 * (row // 8) + (0, 4, 1, 5, 2, 6, 3, 7)[row % 8] for row in range(rows)]]
    return {f"{module}.weight_packed": _int32(words), f"{module}.scale_packed": np.ascontiguousarray(packed),
            f"{module}.meta": meta.reshape(meta.shape[1] // 2, -1)}
