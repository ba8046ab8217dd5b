"""What the attention unit does: the key of a position transposed, scores, softmax and context of all heads at once."""

from __future__ import annotations

from compiler.graph import Op
from compiler.lowering.emit import KEYS, POSITION, POSITIONS, VALUES, number
from compiler.lowering.lower import Lowering, lowers
from compiler.model.model import Config


def start(c: Lowering) -> None:
    """Set the sizes of heads. They stay while the program runs, if they are the same in all layers."""
    if not c.graph.config.layer_heads:
        _sizes(c, c.graph.config)


def of_body(c: Lowering) -> None:
    """Set the sizes of heads for the layers whose code follows, where layers differ."""
    if c.graph.config.layer_heads:
        _sizes(c, c.graph.config.of_layer(c.graph.bodies[c.body].layers[0]))


def _sizes(c: Lowering, config: Config) -> None:
    c.emit.op("attn.setm", number(config.heads), number(config.kv_heads), number(config.head_dim))


def _form(c: Lowering, name: str) -> str:
    """The format of a cache, as mnemonics end with it."""
    return c.graph.values[name].format


@lowers("append.attn", "append.attn.f16")
def append(c: Lowering, op: Op) -> None:
    """A column of the transposed keys."""
    k, cache = op.inputs[0], op.outputs[0]
    c.emit.csr("attn.key_stride", c.memory.caches[cache].strides[0])
    c.emit.op(f"attn.xpose.{_form(c, cache)}", KEYS, c.at(k), POSITION, reads=(k,), writes=(cache,))


@lowers("scores.attn", "scores.attn.f16", "scores.rows", "scores.rows.f16", "scores.rows.i8")
def scores(c: Lowering, op: Op) -> None:
    """Keys have a row for each channel, or one for each position."""
    e, result, (q, cache, *scales) = c.emit, op.outputs[0], op.inputs
    form, key, mnemonic = _form(c, cache), c.memory.caches[cache], "xmac" if op.kind.startswith("scores.attn") else "mac"
    e.csr("attn.key_stride", key.strides[0])
    e.csr("attn.score_stride", 4 * c.memory.context)
    e.op(f"attn.wrgb.{'i8' if form == 'i8' else 'f32'}", c.at(q), reads=(q,))
    e.op(f"attn.{mnemonic}.{form}", c.at(result), _first(c, op, KEYS, key.row_bytes), POSITIONS, reads=(cache, *scales),
         writes=(result,))


@lowers("softmax.attn")
def softmax(c: Lowering, op: Op) -> None:
    result, x = op.outputs[0], op.inputs[0]
    c.emit.csr("attn.score_stride", 4 * c.memory.context)
    c.emit.op("attn.sfm.f32", c.at(result), c.at(x), POSITIONS, reads=(x,), writes=(result,))


@lowers("context.attn", "context.attn.f16", "context.attn.i8")
def context(c: Lowering, op: Op) -> None:
    e, result, (p, cache, *scales) = c.emit, op.outputs[0], op.inputs
    row_bytes = c.memory.caches[cache].row_bytes
    e.csr("attn.score_stride", 4 * c.memory.context)
    e.csr("attn.value_stride", row_bytes)
    e.op(f"attn.context.{_form(c, cache)}", c.at(result), _first(c, op, VALUES, row_bytes), c.at(p), POSITIONS,
         reads=(p, cache, *scales), writes=(result,))


def _first(c: Lowering, op: Op, base: str, size: int) -> str:
    """A register with the address of the first position that attention reads. `size`: bytes from one position to the next."""
    if not op.attributes["window"]:
        return base
    c.emit.line(f"sub a7, {POSITION}, {POSITIONS};  addi a7, a7, 1")
    c.emit.line(f"li a6, {size};  mul a7, a7, a6;  add a7, a7, {base}", "the first position of the window")
    return "a7"
