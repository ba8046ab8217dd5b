"""Speed of products with matrices as centres and differences, one thread, beside `lut.mac` of the plain weights.

Prints one JSON object. A product is `lut.mac` of the centres, `lut.reuse` and `lut.mac` of the differences in buffer mode, as
`--reuse` makes it, of pieces of 64 columns. Weights lie in flash, as those of a model do; what is counted of them is remembered
behind the first product. `gigabytes_per_second` counts the bytes that are stored; `of_bandwidth` is their share of the rate at
which the host reads as many, measured in turns; `of_plain` how many times as fast as the plain product it is.
"""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np

import asm
from compiler.formats.reuse import CENTRES, COLUMNS, REUSED, cluster
from emulator.machine import Machine
from isa.program import Program, Section

FLASH, X, SCALE, ACC, SUMS = 0x10_0000_0000, 0x1000_0000, 0x1001_0000, 0x1010_0000, 0x1020_0000
ROWS, COLS, REPEATS, TURNS = 8192, 8192, 1, 40      # short runs: on a busy host others get their turn in a long one
PIECES = COLS // COLUMNS

REUSE = """
_start: li      s0, {repeats}
        li      a0, {x}
        li      a1, {scale}
        li      s1, {sums}
        li      s2, {acc}
        csrwi   lut.shift, 0
        csrw    lut.pieces, {pieces}
        csrw    lut.centres, {centres}
1:      li      a2, {columns}
        csrw    lut.vectors, {pieces}
        csrwi   lut.mode, 0
        lut.build.i8 a0, a1, a2
        csrwi   lut.vectors, 0
        li      a3, {sums_size}
        vec.fill.32 s1, zero, a3
        sync.fence
        li      a3, {of_centres}
        li      a4, {number}
        lut.mac.{form} s1, a3, a4
        li      a4, {assigned}
        li      a5, {rows}
        lut.reuse.u8 s2, s1, a4, a5
        li      a2, {cols}
        lut.build.i8 a0, a1, a2
        csrwi   lut.mode, 1
        csrwi   lut.shift, {shift}
        li      a4, {weights}
        lut.mac.{differences} s2, a4, a5
        csrwi   lut.shift, 0
        addi    s0, s0, -1
        bnez    s0, 1b
        li      a7, 93
        ecall
"""
PLAIN = """
_start: li      s0, {repeats}
        li      a0, {x}
        li      a1, {scale}
        li      a2, {cols}
        lut.build.i8 a0, a1, a2
        li      s2, {acc}
        li      a4, {weights}
        li      a5, {rows}
1:      lut.mac.{form} s2, a4, a5
        addi    s0, s0, -1
        bnez    s0, 1b
        li      a7, 93
        ecall
"""


class Product:
    """A matrix in flash, and the program that multiplies it some times."""

    def __init__(self, text: str, parts: dict[str, np.ndarray], codes: np.ndarray, **words: Any) -> None:
        places, at = {}, 0
        for name, part in parts.items():
            places[name], at = FLASH + at, at + part.size + -part.size % 64
        data = np.zeros(at, np.uint8)
        for name, part in parts.items():
            data[places[name] - FLASH:][:part.size] = part.reshape(-1)
        text = "\n".join(f"li t0, {line.split(', ')[1]}\n{line.split(', ')[0]}, t0" if "csrw " in line else line
                         for line in text.format(x=X, scale=SCALE, acc=ACC, sums=SUMS, rows=ROWS, cols=COLS, repeats=REPEATS,
                                                 **places, **words).splitlines())
        program = asm.assemble(text)
        self.machine, self.entry = Machine("slim"), program.entry
        weights = Section(".weights", "a", FLASH, 4096, [data.tobytes()])
        self.machine.load(Program([*program.sections, weights], [], [], program.entry))
        self.x = np.random.default_rng(1).integers(-127, 128, COLS).astype(np.int8)
        self.machine.peek(X, COLS)[:] = self.x.view(np.uint8)
        self.bytes = sum(part.size for part in parts.values())
        self._words = np.ones(self.bytes // 8, np.int64)       # of memory: zeros would be one page, seen often
        self.seconds()
        got = self.machine.peek(ACC, 4 * ROWS).view("<i4")
        assert np.array_equal(got, REPEATS * (codes.astype(np.float32) @ self.x).astype(np.int64)), "another result"
        assert not [name for name in self.machine.handed_over if name.startswith("lut.")]

    def seconds(self) -> float:
        """Of one product."""
        self.machine.pc, self.machine.exit_code = self.entry, None
        start = time.perf_counter()
        result = self.machine.run()
        assert result.reason == "exit", result
        return (time.perf_counter() - start) / REPEATS

    def reading(self) -> float:
        """Seconds to read as many bytes as are stored."""
        start = time.perf_counter()
        for _ in range(REPEATS):
            np.maximum.reduce(self._words)
        return (time.perf_counter() - start) / REPEATS


def figures(form: str) -> dict[str, float]:
    """Of random weights of a format."""
    reuse = REUSED[form]
    codes = np.random.default_rng(0).choice(np.array(reuse.format.levels, np.int8), (ROWS, COLS))
    found = cluster(codes, COLUMNS)
    differences = reuse.differences.packing.pack(found.differences(codes) >> reuse.shift)
    parts = {"weights": differences, "of_centres": reuse.centres.packing.pack(found.centres), "assigned": found.assigned}
    made = Product(REUSE, parts, codes, pieces=PIECES, columns=COLUMNS, centres=CENTRES, number=CENTRES, sums_size=PIECES * CENTRES,
                   form=reuse.centres, differences=reuse.differences, shift=reuse.shift)
    plain = Product(PLAIN, {"weights": reuse.format.packing.pack(codes)}, codes, form=form)
    turns = [(made.seconds(), made.reading(), plain.seconds()) for _ in range(TURNS)]
    seconds, reading, dense = (min(column) for column in zip(*turns, strict=True))
    return {"gigabytes_per_second": made.bytes / seconds / 1e9, "of_bandwidth": reading / seconds, "of_plain": dense / seconds,
            "stored_of_plain": made.bytes / plain.bytes}


if __name__ == "__main__":
    print(json.dumps({form: figures(form) for form in ("b1", "t2")}, indent=2))
