"""Studies: what they ask for, what is done once, what is kept, what is refused, and what a lost worker costs."""

from __future__ import annotations

import csv
import errno
import io
import os
import signal
import time
from collections.abc import Callable
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from children import LIMIT, SLIMULATOR, Child, run
from tiny_checkpoint import write_checkpoint

import slimulator
from compiler.settings import Settings
from isa.caches import PROGRAMS
from isa.preset import PRESETS, load_preset
from isa.reference import ReferenceMachine
from slimulator.explore import pool as pools
from slimulator.explore import sweep as sweeps
from slimulator.explore.errors import StudyError
from slimulator.explore.plan import make_plan
from slimulator.explore.pool import Processes, Task
from slimulator.explore.study import Study, read_study, study_of
from slimulator.explore.sweep import sweep
from slimulator.explore.table import Results

Sweep = Callable[..., Results]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(autouse=True)
def _kept(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PROGRAMS, "root", kept)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    (folder / "words.txt").write_text("a text of some words. " * 4, encoding="utf-8")
    return write_checkpoint(folder)


def study(tiny: Path, **axes: object) -> Study:
    return study_of({"axes": {"model": str(tiny), "tokens": 4, "prompt": "abc"} | {
        name.replace("_", "-"): value for name, value in axes.items()}}, Path())


# ------------------------------------------------------------------------------------------------ what a study asks for


def test_the_points_are_the_product_the_last_axis_fastest() -> None:
    of = study_of({"weights": ["t2", "i8"], "axes": {"kv": ["f32", "i8"]}}, Path())
    assert [tuple(each.values()) for each in of.settings()] == [("t2", "f32"), ("t2", "i8"), ("i8", "f32"), ("i8", "i8")]
    assert len(of) == 4 and of.varied == ["weights", "kv"]


def test_a_list_is_combined_with_the_axes() -> None:
    of = study_of({"axes": {"kv": ["f32", "i8"]}, "points": [{"weights": "t2"}, {"weights": "i8", "sparse": "off"}]}, Path())
    assert len(of) == 4 and of.varied == ["kv", "weights", "sparse"]
    assert list(of.settings())[3] == {"kv": "i8", "weights": "i8", "sparse": "off"}


def test_files_are_looked_for_beside_the_study(tiny: Path, tmp_path: Path) -> None:
    (tiny.parent / "s.toml").write_text('model = "tiny.bin"\ntext = "words.txt"\n', encoding="utf-8")
    of = read_study(tiny.parent / "s.toml")
    assert of.axes == {"model": (str(tiny),), "text": (str(tiny.parent / "words.txt"),)} and of.title == "s"


@pytest.mark.parametrize(("axes", "words"), [
    ({"wieghts": "t2"}, ["wieghts", "did you mean 'weights'?"]),
    ({"region.sram.sise": 1}, ["region.sram.sise", "did you mean 'region.sram.size'?"]),
    ({"weights": "t9"}, ["--weights", "t9"]),
    ({"kv": "f64"}, ["--kv", "f64", "f16"]),
    ({"sparse": "some"}, ["--sparse", "some"]),
    ({"prune": "half"}, ["--prune", "half"]),
    ({"machine": "slimm"}, ["slimm", "did you mean 'slim'?"]),
    ({"region.sram.size": "much"}, ["region.sram.size", "'much'", "a number"]),
    ({"tokens": 0}, ["tokens", "1 or more"]),
    ({"context": "x"}, ["--context", "x"]),
    ({"region.sram.size": -1}, ["region.sram.size=-1", "greater than 0"]),
    ({"region.sram.size": ["64K", "0.3"]}, ["region.sram.size=0.3", "integer"]),
    ({"region.sram.base": 5}, ["region.sram.base=5", "4096"]),
    ({"clock_hz": 0}, ["clock_hz=0", "greater than 0"]),
    ({"unit.lut.rates.steps_per_cycle": "nan"}, ["steps_per_cycle=nan", "a number, greater than 0"]),
    ({"unit.cim.parameters.patterns": 5}, ["patterns=5", "a text"]),
    ({"energy.lut.steps": -1}, ["energy.lut.steps=-1", "0 or more"]),
    ({"lut": [2, 0]}, ["lut=0", "above 0"]),
    ({"dram.memory": "HBM9"}, ["dram.memory=HBM9", "did you mean 'HBM3'?"]),
    ({"sequences": 1}, ["--sequences", "2 to 64"]),
    ({"adapter": "nowhere"}, ["adapter", "nowhere", "no such file"]),
    ({"calibrate": "nowhere", "ffn-sparsity": 0.5}, ["calibrate", "nowhere", "no such file"]),
    ({"score": 10}, ["score", "without a text", "--text"]),
    ({"calibrate": __file__}, ["calibrate", "nothing reads it"]),
    ({"shape": "15m", "prompt": "a text"}, ["prompt", "random weights", "--depth"]),
    ({"ffn-sparsity": 0.5}, ["calibrate", "not given"]),
    ({"ffn-sparsity": [None, 0.5]}, ["calibrate", "not given"]),
    ({"model": "nowhere"}, ["model", "nowhere", "no such file"]),
    ({"shape": "9m"}, ["shape", "9m", "125m"]),
    ({"shape": "15m", "model": "demo"}, ["shape", "model"]),
    ({"depth": 4}, ["depth"]),
    ({"weights": []}, ["weights", "at least one"]),
    ({"weights": {"a": 1}}, ["weights", "quotes"]),
    ({"weights": ["t2", ""]}, ["weights", "an empty value", "`none`", "comma"]),
    ({"prompt": " "}, ["prompt", "an empty value"]),
    ({"region.sram.size": ""}, ["region.sram.size", "an empty value"]),
    ({}, ["nothing to vary"]),
])
def test_what_means_nothing_is_an_error_before_anything_runs(axes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(StudyError) as error:
        make_plan(study_of({"axes": axes}, Path()))
    assert all(word in str(error.value) for word in words), str(error.value)


def test_the_demo_model_is_not_a_folder_of_its_name(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from isa.shipped import DEMO
    (tmp_path / "demo").symlink_to(tiny)
    monkeypatch.chdir(tmp_path)
    shipped, own = make_plan(study_of({"axes": {"model": [None, "demo"]}}, Path())).points
    assert shipped.job and own.job and (shipped.job.model, own.job.model) == (DEMO, Path("demo"))


def test_a_usage_error_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.toml").write_text("[axes]\nwieghts = 1\n", encoding="utf-8")
    for arguments in (["--weights", "t9"], ["--set", "sram.syze=1"], ["--set", "x"], [str(tmp_path / "bad.toml")],
                      [str(tmp_path / "bad.toml"), "another.toml"], ["--weights", "t2", "--report", "-"]):
        assert slimulator.invoke(["sweep", *arguments, "--out", str(tmp_path / "out")]) == 2
        assert "Error: " in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_point_without_what_others_have_is_a_row(tiny: Path) -> None:
    """A study that calibrates and one that does not, crossed with what needs it: one of four points cannot be."""
    points = make_plan(study(tiny, prune=["wanda:2:4", None], calibrate=[str(tiny.parent / "words.txt"), None])).points
    assert [bool(point.refused) for point in points] == [False, True, False, False] and "calibrate: not given" in points[1].refused
    assert points[2].key == points[3].key and points[2].said["calibrate"] is None           # what does nothing is not said
    points = make_plan(study(tiny, score=[5, 10], text=[None, str(tiny.parent / "words.txt")])).points
    assert [point.said["score"] for point in points] == [None, 5, None, 10]


def test_figures_that_need_each_other_are_set_together(tiny: Path) -> None:
    points = make_plan(study(tiny, **{"unit.pim.parameters.rows": [16384], "region.hbm.size": [2 ** 34, "8G"]})).points
    assert not points[0].refused and "region.hbm.size=8G" in points[1].refused
    points = make_plan(study(tiny, **{"dram.memory": [None, "HBM2"], "dram.channels": [1, "2"]})).points
    assert [bool(point.refused) for point in points] == [True, True, False, False]          # slim's own DRAM has no channels


@pytest.mark.parametrize(("text", "value"), [("64K", 65536), ("64k", 65536), ("1.5M", 3 << 19), ("2GiB", 1 << 31), ("0.3K", 307.2),
                                             ("1e3", 1000), ("16.0", 16), ("0x10", 16), ("1_000", 1000), ("38.4", 38.4),
                                             ("many", "many"), ("9" * 5000 + "K", "9" * 5000 + "K")])
def test_numbers_as_people_write_them(text: str, value: float | str) -> None:
    from isa.changed import number
    assert number(text) == value and type(number(text)) is type(value)


def test_a_text_is_read_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(StudyError, match=r"latin\.txt: error: text: byte 3: not UTF-8; expected a text file"):
        make_plan(study_of({"text": "latin.txt"}, tmp_path))
    with pytest.raises(OSError, match="directory"):
        make_plan(study_of({"text": str(tmp_path)}, tmp_path))


def test_a_bad_machine_of_a_study_is_named_with_its_own_file(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("name = 1\n", encoding="utf-8")
    (tmp_path / "s.toml").write_text('machine = ["slim", "own.toml"]\n', encoding="utf-8")
    with pytest.raises(StudyError) as error:
        read_study(tmp_path / "s.toml")
    assert str(error.value).startswith(f"{tmp_path / 'own.toml'}: error: --machine: ")


def test_an_option_that_the_compiler_gets_is_an_axis_at_once() -> None:
    from slimulator.command_line import command
    from slimulator.explore.axes import _field, compiler_options
    shown = {name for option in command.commands["sweep"].params for name in option.opts}
    assert {f"--{name}" for name in compiler_options()} <= shown
    assert {_field(option) for option in compiler_options().values()} == {field.name for field in fields(Settings)}
    assert not {"--predict", "--reuse"} & shown            # switches before --predictor and --reuse-columns


def test_reused_outputs_are_an_axis_by_their_columns(tiny: Path) -> None:
    of = study(tiny, weights="t2", **{"reuse-columns": ["none", 64, "32"]})
    points = make_plan(of).points
    assert [point.job.settings.reuse for point in points if point.job] == [None, 64, 32]
    assert len({point.key for point in points}) == 3
    with pytest.raises(StudyError, match="--reuse-columns: 7; expected a multiple of 8"):
        study_of({"axes": {"reuse-columns": 7}}, Path())


def test_ten_thousand_points_are_planned_and_priced(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = time.monotonic()
    sizes = ",".join(str(64 + step) + "K" for step in range(2500))
    assert slimulator.invoke(["sweep", "--set", f"region.sram.size={sizes}", "--weights", "t2,i8", "-n", "4,8", str(tiny),
                              "--dry-run", "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "10,000 points" in out and "5,000 programs to compile, 0 of them known" in out and "about " in out
    assert not (tmp_path / "out").exists() and time.monotonic() - start < 240


def test_options_that_do_not_go_together_are_a_row(tiny: Path, tmp_path: Path) -> None:
    rows = sweep(study(tiny, predictor=[None, "i8"], context=[None, 999]), tmp_path, workers=0).rows
    assert [row["status"] for row in rows] == ["done", "refused", "refused", "refused"]
    assert "--ffn-sparsity" in rows[2]["reason"] and "999" in rows[1]["reason"]


# ------------------------------------------------------------------------------------------------ what comes of it


def test_a_row_has_settings_results_and_version(tiny: Path, tmp_path: Path) -> None:
    results = sweep(study(tiny, weights=["t2", "i8"], text=str(tiny.parent / "words.txt"), score=20), tmp_path, workers=0)
    first, second = results.rows
    assert [row["status"] for row in results.rows] == ["done", "done"] and first["weights"] == "t2" and first["machine"] == "slim"
    assert 0 < first["bits_per_byte"] != second["bits_per_byte"] and first["scored_tokens"] == 20
    assert first["seconds_per_token"] > 0 and first["joules_per_token"] > 0 and first["generated"] == 4
    assert first["joules_events"] + first["joules_standing"] == pytest.approx(first["joules"])
    assert first["flash.bytes_read"] < second["flash.bytes_read"] and first["version"].startswith(slimulator.__version__)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "results.csv").read_text())))
    assert float(rows[0]["joules_per_token"]) == first["joules_per_token"] and rows[0]["reason"] == ""
    assert results.hash == sweep(study(tiny, weights=["t2", "i8"], text=str(tiny.parent / "words.txt"), score=20), tmp_path / "b",
                                 workers=0).hash


def test_the_same_as_generate_and_eval(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import json
    words = tiny.parent / "words.txt"
    row, = sweep(study(tiny, weights="i8", text=str(words), score=20), tmp_path, workers=0).rows
    assert slimulator.invoke(["generate", str(tiny), "abc", "-n", "4", "--weights", "i8", "--quiet", "--json",
                              str(tmp_path / "g.json")]) == 0
    assert slimulator.invoke(["eval", str(tiny), str(words), "--tokens", "20", "--weights", "i8", "--json",
                              str(tmp_path / "e.json")]) == 0
    made, scored = (json.loads((tmp_path / name).read_text()) for name in ("g.json", "e.json"))
    assert row["joules_per_token"] == made["energy"]["joules_per_token"] and row["cycles"] == made["time"]["cycles"]
    assert {name: count for name, count in made["counters"].items() if count} == {
        name: row[name] for name in made["counters"] if row.get(name)}
    assert row["bits_per_byte"] == scored["bits_per_byte"]["program"]


def test_without_a_text_bits_are_missing_with_the_reason(tiny: Path, tmp_path: Path) -> None:
    row, = sweep(study(tiny), tmp_path, workers=0).rows
    assert row["bits_per_byte"] is None and row["status"] == "done" and "no text was given (--text)" in row["reason"]


def test_a_refusal_is_a_row_with_the_reason(tiny: Path, tmp_path: Path) -> None:
    results = sweep(study(tiny, **{"region.sram.size": ["1K", "64K"], "unit.pim.parameters.rows": [None, 16], "machine": [
        "slim", "slim-llama"]}), tmp_path, workers=0)
    said = {(row["region.sram.size"], row["unit.pim.parameters.rows"], row["machine"]): row for row in results.rows}
    assert said["64K", None, "slim"]["status"] == said["64K", None, "slim-llama"]["status"] == "done"
    assert said["1K", None, "slim"]["status"] == "refused" and "bytes" in said["1K", None, "slim"]["reason"]
    refused = said["64K", 16, "slim-llama"]
    assert refused["status"] == "refused" and "machine slim-llama has no such figure" in refused["reason"]
    assert "\n" not in refused["reason"] and refused["joules_per_token"] is None


def test_equal_points_run_once_and_are_marked(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    monkeypatch.setattr(sweeps, "run_point", lambda job, program, *more: ran.append(program) or pools_run(job, program))
    size = load_preset("slim").region("sram").size
    results = sweep(study(tiny, **{"region.sram.size": [None, size, "16M", "1M"], "sparse": ["off", None]}), tmp_path, workers=0)
    assert [row["same_as"] for row in results.rows] == [None, 1, 1, 1, 1, 1, None, 7]
    assert len(ran) == 2 and results.rows[3]["cycles"] == results.rows[0]["cycles"]


def pools_run(job: Any, program: str) -> dict[str, Any]:
    from slimulator.explore.work import run_point
    return run_point(job, program)


def test_a_changed_machine_is_another_one_whatever_it_is_called(tiny: Path, tmp_path: Path) -> None:
    """A file that has the name of a preset is not taken for the preset, and neither is a preset with another figure."""
    text = (PRESETS / "slim.toml").read_text(encoding="utf-8")
    own = tmp_path / "own.toml"
    own.write_text(text.replace("value = 16_777_216", "value = 65_536"), encoding="utf-8")
    assert load_preset(own).name == "slim"
    results = sweep(study(tiny, **{"machine": ["slim", str(own)], "region.sram.size": [None, "64K"]}), tmp_path / "out", workers=0)
    sizes = [load_preset("slim").region("sram").size, 65536, 65536, 65536]
    assert results.count("done") == 4
    assert [row["same_as"] for row in results.rows] == [None, None, None, 3]
    from slimulator.explore.records import Records
    records = Records(tmp_path / "out")
    compiled = [records.compiled(point.key) for point in make_plan(results.study).points]
    assert [slimulator.Program.load(record["program"]).machine.region("sram").size for record in compiled if record] == sizes


def test_a_file_that_was_changed_is_read_again(tiny: Path, tmp_path: Path) -> None:
    """In one process, as in a notebook: the machine's file between two sweeps."""
    text, own = (PRESETS / "slim.toml").read_text(encoding="utf-8"), tmp_path / "own.toml"
    cycles = []
    for clock in ("1_000_000_000", "500_000_000"):
        own.write_text(text.replace("clock_hz = { value = 1_000_000_000", f"clock_hz = {{ value = {clock}"), encoding="utf-8")
        row, = sweep(study(tiny, machine=str(own)), str(tmp_path / "out"), workers=0).rows
        cycles.append(row["cycles"] / row["seconds"])
    assert cycles == pytest.approx([1e9, 5e8])


def test_the_table_is_that_of_the_other_engine(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of = study(tiny, weights=["t2", "i8"], tokens=2, text=str(tiny.parent / "words.txt"), score=4)
    fast = sweep(of, tmp_path / "fast", workers=0)
    used: list[int] = []

    class Reference(ReferenceMachine):
        def __init__(self, *given: Any, time: bool = False, **more: Any) -> None:
            used.append(1)
            super().__init__(*given, time=time, **more)

    monkeypatch.setattr("emulator.machine.Machine", Reference)
    assert sweep(of, tmp_path / "reference", workers=0).hash == fast.hash and used


def test_random_weights_of_a_shape(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text('{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 64, "hidden_size": 32, '
                      '"intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 4, '
                      '"max_position_embeddings": 64, "rms_norm_eps": 1e-5}', encoding="utf-8")
    results = sweep(study_of({"axes": {"config": str(config), "depth": [1, 40, 100], "tokens": 3}}, Path()), tmp_path, workers=0)
    first, second, third = results.rows
    assert first["status"] == second["status"] == "done" and first["seconds_per_token"] < second["seconds_per_token"]
    assert "random weights" in first["reason"] and third["status"] == "refused" and "context" in third["reason"]


def test_the_front_has_what_nothing_beats() -> None:
    rows = [{"point": place, "status": "done", "same_as": None, "a": a, "b": b} for place, (a, b) in enumerate(
        [(1, 5), (2, 3), (3, 3), (4, 1), (None, 0), (2, 3)], 1)]
    assert [row["point"] for row in Results(Study(), [], rows).front("a", "b")] == [1, 2, 6, 4]


@pytest.mark.skipif(not (find_spec("pandas") and find_spec("polars") and find_spec("pyarrow")), reason="needs the extra explore")
def test_pandas_and_polars_read_the_table(tiny: Path, tmp_path: Path) -> None:
    import pandas
    import polars
    results = sweep(study(tiny, **{"ffn-sparsity": [None], "region.sram.size": ["1K", 65536]}), tmp_path, workers=0)
    frame = pandas.read_parquet(tmp_path / "results.parquet")
    assert list(frame["status"]) == ["refused", "done"] and list(frame.columns) == results.columns
    assert frame["joules_per_token"][1] == results.rows[1]["joules_per_token"] == results.to_pandas()["joules_per_token"][1]
    assert polars.read_parquet(tmp_path / "results.parquet").height == polars.read_csv(tmp_path / "results.csv").height == 2


# ------------------------------------------------------------------------------------------------ faults


def test_a_study_that_was_stopped_goes_on(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of, ran = study(tiny, weights=["t2", "i8", "i4:16"]), list[str]()

    def second_is_stopped(job: Any, program: str, *_more: str) -> dict[str, Any]:
        ran.append(program)
        if len(ran) == 2:
            raise KeyboardInterrupt
        return pools_run(job, program)

    monkeypatch.setattr(sweeps, "run_point", second_is_stopped)
    with pytest.raises(KeyboardInterrupt):
        sweep(of, tmp_path, workers=0)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "results.csv").read_text())))
    assert [row["status"] for row in rows] == ["done", "interrupted", "interrupted"] and "goes on" in rows[1]["reason"]
    results = sweep(of, tmp_path, workers=0)
    assert results.count("done") == 3 and len(ran) == 4 and results.hash == sweep(of, tmp_path / "other", workers=0).hash


def test_a_record_that_was_cut_short_is_made_again(tiny: Path, tmp_path: Path) -> None:
    of = study(tiny)
    hash_of = sweep(of, tmp_path, workers=0).hash
    record, = (tmp_path / "points").iterdir()
    for damaged in (record.read_bytes()[:50], b"", b"\xff", b"[]", b'{"status": "done"}', b'{"status": []}'):
        record.write_bytes(damaged)
        assert sweep(of, tmp_path, workers=0).hash == hash_of, damaged


def test_the_status_is_1_if_nothing_could_be_done(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["sweep", "--set", "region.sram.size=1K", str(tiny), "--out", str(tmp_path / "out"), "--workers", "1"]
    assert slimulator.invoke(arguments) == 1
    assert "1 point: 1 refused" in capsys.readouterr().err


def test_a_full_disk_ends_a_study_and_loses_no_row(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from slimulator.explore.records import Records
    whole, count = Records.keep_result, list[int]()

    def full(self: Records, key: str, record: dict[str, Any]) -> None:
        count.append(1)
        if len(count) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder / "points"))
        whole(self, key, record)

    monkeypatch.setattr(Records, "keep_result", full)
    of = study(tiny, weights=["t2", "i8"])
    with pytest.raises(OSError, match="No space"):
        sweep(of, tmp_path, workers=0)
    assert len(list((tmp_path / "points").iterdir())) == 1
    assert sweep(of, tmp_path, workers=0).count("done") == 2 and len(count) == 3


def test_two_studies_do_not_write_to_one_folder_at_once(tiny: Path, tmp_path: Path) -> None:
    from slimulator.explore.records import Records
    with Records(tmp_path).open(), pytest.raises(StudyError, match="another sweep writes there"):
        sweep(study(tiny), tmp_path, workers=0)
    assert sweep(study(tiny), tmp_path, workers=0).count("done") == 1          # one after the other they may


def _dies(folder: str, place: int, times: int) -> dict[str, Any]:
    """Kills its process the first `times` times; others take a while."""
    mark = Path(folder) / f"{place}.{len(list(Path(folder).glob(f'{place}.*')))}"
    mark.touch()
    if len(list(Path(folder).glob(f"{place}.*"))) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.2)
    return {"status": "done", "place": place}


def test_a_worker_that_dies_loses_and_doubles_nothing(tmp_path: Path) -> None:
    tasks = [Task(str(place), _dies, (str(tmp_path), place, {2: 1, 4: 9}.get(place, 0))) for place in range(7)]
    with Processes(2) as pool:
        ended = list(pool.run(tasks))
    assert sorted(task.key for task, _ in ended) == [str(place) for place in range(7)]
    assert {task.key: record["status"] for task, record in ended} == {str(place): "failed" if place == 4 else "done"
                                                                      for place in range(7)}
    runs = {place: len(list(tmp_path.glob(f"{place}.*"))) for place in range(7)}
    assert runs[2] == runs[4] == 2 and sum(runs.values()) <= 7 + 2 + 2         # only what was in flight ran again


def test_a_point_that_needs_more_memory_than_there_is_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "free_memory", lambda: 1 << 30)
    with Processes(2) as pool:
        ended = {task.key: record for task, record in pool.run(
            [Task("large", _small, (), 1 << 40), Task("small", _small, ())])}
    assert ended["small"]["status"] == "done" and ended["large"]["status"] == "failed"
    assert "MiB of memory" in ended["large"]["reason"]


def _small() -> dict[str, Any]:
    return {"status": "done"}


def test_processes_give_the_table_of_one(tiny: Path, tmp_path: Path) -> None:
    """As a command, in processes, stopped by Ctrl-C in the middle, and finished by the same command."""
    arguments = ["sweep", "--weights", "t2,i8,i4:16,f32", "-n", "4", "--prompt", "abc", str(tiny), "--out", str(tmp_path / "out")]
    with Child(*SLIMULATOR, *arguments, "--workers", "2") as child:
        end = time.monotonic() + LIMIT
        while not list((tmp_path / "out").glob("points/*.json")) and child.status is None and time.monotonic() < end:
            time.sleep(0.02)
        child.interrupt()
        _, err = child.end()
    assert child.status in (0, 130) and (child.status == 0 or "the same command goes on" in err), err
    done = run(*SLIMULATOR, *arguments)
    assert done.returncode == 0 and "4 points: 4 done" in done.stderr
    of = study(tiny, weights=["t2", "i8", "i4:16", "f32"])
    here = sweep(of, tmp_path / "here", workers=0)
    rows = [list(csv.DictReader(io.StringIO((tmp_path / name / "results.csv").read_text()))) for name in ("out", "here")]
    assert [[row[name] for name in ("joules", "cycles", "core.instructions", "program")] for row in rows[0]] == [
        [row[name] for name in ("joules", "cycles", "core.instructions", "program")] for row in rows[1]]
    assert here.count("done") == 4
