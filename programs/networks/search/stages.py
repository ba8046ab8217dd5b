"""A whole run, stage after stage. What a stage has finished is in the folder, and is not done again.

    supernets   each is trained shortly; the one whose paths do best is trained on      supernet-NAME.pt, supernets.json
    search      search, chance, and search without zeros, some times each               search-KIND-NUMBER.jsonl
    again       of the best candidates of each, the one that does best after more steps best-KIND-NUMBER.json
    teacher     the widest path, dense, trained to the end                              teacher.pt
    networks    the best of each is pruned, trained, made int8; the machine tries it    KIND-NUMBER.pt, -int8.pt, .json
    longer      of those by search the one of least loss, trained longer                longer-NUMBER.pt, -int8.pt, .json
    figures     all of it; the picture, and the network that is chosen                  figures.json, pareto.svg, network/
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path as File
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from isa.files import replacing
from programs.networks.search import search as searching
from programs.networks.search.compare import compared
from programs.networks.search.costs import accuracy_int8, compiled, wrong_int8
from programs.networks.search.export import export
from programs.networks.search.images import Images
from programs.networks.search.prune import share_at
from programs.networks.search.quantise import Quantised, calibrate
from programs.networks.search.recipe import Recipe, RecipeError, as_json
from programs.networks.search.search import CHANCE, SEARCH, Candidate, Judge
from programs.networks.search.space import Path, Space, supernets
from programs.networks.search.supernet import Floats, Weights, folded, masks_of
from programs.networks.search.training import Trainer, judged

Taught = Callable[[Tensor, Tensor, Tensor], Tensor]     # a loss of logits, for images and their classes
DENSE = "dense"
KINDS = (SEARCH, CHANCE, DENSE)         # with zeros by search, with zeros by chance, without zeros by search
PATHS = 2                               # by chance in a step of a supernet, beside the widest one
STATISTICS = 1000                       # images whose statistics a finished network normalises by, and whose values set scales
GROWING = 0.6                           # of a supernet's first steps: zeros grow
SOFTER, TAUGHT = 2.0, 0.5               # temperature of a teacher's answers; their share in the loss


@dataclass
class Run:
    """A recipe in a folder."""

    recipe: Recipe
    folder: File
    images: Images
    say: Callable[[str], None] = print
    trainer: Trainer = field(init=False)

    def __post_init__(self) -> None:
        self.trainer = Trainer(self.recipe, self.folder, self.images.training, self.say)

    def all(self) -> dict[str, Any]:
        """Figures. Raises RecipeError, OSError."""
        space, weights, judged = self.supernet()
        found = {kind: [self.search(kind, number, space, weights) for number in range(self.recipe.repeats)] for kind in KINDS}
        best = {kind: [self.best(f"best-{kind}-{number}", space, weights, one) for number, one in enumerate(found[kind])]
                for kind in KINDS}
        networks: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
        many = {kind: self.recipe.finished if kind == SEARCH else self.recipe.compared for kind in KINDS}
        loss = self.teacher(space, weights)
        for number in range(max(many.values())):
            for kind in KINDS:
                if number < many[kind]:
                    networks[kind].append(self.network(f"{kind}-{number}", space, weights, best[kind][number][0].path, loss))
        scores = [searching.score(loss_again, one.figures) for one, loss_again in best[SEARCH][:self.recipe.finished]]
        chosen = scores.index(min(scores))
        kept = networks[SEARCH][chosen]
        if self.recipe.longer > 1:
            kept = self.network(f"longer-{chosen}", space, weights, best[SEARCH][chosen][0].path, loss, self.recipe.longer)
        return {"recipe": as_json(self.recipe), "space": space.name, "supernets": judged, "networks": networks, "chosen": chosen,
                "network": kept, "compared": compared(networks, self.recipe.held_out),
                "search": {kind: [self._searched(one, *best[kind][i]) for i, one in enumerate(found[kind])] for kind in KINDS}}

    # ---------------------------------------------------------------------------------------------- the supernet

    def supernet(self) -> tuple[Space, Weights, dict[str, float]]:
        """The space that is chosen, its trained weights, and what each space reached."""
        spaces = supernets(self.images.side)
        judged = self._kept("supernets.json", lambda: {space.name: self._promise(space) for space in spaces})
        space = max(spaces, key=lambda one: judged[one.name])
        return space, self._trained(space, max(self.recipe.more_steps, self.recipe.supernet_steps)), judged

    def _promise(self, space: Space) -> float:
        """The mean accuracy of paths that fit, by chance."""
        judge = Judge(space, self._trained(space, self.recipe.supernet_steps), self.images.choosing, self.trainer)
        found = searching.fitting(judge, self.recipe.supernet_paths, self.recipe.seed)
        promise = float(np.mean([one.accuracy for one in found]))
        self.say(f"supernet \"{space.name}\": {promise:.1%} of paths that fit")
        return promise

    def _trained(self, space: Space, steps: int) -> Weights:
        """A supernet after so many steps: in each the widest path, and paths by chance with zeros that grow."""
        widest = space.layers(space.largest())
        weights = Weights(widest, self.recipe.seed)

        def loss(images: Tensor, classes: Tensor, step: int, number: int) -> Tensor:
            total = F.cross_entropy(Floats(weights).run(images, widest), classes)
            grown, chance = share_at(step, int(GROWING * self.recipe.supernet_steps), 1.0), random.Random(number)
            for _ in range(PATHS):
                layers = space.layers(space.sample(chance))
                total = total + F.cross_entropy(Floats(weights, masks_of(layers, weights, grown)).run(images, layers), classes)
            return total

        return self.trainer.fit(f"supernet-{space.name.replace(' ', '-')}", weights, steps, loss, self.recipe.rate, flat=True)

    # ---------------------------------------------------------------------------------------------- paths

    def search(self, kind: str, number: int, space: Space, weights: Weights) -> list[Candidate]:
        """The candidates of a search, in order."""
        name, trials = f"search-{kind}-{number}", self.recipe.trials
        judge = Judge(space.dense() if kind == DENSE else space, weights, self.images.choosing, self.trainer,
                      self.folder / f"{name}.jsonl")
        made = list[Candidate]()

        def told(done: int, candidate: Candidate) -> None:
            made.append(candidate)
            if done % 16 == 0 or done == trials:
                best = searching.best(made)
                self.say(f"{name}: {done} of {trials}, best {best.accuracy:.1%}, loss {best.loss:.4f} in {best.figures.ms:.2f} ms")

        return searching.search(judge, CHANCE if kind == CHANCE else SEARCH, trials, self.recipe.seed * 1000 + number, told)

    def best(self, name: str, space: Space, weights: Weights, found: list[Candidate]) -> tuple[Candidate, float]:
        """The best candidate of a search, and its loss: of those with the least scores, the one that has the least after a longer
        training."""
        first = sorted(found, key=lambda one: one.score)[:self.recipe.again]
        losses = self._kept(f"{name}.json", lambda: {"losses": [self._again(space, weights, one.path) for one in first]})["losses"]
        loss, candidate = min(zip(losses, first, strict=True), key=lambda pair: searching.score(pair[0], pair[1].figures))
        self.say(f"{name}: loss {loss:.4f} in {candidate.figures.ms:.2f} ms")
        return candidate, loss

    def _again(self, space: Space, weights: Weights, path: Path) -> float:
        """The loss of a path on the images for choosing, after a training like the last one, but short."""
        layers = space.layers(path)
        alone = weights.alone(layers)
        masks = self._grown("again", alone, self.recipe.again_steps, plain, kept=False)
        return judged(lambda batch: Floats(alone, masks).run(batch, layers), self.images.choosing)[1]

    def _grown(self, name: str, alone: Weights, steps: int, loss: Taught, kept: bool = True) -> dict[str, Tensor]:
        """Train a network in floating point while its zeros grow. Its masks."""
        growing = max(1, int(self.recipe.growing * steps))

        def floats(batch: Tensor, classes: Tensor, step: int, _number: int) -> Tensor:
            masks = masks_of(alone.layers, alone, share_at(step, growing, 1.0))
            return loss(Floats(alone, masks).run(batch, alone.layers), batch, classes)

        self.trainer.fit(name, alone, steps, floats, self.recipe.rate, kept=kept)
        return masks_of(alone.layers, alone)

    def _searched(self, candidates: list[Candidate], best: Candidate, loss: float) -> dict[str, Any]:
        return {"area": searching.area(candidates, self.recipe), "best": asdict(best), "best_loss_again": loss,
                "trials": [{"accuracy": one.accuracy, "loss": one.loss, **asdict(one.figures)} for one in candidates]}

    # ---------------------------------------------------------------------------------------------- networks

    def teacher(self, space: Space, weights: Weights) -> Taught:
        """A loss of logits for images and their classes: cross-entropy, and how far the logits are from those of the widest path,
        which is trained first (distillation; Hinton and others, arXiv 1503.02531)."""
        if not self.recipe.teacher_steps:
            return plain
        layers = space.layers(space.largest())
        widest = weights.alone(layers)

        def alone(images: Tensor, classes: Tensor, _step: int, _number: int) -> Tensor:
            return F.cross_entropy(Floats(widest).run(images, layers), classes)

        self.trainer.fit("teacher", widest, self.recipe.teacher_steps, alone, self.recipe.rate)

        def loss(logits: Tensor, images: Tensor, classes: Tensor) -> Tensor:
            with torch.no_grad():
                answers = (Floats(widest).run(images, layers) / SOFTER).softmax(1)
            far = F.kl_div((logits / SOFTER).log_softmax(1), answers, reduction="batchmean") * SOFTER ** 2
            return (1 - TAUGHT) * F.cross_entropy(logits, classes) + TAUGHT * far

        return loss

    def network(self, name: str, space: Space, weights: Weights, path: Path, loss: Taught, times: int = 1) -> dict[str, Any]:
        """Figures of the finished network of a path, trained with so many times the steps; its files are in the folder NAME."""
        return self._kept(f"{name}.json", lambda: self._finished(name, space, weights, path, loss, times))

    def _finished(self, name: str, space: Space, weights: Weights, path: Path, loss: Taught, times: int) -> dict[str, Any]:
        recipe, images, layers = self.recipe, self.images, space.layers(path)
        alone = weights.alone(layers)
        masks, some = self._grown(name, alone, times * recipe.steps, loss), images.training.first(STATISTICS).images
        with torch.no_grad():
            right, _ = judged(lambda batch: Floats(alone, masks).run(batch, layers), images.choosing)
        whole = folded(alone, layers, some, masks)
        scales = calibrate(whole, layers, some, masks)
        at_once = self._exported(f"{name}-calibrated", whole, masks, scales)

        def integers(batch: Tensor, classes: Tensor, _step: int, _number: int) -> Tensor:
            return loss(Quantised(whole, masks, scales).run(snapped_bytes(batch), layers), batch, classes)

        self.trainer.fit(f"{name}-int8", whole, times * recipe.int8_steps, integers, recipe.int8_rate)
        network = self._exported(name, whole, masks, scales)
        chosen, (figures, wrong) = accuracy_int8(network, images.choosing), wrong_int8(network, images.held_out)
        right_held_out = len(images.held_out.classes) - len(wrong)
        held_out = right_held_out / len(images.held_out.classes)
        kept = sum(int(masks[layer.name].sum()) if layer.name in masks else whole.of(layer, "weight").numel()
                   for layer in layers if hasattr(whole, f"{layer.name}_weight"))
        every = sum(whole.of(layer, "weight").numel() for layer in layers if hasattr(whole, f"{layer.name}_weight"))
        self.say(f"{name}: {held_out:.2%} of held-out images right in int8; {figures.flash:,} bytes of flash, "
                 f"{figures.ram:,} of RAM, {figures.ms:.2f} ms")
        return {"path": path, "weights": every, "weights_kept": kept, "accuracy_float_choosing": right,
                "accuracy_calibrated_choosing": accuracy_int8(at_once, images.choosing), "accuracy_choosing": chosen,
                "accuracy_held_out": held_out, "right_held_out": right_held_out, "wrong_held_out": wrong, **asdict(figures)}

    def _exported(self, name: str, weights: Weights, masks: dict[str, Tensor], scales: dict[str, float]) -> Any:
        export(weights, masks, scales, self.folder / name)
        return compiled(self.folder / name, self.recipe.machine)

    def _kept(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What a file of the folder has; made, and written, if there is none."""
        path = self.folder / name
        if path.exists():
            try:
                kept: dict[str, Any] = json.loads(path.read_text("utf-8"))
            except ValueError:
                raise RecipeError(str(path), "no JSON", "what this run wrote, or no such file: then it is made again") from None
            return kept
        made = make()
        with replacing(path) as stream:
            stream.write((json.dumps(made, indent=1) + "\n").encode())
        return made


def plain(logits: Tensor, _images: Tensor, classes: Tensor) -> Tensor:
    """A loss without a teacher."""
    return F.cross_entropy(logits, classes)


def snapped_bytes(images: Tensor) -> Tensor:
    """As the machine gets them: 0, 1/255, ... 1."""
    return (images * 255).round() / 255
