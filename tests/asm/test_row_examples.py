"""The examples in the manual are real: each assembles, and holds the instruction that it is an example of."""

import pytest

import asm
from isa import units  # noqa: F401  (fills the table)
from isa.instruction import TABLE, find


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
def test_example_assembles_and_shows_its_instruction(row):
    text = asm.assemble(row.example + "\n").section(".text").bytes()
    words = [int.from_bytes(text[i:i + 4], "little") for i in range(0, len(text), 4)]
    assert row in [find(word) for word in words]
