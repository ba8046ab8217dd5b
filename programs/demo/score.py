"""Bits per byte of the demo model and of stories260K on the same stories, and the demo model's activation sparsity.

    python -m programs.demo.score TEXT --stories260k ../shared/data/stories260K --json programs/demo/figures.json

The protocol, the same for both models: the text is cut at `<|endoftext|>`, white space around a story is dropped. Each story is
scored on its own, every one of its tokens given all tokens before it and the model's token for the start of a story; the token for
its end is not scored. Where a story is longer than the context (512 tokens for both), a window moves on by half a context at a time
and scores the tokens that it is the first to reach. The score is the sum of -log2 p over all tokens, divided by the UTF-8 bytes of
all stories.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from isa.files import replacing
from programs.demo import reference, stories260k
from programs.demo.tokenizer import stories_of

MODEL = Path(__file__).parent / "model"


def bits(forward: Callable[[np.ndarray], np.ndarray], tokens: list[int], context: int) -> float:
    """-log2 p, summed, of all `tokens` but the first, which starts the story."""
    ids, total, scored, start = np.array(tokens), 0.0, 1, 0
    while scored < len(ids):
        stop = min(start + context, len(ids) - 1)
        logits = forward(ids[start:stop]).astype(np.float64)[scored - 1 - start:]
        logits -= logits.max(-1, keepdims=True)
        targets = ids[scored:stop + 1]
        total += (np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(targets)), targets]).sum() / np.log(2)
        scored, start = stop + 1, start + context // 2
    return total


def score(stories: list[str], encode: Callable[[str], list[int]], forward: Callable[[np.ndarray], np.ndarray],
          context: int) -> dict[str, float]:
    """Bits per byte of the stories and the tokens that they are made of."""
    total, tokens = 0.0, 0
    for at, story in enumerate(stories):
        ids = encode(story)
        total, tokens = total + bits(forward, ids, context), tokens + len(ids) - 1
        if at % 100 == 99:
            print(f"{at + 1} of {len(stories)} stories", file=sys.stderr, flush=True)
    return {"bits_per_byte": round(float(total / sum(len(story.encode()) for story in stories)), 4), "tokens": tokens}


def main() -> None:
    parser = argparse.ArgumentParser(description="Bits per byte of the demo model on a text, beside stories260K's.")
    parser.add_argument("text", type=Path)
    parser.add_argument("--model", type=Path, default=MODEL, help="model directory (default: the shipped one)")
    parser.add_argument("--stories260k", type=Path, help="folder of stories260K.bin and tok512.bin, to score it too")
    parser.add_argument("--stories", type=int, help="score the first so many (default: all)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    text = arguments.text.read_text(encoding="utf-8")
    stories = stories_of(text)[:arguments.stories]
    model = reference.Model(arguments.model)
    figures: dict[str, Any] = {
        "text": {"name": arguments.text.name, "sha256": hashlib.sha256(text.encode()).hexdigest(), "stories": len(stories),
                 "bytes": sum(len(story.encode()) for story in stories)},
        "model": {"sha256": hashlib.sha256((arguments.model / "model.safetensors").read_bytes()).hexdigest(),
                  **score(stories, model.encode, model.forward, model.context),
                  "zeros_per_layer": [round(float(share), 3) for share in model.zeros / model.neurons]},
    }
    if arguments.stories260k:
        other = stories260k.Model.read(arguments.stories260k / "stories260K.bin")
        pieces = stories260k.Tokenizer(arguments.stories260k / "tok512.bin", other.vocab)
        figures["stories260K"] = score(stories, lambda story: [stories260k.BOS, *pieces.encode(story)],
                                       other.forward, other.context)
    output = json.dumps(figures, indent=2) + "\n"
    print(output, end="")
    if arguments.json:
        with replacing(arguments.json) as stream:
            stream.write(output.encode())


if __name__ == "__main__":
    main()
