"""Sections and symbols of our assembler equal GNU's, byte for byte, over generated lines and hand-written programs."""

from __future__ import annotations

from pathlib import Path

import gnu_images
import gnu_sources
import pytest

from asm import assemble
from asm.pseudo import PSEUDO
from benchmarks.bench_growth import CASES

PROGRAMS = sorted((Path(__file__).parent / "programs").glob("*.s"))
SOURCES = {function.__name__: function for function in (gnu_sources.instructions, gnu_sources.branches, gnu_sources.data)}


@pytest.mark.parametrize("name", SOURCES)
def test_generated_lines(name: str, tmp_path: Path) -> None:
    lines = SOURCES[name]()
    source = "\n".join(lines) + "\n"
    program = assemble(source)
    difference = gnu_images.first_difference(gnu_images.our_image(program), gnu_images.gnu_image(source, program, tmp_path))
    assert not difference, f"{difference}\n{gnu_images.explain(lines, tmp_path)}"


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_programs(path: Path, tmp_path: Path) -> None:
    gnu_images.assert_equal(path.read_text(encoding="utf-8"), assemble(path), tmp_path, path.parent)


@pytest.mark.parametrize("name", ["branches of one reach", "branches of twice the reach", "branches far away", "chained branches",
                                  "a chain of reaches", "a chain of skips upwards", "definitions of distances",
                                  "skips of a chain upside down"])
def test_long_layouts(name: str, tmp_path: Path) -> None:
    """Branches and sizes that hang on each other, for which GNU as takes up to hundreds of passes."""
    source = CASES[name](800)
    gnu_images.assert_equal(source, assemble(source), tmp_path)


def test_a_symbol_set_from_a_distance_that_the_layout_finds(tmp_path: Path) -> None:
    """GNU as takes 0 for it where another symbol is set from it, and has our value where the distance is written out."""
    source = "a: nop\n.balign 64\nb: nop\n.set size, b - a\n.set last, size - 4\n.set written, (b - a) - 4\n"
    program = assemble(source)
    ours, theirs = (image.symbols for image in (gnu_images.our_image(program), gnu_images.gnu_image(source, program, tmp_path)))
    assert ours["last"] == ours["written"] == theirs["written"] == 60 and ours["size"] == theirs["size"] == 64
    assert theirs["last"] == (1 << 64) - 4


def test_enough_is_compared() -> None:
    """The promise: 20,000 lines, every base row, every form of every pseudo-instruction."""
    lines = {line for function in SOURCES.values() for line in function()}
    assert len(lines) >= 20_000
    compared = set(gnu_sources.forms())
    assert {(row.mnemonic, row.syntax) for row in gnu_sources.base_rows()} <= compared
    forgotten = {(name, operands) for name, operands, _ in PSEUDO} - compared
    assert not forgotten, f"write these forms into tests/support/gnu_sources.py: {sorted(forgotten)}"
    assert {name for name, _ in compared} <= {line.split()[0] for line in lines if line}
