"""The order in which a memory controller with a queue sends the commands of reads or writes, and a program that sends them so.

PIMSimulator's controller looks at 64 requests. Each cycle it sends the oldest column command that may go; else it opens the row of
the oldest request whose bank is closed; else it closes a bank whose open row no request of the queue needs. The order is reckoned
here, without refreshes; the time of the program is the bank rule's. It serves workloads that are a list of requests: the preload of
a matrix, and the readback of results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from emulator.machine import Machine
from isa.timing.bank_state import FIGURES
from isa.timing.memories import MEMORIES
from slimulator.validate.pim_simulator import (
    BANKS,
    BLOCKS,
    CHANNELS,
    COLUMNS,
    FIRST,
    GROUP_OF_COLUMNS,
    LANES,
    MACHINE,
    MOST,
    TILE_INPUTS,
    TILE_OUTPUTS,
    column_view,
    gemv,
    matrix_of,
    numbers,
)
from slimulator.validate.points import Point
from slimulator.validate.program import ValidationProgram, expect

QUEUE = 64
GROUP = 4           # banks of a bank group
ACT, PRE, READ, WRITE = range(4)


class Request(NamedTuple):
    """A column of a bank."""

    bank: int
    row: int
    column: int


class Command(NamedTuple):
    """What is sent: an activation of a row, a precharge, or the column command of request number `request`."""

    what: int
    bank: int
    argument: int = 0
    request: int = -1


def order(requests: Sequence[Request], write: bool, queue: int = QUEUE) -> list[Command]:
    """The commands for these requests, in the order of the controller."""
    f = {name: getattr(MEMORIES["HBM2-PIM"], name) for name in FIGURES}
    behind = f["WL"] + f["tBURST"] + f["tWR"] if write else f["tRTP"]
    opens, what = (f["tRCDWR"], WRITE) if write else (f["tRCDRD"], READ)
    open_row: list[int] = [-1] * BANKS
    column_from, open_from, close_from = [0] * BANKS, [0] * BANKS, [0] * BANKS
    group_from, channel_from, now = [0] * (BANKS // GROUP), 0, -1
    waiting, following, sent = list(range(min(queue, len(requests)))), min(queue, len(requests)), []
    while waiting:
        best: tuple[int, int, int, int] | None = None               # (cycle, what comes first, age, request or bank)
        seen, needed = set(), set()
        for age, number in enumerate(waiting):
            bank, row, _ = requests[number]
            if open_row[bank] == row:
                needed.add(bank)
                candidate = (max(now + 1, column_from[bank], group_from[bank // GROUP], channel_from), 0, age, number)
            elif open_row[bank] < 0 and bank not in seen:
                candidate = (max(now + 1, open_from[bank]), 1, age, number)
            else:
                continue
            seen.add(bank)
            best = candidate if best is None or candidate < best else best
        for bank in range(BANKS):
            if open_row[bank] >= 0 and bank not in needed:
                candidate = (max(now + 1, close_from[bank]), 2, bank, bank)
                best = candidate if best is None or candidate < best else best
        assert best is not None
        now, kind, _, number = best
        if kind == 2:
            sent.append(Command(PRE, number))
            open_row[number], open_from[number] = -1, max(open_from[number], now + f["tRP"])
            continue
        bank, row, column = requests[number]
        if kind == 1:
            sent.append(Command(ACT, bank, row))
            open_row[bank], column_from[bank], close_from[bank] = row, now + opens, now + f["tRAS"]
            for other in range(BANKS):
                near = f["tRC"] if other == bank else f["tRRDL"] if other // GROUP == bank // GROUP else f["tRRDS"]
                open_from[other] = max(open_from[other], now + near)
            continue
        sent.append(Command(what, bank, column, number))
        close_from[bank] = max(close_from[bank], now + behind)
        group_from[bank // GROUP], channel_from = now + f["tCCDL"], now + f["tCCDS"]
        waiting.remove(number)
        if following < len(requests):
            waiting.append(following)
            following += 1
    return sent


def _text(commands: list[Command], columns: int) -> str:
    """A program that sends commands: a table of words, what | bank << 2 | row or column << 8. `memory` holds the columns."""
    words = [command.what | command.bank << 2 | command.argument << 8 for command in commands]
    table = "\n".join(".word " + ", ".join(map(str, words[at:at + 16])) for at in range(0, len(words), 16))
    return f"""
    .machine {MACHINE}
    .section .data
    .balign 32
table:
{table}
    .section .bss
    .balign 32
memory: .zero {32 * columns}
    .section .text
    .globl _start
_start:
    csrwi   pim.channel_mask, 1
    la      s0, table
    la      s1, memory
    li      s2, {len(words)}
    li      s3, {PRE}
    li      s4, {READ}
    li      s5, {WRITE}
1:  lw      t0, 0(s0)
    andi    t1, t0, 3
    srli    t2, t0, 2
    andi    t2, t2, 63                      # bank
    srli    t3, t0, 8                       # row or column
    beq     t1, s5, 4f
    beq     t1, s4, 3f
    beq     t1, s3, 2f
    pim.act t2, t3
    j       5f
2:  pim.pre t2
    j       5f
3:  pim.rd  s1, t2, t3
    addi    s1, s1, 32
    j       5f
4:  pim.wr  s1, t2, t3
    addi    s1, s1, 32
5:  addi    s0, s0, 4
    addi    s2, s2, -1
    bnez    s2, 1b
    sync.fence
    li      a0, 0
    li      a7, 93
    ecall
"""


def transfer(requests: Sequence[Request], write: bool, seed: int = 0) -> ValidationProgram:
    """Read or write these columns, all different, in the order of the controller."""
    commands = order(requests, write)
    values = numbers(np.random.default_rng(seed), len(requests), LANES)
    sent = [command.request for command in commands if command.request >= 0]        # the program takes them as they are sent

    def host(machine: Machine) -> npt.NDArray[np.float16]:
        view: npt.NDArray[np.float16] = machine.tensor("memory", f"f16[{len(requests)},{LANES}]")
        return view

    def fill(machine: Machine) -> None:
        if write:
            host(machine)[:] = values[sent]
        else:
            for request, lanes in zip(requests, values, strict=True):
                column_view(machine, *request)[:] = lanes

    def check(machine: Machine) -> None:
        if write:
            expect("columns", np.stack([column_view(machine, *request) for request in requests]), values)
        else:
            expect("columns", np.array(host(machine)), values[sent])

    return ValidationProgram(MACHINE, _text(commands, len(requests)), fill, check, first=FIRST)


def preload(outputs: int, inputs: int) -> ValidationProgram:
    """Write the matrix of a GEMV: tile by tile, 64 columns to each block's even or odd bank."""
    requests = []
    tiles, input_tiles = -(-outputs // (TILE_OUTPUTS * CHANNELS)), -(-inputs // TILE_INPUTS)
    pairs = -(-input_tiles // 2)
    for tile in range(tiles):
        for number in range(input_tiles):
            first = 2 * (tile * pairs + number // 2)
            requests += [Request(2 * block + number % 2, first + column // COLUMNS, column % COLUMNS)
                         for block in range(BLOCKS) for column in range(GROUP_OF_COLUMNS * GROUP_OF_COLUMNS)]
    return transfer(requests, True)


def readback(outputs: int) -> ValidationProgram:
    """Read the sums of a GEMV: 8 columns of each odd bank for an output tile."""
    tiles = -(-outputs // (TILE_OUTPUTS * CHANNELS))
    return transfer([Request(2 * block + 1, tile // 4, tile % 4 * 8 + column)
                     for tile in range(tiles) for block in range(BLOCKS) for column in range(GROUP_OF_COLUMNS)], False)


def program_of(point: Point) -> ValidationProgram | None:
    """The program of a workload of the published table, None if there is none. Raises Inexpressible for other sizes."""
    if point.workload == "preload":
        return preload(*matrix_of(point))
    if point.workload == "gemv after preload":
        return replace(gemv(*matrix_of(point)), after=preload(*matrix_of(point)))
    return readback(point.size("outputs", MOST)) if point.workload == "readback" else None
