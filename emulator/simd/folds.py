"""Across lanes: what moves values from lane to lane, and the folds that make one number of sixteen."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from emulator.native.inlining import inline
from emulator.simd.bytes64 import Vector, dot
from emulator.simd.lanes import COUNT, I32, MASK, WORDS, constant, sixteen, where


def _shuffle(indices: Iterable[int]) -> Any:
    """A function (a, b) -> lanes chosen from a (0..15) and b (16..31)."""
    chosen = list(indices)

    @intrinsic  # type: ignore[untyped-decorator]
    def shuffle(typing: Any, a: Any, b: Any) -> Any:
        def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
            return builder.shuffle_vector(*arguments, constant(I32, chosen))
        return a(a, b), emit
    return shuffle


even, odd = _shuffle(range(0, 32, 2)), _shuffle(range(1, 32, 2))
merged_low, merged_high = (_shuffle(i + COUNT * second for i in lanes for second in (0, 1)) for lanes in (range(8), range(8, 16)))

# For folding: the lower, and the upper, halves of each group of 16, 8, 4, 2 lanes of a and then of b.
_GROUPS = {size: [range(start, start + size // 2) for start in range(0, 32, size)] for size in (16, 8, 4, 2)}
low16, low8, low4, low2 = (_shuffle(i for group in groups for i in group) for groups in _GROUPS.values())
high16, high8, high4, high2 = (_shuffle(i + len(group) for group in groups for i in group) for groups in _GROUPS.values())


@intrinsic  # type: ignore[untyped-decorator]
def words_of(typing: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """Four times 16 bytes as int32 lanes that hold one byte of each, a's lowest."""
    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        def indices(values: Iterable[int]) -> Any:
            chosen = list(values)
            return ir.Constant(ir.VectorType(I32, len(chosen)), chosen)
        first, second = (builder.shuffle_vector(*pair, indices(range(32))) for pair in (arguments[:2], arguments[2:]))
        woven = builder.shuffle_vector(first, second, indices(COUNT * part + i for i in range(COUNT) for part in range(4)))
        return builder.bitcast(woven, sixteen(I32))
    return WORDS(a, a, a, a), emit


@intrinsic  # type: ignore[untyped-decorator]
def lane_0(typing: Any, value: Any) -> Any:
    """The scalar in lane 0."""
    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return builder.extract_element(arguments[0], ir.Constant(I32, 0))
    return value.element(value), emit


def _put_first(count: int) -> Any:
    """Store lanes 0 to `count` - 1 at a host address, of any alignment. Some processors take long for a store with a mask."""
    @intrinsic  # type: ignore[untyped-decorator]
    def put_first(typing: Any, address: Any, value: Any) -> Any:
        def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
            lanes = arguments[1]
            first = builder.shuffle_vector(lanes, lanes, ir.Constant(ir.VectorType(I32, count), list(range(count))))
            builder.store(first, builder.inttoptr(arguments[0], first.type.as_pointer())).align = 1
            return context.get_dummy_value()
        return types.void(types.int64, value), emit
    return put_first


put_four, put_eight = _put_first(4), _put_first(8)


@intrinsic  # type: ignore[untyped-decorator]
def any_lane(typing: Any, mask: Any) -> Any:
    """True if the mask is set in some lane."""
    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        bits = builder.bitcast(arguments[0], ir.IntType(COUNT))
        return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))
    return types.boolean(MASK), emit


@inline
def quarters(a: Any, b: Any, c: Any, d: Any) -> Any:
    """Four times 16 lanes, added up 16 -> 8 -> 4: four lanes of each, a's first. What a fold begins with."""
    p, q = low16(a, b) + high16(a, b), low16(c, d) + high16(c, d)
    return low8(p, q) + high8(p, q)


@inline
def fold8(p: Any, q: Any) -> Any:
    """The sums of eight times 16 lanes, of which p and q are the quarters: in lanes 0 to 7."""
    p = low4(p, q) + high4(p, q)
    return low2(p, p) + high2(p, p)


@inline
def fold4(a: Any, b: Any, c: Any, d: Any) -> Any:
    """The sums of four times 16 lanes in the machine's order, 16 -> 8 -> 4 -> 2 -> 1: in lanes 0 to 3."""
    p = quarters(a, b, c, d)
    return fold8(p, p)


@inline
def fold(v: Any) -> Any:
    """The sum of 16 lanes in the machine's order, 16 -> 8 -> 4 -> 2 -> 1."""
    return lane_0(fold4(v, v, v, v))


@inline
def fold_largest(v: Any) -> Any:
    """The largest of 16 lanes that hold no NaN."""
    v = where(low16(v, v) > high16(v, v), low16(v, v), high16(v, v))
    v = where(low8(v, v) > high8(v, v), low8(v, v), high8(v, v))
    v = where(low4(v, v) > high4(v, v), low4(v, v), high4(v, v))
    return lane_0(where(low2(v, v) > high2(v, v), low2(v, v), high2(v, v)))


@inline
def fold_smallest(v: Any) -> Any:
    """The smallest of 16 lanes that hold no NaN."""
    v = where(low16(v, v) < high16(v, v), low16(v, v), high16(v, v))
    v = where(low8(v, v) < high8(v, v), low8(v, v), high8(v, v))
    v = where(low4(v, v) < high4(v, v), low4(v, v), high4(v, v))
    return lane_0(where(low2(v, v) < high2(v, v), low2(v, v), high2(v, v)))


@intrinsic  # type: ignore[untyped-decorator]
def dot_bytes(typing: Any, sums: Any, u: Any, s: Any) -> Any:
    """sums + for each lane the sum of the products of its four bytes, unsigned in u and signed in s. All int32 lanes; wraps."""
    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return dot(*(Vector(builder, value) for value in arguments), largest=255).of(I32)
    return WORDS(WORDS, WORDS, WORDS), emit
