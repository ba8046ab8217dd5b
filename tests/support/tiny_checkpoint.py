"""A tiny Llama as a llama2.c file with its tokenizer: random weights, letters for tokens."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import tokenizers
from safetensors.numpy import save_file

DIM, HIDDEN, LAYERS, HEADS, CONTEXT = 32, 48, 2, 4, 16
PIECES = [b"<unk>", b"\n<s>\n", b"\n</s>\n", *(bytes([letter]) for letter in b"abcdefghijklmnopqrstuvwxyz .")]
VOCAB = len(PIECES)


def write_checkpoint(folder: Path, seed: int = 3, context: int = CONTEXT) -> Path:
    """tiny.bin (version 0, tied) and tok31.bin beside it, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    shapes: list[tuple[int, ...]] = [(VOCAB, DIM), (LAYERS, DIM), *[(LAYERS, DIM, DIM)] * 4, (LAYERS, DIM), (LAYERS, HIDDEN, DIM),
                                     (LAYERS, DIM, HIDDEN), (LAYERS, HIDDEN, DIM), (DIM,), (context, DIM // HEADS)]
    gains = {(LAYERS, DIM), (DIM,)}
    arrays = [rng.standard_normal(shape) * (0.2 if shape in gains else 0.3) + (shape in gains) for shape in shapes]
    arrays[0][1:3] /= 100               # rows of BOS and EOS, the head's too: texts do not end at once
    data = b"".join(array.astype("<f4").tobytes() for array in arrays)
    path = folder / "tiny.bin"
    path.write_bytes(struct.pack("<7i", DIM, HIDDEN, LAYERS, HEADS, HEADS, VOCAB, context) + data)
    words = b"".join(struct.pack("<fi", -float(token), len(piece)) + piece for token, piece in enumerate(PIECES))
    (folder / f"tok{VOCAB}.bin").write_bytes(struct.pack("<i", max(map(len, PIECES))) + words)
    return path


def write_relu(folder: Path) -> Path:
    """A Hugging Face directory of a Llama whose feed-forward layers have relu."""
    path = folder / "relu"
    path.mkdir()
    rng = np.random.default_rng(5)
    head = DIM // HEADS
    (path / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": VOCAB, "hidden_size": DIM,
        "intermediate_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": HEADS,
        "head_dim": head, "hidden_act": "relu", "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-5, "bos_token_id": 1,
        "eos_token_id": 2, "tie_word_embeddings": True}), encoding="utf-8")

    def some(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) * 0.3 + (len(shape) == 1)).astype(np.float32)

    tensors = {"model.embed_tokens.weight": some(VOCAB, DIM), "model.norm.weight": some(DIM)}
    tensors["model.embed_tokens.weight"][1:3] /= 100
    for layer in range(LAYERS):
        shapes = {"input_layernorm": (DIM,), "post_attention_layernorm": (DIM,),
                  **{f"self_attn.{x}_proj": (DIM, DIM) for x in "qkvo"},
                  "mlp.gate_proj": (HIDDEN, DIM), "mlp.up_proj": (HIDDEN, DIM), "mlp.down_proj": (DIM, HIDDEN)}
        tensors |= {f"model.layers.{layer}.{name}.weight": some(*shape) for name, shape in shapes.items()}
    save_file(tensors, path / "model.safetensors")
    letters = {piece.decode().strip(): token for token, piece in enumerate(PIECES) if piece != b" "}
    library = tokenizers.Tokenizer(tokenizers.models.BPE({**letters, "_": PIECES.index(b" ")}, []))
    library.save(str(path / "tokenizer.json"))
    return path
