"""What vector code does with a row of a matrix whose values stand in cells, 64 cells of a column at a time.

A row is in one column of each of several macros, which lie equally far apart. Its values belong to 64 / N groups, a window of
64 * M / N columns. As in emulator/units/sp/gather.py a place and the start of its group are the number of a byte of the window, and
AVX-512 gathers 64 of these at once; here places are bytes already. With N = M the cells meet 64 columns as they are, on every host.

A dot product takes bytes without sign by bytes with sign. Elements that are gathered are x + 128, and 128 times the sum of the
weights is taken off. With N = M weights are w + 128, and whoever asks takes off 128 times the sum of the vector.
"""

from __future__ import annotations

from typing import Any

from numba import njit, types
from numba.extending import intrinsic

from emulator.native.emitting import alloca_once, for_range
from emulator.native.features import AVX512
from emulator.simd.bytes64 import I8, I32, I64, SIZE, Vector, constants, dot, look_up_128, look_up_256, shuffle, vector_type, zeros
from emulator.units.sp.gather import places_of
from emulator.units.sp.rows import GATHERS

AT_ONCE = 2             # chunks with sums of their own


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


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def cells_dot(typing: Any, n: Any, m: Any, cells: Any, places: Any, tiles: Any, apart: Any, chunks: Any, x: Any) -> Any:
    """cells_dot(n, m, cells, places, tiles, apart, chunks, x): the int32 sum of w * x, of (w + 128) * x if n = m, as an int64.

    w in `tiles` columns of `chunks` times 64 cells that lie `apart` bytes apart, and their places; n and m are numbers in the
    source. As bytes at `x` a window for each 64 cells: x + 128 unsigned, x itself if n = m.
    """
    if not all(isinstance(number, types.IntegerLiteral) for number in (n, m)):
        return None
    count, most = n.literal_value, m.literal_value
    window = SIZE * most // count

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        _, _, cells, places, tiles, apart, chunks, x = arguments
        slots = [[alloca_once(builder, vector_type(I32)) for _ in range(2)] for _ in range(AT_ONCE)]
        for slot in (slot for pair in slots for slot in pair):
            builder.store(zeros(builder).value, slot)
        (starts,) = constants(builder, [at // count * most % 256 for at in range(SIZE)])
        (ones,) = constants(builder, [1] * SIZE)

        def chunk(tile: Any, number: Any, pair: Any) -> None:
            inside = builder.add(builder.mul(tile, apart), builder.mul(number, I64(SIZE)))
            at = builder.add(x, builder.mul(builder.add(builder.mul(tile, chunks), number), I64(window)))
            values = Vector.load(builder, builder.add(cells, inside))
            if count == most:
                sums = Vector(builder, builder.load(pair[0]))
                builder.store(dot(sums, values ^ 128, Vector.load(builder, at), 255).of(I32), pair[0])
                return
            table = [Vector.load(builder, builder.add(at, I64(start))) for start in range(0, max(window, 128), SIZE)]
            numbers = Vector.load(builder, builder.add(places, inside)) | starts
            met = look_up_256(table, numbers) if window > 128 else look_up_128(table, numbers)
            for slot, u in zip(pair, (met, ones), strict=True):
                builder.store(dot(Vector(builder, builder.load(slot)), u, values, 255).of(I32), slot)

        together = builder.sdiv(chunks, I64(AT_ONCE))
        done = builder.mul(together, I64(AT_ONCE))
        with for_range(builder, tiles, intp=I64) as tile:
            with for_range(builder, together, intp=I64) as loop:
                for i, pair in enumerate(slots):
                    chunk(tile.index, builder.add(builder.mul(loop.index, I64(AT_ONCE)), I64(i)), pair)
            with for_range(builder, builder.sub(chunks, done), intp=I64) as loop:
                chunk(tile.index, builder.add(done, loop.index), slots[0])
        sums = [Vector(builder, builder.load(slot)) for slot in slots[0]]
        for pair in slots[1:]:
            sums = [total + Vector(builder, builder.load(slot)) for total, slot in zip(sums, pair, strict=True)]
        products, weights = (total.total() for total in sums)
        return builder.sext(builder.sub(products, builder.shl(weights, I32(7))), I64)
    return types.int64(n, m, *[types.int64] * 6), emit


# ------------------------------------------------------------------------------------------------ which code there is

if AVX512:
    @njit
    def unpacked(n, m, meta, chunks, out):
        """unpack_places for n of m."""
        if m == 4:
            return unpack_places(1, 4, meta, chunks, out) if n == 1 else unpack_places(2, 4, meta, chunks, out)
        if m == 8:
            return unpack_places(2, 8, meta, chunks, out) if n == 2 else unpack_places(4, 8, meta, chunks, out)
        return unpack_places(4, 16, meta, chunks, out) if n == 4 else unpack_places(8, 16, meta, chunks, out)

    @njit
    def dot_of_cells(n, m, cells, places, tiles, apart, chunks, x):
        """cells_dot for n of m."""
        if n == m:
            return cells_dot(1, 1, cells, places, tiles, apart, chunks, x)
        if m == 4:
            return (cells_dot(1, 4, cells, places, tiles, apart, chunks, x) if n == 1 else
                    cells_dot(2, 4, cells, places, tiles, apart, chunks, x))
        if m == 8:
            return (cells_dot(2, 8, cells, places, tiles, apart, chunks, x) if n == 2 else
                    cells_dot(4, 8, cells, places, tiles, apart, chunks, x))
        return (cells_dot(4, 16, cells, places, tiles, apart, chunks, x) if n == 4 else
                cells_dot(8, 16, cells, places, tiles, apart, chunks, x))
else:
    @njit
    def unpacked(n, m, meta, chunks, out):
        """There is none."""
        return 1

    @njit
    def dot_of_cells(n, m, cells, places, tiles, apart, chunks, x):
        """cells_dot for N = M; elsewhere there is none."""
        return cells_dot(1, 1, cells, places, tiles, apart, chunks, x)


@njit
def has_unpacking(n, m):
    """True if `unpacked` may be called."""
    return len(GATHERS) > 0 and ((m == 4 and 1 <= n <= 2) or (m == 8 and (n == 2 or n == 4)) or (m == 16 and (n == 4 or n == 8)))


@njit
def has_dot(n, m, cells):
    """True if `dot_of_cells` may be called, for columns of so many cells."""
    return cells % SIZE == 0 and ((n == m and cells % n == 0) or has_unpacking(n, m))
