"""One layer of a model of a published shape, compiled for a machine and run for one token on the machine's own clock.

The weights are made up: all rows of a matrix are alike, so they are made fast. No time depends on a value, but for groups of
ternary weights that are all zero, of which a row has its share. The caches of keys and values are zeros.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from compiler.compile import compile_model
from compiler.formats.recipe import Recipe
from compiler.formats.weight_format import WEIGHT_FORMATS
from compiler.lowering.emit import POSITION
from compiler.model.model import LINEARS, Config, Model, Rope, roles
from compiler.model.tensors import F32, Codes, Tensor
from compiler.running.parameters import set_parameters
from emulator.machine import Machine
from emulator.observe.breakdown import Breakdown
from isa.preset import Preset
from isa.program import Program
from isa.registers import NUMBER
from isa.services import Host

QKV, ATTENTION, PROJECTION, FEED_FORWARD, REST = "QKV", "attention", "projection", "FFN", "rest"
"""What the parts of a layer are called. REST: norms and residual sums."""

_OF_WEIGHTS = {"q": QKV, "k": QKV, "v": QKV, "o": PROJECTION, "gate": FEED_FORWARD, "up": FEED_FORWARD, "down": FEED_FORWARD}
_OF_KINDS = {"append": ATTENTION, "scores": ATTENTION, "softmax": ATTENTION, "context": ATTENTION,
             "rmsnorm": REST, "layernorm": REST, "add": REST}
_TOKEN = 1


@dataclass(frozen=True)
class AlikeTensor(Tensor):
    """Each row is the same one: normal numbers or, in formats t2 and b1, codes of equal frequency."""

    @property
    def file(self) -> Path:
        return Path("made up")

    def _random(self) -> np.random.Generator:
        return np.random.Generator(np.random.SFC64(zlib.crc32(self.name.encode())))

    def _rows(self, first: int, last: int) -> F32:
        if self.format.has_codes:
            return self._codes(first, last).floats()
        cols = self.matrix[1]
        row = self._random().standard_normal(cols, dtype=np.float32) * np.float32(cols ** -0.5)
        if self.name.endswith("norm"):
            row = np.ones(cols, np.float32)
        return np.broadcast_to(row, (last - first, cols))

    def _codes(self, first: int, last: int) -> Codes:
        cols = self.matrix[1]
        row = self._random().choice(np.array(self.levels, np.int8), cols)
        scale = np.full((1, 1), (2 * cols / 3) ** -0.5, np.float32)
        return Codes(np.broadcast_to(row, (last - first, cols)), scale, cols)


def opt(dim: int, hidden: int, heads: int, context: int) -> Model:
    """One layer of an OPT in fp16: LayerNorm, ReLU, biases, learned positions. Its vocabulary is small."""
    config = Config("made up", 64, dim, 1, heads, heads, dim // heads, hidden, context, 1e-5, norm="layernorm", activation="relu",
                    gated=False, biases=frozenset(LINEARS) - {"gate"}, learned_positions=2, tied=True)
    return _made(config, "f16")


def llama(dim: int, hidden: int, heads: int, vocab: int = 64, form: str = "t2") -> Model:
    """One layer of a Llama whose linears are ternary (t2) or binary (b1); its head is its embedding."""
    head_dim = dim // heads
    config = Config("made up", vocab, dim, 1, heads, heads, head_dim, hidden, 64, 1e-5,
                    rope=Rope.plain(head_dim, 1e4, adjacent=True), tied=True)
    return _made(config, form)


def _made(config: Config, form: str) -> Model:
    return Model(Path("layer"), config, {
        role: AlikeTensor(role, shape, WEIGHT_FORMATS[form if role.startswith("layers.") and len(shape) == 2 else "f32"])
        for role, shape in roles(config)})


@dataclass(frozen=True)
class Token:
    """What a token has taken on the machine's clock, in seconds: parts of the one layer by name; what comes before and behind."""

    parts: dict[str, float]
    outside: float
    counters: dict[str, int]

    @property
    def layer(self) -> float:
        return sum(self.parts.values())


def token(model: Model, machine: Preset | str, recipe: Recipe | None = None, position: int = 0) -> Token:
    """Compile a model of one layer and run it for the token at a position, counted from 0. Raises RuntimeError if it ends early."""
    compiled = compile_model(model, machine=machine, recipe=recipe, chunk=1).alike()     # it stands for one of many layers
    with TemporaryDirectory() as folder:
        compiled.save(Path(folder) / "layer.elf")
        program = Program.load(Path(folder) / "layer.elf")
        runs = Machine(compiled.machine, Host([_TOKEN]))
        runs.load(program)
        set_parameters(runs, max_tokens=1)
        look, start = Breakdown(runs, "operation"), program.symbol("token")
        assert start is not None
        runs.breakpoints = {start.value}
        runs.run()
        runs.breakpoints = set()
        runs.x[NUMBER[POSITION]] = position
        result = runs.run()
        look.finish()
    if result.reason != "exit" or result.exit_code or runs.time is None:
        raise RuntimeError(f"a layer for {compiled.machine.name} ended with {result.reason} {result.exit_code} {result.trap or ''}")
    operations = program.meta["model"]["operations"]["layer"]
    parts, of = dict.fromkeys((QKV, ATTENTION, PROJECTION, FEED_FORWARD, REST), 0.0), parts_of(operations)
    outside = 0.0
    for name, part in look.parts.items():
        seconds = part.cycles / runs.time.clock_hz
        if found := re.match(r"op\.layer\.(\d+)\b", name):
            parts[of[int(found[1])]] += seconds
        else:
            outside += seconds
    return Token(parts, outside, dict(runs.counters))


def parts_of(operations: Sequence[str]) -> list[str]:
    """The part that each operation of a layer belongs to, of operations as a model card has them.

    An operation with a matrix or its bias belongs to the matrix, attention and norms to their own parts, and any other one where
    the first later operation does that reads its result.
    """
    found: list[str] = []
    read_by: dict[str, str] = {}
    for text in reversed(operations):
        outputs, _, rest = text.partition(" = ")
        kind, _, names = rest.partition(" ")
        inputs = names.split(", ")
        weights = [re.fullmatch(r"layer\.(\w+?)(\.bias)?", name) for name in inputs]
        own = next((_OF_WEIGHTS[match[1]] for match in weights if match and match[1] in _OF_WEIGHTS), "")
        part = own or _OF_KINDS.get(kind.partition(".")[0]) or next(
            (read_by[name] for name in outputs.split(", ") if name in read_by), REST)
        found.append(part)
        read_by |= dict.fromkeys(inputs, part)
    return found[::-1]
