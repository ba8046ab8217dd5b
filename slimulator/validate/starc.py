"""STARC: rows that attention opens in memory, and what they take, where a step looks at all tokens, at the best ones, at clusters.

The demo model that remembers reads a text, once in full and once with clusters of keys; at the next token each head of the layers
that choose has a list of cache rows. A program of the attention unit then attends to these rows on `attacc`, with units at the
banks of HBM3: heads of 128 channels in fp16, as those of the models of the paper, with keys and values of their own. No time
depends on values.

    full         all tokens
    token-wise   the tokens with the largest scores of full attention, in order of their positions
    clusters     the lists of the program with --kv-select starc

Each of the two also as the authors of STARC count: all 16 tokens of each row that a list touches, which the banks go through
together as if they were the first ones of the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, partial
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from compiler.frontends import load, need_tokenizer
from compiler.measuring.measure import operation_kinds
from compiler.running.generate import find_program
from compiler.settings import Settings
from emulator.machine import Machine
from isa.program import Program
from isa.regions import HBM
from isa.services import Host
from isa.shipped import PROGRAMS
from isa.timing import attention as rules
from isa.timing.memories import MEMORIES, AttentionDram
from slimulator.validate import attacc
from slimulator.validate.checks import Check

MODEL, TEXT = PROGRAMS / "demo" / "recall", PROGRAMS / "studies" / "stories.txt"
PROMPT, BUDGET, HEAD_DIM, BYTES = 2032, 512, 128, 2
ROW = 16                                    # tokens of a row of a bank group
MAC_PJ = Fraction(32, 100)                  # of fp16: AttAcc's simulator, src/config.py
STACK = "HBM3-AttAcc-bank"
Rows = npt.NDArray[np.int64]

TOKEN_WISE, CLUSTERS, WHOLE_ROWS = "token-wise", "clusters", ", whole rows"
_PAPER = "STARC, arXiv 2505.05772"
_ASSUMED = ("tokens side by side lie in a row of a bank group, 16 of 128 channels (the paper); each group goes through its part of "
            "a list by itself, in the order of the list (assumed). Clusters open fewer rows, but lie in few groups, and the group "
            "with most to do decides the time")
_AS_COUNTED = ("all 16 tokens of each row that a list touches are read, and all groups work together, as on so many tokens side by "
               "side: EPIC-RPI/STARC, simulator_starc, gen_trace_attacc_bank.py and kv_budget_*.txt. One number for all heads, "
               "there as here; that it is their mean is assumed")


@dataclass(frozen=True)
class Step:
    """A decode step of all heads: rows opened and columns read, in each bank by itself; seconds and joules of the memory, with its
    units."""

    heads: int
    opened: int
    read: int
    seconds: float
    joules: float


def values_at(kv_select: str | None, kind: str, name: str) -> list[npt.NDArray[np.uint32]]:
    """What a program of the model has put to `name` when an operation of this kind is done, as words: of the token behind the
    prompt, in each layer that has one. Raises RuntimeError if the run ends early."""
    program = Program.load(find_program(MODEL, Settings(kv="f16", kv_select=kv_select)))
    places = {symbol.name: symbol.value for symbol in program.symbols}
    marks = {places[mark] for mark, (_, text) in operation_kinds(program).items() if text.split(" = ")[1].split()[0] == kind}
    model = load(MODEL)
    ids = need_tokenizer(model).encode(TEXT.read_text(encoding="utf-8") * 4)[:PROMPT]
    machine, found = Machine(program.machine, Host(ids)), list[npt.NDArray[np.uint32]]()
    machine.load(program)
    machine.breakpoints = {places["token"]}
    machine.run().unless_interrupted()
    machine.breakpoints = {*marks, places["token"]}
    heads, width = model.config.heads, BUDGET if kv_select else program.meta["model"]["context"]
    while True:
        result = machine.run()
        if result.reason != "breakpoint":
            raise RuntimeError(f"the run of {MODEL.name} ended with {result.reason}")
        if machine.pc == places["token"]:
            return found
        found.append(machine.tensor(places[name], f"u32[{heads},{width}]").copy())


@cache
def lists() -> tuple[Rows, Rows]:
    """(lists of the best tokens, lists of clusters): (heads of all layers that choose, BUDGET)."""
    clusters = values_at(f"starc:{BUDGET}", "choose.rows", "rows")
    scores = np.concatenate(values_at(None, "scores.rows.f16", "scores")[-len(clusters):]).view("<f4")[:, :PROMPT + 1]
    best = np.sort(np.argsort(-scores, axis=1, kind="stable")[:, :BUDGET], axis=1)
    return best.astype(np.int64), np.concatenate(clusters).astype(np.int64)


def in_whole_rows(chosen: Rows) -> int:
    """Tokens of the rows that lists (heads, tokens) touch, all of each row, as the mean of the heads, in whole rows."""
    return ROW * ceil(np.mean([len(np.unique(each // ROW)) for each in chosen]))


def step(chosen: Rows | None, heads: int, tokens: int = PROMPT + 1) -> Step:
    """Attention of so many heads on attacc: to lists of rows, or to the first tokens. Raises RuntimeError for wrong values."""
    stack, tokens = MEMORIES[STACK], tokens if chosen is None else chosen.shape[1]
    assert isinstance(stack, AttentionDram)
    machine, wrong = attacc.run(stack, heads, tokens, HEAD_DIM, BYTES, lists=chosen)
    time = machine.time
    if wrong or time is None or time.attention is None:
        raise RuntimeError(f"attention on attacc: {'; '.join(wrong)}")
    opened, read = time.attention["rows_opened"], time.attention["columns_read"]
    pj = (rules.rows_pj(stack, opened, read) + rules.moves_pj(stack, heads, tokens, HEAD_DIM, BYTES)
          + MAC_PJ * int(machine.counters["attn.macs"]))
    return Step(heads, opened, read, time.regions[HBM] / time.clock_hz, float(pj) * 1e-12)


@cache
def steps() -> dict[str, Step]:
    """By what a step looks at."""
    chosen = dict(zip((TOKEN_WISE, CLUSTERS), lists(), strict=True))
    heads = len(chosen[CLUSTERS])
    return {"full": step(None, heads), **{name: step(each, heads) for name, each in chosen.items()},
            **{name + WHOLE_ROWS: step(None, heads, in_whole_rows(each)) for name, each in chosen.items()}}


def checks() -> Iterator[Check]:
    """All rows, in order."""
    all_steps = steps()
    executed = (f"{all_steps['full'].heads} heads of 128 channels on attacc, {PROMPT + 1:,} tokens, budget {BUDGET}; lists of the "
                "demo model that remembers")
    row: Any = partial(Check, "STARC", executed=executed)
    for name, each in all_steps.items():
        assumed = _AS_COUNTED if name.endswith(WHOLE_ROWS) else _ASSUMED
        yield row(f"rows of a bank that a head opens, {name}", "rows", None, None, each.opened / each.heads, assumed=assumed,
                  source=f"{_PAPER}: no number")
        yield row(f"attention of a step, {name}", "us", None, None, 1e6 * each.seconds, assumed=assumed,
                  source=f"{_PAPER}: no number")
        yield row(f"energy of a step, {name}", "uJ", None, None, 1e6 * each.joules, assumed=assumed,
                  source=f"{_PAPER}: no number")
    for way, assumed in (("", _ASSUMED), (WHOLE_ROWS, _AS_COUNTED)):
        clusters = all_steps[CLUSTERS + way]
        for what, other, latency, energy, later in (
                ("token-wise selection", all_steps[TOKEN_WISE + way], (19, 31), (19, 27), (78, 65)),
                ("full attention", all_steps["full"], (54, 74), (45, 67), (93, 92))):
            for of, known, most, saved in (("latency", latency, later[0], 1 - clusters.seconds / other.seconds),
                                           ("energy", energy, later[1], 1 - clusters.joules / other.joules)):
                yield row(f"{of} below {what}{way}", "%", *known, 100 * saved, assumed=assumed,
                          source=f"{_PAPER} (first version): budget 1,024, contexts not known; ASPLOS 2026: up to {most} %")
