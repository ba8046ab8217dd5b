"""Random programs of all instructions: the fast engine, looked at or not, does what the reference engine does.

Compared are registers, pc, CSRs, counters, unit state, memory, traps, output, and what hooks see. Each program runs six times: on
the reference engine; on the fast one; on the fast one with a hook on every instruction; and on both in pieces, with breakpoints,
watchpoints, a profile, and hooks on some instructions (fuzzing.Watched).

What fails is simplified and left in regressions/ as an assembly file, where it is run again from then on.

`make fuzz` runs many more programs, other ones each time; SLIMULATOR_FUZZ=100000 says how many.
"""

from __future__ import annotations

import os
import sys
import zlib
from collections import Counter
from pathlib import Path

import children
import numpy as np
import pytest
from both_engines import SMALL, Difference, machine_differences, memory_differences
from hypothesis import HealthCheck, Phase, given, settings
from random_xslim import SETTINGS, SIZE, Watched, cases, spelled

import asm
from emulator.load_kernels import registered
from emulator.machine import Machine
from isa.instruction import TABLE, find
from isa.program import Program
from isa.reference import ReferenceMachine, Step
from isa.services import Host
from isa.units import UNITS

MOST = 200                  # instructions that a program may take: some never end
PROMPT = (5, 7, -3)
REGRESSIONS = Path(__file__).parent / "regressions"
LONG = os.environ.get("SLIMULATOR_FUZZ")
PARTS = (os.cpu_count() or 1) if LONG else 1          # of a long run, each on a core of its own


# ---------------------------------------------------------------------------------------------------- both engines


@pytest.mark.parametrize(("name", "text"), [
    ("SLIMULATOR_FUZZ", "many"), ("SLIMULATOR_FUZZ", "0"), ("SLIMULATOR_FUZZ", ""), ("SLIMULATOR_FUZZ_SEED", "-1")])
def test_a_wrong_number_of_programs_is_one_message(name: str, text: str) -> None:
    done = children.run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--collect-only",
                        "tests/isa/test_second_model.py", env=os.environ | {name: text})
    assert done.returncode == 4 and "Traceback" not in done.stdout + done.stderr
    assert f"ERROR: {name} is {text!r}; expected a whole number, " in done.stderr


class Run:
    """A machine with a program, and what hooks have seen of it."""

    def __init__(self, engine: type[ReferenceMachine], program: Program) -> None:
        self.machine = engine(SMALL, Host(PROMPT))
        self.machine.load(program)
        self.seen: list[tuple] = []

    def look(self, every: int) -> None:
        """Note every n-th instruction of memory from now on, all for 1."""
        self.machine.hook(self._see, None if every == 1 else lambda pc, _: pc // 4 % every == 0)

    def _see(self, _: ReferenceMachine, step: Step) -> None:
        self.seen.append((step.pc, step.word, step.row, step.fields, step.values, step.register, step.reads,
                          [(address, data.tobytes()) for address, data in step.writes], step.trap))


def compare(where: str, expected: Run, got: Run, seen: bool = True) -> None:
    """Raise Difference if two runs have not come to the same, or have not been `seen` alike."""
    found = machine_differences(expected.machine, got.machine) + memory_differences(expected.machine, got.machine)
    if seen and expected.seen != got.seen:
        at = next((i for i, (one, other) in enumerate(zip(expected.seen, got.seen, strict=False)) if one != other),
                  min(len(expected.seen), len(got.seen)))
        found.append(f"hooks: step {at} is {got.seen[at:at + 1]} instead of {expected.seen[at:at + 1]}")
    if found:
        raise Difference(where, found)


def agree(program: Program, how: Watched) -> Run:
    """Run a program in all ways. Raises Difference. Returns the run on the reference engine, each of its instructions seen."""
    reference, fast, traced = Run(ReferenceMachine, program), Run(Machine, program), Run(Machine, program)
    reference.look(1)
    traced.look(1)
    expected = reference.machine.run(MOST)
    for name, run in (("at full speed", fast), ("with a hook on everything", traced)):
        result = run.machine.run(MOST)
        if result != expected:
            raise Difference(name, [f"result: {result} instead of {expected}"])
        compare(name, reference, run, seen=run is traced)
    in_pieces(program, how, reference)
    return reference


def in_pieces(program: Program, how: Watched, whole: Run) -> None:
    """Both engines, stopping again and again in the same places: that must not change where they come to."""
    pair = Run(ReferenceMachine, program), Run(Machine, program)
    stops, place = [program.symbol(f"L{step}") for step in how.stops], program.symbol(how.watch)
    for run in pair:
        run.look(how.every)
        run.machine.profile()
        run.machine.breakpoints |= {symbol.value for symbol in stops if symbol}
        if place:
            run.machine.watchpoints.append((place.value + 3, 9))
    left, limits = MOST, iter(how.runs)
    while left:
        before = pair[0].machine.spent
        expected, result = (run.machine.run(min(left, limit)) for limit in [next(limits, MOST)] for run in pair)
        name = f"in pieces, after {expected.instructions} instructions"
        if result != expected:
            raise Difference(name, [f"result: {result} instead of {expected}"])
        compare(name, *pair)
        left -= pair[0].machine.spent - before
        if expected.reason in ("exit", "trap"):
            break
    compare("in pieces instead of one", whole, pair[0], seen=False)
    visits = Counter(step[:2] for step in whole.seen if step[-1] is None)
    for run in pair:
        if run.machine.visits != visits:
            raise Difference("profile", [f"{run.machine.visits - visits} too often, {visits - run.machine.visits} too rarely"])


# ---------------------------------------------------------------------------------------------------- random programs


def keep(text: str, how: Watched, error: Exception) -> Path:
    """Write a program that has failed into REGRESSIONS, in front of it how it was watched and what was found."""
    text = f"# {how}\n" + "".join(f"# {line}\n" for line in str(error).splitlines()[:8]) + text
    path = REGRESSIONS / f"found_{zlib.crc32(text.encode()):08x}.s"
    path.write_text(text, encoding="utf-8")
    return path


def run_again(path: Path) -> None:
    """Run a program that was kept as it ran then. Raises Difference."""
    text = path.read_text(encoding="utf-8")
    agree(asm.assemble(text, machine=SMALL), Watched.parse(text.partition("\n")[0].removeprefix("# ")))


@pytest.mark.parametrize("part", range(PARTS))
def test_random_programs(fuzzed, part):
    failed, count = [], -(-int(LONG or 1500) // PARTS)

    @settings(max_examples=min(count, 10_000), deadline=None, derandomize=LONG is None, database=None,
              phases=[Phase.generate, Phase.shrink], suppress_health_check=list(HealthCheck))
    @given(cases)
    def run(case: tuple[str, Watched]) -> None:
        fuzzed["programs"] += 1
        try:
            agree(asm.assemble(case[0], machine=SMALL), case[1])
        except Exception as error:
            failed.append((*case, error))
            raise

    try:
        for _ in range(-(-count // 10_000)):        # hypothesis remembers all that it has tried in a run
            run()
    except Exception as error:
        if failed:              # last comes what hypothesis could not simplify further
            error.add_note(f"the program is now {keep(*failed[-1])}")
        raise


@pytest.mark.parametrize("path", sorted(REGRESSIONS.glob("*.s")), ids=lambda path: path.stem)
def test_found_programs(path):
    run_again(path)


def test_what_is_found_is_kept_and_run_again(monkeypatch, tmp_path):
    monkeypatch.setattr("test_fuzzing.REGRESSIONS", tmp_path)
    text, how = spelled(bytes(range(1, 256)) * 5)
    agree(asm.assemble(text, machine=SMALL), how)
    right = Machine.commit

    def wrong(machine: Machine) -> None:
        right(machine)
        machine.count("core.loads")

    with monkeypatch.context() as broken:
        broken.setattr(Machine, "commit", wrong)
        with pytest.raises(Difference, match=r"core\.loads: \d+ instead of") as caught:
            agree(asm.assemble(text, machine=SMALL), how)
        path = keep(text, how, caught.value)
        with pytest.raises(Difference, match=r"core\.loads"):
            run_again(path)
    run_again(path)


def test_what_is_drawn_reaches_everything():
    """Each instruction retires somewhere among some thousand programs, most of them in the compiled loop."""
    random = np.random.default_rng(8)           # reaches all after 2,338 programs
    retired: Counter[str] = Counter()
    by_reference: Counter[str] = Counter()
    for _ in range(3000):
        program = asm.assemble(spelled(random.bytes(SIZE))[0], machine=SMALL)
        run = Run(Machine, program)
        run.machine.profile()
        run.machine.run(MOST)
        by_reference.update(run.machine.handed_over)
        for (_, word), times in run.machine.visits.items():
            row = find(word)
            assert row is not None
            retired[row.mnemonic] += times
        if TABLE.keys() - retired.keys() <= {"ebreak", "mret"}:
            break
    assert SETTINGS.keys() == {csr.name for unit in UNITS.values() for csr in unit.csrs}
    assert TABLE.keys() - retired.keys() <= {"ebreak", "mret"}
    assert sum(retired[name] for name in registered()) > 2 * sum(by_reference[name] for name in registered())
