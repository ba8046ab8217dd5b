"""--reuse: centres and differences by the rule, the order of rows, programs whose results are those of the plain matrices."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compiled_models import CODES, PROMPT, fetching_machine, generated, small_machine
from hypothesis import given, settings
from hypothesis import strategies as st
from machine_files import without_unit
from random_models import SHAPES, random_model

from compiler.checking.verify import compare
from compiler.compile import compile_model
from compiler.compiled import Compiled
from compiler.errors import ModelError
from compiler.formats import reuse
from compiler.formats.recipe import read_recipe
from compiler.formats.reuse import CENTRES, REUSED, cluster, in_order
from compiler.formats.weight_format import WEIGHT_FORMATS
from compiler.graph import Executor, build
from compiler.model.model import Model
from compiler.passes.project import parse_project, project
from compiler.passes.reuse import ReusedTensor
from compiler.running.parameters import set_parameters
from emulator.machine import Machine
from isa.preset import PRESETS
from isa.reference import ReferenceMachine
from isa.services import Host

BINARY, TERNARY = (-1, 1), (-1, 0, 1)


def compiled(model: Model | None = None, weights: str = "b1", columns: int = 16, **options: Any) -> Compiled:
    recipe = replace(read_recipe(weights), reuse=columns)
    return compile_model(model or random_model(SHAPES["gqa"]), recipe=recipe, **options)


# ------------------------------------------------------------------------------------------------ centres and differences


def slowly(codes: np.ndarray, columns: int) -> tuple[list[list[int]], list[int]]:
    """Centres and what each piece is assigned to, by the rule of formats/reuse.py, in Python."""
    pieces = [tuple(row[at:at + columns]) for row in codes.tolist() for at in range(0, codes.shape[1], columns)]
    longest = max(map(len, pieces))
    padded = [piece + (-1,) * (longest - len(piece)) for piece in pieces]
    centres = [list(piece) for piece in list(dict.fromkeys(padded))[:CENTRES]]
    centres += [list(padded[0])] * (CENTRES - len(centres))
    levels = sorted(set(codes.ravel().tolist()))

    def nearest() -> list[int]:
        apart = [[sum(a != b for a, b in zip(piece, centre, strict=False)) for centre in centres] for piece in pieces]
        return [row.index(min(row)) for row in apart]

    for _ in range(reuse.ROUNDS):
        assigned = nearest()
        for number in range(CENTRES):
            members = [piece for piece, of in zip(pieces, assigned, strict=True) if of == number]
            for at in range(columns) if members else ():
                here = [piece[at] for piece in members if at < len(piece)]
                if here:
                    centres[number] = [*centres[number][:at], max(levels, key=lambda code: (here.count(code), -code)),
                                       *centres[number][at + 1:]]
    return centres, nearest()


@settings(max_examples=12, deadline=None)
@given(levels=st.sampled_from([BINARY, TERNARY]), rows=st.integers(1, 60), cols=st.sampled_from([8, 16, 24, 27, 48]),
       columns=st.sampled_from([8, 16]), seed=st.integers(0, 99))
def test_clusters_follow_the_rule(levels: tuple[int, ...], rows: int, cols: int, columns: int, seed: int) -> None:
    codes = np.random.default_rng(seed).choice(np.array(levels, np.int8), (rows, cols))
    found = cluster(codes, columns)
    centres, assigned = slowly(codes, columns)
    assert found.assigned.shape == (rows, -(-cols // columns)) and found.assigned.ravel().tolist() == assigned
    used = sorted(set(assigned))
    for number in used:
        at = [where % found.assigned.shape[1] for where, of in enumerate(assigned) if of == number]
        width = max(min(columns, cols - piece * columns) for piece in at)               # beyond, no piece has a code
        assert found.centres[number, :width].tolist() == centres[number][:width]
    differences = found.differences(codes)
    whole = np.concatenate([found.centres[found.assigned[:, p]] for p in range(found.assigned.shape[1])], axis=1)[:, :cols]
    assert np.array_equal(differences, codes - whole)


def test_rows_that_are_centres_have_no_differences() -> None:
    codes = np.random.default_rng(0).choice(np.array(TERNARY, np.int8), (CENTRES, 24))
    assert not cluster(np.repeat(codes, 3, axis=0), 24).differences(np.repeat(codes, 3, axis=0)).any()


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(0, 100), share=st.sampled_from([0.2, 0.5, 0.9]), seed=st.integers(0, 99))
def test_rows_with_many_zeros_come_first_and_in_windows_the_nearest_is_next(rows: int, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    differences = (rng.integers(1, 3, (rows, 20)) * (rng.random((rows, 20)) < share)).astype(np.int8)
    order = in_order(differences, WEIGHT_FORMATS["i3"])
    assert sorted(order.rows.tolist()) == list(range(rows))
    zeros = (differences == 0).mean(axis=1) if rows else np.zeros(0)
    assert (zeros[order.rows[:order.buffered]] >= 0.38).all() and (zeros[order.rows[order.buffered:]] < 0.38).all()
    packed = WEIGHT_FORMATS["i3"].packing.pack(differences).tolist()

    def apart(a: int, b: int) -> int:
        return sum((x ^ y).bit_count() for x, y in zip(packed[a], packed[b], strict=True))

    for part, of in ((order.rows[:order.buffered], np.flatnonzero(zeros >= 0.38)),
                     (order.rows[order.buffered:], np.flatnonzero(zeros < 0.38))):
        for start in range(0, len(of), 32):
            left, taken = of[start:start + 32].tolist(), part[start:start + 32].tolist()
            assert taken[0] == left.pop(0)
            for here, following in pairwise(taken):
                assert following == min(left, key=lambda other, here=here: (apart(here, other), other))
                left.remove(following)
    assert order.toggles == tuple(sum(apart(a, b) for a, b in pairwise(each)) for each in (range(rows), order.rows.tolist()))


# ------------------------------------------------------------------------------------------------ programs


@pytest.mark.parametrize("weights", ["b1", "b1:tensor", "t2", "t2:row", "t5"])
@pytest.mark.parametrize("machine", ["slim", "slim-llama", "small", "fetching"])
def test_results_are_those_of_the_plain_matrices(weights: str, machine: str, tmp_path: Path) -> None:
    preset = {"small": small_machine(40960), "fetching": fetching_machine(1 << 16)}.get(machine, machine)
    made = compiled(weights=weights, machine=preset)
    program = made.build(tmp_path)
    assert compare(made, program, PROMPT)[1] is None
    tokens, fast = generated(program, made.machine)
    again, reference = generated(program, made.machine, ReferenceMachine)
    assert tokens == again and fast.counters == reference.counters
    plain = compile_model(random_model(SHAPES["gqa"]), machine=preset, recipe=read_recipe(weights))
    (other := tmp_path / "plain").mkdir()
    assert generated(plain.build(other), plain.machine)[0] == tokens
    assert {op.kind for op in made.graph.layer if op.weights and "norm" not in op.weights[0]} == {
        "centre.sums", "gemv.i8.reuse", "place"}
    assert fast.counter("lut.buffer_reads")                     # rows with many zeros are in buffer mode


@pytest.mark.parametrize("shape", SHAPES)
def test_every_family(shape: str, tmp_path: Path) -> None:
    made = compiled(random_model(SHAPES[shape], ternary=shape in CODES), "t2")
    assert compare(made, made.build(tmp_path), PROMPT)[1] is None


@pytest.mark.parametrize("options", [{"chunk": 1}, {"chunk": 3}, {"kv": "i8"}, {"sequences": 2}, {"machine": "small", "chunk": 2}])
def test_prompts_in_chunks_and_several_texts(options: dict[str, Any], tmp_path: Path) -> None:
    if options.get("machine"):
        options = {**options, "machine": small_machine(65536)}
    made = compiled(weights="t2", **options)
    program = made.build(tmp_path)
    assert "sequences" in options or compare(made, program, PROMPT)[1] is None
    tokens, fast = generated(program, made.machine)
    again, reference = generated(program, made.machine, ReferenceMachine)
    assert tokens == again and fast.counters == reference.counters
    plain = compile_model(random_model(SHAPES["gqa"]), recipe=read_recipe("t2"), **options)
    (other := tmp_path / "plain").mkdir()
    assert generated(plain.build(other), plain.machine)[0] == tokens


def test_rows_with_few_zeros_are_in_mixed_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With another share both parts have rows: a loop for each, and one permutation."""
    monkeypatch.setattr(reuse, "BUFFERED", 0.75)
    for machine in ("slim", small_machine(40960)):
        made = compiled(weights="t2", columns=8, machine=machine)
        assert any(0 < placed.reused.buffered < placed.rows for placed in made.layout.layer.values() if placed.reused)
        assert compare(made, made.build(tmp_path), PROMPT)[1] is None


def test_predicted_bytes(tmp_path: Path) -> None:
    made = compiled(weights="b1", machine="slim-llama", chunk=1)
    program = made.build(tmp_path)
    found = []
    for tokens in (3, 4):
        host = Host([*PROMPT, -1])
        runner = Machine(made.machine, host)
        runner.load(program)
        set_parameters(runner, max_tokens=tokens)
        assert runner.run().exit_code == 0
        found.append(sum(runner.counter(f"{region}.bytes_read") for region in ("sram", "dram")))
    assert made.choice.exact
    reads = made.choice.reads(len(PROMPT) + 2)
    assert found[1] - found[0] == reads.near + reads.far


def test_what_is_stored_and_said() -> None:
    made = compiled(weights="b1", columns=16)
    q = made.layout.layer["q"]
    assert q.stored == "b1:row reuse:16" and q.format.name == "t2" and q.reused
    rows, cols = q.shape
    assert q.held == rows * cols // 4 + CENTRES * 2 + rows * (cols // 16 + 4)
    tensor = made.model.tensor("layers.0.q")
    assert isinstance(tensor, ReusedTensor) and 0.5 < tensor.zeros / (rows * cols) <= 1
    assert "b1:row reuse:16 in layers" in made.layout.said()


def test_the_graph_computes_from_what_is_stored() -> None:
    model = compiled(weights="t2", columns=16).model
    plain = compile_model(random_model(SHAPES["gqa"]), recipe=read_recipe("t2"))
    made = compiled(weights="t2", columns=16)
    one, other = Executor(made.graph, model), Executor(plain.graph, plain.model)
    for token in PROMPT:
        assert np.array_equal(one.step(token), other.step(token))
    assert build(model.config).layer != made.graph.layer


# ------------------------------------------------------------------------------------------------ refused


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    for weights, says in (("i4", "--reuse: weights in i4; expected matrices in b1, t2 or t5"),
                          ("t2:16", "--reuse and t2:16; expected one scale for the matrix or for a row")):
        with pytest.raises(ModelError, match=says):
            compiled(weights=weights)
    for options, says in (({"sparsity": "exact"}, "--reuse: --ffn-sparsity; expected one of them"),
                          ({"activations": "f32"}, "--activations f32; expected one of them")):
        with pytest.raises(ModelError, match=says):
            compiled(random_model(SHAPES["relu"]), weights="t2", **options)
    for columns in (4, 20, 2048):
        with pytest.raises(ModelError, match=rf"--reuse-columns: {columns}; expected a multiple of 8 from 8 to 1,024"):
            compiled(columns=columns)
    with pytest.raises(ModelError, match="block-diagonal matrices; expected dense ones"):
        compiled(project(random_model(SHAPES["gqa"]), parse_project("monarch:2")), weights="t2")
    text = without_unit((PRESETS / "slim.toml").read_text(encoding="utf-8"), "lut")
    (path := tmp_path / "m.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match="no lut unit, and --reuse"):
        compiled(weights="t2", machine=str(path))


def test_formats_that_are_reused() -> None:
    """Every difference of two codes, divided as it is stored, is a code of the format of differences."""
    for form in REUSED.values():
        levels = form.format.levels
        apart = {a - b for a in levels for b in levels}
        assert set(levels) <= set(form.centres.packing.held)
        assert all(each % (1 << form.shift) == 0 and form.differences.holds((each >> form.shift,)) for each in apart)


def test_the_command(command: Any) -> None:
    status, _, err = command("compile", "nothing", "--reuse-columns", "32")
    assert status == 2 and "--reuse-columns goes with --reuse" in err
