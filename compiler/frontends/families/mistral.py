"""Mistral: a Llama whose attention may look back on a window of positions. Its GGUF files say that they are a "llama".

Source: transformers, models/mistral.
"""

from __future__ import annotations

from compiler.frontends.families.llama import Llama

MISTRAL = Llama(class_name="MistralForCausalLM", context=131072, kv_heads=8, has_window=True, window=4096)
