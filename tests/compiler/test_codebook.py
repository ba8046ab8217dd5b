"""Codebooks: the best one of all, against trying every one; the matrix in it; exact codes that stay."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from random_models import BASE, FILE, ArrayTensor, random_model

from compiler.checking.verify import compare
from compiler.compile import compile_model
from compiler.errors import ModelError
from compiler.formats import codebook
from compiler.formats.recipe import Recipe, parse_format
from compiler.formats.weight_format import WEIGHT_FORMATS
from compiler.model.tensors import Codes, Tensor
from compiler.passes.quantise import quantise
from compiler.placing.weights import plan_weights


def error(points: np.ndarray, weights: np.ndarray, book: tuple[int, ...]) -> float:
    return float((weights * np.abs(points[:, None] - np.array(book)).min(axis=1) ** 2).sum())


@pytest.mark.parametrize("seed", range(6))
def test_no_codebook_is_better(seed: int) -> None:
    """All sets of three values that lie on or between a few points; 0 is one of them where it is one of the points."""
    rng = np.random.default_rng(seed)
    points = np.sort(rng.choice(np.arange(-9, 10), 7, replace=False)).astype(np.float32)
    scales = rng.random(7).astype(np.float32) + np.float32(0.1)
    found = codebook.fit([(points[:4], scales[:4]), (points[4:], scales[4:])], 3)
    weights = scales.astype(np.float64) ** 2
    best = min(error(points, weights, book) for book in combinations(range(-9, 10), 3) if 0 in book or 0 not in points)
    assert len(found) == 3 and error(points, weights, found) == pytest.approx(best, rel=1e-12)


def test_no_more_values_than_there_are() -> None:
    ones = np.ones(3, np.float32)
    assert codebook.fit([(np.array([-5, 0, 5], np.float32), ones)], 16) == (-5, 0, 5)
    assert codebook.fit([], 4) == (0,)


def test_nearest_by_trying() -> None:
    book = (-127, -40, -3, 0, 8, 127)
    numbers = np.random.default_rng(1).uniform(-127, 127, (5, 60)).astype(np.float32)
    found = codebook.nearest(numbers, book)
    assert (np.abs(numbers - found) == np.abs(numbers[:, :, None] - np.array(book, np.float32)).min(axis=2)).all()
    assert (np.array(book)[np.searchsorted(book, found)] == found).all()


@pytest.mark.parametrize("text", ["c2:fit", "c3:fit:16", "c4:fit:8"])
def test_scales_that_are_fitted_to_the_codebook_of_a_matrix(text: str, tmp_path: Path) -> None:
    """Less is lost than with scales of the largest magnitude; of the codes each scale is the best one."""
    plain = text.replace(":fit", "") if text.count(":") == 2 else text.replace(":fit", ":row")
    model, lost = random_model(BASE), []
    for form in (text, plain):
        tensor = quantise(model, Recipe(parse_format(form)))[0].tensor("layers.0.up")
        lost.append(float(np.square(tensor.rows() - model.tensor("layers.0.up").rows()).sum()))
    assert lost[0] < lost[1]
    tensor = quantise(model, Recipe(parse_format(text)))[0].tensor("layers.0.up")
    codes, group = tensor.codes(), tensor.group
    assert len(set(codes.values.ravel().tolist())) <= 2 ** int(text[1]) and set(np.unique(codes.values)) <= set(tensor.levels)
    wide = codes.values.reshape(len(codes.values), -1, group).astype(np.float64)
    values = model.tensor("layers.0.up").rows().reshape(wide.shape)
    best = (values * wide).sum(axis=2) / (wide * wide).sum(axis=2)
    assert np.median(np.abs(codes.scales / best - 1)) < 1e-3
    compiled = compile_model(model, recipe=Recipe(parse_format(text)))
    assert compare(compiled, compiled.build(tmp_path), [1, 5])[1] is None


def test_fitted_scales_are_for_codebooks() -> None:
    assert str(parse_format("c4:fit")) == "c4:fit:row" and str(parse_format("c3:fit:32")) == "c3:fit:32"
    for wrong in ("i4:fit", "t2:fit:8", "c4:fit:x", "c4:fit:tensor", "c4:fit:"):
        with pytest.raises(ModelError, match="expected c2:fit, c3:fit or c4:fit"):
            parse_format(wrong)


def test_nf4_is_the_published_table_with_scales_of_least_squares(tmp_path: Path) -> None:
    assert len(set(codebook.NF4)) == 16 and codebook.NF4[0] == -127 and codebook.NF4[7] == 0 and codebook.NF4[-1] == 127
    values = np.random.default_rng(0).standard_normal((40, 64)).astype(np.float32)
    values[3] = 0
    codes, scales = codebook.fitted(values, codebook.NF4)
    largest = np.abs(values).max(axis=1, keepdims=True) / np.float32(127)
    plain = codebook.nearest(values / np.where(largest == 0, 1, largest), codebook.NF4) * largest
    errors = [np.square(values - made).sum(axis=1) for made in (codes * scales, plain)]
    assert (errors[0] <= errors[1] + 1e-4).all() and errors[0].sum() < errors[1].sum() and not codes[3].any()
    for text in ("c4:nf4:16", "c4:nf4:8"):
        made = compile_model(random_model(BASE), recipe=Recipe(parse_format(text)))
        assert made.layout.layer["up"].stored == str(parse_format(text)) == text
        assert {made.model.tensor(f"layers.{layer}.q").levels for layer in (0, 1)} == {codebook.NF4}
        (folder := tmp_path / text[7:]).mkdir()
        assert compare(made, made.build(folder), [1, 5, 7])[1] is None
    assert str(parse_format("c4:nf4")) == "c4:nf4:64"
    assert str(parse_format("c4:nf4:row")) == "c4:nf4:row"
    for wrong in ("c3:nf4", "c4:nf4:x", "c4:nf4:tensor", "c4:nf4:"):
        with pytest.raises(ModelError, match="expected c4:nf4"):
            parse_format(wrong)


@pytest.mark.parametrize(("form", "integer"), [("c4", "i4"), ("c3:16", "i3:16"), ("c2:tensor", "i2:tensor")])
def test_closer_than_integers_of_as_many_bits(form: str, integer: str) -> None:
    model = random_model(BASE)
    source = model.tensor("layers.0.up").rows()
    errors = []
    for text in (form, integer):
        tensor = quantise(model, Recipe(parse_format(text)))[0].tensor("layers.0.up")
        codes = tensor.codes()
        assert set(np.unique(codes.values)) <= set(tensor.levels) and len(tensor.levels) <= {"4": 16, "3": 8, "2": 4}[text[1]]
        errors.append(float(np.square(tensor.rows() - source).mean()))
    assert errors[0] < errors[1]


@pytest.mark.parametrize("by_column", [False, True])
def test_the_file_has_indices_in_the_codebook_behind_them(by_column: bool) -> None:
    model = quantise(random_model(BASE), Recipe(parse_format("c4")))[0]
    layout = plan_weights(model, 16, [tuple(range(BASE.layers))], ("down",) if by_column else ())
    stream = BytesIO()
    for _ in layout.write(stream):
        pass
    data = stream.getvalue()
    placed, tensor = layout.layer["down"], model.tensor("layers.0.down")
    base = layout.layers_at
    assert placed.row_scale_bytes == (0 if by_column else 4 * placed.scale_count // placed.rows)
    rows = np.frombuffer(data, np.uint8, placed.held, base + placed.offset).reshape(placed.rows, placed.row_bytes)
    indices = placed.format.packing.unpack(rows, placed.shape[1])
    book = np.frombuffer(data, np.int8, placed.format.book, base + placed.codebook)
    levels, codes = tensor.levels, tensor.codes()
    assert book.tolist() == [*levels, *[0] * (16 - len(levels))] and len(levels) > 2
    assert (np.array(levels)[indices] == (codes.values.T if by_column else codes.values)).all()
    assert data[base + placed.scales:][:4 * placed.scale_count] == codes.scales.tobytes()


def test_each_matrix_has_its_own_and_it_depends_on_nothing_else() -> None:
    one, two = (quantise(random_model(BASE), Recipe(parse_format("c3")))[0] for _ in range(2))
    assert one.tensor("layers.0.q").levels == two.tensor("layers.0.q").levels != one.tensor("layers.1.q").levels


class SixteenLevels(ArrayTensor):
    """Sixteen codes of a checkpoint, a scale for 16 columns. They are too large for four bits."""

    levels = tuple(range(-15, 16, 2))

    def _codes(self, first: int, last: int) -> Codes:
        values = self.values[first:last].astype(np.int8)
        return Codes(values, np.full((len(values), values.shape[1] // 16), 0.05, np.float32), 16)

    _rows = Tensor._rows


def test_sixteen_levels_of_a_checkpoint_are_a_codebook_exactly(tmp_path: Path) -> None:
    model, rng = random_model(BASE), np.random.default_rng(2)
    tensors: dict[str, Tensor] = {
        role: SixteenLevels(role, tensor.shape, WEIGHT_FORMATS["i8"], 16,
                            rng.choice(SixteenLevels.levels, tensor.shape).astype(np.float32))
        if len(tensor.shape) == 2 and role.startswith("layers.") else tensor for role, tensor in model.tensors.items()}
    compiled = compile_model(replace(model, tensors=tensors), recipe=Recipe(parse_format("c4")))
    kept = compiled.model.tensor("layers.0.q")
    assert tensors["layers.0.q"].stored == "i8:16" and kept.stored == "c4:16" and kept.file == FILE
    assert (kept.codes().values == tensors["layers.0.q"].codes().values).all()
    assert compare(compiled, compiled.build(tmp_path), [1, 5, 9])[1] is None


def test_zeros_of_a_pruned_matrix_stay_zero() -> None:
    """Small values are more often above 0 here, so that the mean of those near 0 is not 0."""
    rng = np.random.default_rng(3)
    values = np.where(rng.random(4000) < 0.1, 0, rng.uniform(-30, 90, 4000)).astype(np.float32)
    ones = np.ones_like(values)
    book = codebook.fit([(values, ones)], 4)
    assert 0 in book and (codebook.nearest(values[values == 0], book) == 0).all()
    few = np.where(values == 0, np.float32(3), values)
    few[:5] = 0                                     # as any matrix may have: no reason to spend one of four values on them
    assert 0 not in codebook.fit([(few, ones)], 4)


def test_floats_have_no_codes() -> None:
    with pytest.raises(TypeError, match=r"tensor layers\.0\.q is f32, which has no codes"):
        random_model(BASE).tensor("layers.0.q").codes()
