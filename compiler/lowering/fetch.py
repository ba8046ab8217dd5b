"""What the fetch unit does: the row of an embedding."""

from __future__ import annotations

from compiler.emit import POSITION, TOKEN, Want, number
from compiler.graph import Op
from compiler.lowering import Lowering, lowers


@lowers("embedding")
def embedding(c: Lowering, op: Op) -> None:
    """Row index + offset of a table, fetched and converted to fp32."""
    result, placed = op.outputs[0], c.tensor(op.weights[0])
    index = TOKEN if op.inputs[0] == "token" else POSITION
    n, shift = placed.shape[1], int(op.attributes["offset"])

    def row_of(table: Want, row_bytes: int, what: str) -> None:
        """a7 = table + (index + shift) * row_bytes."""
        c.emit.line(f"addi a7, {index}, {shift}" if shift else f"mv a7, {index}")
        c.emit.line(f"li a6, {row_bytes}")
        c.emit.line("mul a7, a7, a6")
        c.emit.line(f"add a7, a7, {c.emit.register(table)}", f"{what} of {op.weights[0]}")

    target = result if placed.format == "f32" else "embedded_row"
    row_of(c.weight(op.weights[0]), placed.row_bytes, "row")
    c.emit.op("fetch.copy", c.at(target), "a7", number(placed.row_bytes), writes=(target,))
    if placed.format in ("f16", "bf16"):
        c.emit.op(f"vec.cvt.f32.{placed.format}", c.at(result), c.at(target), number(n), reads=(target,), writes=(result,))
    elif placed.format != "f32":                    # i8, a scale for each row or for each group of it, or one for all
        scales = n // placed.scale_group if placed.scale_group else 0
        row_of(c.weight(op.weights[0], scales=True), 4 * scales, "scales")
        with c.operand("vec", "a7", 4 * max(1, scales)) as operand:
            c.emit.csr("vec.scale_group", placed.scale_group)
            c.emit.op("vec.dequant.i8", c.at(result), c.at(target), operand, number(n), reads=(target,), writes=(result,))
