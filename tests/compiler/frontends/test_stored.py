"""Quantised, sparse and masked weights of Hugging Face directories: each way to store them, exactly, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import llama_files as made
import numpy as np
import pytest
import stored_files as packed
from safetensors.numpy import save_file

from compiler.checking.verify import compare
from compiler.compile import compile_model
from compiler.errors import ModelError
from compiler.frontends import load
from compiler.graph import Executor, build
from compiler.model.model import LINEARS, Model
from compiler.running import cache

Tensors = dict[str, np.ndarray]
WEIGHTS = {name: array for name, array in made.hf_tensors(made.weights()).items() if "_proj" in name}
RNG = np.random.default_rng(4)


def stored(folder: Path, store: Callable[[str, np.ndarray], Tensors], **options: Any) -> Model:
    """The tiny Llama whose linears are stored by `store(module, weight)`."""
    tensors = made.hf_tensors(made.weights())
    for name, weight in WEIGHTS.items():
        del tensors[name]
        tensors |= store(name.removesuffix(".weight"), weight)
    return load(made.write_hf(folder, tensors, **options))


def linears(model: Model) -> list[tuple[str, Any]]:
    """(module, tensor), in the order of WEIGHTS."""
    found = {f"model.layers.{layer}.{made.HF_NAMES[role]}": model.tensor(f"layers.{layer}.{role}")
             for layer in range(made.LAYERS) for role in made.HF_NAMES if role not in ("attention_norm", "ffn_norm")}
    return [(name.removesuffix(".weight"), found[name.removesuffix(".weight")]) for name in WEIGHTS]


def runs(model: Model) -> bool:
    return bool(np.isfinite(Executor(build(model.config), model).step(7)).all())


class Coded:
    """Random codes for every linear, kept to compare with: value = (code - zero point) * scale."""

    def __init__(self, lowest: int, highest: int, group: int | None, zeros: int | None, scale: Any = np.float16) -> None:
        """zeros: the zero point of all; None: any."""
        self.expected: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._said = lowest, highest, group, zeros, scale

    def of(self, module: str, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(codes, zero points, scales) of a module."""
        lowest, highest, group, zero, kind = self._said
        groups = weight.shape[1] // group if group else 1
        codes = RNG.integers(lowest, highest + 1, weight.shape)
        zeros = RNG.integers(lowest, highest + 1, (len(weight), groups)) if zero is None else np.full((len(weight), groups), zero)
        scales = RNG.uniform(0.01, 0.02, (len(weight), groups)).astype(kind)
        self.expected[module] = codes - np.repeat(zeros, weight.shape[1] // groups, axis=1), scales
        return codes, zeros, scales

    def check(self, model: Model, form: str) -> None:
        for module, tensor in linears(model):
            codes, scales = self.expected[module]
            found = tensor.codes()
            assert tensor.stored == form.format(cols=tensor.shape[1])
            assert np.array_equal(found.values, codes) and set(found.values.reshape(-1)) <= set(tensor.levels)
            assert np.array_equal(np.broadcast_to(found.scales, scales.shape), scales.astype(np.float32))
            assert np.array_equal(tensor.codes(3, 11).values, codes[3:11])
            floats = codes * np.repeat(scales.astype(np.float32), codes.shape[1] // scales.shape[1], axis=1)
            assert np.array_equal(tensor.rows(5, 6), floats[5:6].astype(np.float32))
        assert runs(model)


# ------------------------------------------------------------------------------------------------ GPTQ and AWQ


def gptq_config(bits: int, group: int | None, **more: Any) -> dict[str, Any]:
    return {"quantization_config": {"quant_method": "gptq", "bits": bits, "group_size": group or -1, "desc_act": False, "sym": True,
                                    "damp_percent": 0.01, "true_sequential": True, "model_name_or_path": None, **more}}


@pytest.mark.parametrize(("bits", "group", "zero", "form"), [
    (4, 16, 8, "i4:16"), (4, None, 8, "i4:{cols}"), (4, 8, None, "i8:8"), (8, 16, 128, "i8:16"), (3, 16, 4, "i3:16"),
    (2, 16, 2, "i2:16"), (3, 16, None, "i4:16"), (2, 16, None, "i3:16"),
])
@pytest.mark.parametrize("version", [1, 2])
def test_gptq(bits: int, group: int | None, zero: int | None, form: str, version: int, tmp_path: Path) -> None:
    coded = Coded(0, (1 << bits) - 1, group, zero)
    more = {"checkpoint_format": "gptq_v2"} if version == 2 else {}
    model = stored(tmp_path, lambda module, weight: packed.gptq(module, *coded.of(module, weight), bits, version=version),
                   **gptq_config(bits, group, **more))
    coded.check(model, form)


@pytest.mark.parametrize(("group", "zero", "form"), [(16, None, "i8:16"), (8, 8, "i4:8"), (None, 5, "i8:{cols}")])
def test_awq(group: int | None, zero: int | None, form: str, tmp_path: Path) -> None:
    coded = Coded(0, 15, group, zero)
    model = stored(tmp_path, lambda module, weight: packed.awq(module, *coded.of(module, weight)), quantization_config={
        "quant_method": "awq", "bits": 4, "group_size": group or -1, "zero_point": True, "version": "gemm",
        "modules_to_not_convert": None})
    coded.check(model, form)


Q = "model.layers.1.self_attn.q_proj"


def _biased(value: float) -> Callable[[Tensors], None]:
    return lambda tensors: tensors.update({f"{Q}.bias": np.full(made.DIM, value, np.float16)})


def test_biases_that_are_zero(tmp_path: Path) -> None:
    """AutoGPTQ gives every linear one; this model has none."""
    coded = Coded(0, 15, 16, 8)
    before = stored(tmp_path, lambda module, weight: packed.gptq(module, *coded.of(module, weight), 4), **gptq_config(4, 16))
    logits = Executor(build(before.config), before).step(7)
    change(tmp_path, _biased(0.0))
    after = load(tmp_path)
    assert np.array_equal(Executor(build(after.config), after).step(7), logits)
    change(tmp_path, _biased(0.5))
    with pytest.raises(ModelError, match=rf"{Q}.bias: not a part of the model"):
        load(tmp_path)


def change(folder: Path, how: Callable[[Tensors], None]) -> None:
    from safetensors.numpy import load_file
    tensors = load_file(folder / "model.safetensors")
    how(tensors)
    save_file(tensors, folder / "model.safetensors")


def _set(name: str, array: np.ndarray | None) -> Callable[[Tensors], None]:
    return lambda tensors: tensors.pop(f"{Q}.{name}") is None if array is None else tensors.update({f"{Q}.{name}": array})


ORDER = np.array([0, 1] * 16, np.int32)
GPTQ: list[tuple[Callable[[Tensors], None] | dict[str, Any], str]] = [
    (_set("scales", None),                              r"tensor layers.1.self_attn.q_proj.scales: missing; expected scales"),
    (_set("qzeros", np.zeros((2, 3), np.int32)),        r"q_proj.qzeros: shape \[2, 3\]; expected \[2, 4\], zero points in groups"),
    (_set("qweight", np.zeros((3, 32), np.int32)),      r"q_proj.qweight: shape \[3, 32\]; expected \[4, 32\], codes of 4 bits"),
    (_set("qweight", np.zeros((4, 32), np.float32)),    r"q_proj.qweight: type F32; expected I32"),
    (_set("scales", np.ones((4, 32), np.float16)),      r"q_proj.scales: shape \[4, 32\]; expected \[2, 32\]"),
    (_set("g_idx", ORDER),                              r"columns of a group that are not neighbours \(desc_act.*\nhint: take"),
    (_set("scales", np.full((2, 32), np.nan, np.float16)), r"qweight: element \[0, 0\] is nan; expected finite weights"),
    ({"bits": 5},                                       r"quantization_config.bits: 5; expected 2, 3, 4 or 8\nhint: take the"),
    ({"checkpoint_format": "marlin"},                   r"checkpoint_format: 'marlin'; expected gptq or gptq_v2"),
    ({"dynamic": {"-:.*": {}}},                         r"dynamic: .*; expected the same for all linears"),
    ({"group_size": 0},                                 r"group_size: 0; expected a number of columns, or -1"),
    ({"group_size": 24},                                r"q_proj.qweight: 32 columns in groups of 24; expected groups of the same"),
    ({"group_scale": 2},                                r"quantization_config.group_scale: unknown option, 2"),
    ({"quant_method": "gtpq"},                          r"quant_method: 'gtpq'; .*\nhint: did you mean 'gptq'"),
]


@pytest.mark.parametrize(("wrong", "message"), GPTQ, ids=[message[:40] for _, message in GPTQ])
def test_bad_gptq(wrong: Any, message: str, tmp_path: Path) -> None:
    coded = Coded(0, 15, 16, 8)
    tensors = {name: array for name, array in made.hf_tensors(made.weights()).items() if name not in WEIGHTS}
    for name, weight in WEIGHTS.items():
        tensors |= packed.gptq(name.removesuffix(".weight"), *coded.of(name, weight), 4)
    config = gptq_config(4, 16)
    config["quantization_config"] |= wrong if isinstance(wrong, dict) else {}
    made.write_hf(tmp_path, {name: array for name, array in tensors.items() if not name.endswith("g_idx")}, **config)
    if not isinstance(wrong, dict):
        change(tmp_path, wrong)
    with pytest.raises(ModelError, match=message):
        load(tmp_path).check_weights()


def test_eight_bits_and_zero_points(tmp_path: Path) -> None:
    """They would take nine bits. In the middle of the range they take eight."""
    coded = Coded(0, 255, 16, None)
    with pytest.raises(ModelError, match=r"qzeros: codes of 8 bits less another zero point, .* 9 bits; .*128\nhint: .*floats"):
        stored(tmp_path, lambda module, weight: packed.gptq(module, *coded.of(module, weight), 8), **gptq_config(8, 16))


@pytest.mark.parametrize(("options", "message"), [
    ({"bits": 8}, r"quantization_config.bits: 8; expected 4\nhint: take the checkpoint of floats"),
    ({"version": "gemv"}, r"quantization_config.version: 'gemv'; expected gemm"),
    ({"group_size": -2}, r"group_size: -2; expected a number of columns"),
])
def test_bad_awq(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    made.write_hf(tmp_path, made.hf_tensors(made.weights()), quantization_config={"quant_method": "awq", "bits": 4, **options})
    with pytest.raises(ModelError, match=message):
        load(tmp_path)


def test_codes_without_a_configuration(tmp_path: Path) -> None:
    coded = Coded(0, 15, 16, 8)
    with pytest.raises(ModelError, match=r"tensor layers.0.self_attn.q_proj.weight: missing"):
        stored(tmp_path, lambda module, weight: packed.gptq(module, *coded.of(module, weight), 4))


# ------------------------------------------------------------------------------------------------ compressed-tensors


def ct_config(form: str, weights: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    groups = {"group_0": {"targets": ["Linear"], "input_activations": None, "output_activations": None,
                          "weights": {"type": "int", "dynamic": False, "observer": "minmax", **weights}}} if weights else {}
    return {"quantization_config": {"quant_method": "compressed-tensors", "format": form, "quantization_status": "compressed",
                                    "config_groups": groups, "ignore": ["lm_head"], "kv_cache_scheme": None,
                                    "global_compression_ratio": 1.5, **more}}


def how(group: int | None, bits: int, *, symmetric: bool = True) -> dict[str, Any]:
    return {"num_bits": bits, "symmetric": symmetric, "strategy": "group" if group else "channel", "group_size": group}


@pytest.mark.parametrize(("bits", "group", "zero", "form"), [
    (4, 16, 0, "i4:16"), (4, None, 0, "i4:{cols}"), (4, 8, None, "i8:8"), (8, None, 0, "i8:{cols}"), (3, 16, 0, "i3:16"),
    (5, 16, 0, "i8:16"), (4, None, None, "i8:{cols}"),
])
def test_pack_quantized(bits: int, group: int | None, zero: int | None, form: str, tmp_path: Path) -> None:
    half = 1 << bits - 1
    coded = Coded(-half, half - 1, group, zero)

    def store(module: str, weight: np.ndarray) -> Tensors:
        codes, zeros, scales = coded.of(module, weight)
        return packed.pack_quantized(module, codes, scales, bits, zeros if zero is None else None)

    model = stored(tmp_path, store, **ct_config("pack-quantized", how(group, bits, symmetric=zero is not None)))
    coded.check(model, form)


@pytest.mark.parametrize(("bits", "group", "zero", "form"), [
    (8, None, 0, "i8:{cols}"), (8, 16, 0, "i8:16"), (4, 16, 0, "i4:16"), (4, 8, None, "i8:8")])
@pytest.mark.parametrize("in_bitmask", ["", ".weight"])
def test_int_quantized(bits: int, group: int | None, zero: int | None, form: str, in_bitmask: str, tmp_path: Path) -> None:
    """Also as a bitmask of the codes, under both kinds of names."""
    half = 1 << bits - 1
    coded = Coded(-half, half - 1, group, zero)

    def store(module: str, weight: np.ndarray) -> Tensors:
        codes, zeros, scales = coded.of(module, weight)
        values = packed.bitmask(module + in_bitmask, codes.astype(np.int8)) if group == 16 else {
            f"{module}.weight": codes.astype(np.int8)}
        return {**values, f"{module}.weight_scale": scales, f"{module}.weight_zero_point": zeros.astype(np.int8)}

    model = stored(tmp_path, store, **ct_config("int-quantized", how(group, bits, symmetric=zero is not None)))
    coded.check(model, form)


def test_one_scale_for_a_matrix_and_schemes_by_name(tmp_path: Path) -> None:
    """Attention in 4 bits by an expression, one module by its name, the rest as all linears."""
    coded = {"attention": Coded(-8, 7, 16, 0), "other": Coded(-128, 127, None, 0)}

    def store(module: str, weight: np.ndarray) -> Tensors:
        if "self_attn" in module and module != Q:
            codes, _, scales = coded["attention"].of(module, weight)
            return packed.pack_quantized(module, codes, scales, 4)
        codes, _, _ = coded["other"].of(module, weight)
        return {f"{module}.weight": codes.astype(np.int8), f"{module}.weight_scale": np.array([0.01], np.float32)}

    group = {"input_activations": None, "output_activations": None}
    whole = {"num_bits": 8, "symmetric": True, "strategy": "tensor", "type": "int"}
    model = stored(tmp_path, store, **ct_config("mixed-precision", config_groups={
        "a": {"targets": ["Linear"], "weights": whole, **group},
        "b": {"targets": [r"re:.*self_attn.*"], "weights": {"type": "int", **how(16, 4)}, **group},
        "c": {"targets": [Q], "weights": whole, **group}}))
    assert [tensor.stored for module, tensor in linears(model) if "q_proj" in module] == ["i4:16", "i8:tensor"]
    assert model.tensor("layers.0.up").codes().scales.tolist() == [[np.float32(0.01)]]
    assert np.array_equal(model.tensor("layers.1.q").codes().values, coded["other"].expected[Q][0])


CT: list[tuple[dict[str, Any], Callable[[Tensors], None] | None, str]] = [
    (ct_config("float-quantized", how(16, 4)), None,    r"quantization_config.format: 'float-quantized'; expected .*\nhint: .*Com"),
    (ct_config("pack-quantized", how(16, 4), kv_cache_scheme={"num_bits": 8}), None, r"kv_cache_scheme: .*; expected null"),
    (ct_config("pack-quantized", how(16, 4), sparsity_config={"format": "marlin-24"}), None, r"sparsity_config.format: 'marlin-24"),
    (ct_config("pack-quantized", {**how(16, 4), "type": "float"}), None, r"weights.type: 'float'; expected int with 2 to 8 bits"),
    (ct_config("pack-quantized", {**how(16, 4), "strategy": "block"}), None, r"weights.strategy: 'block'; expected tensor, channe"),
    (ct_config("pack-quantized", {**how(16, 4), "group_size": 24}), None, r"weight_packed: 32 columns in groups of 24; exp"),
    (ct_config("pack-quantized", {**how(16, 4), "num_bits": 8}), None, r"weight_packed: shape \[32, 4\]; expected \[32, 8\], c"),
    (ct_config("pack-quantized", how(16, 4, symmetric=False)), None, r"weight_zero_point: missing; expected packed zero points"),
    (ct_config("pack-quantized"), None,                 r"weight_packed: a quantised matrix; expected a config group"),
    (ct_config("pack-quantized", how(16, 4)), _set("weight_g_idx", ORDER), r"not neighbours \(actorder\)"),
    (ct_config("pack-quantized", how(16, 4)), _set("weight_shape", np.array([32, 31])), r"weight_shape: shape \[32, 31\]; expecte"),
    (ct_config("pack-quantized", how(16, 4)), _set("weight_scale", np.ones((32, 4), np.float16)), r"shape \[32, 4\]; expected \[3"),
    (ct_config("pack-quantized", how(16, 4)), _set("weight_scale", None), r"weight_scale: missing; expected scales"),
    (ct_config("pack-quantized", how(16, 4)), _set("input_scale", np.ones(1, np.float32)), r"input_scale: not a part of the model"),
]


@pytest.mark.parametrize(("config", "wrong", "message"), CT, ids=[message[:40] for *_, message in CT])
def test_bad_compressed_tensors(config: dict[str, Any], wrong: Callable[[Tensors], None] | None, message: str,
                                tmp_path: Path) -> None:
    coded = Coded(-8, 7, 16, 0)
    tensors = {name: array for name, array in made.hf_tensors(made.weights()).items() if name not in WEIGHTS}
    for name, weight in WEIGHTS.items():
        codes, _, scales = coded.of(name, weight)
        tensors |= packed.pack_quantized(name.removesuffix(".weight"), codes, scales, 4)
    made.write_hf(tmp_path, tensors, **config)
    if wrong:
        change(tmp_path, wrong)
    with pytest.raises(ModelError, match=message):
        load(tmp_path)


def test_activations_of_the_configuration(tmp_path: Path) -> None:
    """Dynamic int8 is what a program does anyway; scales that are stored would not be used."""
    coded = Coded(-128, 127, None, 0)
    config = ct_config("int-quantized", how(None, 8))
    group = config["quantization_config"]["config_groups"]["group_0"]
    group["input_activations"] = {"num_bits": 8, "type": "int", "strategy": "token", "dynamic": True}

    def store(module: str, weight: np.ndarray) -> Tensors:
        codes, _, scales = coded.of(module, weight)
        return {f"{module}.weight": codes.astype(np.int8), f"{module}.weight_scale": scales}

    assert [note[:17] for note in stored(tmp_path, store, **config).notes] == ["input_activations"]
    group["input_activations"]["dynamic"] = False
    with pytest.raises(ModelError, match=r"group_0.input_activations: .*; expected null, or dynamic integers\nhint: "):
        stored(tmp_path, store, **config)


# ------------------------------------------------------------------------------------------------ sparse


def pruned(weight: np.ndarray, block: tuple[int, int] = (1, 1)) -> np.ndarray:
    """Half of the blocks of a matrix are zero; one row and one value of a stored one too."""
    (tall, wide), (rows, cols) = block, weight.shape
    kept = np.kron(RNG.integers(0, 2, (rows // tall, cols // wide)), np.ones(block))
    kept[:tall] = 0
    return (weight * kept).astype(weight.dtype)


def _two_of_four(weight: np.ndarray) -> np.ndarray:
    """Kept are values that are zero, too, where a group has fewer than two others."""
    dense = pruned(weight)
    for row in dense.reshape(-1, 4):
        row[np.argsort(np.abs(row), kind="stable")[:2]] = 0
    return dense


SPARSE: dict[str, tuple[Callable[[np.ndarray], np.ndarray], Callable[[str, np.ndarray], Tensors]]] = {
    "bitmask": (pruned, lambda module, dense: packed.bitmask(f"{module}.weight", dense)),
    "bitmask, f16": (lambda weight: pruned(weight.astype(np.float16)), packed.bitmask),
    "2:4": (_two_of_four, lambda module, dense: packed.bitmask(module, dense, two_of_four=True)),
    "CSR": (pruned, lambda module, dense: packed.by_rows(f"{module}.weight", dense)),
    "BSR": (lambda weight: pruned(weight, (4, 8)),
            lambda module, dense: packed.by_rows(f"{module}.weight", dense, (4, 8), np.int32)),
    "dense": (pruned, lambda module, dense: {f"{module}.weight": dense}),
}


@pytest.mark.parametrize("kind", SPARSE)
def test_sparse(kind: str, tmp_path: Path) -> None:
    """The same model as the dense one with zeros, with or without a configuration that says so."""
    prune, store = SPARSE[kind]
    dense: Tensors = {}

    def kept(module: str, weight: np.ndarray) -> Tensors:
        dense[module] = prune(weight)
        return store(module, dense[module])

    options = {"bitmask": {"quantization_config": {"quant_method": "compressed-tensors", "sparsity_config": {
        "format": "sparse-bitmask", "global_sparsity": 0.5, "sparsity_structure": "unstructured"}}},
        "2:4": {"compression_config": {"format": "dense", "sparsity_config": {"format": "sparse-24-bitmask"}}},
        "bitmask, f16": {"sparsity_config": {"format": "sparse-bitmask"}}}
    model = stored(tmp_path, kept, **options.get(kind, {}))
    for module, tensor in linears(model):
        assert tensor.stored == ("f16" if "f16" in kind else "f32")
        assert np.array_equal(tensor.rows(), dense[module].astype(np.float32))
        assert np.array_equal(tensor.rows(3, 14), dense[module][3:14])
    assert runs(model)


def test_two_of_four_keeps_two_even_if_one_is_zero() -> None:
    found = packed.bitmask("x", np.array([[0, 0, 0, 5, 1, 2, 3, 4]], np.float32), two_of_four=True)
    assert found["x.bitmask"].tolist() == [[0b11001001]] and found["x.compressed"].tolist() == [[0, 5, 3, 4]]


def _put(name: str, change: Callable[[np.ndarray], Any]) -> Callable[[Tensors], None]:
    def put(tensors: Tensors) -> None:
        array = np.array(tensors[f"{Q}.weight.{name}"])
        other = change(array)
        tensors[f"{Q}.weight.{name}"] = array if other is None else other
    return put


BAD_SPARSE: list[tuple[str, Callable[[Tensors], None], str]] = [
    ("bitmask", _put("compressed", lambda a: a[:-1]), r"row_offsets: values .*; expected \d+ values, as its bits say\nhint: the c"),
    ("bitmask", _put("row_offsets", lambda a: a + 1), r"row_offsets: values .*; expected"),
    ("bitmask", _put("row_offsets", lambda a: a[:-1]), r"row_offsets: shape \[31\]; expected \[32\]"),
    ("bitmask", _put("row_offsets", lambda a: np.append(a[:-1], -5)), r"row_offsets: values .* for row 30"),
    ("bitmask", _put("bitmask", lambda a: a ^ np.uint8(1)), r"row_offsets: values .* for row"),
    ("bitmask", _put("bitmask", lambda a: np.hstack([a, a])), r"bitmask: shape \[32, 8\]; expected \[32, 4\], a bit for each of 3"),
    ("bitmask", _put("shape", lambda a: a * 2), r"shape: shape \[64, 64\]; expected \[32, 32\]"),
    ("bitmask", lambda tensors: tensors.pop(f"{Q}.weight.row_offsets") is None, r"compressed: shape \[\d+\]; expected \[32, 16\]"),
    ("bitmask", _put("compressed", lambda a: a.astype(np.int32)), r"compressed: type I32; expected F32, F16 or BF16"),
    ("2:4", lambda tensors: tensors[f"{Q}.bitmask"].__setitem__((2, 1), 0b111), r"bitmask: 3 bits for columns 8 to 11 of row 2"),
    ("CSR", _put("crow_indices", lambda a: a[::-1].copy()), r"crow_indices: rows that begin at .*; expected rising, from 0 to"),
    ("CSR", _put("crow_indices", lambda a: np.minimum(a, 5)), r"crow_indices: rows that begin at"),
    ("CSR", _put("col_indices", lambda a: np.maximum(a, 9) * 4), r"col_indices: column \d+; expected rising columns below 32"),
    ("CSR", _put("col_indices", lambda a: a[::-1].copy()), r"col_indices: columns of a row that do not rise"),
    ("CSR", _put("values", lambda a: a[:-3]), r"col_indices: shape \[\d+\]; expected \[\d+\]"),
    ("BSR", _put("values", lambda a: a[:, :3]), r"values: shape \[\d+, 3, 8\]; expected \(n,\), or \(n, r, c\) with blocks that d"),
]


@pytest.mark.parametrize(("kind", "wrong", "message"), BAD_SPARSE, ids=[f"{kind} {text[:30]}" for kind, _, text in BAD_SPARSE])
def test_bad_sparse(kind: str, wrong: Callable[[Tensors], None], message: str, tmp_path: Path) -> None:
    prune, store = SPARSE[kind]
    stored(tmp_path, lambda module, weight: store(module, prune(weight)))
    change(tmp_path, wrong)
    with pytest.raises(ModelError, match=message):
        load(tmp_path).check_weights()


# ------------------------------------------------------------------------------------------------ masks


@pytest.mark.parametrize("kind", ["weight_mask", "weight_orig", "weight.mask", "bits", "array"])
@pytest.mark.parametrize("codes", [False, True])
def test_masks(kind: str, codes: bool, tmp_path: Path) -> None:
    masks = {module: RNG.integers(0, 2, weight.shape) for module, weight in
             ((name.removesuffix(".weight"), weight) for name, weight in WEIGHTS.items())}
    coded = Coded(-128, 127, None, 0)

    def store(module: str, weight: np.ndarray) -> Tensors:
        mask = masks[module]
        values, _, scales = coded.of(module, weight)
        name = "weight_orig" if kind == "weight_orig" and not codes else "weight"
        tensors = {f"{module}.{name}": weight} if not codes else {f"{module}.weight": values.astype(np.int8),
                                                                   f"{module}.weight_scale": scales}
        return tensors | ({f"{module}.weight.mask": mask.astype(bool)} if kind == "weight.mask" else
                          {f"{module}.weight_mask": mask.astype(np.float32)} if kind.startswith("weight") else {})

    if kind == "bits":
        np.savez_compressed(tmp_path / "mask_compressed.npz", **{f"{name}.weight.mask": np.packbits(mask.astype(bool))
                                                                for name, mask in masks.items()})
    if kind == "array":
        np.savez_compressed(tmp_path / "masks.npz", **{f"{name}.weight": mask for name, mask in masks.items()})
    model = stored(tmp_path, store, **(ct_config("int-quantized", how(None, 8)) if codes else {}))
    for module, tensor in linears(model):
        expected = coded.expected[module][0] if codes else WEIGHTS[f"{module}.weight"]
        found = (lambda *rows, tensor=tensor: tensor.codes(*rows).values) if codes else tensor.rows
        assert np.array_equal(found(), expected * masks[module])
        assert np.array_equal(found(7, 15), (expected * masks[module])[7:15])


@pytest.mark.parametrize(("masks", "message"), [
    ({f"{Q}.weight": np.ones((32, 31))}, r"mask model\S*: float64 \[32, 31\]; expected \[32, 32\], or uint8 \[128\], the bits of "),
    ({f"{Q}.weight": np.ones(127, np.uint8)}, r"uint8 \[127\]; expected"),
    ({f"{Q}.weight": np.full((32, 32), 2)}, r"mask model\S*: 2 at \[0, 0\]; expected 0 or 1"),
    ({"model.layers.7.self_attn.q_proj.weight": np.ones((32, 32))}, r"mask model.layers.7\S*: no matrix has this name; .*\nhint: "),
])
def test_bad_masks(masks: Tensors, message: str, tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "masks.npz", **masks)
    made.write_hf(tmp_path, made.hf_tensors(made.weights()))
    with pytest.raises(ModelError, match=message):
        load(tmp_path).check_weights()


def test_bad_archives(tmp_path: Path) -> None:
    made.write_hf(tmp_path, made.hf_tensors(made.weights()))
    (tmp_path / "masks.npz").write_bytes(b"PK\3\4 and no more")
    with pytest.raises(ModelError, match=r"masks.npz: error: not a .npz file: "):
        load(tmp_path)
    np.savez_compressed(tmp_path / "masks.npz", **{f"{Q}.weight": np.ones((32, 32))})
    whole = (tmp_path / "masks.npz").read_bytes()
    (tmp_path / "masks.npz").write_bytes(whole[:60] + b"\xff" * 20 + whole[80:])
    with pytest.raises(ModelError, match=r"mask model\S*: it cannot be read"):
        load(tmp_path)
    change(tmp_path, _set("weight_mask", np.ones((32, 16), np.float32)))
    (tmp_path / "masks.npz").unlink()
    with pytest.raises(ModelError, match=r"weight_mask: shape \[32, 16\]; expected \[32, 32\], a mask of"):
        load(tmp_path)


# ------------------------------------------------------------------------------------------------ as programs


@pytest.mark.parametrize("kind", ["GPTQ", "AWQ", "CSR"])
def test_programs(kind: str, tmp_path: Path) -> None:
    """Every operation on the machine is that of the graph, which has the codes of the file."""
    coded = Coded(0, 15, 16, 8 if kind == "GPTQ" else None)
    store, config, form = {
        "GPTQ": (lambda module, weight: packed.gptq(module, *coded.of(module, weight), 4), gptq_config(4, 16), "i4:16"),
        "AWQ": (lambda module, weight: packed.awq(module, *coded.of(module, weight)),
                {"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 16}}, "i8:16"),
        "CSR": (lambda module, weight: packed.by_rows(module, pruned(weight)), {}, "f32 bm")}[kind]
    compiled = compile_model(stored(tmp_path, store, **config))
    assert {compiled.layout.bodies[0][role].stored for role in LINEARS} == {form}
    assert compare(compiled, compiled.build(tmp_path), [1, 40, 299])[1] is None


def test_a_mask_that_changes_is_another_checkpoint(tmp_path: Path) -> None:
    """Compiled programs are kept by the contents of these files."""
    made.write_hf(tmp_path, made.hf_tensors(made.weights()))
    np.savez_compressed(tmp_path / "masks.npz", **{f"{Q}.weight": np.ones((32, 32))})
    assert tmp_path / "masks.npz" in cache.parts(tmp_path)
