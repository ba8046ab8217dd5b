"""Disassembly speed. Prints one JSON object: instructions per second, for three kinds of code and for objdump in the same run.

`distinct` is random operands of every instruction, hardly a word twice: the worst case. `compiled` repeats a few hundred
statements, as generated code does. `load` includes reading the program file.
"""

from __future__ import annotations

import json
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from asm.disassembler import disassemble
from isa.disassembly import format_instruction
from isa.instruction import TABLE
from isa.program import Line, Program, Section, Symbol

COUNT = 200_000
RUNS = 3
OBJDUMP = "riscv64-unknown-elf-objdump"


def rate(work: Callable[[], object], runs: int = RUNS) -> float:
    """Instructions per second, the best of a few runs."""
    best = float("inf")
    for _ in range(runs):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return COUNT / best


def program(words: list[int]) -> Program:
    """The words as code at 0x80000000, with a label every ten instructions and a source line for each."""
    start = 0x8000_0000
    return Program(
        [Section(".text", "ax", start, 4, [struct.pack(f"<{len(words)}I", *words)])],
        [Symbol(f"label_{i}", start + 40 * i, section=".text") for i in range(len(words) // 10)],
        [Line(start + 4 * i, "code.s", i + 1) for i in range(len(words))], start)


def exhaust(lines: object) -> None:
    for _ in lines:  # type: ignore[attr-defined]
        pass


def main() -> None:
    chance = random.Random(1)
    rows = list(TABLE.values())
    distinct = [row.match | (chance.getrandbits(32) & ~row.mask) for row in chance.choices(rows, k=COUNT)]
    compiled = chance.choices(distinct[:300], k=COUNT)
    figures: dict[str, object] = {"instructions": COUNT}
    with tempfile.TemporaryDirectory() as folder:
        for name, words in (("distinct", distinct), ("compiled", compiled)):
            made, path = program(words), Path(folder) / f"{name}.elf"
            made.save(path)
            figures[name] = {
                "lines_per_second": rate(lambda made=made: exhaust(disassemble(made))),
                "aliases_per_second": rate(lambda made=made: exhaust(disassemble(made, aliases=True))),
                "format_instruction_per_second": rate(lambda words=words: [format_instruction(word, 1 << 31) for word in words]),
                "load_per_second": rate(lambda path=path: exhaust(disassemble(Program.load(path)))),
            }
        if shutil.which(OBJDUMP):
            figures["objdump_per_second"] = rate(
                lambda: subprocess.run([OBJDUMP, "-d", path], stdout=subprocess.DEVNULL, check=True), runs=1)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
