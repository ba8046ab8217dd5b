"""Models of known sizes with random weights, which are made when they are read: for measurements without a checkpoint.

    model = shape_model("125m")     a Model as a frontend gives it; the same weights each time

Linears are ternary with one scale, as BitNet b1.58 has them, or fp32, for a recipe to quantise. The weights of a block of rows
depend only on the tensor's name and the number of the first row, so they need not be kept. Gates are sums of many such weights:
they have a normal distribution of variance 1. So thresholds for a share of the neurons are known without a text.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compiler.compile import compile_model
from compiler.errors import ModelError, one_of
from compiler.formats.recipe import read_recipe
from compiler.formats.weight_format import WEIGHT_FORMATS
from compiler.model.model import Config, Model, Rope, roles
from compiler.model.tensors import F32, Codes, Tensor
from compiler.passes.calibrate import with_quantiles
from compiler.running.cache import cached
from compiler.settings import Settings
from isa.arithmetic import silu
from isa.hints import nearest

# layers, dim, hidden, heads, vocabulary; 15m is llama2.c's stories15M, the others are Llama shapes that ternary models have
SHAPES: dict[str, tuple[int, int, int, int, int]] = {
    "15m":  (6,   288,  768,  6, 32000),
    "125m": (12,  768, 2048, 12, 32000),
    "730m": (24, 1536, 4096, 16, 32000),
    "3b":   (26, 3200, 8640, 32, 32000),
}
WEIGHTS = {"15m": "i8", "125m": "t2", "730m": "t2", "3b": "t2"}          # what each is measured with
CONTEXT = 1024
_GATES = 1 << 16            # drawn to find thresholds
_ROWS = 256                 # that are made at once, from one seed


@dataclass(frozen=True)
class RandomTensor(Tensor):
    """Normal fp32 values or, in format t2, codes of equal frequency."""

    @property
    def file(self) -> Path:
        return Path("random")

    def _rows(self, first: int, last: int) -> F32:
        if self.format.has_codes:
            return self._codes(first, last).floats()
        cols = self.matrix[1]
        if self.name.endswith("norm"):
            return np.ones((last - first, cols), np.float32)
        deviation = np.float32(0.02 if self.name in ("embedding", "head") else cols ** -0.5)
        return np.concatenate([(rng.standard_normal((_ROWS, cols), dtype=np.float32) * deviation)[start:end]
                               for rng, start, end in self._parts(first, last)])

    def _codes(self, first: int, last: int) -> Codes:
        cols = self.matrix[1]
        values = np.concatenate([rng.integers(-1, 2, (_ROWS, cols), dtype=np.int8)[start:end]
                                 for rng, start, end in self._parts(first, last)])
        scale = np.float32((2 * cols / 3) ** -0.5)          # so that products keep the size of what they are made of
        return Codes(values, np.full((1, 1), scale, np.float32), cols)

    def _parts(self, first: int, last: int) -> list[tuple[np.random.Generator, int, int]]:
        """(generator, from, to) of the blocks of rows that first..last lies in."""
        seed = zlib.crc32(self.name.encode())
        return [(np.random.Generator(np.random.SFC64([seed, block])),
                 max(0, first - block * _ROWS), min(_ROWS, last - block * _ROWS))
                for block in range(first // _ROWS, -(-last // _ROWS))]


def shape_model(name: str, *, ternary: bool = True, context: int = CONTEXT) -> Model:
    """The model of a shape. `ternary`: its linears are ternary, embedding and head fp32. Raises ModelError for an unknown name."""
    if name not in SHAPES:
        raise ModelError("", "--shape", got=repr(name), expected=one_of(SHAPES), hint=nearest(name, SHAPES))
    layers, dim, hidden, heads, vocab = SHAPES[name]
    return random_model(f"random-{name}", layers, dim, hidden, heads, vocab, context, ternary=ternary)


def compile_shape(name: str, weights: str, context: int | None = None, kv: str = "f32", machine: str = "slim",
                  progress: Callable[[int, int], None] | None = None, sparsity: float | None = None,
                  waiting: Callable[[], None] = lambda: None) -> tuple[Path, float | None]:
    """(program file, seconds that compiling took, None if it was kept from before). The head gets 8 bits beside integer linears.

    weights: a format or a recipe's file. machine: a preset or its file. sparsity: the share of neurons that feed-forward layers
    leave alone. Raises ModelError, PresetError, CacheError, OSError.
    """
    recipe, seconds = read_recipe(weights), None
    ternary = recipe.weights is not None and recipe.weights.format.name in ("t2", "t5")
    model = shape_model(name, ternary=ternary, context=context or CONTEXT)
    if sparsity is not None:
        gates = np.random.default_rng(1).standard_normal(_GATES, dtype=np.float32)
        model = with_quantiles(model, [np.abs(silu(gates))] * model.config.layers)

    def write(path: Path) -> None:
        nonlocal seconds
        start = time.perf_counter()
        compile_model(model, machine=machine, recipe=recipe, kv=kv, sparsity=sparsity).save(path, progress)
        seconds = time.perf_counter() - start

    key = Settings(machine, weights, context, kv).key() | {"shape": name, "sparsity": sparsity}
    return cached([], key, write, waiting), seconds


def random_model(name: str, layers: int, dim: int, hidden: int, heads: int, vocab: int, context: int, *, ternary: bool) -> Model:
    """A Llama of these sizes; its head is its embedding."""
    config = Config("random", vocab, dim, layers, heads, heads, dim // heads, hidden, context, 1e-5,
                    rope=Rope.plain(dim // heads, 1e4, adjacent=True), tied=True)
    tensors = {role: RandomTensor(role, shape, WEIGHT_FORMATS[
        "t2" if ternary and role.startswith("layers.") and len(shape) == 2 else "f32"]) for role, shape in roles(config)}
    return Model(Path(name), config, tensors)
