"""The time of macros: what published tiles take, from executed programs, and what the clock makes of it."""

import numpy as np
import pytest
from both_engines import run_program
from macro_cells import fitting, placed

import asm
from isa.preset import load_preset

ROWS, COLUMNS = 64, 1024
FLEXCIM = load_preset("flexcim")


def program(machine: str, n: int, m: int, dense: np.ndarray) -> str:
    """Loads a matrix into macros from 0 on, and multiplies it by a vector."""
    rows, cols = dense.shape
    values, meta = placed(dense, n, m)
    data = [f"values: .byte {', '.join(map(str, values.tolist()))}", f"places: .byte {', '.join(map(str, meta.tolist()))}",
            f"x: .zero {cols}", ".balign 4", "scale: .float 1.0", ".section .sram", f"sums: .zero {4 * rows}"]
    code = ["la t0, scale", "csrw cim.x_scales, t0", "la a0, x", f"li a1, {cols}", "cim.build.i8 a0, a1", f"li t0, {n | m << 8}",
            "csrw cim.nm, t0", "csrw cim.cols, a1", "la t0, places", "csrw cim.meta, t0", "la a0, values", f"li a1, {rows}",
            "cim.load.nm a0, a1", "la a0, sums", "cim.mac a0, zero, a1", "sync.fence", "li a7, 93", "li a0, 0", "ecall"]
    return "\n".join([f".machine {machine}", ".section .data", *data, ".section .text", ".globl _start", "_start:", *code, ""])


@pytest.mark.parametrize(("n", "m", "tiles", "cycles"), [(2, 8, 4, 141), (2, 4, 8, 273), (4, 8, 8, 273), (1, 1, 16, 537)])
def test_tiles_of_flexcim(n, m, tiles, cycles):
    """One macro takes tiles * (32 + T) + 9 cycles for T vectors (FlexCiM's RTL): 32 columns are written, T steps, 9 stages once.

    The macros of the preset work side by side, so in its time the steps of all tiles are one."""
    dense = fitting(np.random.default_rng(1), n, m, ROWS, COLUMNS)
    done = run_program(asm.assemble(program("flexcim", n, m, dense)), inline=["*"]).fast
    count, rates = done.counters, FLEXCIM.rates
    assert count["cim.tiles"] == tiles
    assert (count["cim.lines_written"] / rates["cim.lines_per_cycle"] + count["cim.steps"] / rates["cim.steps_per_cycle"]
            + rates["cim.start_cycles"]) == cycles

    start, dram, sram = (int(rates["cim.start_cycles"]), FLEXCIM.file.region["dram"], FLEXCIM.file.region["sram"])
    assert dram.latency_cycles is not None and sram.latency_cycles is not None
    moved = -(-(COLUMNS + 4) // int(dram.bytes_per_cycle.value))                    # the vector and its scale
    load = 32 * tiles                                                               # longer than the bytes take from DRAM
    assert load > (count["cim.weight_bytes"] + count["cim.meta_bytes"]) / dram.bytes_per_cycle.value
    assert done.time.queues["cim"].busy == (
        3 * start + 2 * dram.latency_cycles.value + sram.latency_cycles.value + moved + load + 1)


def test_the_time_of_a_layer_follows_its_density():
    """A row that is stored as 2 of 8 takes half the columns of one that is 2 of 4: what flexible N:M gains over a fixed 2:4."""
    lines = {}
    for machine, n, m in (("flexcim", 2, 8), ("flexcim-2of4", 2, 4), ("flexcim-2of4", 4, 4)):
        dense = fitting(np.random.default_rng(1), n, m, 32, 512)
        done = run_program(asm.assemble(program(machine, n, m, dense))).fast
        lines[n, m] = done.counters["cim.lines_written"]
    assert lines == {(2, 8): 32, (2, 4): 64, (4, 4): 128}
    refused = run_program(asm.assemble(program("flexcim-2of4", 2, 8, fitting(np.random.default_rng(1), 2, 8, 32, 512))))
    assert refused.results[-1].reason == "trap" and "2:4" in str(refused.results[-1].trap)


@pytest.mark.parametrize(("kind", "arrays", "longest"), [(1, 4, 1), (2, 1, 16)])
def test_steps_and_conversions_of_block_diagonal_arrays(kind, arrays, longest):
    """16 blocks of 64: SparseMap takes one step of 100 ns, DenseMap 16; one ADC an array converts 256 or 1,024 sums, 10 ns each."""
    text = "\n".join([
        ".machine blockdiag", ".section .sram", "blocks: .zero 65536", "x: .zero 1024", "sums: .zero 4096", "scale: .float 1.0",
        ".section .text", ".globl _start", "_start:", "li t0, 64", "csrw cim.block, t0", f"csrwi cim.map, {kind}",
        "csrwi cim.factor, 16", "la t0, scale", "csrw cim.x_scales, t0", "la a0, x", "li a1, 1024", "cim.build.i8 a0, a1",
        "la a0, blocks", "li a1, 16", "cim.load.bd a0, a1", "sync.fence", "li a2, 1", "la a0, sums", "cim.spread.i32 a0, zero, a2",
        "sync.fence", "li a7, 93", "li a0, 0", "ecall", ""])
    done = run_program(asm.assemble(text), inline=["*"]).fast
    count = done.counters
    assert (count["cim.tiles"], count["cim.steps_longest"], count["cim.conversions"]) == (arrays, longest, 1024)
    assert count["cim.adc_longest"] == 1024 // arrays
    blockdiag = load_preset("blockdiag")
    product = max(longest * 100, 1024 // arrays * 10)
    load, latency, start = 1024 * 1000, 10, int(blockdiag.rates["cim.start_cycles"])
    assert done.time.queues["cim"].busy == 3 * (start + latency) + 3 + load + product
