"""FLOW's choice of N:M for each layer, by how many outliers the layer has and how close together they are.

    found = [outliers(matrices of a layer with the norms of their inputs), ...]
    pairs, mean = choose(found, 0.6)

The metric of a weight is Wanda's. An outlier is above half of the mean metric of its layer. More outliers ask for a larger N,
outliers that are close together for a smaller M. Of all choices whose mean sparsity over the layers between the first and the last
is nearest to the target, the one of least cost is taken. FLOW solves that as an integer program. Here it is a dynamic program over
layers, which finds the same optimum, because all sparsities are quarters. FLOW's mean is that of all layers, and FLOW takes 4:8
where it cannot be reached exactly.

Source: FLOW, arXiv 2504.14365; FLOW-open-project/FLOW, sw/solver/ilp_solver.py (Hyper_m 0.5, alpha 1, beta 4; Lamda cancels out).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from compiler.model.tensors import F32, Tensor

Pair = tuple[int, int]
PAIRS: tuple[Pair, ...] = ((2, 4), (4, 4), (2, 8), (4, 8), (8, 8))
"""(N, M), in the order in which they are preferred at the same cost."""
DENSE: Pair = (8, 8)
WIDEST = 8
OUTLIER = 0.5                   # of the mean metric
SEEN = 10_000                   # outliers whose places count
ALPHA, BETA = 1, 4


@dataclass(frozen=True)
class Outliers:
    """ratio: outliers, in percent of a layer's weights. locality: 1 / their mean distance in the layer's weights, one matrix behind
    the other, row by row; 0 for fewer than two."""

    ratio: float
    locality: float


def outliers(matrices: Sequence[tuple[Tensor, F32]]) -> Outliers:
    """Of a layer: each matrix, and the norms of its inputs (columns,). The matrices are read twice."""
    def metrics() -> Iterator[tuple[int, F32]]:
        at = 0
        for tensor, norms in matrices:
            for first, last in tensor.blocks():
                metric = (np.abs(tensor.rows(first, last)) * norms).reshape(-1)
                yield at, metric
                at += metric.size

    total = sum(float(metric.sum(dtype=np.float64)) for _, metric in metrics())
    size = sum(math.prod(tensor.shape) for tensor, _ in matrices)
    limit, count, places = np.float32(total / size) * np.float32(OUTLIER), 0, list[int]()
    for at, metric in metrics():
        above = np.flatnonzero(metric > limit)
        count += len(above)
        places += (at + above[:SEEN - len(places)]).tolist()
    return Outliers(100 * count / size, _locality(places))


def _locality(places: Sequence[int]) -> float:
    """1 / the mean distance of two of the places, which rise."""
    n = len(places)
    if n < 2:
        return 0.0
    distance = sum((2 * number - n + 1) * place for number, place in enumerate(places))
    return n * (n - 1) / 2 / distance


def choose(found: Sequence[Outliers], target: float) -> tuple[list[Pair], float]:
    """The pair of each layer; and the mean sparsity of all but the first and the last, which do not count."""
    ratio, locality = _scaled([each.ratio for each in found]), _scaled([each.locality for each in found])
    cost = [[ALPHA * abs(n - WIDEST * o) + BETA * abs(m - WIDEST * (1 - d)) for n, m in PAIRS]
            for o, d in zip(ratio, locality, strict=True)]
    inner = cost[1:-1]
    quarters = [4 * (m - n) // m for n, m in PAIRS]
    # least[l][q]: the least cost of the layers from l on, if their sparsities add up to q quarters
    most = max(quarters) * len(inner)
    least = [[math.inf] * (most + 1) for _ in inner] + [[0.0] + [math.inf] * most]
    for layer in reversed(range(len(inner))):
        for q in range(most + 1):
            least[layer][q] = min(c + least[layer + 1][q - s] if q >= s else math.inf
                                  for c, s in zip(inner[layer], quarters, strict=True))
    wanted = target * 4 * len(inner)
    q = reached = min((q for q in range(most + 1) if least[0][q] < math.inf), key=lambda q: (abs(q - wanted), q))
    chosen = []
    for layer, costs in enumerate(inner):
        number = next(number for number, s in enumerate(quarters)
                      if q >= s and costs[number] + least[layer + 1][q - s] == least[layer][q])
        chosen.append(PAIRS[number])
        q -= quarters[number]
    return [DENSE, *chosen, DENSE], reached / (4 * len(inner))


def _scaled(values: Sequence[float]) -> list[float]:
    """To 0..1; all 0 where they are equal."""
    low, high = min(values), max(values)
    return [(value - low) / (high - low) if high > low else 0.0 for value in values]
