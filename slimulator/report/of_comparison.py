"""The report of a comparison: each figure as bars, energy by unit, what ran when, the table with ratios, each run in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from emulator.observe.cost import quantity
from isa.preset import Preset, PresetError, load_preset
from slimulator.explore.baseline import SAID
from slimulator.explore.compare import CPU, Compared, rows
from slimulator.report.marks import OTHER, STILL, bars, colours, escape, folded, section, table
from slimulator.report.of_run import WHEN, Subject, commands, details_of, figures_of, short
from slimulator.report.page import page

_STILL = "standing still"
_MOST = 12                      # operations that are shown at once


def report_of_comparison(several: Sequence[Compared], lines: Sequence[str], runs: Mapping[str, Subject]) -> str:
    """The whole page. `lines`: the commands that make it again; `runs`: by name, those that ran now and were looked at."""
    heads, *cells = rows(several)
    parts = [section("Side by side", "What differs first; in brackets the ratio to the first.",
                     table(heads, cells, range(1, len(heads))), source=True)]
    for name, title, unit in (("seconds_per_token", "Time a token", "s"), ("joules_per_token", "Energy a token", "J")):
        known = {each.name: {title: each.row[name]} for each in several if each.row.get(name)}
        cpu = several[0].row.get(f"cpu_{name}")
        parts.append(section(title, f"{CPU[0].upper()}{SAID[1:]}.", bars(known | ({CPU: {CPU: cpu}} if cpu else {}), unit,
                                                                         of={title: "var(--s1)", CPU: OTHER}), source=True))
    shown: dict[str, dict[str, float]] = {}
    units: dict[str, None] = {}
    for each in several:
        joules = {key.partition(".")[2]: value for key, value in each.row.items() if key.startswith("joules.") and value}
        units |= dict.fromkeys(joules)
        still = each.row.get("joules_standing")
        shown[each.name] = joules | ({_STILL: float(still)} if still else {})
    parts.append(section("Energy by unit and memory", "Of the whole run.", bars(shown, "J", of=colours(units) | {_STILL: STILL}),
                         source=True))
    parts.append(section(WHEN, "A track for each queue and memory. The first stretch of each run, each with its own scale.",
                         *(f"<h3>{escape(name)}</h3>{run.timeline}" for name, run in runs.items() if run.timeline), source=True))
    parts += [_operations(runs), *(folded(f"{name}: queues, energy by event, rooflines, traffic, layers, memory map, counters",
                                          *details_of(run)) for name, run in runs.items())]
    if len(runs) < len(several):
        parts.append('<p class="soft small">Points of a sweep keep no timeline: <code>slimulator generate --report</code> with the '
                     "settings of a point shows it.</p>")
    machines = {preset.name: preset for each in several if (preset := _machine(each, runs))}
    return page(" and ".join(each.name for each in several), f"{len(several)} results side by side",
                [*parts, commands(lines), figures_of(*machines.values())])


def _machine(each: Compared, runs: Mapping[str, Subject]) -> Preset | None:
    """The machine of a result, None for one whose file is not there any more. Of a point of a sweep it is that without changes."""
    if each.name in runs:
        return runs[each.name].cost.preset
    try:
        return load_preset(str(each.settings.get("machine") or "slim"))
    except (PresetError, OSError):
        return None


def _operations(runs: Mapping[str, Subject]) -> str:
    """How long each operation of the model takes in each run, the longest of the first run first."""
    if len(runs) < 2:
        return ""
    found: dict[str, dict[str, float]] = {}
    for name, run in runs.items():
        for operation, part in run.operations.items():
            times = found.setdefault(short(operation), {})
            times[name] = times.get(name, 0.0) + (part["seconds"] or 0.0)
    order = sorted(found.items(), key=lambda item: -max(item[1].values()))
    lines = [(operation, *(quantity(times[name], "s") if times.get(name) else "" for name in runs)) for operation, times in order]
    heads, right = ("operation", *runs), range(1, len(runs) + 1)
    return section("Operations side by side", "The time by which each has moved the end of the run, all layers together.",
                   table(heads, lines[:_MOST], right),
                   folded("all of them", table(heads, lines, right)) if len(lines) > _MOST else "", source=True)
