"""What the LUT unit does: products of integer weights and int8 activations, with the scales of both."""

from __future__ import annotations

from compiler.graph import Op
from compiler.lowering.lower import Lowering, lowers


@lowers("gemv.i8")
def gemv_i8(c: Lowering, op: Op) -> None:
    result, (codes, scale), placed = op.outputs[0], op.inputs, c.tensor(op.weights[0])
    if not c.chunk:
        c.build(codes, scale, placed.shape[1])
    c.codebook(op.weights[0])
    c.emit.order("lut", op.inputs if c.chunk else (), (result,))
    scales = c.weight(op.weights[0], "scales"), placed.row_scale_bytes
    with (c.tiles("lut", c.weight(op.weights[0]), placed.rows, placed.row_bytes, (c.results(result), 4), scales=scales,
                  result=result, again=c.chunk) as tile, c.each()):
        if c.chunk:
            c.built = ""
            c.build(codes, scale, placed.shape[1])
        c.emit.csr("lut.scale_group", placed.scale_group)
        c.emit.op(f"lut.gemv.{placed.format}", c.result(tile.to[0]), tile.at, tile.scales, tile.rows, writes=(result,))
