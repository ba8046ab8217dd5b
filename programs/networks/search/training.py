"""Training that can be stopped and goes on: batches, rates and chance follow from the seed, the name and the step alone."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from programs.networks.search.images import Part, varied
from programs.networks.search.recipe import Recipe, RecipeError
from programs.networks.search.supernet import Weights

SAVE = 20.0                     # seconds between checkpoints
SAY = 100                       # steps between lines of progress
WARM_UP = 50                    # steps at most; a tenth of a short training

Loss = Callable[[Tensor, Tensor, int, int], Tensor]     # of images and their classes, at a step, with a number by chance


@dataclass
class Trainer:
    """Where a run keeps its checkpoints, and what it says."""

    recipe: Recipe
    folder: Path
    training: Part
    say: Callable[[str], None]

    def fit(self, name: str, weights: Weights, steps: int, loss_of: Loss, rate: float, flat: bool = False,
            kept: bool = True) -> Weights:
        """Train for so many steps from the start, or from the checkpoint NAME.pt, which is there in the end. The rate falls to
        zero, or stays if `flat`: then a later call may go on to more steps. Without `kept` there is no checkpoint, and nothing is
        said. Raises RecipeError when the loss is no number."""
        path = self.folder / f"{name}.pt"
        optimiser = torch.optim.AdamW(weights.parameters(), lr=rate, weight_decay=0.01)
        step = self._load(path, weights, optimiser) if kept else 0
        warm_up = min(WARM_UP, max(1, steps // 10))
        saved, since, losses = time.monotonic(), step, 0.0
        while step < steps:
            chance = self.chance(name, step)
            chosen = torch.randint(len(self.training.images), (self.recipe.batch,), generator=chance)
            number = int(torch.randint(1 << 31, (1,), generator=chance))
            share = min(1.0, (step + 1) / warm_up) * (1.0 if flat else 0.5 + 0.5 * math.cos(math.pi * step / steps))
            optimiser.param_groups[0]["lr"] = rate * share
            loss = loss_of(varied(self.training.images[chosen], chance), self.training.classes[chosen], step, number)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights.parameters(), 5.0)
            optimiser.step()
            step, losses = step + 1, losses + float(loss.detach())
            if not math.isfinite(losses):
                raise RecipeError("rate", f"{rate}: the loss of {name} is no number at step {step}", "a smaller one")
            if kept and (step % SAY == 0 or step == steps):
                self.say(f"{name}: step {step} of {steps}, loss {losses / (step - since):.4f}")
                since, losses = step, 0.0
            if kept and (time.monotonic() - saved > SAVE or step == steps):
                self._save(path, weights, optimiser, step)
                saved = time.monotonic()
        return weights

    def chance(self, name: str, step: int) -> torch.Generator:
        """Random numbers of a step."""
        digest = hashlib.sha256(f"{self.recipe.seed} {name} {step}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))

    def _load(self, path: Path, weights: Weights, optimiser: torch.optim.Optimizer) -> int:
        if not path.exists():
            return 0
        try:
            state = torch.load(path, weights_only=True)
            weights.load_state_dict(state["weights"])
            optimiser.load_state_dict(state["optimiser"])
            return int(state["step"])
        except Exception as error:      # whatever torch makes of a file that is not ours
            raise RecipeError(str(path), f"no checkpoint of this run: {type(error).__name__}", "another --out") from None

    def _save(self, path: Path, weights: Weights, optimiser: torch.optim.Optimizer, step: int) -> None:
        torch.save({"weights": weights.state_dict(), "optimiser": optimiser.state_dict(), "step": step}, path.with_suffix(".new"))
        os.replace(path.with_suffix(".new"), path)


@torch.no_grad()
def judged(logits: Callable[[Tensor], Tensor], part: Part) -> tuple[float, float]:
    """Share of right classes, and mean cross-entropy in nats, of one batch: batch normalisation takes its statistics."""
    made = logits(part.images)
    return float((made.argmax(1) == part.classes).float().mean()), float(F.cross_entropy(made, part.classes))
