"""What stays in the scratchpad, in the program: its copy at the start, the way from layer to layer, what the text says of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from compiler.graph.ops import Graph, title_of
from compiler.lowering.emit import KEYS, LAYER, LAYERS_LEFT, VALUES, WEIGHTS
from compiler.placing.memory_plan import MemoryPlan
from compiler.placing.residency import Residency, copied, layer_copied
from compiler.placing.weights import Placed, WeightLayout

if TYPE_CHECKING:
    from compiler.lowering.lower import Lowering


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
               f"its {base} stay in the scratchpad" if layer < residency.cached else "")


def cache_at(memory: MemoryPlan, base: str, layer: int) -> str:
    """Where a layer's keys or values begin, as `la` takes it."""
    residency, each = memory.residency, memory.layer_bytes
    if layer < residency.cached:
        return f"resident + {residency.caches[base] + layer * each[base] - residency.start}"
    return base + (f" + {(layer - residency.cached) * each[base]}" if layer > residency.cached else "")


def moves(c: Lowering, prefix: str) -> None:
    """The pieces of code between a layer that stays and one that streams. They stand in the table of layers. `prefix` of labels."""
    e, layers = c.emit, c.graph.config.layers
    for layer in c.memory.residency.moves(layers):
        e.lines.append(f"\n# ---- from here on: layer {layer} lies elsewhere than the one before")
        e.label(prefix + move_name(layer))
        start_of(c, layer)
        e.line(f"addi {LAYERS_LEFT}, {LAYERS_LEFT}, 8;  ld a6, 0({LAYERS_LEFT});  jr a6")


def table(graph: Graph, residency: Residency, *, chunk: bool) -> list[str]:
    """The pieces of code that a token passes, or a chunk: of each layer, and of what is between two. Where several bodies are."""
    labels = {layer: graph.name_of(body) for body in graph.bodies for layer in body.layers}
    moves, segments, names = residency.moves(graph.config.layers), graph.segments, list[str]()
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
        size = residency.cached * sum(memory.layer_bytes.values())
        lines.append(f"keys and values of {title_of(range(residency.cached))}: {size:,} bytes")
    if residency.variables:
        lines.append("the program's variables")
    return lines
