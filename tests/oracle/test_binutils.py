"""GNU binutils open our files without a warning and read in them what we wrote; and we read what GNU ld wrote."""

from __future__ import annotations

import random
import re
import struct
from pathlib import Path

import pytest
from gnu import run

from asm.disassembler import disassemble
from isa.csrs import CSRS
from isa.disassembly import format_instruction
from isa.instruction import rows
from isa.preset import load_preset
from isa.program import Line, Program, ProgramError, Section, Symbol

CODE = 0x8000_0000


@pytest.fixture
def program() -> Program:
    """Code in two places, data, zeros, flash, and lines that jump between two files."""
    code = struct.pack("<I", 0x13) * 40
    return Program(
        [Section(".text", "ax", CODE, 4, [code]), Section(".text.hot", "ax", 0x1000_0000, 4, [code]),
         Section(".data", "aw", CODE + 0x100, 8, [b"hello"]), Section(".bss", "aw", CODE + 0x200, 8, [], 300),
         Section(".flash", "a", 1 << 36, 4096, [bytes(5000)]), Section(".note", "", 0, 1, [b"remark"])],
        [Symbol("_start", CODE, 64, "func", "global", ".text"), Symbol("loop", CODE + 64, section=".text"),
         Symbol("message", CODE + 0x100, 5, "object", "local", ".data"), Symbol("COUNT", 42),
         Symbol("hot", 0x1000_0000, 0, "func", "weak", ".text.hot")],
        [*(Line(0x1000_0000 + 4 * i, "programs/hot.s", 7 * i + 1) for i in range(40)),
         *(Line(CODE + 4 * i, "main.s", i + 1) for i in range(20)),
         *(Line(CODE + 4 * i, "include/lib.s", 100_000 - 300 * i) for i in range(20, 40))],
        CODE, load_preset("slim"), {"model": "test"})


def test_readelf_accepts_all_of_it(program: Program, tmp_path: Path) -> None:
    program.save(tmp_path / "a.elf")
    text = run("readelf", "-aW", tmp_path / "a.elf")
    for section in program.sections:
        assert re.search(rf" {re.escape(section.name)} +(PROGBITS|NOBITS) +{section.address:016x} \w+ {section.size:06x} ", text)
    assert text.count("  LOAD ") == 5
    run("readelf", "-w", tmp_path / "a.elf")
    assert '"machine": {"name": "slim", ' in run("readelf", "-p", ".slim.meta", tmp_path / "a.elf")


def test_an_empty_program(tmp_path: Path) -> None:
    Program().save(tmp_path / "a.elf")
    assert "There are no program headers" in run("readelf", "-aW", tmp_path / "a.elf")


def test_nm_prints_every_symbol(program: Program, tmp_path: Path) -> None:
    program.save(tmp_path / "a.elf")
    printed = {tuple(line.split()) for line in run("nm", tmp_path / "a.elf").splitlines()}
    assert printed == {(f"{CODE:016x}", "T", "_start"), (f"{CODE + 64:016x}", "t", "loop"),
                       (f"{CODE + 0x100:016x}", "d", "message"), (f"{42:016x}", "a", "COUNT"), (f"{0x1000_0000:016x}", "W", "hot")}


def test_addr2line_prints_every_line(program: Program, tmp_path: Path) -> None:
    program.save(tmp_path / "a.elf")
    addresses = [f"{line.address:#x}" for line in program.lines]
    printed = run("addr2line", "-e", tmp_path / "a.elf", *addresses).splitlines()
    assert printed == [f"{line.file}:{line.line}" for line in program.lines]


def test_objdump_prints_lines_and_symbols(program: Program, tmp_path: Path) -> None:
    program.save(tmp_path / "a.elf")
    text = run("objdump", "-dl", tmp_path / "a.elf")
    assert [f"{line.file}:{line.line}" for line in program.lines] == sorted(
        re.findall(r"^\S+\.s:\d+$", text, re.M), key=lambda place: ("hot" not in place, "lib" in place))
    assert f"{CODE + 64:016x} <loop>:" in text


# ------------------------------------------------------------------------------------------------ disassembly


def normal(text: str) -> str:
    """The same instruction in the same words: spacing, numbers and the names that only objdump uses."""
    text = re.sub(r"\brd(cycle|time|instret)\t(\w+)", r"csrr\t\2,\1", text)
    text = re.sub(r"\b(add|and|or|xor|sll|srl|sra|slt)([wu]?)\t(\w+,\w+,-?\d)", r"\1i\2\t\3", text)
    text = re.sub(r"\b(csrr?[wsc])\t(\S*,\d+)(?=\s|$)", r"\1i\t\2", text)
    text = re.sub(r"\bjalr\t(\w+),([a-z]\w*)(?=\s|$)", r"jalr\t\1,0(\2)", text)
    text = re.sub(r"([\t,])([0-9a-f]{8}) <", r"\g<1>0x\2 <", text)
    text = re.sub(r"\s*(#|<).*", "", text)
    text = re.sub(r"\s+", " ", text.replace(", ", ",").strip())
    return re.sub(r"\b(0x[0-9a-f]+)\b", lambda number: str(int(number[1], 16)), text)


@pytest.mark.parametrize("aliases", [False, True])
def test_base_instructions_read_as_objdump_reads_them(tmp_path: Path, aliases: bool) -> None:
    chance = random.Random(2)
    known = {csr.address for csr in CSRS.values() if "." not in csr.name}      # not the units' own
    words = []
    for row in (row for row in rows() if not row.is_xslim):
        for _ in range(150):
            word = row.match | (chance.getrandbits(32) & ~row.mask)
            for operand in row.operands:                # zeros and ones make aliases
                if chance.random() < (0.3 if operand.is_register else 0.1 if operand.name == "imm" else 0):
                    word = (word & ~operand.field.mask) | operand.field.insert(chance.choice((0, operand.field.step)))
            if row.mnemonic.startswith("csr") and word >> 20 not in known:
                word = (word & 0xF_FFFF) | chance.choice(sorted(known)) << 20
            if row.mnemonic == "fence" and not (word >> 24 & 15 and word >> 20 & 15):
                continue                                # objdump prints an empty set as "unknown", which nothing assembles
            words.append(word)
    Program([Section(".text", "ax", CODE, 4, [struct.pack(f"<{len(words)}I", *words)])]).save(tmp_path / "a.elf")
    options = [] if aliases else ["-M", "no-aliases"]
    printed = re.findall(r"^ *[0-9a-f]+:\t[0-9a-f]{8} +\t(.*)$", run("objdump", "-dz", *options, tmp_path / "a.elf"), re.M)
    assert len(printed) == len(words)
    for word, gnu, address in zip(words, printed, range(CODE, CODE + 4 * len(words), 4), strict=True):
        assert normal(format_instruction(word, address, aliases=aliases)) == normal(gnu), f"{word:08x}"


# ------------------------------------------------------------------------------------------------ files of GNU ld

SOURCE = """
#include <stdint.h>
volatile uint32_t counter = 5, zeros[300];
static int small_value = 7;
int *const pointer = &small_value;
__attribute__((constructor)) void prepare(void) { counter = 6; }
int twice(int x) { return 2 * x + small_value + zeros[1]; }
int main(void) { return twice(counter); }
"""


def gcc(folder: Path, *options: str, source: str = SOURCE) -> Path:
    (folder / "main.c").write_text(source)
    run("gcc", "-g", "-O1", "-ffreestanding", "-nostdlib", *options, "-o", folder / "main.elf", folder / "main.c")
    return folder / "main.elf"


BARE = ("-march=rv64im_zicsr", "-mabi=lp64", "-mcmodel=medany", "-Wl,-Ttext=0x80000000", "-Wl,-e,main")


@pytest.mark.parametrize("options", [(), ("-gdwarf-2",), ("-gdwarf-3",), ("-gdwarf-4",), ("-gdwarf-5",), ("-gz",)])
def test_a_program_of_gcc_loads(tmp_path: Path, options: tuple[str, ...]) -> None:
    path = gcc(tmp_path, *BARE, *options)
    program = Program.load(path)
    assert (program.built_for, program.machine.name, program.meta) == (None, "slim", {})
    header = run("readelf", "-SW", path)
    for section in program.sections:
        assert re.search(rf" {re.escape(section.name)} +\w+ +{section.address:016x} \w+ {section.size:06x} ", header)
    assert {s.name for s in program.sections} >= {".text", ".init_array", ".sdata", ".bss"}
    for line in run("nm", path).splitlines():
        value, _, name = line.split()
        assert (symbol := program.symbol(name)) is not None
        assert symbol.value == int(value, 16)
    assert not [symbol for symbol in program.symbols if symbol.name.startswith("$")]
    text = program.section(".text")
    assert text is not None
    addresses = [f"{address:#x}" for address in range(text.address, text.end, 4)]
    for address, place in zip(addresses, run("addr2line", "-e", path, *addresses).splitlines(), strict=True):
        ours = program.line_at(int(address, 16))
        assert Path(ours).name == re.sub(r" \(discriminator \d+\)", "", Path(place).name), address
    program.save(tmp_path / "again.elf")
    assert run("nm", tmp_path / "again.elf") == run("nm", path)
    assert Program.load(tmp_path / "again.elf").lines == program.lines


def test_64_bit_line_tables(tmp_path: Path) -> None:
    expected = Program.load(gcc(tmp_path, *BARE, "-gdwarf-5")).lines
    assert expected
    assert Program.load(gcc(tmp_path, *BARE, "-gdwarf64", "-gdwarf-5")).lines == expected


def test_our_listing_of_a_program_of_gcc_agrees_with_objdump(tmp_path: Path) -> None:
    path = gcc(tmp_path, *BARE)
    ours = [normal(line.split("  ", 2)[2]) for line in disassemble(Program.load(path), section=".text", aliases=True)
            if re.match(r" *[0-9a-f]+:", line)]
    theirs = re.findall(r"^ *[0-9a-f]+:\t[0-9a-f]{8} +\t(.*)$", run("objdump", "-dz", "-j", ".text", path), re.M)
    assert ours == [normal(line) for line in theirs]


def test_initial_values_are_loaded_where_the_linker_script_puts_them(tmp_path: Path) -> None:
    (tmp_path / "rom.ld").write_text(
        "SECTIONS { .text 0x80000000 : { *(.text*) } .data 0x10000000 : AT(0x80001000) { *(.data*) *(.sdata*) } "
        ".bss : { *(.bss*) *(.sbss*) } }")
    path = gcc(tmp_path, *BARE[:3], "-T", str(tmp_path / "rom.ld"), "-Wl,-e,main")
    program = Program.load(path)
    data, counter = program.section(".data"), program.symbol("counter")
    assert data is not None
    assert counter is not None
    assert data.address == 0x8000_1000
    assert counter.value >> 28 == 1


def test_a_file_without_section_headers_loads_from_its_segments(tmp_path: Path) -> None:
    path = gcc(tmp_path, *BARE)
    whole = Program.load(path)
    data = bytearray(path.read_bytes())
    data[40:48] = bytes(8)
    data[60:64] = bytes(4)
    path.write_bytes(data)
    program = Program.load(path)
    text = whole.section(".text")
    assert text is not None
    inside = next(s for s in program.sections if s.address <= text.address and text.end <= s.end)
    assert inside.bytes()[text.address - inside.address:][:text.size] == text.bytes()
    assert "x" in inside.flags


@pytest.mark.parametrize(("options", "message"), [
    (("-march=rv64imac_zicsr", "-mabi=lp64", "-Wl,-e,main"), "compressed instructions.*\nhint: compile with -march=rv64im"),
    (("-march=rv64imfd_zicsr", "-mabi=lp64d", "-Wl,-e,main"), "floating-point registers.*\nhint: compile with -march=rv64im"),
    (("-march=rv32im_zicsr", "-mabi=ilp32", "-Wl,-e,main"), "not a 64-bit"),
    ((*BARE[:3], "-c"), "relocatable object that is not linked"),
])
def test_programs_that_the_machine_cannot_run(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    path = gcc(tmp_path, *options, source="int main(void) { return 0; }")
    with pytest.raises(ProgramError) as caught:
        Program.load(path)
    assert re.search(message, str(caught.value)), caught.value
