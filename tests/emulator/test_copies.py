"""Copies and pickles of machines and presets: each goes on by itself, as if nobody had copied it."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from both_engines import machine_differences, memory_differences

import asm
from emulator.machine import Machine
from emulator.observe.hazards import HazardCheck
from isa.engine.snapshot import SnapshotError
from isa.preset import load_preset, preset_names
from isa.reference import ReferenceMachine, Step
from isa.services import Host

ENGINES = pytest.mark.parametrize("engine", [ReferenceMachine, Machine])
WAYS = pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda machine: pickle.loads(pickle.dumps(machine))],
                               ids=["copy", "deepcopy", "pickle"])
WORK = """
_start: la   s0, cell
again:  li   a7, 0x5110
        ecall
        bltz a0, done
        li   a7, 0x5111
        ecall
        ld   t0, 0(s0)
        add  t0, t0, a0
stored: sd   t0, 0(s0)
        csrw mscratch, t0
        j    again
done:   ld   a0, 0(s0)
        li   a7, 93
        ecall
        .data
cell:   .dword 1
"""


def started(engine: type[ReferenceMachine], instructions: int = 30) -> ReferenceMachine:
    machine = engine("slim", Host([1, 2, 3, 4]))
    machine.load(asm.assemble(WORK))
    machine.run(max_instructions=instructions)
    return machine


def seen(_machine: ReferenceMachine, step: Step) -> None:
    SEEN.append(step.pc)


SEEN: list[int] = []


@ENGINES
@WAYS
def test_a_copy_goes_on_as_the_machine_does_and_neither_notices_the_other(engine, way):
    machine, whole = started(engine), started(engine)
    twin = way(machine)
    assert type(twin) is engine and twin is not machine
    assert machine_differences(machine, twin) + memory_differences(machine, twin) == []
    result = machine.run()
    assert twin.host.tokens == [1, 2] and list(copy.copy(twin.host.prompt)) == [4]
    assert twin.run() == result == whole.run() and result.exit_code == 11
    assert machine_differences(machine, twin) + memory_differences(machine, twin) == []


@ENGINES
@WAYS
def test_what_stops_and_looks_on_goes_along(engine, way):
    machine = started(engine, 1)
    stored = machine.program.symbol("stored").value
    machine.breakpoints.add(stored)
    machine.watchpoints.append((machine.program.symbol("cell").value, 8))
    machine.hook(seen, where=None, writes=[(machine.program.symbol("cell").value, 8)])
    machine.profile()
    machine.run(max_instructions=3)
    twin = way(machine)
    machine.breakpoints.clear()
    machine.unhook(seen)
    SEEN.clear()
    assert (twin.run().reason, twin.pc) == ("breakpoint", stored)
    assert twin.visits[twin.program.entry, 0x00001417] == 0 and sum(twin.visits.values()) == twin.counter("core.instructions") - 1
    assert (twin.run().reason, SEEN) == ("watchpoint", [stored])
    assert machine.run().reason == "watchpoint" and [stored] == SEEN


def test_a_hazard_check_looks_at_the_copy():
    machine = started(Machine, 1)
    check = HazardCheck(machine)
    twin = copy.deepcopy(machine)
    assert twin.run().reason == "exit" and check.machine is machine


@ENGINES
def test_a_machine_without_a_program_and_a_prompt_that_cannot_be_copied(engine):
    machine = engine("slim-llama")
    machine.memory[0x8000_0000:0x8000_0004] = b"\x73\0\x10\0"
    twin = copy.copy(machine)
    assert twin.program is None and twin.memory[0x8000_0000:0x8000_0004].tobytes() == b"\x73\0\x10\0"
    machine.host.prompt = (token for token in ())
    with pytest.raises(SnapshotError, match="the prompt is a generator"):
        pickle.dumps(machine)


@pytest.mark.parametrize("name", preset_names())
def test_presets(name):
    preset = load_preset(name)
    for twin in (pickle.loads(pickle.dumps(preset)), copy.copy(preset), copy.deepcopy(preset)):
        assert twin == preset and twin.settings == preset.settings and twin.banks == preset.banks


def _finished(machine: ReferenceMachine) -> tuple[int, list[int]]:
    return machine.run().exit_code, machine.host.tokens


def test_a_machine_runs_in_another_process():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply_async(_finished, (started(ReferenceMachine),)).get(timeout=120) == (11, [1, 2, 3, 4])


@pytest.mark.skipif(sys.platform != "linux", reason="needs ulimit -v")
@pytest.mark.parametrize("kilobytes", [280_000, *range(324_000, 342_000, 2_000), 400_000])
def test_too_little_address_space_for_the_compiler_is_one_message(tmp_path, kilobytes):
    """A library is not found, a module not mapped, memory is out: each in another place and in other words."""
    asm.assemble("_start: li a7, 93\n li a0, 0\n ecall\n").save(tmp_path / "p.elf")
    done = subprocess.run(["bash", "-c", f'ulimit -v {kilobytes}; exec "$@"', "bash", sys.executable, "-m", "slimulator", "run",
                           tmp_path / "p.elf", "--quiet"], env=os.environ | {"XDG_CACHE_HOME": str(tmp_path)},
                          cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120)
    message, hint = done.stderr.splitlines()
    assert done.returncode == 1 and hint.startswith("hint: raise `ulimit -v`")
    assert f"{kilobytes * 1024:,}" in message and message.startswith(("error: out of address space (", "error: machine slim"))


@pytest.mark.skipif(sys.platform != "linux", reason="needs ulimit -v")
@pytest.mark.parametrize("engine", ["fast", "reference"])
def test_without_address_space_it_is_said_how_much_is_needed(tmp_path: Path, engine):
    asm.assemble(WORK).save(tmp_path / "a.elf")
    done = subprocess.run(["bash", "-c", 'ulimit -v 20000000; exec "$@"', "bash", sys.executable, "-m", "slimulator", "run",
                           tmp_path / "a.elf", "--engine", engine], capture_output=True, text=True, timeout=120,
                          cwd=Path(__file__).parents[2])
    assert (done.returncode, done.stdout) == (1, "")
    assert "error: machine slim, region.hbm.size: 34,359,738,368 bytes of address space cannot be reserved: Cannot" in done.stderr
    assert "expected room for 51,556,384,792, all regions that can be written; `ulimit -v` allows 20,480,000,000" in done.stderr
    assert done.stderr.count("error:") == 1
