"""Weight formats: a record for each, and all that the compiler knows about it beyond its packing (isa/numbers.py).

    WEIGHT_FORMATS["t2"].levels         (-1, 0, 1): what values become when a matrix is quantised
    WEIGHT_FORMATS["t2"].rule           how its scales are found
    WEIGHT_FORMATS["i4"].holds(levels)  whether it can store codes that a checkpoint has
    narrowest(levels)                   the format that stores them in the fewest bits

A float format stores values. The others store codes, and fp32 scales beside them: value = code * scale, where a group of columns
shares a scale. The codes of a codebook format are indices: each matrix has a table of int8 values of its own.

"Add a weight format" in CONTRIBUTING.md lists what else a format needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from compiler.formats import codebook
from compiler.formats.scales import LARGEST, LEAST_SQUARES, MEAN, ODD, Rule
from isa.numbers import FORMATS, NumberFormat, ValueKind


@dataclass(frozen=True)
class WeightFormat:
    """A format in which a program stores a matrix.

    name   of its packing in isa/numbers.py
    rule   how the scale of a group follows from its values; None for floats
    group  which columns share a scale unless a recipe says so: "row" or "tensor"
    """

    name: str
    rule: Rule | None = None
    group: str = ""

    @property
    def packing(self) -> NumberFormat:
        """How values, or codes, lie in bytes."""
        return FORMATS[self.name]

    def row_bytes(self, cols: int) -> int:
        """Bytes of a row of `cols` values, without scales."""
        return self.packing.row_bytes(cols)

    @property
    def has_codes(self) -> bool:
        return self.packing.kind is not ValueKind.FLOAT

    @property
    def book(self) -> int:
        """Values in the codebook of a matrix. 0: the format has none."""
        return len(self.packing.held) if self.packing.kind is ValueKind.CODEBOOK else 0

    @property
    def planes(self) -> int:
        """Bit planes of a bipolar format, each a matrix of +1 and -1 for lut.xnor. 0: another instruction multiplies it."""
        return len(self.packing.fields) if self.packing.kind is ValueKind.BIPOLAR else 0

    @cached_property
    def levels(self) -> tuple[int, ...]:
        """What values become when a matrix is quantised, rising and symmetric. () for floats and codebooks: these are fitted."""
        return () if self.book else tuple(level for level in self.packing.held if -level in self.packing.held)

    @property
    def most(self) -> int:
        """The largest level, or the largest value in a codebook."""
        return codebook.MOST if self.book else self.levels[-1]

    def holds(self, levels: tuple[int, ...]) -> bool:
        """Whether codes of these values can be stored. Two's complement has one more than quantising uses."""
        return len(levels) <= self.book if self.book else set(levels) <= set(self.packing.held)

    @property
    def as_indices(self) -> WeightFormat | None:
        """The codebook format whose codes lie in bytes in the same way: lut.decode reads this one as that. None: there is none."""
        return next((form for form in WEIGHT_FORMATS.values() if form.book and form.packing.fields == self.packing.fields), None)

    def __str__(self) -> str:
        return self.name


WEIGHT_FORMATS: dict[str, WeightFormat] = {form.name: form for form in (
    #            name    rule of scales  columns that share one
    WeightFormat("f32"),
    WeightFormat("f16"),
    WeightFormat("bf16"),
    WeightFormat("b1",   MEAN,           "row"),
    WeightFormat("t2",   LEAST_SQUARES,  "tensor"),
    WeightFormat("t5",   LEAST_SQUARES,  "tensor"),
    WeightFormat("i2",   LEAST_SQUARES,  "row"),
    WeightFormat("i3",   LARGEST,        "row"),
    WeightFormat("i4",   LARGEST,        "row"),
    WeightFormat("i8",   LARGEST,        "row"),
    WeightFormat("c2",   LARGEST,        "row"),
    WeightFormat("c3",   LARGEST,        "row"),
    WeightFormat("c4",   LARGEST,        "row"),
    WeightFormat("bp2",  ODD,            "row"),
    WeightFormat("bp3",  ODD,            "row"),
    WeightFormat("bp4",  ODD,            "row"),
)}


def narrowest(levels: tuple[int, ...]) -> WeightFormat:
    """The format in which codes of a checkpoint are stored: t2, or the integers of the fewest bits that hold them."""
    return next(form for form in map(WEIGHT_FORMATS.__getitem__, ("t2", "i2", "i3", "i4", "i8")) if form.holds(levels))
