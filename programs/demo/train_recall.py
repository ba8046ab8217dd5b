"""Train the variant of the demo that remembers: 2,048 positions, on the long stories of `facts.py`.

    python -m programs.demo.train_recall --out out/recall
    python -m programs.demo.export out/recall programs/demo/recall

It begins with the weights of `recall_start.py`. Stories are short first, and in every second one positions jump, so that heads
learn early what is far away. The loss has the answers twice: by themselves, and among all tokens (`--text`). A run is a function of
its options alone, and continues from `OUT/checkpoint.pt` exactly where that was written: every `--save` seconds, on Ctrl-C and at
the end. Stages that are not reached yet may be changed.
"""

import argparse
import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch.nn import functional as F

from programs.demo.facts import Encode, facts_of, filler, told
from programs.demo.model import Fused, Shape
from programs.demo.recall_start import start
from programs.demo.tokenizer import SEPARATOR_ID, train_tokenizer
from programs.demo.training import Run, Step, train

STAGES = "256x8:120,1024x2:30,2048x1:50"


def stages_of(text: str) -> list[tuple[int, int, int]]:
    """(steps, tokens of a story, stories of a step) of "128x32:600,...". Raises ArgumentTypeError."""
    found = [re.fullmatch(r"(\d+)x(\d+):(\d+)", part) for part in text.split(",")]
    if not all(found):
        raise argparse.ArgumentTypeError(f"got {text}, expected TOKENSxSTORIES:STEPS,..., as in {STAGES}")
    return [(int(one[3]), int(one[1]), int(one[2])) for one in found if one]


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a language model that remembers facts of long stories.")
    parser.add_argument("--out", type=Path, default=Path("out/recall"),
                        help="folder of checkpoint, tokenizer and log (default: %(default)s)")
    parser.add_argument("--stages", type=stages_of, default=STAGES, metavar="TOKENSxSTORIES:STEPS,...",
                        help="how long stories are, how many there are in a step, for how many steps (default: %(default)s)")
    parser.add_argument("--vocabulary", type=int, default=1024)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--heads", type=int, default=2)
    parser.add_argument("--kv-heads", type=int, default=1)
    parser.add_argument("--hidden", type=int, default=320)
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--theta", type=float, default=1e8, help="base of RoPE (default: %(default)s)")
    parser.add_argument("--density", type=float, default=2.0,
                        help="of facts in the first stage; 1 in the last (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=0.01, help="learning rate of the matrices (default: %(default)s)")
    parser.add_argument("--adam-rate", type=float, default=0.002, help="that of embedding and norms (default: %(default)s)")
    parser.add_argument("--decay", type=float, default=0.02, help="weight decay of the matrices, first half (default: %(default)s)")
    parser.add_argument("--warm-up", type=int, default=50, help="steps (default: %(default)s)")
    parser.add_argument("--fall", type=float, default=0.3, help="share of the steps in which the rate falls (default: %(default)s)")
    parser.add_argument("--text", type=float, default=0.7, help="weight of all tokens beside the answers (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save", type=float, default=120, help="seconds between two checkpoints (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="fuse the element-wise parts; needs a C++ compiler")
    return parser.parse_args()


def tokenizer_of(path: Path, vocabulary: int) -> Tokenizer:
    """The tokenizer of the run: of stories and facts, in which every name and thing of a fact is one piece."""
    if not path.exists():
        drawn = random.Random(0)
        train_tokenizer(["\n".join([*filler(drawn), *(line for fact in facts_of(drawn, 10) for line in (
            fact.line, f"{fact.question}{fact.answer}."))]) for _ in range(1500)], vocabulary).save(str(path))
    return Tokenizer.from_file(str(path))


@dataclass(frozen=True)
class Batch:
    """Of a step: tokens (stories, tokens + 1), each from the separator on; which of them are answers; the positions of all but the
    last one of each story, (stories, tokens)."""

    tokens: torch.Tensor
    answers: torch.Tensor
    places: torch.Tensor


def batch(seed: int, step: int, stage: tuple[int, int], density: float, context: int, encode: Encode) -> Batch:
    """The batch of a step: a function of seed and step alone.

    In every second story positions jump, up to three times, over what a story of the whole context would have there. So short ones
    teach what is far away, too. Source: PoSE, arXiv:2309.10400.
    """
    tokens, stories = stage
    drawn = random.Random(f"{seed} {step}")
    ids, answers = zip(*(told(drawn, tokens, encode, density) for _ in range(stories)), strict=True)
    places = torch.arange(tokens).repeat(stories, 1)
    for row in places[::2]:
        left = context - tokens
        for _ in range(3):
            jump = drawn.randint(0, left)
            row[drawn.randrange(1, tokens):] += jump
            left -= jump
    return Batch(torch.tensor([[SEPARATOR_ID, *row] for row in ids]), torch.tensor([[False, *row] for row in answers]), places)


def main() -> None:
    arguments = options()
    torch.set_num_threads(arguments.threads)
    if arguments.compile:
        Fused.compile()
    arguments.out.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer_of(arguments.out / "tokenizer.json", arguments.vocabulary)

    def encode(texts: Sequence[str]) -> list[list[int]]:
        return [found.ids[1:] for found in tokenizer.encode_batch(list(texts))]

    plan = [(tokens, stories) for steps, tokens, stories in arguments.stages for _ in range(steps)]
    arguments.steps = len(plan)
    shape = Shape(tokenizer.get_vocab_size(), arguments.dim, arguments.layers, arguments.heads, arguments.kv_heads,
                  arguments.hidden, arguments.context, arguments.theta, weights="int8")
    run, checkpoint = Run(arguments, shape), arguments.out / "checkpoint.pt"
    if checkpoint.exists():
        run.load(checkpoint)
    else:
        start(run.model)
    print(f"{sum(p.numel() for p in run.model.parameters())} parameters, step {run.step} of {arguments.steps}", flush=True)
    def step() -> Step:
        tokens, longest = plan[run.step][0], plan[-1][0]
        density = 1 + (arguments.density - 1) * math.log(longest / tokens) / max(1, math.log(longest / plan[0][0]))
        given = batch(arguments.seed, run.step, plan[run.step], density, arguments.context, encode)
        logits = run.model(given.tokens[:, :-1], torch.bfloat16, places=given.places).flatten(0, 1)
        targets, asked = given.tokens[:, 1:].flatten(), given.answers[:, 1:].flatten()
        nats = F.cross_entropy(logits, targets, reduction="none")
        right = (logits[asked].argmax(-1) == targets[asked]).float().mean()
        return Step(nats[asked].mean() + arguments.text * nats.mean(), [nats[asked].mean(), nats[~asked].mean(), right],
                    targets.numel())

    def told(means: list[float], _last: bool) -> dict[str, Any]:
        return {"tokens": plan[run.step - 1][0],
                **dict(zip(("loss_answers", "loss_text", "recall"), (round(mean, 4) for mean in means), strict=True))}

    train(run, arguments, step, told)


if __name__ == "__main__":
    main()
