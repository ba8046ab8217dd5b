"""Products of matrices with more columns than the LUT unit holds activations: part after part of the columns. And those of bipolar
weights, for which there is no lut.gemv: bit plane after bit plane of the weights. And those that are asked for with activations in
parts of four bits, as tables of four bits take them: the lower ones, 0..15, then the uppermost, -8..7, each shifted by its place.

    for each group of columns with a scale:  sums = 0;  for each part of it: load its activations, or four bits of them, add its
                                             products (lut.mac, or lut.xnor of each plane, shifted by its place)
    sums of the groups side by side, to fp32, times the scales of weights and activations;  summed in 16 lanes (vec.gemv by 1.0)

Integer sums are exact, and what is rounded is rounded in the order of lut.gemv: the result has the same bits.
"""

from __future__ import annotations

from collections.abc import Iterable

from compiler.errors import ModelError
from compiler.formats.weight_format import WeightFormat
from compiler.graph import Op
from compiler.graph.execute import LEAST_OF_16
from compiler.lowering.emit import Source, bits, number
from compiler.lowering.lower import ONE, Lowering, lowers
from compiler.lowering.tiles import Tile
from compiler.placing.memory_plan import BYTES
from compiler.placing.weights import Placed
from isa.preset import Preset
from isa.regions import SRAM

NIBBLES = {"gemv.i8.parts": 2, "gemv.i16.parts": 4}     # kinds that take activations in parts of four bits: how many
RANGE = "activation_range"   # two fp32 numbers: a limit, then what activations of 16 bits are multiplied by
SHARE = 1 / 16              # of the scratchpad, at most, for the sums of the rows that are worked on at once


def in_parts(machine: Preset, placed: Placed, nibbles: int = 0) -> bool:
    """Whether a matrix is multiplied by several operations: it has more columns than the tables of a machine hold activations, or
    bit planes, or is multiplied by four bits of the activations at a time, so many times (`nibbles`)."""
    return nibbles > 0 or placed.format.planes > 0 or placed.shape[1] > machine.parameter("lut.activations")


def _per_byte(form: WeightFormat) -> int:
    """Columns in a byte of a row, of a plane of it; 0 where a column lies in several bytes."""
    fields = form.packing.fields
    return 5 if form.name == "t5" else 8 // fields[0] if len(fields) == 1 or form.planes else 0


def parts(machine: Preset, placed: Placed) -> list[list[range]]:
    """The columns of each part, for each group of columns with a scale. A part begins with a byte of a row.

    Raises ModelError for a matrix that cannot be cut in this way.
    """
    tables, cols, form = machine.parameter("lut.activations"), placed.shape[1], placed.format
    group, step = placed.scale_group or cols, _per_byte(form)
    if cols <= tables and group == cols:
        return [[range(cols)]]
    width = tables // step * step if step else 0
    if not width or (group < cols and group % step):
        why = f"a scale for {group} columns, {step} in a byte" if step else "with the bits of a column in two bytes"
        raise ModelError("", f"machine {machine.name}", got=f"{placed.role} in {placed.stored} has {cols:,} columns, {why}",
                         expected=f"at most the {tables:,} activations that its tables hold (lut.activations), or parts of so many "
                                  "that begin with a byte",
                         hint="--weights t2 can be cut" if tables >= 4 else
                         "floating-point weights need no tables: --weights f16 --activations f32")
    return [[range(at, min(at + width, first + group)) for at in range(first, first + group, width)]
            for first in range(0, cols, group)]


def scratch(machine: Preset, matrices: Iterable[Placed], nibbles: int = 0) -> dict[str, int]:
    """Bytes of scratch for the products of these matrices, by name. nibbles: parts of four bits of the activations."""
    sizes: dict[str, int] = {}
    for placed in matrices:
        if in_parts(machine, placed, nibbles):
            groups, rows = len(parts(machine, placed)), _at_once(machine, placed)
            for name, size in (("part_sums", rows), ("group_sums", rows * groups * (groups > 1)), ("group_scales", rows * groups),
                               ("group_ones", groups), ("activation_bits", (placed.shape[1] + 3) // 4 * (nibbles > 0))):
                sizes[name] = max(sizes.get(name, 0), 4 * size)
    wide = {RANGE: 8} if nibbles == NIBBLES["gemv.i16.parts"] and sizes else {}
    return {name: size for name, size in sizes.items() if size or name != "activation_bits"} | wide


def _at_once(machine: Preset, placed: Placed) -> int:
    """Rows whose sums are in the scratchpad at a time."""
    groups = len(parts(machine, placed))
    return min(placed.rows, max(1, int(machine.region(SRAM).size * SHARE) // (4 + 8 * groups)))


def load(c: Lowering, placed: Placed, codes: str, scale: str, tokens: Source = ONE, *, nibbles: int = 0) -> None:
    """Load the activations of a matrix, those of so many tokens, into the LUT unit, if it holds all of a token at once."""
    if not in_parts(c.memory.machine, placed, nibbles):
        c.build(codes, scale, placed.shape[1], tokens)


def product(c: Lowering, tile: Tile, placed: Placed, activations: tuple[str, str], result: str, to: Source, *,
            nibbles: int = 0) -> None:
    """The rows of a tile times activations (codes, their scale): at `to`, in `result`, an element for each row. nibbles: parts of
    four bits of the activations; 0: they are taken whole."""
    if in_parts(c.memory.machine, placed, nibbles):
        _in_parts(c, tile, placed, activations, result, to, nibbles)
        return
    c.emit.csr("lut.scale_group", placed.scale_group)
    c.emit.op(f"lut.gemv.{placed.format}", to, tile.at, tile.scales, tile.rows, writes=(result,))


def _load_part(c: Lowering, part: range, activations: tuple[str, str], nibble: int, nibbles: int) -> None:
    """Load the activations of some columns, or four bits of each."""
    e, (codes, scale), comment = c.emit, activations, f"columns {part.start:,} to {part.stop - 1:,}"
    source = codes
    at = c.at(codes, part.start * BYTES[c.graph.values[codes].format])
    if nibbles:
        source, comment = "activation_bits", f"{comment}, bits {4 * nibble} to {4 * nibble + 3}"
        e.op(f"lut.part.i{4 * nibbles}", c.at(source), at, number(nibble), number(len(part)), reads=(codes,), writes=(source,))
        e.csr("lut.shift", 4 * nibble)
        at = c.at(source)
    e.op("lut.build.i8", at, c.at(scale), number(len(part)), reads=(source, scale), comment=comment)


def _in_parts(c: Lowering, tile: Tile, placed: Placed, activations: tuple[str, str], result: str, first: Source,
              nibbles: int) -> None:
    e, machine = c.emit, c.memory.machine
    groups, most = parts(machine, placed), _at_once(machine, placed)
    per_byte, count, planes = _per_byte(placed.format) or 1, len(groups), placed.format.planes      # 1: there is one part
    plane_bytes = placed.row_bytes // max(planes, 1)
    side_by_side = "part_sums" if count == 1 else "group_sums"
    sums, group_sums, factors, ones = map(c.at, ("part_sums", side_by_side, "group_scales", "group_ones"))
    c.built, scale = "", activations[1]
    e.op("vec.fill.32", ones, bits(1.0), number(count), writes=("group_ones",))
    with e.taken(5) as (at, scales, to, left, here):
        for register, start in ((to, first), (at, tile.at), (scales, tile.scales), (left, tile.rows)):
            e.move(register, start)
        for name, value in (("lut.scale_group", 0), *[("lut.shift", 0)] * (not nibbles), ("lut.row_stride", placed.row_bytes),
                            ("fetch.row_bytes", 4), ("fetch.src_stride", 0), ("fetch.dst_stride", 4 * count)):
            e.csr(name, value)
        name = c.name("parts")
        e.label(name)
        e.line(f"bnez {left}, 1f;  j {name}_end")
        e.mark("1")
        e.at_most(here, most, left, "rows whose sums are made at once")
        e.profile.csr("fetch.row_bytes", 4)         # still
        rows = tile.rows if isinstance(tile.rows, str) else int(tile.rows.value)
        with e.profile.tiles(here, rows, most, {"a7": (count, here)}):
            for number_of, group in enumerate(groups):
                if count > 1:
                    e.wait("vec", "fetch")              # the sums before are copied
                e.op("vec.fill.32", sums, "zero", here, writes=("part_sums",))
                e.wait("lut", "vec")
                for part, nibble in ((part, nibble) for part in group for nibble in range(nibbles or 1)):
                    _load_part(c, part, activations, nibble, nibbles)
                    for plane in range(planes or 1):
                        if planes:
                            e.csr("lut.shift", plane)
                        e.line(f"li a7, {part.start // per_byte + plane * plane_bytes};  add a7, a7, {at}")
                        e.op("lut.xnor" if planes else f"lut.mac.{placed.format}", sums, "a7", here,
                             reads=("part_sums",), writes=("part_sums",))
                if count > 1:
                    e.wait("fetch", "lut")
                    e.op("fetch.copy2d", c.at("group_sums", 4 * number_of), sums, here,
                         reads=("part_sums",), writes=("group_sums",))
            e.wait("vec", "fetch" if count > 1 else "lut")
            e.line(f"li a6, {count};  mul a7, {here}, a6", "groups of these rows")
            scaled = "a7" if placed.scale_group else number(1)
            e.op("vec.fill.32", factors, "zero", scaled, writes=("group_scales",))
            e.csr("vec.row_stride", 0)
            e.csr("vec.cols", "a7" if placed.scale_group else 1)
            e.op("vec.macT.f32", factors, scales, c.at(scale), number(1), reads=("group_scales", scale), writes=("group_scales",),
                 comment="scales of the weights, times that of the activations")
            e.csr("vec.scale_group", 1 if placed.scale_group else 0)
            e.op("vec.dequant.i32", group_sums, group_sums, factors, "a7", reads=(side_by_side, "group_scales"),
                 writes=(side_by_side,))
            e.csr("vec.cols", count)
            e.op("vec.gemv.f32", to, group_sums, ones, here, reads=(side_by_side, "group_ones"), writes=(result,))
        e.wait("lut", "vec")                        # for the scales, and these rows' sums
        for register, size in ((at, placed.row_bytes), (scales, placed.row_scale_bytes), (to, 4)):
            if size:
                e.advance_rows(register, here, size)
        e.line(f"sub {left}, {left}, {here};  j {name}")
        e.label(f"{name}_end")
        e.csr("lut.row_stride", 0)


@lowers("quantise.i16")
def quantise_16(c: Lowering, op: Op) -> None:
    """Activations as integers of 16 bits, one scale for the vector. There is no instruction for it: the scale is a vector of one
    element, and `vec.macT` of one row multiplies all activations by one number of memory."""
    e, (codes, scale), x, one = c.emit, op.outputs, op.inputs[0], number(1)
    limit, factor = c.at(RANGE), c.at(RANGE, 4)
    e.op("vec.absmax.f32", "a6", c.at(x), c.length(x), reads=(x,))
    e.op("vec.fill.32", c.at(scale), "a6", one, writes=(scale,))
    e.op("vec.fill.32", limit, bits(float(LEAST_OF_16)), one, writes=(RANGE,))
    e.op("vec.maximum.f32", c.at(scale), c.at(scale), limit, one, reads=(scale, RANGE), writes=(scale,))
    e.op("vec.fill.32", limit, bits(32767.0), one, writes=(RANGE,))
    e.op("vec.div.f32", factor, limit, c.at(scale), one, reads=(scale, RANGE), writes=(RANGE,))
    e.op("vec.fill.32", c.at(codes), "zero", c.length(x), writes=(codes,))
    e.csr("vec.cols", c.elements(x))
    e.csr("vec.row_stride", 0)
    e.op("vec.macT.f32", c.at(codes), c.at(x), factor, one, reads=(x, codes, RANGE), writes=(codes,))
    e.op("vec.cvt.i32.f32", c.at(codes), c.at(codes), c.length(x), reads=(codes,), writes=(codes,))
    e.op("vec.div.f32", c.at(scale), c.at(scale), limit, one, reads=(scale, RANGE), writes=(scale,))
