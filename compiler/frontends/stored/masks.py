"""Masks beside dense weights: a weight whose mask is 0 is 0.

A mask is a tensor in the checkpoint: NAME_mask (torch's pruning, whose weight is then called NAME_orig) or NAME.mask. Or it lies in
a .npz file in the directory, by the name of its weight, with .mask somewhere in it or not: as an array of the weight's shape, or as
bits (numpy.packbits of all its elements), which is how MaskLLM publishes masks.
Source: NVlabs/MaskLLM, tool_compress_mask.py and eval_llama_ppl.py; torch, nn/utils/prune.py.
"""

from __future__ import annotations

import zipfile
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from compiler.errors import ModelError, one_of, shown
from compiler.frontends.stored.files import Files
from compiler.frontends.stored.floats import FLOATS
from compiler.frontends.stored.matrices import WHOLE, Rows
from compiler.model.tensors import F32, Codes, DerivedTensor, Tensor
from isa.hints import nearest

ORIGINAL = "_orig"


@dataclass(frozen=True)
class Archive:
    """Masks in .npz files: (file, key) by the name of the weight."""

    places: Mapping[str, tuple[Path, str]]

    @classmethod
    def of(cls, directory: Path) -> Archive:
        """The masks of all .npz files of a directory. Raises ModelError for a file that is none."""
        places: dict[str, tuple[Path, str]] = {}
        for path in sorted(directory.glob("*.npz")):
            try:
                with np.load(path) as archive:
                    places |= {key.replace(".mask", "").removeprefix("model."): (path, key) for key in archive.files}
            except (OSError, ValueError, zipfile.BadZipFile) as error:
                raise ModelError(path, "", got=f"not a .npz file: {error}", expected="masks by the names of weights") from None
        return cls(places)

    def check(self, names: list[str]) -> None:
        """Raise ModelError for a mask of no matrix; `names` are those of all."""
        for name, (path, key) in self.places.items():
            if name not in names:
                raise ModelError(path, f"mask {key}", got="no matrix has this name",
                                 expected=one_of(names[:2]) + " ...", hint=nearest(name, names))


@dataclass(frozen=True, kw_only=True)
class MaskedTensor(DerivedTensor):
    """A matrix with zeros where a mask has them."""

    mask_file: Path
    mask_name: str

    @abstractmethod
    def _mask(self, first: int, last: int) -> Any:
        """Rows of the mask, (last - first, cols): 0 or 1."""

    def _kept(self, first: int, last: int) -> Any:
        """Where the mask is not 0."""
        mask = self._mask(first, last)
        if wrong := np.argwhere((mask != 0) & (mask != 1))[:1].tolist():
            row, col = wrong[0]
            raise ModelError(self.mask_file, f"mask {self.mask_name}", got=f"{mask[row, col]} at [{first + row}, {col}]",
                             expected="0 or 1")
        return mask != 0

    @property
    def levels(self) -> tuple[int, ...]:
        return self.source.levels

    def _rows(self, first: int, last: int) -> F32:
        rows: F32 = np.where(self._kept(first, last), self.source.rows(first, last), np.float32(0))
        return rows

    def _codes(self, first: int, last: int) -> Codes:
        codes = self.source.codes(first, last)
        return replace(codes, values=codes.values * self._kept(first, last).astype(np.int8))


@dataclass(frozen=True, kw_only=True)
class _ByTensor(MaskedTensor):
    rows_of: Rows

    def _mask(self, first: int, last: int) -> Any:
        return self.rows_of.block(first, last)


@dataclass(frozen=True, kw_only=True)
class _ByArchive(MaskedTensor):
    def _mask(self, first: int, last: int) -> Any:
        found, cols = _array(self.mask_file, self.mask_name), self.matrix[1]
        if found.shape == self.shape:
            return found[first:last]
        bits = found[first * cols // 8:-(-last * cols // 8)]
        return np.unpackbits(bits)[first * cols % 8:][:(last - first) * cols].reshape(last - first, cols)


def _array(path: Path, key: str) -> Any:
    try:
        with np.load(path) as archive:
            return archive[key]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(path, f"mask {key}", got=f"it cannot be read: {error}", expected="an array of numbers") from None


def masked(files: Files, archive: Archive, name: str, tensor: Tensor) -> Tensor:
    """The tensor, under its mask if it has one. Raises ModelError for a mask of another shape or kind."""
    said: dict[str, Any] = {"name": tensor.name, "shape": tensor.shape, "format": tensor.format, "group": tensor.group,
                            "source": tensor}
    for key in (f"{name}_mask", f"{name}.mask", f"{name.removesuffix('.weight')}.mask"):
        if key in files:
            stored = files.take(key, [*WHOLE, *FLOATS], tensor.shape, why=f"a mask of {tensor.name}")
            rows = Rows(stored, tensor.matrix)
            return _ByTensor(**said, mask_file=stored.where.file, mask_name=stored.name, rows_of=rows)
    if name in archive.places:
        path, key = archive.places[name]
        array, size = _array(path, key), int(np.prod(tensor.shape))
        packed = array.dtype == np.uint8 and array.shape == (-(-size // 8),)
        if array.dtype.kind not in "biuf" or (array.shape != tensor.shape and not packed):
            raise ModelError(path, f"mask {key}", got=f"{array.dtype} {shown(array.shape)}",
                             expected=f"{shown(tensor.shape)}, or uint8 [{-(-size // 8)}], the bits of {size:,} weights")
        return _ByArchive(**said, mask_file=path, mask_name=key)
    return tensor
