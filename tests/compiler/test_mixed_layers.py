"""Formats that differ from layer to layer: layers with the same ones share code, each computes what its own graph says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from compiled_models import ends, small_machine
from random_models import SHAPES, random_model

from asm.assembler import assemble
from compiler.checking.verify import compare
from compiler.checking.verify_chain import dump_to, operations
from compiler.compile import compile_model
from compiler.compiled import Compiled
from compiler.formats.recipe import Recipe, parse_format
from compiler.measuring.measure import shares
from emulator.machine import Machine
from emulator.observe.hazards import HazardCheck
from isa.reference import ReferenceMachine
from isa.services import Host

PROMPT = [1, 5, 7, 7, 60, 3, 8, 9, 10]
MIXED = Recipe(parse_format("t2"), parse_format("i8"), {
    name: parse_format(form) for name, form in (
        ("layers.0.*", "f16"), ("layers.2.down", "c4"), ("layers.[35].[qk]", "i4:16"))})
BODIES = [(0,), (1, 4), (2,), (3, 5)]


def mixed(shape: str = "gqa", machine: str = "slim", **options: object) -> Compiled:
    return compile_model(random_model(replace(SHAPES[shape], layers=6)), machine=machine, recipe=MIXED, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("machine", ["slim", "small"])
@pytest.mark.parametrize(("shape", "options"), [("gqa", {}), ("opt_350m", {}), ("biases", {"kv": "i8"}), ("window", {}),
                                                ("relu2", {"sparsity": "exact", "kv": "i8"})])
def test_every_operation_equals_the_graph_and_waits_are_enough(shape: str, options: dict[str, object], machine: str,
                                                               tmp_path: Path) -> None:
    compiled = mixed(shape, small_machine(16384) if machine == "small" else machine, **options)
    graph = compiled.graph
    assert [body.layers for body in graph.bodies] == BODIES
    program = compiled.build(tmp_path)
    compared, difference = compare(compiled, program, PROMPT)
    assert difference is None, str(difference)
    ops = sum(len(body.ops) * len(body.layers) for body in graph.bodies)
    assert compared == len(PROMPT) * (len(graph.start) + ops) + ends(compiled, len(PROMPT)) * len(graph.finish)
    runner = Machine(compiled.machine, Host(PROMPT[:3]))
    runner.load(program)
    runner.tensor("max_tokens", "i32[2]")[:] = 3, 0
    check = HazardCheck(runner)
    assert runner.run().reason == "exit" and check.hazards == []


def test_on_the_reference_engine(tmp_path: Path) -> None:
    compiled = mixed()
    assert compare(compiled, compiled.build(tmp_path), PROMPT[:2], ReferenceMachine)[1] is None


def test_a_difference_is_found_in_the_body_where_it_is(tmp_path: Path) -> None:
    """The second silu of the text is that of layers 1 and 4."""
    compiled = mixed()
    compiled.build(tmp_path)
    first, second, rest = compiled.text().split("vec.silu.f32", 2)
    program = assemble(first + "vec.silu.f32" + second + "vec.gelu.f32" + rest, include_paths=[tmp_path])
    check = operations(compiled, program, PROMPT[:2], Machine, observe=dump_to(tmp_path / "values", compiled.graph))
    assert (check.verdict, check.figures["layer"], check.figures["operation"]) == ("FAIL", 1, "silu")
    names = {path.name.split("_")[0] for path in (tmp_path / "values").glob("t000.layer01*")}
    assert "t000.layer01.00" in names and len(list((tmp_path / "values").glob("*.got.npy"))) == 1


def test_code_grows_with_formats_not_with_layers() -> None:
    text = mixed().text()
    assert text.count("vec.silu.f32") == 2 * 4
    assert "layers:                 .dword layer0, layer1, layer2, layer3, layer1, layer3, layers_done" in text
    assert "chunk_layers:           .dword chunk_layer0, chunk_layer1, chunk_layer2, chunk_layer3, chunk_layer1, " in text
    assert "# ---- layers 1, 4" in text and "# ---- layer3 0: attention_in = rmsnorm x, layer.attention_norm" in text


def test_the_text_assembled_is_the_program(tmp_path: Path) -> None:
    compiled = mixed()
    compiled.save(tmp_path / "direct.elf")
    compiled.save_source(tmp_path / "model.s")
    again, program = assemble(tmp_path / "model.s"), compiled.build(tmp_path)
    assert [(s.name, s.address, s.bytes()) for s in again.sections] == [(s.name, s.address, s.bytes()) for s in program.sections]
    formats = program.meta["model"]["formats"]
    assert (formats["layer0.q"], formats["layer1.q"]) == ("f16", "t2:tensor")
    assert (formats["layer2.down"], formats["layer3.q"]) == ("c4:row", "i4:16")
    assert program.meta["model"]["weights"] == (
        "f16 in layer 0; t2:tensor in layers 1, 4, q, k, v, o, gate, up of layer 2, v, o, gate, up, down of layers 3, 5; "
        "c4:row in down of layer 2; i4:16 in q, k of layers 3, 5; i8:row in embedding, head")


def test_time_by_operation_covers_every_body(tmp_path: Path) -> None:
    operations = shares(mixed().build(tmp_path), Machine, 1.0)["operations"]
    per_token = {name.split()[0]: figures["per_token"] for name, figures in operations.items()}
    for body, layers in zip(("layer0", "layer1", "layer2", "layer3"), BODIES, strict=True):
        assert per_token[f"op.{body}.0"] == len(layers)
