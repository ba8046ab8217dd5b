"""Studies of long prompts: from files, cut on their way, scored by halves, with the time to the first token."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from tiny_checkpoint import write_checkpoint

from isa.caches import PROGRAMS
from slimulator.command_line import command
from slimulator.explore.errors import StudyError
from slimulator.explore.plan import make_plan
from slimulator.explore.study import study_of
from slimulator.explore.sweep import sweep


def test_cuts_of_a_prompt_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Points with and without cuts score the same second half. What the second cut leaves out costs no time before the token."""
    monkeypatch.setattr(PROGRAMS, "root", tmp_path / "kept")
    model = write_checkpoint(tmp_path / "model", context=320)
    (tmp_path / "long.txt").write_text("ab ba " * 40, encoding="utf-8")
    (tmp_path / "text.txt").write_text("abba" * 90, encoding="utf-8")
    study = study_of({"model": "model/" + model.name, "tokens": 2, "prompt-file": "long.txt", "text": "text.txt", "score": 200,
                      "scored": "half", "axes": {"prune-tokens": ["none", "1:128", "ends@1:128"]}}, tmp_path)
    results = sweep(study, tmp_path / "out", workers=0)
    whole, cut, ends = results.rows
    assert results.count("done") == 3 and whole["scored_tokens"] == cut["scored_tokens"] < 200
    assert whole["prompt-file"] == str(tmp_path / "long.txt") and whole["prompt"] is None and whole["scored"] == "half"
    assert whole["seconds_to_first_token"] > cut["seconds_to_first_token"] > 0
    assert whole["bits_per_byte"] != cut["bits_per_byte"] == ends["bits_per_byte"]         # 128 tokens: both ends alone
    heads, *rows = results.shown()
    assert heads[2:5] == ["bits/byte", "first token", "time/token"] and all(len(row) == len(heads) for row in rows)


@pytest.mark.parametrize(("axes", "words"), [
    ({"scored": "half"}, ["scored", "without a text"]), ({"text": __file__, "scored": "third"}, ["scored", "half, or none"]),
    ({"prompt-file": "nowhere"}, ["prompt-file", "nowhere", "no such file"]),
    ({"prompt-file": __file__, "prompt": "a"}, ["prompt-file", "given with prompt", "one of them"]),
    ({"prompt-file": __file__, "shape": "15m"}, ["prompt-file", "random weights", "--depth"]),
    ({"prune-tokens": "1:128,x"}, ["--prune-tokens", "'x'"])])
def test_what_means_nothing(axes: dict[str, str], words: list[str]) -> None:
    with pytest.raises(StudyError) as error:
        make_plan(study_of({"axes": axes}, Path()))
    assert all(word in str(error.value) for word in words), str(error.value)


def test_an_option_is_one_value_where_values_have_commas(tmp_path: Path) -> None:
    said = ["--prune-tokens", "1:256,3:128", "--prune-tokens", "none", "--dry-run", "--out", str(tmp_path)]
    result = CliRunner().invoke(command, ["sweep", *said])
    assert result.exit_code == 0 and "2 points: prune-tokens (2)" in result.output, result.output
