"""What the LUT unit does: products of integer weights and int8 activations, with the scales of both."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial

from compiler.graph import Op
from compiler.lowering.chunks import load_table, unpack
from compiler.lowering.emit import Source, number
from compiler.lowering.lower import Lowering, lowers
from compiler.lowering.lut_parts import NIBBLES, in_parts, load, product
from compiler.lowering.tiles import Unpacked, rows_near


@lowers("gemv.i8", "gemv.i8.heads", *NIBBLES)
def gemv_i8(c: Lowering, op: Op) -> None:
    rows_i8(c, op, range(c.tensor(op.weights[0]).rows), op.outputs[0], c.results(op.outputs[0]))


def rows_i8(c: Lowering, op: Op, rows: range, result: str, to: Source) -> None:
    """The product with some rows of the matrix, to the value `result`, at `to`.

    In code for chunks the unit takes the vectors of several tokens: of all, if it holds them, before a loop over tiles.
    """
    (codes, scale), placed = op.inputs, c.tensor(op.weights[0])
    scales = c.weight(op.weights[0], "scales", rows.start * placed.row_scale_bytes), placed.row_scale_bytes
    nibbles = NIBBLES.get(op.kind, 0)
    most = 1 if in_parts(c.memory.machine, placed, nibbles) else c.vectors("lut", placed.shape[1], placed.role)
    whole = most >= c.tokens
    c.codebook(op.weights[0])
    row_bytes: int | Unpacked = placed.row_bytes
    if placed.chunks:
        load_table(c, op.weights[0])
        row_bytes = Unpacked(placed.row_bytes, partial(unpack, c, placed))
    c.emit.order("lut", op.inputs if c.chunk else (), (result,))
    with c.each(most) if whole else nullcontext(number(1)) as tokens:
        if whole:
            load(c, placed, codes, scale, tokens, nibbles=nibbles)
        most_rows = 0 if whole else rows_near(placed.row_bytes, placed.row_scale_bytes)
        first = c.weight(op.weights[0], plus=rows.start * placed.row_bytes)
        with (c.tiles("lut", first, len(rows), row_bytes, (to, 4), beside=[scales], result=result, most=most_rows) as tile,
              nullcontext(tokens) if whole else c.each(most) as tokens):
            if not whole:
                c.built = ""
                load(c, placed, codes, scale, tokens, nibbles=nibbles)
            product(c, tile, placed, (codes, scale), result, c.result(tile.to[0]), nibbles=nibbles)
