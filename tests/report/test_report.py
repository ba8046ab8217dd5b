"""Reports: one file without a network, that says what the run has taken; a browser shows it without an error."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from children import LIMIT
from tiny_checkpoint import write_checkpoint

import slimulator
from emulator.observe.cost import quantity
from isa.caches import PROGRAMS
from slimulator.report.marks import bars, table
from slimulator.report.page import page
from slimulator.report.plots import Axis, Dot, Line, plot

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PROGRAMS_FOLDER = Path(__file__).parents[2] / "programs"


@pytest.fixture(autouse=True)
def _kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PROGRAMS, "root", tmp_path / "kept")


class _Reader(HTMLParser):
    """Texts of a page, and whether each element that is opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def checked(path: Path) -> str:
    """The text of a page that is well formed and asks for nothing from elsewhere."""
    source = path.read_text(encoding="utf-8")
    assert not re.search(r"<link|<img|<iframe|\bsrc=|@import|url\(|fetch\(", source)
    reader = _Reader()
    reader.feed(source)
    assert reader.open == []
    return "".join(reader.texts)


def shown(path: Path, width: int) -> str:
    """What a browser makes of a page after its script has run."""
    done = subprocess.run([str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
                           f"--window-size={width},900", "--dump-dom", path.as_uri()],
                          capture_output=True, text=True, timeout=LIMIT)
    return done.stdout


def test_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    elf, report = tmp_path / "f.elf", tmp_path / "r.html"
    assert slimulator.invoke(["asm", str(PROGRAMS_FOLDER / "sparse_ffn.s"), "-o", str(elf)]) == 0
    assert slimulator.invoke(["run", str(elf), "--report", str(report), "--json", str(tmp_path / "r.json"), "--quiet"]) == 0
    said, text = json.loads((tmp_path / "r.json").read_text()), checked(report)
    assert quantity(said["time"]["seconds"], "s") in text and quantity(said["energy"]["joules"], "J") in text
    assert "neurons: 34 of 64 active" in text and "fetch.rows" in text and "sparse_ffn.s:" in text
    assert all(f"{count:,}" in text for name, count in said["counters"].items() if count)
    assert "assumed: a round figure, so that cycles read as nanoseconds" in text          # every figure with its source


def test_generating_a_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, report = write_checkpoint(tmp_path / "m"), tmp_path / "g.html"
    arguments = ["generate", str(model), "abc", "-n", "3", "--weights", "t2", "--quiet", "--json", str(tmp_path / "g.json")]
    assert slimulator.invoke(arguments) == 0
    plain = json.loads((tmp_path / "g.json").read_text())
    assert slimulator.invoke([*arguments, "--report", str(report)]) == 0
    watched = json.loads((tmp_path / "g.json").read_text())
    assert watched["counters"] == plain["counters"] and watched["time"] == plain["time"]          # to look changes nothing
    text = checked(report)
    for title in ("What ran when", "At work, waiting, idle", "Energy", "Rooflines", "Operations", "Traffic", "Zeros by layer",
                  "Traffic by tensor", "Memory map", "Counters", "Figures of the machine"):
        assert title in text
    assert "pJ" in text and "layer.gate" in text and "assumed" in text
    assert plain["text"] in text and "layer.gate" in text and quantity(plain["energy"]["joules_per_token"], "J") in text


def test_a_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from slimulator.explore.study import Study
    from slimulator.explore.sweep import sweep
    from slimulator.report.of_study import report_of_study
    model = write_checkpoint(tmp_path / "m")
    (tmp_path / "words.txt").write_text("some words and more. " * 3, encoding="utf-8")
    study = Study.of("<b>A study</b>", model=str(model), weights=["t2", "i8"], tokens=3, prompt="abc", score=10,
                     text=str(tmp_path / "words.txt"), **{"region.sram.size": ["1K", "16K", "32K", "64K"]})
    results = sweep(study, tmp_path / "out", workers=0)
    (tmp_path / "s.html").write_text(report_of_study(results, ["slimulator sweep x"]), encoding="utf-8")
    text = checked(tmp_path / "s.html")
    assert "<b>A study</b>" in text and "Bits per byte against Energy a token" in text
    assert "Energy a token along region.sram.size" in text
    assert all(f"{row['bits_per_byte']:.4f}" in text for row in results.done) and "refused" in text
    if BROWSER:
        assert all(quantity(row["joules_per_token"], "J") in shown(tmp_path / "s.html", 400) for row in results.done[:1])


def test_thresholds_of_layers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, report, words = write_checkpoint(tmp_path / "m"), tmp_path / "t.html", tmp_path / "words.txt"
    words.write_text("some words and more. " * 20, encoding="utf-8")
    assert slimulator.invoke(["generate", str(model), "abc", "-n", "3", "--ffn-sparsity", "0.5", "--calibrate", str(words),
                              "--quiet", "--report", str(report), "--json", str(tmp_path / "g.json")]) == 0
    said, text = json.loads((tmp_path / "g.json").read_text()), checked(report)
    rows = re.findall(r"<tr><td>layer (\d)</td><td class=n>([\d.e-]+)</td><td class=n>(\d+)</td><td class=n>(\d+)</td>",
                      report.read_text(encoding="utf-8"))
    assert "Thresholds by layer" in text and [int(row[0]) for row in rows] == list(range(len(rows))) != []
    assert len({row[1] for row in rows}) == len(rows)                           # each layer has its own threshold
    assert sum(int(row[3]) for row in rows) == said["counters"]["thr.passes"] == said["neurons"]["active"]


def test_a_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, report = write_checkpoint(tmp_path / "m"), tmp_path / "c.html"
    arguments = ["compare", "slim", "slim-llama", "--model", str(model), "--prompt", "abc", "-n", "3"]
    assert slimulator.invoke(arguments) == 0
    plain = capsys.readouterr().out
    assert slimulator.invoke([*arguments, "--report", str(report)]) == 0
    assert capsys.readouterr().out == plain                                     # to look changes nothing
    text = checked(report)
    for title in ("Side by side", "Time a token", "What ran when", "Operations side by side", "slim-llama: queues, energy",
                  "Rooflines", "Figures of the machine"):
        assert title in text
    shown_of = dict(re.findall(r"<tr><td>(cycles|joules)</td><td class=n>([^<]+)</td>", report.read_text(encoding="utf-8")))
    for name, value in shown_of.items():
        assert value in next(line for line in plain.splitlines() if line.startswith(f"{name}  "))
    assert len(shown_of) == 2 and report.read_text(encoding="utf-8").count('class="timeline"') == 2
    if BROWSER:
        page_of = report.read_text(encoding="utf-8").replace("</body>", (
            "<script>document.title = document.documentElement.scrollWidth <= innerWidth</script></body>"))
        report.write_text(page_of, encoding="utf-8")
        assert "<title>true</title>" in shown(report, 500)                      # nothing sticks out on a phone


@pytest.mark.skipif(not BROWSER, reason="needs Chromium")
def test_a_browser_shows_it_on_a_phone_and_on_a_wide_screen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    elf, report = tmp_path / "f.elf", tmp_path / "r.html"
    assert slimulator.invoke(["asm", str(PROGRAMS_FOLDER / "ternary_gemv.s"), "-o", str(elf)]) == 0
    assert slimulator.invoke(["run", str(elf), "--report", str(report), "--quiet"]) == 0
    probe = ('<script>addEventListener("load", () => { const svg = document.querySelector(".timeline svg");'
             'svg.querySelector("rect").dispatchEvent(new MouseEvent("click", {bubbles: true}));'
             'document.querySelector("a[href=\'#figures\']").click();'
             'const open = document.querySelectorAll("#figures details[open]").length;'
             'document.title = `${document.documentElement.scrollWidth <= innerWidth} ${svg.style.width} ${open}`; })'
             "</script></body>")
    report.write_text(report.read_text(encoding="utf-8").replace("</body>", probe), encoding="utf-8")
    for width in (500, 1200):
        dom = shown(report, width)
        fits, zoomed, sources = re.search(r"<title>(\w+) (\S+)% (\d)</title>", dom).groups()      # type: ignore[union-attr]
        assert fits == "true" and float(zoomed) >= 100 and sources == "1"       # nothing sticks out; clicks zoom and unfold
        assert re.search(r'class="told">[^<]*cycles from', dom)                            # and tells the slice


def test_a_report_that_cannot_be_written_is_known_before_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    elf = tmp_path / "f.elf"
    assert slimulator.invoke(["asm", str(PROGRAMS_FOLDER / "hello.s"), "-o", str(elf)]) == 0
    assert slimulator.invoke(["run", str(elf), "--report", str(tmp_path / "nowhere" / "r.html")]) == 1
    assert slimulator.invoke(["run", str(elf), "--report", "-"]) == 2
    assert slimulator.invoke(["run", str(elf), "--report", str(tmp_path / "r.html"), "--no-time"]) == 2
    assert capsys.readouterr().out == ""


# ------------------------------------------------------------------------------------------------ what pages consist of


def test_texts_from_outside_are_escaped() -> None:
    text = "<script>alert(1)</script>"
    made = page(text, text, [table([text], [[text]]), bars({text: {text: 1.0}}, "s"),
                             plot(Axis(text), Axis(text), [Dot(1, 2, text, text, text)], [Line([(1, 2)], text, text)])])
    assert text not in made and "&lt;script&gt;" in made


def test_a_picture_leaves_out_what_a_logarithm_lacks() -> None:
    made = plot(Axis("x", log=True), Axis("y", log=True), [Dot(0, 1), Dot(1, 1), Dot(100, 10), Dot(float("nan"), 1)])
    assert made.count("<circle") == 2 and plot(Axis("x"), Axis("y"), []) == ""


def test_labels_cover_no_point_and_no_other_label() -> None:
    places = [(1, 1), (1, 1), (1.2, 1), (1.4, 1.01), (9.9, 1), (5, 5), (5, 5), (5, 4.9)]
    made = plot(Axis("x"), Axis("y"), [Dot(x, y, label=f"label {number}") for number, (x, y) in enumerate(places)])
    boxes = [(float(x) - 5, float(y) - 5, float(x) + 5, float(y) + 5)
             for x, y in re.findall(r'circle [^>]*cx="([\d.]+)" cy="([\d.]+)"', made)]
    points = set(boxes)
    for x, y, end, text in re.findall(r'class="strong" x="([\d.]+)" y="([\d.]+)"( text-anchor="end")?>([^<]+)<', made):
        left = float(x) - 6 * len(text) * bool(end)
        boxes.append((left, float(y) - 10, left + 6 * len(text), float(y)))
    assert len(boxes) == 2 * len(places)
    for box in set(boxes):
        assert not any(box != other and box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]
                       and not {box, other} <= points for other in boxes)


def test_bars_have_one_scale() -> None:
    made = bars({"a": {"x": 1.0, "y": 1.0}, "b": {"x": 4.0}}, "s")
    assert re.findall(r"width:([\d.]+)%", made) == ["25.000", "25.000", "100.000"] and "2 s" in made and "4 s" in made
