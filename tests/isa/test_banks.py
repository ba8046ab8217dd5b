"""Banks: a mapping is one to one, says what its text says, and what cannot be is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isa.preset import load_preset, preset_names
from isa.units.pim.banks import COLUMN_BYTES, COORDINATES, MappingError, Organisation

WITH_BANKS = [name for name in preset_names() if load_preset(name).has_unit("pim")]


def organisation(mapping: str, **sizes: int) -> Organisation:
    numbers: dict[str, Any] = {"channels": 4, "bank_groups": 2, "banks": 8, "rows": 16, "columns": 32, "blocks": 4, "base": 1 << 37}
    return Organisation(mapping=mapping, **numbers | sizes)


@st.composite
def organisations(draw: st.DrawFn) -> Organisation:
    """Any sizes, any order, every coordinate in up to three pieces; the lower ones are powers of two."""
    words, sizes = [], {}
    for name in COORDINATES:
        lower = draw(st.lists(st.integers(0, 2), max_size=2))
        sizes[name] = (1 << sum(lower)) * draw(st.integers(1, 3))
        words.append([name, *(f"{name}:{bits}" for bits in lower)])
    order = draw(st.permutations([name for pieces in words for name in [pieces[0]] * len(pieces)]))
    left = {pieces[0]: list(pieces) for pieces in words}
    return organisation(" ".join(left[name].pop(0) for name in order), channels=sizes["channel"], bank_groups=1,
                        banks=sizes["bank"], rows=sizes["row"], columns=sizes["column"], blocks=sizes["bank"])


@settings(deadline=None)
@given(organisations())
def test_a_mapping_is_one_to_one(banks: Organisation) -> None:
    grid = np.meshgrid(*(np.arange(size) for size in banks.sizes.values()), indexing="ij")
    addresses = banks.address(*grid)
    assert sorted(addresses.reshape(-1).tolist()) == list(range(banks.base, banks.base + banks.size, COLUMN_BYTES))
    for there, back in zip(grid, banks.place(addresses + 31), strict=True):
        assert np.array_equal(there, back)


@pytest.mark.parametrize("name", WITH_BANKS)
def test_shipped_mappings_fill_their_region(name: str) -> None:
    machine, random = load_preset(name), np.random.default_rng(1)
    banks, region = machine.banks, machine.region("hbm")
    assert banks is not None
    assert banks.size == region.size
    addresses = region.base + random.integers(0, region.size // 32, 5000) * 32
    assert np.array_equal(banks.address(*banks.place(addresses)), addresses)
    assert banks.place(region.end - 1) == tuple(size - 1 for size in banks.sizes.values())


def test_samsungs_scheme_bit_by_bit() -> None:
    """Scheme8: row | column high | bank group | bank | channel | 32 bytes; 64 channels, 16 banks, 32 columns, 2**14 rows."""
    banks = load_preset("hbm2-pim").banks
    assert banks is not None
    address = banks.base + (0b10_0000_0000_0001 << 20 | 0b10011 << 15 | 0b1001 << 11 | 0b100001 << 5 | 7)
    assert banks.place(address) == (0b100001, 0b1001, 0b10_0000_0000_0001, 0b10011)
    assert banks.picture() == "row 16384 | column 32 | bank 16 | channel 64 | byte 32"
    assert banks.contiguous == 1


def test_a_split_mapping() -> None:
    banks = organisation("row column:3 bank channel column:2")
    assert banks.place(banks.base + (5 << 15 | 0b110 << 12 | 7 << 9 | 3 << 7 | 0b01 << 5)) == (3, 7, 5, 0b11001)
    assert banks.contiguous == 4


@pytest.mark.parametrize(("mapping", "sizes", "says"), [
    ("row bank channel", {}, "leaves 32 of 32 columns without an address"),
    ("row bank channel column:4", {}, "leaves 2 of 32 columns without an address"),
    ("row bank channel column column:6", {}, "where 32 of 32 columns are left"),
    ("row bank channel column row", {}, "'row' in the mapping .* where 1 of 16 rows are left"),
    ("row bank chanel column", {}, "'chanel' in the mapping .*expected channel, bank, row, column"),
    ("row bank channel column:x", {}, "'column:x'"),
    ("", {}, "leaves 4 of 4 channels"),
    ("row bank channel column", {"bank_groups": 3}, "8 banks in 3 bank groups; expected as many banks in each"),
    ("row bank channel column", {"blocks": 2}, "2 PIM blocks for 8 banks; expected one for each bank, or one for every two"),
    ("row bank channel column", {"channels": 512}, "512 channels; expected at most 256"),
])
def test_what_cannot_be_is_refused(mapping: str, sizes: dict[str, int], says: str) -> None:
    with pytest.raises(MappingError, match=says):
        organisation(mapping, **sizes)
