"""GGUF files that the library gguf wrote: our logits against those of transformers on the same file or the same weights."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import gguf
import llama_files
import numpy as np
import pytest
from transformers_models import (
    CLEAR,
    LLAMA,
    SHORT,
    assert_close,
    make,
    margin,
    our_logits,
    their_logits,
    torch,
    transformers,
)

from compiler.frontends import load
from compiler.frontends.gguf_blocks import BlockTensor
from compiler.frontends.gguf_tokenizer import PRE

Type = gguf.GGMLQuantizationType
NAMES = {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output", "input_layernorm": "attn_norm",
         "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
         "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
         "mlp.down_proj": "ffn_down", "self_attn.attn_sub_norm": "attn_sub_norm", "mlp.ffn_sub_norm": "ffn_sub_norm",
         "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"}
WIDE: dict[str, Any] = {**LLAMA, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 1}      # whole blocks of 256


def gguf_name(name: str) -> str:
    base, part = name.removeprefix("model.").rsplit(".", 1)
    if base.startswith("layers."):
        _, layer, kind = base.split(".", 2)
        return f"blk.{layer}.{NAMES[kind]}.{part}"
    return f"{NAMES[base]}.{part}"


def permuted(weights: np.ndarray, heads: int) -> np.ndarray:
    """Rows of q or k as llama.cpp's conversion lays them out: both halves of a head, element by element in turn."""
    halves = weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:])
    return halves.swapaxes(1, 2).reshape(weights.shape)


def write(path: Path, architecture: str, model: Any, types: dict[str, Any], default: Any = Type.F32, **more: float) -> None:
    """Write a GGUF of a model, and round its own weights to what the file holds. `types`: by a part of the tensor's name."""
    c, writer = model.config, gguf.GGUFWriter(path, architecture)
    writer.add_context_length(c.max_position_embeddings)
    writer.add_embedding_length(c.hidden_size)
    writer.add_block_count(c.num_hidden_layers)
    writer.add_feed_forward_length(c.intermediate_size)
    writer.add_head_count(c.num_attention_heads)
    writer.add_head_count_kv(c.num_key_value_heads)
    writer.add_layer_norm_rms_eps(c.rms_norm_eps)
    writer.add_rope_freq_base(c.rope_parameters["rope_theta"])
    head_dim = getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads
    writer.add_rope_dimension_count(head_dim)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_vocab_size(c.vocab_size)
    for key, value in more.items():
        writer.add_float32(f"{architecture}.{key.replace('__', '.')}", value)
    for name, parameter in model.named_parameters():
        values = parameter.detach().numpy().copy()
        target = gguf_name(name)
        matrix = values.ndim == 2
        kind = next((kind for part, kind in types.items() if part in target), default) if matrix else Type.F32
        stored = gguf.quantize(values, kind) if kind not in (Type.F32, Type.F16) else values.astype(
            np.float16 if kind == Type.F16 else np.float32)
        parameter.data.copy_(torch.from_numpy(np.array(gguf.dequantize(stored, kind), np.float32).reshape(values.shape)))
        if architecture == "llama" and ("attn_q" in target or "attn_k" in target):
            stored = permuted(stored, c.num_attention_heads if "attn_q" in target else c.num_key_value_heads)
        writer.add_tensor(target, stored, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("kind", [Type.F32, Type.F16, Type.BF16, Type.Q8_0, Type.Q4_0, Type.TQ1_0, Type.TQ2_0],
                         ids=lambda kind: kind.name)
def test_llama(kind: Any, tmp_path: Path) -> None:
    """Every type that the library can quantise to; rows of q and k permuted."""
    model = make("LlamaForCausalLM", **WIDE)
    write(tmp_path / "model.gguf", "llama", model, {}, kind)
    tensor = load(tmp_path / "model.gguf").tensor("layers.0.up")
    assert isinstance(tensor, BlockTensor) and tensor.kind == kind
    assert_close(our_logits(tmp_path / "model.gguf"), their_logits(model))


@pytest.mark.parametrize(("architecture", "name", "options"), [
    ("llama", "LlamaForCausalLM", {"num_key_value_heads": 1, "attention_bias": True}),
    ("llama", "LlamaForCausalLM", {"tie_word_embeddings": True, "rope_theta": 200.0}),
    ("qwen2", "Qwen2ForCausalLM", {}),
    ("qwen2", "Qwen2ForCausalLM", {"tie_word_embeddings": True, "rms_norm_eps": 1e-2}),
    ("qwen3", "Qwen3ForCausalLM", {"head_dim": 24}),
    ("qwen3", "Qwen3ForCausalLM", {"head_dim": 128, "tie_word_embeddings": True}),
])
def test_transformers_reads_the_same_file(architecture: str, name: str, options: dict[str, Any], tmp_path: Path) -> None:
    model = make(name, **{**LLAMA, **options})
    write(tmp_path / "model.gguf", architecture, model, {})
    ours = our_logits(tmp_path / "model.gguf")
    assert_close(ours, their_logits(model))
    if not options.get("attention_bias") and options.get("head_dim", 128) == 128:   # theirs has no biases of llama, no other heads
        theirs = getattr(transformers, name).from_pretrained(tmp_path, gguf_file="model.gguf", dtype=torch.float32)
        assert_close(ours, their_logits(theirs))


def test_mixed_types_and_linear_rope(tmp_path: Path) -> None:
    """Types differ from tensor to tensor, as in Q4_K_M files."""
    model = make("LlamaForCausalLM", **{**WIDE, "rope_scaling": {"rope_type": "linear", "factor": 4.0, "rope_theta": 300.0}})
    types = {"attn_v": Type.Q8_0, "ffn_down": Type.F16, "token_embd": Type.BF16, "attn": Type.Q4_0}
    write(tmp_path / "model.gguf", "llama", model, types, rope__scaling__factor=4.0)
    assert_close(our_logits(tmp_path / "model.gguf"), their_logits(model))


def test_bitnet(tmp_path: Path) -> None:
    """BitNet in GGUF: silu, sub-norms, tied. Weights that are not ternary are used as they are."""
    model = make("BitNetForCausalLM", **{**LLAMA, "hidden_act": "silu", "tie_word_embeddings": True})
    write(tmp_path / "model.gguf", "bitnet", model, {})
    assert not load(tmp_path / "model.gguf").config.int8_activations
    assert_close(our_logits(tmp_path / "model.gguf"), their_logits(model))


def test_ternary_bitnet_reads_int8_activations(tmp_path: Path) -> None:
    """Every linear of a layer reads what transformers' quantiser of BitNet's activations leaves of its input."""
    from transformers.integrations.bitnet import ActQuant

    path = tmp_path / "model.gguf"
    for seed in range(20):
        model = make("BitNetForCausalLM", seed, **{**WIDE, "hidden_act": "silu", "tie_word_embeddings": True})
        write(path, "bitnet", model, {"blk": Type.TQ2_0})
        if margin(path) > CLEAR:
            break
    assert load(path).config.int8_activations
    for name, linear in model.named_modules():
        if name.endswith("_proj"):
            linear.register_forward_pre_hook(lambda module, inputs: (ActQuant.apply(inputs[0]),))
    assert_close(our_logits(path, SHORT), their_logits(model, SHORT))


def test_microsofts_bitnet(tmp_path: Path) -> None:
    """I2_S under the name bitnet-b1.58: transformers' model of the same codes, whose linears read quantised activations."""
    from transformers.integrations.bitnet import ActQuant

    path = tmp_path / "model.gguf"
    for seed in range(20):
        model = make("BitNetForCausalLM", seed, **{**WIDE, "tie_word_embeddings": True})
        c, tensors = model.config, {}
        for name, parameter in model.named_parameters():
            values, kind = parameter.detach().numpy().copy(), 0
            data = values.tobytes()
            if name.endswith("_proj.weight"):
                scale = float(np.abs(values).mean())
                codes, kind = np.clip(np.rint(values / scale), -1, 1).astype(np.int8), 36
                data = llama_files.i2_s(codes, scale)
                parameter.data.copy_(torch.from_numpy(codes * np.float32(scale)))
            tensors[gguf_name(name)] = values.shape, kind, data
        numbers = {"vocab_size": c.vocab_size, "context_length": c.max_position_embeddings, "embedding_length": c.hidden_size,
                   "block_count": c.num_hidden_layers, "feed_forward_length": c.intermediate_size,
                   "rope.dimension_count": c.hidden_size // c.num_attention_heads, "attention.head_count": c.num_attention_heads,
                   "attention.head_count_kv": c.num_key_value_heads, "attention.layer_norm_rms_epsilon": c.rms_norm_eps,
                   "rope.freq_base": float(c.rope_parameters["rope_theta"])}
        path.write_bytes(llama_files.gguf_bytes({"general.architecture": "bitnet-b1.58",
                                                 **{f"bitnet-b1.58.{key}": value for key, value in numbers.items()}}, tensors))
        if margin(path) > CLEAR:
            break
    for name, linear in model.named_modules():
        if name.endswith("_proj"):
            linear.register_forward_pre_hook(lambda module, inputs: (ActQuant.apply(inputs[0]),))
    assert_close(our_logits(path, SHORT), their_logits(model, SHORT))


def test_splitting_before_bpe_is_transformers() -> None:
    """The patterns that tokenizer.ggml.pre names, as transformers has them for the same models."""
    from transformers.convert_slow_tokenizer import TikTokenConverter
    from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

    assert PRE["qwen2"].pattern == PRETOKENIZE_REGEX
    assert PRE["llama-bpe"].pattern == inspect.signature(TikTokenConverter).parameters["pattern"].default
