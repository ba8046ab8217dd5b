"""Every kernel at every level of SIMD that this processor has, not only at its best one: the same bits and counters.

For each other level a process compiles all kernels for it and runs them against their meanings, a few cases each
(test_differential.py). They run side by side: two minutes on two cores with nothing compiled yet, seconds afterwards.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from emulator.features import LEVEL, LEVELS

ROOT = Path(__file__).parents[2]
OTHERS = [level for level in LEVELS if level != LEVEL]
CASES = 16              # of each instruction, half of them irregular


@pytest.fixture(scope="module")
def processes() -> Iterator[dict[str, subprocess.Popen[str]]]:
    """A running process for each level."""
    command = [sys.executable, "-m", "pytest", "tests/emulator/test_differential.py", "-p", "no:cacheprovider"]
    started = {level: subprocess.Popen(command, env=os.environ | {"SLIMULATOR_SIMD": level, "SLIMULATOR_FUZZ": str(50 * CASES)},
                                       text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT) for level in OTHERS}
    yield started
    for process in started.values():
        process.kill()
        process.wait()


@pytest.mark.parametrize("level", OTHERS)
def test_every_kernel(processes, level):
    output, _ = processes[level].communicate(timeout=1800)
    if "on this processor" in output:
        pytest.skip(f"this processor has no {level}")
    assert processes[level].returncode == 0, output[-4000:]
    assert " passed" in output and "skipped" not in output
