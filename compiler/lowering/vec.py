"""What the vector unit does: norms, activations, rope, attention, products with float weights."""

from __future__ import annotations

from compiler.emit import KEYS, KV_OFFSET, POINTERS, POSITION, POSITIONS, ROPE_ROW, VALUES, bits, number
from compiler.graph import Op
from compiler.lowering import Lowering, lowers

_UNARY = {"silu": "vec.silu.f32", "gelu": "vec.gelu.f32", "relu": "vec.relu.f32", "relu2": "vec.relu2.f32"}
_BINARY = {"add": "vec.add.f32", "mul": "vec.mul.f32"}


@lowers(*_UNARY)
def unary(c: Lowering, op: Op) -> None:
    result, x = op.outputs[0], op.inputs[0]
    c.emit.op(_UNARY[op.kind], c.at(result), c.at(x), c.length(result), reads=c.slots(x), writes=c.slots(result))


@lowers(*_BINARY)
def binary(c: Lowering, op: Op) -> None:
    result, (a, b) = op.outputs[0], op.inputs
    c.emit.op(_BINARY[op.kind], c.at(result), c.at(a), c.at(b), c.length(result),
              reads=c.slots(a, b), writes=c.slots(result))


@lowers("bias")
def bias(c: Lowering, op: Op) -> None:
    result, x = op.outputs[0], op.inputs[0]
    c.emit.op("vec.add.f32", c.at(result), c.at(x), c.weight(op.weights[0]), c.length(result), reads=c.slots(x), writes=c.slots(result))


@lowers("scale")
def scale(c: Lowering, op: Op) -> None:
    result, x = op.outputs[0], op.inputs[0]
    c.emit.op("vec.scale.f32", c.at(result), c.at(x), bits(op.attributes["factor"]), c.length(result),
              reads=c.slots(x), writes=c.slots(result))


@lowers("rmsnorm", "layernorm")
def norm(c: Lowering, op: Op) -> None:
    """A gain that is shorter than the vector is for each part of its size: heads of queries and keys."""
    result, x = op.outputs[0], op.inputs[0]
    size, n = c.tensor(op.weights[0]).shape[0], c.elements(result)
    c.emit.csr("vec.eps", c.emit.register(bits(op.attributes["eps"])))
    if size == n:
        c.emit.op(f"vec.{op.kind}.f32", c.at(result), c.at(x), c.weight(op.weights[0]), number(n),
                  reads=c.slots(x), writes=c.slots(result))
        return
    to, source, counter = POINTERS[:3]
    c.move(to, c.at(result))
    c.move(source, c.at(x))
    with c.emit.pinned(c.weight(op.weights[0]), number(size)) as (gain, length), c.emit.loop(c.name("norm"), n // size, counter):
        c.emit.op(f"vec.{op.kind}.f32", to, source, gain, length, reads=c.slots(x), writes=c.slots(result))
        c.advance(to, 4 * size)
        c.advance(source, 4 * size)


@lowers("rope")
def rope(c: Lowering, op: Op) -> None:
    result, x = op.outputs[0], op.inputs[0]
    c.emit.csr("vec.head_dim", int(op.attributes["head_dim"]))
    mnemonic = "vec.rope.f32" if op.attributes["adjacent"] else "vec.ropehalf.f32"
    c.emit.op(mnemonic, c.at(result), c.at(x), ROPE_ROW, c.length(result), reads=c.slots(x), writes=c.slots(result))


@lowers("append")
def append(c: Lowering, op: Op) -> None:
    """A copy that stays in the unit's queue: x * 1 is x."""
    x, base = op.inputs[0], KEYS if op.outputs[0] == "keys" else VALUES
    c.emit.line(f"add a7, {base}, {KV_OFFSET}", f"row of this position in {op.outputs[0]}")
    c.emit.op("vec.scale.f32", "a7", c.at(x), bits(1.0), c.length(x), reads=c.slots(x), writes=(op.outputs[0],))


# ------------------------------------------------------------------------------------------------ attention


def _first_position(c: Lowering, window: int, row_bytes: int, register: str) -> None:
    """Add to a register the bytes of the positions before the window."""
    if window:
        done = c.name("window")
        c.emit.line(f"addi a7, {POSITION}, {1 - window}" if window <= 2048 else f"li a7, {window - 1}")
        if window > 2048:
            c.emit.line(f"sub a7, {POSITION}, a7")
        c.emit.line(f"blez a7, {done}", "every position is in the window")
        c.emit.line(f"li a6, {row_bytes}")
        c.emit.line("mul a7, a7, a6")
        c.emit.line(f"add {register}, {register}, a7")
        c.emit.mark(done)


def _heads(c: Lowering, op: Op, cache: str) -> tuple[int, int, int, int]:
    """(head_dim, heads, heads that share one of the cache, bytes of a cache row); the matrix of a head is described in CSRs."""
    heads, kv_heads = int(op.attributes["heads"]), int(op.attributes["kv_heads"])
    row = c.memory.caches[cache]
    c.emit.csr("vec.cols", row // kv_heads)
    c.emit.csr("vec.row_stride", 4 * row)
    return row // kv_heads, heads, heads // kv_heads, 4 * row


@lowers("scores")
def scores(c: Lowering, op: Op) -> None:
    """For each head a product of its keys with its query: the keys of a head are a matrix with the stride of a cache row."""
    result, (q, cache) = op.outputs[0], op.inputs
    head_dim, heads, shared, row_bytes = _heads(c, op, cache)
    to, query, keys, counter = POINTERS
    c.move(to, c.at(result))
    c.move(query, c.at(q))
    c.emit.line(f"mv {keys}, {KEYS}")
    _first_position(c, int(op.attributes["window"]), row_bytes, keys)
    with c.emit.pinned(number(4 * c.memory.context)) as (step,), c.emit.loop(c.name("scores"), heads // shared, counter):
        for _ in range(shared):
            c.emit.op("vec.gemv.f32", to, keys, query, POSITIONS, reads=c.slots(q), writes=c.slots(result), comment="keys . query of a head")
            c.emit.line(f"add {to}, {to}, {step}")
            c.advance(query, 4 * head_dim)
        c.advance(keys, 4 * head_dim)


@lowers("softmax")
def softmax(c: Lowering, op: Op) -> None:
    result, x = op.outputs[0], op.inputs[0]
    to, source, counter = POINTERS[:3]
    c.move(to, c.at(result))
    c.move(source, c.at(x))
    with (c.emit.pinned(number(4 * c.memory.context)) as (step,),
          c.emit.loop(c.name("softmax"), int(c.graph.values[x].shape[0]), counter)):
        c.emit.op("vec.softmax.f32", to, source, POSITIONS, reads=c.slots(x), writes=c.slots(result))
        c.emit.line(f"add {to}, {to}, {step}")
        c.emit.line(f"add {source}, {source}, {step}")


@lowers("context")
def context(c: Lowering, op: Op) -> None:
    """For each head the sum of its rows of the cache, weighted by the probabilities."""
    result, (p, cache) = op.outputs[0], op.inputs
    head_dim, heads, shared, row_bytes = _heads(c, op, cache)
    to, weights, values, counter = POINTERS
    c.emit.op("vec.fill.32", c.at(result), "zero", c.length(result), writes=c.slots(result), comment="sums start at 0")
    c.move(to, c.at(result))
    c.move(weights, c.at(p))
    c.emit.line(f"mv {values}, {VALUES}")
    _first_position(c, int(op.attributes["window"]), row_bytes, values)
    with c.emit.pinned(number(4 * c.memory.context)) as (step,), c.emit.loop(c.name("context"), heads // shared, counter):
        for _ in range(shared):
            c.emit.op("vec.macT.f32", to, values, weights, POSITIONS, reads=c.slots(p, result), writes=c.slots(result),
                      comment="values weighted by a head's probabilities")
            c.advance(to, 4 * head_dim)
            c.emit.line(f"add {weights}, {weights}, {step}")
        c.advance(values, 4 * head_dim)


# ------------------------------------------------------------------------------------------------ products


@lowers("gemv")
def gemv(c: Lowering, op: Op) -> None:
    """Float weights, which the unit converts to fp32."""
    result, x, placed = op.outputs[0], op.inputs[0], c.tensor(op.weights[0])
    c.emit.csr("vec.cols", placed.shape[1])
    c.emit.csr("vec.row_stride", 0)
    c.emit.op(f"vec.gemv.{placed.format}", c.at(result), c.weight(op.weights[0]), c.at(x), number(placed.shape[0]),
              reads=c.slots(x), writes=c.slots(result))


@lowers("quantise")
def quantise(c: Lowering, op: Op) -> None:
    (codes, scale), x = op.outputs, op.inputs[0]
    c.emit.csr("vec.scale_group", 0)
    c.emit.op("vec.quant.i8", c.at(codes), c.at(x), c.at(scale), c.length(x), reads=c.slots(x), writes=c.slots(codes, scale))
