"""The memory trace: the lines that other simulators read, and that no byte which is counted is missing."""

import json
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from math import ceil
from pathlib import Path

import pytest

from asm.assembler import assemble
from emulator.machine import Machine
from emulator.observe.memory_trace import BURST, MemoryTrace
from isa.preset import Preset, load_preset
from isa.reference import ReferenceMachine, Step
from isa.shipped import PROGRAMS
from isa.timing.what_if import what_if

Command = Callable[..., tuple[int, str, str]]

SOURCE = """
_start: la a0, data
        ld t0, 0(a0)                    # a load of 8 bytes: a burst
        sd t0, 120(a0)
        addi a2, a0, 60
        lw t0, 0(a2)                    # the last bytes of a burst
        li a1, 0x10000000
        li a2, 200
        addi a3, a0, 1000
        fetch.copy a1, a3, a2           # bytes 1000..1199: bursts 960, 1024, 1088, 1152
        lb t0, 4(a0)                    # before the fetch has ended
        sync.fence
        li a2, 16
        vec.add.f32 a0, a0, a1, a2      # reads and writes a burst of dram
        li a7, 93
        li a0, 0
        ecall
        .data
        .balign 4096
data:   .zero 8192
"""
LINES = """
    0x1000 READ 3
    0x1040 WRITE 64
    0x1000 READ 66
    0x13c0 READ 129
    0x1400 READ 129
    0x1440 READ 129
    0x1480 READ 129
    0x1000 READ 131
    0x1000 READ 207
    0x1000 WRITE 207
"""


@pytest.fixture
def elf(tmp_path: Path) -> Path:
    assemble(SOURCE).save(tmp_path / "p.elf")
    return tmp_path / "p.elf"


def traced(machine: ReferenceMachine, path: Path, form: str = "dramsim3", region: str = "dram", limit: int | None = None,
           **how: int) -> list[str]:
    with MemoryTrace(path, form, region, limit) as trace:
        trace.watch(machine)
        machine.run(**how)
    assert trace.error is None and trace.written == len(path.read_text().splitlines())
    return path.read_text().splitlines()


@pytest.mark.parametrize("engine", [Machine, ReferenceMachine])
def test_the_lines_of_a_program(engine: type[ReferenceMachine], tmp_path: Path) -> None:
    machine = engine("slim")
    machine.load(assemble(SOURCE))
    lines = traced(machine, tmp_path / "t")
    assert lines == list(map(str.strip, LINES.strip().splitlines()))
    other = engine("slim", time=False)
    other.load(assemble(SOURCE))
    plain = traced(other, tmp_path / "r", "ramulator2")
    assert plain == [f"{'LD' if kind == 'READ' else 'ST'} {address}" for address, kind, _ in map(str.split, lines)]


def test_what_starts_first_is_first(tmp_path: Path) -> None:
    """The second copy waits for the first one; the core's load behind it in the program does not."""
    source = ("_start: li a0, 0x10000000\n la a1, data\n li a2, 4096\n fetch.copy a0, a1, a2\n fetch.copy a0, a1, a2\n"
              " lb t0, 64(a1)\n li a7, 93\n li a0, 0\n ecall\n .data\n .balign 4096\ndata: .zero 4096\n")
    machine = Machine("slim")
    machine.load(assemble(source))
    lines = [line.split() for line in traced(machine, tmp_path / "t")]
    cycles = [int(cycle) for *_, cycle in lines]
    assert cycles == sorted(cycles) and len(set(cycles)) == 3 and lines[64][:2] == ["0x1040", "READ"]
    assert len(lines) == 129 and lines[0][0] == lines[65][0] == "0x1000"
    program = Machine("slim", time=False)
    program.load(assemble(source))
    in_order = traced(program, tmp_path / "r", "ramulator2")
    assert in_order[128] == "LD 0x1040" and Counter(in_order) == Counter(f"LD {address}" for address, *_ in lines)


def expected(machine: ReferenceMachine, region: str, burst: int) -> tuple[Counter[str], Counter[str], list[int]]:
    """Lines by text, and bytes, of the accesses that a hook sees; in hbm not those of the pim unit, whose bytes the list has."""
    lines: Counter[str] = Counter()
    size: Counter[str] = Counter()
    of_pim = [0, 0]
    base, end = machine.preset.region(region).base, machine.preset.region(region).end

    def look(machine: ReferenceMachine, step: Step) -> None:
        if step.trap is not None or step.row is None:
            return
        if region == "hbm" and step.row.unit == "pim":
            for i, verb in enumerate(("read", "written")):
                of_pim[i] += machine.counter(f"hbm.bytes_{verb}") - before[i]
        else:
            for kind, accesses in (("LD", step.reads), ("ST", [(address, len(data)) for address, data in step.writes])):
                for address, count in accesses:
                    if base <= address < end and count:
                        size[kind] += count
                        for place in range((address - base) // burst, (address - base + count - 1) // burst + 1):
                            lines[f"{kind} {place * burst:#x}"] += 1
        before[:] = [machine.counter(f"{region}.bytes_{verb}") for verb in ("read", "written")]

    before = [0, 0]
    machine.hook(look)
    return lines, size, of_pim


@pytest.mark.parametrize(("preset", "name", "region"), [
    ("slim", "sparse_ffn", "dram"), ("slim", "llama_layer", "dram"), ("slim", "double_buffer", "dram"), ("slim", "hello", "dram"),
    ("hbm2-pim", "pim_crf_gemv", "hbm"), ("hbm2-pim", "pim_crf_gemv", "dram"), ("gddr6-aim", "pim_aim_gemv", "hbm")])
def test_no_byte_that_is_counted_is_missing(preset: str, name: str, region: str, tmp_path: Path) -> None:
    machine = Machine(preset)
    machine.load(assemble(PROGRAMS / f"{name}.s"))
    burst = 32 if region == "hbm" else BURST
    lines, size, of_pim = expected(machine, region, burst)
    found = traced(machine, tmp_path / "t", "ramulator2", region)
    assert Counter(found) == lines
    for i, (kind, verb) in enumerate((("LD", "read"), ("ST", "written"))):
        assert size[kind] + of_pim[i] == machine.counter(f"{region}.bytes_{verb}")
        assert burst * sum(line.startswith(kind) for line in found) >= size[kind]


ATTENTION = """
        .machine attacc
        .section .hbm
keys:   .zero 2 * 64 * 4
        .section .sram
query:  .zero 4 * 64
scores: .zero 4 * 4
        .text
_start: li a0, 1
        li a2, 64
        attn.setm a0, a0, a2
        la a0, query
        attn.wrgb.f32 a0
        la a0, scores
        la a1, keys
        li a2, 4
        attn.mac.f16 a0, a1, a2         # 512 bytes of keys
        sync.fence
        lw t0, 0(a1)                    # and a load of the core
        li a7, 93
        li a0, 0
        ecall
"""


@pytest.mark.parametrize(("memory", "lines"), [("HBM3-AttAcc-bank", 1), ("HBM3-AttAcc-buffer", 1), ("HBM3", 17)])
def test_what_attention_reads_in_its_memory_stays_there(memory: str, lines: int, tmp_path: Path) -> None:
    machine = Machine(what_if(load_preset("attacc"), f"hbm.memory={memory}"))
    machine.load(assemble(ATTENTION))
    assert len(traced(machine, tmp_path / "t", "ramulator2", "hbm")) == lines
    assert machine.counter("hbm.bytes_read") == 512 + 4


def test_bursts_and_cycles_of_a_named_memory(tmp_path: Path) -> None:
    preset: Preset = what_if(load_preset("slim"), "dram.memory=LPDDR4-2400")
    machine = Machine(preset)
    machine.load(assemble(SOURCE))
    lines = [line.split() for line in traced(machine, tmp_path / "t")]
    assert [line[0] for line in lines[:7]] == ["0x1000"] * 3 + ["0x1380", "0x1400", "0x1480", "0x1000"]
    assert int(lines[0][2]) == ceil(3 * Fraction(1000, 830))


def test_a_limit_and_its_message(command: Command, elf: Path, tmp_path: Path) -> None:
    whole, some = ("run", elf, "--memory-trace", tmp_path / "t"), tmp_path / "some"
    status, _, errors = command(*whole)
    assert status == 0 and "note:" not in errors
    status, _, errors = command("run", elf, "--memory-trace", some, "--trace-limit", 5, "--quiet", "--json", tmp_path / "r.json")
    assert status == 0 and errors == f"{some}: note: the trace ends after 5 lines, before the run does; --trace-limit N writes N\n"
    assert some.read_text().splitlines() == (tmp_path / "t").read_text().splitlines()[:5]
    assert json.loads((tmp_path / "r.json").read_text())["reason"] == "exit"
    lines = len((tmp_path / "t").read_text().splitlines())
    assert "note:" not in command(*whole, "--trace-limit", lines)[2]


def test_what_is_refused(command: Command, elf: Path, tmp_path: Path) -> None:
    trace = ("--memory-trace", tmp_path / "t")
    for options, says in (
            (("--trace-format", "dramsim3"), "need --memory-trace F"), (("--trace-region", "hbm"), "need --memory-trace F"),
            ((*trace, "--no-time", "--trace-format", "dramsim3"), "it has cycles, ramulator2 has none"),
            ((*trace, "--trace-unit", "vec"), "need --trace F"), (("--memory-trace", elf), "is a file that is read")):
        status, _, errors = command("run", elf, *options)
        assert status == 2 and says in errors, errors
    assert command("run", elf, *trace, "--no-time", "--quiet")[0] == 0
    status, out, errors = command("run", elf, "--memory-trace", tmp_path / "no" / "t")
    assert status == 1 and out == "" and errors.count("\n") == 1 and "the directory to write it to does not exist" in errors
    assemble("_start: li a7, 93\n ecall\n", machine="slim-llama").save(tmp_path / "l.elf")
    status, _, errors = command("run", tmp_path / "l.elf", *trace, "--trace-region", "hbm")
    assert status == 1 and "unknown region 'hbm'" in errors and not (tmp_path / "no").exists()


def test_a_run_that_is_cut_short_leaves_whole_lines(tmp_path: Path) -> None:
    machine = Machine("slim")
    machine.load(assemble(PROGRAMS / "sparse_ffn.s"))
    some = traced(machine, tmp_path / "t", max_instructions=700)
    again = Machine("slim")
    again.load(assemble(PROGRAMS / "sparse_ffn.s"))
    whole = traced(again, tmp_path / "w")
    assert 0 < len(some) < len(whole) and not Counter(some) - Counter(whole)
    assert (tmp_path / "t").read_text().endswith("\n")
