"""Rows of N of M with vector code: 64 values at a time, and the elements of the vector that they meet, gathered by their places.

64 values belong to 64 / N groups, a window of 64 * M / N columns. Their places are unpacked to a byte each; with the start of its
group a place is the number of a byte of the window, and AVX-512 gathers 64 bytes out of 128 at once, or out of 256 in two halves.
There is no vector code for other hosts, for an N that does not divide 64, an M that is no power of two, or a window of more bytes.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from emulator.native.emitting import alloca_once, for_range
from emulator.native.features import AVX512
from emulator.simd.bytes64 import (
    I8,
    I32,
    I64,
    SIZE,
    Vector,
    call,
    constants,
    dot,
    look_up_128,
    look_up_256,
    pointer,
    prefetch,
    shuffle,
    vector_type,
    zeros,
)

MOST_WINDOW = 256
AT_ONCE = 2             # chunks with sums of their own
AHEAD = 3 << 10         # bytes of values that are asked of memory before they are needed


def has_gather(n: int, m: int) -> bool:
    """Whether there is vector code for N of M on this host."""
    return AVX512 and m in (2, 4, 8, 16) and SIZE % n == 0 and SIZE * m // n <= MOST_WINDOW


GATHERED = tuple((n, m) for m in (2, 4, 8, 16) for n in (1, 2, 4, 8, 16) if n <= m and has_gather(n, m))


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


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def gather_dot(typing: Any, n: Any, m: Any, meta: Any, chunks: Any, w: Any, x: Any, out: Any) -> Any:
    """gather_dot(n, m, meta, chunks, w, x, out): not 0 if the places of a group do not rise, in `chunks` times 64 values.

    Puts to `out` the int32 sum of w * x, n and m are numbers in the source. x + 128 unsigned, as bytes at `x`, for all windows.
    """
    if not all(isinstance(number, types.IntegerLiteral) for number in (n, m)):
        return None
    count, most = n.literal_value, m.literal_value
    bits, window = (most - 1).bit_length(), SIZE * most // count

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        *_, meta, chunks, w, x, out = arguments
        slots = [[alloca_once(builder, vector_type(I32)) for _ in range(2)] for _ in range(AT_ONCE)]
        wrong = alloca_once(builder, I64)
        builder.store(I64(0), wrong)
        for slot in (slot for pair in slots for slot in pair):
            builder.store(zeros(builder).value, slot)
        (starts,) = constants(builder, [at // count * most % 256 for at in range(SIZE)])
        (ones,) = constants(builder, [1] * SIZE)
        exempt = sum(1 << at for at in range(0, SIZE, count))           # the first place of a group may be any

        def chunk(number: Any, pair: Any) -> None:
            places = places_of(builder, bits, builder.add(meta, builder.mul(number, I64(8 * bits))))
            if count > 1:
                before = shuffle(builder, places.of(I8), places.of(I8), [0, *range(SIZE - 1)])
                falls = builder.bitcast(builder.icmp_unsigned("<=", places.of(I8), before), I64)
                falls = builder.and_(falls, I64(~exempt))
                builder.store(builder.or_(builder.load(wrong), falls), wrong)
            at = builder.add(x, builder.mul(number, I64(window)))
            table = [Vector.load(builder, builder.add(at, I64(start))) for start in range(0, max(window, 128), SIZE)]
            numbers = places | starts
            gathered = look_up_256(table, numbers) if window > 128 else look_up_128(table, numbers)
            values = Vector.load(builder, builder.add(w, builder.mul(number, I64(SIZE))))
            for slot, u in zip(pair, (gathered, ones), strict=True):
                builder.store(dot(Vector(builder, builder.load(slot)), u, values, 255).of(I32), slot)

        together = builder.sdiv(chunks, I64(AT_ONCE))
        with for_range(builder, together, intp=I64) as loop:
            first = builder.mul(loop.index, I64(AT_ONCE))
            for i, pair in enumerate(slots):
                prefetch(builder, builder.add(builder.add(w, builder.mul(first, I64(SIZE))), I64(AHEAD + SIZE * i)))
                chunk(builder.add(first, I64(i)), pair)
        done = builder.mul(together, I64(AT_ONCE))
        with for_range(builder, builder.sub(chunks, done), intp=I64) as loop:
            chunk(builder.add(done, loop.index), slots[0])
        sums = [Vector(builder, builder.load(slot)) for slot in slots[0]]
        for pair in slots[1:]:
            sums = [total + Vector(builder, builder.load(slot)) for total, slot in zip(sums, pair, strict=True)]
        products, weights = (total.of(I32) for total in sums)
        shifted = builder.shl(weights, ir.Constant(weights.type, [7] * 16))
        result = Vector(builder, builder.sub(products, shifted)).total()
        builder.store(result, pointer(builder, out, I32)).align = 1
        return builder.load(wrong)
    return types.int64(n, m, *[types.int64] * 5), emit
