"""Codebooks: the 4, 8 or 16 int8 values that a matrix loses least with, and the matrix as indices into them.

    fit(blocks, 16) -> the values, rising

Values are divided by the scale of their group, as for i8: the largest magnitude / 127. Each is rounded to the grid -127..127, and
counts with the square of its scale. The codebook is the best one on this grid: the clusters of least squared error, found by
dynamic programming; its values are their rounded means. So it depends on the matrix alone. A pruned matrix (scales.py) has 0 in
its codebook.

NF4 is a codebook that is the same for all matrices: quantiles of a normal distribution. Its scales are those of least squares,
found by turns: codes nearest to values / scale, then the best scale for these codes.

Sources: H. Wang, M. Song, "Ckmeans.1d.dp", The R Journal 3/2 (2011), for the method; FLUTE, arXiv 2407.10960, for the format, and
for scales that are fitted to a table; QLoRA, arXiv 2305.14314, for NF4. Its values are rounded to the grid here (*assumed*).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from compiler.formats.scales import PRUNED
from isa.arithmetic import F32

MOST = 127
GRID = np.arange(-MOST, MOST + 1)
NF4 = tuple(round(MOST * value) for value in (
    -1, -0.6962, -0.5251, -0.3949, -0.2844, -0.1848, -0.0911, 0, 0.0796, 0.1609, 0.2461, 0.3379, 0.4407, 0.5626, 0.7230, 1))
NF4_COLUMNS = 64        # that share a scale, unless a recipe says so
_TURNS = 8              # at most


def fit(blocks: Iterable[tuple[F32, F32]], size: int) -> tuple[int, ...]:
    """At most `size` values for all blocks: (values / their scale, the scales), of equal shapes. Fewer if these are enough."""
    weights, zeros, count = np.zeros(len(GRID)), 0, 0
    for scaled, scales in blocks:
        at = np.rint(np.clip(scaled, -MOST, MOST)).astype(np.int64) + MOST
        weights += np.bincount(at.reshape(-1), np.square(scales, dtype=np.float64).reshape(-1), len(GRID))
        zeros, count = zeros + scaled.size - int(np.count_nonzero(scaled)), count + scaled.size
    return _clusters(weights, size, bool(count) and zeros >= PRUNED * count)


def _clusters(weights: Any, size: int, with_zero: bool) -> tuple[int, ...]:
    """Centres of the clusters of GRID whose weighted squared error is least. with_zero: the centre of the cluster of 0 is 0."""
    # Of the points i..j-1 as one cluster: total weight, first and second moment, rounded mean, error.
    total, first, second = (np.concatenate([[0.0], np.cumsum(weights * GRID**power)]) for power in (0, 1, 2))
    total, first, second = (sums[None, :] - sums[:, None] for sums in (total, first, second))
    centre = np.rint(np.divide(first, total, out=np.zeros_like(first), where=total > 0))
    if with_zero:
        centre[:MOST + 1, MOST + 1:] = 0
    error = second - 2 * centre * first + centre * centre * total
    error[np.tril_indices(len(error))] = np.inf                     # no empty clusters
    least, cuts = error[0], []                                      # of the points before j, with so many clusters
    for _ in range(size - 1):
        through = least[:, None] + error
        cuts.append(through.argmin(axis=0))
        least = through.min(axis=0)
    end, centres = len(GRID), set()
    for cut in (*reversed(cuts), np.zeros(len(error), int)):
        begin = int(cut[end])
        if total[begin, end] > 0:
            centres.add(int(centre[begin, end]))
        end = begin
    return tuple(sorted(centres)) or (0,)


def nearest(scaled: F32, codebook: tuple[int, ...]) -> Any:
    """The value of the codebook that is nearest to each number, int8 of the same shape; half-way the greater."""
    values = np.array(codebook, np.int8)
    middles = (values[1:].astype(np.float32) + values[:-1].astype(np.float32)) / 2
    return values[np.searchsorted(middles, scaled, side="right")]


def fitted(values: F32, codebook: tuple[int, ...]) -> tuple[Any, F32]:
    """Codes of a given codebook and the scales of least squares, of groups (..., n) -> int8 (..., n), fp32 (..., 1). The first
    scales are those of the largest magnitudes."""
    scales = (np.abs(values).max(axis=-1, keepdims=True) / np.float32(MOST)).astype(np.float32)
    for turn in range(_TURNS + 1):
        divisors: F32 = np.where(scales == 0, np.float32(1), scales).astype(np.float32)
        codes = nearest(values / divisors, codebook)
        wide = codes.astype(np.float64)
        squares = (wide * wide).sum(axis=-1, keepdims=True)
        better = ((values * wide).sum(axis=-1, keepdims=True) / np.maximum(squares, 1)).astype(np.float32)
        better = np.where((better > 0) & (squares > 0), better, scales)
        if turn == _TURNS or (better == scales).all():
            break
        scales = better
    return codes, scales
