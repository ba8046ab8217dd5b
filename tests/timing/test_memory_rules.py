"""The rule of memories: its events are counted once more by plain loops, its cycles are those of DRAMsim3.

PUBLISHED has points of the shipped table; all of that are compared, too.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from statistics import mean

import numpy as np
import pytest

from isa.timing import flash_rules as flash
from isa.timing import memory_rules as rules
from isa.timing.memories import MEMORIES, Dram
from slimulator.validate import dramsim3
from slimulator.validate.points import SHIPPED, Point, difference, points_of

STREAM, GATHER = 0.03, 0.10             # the most that streams of 256 KiB and gathers of 1 MiB may be off
KIB, MIB = 1 << 10, 1 << 20
SLC, TLC = MEMORIES["nand-slc"], MEMORIES["nand-tlc"]

PUBLISHED = [                           # DRAMsim3 2981759
    #  config                          workload                      bytes      cycles
    ("HBM2_8Gb_x128",                 "stream read",                1 * MIB,     4468),
    ("HBM2_8Gb_x128",                 "stream write",             256 * KIB,      986),
    ("HBM2_8Gb_x128+bg_low",          "stream read",                1 * MIB,     4438),
    ("HBM2_8Gb_x128+bg_low",          "stream write",             256 * KIB,      924),
    ("HBM2_8Gb_x128+1ch",             "stream read",                1 * MIB,    35585),
    ("DDR4_8Gb_x8_2400",              "stream read",              256 * KIB,    21087),
    ("DDR4_8Gb_x8_2400",              "stream read",                4 * MIB,   338077),
    ("DDR4_8Gb_x8_2400",              "stream write",               1 * MIB,    83929),
    ("DDR4_8Gb_x8_2400+bg_low",       "stream read",                1 * MIB,    68875),
    ("LPDDR4_8Gb_x16_2400",           "stream read",                1 * MIB,    65601),
    ("LPDDR4_8Gb_x16_2400",           "stream read",                4 * MIB,   273011),
    ("LPDDR4_8Gb_x16_2400+bg_low",    "stream write",               4 * MIB,   272507),
    ("GDDR6_8Gb_x16",                 "stream read",                4 * MIB,    50015),
    ("HBM2_8Gb_x128",                 "random bursts",              1 * MIB,    18078),
    ("HBM2_8Gb_x128",                 "random chunks of 1024 B",    1 * MIB,     5890),
    ("HBM2_8Gb_x128",                 "random chunks of 8192 B",    1 * MIB,     6372),
    ("HBM2_8Gb_x128+1ch",             "random chunks of 1024 B",    1 * MIB,    35732),
    ("DDR4_8Gb_x8_2400",              "random bursts",              1 * MIB,    75830),
    ("DDR4_8Gb_x8_2400",              "random chunks of 8192 B",    1 * MIB,    91581),
    ("DDR4_8Gb_x8_2400+bg_low",       "random chunks of 1024 B",    1 * MIB,    68309),
    ("LPDDR4_8Gb_x16_2400",           "random bursts",              1 * MIB,    66359),
    ("LPDDR4_8Gb_x16_2400",           "random chunks of 8192 B",    1 * MIB,    69274),
    ("GDDR6_8Gb_x16",                 "random bursts",              1 * MIB,    54494),
    ("GDDR6_8Gb_x16",                 "random chunks of 65536 B",   1 * MIB,    12537),
]


def counted(memory, spans):
    """The figures of a memory, and the events of spans of (address, bytes)."""
    figures = rules.figures_of(memory)
    events = rules.events_of(figures)
    rules.begin(events)
    for address, count in spans:
        rules.span(events, figures, address, count)
    return figures, events


def cycles_of(point):
    """What the rule gives for a point, of events counted from its addresses."""
    memory, _ = dramsim3.memory_of(point.config)
    size, piece = point.parameters["bytes"], dramsim3.piece_of(point.workload, memory)
    if piece is None:
        figures, events = counted(memory, [(0, size)])
        if point.workload == "stream write":
            return int(rules.released(figures, events, 0, 0))
        return int(rules.finish(figures, events, 0, 0, 0))
    places = dramsim3.addresses(size // piece, piece).astype(np.int64) * piece
    figures, events = counted(memory, [(place, piece) for place in places.tolist()])
    return int(rules.finish(figures, events, -1, 0, 0))


@pytest.mark.parametrize(("config", "workload", "size", "cycles"), PUBLISHED)
def test_cycles_are_those_of_dramsim3(config, workload, size, cycles):
    point = Point("DRAMsim3", config, workload, {"bytes": size}, cycles)
    assert abs(difference(cycles_of(point), cycles)) <= (STREAM if workload.startswith("stream") else GATHER)


def test_all_published_points_of_dramsim3():
    off = {"stream": [], "gather": []}
    for point in points_of(SHIPPED, "DRAMsim3"):
        stream, size = point.workload.startswith("stream"), point.parameters["bytes"]
        if size >= (256 * KIB if stream else MIB):
            off["stream" if stream else "gather"].append(abs(difference(cycles_of(point), point.cycles)))
    assert len(off["stream"]) == 40 and max(off["stream"]) <= STREAM and mean(off["stream"]) <= 0.01
    assert len(off["gather"]) == 27 and max(off["gather"]) <= GATHER and mean(off["gather"]) <= 0.03


# ------------------------------------------------------------------------------------------------ events


def fields_of(memory, burst):
    """Where a burst lies, by taking its address apart field by field."""
    sizes = {"channel": memory.channels, "rank": memory.ranks, "group": memory.bank_groups, "bank": memory.banks,
             "column": memory.row_bytes // memory.burst_bytes, "row": memory.rows}
    found = {}
    for name in reversed(memory.mapping.split()):
        burst, found[name] = divmod(burst, sizes[name])
    return found


def plainly_counted(memory, spans):
    """Bursts, rows opened, and those of the worst bank, burst by burst."""
    bursts, opened, rows = 0, Counter(), {}
    for address, count in spans:
        for burst in range(address // memory.burst_bytes, (address + count - 1) // memory.burst_bytes + 1 if count else 0):
            place = fields_of(memory, burst)
            bank = tuple(place[name] for name in ("channel", "rank", "group", "bank"))
            bursts += 1
            if rows.get(bank) != place["row"]:
                rows[bank] = place["row"]
                opened[bank] += 1
    return bursts, opened.total(), max(opened.values(), default=0)


DRAMS = [memory for memory in MEMORIES.values() if isinstance(memory, Dram)]
MAPPINGS = ("row rank group bank channel column", "row channel rank bank group column", "row rank bank column channel group",
            "row bank column rank group channel")


@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize("memory", DRAMS, ids=lambda memory: memory.name)
def test_events_are_those_of_a_count_burst_by_burst(memory, mapping):
    memory, random = replace(memory, mapping=mapping), np.random.default_rng(5)
    for most in (1, 100, 5000, 100_000):
        spans = [(int(random.integers(1 << 24)), int(random.integers(most + 1))) for _ in range(12)]
        figures, events = counted(memory, spans)
        assert (events[rules.BURSTS], events[rules.OPENED], events[rules.WORST]) == plainly_counted(memory, spans)
        assert rules.slots(events, figures) * memory.channels >= events[rules.BURSTS]


def test_a_row_stays_open_from_operation_to_operation():
    figures, events = counted(MEMORIES["DDR4-2400"], [(0, 4096)])
    assert events[rules.OPENED] == 1
    rules.begin(events)
    rules.span(events, figures, 4096, 4096)
    assert events[rules.OPENED] == 0 and events[rules.BURSTS] == 64
    rules.begin(events)
    assert rules.busy(figures, events, 0) == rules.busy(figures, events, 1) == 0


def test_a_requester_in_order_waits_for_a_full_channel():
    """Eight channels work at once, unless all that is asked for is in one."""
    memory = MEMORIES["HBM2"]
    together, apart = ([(i * step, 2048) for i in range(64)] for step in (2048, 2048 * 8))
    slots = [int(rules.slots(events, figures)) for figures, events in (counted(memory, spans) for spans in (together, apart))]
    assert slots[0] <= 64 * 32 // 8 + 32 and slots[1] >= 64 * 32


def test_a_mapping_has_each_field_once():
    with pytest.raises(ValueError, match="expected each of channel, rank, group, bank, column, row once"):
        rules.figures_of(replace(MEMORIES["HBM2"], mapping="row rank group bank column"))


# ------------------------------------------------------------------------------------------------ time


@pytest.mark.parametrize("seed", range(20))
def test_refreshes_are_those_of_a_count_cycle_by_cycle(seed):
    random = np.random.default_rng(seed)
    interval, lost = int(random.integers(50, 200)), int(random.integers(1, 49))
    start, work = int(random.integers(300)), int(random.integers(2000))
    now, done, refreshing = start, 0, 0
    while done < work:
        if now % interval == 0 and now > start:
            refreshing += lost
        if refreshing: refreshing -= 1
        else: done += 1
        now += 1
    if work: assert rules.refreshed(start, work, interval, lost) == now
    assert rules.refreshed(start, work, 0, lost) == rules.refreshed(start, work, interval, -1) == start + work


def test_one_bank_takes_its_row_cycle_for_each_row():
    memory = MEMORIES["DDR4-2400"]
    bank = memory.row_bytes * memory.bank_groups * memory.banks * memory.ranks          # bytes until the same bank comes again
    figures, events = counted(memory, [(i * bank, 64) for i in range(50)])
    assert events[rules.WORST] == 50
    assert rules.busy(figures, events, 0) >= 50 * memory.tRC


def test_a_write_lets_its_requester_go_first():
    figures, events = counted(MEMORIES["HBM2"], [(0, MIB)])
    assert 0 < rules.released(figures, events, 0, 100) < rules.finish(figures, events, 0, 1, 100)


# ------------------------------------------------------------------------------------------------ flash


def plain_flash(nand, pages):
    """Pages in the order of the list: a plane reads when its register is free, a bus moves what is ready."""
    move = -(-nand.page_bytes * 10 ** 12 // nand.bytes_per_second)
    units = nand.dies * nand.planes
    unit, bus, end = Counter(), Counter(), 0
    for page in pages:
        where, channel = page % (nand.channels * units), page % nand.channels
        bus[channel] = max(bus[channel], unit[where] + nand.read_ps) + move
        unit[where] = bus[channel]
        end = max(end, bus[channel])
    return end


@pytest.mark.parametrize("nand", [SLC, TLC, replace(SLC, channels=3, dies=1, planes=5, read_ps=30_000_000)])
def test_flash_that_is_read_in_order(nand):
    figures = flash.figures_of(nand)
    for pages in (1, 2, 16, 17, 128, 129, 300, 1000):
        events = flash.events_of(figures)
        flash.begin(events)
        flash.span(events, figures, 0, pages * nand.page_bytes)
        assert events[flash.PAGES] == pages
        assert int(flash.busy(figures, events)) == plain_flash(nand, range(pages))


def test_flash_pages_of_rows():
    """Rows in one page cost it once, and rows in one plane wait for each other."""
    figures = flash.figures_of(SLC)
    events = flash.events_of(figures)
    flash.begin(events)
    for row in range(8):
        flash.span(events, figures, row * 512, 512)
    assert events[flash.PAGES] == 1
    once = int(flash.busy(figures, events))
    flash.begin(events)
    assert flash.busy(figures, events) == 0
    for row in range(8):
        flash.span(events, figures, row * 4096 * 128, 512)
    assert (events[flash.PAGES], events[flash.WORST_UNIT]) == (8, 8)
    assert int(flash.busy(figures, events)) == 8 * once


def test_scattered_flash_is_never_faster_than_the_plain_model_by_much():
    random, figures = np.random.default_rng(3), flash.figures_of(SLC)
    for count in (10, 100, 1000):
        pages = random.integers(0, 1 << 20, count).tolist()
        events = flash.events_of(figures)
        flash.begin(events)
        for page in pages:
            flash.span(events, figures, page * 4096, 4096)
        assert int(flash.busy(figures, events)) <= plain_flash(SLC, pages) <= 2 * int(flash.busy(figures, events))
