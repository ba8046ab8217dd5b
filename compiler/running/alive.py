"""Which tokens of a prompt are left behind its cuts, and what their keys and values take: the program keeps count in its variables.

    tokens_alive(machine, program, text) -> Alive, or None if the program leaves out none, or has not read a prompt
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from isa.program import Program
from isa.reference import ReferenceMachine
from isa.text import counted


@dataclass(frozen=True)
class Alive:
    """Of a prompt: its tokens, and how many of them each layer has seen. Bytes are those of their keys and values, scales included;
    `whole`: if every layer had seen all."""

    prompt: int
    layers: list[int]
    kv_bytes: int
    whole: int

    def __str__(self) -> str:
        firsts = [layer for layer, tokens in enumerate(self.layers) if not layer or tokens != self.layers[layer - 1]]
        parts = ", ".join(f"{self.layers[layer]:,} from layer {layer} on" for layer in firsts)
        return (f"{counted(self.prompt, 'token')} of the prompt: {parts}; keys and values {self.kv_bytes:,} bytes, "
                f"{100 * (1 - self.kv_bytes / self.whole):.1f} % fewer")

    def as_json(self) -> dict[str, Any]:
        return {"prompt": self.prompt, "layers": self.layers, "kv_bytes": self.kv_bytes, "kv_bytes_of_all": self.whole}


def new_tokens(program: Program) -> int | None:
    """The most tokens that may come behind a prompt; None: as many as the context has positions."""
    most: int | None = program.meta["model"].get("cuts", {}).get("new_tokens")
    return most


def tokens_alive(machine: ReferenceMachine, program: Program, text: int = 0) -> Alive | None:
    """Of the prompt that a machine has read last in a compiled program; `text`: its number, of several side by side."""
    if program.symbol("left_out0") is None:
        return None
    card: dict[str, Any] = program.meta["model"]["cuts"]

    def variable(name: str) -> int:
        return int(machine.peek(program.address(name) + 8 * text, 8).view("<u8")[0])

    prompt = variable("prompt_length")
    if not prompt:
        return None
    layers = [prompt - variable(f"left_out{sum(cut <= layer for cut in card['layers'])}") for layer in range(len(card["kv_bytes"]))]
    return Alive(prompt, layers, sum(size * tokens for size, tokens in zip(card["kv_bytes"], layers, strict=True)),
                 prompt * sum(card["kv_bytes"]))
