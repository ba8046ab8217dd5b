"""What the compiler asks about a machine. A subclass says where things lie, and overrides what is different on its machines."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from compiler.errors import ModelError, RoomError, most
from compiler.formats.layouts import Able
from compiler.graph import Graph
from compiler.lowering.objects import has_objects
from compiler.model.model import Config, Model
from compiler.passes.kv_cache import Attention
from compiler.placing.bank_placement import Banked
from compiler.placing.made import Contents
from compiler.placing.memory_plan import MemoryPlan
from compiler.placing.objects import POWER, Objects, plan_objects
from compiler.placing.weights import PAGE, WeightLayout
from isa.preset import Preset, presets_with
from isa.regions import SRAM

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

    units      that all its programs need; others are for what a program may do without: needs()
    readers    units that read weights and caches where these lie, if they have ports there
    neurons    where the objects of neurons live, if there are any (placing/objects.py)
    weights    where they live; caches: where keys and values do; outside: where values do that the scratchpad has no room for
    kept       names of scratch that stay as the start of the program left them
    in_page    how many objects of neurons share a page, one of IN_PAGE
    in_macros  int8 matrices stand in macros of the cim unit
    pairs      codes of codebooks are looked up two at a time
    by_token   matrices are multiplied where they lie, for one token after the other: chunks of a prompt would save nothing
    """

    units: ClassVar[tuple[str, ...]]
    readers: ClassVar[frozenset[str]]
    weights: Home
    caches: Home
    outside: Home
    neurons: Home
    kept: tuple[str, ...] = ()
    by_token: ClassVar[bool] = False
    in_macros: bool = False
    in_page: str = POWER
    pairs: bool = False

    def __init__(self, machine: Preset, model: Model, graph: Graph, *, int8: bool) -> None:
        """`int8`: activations of integer weights are int8. Raises ModelError for a graph that this target cannot compute."""
        self.machine, self.model, self.graph = machine, model, graph

    @classmethod
    def suits(cls, machine: Preset) -> bool:
        """Whether a machine is such a target."""
        return True

    @classmethod
    def attention(cls, machine: Preset, config: Config, kv: str) -> Attention:
        """The unit that attends to caches of a format of KV_FORMATS, and how it wants them."""
        return Attention()

    @classmethod
    def chooses(cls, machine: Preset, attention: Attention) -> bool:
        """Whether its units can choose what attention looks at: they reach caches and scratchpad, and the attention unit
        attends."""
        needed = {"attn", "vec", "thr", "fetch"}
        regions = [region for region in machine.regions if region.name in (cls.caches.region, SRAM)]
        return attention.unit == "attn" and all(map(machine.has_unit, needed)) and all(needed <= region.ports for region in regions)

    @classmethod
    def sparse(cls, machine: Preset, form: str) -> Able:
        """The sparse layouts that a machine computes with, values in a format."""
        return Able(lambda layout: False, f"machine {machine.name} has no sp unit")

    @classmethod
    def with_products(cls, machine: Preset, graph: Graph, model: Model) -> Graph:
        """The graph whose products are those of the unit that the machine has for them."""
        return graph

    @property
    def reached(self) -> bool:
        """Whether the units read weights and caches where these lie. Else the fetch unit copies them to the scratchpad."""
        return self._reach(self.readers)

    def _reach(self, units: Collection[str]) -> bool:
        """Whether those of these units that the machine has reach weights and caches."""
        readers = {unit for unit in units if self.machine.has_unit(unit)}
        return all(readers <= self.machine.region(home.region).ports for home in (self.weights, self.caches))

    def check_units(self) -> None:
        """Raise ModelError for a unit that the machine lacks and an operation needs."""
        sparse = "active" in self.graph.values
        for _, op in self.graph.steps():
            if op.kind.endswith((".sparse", ".cim")):
                continue                            # `sparse` and `with_products` say where there are such kinds
            if op.kind.startswith(("gemv.i8", "macT.i8")):
                unit, why = "lut", f"it multiplies the integer weights of {op.weights[0]} by int8 activations"
                instead = ("its macros hold int8 matrices, --weights i8" if self.in_macros and not sparse else
                           "--weights f16 needs none" if sparse else "--weights i8 --activations f32 needs none")
            elif op.kind.startswith("active"):
                unit, why, instead = "thr", "it lists the active neurons of --ffn-sparsity", "without --ffn-sparsity none is needed"
            else:
                continue
            if not self.machine.has_unit(unit):
                if self.in_macros and sparse and unit == "lut":
                    raise ModelError("", self.place, got=f"--ffn-sparsity, and int8 weights of {op.weights[0]}",
                                     expected="floating-point weights: rows of active neurons cannot be left out of a macro",
                                     hint="without --ffn-sparsity none has to be")
                raise ModelError("", self.place, got=f"no {unit} unit", expected=f"one: {why}",
                                 hint=f"{instead}; {presets_with((unit,))}")

    # -------------------------------------------------------------------------------------------- memory

    def elsewhere(self, role: str, layer: int) -> Banked | None:
        """Where the matrix of a role ("layer.q", "head") lies, if not in the image `weights`: that has its scales alone then."""
        return None

    def images(self, layout: WeightLayout) -> list[Image]:
        """The weights as the program has them, by rising address."""
        images = [Image("weights", self.weights, layout)]
        if has_objects(self.graph):
            about = ["objects of neurons: of each its row of gate, its row of up, its column of down",
                     *dict.fromkeys(map(str, self.objects(layout).bodies))]
            images.append(Image("objects", self.neurons, self.objects(layout), about))
        return images

    @property
    def objects_apart(self) -> bool:
        """Whether neurons are objects that come from another memory than what the units read: both can work at the same time."""
        return has_objects(self.graph) and self.reached and self.neurons.region not in (self.weights.region, self.caches.region)

    def objects(self, layout: WeightLayout) -> Objects:
        """Where neurons lie, if they are objects."""
        flash = next((region for region in self.machine.regions if region.name == self.neurons.region), None)
        return plan_objects(layout, flash.page_bytes if flash else 0, self.in_page)

    def scratch(self) -> dict[str, int]:
        """Bytes of scratch that its operations need, by name: scratchpad beside that of values."""
        return {}

    def check(self, layout: WeightLayout, memory: MemoryPlan) -> None:
        """Raise ModelError or RoomError for what the machine lacks for a program: tables, ports, memory."""
        parts = {"weights": (self.weights.region, layout.size),
                 **({"objects of neurons": (self.neurons.region, self.objects(layout).size)} if has_objects(self.graph) else {}),
                 "keys and values": (self.caches.region, memory.cache_bytes),
                 **{name: (self.outside.region, size) for name, size in memory.outside.items()}}
        for region in dict.fromkeys(region for region, _ in parts.values()):
            sizes = {name: size for name, (where, size) in parts.items() if where == region}
            size, room = sum(sizes.values()) + PAGE * (region == self.caches.region), self.machine.region(region).size
            if size > room:
                raise RoomError("", self.place, region=region, expected=f"at most {room:,}",
                                got=f"weights and caches take {size:,} bytes of {region}, {most(sizes)}",
                                hint=f"{size - room:,} bytes are missing")

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

    def enter_layers(self, c: Lowering, layer: int = 0) -> None:
        """What it does before the first layer, for each token; or before another one, where a prompt goes on behind a cut."""

    def enter_body(self, c: Lowering) -> None:
        """What the code of a layer begins with."""

    def next_layer(self, c: Lowering) -> None:
        """What it does between two layers."""

