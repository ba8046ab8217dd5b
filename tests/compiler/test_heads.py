"""Layers with different numbers of heads: read, executed, compiled and verified; layers of one kind share code."""

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
HEADS = ((4, 2), (2, 2), (4, 4), (3, 1), (2, 2))


def headed(shape: str = "gqa", heads: tuple[tuple[int, int], ...] = HEADS, **more: Any) -> Any:
    return random_model(replace(SHAPES[shape], layers=len(heads), heads=4, kv_heads=4, layer_heads=heads), **more)


@pytest.mark.parametrize("machine", ["slim", "small", "slim-llama"])
@pytest.mark.parametrize(("shape", "weights", "options"), [
    ("gqa", "", {}), ("gqa", "t2", {"kv": "i8"}), ("opt", "i4:row", {"kv": "f16"}), ("bitnet", "", {"chunk": 3, "kv": "i8"}),
    ("biases", "i8", {"chunk": 1}), ("window", "i8", {})])
def test_every_operation_equals_the_graph_and_waits_are_enough(shape: str, weights: str, options: dict[str, Any], machine: str,
                                                               tmp_path: Path) -> None:
    model = headed(shape, ternary=shape == "bitnet")
    compiled = compile_model(model, machine=small_machine(16384) if machine == "small" else machine,
                             recipe=read_recipe(weights) if weights else None, **options)
    assert [tuple(body.layers) for body in compiled.graph.bodies] == [(0,), (1, 4), (2,), (3,)]
    program = compiled.build(tmp_path)
    compared, difference = compare(compiled, program, PROMPT)
    assert difference is None, str(difference)
    assert compared > 5 * len(PROMPT) and compiled.card["layer_heads"] == [list(each) for each in HEADS]
    runner = Machine(compiled.machine, Host(PROMPT[:3]))
    runner.load(program)
    runner.tensor("max_tokens", "i32[2]")[:] = 3, 0
    check = HazardCheck(runner)
    assert runner.run().reason == "exit" and check.hazards == []


@pytest.mark.parametrize(("weights", "kv"), [("i8", "f32"), ("f16", "f16"), ("i8", "i8")])
def test_banks(weights: str, kv: str, tmp_path: Path) -> None:
    compiled = compile_model(headed(), machine="hpim", recipe=read_recipe(weights), kv=kv)
    assert compare(compiled, compiled.build(tmp_path), PROMPT[:3])[1] is None


def test_the_narrow_layer_first(tmp_path: Path) -> None:
    """The first layer's caches have the plain names, the widest layer says how far apart rows are."""
    for kv in ("f32", "i8"):
        compiled = compile_model(headed(heads=HEADS[::-1]), recipe=read_recipe("i8"), kv=kv)
        assert compare(compiled, compiled.build(tmp_path), PROMPT)[1] is None
        caches = compiled.memory.caches
        assert len({cache.row_bytes for name, cache in caches.items() if "scales" not in name}) == 1
        assert {cache.base for cache in caches.values()} == {"keys", "values"}


def test_with_widths_and_zeros_and_several_texts(tmp_path: Path) -> None:
    model = random_model(replace(SHAPES["gqa"], layers=5, heads=4, kv_heads=4, layer_heads=HEADS, hidden=48,
                                 widths=(48, 32, 48, 48, 32)))
    pruned = prune(model, parse_prune("wanda:2:4"), PROMPT * 3)
    compiled = compile_model(pruned, recipe=read_recipe("i8"))
    assert len(compiled.graph.bodies) == 4 and compare(compiled, compiled.build(tmp_path), PROMPT)[1] is None
    several = compile_model(model, recipe=read_recipe("i8"), sequences=3)
    several.build(tmp_path)


def cut(folder: Path, heads: tuple[tuple[int, int], ...]) -> Path:
    """The tiny Llama without the last heads of its layers."""
    folder.mkdir()
    tensors = made.hf_tensors(made.weights())
    for layer, (queries, keys) in enumerate(heads):
        for name, rows in (("q_proj", queries), ("k_proj", keys), ("v_proj", keys), ("o_proj", queries)):
            key = f"model.layers.{layer}.self_attn.{name}.weight"
            kept = rows * made.HEAD
            tensors[key] = np.ascontiguousarray(tensors[key][:, :kept] if name == "o_proj" else tensors[key][:kept])
    return made.write_hf(folder, tensors)


def test_a_checkpoint_of_different_heads(tmp_path: Path) -> None:
    """The same logits as the one that has zeros where o would read the heads that are missing."""
    short = load(cut(tmp_path / "cut", ((4, 2), (2, 1))))
    assert short.config.layer_heads == ((4, 2), (2, 1)) and (short.config.heads, short.config.kv_heads) == (4, 2)
    assert short.notes[-1] == "layers have 2 to 4 heads"
    tensors = made.hf_tensors(made.weights())
    tensors["model.layers.1.self_attn.o_proj.weight"][:, 2 * made.HEAD:] = 0
    (tmp_path / "zeros").mkdir()
    whole = load(made.write_hf(tmp_path / "zeros", tensors))
    ours, theirs = (Executor(build(model.config), model) for model in (short, whole))
    assert all(np.allclose(ours.step(token), theirs.step(token), rtol=1e-5, atol=1e-5) for token in (1, 40, 299))
    compiled = compile_model(short)
    assert compiled.layout.size < compile_model(whole).layout.size
    assert compare(compiled, compiled.build(tmp_path), [1, 40, 299])[1] is None


def test_what_is_refused(tmp_path: Path) -> None:
    folder = cut(tmp_path / "a", ((4, 2), (2, 1)))
    tensors = load_file(folder / "model.safetensors")
    key = "model.layers.1.self_attn.q_proj.weight"
    for rows, expected in ((12, "12 rows of queries and 8 of keys"), (0, "0 rows")):
        save_file({**tensors, key: tensors[key][:rows].copy()}, folder / "model.safetensors")
        with pytest.raises(ModelError, match=expected):
            load(folder)
    save_file({**tensors, "model.layers.1.self_attn.o_proj.weight": tensors["model.layers.0.self_attn.o_proj.weight"]},
              folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"o_proj.weight: shape \[32, 32\]; expected \[32, 16\]"):
        load(folder)
