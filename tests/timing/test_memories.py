"""Named memories: latency and bandwidth as worked out by hand from their figures, and what these mean for a region's clock."""

from dataclasses import replace
from fractions import Fraction

import pytest

from isa.timing.memories import MEMORIES, Memory, Nand, memories_of

WORKED = {          # ps from a request to its first bytes; ps of a byte in a long run
    "DDR4-2400":    ((17 + 17 + 4) * 830, Fraction(4 * 830, 64) / (1 - Fraction(420 + 9 + 17 + 17, 2 * 9360))),
    "LPDDR4-2400":  ((15 + 17 + 8) * 830, Fraction(8 * 830, 128) / (1 - Fraction(392 + 12 + 15 + 15, 2 * 8660))),
    "HBM2":         ((14 + 14 + 2) * 1000, Fraction(2 * 1000, 8 * 64) / (1 - Fraction(260 + 6 + 14 + 14, 3900))),
    "GDDR6":        ((24 + 24 + 1) * 660, Fraction(3 * 660, 256) / (1 - Fraction(126 + 3 + 24 + 24, 11862))),
    "HBM3":         ((19 + 19 + 2) * Fraction(10_000, 13),
                     Fraction(2 * 10_000, 13 * 32 * 32) / (1 - Fraction(456 + 8 + 19 + 19, 2 * 5070))),
    "HBM2-PIM":     ((14 + 20 + 2) * 1000, Fraction(2 * 1000, 64 * 32) / (1 - Fraction(350, 3900))),
    "GDDR6-AiM":    ((36 + 50 + 2) * 500, Fraction(2 * 500, 32 * 32)),
    "HBM3-PIM":     ((19 + 19 + 2) * Fraction(10_000, 13), Fraction(2 * 10_000, 13 * 32 * 32) / (1 - Fraction(456, 5070))),
    "HBM3-PIM-SB":  ((19 + 19 + 2) * Fraction(10_000, 13), Fraction(2 * 10_000, 13 * 32 * 32) / (1 - Fraction(456, 5070))),
    **{f"HBM3-AttAcc-{units}": (40 * Fraction(10_000, 13), Fraction(2 * 10_000, 13 * 32 * 32) / (1 - Fraction(456, 5070)))
       for place in ("bank", "group", "buffer") for units in (place, f"{place}-unlimited")},
    "nand-slc":     (3_000_000, Fraction(10 ** 12, 16 * 1_200_000_000)),
    "nand-tlc":     (40_000_000, Fraction(10 ** 12, 16 * 1_200_000_000)),
    **{f"nand-slc-{place}": (3_000_000, Fraction(10 ** 12, 16 * 1_200_000_000)) for place in ("die", "channel")},
    **{f"nand-tlc-{place}": (40_000_000, Fraction(10 ** 12, 16 * 1_200_000_000)) for place in ("die", "channel")},
}


@pytest.mark.parametrize("memory", MEMORIES.values(), ids=MEMORIES)
def test_latency_and_bandwidth(memory: Memory) -> None:
    assert (memory.latency_ps(), memory.byte_ps()) == WORKED[memory.name]
    assert replace(memory, channels=2 * memory.channels).byte_ps() == memory.byte_ps() / 2
    assert replace(memory, channels=2 * memory.channels).latency_ps() == memory.latency_ps()
    twice = memory.faster(Fraction(2))
    assert (twice.latency_ps(), twice.byte_ps()) == (memory.latency_ps() / 2, memory.byte_ps() / 2)


def test_dies_that_are_slower_than_their_channels() -> None:
    slc = MEMORIES["nand-slc"]
    assert isinstance(slc, Nand)
    assert replace(slc, dies=1, planes=1, bytes_per_second=2_400_000_000).byte_ps() == Fraction(3_000_000, 4096 * 16)


def test_bandwidths_are_those_of_their_kind() -> None:
    """Gb/s as the name says it, less what refresh takes: of DDR4-2400 2.5 %, of HBM2 7.5 %, of HBM3 2 Tb/s a stack."""
    gigabytes = {name: float(1000 / memory.byte_ps()) for name, memory in MEMORIES.items()}
    assert 18.5 < gigabytes["DDR4-2400"] < 19.2 and 235 < gigabytes["HBM2"] < 256 and 620 < gigabytes["HBM3"] < 666
    assert gigabytes["nand-slc"] == pytest.approx(19.2)


def test_regions_can_name_them() -> None:
    near = [f"nand-{cells}-{place}" for cells in ("slc", "tlc") for place in ("die", "channel")]
    assert memories_of("flash") == ("nand-slc", "nand-tlc", *near) and memories_of("sram") == memories_of("mmio") == ()
    places = {name for name in MEMORIES if name.startswith("HBM3-AttAcc-")}
    assert {*memories_of("hbm")} - {*memories_of("dram")} == {"HBM2-PIM", "GDDR6-AiM", "HBM3-PIM", "HBM3-PIM-SB", *places}
