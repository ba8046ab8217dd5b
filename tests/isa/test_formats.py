"""Lint of the instruction table: bits covered exactly once, values that fit, no overlap, nothing that is not needed."""

from __future__ import annotations

import ast
import random
from itertools import combinations
from pathlib import Path

import pytest

import isa.units
from isa.formats import FIELDS, FORMATS, Field, Format
from isa.instruction import TABLE, XSLIM_OPCODES, Row, decode
from isa.units import UNITS

WORD = (1 << 32) - 1


@pytest.mark.parametrize("fmt", FORMATS.values(), ids=FORMATS)
def test_format_covers_every_bit_exactly_once(fmt: Format) -> None:
    assert sum(field.mask for field in fmt.fields) == WORD
    assert not any(a.mask & b.mask for a, b in combinations(fmt.fields, 2))


@pytest.mark.parametrize("field", FIELDS.values(), ids=FIELDS)
def test_field_values_survive_the_word(field: Field) -> None:
    values = {field.minimum, field.minimum + field.step, 0, field.step, field.maximum - field.step, field.maximum}
    for value in values:
        assert field.extract(field.insert(value)) == value
        assert field.extract(field.insert(value) | WORD & ~field.mask) == value
    for wrong in (field.minimum - field.step, field.maximum + field.step, *([1] if field.step > 1 else [])):
        with pytest.raises(ValueError, match="does not fit"):
            field.insert(wrong)


def test_segments_of_a_field_fill_its_value_and_do_not_overlap() -> None:
    for field in FIELDS.values():
        bits = [low + i for high, start, low in field.segments for i in range(high - start + 1)]
        assert sorted(bits) == list(range(field.step.bit_length() - 1, field.width)), field.name


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
def test_row_fixes_or_names_every_field_once(row: Row) -> None:
    named = [operand.field.name for operand in row.operands]
    assert sorted([*named, *row.fixed]) == sorted(field.name for field in row.format.fields)
    assert all(FIELDS[name].fits(value) for name, value in row.fixed.items())
    assert row.match & ~row.mask == 0
    assert row.mask | sum(FIELDS[name].mask for name in named) == WORD
    assert row.match & 3 == 3, "a 32-bit instruction ends in binary 11"


def _free(unit: str) -> str:
    """The last field of new rows of an Xslim unit, by format and funct3: the numbers that no row has."""
    rows = [row for row in TABLE.values() if row.unit == unit and row.is_xslim]
    lines = []
    for form, opcode, funct3 in sorted({(row.format.name, row.fixed["opcode"], row.fixed["funct3"]) for row in rows}):
        last, end = ("funct2", 4) if form == "R4" else ("funct7", 128)
        taken = {row.fixed[last] for row in rows if (row.fixed["opcode"], row.fixed["funct3"]) == (opcode, funct3)}
        lines.append(f"{form} opcode={opcode:#04x} funct3={funct3} {last}={sorted(set(range(end)) - taken)}")
    return "\n".join([f"free in {unit}:", *lines])


def test_no_two_rows_overlap() -> None:
    both = [(a, b) for a, b in combinations(TABLE.values(), 2) if not (a.match ^ b.match) & a.mask & b.mask]
    assert not both, "\n".join([*(f"{a.mnemonic} and {b.mnemonic}" for a, b in both), *map(_free, {b.unit for _, b in both})])


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
def test_encode_and_decode_are_each_others_reverse(row: Row) -> None:
    generator = random.Random(row.mnemonic)
    legal = {o.name: range(o.field.minimum, o.field.maximum + 1, o.field.step) for o in row.operands}
    for pick in (lambda some: some[0], lambda some: some[-1], generator.choice, generator.choice):
        values = {name: pick(some) for name, some in legal.items()}
        assert decode(row.encode(values)) == (row, values)


def test_every_field_and_every_format_is_used() -> None:
    assert set(FIELDS) == {field.name for fmt in FORMATS.values() for field in fmt.fields}
    assert set(FORMATS) == {row.format.name for row in TABLE.values()}


def test_xslim_uses_only_the_formats_that_gnu_as_can_insert() -> None:
    assert {row.format.name for row in TABLE.values() if row.is_xslim} <= {"R", "R4"}
    for unit in UNITS:
        assert len({row.is_xslim for row in TABLE.values() if row.unit == unit}) == 1, unit


def test_opcode_and_funct3_name_one_xslim_unit_and_format() -> None:
    owner: dict[tuple[int, int], tuple[str, str]] = {}
    for row in TABLE.values():
        if row.fixed["opcode"] in XSLIM_OPCODES:
            key = row.fixed["opcode"], row.fixed["funct3"]
            assert owner.setdefault(key, (row.unit, row.format.name)) == (row.unit, row.format.name), row.mnemonic


def test_every_syntax_exception_is_still_needed() -> None:
    """A row may give its own operand syntax; one that repeats its format's is noise."""
    for path in Path(isa.units.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Name(id="instruction"), args=[ast.Constant(value=str(row)), *_], keywords=keywords):
                    for keyword in keywords:
                        if keyword.arg == "syntax" and isinstance(keyword.value, ast.Constant):
                            assert keyword.value.value != FORMATS[row.split()[1]].syntax, row


def test_illegal_words_decode_to_nothing() -> None:
    assert decode(0) is None
    assert decode(WORD) is None
    used = {row.fixed["opcode"] for row in TABLE.values()}
    assert all(decode(opcode) is None for opcode in set(range(128)) - used)
