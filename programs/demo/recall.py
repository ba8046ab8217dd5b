"""Recall of the model that remembers, on the emulated machine: facts that it finds, by how deep in the story they stand.

    python -m programs.demo.recall                                  # 200 facts, 2,048 positions; about a minute on two cores
    python -m programs.demo.recall --facts 40 --positions 1024 --kv i8 --machine slim-llama
    python -m programs.demo.recall --prompts facts.jsonl            # write the test and stop

All options of the compiler are taken, so what a mechanism costs in recall is the difference between two such lines. Each prompt is
a story of `facts.py` (seed 7) with one question at its end. A fact counts as found if the tokens of the answer, chosen greedily,
are exactly right. Stories of the training are from other seeds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import click

from compiler.frontends import need_tokenizer
from compiler.model.tokenizer import Tokenizer
from compiler.running.generate import Generation, Sampling, find_program, open_program
from emulator.machine import Machine
from isa.program import Program
from programs.demo.facts import DEPTHS, Encode, asked
from slimulator.commands.shared import compiler_options
from slimulator.explore.pool import usual_workers

MODEL = Path(__file__).parent / "recall"
SEED = 7
TOGETHER = DEPTHS * 2                   # facts that a process takes at a time


def encoder(tokenizer: Tokenizer) -> Encode:
    """Texts to ids, without the start token."""
    def encode(texts: Sequence[str]) -> list[list[int]]:
        found = [tokenizer.encode(text) for text in texts]
        return [ids[1:] if ids[:1] == [tokenizer.bos] else ids for ids in found]
    return encode


def prompts(tokenizer: Tokenizer, facts: int, positions: int) -> list[dict[str, Any]]:
    """The test: of each fact {"prompt", "answer": texts, "depth": 1 (first quarter of the story) to 4}. With the answer and the
    start token a prompt takes up to `positions` positions."""
    return [{"prompt": tokenizer.decode(each.prompt), "answer": tokenizer.decode(each.answer), "depth": each.depth + 1}
            for each in asked(SEED, facts, positions - 8, encoder(tokenizer))]


def found(program: Program, tokenizer: Tokenizer, test: Sequence[dict[str, Any]]) -> list[bool]:
    """For each fact whether it was found."""
    result = []
    for fact in test:
        answer = encoder(tokenizer)([fact["answer"]])[0]
        run = Generation(program, tokenizer, fact["prompt"], Sampling(max_tokens=len(answer)), Machine, program.machine)
        result.append(run.run(lambda _text: None).tokens == answer)
    return result


def shared(path: Path, test: Sequence[dict[str, Any]], workers: int) -> Iterator[bool]:
    """As `found` of the program in a file, in order, by `workers` processes: each reads the program once."""
    parts = [test[start:start + TOGETHER] for start in range(0, len(test), TOGETHER)]
    if workers == 1:
        for part in parts:
            yield from _part(path, part)
        return
    from loky import ProcessPoolExecutor
    with ProcessPoolExecutor(min(workers, len(parts))) as pool:
        for each in pool.map(partial(_part, path), parts):
            yield from each


def _part(path: Path, test: Sequence[dict[str, Any]]) -> list[bool]:
    return found(*_opened(path), test)


@cache
def _opened(path: Path) -> tuple[Program, Tokenizer]:
    return open_program(path)


@click.command(help="How many facts of long stories a model finds, by their depth. Options of the compiler are taken, too.")
@click.option("--model", type=click.Path(path_type=Path), default=MODEL, show_default=False)
@compiler_options
@click.option("--facts", type=click.IntRange(min=DEPTHS), default=200, show_default=True)
@click.option("--positions", type=click.IntRange(min=256), default=2048, show_default=True, help="Of a story with its question.")
@click.option("--prompts", "written", type=click.Path(path_type=Path), help="Write prompts and answers to this file and stop.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Processes; by default one a core.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures to this file.")
def main(model: Path, settings: Any, facts: int, positions: int, written: Path | None, workers: int | None,
         json_file: Path | None) -> None:
    test = prompts(need_tokenizer(settings.load(model)), facts, positions)
    if written:
        written.write_text("".join(json.dumps(fact) + "\n" for fact in test), encoding="utf-8")
        return
    by_depth: list[list[bool]] = [[] for _ in range(DEPTHS)]
    right = shared(find_program(model, settings), test, workers or usual_workers())
    for number, (fact, each) in enumerate(zip(test, right, strict=True), 1):
        by_depth[fact["depth"] - 1].append(each)
        click.echo(f"\r{number} of {len(test)} facts", err=True, nl=False)
    click.echo("", err=True)
    for depth, quarter in enumerate(by_depth, 1):
        click.echo(f"quarter {depth} of the story: {_share(quarter)}")
    every = [each for quarter in by_depth for each in quarter]
    click.echo(f"all: {_share(every)}")
    if json_file:
        json_file.write_text(json.dumps({"positions": positions, "facts": facts, "recall": sum(every) / facts,
                                         "by_depth": [sum(each) / len(each) for each in by_depth]}) + "\n", encoding="utf-8")


def _share(right: Sequence[bool]) -> str:
    return f"{sum(right)} of {len(right)} facts, {100 * sum(right) / len(right):.1f} %"


if __name__ == "__main__":
    from programs.demo import recall  # by its name, so that other processes find its functions
    recall.main()
