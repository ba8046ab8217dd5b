"""What the compiler asks about a machine. A subclass says where things lie, and overrides what is different on its machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from compiler.errors import RoomError
from compiler.graph import Graph
from compiler.model.model import Model
from compiler.passes.kv_cache import Attention
from compiler.placing.bank_placement import Banked
from compiler.placing.made import Contents
from compiler.placing.memory_plan import MemoryPlan
from compiler.placing.weights import PAGE, WeightLayout
from isa.preset import Preset

if TYPE_CHECKING:
    from compiler.lowering.lower import Lowering

MapRow = tuple[str, int, str]
"""Of the memory map that people read: region, bytes, what they are."""


@dataclass(frozen=True)
class Home:
    """Where a part of a program lives: a region of the machine, and a section there with its flags, as `.section` takes them."""

    region: str
    section: str


@dataclass(frozen=True)
class Image:
    """Weights as one run of bytes of the program, from the label `name` on. `about`: lines of comment above it in the text."""

    name: str
    home: Home
    contents: Contents
    about: Sequence[str] = ()


class Target:
    """A machine as the target of one model. `graph` is the graph that the program computes.

    units      that its programs need
    readers    units that read weights and caches where these lie, if they have ports there
    weights    where they live; caches: where keys and values do
    kept       names of scratch that stay as the start of the program left them
    """

    units: ClassVar[tuple[str, ...]]
    readers: ClassVar[frozenset[str]]
    weights: Home
    caches: Home
    kept: tuple[str, ...] = ()

    def __init__(self, machine: Preset, model: Model, graph: Graph, *, int8: bool) -> None:
        """`int8`: activations of integer weights are int8. Raises ModelError for a graph that this target cannot compute."""
        self.machine, self.model, self.graph = machine, model, graph

    @classmethod
    def suits(cls, machine: Preset) -> bool:
        """Whether a machine is such a target."""
        return True

    @classmethod
    def attention(cls, machine: Preset, kv: str) -> Attention:
        """The unit that attends to caches of a format, and how it wants them."""
        return Attention()

    @property
    def reached(self) -> bool:
        """Whether the units read weights and caches where these lie. Else the fetch unit copies them to the scratchpad."""
        return all(self.readers <= self.machine.region(home.region).ports for home in (self.weights, self.caches))

    # -------------------------------------------------------------------------------------------- memory

    def elsewhere(self, role: str, layer: int) -> Banked | None:
        """Where the matrix of a role ("layer.q", "head") lies, if not in the image `weights`: that has its scales alone then."""
        return None

    def images(self, layout: WeightLayout) -> list[Image]:
        """The weights as the program has them, by rising address."""
        return [Image("weights", self.weights, layout)]

    def scratch(self) -> dict[str, int]:
        """Bytes of scratch that its operations need, by name: scratchpad beside that of values."""
        return {}

    def check(self, layout: WeightLayout, memory: MemoryPlan) -> None:
        """Raise ModelError or RoomError for what the machine lacks for a program: tables, ports, memory."""
        needed = {self.weights.region: layout.size}
        needed[self.caches.region] = needed.get(self.caches.region, 0) + memory.cache_bytes + PAGE
        for name, size in needed.items():
            room = self.machine.region(name).size
            if size > room:
                wide = any(float(placed.format.packing.bits) > 2 for placed in layout.every() if len(placed.shape) == 2)
                fewer = ["--weights t2"] * wide
                fewer += ["--kv i8"] * (name == self.caches.region and self.graph.values["keys"].format != "i8")
                hint = f"fewer bits take less ({', '.join(fewer)})" if fewer else f"{size - room:,} bytes are missing"
                raise RoomError("", self.place, got=f"weights and caches take {size:,} bytes of {name}",
                                expected=f"at most {room:,}", hint=hint)

    @property
    def place(self) -> str:
        """The machine, as errors name it."""
        return f"machine {self.machine.name}"

    def mapped(self, weights: MapRow, caches: MapRow) -> tuple[list[MapRow], list[str]]:
        """The memory map's rows for weights and caches, and lines to stand below it."""
        return [weights, caches], []

    # -------------------------------------------------------------------------------------------- code of the program

    def start(self, c: Lowering) -> None:
        """What the program does once, at its start."""

    def enter_layers(self, c: Lowering) -> None:
        """What it does before the first layer, for each token."""

    def next_layer(self, c: Lowering) -> None:
        """What it does between two layers."""

