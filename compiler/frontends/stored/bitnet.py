"""BitNet: the linears of layers as ternary codes, packed or as floats that become ternary when read.

Source: transformers, integrations/bitnet.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from compiler.errors import ModelError, shown
from compiler.formats.weight_format import WEIGHT_FORMATS
from compiler.frontends.options import Options
from compiler.frontends.shards import Stored, refuse_dtype
from compiler.frontends.stored.files import Files
from compiler.frontends.stored.floats import float_tensor
from compiler.frontends.stored.storage import Storage
from compiler.model.tensors import F32, AbsmeanTensor, Codes, FileTensor, FloatTensor, Tensor


@dataclass(frozen=True, kw_only=True)
class BitNet(Storage):
    """`packed`: ternary codes, else floats. `inverse`: the stored scale divides the codes instead of multiplying them."""

    int8_activations: bool = True
    packed: bool
    inverse: bool

    def tensor(self, files: Files, name: str, shape: tuple[int, ...], *, linear: bool) -> Tensor | None:
        """A linear of a layer."""
        if not linear or name not in files:
            return None
        stored = files.stored[name]
        files.used.add(name)
        if not self.packed:
            tensor = float_tensor(stored)
            return AbsmeanTensor(tensor.name, tensor.shape, WEIGHT_FORMATS["t2"], source=tensor)
        scale = name.replace(".weight", ".weight_scale")
        files.used.add(scale)
        return _packed(stored, files.stored.get(scale), scale, inverse=self.inverse)


def read(table: Options) -> BitNet:
    """The quantization_config of BitNet."""
    mode = table.choice("quantization_mode", {"offline": True, "online": False}, "offline")
    auto = table.choice("linear_class", {"bitlinear": False, "autobitlinear": True}, "bitlinear")
    if not mode and not auto:
        raise table.error("quantization_mode", expected="offline for linear_class bitlinear")
    if table.flag("use_rms_norm", False):
        raise table.error("use_rms_norm", expected="false", hint="a norm within each linear is not supported")
    table.real("rms_norm_eps", 1e-6)
    kept = table.values.get("modules_to_not_convert")
    if kept not in (None, [], ["lm_head"]):
        raise table.error("modules_to_not_convert", expected='null or ["lm_head"]')
    table.values.pop("modules_to_not_convert", None)
    table.check_rest(strict=True)
    return BitNet(packed=mode, inverse=not auto)


def _packed(stored: Stored, scale: Stored | None, scale_name: str, *, inverse: bool) -> PackedTernary:
    if stored.dtype != "U8" or len(stored.shape) != 2:
        raise refuse_dtype(stored, ("U8 (rows / 4, cols), four ternary codes to a byte",),
                           "quantization_mode online is for weights that are not packed")
    if scale is None or math.prod(scale.shape) != 1:
        raise ModelError(stored.where.file, f"tensor {scale_name}", expected=f"the scale of {stored.name}, one number",
                         got="missing" if scale is None else f"shape {shown(scale.shape)}")
    shape = (stored.shape[0] * 4, stored.shape[1])
    return PackedTernary(stored.name, shape, WEIGHT_FORMATS["t2"], where=stored.where, scale=float_tensor(scale), inverse=inverse)


@dataclass(frozen=True, kw_only=True)
class PackedTernary(FileTensor):
    """Four rows in one: bits 2i+1..2i of byte (r, c) are 1 + the code of row i * rows/4 + r, column c. One scale for all.

    Source: transformers, integrations/bitnet.py, pack_weights.
    """

    scale: FloatTensor
    inverse: bool

    @cached_property
    def _scale(self) -> F32:
        scale = self.scale.rows().reshape(1, 1)
        if scale[0, 0] <= 0:
            raise ModelError(self.file, f"tensor {self.scale.name}", got=str(scale[0, 0]), expected="a positive scale")
        return (np.float32(1) / scale) if self.inverse else scale

    def _codes(self, first: int, last: int) -> Codes:
        rows, cols = self.matrix
        quarter = rows // 4
        values = np.empty((last - first, cols), np.int8)
        for part in range(first // quarter, -(-last // quarter) if last > first else 0):
            start, end = max(first, part * quarter), min(last, (part + 1) * quarter)
            packed = self.where.read((start - part * quarter) * cols, (end - start) * cols).reshape(-1, cols)
            codes = packed >> np.uint8(2 * part) & np.uint8(3)
            if (codes == 3).any():
                row, col = np.argwhere(codes == 3)[0]
                raise ModelError(self.file, f"tensor {self.name}", got=f"code 3 at [{start + row}, {col}]",
                                 expected="0, 1 or 2", hint="the weights are damaged, or not BitNet's")
            values[start - first:end - first] = codes.astype(np.int8) - np.int8(1)
        return Codes(values, self._scale, cols)
