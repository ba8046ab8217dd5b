"""config.json: what may stand in it besides what is read, which of it refuses a model, and what is said of other families."""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import Any

import llama_files as made
import numpy as np
import pytest

from compiler.errors import ModelError
from compiler.frontends import load, unsupported
from compiler.frontends.families import ARCHITECTURES, CLASSES
from compiler.frontends.options import neutral, words
from compiler.graph import Executor, build
from compiler.model.model import Model


def logits(model: Model) -> np.ndarray:
    executor = Executor(build(model.config), model)
    return np.stack([executor.step(token) for token in (1, 40, 299, 7, 7)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made.write_hf(tmp_path, made.hf_tensors(made.weights()))


# What published checkpoints of these families have besides the options of their class.
PUBLISHED: dict[str, dict[str, Any]] = {
    "SmolLM2":         {"is_llama_config": True, "rope_interleaved": False,
                        "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16", "fp16": "float16"}}},
    "noisy embedding": {"neftune_noise_alpha": 5},
    "LLaMA-1":         {"max_position_embeddings": ..., "max_sequence_length": 2048, "architectures": ["LLaMAForCausalLM"],
                        "pad_token_id": -1},
    "a fine-tune":     {"unsloth_version": "2025.3", "sample_packing": True, "trl_version": "0.9", "wandb_id": "x3",
                        "seq_length": 4096},
    "Paddle":          {"use_flash_attention": True, "use_fused_rope": True, "use_fused_rms_norm": True, "hidden_dropout_prob": 0.1,
                        "rope_scaling_factor": 1.0, "use_recompute": False, "attention_init_std": 0.02, "alibi": False},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_checkpoints_load_and_say_it_once(name: str, folder: Path) -> None:
    before = logits(load(folder))
    made.write_hf(folder, made.hf_tensors(made.weights()), **PUBLISHED[name])
    model = load(folder)
    assert np.array_equal(logits(model), before)
    assert len(model.notes) == (name != "LLaMA-1")
    for option, value in PUBLISHED[name].items():
        said = any(option in note for note in model.notes)
        known = ("max_sequence_length", "unsloth_version", "pad_token_id", "hidden_dropout_prob")
        assert said == (not neutral(option, value) and option not in (*made.CONFIG, *known))


@pytest.mark.parametrize(("options", "context", "notes"), [
    ({"max_sequence_length": 77}, 77, 0), ({"max_sequence_length": None}, 2048, 1), ({}, 2048, 1),
    ({"max_sequence_length": 77, "max_position_embeddings": 16}, 16, 0),
    ({"architectures": ["MistralForCausalLM"]}, 131072, 1), ({"architectures": ["Qwen3ForCausalLM"], "head_dim": 8}, 32768, 1),
])
def test_positions_that_are_not_said(options: dict[str, Any], context: int, notes: int, folder: Path) -> None:
    tensors = made.hf_tensors(made.weights())
    if "head_dim" in options:
        tensors |= {f"model.layers.{layer}.self_attn.{x}_norm.weight": np.ones(8, np.float32) for layer in range(2) for x in "qk"}
    made.write_hf(folder, tensors, **{"max_position_embeddings": ..., **options})
    model = load(folder)
    assert model.config.context == context and len(model.notes) == notes


@pytest.mark.parametrize("value", ["long", -1, 0])
def test_positions_that_are_none(value: Any, folder: Path) -> None:
    for key in ("max_position_embeddings", "max_sequence_length"):
        made.write_hf(folder, made.hf_tensors(made.weights()), **{"max_position_embeddings": ..., key: value})
        with pytest.raises(ModelError, match=r"max_\w+: .*; expected a (whole number|positive size)"):
            load(folder)


@pytest.mark.parametrize(("option", "value"), [
    ("attention_multiplier", 0.5), ("residual_scale", 1.4), ("logits_scaling", 8.0), ("use_qk_norm", True), ("qk_layernorm", True),
    ("clip_qkv", 8.0), ("no_rope_layers", [1, 0]), ("rope_pct", 0.25), ("use_parallel_residual", True), ("numExperts", 8),
    ("embedding_multiplier", 12), ("moe_layer_freq", 1), ("query_pre_attn_scalar", 256), ("compress_kv", True), ("scale_emb", 12),
    ("rope_interleaved", True), ("rms_norm_epsilon", 1e-3), ("head_dimm", 16), ("activation_clamp", 7.0), ("layer_sharing", True),
    ("fuse_attention_qkv", True), ("attention_scale", 2.0),
])
def test_what_may_change_the_computation_refuses(option: str, value: Any, folder: Path) -> None:
    made.write_hf(folder, made.hf_tensors(made.weights()), **{option: value})
    with pytest.raises(ModelError, match=rf"config.json: error: {option}: "):
        load(folder)


@pytest.mark.parametrize("option", [("logits_scaling", 1.0), ("residual_multiplier", 1), ("moe_layers", 0), ("use_qk_norm", False),
                                    ("rope_pct_table", []), ("num_experts_per_tok", None), ("attn_note", "")])
def test_at_their_neutral_value_they_do_not(option: tuple[str, Any], folder: Path) -> None:
    made.write_hf(folder, made.hf_tensors(made.weights()), **dict([option]))
    assert not load(folder).notes


def test_words() -> None:
    assert words("numExperts.per_tokenXL") == {"num", "experts", "per", "token", "xl"}
    assert words("qk_layernorm") == {"qk", "layer", "norm"}


@pytest.mark.parametrize("options", [
    {"rope_scaling": {"type": "linear", "factor": 1.0, "finetuned": True, "original_max_position_embeddings": 16}},
    {"rope_parameters": {"rope_type": "default", "original_max_position_embeddings": 16}},
])
def test_options_of_rope_that_change_nothing(options: dict[str, Any], folder: Path) -> None:
    before = logits(load(folder))
    made.write_hf(folder, made.hf_tensors(made.weights()), **options)
    assert np.array_equal(logits(load(folder)), before)


def test_a_byte_order_mark(folder: Path) -> None:
    """In every JSON file, in each encoding that JSON may have."""
    before = logits(load(folder))
    text = (folder / "config.json").read_text()
    for mark, encoding in ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF32_BE, "utf-32-be")):
        (folder / "config.json").write_bytes(mark + text.encode(encoding))
        (folder / "generation_config.json").write_bytes(mark + '{"eos_token_id": 9}'.encode(encoding))
        model = load(folder)
        assert np.array_equal(logits(model), before) and model.config.stop == {2, 9}


# ------------------------------------------------------------------------------------------------ quantised by others


@pytest.mark.parametrize(("options", "hint"), [
    ({"quantization_config": {"quant_method": "eetq", "bits": 4}}, r"take the checkpoint of floats that it was made from"),
    ({"quantization_config": {"quant_method": "hqq"}},             r"dequantised export; --weights quantises it again"),
    ({"quantization_config": {"quant_method": "fp8"}},             r"FineGrainedFP8Config\(dequantize=True\)"),
    ({"quantization_config": {"quant_method": "bitsandbytes"}},    r"\.dequantize\(\)\.save_pretrained"),
    ({"quantization_config": {"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized"}},
     r"CompressedTensorsConfig\(dequantize=True\)"),
    ({"quantization_config": {"bits": 4}},                         r"dequantised export"),
    ({"compression_config": {"format": "float-quantized"}},        r"CompressedTensorsConfig"),
    ({"quantization": {"group_size": 64, "bits": 4}, "quantization_config": {"group_size": 64, "bits": 4}}, r"mlx_lm.convert"),
])
def test_weights_that_others_have_quantised(options: dict[str, Any], hint: str, folder: Path) -> None:
    made.write_hf(folder, made.hf_tensors(made.weights()), **options)
    with pytest.raises(ModelError, match=r"config.json: error: (quantization|compression)\S*: .*; expected .*\nhint: ") as error:
        load(folder)
    assert re.search(hint, error.value.hint)


# ------------------------------------------------------------------------------------------------ other families


@pytest.mark.parametrize(("name", "lacks"), [
    ("MixtralForCausalLM", "mixture of experts"), ("Qwen2MoeForCausalLM", "mixture of experts"), ("qwen3moe", "mixture of experts"),
    ("OlmoeForCausalLM", "mixture of experts"), ("DeepseekV3ForCausalLM", "latent attention"), ("deepseek2", "latent attention"),
    ("GptOssForCausalLM", "mixture of experts"), ("GemmaForCausalLM", "gain 1 + w"), ("gemma3", "windows in some layers"),
    ("PhiForCausalLM", "side by side"), ("Phi3ForCausalLM", "in one matrix"), ("phi3", "in one matrix"),
    ("FalconForCausalLM", "side by side"), ("GPT2LMHeadModel", "layernorms"), ("GPTNeoXForCausalLM", "side by side"),
    ("MambaForCausalLM", "state-space"), ("mamba2", "state-space"), ("RwkvForCausalLM", "state-space or recurrent"),
    ("JambaForCausalLM", "in some layers"), ("BloomForCausalLM", "ALiBi"), ("CohereForCausalLM", "scaled logits"),
    ("GraniteForCausalLM", "factors"), ("Olmo2ForCausalLM", "norms behind"), ("StableLmForCausalLM", "rope of a part"),
    ("SmolLM3ForCausalLM", "without rope"), ("T5ForConditionalGeneration", "encoder"), ("LlavaForConditionalGeneration", "images"),
    ("Qwen2VLForConditionalGeneration", "images"), ("qwen2vl", "images"), ("BertForMaskedLM", "head that is no language model's"),
    ("LlamaForSequenceClassification", "head that is no language model's"), ("starcoder2", "layernorms"), ("llama4", "experts"),
    ("MiniCPMForCausalLM", "factors"), ("Gemma2ForCausalLM", "gain 1 + w"), ("RobertaForCausalLM", "encoder"),
])
def test_what_a_family_lacks_is_said(name: str, lacks: str, folder: Path) -> None:
    if name[0].isupper():
        made.write_hf(folder, made.hf_tensors(made.weights()), architectures=[name])
        path = folder
    else:
        path = made.write_gguf(folder / "model.gguf", made.weights(), architecture=name)
    with pytest.raises(ModelError, match=r"architectures?: .*; expected .*\nhint: such a model has ") as error:
        load(path)
    assert lacks in error.value.hint and "did you mean" not in error.value.hint


@pytest.mark.parametrize("known", [CLASSES, ARCHITECTURES])
def test_no_other_family_is_taken_for_one_of_ours(known: dict[str, Any]) -> None:
    """Only a typing error is."""
    import gguf as library

    others = {*library.MODEL_ARCH_NAMES.values(), "MixtralForCausalLM", "Phi4ForCausalLM", "Qwen4ForCausalLM", "OPT2ForCausalLM"}
    for name in others - set(known):
        assert "did you mean" not in unsupported.hint(name, known), name
    assert "GGUF" in unsupported.hint("BitnetForCausalLM", known)
    for name in known:
        assert unsupported.hint(name.swapcase(), known) == f"did you mean {name!r}?"
        assert unsupported.hint(name, known) == f"did you mean {name!r}?"
