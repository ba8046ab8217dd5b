"""Choosing tokens on the machine against the same recipe in plain NumPy and Python integers."""

from __future__ import annotations

from collections import Counter
from functools import cache

import numpy as np
import pytest
from compiled_models import built, generate, loaded

from compiler.errors import ModelError
from compiler.graph import EXACT, Executor


def uniform(state: int) -> tuple[int, float]:
    """xorshift64*: the next state, and a number below 1. Source: Vigna, arXiv:1402.6246."""
    state ^= state >> 12
    state = (state ^ state << 25) % 2 ** 64
    state ^= state >> 27
    return state, (state * 0x2545F4914F6CDD1D % 2 ** 64 >> 40) / 2 ** 24


def probabilities(logits: np.ndarray, temperature: float) -> np.ndarray:
    scaled = logits.astype(np.float64) / np.float64(np.float32(temperature))
    e = np.exp(scaled - scaled.max())
    return e / e.sum()


def nucleus(p: np.ndarray, top_p: float) -> np.ndarray:
    """Tokens, most likely first: the fewest whose probability exceeds top_p. All, in the order of the vocabulary, for 1."""
    if top_p >= 1:
        return np.arange(len(p))
    order = np.argsort(-p, kind="stable")
    return order[:int(np.argmax(np.cumsum(p[order]) > top_p)) + 1]


def draw(logits: np.ndarray, temperature: float, top_p: float, coin: float) -> int:
    p = probabilities(logits, temperature)
    tokens = nucleus(p, top_p)
    sums = np.cumsum(p[tokens])
    return int(tokens[np.argmax(sums > coin * sums[-1])])


@cache
def first_logits() -> np.ndarray:
    compiled, _ = built()
    return Executor(compiled.graph, compiled.model, EXACT).step(1).copy()


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 1.0), (1.0, 0.9), (1.5, 0.5), (0.3, 0.05), (50.0, 0.999)])
@pytest.mark.parametrize("seed", [1, 2, 123456789, 2 ** 64 - 1])
def test_the_tokens_of_a_text(temperature: float, top_p: float, seed: int) -> None:
    compiled, _ = built()
    executor = Executor(compiled.graph, compiled.model, EXACT)
    expected: list[int] = []
    token, state = 1, seed
    for _ in range(12):
        state, coin = uniform(state)
        token = draw(executor.step(token), temperature, top_p, coin)
        expected.append(token)
    _, tokens = generate(built(), temperature=temperature, top_p=top_p, seed=seed, max_tokens=12, stop=())
    assert tokens == expected


def test_the_same_seed_the_same_text_another_seed_another() -> None:
    texts = [generate(built(), temperature=1.0, seed=seed, stop=())[1] for seed in (7, 7, 8)]
    assert texts[0] == texts[1] != texts[2]


def test_seed_zero_is_a_seed() -> None:
    text = generate(built(), temperature=1.0, seed=0, stop=())[1]
    assert len(set(text)) > 5


def test_at_temperature_zero_the_most_likely_token() -> None:
    for seed in (1, 2):
        assert generate(built(), seed=seed, max_tokens=1, stop=())[1] == [int(first_logits().argmax())]


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (1.0, 0.8)])
def test_how_often_tokens_come(temperature: float, top_p: float) -> None:
    """600 draws: what is outside the nucleus never comes, the rest within five standard deviations."""
    made, draws = built(), 600
    p = probabilities(first_logits(), temperature)
    inside = nucleus(p, top_p)
    share = np.zeros(len(p))
    share[inside] = p[inside] / p[inside].sum()
    came: Counter[int] = Counter()
    for seed in np.random.default_rng(5).integers(1, 2 ** 62, draws).tolist():
        came.update(generate(made, temperature=temperature, top_p=top_p, seed=seed, max_tokens=1, stop=())[1])
    assert came.total() == draws and all(share[token] > 0 for token in came)
    for token, expected in enumerate(share * draws):
        assert abs(came[token] - expected) <= 5 * np.sqrt(expected) + 1


@pytest.mark.parametrize(("parameters", "place"), [
    ({"temperature": -1.0}, "temperature"), ({"temperature": float("nan")}, "temperature"), ({"temperature": 1e-40}, "temperature"),
    ({"top_p": 0.0}, "top_p"), ({"top_p": 1.5}, "top_p"), ({"seed": -1}, "seed"), ({"seed": 2 ** 64}, "seed"),
    ({"max_tokens": -1}, "max_tokens"), ({"stop": range(17)}, "stop")])
def test_parameters_that_mean_nothing(parameters: dict[str, float], place: str) -> None:
    with pytest.raises(ModelError) as error:
        loaded(built(), **parameters)
    assert error.value.place == place and error.value.expected
