"""The benchmark beside llama.cpp, as far as it goes without llama.cpp: its model is ours, and a missing package is said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest

from benchmarks.bench_llamacpp import FLASH, NAMES, Ours, compared, in_turns, write_gguf
from compiler.compile import compile_model
from compiler.formats.recipe import read_recipe
from compiler.measuring import shapes
from compiler.model.model import Model
from isa.program import Program

ROOT = Path(__file__).parents[1]


@pytest.fixture
def model() -> Model:
    return shapes.random_model("small", 2, 256, 512, 4, 96, 64, ternary=True)


def test_the_file_has_the_weights_of_the_model(model: Model, tmp_path: Path) -> None:
    write_gguf(model, tmp_path / "m.gguf")
    read = gguf.GGUFReader(tmp_path / "m.gguf")
    found = {tensor.name: tensor for tensor in read.tensors}
    assert len(found) == len(model.tensors) == 2 + 2 * 9
    for role, tensor in model.tensors.items():
        place, _, name = role.rpartition(".")
        there = found[place.replace("layers.", "blk.") + "." * bool(place) + NAMES[name] + ".weight"]
        kind = "F32" if len(tensor.shape) == 1 else "TQ2_0" if place else "Q8_0"
        values = gguf.quants.dequantize(there.data, there.tensor_type).reshape(tensor.shape)
        expected = tensor.rows().reshape(tensor.shape)
        assert there.tensor_type.name == kind
        near = {"F32": 0, "TQ2_0": 2 ** -11, "Q8_0": 1 / 127}[kind]         # a scale in fp16; half a step of int8, and its scale
        assert np.allclose(values, expected, rtol=0, atol=near * np.abs(expected).max())
    facts = {name: read.fields[f"llama.{name}"].contents() for name in (
        "embedding_length", "block_count", "feed_forward_length", "attention.head_count", "vocab_size", "rope.dimension_count")}
    assert [*facts.values()] == [256, 2, 512, 4, 96, 64] and read.fields["general.architecture"].contents() == "llama"
    assert read.fields["tokenizer.ggml.model"].contents() == "no_vocab"


def test_ours_computes_what_is_asked_for(model: Model, tmp_path: Path) -> None:
    compile_model(model, recipe=read_recipe("t2")).save(tmp_path / "p.elf")
    ours = Ours(Program.load(tmp_path / "p.elf"), 1)
    for _ in range(2):                              # each prompt begins anew
        assert ours.prompt(5) > 0
        count = ours.machine.counter
        assert (count("tokens.read"), count("tokens.emitted")) == (5, 1)
    before = count("core.instructions")
    assert ours.tokens() > 0 and (count("tokens.read"), count("tokens.emitted")) == (5, 33) and count("core.instructions") > before


def test_runs_come_in_turns_and_the_first_round_counts_for_nothing() -> None:
    order, seconds = [], {"a": iter([9.0, 1.0, 4.0, 2.0]), "b": iter([9.0, 8.0, 8.0, 8.0])}

    def run(name: str) -> float:
        order.append(name)
        return next(seconds[name])

    rates = in_turns(16, 3, a=lambda: run("a"), b=lambda: run("b"))
    assert order == ["a", "b"] * 4 and rates == {"a": 8.0, "b": 2.0}
    for pair in ((4.0, 3.0), (1.0, 4.0)):               # the faster one counts
        theirs = dict(zip(FLASH, pair, strict=True))
        assert compared({**theirs, "kv f32": 8.0}) == {**theirs, "kv f32": {"tokens_per_second": 8.0, "ratio": 2.0}}


def test_without_the_package_there_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "llama_cpp.py").write_text("raise ImportError\n", encoding="utf-8")         # as if it were not installed
    run = subprocess.run([sys.executable, "-m", "benchmarks", "llamacpp"], cwd=ROOT, capture_output=True, text=True, timeout=300,
                         env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.splitlines() == [
        "llamacpp ...", "llamacpp needs llama-cpp-python: pip install 'slimulator[llamacpp]', which builds llama.cpp",
        "failed: llamacpp"]
