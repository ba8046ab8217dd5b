"""Codes and scales against their definitions, written out in Python."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_models import BASE, FILE, SHAPES, ArrayTensor, CodesTensor, codes_tensor, random_model

from compiler.compile import compile_model
from compiler.errors import ModelError
from compiler.formats.recipe import Recipe, parse_format
from compiler.formats.weight_format import WEIGHT_FORMATS
from compiler.graph import PLAIN, Executor, build
from compiler.model.model import Model
from compiler.model.tensors import Codes, Tensor
from compiler.passes.quantise import _converted, quantise


def one(text: str, role: str = "layers.0.q", model: Model | None = None) -> tuple[np.ndarray, Model]:
    """The values of a matrix, and the model in that format."""
    model = model or random_model(BASE)
    form = parse_format(text)
    return model.tensor(role).rows(), quantise(model, Recipe(form, form))[0]


@pytest.mark.parametrize("text", ["i3", "i4", "i8", "i8:tensor", "i4:8", "i8:1"])
def test_integers_by_the_largest_magnitude(text: str) -> None:
    values, model = one(text)
    codes = model.tensor("layers.0.q").codes()
    most = {"i3": 3, "i4": 7, "i8": 127}[text.partition(":")[0]]
    group = {"": 48, "tensor": 48, "8": 8, "1": 1}[text.partition(":")[2]]
    for r, c in ((0, 0), (5, 17), (47, 47)):
        inside = values if text.endswith("tensor") else values[r, c // group * group:(c // group + 1) * group]
        scale = np.float32(np.abs(inside).max() / np.float32(most))
        assert codes.scales[0 if text.endswith("tensor") else r, 0 if text.endswith("tensor") else c // group] == scale
        assert codes.values[r, c] == np.clip(np.rint(values[r, c] / scale), -most, most)
    assert np.abs(codes.values).max() == most


@pytest.mark.parametrize("text", ["t2:absmean", "t5:absmean"])
def test_ternary_by_the_mean_magnitude(text: str) -> None:
    """BitNet b1.58, arXiv 2402.17764, equations 1 to 3."""
    values, model = one(text)
    codes = model.tensor("layers.0.q").codes()
    scale = np.abs(values.astype(np.float64)).mean()
    assert codes.scales.shape == (1, 1) and codes.scales[0, 0] == pytest.approx(scale, rel=1e-6)
    assert codes.values[3, 20] == np.clip(np.rint(values[3, 20] / scale), -1, 1)
    assert set(np.unique(codes.values)) == {-1, 0, 1}


@pytest.mark.parametrize("size", [1.0, 1e-6, 0.0])
def test_it_is_the_rule_of_bitnets_own_checkpoints(size: float) -> None:
    """As transformers' WeightQuant has it: the reciprocal of the mean, which is at least 1e-5; bit by bit."""
    values = (np.random.default_rng(2).standard_normal((64, 48)) * size).astype(np.float32)
    matrix = ArrayTensor("m", values.shape, WEIGHT_FORMATS["f32"], values=values)
    codes = _converted(matrix, "m", parse_format("t2:absmean")).codes()
    inverse = np.float32(1) / np.maximum(np.float32(np.abs(values).mean(dtype=np.float64)), np.float32(1e-5))
    assert (codes.values == np.clip(np.rint(values * inverse), -1, 1)).all() and codes.scales == 1 / inverse
    assert codes.values.any() == (size == 1)


def pruned(values: np.ndarray, how: str) -> np.ndarray:
    """70 % zeros: the smallest, any, or whole rows."""
    magnitudes, rng = np.abs(values), np.random.default_rng(1)
    kept = {"none": values != 0, "small": magnitudes > np.quantile(magnitudes, 0.7), "any": rng.random(values.shape) > 0.7,
            "rows": rng.random((len(values), 1)) > 0.7}[how]
    return values * kept


@pytest.mark.parametrize("how", ["none", "small", "any", "rows"])
@pytest.mark.parametrize("text", ["t2", "t2:row", "t5:row", "t2:16", "i2"])
def test_ternary_with_the_scale_that_loses_least(text: str, how: str) -> None:
    """Every scale on a fine grid is tried, with the best codes for each."""
    model = random_model(BASE)
    values = pruned(model.tensor("layers.0.up").rows(), how).astype(np.float32)
    tensors = {**model.tensors, "layers.0.up": ArrayTensor("up", values.shape, WEIGHT_FORMATS["f32"], values=values)}
    tensor = one(text, model=replace(model, tensors=tensors))[1].tensor("layers.0.up")
    assert (tensor.rows()[values == 0] == 0).all()
    group = {"t2": values.size, "t2:16": 16}.get(text, values.shape[1])
    parts = values.reshape(-1, group).astype(np.float64)
    least = np.square(parts).sum(axis=1)
    for share in np.linspace(0.01, 1, 400):
        scale = share * np.abs(parts).max(axis=1, keepdims=True) + 1e-30
        least = np.minimum(least, np.square(parts - scale * np.clip(np.rint(parts / scale), -1, 1)).sum(axis=1))
    lost = np.square(parts - tensor.rows().reshape(parts.shape)).sum(axis=1)
    assert (lost <= least * (1.0005 if text == "t2" else 1) + 1e-9).all()


def test_the_figures_of_a_matrix_with_70_percent_zeros() -> None:
    values = pruned(np.random.default_rng(0).standard_normal((256, 512)).astype(np.float32), "small")

    def error(text: str) -> float:
        tensor = _converted(ArrayTensor("m", values.shape, WEIGHT_FORMATS["f32"], values=values), "m", parse_format(text))
        return float(np.linalg.norm(tensor.rows() - values) / np.linalg.norm(values))

    assert error("t2:absmean") == pytest.approx(0.73, abs=0.01) and error("t2") == pytest.approx(0.27, abs=0.01)
    assert error("c2") < error("t2")


@pytest.mark.parametrize("text", ["i3:clip", "i4:clip", "i8:clip"])
@pytest.mark.parametrize("kind", ["normal", "outliers", "pruned", "few", "zero"])
def test_clipping_leaves_the_least_error(text: str, kind: str) -> None:
    """Of one scale for a whole matrix, against 4,000 others. Outliers are clipped, zeros stay."""
    values = np.random.default_rng(3).standard_normal((96, 128)).astype(np.float32)
    if kind == "outliers":
        values[3, 5], values[50] = 60, values[50] * 4
    elif kind != "normal":
        values = {"pruned": pruned(values, "small"), "few": np.sign(values) * np.float32(0.25), "zero": values * 0}[kind]

    def converted(form: str) -> Tensor:
        return _converted(ArrayTensor("m", values.shape, WEIGHT_FORMATS["f32"], values=values), "m", parse_format(form))

    def lost(rows: np.ndarray) -> float:
        return float(np.square(values.astype(np.float64) - rows).sum())

    tensor, largest, most = converted(text), converted(text.replace("clip", "tensor")), WEIGHT_FORMATS[text[:2]].most
    assert tensor.stored == largest.stored and tensor.codes().scales.shape == (1, 1)
    assert (tensor.codes().values[values == 0] == 0).all()
    scales = np.abs(values).max() / most * np.linspace(0.005, 1, 4000)
    least = min((lost(scale * np.clip(np.rint(values / scale), -most, most)) for scale in scales if scale), default=0.0)
    assert lost(tensor.rows()) <= least * 1.02 + 1e-9
    assert kind != "outliers" or text == "i8:clip" or lost(tensor.rows()) < lost(largest.rows()) / 2


@pytest.mark.parametrize("text", ["t2", "t5:row", "t2:16", "i2"])
def test_values_that_are_ternary_already_are_found_exactly(text: str) -> None:
    """Their scale and every code: what a ternary checkpoint saved as floats needs."""
    model, scale = random_model(BASE), np.float32(0.0371)
    codes = np.random.default_rng(4).integers(-1, 2, (48, 48)).astype(np.int8)
    values = codes * scale
    tensors = {**model.tensors, "layers.0.q": ArrayTensor("q", values.shape, WEIGHT_FORMATS["f32"], values=values)}
    found = one(text, model=replace(model, tensors=tensors))[1].tensor("layers.0.q")
    assert (found.codes().values == codes).all() and (found.codes().scales == scale).all()


def test_binary_of_a_pruned_matrix_is_refused() -> None:
    model = random_model(BASE)
    values = pruned(model.tensor("layers.0.q").rows(), "any")
    tensors = {**model.tensors, "layers.0.q": ArrayTensor("q", values.shape, WEIGHT_FORMATS["f32"], values=values)}
    with pytest.raises(ModelError, match=r"7\d % zeros for b1, which has no code for them; .*\n?.*t2 has -1, 0 and 1"):
        quantise(replace(model, tensors=tensors), Recipe(parse_format("b1")))[0].tensor("layers.0.q").codes()


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("group", ["row", "16", "tensor"])
def test_bipolar_codes_and_the_scale_that_loses_little(bits: int, group: str) -> None:
    """Codes as APT-LLM writes them, of the scale that was found; no scale of a fine grid is much better."""
    values, model = one(f"bp{bits}:{group}")
    codes, most = model.tensor("layers.0.q").codes(), (1 << bits) - 1
    scales = np.repeat(np.broadcast_to(codes.scales, (len(values), values.shape[1] // codes.group)), codes.group, axis=1)
    u = np.clip(np.rint((values / scales + np.float32(most)) / 2), 0, most)
    assert (codes.values == 2 * u - most).all() and set(np.unique(codes.values % 2)) == {1}
    parts = values.reshape({"row": (-1, 48), "16": (-1, 16), "tensor": (1, -1)}[group]).astype(np.float64)
    least = np.full(len(parts), np.inf)
    for share in np.linspace(0.1, 1.1, 300):
        scale = share * np.abs(parts).max(axis=1, keepdims=True) / most
        level = 2 * np.clip(np.rint((parts / scale + most) / 2), 0, most) - most
        least = np.minimum(least, np.square(parts - scale * level).sum(axis=1))
    lost = np.square(parts - model.tensor("layers.0.q").rows().reshape(parts.shape)).sum(axis=1)
    assert lost.sum() <= 1.1 * least.sum()


def test_bipolar_of_a_pruned_matrix_is_refused() -> None:
    model = random_model(BASE)
    values = pruned(model.tensor("layers.0.q").rows(), "any")
    tensors = {**model.tensors, "layers.0.q": ArrayTensor("q", values.shape, WEIGHT_FORMATS["f32"], values=values)}
    with pytest.raises(ModelError, match=r"7\d % zeros for bp4, which has no code for them"):
        quantise(replace(model, tensors=tensors), Recipe(parse_format("bp4")))[0].tensor("layers.0.q").codes()


@pytest.mark.parametrize("options", [{"sparsity": "exact"}, {"activations": "f32"},
                                     {"recipe": Recipe(parse_format("bp4"), reuse=64)}])
def test_what_bit_planes_are_not_for_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=r"down in bp4|in bp4, which no unit decodes|weights in bp4"):
        compile_model(random_model(SHAPES["relu"]), **{"recipe": Recipe(parse_format("bp4")), **options})


def test_binary_is_the_sign() -> None:
    values, model = one("b1")
    codes = model.tensor("layers.0.q").codes()
    assert (codes.values == np.where(values < 0, -1, 1)).all()
    assert codes.scales[4, 0] == pytest.approx(np.abs(values[4].astype(np.float64)).mean(), rel=1e-6)


def test_a_row_of_zeros_has_codes_zero() -> None:
    model = random_model(BASE)
    values = model.tensor("layers.0.q").rows().copy()
    values[3] = 0
    tensors = {**model.tensors, "layers.0.q": ArrayTensor("q", values.shape, WEIGHT_FORMATS["f32"], values=values)}
    for text in ("i8", "t2:row", "i4:8"):
        codes = one(text, model=replace(model, tensors=tensors))[1].tensor("layers.0.q").codes()
        assert not codes.values[3].any() and np.isfinite(codes.floats()).all()


def test_halves_are_rounded_to_nearest() -> None:
    values, model = one("f16")
    assert (model.tensor("layers.0.q").rows() == values.astype(np.float16).astype(np.float32)).all()


def of_checkpoint(levels: tuple[int, ...], group: int, shape: tuple[int, int] = (48, 48)) -> CodesTensor:
    """A matrix of codes with a scale for `group` columns; 0: one for all."""
    rng = np.random.default_rng(5)
    scales = rng.uniform(0.5, 1, (shape[0], shape[1] // group) if group else (1, 1)).astype(np.float32)
    values = rng.choice(levels, shape).astype(np.int8)
    return codes_tensor("q", Codes(values, scales, group or shape[1]), levels)


TERNARY_LEVELS, I4, I8 = (-1, 0, 1), tuple(range(-8, 8)), tuple(range(-128, 128))


@pytest.mark.parametrize(("levels", "group", "asked", "stored"), [
    (TERNARY_LEVELS, 0, "t2", "t2:tensor"), (TERNARY_LEVELS, 0, "t2:absmean", "t2:tensor"), (TERNARY_LEVELS, 0, "t5", "t5:tensor"),
    (TERNARY_LEVELS, 0, "i8", "i8:tensor"), (TERNARY_LEVELS, 0, "i8:row", "i8:48"), (TERNARY_LEVELS, 0, "i4:16", "i4:16"),
    (TERNARY_LEVELS, 0, "c4", "c4:tensor"), (TERNARY_LEVELS, 16, "t2", "t2:16"), (TERNARY_LEVELS, 16, "t5:8", "t5:8"),
    (I4, 16, "i4", "i4:16"), (I4, 16, "i8", "i8:16"), (I4, 16, "c4:8", "c4:8"), (I8, 16, "i8", "i8:16"), (I8, 16, "i8:4", "i8:4")])
def test_codes_stay_where_the_format_holds_them(levels: tuple[int, ...], group: int, asked: str, stored: str) -> None:
    before = of_checkpoint(levels, group)
    after = _converted(before, "layers.0.q", parse_format(asked))
    assert after.stored == stored
    assert (after.codes().values == before.codes().values).all() and (after.rows() == before.rows()).all()
    assert (after.rows(3, 9) == before.rows(3, 9)).all()


@pytest.mark.parametrize(("levels", "group", "asked", "stored"), [
    (I8, 16, "i8:row", "i8:48"), (I8, 16, "i8:24", "i8:24"), (I8, 16, "i8:tensor", "i8:tensor"), (I8, 16, "i4", "i4:48"),
    (I8, 16, "t2", "t2:tensor"), (I8, 16, "c4:16", "c4:16"), (I4, 16, "i3", "i3:48"), (I4, 16, "i4:row", "i4:48"),
    (TERNARY_LEVELS, 16, "t2:tensor", "t2:tensor"), (TERNARY_LEVELS, 16, "t2:row", "t2:48"), (I8, 16, "f16", "f16")])
def test_else_they_are_quantised_from_their_values(levels: tuple[int, ...], group: int, asked: str, stored: str) -> None:
    """As floats of these values are."""
    before = of_checkpoint(levels, group)
    floats = ArrayTensor("q", before.shape, WEIGHT_FORMATS["f32"], values=before.rows())
    after, same = (_converted(tensor, "layers.0.q", parse_format(asked)) for tensor in (before, floats))
    assert after.stored == same.stored == stored
    assert (after.rows() == same.rows()).all() and not (after.rows() == before.rows()).all()


def test_what_codes_cannot_become_is_refused() -> None:
    for asked, said in (("i8:32", "48 columns in groups of 32"), ("b1", "% zeros for b1")):
        with pytest.raises(ModelError, match=said):
            _converted(of_checkpoint(TERNARY_LEVELS, 0), "layers.0.q", parse_format(asked)).codes()


@dataclass(frozen=True)
class Watched(Tensor):
    """Another tensor, whose reads are counted."""

    source: Any = None
    reads: Any = None

    @property
    def file(self) -> Path:
        return FILE

    @property
    def levels(self) -> tuple[int, ...]:
        levels: tuple[int, ...] = self.source.levels
        return levels

    def _codes(self, first: int, last: int) -> Codes:
        self.reads[self.name] += 1
        codes: Codes = self.source.codes(first, last)
        return codes

    def _rows(self, first: int, last: int) -> Any:
        self.reads[self.name] += 1
        return self.source.rows(first, last)


@pytest.mark.parametrize("ternary", [False, True])
@pytest.mark.parametrize("text", ["", *WEIGHT_FORMATS, "t2:absmean", "i4:clip", "i4:8", "i8:tensor"])
def test_nothing_is_read_before_rows_are_asked_for(text: str, ternary: bool) -> None:
    """Not to quantise a model, nor to lay it out and write the text of its program. Whether zeros are to be stored is seen in the
    first rows of each matrix."""
    model, reads = random_model(SHAPES["tied"], ternary=ternary), Counter[str]()
    model = replace(model, tensors={role: Watched(role, tensor.shape, tensor.format, tensor.group, tensor, reads)
                                    for role, tensor in model.tensors.items()})
    recipe = Recipe(parse_format(text) if text else None, sparse="off")
    quantised = quantise(model, recipe)[0]
    for machine in ("slim", "hpim"):
        if text != "i4:8" or machine == "slim":         # banks take whole rows
            compile_model(model, machine=machine, recipe=recipe).text()
    assert not reads
    compile_model(model, recipe=replace(recipe, sparse="auto")).text()
    assert ternary or (set(reads.values()) <= {1} and all(role.startswith("layers.") for role in reads))
    reads.clear()
    if not ternary or text not in ("b1", "bp2", "bp3", "bp4"):          # zeros, for which these have no code
        quantised.tensor("layers.0.q").rows(0, 1)
        assert reads["layers.0.q"] > 0


def test_products_with_codes_take_int8_activations_quantised_once() -> None:
    _, graph = quantise(random_model(BASE), Recipe(parse_format("t2"), parse_format("f16")))
    kinds = [op.kind for op in graph.layer]
    assert kinds.count("gemv.i8") == 7 and kinds.count("gemv") == 0
    assert kinds.count("quantise") == 4                    # before q k v, before o, before gate and up, before down
    assert [op.kind for op in graph.finish] == ["rmsnorm", "gemv"]


def test_formats_may_differ_between_roles_and_between_layers() -> None:
    mixed = Recipe(parse_format("t2"), None, {"layers.*.down": parse_format("i4:16"), "layers.*.o": parse_format("f16")})
    model, _ = quantise(random_model(BASE), mixed)
    assert [model.tensor(f"layers.1.{role}").stored for role in ("q", "down", "o")] == ["t2:tensor", "i4:16", "f16"]
    some = Recipe(None, None, {"layers.[13].q": parse_format("f16"), "layers.4.down": parse_format("i8:row")})
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
