"""The first check of `slimulator verify`, the float graph against transformers: it passes, and it can fail."""

from __future__ import annotations

import json
from pathlib import Path

from compiler.frontends import load
from compiler.verify_chain import float_graph
from tests.oracle.checkpoints import LLAMA, TOKENS, make


def test_the_float_graph_is_held_to_transformers(tmp_path: Path) -> None:
    make("LlamaForCausalLM", **LLAMA).save_pretrained(tmp_path)
    check = float_graph(load(tmp_path), TOKENS)
    assert check.verdict == "pass" and check.figures["largest_relative_difference"] < 1e-5


def test_another_model_fails(tmp_path: Path) -> None:
    """Opened with one base of the positions' angles, compared with another."""
    make("LlamaForCausalLM", **LLAMA).save_pretrained(tmp_path)
    model = load(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["rope_parameters"]["rope_theta"] = 37.0
    (tmp_path / "config.json").write_text(json.dumps(config))
    check = float_graph(model, TOKENS)
    assert check.verdict == "FAIL" and "differ by" in check.text


def test_what_transformers_does_not_load_is_not_checked(tmp_path: Path) -> None:
    make("LlamaForCausalLM", **LLAMA).save_pretrained(tmp_path)
    model = load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    check = float_graph(model, TOKENS)
    assert check.verdict == "not checked" and "transformers does not run this checkpoint" in check.text
