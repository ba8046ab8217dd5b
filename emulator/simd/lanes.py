"""Sixteen lanes as one value: the vectors in which kernels compute.

    v = take(address, np.float32)           # 16 values of memory; take_part(address, np.float32, n, 0): the first n, then zeros
    put(address, where(v < ZERO, ZERO, v))  # scalars spread over the lanes

A `Lanes` is one LLVM vector, and LLVM makes of it what the host has: a register of AVX-512, two of AVX2, four of SSE or NEON.
The instructions are IEEE's and strict, so results are the same bits everywhere. 16 lanes are also what the machine's sums
have (`fold`, isa/arithmetic.py). Element types: float32, int32, uint32, int16, uint16, int8, uint8; boolean for comparisons.

+ - * / and comparisons work lane by lane, << >> & | ^ on integers; a scalar operand is converted to the element type.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, lower_builtin, lower_cast, models, register_model

from emulator.native.emitting import AbstractTemplate, get_or_insert_function, infer_global, signature
from emulator.native.inlining import inline

COUNT = 16
I32 = ir.IntType(32)


class Lanes(types.Type):  # type: ignore[misc]
    """The numba type of 16 values of one type."""

    def __init__(self, element: Any) -> None:
        self.element = element
        super().__init__(name=f"Lanes({element})")


FLOATS, WORDS, BITS, MASK = (Lanes(t) for t in (types.float32, types.int32, types.uint32, types.boolean))


def _element(kind: Any) -> Any:
    if kind == types.float32:
        return ir.FloatType()
    return ir.IntType(1 if kind == types.boolean else kind.bitwidth)


def sixteen(element: Any) -> Any:
    """LLVM's type of 16 elements."""
    return ir.VectorType(element, COUNT)


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, sixteen(_element(kind.element)))


def constant(element: Any, values: Iterable[Any]) -> Any:
    """16 given values of LLVM's element type."""
    return ir.Constant(sixteen(element), list(values))


def _spread(builder: Any, value: Any) -> Any:
    """The same value in all lanes."""
    if isinstance(value, ir.Constant):
        return constant(value.type, [value.constant] * COUNT)
    empty = ir.Constant(sixteen(value.type), ir.Undefined)
    first = builder.insert_element(empty, value, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, empty, constant(I32, [0] * COUNT))


@lower_cast(types.Number, Lanes)
@lower_cast(types.Boolean, Lanes)
def _scalar_to_lanes(context: Any, builder: Any, source: Any, target: Any, value: Any) -> Any:
    return _spread(builder, context.cast(builder, value, source, target.element))


# ------------------------------------------------------------------------------------------------ operators


def _operator(function: Any, on_floats: str, on_signed: str, on_unsigned: str) -> None:
    """Define a binary operator by the names of llvmlite's builder methods ("<" for a comparison with it, "" for none)."""
    compares = on_signed in ("<", "<=", "==", "!=", ">", ">=")

    @infer_global(function)
    class Template(AbstractTemplate):  # type: ignore[misc]
        def generic(self, args: Any, kws: Any) -> Any:
            kind = next((arg for arg in args if isinstance(arg, Lanes)), None)
            if kind is None or any(arg != kind and not isinstance(arg, types.Number) for arg in args):
                return None
            return signature(MASK if compares else kind, kind, kind)

    @lower_builtin(function, Lanes, Lanes)
    def lower(context: Any, builder: Any, kinds: Any, arguments: Any) -> Any:
        element = kinds.args[0].element
        if compares:
            if element == types.float32:
                method = builder.fcmp_unordered if on_floats == "!=" else builder.fcmp_ordered
            else:
                method = builder.icmp_signed if getattr(element, "signed", False) else builder.icmp_unsigned
            return method(on_signed, *arguments)
        name = on_floats if element == types.float32 else on_signed if getattr(element, "signed", False) else on_unsigned
        return getattr(builder, name)(*arguments)


for _function, *_names in (
        #                  float32  signed  unsigned
        (operator.add,     "fadd",  "add",  "add"),
        (operator.sub,     "fsub",  "sub",  "sub"),
        (operator.mul,     "fmul",  "mul",  "mul"),
        (operator.truediv, "fdiv",  "",     ""),
        (operator.and_,    "",      "and_", "and_"),
        (operator.or_,     "",      "or_",  "or_"),
        (operator.xor,     "",      "xor",  "xor"),
        (operator.lshift,  "",      "shl",  "shl"),
        (operator.rshift,  "",      "ashr", "lshr"),
        (operator.lt,      "<",     "<",    "<"),
        (operator.le,      "<=",    "<=",   "<="),
        (operator.gt,      ">",     ">",    ">"),
        (operator.ge,      ">=",    ">=",   ">="),
        (operator.eq,      "==",    "==",   "=="),
        (operator.ne,      "!=",    "!=",   "!=")):
    _operator(_function, *_names)


# ------------------------------------------------------------------------------------------------ memory


def _pointer(builder: Any, address: Any, kind: Any) -> Any:
    return builder.inttoptr(address, kind.as_pointer())


def _within(builder: Any, count: Any) -> Any:
    """`count`, at most 16 and at least 0, so that it keeps its meaning in 32 bits."""
    low, high = ir.Constant(count.type, 0), ir.Constant(count.type, COUNT)
    count = builder.select(builder.icmp_signed("<", count, high), count, high)
    return builder.select(builder.icmp_signed(">", count, low), count, low)


def _first(builder: Any, count: Any) -> Any:
    """Mask of the first `count` lanes; any count: none below 1, all above 15."""
    limited = builder.trunc(_within(builder, count), I32)
    return builder.icmp_signed("<", constant(I32, range(COUNT)), _spread(builder, limited))


@intrinsic  # type: ignore[untyped-decorator]
def take(typing: Any, address: Any, dtype: Any) -> Any:
    """`take(address, np.float32)`: 16 values from a host address, of any alignment."""
    kind = Lanes(dtype.dtype)

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        value = builder.load(_pointer(builder, arguments[0], sixteen(_element(kind.element))))
        value.align = 1
        return value
    return kind(types.int64, dtype), emit


@intrinsic  # type: ignore[untyped-decorator]
def put(typing: Any, address: Any, value: Any) -> Any:
    """Store 16 values at a host address, of any alignment."""
    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        builder.store(arguments[1], _pointer(builder, arguments[0], arguments[1].type)).align = 1
        return context.get_dummy_value()
    return types.void(types.int64, value), emit


def _suffix(element: Any) -> str:
    return f"v{COUNT}{'f32' if isinstance(element, ir.FloatType) else f'i{element.width}'}"


@intrinsic  # type: ignore[untyped-decorator]
def take_part(typing: Any, address: Any, dtype: Any, count: Any, rest: Any) -> Any:
    """The first `count` of 16 values from a host address, `rest` in the other lanes; nothing behind them is read."""
    kind = Lanes(dtype.dtype)

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        element = _element(kind.element)
        vector = sixteen(element)
        pointer = _pointer(builder, arguments[0], vector)
        function = get_or_insert_function(
            builder.module, ir.FunctionType(vector, [pointer.type, I32, sixteen(ir.IntType(1)), vector]),
            f"llvm.masked.load.{_suffix(element)}.p0")
        return builder.call(function, [pointer, ir.Constant(I32, 1), _first(builder, arguments[2]), arguments[3]])
    return kind(types.int64, dtype, types.int64, kind), emit


@intrinsic  # type: ignore[untyped-decorator]
def put_part(typing: Any, address: Any, value: Any, count: Any) -> Any:
    """Store the first `count` of 16 values at a host address; nothing behind them is written."""
    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        vector = arguments[1].type
        pointer = _pointer(builder, arguments[0], vector)
        function = get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [vector, pointer.type, I32, sixteen(ir.IntType(1))]),
            f"llvm.masked.store.{_suffix(vector.element)}.p0")
        builder.call(function, [arguments[1], pointer, ir.Constant(I32, 1), _first(builder, arguments[2])])
        return context.get_dummy_value()
    return types.void(types.int64, value, types.int64), emit


@intrinsic  # type: ignore[untyped-decorator]
def ask_for(typing: Any, address: Any) -> Any:
    """Have the cache line at a host address come to the second-level cache. A hint: any address is allowed."""
    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        pointer = _pointer(builder, arguments[0], ir.IntType(8))
        function = get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [pointer.type, I32, I32, I32]), "llvm.prefetch.p0")
        builder.call(function, [pointer, *(ir.Constant(I32, value) for value in (0, 2, 1))])      # to read, second level, data
        return context.get_dummy_value()
    return types.void(types.int64), emit


@inline
def take_up_to(address: Any, dtype: Any, left: Any, rest: Any) -> Any:
    """16 values from a host address, or as many as are left and `rest` in the other lanes."""
    return take(address, dtype) if left >= COUNT else take_part(address, dtype, left, rest)


@inline
def put_up_to(address: Any, value: Any, left: Any) -> None:
    """Store 16 values at a host address, or as many as are left."""
    if left >= COUNT:
        put(address, value)
    else:
        put_part(address, value, left)


@intrinsic  # type: ignore[untyped-decorator]
def first_lanes(typing: Any, count: Any) -> Any:
    """Mask of the first `count` lanes."""
    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return _first(builder, arguments[0])
    return MASK(types.int64), emit


# ------------------------------------------------------------------------------------------------ lane by lane


@intrinsic  # type: ignore[untyped-decorator]
def spread(typing: Any, value: Any) -> Any:
    """A scalar in all 16 lanes."""
    kind = Lanes(value)

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return _spread(builder, arguments[0])
    return kind(value), emit


@intrinsic  # type: ignore[untyped-decorator]
def lane_numbers(typing: Any) -> Any:
    """0, 1, ... 15 as int32."""
    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return constant(I32, range(COUNT))
    return WORDS(), emit


@intrinsic  # type: ignore[untyped-decorator]
def where(typing: Any, mask: Any, a: Any, b: Any) -> Any:
    """a where the mask is set, else b. One of a and b may be a scalar."""
    kind = a if isinstance(a, Lanes) else b

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return builder.select(*arguments)
    return kind(MASK, kind, kind), emit


def _by_llvm(name: str) -> Any:
    """A function of LLVM on 16 floats."""
    @intrinsic  # type: ignore[untyped-decorator]
    def function(typing: Any, value: Any) -> Any:
        def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
            vector = arguments[0].type
            declared = get_or_insert_function(builder.module, ir.FunctionType(vector, [vector]),
                                                      f"llvm.{name}.{_suffix(vector.element)}")
            return builder.call(declared, arguments)
        return FLOATS(FLOATS), emit
    return function


magnitude = _by_llvm("fabs")
square_root = _by_llvm("sqrt")
round_even = _by_llvm("rint")          # in the rounding mode of the host: nearest even


@intrinsic  # type: ignore[untyped-decorator]
def same_bits(typing: Any, value: Any, dtype: Any) -> Any:
    """The bits of a value as another type of the same size, e.g. np.int32 of float32: of 16 lanes or of a scalar."""
    is_lanes = isinstance(value, Lanes)
    target = Lanes(dtype.dtype) if is_lanes else dtype.dtype

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        element = _element(dtype.dtype)
        return builder.bitcast(arguments[0], sixteen(element) if is_lanes else element)
    return target(value, dtype), emit


@intrinsic  # type: ignore[untyped-decorator]
def convert(typing: Any, value: Any, dtype: Any) -> Any:
    """Values as another type: integers wrap or extend, to floats round to nearest even, from floats must be in range."""
    source, target = value.element, dtype.dtype

    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        vector = sixteen(_element(target))
        if source == types.float32:
            return (builder.fptosi if target.signed else builder.fptoui)(arguments[0], vector)
        if target == types.float32:
            return (builder.sitofp if source.signed else builder.uitofp)(arguments[0], vector)
        if target.bitwidth < source.bitwidth:
            return builder.trunc(arguments[0], vector)
        if target.bitwidth == source.bitwidth:
            return arguments[0]
        return (builder.sext if source.signed else builder.zext)(arguments[0], vector)
    return Lanes(target)(value, dtype), emit


@intrinsic  # type: ignore[untyped-decorator]
def half_to_float(typing: Any, value: Any) -> Any:
    """binary16, as its bits, to float32: exact. The host must be able to."""
    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return builder.fpext(builder.bitcast(arguments[0], sixteen(ir.HalfType())), sixteen(ir.FloatType()))
    return FLOATS(value), emit


@intrinsic  # type: ignore[untyped-decorator]
def float_to_half(typing: Any, value: Any) -> Any:
    """float32 to the bits of binary16, nearest even. The host must be able to."""
    def emit(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return builder.bitcast(builder.fptrunc(arguments[0], sixteen(ir.HalfType())), sixteen(ir.IntType(16)))
    return Lanes(types.uint16)(value), emit
