"""Products in macros: results equal to the graph, what stays and what is loaded again, patterns that the cells can hold."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from compiled_models import FOLDER, PRESETS
from machine_files import without_unit
from random_models import SHAPES, random_model
from test_sparse_weights import PROMPT, compiled, generated, pruned

from compiler.checking.verify import compare
from compiler.compile import compile_model
from compiler.errors import ModelError, RoomError
from compiler.formats.recipe import read_recipe
from compiler.lowering.cim import DENSE_MAP, SPARSE_MAP, Macros
from compiler.passes.project import parse_project, project
from compiler.passes.prune import parse_prune, prune
from isa.reference import ReferenceMachine


def machine(**parameters: Any) -> str:
    """A preset with macros and without lut, sp, pim and attn units: the path of the file."""
    text = (PRESETS / "slim.toml").read_text(encoding="utf-8")
    for unit in ("lut", "sp", "pim", "attn"):
        text = without_unit(text, unit)
    before, unit, behind = text.partition("[unit.cim]")
    for name, value in parameters.items():
        line = f"parameters.{name} = {{ value = {json.dumps(value)}, source = 'assumed: a test' }}"
        behind, changed = re.subn(rf"^parameters\.{name} .*$", line, behind, count=1, flags=re.MULTILINE)
        assert changed
    text = before + unit + behind
    path = Path(FOLDER.name) / f"macros-{'-'.join(map(str, parameters.values())).replace(':', '')}.toml"
    path.write_text(text.replace('name = "slim"', 'name = "macros"'), encoding="utf-8")
    return str(path)


FEW = {"macros": 8, "patterns": "2:4 2:8 4:8"}


@pytest.mark.parametrize("macros", [4, 8, 4096])
@pytest.mark.parametrize("how", ["2:4", "2:8", "half"])
@pytest.mark.parametrize("options", [{}, {"chunk": 1}, {"chunk": 3}, {"sequences": 2}])
def test_every_operation_is_that_of_the_graph(macros: int, how: str, options: dict[str, Any], tmp_path: Path) -> None:
    """Matrices of zeros where the cells take them, dense ones else; loaded again and again, or once."""
    made = compiled(pruned(how), "i8", machine=machine(macros=macros, patterns="2:4 2:8 4:8"), **options)
    layouts = {placed.layout.name if placed.layout else "" for role, placed in made.layout.layer.items() if placed.is_matrix}
    assert layouts == {"half": {""}, "2:4": {"nm:2:4"}, "2:8": {"nm:2:8"}}[how]
    assert {op.kind for _, op in made.graph.steps() if op.kind.startswith("gemv")} == {"gemv.i8.cim"}
    assert Macros.of(made.machine, made.graph, made.layout).stay == (macros == 4096)
    program = made.build(tmp_path)
    if "sequences" not in options:
        assert compare(made, program, PROMPT)[1] is None
    tokens, fast = generated(program, made.machine)
    again, reference = generated(program, made.machine, ReferenceMachine)
    assert tokens == again and fast.counters == reference.counters
    dense = compiled(pruned(how), "i8", "off", **options)
    (other := tmp_path / "dense").mkdir()
    assert generated(dense.build(other), dense.machine)[0] == tokens
    if macros == 4096:
        assert fast.counter("cim.cells_written") <= sum(
            placed.rows * placed.shape[1] for _, body in made.layout.layers() for placed in body.values()
            if placed.is_matrix) + 64 * 64 * 8


@pytest.mark.parametrize("shape", [shape for shape, config in SHAPES.items() if config.heads])
def test_every_family(shape: str, tmp_path: Path) -> None:
    for macros in (16, 4096):
        made = compiled(pruned("2:4", shape), "i8", machine=machine(macros=macros, patterns="2:4 4:8"))
        assert compare(made, made.build(tmp_path), PROMPT)[1] is None


@pytest.mark.parametrize("shape", ["gqa", "opt"])
def test_flow_of_llama_and_opt(shape: str, tmp_path: Path) -> None:
    """Patterns that FLOW chooses, on the machine for them: every operation is that of the graph, and tokens come."""
    model = prune(random_model(replace(SHAPES[shape], layers=4)), parse_prune("flow:0.6"), list(range(2, 22)))
    made = compiled(model, "i8", machine="flexcim")
    program = made.build(tmp_path)
    layouts = {placed.layout.name for _, body in made.layout.layers() for placed in body.values() if placed.layout}
    assert layouts == {"nm:2:4", "nm:2:8"}
    assert compare(made, program, PROMPT)[1] is None
    assert len(generated(program, made.machine)[0]) > 0


def test_a_pattern_holds_what_a_narrower_one_does() -> None:
    """Macros of 2:4 alone take 1:4 as 2:4, and 2:8 too where it is one."""
    only = machine(macros=64, patterns="2:4")
    for how, layout in (("1:4", "nm:2:4"), ("2:4", "nm:2:4"), ("3:8", "")):
        body = compiled(pruned(how), "i8", machine=only).layout.layer
        assert {placed.layout.name if placed.layout else "" for placed in body.values() if placed.is_matrix} == {layout}, how
    with pytest.raises(ModelError, match="bm: the macros of machine macros hold dense matrices, N of M as 2:4"):
        compiled(pruned("half"), "i8", "bm", machine=only)


def test_layers_of_several_patterns_stay(tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text('weights = "i8"\nsparse = "off"\n[layouts]\n"layers.0.*" = "nm:2:4"\n"layers.1.up" = "nm:4:8"\n',
                      encoding="utf-8")
    for macros in (16, 4096):
        made = compile_model(pruned("2:4"), machine=machine(macros=macros, patterns="any"), recipe=read_recipe(str(recipe)))
        assert len(made.graph.bodies) == 2
        assert compare(made, made.build(tmp_path), PROMPT)[1] is None
    assert "hold all matrices" in made.summary()


def test_a_row_that_has_no_room_is_refused() -> None:
    with pytest.raises(RoomError, match=r"a row of \w+ goes through \d+ macros; expected at most 1 \(cim.macros\)"):
        compiled(random_model(SHAPES["gqa"]), "i8", machine=machine(macros=1, rows=16))


@pytest.mark.parametrize("options", [{"chunk": 4}, {"chunk": 4, "sequences": 2}])
@pytest.mark.parametrize("macros", [8, 4096])
def test_more_tokens_than_the_unit_holds_vectors_of(macros: int, options: dict[str, Any], tmp_path: Path) -> None:
    """Several matrices read one vector: each group of tokens has its own."""
    tokens = []
    for activations in (96, 128, 8192):
        made = compiled(pruned("2:4"), "i8", machine=machine(macros=macros, activations=activations), **options)
        (folder := tmp_path / str(activations)).mkdir()
        program = made.build(folder)
        assert "sequences" in options or compare(made, program, PROMPT)[1] is None
        tokens.append(generated(program, made.machine)[0])
    assert tokens[0] == tokens[1] == tokens[2]


def test_a_vector_that_has_no_room_is_refused() -> None:
    with pytest.raises(RoomError, match=r"(?s)q has 48 columns; expected at most the 40 activations .* \(cim.activations\)"):
        compiled(random_model(SHAPES["gqa"]), "i8", machine=machine(macros=4096, activations=40))


@pytest.mark.parametrize("weights", ["i8", "i8:tensor"])
@pytest.mark.parametrize("macros", [8, 4096])
def test_predicted_bytes(macros: int, weights: str, tmp_path: Path) -> None:
    made = compiled(pruned("2:4"), weights, machine=machine(macros=macros, patterns="2:4"), chunk=1)
    program = made.build(tmp_path)
    found = [generated(program, made.machine, tokens=tokens)[1].counters for tokens in (3, 4)]
    assert made.choice.exact
    reads, (before, after) = made.choice.reads(len(PROMPT) + 2), [
        sum(counters.get(f"{region}.bytes_read", 0) for region in ("sram", "dram", "flash")) for counters in found]
    assert after - before == reads.near + reads.far


def test_a_layout_that_was_asked_for_is_not_dropped() -> None:
    with pytest.raises(ModelError, match="nm:2:4: machine macros has no sp unit"):
        compiled(pruned("2:4"), "f16", "nm:2:4", machine=machine(**FEW))
    with pytest.raises(ModelError, match="bm: no instruction computes with c4 values without their zeros"):
        compiled(pruned("half"), "c4", "bm")


def test_groups_of_columns_of_blocks_are_dense(tmp_path: Path) -> None:
    model = project(random_model(SHAPES["gqa"]), parse_project("monarch:2"))
    for macros in (200, 4096):
        made = compiled(model, "i8:4", machine=machine(macros=macros, patterns="none"))
        assert not any(placed.layout for placed in made.layout.every())
        assert compare(made, made.build(tmp_path), PROMPT)[1] is None


def test_blocks_that_have_no_room_are_refused() -> None:
    model = project(random_model(SHAPES["gqa"]), parse_project("monarch:2"))
    with pytest.raises(RoomError, match=r"the 480 blocks of gate.right fill 8 macros; expected at most 7 \(cim.macros\)"):
        compiled(model, "i8", machine=machine(macros=7, rows=16, columns=16, patterns="none"))


def test_rows_of_active_neurons_cannot_be_left_out() -> None:
    with pytest.raises(ModelError, match=r"--ffn-sparsity, and int8 weights of layer\.up; expected floating"):
        compiled(pruned("2:4", "relu2"), "i8", sparsity="exact", machine=machine(**FEW))


def test_other_formats_need_other_units() -> None:
    with pytest.raises(ModelError, match=r"(?s)no lut unit.*int8 matrices"):
        compiled(random_model(SHAPES["gqa"]), "t2", machine=machine(**FEW))
    made = compiled(random_model(SHAPES["gqa"]), "f16", machine=machine(**FEW))
    assert not any("cim" in op.kind for _, op in made.graph.steps())


# ------------------------------------------------------------------------------------------------ block-diagonal matrices


@pytest.mark.parametrize("macros", [8, 200, 4096])
@pytest.mark.parametrize("options", [{}, {"chunk": 1}, {"sequences": 2}])
def test_stages_of_block_diagonal_matrices(macros: int, options: dict[str, Any], tmp_path: Path) -> None:
    """Blocks in one array after the other, in all that there are, or one matrix at a time: the results are the graph's."""
    model = project(random_model(SHAPES["gqa"]), parse_project("monarch:2"))
    made = compiled(model, "i8", machine=machine(macros=macros, rows=16, columns=16, patterns="none"), **options)
    assert {placed.layout.name for role, placed in made.layout.layer.items() if placed.is_matrix} == {"bd:2"}
    plan = Macros.of(made.machine, made.graph, made.layout)
    assert plan.stay == (macros > 8) and plan.map == (SPARSE_MAP if macros == 4096 else DENSE_MAP)
    program = made.build(tmp_path)
    if "sequences" not in options:
        assert compare(made, program, PROMPT)[1] is None
    tokens, fast = generated(program, made.machine)
    again, reference = generated(program, made.machine, ReferenceMachine)
    assert tokens == again and fast.counters == reference.counters
    slim = compiled(model, "i8", **options)
    (other := tmp_path / "slim").mkdir()
    assert generated(slim.build(other), slim.machine)[0] == tokens
