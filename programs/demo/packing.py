"""BitNet's packed ternary matrices: four codes to a byte, taken from the four quarters of the rows.

Source: transformers, integrations/bitnet.py, pack_weights.
"""

import numpy as np


def pack(codes: np.ndarray) -> np.ndarray:
    """Codes -1, 0, 1 (rows, cols) to bytes (rows / 4, cols): bits 2i+1..2i of row r are 1 + the code of row i * rows/4 + r.

    Raises ValueError if the rows have no four equal parts or something else than -1, 0, 1 is among the codes.
    """
    if codes.shape[0] % 4:
        raise ValueError(f"{codes.shape[0]} rows, expected a multiple of 4")
    if not np.isin(codes, (-1, 0, 1)).all():
        raise ValueError("expected codes -1, 0 and 1 only")
    parts = (codes + 1).astype(np.uint8).reshape(4, codes.shape[0] // 4, codes.shape[1])
    return parts[0] | parts[1] << 2 | parts[2] << 4 | parts[3] << 6


def unpack(packed: np.ndarray) -> np.ndarray:
    """Bytes (rows / 4, cols) to int8 codes -1, 0, 1 (rows, cols). Raises ValueError for the unused code."""
    codes = np.concatenate([packed >> shift & 3 for shift in (0, 2, 4, 6)]).astype(np.int8) - np.int8(1)
    if (codes > 1).any():
        raise ValueError("the code 3, which stands for no weight, is among the packed ones")
    return codes
