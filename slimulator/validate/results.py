"""What was published beside what is computed here: a result a point, and the errors of each simulator."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil
from statistics import mean
from typing import Any

from slimulator.validate.points import Inexpressible, Outcome, Point, difference
from slimulator.validate.workloads import outcome_of


@dataclass(frozen=True)
class Result:
    """A point and its outcome, or the reason why there is none."""

    point: Point
    outcome: Outcome | None = None
    reason: str | None = None

    @property
    def error(self) -> float | None:
        """Cycles: 0.01 means that ours are 1 % more."""
        return difference(self.outcome.cycles, self.point.cycles) if self.right and self.outcome and self.point.cycles else None

    @property
    def right(self) -> bool:
        """Whether the program ran and its values are NumPy's."""
        return self.outcome is not None and not self.outcome.wrong

    def as_json(self) -> dict[str, Any]:
        point, ours = self.point, self.outcome if self.right else None
        energy, published = ours.energy_pj if ours else None, point.energy_pj
        return {"line": point.line, "simulator": point.simulator, "config": point.config, "workload": point.workload,
                "parameters": dict(point.parameters), "published": point.cycles, "ours": ours.cycles if ours else None,
                "error": self.error, "published_pj": published, "ours_pj": energy,
                "energy_error": difference(energy, published) if energy is not None and published else None,
                "events": dict(ours.events) if ours else {}, "reason": self.reason}


def result_of(point: Point) -> Result:
    """Run the program of a point."""
    try:
        outcome = outcome_of(point)
    except Inexpressible as error:
        return Result(point, reason=str(error))
    return Result(point, outcome, f"wrong values: {'; '.join(outcome.wrong)}" if outcome.wrong else None)


def summary(results: Iterable[Result]) -> dict[str, dict[str, Any]]:
    """By simulator, in the order of the points: how many rows, how many of them were expressed, how far these are off."""
    by_simulator: dict[str, list[Result]] = {}
    for result in results:
        by_simulator.setdefault(result.point.simulator, []).append(result)
    return {name: _summary(several) for name, several in by_simulator.items()}


def _summary(results: list[Result]) -> dict[str, Any]:
    off = sorted(abs(result.error) for result in results if result.error is not None)
    return {"rows": len(results), "expressed": sum(result.outcome is not None for result in results),
            "wrong": sum(result.outcome is not None and not result.right for result in results),
            "mean": mean(off) if off else None, "p95": off[ceil(0.95 * len(off)) - 1] if off else None,
            "max": off[-1] if off else None}
