"""Names of sparse layouts, as options and recipes have them."""

from __future__ import annotations

from pathlib import Path

from compiler.errors import ModelError
from isa import sparse
from isa.numbers import FORMATS
from isa.units.sp import LAYOUTS

AUTO, OFF = "auto", "off"           # what takes the fewest bytes; dense
ALIKE = "auto, rows alike"          # what takes the fewest bytes of layouts whose rows take the same bytes in every matrix: N of M


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


def has_alike_rows(name: str) -> bool:
    """Whether the rows of a layout take the same bytes in every matrix, so that some of them can be fetched."""
    return bool(sparse.named(name).row_values(1, FORMATS["i8"]))
