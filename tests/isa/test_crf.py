"""Words of the CRF, bit by bit against the table of Samsung's fields, and which of them are instructions."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isa.units.pim import crf
from isa.units.pim.crf import CrfError, Word, decode

# The table as published: field -> bits, high to low, and the opcodes that have it.
OPCODES = {"NOP": 0, "ADD": 1, "MUL": 2, "MAC": 3, "MAD": 4, "MOV": 8, "FILL": 9, "JUMP": 14, "EXIT": 15}
OPERANDS = {"A_OUT": 0, "M_OUT": 1, "EVEN_BANK": 2, "ODD_BANK": 3, "GRF_A": 4, "GRF_B": 5, "SRF_M": 6, "SRF_A": 7}
FIELDS = {"dst": (27, 25), "src0": (24, 22), "src1": (21, 19), "src2": (18, 16), "aam": (15, 15), "relu": (12, 12),
          "dst_index": (11, 8), "src0_index": (7, 4), "src1_index": (3, 0)}
OF_JUMP = {"count": (27, 11), "offset": (10, 0)}
OF_NOP = {"count": (10, 0)}


def layout(name: str) -> dict[str, tuple[int, int]]:
    return {"JUMP": OF_JUMP, "NOP": OF_NOP, "EXIT": {}}.get(name, FIELDS)


def test_names_and_numbers() -> None:
    assert {name.upper(): number for name, number in crf.OPCODES.items()} == OPCODES
    assert {name.upper(): number for number, name in enumerate(crf.OPERANDS)} == OPERANDS


@pytest.mark.parametrize("name", OPCODES)
def test_every_bit_of_every_field(name: str) -> None:
    assert Word(OPCODES[name]).encode() == OPCODES[name] << 28
    for field, (high, low) in layout(name).items():
        for bit in range(low, high + 1):
            word = Word(OPCODES[name], **{field: 1 << bit - low})
            assert word.encode() == OPCODES[name] << 28 | 1 << bit, (field, bit)
            assert decode(1 << bit | OPCODES[name] << 28) == word
        with pytest.raises(CrfError, match=f"does not fit 0..{(1 << high - low + 1) - 1}"):
            Word(OPCODES[name], **{field: 1 << high - low + 1}).encode()


@given(st.integers(0, (1 << 32) - 1))
def test_any_word_is_taken_apart_and_put_together(bits: int) -> None:
    word = decode(bits)
    name = next((name for name, opcode in OPCODES.items() if opcode == bits >> 28), "ADD")
    kept = 0xF << 28
    for high, low in layout(name).values():
        kept |= (1 << high + 1) - (1 << low)
    assert word.encode() == bits & kept


# Samsung's README 2.3, with the rules that it leaves open as docs/isa/pim.md states them: G GRF, B bank, S SRF.
README = {"ADD": ("G", "GBS", "GBS"), "MUL": ("G", "GB", "GBS"), "MAC": ("b", "GB", "GBS"), "MAD": ("G", "GB", "GBS", "GBS"),
          "MOV": ("GSB", "GB"), "FILL": ("G", "B")}
KINDS = {"G": {4, 5}, "B": {2, 3}, "S": {6, 7}, "b": {5}}


@pytest.mark.parametrize("name", README)
def test_which_operands_an_opcode_may_have(name: str) -> None:
    may_be = [set().union(*(KINDS[letter] for letter in letters)) for letters in README[name]]
    for kinds in itertools.product(range(8), repeat=len(may_be)):
        word = Word(OPCODES[name], **dict(zip(("dst", "src0", "src1", "src2"), kinds, strict=False)))
        legal = all(kind in allowed for kind, allowed in zip(kinds, may_be, strict=True))
        if name == "MOV" and {kinds[0], kinds[1]} <= KINDS["B"]:
            legal = False
        if legal:
            word.check()
        else:
            with pytest.raises(CrfError, match="expected"):
                word.check()


@pytest.mark.parametrize("opcode", [5, 6, 7, 10, 11, 12, 13])
def test_reserved_opcodes(opcode: int) -> None:
    with pytest.raises(CrfError, match=f"opcode {opcode} is reserved; expected nop 0, add 1"):
        decode(opcode << 28 | 0x123).check()


@pytest.mark.parametrize(("word", "says"), [
    (Word(crf.MAC, crf.GRF_B, crf.GRF_A, crf.EVEN_BANK, dst_index=8), r"grf_b\[8\], the destination of mac; expected an index"),
    (Word(crf.ADD, crf.GRF_B, crf.GRF_A, crf.EVEN_BANK, relu=1), "add has no relu"),
    (Word(crf.MOV, crf.GRF_B, crf.EVEN_BANK, aam=1), "mov has no aam"),
    (Word(crf.FILL, crf.GRF_B, crf.EVEN_BANK, aam=1), "fill has no aam; it repeats eight times"),
])
def test_flags_and_indices(word: Word, says: str) -> None:
    with pytest.raises(CrfError, match=says):
        word.check()


def test_text() -> None:
    assert str(decode(0x3B108000)) == "mac grf_b[0], grf_a[0], even_bank, aam"
    assert str(decode(0xE0003802)) == "jump 7, 2"
    assert [str(decode(bits)) for bits in (7, 0xF0000000, 0x88801600)] == ["nop 7", "exit", "mov grf_a[6], even_bank, relu"]
