"""What a token reads from a memory, as a formula of p, the positions that attention looks at: "1,264 + 4,096 p".

A cache that streams comes in tiles of so many positions. What is read again for each tile is a step of the formula.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Formula:
    """constant + each * p, and for each (rows, bytes) of `steps`: bytes * (p / rows, rounded up)."""

    constant: int
    each: int
    steps: Mapping[int, int]

    @classmethod
    def of(cls, reads: Callable[[int], int], rows: Collection[int]) -> Formula:
        """The formula of a function that is one, with steps of these rows at most."""
        each, steps = reads(2) - reads(1), dict[int, int]()
        for count in sorted(set(rows) - {1}):                       # a tile for each position is nothing but `each`
            step = reads(count + 1) - reads(count) - each - sum(size for other, size in steps.items() if count % other == 0)
            if step:
                steps[count] = step
        return cls(reads(1) - each - sum(steps.values()), each, steps)

    def at(self, positions: int) -> int:
        """Bytes where attention looks at so many positions."""
        return self.constant + self.each * positions + sum(size * -(-positions // rows) for rows, size in self.steps.items())

    def __str__(self) -> str:
        parts = [f"{self.constant:,}"] * bool(self.constant) + [f"{self.each:,} p"] * bool(self.each)
        parts += [f"{size:,} ceil(p / {rows:,})" for rows, size in self.steps.items()]
        return " + ".join(parts) or "0"

    def as_json(self) -> dict[str, object]:
        """The formula's numbers."""
        return {"constant": self.constant, "per_position": self.each,
                "per_tile": [{"positions": rows, "bytes": size} for rows, size in self.steps.items()]}
