"""Rope as files describe it: a base, and ways to scale the frequencies for longer texts."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from compiler.errors import ModelError
from compiler.frontends.hf_options import ALLOWED
from compiler.frontends.options import Options
from compiler.model.model import Rope, check_shape, rope_frequencies
from compiler.model.tensors import F32, Tensor

# ------------------------------------------------------------------------------------------------ config.json


def hf_rope(options: Options, head_dim: int, theta: float) -> Rope:
    """The rope in a config.json: in rope_parameters, or in rope_theta and rope_scaling as older files have them.

    A file with both tables was given the older one by hand, to change rope: the older one counts, as in transformers
    (modeling_rope_utils.py, convert_rope_params_to_dict). Raises ModelError for a kind of scaling that is not supported.
    """
    theta = options.real("rope_theta", theta)
    older, newer = options.table("rope_scaling"), options.table("rope_parameters")
    scaling = older if older.values else newer
    theta = scaling.real("rope_theta", theta)
    if not 0 < theta < math.inf:
        raise options.error("rope_theta", got=str(theta), expected="a positive number")
    frequencies = rope_frequencies(head_dim, theta)
    scale = scaling.choice("rope_type" if "rope_type" in scaling.values else "type", SCALINGS, "default")
    scaled = scale(scaling, frequencies)
    unused = () if scale is _llama3 else ("original_max_position_embeddings",)
    scaling.check_rest(("type", "rope_type", "finetuned", *unused), ALLOWED, strict=True)      # a file may have both names
    return Rope(tuple(scaled.tolist()), adjacent=False)


def _linear(options: Options, frequencies: F32) -> F32:
    """Positions divided by `factor`. Source: Chen et al., "Position Interpolation", arXiv:2306.15595."""
    return frequencies / np.float32(_positive(options, "factor"))


def _positive(options: Options, key: str, default: float | None = None) -> float:
    value = options.real(key, default)
    if not 0 < value < math.inf:
        raise options.error(key, expected="a positive number")
    return value


def _llama3(options: Options, frequencies: F32) -> F32:
    """Llama 3.1: long wavelengths are stretched by `factor`, short ones stay, those between are interpolated.

    Source: transformers, modeling_rope_utils.py, "llama3".
    """
    factor, context = _positive(options, "factor"), _positive(options, "original_max_position_embeddings")
    low, high = _positive(options, "low_freq_factor"), _positive(options, "high_freq_factor")
    if low >= high:
        raise options.error("low_freq_factor", expected=f"less than high_freq_factor, {high}")
    turns = context * frequencies.astype(np.float64) / (2 * np.pi)      # within the original context
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    scaled: F32 = ((1 - smooth) * frequencies / factor + smooth * frequencies).astype(np.float32)
    return scaled


SCALINGS: dict[str, Callable[[Options, F32], F32]] = {
    "default": lambda options, frequencies: frequencies, "linear": _linear, "llama3": _llama3}


# ------------------------------------------------------------------------------------------------ GGUF


def gguf_rope(options: Options, head_dim: int, factors: Tensor | None, *, adjacent: bool) -> Rope:
    """The rope in the metadata of a GGUF file; `factors` (head_dim / 2,), where it has them, divide the frequencies."""
    frequencies: F32 = rope_frequencies(head_dim, _positive(options, "rope.freq_base", 10000.0))
    scaled = options.choice("rope.scaling.type", {"none": False, "linear": True}, "linear")
    factor = options.real("rope.scaling.factor", options.real("rope.scale_linear", 0.0))
    if factor < 0 or not math.isfinite(factor):
        raise options.error("rope.scaling.factor", expected="a positive number")
    if scaled:
        frequencies = frequencies / np.float32(factor or 1)     # 0 says none, as in llama.cpp
    if factors is not None:
        divisors = check_shape(factors, (head_dim // 2,), "factors of the frequencies").vector()
        if (divisors <= 0).any():
            raise ModelError(factors.file, f"tensor {factors.name}", got=str(divisors.min()), expected="positive factors")
        frequencies = frequencies / divisors
    return Rope(tuple(frequencies.tolist()), adjacent=adjacent)
