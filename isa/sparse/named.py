"""Layouts by name, as options and reports have them."""

from __future__ import annotations

import re

from isa.sparse.bl import RByC
from isa.sparse.bm import Bitmask
from isa.sparse.cs import Columns
from isa.sparse.layout import SparseLayout
from isa.sparse.nm import NOfM
from isa.sparse.rl import RunLength

KINDS = ("nm", "bm", "bl", "cs", "rl")
"""The layouts, in the order of the encoding (isa/units/sp)."""

_NAME = re.compile(r"(nm):(\d{1,5}):(\d{1,5})|(bm|rl)(?::(\d{1,5}))?|(bl):(\d{1,5})x(\d{1,5})|(cs)")


def named(name: str) -> SparseLayout:
    """The layout of a name: "nm:N:M", "bm" or "bm:B", "bl:RxC", "cs", "rl" or "rl:B". Raises ValueError."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"no sparse layout {name!r}; expected nm:N:M, bm, bm:B, bl:RxC, cs, rl or rl:B")
    kind = next(group for group in match.groups() if group)
    sizes = [int(group) for group in match.groups() if group and group.isdecimal()]
    match kind:
        case "nm": return NOfM(*sizes)
        case "bm": return Bitmask(*sizes)
        case "bl": return RByC(*sizes)
        case "cs": return Columns()
        case _:    return RunLength(*sizes)
