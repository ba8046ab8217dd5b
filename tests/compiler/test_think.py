"""Keys that lose channels when they get old (--kv-select think): every operation bit by bit, and against another computation."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from compiled_models import FOLDER, loaded, small_machine
from random_models import SHAPES, random_model

from compiler.checking.evaluate import of_graph, of_program, split
from compiler.checking.verify import compare
from compiler.compile import compile_model
from compiler.compiled import Compiled
from compiler.errors import ModelError
from compiler.formats.recipe import read_recipe
from compiler.frontends import load, need_tokenizer
from compiler.graph import EXACT, PLAIN, Executor
from compiler.model.model import Config
from compiler.passes.select import Caches, Selection, parse_select
from compiler.settings import Settings
from emulator.machine import Machine
from emulator.observe.hazards import HazardCheck
from isa.program import Program
from isa.reference import ReferenceMachine

PROMPT = [int(token) for token in np.random.default_rng(7).integers(1, 60, 68)]
DEMO = Path(__file__).parents[2] / "programs/demo/model"


def long(shape: str) -> Config:
    return replace(SHAPES[shape], context=96)


@cache
def built(shape: str, kv: str = "f32", machine: str = "slim", select: str = "think:0.4", chunk: int | None = None,
          sequences: int | None = None) -> tuple[Compiled, Program]:
    compiled = compile_model(random_model(long(shape)), machine=machine, kv=Caches(kv, parse_select(select)), chunk=chunk,
                             sequences=sequences, recipe=read_recipe("i8") if machine == "hpim" else None)
    (folder := Path(FOLDER.name) / f"think-{shape}-{kv}-{machine}-{select.replace(':', '-')}-{chunk}-{sequences}").mkdir()
    return compiled, compiled.build(folder)


@pytest.mark.parametrize(("shape", "kv", "machine", "select", "chunk", "sequences"), [
    ("gqa",  "f32", "slim", "think:0.4",    None, None),
    ("mqa",  "f16", "hpim", "think:0.4:66", None, None),
    ("gqa",  "i8",  "slim", "think:0.9",    7,    None),
    ("head_dim_6", "i8", "slim", "think:0.2", 1,  None),
    ("plain", "f16", "slim", "think:0.4",   None, 2),
])
def test_every_operation_equals_the_graph_and_waits_are_enough(shape: str, kv: str, machine: str, select: str, chunk: int | None,
                                                               sequences: int | None) -> None:
    made = built(shape, kv, machine, select, chunk, sequences)
    compared, difference = compare(*made, PROMPT)
    assert difference is None, str(difference)
    assert compared > 2 * len(PROMPT) * 20
    if sequences is None:
        runner, _ = loaded(made, PROMPT[:65], max_tokens=2, stop=())
        check = HazardCheck(runner)
        assert runner.run().reason == "exit" and check.hazards == []


def test_on_the_reference_engine_and_with_threads() -> None:
    """Bytes of all memory, counters, tokens."""
    found = []
    for engine in (ReferenceMachine, Machine, lambda machine, host: Machine(machine, host, threads=2)):
        machine, host = loaded(built("gqa", "i8"), PROMPT[:65], engine, max_tokens=2, stop=())    # type: ignore[arg-type]
        assert machine.run().reason == "exit"
        symbol = built("gqa", "i8")[1].symbol("keys")
        found.append((host.tokens, machine.counters, machine.peek(symbol.value, 4096).tobytes()))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("shape", ["gqa", "plain"])
def test_the_channels_that_matter_least_are_dropped(shape: str) -> None:
    """Against a computation in float64 from the keys and queries of all positions."""
    model, seen = random_model(long(shape)), {"q": [], "k": [], "scores": []}
    c = model.config

    def look(layer: int | None, op, results) -> None:
        if layer == 1 and (op.kind, op.outputs[0]) in (("scale", "q"), ("rope", "k"), (f"{op.kind}", "scores")):
            seen[op.outputs[0]].append(results[0].astype(float))

    graph = compile_model(model, kv=Caches("f32", parse_select("think:0.4"))).graph
    executor = Executor(graph, model, PLAIN, observe=look)
    for token in PROMPT:
        executor.step(token)
    keys = np.stack(seen["k"]).reshape(len(PROMPT), c.kv_heads, c.head_dim)
    queries = np.stack(seen["q"]).reshape(len(PROMPT), c.kv_heads, -1, c.head_dim)
    matter = (queries[32:64] ** 2).mean(axis=0).sum(axis=1) * (keys[:64] ** 2).mean(axis=0)
    stays = np.argsort(matter, axis=1)[:, int(0.4 * c.head_dim):]
    masked = np.zeros((c.kv_heads, c.head_dim))
    np.put_along_axis(masked, stays, 1.0, axis=1)
    for position, scores in enumerate(seen["scores"]):
        whole = keys[:position + 1].copy()
        if position >= 63:
            whole[:position - 31] *= masked
        expected = np.einsum("phd,hgd->hgp", whole, queries[position]).reshape(c.heads, -1)
        np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-4)


def test_equal_scores_drop_the_lower_channel() -> None:
    """Keys and queries of zeros: all channels matter as little."""
    model = random_model(long("gqa"))
    executor = Executor(compile_model(model, kv=Caches("f32", parse_select("think:0.5"))).graph, model, PLAIN)
    executor.position = 63
    (channels, query_channels) = executor._channels([0, 0], [np.zeros(48, np.float32), np.zeros(24, np.float32)], 4, 2, 64)
    assert channels.tolist() == [*range(6, 12), *range(18, 24)]
    assert query_channels.tolist() == [12 * head + channel for head in range(4) for channel in range(6, 12)]


def test_each_text_begins_anew(tmp_path: Path) -> None:
    """A program that runs again chooses again, also if another text came before. Where keys take far less memory than values, too,
    the logits of the demo are those of the graph."""
    model = load(DEMO)
    compiled = Settings(context=256, kv="f16", kv_select="think:0.9").compile(model)
    machine, program = Machine(compiled.machine, None), compiled.build(tmp_path)
    machine.load(program)
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    first, second = (document.tokens for document in split(text, need_tokenizer(model), 140, 270)[:2])
    logits = of_program(machine, program)
    once = [list(logits(tokens)) for tokens in (first, second, first)]
    assert all((a.view(np.uint32) == b.view(np.uint32)).all() for a, b in zip(once[0], once[2], strict=True))
    expected = list(of_graph(Executor(compiled.graph, compiled.model, EXACT))(second))
    assert (once[1][-1].view(np.uint32) == expected[-1].view(np.uint32)).all()


def test_old_keys_take_less_memory() -> None:
    config = replace(SHAPES["gqa"], context=2048)
    sizes = {select: compile_model(random_model(config), kv=Caches("f16", parse_select(select) if select else None)
                                   ).memory.layer_bytes["keys"] for select in ("", "think:0.5", "think:0.75")}
    row = 2 * config.kv_dim
    assert sizes[""] == 2048 * row
    for select, share in (("think:0.5", 0.5), ("think:0.75", 0.25)):
        assert sizes[""] * share < sizes[select] < sizes[""] * share + 64 * row + 1024


@pytest.mark.parametrize(("text", "why"), [
    ("think", "think:RATIO"), ("think:0", "a ratio of 0; expected above 0"), ("think:1", "below 1"), ("think:x", "think:RATIO"),
    ("think:nan", "think:RATIO"), ("think:0.4:63", "a start of 63; expected at least 64"), ("think:0.4:64:1", "think:RATIO:START"),
    ("snap:0.4", "no method 'snap'; expected starc or think"), ("stark:64", "did you mean 'starc'?")])
def test_what_is_no_selection_is_refused(text: str, why: str) -> None:
    with pytest.raises(ModelError) as refused:
        parse_select(text)
    assert why in str(refused.value) and "--kv-select" in str(refused.value)


def test_models_and_machines_that_cannot_are_refused() -> None:
    def why(config: Config = long("gqa"), machine: str = "slim", context: int | None = None,         # noqa: B008
            ratio: float = 0.4) -> str:
        with pytest.raises(ModelError) as refused:
            compile_model(random_model(config), machine=machine, context=context, kv=Caches("f32", Selection(ratio)))
        return str(refused.value)

    assert "looks at the last 5 positions" in why(replace(long("gqa"), window=5))
    assert "different numbers of heads" in why(replace(long("gqa"), layer_heads=((4, 2), (2, 1))))
    assert "units attn, thr, vec and fetch" in why(machine="slim-llama") and "units attn" in why(machine=small_machine())
    assert "a longer context: it has 64 positions" in why(context=64)
    assert "at least 1 / 12" in why(ratio=0.05)


def test_from_the_command_line(command: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    (text := tmp_path / "t.txt").write_text("Once upon a time there was a dog who liked to run in the park with a ball. " * 8)
    flags = ("--tokens", 90, "--kv-select", "think:0.5", "--json", tmp_path / "e.json")
    status, out, _ = command("eval", DEMO, text, *flags)
    found = json.loads((tmp_path / "e.json").read_text())
    assert status == 0 and "kv select think:0.5" in out
    assert found["kv_select"] == "think:0.5" and found["beside_dense"]["kl_divergence"] > 0
    status, _, err = command("compile", DEMO, "--kv-select", "think:0.4", "-o", tmp_path / "d.elf")
    assert status == 0 and "chosen behind 64 positions" in err
    assert Program.load(tmp_path / "d.elf").meta["model"]["kv_select"].startswith("think: ")
