"""What the macros of the cim unit do: products with int8 matrices that stand in them.

A matrix is cut into tiles, a macro each; a stage of a block-diagonal matrix fills slots for blocks. If the macros hold
all matrices of the model, they are loaded once, at the program's start (`start`). Then two variables say where those of the current
layer begin. Else each product loads its matrix again, as many rows at a time as the macros hold.

Blocks stand as in SparseMap, where an array multiplies all of them in one step, if there are arrays enough; else as in DenseMap.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field

from compiler.errors import RoomError
from compiler.graph import Graph, Op
from compiler.lowering.emit import WEIGHTS, Source, number
from compiler.lowering.lower import ONE, Lowering, lowers
from compiler.placing.weights import Placed, WeightLayout
from isa.preset import Preset
from isa.regions import DRAM, FLASH, SRAM
from isa.sparse import Diagonals, NOfM, SparseLayout
from isa.units.cim.blocks import DENSE_MAP, SPARSE_MAP
from isa.units.cim.patterns import holds as holds_pattern

KIND = "gemv.i8.cim"
VARIABLES = ("macro_of_layer", "slot_of_layer")


def is_there(machine: Preset) -> bool:
    """Whether macros multiply int8 matrices: they and the vector unit reach all memories, and there is no lut unit."""
    reach = all({"vec", "cim"} <= region.ports for region in machine.regions if region.name in (SRAM, DRAM, FLASH))
    return machine.has_unit("cim") and not machine.has_unit("lut") and reach


def held(machine: Preset) -> str:
    """What the macros of a machine hold, in words."""
    patterns = str(machine.settings["cim.patterns"])
    square = machine.parameter("cim.rows") == machine.parameter("cim.columns")
    return "dense matrices" + f", N of M as {patterns}" * (patterns != "none") + ", blocks of Monarch matrices" * square


def holds(machine: Preset, layout: SparseLayout) -> bool:
    """Whether the macros of a machine can hold a matrix in a sparse layout."""
    match layout:
        case NOfM(n, m):
            return holds_pattern(machine, n, m)
        case Diagonals(block):
            return machine.parameter("cim.rows") == machine.parameter("cim.columns") >= block
    return False


@dataclass(frozen=True)
class Macros:
    """Where the matrices of a program stand in the macros.

    once, layers    first macro, or slot, of each matrix: of those that the model has once, and of a layer of each body, from where
                    that layer's begin; by role
    macros_of_layer, slots_of_layer     what a layer of each body takes
    first_macro, first_slot             of the first layer
    used            macros of all matrices, slots among them
    slots           of all blocks; they lie behind the macros of tiles
    map             SPARSE_MAP or DENSE_MAP
    stay            whether all matrices have room; else each is loaded for each product
    """

    once: dict[str, int] = field(default_factory=dict)
    layers: list[dict[str, int]] = field(default_factory=list)
    macros_of_layer: list[int] = field(default_factory=list)
    slots_of_layer: list[int] = field(default_factory=list)
    first_macro: int = 0
    first_slot: int = 0
    used: int = 0
    slots: int = 0
    map: int = DENSE_MAP
    stay: bool = False

    @classmethod
    def of(cls, machine: Preset, graph: Graph, layout: WeightLayout) -> Macros:
        """The plan for a program: blocks as in SparseMap if they have room so."""
        first = cls._placed(machine, graph, layout, SPARSE_MAP)
        return first if first.stay or not first.slots else cls._placed(machine, graph, layout, DENSE_MAP)

    @classmethod
    def _placed(cls, machine: Preset, graph: Graph, layout: WeightLayout, how: int) -> Macros:
        once: dict[str, int] = {}
        layers: list[dict[str, int]] = []
        macros_of_layer, slots_of_layer, macros, largest = list[int](), list[int](), 0, 0
        for placed in _once(graph, layout):
            once[placed.role] = macros
            macros += tiles(machine, placed)
        first_macro = macros
        for body, tensors in zip(graph.bodies, layout.bodies, strict=True):
            mine: dict[str, int] = {}
            tile, slot = 0, 0
            for placed in _of_body(body.ops, tensors):
                if isinstance(placed.layout, Diagonals):
                    mine[placed.role], slot = slot, slot + blocks(placed)
                    largest = max(largest, placed.layout.block)
                else:
                    mine[placed.role], tile = tile, tile + tiles(machine, placed)
            layers.append(mine)
            macros_of_layer.append(tile)
            slots_of_layer.append(slot)
            macros += tile * len(body.layers)
        slots = sum(count * len(body.layers) for count, body in zip(slots_of_layer, graph.bodies, strict=True))
        each = slots_of_array(machine, largest, how) if slots else 1
        used = macros + -(-slots // each)
        return cls(once, layers, macros_of_layer, slots_of_layer, first_macro, macros * each, used, slots, how,
                   used <= machine.parameter("cim.macros"))


def slots_of_array(machine: Preset, block: int, how: int) -> int:
    """Blocks that an array has room for."""
    diagonal = machine.parameter("cim.rows") // block
    return diagonal if how == SPARSE_MAP else diagonal * diagonal


def pattern(placed: Placed) -> tuple[int, int]:
    """N and M of a matrix; 1 of 1 where it is dense."""
    return (placed.layout.n, placed.layout.m) if isinstance(placed.layout, NOfM) else (1, 1)


def across(machine: Preset, placed: Placed) -> int:
    """Macros that a row of a matrix goes through."""
    (n, m), cols = pattern(placed), placed.shape[1]
    groups = -(-cols // m)
    return -(-groups // (machine.parameter("cim.rows") // n))


def tiles(machine: Preset, placed: Placed) -> int:
    """Macros that a matrix fills."""
    return -(-placed.rows // machine.parameter("cim.columns")) * across(machine, placed)


def blocks(placed: Placed) -> int:
    """Blocks of a stage of a block-diagonal matrix."""
    layout = placed.layout
    assert isinstance(layout, Diagonals)
    return layout.factors(*placed.shape) * layout.block


def _once(graph: Graph, layout: WeightLayout) -> Iterator[Placed]:
    """The matrices that the model has once and that stand in macros."""
    for op in (*graph.start, *graph.finish):
        if op.kind == KIND:
            yield layout.once["embedding" if op.weights[0] == "head" and graph.config.tied else op.weights[0]]


def _of_body(ops: list[Op], tensors: dict[str, Placed]) -> Iterator[Placed]:
    """Those of a layer."""
    for op in ops:
        if op.kind == KIND:
            yield tensors[op.weights[0].removeprefix("layer.")]


def _plan(c: Lowering) -> Macros:
    """Where this program's matrices stand."""
    if c.macros is None:
        c.macros = Macros.of(c.memory.machine, c.graph, c.layout)
    return c.macros


def has_macros(graph: Graph) -> bool:
    """Whether a program uses macros."""
    return any(op.kind == KIND for _, op in graph.steps())


# ------------------------------------------------------------------------------------------------ what stays


def start(c: Lowering) -> None:
    """Load all matrices, if the macros hold them."""
    if not has_macros(c.graph) or not (plan := _plan(c)).stay:
        return
    e, bodies = c.emit, {layer: number_of for number_of, body in enumerate(c.graph.bodies) for layer in body.layers}
    e.lines.append("\n# ---- all matrices are loaded into macros, once")
    for placed in _once(c.graph, c.layout):
        _load(c, placed, 0, plan.once[placed.role], plan.map, placed.role)
    macro, slot = plan.first_macro, plan.first_slot
    for layer, (at, tensors) in enumerate(c.layout.layers()):
        body = bodies[layer]
        for placed in _of_body(c.graph.bodies[body].ops, tensors):
            first = plan.layers[body][placed.role] + (slot if isinstance(placed.layout, Diagonals) else macro)
            _load(c, placed, at, first, plan.map, f"{placed.role} of layer {layer}")
        macro, slot = macro + plan.macros_of_layer[body], slot + plan.slots_of_layer[body]
    e.fence()


def _load(c: Lowering, placed: Placed, base: int, first: int, how: int, what: str) -> None:
    """Load a matrix whose layer, or 0, begins `base` bytes behind the start of the weights."""
    e = c.emit

    def place(register: str, at: int) -> str:
        e.line(f"li {register}, {base + at};  add {register}, {register}, {WEIGHTS}", what)
        return register

    with e.taken(2) as (values, meta):
        e.csr("cim.first", first)
        if not isinstance(placed.layout, Diagonals):
            e.csr("cim.meta", place(meta, placed.meta or placed.offset))
        _load_rows(c, placed, place(values, placed.offset), number(placed.rows), how)


def _load_rows(c: Lowering, placed: Placed, at: Source, rows: Source, how: int) -> None:
    """Load rows that lie there, or all blocks. The CSRs of metadata and of the first macro are set."""
    if isinstance(placed.layout, Diagonals):
        c.emit.csr("cim.block", placed.layout.block)
        c.emit.csr("cim.map", how)
        c.emit.op("cim.load.bd", at, number(blocks(placed)))
        return
    n, m = pattern(placed)
    c.emit.csr("cim.nm", n | m << 8)
    c.emit.csr("cim.cols", placed.shape[1])
    c.emit.op("cim.load.nm", at, rows)


def enter_layers(c: Lowering, layer: int = 0) -> None:
    """Where the matrices of the first layer that is run begin."""
    if has_macros(c.graph) and (plan := _plan(c)).stay:
        for name, value, sizes in zip(VARIABLES, (plan.first_macro, plan.first_slot), (plan.macros_of_layer, plan.slots_of_layer),
                                      strict=True):
            c.emit.line(f"li a6, {value + c.graph.before(layer, sizes)};  sd a6, {name}, a7")


def next_layer(c: Lowering) -> None:
    """Where the next one's do."""
    if not has_macros(c.graph) or not (plan := _plan(c)).stay:
        return
    name_of = c.graph.name_of(c.graph.bodies[c.body])
    with c.emit.profile.section(f"chunk_{name_of}" if c.chunk else name_of):
        for name, sizes in zip(VARIABLES, (plan.macros_of_layer, plan.slots_of_layer), strict=True):
            if sizes[c.body]:
                c.emit.line(f"ld a6, {name};  li a7, {sizes[c.body]};  add a6, a6, a7;  sd a6, {name}, a7")


# ------------------------------------------------------------------------------------------------ products


@lowers(KIND)
def product(c: Lowering, op: Op) -> None:
    """In code for chunks the unit takes the vectors of several tokens: of all, if it holds them."""
    placed, plan = c.tensor(op.weights[0]), _plan(c)
    c.emit.order("cim", op.inputs if c.chunk else (), op.outputs)
    (_standing if plan.stay else _loaded_again)(c, op, placed, plan, c.vectors("cim", placed.shape[1], placed.role))


def _standing(c: Lowering, op: Op, placed: Placed, plan: Macros, most: int) -> None:
    """A product with a matrix that stands in the macros all the time."""
    result, role = op.outputs[0], op.weights[0]
    with c.each(most) as tokens:
        if most < c.tokens:
            c.built = ""
        _build(c, placed, op.inputs, tokens)
        begins = _first(plan, c.body, placed, role)
        _product(c, placed, c.weight(role, "scales"), begins, number(placed.rows), c.result(c.results(result)), result)
    _count_scales(c, placed, placed.rows)


def _loaded_again(c: Lowering, op: Op, placed: Placed, plan: Macros, most: int) -> None:
    """A product that loads its matrix, as many rows at a time as there is room for: for all tokens, one group after the other."""
    e, result, role, whole = c.emit, op.outputs[0], op.weights[0], most >= c.tokens
    meta_bytes = placed.meta_bytes // placed.rows
    row_bytes = placed.uniform_row_bytes or placed.values_size // placed.rows if placed.layout else placed.row_bytes
    beside = [(c.weight(role, "scales"), placed.row_scale_bytes), *[(c.weight(role, "meta"), meta_bytes)] * (meta_bytes > 0)]
    with c.each(most) if whole else nullcontext(ONE) as tokens:
        if whole:
            _build(c, placed, op.inputs, tokens)
        with c.tiles("cim", c.weight(role), placed.rows, row_bytes, (c.results(result), 4), beside=beside, result=result,
                     most=_height(c, placed, plan)) as tile:
            rows = tile.rows if isinstance(tile.rows, str) else int(tile.rows.value)
            e.csr("cim.first", 0)
            if meta_bytes:
                e.csr("cim.meta", _register(c, tile.beside[1]))
            _load_rows(c, placed, tile.at, tile.rows, plan.map)
            e.profile.stored(rows, row_bytes + meta_bytes, KIND)
            _count_scales(c, placed, rows)
            with nullcontext(tokens) if whole else c.each(most) as group:
                if not whole:
                    c.built = ""
                    _build(c, placed, op.inputs, group)
                _product(c, placed, tile.scales, (0, ""), tile.rows, c.result(tile.to[0]), result)


def _count_scales(c: Lowering, placed: Placed, rows: int | str) -> None:
    """A product reads the scales of so many rows, or one for all."""
    c.emit.profile.stored(*((rows, placed.row_scale_bytes) if placed.row_scale_bytes else (1, 4)), KIND)


def _height(c: Lowering, placed: Placed, plan: Macros) -> int:
    """Rows of a matrix that the macros hold at a time. Raises RoomError where that is none."""
    machine = c.memory.machine
    have = machine.parameter("cim.macros")
    if isinstance(placed.layout, Diagonals):
        need, height = -(-blocks(placed) // slots_of_array(machine, placed.layout.block, plan.map)), placed.rows
        said, hint = f"the {blocks(placed):,} blocks of {placed.role} fill {need:,} macros", "a machine file with more macros"
    else:
        need = across(machine, placed)
        height = have // need * machine.parameter("cim.columns")
        said = f"a row of {placed.role} goes through {need:,} macros"
        hint = "a machine file with more macros, or N of M with a smaller N, where the macros hold one"
    if need > have:
        raise RoomError("", f"machine {machine.name}", region="macros", got=said, hint=hint,
                        expected=f"at most {have:,} (cim.macros)")
    return height


def _register(c: Lowering, address: Source) -> str:
    return address if isinstance(address, str) else c.emit.register(address)


def _first(plan: Macros, body: int, placed: Placed, role: str) -> tuple[int, str]:
    """Where a matrix that stays begins: a macro, or a slot, behind what a variable says."""
    if not role.startswith("layer."):
        return plan.once[placed.role], ""
    return plan.layers[body][placed.role], VARIABLES[isinstance(placed.layout, Diagonals)]


def _product(c: Lowering, placed: Placed, scales: Source, begins: tuple[int, str], rows: Source, to: Source, result: str) -> None:
    """The matrix that begins there times the vectors in the unit: at `to`, in `result`."""
    e, (first, variable) = c.emit, begins
    e.csr("cim.scales", _register(c, scales))
    e.csr("cim.scale_group", placed.scale_group)
    with e.taken(1) as (place,):
        e.line(f"li {place}, {first}" + (f";  ld a6, {variable};  add {place}, {place}, a6" if variable else ""), "where it stands")
        _multiply(c, placed, place, rows, to, result)


def _multiply(c: Lowering, placed: Placed, first: str, rows: Source, to: Source, result: str) -> None:
    e = c.emit
    if isinstance(placed.layout, Diagonals):
        operation = "cim.join.f32" if placed.layout.join else "cim.spread.f32"
        for name, value in (("block", placed.layout.block), ("factor", placed.layout.block), ("across", placed.layout.across)):
            e.csr(f"cim.{name}", value)
        e.op(operation, to, first, number(placed.layout.factors(*placed.shape)), writes=(result,))
    else:
        e.op("cim.gemv", to, first, rows, writes=(result,))


def _build(c: Lowering, placed: Placed, inputs: tuple[str, ...], tokens: Source) -> None:
    """Load the vectors of so many tokens into the unit, unless they are loaded."""
    if (built := f"cim {inputs[0]}") == c.built:
        return
    e = c.emit
    if tokens != ONE:
        assert isinstance(tokens, str)              # the number of tokens is in a register wherever it may not be 1
        e.csr("cim.vectors", tokens)
    e.csr("cim.scale_group", 0)
    e.csr("cim.x_scales", _register(c, c.at(inputs[1])))
    e.op("cim.build.i8", c.at(inputs[0]), number(placed.shape[1]), reads=inputs)
    e.profile.stored(1, 4, KIND)                    # the vector's scale, in code for one token
    if tokens != ONE:
        e.csr("cim.vectors", 0)
    c.built = built


# ------------------------------------------------------------------------------------------------ for people


def about(machine: Preset, graph: Graph, layout: WeightLayout) -> list[str]:
    """What stands in the macros, as lines for people."""
    if not has_macros(graph):
        return []
    plan, have = Macros.of(machine, graph, layout), machine.parameter("cim.macros")
    if not plan.stay:
        return [f"macros: all matrices would fill {plan.used:,}, there are {have:,}; each product loads its matrix again"]
    cells = plan.used * machine.parameter("cim.rows") * machine.parameter("cim.columns")
    bodies = [(body, len(found.layers)) for body, found in zip(layout.bodies, graph.bodies, strict=True)]
    used = sum(placed.values_size or placed.held for placed in _once(graph, layout)) + sum(
        count * sum(placed.values_size or placed.held for placed in _of_body(found.ops, body))
        for (body, count), found in zip(bodies, graph.bodies, strict=True))
    blocks_are = {SPARSE_MAP: "SparseMap", DENSE_MAP: "DenseMap"}[plan.map]
    return [f"macros: {plan.used:,} of {have:,} hold all matrices, {100 * used / cells:.1f} % of their cells"
            + (f"; {plan.slots:,} blocks as in {blocks_are}" if plan.slots else "")]
