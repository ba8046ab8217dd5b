"""Models with random weights, which are made when they are read: for measurements without a checkpoint.

    model = shape_model("125m")             a Model of a known size, as a frontend gives it; the same weights each time
    model = model_of(Path("config.json"))   one of the size and the family that a Hugging Face configuration says
    program = compile_random("125m", Settings())

A program may have the first few layers of a large model: they are alike, so what all take follows (on_machine.py).

Linears are ternary with one scale, as BitNet b1.58 has them, or fp32, for a recipe to quantise. The weights of a block of rows
depend only on the tensor's name and the number of the first row, so they need not be kept. Gates are sums of many such weights:
they have a normal distribution of variance 1. So thresholds for a share of the neurons are known without a text.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np

from compiler.compile import Calibrated, compile_model
from compiler.compiled import Compiled
from compiler.errors import ModelError, one_of
from compiler.formats.recipe import Recipe
from compiler.formats.weight_format import WEIGHT_FORMATS
from compiler.frontends.hf_config import read_config
from compiler.frontends.options import Options
from compiler.frontends.shards import read_json
from compiler.model.model import Config, Model, Rope, roles
from compiler.model.tensors import F32, Codes, Tensor
from compiler.passes.calibrate import with_quantiles
from compiler.passes.predict import with_random_predictor
from compiler.passes.project import parse_project, project
from compiler.passes.prune import parse_prune, prune
from compiler.passes.prune_tokens import parse_prune_tokens
from compiler.running.cache import cached
from compiler.settings import Settings
from isa import arithmetic
from isa.hints import nearest
from isa.host import free_memory

# layers, dim, hidden, heads, vocabulary; 15m is llama2.c's stories15M, the others are Llama shapes that ternary models have
SHAPES: dict[str, tuple[int, int, int, int, int]] = {
    "15m":  (6,   288,  768,  6, 32000),
    "125m": (12,  768, 2048, 12, 32000),
    "730m": (24, 1536, 4096, 16, 32000),
    "3b":   (26, 3200, 8640, 32, 32000),
}
WEIGHTS = {"15m": "i8", "125m": "t2", "730m": "t2", "3b": "t2"}          # what each is measured with
CONTEXT = 1024
WHOLE = 1 << 30             # bytes of weights up to which all layers of a config.json are executed
FEWEST = 3                  # layers from which others follow: the difference of the third is that of any other
IN_BANKS = 10               # the same where banks compute: their refreshes do not fall in step with layers, so more are averaged
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


def random_model(name: str, layers: int, dim: int, hidden: int, heads: int, vocab: int, context: int, *, ternary: bool) -> Model:
    """A Llama of these sizes; its head is its embedding."""
    return with_random_weights(Path(name), Config(
        "random", vocab, dim, layers, heads, heads, dim // heads, hidden, context, 1e-5,
        rope=Rope.plain(dim // heads, 1e4, adjacent=True), tied=True), ternary=ternary)


def model_of(file: Path, *, ternary: bool = True) -> Model:
    """The model that a config.json describes, of any family that is read. No token ends its texts. Raises ModelError."""
    try:
        options = Options(file, read_json(file))
    except OSError as error:
        raise ModelError(file, "", got=error.strerror or str(error), expected="the config.json of a model") from None
    config, _ = read_config(file, options)
    return with_random_weights(file, replace(config, bos=None, stop=frozenset()), ternary=ternary, notes=tuple(options.notes))


def with_random_weights(path: Path, config: Config, *, ternary: bool, notes: tuple[str, ...] = ()) -> Model:
    """A model of this configuration. `ternary`: the matrices of its layers are, all else is fp32."""
    tensors = {role: RandomTensor(role, shape, WEIGHT_FORMATS[
        "t2" if ternary and role.startswith("layers.") and len(shape) == 2 else "f32"]) for role, shape in roles(config)}
    return Model(path, config, tensors, notes=notes)


# ------------------------------------------------------------------------------------------------ as programs


@dataclass(frozen=True)
class RandomProgram:
    """A model with random weights as a program.

    seconds     that compiling took, None if the program was kept from before
    layers      of the model; executed: of these the program has the first ones
    weight_bytes, bank_bytes, cache_bytes       of the whole model: weights; of these, matrices in banks; keys and values
    """

    path: Path
    seconds: float | None
    layers: int
    executed: int
    weight_bytes: int
    bank_bytes: int
    cache_bytes: int


def compile_random(name: str, settings: Settings, *, config: Path | None = None, layers: int | None = None,
                   progress: Callable[[int, int], None] | None = None, waiting: Callable[[], None] = lambda: None,
                   opened: Callable[[Model], None] = lambda model: None) -> RandomProgram:
    """The program of a shape, or of the model that the file `config` describes. The head gets 8 bits beside integer linears.

    settings  weights None: what the shape is measured with; sparsity: the share of neurons that feed-forward layers leave alone
    layers    how many of them the program has, at least FEWEST, and one that chooses if settings.kv_select_from is set. None: all;
              of a file with more than WHOLE bytes of weights as few as that, or IN_BANKS if matrices are in banks
    opened    is called with the model
    Raises ModelError for what is not supported or has no room, PresetError, CacheError, OSError.
    """
    weights = settings.weights or WEIGHTS.get(name, "t2")
    recipe, seconds = replace(settings, weights=weights).recipe() or Recipe(), None
    ternary = recipe.weights is not None and recipe.weights.format.name in ("t2", "t5")
    context, method = settings.check().context, parse_prune(settings.prune) if settings.prune else None
    if method and method.reads_text:
        raise ModelError("", "--prune", got=str(method), expected=f"magnitude:{method.pattern}: random weights have no text")
    model = model_of(config, ternary=ternary) if config else shape_model(name, ternary=ternary, context=context or CONTEXT)
    opened(model)

    def compiled(part: Model) -> Compiled:
        if settings.project:
            part = project(part, parse_project(settings.project), count=False)
        if method:
            part = prune(part, method, count=False)
        if settings.prune_tokens:
            part = replace(part, prune_tokens=parse_prune_tokens(settings.prune_tokens))
        sparsity: Calibrated | float | str | None = settings.sparsity
        if settings.predictor and isinstance(sparsity, float):
            part, sparsity = with_random_predictor(part, settings.predictor), Calibrated(sparsity, predictor=settings.predictor)
        elif sparsity is not None:
            part = with_quantiles(part, [_magnitudes(part.config.activation)] * part.config.layers)
        return compile_model(part, machine=settings.machine or "slim", recipe=recipe, kv=settings.caches, chunk=settings.chunk,
                             sparsity=sparsity, context=context or min(part.config.context, CONTEXT))

    for option, given, why in (
            ("--prune-tokens", settings.prune_tokens, "layers behind a cut see fewer tokens than those before it"),
            ("--kv-near", settings.kv_near, "whose keys and values stay near depends on all of them"),
            ("--prune @between", method and method.between, "the first and the last layer stay dense")):
        if given and layers not in (None, model.config.layers):
            raise ModelError(model.path, "--layers", got=f"{layers} of {model.config.layers} layers, and {option}",
                             expected=f"all: {why}")
    if settings.prune_tokens or settings.kv_near:
        layers = model.config.layers
    whole = compiled(model)                             # nothing is made yet: it says what does not fit the machine
    sizes = {image.name: image.contents.size for image in whole.target.images(whole.layout)}
    all_layers = model.config.layers
    least = max(FEWEST, (settings.kv_select_from or 0) + 1)             # one of the last kind is among them
    few = max(least, IN_BANKS) if "banks" in sizes else least
    count = _executed(whole, layers, all_layers if config is None or sum(sizes.values()) <= WHOLE else min(few, all_layers), least)
    chosen = whole if count == all_layers else compiled(with_random_weights(        # of which nothing stays on the chip: all alike
        model.path, replace(model.config, layers=count), ternary=ternary)).alike()
    _check_host(chosen, count)

    def write(path: Path) -> None:
        nonlocal seconds
        start = time.perf_counter()
        chosen.save(path, progress)
        seconds = time.perf_counter() - start

    key = replace(settings, weights=weights).key() | {"shape": None if config else name, "layers": count}
    path = cached([config] if config else [], key, write, waiting)
    return RandomProgram(path, seconds, all_layers, count, sum(sizes.values()), sizes.get("banks", 0), whole.memory.cache_bytes)


def _magnitudes(activation: str) -> F32:
    """Magnitudes of neurons, to find thresholds."""
    functions = {"silu": arithmetic.silu, "gelu": arithmetic.gelu, "relu": arithmetic.relu, "relu2": arithmetic.relu_squared}
    found: F32 = np.abs(functions[activation](np.random.default_rng(1).standard_normal(_GATES, dtype=np.float32)))
    return found


def _executed(whole: Compiled, wanted: int | None, usual: int, least: int) -> int:
    """How many layers the program has, at least `least`. Raises ModelError for a number that says nothing of the other layers."""
    layers, alike = whole.model.config.layers, len(whole.layout.alike()) == 1
    count = wanted or (usual if alike else layers)
    if count > layers or (count < min(least, layers)):
        raise ModelError(whole.model.path, "--layers", got=str(count),
                         expected=(f"{least} to " if layers > least else "") + f"{layers}, the layers of the model")
    if count < layers and not alike:
        raise ModelError(whole.model.path, "--layers", got=f"{count} of {layers} layers, which have different formats",
                         expected="all: layers that are left out must be like those that are executed",
                         hint="a recipe with one format for each role makes them alike")
    return count


def _check_host(compiled: Compiled, count: int) -> None:
    """Raise ModelError if this host has no memory for a program's weights, keys and values."""
    images = compiled.target.images(compiled.layout)
    needed, room = sum(image.contents.size for image in images) + compiled.memory.cache_bytes, free_memory()
    if 0 < room < needed:
        wide = any(placed.is_matrix and 8 * placed.held > 3 * prod(placed.shape)
                   for body in compiled.layout.bodies for placed in body.values())
        hint = (f"--layers {FEWEST} executes {FEWEST} layers, and counts with them for all" if count > FEWEST else
                "fewer bits take less (--weights t2)" if wide else "a smaller --config, or a shorter --context")
        raise ModelError(compiled.model.path, "memory of this host", got=f"{count} layers take {needed:,} bytes",
                         expected=f"at most the {room:,} that are free", hint=hint)
