"""docs/installing.md: what it says of the environment is so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from children import LIMIT

from emulator.native.features import LEVELS
from isa import caches

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "docs" / "installing.md").read_text(encoding="utf-8")


def slimulator(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "slimulator", *arguments], cwd=ROOT, env=os.environ | environment, text=True,
                          capture_output=True, timeout=LIMIT)


@pytest.mark.parametrize(("shell", "script"), [("bash", "complete -o nosort -F"), ("zsh", "#compdef slimulator"),
                                               ("fish", "complete --no-files --command slimulator")])
def test_completion(shell: str, script: str) -> None:
    assert f"{shell}_source" in GUIDE
    done = slimulator(_SLIMULATOR_COMPLETE=f"{shell}_source")
    assert (done.returncode, done.stderr) == (0, "") and script in done.stdout and "_SLIMULATOR_COMPLETE" in done.stdout


def test_completion_knows_commands_and_options() -> None:
    for line, word, offered in (("slimulator ca", "1", "cache"), ("slimulator run --hazard", "2", "--hazards")):
        done = slimulator(_SLIMULATOR_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=word)
        assert (done.returncode, done.stdout) == (0, f"plain,{offered}\n")


def test_levels_of_simd() -> None:
    assert {level for level in LEVELS if f"| `{level}` |" in GUIDE} == set(LEVELS)
    for wrong in ("avx1024", "AVX2"):
        done = slimulator("run", "none.elf", SLIMULATOR_SIMD=wrong)
        assert done.returncode == 1 and re.fullmatch(rf"error: SLIMULATOR_SIMD={wrong}: expected one of portable[\w, ]* on this "
                                                     r"processor\n", done.stderr), done.stderr


def test_a_wrong_level_is_one_message_in_python_too() -> None:
    """An error that a script can catch, in the lines that named the machine and in none of ours behind the front door."""
    done = subprocess.run([sys.executable, "-c", "from slimulator import Machine"], cwd=ROOT, text=True, capture_output=True,
                          env=os.environ | {"SLIMULATOR_SIMD": "sse9"}, timeout=LIMIT)
    ours = [line for line in done.stderr.splitlines() if line.startswith(f'  File "{ROOT}')]
    assert len(ours) == 1 and "slimulator/__init__.py" in ours[0], done.stderr
    assert re.fullmatch(r"emulator\.errors\.SimdError: SLIMULATOR_SIMD=sse9: expected one of portable[\w, ]* on this processor",
                        done.stderr.splitlines()[-1])
    caught = ("import os, slimulator\ntry:\n    slimulator.Machine\nexcept slimulator.SimdError:\n"
              "    os.environ['SLIMULATOR_SIMD'] = 'portable'\n    print(slimulator.Machine('slim').run is not None)\n")
    done = subprocess.run([sys.executable, "-c", caught], cwd=ROOT, text=True, capture_output=True,
                          env=os.environ | {"SLIMULATOR_SIMD": "sse9"}, timeout=LIMIT)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_what_is_kept() -> None:
    assert f"`{caches.SIZE}`" in GUIDE and f"`{caches.USUAL_SIZE}`" in GUIDE
    assert "a tenth of it" in GUIDE and caches.KERNELS.share == 10
    assert "more than ten minutes" in GUIDE and caches.PATIENCE == 600
    for kept in (caches.KERNELS, caches.PROGRAMS):
        assert f"| `{kept.name}` |" in GUIDE
