"""The few operations that numba does not have: memory and calls by address, high halves of products, atomic operations.

Addresses are host addresses in int64. Loads and stores need no alignment. Nothing is checked here: callers have checked.
"""

from __future__ import annotations

from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic

from emulator.native.emitting import get_or_insert_function, memset


@intrinsic  # type: ignore[untyped-decorator]
def load(typing: Any, address: Any, dtype: Any) -> Any:
    """`load(address, np.float32)`: the value of that type at a host address."""
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = builder.load(builder.inttoptr(arguments[0], context.get_data_type(dtype.dtype).as_pointer()))
        value.align = 1
        return value
    return dtype.dtype(types.int64, dtype), emit


@intrinsic  # type: ignore[untyped-decorator]
def store(typing: Any, address: Any, value: Any) -> Any:
    """Put a value of its own type at a host address."""
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], context.get_data_type(value).as_pointer())
        builder.store(arguments[1], pointer).align = 1
        return context.get_dummy_value()
    return types.void(types.int64, value), emit


@intrinsic  # type: ignore[untyped-decorator]
def call(typing: Any, function: Any, a: Any, b: Any, c: Any, d: Any, context_block: Any) -> Any:
    """Call the kernel at a host address."""
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(64)
        pointer = builder.inttoptr(arguments[0], ir.FunctionType(word, [word] * 5).as_pointer())
        return builder.call(pointer, arguments[1:])
    return types.int64(*[types.int64] * 6), emit


def _high(extend_a: str, extend_b: str) -> Any:
    """The upper 64 bits of a 64 x 64 bit product, each factor sign- ("sext") or zero-extended ("zext")."""
    @intrinsic  # type: ignore[untyped-decorator]
    def high(typing: Any, a: Any, b: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            wide = ir.IntType(128)
            product = builder.mul(getattr(builder, extend_a)(arguments[0], wide), getattr(builder, extend_b)(arguments[1], wide))
            return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))
        return types.int64(types.int64, types.int64), emit
    return high


high_signed = _high("sext", "sext")
high_mixed = _high("sext", "zext")
high_unsigned = _high("zext", "zext")


@intrinsic  # type: ignore[untyped-decorator]
def array(typing: Any, address: Any, dtype: Any, length: Any) -> Any:
    """`array(address, np.float32, n)`: the n elements at a host address as a one-dimensional array. A view, not a copy."""
    kind = types.Array(dtype.dtype, 1, "C")

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        from numba.np.arrayobj import make_array, populate_array
        view = make_array(kind)(context, builder)
        size = context.get_abi_sizeof(context.get_data_type(dtype.dtype))
        populate_array(view, data=builder.inttoptr(arguments[0], view.data.type), shape=[arguments[2]],
                       strides=[context.get_constant(types.intp, size)],
                       itemsize=context.get_constant(types.intp, size), meminfo=None)
        return view._getvalue()
    return kind(types.int64, dtype, types.int64), emit


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def on_stack(typing: Any, size: Any) -> Any:
    """Host address of `size` bytes, a constant, at a multiple of 64: they live as long as the function, and are always there."""
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        with builder.goto_entry_block():
            room = builder.alloca(ir.ArrayType(ir.IntType(8), size.literal_value))
        room.align = 64
        return builder.ptrtoint(room, ir.IntType(64))
    return types.int64(size), emit


@intrinsic  # type: ignore[untyped-decorator]
def move(typing: Any, destination: Any, source: Any, size: Any) -> Any:
    """Copy `size` bytes between host addresses. They may overlap."""
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        byte = ir.IntType(8).as_pointer()
        function = builder.module.declare_intrinsic("llvm.memmove", [byte, byte, ir.IntType(64)])
        builder.call(function, [builder.inttoptr(arguments[0], byte), builder.inttoptr(arguments[1], byte), arguments[2],
                                ir.Constant(ir.IntType(1), 0)])
        return context.get_dummy_value()
    return types.void(*[types.int64] * 3), emit


@intrinsic  # type: ignore[untyped-decorator]
def ones(typing: Any, word: Any) -> Any:
    """How many bits of an integer are 1."""
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])
    return word(word), emit


@intrinsic  # type: ignore[untyped-decorator]
def lowest(typing: Any, word: Any) -> Any:
    """The position of the lowest 1 bit of an integer, which must not be 0."""
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))
    return word(word), emit


@intrinsic  # type: ignore[untyped-decorator]
def clear_bytes(typing: Any, target: Any, size: Any) -> Any:
    """Set `size` bytes at a host address to zero."""
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        memset(builder, builder.inttoptr(arguments[0], ir.IntType(8).as_pointer()), arguments[1], 0)
        return context.get_dummy_value()
    return types.void(types.int64, types.int64), emit


# ------------------------------------------------------------------------------------------------ between threads


def _atomic(operation: Any, result: Any, arguments: int) -> Any:
    """An operation on the int64 at a host address, given as a function of a builder, a pointer and the other arguments."""
    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return operation(builder, builder.inttoptr(values[0], ir.IntType(64).as_pointer()), *values[1:])
    return result(*[types.int64] * arguments), emit


@intrinsic  # type: ignore[untyped-decorator]
def atomic_load(typing: Any, address: Any) -> Any:
    """The int64 at an aligned host address, as another thread stored it."""
    return _atomic(lambda builder, place: builder.load_atomic(place, "seq_cst", 8), types.int64, 1)


@intrinsic  # type: ignore[untyped-decorator]
def atomic_store(typing: Any, address: Any, value: Any) -> Any:
    """Put an int64 to an aligned host address, behind all that this thread has stored before."""
    def operation(builder: Any, place: Any, value: Any) -> Any:
        builder.store_atomic(value, place, "seq_cst", 8)
        return ir.Constant(ir.IntType(8).as_pointer(), None)
    return _atomic(operation, types.none, 2)


@intrinsic  # type: ignore[untyped-decorator]
def atomic_add(typing: Any, address: Any, value: Any) -> Any:
    """Add to the int64 at an aligned host address. Returns what it was."""
    return _atomic(lambda builder, place, value: builder.atomic_rmw("add", place, value, "seq_cst"), types.int64, 2)


@intrinsic  # type: ignore[untyped-decorator]
def exchange_if(typing: Any, address: Any, expected: Any, value: Any) -> Any:
    """Replace the int64 at an aligned host address if it is the expected one. True if it was."""
    def operation(builder: Any, place: Any, expected: Any, value: Any) -> Any:
        return builder.extract_value(builder.cmpxchg(place, expected, value, "seq_cst"), 1)
    return _atomic(operation, types.boolean, 3)


@intrinsic  # type: ignore[untyped-decorator]
def pause(typing: Any) -> Any:
    """A moment's rest in a loop that waits for another thread."""
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if binding.get_process_triple().startswith("x86_64"):
            function = get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), []), "llvm.x86.sse2.pause")
            builder.call(function, [])
        return context.get_dummy_value()
    return types.void(), emit
