"""What both engines offer to those who look on: hooks, breakpoints, watchpoints, stops, the profile. The same on both."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import Counter

import numpy as np
import pytest
from children import Child

import asm
from emulator.machine import Machine
from isa.counters import COUNTERS
from isa.instruction import TABLE
from isa.reference import ReferenceMachine, Step
from isa.traps import Cause

LOOP = """
_start: li   t0, 0
        li   t1, 5
        la   t2, cell
again:  sw   t0, 0(t2)
        addi t0, t0, 1
        blt  t0, t1, again
        li   a7, 93
        li   a0, 7
        ecall
        .data
cell:   .dword 0
"""
FOREVER = "_start: li t0, 0\nagain: addi t0, t0, 1\n j again\n"
ENGINES = pytest.mark.parametrize("engine", [ReferenceMachine, Machine])


def loaded(engine: type[ReferenceMachine], source: str) -> ReferenceMachine:
    machine = engine("slim")
    machine.load(asm.assemble(source))
    return machine


def symbol(machine: ReferenceMachine, name: str) -> int:
    found = machine.program.symbol(name)
    assert found is not None
    return found.value


@ENGINES
def test_hooks_see_every_instruction_with_its_effects(engine):
    machine = loaded(engine, LOOP)
    steps: list[Step] = []
    machine.hook(lambda _, step: steps.append(step))
    result = machine.run()
    assert (result.reason, result.exit_code, len(steps)) == ("exit", 7, result.instructions)
    stores = [step for step in steps if step.row.mnemonic == "sw"]
    assert [int(data.view("<u4")[0]) for step in stores for _, data in step.writes] == [0, 1, 2, 3, 4]
    assert {address for step in stores for address, _ in step.writes} == {symbol(machine, "cell")}
    assert [step.register for step in steps if step.row.mnemonic == "addi" and step.pc == stores[0].pc + 4] == [
        (5, 1), (5, 2), (5, 3), (5, 4), (5, 5)]
    assert stores[0].values == {"imm": 0, "rs1": symbol(machine, "cell"), "rs2": 0}
    assert all(step.trap is None for step in steps)


@ENGINES
def test_hooks_see_reads_services_and_traps(engine):
    machine = loaded(engine, """
    _start: la t0, cell
            ld t1, 0(t0)
            li a7, 0x5110
            ecall
            ld t1, 0(zero)
            .data
    cell:   .dword 0x1234
    """)
    steps: list[Step] = []
    machine.hook(lambda _, step: steps.append(step), lambda pc, row: row is not None and row.mnemonic in ("ld", "ecall"))
    assert machine.run().reason == "trap"
    load, service, trapped = steps
    assert load.reads == [(symbol(machine, "cell"), 8)] and load.register == (6, 0x1234)
    assert service.register == (10, (1 << 64) - 1)                  # no token left
    assert trapped.trap is Cause.LOAD_ACCESS and trapped.register is None and trapped.reads == []


@ENGINES
def test_a_hook_that_looks_on_in_one_place_alone(engine):
    machine = loaded(engine, LOOP)
    seen: list[int] = []
    machine.hook(lambda _, step: seen.append(step.pc), lambda pc, row: pc == symbol(machine, "again"))
    assert machine.run().reason == "exit"
    assert seen == [symbol(machine, "again")] * 5
    if isinstance(machine, Machine):
        assert machine.handed_over == {"sw": 5, "ecall": 1}         # the rest ran compiled


@ENGINES
def test_a_hook_can_stop_the_run_and_be_taken_off(engine):
    machine = loaded(engine, LOOP)

    def third(machine: ReferenceMachine, step: Step) -> None:
        if step.row is TABLE["sw"] and machine.x[5] == 2:
            machine.stop("enough")

    machine.hook(third)
    assert machine.run().reason == "enough"
    assert machine.pc == symbol(machine, "again") + 4 and machine.x[5] == 2
    machine.unhook(third)
    assert machine.run().reason == "exit"


@ENGINES
def test_a_hook_that_looks_on_writes_to_a_place_alone(engine):
    machine = loaded(engine, """
    _start: la t0, cell
            li t1, 1000
    again:  sd t1, 0(t0)
            sb t1, 8(t0)
            addi t1, t1, -1
            bnez t1, again
            li a7, 93
            ecall
            .data
    cell:   .dword 0, 0
    """)
    seen: list[int] = []
    place = symbol(machine, "cell") + 8
    machine.hook(lambda machine, step: seen.append(int(step.writes[0][1][0])), writes=[(place, 8), (place + 100, 1)])
    assert machine.run().reason == "exit"
    assert seen == [count % 256 for count in range(1000, 0, -1)]
    if isinstance(machine, Machine):
        assert machine.handed_over == {"sb": 1000, "ecall": 1}


@ENGINES
def test_a_hook_that_takes_itself_off_leaves_a_run_at_full_speed(engine):
    machine = loaded(engine, LOOP)
    seen: list[int] = []

    def first(machine: ReferenceMachine, step: Step) -> None:
        seen.append(step.pc)
        machine.unhook(first)

    machine.hook(first)
    assert machine.run().reason == "exit"
    assert seen == [machine.program.entry]
    if isinstance(machine, Machine):
        assert machine.handed_over == {"addi": 1, "ecall": 1}


@ENGINES
def test_hooks_see_the_counters_as_they_were(engine):
    machine = loaded(engine, LOOP)
    moved: list[tuple[int, int]] = []
    instructions, stores = (COUNTERS[f"core.{name}"].slot for name in ("instructions", "stores"))
    machine.hook(lambda machine, step: moved.append(((machine.counts - step.before)[instructions], step.before[stores])),
                 lambda pc, row: row is TABLE["sw"])
    machine.run()
    assert moved == [(1, count) for count in range(5)]


@ENGINES
def test_a_hook_before_an_instruction_sees_the_machine_in_front_of_it(engine):
    machine = loaded(engine, LOOP)
    again, seen, after = symbol(machine, "again"), [], []

    def look(machine: ReferenceMachine, step: Step) -> None:
        assert machine.pc == step.pc == again and step.row is None and (step.before == machine.counts).all()
        seen.append((machine.x[5], machine.time.cycles))

    machine.hook_before(look, {again})
    machine.hook(lambda machine, step: after.append(machine.time.cycles), lambda pc, row: pc == again)
    plain = loaded(engine, LOOP)
    assert machine.run() == plain.run() and machine.time == plain.time
    assert [count for count, _ in seen] == [0, 1, 2, 3, 4]
    assert all(behind > cycles for (_, cycles), behind in zip(seen, after, strict=True))
    if isinstance(machine, Machine):
        assert sum(machine.handed_over.values()) == 5 + 1                       # these and the ecall; the rest at full speed
    machine.unhook(look)
    assert len(machine._hooks) == 1


@ENGINES
def test_breakpoints_stop_in_front_of_an_instruction_and_not_where_a_run_starts(engine):
    machine = loaded(engine, LOOP)
    machine.breakpoints.add(symbol(machine, "again"))
    counts = []
    while (result := machine.run()).reason == "breakpoint":
        assert machine.pc == symbol(machine, "again")
        counts.append(machine.x[5])
    assert counts == [0, 1, 2, 3, 4]
    assert (result.reason, result.exit_code) == ("exit", 7)


@ENGINES
def test_watchpoints_stop_behind_the_write(engine):
    machine = loaded(engine, LOOP)
    machine.watchpoints.append((symbol(machine, "cell") + 3, 1))            # the last byte of the word
    for count in range(5):
        assert machine.run().reason == "watchpoint"
        assert machine.peek(symbol(machine, "cell"), 4).view("<u4")[0] == count == machine.x[5]
    machine.watchpoints.clear()
    assert machine.run().reason == "exit"


@ENGINES
def test_a_write_at_the_limit_is_seen(engine):
    machine = loaded(engine, LOOP)
    machine.watchpoints.append((symbol(machine, "cell"), 4))
    reasons = []
    while not reasons or reasons[-1] == "limit":
        reasons.append(machine.run(max_instructions=1).reason)
    assert reasons == ["limit"] * 4 + ["watchpoint"]            # li, li, la (two), sw


@ENGINES
def test_writes_of_units_are_watched_too(engine):
    machine = loaded(engine, """
    _start: li a0, 0x10000000
            li a1, 4
            vec.relu.f32 a0, a0, a1
            li a7, 93
            ecall
    """)
    machine.watchpoints.append((0x1000_000F, 1))
    assert machine.run().reason == "watchpoint"
    assert machine.run().reason == "exit"


def test_nothing_that_looks_on_changes_what_happens():
    plain, watched = (loaded(Machine, LOOP) for _ in range(2))
    watched.hook(lambda *_: None)
    watched.profile()
    assert plain.run() == watched.run()
    assert plain.counters == watched.counters and plain.x == watched.x


@ENGINES
def test_the_profile_counts_what_was_retired(engine):
    machine = loaded(engine, LOOP)
    machine.profile()
    seen: Counter[tuple[int, int]] = Counter()
    machine.hook(lambda _, step: seen.update([(step.pc, step.word)]), lambda pc, row: pc % 8 == 0)      # a part of it by hooks
    assert machine.run().reason == "exit"
    assert machine.visits.total() == machine.counter("core.instructions")
    assert machine.visits[symbol(machine, "again"), int(machine.peek(symbol(machine, "again"), 4).view("<u4")[0])] == 5
    assert {place: count for place, count in machine.visits.items() if place[0] % 8 == 0} == seen


@ENGINES
def test_a_profile_of_code_that_changes_knows_both(engine):
    machine = loaded(engine, """
    _start: li   t0, 2
            la   t1, patch
            lw   t2, new
    patch:  addi t3, t3, 1
            sw   t2, 0(t1)
            addi t0, t0, -1
            bnez t0, patch
            li   a7, 93
            ecall
    new:    addi t3, t3, 16
    """)
    machine.profile()
    machine.run()
    assert machine.x[28] == 17
    at = symbol(machine, "patch")
    assert sorted(machine.visits[place] for place in machine.visits if place[0] == at) == [1, 1]


@ENGINES
def test_a_timeout_stops_a_run_and_the_next_one_goes_on(engine):
    machine = loaded(engine, FOREVER)
    start = time.monotonic()
    assert machine.run(timeout=0.2).reason == "timeout"
    assert time.monotonic() - start < 5
    before = machine.x[5]
    assert machine.run(max_instructions=1000).reason == "limit"
    assert machine.x[5] in (before + 500, before + 499, before + 501)


@ENGINES
def test_another_thread_can_stop_a_run(engine):
    machine = loaded(engine, FOREVER)
    timer = threading.Timer(0.2, machine.stop, ["told"])
    timer.start()
    assert machine.run(timeout=30).reason == "told"


@ENGINES
def test_control_c_stops_at_an_instruction_boundary(engine):
    machine = loaded(engine, FOREVER)
    timer = threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT])
    machine.hook(lambda *_: timer.start(), where=lambda pc, row: pc == machine.program.entry)       # not before it runs
    assert machine.run(timeout=30).reason == "interrupted"
    assert machine.counter("core.instructions") == machine.x[5] * 2 + (machine.pc == symbol(machine, "again"))


def test_control_c_comes_through_long_operations():
    """A child whose compiled loop is inside kernels nearly all the time stops soon after the signal."""
    with Child(sys.executable, "-c", """
import sys, time, asm
from emulator.machine import Machine
machine = Machine("slim")
machine.load(asm.assemble('''
_start: li a0, 0x80100000
        li a1, 4000000
again:  vec.relu.f32 a0, a0, a1
        j again
'''))
machine.run(max_instructions=20)
machine.pc = machine.program.entry
machine.hook(lambda *_: print("ready", flush=True), where=lambda pc, row: pc == machine.program.entry)
result = machine.run(timeout=60)
print(result.reason, flush=True)
""") as child:
        assert child.line() == "ready\n"
        time.sleep(0.3)
        start = time.monotonic()
        child.interrupt()
        assert child.line() == "interrupted\n"
        assert time.monotonic() - start < 15        # 0.2 s on a quiet host; the bound only tells it from a slice of hours
        child.end()
        assert child.status == 0


@ENGINES
def test_memory_by_address(engine):
    machine = loaded(engine, LOOP)
    cell = symbol(machine, "cell")
    machine.run()
    view = machine.memory[cell:cell + 8]
    assert view.tolist() == [4, 0, 0, 0, 0, 0, 0, 0] and view.flags.writeable
    machine.memory[cell:cell + 8] = np.array([7], "<u8")
    assert view[0] == 7                                                     # a view, not a copy
    machine.memory[cell:cell + 2] = b"ab"
    machine.memory[cell + 2:cell + 4] = 255
    assert view.tolist() == [97, 98, 255, 255, 0, 0, 0, 0]
    with pytest.raises(ValueError, match="3 bytes for the 2 of"):
        machine.memory[cell:cell + 2] = b"abc"


def test_flash_is_read_only_from_python_too():
    machine = loaded(Machine, "_start: nop\n.section .flash, \"a\"\nhere: .byte 1, 2\n.section .flash.zeros, \"a\"\n.zero 8\n")
    here = symbol(machine, "here")
    assert here >> 32 and machine.memory[here:here + 2].tolist() == [1, 2]
    for section in machine.program.sections:
        if section.address >> 32:
            with pytest.raises(ValueError, match="read-only"):
                machine.memory[section.address:section.end] = 0
    with pytest.raises(IndexError, match="holds nothing"):
        machine.memory[here + (1 << 24):here + (1 << 24) + 1]


@pytest.mark.parametrize("addresses", [slice(0, 8), slice(0x1000_0008, 0x1000_0000), slice(None, 8), slice(8, None),
                                       slice(0x1000_0000, 0x1000_0008, 2), 0x1000_0000, slice(0x8000_0000 - 8, 0x8000_0008)])
def test_memory_that_is_not_there(addresses):
    with pytest.raises(IndexError, match=r"does not lie in one region of slim: mmio 0x2000000|expected memory\[start:end\]"):
        ReferenceMachine("slim").memory[addresses]


@ENGINES
def test_code_that_python_has_written_is_what_runs(engine):
    machine = loaded(engine, FOREVER)
    machine.run(max_instructions=11)
    again = symbol(machine, "again")
    machine.memory[again:again + 4] = np.array([TABLE["addi"].encode({"rd": 5, "rs1": 5, "imm": 100})], "<u4")
    before = machine.x[5]
    machine.run(max_instructions=10)
    assert machine.x[5] == before + 500


def test_counters_by_unit():
    machine = loaded(Machine, LOOP)
    machine.run()
    assert machine.counters.core.stores == machine.counters["core.stores"] == 5
    with pytest.raises(AttributeError, match="no counter of a unit 'lot'; units are attn, cim, core,"):
        _ = machine.counters.lot


def test_a_breakpoint_costs_nothing_elsewhere():
    machine = loaded(Machine, LOOP)
    machine.breakpoints.add(symbol(machine, "_start"))
    machine.run()
    assert machine.handed_over == {"addi": 1, "ecall": 1}
    assert np.uint64(machine.x[5]) == 5


# ------------------------------------------------------------------------------------------------ hooks that change the machine


CHANGED = """
_start: li   t0, 0
        la   t2, cell
again:  addi t0, t0, 1
        sw   t0, 0(t2)
        lw   t1, 0(t2)
        csrr t3, vec.eps
patch:  addi t4, t4, 1
        li   t5, 40
        blt  t0, t5, again
        li   a7, 93
        ecall
        nop
        .data
cell:   .dword 0
"""


def _change(machine: ReferenceMachine, step: Step) -> None:
    """At the fifth store: a register, memory, a CSR, code and pc become others, and a breakpoint appears."""
    if machine.x[5] == 5:
        machine.x[5] = 30
        machine.memory[symbol(machine, "cell"):symbol(machine, "cell") + 4] = b"\x07\0\0\0"
        machine.set_csr("vec.eps", 99)
        patch = symbol(machine, "patch")
        machine.memory[patch:patch + 4] = (0x100E8E93).to_bytes(4, "little")            # addi t4, t4, 256
        machine.code_changed(patch, 4)
        machine.breakpoints.add(patch + 12)


def test_what_a_hook_changes_is_so_on_both_engines():
    seen = []
    for engine in (ReferenceMachine, Machine):
        machine = loaded(engine, CHANGED)
        registers = machine.x
        machine.hook(_change, where=lambda pc, row: row is not None and row.mnemonic == "sw")
        stops = [machine.run().reason, machine.pc, machine.x[28]]
        assert registers is machine.x                       # who holds the registers sees them as they are now
        machine.breakpoints.clear()
        stops += [machine.run().reason, machine.x.copy(), machine.pc, machine.counters]
        seen.append(stops)
    assert seen[0] == seen[1]
    assert seen[0][0] == "breakpoint" and seen[0][2] == 99 and seen[0][3] == "exit"
    assert (seen[0][4][5], seen[0][4][6], seen[0][4][29]) == (40, 40, 4 + 256 * 11)


@ENGINES
def test_a_hook_may_move_pc_and_is_told_of_what_is_no_register(engine):
    machine = loaded(engine, LOOP)
    machine.hook(lambda m, _: setattr(m, "pc", symbol(m, "again") + 12), where=lambda pc, row: row.mnemonic == "blt")
    assert machine.run().reason == "exit" and machine.x[5] == 1
    for number, value in ((0, 1), (5, -1), (5, 1 << 64)):
        machine = loaded(engine, LOOP)
        machine.hook(lambda m, _, n=number, v=value: m.x.__setitem__(n, v), where=lambda pc, row: row.mnemonic == "sw")
        with pytest.raises(ValueError, match="expected 32 registers, the first 0"):
            machine.run()
        machine = loaded(engine, LOOP)
        machine.x[number] = value
        with pytest.raises(ValueError, match="expected 32 registers, the first 0"):
            machine.run()
    machine = loaded(engine, LOOP)
    machine.x[6] = np.uint64(5)
    machine.run(max_instructions=1)
    assert type(machine.x[6]) is int


def test_a_hook_that_only_looks_has_nothing_worked_out_again(monkeypatch):
    """Addresses for the loop, and the check of all registers: once for the run, not for each of 40 stores."""
    machine, calls = loaded(Machine, CHANGED), []
    check = machine._check_registers
    monkeypatch.setattr(machine, "_check_registers", lambda: calls.append("registers") or check())
    machine.hook(lambda machine, step: None, where=lambda pc, row: row is not None and row.mnemonic == "sw")
    machine.run(max_instructions=1)
    described = machine._described
    assert machine.run().reason == "exit" and machine._described is described and calls == ["registers"] * 2
    machine.state = {name: array.copy() for name, array in machine.state.items()}
    machine.run()
    assert machine._described is not described
