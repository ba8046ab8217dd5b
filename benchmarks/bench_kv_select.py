"""Caches that choose, on this host: what the choice adds to a decode step of the 125m shape at 4,096 positions. One JSON object.

Of each method: milliseconds a token of the operations that choose, mean of 64 tokens, in which every head clusters one block; the
same of a whole step with full attention; and their share of it. Random weights in t2, fp16 caches, one thread. The time of an
operation is that from the mark before it to its own; a stop itself takes time too: that of the fastest stop is subtracted.
"""

from __future__ import annotations

import argparse
import json
import time

from compiler.measuring.measure import operation_kinds, prompt_of
from compiler.measuring.shapes import compile_random
from compiler.settings import Settings
from emulator.machine import Machine
from isa.program import Program
from isa.services import Host

CHOOSE = {"starc:1024": ("cluster", "scores.centroids", "choose.rows"),
          "think:0.4": ("sum.squares", "choose.channels", "append.kept")}
TOKENS = 64


def taken(program: Program, depth: int, kinds: tuple[str, ...]) -> float:
    """Seconds a token of operations of these kinds behind `depth` positions; of whole steps if there are none."""
    places = {symbol.name: symbol.value for symbol in program.symbols}
    ends = {name for name, (_, text) in operation_kinds(program).items()
            if text.split(" = ")[1].split()[0].removesuffix(".f16") in kinds}
    before = {name: f"{name.rpartition('.')[0]}.{int(name.rpartition('.')[2]) - 1}" for name in ends}
    machine = Machine(program.machine, Host(prompt_of(program, depth)))
    machine.load(program)
    machine.breakpoints = {places["token"]}
    machine.run().unless_interrupted()                  # the prompt, and a token more
    machine.breakpoints |= {places[name] for pair in before.items() for name in pair}
    closing, spent, stops, tokens = {places[name] for name in ends}, 0.0, list[float](), 0
    start = time.perf_counter()
    while tokens < TOKENS:
        began = time.perf_counter()
        machine.run().unless_interrupted()
        passed = time.perf_counter() - began
        stops.append(passed)
        spent += passed * (machine.pc in closing)
        tokens += machine.pc == places["token"]
    if not kinds:
        return (time.perf_counter() - start) / TOKENS
    return (spent - min(stops) * TOKENS * len(ends) * layers_of(program, ends)) / TOKENS


def layers_of(program: Program, ends: set[str]) -> float:
    """Layers that stop at each of these marks."""
    layers = program.meta["model"]["layers"]
    return layers - 2 if any(name.startswith("op.layer2.") for name in ends) else layers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="125m")
    parser.add_argument("--depth", type=int, default=4096)
    arguments = parser.parse_args()

    def program(select: str | None) -> Program:
        settings = Settings(weights="t2", context=arguments.depth + 2 * TOKENS, kv="f16", kv_select=select)
        return Program.load(compile_random(arguments.shape, settings).path)

    whole = taken(program(None), arguments.depth, ())
    print(json.dumps({"full_step_ms": 1e3 * whole, **{method: {
        "chooses_ms": 1e3 * (spent := taken(program(method), arguments.depth, kinds)), "share_of_full_step": spent / whole}
        for method, kinds in CHOOSE.items()}}))


if __name__ == "__main__":
    main()
