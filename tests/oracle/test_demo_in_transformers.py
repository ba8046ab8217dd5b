"""The demo model loads in transformers, which computes what its NumPy reference computes and tells the same story."""

import os

import numpy as np
import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["TORCH_COMPILE_DISABLE"] = "1"       # transformers compiles BitNet's packing, which would ask for a C++ compiler

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from programs.demo.reference import Model  # noqa: E402
from programs.demo.score import MODEL, bits  # noqa: E402

STORY = ("Once upon a time, there was a little girl named Lily. She had a red ball and a big dog. One day, the dog took the ball"
         " and ran away. Lily was sad, but her mom said, “Let us find him.” They found the dog under a tree and played until dark.")


@pytest.fixture(scope="module")
def theirs():
    return transformers.AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()


def test_logits(theirs) -> None:
    """A rounding to int8 that falls the other way shows in the logits, so most have to agree closely and all in the sum of bits."""
    ours = Model(MODEL)
    ids = transformers.AutoTokenizer.from_pretrained(MODEL)(STORY).input_ids
    assert ids == ours.encode(STORY)

    def forward(tokens: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return theirs(torch.tensor(tokens[None])).logits[0].numpy()

    expected, got = forward(np.array(ids)), ours.forward(np.array(ids))
    assert np.median(np.abs(got - expected)) < 2e-3 * np.abs(expected).max()
    assert np.mean(got.argmax(1) == expected.argmax(1)) > 0.95
    assert bits(ours.forward, ids, 512) == pytest.approx(bits(forward, ids, 512), rel=2e-3)


def test_linears_are_the_packed_codes(theirs) -> None:
    ours = Model(MODEL)
    for name, codes in ours.codes.items():
        assert np.array_equal(theirs.get_parameter(name).detach().numpy(), codes)
