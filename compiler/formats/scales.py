"""Scales for codes -1, 0 and 1: the one with which a matrix, or a group of its columns, loses least.

    best(magnitudes)            of each last axis (..., n): the scale s of least squared error, codes being sign(w) where |w| > s/2
    Magnitudes().see(...)       the same of all the blocks of a matrix, which are not kept

The codes that are not zero belong to the k greatest magnitudes for some k, and then their mean is the best scale: what it leaves of
the squares is sum(w^2) - (sum of the k)^2 / k. So every k is tried. Zeros are never among the k: a pruned matrix keeps them, and
they do not count in its scale.

Source: F. Li et al., "Ternary Weight Networks", arXiv 1605.04711, section 2.2, whose threshold is found here exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from compiler.model.tensors import F32

PRUNED = 1 / 16
"""A matrix that has at least this share of exact zeros is taken for a pruned one: its zeros are to stay what they are."""
_BINS = 1 << 15         # magnitudes with the upper 16 bits of their fp32 in common


def best(magnitudes: F32) -> F32:
    """(..., n), none negative -> (...). 0 where all are."""
    falling = -np.sort(-magnitudes, axis=-1)
    return _scale(np.cumsum(falling, axis=-1, dtype=np.float64), np.arange(1.0, magnitudes.shape[-1] + 1))


def _scale(sums: Any, counts: Any) -> F32:
    """Of the sums and the numbers of the greatest magnitudes, for every cut."""
    left = np.square(sums) / np.maximum(counts, 1)
    cut = left.argmax(axis=-1, keepdims=True)
    total, count = (np.take_along_axis(np.broadcast_to(each, sums.shape), cut, axis=-1)[..., 0] for each in (sums, counts))
    scale: F32 = (total / np.maximum(count, 1)).astype(np.float32)
    return scale


class Magnitudes:
    """What is known of a matrix that is seen block by block."""

    def __init__(self) -> None:
        self.count = self.zeros = 0
        self.total, self.most = 0.0, np.float32(0)
        self._counts, self._sums = np.zeros(_BINS), np.zeros(_BINS)

    def see(self, values: F32) -> None:
        magnitudes = np.abs(values).reshape(-1)
        self.count += magnitudes.size
        self.zeros += int(magnitudes.size - np.count_nonzero(magnitudes))
        self.total += float(magnitudes.sum(dtype=np.float64))
        self.most = max(self.most, magnitudes.max())
        bins = np.ascontiguousarray(magnitudes).view(np.uint32) >> np.uint32(16)
        self._counts += np.bincount(bins, minlength=_BINS)
        self._sums += np.bincount(bins, magnitudes, _BINS)

    @property
    def pruned(self) -> bool:
        return self.zeros >= PRUNED * self.count

    @property
    def mean(self) -> np.float32:
        return np.float32(self.total / self.count)

    @property
    def best(self) -> np.float32:
        """As the function, with cuts between bins alone: neighbours within them differ by less than a hundredth."""
        return np.float32(_scale(np.cumsum(self._sums[::-1]), np.cumsum(self._counts[::-1])))
