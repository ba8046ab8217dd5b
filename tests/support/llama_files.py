"""One tiny random Llama as every kind of file, written here byte by byte or by the formats' own libraries."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.numpy import save_file

DIM, HIDDEN, LAYERS, HEADS, KV_HEADS, VOCAB, CONTEXT = 32, 48, 2, 4, 2, 300, 16
HEAD = DIM // HEADS
KV = KV_HEADS * HEAD
SHAPES = {"attention_norm": (DIM,), "q": (DIM, DIM), "k": (KV, DIM), "v": (KV, DIM), "o": (DIM, DIM), "ffn_norm": (DIM,),
          "gate": (HIDDEN, DIM), "up": (HIDDEN, DIM), "down": (DIM, HIDDEN)}
HF_NAMES = {"attention_norm": "input_layernorm", "q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj",
            "o": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm", "gate": "mlp.gate_proj", "up": "mlp.up_proj",
            "down": "mlp.down_proj"}
GGUF_NAMES = {"attention_norm": "attn_norm", "q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output",
              "ffn_norm": "ffn_norm", "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down"}
Weights = dict[str, np.ndarray]


def weights(*, tied: bool = False, seed: int = 7) -> Weights:
    """Random weights by role. Rows of q and k are such that rope turns neighbours."""
    generator = np.random.default_rng(seed)

    def some(shape: tuple[int, ...]) -> np.ndarray:
        values = generator.normal(0, 0.2, shape) + (1 if len(shape) == 1 else 0)
        return values.astype(np.float32)

    made = {"embedding": some((VOCAB, DIM)), "final_norm": some((DIM,))}
    made |= {f"layers.{layer}.{role}": some(shape) for layer in range(LAYERS) for role, shape in SHAPES.items()}
    return made if tied else {**made, "head": some((VOCAB, DIM))}


# ------------------------------------------------------------------------------------------------ llama2.c


def _each(made: Weights, *roles: str) -> list[np.ndarray]:
    return [made[f"layers.{layer}.{role}"] for role in roles for layer in range(LAYERS)]


def _numbers(vocab: int) -> bytes:
    return struct.pack("<7i", DIM, HIDDEN, LAYERS, HEADS, KV_HEADS, vocab, CONTEXT)


def llama2c_v0(made: Weights) -> bytes:
    head = [made["head"]] if "head" in made else []
    rope = [np.zeros(CONTEXT * HEAD, np.float32)]
    order = [made["embedding"], *_each(made, "attention_norm", "q", "k", "v", "o", "ffn_norm", "gate", "down", "up"),
             made["final_norm"], *rope, *head]
    return _numbers(-VOCAB if head else VOCAB) + b"".join(array.tobytes() for array in order)


def _v1_order(made: Weights) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Norms, then matrices."""
    head = [made["head"]] if "head" in made else []
    return ([*_each(made, "attention_norm", "ffn_norm"), made["final_norm"]],
            [made["embedding"], *_each(made, "q", "k", "v", "o", "gate", "down", "up"), *head])


def _header(made: Weights, version: int, group: int = 0) -> bytes:
    head = struct.pack("<Ii", 0x616B3432, version) + _numbers(VOCAB) + struct.pack("<B", "head" not in made)
    return (head + (struct.pack("<i", group) if group else b"")).ljust(256, b"\0")


def llama2c_v1(made: Weights) -> bytes:
    norms, matrices = _v1_order(made)
    return _header(made, 1) + b"".join(array.tobytes() for array in (*norms, *matrices))


def llama2c_v2(made: Weights, group: int) -> bytes:
    """Each matrix is quantised as export.py does; `made` is changed to what the file holds."""
    norms, matrices = _v1_order(made)
    data = _header(made, 2, group) + b"".join(array.tobytes() for array in norms)
    for matrix in matrices:
        groups = matrix.reshape(-1, group)
        scales = np.abs(groups).max(axis=1) / np.float32(127)
        codes = np.round(groups / scales[:, None]).astype(np.int8)
        data += codes.tobytes() + scales.tobytes()
        matrix[:] = (codes.astype(np.float32) * scales[:, None]).reshape(matrix.shape)
    return data


def llama2c_tokenizer(pieces: Iterable[tuple[bytes, float]]) -> bytes:
    pieces = list(pieces)
    return struct.pack("<i", max(len(piece) for piece, _ in pieces)) + b"".join(
        struct.pack("<fi", score, len(piece)) + piece for piece, score in pieces)


def pieces() -> list[tuple[bytes, float]]:
    """VOCAB pieces: unknown, BOS, EOS, all bytes, some letters and words."""
    words = [b" ", b"a", b"b", b"c", b"ab", b" a", b" ab", b"abc", b"bc", "é".encode(), b" abc", b"n", b"o", b"no", b" no", b"\n"]
    made = [(b"<unk>", 0.0), (b"\n<s>\n", 0.0), (b"\n</s>\n", 0.0), *[(f"<0x{byte:02X}>".encode(), 0.0) for byte in range(256)],
            *[(word, -float(number)) for number, word in enumerate(words)]]
    return [*made, *[(f"unused{number}".encode(), -1e9) for number in range(VOCAB - len(made))]]


# ------------------------------------------------------------------------------------------------ Hugging Face


CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": VOCAB, "hidden_size": DIM,
    "intermediate_size": HIDDEN,
    "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "max_position_embeddings": CONTEXT,
    "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu", "bos_token_id": 1, "eos_token_id": 2,
    "tie_word_embeddings": False, "torch_dtype": "float32", "transformers_version": "4.57.6"}


def in_halves(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows of q or k for rope of (i, i + head_dim / 2), from those for neighbours."""
    pairs = rows.reshape(heads, HEAD // 2, 2, *rows.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(rows.shape)


def hf_tensors(made: Weights) -> Weights:
    tensors = {"model.embed_tokens.weight": made["embedding"], "model.norm.weight": made["final_norm"]}
    for layer in range(LAYERS):
        for role, name in HF_NAMES.items():
            array = made[f"layers.{layer}.{role}"]
            heads = {"q": HEADS, "k": KV_HEADS}.get(role)
            tensors[f"model.layers.{layer}.{name}.weight"] = in_halves(array, heads) if heads else array
    return {**tensors, "lm_head.weight": made["head"]} if "head" in made else tensors


def write_hf(folder: Path, tensors: Weights, **options: Any) -> Path:
    """config.json with `options` changed (... takes one away) and model.safetensors."""
    config = {key: value for key, value in {**CONFIG, **options}.items() if value is not ...}
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors")
    return folder


# ------------------------------------------------------------------------------------------------ GGUF


def write_gguf(path: Path, made: Weights, *, architecture: str = "llama", types: dict[str, Any] | None = None,
               raw: dict[str, tuple[np.ndarray, Any]] | None = None, fields: dict[str, Any] | None = None,
               leave_out: str = "") -> Path:
    """`types`: quantised by the library, by role; `raw`: bytes of further or other tensors; `fields`: metadata, by key."""
    writer = gguf.GGUFWriter(path, architecture)
    numbers = {"context_length": CONTEXT, "embedding_length": DIM, "block_count": LAYERS, "feed_forward_length": HIDDEN,
               "attention.head_count": HEADS, "attention.head_count_kv": KV_HEADS, "rope.dimension_count": HEAD}
    metadata: dict[str, Any] = {f"{architecture}.{key}": value for key, value in numbers.items()}
    metadata |= {f"{architecture}.attention.layer_norm_rms_epsilon": 1e-5, f"{architecture}.rope.freq_base": 10000.0}
    metadata |= fields or {}
    for key, value in metadata.items():
        match value:
            case bool(): writer.add_bool(key, value)
            case int(): writer.add_uint32(key, value)
            case float(): writer.add_float32(key, value)
            case str(): writer.add_string(key, value)
            case list(): writer.add_array(key, value)
    for role, array in made.items():
        name = {"embedding": "token_embd", "final_norm": "output_norm", "head": "output"}.get(role)
        if name is None:
            _, layer, kind = role.split(".")
            name = f"blk.{layer}.{GGUF_NAMES[kind]}"
        kind = (types or {}).get(role.rpartition(".")[2])
        if f"{name}.weight" != leave_out and f"{name}.weight" not in (raw or {}):
            writer.add_tensor(f"{name}.weight", array if kind is None else gguf.quantize(array, kind), raw_dtype=kind)
    for name, (data, kind) in (raw or {}).items():
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def gguf_bytes(metadata: dict[str, Any], tensors: dict[str, tuple[tuple[int, ...], int, bytes]]) -> bytes:
    """A GGUF file written byte by byte: (shape, number of the type, data) by name, of types that the library has not.

    Version 3: magic, version, counts; keys with typed values; heads with reversed shape; data from multiples of 32 on.
    """
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    def scalar(value: Any) -> tuple[int, bytes]:
        match value:
            case bool(): return 7, struct.pack("<?", value)
            case int(): return 4, struct.pack("<I", value)
            case float(): return 6, struct.pack("<f", value)
            case _: return 8, text(value)

    def typed(value: Any) -> bytes:
        if isinstance(value, list):
            items = [scalar(item) for item in value]
            return struct.pack("<IIQ", 9, items[0][0], len(items)) + b"".join(data for _, data in items)
        kind, data = scalar(value)
        return struct.pack("<I", kind) + data

    heads, data = b"", b""
    for name, (shape, kind, stored) in tensors.items():
        heads += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *reversed(shape))
        heads += struct.pack("<IQ", kind, len(data))
        data += stored + bytes(-len(stored) % 32)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    head += b"".join(text(key) + typed(value) for key, value in metadata.items()) + heads
    return head + bytes(-len(head) % 32) + data


def i2_s(codes: np.ndarray, scale: float) -> bytes:
    """Ternary codes (rows, cols) as Microsoft packs them, one after the other: value j of each 128 into byte j mod 32, the first
    32 of them into the two highest bits; then the scale, in 32 bytes."""
    flat, packed = (codes.reshape(-1) + 1).tolist(), bytearray(codes.size // 4)
    for at, code in enumerate(flat):
        block, j = divmod(at, 128)
        packed[32 * block + j % 32] |= code << (6, 4, 2, 0)[j // 32]
    return bytes(packed) + struct.pack("<f", scale).ljust(32, b"\0")
