"""What several units do together: products with matrices that are stored as centres and differences.

    sums[p, c] = piece p of x times centre c            lut.mac of one vector for each piece, all at once
    acc[i] = sums of the centres of row i's pieces      lut.reuse
    acc[i] += differences of row i times x              lut.mac, in buffer mode for rows with many zeros, in mixed mode for others
    result, in the order of the matrix                  vec.dequant.i32 with both scales, fetch.scatter
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from compiler.formats.reuse import BUFFER, CENTRES, LUT, MIXED
from compiler.graph import Op
from compiler.lowering.emit import Source, Want, bits, number
from compiler.lowering.lower import Lowering, lowers
from compiler.lowering.tiles import Tile, rows_near
from compiler.placing.reused import Reused
from compiler.placing.weights import Placed


def scratch(matrices: Iterable[Placed]) -> dict[str, int]:
    """Bytes of what these operations need beside values, by name."""
    sizes: dict[str, int] = {}
    for placed in matrices:
        reused = _of(placed)
        for name, size in (("row_sums", 4 * placed.rows), ("row_scales", 4 * (placed.rows if placed.scale_group else 1)),
                           ("piece_scales", 4 * reused.pieces),
                           ("whole_pieces", reused.pieces * reused.columns * bool(placed.shape[1] % reused.columns))):
            sizes[name] = max(sizes.get(name, 0), size)
    return {name: size for name, size in sizes.items() if size}


def _of(placed: Placed) -> Reused:
    assert placed.reused, f"{placed.role} has no centres"
    return placed.reused


@lowers("centre.sums")
def centre_sums(c: Lowering, op: Op) -> None:
    """The pieces of the activations are loaded as vectors, so that one product makes the sums of all."""
    e, codes, result, role = c.emit, op.inputs[0], op.outputs[0], op.weights[0]
    placed = c.tensor(role)
    reused, cols = _of(placed), placed.shape[1]
    source = codes
    if short := cols % reused.columns:
        source, whole = "whole_pieces", cols - short
        e.op("vec.fill.32", c.at(source, whole), "zero", number(reused.columns // 4), writes=(source,),
             comment="zeros behind the last activation")
        e.op("fetch.copy", c.at(source), c.at(codes), number(cols), reads=(codes,), writes=(source,))
    e.op("vec.fill.32", c.at("piece_scales"), bits(1.0), number(reused.pieces), writes=("piece_scales",))
    e.op("vec.fill.32", c.at(result), "zero", number(reused.pieces * CENTRES), writes=(result,))
    if c.chunk:
        for name in _STRIDES:
            e.line(f"csrw {name}, zero")
    e.csr("lut.scale_group", 0)
    e.csr("lut.vectors", reused.pieces)
    e.op("lut.build.i8", c.at(source), c.at("piece_scales"), number(reused.columns), reads=(source, "piece_scales"),
         comment="each piece is a vector")
    with c.operand("lut", c.weight(role, "centres"), reused.centres_bytes) as centres:
        e.csr("lut.row_stride", 0)
        e.csr("lut.shift", 0)
        e.op(f"lut.mac.{reused.reuse.centres}", c.at(result), centres, number(CENTRES), reads=(result,), writes=(result,))
    e.csr("lut.vectors", 0)
    if c.chunk:
        e.line(f"li a6, {c.memory.frame_bytes}")
        for name in _STRIDES:
            e.line(f"csrw {name}, a6")
    c.built = ""


_STRIDES = ("lut.codes_stride", "lut.scale_stride", "lut.result_stride")        # code for chunks has set those of frames


@lowers("gemv.i8.reuse")
def product(c: Lowering, op: Op) -> None:
    """Rows in buffer mode, then those in mixed mode. In code for chunks each tile is for one token after the other."""
    e, (codes, scale, sums), result, role = c.emit, op.inputs, op.outputs[0], op.weights[0]
    placed = c.tensor(role)
    reused = _of(placed)
    e.order("lut", op.inputs if c.chunk else (), (result,))
    if not c.chunk:
        c.build(codes, scale, placed.shape[1])
    for first, last, mode in ((0, reused.buffered, BUFFER), (reused.buffered, placed.rows, MIXED)):
        if first == last:
            continue
        beside = [(_plus(c.weight(role, part), first * size), size) for part, size in (
            ("assigned", reused.pieces), ("scales", placed.row_scale_bytes))]
        most = rows_near(placed.row_bytes, reused.pieces, placed.row_scale_bytes) if c.chunk else 0
        with (c.tiles("lut", _plus(c.weight(role), first * placed.row_bytes), last - first, placed.row_bytes,
                      (_plus(c.results(result), 4 * first), 4), beside=beside, most=most) as tile, c.each()):
            if c.chunk:
                c.built = ""
                c.build(codes, scale, placed.shape[1])
            _rows(c, tile, placed, mode, (scale, sums, result))


def _rows(c: Lowering, tile: Tile, placed: Placed, mode: int, names: tuple[str, str, str]) -> None:
    """The rows of a tile, for one token."""
    e, reused, (scale, sums, result) = c.emit, _of(placed), names
    assigned, scales = tile.beside
    acc, factors = c.at("row_sums"), c.at("row_scales")
    e.op("vec.fill.32", acc, "zero", tile.rows, writes=("row_sums",))
    e.csr("lut.pieces", reused.pieces)
    e.csr("lut.centres", CENTRES)
    e.op("lut.reuse.u8", acc, c.at(sums), assigned, tile.rows, reads=("row_sums", sums), writes=("row_sums",))
    for name, value in (("row_stride", 0), ("shift", reused.reuse.shift), ("mode", mode)):
        e.csr(f"lut.{name}", value)
    e.op(f"lut.mac.{placed.format}", acc, tile.at, tile.rows, reads=("row_sums",), writes=("row_sums",))
    e.csr("lut.mode", LUT)
    e.csr("lut.shift", 0)
    e.wait("vec", "lut")                        # the sums, and scales that were fetched before them
    count = tile.rows if placed.scale_group else number(1)
    e.op("vec.fill.32", factors, "zero", count, writes=("row_scales",))
    e.csr("vec.row_stride", 0)
    e.csr("vec.cols", count if isinstance(count, str) else int(count.value))
    e.op("vec.macT.f32", factors, scales, c.at(scale), number(1), reads=("row_scales", scale), writes=("row_scales",),
         comment="scales of the weights, times that of the activations")
    e.csr("vec.scale_group", 1 if placed.scale_group else 0)
    e.op("vec.dequant.i32", c.result(tile.to[0]), acc, factors, tile.rows, reads=("row_sums", "row_scales"), writes=(result,))
    e.wait("lut", "vec")                        # until then the tile is in use


@lowers("place")
def place(c: Lowering, op: Op) -> None:
    e, x, result, role = c.emit, op.inputs[0], op.outputs[0], op.weights[0]
    for name, value in (("row_bytes", 4), ("src_stride", 0), ("dst_stride", 0), ("table_rows", 0)):
        e.csr(f"fetch.{name}", value)
    e.op("fetch.scatter", c.at(result), c.at(x), c.weight(role, "order"), number(c.tensor(role).rows), reads=(x,), writes=(result,))


def _plus(address: Source, size: int) -> Source:
    """An address so many bytes further."""
    if not size:
        return address
    assert isinstance(address, Want), "an address in a register"
    value = address.value + size if isinstance(address.value, int) else f"{address.value} + {size}"
    return replace(address, value=value)
