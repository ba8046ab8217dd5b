"""Every weight format has its place in every room: the checklist "Add a weight format" of CONTRIBUTING.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from compiler.formats.weight_format import WEIGHT_FORMATS, WeightFormat
from emulator.load_kernels import registered
from isa.instruction import TABLE
from isa.numbers import FORMATS, ValueKind
from isa.units.lut.products import FORMAT_NUMBERS

ROOT = Path(__file__).parents[1]


def _text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def _packing(form: WeightFormat) -> bool:
    """unpack(pack(x)) == x, for rows of every length up to a few bytes, and none."""
    values = form.packing.held or ((-1.5, 0, 0.25, 3) if form.packing.kind is ValueKind.FLOAT else (-7, 0, 9))
    matrices = [np.random.default_rng(cols).choice(values, (rows, cols)) for rows in (0, 1, 3) for cols in range(20)]
    return all(np.array_equal(form.packing.unpack(form.packing.pack(matrix), matrix.shape[1]), matrix) for matrix in matrices)


def _number(form: WeightFormat) -> bool:
    """A number of four bits, if the LUT unit multiplies it."""
    return not form.has_codes or form.planes > 0 or FORMAT_NUMBERS.get(form.name, 16) < 16


def _instructions(form: WeightFormat) -> set[str]:
    """Those that a compiled program may use to multiply a matrix."""
    if not form.has_codes:
        return {f"vec.{operation}.{form}" for operation in ("gemv", "macT")}
    if form.planes:
        return {"lut.xnor"}
    return {f"lut.{operation}.{form}" for operation in ("mac", "macT", "gemv", *(["decode"] if form.book else []))}


def _record(form: WeightFormat) -> bool:
    """Codes have a rule for their scales, and levels, or a codebook that is fitted to each matrix."""
    if not form.has_codes:
        return form.rule is None and not form.group
    levels = not form.levels if form.book else form.levels and form.holds(form.levels)
    return form.rule is not None and form.group in ("row", "tensor") and bool(levels)


def _names(path: str) -> tuple[str, ...]:
    """The formats that a file's tests go through."""
    found = re.search(r"^FORMAT_NAMES = (\(.*\))$", _text(path), re.MULTILINE)
    assert found
    names: tuple[str, ...] = ast.literal_eval(found[1])
    return names


def _tests(form: WeightFormat) -> bool:
    """It is among the formats whose meanings and kernels are tested. Packing and whole programs are tested for all formats."""
    return not form.has_codes or form.planes > 0 or all(form.name in _names(path) for path in (
        "tests/units/test_lut.py", "tests/emulator/test_lut_kernels.py"))


ROOMS: dict[str, Callable[[WeightFormat], bool]] = {
    "packing": lambda form: form.name in FORMATS and _packing(form),
    "number": _number,
    "meanings": lambda form: _instructions(form) <= TABLE.keys(),
    "kernels": lambda form: _instructions(form) <= registered().keys(),
    "record": _record,
    "manual": lambda form: f"\n### {form}\n" in _text("docs/isa/numbers.md")
    and re.search(rf"^\|[^|]*`{form}`", _text("docs/models.md"), re.MULTILINE) is not None,
    "tests": _tests,
}


@pytest.mark.parametrize("room", ROOMS)
def test_every_weight_format_has_its_place_in_every_room(room: str) -> None:
    assert [name for name, form in WEIGHT_FORMATS.items() if not ROOMS[room](form)] == []


def test_what_the_lut_unit_multiplies_has_a_record() -> None:
    assert set(FORMAT_NUMBERS) == {name for name, form in WEIGHT_FORMATS.items() if form.has_codes and not form.planes}
    assert len(set(FORMAT_NUMBERS.values())) == len(FORMAT_NUMBERS)


def test_a_missing_room_would_be_noticed() -> None:
    """i32 is a number format whose values are packed, and no weight format."""
    stranger = WeightFormat("i32")
    assert {room for room, holds in ROOMS.items() if not holds(stranger)} == set(ROOMS) - {"packing"}


def test_the_records_say_what_they_said() -> None:
    """Kind, largest level, codebook, columns that share a scale: against a table that stands for itself."""
    said = {name: (form.packing.kind, form.most, form.book, form.group) for name, form in WEIGHT_FORMATS.items() if form.has_codes}
    sign, integer, book, odd = ValueKind.SIGN, ValueKind.INTEGER, ValueKind.CODEBOOK, ValueKind.BIPOLAR
    assert said == {
        "b1": (sign, 1, 0, "row"), "t2": (sign, 1, 0, "tensor"), "t5": (sign, 1, 0, "tensor"),
        "i2": (integer, 1, 0, "row"), "i3": (integer, 3, 0, "row"), "i4": (integer, 7, 0, "row"), "i8": (integer, 127, 0, "row"),
        "c2": (book, 127, 4, "row"), "c3": (book, 127, 8, "row"), "c4": (book, 127, 16, "row"),
        "bp2": (odd, 3, 0, "row"), "bp3": (odd, 7, 0, "row"), "bp4": (odd, 15, 0, "row")}
