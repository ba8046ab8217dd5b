"""The report of one run: what it took, where the time and the energy went, what ran when, what lies where.

    text = report_of(Subject(...))
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from emulator.observe.cost import Cost, quantity
from emulator.observe.tensors import Tensors
from isa.counters import COUNTERS
from isa.manual import machine_answer
from isa.manual.document import Table
from isa.preset import Preset
from isa.program import Program
from slimulator.report.marks import STILL, bars, colours, escape, folded, section, table, tiles
from slimulator.report.page import page
from slimulator.report.plots import Axis, Dot, Line, plot

WHEN = "What ran when"
_STILL = "standing still"
_MOST = 14                      # rows of a picture of operations
_STATES = {"at work": "var(--s1)", "waiting": "var(--s4)", "idle": "var(--line)"}
_PER_EVENT = {"vec": "vec.macs_per_cycle", "attn": "attn.macs_per_cycle", "sp": "sp.values_per_cycle"}


@dataclass(frozen=True)
class Subject:
    """A run that has ended.

    operations, layers   what a Breakdown by operation and by layer has found, as JSON; {} where there is none
    tensors              bytes by tensor, and what thresholds left (emulator/observe/tensors.py); None where nothing looked
    timeline             its picture (timeline.py)
    text                 what the program said
    """

    title: str
    about: str
    commands: Sequence[str]
    cost: Cost
    counters: Mapping[str, int]
    program: Program
    operations: Mapping[str, Any] = field(default_factory=dict)
    layers: Mapping[str, Any] = field(default_factory=dict)
    tensors: Tensors | None = None
    timeline: str = ""
    text: str = ""


def report_of(subject: Subject) -> str:
    """The whole page."""
    cost = subject.cost
    parts = [
        tiles(_headline(cost)),
        section("What it says", "", f"<pre>{escape(subject.text)}</pre>") if subject.text else "",
        section(WHEN, "A track for each queue and memory. The first stretch of the run.", subject.timeline, source=True),
        *details_of(subject), commands(subject.commands), figures_of(cost.preset)]
    return page(subject.title, subject.about, parts)


def details_of(subject: Subject) -> Iterator[str]:
    """The sections about where time, energy and bytes went."""
    yield from _time(subject.cost)
    yield from _energy(subject.cost)
    yield from _rooflines(subject)
    yield from _operations(subject)
    yield from _traffic(subject)
    yield from _layers(subject)
    yield _memory_map(subject.program, subject.cost.preset)
    yield counters_of(subject.counters)


def _headline(cost: Cost) -> Iterator[tuple[str, str]]:
    time, energy = cost.time, cost.energy
    if time is None:
        return
    yield "time on the machine", quantity(time.seconds, "s")
    if rate := time.tokens_per_second:
        yield "a token, after the first", quantity(1 / rate, "s")
        yield "tokens a second", f"{rate:,.4g}"
    if energy is not None:
        yield "energy", quantity(energy.joules, "J")
        if time.tokens:
            yield "energy a token", quantity(energy.joules / time.tokens, "J")
    if time.critical_path:
        name, cycles = max(time.critical_path.items(), key=lambda item: item[1])
        yield f"bottleneck, {100 * cycles / max(1, time.cycles):.0f} % of the time", name


def _time(cost: Cost) -> Iterator[str]:
    time = cost.time
    if time is None:
        return
    rows = {name: {"at work": queue.busy / time.cycles, "waiting": sum(queue.waiting.values()) / time.cycles,
                   "idle": queue.idle / time.cycles}
            for name, queue in time.queues.items() if queue.busy or queue.waiting} if time.cycles else {}
    waits = [(name, reason, f"{100 * cycles / time.cycles:.1f} %") for name, queue in time.queues.items()
             for reason, cycles in sorted(queue.waiting.items(), key=lambda item: -item[1]) if cycles]
    yield section("At work, waiting, idle", "Shares of the whole time, of each queue that had something to do.",
                  bars(rows, "", whole=1.0, of=_STATES, form="{:.1%}", told="at work"),
                  folded("what they waited for", table(("queue", "for", "share"), waits, [2])), source=True)
    path = {name: cycles / time.clock_hz for name, cycles in sorted(time.critical_path.items(), key=lambda item: -item[1])}
    yield section("What the time consists of", "The critical path: what the end of the run has waited for.",
                  bars({"the run": path}, "s"), source=True)


def _energy(cost: Cost) -> Iterator[str]:
    if cost.energy is None:
        return
    events: dict[str, dict[str, float]] = {}
    for name, joules in cost.energy.by_event.items():
        if joules:
            events.setdefault(name.partition(".")[0], {})[name.partition(".")[2].replace("_", " ")] = joules
    for name, joules in cost.energy.static.items():
        if joules:
            events.setdefault(name, {})[_STILL] = joules
    order = dict(sorted(events.items(), key=lambda item: -sum(item[1].values())))
    totals: dict[str, float] = {}
    for parts in order.values():
        for name, joules in parts.items():
            totals[name] = totals.get(name, 0) + joules
    rows = [(owner, name, quantity(joules, "J")) for owner, parts in order.items()
            for name, joules in sorted(parts.items(), key=lambda item: -item[1])]
    yield section("Energy", "By unit and memory, and by event; standing still is what they take without doing anything.",
                  bars(order, "J", of=colours(name for name in sorted(totals, key=lambda name: -totals[name]) if name != _STILL)
                       | ({_STILL: STILL} if _STILL in totals else {})),
                  folded("as a table", table(("of", "event", "energy"), rows, [2])), source=True)


def macs(counters: Mapping[str, int]) -> int:
    """Products of all units."""
    return sum(count for name, count in counters.items() if name.endswith(".macs"))


def moved(counters: Mapping[str, int], region: str) -> int:
    """Bytes that a memory has given and taken."""
    return counters.get(f"{region}.bytes_read", 0) + counters.get(f"{region}.bytes_written", 0)


def bandwidth(preset: Preset, region: str) -> float:
    """Bytes a second of a region, at most; 0 where that is not known."""
    if preset.rates is None:
        return 0.0
    if (each := preset.rates.get(f"{region}.bytes_per_cycle")) is not None:
        return float(each * preset.clock_hz)
    memory = preset.memory(region) if region in preset.file.region else None
    return float(10 ** 12 / memory.byte_ps()) if memory is not None else 0.0


def ceilings(preset: Preset, counters: Mapping[str, int]) -> dict[str, float]:
    """Products a second of each unit that has made some, at most. A step of the lut unit is as many products as it was here."""
    rates, found = preset.rates or {}, {}
    for unit, rate in _PER_EVENT.items():
        if rate in rates and counters.get(f"{unit}.macs"):
            found[unit] = float(rates[rate] * preset.clock_hz)
    if counters.get("lut.steps") and "lut.steps_per_cycle" in rates:
        found["lut"] = float(rates["lut.steps_per_cycle"] * preset.clock_hz) * counters.get("lut.macs", 0) / counters["lut.steps"]
    return found


def _rooflines(subject: Subject) -> Iterator[str]:
    preset, pictures = subject.cost.preset, []
    parts = {name: part for name, part in subject.operations.items() if part.get("seconds") and macs(part["counters"])}
    roofs = ceilings(preset, subject.counters)
    for region in (region.name for region in preset.regions):
        wide = bandwidth(preset, region)
        dots = [Dot(macs(part["counters"]) / many, macs(part["counters"]) / part["seconds"], "",
                    f"{name}\n{macs(part['counters']):,} products, {many:,} bytes of {region}, {quantity(part['seconds'], 's')}",
                    size=4.0) for name, part in parts.items() if (many := moved(part["counters"], region))]
        if not dots or not wide:
            continue
        ridges = [peak / wide for peak in roofs.values()] or [max(dot.x for dot in dots)]
        low, far = min(*ridges, *(dot.x for dot in dots)) / 1.5, max(*ridges, *(dot.x for dot in dots)) * 1.5
        lines = [Line([(low, wide * low), (max(ridges), wide * max(ridges))])]
        lines += [Line([(peak / wide, peak), (far, peak)], label=f"{unit}: {quantity(peak, '')} a second", dashed=True)
                  for unit, peak in roofs.items()]
        pictures.append(f"<h2 class=small>{escape(region)}: {quantity(wide, 'B/s')}</h2>" + plot(
            Axis(f"products for a byte of {region}", lambda value: f"{value:g}", log=True),
            Axis("products a second", lambda value: quantity(value, ""), log=True), dots, lines))
    yield section("Rooflines", "Every operation with products: how many for each byte, and how many a second. The slope is what "
                  "the memory gives, dashed lines are what units can do. Time is that by which the end of the run moved, so "
                  "what ran beside other work may lie above.", *pictures, source=True)


def _operations(subject: Subject) -> Iterator[str]:
    parts = sorted(subject.operations.items(), key=lambda item: -(item[1]["cycles"] or 0))
    rows = {short(name): {"time": part["seconds"]} for name, part in parts[:_MOST] if part["seconds"]}
    whole = [(short(name), f"{part['times']:,}", quantity(part["seconds"] or 0.0, "s"),
              "" if part["joules"] is None else quantity(part["joules"], "J")) for name, part in parts]
    yield section("Operations", "Those that took longest, all layers together.", bars(rows, "s"),
                  folded("all of them", table(("operation", "times", "time", "energy"), whole, [1, 2, 3]))) if rows else ""


def _traffic(subject: Subject) -> Iterator[str]:
    regions = [region.name for region in subject.cost.preset.regions if moved(subject.counters, region.name)]
    of = colours(regions)
    whole = {region: {"read": float(subject.counters.get(f"{region}.bytes_read", 0)),
                      "written": float(subject.counters.get(f"{region}.bytes_written", 0))} for region in regions}
    parts = {short(name): {region: float(moved(part["counters"], region)) for region in regions}
             for name, part in subject.operations.items()}
    chosen = dict(sorted(parts.items(), key=lambda item: -sum(item[1].values()))[:_MOST])
    yield section("Traffic", "Bytes that memories give and take, in all and for each operation with what it reads and writes.",
                  bars(whole, "B"), "<p></p>" if chosen else "", bars(chosen, "B", of=of))
    tensors = subject.tensors
    if tensors is None or not tensors.traffic:
        return
    many = dict(sorted(tensors.traffic.items(), key=lambda item: -sum(item[1].values())))
    of = colours([*regions, *(name for parts in many.values() for name in parts)])
    rows = [(name, region, f"{round(size):,}") for name, parts in many.items() for region, size in parts.items()]
    about = "Bytes that units have read and written of each, all layers together" + (
        ". " if tensors.whole else f", in their first {tensors.limit:,} operations. ")
    yield section("Traffic by tensor", about + "Weights that pass through the scratchpad count in both memories.",
                  bars(dict(list(many.items())[:_MOST]), "B", of=of),
                  folded("all of them", table(("tensor", "memory", "bytes"), rows, [2])))


def _layers(subject: Subject) -> Iterator[str]:
    rows = {}
    for name, part in subject.layers.items():
        counters = part["counters"]
        done, skipped = macs(counters), sum(count for key, count in counters.items() if key.endswith(".macs_skipped"))
        if skipped and name.startswith("layer"):
            rows[name] = {"zero weights": skipped / done, "others": 1 - skipped / done}
    yield section("Zeros by layer", "The share of products whose weight is zero.",
                  bars(rows, "", whole=1.0, of={"zero weights": "var(--s3)", "others": "var(--line)"}, form="{:.1%}",
                       told="zero weights"))
    found = {name: each for name, each in (subject.tensors.layers if subject.tensors else {}).items() if each.elements}
    shares = {name: {"computed": each.above / each.elements, "left alone": 1 - each.above / each.elements}
              for name, each in found.items()}
    cells = [(name, ", ".join(f"{threshold:.6g}" for threshold in each.thresholds), f"{each.elements:,}", f"{each.above:,}")
             for name, each in found.items()]
    yield section("Thresholds by layer", "The share of elements above the threshold of their layer: the neurons that are computed.",
                  bars(shares, "", whole=1.0, of={"computed": "var(--s1)", "left alone": "var(--line)"}, form="{:.1%}",
                       told="computed"),
                  table(("layer", "threshold", "compared", "above"), cells, [1, 2, 3]) if cells else "")


def short(name: str) -> str:
    """The name of an operation without its place in the program: "q = gemv.i8 attention_in, layer.q"."""
    place, _, what = name.partition(" ")
    chunk = " (prompt)" if place.startswith("chunk") else ""
    return what + chunk if "=" in what else name


def _memory_map(program: Program, preset: Preset) -> str:
    rows: dict[str, dict[str, float]] = {}
    lines = []
    for region in preset.regions:
        parts = {part.name: float(part.size) for part in program.sections
                 if "a" in part.flags and part.size and region.base <= part.address < region.base + region.size}
        if parts:
            rows[region.name] = parts
            lines += [(region.name, name, f"{int(size):,}") for name, size in parts.items()]
            lines.append((region.name, "of", f"{region.size:,}"))
    of = colours(name for parts in rows.values() for name in parts)
    each = [f"<h2 class=small>{escape(region)}</h2>" + bars({region: parts}, "B", of=of) for region, parts in rows.items()]
    return section("Memory map", "What the program takes of each memory; each bar has its own scale.", *each,
                   folded("in bytes", table(("memory", "section", "bytes"), lines, [2])))


# ------------------------------------------------------------------------------------------------ on every page


def counters_of(counters: Mapping[str, int]) -> str:
    return section("Counters", "Exact counts of events; slimulator isa counters says what each is.",
                   folded(f"{sum(map(bool, counters.values()))} counters that are not zero",
                          table(("counter", "events", "is"), [(name, f"{count:,}", COUNTERS[name].text)
                                                              for name, count in counters.items() if count], [1])))


def commands(lines: Sequence[str]) -> str:
    return section("Make it again", "The same command gives the same figures on every host.",
                   f"<pre>{escape(chr(10).join(lines))}</pre>") if lines else ""


def figures_of(*presets: Preset) -> str:
    """Every figure of machines, with its source."""
    parts = []
    for preset in presets:
        rows = [row for block in machine_answer(preset).blocks if isinstance(block, Table) for row in block.rows]
        parts.append(folded(f"{preset.name}: {preset.file.title}", table(("figure", "value", "source"), rows)))
    return f'<div id="figures">{section("Figures of the machine", "Each with its source, or why it is assumed.", *parts)}</div>'
