"""Generation: text and its end, the program that carries its tokenizer, programs that are kept, logits at every position."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compiled_models import built
from tiny_checkpoint import CONTEXT, write_checkpoint

from compiler.checking.evaluate import Document, evaluate, of_graph, of_program, split
from compiler.errors import ModelError
from compiler.frontends import load
from compiler.graph import EXACT, Executor, build
from compiler.running import cache
from compiler.running.generate import Generated, Generation, Sampling, find_program, open_program
from compiler.settings import Settings
from emulator.machine import Machine
from isa.caches import PROGRAMS
from isa.preset import load_preset
from isa.program import Program, ProgramError
from isa.reference import ReferenceMachine
from isa.services import Host

STORIES = Path(__file__).parents[2] / ".." / "shared" / "data" / "stories260K"


@pytest.fixture(autouse=True)
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of kept programs: a fresh one."""
    monkeypatch.setattr(PROGRAMS, "root", tmp_path / "kept")
    return tmp_path / "kept" / "programs"


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "model")


def generated(path: Path, prompt: str, engine: type[ReferenceMachine] = Machine, **sampling: Any) -> tuple[Generated, str]:
    program, tokenizer = open_program(find_program(path))
    out = io.StringIO()
    generation = Generation(program, tokenizer, prompt, Sampling(**sampling), engine, load_preset("slim"))
    report = generation.run(lambda text: void(out.write(text)))
    return report, out.getvalue()


def void(_: object) -> None: ...


@pytest.mark.skipif(not STORIES.is_dir(), reason="no ../shared/data/stories260K")
def test_golden_text() -> None:
    """What llama2.c prints, all of it on both engines, which count the same."""
    golden = (STORIES / "greedy_200.txt").read_text(encoding="utf-8").removesuffix("\n")
    counted = []
    for engine in (Machine, ReferenceMachine):
        report, text = generated(STORIES / "stories260K.bin", "", engine, max_tokens=200)
        assert report.text == text == golden
        assert len(report.tokens) == 200 == report.counters["tokens.emitted"]
        counted.append(report.counters)
    assert counted[0] == counted[1]


def test_the_text_is_what_the_graph_finds_most_likely(tiny: Path) -> None:
    model = load(tiny)
    assert model.tokenizer is not None
    tokens = model.tokenizer.encode("abc de")
    executor = Executor(build(model.config), model, EXACT)
    logits = [executor.step(token) for token in tokens]
    expected: list[int] = []
    while len(expected) < 5:
        expected.append(int(logits[-1].argmax()))
        logits.append(executor.step(expected[-1]))
    report, text = generated(tiny, "abc de", max_tokens=5)
    assert report.tokens == expected[:len(report.tokens)] and (len(report.tokens) == 5 or expected[len(report.tokens)] in (1, 2))
    assert report.prompt == tokens and text.startswith("abc de")


def test_how_it_ends(tiny: Path) -> None:
    assert generated(tiny, "abc", max_tokens=2)[0].ended == "stopped after 2 tokens (limit set by -n)"
    assert generated(tiny, "abc", max_tokens=1)[0].ended == "stopped after 1 token (limit set by -n)"
    report, _ = generated(tiny, "abc")
    full = f"stopped after {len(report.tokens)} tokens (the context of {CONTEXT} is full)"
    assert report.ended in (full, "the model ended the text")
    assert len(report.prompt) + len(report.tokens) <= CONTEXT + 1


@pytest.mark.parametrize(("sampling", "ended"), [
    ({"max_tokens": 1}, "limit set by -n"), ({"max_tokens": 3}, "limit set by -n"), ({}, "context of 16 is full"),
    ({"temperature": 3.0, "seed": 1}, "the model ended the text")])
def test_positions_are_those_that_were_computed(tiny: Path, sampling: dict[str, Any], ended: str) -> None:
    """For each the program fetches one row, that of the embedding; one more takes the end of the prompt out of its chunk. At a
    limit the last token is not computed on."""
    report, _ = generated(tiny, "abc", ReferenceMachine, **sampling)
    assert ended in report.ended
    computed = len(report.prompt) + len(report.tokens) - ("stopped" in report.ended)
    assert report.positions == report.counters["fetch.rows"] - 1 == computed


@pytest.mark.parametrize(("prompt", "sampling", "says"), [
    ("a" * CONTEXT, {}, f"{CONTEXT + 2} tokens; expected at most {CONTEXT}"),
    ("abÄ", {}, "'Ä' (U+00C4, character 3) has no token"),
    ("abc", {"max_tokens": CONTEXT}, f"-n: {CONTEXT} tokens; expected at most {CONTEXT - 4}"),
    ("abc", {"max_tokens": 0}, "-n: 0; expected 1 or more"),
    ("abc", {"temperature": -1.0}, "--temperature: -1.0; expected 0 "),
    ("abc", {"temperature": math.nan}, "--temperature: nan; expected 0 "),
    ("abc", {"temperature": 1e-30}, "--temperature: 1e-30; expected 0 "),
    ("abc", {"top_p": 0.0}, "--top-p: 0.0; expected above 0, at most 1"),
    ("abc", {"seed": -1}, "--seed: -1; expected 0 to 2**64 - 1"),
])
def test_what_cannot_be_generated(tiny: Path, prompt: str, sampling: dict[str, Any], says: str) -> None:
    with pytest.raises(ModelError) as error:
        generated(tiny, prompt, **sampling)
    assert says in str(error.value)


def test_sampling(tiny: Path) -> None:
    """A seed is a text; a temperature near 0, and a top_p so small that one token is left, are greedy."""
    def text(**sampling: Any) -> list[int]:
        return generated(tiny, "a", max_tokens=8, **sampling)[0].tokens
    greedy = text()
    assert text(temperature=2.0, seed=5) == text(temperature=2.0, seed=5)
    assert len({tuple(text(temperature=2.0, seed=seed)) for seed in range(1, 6)}) > 2
    assert text(temperature=0.001, seed=9) == greedy == text(temperature=1.0, top_p=1e-6, seed=4)


# ------------------------------------------------------------------------------------------------ programs


def test_a_program_carries_its_tokenizer(tiny: Path, tmp_path: Path) -> None:
    path = find_program(tiny)
    program, tokenizer = open_program(path)
    assert {line.file for line in program.lines} == {"tiny.s"}      # what `compile MODEL -S` writes, not of the place it is kept at
    own = load(tiny).tokenizer
    assert own is not None and tokenizer.encode("a cat. b") == own.encode("a cat. b")
    assert tokenizer.decode([1, 5, 6]) == own.decode([1, 5, 6]) and (tokenizer.size, tokenizer.bos) == (own.size, own.bos)
    assert open_program(path, tmp_path / "model" / "tok31.bin")[1].encode("ab") == own.encode("ab")
    program = Program.load(path)
    del program.meta["tokenizer"]
    program.save(tmp_path / "bare.elf")
    with pytest.raises(ModelError, match="hint: name one: --tokenizer"):
        open_program(tmp_path / "bare.elf")
    del program.meta["model"]
    program.save(tmp_path / "none.elf")
    with pytest.raises(ProgramError, match="not compiled from a model"):
        open_program(tmp_path / "none.elf")


@pytest.mark.parametrize(("change", "said"), [
    ({"context": "many"}, "context is 'many'"), ({"context": None}, "context is None"), ({"vocab": 0}, "vocab is 0"),
    ({"weights": [1]}, r"weights is \[1\]"), ({"sequences": "two"}, "sequences is 'two'"),
    ({"sequences": 2}, "sequences is 2"), ({"context": True}, "context is True"), ({"missing": 3}, "missing is 3"),
    ({"operations": 3}, "operations is 3"), ({"cuts": 5}, "cuts is 5"), (7, "vocab is None")])
def test_a_damaged_model_card_is_refused(change: Any, said: str, tiny: Path, tmp_path: Path) -> None:
    program = Program.load(find_program(tiny))
    program.meta["model"] = {**program.meta["model"], **change} if isinstance(change, dict) else change
    program.save(tmp_path / "m.elf")
    with pytest.raises(ProgramError, match=f"its model card is damaged: {said}\nhint: compile the model again"):
        open_program(tmp_path / "m.elf")


def test_programs_are_kept_by_what_they_are_made_of(tiny: Path, programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = find_program(tiny)
    before = path.stat().st_mtime_ns
    assert find_program(tiny) == path and path.stat().st_mtime_ns == before
    assert len({path, *(find_program(tiny, Settings(**said)) for said in (
        {"weights": "t2"}, {"weights": "i8"}, {"context": 8}, {"kv": "i8"}))}) == 5
    monkeypatch.setattr(cache, "sources", lambda: "another compiler")
    assert find_program(tiny) != path
    monkeypatch.undo()
    monkeypatch.setattr(PROGRAMS, "root", programs.parent)
    write_checkpoint(tiny.parent, seed=4)
    assert find_program(tiny) != path


def test_an_interrupted_compile_leaves_nothing(tiny: Path, programs: Path) -> None:
    def interrupt(done: int, size: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_program(tiny, progress=interrupt)
    assert [path.name for path in programs.iterdir() if path.name not in ("contents", "lock")] == []
    assert find_program(tiny).exists()


def test_nan_weights_are_found_before_anything_is_written(tiny: Path, programs: Path) -> None:
    data = bytearray(tiny.read_bytes())
    data[-3000:-2996] = b"\x00\x00\xc0\x7f"
    tiny.write_bytes(data)
    with pytest.raises(ModelError, match=r"nan|NaN"):
        find_program(tiny)
    assert not list(programs.glob("*.elf"))


# ------------------------------------------------------------------------------------------------ logits


@pytest.mark.parametrize("engine", [Machine, ReferenceMachine])
def test_logits_at_every_position(engine: type[ReferenceMachine]) -> None:
    """A program that is asked for all of them gives the graph's, bit by bit, for one document after the other."""
    compiled, program = built("gqa", "t2")
    machine = engine(compiled.machine, Host())
    machine.load(program)
    ours, graph = of_program(machine, program), of_graph(Executor(compiled.graph, compiled.model, EXACT))
    for tokens in ([1, 5, 9, 33], [1], [1, 60, 2, 2, 7]):
        assert np.array_equal(np.stack(list(ours(tokens))), np.stack(list(graph(tokens))))
    assert machine.counters["tokens.emitted"] == 0


def test_scores_of_known_distributions() -> None:
    """Uniform over 8 tokens costs 3 bits each; a distribution that is sure of the right token costs none."""
    def uniform(tokens: Any, _prompt: int) -> Any:
        return (np.zeros(8, np.float32) for _ in tokens)

    def certain(tokens: Any, _prompt: int) -> Any:
        return (np.where(np.arange(8) == token + 1, 100, 0).astype(np.float32) for token in tokens)

    scores = evaluate([Document([1, 2, 3], 4), Document([4, 5], 2)], uniform, certain)
    assert (scores.tokens, scores.size) == (3, 6)
    assert scores.bits_per_byte == pytest.approx((9 / 6, 0), abs=1e-9)
    assert scores.perplexity == pytest.approx((8, 1))
    assert scores.kl == pytest.approx(100 * 7 / 8 - math.log(8), rel=1e-6)      # sum of (1/8) log((1/8) / q), q = e^-100 for seven
    assert scores.agreement == 0            # argmax of equal logits is token 0
    assert evaluate([Document([1, 2], 1)], uniform, uniform).agreement == 1


def test_documents(tiny: Path) -> None:
    tokenizer = load(tiny).tokenizer
    assert tokenizer is not None
    documents = split("abc\n<|endoftext|>\n\n<|endoftext|> a cat sat on a mat.", tokenizer, CONTEXT)
    assert all(document.tokens[0] == 1 and len(document.tokens) <= CONTEXT for document in documents)
    assert tokenizer.decode(documents[0].tokens) == "abc" and documents[0].size == 3
    whole = "".join(tokenizer.decode([1, *document.tokens[1:]]) if number == 0 else tokenizer.decode([0, *document.tokens[1:]])[1:]
                    for number, document in enumerate(documents[1:]))
    assert whole == "a cat sat on a mat." and len(documents) == 3
    assert sum(len(document.tokens) - 1 for document in split("a cat sat on a mat.", tokenizer, CONTEXT, 7)) == 7
    with pytest.raises(ModelError, match="something to predict"):
        split(" <|endoftext|> ", tokenizer, CONTEXT)
    with pytest.raises(ModelError, match="1 position; expected at least 2"):
        split("a cat sat on a mat.", tokenizer, 1)


