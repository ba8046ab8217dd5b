"""Targets: what a machine means for compilation, one file for each. compile.py and lowering ask a target and know none by name.

    target.py   the questions, and the answers that most targets share
    near.py     units beside memory, look-up tables for integer weights: slim, slim-llama
    banks.py    matrices in the banks of a PIM memory, which multiply there: hpim

To add one: a file here with a subclass of Target, and the class in TARGETS. If it needs a pass, that goes to passes/; where its
matrices lie goes to placing/; its operations go to graph/ops.py, graph/execute.py and lowering/.
"""

from compiler.errors import ModelError, one_of
from compiler.targets.banks import Banks
from compiler.targets.near import Near
from compiler.targets.target import Target
from isa.preset import Preset, presets_with
from isa.regions import SRAM

TARGETS: tuple[type[Target], ...] = (Banks, Near)
"""The first one that a machine suits is its target."""


def target_of(machine: Preset) -> type[Target]:
    """The target that a machine is. Raises ModelError for a unit or a scratchpad that all its programs need and the machine
    lacks."""
    target = next(target for target in TARGETS if target.suits(machine))
    for unit in target.units:
        if not machine.has_unit(unit):
            raise ModelError("", f"machine {machine.name}", got=f"no {unit} unit",
                             expected=f"{one_of(target.units).replace(' or ', ' and ')}: all programs of models use them",
                             hint=presets_with((unit,)))
    if all(region.name != SRAM for region in machine.regions):
        raise ModelError("", f"machine {machine.name}", got="no region sram", expected="one: programs of models compute there")
    return target


__all__ = ["TARGETS", "Target", "target_of"]
