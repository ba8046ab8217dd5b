"""What the sparse unit does: products with matrices that are stored without their zeros."""

from __future__ import annotations

from compiler.graph import Op
from compiler.lowering.emit import number
from compiler.lowering.lower import Lowering, lowers
from isa.sparse import NOfM
from isa.sparse.bm import Bitmask


@lowers("gemv.sparse", "gemv.i8.sparse")
def product(c: Lowering, op: Op) -> None:
    """In code for chunks one token after the other, as the unit holds one vector."""
    e, result, role, placed, inputs = c.emit, op.outputs[0], op.weights[0], c.tensor(op.weights[0]), op.inputs
    layout = placed.layout
    assert layout is not None, f"{role} is dense"
    with c.each():
        if (built := f"sp {inputs[0]}") != c.built or c.chunk:
            if len(inputs) == 2:
                e.csr("sp.scale_group", 0)
                e.op("sp.build.i8", *map(c.at, inputs), number(placed.shape[1]), reads=inputs)
            else:
                e.op("sp.build.f32", c.at(inputs[0]), number(placed.shape[1]), reads=inputs)
            c.built = built
        match layout:
            case NOfM(n, m):
                e.csr("sp.nm", n | m << 8)
            case Bitmask(block):
                e.csr("sp.block", block)
        e.csr("sp.meta", e.register(c.weight(role, "meta")))
        if placed.scale_count:
            e.csr("sp.scales", e.register(c.weight(role, "scales")))
            e.csr("sp.scale_group", placed.scale_group)
        e.op(f"sp.gemv.{layout.kind}.{placed.format}", c.at(result), c.weight(role), number(placed.rows), reads=inputs,
             writes=(result,))
