"""What is counted along rows of packed weights: the weights that are not zero and the look-ups of lut.mode 0, 64 bytes at a time;
what lut.mode 1 counts, 8 bytes at a time; the bits that switch from row to row.

It depends on the weights alone. So it is counted once for weights that nothing changes, and remembered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit

from emulator.kernel_words import COUNTED_ENTRIES, COUNTED_TABLE, COUNTED_WORDS, is_fixed
from emulator.native.emitting import alloca_once
from emulator.native.machine_code import load, ones, store
from emulator.simd.bytes64 import I8, I16, I32, I64, Vector, constants, look_up_256, pointer, population, spread, vector_type
from emulator.units.lut.layouts import FIVES, Counted
from emulator.units.lut.plain import I2, I3, I4, T2, T5, most, row_bytes
from emulator.units.lut.plain import I8 as INT8

u8, i64 = np.uint8, np.int64


def clear(builder: Any, slot: Any) -> None:
    """Set a stack slot to zero."""
    kind = slot.type.pointee
    builder.store(spread(kind, 0) if isinstance(kind, ir.VectorType) else ir.Constant(kind, 0), slot)


class Counts:
    """Weights that are not zero, and look-ups, counted in stack slots: bits of vectors and bits of int64."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder
        self.slots = [(alloca_once(builder, vector_type(I64)), alloca_once(builder, I64)) for _ in range(2)]
        for slot in (slot for pair in self.slots for slot in pair):
            clear(builder, slot)

    def add(self, counted: Counted) -> None:
        """Count a block."""
        builder = self.builder
        for (vectors, words), found in zip(self.slots, counted, strict=True):
            for flags in found:
                if isinstance(flags, Vector):
                    total = Vector(builder, builder.load(vectors)) + flags.population()
                    builder.store(total.of(I64), vectors)
                else:
                    builder.store(builder.add(builder.load(words), population(builder, flags)), words)

    def save(self, events: Any) -> None:
        """Add the counts to two int64 at an address."""
        builder = self.builder
        for i, (vectors, words) in enumerate(self.slots):
            place = pointer(builder, builder.add(events, ir.Constant(I64, 8 * i)), I64)
            total = builder.add(Vector(builder, builder.load(vectors)).total(I64), builder.load(words))
            builder.store(builder.add(builder.load(place), total), place)


# Of two blocks of 64 bytes: vectors whose bits are the weights that are not zero, and the same for look-ups.


def _t2(a: Vector, b: Vector) -> Counted:
    weights = [(~v | v.shift_right(1)) & 0x55 for v in (a, b)]
    return [weights[0] | weights[1].shift_left(1)], [w.differs(0) for w in weights]


def _i2(a: Vector, b: Vector) -> Counted:
    weights = [(v | v.shift_right(1)) & 0x55 for v in (a, b)]
    return [weights[0] | weights[1].shift_left(1)], [(v & plane).differs(0) for v in (a, b) for plane in (0x55, 0xAA)]


def _i4(a: Vector, b: Vector) -> Counted:
    low = Vector(a.builder, spread(vector_type(I16), 0xFF))
    halves = ((a | a.shift_right(8)) & low) | ((b | b.shift_left(8)) & ~low)
    return [(v & nibble).differs(0) for v in (a, b) for nibble in (0x0F, 0xF0)], [(halves | halves.shift_right(4)) & 0x0F]


def _i8(a: Vector, b: Vector) -> Counted:
    low = Vector(a.builder, spread(vector_type(I32), 0xFFFF))
    halves = ((a | a.shift_right(16, I32)) & low) | ((b | b.shift_left(16, I32)) & ~low)
    first = Vector(a.builder, spread(vector_type(I16), 0xFF))
    return [a.differs(0), b.differs(0)], [(halves | halves.shift_right(8)) & first]


def _fives(a: Vector, b: Vector) -> Counted:
    """Groups of four cross the bytes of five weights, but not words of four bytes: so the flags of a word are put side by side."""
    five, ten = (Vector(a.builder, spread(vector_type(kind), low)) for kind, low in ((I16, 0xFF), (I32, 0xFFFF)))
    words = []
    for v in (a, b):
        flags = look_up_256(constants(a.builder, _NOT_ZERO), v)
        flags = (flags & five) | (flags & ~five).shift_right(3)
        words.append((flags & ten) | (flags & ~ten).shift_right(6, I32))
    groups = []
    for word in words:
        pairs = word | word.shift_right(1, I32)
        groups.append((pairs | pairs.shift_right(2, I32)) & Vector(a.builder, spread(vector_type(I32), 0x11111)))
    return words, [groups[0] | groups[1].shift_left(1, I32)]


_NOT_ZERO = [sum(1 << i for i in range(5) if byte // 3**i % 3 != 1) for byte in range(256)]     # of the five digits of a byte
# By number of the layout: b1 has no zeros, codebooks have no groups.
COUNTED: dict[int, Callable[[Vector, Vector], Counted]] = {
    T2: _t2, T5: _t2, I2: _i2, I3: _i4, I4: _i4, INT8: _i8, FIVES: _fives}
IS_COUNTED = tuple(fmt in COUNTED for fmt in range(FIVES))


def count_blocks(counts: Counts, counted: Callable[[Vector, Vector], Counted], blocks: list[Vector], zero: int) -> None:
    """Emit the counting of some blocks. `zero`: a byte whose weights are zero."""
    nothing = Vector(blocks[0].builder, spread(vector_type(I8), zero))
    for i in range(0, len(blocks), 2):
        counts.add(counted(blocks[i], blocks[i + 1] if i + 1 < len(blocks) else nothing))


# ------------------------------------------------------------------------------------------------ remembered

# An entry: host address, stride, rows, length, format + 1 of a matrix, and up to KEPT numbers: its weights that are not zero, its
# look-ups, those of the core that has most.
KEPT = COUNTED_WORDS - 5
NEAR = 8                # entries that are looked at: of matrices that would have the same one, all are remembered


@njit
def entry_of(block, fmt, host, stride, rows, length):
    """Address of the entry where the counts of a matrix are or may be remembered, 0 if its weights may have changed."""
    return _place_of(block, fmt, host, stride, rows, length, row_bytes(fmt, length)) if IS_COUNTED[fmt] else 0


@njit
def _place_of(block, key, host, stride, rows, length, size):
    """The same of rows of `size` bytes, for what is counted under the name `key`: an entry that has it, else one that has nothing,
    both near by, else one that has something else."""
    if not is_fixed(block, host, (rows - 1) * stride + size):
        return 0
    mixed = (host >> 4) * 0x9E3779B1 + length * 0x85EBCA6B + key * 0x27D4EB2F
    number = mixed >> 28 & (COUNTED_ENTRIES - 1)                # further down are bits that the upper ones of `host` do not reach
    first = entry = load(block + 8 * COUNTED_TABLE, i64) + 8 * COUNTED_WORDS * number
    for _ in range(min(NEAR, COUNTED_ENTRIES - number)):
        if load(entry, i64) == 0 or is_of(entry, key, host, stride, rows, length):
            return entry
        entry += 8 * COUNTED_WORDS
    return first


@njit
def is_of(entry, key, host, stride, rows, length):
    """True if an entry has what is counted of a matrix under the name `key`."""
    return (load(entry, i64) == host and load(entry + 8, i64) == stride and load(entry + 16, i64) == rows
            and load(entry + 24, i64) == length and load(entry + 32, i64) == key + 1)


@njit
def recall(entry, fmt, host, stride, rows, length, found):
    """True if the counts of a matrix are remembered: then they are put to found, whose first KEPT numbers are kept."""
    if entry == 0 or not is_of(entry, fmt, host, stride, rows, length):
        return False
    for i in range(min(len(found), KEPT)):
        found[i] = load(entry + 40 + 8 * i, i64)
    return True


@njit
def remember(entry, fmt, host, stride, rows, length, found):
    """Put the counts of a matrix into its entry, if it has one."""
    if entry != 0:
        for i, value in enumerate((host, stride, rows, length, fmt + 1)):
            store(entry + 8 * i, i64(value))
        for i in range(min(len(found), KEPT)):
            store(entry + 40 + 8 * i, found[i])


# ------------------------------------------------------------------------------------------------ lut.mode 1

_BUFFERED = 64          # added to a format: what mode 1 counts is remembered beside what mode 0 does
READS, PAIRS, FILLED, LONGEST_PAIRS = range(4)


@njit
def _eights(word, width, found):
    """Count flags, one in each field of so many bits, in groups of eight: flags, groups with an odd number of them, with any."""
    odd = filled = word
    for fold in range(3):
        odd ^= odd >> (width << fold)
        filled |= filled >> (width << fold)
    lowest = i64(0x0101_0101_0101_0101) if width == 1 else i64(0x0001_0001_0001_0001) if width == 2 else i64(
        0x0000_0001_0000_0001) if width == 4 else i64(1)
    found[READS] += ones(word)
    found[PAIRS] += ones(odd & lowest)
    found[FILLED] += ones(filled & lowest)


@njit
def _flags(word, width, plane, signs):
    """The bits of a plane in fields of so many bits; of signs (t2) which fields are not zero."""
    if signs:
        return (~word | word >> 1) & 0x5555_5555_5555_5555
    if width == 1:
        return word
    first = i64(0x5555_5555_5555_5555) if width == 2 else i64(0x1111_1111_1111_1111) if width == 4 else i64(0x0101_0101_0101_0101)
    return word >> plane & first


@njit
def _fields(at, width, planes, signs, length, found):
    """Count the planes of `length` fields of so many bits at `at`."""
    bits = length * width
    words = bits >> 6
    for number in range(words):
        word = load(at + 8 * number, i64)
        for plane in range(planes):
            _eights(_flags(word, width, plane, signs), width, found)
    rest = bits - 64 * words
    if rest > 0:
        last, kept = i64(0), (i64(1) << rest) - 1
        for byte in range((rest + 7) >> 3):
            last |= i64(load(at + 8 * words + byte, u8)) << (8 * byte)
        for plane in range(planes):
            _eights(_flags(last, width, plane, signs) & kept, width, found)


@njit
def _buffered_row(fmt, row, length, found):
    if fmt == I3:
        _fields(row, 2, 2, False, length, found)
        _fields(row + (length + 3 >> 2), 1, 1, False, length, found)
    elif fmt == I4:
        _fields(row, 4, 4, False, length, found)
    elif fmt == INT8:
        _fields(row, 8, 8, False, length, found)
    else:
        _fields(row, 2, 1 if fmt == T2 else 2, fmt == T2, length, found)


@njit
def is_buffered(fmt):
    """Whether what mode 1 counts of a format is counted here."""
    return fmt in (T2, I2, I3, I4, INT8)


@njit
def buffered(block, fmt, host, stride, rows, length, cores, found):
    """What mode 1 counts along rows, to found (4,): reads; groups with an odd number of them; groups with any; steps of the core
    with most."""
    entry = _place_of(block, fmt + _BUFFERED, host, stride, rows, length, row_bytes(fmt, length))
    if recall(entry, fmt + _BUFFERED, host, stride, rows, length, found):
        return
    steps = np.zeros(cores, np.int64)
    for r in range(rows):
        before = found[READS] + found[PAIRS]
        _buffered_row(fmt, host + r * stride, length, found)
        steps[r % cores] += found[READS] + found[PAIRS] - before >> 1
    found[LONGEST_PAIRS] = most(steps)
    remember(entry, fmt + _BUFFERED, host, stride, rows, length, found)


# ------------------------------------------------------------------------------------------------ from row to row

_TOGGLES = -2           # in the place of a format, of what is remembered here


@njit
def _toggles(host, stride, rows, size):
    total = i64(0)
    for r in range(1, rows):
        row = host + r * stride
        for at in range(0, size & -8, 8):
            total += ones(load(row + at, i64) ^ load(row + at - stride, i64))
        for at in range(size & -8, size):
            total += ones(i64(load(row + at, u8) ^ load(row + at - stride, u8)))
    return total


@njit
def toggles(block, host, stride, rows, size):
    """Bits in which rows of `size` bytes differ from the rows before them."""
    entry = _place_of(block, _TOGGLES, host, stride, rows, size, size)
    found = np.zeros(3, np.int64)
    if not recall(entry, _TOGGLES, host, stride, rows, size, found):
        found[0] = _toggles(host, stride, rows, size)
        remember(entry, _TOGGLES, host, stride, rows, size, found)
    return found[0]
