"""`slimulator validate --systems`: published systems and energies, from executed programs of their shapes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isa.preset import load_preset
from slimulator.validate import checks, energy, layers, page, slim_llama, starc, systems
from slimulator.validate.checks import Check
from slimulator.validate.points import MACHINES

ROOT = Path(__file__).parents[1]
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def document() -> dict[str, Rows]:
    """Both tables, as the command has them."""
    return json.loads(json.dumps({"systems": [check.as_json() for check in systems.checks()],
                                  "energy": [check.as_json() for check in energy.checks()]}))


def errors(rows: Rows, system: str, *what: str) -> list[float]:
    """Those of the rows of a system in whose description all these words are."""
    return [row["error"] for row in rows if row["system"] == system and all(word in row["what"] for word in what)]


def test_slim_llama_takes_what_was_published(document: dict[str, Rows]) -> None:
    rows = [row for row in document["systems"] if row["system"] == "Slim-Llama" and row["unit"] == "ms a token"]
    ternary, reused, *others, whole = rows
    assert all(abs(row["error"]) < 0.10 for row in (ternary, reused)) and 469 < ternary["ours"] < 489 < reused["ours"]
    for row, bits in zip(others, (1, 1.6, 3), strict=True):             # what the link takes for the bits, and compute
        assert row["error"] is None and 1 < row["ours"] / (3e9 * bits / 8 / 1.6e9 * 1e3) < 1.13
    assert whole["error"] is None and whole["ours"] > ternary["ours"]


def test_operations_are_what_a_binomial_distribution_gives(document: dict[str, Rows]) -> None:
    few, most = [row for row in document["systems"] if row["unit"] == "TOPS"]
    assert few["ours"] == pytest.approx(4096 * 200e6 * 2 * slim_llama.macs_of_a_step(0.38) / 1e12, rel=0.01)
    assert few["ours"] == pytest.approx(4.80, abs=0.02) and most["ours"] == pytest.approx(13.107, abs=0.001)


def test_products_of_hpim_lie_in_the_ranges_that_were_published(document: dict[str, Rows]) -> None:
    rows = document["systems"]
    products = [errors(rows, "HPIM", f"OPT-13B, {part}") for part in (layers.FEED_FORWARD, layers.QKV, layers.PROJECTION)]
    assert [len(both) for both in products] == [2, 2, 2] and all(time == 0 for time, _ in products)
    assert all(0.15 < ratio < 0.3 for _, ratio in products)    # of the A100's time for the fewer tokens, so these are upper bounds
    attention, ratio = errors(rows, "HPIM", f"OPT-13B, {layers.ATTENTION}")
    assert attention < -0.5 and ratio > 1                      # far too fast, which the table says
    assert all("concluded from these times" in row["fitted"] for row in rows if row["system"] == "HPIM" and row["error"] is not None
               and layers.ATTENTION not in row["what"])
    whole = [row for row in rows if row["system"] == "HPIM" and "whole requests" in row["what"]]
    assert [row["low"] for row in whole] == [6.2, 22.8] and {row["ours"] for row in whole} == {None}
    assert all("systolic arrays" in row["executed"] for row in whole)


def test_slim_is_what_its_pages_and_bytes_take(document: dict[str, Rows]) -> None:
    """The paper's figures of time follow from pages, bytes and rates; those that do not say what they were solved from."""
    rows = {row["what"]: row for row in document["systems"] if row["system"] == "SLIM"}
    ours = {what: row["ours"] for what, row in rows.items()}
    predictor, matrices = 1024 * (4096 + 11008), 4 * 4096 ** 2 + 3 * 4096 * 11008
    assert ours["the predictor's share of a layer's bytes"] == 100 * predictor / matrices == pytest.approx(7.6, abs=0.05)
    flash = ours["flash side, half of the neurons, as many in each die"]
    assert flash == pytest.approx(32 * 5504 / 64 * 3 * 3e-3, rel=0.01) == pytest.approx(24.8, rel=0.01)
    assert flash < ours["flash side, half of the neurons, drawn"] < 1.3 * flash
    assert flash < ours["flash side, half of the neurons, by the gates of the demo model"] < 1.5 * flash
    dram = ours["DRAM side: attention, projections, predictor"]
    assert dram == pytest.approx(32 * (4 * 4096 ** 2 + predictor + 2 * 2048 * 4096) / 102e6, rel=0.03)
    links = [next(row["ours"] for row in document["systems"] if row["system"] == gpu) for gpu in ("SSD-GPU", "DRAM-GPU")]
    assert links == [pytest.approx(32 * 3 * 4096 * 11008 / rate / 1e6, rel=0.01) for rate in (7.88, 31.5)]
    assert [round(link) for link in links] == [549, 137]
    times = [row for what, row in rows.items() if "processors at channels" in what]
    assert [row["error"] for row in times] == [0, 0] and times[0]["ours"] > times[1]["ours"]
    one, two = ours["one sequence: both sides, one after the other"], ours["two sequences: the longer side"]
    assert one == pytest.approx(dram + flash, rel=0.02) and two == pytest.approx(max(dram, flash), rel=0.02)
    ratios = [row for what, row in rows.items() if what.startswith("two sequences, 102 GB/s") and row["low"]]
    assert [row["low"] for row in ratios] == [17.6, 4.3] and all("solved from 17.6" in row["fitted"] for row in ratios)
    swept = [row["ours"] for what, row in rows.items() if "speed-up of two sequences" in what]
    assert swept == sorted(swept) and len(swept) == 5


def test_no_gpu_is_faster_than_its_roofline(document: dict[str, Rows]) -> None:
    rows = [row for row in document["systems"] if row["system"] == "A100"]
    assert len(rows) == 4 and all(row["ours"] <= row["high"] and row["error"] <= 0 for row in rows)
    gpu = load_preset(MACHINES / "a100.toml")
    assert gpu.rates is not None and gpu.energies is None and gpu.powers is None
    bytes_of_projection = 40 * 5120 * 5120 * 2
    projection = next(row["ours"] for row in rows if layers.PROJECTION in row["what"])
    assert projection == pytest.approx(1e3 * bytes_of_projection / 2039e9, rel=0.01)


def test_energies_are_near_what_was_published(document: dict[str, Rows]) -> None:
    rows = document["energy"]
    at_25, at_200 = errors(rows, "Slim-Llama")
    assert -0.08 < at_25 < 0 and -0.60 < at_200 < -0.55
    assert 0 < errors(rows, "GDDR6-AiM", "without")[0] < 0.02
    assert -0.14 < errors(rows, "DDR4-2400", "events")[0] < 0 < errors(rows, "DDR4-2400", "row by row")[0] < 0.04
    assert len(errors(rows, "AttAcc")) == 3 and max(map(abs, errors(rows, "AttAcc"))) < 0.001


def test_parts_add_up_exactly(document: dict[str, Rows]) -> None:
    rows = [row for row in document["energy"] if row["joules"] is not None]
    assert {row["system"] for row in rows} == {"Slim-Llama", "GDDR6-AiM", "DDR4-2400"}
    for row in rows:
        assert row["adds_up"] and sum(reversed(row["parts"].values())) == row["joules"] > 0


def test_every_row_says_where_it_is_from(document: dict[str, Rows]) -> None:
    for row in (*document["systems"], *document["energy"]):
        assert row["executed"] and (row["source"] or row["low"] is None), row["what"]
        assert (row["error"] is None) == (row["ours"] is None or row["low"] is None)


def test_the_page_has_these_tables(document: dict[str, Rows]) -> None:
    text = (ROOT / "docs" / "validation.md").read_text(encoding="utf-8")
    assert f"\n\n{page.of_systems(document).strip()}\n{page.END}" in text, "run `make validate`"


# ------------------------------------------------------------------------------------------------ without running much

ROW = Check("a", "b", "ms", 2, 2, 3, "c")


@pytest.mark.parametrize(("row", "error", "says"), [
    (ROW, 0.5, "+50.0 %"), (replace(ROW, ours=2.0001), 5e-5, "0.0 %"), (replace(ROW, ours=1.9999), -5e-5, "0.0 %"),
    (replace(ROW, high=4), 0, "inside"), (replace(ROW, high=4, ours=5), 0.25, "+25.0 %"),
    (replace(ROW, high=4, ours=1), -0.5, "-50.0 %"),
    (replace(ROW, ours=None), None, "-"), (replace(ROW, low=None, high=None), None, "-")])
def test_how_far_off(row: Check, error: float | None, says: str) -> None:
    assert row.error == (None if error is None else pytest.approx(error)) and checks.verdict(row.as_json()) == says


def test_the_command(command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systems, "checks", lambda: [ROW, replace(ROW, low=None, high=None, ours=12345.6)])
    monkeypatch.setattr(energy, "checks", lambda: [replace(ROW, parts={"x": 0.5}, total=0.5)])
    status, out, _ = command("validate", "--systems", "--json", tmp_path / "s.json")
    assert status == 0 and [line.split() for line in out.splitlines() if line] == [
        ["published", "systems", "published", "ours", "error"], ["a", "b,", "ms", "2", "3", "+50.0", "%"],
        ["a", "b,", "ms", "-", "12,346", "-"], ["energy", "published", "ours", "error"], ["a", "b,", "ms", "2", "3", "+50.0", "%"]]
    written = json.loads((tmp_path / "s.json").read_text())
    assert written["rows"] == [] and len(written["systems"]) == 2 and written["energy"][0]["joules"] == 0.5
    monkeypatch.setattr(energy, "checks", lambda: [replace(ROW, parts={"x": 0.5}, total=0.75)])
    assert command("validate", "--systems")[0] == 1
    status, _, err = command("validate", "--systems", "--simulator", "AttAcc")
    assert status == 2 and "--systems takes no points" in err


def test_parts_of_a_layer() -> None:
    operations = ["h = layernorm x, layer.attention_norm", "h = bias h, layer.attention_norm.bias", "h16 = round.banks h",
                  "qp = gemv.banks.f16 h16, layer.q", "q = collect.f16 qp, layer.q", "q = bias q, layer.q.bias",
                  "q = scale q", "scores = scores.attn q, keys", "c16 = round.banks context", "op = gemv.banks.f16 c16, layer.o",
                  "x = add x, attention", "up = gemv.banks.f16 f16, layer.up", "n = relu up", "n16 = round.banks n",
                  "ffn = gemv.banks.f16 n16, layer.down", "x = add x, ffn"]
    rest, qkv, ffn = layers.REST, layers.QKV, layers.FEED_FORWARD
    assert layers.parts_of(operations) == [rest, qkv, qkv, qkv, qkv, qkv, layers.ATTENTION, layers.ATTENTION, layers.PROJECTION,
                                           layers.PROJECTION, rest, ffn, ffn, ffn, ffn, rest]


def test_sliminfer_executes_as_few_products_as_published(document: dict[str, Rows]) -> None:
    """Products within 2 %, keys and values within 0.1 points. Time and energy fall nearly as much."""
    ours = {row["what"]: row["ours"] for row in document["systems"] if row["system"] == "SlimInfer"}
    fewer = ours["multiply-accumulates to the first token: all / those executed"]
    assert fewer == pytest.approx(2.52, rel=0.02)
    assert ours["keys and values of the prompt, fewer"] == pytest.approx(56.6, abs=0.1)
    assert ours["keys and values of a quarter of the prompt, fewer"] == pytest.approx(20.3, abs=0.1)
    assert all(0.85 * fewer < ours[f"{what} to the first token: all / left out"] < fewer for what in ("time", "energy"))
    assert ours["whole requests: all / left out"] is None


def test_starc_opens_fewer_rows_than_the_best_tokens_one_by_one(document: dict[str, Rows]) -> None:
    """12 heads, each of whose tokens takes two columns of four banks; all of a row of 16 groups are opened where all are read."""
    rows = {row["what"]: row["ours"] for row in document["systems"] if row["system"] == "STARC"}
    full, tokens, clusters = (rows[f"rows of a bank that a head opens, {what}"] for what in ("full", "token-wise", "clusters"))
    assert full == 2 * 4 * 16 * 8                                               # keys and values, 2,033 tokens, 256 in a row of all
    assert clusters < 0.7 * tokens and tokens < full
    times = [rows[f"attention of a step, {what}"] for what in ("full", "token-wise", "clusters")]
    joules = [rows[f"energy of a step, {what}"] for what in ("full", "token-wise", "clusters")]
    assert joules == sorted(joules, reverse=True) and times[1] < times[2] < times[0]  # clusters lie in few groups, says the page
    assert rows["latency below full attention"] == pytest.approx(100 * (1 - times[2] / times[0]))
    assert rows["energy below token-wise selection"] == pytest.approx(100 * (1 - joules[2] / joules[1]))
    whole = {what: rows[f"attention of a step, {what}, whole rows"] for what in ("token-wise", "clusters")}
    assert times[1] < whole["token-wise"] < times[0] and whole["clusters"] < times[2]  # no group waits, and none saves a row's rest
    assert rows["rows of a bank that a head opens, clusters, whole rows"] <= clusters + 2 * 4 * 16      # in whole groups of rows
    assert rows["latency below full attention, whole rows"] == pytest.approx(100 * (1 - whole["clusters"] / times[0]))


def test_whole_rows_are_those_that_a_list_touches() -> None:
    assert starc.in_whole_rows(np.array([[0, 15, 16, 17], [40, 41, 3, 2]])) == 32
    assert starc.in_whole_rows(np.array([[0, 16, 32, 48], [0, 1, 2, 3]])) == 48         # 2.5 rows on average
