"""A validation program, and how it is run: assembly text, what lies in the banks before, what has to be there afterwards.

The program runs on the fast engine. A hook collects its pim operations, with their operands and the channel masks; then the rule of
isa/timing/banks.py says when the last of them is complete. Nothing else of the machine takes time here: published simulators of
banks have no host.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from asm.assembler import assemble
from emulator.machine import Machine
from isa.preset import Preset, load_preset
from isa.regions import HBM
from isa.timing.bank_state import FIGURES, HELD, figures_of, state_of
from isa.timing.banks import bank_operation, mask_words
from isa.units.pim.kinds import KIND_NUMBERS, PLACES, kind_table

Fill = Callable[[Machine], None]


class Mismatch(Exception):
    """A program's values are not those of NumPy."""


class BankOperation(NamedTuple):
    """What the rule has to know of an operation, but for when it comes."""

    mnemonic: str
    channels: int                       # bit c: channel c
    bank: int
    second: int
    row: int
    columns: int


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


def operations_of(program: ValidationProgram) -> list[BankOperation]:
    """Run a program and check its values. -> its pim operations, in order. Raises Mismatch."""
    machine = Machine(program.machine)
    machine.load(assemble(program.text))
    program.fill(machine)
    found: list[BankOperation] = []
    masks = [f"pim.channel_mask{n}" for n in ("", 1, 2, 3)]
    banks = machine.preset.parameter("pim.banks")
    every = (1 << machine.preset.parameter("pim.channels")) - 1

    def collect(machine: Any, step: Any) -> None:
        place, values = PLACES[step.row.mnemonic], step.values
        bits = sum(int(machine.csr(name)) << 64 * i for i, name in enumerate(masks))
        bits = every if place.every_channel else bits
        bank = values[place.bank] if place.bank else 0
        second = (bank + 1) % banks if place.kind == "mac in a bank" and machine.csr("pim.next_bank") else -1
        found.append(BankOperation(step.row.mnemonic, bits, bank, second, values[place.row] if place.row else 0,
                                   place.columns_of(values, banks)))

    machine.hook(collect, where=lambda pc, row: row is not None and row.unit == "pim")
    result = machine.run()
    if result.reason != "exit" or result.exit_code:
        raise Mismatch(f"the program ended with {result.reason} {result.exit_code} {result.trap}")
    program.check(machine)
    return found


class BankClock:
    """The bank rule with its state: cycles of operations that all reach the controller as soon as it can take them."""

    def __init__(self, preset: Preset, first: int = 0) -> None:
        number, memory = preset.parameter, preset.memory(HBM)
        figures = {name: getattr(memory, name) for name in FIGURES}
        self.figures = figures_of(figures, number("pim.banks"), number("pim.bank_groups"), number("pim.blocks"), kind_table())
        self.state = state_of(self.figures, number("pim.channels"))
        self.first = self.end = first

    def operate(self, operation: BankOperation) -> int:
        """-> the cycle in which an operation is complete."""
        kind = KIND_NUMBERS[PLACES[operation.mnemonic].kind]
        end = bank_operation(self.state, self.figures, kind, *mask_words(operation.channels), operation.bank, operation.second,
                             operation.row, operation.columns, self.first)
        self.end = max(self.end, int(end))
        return int(end)


def cycles_of(program: ValidationProgram) -> int:
    """Run a program, check its values, and say how many cycles its banks took, to the end that is published. Raises Mismatch."""
    clock = BankClock(load_preset(program.machine))
    began = 0
    if program.after:
        clock.first = program.after.first
        for operation in operations_of(program.after):
            clock.operate(operation)
        began = clock.end
    clock.first = began + program.first
    for operation in operations_of(program):
        clock.operate(operation)
    return max(clock.end, int(clock.state[HELD])) + program.behind - began
