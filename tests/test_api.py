"""Models from Python: the same bytes, texts and figures as the commands, and what objects show in a notebook."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import tiny_checkpoint
from nbclient import NotebookClient

import slimulator
from compiler.compiled import Compiled
from isa.notebook import as_html
from isa.shipped import DEMO

NOTEBOOK = Path(__file__).parents[1] / "docs" / "models.ipynb"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint.write_checkpoint(tmp_path_factory.mktemp("api"))


@pytest.fixture(scope="module")
def compiled(checkpoint: Path) -> Compiled:
    made: Compiled = slimulator.compile(checkpoint, weights="i8")
    return made


def test_generate_is_the_command(checkpoint: Path, compiled: Compiled, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "g.json"
    flags = ["-n", "6", "--weights", "i8", "--json", str(file), "--quiet"]
    assert slimulator.invoke(["generate", str(checkpoint), "a cat", *flags]) == 0
    said = json.loads(file.read_text())
    compiled.save(tmp_path / "p.elf")
    results = [slimulator.generate(checkpoint, "a cat", max_tokens=6, weights="i8"),
               slimulator.generate(compiled, "a cat", max_tokens=6), slimulator.generate(tmp_path / "p.elf", "a cat", max_tokens=6),
               slimulator.generate(slimulator.load_model(checkpoint), "a cat", max_tokens=6, weights="i8", engine="reference")]
    for result in results:
        assert (result.text, result.tokens) == (said["text"], said["tokens"])
        assert result.cost.time.cycles == said["time"]["cycles"] and result.generated.counters == said["counters"]
        assert result.cost.energy.joules == said["energy"]["joules"]
    assert capsys.readouterr().out.strip() == said["text"]


def test_a_stream_is_the_text_in_pieces(compiled: Compiled) -> None:
    whole = slimulator.generate(compiled, "a cat", max_tokens=6, temperature=1.0, seed=3)
    stream = slimulator.generate(compiled, "a cat", max_tokens=6, temperature=1.0, seed=3, stream=True)
    with pytest.raises(ValueError, match="the text still comes"):
        _ = stream.result
    pieces = list(stream)
    assert len(pieces) > 3 and "".join(pieces) == whole.text
    assert stream.result.tokens == whole.tokens and stream.result.generated.counters == whole.generated.counters
    assert stream.result.cost.time.cycles == whole.cost.time.cycles
    half = slimulator.generate(compiled, "a cat", max_tokens=6, stream=True)
    next(half)
    assert half.machine.counter("tokens.emitted") == 0            # it stands still until a piece is asked for


def test_logits_are_those_of_the_machine(compiled: Compiled) -> None:
    tokens = compiled.model.tokenizer.encode("a cat a cat")        # type: ignore[union-attr]
    found = slimulator.logits(compiled, "a cat a cat")
    assert found.shape == (len(tokens), compiled.model.config.vocab) and found.dtype == np.float32
    assert np.array_equal(found, slimulator.logits(compiled, tokens, engine="reference"))
    assert np.array_equal(found[:3], slimulator.logits(compiled, tokens[:3]))
    assert np.array_equal(found[2:], slimulator.logits(compiled, tokens, prompt=3))
    greedy = slimulator.generate(compiled, "a cat a cat", max_tokens=1).tokens
    assert greedy == [int(found[-1].argmax())]
    for wrong, said in (([], "0; expected 1 to"), ([-1], "-1; expected 0 to"), ([10**6], "expected 0 to"), ([1] * 999, "999; exp")):
        with pytest.raises(slimulator.ModelError, match=said):
            slimulator.logits(compiled, wrong)
    with pytest.raises(slimulator.ModelError, match=f"prompt: 0; expected 1 to {len(tokens)}, the tokens"):
        slimulator.logits(compiled, tokens, prompt=0)


def test_a_changed_graph_is_computed_and_verified(checkpoint: Path) -> None:
    graph = slimulator.float_graph(checkpoint)
    kind = next(op.kind for op in graph.layer if op.kind in ("silu", "gelu"))
    graph.layer = [replace(op, kind="relu") if op.kind == kind else op for op in graph.layer]
    changed = slimulator.compile(checkpoint, graph=graph, weights="i8")
    assert "relu" in {op.kind for op in changed.graph.layer}
    assert slimulator.verify(changed, count=4).ok
    assert not np.array_equal(slimulator.logits(changed, [1, 5]), slimulator.logits(checkpoint, [1, 5], weights="i8"))
    whole = graph.layer
    graph.layer = [op for op in whole if op.outputs != ("attention",)][:-1]
    with pytest.raises(slimulator.ModelError, match="attention is read before it is written"):
        slimulator.compile(checkpoint, graph=graph)
    graph.layer = whole[:-1]
    with pytest.raises(slimulator.ModelError, match="nothing reads ffn; expected results that are used"):
        slimulator.compile(checkpoint, graph=graph)
    graph.layer = whole[:next(at for at, op in enumerate(whole) if op.outputs == ("ffn_in",))]              # attention alone
    assert slimulator.verify(slimulator.compile(checkpoint, graph=graph), count=3).ok
    graph.layer = [*graph.layer, replace(graph.layer[-1], kind="relu3")]
    with pytest.raises(slimulator.ModelError, match="unknown kind; known are"):
        slimulator.compile(checkpoint, graph=graph)
    with pytest.raises(slimulator.ModelError, match="the graph of another model"):
        slimulator.compile(DEMO, graph=slimulator.float_graph(checkpoint))
    with pytest.raises(slimulator.ModelError, match="a changed graph, and --prune with a repair"):
        slimulator.compile(checkpoint, graph=slimulator.float_graph(checkpoint), prune="magnitude:0.5+lowrank:2")


def test_verify(checkpoint: Path, compiled: Compiled) -> None:
    found = slimulator.verify(checkpoint, count=4, weights="i8")
    assert found.ok and [check.verdict for check in found[1:]] == ["pass"] * 3
    assert [check.name for check in slimulator.verify(compiled, count=4)] == [check.name for check in found[2:]]
    assert "bit-exact" in found._repr_html_() and list(found.to_pandas().columns) == ["step", "verdict", "text"]


@pytest.mark.parametrize(("call", "error", "said"), [
    (lambda m: slimulator.compile(m, wieghts="i8"), TypeError, "no option 'wieghts'; .*did you mean 'weights'"),
    (lambda m: slimulator.compile(m, weights="i9"), slimulator.ModelError, "no weight format 'i9'"),
    (lambda m: slimulator.compile("nowhere"), slimulator.ModelError, "nowhere"),
    (lambda m: slimulator.generate(m, "a", max_token=3), TypeError, "no option 'max_token'"),
    (lambda m: slimulator.generate(m, "a", engine="quick"), ValueError, "expected fast or reference"),
    (lambda m: slimulator.generate(m, "a", engine="reference", threads=2), ValueError, "one thread"),
    (lambda m: slimulator.generate(slimulator.compile(m), "a", weights="i8"), TypeError, "weights: the model is compiled already"),
    (lambda m: slimulator.compile(slimulator.compile(m)), TypeError, "compiled already"),
    (lambda m: slimulator.generate(slimulator.compile(m), "a", max_token=3), TypeError, "no option 'max_token'"),
    (lambda m: slimulator.compile(m, context="10"), TypeError, "context='10'; expected int or None"),
    (lambda m: slimulator.compile(m, chunk=1.5), TypeError, "chunk=1.5; expected int or None"),
    (lambda m: slimulator.compile(m, weights=8), TypeError, "weights=8; expected str or None"),
    (lambda m: slimulator.compile(m, kv=None), TypeError, "kv=None; expected str"),
    (lambda m: slimulator.compile(m, machine=5), TypeError, "machine=5; expected Preset or str or None"),
    (lambda m: slimulator.compile(m, sparsity="0.5"), slimulator.ModelError, "--ffn-sparsity: '0.5'; expected exact, or a number"),
    (lambda m: slimulator.compile(m, graph="relu"), TypeError, "the graph is 'relu'"),
    (lambda m: slimulator.generate(m, 3), TypeError, "the prompt is 3"),
    (lambda m: slimulator.generate(m, "a", max_tokens=True), TypeError, "max_tokens=True; expected int"),
    (lambda m: slimulator.logits(m, [1.5]), TypeError, "'float' object cannot be interpreted as an integer"),
    (lambda m: slimulator.logits(m, [1], sequences=2), slimulator.ModelError, "expected a program for one text"),
    (lambda m: slimulator.verify(m, count=0), slimulator.ModelError, "at least 1"),
    (lambda m: slimulator.sweep("weights", "out"), TypeError, "expected a Study"),
    (lambda m: slimulator.generate(m, "a", max_tokens=0), slimulator.ModelError, "expected 1 or more tokens")])
def test_what_cannot_be(call: Any, error: type[Exception], said: str, checkpoint: Path) -> None:
    with pytest.raises(error, match=said):
        call(checkpoint)


def test_what_a_notebook_shows(compiled: Compiled) -> None:
    """Tables with the figures that the objects have."""
    result = slimulator.generate(compiled, "a cat", max_tokens=3)
    machine, preset = result.machine, compiled.machine
    assert "a cat" in result._repr_html_() and "&lt;b&gt;" in as_html(["x"], [["<b>"]]) and "energy a token" in result._repr_html_()
    assert f"{machine.counter('lut.macs'):,}" in machine._repr_html_() and "slim" in machine._repr_html_()
    counters = machine.counters.to_pandas().set_index("counter")
    assert counters.loc["lut.macs", "events"] == machine.counter("lut.macs") and counters.loc["lut.macs", "meaning"]
    assert machine.to_pandas().equals(machine.counters.to_pandas())
    assert "core.stores" in machine.counters._repr_html_() or not machine.counter("core.stores")
    figures = preset.to_pandas().set_index("figure")
    assert figures.loc["region.sram.size", "value"] == preset.region("sram").size
    assert all(source for _, _, source in preset.figures) and "assumed" in preset._repr_html_()
    symbols = machine.program.to_pandas().set_index("symbol")
    assert symbols.loc["token", "address"] == machine.program.symbol("token").value
    assert ".text" in machine.program._repr_html_()
    assert {row[0]: row[1] for row in result.figures}["tokens"] == 3 and len(result.to_pandas()) == len(result.figures)


def test_the_notebook_shows_what_it_does() -> None:
    """Every cell runs, and what it prints is what the file has; cells tagged `varies` may print other numbers."""
    book = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(book)
    shown = [_text(cell) for cell in book.cells]
    NotebookClient(book, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(NOTEBOOK.parents[1])}}).execute()
    for cell, before in zip(book.cells, shown, strict=True):
        if "varies" not in cell.metadata.get("tags", ()):
            assert _text(cell) == before, cell.source


def _text(cell: Any) -> str:
    """What a cell prints, and its result as text."""
    return "".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.get("outputs", ()))
