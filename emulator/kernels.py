"""The kernels by mnemonic, and their compilation when a program first needs them.

A kernel is registered above its function, as a meaning is:

    @kernel("vec.relu.f32")
    def vec_relu_f32(dst, x, n, _, block): ...

with the values of the row's operands in order, the result left out, four in all whatever the row has, and the address of the
context block. It returns DONE or PUNT (emulator/context.py).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba import cfunc

from emulator.features import LEVEL
from emulator.machine_code import KERNEL

Function = Callable[..., int]
KERNELS: dict[str, Function] = {}
_compiled: dict[str, Any] = {}
_listener: Callable[[str], None] | None = None


def _cache_folder() -> Path:
    """Where machine code is kept: a folder for each state of the sources and level of SIMD, so that no stale code is loaded."""
    root = Path(__file__).parent
    digest = hashlib.sha256(f"{numba.__version__} {LEVEL}".encode())
    for path in sorted((*root.rglob("*.py"), *(root.parent / "isa").rglob("*.py"))):
        digest.update(path.read_bytes())
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "slimulator" / digest.hexdigest()[:16]


numba.config.CACHE_DIR = str(_cache_folder())  # type: ignore[attr-defined]


def kernel(*mnemonics: str) -> Callable[[Function], Function]:
    """Register a function as the kernel of an instruction (of several, when they do the same)."""
    def register(function: Function) -> Function:
        for mnemonic in mnemonics:
            if mnemonic in KERNELS:
                raise ValueError(f"{mnemonic} has two kernels")
            KERNELS[mnemonic] = function
        return function
    return register


def on_compile(listener: Callable[[str], None]) -> None:
    """Have `listener` called with the name of what is being compiled, and with "" when that is done."""
    global _listener
    _listener = listener


def notify(what: str) -> None:
    """Tell the listener, if there is one."""
    if _listener is not None:
        _listener(what)


def address(mnemonic: str) -> int:
    """Host address of a compiled kernel; compiles it, or loads it from the cache, on first use. 0: there is none."""
    function = KERNELS.get(mnemonic)
    if function is None:
        return 0
    if mnemonic not in _compiled:
        notify(mnemonic)
        _compiled[mnemonic] = cfunc(KERNEL, cache=True)(function)
        notify("")
    return int(_compiled[mnemonic].address)
