"""Caches that choose, on this host: what choosing takes of a decode step of the 125m shape behind 4,096 positions. One JSON object.

Of each method, mean of 64 tokens, in which every head clusters one block: milliseconds of the operations that choose, of which a
layer has a run of three; of a whole step; and the first as a share of the step, and of a step with full attention. Random weights
in t2, caches as --kv says, one thread. The time of a run is that between the marks on its two sides. A stop itself takes time too,
and is subtracted: a token begins with stops at three instructions side by side, and the time to the third is that of a stop. A stop
behind much work takes longer, for the host's caches hold other things by then: so a run, too, begins with one more stop. Steps are
timed without stops inside.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

from compiler.measuring.measure import operation_kinds, prompt_of
from compiler.measuring.shapes import compile_random
from compiler.settings import Settings
from emulator.machine import Machine
from isa.program import Program
from isa.services import Host

CHOOSE = {"starc:1024": ("cluster", "choose.rows"), "think:0.4": ("sum.squares", "append.kept")}        # first and last of a run
TOKENS = 64


def marks(program: Program, ends: tuple[str, str]) -> tuple[set[int], set[int]]:
    """Addresses where runs of these operations begin, and where they end."""
    places = {symbol.name: symbol.value for symbol in program.symbols}
    kinds = {name: text.split(" = ")[1].split()[0] for name, (_, text) in operation_kinds(program).items()}
    first, last = ([name for name, kind in kinds.items() if kind.removesuffix(".f16").removesuffix(".i8") == end] for end in ends)
    before = [f"{name.rpartition('.')[0]}.{int(name.rpartition('.')[2]) - 1}" for name in first]
    return {places[name] for name in before}, {places[name] for name in last}


def taken(program: Program, depth: int, ends: tuple[str, str] | None) -> tuple[float, float]:
    """(seconds of a step, seconds of the operations that choose) behind `depth` positions, means of TOKENS tokens."""
    token = {symbol.name: symbol.value for symbol in program.symbols}["token"]
    machine = Machine(program.machine, Host(prompt_of(program, depth)))
    machine.load(program)
    machine.breakpoints = {token}
    machine.run().unless_interrupted()                  # the prompt, and a token more
    start = time.perf_counter()
    for _ in range(TOKENS):
        machine.run().unless_interrupted()
    step = (time.perf_counter() - start) / TOKENS
    if ends is None:
        return step, 0.0
    opening, closing = marks(program, ends)
    machine.breakpoints |= opening | {place + 4 for place in opening} | closing | {token + 4, token + 8}   # of core instructions
    spent, stops, tokens = list[float](), list[float](), 0
    while tokens < TOKENS:
        began = time.perf_counter()
        machine.run().unless_interrupted()
        passed = time.perf_counter() - began
        if machine.pc in closing:
            spent.append(passed)
        elif machine.pc == token + 8:
            stops.append(passed)
        tokens += machine.pc == token
    return step, (sum(spent) - len(spent) * statistics.median(stops)) / TOKENS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="125m")
    parser.add_argument("--depth", type=int, default=4096)
    parser.add_argument("--layers", type=int, help="layers to execute; without it: all")
    parser.add_argument("--kv", default="f16", choices=("f16", "i8"))
    arguments = parser.parse_args()

    def measured(select: str | None) -> tuple[float, float]:
        settings = Settings(weights="t2", context=arguments.depth + 3 * TOKENS, kv=arguments.kv, kv_select=select)
        program = Program.load(compile_random(arguments.shape, settings, layers=arguments.layers).path)
        return taken(program, arguments.depth, CHOOSE[select] if select else None)

    full, _ = measured(None)
    rows = {}
    for method in CHOOSE:
        step, spent = measured(method)
        rows[method] = {"step_ms": 1e3 * step, "chooses_ms": 1e3 * spent, "share_of_step": spent / step,
                        "share_of_full_step": spent / full}
    print(json.dumps({"full_step_ms": 1e3 * full, **rows}))


if __name__ == "__main__":
    main()
