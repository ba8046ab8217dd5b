"""Prompts that are cut: operations bit by bit, which tokens stay, what their layers compute, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from compiled_models import FOLDER, small_machine
from random_models import BASE, SHAPES, random_model
from tiny_checkpoint import write_checkpoint

import slimulator
from compiler.checking.evaluate import of_graph, of_program, split
from compiler.checking.verify import compare, prompt_of
from compiler.checking.verify_chain import engines
from compiler.compile import compile_model
from compiler.compiled import Compiled
from compiler.errors import ModelError
from compiler.formats.recipe import read_recipe
from compiler.frontends import load, need_tokenizer
from compiler.graph import EXACT, Executor, build
from compiler.graph.prompts import order_of_blocks
from compiler.passes.prune_tokens import PruneTokens, cut_prompts, parse_prune_tokens
from compiler.passes.select import Caches, parse_select
from compiler.running.alive import tokens_alive
from compiler.running.parameters import set_parameters
from emulator.machine import Machine
from isa.program import Program
from isa.reference import ReferenceMachine
from isa.services import Host
from slimulator.command_line import command

SMALL = replace(BASE, vocab=31, dim=16, layers=3, heads=4, kv_heads=2, head_dim=4, hidden=24, context=256,
                rope=replace(SHAPES["head_dim_6"].rope, frequencies=(1.0, 0.01)))
TOKENS = np.random.default_rng(5).integers(3, 31, 212).tolist()         # four blocks, the last one of 16 tokens
CUTS = "1:192,2:144"                                                    # one of two blocks stays, then none


def compiled_of(cuts: str | None, name: str, *, weights: str = "", layers: int = 3, **options: Any) -> tuple[Compiled, Program]:
    model = replace(random_model(replace(SMALL, layers=layers)), prune_tokens=parse_prune_tokens(cuts) if cuts else None)
    compiled = compile_model(model, recipe=read_recipe(weights) if weights else None, **options)
    folder = Path(FOLDER.name) / f"cut-{name}"
    folder.mkdir(exist_ok=True)
    return compiled, compiled.build(folder)


def run(made: tuple[Compiled, Program], tokens: list[int], engine: type[ReferenceMachine] = Machine, count: int = 3,
        **options: Any) -> ReferenceMachine:
    machine = engine(made[0].machine, Host(tokens), **options)
    machine.load(made[1])
    set_parameters(machine, max_tokens=count)
    assert machine.run().exit_code == 0
    return machine


# ------------------------------------------------------------------------------------------------ bit by bit


@pytest.mark.parametrize(("name", "options"), [
    ("f32", {"machine": "slim", "chunk": 1}),
    ("f16", {"machine": "slim-llama", "kv": "f16", "chunk": 50, "layers": 2}),
    ("i8", {"machine": "small", "kv": "i8", "weights": "i8"}),
    ("few", {"machine": "small", "kv": "i8", "weights": "i8", "cuts": CUTS + "+4"}),
    ("rows", {"machine": "slim", "kv": "i8", "cuts": CUTS + "+4"})])
def test_every_operation(name: str, options: dict[str, Any]) -> None:
    """The prompt, its cuts, and tokens behind it; chunks of one token, of some, as many as there is room for; caches with less
    room, whose scales of int8 keys stand apart or in their rows."""
    options = dict(options)
    if options["machine"] == "small":
        options["machine"] = small_machine(49152)
    compiled, program = compiled_of(options.pop("cuts", CUTS if options.get("layers", 3) == 3 else "1:192"), name, **options)
    compared, difference = compare(compiled, program, TOKENS)
    assert difference is None
    behind = len(TOKENS) - prompt_of(len(TOKENS))
    assert behind == 4 and compared > (208 + 144 + 2 * behind) * 15


@pytest.mark.parametrize(("name", "machine", "options"), [
    ("banks", "hpim", {"weights": "i8"}), ("macros", "flexcim", {"weights": "i8"})])
def test_machines_that_keep_matrices_elsewhere(name: str, machine: str, options: dict[str, Any]) -> None:
    """Registers of banks and macros say where the layer behind a cut begins, chunk after chunk."""
    compiled, program = compiled_of("1:128", name, machine=machine, context=144, chunk=40, layers=2, **options)
    assert compare(compiled, program, TOKENS[:134])[1] is None


def test_both_engines_and_threads() -> None:
    made = compiled_of("1:192", "engines", kv="i8", layers=2)
    check = engines(made[1], made[0].machine, TOKENS[:205], 2)
    assert check.verdict == "pass", check.text
    alone, threads = run(made, TOKENS[:205]), run(made, TOKENS[:205], threads=2)
    assert alone.host.tokens == threads.host.tokens and alone.counters == threads.counters


def test_logits_behind_a_prompt() -> None:
    """A program shows those of the prompt's last token and of each that follows; the same machine runs again."""
    compiled, program = compiled_of(CUTS, "logits", kv="f16")
    machine = Machine(compiled.machine)
    machine.load(program)
    ours, graph = of_program(machine, program), of_graph(Executor(compiled.graph, compiled.model, EXACT))
    for tokens, prompt in ((TOKENS[:200], 196), (TOKENS[:9], 4), (TOKENS[:198], 194)):
        found, expected = np.stack(list(ours(tokens, prompt))), np.stack(list(graph(tokens, prompt)))
        assert found.shape == (len(tokens) - prompt + 1, 31) and found.tobytes() == expected.tobytes()


# ------------------------------------------------------------------------------------------------ what stays


def test_a_budget_that_holds_all_changes_nothing() -> None:
    """As long as a prompt has room in its budgets, text and caches are those of the program without cuts."""
    cut, whole = compiled_of("1:192", "room"), compiled_of(None, "whole")
    for length in (1, 64, 150, 192):
        machines = [run(made, TOKENS[:length]) for made in (cut, whole)]
        assert machines[0].host.tokens == machines[1].host.tokens
        keys = [machine.peek(made[1].address("keys"), made[0].memory.layer_bytes["keys"]) for machine, made in
                zip(machines, (cut, whole), strict=True)]
        assert np.array_equal(*keys)
    assert not np.array_equal(*(run(made, TOKENS[:210]).peek(made[1].address("values") + 2 * made[0].memory.layer_bytes["values"],
                                                             192 * 32) for made in (cut, whole)))


def blocks_by_hand(queries: Any, keys: Any, budget: int) -> list[int]:
    """The blocks that stay, in float64, from all queries (tokens, heads, d) and keys (tokens, kv_heads, d) of the layer before."""
    tokens, heads = queries.shape[:2]
    mean, number = queries[-32:].mean(axis=0), -(-tokens // 64)
    scores = {}
    for block in range(1, number - 1):
        units = keys[64 * block:64 * block + 64].reshape(4, 16, keys.shape[1], -1).mean(axis=1)
        scores[block] = max(units[unit, head * keys.shape[1] // heads] @ mean[head] for unit in range(4) for head in range(heads))
    kept, room = [0, number - 1], budget - 64 - (tokens - 64 * (number - 1))
    for block in sorted(scores, key=lambda block: (-scores[block], block)):
        if room >= 64:
            kept, room = [*kept, block], room - 64
    return sorted(kept)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_blocks_with_the_best_units_stay(seed: int) -> None:
    """Against another computation of the scores; hidden states and places are those of these blocks."""
    config = replace(SMALL, context=512)
    graph = cut_prompts(build(config), asked := parse_prune_tokens("2:320"), asked.cuts(config, 512), 512)
    seen: dict[str, list[Any]] = {"q": [], "keys": [], "waiting": [], "places": []}

    def look(layer: int | None, op: Any, results: tuple[Any, ...]) -> None:
        if layer == 1 and op.kind == "scale":
            seen["q"].append(results[0].copy())
        if layer == 1 and op.kind == "append" and op.outputs == ("keys",):
            seen["keys"] = list(results[0].copy())
        if op.kind == "gather.blocks":
            seen["waiting"], seen["places"] = [results[0]], [results[1]]

    executor = Executor(graph, random_model(config, seed), observe=look)
    tokens = np.random.default_rng(seed).integers(3, 31, 500).tolist()
    executor.read(tokens)
    queries, keys = np.stack(seen["q"][:500]).astype(np.float64), np.stack(seen["keys"]).astype(np.float64)
    kept = blocks_by_hand(queries.reshape(500, 4, 4), keys.reshape(500, 2, 4), 320)
    places = [place for block in kept for place in range(64 * block, min(64 * block + 64, 500))]
    assert len(kept) == 5 and seen["places"][0].tolist() == places
    assert executor.left_out == [0, 500 - len(places)] and seen["waiting"][0].shape == (len(places), 16)


def test_equal_scores_keep_the_first_block_and_no_number_comes_last() -> None:
    executor = Executor(cut_prompts(build(SMALL), PruneTokens(((1, 192),)), ((1, 192),), 256), random_model(SMALL))
    executor.values["places"] = np.arange(250)
    for scores, kept in (([1.0, 1.0], [0]), ([np.nan, -5.0], [1]), ([-0.25, -0.1406], [1])):
        assert executor._keep_blocks(np.array(scores, np.float32), block=64, budget=192).tolist() == kept


def test_choices_without_scores() -> None:
    """The later blocks, or an order that a number draws; both beside the first and the last."""
    assert order_of_blocks(5, 0).tolist() == [0, 1, 2, 3, 4]
    assert sorted(order_of_blocks(5, 1)) == [0, 1, 2, 3, 4] and order_of_blocks(50, 1).tolist() != order_of_blocks(50, 2).tolist()
    compiled, program = compiled_of("ends@1:192,2:144", "ends")
    machine = run((compiled, program), TOKENS)
    places = machine.peek(program.address("places"), 4 * 144).view("<u4")
    assert places.tolist() == [*range(64), *range(192, 212), *places[84:].tolist()]
    assert compare(*compiled_of("random3@1:192", "random", layers=2), TOKENS[:205])[1] is None


# ------------------------------------------------------------------------------------------------ room in caches


def test_caches_have_room_for_what_can_be_left() -> None:
    """The budget and the new tokens, no more; and texts are those of a program with more room."""
    (few, program), whole = compiled_of(CUTS + "+8", "few-new"), compiled_of(CUTS, "whole-new")
    assert few.memory.rows == (256, 200, 152) and few.memory.cache_bytes == (256 + 200 + 152) * 2 * 8 * 4
    assert whole[0].memory.cache_bytes == 3 * 256 * 2 * 8 * 4
    assert program.address("values") - program.address("keys") == few.memory.cache_bytes // 2
    said = few.summary()
    assert "at most 144 tokens of a prompt are left: from there on keys and values have room for 152 positions" in said
    assert "at most 8 tokens come behind a prompt: room for keys and values is 20.8 % less" in said
    for length, count in ((212, 20), (5, 20)):
        machines = run((few, program), TOKENS[:length], count=count), run(whole, TOKENS[:length], count=count)
        assert machines[0].host.tokens == machines[1].host.tokens[:9] and len(machines[0].host.tokens) == 9
    asked, deep = parse_prune_tokens("2:160,5:128+64"), replace(SMALL, layers=6, context=512)
    graph = cut_prompts(build(deep), asked, asked.cuts(deep, 512), 512)
    assert graph.rows(512) == (512, 512, 224, 224, 224, 192) and graph.rows(200) == (200, 200, 200, 200, 200, 192)
    asked, deep = parse_prune_tokens("10:1024,20:512,30:256+16"), replace(SMALL, layers=32, context=4112)
    rows = cut_prompts(build(deep), asked, asked.cuts(deep, 4112), 4112).rows(4112)
    assert round(100 - 100 * sum(rows) / (32 * 4112), 2) == 56.42           # as docs/sliminfer.md says


def test_more_tokens_than_caches_have_room_for(checkpoint: Path, tmp_path: Path) -> None:
    """A command says so; eval scores so many of each document."""
    result = call("generate", checkpoint, "ab" * 70, "--prune-tokens", "1:128+4", "-n", 6)
    assert "-n: 6 tokens; expected at most 5: behind a prompt caches have room for 4 tokens" in str(result.exception)
    result = call("generate", checkpoint, "ab" * 70, "--prune-tokens", "1:128+4")
    assert "stopped after 5 tokens (behind a prompt caches have room for 4 tokens)" in result.stderr
    text = tmp_path / "text"
    text.write_text("ab ba " * 60)
    documents = split(text.read_text(), need_tokenizer(load(checkpoint)), 200, 90, halves=True, new=4)
    assert all(0 < len(document.tokens) - document.prompt <= 4 for document in documents)
    assert call("eval", checkpoint, text, "--prune-tokens", "1:128+4", "--tokens", 8).exit_code == 0
    compiled = slimulator.compile(checkpoint, prune_tokens="1:128+4")
    with pytest.raises(ModelError, match="tokens: 5 behind the prompt; expected at most 4"):
        slimulator.logits(compiled, [5, 6, 7] * 47, prompt=136)
    assert slimulator.logits(compiled, [5, 6, 7] * 47, prompt=137).shape[0] == 5


# ------------------------------------------------------------------------------------------------ events


def test_tokens_alive_account_for_every_multiplication() -> None:
    """Conservation: products of the prompt follow from the tokens that each layer has seen, and from nothing else."""
    made = compiled_of(CUTS, "events")
    machine, c = run(made, TOKENS, count=0), SMALL
    alive = tokens_alive(machine, made[1])
    assert alive is not None and (alive.prompt, alive.layers) == (212, [212, 148, 84])
    assert alive.kv_bytes == (212 + 148 + 84) * 2 * 8 * 4 and alive.whole == 3 * 212 * 64
    linear = 2 * c.dim * c.q_dim + 2 * c.dim * c.kv_dim + 3 * c.dim * c.hidden
    products = sum(tokens * linear + 2 * c.q_dim * tokens * (tokens + 1) // 2 for tokens in alive.layers) + c.vocab * c.dim
    scores = sum(32 * c.q_dim + blocks * (64 * c.kv_dim + 4 * c.q_dim) for blocks in (2, 1))
    assert machine.counter("vec.macs") + machine.counter("attn.macs") == products + scores
    assert "212 tokens of the prompt: 212 from layer 0 on, 148 from layer 1 on, 84 from layer 2 on" in str(alive)
    whole = compiled_of(None, "whole")
    assert tokens_alive(run(whole, TOKENS[:3]), whole[1]) is None


def test_hidden_states_that_wait_are_on_the_map_and_moved() -> None:
    cut, whole = compiled_of(CUTS, "map"), compiled_of(None, "whole")
    assert "hidden states and positions of a prompt, which wait before cuts" in cut[0].summary()
    assert cut[0].memory.outside == {"places": 4 * 256, "waiting": 4 * 16 * 256}
    assert "before layer 2 at most 144 tokens of a prompt are left" in cut[0].summary()
    moved = [run(made, TOKENS[:140], count=0).counter("fetch.bytes") for made in (cut, whole)]
    assert moved[0] - moved[1] == (1 + 3 + 2) * 140 * 64      # they begin to wait, go into frames three times, and back twice


# ------------------------------------------------------------------------------------------------ commands


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("cut"), context=256)


def call(*arguments: object) -> Any:
    return CliRunner().invoke(command, [str(each) for each in arguments])


def test_generate_says_what_is_alive(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    result = call("generate", checkpoint, "ab" * 70, "--prune-tokens", "1:128", "-n", 2, "--by", "layer", "--json", out)
    assert result.exit_code == 0, result.output
    data = json.loads(out.read_text())
    prompt = len(data["prompt"])
    assert prompt > 128 and data["tokens_alive"]["prompt"] == prompt
    assert data["tokens_alive"]["layers"] == [prompt, 64 + (prompt - 1) % 64 + 1]
    layers = data["by"]["layer"]
    assert layers["layer 0"]["macs"] > layers["layer 1"]["macs"] > 0
    assert sum(part["macs"] for part in layers.values()) == sum(phase["macs"] for phase in data["phases"].values())
    assert f"{data['phases']['prefill']['macs']:,} multiply-accumulates" in result.stderr and "tokens alive" in result.stderr


def test_eval_scores_second_halves(checkpoint: Path, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("ab ba " * 60)
    documents = split(text.read_text(), need_tokenizer(load(checkpoint)), 200, 90, halves=True)
    assert [document.prompt for document in documents] == [len(document.tokens) // 2 for document in documents]
    assert sum(len(document.tokens) - document.prompt for document in documents) <= 91
    result = call("eval", checkpoint, text, "--prune-tokens", "1:128", "--tokens", 8)
    assert result.exit_code == 0 and "tokens 1:128" in result.output
    assert "prompts that were cut: 0 of 1; the others have at most 128 tokens" in result.output
    text.write_text("ab ba " * 300)
    out = tmp_path / "out.json"
    long = write_checkpoint(tmp_path / "longer", context=400)
    result = call("eval", long, text, "--prune-tokens", "1:128", "--weights", "i8", "--tokens", 150, "--json", out)
    data = json.loads(out.read_text())
    assert result.exit_code == 0 and f"prompts that were cut: {data['prompts_cut']} of {data['documents']}" in result.output
    assert data["prompts_cut"] >= 1 and [each["name"] for each in data["programs"]] == ["dense", "whole", "program"]
    assert data["beside_dense"]["kl_divergence"] > 0                       # of what the cut alone changes


def test_logits_of_the_api_begin_behind_the_prompt(checkpoint: Path) -> None:
    """By default the first token is the prompt, of which nothing is left out."""
    compiled, tokens = slimulator.compile(checkpoint, prune_tokens="1:128"), [5, 6, 7] * 47
    whole, cut = slimulator.logits(compiled, tokens), slimulator.logits(compiled, tokens, prompt=139)
    assert cut.shape == (3, whole.shape[1]) and not np.array_equal(cut, whole[138:])
    assert np.array_equal(whole, slimulator.logits(checkpoint, tokens, context=256))


def test_verify_takes_a_prompt_that_is_cut(checkpoint: Path) -> None:
    result = call("verify", checkpoint, "--prune-tokens", "1:128", "--tokens", 140, "--prompt", "ab")
    assert result.exit_code == 0, result.output
    assert "bit-exact, 1 of 1 cut of a prompt of 136" in result.output
    result = call("verify", checkpoint, "--prune-tokens", "1:128", "--tokens", 12, "--prompt", "ab")
    assert "0 of 1 cut of a prompt of 8; --tokens 196 for all" in result.output


# ------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(("text", "message"), [
    ("5", "'5'; expected LAYER:BUDGET"), ("5:", "expected LAYER:BUDGET"), ("0:128", "layer 0; expected layers from 1 on"),
    ("2:128,1:128", "1:128 behind 2:128; expected layers from 1 on that rise"), ("1:128,2:192", "with budgets that do not"),
    ("1:127", "a budget of 127; expected at least 128 tokens"), ("best@1:128", "no choice 'best'; expected scores, ends or random"),
    ("ends2@1:128", "no choice 'ends2'"), ("random0@1:128", "no choice 'random0'"), ("@1:128", "no choice ''")])
def test_what_the_option_refuses(text: str, message: str) -> None:
    with pytest.raises(ModelError) as error:
        parse_prune_tokens(text)
    assert str(error.value).startswith("error: --prune-tokens: ") and message in str(error.value)


def test_what_the_option_takes() -> None:
    for text, said in (("1:128, 2:128", "1:128,2:128"), ("sliminfer", ""), ("ends@3:200", ""), ("random7@sliminfer", ""),
                       ("ends@1:128+16", ""), ("random@1:128", "random1@1:128")):
        assert str(parse_prune_tokens(text)) == (said or text)
    deep = replace(SMALL, layers=32)
    assert parse_prune_tokens("sliminfer").cuts(deep, 4096) == ((10, 1024), (20, 512), (30, 256))
    eight = replace(SMALL, layers=8)
    assert parse_prune_tokens("sliminfer").cuts(eight, 1024) == ((2, 256), (5, 128))        # the third would leave 128, too
    assert parse_prune_tokens("sliminfer").idle(eight, 1024) == "layer 7"
    assert parse_prune_tokens("1:128,3:128,4:128").cuts(eight, 512) == ((1, 128),)
    assert parse_prune_tokens("1:128,3:128,4:128").idle(eight, 512) == "layers 3, 4"
    assert parse_prune_tokens("1:192,3:128").idle(eight, 512) == ""


@pytest.mark.parametrize(("model", "options", "message"), [
    (SMALL, {"prune_tokens": "3:128"}, "layer 3; expected layers from 1 to 2"),
    (SMALL, {"prune_tokens": "1:256"}, "a budget of 256 for a context of 256; expected less"),
    (SMALL, {"prune_tokens": "sliminfer"}, "for a model of 3 layers; expected at least 4 layers"),
    (replace(SMALL, window=9), {"prune_tokens": "1:128"}, "attention looks at the last 9 positions"),
    (SMALL, {"prune_tokens": "1:128", "kv": Caches("f32", parse_select("think:0.5"))}, "--kv-select think:0.5; expected"),
    (SMALL, {"prune_tokens": "1:128", "kv": Caches("f32", None, "tphs")}, "--dataflow tphs; expected one of them"),
    (SMALL, {"prune_tokens": "1:128", "machine": "no-thr"}, "which has no thr unit")])
def test_what_cannot_be_combined(model: Any, options: dict[str, Any], message: str) -> None:
    options = {**options, "machine": small_machine(49152, "thr")} if options.get("machine") else dict(options)
    asked = replace(random_model(model), prune_tokens=parse_prune_tokens(options.pop("prune_tokens")))
    with pytest.raises(ModelError, match="--prune-tokens") as error:
        compile_model(asked, **options)
    assert message in str(error.value)
