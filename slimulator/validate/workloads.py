"""Every point of every simulator: which program stands for it, and its outcome. Equal programs run once."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

from slimulator.validate import aim, attacc, controller, dramsim3, pim_simulator, plain
from slimulator.validate.points import Inexpressible, Outcome, Point
from slimulator.validate.program import Mismatch, ValidationProgram, cycles_of

_HBM2_PIM = re.compile(r"HBM2-PIM 64 pseudo-channels( \(run with \d+; all alike\))?")
_AIM = "GDDR6_AiM_org/_timing 32 channels"

Sizes = tuple[tuple[str, int], ...]


def outcome_of(point: Point) -> Outcome:
    """Run the program of a point. Raises Inexpressible."""
    execute = SIMULATORS.get(point.simulator)
    if execute is None:
        raise Inexpressible(f"no programs for the simulator {point.simulator}")
    if point.cycles is None:
        raise Inexpressible("no cycles were published")
    return execute(point)


def _pim_simulator(point: Point) -> Outcome:
    if not _HBM2_PIM.fullmatch(point.config):
        raise Inexpressible(f"unknown configuration {point.config!r}; expected HBM2-PIM 64 pseudo-channels")
    return _on_banks(point.simulator, point.workload, tuple(point.parameters.items()))


def _aim(point: Point) -> Outcome:
    if point.config != _AIM:
        raise Inexpressible(f"unknown configuration {point.config!r}; expected {_AIM}")
    return _on_banks(point.simulator, point.workload, ())


@cache
def _on_banks(simulator: str, workload: str, sizes: Sizes) -> Outcome:
    """A workload whose outcome follows from these alone. Raises Inexpressible."""
    try:
        if simulator == aim.SIMULATOR:
            return Outcome(cycles_of(_known(aim.program_of(workload), workload)))
        point = Point(simulator, "", workload, dict(sizes), None)
        if access := plain.program_of(point):
            return Outcome(plain.cycles_of(access))
        return Outcome(cycles_of(_known(pim_simulator.program_of(point) or controller.program_of(point), workload)))
    except Mismatch as error:
        return Outcome(0, wrong=(str(error),))


def _known(program: ValidationProgram | None, workload: str) -> ValidationProgram:
    if program is None:
        raise Inexpressible(f"no program for the workload {workload!r}")
    return program


SIMULATORS: dict[str, Callable[[Point], Outcome]] = {
    pim_simulator.SIMULATOR: _pim_simulator, aim.SIMULATOR: _aim,
    attacc.SIMULATOR: attacc.execute, dramsim3.SIMULATOR: dramsim3.execute}
"""What runs the points of each simulator."""
