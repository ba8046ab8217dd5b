"""config.json of a Hugging Face directory to a Config, for each architecture by its row in ARCHITECTURES.

Defaults are those of the configuration classes of transformers, which a file may leave out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from compiler.errors import one_of
from compiler.frontends.families import hint
from compiler.frontends.hf_options import ALLOWED, HARMLESS
from compiler.frontends.options import Options
from compiler.model.model import Config, Rope, check_config, check_head_dim, rope_frequencies
from compiler.model.tensors import F32

ACTIVATIONS = {"silu": "silu", "swish": "silu", "relu": "relu", "relu2": "relu2", "gelu_new": "gelu", "gelu_pytorch_tanh": "gelu"}


@dataclass(frozen=True)
class Architecture:
    """What a class of transformers is beyond a Llama. `*_biases`: linears that have one, always or by the option of that name."""

    activation: str = "silu"
    eps: float = 1e-6
    theta: float = 10000.0
    context: int = 2048
    kv_heads: int | None = None             # where the file has none; None: as many as heads
    head_dim: int | None = None             # None: hidden_size / heads
    biases: str = ""
    attention_biases: str = ""
    mlp_biases: str = ""
    window: int | None = None
    has_window: bool = False                # sliding_window is honoured without use_sliding_window
    qk_norm: bool = False
    sub_norms: bool = False


ARCHITECTURES: dict[str, Architecture | None] = {
    "LlamaForCausalLM":   Architecture(attention_biases="q k v o", mlp_biases="gate up down"),
    "MistralForCausalLM": Architecture(context=131072, kv_heads=8, has_window=True, window=4096),
    "Qwen2ForCausalLM":   Architecture(context=32768, kv_heads=32, biases="q k v"),
    "Qwen3ForCausalLM":   Architecture(context=32768, kv_heads=32, head_dim=128, attention_biases="q k v o", qk_norm=True),
    "BitNetForCausalLM":  Architecture("relu2", 1e-5, 500000.0, kv_heads=5, attention_biases="q k v o", sub_norms=True),
    "OPTForCausalLM":     None,
}
RENAMED = {"LLaMAForCausalLM": "LlamaForCausalLM"}
"""Names of the same classes in the first versions of transformers that had them."""

NAMES = {"vocab": "vocab_size", "dim": "hidden_size", "layers": "num_hidden_layers", "heads": "num_attention_heads",
         "kv_heads": "num_key_value_heads", "hidden": "intermediate_size", "context": "max_position_embeddings",
         "eps": "rms_norm_eps", "activation": "hidden_act", "window": "sliding_window", "bos": "bos_token_id",
         "stop": "eos_token_id", "rope": "rope_theta"}
OPT_NAMES = {**NAMES, "hidden": "ffn_dim", "activation": "activation_function"}


@dataclass(frozen=True)
class Quantisation:
    """How the linears of a layer are stored: `packed` ternary codes, or floats that become ternary when read.

    inverse  the stored scale divides the codes instead of multiplying them
    """

    packed: bool
    inverse: bool


def read_config(file: Path, options: Options) -> tuple[Config, Quantisation | None]:
    """The configuration, and how its linears are quantised. Raises ModelError for whatever is not supported."""
    name = architecture_of(options)
    architecture = ARCHITECTURES[name]
    config = _opt(options) if architecture is None else _llama(options, name, architecture)
    config = replace(config, bos=min(options.tokens("bos_token_id"), default=None), stop=options.tokens("eos_token_id"))
    quantisation = _quantisation(options)
    if quantisation and config.biases:
        raise options.error("quantization_config", got="BitNet weights and biases", expected="linears without biases")
    options.check_rest(HARMLESS, ALLOWED)
    check_config(config, file, OPT_NAMES if architecture is None else NAMES)
    return replace(config, int8_activations=quantisation is not None), quantisation


def architecture_of(options: Options) -> str:
    """The one class that `architectures` names."""
    names = options.values.get("architectures")
    if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
        raise options.error("architectures", expected=f"one of {one_of(ARCHITECTURES)}")
    name = RENAMED.get(names[0], names[0])
    if name not in ARCHITECTURES:
        raise options.error("architectures", expected=one_of(ARCHITECTURES), hint=hint(name, ARCHITECTURES))
    return name


def _llama(options: Options, name: str, a: Architecture) -> Config:
    """Llama and its relatives: rmsnorm, rope, a gated feed-forward layer."""
    dim, heads = options.size("hidden_size"), options.size("num_attention_heads")
    head_dim = options.whole("head_dim", a.head_dim)
    if head_dim is None:
        if dim % heads:
            raise options.error("num_attention_heads", expected=f"a divisor of hidden_size, {dim}")
        head_dim = dim // heads
    check_head_dim(head_dim, options.file, "head_dim")
    biases = a.biases.split()
    if a.attention_biases and options.flag("attention_bias", False):
        biases += a.attention_biases.split()
    if a.mlp_biases and options.flag("mlp_bias", False):
        biases += a.mlp_biases.split()
    kv_heads = options.whole("num_key_value_heads", heads if "num_key_value_heads" in options.values else a.kv_heads or heads)
    window = options.whole("sliding_window", None if "sliding_window" in options.values else a.window)
    if kv_heads is None or kv_heads <= 0:
        raise options.error("num_key_value_heads", expected="a positive whole number")
    return Config(
        name, options.size("vocab_size"), dim, options.size("num_hidden_layers"), heads, kv_heads, head_dim,
        options.size("intermediate_size"), _context(options, a.context), options.real("rms_norm_eps", a.eps),
        activation=options.choice("hidden_act", ACTIVATIONS, a.activation), biases=frozenset(biases),
        qk_norm=a.qk_norm, sub_norms=a.sub_norms, rope=_rope(options, head_dim, a.theta),
        window=window if a.has_window else None, tied=options.flag("tie_word_embeddings", False))


def _context(options: Options, default: int) -> int:
    """Positions that a model was made for. Conversions of the first LLaMA call them max_sequence_length, or do not say."""
    said = options.whole("max_position_embeddings", options.whole("max_sequence_length"))
    if said is None:
        options.notes.append(f"max_position_embeddings is missing: {default} positions, as in transformers")
    return default if said is None else said


def _opt(options: Options) -> Config:
    """OPT: layernorm, learned positions, a feed-forward layer without gate. Its eps, 1e-5, is not an option."""
    dim, heads = options.size("hidden_size"), options.size("num_attention_heads")
    if dim % heads:
        raise options.error("num_attention_heads", expected=f"a divisor of hidden_size, {dim}")
    first = options.flag("do_layer_norm_before", True)
    width = options.whole("word_embed_proj_dim", dim) or dim
    biased = options.flag("enable_bias", True)
    return Config(
        "OPTForCausalLM", options.size("vocab_size"), dim, options.size("num_hidden_layers"), heads, heads, dim // heads,
        options.size("ffn_dim"), _context(options, 2048), 1e-5,
        norm="layernorm", norm_first=first, final_norm=first and not options.flag("_remove_final_layer_norm", False),
        activation=options.choice("activation_function", ACTIVATIONS, "relu"), gated=False,
        biases=frozenset(("q", "k", "v", "o", "up", "down") if biased else ()), learned_positions=2,
        embedding_dim=0 if width == dim else width, tied=options.flag("tie_word_embeddings", True))


# ------------------------------------------------------------------------------------------------ rope scaling


def _rope(options: Options, head_dim: int, theta: float) -> Rope:
    """From rope_parameters, or from rope_theta and rope_scaling as older files have them.

    Where both tables are, somebody has added the older one to have another rope: it counts, as in transformers
    (modeling_rope_utils.py, convert_rope_params_to_dict).
    """
    theta = options.real("rope_theta", theta)
    older, newer = options.table("rope_scaling"), options.table("rope_parameters")
    scaling = older if older.values else newer
    theta = scaling.real("rope_theta", theta)
    if not 0 < theta < math.inf:
        raise options.error("rope_theta", got=str(theta), expected="a positive number")
    frequencies = rope_frequencies(head_dim, theta)
    scale = scaling.choice("rope_type" if "rope_type" in scaling.values else "type", SCALINGS, "default")
    scaled = scale(scaling, frequencies)
    unused = () if scale is _llama3 else ("original_max_position_embeddings",)
    scaling.check_rest(("type", "rope_type", "finetuned", *unused), ALLOWED, strict=True)      # both names may be there
    return Rope(tuple(scaled.tolist()), adjacent=False)


def _linear(options: Options, frequencies: F32) -> F32:
    """Positions divided by `factor`. Source: Chen et al., "Position Interpolation", arXiv:2306.15595."""
    return frequencies / np.float32(_positive(options, "factor"))


def _positive(options: Options, key: str) -> float:
    value = options.real(key)
    if not 0 < value < math.inf:
        raise options.error(key, expected="a positive number")
    return value


def _llama3(options: Options, frequencies: F32) -> F32:
    """Llama 3.1: long wavelengths are stretched by `factor`, short ones stay, those between are interpolated.

    Source: transformers, modeling_rope_utils.py, "llama3".
    """
    factor, context = _positive(options, "factor"), _positive(options, "original_max_position_embeddings")
    low, high = _positive(options, "low_freq_factor"), _positive(options, "high_freq_factor")
    if low >= high:
        raise options.error("low_freq_factor", expected=f"less than high_freq_factor, {high}")
    turns = context * frequencies.astype(np.float64) / (2 * np.pi)      # within the original context
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    scaled: F32 = ((1 - smooth) * frequencies / factor + smooth * frequencies).astype(np.float32)
    return scaled


SCALINGS: dict[str, Callable[[Options, F32], F32]] = {
    "default": lambda options, frequencies: frequencies, "linear": _linear, "llama3": _llama3}


# ------------------------------------------------------------------------------------------------ BitNet


FLOATS_FIRST = "take the checkpoint of floats that it was made from, or a dequantised export"
WAYS_OUT = {
    "bitsandbytes": "from_pretrained(DIR).dequantize().save_pretrained(NEW) of transformers makes one",
    "higgs": "from_pretrained(DIR).dequantize().save_pretrained(NEW) of transformers makes one",
    "fp8": "from_pretrained(DIR, quantization_config=FineGrainedFP8Config(dequantize=True)) and save_pretrained(NEW) make one",
    "mxfp4": "from_pretrained(DIR, quantization_config=Mxfp4Config(dequantize=True)) and save_pretrained(NEW) make one",
    "compressed-tensors": "from_pretrained(DIR, quantization_config=CompressedTensorsConfig(dequantize=True)) and "
                          "save_pretrained(NEW) make one",
    "mlx": "mlx_lm.convert --dequantize makes one",
}
"""From weights that another library has quantised to weights that can be read, by quant_method."""


def _way_out(method: str) -> str:
    return "; ".join(filter(None, (FLOATS_FIRST, WAYS_OUT.get(method), "--weights quantises it again")))


def _quantisation(options: Options) -> Quantisation | None:
    """quantization_config: BitNet's, or none. Source: transformers, integrations/bitnet.py."""
    for key in ("quantization", "compression_config"):          # MLX's name for it, and an older one of compressed-tensors
        if options.table(key).values:
            raise options.error(key, expected="none, or quantization_config of bitnet",
                                hint=_way_out("mlx" if key == "quantization" else "compressed-tensors"))
    table = options.table("quantization_config")
    if not table.values:
        return None
    method = table.values.get("quant_method")
    if method != "bitnet":
        raise table.error("quant_method", expected="bitnet", hint=_way_out(str(method)))
    table.choice("quant_method", {"bitnet": True})
    mode = table.choice("quantization_mode", {"offline": True, "online": False}, "offline")
    auto = table.choice("linear_class", {"bitlinear": False, "autobitlinear": True}, "bitlinear")
    if not mode and not auto:
        raise table.error("quantization_mode", expected="offline for linear_class bitlinear")
    if table.flag("use_rms_norm", False):
        raise table.error("use_rms_norm", expected="false", hint="a norm within each linear is not supported")
    table.real("rms_norm_eps", 1e-6)
    kept = table.values.get("modules_to_not_convert")
    if kept not in (None, [], ["lm_head"]):
        raise table.error("modules_to_not_convert", expected='null or ["lm_head"]')
    table.values.pop("modules_to_not_convert", None)
    table.check_rest(strict=True)
    return Quantisation(packed=mode, inverse=not auto)
