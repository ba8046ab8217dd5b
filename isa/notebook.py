"""What objects show in a notebook, and as tables of pandas: `_repr_html_` and `to_pandas` of machines, programs, presets, counters.

    as_html(["counter", "events"], [["lut.macs", 32]], "counters")      a small table, without styles of its own
    as_frame(["counter", "events"], [["lut.macs", 32]])                 a DataFrame

pandas is imported when a table is asked for; the extra `explore` has it.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

from isa.text import printable

MOST_ROWS = 60                  # of a table in a notebook


def as_html(heads: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> str:
    """A table as HTML; cells as text, numbers to the right. Of more than MOST_ROWS rows the last line says how many there are."""
    rows = list(rows)
    lines = ["<tr>" + "".join(f"<th>{html.escape(head)}</th>" for head in heads) + "</tr>"]
    lines += ["<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows[:MOST_ROWS]]
    if len(rows) > MOST_ROWS:
        lines.append(f'<tr><td colspan="{len(heads)}">... {len(rows) - MOST_ROWS:,} more rows</td></tr>')
    caption = f"<caption>{html.escape(title)}</caption>" if title else ""
    return f"<table>{caption}{''.join(lines)}</table>"


def _cell(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"<td>{html.escape(printable('' if value is None else str(value)))}</td>"
    return f'<td style="text-align:right">{f"{value:,}" if isinstance(value, int) else f"{value:.4g}"}</td>'


def as_frame(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Any:
    """A pandas DataFrame. Raises ImportError where pandas is not installed."""
    try:
        from pandas import DataFrame
    except ImportError as error:
        raise ImportError("tables need pandas: pip install 'slimulator[explore]'") from error
    return DataFrame([list(row) for row in rows], columns=list(heads))
