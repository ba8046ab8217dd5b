"""Units beside memory: the LUT unit multiplies integer weights by int8 activations, the vector unit does the rest.

Weights lie in flash where a machine has it, but in DRAM if units read DRAM and not flash; caches in DRAM. If neurons are objects,
these lie in flash, and other weights in DRAM.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from compiler.formats.layouts import Able
from compiler.graph import Graph
from compiler.lowering import attn, cim, objects
from compiler.model.model import Config, Model
from compiler.passes.kv_cache import Attention
from compiler.passes.sparse_weights import in_macros
from compiler.targets.target import Home, Target
from isa.preset import Preset
from isa.regions import DRAM, FLASH, SRAM
from isa.sparse.layout import FORMS
from isa.units.sp.matrices import LAYOUTS

if TYPE_CHECKING:
    from compiler.lowering.lower import Lowering


class Near(Target):
    """A machine whose units read weights from memory, as they are or through the scratchpad."""

    units = ("vec", "fetch", "sync")
    readers = frozenset(("vec", "lut"))

    caches = Home(DRAM, ".bss")
    outside = Home(DRAM, ".bss.outside")

    @classmethod
    def attention(cls, machine: Preset, config: Config, kv: str) -> Attention:
        """The attention unit, if there is one that reaches caches and scratchpad and has room for all heads: it reads a cache once,
        as it lies. Else the vector unit."""
        ports = [machine.region(name).ports for name in (DRAM, SRAM)]
        there = machine.has_unit("attn") and all({"attn", "vec"} <= set(reached) for reached in ports)
        room = there and config.heads <= machine.parameter("attn.heads") and config.q_dim <= machine.parameter("attn.channels")
        return Attention("attn" if room else "vec")

    @classmethod
    def with_products(cls, machine: Preset, graph: Graph, model: Model) -> Graph:
        return in_macros(graph, model.tensors) if cim.is_there(machine) else graph

    def __init__(self, machine: Preset, model: Model, graph: Graph, *, int8: bool) -> None:
        super().__init__(machine, model, graph, int8=int8)
        self.in_macros = cim.is_there(machine)
        flash = next((region for region in machine.regions if region.name == FLASH), None)
        readers = {unit for unit in self.readers if machine.has_unit(unit)}
        apart = flash is not None and readers <= machine.region(DRAM).ports and not readers <= flash.ports
        in_flash = flash and not apart and not objects.has_objects(graph)
        self.weights = Home(FLASH, '.flash.weights, "a"') if in_flash else Home(DRAM, '.rodata.weights, "a"')
        self.neurons = Home(FLASH, '.flash.objects, "a"') if flash else Home(DRAM, '.rodata.objects, "a"')

    @classmethod
    def sparse(cls, machine: Preset, form: str) -> Able:
        """Int8 in macros: what these can hold. Else by the sp unit: any that it has instructions for."""
        if form == "i8" and cim.is_there(machine):
            return Able(lambda layout: cim.holds(machine, layout), f"the macros of machine {machine.name} hold {cim.held(machine)}")
        if not machine.has_unit("sp") or "sp" not in machine.region(SRAM).ports:
            return Able(lambda layout: False, f"machine {machine.name} has no sp unit that reaches the scratchpad")
        if form not in FORMS:
            return Able(lambda layout: False, f"no instruction computes with {form} values without their zeros")
        return Able(lambda layout: layout.kind in LAYOUTS, "no instruction computes with it", machine.parameter("sp.activations"))

    @property
    def reached(self) -> bool:
        kinds = {op.kind.rpartition(".")[2] for _, op in self.graph.steps()}
        return self._reach(self.readers | {unit for unit, kind in (("sp", "sparse"), ("cim", "cim")) if kind in kinds})

    def start(self, c: Lowering) -> None:
        cim.start(c)
        if self._attends():
            attn.start(c)

    def _attends(self) -> bool:
        """Whether attention is on its own unit."""
        return any(op.kind in ("softmax.attn", "softmax.listed") for _, op in self.graph.steps())

    def enter_layers(self, c: Lowering, layer: int = 0) -> None:
        cim.enter_layers(c, layer)
        objects.enter_layers(c, layer)

    def enter_body(self, c: Lowering) -> None:
        if self._attends():
            attn.of_body(c)

    def next_layer(self, c: Lowering) -> None:
        cim.next_layer(c)
        objects.next_layer(c)
