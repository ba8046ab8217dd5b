"""The GNU toolchain as an outside reference: find the tools, assemble, link at given addresses, read what came out.

The files that GNU writes are read with pyelftools directly: no code of ours stands between GNU's bytes and the comparison.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from children import LIMIT
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

PREFIX = "riscv64-unknown-elf-"
DEBUGGING = ("info", "abbrev", "line", "str", "line_str", "aranges", "frame", "loclists", "rnglists")     # .debug_*
# The base that the control core implements. GNU files fence.i and pause under extensions of their own.
ARCH = "rv64im_zicsr_zifencei_zihintpause"


@dataclass(frozen=True)
class Contents:
    """One allocated section: where it lies, what it holds (zeros written out) and the alignment it asked for."""

    address: int
    data: bytes
    align: int


@dataclass(frozen=True)
class Image:
    """A linked file: allocated sections and symbol values by name."""

    sections: dict[str, Contents]
    symbols: dict[str, int]


def tool(name: str) -> str:
    """Path of GNU tool `name`, e.g. "as". Without it the test is skipped (tests/conftest.py says when that is a failure)."""
    path = shutil.which(PREFIX + name)
    if path is None:
        pytest.skip(f"{PREFIX}{name} is not installed")
    return path


def run(name: str, *arguments: object) -> str:
    """Run a GNU tool and return what it printed. A failure or a warning fails the test with the tool's message."""
    result = subprocess.run([tool(name), *map(str, arguments)], capture_output=True, text=True, check=False, timeout=LIMIT)
    if result.returncode or result.stderr:
        pytest.fail(f"{PREFIX}{name} {' '.join(map(str, arguments))}\n{result.stderr[:4000]}")
    return result.stdout


def assemble(source: str, folder: Path, name: str = "gnu", include: Path | None = None) -> Path:
    """Assemble `source` without compression and without linker relaxation; return the object file."""
    text, target = folder / f"{name}.s", folder / f"{name}.o"
    text.write_text(source, encoding="utf-8")
    search = ["-I", include] if include else []
    run("as", f"-march={ARCH}", "-mabi=lp64", "-mno-relax", *search, "-o", target, text)
    return target


def link(target: Path, addresses: Mapping[str, int]) -> Image:
    """Link one object without relaxation, each section at its given address; one that has none is an error."""
    addresses = {".text": 0, ".data": 0, ".bss": 0, **addresses}        # GNU as makes these three, empty or not
    script, linked = target.with_suffix(".ld"), target.with_suffix(".elf")
    places = "\n".join(f'  {name} {address:#x} : {{ KEEP(*({name})) }}' for name, address in addresses.items())
    places += "".join(f"\n  .debug_{kind} 0 : {{ *(.debug_{kind}) }}" for kind in DEBUGGING)
    # ld makes an empty .rela section where there is a weak symbol.
    script.write_text(f"SECTIONS\n{{\n{places}\n  /DISCARD/ : {{ *(.riscv.attributes .comment .rela.*) }}\n}}\n", encoding="utf-8")
    run("ld", "--no-relax", "--orphan-handling=error", "-e", "0", "-T", script, "-o", linked, target)
    return read(linked)


def read(path: Path) -> Image:
    """Allocated, non-empty sections and named symbols of an ELF file."""
    sections: dict[str, Contents] = {}
    symbols: dict[str, int] = {}
    with path.open("rb") as stream:
        elf = ELFFile(stream)
        for section in elf.iter_sections():
            if section["sh_flags"] & SH_FLAGS.SHF_ALLOC and section["sh_size"]:
                sections[section.name] = Contents(section["sh_addr"], section.data(), section["sh_addralign"])
            if isinstance(section, SymbolTableSection):
                symbols |= {symbol.name: symbol["st_value"] for symbol in section.iter_symbols()
                            if symbol.name and symbol["st_info"]["type"] not in ("STT_SECTION", "STT_FILE")}
    return Image(sections, symbols)


def words(source: str, folder: Path) -> list[int]:
    """The 32-bit words that GNU as makes of `source`, which holds only instructions."""
    image = link(assemble(source, folder), {".text": 0x8000_0000})
    data = image.sections[".text"].data
    return [int.from_bytes(data[at:at + 4], "little") for at in range(0, len(data), 4)]
