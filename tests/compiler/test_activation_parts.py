"""Activations in parts of four bits (--activations i8x4, i16x4), and codes of codebooks looked up in pairs (c4:pairs). i8x4 and
pairs give the results of plain int8 products, bit by bit, with other counts; i16x4 is nearer to floats."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compiled_models import generated, small_machine
from random_models import SHAPES, random_model

from compiler.checking.verify import compare
from compiler.compile import compile_model
from compiler.compiled import Compiled
from compiler.errors import ModelError
from compiler.formats.recipe import parse_format, read_recipe
from compiler.graph import EXACT, Executor
from emulator.machine import Machine
from emulator.observe.hazards import HazardCheck
from isa.services import Host

PROMPT = [1, 5, 7, 60, 3]


def compiled_with(weights: str, activations: str | None = "i8x4", shape: str = "gqa", machine: Any = "slim",
                  **options: Any) -> Compiled:
    return compile_model(random_model(SHAPES[shape]), machine=machine, recipe=read_recipe(weights), activations=activations,
                         **options)


def equals_the_graph(compiled: Any, folder: Path, several: bool) -> None:
    """Every operation of a program gives the bytes of the graph's; of one text, nothing begins before what it needs is done."""
    program = compiled.build(folder)
    compared, difference = compare(compiled, program, PROMPT, Machine)
    assert difference is None, str(difference)
    assert compared > 10 * len(PROMPT)
    if not several:
        runner = Machine(compiled.machine, Host(PROMPT[:2]))
        runner.load(program)
        runner.tensor("max_tokens", "i32[2]")[:] = 2, 0
        hazards = HazardCheck(runner)
        assert runner.run().reason == "exit" and hazards.hazards == []


@pytest.mark.parametrize(("weights", "machine", "options"), [
    ("t2", "slim-llama", {}), ("b1", "slim", {"chunk": 1}), ("t5", "slim", {}), ("i4:8", "small", {}), ("i3", "slim", {}),
    ("c4:nf4:8:pairs", "slim-llama", {}), ("i8", "slim", {"sequences": 2})])
def test_every_operation_equals_the_graph(weights: str, machine: Any, options: dict[str, Any], tmp_path: Path) -> None:
    compiled = compiled_with(weights, machine=small_machine(16384) if machine == "small" else machine, **options)
    kinds = {op.kind for _, op in compiled.graph.steps()}
    assert "gemv.i8.parts" in kinds and "gemv.i8" not in kinds
    equals_the_graph(compiled, tmp_path, several="sequences" in options)


@pytest.mark.parametrize(("weights", "machine", "options"), [
    ("t2", "slim-llama", {}), ("b1", "slim", {"chunk": 1}), ("i4:8", "small", {}), ("c4:nf4:8", "slim-llama", {}),
    ("i8", "slim", {"sequences": 2})])
def test_every_operation_of_16_bits_equals_the_graph(weights: str, machine: Any, options: dict[str, Any], tmp_path: Path) -> None:
    compiled = compiled_with(weights, "i16x4", machine=small_machine(16384) if machine == "small" else machine, **options)
    kinds = {op.kind for _, op in compiled.graph.steps()}
    assert {"quantise.i16", "gemv.i16.parts"} <= kinds and not {"quantise", "gemv.i8", "gemv.i8.parts"} & kinds
    assert "int16 activations, one scale per vector, in four parts of four bits" in compiled.summary()
    equals_the_graph(compiled, tmp_path, several="sequences" in options)


def test_activations_of_16_bits() -> None:
    """Codes and scale as the rule says, at its edges; products nearer to those of floats than with 8 bits, by far."""
    compiled = compiled_with("t2", "i16x4")
    run = Executor(compiled.graph, compiled.model, EXACT)
    for x in ([0.5, -1, 0.25, 0], [0, 0, 0, 0], [1e-38, -1e-40, 0, 0], [3e38, -1, 0, 0]):
        codes, scale = run._quantise_i16(np.array(x, np.float32))
        most = max(max(map(abs, x)), 2.0 ** -100)
        assert np.abs(codes - np.array(x) * (32767 / most)).max() <= 0.51 and scale[0] == np.float32(most) / np.float32(32767)
    rng, role = np.random.default_rng(0), "layers.0.q"
    x = rng.standard_normal(compiled.model.tensor(role).matrix[1]).astype(np.float32)
    true = compiled.model.tensor(role).rows().astype(np.float64) @ x
    errors = [np.abs(y - true).max() for y in (run._gemv_i16_parts(*run._quantise_i16(x), W=role),
                                               run._gemv_i8(*run._quantise(x), W=role))]
    assert 100 * errors[0] < errors[1]


def counted(compiled: Compiled, folder: Path) -> tuple[list[int], dict[str, int]]:
    """Tokens, and what was counted."""
    folder.mkdir()
    tokens, runner = generated(compiled.build(folder), compiled.machine)
    return tokens, {name: value for name, value in runner.counters.items() if name.startswith("lut.")}


def test_parts_of_four_bits_take_their_number_of_steps(tmp_path: Path) -> None:
    tokens, whole = counted(compiled_with("t2", "i8", machine="slim-llama", chunk=1), tmp_path / "whole")
    same, parts = counted(compiled_with("t2", machine="slim-llama", chunk=1), tmp_path / "parts")
    assert same == tokens
    wide = counted(compiled_with("t2", "i16x4", machine="slim-llama", chunk=1), tmp_path / "wide")[1]
    for event in ("macs", "macs_skipped", "lookups", "steps", "steps_longest", "groups_skipped", "weight_bytes", "index_toggles"):
        assert parts[f"lut.{event}"] == 2 * whole[f"lut.{event}"], event
        assert wide[f"lut.{event}"] == 4 * whole[f"lut.{event}"], event


def test_pairs_take_half_the_look_ups(tmp_path: Path) -> None:
    """Embedding and head are floats here: what the lut unit does is all of codebooks."""
    found = {}
    for number, (weights, activations) in enumerate((w, a) for a in ("i8", "f32") for w in ("c4:nf4:8", "c4:nf4:8:pairs")):
        recipe = replace(read_recipe(weights), head=parse_format("f32"))
        compiled = compile_model(random_model(SHAPES["gqa"]), recipe=recipe, activations=activations)
        assert ("codes of codebooks are looked up two at a time" in compiled.summary()) == weights.endswith(":pairs")
        assert compiled.layout.layer["up"].stored == weights
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


@pytest.mark.parametrize(("weights", "options", "said"), [
    ("f32", {}, "--activations: i16x4 for floating-point weights; expected integer weights"),
    ("bp4", {}, "--activations: i16x4, and layer.q in bp4; .*\nhint: lut.xnor takes activations bit by bit"),
    ("i8", {"shape": "wide"}, r"--activations: i16x4, and layer.down in i8 with a scale for 600 columns; expected a scale for at "
                              r"most 516 columns: a sum has 32 bits\nhint: --weights i8:64, or i8x4"),
    ("t2", {"reuse": 64}, "--reuse: --activations i16x4; .*"),
    ("t2", {"sparse": "bm"}, r"--activations: i16x4, and layer.q, which is multiplied by 8 bits \(gemv.i8.sparse\); .*\n"
                              "hint: --sparse off")])
def test_what_cannot_be_combined_with_16_bits(weights: str, options: dict[str, Any], said: str) -> None:
    recipe, shape = read_recipe(weights), options.pop("shape", "gqa")
    wide = replace(SHAPES["gqa"], hidden=600) if shape == "wide" else SHAPES[shape]
    with pytest.raises(ModelError, match=said):
        compile_model(random_model(wide), recipe=replace(recipe, **options), activations="i16x4")


def test_pairs_are_of_codebooks() -> None:
    assert str(parse_format("c4:nf4:64:pairs")) == "c4:nf4:64:pairs" and parse_format("c3:pairs").pairs
    with pytest.raises(ModelError, match=r"'i4:pairs'; expected c2, c3 or c4"):
        parse_format("i4:pairs")
    with pytest.raises(ModelError, match=r"'c4:pairs:pairs'; expected c2, c3 or c4"):
        parse_format("c4:pairs:pairs")
    with pytest.raises(ModelError, match=r"machine hpim: codes of codebooks in pairs; expected a lut unit"):
        compiled_with("c4:pairs", None, machine="hpim")
