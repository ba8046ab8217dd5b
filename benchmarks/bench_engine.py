"""Speed of the fast engine on one thread: scalar code, dispatch, and matrix-vector products beside the bandwidth of this run.

Prints one JSON object. Products count everything that they count in any run. Bandwidth is NumPy's sum over 1 GiB of int64.
"""

from __future__ import annotations

import json
import time

import numpy as np

import asm
from emulator.engine import Machine

SCALAR = """
_start: li a0, 20000000
1:      ld t0, 0(sp)
        addi t0, t0, 1
        sd t0, 0(sp)
        xor s0, s0, t0
        add s1, s1, s0
        slli t1, s1, 3
        addi a0, a0, -1
        bnez a0, 1b
        li a7, 93
        ecall
"""
REPEATED = """
_start: csrw vec.cols, s2
        {build}
1:      {operation}
        addi s0, s0, -1
        bnez s0, 1b
        li a7, 93
        ecall
"""
W, X, Y = 0x9000_0000, 0x8800_0000, 0x8900_0000        # far behind the program


def seconds(machine: Machine) -> float:
    start = time.perf_counter()
    result = machine.run()
    assert result.reason == "exit", result.trap
    return time.perf_counter() - start


def scalar() -> float:
    """Million instructions per second of an eight-instruction loop with a load and a store."""
    program, best = asm.assemble(SCALAR), 0.0
    for _ in range(3):
        machine = Machine()
        machine.load(program)
        best = max(best, 160_000_000 / seconds(machine) / 1e6)
    return best


def repeated(operation: str, rows: int, cols: int, repeats: int, build: str = "nop") -> float:
    """Median seconds of one execution of `operation`, from runs of `repeats`. a0 result, a1 matrix, a2 vector, a3 rows."""
    program, times = asm.assemble(REPEATED.format(operation=operation, build=build)), []
    for _ in range(5):
        machine = Machine()
        machine.load(program)
        machine.peek(W, rows * cols * 4)[:] = 0x55 if "t2" in operation else 0
        machine.peek(X, cols * 4)[:] = 1
        machine.x[8], machine.x[18] = repeats, cols
        machine.x[10], machine.x[11], machine.x[12], machine.x[13] = Y, W, X, rows
        times.append(seconds(machine) / repeats)
        assert operation.split()[0] not in machine.handed_over
    return float(np.median(times))


def bandwidth() -> float:
    """Bytes per second of reading memory."""
    data = np.ones(1 << 27, np.int64)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        data.sum()
        times.append(time.perf_counter() - start)
    return data.nbytes / min(times)


def main() -> None:
    read = bandwidth()
    build, t2 = "lut.build.i8 a2, a2, s2", "lut.mac.t2 a0, a1, a3"
    streamed = repeated(t2, 16384, 16384, 10, build)      # 64 MB: more than a last-level cache holds
    dense = repeated("vec.gemv.f32 a0, a1, a2, a3", 4096, 4096, 5)
    print(json.dumps({
        "read_gigabytes_per_second": read / 1e9,
        "scalar_million_instructions_per_second": scalar(),
        "dispatch_nanoseconds": repeated("sync.fence", 1, 1, 5_000_000) * 1e9,
        "ternary_2048x2048_giga_weights_per_second": 2048 * 2048 / repeated(t2, 2048, 2048, 300, build) / 1e9,
        "ternary_16384x16384_giga_weights_per_second": 16384 * 16384 / streamed / 1e9,
        "ternary_16384x16384_of_bandwidth": 16384 * 16384 / 4 / streamed / read,
        "f32_4096x4096_of_bandwidth": 4096 * 4096 * 4 / dense / read,
    }))


if __name__ == "__main__":
    main()
