"""Speed of predicted neurons beside all neurons, one thread: a model of the 125m shape with random weights, 90 % left alone.

Prints one JSON object. The programs run in turns, and the best turn of each operation, and of a token, counts. `times_as_fast` is
dense over predicted, `bound` the ratio of bytes that they read of flash and DRAM, `of_bound` the one over the other: of the
feed-forward layers with the predictor (`layers`, microseconds of each), and of a whole token (`token`). A layer is timed by stops
between its operations. A token has no stops, and its time is that of the processor, so that other work on the host is hardly in it.
Bytes of the layers are those of their matrices, of the token the counted ones. `load` is that of the host meanwhile: above the
number of its cores the figures of layers are those of a busy host.

Both programs have their weights in DRAM, on `slim-nsp`. `--machine slim` has the matrices of the dense program in flash. How many
zeros a matrix has is remembered on both, since no program changes them; in the rows that a gather brings they are counted each
time.
"""

from __future__ import annotations

import argparse
import json
import os
from functools import partial
from typing import Any

from compiler.measuring.measure import processor, shares
from compiler.measuring.on_machine import Stretch, take
from compiler.measuring.shapes import compile_random
from compiler.settings import Settings
from emulator.machine import Machine
from emulator.observe.breakdown import DECODE
from isa.program import Program

TURNS, SPARSITY = 4, 0.9
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
    """Microseconds of each operation in a token."""
    found = shares(program, Machine, seconds)["operations"]
    return {name.split()[0]: each["microseconds"] * each["per_token"] for name, each in found.items()}


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
    best: dict[str, dict[str, float]] = {name: {} for name in programs}
    tokens: dict[str, list[float]] = {name: [] for name in programs}
    load = []
    for _ in range(turns):
        for name, program in programs.items():
            for operation, spent in measured(program, seconds).items():
                best[name][operation] = min(spent, best[name].get(operation, spent))
            tokens[name].append(processor(program, Machine, seconds))
            load.append(os.getloadavg()[0])
    layers = made["dense"].layers
    ours = {name: layer_operations(program) for name, program in programs.items()}
    part = {name: sum(best[name].get(f"op.layer.{number}", 0.0) for number in ours[name][0]) / layers for name in programs}
    predictor = sum(best["predicted"].get(f"op.layer.{number}", 0.0) for number in ours["predicted"][1]) / layers
    whole = {name: min(each) for name, each in tokens.items()}
    counts = {name: counted(program) for name, program in programs.items()}
    read = {name: each["flash.bytes_read"] + each["dram.bytes_read"] for name, each in counts.items()}
    card = programs["dense"].meta["model"]
    dim, hidden = card["dim"], card["hidden"]
    left = counts["predicted"]["fetch.rows_left"] / (layers * hidden)
    bytes_of = {"i8": 1.0, "t2": 0.25}[weights]
    dense = 3 * dim * hidden * bytes_of
    layer_bound = dense / (dim // 4 * (dim + hidden) + (1 - left) * dense)
    return {"left_alone": left, "load": max(load),
            "layers": {"dense_us": part["dense"], "predicted_us": part["predicted"], "predictor_us": predictor,
                       **_ratios(part["dense"] / part["predicted"], layer_bound)},
            "token": {"dense_us": whole["dense"], "predicted_us": whole["predicted"],
                      **_ratios(whole["dense"] / whole["predicted"], read["dense"] / read["predicted"])}}


def _ratios(times: float, bound: float) -> dict[str, float]:
    return {"times_as_fast": times, "bound": bound, "of_bound": times / bound}


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
