"""Operations and layers, in code for one token and in code for a chunk of tokens (`c.chunk`)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

from compiler.graph import Op, title_of
from compiler.graph.groups import groups
from compiler.lowering import LOWERINGS, Lowering, residency, swaps, turns
from compiler.lowering.chunk import at_row, each_frame, leave_place, take_place
from compiler.lowering.cuts import left_out
from compiler.lowering.emit import KEYS, LAYER, LAYERS_LEFT, POSITION, VALUES, number, symbol
from compiler.lowering.heads import by_head


def mark(section: str, number: int, chunk: bool = False) -> str:
    """The label behind operation `number` of a list of the graph (`section` is its name): there its results are in memory."""
    return f"{'chunk' if chunk else 'op'}.{section}.{number}"


def strides(c: Lowering, size: int, comment: str = "") -> None:
    """How far apart units find the vectors of tokens, and leave their results: the lut unit, and what others the program uses."""
    kinds = {op.kind.rpartition(".")[2] for _, op in c.graph.steps()}
    for unit in ("lut", *(unit for unit, kind in (("sp", "sparse"), ("cim", "cim")) if kind in kinds)):
        if c.memory.machine.has_unit(unit):
            c.emit.line(f"li a6, {size}")
            for name in ("codes", "scale", "result"):
                c.emit.line(f"csrw {unit}.{name}_stride, a6", comment)


def to_first_frame(c: Lowering) -> None:
    """Copy what the end of the model reads from the current frame to the first one, where the code for one token finds it."""
    e, made = c.emit, set[str]()
    for op in c.graph.finish:
        for name in op.inputs:
            if name in c.memory.framed and name not in made:
                made.add(name)
                to, size = f"frames + {c.memory.slots[name].offset - c.memory.frames}", c.memory.slots[name].size
                e.op("fetch.copy", symbol(to), c.at(name), number(size), reads=(name,), writes=(name,), near=True)
        made |= set(op.outputs)
    e.fence()


def grouped(c: Lowering, section: str, ops: Sequence[Op]) -> None:
    """Operations for all tokens of a chunk."""
    with c.emit.profile.section(f"chunk_{section}"):
        _grouped(c, section, ops)


def _grouped(c: Lowering, section: str, ops: Sequence[Op]) -> None:
    for group in groups(ops):
        swaps.before(c, group.ops)
        if group.together:
            operations(c, section, group.ops, group.first)
            continue
        if group.by_head:
            by_head(c, group.ops)
            c.emit.mark(mark(section, group.first + len(group.ops) - 1, chunk=True))
            continue
        c.emit.comment(f"{section} {group.first} to {group.first + len(group.ops) - 1}, for one token after the other")
        with each_frame(c):
            c.built = ""
            take_place(c, group.ops)
            with c.emit.watched() as queues:
                operations(c, section, group.ops, group.first)
            if len(queues) > 1:
                c.emit.fence()              # what one token's operations share is free for the next one's
            leave_place(c, group.ops)
            if c.turns and any("objects" in op.kind for op in group.ops):
                turns.give(c)
        swaps.behind(c, group.ops)
        c.built = ""


def layers(c: Lowering) -> None:
    """All layers. Those of one body share code; where there are several, a table says which is next."""
    e, graph, config = c.emit, c.graph, c.graph.config
    prefix = prefix_of(c)
    e.lines.append(f"\n# ---- {config.layers} layers")
    e.fence()
    residency.start_of(c, 0)
    c.target.enter_layers(c)
    swaps.begin(c, range(config.layers))
    listed = residency.has_table(graph, c.memory)
    if not listed:
        e.line(f"li {LAYERS_LEFT}, {config.layers}")
    else:
        e.line(f"la {LAYERS_LEFT}, {prefix}layers", "the code of the next layer, in a table")
    with turns.halves(c) if c.chunk and c.memory.turns else nullcontext():
        if listed:
            e.line(f"ld a6, 0({LAYERS_LEFT});  jr a6")
        bodies(c)
        if not c.chunk:
            _to_segments(c)
        e.label(f"{prefix}layers_done" if listed else "1")
    c.built = ""


def prefix_of(c: Lowering) -> str:
    """What labels in code for a chunk begin with."""
    return "chunk_" if c.chunk else ""


def bodies(c: Lowering) -> None:
    """The code of layers, and what stands between two of them."""
    e, graph = c.emit, c.graph
    for number_of, body in enumerate(graph.bodies):
        if len(graph.bodies) > 1:
            e.lines.append(f"\n# ---- {title_of(body.layers)}")
        c.body, c.built = number_of, ""
        layer(c, graph.name_of(body), body.ops)
    residency.moves(c, prefix_of(c))


def _to_segments(c: Lowering) -> None:
    """In code for one token: what is run before the first layer behind a cut, whose caches have other rows."""
    e, graph = c.emit, c.graph
    for number_of in range(1, len(graph.segments)):
        e.lines.append(f"\n# ---- from layer {graph.segments[number_of][0]} on caches hold what is left of the prompt")
        e.label(residency.segment_name(number_of))
        e.line(f"ld {POSITION}, next_place;  ld a6, {left_out(graph)[number_of]};  sub {POSITION}, {POSITION}, a6")
        at_row(c)
        e.line(f"addi {LAYERS_LEFT}, {LAYERS_LEFT}, 8;  ld a6, 0({LAYERS_LEFT});  jr a6")


def layer(c: Lowering, name: str, ops: Sequence[Op]) -> None:
    """A layer's operations. Then registers advance to the weights and caches of the next layer."""
    e, loop, label = c.emit, not residency.has_table(c.graph, c.memory), f"chunk_{name}" if c.chunk else name
    e.label(label)
    c.target.enter_body(c)
    e.own |= (own := swaps.takes_turns(c))      # fences do not wait for what comes for the next layer
    (grouped if c.chunk else operations)(c, name, ops)
    e.fence()
    e.own &= not own
    if not c.memory.apart:                       # else they are set before each layer
        e.line(f"li a6, {residency.stride(c)};  add {LAYER}, {LAYER}, a6")
        keys, values = (c.memory.layer_bytes[base] for base in ("keys", "values"))
        e.line(f"li a6, {keys};  add {KEYS}, {KEYS}, a6;  " + f"li a6, {values};  " * (values != keys)
               + f"add {VALUES}, {VALUES}, a6")
    c.target.next_layer(c)
    e.line(f"addi {LAYERS_LEFT}, {LAYERS_LEFT}, {-1 if loop else 8}")
    if loop:
        e.line(f"beqz {LAYERS_LEFT}, 1f;  j {label}")
    else:
        e.line(f"ld a6, 0({LAYERS_LEFT});  jr a6")


def operations(c: Lowering, section: str, ops: Sequence[Op], first: int = 0) -> None:
    with c.emit.profile.section(f"chunk_{section}" if c.chunk else section):
        for number_of, op in enumerate(ops, first):
            c.emit.comment(f"{section} {number_of}: {', '.join(op.outputs)} = {op.kind} {', '.join((*op.inputs, *op.weights))}")
            if not c.chunk:
                swaps.before(c, (op,))
            LOWERINGS[op.kind](c, op)
            if c.chunk or op.kind != "mean.query":              # of which there is no code for a token
                c.emit.mark(mark(section, number_of, c.chunk))
            if not c.chunk:
                swaps.behind(c, (op,))
