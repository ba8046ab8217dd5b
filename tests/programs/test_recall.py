"""The model that remembers: its files, its test of facts, recall on the emulated machine, and its training."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from compiler.frontends import load, need_tokenizer
from compiler.running.generate import find_program, open_program
from compiler.settings import Settings
from programs.demo.facts import DEPTHS, NAMES, THINGS, asked, facts_of, told
from programs.demo.recall import MODEL, encoder, found, main, prompts, shared

TOKENIZER = need_tokenizer(load(MODEL))


def test_the_directory_is_whole_and_small() -> None:
    files = {path.name: path.stat().st_size for path in MODEL.iterdir()}
    assert set(files) == {"README.md", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
                          "tokenizer_config.json"}
    assert sum(files.values()) <= 4 * 1024 * 1024
    assert load(MODEL).config.context == 2048


def test_each_name_and_thing_is_one_piece_and_different() -> None:
    words = NAMES.split() + THINGS.split()
    assert len(set(words)) == len(words) == 128
    assert all(len(ids) == 1 for ids in encoder(TOKENIZER)([f" {word}" for word in words]))


def test_prompts_ask_for_a_fact_of_their_quarter_that_only_the_story_tells() -> None:
    """The fact's line is there once, in the right quarter; the answer stands nowhere else."""
    encode = encoder(TOKENIZER)
    for number, fact in enumerate(asked(7, 16, 512, encode)):
        assert len(fact.prompt) == 512 and fact.depth == number % DEPTHS
        answer, = fact.answer
        places = [place for place, token in enumerate(fact.prompt) if token == answer]
        assert len(places) == 1 and abs(places[0] / 512 - (fact.depth + 0.5) / DEPTHS) < 0.2


def test_stories_are_a_function_of_their_seed() -> None:
    encode = encoder(TOKENIZER)
    first, again, other = (told(random.Random(seed), 256, encode) for seed in ("1 5", "1 5", "1 6"))
    assert first == again != other
    assert len(first[0]) == len(first[1]) == 256 and sum(first[1]) >= 2
    assert len(facts_of(random.Random(1), 64)) == 64


def test_facts_are_found_at_every_depth() -> None:
    program, tokenizer = open_program(find_program(MODEL, Settings(context=768)))
    assert found(program, tokenizer, prompts(tokenizer, 8, 768)) == [True] * 8


def test_processes_find_what_one_finds_in_order() -> None:
    """A cut loses some of these facts."""
    path, test = find_program(MODEL, Settings(context=512, prune_tokens="2:128")), prompts(TOKENIZER, 12, 512)
    alone = list(shared(path, test, 1))
    assert alone == list(shared(path, test, 2)) and len(set(alone)) == 2


def test_the_command_takes_options_of_the_compiler(tmp_path: Path) -> None:
    run = CliRunner().invoke(main, ["--facts", "4", "--positions", "256", "--context", "256", "--kv", "i8", "--json",
                                    str(tmp_path / "recall.json")])
    assert run.exit_code == 0, run.output
    assert "all: " in run.output and '"by_depth"' in (tmp_path / "recall.json").read_text()
    run = CliRunner().invoke(main, ["--facts", "4", "--positions", "256", "--prompts", str(tmp_path / "facts.jsonl")])
    assert run.exit_code == 0 and (tmp_path / "facts.jsonl").read_text().count("\n") == 4


def test_training_continues_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    from programs.demo import train_recall

    def train(out: str, stages: str) -> dict[str, object]:
        monkeypatch.setattr(sys, "argv", ["train_recall", "--out", str(tmp_path / out), "--stages", stages, "--layers", "2",
                                          "--decay", "0"])
        train_recall.main()
        return torch.load(tmp_path / out / "checkpoint.pt", weights_only=True)["model"]

    monkeypatch.setattr("programs.demo.training.rate_at", lambda *_: 1.0)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    whole = train("whole", "96x2:4")
    train("part", "96x2:2")
    resumed = train("part", "96x2:4")
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def test_the_first_weights_find_facts() -> None:
    torch = pytest.importorskip("torch")
    from programs.demo.model import BitNet, Shape
    from programs.demo.recall_start import start
    torch.manual_seed(1)
    model = BitNet(Shape(1024, 128, 8, 2, 1, 320, 2048, 1e8, weights="int8")).eval()
    start(model)
    with torch.no_grad():
        for fact in asked(5, 4, 200, encoder(TOKENIZER)):
            assert int(model(torch.tensor([[0, *fact.prompt]]))[0, -1].argmax()) == fact.answer[0]
