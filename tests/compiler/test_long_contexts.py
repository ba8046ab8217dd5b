"""Contexts of 32,768 positions: the last ones bit by bit, what they read, what has no room and what would have."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compiled_models import ends
from random_models import SHAPES, random_model

from compiler.checking import verify
from compiler.compile import LONGEST_CONTEXT, compile_model
from compiler.errors import RoomError
from compiler.graph import Executor
from emulator.machine import Machine
from isa.registers import ABI_NAMES

POSITIONS = 32_768
FIRST, PROMPT = POSITIONS - 3, [5, 7, 60]           # the last positions of all
MODEL = random_model(replace(SHAPES["gqa"], context=POSITIONS))


class LateMachine(Machine):
    """Begins a text at position FIRST; keys and values before it are zeros."""

    def load(self, program: Any) -> None:
        super().load(program)
        first = next(name for name in ("chunk", "token") if program.symbol(name))         # where the prompt begins
        self.breakpoints = {program.address(first)}
        assert self.run().reason == "breakpoint"
        self.x[ABI_NAMES.index("s0")] = FIRST


class LateExecutor(Executor):
    """As LateMachine."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.position = FIRST


@pytest.mark.parametrize(("machine", "kv"), [("slim", "f32"), ("slim", "f16"), ("slim", "i8"), ("hpim", "f16")])
def test_the_last_positions_equal_the_graph(machine: str, kv: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "Executor", LateExecutor)
    seen = []
    compiled = compile_model(MODEL, machine=machine, context=POSITIONS, kv=kv)
    compared, difference = verify.compare(compiled, compiled.build(tmp_path), PROMPT, LateMachine,
                                          observe=lambda _token, _layer, _op, name, expected, _got: seen.append((name, expected)))
    assert difference is None, str(difference)
    assert compared == (len(PROMPT) * (len(compiled.graph.start) + 2 * len(compiled.graph.layer))
                        + ends(compiled, len(PROMPT)) * len(compiled.graph.finish))
    last = [value for name, value in seen if name == "probabilities"][-1]
    assert last.shape == (4, POSITIONS) and np.allclose(last.sum(axis=1), 1, atol=1e-3)
    assert f"{POSITIONS} positions, in {kv}" in compiled.summary()


def test_without_being_asked_for_a_context_is_shorter() -> None:
    assert compile_model(MODEL).memory.context == LONGEST_CONTEXT < POSITIONS


def test_what_has_no_room_says_what_would_have() -> None:
    """Scores of 4 heads take 512 KiB, more than the scratchpad of slim-llama: a shorter context fits."""
    with pytest.raises(RoomError, match=r"for 32768 positions, the largest are products \(524,288\)") as error:
        compile_model(MODEL, machine="slim-llama", context=POSITIONS, kv="i8")
    found = re.search(r"--context (\d+) fits", error.value.hint)
    assert found is not None
    fits = int(found[1])
    assert POSITIONS // 2 < fits < POSITIONS - 1000
    assert compile_model(MODEL, machine="slim-llama", context=fits, kv="i8").memory.context == fits
    with pytest.raises(RoomError):
        compile_model(MODEL, machine="slim-llama", context=fits + 1, kv="i8")
