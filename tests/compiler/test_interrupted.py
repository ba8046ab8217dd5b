"""Ctrl-C in what runs a machine for somebody: it ends the work, whichever of its many runs it meets. And what SIGKILL leaves."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from children import SLIMULATOR, run
from compiled_models import built
from tiny_checkpoint import write_checkpoint

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


@pytest.mark.parametrize("command", ["compile", "verify"])
def test_what_a_killed_one_leaves_goes_with_the_next(tmp_path: Path, command: str) -> None:
    """Killed where verify's temporary files are there, as by a host that has no memory left. compile has none."""
    model, there = write_checkpoint(tmp_path), tmp_path / "tmp"
    there.mkdir()
    arguments = {"compile": ["-o", tmp_path / "m.elf"], "verify": ["--prompt", "ab", "--tokens", 2]}[command]
    dies = "import os, sys, slimulator\nimport compiler.compiled as c\nc.assemble = lambda *_, **__: os.kill(os.getpid(), 9)\n"
    environment = os.environ | {"TMPDIR": str(there)}
    done = run(sys.executable, "-c", f"{dies}slimulator.invoke(sys.argv[1:])", command, model, *arguments, env=environment)
    left = list(there.iterdir())
    assert done.returncode == -signal.SIGKILL and len(left) == {"compile": 0, "verify": 1}[command]
    for folder in left:
        assert list(folder.iterdir())
        os.utime(folder, (time.time() - 3600,) * 2)
    assert run(*SLIMULATOR, command, model, *arguments, env=environment).returncode == 0
    assert not list(there.iterdir())


def _loaded(made: tuple[object, object], make: type[ReferenceMachine]) -> ReferenceMachine:
    machine = make(load_preset("slim"))
    machine.load(made[1])       # type: ignore[arg-type]
    return machine
