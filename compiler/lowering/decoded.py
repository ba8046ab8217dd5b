"""What several units do together: products of integer weights and fp32 activations, for which codes are decoded.

    rows to fp32 in the scratchpad:  i8 by vec.dequant.i8, others by lut.decode with a table of what their codes stand for
    vec.gemv.f32 of these rows;      then the next ones

The stored bytes are those of the integer format. lut.decode reads integers of N bits as codebook indices of N bits: both lie in
bytes in the same way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from compiler.errors import ModelError, one_of
from compiler.formats.weight_format import WEIGHT_FORMATS, WeightFormat
from compiler.graph import Graph, Op
from compiler.lowering.emit import Want, bits, number
from compiler.lowering.lower import Lowering, lowers
from compiler.placing.weights import Placed, WeightLayout
from isa.preset import Preset, presets_with
from isa.regions import SRAM

ELEMENTS = 8192             # that are decoded at once, or a row if that is longer; they take SHARE of the scratchpad at most
SHARE = 1 / 16


def check_decoded(machine: Preset, placed: Placed) -> None:
    """Raise ModelError for a matrix that no unit of a machine decodes."""
    form = placed.format
    if not _is_decoded(form):
        raise ModelError("", "--activations f32", got=f"{placed.role} in {form}, which no unit decodes",
                         expected=f"weights in {one_of(form.name for form in WEIGHT_FORMATS.values() if _is_decoded(form))}",
                         hint="t2 holds the same codes" if form.levels == WEIGHT_FORMATS["t2"].levels else "or --activations i8")
    if form.as_indices and not machine.has_unit("lut"):
        raise ModelError("", "--activations f32", got=f"{placed.role} in {form} on machine {machine.name}, which has no lut unit",
                         expected="a machine whose lut unit decodes it, or i8, which the vec unit decodes",
                         hint=presets_with(("lut",)))


def _is_decoded(form: WeightFormat) -> bool:
    """Whether a unit decodes a format: vec.dequant.i8 the one, lut.decode those that lie in bytes as indices do."""
    return form.name == "i8" or form.as_indices is not None


def matrices(graph: Graph, layout: WeightLayout, kinds: Collection[str] = ("gemv.decoded",)) -> list[Placed]:
    """The matrices that are decoded, or of operations of other kinds; those of layers once for each body of the graph."""
    tied = {"head": "embedding"} if graph.config.tied else {}
    groups = [(layout.once, [*graph.start, *graph.finish]),
              *((tensors, body.ops) for tensors, body in zip(layout.bodies, graph.bodies, strict=True))]
    return [placed[tied.get(role, role)] for placed, ops in groups for op in ops if op.kind in kinds
            for role in (op.weights[0].removeprefix("layer."),)]


def tables(decoded: Iterable[Placed]) -> dict[str, list[int]]:
    """Tables of the values that codes stand for, by name: one for each format of these matrices that has no codebook."""
    forms = {placed.format.name: (placed.format, placed.format.as_indices) for placed in decoded if not placed.format.book}
    return {f"values_{name}": form.packing.unpack(index.packing.pack([range(index.book)]), index.book)[0].tolist()
            for name, (form, index) in sorted(forms.items()) if index}


def scratch(machine: Preset, decoded: Iterable[Placed]) -> dict[str, int]:
    """Bytes of what these operations need beside values, by name."""
    sizes = [4 * _at_once(machine, placed) * placed.shape[1] for placed in decoded]
    return {"decoded": max(sizes), "code_values": 64, "unit_scale": 4} if sizes else {}


def _at_once(machine: Preset, placed: Placed) -> int:
    """Rows that are decoded by one instruction: several where the codes of one end with a byte."""
    rows, cols = placed.shape
    elements = min(ELEMENTS, int(machine.region(SRAM).size * SHARE) // 4)
    fields = placed.format.packing.fields
    whole = len(fields) == 1 and cols * fields[0] % 8 == 0
    return min(rows, max(1, elements // cols)) if whole else 1


@lowers("gemv.decoded")
def gemv_decoded(c: Lowering, op: Op) -> None:
    e, result, x, placed = c.emit, op.outputs[0], op.inputs[0], c.tensor(op.weights[0])
    cols, most, index = placed.shape[1], _at_once(c.memory.machine, placed), placed.format.as_indices
    unit = "lut" if index else "vec"
    if index:
        _load_values(c, op.weights[0], index.book)
    e.order(unit, (), ("decoded",))
    e.order("vec", (x,), (result,))
    with (c.tiles(unit, c.weight(op.weights[0]), placed.rows, placed.row_bytes, (c.results(result), 4),
                  beside=[(c.weight(op.weights[0], "scales"), placed.row_scale_bytes)], result=result) as tile,
          e.taken(5) as (at, scales, to, left, here)):
        for register, start in ((at, tile.at), (scales, tile.scales), (to, tile.to[0]), (left, tile.rows)):
            e.move(register, start)
        e.csr(f"{unit}.scale_group", placed.scale_group)
        e.csr("vec.cols", cols)
        e.csr("vec.row_stride", 0)
        e.forget(csrs=False)
        name = c.name("decoded")
        e.mark(name)
        e.at_most(here, most, left, "rows that are decoded at once")
        e.line(f"li a6, {cols};  mul a7, {here}, a6")
        rows = tile.rows if isinstance(tile.rows, str) else placed.rows
        with e.profile.tiles(here, rows, most, {"a7": (cols, here)}):
            if index:
                e.wait("lut", "vec")                    # for what the rows before are still needed
                e.op(f"lut.decode.{index}", c.at("decoded"), at, scales, "a7", writes=("decoded",))
            else:
                e.op("vec.dequant.i8", c.at("decoded"), at, scales, "a7", writes=("decoded",))
            with c.each():
                e.csr("vec.cols", cols)
                e.csr("vec.row_stride", 0)
                e.op("vec.gemv.f32", c.result(to), c.at("decoded"), c.at(x), here, reads=("decoded", x), writes=(result,))
        for register, size in ((at, placed.row_bytes), (scales, placed.row_scale_bytes), (to, 4)):
            if size:
                e.advance_rows(register, here, size)
        e.line(f"sub {left}, {left}, {here};  bnez {left}, {name}")


def _load_values(c: Lowering, role: str, size: int) -> None:
    """Tell the LUT unit what the codes of a matrix stand for, in fp32."""
    e, placed = c.emit, c.tensor(role)
    if not placed.format.book:
        values = Want("symbol", f"values_{placed.format}", near=c.memory.residency.variables)
        with c.operand("lut", values, 4 * size) as table:
            e.op("lut.codebook.f32", table, number(size))
        return
    e.op("vec.fill.32", c.at("unit_scale"), bits(1.0), number(1), writes=("unit_scale",))
    with c.operand("vec", c.weight(role, "codebook"), size) as codes:
        e.csr("vec.scale_group", 0)
        e.op("vec.dequant.i8", c.at("code_values"), codes, c.at("unit_scale"), number(size),
             reads=("unit_scale",), writes=("code_values",))
    e.op("lut.codebook.f32", c.at("code_values"), number(size), reads=("code_values",))
