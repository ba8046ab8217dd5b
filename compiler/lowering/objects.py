"""Products with the objects of active neurons: gate, up and down of a neuron lie side by side, and come with one gather.

Where the scratchpad has room for the objects of a whole layer they are fetched once, and gate, up and down read them there: their
rows are as far apart as objects. Else they come in tiles, twice: gate and up, then down when all activations are known. What is
computed is the same. A row has its scales in the file of the other weights, from where they are gathered too. Where the number of
an object does not say where it is, a table does: the places of active neurons are gathered from it first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from compiler.errors import RoomError
from compiler.graph import Graph, Op, title_of
from compiler.lowering import turns
from compiler.lowering.active import count, down_scaled, elements
from compiler.lowering.emit import Source, Want, number, symbol
from compiler.lowering.lower import Lowering, lowers
from compiler.lowering.tiles import Tile, gathered
from compiler.passes.predict import PARTS
from compiler.placing.objects import Neuron, Objects, neuron_of
from compiler.placing.weights import WeightLayout
from isa.preset import Preset
from isa.regions import SRAM

SHARE = 1 / 2                   # of the scratchpad, at most, for the objects of a layer
SHARE_OF_HALVES = 3 / 4         # of two layers, where two halves of a chunk take turns
VARIABLES = ("objects_of_layer",)       # where the objects of the current layer begin


def has_objects(graph: Graph) -> bool:
    """Whether the feed-forward layers of a graph work on objects."""
    return "layer.predict_in" in graph.weights


def scratch(machine: Preset, objects: Objects, dim: int, *, halves: bool = False) -> dict[str, int]:
    """Bytes of scratch that these operations need, by name. Raises RoomError where the LUT unit holds no vector of a product.

    halves  two halves of a chunk take turns: there are objects of two layers
    """
    bodies, hidden = objects.bodies, objects.bodies[0].count
    codes = any(body[role].scale_count for body in objects.layout.bodies for role in ("up", "down"))
    if codes and machine.has_unit("lut") and (have := machine.parameter("lut.activations")) < dim:
        raise RoomError("", f"machine {machine.name}", region="lut", got=f"rows of neurons have {dim:,} columns",
                        expected=f"at most the {have:,} activations that its tables hold (lut.activations): objects are not cut",
                        hint="without --predict")
    sizes = {"active_mask": -(-hidden // 8), "sums": 4 * dim, "sum_scales": 4 * dim, "listed_bias": 4 * hidden}
    for role in ("gate", "up"):
        scaled = [body[role] for body in objects.layout.bodies if role in body and body[role].scale_count]
        if scaled:
            sizes[f"{role}_scales"] = max(4, *(placed.rows * placed.row_scale_bytes for placed in scaled))
        if books := [placed.format.book for placed in scaled if placed.format.book]:
            sizes[f"{role}_codebook"] = max(books)
    if not all(neuron.by_number for neuron in bodies):
        sizes["object_places"] = 4 * hidden
    whole = hidden * max(neuron.size for neuron in bodies)
    times, share = (2, SHARE_OF_HALVES) if halves else (1, SHARE)
    if times * whole <= machine.region(SRAM).size * share and (not codes or hidden <= machine.parameter("lut.activations")):
        sizes["objects_here"] = times * whole
    return sizes


def enter_layers(c: Lowering, layer: int = 0) -> None:
    """Before the first layer that is run."""
    if has_objects(c.graph):
        before = c.graph.before(layer, [neuron.layer_bytes for neuron in c.target.objects(c.layout).bodies])
        c.emit.line(f"la a6, objects{f' + {before}' if before else ''};  sd a6, objects_of_layer, a7", f"of layer {layer}")


def next_layer(c: Lowering) -> None:
    """Between two layers."""
    if has_objects(c.graph):
        c.emit.line(f"ld a6, objects_of_layer;  li a7, {_neuron(c).layer_bytes};  add a6, a6, a7")
        c.emit.line("sd a6, objects_of_layer, a7")


def _neuron(c: Lowering) -> Neuron:
    return c.target.objects(c.layout).bodies[c.body]


@contextmanager
def _table(c: Lowering, part: int) -> Iterator[str]:
    """A register with the address of a part of the layer's first object."""
    with c.emit.taken(1) as (at,):
        c.emit.line(f"ld {at}, objects_of_layer")
        if part:
            c.emit.advance(at, part)
        yield at


def _fetch(c: Lowering) -> None:
    """The objects of active neurons, one behind the other, to where there is room for all."""
    e, neuron = c.emit, _neuron(c)
    with turns.objects(c):
        _look_up(c)
        index, stride = _list(c)
        with _table(c, 0) as table, _here(c, 0) as to:
            for name, value in (("row_bytes", neuron.size), ("src_stride", stride), ("dst_stride", 0),
                                ("table_rows", neuron.count if neuron.by_number else 0)):
                e.csr(f"fetch.{name}", value)
            e.op("fetch.rows", to, table, c.at(index), count(c), reads=(index,), writes=("objects_here",), near=False)


def _list(c: Lowering) -> tuple[str, int]:
    """The list by which `fetch.rows` finds objects, and the bytes of a step of its numbers."""
    neuron = _neuron(c)
    return ("active", neuron.slot_bytes) if neuron.by_number else ("object_places", neuron.unit)


def _look_up(c: Lowering) -> None:
    """The places of active neurons, where their numbers do not say them. This counts the neurons that are left alone."""
    neuron = _neuron(c)
    if not neuron.by_number:
        elements(c, "fetch.rows", "object_places", symbol(f"places_of_objects{c.body}"), 4, neuron.count)


@contextmanager
def _here(c: Lowering, part: int) -> Iterator[Source]:
    """Where a part of the first fetched object is: of the half whose turn it is, where halves take turns."""
    if not c.turns:
        yield c.at("objects_here", part)
        return
    with c.emit.taken(1) as (at,):
        c.emit.line(f"ld {at}, {turns.OBJECTS}")
        if part:
            c.emit.advance(at, part)
        yield at


@contextmanager
def _rows(c: Lowering, unit: str, roles: Sequence[str], to: Mapping[str, int], most: int = 0) -> Iterator[tuple[Tile, int]]:
    """The parts of roles that lie side by side, tile by tile: (the first part's, bytes from one row to the next).

    to  names of values and scratch that advance with the rows, and the bytes of each there
    """
    neuron, body = _neuron(c), c.layout.bodies[c.body]
    first = neuron.parts[roles[0]]
    if "objects_here" in c.memory.slots:
        with _here(c, first) as at:
            yield Tile(at, count(c), [c.at(name) for name in to]), neuron.size
        return
    size = sum(body[role].row_bytes for role in roles)
    with _table(c, first) as table:
        c.emit.order("fetch", ("active",), ())
        with gathered(c, unit, table, neuron.count, size, [(c.at(name), step) for name, step in to.items()], None, most,
                      _list(c)) as tile:
            yield tile, size


def _scales(c: Lowering, role: str) -> tuple[Source, int]:
    """The scales of active rows: where they are, and bytes of each row; 0: one for all."""
    placed, at = c.tensor(role), c.weight(role, "scales")
    name = f"{placed.role}_scales"
    if placed.row_scale_bytes:
        elements(c, "fetch.rows", name, at, placed.row_scale_bytes)
        return c.at(name), placed.row_scale_bytes
    if not c.is_near(at):
        c.emit.op("fetch.copy", c.at(name), at, number(4), writes=(name,), near=False)
        return c.at(name), 0
    return at, 0


def _codebook(c: Lowering, role: str) -> Source | None:
    """Where the LUT unit reads the codebook of a role, if it has one."""
    placed, name = c.tensor(role), f"{role.removeprefix('layer.')}_codebook"
    at = c.weight(role, "codebook")
    if not placed.format.book or c.is_near(at):
        return at if placed.format.book else None
    c.emit.op("fetch.copy", c.at(name), at, number(placed.format.book), writes=(name,), near=False)
    return c.at(name)


def _behind(c: Lowering, at: Source, size: int) -> Source:
    """An address `size` bytes behind a tile's start. May overwrite a7."""
    if not size:
        return at
    if isinstance(at, Want):
        return Want(at.kind, f"{at.value} + {size}", at.base, f"{at.text} + {size}")
    c.emit.line(f"li a7, {size};  add a7, a7, {at}")
    return "a7"


def _begin(c: Lowering) -> None:
    """What the first products need: all objects, or where they are."""
    if "objects_here" in c.memory.slots:
        _fetch(c)
    else:
        _look_up(c)


@lowers("gemv.objects", "gemv.objects.gated")
def gemv_objects(c: Lowering, op: Op) -> None:
    e, x, placed = c.emit, op.inputs[0], [c.tensor(role) for role in op.weights]
    _begin(c)
    e.order("vec", (x, "objects_here"), op.outputs)
    with _rows(c, "vec", [each.role for each in placed], dict.fromkeys(op.outputs, 4)) as (tile, stride):
        e.csr("vec.cols", placed[0].shape[1])
        e.csr("vec.row_stride", stride)
        behind = 0
        for result, to, each in zip(op.outputs, tile.to, placed, strict=True):
            e.op(f"vec.gemv.{each.format}", to, _behind(c, tile.at, behind), c.at(x), tile.rows,
                 reads=(x, "objects_here"), writes=(result,))
            behind += each.row_bytes


@lowers("gemv.i8.objects", "gemv.i8.objects.gated")
def gemv_i8_objects(c: Lowering, op: Op) -> None:
    e, (codes, scale, _), placed = c.emit, op.inputs, [c.tensor(role) for role in op.weights]
    _begin(c)
    scales = [_scales(c, role) for role in op.weights]
    named = [f"{each.role}_scales" for each in placed]
    c.build(codes, scale, placed[0].shape[1])
    e.order("lut", (*named, "objects_here"), op.outputs)
    books = {each.role: _codebook(c, role) for role, each in zip(op.weights, placed, strict=True)}
    moving = {name: size for name, (_, size) in zip(named, scales, strict=True) if size}
    with _rows(c, "lut", [each.role for each in placed], dict.fromkeys(op.outputs, 4) | moving) as (tile, stride):
        at = dict(zip((*op.outputs, *moving), tile.to, strict=True))
        e.csr("lut.row_stride", stride)
        behind = 0
        for result, each, name, (alone, _) in zip(op.outputs, placed, named, scales, strict=True):
            if book := books[each.role]:
                e.op("lut.codebook.i8", book, number(each.format.book), reads=(f"{each.role}_codebook",))
            e.csr("lut.scale_group", each.scale_group)
            e.op(f"lut.gemv.{each.format}", at[result], _behind(c, tile.at, behind), at.get(name, alone), tile.rows,
                 reads=(name, "objects_here"), writes=(result,))
            behind += each.row_bytes
    e.csr("lut.row_stride", 0)


@lowers("macT.objects")
def mac_t_objects(c: Lowering, op: Op) -> None:
    e, result, h, placed = c.emit, op.outputs[0], op.inputs[0], c.tensor(op.weights[0])
    e.op("vec.fill.32", c.at(result), "zero", c.length(result), writes=(result,), comment="sums start at 0")
    e.order("vec", (h, "objects_here"), (result,))
    with _rows(c, "vec", ["down"], {h: 4}) as (tile, stride):
        e.csr("vec.cols", placed.shape[1])
        e.csr("vec.row_stride", stride)
        e.op(f"vec.macT.{placed.format}", c.at(result), tile.at, tile.to[0], tile.rows,
             reads=(h, result, "objects_here"), writes=(result,))


@lowers("macT.i8.objects")
def mac_t_i8_objects(c: Lowering, op: Op) -> None:
    """Integer sums over the tiles; then products with both scales, computed as lut.gemv does."""
    e, result, (codes, scale, _), placed = c.emit, op.outputs[0], op.inputs, c.tensor(op.weights[0])
    e.op("vec.fill.32", c.at("sums"), "zero", number(placed.shape[1]), writes=("sums",), comment="sums start at 0")
    e.order("lut", (codes, scale, "sums", "objects_here"), ("sums",))
    c.built = ""
    c.codebook(op.weights[0])
    with _rows(c, "lut", ["down"], {codes: 1}, most=c.memory.machine.parameter("lut.activations")) as (tile, stride):
        for name, value in (("scale_group", 0), ("shift", 0), ("row_stride", stride)):
            e.csr(f"lut.{name}", value)
        e.op("lut.build.i8", tile.to[0], c.at(scale), tile.rows, reads=(codes, scale))
        e.op(f"lut.macT.{placed.format}", c.at("sums"), tile.at, number(placed.shape[1]), reads=("sums", "objects_here"),
             writes=("sums",))
    e.csr("lut.row_stride", 0)
    down_scaled(c, op, result, scale)


@lowers("bias.listed")
def bias_listed(c: Lowering, op: Op) -> None:
    result, x = op.outputs[0], op.inputs[0]
    elements(c, "fetch.rows", "listed_bias", c.weight(op.weights[0]), 4)
    c.emit.op("vec.add.f32", c.at(result), c.at(x), c.at("listed_bias"), count(c), reads=(x, "listed_bias"), writes=(result,))


@lowers("spread")
def spread(c: Lowering, op: Op) -> None:
    e, result, x = c.emit, op.outputs[0], op.inputs[0]
    e.op("vec.fill.32", c.at(result), "zero", c.length(result), writes=(result,), comment="0 where a neuron is not active")
    elements(c, "fetch.scatter", result, x, 4)


@lowers("pick")
def pick(c: Lowering, op: Op) -> None:
    elements(c, "fetch.rows", op.outputs[0], op.inputs[0], 4)


def about(graph: Graph, layout: WeightLayout, objects: Objects) -> list[str]:
    """What a summary says of predictor and objects. The predictor's share is that of matrices, without scales."""
    lines, alike = list[str](), layout.alike()
    for layers, body in alike if has_objects(graph) else ():
        sizes = {role: placed.rows * placed.row_bytes for role, placed in body.items() if placed.is_matrix}
        own, into = sum(sizes.pop(role) for role in PARTS), body["predict_in"]
        title = "each layer" if len(alike) == 1 else title_of(layers)
        lines.append(f"predictor of {title}: {into.format}, {into.rows} wide, {own:,} bytes, "
                     f"{100 * own / sum(sizes.values()):.1f} % of what its matrices have")
        lines.append(f"objects of {title}: {neuron_of(body, objects.page_bytes, objects.in_page)}")
    return lines


def places(objects: Objects) -> list[str]:
    """Lines of data: for each body of layers where its objects are, if their numbers do not say it."""
    lines = list[str]()
    for body, neuron in enumerate(objects.bodies):
        if not neuron.by_number:
            lines.append(f"places_of_objects{body}:".ljust(48) + f"# of each neuron of a layer, in units of {neuron.unit} bytes")
            found = neuron.places.tolist()
            lines += ["    .word " + ", ".join(map(str, found[at:at + 16])) for at in range(0, len(found), 16)]
    return lines
