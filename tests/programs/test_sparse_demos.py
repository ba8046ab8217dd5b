"""The sparse versions of the demo model as they ship: files, zeros, the same tokens from reference and programs, figures, card."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from compiler.compile import compile_model
from compiler.formats.recipe import Recipe, parse_format
from compiler.frontends import load
from compiler.graph import Executor
from compiler.running.parameters import set_parameters
from emulator.machine import Machine
from isa.reference import ReferenceMachine
from isa.services import Host
from programs.demo.bitmask import compress, expand
from programs.demo.reference import Factors, Model
from programs.demo.score import bits
from programs.demo.tokenizer import stories_of

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "programs/demo"
FIGURES = json.loads((DEMO / "figures.json").read_text())
DATA = ROOT.parent / "shared/data"
PRUNED = ("int8-2of4", "int8-half")
SHIPPED = (*PRUNED, "block-diagonal")
RECIPE = Recipe(parse_format("i8"), parse_format("f16"))            # linears, which may be codes already, and embedding
PROMPT = "Once upon a time"
LINEARS = [f"model.layers.{i}.{name}_proj" for i in range(4)
           for name in ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "mlp.gate", "mlp.up", "mlp.down")]


@pytest.fixture(scope="module", params=SHIPPED)
def directory(request: pytest.FixtureRequest) -> Path:
    return DEMO / str(request.param)


@pytest.fixture(scope="module")
def model(directory: Path) -> Model:
    return Model(directory)


# ------------------------------------------------------------------------------------------------ files


def test_a_directory_is_whole_and_small(directory: Path) -> None:
    files = {path.name: path.stat().st_size for path in directory.iterdir()}
    assert set(files) == {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert sum(files.values()) <= 4 * 1024 * 1024
    assert (directory / "tokenizer.json").read_bytes() == (DEMO / "model/tokenizer.json").read_bytes()


@pytest.mark.parametrize("name", PRUNED)
def test_linears_are_int8_with_a_scale_for_each_row_and_half_are_kept(name: str) -> None:
    model = Model(DEMO / name)
    assert sorted(model.codes) == sorted(f"{linear}.weight" for linear in LINEARS)
    for linear, codes in model.codes.items():
        rows, cols = codes.shape
        kept, largest = np.count_nonzero(codes, axis=1), np.abs(codes.astype(int)).max(axis=1)
        assert codes.dtype == np.int8 and (kept <= cols // 2).all() and kept.mean() > 0.45 * cols
        if name == "int8-2of4":
            assert (np.count_nonzero(codes.reshape(rows, -1, 4), axis=2) <= 2).all()
        scales = model.tensors[f"{linear}_scale"]
        assert scales.shape == (rows, 1) and np.array_equal(scales[:, 0] > 0, largest > 0)
        assert set(largest) <= {0, 127}                                                # of a row: the rule of i8


def test_factors_are_int8_of_their_rows_and_a_quarter_of_the_weights() -> None:
    stored = safetensors.numpy.load_file(DEMO / "block-diagonal/model.safetensors")
    shapes = {name: Model(DEMO / "int8-2of4").codes[f"{name}.weight"].shape for name in LINEARS}
    for name, (rows, cols) in shapes.items():
        right, left = stored[f"{name}.right"], stored[f"{name}.left"]
        assert right.shape == left.shape == (rows // 64, cols // 64, 8, 8, 8)
        assert right.size + left.size == rows * cols // 4
        for row in (right.reshape(-1, 8), left.transpose(0, 2, 3, 1, 4).reshape(rows, -1)):
            scale = np.abs(row.astype(np.float32)).max(1, keepdims=True) / np.float32(127)
            codes = row.astype(np.float32) / np.where(scale == 0, 1, scale)
            assert np.abs(codes - np.rint(codes)).max() < 0.13             # f16 of codes * scale: off by at most 127 * 2 ** -10
    assert not any(f"{name}.weight" in stored for name in LINEARS)


# ------------------------------------------------------------------------------------------------ how they are stored


@given(st.integers(1, 4), st.integers(1, 5), st.booleans(), st.integers(0, 2**32 - 1))
def test_bitmasks_round_trip(rows: int, groups: int, paired: bool, seed: int) -> None:
    generator = np.random.default_rng(seed)
    codes = generator.integers(-127, 128, (rows, 4 * groups)).astype(np.int8)
    kept = (generator.permuted(np.tile([1, 1, 0, 0], (rows * groups, 1)), axis=1).reshape(rows, -1) if paired
            else generator.integers(0, 2, codes.shape)).astype(bool)
    tensors = compress("m", codes * kept, kept)
    assert np.array_equal(expand(tensors, "m" if "m.shape" in tensors else "m.weight"), codes * kept)


def test_bitmasks_by_hand() -> None:
    """A kept code that is 0 is stored in 2:4, and not in the other format."""
    codes = np.array([[5, 0, 0, -7, 0, 1, 0, 0]], np.int8)
    paired = compress("m", codes, np.array([[1, 0, 0, 1, 0, 1, 1, 0]], bool))
    assert paired["m.bitmask"].tolist() == [[0b0110_1001]] and paired["m.compressed"].tolist() == [[5, -7, 1, 0]]
    other = compress("m", codes, np.array([[1, 0, 1, 1, 0, 1, 0, 0]], bool))
    assert other["m.weight.bitmask"].tolist() == [[0b0010_1001]] and other["m.weight.compressed"].tolist() == [5, -7, 1]
    assert other["m.weight.row_offsets"].tolist() == [0]
    with pytest.raises(ValueError, match="2 codes that are not 0"):
        compress("m", codes, np.array([[1, 0, 0, 0, 0, 0, 0, 0]], bool))


def test_factors_are_a_matrix_with_a_rounding_between_its_stages() -> None:
    """Against P L P R, square by square, in fp64. The vectors are whole numbers, and the roundings leave about a hundredth."""
    generator = np.random.default_rng(3)
    right, left = (generator.integers(-127, 128, (3, 2, 4, 4, 4)).astype(np.float32) for _ in range(2))
    swapped = np.eye(16).reshape(4, 4, 16).swapaxes(0, 1).reshape(16, 16)

    def diagonal(blocks: np.ndarray) -> np.ndarray:
        whole = np.zeros((16, 16))
        for at, block in enumerate(blocks):
            whole[4 * at:4 * at + 4, 4 * at:4 * at + 4] = block
        return whole

    matrix = np.block([[swapped @ diagonal(left[i, j]) @ swapped @ diagonal(right[i, j]) for j in range(2)] for i in range(3)])
    x = generator.integers(-127, 128, (5, 32)).astype(np.float32)
    expected = x @ matrix.T
    assert np.abs(Factors(right, left)(x) - expected).max() < 0.02 * np.abs(expected).max()


# ------------------------------------------------------------------------------------------------ the compiler


@pytest.mark.parametrize("name", PRUNED)
def test_the_compiler_reads_the_same_codes_and_scales(name: str) -> None:
    model, loaded = Model(DEMO / name), load(DEMO / name)
    for layer in range(4):
        for role, module in (("q", "self_attn.q_proj"), ("down", "mlp.down_proj"), ("gate", "mlp.gate_proj")):
            codes = loaded.tensors[f"layers.{layer}.{role}"].codes()
            assert np.array_equal(codes.values, model.codes[f"model.layers.{layer}.{module}.weight"])
            assert np.array_equal(codes.scales, model.tensors[f"model.layers.{layer}.{module}.weight_scale"])


@pytest.mark.parametrize(("name", "layout"), [("int8-2of4", "nm:2:4"), ("int8-half", "bm")])
def test_zeros_are_not_stored(name: str, layout: str) -> None:
    compiled = compile_model(load(DEMO / name))
    placed = [place for body in compiled.layout.bodies for place in body.values() if len(place.shape) == 2]
    assert len(placed) >= 7 and {place.layout and place.layout.name for place in placed} == {layout}


def test_the_quantised_graph_computes_what_the_reference_computes(directory: Path, model: Model) -> None:
    """Two implementations that share nothing but the files; a rounding to int8 that falls the other way may show."""
    compiled = compile_model(load(directory), recipe=RECIPE)
    ids = model.encode("Once upon a time, there was a little girl named Lily. She had a red ball.")
    executor = Executor(compiled.graph, compiled.model)
    got, expected = np.stack([executor.step(token) for token in ids]), model.forward(np.array(ids))
    assert np.abs(got - expected).max() < 0.02 * np.abs(expected).max()
    assert np.median(np.abs(got - expected)) < 1e-3 * np.abs(expected).max()


@pytest.mark.parametrize(("machine", "engine", "count"), [("slim", Machine, 64), ("slim-llama", Machine, 64),
                                                          ("slim", ReferenceMachine, 4)])
def test_programs_tell_the_story_of_the_reference(directory: Path, model: Model, machine: str, engine: type[ReferenceMachine],
                                                  count: int, tmp_path: Path) -> None:
    """As far as no two tokens are nearly as likely: then a rounding to int8 that falls the other way decides."""
    expected = list(model.generate(PROMPT, count))
    program = compile_model(load(directory), machine=machine, recipe=RECIPE).build(tmp_path)
    runner = engine(machine, Host(model.encode(PROMPT)))
    runner.load(program)
    set_parameters(runner, max_tokens=count)
    assert runner.run().reason == "exit" and runner.host.tokens == expected


# ------------------------------------------------------------------------------------------------ the card


@pytest.mark.skipif(not DATA.is_dir(), reason="no data beside the repository")
def test_the_score_of_a_few_stories_is_near_that_of_all(directory: Path, model: Model) -> None:
    stories = stories_of((DATA / "tinystories/valid.txt").read_text(encoding="utf-8"))[::90]
    total = sum(bits(model.forward, model.encode(story), model.context) for story in stories)
    expected = FIGURES[directory.name]["bits_per_byte"]
    assert total / sum(len(story.encode()) for story in stories) == pytest.approx(expected, rel=0.05)


def test_figures_are_of_these_models(directory: Path) -> None:
    assert FIGURES[directory.name]["sha256"] == hashlib.sha256((directory / "model.safetensors").read_bytes()).hexdigest()


def test_two_of_four_costs_at_most_three_percent() -> None:
    assert FIGURES["int8-2of4"]["bits_per_byte"] <= 1.03 * FIGURES["int8"]["bits_per_byte"]


@pytest.mark.parametrize("name", ["int8", *SHIPPED])
def test_the_card_states_the_figures(name: str) -> None:
    card = (DEMO / "README.md").read_text(encoding="utf-8")
    assert f"{FIGURES[name]['bits_per_byte']:.3f}" in card


def test_the_card_states_sizes(directory: Path) -> None:
    card = (DEMO / "README.md").read_text(encoding="utf-8")
    size = sum(path.stat().st_size for path in directory.iterdir()) / 1e6
    line = next(line for line in card.splitlines() if line.startswith(f"| `{directory.name}`"))
    assert f"{size:.1f} MB" in line
