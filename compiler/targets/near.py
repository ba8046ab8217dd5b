"""Units beside memory: the LUT unit multiplies integer weights by int8 activations, the vector unit does the rest.

Weights lie in flash where a machine has it, else in DRAM; caches in DRAM.
"""

from __future__ import annotations

from compiler.errors import ModelError
from compiler.graph import Graph
from compiler.model.model import Model
from compiler.placing.memory_plan import MemoryPlan
from compiler.placing.weights import WeightLayout
from compiler.targets.target import Home, Target
from isa.preset import Preset
from isa.regions import DRAM, FLASH


class Near(Target):
    """A machine whose units read weights from memory, as they are or through the scratchpad."""

    units = ("vec", "fetch", "sync")
    readers = frozenset(("vec", "lut"))

    caches = Home(DRAM, ".bss")
    outside = Home(DRAM, ".bss.outside")

    def __init__(self, machine: Preset, model: Model, graph: Graph, *, int8: bool) -> None:
        super().__init__(machine, model, graph, int8=int8)
        flash = any(region.name == FLASH for region in machine.regions)
        self.weights = Home(FLASH, '.flash.weights, "a"') if flash else Home(DRAM, '.rodata.weights, "a"')

    def check(self, layout: WeightLayout, memory: MemoryPlan) -> None:
        products = {op.weights[0].removeprefix("layer.") for _, op in self.graph.steps() if op.kind.startswith("gemv.i8")}
        widest = max((placed for placed in layout.every() if placed.scale_count and placed.role in products),
                     key=lambda placed: placed.shape[1], default=None)
        tables = self.machine.parameter("lut.activations") if widest else 0
        if widest and widest.shape[1] > tables:
            raise ModelError("", self.place, got=f"{widest.role} has {widest.shape[1]:,} columns",
                             expected=f"at most the {tables:,} activations that its tables hold (lut.activations)",
                             hint="floating-point weights need no tables: --weights f16, or --activations f32")
        super().check(layout, memory)
