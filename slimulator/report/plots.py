"""Pictures with two axes, as SVG: points and lines, linear or logarithmic. Each point tells what it is when it is pointed at."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from slimulator.report.marks import OTHER, colours, escape, legend

WIDE, HIGH = 640, 380                       # of the picture
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 18, 12, 46
_SPARE = 0.06                               # of the range, on both sides


@dataclass(frozen=True)
class Dot:
    """A point: where, of which series, what it says, and a short text beside it."""

    x: float
    y: float
    series: str = ""
    text: str = ""
    label: str = ""
    size: float = 5.0


@dataclass(frozen=True)
class Line:
    """Lines between points. `series` gives the colour; "" is grey."""

    points: Sequence[tuple[float, float]]
    series: str = ""
    label: str = ""
    dashed: bool = False


@dataclass(frozen=True)
class Axis:
    """What an axis shows: its title, how a number is written there, whether it is logarithmic, and where it has marks (chosen here
    if there are none)."""

    title: str
    form: Callable[[float], str] = field(default=lambda value: f"{value:g}")
    log: bool = False
    ticks: Sequence[float] = ()


def plot(x: Axis, y: Axis, dots: Iterable[Dot], lines: Iterable[Line] = ()) -> str:
    """The picture; "" without points. Raises nothing: points that a logarithm does not have are left out."""
    dots = [dot for dot in dots if _fits(x, dot.x) and _fits(y, dot.y)]
    lines = [line for line in lines if line.points]
    if not dots:
        return ""
    at_x = _scale(x, [dot.x for dot in dots] + [a for line in lines for a, _ in line.points], _LEFT, WIDE - _RIGHT)
    at_y = _scale(y, [dot.y for dot in dots] + [b for line in lines for _, b in line.points], HIGH - _BOTTOM, _TOP)
    chosen = colours([*(dot.series for dot in dots if dot.series), *(line.series for line in lines if line.series)])
    parts = [_grid(x, at_x, upright=True), _grid(y, at_y, upright=False)]
    for line in lines:
        path = " ".join(f"{at_x.place(a):.1f},{at_y.place(b):.1f}" for a, b in line.points)
        colour = chosen.get(line.series, OTHER)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"'
                     + (' stroke-dasharray="5 4"' if line.dashed else "") + "/>")
        if line.label:
            a, b = line.points[-1]
            parts.append(f'<text x="{at_x.place(a) - 4:.1f}" y="{at_y.place(b) - 6:.1f}" text-anchor="end">'
                         f"{escape(line.label)}</text>")
    for dot in dots:
        left = at_x.place(dot.x) > WIDE * 0.72
        parts.append(f'<circle class="ring" cx="{at_x.place(dot.x):.1f}" cy="{at_y.place(dot.y):.1f}" r="{dot.size}" '
                     f'fill="{chosen.get(dot.series, "var(--s1)")}"><title>{escape(dot.text)}</title></circle>')
        if dot.label:
            parts.append(f'<text class="strong" x="{at_x.place(dot.x) + (-9 if left else 9):.1f}" y="{at_y.place(dot.y) + 4:.1f}"'
                         f'{" text-anchor=end" if left else ""}>{escape(dot.label)}</text>')
    parts.append(f'<text x="{(WIDE + _LEFT) / 2}" y="{HIGH - 6}" text-anchor="middle">{escape(x.title)}</text>')
    parts.append(f'<text transform="translate(13 {(HIGH - _BOTTOM) / 2}) rotate(-90)" text-anchor="middle">'
                 f"{escape(y.title)}</text>")
    return (legend(chosen) + f'<div class="scroll"><svg viewBox="0 0 {WIDE} {HIGH}" width="{WIDE}" height="{HIGH}" role="img" '
            f'style="min-width:460px" aria-label="{escape(y.title)} by {escape(x.title)}">{"".join(parts)}</svg></div>')


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float
    log: bool

    def place(self, value: float) -> float:
        value = math.log10(value) if self.log else value
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def _fits(axis: Axis, value: float) -> bool:
    return math.isfinite(value) and (value > 0 or not axis.log)


def _scale(axis: Axis, values: Sequence[float], start: float, end: float) -> _Scale:
    ends = [math.log10(value) if axis.log else value for value in values if _fits(axis, value)]
    low, high = min(ends), max(ends)
    spare = _SPARE * (high - low) or (0.3 if axis.log else abs(low) * 0.1 or 1.0)
    low = 0.0 if not axis.log and low >= 0 and low < 0.5 * high else low - spare
    return _Scale(low, high + spare, start, end, axis.log)


def _grid(axis: Axis, scale: _Scale, *, upright: bool) -> str:
    parts = []
    for value in axis.ticks or _ticks(scale):
        place = scale.place(value)
        if upright:
            parts.append(f'<line class="grid" x1="{place:.1f}" x2="{place:.1f}" y1="{_TOP}" y2="{HIGH - _BOTTOM}"/>'
                         f'<text x="{place:.1f}" y="{HIGH - _BOTTOM + 18}" text-anchor="middle">{escape(axis.form(value))}</text>')
        else:
            parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDE - _RIGHT}" y1="{place:.1f}" y2="{place:.1f}"/>'
                         f'<text x="{_LEFT - 7}" y="{place + 4:.1f}" text-anchor="end">{escape(axis.form(value))}</text>')
    return "".join(parts)


def _ticks(scale: _Scale) -> list[float]:
    """Round values along an axis, three to seven of them."""
    if scale.log:
        for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
            powers = range(math.floor(scale.low), math.ceil(scale.high) + 1)
            values = [step * 10.0 ** power for power in powers for step in steps]
            found = [value for value in values if scale.low <= math.log10(value) <= scale.high]
            if len(found) >= 3:
                return found[::max(1, round(len(found) / 7))]
    span = scale.high - scale.low
    if scale.log:
        return [10 ** (scale.low + span * part) for part in (0.1, 0.5, 0.9)]
    step = 10.0 ** math.floor(math.log10(span / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 6)
    return [step * count for count in range(math.ceil(scale.low / step), math.floor(scale.high / step) + 1)]
