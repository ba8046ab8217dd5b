"""What a person waits for at the prompt: the command's help, and running the smallest program. Prints one JSON object.

Whole-process seconds, median of several runs after one that is not counted; the bare interpreter is timed in the same run.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUNS = 9


def seconds(*command: str) -> float:
    """Median wall seconds of a whole process."""
    times = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def main() -> None:
    slimulator = (sys.executable, "-m", "slimulator")
    with tempfile.TemporaryDirectory() as folder:
        elf = str(Path(folder) / "hello.elf")
        subprocess.run([*slimulator, "asm", "programs/hello.s", "-o", elf], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        print(json.dumps({
            "python_seconds": seconds(sys.executable, "-c", "pass"),
            "help_seconds": seconds(*slimulator, "--help"),
            "assemble_hello_seconds": seconds(*slimulator, "asm", "programs/hello.s", "-o", elf),
            "run_hello_seconds": seconds(*slimulator, "run", elf),
            "run_hello_reference_seconds": seconds(*slimulator, "run", "--engine", "reference", elf),
            "isa_page_seconds": seconds(*slimulator, "isa", "lut.mac.t2"),
        }))


if __name__ == "__main__":
    main()
