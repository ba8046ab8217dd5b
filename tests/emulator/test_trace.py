"""Traces and commit logs: what stands in a line, what a selection chooses, and that neither changes what happens."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from logged_runs import run

import asm
from emulator.errors import TraceError
from emulator.machine import Machine
from emulator.observe.line_log import LineLog
from emulator.observe.trace import COLUMNS, Trace, selection
from isa.program import Line, Program, ProgramError, Section, Symbol
from isa.reference import ReferenceMachine

PROGRAMS = sorted((Path(__file__).parents[2] / "programs").glob("*.s"))
ENGINES = pytest.mark.parametrize("engine", [ReferenceMachine, Machine])

EFFECTS = """
        .globl _start
_start: la   t2, cell
        li   t0, -2
        sh   t0, 2(t2)
        lbu  t1, 2(t2)
        csrrwi t3, mscratch, 5
        csrr t4, mscratch
        beqz zero, next
        nop
next:   li   a0, 0x10000000
        li   a1, 5
        vec.relu.f32 a0, a0, a1
        sync.fence
        li   a7, 0x5110
        ecall
        ld   t1, 0(zero)
        .data
cell:   .dword 0
"""
LOOP = """
        .globl _start, done
_start: li   t0, 0
        li   t1, 1000
        la   t2, cell
again:  sd   t0, 0(t2)
        sd   t0, 8(t2)
        call bump
        blt  t0, t1, again
done:   li   a7, 93
        ecall
        .type bump, @function
bump:   addi t0, t0, 1
        ret
        .size bump, . - bump
        .data
cell:   .dword 0, 0
after:  .dword 0
"""


def cells(line: str) -> dict[str, str]:
    return dict(zip(COLUMNS, re.split(r"\s{2,}", line.strip()), strict=True))


@ENGINES
def test_columns(engine, tmp_path):
    (tmp_path / "effects.s").write_text(EFFECTS)
    _, lines = run(engine, asm.assemble(tmp_path / "effects.s"), tmp_path / "t")
    table = [cells(line) for line in lines]
    assert [row["n"] for row in table] == [str(n) for n in range(1, len(table) + 1)]
    store = table[3]
    assert [store[name] for name in ("pc", "symbol", "source", "word", "instruction")] == [
        "0x8000000c", "_start+0xc", f"{tmp_path}/effects.s:5", "0x00539123", "sh t0, 2(t2)"]
    by_name = {row["instruction"].split()[0]: row for row in table}
    cell = re.search(r"at (0x\w+) <cell\+0x2>", store["effects"])[1]
    assert {name: by_name[name]["effects"] for name in ("sh", "lbu", "csrrwi", "csrrs", "beq", "sync.fence", "ecall", "ld")} == {
        "sh": f"write 2 at {cell} <cell+0x2>: fe ff",
        "lbu": f"t1 = 0xfe; read 1 at {cell} <cell+0x2>",
        "csrrwi": "t3 = 0x0; mscratch = 0x5",
        "csrrs": "t4 = 0x5",
        "beq": "-",
        "sync.fence": "sync.ops +1; sync.fences +1",
        "ecall": "a0 = 0xffffffffffffffff",
        "ld": "trap 5 LOAD_ACCESS"}
    assert by_name["vec.relu.f32"]["effects"] == (
        "read 20 at 0x10000000; write 20 at 0x10000000: 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 ...; "
        "sram.bytes_read +20; sram.bytes_written +20; vec.ops +1; vec.elements +5")
    assert by_name["beq"]["instruction"].endswith("<next>")
    assert [row["symbol"] for row in table if row["instruction"].startswith("lui a0")] == ["next"]


@ENGINES
def test_what_cannot_be_fetched(engine, tmp_path):
    _, lines = run(engine, asm.assemble("_start: jr a0\n"), tmp_path / "t")
    assert cells(lines[1]) | {"n": ""} == {"n": "", "pc": "0x0", "symbol": "-", "source": "-", "word": "-", "instruction": "-",
                                           "effects": "trap 1 FETCH_ACCESS"}


@ENGINES
@pytest.mark.parametrize(("filters", "counts"), [
    ({"code": ["_start"]}, {"sd": 2000, "blt": 1000, "addi": 3, "auipc": 1001, "jalr": 1000}),      # all up to `done`
    ({"code": ["again"]}, {"sd": 2000, "blt": 1000, "auipc": 1000, "jalr": 1000}),
    ({"code": ["bump"]}, {"addi": 1000, "jalr": 1000}),
    ({"code": ["again..+8"]}, {"sd": 2000}),
    ({"code": ["again..again+4", "done..+4"]}, {"sd": 1000, "addi": 1}),
    ({"registers": ["t0"]}, {"addi": 1001}),
    ({"registers": ["t1,x7"]}, {"addi": 2, "auipc": 1}),
    ({"registers": ["any"], "code": ["again..done"]}, {"auipc": 1000, "jalr": 1000}),
    ({"writes": ["cell+3"]}, {"sd": 1000}),
    ({"writes": ["cell"]}, {"sd": 2000}),
    ({"writes": ["after"]}, {}),
    ({"writes": ["cell..+1", "cell+15..after"]}, {"sd": 2000}),
    ({"writes": ["cell"], "code": ["again..+4"]}, {"sd": 1000}),
    ({"units": ["lut"]}, {}),
    ({"units": ["core"], "code": ["done"]}, {"addi": 1, "ecall": 1}),       # up to `bump`, which is a function
])
def test_selections(engine, tmp_path, filters, counts):
    machine, lines = run(engine, asm.assemble(LOOP), tmp_path / "t", **filters)
    names = [cells(line)["instruction"].split()[0] for line in lines]
    assert {name: names.count(name) for name in set(names)} == counts
    if isinstance(machine, Machine) and filters.keys() != {"writes", "code"}:       # the rest ran compiled, all but the service
        assert machine.handed_over == {**counts, "ecall": 1}


def test_a_selection_by_unit(tmp_path):
    program = asm.assemble(EFFECTS)
    assert [cells(line)["instruction"].split()[0] for line in run(Machine, program, tmp_path / "t", units=["sync", "vec"])[1]] == [
        "vec.relu.f32", "sync.fence"]
    assert [cells(line)["instruction"].split()[0] for line in run(Machine, program, tmp_path / "t", units=["zicsr"])[1]] == [
        "csrrwi", "csrrs"]


def test_services_set_a0(tmp_path):
    _, lines = run(Machine, asm.assemble(EFFECTS), tmp_path / "t", registers=["a0"])
    assert [cells(line)["instruction"].split()[0] for line in lines] == ["lui", "ecall"]


@ENGINES
def test_behind_the_limit_the_run_goes_on_unobserved(engine, tmp_path):
    machine, lines = run(engine, asm.assemble(LOOP), tmp_path / "t", limit=7)
    assert [cells(line)["n"] for line in lines] == list("1234567")
    assert machine.exit_code == 0 and machine.x[5] == 1000
    if isinstance(machine, Machine):
        assert sum(machine.handed_over.values()) == 7 + 1           # and the service


def test_a_log_of_nothing_is_the_header_alone(tmp_path):
    assert run(Machine, asm.assemble(LOOP), tmp_path / "t", units=["lut"])[1] == []


@pytest.mark.parametrize(("filters", "said"), [
    ({"units": ["lot"]}, "did you mean 'lut'?"), ({"units": ["q"]}, "expected one of core, rv64i"),
    ({"registers": ["a9"]}, "no register is called 'a9'"), ({"registers": ["a0,,a1"]}, "no register is called ''")])
def test_selections_that_name_nothing(filters, said):
    with pytest.raises(TraceError, match=re.escape(said)):
        selection(asm.assemble(LOOP), **filters)


@ENGINES
@pytest.mark.parametrize(("written", "lines"), [("0..0xffffffffffffffff", 2000), ("0x8000000000000000..0xffffffffffffffff", 0)])
def test_memory_beyond_all_regions_may_be_chosen(engine, written, lines, tmp_path):
    assert len(run(engine, asm.assemble(LOOP), tmp_path / "t", writes=[written])[1]) == lines


@pytest.mark.parametrize(("text", "said"), [
    ("agian", "did you mean 'again'"), ("8..4", "is empty"), ("again..again", "is empty"), ("..4", "is not an address"),
    ("", "is not"),
    ("18446744073709551616", "not a 64-bit address"), ("8..+18446744073709551615", "ends after the last address")])
def test_ranges_that_are_none(text, said):
    with pytest.raises(ProgramError, match=re.escape(said)):
        selection(asm.assemble(LOOP), code=[text])


def test_extents_of_symbols():
    program = Program([Section("text", "ax", 0x100, chunks=[bytes(64)])], [
        Symbol("f", 0x100, kind="func", section="text"), Symbol("inside", 0x108, section="text"),
        Symbol("g", 0x110, size=8, kind="func", section="text"), Symbol("h", 0x120, binding="global", section="text"),
        Symbol("label", 0x130, section="text"), Symbol("number", 7)])
    assert {s.name: program.extent(s) for s in program.symbols} == {
        "f": (0x100, 0x110), "inside": (0x108, 0x110), "g": (0x110, 0x118), "h": (0x120, 0x140), "label": (0x130, 0x140),
        "number": (7, 8)}
    assert program.range("f+4..+8") == (0x104, 0x10C)


# ------------------------------------------------------------------------------------------------ commit log


@ENGINES
def test_commit_log(engine, tmp_path):
    """The form of riscv-isa-sim's --log-commits; the words are those of GNU as."""
    program = asm.assemble("""
    _start: lui  t2, 0x10000
            li   t0, -2
            sh   t0, 2(t2)
            lbu  t1, 2(t2)
            sd   t0, 8(t2)
            csrrw t3, mscratch, t1
            csrr t4, mscratch
            nop
            beqz zero, 1f
    1:      li   a1, 3
            vec.relu.f32 t2, t2, a1
            csrwi mepc, 8
            mret
    """)
    _, lines = run(engine, program, tmp_path / "t", "commit")
    assert lines[:12] == [
        "core   0: 3 0x0000000080000000 (0x100003b7) x7  0x0000000010000000",
        "core   0: 3 0x0000000080000004 (0xffe00293) x5  0xfffffffffffffffe",
        "core   0: 3 0x0000000080000008 (0x00539123) mem 0x0000000010000002 0xfffe",
        "core   0: 3 0x000000008000000c (0x0023c303) x6  0x00000000000000fe mem 0x0000000010000002",
        "core   0: 3 0x0000000080000010 (0x0053b423) mem 0x0000000010000008 0xfffffffffffffffe",
        "core   0: 3 0x0000000080000014 (0x34031e73) x28 0x0000000000000000 c832_mscratch 0x00000000000000fe",
        "core   0: 3 0x0000000080000018 (0x34002ef3) x29 0x00000000000000fe",
        "core   0: 3 0x000000008000001c (0x00000013)",
        "core   0: 3 0x0000000080000020 (0x00000263)",
        "core   0: 3 0x0000000080000024 (0x00300593) x11 0x0000000000000003",
        f"core   0: 3 0x0000000080000028 (0x{int.from_bytes(program.section('.text').bytes()[40:44], 'little'):08x}) "
        "mem 0x0000000010000000..0x000000001000000c",
        "core   0: 3 0x000000008000002c (0x34145073) c833_mepc 0x0000000000000008"]
    assert lines[12] == "core   0: 3 0x0000000080000030 (0x30200073) c768_mstatus 0x0000000000001880"
    assert len(lines) == 13                             # what traps at 8 has no line


# ------------------------------------------------------------------------------------------------ traced = untraced


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_a_trace_changes_nothing_and_is_the_same_on_both_engines(path, tmp_path):
    program = asm.assemble(path)
    plain = Machine(program.machine)
    plain.load(program)
    plain.run()
    texts: dict[str, list[list[str]]] = {"trace": [], "commit": []}
    for engine in (ReferenceMachine, Machine):
        for render, seen in texts.items():
            machine, lines = run(engine, program, tmp_path / "t", render)
            seen.append(lines)
            assert (machine.x, machine.pc, machine.exit_code) == (plain.x, plain.pc, plain.exit_code)
            assert machine.counters == plain.counters
            assert machine.host.output == plain.host.output
            assert np.array_equal(machine.csr_values, plain.csr_values)
            for (_, _, traced), (_, _, untraced) in zip(machine.memory.spans(), plain.memory.spans(), strict=True):
                assert same(traced, untraced)
    assert len(texts["trace"][0]) == len(texts["commit"][0]) == plain.counter("core.instructions")
    assert all(reference == fast for reference, fast in texts.values())


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal bytes, without touching the gigabytes of untouched pages: programs and their data are in the first and last of them."""
    part = 1 << 21
    return a.shape == b.shape and np.array_equal(a[:part], b[:part]) and np.array_equal(a[-part:], b[-part:])


@pytest.mark.parametrize("terminal", [True, False])
def test_names_from_outside(tmp_path, monkeypatch, terminal):
    """Wherever a trace goes, a line of it is one line, and holds nothing that a terminal obeys; columns stay in line."""
    program = asm.assemble("_start: li a7, 93\n ecall")
    names = ("a\x1b[2J\udcff\nb.s", "plain.s")
    program.lines = [Line(line.address, names[number], line.line) for number, line in enumerate(program.lines)]
    program.symbols = [Symbol("odd\nname", program.entry, section=".text")]
    stream = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(stream, "isatty", lambda: terminal)
    monkeypatch.setattr("sys.stdout", stream)
    for path in (Path("-"), tmp_path / "t"):
        machine = ReferenceMachine("slim")
        machine.load(program)
        with LineLog(path) as log:
            log.follow(machine, Trace(program, selection(program)))
            machine.run(max_instructions=10)
    shown = stream.buffer.getvalue().decode()
    first, second = shown.splitlines()
    assert r"odd\nname  " in first and r"a\x1b[2J\udcff\nb.s:1  " in first and "plain.s:2  " in second
    assert first.index("0x05d00893") == second.index("0x00000073")
    assert (tmp_path / "t").read_text(encoding="utf-8") == shown
