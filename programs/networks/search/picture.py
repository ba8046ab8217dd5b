"""The picture of a run: what search and chance found, and the finished networks, by time and by flash."""

from __future__ import annotations

from typing import Any

from programs.networks.search.search import CHANCE, SEARCH
from slimulator.report.plots import Axis, Dot, Line, alone

TICKS = (1, 2, 3, 5, 10, 20, 50)
HIGH = 420                      # of one picture and the space below it


def pareto(figures: dict[str, Any]) -> str:
    """SVG, two pictures one above the other. `figures` are those of stages.Run.all."""
    right = [one["accuracy"] for runs in figures["search"].values() for run in runs for one in run["trials"]]
    right += [one["accuracy_held_out"] for _, _, one in _networks(figures)]
    error = Axis("error, %", log=True, ticks=[mark for mark in TICKS if mark >= _error(max(right))])
    by = (("ms", Axis("ms an image on the machine"), 1), ("flash", Axis("flash, KiB (pointed at, a dot says RAM)"), 1024))
    pictures = [alone(axis, error, [*_candidates(figures, key, unit), *_finished(figures, key, unit)],
                      [_front(figures, kind, key, unit) for kind in (SEARCH, CHANCE)]) for key, axis, unit in by]
    size = 'viewBox="0 0 640 {0}" width="640" height="{0}"'.format(HIGH * len(pictures))
    placed = "".join(picture.replace("<svg ", f'<svg y="{HIGH * i}" ', 1) for i, picture in enumerate(pictures))
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">{placed}</svg>\n'


def _error(accuracy: float, least: float = 0.001) -> float:
    return 100 * max(1 - accuracy, least)


def _text(one: dict[str, Any], accuracy: float) -> str:
    return f"{accuracy:.2%}, {one['flash']:,} bytes of flash, {one['ram']:,} of RAM, {one['ms']:.2f} ms"


def _candidates(figures: dict[str, Any], key: str, unit: float) -> list[Dot]:
    return [Dot(one[key] / unit, _error(one["accuracy"]), f"by {kind}", _text(one, one["accuracy"]), size=3)
            for kind in (CHANCE, SEARCH) for run in figures["search"][kind] for one in run["trials"]]


def _finished(figures: dict[str, Any], key: str, unit: float) -> list[Dot]:
    """Of held-out images, in int8."""
    return [Dot(one[key] / unit, _error(one["accuracy_held_out"]), f"finished, {kind}", _text(one, one["accuracy_held_out"]), label,
                size=7) for kind, label, one in _networks(figures)]


def _networks(figures: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Kind, text beside it and figures of finished networks; the last one is that which is kept."""
    return [*((kind, "", one) for kind, many in figures["networks"].items() for one in many), (SEARCH, "kept", figures["network"])]


def _front(figures: dict[str, Any], kind: str, key: str, unit: float) -> Line:
    """The least error so far, from small to large, over all repeats."""
    points, least = list[tuple[float, float]](), 101.0
    trials = [one for run in figures["search"][kind] for one in run["trials"]]
    for one in sorted(trials, key=lambda one: (one[key], -one["accuracy"])):
        if _error(one["accuracy"]) < least:
            points += [(one[key] / unit, least)] if points else []
            least = _error(one["accuracy"])
            points.append((one[key] / unit, least))
    return Line(points, f"by {kind}")
