"""Pictures with two axes, as SVG: points and lines, linear or logarithmic. Each point tells what it is when it is pointed at."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from slimulator.report.marks import OTHER, colours, escape, legend

WIDE, HIGH = 640, 380                       # of the picture
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 18, 12, 46
_LETTER, _ROW = 6.8, 16                     # width of a letter, height of a line of a label
_FEW = 0.5                                  # powers of ten: below, a logarithmic axis has marks like a linear one
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
    taken = [_Box.around(at_x.place(dot.x), at_y.place(dot.y), dot.size) for dot in dots]
    for dot, own in zip(dots, list(taken), strict=True):
        parts.append(f'<circle class="ring" cx="{at_x.place(dot.x):.1f}" cy="{at_y.place(dot.y):.1f}" r="{dot.size}" '
                     f'fill="{chosen.get(dot.series, "var(--s1)")}"><title>{escape(dot.text)}</title></circle>')
        if dot.label:
            box = _beside(own, dot.label, [other for other in taken if other != own])
            taken.append(box)
            parts.append(f'<text class="strong" x="{box.left:.1f}" y="{box.top + 12:.1f}">{escape(dot.label)}</text>'
                         if box.left >= own.right else
                         f'<text class="strong" x="{box.right:.1f}" y="{box.top + 12:.1f}" text-anchor="end">'
                         f"{escape(dot.label)}</text>")
    parts.append(f'<text x="{(WIDE + _LEFT) / 2}" y="{HIGH - 6}" text-anchor="middle">{escape(x.title)}</text>')
    parts.append(f'<text transform="translate(13 {(HIGH - _BOTTOM) / 2}) rotate(-90)" text-anchor="middle">'
                 f"{escape(y.title)}</text>")
    return (legend(chosen) + f'<svg class="plot" viewBox="0 0 {WIDE} {HIGH}" width="{WIDE}" height="{HIGH}" role="img" '
            f'aria-label="{escape(y.title)} by {escape(x.title)}">{"".join(parts)}</svg>')


_ALONE = """:root { --paper: #fff; --ink: #0b0b0b; --soft: #52514e; --faint: #898781; --line: #e1e0d9; --s1: #2a78d6; --s2: #eb6834;
 --s3: #1baf7a; --s4: #eda100; --s5: #e87ba4; --s6: #008300; --s7: #4a3aa7; --s8: #e34948 }
@media (prefers-color-scheme: dark) { :root { --paper: #1a1a19; --ink: #fff; --soft: #c3c2b7; --line: #2c2c2a; --s1: #3987e5;
 --s2: #d95926; --s3: #199e70; --s4: #c98500; --s5: #d55181; --s7: #9085e9; --s8: #e66767 } }
text { font: 12px system-ui, sans-serif; fill: var(--soft) } .strong { fill: var(--ink) } .grid { stroke: var(--line) }
.ring { stroke: var(--paper); stroke-width: 2 } .paper { fill: var(--paper) }"""


def alone(x: Axis, y: Axis, dots: Sequence[Dot], lines: Sequence[Line] = ()) -> str:
    """`plot` as a file of its own, with its colours for light and dark and the names of series above it."""
    inner = plot(x, y, dots, lines).partition("<svg")[2].partition(">")[2].partition("</svg>")[0]
    chosen = colours([*(dot.series for dot in dots if dot.series), *(line.series for line in lines if line.series)])
    heads, at = [], float(_LEFT)
    for name, colour in chosen.items() if len(chosen) > 1 else ():
        heads.append(f'<circle cx="{at + 5:.0f}" cy="-10" r="5" fill="{colour}"/>'
                     f'<text x="{at + 15:.0f}" y="-6">{escape(name)}</text>')
        at += 30 + 7.2 * len(name)
    top = 26 if heads else 0
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 {-top} {WIDE} {HIGH + top}" width="{WIDE}" height="{HIGH + top}" '
            f'role="img"><style>{_ALONE}</style><rect class="paper" x="0" y="{-top}" width="{WIDE}" height="{HIGH + top}"/>'
            f'{"".join(heads)}{inner}</svg>\n')


@dataclass(frozen=True)
class _Box:
    """A part of the picture."""

    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def around(cls, x: float, y: float, size: float) -> _Box:
        return cls(x - size, y - size, x + size, y + size)

    def covers(self, other: _Box) -> bool:
        return self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom


def _beside(dot: _Box, text: str, taken: Sequence[_Box]) -> _Box:
    """Where the label of a dot covers nothing: right or left of it, else as few lines higher or lower as can be."""
    wide, middle, space = _LETTER * len(text), (dot.top + dot.bottom) / 2, 4
    sides = [dot.right + space, dot.left - space - wide]
    sides = [left for left in sides if _LEFT <= left <= WIDE - wide] or sides
    if dot.left > 0.72 * WIDE:
        sides.reverse()
    boxes = [_Box(left, middle - _ROW / 2 + rows * _ROW, left + wide, middle + _ROW / 2 + rows * _ROW)
             for rows in sorted(range(-20, 20), key=abs) for left in sides]
    inside = [box for box in boxes if box.top >= _TOP and box.bottom <= HIGH - _BOTTOM]
    return next((box for box in inside if not any(map(box.covers, taken))), boxes[0])


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
    if scale.log and scale.high - scale.low < _FEW:
        return _ticks(_Scale(10 ** scale.low, 10 ** scale.high, scale.start, scale.end, log=False))
    if scale.log:
        for steps in ((1,), (1, 3), (1, 2, 5)):
            powers = range(math.floor(scale.low), math.ceil(scale.high) + 1)
            values = [step * 10.0 ** power for power in powers for step in steps]
            found = [value for value in values if scale.low <= math.log10(value) <= scale.high]
            if len(found) >= 3 or steps == (1, 2, 5):
                return found[::max(1, round(len(found) / 7))]
    span = scale.high - scale.low
    step = 10.0 ** math.floor(math.log10(span / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 6)
    return [step * count for count in range(math.ceil(scale.low / step), math.floor(scale.high / step) + 1)]
