"""A start for each Xslim instruction from which it completes: operand values, CSRs, state of its unit.

They suit each machine that has all units and at least the memory and the banks of SMALL in both_engines.py: slim, too.

    for start in starts(TABLE["fetch.rows"]):
        ...                                 # start | Start({"count": 5}) is the same with another count

both_starts.py executes from one on both engines.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from isa.instruction import Row

SRAM, DRAM = 0x1000_0000, 0x8000_0000
LIST, MASK = DRAM + 0x1_0000, DRAM + 0x1_1000       # a list of zeros, and a mask
ZEROED = DRAM + 0x1_2000                            # zeros: a mask of nothing, scales
APART = 0x2000      # bytes from operand to operand, in the scratchpad
RESULTS = {"vec.outputs": 4, "vec.multipliers": ZEROED, "vec.shifts": ZEROED}      # int8 results of a window
MANY = 64           # activations and lengths for lut: rows of more than one byte in every format


@dataclass
class Start:
    """Operand values, CSRs and unit state. Of an array a list gives the first elements and a number all of them; see `filled`."""

    values: dict[str, int] = field(default_factory=dict)
    csrs: dict[str, int] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)

    def __or__(self, other: Start) -> Start:
        return Start(self.values | other.values, self.csrs | other.csrs, self.state | other.state)

    def __and__(self, other: Start) -> bool:
        """True if both say what one thing is."""
        return bool(self.values.keys() & other.values or self.csrs.keys() & other.csrs or self.state.keys() & other.state)


def filled(like: npt.NDArray[Any], given: Any) -> npt.NDArray[Any]:
    """The array of state that a start gives: as long as `like`, with zeros where it gives none."""
    array = np.zeros_like(like)
    array[:np.size(given) if np.ndim(given) else None] = given
    return array


def starts(row: Row) -> list[Start]:
    """One or two starts from which the instruction does not trap; the second one with a list or a mask."""
    name = row.mnemonic
    start = Start({o.name: SRAM + APART * i if o.access else 4 for i, o in enumerate(row.operands) if o is not row.result})
    match row.unit:
        case "vec":
            start.csrs = {"vec.cols": 4, "vec.head_dim": 4} | RESULTS
        case "lut":
            start.values |= {length: MANY for length in row.lengths if "codebook" not in name}
            start.values |= {"part": 1} if "part" in start.values else {}
            start.csrs = {"lut.vectors": 2} if "build" in name else {}
            start.state = {"lut.kind": [2 if name == "lut.xnor" else 1], "lut.built_vectors": [2], "lut.length": [MANY],
                           "lut.activations": [1] * 2 * MANY}
        case "sp":
            start.csrs = {"sp.meta": ZEROED, "sp.cols": 4, "sp.scales": ZEROED + 64, "sp.nm": 0x0201, "sp.offsets": ZEROED,
                          "sp.vectors": 2 if "build" in name else 0} | ({"vec.cols": 4, "sp.stream": 4} | RESULTS if ".rl." in name
                                                                        else {})
            start.values |= dict.fromkeys(row.lengths, 4)
            start.state = {"sp.kind": [2 if ".f16" in name or ".f32" in name else 1], "sp.length": [4], "sp.built_vectors": [2],
                           "sp.activations": [1] * 8}
        case "cim":
            start.csrs = {"cim.x_scales": ZEROED + 64, "cim.meta": ZEROED, "cim.scales": ZEROED + 64, "cim.nm": 0x0201,
                          "cim.cols": 4, "cim.block": 4, "cim.vectors": 2 if "build" in name else 0}
            start.values |= {name: value for name, value in (("first", 0), ("f", 1)) if name in start.values}
            start.state = {"cim.built_vectors": [2], "cim.length": [4], "cim.activations": [1] * 8}
            if name in ("cim.mac", "cim.gemv"):
                start.state |= {"cim.held": [1, 0x0201, 4, 4, 0, 0]}
            elif name.startswith(("cim.spread", "cim.join")):
                start.state |= {"cim.held": [2, 4, 1, 1, 0, 0]}
        case "thr":
            start.csrs = {"thr.levels": 4, "thr.budget": 4}
            start.values |= {"n": 16} if "n" in row.lengths else {}
        case "fetch":
            start.csrs = {"fetch.row_bytes": 4}
            if name == "fetch.unpack":                  # one chunk, and packets of no bits
                start.csrs |= {"fetch.chunk_bytes": 4, "fetch.table_rows": 1, "fetch.chunk_table": ZEROED}
        case "sync":
            start.state = {"sync.signalled": 1}
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
            in_hab = ".hab" in name or name.startswith(("pim.mode.sb", "pim.wr.crf", "pim.wr.grf", "pim.wr.srf"))
            closed = name in ("pim.mode.sb", "pim.mode.hab") or name.startswith("pim.act")
            start.state = {"pim.mode": 2 if name in ("pim.rd.pim", "pim.wr.pim") else int(in_hab and name != "pim.mode.hab"),
                           "pim.open_row": -1 if closed else 0}
    return [start]
