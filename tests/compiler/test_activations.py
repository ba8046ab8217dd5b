"""What integer weights are multiplied by: int8 activations, or fp32 ones for which they are decoded."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compiled_models import generate, small_machine
from random_models import BASE, SHAPES, random_model

from compiler.checking.verify import compare
from compiler.compile import compile_model
from compiler.compiled import Compiled
from compiler.errors import ModelError
from compiler.formats.recipe import Recipe, parse_format, read_recipe
from compiler.graph import EXACT, PLAIN, Executor, build
from compiler.settings import Settings
from compiler.targets.banks import Banks
from emulator.machine import Machine
from emulator.observe.hazards import HazardCheck
from isa.numbers import FORMATS
from isa.reference import ReferenceMachine
from isa.services import Host

PROMPT = [1, 5, 7, 60, 3]


def decoded(weights: str, shape: str = "gqa", machine: str = "slim", **options: object) -> Compiled:
    model = random_model(SHAPES[shape], ternary=shape == "bitnet")
    recipe = read_recipe(weights) if weights else None
    return compile_model(model, machine=machine, recipe=recipe, activations="f32", **options)        # type: ignore[arg-type]


def check(compiled: Compiled, folder: Path, engine: type[ReferenceMachine] = Machine, prompt: list[int] = PROMPT) -> None:
    """Every operation equals the graph's, bit by bit, and every unit waits for what it needs."""
    assert {op.kind for _, op in compiled.graph.steps()} & {"gemv.decoded", "gemv.i8", "quantise"} == {"gemv.decoded"}
    program = compiled.build(folder)
    compared, difference = compare(compiled, program, prompt, engine)
    assert difference is None, str(difference)
    assert compared > 20 * len(prompt)
    runner = engine(compiled.machine, Host(prompt[:2]))
    runner.load(program)
    runner.tensor("max_tokens", "i32[2]")[:] = 2, 0
    hazards = HazardCheck(runner)
    assert runner.run().reason == "exit" and hazards.hazards == []


@pytest.mark.parametrize("machine", ["slim", "small"])
@pytest.mark.parametrize("weights", ["i8", "i8:tensor", "i8:16", "i4", "i4:8", "i3:16", "i2", "t2", "t2:row", "c4", "c3:16",
                                     "c2:tensor"])
def test_every_operation_equals_the_graph(weights: str, machine: str, tmp_path: Path) -> None:
    check(decoded(weights, machine=small_machine(16384) if machine == "small" else machine), tmp_path)


@pytest.mark.parametrize(("shape", "weights", "options"), [
    ("hidden_33", "i4", {}), ("hidden_33", "t2", {}), ("hidden_33", "c3", {}),          # rows that end within a byte
    ("bitnet", "", {}), ("opt_350m", "i8", {}), ("biases", "i4:8", {"kv": "i8"}), ("tied", "i8", {})])
def test_models_of_every_kind(shape: str, weights: str, options: dict[str, object], tmp_path: Path) -> None:
    check(decoded(weights, shape, **options), tmp_path)


def test_layers_may_differ(tmp_path: Path) -> None:
    recipe = Recipe(parse_format("i4"), None, {"layers.0.*": parse_format("f16"), "layers.1.[qd]*": parse_format("t2")})
    compiled = compile_model(random_model(replace(BASE, layers=3)), recipe=recipe, activations="f32")
    check(compiled, tmp_path)
    assert {op.kind for op in compiled.graph.bodies[0].ops if op.weights[:1] == ("layer.q",)} == {"gemv"}


def test_on_the_reference_engine(tmp_path: Path) -> None:
    check(decoded("i3:16"), tmp_path, ReferenceMachine, PROMPT[:2])


def test_on_a_machine_with_banks_the_vector_unit_multiplies(tmp_path: Path) -> None:
    compiled = decoded("i8:16", machine="hpim")
    check(compiled, tmp_path)
    assert isinstance(compiled.target, Banks) and not compiled.target.placement.size
    assert "no matrix is in the banks: they compute with f16, and i8 with int8 activations" in compiled.summary()
    with pytest.raises(ModelError, match=r"in t2 on machine hpim, which has no lut unit; .* or i8, .*\nhint: .*slim"):
        decoded("t2", machine="hpim")


@pytest.mark.parametrize("weights", ["i8", "i4:16", "t2", "c4"])
def test_the_stored_bytes_are_those_of_the_format(weights: str, tmp_path: Path) -> None:
    """Of the same size, byte by byte, as with int8 activations."""
    folders = tmp_path / "f32", tmp_path / "i8"
    plain = compile_model(random_model(SHAPES["gqa"]), recipe=read_recipe(weights))
    for folder, compiled in zip(folders, (decoded(weights), plain), strict=True):
        folder.mkdir()
        compiled.build(folder)
    assert len({(folder / "model.weights").read_bytes() for folder in folders}) == 1


def test_products_are_those_of_the_decoded_weights() -> None:
    """Against NumPy's product with the weights as floats: nothing is rounded but sums."""
    compiled = decoded("i4:8")
    assert {"i4"} == {placed.format.name for placed in compiled.layout.layer.values() if placed.is_matrix}
    floats = replace(compiled.model, config=replace(compiled.model.config, int8_activations=False))
    ours, theirs = Executor(compiled.graph, compiled.model, EXACT), Executor(build(floats.config), floats, PLAIN)
    for token in PROMPT:
        a, b = ours.step(token), theirs.step(token)
        assert np.abs(a - b).max() < 1e-5 * np.abs(b).max()


def test_it_is_another_program_with_other_tokens_counted(tmp_path: Path) -> None:
    plain = compile_model(random_model(SHAPES["gqa"]), recipe=read_recipe("i8"))
    for compiled, made in ((plain, 0), (decoded("i8"), 1)):
        folder = tmp_path / str(made)
        folder.mkdir()
        result, tokens = generate((compiled, compiled.build(folder)), PROMPT, max_tokens=3)
        assert result.reason == "exit" and len(tokens) == 3
        assert ("decoded" in compiled.summary()) == bool(made) != ("int8 activations, one scale per vector" in compiled.summary())


@pytest.mark.parametrize(("weights", "options", "said"), [
    ("t5", {}, "q in t5, which no unit decodes; expected weights in t2, i2, .*\nhint: t2 holds the same codes"),
    ("b1", {}, "q in b1, which no unit decodes"),
    ("t2", {"sparsity": "exact"}, "--ffn-sparsity: --activations f32 with integer weights")])
def test_what_no_unit_does_is_refused(weights: str, options: dict[str, object], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        decoded(weights, "relu2", **options)


@pytest.mark.parametrize(("weights", "options", "taken"), [
    ("i8", {}, True), ("t2", {}, True), ("c4", {}, True), ("t5", {}, False), ("b1", {}, False),
    ("i8", {"machine": "hpim"}, True), ("t2", {"machine": "hpim"}, False),
    ("t2", {"sparsity": "exact"}, False), ("mixed", {"sparsity": "exact"}, True)])
def test_fp32_activations_are_offered_where_they_would_be_taken(weights: str, options: dict[str, Any], taken: bool) -> None:
    model = random_model(SHAPES["relu2"])
    recipe = read_recipe(weights) if weights != "mixed" else Recipe(
        parse_format("i8:row"), None, {"layers.*.up": parse_format("f16"), "layers.*.down": parse_format("f16")})
    summary = compile_model(model, recipe=recipe, **options).summary()
    assert ("--activations f32" in summary) == taken and "integer weights use int8 activations" in summary
    with nullcontext() if taken else pytest.raises(ModelError, match="--activations f32"):
        compile_model(model, recipe=recipe, activations="f32", **options)


def test_floats_of_a_model_that_rounds_activations(tmp_path: Path) -> None:
    """Refused as it is, with a hint that leads out."""
    model = random_model(SHAPES["bitnet"], ternary=True)
    with pytest.raises(ModelError, match=r"f16 for int8 activations; .*\nhint: .*floats need --activations f32"):
        compile_model(model, recipe=read_recipe("f16"))
    compiled = compile_model(model, recipe=read_recipe("f16"), activations="f32")
    assert compare(compiled, compiled.build(tmp_path), PROMPT[:2])[1] is None


def test_int8_for_floats_is_refused_and_not_ignored() -> None:
    with pytest.raises(ModelError, match="--activations: i8 for floating-point weights; expected integer weights"):
        compile_model(random_model(BASE), activations="i8")
    assert "activations, one scale" not in compile_model(random_model(BASE), activations="f32").summary()
    assert "--activations" in Settings(activations="f32").given
    assert Settings(activations="f32").key() != Settings().key()


def test_codes_of_an_integer_format_are_laid_out_as_indices() -> None:
    """What lut.decode relies on."""
    rng = np.random.default_rng(0)
    for form, index in (("i2", "c2"), ("t2", "c2"), ("i3", "c3"), ("i4", "c4")):
        data = rng.integers(0, 256, (3, FORMATS[form].row_bytes(24)), np.uint8)
        values = FORMATS[form].unpack(FORMATS[index].pack([range(1 << int(FORMATS[form].bits))]), 1 << int(FORMATS[form].bits))[0]
        assert (FORMATS[form].unpack(data, 24) == values[FORMATS[index].unpack(data, 24)]).all()
