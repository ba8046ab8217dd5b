"""OPT: layernorm, learned positions, a feed-forward layer without gate. GGUF has no name for it.

Source: transformers, models/opt.
"""

from __future__ import annotations

from compiler.frontends.families.llama import HF
from compiler.frontends.family import Family, Names, head_size
from compiler.frontends.hf_options import ACTIVATIONS, positions
from compiler.frontends.options import Options
from compiler.model.model import Config


class Opt(Family):
    """OPT, whose layers have their norms before or after, and whose embedding may be narrower than the layers."""

    def config(self, options: Options) -> Config:
        """The configuration in a config.json. The eps of its norms, 1e-5, is not an option."""
        dim, heads = options.size("hidden_size"), options.size("num_attention_heads")
        head_dim = head_size(options, "num_attention_heads", "hidden_size")
        first = options.flag("do_layer_norm_before", True)
        width = options.whole("word_embed_proj_dim", dim) or dim
        biased = options.flag("enable_bias", True)
        return Config(
            self.class_name, options.size("vocab_size"), dim, options.size("num_hidden_layers"), heads, heads, head_dim,
            options.size("ffn_dim"), positions(options, 2048), 1e-5,
            norm="layernorm", norm_first=first, final_norm=first and not options.flag("_remove_final_layer_norm", False),
            activation=options.choice("activation_function", ACTIVATIONS, "relu"), gated=False,
            biases=frozenset(("q", "k", "v", "o", "up", "down") if biased else ()), learned_positions=2,
            embedding_dim=0 if width == dim else width, tied=options.flag("tie_word_embeddings", True))


OPT = Opt(
    class_name="OPTForCausalLM",
    hf=Names("decoder.layers.{}.", {
        "embedding": "decoder.embed_tokens", "positions": "decoder.embed_positions", "final_norm": "decoder.final_layer_norm",
        "project_in": "decoder.project_in", "project_out": "decoder.project_out", "head": "lm_head",
        "attention_norm": "self_attn_layer_norm", "ffn_norm": "final_layer_norm",
        "q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj", "o": "self_attn.out_proj",
        "up": "fc1", "down": "fc2",
    }, {**HF.keys, "hidden": "ffn_dim", "activation": "activation_function"}))
