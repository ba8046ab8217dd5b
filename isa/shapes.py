"""Shapes: what lies at an address, as rows write it and as people do. "f32[rows,cols]", "f32[4,16]", "u64".

A format is one of isa/numbers.py or a plain NumPy type (i16, u64, f64 ...). The last dimension is the columns of a row; each row of
a packed format starts on a byte. Without brackets it is one value. A dimension of a row's operand is a number, the name of an
operand, of a CSR or of something that the unit knows ("length"), or a sum of these ("position+1").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

from isa.numbers import FORMATS, Words

# What NumPy reads as it stands, with the bytes of an element.
PLAIN: dict[str, int] = {f"{kind}{8 * size}": size for kind, sizes in (("i", (1, 2, 4, 8)), ("u", (1, 2, 4, 8)), ("f", (2, 4, 8)))
                         for size in sizes}

_SHAPE = re.compile(r"\s*(\w+)\s*(?:\[([^\[\]]*)\])?\s*")


class TensorError(ValueError):
    """A text that names no tensor, or a tensor that does not lie in memory and so cannot be shown."""


@dataclass(frozen=True)
class Shape:
    """A format, and the dimensions as they were written."""

    form: str                       # "f32", "b1"
    dims: tuple[str, ...]           # ("rows", "cols"); (): one value

    @cached_property
    def names(self) -> frozenset[str]:
        """The names that the dimensions mention, parts of sums and of dotted names included."""
        return frozenset(word for dim in self.dims for word in re.findall(r"[A-Za-z_]\w*", dim))

    @property
    def align(self) -> int:
        """Bytes of which an address must be a multiple: those of an element, 1 for elements of a byte and for packed formats."""
        fmt = FORMATS.get(self.form)
        return int(fmt.bits) // 8 if isinstance(fmt, Words) else PLAIN.get(self.form, 1)

    def row_bytes(self, cols: int) -> int:
        """Bytes of a row."""
        return PLAIN[self.form] * cols if self.form in PLAIN else FORMATS[self.form].row_bytes(cols)

    def size(self, values: Mapping[str, int]) -> int:
        """Bytes of all rows, with a value for each dimension that is no number. Raises KeyError for one that has none."""
        *rows, cols = (values[dim] if dim in values else _number(dim) for dim in self.dims or ("1",))
        return prod(rows) * self.row_bytes(cols)


def _number(dim: str) -> int:
    if not dim.isdecimal():
        raise KeyError(dim)
    return int(dim)


def parse_shape(text: str) -> Shape:
    """The shape that a text names; its format need not exist. Raises TensorError for another form."""
    match = _SHAPE.fullmatch(text)
    if match is None:
        raise TensorError(f"{text!r} is no tensor; expected a format and a shape, e.g. f32[4,16]")
    return Shape(match[1], () if match[2] is None else tuple(dim.strip() for dim in match[2].split(",")))
