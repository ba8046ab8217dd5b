"""What the host tells a compiled program before it runs: how to choose tokens, how many, and where a text ends.

They are data of the program behind the symbol `parameters`. Their defaults: always the most likely token, no limit, the model's own
stop tokens.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from compiler.errors import ModelError
from compiler.lowering.batch import RECORD, RECORD_BYTES
from compiler.lowering.data import MOST_STOPS
from isa.reference import ReferenceMachine

_FOR_SEED_0 = 0x9E37_79B9_7F4A_7C15         # the generator would stay at 0


def set_parameters(machine: ReferenceMachine, *, temperature: float = 0.0, top_p: float = 1.0, seed: int = 1,
                   max_tokens: int | None = None, stop: Collection[int] | None = None, sparsity: float | None = None,
                   prompt_tokens: int | None = None) -> None:
    """Write parameters into a loaded program. `stop` None: as compiled.

    temperature  0: the most likely token; else logits are divided by it
    top_p        draw among the most likely tokens, as few as have this probability together; 1: among all
    seed         of the random numbers; 0 stands for another fixed seed, because the generator would stay at 0

    sparsity     the share of neurons to leave alone, in a program with thresholds; None: as compiled. The program reads it each
                 token, so that it may change while it runs
    prompt_tokens  of a program that leaves out tokens of prompts: how long the prompt is; what the host gives behind it are tokens
                 of the text as if they had been generated. None: all that it gives is prompt

    Raises ModelError for values that mean nothing, and for a sparsity where there are no thresholds.
    """
    for name, value, holds, expected in (
            ("temperature", temperature, 0 <= temperature < math.inf, "0 (the most likely token) or more"),
            ("top_p", top_p, 0 < top_p <= 1, "more than 0, at most 1"),
            ("seed", seed, 0 <= seed < 1 << 64, "0 to 2**64 - 1"),
            ("max_tokens", max_tokens, max_tokens is None or max_tokens >= 0, "0 or more"),
            ("prompt_tokens", prompt_tokens, prompt_tokens is None or prompt_tokens >= 1, "1 or more"),
            ("stop", len(stop or ()), len(stop or ()) <= MOST_STOPS, f"at most {MOST_STOPS} tokens")):
        if not holds:
            raise ModelError("", name, got=str(value), expected=expected)
    if sparsity is not None:
        if machine.program is None or machine.program.symbol("ffn_sparsity") is None:
            raise ModelError("", "--ffn-sparsity", got="a program without thresholds",
                             expected="one that was compiled with --ffn-sparsity S --calibrate TEXT")
        machine.tensor("ffn_sparsity", "f32[1]")[0] = sparsity
    heat = np.float32(temperature)
    machine.tensor("temperature", "f32[1]")[0] = heat
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.float32(1) / heat
    if heat and not np.isfinite(inverse):
        raise ModelError("", "temperature", got=str(temperature), expected="0, or a number whose inverse fp32 can hold")
    machine.tensor("inverse_temperature", "f32[1]")[0] = inverse if heat else 1
    machine.tensor("top_p", "f32[1]")[0] = top_p
    _dword(machine, "seed", seed or _FOR_SEED_0)
    _dword(machine, "max_tokens", (1 << 64) - 1 if max_tokens is None else max_tokens)
    if prompt_tokens is not None:
        _dword(machine, "prompt_tokens", prompt_tokens)
    if stop is not None:
        machine.tensor("stop_count", "i32[1]")[0] = len(stop)
        machine.tensor("stop_tokens", f"i32[{MOST_STOPS}]")[:len(stop)] = sorted(stop)


def side_by_side(prompts: Iterable[Iterable[int]]) -> list[int]:
    """Several prompts as the host gives them to a program for several sequences: -1 ends each."""
    return [token for prompt in prompts for token in (*prompt, -1)]


def set_sequences(machine: ReferenceMachine, limits: Sequence[int], seed: int = 1) -> None:
    """Write the records of a program for several sequences: of each its limit of tokens, and the seed of its random numbers."""
    _dword(machine, "sequence_count", len(limits))
    records = machine.tensor("sequences", f"i32[{len(limits)}, {RECORD_BYTES // 4}]")
    for record, limit in zip(records, limits, strict=True):
        for name, value in (("left", limit), ("seed", seed or _FOR_SEED_0)):
            record[RECORD[name] // 4:][:2] = _halves(value)


def _dword(machine: ReferenceMachine, symbol: str, value: int) -> None:
    machine.tensor(symbol, "i32[2]")[:] = _halves(value)


def _halves(value: int) -> npt.NDArray[np.int32]:
    """The two words of a 64-bit number, as a tensor of i32 has them."""
    return np.array([value], np.uint64).view(np.int32)
