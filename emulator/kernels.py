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
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba import cfunc

from emulator.features import LEVEL
from emulator.machine_code import KERNEL

Function = Callable[..., int]
KERNELS: dict[str, Function] = {}
_compiled: dict[str, Any] = {}
_listener: Callable[[str], None] | None = None


ROOT = Path(__file__).parents[1]
_IMPORT = re.compile(r"^\s*(?:from\s+([\w.]+)\s+import\s+(\([^)]*\)|.*)|import\s+([\w.]+))", re.MULTILINE)


def use_cache_of(module: str) -> None:
    """Have numba keep what is compiled next in a folder for this state of `module` and of all that it imports.

    So stale code is never loaded, and an edit elsewhere in the project recompiles nothing.
    """
    numba.config.CACHE_DIR = _cache_folder(module)  # type: ignore[attr-defined]


@cache
def _cache_folder(module: str) -> str:
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__} {LEVEL}".encode())
    for path in sorted(_sources(module)):
        digest.update(_text(path).encode())
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return str(home / "slimulator" / digest.hexdigest()[:16])


def _sources(module: str) -> frozenset[Path]:
    """The files of a module and of every module of this project that it imports, directly or not."""
    found: set[Path] = set()
    work = [module]
    while work:
        name = work.pop()
        base = ROOT.joinpath(*name.split("."))
        path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
        if path in found or not path.exists():
            continue
        found.add(path)
        for source, names, plain in _IMPORT.findall(_text(path)):
            parent = source or plain
            if parent.split(".")[0] in ("isa", "emulator"):
                work += [parent, *(f"{parent}.{item}" for item in re.findall(r"\w+", names))]
    return frozenset(found)


@cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


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
        use_cache_of(function.__module__)
        _compiled[mnemonic] = cfunc(KERNEL, cache=True)(function)
        notify("")
    return int(_compiled[mnemonic].address)
