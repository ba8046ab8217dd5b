"""`slimulator validate`: a few points of each simulator, other files, and the page with the errors of all points."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean
from typing import Any

import pytest

from slimulator.validate import page, results, workloads
from slimulator.validate.points import NEEDED, SHIPPED, Inexpressible, Outcome, Point, points_of

ROOT = Path(__file__).parents[1]
HEADER = ",".join([*NEEDED, "energy_pJ"])
KERNELS = {"gemv", "add", "mul", "relu"}


def line(simulator: str, config: str, workload: str, cycles: object, energy: str = "", **parameters: object) -> str:
    """A line of a file of points."""
    named = [text for name, value in parameters.items() for text in (name, str(value))] + [""] * (8 - 2 * len(parameters))
    return ",".join([simulator, f'"{config}"', workload, *named, str(cycles), energy])


PIM, AIM = "HBM2-PIM 64 pseudo-channels (run with 1; all alike)", "GDDR6_AiM_org/_timing 32 channels"
ATTACC = "HBM3 5.2 Gb/s 16 channels, units at BA, power limit True"
FEW = [
    line("PIMSimulator", PIM, "relu", 613, elements=131072, batch=1),
    line("PIMSimulator", PIM.replace("with 1;", "with 64;"), "relu", 613, elements=131072, batch=1),
    line("PIMSimulator", PIM, "stream read", 556, KiB_per_channel=8, batch=1),
    line("PIMSimulator", PIM, "sort", 11368, outputs=4096, inputs=1024),
    line("aim_simulator", AIM, "wr_gb 64 x 32", 4131, forms=33),
    line("aim_simulator", AIM, "gemv 512x64", 174, forms=5),
    line("AttAcc", ATTACC, "attention of one token", 2547, "57052501", heads=159, L=128, head_dim=128, bytes_per_element=2),
    line("DRAMsim3", "HBM2_8Gb_x128", "stream read", 315, "1", bytes=65536, channels=8, burst_bytes=64),
    line("DRAMsim3", "HBM2_8Gb_x128", "random chunks of 1024 B", 432, bytes=65536, channels=8, burst_bytes=64),
    line("PIMeval", "bank level", "gemv by scaled adds", "", outputs=1024, inputs=1024),
]


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """A file with a few points of each simulator."""
    (tmp_path / "few.csv").write_text("\n".join([HEADER, *FEW]) + "\n", encoding="utf-8")
    return tmp_path / "few.csv"


def test_a_few_points_of_each_simulator(command, few: Path) -> None:
    status, out, err = command("validate", few, "--json", few.with_suffix(".json"))
    assert status == 0 and "error" not in err
    document = json.loads(few.with_suffix(".json").read_text())
    rows = document["rows"]
    assert [(row["line"], row["simulator"], row["workload"]) for row in rows] == [
        (number, *text.split(",")[:1], text.split('",')[1].split(",")[0]) for number, text in enumerate(FEW, 2)]
    assert [row["ours"] for row in rows[:2]] == [613, 613] and [row["ours"] for row in rows[4:6]] == [4131, 174]
    for row in rows:
        assert (row["error"] is None) == (row["ours"] is None) == bool(row["reason"])
        if row["ours"] is not None:
            assert row["error"] == row["ours"] / row["published"] - 1
            assert f"{row['published']:,}" in out and f"{row['ours']:,}" in out
    assert rows[6]["published_pj"] == 57052501 and rows[6]["energy_error"] == rows[6]["ours_pj"] / 57052501 - 1
    assert rows[7]["events"]["bursts"] == 1024
    assert rows[3]["reason"] == "no program for the workload 'sort'" and rows[3]["reason"] in out
    assert rows[9]["reason"] == "no programs for the simulator PIMeval" and rows[9]["published"] is None
    assert document["summary"]["PIMSimulator"] == {
        "rows": 4, "expressed": 3, "wrong": 0, "mean": mean(abs(row["error"]) for row in rows[:3]), "p95": abs(rows[2]["error"]),
        "max": abs(rows[2]["error"])}
    assert document["summary"]["PIMeval"] == {"rows": 1, "expressed": 0, "wrong": 0, "mean": None, "p95": None, "max": None}
    table = out.split("errors by simulator")[1].splitlines()
    assert table[2].split() == ["aim_simulator", "2", "2", "0.00", "%", "0.00", "%", "0.00", "%"]


def test_only_some_simulators(command, few: Path) -> None:
    status, out, _ = command("validate", few, "--simulator", "aim_simulator", "--simulator", "PIMeval", "--json", "-")
    assert status == 0 and {row["simulator"] for row in json.loads(out)["rows"]} == {"aim_simulator", "PIMeval"}
    status, _, err = command("validate", few, "--simulator", "AimSimulator")
    assert status == 2 and "'AimSimulator'; expected one of PIMSimulator, aim_simulator, AttAcc, DRAMsim3, PIMeval" in err
    assert "did you mean 'aim_simulator'?" in err


def test_equal_programs_run_once(few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    cycles_of = workloads.cycles_of
    monkeypatch.setattr(workloads, "cycles_of", lambda program: ran.append(program.text) or cycles_of(program))
    workloads._on_banks.cache_clear()
    points = [point for point in points_of(few, "PIMSimulator") if point.workload == "relu"]
    assert [results.result_of(point).error for point in points] == [0, 0] and len(ran) == 1


def test_a_wrong_value_ends_in_status_1(command, few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(workloads.SIMULATORS, "aim_simulator", lambda point: Outcome(1, wrong=("accumulators: 1 of 2",)))
    status, out, _ = command("validate", few, "--simulator", "aim_simulator", "--json", few.with_suffix(".json"))
    assert status == 1 and "wrong values: accumulators: 1 of 2" in out
    document = json.loads(few.with_suffix(".json").read_text())
    assert document["summary"]["aim_simulator"] == {"rows": 2, "expressed": 2, "wrong": 2, "mean": None, "p95": None, "max": None}
    assert [row["ours"] for row in document["rows"]] == [None, None]


BAD = {
    "nothing": ("", ":1: error: got nothing; expected a CSV file with a column simulator, config, workload, p1_name, "),
    "no CSV": ("hello\x07 world\n", r":1: error: got hello\x07 world; expected a CSV file with a column simulator"),
    "a column less": (HEADER.replace(",cycles", "") + "\n", "; expected a CSV file with a column cycles"),
    "a short line": (f"{HEADER}\n{FEW[0]}\nPIMSimulator,x\n", ":3: error: got 2 columns; expected 13"),
    "a quote that does not end": (f'{HEADER}\nPIMSimulator,"x\n', ":2: error: no CSV: unexpected end of data"),
    "cycles that are none": (f"{HEADER}\n{line('a', 'b', 'c', 'many')}\n",
                             ":2: error: cycles: got 'many'; expected a whole number from 1 to "),
    "half a cycle": (f"{HEADER}\n{line('a', 'b', 'c', '7.5')}\n", ":2: error: cycles: got '7.5'; expected a whole number"),
    "no cycles at all": (f"{HEADER}\n{line('a', 'b', 'c', 0)}\n", ":2: error: cycles: got '0'; expected a whole number from 1"),
    "a parameter that is none": (f"{HEADER}\n\n{line('a', 'b', 'c', 1, inputs='1e3')}\n",
                                 ":3: error: p1: got '1e3'; expected a whole number below "),
    "a parameter below zero": (f"{HEADER}\n{line('a', 'b', 'c', 1, inputs=-4)}\n", ":2: error: p1: got '-4'; expected a whole"),
    "too large": (f"{HEADER}\n{line('a', 'b', 'c', '9' * 5000)}\n", f":2: error: cycles: got '{'9' * 60}...'; expected a whole"),
    "energy that is none": (f"{HEADER}\n{line('a', 'b', 'c', 1, 'nan')}\n", ":2: error: energy_pJ: got 'nan'; expected a number"),
    "a number with an underscore": (f"{HEADER}\n{line('a', 'b', 'c', '1_000')}\n",
                                    ":2: error: cycles: got '1_000'; expected a whole"),
    "digits of another script": (f"{HEADER}\n{line('a', 'b', 'c', '٣')}\n", ":2: error: cycles: got '٣'; expected a whole number"),
    "two columns of a name": (f"{HEADER},cycles\n{FEW[0]},7\n", ":1: error: two columns 'cycles'; expected different names"),
    "two parameters of a name": (f"{HEADER}\nPIMSimulator,x,gemv,inputs,1,inputs,2,,,,,7,\n",
                                 ":2: error: two parameters 'inputs, inputs'; expected different names"),
    "a line of megabytes": (f"{HEADER}\n{'x' * 10_000_000}\n", ":2: error: no CSV: field larger than field limit"),
    "no name": (f"{HEADER}\n{line('', 'b', 'c', 1)}\n", ":2: error: simulator: got nothing; expected a name"),
}


@pytest.mark.parametrize(("text", "says"), BAD.values(), ids=BAD)
def test_a_bad_file_ends_in_one_message(command, tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "bad.csv").write_text(text, encoding="utf-8")
    status, out, err = command("validate", tmp_path / "bad.csv")
    assert status == 1 and out == "" and err.count("\n") == 1
    assert err.startswith(f"{tmp_path / 'bad.csv'}:") and says in err


def test_other_bad_files(command, tmp_path: Path, few: Path) -> None:
    (tmp_path / "b.csv").write_bytes(b"simulator\xff")
    assert command("validate", tmp_path / "b.csv")[::2] == (
        1, f"{tmp_path / 'b.csv'}: error: byte 9: no UTF-8; expected a CSV file\n")
    assert command("validate", tmp_path / "none.csv")[::2] == (1, f"{tmp_path / 'none.csv'}: error: No such file or directory\n")
    assert command("validate", tmp_path)[::2] == (1, f"{tmp_path}: error: Is a directory\n")
    assert command("validate", few, "--json", few)[0] == 2 and few.read_text().startswith(HEADER)
    (tmp_path / "empty.csv").write_text(f"{HEADER}\n")
    assert command("validate", tmp_path / "empty.csv")[0] == 0


@pytest.mark.parametrize(("simulator", "config", "workload", "parameters", "says"), [
    ("PIMSimulator", "HBM3", "gemv", {}, "unknown configuration 'HBM3'; expected HBM2-PIM 64 pseudo-channels"),
    ("PIMSimulator", PIM, "gemv", {"outputs": 1}, "no parameter inputs; got outputs"),
    ("PIMSimulator", PIM, "gemv", {"outputs": 0, "inputs": 1}, "outputs 0; expected 1 up to 262144"),
    ("PIMSimulator", PIM, "gemv", {"outputs": 1 << 18, "inputs": 1 << 18}, "131072 rows of a bank; expected 2048 at most"),
    ("PIMSimulator", PIM, "preload", {"outputs": 4097, "inputs": 1 << 18}, "4096 rows of a bank; expected 2048 at most"),
    ("PIMSimulator", PIM, "gemv after preload", {"outputs": 1 << 18, "inputs": 1 << 18}, "rows of a bank"),
    ("aim_simulator", AIM, "gemv 262144x262144", {}, "131072 rows of a bank in 'gemv 262144x262144'; expected 1024 at most"),
    ("PIMSimulator", PIM, "add", {"elements": 1000}, "elements 1000; expected a multiple of 131072 up to "),
    ("PIMSimulator", PIM, "tree", {"outputs": 8192, "inputs": 128}, "outputs 8192; expected 1 up to 4096"),
    ("PIMSimulator", PIM, "stream read", {"KiB_per_channel": 1 << 30}, "expected 1 up to 4096"),
    ("aim_simulator", "GDDR6", "wr_bias x 1", {}, f"expected {AIM}"),
    ("aim_simulator", AIM, "sort 64", {}, "no program for the workload 'sort 64'"),
    ("aim_simulator", AIM, "wr_gb 65 x 1", {}, "65 in 'wr_gb 65 x 1'; expected 1 to 64"),
    ("aim_simulator", AIM, "wr_bias x 99999999999", {}, "expected 1 to 1024"),
    ("AttAcc", "HBM4", "attention of one token", {}, "expected units at BA, BG or BUFFER"),
    ("AttAcc", ATTACC, "prefill", {}, "no program for the workload 'prefill'"),
    ("AttAcc", ATTACC, "attention of one token", {"heads": 8192, "L": 131072, "head_dim": 128, "bytes_per_element": 1},
     "expected 1073741824 elements"),
    ("DRAMsim3", "DDR5", "stream read", {}, "unknown configuration 'DDR5'; expected one of HBM2_8Gb_x128, "),
    ("DRAMsim3", "HBM2_8Gb_x128", "stream read", {"bytes": 64, "channels": 4}, "channels 4; HBM2_8Gb_x128 has 8"),
    ("DRAMsim3", "HBM2_8Gb_x128", "pointer chase", {"bytes": 64}, "no workload 'pointer chase'"),
    ("DRAMsim3", "HBM2_8Gb_x128", "random chunks of 1024 B", {"bytes": 1000}, "bytes 1000; expected a multiple of 1024"),
])
def test_points_without_a_program_say_why(simulator: str, config: str, workload: str, parameters: dict[str, int],
                                          says: str) -> None:
    with pytest.raises(Inexpressible) as caught:
        workloads.outcome_of(Point(simulator, config, workload, parameters, 1))
    assert says in str(caught.value)


# ------------------------------------------------------------------------------------------------ all points


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """All points that are shipped, as the command has them."""
    found = [results.result_of(point) for point in points_of(SHIPPED)]
    return json.loads(json.dumps({"rows": [result.as_json() for result in found], "summary": results.summary(found)}))


def errors(document: dict[str, Any], simulator: str, chosen) -> list[float]:
    return [abs(row["error"]) for row in document["rows"]
            if row["simulator"] == simulator and row["error"] is not None and chosen(row)]


def test_errors_are_as_small_as_they_were(document: dict[str, Any]) -> None:
    """Bounds on what the table says, somewhat above it."""
    for name, row in document["summary"].items():
        assert row["wrong"] == 0 and row["expressed"] >= 0.85 * row["rows"] * (name != "PIMeval"), name
    kernels = errors(document, "PIMSimulator", lambda row: row["workload"] in KERNELS)
    others = errors(document, "PIMSimulator", lambda row: row["parameters"].get("KiB_per_channel", 0) >= 256)
    streams = errors(document, "DRAMsim3", lambda row: "stream" in row["workload"] and row["parameters"]["bytes"] >= 1 << 18)
    gathers = errors(document, "DRAMsim3", lambda row: "random" in row["workload"] and row["parameters"]["bytes"] >= 1 << 20)
    assert len(kernels) == 52 and mean(kernels) <= 0.001 and max(kernels) <= 0.003
    assert max(errors(document, "aim_simulator", lambda row: True)) == 0
    assert len(others) == 9 and max(others) <= 0.04
    assert mean(streams) <= 0.01 and max(streams) <= 0.03 and max(gathers) <= 0.10
    assert document["summary"]["AttAcc"]["mean"] <= 0.01 and document["summary"]["AttAcc"]["p95"] <= 0.035


def test_the_page_has_these_errors(document: dict[str, Any]) -> None:
    text = (ROOT / "docs" / "validation.md").read_text(encoding="utf-8")
    assert f"{page.BEGIN}\n{page.of_simulators(document).strip()}\n\n" in text, "run `make validate`"
    assert "-m slimulator.validate.page out/validation.json docs/validation.md" in (ROOT / "Makefile").read_text(encoding="utf-8")
