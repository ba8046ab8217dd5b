"""PIMSimulator's streams and random reads: plain accesses to its banks, by the DMA of a host.

The DMA is assumed, as that of gddr6-aim: the shipped hbm2-pim has none. All channels stream side by side; random reads of 32 bytes
go to one channel. The addresses are ours (a seed), those of the published runs are not known; nor is it known how many of them meet
in a bank. The rule is `plain_access` of isa/timing/banks.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from asm.assembler import assemble
from emulator.machine import Machine
from isa.preset import Preset, load_preset, preset_of
from isa.regions import HBM
from isa.timing.bank_state import FIGURES, figures_of, state_of
from isa.timing.banks import mask_words, plain_access
from isa.units.pim.kinds import kind_table
from slimulator.validate.points import Point
from slimulator.validate.program import Mismatch, expect

ASSEMBLED_FOR = "gddr6-aim"     # a shipped machine with a DMA and with the same memory map
FIRST = 1                       # as for the kernels: a cycle until the first request is in the command queue
COLUMN_BYTES = 32
MOST = 4096                     # KiB of a channel: 256 MiB in all


@cache
def with_dma() -> Preset:
    """hbm2-pim with the fetch unit of gddr6-aim."""
    data, other = (load_preset(name).file.model_dump(mode="json", exclude_none=True) for name in ("hbm2-pim", ASSEMBLED_FOR))
    data["unit"]["fetch"] = other["unit"]["fetch"]
    data["power"]["fetch"] = other["power"]["fetch"]
    data["energy"] |= {name: figure for name, figure in other["energy"].items() if name.startswith("fetch.")}
    for name in ("sram", "dram", "hbm"):
        data["region"][name]["ports"]["value"].append("fetch")
    return preset_of(data)


@dataclass(frozen=True)
class PlainProgram:
    """Text, the columns of 32 bytes that it touches in their order (addresses), whether it writes them, data and check."""

    text: str
    columns: npt.NDArray[np.int64]
    writes: bool
    fill: Callable[[Machine], None]
    check: Callable[[Machine], None]


def _text(lines: list[str], room: int, data: str = "") -> str:
    return "\n".join([f".machine {ASSEMBLED_FOR}", ".section .data", ".balign 32", data, ".section .bss", ".balign 32",
                      f"memory: .zero {room}", f"index: .zero {room // 8}", ".section .text", ".globl _start", "_start:", *lines,
                      "sync.fence", "li a0, 0", "li a7, 93", "ecall"]) + "\n"


def stream(kib: int, writes: bool, seed: int = 0) -> PlainProgram:
    """So many KiB a channel, one column after the other, between hbm and the host's memory."""
    preset = with_dma()
    size = kib * 1024 * preset.parameter("pim.channels")
    base = preset.region("hbm").base
    values = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
    dst, src = ("a0", "a1") if writes else ("a1", "a0")
    text = _text([f"li a0, {base:#x}", "la a1, memory", f"li a2, {size}", f"fetch.copy {dst}, {src}, a2"], size)

    def host(machine: Machine) -> npt.NDArray[np.uint8]:
        view: npt.NDArray[np.uint8] = machine.tensor("memory", f"u8[{size}]")
        return view

    def fill(machine: Machine) -> None:
        if writes:
            host(machine)[:] = values
        else:
            machine.memory[base:base + size] = values

    def check(machine: Machine) -> None:
        expect("what was copied", np.array(machine.memory[base:base + size]) if writes else np.array(host(machine)), values)

    return PlainProgram(text, np.arange(base, base + size, COLUMN_BYTES, dtype=np.int64), writes, fill, check)


def random_reads(kib: int, seed: int = 0) -> PlainProgram:
    """So many KiB of one channel, in reads of 32 bytes at random columns."""
    preset = with_dma()
    assert preset.banks
    count, channels = kib * 1024 // COLUMN_BYTES, preset.parameter("pim.channels")
    base, size = preset.region("hbm").base, 1 << 30
    random = np.random.default_rng(seed)
    index = random.integers(0, size // COLUMN_BYTES // channels, count).astype(np.uint32) * np.uint32(channels)     # channel 0
    values = random.integers(0, 256, (count, COLUMN_BYTES), dtype=np.uint8)
    _, first = np.unique(index, return_index=True)
    text = _text([f"li t0, {COLUMN_BYTES}", "csrw fetch.row_bytes, t0",
                  f"li t0, {size // COLUMN_BYTES}", "csrw fetch.table_rows, t0",
                  "la a0, memory", f"li a1, {base:#x}", "la a2, index", f"li a3, {count}", "fetch.rows a0, a1, a2, a3"],
                 count * COLUMN_BYTES)

    def fill(machine: Machine) -> None:
        machine.tensor("index", f"u32[{count}]")[:] = index
        for i in first:
            at = base + int(index[i]) * COLUMN_BYTES
            machine.memory[at:at + COLUMN_BYTES] = values[i]

    def check(machine: Machine) -> None:
        held = {int(index[i]): values[i] for i in first}
        expect("rows", np.array(machine.tensor("memory", f"u8[{count * COLUMN_BYTES}]")),
               np.concatenate([held[int(i)] for i in index]))

    return PlainProgram(text, base + index.astype(np.int64) * COLUMN_BYTES, False, fill, check)


def demand(preset: Preset, columns: npt.NDArray[np.int64]) -> tuple[int, int, int, int]:
    """(mask of channels, columns, rows opened, rows opened in a bank): of the busiest channel, the busiest bank."""
    assert preset.banks
    place, banks = preset.banks.place(columns), preset.parameter("pim.banks")
    key = place.channel * banks + place.bank
    order = np.argsort(key, kind="stable")
    key, row = key[order], place.row[order]
    opens = np.ones(len(key), bool)
    opens[1:] = (key[1:] != key[:-1]) | (row[1:] != row[:-1])
    by_bank = np.bincount(key[opens], minlength=banks * preset.parameter("pim.channels"))
    mask = sum(1 << int(channel) for channel in np.unique(place.channel))
    return mask, int(np.bincount(place.channel).max()), int(by_bank.reshape(-1, banks).sum(1).max()), int(by_bank.max())


def cycles_of(program: PlainProgram) -> int:
    """Run a program, check its values, and say how many cycles its accesses take. Raises Mismatch."""
    machine = Machine(with_dma())
    machine.load(assemble(program.text))
    program.fill(machine)
    result = machine.run()
    if result.reason != "exit" or result.exit_code:
        raise Mismatch(f"the program ended with {result.reason} {result.exit_code} {result.trap}")
    program.check(machine)
    preset = load_preset("hbm2-pim")
    memory, number = preset.memory(HBM), preset.parameter
    figures = figures_of({name: getattr(memory, name) for name in FIGURES}, number("pim.banks"), number("pim.bank_groups"),
                         number("pim.blocks"), kind_table())
    state = state_of(figures, number("pim.channels"))
    mask, columns, rows, worst = demand(machine.preset, program.columns)
    return int(plain_access(state, figures, *mask_words(mask), int(program.writes), columns, rows, worst, FIRST))


def program_of(point: Point) -> PlainProgram | None:
    """The program of a workload of the published table, None if there is none. Raises Inexpressible for other sizes."""
    if point.workload in ("stream read", "stream write"):
        return stream(point.size("KiB_per_channel", MOST), point.workload == "stream write")
    return random_reads(point.size("KiB_per_channel", MOST)) if point.workload == "random 32 B reads" else None
