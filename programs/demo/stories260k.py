"""karpathy's stories260K in NumPy: the yardstick of `score.py`.

A reader of llama2.c's checkpoint (format v0) and tokenizer file, and its forward pass. It shares nothing with the compiler, whose
own reader of these files it can therefore judge. Source of both formats and of the formulas: llama2.c, run.c.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

BOS = 1                     # begins a story and, predicted, ends it
FIRST_BYTE = 3              # pieces 3..258 are the 256 bytes, for characters that have no piece


class Tokenizer:
    """llama2.c's tokenizer file: u32 longest piece, then per piece f32 score, u32 length, bytes."""

    def __init__(self, path: Path, size: int):
        data, at = path.read_bytes(), 4
        self.pieces: list[bytes] = []
        scores = []
        for _ in range(size):
            score, length = struct.unpack_from("<fI", data, at)
            self.pieces.append(data[at + 8:at + 8 + length])
            scores.append(score)
            at += 8 + length
        self.ids = {piece: i for i, piece in reversed(list(enumerate(self.pieces)))}
        self.scores = scores
        assert not any(b" " in piece[1:] for piece in self.pieces[FIRST_BYTE + 256:]), "a piece spans words"
        self.words: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[int]:
        """Ids of `text` without BOS: llama2.c's merging, best score first, one word at a time because no piece spans two."""
        ids: list[int] = []
        for word in text.split(" "):            # llama2.c prepends a space to the whole text
            ids += self._word(" " + word)
        return ids

    def _word(self, word: str) -> list[int]:
        if word not in self.words:
            ids: list[int] = []
            for character in word:
                encoded = character.encode()
                ids += [self.ids[encoded]] if encoded in self.ids else [FIRST_BYTE + byte for byte in encoded]
            while True:
                merges = [(self.scores[merged], -i, merged) for i in range(len(ids) - 1)
                          if (merged := self.ids.get(self.pieces[ids[i]] + self.pieces[ids[i + 1]])) is not None]
                if not merges:
                    break
                _, i, merged = max(merges)
                ids[-i:-i + 2] = [merged]
            self.words[word] = ids
        return self.words[word]

    def decode(self, ids: list[int]) -> str:
        """Text of `ids`, BOS left out, without the space that `encode` prepends."""
        text = b"".join(bytes([i - FIRST_BYTE]) if FIRST_BYTE <= i < FIRST_BYTE + 256 else self.pieces[i] for i in ids if i != BOS)
        return text.decode("utf-8", "replace").removeprefix(" ")


@dataclass
class Model:
    """A llama2.c checkpoint, format v0. Arrays carry the layer as their first axis."""

    dim: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    vocab: int
    context: int
    weights: dict[str, np.ndarray]

    @classmethod
    def read(cls, path: Path) -> "Model":
        data = path.read_bytes()
        dim, hidden, layers, heads, kv_heads, vocab, context = struct.unpack_from("<7i", data)
        assert vocab > 0, "an untied classifier is not read here"
        head, kv = dim // heads, dim // heads * kv_heads
        shapes = {"embedding": (vocab, dim), "attention_norm": (layers, dim),
                  "wq": (layers, dim, dim), "wk": (layers, kv, dim), "wv": (layers, kv, dim), "wo": (layers, dim, dim),
                  "ffn_norm": (layers, dim), "w1": (layers, hidden, dim), "w2": (layers, dim, hidden), "w3": (layers, hidden, dim),
                  "norm": (dim,), "cos": (context, head // 2), "sin": (context, head // 2)}
        weights, at = {}, 28
        for name, shape in shapes.items():
            size = int(np.prod(shape))
            weights[name] = np.frombuffer(data, "<f4", size, at).reshape(shape)
            at += 4 * size
        assert at == len(data), f"{path}: {len(data)} bytes, expected {at}"
        return cls(dim, hidden, layers, heads, kv_heads, vocab, context, weights)

    def forward(self, tokens: np.ndarray) -> np.ndarray:
        """Logits (T, vocab) of the T tokens of one text, at most `context` of them."""
        w, length, head = self.weights, len(tokens), self.dim // self.heads
        cos, sin = w["cos"][:length, None], w["sin"][:length, None]                     # (T, 1, head / 2)
        future = np.triu(np.full((length, length), -np.inf, np.float32), 1)
        x = w["embedding"][tokens]                                                      # (T, dim)
        for i in range(self.layers):
            normed = rms_norm(x, w["attention_norm"][i])
            q = rotate((normed @ w["wq"][i].T).reshape(length, self.heads, head), cos, sin)
            k = rotate((normed @ w["wk"][i].T).reshape(length, self.kv_heads, head), cos, sin)
            v = (normed @ w["wv"][i].T).reshape(length, self.kv_heads, head)
            k, v = (np.repeat(a, self.heads // self.kv_heads, 1) for a in (k, v))
            q, k, v = (a.swapaxes(0, 1) for a in (q, k, v))                             # (heads, T, head)
            mixed = softmax(q @ k.swapaxes(1, 2) / np.float32(np.sqrt(head)) + future) @ v
            x = x + mixed.swapaxes(0, 1).reshape(length, self.dim) @ w["wo"][i].T
            normed = rms_norm(x, w["ffn_norm"][i])
            gate = normed @ w["w1"][i].T
            x = x + (gate / (1 + np.exp(-gate)) * (normed @ w["w3"][i].T)) @ w["w2"][i].T
        return rms_norm(x, w["norm"]) @ w["embedding"].T


def rms_norm(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """llama2.c's: x / sqrt(mean(x^2) + 1e-5) * weight."""
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(1e-5)) * weight


def rotate(x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    """RoPE as llama2.c applies it: neighbouring pairs. x (T, heads, head), cos and sin (T, 1, head / 2)."""
    even, odd = x[..., ::2], x[..., 1::2]
    return np.stack([even * cos - odd * sin, even * sin + odd * cos], -1).reshape(x.shape)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)
