"""What a page consists of: sections, tiles, stacked bars, tables. As HTML text; every text from outside is escaped here."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence

from emulator.observe.cost import quantity

SERIES = tuple(f"var(--s{number})" for number in range(1, 9))
OTHER = "var(--faint)"
STILL = "var(--still)"           # of energy that is spent on standing still
_LEAST = 0.001                  # of a bar: less is added up as "other"


def escape(text: object) -> str:
    return html.escape(str(text), quote=True)


def section(title: str, about: str, *parts: str, source: bool = False) -> str:
    """A part of a page, "" without contents. `source`: its figures follow from those of the machine, which are linked."""
    if not any(parts):
        return ""
    link = ' <a href="#figures">The machine\'s figures and their sources.</a>' if source else ""
    return f'<section><h2>{escape(title)}</h2>\n<p class="soft small">{escape(about)}{link}</p>\n{"".join(parts)}</section>'


def tiles(figures: Iterable[tuple[str, str]]) -> str:
    """Large figures with what they are."""
    parts = "".join(f'<div class="tile"><span class="soft small">{escape(name)}</span><b>{escape(value)}</b></div>'
                    for name, value in figures)
    return f'<div class="tiles">{parts}</div>'


def colours(names: Iterable[str]) -> dict[str, str]:
    """A colour for each name, in order; behind the eighth all are grey."""
    return {name: SERIES[place] if place < len(SERIES) else OTHER for place, name in enumerate(dict.fromkeys(names))}


def legend(of: Mapping[str, str]) -> str:
    if len(of) < 2:
        return ""
    return '<div class="legend">' + "".join(f'<span><i style="background:{colour}"></i>{escape(name)}</span>'
                                            for name, colour in of.items()) + "</div>"


def bars(rows: Mapping[str, Mapping[str, float]], unit: str, *, whole: float | None = None, of: Mapping[str, str] | None = None,
         form: str = "", told: str = "") -> str:
    """Stacked bars: a row of named parts each, all of one scale. `whole`: the length of a full bar, by default the longest row.

    of      colours of the parts, by default made here, with a legend
    form    format of values in place of a quantity with its unit, such as "{:.1%}"
    told    the part whose value stands behind the bar; "": their sum
    """
    def said(value: float) -> str:
        return form.format(value) if form else quantity(value, unit) if value else f"0 {unit}"

    longest = whole or max((sum(parts.values()) for parts in rows.values()), default=0.0)
    if not longest:
        return ""
    chosen = dict(of) if of is not None else colours(name for parts in rows.values() for name, value in parts.items() if value)
    lines = []
    for name, parts in rows.items():
        pieces = "".join(
            f'<span style="width:{100 * value / longest:.3f}%;background:{chosen.get(part, OTHER)}" '
            f'title="{escape(name)}: {escape(part)} {escape(said(value))}"></span>'
            for part, value in parts.items() if value > _LEAST * longest)
        lines.append(f'<span class="name">{escape(name)}</span><span class="track">{pieces}</span>'
                     f'<span class="value">{escape(said(parts[told] if told else sum(parts.values())))}</span>')
    return legend(chosen) + f'<div class="bars">{"".join(lines)}</div>'


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], numbers: Iterable[int] = ()) -> str:
    """A table; the columns `numbers` are set to the right. A cell that is HTML is an instance of Html."""
    right = set(numbers)

    def cells(kind: str, row: Sequence[object]) -> str:
        last = len(row) - 1
        return "".join(f'<{kind}{" class=n" if place in right else " class=last" if place == last > 2 else ""}>'
                       f"{cell if isinstance(cell, Html) else escape(cell)}</{kind}>" for place, cell in enumerate(row))

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{cells("th", heads)}</tr>{body}</table></div>'


def folded(title: str, *parts: str, name: str = "") -> str:
    """What is seen after a click. `name`: what a link jumps to."""
    return f'<details{f" id={name}" if name else ""}><summary>{escape(title)}</summary>{"".join(parts)}</details>'


class Html(str):
    """Text that is HTML already."""
