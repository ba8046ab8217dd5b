"""Keys and values that came near the units and went back, by layer: what the program's card and the number of tokens say.

    moved(program, prompt, behind, alive) -> Moved, or None where all are read where they lie
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from isa.program import Program


@dataclass(frozen=True)
class Moved:
    """Bytes by layer that came near the units, and that were written back: 0 for layers that take no turns. `stays`: how many
    layers have theirs near all the time, from the first one on."""

    fetched: list[int]
    written: list[int]
    stays: int

    def __str__(self) -> str:
        turns = sum(map(bool, self.written))
        return (f"{turns} of {len(self.written)} layers take turns: {sum(self.fetched):,} bytes came near, {sum(self.written):,} "
                "were written back")

    def as_json(self) -> dict[str, Any]:
        return {"stays": self.stays, "fetched_bytes": self.fetched, "written_bytes": self.written}


def moved(program: Program, prompt: int, behind: int, alive: Sequence[int] | None = None) -> Moved | None:
    """For a prompt of so many tokens and so many that were computed behind it. `alive`: of the prompt, in each layer; None: all."""
    card = program.meta["model"]
    near = card.get("kv_near")
    if near is None:
        return None
    fetched, written = [0] * card["layers"], [0] * card["layers"]
    for layer in near["turns"]:
        tokens = alive[layer] if alive else prompt
        rows = sum(range(0, tokens, card["chunk"])) + sum(range(tokens, tokens + behind))
        fetched[layer], written[layer] = rows * near["position_bytes"], (tokens + behind) * near["position_bytes"]
    return Moved(fetched, written, near["stays"])
