"""The shipped models in NumPy, from its files to logits: what `score.py` scores and what others can be compared with.

It shares no code with the compiler, needs no torch, and tells the forward pass in the order in which it happens.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import safetensors.numpy
from tokenizers import Tokenizer

from programs.demo import bitmask
from programs.demo.packing import unpack


def rms_norm(x: np.ndarray, weight: np.ndarray, epsilon: float) -> np.ndarray:
    return x / np.sqrt(np.square(x).mean(-1, keepdims=True) + np.float32(epsilon)) * weight


def rotate(x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    """RoPE on the two halves of each head. x (T, heads, head), cos and sin (T, 1, head / 2)."""
    a, b = np.split(x, 2, axis=-1)
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def int8_rows(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes -127..127 and scales of rows (last axis), so that the largest magnitude becomes 127."""
    scale = np.abs(x).max(-1, keepdims=True) / np.float32(127)
    return np.rint(x / np.where(scale == 0, np.float32(1), scale)), scale


def int8_tokens(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers -128..127 and scales (T, 1) of the vectors of tokens, (T, n): x is about numbers / scale."""
    scale = np.float32(127) / np.maximum(np.abs(x).max(-1, keepdims=True), np.float32(1e-5))
    return np.clip(np.rint(x * scale), -128, 127), scale


def codes_of(stored: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Names and int8 codes (outputs, inputs) of the linears that have codes: packed ternary ones, int8, int8 in a bitmask."""
    for name, tensor in stored.items():
        if name.endswith(".bitmask"):
            prefix = name.removesuffix(".bitmask")
            yield f"{prefix.removesuffix('.weight')}.weight", bitmask.expand(stored, prefix)
        elif name.endswith(".weight") and tensor.dtype in (np.uint8, np.int8):
            yield name, unpack(tensor) if tensor.dtype == np.uint8 else tensor


class Factors:
    """A linear of two block-diagonal stages: `right` and `left` of shape (i, j, block, block, block).

    The matrix is cut into squares of n = block * block. Square (i, j) takes the n inputs of j to the n outputs of i:

        between[i, j, a, b] = sum over c of right[i, j, b, a, c] * x[j, b, c]
        y[i, r, a]          = sum over j and b of left[i, j, a, r, b] * between[i, j, a, b]

    Each stage is a matrix of int8 with a scale for each row. `between` is rounded to int8 as one vector per token.
    """

    def __init__(self, right: np.ndarray, left: np.ndarray):
        self.i, self.j, self.block = left.shape[:3]
        right, right_scale = int8_rows(right)
        left, left_scale = int8_rows(left.transpose(0, 2, 3, 1, 4).reshape(self.i, self.block, self.block, -1))   # (i, a, r, jb)
        self.right = right.transpose(1, 2, 4, 0, 3).reshape(self.j, self.block, self.block, -1)                   # (j, b, c, ia)
        self.right_scale = right_scale[..., 0].transpose(0, 1, 3, 2)                                              # (i, j, a, b)
        self.left = left.swapaxes(2, 3)                                                                           # (i, a, jb, r)
        self.left_scale = left_scale[..., 0].swapaxes(1, 2)                                                       # (i, r, a)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """(T, inputs) to (T, outputs)."""
        length, i, j, b = len(x), self.i, self.j, self.block
        rounded, scale = int8_tokens(x)
        sums = rounded.reshape(length, j, b, b).transpose(1, 2, 0, 3) @ self.right                                # (j, b, T, ia)
        between = sums.reshape(j, b, length, i, b).transpose(2, 3, 0, 4, 1) * self.right_scale                    # (T, i, j, a, b)
        rounded, second = int8_tokens(between.reshape(length, -1) / scale)
        blocks = rounded.reshape(length, i, j, b, b).transpose(1, 3, 0, 2, 4).reshape(i, b, length, -1)           # (i, a, T, jb)
        sums = (blocks @ self.left).transpose(2, 0, 3, 1)                                                         # (T, i, r, a)
        return (sums * self.left_scale).reshape(length, -1) / second


class Model:
    """A directory that `export.py` wrote. `zeros[layer]` and `neurons[layer]` count over all calls of `forward`."""

    def __init__(self, directory: Path):
        self.config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        self.tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        stored = safetensors.numpy.load_file(directory / "model.safetensors")
        self.codes = dict(codes_of(stored))
        self.tensors = {name: tensor.astype(np.float32) for name, tensor in (stored | self.codes).items()}
        self.factors = {name.removesuffix(".right"): Factors(self.tensors[name], self.tensors[name.removesuffix("right") + "left"])
                        for name in stored if name.endswith(".right")}
        self.context: int = self.config["max_position_embeddings"]
        self.zeros = np.zeros(self.config["num_hidden_layers"], np.int64)
        self.neurons = np.zeros_like(self.zeros)

    def encode(self, text: str) -> list[int]:
        """Tokens of a story from its start; the first is the separator."""
        ids: list[int] = self.tokenizer.encode(text).ids
        return ids

    def norm(self, name: str, x: np.ndarray) -> np.ndarray:
        return rms_norm(x, self.tensors[f"model.{name}.weight"], self.config["rms_norm_eps"])

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        """x (T, inputs) rounded to int8 by the absmax of each token, times codes (outputs, inputs), rescaled: (T, outputs)."""
        if f"model.{name}" in self.factors:
            return self.factors[f"model.{name}"](x)
        rounded, scale = int8_tokens(x)
        sums = rounded @ self.tensors[f"model.{name}.weight"].T           # whole numbers below 2^24: exact in f32
        return sums / scale * self.tensors[f"model.{name}.weight_scale"].reshape(-1)

    def forward(self, tokens: np.ndarray, cache: list[list[np.ndarray]] | None = None) -> np.ndarray:
        """Logits (T, vocab) of T tokens. `cache` holds, per layer, keys and values of the tokens before; it receives theirs."""
        c, length = self.config, len(tokens)
        heads, kv_heads, head = c["num_attention_heads"], c["num_key_value_heads"], c["hidden_size"] // c["num_attention_heads"]
        before = cache[0][0].shape[0] if cache and cache[0] else 0
        frequency = np.float32(c["rope_theta"]) ** (-np.arange(0, head, 2, dtype=np.float32) / np.float32(head))
        angle = np.arange(before, before + length, dtype=np.float32)[:, None, None] * frequency
        cos, sin = np.cos(angle), np.sin(angle)
        future = np.triu(np.full((length, before + length), -np.inf, np.float32), before + 1)
        embedding = self.tensors["model.embed_tokens.weight"]

        x = embedding[tokens]                                                                   # (T, dim)
        for i in range(c["num_hidden_layers"]):
            layer = f"layers.{i}"
            normed = self.norm(f"{layer}.input_layernorm", x)
            q = rotate(self.linear(f"{layer}.self_attn.q_proj", normed).reshape(length, heads, head), cos, sin)
            k = rotate(self.linear(f"{layer}.self_attn.k_proj", normed).reshape(length, kv_heads, head), cos, sin)
            v = self.linear(f"{layer}.self_attn.v_proj", normed).reshape(length, kv_heads, head)
            if cache is not None:
                if cache[i]:
                    k, v = np.concatenate([cache[i][0], k]), np.concatenate([cache[i][1], v])
                cache[i][:] = [k, v]
            k, v = (np.repeat(a, heads // kv_heads, 1) for a in (k, v))
            q, k, v = (a.swapaxes(0, 1) for a in (q, k, v))                             # (heads, T or before + T, head)
            mixed = softmax(q @ k.swapaxes(1, 2) / np.float32(np.sqrt(head)) + future) @ v
            mixed = mixed.swapaxes(0, 1).reshape(length, -1)
            x = x + self.linear(f"{layer}.self_attn.o_proj", self.norm(f"{layer}.self_attn.attn_sub_norm", mixed))

            normed = self.norm(f"{layer}.post_attention_layernorm", x)
            gate = np.square(np.maximum(self.linear(f"{layer}.mlp.gate_proj", normed), 0))
            self.zeros[i] += np.count_nonzero(gate == 0)
            self.neurons[i] += gate.size
            hidden = gate * self.linear(f"{layer}.mlp.up_proj", normed)
            x = x + self.linear(f"{layer}.mlp.down_proj", self.norm(f"{layer}.mlp.ffn_sub_norm", hidden))
        return self.norm("norm", x) @ embedding.T

    def generate(self, prompt: str, limit: int, temperature: float = 0.0, seed: int = 0) -> Iterator[int]:
        """Up to `limit` tokens that follow the prompt, until the separator or the end of the context; greedy at temperature 0."""
        generator = np.random.default_rng(seed)
        cache: list[list[np.ndarray]] = [[] for _ in range(self.config["num_hidden_layers"])]
        tokens = self.encode(prompt)
        limit = min(limit, self.context - len(tokens))
        for _ in range(limit):
            logits = self.forward(np.array(tokens), cache)[-1]
            if temperature:
                # The largest of logits + Gumbel noise is a sample of their softmax.
                logits = logits / np.float32(temperature) + generator.gumbel(size=logits.shape)
            tokens = [int(logits.argmax())]
            if tokens[0] == self.config["eos_token_id"]:
                return
            yield tokens[0]
