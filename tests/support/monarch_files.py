"""Tiny random checkpoints whose matrices are block-diagonal, of two families, and what their blocks mean, square by square."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from safetensors.numpy import save_file
from tiny_checkpoint import PIECES, VOCAB

BLOCK, DIM, HIDDEN, HEADS, KV_HEADS, LAYERS, CONTEXT = 3, 36, 45, 2, 1, 2, 24
HEAD = DIM // HEADS
MATRICES = {"self_attn.q_proj": (DIM, DIM), "self_attn.k_proj": (HEAD, DIM), "self_attn.v_proj": (HEAD, DIM),
            "self_attn.o_proj": (DIM, DIM), "mlp.gate_proj": (HIDDEN, DIM), "mlp.up_proj": (HIDDEN, DIM),
            "mlp.down_proj": (DIM, HIDDEN)}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "attention_bias": True},
    "bitnet": {"architectures": ["BitNetForCausalLM"], "model_type": "bitnet", "hidden_act": "relu2"}}


def config(family: str) -> dict[str, Any]:
    return {**FAMILIES[family], "vocab_size": VOCAB, "hidden_size": DIM, "intermediate_size": HIDDEN, "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HEAD, "max_position_embeddings": CONTEXT,
            "rms_norm_eps": 1e-5, "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": True, "monarch": {"block": BLOCK}}


def tensors(family: str, seed: int = 4, form: Any = np.float16) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    norms = {"input_layernorm": DIM, "post_attention_layernorm": DIM}
    if family == "bitnet":
        norms |= {"self_attn.attn_sub_norm": DIM, "mlp.ffn_sub_norm": HIDDEN}
    made = {"model.embed_tokens.weight": rng.standard_normal((VOCAB, DIM)), "model.norm.weight": np.ones(DIM)}
    for layer in range(LAYERS):
        made |= {f"model.layers.{layer}.{name}.weight": 1 + rng.standard_normal(size) / 8 for name, size in norms.items()}
        for name, (rows, cols) in MATRICES.items():
            shape = (rows // BLOCK ** 2, cols // BLOCK ** 2, BLOCK, BLOCK, BLOCK)
            for stage, inputs in (("right", BLOCK), ("left", BLOCK * shape[1])):
                made[f"model.layers.{layer}.{name}.{stage}"] = rng.standard_normal(shape) * inputs ** -0.5
            if family == "llama" and name.startswith("self_attn"):
                made[f"model.layers.{layer}.{name}.bias"] = rng.standard_normal(rows) / 4
    made["model.embed_tokens.weight"][1:3] /= 100
    return {name: values.astype(form if name.endswith(("right", "left")) else np.float32) for name, values in made.items()}


def write(folder: Path, family: str, changed: dict[str, Any] | None = None, **options: Any) -> Path:
    """A Hugging Face directory. `changed`: other tensors by name (None: left out); `options`: other ones in config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**config(family), **options}), encoding="utf-8")
    files = {name: values for name, values in {**tensors(family), **(changed or {})}.items() if values is not None}
    save_file(files, folder / "model.safetensors")
    letters = {piece.decode().strip(): token for token, piece in enumerate(PIECES) if piece != b" "}
    tokenizers.Tokenizer(tokenizers.models.BPE({**letters, "_": PIECES.index(b" ")}, [])).save(str(folder / "tokenizer.json"))
    return folder


def whole(right: np.ndarray, left: np.ndarray) -> np.ndarray:
    """The matrix of all squares P L P R, in fp64: block-diagonal matrices and permutations, multiplied."""
    down, across, block = right.shape[:3]
    side = block * block
    swap = np.zeros((side, side))
    for a in range(block):
        for b in range(block):
            swap[a * block + b, b * block + a] = 1
    result = np.zeros((down * side, across * side))
    for i in range(down):
        for j in range(across):
            diagonals = []
            for blocks in (left[i, j], right[i, j]):
                diagonal = np.zeros((side, side))
                for k in range(block):
                    diagonal[k * block:(k + 1) * block, k * block:(k + 1) * block] = blocks[k]
                diagonals.append(diagonal)
            result[i * side:(i + 1) * side, j * side:(j + 1) * side] = swap @ diagonals[0] @ swap @ diagonals[1]
    return result
