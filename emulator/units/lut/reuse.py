"""lut.reuse: sums of centres that are added to rows. The numbers of centres are checked on the way: the sums are kept until all are
known to be good.

With AVX-512 the sums of a piece fit four registers, if they are numbers of 16 bits and no more than 128: two for their lower and
two for their upper bytes. So 64 rows look a piece up at once, by permutations, behind a transposition of the numbers. Else sixteen
pieces of a row are gathered.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from emulator.kernel import kernel
from emulator.kernel_words import DONE, LARGE, PUNT, count, csr, overlap, readable
from emulator.native.emitting import alloca_once, for_range
from emulator.native.features import AVX512
from emulator.native.inlining import inline
from emulator.native.machine_code import atomic_add, load, store
from emulator.simd.bytes64 import (
    I1,
    I8,
    I16,
    I32,
    I64,
    SIZE,
    Vector,
    call,
    gather,
    look_up_128,
    pointer,
    shuffle,
    spread,
    vector_type,
    zeros,
)
from emulator.threads.parallel import in_parallel
from emulator.units.lut.operands import CENTRES, LOOKUP, LUT, PIECES, STEP, STEP_LONGEST, WEIGHT_BYTES, cores_for
from emulator.units.vectors import group_count

MOST_CENTRES = 256              # that a byte can name
LANES = 16
TABLE = 128                     # numbers that a permutation of two registers looks up
PLANES = 2 * TABLE              # bytes of the tables of a piece: lower bytes, then upper ones
STRETCH = 128                   # pieces whose bytes add up to 15 bits
GRAIN = 64                      # rows that a thread takes at least
SLOW = 4                        # a look-up costs as much as these bytes of weights

u8, i32, i64 = np.uint8, np.int32, np.int64


def _in_lanes(builder: Any, values: Any) -> Any:
    """An int32 in all lanes."""
    return builder.shuffle_vector(builder.insert_element(spread(vector_type(I32), 0), values, I32(0)), spread(vector_type(I32), 0),
                                  spread(vector_type(I32), 0))


@intrinsic
def sums_of_rows(typing: Any, rows: Any, pieces: Any, centres: Any, table: Any, numbers: Any, out: Any) -> Any:
    """sums_of_rows(rows, pieces, centres, table, numbers, out): int32 sums over p of table[p, numbers[r, p]] to `out`; the largest
    number. A number beyond the centres takes the last one. AVX-512 only."""
    kind, bytes_ = vector_type(I32), ir.VectorType(I8, LANES)

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        rows, pieces, centres, table, numbers, out = arguments
        centres = builder.trunc(centres, I32)
        last = _in_lanes(builder, builder.sub(centres, I32(1)))
        starts = builder.mul(_in_lanes(builder, centres), ir.Constant(kind, list(range(LANES))))
        chunks, rest = builder.lshr(pieces, I64(4)), builder.trunc(builder.and_(pieces, I64(LANES - 1)), I16)
        every, some = ir.Constant(ir.VectorType(I1, LANES), [1] * LANES), builder.bitcast(
            builder.sub(builder.shl(I16(1), rest), I16(1)), ir.VectorType(I1, LANES))
        step = builder.mul(builder.zext(centres, I64), I64(4 * LANES))          # bytes of the tables of 16 pieces
        sums, largest = alloca_once(builder, kind), alloca_once(builder, kind)
        builder.store(spread(kind, 0), largest)

        def add(row: Any, chunk: Any, taken: Any) -> None:
            place = pointer(builder, builder.add(row, builder.mul(chunk, I64(LANES))), bytes_)
            found = call(builder, "llvm.masked.load.v16i8.p0", bytes_, [place, I32(1), taken, spread(bytes_, 0)])
            found = builder.zext(found, kind)
            builder.store(call(builder, "llvm.umax.v16i32", kind, [builder.load(largest), found]), largest)
            found = builder.add(call(builder, "llvm.umin.v16i32", kind, [found, last]), starts)
            looked_up = gather(builder, builder.add(table, builder.mul(chunk, step)), found, taken, 4)
            builder.store(builder.add(builder.load(sums), looked_up), sums)

        with for_range(builder, rows, intp=I64) as loop:
            row = builder.add(numbers, builder.mul(loop.index, pieces))
            builder.store(zeros(builder).value, sums)
            with for_range(builder, chunks, intp=I64) as each:
                add(row, each.index, every)
            with builder.if_then(builder.icmp_signed("!=", rest, I16(0))):
                add(row, chunks, some)
            target = pointer(builder, builder.add(out, builder.mul(loop.index, I64(4))), I32)
            builder.store(Vector(builder, builder.load(sums)).total(), target).align = 1
        return builder.zext(call(builder, "llvm.vector.reduce.umax.v16i32", I32, [builder.load(largest)]), I64)
    return types.int64(*[types.int64] * 6), emit


# ------------------------------------------------------------------------------------------------ by permutations


@intrinsic
def split_table(typing: Any, pieces: Any, centres: Any, table: Any, planes: Any) -> Any:
    """split_table(pieces, centres, table, planes): the int32 sums of each piece, a multiple of 16, to its PLANES bytes at `planes`:
    upper bytes plus 128, so that they have no sign. False: a sum does not fit 16 bits."""
    kind, narrow = vector_type(I32), ir.VectorType(I8, LANES)

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        pieces, centres, table, planes = arguments
        lost = alloca_once(builder, kind)
        builder.store(spread(kind, 0), lost)
        with for_range(builder, pieces, intp=I64) as piece, for_range(builder, builder.lshr(centres, I64(4)), intp=I64) as loop:
            at = builder.add(builder.mul(piece.index, centres), builder.mul(loop.index, I64(LANES)))
            sums = builder.add(Vector.load(builder, builder.add(table, builder.mul(at, I64(4))), I32).value, spread(kind, 1 << 15))
            builder.store(builder.or_(builder.load(lost), builder.lshr(sums, spread(kind, 16))), lost)
            place = builder.add(planes, builder.add(builder.mul(piece.index, I64(PLANES)), builder.mul(loop.index, I64(LANES))))
            for values, behind in ((sums, 0), (builder.lshr(sums, spread(kind, 8)), TABLE)):
                target = pointer(builder, builder.add(place, I64(behind)), narrow)
                builder.store(builder.trunc(values, narrow), target).align = 1
        return builder.icmp_unsigned("==", call(builder, "llvm.vector.reduce.or.v16i32", I32, [builder.load(lost)]), I32(0))
    return types.boolean(*[types.int64] * 4), emit


def _columns(builder: Any, rows: list[Any]) -> list[Vector]:
    """16 vectors, one for each of 16 bytes: that byte of 64 rows. `rows`: addresses of 64 times 16 bytes."""
    def load(row: Any) -> Any:
        value = builder.load(pointer(builder, row, ir.VectorType(I8, LANES)))
        value.align = 1
        return value

    found = []
    for i in range(LANES):                          # row 16 g + i in lane g
        parts = [load(rows[LANES * lane + i]) for lane in range(4)]
        halves = [shuffle(builder, *parts[at:at + 2], range(2 * LANES)) for at in (0, 2)]
        found.append(shuffle(builder, *halves, range(SIZE)))
    for _ in range(4):                              # each time a bit of the number of the row changes places with one of the byte's
        found = [shuffle(builder, found[i], found[i + 8], [LANES * lane + start + at // 2 + SIZE * (at % 2)
                                                           for lane in range(4) for at in range(LANES)])
                 for i in range(8) for start in (0, 8)]
    return [Vector(builder, value) for value in found]


@intrinsic
def sums_of_blocks(typing: Any, blocks: Any, pieces: Any, planes: Any, numbers: Any, out: Any) -> Any:
    """sums_of_blocks(blocks, pieces, planes, numbers, out): as sums_of_rows, of so many times 64 rows, with sums of split_table.
    Up to 15 numbers behind a row are read; their pieces have tables of zeros."""
    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        blocks, pieces, planes, numbers, out = arguments
        groups = builder.lshr(builder.add(pieces, I64(LANES - 1)), I64(4))
        sums = [alloca_once(builder, vector_type(I16)) for _ in range(4)]           # lower and upper bytes, even and odd rows
        largest = alloca_once(builder, vector_type(I8))
        builder.store(spread(vector_type(I8), 0), largest)
        each = I64(STRETCH // LANES)
        stretches = builder.udiv(builder.add(groups, I64(STRETCH // LANES - 1)), each)
        with for_range(builder, blocks, intp=I64) as block, for_range(builder, stretches, intp=I64) as stretch:
            first = builder.mul(stretch.index, each)
            some = builder.sub(groups, first)
            some = builder.select(builder.icmp_unsigned("<", some, each), some, each)
            for slot in sums:
                builder.store(spread(vector_type(I16), 0), slot)
            with for_range(builder, some, intp=I64) as loop:
                group = builder.add(first, loop.index)
                row = builder.add(builder.add(numbers, builder.mul(group, I64(LANES))),
                                  builder.mul(block.index, builder.mul(pieces, I64(SIZE))))
                tables = builder.add(planes, builder.mul(group, I64(LANES * PLANES)))
                rows = [builder.add(row, builder.mul(pieces, I64(i))) for i in range(SIZE)]
                for piece, named in enumerate(_columns(builder, rows)):
                    builder.store(call(builder, "llvm.umax.v64i8", vector_type(I8), [builder.load(largest), named.of(I8)]), largest)
                    for plane in range(2):
                        place = builder.add(tables, I64(PLANES * piece + TABLE * plane))
                        halves = [Vector.load(builder, builder.add(place, I64(SIZE * half))) for half in range(2)]
                        found = look_up_128(halves, named)
                        even = found & Vector(builder, spread(vector_type(I16), 255))
                        for slot, part in zip(sums[2 * plane:2 * plane + 2], (even, found.shift_right(8)), strict=True):
                            builder.store(builder.add(builder.load(slot), part.of(I16)), slot)
            _add_up(builder, sums, builder.mul(some, I64(LANES)), stretch.index,
                    builder.add(out, builder.mul(block.index, I64(4 * SIZE))))
        return builder.zext(call(builder, "llvm.vector.reduce.umax.v64i8", I8, [builder.load(largest)]), I64)
    return types.int64(*[types.int64] * 5), emit


def _add_up(builder: Any, sums: list[Any], pieces: Any, stretch: Any, out: Any) -> None:
    """Put 64 int32 to `out`, or behind the first stretch add them there: of sums of bytes, with 2**15 too much for each piece."""
    wide = ir.VectorType(I32, SIZE // 2)
    lower, upper = ([builder.zext(builder.load(slot), wide) for slot in pair] for pair in (sums[:2], sums[2:]))
    even, odd = (builder.add(low, builder.shl(high, spread(wide, 8))) for low, high in zip(lower, upper, strict=True))
    excess = builder.insert_element(spread(wide, 0), builder.shl(builder.trunc(pieces, I32), I32(15)), I32(0))
    excess = shuffle(builder, excess, excess, [0] * wide.count)
    for half in range(2):
        lanes = [16 * half + at // 2 + wide.count * (at % 2) for at in range(wide.count)]
        found = builder.sub(shuffle(builder, even, odd, lanes), excess)
        place = pointer(builder, builder.add(out, I64(4 * wide.count * half)), wide)
        before = builder.load(place)
        before.align = 4
        first = builder.icmp_unsigned("==", stretch, I64(0))
        builder.store(builder.add(found, builder.select(first, spread(wide, 0), before)), place).align = 4


if AVX512:
    @njit
    def planes_of(rows, pieces, centres, table):
        """The sums of centres as split_table has them, with tables of zeros up to a multiple of 16 pieces: uint8, in whole cache
        lines. Empty: they cannot be split, or there are too few rows."""
        if rows < SIZE or pieces < LANES or centres > TABLE or centres % LANES != 0:
            return np.empty(0, np.uint8)
        more = -pieces & LANES - 1
        planes = np.empty(SIZE + (pieces + more) * PLANES, np.uint8)
        start = -i64(planes.ctypes.data) & SIZE - 1
        for piece in range(pieces, pieces + more):
            at = start + piece * PLANES
            planes[at:at + TABLE] = 0
            planes[at + TABLE:at + PLANES] = 128
        return planes[start:] if split_table(pieces, centres, table, i64(planes.ctypes.data) + start) else np.empty(0, np.uint8)

    @inline
    def some_sums(rows, pieces, centres, table, planes, numbers, out):
        """As sums_of_rows, by permutations where there are planes. A row whose numbers are not a multiple of 16 needs one behind
        it."""
        blocks, largest = 0, i64(0)
        if planes != 0:
            blocks = (rows if pieces & LANES - 1 == 0 else rows - 1) >> 6
            largest = sums_of_blocks(blocks, pieces, planes, numbers, out)
        done = SIZE * blocks
        return max(largest, sums_of_rows(rows - done, pieces, centres, table, numbers + done * pieces, out + 4 * done))
else:
    @njit
    def planes_of(rows, pieces, centres, table):
        """There are none."""
        return np.empty(0, np.uint8)

    @njit
    def some_sums(rows, pieces, centres, table, planes, numbers, out):
        """As sums_of_rows, one after the other."""
        largest = u8(0)
        for r in range(rows):
            total = i32(0)
            for p in range(pieces):
                number = load(numbers + r * pieces + p, u8)
                largest = max(largest, number)
                total += load(table + 4 * (p * centres + min(i64(number), centres - 1)), i32)
            store(out + 4 * r, i32(total))
        return i64(largest)


@inline
def some_rows(first, last, pieces, centres, table, planes, numbers, out, beyond):
    """The sums of rows first..last; adds 1 to the int64 at `beyond` if a number is too large."""
    largest = some_sums(last - first, pieces, centres, table, planes, numbers + first * pieces, out + 4 * first)
    if largest >= centres:
        atomic_add(beyond, i64(1))


@kernel("lut.reuse.u8")
def lut_reuse_u8(acc, acc_bytes, sums, assigned, rows, block):
    pieces, centres = csr(block, PIECES), csr(block, CENTRES)
    pieces, centres = max(pieces, 1) if pieces >= 0 else LARGE, centres if centres != 0 else MOST_CENTRES
    if not 0 < centres <= MOST_CENTRES or pieces > LARGE // max(4 * MOST_CENTRES, rows):
        return PUNT
    sums_bytes, size = 4 * pieces * centres, rows * pieces
    if rows == 0:
        return DONE
    table, table_slot = readable(block, LUT, sums, sums_bytes, 4)
    numbers, slot = readable(block, LUT, assigned, size, 1)
    if table == 0 or numbers == 0 or overlap(acc, acc_bytes, table, sums_bytes) or overlap(acc, acc_bytes, numbers, size):
        return PUNT
    found, beyond, planes = np.empty(rows, np.int32), np.zeros(1, np.int64), planes_of(rows, pieces, centres, table)
    if not in_parallel(block, SLOW * size, rows, GRAIN, some_rows, pieces, centres, table,
                       i64(planes.ctypes.data) if len(planes) > 0 else i64(0), numbers, found.ctypes.data,
                       beyond.ctypes.data) or beyond[0] != 0:
        return PUNT
    planes[:0] = 0              # keeps its memory alive until here
    for r in range(rows):
        store(acc + 4 * r, i32(load(acc + 4 * r, i32) + found[r]))
    count(block, table_slot, sums_bytes)
    count(block, slot, size)
    for counter in (LOOKUP, STEP, WEIGHT_BYTES):
        count(block, counter, size)
    count(block, STEP_LONGEST, pieces * group_count(rows, cores_for(block, rows)))
    return DONE
