"""There and back: what GCC writes is assembled to GNU's bytes, and what we disassemble is assembled to the same bits."""

from __future__ import annotations

from pathlib import Path

import gnu
import gnu_images
import pytest
from c_programs import LEVELS, SOURCES, WITH_A_LIBRARY, link, link_with_library
from reassembly import differences

from asm import assemble
from isa.program import Program

KERNELS = sorted((SOURCES / "kernels").glob("*.c"))
TARGET = ("-march=rv64im_zicsr", "-mabi=lp64", "-mcmodel=medany", "-ffreestanding", "-fno-asynchronous-unwind-tables")


def compiled(path: Path, folder: Path, *options: str) -> str:
    """What GCC writes for a file, with a stub for everything that it calls and does not have."""
    written = folder / "kernel.s"
    gnu.run("gcc", *TARGET, *options, "-S", path, "-o", written)
    source = written.read_text(encoding="utf-8")
    missing = gnu.run("nm", "-u", gnu.assemble(source, folder, "undefined")).split()[1::2]
    return source + "        .text\n" + "".join(f"        .globl {name}\n{name}: ret\n" for name in missing)


@pytest.mark.parametrize("level", ["-O0", "-O1", "-O2", "-O3", "-Os"])
@pytest.mark.parametrize("path", KERNELS, ids=lambda path: path.stem)
def test_compiler_output(path: Path, level: str, tmp_path: Path) -> None:
    """Every allocated section and symbol equals GNU's; then from bits to text and back."""
    source = compiled(path, tmp_path, level)
    program = assemble(source)
    gnu_images.assert_equal(source, program, tmp_path)
    assert not differences(program)


@pytest.mark.parametrize("level", ["-O0", "-O2"])
@pytest.mark.parametrize("path", KERNELS, ids=lambda path: path.stem)
def test_compiler_output_for_debugging(path: Path, level: str, tmp_path: Path) -> None:
    """With -g the bytes are GNU's as well, and every instruction comes from the line of C that GNU says."""
    source = compiled(path, tmp_path, level, "-g")
    program = assemble(source)
    gnu_images.assert_equal(source, program, tmp_path)
    text = program.section(".text")
    assert text is not None
    addresses = range(text.address, text.end, 4)
    theirs = gnu.run("addr2line", "-e", tmp_path / "gnu.elf", *map(hex, addresses)).splitlines()
    ours = [program.line_at(address) for address in addresses]
    assert ours[0].startswith(f"{path}:")
    assert [(hex(at), mine, its) for at, mine, its in zip(addresses, ours, theirs, strict=True)
            if Path(mine).name != Path(its.partition(" (")[0]).name] == []


@pytest.mark.parametrize("level", LEVELS)
def test_a_file_that_gnu_has_linked(level: str, tmp_path: Path) -> None:
    assert not differences(Program.load(link(level, tmp_path, "-Wl,-Ttext=0x80000000", SOURCES / "start.s")))


@pytest.mark.parametrize("aliases", [False, True])
@pytest.mark.parametrize("name", WITH_A_LIBRARY)
def test_a_file_with_a_c_library(name: str, aliases: bool, tmp_path: Path) -> None:
    assert not differences(Program.load(link_with_library(name, "-Os" if aliases else "-O2", tmp_path)), aliases=aliases)
