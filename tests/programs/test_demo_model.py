"""The demo model as it ships: its files, its packing, its tokenizer, and the figures of its card."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from children import LIMIT
from hypothesis import given
from hypothesis import strategies as st

from compiler.compile import compile_model
from compiler.frontends import load
from compiler.graph import Executor, build
from compiler.running.parameters import set_parameters
from emulator.machine import Machine
from isa.reference import ReferenceMachine
from isa.services import Host
from programs.demo import stories260k
from programs.demo.packing import pack, unpack
from programs.demo.reference import Model
from programs.demo.score import bits
from programs.demo.tokenizer import SEPARATOR, SEPARATOR_ID, stories_of

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "programs/demo"
FIGURES = json.loads((DEMO / "figures.json").read_text())
DATA = ROOT.parent / "shared/data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no data beside the repository")


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(DEMO / "model")


# ------------------------------------------------------------------------------------------------ files


def test_the_directory_is_whole_and_small() -> None:
    files = {path.name: path.stat().st_size for path in (DEMO / "model").iterdir()}
    assert set(files) == {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert sum(files.values()) <= 4 * 1024 * 1024


def test_it_loads_without_torch() -> None:
    """Whatever the environment holds: nothing that reads the model may import it."""
    program = ("import sys; sys.modules['torch'] = None\n"
               "from programs.demo import reference, score\n"
               "print(reference.Model(score.MODEL).context)")
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT)
    assert done.stdout == "512\n", done.stderr


def test_every_linear_is_ternary_and_packed(model: Model) -> None:
    stored = safetensors.numpy.load_file(DEMO / "model/model.safetensors")
    linears = [f"model.layers.{i}.{name}_proj.weight" for i in range(model.config["num_hidden_layers"])
               for name in ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "mlp.gate", "mlp.up", "mlp.down")]
    assert sorted(model.codes) == sorted(linears)
    for name in linears:
        codes = model.codes[name]
        assert set(np.unique(codes)) == {-1, 0, 1}
        assert np.array_equal(pack(codes), stored[name])
        assert stored[f"{name}_scale"].shape == (1,) and stored[f"{name}_scale"][0] > 0
    assert all(np.isfinite(tensor).all() for tensor in stored.values())


# ------------------------------------------------------------------------------------------------ packing


def test_packing_by_hand() -> None:
    """Rows -1, 0, 1, 1 are the two-bit numbers 0, 1, 2, 2, the first row in the lowest bits."""
    assert pack(np.array([[-1], [0], [1], [1]])).tolist() == [[0b10_10_01_00]]
    assert pack(np.array([[-1], [1], [0], [0], [1], [-1], [0], [1]])).tolist() == [[0b01_10_01_00], [0b10_00_01_10]]


@given(st.integers(0, 5), st.integers(0, 7), st.integers(0, 2**32 - 1))
def test_packing_round_trip(quarter: int, cols: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(-1, 2, (4 * quarter, cols)).astype(np.int8)
    packed = pack(codes)
    assert packed.dtype == np.uint8 and packed.shape == (quarter, cols)
    assert np.array_equal(unpack(packed), codes)


def test_what_cannot_be_packed_is_refused() -> None:
    with pytest.raises(ValueError, match="5 rows"):
        pack(np.zeros((5, 2), np.int8))
    with pytest.raises(ValueError, match="-1, 0 and 1"):
        pack(np.full((4, 1), 2, np.int8))
    with pytest.raises(ValueError, match="code 3"):
        unpack(np.array([[0b11]], np.uint8))


# ------------------------------------------------------------------------------------------------ tokenizer


@pytest.mark.parametrize("text", ["Once upon a time", "", " two  spaces\n\n\tand “quotes” ", "naïve 🐉 日本", "\x00\x7f"])
def test_tokenizer_takes_every_text(model: Model, text: str) -> None:
    ids = model.encode(text)
    assert ids[0] == SEPARATOR_ID and SEPARATOR_ID not in ids[1:]
    assert model.tokenizer.decode(ids) == text


def test_separator_in_a_text_is_one_token(model: Model) -> None:
    assert model.tokenizer.encode(f"The end.{SEPARATOR}", add_special_tokens=False).ids[-1] == SEPARATOR_ID
    assert model.tokenizer.get_vocab_size() == model.config["vocab_size"]
    assert model.config["bos_token_id"] == model.config["eos_token_id"] == SEPARATOR_ID


@needs_data
def test_tokenizer_round_trip_of_every_story(model: Model) -> None:
    stories = stories_of((DATA / "tinystories/valid.txt").read_text(encoding="utf-8"))
    encodings = model.tokenizer.encode_batch(stories)
    assert [model.tokenizer.decode(encoding.ids) for encoding in encodings] == stories
    assert sum(len(encoding.ids) - 1 for encoding in encodings) == FIGURES["model"]["tokens"]


# ------------------------------------------------------------------------------------------------ score


@pytest.mark.parametrize("length", [2, 3, 8, 9, 12, 13, 31])
def test_every_token_is_scored_once_in_windows_of_the_context(length: int) -> None:
    """A model that gives probability 1/2 to the right token, and to no other token, costs a bit for each token after the first."""
    longest = []

    def forward(tokens: np.ndarray) -> np.ndarray:
        longest.append(len(tokens))
        logits = np.full((len(tokens), 40), -np.inf, np.float32)
        logits[np.arange(len(tokens)), tokens + 1] = logits[:, 39] = 0.0
        return logits

    assert bits(forward, list(range(length)), 8) == pytest.approx(length - 1)
    assert max(longest) <= 8


@needs_data
def test_the_yardstick_tells_what_llama2c_tells() -> None:
    yardstick = stories260k.Model.read(DATA / "stories260K/stories260K.bin")
    tokenizer = stories260k.Tokenizer(DATA / "stories260K/tok512.bin", yardstick.vocab)
    ids = [stories260k.BOS]
    for _ in range(200):
        ids.append(int(yardstick.forward(np.array(ids))[-1].argmax()))
    assert tokenizer.decode(ids) == (DATA / "stories260K/greedy_200.txt").read_text(encoding="utf-8").rstrip("\n")
    assert tokenizer.encode(tokenizer.decode(ids)) == ids[1:]


def test_the_cache_changes_nothing(model: Model) -> None:
    """Logits of a text at once and token by token: equal but for roundings, which int8 steps may make visible."""
    ids = np.array(model.encode("Tom had a red ball. He went to the park with his mom."))
    cache: list[list[np.ndarray]] = [[] for _ in range(model.config["num_hidden_layers"])]
    step_by_step = np.concatenate([model.forward(ids[i:i + 1], cache) for i in range(len(ids))])
    whole = model.forward(ids)
    assert np.abs(step_by_step - whole).max() < 0.02 * np.abs(whole).max()
    assert np.median(np.abs(step_by_step - whole)) < 1e-3 * np.abs(whole).max()


@needs_data
def test_the_score_of_a_few_stories_is_near_that_of_all(model: Model) -> None:
    stories = stories_of((DATA / "tinystories/valid.txt").read_text(encoding="utf-8"))[::90]
    total = sum(bits(model.forward, model.encode(story), model.context) for story in stories)
    assert total / sum(len(story.encode()) for story in stories) == pytest.approx(FIGURES["model"]["bits_per_byte"], rel=0.05)


def test_the_compilers_float_graph_computes_the_same(model: Model) -> None:
    """Two implementations that share nothing but the files; a rounding to int8 that falls the other way may show."""
    loaded = load(DEMO / "model")
    ids = model.encode("Once upon a time, there was a little girl named Lily. She had a red ball.")
    assert loaded.tokenizer is not None and loaded.tokenizer.encode(model.tokenizer.decode(ids)) == ids
    executor = Executor(build(loaded.config), loaded)
    got, expected = np.stack([executor.step(token) for token in ids]), model.forward(np.array(ids))
    assert np.abs(got - expected).max() < 0.02 * np.abs(expected).max()
    assert np.median(np.abs(got - expected)) < 1e-3 * np.abs(expected).max()


def test_a_story_comes_out(model: Model) -> None:
    story = model.tokenizer.decode(list(model.generate("Once upon a time", 60)))
    assert len(story.split()) > 30
    assert re.match(r",? ?there was a ", story), story
    sampled = [list(model.generate("Once upon a time", 20, temperature=0.8, seed=seed)) for seed in (1, 1, 2)]
    assert sampled[0] == sampled[1] != sampled[2]


# "Once upon a time", then the most likely tokens, as the NumPy reference has them: what every program of the model must emit.
GOLDEN = [12, 397, 283, 259, 385, 470, 402, 406, 14, 339, 362, 259, 346, 12, 676, 476, 14, 406, 495, 266, 323, 327, 335, 476,
          14, 529, 326, 12, 392, 500, 259, 346, 12, 676, 476, 14, 406, 283, 377, 376, 14, 199, 662, 409, 266, 323, 327, 263,
          476, 12, 408, 392, 451, 368, 657, 757, 266, 323, 327, 310, 14, 339, 540, 266, 1707, 263, 476, 12, 267, 310, 1931,
          584, 14, 406, 283, 489, 14, 339, 451, 368, 657, 579, 266, 375, 14, 199, 1103, 12, 588, 891, 806, 14, 442, 346, 12,
          1196, 474, 545, 267, 602, 263, 476, 584, 14, 406, 283, 489, 267, 1282, 14, 339, 451, 368, 657, 579, 266, 375, 14,
          339, 635]


def test_the_reference_tells_the_golden_tokens(model: Model) -> None:
    assert model.encode("Once upon a time") == [0, 425, 436, 259, 394]
    assert list(model.generate("Once upon a time", len(GOLDEN))) == GOLDEN


@pytest.mark.parametrize(("machine", "engine", "count"), [
    ("slim", Machine, len(GOLDEN)), ("slim-llama", Machine, len(GOLDEN)), ("slim", ReferenceMachine, 8)])
@pytest.mark.parametrize("sparse", [False, True])
def test_the_emulated_machine_tells_them_too(machine: str, engine: type[ReferenceMachine], count: int, sparse: bool,
                                             tmp_path: Path) -> None:
    program = compile_model(load(DEMO / "model"), machine=machine, sparsity="exact" if sparse else None).build(tmp_path)
    runner = engine(machine, Host([0, 425, 436, 259, 394]))
    runner.load(program)
    set_parameters(runner, max_tokens=count)
    assert runner.run().reason == "exit" and runner.host.tokens == GOLDEN[:count]


# ------------------------------------------------------------------------------------------------ the card


def test_figures_are_of_this_model() -> None:
    assert FIGURES["model"]["sha256"] == hashlib.sha256((DEMO / "model/model.safetensors").read_bytes()).hexdigest()
    assert FIGURES["text"]["stories"] == 1911
    assert FIGURES["model"]["bits_per_byte"] < FIGURES["stories260K"]["bits_per_byte"]


def test_the_card_states_the_figures() -> None:
    card = (DEMO / "README.md").read_text(encoding="utf-8")
    for name in ("model", "stories260K"):
        assert f"{FIGURES[name]['bits_per_byte']:.3f}" in card
        assert f"{FIGURES[name]['tokens']:,}" in card
    shares = " / ".join(f"{100 * share:.1f} %" for share in FIGURES["model"]["zeros_per_layer"])
    assert shares in card
