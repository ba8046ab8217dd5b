"""Several vectors in a unit: the operands of kernels that have one for each vector. The twin of isa/vectors.py."""

from __future__ import annotations

import numpy as np
from numba import njit

from emulator.kernel_words import LARGE, count, csr, readable, state_length, writable
from emulator.native.machine_code import array, store

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
