"""From operations of the graph to instructions, one file for each unit, named as in isa/units.

A function lowers one kind of operation:

    @lowers("bias")
    def bias(c, op): ... c.emit.op("vec.add.f32", c.at(result), c.at(x), b, c.length(result), reads=..., writes=...)

`c` is the Lowering of the program (lower.py): it knows where values and weights are, and holds the emitter. What lies outside the
scratchpad comes by `c.operand` or, row by row, by `c.tiles` (tiles.py): in place where the unit reaches it, else fetched.
"""

from compiler.lowering import active, attn, banks, decoded, fetch, lut, pim, vec  # noqa: F401 - they register their functions
from compiler.lowering.lower import LOWERINGS, Lowering, lowers

__all__ = ["LOWERINGS", "Lowering", "lowers"]
