"""lut.reuse: sums of centres that are added to rows.

Where there is AVX-512, sixteen pieces of a row are looked up at once. The numbers of centres are checked on the way: the sums are
kept until all are known to be good.
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
from emulator.simd.bytes64 import I1, I8, I16, I32, I64, Vector, call, gather, pointer, spread, vector_type, zeros
from emulator.threads.parallel import in_parallel
from emulator.units.lut.operands import CENTRES, LOOKUP, LUT, PIECES, STEP, STEP_LONGEST, WEIGHT_BYTES, cores_for
from emulator.units.vectors import group_count

MOST_CENTRES = 256              # that a byte can name
LANES = 16
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


if AVX512:
    some_sums = sums_of_rows
else:
    @njit
    def some_sums(rows, pieces, centres, table, numbers, out):
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
def some_rows(first, last, pieces, centres, table, numbers, out, beyond):
    """The sums of rows first..last; adds 1 to the int64 at `beyond` if a number is too large."""
    largest = some_sums(last - first, pieces, centres, table, numbers + first * pieces, out + 4 * first)
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
    found, beyond = np.empty(rows, np.int32), np.zeros(1, np.int64)
    if not in_parallel(block, SLOW * size, rows, GRAIN, some_rows, pieces, centres, table, numbers, found.ctypes.data,
                       beyond.ctypes.data) or beyond[0] != 0:
        return PUNT
    for r in range(rows):
        store(acc + 4 * r, i32(load(acc + 4 * r, i32) + found[r]))
    count(block, table_slot, sums_bytes)
    count(block, slot, size)
    for counter in (LOOKUP, STEP, WEIGHT_BYTES):
        count(block, counter, size)
    count(block, STEP_LONGEST, pieces * group_count(rows, cores_for(block, rows)))
    return DONE
