"""numba's private parts: emulator/native/ rests on them and nothing else does. One test says so when numba has changed them."""

from __future__ import annotations

import ast
import tomllib
from ctypes import CFUNCTYPE, c_int64
from pathlib import Path

import numba
import numpy as np
import pytest
from numba import njit

from emulator.native import objects
from emulator.native.block import WORDS
from emulator.native.machine_code import array, atomic_add
from emulator.simd.folds import fold
from emulator.simd.lanes import put_up_to, spread, take_up_to
from emulator.threads.parallel import in_parallel
from isa.caches import KERNELS

ROOT = Path(__file__).parents[2]
PRIVATE = ("numba.core", "numba.np", "numba.cpython", "numba.misc")


@njit
def add_up(first, last, twice, place, total):
    lanes = spread(np.float32(0))
    for i in range(first, last, 16):
        lanes = lanes + take_up_to(place + 4 * i, np.float32, last - i, np.float32(0))
    atomic_add(total, twice * np.int64(fold(lanes)))


def everything(block, n):
    """2 * (0 + 1 + ... + (n - 1)) by what native/ takes from numba: allocation, views, closures, operators of a new type."""
    room, total = np.zeros(n, np.float32), np.zeros(1, np.int64)
    view = array(room.ctypes.data, np.float32, n)
    for i in range(n):
        view[i] = i
    put_up_to(room.ctypes.data, take_up_to(room.ctypes.data, np.float32, n, np.float32(0)), n)
    if not in_parallel(block, n, n, 16, add_up, 2, room.ctypes.data, total.ctypes.data):
        return -1
    return total[0]


def test_what_native_takes_from_numba_is_as_it_was(tmp_path, monkeypatch):
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    tested = next(line for line in declared if line.startswith("numba>="))
    monkeypatch.setattr(KERNELS, "root", tmp_path)
    block = np.zeros(WORDS, np.int64)               # of a machine without a pool: all of the work is one call
    try:
        address = objects.entry("emulator.simd.lanes", "everything", "int64(int64, int64)", lambda: everything)
        found = CFUNCTYPE(c_int64, c_int64, c_int64)(address)(block.ctypes.data, 100)
    except Exception as error:
        pytest.fail(f"numba {numba.__version__} has changed a private part that emulator/native/ uses: {error!r}. Adapt "
                    f"emulator/native/, or keep numba to the versions that were tested ({tested} in pyproject.toml)")
    assert found == 2 * sum(range(100)), f"numba {numba.__version__} compiles to other results; tested were {tested}"


def test_private_parts_are_used_in_native_alone():
    users = set()
    for path in (ROOT / "emulator").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [
                name.name for name in node.names] if isinstance(node, ast.Import) else []
            if any(name.startswith(PRIVATE) for name in names):
                users.add(path.parent.relative_to(ROOT).as_posix())
    assert users == {"emulator/native"}
