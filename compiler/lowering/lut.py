"""What the LUT unit does: products of integer weights and int8 activations, with the scales of both."""

from __future__ import annotations

from compiler.emit import number
from compiler.graph import Op
from compiler.lowering import Lowering, lowers


@lowers("gemv.i8")
def gemv_i8(c: Lowering, op: Op) -> None:
    """The activations are loaded once for all matrices that read them one after the other."""
    result, (codes, scale), placed = op.outputs[0], op.inputs, c.tensor(op.weights[0])
    if c.built != codes:
        c.emit.csr("lut.scale_group", 0)
        c.emit.op("lut.build.i8", c.at(codes), c.at(scale), c.length(codes), reads=c.slots(codes, scale))
        c.built = codes
    c.emit.csr("lut.scale_group", placed.scale_group)
    c.emit.op(f"lut.gemv.{placed.format}", c.at(result), c.weight(op.weights[0]), c.weight(op.weights[0], scales=True),
              number(placed.shape[0]), writes=c.slots(result))
