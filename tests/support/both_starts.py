"""Executing an instruction from a start (starts.py) on both engines, on machine SMALL.

    pair = small_pair()
    for start in starts(TABLE["fetch.rows"]):
        assert start_with(pair, TABLE["fetch.rows"], start | Start({"count": 5})).trap is None
"""

from __future__ import annotations

import numpy as np
from both_engines import SMALL, Done, Pair
from starts import APART, LIST, MASK, SRAM, Start, filled

from isa.instruction import TABLE, Row

ROWS = [row for row in TABLE.values() if row.is_xslim]
INDEX = 7           # what the index lists of fetch name


def small_pair() -> Pair:
    """Both engines, with a section of 8 KiB in flash."""
    return Pair(SMALL, bytes(8192))


def start_with(pair: Pair, row: Row, start: Start) -> Done:
    """Execute an instruction from a start, on both engines."""
    pair.place(LIST, np.zeros(256, "<u4"))
    pair.place(MASK, np.full(64, 255, "u1"))
    if row.mnemonic in ("fetch.rows", "fetch.scatter"):
        pair.place(SRAM + 2 * APART, np.full(64, INDEX, "<u4"))
    if row.mnemonic == "thr.index":
        pair.place(SRAM + APART, np.full(64, 255, "u1"))
    arrays = pair.reference.state
    pair.csrs, pair.start_state = start.csrs, {name: filled(arrays[name], of) for name, of in start.state.items() if name in arrays}
    return pair.run(row.mnemonic, inline=False, **start.values)
