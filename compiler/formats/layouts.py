"""Sparse layouts: their names, as options and recipes have them, and which of them a machine computes with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from compiler.errors import ModelError
from isa import sparse
from isa.sparse import SparseLayout
from isa.units.sp.matrices import LAYOUTS

AUTO, OFF = "auto", "off"           # what takes the fewest bytes; dense


@dataclass(frozen=True)
class Able:
    """Which sparse layouts a machine computes with. `otherwise`: why it does not with another one, as errors say it. `most_columns`
    of a matrix for which a layout is chosen; 0: any number."""

    allows: Callable[[SparseLayout], bool]
    otherwise: str
    most_columns: int = 0


def check_layout(name: object, place: str, file: Path | str = "") -> str:
    """The name of a layout, AUTO or OFF. Raises ModelError for one that the sp unit does not compute with."""
    names = "auto, off, nm:N:M with M up to 16, bm, bm:B, bl:RxC, or cs"
    if not isinstance(name, str):
        raise ModelError(file, place, got=repr(name), expected=names)
    if name not in (AUTO, OFF):
        try:
            layout = sparse.named(name)
        except ValueError:
            raise ModelError(file, place, got=repr(name), expected=names) from None
        if layout.kind not in LAYOUTS:
            why = "; run-length streams are for convolutions of int8 networks" if layout.kind == "rl" else ""
            raise ModelError(file, place, got=repr(name), expected=names, hint=f"no matrix instruction takes {layout.kind}{why}")
    return name

