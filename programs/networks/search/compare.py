"""How much better the networks of one kind are than those of another, on held-out images, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from programs.networks.search.search import SEARCH


def compared(networks: dict[str, list[dict[str, Any]]], images: int) -> dict[str, dict[str, float]]:
    """Of each kind: how many networks, the mean share of held-out images that they have right, how much more search has, and the
    standard error of that. `networks` are those of stages.Run.all; `images`: how many are held out."""
    wrong = {kind: np.array([_marked(one["wrong_held_out"], images) for one in many]) for kind, many in networks.items() if many}
    result = {}
    for kind, marks in wrong.items():
        result[kind] = {"networks": len(marks), "accuracy_held_out": 1 - float(marks.mean())}
        if kind != SEARCH and SEARCH in wrong:
            result[kind] |= {"search_has_more": float(marks.mean() - wrong[SEARCH].mean()), "error": _error(wrong[SEARCH], marks)}
    return result


def _marked(numbers: Sequence[int], images: int) -> np.ndarray:
    marks = np.zeros(images)
    marks[list(numbers)] = 1
    return marks


def _error(one: np.ndarray, other: np.ndarray) -> float:
    """Standard error of a difference of mean errors (networks, images) each, on the same images: other images would give another
    one, and so would other networks. What both would change is counted twice: rather too large than too small."""
    of_images = (one.mean(0) - other.mean(0)).var(ddof=1) / one.shape[1]
    of_networks = sum(marks.mean(1).var(ddof=1) / len(marks) for marks in (one, other) if len(marks) > 1)
    return float(np.sqrt(of_images + of_networks))
