"""Shapes: what a text says, and the bytes that it covers, against NumPy's sizes and the formats' own rows."""

from __future__ import annotations

import numpy as np
import pytest

from isa.instruction import rows
from isa.numbers import FORMATS
from isa.shapes import PLAIN, Shape, TensorError, parse_shape
from isa.units import UNITS


@pytest.mark.parametrize(("text", "shape", "names"), [
    ("f32[rows,cols]", Shape("f32", ("rows", "cols")), {"rows", "cols"}),
    ("f16[heads,position+1]", Shape("f16", ("heads", "position+1")), {"heads", "position"}),
    ("u8[32]", Shape("u8", ("32",)), set()), (" b1 [ n ] ", Shape("b1", ("n",)), {"n"}), ("u64", Shape("u64", ()), set())])
def test_text(text, shape, names):
    assert parse_shape(text) == shape and shape.names == names


@pytest.mark.parametrize("text", ["", "f32[4", "f32]4[", "f32[2][2]", "f-32[1]"])
def test_text_that_is_no_shape(text):
    with pytest.raises(TensorError, match="expected a format and a shape"):
        parse_shape(text)


@pytest.mark.parametrize("form", [*PLAIN, *FORMATS])
@pytest.mark.parametrize("cols", [0, 1, 5, 8, 9, 100])
def test_bytes_and_alignment(form, cols):
    shape, packed = Shape(form, ("n",)), form in FORMATS and form not in PLAIN and form != "bf16"
    element = 2 if form == "bf16" else 1 if packed else np.dtype(f"{form[0]}{int(form[1:]) // 8}").itemsize
    assert shape.align == element
    assert shape.size({"n": cols}) == (FORMATS[form].row_bytes(cols) if packed else element * cols)
    assert Shape(form, ("3", "n")).size({"n": cols}) == 3 * shape.size({"n": cols})


def test_a_dimension_without_a_value_is_said():
    with pytest.raises(KeyError, match="cols"):
        parse_shape("f32[rows,cols]").size({"rows": 2})


def test_plain_operands_are_those_that_lengths_and_numbers_cover():
    plain = {row.mnemonic: [operand.name for operand in row.plain] for unit in UNITS for row in rows(unit)}
    assert plain["vec.add.f32"] == ["dst", "a", "b"] and plain["vec.gemv.f32"] == ["y"] and plain["vec.rope.f32"] == ["dst", "x"]
    assert plain["pim.wr_gb"] == ["x"] and plain["attn.mac.f32"] == [] and plain["thr.index"] == ["mask"] and plain["add"] == []
