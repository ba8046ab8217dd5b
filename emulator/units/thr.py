"""thr: which elements matter.

Masks are made of 16 comparisons at a time. A few largest are found with a heap of the best so far, whose worst stands on
top: sixteen elements at a time are compared with it, and few of a long vector get any further. The heap lies where the list
of indices is to be. Many, or those of a vector that rises, are found by the digits of their bits instead: in a time that
depends on no data.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from emulator.kernel_words import DONE, LARGE, PUNT, count, csr, csr_number, inline, overlap, readable, result, slot, writable
from emulator.kernel_words import PORT as PORTS
from emulator.load_kernels import kernel
from emulator.native.machine_code import array, load, lowest, ones, store
from emulator.simd.lanes import MASK, magnitude, same_bits, spread, take

PORT = PORTS["thr"]
LEVELS = csr_number("thr.levels")
COMPARES, PASSES, SELECTED = (slot(f"thr.{name}") for name in ("compares", "passes", "selected"))
LOWEST = np.float32(-np.inf)
HEAP = 256                  # a heap of more elements is slower than digits
MOST = 1 << 28              # elements to sort by digits, in 16 bytes of scratch memory each
DIGIT = 11                  # bits of a digit; three of them cover 32 bits


@inline
def fits(n):
    """True for a length that can be multiplied by an element size without wrapping around."""
    return 0 <= n <= LARGE


@inline
def number(bits):
    """The f32 in the low half of a register."""
    return same_bits(np.uint32(bits), np.float32)


# ------------------------------------------------------------------------------------------------ compare, list


@intrinsic
def as_bits(typing: Any, mask: Any) -> Any:
    """16 comparisons as an integer, the first in the lowest bit."""
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(16))
    return types.uint16(MASK), emit


@inline
def write_mask(mask, x, theta_bits, n, absolute, block):
    """mask bit i = x[i] > theta, or |x[i]| > theta."""
    if not fits(n):
        return PUNT
    size = n + 7 >> 3
    x_host, x_slot = readable(block, PORT, x, 4 * n, 4)
    mask_host, mask_slot = writable(block, PORT, mask, size, 1)
    if x_host == 0 or mask_host == 0 or overlap(x_host, 4 * n, mask_host, size):
        return PUNT
    theta, passes = number(theta_bits), 0
    thetas = spread(theta)
    for i in range(0, n & ~15, 16):
        v = take(x_host + 4 * i, np.float32)
        bits = as_bits((magnitude(v) if absolute else v) > thetas)
        store(mask_host + (i >> 3), bits)
        passes += ones(bits)
    for start in range(n & ~15, n, 8):
        byte = 0
        for i in range(start, min(start + 8, n)):
            value = load(x_host + 4 * i, np.float32)
            if (abs(value) if absolute else value) > theta:
                byte |= 1 << i - start
                passes += 1
        store(mask_host + (start >> 3), np.uint8(byte))
    count(block, x_slot, 4 * n)
    count(block, mask_slot, size)
    count(block, COMPARES, n)
    count(block, PASSES, np.int64(passes))
    return DONE


@kernel("thr.gt.f32")
def thr_gt_f32(mask, x, theta, n, block):
    return write_mask(mask, x, theta, n, False, block)


@kernel("thr.absgt.f32")
def thr_absgt_f32(mask, x, theta, n, block):
    return write_mask(mask, x, theta, n, True, block)


@inline
def word(mask_host, start, n):
    """Up to 64 bits of a mask from bit `start` on, a multiple of 64; zeros beyond bit n."""
    if n - start >= 64:
        return load(mask_host + (start >> 3), np.uint64)
    bits = np.uint64(0)
    for i in range(start, n, 8):
        byte = np.uint64(load(mask_host + (i >> 3), np.uint8))
        if n - i < 8:
            byte &= np.uint64((1 << n - i) - 1)
        bits |= byte << np.uint64(i - start)
    return bits


@kernel("thr.index")
def thr_index(mask, index, n, _, block):
    if not fits(n):
        return PUNT
    size = n + 7 >> 3
    mask_host, mask_slot = readable(block, PORT, mask, size, 1)
    if mask_host == 0:
        return PUNT
    found = 0
    for start in range(0, n, 64):
        found += np.int64(ones(word(mask_host, start, n)))
    index_host, index_slot = writable(block, PORT, index, 4 * found, 4)
    if index_host == 0 or overlap(mask_host, size, index_host, 4 * found):
        return PUNT
    place = index_host
    for start in range(0, n, 64):
        bits = word(mask_host, start, n)
        while bits != np.uint64(0):
            store(place, np.uint32(start + np.int64(lowest(bits))))
            bits &= bits - np.uint64(1)
            place += 4
    count(block, mask_slot, size)
    count(block, index_slot, 4 * found)
    count(block, SELECTED, found)
    result(block, found)
    return DONE


# ------------------------------------------------------------------------------------------------ a fixed number


@inline
def value_of(x_host, i, largest):
    """An element as a number of which a larger one is better; NaN is the worst."""
    value = load(x_host + 4 * np.int64(i), np.float32)
    value = value if largest else -value
    return LOWEST if value != value else value


@inline
def worse(x_host, i, j, largest):
    """True if element i comes behind element j."""
    a, b = value_of(x_host, i, largest), value_of(x_host, j, largest)
    return a < b or (a == b and i > j)


@inline
def sink(heap, top, size, x_host, largest):
    """Put what stands at `top` to its place, so that in all of the heap a parent is worse than its children."""
    moving, at = heap[top], top
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and worse(x_host, heap[child + 1], heap[child], largest):
            child += 1
        if not worse(x_host, heap[child], moving, largest):
            break
        heap[at] = heap[child]
        at = child
    heap[at] = moving


@inline
def by_heap(x_host, index_host, k, n, largest):
    """Write the list; False if the heap changes so often that digits are faster (what was written is then of no use)."""
    heap = array(index_host, np.uint32, k)
    for i in range(k):
        heap[i] = np.uint32(i)
    # Three uses of `sink`, one place in the code: build the heap, go through the other elements, take it apart.
    top, size, i, changes = k // 2, k, k, 64 + (n >> 4)
    while size > 0:
        if top > 0:                                 # building
            top -= 1
        elif i < n:                                 # element i, behind all in the heap, must be better than the worst
            worst = value_of(x_host, heap[0], largest)
            i = next_better(x_host, i, n, worst, largest)
            if i == n:
                continue
            heap[0] = np.uint32(i)
            i += 1
            changes -= 1
            if changes == 0:
                return False
        else:                                       # the worst goes to the end of the list
            size -= 1
            last = heap[size]
            heap[size] = heap[0]
            heap[0] = last
        if size > 0:
            sink(heap, top, size, x_host, largest)
    return True


@inline
def next_better(x_host, i, n, worst, largest):
    """The first element from i on that is better than `worst`, or n."""
    limits = spread(worst if largest else -worst)
    while n - i >= 16:
        v = take(x_host + 4 * i, np.float32)
        bits = np.int64(as_bits(v > limits if largest else v < limits))
        if bits != 0:
            return i + lowest(bits)
        i += 16
    while i < n and not value_of(x_host, i, largest) > worst:
        i += 1
    return i


@inline
def rank(x_host, i, largest):
    """An element's bits as an unsigned number that is smaller for a better element; the worst for NaN."""
    bits = load(x_host + 4 * i, np.uint32)
    if bits & np.uint32(0x7FFF_FFFF) > np.uint32(0x7F80_0000):
        return np.uint32(0xFF80_0000)               # as that of -infinity, or of +infinity among the smallest
    if bits == np.uint32(0x8000_0000):
        bits = np.uint32(0)
    negative = -(bits >> np.uint32(31)) & 0xFFFF_FFFF           # all ones or zero: no branch, which nobody could predict
    rising = bits ^ np.uint32(negative | 0x8000_0000)
    return np.uint32(~rising) if largest else np.uint32(rising)


@njit
def by_digits(x_host, index_host, k, n, largest):
    """Write the list: find the rank of the last of the best, digit by digit; collect all that are as good; sort by digits."""
    known, last, left = np.uint32(0), np.uint32(0), k       # bits of `last` that are known; how many of the best share them
    for shift in (2 * DIGIT, DIGIT, 0):
        members = np.zeros(1 << DIGIT, np.int64)
        for i in range(n):
            r = rank(x_host, i, largest)
            if r & known == last:
                members[r >> np.uint32(shift) & np.uint32((1 << DIGIT) - 1)] += 1
        digit = 0
        while members[digit] < left:
            left -= members[digit]
            digit += 1
        known |= np.uint32((1 << DIGIT) - 1 << shift & 0xFFFF_FFFF)
        last |= np.uint32(digit << shift)
    chosen, other = np.empty(k, np.uint64), np.empty(k, np.uint64)      # rank in the upper half, index in the lower
    place = 0
    for i in range(n):
        r = rank(x_host, i, largest)
        if r < last or (r == last and left > 0):
            left -= 1 if r == last else 0
            chosen[place] = np.uint64(r) << np.uint64(32) | np.uint64(i)
            place += 1
    for shift in (32, 32 + DIGIT, 32 + 2 * DIGIT):          # each keeps the order of equal digits: at first, by index
        starts = np.zeros((1 << DIGIT) + 1, np.int64)
        for entry in chosen:
            starts[(entry >> np.uint64(shift) & np.uint64((1 << DIGIT) - 1)) + np.uint64(1)] += 1
        for digit in range(1 << DIGIT):
            starts[digit + 1] += starts[digit]
        for entry in chosen:
            digit = entry >> np.uint64(shift) & np.uint64((1 << DIGIT) - 1)
            other[starts[digit]] = entry
            starts[digit] += 1
        chosen, other = other, chosen
    for i in range(k):
        store(index_host + 4 * i, np.uint32(chosen[i]))


@inline
def write_best(index, x, k, n, largest, block):
    """The k best of n elements, best first, equal ones by index."""
    if not fits(n) or not 0 <= k <= n or n > 1 << 32 or k > MOST:
        return PUNT
    x_host, x_slot = readable(block, PORT, x, 4 * n, 4)
    index_host, index_slot = writable(block, PORT, index, 4 * k, 4)
    if x_host == 0 or index_host == 0 or overlap(x_host, 4 * n, index_host, 4 * k):
        return PUNT
    if k > HEAP or not by_heap(x_host, index_host, k, n, largest):
        by_digits(x_host, index_host, k, n, largest)
    count(block, x_slot, 4 * n)
    count(block, index_slot, 4 * k)
    count(block, COMPARES, n)
    count(block, SELECTED, k)
    return DONE


@kernel("thr.topk.f32")
def thr_topk_f32(index, x, k, n, block):
    return write_best(index, x, k, n, True, block)


@kernel("thr.bottomk.f32")
def thr_bottomk_f32(index, x, k, n, block):
    return write_best(index, x, k, n, False, block)


# ------------------------------------------------------------------------------------------------ tables and budgets


@kernel("thr.select")
def thr_select(table, row, sparsity_bits, _, block):
    levels = csr(block, LEVELS)
    if levels == 0 or not fits(levels):
        return PUNT
    levels_host, levels_slot = readable(block, PORT, table, 4 * levels, 4)
    if levels_host == 0:
        return PUNT
    sparsity, column = number(sparsity_bits), levels - 1
    for i in range(levels):
        if load(levels_host + 4 * i, np.float32) >= sparsity:
            column = i
            break
    theta_host, theta_slot = readable(block, PORT, table + 4 * (levels * (1 + row) + column), 4, 4)
    if theta_host == 0:
        return PUNT
    count(block, levels_slot, 4 * levels)
    count(block, theta_slot, 4)
    count(block, COMPARES, levels)
    result(block, np.int64(load(theta_host, np.uint32)))
    return DONE


@kernel("thr.prefix")
def thr_prefix(sizes, budget, n, _, block):
    if not fits(n):
        return PUNT
    host, sizes_slot = readable(block, PORT, sizes, 4 * n, 4)
    if host == 0:
        return PUNT
    total, fitting = np.uint64(0), 0
    while fitting < n:
        total += np.uint64(load(host + 4 * fitting, np.uint32))
        if total > np.uint64(budget):
            break
        fitting += 1
    count(block, sizes_slot, 4 * n)
    count(block, COMPARES, n)
    count(block, SELECTED, fitting)
    result(block, fitting)
    return DONE
