"""Block-diagonal matrices: what their blocks mean, the nearest ones, checkpoints, layouts, programs equal to the graph."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import monarch_files as files
import numpy as np
import pytest
import tiny_checkpoint
from compiled_models import small_machine
from random_models import SHAPES, ArrayTensor, random_model, rope
from test_sparse_weights import PROMPT, compiled, generated

from compiler.checking.verify import compare
from compiler.compile import compile_model
from compiler.errors import ModelError
from compiler.formats.layouts import Able
from compiler.formats.recipe import parse_format, read_recipe
from compiler.formats.weight_format import WEIGHT_FORMATS
from compiler.frontends import load
from compiler.graph import Executor, build
from compiler.model.model import LINEARS, Model
from compiler.model.monarch import Squares, StageTensor, stage_of, stage_tensor
from compiler.passes import sparse_weights
from compiler.passes.project import parse_project, project
from compiler.passes.prune import parse_prune, prune
from compiler.passes.quantise import _converted
from compiler.passes.sparse_weights import SparseTensor, StoredBlocks, StoredDiagonals, layout_of, with_layouts
from isa.reference import ReferenceMachine
from isa.units.sp.matrices import LAYOUTS
from slimulator import invoke

RNG = np.random.default_rng(9)
ANY = Able(lambda layout: layout.kind in LAYOUTS, "")
SQUARE = replace(SHAPES["gqa"], dim=36, heads=2, kv_heads=1, head_dim=18, hidden=45, rope=rope(18))


def stages(down: int, across: int, block: int) -> tuple[dict[str, np.ndarray], dict[str, StageTensor]]:
    """Random blocks, and the two matrices that they make."""
    squares = Squares(down, across, block)
    blocks = {stage: RNG.standard_normal(squares.blocks_shape).astype(np.float32) for stage in ("right", "left")}
    return blocks, {stage: stage_tensor(ArrayTensor(stage, (squares.between, block), WEIGHT_FORMATS["f32"], values=values.reshape(
        -1, block)), squares, stage) for stage, values in blocks.items()}


# ------------------------------------------------------------------------------------------------ the two matrices


@pytest.mark.parametrize(("down", "across", "block"), [(1, 1, 2), (1, 3, 2), (4, 1, 3), (2, 3, 4), (3, 2, 5)])
def test_two_products_are_the_block_diagonal_one(down: int, across: int, block: int) -> None:
    """The stages' matrices multiplied are P L P R square by square, and each element is where the contract has it."""
    blocks, made = stages(down, across, block)
    right, left = (made[stage].rows().astype(float) for stage in ("right", "left"))
    assert np.allclose(left @ right, files.whole(blocks["right"].astype(float), blocks["left"].astype(float)), atol=1e-12)
    n, x = block * block, RNG.standard_normal(across * block * block)
    expected = {"right": np.zeros_like(right), "left": np.zeros_like(left)}
    for i, j, k, r, c in np.ndindex(*made["right"].squares.blocks_shape):
        square = i * across + j
        expected["right"][square * n + r * block + k, j * n + k * block + c] = blocks["right"][i, j, k, r, c]
        expected["left"][i * n + r * block + k, square * n + k * block + c] = blocks["left"][i, j, k, r, c]
    assert np.array_equal(right, expected["right"]) and np.array_equal(left, expected["left"])
    assert np.allclose(left @ (right @ x), files.whole(blocks["right"], blocks["left"]) @ x)


def test_some_rows_of_a_stage() -> None:
    _, made = stages(2, 3, 3)
    for tensor in made.values():
        whole, rows = tensor.rows(), tensor.matrix[0]
        for first, last in ((0, 1), (4, 5), (8, 18), (rows - 10, rows)):
            assert np.array_equal(tensor.rows(first, last), whole[first:last])
        assert np.count_nonzero(whole) == whole.size * tensor.density
        codes = tensor.converted(quantised(tensor, "i8").source).codes(5, 14)
        assert codes.values.shape == (9, tensor.matrix[1]) and codes.scales.shape == (9, 1)


def quantised(tensor: StageTensor, weights: str) -> Any:
    """A stage in a format of a recipe."""
    return _converted(tensor, "layers.0.q.right", parse_format(weights))


@pytest.mark.parametrize("stage", ["right", "left"])
def test_int8_codes_are_those_of_each_whole_row(stage: str) -> None:
    """The contract for checkpoints: absmax / 127 over a row of the stage's matrix; of the second one it spans all squares."""
    _, made = stages(2, 3, 3)
    rows = made[stage].rows()
    scale = np.abs(rows).max(axis=1, keepdims=True) / np.float32(127)
    codes = quantised(made[stage], "i8").codes()
    assert np.array_equal(codes.scales, scale) and np.array_equal(codes.values, np.rint(rows / scale).astype(np.int8))
    assert codes.group == rows.shape[1] == quantised(made[stage], "i8").group


@pytest.mark.parametrize("weights", ["i8:9", "c4", "b1"])
def test_other_formats_see_the_zeros(weights: str) -> None:
    """Groups of columns, codebooks and a format without a zero: as for any matrix with zeros."""
    _, made = stages(2, 2, 3)
    tensor = quantised(made["right"], weights)
    assert not isinstance(tensor, StageTensor) and stage_of(tensor) is made["right"]
    if weights == "b1":
        with pytest.raises(ModelError, match="83 % zeros for b1, which has no code for them"):
            tensor.codes()
    else:
        assert not tensor.codes().values[made["right"].rows() == 0].any()


# ------------------------------------------------------------------------------------------------ the nearest ones


def test_the_nearest_of_all() -> None:
    """Against the slices' other singular values, and against small changes of the blocks, all of which are further away."""
    model = project(random_model(SQUARE), 3)
    for role in ("layers.0.q", "layers.1.up", "layers.0.k"):
        dense = random_model(SQUARE).tensor(role).rows().astype(float)
        made = {stage: model.tensor(f"{role}.{stage}") for stage in ("right", "left")}
        squares = stage_of(made["right"]).squares           # type: ignore[union-attr]
        blocks = {stage: tensor.source.source.rows().reshape(squares.blocks_shape).astype(float) for stage, tensor in made.items()}
        slices = dense.reshape(squares.down, 3, 3, squares.across, 3, 3).transpose(0, 3, 2, 4, 1, 5)
        rest = np.square(np.linalg.svd(slices, compute_uv=False)[..., 1:]).sum()
        distance = np.square(dense - files.whole(blocks["right"], blocks["left"])).sum()
        assert distance == pytest.approx(rest, rel=1e-5)
        for stage in ("right", "left"):
            for _ in range(10):
                other = {**blocks, stage: blocks[stage] + RNG.standard_normal(squares.blocks_shape) * 1e-2}
                assert np.square(dense - files.whole(other["right"], other["left"])).sum() > distance
        ours = blocks["left"].transpose(0, 1, 2, 4, 3)                          # (i, j, k, b, r): u * sqrt(s) of each slice
        assert (np.take_along_axis(ours, np.abs(ours).argmax(-1, keepdims=True), -1) > 0).all()
        norms = np.linalg.norm(ours, axis=-1), np.linalg.norm(blocks["right"].transpose(0, 1, 3, 2, 4), axis=-1)
        assert np.allclose(*norms, rtol=1e-5)


def test_a_block_diagonal_matrix_is_found_again() -> None:
    model = random_model(SQUARE)
    blocks, _ = stages(4, 4, 3)
    matrix = files.whole(blocks["right"], blocks["left"]).astype(np.float32)
    tensors = {**model.tensors, **{f"layers.{layer}.{role}": ArrayTensor(role, (36, 36), WEIGHT_FORMATS["f32"], values=matrix)
                                   for layer in (0, 1) for role in ("q", "o")}}
    found = project(replace(model, tensors=tensors), 3)
    made = [found.tensor(f"layers.1.o.{stage}").rows().astype(float) for stage in ("left", "right")]
    assert np.allclose(made[0] @ made[1], matrix, atol=1e-5 * np.abs(matrix).max())
    assert found.projected[1].startswith("relative error of the matrices: q 0.000, k 0.")


def test_what_is_said_and_what_stays() -> None:
    model = random_model(SQUARE)
    found = project(model, 3)
    assert found.projected[0] == "projected: block-diagonal, blocks of 3 x 3 in squares of 9 x 9"
    whole = rest = 0.0
    for layer in range(2):
        dense = model.tensor(f"layers.{layer}.down").rows().astype(float)
        left, right = (found.tensor(f"layers.{layer}.down.{stage}").rows().astype(float) for stage in ("left", "right"))
        whole, rest = whole + np.square(dense).sum(), rest + np.square(dense - left @ right).sum()
    assert f"down {np.sqrt(rest / whole):.3f}" in found.projected[1]
    assert project(model, 3, count=False).projected == found.projected[:1]
    stayed = {role for role in model.tensors if found.tensors.get(role) is model.tensors[role]}
    assert model.tensors.keys() - stayed == {f"layers.{layer}.{role}" for layer in range(2) for role in LINEARS}
    told: list[tuple[int, int]] = []
    project(model, 3, lambda *done: told.append(done))
    assert told == [(1, 2), (2, 2)]


def test_nothing_is_decomposed_before_rows_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np.linalg, "svd", None)
    found = project(random_model(SQUARE), 3, count=False)
    compile_model(found, recipe=read_recipe("i8"))
    with pytest.raises(TypeError):
        found.tensor("layers.0.q.left").rows()


def test_blocks_are_kept_in_a_file_and_named_after_the_matrix() -> None:
    """A part of the rows of each stage, in any order; a message names a tensor that the file has."""
    model = random_model(SQUARE)
    found = project(model, 3, count=False)
    blocks = {stage: found.tensor(f"layers.1.down.{stage}").source.source for stage in ("left", "right")}
    whole = {stage: tensor.rows() for stage, tensor in blocks.items()}
    for first, last in ((5, 6), (0, 4), (7, 40)):
        for stage, tensor in blocks.items():
            assert np.array_equal(tensor.rows(first, last), whole[stage][first:last])
    name = model.tensor("layers.1.down").name
    assert {stage: tensor.name for stage, tensor in blocks.items()} == {
        stage: f"{name} ({stage} of its projection)" for stage in blocks}


# ------------------------------------------------------------------------------------------------ checkpoints


@pytest.mark.parametrize("family", files.FAMILIES)
@pytest.mark.parametrize("form", [np.float16, np.float32])
def test_a_checkpoint(family: str, form: Any, tmp_path: Path) -> None:
    """Logits are those of the dense model of the multiplied blocks."""
    stored = files.tensors(family, form=form)
    model = load(files.write(tmp_path / "m", family, stored))
    assert model.config.monarch == 3 and model.tensor("layers.0.q.left").format.name == ("f16" if form is np.float16 else "f32")
    dense = {**model.tensors}
    names = dict(zip(LINEARS, files.MATRICES, strict=True))
    for layer in range(files.LAYERS):
        for role, name in names.items():
            blocks = (stored[f"model.layers.{layer}.{name}.{stage}"].astype(float) for stage in ("right", "left"))
            matrix = files.whole(*blocks).astype(np.float32)
            dense[f"layers.{layer}.{role}"] = ArrayTensor(role, matrix.shape, WEIGHT_FORMATS["f32"], values=matrix)
    whole = replace(model, config=replace(model.config, monarch=0), tensors=dense)
    ours, theirs = (Executor(build(each.config), each) for each in (model, whole))
    for token in PROMPT:
        assert np.allclose(ours.step(token), theirs.step(token), rtol=1e-4, atol=1e-4)


Q = "model.layers.1.self_attn.q_proj"
SMALL = np.zeros((4, 4, 3, 3), np.float32)


@pytest.mark.parametrize(("changed", "options", "message"), [
    ({f"{Q}.left": None}, {}, r"tensor layers.1.self_attn.q_proj.left: missing; expected the blocks of layers.1.q.left, as mon"),
    ({f"{Q}.right": SMALL}, {}, r"q_proj.right: shape \[4, 4, 3, 3\]; expected \[4, 4, 3, 3, 3\], the blocks of layers.1.q.right"),
    ({f"{Q}.right": np.zeros((4, 4, 3, 3, 3), np.int8)}, {}, r"q_proj.right: .*I8.*expected F32"),
    ({f"{Q}.right": None, f"{Q}.left": None, f"{Q}.weight": np.zeros((36, 36), np.float32)}, {}, r"q_proj.right: missing"),
    ({f"{Q}.weight": np.zeros((36, 36), np.float32)}, {}, r"tensor model.layers.1.self_attn.q_proj.weight: not a part of"),
    ({f"{Q}.right_mask": np.ones((4, 4, 3, 3, 3), np.float32)}, {}, "right_mask: not a part of the model"),
    ({}, {"monarch": {"block": 2}}, r"monarch.block: 2, and layers.0.k is \[18, 36\]; expected matrices with sides that are "
                                    r"multiples of 4, 2 \* 2\nhint: 3 would do for all matrices"),
    ({}, {"monarch": {"block": 1}}, r"monarch.block: 1; expected 2 or more"),
    ({}, {"monarch": {"block": "3"}}, r"monarch.block: '3'; expected a positive whole number"),
    ({}, {"monarch": {"size": 3}}, r"monarch.block: missing; expected a positive whole number"),
    ({}, {"monarch": {"block": 3, "order": 2}}, r"monarch.order: unknown option"),
    ({}, {"monarch": 3}, r"monarch: 3; expected an object"),
    ({}, {"monarch": None}, r'q_proj.weight: missing; .*\nhint: config.json has no "monarch": \{"block": B\}'),
    ({}, {"quantization_config": {"quant_method": "bitnet"}}, r"monarch: block-diagonal matrices and a quantization_config"),
    ({f"{Q}.right": np.full((4, 4, 3, 3, 3), np.nan, np.float32)}, {}, r"q_proj.right: element \[0, 0\] is nan; expected finite"),
])
def test_checkpoints_that_are_refused(changed: dict[str, Any], options: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = files.write(tmp_path / "m", "bitnet", changed, **options)
    with pytest.raises(ModelError, match=message):
        load(folder).check_weights()


def test_a_mask_of_blocks_is_refused(tmp_path: Path) -> None:
    folder = files.write(tmp_path / "m", "llama")
    np.savez(folder / "masks.npz", **{f"{Q}.right": np.ones((4, 4, 3, 3, 3))})
    with pytest.raises(ModelError, match=r"mask model.layers.1.self_attn.q_proj.right: no matrix has this name"):
        load(folder)


# ------------------------------------------------------------------------------------------------ layouts


class Unread(ArrayTensor):
    """Blocks that nobody may read."""

    def _rows(self, first: int, last: int) -> Any:
        raise AssertionError("it is read")


@pytest.mark.parametrize("block", [2, 3, 4, 8])
@pytest.mark.parametrize("weights", ["i8", "i4", "t2", "f16", ""])
def test_the_layout_is_known_without_reading(block: int, weights: str) -> None:
    squares = Squares(2, 3, block)
    for stage in ("right", "left"):
        blocks = Unread(stage, (squares.between, block), WEIGHT_FORMATS["f32"])
        stored = stage_tensor(blocks, squares, stage)
        tensor = quantised(stored, weights) if weights else stored
        layout = layout_of(tensor, ANY)
        assert layout and layout.name == f"bm:{block}" and layout_of(tensor, None) is None
        sparse = with_layouts({"layers.0.q": tensor}, lambda role, tensor: ANY)["layers.0.q"]
        assert isinstance(sparse, StoredBlocks)
        assert sparse.value_bytes == tensor.matrix[0] * tensor.format.row_bytes(block * (3 if stage == "left" else 1))


def test_a_layout_has_to_save_and_to_be_computed_with() -> None:
    _, made = stages(1, 1, 2)
    stage, tensor = made["right"], quantised(made["right"], "t2")
    assert layout_of(tensor, ANY) == stage.layout                # (2 / 2 + 1 / 2) of 2 bits: just three quarters
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparse_weights, "SAVES", 0.74)
        assert layout_of(tensor, ANY) is None
    assert layout_of(quantised(stage, "c4"), ANY) is None


@pytest.mark.parametrize("weights", ["i8", "i8:tensor", "i4", "t2", "f16", "f32"])
@pytest.mark.parametrize("block", [2, 3, 5])
def test_blocks_are_packed_as_any_matrix_with_zeros(block: int, weights: str) -> None:
    """Bytes of values, masks and scales are those that packing the whole matrix gives."""
    _, made = stages(2, 3, block)
    for stage in made.values():
        tensor = quantised(stage, weights)
        said = {"name": tensor.name, "shape": tensor.shape, "format": tensor.format, "group": tensor.group, "source": tensor,
                "layout": stage.layout}
        ours, plain = StoredBlocks(**said), SparseTensor(**said)
        if weights == "t2":                         # a block of zeros is stored all the same
            assert ours.value_bytes >= plain.value_bytes
            continue
        assert ours.value_bytes == plain.value_bytes and ours.meta_bytes == plain.meta_bytes
        for one, other in zip(ours.packed(), plain.packed(), strict=True):
            assert np.array_equal(one[0].values, other[0].values) and np.array_equal(one[0].meta, other[0].meta)
            assert all(np.array_equal(*pair) for pair in zip(one[1], other[1], strict=True))


def test_what_a_lowering_may_ask(tmp_path: Path) -> None:
    """Of any matrix of a compiled model: squares and stage, or that it is none."""
    model = load(files.write(tmp_path / "m", "bitnet"))
    for recipe in ("i8", "i8:9", "f16"):
        made = compile_model(model, recipe=read_recipe(recipe)).model
        found = {stage: stage_of(made.tensor(f"layers.1.down.{stage}")) for stage in ("right", "left")}
        assert all(found[stage] and found[stage].squares == Squares(4, 5, 3) and found[stage].stage == stage for stage in found)
        assert stage_of(made.tensor("embedding")) is None and stage_of(made.tensor("layers.0.ffn_norm")) is None


# ------------------------------------------------------------------------------------------------ programs


@pytest.fixture(scope="module", params=list(files.FAMILIES))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(files.write(tmp_path_factory.mktemp("monarch") / "m", request.param))


@pytest.mark.parametrize("weights", ["i8", "i8:9", "i4", "t2", "c4", "f32", ""])
def test_every_operation_is_that_of_the_graph(model: Model, weights: str, tmp_path: Path) -> None:
    """Where zeros are not stored and where they are, the program is the graph bit by bit, and generates the same tokens."""
    made, dense = compiled(model, weights), compiled(model, weights, "off")
    layouts = {placed.layout.name if placed.layout else "" for placed in made.layout.layer.values() if placed.is_matrix}
    assert layouts == ({""} if weights == "c4" else {"bm:3"})
    program = made.build(tmp_path)
    assert compare(made, program, PROMPT)[1] is None
    (other := tmp_path / "dense").mkdir()
    whole = dense.build(other)
    assert compare(dense, whole, PROMPT)[1] is None
    assert generated(program, made.machine)[0] == generated(whole, dense.machine)[0]


@pytest.mark.parametrize(("machine", "weights"), [("small", "i8"), ("small", "f16"), ("slim-llama", "i8"), ("hpim", "i8"),
                                                  ("hpim", "f16")])
def test_machines_without_an_sp_unit(model: Model, machine: str, weights: str, tmp_path: Path) -> None:
    """All matrices are dense there: fetched in tiles, or in banks."""
    made = compiled(model, weights, machine=small_machine(12288) if machine == "small" else machine)
    assert not any(placed.layout for placed in made.layout.every())
    program = made.build(tmp_path)
    assert compare(made, program, PROMPT)[1] is None
    if machine == "hpim":
        assert re.search(r"\n  q.right +144 x 36 +" + ("i8" if weights == "i8" else "f16"), made.summary())


@pytest.mark.parametrize("options", [{"chunk": 1}, {"chunk": 3}, {"kv": "i8", "chunk": 2}, {"sequences": 2},
                                     {"activations": "f32"}])
def test_with_other_options(model: Model, options: dict[str, Any], tmp_path: Path) -> None:
    made = compiled(model, "i8", **options)
    program = made.build(tmp_path)
    if "sequences" not in options:
        assert compare(made, program, PROMPT)[1] is None
    tokens, fast = generated(program, made.machine)
    again, reference = generated(program, made.machine, ReferenceMachine)
    assert tokens == again and fast.counters == reference.counters
    if "sequences" in options:
        (other := tmp_path / "alone").mkdir()
        assert tokens == generated(compiled(model, "i8").build(other), made.machine)[0]


def test_each_stage_reads_int8(tmp_path: Path) -> None:
    """The vector between the two products is rounded as every input of a product with codes."""
    made = compiled(load(files.write(tmp_path / "m", "bitnet")), "i8")
    kinds = [(op.kind, *op.inputs, *op.weights) for op in made.graph.layer]
    at = kinds.index(("gemv.i8.sparse", "attention_in_codes", "attention_in_scale", "layer.k.right"))
    assert kinds[at + 1:at + 3] == [("quantise", "k_between"),
                                    ("gemv.i8.sparse", "k_between_codes", "k_between_scale", "layer.k.left")]
    assert made.card["formats"]["q.right"] == "i8:row bm:3"


def test_bytes_and_products(tmp_path: Path) -> None:
    """No value is read but those of blocks; macs and what is skipped are the dense stages'."""
    made = compiled(load(files.write(tmp_path / "m", "bitnet")), "i8", chunk=1)
    counters = generated(made.build(tmp_path), made.machine)[1].counters
    positions = counters["tokens.read"] + counters["tokens.emitted"] - 1
    stored = sum(2 * rows * cols // 3 for rows, cols in files.MATRICES.values())
    elements = sum(rows * cols // 9 * (rows + cols) for rows, cols in files.MATRICES.values())
    assert counters["sp.values"] == positions * files.LAYERS * stored
    assert counters["sp.macs"] + counters["sp.macs_skipped"] == positions * files.LAYERS * elements


@pytest.mark.parametrize(("shape", "block"), [("opt_350m", 2), ("bitnet", 2), ("widths", 2), ("biases", 2)])
def test_projected_models(shape: str, block: int, tmp_path: Path) -> None:
    config = {"widths": replace(SHAPES["gqa"], layers=3, hidden=48, widths=(48, 32, 48))}.get(shape) or SHAPES[shape]
    made = compiled(project(random_model(config, ternary=shape == "bitnet"), block), "i8")
    assert compare(made, made.build(tmp_path), PROMPT)[1] is None
    assert made.card["projected"] == list(made.model.projected) and made.model.projected[1] in made.summary()


# ------------------------------------------------------------------------------------------------ options and commands


@pytest.mark.parametrize("text", ["monarch", "monarch:", "monarch:1", "monarch:x", "butterfly:8", "monarch:-2", "monarch:8:8", ""])
def test_bad_projections(text: str) -> None:
    with pytest.raises(ModelError, match=rf"--project: '{text}'; expected monarch:B, with blocks of B x B: monarch:8"):
        parse_project(text)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    dense = random_model(SHAPES["gqa"])
    with pytest.raises(ModelError, match=r"--project: monarch:3, and layers.0.q is \[48, 48\]; expected matrices with sides that "
                                         r"are multiples of 9, 3 \* 3\nhint: 2 would do for all matrices"):
        project(dense, 3)
    with pytest.raises(ModelError, match=r"hint: 2 would do for all matrices"):
        project(dense, 5)
    with pytest.raises(ModelError, match=r"hint: no block would do: the sides have no square as common divisor"):
        project(random_model(SHAPES["hidden_33"]), 2)
    model = load(files.write(tmp_path / "m", "bitnet"))
    with pytest.raises(ModelError, match=r"--project: a model with block-diagonal matrices; expected a dense model"):
        project(model, 3)
    with pytest.raises(ModelError, match=r"--prune: block-diagonal matrices; expected dense ones"):
        prune(model, parse_prune("magnitude:0.5"))
    with pytest.raises(ModelError, match=r"--ffn-sparsity: block-diagonal matrices; expected dense ones"):
        compile_model(model, sparsity="exact")
    with pytest.raises(ModelError, match=r"f32 for int8 activations; .*\nhint: --weights i8, or --activations f32"):
        compile_model(project(random_model(SHAPES["bitnet"], ternary=True), 2))


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command that reads a model projects it, and says so."""
    model, text = str(tiny_checkpoint.write_checkpoint(tmp_path)), str(tmp_path / "text.txt")
    Path(text).write_text("once upon a time there was a little cat. " * 4, encoding="utf-8")
    flags = ["--project", "monarch:4", "--weights", "i8"]
    assert invoke(["compile", model, "-o", str(tmp_path / "a.elf"), *flags]) == 0
    said = capsys.readouterr().err
    assert "projected: block-diagonal, blocks of 4 x 4 in squares of 16 x 16" in said
    assert "relative error of the matrices: q 0." in said and "up.left of each layer: bm:4" in said
    assert invoke(["eval", model, text, *flags, "--tokens", "20", "--json", str(tmp_path / "e.json")]) == 0
    assert ", projected to monarch:4" in capsys.readouterr().out
    figures = json.loads((tmp_path / "e.json").read_text())
    assert figures["project"] == "monarch:4" and figures["kl_divergence"] > 0.01
    assert invoke(["verify", model, *flags, "--prompt", "a cat", "--tokens", "4"]) == 0
    texts = []
    for more in ([], flags):
        capsys.readouterr()
        assert invoke(["generate", model, "a cat", "-n", "10", "--quiet", *more]) == 0
        texts.append(capsys.readouterr().out)
    assert len(set(texts)) == 2
    assert invoke(["generate", model, "a cat", *flags, "--prune", "magnitude:0.5"]) == 1
    assert "--prune: block-diagonal matrices" in capsys.readouterr().err


def test_a_checkpoint_is_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(files.write(tmp_path / "m", "llama"))
    assert invoke(["verify", folder, "--weights", "i8", "--prompt", "a cat", "--tokens", "4"]) == 0
    said = capsys.readouterr().out
    assert "transformers has no block-diagonal matrices" in said and "bit-exact" in said


@pytest.mark.parametrize(("down", "across", "block"), [(2, 3, 3), (1, 1, 2), (4, 1, 2)])
def test_blocks_for_macros_are_packed_as_their_layout_says(down: int, across: int, block: int) -> None:
    for tensor in stages(down, across, block)[1].values():
        codes = quantised(tensor, "i8")
        stored = StoredDiagonals(tensor.name, tensor.shape, codes.format, codes.group, source=codes, layout=tensor.diagonals)
        parts, scales = zip(*stored.packed(), strict=True)
        values = np.concatenate([part.values for part in parts])
        assert values.tobytes() == tensor.diagonals.pack(codes.codes().values, "i8").values.tobytes()
        assert values.size == stored.value_bytes and not any(part.meta.size for part in parts)
        assert np.array_equal(np.concatenate([part for found in scales for part in found]), codes.codes().scales.reshape(-1))
