"""A recipe: everything that a run follows from. A JSON object with these keys; what is left out has the value here."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from isa.hints import nearest

IMAGES = ("mnist", "digits")
FROM_ZERO = ("seed", "parts", "growing", "more_steps", "tuning", "compared", "teacher_steps")


class RecipeError(Exception):
    """place: got ...; expected ..."""

    def __init__(self, place: str, got: str, expected: str, hint: str | None = None) -> None:
        super().__init__(f"{place}: {got}; expected {expected}" + (f"\nhint: {hint}" if hint else ""))


@dataclass(frozen=True)
class Recipe:
    """Steps are batches."""

    images: str = "mnist"               # or digits: 1,797 images of 8 x 8 pixels, for tests
    seed: int = 1
    parts: int = 1                      # a seed of its own: which images are held out, and which are for choosing
    machine: str = "stm32f746"          # a preset
    choosing: int = 750                 # images by which candidates are compared
    held_out: int = 1000                # images that only the last figures are of
    batch: int = 64
    rate: float = 0.003                 # of Adam, at its height
    # Limits of a candidate
    flash_bytes: int = 14_336
    ram_bytes: int = 24_576
    ms: float = 8.0                     # an image, on the machine
    # SuperNAS: supernets are trained shortly, and the one whose paths do best goes on
    supernet_steps: int = 150           # each
    supernet_paths: int = 8             # that fit, whose mean accuracy a supernet is judged by
    more_steps: int = 1000              # of the one that is chosen, these included
    # SparseNAS: paths and their zeros are chosen, by search and by chance
    trials: int = 48                    # candidates that fit, of each
    tuning: int = 60                    # steps of training of a candidate's own, before it is judged
    again: int = 4                      # of a search's best candidates are judged once more,
    again_steps: int = 300              # after so many steps, during which their zeros grow
    repeats: int = 4                    # searches with other seeds, to compare search and chance
    finished: int = 2                   # of these, so many whose best is trained to the end
    compared: int = 2                   # and so many of those by chance, and of those without zeros
    # The networks of what was found
    teacher_steps: int = 2500           # of the widest path, whose answers the networks learn too; 0: from the classes alone
    steps: int = 2500                   # in floating point; zeros grow over the first part of them
    growing: float = 0.5                # that part
    int8_steps: int = 500               # with int8 arithmetic
    int8_rate: float = 0.0002
    longer: int = 1                     # the network that is kept is trained with so many times the steps; 1: as the others


def read_recipe(path: Path) -> Recipe:
    """Raises RecipeError, OSError."""
    try:
        data = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise RecipeError(str(path), f"no JSON: {error}", "an object with keys of a recipe") from None
    if not isinstance(data, dict):
        raise RecipeError(str(path), "no object", "an object with keys of a recipe")
    known = {one.name: type(one.default) for one in fields(Recipe)}
    for name, value in data.items():
        if name not in known:
            raise RecipeError(f"{path}: {name}", "a key that is none", f"one of {', '.join(known)}", nearest(name, list(known)))
        _check(f"{path}: {name}", name, value, known[name])
    recipe = Recipe(**data)
    for name in ("finished", "compared"):
        if getattr(recipe, name) > recipe.repeats:
            raise RecipeError(f"{path}: {name}", str(getattr(recipe, name)), f"at most {recipe.repeats}, the searches of `repeats`")
    return recipe


def _check(place: str, name: str, value: Any, kind: type) -> None:
    if kind is str:
        if not isinstance(value, str) or (name == "images" and value not in IMAGES):
            raise RecipeError(place, repr(value), " or ".join(IMAGES) if name == "images" else "a name")
        return
    right = isinstance(value, (int, float) if kind is float else int) and not isinstance(value, bool)
    least = 0 if name in FROM_ZERO else 1 if kind is int else 1e-9
    most = 1 if name == "growing" else 1 << 40
    if not right or not least <= value <= most:
        raise RecipeError(place, repr(value), "a number 0..1" if name == "growing" else
                          f"a {'whole ' if kind is int else ''}number, {'0 or more' if least == 0 else 'above 0'}")


def as_json(recipe: Recipe) -> dict[str, Any]:
    return asdict(recipe)
