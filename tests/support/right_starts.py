"""A start for each Xslim instruction from which it does not trap, written out by unit: values, CSRs, state, on machine SMALL.

    pair = small_pair()
    for start in starts(TABLE["fetch.rows"]):
        assert start_with(pair, TABLE["fetch.rows"], start | Start({"count": 5})).trap is None
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from both_engines import DRAM, SMALL, SRAM, Done, Pair

from isa.instruction import TABLE, Row

ROWS = [row for row in TABLE.values() if row.is_xslim]
LIST, MASK = DRAM + 0x1_0000, DRAM + 0x1_1000       # a list of zeros, and a mask of ones
APART = 0x2000      # bytes from operand to operand, in the scratchpad
INDEX = 7           # what the index lists of fetch name
MANY = 64           # activations and lengths for lut: rows of more than one byte in every format


@dataclass
class Start:
    """Operand values, CSRs and unit state."""

    values: dict[str, int] = field(default_factory=dict)
    csrs: dict[str, int] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)

    def __or__(self, other: Start) -> Start:
        return Start(self.values | other.values, self.csrs | other.csrs, self.state | other.state)

    def __and__(self, other: Start) -> bool:
        """True if both say what one thing is."""
        return bool(self.values.keys() & other.values or self.csrs.keys() & other.csrs or self.state.keys() & other.state)


def starts(row: Row) -> list[Start]:
    """One or two starts from which the instruction does not trap."""
    name = row.mnemonic
    start = Start({o.name: SRAM + APART * i if o.access else 4 for i, o in enumerate(row.operands) if o is not row.result})
    match row.unit:
        case "vec":
            start.csrs = {"vec.cols": 4, "vec.head_dim": 4}
        case "lut":
            start.values |= {length: MANY for length in row.lengths if "codebook" not in name}
            start.state = {"lut.kind": [2 if name == "lut.xnor" else 1], "lut.length": [MANY], "lut.activations": [1] * MANY}
        case "thr":
            start.csrs = {"thr.levels": 4}
        case "fetch":
            start.csrs = {"fetch.row_bytes": 4}
        case "sync":
            start.state = {"sync.signalled": np.ones(64, np.uint8)}
        case "attn":
            start.state = {"attn.model": [4, 4, 4, 0, 4], "attn.loaded": [2 if name.endswith("i8") else 1, 0, 4, 4]}
            start.csrs = {"attn.key_stride": 64}
            start.values |= {"first": 0} if name == "attn.seth" else {}
            if name.startswith(("attn.mac", "attn.context")):
                return [start, start | Start(csrs={"attn.row_list": LIST, "attn.list_stride": 32})]
            if name in ("attn.sfm.f32", "attn.mvsb.f32", "attn.exp.f32"):
                return [start, start | Start(csrs={"attn.mask": MASK, "attn.mask_stride": 1})]
        case "pim":
            start.values |= {o.name: o.name == "opsize" for o in row.operands if o.role == "value"}
            in_hab = (".hab" in name or name.startswith(("pim.mode.sb", "pim.wr.crf", "pim.wr.grf", "pim.wr.srf")))
            mode = 2 if name in ("pim.rd.pim", "pim.wr.pim") else int(in_hab and name != "pim.mode.hab")
            opened = name in ("pim.rd", "pim.wr", "pim.wr.hab", "pim.rd.pim", "pim.wr.pim")
            start.state = {"pim.mode": [mode] * 2, "pim.open_row": [0 if opened else -1] * 8}
    return [start]


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
    pair.csrs, pair.start_state = start.csrs, {name: np.asarray(array) for name, array in start.state.items()}
    return pair.run(row.mnemonic, inline=False, **start.values)
