"""Every kernel at every level of SIMD that this processor has, not only at its best one: the same bits and counters.

For each other level six processes, each with a part of the kernels so that all cores have work, compile them for it and run them
against their meanings, a few cases each (test_differential.py). Five minutes of one core for all parts with nothing compiled yet,
seconds afterwards.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from emulator.errors import SimdError
from emulator.native import features
from emulator.native.features import LEVEL, LEVELS

ROOT = Path(__file__).parents[2]
CASES = 16              # of each instruction, half of them irregular
PARTS = ("vec.", "lut.m", "lut.g", "sp. or cim.", "attn.", "not (vec. or lut.m or lut.g or sp. or cim. or attn.)")   # by mnemonic
TILES = {"avx512", "amx"}               # which differ in products of packed weights alone
OTHERS = [(level, part) for level in LEVELS if level != LEVEL for part in PARTS
          if part.startswith("lut.") or {level, LEVEL} != TILES]


@pytest.mark.timeout(700)              # the kernels of a part are compiled anew
@pytest.mark.parametrize(("level", "part"), OTHERS)
def test_every_kernel(level, part):
    command = [sys.executable, "-m", "pytest", "tests/emulator/test_differential.py", "-p", "no:cacheprovider", "-k", part]
    environment = os.environ | {"SLIMULATOR_SIMD": level, "SLIMULATOR_FUZZ": str(50 * CASES)}
    done = subprocess.run(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT,
                          timeout=600)
    if "on this processor" in done.stdout:
        pytest.skip(f"this processor has no {level}")
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout and "skipped" not in done.stdout


COUNT_TILES = r"""
import re
from emulator.load_kernels import address, module_of
from emulator.native import objects
assert address("lut.mac.b1")
code = objects._kept(module_of("lut.mac.b1"), "lut.mac.b1")
print(len(re.findall(rb"\xC4\xE2[\x41\x49\x51\x59\x61\x69\x71\x79]\x5E[\xC0-\xFF]|\xC4\xE2\x78\x49\xC0", code)))
"""
"""How often a kernel has tdpbusd with any registers, and tilerelease."""


@pytest.mark.timeout(200)
@pytest.mark.parametrize("level", LEVELS)
def test_tile_registers_are_used_at_their_level_alone(level):
    done = subprocess.run([sys.executable, "-c", COUNT_TILES], env=os.environ | {"SLIMULATOR_SIMD": level}, text=True,
                          capture_output=True, cwd=ROOT, timeout=180)
    if "on this processor" in done.stderr:
        pytest.skip(f"this processor has no {level}")
    assert done.returncode == 0, done.stderr
    assert (int(done.stdout) > 0) == (level == "amx")


def test_without_permission_for_tile_registers_the_next_level_is_taken(monkeypatch):
    host = dict.fromkeys((*features._NEEDS["amx"], *features._NEEDS["avx2"]), True)
    monkeypatch.setattr(features, "binding", SimpleNamespace(get_host_cpu_features=lambda: host))
    monkeypatch.setattr(features, "_may_use_tiles", lambda: False)
    monkeypatch.delenv("SLIMULATOR_SIMD", raising=False)
    assert features._level() == "avx512"
    monkeypatch.setenv("SLIMULATOR_SIMD", "amx")
    with pytest.raises(SimdError, match="SLIMULATOR_SIMD=amx: expected one of portable, avx2, avx512 on this processor"):
        features._level()
