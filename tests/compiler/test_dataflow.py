"""Attention of a chunk by head (--dataflow tphs): the same bits as token by token, fewer bytes of keys and values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from compiled_models import loaded, small_machine
from random_models import SHAPES, random_model

from compiler.checking.verify import compare
from compiler.compiled import Compiled
from compiler.errors import ModelError, RoomError
from compiler.lowering.search import _choice
from compiler.placing.residency import Residency
from compiler.running.parameters import set_parameters, set_sequences, side_by_side
from compiler.settings import Settings
from emulator.machine import Machine
from emulator.observe.hazards import HazardCheck
from isa.counters import COUNTERS
from isa.reference import ReferenceMachine
from isa.services import Host

SCORES = 2 * 4 * 40                     # bytes of a token's scores: two heads that share keys, 40 positions
PROMPT = [1, 5, 3, 9, 2, 4, 1, 8]       # chunks of 3 leave two tokens, which are fewer than scores have room for


def made(shape: str = "gqa", scratchpad: int = 32768, dataflow: str | None = "tphs", **settings: object) -> Compiled:
    return Settings(**{"machine": small_machine(scratchpad), "chunk": 3, "dataflow": dataflow, **settings}).compile(
        random_model(SHAPES[shape], ternary=shape == "bitnet"))


@pytest.mark.parametrize("kv", ["f32", "f16", "i8"])
@pytest.mark.parametrize("weights", ["f16", "t2"])
def test_every_operation_has_the_bits_of_the_graph(weights: str, kv: str, tmp_path: Path) -> None:
    compiled = made(weights=weights, kv=kv)
    compared, difference = compare(compiled, compiled.build(tmp_path), PROMPT)
    assert difference is None and compared


@pytest.mark.parametrize("shape", ["mqa", "biases", "adjacent", "qk_norm", "opt", "bitnet"])
def test_families(shape: str, tmp_path: Path) -> None:
    """Biases, norms of queries, rotation of neighbours, no rotation, one head of keys; and a norm behind the context."""
    compiled = made(shape, kv="i8")
    assert compare(compiled, compiled.build(tmp_path), PROMPT)[1] is None


@pytest.mark.parametrize(("kv", "tokens"), [("f32", 2), ("i8", 1)])
def test_scores_of_few_tokens_and_tiles_of_few_positions(kv: str, tokens: int, tmp_path: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 5 tokens whose scores have room for fewer, and buffers with room for 5 or 21 of up to 16 positions."""
    monkeypatch.setattr("compiler.lowering.heads.SHARE", (tokens + 0.5) * SCORES / 32768)
    whole = made(chunk=5, weights="t2", kv=kv)
    assert whole.memory.slots["head_scores"].size == tokens * SCORES
    target, layout = whole.choice.whole
    memory = replace(whole.memory, buffer_bytes=256, residency=Residency())
    compiled = Compiled(_choice(target, layout, memory, whole.sampling))
    assert compare(compiled, compiled.build(tmp_path), PROMPT * 2)[1] is None


def test_caches_that_stay_are_used_where_they_lie(tmp_path: Path) -> None:
    compiled = made(scratchpad=98304, weights="t2")
    assert compiled.memory.residency.cached == compiled.graph.config.layers
    assert compare(compiled, compiled.build(tmp_path), PROMPT)[1] is None


@pytest.mark.parametrize("engine", [Machine, ReferenceMachine])
def test_both_engines_write_the_text_of_the_other_order_and_read_less(engine: type[ReferenceMachine], tmp_path: Path) -> None:
    said, read = [], []
    for dataflow in (None, "tphs"):
        compiled = made(weights="t2", chunk=6, dataflow=dataflow).alike()
        machine, host = loaded((compiled, compiled.build(tmp_path)), PROMPT, engine, max_tokens=4)
        assert machine.run().reason == "exit"
        said.append(host.tokens)
        read.append(machine.counter("dram.bytes_read"))
    assert said[0] == said[1] and len(said[0]) == 4
    assert read[1] < read[0]


def test_threads_count_the_same(tmp_path: Path) -> None:
    compiled = made(weights="t2")
    program, counted = compiled.build(tmp_path), []
    for threads in (1, 2):
        machine = Machine(compiled.machine, Host(PROMPT), threads=threads, time=True)
        machine.load(program)
        set_parameters(machine, max_tokens=2)
        machine.run()
        counted.append([machine.counter(name) for name in COUNTERS])
    assert counted[0] == counted[1]


def test_the_map_and_the_card_say_it() -> None:
    assert made().card["dataflow"] == "tphs" and "dataflow" not in made(dataflow=None).card
    assert "keys and values of a head are read once for 3 tokens" in made().summary()


def test_queries_have_no_room_of_their_own_in_a_frame() -> None:
    assert "q" not in made().memory.framed and "q" in made(dataflow=None).memory.framed


def test_code_for_one_token_stays_as_it_is() -> None:
    """But for the order of keys and queries: as many instructions of each name."""
    def names(compiled: Compiled) -> list[str]:
        layer = compiled.code.partition("\nlayer:")[2].partition("\n# ---- finish")[0]
        return sorted(line.split()[0] for line in layer.splitlines() if line.startswith("    ") and "." in line.split()[0])

    assert names(made().alike()) == names(made(dataflow="token-by-token").alike()) != []


@pytest.mark.parametrize(("settings", "said"), [
    ({"machine": "slim"}, "scores.rows between queries and context; expected attention on the vector unit"),
    ({"machine": "hpim"}, "expected attention on the vector unit"),
    ({"machine": "flexcim", "weights": "i8"}, "units that read keys and values where they lie; expected a machine that copies"),
    ({"kv_select": "think:0.4"}, "--kv-select: --dataflow tphs; expected one of them"),
    ({"chunk": 1}, "--chunk 1; expected chunks of 2 or more tokens"),
    ({"shape": "window"}, "a window of 5 positions; expected attention to all positions"),
    ({"weights": "t2", "activations": "f32"}, "queries that gemv.decoded makes"),
    ({"dataflow": "tpsh"}, "--dataflow: 'tpsh'; expected"),
])
def test_what_cannot_be_done_by_head_is_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        made(**settings)


def test_units_that_reach_the_caches_are_refused() -> None:
    with pytest.raises(ModelError, match="units that read keys and values where they lie; expected a machine that copies them"):
        made(machine=small_machine(65536, "attn", like="slim"))


def test_a_scratchpad_without_room_for_two_tokens_is_refused() -> None:
    with pytest.raises(RoomError):
        made(scratchpad=4096, chunk=None)


@pytest.mark.parametrize(("shape", "kv", "chunk", "scratchpad"), [
    ("gqa", "f32", 5, 65536), ("gqa", "i8", 4, 49152), ("mqa", "f16", 16, 65536), ("gqa", "f32", 6, 262144)])
def test_texts_side_by_side_are_those_of_their_prompts_alone(shape: str, kv: str, chunk: int, scratchpad: int, tmp_path: Path,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk has tokens of several prompts, and scores have room for three. In the largest scratchpad caches stay."""
    monkeypatch.setattr("compiler.lowering.heads.SHARE", 3.5 * 4 * 40 * SHAPES[shape].heads / SHAPES[shape].kv_heads / scratchpad)
    prompts = [PROMPT, [7], [2, 2], PROMPT[:5]]
    compiled = made(shape, scratchpad, weights="t2", kv=kv, chunk=chunk, sequences=4)
    assert scratchpad < 65537 or compiled.memory.residency.cached == compiled.graph.config.layers
    texts: list[list[int]] = [[] for _ in prompts]
    host = Host(side_by_side(prompts), emit=lambda token: texts[host.sequence].append(token))
    machine = Machine(compiled.machine, host)
    machine.load(compiled.build(tmp_path))
    set_parameters(machine)
    set_sequences(machine, [5] * 4)
    check = HazardCheck(machine)
    assert machine.run().exit_code == 0 and check.hazards == []
    one = made(shape, scratchpad, weights="t2", kv=kv, dataflow=None)
    (tmp_path / "one").mkdir()
    program = one.build(tmp_path / "one")
    for prompt, text in zip(prompts, texts, strict=True):
        alone, told = loaded((one, program), prompt, max_tokens=5)
        assert alone.run().exit_code == 0
        assert text == told.tokens and len(text) == 5
