"""Llama: rmsnorm, rope, grouped heads of keys and values, a gated feed-forward layer. Most families are near relatives of it.

In GGUF files the rows of q and k of a "llama" are permuted so that rope turns neighbours (2i, 2i+1); of its relatives they are not,
and rope turns (i, i + head_dim / 2), as in Hugging Face files. A GGUF file without output.weight has its embedding as head.

Source: transformers, models/llama; gguf-py, constants.py; llama.cpp, convert_hf_to_gguf.py (permute), src/models/llama.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from compiler.errors import ModelError
from compiler.frontends.family import Family, Names, head_size
from compiler.frontends.hf_options import ACTIVATIONS, positions
from compiler.frontends.options import Options
from compiler.frontends.rope import gguf_rope, hf_rope
from compiler.model.model import LINEARS, Config, check_head_dim
from compiler.model.tensors import TERNARY, Tensor

HF = Names("layers.{}.", {
    "embedding": "embed_tokens", "final_norm": "norm", "head": "lm_head",
    "attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
    "q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj", "o": "self_attn.o_proj",
    "gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj",
}, {
    "vocab": "vocab_size", "dim": "hidden_size", "layers": "num_hidden_layers", "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads", "hidden": "intermediate_size", "context": "max_position_embeddings", "eps": "rms_norm_eps",
    "activation": "hidden_act", "window": "sliding_window", "bos": "bos_token_id", "stop": "eos_token_id", "rope": "rope_theta",
}, others=("rotary_emb.inv_freq",))

GGUF = Names("blk.{}.", {
    "embedding": "token_embd", "final_norm": "output_norm", "head": "output",
    "attention_norm": "attn_norm", "ffn_norm": "ffn_norm",
    "q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output",
    "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down",
}, {
    "vocab": "vocab_size", "dim": "embedding_length", "layers": "block_count", "heads": "attention.head_count",
    "kv_heads": "attention.head_count_kv", "hidden": "feed_forward_length", "context": "context_length",
    "eps": "attention.layer_norm_rms_epsilon", "head_dim": "attention.key_length", "rope": "rope.freq_base",
})
ROPE_FACTORS = "rope_freqs.weight"          # divides the frequencies of rope


@dataclass(frozen=True, kw_only=True)
class Llama(Family):
    """Llama, or a near relative: what it computes, and what its configuration is where config.json does not say it.

    `biases`: options, and the linears that have a bias if it is true; the option "" is always true.
    """

    hf: Names = HF
    gguf: Names = GGUF

    activation: str = "silu"
    qk_norm: bool = False
    sub_norms: bool = False
    has_window: bool = False                # sliding_window is in force without use_sliding_window
    gguf_adjacent: bool = False             # GGUF files have the rows of q and k for rope of neighbours
    ternary_reads_int8: bool = False        # linears that a GGUF file stores as ternary read int8 activations
    biases: tuple[tuple[str, str], ...] = ()

    eps: float = 1e-6
    theta: float = 10000.0
    context: int = 2048
    kv_heads: int | None = None             # None: as many as heads
    head_dim: int | None = None             # None: hidden_size / heads
    window: int | None = None

    def config(self, options: Options) -> Config:
        """The configuration in a config.json."""
        dim, heads = options.size("hidden_size"), options.size("num_attention_heads")
        head_dim = options.whole("head_dim", self.head_dim)
        if head_dim is None:
            head_dim = head_size(options, "num_attention_heads", "hidden_size")
        check_head_dim(head_dim, options.file, "head_dim")
        biases = [linears.split() for option, linears in self.biases if not option or options.flag(option, False)]
        # null is not the same as absent: it means as many as heads, and no window
        said = options.values.keys()
        kv_heads = options.whole("num_key_value_heads", heads if "num_key_value_heads" in said else self.kv_heads or heads)
        window = options.whole("sliding_window", None if "sliding_window" in said else self.window)
        if kv_heads is None or kv_heads <= 0:
            raise options.error("num_key_value_heads", expected="a positive whole number")
        return Config(
            self.class_name, options.size("vocab_size"), dim, options.size("num_hidden_layers"), heads, kv_heads, head_dim,
            options.size("intermediate_size"), positions(options, self.context), options.real("rms_norm_eps", self.eps),
            activation=options.choice("hidden_act", ACTIVATIONS, self.activation), biases=frozenset().union(*biases),
            qk_norm=self.qk_norm, sub_norms=self.sub_norms, rope=hf_rope(options, head_dim, self.theta),
            window=window if self.has_window else None, tied=options.flag("tie_word_embeddings", False))

    def gguf_config(self, name: str, options: Options, tensors: Mapping[str, Tensor]) -> Config:
        """The configuration in a GGUF file. The file says everything: none of the defaults above is used."""
        dim, heads = options.size("embedding_length"), options.size("attention.head_count")
        head_dim = options.whole("attention.key_length")
        if head_dim is None:
            head_dim = head_size(options, "attention.head_count", "embedding_length")
        check_head_dim(head_dim, options.file, f"{name}.attention.key_length")
        for key in ("rope.dimension_count", "attention.value_length"):
            if options.whole(key, head_dim) != head_dim:
                raise options.error(key, expected=f"{head_dim}, the size of a head of keys")
        scale = options.real("attention.scale", 0.0)                # 0 says none, as in llama.cpp
        if scale and not np.isclose(scale, head_dim ** -0.5, rtol=1e-6):
            raise options.error("attention.scale", expected=f"0, or one over the root of {head_dim}, the size of a head")
        for key in ("expert_count", "expert_used_count", "attention.sliding_window"):
            if options.whole(key, 0):
                raise options.error(key, expected="0 or absent: not supported")
        embedding = tensors.get(self.gguf.of("embedding"))
        if embedding is None:
            raise ModelError(options.file, f"tensor {self.gguf.of('embedding')}", got="missing", expected="the embedding")
        factors = tensors.get(ROPE_FACTORS) if ROPE_FACTORS in self.gguf.others else None
        return Config(
            name, options.whole("vocab_size", embedding.matrix[0]) or 0, dim, options.size("block_count"), heads,
            options.whole("attention.head_count_kv", heads) or 0, head_dim,
            options.size("feed_forward_length"), options.size("context_length"), options.real("attention.layer_norm_rms_epsilon"),
            activation=self.activation,
            biases=frozenset(role for role in LINEARS if self.gguf.of(f"layers.0.{role}.bias") in tensors),
            qk_norm=self.qk_norm, sub_norms=self.sub_norms, rope=gguf_rope(options, head_dim, factors, adjacent=self.gguf_adjacent),
            tied=self.gguf.of("head") not in tensors, int8_activations=self.ternary_reads_int8 and _ternary(tensors))


def _ternary(tensors: Mapping[str, Tensor]) -> bool:
    """Whether every matrix of the layers is ternary."""
    return all(tensor.levels == TERNARY for name, tensor in tensors.items() if name.startswith("blk.") and len(tensor.shape) == 2)


LLAMA = Llama(
    class_name="LlamaForCausalLM", older_names=("LLaMAForCausalLM",),
    biases=(("attention_bias", "q k v o"), ("mlp_bias", "gate up down")),
    architectures=("llama",), gguf=replace(GGUF, others=(ROPE_FACTORS,)), gguf_adjacent=True)
