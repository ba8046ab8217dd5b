"""Nothing that a source can grow costs more than in proportion: the lines of the assembler that are executed are counted."""

from __future__ import annotations

import math
import random
import sys
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import asm
from asm import assemble, assemble_with_listing, layout
from asm.expressions import Lookup
from asm.fragments import AssemblySection
from benchmarks.bench_growth import CASES
from isa.preset import Preset

ROOM = str(Path(asm.__file__).parent)
SMALL, LARGE = 300, 1200
# 4 KiB matter to these, or a pass would take one link of them. How many passes they take, for any number.
PASSES = {"branches far away": 16, "branches of one reach": 16, "branches of twice the reach": 16, "branches forwards": 4,
          "chained branches": 4, "a chain of reaches": 16, "a chain of skips upwards": 16, "LEB128 of what follows": 4,
          "LEB128 around each other": 8, "sections at each other": 4, "sections below each other": 4}


def executed(source: str) -> int:
    """How many lines of asm/ assembling executes: the same on every host."""
    count = 0

    def line(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return line

    def call(frame: FrameType, event: str, argument: Any) -> Any:
        return line if frame.f_code.co_filename.startswith(ROOM) else None

    before = sys.gettrace()
    sys.settrace(call)
    try:
        assemble_with_listing(source)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("name", [name for name in CASES if name not in PASSES])
def test_work_grows_in_proportion(name: str) -> None:
    executed(CASES[name](10))                           # tables are made once
    base = executed(CASES[name](0 if name != "parameters of a macro" else 2))
    small, large = (executed(CASES[name](size)) - base for size in (SMALL, LARGE))
    assert math.log(max(large, 1) / max(small, 1)) / math.log(LARGE / SMALL) < 1.15, (small, large)


@pytest.mark.parametrize(("name", "most"), PASSES.items())
def test_the_layout_takes_few_passes(name: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many lines there are; each pass costs in proportion."""
    passes = counted_passes(monkeypatch)
    assert assemble_with_listing(CASES[name](2000)).program is not None
    assert passes[0] <= most


def counted_passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list of one number: the passes of the layout from now on."""
    place, passes = layout._place, [0]

    def counted(sections: list[AssemblySection], machine: Preset, lookup: Lookup) -> bool:
        passes[0] += 1
        return place(sections, machine, lookup)

    monkeypatch.setattr(layout, "_place", counted)
    return passes


def scattered(links: int) -> str:
    """A chain of sizes, each 4 more or less than the next one, whose links lie in any order."""
    order = random.Random(1).sample(range(links), links)
    following = dict(pairwise(order))
    return "".join(f"l{i}: .skip ((m{following[i]} - l{following[i]}) ^ 4)\nm{i}:\n" if i in following else
                   f"l{i}: .skip (e - s) & 4\nm{i}:\n" for i in range(links)) + "s: .balign 4\n nop\ne:\n"


def test_passes_have_a_limit_that_is_lower_for_larger_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain in scattered order takes a pass for a few links; with many it is an error, after no more work than that."""
    monkeypatch.setattr(layout, "VISITS", 20_000)
    passes = counted_passes(monkeypatch)
    short = assemble(scattered(100))
    assert layout.IN_ORDER < passes[0] <= 50 and short.sections[0].size == 50 * 4 + 4
    for links, most in ((300, 33), (1000, layout.PASSES_LEAST)):
        passes[0] = 0
        (diagnostic,) = assemble_with_listing(scattered(links)).diagnostics
        assert "does not converge" in diagnostic.message and passes[0] == most
