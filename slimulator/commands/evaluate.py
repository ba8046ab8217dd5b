"""The command eval: accuracy on a text, and what a token costs, of a program beside the checkpoint as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from slimulator.commands import shared
from slimulator.commands.shared import ENGINE, FILE, THREADS, TOKENIZER, Printer, compiler_options, say

DENSE, WHOLE, PROGRAM = "dense", "whole", "program"


@dataclass
class Column:
    """A program of the table. `beside` is what Scores.beside says of it and of the first one; None: it is the first one.

    name  DENSE: the checkpoint as it is; WHOLE: the program that leaves nothing alone; PROGRAM: what was asked for
    """

    name: str
    made_of: str
    weights: str
    scores: Any
    cost: Any
    beside: Any = None

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "weights": self.weights, **self.scores.as_json(),
                "beside_first": self.beside.beside() if self.beside else None, "cost": self.cost.as_json()}


@click.command("eval", short_help="Measure the accuracy of a model and of its program on a text, and what a token costs.")
@click.argument("model", type=FILE)
@click.argument("text", type=FILE)
@compiler_options
@click.option("--tokens", type=click.IntRange(min=1), default=1000, show_default=True, metavar="N",
              help="Score the first N tokens of TEXT.")
@click.option("--no-dense", is_flag=True,
              help="Leave out the checkpoint as it is, which is compiled and scored too where other options change it.")
@TOKENIZER
@THREADS
@ENGINE
@click.option("--json", "json_file", type=FILE, metavar="F", help="Write the result as JSON; '-' means stdout.")
def evaluate_model(model: Path, text: Path, settings: Any, tokens: int, no_dense: bool, tokenizer: Path | None, threads: int,
                   engine: str, json_file: Path | None) -> int:
    """Score a text file with the model's float graph and with the quantised program on the emulated machine.

    Documents separated by <|endoftext|> are scored independently. With --prune-tokens the first half of each is its prompt, and the
    second half is scored. Bytes, time and energy are those of a token that is generated.
    """
    from compiler.checking.evaluate import evaluate_pairs, of_graph, of_program, split
    from compiler.checking.token_cost import token_cost
    from compiler.frontends import need_tokenizer
    from compiler.graph import Executor, graph_of
    from compiler.running.alive import new_tokens
    from compiler.running.generate import is_program
    from compiler.running.neurons import neurons
    from compiler.settings import read_text
    from isa.text import counted
    if is_program(model):
        raise click.UsageError(f"{model} is a program: eval needs the checkpoint that it was compiled from")
    shared.distinct([json_file], model, text, tokenizer)
    timed = shared.machine_maker(engine, threads, time=True)
    opened = settings.load(model, tokenizer)
    shared.say_notes(opened)
    kinds = _programs(model, settings, tokenizer, no_dense)
    programs = list(kinds.values())
    documents = split(read_text(text), need_tokenizer(opened), programs[0].meta["model"]["context"], tokens,
                      halves=settings.prune_tokens is not None, new=next(filter(None, map(new_tokens, programs)), None))
    presets = [shared.preset_for(program, settings.machine) for program in programs]
    runners = [shared.machine_maker(engine, threads)(preset) for preset in presets]
    for runner, program in zip(runners, programs, strict=True):
        runner.load(program)
    last = len(programs)
    every = list(kinds).index(WHOLE) + 1 if WHOLE in kinds else 1
    pairs = [(0, number) for number in range(1, last + 1)] + [(1, number) for number in range(2, last + 1)] + [(every, last)]
    scores = evaluate_pairs(documents, [of_graph(Executor(graph_of(opened), opened)), *map(of_program, runners, programs)], pairs,
                            shared.progress("scoring"))
    columns = [
        Column(name, _made_of(name, program, settings), program.meta["model"]["weights"], scores[number],
               token_cost(program, timed, preset, documents[0].tokens, documents[0].prompt),
               scores[last + number - 1] if number else None)
        for number, (name, program, preset) in enumerate(zip(kinds, programs, presets, strict=True))]
    idle, out = neurons(runners[-1], programs[-1]), Printer(json_file)
    budgets = programs[-1].meta["model"].get("cuts", {}).get("budgets", [])
    cut = sum(document.prompt > min(budgets) for document in documents) if budgets else None
    out(f"{counted(scores[0].tokens, 'token')}, {counted(scores[0].size, 'byte')} of {text} in "
        f"{counted(len(documents), 'document')}")
    _table(out, columns, presets[-1].name)
    if idle:
        out(f"neurons: {idle}")
    if cut is not None:
        out(f"prompts that were cut: {cut} of {len(documents)}"
            + f"; the others have at most {min(budgets):,} tokens" * (cut < len(documents)))
    beside = {"dense": scores[every - 1].as_json(), "beside_dense": scores[-1].beside()} if settings.dense() != settings else {}
    shared.write_json(json_file, {
        "model": str(model), "text": str(text), "weights": columns[-1].weights, "kv": settings.kv,
        "activations": settings.activations, "sparsity": settings.sparsity, "predictor": settings.predictor,
        "prune": settings.prune, "project": settings.project, "reuse": settings.reuse, "kv_select": settings.kv_select,
        "kv_select_from": settings.kv_select_from, "kv_near": settings.kv_near, "dataflow": settings.dataflow,
        "pack": settings.pack, "in_page": settings.in_page,
        "prune_tokens": settings.prune_tokens, "prompts_cut": cut, "documents": len(documents),
        **columns[-1].scores.as_json(), **beside, "neurons": idle.as_json() if idle else None,
        "programs": [column.as_json() for column in columns]})
    out.end()
    return 0


def _programs(model: Path, settings: Any, tokenizer: Path | None, no_dense: bool) -> dict[str, Any]:
    """The programs that are scored, by name, in the order of the table. Without the dense one if there is no room for it."""
    from compiler.errors import ModelError
    from compiler.running.generate import find_program
    from isa.program import Program
    found = partial(find_program, model, tokenizer=tokenizer, progress=shared.progress("compiling the model"),
                    waiting=shared.waiting)
    plain, dense, programs = settings.plain(), settings.dense(), dict[str, Any]()
    if plain != settings and (not no_dense or plain == dense):
        try:
            programs[DENSE] = Program.load(found(plain))
        except ModelError as error:
            if plain == dense:
                raise
            say(f"note: there is no column of the checkpoint as it is: {error}")
    if dense not in (plain, settings):
        try:
            programs[WHOLE] = Program.load(found(dense))
        except ModelError as error:
            if error.place != "--kv-near" or not settings.prune_tokens:
                raise
            if (dense := replace(dense, kv_near=None)) != plain or DENSE not in programs:       # else the first column is it
                say(f"note: {WHOLE}, which leaves out no tokens, has no keys and values near: {error.place} {settings.kv_near}: "
                    f"{error.got}; expected {error.expected}")
                programs[WHOLE] = Program.load(found(dense))
    programs[PROGRAM] = Program.load(found(settings))
    return programs


def _made_of(name: str, program: Any, settings: Any) -> str:
    """What a program was made of, in words."""
    if name == DENSE:
        settings = settings.plain()
    elif name == WHOLE:
        settings = settings.dense()
    stored, asked = program.meta["model"]["weights"], settings.weights
    named = {"asked for as": asked if asked and asked not in stored else None,
             "projected to": settings.project, "pruned by": settings.prune, "outputs reused over columns:": settings.reuse,
             "kv": settings.kv if settings.kv != "f32" else None, "activations": settings.activations,
             "ffn sparsity": settings.sparsity, "predicted by": settings.predictor, "kv select": settings.kv_select,
             "of layers from": settings.kv_select_from, "tokens": settings.prune_tokens, "dataflow": settings.dataflow,
             "neurons in a page:": settings.in_page,
             "kv near": settings.kv_near if "kv_near" in program.meta["model"] else None}
    return ", ".join([stored,
                      *(f"{words} {value}" for words, value in named.items() if value is not None)])


def _table(out: Printer, columns: Sequence[Column], machine: str) -> None:
    """The float graph, then each program beside it and beside the first program; then what a token costs."""
    def row(name: str, first: str, others: Sequence[str]) -> None:
        out(f"{name:<24}{first:>14}" + "".join(f"{text:>16}" for text in others))

    scores, costs = [column.scores for column in columns], [column.cost for column in columns]
    row("", "float graph", [column.name for column in columns])
    row("bits per byte", f"{scores[0].bits_per_byte[0]:.4f}", [f"{each.bits_per_byte[1]:.4f}" for each in scores])
    row("perplexity of a token", f"{scores[0].perplexity[0]:.4f}", [f"{each.perplexity[1]:.4f}" for each in scores])
    row("top-1 agreement", "", [f"{100 * each.agreement:.2f} %" for each in scores])
    row("KL divergence", "", [f"{each.kl:.5f} nats" for each in scores])
    if len(columns) > 1:
        first = columns[0].name
        row(f"top-1 vs {first}", "", [f"{100 * column.beside.agreement:.2f} %" if column.beside else "" for column in columns])
        row(f"KL vs {first}", "", [f"{column.beside.kl:.5f} nats" if column.beside else "" for column in columns])
    for region in dict.fromkeys(region for cost in costs for region in cost.bytes_read):
        row(f"{region} bytes a token", "", [f"{cost.bytes_read.get(region, 0):,.0f}" for cost in costs])
    for name, values in (("ms", [cost.seconds for cost in costs]), ("mJ", [cost.joules for cost in costs])):
        if None not in values:
            row(f"{name} a token", "", [f"{1e3 * value:.4g}" for value in values])
    out(f"bytes read, time and energy on {machine}: of {costs[0].tokens} tokens behind {costs[0].behind} of the text, one by one")
    for column in columns:
        out(f"{column.name}: {column.made_of}")
