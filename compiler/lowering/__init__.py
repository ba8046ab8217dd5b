"""From operations of the graph to instructions, one file for each unit, named as in isa/units.

A function lowers one kind of operation:

    @lowers("bias")
    def bias(c, op): c.emit.op("vec.add.f32", c.at(result), c.at(x), c.weight(role), c.length(result), ...)

`c` is the Lowering of the program: it knows where values and weights are, and holds the emitter.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from compiler.emit import LAYER, WEIGHTS, Emitter, Want, number, offset, symbol
from compiler.graph import Graph, Op
from compiler.memory_plan import MemoryPlan
from compiler.weights import Layout, Placed


class Lowering:
    """What the functions that lower operations work with."""

    def __init__(self, graph: Graph, layout: Layout, memory: MemoryPlan) -> None:
        self.graph, self.layout, self.memory = graph, layout, memory
        self.emit = Emitter()
        self.built = ""                 # the codes that the LUT unit has loaded
        self._labels: dict[str, int] = {}

    def at(self, name: str) -> Want:
        """The address of a value."""
        return symbol(name)

    def slots(self, *names: str) -> tuple[str, ...]:
        """What the emitter keeps in order: the slots of values, of a cache its name."""
        return tuple(self.memory.slots[name].name if name in self.memory.slots else name for name in names)

    def elements(self, name: str) -> int:
        return prod(int(length) for length in self.graph.values[name].shape)

    def length(self, name: str) -> Want:
        return number(self.elements(name))

    def tensor(self, role: str) -> Placed:
        """Where a weight of an operation is: "layer.q", "head"."""
        if role == "head" and self.graph.config.tied:
            role = "embedding"
        return self.layout.layer[role.removeprefix("layer.")] if role.startswith("layer.") else self.layout.once[role]

    def weight(self, role: str, scales: bool = False) -> Want:
        """The address of a weight, or of its scales."""
        placed = self.tensor(role)
        return offset(LAYER if role.startswith("layer.") else WEIGHTS, placed.scales if scales else placed.offset,
                      role.removeprefix("layer.") + (" scales" if scales else ""))

    def move(self, register: str, want: Want) -> None:
        """Set a register that the caller goes on to change."""
        self.emit.line(f"la {register}, {want.value}")

    def advance(self, register: str, count: int) -> None:
        """Add a number of bytes to a register."""
        if count < 2048:
            self.emit.line(f"addi {register}, {register}, {count}")
        else:
            self.emit.line(f"li a6, {count}")
            self.emit.line(f"add {register}, {register}, a6")

    def name(self, what: str) -> str:
        """A label that is not yet taken."""
        self._labels[what] = self._labels.get(what, 0) + 1
        return f".L{what}_{self._labels[what]}"


LOWERINGS: dict[str, Callable[[Lowering, Op], None]] = {}


def lowers(*kinds: str) -> Callable[[Callable[[Lowering, Op], None]], Callable[[Lowering, Op], None]]:
    """Register the lowering of some kinds of operations."""
    def register(function: Callable[[Lowering, Op], None]) -> Callable[[Lowering, Op], None]:
        for kind in kinds:
            LOWERINGS[kind] = function
        return function
    return register


from compiler.lowering import fetch, lut, vec  # noqa: E402, F401 - they register their functions
