"""Feed-forward layers that leave neurons alone: equal to the dense ones, and less is fetched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from compiled_models import small_machine
from random_models import BASE, LINEARS, SHAPES, random_model

from compiler.checking.verify import compare
from compiler.compile import Calibrated, compile_model
from compiler.compiled import Compiled
from compiler.errors import ModelError
from compiler.formats.recipe import Recipe, parse_format, read_recipe
from compiler.graph import EXACT, Executor
from emulator.machine import Machine
from emulator.observe.hazards import HazardCheck
from isa.services import Host

PROMPT = [1, 5, 7, 7, 60, 3, 8]
SPARSE = {**{name: SHAPES[name] for name in ("relu", "relu2", "opt", "opt_350m", "bitnet")},
          "biases": replace(BASE, activation="relu", biases=LINEARS), "hidden_33": replace(BASE, activation="relu2", hidden=33)}


def sparse(shape: str, weights: str, machine: str = "slim") -> Compiled:
    return compile_model(random_model(SPARSE[shape], ternary=shape == "bitnet"), machine=machine, sparsity="exact",
                         recipe=read_recipe(weights) if weights else None)


@pytest.mark.parametrize("machine", ["slim", "small"])
@pytest.mark.parametrize("weights", ["", "f16", "t2", "t5:row", "i4", "c4", "c3:tensor"])
@pytest.mark.parametrize("shape", SPARSE)
def test_every_operation_equals_the_graph_and_waits_are_enough(shape: str, weights: str, machine: str, tmp_path: Path) -> None:
    if shape == "bitnet" and weights == "f16":
        with pytest.raises(ModelError, match=r"f16 for int8 activations; expected integer weights"):
            sparse(shape, weights)
        return
    compiled = sparse(shape, weights, small_machine() if machine == "small" else machine)
    program = compiled.build(tmp_path)
    compared, difference = compare(compiled, program, PROMPT)
    assert difference is None, str(difference)
    sparse_ops = [op.kind for op in compiled.graph.layer if op.kind.endswith("active")]
    assert compared > 300 and len(sparse_ops) == (3 if compiled.model.config.gated else 2)
    runner = Machine(compiled.machine, Host(PROMPT[:2]))
    runner.load(program)
    runner.tensor("max_tokens", "i32[2]")[:] = 2, 0
    check = HazardCheck(runner)
    assert runner.run().reason == "exit" and check.hazards == []


@pytest.mark.parametrize("shape", SPARSE)
@pytest.mark.parametrize("weights", ["t2", "i8", "i4:tensor"])
def test_with_codes_the_logits_are_the_dense_ones_bit_by_bit(shape: str, weights: str) -> None:
    thin = sparse(shape, weights)
    dense = compile_model(thin.model, recipe=Recipe())
    executors = [Executor(each.graph, each.model, EXACT) for each in (thin, dense)]
    for token in PROMPT:
        a, b = (executor.step(token) for executor in executors)
        assert (a.view(np.uint32) == b.view(np.uint32)).all()


def test_with_floats_they_are_near() -> None:
    thin = sparse("relu", "")
    dense = compile_model(thin.model)
    executors = [Executor(each.graph, each.model, EXACT) for each in (thin, dense)]
    for token in PROMPT:
        a, b = (executor.step(token) for executor in executors)
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_what_is_left_alone_is_what_is_not_active(tmp_path: Path) -> None:
    """Rows of up and columns of down: of 2 layers and each token, twice the neurons that are not on the list."""
    compiled = sparse("relu", "i8")
    seen = []
    executor = Executor(compiled.graph, compiled.model, EXACT,
                        observe=lambda layer, op, results: seen.append(len(results[0])) if op.kind == "active" else None)
    for token in PROMPT[:3]:
        executor.step(token)
    assert len(seen) == 6 and 0 < sum(seen) < 6 * 80
    runner = Machine(compiled.machine, Host(PROMPT[:3]))
    runner.load(compiled.build(tmp_path))
    runner.tensor("max_tokens", "i32[2]")[:] = 1, 0
    runner.run()
    left = 6 * 80 - sum(seen)
    assert runner.counters["fetch.rows_left"] == 2 * left
    assert runner.counters["fetch.bytes_left"] == 48 * 2 * left
    assert (runner.counters["thr.compares"], runner.counters["thr.passes"]) == (6 * 80, sum(seen))


def test_layers_without_an_active_neuron(tmp_path: Path) -> None:
    """A bias that no product reaches: everything is zero, and the layer adds nothing."""
    model = random_model(replace(BASE, activation="relu", biases=frozenset(("gate",))))
    tensors = {role: replace(tensor, values=np.full(tensor.shape, -1000, np.float32)) if role.endswith("gate.bias") else tensor
               for role, tensor in model.tensors.items()}
    for weights in (None, Recipe(parse_format("t2"), parse_format("i8"))):
        compiled = compile_model(replace(model, tensors=tensors), sparsity="exact", recipe=weights)
        program = compiled.build(tmp_path)
        assert compare(compiled, program, PROMPT[:3])[1] is None
        runner = Machine("slim", Host(PROMPT[:3]))
        runner.load(program)
        runner.run()
        assert runner.counters["thr.passes"] == 0


def test_activations_that_are_never_zero_are_refused() -> None:
    with pytest.raises(ModelError, match=r"--ffn-sparsity: a model with silu, whose neurons are never zero; expected"):
        compile_model(random_model(BASE), sparsity="exact")


def test_sums_over_neurons_have_no_groups() -> None:
    with pytest.raises(ModelError, match="down in i8:16; expected one scale for the matrix or for a row"):
        sparse("relu", "i8:16")


# ------------------------------------------------------------------------------------------------ thresholds

TEXT = [int(token) for token in np.random.default_rng(3).integers(3, 61, 60)]


@pytest.mark.parametrize("machine", ["slim", "small"])
@pytest.mark.parametrize("weights", ["", "t2"])
@pytest.mark.parametrize("shape", ["plain", "gelu", "relu2", "biases"])
def test_with_thresholds_every_operation_equals_the_graph(shape: str, weights: str, machine: str, tmp_path: Path) -> None:
    compiled = compile_model(random_model(SPARSE.get(shape, SHAPES[shape])), sparsity=Calibrated(0.6, TEXT),
                             machine=small_machine(16384) if machine == "small" else machine,
                             recipe=read_recipe(weights) if weights else None)
    program = compiled.build(tmp_path)
    assert compare(compiled, program, PROMPT)[1] is None
    runner = Machine(compiled.machine, Host(PROMPT[:2]))
    runner.load(program)
    runner.tensor("max_tokens", "i32[2]")[:] = 2, 0
    check = HazardCheck(runner)
    assert runner.run().reason == "exit" and check.hazards == []


def test_the_wanted_share_is_left_alone_and_the_running_program_can_change_it(tmp_path: Path) -> None:
    compiled = compile_model(random_model(BASE), sparsity=Calibrated(0.5, TEXT))
    program = compiled.build(tmp_path)
    shares = []
    for wanted in (None, 0.0, 0.2, 0.9):
        runner = Machine("slim", Host(TEXT[:39]))
        runner.load(program)
        if wanted is not None:
            runner.tensor("ffn_sparsity", "f32[1]")[0] = wanted
        runner.run()
        shares.append(1 - runner.counters["thr.passes"] / 39 / 2 / 80)
    for share, wanted in zip(shares, (0.5, 0.0, 0.2, 0.9), strict=True):
        assert share == pytest.approx(wanted, abs=0.04)


def test_too_short_a_text() -> None:
    with pytest.raises(ModelError, match="--calibrate: a text of 3 tokens; expected at least 16"):
        compile_model(random_model(BASE), sparsity=Calibrated(0.5, [1, 2, 3]))
