"""Number formats: known bytes written by hand, round trips over odd sizes, refusals."""

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from isa.numbers import FORMATS

LEGAL = {
    "b1": [-1, 1], "t2": [-1, 0, 1], "t5": [-1, 0, 1],
    "i2": list(range(-2, 2)), "i3": list(range(-4, 4)), "i4": list(range(-8, 8)), "i8": list(range(-128, 128)),
    "c2": list(range(4)), "c3": list(range(8)), "c4": list(range(16)),
    "bp2": [-3, -1, 1, 3], "bp3": [-7, -5, -3, -1, 1, 3, 5, 7], "bp4": list(range(-15, 16, 2)),
    "u8": list(range(256)), "i32": [-(1 << 31), -1, 0, 7, (1 << 31) - 1], "u32": [0, 1, (1 << 32) - 1],
}
FLOATS = ("f32", "f16", "bf16")

# name -> (values of one row, the row's bytes in binary or hexadecimal)
KNOWN = {
    "b1": ([1, -1, 1, 1, -1, -1, -1, 1, -1, 1], [0b1000_1101, 0b0000_0010]),
    "t2": ([-1, 0, 1, 1, 0], [0b10_10_01_00, 0b00_00_00_01]),
    "t5": ([1, 0, -1, 1, -1, 1], [2 + 3 + 0 + 54 + 0, 2]),
    "i2": ([1, -2, -1, 0, -1], [0b00_11_10_01, 0b11]),
    "i3": ([3, -4, -1, 0, 1], [0b00_11_00_11, 0b01, 0b0_0110]),
    "i4": ([7, -8, -1], [0x87, 0x0F]),
    "i8": ([0, -1, 127, -128], [0x00, 0xFF, 0x7F, 0x80]),
    "c2": ([3, 0, 1, 2, 3], [0b10_01_00_11, 0b11]),
    "c3": ([7, 0, 4, 1, 5, 2, 3, 6, 4], [0b01_00_00_11, 0b10_11_10_01, 0b00, 0b1001_0101, 0b1]),
    "c4": ([15, 1, 2], [0x1F, 0x02]),
    "bp2": ([1, -3, 3, -1, 1, -1, -1, 3, 3], [0b1110_1100, 0b1, 0b1001_0101, 0b1]),
    "bp3": ([7, -7, 1], [0b001, 0b001, 0b101]),
    "bp4": ([15, -15, -1, 1], [0b0101, 0b0101, 0b0101, 0b1001]),
    "u8": ([0, 255], [0x00, 0xFF]),
    "i32": ([-2], [0xFE, 0xFF, 0xFF, 0xFF]),
    "u32": ([1 << 31], [0x00, 0x00, 0x00, 0x80]),
    "f32": ([1.0, -2.5], [0x00, 0x00, 0x80, 0x3F, 0x00, 0x00, 0x20, 0xC0]),
    "f16": ([1.0, -2.0], [0x00, 0x3C, 0x00, 0xC0]),
    "bf16": ([1.0, -2.5], [0x80, 0x3F, 0x20, 0xC0]),
}


def test_every_format_is_tested_here():
    assert set(FORMATS) == set(KNOWN) == set(LEGAL) | set(FLOATS)


@pytest.mark.parametrize("name", KNOWN)
def test_known_bytes(name):
    values, expected = KNOWN[name]
    packed = FORMATS[name].pack([values])
    assert packed.dtype == np.uint8
    assert packed.tolist() == [expected]
    assert FORMATS[name].unpack([expected], len(values)).tolist() == [values]


@pytest.mark.parametrize("name", [name for name in LEGAL if name not in ("u8", "i32", "u32")])
def test_the_values_that_a_format_holds(name):
    assert FORMATS[name].held == tuple(LEGAL[name])


@pytest.mark.parametrize("name", LEGAL)
@given(data=st.data())
def test_unpack_gives_back_what_pack_took(name, data):
    shape = data.draw(st.tuples(st.integers(0, 5), st.integers(0, 37)))
    values = data.draw(arrays(np.int64, shape, elements=st.sampled_from(LEGAL[name])))
    fmt = FORMATS[name]
    packed = fmt.pack(values)
    assert packed.shape == (shape[0], fmt.row_bytes(shape[1]))
    unpacked = fmt.unpack(packed, shape[1])
    assert unpacked.dtype == fmt.dtype
    assert unpacked.tolist() == values.tolist()


@pytest.mark.parametrize("name", LEGAL)
@given(rows=st.integers(2, 4), cols=st.integers(0, 21), seed=st.integers(0, 1000))
def test_rows_are_packed_independently(name, rows, cols, seed):
    values = np.random.default_rng(seed).choice(LEGAL[name], (rows, cols))
    one_by_one = [FORMATS[name].pack(values[row:row + 1]) for row in range(rows)]
    assert np.array_equal(FORMATS[name].pack(values), np.concatenate(one_by_one))


@pytest.mark.parametrize("name", [name for name in LEGAL if name not in ("i32", "u32")])
def test_values_outside_are_refused_with_their_place(name):
    legal = LEGAL[name]
    for wrong in (min(legal) - 1, max(legal) + 1, 0.5):
        values = np.full((2, 3), legal[0], np.float64 if wrong == 0.5 else np.int64)
        values[1, 2] = wrong
        with pytest.raises(ValueError, match=rf"{name} cannot hold {wrong} \(row 1, column 2\); it holds {min(legal)}"):
            FORMATS[name].pack(values)


def test_binary_has_no_zero_and_ternary_no_two():
    with pytest.raises(ValueError, match=r"b1 cannot hold 0 .* it holds -1, 1"):
        FORMATS["b1"].pack([[1, 0]])
    with pytest.raises(ValueError, match=r"t2 cannot hold 2 .* it holds -1, 0, 1"):
        FORMATS["t2"].pack([[2]])


@pytest.mark.parametrize(("shape", "cols"), [((2,), 8), ((1, 2), 8), ((1, 1), 9), ((1, 1, 1), 8)])
def test_bytes_of_another_shape_are_refused(shape, cols):
    with pytest.raises(ValueError, match=rf"b1: {cols} columns are \(rows, {-(-cols // 8)}\) bytes"):
        FORMATS["b1"].unpack(np.zeros(shape, np.uint8), cols)


def test_only_a_matrix_is_packed():
    with pytest.raises(ValueError, match=r"expected a matrix \(rows, cols\), got shape \(3,\)"):
        FORMATS["i8"].pack([1, 2, 3])


def test_unused_bits_are_ignored_when_read():
    assert FORMATS["b1"].unpack([[0b1111_1110]], 1).tolist() == [[-1]]
    assert FORMATS["i3"].unpack([[0b11_11_11_01, 0b1111_1110]], 1).tolist() == [[1]]
    assert FORMATS["i4"].unpack([[0xF3]], 1).tolist() == [[3]]


@pytest.mark.parametrize("byte", range(256))
def test_every_byte_has_a_value_in_ternary_formats(byte):
    assert FORMATS["t2"].unpack([[byte]], 4).tolist() == [[byte // 4**i % 4 - 1 for i in range(4)]]
    assert FORMATS["t5"].unpack([[byte]], 5).tolist() == [[byte // 3**i % 3 - 1 for i in range(5)]]


@pytest.mark.parametrize("name", ["i2", "i3", "i4", "i8", "t2", "b1"])
def test_bytes_per_row_at_every_width(name):
    bits = {"i2": (2,), "i3": (2, 1), "i4": (4,), "i8": (8,), "t2": (2,), "b1": (1,)}[name]
    for cols in range(40):
        assert FORMATS[name].row_bytes(cols) == sum(math.ceil(cols * width / 8) for width in bits)
        assert FORMATS["t5"].row_bytes(cols) == math.ceil(cols / 5)


@given(st.lists(st.floats(width=32, allow_nan=False), max_size=9))
def test_f32_and_f16_against_struct(values):
    assert FORMATS["f32"].pack(np.array([values])).tobytes() == struct.pack(f"<{len(values)}f", *values)
    small = [v for v in values if abs(v) < 65504 or math.isinf(v)]
    assert FORMATS["f16"].pack(np.array([small])).tobytes() == struct.pack(f"<{len(small)}e", *small)


@given(st.floats(width=32))
def test_bf16_is_the_nearest_upper_half(value):
    stored = int(FORMATS["bf16"].pack([[value]]).view("<u2")[0, 0])
    bits = struct.unpack("<I", struct.pack("<f", value))[0]
    if math.isnan(value):
        assert stored & 0x7F80 == 0x7F80
        assert stored & 0x7F
        return
    low, up = bits >> 16, (bits >> 16) + 1
    below, above = (bits & 0xFFFF), 0x1_0000 - (bits & 0xFFFF)
    expected = low if below < above or (below == above and low % 2 == 0) else up
    assert stored == expected
    assert FORMATS["bf16"].unpack(np.array([[stored & 0xFF, stored >> 8]]), 1).view(np.uint32)[0, 0] == stored << 16


@pytest.mark.parametrize("name", FLOATS)
def test_floats_keep_infinities_and_nan(name):
    back = FORMATS[name].unpack(FORMATS[name].pack([[np.inf, -np.inf, np.nan, -0.0]]), 4)[0]
    assert back[0] == np.inf
    assert back[1] == -np.inf
    assert np.isnan(back[2])
    assert np.signbit(back[3])


@pytest.mark.parametrize("name", FORMATS)
def test_texts_for_the_manual(name):
    fmt = FORMATS[name]
    assert fmt.text
    assert fmt.picture
    assert fmt.values
    assert float(fmt.bits) * 1000 == fmt.row_bytes(1000) * 8
