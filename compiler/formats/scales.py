"""How a scale is found, for a group of columns or for a whole matrix that is read block by block.

    LARGEST         the largest magnitude becomes the largest code
    MEAN            the mean magnitude: of least squared error for codes -1 and 1 (XNOR-Net, arXiv 1603.05279, section 3.1)
    LEAST_SQUARES   of least squared error for codes -1, 0 and 1
    CLIPPED         of least squared error for integers, of a whole matrix: what is above the largest code is clipped to it
    ODD             the same for odd integers, of a group too

LEAST_SQUARES is found exactly. Codes are sign(w) where |w| > scale / 2, and else 0. Those that are not 0 belong to the k largest
magnitudes for some k, and the mean of these k is then the best scale: it leaves sum(w^2) - (sum of the k)^2 / k of the squares. So
every k is tried. Zeros are never among the k: a pruned matrix keeps them, and they do not count in its scale.

ODD of a group starts with the scale of the largest magnitude. Then by turns: codes nearest to values / scale, and the best scale
for these codes. Of a whole matrix it is found as CLIPPED.

CLIPPED tries a scale for every bin of a histogram of the magnitudes, from the largest down to a hundredth of it, then finer ones
between the neighbours of the best, with the codes that quantising takes. The idea is that of SLiM-Quant, which looks at about 11
scales first, and counts errors as if codes were rounded down.

Sources: F. Li et al., "Ternary Weight Networks", arXiv 1605.04711, section 2.2, which approximates the threshold; M. Mozaffari et
al., "SLiM", arXiv:2410.09615, SLiM-Quant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from isa.arithmetic import F32

PRUNED = 1 / 16
"""A matrix that has at least this share of exact zeros is taken for a pruned one: its zeros are to stay what they are."""
_BINS = 1 << 15         # magnitudes with the upper 16 bits of their fp32 in common
_PARTS = 8              # of a bin, as if its magnitudes were spread evenly
_FINER = 17             # scales between the neighbours of the best
_SMALLEST = 1 / 100     # of the largest magnitude: the least one that is tried as the largest code
_TURNS = 8              # at most


def best(magnitudes: F32) -> F32:
    """(..., n), none negative -> (...). 0 where all are."""
    falling = -np.sort(-magnitudes, axis=-1)
    return _scale(np.cumsum(falling, axis=-1, dtype=np.float64), np.arange(1.0, magnitudes.shape[-1] + 1))


def _scale(sums: Any, counts: Any) -> F32:
    """The best scale. `sums` and `counts` are those of the k greatest magnitudes, for every k that is tried."""
    left = np.square(sums) / np.maximum(counts, 1)
    cut = left.argmax(axis=-1, keepdims=True)
    total, count = (np.take_along_axis(np.broadcast_to(each, sums.shape), cut, axis=-1)[..., 0] for each in (sums, counts))
    scale: F32 = (total / np.maximum(count, 1)).astype(np.float32)
    return scale


def evenly(scaled: Any, most: int) -> Any:
    """The integer up to `most` that is nearest to each magnitude / scale."""
    return np.minimum(np.rint(scaled), most)


def oddly(scaled: Any, most: int) -> Any:
    """The odd integer up to `most` that is nearest to each number, whatever its sign. Half-way is rounded to the even one of
    the codes (odd + most) / 2, which bits are (APT-LLM, arXiv 2508.19087)."""
    return 2 * np.clip(np.rint((scaled + most) / 2), 0, most) - most


def _best_odd(groups: F32, most: int) -> F32:
    """Scales of groups (..., n) of magnitudes -> (...)."""
    scales: F32 = (groups.max(axis=-1) / np.float32(most)).astype(np.float32)
    for _ in range(_TURNS):
        codes = oddly(groups / np.where(scales == 0, np.float32(1), scales)[..., None], most).astype(np.float64)
        better = ((groups * codes).sum(axis=-1) / (codes * codes).sum(axis=-1)).astype(np.float32)
        if (better == scales).all():
            break
        scales = better
    return scales


class Magnitudes:
    """Statistics of the magnitudes of a matrix, collected block by block."""

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
        """As the function `best`, but k ends at a bin. Magnitudes in one bin differ by less than a hundredth."""
        return np.float32(_scale(np.cumsum(self._sums[::-1]), np.cumsum(self._counts[::-1])))

    def clipped(self, most: int, rounded: Callable[[Any, int], Any] = evenly) -> np.float32:
        """The scale of least squared error for codes up to `most`. Magnitudes in a bin count as if they were spread evenly."""
        bins = np.flatnonzero(self._counts)
        edges = np.arange(_BINS + 1, dtype=np.uint32) << np.uint32(16)
        low, high = (edges[bins + side].view(np.float32).astype(np.float64) for side in (0, 1))
        values = (low + (high - low) * (np.arange(_PARTS)[:, None] + 0.5) / _PARTS).reshape(-1)
        weights = np.tile(self._counts[bins] / _PARTS, _PARTS)

        def error(scale: float) -> float:
            return float(weights @ np.square(values - scale * rounded(values / scale, most)))

        tried = np.minimum(high[high >= self.most * _SMALLEST], self.most) / most
        if not tried.size or not self.most:
            return np.float32(0)
        best = int(np.argmin([error(scale) for scale in tried]))
        finer = np.linspace(tried[max(best - 1, 0)], tried[min(best + 1, len(tried) - 1)], _FINER)
        return np.float32(finer[int(np.argmin([error(scale) for scale in finer]))])


@dataclass(frozen=True)
class Rule:
    """How a scale follows from magnitudes. The second argument is the largest code.

    of_groups  magnitudes of groups (..., n) -> their scales (...)
    of_matrix  the magnitudes of a whole matrix -> its scale
    """

    of_groups: Callable[[F32, int], F32]
    of_matrix: Callable[[Magnitudes, int], np.float32]


LARGEST = Rule(lambda groups, most: groups.max(axis=-1) / np.float32(most), lambda seen, most: seen.most / np.float32(most))
MEAN = Rule(lambda groups, _: groups.mean(axis=-1, dtype=np.float64).astype(np.float32), lambda seen, _: seen.mean)
LEAST_SQUARES = Rule(lambda groups, _: best(groups), lambda seen, _: seen.best)
CLIPPED = Rule(LARGEST.of_groups, lambda seen, most: seen.clipped(most))      # of whole matrices alone
ODD = Rule(_best_odd, lambda seen, most: seen.clipped(most, oddly))
