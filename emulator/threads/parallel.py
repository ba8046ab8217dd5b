"""One large operation on several threads.

    if not in_parallel(block, work, rows, grain, some_rows, W, x, y):
        return PUNT

calls some_rows(first, last, W, x, y) for ranges that together are 0..rows, on this thread and on the workers of the machine's
pool (emulator/threads/pool.py), and returns when all is done. Which thread gets which range is chance, so a function writes what is
its range's alone, and adds events up with `add_events`. Small work, and all work of a machine without a pool, is one call.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from emulator.kernel_words import POOL, leaf
from emulator.native.machine_code import atomic_add


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def in_parallel(typing: Any, block: Any, work: Any, rows: Any, grain: Any, function: Any, *given: Any) -> Any:
    """function(first, last, *given) for ranges of 0..rows that begin at multiples of `grain`. True if all went well.

    work: about as many bytes of operands as this reads, writes or computes. The function is compiled by njit, the numbers in the
    source among the arguments are constants in it.
    """
    kinds = (types.int64, types.int64, *given)
    typing.resolve_function_type(function, kinds, {})
    passed = [i for i, kind in enumerate(given) if not isinstance(kind, types.Literal)]

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        block, work, rows, grain, _, together = values
        arguments = cgutils.unpack_tuple(builder, together)
        word, bit = ir.IntType(64), ir.IntType(1)
        struct = ir.LiteralStructType([arguments[i].type for i in passed])
        place = cgutils.alloca_once(builder, struct)
        for at, i in enumerate(passed):
            builder.store(arguments[i], cgutils.gep_inbounds(builder, place, 0, at))

        compiled = function.dispatcher.get_compile_result(types.none(*kinds))
        context.active_code_library.add_linking_library(compiled.library)
        part = ir.Function(builder.module, ir.FunctionType(bit, [word] * 3), builder.module.get_unique_name("part"))
        part.linkage = "internal"
        inside = ir.IRBuilder(part.append_basic_block())
        there = inside.inttoptr(part.args[0], struct.as_pointer())
        own = [context.get_constant(types.int64, kind.literal_value) if isinstance(kind, types.Literal) else None for kind in given]
        for at, i in enumerate(passed):
            own[i] = inside.load(cgutils.gep_inbounds(inside, there, 0, at))
        body = context.declare_function(builder.module, compiled.fndesc)
        status, _ = context.call_conv.call_function(inside, body, types.none, kinds, [part.args[1], part.args[2], *own])
        inside.ret(status.is_ok)

        def word_at(address: Any) -> Any:
            return builder.load(builder.inttoptr(address, word.as_pointer()))

        pool, where = word_at(builder.add(block, ir.Constant(word, 8 * POOL))), builder.ptrtoint(place, word)
        done = cgutils.alloca_once(builder, bit)
        with builder.if_else(builder.icmp_signed("!=", pool, ir.Constant(word, 0))) as (shared, alone):
            with shared:
                share = builder.inttoptr(word_at(pool), ir.FunctionType(bit, [word] * 6).as_pointer())
                builder.store(builder.call(share, [pool, work, builder.ptrtoint(part, word), where, rows, grain]), done)
            with alone:
                builder.store(builder.call(part, [where, ir.Constant(word, 0), rows]), done)
        return builder.load(done)
    return types.boolean(types.int64, types.int64, types.int64, types.int64, function, types.StarArgTuple(given)), emit


@leaf
def add_events(total, events):
    """Add events of a part to those of the operation, an int64 array of the same length at an address."""
    for i in range(len(events)):
        atomic_add(total + 8 * i, events[i])
