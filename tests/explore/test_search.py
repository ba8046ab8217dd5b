"""Search: the same points for a seed, whoever does them; fewer of them than all; a front like that of all."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from tiny_checkpoint import write_checkpoint

import slimulator
from isa.caches import PROGRAMS
from slimulator.explore.errors import StudyError
from slimulator.explore.search import objectives_of, search
from slimulator.explore.study import Study, study_of
from slimulator.explore.sweep import sweep

needs_optuna = pytest.mark.skipif(not find_spec("optuna"), reason="needs the extra explore")


@pytest.fixture(autouse=True)
def _kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PROGRAMS, "root", tmp_path / "kept")


@pytest.fixture
def study(tmp_path: Path) -> Study:
    model = write_checkpoint(tmp_path / "m")
    return Study.of(model=str(model), tokens=3, prompt="abc", weights=["t2", "i4:16", "i8", "f32"], kv=["f32", "i8"],
                    **{"region.sram.size": ["1K", "16K", "64K"]})


@needs_optuna
def test_a_seed_says_which_points(study: Study, tmp_path: Path) -> None:
    first = search(study, ("joules_per_token", "seconds_per_token"), 12, tmp_path / "a", seed=3, workers=0)
    again = search(study, ("joules_per_token", "seconds_per_token"), 12, tmp_path / "b", seed=3, workers=2)
    other = search(study, ("joules_per_token", "seconds_per_token"), 12, tmp_path / "a", seed=4, workers=0)
    assert first.hash == again.hash != other.hash and len(first) == 12
    points = [tuple(row[name] for name in ("weights", "kv", "region.sram.size")) for row in first.rows]
    assert [row["same_as"] for row in first.rows] == [
        points.index(point) + 1 if point in points[:place] else None for place, point in enumerate(points)]
    assert {row["status"] for row in first.rows} <= {"done", "refused"}          # 1K is refused, and the search goes on


@needs_optuna
def test_it_finds_the_best_point(study: Study, tmp_path: Path) -> None:
    best = sweep(study, tmp_path / "all", workers=0).front("joules_per_token")[0]["joules_per_token"]
    found = search(study, ("joules_per_token",), 40, tmp_path / "some", workers=0)
    assert found.front("joules_per_token")[0]["joules_per_token"] == best


@needs_optuna
def test_the_command_prints_the_front(study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(study.axes["model"][0])
    assert slimulator.invoke(["sweep", model, "--weights", "t2,i8", "--prompt", "abc", "-n", "3", "--optimise", "joules_per_token",
                              "--trials", "4", "--seed", "1", "--workers", "1", "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "what no other point beats:" in out and "t2" in out.partition("what no other")[2]
    assert slimulator.invoke(["sweep", model, "--trials", "4"]) == 2


@needs_optuna
def test_a_mistake_in_any_value_is_said_before_anything_runs(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from slimulator.explore import search as searches
    wrong = study.with_axes({"region.sram.size": ["64K", "32K", -1]})
    for most in (10_000, 1):                                    # few points are all planned, of many each value
        monkeypatch.setattr(searches, "_MOST_PLANNED", most)
        with pytest.raises(StudyError, match=r"sram\.size=-1"):
            search(wrong, ("joules",), 1, tmp_path / "out", workers=0)
        assert not (tmp_path / "out").exists()


@needs_optuna
def test_a_batch_need_not_use_what_the_study_uses(study: Study, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("a text of some words. " * 20, encoding="utf-8")
    model = study.axes["model"]
    of = Study.of(model=model, tokens=2, prompt="abc", prune=[None, "wanda:2:4"], calibrate=[None, str(words)])
    rows = search(of, ("joules",), 10, tmp_path / "out", workers=0).rows
    assert {row["status"] for row in rows} <= {"done", "refused"}
    search(Study.of(model=model, tokens=2, text=[None, str(words)], score=3), ("joules",), 1, tmp_path / "out", workers=0)


def test_what_cannot_be_optimised_says_why(study: Study) -> None:
    with pytest.raises(StudyError, match="did you mean 'joules_per_token'"):
        objectives_of("joules_per_tokens", study)
    with pytest.raises(StudyError, match="without a text"):
        objectives_of("bits_per_byte", study)
    with pytest.raises(StudyError, match="each column once"):
        objectives_of("joules,joules", study)
    assert objectives_of("cycles, dram.bytes_read", study) == ("cycles", "dram.bytes_read")


def test_a_list_is_searched_too() -> None:
    from slimulator.explore.search import _chosen

    class Last:
        def suggest_categorical(self, name: str, values: list[int]) -> int:
            return values[-1]

    of = study_of({"axes": {"kv": ["f32", "i8"]}, "points": [{"weights": "t2"}, {"weights": "i8"}]}, Path())
    assert _chosen(of, Last()) == {"kv": "i8", "weights": "i8"}
