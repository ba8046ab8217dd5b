"""Ctrl-C in what runs a machine for somebody: it ends the work, whichever of its many runs it meets."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from compiled_models import built

from compiler.checking.evaluate import of_program
from compiler.checking.verify import compare
from compiler.checking.verify_chain import engines
from compiler.measuring.measure import measure
from emulator.machine import Machine
from isa.preset import load_preset
from isa.reference import ReferenceMachine


def interrupted(engine: type[ReferenceMachine], at: int) -> type[ReferenceMachine]:
    """An engine that meets Ctrl-C when run number `at` of all its machines is prepared."""
    class Interrupted(engine):      # type: ignore[valid-type,misc]
        runs = 0

        def _prepare(self) -> None:
            Interrupted.runs += 1
            if Interrupted.runs == at:
                self.stop("interrupted")
            super()._prepare()
    return Interrupted


@pytest.mark.parametrize("at", [1, 2, 5])
@pytest.mark.parametrize("work", [
    lambda made, make: measure(made[1], make, seconds=0.3),
    lambda made, make: compare(*made, [1, 2, 3], make),
    lambda made, make: [engines(made[1], load_preset("slim"), [1, 2], 2, make) for _ in range(5)],
    lambda made, make: [list(of_program(_loaded(made, make), made[1])([1, 2])) for _ in range(5)]],
    ids=["measure", "compare", "engines", "logits"])
def test_it_ends(work: Callable[..., object], at: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        work(built(), interrupted(Machine, at))


def _loaded(made: tuple[object, object], make: type[ReferenceMachine]) -> ReferenceMachine:
    machine = make(load_preset("slim"))
    machine.load(made[1])       # type: ignore[arg-type]
    return machine
