"""Transposed products, lut.macT: every activation times its row of weights, 64 bytes of columns at a time.

Four rows go together, so that four bytes of a word are the weights of one column under each other: again a sum of four products
for each word, and just the groups that lut.mode 0 counts. A chunk of rows passes over all blocks of columns, whose int32 sums
stay in memory between the chunks, in the order in which the unpacking of bytes leaves them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from emulator.native.emitting import alloca_once, for_range
from emulator.native.features import AVX512
from emulator.native.inlining import inline
from emulator.native.machine_code import clear_bytes, move, store
from emulator.simd.bytes64 import I8, I16, I32, I64, SIZE, Vector, dot, interleaved, pointer, prefetch, shuffle, spread, vector_type
from emulator.threads.parallel import add_events
from emulator.units.lut.counts import Counts
from emulator.units.lut.layouts import BIAS, BY_NUMBER, SLICES, ZERO, Layout, is_rewritten, rewrite, size_of
from emulator.units.lut.plain import EVENTS
from emulator.units.lut.products import collect, sum_of
from emulator.units.lut.rows import book_table

CHUNK = 16                      # rows between two looks at the sums in memory
FOUR = 4

u8, i8, i32, i64 = np.uint8, np.int8, np.int32, np.int64


def _unpack(builder: Any, a: Any, b: Any, upper: bool) -> Any:
    """Elements of a and b in turn, from the lower or upper half of each 16 bytes."""
    per_lane = a.type.count // 4
    half = per_lane // 2
    lanes = [lane * per_lane + half * upper + i + side for lane in range(4) for i in range(half) for side in (0, a.type.count)]
    return shuffle(builder, a, b, lanes)


def _turned(builder: Any, rows: list[Vector]) -> list[Vector]:
    """Four rows of 64 bytes as four vectors of words, a word the four bytes of a column: of byte 16 L + 4 q + e word 4 L + e of
    vector q."""
    pairs = [[_unpack(builder, rows[i].of(I8), rows[i + 1].of(I8), upper) for i in (0, 2)] for upper in (False, True)]
    words = [[builder.bitcast(v, vector_type(I16)) for v in pair] for pair in pairs]
    return [Vector(builder, _unpack(builder, first, second, upper)) for first, second in words for upper in (False, True)]


def _is_in_place(layout: Layout) -> bool:
    """Whether codes stay where they are in the byte, so that every slice's sums are to be divided by the value of its place."""
    return AVX512 and not layout.codebook and layout.slices > 1


@intrinsic(prefer_literal=True)
def column_products(typing: Any, fmt: Any, fours: Any, weights: Any, stride: Any, x: Any, blocks: Any, whole: Any, keep: Any,
                    book: Any, sums: Any, events: Any) -> Any:
    """Add four times `fours` rows times the activations at `x` to the int32 at `sums`: 64 * slices for each of `blocks` blocks.

    fmt is a number in the source. The first `whole` blocks (0 or 1 fewer) belong to the matrix entirely, of the last one counts
    what the mask at `keep` says. Adds to the two int64 at `events`: weights that are not zero, look-ups.

    Numbers alone, as compiled functions take them (emulator/threads/parallel.py).
    """
    if not isinstance(fmt, types.IntegerLiteral):
        return None
    layout = BY_NUMBER[fmt.literal_value]
    in_place = _is_in_place(layout)

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        fours, weights, stride, x, blocks, whole, keep, book, sums, events = arguments[1:]
        counts = Counts(builder)
        table = book_table(builder, book) if layout.codebook else None
        four_rows = builder.mul(stride, ir.Constant(I64, FOUR))
        slots = [[alloca_once(builder, vector_type(I32)) for _ in range(layout.slices)] for _ in range(FOUR)]
        whole_mask = spread(vector_type(I8), 255)

        with for_range(builder, blocks, intp=I64) as column:
            base = builder.add(weights, builder.mul(column.index, ir.Constant(I64, SIZE)))
            place = builder.add(sums, builder.mul(column.index, ir.Constant(I64, FOUR * SIZE * layout.slices)))
            places = [[builder.add(place, ir.Constant(I64, SIZE * (layout.slices * q + k))) for k in range(layout.slices)]
                      for q in range(FOUR)]
            for q in range(FOUR):
                for k in range(layout.slices):
                    builder.store(Vector.load(builder, places[q][k], I32).value, slots[q][k])
            is_whole = builder.icmp_signed("<", column.index, whole)
            valid = Vector(builder, builder.select(is_whole, whole_mask, Vector.load(builder, keep).value))
            following = builder.add(base, builder.mul(four_rows, fours))
            with for_range(builder, fours, intp=I64) as four:
                first = builder.add(base, builder.mul(four.index, four_rows))
                rows = []
                for i in range(FOUR):
                    offset = builder.mul(stride, ir.Constant(I64, i))
                    v = Vector.load(builder, builder.add(first, offset)) & valid
                    prefetch(builder, builder.add(builder.add(following, builder.mul(four.index, four_rows)), offset))
                    rows.append(v | (~valid & layout.zero) if layout.zero else v)
                if layout.counted_below:
                    counts.add(layout.counted_below(rows))
                word = builder.load(pointer(builder, builder.add(x, builder.mul(four.index, ir.Constant(I64, FOUR))), I32))
                single = builder.insert_element(ir.Constant(vector_type(I32), ir.Undefined), word, ir.Constant(I32, 0))
                activations = Vector(builder, shuffle(builder, single, single, [0] * 16))
                for q, v in enumerate(_turned(builder, rows)):
                    opened = layout.opened(v)
                    for k in range(layout.slices):
                        codes, largest = layout.codes(opened, k, table, in_place)
                        if table:
                            counts.add(([codes.differs(128)], []))
                        before = Vector(builder, builder.load(slots[q][k]))
                        builder.store(dot(before, codes, activations, largest).of(I32), slots[q][k])
            for q in range(FOUR):
                for k in range(layout.slices):
                    Vector(builder, builder.load(slots[q][k])).store(places[q][k])
        counts.save(events)
        return context.get_dummy_value()
    return types.void(fmt, *[types.int64] * 10), emit


@intrinsic(prefer_literal=True)
def sums_in_order(typing: Any, fmt: Any, words: Any, blocks: Any, bias: Any, out: Any) -> Any:
    """Reorder the int32 sums that column_products leaves at `words`: into the order of columns at `out`, those behind the last too.

    fmt is a number in the source. Of a column byte 16 L + 4 q + e of its block holds the weight, as slice k: the sum is word
    4 L + e of vector q, k.
    """
    if not isinstance(fmt, types.IntegerLiteral):
        return None
    layout = BY_NUMBER[fmt.literal_value]
    slices = layout.slices
    in_place = _is_in_place(layout)

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        _, words, blocks, bias, out = arguments
        empty = ir.Constant(vector_type(I32), ir.Undefined)
        biases = shuffle(builder, builder.insert_element(empty, builder.trunc(bias, I32), ir.Constant(I32, 0)), empty, [0] * 16)
        with for_range(builder, blocks, intp=I64) as loop:
            base = builder.mul(loop.index, ir.Constant(I64, FOUR * SIZE * slices))
            source, target = builder.add(words, base), builder.add(out, base)
            for q in range(FOUR):
                vectors = []
                for k in range(slices):
                    v = Vector.load(builder, builder.add(source, ir.Constant(I64, SIZE * (slices * q + k))), I32)
                    value = v.divide(layout.worth(k) if in_place else 1).of(I32)
                    if layout.factor != 1:
                        value = builder.mul(value, spread(vector_type(I32), layout.factor))
                    vectors.append(builder.sub(value, biases))
                ordered = interleaved(builder, vectors)
                piece = min(FOUR * slices, 16)          # words that lie side by side: those of four bytes
                for number in range(16 * slices // piece):
                    vector, first = divmod(number * piece, 16)
                    part = shuffle(builder, ordered[vector], ordered[vector], range(first, first + piece))
                    L, within = divmod(number * piece, FOUR * slices)
                    place = FOUR * (slices * (16 * L + FOUR * q) + within)
                    builder.store(part, pointer(builder, builder.add(target, ir.Constant(I64, place)), part.type)).align = 1
        return context.get_dummy_value()
    return types.void(fmt, *[types.int64] * 4), emit


@njit
def four_ready(fmt, row, stride, rows, cols, end, spare):
    """(address, stride) of up to CHUNK rows that can be read by fours and by whole blocks: there, or moved to `spare`."""
    line = (size_of(fmt, cols) + SIZE - 1) // SIZE * SIZE
    if not is_rewritten(fmt) and rows >= CHUNK and row + (CHUNK - 1) * stride + line <= end:
        return row, stride
    packed = spare + SIZE
    for i in range((rows + 3) & -4):
        if i >= rows:
            for at in range(line):
                store(packed + i * line + at, u8(ZERO[fmt]))
        elif is_rewritten(fmt):
            rewrite(fmt, row + i * stride, cols, packed + i * line, spare)
        else:
            move(packed + i * line, row + i * stride, size_of(fmt, cols))
    return packed, line


@njit
def columns_apart(fmt, cols):
    """Columns that one call of some_column_sums needs at least: a block, but all of a format that is rewritten."""
    return max(cols, 1) if is_rewritten(fmt) else SIZE * SLICES[fmt]


@inline
def some_column_sums(first, last, fmt, step, host, stride, end, length, cols, x, book, sums, mode, events):
    """sums[c] int32 = sum over j of x[j] W[j, c], length and cols > 0. `end`: address behind the matrix.

    Of the columns from `step` times `first` up to `step` times `last`, a matrix of their own.

    Numbers alone, as `in_parallel` passes them.
    """
    host, sums, cols = host + size_of(fmt, first * step), sums + 4 * first * step, min(last * step, cols) - first * step
    slices = SLICES[fmt]
    size = size_of(i64(fmt), cols)
    blocks = (size + SIZE - 1) // SIZE
    rest = cols - cols // (SIZE * slices) * (SIZE * slices)
    all_words = 256 * slices * blocks
    scratch = np.empty(2 * all_words + SIZE * (5 + CHUNK * blocks) + length + CHUNK, np.uint8)
    ordered = (scratch.ctypes.data + SIZE - 1) & -SIZE
    words = ordered + all_words
    keep = words + all_words
    activations = keep + SIZE
    spare = activations + (length + CHUNK + SIZE - 1) // SIZE * SIZE
    clear_bytes(words, all_words)
    move(activations, x, length)
    clear_bytes(activations + length, CHUNK)
    for at in range(SIZE if rest > 0 else 0):
        bits = min(max(rest - at * slices, 0), slices) * (8 // slices)
        store(keep + at, u8((1 << bits) - 1))
    found = np.zeros(2, np.int64)
    for j in range(0, length, CHUNK):
        some = min(length - j, CHUNK)
        row, row_step = four_ready(i64(fmt), host + j * stride, stride, some, cols, end, spare)
        column_products(fmt, (some + 3) >> 2, row, row_step, activations + j, blocks, blocks - (rest > 0), keep, book, words,
                        found.ctypes.data)
    sums_in_order(fmt, words, blocks, BIAS[fmt] * sum_of(x, length), ordered)
    move(sums, ordered, 4 * cols)
    extra = (length + FOUR - 1) // FOUR * FOUR * blocks * SIZE * slices - length * cols
    own = np.zeros(EVENTS, np.int64)
    collect(i64(fmt), mode, cols, length, extra, book, found, own)
    add_events(events, own)
    scratch[0] = 0              # keeps its memory alive until here
