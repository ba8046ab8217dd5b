"""--prune METHOD+lowrank:R: the best repair against singular values, what layers behind it see, programs op by op."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from random_models import SHAPES, random_model

from compiler.checking.verify import compare
from compiler.compile import compile_model
from compiler.errors import ModelError
from compiler.formats.recipe import read_recipe
from compiler.graph import Executor, Op, build
from compiler.model.model import LINEARS, SIDES, Model
from compiler.model.tensors import DerivedTensor
from compiler.passes.prune import parse_prune, prune
from compiler.passes.quantise import quantise

TOKENS = [1, 5, 7, 7, 60, 3, 8, 9, 10, 2, 31, 44, 6, 6, 5, 50, 12, 13, 1, 4]
RANK = 3


def repaired(shape: str, text: str = f"wanda:2:4+lowrank:{RANK}", **changes: object) -> tuple[Model, Model]:
    """A random model, and the same pruned and repaired."""
    model = random_model(replace(SHAPES[shape], **changes), ternary=shape == "bitnet")
    return model, prune(model, parse_prune(text), TOKENS)


def sides(model: Model, name: str) -> tuple[np.ndarray, np.ndarray]:
    into, out = (model.tensor(f"{name}.{side}").rows() for side in SIDES)
    return into, out


@pytest.mark.parametrize("shape", ["gqa", "opt_350m"])
def test_no_two_thin_matrices_bring_back_more(shape: str) -> None:
    """By magnitude all inputs count alike: what is missing is what the other singular values of the difference make up."""
    model, changed = repaired(shape, f"magnitude:0.5+lowrank:{RANK}")
    for layer in range(model.config.layers):
        for role in LINEARS:
            if (name := f"layers.{layer}.{role}") not in model.tensors:
                continue
            lost = model.tensor(name).rows() - changed.tensor(name).rows()
            into, out = sides(changed, name)
            assert into.shape == (RANK, lost.shape[1]) and out.shape == (lost.shape[0], RANK)
            values = np.linalg.svd(lost.astype(np.float64), compute_uv=False)
            assert np.linalg.norm(lost - out @ into) == pytest.approx(np.sqrt(np.square(values[RANK:]).sum()), rel=1e-4)
            assert np.allclose(np.linalg.norm(out, axis=0), np.linalg.norm(into, axis=1), rtol=1e-4)        # the root of each
            assert (out[np.abs(out).argmax(0), range(RANK)] > 0).all()


def test_strong_inputs_count_more() -> None:
    """With the norms of Wanda the best one is that of weighted columns; the layers behind it see the repaired ones."""
    model, changed = repaired("gqa")
    whole, seen = _inputs(model, 1), _inputs(_up_to(model, changed, 1), 1)
    for role in ("q", "down"):
        name, norms = f"layers.1.{role}", seen[role]
        lost = (model.tensor(name).rows() - changed.tensor(name).rows()).astype(np.float64) * norms
        into, out = sides(changed, name)
        left = np.linalg.norm(lost - out.astype(np.float64) @ into * norms)
        values = np.linalg.svd(lost, compute_uv=False)
        assert left == pytest.approx(np.sqrt(np.square(values[RANK:]).sum()), rel=1e-3), role
        assert not np.allclose(norms, whole[role], rtol=1e-3), "the inputs of the model as it was are others"


def _inputs(model: Model, layer: int) -> dict[str, np.ndarray]:
    """Norms of the inputs of a layer's matrices, token by token, by the graph executor."""
    squares: dict[str, np.ndarray] = {}

    def look(at: int | None, op: Op, _results: object) -> None:
        if at == layer and op.kind == "gemv":
            role = op.weights[0].removeprefix("layer.")
            squares[role] = squares.get(role, 0) + np.square(executor.values[op.inputs[0]].astype(np.float64))

    executor = Executor(build(model.config), model, observe=look)
    for at, token in enumerate(TOKENS):
        if at % model.config.context == 0:
            executor.restart()
        executor.step(token)
    return {role: np.sqrt(total / len(TOKENS)) for role, total in squares.items()}


def _up_to(model: Model, changed: Model, layer: int) -> Model:
    """The repaired model as dense matrices up to a layer, the model itself from there on."""
    tensors = dict(model.tensors)
    for role in LINEARS:
        for before in range(layer):
            name = f"layers.{before}.{role}"
            into, out = sides(changed, name)
            was = changed.tensor(name)
            tensors[name] = Given(was.name, was.shape, was.format, source=was, given=was.rows() + out @ into)
    return replace(model, tensors=tensors)


@dataclass(frozen=True, kw_only=True)
class Given(DerivedTensor):
    """A matrix that is given by its rows."""

    given: np.ndarray

    def _rows(self, first: int, last: int) -> np.ndarray:
        return self.given[first:last]


@pytest.mark.parametrize(("shape", "weights", "more"), [
    ("gqa", "", {}), ("gqa", "i8", {}), ("gqa", "i4:16", {"chunk": 4}), ("gqa", "t2", {}), ("biases", "f16", {"chunk": 4}),
    ("opt_350m", "i8", {"chunk": 4}), ("relu2", "i8", {"activations": "f32"}), ("bitnet", "", {"chunk": 4}), ("bitnet", "t2", {}),
    ("gqa", "i8", {"machine": "slim-llama"}), ("gqa", "i8", {"machine": "hpim"}), ("gqa", "i8", {"machine": "flexcim"})])
def test_programs(shape: str, weights: str, more: dict[str, object], tmp_path: Path) -> None:
    _, model = repaired(shape)
    compiled = compile_model(model, recipe=read_recipe(weights) if weights else None, **more)       # type: ignore[arg-type]
    assert compare(compiled, compiled.build(tmp_path), TOKENS[:6])[1] is None
    said = compiled.summary()
    assert f"pruned by wanda:2:4+lowrank:{RANK} on" in said and "left of what was pruned, behind the repair: q 0." in said


def test_repairs_beside_integers_have_eight_bits_unless_they_are_named(tmp_path: Path) -> None:
    _, model = repaired("gqa")
    assert {quantise(model, read_recipe(text))[0].tensor(f"layers.0.q.{side}").stored
            for text in ("t2", "i4:16", "i8") for side in SIDES} == {f"i8:{RANK}", "i8:48"}     # a scale a row
    assert quantise(model, read_recipe("f16"))[0].tensor("layers.0.q.side_in").stored == "f16"
    recipe = tmp_path / "r.toml"
    recipe.write_text('weights = "t2"\nroles = { "layers.*.side_in" = "i4:row" }\n')
    named = quantise(model, read_recipe(str(recipe)))[0]
    assert [named.tensor(f"layers.0.q.{side}").stored for side in SIDES] == ["i4:48", f"i8:{RANK}"]


def test_it_helps() -> None:
    """Logits come closer to those of the model the higher the rank is."""
    model, errors = random_model(SHAPES["gqa"]), []
    expected = Executor(build(model.config), model).step(5)
    for text in ("wanda:2:4", "wanda:2:4+lowrank:4", "wanda:2:4+lowrank:16"):
        pruned = prune(model, parse_prune(text), TOKENS)
        errors.append(float(np.linalg.norm(Executor(build(pruned.config), pruned).step(5) - expected)))
    assert errors[0] > errors[1] > errors[2]


def test_what_cannot_be() -> None:
    with pytest.raises(ModelError, match=r"--prune: wanda:2:4\+lowrank:500, and layers.0.q is \[\d+, \d+\]; expected a rank below"):
        repaired("gqa", "wanda:2:4+lowrank:500")
    _, model = repaired("relu2", f"magnitude:0.5+lowrank:{RANK}")
    with pytest.raises(ModelError, match=r"--ffn-sparsity: a low-rank repair beside each matrix; expected matrices alone"):
        compile_model(model, sparsity="exact")
