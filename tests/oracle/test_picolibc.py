"""C programs with a C library end alike in QEMU and on both engines, and print what Python works out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import qemu
from c_programs import WITH_A_LIBRARY, WORD, link_with_library, xorshift


def sort() -> Iterator[str]:
    values = [value - (1 << 64) if value >> 63 else value for value in xorshift(100)]
    for value in sorted(value >> i % 5 * 12 for i, value in enumerate(values)):
        yield f"{value & WORD:016x}"


def sha256() -> Iterator[str]:
    message = bytes((i * 167 + 13) % 256 for i in range(256))
    for length in (0, 3, 55, 56, 64, 119, 120, 255):
        yield f"{length:3} {hashlib.sha256(message[:length]).hexdigest()}"


def matrix() -> Iterator[str]:
    size = range(7)
    one = np.float32(1)
    a = [[np.float32(i * 31 - j * 17) / np.float32(7) for j in size] for i in size]
    b = [[one / np.float32(i + 2 * j + 1) - np.float32(0.25) for j in size] for i in size]
    c = [[np.float64(a[i][j]) * 1e-3 + i for j in size] for i in size]
    d = [[np.float64(b[i][j]) / 3.0 - j for j in size] for i in size]
    for i in size:
        for j in size:
            single, twice = np.float32(0), np.float64(0)
            for k in size:
                single, twice = single + a[i][k] * b[k][j], twice + c[i][k] * d[k][j]
            yield f"{single.view(np.uint32):08x} {twice.view(np.uint64):016x}"


INTEGERS = (0, 1, -1, 42, -12345, 2**31 - 1, -2**31, 2**63 - 1, -2**63)
NUMBERS = (0.0, 1.0, -1.0, 0.625, 3.14159265358979, -2.71828182845905, 1e-5, 123456.789, 1e10,
           -1.6e-10, 6.02214076e23, 0.1, 2.75, 99999.96, 1e100)
TEXTS = ("", "a", "Slim", "a longer text")

SIGNED   = "[%d] [%12d] [%-12d] [%+d] [% d] [%012d] [%.5d]"
UNSIGNED = "[%x] [%20X] [%-20o] [%s] [%024x]"
SHORT    = "[%d] [%d] [%x] [%5d] [%c]"
EXPONENT = "[%e] [%.3e] [%14.2E] [%-14.0e] [%+.8e]"
GENERAL  = "[%g] [%.3g] [%12g] [%-12G] [%.10g] [%012g]"
FIXED    = "[%f] [%.1f] [%12.3f] [%-12.0f] [%+012.2f]"
STRING   = "[%s] [%8s] [%-8s] [%.2s] [%8.3s] %%"


def print_() -> Iterator[str]:
    """No number lies half way between two results: picolibc rounds what it has as a decimal, up, Python the exact value."""
    for n in INTEGERS:
        u, low = n & WORD, (n + 2**31) % 2**32 - 2**31
        yield SIGNED % ((n,) * 7)
        yield UNSIGNED % (u, u, u, f"{u:#x}" if u else "0", u)              # Python writes 0x0
        yield SHORT % (low, low % 2**32, low % 2**32, low, 65 + u % 26)
    for x in NUMBERS:
        yield EXPONENT % ((x,) * 5)
        yield GENERAL % ((x,) * 6)
        if x < 1e15:
            yield FIXED % ((x,) * 5)
    for text in TEXTS:
        yield STRING % ((text,) * 5)


PROGRAMS = {"sort": (sort, 0), "sha256": (sha256, 0), "matrix": (matrix, 0), "print": (print_, 37)}
assert tuple(PROGRAMS) == WITH_A_LIBRARY


@pytest.mark.parametrize("optimise", ["-O2", "-Os"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name: str, optimise: str, tmp_path: Path) -> None:
    lines, exit_code = PROGRAMS[name]
    done = qemu.agree(link_with_library(name, optimise, tmp_path))
    assert done.output.decode().splitlines() == list(lines())
    assert done.exit_code == exit_code
