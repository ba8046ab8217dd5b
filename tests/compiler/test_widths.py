"""Layers whose feed-forward parts differ in width: read, executed, compiled and verified; layers of one width share code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import llama_files as made
import numpy as np
import pytest
from compiled_models import small_machine
from random_models import SHAPES, random_model
from safetensors.numpy import load_file, save_file

from compiler.checking.verify import compare
from compiler.compile import compile_model
from compiler.errors import ModelError
from compiler.formats.recipe import read_recipe
from compiler.frontends import load
from compiler.graph import Executor, build
from compiler.passes.prune import parse_prune, prune
from emulator.machine import Machine
from emulator.observe.hazards import HazardCheck
from isa.services import Host

PROMPT = [1, 5, 7, 7, 60, 3, 8, 9, 10]
WIDTHS = (48, 32, 48, 16, 32)


def narrow(shape: str = "gqa", **more: Any) -> Any:
    return random_model(replace(SHAPES[shape], layers=5, hidden=48, widths=WIDTHS), **more)


@pytest.mark.parametrize("machine", ["slim", "small", "slim-llama"])
@pytest.mark.parametrize(("shape", "weights", "options"), [
    ("gqa", "", {}), ("gqa", "t2", {"kv": "i8"}), ("opt_350m", "i4:16", {}), ("bitnet", "", {"chunk": 3}),
    ("biases", "i8", {"chunk": 1})])
def test_every_operation_equals_the_graph_and_waits_are_enough(shape: str, weights: str, options: dict[str, Any], machine: str,
                                                               tmp_path: Path) -> None:
    model = narrow(shape, ternary=shape == "bitnet")
    compiled = compile_model(model, machine=small_machine(16384) if machine == "small" else machine,
                             recipe=read_recipe(weights) if weights else None, **options)
    assert {body["up"].shape[0]: tuple(layers) for layers, body in compiled.layout.alike()} == {48: (0, 2), 32: (1, 4), 16: (3,)}
    program = compiled.build(tmp_path)
    compared, difference = compare(compiled, program, PROMPT)
    assert difference is None, str(difference)
    assert compared > 5 * len(PROMPT) and compiled.card["widths"] == list(WIDTHS)
    runner = Machine(compiled.machine, Host(PROMPT[:3]))
    runner.load(program)
    runner.tensor("max_tokens", "i32[2]")[:] = 3, 0
    check = HazardCheck(runner)
    assert runner.run().reason == "exit" and check.hazards == []


def test_banks(tmp_path: Path) -> None:
    compiled = compile_model(narrow(), machine="hpim", recipe=read_recipe("i8"))
    assert compare(compiled, compiled.build(tmp_path), PROMPT[:3])[1] is None


def cut(folder: Path, widths: tuple[int, ...]) -> Path:
    """The tiny Llama without the last neurons of its layers."""
    folder.mkdir()
    tensors = made.hf_tensors(made.weights())
    for layer, width in enumerate(widths):
        for name in ("gate_proj", "up_proj", "down_proj"):
            key = f"model.layers.{layer}.mlp.{name}.weight"
            tensors[key] = np.ascontiguousarray(tensors[key][:, :width] if name == "down_proj" else tensors[key][:width])
    return made.write_hf(folder, tensors)


def test_a_checkpoint_of_different_widths(tmp_path: Path) -> None:
    """The same logits as the one that has zeros for the neurons that are missing."""
    short = load(cut(tmp_path / "cut", (48, 20)))
    assert short.config.widths == (48, 20) and short.config.hidden == 48
    assert short.notes[-1] == "feed-forward layers have 20 to 48 neurons"
    tensors = made.hf_tensors(made.weights())
    tensors["model.layers.1.mlp.down_proj.weight"][:, 20:] = 0
    (tmp_path / "zeros").mkdir()
    whole = load(made.write_hf(tmp_path / "zeros", tensors))
    ours, theirs = (Executor(build(model.config), model) for model in (short, whole))
    assert all(np.allclose(ours.step(token), theirs.step(token), rtol=1e-5, atol=1e-5) for token in (1, 40, 299))
    compiled = compile_model(short)
    assert compiled.layout.size < compile_model(whole).layout.size
    pruned = prune(short, parse_prune("wanda:2:4"), [1, 40, 299, 7] * 5)
    assert compare(compile_model(pruned), compile_model(pruned).build(tmp_path), [1, 40])[1] is None


def test_what_is_refused(tmp_path: Path) -> None:
    folder = cut(tmp_path / "a", (48, 20))
    tensors = load_file(folder / "model.safetensors")
    key = "model.layers.1.mlp.gate_proj.weight"
    save_file({**tensors, key: tensors[key][:19].copy()}, folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"gate_proj.weight: shape \[19, 32\]; expected \[20, 32\]"):
        load(folder)
    with pytest.raises(ModelError, match=r"shape \[20, 32\]; expected \[48, 32\]"):
        load(cut(tmp_path / "b", (20, 20)))                             # config.json says 48: no layer has that
    with pytest.raises(ModelError, match=r"--ffn-sparsity: layers with different numbers of neurons"):
        compile_model(narrow("relu2"), sparsity="exact")
