"""Our assembler and GNU's on the same source: where do bytes or symbols differ?"""

from __future__ import annotations

from pathlib import Path

import gnu

from asm import assemble
from isa.program import Program

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


def assert_equal(source: str, program: Program, folder: Path, include: Path | None = None) -> None:
    """Every section of `program` equals what GNU makes of `source`, and every symbol that GNU keeps has its value."""
    ours, theirs = our_image(program), gnu_image(source, program, folder, include)
    difference = first_difference(ours, theirs)
    assert not difference, difference
    assert set(ours.sections) == set(theirs.sections)
    named = {name: value for name, value in theirs.symbols.items() if not name.startswith((".L", "$"))}
    assert {name: ours.symbols.get(name) for name in named} == named
