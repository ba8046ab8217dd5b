"""Every row of the instruction table encodes as GNU as does: base rows by name, Xslim rows by `.insn r` and `.insn r4`."""

from __future__ import annotations

import random
import re
import struct
from pathlib import Path

import gnu
import gnu_sources
import pytest

from asm import assemble
from isa.csrs import CSRS
from isa.disassembly import format_instruction
from isa.instruction import TABLE, TARGET, XSLIM_OPCODES, Row, find
from isa.registers import ABI_NAMES

Sample = tuple[Row, dict[str, int]]

RANDOM_SAMPLES = 12


def samples(row: Row) -> list[Sample]:
    """Operand values for `row`: each operand over its boundaries, the register fields told apart, then random ones."""
    rng = random.Random(f"{gnu_sources.SEED} {row.mnemonic}")
    pools = {operand.name: list(range(1, 16)) if operand.name in ("pred", "succ") else gnu_sources.boundaries(operand.field)
             for operand in row.operands}
    values = [{name: pick(pool) for name, pool in pools.items()} for pick in (min, max)]
    values += [{name: rng.choice(pool) for name, pool in pools.items()} | {swept: value}
               for swept in pools for value in pools[swept]]
    values += [{operand.name: rng.choice(pools[operand.name]) if operand.name in ("pred", "succ")
                else gnu_sources.number(operand.field, rng) for operand in row.operands} for _ in range(RANDOM_SAMPLES)]
    return [(row, value) for value in values]


def gnu_text(row: Row, values: dict[str, int]) -> str:
    """How GNU as is told to make this instruction."""
    fields = {operand.field.name: values[operand.name] for operand in row.operands}
    if not row.is_xslim:
        texts = {name: ABI_NAMES[value] if name in ("rd", "rs1", "rs2") else f".{value:+}" if name in ("b_imm", "j_imm")
                 else gnu_sources.fence_set(value) if name in ("pred", "succ") else str(value)
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


def our_words(lines: list[str]) -> list[int]:
    section = assemble("\n".join(lines) + "\n").section(".text")
    assert section is not None
    return [word for (word,) in struct.iter_unpack("<I", section.bytes())]


def test_assembler_encodes_xslim_as_gnu(cases: list[Sample], theirs: list[int]) -> None:
    xslim = [(case, word) for case, word in zip(cases, theirs, strict=True) if case[0].is_xslim]
    compare([case for case, _ in xslim], our_words([asm_text(*case) for case, _ in xslim]), [word for _, word in xslim])


def test_assembler_reads_insn_as_gnu(cases: list[Sample], theirs: list[int]) -> None:
    """Xslim instructions in the words of `.insn r` and `.insn r4`."""
    xslim = [(case, word) for case, word in zip(cases, theirs, strict=True) if case[0].is_xslim]
    compare([case for case, _ in xslim], our_words([gnu_text(*case) for case, _ in xslim]), [word for _, word in xslim])


def test_unit_csrs_by_name(tmp_path: Path) -> None:
    """Every CSR name, ours included, means the number that GNU is given."""
    forms = ("csrr a0, {}", "csrrw a1, {}, a2", "csrrsi a3, {}, 17")
    ours = our_words([form.format(name) for name in CSRS for form in forms])
    assert ours == gnu.words("".join(form.format(csr.address) + "\n" for csr in CSRS.values() for form in forms), tmp_path)


@pytest.mark.parametrize("aliases", [False, True])
def test_gnu_reads_our_disassembly(aliases: bool, cases: list[Sample], theirs: list[int], tmp_path: Path) -> None:
    """What the disassembler prints for a base instruction is the same word to GNU as."""
    pc = 0x8000_0000

    def text(row: Row, word: int) -> str:
        """The printed line with what GNU does not read rewritten: a branch's address, the name of a CSR of ours."""
        line = format_instruction(word, pc, aliases=aliases)
        if any(operand.role == TARGET for operand in row.operands):
            return re.sub(r"0x[0-9a-f]+$", lambda target: f".{int(target[0], 16) - pc:+}", line)
        return re.sub(r"(?<= )\w+\.\w+", lambda csr: str(CSRS[csr[0]].address), line)

    base = [(row, word) for (row, _), word in zip(cases, theirs, strict=True) if not row.is_xslim]
    texts = [text(row, word) for row, word in base]
    again = gnu.words("\n".join(texts) + "\n", tmp_path)
    wrong = [f"{text:40} {word:08x}  GNU {its:08x}"
             for text, (_, word), its in zip(texts, base, again, strict=True) if word != its]
    assert not wrong, "\n".join(wrong[:20])
