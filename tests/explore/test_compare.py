"""compare and machines A B: what differs first, figures with ratios, a CPU beside them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_checkpoint import write_checkpoint

import slimulator
from isa.caches import PROGRAMS
from isa.preset import load_preset
from slimulator.explore.baseline import DESKTOP, on_cpu
from slimulator.explore.study import Study
from slimulator.explore.sweep import sweep


@pytest.fixture(autouse=True)
def _kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PROGRAMS, "root", tmp_path / "kept")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "m")


@pytest.mark.parametrize(("names", "words"), [
    (["nowhere"], ["nowhere: not here", "a machine, a program of a model, or results of a sweep"]),
    (["slimm"], ["did you mean 'slim'?"]),
    (["."], ["a folder without results.csv"]),
    ([__file__], ["no compiled program"]),
    (["slim", "--model", "nowhere"], ["model: nowhere: no such file"]),
    (["other.csv"], ["without their columns"]),
    (["bad.csv"], ["cycles is 'many'"]),
    (["refused.csv"], ["no point is done"]),
    (["refused.csv:1"], ["this point is refused: too small"]),
    (["refused.csv:7"], ["no point 7"]),
    (["refused.csv", "--model", "demo"], ["--model is for machines and programs"]),
])
def test_what_is_nothing_to_compare(names: list[str], words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                    capsys: pytest.CaptureFixture[str]) -> None:
    from slimulator.explore.compare import _NUMBERS
    monkeypatch.chdir(tmp_path)
    heads = ["point", "status", "reason", *_NUMBERS]
    Path("other.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    Path("bad.csv").write_text(",".join(heads) + "\n1,done," + ",many" * len(_NUMBERS) + "\n", encoding="utf-8")
    Path("bad.csv").write_text(Path("bad.csv").read_text().replace(",many", ",1", len(_NUMBERS) - 1), encoding="utf-8")
    Path("refused.csv").write_text(",".join(heads) + "\n1,refused,too small" + "," * len(_NUMBERS) + "\n", encoding="utf-8")
    assert slimulator.invoke(["compare", *names]) == 2
    said = capsys.readouterr().err
    assert all(word in said for word in words), said


def cells(text: str) -> dict[str, list[str]]:
    """Words of each row behind its name."""
    return {name: line.split()[len(name.split()):] for line in text.splitlines()
            for name in ("seconds per token", "joules per token", "cycles", "machine", "weights", "bits per byte") if
            line.startswith(name)}


def test_machines_beside_each_other(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert slimulator.invoke(["compare", "slim", "slim-llama", "--model", str(model), "--prompt", "abc", "-n", "4",
                              "--report", str(tmp_path / "c.html")]) == 0
    out = capsys.readouterr().out
    first, *_ = out.splitlines()
    assert first.split() == ["slim", "slim-llama", "a", "CPU"] and out.splitlines()[1].startswith("machine ")
    json_file = tmp_path / "g.json"
    found = {}
    for machine in ("slim", "slim-llama"):
        assert slimulator.invoke(["generate", str(model), "abc", "-n", "4", "--machine", machine, "--quiet", "--json",
                                  str(json_file)]) == 0
        found[machine] = json.loads(json_file.read_text())["time"]["cycles"]
    ratio = found["slim-llama"] / found["slim"]
    assert cells(out)["cycles"] == [f"{found['slim']:,}", f"{found['slim-llama']:,}", f"({ratio:.3g})"]
    assert "Side by side" in (tmp_path / "c.html").read_text() and "38.4 GB/s" in out


def test_programs_and_points_of_a_sweep(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = sweep(Study.of(model=str(model), weights=["t2", "i8"], tokens=4, prompt="abc", **{"region.sram.size": ["1K", "64K"]}),
                    tmp_path / "out", workers=0)
    program = tmp_path / "a.elf"
    assert slimulator.invoke(["compile", str(model), "--weights", "t2", "-o", str(program)]) == 0
    capsys.readouterr()
    assert slimulator.invoke(["compare", f"{tmp_path / 'out'}:2", f"{tmp_path / 'out'}:4", str(program), "--prompt", "abc", "-n",
                              "4"]) == 0
    out = capsys.readouterr().out
    joules = [row["joules_per_token"] for row in results.rows]
    assert out.splitlines()[0].split() == ["out:2", "out:4", "a.elf", "a", "CPU"]
    assert out.splitlines()[1].split()[:3] == ["model", str(model), str(model)] and cells(out)["weights"][:2] == ["t2", "i8"]
    assert f"({joules[3] / joules[1]:.3g})" in cells(out)["joules per token"]
    assert slimulator.invoke(["compare", str(tmp_path / "out")]) == 0                   # all points that are done
    assert capsys.readouterr().out.splitlines()[0].split()[:2] == ["out:2", "out:4"]


def test_what_cannot_be_compared_says_why(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep(Study.of(model=str(model), tokens=4, prompt="abc", **{"region.sram.size": ["1K", "64K"]}), tmp_path / "out", workers=0)
    for name, status, words in (("slimm", 2, "did you mean 'slim'?"), (f"{tmp_path / 'out'}:9", 2, "no point 9; expected 1 to 2"),
                                (f"{tmp_path / 'out'}:1", 2, "this point is refused")):
        assert slimulator.invoke(["compare", "slim", name, "--model", str(model), "--prompt", "abc", "-n", "4"]) == status
        assert words in capsys.readouterr().err


def test_two_machines_show_what_differs(capsys: pytest.CaptureFixture[str]) -> None:
    assert slimulator.invoke(["machines", "slim", "slim-llama"]) == 0
    out = capsys.readouterr().out
    size = next(line.split() for line in out.splitlines() if line.strip().startswith("region.sram.size"))
    assert size == ["region.sram.size", *(f"{load_preset(name).region('sram').size:_}" for name in ("slim", "slim-llama"))]
    assert "region.sram.base" not in out and "other figures are the same" in out
    assert slimulator.invoke(["machines", "slim", "slim-llama", "--json"]) == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)["machines"]] == ["slim", "slim-llama"]


def test_the_roofline_of_a_cpu() -> None:
    assert on_cpu(38.4e9, 1.0) == (1.0, 65.0)                                   # the memory limits it
    assert on_cpu(1.0, 2 * DESKTOP.macs_per_second) == (2.0, 130.0)             # the cores do
