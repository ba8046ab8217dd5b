"""Packed weights times many vectors, by tile registers (AMX): 32 rows and up to 32 vectors at a time.

A tile is 16 rows of 64 bytes. One instruction adds to 16 x 16 int32 sums the products of 16 rows of 64 codes and of 64 activations
of 16 vectors. Codes are unpacked to memory once for these vectors, activations are put in the order of tiles once for a matrix:
word q of vector v becomes word v of row q. All sums are exact, so they are those of rows.py, in less time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from emulator.native.emitting import alloca_once, for_range
from emulator.native.features import AMX
from emulator.native.inlining import specialised
from emulator.native.machine_code import move
from emulator.simd.bytes64 import I8, I32, I64, SIZE, Vector, call, interleaved, pointer, prefetch, vector_type
from emulator.units.lut.layouts import BY_NUMBER, SLICES
from emulator.units.lut.rows import AHEAD, book_table

SIDE = 16                       # rows of a tile; vectors of one
TILE = SIDE * SIZE              # bytes
TOGETHER = 2 * SIDE             # rows, and at most so many vectors, that one pass multiplies: four tiles of sums
FEWEST = 6                      # vectors for which tiles are faster than rows.py
CODES = 128 << 10               # bytes of unpacked codes that a second-level cache keeps beside the activations
SUMS = 4 * TILE                 # bytes of the sums of a pass

i64 = np.int64
_SUMS, _ROWS, _X = (0, 1, 2, 3), (4, 5), (6, 7)             # numbers of tile registers
_UNPACKED = tuple(2 * TILE * layout.slices for layout in BY_NUMBER)         # by format: bytes of 64 bytes of 32 rows
_MOST = tuple(max(1, CODES // size) for size in _UNPACKED)                  # blocks that are unpacked at a time
VOID = ir.VoidType()


@njit
def by_tiles(vectors):
    """Whether so many vectors are multiplied by tiles."""
    return AMX and vectors >= FEWEST


@njit
def whole_tiles(vectors):
    """So many vectors, and those that fill up the last tile."""
    return vectors + SIDE - 1 & -SIDE


@njit
def room_for(fmt, blocks):
    """Bytes of scratch for rows of `blocks` times 64 bytes: codes, then the sums of two passes."""
    return min(blocks, _MOST[fmt]) * _UNPACKED[fmt] + 2 * SUMS


def _tile(builder: Any, name: str, register: int, address: Any, stride: int = SIZE) -> None:
    """Load or store a tile, whose rows lie `stride` bytes apart."""
    call(builder, f"llvm.x86.{name}", VOID, [ir.Constant(I8, register), pointer(builder, address, I8), ir.Constant(I64, stride)])


@intrinsic
def start_tiles(typing: Any) -> Any:
    """Set the sizes of this thread's tile registers: all are whole tiles."""
    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        palette = [1, *[0] * 15, *[SIZE, 0] * 8, *[0] * 16, *[SIDE] * 8, *[0] * 8]       # bytes of a row in 16 bits, then rows
        place = alloca_once(builder, vector_type(I8))
        builder.store(ir.Constant(vector_type(I8), palette), place)
        call(builder, "llvm.x86.ldtilecfg", VOID, [builder.bitcast(place, I8.as_pointer())])
        return context.get_dummy_value()
    return types.void(), emit


@intrinsic
def end_tiles(typing: Any) -> Any:
    """Give this thread's tile registers back: whoever switches between threads need not save them."""
    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        call(builder, "llvm.x86.tilerelease", VOID, [])
        return context.get_dummy_value()
    return types.void(), emit


@intrinsic
def order_tiles(typing: Any, vectors: Any, x: Any, x_apart: Any, lines: Any, out: Any) -> Any:
    """Put the activations of `vectors`, a multiple of 16, in the order of tiles.

    x: `lines` times 64 bytes of each vector, dealt out, those of a vector `x_apart` bytes behind those of the one before. At `out`
    a tile for each line of the first 16 vectors, then of the next ones.
    """
    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        vectors, x, x_apart, lines, out = arguments
        with for_range(builder, builder.sdiv(vectors, ir.Constant(I64, SIDE)), intp=I64) as group:
            first = builder.add(x, builder.mul(builder.mul(group.index, ir.Constant(I64, SIDE)), x_apart))
            target = builder.add(out, builder.mul(builder.mul(group.index, lines), ir.Constant(I64, TILE)))
            with for_range(builder, lines, intp=I64) as line:
                at = builder.add(first, builder.mul(line.index, ir.Constant(I64, SIZE)))
                rows = [Vector.load(builder, builder.add(at, builder.mul(x_apart, ir.Constant(I64, v))), I32).value
                        for v in range(SIDE)]
                to = builder.add(target, builder.mul(line.index, ir.Constant(I64, TILE)))
                for q, words in enumerate(interleaved(builder, rows)):
                    Vector(builder, words).store(builder.add(to, ir.Constant(I64, SIZE * q)))
        return context.get_dummy_value()
    return types.void(*[types.int64] * 5), emit


class _Pass:
    """Emits the products of 32 rows and `groups` times 16 vectors."""

    def __init__(self, builder: Any, number: int, groups: int, book: Any, codes: Any) -> None:
        self.builder, self.layout, self.groups, self.codes = builder, BY_NUMBER[number], groups, codes
        self.table = book_table(builder, book) if self.layout.codebook else None

    def plus(self, base: Any, count: Any, step: Any) -> Any:
        """base + count * step: values, or numbers."""
        count, step = (ir.Constant(I64, each) if isinstance(each, int) else each for each in (count, step))
        return self.builder.add(base, self.builder.mul(count, step))

    def start(self, first: Any) -> None:
        """Sums begin with what is at `first`, an int32 for each vector: rows that lie 0 bytes apart are all the same."""
        for i in range(2):
            for g in range(self.groups):
                _tile(self.builder, "tileloadd64", _SUMS[2 * i + g], self.plus(first, g, SIZE), stride=0)

    def unpack(self, rows: Any, source: Any, stride: Any, at: Any) -> None:
        """64 bytes of each row to tiles of codes from `at` on: of each slice one with the first 16 rows and one with the others."""
        with for_range(self.builder, rows, intp=I64) as row:
            place = self.plus(source, row.index, stride)
            opened = self.layout.opened(Vector.load(self.builder, place))
            prefetch(self.builder, self.builder.add(place, ir.Constant(I64, AHEAD)))
            to = self.plus(at, row.index, SIZE)
            for k in range(self.layout.slices):
                codes, _ = self.layout.codes(opened, k, self.table, False)
                codes.store(self.builder.add(to, ir.Constant(I64, 2 * TILE * k)))

    def multiply(self, lines: Any, x: Any, apart: Any) -> None:
        """Add the products of `lines` pairs of tiles of codes and the tiles at x; those of the other 16 vectors are `apart`."""
        with for_range(self.builder, lines, intp=I64) as line:
            for i, register in enumerate(_ROWS):
                _tile(self.builder, "tileloadd64", register, self.plus(self.plus(self.codes, line.index, 2 * TILE), i, TILE))
            for g in range(self.groups):
                _tile(self.builder, "tileloadd64", _X[g], self.plus(self.plus(x, line.index, TILE), g, apart))
            for i, register in enumerate(_ROWS):
                for g in range(self.groups):
                    call(self.builder, "llvm.x86.tdpbusd", VOID,
                         [ir.Constant(I8, each) for each in (_SUMS[2 * i + g], register, _X[g])])

    def save(self, sums: Any, out: Any, out_apart: Any) -> None:
        """Sums of 32 rows to `out`, those of a vector `out_apart` bytes behind those of the one before. sums: SUMS bytes of
        scratch."""
        places = [(i, g, self.plus(sums, 2 * i + g, TILE)) for i in range(2) for g in range(self.groups)]
        for i, g, place in places:                  # all of them first: what a tile has stored cannot be loaded at once
            _tile(self.builder, "tilestored64", _SUMS[2 * i + g], place)
        for i, g, place in places:
            rows = [Vector.load(self.builder, self.plus(place, r, SIZE), I32).value for r in range(SIDE)]
            for v, each in enumerate(interleaved(self.builder, rows)):
                Vector(self.builder, each).store(self.plus(self.plus(out, SIDE * g + v, out_apart), i, SIZE))


@intrinsic(prefer_literal=True)
def tile_products(typing: Any, fmt: Any, groups: Any, rows: Any, weights: Any, stride: Any, blocks: Any, tail: Any,
                  tail_stride: Any, x: Any, lines: Any, first: Any, book: Any, codes: Any, fresh: Any, out: Any,
                  out_apart: Any) -> Any:
    """Put to `out` the int32 sums of code * x of 32 rows for `groups` times 16 vectors; of the rows from `rows` on nothing is said.

    fmt and groups (1 or 2) are numbers in the source. weights, stride, blocks, tail, tail_stride, book: as in row_products. x:
    tiles of the vectors as `order_tiles` leaves them, `lines` of each group. first: what a sum begins with, an int32 for each
    vector. codes: `room_for` bytes of scratch. fresh: 0 if the codes of these rows are there, as the call before has left them.

    Numbers alone, as compiled functions take them (emulator/threads/parallel.py).
    """
    if not all(isinstance(number, types.IntegerLiteral) for number in (fmt, groups)):
        return None

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        rows, weights, stride, blocks, tail, tail_stride, x, lines, first, book, codes, fresh, out, out_apart = arguments[2:]
        number = fmt.literal_value
        each, most, size = _Pass(builder, number, groups.literal_value, book, codes), _MOST[number], _UNPACKED[number]
        apart, has_tail = builder.mul(lines, ir.Constant(I64, TILE)), builder.icmp_signed("!=", tail, ir.Constant(I64, 0))
        every = builder.add(blocks, builder.zext(has_tail, I64))
        pieces = builder.sdiv(builder.add(every, ir.Constant(I64, most - 1)), ir.Constant(I64, most))
        unpacks = builder.or_(builder.icmp_signed("!=", fresh, ir.Constant(I64, 0)),
                              builder.icmp_signed(">", pieces, ir.Constant(I64, 1)))
        each.start(first)
        with for_range(builder, pieces, intp=I64) as piece:
            begin = builder.mul(piece.index, ir.Constant(I64, most))
            left = builder.sub(every, begin)
            here = builder.select(builder.icmp_signed("<", left, ir.Constant(I64, most)), left, ir.Constant(I64, most))
            with builder.if_then(unpacks), for_range(builder, here, intp=I64) as block:
                at = builder.add(begin, block.index)
                is_last = builder.icmp_signed("==", at, blocks)             # the tail
                each.unpack(rows, builder.select(is_last, tail, each.plus(weights, at, SIZE)),
                            builder.select(is_last, tail_stride, stride), each.plus(codes, block.index, size))
            each.multiply(builder.mul(here, ir.Constant(I64, each.layout.slices)), each.plus(x, begin, TILE * each.layout.slices),
                          apart)
        sums = builder.select(builder.icmp_signed("<", every, ir.Constant(I64, most)), every, ir.Constant(I64, most))
        each.save(each.plus(codes, sums, size), out, out_apart)
        return context.get_dummy_value()
    return types.void(fmt, groups, *[types.int64] * 14), emit


@specialised
def tile_rows(fmt, rows, weights, stride, blocks, tail, tail_stride, x, vectors, lines, first, book, codes, out, out_apart):
    """Put to `out` the int32 sums of code * x of `rows` rows for `vectors`, a multiple of 16. Between start_tiles and end_tiles.

    Arguments as in tile_products. Bits behind the end of a row meet activations that are zero.

    Numbers alone, as compiled functions take them (emulator/threads/parallel.py).
    """
    part = codes + room_for(fmt, lines // SLICES[fmt]) - SUMS
    for r in range(0, rows, TOGETHER):
        here = min(rows - r, TOGETHER)
        row, rest = weights + r * stride, tail + r * tail_stride if tail != 0 else 0
        for v in range(0, vectors, TOGETHER):
            to, apart = out + v * out_apart + 4 * r, out_apart
            if here < TOGETHER:
                to, apart = part, 4 * TOGETHER
            if vectors - v >= TOGETHER:
                tile_products(fmt, 2, here, row, stride, blocks, rest, tail_stride, x + v * lines * SIZE, lines, first + 4 * v,
                              book, codes, i64(v == 0), to, apart)
            else:
                tile_products(fmt, 1, here, row, stride, blocks, rest, tail_stride, x + v * lines * SIZE, lines, first + 4 * v,
                              book, codes, i64(v == 0), to, apart)
            if here < TOGETHER:
                for each in range(min(vectors - v, TOGETHER)):
                    move(out + (v + each) * out_apart + 4 * r, part + 4 * TOGETHER * each, 4 * here)
