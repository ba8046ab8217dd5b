"""From operations of the graph to instructions, one file for each unit, named as in isa/units.

A function lowers one kind of operation:

    @lowers("bias")
    def bias(c, op): ... c.emit.op("vec.add.f32", symbol(result), symbol(x), b, c.length(result), reads=..., writes=...)

`c` is the Lowering of the program (lower.py): it knows where values and weights lie, and has the emitter (emit.py). Operands
outside the scratchpad are asked for by `c.operand` or, row by row, by `c.tiles` (tiles.py): if the unit reaches them they are used
where they lie, else they are fetched.

    program.py, sampling.py   the loops around the operations, the choice of a token
    batch.py, turns.py        several texts side by side; halves of their tokens that take turns
    residency.py              what stays in the scratchpad: its copy at the start, the way between layers that stay and others
    swaps.py                  keys and values that come near before their layer attends, and go back
    profile.py, formula.py    what the code reads, counted while it is written; as a formula
    search.py                 the size of the tile buffers, of which the profile says what is best
    data.py                   what a program holds beside its code
"""

from compiler.lowering import (  # noqa: F401 - they register their functions
    active,
    around_banks,
    attn,
    cim,
    cuts,
    decoded,
    fetch,
    lut,
    objects,
    pim,
    reuse,
    sp,
    starc,
    think,
    vec,
)
from compiler.lowering.lower import LOWERINGS, Lowering, lowers

__all__ = ["LOWERINGS", "Lowering", "lowers"]
