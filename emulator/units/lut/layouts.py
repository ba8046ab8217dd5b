"""How packed weights lie in 64 bytes, for vector code, and how many of them LUT mode would skip.

A byte holds `slices` weights. Three formats have no such bytes. They are rewritten, some rows at a time: base 3 to two bits, three
bits to nibbles. With AVX-512 sums over whole rows take two of them as they are. Look-ups see a whole byte of base 3: one more
layout, FIVES. Integers of three bits are multiplied in two parts, LOWER and UPPER, once their zeros have been counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from emulator.native.emitting import for_range
from emulator.native.features import AVX512
from emulator.native.machine_code import clear_bytes, load, move, store
from emulator.simd.bytes64 import (
    I16,
    I32,
    I64,
    SIZE,
    Vector,
    constants,
    is_split,
    look_up,
    look_up_128,
    pointer,
    spread,
    vector_type,
)
from emulator.units.lut.plain import C3, I3, T5
from isa.units.lut.products import FORMAT_NUMBERS

# What a block adds to the counts: (vectors whose bits are the weights that are not zero, the same for look-ups). A look-up may
# also be a bit of an int64.
Counted = tuple[list[Any], list[Any]]


# Four rows under each other, whose groups run down the columns. For those that run along a row: emulator/units/lut/counts.py.


def _below_t2(rows: list[Vector]) -> Counted:
    a, b, c, d = ((~v | v.shift_right(1)) & 0x55 for v in rows)
    return [a | b.shift_left(1), c | d.shift_left(1)], [a | b | c | d]


def _below_i2(rows: list[Vector]) -> Counted:
    a, b, c, d = ((v | v.shift_right(1)) & 0x55 for v in rows)
    return [a | b.shift_left(1), c | d.shift_left(1)], [rows[0] | rows[1] | rows[2] | rows[3]]


def _below_i4(rows: list[Vector]) -> Counted:
    pairs = [v | v.shift_right(1) for v in rows]
    a, b, c, d = ((v | v.shift_right(2)) & 0x11 for v in pairs)
    return [a | b.shift_left(1) | c.shift_left(2) | d.shift_left(3)], [rows[0] | rows[1] | rows[2] | rows[3]]


def _below_i8(rows: list[Vector]) -> Counted:
    return [v.differs(0) for v in rows], [rows[0] | rows[1] | rows[2] | rows[3]]


# Five ternary digits of a byte as five times two bits.
_FIVE = np.array([sum(byte // 3**i % 3 << 2 * i for i in range(5)) for byte in range(256)], np.uint16)


@dataclass(frozen=True)
class Layout:
    """How weights lie in a byte: `slices` of them, the first lowest. a weight is factor * (code ^ flip) - bias."""

    slices: int
    flip: int                           # a byte that makes the codes of a byte unsigned
    bias: int
    zero: int                           # a byte whose weights are all zero
    counted_below: Callable[[list[Vector]], Counted] | None = None
    factor: int = 1
    codebook: bool = False
    digits: bool = False                # of base 3, five a byte

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return 2 if self.digits else 8 // self.slices

    @property
    def largest(self) -> int:
        """The largest code, or value of a codebook, as an unsigned byte."""
        return 255 if self.codebook else (1 << self.bits) - 1

    @property
    def is_split(self) -> bool:
        """True if activations are dealt out as int16, two for each: the even ones of 64, then the odd ones."""
        return is_split(self.largest)

    def place(self, k: int) -> int:
        """Where the code of slice k begins in its byte."""
        return k * self.bits % 8

    def worth(self, k: int) -> int:
        """What a 1 of slice k is in its place."""
        return 81 if self.digits and k == 4 else 1 << self.place(k)

    def opened(self, v: Vector) -> list[Vector]:
        """The vectors that the codes of 64 bytes lie in: v itself. For five digits: the lower four as two bits each, and 81 times
        the fifth."""
        if self.digits:
            v = v.modulo(243)
            lower = v.modulo(162).modulo(81)
            return [look_up_128(constants(v.builder, _FIVE[:128] & 255), lower), v - lower]
        return [v ^ self.flip if self.flip else v]

    def codes(self, opened: list[Vector], k: int, table: Vector | None, in_place: bool) -> tuple[Vector, int]:
        """Slice k as unsigned bytes, and the largest that they can be. `in_place`: times its worth."""
        if self.digits and k == 4:
            return (opened[1], 162) if in_place else (opened[1].shift_right(6) & 3, 2)      # 0, 81 and 162 to 0, 1 and 2
        v, place, mask = opened[k * self.bits // 8], self.place(k), (1 << self.bits) - 1
        if in_place:
            return v & (mask << place), mask << place
        codes = v.shift_right(place) & mask if self.bits < 8 else v
        return (look_up(table, codes), 255) if table else (codes, mask)


LAYOUTS: dict[str, Layout] = {
    #            slices  flip  bias  zero
    "b1": Layout(8,      0,    1,    0,    factor=2),
    "t2": Layout(4,      0,    1,    0x55, _below_t2),
    "i2": Layout(4,      0xAA, 2,    0,    _below_i2),
    "i4": Layout(2,      0x88, 8,    0,    _below_i4),
    "i8": Layout(1,      0x80, 128,  0,    _below_i8),
    "i3": Layout(2,      0x44, 4,    0,    _below_i4),     # rewritten; bit 3 of a nibble is 0
    "t5": Layout(4,      0,    1,    0x55, _below_t2),     # rewritten
    "c3": Layout(2,      0,    128,  0,    codebook=True),        # rewritten
    "c2": Layout(4,      0,    128,  0,    codebook=True),
    "c4": Layout(2,      0,    128,  0,    codebook=True),
}
BY_NUMBER = [*(LAYOUTS[name] for name in FORMAT_NUMBERS),
             Layout(5, 0, 1, 121, digits=True),                 # 121: five times the digit 1
             Layout(4, 0, 0, 0), Layout(8, 0, 0, 0)]            # the lower two bits and the upper bit of i3, without sign
FIVES = len(FORMAT_NUMBERS)
LOWER, UPPER = FIVES + 1, FIVES + 2


def layout_of_rows(fmt: int) -> int:
    """Number of the layout for sums over whole rows."""
    return FIVES if fmt == T5 and AVX512 else fmt


# By the number of a format, for numba.
SLICES = tuple(layout.slices for layout in BY_NUMBER)
FACTOR = tuple(layout.factor for layout in BY_NUMBER)
BIAS = tuple(layout.bias for layout in BY_NUMBER)
ZERO = tuple(layout.zero for layout in BY_NUMBER)
IS_BOOK = tuple(layout.codebook for layout in BY_NUMBER)
DEALT = tuple(SIZE * layout.slices * (1 + layout.is_split) for layout in BY_NUMBER)     # bytes of activations for 64 of weights

# ------------------------------------------------------------------------------------------------ formats that are rewritten

u8, u16, u64, i64 = np.uint8, np.uint16, np.uint64, np.int64


@njit
def is_rewritten(fmt):
    """True for a format that vector code sees as another one."""
    return fmt in (T5, I3, C3)


@njit
def size_of(fmt, cols):
    """Bytes of a row as vector code sees it."""
    return (cols + SLICES[fmt] - 1) // SLICES[fmt]


@njit
def _rewrite_t5(row, cols, out):
    """Base 3 to t2. Writes up to 8 bytes more than the row has."""
    size = (cols + 4) // 5
    for i in range(size >> 2):
        bits = u64(0)
        for k in range(4):
            bits |= u64(_FIVE[load(row + 4 * i + k, u8)]) << u64(10 * k)
        store(out + 5 * i, bits)
    bits = u64(0)
    for i in range(size & -4, size):
        bits |= u64(_FIVE[load(row + i, u8)]) << u64(10 * (i & 3))
    store(out + 5 * (size >> 2), bits)


@njit
def last_bytes(row, size, cols, out):
    """The `size` last bytes of a row of FIVES, one block at most, to 64 bytes at `out`; weights behind the row become zeros."""
    for at in range(size, SIZE):
        store(out + at, u8(121))
    move(out, row, size)
    digits = cols % 5
    if digits > 0:
        value, power = i64(load(out + size - 1, u8)), 3**digits
        store(out + size - 1, u8(value % power + 121 // power * power))


@intrinsic
def _nibbles(typing: Any, low: Any, high: Any, blocks: Any, out: Any) -> Any:
    """For each block, 32 bytes of two bits a weight and 16 bytes of one bit a weight become 64 bytes of nibbles."""
    wide = vector_type(I64)

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        low, high, blocks, out = arguments

        def take(address: Any, number: Any, element: Any) -> Any:
            kind = ir.VectorType(element, wide.count)
            place = builder.add(address, builder.mul(number, ir.Constant(I64, wide.count * element.width // 8)))
            value = builder.load(pointer(builder, place, kind))
            value.align = 1
            return Vector(builder, builder.zext(value, wide))

        with for_range(builder, blocks, intp=I64) as loop:
            pairs, tops = take(low, loop.index, I32), take(high, loop.index, I16)
            for places, mask in ((16, 0xFFFF_0000_FFFF), (8, 0xFF_00FF_00FF_00FF), (4, 0x0F0F_0F0F_0F0F_0F0F),
                                 (2, 0x3333_3333_3333_3333)):
                pairs = (pairs | pairs.shift_left(places, I64)) & Vector(builder, spread(wide, mask))
            for places, mask in ((24, 0xFF_0000_00FF), (12, 0xF_000F_000F_000F), (6, 0x0303_0303_0303_0303),
                                 (3, 0x1111_1111_1111_1111)):
                tops = (tops | tops.shift_left(places, I64)) & Vector(builder, spread(wide, mask))
            (pairs | tops.shift_left(2, I64)).store(builder.add(out, builder.mul(loop.index, ir.Constant(I64, SIZE))))
        return context.get_dummy_value()
    return types.void(*[types.int64] * 4), emit


@njit
def rewrite(fmt, row, cols, out, spare):
    """Rewrite one row to `out`, whole blocks of 64 bytes and 8 more. `spare`: 64 bytes that may be overwritten."""
    if fmt == T5:
        _rewrite_t5(row, cols, out)
        return
    high, blocks = row + (cols + 3 >> 2), cols >> 7
    _nibbles(row, high, blocks, out)
    rest = cols & 127
    if rest > 0:
        clear_bytes(spare, SIZE)
        move(spare, row + 32 * blocks, rest + 3 >> 2)
        move(spare + 32, high + 16 * blocks, rest + 7 >> 3)
        _nibbles(spare, spare + 32, 1, out + SIZE * blocks)
