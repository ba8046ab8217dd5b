"""The C programs of tests/oracle/c, compiled and linked by GCC; what their checks and Python both compute from."""

from __future__ import annotations

from pathlib import Path

import gnu
import htif
import pytest

SOURCES = Path(__file__).parents[1] / "oracle" / "c"
FREESTANDING = ("-march=rv64im", "-mabi=lp64", "-mcmodel=medany", "-ffreestanding")
LEVELS = ("-O0", "-O2", "-Os")
HOSTED = ("-march=rv64im", "-mabi=lp64", "-mcmodel=medany")      # with _zicsr GCC 12 finds no library that fits
WITH_A_LIBRARY = ("sort", "sha256", "matrix", "print")
WORD = (1 << 64) - 1


def xorshift(count: int) -> list[int]:
    """Marsaglia's xorshift64 with shifts 13, 7, 17."""
    values, state = [], 88172645463325252
    for _ in range(count):
        state ^= state << 13 & WORD
        state ^= state >> 7
        state ^= state << 17 & WORD
        values.append(state)
    return values


def link(optimise: str, folder: Path, *frame: object) -> Path:
    """c/checks.c without a C library; `frame` is what starts and ends it: options and sources for GCC."""
    linked = folder / "checks.elf"
    gnu.run("gcc", *FREESTANDING, "-nostdlib", optimise, "-Wl,--build-id=none,--no-warn-rwx-segments", *frame, SOURCES / "checks.c",
            "-lgcc", "-o", linked)
    return linked


def link_with_library(name: str, optimise: str, folder: Path) -> Path:
    """c/NAME.c with picolibc, our entry and our linker script. Skips the test without the library."""
    if gnu.run("gcc", "-print-file-name=picolibc.specs").strip() == "picolibc.specs":
        pytest.skip("picolibc-riscv64-unknown-elf is not installed")
    linked = folder / f"{name}.elf"
    gnu.run("gcc", "--specs=picolibc.specs", *HOSTED, optimise,
            "-Wall", "-Wextra", "-nostartfiles", "-Wl,--no-warn-rwx-segments", "-T", *(htif.FOLDER / file for file in htif.OF_C),
            SOURCES / "console.c", SOURCES / f"{name}.c", "-o", linked)
    return linked
