"""The float graph against transformers: the logits of tiny random checkpoints that transformers saved, every architecture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers_models import (
    CLEAR,
    LLAMA,
    MODES,
    SHORT,
    SIZES,
    VOCAB,
    assert_close,
    make,
    margin,
    our_logits,
    save_bitnet,
    their_logits,
    torch,
    transformers,
)

from compiler.frontends import load
from compiler.frontends.families import CLASSES
from compiler.frontends.hf_config import read_config
from compiler.frontends.options import Options
from compiler.frontends.unsupported import hint
from compiler.graph import EXACT

OPT: dict[str, Any] = {**SIZES, "ffn_dim": 112}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 24, "rope_theta": 500.0}
LINEAR = {"rope_type": "linear", "factor": 3.0, "rope_theta": 100.0}

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama":            ("LlamaForCausalLM", LLAMA),
    "llama-mha-tied":   ("LlamaForCausalLM", {**LLAMA, "num_key_value_heads": 4, "tie_word_embeddings": True}),
    "llama-mqa":        ("LlamaForCausalLM", {**LLAMA, "num_key_value_heads": 1, "rms_norm_eps": 1e-2}),
    "llama-biases":     ("LlamaForCausalLM", {**LLAMA, "attention_bias": True, "mlp_bias": True}),
    "llama-head-dim":   ("LlamaForCausalLM", {**LLAMA, "head_dim": 24}),
    "llama-theta":      ("LlamaForCausalLM", {**LLAMA, "rope_theta": 500.0}),
    "llama-linear":     ("LlamaForCausalLM", {**LLAMA, "rope_scaling": LINEAR}),
    "llama-llama3":     ("LlamaForCausalLM", {**LLAMA, "rope_scaling": LLAMA3}),
    "llama-relu":       ("LlamaForCausalLM", {**LLAMA, "hidden_act": "relu"}),
    "llama-gelu":       ("LlamaForCausalLM", {**LLAMA, "hidden_act": "gelu_pytorch_tanh"}),
    "mistral":          ("MistralForCausalLM", {**LLAMA, "sliding_window": None}),
    "mistral-window":   ("MistralForCausalLM", {**LLAMA, "sliding_window": 5}),
    "qwen2":            ("Qwen2ForCausalLM", LLAMA),
    "qwen2-tied":       ("Qwen2ForCausalLM", {**LLAMA, "tie_word_embeddings": True}),
    "qwen3":            ("Qwen3ForCausalLM", {**LLAMA, "head_dim": 32}),
    "qwen3-bias":       ("Qwen3ForCausalLM", {**LLAMA, "head_dim": 8, "attention_bias": True, "tie_word_embeddings": True}),
    "bitnet-float":     ("BitNetForCausalLM", LLAMA),
    "opt":              ("OPTForCausalLM", OPT),
    "opt-untied":       ("OPTForCausalLM", {**OPT, "tie_word_embeddings": False}),
    "opt-projected":    ("OPTForCausalLM", {**OPT, "word_embed_proj_dim": 24}),
    "opt-norm-after":   ("OPTForCausalLM", {**OPT, "do_layer_norm_before": False, "word_embed_proj_dim": 24}),
    "opt-plain":        ("OPTForCausalLM", {**OPT, "enable_bias": False, "_remove_final_layer_norm": True}),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits(variant: str, tmp_path: Path) -> None:
    name, options = VARIANTS[variant]
    model = make(name, **options)
    model.save_pretrained(tmp_path)
    assert_close(our_logits(tmp_path), their_logits(model))


def test_the_window_is_honoured(tmp_path: Path) -> None:
    """A window changes the logits, and ours change with it: five positions are fewer than the text."""
    logits = []
    for window in (5, None):
        make("MistralForCausalLM", **{**LLAMA, "sliding_window": window}).save_pretrained(tmp_path / str(window))
        logits.append(our_logits(tmp_path / str(window)))
    assert np.allclose(logits[0][:5], logits[1][:5])
    assert not np.allclose(logits[0][5:], logits[1][5:], atol=1e-2)


TIES = dict(reversed(VARIANTS.values()))            # the first variant of each class


@pytest.mark.parametrize("stored", ["both", "equal", "head", "embedding"])
@pytest.mark.parametrize("name", TIES)
def test_tied_models_however_their_head_is_stored(name: str, stored: str, tmp_path: Path) -> None:
    """tie_word_embeddings, and a file with a head of its own, with a copy of the embedding, or with one of the two names."""
    from safetensors.torch import load_file, save_file

    make(name, **{**TIES[name], "tie_word_embeddings": True}).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    embedding = next(key for key in tensors if key.endswith("embed_tokens.weight"))
    if stored != "embedding":
        tensors["lm_head.weight"] = tensors[embedding] * -1.5 if stored == "both" else tensors[embedding].clone()
    if stored == "head":
        del tensors[embedding]
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    theirs = getattr(transformers, name).from_pretrained(tmp_path, dtype=torch.float32)
    assert_close(our_logits(tmp_path), their_logits(theirs))
    assert bool(load(tmp_path).notes) == (stored == "both")


@pytest.mark.parametrize("name", ["LlamaForCausalLM", "Qwen2ForCausalLM", "OPTForCausalLM"])
def test_tied_models_that_safetensors_saves_itself(name: str, tmp_path: Path) -> None:
    """save_model keeps the first name of a matrix that has two: the head's."""
    from safetensors.torch import load_file, save_model

    model = make(name, **{**TIES[name], "tie_word_embeddings": True})
    model.config.architectures = [name]
    model.config.save_pretrained(tmp_path)
    save_model(model, str(tmp_path / "model.safetensors"))
    assert [key for key in load_file(tmp_path / "model.safetensors") if "embed_tokens" in key] == []
    assert_close(our_logits(tmp_path), their_logits(model))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_stored_in_16_bits(dtype: str, tmp_path: Path) -> None:
    """Weights of 16 bits, computed in fp32: transformers does the same when it loads them as float32."""
    make("LlamaForCausalLM", **LLAMA).to(getattr(torch, dtype)).save_pretrained(tmp_path)
    theirs = their_logits(transformers.LlamaForCausalLM.from_pretrained(tmp_path, dtype=torch.float32))
    assert_close(our_logits(tmp_path), theirs)


def test_shards_and_weights_that_are_not_kept(tmp_path: Path) -> None:
    model = make("LlamaForCausalLM", **LLAMA)
    model.save_pretrained(tmp_path, max_shard_size="40KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 3
    assert_close(our_logits(tmp_path, keep=0), their_logits(model))


@pytest.mark.parametrize("variant", ["llama", "qwen3", "opt"])
def test_the_machines_arithmetic(variant: str, tmp_path: Path) -> None:
    """The lanes and recipes of the vector unit stay within the same tolerance."""
    name, options = VARIANTS[variant]
    model = make(name, **options)
    model.save_pretrained(tmp_path)
    assert_close(our_logits(tmp_path, arithmetic=EXACT), their_logits(model))


def test_older_files_spell_rope_scaling_otherwise(tmp_path: Path) -> None:
    model = make("LlamaForCausalLM", **{**LLAMA, "rope_scaling": LLAMA3})
    model.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    parameters = config.pop("rope_parameters")
    config["rope_theta"] = parameters.pop("rope_theta")
    path.write_text(json.dumps({**config, "rope_scaling": parameters}))
    assert_close(our_logits(tmp_path), their_logits(model))


REQUIRED = {"architectures": None, "vocab_size": 96, "hidden_size": 20480, "num_hidden_layers": 1, "num_attention_heads": 160,
            "intermediate_size": 96, "ffn_dim": 96, "max_position_embeddings": 64}


@pytest.mark.parametrize("name", sorted({name for name, _ in VARIANTS.values()}))
def test_defaults_are_those_of_transformers(name: str) -> None:
    """A file with the sizes alone means what the configuration class makes of it."""
    sizes = {key: value for key, value in REQUIRED.items() if key != ("intermediate_size" if name.startswith("OPT") else "ffn_dim")}
    theirs = getattr(transformers, name.replace("ForCausalLM", "Config"))(**{k: v for k, v in sizes.items() if v})
    ours, quantisation = read_config(Path("config.json"), Options(Path("config.json"), {**sizes, "architectures": [name]}))
    assert quantisation is None
    assert ours.tied == theirs.tie_word_embeddings
    assert ours.kv_heads == getattr(theirs, "num_key_value_heads", 160)
    assert ours.head_dim == (getattr(theirs, "head_dim", None) or 128)
    assert ours.activation == (theirs.activation_function if name.startswith("OPT") else theirs.hidden_act)
    assert ours.eps == getattr(theirs, "rms_norm_eps", 1e-5)
    assert ours.window == getattr(theirs, "sliding_window", None)
    assert bool(ours.biases) == (name in ("OPTForCausalLM", "Qwen2ForCausalLM"))
    if ours.rope:
        assert ours.rope.frequencies[1] == pytest.approx(theirs.rope_parameters["rope_theta"] ** (-2 / ours.head_dim), rel=1e-6)
    else:
        assert ours.norm_first == theirs.do_layer_norm_before
        assert ours.embedding_dim == 0 and theirs.word_embed_proj_dim == 20480


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_every_option_of_their_classes_is_known(name: str) -> None:
    """Read, or known to change nothing: no note."""
    theirs = getattr(transformers, name.replace("ForCausalLM", "Config"))().to_json_string(use_diff=False)
    options = Options(Path("config.json"), {**json.loads(theirs), "architectures": [name]})
    read_config(Path("config.json"), options)
    assert options.notes == []


def test_none_of_their_other_classes_is_taken_for_one_of_ours() -> None:
    """And what most of them have that is missing here is said."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as names

    hints = {name: hint(name, CLASSES) for name in names.values() if isinstance(name, str) and name not in CLASSES}
    assert len(hints) > 100 and not [name for name, said in hints.items() if "did you mean" in said]
    assert sum(not said for said in hints.values()) < len(hints) / 3


# ------------------------------------------------------------------------------------------------ BitNet


@pytest.mark.parametrize("mode", MODES)
def test_bitnet(mode: str, tmp_path: Path) -> None:
    for seed in range(20):
        save_bitnet(tmp_path, mode, seed)
        if margin(tmp_path) > CLEAR:
            break
    theirs = their_logits(transformers.BitNetForCausalLM.from_pretrained(tmp_path, dtype=torch.float32), SHORT)
    assert_close(our_logits(tmp_path, SHORT), theirs)


def test_bitnet_codes_are_transformers_unpacking(tmp_path: Path) -> None:
    """Codes of every packed matrix, whole and by any block of rows; the scale stays beside them."""
    from safetensors.torch import load_file
    from transformers.integrations.bitnet import unpack_weights

    save_bitnet(tmp_path, "autobitlinear", 3)
    stored, model = load_file(tmp_path / "model.safetensors"), load(tmp_path)
    for role, part in (("q", "self_attn.q_proj"), ("k", "self_attn.k_proj"), ("down", "mlp.down_proj"), ("gate", "mlp.gate_proj")):
        name = f"model.layers.1.{part}.weight"
        theirs = np.asarray(unpack_weights(stored[name], torch.float32))
        tensor = model.tensor(f"layers.1.{role}")
        codes = tensor.codes()
        assert np.array_equal(codes.values, theirs) and set(np.unique(theirs)) == {-1, 0, 1} == set(tensor.levels)
        assert codes.scales.shape == (1, 1) and codes.scales[0, 0] == np.float32(stored[name.replace("weight", "weight_scale")][0])
        for first, last in ((0, 1), (7, 9), (15, 18), (0, 31), (len(theirs) - 1, len(theirs))):
            assert np.array_equal(tensor.codes(first, last).values, theirs[first:last])
        assert np.array_equal(tensor.rows(), theirs * codes.scales[0, 0])
    assert model.config.vocab == VOCAB and model.config.int8_activations
