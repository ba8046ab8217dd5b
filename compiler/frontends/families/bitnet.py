"""BitNet b1.58: a Llama with norms before o and before down, trained for ternary weights and int8 activations.

Microsoft's model has relu squared as activation; GGUF files call it "bitnet-b1.58", older ones "bitnet-25". What llama.cpp calls
"bitnet" is the model of 1bitLLM, with silu; of its Hugging Face files, which have other tensors, none are read.

Source: transformers, models/bitnet; llama.cpp, src/models/bitnet.cpp; BitNet, 3rdparty/llama.cpp (build_bitnet_158).
"""

from __future__ import annotations

from dataclasses import replace

from compiler.frontends.families.llama import GGUF, HF, Llama

BITNET = Llama(
    class_name="BitNetForCausalLM", activation="relu2", eps=1e-5, theta=500000.0, kv_heads=5,
    biases=(("attention_bias", "q k v o"),), sub_norms=True, ternary_reads_int8=True,
    hf=HF.plus(attention_sub_norm="self_attn.attn_sub_norm", ffn_sub_norm="mlp.ffn_sub_norm"),
    architectures=("bitnet-b1.58", "bitnet-25"), gguf=GGUF.plus(attention_sub_norm="attn_sub_norm", ffn_sub_norm="ffn_sub_norm"))

BITNET_SILU = replace(BITNET, class_name="", activation="silu", architectures=("bitnet",))
