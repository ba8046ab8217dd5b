"""Draws the images of this folder: each digit twice, upright and slanted, as strokes of a round pen. None is of a data set.

    python programs/networks/digits/draw.py programs/networks/digits/images.npz
"""

from __future__ import annotations

import sys
from itertools import pairwise
from math import cos, pi, sin
from pathlib import Path

import numpy as np

SIDE = 28
Points = list[tuple[float, float]]          # across and down, 0..1 of the digit's box


def arc(x: float, y: float, wide: float, high: float, start: float, end: float) -> Points:
    """Part of an ellipse around (x, y), in turns, clockwise from the right."""
    return [(x + wide * cos(2 * pi * turn), y + high * sin(2 * pi * turn)) for turn in np.linspace(start, end, 24)]


STROKES: list[list[Points]] = [
    [arc(0.5, 0.5, 0.32, 0.5, 0, 1)],
    [[(0.35, 0.2), (0.52, 0.0), (0.52, 1.0)]],
    [[*arc(0.48, 0.27, 0.34, 0.27, 0.5, 1.07), (0.14, 1.0), (0.86, 1.0)]],
    [arc(0.44, 0.25, 0.34, 0.25, 0.55, 1.2), arc(0.44, 0.74, 0.38, 0.26, 0.78, 1.42)],
    [[(0.62, 0.0), (0.12, 0.64), (0.9, 0.64)], [(0.66, 0.32), (0.66, 1.0)]],
    [[(0.82, 0.0), (0.24, 0.0), (0.2, 0.42)], arc(0.46, 0.68, 0.36, 0.32, 0.62, 1.4)],
    [[(0.72, 0.0), (0.36, 0.3), (0.2, 0.66)], arc(0.48, 0.72, 0.3, 0.28, 0.0, 1.0)],
    [[(0.12, 0.0), (0.86, 0.0), (0.4, 1.0)]],
    [arc(0.5, 0.25, 0.27, 0.25, 0, 1), arc(0.5, 0.75, 0.32, 0.25, 0, 1)],
    [arc(0.46, 0.28, 0.28, 0.28, 0, 1), [(0.74, 0.28), (0.72, 0.6), (0.62, 1.0)]],
]


def drawn(digit: int, slant: float, pen: float) -> np.ndarray:
    """(28, 28) uint8. `slant`: pixels to the right for one up; `pen`: pixels of the stroke."""
    lines, pixels = np.mgrid[:SIDE, :SIDE].astype(float)
    nearest = np.full((SIDE, SIDE), np.inf)
    for stroke in STROKES[digit]:
        points = [(14 + 15 * (x - 0.5) + slant * 18 * (0.5 - y), 14 + 18 * (y - 0.5)) for x, y in stroke]
        for (x0, y0), (x1, y1) in pairwise(points):
            length = max((x1 - x0) ** 2 + (y1 - y0) ** 2, 1e-9)
            along = np.clip(((pixels - x0) * (x1 - x0) + (lines - y0) * (y1 - y0)) / length, 0, 1)
            nearest = np.minimum(nearest, np.hypot(pixels - x0 - along * (x1 - x0), lines - y0 - along * (y1 - y0)))
    return np.round(255 * np.clip(pen / 2 + 0.5 - nearest, 0, 1)).astype(np.uint8)


def images() -> tuple[np.ndarray, np.ndarray]:
    """(20, 28, 28, 1) int8 as the network takes them, and their classes."""
    made = [drawn(digit, slant, pen) for slant, pen in ((0.0, 2.2), (0.25, 2.8)) for digit in range(10)]
    return (np.array(made).astype(np.int16) - 128).astype(np.int8)[..., None], np.tile(np.arange(10), 2)


if __name__ == "__main__":
    pictures, classes = images()
    np.savez_compressed(Path(sys.argv[1]), images=pictures, classes=classes)
