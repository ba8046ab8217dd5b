"""Neurons that are predicted, and fetched as objects: equal to the graph, and to the dense layers with other neurons at zero."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compiled_models import small_machine
from random_models import BASE, LINEARS, SHAPES, random_model

from compiler.checking.verify import compare
from compiler.compile import Calibrated, compile_model
from compiler.compiled import Compiled
from compiler.errors import ModelError
from compiler.formats.recipe import read_recipe
from compiler.graph import EXACT, Executor, Op, graph_of
from compiler.model.model import Model
from compiler.passes.calibrate import FoundTensor
from compiler.passes.predict import FORMATS, fit, thresholds
from compiler.placing.objects import MOST, ONE, POWER, slot_of
from compiler.running.parameters import set_parameters
from compiler.settings import Settings
from emulator.machine import Machine
from emulator.observe.hazards import HazardCheck
from isa import arithmetic
from isa.reference import ReferenceMachine
from isa.services import Host

PROMPT = [1, 5, 7, 7, 60, 3, 8]
TEXT = [int(token) for token in np.random.default_rng(3).integers(3, 61, 60)]
MODELS = {**{name: SHAPES[name] for name in ("plain", "gelu", "relu2", "opt", "bitnet")},
          "biases": replace(BASE, activation="relu", biases=LINEARS), "hidden_33": replace(BASE, activation="silu", hidden=33)}


def predicted(shape: str, weights: str = "", machine: str = "slim", *, share: float = 0.5, form: str = "i8",
              sequences: int | None = None, in_page: str = POWER) -> Compiled:
    return compile_model(random_model(MODELS[shape], ternary=shape == "bitnet"), machine=machine, sequences=sequences,
                         sparsity=Calibrated(share, TEXT, predictor=form, in_page=in_page),
                         recipe=read_recipe(weights) if weights else None)


@pytest.mark.parametrize("machine", ["slim", "small"])
@pytest.mark.parametrize("weights", ["", "f16", "t2", "t5:row", "i8", "c4"])
@pytest.mark.parametrize("shape", MODELS)
def test_every_operation_equals_the_graph_and_waits_are_enough(shape: str, weights: str, machine: str, tmp_path: Path) -> None:
    if shape == "bitnet" and weights == "f16":
        return
    compiled = predicted(shape, weights, small_machine(20480) if machine == "small" else machine)
    program = compiled.build(tmp_path)
    compared, difference = compare(compiled, program, PROMPT)
    assert difference is None, str(difference)
    assert compared > 300 and any("objects" in op.kind for op in compiled.graph.layer)
    runner = Machine(compiled.machine, Host(PROMPT[:2]))
    runner.load(program)
    runner.tensor("max_tokens", "i32[2]")[:] = 2, 0
    check = HazardCheck(runner)
    assert runner.run().reason == "exit" and check.hazards == []


@pytest.mark.parametrize(("weights", "machine"), [
    *((weights, "slim") for weights in ("b1", "i2", "i3", "i4", "c2", "c3", "c4:fit", "t2:row", "bf16", "c4:nf4:16", "i4:16")),
    *((weights, "small") for weights in ("b1", "i3", "c3", "c4:nf4:16"))])
def test_all_other_formats(weights: str, machine: str, tmp_path: Path) -> None:
    """With a scale for a group of columns `down` needs one for each row: its columns are cut into neurons."""
    recipe = weights
    if weights.endswith(":16"):
        recipe = str(tmp_path / "recipe.toml")
        Path(recipe).write_text(f'weights = "{weights}"\n[roles]\n"layers.*.down" = "{weights.replace("16", "80")}"\n')
    compiled = predicted("plain", recipe, small_machine(20480) if machine == "small" else machine)
    assert compare(compiled, compiled.build(tmp_path), PROMPT[:4])[1] is None


@pytest.mark.parametrize("weights", ["i8", "f32"])
@pytest.mark.parametrize("options", [{"chunk": 3}, {"sequences": 3}])
@pytest.mark.parametrize("machine", ["slim", "small"])
def test_chunks_and_several_sequences(weights: str, options: dict[str, int], machine: str, tmp_path: Path) -> None:
    compiled = compile_model(random_model(MODELS["biases"]), machine=small_machine(49152) if machine == "small" else machine,
                             sparsity=Calibrated(0.5, TEXT, predictor="i8"), recipe=read_recipe(weights), **options)
    assert compiled.memory.chunk > 1
    assert compare(compiled, compiled.build(tmp_path), PROMPT)[1] is None


@pytest.mark.parametrize("shape", ["plain", "relu2", "opt", "bitnet"])
def test_results_are_those_of_all_neurons_with_the_others_at_zero(shape: str) -> None:
    """Of integer weights bit by bit: here the layer is computed again with whole matrices, and a mask."""
    compiled = predicted(shape, "i8")
    c, model, checked = compiled.model.config, compiled.model, 0

    def look(layer: int | None, op: Op, results: tuple[Any, ...]) -> None:
        nonlocal checked
        if op.kind != "macT.i8.objects":
            return
        x = [executor.values[name] for name in first.inputs[:2]]

        def product(role: str, *of: Any) -> Any:
            whole = model.tensor(f"layers.{layer}.{role}")
            found = EXACT.gemv_codes(whole.codes(), *of)
            return found + model.tensor(f"layers.{layer}.{role}.bias").vector() if role in c.biases else found

        activation = {"silu": EXACT.silu, "relu": arithmetic.relu, "relu2": arithmetic.relu_squared}[c.activation]
        neurons = activation(product("gate", *x)) * product("up", *x) if c.gated else activation(product("up", *x))
        mask = np.zeros(c.hidden, bool)
        mask[executor.values["active"]] = True
        neurons = np.where(mask, neurons, np.float32(0))
        if c.sub_norms:
            neurons = EXACT.rmsnorm(neurons, model.tensor(f"layers.{layer}.ffn_sub_norm").vector(), np.float32(c.eps))
            neurons = np.where(mask, neurons, np.float32(0))
        expected = EXACT.gemv_codes(model.tensor(f"layers.{layer}.down").codes(), *arithmetic.quantise(neurons))
        assert (results[0].view(np.uint32) == expected.view(np.uint32)).all()
        checked += 1

    executor = Executor(compiled.graph, model, EXACT, observe=look)
    first = next(op for op in compiled.graph.layer if "gemv.i8.objects" in op.kind)
    for token in PROMPT:
        executor.step(token)
    assert checked == 2 * len(PROMPT)


# ------------------------------------------------------------------------------------------------ calibration


def test_the_fit_is_the_best_of_its_rank() -> None:
    """What is left is the tail of the singular values: no fit of this rank leaves less (Eckart and Young)."""
    random = np.random.default_rng(5)
    matrix, x = random.normal(size=(40, 16)).astype(np.float32), random.normal(size=(100, 16)).astype(np.float32)
    for tokens in (100, 20):                            # more than neurons, and less
        made = x[:tokens] @ matrix.T
        into, out = (tensor.source.rows() for tensor in fit(FoundTensor.of("w", matrix, Path()), made, "i8"))
        left = np.linalg.norm(made - x[:tokens] @ into.T @ out.T)
        assert left == pytest.approx(np.sqrt((np.linalg.svd(made)[1][4:] ** 2).sum()), rel=1e-5)
        assert (out[np.abs(out).argmax(0), range(4)] > 0).all()


def test_thresholds_are_ranks_of_the_calibration() -> None:
    values = np.random.default_rng(1).permutation(np.arange(100)).astype(np.float32)
    levels, table = thresholds(values.reshape(10, 10)).reshape(2, -1)
    assert levels.tolist() == [level / 16 for level in range(16)]
    assert table[1:].tolist() == [100 * level // 16 - 1 for level in range(1, 16)]          # the floor(6.25 i)-th smallest
    assert (values > table[0]).all() and [int((values > each).sum()) for each in table[1:]] == [
        100 - 100 * level // 16 for level in range(1, 16)]


def test_the_level_is_read_at_each_token_and_zero_keeps_all(tmp_path: Path) -> None:
    compiled = predicted("plain", "i8", share=0.5)
    program, shares = compiled.build(tmp_path), []
    for wanted in (None, 0.0, 0.25, 0.75, 0.95):
        runner = Machine("slim", Host(TEXT[:39]))
        runner.load(program)
        set_parameters(runner, sparsity=wanted, max_tokens=1)
        runner.run()
        shares.append(1 - runner.counters["thr.passes"] / 39 / 2 / 80)
        assert runner.counters["fetch.rows_left"] == 39 * 2 * 80 - runner.counters["thr.passes"]
    for share, wanted in zip(shares, (0.5, 0.0, 0.25, 0.75, 15 / 16), strict=True):
        assert share == pytest.approx(wanted, abs=0.05)
    assert shares[1] == 0.0


def test_the_level_can_change_while_the_program_runs(tmp_path: Path) -> None:
    compiled, passes = predicted("plain", "i8", share=0.9375), list[int]()

    def emit(_: int) -> None:
        passes.append(runner.counters["thr.passes"])
        runner.tensor("ffn_sparsity", "f32[1]")[:] = 0.0 if len(passes) == 3 else 0.9375

    runner = Machine("slim", Host(PROMPT[:1], emit=emit))
    runner.load(compiled.build(tmp_path))
    set_parameters(runner, max_tokens=6)
    assert runner.run().reason == "exit"
    active = np.diff(passes).tolist()
    assert active[2] == 2 * 80 and max(active[:2] + active[3:]) < 80


def test_formats_of_predictors(tmp_path: Path) -> None:
    sizes = []
    for form in FORMATS:
        compiled = predicted("relu2", form=form)
        sizes.append(sum(compiled.layout.layer[role].rows * compiled.layout.layer[role].row_bytes
                         for role in ("predict_in", "predict_out")))
        (folder := tmp_path / form).mkdir()
        assert compare(compiled, compiled.build(folder), PROMPT[:3])[1] is None
    assert sizes == [12 * 48 + 80 * 12, 12 * 24 + 80 * 6, 12 * 12 + 80 * 3]
    with pytest.raises(ModelError, match="--predictor: 'f16'; expected i8, i4 or t2"):
        predicted("relu2", form="f16")


# ------------------------------------------------------------------------------------------------ objects


@pytest.mark.parametrize(("size", "page", "power", "most", "one"), [
    (24, 64, (32, 2), (32, 2), (64, 1)), (64, 64, (64, 1), (64, 1), (64, 1)), (1, 64, (1, 64), (1, 64), (64, 1)),
    (12288, 4096, (12288, 1), (12288, 1), (12288, 1)), (12288, 16384, (16384, 1), (16384, 1), (16384, 1)),
    (6144, 16384, (8192, 2), (8192, 2), (16384, 1)), (192, 4096, (256, 16), (192, 21), (4096, 1)),
    (12300, 4096, (16384, 1), (16384, 1), (16384, 1)), (13, 4096, (16, 256), (13, 315), (4096, 1))])
def test_objects_do_not_cross_pages_unless_they_are_larger(size: int, page: int, power: tuple[int, int], most: tuple[int, int],
                                                           one: tuple[int, int]) -> None:
    assert (slot_of(size, page), slot_of(size, page, MOST), slot_of(size, page, ONE)) == (power, most, one)


@pytest.mark.parametrize(("in_page", "together"), [(POWER, 16), (MOST, 28), (ONE, 1)])
def test_how_many_objects_share_a_page(in_page: str, together: int, tmp_path: Path) -> None:
    """Objects of 144 bytes. However they lie, what is computed is what the graph says, and pages are those of the list."""
    for machine, sequences in (("slim", None), (small_machine(20480), None), ("slim-nsp", 2)):
        compiled = predicted("plain", "i8", machine, in_page=in_page, sequences=sequences)
        (folder := tmp_path / compiled.machine.name).mkdir()
        program = compiled.build(folder)
        assert compare(compiled, program, PROMPT[:3])[1] is None
        if not sequences:
            check = HazardCheck(runner := Machine(compiled.machine, Host(PROMPT[:2])))
            runner.load(program)
            set_parameters(runner, max_tokens=1)
            assert runner.run().reason == "exit" and check.hazards == []
    check_pages(predicted("plain", "i8", in_page=in_page), together, tmp_path)


def test_the_file_has_each_neuron_side_by_side(tmp_path: Path) -> None:
    compiled = predicted("hidden_33", "i8")
    program, model = compiled.build(tmp_path), compiled.model
    data = next(section for section in program.sections if section.name == ".flash.objects").bytes()
    neuron = compiled.target.objects(compiled.layout).bodies[0]
    assert (neuron.size, neuron.slot_bytes, neuron.layer_bytes, len(data)) == (144, 256, 12288, 2 * 12288)
    for layer, number in ((0, 0), (0, 32), (1, 17)):
        at = layer * neuron.layer_bytes + number * 256
        gate, up, down = (model.tensor(f"layers.{layer}.{role}").codes().values for role in ("gate", "up", "down"))
        expected = np.concatenate([gate[number], up[number], down[:, number]])
        assert np.frombuffer(data[at:at + 144], np.int8).tolist() == expected.tolist() and not any(data[at + 144:at + 256])


def check_pages(compiled: Compiled, together: int, folder: Path) -> None:
    """A run reads the pages of the objects on the list, and counts those that are not."""
    seen: list[Any] = []
    executor = Executor(compiled.graph, compiled.model, EXACT,
                        observe=lambda layer, op, results: seen.append(results[0]) if op.kind.startswith("active") else None)
    for token in PROMPT[:3]:
        executor.step(token)
    runner = Machine("slim", Host(PROMPT[:3]))
    runner.load(compiled.build(folder))
    set_parameters(runner, max_tokens=1)
    runner.run()
    assert runner.counters["fetch.pages"] == sum(len(set((found // together).tolist())) for found in seen)
    assert runner.counters["flash.bytes_read"] == 144 * sum(map(len, seen))
    assert runner.counters["fetch.rows_left"] == sum(80 - len(found) for found in seen)


@pytest.mark.parametrize("machine", ["slim-nsp", "slim-nsp-tlc"])
def test_on_the_machine_of_slim_both_engines_agree_in_counters_and_time(machine: str, tmp_path: Path) -> None:
    compiled = predicted("plain", "i8", machine)
    program = compiled.build(tmp_path)
    assert compare(compiled, program, PROMPT)[1] is None
    runners = [engine(compiled.machine, Host(PROMPT[:3])) for engine in (Machine, ReferenceMachine)]
    for runner in runners:
        runner.load(program)
        set_parameters(runner, max_tokens=2)
        assert runner.run().reason == "exit"
    fast, reference = runners
    assert fast.counters == reference.counters and fast.time == reference.time
    assert fast.time is not None and fast.time.regions["flash"] >= 2 * 3 * compiled.machine.memory("flash").read_ps // 1000


def test_the_summary_says_the_share_of_the_predictor() -> None:
    said = predicted("plain", "i8").summary()
    share = 100 * (12 * 48 + 80 * 12) / (4 * 48 * 48 + 3 * 48 * 80)
    assert f"predictor of each layer: i8, 12 wide, 1,536 bytes, {share:.1f} % of what its matrices have" in said
    assert "objects of each layer: 144 bytes a neuron, 16 in a page of 4,096 bytes" in said
    assert "flash" in said and "objects of 80 neurons of each layer" in said


# ------------------------------------------------------------------------------------------------ what has no meaning


@pytest.mark.parametrize(("settings", "message"), [
    (Settings(sparsity="exact", predictor="i8"), "--predict: --ffn-sparsity exact; expected --ffn-sparsity with a number"),
    (Settings(predictor="i8"), "--predict: no --ffn-sparsity; expected --ffn-sparsity with a number"),
    (Settings(in_page="most"), "--in-page: no --predict; expected --predict"),
    (Settings(sparsity=0.5, predictor="i8", in_page="two"), "--in-page: 'two'; expected power, most or one")])
def test_settings_that_do_not_go_together(settings: Settings, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        settings.check()


def after_the_activation(*kinds: str) -> Model:
    """A model whose neurons go through more operations: as a user may change a graph."""
    model = random_model(MODELS["plain"])
    graph = graph_of(model)
    ops = graph.layer
    at = next(number for number, op in enumerate(ops) if op.kind == "mul")
    for kind in kinds:
        weights = {"layernorm": ("layer.ones",), "bias": ("layer.ones",)}.get(kind, ())
        inputs = ("neurons", "neurons") if kind == "add" else ("neurons",)
        attributes = {"layernorm": {"eps": 1e-5}, "scale": {"factor": 0.5}}.get(kind, {})
        ops.insert(at + 1, Op(kind, ("neurons",), inputs, weights, attributes))
    hidden = model.config.hidden
    graph.weights["layer.ones"] = (hidden,)
    ones = {f"layers.{layer}.ones": FoundTensor.of("ones", np.ones(hidden, np.float32), Path()) for layer in range(2)}
    return replace(model, graph=graph, tensors={**model.tensors, **ones})


def test_operations_that_give_zeros_another_value_are_refused(tmp_path: Path) -> None:
    """A layernorm takes the mean away from neurons that are zero, a bias adds to them; a factor leaves them."""
    for kind in ("layernorm", "bias", "add"):
        with pytest.raises(ModelError, match=f"--predict: {kind} neurons.* on values of neurons; expected silu, "):
            compile_model(after_the_activation(kind), sparsity=Calibrated(0.5, TEXT, predictor="i8"))
    compiled = compile_model(after_the_activation("scale"), sparsity=Calibrated(0.5, TEXT, predictor="i8"))
    assert compare(compiled, compiled.build(tmp_path), PROMPT[:3])[1] is None


@pytest.mark.parametrize(("options", "message"), [
    ({"machine": "hpim"}, "--ffn-sparsity: a machine that computes products in banks"),
    ({"activations": "f32", "recipe": "i8"}, "--predict: --activations f32 with integer weights"),
    ({"recipe": "i8:16"}, "--predict: down in i8:16; expected one scale for the matrix or for a row"),
    ({"recipe": "c4:nf4:16"}, "--predict: down in c4.*:16; expected one scale for the matrix or for a row"),
    *(({"recipe": f"bp{bits}"}, f"--predict: gate in bp{bits}.*; expected a format that lut.gemv multip") for bits in (2, 3, 4)),
    ({"tokens": TEXT[:15]}, "--calibrate: a text of 15 tokens; expected at least 16"),
    ({"machine": small_machine(12288, "lut")}, "no lut unit; expected one"),
    ({"machine": small_machine(12288, "thr")}, "no thr unit; expected one")])
def test_what_cannot_be_predicted_is_refused(options: dict[str, Any], message: str) -> None:
    recipe = read_recipe(options.pop("recipe")) if "recipe" in options else None
    with pytest.raises(ModelError, match=message):
        compile_model(random_model(BASE), sparsity=Calibrated(0.5, options.pop("tokens", TEXT), predictor="i8"), recipe=recipe,
                      **options)
