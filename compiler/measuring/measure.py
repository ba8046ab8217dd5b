"""What a token costs on this host: tokens per second, and where the time goes, operation by operation.

    figures = measure(compiled_program, make)
    figures = measure(compiled_program, make, prompt=512, depth=1024)

The time of an operation is the time from its mark to the next one, with a breakpoint only there. A stop itself takes time too: the
time of the fastest stop is subtracted from all. Bandwidth is measured with NumPy's sums over 512 MiB, with as many threads as the
machine has.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from compiler.lowering import LOWERINGS
from compiler.running.generate import Maker
from compiler.running.neurons import neurons
from isa.preset import Preset
from isa.program import Program
from isa.reference import ReferenceMachine
from isa.services import Host

TOKEN = 1                   # the first of a prompt
WARM = 3                    # tokens that are not measured: meanwhile kernels are loaded and weights read into memory
STRETCH = 128               # tokens behind the prompt, then it starts again: llama.cpp's llama-bench calls this tg128


def resident() -> int:
    """Bytes of memory that this process uses, mapped files included. 0 if the system does not say."""
    try:
        with open("/proc/self/status", encoding="ascii") as stream:
            found = re.search(r"VmRSS:\s+(\d+) kB", stream.read())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def bandwidth(threads: int = 1) -> float:
    """Bytes per second of reading memory, with some threads."""
    data = np.ones(1 << 26, np.int64)
    parts, best = np.array_split(data, threads), float("inf")
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(4):
            start = time.perf_counter()
            list(pool.map(np.sum, parts))
            best = min(best, time.perf_counter() - start)
    return data.nbytes / best


def prompt_of(program: Program, tokens: int) -> Iterator[int]:
    """The prompt that is measured: so many tokens of the vocabulary, one after the other."""
    vocab = program.meta["model"]["vocab"]
    return ((TOKEN + i) % vocab for i in range(tokens))


@dataclass(frozen=True)
class Round:
    """A run of a prompt and the tokens behind it: seconds of the host when it began and when each token came, and CPU seconds."""

    began: float
    times: list[float]
    worked: list[float]

    @property
    def first(self) -> float:
        """Seconds to the first token: those of the prompt. nan if none came."""
        return self.times[0] - self.began if self.times else float("nan")


def measure(program: Program, make: Maker, seconds: float = 4.0, threads: int = 1, preset: Preset | None = None, *,
            prompt: int | None = None, depth: int = 1) -> dict[str, Any]:
    """Generate for about `seconds`, STRETCH tokens behind a prompt again and again, always the most likely ones.

    A token costs more if there are more positions before it, so only figures of the same stretch can be compared.
    threads: of the machine that `make` makes; bandwidth is measured with as many. preset: by default the one that the program was
    built for. prompt: tokens of the prompt whose rate is measured, for about `seconds` more where it is not `depth`; None: none is.
    depth: positions before the stretch, tokens of its prompt. Raises ProgramError, PresetError.
    """
    banks = _section_bytes(program, "banks")
    weights = banks + _section_bytes(program, "weights")
    start = time.perf_counter()
    rounds, machine = _rounds(program, make, preset, depth, STRETCH, seconds)
    memory, left = resident(), neurons(machine, program)
    del machine
    prompts = rounds if prompt == depth and len(rounds) > 1 else []
    if prompt is not None and not prompts:
        prompts, _ = _rounds(program, make, preset, prompt, 1, seconds)
    spent = [each.first for each in prompts[1:]]                # the first one has read the weights into memory
    gaps = [gap for each in rounds for gap in np.diff(each.times[WARM:]).tolist()]
    cpu = sum(each.worked[-1] - each.worked[WARM] for each in rounds if len(each.worked) > WARM)
    rate, read = len(gaps) / sum(gaps) if gaps else float("nan"), bandwidth(threads)
    return {
        "prompt_tokens_per_second": prompt / float(np.median(spent)) if prompt else None,
        "tokens_per_second": rate,
        "best_tokens_per_second": float(1 / np.quantile(gaps, 0.1)) if gaps else float("nan"),
        "tokens_per_cpu_second": len(gaps) / cpu if gaps else float("nan"),
        "tokens": len(gaps),
        "seconds_to_first_token": rounds[0].times[0] - start if rounds[0].times else float("nan"),
        "weight_bytes": weights,
        "bank_bytes": banks,                    # of these, matrices in banks with what fills up their rows
        "weight_bytes_per_second": rate * weights,
        "bandwidth": read,
        "share_of_bandwidth": rate * weights / read,
        "resident_bytes": memory,
        "resident_beyond_weights": memory - weights,
        "cache_bytes": _section_bytes(program, "keys"),                                                 # of a full context
        **({"neurons": left.as_json()} if left else {}),
        **shares(program, make, max(1.0, seconds / 2), preset, depth),
    }


def _rounds(program: Program, make: Maker, preset: Preset | None, prompt: int, tokens: int,
            seconds: float) -> tuple[list[Round], ReferenceMachine]:
    """Runs of a prompt and so many tokens behind it, one after the other for about `seconds`, and the machine of the last one.

    Of single tokens there are two runs at least. There is one only where its tokens come too slowly to be measured.
    """
    start, rounds = time.perf_counter(), list[Round]()
    while True:
        machine = _loaded(program, make, preset, prompt)
        rounds.append(_round(machine, tokens, seconds))
        over = time.perf_counter() - start >= seconds and len(rounds) >= (2 if tokens == 1 else 1)
        if over or len(rounds[-1].times) < min(tokens, WARM + 2):
            return rounds, machine


def _round(machine: ReferenceMachine, tokens: int, seconds: float) -> Round:
    """Run a loaded machine to its first token, and then for at most `seconds`, ten times that if too few tokens come."""
    times: list[float] = []
    worked: list[float] = []

    def emit(_token: int) -> None:
        times.append(time.perf_counter())
        worked.append(time.process_time())
        if len(times) in (1, tokens):
            machine.stop("enough")

    machine.host = Host(machine.host.prompt, emit=emit)
    began = time.perf_counter()
    machine.run().unless_interrupted()
    for limit in (seconds, 10 * seconds):
        if len(times) < min(tokens, WARM + 2):
            machine.run(timeout=limit).unless_interrupted()
    machine.host = Host()                       # lets go of `emit`, so that the machine's memory ends with it
    return Round(began, times, worked)


def _section_bytes(program: Program, label: str) -> int:
    """The size of the section that a label is in, 0 where a program has no such label."""
    symbol = program.symbol(label)
    section = program.section(symbol.section) if symbol and symbol.section else None
    return section.size if section else 0


def _loaded(program: Program, make: Maker, preset: Preset | None, prompt: int) -> ReferenceMachine:
    machine = make(preset or program.machine, Host(prompt_of(program, prompt)))
    machine.load(program)
    return machine


# ------------------------------------------------------------------------------------------------ where the time goes


def shares(program: Program, make: Maker, seconds: float, preset: Preset | None = None, depth: int = 1) -> dict[str, Any]:
    """{"units": share of the time by unit, "operations": {name: {"microseconds", "per_token", "share"}}}; None for both if no token
    was measured. depth: positions before the first token.
    """
    places = {symbol.name: symbol.value for symbol in program.symbols}
    following = _following(places)
    machine = _loaded(program, make, preset, depth)
    _round(machine, 1, 0.0)                                 # the prompt
    machine.breakpoints = {places["token"]}
    machine.run().unless_interrupted()
    taken: dict[str, list[float]] = defaultdict(list)
    at, end, began = "token", time.perf_counter() + seconds, time.perf_counter()
    current: list[tuple[str, float]] = []                   # of a token that is not complete: it counts when it is
    while (time.perf_counter() < end and len(taken["token"]) < STRETCH) or len(taken["token"]) < WARM:
        machine.breakpoints = {places[name] for name in following[at]}
        began = time.perf_counter()
        if machine.run().unless_interrupted().reason != "breakpoint":
            break
        passed = time.perf_counter() - began
        at = next(name for name in following[at] if places[name] == machine.pc)
        current.append((at, passed))
        if at == "token":
            for name, duration in current:
                taken[name].append(duration)
            current.clear()
    if not taken["token"]:
        return {"units": None, "operations": None}
    usual = {name: float(np.quantile(values, 0.25)) for name, values in taken.items()}
    stop, tokens = min(usual.values()), len(taken["token"])
    cost = {name: (usual[name] - stop) * len(values) / tokens for name, values in taken.items()}
    whole, kinds = sum(cost.values()), operation_kinds(program)
    units: dict[str, float] = defaultdict(float)
    operations = {}
    for name in sorted(cost, key=lambda name: -cost[name]):
        unit, text = kinds.get(name, ("core", "the token goes out" if name == "token" else "sampling"))
        units[unit] += cost[name] / whole
        operations[f"{name} {text}"] = {"microseconds": 1e6 * (usual[name] - stop), "per_token": len(taken[name]) / tokens,
                                        "share": cost[name] / whole}
    return {"units": dict(sorted(units.items(), key=lambda item: -item[1])), "operations": operations}


def processor(program: Program, make: Maker, seconds: float) -> float:
    """Microseconds of the processor that a token takes behind a prompt of one: the fastest tenth, in about `seconds`."""
    rounds, _ = _rounds(program, make, None, 1, STRETCH, seconds)
    return 1e6 * float(np.quantile([gap for each in rounds for gap in np.diff(each.worked[WARM:]).tolist()], 0.1))


def _following(places: dict[str, int]) -> dict[str, list[str]]:
    """The marks that can follow each mark, in the order in which a token passes them."""
    def section(name: str) -> list[str]:
        found = [place for place in places if place.startswith(f"op.{name}.")]
        return sorted(found, key=lambda place: int(place.rpartition(".")[2]))

    start, finish = section("start"), section("finish")
    layers = [section(name) for name in dict.fromkeys(re.findall(r"op\.(layer\d*)\.", " ".join(places)))]
    following = {a: [b] for ops in (["token", *start], *layers, [*finish, "chosen", "token"]) for a, b in pairwise(ops)}
    firsts = [layer[0] for layer in layers]
    following[start[-1]] = firsts
    for layer in layers:
        following[layer[-1]] = [*firsts, finish[0]]
    return following


def operation_kinds(program: Program) -> dict[str, tuple[str, str]]:
    """For each mark: the unit that computes the operation, and the operation as text."""
    result = {}
    for section, ops in program.meta["model"]["operations"].items():
        for number, text in enumerate(ops):
            kind = text.split(" = ")[1].split()[0]
            result[f"op.{section}.{number}"] = (LOWERINGS[kind].__module__.rpartition(".")[2], text)
    return result
