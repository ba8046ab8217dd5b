"""Several vectors in a unit: the operands of kernels that have one for each vector. The twin of isa/vectors.py."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from emulator.kernel_words import LARGE, count, csr, readable, state, state_length, writable
from emulator.native.machine_code import array, move, store

i32, u32, i64 = np.int32, np.uint32, np.int64
CANONICAL_NAN = u32(0x7FC0_0000)


@njit
def group_count(n, group):
    """Scales of n elements. A group of 2**63 or more looks negative here: it holds them all."""
    if n == 0 or group <= 0 or group >= n:
        return min(n, 1)
    return (n + group - 1) // group


@njit
def store_f32(address, value):
    """Store an fp32 result: a NaN as the canonical one."""
    if value != value:
        store(address, CANONICAL_NAN)
    else:
        store(address, value)


@njit
def vectors_asked(block, number, held, n):
    """Vectors of n elements that a build loads, as CSR `number` says; 0: punt. `held`: the state that they go to."""
    vectors = csr(block, number)
    if vectors == 0:
        vectors = 1
    return vectors if 0 < vectors <= state_length(block, held) // max(n, 1) else 0


@njit
def spaced(block, number, pieces, size, align):
    """(stride, bytes from first to last) of some pieces of `size` bytes that start as far apart as a CSR says; stride -1: punt."""
    stride = csr(block, number)
    if stride == 0 or size == 0:
        stride = size
    if stride < size or stride & (align - 1) or stride > LARGE or pieces > LARGE // (stride + 1):
        return -1, 0
    return stride, (pieces - 1) * stride + size if pieces > 0 and size > 0 else 0


class Build(NamedTuple):
    """What loads int8 vectors: the port of the unit, its CSRs, its state."""

    port: int
    vectors: int
    scale_group: int
    codes_stride: int
    scale_stride: int
    activations: int
    scales: int


@njit
def load_vectors(block, build, x, scale, n):
    """Load vectors of n int8 with their scales into a unit, as its CSRs say, and count their bytes: how many; 0: punt."""
    vectors, size = vectors_asked(block, build.vectors, build.activations, n), 4 * group_count(n, csr(block, build.scale_group))
    codes_stride, codes_extent = spaced(block, build.codes_stride, vectors, n, 1)
    scale_stride, scale_extent = spaced(block, build.scale_stride, vectors, size, 4)
    if vectors == 0 or codes_stride < 0 or scale_stride < 0:
        return 0
    codes, codes_read = readable(block, build.port, x, codes_extent, 1)
    scales, scales_read = readable(block, build.port, scale, scale_extent, 4)
    if codes == 0 or scales == 0:
        return 0
    for v in range(vectors if n > 0 else 0):
        move(state(block, build.activations) + v * n, codes + v * codes_stride, n)
        move(state(block, build.scales) + v * size, scales + v * scale_stride, size)
    count(block, codes_read, vectors * n)
    count(block, scales_read, vectors * size)
    return vectors


@njit
def accumulators(block, port, number, acc, vectors, outputs):
    """(host address, counter slots of reading and writing, stride, bytes from first to last) of int32 sums; address 0: punt.

    port, number   of the unit, and its CSR that says how far apart the results of two vectors are
    """
    stride, extent = spaced(block, number, vectors, 4 * outputs, 4)
    if stride < 0:
        return 0, 0, 0, 0, 0
    before, read = readable(block, port, acc, extent, 4)
    host, written = writable(block, port, acc, extent, 4)
    return host if before != 0 else 0, read, written, stride, extent


@njit
def accumulate(block, acc, stride, read, written, sums, shift, vectors, outputs):
    """acc += sums << shift of each vector, and count these accesses."""
    for v in range(vectors if outputs > 0 else 0):
        total = array(acc + v * stride, i32, outputs)
        for i in range(outputs):
            total[i] += i32(i64(sums[v * outputs + i]) << shift)
    count(block, read, 4 * vectors * outputs)
    count(block, written, 4 * vectors * outputs)
