"""Whole programs: every operation bit by bit against the graph executor, the order between units, the golden text."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from compiled_models import built, ends, generate, loaded, small_machine
from random_models import SHAPES, random_model

from asm.assembler import assemble
from compiler.checking.verify import compare
from compiler.compile import compile_model
from compiler.errors import ModelError
from compiler.formats.recipe import read_recipe
from compiler.formats.weight_format import WEIGHT_FORMATS
from compiler.frontends import load
from compiler.lowering.data import MOST_STOPS
from compiler.lowering.program import BAD_TOKEN, EMPTY_PROMPT
from compiler.passes.quantise import RoundedTensor
from emulator.machine import Machine
from emulator.observe.hazards import HazardCheck
from isa.program import Program
from isa.reference import ReferenceMachine
from isa.services import Host

PROMPT = [1, 5, 7, 7, 60, 3, 8, 9, 10]
STORIES = Path(__file__).parents[2] / ".." / "shared" / "data" / "stories260K"
needs_stories = pytest.mark.skipif(not STORIES.is_dir(), reason="no ../shared/data/stories260K")


# ------------------------------------------------------------------------------------------------ operation by operation


@pytest.mark.parametrize("machine", ["slim", "small"])
@pytest.mark.parametrize("weights", ["", "t2", "i8:1"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_operation_equals_the_graph(shape: str, weights: str, machine: str) -> None:
    compiled, program = built(shape, weights, small_machine() if machine == "small" else machine)
    compared, difference = compare(compiled, program, PROMPT)
    graph = compiled.graph
    assert difference is None, str(difference)
    assert compared == len(PROMPT) * (len(graph.start) + 2 * len(graph.layer)) + ends(compiled, len(PROMPT)) * len(graph.finish)


@pytest.mark.parametrize("machine", ["slim", "small"])
@pytest.mark.parametrize("weights", [*WEIGHT_FORMATS, "b1:tensor", "t2:row", "t2:16", "t5:row", "i2:8", "i4:tensor", "i8:16",
                                     "c4:16", "c2:tensor", "bp3:16", "bp2:tensor"])
def test_every_weight_format(weights: str, machine: str) -> None:
    compiled, program = built("gqa", weights, small_machine() if machine == "small" else machine)
    _, difference = compare(compiled, program, PROMPT[:4])
    assert difference is None, str(difference)
    wanted = weights.partition(":")[0]
    assert {compiled.layout.layer[role].format.name for role in ("q", "k", "v", "o", "gate", "up", "down")} == {wanted}


def test_the_reference_engine_too() -> None:
    for weights in ("", "t2", "bp2", "bp3", "bp4"):
        compiled, program = built("gqa", weights)
        assert compare(compiled, program, PROMPT[:2], ReferenceMachine)[1] is None


@pytest.mark.parametrize("weights", ["", "f32", "t2"])
@pytest.mark.parametrize("shape", ["opt", "opt_350m"])
def test_learned_positions_in_16_bits(shape: str, weights: str, tmp_path: Path) -> None:
    """OPT's checkpoints are f16, and rows of positions are fetched as they are, whatever becomes of the embedding's."""
    model = random_model(SHAPES[shape])
    halves = {role: RoundedTensor(role, tensor.shape, WEIGHT_FORMATS["f16"], source=tensor)
              for role, tensor in model.tensors.items()}
    compiled = compile_model(replace(model, tensors=halves), recipe=read_recipe(weights) if weights else None)
    assert compiled.memory.slots["embedded_row"].size >= 2 * model.config.dim
    assert compare(compiled, compiled.build(tmp_path), [1, 5, 7])[1] is None


def test_a_wrong_instruction_is_found_where_it_is() -> None:
    compiled, _ = built("plain", "t2")
    text = compiled.text()
    assert text.count("vec.silu.f32") == 2           # for a chunk, and for a token
    folder = Path(built("plain", "t2")[1].section(".flash.weights").chunks[0].path).parent
    program = assemble(text.replace("vec.silu.f32", "vec.gelu.f32"), include_paths=[folder])
    _, difference = compare(compiled, program, PROMPT)
    assert difference is not None
    assert (difference.token, difference.layer, difference.op.kind, difference.value) == (0, 0, "silu", "gate")
    assert difference.expected != difference.got and "layer 0, gate = silu gate: element [" in str(difference)


def test_the_text_assembled_is_the_program(tmp_path: Path) -> None:
    compiled, program = built("gqa", "t2")
    compiled.save(tmp_path / "direct.elf")
    compiled.save_source(tmp_path / "model.s")
    from_text = assemble(tmp_path / "model.s")
    contents = [[(s.name, s.address, s.bytes()) for s in each.sections] for each in (
        from_text, program, Program.load(tmp_path / "direct.elf"))]
    assert contents[0] == contents[1] == contents[2]
    assert {(s.name, s.value) for s in from_text.symbols} == {(s.name, s.value) for s in program.symbols}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["direct.elf", "model.meta", "model.s", "model.weights"]


# ------------------------------------------------------------------------------------------------ order between units


SAMPLERS = {"greedy": {}, "all": {"temperature": 0.9}, "top_p": {"temperature": 1.2, "top_p": 0.7}}


@pytest.mark.parametrize("machine", ["slim", "small"])
@pytest.mark.parametrize(("shape", "weights"), [("gqa", ""), ("qk_norm", "i8:1"), ("opt_350m", "t2"), ("opt", "i8"), ("bitnet", ""),
                                                ("window", "f16")])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_nothing_is_touched_too_early(shape: str, weights: str, machine: str, sampler: str) -> None:
    made = built(shape, weights, small_machine() if machine == "small" else machine)
    runner, host = loaded(made, PROMPT[:3], max_tokens=3, stop=(), **SAMPLERS[sampler])
    check = HazardCheck(runner)
    assert runner.run().reason == "exit" and len(host.tokens) == 3
    assert check.hazards == []


@pytest.mark.parametrize(("shape", "weights"), [("gqa", ""), ("plain", "i8")])
def test_every_wait_is_needed(shape: str, weights: str) -> None:
    """On slim, where only what needs it waits: without any one of the waits something is touched too early."""
    compiled, program = built(shape, weights)
    flash = program.section(".flash.weights")
    folder = Path(flash.chunks[0].path).parent
    lines = compiled.text().splitlines()
    waits = [number for number, line in enumerate(lines) if re.match(r"\s+sync\.wait\.", line)]
    assert len(waits) >= (5 if weights else 2)
    for number in waits:
        assert "sync.signal." in lines[number - 1]
        without = assemble("\n".join(lines[:number - 1] + lines[number + 1:]), include_paths=[folder])
        found = []
        for all_logits, parameters in (*((0, each) for each in SAMPLERS.values()), (1, {})):
            runner, _ = loaded((compiled, without), PROMPT[:2], max_tokens=2, stop=(), **parameters)
            runner.peek(without.address("all_logits"), 8)[0] = all_logits
            check = HazardCheck(runner)
            runner.run()
            found += check.hazards
        assert found, f"line {number}: {lines[number]}"


# ------------------------------------------------------------------------------------------------ the loop over tokens


def test_the_context_ends_the_text() -> None:
    result, tokens = generate(built(context=12), PROMPT[:4], stop=())
    assert (result.reason, result.exit_code, len(tokens)) == ("exit", 0, 12 - 3)


def test_as_many_tokens_as_are_asked_for() -> None:
    everything = generate(built(), stop=())[1]
    for most in (0, 1, 5):
        result, tokens = generate(built(), max_tokens=most, stop=())
        assert (result.exit_code, tokens) == (0, everything[:most])


def test_a_stop_token_ends_the_text_and_does_not_come() -> None:
    everything = generate(built(), stop=())[1]
    chosen = next(token for token in everything if token != everything[0])
    result, tokens = generate(built(), stop=(60, chosen) if 60 not in everything else (chosen,))
    assert (result.exit_code, tokens) == (0, everything[:everything.index(chosen)])


def test_more_stop_tokens_than_a_program_has_room_for_are_refused() -> None:
    model = random_model(SHAPES["plain"])
    for count in (MOST_STOPS, MOST_STOPS + 1):
        many = replace(model, config=replace(model.config, stop=frozenset(range(count))))
        if count == MOST_STOPS:
            assert ".word " + ", ".join(map(str, range(count))) in compile_model(many).text()
            continue
        with pytest.raises(ModelError, match=r"\(eos_token_id\): 17; expected at most 16"):
            compile_model(many)


def test_a_prompt_of_many_tokens_is_a_text_of_which_the_end_is_wanted() -> None:
    everything = generate(built(), [1], stop=())[1]
    assert generate(built(), [1, *everything[:6]], stop=())[1] == everything[6:]


def test_an_empty_prompt_is_refused() -> None:
    machine, host = loaded(built(), ())
    assert machine.run().exit_code == EMPTY_PROMPT
    assert (host.errors.decode(), host.tokens) == ("the prompt is empty\n", [])


@pytest.mark.parametrize("prompt", [[61], [1, 2, 1 << 40], [5, 61]])
def test_a_token_beyond_the_vocabulary_is_refused(prompt: list[int]) -> None:
    machine, host = loaded(built(), prompt)
    assert machine.run().exit_code == BAD_TOKEN
    assert (host.errors.decode(), host.tokens) == ("a token beyond the vocabulary\n", [])


# ------------------------------------------------------------------------------------------------ a real model


@needs_stories
@pytest.mark.parametrize("machine", ["slim", "slim-llama"])
def test_stories260k_tells_the_golden_story(machine: str, tmp_path: Path) -> None:
    """greedy_200.txt is what llama2.c prints: 200 steps, without a prompt."""
    model = load(STORIES / "stories260K.bin")
    program = compile_model(model, machine=machine).build(tmp_path)
    host = Host([1])
    runner = Machine(machine, host)
    runner.load(program)
    runner.tensor("max_tokens", "i32[2]")[:] = 200, 0
    assert runner.run().reason == "exit"
    assert model.tokenizer is not None
    golden = (STORIES / "greedy_200.txt").read_text(encoding="utf-8")
    story = model.tokenizer.decode([1, *host.tokens])
    assert story.strip() == golden.strip()


@needs_stories
@pytest.mark.parametrize("weights", ["", "t2", "i8"])
def test_stories260k_within_512_000_bytes_of_scratchpad(weights: str, tmp_path: Path) -> None:
    compiled = compile_model(load(STORIES / "stories260K.bin"), machine="slim-llama",
                             recipe=read_recipe(weights) if weights else None)
    program = compiled.build(tmp_path)
    assert compare(compiled, program, PROMPT)[1] is None
    runner = Machine(compiled.machine, Host(PROMPT[:3]))
    runner.load(program)
    runner.tensor("max_tokens", "i32[2]")[:] = 3, 0
    check = HazardCheck(runner)
    assert runner.run().reason == "exit"
    assert check.hazards == []
    assert compiled.memory.scratchpad_bytes <= 512_000
