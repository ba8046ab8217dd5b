"""C compiled by GCC runs on both engines: they are RISC-V computers, not only what our assembler feeds. QEMU runs it alike."""

from __future__ import annotations

import math
import zlib
from pathlib import Path

import gnu
import gnu_images
import htif
import numpy as np
import pytest
import qemu
from both_engines import run_program
from c_programs import FREESTANDING, LEVELS, SOURCES, WORD, link, xorshift

from asm import assemble
from isa.program import Program


def expected() -> dict[str, int]:
    """What tests/oracle/c/checks.c reports, worked out in Python."""
    values = sorted(value - (1 << 64) if value >> 63 else value for value in xorshift(100))
    divisors = values[:0:-1]
    halves = [-1, 2, -300, 4000, -5000, 6, 7, -8, 9, 10, -11, 12, 13, -14, 15, 32767]
    product, series = np.float32(1), 0.0
    for i in range(1, 31):
        product = np.float32(np.float32(product * np.float32(1.1)) + np.float32(i) / np.float32(3))
        series += 1.0 / (i * i)
    return {
        "crc32":      zlib.crc32(b"The Slim machine"),
        "fibonacci":  610,
        "power":      pow(0x1234_5678_9ABC_DEF1, 65537, 0xFFFF_FFFF_FFFF_FFF1),
        "primes":     sum(all(n % d for d in range(2, math.isqrt(n) + 1)) for n in range(2, 1000)),
        "smallest":   values[0] & WORD,
        "median":     values[50] & WORD,
        "quotients":  sum(_quotient(a, b) for a, b in zip(values[1:], divisors, strict=True)) & WORD,
        "remainders": sum((a % 2**32) % (b % 2**32 | 1) for a, b in zip(values[1:], values[:-1], strict=True)) % 2**32,
        "halves":     sum(_quotient(a * b, i) for i, (a, b) in enumerate(zip(halves, halves[::-1], strict=True), 1)) & WORD,
        "product":    int(product.view(np.uint32)),
        "series":     int(np.float64(series).view(np.uint64)),
    }


def _quotient(dividend: int, divisor: int) -> int:
    """Rounded towards zero, as in C."""
    return abs(dividend) // abs(divisor) * (1 if (dividend < 0) == (divisor < 0) else -1)


def reported(output: bytes) -> dict[str, int]:
    return {name: int(value, 16) for name, value in (line.split() for line in output.decode().splitlines())}


@pytest.mark.parametrize("optimise", LEVELS)
def test_c_program(optimise: str, tmp_path: Path) -> None:
    """With the services of ecall."""
    done = run_program(Program.load(link(optimise, tmp_path, "-Wl,-Ttext=0x80000000", SOURCES / "start.s")))
    assert reported(done.fast.host.output) == expected()
    assert (done.results[-1].reason, done.results[-1].exit_code) == ("exit", len(expected()))


@pytest.mark.parametrize("optimise", LEVELS)
def test_c_program_as_in_qemu(optimise: str, tmp_path: Path) -> None:
    """With the host-target interface."""
    done = qemu.agree(link(optimise, tmp_path, "-T", *(htif.FOLDER / name for name in htif.OF_C)))
    assert reported(done.output) == expected()
    assert done.exit_code == len(expected())


@pytest.mark.parametrize("optimise", LEVELS)
def test_compiler_output_assembles_as_gnu_assembles_it(optimise: str, tmp_path: Path) -> None:
    """What GCC writes is assembly that nobody here chose: our sections and symbols equal GNU's."""
    written = tmp_path / "checks.s"
    gnu.run("gcc", *FREESTANDING, "-S", optimise, "-fno-asynchronous-unwind-tables", SOURCES / "checks.c", "-o", written)
    source = written.read_text(encoding="utf-8")
    gnu.assemble(source, tmp_path, "undefined")
    missing = gnu.run("nm", "-u", tmp_path / "undefined.o").split()[1::2]
    source += "        .text\n" + "".join(f"        .globl {name}\n{name}: ret\n" for name in missing)
    gnu_images.assert_equal(source, assemble(source), tmp_path)
