"""What numba has besides its public interface, for functions that emit LLVM code by hand (intrinsics) and for types of our own.

`alloca_once`, `for_range`, `get_or_insert_function` and `memset` are numba's. So are the templates: through them an operator learns
a new type. A `Closure` is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.cgutils import alloca_once as alloca_once
from numba.core.cgutils import for_range as for_range
from numba.core.cgutils import get_or_insert_function as get_or_insert_function
from numba.core.cgutils import memset as memset
from numba.core.typing.templates import AbstractTemplate as AbstractTemplate
from numba.core.typing.templates import infer_global as infer_global
from numba.core.typing.templates import signature as signature

WORD, BIT = ir.IntType(64), ir.IntType(1)


class Closure:
    """A function that numba compiles, function(first, last, *given), as one that takes the address of what is given, first, last.

    `given` are numba's types; the numbers in the source among them are constants in the code.
    """

    def __init__(self, typing: Any, function: Any, given: Sequence[Any]) -> None:
        self.function, self.given = function, given
        self.kinds = (types.int64, types.int64, *given)
        typing.resolve_function_type(function, self.kinds, {})          # compiles it
        self.passed = [i for i, kind in enumerate(given) if not isinstance(kind, types.Literal)]

    def emit(self, context: Any, builder: Any, together: Any) -> tuple[Any, Any]:
        """(the function, whose result is False if it raises; host address of its arguments), from a tuple of them."""
        arguments = cgutils.unpack_tuple(builder, together)
        struct = ir.LiteralStructType([arguments[i].type for i in self.passed])
        place = cgutils.alloca_once(builder, struct)
        for at, i in enumerate(self.passed):
            builder.store(arguments[i], cgutils.gep_inbounds(builder, place, 0, at))

        compiled = self.function.dispatcher.get_compile_result(types.none(*self.kinds))
        context.active_code_library.add_linking_library(compiled.library)
        part = ir.Function(builder.module, ir.FunctionType(BIT, [WORD] * 3), builder.module.get_unique_name("part"))
        part.linkage = "internal"
        inside = ir.IRBuilder(part.append_basic_block())
        there = inside.inttoptr(part.args[0], struct.as_pointer())
        own = [context.get_constant(types.int64, kind.literal_value) if isinstance(kind, types.Literal) else None
               for kind in self.given]
        for at, i in enumerate(self.passed):
            own[i] = inside.load(cgutils.gep_inbounds(inside, there, 0, at))
        body = context.declare_function(builder.module, compiled.fndesc)
        status, _ = context.call_conv.call_function(inside, body, types.none, self.kinds, [part.args[1], part.args[2], *own])
        inside.ret(status.is_ok)
        return part, builder.ptrtoint(place, WORD)


def constant_array(builder: Any, name: str, element: Any, values: Sequence[int]) -> Any:
    """Host address of an array of integers that is part of the code, once in each module."""
    kind = ir.ArrayType(element, len(values))
    known = builder.module.globals.get(name)
    if known is None:
        known = ir.GlobalVariable(builder.module, kind, name)
        known.linkage, known.global_constant, known.initializer = "internal", True, ir.Constant(kind, list(values))
        known.align = 64            # rows of 64 bytes are cache lines
    return builder.ptrtoint(known, WORD)
