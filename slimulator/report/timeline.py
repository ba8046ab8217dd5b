"""What ran when, as a picture: a track for each queue and memory, a rectangle for each operation.

The slices are those that emulator/observe/timeline.py writes for Perfetto; here is a stretch of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from isa.instruction import TABLE
from slimulator.report.marks import OTHER, SERIES, escape, legend

MOST = 4000                 # slices in a page
_WIDE, _TRACK = 1000, 30    # of the picture, and of a track in it
_EVENTS = 8                 # counters that a slice tells
_WAITING, _MODEL = "waiting", "operation of the model"
_COLOURS = {"vec": 1, "lut": 2, "fetch": 3, _WAITING: 4, "thr": 5, "attn": 6, "pim": 7, "cim": 7, "sp": 8}
"""Of kinds of slices, the same in each picture; others are grey."""


def slices(path: Path) -> tuple[dict[int, str], list[dict[str, Any]]]:
    """Names of tracks by number, and slices: track, name, start and end in microseconds, what they are in, and their events."""
    events: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    names = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    open_of: dict[int, list[dict[str, Any]]] = {}
    found = []
    for event in events:
        stack = open_of.setdefault(event["tid"], [])
        if event["ph"] == "B":
            stack.append(event)
        elif event["ph"] == "E" and stack:
            begun = stack.pop()
            if "cycles" in begun.get("args", {}):
                found.append({"track": event["tid"], "name": begun["name"], "start": begun["ts"], "end": event["ts"],
                              "within": [outer["name"] for outer in stack], "args": begun["args"]})
    return names, found


def picture(path: Path) -> str:
    """The timeline of a file, "" for one without slices."""
    names, found = slices(path)
    found = [each for each in found if each["end"] > each["start"]]
    if not found:
        return ""
    used = {each["track"] for each in found}
    tracks = {number: place for place, number in enumerate(number for number in names if number in used)}
    first, last = min(each["start"] for each in found), max(each["end"] for each in found)
    kinds = {kind: SERIES[_COLOURS[kind] - 1] if kind in _COLOURS else OTHER for kind in dict.fromkeys(map(_kind, found))}
    high = _TRACK * len(tracks)
    parts = []
    for number, place in tracks.items():
        parts.append(f'<line class="grid" x1="0" x2="{_WIDE}" y1="{_TRACK * (place + 1)}" y2="{_TRACK * (place + 1)}"/>')
        for each in found:
            if each["track"] == number:
                x, wide = (_WIDE * part / (last - first) for part in (each["start"] - first, each["end"] - each["start"]))
                parts.append(f'<rect data-w x="{x:.3f}" y="{_TRACK * place + 6}" width="{max(wide, 0.02):.3f}" '
                             f'height="{_TRACK - 12}" fill="{kinds.get(_kind(each), OTHER)}">'
                             f"<title>{escape(chr(10).join(_told(each)))}</title></rect>")
    labels = "".join(f'<div style="height:{_TRACK}px;line-height:{_TRACK}px">{escape(names[number].removeprefix("queue "))}</div>'
                     for number in tracks)
    return (f'<div class="timeline"><button class="in">closer</button><button class="out">wider</button><button class="all">all'
            f"</button>{legend(kinds)}"
            f'<div style="display:flex;gap:8px"><div class="small soft" style="flex:none">{labels}</div>'
            f'<div class="scroll wide" style="flex:1"><svg viewBox="0 0 {_WIDE} {high}" preserveAspectRatio="none" height="{high}" '
            f'style="height:{high}px" role="img" aria-label="timeline">{"".join(parts)}</svg></div></div>'
            f'<div class="small soft">{len(found):,} slices, {last - first:,.1f} us</div>'
            '<p class="told">Choose a slice: it says what it is, its source line and its events.</p></div>')


def _kind(each: dict[str, Any]) -> str:
    """What gives a slice its colour: waiting, or the unit of an instruction; operations of a model are named differently."""
    name = str(each["name"])
    return _WAITING if name.startswith("waits") else name.partition(".")[0] if name in TABLE else _MODEL


def _told(each: dict[str, Any]) -> Iterator[str]:
    args = each["args"]
    yield f"{each['name']}: {args['cycles']:,} cycles from {each['start']:,.3f} us"
    if each["within"]:
        yield " / ".join(each["within"])
    if args.get("line"):
        yield str(args["line"])
    events = [f"{name} {count:,}" for name, count in args.items() if "." in name and isinstance(count, int)]
    if events:
        yield ", ".join(events[:_EVENTS])
