"""Speed of products of sparse int8 weights, one thread: layouts of the sp unit, and macros of the cim unit, beside `lut.mac.i8` of
the dense matrix.

Prints one JSON object. `giga_weights_per_second` counts the weights of the dense matrix, zeros too. `cache` is a matrix of 1 MiB
dense, `wider` one of 2 MiB, `memory` one of 64 MiB. A layout, the dense product and a read of the stored bytes run in turns:
`of_dense` is how many times as fast as the dense product a layout is, `of_bandwidth` its share of the rate at which the host reads.
Weights lie in flash, as those of a model do; `unknown` is the same in DRAM, where metadata is checked and zeros are counted each
time. `cim` stands in macros, of which the machine here has enough; they are loaded once.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

import asm
from emulator.machine import Machine
from isa import sparse
from isa.numbers import FORMATS
from isa.preset import PRESETS, Preset, preset_of
from isa.program import Program, Section
from isa.program_file import FileSlice

FLASH, DRAM, X, ACC, SCALE = 0x10_0000_0000, 0x8100_0000, 0x1000_0000, 0x1010_0000, 0x1020_0000
SIZES = {"cache": (1024, 1024, 200), "wider": (1024, 2048, 100), "memory": (8192, 8192, 4)}       # rows, columns, products in a run
CASES = (("bm", 0.5), ("bm", 0.3), ("bm", 0.1), ("bm:4", 0.3), ("bm:4", 0.1), ("cs", 0.05), ("bl:16x1", 0.1), ("nm:2:4", 1),
         ("nm:4:8", 1), ("nm:2:8", 1))
MACROS = 256            # for a matrix of 1024 x 1024
TURNS = 7

PROGRAM = """
_start: li      a0, {x}
        li      a1, {scale}
        li      a2, {cols}
        {build}
        {settings}
        li      a0, {acc}
        li      a1, {weights}
        li      a2, {rows}
        {load}
        li      s0, {repeats}
1:      {product} a0, a1, a2
        addi    s0, s0, -1
        bnez    s0, 1b
        li      a7, 93
        ecall
"""


@njit("int64(int64[::1])")
def total(words: Any) -> Any:
    """The sum of int64 (n,). Nothing that reads all of them takes less time."""
    found = 0
    for i in range(len(words)):
        found += words[i]
    return found


def slim_with_macros() -> Preset:
    """The machine slim, with as many macros as a matrix needs."""
    with (PRESETS / "slim.toml").open("rb") as stream:
        data = tomllib.load(stream)
    data["unit"]["cim"]["parameters"]["macros"]["value"] = MACROS
    return preset_of(data)


class Product:
    """A matrix in memory, and the program that multiplies it some times."""

    def __init__(self, dense: np.ndarray, layout: sparse.SparseLayout | None, at: int, repeats: int, unit: str = "sp") -> None:
        rows, cols = dense.shape
        unit = unit if layout else "lut"
        packed = layout.pack(dense, "i8") if layout else sparse.Packed("i8", rows, cols, FORMATS["i8"].pack(dense).reshape(-1),
                                                                      np.zeros(0, np.uint8))
        meta = packed.values.size + -packed.values.size % 64
        offsets = meta + packed.meta.size + -packed.meta.size % 64
        listed = np.zeros(0, np.uint8) if packed.offsets is None else packed.offsets.view(np.uint8)
        data = np.zeros(offsets + listed.size, np.uint8)
        data[:packed.values.size], data[meta:meta + packed.meta.size], data[offsets:] = packed.values, packed.meta, listed
        csrs = {f"{unit}.meta": at + meta} if layout else {}
        match layout:
            case sparse.NOfM(n, m):
                csrs[f"{unit}.nm"] = n | m << 8
            case sparse.Bitmask(block):
                csrs["sp.block"] = block
            case sparse.RByC(block_rows, block):
                csrs |= {"sp.block_rows": block_rows, "sp.block": block}
        if listed.size:
            csrs["sp.offsets"] = at + offsets
        words = {"build": f"{unit}.build.i8 a0, a1, a2", "load": "",
                 "product": f"sp.mac.{layout.kind}.i8" if layout else "lut.mac.i8"}
        if unit == "cim":
            csrs["cim.cols"] = cols
            words = {"build": "csrw cim.x_scales, a1\ncim.build.i8 a0, a2", "load": "cim.load.nm a1, a2\nli a1, 0",
                     "product": "cim.mac"}
        program = asm.assemble(PROGRAM.format(
            x=X, scale=SCALE, cols=cols, rows=rows, acc=ACC, weights=at, repeats=repeats, **words,
            settings="\n".join(f"li t0, {value}\ncsrw {name}, t0" for name, value in csrs.items())))
        self.machine, self.entry = Machine(slim_with_macros()), program.entry
        with tempfile.TemporaryDirectory() as folder:               # weights are mapped from a file, as those of a model are
            path = Path(folder) / "weights"
            data.tofile(path)
            flash = [Section(".weights", "a", FLASH, 4096, [FileSlice(str(path), 0, data.size)])] if at == FLASH else []
            self.machine.load(Program([*program.sections, *flash], [], [], program.entry))
        if at != FLASH:
            self.machine.peek(at, data.size)[:] = data
        self.x = np.random.default_rng(1).integers(-128, 128, cols).astype(np.int8)
        self.machine.peek(X, cols)[:] = self.x.view(np.uint8)
        self.bytes, self.weights, self.repeats = packed.bytes, dense.size, repeats
        self._words = np.ones(packed.bytes // 8 + 1, np.int64)      # zeros would be one page, over and over
        self.seconds(), self._check(dense)

    def _check(self, dense: np.ndarray) -> None:
        got = self.machine.peek(ACC, 4 * len(dense)).view("<i4")
        wanted = (self.repeats * (dense.astype(np.float64) @ self.x).astype(np.int64)).astype(np.int32)
        assert np.array_equal(got, wanted)
        assert not [name for name in self.machine.handed_over if name.startswith(("sp.", "lut.", "cim."))]

    def seconds(self) -> float:
        """Of one product."""
        self.machine.pc, self.machine.exit_code = self.entry, None
        start = time.perf_counter()
        result = self.machine.run()
        seconds = time.perf_counter() - start
        assert result.reason == "exit", result
        return seconds / self.repeats

    def reading(self) -> float:
        """Seconds to read as many bytes as are stored."""
        start = time.perf_counter()
        for _ in range(self.repeats):
            total(self._words)
        return (time.perf_counter() - start) / self.repeats


def matrix(name: str, density: float, rows: int, cols: int) -> np.ndarray:
    """Random weights with as many zeros as the layout wants: in blocks where it has blocks."""
    rng, layout = np.random.default_rng(0), sparse.named(name)
    dense = rng.integers(1, 128, (rows, cols)).astype(np.int8)
    if isinstance(layout, sparse.NOfM):
        rank = rng.random((rows, cols // layout.m, layout.m)).argsort(axis=2)
        return np.where(rank < layout.n, dense.reshape(rank.shape), 0).reshape(rows, cols).astype(np.int8)
    down, block = getattr(layout, "block_rows", 1), getattr(layout, "block", 1)
    return dense * np.repeat(np.repeat(rng.random((rows // down, cols // block)) < density, block, axis=1), down, axis=0)


def figures_of(rows: int, cols: int, repeats: int) -> dict[str, Any]:
    """Figures of all layouts at one size, in turns with the dense product."""
    dense = Product(matrix("bm", 1, rows, cols), None, FLASH, repeats)
    made: dict[str, Any] = {}
    for name, density in CASES:
        for where, at, unit in (("", FLASH, "sp"), (" unknown", DRAM, "sp"), (" cim", FLASH, "cim")):
            if unit == "cim" and (not name.startswith("nm") or rows * cols > 64 * 64 * MACROS):
                continue
            product = Product(matrix(name, density, rows, cols), sparse.named(name), at, repeats, unit)
            spent, beside, reading = (min(column) for column in zip(
                *[(product.seconds(), dense.seconds(), product.reading()) for _ in range(TURNS)], strict=True))
            label = name if name.startswith("nm") else f"{name} {density:.0%}"
            made[label + where] = {"giga_weights_per_second": product.weights / spent / 1e9, "of_dense": beside / spent,
                                   "of_bandwidth": reading / spent}
    made["dense"] = {"giga_weights_per_second": dense.weights / min(dense.seconds() for _ in range(TURNS)) / 1e9}
    return made


def main() -> None:
    figures: dict[str, Any] = {"load": os.getloadavg()[0]}
    for name, size in SIZES.items():
        figures[name] = figures_of(*size)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
