"""What all trainings here share: a run with its checkpoint, its rates, and its steps to the last one."""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from programs.demo.model import BitNet, Shape

EVERY = 25              # steps between two lines of the log


def rate_at(step: int, steps: int, warm_up: int, fall: float) -> float:
    """The share of the full learning rate at a step: 1 but for the warm-up and the linear fall at the end."""
    return min(1.0, (step + 1) / warm_up, (steps - step) / (fall * steps))


class Run:
    """Everything that a checkpoint holds."""

    def __init__(self, arguments: argparse.Namespace, shape: Shape):
        torch.manual_seed(arguments.seed)
        self.model, self.step, self.seconds = BitNet(shape), 0, 0.0
        self.epoch, self.place, self.share = 0, 0, 0.0          # whole epochs, batches of this one, its share that is done
        matrices = [p for name, p in self.model.named_parameters() if p.ndim == 2 and "embed" not in name]
        others = [p for name, p in self.model.named_parameters() if p.ndim != 2 or "embed" in name]
        self.optimisers: dict[str, torch.optim.Optimizer] = {"adam": torch.optim.Adam(others, betas=(0.9, 0.98))}
        if matrices:                                            # factors have none
            self.optimisers["muon"] = torch.optim.Muon(matrices)

    def save(self, path: Path) -> None:
        state = {"shape": self.model.shape.as_dict(), "model": self.model.state_dict(), "step": self.step, "epoch": self.epoch,
                 "place": self.place, "seconds": self.seconds,
                 **{name: optimiser.state_dict() for name, optimiser in self.optimisers.items()}}
        torch.save(state, path.with_suffix(".new"))
        os.replace(path.with_suffix(".new"), path)

    def load(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        if Shape(**state["shape"]) != self.model.shape:
            sys.exit(f"error: {path} has the shape {state['shape']}, the options say {self.model.shape.as_dict()};"
                     f" give another --out")
        self.model.load_state_dict(state["model"])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state[name])
        self.step, self.epoch, self.place, self.seconds = state["step"], state["epoch"], state["place"], state["seconds"]

    def set_rates(self, arguments: argparse.Namespace) -> None:
        """The learning rates and the weight decay of the next step."""
        share = rate_at(self.step, arguments.steps, arguments.warm_up, arguments.fall)
        self.optimisers["adam"].param_groups[0]["lr"] = arguments.adam_rate * share
        if "muon" in self.optimisers:
            self.optimisers["muon"].param_groups[0].update(
                lr=arguments.rate * share, weight_decay=arguments.decay if self.step < arguments.steps / 2 else 0.0)


@dataclass(frozen=True)
class Step:
    """What a step has computed: the loss, values whose means are told, the first of them finite, and how many tokens it took."""

    loss: torch.Tensor
    values: list[torch.Tensor]
    tokens: int


def train(run: Run, arguments: argparse.Namespace, step: Callable[[], Step],
          told: Callable[[list[float], bool], dict[str, Any]]) -> None:
    """All steps that are left. Ends the process with a message where the loss is no number, and after a signal.

    step    computes the loss of the next step
    told    what the log says: of the means of `values` since its last line, and whether this is the last step
    """
    checkpoint, stopping = arguments.out / "checkpoint.pt", list[int]()     # a signal waits for the end of its step
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: stopping.append(number))
    saved = started = time.monotonic()
    before, logged, totals, seen = run.seconds, run.step, list[float](), 0
    with open(arguments.out / "log.jsonl", "a", encoding="utf-8") as log:
        while run.step < arguments.steps:
            run.set_rates(arguments)
            rate = rate_at(run.step, arguments.steps, arguments.warm_up, arguments.fall)
            done = step()
            run.model.zero_grad()
            done.loss.backward()
            for optimiser in run.optimisers.values():
                optimiser.step()
            run.step += 1
            seen += done.tokens
            values = [float(value.detach()) for value in done.values]
            totals = [total + value for total, value in zip(totals or [0.0] * len(values), values, strict=True)]
            if not math.isfinite(totals[0]):
                sys.exit(f"error: the loss is {totals[0]} at step {run.step}; {checkpoint} is from before it. Try a smaller --rate")
            now, last = time.monotonic(), run.step == arguments.steps
            run.seconds = before + now - started
            if run.step % EVERY == 0 or last:
                line = json.dumps({"step": run.step, **told([total / (run.step - logged) for total in totals], last),
                                   "rate": round(rate, 4), "tokens_per_second": round(seen / (now - started)),
                                   "seconds": round(run.seconds)})
                logged, totals = run.step, []
                print(line, flush=True)
                print(line, file=log, flush=True)
            if now - saved > arguments.save or last or stopping:
                run.save(checkpoint)
                saved = now
            if stopping:
                sys.exit(f"stopped at step {run.step}; the same command continues")
