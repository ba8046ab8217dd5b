"""Matrices with zeros: the layout that each gets, programs that neither store nor read zeros, results equal to the dense ones."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from compiled_models import PROMPT, fetching_machine, generated, small_machine
from random_models import SHAPES, ArrayTensor, random_model

from compiler.checking.verify import compare
from compiler.compile import compile_model
from compiler.compiled import Compiled
from compiler.errors import ModelError
from compiler.formats.layouts import Able
from compiler.formats.recipe import Recipe, parse_format, read_recipe
from compiler.formats.weight_format import WEIGHT_FORMATS
from compiler.model.model import Model
from compiler.passes.sparse_weights import SparseTensor, Zeros, layout_of
from isa.reference import ReferenceMachine

Mask = npt.NDArray[np.bool_]


def kept(shape: tuple[int, int], how: str, seed: int) -> Mask:
    """What is not zero in a matrix: "2:4" of each four, "block": of blocks of four, "half": any."""
    numbers = np.random.default_rng(seed).random(shape)
    rows, cols = shape
    match how:
        case "half":
            return numbers < 0.4
        case "few":
            return numbers < 0.04
        case "block":
            return np.repeat(numbers[:, ::4] < 0.3, 4, axis=1)[:, :cols]
        case _:
            n, m = map(int, how.split(":"))
            padded = np.pad(numbers, ((0, 0), (0, -cols % m))).reshape(rows, -1, m)
            return (np.argsort(np.argsort(padded, axis=2), axis=2) < n).reshape(rows, -1)[:, :cols]


def pruned(how: str, shape: str = "gqa", roles: str = "") -> Model:
    """A model whose matrices of layers have zeros, of those roles alone if any are named."""
    model = random_model(SHAPES[shape])
    tensors = dict(model.tensors)
    for number, (role, tensor) in enumerate(model.tensors.items()):
        if role.startswith("layers.") and len(tensor.shape) == 2 and role.rpartition(".")[2] in (roles.split() or role):
            rows = tensor.rows()
            tensors[role] = ArrayTensor(tensor.name, tensor.shape, WEIGHT_FORMATS["f32"],
                                        values=np.where(kept(rows.shape, how, number), rows, np.float32(0)))
    return replace(model, tensors=tensors)


def compiled(model: Model, weights: str, sparse: str = "auto", **options: Any) -> Compiled:
    recipe = read_recipe(weights) if weights else Recipe()
    return compile_model(model, recipe=replace(recipe, sparse=sparse), **options)


@pytest.mark.parametrize(("how", "layout"), [("2:4", "nm:2:4"), ("1:4", "nm:1:4"), ("4:8", "nm:4:8"), ("3:16", "nm:3:16"),
                                             ("half", "bm"), ("block", "bm:4"), ("few", "cs")])
@pytest.mark.parametrize("weights", ["i8", "f16"])
def test_the_layout_is_the_one_of_the_fewest_bytes(how: str, layout: str, weights: str) -> None:
    layouts = {placed.layout.name for placed in compiled(pruned(how), weights).layout.layer.values() if placed.layout}
    assert layouts == {layout}


def bits(zeros: Zeros, *allowed: str) -> dict[str, float]:
    """Bits that an int8 element takes, by layout: of those that are allowed, or of all."""
    able = Able(lambda layout: not allowed or layout.name in allowed, "")
    return {layout.name: found for layout, found in zeros.bits(8, able).items()}


def test_counts_of_zeros() -> None:
    zeros = Zeros(16)
    row = np.array([0, 5, 0, -3, 0, 0, 0, 9, 7, 0, -2, 0, 0, 0, 0, 0])
    zeros.see((row != 0)[None])
    assert (zeros.elements, zeros.kept, zeros.blocks, zeros.fullest) == (16, 5, 3, {4: 2, 8: 3, 16: 5})
    assert bits(zeros) == {"nm:2:4": 5.0, "nm:3:8": 4.125, "nm:5:16": 3.75, "bm": 3.5, "bm:4": 6.25}
    assert bits(zeros, "nm:2:4", "nm:4:8", "bm:4") == {"nm:2:4": 5.0, "nm:4:8": 5.5, "bm:4": 6.25}
    zeros.see(np.ones((1, 16), bool))                   # the fullest group of all rows counts
    assert zeros.fullest == {4: 4, 8: 8, 16: 16} and bits(zeros) == {"bm": 21 / 32 * 8 + 1, "bm:4": 7 / 8 * 8 + 0.25}


def test_a_last_group_that_is_short_takes_all_its_places() -> None:
    zeros = Zeros(6)
    zeros.see(np.array([[1, 0, 0, 0, 1, 0]]) != 0)
    assert bits(zeros, "nm:1:4", "nm:1:16") == {"nm:1:4": pytest.approx(2 * (8 + 2) / 6)}       # two groups, of one value each
    assert bits(zeros, "nm:2:16") == {"nm:2:16": pytest.approx(2 * (8 + 4) / 6)}


def test_columns_are_listed_where_there_are_few() -> None:
    few, more = Zeros(100), Zeros(100)
    few.see(np.arange(100)[None] < 5)
    more.see(np.arange(100)[None] < 9)
    assert bits(few, "bm", "cs") == {"bm": 1.4, "cs": 1.2} and bits(more, "bm", "cs") == {"bm": 1.72}


def test_dense_stays_dense() -> None:
    """Nothing is saved: few zeros, formats without sparse products; a layout that was named is taken all the same."""
    dense = random_model(SHAPES["gqa"])
    assert not any(placed.layout for placed in compiled(dense, "i8").layout.every())
    assert not any(placed.layout for placed in compiled(pruned("half"), "c4").layout.every())
    assert not any(placed.layout for placed in compiled(pruned("half"), "i8", "off").layout.every())
    assert {placed.layout.name for placed in compiled(dense, "i8", "bm").layout.layer.values() if placed.is_matrix} == {"bm"}
    assert layout_of(pruned("half").tensor("layers.0.q"), None) is None


@pytest.mark.parametrize(("shape", "weights"), [(shape, weights) for shape, config in SHAPES.items() for weights in ("i8", "")
                                                if weights or not config.int8_activations])
def test_every_family(shape: str, weights: str, tmp_path: Path) -> None:
    made = compiled(pruned("half", shape), weights)
    program = made.build(tmp_path)
    assert any(op.kind.endswith(".sparse") for op in made.graph.bodies[0].ops)
    assert compare(made, program, PROMPT)[1] is None


@pytest.mark.parametrize("weights", ["i8", "i8:16", "i8:tensor", "i4", "t2", "f16", "f32"])
@pytest.mark.parametrize(("how", "sparse"), [("2:4", "nm:2:4"), ("3:8", "nm:3:8"), ("half", "bm"),
                                             ("block", "bm:4"), ("block", "bm:16"), ("few", "cs"), ("half", "cs"),
                                             ("block", "bl:1x4"), ("half", "bl:16x1"), ("few", "bl:5x3")])
def test_every_operation_is_that_of_the_dense_program(weights: str, how: str, sparse: str, tmp_path: Path) -> None:
    model = pruned(how)
    made, dense = compiled(model, weights, sparse), compiled(model, weights, "off")
    program = made.build(tmp_path)
    assert compare(made, program, PROMPT)[1] is None
    (other := tmp_path / "dense").mkdir()
    tokens, runner = generated(program, made.machine)
    assert tokens == generated(dense.build(other), dense.machine)[0]
    assert {op.kind for op in made.graph.layer if op.kind.startswith("gemv")} == {
        "gemv.i8.sparse" if made.integer_activations else "gemv.sparse"} and runner.counter("sp.macs")


@pytest.mark.parametrize("options", [{"chunk": 1}, {"chunk": 3}, {"kv": "i8"}, {"kv": "f16", "chunk": 2}, {"sequences": 2}])
def test_with_other_options(options: dict[str, Any], tmp_path: Path) -> None:
    made = compiled(pruned("2:4"), "i8", **options)
    program = made.build(tmp_path)
    if "sequences" not in options:
        assert compare(made, program, PROMPT)[1] is None
    tokens, fast = generated(program, made.machine)
    again, reference = generated(program, made.machine, ReferenceMachine)
    assert tokens == again and fast.counters == reference.counters


def test_layers_of_several_layouts(tmp_path: Path) -> None:
    """Roles and layers whose zeros lie otherwise: each matrix has its own, and layers that differ have code of their own."""
    model = pruned("2:4", roles="q k v o")
    tensors = dict(model.tensors)
    up = tensors["layers.1.up"]
    tensors["layers.1.up"] = ArrayTensor(up.name, up.shape, WEIGHT_FORMATS["f32"],
                                         values=np.where(kept((up.shape[0], up.shape[1]), "half", 1), up.rows(), np.float32(0)))
    made = compiled(replace(model, tensors=tensors), "i8")
    assert len(made.graph.bodies) == 2
    assert [body["q"].stored for body in made.layout.bodies] == ["i8:row nm:2:4"] * 2
    assert [body["up"].stored for body in made.layout.bodies] == ["i8:row", "i8:row bm"]
    assert compare(made, made.build(tmp_path), PROMPT)[1] is None


def test_bytes_and_products_fall_with_the_zeros(tmp_path: Path) -> None:
    """What flash is read of, per product: values and metadata, and no more."""
    counts = {}
    for how in ("dense", "2:4", "1:4"):
        model = random_model(SHAPES["gqa"]) if how == "dense" else pruned(how)
        made = compiled(model, "i8", chunk=1)
        (folder := tmp_path / how.replace(":", "")).mkdir()
        counts[how] = generated(made.build(folder), made.machine)[1].counters
    positions = counts["2:4"]["tokens.read"] + counts["2:4"]["tokens.emitted"] - 1
    matrices = [tensor.shape for role, tensor in random_model(SHAPES["gqa"]).tensors.items()
                if role.startswith("layers.") and len(tensor.shape) == 2]
    elements = positions * sum(rows * cols for rows, cols in matrices)
    for how, share in (("2:4", 2), ("1:4", 4)):
        found = counts[how]
        assert found["sp.macs"] + found["sp.macs_skipped"] == elements and found["sp.values"] == elements // share
        assert found["sp.weight_bytes"] == elements // share and found["sp.meta_bytes"] == elements // share // 4
        assert counts["dense"]["flash.bytes_read"] - found["flash.bytes_read"] == elements - elements // share * 5 // 4


def test_the_memory_map_says_what_is_saved() -> None:
    said = compiled(pruned("2:4", roles="up"), "i8").summary()
    assert "  zeros are not stored:\n    up of each layer: nm:2:4, 50.0 % of the values, 2,400 bytes; dense 3,840\n" in said
    assert said.count("; dense ") == 1 and "zeros" not in compiled(pruned("2:4"), "i8", "off").summary()
    said = compiled(pruned("half", roles="q"), "f16").summary()
    stored = max(np.count_nonzero(pruned("half", roles="q").tensor(f"layers.{layer}.q").rows()) for layer in (0, 1))
    assert f"q of each layer: bm, {100 * stored / 2304:.1f} % of the values, {2 * stored + 48 * 6:,} bytes; dense 4,608\n" in said


def test_layouts_of_a_recipe(tmp_path: Path) -> None:
    file = tmp_path / "r.toml"
    file.write_text('weights = "i8"\nsparse = "off"\n[layouts]\n"layers.*.up" = "bm"\n"layers.1.*" = "nm:2:4"\n', encoding="utf-8")
    made = compile_model(pruned("2:4"), recipe=read_recipe(str(file)))
    assert [body["up"].stored for body in made.layout.bodies] == ["i8:row bm", "i8:row nm:2:4"]
    assert [body["q"].stored for body in made.layout.bodies] == ["i8:row", "i8:row nm:2:4"]
    for text, said in (('[layouts]\n"layers.*.nothing" = "bm"', "layouts.layers.*.nothing: matches no matrix"),
                       ("[layouts]\nx = 3", "layouts.x: 3; expected auto"),
                       ('sparse = "nm:5:4"', "sparse: 'nm:5:4'; expected auto, off, nm:N:M"),
                       ('sparse = "rl"', "no matrix instruction takes rl; run-length streams are for convolutions")):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(ModelError) as error:
            compile_model(pruned("2:4"), recipe=read_recipe(str(file)))
        assert said in str(error.value)


def test_what_cannot_be_sparse_is_refused_where_it_was_asked_for() -> None:
    model = pruned("2:4")
    with pytest.raises(ModelError, match=r"tensor .*expected zeros as nm:1:4 needs them"):
        compiled(model, "i8", "nm:1:4")
    with pytest.raises(ModelError, match="bm: machine small has no sp unit that reaches the scratchpad"):
        compiled(model, "i8", "bm", machine=small_machine())
    with pytest.raises(ModelError, match="bm: codes are decoded"):
        compiled(model, "i8", "bm", activations="f32")
    with pytest.raises(ModelError, match="bm: rows of active neurons are read one by one"):
        compiled(pruned("2:4", "relu2"), "i8", "bm", sparsity="exact")
    for options in ({"machine": small_machine()}, {"activations": "f32"}):
        assert not any(placed.layout for placed in compiled(model, "i8", **options).layout.every())
    partly = compiled(pruned("2:4", "relu2"), "i8", sparsity="exact")
    assert {role for role, placed in partly.layout.layer.items() if placed.layout} == {"q", "k", "v", "o", "gate"}


@pytest.mark.parametrize("scratchpad", [12 << 10, 40 << 10, 1 << 20])
@pytest.mark.parametrize(("how", "weights", "layout"), [
    ("2:4", "i8", "nm:2:4"), ("2:4", "i8:16", "nm:2:4"), ("2:4", "f16", "nm:2:4"), ("half", "i8", "bm"), ("half", "i4", "bm"),
    ("block", "f16", "bm:4")])
def test_where_rows_are_fetched(scratchpad: int, how: str, weights: str, layout: str, tmp_path: Path) -> None:
    """Values, metadata and scales come in tiles, or stay: fewer bytes than dense, as many as predicted, the same tokens."""
    machine, counts = fetching_machine(scratchpad), {}
    for sparse in ("off", "auto"):
        made = compiled(pruned(how), weights, sparse, machine=machine)
        program = made.build(tmp_path)
        if sparse == "auto":
            assert {placed.layout.name for placed in made.layout.layer.values() if placed.layout} == {layout}
            assert compare(made, program, PROMPT)[1] is None
            assert made.choice.exact
        tokens, runner = generated(program, made.machine)
        counts[sparse] = (tokens, runner.counters, made.choice.reads(4).far)
        assert generated(program, made.machine, ReferenceMachine)[0] == tokens
    assert counts["off"][0] == counts["auto"][0] and counts["auto"][1]["sp.ops"]
    if scratchpad < 1 << 20:
        assert counts["auto"][1]["dram.bytes_read"] + counts["auto"][1]["flash.bytes_read"] < (
            counts["off"][1]["dram.bytes_read"] + counts["off"][1]["flash.bytes_read"])
        assert counts["auto"][2] < counts["off"][2]


def test_more_stays() -> None:
    """Of a scratchpad that holds a part of a dense model more matrices stay where zeros take no room."""
    counts = []
    for sparse in ("off", "auto"):
        made = compiled(pruned("2:8"), "i8", sparse, machine=fetching_machine(30 << 10))
        residency = made.memory.residency
        counts.append(sum(residency.holds(f"layer.{role}", layer) for layer in range(made.model.config.layers)
                          for role, placed in made.layout.layer.items() if placed.is_matrix))
    assert 0 < counts[0] < counts[1]


def test_blocks_that_no_buffer_holds_are_refused() -> None:
    with pytest.raises(ModelError, match=r"16 rows of weights, which belong together, take 5,164 bytes .*expected at most 4,032"):
        compiled(pruned("block"), "f32", "bl:16x4", machine=fetching_machine(12 << 10), chunk=3)


def test_a_vector_that_has_no_room() -> None:
    """Nothing is chosen for a matrix with more columns than the unit holds; what was asked for is refused."""
    path = Path(fetching_machine(1 << 16))
    text = path.read_text(encoding="utf-8")
    before, unit, behind = text.partition("[unit.sp]")
    few = path.with_name("few.toml")
    few.write_text(before + unit + behind.replace("value = 65_536", "value = 40", 1), encoding="utf-8")
    made = compiled(pruned("2:4"), "i8", machine=str(few)).model
    assert not any(isinstance(tensor, SparseTensor) for tensor in made.tensors.values())
    with pytest.raises(ModelError, match=r"(?s)q has 48 columns; expected at most the 40 .* \(sp.activations\).*--sparse off"):
        compiled(pruned("2:4"), "i8", "nm:2:4", machine=str(few))


def test_a_unit_that_is_not_used_need_not_reach_weights() -> None:
    """Dense matrices are read where they lie by the units that multiply them, whatever ports sp and cim have."""
    text = Path(fetching_machine(1 << 16)).read_text(encoding="utf-8").replace(
        'value = ["core", "fetch", "pim"]', 'value = ["core", "vec", "lut", "attn", "fetch", "pim"]')
    path = Path(fetching_machine(1 << 16)).with_name("unused.toml")
    path.write_text(text, encoding="utf-8")
    assert compiled(random_model(SHAPES["gqa"]), "i8", machine=str(path)).memory.reached
    assert not compiled(pruned("2:4"), "i8", machine=str(path)).memory.reached


@pytest.mark.parametrize(("how", "weights", "layout"), [
    ("few", "i8", "cs"), ("few", "i4", "cs"), ("half", "f16", "cs"), ("half", "t2:row", "cs"), ("block", "i8", "bl:1x4"),
    ("half", "i8", "bl:5x3"), ("block", "f32", "bl:4x4")])
def test_lists_are_fetched(how: str, weights: str, layout: str, tmp_path: Path) -> None:
    """Listed columns and blocks in tiles: a tile ends with whole blocks; bytes as predicted, the tokens of the dense model."""
    tokens = generated((dense := compiled(pruned(how), weights, "off")).build(tmp_path), dense.machine)[0]
    for scratchpad in (12 << 10, 40 << 10):
        made = compiled(pruned(how), weights, layout, machine=fetching_machine(scratchpad), chunk=3)
        program = made.build(tmp_path)
        assert {placed.layout.name for placed in made.layout.layer.values() if placed.layout} == {layout} and made.choice.exact
        assert compare(made, program, PROMPT)[1] is None
        found, runner = generated(program, made.machine)
        again, reference = generated(program, made.machine, ReferenceMachine)
        assert found == again == tokens and runner.counters == reference.counters


@pytest.mark.parametrize(("how", "weights", "layout"), [
    ("2:4", "i8", "auto"), ("half", "i8", "auto"), ("half", "f32", "auto"), ("block", "i4", "auto"), ("half", "i4", "cs"),
    ("half", "i8:tensor", "bl:5x3"), ("block", "i8", "cs")])
def test_predicted_bytes_where_rows_are_fetched(how: str, weights: str, layout: str, tmp_path: Path) -> None:
    for scratchpad in (12 << 10, 40 << 10):
        made = compiled(pruned(how), weights, layout, machine=fetching_machine(scratchpad), chunk=1)
        program, found = made.build(tmp_path), []
        for tokens in (3, 4, 5):
            text, runner = generated(program, made.machine, tokens=tokens)
            assert len(text) == tokens
            counters = runner.counters
            found.append((counters["sram.bytes_read"], counters["dram.bytes_read"] + counters["flash.bytes_read"]))
        for position, (before, after) in enumerate(itertools.pairwise(found), start=len(PROMPT) + 2):
            reads = made.choice.reads(position)
            assert (after[0] - before[0], after[1] - before[1]) == (reads.near, reads.far)


def test_a_prompt_reads_a_sparse_matrix_once_a_chunk(tmp_path: Path) -> None:
    """On a machine that reads weights where they lie, and on one that fetches them."""
    for machine, how in (("slim", "2:4"), (fetching_machine(64 << 10), "2:4"), (fetching_machine(64 << 10), "half")):
        read = {}
        for chunk in (1, len(PROMPT)):
            made = compiled(pruned(how), "i8", chunk=chunk, machine=machine)
            read[chunk] = generated(made.build(tmp_path), made.machine, tokens=1)[1].counters
        assert read[1]["sp.macs"] == read[5]["sp.macs"] and read[1]["sp.values"] == read[5]["sp.values"]
        for name in ("sp.weight_bytes", "sp.meta_bytes"):
            assert read[1][name] == 5 * read[5][name]


def test_a_recipe_says_nothing_of_layouts_by_itself() -> None:
    assert Recipe(parse_format("i8")).layout_of("layers.0.q") == "auto"
