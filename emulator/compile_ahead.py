"""Compiling ahead: processes compile what a program needs and what is not kept yet, one process for each core.

The compiler works on one core. It never gives back the memory that it has taken: hundreds of megabytes, as much as the weights of
a model. A single function is compiled where it is needed (emulator/native/objects.py).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable

from emulator import load_kernels
from emulator.native import objects
from emulator.threads.workers import cores
from isa.caches import KERNELS
from isa.shipped import ROOT

LOOP = "execute"
_CHILD = "import sys; sys.path[0] = {root!r}; from emulator.compile_ahead import main; main()"


def compile_ahead(mnemonics: Iterable[str], clock: Iterable[str] = ()) -> None:
    """Have the kernels of some instructions, the loop and entries of the clock compiled and kept. What fails here fails again where
    it is needed.

    Another process that does the same waits until this one is done. Raises CacheError.
    """
    kernels = sorted(mnemonics)
    wanted = [LOOP, *clock, *kernels]
    if len(_missing(wanted)) < 2:
        return
    with KERNELS.locked(LOOP, lambda: objects.notify("the kernels, in another process")):
        if missing := _missing(wanted):
            _compile(missing)
            KERNELS.trim()
    objects.notify("")


def _missing(names: Iterable[str]) -> list[str]:
    return [name for name in names if not objects.is_kept(_module(name), name)]


def _compile(names: list[str]) -> None:
    count = min(cores(), len(names))
    reading, writing = os.pipe()
    children = []
    try:
        for i in range(count):                                  # of a session of their own: Ctrl-C is for the one who waits
            children.append(subprocess.Popen(
                [sys.executable, "-c", _CHILD.format(root=str(ROOT)), *names[i::count]], stdin=subprocess.DEVNULL,
                stdout=writing, stderr=subprocess.DEVNULL, start_new_session=True))
        os.close(writing)
        writing = -1
        with open(reading, encoding="utf-8") as started:
            for name in started:
                objects.notify(_shown(name.strip()))
    finally:
        if writing >= 0:
            os.close(writing)
        for child in children:
            child.kill()
            child.wait()


def _shown(name: str) -> str:
    """What is being compiled, for people."""
    return "the engine" if name == LOOP else "the clock" if name in load_kernels.CLOCK else name


def _module(name: str) -> str:
    return "emulator.loop" if name == LOOP else "emulator.clock" if name in load_kernels.CLOCK else load_kernels.module_of(name)


def main() -> None:
    """What a child does with the names on its command line."""
    for name in sys.argv[1:]:
        sys.stdout.write(f"{name}\n")               # in one piece: another writes to the same pipe
        sys.stdout.flush()
        if name == LOOP:
            load_kernels.loop(profiled=False)
        elif name in load_kernels.CLOCK:
            load_kernels.clock(name)
        else:
            load_kernels.address(name)
