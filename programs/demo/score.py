"""Bits per byte of the demo models and of stories260K on the same stories, and the demo models' activation sparsity.

    python -m programs.demo.score TEXT --stories260k ../shared/data/stories260K --json programs/demo/figures.json
    python -m programs.demo.score TEXT --model programs/demo/int8-2of4 out/models/int8 --json programs/demo/figures.json

A model's figures stand under the name of its folder. Those of other models that FILE has for the same text stay there.

The protocol, the same for all models: the text is cut at `<|endoftext|>`, white space around a story is dropped. Each story is
scored on its own, every one of its tokens given all tokens before it and the model's token for the start of a story; the token for
its end is not scored. Where a story is longer than the context (512 tokens for all), a window moves on by half a context at a time
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


def of_model(directory: Path, stories: list[str]) -> dict[str, Any]:
    """All figures of a model directory."""
    model, weights = reference.Model(directory), directory / "model.safetensors"
    return {"sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
            **score(stories, model.encode, model.forward, model.context),
            "zeros_per_layer": [round(float(share), 3) for share in model.zeros / model.neurons]}


def main() -> None:
    parser = argparse.ArgumentParser(description="Bits per byte of demo models on a text, beside stories260K's.")
    parser.add_argument("text", type=Path)
    parser.add_argument("--model", type=Path, nargs="+", default=[MODEL], help="model directories (default: programs/demo/model)")
    parser.add_argument("--stories260k", type=Path, help="folder of stories260K.bin and tok512.bin, to score it too")
    parser.add_argument("--stories", type=int, help="score the first so many (default: all)")
    parser.add_argument("--json", type=Path, help="write the figures to this file, beside those that it has")
    arguments = parser.parse_args()
    text = arguments.text.read_text(encoding="utf-8")
    stories = stories_of(text)[:arguments.stories]
    figures: dict[str, Any] = {"text": {
        "name": arguments.text.name, "sha256": hashlib.sha256(text.encode()).hexdigest(), "stories": len(stories),
        "bytes": sum(len(story.encode()) for story in stories)}}
    if arguments.json and arguments.json.exists():
        before = json.loads(arguments.json.read_text(encoding="utf-8"))
        figures = before if before["text"] == figures["text"] else figures
    for directory in arguments.model:
        figures[directory.name] = of_model(directory, stories)
    if arguments.stories260k:
        other = stories260k.Model.read(arguments.stories260k / "stories260K.bin")
        pieces = stories260k.Tokenizer(arguments.stories260k / "tok512.bin", other.vocab)
        figures["stories260K"] = score(stories, lambda story: [stories260k.BOS, *pieces.encode(story)],
                                       other.forward, other.context)
    output = json.dumps(figures, indent=2) + "\n"
    if arguments.json:
        with replacing(arguments.json) as stream:
            stream.write(output.encode())
    print(output, end="")


if __name__ == "__main__":
    main()
