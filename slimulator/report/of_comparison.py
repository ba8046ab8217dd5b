"""The report of a comparison: each figure as bars, energy by unit, then the table with ratios."""

from __future__ import annotations

from collections.abc import Sequence

from slimulator.explore.baseline import SAID
from slimulator.explore.compare import CPU, Compared, rows
from slimulator.report.marks import OTHER, bars, colours, section, table
from slimulator.report.of_run import commands
from slimulator.report.page import page

_STILL = "standing still"


def report_of_comparison(several: Sequence[Compared], lines: Sequence[str]) -> str:
    """The whole page. `lines`: the commands that make it again."""
    parts = []
    for name, title, unit in (("seconds_per_token", "Time a token", "s"), ("joules_per_token", "Energy a token", "J")):
        known = {each.name: {title: each.row[name]} for each in several if each.row.get(name)}
        cpu = several[0].row.get(f"cpu_{name}")
        parts.append(section(title, f"{CPU[0].upper()}{SAID[1:]}.", bars(known | ({CPU: {CPU: cpu}} if cpu else {}), unit,
                                                                         of={title: "var(--s1)", CPU: OTHER})))
    shown: dict[str, dict[str, float]] = {}
    units: dict[str, None] = {}
    for each in several:
        joules = {key.partition(".")[2]: value for key, value in each.row.items() if key.startswith("joules.") and value}
        units |= dict.fromkeys(joules)
        still = each.row.get("joules_standing")
        shown[each.name] = joules | ({_STILL: float(still)} if still else {})
    parts.append(section("Energy by unit and memory", "Of the whole run.", bars(shown, "J", of=colours(units) | {_STILL: OTHER})))
    heads, *cells = rows(several)
    parts.append(section("Side by side", "What differs first; in brackets the ratio to the first.", table(heads, cells)))
    return page(" and ".join(each.name for each in several), f"{len(several)} results side by side", [*parts, commands(lines)])
