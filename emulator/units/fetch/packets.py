"""Packets of numbers of variable width, and the chunks that they name: what fetch.unpack does with the packets of one row.

    total, wide = widths_above(widths, packets, most)   bits of a number, of all packets together; whether one has more than `most`
    largest_of(widths, place, packets, narrow)          the largest number of whole packets
    looked_up(...)                                      the chunks of whole packets; where the packets end

A packet is 32 numbers of up to 15 bits, 60 bytes at most. With AVX-512 one load has all of it: a permutation puts four numbers into
each 64-bit word, which begin at one of its first bits, and one more instruction cuts them out. Chunks of a byte have numbers of up
to eight bits, eight of them in a word; so two packets, whose widths share a byte, go together. Their chunks are permutations of
the table, those of 2, 4 and 8 bytes are gathered. Elsewhere numbers are cut out of words one after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from emulator.native.emitting import alloca_once, constant_array, for_range
from emulator.native.features import AVX512
from emulator.native.inlining import inline
from emulator.native.machine_code import load, store
from emulator.simd.bytes64 import (
    I1,
    I8,
    I16,
    I32,
    I64,
    SIZE,
    Vector,
    call,
    fields,
    gather,
    look_up_128,
    look_up_256,
    permuted,
    pointer,
    prefetch,
    shuffle,
    spread,
    vector_type,
)

PACKET = 32                 # numbers of chunks that share a width
WIDTHS = 16                 # 0..15 bits
SPARE = 64                  # bytes behind a packet that may be read with it
AHEAD = 12 << 10            # bytes of packets that are asked of memory before they are needed: fewer come too late
NARROW, BYTES = 128, 256    # chunks of a byte for which there is one permutation, or two
WORDS = (1, 2, 4, 8)        # bytes of chunks that are one word

u8, u16, u32, i64, u64 = np.uint8, np.uint16, np.uint32, np.int64, np.uint64


@inline
def width_of(widths, packet):
    """Bits of each number of a packet."""
    return i64(load(widths + (packet >> 1), u8) >> u8(4 * (packet & 1)) & u8(15))


@inline
def number_at(place, width, i):
    """Number i of a packet. Reads up to three bytes behind it."""
    bit = i * width
    return load(place + (bit >> 3), u32) >> u32(bit & 7) & u32((1 << width) - 1)


# ------------------------------------------------------------------------------------------------ with AVX-512

_LANE = range(SIZE)
# By width, two rows of 64 bytes. Four numbers of two bytes in each word: the bytes of the packet that the word is made of, and for
# each byte of a number the bit of the word where it begins.
_WORDS = [number for w in range(WIDTHS) for number in (
    *(min((4 * (at // 8) * w >> 3) + at % 8, SIZE - 1) for at in _LANE),
    *((4 * (at // 8) * w & 7) + at % 8 // 2 * w + 8 * (at % 2) & 63 for at in _LANE))]


def _pair_rows(byte: int) -> list[int]:
    """By a byte with the widths of two packets, three rows of 64 bytes: the same, and a mask. Eight numbers of a byte in each word,
    four words of either packet."""
    widths = [byte >> 4 if at // 32 else byte & 15 for at in _LANE]
    return [*(min(at // 32 * 4 * (byte & 15) + at // 8 % 4 * w + at % 8, SIZE - 1) for at, w in enumerate(widths)),
            *(at % 8 * w & 63 for at, w in enumerate(widths)),
            *((1 << min(w, 8)) - 1 for w in widths)]


_PAIRS = [number for byte in range(256) for number in _pair_rows(byte)]


def _rows_of(builder: Any, name: str, values: list[int], number: Any, count: int) -> list[Vector]:
    """`count` rows of 64 bytes of a table that is part of the code: one address in a register."""
    start = builder.add(constant_array(builder, name, I8, values), builder.mul(number, I64(SIZE * count)))
    return [Vector.load(builder, builder.add(start, I64(SIZE * i))) for i in range(count)]


def _each_packet(builder: Any, widths: Any, place: Any, packets: Any, do: Callable[[Any, Any, Vector], None]) -> Any:
    """Emit do(number of the packet, its width, its numbers as u16) for whole packets. The address behind them."""
    at = alloca_once(builder, I64)
    builder.store(place, at)
    with for_range(builder, packets, intp=I64) as loop:
        byte = builder.load(pointer(builder, builder.add(widths, builder.lshr(loop.index, I64(1))), I8))
        shift = builder.shl(builder.and_(builder.trunc(loop.index, I8), I8(1)), I8(2))
        width = builder.zext(builder.and_(builder.lshr(byte, shift), I8(15)), I64)
        sources, starts = _rows_of(builder, "words_of_packets", _WORDS, width, 2)
        numbers = fields(permuted(Vector.load(builder, builder.load(at)), sources), starts)
        mask = builder.trunc(builder.sub(builder.shl(I64(1), width), I64(1)), I16)
        kind = vector_type(I16)
        every = builder.insert_element(spread(kind, 0), mask, I32(0))
        do(loop.index, width, numbers & Vector(builder, shuffle(builder, every, every, [0] * kind.count)))
        prefetch(builder, builder.add(builder.load(at), I64(AHEAD)))
        builder.store(builder.add(builder.load(at), builder.shl(width, I64(2))), at)
    return builder.load(at)


@intrinsic  # type: ignore[untyped-decorator]
def _largest(typing: Any, widths: Any, place: Any, packets: Any) -> Any:
    """_largest(widths, place, packets): the largest number of whole packets."""
    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        widths, place, packets = arguments
        kind = vector_type(I16)
        slot = alloca_once(builder, kind)
        builder.store(spread(kind, 0), slot)

        def keep(number: Any, width: Any, numbers: Vector) -> None:
            builder.store(call(builder, "llvm.umax.v32i16", kind, [builder.load(slot), numbers.of(I16)]), slot)

        _each_packet(builder, widths, place, packets, keep)
        return builder.zext(call(builder, "llvm.vector.reduce.umax.v32i16", I16, [builder.load(slot)]), I64)
    return types.int64(*[types.int64] * 3), emit


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def _gathered(typing: Any, size: Any, table: Any, widths: Any, place: Any, packets: Any, out: Any) -> Any:
    """_gathered(size, table, widths, place, packets, out): chunks of 2, 4 or 8 bytes, a number in the source. Of two bytes, two
    behind the table are read."""
    if not isinstance(size, types.IntegerLiteral):
        return None
    each = size.literal_value
    every = ir.Constant(ir.VectorType(I1, 16), [1] * 16)

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        _, table, widths, place, packets, out = arguments

        def look_up(number: Any, width: Any, numbers: Vector) -> None:
            target = builder.add(out, builder.mul(number, I64(PACKET * each)))
            for half, words in enumerate(numbers.halves(I16)):
                offsets, start = builder.zext(words, vector_type(I32)), builder.add(target, I64(16 * each * half))
                found = gather(builder, table, offsets, every, each)
                if each == 8:
                    upper = gather(builder, builder.add(table, I64(4)), offsets, every, each)
                    for part in range(2):
                        lanes = [at // 2 + 8 * part + 16 * (at % 2) for at in range(16)]
                        Vector(builder, shuffle(builder, found, upper, lanes)).store(builder.add(start, I64(SIZE * part)))
                    continue
                if each == 2:
                    found = builder.trunc(found, ir.VectorType(I16, 16))
                builder.store(found, pointer(builder, start, found.type)).align = 1

        return _each_packet(builder, widths, place, packets, look_up)
    return types.int64(size, *[types.int64] * 5), emit


def _each_pair(builder: Any, widths: Any, place: Any, packets: Any, do: Callable[[Any, Vector, bool], None]) -> Any:
    """Emit do(number of the pair, numbers as u8, whether both are there) for whole packets, two at a time; a packet that is left
    comes with 32 zeros. The address behind them."""
    at = alloca_once(builder, I64)
    builder.store(place, at)

    def pair(number: Any, mask: int) -> None:
        byte = builder.load(pointer(builder, builder.add(widths, number), I8))
        both = builder.zext(builder.and_(byte, I8(mask)), I64)
        sources, starts, kept = _rows_of(builder, "pairs_of_packets", _PAIRS, both, 3)
        numbers = fields(permuted(Vector.load(builder, builder.load(at)), sources), starts)
        do(number, numbers & kept, mask == 255)
        together = builder.add(builder.and_(both, I64(15)), builder.lshr(both, I64(4)))
        prefetch(builder, builder.add(builder.load(at), I64(AHEAD)))
        builder.store(builder.add(builder.load(at), builder.shl(together, I64(2))), at)

    pairs = builder.lshr(packets, I64(1))
    with for_range(builder, pairs, intp=I64) as loop:
        pair(loop.index, 255)
    with builder.if_then(builder.icmp_signed("!=", builder.and_(packets, I64(1)), I64(0))):
        pair(pairs, 15)
    return builder.load(at)


@intrinsic  # type: ignore[untyped-decorator]
def _largest_byte(typing: Any, widths: Any, place: Any, packets: Any) -> Any:
    """As _largest, where no width is above eight."""
    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        kind = vector_type(I8)
        slot = alloca_once(builder, kind)
        builder.store(spread(kind, 0), slot)

        def keep(number: Any, numbers: Vector, both: bool) -> None:
            builder.store(call(builder, "llvm.umax.v64i8", kind, [builder.load(slot), numbers.of(I8)]), slot)

        _each_pair(builder, *arguments, keep)
        return builder.zext(call(builder, "llvm.vector.reduce.umax.v64i8", I8, [builder.load(slot)]), I64)
    return types.int64(*[types.int64] * 3), emit


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def _permuted(typing: Any, chunks: Any, table: Any, widths: Any, place: Any, packets: Any, out: Any) -> Any:
    """_permuted(chunks, table, widths, place, packets, out): chunks of a byte from a table of 128 or 256, a number in the source;
    all numbers are below that, and no width is above eight."""
    if not isinstance(chunks, types.IntegerLiteral):
        return None
    registers = chunks.literal_value // SIZE

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        _, table, widths, place, packets, out = arguments
        entries = [Vector.load(builder, builder.add(table, I64(SIZE * i))) for i in range(registers)]

        def look_up(number: Any, numbers: Vector, both: bool) -> None:
            found = look_up_128(entries, numbers) if registers == 2 else look_up_256(entries, numbers)
            target = builder.add(out, builder.mul(number, I64(SIZE)))
            if both:
                found.store(target)
            else:
                half = found.halves(I8)[0]
                builder.store(half, pointer(builder, target, half.type)).align = 1

        return _each_pair(builder, widths, place, packets, look_up)
    return types.int64(chunks, *[types.int64] * 5), emit


# ------------------------------------------------------------------------------------------------ everywhere


@njit
def widths_above(widths, packets, most):
    """(sum of the widths of some packets, whether one is above `most`), eight bytes of widths at a time."""
    low, top, total, above = u64(0x0F0F_0F0F_0F0F_0F0F), u64(0x8080_8080_8080_8080), u64(0), u64(0)
    beyond = u64(0x0101_0101_0101_0101) * u64(127 - most)
    whole = packets >> 4
    for i in range(whole + (1 if packets & 15 > 0 else 0)):
        word = u64(0)
        if i < whole:
            word = load(widths + 8 * i, u64)
        else:
            for at in range((packets & 15) + 1 >> 1):
                word |= u64(load(widths + 8 * i + at, u8)) << u64(8 * at)
            word &= (u64(1) << u64(4 * (packets & 15))) - u64(1)
        first, second = word & low, word >> u64(4) & low
        above |= (first + beyond | second + beyond) & top
        total += (first + second) * u64(0x0101_0101_0101_0101) >> u64(56)
    return i64(total), above != u64(0)


@inline
def put_chunk(size, chunk, target):
    """Copy a chunk of one word."""
    if size == 1:
        store(target, load(chunk, u8))
    elif size == 2:
        store(target, load(chunk, u16))
    elif size == 4:
        store(target, load(chunk, u32))
    else:
        store(target, load(chunk, u64))


@inline
def one_by_one(size, table, widths, place, packets, out):
    """As looked_up, a number at a time."""
    for packet in range(packets):
        width = width_of(widths, packet)
        for i in range(PACKET):
            put_chunk(size, table + size * i64(number_at(place, width, i)), out + size * (PACKET * packet + i))
        place += 4 * width
    return place


@njit
def one_largest(widths, place, packets):
    """As largest_of, a number at a time."""
    largest = u32(0)
    for packet in range(packets):
        width = width_of(widths, packet)
        for i in range(PACKET):
            largest = max(largest, number_at(place, width, i))
        place += 4 * width
    return i64(largest)


if AVX512:
    @njit
    def largest_of(widths, place, packets, narrow):
        """The largest number of whole packets. narrow: no width is above eight."""
        return _largest_byte(widths, place, packets) if narrow else _largest(widths, place, packets)

    @njit
    def looked_up(size, table, chunks, widths, place, packets, narrow, out):
        """Put the chunks of whole packets, `size` bytes each (1, 2, 4 or 8), from a table of `chunks` to `out`. The address behind
        the packets, of which SPARE bytes may be read; of the table 256 bytes of chunks of one, two more of chunks of two. narrow:
        no width is above eight.

        Numbers alone, as compiled functions take them (emulator/threads/parallel.py).
        """
        if size == 1 and narrow and chunks <= NARROW:
            return _permuted(NARROW, table, widths, place, packets, out)
        if size == 1 and narrow and chunks <= BYTES:
            return _permuted(BYTES, table, widths, place, packets, out)
        if size == 2:
            return _gathered(2, table, widths, place, packets, out)
        if size == 4:
            return _gathered(4, table, widths, place, packets, out)
        if size == 8:
            return _gathered(8, table, widths, place, packets, out)
        return one_by_one(size, table, widths, place, packets, out)
else:
    @njit
    def largest_of(widths, place, packets, narrow):
        """The largest number of whole packets."""
        return one_largest(widths, place, packets)

    @njit
    def looked_up(size, table, chunks, widths, place, packets, narrow, out):
        """Put the chunks of whole packets, `size` bytes each (1, 2, 4 or 8), from a table to `out`. The address behind the packets.

        Numbers alone, as compiled functions take them (emulator/threads/parallel.py).
        """
        return one_by_one(size, table, widths, place, packets, out)
