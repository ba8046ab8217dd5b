"""A machine does one thing at a time: while one thread runs it, no other thread may run it, load a program or look into it.

Two runs at once would mix up their results. Worse, compiled code of one would read tables while the other replaces them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, NamedTuple, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class AlreadyRunning(RuntimeError):
    """A machine that is busy was asked to do something else."""


class Work(NamedTuple):
    """What a machine is doing."""

    name: str
    thread: threading.Thread


class Busy(Protocol):
    work: dict[str, Work]       # at most one, under "work"


M = TypeVar("M", bound=Busy)


def exclusive(within: bool = False) -> Callable[[Callable[Concatenate[M, P], R]], Callable[Concatenate[M, P], R]]:
    """Marks a method that needs a machine at rest: others get AlreadyRunning. `within`: hooks of a run may call it too."""
    def decorate(method: Callable[Concatenate[M, P], R]) -> Callable[Concatenate[M, P], R]:
        @wraps(method)
        def guarded(machine: M, /, *arguments: P.args, **named: P.kwargs) -> R:
            mine = Work(method.__name__, threading.current_thread())
            try:                                        # Ctrl-C may raise anywhere: so each time look whose work it is
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
