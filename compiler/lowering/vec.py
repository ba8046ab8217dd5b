"""What the vector unit does: norms, activations, rope, attention, products with float weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from compiler.graph import Op
from compiler.lowering.emit import BASE, KV_OFFSET, POSITION, POSITIONS, ROPE_ROW, Source, bits, number, offset
from compiler.lowering.lower import Lowering, lowers
from compiler.lowering.tiles import rows_near
from compiler.placing.memory_plan import BYTES
from compiler.placing.weights import ROPE


@lowers("silu", "gelu", "relu", "relu2", "add", "mul")
def elementwise(c: Lowering, op: Op) -> None:
    result = op.outputs[0]
    c.emit.op(f"vec.{op.kind}.f32", *map(c.at, (result, *op.inputs)), c.length(result), reads=op.inputs, writes=op.outputs)


@lowers("bias")
def bias(c: Lowering, op: Op) -> None:
    result, x = op.outputs[0], op.inputs[0]
    with c.vector(op.weights[0]) as b:
        c.emit.op("vec.add.f32", c.at(result), c.at(x), b, c.length(result), reads=(x,), writes=(result,))


@lowers("scale")
def scale(c: Lowering, op: Op) -> None:
    result, x = op.outputs[0], op.inputs[0]
    c.emit.op("vec.scale.f32", c.at(result), c.at(x), bits(op.attributes["factor"]), c.length(result),
              reads=(x,), writes=(result,))


@lowers("rmsnorm", "layernorm")
def norm(c: Lowering, op: Op) -> None:
    """If the gain is shorter than the vector, each part of its size is normalised alone: heads of queries and keys."""
    result, x = op.outputs[0], op.inputs[0]
    size, n = c.tensor(op.weights[0]).shape[0], c.elements(result)
    c.emit.csr("vec.eps", c.emit.register(bits(op.attributes["eps"])))
    with c.vector(op.weights[0]) as gain:
        if size == n:
            c.emit.op(f"vec.{op.kind}.f32", c.at(result), c.at(x), gain, number(n), reads=(x,), writes=(result,))
            return
        with c.emit.pinned(gain, number(size)) as (each, length), c.emit.taken(3) as (to, source, counter):
            c.emit.move(to, c.at(result))
            c.emit.move(source, c.at(x))
            with c.emit.loop(c.name("norm"), n // size, counter):
                c.emit.op(f"vec.{op.kind}.f32", to, source, each, length, reads=(x,), writes=(result,))
                c.emit.advance(to, 4 * size)
                c.emit.advance(source, 4 * size)


@lowers("rope")
def rope(c: Lowering, op: Op) -> None:
    result, x, head_dim = op.outputs[0], op.inputs[0], int(op.attributes["head_dim"])
    c.emit.csr("vec.head_dim", head_dim)
    mnemonic = "vec.rope.f32" if op.attributes["adjacent"] else "vec.ropehalf.f32"
    with c.operand("vec", ROPE_ROW, 4 * head_dim, of=ROPE) as angles:
        c.emit.op(mnemonic, c.at(result), c.at(x), angles, c.length(result), reads=(x,), writes=(result,))


@lowers("append")
def append(c: Lowering, op: Op) -> None:
    """A copy. If the vector unit reaches the cache it copies itself (x * 1 is x), so that no other unit has to be waited for."""
    x, cache = op.inputs[0], op.outputs[0]
    c.emit.line(f"add a7, {BASE[c.memory.caches[cache].base]}, {KV_OFFSET}", f"row of this position in {cache}")
    if not c.reached(cache):
        c.emit.op("fetch.copy", "a7", c.at(x), number(4 * c.elements(x)), reads=(x,), writes=(cache,))
    else:
        c.emit.op("vec.scale.f32", "a7", c.at(x), bits(1.0), c.length(x), reads=(x,), writes=(cache,))


# ------------------------------------------------------------------------------------------------ attention

WEIGHTS = {"f32": "f32", "f16": "f16", "i8": "i8.f32"}               # format of a cache -> suffix of a product with it


@contextmanager
def _first(c: Lowering, op: Op) -> Iterator[str]:
    """A register with the address of the first position that attention reads, in the cache that is the second operand."""
    cache, window = c.memory.caches[op.inputs[1]], int(op.attributes["window"])
    base = BASE[cache.base]
    if not window and not cache.offset:
        yield base
        return
    with c.emit.taken(1) as (first,):
        c.emit.move(first, offset(base, cache.offset, op.inputs[1]))
        if window:
            done = c.name("window")
            c.emit.line(f"li a7, {window - 1};  sub a7, {POSITION}, a7;  blez a7, {done}", "every position is in the window")
            c.emit.advance_rows(first, "a7", cache.row_bytes)
            c.emit.mark(done)
        yield first


def _row(c: Lowering, op: Op) -> tuple[str, int, int]:
    """(format, bytes of a row, elements of a head) of the cache that is the second operand."""
    value = c.graph.values[op.inputs[1]]
    return value.format, c.memory.caches[op.inputs[1]].row_bytes, int(value.shape[1]) // int(op.attributes["kv_heads"])


@lowers("scores", "scores.f16", "scores.i8")
def scores(c: Lowering, op: Op) -> None:
    """For each head a product of its keys with its query: the keys of a head are a matrix with the stride of a cache row."""
    e, result, (q, cache) = c.emit, op.outputs[0], op.inputs
    groups, (form, row_bytes, head_dim) = int(op.attributes["kv_heads"]), _row(c, op)
    e.order("vec", (q, *c.reached(cache)), (result,))
    with _first(c, op) as first, c.tiles("vec", first, POSITIONS, row_bytes, (c.at(result), 4), of=cache) as tile:
        e.csr("vec.cols", head_dim)
        e.csr("vec.row_stride", row_bytes)
        with e.taken(4) as (to, query, keys, counter), e.pinned(number(4 * c.memory.context)) as (step,):
            e.move(to, tile.to[0])
            e.move(query, c.at(q))
            e.move(keys, tile.at)
            with e.loop(c.name("scores"), groups, counter):
                for _ in range(int(op.attributes["heads"]) // groups):
                    e.op(f"vec.gemv.{WEIGHTS[form]}", to, keys, query, tile.rows, reads=(q, *c.reached(cache)), writes=(result,),
                         comment="keys . query of a head")
                    e.line(f"add {to}, {to}, {step}")
                    e.advance(query, 4 * head_dim)
                e.advance(keys, head_dim * BYTES[form])


@lowers("softmax")
def softmax(c: Lowering, op: Op) -> None:
    e, result, x = c.emit, op.outputs[0], op.inputs[0]
    with e.taken(3) as (to, source, counter), e.pinned(number(4 * c.memory.context)) as (step,):
        e.move(to, c.at(result))
        e.move(source, c.at(x))
        with e.loop(c.name("softmax"), int(c.graph.values[x].shape[0]), counter):
            e.op("vec.softmax.f32", to, source, POSITIONS, reads=(x,), writes=(result,))
            e.line(f"add {to}, {to}, {step};  add {source}, {source}, {step}")


@lowers("context", "context.f16", "context.i8")
def context(c: Lowering, op: Op) -> None:
    """For each head the sum of its rows of the cache, weighted by the probabilities."""
    e, result, (p, cache) = c.emit, op.outputs[0], op.inputs
    groups, (form, row_bytes, head_dim) = int(op.attributes["kv_heads"]), _row(c, op)
    e.op("vec.fill.32", c.at(result), "zero", c.length(result), writes=(result,), comment="sums start at 0")
    e.order("vec", (p, *c.reached(cache)), (result,))
    with _first(c, op) as first, c.tiles("vec", first, POSITIONS, row_bytes, (c.at(p), 4), of=cache) as tile:
        e.csr("vec.cols", head_dim)
        e.csr("vec.row_stride", row_bytes)
        with e.taken(4) as (to, weights, values, counter), e.pinned(number(4 * c.memory.context)) as (step,):
            e.move(to, c.at(result))
            e.move(weights, tile.to[0])
            e.move(values, tile.at)
            with e.loop(c.name("context"), groups, counter):
                for _ in range(int(op.attributes["heads"]) // groups):
                    e.op(f"vec.macT.{WEIGHTS[form]}", to, values, weights, tile.rows,
                         reads=(p, result, *c.reached(cache)), writes=(result,),
                         comment="values weighted by a head's probabilities")
                    e.advance(to, 4 * head_dim)
                    e.line(f"add {weights}, {weights}, {step}")
                e.advance(values, head_dim * BYTES[form])


# ------------------------------------------------------------------------------------------------ keys and values of fewer bits


@lowers("round")
def rounded(c: Lowering, op: Op) -> None:
    result, x = op.outputs[0], op.inputs[0]
    c.emit.op("vec.cvt.f16.f32", c.at(result), c.at(x), c.length(x), reads=(x,), writes=(result,))


@lowers("append.rows.i8")
def append_quantised(c: Lowering, op: Op) -> None:
    """Codes and scales of the heads are a row of the cache, as the attention unit reads it."""
    e, x, cache = c.emit, op.inputs[0], op.outputs[0]
    e.csr("vec.scale_group", c.elements(x) // int(op.attributes["kv_heads"]))
    e.line(f"add a7, {BASE[c.memory.caches[cache].base]}, {KV_OFFSET}", f"row of this position in {cache}")
    e.line(f"li a6, {c.memory.caches[op.outputs[1]].offset};  add a6, a6, a7", "its scales")
    e.op("vec.quant.i8", "a7", c.at(x), "a6", c.length(x), reads=(x,), writes=op.outputs)


@lowers("scale.heads")
def scale_heads(c: Lowering, op: Op) -> None:
    """The scales of a head are a vector over positions, so each head takes one product."""
    e, result, (x, scales) = c.emit, op.outputs[0], op.inputs
    groups = int(op.attributes["kv_heads"])
    e.order("vec", (x, *c.reached(scales)), (result,))
    with (_first(c, op) as first, e.taken(5) as (to, source, at, length, counter),
          e.pinned(number(4 * c.memory.context)) as (step,)):
        e.move(to, c.at(result))
        e.move(source, c.at(x))
        e.move(at, first)
        e.line(f"slli {length}, {POSITIONS}, 2", "bytes of a head's scales")
        with e.loop(c.name("scales"), groups, counter):
            with (e.profile.known(length, 4, POSITIONS),
                  c.operand("vec", at, 4 * c.memory.context, length, of=scales) as factors):
                for _ in range(int(op.attributes["heads"]) // groups):
                    e.op("vec.mul.f32", to, source, factors, POSITIONS, reads=(x, *c.reached(scales)), writes=(result,))
                    e.line(f"add {to}, {to}, {step};  add {source}, {source}, {step}")
            e.line(f"add {at}, {at}, {step}")


# ------------------------------------------------------------------------------------------------ products


@lowers("gemv", "gemv.heads")
def gemv(c: Lowering, op: Op) -> None:
    """With float weights, which the unit converts to fp32."""
    rows_f32(c, op, range(c.tensor(op.weights[0]).rows), op.outputs[0], c.results(op.outputs[0]))


def rows_f32(c: Lowering, op: Op, rows: range, result: str, results: Source) -> None:
    """The product with some rows of the matrix, to the value `result`, at `results`."""
    x, placed = op.inputs[0], c.tensor(op.weights[0])
    c.emit.order("vec", (x,), (result,))
    with (c.tiles("vec", c.weight(op.weights[0], plus=rows.start * placed.row_bytes), len(rows), placed.row_bytes, (results, 4),
                  result=result, most=rows_near(placed.row_bytes) if c.chunk else 0) as tile, c.each()):
        c.emit.csr("vec.cols", placed.shape[1])
        c.emit.csr("vec.row_stride", 0)
        c.emit.op(f"vec.gemv.{placed.format}", c.result(tile.to[0]), tile.at, c.at(x), tile.rows, reads=(x,), writes=(result,))


@lowers("quantise", "quantise.heads")
def quantise(c: Lowering, op: Op) -> None:
    """One scale for the vector, or one for each of its heads."""
    (codes, scale), x = op.outputs, op.inputs[0]
    c.built = "" if c.built == codes else c.built
    heads = op.attributes.get("kv_heads")
    if c.graph.values[x].listed:
        c.emit.op("vec.fill.32", c.at(scale), "zero", number(1), writes=(scale,), comment="the scale, if no neuron is active")
    c.emit.csr("vec.scale_group", 0 if heads is None else c.elements(x) // int(heads))
    c.emit.op("vec.quant.i8", c.at(codes), c.at(x), c.at(scale), c.length(x), reads=(x,), writes=(codes, scale))
