"""The hazard check: it reports what was not waited for, names it rightly, and keeps silent about what was.

The programs in programs/ are clean, and each of their fences is there for a reason. Random programs are judged by another
method: a graph of what must come before what, in which a hazard is a conflict without a path.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import asm
import slimulator
from emulator.machine import Machine
from emulator.observe.hazards import Hazard, HazardCheck
from emulator.observe.intervals import LastTouch, ranges
from isa.reference import ReferenceMachine
from isa.traps import Cause

PROGRAMS = Path(__file__).parents[2] / "programs"
NAMES = sorted(path.stem for path in PROGRAMS.glob("*.s"))
ENGINES = pytest.mark.parametrize("engine", [ReferenceMachine, Machine])

# A, B, C: 64 bytes each in sram. s0, s1, s2 hold their addresses, s3 = 16 elements, s4 = 64 bytes, s5 = 1 and s6 = 2 are tags.
SETUP = """
    .equ A, 0x10000000
    .equ B, 0x10001000
    .equ C, 0x10002000
    .section .text
    .globl _start
_start:
    li s0, A
    li s1, B
    li s2, C
    li s3, 16
    li s4, 64
    li s5, 1
    li s6, 2
"""
END = "\n    li a7, 93\n    li a0, 0\n    ecall\n"


def check(text: str, engine: type[ReferenceMachine] = ReferenceMachine, every: bool = True) -> tuple[list[Hazard], str]:
    """The hazards of some instructions, and how the run ended."""
    program = asm.assemble(SETUP + text + END, include_paths=[PROGRAMS])
    machine = engine(program.machine)
    machine.load(program)
    looking = HazardCheck(machine, every)
    reason = machine.run(max_instructions=200_000).reason
    return looking.hazards, reason


# ------------------------------------------------------------------------------------------------ the programs


def run_program(source: str, engine: type[ReferenceMachine] = ReferenceMachine) -> HazardCheck:
    program = asm.assemble(source, include_paths=[PROGRAMS])
    machine = engine(program.machine)
    machine.load(program)
    looking = HazardCheck(machine, every=True)
    assert machine.run(max_instructions=200_000).reason == "exit"
    return looking


@ENGINES
@pytest.mark.parametrize("name", NAMES)
def test_the_programs_are_clean(name: str, engine: type[ReferenceMachine]) -> None:
    assert run_program((PROGRAMS / f"{name}.s").read_text(), engine).hazards == []


WAITS = [(name, number) for name in NAMES for number, line in enumerate((PROGRAMS / f"{name}.s").read_text().splitlines())
         if re.match(r"\s+sync\.(wait|fence)", line)]
# The copy of the residual stream is covered by the fence in `bitlinear_input` that follows before anybody reads it.
NEEDLESS = {("bitnet_layer", "    la      a1, residual")}


@pytest.mark.parametrize(("name", "number"), WAITS)
def test_without_one_of_their_waits_they_are_not(name: str, number: int) -> None:
    lines = (PROGRAMS / f"{name}.s").read_text().splitlines()
    lines[number] = "    nop"
    hazards = run_program("\n".join(lines)).hazards
    assert bool(hazards) != any((name, line) in NEEDLESS for line in lines[number - 3:number])


def test_a_message_has_both_instructions_bytes_and_the_wait() -> None:
    lines = (PROGRAMS / "double_buffer.s").read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if "sync.wait.lut" in line)
    lines[at] = "nop"
    hazard = run_program("\n".join(lines)).hazards[0]
    copy = next(i for i, line in enumerate(lines, 1) if "# first tile" in line)
    mac = next(i for i, line in enumerate(lines, 1) if "lut.mac.t2" in line)
    assert re.fullmatch(rf"""read after write without a wait
  write:   fetch\.copy s0, s2, s5 +at 0x\w+ <_start\+0x\w+> \(<text>:{copy}\)
  read:    lut\.mac\.t2 s3, s0, s6 +at 0x\w+ <compute\+0x4> \(<text>:{mac}\)
  bytes:   0x10000000\.\.0x10000100 in sram <buffers>
  missing: sync\.wait\.lut on tag 1, which `fetch\.copy s0, s2, s5` at 0x\w+ signals; or sync\.fence""", str(hazard))


# ------------------------------------------------------------------------------------------------ case by case

WRITE, READ, WRITE_FETCH = "vec.relu.f32 s0, s1, s3\n", "lw t0, 60(s0)\n", "fetch.copy s0, s1, s4\n"

HAZARDS = {
    # instructions: the kind, the first bytes, what is missing
    WRITE + "lb t0, 63(s0)": ("read after write", 0x1000_003F, 1, "sync.signal.vec after it), and sync.wait on its tag"),
    WRITE + "sd zero, 56(s0)": ("write after write", 0x1000_0038, 8, "sync.signal.vec"),
    WRITE + "sd zero, 8(s1)": ("write after read", 0x1000_1008, 8, "sync.signal.vec"),
    WRITE + "fetch.copy s2, s0, s4": ("read after write", 0x1000_0000, 64, "sync.wait.fetch on its tag"),
    WRITE + "fetch.copy s0, s2, s4": ("write after write", 0x1000_0000, 64, "sync.wait.fetch on its tag"),
    WRITE + "fetch.copy s1, s2, s4": ("write after read", 0x1000_1000, 64, "sync.wait.fetch on its tag"),
    WRITE_FETCH + READ: ("read after write", 0x1000_003C, 4, "fetch.tag, or sync.signal.fetch after it"),
    "csrw fetch.tag, s5\n" + WRITE_FETCH + READ: ("read after write", 0x1000_003C, 4, "sync.wait on tag 1, which `fetch.copy"),
    # a service reads for the core
    WRITE + "li a7, 64\nli a0, 1\nmv a1, s0\nli a2, 3\necall": ("read after write", 0x1000_0000, 3, "sync.wait on"),
    # the signal came too early, or was another unit's, or the wait another queue's
    "sync.signal.vec s5\n" + WRITE + "sync.wait s5\n" + READ: ("read after write", 0x1000_003C, 4, "sync.signal.vec after it"),
    WRITE + "sync.signal.lut s5\nsync.wait s5\n" + READ: ("read after write", 0x1000_003C, 4, "sync.signal.vec after it"),
    WRITE + "sync.signal.vec s5\nsync.wait.fetch s5\n" + READ: ("read after write", 0x1000_003C, 4, "sync.wait on tag 1"),
    WRITE + "sync.signal.vec s5\nsync.wait.lut s5\nfetch.copy s2, s0, s4": (
        "read after write", 0x1000_0000, 64, "sync.wait.fetch on tag 1, which `sync.signal.vec s5`"),
    # a tag used again: the wait is for the latest signal before it, and the operation came after that
    WRITE_FETCH + "sync.signal.fetch s5\nsync.wait s5\nvec.relu.f32 s0, s2, s3\nsync.wait s5\n" + READ: (
        "read after write", 0x1000_003C, 4, "sync.signal.vec after it"),
    # a value in a register holds the core for its own unit alone
    WRITE_FETCH + "vec.sum.f32 t1, s1, s3\n" + READ: ("read after write", 0x1000_003C, 4, "sync.signal.fetch"),
    # fence and fence.i order the core's own accesses, no queues
    WRITE + "fence\nfence.i\n" + READ: ("read after write", 0x1000_003C, 4, "sync.fence"),
    # what was waited for is not what is touched: the second operation is
    WRITE + "sync.signal.vec s5\nvec.relu.f32 s2, s1, s3\nsync.wait s5\n" + READ + "lw t0, 0(s2)": (
        "read after write", 0x1000_2000, 4, "sync.signal.vec after it"),
    # rows with gaps: bytes of a row
    "li t0, 4\ncsrw fetch.row_bytes, t0\nli t0, 16\ncsrw fetch.dst_stride, t0\nli t1, 4\nfetch.copy2d s0, s1, t1\n"
    "lw t0, 32(s0)": ("read after write", 0x1000_0020, 4, "sync.signal.fetch"),
}


@ENGINES
@pytest.mark.parametrize("text", HAZARDS)
def test_a_hazard_is_reported(text: str, engine: type[ReferenceMachine]) -> None:
    kind, address, size, missing = HAZARDS[text]
    hazards, reason = check(text, engine)
    assert [(hazard.kind, hazard.address, hazard.size, hazard.region) for hazard in hazards] == [(kind, address, size, "sram")]
    assert missing in hazards[0].missing and hazards[0].missing.endswith("; or sync.fence")
    assert reason == "exit"


CLEAN = [
    WRITE + "sync.fence\n" + READ,
    WRITE + "sync.signal.vec s5\nsync.wait s5\n" + READ + "sd zero, 0(s1)",
    WRITE + "sync.signal.vec s5\nsync.wait.fetch s5\nfetch.copy s2, s0, s4",
    WRITE + "sync.signal.vec s5\nsync.wait s5\nfetch.copy s2, s0, s4",            # the core knows when it issues it
    "csrw fetch.tag, s5\n" + WRITE_FETCH + "sync.wait s5\n" + READ,
    "csrw fetch.tag, s5\n" + WRITE_FETCH + "sync.wait.vec s5\nvec.relu.f32 s0, s0, s3",
    WRITE + "vec.relu.f32 s0, s0, s3\nvec.relu.f32 s1, s2, s3",                   # a unit works in order
    WRITE + "vec.sum.f32 t1, s2, s3\n" + READ,                                    # a value in a register holds the core
    "sd zero, 0(s1)\nld t0, 0(s0)\n" + WRITE,                                     # the core's accesses come before the issue
    WRITE + "lw t0, 64(s0)\nsd zero, -8(s1)\nsd zero, 64(s1)",                      # the bytes beside
    WRITE + "ld t0, 0(s1)\nfetch.copy s2, s1, s4",                                # two may read
    # by way of a third: fetch waited for vec, and the core for fetch
    WRITE + "sync.signal.vec s5\nsync.wait.fetch s5\nfetch.copy s2, s0, s4\nsync.signal.fetch s6\nsync.wait s6\n" + READ,
    # a tag used again: its latest signal covers both
    "sync.signal.vec s5\n" + WRITE + "sync.signal.vec s5\nsync.wait s5\n" + READ,
    # rows with gaps: bytes between them
    "li t0, 4\ncsrw fetch.row_bytes, t0\nli t0, 16\ncsrw fetch.dst_stride, t0\nli t1, 4\nfetch.copy2d s0, s1, t1\n"
    "lw t0, 36(s0)\nsd zero, 24(s0)",
    # the tables stay in the unit: what they were built of may be overwritten after a wait, and the unit's state needs none
    "lut.build.i8 s0, s1, s3\nlut.mac.t2 s2, s1, s5\nlut.build.i8 s0, s1, s3",
    "vec.relu.f32 s0, s1, zero\nlw t0, 0(s0)",                                    # nothing was done
]


@ENGINES
@pytest.mark.parametrize("text", CLEAN)
def test_what_was_waited_for_is_not_reported(text: str, engine: type[ReferenceMachine]) -> None:
    assert check(text, engine) == ([], "exit")


def test_code_that_a_unit_brings_is_waited_for() -> None:
    text = """
    la t1, overlay
    la t2, new
    li t3, 8
    fetch.copy t1, t2, t3
    {wait}
    fence.i
    call overlay
    j done
overlay: nop
    nop
new: lw t0, 0(s2)
    ret
done:"""
    assert check(text.replace("{wait}", "sync.fence")) == ([], "exit")
    hazards, _ = check(text.replace("{wait}", "nop"))
    assert [(hazard.kind, hazard.symbol, hazard.later.symbol) for hazard in hazards] == [("read after write", "overlay", "overlay")]


def test_a_trapped_instruction_touches_nothing() -> None:
    hazards, reason = check(WRITE + "vec.add.f32 s0, s0, t6, s3")                 # t6 is 0: no such memory
    assert (hazards, reason) == ([], "trap")
    program = asm.assemble(SETUP + WRITE + "vec.add.f32 s0, s0, t6, s3")
    machine = ReferenceMachine("slim")
    machine.load(program)
    assert machine.run().trap.cause is Cause.LOAD_ACCESS


@ENGINES
def test_the_first_hazard_stops_the_run_behind_it(engine: type[ReferenceMachine]) -> None:
    program = asm.assemble(SETUP + WRITE + READ + "stopped: sw zero, 0(s1)" + END)
    machine = engine("slim")
    machine.load(program)
    looking = HazardCheck(machine)
    assert machine.run().reason == "hazard"
    assert len(looking.hazards) == 1 and machine.pc == program.symbol("stopped").value
    looking.detach()
    assert machine.run().reason == "exit" and len(looking.hazards) == 1


def test_each_pair_of_instructions_is_reported_once() -> None:
    hazards, _ = check("li s8, 5\nagain:\n" + WRITE + READ + "lw t0, 0(s0)\naddi s8, s8, -1\nbnez s8, again")
    assert [hazard.later.text for hazard in hazards] == ["lw t0, 60(s0)", "lw t0, 0(s0)"]


def test_what_ran_before_the_check_began_counts_as_done() -> None:
    program = asm.assemble(SETUP + WRITE + "sync.signal.vec s5\nhere: sync.wait.fetch s5\nsync.wait s5\n" + READ + END)
    machine = ReferenceMachine("slim")
    machine.load(program)
    machine.breakpoints.add(program.symbol("here").value)
    assert machine.run().reason == "breakpoint"
    looking = HazardCheck(machine, every=True)
    assert machine.run().reason == "exit" and looking.hazards == []


def test_the_guide_shows_a_real_message(tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = (PROGRAMS / "double_buffer.s").read_text().splitlines(keepends=True)
    Path("double_buffer.s").write_text("".join(line for line in lines if "sync.wait.fetch s10" not in line))
    assert slimulator.invoke(["asm", "double_buffer.s"]) == 0
    assert slimulator.invoke(["run", "--hazards", "double_buffer.elf"]) == 1
    guide = (PROGRAMS.parent / "docs" / "hazards.md").read_text()
    shown = re.search(r"^\.\.\.\n(double_buffer\.elf: .*?)^```$", guide, re.M | re.S)
    assert shown is not None and capsys.readouterr().err.endswith(shown[1])


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.s").write_text(SETUP + WRITE + READ + "lb t0, 0(s0)" + END)
    assert slimulator.invoke(["asm", str(tmp_path / "a.s")]) == 0
    program = str(tmp_path / "a.elf")
    assert slimulator.invoke(["run", program]) == 0
    capsys.readouterr()
    assert slimulator.invoke(["run", "--hazards", program]) == 1
    err = capsys.readouterr().err
    assert err.count("error: hazard: read after write") == 1 and "hazard after 9 instructions" in err
    assert slimulator.invoke(["run", "--all-hazards", program, "--json", "-"]) == 1
    assert capsys.readouterr().err.count("error: hazard: read after write") == 2
    clean = tmp_path / "b.s"
    clean.write_text(SETUP + WRITE + "sync.fence\n" + READ + END)
    assert slimulator.invoke(["asm", str(clean)]) == 0
    assert slimulator.invoke(["run", "--hazards", str(tmp_path / "b.elf")]) == 0


# ------------------------------------------------------------------------------------------------ by another method

UNITS = ("vec", "fetch", "thr")
SLOT = st.integers(0, 5)                # operands are 64 bytes at A + 32 * slot, so neighbours overlap by half


@st.composite
def sequences(draw: st.DrawFn) -> list[tuple]:
    """Operations, signals and waits that may be wrong in every way but waiting for a tag that was never signalled."""
    signalled: list[int] = []
    items: list[tuple] = []
    for _ in range(draw(st.integers(2, 14))):
        kind = draw(st.sampled_from(["vec", "fetch", "thr", "sum", "load", "store", "signal", "wait", "wait unit", "fence"]))
        if kind in ("wait", "wait unit") and not signalled:
            continue
        match kind:
            case "vec" | "thr":     items.append((kind, draw(SLOT), draw(SLOT)))
            case "fetch":           items.append((kind, draw(SLOT), draw(SLOT), draw(st.integers(0, 3))))
            case "sum" | "load" | "store": items.append((kind, draw(SLOT)))
            case "signal":          items.append((kind, draw(st.sampled_from(UNITS)), draw(st.integers(1, 3))))
            case "wait":            items.append((kind, draw(st.sampled_from(signalled))))
            case "wait unit":       items.append((kind, draw(st.sampled_from(UNITS)), draw(st.sampled_from(signalled))))
            case _:                 items.append((kind,))
        if kind == "signal":
            signalled.append(items[-1][2])
        if kind == "fetch" and items[-1][3]:
            signalled.append(items[-1][3])
    return items


def assembly(items: list[tuple]) -> str:
    """One labelled instruction per item, with what it needs in front of it."""
    lines = []
    for number, item in enumerate(items):
        match item:
            case (("vec" | "thr" | "fetch"), d, s, *_):     lines += [f"addi a0, s0, {32 * d}", f"addi a1, s0, {32 * s}"]
            case ("sum", s):                                lines += [f"addi a1, s0, {32 * s}"]
            case ((("signal" | "wait unit"), _, tag) | ("wait", tag)):  lines += [f"li t1, {tag}"]
        match item:
            case ("vec", _, _):             text = "vec.relu.f32 a0, a1, s3"
            case ("thr", _, _):             text = "thr.topk.f32 a0, a1, s3, s3"
            case ("fetch", _, _, tag):      text = f"csrwi fetch.tag, {tag}\ni{number}: fetch.copy a0, a1, s4"
            case ("sum", _):                text = "vec.sum.f32 t0, a1, s3"
            case ("load", s):               text = f"ld t0, {32 * s}(s0)"
            case ("store", d):              text = f"sd zero, {32 * d}(s0)"
            case ("signal", unit, _):       text = f"sync.signal.{unit} t1"
            case ("wait", _):               text = "sync.wait t1"
            case ("wait unit", unit, _):    text = f"sync.wait.{unit} t1"
            case _:                         text = "sync.fence"
        lines.append(text if item[0] == "fetch" else f"i{number}: {text}")
    return "\n".join(lines)


def conflicts_without_a_path(items: list[tuple]) -> set[tuple[int, int]]:
    """Pairs of items that touch a byte, one of them writing, and that nothing orders.

    Nodes: ("core", i), the core at item i; ("end", i), a queue's entry of item i is done.
    """
    before: dict[tuple[str, int], set[tuple[str, int]]] = defaultdict(set)     # everything that comes before a node
    last: dict[str, int] = {}                                                   # latest entry of a queue
    signals: dict[int, tuple[str, int]] = {}
    held: list[tuple[str, int]] = []                                            # what the core waited for just now
    accesses: dict[int, tuple[tuple[str, int], set[int], set[int]]] = {}

    def edge(node: tuple[str, int], to: tuple[str, int]) -> None:
        before[to] |= {node} | before[node]

    for i, item in enumerate(items):
        core = ("core", i)
        if i:
            edge(("core", i - 1), core)
        for node in held:
            edge(node, core)
        held = []
        unit = {"vec": "vec", "sum": "vec", "thr": "thr", "fetch": "fetch"}.get(item[0]) or (
            item[1] if item[0] in ("signal", "wait unit") else None)
        node = ("end", i) if unit else core
        if unit:
            edge(core, node)
            if unit in last:
                edge(("end", last[unit]), node)
            last[unit] = i
        reads: set[int] = set()
        writes: set[int] = set()
        match item:
            case ("vec" | "thr", d, s) | ("fetch", d, s, _):
                reads, writes = set(range(32 * s, 32 * s + 64)), set(range(32 * d, 32 * d + 64))
            case ("sum", s):            reads, held = set(range(32 * s, 32 * s + 64)), [node]
            case ("load", s):           reads = set(range(32 * s, 32 * s + 8))
            case ("store", d):          writes = set(range(32 * d, 32 * d + 8))
            case ("signal", _, tag):    signals[tag] = node
            case ("wait", tag):         held = [signals[tag]]
            case ("wait unit", _, tag): edge(signals[tag], node)
            case _:                     held = [("end", entry) for entry in last.values()]
        if item[0] == "fetch" and item[3]:
            signals[item[3]] = node
        if reads or writes:
            accesses[i] = node, reads, writes
    return {(i, j) for j, (later, reads, writes) in accesses.items() for i, (earlier, read, written) in accesses.items()
            if i < j and (written & (reads | writes) or read & writes) and earlier not in before[later]}


@settings(max_examples=150, deadline=None)
@given(sequences())
def test_random_programs_against_a_graph_of_what_comes_before_what(items: list[tuple]) -> None:
    program = asm.assemble(SETUP + assembly(items) + END)
    machine = ReferenceMachine("slim")
    machine.load(program)
    looking = HazardCheck(machine, every=True)
    assert machine.run().reason == "exit"
    number = {symbol.value: int(symbol.name[1:]) for symbol in program.symbols if re.fullmatch(r"i\d+", symbol.name)}
    reported = {(number[hazard.earlier.pc], number[hazard.later.pc]) for hazard in looking.hazards}
    expected = conflicts_without_a_path(items)
    assert reported <= expected
    # Of several operations of a unit on the same bytes the last one is named; each instruction with a hazard is reported.
    assert {later for _, later in reported} == {later for _, later in expected}


# ------------------------------------------------------------------------------------------------ the ranges


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["touch", "forget", "until"]),
                          st.lists(st.tuples(st.integers(0, 60), st.integers(0, 9)), max_size=4)), max_size=8),
       st.lists(st.tuples(st.integers(0, 60), st.integers(0, 9)), max_size=4), st.integers(0, 8))
def test_last_touch_against_one_number_per_byte(steps, asked, known) -> None:
    touched, truth = LastTouch(), np.zeros(80, int)
    for number, (what, accesses) in enumerate(steps, 1):
        covered = np.zeros(80, bool)
        for address, size in accesses:
            covered[address:address + size] = True
        if what == "touch":
            touched.touch(ranges(accesses), number, -number)
            truth[covered] = number
        elif what == "forget":
            touched.forget(ranges(accesses))
            truth[covered] = 0
        else:
            touched.forget_until(number // 2)
            truth[truth <= number // 2] = 0
    held = np.zeros(80, int)
    for start, end, number, site in zip(touched.starts, touched.ends, touched.numbers, touched.sites, strict=True):
        assert start < end and not held[start:end].any() and site == -number
        held[start:end] = number
    assert (held == truth).all()
    covered = np.zeros(80, bool)
    for address, size in asked:
        covered[address:address + size] = True
    found = touched.later_than(known, ranges(asked))
    assert {int(number) for number in touched.numbers[found]} == set(truth[covered & (truth > known)].tolist())
