"""Sparse layouts: how a matrix with many zeros lies in bytes. The sp unit reads them, and tools pack and unpack them here.

    layout.py    what all layouts have: packing, unpacking, what is malformed
    nm.py        nm: N of every M columns
    bm.py        bm: a bit for each block of columns
    cs.py        cs: stored columns, listed
    bl.py        bl: dense blocks of r x c
    rl.py        rl: a stream of distances and blocks of values
    bd.py        bd: blocks on diagonals, the stages of Monarch matrices, for the cim unit
    named.py     layouts by name: "nm:2:4", "bm", "bm:4", "bl:16x1", "cs", "rl:2"

    layout = sparse.named("nm:2:4")
    packed = layout.pack(weights, "i8")         # weights int8 (rows, cols) with at most 2 of each 4 not zero
    packed.values, packed.meta                  # uint8 (n,): what a program has in memory
    layout.unpack(packed)                       # weights again

No instruction is here: what the sp unit does with these bytes stands in isa/units/sp.
"""

from isa.sparse.bd import Diagonals as Diagonals
from isa.sparse.bl import RByC as RByC
from isa.sparse.bm import Bitmask as Bitmask
from isa.sparse.cs import Columns as Columns
from isa.sparse.layout import Malformed as Malformed
from isa.sparse.layout import Packed as Packed
from isa.sparse.layout import Slots as Slots
from isa.sparse.layout import SparseLayout as SparseLayout
from isa.sparse.named import KINDS as KINDS
from isa.sparse.named import named as named
from isa.sparse.nm import NOfM as NOfM
from isa.sparse.rl import RunLength as RunLength
