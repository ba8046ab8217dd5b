"""AttAcc's workload, the attention of one token, as a program of the attention unit.

    attn.setm       so many heads, each with keys and values of its own
    attn.wrgb       their queries
    attn.mac        scores of all tokens            f16 for two bytes an element, i8 for one
    attn.sfm        probabilities
    attn.context    the sum of the values by these

The machine's own clock times it, by isa/timing/attention.py: cycles are those in which the memory works for these operations.
Keys and values repeat every few tokens, which no figure depends on. A few of the heads are compared with NumPy in double precision.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from asm.assembler import assemble
from emulator.machine import Machine
from isa.preset import Preset, load_preset, preset_of
from isa.regions import HBM, SRAM
from isa.timing import attention as rules
from isa.timing.memories import MEMORIES, AttentionDram
from slimulator.validate.points import Inexpressible, Outcome, Point

SIMULATOR = "AttAcc"
PLACES = {"BA": "bank", "BG": "group", "BUFFER": "buffer"}
DIFFERENT = 31                  # tokens until keys and values repeat; odd, so no stride hides a mistake
TOLERANCE = 2e-4                # of float32 sums of up to some thousand terms, relative to the largest
ELEMENTS = {2: "f16", 1: "i8"}
HEADS, CHANNELS, TOKENS = 8192, 1 << 20, 1 << 17        # the most that the machine has
WIDEST = 1024                   # head
CACHE = 1 << 30                 # elements of keys, the same of values
SCORES = 1 << 25                # of all heads, beside queries and context

PROGRAM = """
.text
_start:
    li t0, SCALE
    csrw attn.scale, t0
    li a0, HEADS
    li a1, HEADS
    li a2, HEAD_DIM
    attn.setm a0, a1, a2
    li a0, QUERY
    attn.wrgb.{query} a0
    li a0, SCORES
    li a1, KEYS
    li a2, TOKENS
{lists}    attn.mac.{elements} a0, a1, a2
    attn.sfm.f32 a0, a0, a2
    li a3, CONTEXT
    li a4, VALUES
    attn.context.{elements} a3, a4, a0, a2
    li a0, 0
    li a7, 93
    ecall
"""

LISTS = """\
    li t0, LISTS
    csrw attn.row_list, t0
    li t0, 4 * TOKENS
    csrw attn.list_stride, t0
"""


def memory_of(config: str) -> AttentionDram:
    """The memory of a configuration. Raises Inexpressible for another configuration."""
    found = re.fullmatch(r"HBM3 5\.2 Gb/s 16 channels, units at (BA|BG|BUFFER), power limit (True|False)", config)
    if not found:
        raise Inexpressible(f"no configuration {config!r} of AttAcc; expected units at BA, BG or BUFFER, power limit True or False")
    memory = MEMORIES[f"HBM3-AttAcc-{PLACES[found[1]]}" + ("" if found[2] == "True" else "-unlimited")]
    assert isinstance(memory, AttentionDram)
    return memory


@cache
def machine_of(memory: str) -> Preset:
    """attacc with this memory, by name."""
    data: Any = load_preset("attacc").file.model_dump(mode="json", exclude_none=True)
    data["region"][HBM]["memory"] = {"value": memory, "source": "assumed: what the workload names"}
    return preset_of(data)


def _rows(random: np.random.Generator, heads: int, head_dim: int, form: str) -> npt.NDArray[np.uint8]:
    """Rows of a cache, (DIFFERENT, bytes of a row), with values around zero."""
    if form == "f16":
        return random.uniform(-1, 1, (DIFFERENT, heads * head_dim)).astype("<f2").view(np.uint8)
    codes = random.integers(-127, 128, (DIFFERENT, heads * head_dim), dtype=np.int8).view(np.uint8)
    scales = random.uniform(0.005, 0.01, (DIFFERENT, heads)).astype("<f4").view(np.uint8)
    return np.hstack([codes, np.zeros((DIFFERENT, -codes.shape[1] % 4), np.uint8), scales])


def _values(rows: npt.NDArray[np.uint8], head: int, heads: int, head_dim: int, form: str) -> npt.NDArray[np.float64]:
    """The elements of one head in rows of a cache: (DIFFERENT, head_dim)."""
    if form == "f16":
        return rows.view("<f2")[:, head * head_dim:(head + 1) * head_dim].astype(np.float64)
    scales = np.ascontiguousarray(rows[:, -4 * heads:]).view("<f4")[:, head:head + 1].astype(np.float64)
    return rows[:, head * head_dim:(head + 1) * head_dim].view(np.int8).astype(np.float64) * scales


def _expected(query: npt.NDArray[np.float64], keys: npt.NDArray[np.float64], values: npt.NDArray[np.float64],
              rows: npt.NDArray[np.int64], form: str) -> npt.NDArray[np.float64]:
    """The context of one head over these rows of its cache, in double precision."""
    query = query / np.sqrt(len(query))
    if form == "i8":
        largest = np.abs(query).max()
        query = np.rint(query * (127 / largest)) * (largest / 127)
    which = rows % DIFFERENT
    scores = (keys @ query)[which]
    weights = np.exp(scores - scores.max())
    context: npt.NDArray[np.float64] = weights @ values[which] / weights.sum()
    return context


def execute(point: Point) -> Outcome:
    """Run a point's program. Raises Inexpressible."""
    memory = memory_of(point.config)
    if point.workload != "attention of one token":
        raise Inexpressible(f"no program for the workload {point.workload!r}")
    heads, head_dim = point.size("heads", HEADS), point.size("head_dim", WIDEST)
    tokens, size = point.size("L", TOKENS), point.size("bytes_per_element", max(ELEMENTS))
    if heads * head_dim * tokens > CACHE or heads * tokens > SCORES or heads * head_dim > CHANNELS:
        raise Inexpressible(f"{heads} heads of {head_dim} x {tokens} elements; expected {CACHE} elements, {SCORES} scores and "
                            f"{CHANNELS} channels at most")
    machine, wrong = run(memory, heads, tokens, head_dim, size)
    assert machine.time is not None
    return Outcome(machine.time.regions[HBM], float(rules.attention_pj(memory, heads, tokens, head_dim, size)),
                   {"macs": int(machine.counters["attn.macs"])}, wrong)


def run(memory: AttentionDram, heads: int, tokens: int, head_dim: int, size: int, seed: int = 1,
        lists: npt.NDArray[np.int64] | None = None) -> tuple[Machine, tuple[str, ...]]:
    """Run the program of a shape and compare its values with NumPy's. Returns the machine, and what was wrong.

    lists: (heads, tokens) rows of the cache that each head attends to; None: the first ones."""
    form, preset = ELEMENTS[size], machine_of(memory.name)
    random = np.random.Generator(np.random.PCG64(seed))
    queries = random.uniform(-1, 1, (heads, head_dim)).astype("<f4")
    keys, values = _rows(random, heads, head_dim, form), _rows(random, heads, head_dim, form)
    sram, hbm = preset.region(SRAM), preset.region(HBM)
    places = {"QUERY": sram.base, "CONTEXT": sram.base + queries.nbytes, "SCORES": sram.base + 2 * queries.nbytes,
              "KEYS": hbm.base, "VALUES": hbm.base + hbm.size // 2}
    machine = Machine(preset)
    text = PROGRAM.format(query="i8" if form == "i8" else "f32", elements=form, lists="" if lists is None else LISTS)
    attended = np.tile(np.arange(tokens), (heads, 1)) if lists is None else lists
    places["LISTS"] = places["SCORES"] + 4 * heads * tokens
    machine.load(assemble(text, machine="attacc",
                          defines={**places, "HEADS": heads, "HEAD_DIM": head_dim, "TOKENS": tokens,
                                   "SCALE": int(np.float32(1 / np.sqrt(head_dim)).view(np.uint32))}))
    machine.memory[places["QUERY"]:places["QUERY"] + queries.nbytes] = queries.reshape(-1).view(np.uint8)
    if lists is not None:
        machine.memory[places["LISTS"]:places["LISTS"] + 4 * lists.size] = lists.astype("<u4").reshape(-1).view(np.uint8)
    for base, rows in ((places["KEYS"], keys), (places["VALUES"], values)):
        held = int(attended.max()) + 1
        cache = machine.memory[base:base + held * rows.shape[1]].reshape(held, -1)
        for first in range(0, held, DIFFERENT):
            cache[first:first + DIFFERENT] = rows[:held - first]
    result = machine.run()
    wrong = [] if result.exit_code == 0 else [f"the run ended by {result.reason}"]
    found = machine.tensor(places["CONTEXT"], f"f32[{heads},{head_dim}]")
    for head in sorted({0, heads // 2, heads - 1}):
        context = _expected(queries[head].astype(np.float64), _values(keys, head, heads, head_dim, form),
                            _values(values, head, heads, head_dim, form), attended[head], form)
        if not np.allclose(found[head], context, rtol=0, atol=TOLERANCE):
            wrong.append(f"the context of head {head}: {np.abs(found[head] - context).max():.1e} off")
    if machine.counters["attn.macs"] != 2 * heads * tokens * head_dim:
        wrong.append(f"attn.macs {machine.counters['attn.macs']}")
    return machine, tuple(wrong)
