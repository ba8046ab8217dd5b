"""The studies that ship: each is planned without an error, is on the page with table and figure, and gives what the page says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from children import LIMIT

from programs.studies import remember
from slimulator.explore.plan import make_plan
from slimulator.explore.studies import FIGURES, ORDER, STUDIES, figure
from slimulator.explore.study import read_study
from slimulator.explore.sweep import sweep

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")


def test_every_study_is_on_the_page() -> None:
    assert sorted(ORDER) == sorted(FIGURES) == sorted(path.stem for path in STUDIES.glob("*.toml"))
    for name in ORDER:
        study = read_study(STUDIES / f"{name}.toml")
        assert study.title in PAGE and study.finding.strip() in PAGE and f"programs/studies/{name}.toml" in PAGE
        assert f"studies/{name}.svg" in PAGE and (ROOT / "docs" / "studies" / f"{name}.svg").is_file()


@pytest.mark.parametrize("name", ORDER)
def test_a_study_is_planned(name: str) -> None:
    plan = make_plan(read_study(STUDIES / f"{name}.toml"))
    assert 4 <= len(plan.points) <= 12 and not any(point.refused for point in plan.points)


def test_the_page_is_what_a_study_gives(tmp_path: Path) -> None:
    """The quickest one; the others take minutes: python -m slimulator.explore.studies out/studies docs."""
    results = sweep(read_study(STUDIES / "scratchpad.toml"), tmp_path, workers=0)
    for row in results.shown()[1:]:
        assert f"| {' | '.join(cell for cell in row if cell)} |" in PAGE
    drawn, kept = figure("scratchpad", results), (ROOT / "docs" / "studies" / "scratchpad.svg").read_text(encoding="utf-8")
    texts = re.compile(r"<text[^>]*>([^<]*)")
    assert texts.findall(drawn) == texts.findall(kept) and drawn.count("<circle") == kept.count("<circle") == len(results)


@pytest.mark.parametrize(("file", "arguments"), [("stories.txt", []), ("calibration.txt", ["12", "8000"])])
def test_the_stories_follow_from_their_rules(file: str, arguments: list[str]) -> None:
    made = subprocess.run([sys.executable, STUDIES / "stories.py", *arguments], capture_output=True, timeout=LIMIT, check=True)
    assert made.stdout == (STUDIES / file).read_bytes()


def test_the_long_story_follows_from_its_rules() -> None:
    assert remember.text() == (STUDIES / "remember.txt").read_text(encoding="utf-8")
