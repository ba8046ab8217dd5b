"""--prune: which weights go, against a statement of each method; what layers are pruned on; FLOW's choice; the programs."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_checkpoint
from random_models import SHAPES, random_model

from compiler.checking.verify import compare
from compiler.compile import compile_model
from compiler.errors import ModelError
from compiler.formats.recipe import read_recipe
from compiler.graph import Executor, build, role_of
from compiler.measuring.shapes import with_random_weights
from compiler.model.model import LINEARS, Model
from compiler.passes.flow import DENSE, PAIRS, Outliers, choose, outliers
from compiler.passes.layer_by_layer import LayerByLayer
from compiler.passes.prune import PrunedTensor, parse_prune, prune
from compiler.passes.quantise import quantise
from slimulator import invoke

RNG = np.random.default_rng(8)
TOKENS = [1, 5, 7, 7, 60, 3, 8, 9, 10, 2, 31, 44, 6, 6, 5, 50, 12, 13, 1, 4]


def wanda(weight: np.ndarray, norms: np.ndarray, share: float) -> np.ndarray:
    """Per output row, the share of least |W| * ||X|| is set to zero; a stable sort. Source: locuslab/wanda, lib/prune.py."""
    metric, result = np.abs(weight) * norms, weight.copy()
    for row, order in enumerate(np.argsort(metric, axis=1, kind="stable")[:, :int(weight.shape[1] * share)]):
        result[row, order] = 0
    return result


def n_of_m(weight: np.ndarray, norms: np.ndarray, keep: int, group: int) -> np.ndarray:
    """Of each group in a row the keep largest stay; of a last group that is short as many."""
    metric, result = np.abs(weight) * norms, weight.copy()
    for row in range(len(weight)):
        for start in range(0, weight.shape[1], group):
            part = metric[row, start:start + group]
            for at in np.argsort(part, kind="stable")[:max(0, len(part) - keep)]:
                result[row, start + at] = 0
    return result


def pruned_alone(weight: np.ndarray, norms: np.ndarray | None, text: str) -> np.ndarray:
    model = with_random_weights(Path("x"), replace(SHAPES["plain"], dim=weight.shape[1]), ternary=False)
    source = model.tensor("layers.0.q")

    class Given(type(source)):          # type: ignore[misc]
        def _rows(self, first: int, last: int) -> Any:
            return weight[first:last]

    given = Given("w", weight.shape, source.format)
    return PrunedTensor("w", weight.shape, source.format, source=given, pattern=parse_prune(text).pattern, norms=norms).rows()


@pytest.mark.parametrize("cols", [1, 3, 16, 30, 37])
@pytest.mark.parametrize("equal", [False, True])
def test_which_weights_go(cols: int, equal: bool) -> None:
    weight = RNG.standard_normal((11, cols)).astype(np.float32)
    if equal:
        weight = np.sign(weight) * RNG.integers(1, 3, weight.shape).astype(np.float32)
    norms = RNG.integers(1, 4, cols).astype(np.float32) if equal else RNG.uniform(0.1, 2, cols).astype(np.float32)
    ones = np.ones(cols, np.float32)
    for share in (0.0, 0.3, 0.5, 0.99):
        assert np.array_equal(pruned_alone(weight, norms, f"wanda:{share}"), wanda(weight, norms, share))
        assert np.array_equal(pruned_alone(weight, None, f"magnitude:{share}"), wanda(weight, ones, share))
    for keep, group in ((2, 4), (4, 8), (1, 4), (3, 5), (16, 16), (1, 16)):
        assert np.array_equal(pruned_alone(weight, norms, f"wanda:{keep}:{group}"), n_of_m(weight, norms, keep, group))


# ------------------------------------------------------------------------------------------------ what it is pruned on


def observed(model: Model) -> dict[str, np.ndarray]:
    """The norm of the inputs of each matrix over TOKENS, token by token, by the graph executor."""
    squares: dict[str, Any] = {}

    def look(layer: int | None, op: Any, results: Any) -> None:
        if op.kind.startswith("gemv") and layer is not None:
            x = executor.values[op.inputs[0]] * (executor.values[op.inputs[1]] if len(op.inputs) > 1 else 1)
            role = role_of(op.weights[0], layer)
            squares[role] = squares.get(role, 0) + np.square(x.astype(np.float64))

    executor = Executor(build(model.config), model, observe=look)
    for at, token in enumerate(TOKENS):
        if at % model.config.context == 0:
            executor.restart()
        executor.step(token)
    return {role: np.sqrt(total / len(TOKENS)) for role, total in squares.items()}


@pytest.mark.parametrize("shape", ["gqa", "opt_350m", "biases", "window", "relu2", "bitnet"])
@pytest.mark.parametrize("context", [8, 64])
def test_inputs_of_layers(shape: str, context: int) -> None:
    """The same as token by token; also if the text is longer than the context."""
    model = random_model(replace(SHAPES[shape], context=context), ternary=shape == "bitnet")
    expected, run = observed(model), LayerByLayer(model, TOKENS)
    found = {}
    for layer in range(model.config.layers):
        found |= {f"layers.{layer}.{role}": np.sqrt(square) for role, square in run.inputs(layer).items()}
        run.advance(layer, model)
    assert found.keys() == expected.keys()
    for role, norms in expected.items():
        assert np.allclose(found[role], norms, rtol=1e-4, atol=1e-5 * norms.max()), role


@pytest.mark.parametrize("shape", ["gqa", "bitnet"])
def test_layers_are_pruned_one_after_the_other(shape: str) -> None:
    """A layer's norms are those behind pruned layers, in front of its own pruning."""
    model = random_model(SHAPES[shape], ternary=shape == "bitnet")
    pruned = prune(model, parse_prune("wanda:2:4"), TOKENS)
    for layer in range(model.config.layers):
        tensors = {role: model.tensors[role] if role.startswith(f"layers.{layer}.") else tensor
                   for role, tensor in pruned.tensors.items()}
        norms = observed(replace(model, tensors=tensors))
        for kind in LINEARS:
            if (role := f"layers.{layer}.{kind}") in model.tensors:
                dense, sparse = model.tensor(role), pruned.tensor(role)
                expected = n_of_m(dense.rows(), norms[role], 2, 4)
                other = np.argwhere(sparse.rows() != expected)
                assert len(other) <= 4, role                    # of two metrics that differ in the last place
                assert sparse.stored == dense.stored
                if dense.format.has_codes:
                    assert np.array_equal(sparse.codes().scales, dense.codes().scales)
                    assert np.array_equal(sparse.codes(1, 3).floats(), sparse.rows(1, 3))
    assert pruned.pruned[0] == f"pruned by wanda:2:4 on {len(TOKENS)} tokens"
    if shape == "gqa":
        assert pruned.pruned[1].startswith("density: q 0.500, k 0.500, v 0.500, o 0.500")


def test_embedding_head_and_norms_stay() -> None:
    model = random_model(SHAPES["gqa"])
    pruned = prune(model, parse_prune("magnitude:0.5"))
    changed = {role for role in model.tensors if pruned.tensors[role] is not model.tensors[role]}
    assert changed == {f"layers.{layer}.{role}" for layer in range(model.config.layers) for role in LINEARS}


# ------------------------------------------------------------------------------------------------ FLOW


def test_outliers() -> None:
    """Against the definition: every pair of the first 10,000 outliers of all matrices, one behind the other."""
    model = random_model(SHAPES["gqa"])
    norms = {role: RNG.uniform(0.1, 2, model.tensor(f"layers.1.{role}").shape[1]).astype(np.float32) for role in ("q", "gate")}
    found = outliers([(model.tensor(f"layers.1.{role}"), norm) for role, norm in norms.items()])
    metric = np.concatenate([(np.abs(model.tensor(f"layers.1.{role}").rows()) * norm).reshape(-1) for role, norm in norms.items()])
    places = np.flatnonzero(metric > 0.5 * metric.mean())
    assert found.ratio == pytest.approx(100 * len(places) / metric.size)
    first = places[:10_000].astype(float)
    distances = np.abs(first[:, None] - first[None, :])
    assert found.locality == pytest.approx(1 / (distances.sum() / (len(first) * (len(first) - 1))), rel=1e-9)


@pytest.mark.parametrize("layers", [3, 4, 5, 6])
def test_choice_is_the_best_of_all(layers: int) -> None:
    """Against every combination. The scales of outliers and their places do not count, only their order between layers."""
    found = [Outliers(*RNG.uniform(0, 50, 2)) for _ in range(layers)]
    scaled = [[(value - min(column)) / (max(column) - min(column)) for value in column]
              for column in ([each.ratio for each in found], [each.locality for each in found])]
    for target in (0.0, 0.25, 0.5, 0.6, 0.7, 0.75):
        pairs, mean = choose(found, target)
        assert pairs[0] == pairs[-1] == DENSE
        assert mean == pytest.approx(np.mean([(m - n) / m for n, m in pairs[1:-1]]))
        costs = {}
        for combination in itertools.product(PAIRS, repeat=layers - 2):
            reached = np.mean([(m - n) / m for n, m in combination])
            cost = sum(abs(n - 8 * o) + 4 * abs(m - 8 * (1 - d)) for (n, m), o, d in
                       zip(combination, scaled[0][1:-1], scaled[1][1:-1], strict=True))
            costs[combination] = (round(abs(reached - target), 9), round(cost, 9))
        nearest = min(distance for distance, _ in costs.values())
        assert abs(mean - target) == pytest.approx(nearest)
        assert costs[tuple(pairs[1:-1])][1] == min(cost for combination, (distance, cost) in costs.items()
                                                   if np.mean([(m - n) / m for n, m in combination]) == pytest.approx(mean))


def test_flow() -> None:
    """First and last layer dense, the others in the patterns that it says, and the mean that was reached."""
    model = random_model(replace(SHAPES["gqa"], layers=5))
    pruned = prune(model, parse_prune("flow:0.6"), TOKENS)
    _, by_layer, mean, density = pruned.pruned
    pairs = [tuple(map(int, pair.split(":"))) for pair in by_layer.removeprefix("N:M by layer: ").split(", ")]
    assert len(pairs) == 5 and pairs[0] == pairs[-1] == (8, 8) and mean.startswith("mean sparsity of layers 1 to 3: 0.58")
    assert mean.endswith(", the nearest to 0.6") and density.startswith("density: q 0.6")
    for layer, (keep, group) in enumerate(pairs):
        for role in LINEARS:
            rows = pruned.tensor(f"layers.{layer}.{role}").rows()
            groups = np.pad(rows, ((0, 0), (0, -rows.shape[1] % group))).reshape(len(rows), -1, group)
            assert (np.count_nonzero(groups, axis=2) <= keep).all()
            assert keep == group or np.count_nonzero(rows) < rows.size * (keep + 1) / group
    with pytest.raises(ModelError, match=r"--prune: flow:0.6 for 2 layers; expected 3 or more: .*\nhint: --prune wanda:2:4"):
        prune(random_model(replace(SHAPES["gqa"], layers=2)), parse_prune("flow:0.6"), TOKENS)


def test_equal_layers() -> None:
    """Nothing tells them apart: all get what costs least at no outliers, which are far from each other."""
    assert choose([Outliers(3.0, 0.1)] * 4, 0.5) == ([DENSE, (4, 8), (4, 8), DENSE], 0.5)


# ------------------------------------------------------------------------------------------------ programs and commands


@pytest.mark.parametrize(("text", "weights"), [
    ("wanda:2:4", ""), ("magnitude:0.5", "i8"), ("flow:0.5", "t2"), ("wanda:0.4", "i4:16")])
def test_programs(text: str, weights: str, tmp_path: Path) -> None:
    model = prune(random_model(replace(SHAPES["gqa"], layers=3)), parse_prune(text), TOKENS)
    compiled = compile_model(model, recipe=read_recipe(weights) if weights else None)
    assert compare(compiled, compiled.build(tmp_path), TOKENS[:3])[1] is None
    assert f"pruned by {text}" in compiled.summary() and "density: q 0." in compiled.summary()


def test_zeros_stay_when_it_is_quantised() -> None:
    model = prune(random_model(SHAPES["gqa"]), parse_prune("wanda:2:4"), TOKENS)
    quantised, _ = quantise(model, read_recipe("i8"))
    rows, codes = model.tensor("layers.1.up").rows(), quantised.tensor("layers.1.up").codes().values
    assert not codes[rows == 0].any() and np.count_nonzero(rows) == rows.size / 2


@pytest.mark.parametrize(("text", "message"), [
    ("wandd:0.5", r"--prune: no method 'wandd'; expected magnitude, wanda or flow, as in .*\nhint: did you mean 'wanda'"),
    ("wanda", r"'wanda'; expected a share from 0 to below 1, such as wanda:0.5, or N:M with N <= M <= 16"),
    ("wanda:1", r"'wanda:1'; expected a share"), ("wanda:-0.5", "expected a share"), ("wanda:4:2", "expected a share"),
    ("wanda:2:32", r"N <= M <= 16"), ("wanda:0:4", "expected a share"), ("flow:2:4", r"'flow:2:4'; expected a share from 0"),
    ("wanda:0.5+lowrank", r"'\+lowrank'; expected a repair with a rank: wanda:0.5\+lowrank:8"),
    ("wanda:0.5+", "a repair with a rank"),
    ("wanda:0.5+lowrank:0", "a repair with a rank"), ("wanda:0.5+rank:8", "a repair with a rank"),
    ("flow:0.5+lowrank:8", r"expected flow alone: .*\nhint: --prune wanda:2:4\+lowrank:8"),
    ("wanda:2:4@", r"'wanda:2:4@'; expected @between behind magnitude or wanda, and no repair\nhint: it leaves the first"),
    ("flow:0.5@between", "hint: flow leaves the first and the last layer dense anyway"),
    ("wanda:2:4@between+lowrank:8", "hint: a repair is for all layers"), ("wanda:2:4+lowrank:8@between",
     r"'wanda:2:4\+lowrank:8@between'; expected @between behind magnitude or wanda, and no repair\nhint: a repair is for all"),
    ("flow:0.5+lowrank:8@between", "hint: flow leaves the first and the last layer dense anyway"),
    ("magnitude:x", "expected a share"), ("wanda:nan", "expected a share"), ("wanda:2:4:8", "expected a share"),
])
def test_bad_methods(text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        parse_prune(text)


def test_between() -> None:
    """The first and the last layer stay as they are; the others are pruned on inputs from layers as they are now."""
    model = random_model(replace(SHAPES["gqa"], layers=4))
    for text in ("magnitude:0.5@between", "wanda:2:4@between"):
        method = parse_prune(text)
        assert str(method) == text
        pruned = prune(model, method, TOKENS)
        assert pruned.pruned[0].startswith(f"pruned by {text}")
        kept = [{isinstance(pruned.tensor(f"layers.{layer}.{role}"), PrunedTensor) for role in LINEARS
                 if f"layers.{layer}.{role}" in pruned.tensors} for layer in range(4)]
        assert kept == [{False}, {True}, {True}, {False}]
    with pytest.raises(ModelError, match=r"wanda:0.5@between for 2 layers; expected 3 or more: the first and the last stay dense"):
        prune(random_model(replace(SHAPES["gqa"], layers=2)), parse_prune("wanda:0.5@between"), TOKENS)


def test_a_short_text() -> None:
    with pytest.raises(ModelError, match=r"--calibrate: a text of 3 tokens; expected at least 16"):
        prune(random_model(SHAPES["gqa"]), parse_prune("wanda:0.5"), TOKENS[:3])


@pytest.fixture
def checkpoint(tmp_path: Path) -> tuple[str, str]:
    text = tmp_path / "text.txt"
    text.write_text("once upon a time there was a little cat. " * 4)
    return str(tiny_checkpoint.write_checkpoint(tmp_path)), str(text)


def test_commands(checkpoint: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command that reads a model prunes it, and says so."""
    model, text = checkpoint
    flags = ["--prune", "wanda:2:4", "--calibrate", text]
    assert invoke(["compile", model, "-o", str(tmp_path / "a.elf"), *flags]) == 0
    said = capsys.readouterr().err
    assert "pruned by wanda:2:4 on" in said
    assert "density: q 0.500, k 0.500, v 0.500, o 0.500, gate 0.500, up 0.500, down 0.500" in said
    assert invoke(["eval", model, text, *flags, "--tokens", "20", "--json", str(tmp_path / "e.json")]) == 0
    out = capsys.readouterr().out
    assert "program: f32 nm:2:4 in layers" in out and ", pruned by wanda:2:4" in out
    figures = json.loads((tmp_path / "e.json").read_text())
    assert figures["prune"] == "wanda:2:4" and figures["kl_divergence"] > 0.01
    assert invoke(["eval", model, text, "--tokens", "20", "--json", str(tmp_path / "d.json")]) == 0
    assert json.loads((tmp_path / "d.json").read_text())["kl_divergence"] < 1e-6
    assert invoke(["verify", model, *flags, "--prompt", "a cat", "--tokens", "4"]) == 0
    texts = []
    for more in ([], flags, ["--prune", "magnitude:0.9"]):
        capsys.readouterr()
        assert invoke(["generate", model, "a cat", "-n", "10", "--quiet", *more]) == 0
        texts.append(capsys.readouterr().out)
    assert len(set(texts)) == 3


def test_options_that_need_each_other(checkpoint: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    model, text = checkpoint
    for flags in (["--prune", "wanda:0.5"], ["--prune", "magnitude:0.5", "--calibrate", text], ["--prune", "flow:0.5"]):
        assert invoke(["compile", model, *flags]) == 2
        assert "--calibrate TEXT goes with --ffn-sparsity and a number, --prune wanda or --prune flow" in capsys.readouterr().err
    assert invoke(["compile", model, "--prune", "wonda:0.5"]) == 1
    assert "--prune: no method 'wonda'" in capsys.readouterr().err


def test_bench(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from compiler.measuring.shapes import compile_random
    from compiler.settings import Settings
    from isa.program import Program
    config = tmp_path / "config.json"
    path = tiny_checkpoint.write_relu(tmp_path)
    config.write_text((path / "config.json").read_text())
    cards = [Program.load(compile_random("tiny", Settings(weights="i8", prune=method), config=config).path).meta["model"]
             for method in (None, "magnitude:2:4")]
    assert "pruned" not in cards[0] and cards[1]["pruned"] == ["pruned by magnitude:2:4"]
    assert invoke(["bench", "--config", str(config), "--prune", "wanda:2:4"]) == 1
    assert "--prune: wanda:2:4; expected magnitude:2:4: random weights have no text" in capsys.readouterr().err
