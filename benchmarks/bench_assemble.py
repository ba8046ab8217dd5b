"""How fast the assembler is: lines per second, and GNU as on the same source in the same run when it is installed.

    python -m benchmarks.bench_assemble [--lines N]     prints JSON

Two sources: `compiler` repeats a few hundred distinct statements with labels and branches, as compilers write; in
`distinct` every line is different. A third figure is the memory that a 1 GB .incbin takes.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GNU = "riscv64-unknown-elf-as"
REGISTERS = ["a0", "a1", "a2", "a3", "t0", "t1", "t2", "s0", "s1", "s2"]


def distinct_source(lines: int) -> str:
    """`lines` lines of which no two are equal, a third of them with symbols."""
    rng = random.Random(1)
    text = [".text"]
    for number in range(lines):
        a, b, c = (rng.choice(REGISTERS) for _ in range(3))
        kind = number % 6
        if kind == 0:
            text.append(f"L{number}: addi {a}, {b}, {number % 4096 - 2048}   # line {number}")
        elif kind == 1:
            text.append(f"    li {a}, {number * 7919}")
        elif kind == 2:
            text.append(f"    lw {a}, {number % 2048}({b})       # {c} {number}")
        elif kind == 3:
            text.append(f"    beq {a}, {b}, L{max(0, number - number % 6 - 6 * rng.randrange(40))}")
        elif kind == 4:
            text.append(f"    la {a}, L{number - number % 6} + {number}")
        else:
            text.append(f"    .word {number}, {number} + 1, L{number - number % 6}")
    return "\n".join(text) + "\n"


def compiler_source(lines: int) -> str:
    """`lines` lines from a few hundred statements, in blocks of one label and one branch."""
    rng = random.Random(2)
    pool = [f"    {rng.choice(['add', 'sub', 'mul', 'xor', 'sltu'])} {rng.choice(REGISTERS)}, {rng.choice(REGISTERS)}, "
            f"{rng.choice(REGISTERS)}" for _ in range(150)]
    pool += [f"    {rng.choice(['ld', 'lw', 'lbu'])} {rng.choice(REGISTERS)}, {8 * rng.randrange(32)}(sp)" for _ in range(150)]
    pool += [f"    addi {rng.choice(REGISTERS)}, {rng.choice(REGISTERS)}, {rng.randrange(-64, 64)}" for _ in range(100)]
    text = [".text"]
    block = 0
    while len(text) < lines:
        text.append(f".L{block}:")
        text += rng.choices(pool, k=10)
        text.append(f"    bnez a0, .L{block}")
        block += 1
    return "\n".join(text[:lines]) + "\n"


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def measure(name: str, source: str, folder: Path) -> dict[str, float | int | None]:
    """Seconds of assembling `source` in this process, and of GNU as."""
    from asm import assemble
    path = folder / f"{name}.s"
    path.write_text(source, encoding="utf-8")
    assemble("nop")                                         # imports and tables
    start = time.perf_counter()
    program = assemble(path)
    ours = time.perf_counter() - start
    gnu = None
    if shutil.which(GNU):
        gnu = seconds([GNU, "-march=rv64im_zicsr", "-mabi=lp64", "-mno-relax", "-o", str(folder / f"{name}.o"), str(path)])
    lines = source.count("\n")
    return {"lines": lines, "bytes": sum(section.size for section in program.sections), "seconds": round(ours, 3),
            "microseconds_per_line": round(ours / lines * 1e6, 2), "gnu_as_seconds": None if gnu is None else round(gnu, 3)}


INCBIN = """
import resource, sys
from pathlib import Path
from asm import assemble
program = assemble(Path(sys.argv[1]))
program.save(sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def measure_incbin(folder: Path, size: int) -> dict[str, float | int | None]:
    """Peak resident MiB of assembling and saving a program with a sparse .incbin file of `size` bytes."""
    with (folder / "weights.bin").open("wb") as stream:
        stream.truncate(size)
    source = folder / "incbin.s"
    source.write_text('.section .flash\nweights: .incbin "weights.bin"\n.text\n_start: la a0, weights\n', encoding="utf-8")
    start = time.perf_counter()
    result = subprocess.run([sys.executable, "-c", INCBIN, str(source), str(folder / "incbin.elf")], check=True,
                            capture_output=True, text=True)
    return {"file_bytes": size, "seconds": round(time.perf_counter() - start, 3),
            "peak_resident_mib": int(result.stdout)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--incbin-bytes", type=int, default=1 << 30)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = {                     # incbin first: a new process starts with the peak memory of the one that made it
            "incbin": measure_incbin(folder, arguments.incbin_bytes),
            "compiler": measure("compiler", compiler_source(arguments.lines), folder),
            "distinct": measure("distinct", distinct_source(arguments.lines), folder)}
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
