"""Flash with processors at dies or channels: the clock of both engines beside the formula, by die, written here again."""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np
import pytest
from both_engines import run_program

from asm import assemble
from isa.preset import Preset, PresetError, load_preset, preset_of
from isa.timing.memories import MEMORIES, Nand
from isa.timing.what_if import what_if

ASSUMED = "assumed: for a test"
SLC, TLC = "nand-slc", "nand-tlc"


def machine(place: str, cells: str = SLC, stripe: int = 3) -> Preset:
    """slim-nsp, or its TLC variant, with processors at a place and objects of so many pages."""
    data: Any = load_preset("slim-nsp" if cells == SLC else "slim-nsp-tlc").file.model_dump(mode="json", exclude_none=True)
    table = data["region"]["flash"]
    table["memory"], table["stripe"] = ({"value": value, "source": ASSUMED} for value in (f"{cells}-{place}", stripe))
    return preset_of(data)


def picoseconds(memory: Nand, rows: list[tuple[int, int]]) -> int:
    """What rows (offset, bytes) take: of the slowest die or channel the longest of reading and working."""
    pages_of, bytes_of, last = defaultdict(int), defaultdict(int), -1
    channel_pages, channel_bytes = defaultdict(int), defaultdict(int)
    for at, size in rows:
        for byte in range(at, at + size, 64):               # rows here are whole lines of 64 bytes
            page = byte // memory.page_bytes
            die = page // memory.stripe % (memory.channels * memory.dies)
            pages_of[die] += page != last
            channel_pages[die % memory.channels] += page != last
            bytes_of[die] += 64
            channel_bytes[die % memory.channels] += 64
            last = page
    rate = Fraction(10 ** 12, memory.processed_per_second)
    reading = max(pages_of.values()) * memory.read_ps
    if memory.processors == "die":
        return max(reading, max(ceil(size * rate) for size in bytes_of.values()))
    move = ceil(Fraction(memory.page_bytes * 10 ** 12, memory.bytes_per_second))
    return max(reading, move * max(channel_pages.values()), max(ceil(size * rate) for size in channel_bytes.values()))


def gathered(preset: Preset, numbers: list[int], row_bytes: int, stride: int) -> Any:
    listed = ", ".join(map(str, numbers))
    return run_program(assemble(f"""
        .machine slim-nsp
        .section .flash, "a"
        .balign 65536
        table: .zero 4194304
        .section .sram, "aw"
        to: .zero {max(1, len(numbers)) * row_bytes}
        .data
        .balign 4
        list: .word {listed}
        .text
        _start:
        li t0, {row_bytes}
        csrw fetch.row_bytes, t0
        li t0, {stride}
        csrw fetch.src_stride, t0
        la a0, to
        la a1, table
        la a2, list
        li a3, {len(numbers)}
        fetch.rows a0, a1, a2, a3
        li a0, 0
        li a7, 93
        ecall
    """, machine=preset), machine=preset)


CASES = {"objects of three pages": (12288, 12288, 3), "four in a page": (960, 1024, 1), "half a page": (2048, 2048, 1),
         "rows that cross pages": (6144, 6144, 1), "stripes of two": (8192, 8192, 2)}


@pytest.mark.parametrize("place", ["die", "channel"])
@pytest.mark.parametrize("cells", [SLC, TLC])
@pytest.mark.parametrize("case", CASES)
def test_the_slowest_die_or_channel_counts(case: str, place: str, cells: str) -> None:
    row_bytes, stride, stripe = CASES[case]
    preset, random = machine(place, cells, stripe), np.random.default_rng(len(case))
    memory = preset.memory("flash")
    assert isinstance(memory, Nand) and memory.stripe == stripe
    for share in (0.9, 0.3, 0.02):
        numbers = np.flatnonzero(random.random(4194304 // stride) < share).tolist()
        done = gathered(preset, numbers, row_bytes, stride)
        assert done.reference.time == done.fast.time
        expected = picoseconds(memory, [(number * stride, row_bytes) for number in numbers])
        assert done.fast.time.regions["flash"] == max(1, ceil(Fraction(expected, 1000)))


def test_a_layer_of_7b_takes_what_its_pages_take() -> None:
    """11,008 neurons of 12 KB, every second one, spread evenly over 64 dies: 86 objects of three pages each, 3 us a page."""
    memory = MEMORIES["nand-slc-die"]
    assert isinstance(memory, Nand) and (memory.channels * memory.dies, memory.read_ps) == (64, 3_000_000)
    pages = 11008 // 2 / 64 * 3
    assert 32 * pages * memory.read_ps == pytest.approx(24.8e9, rel=0.01)
    assert 12288 * 11008 / 2 / 64 * 32 / memory.processed_per_second == pytest.approx(21.1e-3, rel=0.01)      # which is less


def test_another_place_keeps_the_stripe_and_a_plain_flash_has_none() -> None:
    preset = load_preset("slim-nsp")
    channel, plain = (what_if(preset, f"flash.memory={name}").memory("flash") for name in ("nand-slc-channel", "nand-slc"))
    assert isinstance(channel, Nand) and isinstance(plain, Nand)
    assert (channel.processors, channel.stripe, plain.processors, plain.stripe) == ("channel", 3, "none", 1)
    faster = preset.memory("flash").faster(Fraction(2))
    assert isinstance(faster, Nand) and (faster.read_ps, faster.processed_per_second) == (1_500_000, 3_200_000_000)
    with pytest.raises(PresetError, match=r"flash\.stripe: where an address lies is not a rate"):
        what_if(preset, "flash.stripe=2")
    data: Any = load_preset("slim").file.model_dump(mode="json", exclude_none=True)
    flash = data["region"]["flash"]
    flash["stripe"] = {"value": 3, "source": ASSUMED}
    with pytest.raises(PresetError, match=r"region\.flash\.stripe: present; expected it beside the name of a memory"):
        preset_of(data)
    for key in ("latency_cycles", "bytes_per_cycle"):
        flash.pop(key)
    flash["memory"] = {"value": "nand-slc", "source": ASSUMED}
    with pytest.raises(PresetError, match=r"region\.flash\.stripe: present; expected no stripe: nand-slc has no processors"):
        preset_of(data)
