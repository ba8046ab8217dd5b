"""compressed-tensors, the files of llm-compressor: integer codes with scales, packed into words or a byte each.

pack-quantized, of MODULE.weight (rows, cols):
    weight_packed      I32 (rows, words)             codes + 2 ** (bits - 1), 32 // bits to a word
    weight_scale       floats (1,), (rows, 1) or (rows, groups)
    weight_zero_point  I32 (words, groups)           packed down the rows; only where the range is not symmetric
    weight_shape       I32 or I64 (2,)
    weight_g_idx       I32 (cols,)                   the group of each column, if columns were ordered by activations
int-quantized: weight I8 (rows, cols) instead of weight_packed, weight_zero_point I8 (rows, groups). These codes may lie in a
bitmask (sparse.py). marlin-24 is in two_of_four.py. Weights that are sparse and not quantised are read whatever the configuration
says.

Source: compressed-tensors 0.14.0.1, compressors/quantized_compressors (pack_quantized.py, naive_quantized.py), and
quantization/lifecycle/forward.py (dequantize).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from compiler.errors import ModelError, one_of, shown
from compiler.frontends.options import Options
from compiler.frontends.shards import Stored
from compiler.frontends.stored.files import Files
from compiler.frontends.stored.floats import FLOATS
from compiler.frontends.stored.integers import IntegerTensor, integers
from compiler.frontends.stored.matrices import Matrix, Rows, numbers, turned, unpacked_of, words_for
from compiler.frontends.stored.sparse import sparse_matrix
from compiler.frontends.stored.storage import Storage, refuse, way_out
from compiler.frontends.stored.two_of_four import marlin24
from compiler.model.tensors import Tensor

FORMATS = ("pack-quantized", "int-quantized", "naive-quantized", "mixed-precision", "marlin-24", "dense")
SPARSE = ("dense", "sparse-bitmask", "sparse-24-bitmask")
_HARMLESS = """
    quant_method quantization_status global_compression_ratio version ignore run_compressed format config_groups sparsity_config
    kv_cache_scheme transform_config
"""
HARMLESS = frozenset(_HARMLESS.split())
"""Options that change nothing of how weights are read, or that tensors say too."""


@dataclass(frozen=True)
class Scheme:
    """A config group: how the weights of its targets are stored."""

    targets: Sequence[str]
    bits: int
    symmetric: bool
    strategy: str               # tensor, channel or group
    group: int                  # columns, where the strategy is group

    def scales(self, rows: int, cols: int) -> tuple[int, int]:
        """(rows, groups) of the scales of a matrix."""
        match self.strategy:
            case "tensor":
                return 1, 1
            case "channel":
                return rows, 1
        return rows, -(-cols // self.group)

    def columns(self, cols: int) -> int:
        """How many of `cols` columns share a scale; 0: the whole matrix does."""
        return 0 if self.strategy == "tensor" else self.group or cols

    def rank(self, module: str) -> int:
        """How well a target fits a module: 2 by its name, 1 by an expression, 0 as one of all linears, -1 not at all."""
        names = (module, f"model.{module}")
        found = [2 * (target in names) or int(target.startswith("re:") and any(re.match(target[3:], name) for name in names)) or
                 -(target != "Linear") for target in self.targets]
        return max(found, default=-1)


@dataclass(frozen=True, kw_only=True)
class CompressedTensors(Storage):
    """The schemes of the file's config groups."""

    schemes: Sequence[Scheme]

    def tensor(self, files: Files, name: str, shape: tuple[int, ...], *, linear: bool) -> Tensor | None:
        """A matrix that has packed codes, or codes and scales."""
        module = name.removesuffix(".weight")
        packed = f"{module}.weight_packed" in files
        if len(shape) != 2 or not (packed or f"{module}.weight_scale" in files):
            return None
        scheme = max(self.schemes, key=lambda scheme: scheme.rank(module), default=None)
        if scheme is None or scheme.rank(module) < 0:
            found = files.stored[f"{module}.weight_{'packed' if packed else 'scale'}"]
            raise ModelError(found.where.file, f"tensor {found.name}", got="a quantised matrix",
                             expected="a config group of quantization_config whose targets name it")
        if f"{module}.scale_packed" in files:
            return _marlin(files, module, shape, scheme)
        return _packed(files, module, shape, scheme) if packed else _bytes(files, name, shape, scheme)


def _marlin(files: Files, module: str, shape: tuple[int, int], scheme: Scheme) -> IntegerTensor:
    if scheme.bits not in (4, 8) or scheme.strategy == "tensor" or not scheme.symmetric:
        found = files.stored[f"{module}.weight_packed"]
        kind = "symmetric" if scheme.symmetric else "asymmetric"
        raise ModelError(found.where.file, f"tensor {found.name}", expected="symmetric ones of 4 or 8 bits, by channel or group",
                         got=f"{kind} codes of {scheme.bits} bits by {scheme.strategy} in marlin-24")
    group = scheme.group or shape[1]
    codes, scales = marlin24(files, module, shape, scheme.bits, group)
    return integers(codes, scales, None, bits=scheme.bits, group=group, signed=True)


def _packed(files: Files, module: str, shape: tuple[int, ...], scheme: Scheme) -> IntegerTensor:
    (rows, cols), name = shape, f"{module}.weight"
    why = f"codes of {scheme.bits} bits of a matrix of {rows} rows and {cols} columns"
    words = files.take(f"{name}_packed", ["I32"], (rows, words_for(cols, scheme.bits)), why=why)
    _same_shape(files, f"{name}_shape", shape)
    scales, zeros = _scales(files, name, shape, scheme), None
    if not scheme.symmetric:
        groups = scales.shape[1]
        found = files.take(f"{name}_zero_point", ["I32"], (words_for(rows, scheme.bits), groups), why="packed zero points")
        zeros = turned(unpacked_of(turned(Rows(found, (found.shape[0], groups))), scheme.bits, rows))
    codes = unpacked_of(Rows(words, (rows, words.shape[1])), scheme.bits, cols)
    return integers(codes, scales, zeros, bits=scheme.bits, group=scheme.columns(cols), signed=False)


def _bytes(files: Files, name: str, shape: tuple[int, ...], scheme: Scheme) -> IntegerTensor:
    rows, cols = shape
    codes: Matrix | None = sparse_matrix(files, name, shape, ("I8",))
    if codes is None:
        codes = Rows(files.take(name, ["I8"], (rows, cols), why="codes", hint=way_out("compressed-tensors")), (rows, cols))
    scales, zeros = _scales(files, name, shape, scheme), None
    if f"{name}_zero_point" in files:
        found = files.take(f"{name}_zero_point", ["I8"])
        if scheme.symmetric and numbers(found).any():
            raise ModelError(found.where.file, f"tensor {found.name}", got="zero points that are not 0",
                             expected="0, for the codes are symmetric")
        zeros = None if scheme.symmetric else _by_group(found, scheme, rows, cols)
    return integers(codes, scales, zeros, bits=scheme.bits, group=scheme.columns(cols), signed=True)


def _scales(files: Files, name: str, shape: tuple[int, ...], scheme: Scheme) -> Rows:
    rows, cols = shape
    if f"{name}_g_idx" in files:
        order = files.take(f"{name}_g_idx", ["I32"], (cols,))
        found = numbers(order)
        if -1 not in found and not np.array_equal(found, np.arange(cols) // (scheme.group or cols)):
            raise ModelError(order.where.file, f"tensor {order.name}", got="columns of a group that are not neighbours (actorder)",
                             expected="groups of neighbours", hint=way_out("compressed-tensors"))
    return _by_group(files.take(f"{name}_scale", FLOATS, why="scales"), scheme, rows, cols)


def _by_group(stored: Stored, scheme: Scheme, rows: int, cols: int) -> Rows:
    """Scales or zero points of groups. One that stands for all may have no dimension, a column of them one."""
    shape = scheme.scales(rows, cols)
    if stored.shape not in (shape, *([(), (1,)] if shape == (1, 1) else [(rows,)] if shape[1] == 1 else [])):
        raise ModelError(stored.where.file, f"tensor {stored.name}", got=f"shape {shown(stored.shape)}",
                         expected=f"{shown(shape)} for the strategy {scheme.strategy}"
                         + (f" with groups of {scheme.group} columns" if scheme.group else ""))
    return Rows(stored, shape)


def _same_shape(files: Files, name: str, shape: tuple[int, ...]) -> None:
    """Raise ModelError unless the shape that a file says is that of the role. It need not say one."""
    if name in files:
        stored = files.take(name, ["I32", "I64"])
        if tuple(numbers(stored).tolist()) != shape:
            raise ModelError(stored.where.file, f"tensor {name}", got=f"shape {shown(tuple(numbers(stored).tolist()))}",
                             expected=f"{shown(shape)}, as the configuration says")


# ------------------------------------------------------------------------------------------------ the configuration


def read(table: Options) -> CompressedTensors:
    """The quantization_config of compressed-tensors."""
    table.values.setdefault("quant_method", "compressed-tensors")
    for key, expected, wrong in (("format", one_of(FORMATS), table.values.get("format", "dense") not in FORMATS),
                                 ("kv_cache_scheme", "null: scales of keys and values are not used", False),
                                 ("transform_config", "none: transforms of activations are not supported", False)):
        if wrong or (key != "format" and table.values.get(key)):
            raise refuse(table, key, expected)
    check_sparsity(table)
    groups = table.table("config_groups")
    schemes = [_scheme(groups.table(name), table.notes) for name in groups.values]
    table.check_rest(HARMLESS)
    return CompressedTensors(schemes=schemes)


def check_sparsity(options: Options) -> None:
    """Raise ModelError for a sparsity_config whose format is not read. The names of tensors say which matrices are sparse."""
    sparsity = options.table("sparsity_config")
    if sparsity.values.get("format", "dense") not in SPARSE:
        raise refuse(sparsity, "format", one_of(SPARSE))


def _scheme(group: Options, notes: list[str]) -> Scheme:
    weights, inputs = group.table("weights"), group.table("input_activations")
    targets: Any = group.values.get("targets")
    if not isinstance(targets, list) or not all(isinstance(target, str) for target in targets):
        raise group.error("targets", expected="a list of names")
    if not weights.values:
        raise refuse(group, "weights", "how weights are quantised")
    if group.values.get("output_activations"):
        raise refuse(group, "output_activations", "null")
    if inputs.values:
        if inputs.values.get("type", "int") != "int" or not inputs.values.get("dynamic"):
            raise refuse(group, "input_activations", "null, or dynamic integers")
        if (note := "input_activations: the float graph does not round them; a program rounds them to int8 unless it has "
                    "--activations f32") not in notes:
            notes.append(note)
    bits, strategy = weights.whole("num_bits", 8), weights.values.get("strategy") or "tensor"
    if weights.values.get("type", "int") != "int" or bits is None or not 2 <= bits <= 8:
        raise refuse(weights, "type" if weights.values.get("type", "int") != "int" else "num_bits", "int with 2 to 8 bits")
    if strategy not in ("tensor", "channel", "group"):
        raise refuse(weights, "strategy", "tensor, channel or group")
    size = weights.whole("group_size", 0) or 0
    if strategy == "group" and size <= 0:
        raise weights.error("group_size", expected="a number of columns")
    return Scheme(tuple(targets), bits, weights.flag("symmetric", True), strategy, size if strategy == "group" else 0)
