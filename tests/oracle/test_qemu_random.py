"""Random programs of the base instruction set end alike in QEMU and on both engines: registers, CSRs, memory, traps."""

from __future__ import annotations

from pathlib import Path

import gnu
import gnu_sources
import htif
import numpy as np
import pytest
import qemu
import random_rv64

import asm
from isa.instruction import decode
from isa.traps import Cause

PROGRAMS = 64
ILLEGAL = 2
# `wfi` waits in QEMU for an interrupt that does not come.
LEFT_OUT = {"wfi"}


@pytest.mark.parametrize("number", range(PROGRAMS))
def test_random_program(number: int, tmp_path: Path) -> None:
    qemu.agree(htif.build(tmp_path, random_rv64.program(number), htif.source("random")))


@pytest.mark.parametrize("number", range(ILLEGAL))
def test_words_that_are_no_instructions(number: int, tmp_path: Path) -> None:
    qemu.agree(htif.build(tmp_path, random_rv64.illegal_program(number), htif.source("random")))


def test_a_program_from_our_assembler(tmp_path: Path) -> None:
    """QEMU takes our files too: segments, and the symbols tohost and fromhost with type and size."""
    ours = tmp_path / "ours.elf"
    frame = htif.source("random").replace('.section .text.start, "ax"', ".text")    # QEMU starts at 0x80000000, whatever the entry
    asm.assemble("\n".join((frame, random_rv64.program(PROGRAMS), htif.source("device")))).save(ours)
    qemu.agree(ours)


def test_enough_is_compared(tmp_path: Path) -> None:
    """Every base instruction but LEFT_OUT, and every standard cause of a trap in the first programs already."""
    qemu.require()
    words = np.concatenate([
        np.frombuffer(gnu.read(gnu.assemble(random_rv64.program(number), tmp_path)).sections[".text"].data, "<u4")
        for number in range(PROGRAMS)])
    found = {row.mnemonic for row, _ in filter(None, map(decode, np.unique(words).tolist()))}
    assert {row.mnemonic for row in gnu_sources.base_rows()} - found == LEFT_OUT

    causes: set[int] = set()
    for number in range(8):
        ended = qemu.run(htif.build(tmp_path, random_rv64.program(number), htif.source("random")))
        causes |= {int(line, 16) for line in ended.output.splitlines()[random_rv64.FIRST_TRAP + 3::4]}
    assert causes == {cause for cause in Cause if cause < 16}
