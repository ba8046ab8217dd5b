"""thr: which elements matter.

Masks are made of 16 comparisons at a time. The k best of a vector are found in one of two ways. For small k, a heap holds the best
so far, with the worst of them on top. Sixteen elements at a time are compared with that one; few of a long vector are better. The
heap lies where the list of indices is to be. For large k, or when the heap changes too often, the k best are found by the digits
of their bits. This takes a time that does not depend on the data.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from emulator.kernel import kernel
from emulator.kernel_words import DONE, LARGE, PORT, PUNT, count, csr, csr_number, overlap, readable, result, slot, writable
from emulator.native.inlining import specialised
from emulator.native.machine_code import array, load, lowest, ones, store
from emulator.simd.lanes import MASK, magnitude, spread, take

THR = PORT["thr"]
LEVELS, BUDGET = csr_number("thr.levels"), csr_number("thr.budget")
COMPARES, PASSES, SELECTED = (slot(f"thr.{name}") for name in ("compares", "passes", "selected"))
LOWEST = np.float32(-np.inf)
HEAP = 256                  # a heap of more elements is slower than digits
SOME = 32                   # more, and more than half of all, are faster by digits
DIGIT = 11                  # bits of a digit; three of them cover 32 bits
FEW = 2048                  # fewer are sorted by four digits of 8 bits


# ------------------------------------------------------------------------------------------------ compare, list


@intrinsic
def as_bits(typing: Any, mask: Any) -> Any:
    """16 comparisons as an integer, the first in the lowest bit."""
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(16))
    return types.uint16(MASK), emit


@specialised
def write_mask(mask, x, theta, n, absolute, block):
    """mask bit i = x[i] > theta, or |x[i]| > theta."""
    thetas, passes = spread(theta), 0
    for i in range(0, n & ~15, 16):
        v = take(x + 4 * i, np.float32)
        bits = as_bits((magnitude(v) if absolute else v) > thetas)
        store(mask + (i >> 3), bits)
        passes += ones(bits)
    for start in range(n & ~15, n, 8):
        byte = 0
        for i in range(start, min(start + 8, n)):
            value = load(x + 4 * i, np.float32)
            if (abs(value) if absolute else value) > theta:
                byte |= 1 << i - start
                passes += 1
        store(mask + (start >> 3), np.uint8(byte))
    count(block, COMPARES, n)
    count(block, PASSES, np.int64(passes))
    return DONE


@kernel("thr.gt.f32")
def thr_gt_f32(mask, x, theta, n, block):
    return write_mask(mask, x, theta, n, False, block)


@kernel("thr.absgt.f32")
def thr_absgt_f32(mask, x, theta, n, block):
    return write_mask(mask, x, theta, n, True, block)


@specialised
def word(mask, start, n):
    """Up to 64 bits of a mask from bit `start` on, a multiple of 64; zeros beyond bit n."""
    if n - start >= 64:
        return load(mask + (start >> 3), np.uint64)
    bits = np.uint64(0)
    for i in range(start, n, 8):
        byte = np.uint64(load(mask + (i >> 3), np.uint8))
        if n - i < 8:
            byte &= np.uint64((1 << n - i) - 1)
        bits |= byte << np.uint64(i - start)
    return bits


@kernel("thr.index")
def thr_index(mask, index, n, block):
    found = 0
    for start in range(0, n, 64):
        found += np.int64(ones(word(mask, start, n)))
    place, written = writable(block, THR, index, 4 * found, 4)
    if place == 0 or overlap(mask, n + 7 >> 3, place, 4 * found):
        return PUNT
    for start in range(0, n, 64):
        bits = word(mask, start, n)
        while bits != np.uint64(0):
            store(place, np.uint32(start + np.int64(lowest(bits))))
            bits &= bits - np.uint64(1)
            place += 4
    count(block, written, 4 * found)
    count(block, SELECTED, found)
    result(block, found)
    return DONE


# ------------------------------------------------------------------------------------------------ a fixed number


@specialised
def value_of(x, i, largest):
    """An element as a number of which a larger one is better; NaN is the worst."""
    value = load(x + 4 * np.int64(i), np.float32)
    value = value if largest else -value
    return LOWEST if value != value else value


@specialised
def worse(x, i, j, largest):
    """True if element i comes behind element j."""
    a, b = value_of(x, i, largest), value_of(x, j, largest)
    return a < b or (a == b and i > j)


@specialised
def sink(heap, top, size, x, largest):
    """Put what stands at `top` to its place, so that in all of the heap a parent is worse than its children."""
    moving, at = heap[top], top
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and worse(x, heap[child + 1], heap[child], largest):
            child += 1
        if not worse(x, heap[child], moving, largest):
            break
        heap[at] = heap[child]
        at = child
    heap[at] = moving


@specialised
def by_heap(x, index, k, n, largest):
    """Write the list; False if the heap changes so often that digits are faster (what was written is then of no use)."""
    heap = array(index, np.uint32, k)
    for i in range(k):
        heap[i] = np.uint32(i)
    # `sink` is called from one place for three uses: to build the heap, to go through the other elements, to take the heap apart.
    top, size, i, changes = k // 2, k, k, 64 + (n >> 4)
    while size > 0:
        if top > 0:                                 # building
            top -= 1
        elif i < n:                                 # element i, behind all in the heap, must be better than the worst
            worst = value_of(x, heap[0], largest)
            i = next_better(x, i, n, worst, largest)
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
            sink(heap, top, size, x, largest)
    return True


@specialised
def next_better(x, i, n, worst, largest):
    """The first element from i on that is better than `worst`, or n."""
    limits = spread(worst if largest else -worst)
    while n - i >= 16:
        v = take(x + 4 * i, np.float32)
        bits = np.int64(as_bits(v > limits if largest else v < limits))
        if bits != 0:
            return i + lowest(bits)
        i += 16
    while i < n and not value_of(x, i, largest) > worst:
        i += 1
    return i


@specialised
def rank(x, i, largest):
    """An element's bits as an unsigned number that is smaller for a better element; the worst for NaN."""
    bits = load(x + 4 * i, np.uint32)
    if bits & np.uint32(0x7FFF_FFFF) > np.uint32(0x7F80_0000):
        return np.uint32(0xFF80_0000)               # as that of -infinity, or of +infinity among the smallest
    if bits == np.uint32(0x8000_0000):
        bits = np.uint32(0)
    negative = -(bits >> np.uint32(31)) & 0xFFFF_FFFF           # all ones or zero: a branch could not be predicted
    rising = bits ^ np.uint32(negative | 0x8000_0000)
    return np.uint32(~rising) if largest else np.uint32(rising)


@njit
def last_of_best(x, k, n, largest):
    """(the rank of the last of the k best, how many of that rank are among them), digit by digit."""
    known, last, left = np.uint32(0), np.uint32(0), k       # bits of `last` that are known; how many of the best share them
    for shift in (2 * DIGIT, DIGIT, 0):
        members = np.zeros(1 << DIGIT, np.int64)
        for i in range(n):
            r = rank(x, i, largest)
            if r & known == last:
                members[r >> np.uint32(shift) & np.uint32((1 << DIGIT) - 1)] += 1
        digit = 0
        while members[digit] < left:
            left -= members[digit]
            digit += 1
        known |= np.uint32((1 << DIGIT) - 1 << shift & 0xFFFF_FFFF)
        last |= np.uint32(digit << shift)
    return last, left


@njit
def by_digits(x, index, k, n, largest):
    """Write the list: collect all that are as good as the last of the best; sort by digits."""
    chosen, other = np.empty(k, np.uint64), np.empty(k, np.uint64)      # rank in the upper half, index in the lower
    if k == n:
        for i in range(n):
            chosen[i] = np.uint64(rank(x, i, largest)) << np.uint64(32) | np.uint64(i)
    else:
        last, left = last_of_best(x, k, n, largest)
        place = 0
        for i in range(n):
            r = rank(x, i, largest)
            if r < last or (r == last and left > 0):
                left -= 1 if r == last else 0
                chosen[place] = np.uint64(r) << np.uint64(32) | np.uint64(i)
                place += 1
    digit_bits = 8 if k < FEW else DIGIT                    # counters that have to be cleared are as many as elements, or fewer
    most = np.uint64((1 << digit_bits) - 1)
    starts = np.empty(1 << digit_bits, np.int64)
    for shift in range(32, 64, digit_bits):                 # each keeps the order of equal digits: at first, by index
        starts[:] = 0
        for entry in chosen:
            starts[entry >> np.uint64(shift) & most] += 1
        place = 0
        for digit in range(len(starts)):
            here = starts[digit]
            starts[digit] = place
            place += here
        for entry in chosen:
            digit = entry >> np.uint64(shift) & most
            other[starts[digit]] = entry
            starts[digit] += 1
        chosen, other = other, chosen
    for i in range(k):
        store(index + 4 * i, np.uint32(chosen[i]))


@specialised
def write_best(index, x, k, n, largest, block):
    """The k best of n elements, best first, equal ones by index."""
    if k > n:
        return PUNT
    if k > HEAP or 2 * k > max(n, 2 * SOME) or not by_heap(x, index, k, n, largest):
        by_digits(x, index, k, n, largest)
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
def thr_select(table, row, sparsity, block):
    levels = csr(block, LEVELS)
    if not 0 < levels <= LARGE or table < 0 or not 0 <= row <= LARGE // levels:         # no sum below may wrap around
        return PUNT
    levels_host, levels_read = readable(block, THR, table, 4 * levels, 4)
    if levels_host == 0:
        return PUNT
    column = levels - 1
    for i in range(levels):
        if load(levels_host + 4 * i, np.float32) >= sparsity:
            column = i
            break
    theta_host, theta_read = readable(block, THR, table + 4 * (levels * (1 + row) + column), 4, 4)
    if theta_host == 0:
        return PUNT
    count(block, levels_read, 4 * levels)
    count(block, theta_read, 4)
    count(block, COMPARES, levels)
    result(block, np.int64(load(theta_host, np.uint32)))
    return DONE


@kernel("thr.prefix")
def thr_prefix(sizes, budget, n, block):
    total, fitting = np.uint64(0), 0
    while fitting < n:
        total += np.uint64(load(sizes + 4 * fitting, np.uint32))
        if total > np.uint64(budget):
            break
        fitting += 1
    count(block, COMPARES, n)
    count(block, SELECTED, fitting)
    result(block, fitting)
    return DONE


@kernel("thr.ranges")
def thr_ranges(index, ranks, bounds, n, block):
    budget = csr(block, BUDGET)
    if n == 0 or budget == 0:                                   # no range is looked at
        count(block, COMPARES, n)
        return DONE
    if budget < 0 or bounds < 0 or bounds > LARGE << 8:
        return PUNT
    bounds_host, bounds_read = readable(block, THR, bounds, 8, 4)
    total, looked, most = 0, 0, 8                               # bytes of bounds that are known to be there
    while bounds_host != 0 and looked < n and total < budget:
        at = 4 * np.int64(load(ranks + 4 * looked, np.uint32))
        if at + 8 > most:
            most = at + 8
            bounds_host, bounds_read = readable(block, THR, bounds, most, 4)
            if bounds_host == 0:
                break
        total += max(np.int64(load(bounds_host + at + 4, np.uint32)) - np.int64(load(bounds_host + at, np.uint32)), 0)
        looked += 1
    if bounds_host == 0:
        return PUNT
    total = min(total, budget)
    if total == 0:                                              # nowhere is written, wherever `index` is
        count(block, bounds_read, 8 * looked)
        count(block, COMPARES, n)
        return DONE
    target, written = writable(block, THR, index, 4 * total, 4)
    if target == 0 or overlap(target, 4 * total, ranks, 4 * n) or overlap(target, 4 * total, bounds_host, most):
        return PUNT
    end = target + 4 * total
    for i in range(looked):
        place = bounds_host + 4 * np.int64(load(ranks + 4 * i, np.uint32))
        start = np.int64(load(place, np.uint32))
        for number in range(start, min(np.int64(load(place + 4, np.uint32)), start + (end - target >> 2))):
            store(target, np.uint32(number))
            target += 4
    count(block, bounds_read, 8 * looked)
    count(block, written, 4 * total)
    count(block, COMPARES, n)
    count(block, SELECTED, total)
    return DONE
