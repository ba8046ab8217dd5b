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
from emulator.native.inlining import specialised
from emulator.simd.bytes64 import (
    I32,
    I64,
    SIZE,
    Vector,
    constants,
    dot,
    look_up_128,
    look_up_256,
    pointer,
    vector_type,
    zeros,
)
from emulator.units.sp.places import has_unpacking

TOGETHER = 4            # rows that share what is loaded of the vector


@intrinsic  # type: ignore[untyped-decorator]
def copy_chunks(typing: Any, target: Any, source: Any, chunks: Any) -> Any:
    """copy_chunks(target, source, chunks): `chunks` times 64 bytes. A few of them take less time so than a call of memcpy."""
    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        target, source, chunks = arguments
        with for_range(builder, chunks, intp=I64) as loop:
            at = builder.mul(loop.index, I64(SIZE))
            Vector.load(builder, builder.add(source, at)).store(builder.add(target, at))
        return context.get_dummy_value()
    return types.none(*[types.int64] * 3), emit


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def cells_dot(typing: Any, n: Any, m: Any, lines: Any, cells: Any, places: Any, tiles: Any, apart: Any, line: Any, chunks: Any,
              x: Any, out: Any) -> Any:
    """cells_dot(n, m, lines, cells, places, tiles, apart, line, chunks, x, out): the sums of w * x of `lines` rows, int32 at `out`.

    Of (w + 128) * x if n = m. w in a column of `chunks` times 64 cells in each of `tiles` macros that lie `apart` bytes apart, and
    their places; the columns of the rows lie `line` bytes apart. n, m and lines are numbers in the source. As bytes at `x` a window
    for each 64 cells: x + 128 unsigned, x itself if n = m. Numbers alone, as compiled functions take them
    (emulator/threads/parallel.py).
    """
    if not all(isinstance(number, types.IntegerLiteral) for number in (n, m, lines)):
        return None
    count, most, together = n.literal_value, m.literal_value, lines.literal_value
    window = SIZE * most // count

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        _, _, _, cells, places, tiles, apart, line, chunks, x, out = arguments
        slots = [[alloca_once(builder, vector_type(I32)) for _ in range(2)] for _ in range(together)]
        for slot in (slot for pair in slots for slot in pair):
            builder.store(zeros(builder).value, slot)
        (starts,) = constants(builder, [at // count * most % 256 for at in range(SIZE)])
        (ones,) = constants(builder, [1] * SIZE)

        def add(slot: Any, u: Vector, s: Vector) -> None:
            builder.store(dot(Vector(builder, builder.load(slot)), u, s, 255).of(I32), slot)

        with for_range(builder, tiles, intp=I64) as tile, for_range(builder, chunks, intp=I64) as loop:
            inside = builder.add(builder.mul(tile.index, apart), builder.mul(loop.index, I64(SIZE)))
            at = builder.add(x, builder.mul(builder.add(builder.mul(tile.index, chunks), loop.index), I64(window)))
            table = [Vector.load(builder, builder.add(at, I64(start)))
                     for start in range(0, SIZE if count == most else max(window, 128), SIZE)]
            for i, (products, weights) in enumerate(slots):
                place = builder.add(inside, builder.mul(line, I64(i)))
                values = Vector.load(builder, builder.add(cells, place))
                if count == most:
                    add(products, values ^ 128, table[0])
                    continue
                numbers = Vector.load(builder, builder.add(places, place)) | starts
                add(products, look_up_256(table, numbers) if window > 128 else look_up_128(table, numbers), values)
                add(weights, ones, values)
        for i, pair in enumerate(slots):
            products, weights = (Vector(builder, builder.load(slot)).total() for slot in pair)
            result = builder.sub(products, builder.shl(weights, I32(7)))
            builder.store(result, pointer(builder, builder.add(out, I64(4 * i)), I32)).align = 1
        return I64(0)
    return types.int64(n, m, lines, *[types.int64] * 8), emit


# ------------------------------------------------------------------------------------------------ which code there is

if AVX512:
    @specialised
    def some_of(lines, n, m, cells, places, tiles, apart, line, chunks, x, out):
        """cells_dot for n of m.

        Numbers alone, as compiled functions take them (emulator/threads/parallel.py).
        """
        if n == m:
            cells_dot(1, 1, lines, cells, places, tiles, apart, line, chunks, x, out)
        elif m == 4 and n == 1:
            cells_dot(1, 4, lines, cells, places, tiles, apart, line, chunks, x, out)
        elif m == 4:
            cells_dot(2, 4, lines, cells, places, tiles, apart, line, chunks, x, out)
        elif m == 8 and n == 2:
            cells_dot(2, 8, lines, cells, places, tiles, apart, line, chunks, x, out)
        elif m == 8:
            cells_dot(4, 8, lines, cells, places, tiles, apart, line, chunks, x, out)
        elif n == 4:
            cells_dot(4, 16, lines, cells, places, tiles, apart, line, chunks, x, out)
        else:
            cells_dot(8, 16, lines, cells, places, tiles, apart, line, chunks, x, out)
else:
    @specialised
    def some_of(lines, n, m, cells, places, tiles, apart, line, chunks, x, out):
        """cells_dot for N = M; elsewhere there is none.

        Numbers alone, as compiled functions take them (emulator/threads/parallel.py).
        """
        cells_dot(1, 1, lines, cells, places, tiles, apart, line, chunks, x, out)


@njit
def dots_of_cells(lines, n, m, cells, places, tiles, apart, line, chunks, x, out):
    """cells_dot for n of m, and for TOGETHER rows or one.

    Numbers alone, as compiled functions take them (emulator/threads/parallel.py).
    """
    if lines == TOGETHER:
        some_of(TOGETHER, n, m, cells, places, tiles, apart, line, chunks, x, out)
    else:
        some_of(1, n, m, cells, places, tiles, apart, line, chunks, x, out)


@njit
def has_dot(n, m, cells):
    """True if `dots_of_cells` may be called, for columns of so many cells."""
    return cells % SIZE == 0 and ((n == m and cells % n == 0) or has_unpacking(n, m))
