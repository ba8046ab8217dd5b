"""The script that scores predicted neurons by level: its two other ways to choose neurons, its table and its picture."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
from random_models import SHAPES, random_model

from compiler.compile import Calibrated, compile_model
from compiler.formats.recipe import read_recipe
from compiler.graph import PLAIN, Executor
from programs.demo.levels import CHOSEN, Choosing, Row, exact_tables, picture, table

TEXT = [int(token) for token in np.random.default_rng(3).integers(3, 61, 60)]


@pytest.mark.parametrize("shape", ["plain", "relu2", "opt"])
def test_each_way_keeps_the_wanted_share_and_all_at_level_0(shape: str) -> None:
    compiled = compile_model(random_model(SHAPES[shape]), recipe=read_recipe("i8"),
                             sparsity=Calibrated(0.5, TEXT, predictor="i8"))
    hidden, tables = compiled.model.config.hidden, exact_tables(compiled, TEXT)
    for level in CHOSEN:
        counts: dict[str, list[int]] = {"exact": [], "oracle": []}
        for way, found in counts.items():
            executor = Choosing(compiled, way, level, tables)
            executor.observe = lambda _layer, op, results, found=found: (
                found.append(len(results[0])) if op.kind.startswith("active") else None)
            for token in TEXT[:39]:
                executor.step(token)
        assert set(counts["oracle"]) == {hidden - hidden * level // 16}
        assert np.mean(counts["exact"]) == pytest.approx(hidden * (1 - level / 16), abs=0.08 * hidden)
    everything = Choosing(compiled, "oracle", 0, tables).step(5)
    dense = compile_model(compiled.model, recipe=read_recipe("i8"))
    np.testing.assert_allclose(everything, Executor(dense.graph, dense.model, PLAIN).step(5), rtol=1e-3, atol=1e-4)


def test_table_and_picture() -> None:
    rows = [Row(level, 1 + level / 10, 1.0, 0.9, 100 - level, 7, 0.5, 0.25) for level in CHOSEN]
    lines = table(rows).splitlines()
    assert lines[2] == "| 0 | 1.000 | 1.000 | 0.900 | 100 | 7.0 | 0.500 | 0.250 |" and len(lines) == 2 + len(CHOSEN)
    drawn = ElementTree.fromstring(picture([("a", rows), ("b", rows)]))
    lines_of = drawn.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines_of) == 6 and all(len(line.attrib["points"].split()) == len(CHOSEN) for line in lines_of)
    near = picture([("a", [Row(level, 1.106 + level / 750, 1.11, 1.11, 100, 7, 0.5, 0.25) for level in CHOSEN])])
    assert all(f">{label}<" in near for label in ("1.106", "1.116", "1.126"))
