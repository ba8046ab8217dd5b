"""What the clock costs: tokens/s of the demo model, on slim and hpim, and of the 125m shape, with the clock and without, in turns.

Prints one JSON object. `times`: seconds of a token with the clock over those without it, of the medians of all turns.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from compiler.measuring.shapes import compile_random
from compiler.settings import Settings
from emulator.machine import Machine
from isa.program import Program
from isa.services import Host

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "programs" / "demo" / "model"
TURNS = 15
WARM = 3                    # tokens that are not measured


def rate(program: Program, tokens: int, *, timed: bool) -> float:
    """Tokens per second of the host, of so many tokens at most."""
    times: list[float] = []

    def emit(_token: int) -> None:
        times.append(time.perf_counter())
        if len(times) == tokens:
            machine.stop("enough")

    machine = Machine(program.machine, Host([1], emit=emit), time=timed)
    machine.load(program)
    machine.run(timeout=60)
    gaps = np.diff(times[WARM:])
    return len(gaps) / float(gaps.sum())


def in_turns(program: Program, tokens: int) -> dict[str, float]:
    """Medians with the clock and without, and what it costs."""
    with_clock, without = zip(*((rate(program, tokens, timed=True), rate(program, tokens, timed=False)) for _ in range(TURNS)),
                              strict=True)
    timed, plain = statistics.median(with_clock[1:]), statistics.median(without[1:])            # the first turn loads kernels
    return {"tokens_per_second": timed, "without_the_clock": plain, "times": plain / timed}


def main() -> None:
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, options in (("demo", ()), ("demo i8 hpim", ("--machine", "hpim", "--weights", "i8"))):
            file = Path(folder) / "demo.elf"
            subprocess.run([sys.executable, "-m", "slimulator", "compile", DEMO, *options, "-o", file], check=True, cwd=ROOT,
                           stderr=subprocess.DEVNULL)
            figures[name] = in_turns(Program.load(file), 400)
        figures["125m t2"] = in_turns(Program.load(compile_random("125m", Settings()).path), 60)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
