"""int8 activations in two parts of four bits (--activations i8x4), and codes of codebooks looked up in pairs (c4:pairs): the
results of plain int8 products, bit by bit, with other counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from compiled_models import generated, small_machine
from random_models import SHAPES, random_model

from compiler.checking.verify import compare
from compiler.compile import compile_model
from compiler.compiled import Compiled
from compiler.errors import ModelError
from compiler.formats.recipe import parse_format, read_recipe
from emulator.machine import Machine
from emulator.observe.hazards import HazardCheck
from isa.services import Host

PROMPT = [1, 5, 7, 60, 3]


def compiled_with(weights: str, activations: str | None = "i8x4", shape: str = "gqa", machine: Any = "slim",
                  **options: Any) -> Compiled:
    return compile_model(random_model(SHAPES[shape]), machine=machine, recipe=read_recipe(weights), activations=activations,
                         **options)


@pytest.mark.parametrize(("weights", "machine", "options"), [
    ("t2", "slim-llama", {}), ("b1", "slim", {"chunk": 1}), ("t5", "slim", {}), ("i4:8", "small", {}), ("i3", "slim", {}),
    ("c4:nf4:8:pairs", "slim-llama", {}), ("i8", "slim", {"sequences": 2})])
def test_every_operation_equals_the_graph(weights: str, machine: Any, options: dict[str, Any], tmp_path: Path) -> None:
    compiled = compiled_with(weights, machine=small_machine(16384) if machine == "small" else machine, **options)
    kinds = {op.kind for _, op in compiled.graph.steps()}
    assert "gemv.i8.parts" in kinds and "gemv.i8" not in kinds
    program = compiled.build(tmp_path)
    compared, difference = compare(compiled, program, PROMPT, Machine)
    assert difference is None, str(difference)
    assert compared > 10 * len(PROMPT)
    if "sequences" not in options:
        runner = Machine(compiled.machine, Host(PROMPT[:2]))
        runner.load(program)
        runner.tensor("max_tokens", "i32[2]")[:] = 2, 0
        hazards = HazardCheck(runner)
        assert runner.run().reason == "exit" and hazards.hazards == []


def counted(compiled: Compiled, folder: Path) -> tuple[list[int], dict[str, int]]:
    """Tokens, and what was counted."""
    folder.mkdir()
    tokens, runner = generated(compiled.build(folder), compiled.machine)
    return tokens, {name: value for name, value in runner.counters.items() if name.startswith("lut.")}


def test_four_bits_take_twice_the_steps_of_eight(tmp_path: Path) -> None:
    tokens, whole = counted(compiled_with("t2", "i8", machine="slim-llama", chunk=1), tmp_path / "whole")
    same, parts = counted(compiled_with("t2", machine="slim-llama", chunk=1), tmp_path / "parts")
    assert same == tokens
    for event in ("macs", "macs_skipped", "lookups", "steps", "steps_longest", "groups_skipped", "weight_bytes", "index_toggles"):
        assert parts[f"lut.{event}"] == 2 * whole[f"lut.{event}"], event


def test_pairs_take_half_the_look_ups(tmp_path: Path) -> None:
    """Embedding and head are floats here: what the lut unit does is all of codebooks."""
    found = {}
    for number, (weights, activations) in enumerate((w, a) for a in ("i8", "f32") for w in ("c4:nf4:8", "c4:nf4:8:pairs")):
        recipe = replace(read_recipe(weights), head=parse_format("f32"))
        compiled = compile_model(random_model(SHAPES["gqa"]), recipe=recipe, activations=activations)
        assert ("codes of codebooks are looked up two at a time" in compiled.summary()) == weights.endswith(":pairs")
        found[weights, activations] = counted(compiled, tmp_path / str(number))
    for activations in ("i8", "f32"):
        (tokens, alone), (same, pairs) = found["c4:nf4:8", activations], found["c4:nf4:8:pairs", activations]
        assert same == tokens and pairs.get("lut.macs") == alone.get("lut.macs")
        assert 2 * pairs["lut.lookups"] == 2 * pairs["lut.steps"] == alone["lut.lookups"] == alone["lut.steps"] > 0


@pytest.mark.parametrize(("weights", "options", "said"), [
    ("f32", {}, "--activations: i8x4 for floating-point weights; expected integer weights"),
    ("bp4", {}, "--activations: i8x4, and layer.q in bp4; .*\nhint: lut.xnor takes activations bit by bit"),
    ("t2", {"sparsity": "exact", "shape": "relu2"}, "--activations i8x4: --ffn-sparsity; .*\nhint: rows of active neurons"),
    ("t2", {"reuse": 64}, "--reuse: --activations i8x4; .*\nhint: sums of centres are those of 8 bits"),
    ("i8", {"machine": "hpim"}, "--activations: i8x4 on machine hpim; expected integer weights, multiplied on a lut unit")])
def test_what_cannot_be_combined(weights: str, options: dict[str, Any], said: str) -> None:
    recipe = read_recipe(weights)
    model = random_model(SHAPES[options.pop("shape", "gqa")])
    if "reuse" in options:
        recipe = replace(recipe, reuse=options.pop("reuse"))
    with pytest.raises(ModelError, match=said):
        compile_model(model, recipe=recipe, activations="i8x4", **options)


def test_pairs_are_of_codebooks() -> None:
    assert str(parse_format("c4:nf4:64:pairs")) == "c4:nf4:64:pairs" and parse_format("c3:pairs").pairs
    with pytest.raises(ModelError, match=r"'i4:pairs'; expected c2, c3 or c4"):
        parse_format("i4:pairs")
    with pytest.raises(ModelError, match=r"'c4:pairs:pairs'; expected c2, c3 or c4"):
        parse_format("c4:pairs:pairs")
    with pytest.raises(ModelError, match=r"machine hpim: codes of codebooks in pairs; expected a lut unit"):
        compiled_with("c4:pairs", None, machine="hpim")
