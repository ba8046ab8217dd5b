"""Which words are instructions: what docs/isa/encoding.md says, held against both engines.

The page's tables are read as an implementer would. Words that it does not list must trap on both engines with the word in mtval:
all numbers of all funct fields of the Xslim opcodes, every fixed bit of every instruction, opcodes that are free, other lengths.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from both_engines import DRAM
from manual_tables import DOCS, table

from emulator.decode import NUMBER, OPERATION, decode_words
from emulator.machine import Machine
from isa.formats import FIELDS
from isa.instruction import TABLE, decode
from isa.preset import load_preset
from isa.program import Program, Section
from isa.reference import ReferenceMachine
from isa.traps import Cause

LISTED = [(row["instruction"], int(row["match"], 0), int(row["mask"], 0)) for row in table("encoding", "match", "mask")]
NOT_LOOKED_AT = {row["instruction"]: sum(FIELDS[name].mask for name in row["fields whose bits are not looked at"].split(", "))
                 for row in table("encoding", "fields whose bits are not looked at")}
XSLIM = (0x0B, 0x2B, 0x5B, 0x7B)


def names(words: np.ndarray) -> list[str]:
    """The instruction that the page says each word is, "" for a reserved one."""
    found = [""] * len(words)
    for forgiving in (True, False):             # an instruction that has all its bits comes before one that does not look at them
        for name, match, mask in LISTED:
            mask &= ~NOT_LOOKED_AT.get(name, 0) if forgiving else 0xFFFF_FFFF
            for i in np.flatnonzero(words & np.uint32(mask) == np.uint32(match & mask)).tolist():
                found[i] = name
    return found


def xslim_words() -> np.ndarray:
    """Every opcode, funct3 and funct7 of Xslim, with registers x0 and with others."""
    return np.array([opcode | funct3 << 12 | funct7 << 25 | registers
                     for opcode, funct3, funct7 in product(XSLIM, range(8), range(128))
                     for registers in (0, 10 << 7 | 11 << 15 | 12 << 20)], np.uint32)


def words_with_other_bits() -> np.ndarray:
    """Each listed instruction with each of its fixed bits turned over."""
    return np.array([match ^ 1 << bit for _, match, mask in LISTED for bit in range(32) if mask >> bit & 1], np.uint32)


def base_words() -> np.ndarray:
    """The other opcodes with every funct3 and many funct7, SYSTEM with every number, words that are no 32-bit instructions."""
    every = [low | funct3 << 12 | funct7 << 25 | registers for low in range(128) if low not in XSLIM
             for funct3, funct7 in product(range(8), range(0, 128, 3)) for registers in (0, 5 << 7 | 6 << 15)]
    every += [0x73 | number << 20 for number in range(4096)] + [0xF | funct12 << 20 | 0x1000 for funct12 in range(0, 4096, 5)]
    return np.array([*every, 0, 0xFFFF_FFFF, 1, 2, 0x4501, 0x8082], np.uint32)


WORDS = {"xslim": xslim_words, "other bits": words_with_other_bits, "base": base_words}


@pytest.mark.parametrize("which", WORDS)
def test_the_page_and_the_decoders_agree(which: str) -> None:
    words = WORDS[which]()
    expected = names(words)
    assert [row.mnemonic if (found := decode(word)) and (row := found[0]) else "" for word in words.tolist()] == expected
    operations = decode_words(words, load_preset("slim").units)[:, OPERATION]
    illegal = np.array([not name for name in expected])
    assert (operations[illegal] == NUMBER["OTHER"]).all()                       # left to the reference engine, which traps
    xslim = np.array([name in TABLE and TABLE[name].is_xslim for name in expected])
    assert np.isin(operations[xslim], (NUMBER["KERNEL"], NUMBER["KERNEL_RESULT"])).all()


@pytest.mark.parametrize("which", WORDS)
def test_reserved_words_trap_on_both_engines(which: str) -> None:
    words = WORDS[which]()
    reserved = np.unique(words[[not name for name in names(words)]])
    assert len(reserved) > 1000
    if which == "base":
        reserved = reserved[np.random.default_rng(1).permutation(len(reserved))[:4000]]
    program = Program([Section(".text", "ax", DRAM, 4, [reserved.astype("<u4").tobytes()])], [], [], DRAM)
    for engine in (ReferenceMachine, Machine):
        machine = engine("slim")
        machine.load(program)
        for i, word in enumerate(reserved.tolist()):
            machine.pc = DRAM + 4 * i
            trap = machine.run(max_instructions=1).trap
            assert trap is not None and (trap.cause, trap.value) == (Cause.ILLEGAL_INSTRUCTION, word), f"{word:#010x}"
        assert machine.counter("core.instructions") == 0 and machine.counter("core.traps") == len(reserved)


def test_numbers_of_the_map_are_those_of_the_list() -> None:
    """The map of opcodes and the list of all instructions are two tables: they say the same."""
    listed = {name: match for name, match, _ in LISTED}
    for row in table("encoding", "taken", "free"):
        opcode, funct3 = int(row["opcode"], 0), int(row["funct3"])
        here = {name for name, match in listed.items() if match & 0x707F == opcode | funct3 << 12}
        taken = dict(reversed(item.split()) for item in row["taken"].split(", ")) if row["taken"] != "none" else {}
        assert taken.keys() == here
        field = {"R": "funct7", "R4": "funct2", "any": "funct7"}[row["format"]]
        assert all(listed[name] & FIELDS[field].mask == FIELDS[field].insert(int(number)) for name, number in taken.items())
        free: set[int] = set()
        if row["free"] != "none":
            assert row["free"].split()[0] == field
            for part in row["free"].removeprefix(f"{field} ").split(", "):
                first, _, last = part.partition("..")
                free |= set(range(int(first), int(last or first) + 1))
        assert free | {int(number) for number in taken.values()} == set(range(FIELDS[field].maximum + 1))
        assert not free & {int(number) for number in taken.values()}


def test_words_from_elsewhere() -> None:
    """Words that other assemblers make, so that the list itself is held."""
    words = np.array([0x0000_0013, 0x0000_0073, 0x3020_0073, 0x0330_000F, 0x8330_000F, 0x0100_000F, 0x0000_100F, 0x4020_D093,
                      0x02B5_0533, 0x0005_2583, 0x02A5_850B], np.uint32)
    assert names(words) == ["addi", "ecall", "mret", "fence", "fence.tso", "fence", "fence.i", "srai", "mul", "lw", "vec.relu2.f32"]


@pytest.mark.parametrize("row", [row for row in TABLE.values() if row.is_xslim], ids=lambda row: row.mnemonic)
def test_operands_take_the_fields_in_order(row) -> None:
    """A first operand that is written or is a result is in rd; the others take rs1, rs2, rs3; the rest is 0."""
    fields = [operand.field.name for operand in row.operands]
    if row.operands and (row.result or ">" in row.operands[0].access):
        assert fields.pop(0) == "rd"
    assert fields == ["rs1", "rs2", "rs3"][:len(fields)]
    for name in {"rd", "rs1", "rs2", "rs3"} - {operand.field.name for operand in row.operands}:
        assert row.fixed.get(name, 0) == 0


def test_only_the_instructions_that_the_page_names_write_a_register_of_xslim() -> None:
    text = (DOCS / "encoding.md").read_text(encoding="utf-8")
    sentence = text[text.index("These alone write rd:"):]
    named = sentence[:sentence.index("\n\n")].partition(":")[2].replace("`", "").rstrip(".").replace(",", " ").split()
    assert named == [row.mnemonic for row in TABLE.values() if row.is_xslim and row.result]
