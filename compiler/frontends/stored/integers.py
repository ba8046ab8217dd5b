"""Tensors of integer codes with scales, as GPTQ, AWQ and compressed-tensors store them: value = (code - zero point) * scale.

A program stores no zero points. They are integers, so code minus zero point is a code too, and nothing is rounded. If every zero
point is the middle of the range, codes keep their bits: 4 bits become i4. Else they need one bit more: 4 bits become i8. What needs
more than 8 bits is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from compiler.errors import ModelError
from compiler.formats.weight_format import narrowest
from compiler.frontends.stored.matrices import Matrix
from compiler.model.tensors import Codes, Tensor

DEQUANTISE = "a checkpoint of floats, which --weights quantises"


@dataclass(frozen=True, kw_only=True)
class IntegerTensor(Tensor):
    """Codes of `codes` minus a zero point, times a scale.

    codes   (rows, cols), lowest..highest
    scales  (rows, groups), or (1, 1) for all
    zeros   (rows, groups); None: the zero point of all is `zero`
    """

    codes_of: Matrix
    scales: Matrix
    zeros: Matrix | None
    zero: int
    lowest: int
    highest: int

    @property
    def file(self) -> Path:
        return self.codes_of.file

    @cached_property
    def levels(self) -> tuple[int, ...]:
        return _levels(self.lowest, self.highest, None if self.zeros else self.zero)

    def _codes(self, first: int, last: int) -> Codes:
        cols = self.matrix[1]
        group = self.group or cols
        stored = self.codes_of.block(first, last).astype(np.int16)
        if wrong := np.argwhere((stored < self.lowest) | (stored > self.highest))[:1].tolist():
            row, col = wrong[0]
            raise ModelError(self.file, f"tensor {self.name}", got=f"code {stored[row, col]} at [{first + row}, {col}]",
                             expected=f"{self.lowest} to {self.highest}", hint="the checkpoint is damaged")
        zeros = self.zero if self.zeros is None else np.repeat(self.zeros.block(first, last).astype(np.int16), group, axis=1)
        scales = self.scales.whole() if self.scales.shape == (1, 1) else self.scales.block(first, last)
        return Codes((stored - zeros).astype(np.int8), np.ascontiguousarray(scales, np.float32), group)


def _levels(lowest: int, highest: int, zero: int | None) -> tuple[int, ...]:
    """Codes minus a zero point: the same for all, or any from lowest to highest (None)."""
    return tuple(range(lowest - (highest if zero is None else zero), highest - (lowest if zero is None else zero) + 1))


def integers(codes: Matrix, scales: Matrix, zeros: Matrix | None, *, bits: int, group: int, signed: bool) -> IntegerTensor:
    """The tensor of these codes. Zero points are read. Raises ModelError for codes that int8 cannot hold, and groups that differ.

    group   columns that share a scale; 0: all have one
    signed  codes are two's complement, and their zero point is 0 unless there are `zeros`
    """
    rows, cols = codes.shape
    lowest = -(1 << bits - 1) if signed else 0
    highest, middle = lowest + (1 << bits) - 1, lowest + (1 << bits - 1)
    if group and cols % group:
        raise ModelError(codes.file, f"tensor {codes.name}", got=f"{cols} columns in groups of {group}",
                         expected="groups of the same size", hint=f"take {DEQUANTISE}")
    zero = middle
    if zeros is not None:
        found = np.unique(np.asarray(zeros.whole()).astype(np.int16))
        if len(found) == 1:
            zero, zeros = int(found[0]), None
    levels = _levels(lowest, highest, None if zeros else zero)
    if levels[0] < -128 or levels[-1] > 127:
        raise ModelError(codes.file, f"tensor {(zeros or codes).name}", expected=f"the zero point {middle}",
                         got=f"codes of {bits} bits less another zero point, which take {bits + 1} bits", hint=f"take {DEQUANTISE}")
    return IntegerTensor(codes.name, (rows, cols), narrowest(levels), group, codes_of=codes, scales=scales, zeros=zeros, zero=zero,
                         lowest=lowest, highest=highest)
