"""Sparse layouts: known bytes written by hand, both ways over odd sizes, what is malformed."""

import numpy as np
import pytest

from isa import sparse
from isa.numbers import FORMATS

LAYOUTS = ("nm:2:4", "nm:1:4", "nm:4:8", "nm:1:1", "nm:3:3", "nm:2:5", "nm:8:16", "nm:16:16", "nm:1:16", "nm:5:11",
           "bm", "bm:4", "bm:3", "bm:64", "cs", "bl:1x4", "bl:4x4", "bl:16x1", "bl:3x5", "bl:2x32", "rl:1", "rl:2", "rl:4", "rl:16")
ROW = [[0, 5, 0, -3, 0, 0, 0, 9, 7, 0, -2, 0, 0, 0, 0, 0]]


def random_matrix(layout, form, rows, cols, density, seed=0):
    """A matrix that the layout can hold: of each group of nm at most N values are not zero."""
    random = np.random.default_rng(seed)
    low, end = {"i4": (-8, 8), "t2": (-1, 2)}.get(form, (-128, 128))
    matrix = random.integers(low, end, (rows, cols)).astype(np.int8)
    if form in ("f16", "f32"):
        matrix = random.standard_normal((rows, cols)).astype(np.float16).astype(np.float32)
    matrix[random.random((rows, cols)) >= density] = 0
    if layout.kind == "nm":
        padded = np.pad(matrix, ((0, 0), (0, -cols % layout.m))).reshape(rows, layout.groups(cols), layout.m)
        rank = np.cumsum(padded != 0, axis=2)
        matrix = np.where(rank > layout.n, 0, padded).reshape(rows, layout.groups(cols) * layout.m)[:, :cols].astype(matrix.dtype)
    return matrix


# ------------------------------------------------------------------------------------------------ known bytes

KNOWN = {
    #           values                                              metadata                                offsets
    "bm":     ("05 fd 09 07 fe",                                    "8a 05",                                None),
    "bm:4":   ("00 05 00 fd 00 00 00 09 07 00 fe 00",               "07",                                   None),
    "nm:2:4": ("05 fd 00 09 07 fe 00 00",                           "cd 48",                                None),
    "rl:2":   ("81 05 00 81 fd 00 83 09 07 82 fe 00",               "",                                     [0, 12]),
    "cs":     ("05 fd 09 07 fe",                                    "01 00 03 00 07 00 08 00 0a 00",        [0, 5]),
    "bl:1x4": ("00 05 00 fd 00 00 00 09 07 00 fe 00",               "00 00 01 00 02 00",                    [0, 3]),
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_bytes(name):
    values, meta, offsets = KNOWN[name]
    packed = sparse.named(name).pack(ROW, "i8")
    assert packed.values.tobytes().hex(" ") == values
    assert packed.meta.tobytes().hex(" ") == meta
    assert (None if packed.offsets is None else packed.offsets.tolist()) == offsets
    assert sparse.named(name).unpack(packed).tolist() == ROW


def test_nibbles_and_ternary_values_start_on_a_byte_in_each_run():
    matrix = [[0, 5, 0, -3, 1], [0, 0, 0, 0, 0], [7, 0, 0, 0, 0]]
    packed = sparse.named("bm").pack(matrix, "i4")
    assert packed.values.tobytes().hex(" ") == "d5 01 07"
    assert packed.meta.tobytes().hex(" ") == "1a 00 01"
    packed = sparse.named("bm").pack(np.sign(matrix), "t2")
    assert packed.values.tolist() == [0b10_00_10, 0b10]         # codes are w + 1; bits behind the last are zeros
    assert sparse.named("bm").unpack(packed).tolist() == np.sign(matrix).tolist()


def test_a_worked_example_of_flow():
    packed = sparse.named("nm:2:4").pack([[0, 5, 0, -3, 7, 0, 0, 0]], "i8")
    assert (packed.values.tobytes().hex(" "), packed.meta.tobytes().hex()) == ("05 fd 07 00", "4d")


def test_distances_of_256_and_more_are_escapes():
    row = np.zeros((1, 900), np.int8)
    row[0, [255, 600]] = 3, 4
    packed = sparse.named("rl:2").pack(row, "i8")
    #                                                 255      | 344 = 255 + 89
    assert packed.values.tobytes() == bytes([127, 3, 0, 127, 0, 89 - 128 + 256, 4, 0])
    assert np.array_equal(sparse.named("rl:2").unpack(packed), row)


# ------------------------------------------------------------------------------------------------ both ways


@pytest.mark.parametrize("form", ["i8", "i4", "t2", "f16", "f32"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_both_ways(name, form):
    layout = sparse.named(name)
    assert layout.name == name
    if layout.kind == "rl" and form != "i8":
        with pytest.raises(ValueError, match="i8 values alone"):
            layout.pack([[1]], form)
        return
    for rows, cols in ((1, 1), (3, 5), (7, 64), (2, 129), (33, 100), (1, 0), (0, 7), (2, 700)):
        for density in (0, 0.02, 0.5, 1):
            matrix = random_matrix(layout, form, rows, cols, density, rows * cols)
            packed = layout.pack(matrix, form)
            dense, stored = layout.decoded(packed)
            assert dense.dtype == FORMATS[form].dtype and dense.shape == (rows, cols)
            assert np.array_equal(dense, matrix)
            assert stored[matrix != 0].all()
            streams = packed.values if layout.kind == "rl" else packed.meta
            assert layout.value_bytes(streams, rows, cols, FORMATS[form], packed.offsets) == packed.values.size
            assert packed.meta.size == layout.meta_bytes(rows, cols, 0 if packed.offsets is None else int(packed.offsets[-1]))
            if name in ("bm", "cs"):                                        # nothing else is stored
                assert np.array_equal(stored, matrix != 0)
            if layout.kind == "nm":                                         # exactly N of each whole group
                whole = cols // layout.m
                assert (stored[:, :whole * layout.m].reshape(rows, whole, layout.m).sum(axis=2) == layout.n).all()
            if name == "bl:4x4":
                padded = np.pad(matrix, ((0, -rows % 4), (0, -cols % 4)))
                blocks = (padded.reshape(-(-rows // 4), 4, -(-cols // 4), 4) != 0).any(axis=(1, 3))
                assert packed.offsets[-1] == blocks.sum() and packed.meta.view("<u2").tolist() == np.nonzero(blocks)[1].tolist()


@pytest.mark.parametrize("form", ["i8", "f16", "f32", "bf16"])
def test_a_bitmask_is_that_of_compressed_tensors(form):
    """As its BitmaskTensor.from_dense does: a mask of bytes, packed in little order row by row; the values that it selects."""
    matrix = random_matrix(sparse.named("bm"), "i8" if form == "i8" else "f32", 13, 77, 0.4)
    packed = sparse.named("bm").pack(matrix, form)
    mask = matrix != 0
    assert np.array_equal(packed.meta.reshape(13, -1), np.packbits(mask, axis=-1, bitorder="little"))
    assert packed.values.tobytes() == FORMATS[form].pack(matrix[mask][None, :]).tobytes()


def test_a_value_that_rounds_to_zero_is_a_zero_and_so_is_minus_zero():
    packed = sparse.named("bm").pack(np.array([[1e-9, -0.0, 1.0]], np.float32), "f16")
    assert packed.meta.tolist() == [4] and packed.values.size == 2


def test_what_a_layout_saves():
    """0.625 bytes a weight of int8 at half density, in both."""
    matrix = random_matrix(sparse.named("nm:2:4"), "i8", 64, 1024, 1)
    assert sparse.named("nm:2:4").pack(matrix, "i8").bytes == 0.625 * 64 * 1024
    assert sparse.named("bm").pack(matrix, "i8").bytes == 64 * 1024 // 8 + np.count_nonzero(matrix)


# ------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(("name", "message"), [
    ("nm:0:4", "expected 1 <= N <= M <= 16"), ("nm:5:4", "expected 1 <= N"), ("nm:4:17", "M <= 16"),
    ("bm:0", "expected a block of"), ("bl:0x4", "expected blocks of"), ("bl:65x4", "1..64 rows"),
    ("rl:256", "1..255"), ("nm", "no sparse layout 'nm'"),
    ("csr", "expected nm:N:M, bm"), ("bl:4", "bl:RxC")])
def test_names_that_are_no_layouts(name, message):
    with pytest.raises(ValueError, match=message):
        sparse.named(name)


def test_a_crowded_group_is_named():
    matrix = np.zeros((3, 10), np.int8)
    matrix[2, 8:] = 1
    matrix[1, 4:7] = 1
    with pytest.raises(ValueError, match=r"nm:2:4: 3 values that are not zero in row 1, columns 4\.\.7; expected at most 2"):
        sparse.named("nm:2:4").pack(matrix, "i8")
    with pytest.raises(ValueError, match=r"row 2, columns 8\.\.9; expected at most 1"):
        sparse.named("nm:1:8").pack(matrix[:, :] * np.array([[0], [0], [1]], np.int8), "i8")


def test_values_that_the_format_cannot_hold():
    with pytest.raises(ValueError, match="i4 cannot hold 8"):
        sparse.named("bm").pack([[8]], "i4")
    with pytest.raises(ValueError, match="expected a matrix"):
        sparse.named("bm").pack([8], "i8")


def u16(*numbers):
    return np.array(numbers, "<u2").view(np.uint8)


def u8(*numbers):
    return np.array(numbers, np.uint8)


# layout, cols, values, metadata, offsets, the number that is wrong, what is said; one row
MALFORMED = [
    ("nm:2:4", 4, u8(1, 2), u8(0b01_01), None, 1, "stands behind one that is not less"),
    ("nm:2:4", 4, u8(1, 2), u8(0b00_11), None, 0, "expected rising places"),
    ("nm:2:5", 5, u8(1, 2), u8(0b101_000), None, 5, "place 5 in a group of 5 columns"),
    ("nm:2:4", 5, u8(1, 2, 3, 4), u8(0b10_00_01_00), None, 6, "is not zero; the matrix has 1 rows and 5 columns"),
    ("bm", 5, u8(1), u8(0b10_0001), None, 0x21, "bits behind block 4"),
    ("bm:4", 5, u8(1, 2, 3, 4, 5, 6, 7, 8), u8(3), None, 5, "row 0, column 5 is not zero"),
    ("bm", 5, u8(1), u8(3), None, 1, "1 bytes of values; expected 2"),
    ("cs", 5, u8(1, 2), u16(3, 3), [0, 2], 3, "column 3 stands behind 3"),
    ("cs", 5, u8(1, 2), u16(3, 2), [0, 2], 2, "column 2 stands behind 3"),
    ("cs", 5, u8(1), u16(5), [0, 1], 5, "column 5 is beyond the last, 4"),
    ("cs", 5, u8(1), u16(1), [1, 2], 1, "the first offset is 1"),
    ("cs", 5, u8(1), u16(1), [0, 2], 2, "2 bytes of columns; expected 4"),
    ("cs", 5, u8(1), u16(1), [0], 1, "expected 2 offsets"),
    ("bl:1x4", 5, u8(*range(8)), u16(0, 2), [0, 2], 2, "block column 2 is beyond the last, 1"),
    ("bl:1x4", 5, u8(*range(8)), u16(1, 0), [0, 2], 0, "expected rising numbers"),
    ("bl:2x2", 2, u8(1, 2, 3, 4), u16(0), [0, 1], 0, "a value for row 1, column 0 is not zero"),
    ("rl:2", 5, u8(0x80, 1), u8(), [0, 2], 2, "ends inside a block"),
    ("rl:2", 5, u8(0x80), u8(), [0, 1], 1, "ends inside a block"),
    ("rl:2", 5, u8(0x85, 1, 0), u8(), [0, 3], 5, "starts at column 5, beyond the last, 4"),
    ("rl:2", 5, u8(0x84, 1, 9), u8(), [0, 3], 5, "column 5 is not zero"),
]


@pytest.mark.parametrize(("name", "cols", "values", "meta", "offsets", "wrong", "message"), MALFORMED)
def test_malformed_metadata(name, cols, values, meta, offsets, wrong, message):
    packed = sparse.Packed("i8", 1, cols, values, meta, None if offsets is None else np.array(offsets, np.uint32))
    if message.startswith("1 bytes"):
        wrong = 1
    with pytest.raises(sparse.Malformed, match=message) as error:
        sparse.named(name).unpack(packed)
    assert error.value.value == wrong


def test_offsets_that_fall():
    packed = sparse.Packed("i8", 2, 5, u8(1, 2), u16(1, 2), np.array([0, 2, 1], np.uint32))
    with pytest.raises(sparse.Malformed, match="offset 2 is 1, less than the one before, 2"):
        sparse.named("cs").unpack(packed)


def test_bits_behind_the_last_place_are_ignored():
    packed = sparse.named("nm:1:4").pack([[0, 0, 7]], "i8")
    assert packed.meta.tolist() == [2]
    loud = sparse.Packed("i8", 1, 3, packed.values, u8(0b1111_1110))
    assert sparse.named("nm:1:4").unpack(loud).tolist() == [[0, 0, 7]]


# ------------------------------------------------------------------------------------------------ blocks on diagonals


@pytest.mark.parametrize(("block", "down", "across"), [(2, 1, 1), (3, 2, 1), (2, 3, 4), (4, 1, 3)])
@pytest.mark.parametrize("join", [False, True])
def test_blocks_on_diagonals(block, down, across, join):
    """Packed block after block of factor after factor; behind a factor rows are transposed, as in a Monarch matrix."""
    rng, n = np.random.default_rng(block), block * block
    layout = sparse.Diagonals(block, across, join)
    blocks = rng.integers(-128, 128, (down, across, block, block, block)).astype(np.int8)
    blocks[0, 0, 0, 0, 0] = 0                           # a zero in a block is stored
    dense = np.zeros((down * n, down * across * n) if join else (down * across * n, across * n), np.int8)
    for i, j, k, r, c in np.ndindex(*blocks.shape):
        factor = i * across + j
        row, column = (i, factor) if join else (factor, j)
        dense[row * n + r * block + k, column * n + k * block + c] = blocks[i, j, k, r, c]
    packed = layout.pack(dense, "i8")
    assert packed.values.tobytes() == blocks.tobytes() and packed.meta.size == 0
    assert np.array_equal(layout.unpack(packed), dense)
    assert layout.value_bytes(packed.meta, *dense.shape, FORMATS["i8"]) == blocks.size
    assert layout.factors(*dense.shape) == down * across
    outside = np.argwhere(~layout.decoded(packed)[1])
    if len(outside):
        dense[tuple(outside[0])] = 1
        with pytest.raises(ValueError, match=f"bd:{block}: the value in row {outside[0][0]}, column {outside[0][1]} is not zero"):
            layout.pack(dense, "i8")
    with pytest.raises(ValueError, match=f"expected factors of {n} x {n}, {across} side by side"):
        layout.pack(np.zeros((n + 1, n), np.int8), "i8")
