"""What the fetch unit does: the row of an embedding, a row into a cache of fp16 or of int8 codes."""

from __future__ import annotations

from compiler.graph import Op
from compiler.lowering.emit import BASE, KV_OFFSET, POSITION, TOKEN, Want, number
from compiler.lowering.lower import Lowering, lowers


@lowers("embedding")
def embedding(c: Lowering, op: Op) -> None:
    """Row index + offset of a table, fetched and converted to fp32."""
    result, placed = op.outputs[0], c.tensor(op.weights[0])
    index = TOKEN if op.inputs[0] == "token" else POSITION
    n, shift = placed.shape[1], int(op.attributes["offset"])

    def row_of(table: Want, row_bytes: int, what: str) -> None:
        """a7 = table + (index + shift) * row_bytes."""
        c.emit.line(f"addi a7, {index}, {shift}" if shift else f"mv a7, {index}")
        c.emit.line(f"li a6, {row_bytes};  mul a7, a7, a6")
        c.emit.line(f"add a7, a7, {c.emit.register(table)}", f"{what} of {op.weights[0]}")

    target = result if placed.format.name == "f32" else "embedded_row"
    row_of(c.weight(op.weights[0]), placed.row_bytes, "row")
    c.emit.op("fetch.copy", c.at(target), "a7", number(placed.row_bytes), writes=(target,), near=c.is_near(op.weights[0]))
    if placed.format.name in ("f16", "bf16"):
        c.emit.op(f"vec.cvt.f32.{placed.format}", c.at(result), c.at(target), number(n), reads=(target,), writes=(result,))
    elif placed.format.name != "f32":                    # i8, a scale for each row or for each group of it, or one for all
        scales = n // placed.scale_group if placed.scale_group else 0
        row_of(c.weight(op.weights[0], "scales"), 4 * scales, "scales")
        with c.operand("vec", "a7", 4 * max(1, scales), of=op.weights[0]) as operand:
            c.emit.csr("vec.scale_group", placed.scale_group)
            c.emit.op("vec.dequant.i8", c.at(result), c.at(target), operand, number(n), reads=(target,), writes=(result,))


@lowers("append.f16")
def append_half(c: Lowering, op: Op) -> None:
    x, cache = op.inputs[0], op.outputs[0]
    c.emit.line(f"add a7, {BASE[c.memory.caches[cache].base]}, {KV_OFFSET}", f"row of this position in {cache}")
    c.emit.op("fetch.copy", "a7", c.at(x), number(2 * c.elements(x)), reads=(x,), writes=(cache,))


@lowers("append.i8")
def append_codes(c: Lowering, op: Op) -> None:
    """The codes are a row of the cache. The scale of each head goes behind that head's scales of earlier positions."""
    e, (codes, scales), (cache, cache_scales) = c.emit, op.inputs, op.outputs
    base, before = BASE[c.memory.caches[cache].base], c.memory.caches[cache].offset
    e.line(f"add a7, {base}, {KV_OFFSET}", f"row of this position in {cache}")
    if before:
        e.line(f"li a6, {before};  add a7, a7, a6")
    e.op("fetch.copy", "a7", c.at(codes), c.length(codes), reads=(codes,), writes=(cache,))
    for name, value in (("row_bytes", 4), ("src_stride", 0), ("dst_stride", 4 * c.memory.context)):
        e.csr(f"fetch.{name}", value)
    e.line(f"slli a7, {POSITION}, 2;  li a6, {c.memory.caches[cache_scales].offset};  add a7, a7, a6")
    e.line(f"add a7, a7, {base}", f"of the first head in {cache_scales}")
    e.op("fetch.copy2d", "a7", c.at(scales), c.length(scales), reads=(scales,), writes=(cache_scales,))
