"""Places of N of M unpacked to a byte each, and checked: with AVX-512 by vector code for some patterns, else one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from emulator.native.emitting import alloca_once, for_range
from emulator.native.features import AVX512
from emulator.native.machine_code import load, store
from emulator.simd.bytes64 import I8, I64, SIZE, Vector, call, constants, pointer, shuffle, vector_type
from emulator.units.sp.plain import index_bits

GATHERS = ((1, 4), (2, 4), (2, 8), (4, 8), (4, 16), (8, 16)) if AVX512 else ()     # patterns with vector code here

u8, i64 = np.uint8, np.int64


def places_of(builder: Any, bits: int, address: Any) -> Vector:
    """64 places of `bits` bits each, from 8 * bits bytes, as bytes."""
    if bits == 3:
        pieces = []
        for start, count in ((0, 16), (16, 8)):
            piece = builder.load(pointer(builder, builder.add(address, I64(start)), ir.VectorType(I8, count)))
            piece.align = 1
            pieces.append(piece)
        low, high = pieces
        high = shuffle(builder, high, ir.Constant(high.type, [0] * 8), range(16))
        lanes = [3 * (at // 8) + at % 8 if at % 8 < 3 else 31 for at in range(SIZE)]
        words = Vector(builder, shuffle(builder, low, high, lanes))
    else:
        small = ir.VectorType(ir.IntType(8 * bits), 8)
        value = builder.load(pointer(builder, address, small))
        value.align = 1
        words = Vector(builder, builder.zext(value, vector_type(I64)))
    (offsets,) = constants(builder, [bits * (at % 8) for at in range(SIZE)])
    spread = call(builder, "llvm.x86.avx512.pmultishift.qb.512", vector_type(I8), [offsets.of(I8), words.of(I8)])
    return Vector(builder, spread) & (1 << bits) - 1


def _falls(builder: Any, places: Vector, n: int) -> Any:
    """Which of 64 places are not above the one before in their group of n, as the bits of an int64."""
    before = shuffle(builder, places.of(I8), places.of(I8), [0, *range(SIZE - 1)])
    exempt = sum(1 << at for at in range(0, SIZE, n))           # the first place of a group may be any
    return builder.and_(builder.bitcast(builder.icmp_unsigned("<=", places.of(I8), before), I64), I64(~exempt))


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def unpack_places(typing: Any, n: Any, m: Any, meta: Any, chunks: Any, out: Any) -> Any:
    """unpack_places(n, m, meta, chunks, out): not 0 if the places of a group do not rise, in `chunks` times 64 values.

    Puts the places to `out`, a byte each. n and m are numbers in the source.
    """
    if not all(isinstance(number, types.IntegerLiteral) for number in (n, m)):
        return None
    count, bits = n.literal_value, (m.literal_value - 1).bit_length()

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        *_, meta, chunks, out = arguments
        wrong = alloca_once(builder, I64)
        builder.store(I64(0), wrong)
        with for_range(builder, chunks, intp=I64) as loop:
            places = places_of(builder, bits, builder.add(meta, builder.mul(loop.index, I64(8 * bits))))
            if count > 1:
                builder.store(builder.or_(builder.load(wrong), _falls(builder, places, count)), wrong)
            places.store(builder.add(out, builder.mul(loop.index, I64(SIZE))))
        return builder.load(wrong)
    return types.int64(n, m, *[types.int64] * 3), emit


if AVX512:
    @njit
    def unpacked(n, m, meta, chunks, out):
        """unpack_places for n of m."""
        if m == 4:
            return unpack_places(1, 4, meta, chunks, out) if n == 1 else unpack_places(2, 4, meta, chunks, out)
        if m == 8:
            return unpack_places(2, 8, meta, chunks, out) if n == 2 else unpack_places(4, 8, meta, chunks, out)
        return unpack_places(4, 16, meta, chunks, out) if n == 4 else unpack_places(8, 16, meta, chunks, out)
else:
    @njit
    def unpacked(n, m, meta, chunks, out):
        """There is none."""
        return 1


@njit
def has_unpacking(n, m):
    """True if `unpacked` may be called."""
    return len(GATHERS) > 0 and ((m == 4 and 1 <= n <= 2) or (m == 8 and (n == 2 or n == 4)) or (m == 16 and (n == 4 or n == 8)))


@njit
def row_places(meta, width, n, q, cols, values, out):
    """The places of a row's `width` values, n of q, a byte each to `out`, which has room for 64 more. False if malformed."""
    bits, done = index_bits(q), 0
    if has_unpacking(n, q):
        done = width >> 6
        if unpacked(n, q, meta, done, out) != 0:
            return False
        done <<= 6
    at, kept, word, last = meta + (done * bits >> 3), 0, i64(0), -1
    for k in range(done, width):
        if kept < bits:
            word |= i64(load(at, u8)) << kept
            at += 1
            kept += 8
        place = word & (1 << bits) - 1
        word >>= bits
        kept -= bits
        if k % n == 0:
            last = -1
        if place >= q or place <= last:
            return False
        store(out + k, u8(place))
        last = place
    if cols % q > 0:
        for k in range(width - n, width):
            if load(out + k, u8) >= cols % q and load(values + k, u8) != 0:
                return False
    return True
