"""Caches that choose, on this host: what choosing takes of a decode step of the 125m shape behind 4,096 positions. One JSON object.

Of each method: milliseconds of a step, of its operations that choose, of which a layer has a run of three, and the second as a
share of the step and of a step with full attention. What chooses is the difference of steps with and without it: for 32 tokens
the program jumps over these operations, and attention looks at the rows that were chosen for 16 tokens before. Steps with it are
the mean of 64 tokens, in which every head clusters one block. All is CPU time, the best of three turns. Random weights in t2,
caches as --kv says, one thread.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np

import asm
from compiler.lowering.emit import POSITION
from compiler.measuring.measure import operation_kinds, prompt_of
from compiler.measuring.shapes import compile_random
from compiler.settings import Settings
from emulator.machine import Machine
from isa.program import Program
from isa.regions import SRAM
from isa.services import Host

CHOOSE = {"starc:1024": ("cluster", "choose.rows"), "think:0.4": ("sum.squares", "append.kept")}        # first and last of a run
BLOCK, WITHOUT, LISTS, TURNS = 64, 32, 16, 3


def ends_of(program: Program, kinds: tuple[str, str]) -> tuple[int, int]:
    """Addresses where the run of operations begins that choose, and where it ends. Layers that choose share their code."""
    places = {symbol.name: symbol.value for symbol in program.symbols}
    found = {text.split(" = ")[1].split()[0].removesuffix(".f16").removesuffix(".i8"): name
             for name, (_, text) in operation_kinds(program).items()}
    section, _, number = found[kinds[0]].rpartition(".")
    return places[f"{section}.{int(number) - 1}"], places[found[kinds[1]]]


def instead(machine: Machine, program: Program, select: str, last: int, first: int) -> bytes:
    """Code for `first` that goes on at `last`. Others use the place of the lists of rows, too: so those of the next LISTS tokens
    are kept, and copied, of each in turn."""
    places, code = {symbol.name: symbol.value for symbol in program.symbols}, b""
    if "rows" in places:
        size, sram = 4 * program.meta["model"]["heads"] * int(select.partition(":")[2]), program.machine.region(SRAM)
        kept = sram.base + sram.size - LISTS * size
        for number in range(LISTS):
            machine.breakpoints.add(last)
            machine.run().unless_interrupted()
            machine.breakpoints.remove(last)
            machine.peek(kept + number * size, size)[:] = machine.peek(places["rows"], size)
            step_seconds(machine, 1)                    # to the end of this token
        lines = (f"_start: andi a6, {POSITION}, {LISTS - 1}\nli t0, {size}\nmul a6, a6, t0\nli a7, {kept}\nadd a6, a6, a7\n"
                 f"li a7, {places['rows']}\nfetch.copy a7, a6, t0\n")
        code = asm.assemble(lines).sections[0].bytes()
    offset = last - first - len(code)
    j = 0x6F | (offset >> 1 & 0x3FF) << 21 | (offset >> 11 & 1) << 20 | (offset >> 12 & 0xFF) << 12
    return code + j.to_bytes(4, "little")


def step_seconds(machine: Machine, tokens: int) -> float:
    """CPU time, mean of so many tokens."""
    start = time.process_time()
    for _ in range(tokens):
        result = machine.run().unless_interrupted()
        assert result.reason == "breakpoint", result
    return (time.process_time() - start) / tokens


def taken(program: Program, depth: int, select: str | None) -> tuple[float, float]:
    """(seconds of a step, seconds of the operations that choose) behind `depth` positions."""
    machine = Machine(program.machine, Host(prompt_of(program, depth)))
    machine.load(program)
    machine.breakpoints = {symbol.value for symbol in program.symbols if symbol.name == "token"}
    machine.run().unless_interrupted()                  # the prompt, and a token more
    steps, others = list[float](), list[float]()
    for _ in range(TURNS):
        steps.append(step_seconds(machine, BLOCK))
        if select:                                      # no block is complete meanwhile: its clustering would be lost
            first, last = ends_of(program, CHOOSE[select])
            jump = np.frombuffer(instead(machine, program, select, last, first), np.uint8)
            code = machine.peek(first, len(jump))
            before = code.copy()
            for new, tokens in ((jump, WITHOUT), (before, BLOCK - WITHOUT - (LISTS if select.startswith("starc") else 0))):
                code[:] = new
                machine.code_changed(first, len(jump))
                others.append(step_seconds(machine, tokens))
            others.pop()
    return min(steps), min(steps) - min(others) if others else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="125m")
    parser.add_argument("--depth", type=int, default=4096, help="a multiple of 64")
    parser.add_argument("--layers", type=int, help="layers to execute; without it: all")
    parser.add_argument("--kv", default="f16", choices=("f16", "i8"))
    arguments = parser.parse_args()

    def measured(select: str | None) -> tuple[float, float]:
        settings = Settings(weights="t2", context=arguments.depth + (2 * TURNS + 1) * BLOCK, kv=arguments.kv, kv_select=select)
        program = Program.load(compile_random(arguments.shape, settings, layers=arguments.layers).path)
        return taken(program, arguments.depth, select)

    full, _ = measured(None)
    rows = {}
    for method in CHOOSE:
        step, spent = measured(method)
        rows[method] = {"step_ms": 1e3 * step, "chooses_ms": 1e3 * spent, "share_of_step": spent / step,
                        "share_of_full_step": spent / full}
    print(json.dumps({"full_step_ms": 1e3 * full, **rows}))


if __name__ == "__main__":
    main()
