"""Train the demo model: text files in, one checkpoint out. `export.py` makes the model directory from it.

    python -m programs.demo.train ../shared/data/tinystories/train-*.txt --out out/demo --steps 3000

The texts are stories separated by `<|endoftext|>`. A run is a function of its options and texts alone, and continues from
`OUT/checkpoint.pt` exactly where that was written: every `--save` seconds, on Ctrl-C and at the end. `--steps` may be changed until
the learning rate begins to fall. `OUT/log.jsonl` gets a line every few steps, and every `--evaluate` steps the bits per byte of
stories held out from training.

The schedule: a short warm-up, a constant rate, then a linear fall to zero over the last `--fall` of the steps. Weight decay ends
half-way, as BitNet's authors found best. Matrices learn by Muon, the embedding and the norms by Adam.
"""

import argparse
import math
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch.nn import functional as F

from programs.demo.linears import KINDS, Int8
from programs.demo.model import BitNet, Fused, Shape
from programs.demo.start import network_of, set_weights, weights_of
from programs.demo.tokenizer import SEPARATOR_ID, stories_of, train_tokenizer
from programs.demo.training import Run, Step, train

IGNORED = -100          # cross_entropy's mark for a target that does not count


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a ternary language model on stories.")
    parser.add_argument("texts", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path("out/demo"),
                        help="folder of checkpoint, tokenizer and log (default: %(default)s)")
    parser.add_argument("--start", type=Path, help="take shape, tokenizer and first weights from the --out folder of another run,"
                        " or from a model directory of ternary weights")
    parser.add_argument("--weights", choices=list(KINDS), default="ternary", help="of the linears (default: %(default)s)")
    parser.add_argument("--prune", type=pattern, metavar="N:M|P%%", help="keep N of M neighbours in a row, or P percent of a row:"
                        " the largest magnitudes; for --weights int8")
    parser.add_argument("--choose", type=float, default=0.3,
                        help="share of the steps in which --prune chooses anew at every step (default: %(default)s)")
    parser.add_argument("--teacher", type=Path, help="learn what this run's model predicts instead of the text: its --out folder")
    parser.add_argument("--vocabulary", type=int, default=2048)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--kv-heads", type=int, default=2)
    parser.add_argument("--hidden", type=int, default=640)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=4096, help="tokens per step (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=0.02, help="learning rate of the matrices (default: %(default)s)")
    parser.add_argument("--adam-rate", type=float, default=0.003, help="that of embedding and norms (default: %(default)s)")
    parser.add_argument("--decay", type=float, default=0.02, help="weight decay of the matrices, first half (default: %(default)s)")
    parser.add_argument("--warm-up", type=int, default=50, help="steps (default: %(default)s)")
    parser.add_argument("--fall", type=float, default=0.5, help="share of the steps in which the rate falls (default: %(default)s)")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--sparsity", type=float, default=0.0,
                        help="weight in the loss of how evenly a token's neurons are active (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--held-out", type=int, default=200,
                        help="stories at the end of the texts kept to evaluate on (default: %(default)s)")
    parser.add_argument("--evaluate", type=int, default=250, help="steps between two evaluations (default: %(default)s)")
    parser.add_argument("--save", type=float, default=180, help="seconds between two checkpoints (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="fuse the element-wise parts; needs a C++ compiler")
    arguments = parser.parse_args()
    if arguments.prune and arguments.weights != "int8":
        parser.error(f"--prune is for --weights int8, got {arguments.weights}")
    return arguments


def pattern(text: str) -> tuple[int, int]:
    """(2, 4) of "2:4", (50, 0) of "50%". Raises ArgumentTypeError."""
    found = re.fullmatch(r"(\d+):(\d+)|(\d+)%", text)
    kept, of = (int(found[1] or found[3]), int(found[2] or 0)) if found else (0, 0)
    if not 0 < kept < (of or 100):
        raise argparse.ArgumentTypeError(f"got {text}, expected N:M with N below M, or P% with P from 1 to 99")
    return kept, of


def windows(ids: list[list[int]], context: int) -> list[list[int]]:
    """Stories (ids from the separator to the separator) cut where the context ends; a cut's last token begins the next window."""
    return [story[i:i + context + 1] for story in ids for i in range(0, len(story) - 1, context)]


def batches(pieces: list[list[int]], tokens: int, seed: int, epoch: int) -> list[list[int]]:
    """Indices of windows of about one length, at most `tokens` tokens a batch with the padding; the order is the epoch's own."""
    generator = np.random.default_rng((seed, epoch))
    lengths = np.array([len(piece) for piece in pieces]) - 1
    order = generator.permutation(len(pieces))
    order = order[np.argsort(lengths[order] // 16, kind="stable")]
    result: list[list[int]] = [[]]
    longest = 0
    for i in map(int, order):
        longest = max(longest, int(lengths[i]))
        if longest * (len(result[-1]) + 1) > tokens and result[-1]:
            result.append([])
            longest = int(lengths[i])
        result[-1].append(i)
    return [result[i] for i in generator.permutation(len(result))]


def padded(pieces: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets, each (B, T), of windows; what lies behind a window's end does not count."""
    length = max(map(len, pieces))
    tokens = torch.full((len(pieces), length), SEPARATOR_ID)
    targets = torch.full((len(pieces), length), IGNORED)
    for row, piece in enumerate(pieces):
        tokens[row, :len(piece)] = targets[row, :len(piece)] = torch.tensor(piece)
    return tokens[:, :-1], targets[:, 1:]


def divergence(logits: torch.Tensor, taught: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """KL of predictions (B, T, vocabulary) from a teacher's, in nats, mean over the targets that count."""
    counted = targets != IGNORED
    return F.kl_div(logits[counted].log_softmax(-1), taught[counted].log_softmax(-1), log_target=True, reduction="batchmean")


@torch.no_grad()
def evaluate(model: BitNet, pieces: list[list[int]], size: int, batch: int) -> tuple[float, list[float]]:
    """Bits per byte of windows that encode `size` bytes, in float32 as deployed, and each layer's share of zeros behind relu2."""
    model.eval()
    bits, zeros, count = 0.0, torch.zeros(model.shape.layers), 0
    for chosen in batches(pieces, batch, 0, 0):
        tokens, targets = padded([pieces[i] for i in chosen])
        nats = F.cross_entropy(model(tokens).flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")
        bits += float(nats) / math.log(2)
        zeros += tokens.numel() * torch.stack([layer.mlp.zeros for layer in model.layers])
        count += tokens.numel()
    model.train()
    return bits / size, (zeros / count).tolist()


def choose(run: Run, arguments: argparse.Namespace) -> None:
    """Which weights the next step keeps."""
    for module in run.model.modules():
        if isinstance(module, Int8):
            module.choosing = run.step < arguments.choose * arguments.steps
            if module.choosing or run.step == 0:
                module.choose(*arguments.prune)


def following(run: Run, pieces: list[list[int]], tokens: int, seed: int) -> Iterator[list[int]]:
    """The batches from where the run stands on, without end."""
    while True:
        epoch = batches(pieces, tokens, seed, run.epoch)
        while run.place < len(epoch):
            run.place += 1
            run.share = run.place / len(epoch)
            yield epoch[run.place - 1]
        run.epoch, run.place = run.epoch + 1, 0


def main() -> None:
    arguments = options()
    torch.set_num_threads(arguments.threads)
    if arguments.compile:
        Fused.compile()
    stories = [story for path in arguments.texts for story in stories_of(path.read_text(encoding="utf-8"))]
    training, held_out = stories[:-arguments.held_out], stories[-arguments.held_out:]
    if not training:
        sys.exit(f"error: the texts hold {len(stories)} stories, none is left to train on; --held-out takes {arguments.held_out}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    vocabulary, checkpoint = arguments.out / "tokenizer.json", arguments.out / "checkpoint.pt"
    shape, first = weights_of(arguments.start) if arguments.start else (None, None)
    if arguments.start and not vocabulary.exists():
        shutil.copyfile(arguments.start / "tokenizer.json", vocabulary)
    if not vocabulary.exists():
        train_tokenizer(training, arguments.vocabulary).save(str(vocabulary))
    tokenizer = Tokenizer.from_file(str(vocabulary))
    encoded = [[*encoding.ids, SEPARATOR_ID] for encoding in tokenizer.encode_batch(training)]
    context = shape.context if shape else arguments.context
    pieces = windows(encoded, context)
    judged = windows([encoding.ids for encoding in tokenizer.encode_batch(held_out)], context)
    judged_size = sum(len(story.encode()) for story in held_out)

    shape = shape or Shape(tokenizer.get_vocab_size(), arguments.dim, arguments.layers, arguments.heads, arguments.kv_heads,
                           arguments.hidden, arguments.context)
    run = Run(arguments, replace(shape, weights=arguments.weights))
    if checkpoint.exists():
        run.load(checkpoint)
    elif first:
        set_weights(run.model, first)
    model, teacher = run.model, network_of(arguments.teacher) if arguments.teacher else None
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {len(training)} stories,"
          f" {sum(map(len, encoded))} tokens an epoch, step {run.step} of {arguments.steps}", flush=True)

    next_batches = following(run, pieces, arguments.batch, arguments.seed)

    def step() -> Step:
        if arguments.prune:
            choose(run, arguments)
        torch.manual_seed(arguments.seed * 1_000_003 + run.step)            # dropout's: a resumed run draws the same
        tokens, targets = padded([pieces[i] for i in next(next_batches)])
        logits = model(tokens, torch.bfloat16, arguments.dropout)
        if teacher:
            with torch.no_grad():
                taught = teacher(tokens, torch.bfloat16)
            loss = divergence(logits, taught, targets)
        else:
            loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
        whole = loss
        if arguments.sparsity:
            whole = loss + arguments.sparsity * torch.stack([layer.mlp.evenness for layer in model.layers]).mean()
        return Step(whole, [loss], tokens.numel())

    def told(means: list[float], last: bool) -> dict[str, Any]:
        line: dict[str, Any] = {"epoch": round(run.epoch + run.share, 2), "loss": round(means[0], 4)}
        if run.step % arguments.evaluate == 0 or last:
            bits, zeros = evaluate(model, judged, judged_size, arguments.batch)
            line |= {"held_out_bits_per_byte": round(bits, 4), "zeros": [round(share, 3) for share in zeros]}
        return line

    train(run, arguments, step, told)


if __name__ == "__main__":
    main()
