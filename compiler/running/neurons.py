"""How many neurons feed-forward layers skipped. The program counts them itself, at `neuron_counts`, for each body of layers.

    neurons(machine, program) -> Neurons, or None if the program computes every neuron
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from isa.program import Program
from isa.reference import ReferenceMachine


@dataclass(frozen=True)
class Neurons:
    """Numbers over all layers and positions. Bytes are those of the neurons' rows of `up` and `down`, with scales."""

    active: int
    skipped: int
    bytes_fetched: int
    bytes_left: int

    def __str__(self) -> str:
        whole = max(1, self.active + self.skipped)
        return (f"{self.active:,} active, {self.skipped:,} skipped ({100 * self.skipped / whole:.1f} %): "
                f"{self.bytes_fetched:,} bytes of their weights fetched, {self.bytes_left:,} not fetched")

    def as_json(self) -> dict[str, int]:
        return asdict(self)


def neurons(machine: ReferenceMachine, program: Program) -> Neurons | None:
    """The neurons that a machine has computed and skipped so far in a compiled program."""
    if program.symbol("neuron_counts") is None:
        return None
    card: dict[str, Any] = program.meta["model"]
    counts = machine.peek(program.address("neuron_counts"), 16 * len(card["neuron_bytes"])).view("<u8").reshape(-1, 2).tolist()
    active = [each for each, _ in counts]
    skipped = [layers * card["hidden"] - each for each, layers in counts]
    return Neurons(sum(active), sum(skipped), *(sum(size * count for size, count in zip(card["neuron_bytes"], each, strict=True))
                                                for each in (active, skipped)))
