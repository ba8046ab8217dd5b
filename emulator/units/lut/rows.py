"""Rows of packed weights times activations, 64 bytes of weights at a time.

A byte holds `slices` weights. The activations are dealt out once per operation (`deal`): slice k of a block of 64 bytes meets
the activations of just those weights. Codes are taken as unsigned, sum(code * x), and `bias * sum(x)` is subtracted later.

Counted are the weights that are not zero and the look-ups (emulator/units/lut/counts.py); what is skipped follows from the totals.
The last bytes of a row are a block of their own: a mask clears what does not belong to the row, and the code of zero takes its
place.
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
    dot,
    pointer,
    prefetch,
    shuffle,
    spread,
    vector_type,
)
from emulator.units.lut.counts import COUNTED, Counts, clear, count_blocks
from emulator.units.lut.layouts import BY_NUMBER

AHEAD = 12 << 10        # bytes that are asked of memory before they are needed: fewer come too late
ROWS = 4                # that share the loads of the activations, where these are wide
MANY = 128              # blocks of activations that leave no room in a first-level cache for what streams by


def book_table(builder: Any, book: Any) -> Vector:
    """The 16 values of a codebook, made unsigned, in each 16 bytes."""
    value = builder.load(pointer(builder, book, vector_type(I8, 16)))
    value.align = 1
    return Vector(builder, shuffle(builder, value, value, list(range(16)) * 4)) ^ 128


class _Rows:
    """Emits what happens to some rows at once, which share the loads of the activations.

    Sums and counts live in stack slots, which LLVM keeps in registers.
    """

    def __init__(self, builder: Any, number: int, count: int, by_word: bool, counting: bool) -> None:
        layout = BY_NUMBER[number]
        self.builder, self.layout, self.counted = builder, layout, COUNTED.get(number) if counting else None
        # Codes may stay where they are in the byte when every slice has sums of its own, to be divided at the end.
        self.in_place = AVX512 and not by_word and not layout.codebook and layout.slices > 1
        self.sums = [[alloca_once(builder, vector_type(I32)) for _ in range(layout.slices if self.in_place else 1)]
                     for _ in range(count)]
        self.counts = Counts(builder)
        for slot in (slot for slots in self.sums for slot in slots):
            clear(builder, slot)

    def block(self, weights: list[Any], x: Any, keep: Any, table: Vector | None) -> None:
        """64 bytes of each row. Addresses of the weights, of the activations, of a mask (or None)."""
        builder, layout = self.builder, self.layout
        blocks = []
        for address in weights:
            v = Vector.load(builder, address)
            if keep is not None:
                mask = Vector.load(builder, keep)
                v = (v & mask) | (~mask & layout.zero) if layout.zero else v & mask
            blocks.append(v)
        if self.counted:
            count_blocks(self.counts, self.counted, blocks, layout.zero)
        opened = [layout.opened(v) for v in blocks]
        for k in range(layout.slices):
            activations = Vector.load(builder, builder.add(x, ir.Constant(I64, SIZE * k)))
            for v, sums in zip(opened, self.sums, strict=True):
                codes, largest = layout.codes(v, k, table, self.in_place)
                if table:
                    self.counts.add(([codes.differs(128)], []))
                slot = sums[k if self.in_place else 0]
                builder.store(dot(Vector(builder, builder.load(slot)), codes, activations, largest).value, slot)

    def take_sums(self, row: int) -> Vector:
        """int32 (16,) sums of a row so far, of the four bytes of each word; they start again from zero."""
        total = None
        for k, slot in enumerate(self.sums[row]):
            part = Vector(self.builder, self.builder.load(slot)).divide(self.layout.worth(k) if self.in_place else 1)
            total = total + part if total else part
            clear(self.builder, slot)
        assert total is not None
        return total


def _emit_rows(number: int, by_word: bool, counting: bool) -> Any:
    """The body of `row_products` (by_word: of `word_products`) for one format."""
    layout = BY_NUMBER[number]

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        rows, weights, stride, x, blocks, tail, tail_stride, keep, book, out, out_stride, events = arguments[2:]

        def at(base: Any, count: Any, step: Any) -> Any:
            return builder.add(base, builder.mul(count, ir.Constant(I64, step) if isinstance(step, int) else step))

        table = book_table(builder, book) if layout.codebook else None
        step = SIZE * layout.slices
        # Where the work takes longer than reading the weights, the host's own prefetching falls behind, so this asks ahead.
        # Elsewhere asking ahead would be in the way.
        behind = by_word or layout.slices * (2 if counting else 1) > 2

        def some_rows(first: Any, groups: Any, count: int) -> None:
            """`groups` times `count` rows at once, from row `first` on."""
            some = _Rows(builder, number, count, by_word, counting)
            with for_range(builder, groups, intp=I64) as each:
                numbers = [builder.add(first, builder.add(builder.mul(each.index, ir.Constant(I64, count)), ir.Constant(I64, row)))
                           for row in range(count)]
                starts, targets = [at(weights, n, stride) for n in numbers], [at(out, n, out_stride) for n in numbers]

                def block(number: Any, places: list[Any], mask: Any) -> None:
                    some.block(places, at(x, number, step), mask, table)
                    for row, target in enumerate(targets if by_word else ()):
                        some.take_sums(row).store(at(target, number, SIZE))

                def ask(number: Any) -> None:
                    for row in range(count if behind else 0):          # one stream, however many rows it is for
                        prefetch(builder, builder.add(at(starts[0], number, SIZE * count), ir.Constant(I64, AHEAD + SIZE * row)))

                with for_range(builder, blocks, intp=I64) as loop:
                    block(loop.index, [at(start, loop.index, SIZE) for start in starts], None)
                    ask(loop.index)
                with builder.if_then(builder.icmp_signed("!=", tail, ir.Constant(I64, 0))):
                    block(blocks, [at(tail, n, tail_stride) for n in numbers], keep)
                    ask(blocks)
                for row, target in enumerate(() if by_word else targets):
                    builder.store(some.take_sums(row).total(), pointer(builder, target, I32)).align = 1
            some.counts.save(events)

        # Memory is fastest in one stream of addresses, row by row. Some rows at once load the activations less often: where these
        # are wide, or are what takes the time.
        groups = ir.Constant(I64, 0)
        in_twos = layout.slices in (5, 8) or (layout.slices == 4 and counting and not by_word)
        count = ROWS if layout.slices == 1 else 2 if in_twos else 1
        if count > 1:
            wide = builder.icmp_signed(">", blocks, ir.Constant(I64, MANY if layout.slices == 1 else -1))
            groups = builder.select(wide, builder.sdiv(rows, ir.Constant(I64, count)), groups)
            some_rows(ir.Constant(I64, 0), groups, count)
        done = builder.mul(groups, ir.Constant(I64, count))
        some_rows(done, builder.sub(rows, done), 1)
        return context.get_dummy_value()
    return emit


@intrinsic(prefer_literal=True)
def row_products(typing: Any, fmt: Any, counting: Any, rows: Any, weights: Any, stride: Any, x: Any, blocks: Any, tail: Any,
                 tail_stride: Any, keep: Any, book: Any, out: Any, out_stride: Any, events: Any) -> Any:
    """Put to `out` the int32 sums of code * x of `rows` rows, `stride` bytes apart, and add to the int64 at `events` (2,).

    fmt and counting are numbers in the source; counting is 0 where the counts are known. `blocks` whole blocks lie at `weights`.
    `tail`: address of the rest of the rows, 64 readable bytes each, `tail_stride` apart, of which the mask at `keep` says what
    counts; 0: there is none. `x`: activations, dealt out. `book`: the 16 values of a codebook.

    Numbers alone, as compiled functions take them (emulator/threads/parallel.py).
    """
    if not isinstance(fmt, types.IntegerLiteral) or not isinstance(counting, types.IntegerLiteral):
        return None
    return types.void(fmt, counting, *[types.int64] * 12), _emit_rows(fmt.literal_value, False, bool(counting.literal_value))


@intrinsic(prefer_literal=True)
def word_products(typing: Any, fmt: Any, counting: Any, rows: Any, weights: Any, stride: Any, x: Any, blocks: Any, tail: Any,
                  tail_stride: Any, keep: Any, book: Any, out: Any, out_stride: Any, events: Any) -> Any:
    """As row_products, but with a sum for each four bytes of weights: 16 int32 for each block of a row, the tail's too.

    Numbers alone, as compiled functions take them (emulator/threads/parallel.py).
    """
    if not isinstance(fmt, types.IntegerLiteral) or not isinstance(counting, types.IntegerLiteral):
        return None
    return types.void(fmt, counting, *[types.int64] * 12), _emit_rows(fmt.literal_value, True, bool(counting.literal_value))


def deal_fives(builder: Any, source: Any, blocks: Any, out: Any) -> None:
    """The same for five slices: from each of five vectors in turn the bytes that belong to the slice."""
    with for_range(builder, blocks, intp=I64) as loop:
        offset = builder.mul(loop.index, ir.Constant(I64, 5 * SIZE))
        start, target = builder.add(source, offset), builder.add(out, offset)
        parts = [Vector.load(builder, builder.add(start, ir.Constant(I64, SIZE * i))).value for i in range(5)]
        for k in range(5):
            slice_ = parts[0]
            for i in range(1, 5):
                lanes = [at if place < SIZE * i else SIZE + place % SIZE for at in range(SIZE) for place in (5 * at + k,)]
                lanes = [5 * at + k if i == 1 and 5 * at + k < SIZE else lane for at, lane in enumerate(lanes)]
                slice_ = shuffle(builder, slice_, parts[i], lanes)
            Vector(builder, slice_).store(builder.add(target, ir.Constant(I64, SIZE * k)))


@intrinsic(prefer_literal=True)
def deal(typing: Any, fmt: Any, x: Any, blocks: Any, out: Any) -> Any:
    """Deal activations out to the slices of a format: for each block of 64 * slices, those of slice 0, of slice 1 and so on."""
    if not isinstance(fmt, types.IntegerLiteral):
        return None
    layout = BY_NUMBER[fmt.literal_value]
    slices = layout.slices

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        _, source, blocks, out = arguments
        if slices == 5:
            deal_fives(builder, source, blocks, out)
            return context.get_dummy_value()
        element = ir.IntType(8 * slices)
        kind = ir.VectorType(element, SIZE)
        with for_range(builder, blocks, intp=I64) as loop:
            offset = builder.mul(loop.index, ir.Constant(I64, SIZE * slices))
            block = builder.load(pointer(builder, builder.add(source, offset), kind))
            block.align = 1
            for k in range(slices):
                part = builder.trunc(builder.lshr(block, spread(kind, 8 * k)), vector_type(I8)) if slices > 1 else block
                Vector(builder, part).store(builder.add(builder.add(out, offset), ir.Constant(I64, SIZE * k)))
        return context.get_dummy_value()
    return types.void(fmt, types.int64, types.int64, types.int64), emit
