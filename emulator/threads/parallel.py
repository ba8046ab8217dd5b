"""One large operation on several threads.

    if not in_parallel(block, work, rows, grain, some_rows, W, x, y):
        return PUNT

calls some_rows(first, last, W, x, y) for ranges that together are 0..rows, on this thread and on the workers of the machine's
pool (emulator/threads/pool.py), and returns when all is done. Which thread gets which range is not known. So the function writes
only what belongs to its range, and adds events up with `add_events`. Small work, and all work of a machine without a pool, is one
call.

Such functions, and those behind them, take numbers alone, often more than ten: each is copied for the workers, and a number that is
written in the source is a constant in the machine code. A record would be neither.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from emulator.native.block import POOL
from emulator.native.emitting import BIT, WORD, Closure, alloca_once
from emulator.native.inlining import inline
from emulator.native.machine_code import atomic_add


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def in_parallel(typing: Any, block: Any, work: Any, rows: Any, grain: Any, function: Any, *given: Any) -> Any:
    """function(first, last, *given) for ranges of 0..rows that begin at multiples of `grain`. True if all went well.

    work: about as many bytes of operands as this reads, writes or computes. The function is compiled by njit, the numbers in the
    source among the arguments are constants in it.
    """
    closure = Closure(typing, function, given)

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        block, work, rows, grain, _, together = values
        part, where = closure.emit(context, builder, together)

        def word_at(address: Any) -> Any:
            return builder.load(builder.inttoptr(address, WORD.as_pointer()))

        pool, done = word_at(builder.add(block, WORD(8 * POOL))), alloca_once(builder, BIT)
        with builder.if_else(builder.icmp_signed("!=", pool, WORD(0))) as (shared, alone):
            with shared:
                share = builder.inttoptr(word_at(pool), ir.FunctionType(BIT, [WORD] * 6).as_pointer())
                builder.store(builder.call(share, [pool, work, builder.ptrtoint(part, WORD), where, rows, grain]), done)
            with alone:
                builder.store(builder.call(part, [where, WORD(0), rows]), done)
        return builder.load(done)
    return types.boolean(types.int64, types.int64, types.int64, types.int64, function, types.StarArgTuple(given)), emit


@inline
def add_events(total, events):
    """Add events of a part to those of the operation, an int64 array of the same length at an address."""
    for i in range(len(events)):
        atomic_add(total + 8 * i, events[i])
