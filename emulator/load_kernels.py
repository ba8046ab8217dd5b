"""The kernels by mnemonic, and their compilation when a program first needs them.

A kernel is registered above its function, as a meaning is:

    @kernel("vec.relu.f32")
    def vec_relu_f32(dst, x, n, _, block): ...

with the values of the row's operands in order, the result left out, four in all whatever the row has, and the address of the
context block. It returns DONE or PUNT (emulator/kernel_words.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from emulator.native import objects

Function = Callable[..., int]
_kernels: dict[str, Function] = {}
KERNEL = "int64(int64, int64, int64, int64, int64)"         # four operand values, address of the context block -> status
LOOP = "int64(int64, int64, int64)"                         # of _execute in emulator/loop.py


def kernel(*mnemonics: str) -> Callable[[Function], Function]:
    """Register a function as the kernel of an instruction (of several, when they do the same)."""
    def register(function: Function) -> Function:
        for mnemonic in mnemonics:
            if mnemonic in _kernels:
                raise ValueError(f"{mnemonic} has two kernels")
            _kernels[mnemonic] = function
        return function
    return register


def registered() -> dict[str, Function]:
    """All kernels by mnemonic. The first call imports numba and every unit, which a run whose code is kept does without."""
    from emulator import units  # noqa: F401 - registers them
    return _kernels


def address(mnemonic: str) -> int:
    """Host address of a compiled kernel; links what is kept of it, or compiles it, on first use. 0: there is none."""
    return objects.entry(module_of(mnemonic), mnemonic, KERNEL, lambda: registered().get(mnemonic))


def module_of(mnemonic: str) -> str:
    """The module in which a kernel stands."""
    return f"emulator.units.{mnemonic.partition('.')[0]}"


def loop(profiled: bool) -> int:
    """Host address of the compiled loop (emulator/loop.py), or of the one that counts how often each instruction is retired."""
    def function() -> Any:
        from emulator.loop import execute
        return execute(profiled)
    return objects.entry("emulator.loop", "execute_profiled" if profiled else "execute", LOOP, function, "the engine")
