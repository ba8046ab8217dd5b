"""Prompts in chunks: the same bits as token by token, on every family, machine and cache; weights are read once a chunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from compiled_models import built, fetching_machine, loaded, small_machine
from random_models import SHAPES, WORDS, random_model

from compiler.checking.evaluate import of_graph, of_program
from compiler.checking.verify import compare
from compiler.compile import ROOM_FOR_CODE, compile_model
from compiler.compiled import Compiled
from compiler.errors import ModelError, RoomError
from compiler.graph import EXACT, Executor, Op, graph_of
from compiler.graph.groups import across_groups, groups
from compiler.lowering import logit_parts
from compiler.model.tensors import F32
from compiler.placing.memory_plan import PART
from compiler.placing.weights import PAGE
from compiler.settings import Settings
from emulator.machine import Machine
from emulator.observe.hazards import HazardCheck
from isa.preset import Preset, load_preset, preset_of
from isa.program import Program
from isa.reference import ReferenceMachine
from isa.services import Host

PROMPT = [1, 5, 3, 9, 2, 4, 1]          # 7 tokens: chunks of 3 leave a single one


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("machine", ["slim", "small"])
def test_every_operation_of_every_family(shape: str, machine: str) -> None:
    compiled, program = built(shape, "", machine if machine == "slim" else small_machine(32768), chunk=3)
    assert compiled.memory.chunk == 3
    compared, difference = compare(compiled, program, PROMPT)
    assert difference is None and compared > 7 * len(compiled.graph.layer)


@pytest.mark.parametrize("weights", ["f16", "i4:row", "t2", "c4"])
@pytest.mark.parametrize("kv", ["f32", "f16", "i8"])
@pytest.mark.parametrize("machine", ["slim", "small"])
def test_every_operation_of_formats_and_caches(weights: str, kv: str, machine: str) -> None:
    compiled, program = built("gqa", weights, machine if machine == "slim" else small_machine(32768), kv=kv, chunk=4)
    assert compare(compiled, program, PROMPT)[1] is None


@pytest.mark.parametrize("weights", ["i8", "f16"])
def test_banks_multiply_token_by_token_but_take_chunks(weights: str) -> None:
    assert built("gqa", weights, "hpim")[0].memory.chunk == 1
    compiled, program = built("gqa", weights, "hpim", chunk=2)
    assert compare(compiled, program, PROMPT[:4])[1] is None


@pytest.mark.parametrize(("weights", "activations"), [("i8", "f32"), ("t2", "f32")])
def test_decoded_weights(weights: str, activations: str, tmp_path: Path) -> None:
    compiled = Settings(weights=weights, activations=activations, chunk=3, machine=small_machine(32768)).compile(
        random_model(SHAPES["gqa"]))
    assert compare(compiled, compiled.build(tmp_path), PROMPT)[1] is None


@pytest.mark.parametrize("weights", ["f32", "t2", "i8"])
def test_active_neurons(weights: str, tmp_path: Path) -> None:
    settings = Settings(weights=weights, sparsity="exact", chunk=3, machine=small_machine(32768))
    compiled = settings.compile(random_model(SHAPES["relu2"]))
    assert compare(compiled, compiled.build(tmp_path), PROMPT)[1] is None


@pytest.mark.parametrize("engine", [Machine, ReferenceMachine])
@pytest.mark.parametrize("length", [1, 2, 3, 4, 6, 7])
def test_the_text_is_that_of_token_by_token(length: int, engine: type[ReferenceMachine]) -> None:
    """Prompts that fill a chunk, leave one token or several, or are one token; tokens, caches and what was read of the prompt."""
    said, keys = set(), []
    for chunk in (1, 3):
        machine, host = loaded(built("gqa", "t2", chunk=chunk), PROMPT[:length], engine, max_tokens=4)
        assert machine.run().reason == "exit"
        assert machine.counter("tokens.read") == length
        said.add(tuple(host.tokens))
        start, size = machine.program.address("keys"), built("gqa", "t2", chunk=chunk)[0].memory.cache_bytes
        keys.append(machine.peek(start, size).copy())
    assert len(said) == 1 and len(said.pop()) == 4
    assert np.array_equal(*keys)


@pytest.mark.parametrize("chunk", [1, 2, 3, 16])
def test_a_prompt_that_fills_the_context(chunk: int) -> None:
    """A longer one ends the run without a token, as token by token."""
    made = built("gqa", "t2", context=6, chunk=chunk)
    for length, tokens in ((5, 2), (6, 1), (7, 0), (9, 0)):
        machine, host = loaded(made, (PROMPT * 2)[:length])
        assert machine.run().exit_code == 0 and len(host.tokens) == tokens, length


@pytest.mark.parametrize("machine", ["slim", "small"])
@pytest.mark.parametrize("chunk", [1, 3, None])
def test_logits_of_every_position(chunk: int | None, machine: str) -> None:
    compiled, program = built("gqa", "t2", machine if machine == "slim" else small_machine(32768), chunk=chunk)
    assert compiled.memory.shown == (compiled.memory.chunk if chunk != 1 else 0)
    runner, _ = loaded((compiled, program))
    logits = of_program(runner, program)
    expected = of_graph(Executor(compiled.graph, compiled.model, EXACT))
    for tokens in (PROMPT, PROMPT[:1], PROMPT[:3], PROMPT[:4]):             # the same machine runs again each time
        for got, wanted in zip(logits(tokens), expected(tokens), strict=True):
            assert got.tobytes() == wanted.tobytes()


def _has_no_hazard(compiled: Compiled, program: Program, tokens: Sequence[int]) -> bool:
    """Whether a run that shows all logits of these tokens lacks no wait."""
    shown: list[F32] = []
    runner, _ = loaded((compiled, program), (), ReferenceMachine)
    runner.host = Host(tokens, show=lambda numbers: shown.append(numbers.copy()))
    runner.peek(program.address("all_logits"), 8)[0] = 1
    check = HazardCheck(runner)
    assert runner.run().exit_code == 0 and len(shown) == len(tokens)
    return check.hazards == []


@pytest.mark.parametrize("machine", ["slim", "fetching"])
@pytest.mark.parametrize("options", [{}, {"weights": "i8"}, {"weights": "i8", "activations": "i8x4"},
                                     {"weights": "i4:row", "activations": "f32"}])
def test_a_head_in_parts_of_the_vocabulary(machine: str, options: dict[str, str], tmp_path: Path) -> None:
    """Frames have no room for the logits of 1,500 tokens. No wait is missing."""
    where = fetching_machine(65536) if machine == "fetching" else machine
    compiled = Settings(chunk=3, machine=where, **options).compile(random_model(WORDS))                 # type: ignore[arg-type]
    program = compiled.build(tmp_path)
    assert compiled.memory.shown == 3 and compiled.memory.slots[PART].size < 4 * WORDS.vocab
    assert compare(compiled, program, PROMPT[:4])[1] is None
    assert _has_no_hazard(compiled, program, PROMPT[:2])


def test_operations_behind_the_head_are_for_one_token_after_the_other(tmp_path: Path) -> None:
    model = random_model(SHAPES["gqa"])
    graph = graph_of(model)
    graph.finish.append(Op("scale", ("logits",), ("logits",), (), {"factor": 0.5}))
    compiled = Settings(chunk=3, machine=small_machine(32768)).compile(replace(model, graph=graph))
    program = compiled.build(tmp_path)
    assert compiled.memory.shown == 3 and compare(compiled, program, PROMPT)[1] is None
    assert _has_no_hazard(compiled, program, PROMPT[:2])


def test_wrong_logits_of_a_chunk_are_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """verify looks at the logits of all tokens, too: here nothing is put where they belong."""
    monkeypatch.setattr(logit_parts, "_give", lambda c, rows: None)
    compiled = Settings(chunk=3, machine=small_machine(32768)).compile(random_model(SHAPES["gqa"]))
    difference = compare(compiled, compiled.build(tmp_path), PROMPT)[1]
    assert difference and (difference.token, difference.layer, difference.value, difference.got) == (0, None, "logits", 0)


def with_dram(size: int) -> Preset:
    data = load_preset(small_machine(65536)).file.model_dump(exclude_none=True)
    data["region"]["dram"]["size"]["value"] = size
    return preset_of(data)


@pytest.mark.parametrize(("tokens", "shown"), [(6, 6), (5, 3), (3, 3), (2, 0)])
def test_memory_for_the_logits_of_fewer_tokens(tokens: int, shown: int, tmp_path: Path) -> None:
    """What DRAM has room for decides how many tokens the head is read once for; where that is one, it goes as token by token."""
    whole = Settings(chunk=6, machine=small_machine(65536)).compile(random_model(SHAPES["biases"]))
    taken = whole.layout.size + whole.memory.cache_bytes + PAGE + ROOM_FOR_CODE
    compiled = Settings(chunk=6, machine=with_dram(taken + tokens * 4 * 61)).compile(random_model(SHAPES["biases"]))
    program = compiled.build(tmp_path)
    assert (compiled.memory.shown, compiled.memory.chunk) == (shown, 6)
    assert ("no room for those of 6" in compiled.summary()) == (0 < shown < 6)
    assert compare(compiled, program, PROMPT[:5])[1] is None
    logits = of_program(loaded((compiled, program))[0], program)(PROMPT * 2)
    expected = of_graph(Executor(compiled.graph, compiled.model, EXACT))(PROMPT * 2)
    assert [found.tobytes() for found in logits] == [found.tobytes() for found in expected]


def test_the_head_is_read_once_a_chunk(tmp_path: Path) -> None:
    """Bytes that are fetched for all logits of 6 tokens, in 3, 2 chunks and in one: those of layers and head, of which a token's
    logits leave the scratchpad once."""
    fetched = []
    for chunk in (2, 3, 6):
        compiled = built("gqa", "t2", small_machine(32768), chunk=chunk)[0].alike()
        runner, _ = loaded((compiled, compiled.build(tmp_path)), PROMPT[:6])
        runner.peek(runner.program.address("all_logits"), 8)[0] = 1
        runner.run()
        fetched.append(runner.counter("fetch.bytes"))
    matrices = [placed for placed in compiled.layout.layer.values() if placed.is_matrix] * 2 + [compiled.layout.once["head"]]
    once = sum(placed.held + 4 * placed.scale_count for placed in matrices)
    assert np.diff(fetched).tolist() == [-once, -once]


@pytest.mark.parametrize("chunk", [1, 3])
def test_a_bad_token_anywhere_in_the_prompt(chunk: int) -> None:
    for at in range(5):
        machine, host = loaded(built("gqa", "t2", chunk=chunk), [*PROMPT[:at], 1 << 20])
        assert machine.run().exit_code == 3 and b"vocabulary" in host.errors


def test_weights_are_read_once_a_chunk(tmp_path: Path) -> None:
    """Where nothing stays in the scratchpad: bytes that are fetched for a prompt of 6 tokens in 6, 3, 2 chunks and in one."""
    fetched = []
    for chunk in (1, 2, 3, 6):
        compiled = built("gqa", "t2", small_machine(32768), chunk=chunk)[0].alike()
        machine, _ = loaded((compiled, compiled.build(tmp_path)), PROMPT[:6], max_tokens=1)
        machine.run()
        fetched.append(machine.counter("fetch.bytes"))
    matrices = sum(placed.held + 4 * placed.scale_count for placed in compiled.layout.layer.values() if placed.is_matrix)
    moved = 4 * compiled.model.config.dim                   # the last token goes on in the first frame
    assert np.diff(fetched).tolist() == [moved - 3 * 2 * matrices, -2 * matrices, -2 * matrices]


def test_values_of_one_group_are_shared_and_the_others_are_framed() -> None:
    compiled = built("gqa", "t2", chunk=4)[0]
    memory, framed = compiled.memory, across_groups(compiled.graph)
    assert {"x", "q", "gate", "context"} - framed <= {"context"} and not framed & {"scores", "probabilities", "logits", "keys"}
    for name, slot in memory.slots.items():
        inside = memory.frames <= slot.offset < memory.frames + memory.frame_bytes
        assert inside if name in memory.framed else slot.end <= memory.frames or name in ("sorted", "order", "chosen_mask", "draw")
    assert memory.scratchpad_bytes >= memory.frames + 4 * memory.frame_bytes


def test_groups_are_all_operations_in_order() -> None:
    for shape in SHAPES:
        for ops in (compiled_ops for _, compiled_ops in built(shape, "")[0].graph.named()):
            found = list(groups(ops))
            assert [op for group in found for op in group.ops] == list(ops)
            assert [group.first for group in found] == [sum(len(g.ops) for g in found[:n]) for n in range(len(found))]


def test_a_chunk_that_is_no_number_of_tokens_is_refused() -> None:
    with pytest.raises(ModelError, match="--chunk: 0; expected 1 or more"):
        Settings(chunk=0).check()


def test_a_chunk_without_room_says_what_fits() -> None:
    with pytest.raises(RoomError) as caught:
        compile_model(random_model(SHAPES["gqa"]), machine=small_machine(24576), chunk=40)
    assert "the values of 40 tokens of a prompt (" in str(caught.value)
    fits = int(str(caught.value).partition("--chunk ")[2].split()[0])
    assert compile_model(random_model(SHAPES["gqa"]), machine=small_machine(24576), chunk=fits).memory.chunk == fits > 1
    with pytest.raises(RoomError):
        compile_model(random_model(SHAPES["gqa"]), machine=small_machine(24576), chunk=fits + 1)
