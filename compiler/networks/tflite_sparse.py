"""Sparse tensors of TFLite files (SparsityParameters): dense values, and run-length streams of weights that are sparse there.

A tensor is stored level by level, as in TACO (Kjolstad et al., 2017): dimensions in any order, those that have blocks divided in
two, each level dense or a list of indices for each position of the level above.
"""

from __future__ import annotations

from math import prod

import numpy as np

from compiler.networks.steps import LARGEST, Array
from compiler.networks.tflite_file import Sparsity, Tensor
from isa import sparse

BLOCKS = (1, 2, 4, 8)       # of run-length streams; the one with the shortest stream is taken


def dense(tensor: Tensor) -> Array:
    """The elements of a constant tensor, of its shape. Raises ValueError for what does not fit together."""
    assert tensor.data is not None
    if tensor.sparsity is None:
        if tensor.data.size != prod(tensor.shape):
            raise ValueError(f"{tensor.data.size} elements; expected {prod(tensor.shape)}")
        return tensor.data.reshape(tensor.shape)
    at = _coordinates(tensor.sparsity, tensor.shape)
    if at.shape[1] != tensor.data.size:
        raise ValueError(f"{tensor.data.size} elements are stored; expected {at.shape[1]}, as its sparsity says")
    values = np.zeros(tensor.shape, tensor.data.dtype)
    values[tuple(at)] = tensor.data
    return values


def _coordinates(given: Sparsity, shape: tuple[int, ...]) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """Where each stored element stands, (dimensions, elements)."""
    rank, depth = len(shape), len(given.levels)
    if (sorted(given.order) != list(range(depth)) or depth != rank + len(given.blocks)
            or not all(0 <= dimension < rank for dimension in given.blocks)):
        raise ValueError(f"a sparsity with order {given.order}, blocks of {given.blocks} and {depth} levels for {rank} dimensions")
    found = np.zeros((depth, 1), np.int64)
    positions = np.zeros(1, np.int64)
    sizes = [1] * depth
    for dimension, level in zip(given.order, given.levels, strict=True):
        if level.segments is None or level.indices is None:
            if not 1 <= level.size <= LARGEST // max(len(positions), 1):
                raise ValueError(f"a dimension of {level.size} in its sparsity; expected one that its shape has")
            many, inner = np.full(len(positions), level.size), np.tile(np.arange(level.size), len(positions))
            positions = np.repeat(positions * level.size, level.size) + inner
            sizes[dimension] = level.size
        else:
            ends = level.segments
            if (positions.max(initial=-1) + 2 != len(ends) or ends[0] != 0 or np.any(np.diff(ends) < 0)
                    or ends[-1] != len(level.indices)):
                raise ValueError("segments of its sparsity that do not divide its indices")
            many = ends[positions + 1] - ends[positions]
            positions = np.arange(len(level.indices))
            inner = level.indices
        found = np.repeat(found, many, axis=1)
        found[dimension] = inner
    for number, dimension in enumerate(given.blocks):
        found[dimension] = found[dimension] * sizes[rank + number] + found[rank + number]
    if np.any(found[:rank] < 0) or np.any(found[:rank] >= np.array(shape)[:, None]):
        raise ValueError("an index of its sparsity that is outside its shape")
    return found[:rank]


def stored(tensor: Tensor, weights: Array) -> tuple[Array, int | None]:
    """Weights as a step has them, and the block of their stream: None for dense ones, which all are that the file has as dense.
    More weights than the file has: the others are zeros that were put between them."""
    flat = np.ascontiguousarray(weights, np.int8).reshape(-1)
    if tensor.sparsity is None and flat.size == prod(tensor.shape):
        return flat, None
    streams = {block: sparse.RunLength(block).pack(flat.reshape(1, -1), "i8").values.view(np.int8) for block in BLOCKS}
    block = min(streams, key=lambda one: streams[one].size)
    return (streams[block], block) if streams[block].size < flat.size else (flat, None)
