"""What stays in the scratchpad where the units do not reach weights and caches in their memory: the rest streams.

    residency = reside(graph, layout, memory, start, room)

What stays is copied once, at the program's start, byte for byte as it is in the weights file. Then the units read the copy. Pieces
are taken in this order, each one that still has room:

    layers      whole ones: each byte of a layer is read once a token
    once        tensors outside of layers that a token reads whole: norms, the head
    part        of one more layer, tensors by rising size
    rope        the table of cosines and sines: a token reads two rows in each layer
    caches      keys and values of whole layers: a token reads the positions that attention looks at
    variables   the program's own
    tables      of which a token reads a row: embedding, positions

Earlier ones save more bytes a token for a byte of room. So with buffers of one size a larger scratchpad never leads to more bytes:
what has room only there saves more than all it displaces, because these are later in the order and together smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from compiler.graph import Graph
from compiler.placing.weights import ROPE, Placed, WeightLayout

if TYPE_CHECKING:
    from compiler.placing.memory_plan import MemoryPlan

ALIGN = 64
VARIABLES_BYTES = 4096      # of the variables' section: sections of a memory begin with a page
TABLES = ("embedding", "positions")


@dataclass(frozen=True)
class Residency:
    """What stays, and where: offsets in bytes from the start of the activations.

    layers      of whole layers, by number; parts: of tensors, by (layer or None, role)
    caches      of keys and values ("keys", "values") of the first `cached` layers
    variables   the program's variables are in the scratchpad too
    """

    layers: Mapping[int, int] = field(default_factory=dict)
    parts: Mapping[tuple[int | None, str], int] = field(default_factory=dict)
    caches: Mapping[str, int] = field(default_factory=dict)
    cached: int = 0
    variables: bool = False
    start: int = 0
    end: int = 0

    @property
    def what(self) -> tuple[object, ...]:
        """What stays, wherever."""
        return self.layers.keys(), self.parts.keys(), self.cached, self.variables

    def at(self, role: str, layer: int) -> int | None:
        """Where the copy of a tensor begins that stays alone, not with its whole layer. Roles as in operations: "layer.q"."""
        return self.parts.get((layer, role[6:]) if role.startswith("layer.") else (None, role))

    def holds(self, what: str, layer: int) -> bool:
        """Whether a weight of an operation ("layer.q", "head") or a cache ("keys") of a layer stays."""
        if what in self.caches:
            return layer < self.cached
        return (what.startswith("layer.") and layer in self.layers) or self.at(what, layer) is not None

    def _kind(self, layer: int) -> tuple[bool, bool, bool]:
        return layer in self.layers, any(of == layer for of, _ in self.parts), layer < self.cached

    def split(self, graph: Graph, also: Callable[[int], object]) -> Graph:
        """The graph with a body of its own for layers of one body of which other things stay, or for which `also` says other
        things."""
        bodies = []
        for body in graph.bodies:
            kinds: dict[tuple[object, ...], list[int]] = {}
            for layer in body.layers:
                kinds.setdefault((*self._kind(layer), also(layer)), []).append(layer)
            bodies += [replace(body, layers=tuple(layers)) for layers in kinds.values()]
        return replace(graph, bodies=sorted(bodies, key=lambda body: body.layers))

    def moves(self, layers: int) -> list[int]:
        """The layers before which the registers of weights and caches must be set: the one before lies elsewhere."""
        return [layer for layer in range(1, layers)
                if (layer in self.layers) != (layer - 1 in self.layers) or layer == self.cached > 0]


def copied(placed: Placed) -> int:
    """Bytes of a tensor's copy, with its scales and codebook."""
    return _up(placed.end - placed.offset)


def layer_copied(body: Mapping[str, Placed]) -> int:
    """Bytes of the copy of a layer: those of the file up to its last tensor."""
    return _up(max(placed.end for placed in body.values()))


def reside(graph: Graph, layout: WeightLayout, memory: MemoryPlan, start: int, room: int) -> Residency:
    """What stays in `room` bytes of the scratchpad from `start` on, which is a multiple of ALIGN."""
    left, at = room, start
    body_of = {layer: body for body, layers in zip(layout.bodies, layout.groups, strict=True) for layer in layers}
    layers: dict[int, int] = {}
    parts: dict[tuple[int | None, str], int] = {}

    def take(size: int) -> int | None:
        nonlocal left, at
        if size > left:
            return None
        left, at = left - size, at + size
        return at - size

    def tensors(layer: int | None, found: Mapping[str, Placed]) -> None:
        for role, placed in found.items():
            if (place := take(copied(placed))) is not None:
                parts[layer, role] = place

    for layer, body in sorted(body_of.items()):
        if (place := take(layer_copied(body))) is not None:
            layers[layer] = place
    tied = graph.config.tied
    tensors(None, {role: placed for role, placed in layout.once.items()
                   if role != ROPE and (role not in TABLES or (role == "embedding" and tied))})
    more = next((layer for layer in sorted(body_of) if layer not in layers), None)
    if more is not None:
        tensors(more, dict(sorted(body_of[more].items(), key=lambda item: copied(item[1]))))
    tensors(None, {role: placed for role, placed in layout.once.items() if role == ROPE})
    cached = max(layer for layer in range(graph.config.layers * (not memory.near.size) + 1)
                 if not layer or sum(memory.cache_start(base, layer) for base in memory.layer_bytes) <= left)
    caches: dict[str, int] = {}
    for base in memory.layer_bytes if cached else ():
        place = take(memory.cache_start(base, cached))
        assert place is not None, "they have room"
        caches[base] = place
    variables = left >= VARIABLES_BYTES and not memory.near.size
    left -= VARIABLES_BYTES * variables
    tensors(None, {role: placed for role, placed in layout.once.items() if role in TABLES and (None, role) not in parts})
    return Residency(layers, parts, caches, cached, variables, start, at)


def _up(value: int) -> int:
    return -(-value // ALIGN) * ALIGN
