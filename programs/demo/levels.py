"""Accuracy and cost of predicted neurons at each level of sparsity, as a table and a picture.

    python -m programs.demo.levels MODEL ... --text TEXT --calibrate TRAIN [--tokens 300] [--picture levels.svg]

Of each level three ways to choose the same number of neurons stand beside each other:

    predicted   the compiled program on the machine: neurons whose guess is above the threshold
    exact       the same rule with what the gate really gives: no error of the predictor is in it
    oracle      of each token the neurons whose values, gate times up, are largest: no threshold can do better

Bits per byte are those of the text; neurons, pages, time and energy are counted by the program, for a token of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from compiler.checking.evaluate import evaluate_pairs, of_graph, of_program, split
from compiler.compile import Calibrated, compile_model
from compiler.compiled import Compiled
from compiler.formats.recipe import read_recipe
from compiler.frontends import load, need_tokenizer
from compiler.graph import PLAIN, Executor, Op, build
from compiler.model.tensors import F32
from compiler.passes.predict import LEVELS, thresholds
from compiler.passes.sparsify import EXACT
from emulator.machine import Machine
from isa.energy import energy_of
from isa.program import Program

CHOSEN = (0, 4, 8, 12, 14, 15)


@dataclass
class Row:
    """A level: bits per byte of each way; of the program for a token: neurons of all layers, pages, ms, mJ."""

    level: int
    predicted: float
    exact: float
    oracle: float
    neurons: float
    pages: float
    ms: float
    mj: float


class Choosing(Executor):
    """The graph with another choice of neurons. Products are those of floats, which is faster: weights are the quantised ones."""

    def __init__(self, compiled: Compiled, way: str, level: int, tables: Sequence[F32]) -> None:
        super().__init__(compiled.graph, compiled.model, PLAIN)
        self.way, self.level, self.tables = way, level, tables
        self._product = next(op for op in compiled.graph.layer if ".objects" in op.kind and op.kind.startswith("gemv"))
        self._layer = 0

    def _gemv_i8(self, x: Any, scale: F32, *, W: str) -> F32:
        values: F32 = np.concatenate([block @ x.astype(np.float32) for block in self._floats(W)]) * scale
        return values

    def perform(self, layer: int | None, op: Op) -> None:
        self._layer = layer or 0
        super().perform(layer, op)

    def _results(self, role: str) -> F32:
        """What a matrix of the layer makes of the inputs of the layer's products, with its bias."""
        x = [self.values[name] for name in self._product.inputs if name != "active"]
        whole = f"layers.{self._layer}.{role}"
        found: F32 = (self._gemv if len(x) == 1 else self._gemv_i8)(*x, W=whole)
        return found + self._vector(f"{whole}.bias") if role in self.graph.config.biases else found

    def _active_above(self, x: F32, *, W: str, sparsity: float) -> Any:
        c = self.graph.config
        lead = self._results("gate" if c.gated else "up")
        if self.way == "exact":
            compared = lead if c.activation in EXACT else np.abs(lead)
            return np.flatnonzero(compared > self.tables[self._layer][LEVELS + self.level]).astype(np.uint32)
        values = getattr(self, f"_{c.activation}")(lead) * (self._results("up") if c.gated else 1)
        count = c.hidden - c.hidden * self.level // LEVELS
        return np.sort(np.argsort(-np.abs(values), kind="stable")[:count]).astype(np.uint32)

    _active_over = _active_above


def exact_tables(compiled: Compiled, tokens: Sequence[int]) -> list[F32]:
    """Of each layer the table of thresholds of what the gate really gives on a text."""
    c = compiled.graph.config
    seen: list[list[F32]] = [[] for _ in range(c.layers)]

    class Looking(Choosing):
        def _active_above(self, x: F32, *, W: str, sparsity: float) -> Any:
            lead = self._results("gate" if c.gated else "up")
            seen[self._layer].append(lead if c.activation in EXACT else np.abs(lead))
            return np.arange(c.hidden, dtype=np.uint32)

        _active_over = _active_above

    executor = Looking(compiled, "", 0, ())
    for token in tokens:
        if executor.position == c.context:
            executor.restart()
        executor.step(token)
    return [thresholds(np.stack(found)) for found in seen]


def measured(path: Path, text: str, train: str, machine: str, weights: str | None, count: int, folder: Path) -> list[Row]:
    """The rows of a model. `count`: tokens of the text."""
    model = load(path)
    tokenizer = need_tokenizer(model)
    tokens = tokenizer.encode(train[:50_000])[:2048]
    compiled = compile_model(model, machine=machine, chunk=1, recipe=read_recipe(weights) if weights else None,
                             sparsity=Calibrated(0.5, tokens, predictor="i8"))
    compiled.save(folder / "levels.elf")
    program = Program.load(folder / "levels.elf")
    documents = split(text, tokenizer, compiled.memory.context, count)
    tables, runner, rows = exact_tables(compiled, tokens), Machine(compiled.machine), list[Row]()
    runner.load(program)
    for level in CHOSEN:
        runner.tensor("ffn_sparsity", "f32[1]")[0] = level / LEVELS
        before, start = dict(runner.counters), runner.time.cycles
        ways = [of_graph(Executor(build(model.config), model)), of_program(runner, program),
                *(of_graph(Choosing(compiled, way, level, tables)) for way in ("exact", "oracle"))]
        scores = evaluate_pairs(documents, ways, [(0, 1), (0, 2), (0, 3)])
        counters = {name: value - before[name] for name, value in runner.counters.items()}
        seconds = Fraction(runner.time.cycles - start, runner.time.clock_hz)
        energy = energy_of(counters, compiled.machine, seconds)
        joules = float(sum(energy.by_event.values()) + sum(energy.static.values())) if energy else 0.0
        each = sum(len(document.tokens) - 1 for document in documents)
        rows.append(Row(level, *(score.bits_per_byte[1] for score in scores), counters["thr.passes"] / each,
                        counters["fetch.pages"] / each, 1e3 * float(seconds) / each, 1e3 * joules / each))
    return rows


def table(rows: Sequence[Row]) -> str:
    """The rows as a table of Markdown."""
    lines = ["| level | predicted | exact | oracle | neurons | pages | ms | mJ |", "|---|---|---|---|---|---|---|---|"]
    lines += [f"| {r.level} | {r.predicted:.3f} | {r.exact:.3f} | {r.oracle:.3f} | {r.neurons:,.0f} | {r.pages:,.1f} | "
              f"{r.ms:.3f} | {r.mj:.3f} |" for r in rows]
    return "\n".join(lines)


def picture(panels: Sequence[tuple[str, Sequence[Row]]]) -> str:
    """Bits per byte by level as SVG: a panel for each model, a line for each way."""
    width, height, left, top = 380, 260, 46, 34
    colours = {"predicted": "#c0392b", "exact": "#2471a3", "oracle": "#1e8449"}
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width * len(panels)}" height="{height + 30}" '
             'font-family="sans-serif" font-size="11">', '<rect width="100%" height="100%" fill="white"/>']
    for number, (title, rows) in enumerate(panels):
        values = [getattr(row, way) for row in rows for way in colours]
        low, high = min(values), max(values)
        room = max(high - low, 1e-3)
        digits = 2 if room > 1 else 3

        def place(level: float, value: float, low: float = low, room: float = room,
                  first: int = number * width + left) -> tuple[float, float]:
            return first + level / 15 * (width - left - 20), top + (1 - (value - low) / room) * (height - top - 40)

        parts.append(f'<text x="{number * width + left}" y="20" font-size="13">{title}: bits per byte</text>')
        for level in CHOSEN:
            x, y = place(level, low)
            parts.append(f'<text x="{x:.1f}" y="{y + 18:.1f}" text-anchor="middle">{level}</text>')
        for value in (low, low + room / 2, high):
            x, y = place(0, value)
            parts.append(f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{number * width + width - 20}" y2="{y:.1f}" stroke="#dddddd"/>'
                         f'<text x="{x - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{value:.{digits}f}</text>')
        for at, (way, colour) in enumerate(colours.items()):
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(row.level, getattr(row, way)) for row in rows))
            parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
            parts.append(f'<text x="{number * width + left + 10}" y="{top + 16 + 14 * at}" fill="{colour}">{way}</text>')
        parts.append(f'<text x="{number * width + width // 2}" y="{height + 14}" text-anchor="middle">level of 16</text>')
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description="Accuracy and cost of predicted neurons by level.")
    parser.add_argument("model", type=Path, nargs="+")
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--calibrate", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=300)
    parser.add_argument("--machine", default="slim-nsp")
    parser.add_argument("--weights")
    parser.add_argument("--picture", type=Path)
    said = parser.parse_args()
    text, train, panels = said.text.read_text("utf-8"), said.calibrate.read_text("utf-8"), []
    for path in said.model:
        with TemporaryDirectory() as folder:
            rows = measured(path, text, train, said.machine, said.weights, said.tokens, Path(folder))
        panels.append((path.stem if path.is_file() else path.resolve().parent.name, rows))
        print(f"{path}\n\n{table(rows)}\n")
    if said.picture:
        said.picture.write_text(picture(panels), "utf-8")


if __name__ == "__main__":
    main()
