"""Models of random weights, made in memory: every shape that a configuration can ask for, a few thousand weights each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from compiler.formats.weight_format import WEIGHT_FORMATS, narrowest
from compiler.model.model import Config, Model, Rope, roles, rope_frequencies
from compiler.model.tensors import F32, Codes, Tensor

FILE = Path("random.bin")


@dataclass(frozen=True)
class ArrayTensor(Tensor):
    """fp32 values that lie in memory."""

    values: Any = field(default=None, repr=False)

    @property
    def file(self) -> Path:
        return FILE

    def _rows(self, first: int, last: int) -> F32:
        rows: F32 = self.values.reshape(self.matrix)[first:last]
        return rows


@dataclass(frozen=True)
class TernaryTensor(Tensor):
    """Ternary codes with one scale, as BitNet checkpoints have them."""

    values: Any = field(default=None, repr=False)
    scale: float = 1.0

    @property
    def file(self) -> Path:
        return FILE

    def _codes(self, first: int, last: int) -> Codes:
        return Codes(self.values[first:last], np.full((1, 1), self.scale, np.float32), self.shape[1])


@dataclass(frozen=True)
class CodesTensor(Tensor):
    """Any codes of a checkpoint."""

    found: Any = None
    values: tuple[int, ...] = ()            # that they may have

    @property
    def levels(self) -> tuple[int, ...]:
        return self.values

    @property
    def file(self) -> Path:
        return FILE

    def _codes(self, first: int, last: int) -> Codes:
        scales = self.found.scales if self.found.scales.shape == (1, 1) else self.found.scales[first:last]
        return replace(self.found, values=self.found.values[first:last], scales=scales)


BASE = Config("random", vocab=61, dim=48, layers=2, heads=4, kv_heads=4, head_dim=12, hidden=80, context=40, eps=1e-5,
              rope=Rope(tuple(rope_frequencies(12, 1e4).tolist()), adjacent=False), bos=1, stop=frozenset((2,)))


def codes_tensor(name: str, codes: Codes, levels: tuple[int, ...]) -> CodesTensor:
    """A tensor of a checkpoint in which codes have these values."""
    group = 0 if codes.scales.shape == (1, 1) else codes.group
    return CodesTensor(name, codes.values.shape, narrowest(levels), group, codes, levels)


def rope(head_dim: int, *, adjacent: bool = False) -> Rope:
    return Rope(tuple(rope_frequencies(head_dim, 1e4).tolist()), adjacent)


LINEARS = frozenset(("q", "k", "v", "o", "gate", "up", "down"))

# What can be different about a model, by what it is.
SHAPES: dict[str, Config] = {
    "plain":        BASE,
    "tied":         replace(BASE, tied=True),
    "one_head":     replace(BASE, heads=1, kv_heads=1, head_dim=48, rope=rope(48)),
    "gqa":          replace(BASE, kv_heads=2),
    "mqa":          replace(BASE, kv_heads=1),
    "qk_norm":      replace(BASE, kv_heads=2, qk_norm=True),
    "biases":       replace(BASE, biases=LINEARS),
    "adjacent":     replace(BASE, rope=rope(12, adjacent=True)),
    "window":       replace(BASE, window=5),
    "relu":         replace(BASE, activation="relu"),
    "relu2":        replace(BASE, activation="relu2"),
    "gelu":         replace(BASE, activation="gelu"),
    "no_final_norm": replace(BASE, final_norm=False),
    "hidden_172":   replace(BASE, dim=64, head_dim=16, hidden=172, rope=rope(16)),
    "hidden_33":    replace(BASE, hidden=33),
    "head_dim_6":   replace(BASE, dim=36, heads=3, kv_heads=3, head_dim=6, hidden=50, rope=rope(6)),
    "opt":          replace(BASE, norm="layernorm", activation="relu", gated=False, biases=LINEARS - {"gate"}, rope=None,
                            learned_positions=2, tied=True),
    "opt_350m":     replace(BASE, norm="layernorm", norm_first=False, final_norm=False, activation="relu", gated=False,
                            biases=LINEARS - {"gate"}, rope=None, learned_positions=2, embedding_dim=24, tied=True),
    "bitnet":       replace(BASE, activation="relu2", sub_norms=True, int8_activations=True, tied=True, kv_heads=2),
}

WORDS = replace(BASE, vocab=1500)           # for what depends on the vocabulary alone


def random_model(config: Config, seed: int = 0, *, ternary: bool = False) -> Model:
    """A model whose linears are fp32 or, with `ternary`, codes. Gains are near 1, so that values stay of one size."""
    rng = np.random.default_rng(seed)
    tensors: dict[str, Tensor] = {}
    for role, shape in roles(config):
        if ternary and len(shape) == 2 and role.startswith("layers."):
            tensors[role] = TernaryTensor(role, shape, WEIGHT_FORMATS["t2"], 0, rng.integers(-1, 2, shape).astype(np.int8), 0.37)
            continue
        values = rng.standard_normal(shape).astype(np.float32)
        if role.endswith("norm"):
            values = np.float32(1) + values / 8
        elif len(shape) == 2 and role not in ("embedding", "positions"):
            values *= np.float32(shape[1] ** -0.5)
        tensors[role] = ArrayTensor(role, shape, WEIGHT_FORMATS["f32"], values=values)
    return Model(FILE, config, tensors)
