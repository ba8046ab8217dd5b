"""Every row of the instruction table encodes as GNU as does: base rows by name, Xslim rows by `.insn r` and `.insn r4`."""

from __future__ import annotations

import random
import re

import pytest

from isa.instruction import TABLE, XSLIM_OPCODES, Row, find
from isa.registers import ABI_NAMES
from tests.oracle import generate, gnu

Sample = tuple[Row, dict[str, int]]

RANDOM_SAMPLES = 12


def samples(row: Row) -> list[Sample]:
    """Operand values for `row`: each operand over its boundaries, the register fields told apart, then random ones."""
    rng = random.Random(f"{generate.SEED} {row.mnemonic}")
    pools = {operand.name: list(range(1, 16)) if operand.name in ("pred", "succ") else generate.boundaries(operand.field)
             for operand in row.operands}
    values = [{name: pick(pool) for name, pool in pools.items()} for pick in (min, max)]
    values += [{name: rng.choice(pool) for name, pool in pools.items()} | {swept: value}
               for swept in pools for value in pools[swept]]
    values += [{operand.name: rng.choice(pools[operand.name]) if operand.name in ("pred", "succ")
                else generate.number(operand.field, rng) for operand in row.operands} for _ in range(RANDOM_SAMPLES)]
    return [(row, value) for value in values]


def gnu_text(row: Row, values: dict[str, int]) -> str:
    """How GNU as is told to make this instruction."""
    fields = {operand.field.name: values[operand.name] for operand in row.operands}
    if not row.is_xslim:
        texts = {name: ABI_NAMES[value] if name in ("rd", "rs1", "rs2") else f".{value:+}" if name in ("b_imm", "j_imm")
                 else generate.fence_set(value) if name in ("pred", "succ") else str(value)
                 for name, value in fields.items()}
        return f"{row.mnemonic} " + re.sub(r"\w+", lambda word: texts[word[0]], row.syntax)
    function, sources = ("funct7", ("rs1", "rs2")) if row.format.name == "R" else ("funct2", ("rs1", "rs2", "rs3"))
    registers = ", ".join(f"x{fields.get(name, 0)}" for name in ("rd", *sources))
    return (f".insn {row.format.name.lower()} {XSLIM_OPCODES[row.fixed['opcode']]}, {row.fixed['funct3']}, "
            f"{row.fixed[function]}, {registers}")


def asm_text(row: Row, values: dict[str, int]) -> str:
    """An Xslim instruction as our assembler reads it."""
    return f"{row.mnemonic} " + ", ".join(ABI_NAMES[values[operand.name]] for operand in row.operands)


def compare(cases: list[Sample], ours: list[int], theirs: list[int]) -> None:
    """Fail with the first differing instructions."""
    assert len(theirs) == len(cases), "GNU as made more than one word of an instruction"
    wrong = [f"{gnu_text(*case):50} ours {mine:08x}  GNU {its:08x}"
             for case, mine, its in zip(cases, ours, theirs, strict=True) if mine != its]
    assert not wrong, f"{len(wrong)} of {len(cases)} differ:\n" + "\n".join(wrong[:20])


@pytest.fixture(scope="module")
def cases() -> list[Sample]:
    return [sample for row in TABLE.values() for sample in samples(row)]


@pytest.fixture(scope="module")
def theirs(cases: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    return gnu.words("\n".join(gnu_text(*case) for case in cases) + "\n", tmp_path_factory.mktemp("insn"))


def test_rows_encode_as_gnu(cases: list[Sample], theirs: list[int]) -> None:
    compare(cases, [row.encode(values) for row, values in cases], theirs)


def test_rows_decode_what_gnu_encodes(cases: list[Sample], theirs: list[int]) -> None:
    for (row, values), word in zip(cases, theirs, strict=True):
        assert find(word) is row, f"{word:08x} is {row.mnemonic}"
        assert row.decode(word) == values, gnu_text(row, values)
