"""Compiled code by name: the kernels and the loop, compiled when a program first needs them. Import costs little: no numba."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from emulator.native import objects
from emulator.native.block import KERNEL_SIGNATURE, LOOP_SIGNATURE


def registered() -> dict[str, Callable[..., int]]:
    """All kernels by mnemonic. The first call imports numba and every unit, which a run whose code is kept does without."""
    from emulator.units import KERNELS
    return KERNELS


def address(mnemonic: str) -> int:
    """Host address of a compiled kernel; links what is kept of it, or compiles it, on first use. 0: there is none."""
    return objects.entry(module_of(mnemonic), mnemonic, KERNEL_SIGNATURE, lambda: registered().get(mnemonic))


def module_of(mnemonic: str) -> str:
    """The module in which a kernel stands."""
    return f"emulator.units.{mnemonic.partition('.')[0]}"


CLOCK = ("clock.after_simple", "clock.after", "clock.after_any", "clock.token")
"""The entries of emulator/clock.py."""


def clock_of(mnemonics: Iterable[str], *, banks: bool, named: bool, attention: bool) -> tuple[str, str]:
    """The entries for a program with these instructions, to be called after each, and for a token. Those after an operation
    compile the more slowly, the more they know: memories with rules of their own, then the rule of banks."""
    units = {mnemonic.partition(".")[0] for mnemonic in mnemonics}
    memories = (named and "fetch" in units) or (attention and "attn" in units)
    return CLOCK[2 if banks and "pim" in units else 1 if memories else 0], CLOCK[3]


def clock(name: str) -> int:
    """Host address of an entry of the compiled clock."""
    def function() -> Any:
        from emulator.clock import ENTRIES
        return ENTRIES[name]
    return objects.entry("emulator.clock", name, KERNEL_SIGNATURE, function, "the clock")


def loop(profiled: bool) -> int:
    """Host address of the compiled loop (emulator/loop.py), or of the one that counts how often each instruction is retired."""
    def function() -> Any:
        from emulator.loop import execute
        return execute(profiled)
    return objects.entry("emulator.loop", "execute_profiled" if profiled else "execute", LOOP_SIGNATURE, function, "the engine")
