"""What several units do together: products with only the rows of active neurons, which the fetch unit gathers by a list.

`down` lies in memory column by column, so that a neuron is a row of it too. The length of the list is at `active_count`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager

from compiler.graph import Op
from compiler.lowering.emit import Want, number
from compiler.lowering.lower import Lowering, lowers
from compiler.lowering.lut_parts import load, product
from compiler.lowering.tiles import Tile, gathered
from compiler.placing.weights import Placed


def scratch(hidden: int, dim: int) -> dict[str, int]:
    """Bytes of scratch that these operations need, by name."""
    return {"active_mask": -(-hidden // 8), "compact": 4 * hidden, "sums": 4 * dim, "sum_scales": 4 * dim}


def neuron_bytes(body: Mapping[str, Placed], roles: Iterable[str]) -> int:
    """Bytes of a neuron in a layer: its rows of these roles with their scales; `down` lies by neuron, and has its own."""
    rows = [body[role] for role in roles]
    return sum(placed.row_bytes + placed.row_scale_bytes for placed in rows)


@lowers("active")
def active(c: Lowering, op: Op) -> None:
    """The positions of the elements above 0, and their number."""
    e, result, x = c.emit, op.outputs[0], op.inputs[0]
    e.op("thr.gt.f32", c.at("active_mask"), c.at(x), "zero", c.length(x), reads=(x,), writes=("active_mask",))
    e.op("thr.index", "a6", c.at("active_mask"), c.at(result), c.length(x), reads=("active_mask",), writes=(result,))
    _count(c)


@lowers("active.above", "active.over")
def active_above(c: Lowering, op: Op) -> None:
    """The positions of the elements whose magnitude is above the threshold, or they themselves (active.over), and their number. The
    sparsity selects the threshold."""
    e, result, x, placed = c.emit, op.outputs[0], op.inputs[0], c.tensor(op.weights[0])
    e.order("thr", (x,), ("active_mask",))
    with c.operand("thr", c.weight(op.weights[0]), placed.row_bytes) as table:
        e.csr("thr.levels", placed.shape[0] // 2)
        e.line("lw a7, ffn_sparsity")
        e.op("thr.select", "a6", table, "zero", "a7", comment="the threshold of this layer")
        above = "thr.gt.f32" if op.kind == "active.over" else "thr.absgt.f32"
        e.op(above, c.at("active_mask"), c.at(x), "a6", c.length(x), reads=(x,), writes=("active_mask",))
    e.op("thr.index", "a6", c.at("active_mask"), c.at(result), c.length(x), reads=("active_mask",), writes=(result,))
    _count(c)


def _count(c: Lowering) -> None:
    """The list's length is in a6: store it for the operations, and add it to the counts for reports."""
    e = c.emit
    e.line("sd a6, active_count, a7")
    e.recounted()
    with e.taken(1) as (total,):
        e.line(f"la a7, neuron_counts + {16 * c.body}")
        e.line(f"ld {total}, 0(a7)", "active neurons so far")
        e.line(f"add {total}, {total}, a6;  sd {total}, 0(a7)")
        e.line(f"ld {total}, 8(a7)", "layers so far")
        e.line(f"addi {total}, {total}, 1;  sd {total}, 8(a7)")


def _rows(c: Lowering, op: Op, unit: str, *to: tuple[str, int], scales: bool = False,
          most: int = 0) -> AbstractContextManager[Tile]:
    """The active rows of an operation's matrix, tile by tile, at most `most` in one; 0: as many as a buffer holds.

    to   names of values with an element for each row, and its size
    """
    placed = c.tensor(op.weights[0])
    c.emit.order("fetch", ("active",), ())
    return gathered(c, unit, c.weight(op.weights[0]), placed.rows, placed.row_bytes, [(c.at(name), size) for name, size in to],
                    (c.weight(op.weights[0], "scales"), placed.row_scale_bytes) if scales else None, most)


def count(c: Lowering) -> Want:
    """The length of the list, as an operand."""
    return Want("count", "active_count", most=c.elements("active"))


def elements(c: Lowering, mnemonic: str, target: str, source: str | Want, size: int, rows: int = 0) -> None:
    """Gather or scatter elements of `size` bytes by the list. `source`: a value, or the address of a weight. `rows`: of the table,
    where those that the list does not name are to be counted."""
    e = c.emit
    for name, value in (("row_bytes", size), ("src_stride", 0), ("dst_stride", 0), ("table_rows", rows)):
        e.csr(f"fetch.{name}", value)
    at, reads = (c.at(source), (source, "active")) if isinstance(source, str) else (source, ("active",))
    e.line("ld a6, active_count")
    with e.profile.known("a6", c.elements("active"), exact=False):
        e.op(mnemonic, c.at(target), at, c.at("active"), "a6", reads=reads, writes=(target,))


@lowers("gemv.active")
def gemv_active(c: Lowering, op: Op) -> None:
    e, result, x, placed = c.emit, op.outputs[0], op.inputs[0], c.tensor(op.weights[0])
    e.op("vec.fill.32", c.at(result), "zero", c.length(result), writes=(result,), comment="0 where a neuron is not active")
    e.order("vec", (x,), ("compact",))
    with _rows(c, op, "vec", ("compact", 4)) as tile:
        e.csr("vec.cols", placed.shape[1])
        e.csr("vec.row_stride", 0)
        e.op(f"vec.gemv.{placed.format}", tile.to[0], tile.at, c.at(x), tile.rows, reads=(x,), writes=("compact",))
    elements(c, "fetch.scatter", result, "compact", 4)


@lowers("gemv.i8.active")
def gemv_i8_active(c: Lowering, op: Op) -> None:
    e, result, (codes, scale, _), placed = c.emit, op.outputs[0], op.inputs, c.tensor(op.weights[0])
    e.op("vec.fill.32", c.at(result), "zero", c.length(result), writes=(result,), comment="0 where a neuron is not active")
    load(c, placed, codes, scale)
    c.codebook(op.weights[0])
    e.order("lut", (), ("compact",))
    with _rows(c, op, "lut", ("compact", 4), scales=True) as tile:
        product(c, tile, placed, (codes, scale), "compact", tile.to[0])
    elements(c, "fetch.scatter", result, "compact", 4)


@lowers("macT.active")
def mac_t_active(c: Lowering, op: Op) -> None:
    e, result, h, placed = c.emit, op.outputs[0], op.inputs[0], c.tensor(op.weights[0])
    e.op("vec.fill.32", c.at(result), "zero", c.length(result), writes=(result,), comment="sums start at 0")
    elements(c, "fetch.rows", "compact", h, 4)
    e.order("vec", ("compact",), (result,))
    with _rows(c, op, "vec", ("compact", 4)) as tile:
        e.csr("vec.cols", placed.shape[1])
        e.csr("vec.row_stride", 0)
        e.op(f"vec.macT.{placed.format}", c.at(result), tile.at, tile.to[0], tile.rows,
             reads=("compact", result), writes=(result,))


@lowers("macT.i8.active")
def mac_t_i8_active(c: Lowering, op: Op) -> None:
    """Integer sums over the tiles; then products with both scales, computed as lut.gemv does."""
    e, result, (codes, scale, _), placed = c.emit, op.outputs[0], op.inputs, c.tensor(op.weights[0])
    dim = placed.shape[1]
    e.op("vec.fill.32", c.at("sums"), "zero", number(dim), writes=("sums",), comment="sums start at 0")
    elements(c, "fetch.rows", "compact", codes, 1)
    e.order("lut", ("compact", scale, "sums"), ("sums",))
    c.built = ""
    c.codebook(op.weights[0])
    with _rows(c, op, "lut", ("compact", 1), most=c.memory.machine.parameter("lut.activations")) as tile:
        e.csr("lut.scale_group", 0)
        e.csr("lut.shift", 0)
        e.op("lut.build.i8", tile.to[0], c.at(scale), tile.rows, reads=("compact", scale))
        e.op(f"lut.macT.{placed.format}", c.at("sums"), tile.at, number(dim), reads=("sums",), writes=("sums",))
    down_scaled(c, op, result, scale)


def down_scaled(c: Lowering, op: Op, result: str, scale: str) -> None:
    """The integer sums of `down` at `sums`, times the scales of its weights and of the activations."""
    e, placed = c.emit, c.tensor(op.weights[0])
    dim = placed.shape[1]
    e.fence()
    e.line(f"lw a7, 0({e.register(c.at(scale))})", "the activations' scale")
    scales = number(dim if placed.scale_group else 1)
    with c.operand("vec", c.weight(op.weights[0], "scales"), 4 * placed.scale_count) as weights:
        e.op("vec.scale.f32", c.at("sum_scales"), weights, "a7", scales, writes=("sum_scales",))
    e.csr("vec.scale_group", 1 if placed.scale_group else 0)
    e.op("vec.dequant.i32", c.at(result), c.at("sums"), c.at("sum_scales"), number(dim),
         reads=("sums", "sum_scales"), writes=(result,))
