"""Words of memory: int64 numbers from a host address on, that compiled code reads and writes as an array, and nothing more.

An array of numba looks at each index, for a negative one counts from the end. Indices of rules are never negative, and rules do
little else than index. Without that look the clock is several times as fast.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, lower_builtin, models, register_model

from emulator.native.emitting import WORD, AbstractTemplate, infer_global, signature


class Words(types.Type):  # type: ignore[misc]
    """The numba type of integers at an address, with t[i] as int64. Those of 64 bits also have t[i] = value, t[n:], and
    t[i:j] = t[n:m], which copies j - i of them."""

    def __init__(self, bits: int) -> None:
        self.bits = bits
        super().__init__(f"words of {bits} bits")


INT64, UINT32 = Words(64), Words(32)


@register_model(Words)
class _WordsModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, WORD)


@intrinsic  # type: ignore[untyped-decorator]
def words(typing: Any, address: Any) -> Any:
    """`words(address)`: the int64 at an aligned host address, and those behind it."""
    return INT64(types.int64), lambda context, builder, kinds, arguments: arguments[0]


@intrinsic  # type: ignore[untyped-decorator]
def numbers(typing: Any, address: Any) -> Any:
    """`numbers(address)`: the uint32 at any host address, and those behind it, to be read."""
    return UINT32(types.int64), lambda context, builder, kinds, arguments: arguments[0]


@infer_global(operator.getitem)
class _Get(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        if isinstance(args[0], Words) and isinstance(args[1], types.Integer):
            return signature(types.int64, args[0], types.int64)
        if args == (INT64, types.slice2_type):
            return signature(INT64, *args)
        return None


@infer_global(operator.setitem)
class _Set(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        if args[0] == INT64 and isinstance(args[1], types.Integer):
            return signature(types.none, INT64, types.int64, types.int64)
        if args == (INT64, types.slice2_type, INT64):
            return signature(types.none, *args)
        return None


def _place(builder: Any, address: Any, index: Any, bits: int = 64) -> Any:
    return builder.gep(builder.inttoptr(address, ir.IntType(bits).as_pointer()), [index], inbounds=True)


@lower_builtin(operator.getitem, Words, types.Integer)  # type: ignore[untyped-decorator]
def _get(context: Any, builder: Any, kinds: Any, arguments: Any) -> Any:
    bits = kinds.args[0].bits
    value = builder.load(_place(builder, arguments[0], arguments[1], bits))
    if bits == 64:
        return value
    value.align = 1
    return builder.zext(value, WORD)


@lower_builtin(operator.getitem, Words, types.slice2_type)  # type: ignore[untyped-decorator]
def _behind(context: Any, builder: Any, kinds: Any, arguments: Any) -> Any:
    start = context.make_helper(builder, types.slice2_type, value=arguments[1]).start
    return builder.ptrtoint(_place(builder, arguments[0], start), WORD)


@lower_builtin(operator.setitem, Words, types.Integer, types.int64)  # type: ignore[untyped-decorator]
def _set(context: Any, builder: Any, kinds: Any, arguments: Any) -> Any:
    builder.store(arguments[2], _place(builder, arguments[0], arguments[1]))
    return context.get_dummy_value()


@lower_builtin(operator.setitem, Words, types.slice2_type, Words)  # type: ignore[untyped-decorator]
def _copy(context: Any, builder: Any, kinds: Any, arguments: Any) -> Any:
    part = context.make_helper(builder, types.slice2_type, value=arguments[1])
    byte = ir.IntType(8).as_pointer()
    function = builder.module.declare_intrinsic("llvm.memmove", [byte, byte, WORD])
    builder.call(function, [builder.bitcast(_place(builder, arguments[0], part.start), byte), builder.inttoptr(arguments[2], byte),
                            builder.mul(builder.sub(part.stop, part.start), ir.Constant(WORD, 8)), ir.Constant(ir.IntType(1), 0)])
    return context.get_dummy_value()
