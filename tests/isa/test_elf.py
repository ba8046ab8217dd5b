"""The program file: what is saved is what is loaded, and every damaged file is refused in one clear sentence."""

from __future__ import annotations

import io
import json
import os
import random
import re
import shutil
import stat
import struct
import subprocess
import time
from pathlib import Path
from unittest import mock

import pytest
from children import LIMIT
from elftools.elf.elffile import ELFFile
from hypothesis import given, settings
from hypothesis import strategies as st
from machine_files import without_figures

import asm
from emulator.machine import Machine
from isa.elf import dwarf
from isa.elf import reader as elf_reader
from isa.elf import writer as elf
from isa.files import LARGE_PAGE
from isa.preset import PRESETS, load_preset, preset_names
from isa.program import ISA_VERSION, FileSlice, Line, Program, ProgramError, Section, Symbol
from isa.program_file import META_SCHEMA

NOP = (0x13).to_bytes(4, "little")


def contents(program: Program) -> tuple:
    """What must survive the file. Symbols are compared with the local ones first, as ELF wants them."""
    sections = [(s.name, "".join(sorted(s.flags)), s.address, s.align, s.zero_size, b"".join(s.blocks())) for s in program.sections]
    symbols = sorted(program.symbols, key=lambda symbol: symbol.binding != "local")
    return sections, symbols, program.lines, program.entry, program.built_for, program.meta, program.units


def example() -> Program:
    """One of everything: code in two places, data, zeros, a note, every kind of symbol, lines of two files."""
    return Program(
        [Section(".text", "ax", 0x8000_0000, 4, [NOP * 20, bytearray(NOP * 20)]),
         Section(".data", "aw", 0x8000_0100, 8, [b"hello there"]),
         Section(".bss", "aw", 0x8000_0200, 8, [], 300),
         Section(".sram", "aw", 0x1000_0004, 4, [b"1234"]),
         Section(".weights", "a", 0x10_0000_0000, 4096, [bytes(range(256)) * 20]),
         Section(".text.hot", "ax", 0x8000_00A0, 4, [NOP * 4]),
         Section(".empty", "aw", 0x8000_0400, 4),
         Section(".note", "", 0, 1, [b"remark"])],
        [Symbol("_start", 0x8000_0000, 16, "func", "global", ".text"),
         Symbol("loop", 0x8000_0010, 0, "notype", "local", ".text"),
         Symbol("message", 0x8000_0100, 11, "object", "local", ".data"),
         Symbol("COUNT", 42), Symbol("größe", 1 << 63, binding="global"),
         Symbol("hot", 0x8000_00A0, 0, "func", "weak", ".text.hot")],
        [*(Line(0x8000_0000 + 4 * i, "programs/a.s", i + 1) for i in range(10)),
         *(Line(0x8000_0000 + 4 * i, "include/b.s", 5000 + 100 * i) for i in range(10, 40)),
         *(Line(0x8000_00A0 + 4 * i, "programs/a.s", 100 - i) for i in range(4))],
        0x8000_0010, load_preset("slim-llama"), {"model": "stories", "tokenizer": ["a", "é"], "nested": {"x": None, "y": [1.5]}},
        ("vec", "lut"))


@pytest.fixture
def good(tmp_path: Path) -> bytes:
    example().save(tmp_path / "good.elf")
    return (tmp_path / "good.elf").read_bytes()


def refuse(path: Path, data: bytes) -> ProgramError:
    path.write_bytes(data)
    with pytest.raises(ProgramError) as caught:
        Program.load(path)
    assert str(path) in str(caught.value)
    return caught.value


# ------------------------------------------------------------------------------------------------ round trip


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    example().save(tmp_path / "a.elf")
    assert contents(Program.load(tmp_path / "a.elf")) == contents(example())


def test_saving_a_loaded_program_gives_the_same_bytes(tmp_path: Path) -> None:
    example().save(tmp_path / "a.elf")
    Program.load(tmp_path / "a.elf").save(tmp_path / "b.elf")
    assert (tmp_path / "a.elf").read_bytes() == (tmp_path / "b.elf").read_bytes()


def test_an_empty_program(tmp_path: Path) -> None:
    Program().save(tmp_path / "a.elf")
    assert Program.load(tmp_path / "a.elf") == Program()


names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12)


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Well-formed programs: sections at rising addresses, symbols in them, lines anywhere inside."""
    machines = st.sampled_from((None, *map(load_preset, preset_names())))
    program = Program(entry=draw(st.integers(0, 2**64 - 1)), built_for=draw(machines))
    address = draw(st.integers(0, 1 << 40))
    for name in draw(st.lists(names.filter(lambda name: not elf.is_reserved(name)), max_size=5, unique=True)):
        align = 1 << draw(st.integers(0, 13))
        address += draw(st.integers(0, 9000))
        address += -address % align
        section = Section(name, draw(st.sampled_from(["a", "aw", "ax", "awx"])), address, align,
                          draw(st.lists(st.binary(max_size=70), max_size=3)))
        section.zero_size = 0 if section.chunks else draw(st.integers(0, 10_000))
        address = section.end
        program.sections.append(section)
    places = [None, *(section.name for section in program.sections)]
    program.symbols = draw(st.lists(st.builds(
        Symbol, names.filter(lambda name: not name.startswith(("$", ".L"))), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1),
        st.sampled_from(elf.KINDS), st.sampled_from(elf.BINDINGS), st.sampled_from(places)), max_size=6))
    spots = [s.address + i for s in program.sections for i in range(min(s.size, 40))]
    if spots:
        lines = draw(st.lists(st.builds(Line, st.sampled_from(spots), names, st.integers(1, 2**40)), max_size=20))
        program.lines = sorted(lines, key=lambda line: line.address)
    json = st.recursive(st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
                        lambda inner: st.lists(inner) | st.dictionaries(names, inner), max_leaves=6)
    program.meta = draw(st.dictionaries(names, json, max_size=3))
    program.units = tuple(draw(st.lists(names, max_size=3)))
    return program


@settings(max_examples=150, deadline=None)
@given(programs())
def test_any_program_survives_the_file(tmp_path_factory: pytest.TempPathFactory, program: Program) -> None:
    path = tmp_path_factory.getbasetemp() / "any.elf"
    program.save(path)
    assert contents(Program.load(path)) == contents(program)


def test_pyelftools_decodes_the_same_lines(tmp_path: Path) -> None:
    program = example()
    program.save(tmp_path / "a.elf")
    with open(tmp_path / "a.elf", "rb") as stream:
        dwarf = ELFFile(stream).get_dwarf_info()
        (unit,) = dwarf.iter_CUs()
        table = dwarf.line_program_for_CU(unit)
        states = [entry.state for entry in table.get_entries() if entry.state]
        files = [entry.name.decode() for entry in table["file_entry"]]
    rows = [Line(s.address, files[s.file - 1], s.line) for s in states if not s.end_sequence]
    assert sorted(rows, key=lambda line: line.address) == program.lines
    assert [s.address for s in states if s.end_sequence] == [0x8000_00A0, 0x8000_00B0]


def test_unknown_lines_end_a_run(tmp_path: Path) -> None:
    program = Program([Section(".text", "ax", 0x8000_0000, 4, [NOP * 8])],
                      lines=[Line(0x8000_0000, "a.s", 1), Line(0x8000_0008, "", 0), Line(0x8000_0010, "a.s", 9)])
    program.save(tmp_path / "a.elf")
    loaded = Program.load(tmp_path / "a.elf")
    assert loaded.lines == program.lines
    assert [loaded.line_at(0x8000_0000 + at) for at in (0, 4, 8, 12, 16)] == ["a.s:1", "a.s:1", "", "", "a.s:9"]


# ------------------------------------------------------------------------------------------------ layout


def test_sections_can_be_mapped(tmp_path: Path, good: bytes) -> None:
    file = ELFFile(io.BytesIO(good))
    loads = [segment for segment in file.iter_segments() if segment["p_type"] == "PT_LOAD"]
    assert len(loads) == 6                                             # all sections but .empty and .note
    assert all((load["p_offset"] - load["p_vaddr"]) % 4096 == 0 for load in loads)
    assert [load["p_vaddr"] for load in loads] == sorted(load["p_vaddr"] for load in loads)
    for section in (s for s in example().sections if "a" in s.flags and s.chunks):
        load = next(load for load in loads if load["p_vaddr"] == section.address)
        assert good[load["p_offset"]:load["p_offset"] + section.size] == section.bytes()


def test_large_sections_stay_in_their_file(tmp_path: Path) -> None:
    size = elf_reader.LARGE * 3
    (tmp_path / "weights").write_bytes(b"head" + os.urandom(size))
    piece = FileSlice(str(tmp_path / "weights"), 4, size)
    program = Program([Section(".small", "a", 0x8000_0000, 1, [b"x"]), Section(".flash", "a", 1 << 36, 4096, [b"tag", piece])])
    program.save(tmp_path / "a.elf")
    small, flash = Program.load(tmp_path / "a.elf").sections
    assert small.chunks == [b"x"]
    (chunk,) = flash.chunks
    assert isinstance(chunk, FileSlice)
    assert chunk.offset % 4096 == 0
    assert flash.bytes() == b"tag" + (tmp_path / "weights").read_bytes()[4:]


def test_a_gigabyte_is_written_and_read_in_bounded_memory(tmp_path: Path) -> None:
    # VmHWM and not getrusage: Linux carries a process's ru_maxrss over exec, so that would be the size of pytest.
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from isa.program import FileSlice, Program, Section
with open("weights", "wb") as stream:
    stream.truncate(1 << 30)
Program([Section(".flash", "a", 1 << 36, 4096, [FileSlice("weights", 0, 1 << 30)])]).save("a.elf")
assert Program.load("a.elf").sections[0].size == 1 << 30
print(next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) // 1024)
"""
    from sys import executable
    if shutil.disk_usage(tmp_path).free < 3 << 30:
        pytest.skip("needs 3 GB of disk")
    run = subprocess.run([executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=LIMIT)
    (tmp_path / "a.elf").unlink()
    assert int(run.stdout) < 300, "MB resident"


# ------------------------------------------------------------------------------------------------ what is not written


@pytest.mark.parametrize(("change", "message"), [
    (lambda p: p.sections.append(Section(".over", "a", 0x8000_0008, 1, [b"1"])), r"\.text \(0x80000000\.\.0x800000a0\) and \.over"),
    (lambda p: p.sections.append(Section(".text", "", 0, 1)), r"two sections are named \.text"),
    (lambda p: p.sections.append(Section(".debug_line", "", 0, 1)), "reserved"),
    (lambda p: p.sections.append(Section("odd", "a", 0, 3)), "alignment 3 is not a power of two"),
    (lambda p: p.sections.append(Section("odd", "a", 2, 4)), "address 0x2 is not aligned to 4"),
    (lambda p: p.sections.append(Section("end", "a", 2**64 - 1, 1, [b"12"])), "not within 64 bits"),
    (lambda p: p.sections.append(Section("two", "a", 0, 1, [b"12"], 5)), "both contents and zeros"),
    (lambda p: p.sections.append(Section("flag", "aq", 0, 1)), "unknown flag 'q'"),
    (lambda p: p.sections.append(Section("zero\0", "a", 0, 1)), "zero byte"),
    (lambda p: p.symbols.append(Symbol("\ud800", 1)), "not valid Unicode"),
    (lambda p: p.symbols.append(Symbol("lost", 1, section=".nowhere")), r"\.nowhere, which the program does not have"),
    (lambda p: p.symbols.append(Symbol("kind", 1, kind="class")), "unknown kind 'class'"),
    (lambda p: p.symbols.append(Symbol("big", 1 << 64)), "does not fit 64 bits"),
    (lambda p: p.lines.append(Line(-4, "a.s", 1)), "not a 64-bit address"),
    (lambda p: p.lines.append(Line(4, "a\0.s", 1)), "zero byte"),
    (lambda p: p.meta.update(model=object()), "JSON"),
    (lambda p: p.meta.update(loss=float("nan")), "JSON"),
])
def test_a_malformed_program_is_not_written(tmp_path: Path, change, message: str) -> None:
    program = example()
    change(program)
    with pytest.raises(ProgramError, match=message):
        program.save(tmp_path / "a.elf")
    assert not list(tmp_path.iterdir())


class Vanishing(FileSlice):
    """A chunk that fails in the middle of being written."""

    def blocks(self, size: int = 1 << 20):
        yield b"some"
        raise self.error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device"), ProgramError("shorter")])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, good: bytes, error: BaseException) -> None:
    piece = Vanishing("weights", 0, 100)
    object.__setattr__(piece, "error", error)
    with pytest.raises(type(error)):
        Program([Section(".text", "a", 0, 1, [piece])]).save(tmp_path / "good.elf")
    assert (tmp_path / "good.elf").read_bytes() == good
    assert [path.name for path in tmp_path.iterdir()] == ["good.elf"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, good: bytes) -> None:
    class Full(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            raise OSError(28, "No space left on device")

    real = open

    def full(path: object, mode: str = "r", **more: object):
        if mode != "xb":
            return real(path, mode, **more)
        real(path, mode).close()
        return io.BufferedWriter(Full())

    with mock.patch("builtins.open", full), pytest.raises(OSError, match="No space left"):
        example().save(tmp_path / "good.elf")
    assert (tmp_path / "good.elf").read_bytes() == good
    assert [path.name for path in tmp_path.iterdir()] == ["good.elf"]


def test_a_file_that_a_section_needs_is_missing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="weights"):
        Program([Section(".w", "a", 0, 1, [FileSlice(str(tmp_path / "weights"), 0, 8)])]).save(tmp_path / "a.elf")
    (tmp_path / "weights").write_bytes(b"1234")
    with pytest.raises(ProgramError, match="shorter"):
        Program([Section(".w", "a", 0, 1, [FileSlice(str(tmp_path / "weights"), 0, 8)])]).save(tmp_path / "a.elf")
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


def test_where_a_program_can_be_saved(tmp_path: Path) -> None:
    example().save("/dev/null")                                        # a device is written to, not replaced
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    (tmp_path / "link.elf").symlink_to("target.elf")
    example().save(tmp_path / "link.elf")
    assert (tmp_path / "link.elf").is_symlink()
    assert (tmp_path / "target.elf").is_file()
    with pytest.raises(IsADirectoryError):
        example().save(tmp_path)
    with pytest.raises(FileNotFoundError):
        example().save(tmp_path / "nowhere" / "a.elf")
    mask = os.umask(0o027)
    try:
        example().save(tmp_path / "a.elf")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "a.elf").stat().st_mode) == 0o640


# ------------------------------------------------------------------------------------------------ what is not read


def patched(data: bytes, offset: int, layout: str, value: int) -> bytes:
    size = struct.calcsize(layout)
    return data[:offset] + struct.pack(layout, value) + data[offset + size:]


@pytest.mark.parametrize(("offset", "layout", "value", "message"), [
    (0, "<B", 0x23, "not an ELF file"),
    (4, "<B", 1, "not a 64-bit"),
    (5, "<B", 2, "not a little-endian"),
    (6, "<B", 9, "ELF version"),
    (16, "<H", 1, "relocatable object that is not linked"),
    (16, "<H", 3, "-static -no-pie"),
    (16, "<H", 4, "ELF type 4"),
    (18, "<H", 62, "X86_64"),
    (18, "<H", 0xABCD, "unknown machine"),
    (32, "<Q", 1 << 60, "program headers .* reach over the end"),
    (40, "<Q", 1 << 40, "section headers .* reach over the end"),
    (48, "<I", 1, "compressed instructions.*\nhint: compile with -march=rv64im"),
    (48, "<I", 4, "floating-point registers.*\nhint: compile with -march=rv64im"),
    (52, "<H", 12, "12 bytes, expected 64"),
    (54, "<H", 12, "program headers of 12 bytes"),
    (58, "<H", 12, "section headers of 12 bytes"),
    (60, "<H", 0, "section headers"),
    (60, "<H", 0xFFFF, "section headers .* reach over the end"),
    (62, "<H", 99, "section names are in section 99"),
])
def test_a_wrong_header_field_is_named(tmp_path: Path, good: bytes, offset: int, layout: str, value: int, message: str) -> None:
    error = refuse(tmp_path / "bad.elf", patched(good, offset, layout, value))
    assert re.search(message, str(error)), error
    assert error.offset == {60: 40 if value else 60}.get(offset, offset)      # the count is judged with the table's place


@pytest.mark.parametrize(("field", "value", "message"), [
    (16, 0x8000_0008, r"sections \.text and \.data overlap|\.data and \.text overlap"),
    (24, 1 << 50, r"section \.data reaches over the end of the file"),
    (32, 1 << 50, r"section \.data reaches over the end of the file"),
    (16, 2**64 - 4, "end of the address space"),
])
def test_a_wrong_section_header_is_named(tmp_path: Path, good: bytes, field: int, value: int, message: str) -> None:
    data_header = struct.unpack_from("<Q", good, 40)[0] + 2 * 64
    error = refuse(tmp_path / "bad.elf", patched(good, data_header + field, "<Q", value))
    assert re.search(message, str(error)), error
    assert error.offset == data_header or ".text overlap" in str(error)


@pytest.mark.parametrize(("field", "value", "message"), [
    (32, 1 << 50, "segment 1 reaches over the end of the file"), (40, 1, "segment 1 has an impossible size")])
def test_a_wrong_segment_is_named(tmp_path: Path, good: bytes, field: int, value: int, message: str) -> None:
    error = refuse(tmp_path / "bad.elf", patched(good, 64 + 56 + field, "<Q", value))
    assert (error.message, error.offset) == (message, 64 + 56)


@pytest.mark.parametrize("data", [b"", b"\x7fE", b"# a source file\naddi a0, a0, 1\n" * 9, b"\x7fELF" + bytes(200)])
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    refuse(tmp_path / "bad.elf", data)


def test_a_truncated_file_is_refused_at_every_length(tmp_path: Path, good: bytes) -> None:
    for length in [*range(0, 3000, 7), *range(3000, len(good), 97), *range(len(good) - 200, len(good))]:
        refuse(tmp_path / "bad.elf", good[:length])


def test_metadata(tmp_path: Path, good: bytes) -> None:
    def replace(old: bytes, new: bytes) -> ProgramError:
        assert good.count(old) == 1
        assert len(old) == len(new)
        return refuse(tmp_path / "bad.elf", good.replace(old, new))

    for other in (ISA_VERSION + 1, ISA_VERSION - 1):
        refused = replace(b'"isa_version": %d,' % ISA_VERSION, b'"isa_version": %d,' % other)
        assert f"for version {other} of the instruction set, this Slimulator has version {ISA_VERSION}" in refused.message
        assert refused.hint and refused.offset == good.index(b'{"isa_version"')
    assert f"has schema 7, this Slimulator reads {META_SCHEMA}" in replace(b'"schema": %d,' % META_SCHEMA, b'"schema": 7,').message
    schema = b'"schema": %d, "' % META_SCHEMA
    for other in (b"[]", b"{}", b'""', b"9e9", b"NaN", b"%d.0" % META_SCHEMA):        # no integers, and none like one
        refused = replace(schema, b'"schema":' + (other + b',"').rjust(len(schema) - 9))
        assert f"has schema {json.loads(other)!r}, this Slimulator reads {META_SCHEMA}" in refused.message and refused.hint
    for other in (b"%d.0" % ISA_VERSION, b'"%d"' % ISA_VERSION):
        refused = replace(b'"isa_version": %d, ' % ISA_VERSION, b'"isa_version":' + other + b",")
        assert f"for version {json.loads(other)!r} of the instruction set, this" in refused.message
    (tmp_path / "older.elf").write_bytes(good.replace(b'"schema": %d,' % META_SCHEMA, b" " * 12))     # from before it was written
    assert Program.load(tmp_path / "older.elf").meta == example().meta
    assert "not JSON" in replace(b'{"isa_version"', b'["isa_version"').message
    assert "lacks isa_version" in replace(b'{"isa_version"', b'{"isb_version"').message
    assert "not JSON" in replace(b'{"isa_version"', b'\xff"isa_version"').message
    assert "expected a list of names" in replace(b'["vec", "lut"]', b'["vec", 12345]').message
    wrong = replace(b'"clock_hz": {"value": 200000000', b'"clock_hz": {"value": 2000000.5')
    assert wrong.message == ".slim.meta: machine.clock_hz.value: got 2000000.5; expected a valid integer" and wrong.hint
    named = replace(b'"machine": {"name": "slim-llama", "title"', b'"machine": "slim", "xx": {"n": 0, "title"')     # as in schema 2
    assert named.message == ".slim.meta: machine is 'slim'; expected the contents of its file" and named.hint


@pytest.mark.parametrize("name", ["slim", "hpim", "mine.toml", "timeless.toml"])
def test_a_program_carries_its_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """All of its file comes back, and the same input gives the same bytes, in any folder."""
    text = (PRESETS / "slim.toml").read_text(encoding="utf-8").replace('name = "slim"', 'name = "größe"', 1)
    files = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        monkeypatch.chdir(folder)
        Path("mine.toml").write_text(text, encoding="utf-8")
        Path("timeless.toml").write_text(without_figures(text), encoding="utf-8")
        Path("p.s").write_text("_start: li a7, 93\n ecall\n", encoding="utf-8")
        preset = load_preset(name)
        asm.assemble(Path("p.s"), machine=name).save("p.elf")
        Path("mine.toml").unlink()
        Path("timeless.toml").unlink()
        program = Program.load("p.elf")
        assert program.machine == program.built_for == preset
        assert program.machine.file.model_dump_json() == preset.file.model_dump_json()
        machine = Machine(program.machine)
        machine.load(program)
        assert machine.run().reason == "exit" and machine.preset.rates == preset.rates
        program.save("again.elf")
        files += [Path("p.elf").read_bytes(), Path("again.elf").read_bytes()]
    assert len({*files}) == 1 and str(tmp_path).encode() not in files[0]


def test_metadata_without_units_asks_for_none(tmp_path: Path, good: bytes) -> None:
    """As programs had it that were written before units were recorded."""
    (tmp_path / "old.elf").write_bytes(good.replace(b'"units"', b'"unita"'))
    assert Program.load(tmp_path / "old.elf").units == ()


def test_a_large_file_is_written_in_pieces_that_end_where_large_pages_end() -> None:
    """Only then a system keeps the file in large pages: each of them has to come with one write."""
    draw = random.Random(4)
    blocks = [draw.randbytes(size) for size in (100, 3996, 1 << 20, 1 << 20, 1 << 20, 5 << 20, 77)]
    blocks[5:5] = [bytes(1 << 20), draw.randbytes(3 << 20)]
    ends = []

    class Stream(io.BytesIO):
        def write(self, data):
            written = super().write(data)
            ends.append(self.tell())
            return written

    stream = Stream()
    elf._write(iter(blocks), stream)
    assert stream.getvalue() == b"".join(blocks)
    hole = sum(map(len, blocks[:5]))
    assert all(end % LARGE_PAGE == 0 or end in (hole, len(stream.getvalue())) for end in ends)


def test_large_blocks_of_zeros_are_holes_in_the_file(tmp_path: Path) -> None:
    with open(tmp_path / "weights", "wb") as stream:
        stream.truncate(64 << 20)
        stream.seek(33 << 20)
        stream.write(b"here")
    program = Program([Section(".weights", "a", 0x10_0000_0000, 4096, [FileSlice(str(tmp_path / "weights"), 0, 64 << 20)])])
    program.save(tmp_path / "a.elf")
    saved = os.stat(tmp_path / "a.elf")
    assert saved.st_size > 64 << 20 and saved.st_blocks * 512 < 4 << 20
    contents = Program.load(tmp_path / "a.elf").sections[0].bytes()
    assert len(contents) == 64 << 20 and contents[33 << 20:].startswith(b"here") and contents.count(0) == len(contents) - 4


def test_damaged_bytes_never_give_a_traceback(tmp_path: Path, good: bytes) -> None:
    """Any byte changed, in headers and tables mostly: the file loads or is refused."""
    chance = random.Random(1)
    path = tmp_path / "bad.elf"
    tables = struct.unpack_from("<Q", good, 40)[0] - 1500
    places = [*range(64 + 6 * 56), *range(tables, len(good))]
    refused = 0
    for _ in range(3000):
        data = bytearray(good)
        for _ in range(chance.choice((1, 1, 1, 4, 20))):
            data[chance.choice(places)] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        path.write_bytes(data)
        try:
            Program.load(path)
        except ProgramError:
            refused += 1
    assert 300 < refused < 2900


def test_labels_that_an_assembler_keeps_to_itself_are_not_read(tmp_path: Path) -> None:
    """ld --emit-relocs leaves them in the file. A global name is a name, however it is spelt."""
    made = Program([Section(".text", "ax", 0x8000_0000, 4, [bytes(16)])], [
        Symbol("main", 0x8000_0000, 16, "func", "global", ".text"), Symbol(".LFB2", 0x8000_0000, section=".text"),
        Symbol(".L0 ", 0x8000_0004, section=".text"), Symbol(".LC0", 0x8000_0008, 4, "object", "local", ".text"),
        Symbol("$xrv64i", 0x8000_0000, section=".text"), Symbol("loop", 0x8000_000C, section=".text"),
        Symbol(".Lasting", 0x8000_000C, 0, "func", "global", ".text")])
    made.save(tmp_path / "a.elf")
    assert {symbol.name for symbol in Program.load(tmp_path / "a.elf").symbols} == {"main", "loop", ".Lasting"}


def test_the_best_name_of_an_address() -> None:
    """The same for traps and for traces: functions and data before bare labels, global before local, of equals the last."""
    from isa.disassembly import SymbolIndex
    code = Section(".text", "ax", 0x100, 4, [bytes(32)])
    symbols = [Symbol("f", 0x100, 8, "func", section=".text"), Symbol("label", 0x100, section=".text"),
               Symbol("g", 0x100, 8, "func", section=".text"), Symbol("start", 0x100, 0, "notype", "global", ".text"),
               Symbol("next", 0x110, 8, "func", "global", ".text")]
    made = Program([code], symbols)
    for address, within, name in ((0x100, None, "g"), (0x104, None, "g+0x4"), (0x110, None, "next"), (0x110, 0x10C, "g+0x10"),
                                  (0x120, 0x11C, "next+0x10")):
        assert made.symbol_at(address, within) == SymbolIndex(made).name(address, within) == name
    assert [made.before(address) for address in (0x104, 0x10C, 0x110, 0x114, 0x120)] == [0x104, 0x10C, 0x10C, 0x114, 0x11C]


def test_overlapping_segments_name_their_program_header(tmp_path: Path) -> None:
    """Without section headers, sections are made from segments: the offset in the message is one of the file."""
    path = tmp_path / "a.elf"
    Program([Section(".a", "ax", 0x8000_0000, 4, [bytes(64)]), Section(".b", "aw", 0x8000_1000, 4, [bytes(64)])]).save(path)
    data = bytearray(path.read_bytes())
    data[40:48] = bytes(8)                                                  # e_shoff
    data[60:64] = bytes(4)                                                  # e_shnum, e_shstrndx
    second = 64 + 56
    data[second + 16:second + 32] = struct.pack("<QQ", 0x8000_0020, 0x8000_0020)        # p_vaddr, p_paddr
    path.write_bytes(data)
    with pytest.raises(ProgramError, match=r"overlap at 0x80000020 \(at offset 0x78\)"):
        Program.load(path)


# ------------------------------------------------------------------------------------------------ what is written is read


def test_labels_that_look_like_marks_of_code_and_data_are_read_back(tmp_path: Path) -> None:
    names = ["$data", "$x1", "$xs", "$d.", "$x", "$d", "$xrv64im", "$x.text", "$"]
    Program([Section(".text", "ax", 0x8000_0000, 4, [NOP])],
            [Symbol(name, 0x8000_0000, section=".text") for name in names]).save(tmp_path / "a.elf")
    assert [symbol.name for symbol in Program.load(tmp_path / "a.elf").symbols] == ["$data", "$x1", "$xs", "$"]


def test_lines_as_many_as_instructions_and_metadata_of_any_size_are_read_back(tmp_path, monkeypatch) -> None:
    """The limits are for tables that claim more than the file holds: code and text of that size are no such claim."""
    monkeypatch.setattr(dwarf, "MOST_ROWS", 1000)
    monkeypatch.setattr(elf_reader, "LARGEST_TABLE", 10_000)
    steps = random.Random(5)
    lines = [Line(0x8000_0000 + 4 * i, "a.s" if i < 3000 else "b.s", steps.choice([i + 1, 7, i * 1000 + 1])) for i in range(5000)]
    program = Program([Section(".text", "ax", 0x8000_0000, 4, [NOP * 5000])], lines=lines, meta={"text": "x" * 50_000})
    program.save(tmp_path / "a.elf")
    assert contents(Program.load(tmp_path / "a.elf")) == contents(program)
    program.sections[0].chunks = [NOP * 2]
    with pytest.raises(ProgramError, match="5,000 source lines; at most 1,000 are read back"):
        program.save(tmp_path / "b.elf")


@pytest.mark.parametrize(("apart", "fewer"), [(4096, 500), (0x101000, 500)])
def test_thousands_of_sections_cost_as_much_each_as_hundreds(tmp_path: Path, apart: int, fewer: int) -> None:
    """Four times as many: under nine times the work of saving, reading and placing, where the square would be 16."""
    def seconds(count: int) -> list[float]:
        places = [0x8000_0000 + apart * i for i in range(count)]
        contents = ([NOP * 4], 0) if apart < 1 << 20 else ([], 16)          # zeros: a large page for each would be all the time
        program = Program([Section(f".s{i}", "ax", place, 4, *contents) for i, place in enumerate(places)],
                          [Symbol(f"f{i}", place, 16, "func", "global", f".s{i}") for i, place in enumerate(places)],
                          [Line(place + 4 * j, "a.s", 4 * i + j + 1) for i, place in enumerate(places) for j in range(4)])
        best = [float("inf")] * 3
        for _ in range(3):
            times = [time.process_time()]
            program.save(tmp_path / "a.elf")
            times.append(time.process_time())
            loaded = Program.load(tmp_path / "a.elf")
            times.append(time.process_time())
            machine = Machine("slim")
            machine.load(loaded)
            for place in places:
                machine.pc = place
                machine.code_changed(place, 4)
            machine.run(max_instructions=1)
            times.append(time.process_time())
            best = [min(old, end - start) for old, start, end in zip(best, times, times[1:], strict=False)]
        return best

    few, many = seconds(fewer), seconds(4 * fewer)
    assert [round(after / before, 1) for before, after in zip(few, many, strict=True) if after > 9 * before] == []
