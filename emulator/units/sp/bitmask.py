"""Rows of a bitmask with vector code: 64 bytes of the dense row at a time, expanded from the packed values in a register.

A chunk of a row is 64 bytes of its dense form: 64 int8, 16 f32. As many bits of the mask say which of its blocks are stored; the
next values of the stream are moved to their places, and zeros between them. With AVX-512 this is one instruction for blocks of 1, 2
and 4 bytes. With AVX2 a table of shuffles, by byte of the mask, does it for blocks of 1 byte; there is no vector code for others.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from emulator.native.emitting import alloca_once, constant_array, for_range
from emulator.native.features import AVX2, AVX512
from emulator.simd.bytes64 import (
    I1,
    I8,
    I32,
    I64,
    SIZE,
    Vector,
    call,
    constants,
    dot,
    pointer,
    prefetch,
    shuffle,
    vector_type,
    zeros,
)

F32 = ir.FloatType()
AHEAD = 3 << 10         # bytes of values that are asked of memory before they are needed


def blocks_with_code() -> tuple[int, ...]:
    """Bytes of a block that `expanded` can place on this host."""
    return (1, 2, 4) if AVX512 else (1,) if AVX2 else ()


def _shuffles(builder: Any) -> Any:
    """Address of 256 times 8 bytes: for each byte of a mask, which of the next 8 values stands at each place; 128: none."""
    rows = []
    for mask in range(256):
        places = [bin(mask & (1 << place) - 1).count("1") if mask >> place & 1 else 128 for place in range(8)]
        rows += [(place ^ 128) - 128 for place in places]
    return constant_array(builder, "shuffles_of_masks", I8, rows)


def in_register(builder: Any, value: Any) -> Any:
    """The same value; what takes it does not load it from memory itself. An expansion that does is many times slower on Zen 4."""
    return builder.asm(ir.FunctionType(value.type, [value.type]), "", "=v,0", [value], False)


def expanded(builder: Any, item: int, mask: Any, address: Any) -> Vector:
    """The next values at an address, in the blocks of `item` bytes whose bit of the mask is set; zeros in the others. Reads 64
    bytes, whatever the mask."""
    if AVX512:
        element = ir.IntType(8 * item)
        kind = vector_type(element)
        bits = builder.bitcast(builder.trunc(mask, ir.IntType(kind.count)), ir.VectorType(I1, kind.count))
        name = f"llvm.x86.avx512.mask.expand.v{kind.count}i{8 * item}"
        values = in_register(builder, Vector.load(builder, address).of(element))
        return Vector(builder, call(builder, name, kind, [values, zeros(builder, element).value, bits]))
    table, parts = _shuffles(builder), []
    for pair in range(4):
        values, controls = ir.Constant(vector_type(I64, 16), ir.Undefined), ir.Constant(vector_type(I64, 16), ir.Undefined)
        for half in range(2):
            byte = builder.and_(builder.lshr(mask, I64(16 * pair + 8 * half)), I64(255))
            control = builder.load(pointer(builder, builder.add(table, builder.mul(byte, I64(8))), I64))
            control = builder.or_(control, I64(0x0808080808080808 * half))
            value = builder.load(pointer(builder, address, I64))
            value.align = 1
            address = builder.add(address, call(builder, "llvm.ctpop.i64", I64, [byte]))
            values = builder.insert_element(values, value, I32(half))
            controls = builder.insert_element(controls, control, I32(half))
        sixteen = vector_type(I8, 16)
        parts.append(call(builder, "llvm.x86.ssse3.pshuf.b.128", sixteen,
                          [builder.bitcast(values, sixteen), builder.bitcast(controls, sixteen)]))
    low, high = (shuffle(builder, *parts[i:i + 2], range(32)) for i in (0, 2))
    return Vector(builder, shuffle(builder, low, high, range(64)))


def _totals(builder: Any, registers: list[Vector]) -> Any:
    """The sums of the int32 of each of four registers, int32 (4,)."""
    def folded(a: Any, b: Any, order: list[int]) -> Any:
        """Sums of two values that stand `len(order)` apart in each four."""
        low = [fours + at for fours in range(0, 16, 4) for at in order]
        return builder.add(shuffle(builder, a, b, low), shuffle(builder, a, b, [at + 2 for at in low]))

    a, b, c, d = (register.of(I32) for register in registers)
    pairs = [folded(a, b, [0, 16, 1, 17]), folded(c, d, [0, 16, 1, 17])]            # a, b, a, b
    value = folded(*pairs, [0, 1, 16, 17])                                          # a, b, c, d in each four
    for size in (8, 4):
        value = builder.add(shuffle(builder, value, value, range(size)), shuffle(builder, value, value, range(size, 2 * size)))
    return value


# The table of LINES rows: where the values of each start, the bits of its last chunk, where its values end, int32 sums.
LINES = 4
STARTS, TAILS, ENDS, SUMS, TABLE = (8 * LINES * i for i in range(5))


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def bitmask_dots(typing: Any, item: Any, mask: Any, step: Any, chunks: Any, rest: Any, x: Any, ahead: Any, table: Any) -> Any:
    """bitmask_dots(item, mask, step, chunks, rest, x, ahead, table): ends and sums of LINES rows, to their table.

    The int32 sums over `chunks` chunks, and one more whose mask is in the table if `rest` is not 0, of (w + 128) * x: blocks of
    `item` bytes, a number in the source. The mask of row i at `mask` + i * step; 64 int8 at `x` for each chunk. What lies `ahead`
    bytes behind the values is asked of memory, and the masks behind those of LINES rows. Reads up to 64 bytes behind the values.
    """
    if not isinstance(item, types.IntegerLiteral):
        return None
    size = item.literal_value
    bits = SIZE // size

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        _, mask, step, chunks, rest, x, ahead, table = arguments
        slots = [alloca_once(builder, vector_type(I32)) for _ in range(LINES)]
        places = [alloca_once(builder, I64) for _ in range(LINES)]
        masks = [builder.add(mask, builder.mul(step, I64(i))) for i in range(LINES)]

        def word(part: int, line: int) -> Any:
            return pointer(builder, builder.add(table, I64(part + 8 * line)), I64)

        for i in range(LINES):
            builder.store(zeros(builder).value, slots[i])
            builder.store(builder.load(word(STARTS, i)), places[i])

        def chunk(line: int, stored: Any, activations: Vector) -> None:
            at = builder.load(places[line])
            prefetch(builder, builder.add(at, ahead), 1)
            values = expanded(builder, size, stored, at) ^ 128
            builder.store(dot(Vector(builder, builder.load(slots[line])), values, activations, 255).of(I32), slots[line])
            builder.store(builder.add(at, builder.mul(call(builder, "llvm.ctpop.i64", I64, [stored]), I64(size))), places[line])

        later = builder.add(mask, builder.mul(step, I64(LINES)))                # the masks of the next rows
        with for_range(builder, chunks, intp=I64) as loop:
            activations = Vector.load(builder, builder.add(x, builder.mul(loop.index, I64(SIZE))))
            prefetch(builder, builder.add(later, builder.mul(loop.index, I64(LINES * bits // 8))), 1)
            for i in range(LINES):
                at = builder.add(masks[i], builder.mul(loop.index, I64(bits // 8)))
                stored = builder.load(pointer(builder, at, ir.IntType(bits)))
                stored.align = 1
                chunk(i, builder.zext(stored, I64) if bits < 64 else stored, activations)
        with builder.if_then(builder.icmp_signed("!=", rest, I64(0))):
            activations = Vector.load(builder, builder.add(x, builder.mul(chunks, I64(SIZE))))
            for i in range(LINES):
                chunk(i, builder.load(word(TAILS, i)), activations)
        for i in range(LINES):
            builder.store(builder.load(places[i]), word(ENDS, i))
        totals = _totals(builder, [Vector(builder, builder.load(slot)) for slot in slots])
        builder.store(totals, pointer(builder, builder.add(table, I64(SUMS)), totals.type)).align = 1
        return context.get_dummy_value()
    return types.none(item, *[types.int64] * 7), emit


@intrinsic  # type: ignore[untyped-decorator]
def not_zero(typing: Any, address: Any, n: Any) -> Any:
    """Bytes that are not zero of 64 * n bytes at an address."""
    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        address, n = arguments
        found = alloca_once(builder, I64)
        builder.store(I64(0), found)
        with for_range(builder, n, intp=I64) as loop:
            bits = Vector.load(builder, builder.add(address, builder.mul(loop.index, I64(SIZE)))).differs(0)
            builder.store(builder.add(builder.load(found), call(builder, "llvm.ctpop.i64", I64, [bits])), found)
        return builder.load(found)
    return types.int64(types.int64, types.int64), emit


@intrinsic  # type: ignore[untyped-decorator]
def total_of(typing: Any, address: Any, n: Any) -> Any:
    """The sum of 64 * n int8 at an address, int32."""
    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        address, n = arguments
        total = alloca_once(builder, vector_type(I32))
        builder.store(zeros(builder).value, total)
        (ones,) = constants(builder, [1] * SIZE)
        with for_range(builder, n, intp=I64) as loop:
            values = Vector.load(builder, builder.add(address, builder.mul(loop.index, I64(SIZE))))
            builder.store(dot(Vector(builder, builder.load(total)), ones, values, 1).of(I32), total)
        return Vector(builder, builder.load(total)).total()
    return types.int32(types.int64, types.int64), emit


@intrinsic  # type: ignore[untyped-decorator]
def bitmask_lanes(typing: Any, mask: Any, chunks: Any, tail: Any, w: Any, x: Any, out: Any) -> Any:
    """bitmask_lanes(mask, chunks, tail, w, x, out): address behind the f32 values of a row. AVX-512 only.

    Puts to `out` the 16 lanes: in rising chunks, w * x is added to the lanes whose bit is set. 16 f32 of x at `x` for each chunk.
    One more chunk has the mask `tail`. Reads up to 64 bytes behind the values.
    """
    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        mask, chunks, tail, w, x, out = arguments
        kind = ir.VectorType(F32, 16)
        lanes, place = alloca_once(builder, kind), alloca_once(builder, I64)
        builder.store(ir.Constant(kind, [0.0] * 16), lanes)
        builder.store(w, place)

        def chunk(number: Any, word: Any) -> None:
            at, before = builder.load(place), builder.load(lanes)
            values = builder.bitcast(expanded(builder, 4, word, at).value, kind)
            activations = builder.load(pointer(builder, builder.add(x, builder.mul(number, I64(SIZE))), kind))
            activations.align = 1
            bits = builder.bitcast(builder.trunc(word, ir.IntType(16)), ir.VectorType(I1, 16))
            after = builder.fadd(before, builder.fmul(values, activations))
            builder.store(builder.select(bits, after, before), lanes)
            builder.store(builder.add(at, builder.mul(call(builder, "llvm.ctpop.i64", I64, [word]), I64(4))), place)

        with for_range(builder, chunks, intp=I64) as loop:
            prefetch(builder, builder.add(builder.load(place), I64(AHEAD)))
            word = builder.load(pointer(builder, builder.add(mask, builder.mul(loop.index, I64(2))), ir.IntType(16)))
            word.align = 1
            chunk(loop.index, builder.zext(word, I64))
        with builder.if_then(builder.icmp_signed("!=", tail, I64(0))):
            chunk(chunks, tail)
        builder.store(builder.load(lanes), pointer(builder, out, kind)).align = 1
        return builder.load(place)
    return types.int64(*[types.int64] * 6), emit
