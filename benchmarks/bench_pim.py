"""Speed of products in PIM banks, with data and events, one thread: matrix-vector products by AiM's macro forms on the machine
gddr6-aim, and the multiplications of a micro-program on hbm2-pim, one column command after the other.

Prints one JSON object. A product sets the accumulators, writes the global buffers, multiplies and reads out, tile by tile, as a
program does that has its weights in the banks; a tile is a row of the matrix for each of 512 banks. The int32 product of NumPy on
the same int8 numbers stands beside it.
"""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np

import asm
from emulator.machine import Machine

PRODUCT = """
        .machine gddr6-aim
_start: li      t0, 0xffffffff
        csrw    pim.channel_mask, t0
1:      mv      a2, s2                  # results
        li      a4, 0                   # row of the banks
2:      pim.wr_bias.{form} a1
        mv      a0, s1                  # input
        mv      s5, s4
3:      pim.wr_gb a0, s6
        pim.mac_abk.{form} s6, a4
        add     a0, a0, s7
        addi    a4, a4, 1
        addi    s5, s5, -1
        bnez    s5, 3b
        pim.rd_mac.{form} a2
        add     a2, a2, s8
        bne     a4, s9, 2b
        addi    s0, s0, -1
        bnez    s0, 1b
        li      a7, 93
        ecall
"""
MICRO_PROGRAM = """
        .machine hbm2-pim
        .data
        .balign 4
words:  .crf    mac grf_b[0], grf_a[0], even_bank, aam
        .crf    jump 131071, 2
        .rept   6
        .crf    exit
        .endr
        .text
_start: li      t0, {mask}
        csrw    pim.channel_mask, t0
        pim.mode.hab
        la      a0, words
        pim.wr.crf a0, zero
        pim.mode.hab_pim zero
        pim.act.ab zero
        li      s0, {commands}
1:      pim.rd.pim zero, s1
        addi    s1, s1, 1
        andi    s1, s1, 31
        addi    s0, s0, -1
        bnez    s0, 1b
        li      a7, 93
        ecall
"""
X, Y, BIAS = 0x9000_0000, 0x9100_0000, 0x9200_0000
BANKS = 32 * 16
TURNS = 15


class Product:
    """A matrix of random numbers in the banks, and the program that multiplies it."""

    def __init__(self, form: str, rows: int, cols: int, repeats: int) -> None:
        self.program, self.machine, self.repeats = asm.assemble(PRODUCT.format(form=form)), Machine("gddr6-aim"), repeats
        self.machine.load(self.program)
        banks, size = self.machine.preset.banks, 1 if form == "i8" else 2
        tiles, chunk = rows // BANKS, min(banks.row_bytes, cols * size)
        chunks, rest = divmod(cols * size, chunk)
        assert tiles * BANKS == rows and rest == 0
        random = np.random.default_rng(0)
        self.rows = tiles * chunks
        for channel in range(32):
            for bank in range(16):
                for row in range(self.rows):
                    self.machine.peek(banks.address(channel, bank, row, 0), chunk)[:] = numbers(random, form, chunk)
        self.machine.peek(X, cols * size)[:] = numbers(random, form, cols * size)
        self.registers = {9: X, 18: Y, 11: BIAS, 20: chunks, 22: chunk // 32, 23: chunk, 24: BANKS * (4 if form == "i8" else 2),
                          25: self.rows, 8: repeats}
        self.macs = rows * cols

    def seconds(self) -> float:
        """Of one product."""
        machine = self.machine
        machine.pc, machine.exit_code = self.program.entry, None
        for register, value in self.registers.items():
            machine.x[register] = value
        start, before = time.perf_counter(), machine.counters["pim.macs"]
        result = machine.run()
        seconds = (time.perf_counter() - start) / self.repeats
        assert result.reason == "exit" and not any(name.startswith("pim") for name in machine.handed_over), result
        assert machine.counters["pim.macs"] - before == self.macs * self.repeats
        return seconds


def numbers(random: np.random.Generator, form: str, size: int) -> np.ndarray:
    """Bytes of random numbers."""
    if form == "i8":
        return random.integers(0, 256, size, np.uint8)
    x = random.standard_normal(size // 2, np.float32)
    return (x.astype(np.float16) if form == "f16" else (x.view(np.uint32) >> 16).astype(np.uint16)).view(np.uint8)


def numpy_seconds(rows: int, cols: int) -> float:
    """Of NumPy's int32 product of int8 numbers that were widened before."""
    weights, x = np.random.default_rng(0).integers(-128, 128, (rows, cols), np.int32), np.arange(cols, dtype=np.int32)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        weights @ x
        times.append(time.perf_counter() - start)
    return min(times)


def micro_program(channels: int, commands: int = 5000) -> dict[str, float]:
    """Of commands that each make the blocks of all channels multiply a column."""
    program, times = asm.assemble(MICRO_PROGRAM.format(mask=(1 << channels) - 1, commands=commands)), []
    for _ in range(TURNS):
        machine = Machine("hbm2-pim")
        machine.load(program)
        start = time.perf_counter()
        result = machine.run()
        times.append(time.perf_counter() - start)
        assert result.reason == "exit" and machine.counters["pim.crf_steps"] == channels * commands
        assert not any(name.startswith("pim") for name in machine.handed_over)
    return {"giga_macs_per_second": machine.counters["pim.macs"] / min(times) / 1e9,
            "microseconds_a_command": min(times) / commands * 1e6}


def main() -> None:
    report: dict[str, Any] = {}
    for rows, cols in ((4096, 1024), (4096, 4096)):
        shape: dict[str, Any] = {}
        for form in ("i8", "f16", "bf16"):
            product = Product(form, rows, cols, repeats=1 + (1 << 24) // (rows * cols))
            product.seconds()
            seconds = min(product.seconds() for _ in range(TURNS))
            shape[form] = {"giga_macs_per_second": product.macs / seconds / 1e9, "microseconds": seconds * 1e6}
        shape["numpy_int32_giga_macs_per_second"] = rows * cols / numpy_seconds(rows, cols) / 1e9
        report[f"gemv_{rows}x{cols}"] = shape
    report["micro_program"] = {f"channels_{channels}": micro_program(channels) for channels in (1, 64)}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
