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

from programs.demo import train  # noqa: E402
from programs.demo.model import BitNet, Shape, evenness, int8, ternary  # noqa: E402
from programs.demo.reference import Model  # noqa: E402
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


def test_what_is_exported_is_what_was_trained(whole: Path, tmp_path: Path) -> None:
    done = run("export", whole, tmp_path / "model")
    assert done.returncode == 0, done.stderr
    state = checkpoint(whole)
    network = BitNet(Shape(**state["shape"])).eval()
    network.load_state_dict(state["model"])
    shipped = Model(tmp_path / "model")
    tokens = shipped.encode("the cat ran to the red ball with a dog")
    with torch.no_grad():
        expected = network(torch.tensor([tokens]))[0].numpy()
    assert np.median(np.abs(shipped.forward(np.array(tokens)) - expected)) < 1e-3 * np.abs(expected).max()


# ------------------------------------------------------------------------------------------------ its parts


def test_quantisers_by_hand() -> None:
    codes, scale = ternary(torch.tensor([[0.2, -0.6], [1.0, -0.2]]))           # mean of the absolute values 0.5
    assert scale == 0.5 and codes.tolist() == [[0, -1], [1, 0]]
    x = torch.tensor([[127.0, -63.6, 0.4]], requires_grad=True)
    assert int8(x).tolist() == [[127.0, -64.0, 0.0]]
    int8(x).sum().backward()
    assert x.grad.tolist() == [[1.0, 1.0, 1.0]]                                 # straight through


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
    rates = [train.rate_at(step, 100, 10, 0.5) for step in range(100)]
    assert rates[0] == 0.1 and rates[9:51] == [1.0] * 42
    assert rates[75] == 0.5 and rates[99] == pytest.approx(0.02)
