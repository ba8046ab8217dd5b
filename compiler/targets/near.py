"""Units beside memory: the LUT unit multiplies integer weights by int8 activations, the vector unit does the rest.

Weights lie in flash where a machine has it, else in DRAM; caches in DRAM.
"""

from __future__ import annotations

from compiler.graph import Graph
from compiler.model.model import Model
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
