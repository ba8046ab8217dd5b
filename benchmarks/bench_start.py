"""How long a large program takes to start, and what it costs: 1 GiB of weights, mapped and not copied. Prints one JSON object.

Seconds from the file to a machine that is ready to run (fast engine; imports and kernels are there), best of several. MiB of the
host's memory that this takes, and that the run takes, which reads or writes one byte of every 16 MiB: the host maps some pages
around each that is read.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import asm
from emulator.machine import Machine
from isa.program import Program

SIZE, TOUCHES, RUNS = 1 << 30, 64, 5
SOURCE = """
_start: la t0, weights
        li t1, 1 << 24
        li t2, {touches}
1:      {touch}
        add t0, t0, t1
        addi t2, t2, -1
        bnez t2, 1b
        li a7, 93
        ecall
        .section {section}
weights: .incbin "weights"
"""


def resident() -> float:
    """MiB of this process that are in the host's memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / (1 << 20)


def start(folder: Path, section: str, touch: str) -> dict[str, float]:
    """Figures for weights in one section."""
    (folder / "a.s").write_text(SOURCE.format(touches=TOUCHES, touch=touch, section=section))
    asm.assemble(folder / "a.s").save(folder / "a.elf")
    machine: Machine | None = None
    seconds = []
    for _ in range(RUNS):
        machine = None
        before, begin = resident(), time.perf_counter()
        machine = Machine()
        machine.load(Program.load(folder / "a.elf"))
        seconds.append(time.perf_counter() - begin)
        loaded = resident()
        assert machine.run().reason == "exit"
        figures = {"load_mib": loaded - before, "run_mib": resident() - loaded}
    return {"seconds": min(seconds), **figures}


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with open(folder / "weights", "wb") as stream:
            stream.truncate(SIZE)
        print(json.dumps({
            "flash": start(folder, '.flash.weights, "a"', "lbu t3, 0(t0)"),
            "dram_read_only": start(folder, ".rodata", "lbu t3, 0(t0)"),
            "dram_written": start(folder, ".data", "sb t2, 0(t0)"),
        }))


if __name__ == "__main__":
    main()
