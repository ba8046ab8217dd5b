"""Microsoft's BitNet in GGUF: I2_S, a type that the library does not know, and the names of its architecture."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import llama_files as made
import numpy as np
import pytest

from compiler.checking.verify import compare
from compiler.compile import compile_model
from compiler.errors import ModelError
from compiler.frontends import load


def i2_s_file(path: Path, architecture: str = "bitnet-b1.58", **changes: Any) -> dict[str, Any]:
    """A BitNet as Microsoft publishes it: linears in I2_S, the embedding in f16, no head; returns codes and scales."""
    dim, hidden, heads, kv_heads, vocab = 128, 256, 4, 2, 300
    generator = np.random.default_rng(11)
    numbers = {"vocab_size": vocab, "context_length": 16, "embedding_length": dim, "block_count": 2, "feed_forward_length": hidden,
               "rope.dimension_count": dim // heads, "attention.head_count": heads, "attention.head_count_kv": kv_heads,
               "attention.layer_norm_rms_epsilon": 1e-5, "rope.freq_base": 500000.0}
    metadata = {"general.architecture": architecture, "general.name": "bitnet", "general.file_type": 40,
                **{f"{architecture}.{key}": value for key, value in numbers.items()}}
    embedding = generator.normal(0, 1, (vocab, dim)).astype(np.float16)
    tensors = {"token_embd.weight": ((vocab, dim), 1, embedding.tobytes()),
               "output_norm.weight": ((dim,), 0, np.ones(dim, np.float32).tobytes())}
    codes = {}
    for layer in range(2):
        for name, size in (("attn_norm", dim), ("attn_sub_norm", dim), ("ffn_norm", dim), ("ffn_sub_norm", hidden)):
            tensors[f"blk.{layer}.{name}.weight"] = (size,), 0, generator.normal(1, 0.1, size).astype("<f4").tobytes()
        for name, shape in (("attn_q", (dim, dim)), ("attn_k", (dim // 2, dim)), ("attn_v", (dim // 2, dim)),
                            ("attn_output", (dim, dim)), ("ffn_gate", (hidden, dim)), ("ffn_up", (hidden, dim)),
                            ("ffn_down", (dim, hidden))):
            values, scale = generator.integers(-1, 2, shape, np.int8), float(np.float32(generator.uniform(0.01, 0.1)))
            tensors[f"blk.{layer}.{name}.weight"] = shape, 36, made.i2_s(values, scale)
            codes[f"blk.{layer}.{name}.weight"] = values, scale
    path.write_bytes(made.gguf_bytes(metadata, {**tensors, **changes}))
    return codes


def test_i2_s_is_codes_and_one_scale(tmp_path: Path) -> None:
    """Every code of every matrix, whole and by any block of rows, and the scale behind them."""
    stored = i2_s_file(tmp_path / "model.gguf")
    model = load(tmp_path / "model.gguf")
    for layer in range(2):
        for role, name in ((role, name) for role, name in made.GGUF_NAMES.items() if not role.endswith("norm")):
            values, scale = stored[f"blk.{layer}.{name}.weight"]
            tensor = model.tensor(f"layers.{layer}.{role}")
            codes = tensor.codes()
            assert np.array_equal(codes.values, values) and codes.scales.tolist() == [[np.float32(scale)]]
            assert tensor.stored == "t2:tensor" and tensor.levels == (-1, 0, 1)
            for first, last in ((0, 1), (7, 9), (len(values) - 1, len(values))):
                assert np.array_equal(tensor.rows(first, last), values[first:last] * np.float32(scale))
    assert model.config.int8_activations and model.config.tied and model.config.sub_norms


@pytest.mark.parametrize(("architecture", "activation"), [("bitnet-b1.58", "relu2"), ("bitnet-25", "relu2"), ("bitnet", "silu")])
def test_microsofts_names_of_bitnet(architecture: str, activation: str, tmp_path: Path) -> None:
    """Relu squared where Microsoft's runs it; the program keeps the codes, and every operation is the graph's."""
    i2_s_file(tmp_path / "model.gguf", architecture)
    model = load(tmp_path / "model.gguf")
    assert model.config.activation == activation and not model.notes
    compiled = compile_model(model)
    assert compiled.layout.layer["down"].format.name == "t2" and compiled.layout.once["embedding"].format.name == "f16"
    assert compare(compiled, compiled.build(tmp_path), [1, 5, 9])[1] is None


GOOD = made.i2_s(np.zeros((128, 128), np.int8), 0.5)
NAN = struct.pack("<f", np.nan).ljust(32, b"\0")


@pytest.mark.parametrize(("shape", "data", "message"), [
    ((128, 128), GOOD[:70] + b"\x03" + GOOD[71:], r"code 3 at \[2, 102\]; expected 0, 1 or 2"),
    ((128, 128), GOOD[:-32] + NAN,                r"the scale of group 0 in row 0 is nan"),
    ((64, 192),  GOOD,                            r"shape \[64, 192\] of I2_S; expected a vector or matrix of whole blocks"),
    ((128, 64),  GOOD,                            r"shape \[128, 64\] of I2_S; expected a vector or matrix of whole blocks"),
])
def test_damaged_tensors(shape: tuple[int, ...], data: bytes, message: str, tmp_path: Path) -> None:
    i2_s_file(tmp_path / "model.gguf", **{"blk.0.attn_q.weight": (shape, 36, data)})
    with pytest.raises(ModelError, match=f"blk.0.attn_q.weight: {message}"):
        load(tmp_path / "model.gguf").tensor("layers.0.q").codes()


def test_a_file_that_ends_within_a_tensor(tmp_path: Path) -> None:
    i2_s_file(tmp_path / "model.gguf")
    data = (tmp_path / "model.gguf").read_bytes()
    (tmp_path / "model.gguf").write_bytes(data[:-20])
    with pytest.raises(ModelError, match=r"damaged GGUF file: it ends within tensor blk.1.ffn_down.weight; expected a whole one"):
        load(tmp_path / "model.gguf")


def test_a_scale_of_zero_is_a_matrix_of_zeros(tmp_path: Path) -> None:
    i2_s_file(tmp_path / "model.gguf", **{"blk.0.attn_q.weight": ((128, 128), 36, GOOD[:-32] + bytes(32))})
    assert not load(tmp_path / "model.gguf").tensor("layers.0.q").rows().any()
