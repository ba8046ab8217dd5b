"""Nothing that a source can grow costs more than in proportion: the lines of the assembler that are executed are counted."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import asm
from asm import assemble_with_listing, layout
from asm.expressions import Lookup
from asm.fragments import AssemblySection
from benchmarks.bench_growth import CASES

ROOM = str(Path(asm.__file__).parent)
SMALL, LARGE = 300, 1200
REACH = ("branches far away", "branches of one reach", "branches forwards", "chained branches")     # 4 KiB matter to them


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


@pytest.mark.parametrize("name", [name for name in CASES if name not in REACH])
def test_work_grows_in_proportion(name: str) -> None:
    executed(CASES[name](10))                           # tables are made once
    base = executed(CASES[name](0 if name != "parameters of a macro" else 2))
    small, large = (executed(CASES[name](size)) - base for size in (SMALL, LARGE))
    assert math.log(max(large, 1) / max(small, 1)) / math.log(LARGE / SMALL) < 1.15, (small, large)


@pytest.mark.parametrize(("name", "most"), [*zip(REACH, (16, layout.SETTLE + 10, 4, 4), strict=True)])
def test_the_layout_takes_few_passes(name: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many branches there are; each pass costs in proportion."""
    walk, passes = layout._pass, [0]

    def counted(section: AssemblySection, lookup: Lookup, count: int, grow: bool) -> bool:
        passes[0] = count + 1
        return walk(section, lookup, count, grow)

    monkeypatch.setattr(layout, "_pass", counted)
    assert assemble_with_listing(CASES[name](8000)).program is not None
    assert passes[0] <= most
