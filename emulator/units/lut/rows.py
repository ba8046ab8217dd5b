"""Rows of packed weights times activations, 64 bytes of weights at a time.

A byte holds `slices` weights. The activations are dealt out once per operation (`deal`): slice k of a block of 64 bytes meets
the activations of just those weights. Codes are taken as unsigned, sum(code * x), and `bias * sum(x)` is subtracted later.

Several vectors go together: each slice is cut out of its bytes once for all of them.

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
    I16,
    I32,
    I64,
    SIZE,
    Vector,
    dot,
    narrow_dot,
    narrow_dots,
    pointer,
    prefetch,
    shuffle,
    split,
    spread,
    vector_type,
    wide_dot,
    widened,
)
from emulator.units.lut.counts import COUNTED, Counts, clear, count_blocks
from emulator.units.lut.layouts import BY_NUMBER, DEALT, LOWER, UPPER

AHEAD = 3 << 10         # bytes that are asked of memory before they are needed: fewer come too late, more stand in the way
ROWS = 4                # that share the loads of the activations, where these are wide
MANY = 128              # blocks of activations that leave no room in a first-level cache for what streams by
REGISTERS = 20          # of 32, for the sums of every slice of each vector


def book_table(builder: Any, book: Any) -> Vector:
    """The 16 values of a codebook, made unsigned, in each 16 bytes."""
    value = builder.load(pointer(builder, book, vector_type(I8, 16)))
    value.align = 1
    return Vector(builder, shuffle(builder, value, value, list(range(16)) * 4)) ^ 128


class _Rows:
    """Emits what happens to some rows at once, which share the loads of the activations, times some vectors.

    Sums and counts live in stack slots, which LLVM keeps in registers. A sum has a number: that of its row, then of its vector.
    """

    def __init__(self, builder: Any, number: int, count: int, vectors: int, by_word: bool, counting: bool) -> None:
        layout = BY_NUMBER[number]
        self.builder, self.layout, self.counted = builder, layout, COUNTED.get(number) if counting else None
        # Codes may stay where they are in the byte when every slice has sums of its own, to be divided at the end.
        self.in_place = (AVX512 and not by_word and not layout.codebook and layout.slices > 1
                         and layout.slices * vectors <= REGISTERS)
        # Blocks whose sums fit int16. They are widened when so many have passed.
        self.narrow = narrow_dots(layout.largest) // layout.slices
        sums = range(count * vectors)
        self.sums = [[alloca_once(builder, vector_type(I32)) for _ in range(layout.slices if self.in_place else 1)] for _ in sums]
        self.narrow_sums = [alloca_once(builder, vector_type(I16)) for _ in sums if self.narrow]
        self.counts = Counts(builder)
        for slot in (*(slot for slots in self.sums for slot in slots), *self.narrow_sums):
            clear(builder, slot)

    def block(self, weights: list[Any], x: list[Any], keep: Any, table: Vector | None) -> None:
        """64 bytes of each row. Addresses of the weights, of the activations of each vector, of a mask (or None)."""
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
            parts = [2 * k, 2 * k + 1] if layout.is_split else [k]
            activations = [[Vector.load(builder, builder.add(each, ir.Constant(I64, SIZE * part))) for part in parts] for each in x]
            for row, v in enumerate(opened):
                codes, largest = layout.codes(v, k, table, self.in_place)
                if table:
                    self.counts.add(([codes.differs(128)], []))
                for vector, s in enumerate(activations):
                    number = row * len(x) + vector
                    slot = self.narrow_sums[number] if self.narrow else self.sums[number][k if self.in_place else 0]
                    before = Vector(builder, builder.load(slot))
                    after = (wide_dot(before, codes, *s) if layout.is_split else narrow_dot(before, codes, *s) if self.narrow else
                             dot(before, codes, *s, largest))
                    builder.store(after.value, slot)

    def widen(self) -> None:
        """Add the int16 sums to those of int32, and start again from zero."""
        for (wide,), narrow in zip(self.sums, self.narrow_sums, strict=True):
            total = Vector(self.builder, self.builder.load(wide)) + widened(Vector(self.builder, self.builder.load(narrow)))
            self.builder.store(total.of(I32), wide)
            clear(self.builder, narrow)

    def take_sums(self, number: int) -> Vector:
        """int32 (16,) sums so far, of the four bytes of each word; they start again from zero."""
        total = None
        for k, slot in enumerate(self.sums[number]):
            part = Vector(self.builder, self.builder.load(slot)).divide(self.layout.worth(k) if self.in_place else 1)
            total = total + part if total else part
            clear(self.builder, slot)
        assert total is not None
        return total


def _emit_rows(number: int, by_word: bool, counting: bool, vectors: int) -> Any:
    """The body of `row_products` (by_word: of `word_products`) for one format."""
    layout = BY_NUMBER[number]

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        rows, weights, stride, x, x_apart, blocks, tail, tail_stride, keep, book, out, out_stride, out_apart, events = arguments[3:]

        def at(base: Any, count: Any, step: Any) -> Any:
            return builder.add(base, builder.mul(count, ir.Constant(I64, step) if isinstance(step, int) else step))

        table, step = book_table(builder, book) if layout.codebook else None, DEALT[number]
        # Where the work takes longer than reading the weights, the host's own prefetching falls behind, so this asks ahead.
        # Elsewhere asking ahead would be in the way.
        behind = by_word or layout.slices * (2 if counting else 1) > 2
        # Parts of rows do not follow each other. Of those it asks for the same part of a later row.
        in_parts = number in (LOWER, UPPER)
        rows_ahead = builder.add(builder.udiv(ir.Constant(I64, AHEAD), builder.or_(stride, ir.Constant(I64, 1))),
                                 ir.Constant(I64, ROWS))

        def some_rows(first: Any, groups: Any, count: int) -> None:
            """`groups` times `count` rows at once, from row `first` on."""
            some = _Rows(builder, number, count, vectors, by_word, counting)
            with for_range(builder, groups, intp=I64) as each:
                numbers = [builder.add(first, builder.add(builder.mul(each.index, ir.Constant(I64, count)), ir.Constant(I64, row)))
                           for row in range(count)]
                each_vector = [ir.Constant(I64, vector) for vector in range(vectors)]
                starts = [at(weights, n, stride) for n in numbers]
                targets = [at(at(out, n, out_stride), vector, out_apart) for n in numbers for vector in each_vector]
                activations = [at(x, vector, x_apart) for vector in each_vector]

                def block(number: Any, places: list[Any], mask: Any) -> None:
                    some.block(places, [at(each, number, step) for each in activations], mask, table)
                    if by_word and some.narrow:
                        some.widen()
                    for i, target in enumerate(targets if by_word else ()):
                        some.take_sums(i).store(at(target, number, SIZE))

                def ask(number: Any) -> None:
                    for row in range(count if behind else 0):          # one stream, however many rows it is for
                        if in_parts:
                            prefetch(builder, builder.add(at(starts[row], number, SIZE), builder.mul(rows_ahead, stride)))
                            continue
                        prefetch(builder, builder.add(at(starts[0], number, SIZE * count), ir.Constant(I64, AHEAD + SIZE * row)))

                def whole(number: Any) -> None:
                    block(number, [at(start, number, SIZE) for start in starts], None)
                    ask(number)

                if some.narrow and not by_word:
                    most = ir.Constant(I64, some.narrow)
                    stretches = builder.sdiv(builder.add(blocks, ir.Constant(I64, some.narrow - 1)), most)
                    with for_range(builder, stretches, intp=I64) as stretch:
                        begin = builder.mul(stretch.index, most)
                        left = builder.sub(blocks, begin)
                        left = builder.select(builder.icmp_signed("<", left, most), left, most)
                        with for_range(builder, left, intp=I64) as loop:
                            whole(builder.add(begin, loop.index))
                        some.widen()
                else:
                    with for_range(builder, blocks, intp=I64) as loop:
                        whole(loop.index)
                with builder.if_then(builder.icmp_signed("!=", tail, ir.Constant(I64, 0))):
                    block(blocks, [at(tail, n, tail_stride) for n in numbers], keep)
                    if some.narrow and not by_word:
                        some.widen()
                    ask(blocks)
                for i, target in enumerate(() if by_word else targets):
                    builder.store(some.take_sums(i).total(), pointer(builder, target, I32)).align = 1
            some.counts.save(events)

        # Memory is fastest in one stream of addresses, row by row. Some rows at once load the activations less often: where these
        # are wide, or are what takes the time. Several vectors leave no registers for it.
        groups = ir.Constant(I64, 0)
        in_twos = layout.slices in (5, 8) or (layout.slices == 4 and counting and not by_word)
        count = 1 if vectors > 1 else ROWS if layout.slices == 1 else 2 if in_twos else 1
        if count > 1:
            wide = builder.icmp_signed(">", blocks, ir.Constant(I64, MANY if layout.slices == 1 else -1))
            groups = builder.select(wide, builder.sdiv(rows, ir.Constant(I64, count)), groups)
            some_rows(ir.Constant(I64, 0), groups, count)
        done = builder.mul(groups, ir.Constant(I64, count))
        some_rows(done, builder.sub(rows, done), 1)
        return context.get_dummy_value()
    return emit


def _products(by_word: bool) -> Any:
    """An intrinsic for some rows times some vectors."""
    def products(typing: Any, fmt: Any, counting: Any, vectors: Any, rows: Any, weights: Any, stride: Any, x: Any, x_apart: Any,
                 blocks: Any, tail: Any, tail_stride: Any, keep: Any, book: Any, out: Any, out_stride: Any, out_apart: Any,
                 events: Any) -> Any:
        """Numbers alone, as compiled functions take them (emulator/threads/parallel.py)."""
        if not all(isinstance(number, types.IntegerLiteral) for number in (fmt, counting, vectors)):
            return None
        emit = _emit_rows(fmt.literal_value, by_word, bool(counting.literal_value), vectors.literal_value)
        return types.void(fmt, counting, vectors, *[types.int64] * 14), emit
    return intrinsic(prefer_literal=True)(products)


row_products: Any = _products(by_word=False)
"""Put to `out` the int32 sums of code * x of `rows` rows, `stride` bytes apart, for each of `vectors` vectors.

    row_products(fmt, counting, vectors, rows, weights, stride, x, x_apart, blocks, tail, tail_stride, keep, book, out, out_stride,
                 out_apart, events)

fmt, counting and vectors are numbers in the source; counting is 0 where the counts are known, else 1: the counts are added to the
int64 at `events` (2,). `blocks` whole blocks lie at `weights`. `tail`: address of the rest of the rows, 64 readable bytes each,
`tail_stride` apart, of which the mask at `keep` says what counts; 0: there is none. `x`: activations, dealt out, those of a vector
`x_apart` bytes behind those of the one before. `book`: the 16 values of a codebook. Results are `out_stride` bytes apart from row
to row, `out_apart` from vector to vector.

Numbers alone, as compiled functions take them (emulator/threads/parallel.py).
"""

word_products: Any = _products(by_word=True)
"""As row_products, but with a sum for each four bytes of weights: 16 int32 for each block of a row, the tail's too."""


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
    """Deal activations out to the slices of a format: for each block of 64 * slices, those of slice 0, of slice 1 and so on.

    Where they are split, slice by slice the even ones and the odd ones.
    """
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
            target = builder.add(out, builder.mul(loop.index, ir.Constant(I64, DEALT[fmt.literal_value])))
            for k in range(slices):
                part = Vector(builder, builder.trunc(builder.lshr(block, spread(kind, 8 * k)), vector_type(I8)) if slices > 1 else
                              block)
                for i, vector in enumerate(parts := split(part) if layout.is_split else (part,)):
                    vector.store(builder.add(target, ir.Constant(I64, SIZE * (len(parts) * k + i))))
        return context.get_dummy_value()
    return types.void(fmt, types.int64, types.int64, types.int64), emit
