"""One thing at a time: a machine that runs in one thread is not run, loaded or looked into by another.

Two loops on the same registers and memory would not only mix their results up: compiled code reads tables that the other one
replaces.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, NamedTuple, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class AlreadyRunning(RuntimeError):
    """A machine that is at work was asked for something else."""


class Work(NamedTuple):
    """What a machine is doing."""

    name: str
    thread: threading.Thread


class Busy(Protocol):
    work: dict[str, Work]       # at most one, under "work"


M = TypeVar("M", bound=Busy)


def exclusive(within: bool = False) -> Callable[[Callable[Concatenate[M, P], R]], Callable[Concatenate[M, P], R]]:
    """A method for a machine at rest; `within`: a run's own thread, a hook, may call it too. Others get AlreadyRunning."""
    def decorate(method: Callable[Concatenate[M, P], R]) -> Callable[Concatenate[M, P], R]:
        @wraps(method)
        def guarded(machine: M, /, *arguments: P.args, **named: P.kwargs) -> R:
            mine = Work(method.__name__, threading.current_thread())
            try:                                        # Ctrl-C may raise anywhere: what is ours is told by looking
                held = machine.work.setdefault("work", mine)
                if held is not mine and not (within and held.thread is mine.thread):
                    raise AlreadyRunning(_refusal(mine, held))
                return method(machine, *arguments, **named)
            finally:
                if machine.work.get("work") is mine:
                    del machine.work["work"]
        return guarded
    return decorate


def _refusal(mine: Work, held: Work) -> str:
    here: Any = "this thread" if held.thread is mine.thread else f"thread {held.thread.name!r}"
    hint = ("a hook may look at its machine, and stop it" if held.thread is mine.thread else
            "make a Machine for each thread; `stop` may be called from any")
    return f"{mine.name}: this machine is already running ({held.name} in {here}), and does one thing at a time; {hint}"
