"""Commands of the pim unit in random orders, legal and illegal: both engines end alike, whatever was refused on the way.

A handler skips what traps, so a run goes on from the state that the commands before have really left. Modes, rows, registers and
micro-programs are then as varied as programs make them; single commands from random states are in test_differential.py.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from both_engines import SMALL, run_program
from random_xslim import CRF_WORDS

import asm

COMMANDS = 250
# Commands, some after each other, and how often each is drawn. a0: sram; s0: numbers; s1: one of two micro-programs.
ORDERS = {
    "pim.act {bank}, {row}": 3, "pim.pre {bank}": 2, "pim.rd a0, {bank}, {column}": 4, "pim.wr s0, {bank}, {column}": 4,
    "pim.act.ab {row}": 4, "pim.pre.ab": 8, "pim.act.hab {parity}, {row}": 6, "pim.pre.hab {parity}": 3,
    "pim.wr.hab s0, {parity}, {column}": 4, "pim.mode.sb": 2, "pim.mode.hab": 2, "pim.mode.hab_pim {zeroed}": 4,
    "pim.wr.crf s1, {index}": 5, "pim.wr.grf_a s0, {column}": 4, "pim.wr.grf_b s0, {column}": 4, "pim.wr.srf s0": 2,
    "pim.rd.pim {parity}, {column}": 30, "pim.wr.pim {parity}, {column}": 12,
    "pim.mac_abk.f16 {opsize}, {row}": 2, "csrw pim.channel_mask, {mask}": 1,
    "pim.pre.ab; pim.mode.hab; pim.wr.crf s1, zero; pim.mode.hab_pim {zeroed}; pim.act.ab {row}": 10,
    "pim.pre.ab; pim.mode.hab; pim.mode.sb; pim.mode.hab": 4, "pim.mode.hab; pim.mode.hab_pim zero": 8}
MOST = {"bank": 4, "row": 8, "column": 32, "parity": 2, "zeroed": 4, "index": 4, "mask": 4, "opsize": 8}


def orders(random: np.random.Generator) -> str:
    """A program of random commands; some operands are out of range."""
    names, weights = list(ORDERS), np.array(list(ORDERS.values()), float)
    lines = []
    for text in random.choice(names, COMMANDS, p=weights / weights.sum()):
        values = {}
        for number, (name, most) in enumerate(MOST.items()):
            if f"{{{name}}}" in text:
                value = int(random.integers(most)) if random.random() < 0.95 else most
                if name == "parity" and random.random() < 0.5:
                    value = 0
                values[name] = f"s{2 + number}"
                lines.append(f"li s{2 + number}, {value}")
        lines += str(text).format(**values).split("; ")
    programs = "\n".join(f".crf {CRF_WORDS[i]}" for i in random.integers(len(CRF_WORDS), size=64))
    numbers = ", ".join(map(hex, random.integers(0, 1 << 16, 64)))
    return f"""
        .section .data
        .balign 4
program: {programs.lstrip()}
numbers: .half {numbers}
        .section .text
_start: la t0, skip
        csrw mtvec, t0
        csrwi pim.channel_mask, 3
        li a0, 0x10000000
        la s0, numbers
        la s1, program
        {chr(10).join(lines)}
        csrw mtvec, zero
        li a7, 93
        ecall
        .balign 4
skip:   csrr t0, mepc
        addi t0, t0, 4
        csrw mepc, t0
        mret
"""


def test_both_engines_follow_any_order() -> None:
    total: Counter[str] = Counter()
    for seed in range(12):
        done = run_program(asm.assemble(orders(np.random.default_rng(seed)), machine=SMALL), max_instructions=20_000)
        assert done.results[-1].reason == "exit"
        total.update(done.fast.counters)
    assert total["core.traps"] > 300 and total["pim.crf_steps"] > 100           # neither is rare
    events = ("macs", "elements", "columns_read", "columns_written", "mode_switches", "broadcasts", "row_hits", "row_conflicts")
    assert [name for name in events if not total[f"pim.{name}"]] == []
