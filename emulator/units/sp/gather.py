"""Rows of N of M with vector code: a window of 64 columns of four rows at a time.

The values that a row has in a window are 64 * N / M; so M / N rows fill a register with their values. Their places are unpacked to
a byte each; with the start of its group a place is the number of a byte of the window, and AVX-512 gathers 64 bytes out of 64 at
once. Four rows share what is loaded of the vector, and hide how long a product takes. There is no vector code for other hosts, and
none for patterns that are not among GATHERS.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from emulator.native.emitting import alloca_once, for_range
from emulator.simd.bytes64 import (
    I1,
    I8,
    I32,
    I64,
    SIZE,
    Vector,
    constants,
    dot,
    fields,
    joined,
    permuted,
    pointer,
    prefetch,
    shuffle,
    vector_type,
    zeros,
)
from emulator.units.sp.bitmask import in_register

LINES = 4


def _repeated(builder: Any, address: Any, size: int) -> Any:
    """4, 8 or 16 bytes, repeated, as int64."""
    element, count = (I64, size // 8) if size >= 8 else (I32, 1)
    value = builder.load(pointer(builder, address, ir.VectorType(element, count)))
    value.align = 1
    whole = shuffle(builder, value, value, [at % count for at in range(vector_type(element).count)])
    return builder.bitcast(whole, vector_type(I64))


class _Pattern:
    """What code for N of M needs: how the places and values of a window lie."""

    def __init__(self, builder: Any, n: int, m: int) -> None:
        self.builder, self.bits, self.rows = builder, (m - 1).bit_length(), m // n      # rows that fill a register
        self.values = SIZE // self.rows
        self.size = self.values * self.bits // 8                                    # bytes of the places of a window
        self.wide, lanes = self.size > 8, 8 // self.rows                            # 8 places for each lane of 8 bytes
        self.starts, self.shifts, self.mask = (self._held(numbers) for numbers in (
            [at % self.values // n * m for at in range(SIZE)],
            [self.bits * (at % 8 if self.wide else at % self.values) for at in range(SIZE)], [m - 1] * SIZE))
        self.picks = [self._held([min(at // 32 * 32 + self.size * window + at // 8 % lanes * self.bits + at % 8, SIZE - 1)
                                  for at in range(SIZE)]) for window in range(2 if self.wide else 0)]
        self.shares = [self._lanes(((1 << lanes) - 1) << lanes * i) for i in range(1, self.rows)]

    def _held(self, numbers: list[int]) -> Vector:
        """Bytes in a register. LLVM would load constants anew for each window, and loads are what the loop waits for."""
        (vector,) = constants(self.builder, numbers)
        return Vector(self.builder, in_register(self.builder, vector.value))

    def _lanes(self, mask: int) -> Any:
        """Lanes of 8 bytes by bits. LLVM does not see which they are: it would shuffle, which takes more time than a load under a
        mask."""
        builder, bits = self.builder, ir.IntType(8)
        hidden = builder.asm(ir.FunctionType(bits, [bits]), "", "=r,0", [ir.Constant(bits, mask)], False)
        return builder.bitcast(hidden, ir.VectorType(I1, 8))

    def _side_by_side(self, parts: list[Any]) -> Vector:
        """The first share of the first part, the second share of the second one, and so on."""
        result = parts[0]
        for lanes, part in zip(self.shares, parts[1:], strict=True):
            result = self.builder.select(lanes, part, result)
        return Vector(self.builder, result)

    def _halves(self, addresses: list[Any]) -> Vector:
        """32 bytes from each of two addresses."""
        builder = self.builder
        low, high = (builder.load(pointer(builder, address, vector_type(I8, 32))) for address in addresses)
        low.align = high.align = 1
        return joined(builder, low, high)

    def words(self, addresses: list[Any], windows: int) -> list[Vector]:
        """For each of one or two windows words of 8 bytes that have the places of some rows. May read some bytes behind these."""
        if self.wide:               # then there are two rows, and 32 bytes have the places of two windows
            both = self._halves(addresses)
            return [permuted(both, pick) for pick in self.picks[:windows]]
        return [self._side_by_side([_repeated(self.builder, self.builder.add(address, I64(window * self.size)),
                                              8 if self.size > 4 else 4) for address in addresses]) for window in range(windows)]

    def numbers(self, words: Vector) -> Vector:
        """Which bytes of a window the values of some rows meet."""
        return (fields(words, self.shifts) & self.mask) | self.starts

    def weights(self, addresses: list[Any]) -> Vector:
        """The values of some rows."""
        if self.rows == 2:
            return self._halves(addresses)
        return self._side_by_side([_repeated(self.builder, address, self.values) for address in addresses])


def _sums_of_rows(builder: Any, registers: list[Any]) -> Any:
    """int32 (4,): the sums of four rows. One register has four numbers of each row, two have eight of each of two rows."""
    def lanes(order: list[int]) -> list[int]:
        """An order within four numbers, for each four of a register; those of the last register are numbered from 16."""
        return [start + at for start in range(0, 16, 4) for at in order]

    first, last = registers[0], registers[-1]
    low, high = ([0, 1, 16, 17], [2, 3, 18, 19]) if len(registers) > 1 else ([0, 1, 2, 3], [2, 3, 0, 1])
    sums = builder.add(shuffle(builder, first, last, lanes(low)), shuffle(builder, first, last, lanes(high)))
    sums = builder.add(sums, shuffle(builder, sums, sums, lanes([1, 0, 3, 2])))
    if len(registers) == 1:
        return shuffle(builder, sums, sums, [0, 4, 8, 12])
    sums = builder.add(sums, shuffle(builder, sums, sums, [at ^ 4 for at in range(16)]))
    return shuffle(builder, sums, sums, [0, 8, 2, 10])


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def gather_dots(typing: Any, n: Any, m: Any, places: Any, place_step: Any, windows: Any, w: Any, step: Any, x: Any, ahead: Any,
                out: Any) -> Any:
    """gather_dots(n, m, places, place_step, windows, w, step, x, ahead, out): the sums of w * x of LINES rows, int32 at `out`.

    n and m are numbers in the source. Values and places of row i at `w` + i * step and `places` + i * place_step. x + 128 unsigned,
    64 bytes at `x` for each window. What lies `ahead` bytes behind the values is asked of memory, and the places behind those of
    LINES rows. Reads up to 20 bytes behind the places.

    Numbers alone, as compiled functions take them (emulator/threads/parallel.py).
    """
    if not all(isinstance(number, types.IntegerLiteral) for number in (n, m)):
        return None
    count, most = n.literal_value, m.literal_value

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        _, _, places, place_step, windows, w, step, x, ahead, out = arguments
        pattern = _Pattern(builder, count, most)
        rows, registers = pattern.rows, LINES // pattern.rows
        # sums of their own for each of two windows: one register would wait for its last sum
        slots = [[alloca_once(builder, vector_type(I32)) for _ in range(2)] for _ in range(registers)]
        for slot in (slot for each in slots for slot in each):
            builder.store(zeros(builder).value, slot)
        lines = [tuple(builder.add(start, builder.mul(distance, I64(i))) for start, distance in ((places, place_step), (w, step)))
                 for i in range(LINES)]

        def some_windows(number: Any, count: int) -> None:
            """The window of this number, and if there are two the next one."""
            start = builder.add(x, builder.mul(number, I64(SIZE)))
            tables = [Vector.load(builder, builder.add(start, I64(SIZE * i))) for i in range(count)]
            for first, each in zip(range(0, LINES, rows), slots, strict=True):
                place_of, value_of = ([builder.add(line[part], builder.mul(number, I64(size))) for line in lines[first:][:rows]]
                                      for part, size in enumerate((pattern.size, pattern.values)))
                for i, words in enumerate(pattern.words(place_of, count)):
                    weights = pattern.weights([builder.add(value, I64(i * pattern.values)) for value in value_of])
                    gathered = permuted(tables[i], pattern.numbers(words))
                    builder.store(dot(Vector(builder, builder.load(each[i])), gathered, weights, 255).of(I32), each[i])

        together, size = builder.sdiv(windows, I64(2)), 2 * LINES * pattern.size
        later = builder.add(places, builder.mul(place_step, I64(LINES)))        # the places of the next rows
        with for_range(builder, together, intp=I64) as loop:
            number = builder.mul(loop.index, I64(2))
            some_windows(number, 2)
            for start in range(0, size, SIZE):
                prefetch(builder, builder.add(later, builder.add(builder.mul(loop.index, I64(size)), I64(start))), 1)
            for _, line in lines:
                prefetch(builder, builder.add(line, builder.add(builder.mul(number, I64(pattern.values)), ahead)), 1)
        with builder.if_then(builder.icmp_signed("!=", builder.and_(windows, I64(1)), I64(0))):
            some_windows(builder.sub(windows, I64(1)), 1)
        totals = []
        for each in slots:
            total = Vector(builder, builder.load(each[0]))
            for slot in each[1:]:
                total = total + Vector(builder, builder.load(slot))
            totals.append(total.of(I32))
        found = _sums_of_rows(builder, totals)
        builder.store(found, pointer(builder, out, found.type)).align = 1
        return context.get_dummy_value()
    return types.none(n, m, *[types.int64] * 8), emit
