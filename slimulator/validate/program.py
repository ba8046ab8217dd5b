"""A validation program, and how it is run: assembly text, what lies in the banks before, what has to be there afterwards.

The program runs on the fast engine, and the machine's own clock times it. The core of this machine takes no time: published
simulators of banks have no host.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from asm.assembler import assemble
from emulator.machine import Machine
from isa.preset import Preset, load_preset, preset_of
from isa.regions import HBM
from isa.timing.memories import PimDram
from isa.timing.rates import MOST_QUEUE, PICOSECONDS

Fill = Callable[[Machine], None]


class Mismatch(Exception):
    """A program's values are not those of NumPy."""


@dataclass(frozen=True)
class ValidationProgram:
    """A workload as a program: `fill` puts its data where no command puts them, `check` raises Mismatch.

    `first` is the cycle of the first command, `behind` the cycles between the last one's completion and the end that is published:
    what a simulator takes to hand over a request and to see that all is done. `after` has been run before it, on the same clock.
    """

    machine: str
    text: str
    fill: Fill
    check: Fill
    first: int = 0
    behind: int = 0
    after: ValidationProgram | None = None


def expect(what: str, got: Any, expected: Any) -> None:
    """Raise Mismatch unless two arrays have the same bits."""
    got, expected = np.asarray(got), np.asarray(expected)
    same = got.shape == expected.shape and np.array_equal(got.view(np.uint8), expected.view(np.uint8))
    if not same:
        wrong = np.flatnonzero(got.reshape(-1) != expected.reshape(-1))[:1] if got.shape == expected.shape else [0]
        place = int(wrong[0]) if len(wrong) else 0
        raise Mismatch(f"{what}: {len(np.flatnonzero(got.reshape(-1) != expected.reshape(-1)))} of {got.size} values are wrong, "
                       f"first number {place}: {got.reshape(-1)[place]}; expected {expected.reshape(-1)[place]}")


@cache
def machine_of(name: str) -> Preset:
    """A machine whose banks take each operation as soon as they can, and whose clock is that of the banks."""
    preset = load_preset(name)
    data: Any = preset.file.model_dump(mode="json", exclude_none=True)
    memory = preset.memory(HBM)
    assert isinstance(memory, PimDram)
    source = "assumed: published simulators of banks have no host"
    data["clock_hz"] = {"value": int(PICOSECONDS / memory.period_ps), "source": source}
    for region in data["region"].values():
        if "latency_cycles" in region:
            region |= {"latency_cycles": {"value": 1, "source": source}, "bytes_per_cycle": {"value": 1_000_000, "source": source}}
    data["unit"]["pim"]["rates"]["queue_depth"] = {"value": MOST_QUEUE, "source": source}
    return preset_of(data)


def run(program: ValidationProgram, first: int, before: Machine | None = None) -> Machine:
    """Run a program whose first command may come in cycle `first`, on banks as another machine left them, and check its values.
    Raises Mismatch."""
    machine = Machine(machine_of(program.machine))
    machine.load(assemble(program.text))
    program.fill(machine)
    machine.clocks[0].without_core()
    machine.clocks[0].begin_at(first, machine.counts, before.clocks[0] if before else None)
    result = machine.run()
    if result.reason != "exit" or result.exit_code:
        raise Mismatch(f"the program ended with {result.reason} {result.exit_code} {result.trap}")
    program.check(machine)
    return machine


def cycles_of(program: ValidationProgram) -> int:
    """Run a program, check its values, and say how many cycles its banks took, to the end that is published. Raises Mismatch."""
    before = run(program.after, program.after.first) if program.after else None
    began = before.clocks[0].end_of_banks() if before else 0
    return run(program, began + program.first, before).clocks[0].end_of_banks() + program.behind - began
