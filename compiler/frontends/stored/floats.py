"""Plain floats: f32, f16 or bf16, row by row."""

from __future__ import annotations

from compiler.formats.weight_format import WEIGHT_FORMATS
from compiler.frontends.shards import Stored, refuse_dtype
from compiler.model.tensors import FloatTensor

FLOATS = {"F32": "f32", "F16": "f16", "BF16": "bf16"}
"""Formats of weights by the names that safetensors has for them."""


def float_tensor(stored: Stored) -> FloatTensor:
    """A tensor of floats. Raises ModelError for another type."""
    if stored.dtype not in FLOATS:
        raise refuse_dtype(stored, tuple(FLOATS), "packed BitNet weights need quantization_config in config.json"
                           if stored.dtype == "U8" else "convert the checkpoint to bfloat16 or float32")
    return FloatTensor(stored.name, stored.shape, WEIGHT_FORMATS[FLOATS[stored.dtype]], where=stored.where)
