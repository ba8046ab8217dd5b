"""Speed of predicted neurons beside all neurons, one thread: a model of the 125m shape with random weights, 90 % left alone.

Prints one JSON object. The programs run in turns, and the best turn of a layer, and of a token, counts. `times_as_fast` is
dense over predicted, `bytes` the ratio of bytes that they read of flash and DRAM: of the feed-forward layers with the predictor
(`layers`, microseconds of each), and of a whole token (`token`). A layer is timed from a stop in front of it to one behind it. A
token has no stops, and its time is that of the processor, so that other work on the host is hardly in it. Bytes of the layers are
those of their matrices, of the token the counted ones. `load` is that of the host meanwhile: above the number of its cores the
figures of layers are those of a busy host.

Fewer bytes are also read faster, where the host's caches have room for them. So `reading_us` is what the host takes to read as
many, again and again, and `bound` the ratio of these times; `of_reading` is the share of it in the time of a token, `of_bound` that
of the bound in `times_as_fast`. The rates of a token hold for its layers.

Both programs have their weights in DRAM, on `slim-nsp`. `--machine slim` has the matrices of the dense program in flash. How many
zeros a matrix has is remembered on both, since no program changes them; in the rows that a gather brings they are counted each
time.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from functools import partial
from typing import Any

import numpy as np

from compiler.measuring.measure import processor, prompt_of
from compiler.measuring.on_machine import Stretch, take
from compiler.measuring.shapes import compile_random
from compiler.settings import Settings
from emulator.machine import Machine
from emulator.observe.breakdown import DECODE
from isa.program import Program
from isa.services import Host

TURNS, SPARSITY = 4, 0.9
WORD = 4                    # bytes of an instruction
PREDICTOR = ("layer.predict_in", "layer.predict_out")
MATRICES = ("layer.gate", "layer.up", "layer.down")


def layer_operations(program: Program) -> tuple[range, range]:
    """The numbers of the operations of a feed-forward layer, and of those among them before the neurons are known."""
    ops = program.meta["model"]["operations"]["layer"]
    begins = next(number for number, op in enumerate(ops) if op.endswith((MATRICES[0], PREDICTOR[0])))
    ends = next(number for number, op in enumerate(ops) if op.endswith(MATRICES[2])) + 1
    known = next((number + 1 for number, op in enumerate(ops) if " = active" in op), begins)
    return range(begins, ends), range(begins, known)


def measured(program: Program, seconds: float) -> dict[str, float]:
    """The least seconds from the begin of a feed-forward layer to its end (`layer`), and to where its neurons are known, with stops
    at these places alone; and of one instruction (`nothing`): what stops take."""
    ours, before = layer_operations(program)
    places = {symbol.name: symbol.value for symbol in program.symbols}
    begin, known, end = (places[f"op.layer.{number}"] for number in (ours.start - 1, max(before.stop, ours.start + 1) - 1,
                                                                     ours.stop - 1))
    machine = Machine(program.machine, Host(prompt_of(program, 1)))
    machine.load(program)
    least = {"layer": float("inf"), "known": float("inf"), "nothing": float("inf")}

    for name, place in (("layer", end), ("known", known), ("nothing", begin + WORD)):
        machine.breakpoints = {begin, place}                # they stay, so that code is not decoded anew
        stop = time.perf_counter() + seconds / 3
        while time.perf_counter() < stop:
            assert machine.run().unless_interrupted().reason == "breakpoint" and machine.pc == begin
            start = time.perf_counter()
            machine.run().unless_interrupted()
            least[name] = min(least[name], time.perf_counter() - start)
            assert machine.pc == place
    return least


def counted(program: Program) -> dict[str, int]:
    """What the machine counts for a token."""
    taken = take(program, partial(Machine, time=False), Stretch(program.machine, tokens=17))
    found = taken.phase(DECODE)["counters"]
    return {name: count // 16 for name, count in found.items()}


def compared(weights: str, shape: str, machine: str, seconds: float, turns: int) -> dict[str, Any]:
    """The figures of a format."""
    kinds = {"dense": Settings(machine=machine, weights=weights),
             "predicted": Settings(machine=machine, weights=weights, sparsity=SPARSITY, predictor="i8")}
    made = {name: compile_random(shape, settings) for name, settings in kinds.items()}
    programs = {name: Program.load(each.path) for name, each in made.items()}
    best: dict[str, list[dict[str, float]]] = {name: [] for name in programs}
    tokens: dict[str, list[float]] = {name: [] for name in programs}
    counts = {name: counted(program) for name, program in programs.items()}
    read = {name: each["flash.bytes_read"] + each["dram.bytes_read"] for name, each in counts.items()}
    load, rates = list[float](), {name: list[float]() for name in programs}
    for _ in range(turns):
        for name, program in programs.items():
            rates[name].append(reading(read[name]))
            best[name].append(measured(program, seconds))
            tokens[name].append(processor(program, Machine, seconds))
            load.append(os.getloadavg()[0])
    layers = made["dense"].layers
    least = {name: {what: 1e6 * min(each[what] for each in best[name]) for what in best[name][0]} for name in programs}
    part = {name: least[name]["layer"] - least[name]["nothing"] for name in programs}
    predictor = least["predicted"]["known"] - least["predicted"]["nothing"]
    whole = {name: min(each) for name, each in tokens.items()}
    rate = {name: read[name] / min(rates[name]) for name in programs}
    card = programs["dense"].meta["model"]
    dim, hidden = card["dim"], card["hidden"]
    left = counts["predicted"]["fetch.rows_left"] / (layers * hidden)
    bytes_of = {"i8": 1.0, "t2": 0.25}[weights]
    dense = 3 * dim * hidden * bytes_of
    fewer = dim // 4 * (dim + hidden) + (1 - left) * dense
    faster = rate["predicted"] / rate["dense"]
    return {"left_alone": left, "load": max(load),
            "layers": {"dense_us": part["dense"], "predicted_us": part["predicted"], "predictor_us": predictor,
                       **_ratios(part["dense"] / part["predicted"], dense / fewer, faster)},
            "token": {**{f"{name}_us": whole[name] for name in programs},
                      **{f"{name}_bytes": read[name] for name in programs},
                      **{f"{name}_reading_us": 1e6 * min(rates[name]) for name in programs},
                      **{f"{name}_of_reading": 1e6 * min(rates[name]) / whole[name] for name in programs},
                      **_ratios(whole["dense"] / whole["predicted"], read["dense"] / read["predicted"], faster)}}


def reading(size: int) -> float:
    """Seconds to read so many bytes, which have been read just before."""
    words, spent = np.ones(size // 8, np.int64), list[float]()
    for _ in range(6):
        start = time.perf_counter()
        np.maximum.reduce(words)
        spent.append(time.perf_counter() - start)
    return min(spent[1:])


def _ratios(times: float, of_bytes: float, faster: float) -> dict[str, float]:
    return {"times_as_fast": times, "bytes": of_bytes, "bound": of_bytes * faster, "of_bound": times / (of_bytes * faster)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="125m")
    parser.add_argument("--machine", default="slim-nsp", help="by default one that has the weights of both programs in DRAM")
    parser.add_argument("--seconds", type=float, default=1.5, help="of a turn of a program")
    parser.add_argument("--turns", type=int, default=TURNS)
    said = parser.parse_args()
    print(json.dumps({weights: compared(weights, said.shape, said.machine, said.seconds, said.turns)
                      for weights in ("i8", "t2")}))


if __name__ == "__main__":
    main()
