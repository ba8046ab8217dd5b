"""Attention to clusters of positions (--kv-select starc): every operation bit by bit, and against another computation."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compiled_models import FOLDER, loaded
from random_models import SHAPES, random_model

from compiler.checking.verify import compare
from compiler.compile import compile_model
from compiler.compiled import Compiled
from compiler.errors import ModelError
from compiler.formats.recipe import read_recipe
from compiler.graph import PLAIN, Executor
from compiler.model.model import Config
from compiler.passes.select import Caches, parse_select
from emulator.machine import Machine
from emulator.observe.hazards import HazardCheck
from isa.program import Program
from isa.reference import ReferenceMachine

PROMPT = [int(token) for token in np.random.default_rng(3).integers(1, 60, 131)]
DEMO = Path(__file__).parents[2] / "programs/demo/model"


def long(shape: str) -> Config:
    return replace(SHAPES[shape], context=160)


@cache
def built(shape: str, kv: str = "f32", machine: str = "slim", budget: int = 64, first: int = 1, chunk: int | None = None,
          sequences: int | None = None) -> tuple[Compiled, Program]:
    compiled = compile_model(random_model(long(shape)), machine=machine, kv=Caches(kv, parse_select(f"starc:{budget}", first)),
                             chunk=chunk, sequences=sequences, recipe=read_recipe("i8") if machine == "hpim" else None)
    (folder := Path(FOLDER.name) / f"starc-{shape}-{kv}-{machine}-{budget}-{first}-{chunk}-{sequences}").mkdir()
    return compiled, compiled.build(folder)


@pytest.mark.parametrize(("shape", "kv", "machine", "budget", "first", "chunk", "sequences", "tokens"), [
    ("gqa",  "f32", "slim", 64, 0, None, None, 131),
    ("plain", "i8", "slim", 80, 1, 7,    None, 131),
    ("mqa",  "f16", "hpim", 64, 1, None, None, 68),
    ("head_dim_6", "i8", "slim", 64, 1, 1, None, 68),
    ("gqa",  "f16", "slim", 70, 1, None, 2,    68),
])
def test_every_operation_equals_the_graph_and_waits_are_enough(shape: str, kv: str, machine: str, budget: int, first: int,
                                                               chunk: int | None, sequences: int | None, tokens: int) -> None:
    made = built(shape, kv, machine, budget, first, chunk, sequences)
    compared, difference = compare(*made, PROMPT[:tokens])
    assert difference is None, str(difference)
    assert compared > tokens * 40
    if sequences is None:
        runner, _ = loaded(made, PROMPT[:66], max_tokens=2, stop=())
        check = HazardCheck(runner)
        assert runner.run().reason == "exit" and check.hazards == []


def test_on_the_reference_engine_and_with_threads() -> None:
    """Bytes of the caches, counters, tokens."""
    found = []
    for engine in (ReferenceMachine, Machine, lambda machine, host: Machine(machine, host, threads=2)):
        machine, host = loaded(built("gqa", "f16", first=1), PROMPT[:66], engine, max_tokens=2, stop=())    # type: ignore[arg-type]
        assert machine.run().reason == "exit"
        symbol = built("gqa", "f16", first=1)[1].symbol("keys")
        found.append((host.tokens, machine.counters, machine.peek(symbol.value, 8192).tobytes()))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(("shape", "kv"), [("gqa", "f32"), ("plain", "i8")])
def test_clusters_and_choice_are_those_of_another_computation(shape: str, kv: str) -> None:
    """Of the second layer, in float64: k-means of each block, means of normalised keys, the clusters with the largest scores."""
    model, seen = random_model(long(shape)), dict[str, list[Any]]()
    c = model.config
    executor = Executor(compile_model(model, kv=Caches(kv, parse_select("starc:80", 1))).graph, model, PLAIN,
                        observe=lambda layer, op, results: [seen.setdefault(name, []).append(result) for name, result in zip(
                            op.outputs, results, strict=True) if layer == 1] and None)
    for token in PROMPT:
        executor.step(token)
    keys = np.stack(seen["k"][1::2]).reshape(-1, c.kv_heads, c.head_dim).astype(float)      # as they come: behind rope
    queries = np.stack(seen["q"][2::3]).reshape(-1, c.heads, c.head_dim).astype(float)      # behind scale
    kept = seen["keys"][-1].reshape(-1, c.kv_heads, c.head_dim)
    if kv == "i8":
        kept = kept * seen["keys_scales"][-1][:, :, None].astype(float)
    bounds, means_kept = seen["bounds"][-1], seen["centroids"][-1]
    centroids = (means_kept.view(np.float16) if kv == "i8" else means_kept).astype(float).reshape(-1, c.kv_heads, c.head_dim)
    assert bounds.shape == (c.kv_heads, 9) and (bounds[:, [0, 4, 8]] == [0, 64, 128]).all()
    for head in range(c.kv_heads):
        for block in range(2):
            mine = keys[64 * block:64 * block + 64, head]
            if kv == "i8":
                step = np.abs(mine).max(axis=1, keepdims=True) / 127
                mine = np.rint(mine / step) * step
            x = mine / np.linalg.norm(mine, axis=1, keepdims=True)
            means, labels = x[:4], None
            for _ in range(16):
                now = ((x[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
                if labels is not None and (now == labels).all():
                    break
                labels = now
                means = np.stack([x[labels == each].mean(axis=0) if (labels == each).any() else 0 * x[0] for each in range(4)])
            np.testing.assert_allclose(kept[64 * block:64 * block + 64, head], mine[np.argsort(labels, kind="stable")], rtol=1e-5)
            np.testing.assert_allclose(centroids[4 * block:4 * block + 4, head], means, atol=3e-4 if kv == "i8" else 1e-5)
            assert np.diff(bounds[head, 4 * block:4 * block + 5].astype(int)).tolist() == np.bincount(labels, minlength=4).tolist()
    for head in range(c.heads):
        group = head * c.kv_heads // c.heads
        order = np.argsort(-(centroids[:, group] @ queries[-1, head]), kind="stable")
        expected = [128, 129, 130, *(row for each in order for row in range(bounds[group, each], bounds[group, each + 1]))][:80]
        assert seen["rows"][-1][head].tolist() == expected
        if kv == "f32":
            values = seen["values"][-1].reshape(-1, c.kv_heads, c.head_dim)[expected, group]
            scores = kept[expected, group] @ queries[-1, head]
            shares = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
            np.testing.assert_allclose(seen["context"][-1].reshape(c.heads, -1)[head], shares @ values, rtol=1e-3, atol=1e-5)


def test_a_budget_that_holds_all_positions_is_full_attention() -> None:
    """Up to the rounding of sums in another order; also behind the first block."""
    model = random_model(long("gqa"))
    full, chosen = (Executor(compile_model(model, kv=Caches("f32", select)).graph, model, PLAIN)
                    for select in (None, parse_select("starc:140", 0)))
    for token in PROMPT:
        np.testing.assert_allclose(full.step(token), chosen.step(token), rtol=1e-3, atol=1e-4)


def test_keys_that_are_alike_are_one_cluster() -> None:
    """Ties go to the first centroid. Clusters without keys have centroids of zeros; keys of zeros are no numbers' end."""
    executor = Executor(compile_model(random_model(long("gqa"))).graph, random_model(long("gqa")), PLAIN)
    for keys in (np.ones((64, 12), np.float32), np.zeros((64, 12), np.float32)):
        labels, means = executor._k_means(keys)
        assert (labels == 0).all() and (means[1:] == 0).all() and np.isfinite(means).all()


def test_fewer_rows_are_read() -> None:
    """In each of the layers that choose, so many rows of keys and of values for each head, and centroids."""
    counts = []
    for first in (1, 0):
        machine, _ = loaded(built("gqa", "f16", first=first), PROMPT[:100], max_tokens=1, stop=())
        machine.run()
        counts.append(machine.counters["attn.rows"])
    full = sum(2 * 2 * n for n in range(1, 101))                            # of two heads of keys, and of values
    chosen = sum(2 * 4 * min(64, n) + 2 * 4 * (n // 64) for n in range(1, 101))         # of four heads of queries
    assert counts == [full + chosen, 2 * chosen]


@pytest.mark.parametrize(("text", "why"), [
    ("starc", "starc:BUDGET, such as starc:256"), ("starc:63", "a budget of 63; expected at least 64 positions"),
    ("starc:x", "starc:BUDGET"), ("starc:64:2", "starc:BUDGET")])
def test_what_is_no_budget_is_refused(text: str, why: str) -> None:
    with pytest.raises(ModelError, match=why) as refused:
        parse_select(text)
    assert "think" not in str(refused.value)


def test_models_that_cannot_are_refused() -> None:
    def why(budget: int = 64, first: int | None = None, config: Config = long("gqa"), machine: str = "slim") -> str:     # noqa: B008
        with pytest.raises(ModelError) as refused:
            compile_model(random_model(config), machine=machine, kv=Caches("f32", parse_select(f"starc:{budget}", first)))
        return str(refused.value)

    assert "less than the 2 layers" in why() and "--kv-select-from 0" in why()
    assert "a longer context: it has 160 positions" in why(160, 0)
    assert "looks at the last 5 positions" in why(64, 0, replace(long("gqa"), window=5))
    assert "units attn, thr, vec and fetch" in why(64, 0, machine="slim-llama")
    with pytest.raises(ModelError, match="think drops channels in every layer"):
        parse_select("think:0.4", 1)


def test_from_the_command_line(command: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    (text := tmp_path / "t.txt").write_text("Once upon a time there was a dog who liked to run in the park with a ball. " * 8)
    flags = ("--tokens", 90, "--kv-select", "starc:64", "--kv-select-from", 3, "--json", tmp_path / "e.json")
    status, out, _ = command("eval", DEMO, text, *flags)
    found = json.loads((tmp_path / "e.json").read_text())
    assert status == 0 and "kv select starc:64" in out and found["kv_select"] == "starc:64"
    assert 0 < found["beside_dense"]["kl_divergence"] < 0.1
    status, _, err = command("compile", DEMO, "--kv-select", "starc:64", "-o", tmp_path / "d.elf")
    assert status == 0 and "starc: 64 positions of each head in layers 2, 3, by clusters of 64 positions" in err
    status, _, err = command("compile", DEMO, "--kv-select-from", 1, "-o", tmp_path / "d.elf")
    assert status == 1 and "no --kv-select" in err
