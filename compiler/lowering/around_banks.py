"""What units do before and after products in the banks: they pad activations to whole column commands and put parts together."""

from __future__ import annotations

from collections.abc import Iterable

from compiler.graph import Op
from compiler.lowering.emit import Source, number
from compiler.lowering.lower import Lowering, lowers
from compiler.placing.bank_placement import Banked, Placement


def scratch(placement: Placement) -> dict[str, int]:
    """Bytes of scratch that these operations need, by name."""
    def most(rows: Iterable[int], size: int) -> int:
        return size * max(rows, default=0)

    every = [m for _, m, _ in placement.matrices()]
    sizes = {"part_scales": most((m.shape[0] for m in every if m.format == "i8"), 4),
             "gathered": most((m.shape[0] for m in every if m.format == "f16" and m.height < m.banks.banks), 2),
             "other_tiles": most((m.shape[0] for m in every if m.format == "f16" and m.tiles > 1), 4)}
    return {name: size for name, size in sizes.items() if size}


@lowers("quantise.banks")
def quantise_banks(c: Lowering, op: Op) -> None:
    (codes, scale), x = op.outputs, op.inputs[0]
    _zeros_behind(c, codes, c.elements(x), c.elements(codes))
    c.emit.csr("vec.scale_group", 0)
    c.emit.op("vec.quant.i8", c.at(codes), c.at(x), c.at(scale), c.length(x), reads=(x,), writes=(codes, scale))


@lowers("round.banks")
def round_banks(c: Lowering, op: Op) -> None:
    result, x = op.outputs[0], op.inputs[0]
    _zeros_behind(c, result, 2 * c.elements(x), 2 * c.elements(result))
    c.emit.op("vec.cvt.f16.f32", c.at(result), c.at(x), c.length(x), reads=(x,), writes=(result,))


def _zeros_behind(c: Lowering, name: str, size: int, padded: int) -> None:
    """Zeros from the word in which `size` bytes end up to `padded`. The bytes themselves are written afterwards."""
    first = size // 4 * 4
    if first < padded:
        c.emit.op("vec.fill.32", c.at(name, first), "zero", number((padded - first) // 4), writes=(name,),
                  comment="padding")


@lowers("collect.i8")
def collect_i8(c: Lowering, op: Op) -> None:
    """Sums over the tiles; then products with both scales, computed as lut.gemv does."""
    e, y, (parts, scale), placed, banked = c.emit, op.outputs[0], op.inputs, c.tensor(op.weights[0]), c.banked(op.weights[0])
    for tile in range(1, banked.tiles):
        e.op("vec.add.i32", c.at(parts), c.at(parts), c.at(parts, 4 * tile * banked.places), number(banked.places),
             reads=(parts,), writes=(parts,))
    source = _gathered(c, banked, c.at(parts), parts, y, 4)
    scales = number(placed.scale_count)
    e.op("vec.fill.32", c.at("part_scales"), "zero", scales, writes=("part_scales",))
    e.csr("vec.cols", placed.scale_count)
    e.csr("vec.row_stride", 0)
    e.op("vec.macT.f32", c.at("part_scales"), c.weight(op.weights[0], "scales"), c.at(scale), number(1),
         reads=("part_scales", scale), writes=("part_scales",), comment="scales of the weights, times that of x")
    e.csr("vec.scale_group", 1 if placed.scale_group else 0)
    e.op("vec.dequant.i32", c.at(y), c.at(source), c.at("part_scales"), c.length(y),
         reads=(source, "part_scales"), writes=(y,))


@lowers("collect.f16")
def collect_f16(c: Lowering, op: Op) -> None:
    e, y, parts, banked = c.emit, op.outputs[0], op.inputs[0], c.banked(op.weights[0])
    for tile in range(banked.tiles):
        start = c.at(parts, 2 * tile * banked.places)
        source = _gathered(c, banked, start, parts, "gathered", 2)
        to = y if tile == 0 else "other_tiles"
        e.op("vec.cvt.f32.f16", c.at(to), start if source == parts else c.at(source), c.length(y),
             reads=(source,), writes=(to,))
        if tile:
            e.op("vec.add.f32", c.at(y), c.at(y), c.at(to), c.length(y), reads=(y, to), writes=(y,))


def _gathered(c: Lowering, banked: Banked, start: Source, parts: str, to: str, size: int) -> str:
    """The value in which a tile's parts lie without gaps: `parts`, or `to` if there are banks without a row between them."""
    if banked.height == banked.banks.banks or banked.slices == 1:
        return parts
    for name, value in (("row_bytes", size * banked.height), ("src_stride", size * banked.banks.banks), ("dst_stride", 0)):
        c.emit.csr(f"fetch.{name}", value)
    c.emit.op("fetch.copy2d", c.at(to), start, number(banked.slices), reads=(parts,), writes=(to,),
              comment="without the idle banks")
    return to
