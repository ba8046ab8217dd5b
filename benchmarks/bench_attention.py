"""Speed of attention: a token over 4,096 cached ones, 32 heads of 128 channels, and in cache; the attn unit beside the vector unit.

Prints one JSON object. A step is attn.mac (or attn.xmac, on transposed keys), attn.sfm and attn.context of all heads; its MACs are
those of scores and context. `grouped`: 8 heads of keys and values. Caches lie in DRAM of the machine and are larger than those of
the host; each figure is the best of several in turns with a read of the very bytes, `of_bandwidth` is their ratio.
"""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np

import asm
from emulator.machine import Machine
from emulator.threads.workers import cores

HEADS, HEAD_DIM, TOKENS = 32, 128, 4096
MACS = 2 * HEADS * HEAD_DIM * TOKENS
Q, SCORES, CONTEXT, KEYS, VALUES = 0x1000_0000, 0x1010_0000, 0x1020_0000, 0x9000_0000, 0xA000_0000
SIZE = {"f32": 4, "f16": 2, "i8": 1}
TURNS, TIMES = 7, 300
SMALL = {"heads": 12, "head_dim": 64, "tokens": 256}            # of `in cache`

SETTING = """
_start: li a0, {heads}
        li a1, {kv_heads}
        li a2, {head_dim}
        attn.setm a0, a1, a2
        li t0, {key_stride}
        csrw attn.key_stride, t0
        li s0, {q}
        li s1, {scores}
        li s2, {context}
        li s3, {keys}
        li s4, {values}
        li s5, {tokens}
        attn.wrgb.{query} s0
"""
ON_ATTN = """
        attn.{mac}.{form} s1, s3, s5
        attn.sfm.f32 s1, s1, s5
        attn.context.{form} s2, s4, s1, s5
        li a7, 93
        ecall
"""
IN_CACHE = {"mac": "attn.mac.{form} s1, s3, s5", "sfm": "attn.sfm.f32 s1, s1, s5", "context": "attn.context.{form} s2, s4, s1, s5"}
AGAIN = """
        li s6, {times}
1:      OPERATION
        addi s6, s6, -1
        bnez s6, 1b
        li a7, 93
        ecall
"""
ON_VEC = """
        li t0, {head_dim}
        csrw vec.cols, t0
        li t0, {kv_heads} * {head_dim} * {size}
        csrw vec.row_stride, t0
        li s6, {heads}
        li t1, {head_dim} * {size}
        li t3, {head_dim} * 4
        li t4, {group}
        li t5, {group}
        li t6, {head_dim}
1:      vec.gemv.{form} s1, s3, s0, s5
        vec.softmax.f32 s1, s1, s5
        vec.fill.32 s2, zero, t6
        vec.macT.{form} s2, s4, s1, s5
        add s0, s0, t3
        add s2, s2, t3
        addi t4, t4, -1
        bnez t4, 2f
        mv t4, t5
        add s3, s3, t1
        add s4, s4, t1
2:      addi s6, s6, -1
        bnez s6, 1b
        li a7, 93
        ecall
"""


def machine_of(text: str, form: str, mac: str, kv_heads: int, threads: int, heads: int = HEADS, head_dim: int = HEAD_DIM,
               tokens: int = TOKENS) -> tuple[Machine, int, int]:
    """A machine with the program and random operands in it, its first instruction, bytes of a cache."""
    transposed = mac == "xmac"
    numbers = {"heads": heads, "kv_heads": kv_heads, "head_dim": head_dim, "q": Q, "scores": SCORES, "context": CONTEXT,
               "keys": KEYS, "values": VALUES, "tokens": tokens, "query": "i8" if form == "i8" else "f32", "form": form, "mac": mac,
               "size": SIZE[form], "group": heads // kv_heads, "key_stride": tokens * SIZE[form] if transposed else 0,
               "times": TIMES}
    program = asm.assemble((SETTING + text).format(**numbers))
    machine = Machine("slim", threads=threads)
    machine.load(program)
    random, elements = np.random.default_rng(0), tokens * kv_heads * head_dim
    size = elements * SIZE[form] + (4 * tokens * kv_heads if form == "i8" else 0)
    x = random.standard_normal(elements, np.float32)
    for place in (KEYS, VALUES):
        data = machine.peek(place, size)
        if form == "i8":
            data[:] = random.integers(0, 256, size, np.uint8)
            scales = np.full((tokens, kv_heads), 0.01, "<f4").view(np.uint8)
            data.reshape(tokens, -1)[:, kv_heads * head_dim:] = scales
            if transposed and place == KEYS:
                data[elements:] = scales.reshape(-1)
        else:
            data[:] = x.astype({"f32": "<f4", "f16": "<f2"}[form]).view(np.uint8)
    machine.peek(Q, 4 * heads * head_dim)[:] = random.standard_normal(heads * head_dim, np.float32).view(np.uint8)
    return machine, program.entry, size


def seconds_of(machine: Machine, entry: int) -> float:
    """Of a step."""
    machine.pc, machine.exit_code = entry, None
    start = time.perf_counter()
    result = machine.run()
    seconds = time.perf_counter() - start
    assert result.reason == "exit" and not [name for name in machine.handed_over if name[:4] in ("attn", "vec.")], result
    return seconds


def step(text: str, form: str, mac: str = "mac", kv_heads: int = HEADS, threads: int = 1) -> dict[str, float]:
    """Figures of one step."""
    machine, entry, size = machine_of(text, form, mac, kv_heads, threads)
    data = machine.peek(KEYS, size & -8).view(np.int64)
    seconds_of(machine, entry)

    def read() -> float:
        start = time.perf_counter()
        np.maximum.reduce(data)
        return time.perf_counter() - start
    spent, reading = (min(column) for column in zip(*[(seconds_of(machine, entry), 2 * read()) for _ in range(TURNS)], strict=True))
    return {"milliseconds": 1e3 * spent, "giga_macs_per_second": MACS / spent / 1e9, "of_bandwidth": reading / spent}


def in_cache(form: str, operation: str, threads: int) -> dict[str, float]:
    """Figures of an operation whose operands lie in a cache of the host."""
    text = AGAIN.replace("OPERATION", IN_CACHE[operation])
    machine, entry, _ = machine_of(text, form, "mac", SMALL["heads"], threads, **SMALL)
    spent = min(seconds_of(machine, entry) for _ in range(TURNS)) / TIMES
    macs = 0 if operation == "sfm" else SMALL["heads"] * SMALL["tokens"] * SMALL["head_dim"]
    return {"microseconds": 1e6 * spent, "giga_macs_per_second": macs / spent / 1e9}


def main() -> None:
    figures: dict[str, Any] = {}
    for form in SIZE:
        figures[form] = {"mac": step(ON_ATTN, form), "xmac": step(ON_ATTN, form, "xmac"),
                         "grouped": step(ON_ATTN, form, kv_heads=8)}
        if cores() > 1:
            figures[form]["two_threads"] = step(ON_ATTN, form, threads=2)
    for form in ("f32", "f16"):
        figures[form]["vector unit"] = step(ON_VEC, form)
    figures["in cache"] = {f"threads {threads}": {form: {operation: in_cache(form, operation, threads) for operation in IN_CACHE}
                                                  for form in SIZE} for threads in range(1, min(2, cores()) + 1)}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
