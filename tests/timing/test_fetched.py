"""Fetch operations on memories with a name: the clock counts the rows and pages that they touch, alike on both engines."""

from fractions import Fraction
from math import ceil
from random import Random
from typing import Any

import numpy as np
import pytest
from both_engines import run_program

from asm.assembler import assemble
from emulator.machine import Machine
from isa.engine.snapshot import SnapshotError
from isa.preset import Preset, PresetError, load_preset, preset_of
from isa.timing import clock_rules, flash_rules, memory_rules, rates
from isa.timing.clock_figures import figures_of
from isa.timing.memories import MEMORIES

ASSUMED = "assumed: for a test"
OFFSET = 1 << 20                    # of the data in dram


def machine(memory: str = "DDR4-2400", region: str = "dram", **more: Any) -> Preset:
    """slim, whose dram, flash or hbm names a memory."""
    data: Any = load_preset("slim").file.model_dump(mode="json", exclude_none=True)
    table = data["region"][region]
    for key in ("latency_cycles", "bytes_per_cycle"):
        table.pop(key, None)
    for key, value in ({"memory": memory} | more).items():
        table[key] = {"value": value, "source": ASSUMED}
    return preset_of(data)


def run(lines: str, preset: Preset) -> Any:
    """A program on both engines, which agree in every word of the clock."""
    done = run_program(assemble(f".machine slim\n.text\n_start:\n{lines}\nli a7, 93\nli a0, 0\necall\n"), machine=preset)
    assert done.reference.time == done.fast.time
    return done


def registers(**values: int) -> str:
    return "".join(f"li {name}, {value}\n" for name, value in values.items())


SRAM, DRAM, FLASH = (load_preset("slim").region(name).base for name in ("sram", "dram", "flash"))
FAR = DRAM + OFFSET


def expected(preset: Preset, spans: list[tuple[int, int]], place: int, writes: int, start: int) -> int:
    """Cycles of the machine for spans of dram, from its own rule."""
    memory = preset.memory("dram")
    figures = memory_rules.figures_of(memory)
    events = memory_rules.events_of(figures)
    memory_rules.begin(events)
    for address, size in spans:
        memory_rules.span(events, figures, address, size)
    ratio = preset.period / memory.period_ps
    end = memory_rules.finish(figures, events, place, writes, -(-start * ratio.numerator // ratio.denominator))
    return -(-int(end) * ratio.denominator // ratio.numerator) - start


def starts(lines: str) -> int:
    """The cycle in which the last operation of a program starts, if it waits for nothing: instructions before and with it."""
    code = assemble(f".machine slim\n.text\n_start:\n{lines}")
    return sum(section.size for section in code.sections) // 4 - 1


PATTERNS = {                        # instructions, spans of dram from OFFSET on, linear, writes
    "a copy": (registers(a0=SRAM, a1=FAR, a2=100_000) + "fetch.copy a0, a1, a2", [(0, 100_000)], True, 0),
    "a copy into it": (registers(a0=FAR, a1=SRAM, a2=100_000) + "fetch.copy a0, a1, a2", [(0, 100_000)], True, 1),
    "inside": (registers(a0=FAR, a1=FAR + 65536, a2=4096) + "fetch.copy a0, a1, a2", [(65536, 4096), (0, 4096)], False, 0),
    "a tile": (registers(t0=192, t1=8192, a0=SRAM, a1=FAR, a2=50) + "csrw fetch.row_bytes, t0\ncsrw fetch.src_stride, t1\n"
               "fetch.copy2d a0, a1, a2", [(8192 * i, 192) for i in range(50)], False, 0),
    "a plain tile": (registers(t0=192, a0=SRAM, a1=FAR, a2=50) + "csrw fetch.row_bytes, t0\nfetch.copy2d a0, a1, a2",
                     [(0, 192 * 50)], True, 0),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_the_clock_takes_what_the_rule_of_the_memory_takes(name: str) -> None:
    lines, spans, linear, writes = PATTERNS[name]
    preset = machine()
    done = run(lines, preset)
    time = done.fast.time
    cycles = expected(preset, [(OFFSET + place, size) for place, size in spans], OFFSET + spans[0][0] if linear else -1, writes,
                      starts(lines))
    assert time.regions["dram"] == cycles
    other = 2 if time.regions["sram"] else 0                    # the latency of the other side's region
    assert time.queues["fetch"].busy == 10 + other + cycles     # slim's start; the memory is what takes longest
    assert sum(time.critical_path.values()) == time.cycles


INDEX = [7, 3, 3, 900, 12, 0, 65_000]


@pytest.mark.parametrize("scatters", [False, True])
def test_rows_by_a_list(scatters: bool) -> None:
    lines = (registers(t0=4, a0=SRAM, a1=FAR, a2=SRAM + 65536, a3=len(INDEX), t1=256)
             + "".join(f"li t2, {number}\nsw t2, {4 * i}(a2)\n" for i, number in enumerate(INDEX))
             + "csrw fetch.row_bytes, t1\n" + ("fetch.scatter a1, a0, a2, a3" if scatters else "fetch.rows a0, a1, a2, a3"))
    preset = machine()
    time = run(lines, preset).fast.time
    figures = memory_rules.figures_of(preset.memory("dram"))
    events = memory_rules.events_of(figures)
    memory_rules.begin(events)
    for number in INDEX:
        memory_rules.span(events, figures, OFFSET + 256 * number, 256)
    busy = memory_rules.busy(figures, events, int(scatters))
    assert abs(time.regions["dram"] - busy * preset.memory("dram").period_ps / preset.period) <= 2


def test_a_table_that_begins_below_the_memory() -> None:
    """As that of a list that counts from 1: its rows are the same."""
    def time(first: int) -> int:
        lines = registers(t1=4096, a0=SRAM + 131_072, a1=DRAM - 4096 * first, a2=SRAM, a3=16) + "csrw fetch.row_bytes, t1\n"
        lines += "".join(f"li t2, {first + i}\nsw t2, {4 * i}(a2)\n" for i in range(16)) + "fetch.rows a0, a1, a2, a3"
        return int(run(lines, machine()).fast.time.regions["dram"])
    assert 0 <= time(1) - time(0) <= 2 < time(0)


def test_a_list_that_is_overwritten() -> None:
    """The rows are read, then written over the list: they are those of the list as it was, not of the zeros that it becomes."""
    numbers = [999_983, 3, 524_287, 77, 131_071, 786_433]
    lines = (registers(t1=64, a0=FAR, a1=FAR + 65536, a2=FAR, a3=len(numbers))
             + "".join(f"li t2, {number}\nsw t2, {4 * i}(a2)\n" for i, number in enumerate(numbers))
             + "csrw fetch.row_bytes, t1\nfetch.rows a0, a1, a2, a3")
    preset = machine()
    done = run(lines, preset)
    assert not done.reference.memory[FAR:FAR + 64 * len(numbers)].any()

    def cycles(rows: list[int]) -> int:
        spans = [(OFFSET, 4 * len(rows)), *((OFFSET + 65536 + 64 * row, 64) for row in rows), (OFFSET, 64 * len(rows))]
        return expected(preset, spans, -1, 0, starts(lines))

    assert done.fast.time.regions["dram"] == cycles(numbers) != cycles([0] * len(numbers))


def test_pages_of_flash() -> None:
    """A page each, of 4096 bytes: one after the other in channels and planes; bytes of the same page are read once."""
    data = ".section .flash, \"a\"\ntable: .skip 1048576\n.text\n"
    preset = machine("nand-slc", "flash")
    memory = MEMORIES["nand-slc"]
    move = 4096 * 10 ** 12 / memory.bytes_per_second

    def time(lines: str) -> int:
        done = run_program(assemble(f".machine slim\n{data}_start:\n{lines}\nli a7, 93\nli a0, 0\necall\n"), machine=preset)
        assert done.reference.time == done.fast.time
        return done.fast.time.regions["flash"]

    one = time(registers(a0=SRAM, a2=4096) + "la a1, table\nfetch.copy a0, a1, a2")
    assert one == -(-(memory.read_ps + move) // 1000)
    assert time(registers(a0=SRAM, a2=1) + "la a1, table\nfetch.copy a0, a1, a2") == one         # a whole page for a byte
    sixteen = time(registers(a0=SRAM, a2=16 * 4096) + "la a1, table\nfetch.copy a0, a1, a2")
    assert sixteen == one                                                                           # each in another channel
    strided = time(registers(a0=SRAM, a2=16, t0=64, t1=16 * 4096)
                   + "la a1, table\ncsrw fetch.row_bytes, t0\ncsrw fetch.src_stride, t1\nfetch.copy2d a0, a1, a2")
    assert strided > 3 * one                                                                        # all in one channel
    figures = flash_rules.figures_of(memory)
    events = flash_rules.events_of(figures)
    flash_rules.begin(events)
    for i in range(16):
        flash_rules.span(events, figures, i * 16 * 4096, 64)
    assert strided == -(-int(flash_rules.busy(figures, events)) // 1000)


def test_rows_stay_open_from_operation_to_operation() -> None:
    again = registers(a0=SRAM, a1=FAR, a2=64) + "fetch.copy a0, a1, a2\nsync.fence\nfetch.copy a0, a1, a2"
    once = registers(a0=SRAM, a1=FAR, a2=64) + "fetch.copy a0, a1, a2"
    first, both = (run(lines, machine()).fast.time.regions["dram"] for lines in (once, again))
    assert both - first < first                                                                  # no activation


def test_a_mapping_of_ones_own(tmp_path: Any) -> None:
    spread, near = (run(PATTERNS["a copy"][0], machine(mapping=mapping)).fast.time.regions["dram"]
                    for mapping in ("row rank bank channel column group", "group rank bank row channel column"))
    assert spread < near
    for region, memory, mapping, says in (
            ("dram", "DDR4-2400", "row bank", "got 'row bank'; expected each of channel, rank, group, bank, column, row once"),
            ("flash", "nand-slc", "row", "region.flash.mapping: present; expected no mapping: nand-slc has none")):
        with pytest.raises(PresetError, match=says):
            machine(memory, region, mapping=mapping)
    data: Any = load_preset("slim").file.model_dump(mode="json", exclude_none=True)
    data["region"]["sram"]["mapping"] = {"value": "row", "source": ASSUMED}
    with pytest.raises(PresetError, match=r"region\.sram\.mapping: present; expected it beside the name of a memory"):
        preset_of(data)


# ------------------------------------------------------------------------------------------------ figures that are exact


def changed(**changes: Any) -> Preset:
    data: Any = load_preset("slim").file.model_dump(mode="json", exclude_none=True)
    for name, value in changes.items():
        table = data
        *path, key = name.split("__")
        for part in path:
            table = table[part]
        table[key] = {"value": value, "source": ASSUMED}
    return preset_of(data)


@pytest.mark.parametrize("memory", ["DDR4-2400", "HBM3-PIM", "GDDR6"])
def test_any_clock_beside_any_memory(memory: str) -> None:
    """The bandwidth of a memory in cycles of a machine is a long fraction, which `scaled` could not take."""
    data: Any = machine(memory, "hbm", channels=2).file.model_dump(mode="json", exclude_none=True)
    del data["unit"]["pim"], data["power"]["pim"]
    data["energy"] = {name: value for name, value in data["energy"].items() if not name.startswith("pim.")}
    for region in data["region"].values():
        region["ports"]["value"] = [port for port in region["ports"]["value"] if port != "pim"]
    data["clock_hz"] = {"value": 1_333_333_333, "source": ASSUMED}
    figures = figures_of(preset_of(data))
    for region in range(clock_rules.REGION_COUNT):
        place = clock_rules.REGION_FIGURES + clock_rules.REGION_FIGURE_WORDS * region + clock_rules.CYCLES
        assert 0 <= figures[place + rates.NUMERATOR] < 1 << 40 and 0 <= figures[place + rates.DENOMINATOR] < 1 << 40


def test_cycles_of_events_are_exact() -> None:
    """With a product and a shift, or a division: the next whole number of cycles, and no more."""
    random = Random(7)
    most = (1 << 40) - 1
    figures = [Fraction(1), Fraction(5, 192), Fraction(1, 512), Fraction(1, 3), Fraction(64), Fraction(1 << 24), Fraction(1, most),
               Fraction(most, most - 1)]
    figures += [Fraction(*(random.randrange(1, 1 << random.randrange(1, 41)) for _ in range(2))) for _ in range(500)]
    short = 0
    for cycles in figures:
        if cycles > 1 << 24:
            continue
        words = np.array(rates.cycles_figures(cycles), np.int64)
        most = int(words[rates.MOST])
        short += most == rates.MOST_SHORT
        for events in (1, 2, 3, most, most + 1, 192 * 1000, *(random.randrange(1, 1 << random.randrange(1, 38)) for _ in range(30)),
                       *(random.randrange(1, most + 1) for _ in range(30 * (most > 0)))):
            if events * cycles < 1 << 61:
                assert rates.cycles_of(words, 0, events) == ceil(events * cycles), (cycles, events)
    assert short > 100 and int(rates.cycles_figures(Fraction(5, 192))[0]) == rates.MOST_SHORT


def test_parts_of_a_cycle_of_the_core() -> None:
    """Rates of twelve digits: no common divisor fits a word."""
    preset = changed(core__rates__instructions_per_cycle=0.333333333333, core__rates__taken_branch_cycles=2.00000000007,
                     core__rates__multiplication_cycles=3.00000000011, core__rates__division_cycles=20.0000000013)
    done = run("li t0, 100000\n1: addi t0, t0, -1\nbnez t0, 1b", preset)
    instructions = int(done.fast.counter("core.instructions"))
    exact = instructions / 0.333333333333 + 99_999 * 2.00000000007 + 100
    assert -1 < done.fast.time.cycles - exact < 2 * instructions / clock_rules.PARTS


def test_the_slowest_figures_do_not_wrap() -> None:
    slow = changed(core__rates__instructions_per_cycle=0.0000001)
    assert run("nop\nnop", slow).fast.time.cycles == 5 * 10_000_000 + 100
    for name, value in (("core__rates__instructions_per_cycle", 0.00000001), ("core__rates__division_cycles", 1 << 25),
                        ("region__dram__latency_cycles", 1 << 25), ("region__dram__bytes_per_cycle", 0.00000001)):
        with pytest.raises(PresetError, match=r"16777216"):
            changed(**{name: value})
    with pytest.raises(PresetError, match=r"region\.flash\.speed\.value: got nand-slc, of which .* at most 16777216"):
        machine("nand-slc", "flash", speed=0.0000001)


# ------------------------------------------------------------------------------------------------ beside other memories


def with_attention(dram: str | None = None) -> Preset:
    """slim without pim, whose hbm has attention units; its dram may have a name."""
    data: Any = load_preset("slim").file.model_dump(mode="json", exclude_none=True)
    del data["unit"]["pim"], data["power"]["pim"]
    data["energy"] = {name: value for name, value in data["energy"].items() if not name.startswith("pim.")}
    for region in data["region"].values():
        region["ports"]["value"] = [port for port in region["ports"]["value"] if port != "pim"]
    for name, memory in (("hbm", "HBM3-AttAcc-bank"), ("dram", dram)):
        if memory:
            for key in ("latency_cycles", "bytes_per_cycle", "channels"):
                data["region"][name].pop(key, None)
            data["region"][name]["memory"] = {"value": memory, "source": ASSUMED}
    return preset_of(data)


HBM = load_preset("slim").region("hbm").base


def test_a_latency_stays_beside_another_memory_with_a_rule() -> None:
    """Bytes of hbm take its latency, whether fetch goes by the rows of dram or not."""
    lines = registers(a0=SRAM, a1=HBM, a2=64) + "fetch.copy a0, a1, a2"
    one, other = (run(lines, with_attention(dram)).fast.time.queues["fetch"].busy for dram in (None, "DDR4-2400"))
    assert one == other > 30


def test_a_query_waits_for_the_memory_that_it_goes_to() -> None:
    lines = (registers(t0=2, t1=2, t2=64) + "attn.setm t0, t1, t2\n" + registers(a0=SRAM, a1=HBM, a2=200_000)
             + "fetch.copy a0, a1, a2\n" + registers(a0=FAR) + "attn.wrgb.f32 a0")
    time = run(lines, with_attention()).fast.time
    assert time.queues["attn"].waiting["memory"] > 100 and sum(time.critical_path.values()) == time.cycles


def test_a_snapshot_knows_how_addresses_are_laid_out(tmp_path: Any) -> None:
    program = assemble(".machine slim\n.text\n_start:\nli a7, 93\nli a0, 0\necall\n")
    one = Machine(machine())
    one.load(program)
    one.save(tmp_path / "a.slim")
    with pytest.raises(SnapshotError, match="dram mapping"):
        Machine.restore(tmp_path / "a.slim", program, machine(mapping="row rank bank channel column group"))
