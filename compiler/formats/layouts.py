"""Names of sparse layouts, as options and recipes have them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from compiler.errors import ModelError
from isa import sparse
from isa.sparse import SparseLayout
from isa.sparse.layout import FORMS
from isa.units.sp import LAYOUTS

AUTO, OFF = "auto", "off"           # what takes the fewest bytes; dense


@dataclass(frozen=True)
class Able:
    """Which sparse layouts a machine computes with, and in which formats of values.

    otherwise   why it does not with another layout, as errors say it
    """

    allows: Callable[[SparseLayout], bool]
    otherwise: str
    forms: Collection[str] = FORMS


def check_layout(name: object, place: str, file: Path | str = "") -> str:
    """The name of a layout, AUTO or OFF. Raises ModelError for one that the sp unit does not compute with."""
    names = "auto, off, nm:N:M with M up to 16, bm, or bm:B"
    if not isinstance(name, str):
        raise ModelError(file, place, got=repr(name), expected=names)
    if name not in (AUTO, OFF):
        try:
            layout = sparse.named(name)
        except ValueError:
            raise ModelError(file, place, got=repr(name), expected=names) from None
        if layout.kind not in LAYOUTS:
            raise ModelError(file, place, got=repr(name), expected=names, hint=f"no instruction computes with {layout.kind}")
    return name

