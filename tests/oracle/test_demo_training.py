"""Training of the demo model on a very small scale: it continues exactly, and what is exported is what was trained.

It stands here because it needs torch, which is there where the comparisons with outside references are made.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from children import LIMIT

torch = pytest.importorskip("torch")

from programs.demo import train, training  # noqa: E402
from programs.demo.linears import Int8, Monarch, int8, int8_rows, ternary  # noqa: E402
from programs.demo.model import BitNet, Shape, evenness  # noqa: E402
from programs.demo.reference import Factors, Model  # noqa: E402
from programs.demo.tokenizer import SEPARATOR  # noqa: E402

ROOT = Path(__file__).parents[2]
WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "dog", "ran", "to", "red", "ball", "with", "mom", "in", "big", "park"]


def run(module: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", f"programs.demo.{module}", *map(str, arguments)], cwd=ROOT,
                          capture_output=True, text=True, timeout=LIMIT)


def trained(folder: Path, steps: int, *more: object) -> subprocess.CompletedProcess[str]:
    generator = np.random.default_rng(5)
    text = folder.parent / "text.txt"
    text.write_text(f"\n{SEPARATOR}\n".join(" ".join(generator.choice(WORDS, 40)) for _ in range(60)))
    return run("train", text, "--out", folder, "--steps", steps, "--vocabulary", 300, "--dim", 32, "--layers", 2, "--heads", 2,
               "--kv-heads", 1, "--hidden", 40, "--context", 64, "--batch", 256, "--warm-up", 2, "--held-out", 6, "--evaluate", 4,
               "--dropout", 0.1, "--sparsity", 0.1, "--decay", 0, *more)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    done = trained(folder, 30, "--fall", 0.2)
    assert done.returncode == 0, done.stderr
    return folder


def checkpoint(folder: Path) -> dict:
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def test_a_run_continues_as_if_it_had_not_stopped(whole: Path, tmp_path: Path) -> None:
    """A run whose rate would fall later is stopped before it does, then continued to the end of the other: the same bits."""
    assert trained(tmp_path / "run", 10, "--fall", 0.001).returncode == 0
    done = trained(tmp_path / "run", 30, "--fall", 0.2)
    assert "step 10 of 30" in done.stdout
    first, second = checkpoint(whole), checkpoint(tmp_path / "run")
    assert first["step"] == second["step"] == 30
    assert all(torch.equal(first["model"][name], second["model"][name]) for name in first["model"])


def test_it_learns(whole: Path) -> None:
    lines = [json.loads(line) for line in (whole / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [25, 30]
    assert lines[-1]["loss"] < 4.5 < np.log(300)


def test_another_shape_is_refused_in_one_line(whole: Path) -> None:
    done = trained(whole, 40, "--layers", 3)
    assert done.returncode == 1
    assert "'layers': 2" in done.stderr and "'layers': 3" in done.stderr and "Traceback" not in done.stderr


def test_no_checkpoint_is_told_in_one_line(tmp_path: Path) -> None:
    done = run("export", tmp_path, tmp_path / "model")
    assert done.returncode == 1
    assert done.stderr.startswith("error:") and done.stderr.count("\n") == 1
    assert not (tmp_path / "model").exists()


def exported(folder: Path, model: Path) -> Model:
    done = run("export", folder, model)
    assert done.returncode == 0, done.stderr
    return Model(model)


def same_logits(folder: Path, shipped: Model) -> bool:
    """Whether the network of a run computes what the reference does, but for roundings. What is stored in f16 is taken as such."""
    state = checkpoint(folder)
    network = BitNet(Shape(**state["shape"])).eval()
    stored = {name.removeprefix("model."): torch.from_numpy(tensor) for name, tensor in shipped.tensors.items()
              if name.endswith((".right", ".left", "embed_tokens.weight"))}
    network.load_state_dict(state["model"] | stored)
    tokens = shipped.encode("the cat ran to the red ball with a dog")
    with torch.no_grad():
        expected = network(torch.tensor([tokens]))[0].numpy()
    return bool(np.median(np.abs(shipped.forward(np.array(tokens)) - expected)) < 1e-3 * np.abs(expected).max())


def test_what_is_exported_is_what_was_trained(whole: Path, tmp_path: Path) -> None:
    assert same_logits(whole, exported(whole, tmp_path / "model"))


# ------------------------------------------------------------------------------------------------ other weights


@pytest.fixture(scope="module")
def dense(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run `whole` goes on with int8 weights, from its floats; another shape in the options counts for nothing."""
    folder = tmp_path_factory.mktemp("dense") / "run"
    done = trained(folder, 4, "--start", whole, "--weights", "int8", "--layers", 7)
    assert done.returncode == 0, done.stderr
    assert (folder / "tokenizer.json").read_bytes() == (whole / "tokenizer.json").read_bytes()
    return folder


def test_int8_weights_are_exported_by_the_compilers_rule(dense: Path, tmp_path: Path) -> None:
    shipped, masters = exported(dense, tmp_path / "model"), checkpoint(dense)["model"]
    assert same_logits(dense, shipped)
    for name, codes in shipped.codes.items():
        weights = masters[name.removeprefix("model.")].numpy()
        scale = np.abs(weights).max(1, keepdims=True) / np.float32(127)
        assert np.array_equal(shipped.tensors[f"{name}_scale"], scale)
        assert np.array_equal(codes, np.rint(weights / scale))


def test_a_model_directory_is_a_start(whole: Path, tmp_path: Path) -> None:
    """Its floats are codes * scale, and int8 has these exactly: with a rate of 0 nothing changes."""
    shipped = exported(whole, tmp_path / "model")
    done = trained(tmp_path / "run", 1, "--start", tmp_path / "model", "--weights", "int8", "--rate", 0, "--adam-rate", 0)
    assert done.returncode == 0, done.stderr
    again = exported(tmp_path / "run", tmp_path / "int8")
    for name, codes in shipped.codes.items():
        assert np.array_equal(again.codes[name], 127 * codes * (np.abs(codes).max(1, keepdims=True) > 0))
    ids = np.array(shipped.encode("the cat ran"))
    assert np.allclose(again.forward(ids), shipped.forward(ids), rtol=0.01, atol=0.01 * np.abs(shipped.forward(ids)).max())


@pytest.mark.parametrize(("pattern", "group", "format"), [("2:4", 4, "sparse-24-bitmask"), ("25%", 0, "sparse-bitmask")])
def test_pruned_weights_stay_pruned(dense: Path, tmp_path: Path, pattern: str, group: int, format: str) -> None:
    """Which weights are kept is chosen in the first half of the steps, also over a stop; the others are 0 in the file."""
    options = ("--start", dense, "--weights", "int8", "--prune", pattern, "--choose", 0.5, "--fall", 0.2)
    assert trained(tmp_path / "run", 6, *options, "--teacher", dense).returncode == 0
    shipped = exported(tmp_path / "run", tmp_path / "model")
    state, config = checkpoint(tmp_path / "run")["model"], json.loads((tmp_path / "model/config.json").read_text())
    assert config["quantization_config"]["sparsity_config"]["format"] == format
    assert same_logits(tmp_path / "run", shipped)
    moved = 0
    for name, codes in shipped.codes.items():
        kept = state[name.removeprefix("model.").removesuffix("weight") + "kept"].numpy()
        groups = kept.reshape(len(kept), -1, group or kept.shape[1]).sum(-1)
        assert (groups == (2 if group else kept.shape[1] // 4)).all() and not codes[~kept].any()
        linear = Int8(kept.shape[1], kept.shape[0], 1.0)
        linear.weight.data = checkpoint(dense)["model"][name.removeprefix("model.")]
        linear.choose(2 if group else 25, group)
        moved += np.count_nonzero(linear.kept.numpy() != kept)
    assert moved                                                            # not only the largest ones at the start


def test_factors_start_nearest_to_the_matrix_and_are_exported(tmp_path: Path) -> None:
    size = ("--dim", 64, "--hidden", 128, "--kv-heads", 2)
    assert trained(tmp_path / "dense", 2, *size).returncode == 0
    done = trained(tmp_path / "run", 3, *size, "--start", tmp_path / "dense", "--weights", "monarch")
    assert done.returncode == 0, done.stderr
    shipped = exported(tmp_path / "run", tmp_path / "model")
    assert len(shipped.factors) == 14 and not shipped.codes
    assert same_logits(tmp_path / "run", shipped)
    state = checkpoint(tmp_path / "run")["model"]
    linear = Monarch(64, 128, 1.0)
    linear.load_state_dict({part: state[f"layers.1.mlp.up_proj.{part}"] for part in ("right", "left")})
    (right, _), (left, _) = linear.codes()
    with torch.no_grad():
        floats = [tensor.numpy().astype(np.float16).astype(np.float32) for tensor in linear.factors()]
    stored, whole = Factors(*floats), Factors(*(tensor.numpy() for tensor in (right, left)))
    assert np.array_equal(stored.right, whole.right) and np.array_equal(stored.left, whole.left)     # f16 gives the same codes
    done = trained(tmp_path / "back", 3, "--start", tmp_path / "run", "--weights", "int8")
    assert done.returncode == 1 and "no weights to start from" in done.stderr and done.stderr.count("\n") == 1


def test_what_does_not_fit_together_is_refused(whole: Path, tmp_path: Path) -> None:
    for options, said in ((("--prune", "2:4"), "--weights int8"), (("--prune", "4:2", "--weights", "int8"), "N below M"),
                          (("--start", tmp_path), "no checkpoint.pt")):
        done = trained(tmp_path / "run", 1, *options)
        assert done.returncode in (1, 2) and said in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "run/checkpoint.pt").exists()


# ------------------------------------------------------------------------------------------------ its parts


def test_quantisers_by_hand() -> None:
    codes, scale = ternary(torch.tensor([[0.2, -0.6], [1.0, -0.2]]))           # mean of the absolute values 0.5
    assert scale == 0.5 and codes.tolist() == [[0, -1], [1, 0]]
    x = torch.tensor([[127.0, -63.6, 0.4]], requires_grad=True)
    assert int8(x).tolist() == [[127.0, -64.0, 0.0]]
    int8(x).sum().backward()
    assert x.grad.tolist() == [[1.0, 1.0, 1.0]]                                 # straight through


def test_int8_rows_by_hand() -> None:
    """The scale of a row is its largest magnitude over 127; a row of zeros has the scale 0."""
    codes, scale = int8_rows(torch.tensor([[0.5, -2.54, 0.0], [0.0, 0.0, 0.0]]))
    assert codes.tolist() == [[25.0, -127.0, 0.0], [0.0, 0.0, 0.0]]
    assert scale.tolist() == [[pytest.approx(0.02)], [0.0]]


def test_choosing_by_hand() -> None:
    linear = Int8(8, 1, 1.0)
    linear.weight.data = torch.tensor([[1.0, -3.0, 2.0, 0.5, 4.0, 5.0, -6.0, 7.0]])
    linear.choose(2, 4)
    assert linear.kept.int().tolist() == [[0, 1, 1, 0, 0, 0, 1, 1]]
    linear.choose(50, 0)
    assert linear.kept.int().tolist() == [[0, 0, 0, 0, 1, 1, 1, 1]]
    for choosing in (True, False):                                      # gradients reach the weights left out, then no longer
        linear.choosing, linear.weight.grad = choosing, None
        linear(torch.ones(1, 8)).sum().backward()
        assert linear.weight.grad is not None and bool(linear.weight.grad[0, 0]) == choosing and linear.weight.grad[0, 7] == 1


def test_divergence_by_hand() -> None:
    """From a teacher that is sure of 3 to 1 to an even guess; the second target does not count."""
    even, taught = torch.zeros(1, 2, 2), torch.tensor([[[3.0, 1.0], [1.0, 9.0]]]).log()
    expected = 0.75 * np.log(0.75 / 0.5) + 0.25 * np.log(0.25 / 0.5)
    assert train.divergence(even, taught, torch.tensor([[0, train.IGNORED]])).item() == pytest.approx(expected)


def test_nearest_factors() -> None:
    """A product of factors is its own nearest one, and of another matrix the rest is orthogonal to what was found."""
    torch.manual_seed(2)
    linear, other, noise = Monarch(128, 64, 1.0), Monarch(128, 64, 1.0), torch.randn(64, 128)

    def product(factors: Monarch) -> torch.Tensor:
        return torch.einsum("ijarb,ijbac->irajbc", factors.left, factors.right).reshape(64, 128).detach()

    other.project(product(linear))
    assert torch.allclose(product(other), product(linear), atol=1e-6)
    other.project(noise)
    found = product(other)
    assert float((found * (noise - found)).sum()) == pytest.approx(0, abs=1e-3) and float(found.norm()) > 0.4 * float(noise.norm())
    x = int8(torch.randn(3, 128))
    with torch.no_grad():
        stages, at_once = linear.eval()(x), linear.train()(x)
    assert torch.allclose(stages, at_once, atol=0.02 * float(stages.abs().max()))
    with pytest.raises(ValueError, match="squares of 64"):
        Monarch(96, 64, 1.0)


def test_evenness_by_hand() -> None:
    assert evenness(torch.tensor([[2.0, 2.0, 2.0, 2.0]])).item() == pytest.approx(1)
    assert evenness(torch.tensor([[-1.0, 3.0, -2.0, 0.0]])).item() == pytest.approx(1 / 4)


def test_an_epoch_has_every_window_once_and_no_batch_too_large() -> None:
    stories = [list(range(n)) for n in (2, 5, 17, 9, 9, 40, 3)]
    pieces = train.windows(stories, 16)
    assert sorted(target for piece in pieces for target in piece[1:]) == sorted(target for story in stories for target in story[1:])
    assert max(map(len, pieces)) == 17
    for epoch in range(3):
        chosen = train.batches(pieces, 32, 1, epoch)
        assert sorted(i for batch in chosen for i in batch) == list(range(len(pieces)))
        assert all(train.padded([pieces[i] for i in batch])[0].numel() <= 32 for batch in chosen)
    assert train.batches(pieces, 32, 1, 0) == train.batches(pieces, 32, 1, 0) != train.batches(pieces, 32, 1, 1)


def test_the_rate_warms_up_stays_and_falls() -> None:
    rates = [training.rate_at(step, 100, 10, 0.5) for step in range(100)]
    assert rates[0] == 0.1 and rates[9:51] == [1.0] * 42
    assert rates[75] == 0.5 and rates[99] == pytest.approx(0.02)
