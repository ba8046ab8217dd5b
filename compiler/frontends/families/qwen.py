"""Qwen2: a Llama with biases of q, k and v. Qwen3: one with a norm of each head of queries and keys instead.

Source: transformers, models/qwen2 and models/qwen3; llama.cpp, src/models/qwen2.cpp and qwen3.cpp.
"""

from __future__ import annotations

from compiler.frontends.families.llama import GGUF, HF, Llama

QWEN2 = Llama(class_name="Qwen2ForCausalLM", context=32768, kv_heads=32, biases=(("", "q k v"),), architectures=("qwen2",))

QWEN3 = Llama(
    class_name="Qwen3ForCausalLM", context=32768, kv_heads=32, head_dim=128, biases=(("attention_bias", "q k v o"),), qk_norm=True,
    hf=HF.plus(q_norm="self_attn.q_norm", k_norm="self_attn.k_norm"),
    architectures=("qwen3",), gguf=GGUF.plus(q_norm="attn_q_norm", k_norm="attn_k_norm"))
