"""A program with data in flash that runs again and again on `slim`: for benchmarks of a few instructions.

    made = InFlash(text, {"weights": weights}, cols=8192, rows=8192)       {weights} in the text is where they lie
    made.seconds(), made.reading()                                        of once; of reading what is stored

A run does it REPEATS times: to begin and to end a run takes 0.15 ms, as long as a few megabytes.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import asm
from emulator.machine import Machine
from isa.numbers import Bytes
from isa.program import Program, Section

REPEATS = 8
FLASH, X, SCALE, ACC, ROOM = 0x10_0000_0000, 0x1000_0000, 0x1001_0000, 0x1010_0000, 0x1040_0000
_AROUND = """
_start: li      gp, {repeats}
again:  {text}
        addi    gp, gp, -1
        bnez    gp, again
        li      a7, 93
        ecall
"""


class InFlash:
    """The text is what is repeated: it may use all registers but gp.

    In it {x}, {scale}, {acc} and {room} are places in the scratchpad, {cols} the number of int8 activations at {x}, which are
    random; the others are those of the parts, which begin at multiples of 64 bytes, and of `words`.
    """

    def __init__(self, text: str, parts: dict[str, Bytes], cols: int, **words: Any) -> None:
        places, at = {}, 0
        for name, part in parts.items():
            places[name], at = FLASH + at, at + part.size + -part.size % 64
        data = np.zeros(at, np.uint8)
        for name, part in parts.items():
            data[places[name] - FLASH:][:part.size] = part.reshape(-1)
        whole = _AROUND.format(repeats=REPEATS, text=text)
        program = asm.assemble(whole.format(x=X, scale=SCALE, acc=ACC, room=ROOM, cols=cols, **places, **words))
        self.machine, self._entry, self._words = Machine("slim"), program.entry, data.view(np.int64)
        weights = Section(".weights", "a", FLASH, 4096, [data.tobytes()])
        self.machine.load(Program([*program.sections, weights], [], [], program.entry))
        self.x = np.random.default_rng(1).integers(-127, 128, cols).astype(np.int8)
        self.machine.peek(X, cols)[:] = self.x.view(np.uint8)
        self.bytes = sum(part.size for part in parts.values())
        self.seconds()

    def seconds(self) -> float:
        """Of the text, once. No instruction of the lut unit or the fetch unit may be left to the reference."""
        self.machine.pc, self.machine.exit_code = self._entry, None
        start = time.perf_counter()
        result = self.machine.run()
        spent = time.perf_counter() - start
        assert result.reason == "exit", result
        assert not [name for name in self.machine.handed_over if name.startswith(("lut.", "fetch."))]
        return spent / REPEATS

    def reading(self) -> float:
        """Seconds to read what is stored, in large pages as the machine's memory."""
        start = time.perf_counter()
        for _ in range(REPEATS):                    # as often as in a run: caches help both as much
            np.maximum.reduce(self._words)
        return (time.perf_counter() - start) / REPEATS

    def sums(self, rows: int) -> np.ndarray:
        """int32 (rows,) at {acc}, of the text, once, that begins with zeros there."""
        self.machine.peek(ACC, 4 * rows)[:] = 0
        self.seconds()
        sums = self.machine.peek(ACC, 4 * rows).view("<i4")
        assert not (sums % REPEATS).any(), "other sums each time"
        return sums // REPEATS
