"""A published figure of a whole system beside what executed programs give: a row of the tables of systems and of energy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from slimulator.validate.points import difference


@dataclass(frozen=True)
class Check:
    """A row. A figure that was published is `low` = `high`, a range has two; None: there is none to compare with.

    ours       what the programs give, in `unit`; None: no program stands for it, and `executed` says what is missing
    executed   what was run
    assumed    figures that it rests on and nobody has published, and what is known of a difference
    fitted     which figure of ours was chosen after which published one
    source     of the published figure
    parts      of the joules of a run, by event and by what stands still; `total`: the whole, which they add up to
    """

    system: str
    what: str
    unit: str
    low: float | None
    high: float | None
    ours: float | None
    executed: str
    assumed: str = ""
    fitted: str = ""
    source: str = ""
    parts: Mapping[str, float] = field(default_factory=dict)
    total: float | None = None

    @property
    def error(self) -> float | None:
        """0.01: ours is 1 % more than what was published, or than the upper end of a range; 0 within one."""
        if self.ours is None or self.low is None or self.high is None:
            return None
        return difference(self.ours, min(max(self.ours, self.low), self.high))

    @property
    def adds_up(self) -> bool:
        """Whether the parts make up the whole exactly."""
        return self.total is None or sum(self.parts.values()) == self.total

    def as_json(self) -> dict[str, Any]:
        return {"system": self.system, "what": self.what, "unit": self.unit, "low": self.low, "high": self.high, "ours": self.ours,
                "error": self.error, "executed": self.executed, "assumed": self.assumed, "fitted": self.fitted,
                "source": self.source, "parts": dict(self.parts), "joules": self.total, "adds_up": self.adds_up}


def figure(value: float | None) -> str:
    """A number with three or four digits."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def published(row: Mapping[str, Any]) -> str:
    """What was published, of a row as JSON has it: a figure or a range."""
    low, high = row["low"], row["high"]
    return figure(low) if low == high else f"{figure(low)} to {figure(high)}"


def verdict(row: Mapping[str, Any]) -> str:
    """The error in words: "inside" a range, or how far off."""
    error = row["error"]
    if error is None:
        return "-"
    if row["low"] != row["high"] and error == 0:
        return "inside"
    return f"{100 * error:{'+' if round(error, 3) else ''}.1f} %".replace("-0.0", "0.0")


def lines(title: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A table of rows for a terminal."""
    texts = [(row["system"], f"{row['what']}, {row['unit']}", published(row), figure(row["ours"]), verdict(row)) for row in rows]
    heads = (title, "", "published", "ours", "error")
    widths = [max(map(len, column)) for column in zip(heads, *texts, strict=True)]
    yield ""
    for words in (heads, *texts):
        yield "  ".join(f"{word:<{width}}" if at < 2 else f"{word:>{width}}"
                        for at, (word, width) in enumerate(zip(words, widths, strict=True))).rstrip()
