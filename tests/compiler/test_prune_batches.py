"""Prompts that are cut, of several texts side by side: each text is that of its prompt alone, whatever the others leave out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compiled_models import FOLDER, small_machine
from random_models import BASE, SHAPES, random_model
from tiny_checkpoint import write_checkpoint

from compiler.checking.verify import compare
from compiler.checking.verify_chain import engines
from compiler.compile import compile_model
from compiler.compiled import Compiled
from compiler.formats.recipe import read_recipe
from compiler.lowering.residency import cache_at
from compiler.passes.prune_tokens import PROMPT_ENDS, parse_prune_tokens
from compiler.running.alive import tokens_alive
from compiler.running.parameters import set_parameters, set_sequences, side_by_side
from emulator.machine import Machine
from emulator.observe.hazards import HazardCheck
from isa.program import Program
from isa.reference import ReferenceMachine
from isa.services import Host
from slimulator.command_line import invoke

SMALL = replace(BASE, vocab=31, dim=16, layers=3, heads=4, kv_heads=2, head_dim=4, hidden=24, context=256,
                rope=replace(SHAPES["head_dim_6"].rope, frequencies=(1.0, 0.01)))
TOKENS = np.random.default_rng(5).integers(3, 31, 212).tolist()
CUTS = "1:192,2:144"
PROMPTS = [TOKENS, TOKENS[:7], TOKENS[30:190], TOKENS[204::-1]]         # cut twice, not at all, once, twice
SMALL_ROOM = small_machine(65536)
Made = tuple[Compiled, Program]


def made(cuts: str | None, sequences: int | None, *, layers: int = 3, weights: str = "", **options: Any) -> Made:
    model = replace(random_model(replace(SMALL, layers=layers)), prune_tokens=parse_prune_tokens(cuts) if cuts else None)
    compiled = compile_model(model, sequences=sequences, recipe=read_recipe(weights) if weights else None, **options)
    folder = Path(FOLDER.name) / f"batch-{cuts}-{sequences}-{layers}-{weights}-{abs(hash(str(options)))}"
    folder.mkdir(exist_ok=True)
    return compiled, compiled.build(folder)


def together(program: Made, prompts: Sequence[list[int]], limits: Sequence[int] = (), engine: type[ReferenceMachine] = Machine, *,
             checked: bool = False, **parameters: Any) -> tuple[list[list[int]], ReferenceMachine]:
    """The tokens of each text, and the machine. `checked`: units wait for each other as they must."""
    texts: list[list[int]] = [[] for _ in prompts]
    host = Host(side_by_side(prompts), emit=lambda token: texts[host.sequence].append(token))
    machine = engine(program[0].machine, host)
    machine.load(program[1])
    set_parameters(machine, **{"stop": (), **parameters})
    set_sequences(machine, limits or [6] * len(prompts))
    check = HazardCheck(machine) if checked else None
    assert machine.run().exit_code == 0
    assert not check or check.hazards == [], str(check.hazards[0])
    return texts, machine


def alone(program: Made, prompt: list[int], limit: int = 6, **parameters: Any) -> tuple[list[int], ReferenceMachine]:
    machine = Machine(program[0].machine, Host(prompt))
    machine.load(program[1])
    set_parameters(machine, **{"stop": (), **parameters}, max_tokens=limit)
    assert machine.run().exit_code == 0
    return machine.host.tokens, machine


@pytest.mark.parametrize(("cuts", "options"), [
    (f"{CUTS}+8", {}), (f"ends@{CUTS}", {"chunk": 50, "kv": "i8"}),
    (f"{CUTS}+8", {"kv": "i8", "machine": SMALL_ROOM, "weights": "i8"}),
    (CUTS, {"kv": "f16", "machine": SMALL_ROOM, "chunk": 4}), ("1:128+6", {"machine": "hpim", "weights": "i8", "layers": 2})])
def test_each_text_is_that_of_its_prompt_alone(cuts: str, options: dict[str, Any]) -> None:
    """Tokens, what is left, keys and values of every layer, and products; at temperature 0 and drawn."""
    one, several = made(cuts, None, **options), made(cuts, 4, **options)
    for parameters in ({}, {"temperature": 1.5, "top_p": 0.9}):
        texts, machine = together(several, PROMPTS, **parameters)
        each = [alone(one, prompt, **parameters) for prompt in PROMPTS]
        assert texts == [tokens for tokens, _ in each]
    for counter in ("attn.macs", "vec.macs", "lut.macs", "tokens.read"):
        assert machine.counter(counter) == sum(single.counter(counter) for _, single in each), counter
    memory, layers = several[0].memory, several[0].graph.config.layers
    for number, (_, single) in enumerate(each):
        left = tokens_alive(machine, several[1], number)
        assert left == tokens_alive(single, one[1])
        for base in memory.layer_bytes:
            for layer in range(layers):
                size = memory.part_size(base, layer)
                starts = (held[1].address(cache_at(held[0].memory, base, layer)) for held in (several, one))
                theirs, own = (where.peek(start + plus, size) for where, start, plus in
                               zip((machine, single), starts, (number * size, 0), strict=True))
                assert np.array_equal(theirs, own), (number, base, layer)


@pytest.mark.parametrize(("cuts", "options"), [
    (f"{CUTS}+4", {"kv": "i8"}), (CUTS, {"machine": SMALL_ROOM, "weights": "i8", "kv": "f16"}),
    ("1:128", {"machine": "flexcim", "weights": "i8", "layers": 2})])
def test_every_operation(cuts: str, options: dict[str, Any]) -> None:
    """Three prompts, part by part, then the steps behind them."""
    compiled, program = made(cuts, 3, **options)
    compared, difference = compare(compiled, program, TOKENS[:205])
    assert difference is None
    assert compared > (201 + 200 + 199) * len(compiled.graph.start) + 3 * 4 * len(list(compiled.graph.steps()))


def test_both_engines_and_waits() -> None:
    program = made("1:128+4", 2, layers=2, kv="i8", context=160)
    check = engines(program[1], program[0].machine, TOKENS[:140], 2)
    assert check.verdict == "pass", check.text
    together(program, [TOKENS[:140], TOKENS[:3]], [2, 2], checked=True)
    together(made("1:128", 2, layers=2, kv="i8", context=160, machine=SMALL_ROOM, weights="i8"), [TOKENS[:140], TOKENS[:3]], [2, 2],
             checked=True)


def test_texts_end_on_their_own() -> None:
    """At limits, where caches have no more room, at a stop token; the others go on. A prompt beyond the context has no text."""
    one, several = made(f"{CUTS}+8", None), made(f"{CUTS}+8", 4)
    limits = (2, 0, 20, 5)
    wanted = [alone(one, prompt, limit)[0] for prompt, limit in zip(PROMPTS, limits, strict=True)]
    assert [len(tokens) for tokens in wanted] == [2, 0, 9, 5]           # the third one has room for 8 behind its prompt
    assert together(several, PROMPTS, limits)[0] == wanted
    stop = wanted[3][2]
    cut = [tokens[:tokens.index(stop)] if stop in tokens else tokens for tokens in wanted]
    assert together(several, PROMPTS, limits, stop=[stop])[0] == cut != wanted
    assert together(several, PROMPTS[2:])[0] == [alone(one, prompt)[0] for prompt in PROMPTS[2:]]
    for length in (256, 257, 300):                                      # a prompt that fills the context has one token
        long = [(TOKENS * 2)[:length], PROMPTS[1]]
        assert together(several, long)[0] == [alone(one, prompt)[0] for prompt in long]


def test_a_step_reads_weights_once() -> None:
    """Four texts and two fetch each matrix as often; what else they fetch is that of each text."""
    fetched = []
    for count in (2, 4):
        compiled, program = made("1:128", count, machine=small_machine(65536), weights="t2")
        compiled = compiled.alike()
        folder = Path(FOLDER.name) / f"alike{count}"
        folder.mkdir()
        program = compiled.build(folder)
        more, less = (together((compiled, program), [PROMPTS[1]] * count, [limit] * count)[1].counter("fetch.bytes")
                      for limit in (6, 2))
        fetched.append(more - less)
    layout, layers = compiled.layout, compiled.graph.config.layers
    placed = [placed for placed in layout.layer.values() if placed.is_matrix] * layers + [layout.once["head"]]
    assert 2 * fetched[0] - fetched[1] == 4 * sum(each.held + 4 * each.scale_count for each in placed)


def test_what_waits_is_on_the_map() -> None:
    compiled, _ = made(CUTS, 4)
    assert compiled.memory.outside == {"places": 4 * 256, "waiting": 4 * 16 * 256, PROMPT_ENDS: 4 * 16 * 4}
    said = compiled.summary()
    assert f"{4 * 257 * 16 + 4 * 256 - 64 + 4 * 16 * 4:,} bytes  hidden states and positions of a prompt, which wait" in said
    assert "prompts go through the layers one after the other" in said
    assert "prompts go through the layers one after the other" not in made(None, 4)[0].summary()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, batch, report = write_checkpoint(tmp_path / "model", context=256), tmp_path / "prompts", tmp_path / "report.json"
    prompts = ["ab" * 75, "ab", "abc de" * 24]
    batch.write_text("".join(f"{prompt}\n" for prompt in prompts))
    program, options = tmp_path / "program.elf", ("--prune-tokens", "1:128")
    assert invoke(["compile", str(model), *options, "--sequences", "3", "-o", str(program)]) == 0
    assert invoke(["generate", str(program), "--batch", str(batch), "-n", "5", "--json", str(report)]) == 0
    said = capsys.readouterr().err
    texts = json.loads(report.read_text())["sequences"]
    for number, (prompt, text) in enumerate(zip(prompts, texts, strict=True), 1):
        assert invoke(["generate", str(model), prompt, *options, "-n", "5", "--json", str(report)]) == 0
        single = json.loads(report.read_text())
        assert (text["tokens"], text["tokens_alive"]) == (single["tokens"], single["tokens_alive"])
        assert f"  tokens alive  {number}: {len(text['prompt'])} tokens of the prompt" in said
    assert texts[0]["tokens_alive"]["layers"][1] < len(texts[0]["prompt"])
    capsys.readouterr()
    assert invoke(["verify", str(model), *options, "--program", str(program), "--tokens", "140", "--prompt", "ab"]) == 0
    assert "bit-exact, 1 of 1 cut of a prompt of 136" in capsys.readouterr().out
