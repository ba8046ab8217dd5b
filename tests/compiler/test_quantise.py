"""Codes and scales against their definitions, written out in Python."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from models import BASE, SHAPES, ArrayTensor, random_model

from compiler.errors import ModelError
from compiler.graph import PLAIN, Executor, build
from compiler.model import Model
from compiler.quantise import quantise, storage
from compiler.recipe import Recipe, WeightFormat, parse_format


def one(text: str, role: str = "layers.0.q", model: Model | None = None) -> tuple[np.ndarray, Model]:
    """The values of a matrix, and the model in that format."""
    model = model or random_model(BASE)
    form = parse_format(text)
    return model.tensor(role).rows(), quantise(model, Recipe(form, form))[0]


@pytest.mark.parametrize("text", ["i2", "i3", "i4", "i8", "i8:tensor", "i4:8", "i8:1"])
def test_integers_by_the_largest_magnitude(text: str) -> None:
    values, model = one(text)
    codes = model.tensor("layers.0.q").codes()
    most = {"i2": 1, "i3": 3, "i4": 7, "i8": 127}[text.partition(":")[0]]
    group = {"": 48, "tensor": 48, "8": 8, "1": 1}[text.partition(":")[2]]
    for r, c in ((0, 0), (5, 17), (47, 47)):
        inside = values if text.endswith("tensor") else values[r, c // group * group:(c // group + 1) * group]
        scale = np.float32(np.abs(inside).max() / np.float32(most))
        assert codes.scales[0 if text.endswith("tensor") else r, 0 if text.endswith("tensor") else c // group] == scale
        assert codes.values[r, c] == np.clip(np.rint(values[r, c] / scale), -most, most)
    assert np.abs(codes.values).max() == most


@pytest.mark.parametrize("text", ["t2", "t5:row", "t2:16"])
def test_ternary_by_the_mean_magnitude(text: str) -> None:
    """BitNet b1.58, arXiv 2402.17764, equations 1 to 3."""
    values, model = one(text)
    codes = model.tensor("layers.0.q").codes()
    inside = {"t2": values, "t5:row": values[3], "t2:16": values[3, 16:32]}[text]
    scale = np.abs(inside.astype(np.float64)).mean()
    assert codes.scales[0 if text == "t2" else 3, 1 if text == "t2:16" else 0] == pytest.approx(scale, rel=1e-6)
    assert codes.values[3, 20] == np.clip(np.rint(values[3, 20] / scale), -1, 1)
    assert set(np.unique(codes.values)) == {-1, 0, 1}


def test_binary_is_the_sign() -> None:
    values, model = one("b1")
    codes = model.tensor("layers.0.q").codes()
    assert (codes.values == np.where(values < 0, -1, 1)).all()
    assert codes.scales[4, 0] == pytest.approx(np.abs(values[4].astype(np.float64)).mean(), rel=1e-6)


def test_a_row_of_zeros_has_codes_zero() -> None:
    model = random_model(BASE)
    values = model.tensor("layers.0.q").rows().copy()
    values[3] = 0
    tensors = {**model.tensors, "layers.0.q": ArrayTensor("q", values.shape, "f32", values=values)}
    for text in ("i8", "t2:row", "i4:8"):
        codes = one(text, model=replace(model, tensors=tensors))[1].tensor("layers.0.q").codes()
        assert not codes.values[3].any() and np.isfinite(codes.floats()).all()


def test_halves_are_rounded_to_nearest() -> None:
    values, model = one("f16")
    assert (model.tensor("layers.0.q").rows() == values.astype(np.float16).astype(np.float32)).all()


def test_codes_of_a_checkpoint_stay_what_they_are() -> None:
    model = random_model(SHAPES["bitnet"], ternary=True)
    before = model.tensor("layers.0.down").codes()
    for recipe in (Recipe(), Recipe(parse_format("t2"), parse_format("i8")), Recipe(parse_format("i4"), None)):
        after = quantise(model, recipe)[0].tensor("layers.0.down")
        assert (after.codes().values == before.values).all() and (after.codes().scales == before.scales).all()
        assert storage(after) == "t2:tensor"


def test_products_with_codes_take_int8_activations_quantised_once() -> None:
    _, graph = quantise(random_model(BASE), Recipe(parse_format("t2"), parse_format("f16")))
    kinds = [op.kind for op in graph.layer]
    assert kinds.count("gemv.i8") == 7 and kinds.count("gemv") == 0
    assert kinds.count("quantise") == 4                    # before q k v, before o, before gate and up, before down
    assert [op.kind for op in graph.finish] == ["rmsnorm", "gemv"]


def test_formats_may_differ_between_roles_and_between_layers() -> None:
    mixed = Recipe(parse_format("t2"), None, {"layers.*.down": WeightFormat("i4", 16), "layers.*.o": WeightFormat("f16")})
    model, _ = quantise(random_model(BASE), mixed)
    assert [storage(model.tensor(f"layers.1.{role}")) for role in ("q", "down", "o")] == ["t2:tensor", "i4:16", "f16"]
    some = Recipe(None, None, {"layers.[13].q": WeightFormat("f16"), "layers.4.down": WeightFormat("i8", "row")})
    _, graph = quantise(random_model(replace(BASE, layers=5)), some)
    assert [body.layers for body in graph.bodies] == [(0, 2), (1, 3), (4,)]
    assert ["quantise" in {op.kind for op in body.ops} for body in graph.bodies] == [False, False, True]
    assert [op.kind for layer, op in graph.steps() if layer is not None and op.outputs == ("ffn",)] == ["gemv"] * 4 + ["gemv.i8"]
    assert [line for line in str(graph).splitlines() if line.startswith("layer")] == ["layers 0, 2", "layers 1, 3", "layer 4"]


def test_columns_that_are_no_whole_groups_are_refused() -> None:
    with pytest.raises(ModelError, match=r"48 columns in groups of 32 \(i8:32 for (layers\.0\.q|embedding)\)"):
        one("i8:32")


@pytest.mark.parametrize("shape", SHAPES)
def test_eight_bits_a_column_change_little(shape: str) -> None:
    """In opt_350m x is written again between attention and feed-forward: its codes have to be, too."""
    model = random_model(SHAPES[shape])
    if model.config.int8_activations:
        return
    exactly = Executor(build(model.config), model, PLAIN)
    quantised, graph = quantise(model, Recipe(parse_format("i8"), parse_format("i8")))
    roughly = Executor(graph, quantised, PLAIN)
    for token in (1, 7, 30):
        a, b = exactly.step(token), roughly.step(token)
        assert np.corrcoef(a, b)[0, 1] > 0.999
