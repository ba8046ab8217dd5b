"""QEMU's Spike machine as an outside reference: the same ELF file there and on our engines.

The file starts at 0x80000000 and talks through the host-target interface, whose registers QEMU finds by the symbols `tohost`
and `fromhost` of 8 bytes each. Of that interface QEMU (7.2) has the console, a character at a time, and the exit; its status is
the exit code. The block of a system call it takes and does nothing.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import pytest
from both_engines import run_program

from isa.program import Program

# RV64IM and machine mode, nothing else, as the Slim machine: QEMU's `rv64` starts with what a Linux needs.
CPU = ("rv64,i=true,m=true,g=false,a=false,f=false,d=false,c=false,h=false,s=false,u=false,"
       "zba=false,zbb=false,zbc=false,zbs=false")
LIMIT = 60                      # seconds; `timeout` ends QEMU even where the test has been killed


@dataclass(frozen=True)
class Run:
    """How a program ended in QEMU. `seconds` includes QEMU's start, about 0.03."""

    output: bytes
    exit_code: int
    seconds: float


def command() -> list[str]:
    """QEMU's command line, but for the file, or an empty one where QEMU is not installed."""
    path = shutil.which("qemu-system-riscv64")
    return [] if path is None else [
        "timeout", "--kill-after=5", str(LIMIT), path, "-machine", "spike", "-cpu", CPU, "-bios", "none",
        "-display", "none", "-monitor", "none", "-serial", "stdio", "-kernel"]


def run(path: Path) -> Run:
    """Run an ELF file. Raises AssertionError when QEMU complains or the program does not end, FileNotFoundError without QEMU."""
    line = command()
    if not line:
        raise FileNotFoundError("qemu-system-riscv64 is not installed")
    with tempfile.TemporaryFile() as output:                    # QEMU drops what a full pipe does not take
        start = time.perf_counter()
        result = subprocess.run([*line, path], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE, check=False,
                                timeout=2 * LIMIT)
        seconds = time.perf_counter() - start
        output.seek(0)
        done = Run(output.read(), result.returncode, seconds)
    assert not result.stderr, f"QEMU, {path.name}: {result.stderr.decode()}"
    assert seconds < LIMIT, f"QEMU, {path.name}: no end after {LIMIT} s; it printed {done.output[-2000:]!r}"
    return done


def seconds(path: Path, runs: int = 3) -> float | None:
    """Least wall time of an ELF file in QEMU, its start included; None without QEMU. For benchmarks."""
    return min(run(path).seconds for _ in range(runs)) if command() else None


def require() -> None:
    """Skip the test without QEMU."""
    if not command():
        pytest.skip("qemu-system-riscv64 is not installed")


def agree(path: Path, max_instructions: int = 5_000_000) -> Run:
    """How an ELF file ended in QEMU. Both engines end with the same console output and exit code, and alike in every byte.

    Skips the test without QEMU.
    """
    require()
    theirs = run(path)
    done = run_program(Program.load(path), max_instructions=max_instructions)
    ours, result = bytes(done.fast.host.output), done.results[-1]
    assert result.reason == "exit", f"{result.reason}: {result.trap}\n{ours[-2000:].decode()}"
    lines = [output.decode().splitlines() for output in (ours, theirs.output)]
    wrong = [f"line {i}: {a!r}, QEMU has {b!r}" for i, (a, b) in enumerate(zip_longest(*lines)) if a != b]
    assert ours == theirs.output, "\n".join(wrong[:20]) or "the ends of lines differ"
    assert result.exit_code == theirs.exit_code, f"exit code {result.exit_code}, QEMU has {theirs.exit_code}"
    return theirs
