"""What stays in the scratchpad, in the program: its copy at the start, the way from layer to layer, what the text says of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from compiler.graph.ops import Graph, title_of
from compiler.lowering.emit import KEYS, LAYER, LAYERS_LEFT, VALUES, WEIGHTS
from compiler.placing.memory_plan import MemoryPlan
from compiler.placing.near_caches import NAME as NEAR
from compiler.placing.residency import copied, layer_copied
from compiler.placing.weights import Placed, WeightLayout

if TYPE_CHECKING:
    from compiler.lowering.lower import Lowering

RECORD = 72             # bytes for each layer that takes turns in the table `near_turns` (swaps.py)


def load(c: Lowering) -> None:
    """Copy what stays, once. Behind it no unit has to wait."""
    e, residency = c.emit, c.memory.residency
    parts = list(copies(c.layout, c.memory))
    if not parts:
        return
    e.lines.append("\n# ---- what stays in the scratchpad is copied there, once")
    for to, source, size, what in parts:
        e.line(f"la a0, resident + {to - residency.start}")
        e.line(f"li a1, {source};  add a1, a1, {WEIGHTS}")
        e.line(f"li a2, {size}")
        e.line("fetch.copy a0, a1, a2", what)
    e.fence()


def copies(layout: WeightLayout, memory: MemoryPlan) -> Iterator[tuple[int, int, int, str]]:
    """(offset from the activations, offset in the weights file, bytes, what) of everything that is copied at the start."""
    residency, starts = memory.residency, dict(enumerate(layout.layers()))
    for layer, to in residency.layers.items():
        at, body = starts[layer]
        yield to, at, layer_end(body), f"layer {layer}"
    for (part_of, role), to in residency.parts.items():
        at, tensors = (0, layout.once) if part_of is None else starts[part_of]
        placed = tensors[role]
        yield to, at + placed.offset, placed.end - placed.offset, role if part_of is None else f"{role} of layer {part_of}"


def layer_end(body: dict[str, Placed]) -> int:
    """Bytes of a layer in the file, up to the end of its last tensor."""
    return max(placed.end for placed in body.values())


def start_of(c: Lowering, layer: int) -> None:
    """Set the registers of weights, keys and values to those of a layer."""
    e, residency = c.emit, c.memory.residency
    if layer in residency.layers:
        e.line(f"la {LAYER}, resident + {residency.layers[layer] - residency.start}", "weights that stay in the scratchpad")
    else:
        at = next(at for number, (at, _) in enumerate(c.layout.layers()) if number == layer)
        e.line(f"li {LAYER}, {at};  add {LAYER}, {LAYER}, {WEIGHTS}")
    for base, register in (("keys", KEYS), ("values", VALUES)):
        e.line(f"la {register}, {cache_at(c.memory, base, layer)}",
               f"its {base} stay in the scratchpad" if layer < c.memory.cached else "")
    if layer in (turns := c.memory.near.turns):
        e.line(f"la a6, near_turns + {RECORD * turns.index(layer)};  sd a6, turn_of_layer, a7", "its record (swaps.py)")


def cache_at(memory: MemoryPlan, base: str, layer: int) -> str:
    """Where a layer's keys or values begin for its attention, as `la` takes it."""
    residency = memory.residency
    if memory.near.holds(layer):
        return f"{NEAR} + {memory.near.at[layer, base]}"
    if layer < residency.cached:
        return f"resident + {residency.caches[base] + memory.cache_start(base, layer) - residency.start}"
    return home_of(memory, base, layer)


def home_of(memory: MemoryPlan, base: str, layer: int) -> str:
    """Where a layer's keys or values are kept that are not near all the time."""
    before = memory.cache_start(base, layer) - memory.cache_start(base, memory.cached)
    return base + (f" + {before}" if before else "")


def moves(c: Lowering, prefix: str) -> None:
    """The pieces of code between a layer that stays and one that streams. They stand in the table of layers. `prefix` of labels."""
    e, layers = c.emit, c.graph.config.layers
    for layer in c.memory.moves(layers):
        e.lines.append(f"\n# ---- layer {layer} begins elsewhere than behind the one before")
        e.label(prefix + move_name(layer))
        start_of(c, layer)
        e.line(f"addi {LAYERS_LEFT}, {LAYERS_LEFT}, 8;  ld a6, 0({LAYERS_LEFT});  jr a6")


def has_table(graph: Graph, memory: MemoryPlan) -> bool:
    """Whether a table says which code the next layer takes: layers have several bodies, or something is done between them."""
    return len(graph.bodies) > 1 or bool(memory.moves(graph.config.layers))


def table(graph: Graph, memory: MemoryPlan, *, chunk: bool) -> list[str]:
    """The pieces of code that a token passes, or a chunk: of each layer, and of what is between two. Where several bodies are."""
    labels = {layer: graph.name_of(body) for body in graph.bodies for layer in body.layers}
    moves, segments, names = memory.moves(graph.config.layers), graph.segments, list[str]()
    for number, layers in enumerate(segments):
        names += [segment_name(number)] * (number > 0 and not chunk)
        for layer in layers:
            names += [*[move_name(layer)] * (layer in moves), labels[layer]]
        names += [f"segment{number}_done"] * (chunk and bool(graph.cuts))
    return [f"{'chunk_' if chunk else ''}{name}" for name in [*names, *["layers_done"] * (not (chunk and graph.cuts))]]


def segment_name(number: int) -> str:
    """The label of the code that a token runs before the first layer behind a cut."""
    return f"to_segment{number}"


def move_name(layer: int) -> str:
    """The label of the code that is run before a layer that lies elsewhere than the one before."""
    return f"to_layer{layer}"


def stride(c: Lowering) -> int:
    """Bytes from a layer of the body that is lowered now to the next one, in the scratchpad or in the file."""
    return layer_copied(c.layout.bodies[c.body]) if c.layer in c.memory.residency.layers else c.layout.body_bytes[c.body]


def about(layout: WeightLayout, memory: MemoryPlan) -> list[str]:
    """What stays, as lines for people: what it is, its bytes."""
    residency = memory.residency
    lines = []
    bodies = [body for _, body in layout.layers()]
    if residency.layers:
        size = sum(layer_copied(bodies[layer]) for layer in residency.layers)
        lines.append(f"weights of {title_of(sorted(residency.layers))}: {size:,} bytes")
    for part_of in sorted({of for of, _ in residency.parts}, key=lambda of: -1 if of is None else of):
        roles = [role for of, role in residency.parts if of == part_of]
        tensors = layout.once if part_of is None else bodies[part_of]
        size = sum(copied(tensors[role]) for role in roles)
        lines.append(f"{', '.join(roles)}{'' if part_of is None else f' of layer {part_of}'}: {size:,} bytes")
    if residency.cached:
        size = sum(memory.cache_start(base, residency.cached) for base in memory.layer_bytes)
        lines.append(f"keys and values of {title_of(range(residency.cached))}: {size:,} bytes")
    if residency.variables:
        lines.append("the program's variables")
    return lines
