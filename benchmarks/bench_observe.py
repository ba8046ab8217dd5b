"""What looking on costs: nothing where nobody looks, and what a trace, a commit log and the instruction mix take.

Prints one JSON object. Ratios are of times of the same loop in this run, the best of several; 1 is no cost.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import asm
from emulator.machine import Machine
from emulator.observe.commit_log import commit_line
from emulator.observe.line_log import LineLog
from emulator.observe.mix import instruction_mix
from emulator.observe.trace import Trace, selection
from isa.program import Program

LOOP = """
_start: li a0, {repeats}
1:      ld t0, 0(sp)
        addi t0, t0, 1
        sd t0, 0(sp)
        xor s0, s0, t0
        add s1, s1, s0
        slli t1, s1, 3
        addi a0, a0, -1
        bnez a0, 1b
        j done
never:  nop
done:   li a7, 93
        ecall
"""
FAST = asm.assemble(LOOP.format(repeats=10_000_000))        # 80 million instructions
SLOW = asm.assemble(LOOP.format(repeats=4_000))
RUNS = 5


def ready(program: Program) -> Machine:
    machine = Machine()
    machine.load(program)
    return machine


def seconds(prepare: Callable[[Machine], object]) -> float:
    """Time of the fast loop, behind `prepare`."""
    machine = ready(FAST)
    prepare(machine)
    machine.run(max_instructions=1)
    start = time.perf_counter()
    assert machine.run().reason == "exit"
    return time.perf_counter() - start


def nothing(machine: Machine) -> None:
    pass


def hook_elsewhere(machine: Machine) -> None:
    never = FAST.address("never")
    machine.hook(lambda *_: None, lambda pc, row: pc == never)


def watch_elsewhere(machine: Machine) -> None:
    machine.hook(lambda *_: None, writes=[(0x1000_0000, 64)])


def profile(machine: Machine) -> None:
    machine.profile()


def lines_per_second(render: Callable[..., str]) -> float:
    best = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(RUNS):
            machine = ready(SLOW)
            with LineLog(Path(folder) / "log") as log:
                log.follow(machine, render)
                start = time.perf_counter()
                result = machine.run()
            best = max(best, result.instructions / (time.perf_counter() - start))
    return best


def main() -> None:
    times = {"plain": [], "hook": [], "writes": [], "mix": []}
    for _ in range(RUNS):                                   # in turns: what else the host does falls on all of them
        for name, prepare in zip(times, (nothing, hook_elsewhere, watch_elsewhere, profile), strict=True):
            times[name].append(seconds(prepare))
    best = {name: min(some) for name, some in times.items()}
    machine = ready(SLOW)
    machine.profile()
    machine.run()
    start = time.perf_counter()
    instruction_mix(machine)
    print(json.dumps({
        "million_instructions_per_second": 80 / best["plain"],
        "hook_elsewhere_ratio": best["hook"] / best["plain"],
        "writes_elsewhere_ratio": best["writes"] / best["plain"],
        "mix_ratio": best["mix"] / best["plain"],
        "mix_table_seconds": time.perf_counter() - start,
        "trace_lines_per_second": lines_per_second(Trace(SLOW, selection(SLOW))),
        "commit_log_lines_per_second": lines_per_second(commit_line),
    }))


if __name__ == "__main__":
    main()
