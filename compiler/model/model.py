"""A model: its configuration and its tensors by role, whatever file they came from.

    frontend -> Model(config, tensors, tokenizer) -> graph, passes, lowering

A role is the place of a tensor in the model: "embedding", "layers.3.q", "layers.3.q.bias". `roles(config)` lists them all with
their shapes, in the order of use; a family of models says what each is called in its files. Which roles there are also says
which operations there are: graph/build.py adds a bias where there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from compiler.errors import ModelError, shown
from compiler.model.tensors import F32, Tensor

if TYPE_CHECKING:
    from compiler.graph.ops import Graph
    from compiler.model.tokenizer import Tokenizer
    from compiler.passes.prune_tokens import PruneTokens

# ------------------------------------------------------------------------------------------------ positions


@dataclass(frozen=True)
class Rope:
    """Rotary position embedding of whole heads.

    frequencies  fp32 (head_dim / 2,): radians per position of each pair, scaling applied
    adjacent     pair i is elements (2i, 2i+1) of a head, else (i, i + head_dim / 2)
    """

    frequencies: tuple[float, ...]
    adjacent: bool

    @classmethod
    def plain(cls, head_dim: int, theta: float, *, adjacent: bool) -> Rope:
        """Without scaling."""
        return cls(tuple(rope_frequencies(head_dim, theta).tolist()), adjacent)

    def table(self, position: int) -> F32:
        """Cosines, then sines of the angles at `position`: (head_dim,), as vec.rope and vec.ropehalf read them.

        The angle is an fp32 product, as in llama2.c and transformers; its cosine and sine are rounded from fp64.
        """
        angles = (np.float32(position) * np.array(self.frequencies, np.float32)).astype(np.float64)
        return np.concatenate([np.cos(angles), np.sin(angles)]).astype(np.float32)


def check_head_dim(head_dim: int, file: Path | str, name: str) -> None:
    """Raise ModelError for a size that no head has, before an array of that size is made."""
    if not 0 < head_dim <= 1 << 16:
        raise ModelError(file, name, got=str(head_dim), expected="the size of a head, 1 to 65536")


def rope_frequencies(head_dim: int, theta: float) -> F32:
    """theta ** (-2i / head_dim) for pair i: (head_dim / 2,). Source: Su et al., "RoFormer", arXiv:2104.09864, section 3.2.2."""
    exponents = -np.arange(0, head_dim, 2) / head_dim
    return (np.float64(theta) ** exponents).astype(np.float32)


# ------------------------------------------------------------------------------------------------ configuration


@dataclass(frozen=True)
class Config:
    """What a model computes. Sizes in elements; `context` is the number of positions that it was made for."""

    architecture: str           # as its file calls it, for people
    vocab: int
    dim: int                    # residual stream
    layers: int
    heads: int                  # of queries
    kv_heads: int               # of keys and values; divides heads
    head_dim: int
    hidden: int                 # neurons of a feed-forward layer
    context: int
    eps: float                  # of every norm

    norm: str = "rmsnorm"       # or layernorm, which has biases
    norm_first: bool = True     # before attention and feed-forward; else after the residual sums
    final_norm: bool = True
    activation: str = "silu"    # silu, gelu, relu, relu2
    gated: bool = True          # activation(gate) * up, else activation(up)
    biases: frozenset[str] = frozenset()        # the LINEARS that have one
    qk_norm: bool = False       # rmsnorm of each head of queries and keys
    sub_norms: bool = False     # rmsnorm before o and before down (BitNet)
    rope: Rope | None = None
    learned_positions: int | None = None        # position p is row p + this of "positions"
    window: int | None = None   # positions that attention looks back on, the present one included; None: all
    embedding_dim: int = 0      # of the embedding, if projections lie between it and dim; 0: dim
    tied: bool = False          # the head is the embedding
    int8_activations: bool = False              # input of the linears of a layer: int8, absmax per token (BitNet b1.58)
    widths: tuple[int, ...] = ()                # neurons of each layer where they differ; hidden is then the largest
    layer_heads: tuple[tuple[int, int], ...] = ()       # (heads, kv_heads) of each layer where they differ; both are the largest
    monarch: int = 0            # LINEARS are block-diagonal (monarch.py): B, of blocks B x B in squares of B * B; 0: they are dense
    side_rank: int = 0          # LINEARS have two thin matrices beside them, whose product is added (passes/lowrank.py); 0: none

    bos: int | None = None
    stop: frozenset[int] = frozenset()          # tokens that end a text

    def of_layer(self, layer: int) -> Config:
        """The configuration of a model whose layers are all like this one."""
        own = replace(self, hidden=self.widths[layer], widths=()) if self.widths else self
        if not self.layer_heads:
            return own
        heads, kv_heads = self.layer_heads[layer]
        return replace(own, heads=heads, kv_heads=kv_heads, layer_heads=())

    @property
    def q_dim(self) -> int:
        return self.heads * self.head_dim

    @property
    def kv_dim(self) -> int:
        return self.kv_heads * self.head_dim


ACTIVATIONS = ("silu", "gelu", "relu", "relu2")

# Sizes that must be positive, then conditions: (field, what must hold, how it reads).
_SIZES = ("vocab", "dim", "layers", "heads", "kv_heads", "head_dim", "hidden", "context")
_LIMIT = 1 << 31
MOST_LAYERS = 4096          # each is placed and written by itself: a mistake in a number shall not compile for an hour
_CONDITIONS: tuple[tuple[str, Callable[[Config], bool], str], ...] = (
    ("layers",     lambda c: c.layers <= MOST_LAYERS,                   f"at most {MOST_LAYERS:,} layers"),
    ("kv_heads",   lambda c: c.heads % c.kv_heads == 0,                 "a divisor of the {c.heads} heads"),
    ("head_dim",   lambda c: c.rope is None or c.head_dim % 2 == 0,     "an even number: rope rotates pairs"),
    ("eps",        lambda c: np.isfinite(c.eps) and c.eps > 0,          "a positive number"),
    ("activation", lambda c: c.activation in ACTIVATIONS,               "one of " + ", ".join(ACTIVATIONS)),
    ("window",     lambda c: c.window is None or c.window > 0,          "a positive number of positions"),
    ("bos",        lambda c: c.bos is None or 0 <= c.bos < c.vocab,     "a token of the vocabulary of {c.vocab}"),
    ("stop",       lambda c: all(0 <= s < c.vocab for s in c.stop),     "tokens of the vocabulary of {c.vocab}"),
    ("rope",       lambda c: c.rope is None or len(c.rope.frequencies) * 2 == c.head_dim,
                   "{c.head_dim} / 2 frequencies, one for each pair of a head"),
    ("rope",       lambda c: c.rope is None or bool(np.isfinite(c.rope.frequencies).all()), "finite frequencies"),
)


def check_config(config: Config, file: Path | str, names: Mapping[str, str]) -> None:
    """Raise ModelError for sizes that make no model. `names` are the file's own names of our fields."""
    for field_name in _SIZES:
        value = getattr(config, field_name)
        if not 0 < value < _LIMIT:
            raise ModelError(file, names.get(field_name, field_name), got=str(value), expected="a positive size")
    for field_name, holds, expected in _CONDITIONS:
        if not holds(config):
            raise ModelError(file, names.get(field_name, field_name), got=_short(getattr(config, field_name)),
                             expected=expected.format(c=config))


def _short(value: object) -> str:
    text = str(sorted(value) if isinstance(value, frozenset) else value)
    return text if len(text) <= 80 else text[:77] + "..."


# ------------------------------------------------------------------------------------------------ roles

LINEARS = ("q", "k", "v", "o", "gate", "up", "down")
"""The matrices of a layer that multiply a vector."""
STAGES = ("right", "left")
"""The two matrices that a block-diagonal one consists of, in the order of use: "layers.3.q.right", "layers.3.q.left"."""
SIDES = ("side_in", "side_out")
"""The two thin matrices beside one that was pruned, in the order of use: "layers.3.q.side_in", "layers.3.q.side_out"."""


Roles = Iterator[tuple[str, tuple[int, ...]]]
"""(role, shape), in the order of use."""


def layer_roles(c: Config) -> Roles:
    """The tensors of one layer: attention, then a feed-forward layer. graph/build.py says what each of the two computes."""
    yield from _attention(c)
    yield from _feed_forward(c)


def _attention(c: Config) -> Roles:
    yield from _norm(c, "attention_norm", c.dim)
    yield from _linear(c, "q", c.q_dim, c.dim)
    yield from _linear(c, "k", c.kv_dim, c.dim)
    yield from _linear(c, "v", c.kv_dim, c.dim)
    if c.qk_norm:
        yield "q_norm", (c.head_dim,)
        yield "k_norm", (c.head_dim,)
    if c.sub_norms:
        yield "attention_sub_norm", (c.q_dim,)
    yield from _linear(c, "o", c.dim, c.q_dim)


def _feed_forward(c: Config) -> Roles:
    yield from _norm(c, "ffn_norm", c.dim)
    if c.gated:
        yield from _linear(c, "gate", c.hidden, c.dim)
    yield from _linear(c, "up", c.hidden, c.dim)
    if c.sub_norms:
        yield "ffn_sub_norm", (c.hidden,)
    yield from _linear(c, "down", c.dim, c.hidden)


def _norm(c: Config, role: str, size: int) -> Roles:
    yield role, (size,)
    if c.norm == "layernorm":
        yield f"{role}.bias", (size,)


def _linear(c: Config, role: str, rows: int, cols: int) -> Roles:
    if c.monarch:
        between = rows * cols // c.monarch ** 2
        yield f"{role}.right", (between, cols)
        yield f"{role}.left", (rows, between)
    else:
        yield role, (rows, cols)
    if c.side_rank:
        yield f"{role}.side_in", (c.side_rank, cols)
        yield f"{role}.side_out", (rows, c.side_rank)
    if role in c.biases:
        yield f"{role}.bias", (rows,)


def roles(c: Config) -> Roles:
    """Every tensor of a model."""
    width = c.embedding_dim or c.dim
    yield "embedding", (c.vocab, width)
    if c.embedding_dim:
        yield "project_in", (c.dim, width)
    if c.learned_positions is not None:
        yield "positions", (c.context + c.learned_positions, c.dim)
    for layer in range(c.layers):
        for role, shape in layer_roles(c.of_layer(layer)):
            yield f"layers.{layer}.{role}", shape
    if c.final_norm:
        yield from _norm(c, "final_norm", c.dim)
    if c.embedding_dim:
        yield "project_out", (width, c.dim)
    if not c.tied:
        yield "head", (c.vocab, width)


# ------------------------------------------------------------------------------------------------ the model


@dataclass(frozen=True)
class Model:
    """A checkpoint, opened and checked; its weights still lie in its files.

    `tokenizer` is None if the checkpoint came without one. `graph`: what it computes, where that is not what its configuration says
    (graph/build.py). `notes` are what a user should know of how the files were read. `pruned`
    and `projected` say how the compiler has pruned it, or made its matrices block-diagonal; `packed` which are stored as chunks.
    `prune_tokens`: which tokens of prompts layers leave out; None: they see all.
    """

    path: Path
    config: Config
    tensors: Mapping[str, Tensor] = field(repr=False)       # by role
    tokenizer: Tokenizer | None = None
    notes: tuple[str, ...] = ()
    pruned: tuple[str, ...] = ()
    projected: tuple[str, ...] = ()
    packed: tuple[str, ...] = ()
    graph: Graph | None = field(default=None, repr=False)
    prune_tokens: PruneTokens | None = None

    def tensor(self, role: str) -> Tensor:
        """The tensor of a role. The head of a tied model is its embedding."""
        return self.tensors["embedding" if role == "head" and self.config.tied else role]

    @property
    def changed(self) -> tuple[str, ...]:
        """What the compiler has done to its weights before they get formats."""
        return (*self.projected, *self.pruned)

    def check_weights(self) -> None:
        """Read every weight once; ModelError at the first that is NaN or infinite."""
        for tensor in self.tensors.values():
            tensor.check()


def check_shape(tensor: Tensor, shape: tuple[int, ...], role: str) -> Tensor:
    """The tensor. Raises ModelError if its shape is not that of its role."""
    if tensor.shape != shape:
        raise ModelError(tensor.file, f"tensor {tensor.name}", got=f"shape {shown(tensor.shape)}",
                         expected=f"{shown(shape)}, as the configuration says for {role}")
    return tensor


UNUSED_ROWS = 1024
"""An embedding may have this many rows more than the tokenizer has pieces, and at most an eighth more: checkpoints pad it."""


def check_vocabulary(config: Config, tokenizer: Tokenizer, file: Path | str) -> None:
    """Raise ModelError unless every piece of the tokenizer has a row in the embedding, and nearly every row a piece."""
    if not config.vocab - min(UNUSED_ROWS, config.vocab // 8) <= tokenizer.size <= config.vocab:
        raise ModelError(file, "tokenizer", got=f"{tokenizer.size} pieces", expected=f"the model's vocabulary of {config.vocab}",
                         hint="this tokenizer belongs to another model")
