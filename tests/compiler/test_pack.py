"""--pack: tables and packets by the rule, and programs whose results are those of the plain matrices."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compiled_models import PROMPT, fetching_machine, generated, small_machine
from hypothesis import given
from hypothesis import strategies as st
from machine_files import without_unit
from packets import stream_of
from random_models import SHAPES, ArrayTensor, random_model
from test_residency import run

from compiler.checking.verify import compare
from compiler.compile import compile_model
from compiler.compiled import Compiled
from compiler.errors import ModelError
from compiler.formats.packed import pack
from compiler.formats.recipe import read_recipe
from compiler.formats.weight_format import WEIGHT_FORMATS
from compiler.model.model import Model
from compiler.passes.pack import parse_pack
from isa.preset import PRESETS
from isa.reference import ReferenceMachine


def repeating(shape: str = "hidden_172") -> Model:
    """A model whose matrices repeat five patterns of eight columns."""
    model, rng = random_model(SHAPES[shape]), np.random.default_rng(0)
    tensors = dict(model.tensors)
    for role, tensor in model.tensors.items():
        if role.startswith("layers.") and len(tensor.shape) == 2:
            rows, cols = tensor.shape
            patterns = rng.standard_normal((5, 8)).astype(np.float32) * np.float32(cols ** -0.5)
            values = patterns[np.minimum(rng.integers(0, 5, (rows, -(-cols // 8))), rng.integers(0, 5, (rows, -(-cols // 8))))]
            tensors[role] = ArrayTensor(role, tensor.shape, WEIGHT_FORMATS["f32"], values=values.reshape(rows, -1)[:, :cols])
    return replace(model, tensors=tensors)


def compiled(weights: str = "t2", lengths: str = "auto", model: Model | None = None, **options: Any) -> Compiled:
    recipe = read_recipe(weights)
    return compile_model(model or repeating(), recipe=replace(recipe, pack=parse_pack(lengths) if lengths else ()), **options)


@given(rows=st.integers(1, 6), row_bytes=st.integers(1, 150), size=st.sampled_from([1, 2, 4, 8]), kinds=st.integers(1, 300),
       seed=st.integers(0, 99))
def test_packets_and_table_by_the_rule(rows: int, row_bytes: int, size: int, kinds: int, seed: int) -> None:
    rng, each = np.random.default_rng(seed), -(-row_bytes // size)
    known = rng.integers(0, 256, (kinds, size)).astype(np.uint8)
    data = known[rng.integers(0, kinds, rows * each)].reshape(rows, -1)[:, :row_bytes]
    packed = pack(data, size)
    assert packed is not None
    whole = [bytes(row).ljust(each * size, b"\0") for row in data]
    found = [[row[at:at + size] for at in range(0, each * size, size)] for row in whole]
    table = [bytes(chunk) for chunk in packed.table]
    assert len(set(table)) == len(table) and set(table) == {chunk for row in found for chunk in row}
    often = [sum(row.count(chunk) for row in found) for chunk in table]
    assert often == sorted(often, reverse=True)
    assert packed.stream.tolist() == stream_of([[table.index(chunk) for chunk in row] for row in found])


def test_a_matrix_with_too_many_chunks_is_not_packed() -> None:
    data = np.arange(32769 * 2, dtype="<u4").view(np.uint8).reshape(2, -1)
    assert pack(data[:, :4 * 16384], 4) is not None and pack(data, 4) is None


@pytest.mark.parametrize("machine", ["slim", "small", "fetching", "slim-llama"])
@pytest.mark.parametrize(("weights", "lengths"), [("t2", "auto"), ("i4:row", "4"), ("c4:nf4:4", "8"), ("b1", "8"), ("i8", "auto")])
def test_every_operation_equals_the_graph(weights: str, lengths: str, machine: str, tmp_path: Path) -> None:
    """On machines that read weights where they lie, and on those that fetch them to buffers."""
    named = {"small": small_machine(16384), "fetching": fetching_machine(40000)}.get(machine, machine)
    made = compiled(weights, lengths, machine=named)
    assert [role for role, placed in made.layout.bodies[0].items() if placed.chunks]
    assert compare(made, made.build(tmp_path), PROMPT[:3])[1] is None


@pytest.mark.parametrize("options", [{}, {"chunk": 1}, {"chunk": 3, "context": 12}, {"sequences": 2}])
@pytest.mark.parametrize("machine", ["slim", "small"])
def test_the_same_tokens_as_the_plain_model_on_both_engines(machine: str, options: dict[str, Any], tmp_path: Path) -> None:
    named = small_machine(24576) if machine == "small" else machine
    found = []
    for lengths in ("auto", ""):
        made = compiled(lengths=lengths, machine=named, **options)
        folder = tmp_path / (lengths or "plain")
        folder.mkdir()
        program = made.build(folder)
        tokens, runner = generated(program, named)
        found.append((tokens, runner))
    reference = generated(compiled(machine=named, **options).build(tmp_path), named, ReferenceMachine)
    assert found[0][0] == found[1][0] == reference[0]
    assert (found[0][1].counts == reference[1].counts).all()
    counts = [runner.counters for _, runner in found]
    assert counts[0]["fetch.chunks"] > 0 == counts[1]["fetch.chunks"]
    assert counts[0]["lut.weight_bytes"] == counts[1]["lut.weight_bytes"]


@pytest.mark.parametrize("size", [16384, 40000])
def test_what_a_token_reads_is_known_before(size: int, tmp_path: Path) -> None:
    """The predicted bytes are those that a run counts, whatever stays in the scratchpad."""
    model = repeating()
    made = compiled(model=replace(model, config=replace(model.config, stop=frozenset())), machine=small_machine(size))
    at_start, *each = run(made, made.build(tmp_path), 6)
    assert at_start == (0, made.choice.loaded) and made.choice.exact
    assert each == [(reads.near, reads.far) for reads in map(made.choice.reads, range(1, 7))]


def test_what_gains_and_what_does_not_is_said() -> None:
    text = compiled().summary()
    assert "packed chunks:" in text and "gate of each layer: chunks of 8, " in text and "times as fast to fetch" in text
    text = compiled("i8", model=random_model(SHAPES["gqa"])).summary()
    assert "packed chunks: none" in text and "not packed, it gains nothing: q of each layer, k of each layer" in text
    assert "packed" not in compiled(lengths="").summary()


def test_layers_of_other_formats_are_packed_by_themselves(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('weights = "t2"\n[roles]\n"layers.1.*" = "f16"\n"layers.0.q" = "i3"\n', encoding="utf-8")
    made = compiled(str(recipe), chunk=1)
    assert [sorted(role for role, placed in body.items() if placed.chunks) for body in made.layout.bodies] == [
        ["down", "gate", "k", "o", "up", "v"], []]
    assert made.layout.bodies[0]["down"].stored == "t2:tensor packed:8"
    assert compare(made, made.build(tmp_path), PROMPT[:2])[1] is None


@pytest.mark.parametrize(("weights", "options", "reason"), [
    ("f16", {}, "weights in f16; expected matrices in "), ("t5", {}, "weights in t5"), ("i3", {}, "weights in i3"),
    ("bp4", {}, "weights in bp4"),
    ("t2", {"sparsity": 0.5}, "--pack: --ffn-sparsity; expected one of them"),
    ("t2", {"activations": "f32"}, "--pack: --activations f32; expected one of them"),
    ("i8", {"machine": "flexcim"}, "machine flexcim: macros, and --pack"),
    ("i8", {"machine": "hpim"}, "machine hpim: no lut unit, and --pack")])
def test_what_has_no_meaning_is_refused(weights: str, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ModelError) as error:
        compiled(weights, **options)
    assert reason in str(error.value)


def test_pack_beside_reuse_is_refused() -> None:
    with pytest.raises(ModelError, match="--pack: --reuse; expected one of them"):
        compile_model(repeating(), recipe=replace(read_recipe("t2"), reuse=64, pack=(4,)))
    with pytest.raises(ModelError, match="--pack: '5'; expected auto, 4 or 8"):
        parse_pack("5")


def test_a_machine_without_a_unit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "no_lut.toml"
    path.write_text(without_unit((PRESETS / "slim-llama.toml").read_text(encoding="utf-8"), "lut"), encoding="utf-8")
    with pytest.raises(ModelError, match="no lut unit, and --pack"):
        compiled(machine=str(path))
