"""Sparse int8 matrices in the two bitmask formats of compressed-tensors.

    sparse-bitmask      NAME.weight.shape, .bitmask, .compressed, .row_offsets      any places
    sparse-24-bitmask   NAME.shape, .bitmask, .compressed                           two of each four columns

Bit k of byte j in a row of the bitmask is column 8j + k. The values of set bits follow each other, row by row.

Source: compressed-tensors 0.14.0.1, compressors/sparse_compressors.
"""

from collections.abc import Mapping

import numpy as np


def two_of_four(kept: np.ndarray) -> bool:
    """Whether `kept` (rows, cols) has two of each four columns."""
    return kept.shape[1] % 4 == 0 and bool((kept.reshape(-1, 4).sum(-1) == 2).all())


def compress(name: str, codes: np.ndarray, kept: np.ndarray) -> dict[str, np.ndarray]:
    """The tensors of NAME.weight: int8 codes (rows, cols), and where they are stored. Raises ValueError for others that are not 0.

    With two of each four columns the places are `kept`, else those of codes that are not 0.
    """
    if codes[~kept].any():
        raise ValueError(f"{np.count_nonzero(codes[~kept])} codes that are not 0 among those to leave out")
    rows, cols = codes.shape
    paired = two_of_four(kept)
    stored = kept if paired else codes != 0
    prefix = name if paired else f"{name}.weight"
    tensors = {"shape": np.array([rows, cols], np.int64).reshape((2, 1) if paired else 2),
               "bitmask": np.packbits(stored, axis=1, bitorder="little"),
               "compressed": codes[stored].reshape((rows, cols // 2) if paired else -1)}
    if not paired:
        tensors["row_offsets"] = np.concatenate([[0], np.cumsum(stored.sum(1))[:-1]]).astype(np.int64)
    return {f"{prefix}.{part}": tensor for part, tensor in tensors.items()}


def expand(tensors: Mapping[str, np.ndarray], prefix: str) -> np.ndarray:
    """The matrix (rows, cols) that lies in PREFIX.shape, .bitmask and .compressed."""
    rows, cols = tensors[f"{prefix}.shape"].ravel()
    stored = np.unpackbits(tensors[f"{prefix}.bitmask"], axis=1, count=cols, bitorder="little").astype(bool)
    values = tensors[f"{prefix}.compressed"].ravel()
    dense = np.zeros((rows, cols), values.dtype)
    dense[stored] = values
    return dense
