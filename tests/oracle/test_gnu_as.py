"""Sections and symbols of our assembler equal GNU's, byte for byte, over generated lines and hand-written programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from asm import assemble
from asm.pseudo import PSEUDO
from isa.program import Program
from tests.oracle import generate, gnu

PROGRAMS = sorted((Path(__file__).parent / "programs").glob("*.s"))
SOURCES = {function.__name__: function for function in (generate.instructions, generate.branches, generate.data)}
SHOWN = 20                      # differences that a failure message lists


def gnu_image(source: str, ours: Program, folder: Path, include: Path | None = None) -> gnu.Image:
    """GNU's result for `source`, with the sections where our program has them."""
    addresses = {section.name: section.address for section in ours.sections if "a" in section.flags and section.size}
    target = gnu.assemble(source, folder, include=include)
    for name, section in gnu.read(target).sections.items():
        assert name in addresses, f"section {name} is missing in ours"
        assert addresses[name] % section.align == 0, f"{name}: {addresses[name]:#x} is not aligned to {section.align}"
    return gnu.link(target, addresses)


def our_image(program: Program) -> gnu.Image:
    return gnu.Image({section.name: gnu.Contents(section.address, section.bytes(), section.align)
                      for section in program.sections if "a" in section.flags and section.size},
                     {symbol.name: symbol.value for symbol in program.symbols})


def first_difference(ours: gnu.Image, theirs: gnu.Image) -> str:
    """One line a section that differs: the first differing byte with its neighbourhood."""
    report = []
    for name, section in ours.sections.items():
        its = theirs.sections.get(name)
        if its is None:
            report.append(f"{name}: only in ours")
        elif section.data != its.data:
            at = next((i for i, (a, b) in enumerate(zip(section.data, its.data, strict=False)) if a != b),
                      min(len(section.data), len(its.data)))
            start = at & ~3
            symbol = max((value, key) for key, value in {"?": 0, **theirs.symbols}.items() if value <= its.address + at)[1]
            report.append(f"{name} + {at:#x} (after {symbol}): ours {section.data[start:start + 16].hex(' ', 4)}  "
                          f"GNU {its.data[start:start + 16].hex(' ', 4)}  sizes {len(section.data)}, {len(its.data)}")
    return "\n".join(report)


def slices(image: gnu.Image, count: int) -> list[bytes]:
    """The bytes that lie between the labels `Line_N` and `Line_N+1`, for N up to `count`."""
    found = []
    for line in range(count):
        start, end = (image.symbols[f"Line_{number}"] for number in (line, line + 1))
        home = next((section for section in image.sections.values()
                     if section.address <= start < section.address + len(section.data)), None)
        found.append(home.data[start - home.address:end - home.address] if home and end > start else b"")
    return found


def explain(lines: list[str], folder: Path) -> str:
    """The lines whose bytes differ. Found by assembling again with a label before every line."""
    labelled = "".join(f"Line_{number}: {line}\n" if not line.startswith((".section", ".text", ".data", ".bss"))
                       else f"{line}\nLine_{number}:\n" for number, line in enumerate([*lines, ""]))
    program = assemble(labelled)
    pairs = zip(lines, slices(our_image(program), len(lines)),
                slices(gnu_image(labelled, program, folder), len(lines)), strict=True)
    wrong = sorted(((line, mine, its) for line, mine, its in pairs if mine != its),
                   key=lambda found: len(found[1]) == len(found[2]))    # another length moves what follows: it comes first
    shown = (f"{line:45} ours {mine[:24].hex(' ', 4)}  GNU {its[:24].hex(' ', 4)}" for line, mine, its in wrong[:SHOWN])
    return f"{len(wrong)} lines differ:\n" + "\n".join(shown)


@pytest.mark.parametrize("name", SOURCES)
def test_generated_lines(name: str, tmp_path: Path) -> None:
    lines = SOURCES[name]()
    source = "\n".join(lines) + "\n"
    program = assemble(source)
    ours, theirs = our_image(program), gnu_image(source, program, tmp_path)
    difference = first_difference(ours, theirs)
    assert not difference, f"{difference}\n{explain(lines, tmp_path)}"


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_programs(path: Path, tmp_path: Path) -> None:
    program = assemble(path)
    ours, theirs = our_image(program), gnu_image(path.read_text(encoding="utf-8"), program, tmp_path, path.parent)
    difference = first_difference(ours, theirs)
    assert not difference, difference
    assert set(ours.sections) == set(theirs.sections)
    named = {name: value for name, value in theirs.symbols.items() if not name.startswith((".L", "$"))}
    assert {name: ours.symbols.get(name) for name in named} == named


def test_enough_is_compared() -> None:
    """The promise: 20,000 lines, every base row, every form of every pseudo-instruction."""
    lines = {line for function in SOURCES.values() for line in function()}
    assert len(lines) >= 20_000
    compared = set(generate.forms())
    assert {(row.mnemonic, row.syntax) for row in generate.base_rows()} <= compared
    forgotten = {(name, operands) for name, operands, _ in PSEUDO} - compared
    assert not forgotten, f"write these forms into tests/oracle/generate.py: {sorted(forgotten)}"
    assert {name for name, _ in compared} <= {line.split()[0] for line in lines if line}
