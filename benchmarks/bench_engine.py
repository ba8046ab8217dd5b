"""Speed of the fast engine: scalar code beside QEMU's, dispatch, and products of the units beside the read bandwidth.

Prints one JSON object. Everything is counted that any run counts: `writable` products count their zeros every time, those of
`read_only` weights once. A product's bytes are those of its weights. Products from memory and the bandwidth are measured in
turns, the best of each is taken, and `of_bandwidth` is their ratio; bandwidth is the faster of two NumPy reductions of the very
bytes of the matrix. `two_threads` says how much faster two threads are, measured in turns too. `several_vectors` has the products
of weights with so many vectors at once, in the cache.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import asm
from emulator.machine import Machine
from emulator.threads.workers import cores
from isa.numbers import FORMATS
from isa.program import FileSlice, Section

SCALAR = """
        .globl  _start, tohost, fromhost
_start: la sp, room
        li a0, {rounds}
1:      ld t0, 0(sp)
        addi t0, t0, 1
        sd t0, 0(sp)
        xor s0, s0, t0
        add s1, s1, s0
        slli t1, s1, 3
        addi a0, a0, -1
        bnez a0, 1b
        la t0, tohost
        li t1, 1
        sd t1, 0(t0)
2:      j 2b
        .data
        .balign 64
room:   .dword 0
        .balign 64
        .type tohost, @object
        .size tohost, 8
tohost: .dword 0
        .balign 64
        .type fromhost, @object
        .size fromhost, 8
fromhost: .dword 0
"""
REPEATED = """
_start: csrw vec.cols, s2
        csrw lut.scale_group, s3
        csrw lut.vectors, s4
        {build}
1:      {operation}
        addi s0, s0, -1
        bnez s0, 1b
        li a7, 93
        ecall
"""
W, X, Y, FLASH = 0x9000_0000, 0x8200_0000, 0x8E00_0000, 0x10_0000_0000        # far behind the program
ROUNDS = 20_000_000
TURNS = 25                      # measurements of which the best counts
LARGE, SMALL = 8192, 2048       # columns of a matrix in memory, rows and columns of one in the cache
MEMORY = 160 << 20              # bytes of a matrix that no cache holds: several times a third-level cache


class Operation:
    """An instruction that is executed again and again. a0 result, a1 matrix, a2 vector, a3 rows or elements."""

    def __init__(self, text: str, rows: int, cols: int, matrix: np.ndarray, *, read_only: bool = False, group: int = 0,
                 threads: int = 1, repeats: int = 1, vectors: int = 1) -> None:
        build = "lut.build.i8 a2, a2, s2" if text.startswith("lut") else "nop"
        self.program, self.name, self.repeats = asm.assemble(REPEATED.format(operation=text, build=build)), text.split()[0], repeats
        self.registers = {8: repeats, 18: cols, 19: group, 20: vectors, 10: Y, 11: FLASH if read_only else W, 12: X, 13: rows}
        if read_only:                       # mapped from a file, as flash is
            self.file = tempfile.NamedTemporaryFile()                                                     # noqa: SIM115
            self.file.write(matrix)
            self.file.flush()
            self.program.sections.append(Section(".weights", "a", FLASH, 4096, [FileSlice(self.file.name, 0, len(matrix))]))
        self.machine = Machine("slim", threads=threads)
        self.machine.load(self.program)
        if not read_only:
            self.machine.peek(W, len(matrix))[:] = matrix
        vector = np.random.default_rng(1).standard_normal(cols * vectors, np.float32)
        self.machine.peek(X, 4 * cols * vectors)[:] = vector.view(np.uint8)

    def seconds(self) -> float:
        """Of one execution."""
        machine = self.machine
        machine.pc, machine.exit_code = self.program.entry, None
        for register, value in self.registers.items():
            machine.x[register] = value
        start = time.perf_counter()
        result = machine.run()
        seconds = (time.perf_counter() - start) / self.repeats
        assert result.reason == "exit" and self.name not in machine.handed_over, result
        return seconds

    def best(self) -> float:
        """Least seconds of several executions."""
        return in_turns(self)[0]


def in_turns(*operations: Operation) -> list[float]:
    """Least seconds of several executions of each. In turns, for the host is faster in some seconds than in others.

    The first half second is for it to give the threads cores of their own.
    """
    end = time.perf_counter() + 0.5
    while time.perf_counter() < end:
        for operation in operations:
            operation.seconds()
    return [min(column) for column in zip(*([operation.seconds() for operation in operations] for _ in range(TURNS)), strict=True)]


def weights(name: str, rows: int, cols: int) -> np.ndarray:
    """Bytes of random weights, as they are: a third of those of ternary ones is zero."""
    random = np.random.default_rng(0)
    if name == "f32":
        return random.standard_normal(rows * cols, np.float32).view(np.uint8)
    size = rows * FORMATS[name].row_bytes(cols)
    if name == "t2":
        return random.choice(np.array([a | b << 2 | c << 4 | d << 6 for a in range(3) for b in range(3) for c in range(3)
                                       for d in range(3)], np.uint8), size)
    return random.integers(0, 243 if name == "t5" else 256, size, np.uint8)


def read_seconds(data: np.ndarray) -> float:
    """Of reading an array of int64 once."""
    times = []
    for reduction in (np.add.reduce, np.maximum.reduce):
        start = time.perf_counter()
        reduction(data)
        times.append(time.perf_counter() - start)
    return min(times)


def product(name: str, *, group: int = 0, read_only: bool = False) -> dict[str, Any]:
    """A matrix-vector product in the cache and from memory, on one thread and on two."""
    bits = 32.0 if name == "f32" else float(FORMATS[name].bits)
    text = f"lut.gemv.{name} a0, a1, a2, a3" if group else f"lut.mac.{name} a0, a1, a3"
    if name == "f32":
        text = "vec.gemv.f32 a0, a1, a2, a3"
    small, cols = (512, 4096) if name == "f32" else (SMALL, LARGE)
    rows = int(MEMORY * 8 / bits / cols) // 16 * 16
    near, far = weights(name, small, small), weights(name, rows, cols)
    figures: dict[str, Any] = {}
    options: dict[str, Any] = {"group": group, "read_only": read_only}
    threads = range(1, min(cores(), 2) + 1)
    cached = in_turns(*(Operation(text, small, small, near, threads=n, repeats=500, **options) for n in threads))
    figures["cache_giga_weights_per_second"] = small * small / cached[0] / 1e9
    one = Operation(text, rows, cols, far, **options)
    data = one.machine.peek(one.registers[11], len(far) & -8).view(np.int64)
    turns = [(one.seconds(), read_seconds(data)) for _ in range(TURNS)]
    streamed, read = (min(column) for column in zip(*turns, strict=True))
    figures |= {"memory_bytes": len(far), "memory_giga_weights_per_second": rows * cols / streamed / 1e9,
                "memory_gigabytes_per_second": len(far) / streamed / 1e9, "read_gigabytes_per_second": len(far) / read / 1e9,
                "of_bandwidth": read / streamed}
    if len(cached) > 1:
        alone, both = in_turns(one, Operation(text, rows, cols, far, threads=2, **options))
        figures["two_threads"] = {"cache": cached[0] / cached[1], "memory": alone / both}
    return figures


def several(name: str, *, read_only: bool) -> dict[int, dict[str, float]]:
    """By the number of vectors: weights times vectors a second in the cache on one thread, and how much faster two are."""
    near, figures = weights(name, SMALL, SMALL), {}
    for vectors in (1, 2, 4, 8, 32):
        times = in_turns(*(Operation(f"lut.mac.{name} a0, a1, a3", SMALL, SMALL, near, read_only=read_only, threads=threads,
                                     repeats=-(-100 // vectors), vectors=vectors) for threads in range(1, min(cores(), 2) + 1)))
        figures[vectors] = {"giga_products_per_second": SMALL * SMALL * vectors / times[0] / 1e9}
        if len(times) > 1:
            figures[vectors]["two_threads"] = times[0] / times[1]
    return figures


def elements(text: str, n: int = 4096) -> float:
    """Elements per second of an operation on n elements in the cache."""
    return n / Operation(text, n, n, np.zeros(0, np.uint8), repeats=200).best()


def scalar() -> dict[str, float]:
    """Million instructions per second of an eight-instruction loop with a load and a store: ours, and QEMU's if it is there."""
    times = []
    for _ in range(3):
        machine = Machine()
        machine.load(asm.assemble(SCALAR.format(rounds=ROUNDS)))
        machine.run(max_instructions=100)           # what must be compiled is
        start = time.perf_counter()
        machine.run()
        times.append(time.perf_counter() - start)
    figures = {"million_instructions_per_second": 8 * ROUNDS / min(times) / 1e6}
    qemu = shutil.which("qemu-system-riscv64")
    if qemu:
        with tempfile.TemporaryDirectory() as folder:
            def run(rounds: int) -> float:
                asm.assemble(SCALAR.format(rounds=rounds)).save(Path(folder) / "scalar.elf")
                command = [qemu, "-machine", "spike", "-nographic", "-bios", "none", "-kernel", "scalar.elf"]
                start = time.perf_counter()
                subprocess.run(command, cwd=folder, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=120)
                return time.perf_counter() - start
            taken = min(run(10 * ROUNDS) for _ in range(2)) - min(run(1) for _ in range(2))
        figures["qemu_million_instructions_per_second"] = 80 * ROUNDS / taken / 1e6
    return figures


def main() -> None:
    nothing = np.zeros(0, np.uint8)
    print(json.dumps({
        "scalar": scalar(),
        "dispatch_nanoseconds": Operation("sync.fence", 1, 1, nothing, repeats=100_000).best() * 1e9,
        "writable": {name: product(name) for name in ("t2", "b1", "t5", "i4", "i8", "f32")},
        "read_only": {name: product(name, read_only=True) for name in ("t2", "b1", "t5", "i4", "i8")},
        "writable_with_scale_groups_of_128": {name: product(name, group=128) for name in ("t2", "i4")},
        "several_vectors": {name: several(name, read_only=True) for name in ("t2", "b1", "t5", "i4", "i8", "c4")},
        "several_vectors_writable": {name: several(name, read_only=False) for name in ("t2", "i4")},
        "giga_elements_per_second": {name: elements(f"vec.{name}.f32 {operands}") / 1e9 for name, operands in (
            ("softmax", "a0, a2, a3"), ("rmsnorm", "a0, a2, a2, a3"), ("silu", "a0, a2, a3"))},
    }))


if __name__ == "__main__":
    main()
