"""Tiny random checkpoints that transformers itself makes and saves, and the comparison of its logits with ours."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["TORCH_COMPILE_DISABLE"] = "1"       # transformers compiles BitNet's packing, which would ask for a C++ compiler

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from compiler.frontends import load  # noqa: E402
from compiler.graph import PLAIN, Arithmetic, Executor, Op, build  # noqa: E402

TOLERANCE = 1e-4
VOCAB = 96
SIZES: dict[str, Any] = {"vocab_size": VOCAB, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
                         "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
LLAMA: dict[str, Any] = {**SIZES, "intermediate_size": 112, "num_key_value_heads": 2}
TOKENS = (1, 17, 95, 3, 3, 60, 42, 8, 77, 23, 5, 31, 64, 90, 12, 2, 50, 19, 81, 33)


def make(name: str, seed: int = 0, **options: Any) -> Any:
    """A model of the class `name`, every parameter random, so that no bias or gain is a neutral one."""
    config = getattr(transformers, name.replace("ForCausalLM", "Config"))(**options)
    torch.manual_seed(seed)
    model = getattr(transformers, name)(config).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            gain = "norm" in key and key.endswith("weight")
            parameter.copy_(torch.randn_like(parameter) * (0.2 if gain else 0.15) + (1.0 if gain else 0.0))
    return model


def their_logits(model: Any, tokens: Sequence[int] = TOKENS) -> np.ndarray:
    """(tokens, vocab), by one call for the whole text."""
    with torch.no_grad():
        return np.asarray(model(torch.tensor([list(tokens)])).logits[0].float())


def our_logits(path: Path, tokens: Sequence[int] = TOKENS, arithmetic: Arithmetic = PLAIN, keep: int = 1 << 30) -> np.ndarray:
    """(tokens, vocab), token by token through the float graph and its KV cache."""
    model = load(path)
    executor = Executor(build(model.config), model, arithmetic, keep=keep)
    return np.stack([executor.step(token) for token in tokens])


def assert_close(ours: np.ndarray, theirs: np.ndarray, tolerance: float = TOLERANCE) -> None:
    """Every logit within `tolerance` of the greatest of its position; and the logits say something."""
    assert ours.shape == theirs.shape
    assert np.ptp(theirs, axis=1).min() > 0.1
    error = np.abs(ours - theirs).max(axis=1) / np.abs(theirs).max(axis=1)
    assert error.max() <= tolerance, f"relative error by position: {error}"


SHORT = TOKENS[:4]
CLEAR = 5e-5


def margin(path: Path) -> float:
    """How near a quantiser of our graph comes to a tie on SHORT, in steps: nearer than fp32's noise, and two right answers differ.

    Tests of int8 activations take the first seed whose margin is CLEAR.
    """
    nearest: list[float] = []

    def observe(layer: int | None, op: Op, results: tuple[Any, ...]) -> None:
        if op.kind == "quantise":
            x = executor.values[op.inputs[0]]
            scaled = np.abs(x * (127 / np.abs(x).max()))
            nearest.append(float(np.abs(scaled - np.floor(scaled) - 0.5).min()))

    model = load(path)
    executor = Executor(build(model.config), model, PLAIN, observe=observe)
    for token in SHORT:
        executor.step(token)
    assert len(nearest) == len(SHORT) * model.config.layers * 4
    return min(nearest)


MODES = {"autobitlinear": {"linear_class": "autobitlinear", "quantization_mode": "offline"},
         "bitlinear": {"linear_class": "bitlinear", "quantization_mode": "offline"},
         "online": {"linear_class": "autobitlinear", "quantization_mode": "online"}}


def save_bitnet(folder: Path, mode: str, seed: int) -> None:
    """A checkpoint with the linears of its layers packed by transformers' own pack_weights, or as floats for mode online."""
    from transformers.integrations.bitnet import pack_weights

    model = make("BitNetForCausalLM", seed, **LLAMA)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for name in [name for name in state if name.endswith("_proj.weight") and mode != "online"]:
        state[name] = pack_weights(torch.sign(state[name]) * (state[name].abs() > 0.07))
        scale = state[name].float().mean().reshape(1) / 400
        state[name.replace("weight", "weight_scale")] = 1 / scale if mode == "bitlinear" else scale
    model.config.architectures = ["BitNetForCausalLM"]
    model.config.quantization_config = {"quant_method": "bitnet", **MODES[mode]}
    model.config.save_pretrained(folder)
    from safetensors.torch import save_file

    save_file(state, folder / "model.safetensors", {"format": "pt"})
