"""Matrices with two of each four columns as tensor cores read them: torch's semi-structured tensors, and marlin-24."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stored_files as packed
from safetensors.numpy import load_file, save_file

from compiler.errors import ModelError
from compiler.frontends import load
from compiler.frontends.shards import open_file
from compiler.frontends.stored.files import Files
from compiler.frontends.stored.matrices import Matrix
from compiler.frontends.stored.sparse import sparse_matrix
from compiler.frontends.stored.two_of_four import marlin24
from programs.demo.reference import Model as Reference

DEMO = Path(__file__).parents[3] / "programs/demo/int8-2of4"
TYPES = ("F32", "F16", "I8")
Tensors = dict[str, np.ndarray]


def some(rows: int, cols: int, kind: Any, seed: int = 0) -> np.ndarray:
    """At most two of each four are not 0, of fp32 at most one of each two; some groups have fewer."""
    generator = np.random.default_rng(seed)
    dense = np.clip(generator.normal(0, 40, (rows, cols)), -127, 127).astype(kind)
    size = 2 if kind == np.float32 else 4
    for group in dense.reshape(-1, size):
        group[generator.permutation(size)[generator.choice([0, size // 2, size // 2]):]] = 0
    return dense


def files(folder: Path, tensors: Tensors) -> Files:
    save_file(tensors, folder / "m.safetensors")
    return Files(folder, open_file(folder / "m.safetensors"))


def read(folder: Path, tensors: Tensors, shape: tuple[int, int]) -> Matrix:
    matrix = sparse_matrix(files(folder, tensors), "m.weight", shape, TYPES)
    assert matrix is not None
    return matrix


# ------------------------------------------------------------------------------------------------ torch


@pytest.mark.parametrize(("kind", "shape"), [
    (np.float16, (32, 32)), (np.float16, (96, 160)), (np.int8, (16, 64)), (np.int8, (48, 192)), (np.float32, (64, 48))])
@pytest.mark.parametrize("prefix", ["m", "m.weight"])
def test_semi_structured(kind: Any, shape: tuple[int, int], prefix: str, tmp_path: Path) -> None:
    dense = some(*shape, kind)
    matrix = read(tmp_path, packed.semi_structured(prefix, dense), shape)
    assert np.array_equal(matrix.whole(), dense)
    assert np.array_equal(matrix.block(5, 13), dense[5:13])


def test_metadata_by_hand() -> None:
    """Of 16-bit values a word has 16 columns. Row 8 comes second, and beside the first row's second word lies that of row 8."""
    dense = np.zeros((32, 32), np.float16)
    dense[:, 2::4] = dense[:, 3::4] = 1
    dense[0, [16, 17, 18, 19]] = 1, 1, 0, 0             # the first group of the second word: places 0 and 1
    dense[8, [0, 1, 2, 3]] = 1, 0, 0, 1                 # that of the first word: places 0 and 3
    meta = packed.semi_structured("m", dense)["m.meta"].view(np.uint16)
    assert meta[0].tolist() == [0xEEEE, 0xEEEC] and meta[1 // 2, 1] == 0xEEEC
    assert meta.reshape(-1)[:4].tolist() == [0xEEEE, 0xEEEC, 0xEEE4, 0xEEEE]


BAD: list[tuple[Callable[[Tensors], Any], str]] = [
    (lambda t: t["m.meta"].__setitem__((0, 0), 0),   r"tensor m.meta: places 0 and 0 in group 0 of row 0; expected two of 0 to 3"),
    (lambda t: t.pop("m.meta"),                      r"tensor m.meta: missing; expected places of values"),
    (lambda t: t.update({"m.meta": t["m.meta"].astype(np.int32)}), r"tensor m.meta: type I32; expected I16"),
    (lambda t: t.update({"m.packed": t["m.packed"][:, 1:].copy()}), r"tensor m.packed: shape \[32, 15\]; expected \[32, 16\]"),
]


@pytest.mark.parametrize(("wrong", "message"), BAD, ids=[message[:40] for _, message in BAD])
def test_bad_semi_structured(wrong: Callable[[Tensors], Any], message: str, tmp_path: Path) -> None:
    tensors = packed.semi_structured("m", some(32, 32, np.float16))
    wrong(tensors)
    with pytest.raises(ModelError, match=message):
        read(tmp_path, tensors, (32, 32)).whole()


def test_what_cannot_be_semi_structured(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"a matrix of \[24, 32\]; expected rows in multiples of 32 and columns in"):
        read(tmp_path, {"m.packed": np.zeros((24, 16), np.float16), "m.meta": np.zeros((24, 2), np.int16)}, (24, 32))
    tensors = packed.semi_structured("m", some(32, 32, np.float32))
    tensors["m.meta"][:] = np.uint16(0x9999).view(np.int16)
    with pytest.raises(ModelError, match=r"places 1 and 2 in group 0 of row 0; expected 0 and 1, or 2 and 3"):
        read(tmp_path, tensors, (32, 32)).whole()


# ------------------------------------------------------------------------------------------------ marlin-24


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(("shape", "group"), [((64, 64), 64), ((128, 96), 96), ((64, 512), 128), ((64, 256), 128)])
def test_marlin(bits: int, shape: tuple[int, int], group: int, tmp_path: Path) -> None:
    """Also with groups of scales, which are mixed only if a group has fewer columns than are kept of all."""
    half = 1 << bits - 1
    codes = np.clip(some(*shape, np.int8), -half, half - 1)
    scales = np.random.default_rng(1).uniform(0.01, 0.02, (shape[0], shape[1] // group)).astype(np.float16)
    found, factors = marlin24(files(tmp_path, packed.marlin24("m", codes, scales, bits)), "m", shape, bits, group)
    assert np.array_equal(found.whole(), codes) and np.array_equal(found.block(7, 20), codes[7:20])
    assert np.array_equal(factors.whole(), scales.astype(np.float32)) and np.array_equal(factors.block(3, 9), factors.whole()[3:9])


def test_bad_marlin(tmp_path: Path) -> None:
    tensors = packed.marlin24("m", some(64, 64, np.int8), np.ones((64, 1), np.float16), 8)
    for wrong, message in (({"m.meta": tensors["m.meta"][:1]}, r"m.meta: shape \[1, 128\]; expected 256 numbers, one for"),
                           ({"m.weight_packed": tensors["m.weight_packed"].T.copy()}, r"weight_packed: shape \[256, 2\]; expe"),
                           ({"m.scale_packed": np.ones((2, 64), np.float16)}, r"scale_packed: shape \[2, 64\]; expected \[1")):
        with pytest.raises(ModelError, match=message):
            marlin24(files(tmp_path, tensors | wrong), "m", (64, 64), 8, 64)


# ------------------------------------------------------------------------------------------------ whole models


def repacked(folder: Path, pack: Callable[[str, np.ndarray, np.ndarray], Tensors], weights: dict[str, Any], form: str) -> Path:
    """The 2:4 demo model with its linears stored in another way."""
    shutil.copytree(DEMO, folder)
    model = Reference(DEMO)
    tensors = {name: tensor for name, tensor in load_file(DEMO / "model.safetensors").items() if "_proj" not in name}
    for name, codes in model.codes.items():
        tensors |= pack(name.removesuffix(".weight"), codes, model.tensors[f"{name}_scale"])
    save_file(tensors, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] |= {"format": form, "sparsity_config": {"format": "dense"}}
    config["quantization_config"]["config_groups"]["group_0"]["weights"] |= weights
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("kind", ["semi-structured", "marlin-24"])
def test_a_model_in_another_packing_is_the_same(kind: str, tmp_path: Path) -> None:
    def store(module: str, codes: np.ndarray, scales: np.ndarray) -> Tensors:
        return packed.marlin24(module, codes, scales, 8) if kind == "marlin-24" else {
            **packed.semi_structured(module, codes), f"{module}.weight_scale": scales}

    folder = repacked(tmp_path / "model", store, {}, "marlin-24" if kind == "marlin-24" else "int-quantized")
    model, expected = load(folder), load(DEMO)
    for role in ("layers.0.q", "layers.1.v", "layers.2.down", "layers.3.up"):
        found, codes = model.tensor(role).codes(), expected.tensor(role).codes()
        assert np.array_equal(found.values, codes.values)
        assert np.allclose(found.scales, codes.scales, rtol=2**-11 if kind == "marlin-24" else 0)           # marlin's are f16


@pytest.mark.parametrize(("weights", "message"), [
    ({"num_bits": 6}, r"weight_packed: symmetric codes of 6 bits by channel in marlin-24; expected symmetric ones of 4 or 8 bits"),
    ({"symmetric": False}, r"asymmetric codes of 8 bits by channel"), ({"strategy": "tensor"}, r"codes of 8 bits by tensor")])
def test_marlin_of_another_kind(weights: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = repacked(tmp_path / "model", lambda module, codes, scales: {
        f"{module}.weight_packed": np.zeros((2, 2), np.int32), f"{module}.scale_packed": scales}, weights, "marlin-24")
    with pytest.raises(ModelError, match=message):
        load(folder)
