"""SuperNAS and SparseNAS: which supernet, then which of its paths with which zeros.

A candidate's flash and RAM are the compiler's and its time is the machine's. Candidates that do not fit are thrown away before
anything is classified. What fits gets the supernet's weights, pruned at once, and some steps of training of its own: each candidate
the same batches. Then its loss on the images for choosing and its time give its score. Search is evolution: after some candidates
by chance, one of the best ones so far is changed in one choice or a few. To compare with, all are by chance. What is tried follows
from the seed and the answers: an interrupted search asks again, and finds its answers in a file.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path as File
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from programs.networks.search.costs import Figures, figures_of
from programs.networks.search.images import Part
from programs.networks.search.recipe import Recipe, RecipeError
from programs.networks.search.space import Path, Space
from programs.networks.search.supernet import Floats, Weights, folded, masks_of
from programs.networks.search.training import Trainer, judged

STARTING = 16           # trials of a search that are by chance
PARENTS = 6             # best ones so far, of which one is changed
CHANGES = (1, 1, 2, 3)  # choices that are changed: one of these numbers
PATIENCE = 100          # proposals for each trial, most of which may not fit
SLOWER = 0.07           # exponent of time in a score: twice the ms are worth 5 % of the loss (MnasNet, arXiv 1807.11626)
SEARCH, CHANCE = "search", "chance"


@dataclass(frozen=True)
class Candidate:
    """A path that fits, with what it reached after its short training: share of right classes, and mean cross-entropy in nats."""

    path: Path
    accuracy: float
    loss: float
    figures: Figures

    @property
    def score(self) -> float:
        """Less is better."""
        return score(self.loss, self.figures)


def score(loss: float, figures: Figures) -> float:
    """Of a loss in nats; less is better."""
    return loss * figures.ms ** SLOWER


class Judge:
    """Answers what candidates are worth, each once. `file` keeps the answers, a JSON line each; None: nothing is kept."""

    def __init__(self, space: Space, weights: Weights, choosing: Part, trainer: Trainer, file: File | None = None) -> None:
        self.space, self.weights, self.choosing, self.trainer, self.file = space, weights, choosing, trainer, file
        self.recipe = trainer.recipe
        self._known: dict[str, dict[str, Any]] = {}
        for line in file.read_text("utf-8").splitlines() if file and file.exists() else []:
            try:
                one = json.loads(line)
                self._known[json.dumps(one["path"])] = one
            except (ValueError, KeyError):
                break                       # the last line of a run that was killed

    def __call__(self, path: Path) -> Candidate | None:
        """None: it does not fit."""
        key = json.dumps(path)
        if key not in self._known:
            figures, right, loss = self._judged(path)
            self._known[key] = {"path": path, "figures": figures and asdict(figures), "accuracy": right, "loss": loss}
            self._keep()
        one = self._known[key]
        return Candidate(path, one["accuracy"], one["loss"], Figures(**one["figures"])) if one["figures"] else None

    def _judged(self, path: Path) -> tuple[Figures | None, float, float]:
        layers = self.space.layers(path)
        masks = masks_of(layers, self.weights)
        figures = figures_of(folded(self.weights, layers, self.choosing.images[:64], masks), masks, self.recipe)
        if figures is None or not figures.fits(self.recipe):
            return None, 0.0, 0.0
        alone = self.weights.alone(layers)

        def loss(images: Tensor, classes: Tensor, _step: int, _number: int) -> Tensor:
            return F.cross_entropy(Floats(alone, masks_of(layers, alone)).run(images, layers), classes)

        self.trainer.fit("tuning", alone, self.recipe.tuning, loss, self.recipe.rate / 2, kept=False)
        return figures, *judged(lambda images: Floats(alone, masks_of(layers, alone)).run(images, layers), self.choosing)

    def _keep(self) -> None:
        if self.file:
            with self.file.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(list(self._known.values())[-1]) + "\n")


def fitting(judge: Judge, number: int, seed: int) -> Iterator[Candidate]:
    """Paths by chance that fit. Raises RecipeError where hardly any does."""
    chance, found = random.Random(seed), 0
    for _ in range(number * PATIENCE):
        if candidate := judge(judge.space.sample(chance)):
            yield candidate
            found += 1
            if found == number:
                return
    raise _too_small(judge.space, number)


def search(judge: Judge, kind: str, trials: int, seed: int,
           told: Callable[[int, Candidate], None] = lambda *_: None) -> list[Candidate]:
    """So many candidates that fit, no two the same, in the order in which they were tried. `kind`: SEARCH or CHANCE. Raises
    RecipeError."""
    chance, found = random.Random(seed), list[Candidate]()
    for _ in range(trials * PATIENCE):
        if kind == CHANCE or len(found) < STARTING:
            path = judge.space.sample(chance)
        else:
            parents = sorted(found, key=lambda one: one.score)[:PARENTS]
            path = judge.space.changed(chance.choice(parents).path, chance.choice(CHANGES), chance)
        candidate = judge(path)
        if candidate is None or candidate in found:
            continue
        found.append(candidate)
        told(len(found), candidate)
        if len(found) == trials:
            return found
    raise _too_small(judge.space, trials)


def _too_small(space: Space, number: int) -> RecipeError:
    return RecipeError("flash_bytes, ram_bytes, ms", f"of {number * PATIENCE} networks of \"{space.name}\" fewer than {number} fit",
                       "larger limits")


def best(candidates: Sequence[Candidate]) -> Candidate:
    """The one with the least score."""
    return min(candidates, key=lambda one: one.score)


def front(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those that no other one beats in accuracy and time, the fastest first."""
    result = list[Candidate]()
    for one in sorted(candidates, key=lambda one: (one.figures.ms, -one.accuracy)):
        if not result or one.accuracy > result[-1].accuracy:
            result.append(one)
    return result


def area(candidates: Sequence[Candidate], recipe: Recipe) -> float:
    """What a front leaves below itself, as a share of all errors and all ms up to the limit; more is better."""
    total, right = 0.0, 0.0
    for one in front(candidates):
        total += (one.accuracy - right) * (recipe.ms - one.figures.ms)
        right = one.accuracy
    return total / recipe.ms
