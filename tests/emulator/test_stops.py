"""Every stop that is asked for holds, whenever it is asked for; one machine does one thing at a time. On both engines.

The machines of this file run programs without an end: a request that gets lost shows as the time limit of the run, or of the test.
"""

from __future__ import annotations

import copy
import os
import re
import signal
import sys
import threading
import time

import numpy as np
import pytest
from children import Child
from gdb_client import GdbClient

import asm
from emulator import machine as fast
from emulator.debug.expressions import parse_expression
from emulator.debug.session import Session
from emulator.machine import Machine
from isa.engine.exclusive import AlreadyRunning
from isa.reference import ReferenceMachine

FOREVER = "_start: li t0, 0\nagain: addi t0, t0, 1\n j again\n"
EXITS = "_start: li a7, 93\n li a0, 3\n ecall\n"
TOO_LONG = 300.0                        # seconds: a run that takes as long has lost a request
ENGINES = pytest.mark.parametrize("engine", [ReferenceMachine, Machine])


def loaded(engine: type[ReferenceMachine], source: str = FOREVER) -> ReferenceMachine:
    machine = engine("slim")
    machine.load(asm.assemble(source))
    return machine


def control_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


# ------------------------------------------------------------------------------------------------ requests


@ENGINES
def test_a_request_that_comes_while_nothing_runs_is_for_the_next_run(engine):
    machine = loaded(engine)
    machine.stop("told")
    result = machine.run(timeout=TOO_LONG)
    assert (result.reason, result.instructions) == ("told", 0)
    assert machine.run(max_instructions=10).reason == "limit"           # it was for one run


@ENGINES
@pytest.mark.parametrize("ask", [lambda machine: machine.stop("interrupted"), lambda machine: control_c()])
def test_a_request_that_comes_while_a_run_is_prepared_holds(engine, ask, monkeypatch):
    machine = loaded(engine)
    prepare = machine._prepare

    def asked_meanwhile() -> None:
        ask(machine)
        prepare()

    monkeypatch.setattr(machine, "_prepare", asked_meanwhile)
    try:
        assert machine.run(timeout=TOO_LONG).reason == "interrupted"
    except KeyboardInterrupt:                                           # Ctrl-C in front of the run: as anywhere in Python
        assert machine.counter("core.instructions") == 0


@pytest.mark.parametrize("when", ["the loop", "kernels"])
def test_a_request_that_comes_while_something_is_compiled_holds(when, monkeypatch):
    """Kernels are compiled in the middle of a run where it comes to code that lies in no section of code."""
    machine = loaded(Machine, """_start: la t0, far\n jr t0\n.section .sram, "aw"\nfar: .word 0x6f\n""")       # j far
    where, name = (fast.load_kernels, "loop") if when == "the loop" else (machine, "_compile")
    compiled, calls = getattr(where, name), []

    def asked_meanwhile(*given: object, **named: object) -> object:
        calls.append(given)
        machine.stop("told")
        return compiled(*given, **named)

    monkeypatch.setattr(where, name, asked_meanwhile)
    assert machine.run(timeout=TOO_LONG).reason == "told" and len(calls) == 1


@ENGINES
def test_each_reason_is_reported_by_a_run_of_its_own(engine):
    machine = loaded(engine)
    for reason in ("one", "two", "one"):
        machine.stop(reason)
    assert [machine.run(max_instructions=5).reason for _ in range(3)] == ["one", "two", "limit"]
    machine.stop("three")
    assert machine.withdraw("three") and not machine.withdraw("three")
    assert machine.run(max_instructions=5).reason == "limit"


@ENGINES
@pytest.mark.parametrize("where", ["limit", "breakpoint", "watchpoint", "exit", "trap"])
def test_what_a_run_does_not_report_is_kept(engine, where):
    """A hook asks behind the last instruction; loading another program makes the machine go on."""
    source = {"exit": EXITS, "trap": "_start: nop\n ld a0, 0(zero)\n"}.get(
        where, "_start: la t0, cell\nagain: sd t0, 0(t0)\nbehind: j again\n.data\ncell: .dword 0\n")
    machine = loaded(engine, source)
    last = {"exit": "ecall", "trap": "ld"}.get(where, "sd")
    machine.hook(lambda it, step: it.stop("told"), where=lambda pc, row: row is not None and row.mnemonic == last)
    if where == "breakpoint":
        machine.breakpoints = {machine.program.symbol("behind").value}
    if where == "watchpoint":
        machine.watchpoints = [(machine.program.symbol("cell").value, 8)]
    reasons = [machine.run(3 if where == "limit" else 100).reason]
    machine.hook(lambda it, step: None)
    if where in ("exit", "trap", "watchpoint"):
        assert reasons == [where]
        machine.load(asm.assemble(FOREVER))
        reasons.append(machine.run(100).reason)
    assert reasons[-1] == "told"


@ENGINES
def test_a_step_is_no_run_and_leaves_requests_alone(engine):
    machine = loaded(engine, "_start: la t0, cell\n sd t0, 0(t0)\nagain: j again\n.data\ncell: .dword 0\n")
    machine.watchpoints = [(machine.program.symbol("cell").value, 8)]
    machine.stop("told")
    for _ in range(3):
        machine.step()
    assert machine.pc == machine.program.symbol("again").value
    assert machine.run(5).reason == "told" and machine.run(5).reason == "limit"


@ENGINES
def test_waking_a_machine_changes_nothing(engine):
    source = """
    _start: li s0, 3000
            li a0, 0x80100000
            li a1, 8
    again:  vec.relu.f32 a0, a0, a1
            addi s0, s0, -1
            bnez s0, again
            li a7, 93
            ecall
    """
    plain, woken = loaded(engine, source), loaded(engine, source)
    over = threading.Event()

    def wake() -> None:
        while not over.wait(0.0001):
            woken.wake()

    thread = threading.Thread(target=wake)
    thread.start()
    try:
        assert woken.run() == plain.run() and woken.counters == plain.counters
    finally:
        over.set()
        thread.join(TOO_LONG)
    if engine is Machine:
        assert woken.handed_over == plain.handed_over                   # it is not the reference engine that goes on


# ------------------------------------------------------------------------------------------------ time limits


@ENGINES
def test_a_time_limit_is_of_one_run_alone(engine):
    machine = loaded(engine, EXITS)
    machine.hook(lambda it, step: time.sleep(0.3), where=lambda pc, row: row is not None and row.mnemonic == "ecall")
    assert machine.run(timeout=0.05).reason == "exit"                   # time was up in its last instruction
    machine.load(asm.assemble(FOREVER))
    assert machine.run(max_instructions=1000).reason == "limit"


@ENGINES
def test_a_time_limit_counts_from_the_call_on(engine, monkeypatch):
    machine = loaded(engine)
    prepare = machine._prepare
    monkeypatch.setattr(machine, "_prepare", lambda: (time.sleep(1), prepare()))
    result = machine.run(timeout=0.5)
    assert result.reason == "timeout"
    started, again = time.monotonic(), machine.run(timeout=0)
    assert again.reason == "timeout" and time.monotonic() - started < 30
    assert machine.run(timeout=-1).reason == "timeout"
    with pytest.raises(ValueError, match="timeout is nan; expected seconds"):
        machine.run(timeout=float("nan"))


@ENGINES
def test_a_limit_is_a_whole_number_of_instructions(engine):
    machine = loaded(engine)
    for wrong in (1.5, 2.0, -1, True, False, np.float32(3), np.True_, "7", [1]):
        with pytest.raises(ValueError, match=re.escape(f"max_instructions is {wrong!r}; expected a whole number, 0 or more")):
            machine.run(max_instructions=wrong)
    for limit, done in ((0, 0), (np.int64(3), 3), (2, 5)):
        assert machine.run(limit).instructions == done and type(machine.spent) is int


# ------------------------------------------------------------------------------------------------ Ctrl-C


@ENGINES
def test_control_c_that_no_run_can_report_any_more_is_raised(engine):
    machine = loaded(engine, EXITS)
    machine.hook(lambda it, step: control_c(), where=lambda pc, row: row is not None and row.mnemonic == "ecall")
    with pytest.raises(KeyboardInterrupt):
        machine.run(timeout=TOO_LONG)
    assert machine.exit_code == 3
    machine.load(asm.assemble(FOREVER))
    assert machine.run(max_instructions=100).reason == "limit"          # and is reported once


@ENGINES
def test_a_second_control_c_breaks_off_and_leaves_a_machine_that_works(engine):
    machine = loaded(engine)

    def hangs(it: ReferenceMachine, step: object) -> None:
        control_c()
        control_c()
        time.sleep(TOO_LONG)

    machine.hook(hangs)
    with pytest.raises(KeyboardInterrupt):
        machine.run(timeout=TOO_LONG)
    machine.unhook(hangs)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert machine.run(max_instructions=100).reason == "limit"


@ENGINES
def test_one_control_c_stops_one_run(engine):
    """Nothing of it is left that stops the next one: neither the thread that hears signals nor the handler comes late."""
    machine = loaded(engine)
    for _ in range(20):
        timer = threading.Timer(0.01, control_c)
        try:
            timer.start()
            assert machine.run(timeout=TOO_LONG).reason == "interrupted"
        except KeyboardInterrupt:                                       # it came before the run
            pass
        timer.join(TOO_LONG)
        assert machine.run(max_instructions=2000).reason == "limit"


# ------------------------------------------------------------------------------------------------ debugger


LOOP = "_start: la t1, cell\nagain: sd t0, 0(t1)\n addi t0, t0, 1\n j again\n.data\ncell: .dword 0\n"


@ENGINES
@pytest.mark.parametrize("point", ["breakpoint", "watchpoint"])
def test_a_request_that_comes_while_a_condition_is_evaluated_holds(engine, point, monkeypatch):
    session = Session(lambda: loaded(engine, LOOP))
    condition = parse_expression("t0 < 0", session.places.program)
    times = []
    holds = session._holds

    def asked_meanwhile(*given: object) -> bool:
        times.append(1)
        if len(times) == 3:
            session.machine.stop("interrupted")
        return holds(*given)

    monkeypatch.setattr(session, "_holds", asked_meanwhile)
    if point == "breakpoint":
        session.break_at("again", condition)
    else:
        session.watch("cell", session.places.address("cell", session.machine), 8, condition)
    stop = session.resume()
    assert stop.reason == "interrupted" and len(times) == 3


@ENGINES
def test_a_request_that_finds_the_program_at_a_breakpoint_is_kept(engine):
    session = Session(lambda: loaded(engine, LOOP))
    session.break_at("again")
    again = session.places.address("again", session.machine)
    session.machine.hook(lambda it, step: it.stop("told"), where=lambda pc, row: pc == again + 8)        # the jump back
    seen = [(stop.reason, len(stop.breakpoints), session.machine.pc == again)
            for stop in (session.resume(limit=1000) for _ in range(5))]
    at_breakpoint, asked = ("breakpoint", 1, True), ("told", 0, True)
    assert seen == [at_breakpoint, at_breakpoint, asked, at_breakpoint, asked]
    assert session.points[1].hits == 3


@ENGINES
def test_control_c_that_finds_the_program_at_a_breakpoint_is_not_for_the_next_command(engine):
    """Who has asked has the prompt; gdb may go on by itself, and so its request is kept."""
    session = Session(lambda: loaded(engine, LOOP))
    session.break_at("again")
    again = session.places.address("again", session.machine)
    session.machine.hook(lambda it, step: control_c(), where=lambda pc, row: pc == again + 8)
    assert [session.advance(session.resume).reason for _ in range(4)] == ["breakpoint"] * 4


@ENGINES
def test_a_command_of_many_runs_is_stopped_between_two_of_them(engine, monkeypatch):
    """`next` over a call is a step, then a run to behind the call, and again for the rest of the line."""
    session = Session(lambda: loaded(engine, "_start: call f\nf: j f\n"))
    resume, calls = session.resume, []

    def asked_before(*given: object, **named: object) -> object:
        calls.append(named)
        if len(calls) == 2:
            control_c()
        return resume(*given, **named)

    monkeypatch.setattr(session, "resume", asked_before)
    assert session.advance(lambda: session.line(over_calls=True)).reason == "interrupted"
    assert len(calls) == 2


# ------------------------------------------------------------------------------------------------ one thing at a time


@ENGINES
def test_a_machine_that_runs_is_not_run_loaded_or_looked_into_by_another_thread(engine, tmp_path):
    machine = loaded(engine)
    machine.hook(print, where=lambda pc, row: False)
    started, results = threading.Event(), []
    machine.hook(lambda it, step: started.set(), where=lambda pc, row: row is not None and row.mnemonic == "addi")
    thread = threading.Thread(target=lambda: results.append(machine.run(timeout=TOO_LONG)), name="other")
    thread.start()
    assert started.wait(TOO_LONG)
    for ask in (machine.run, machine.step, lambda: machine.load(asm.assemble(EXITS)), lambda: machine.save(tmp_path / "a.slim"),
                lambda: machine.hook(print), lambda: machine.unhook(print), lambda: copy.copy(machine), machine.profile,
                lambda: machine.code_changed(0x8000_0000, 4)):
        with pytest.raises(AlreadyRunning, match=r": this machine is already running \(run in thread 'other'\)"):
            ask()
    machine.stop("told")
    thread.join(TOO_LONG)
    assert [result.reason for result in results] == ["told"]
    assert machine.run(max_instructions=5).reason == "limit"


@ENGINES
def test_a_hook_may_not_run_its_own_machine(engine, tmp_path):
    machine = loaded(engine)
    asked = []

    def hook(it: ReferenceMachine, step: object) -> None:
        for ask in (it.run, it.step, lambda: it.load(asm.assemble(EXITS))):
            try:
                ask()
            except AlreadyRunning as error:
                asked.append(str(error))
        it.save(tmp_path / "a.slim")                        # it stands between two instructions: this may be done
        it.unhook(hook)

    machine.hook(hook)
    assert machine.run(max_instructions=20).reason == "limit"
    assert [text.partition(":")[0] for text in asked] == ["run", "step", "load"] and "in this thread" in asked[0]
    assert engine.restore(tmp_path / "a.slim", machine.program).pc == machine.program.entry + 4


@ENGINES
def test_two_threads_that_run_a_machine_at_once(engine):
    """One of them runs it, the other one too or is refused: it is never both at a time."""
    machine = loaded(engine)
    barrier, ends = threading.Barrier(2), []

    def work() -> None:
        for _ in range(100):
            barrier.wait(TOO_LONG)
            try:
                ends.append(machine.run(max_instructions=100).reason)
            except AlreadyRunning:
                ends.append("refused")

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TOO_LONG)
    assert len(ends) == 200 and set(ends) <= {"limit", "refused"}
    assert machine.counter("core.instructions") == 100 * ends.count("limit")


@ENGINES
def test_an_error_in_a_hook_leaves_the_machine_at_rest(engine):
    machine = loaded(engine)

    def fails(it: ReferenceMachine, step: object) -> None:
        raise ZeroDivisionError

    machine.hook(fails)
    with pytest.raises(ZeroDivisionError):
        machine.run(timeout=TOO_LONG)
    machine.unhook(fails)
    assert machine.run(max_instructions=100).reason == "limit"


# ------------------------------------------------------------------------------------------------ many open files


MANY_FILES = """
import os, resource, signal, sys, threading
import asm
from emulator.machine import Machine
from isa.reference import ReferenceMachine
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (1400 if hard < 0 else min(hard, 1400), hard))
held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1200)]
for engine in ReferenceMachine, Machine:
    machine = engine("slim")
    machine.load(asm.assemble("_start: nop\\nagain: j again"))
    print(machine.run(timeout=0.2).reason, flush=True)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    machine.pc = machine.program.entry
    machine.hook(lambda *_: timer.start(), where=lambda pc, row: pc == machine.program.entry)        # not before it runs
    print(machine.run().reason, flush=True)
    timer.join(60)
if len(sys.argv) > 1:
    import slimulator
    sys.exit(slimulator.invoke(["debug", sys.argv[1], "--gdb", "0", "--engine", "reference"]))
"""


def test_stops_hold_in_a_process_with_many_open_files(tmp_path):
    """More than the 1,024 that select() takes: time limits, Ctrl-C, and gdb's."""
    asm.assemble(FOREVER).save(tmp_path / "p.elf")
    with Child(sys.executable, "-c", MANY_FILES, tmp_path / "p.elf") as child:
        assert [child.line() for _ in range(4)] == ["timeout\n", "interrupted\n"] * 2
        child.wait_for("waiting for gdb on 127.0.0.1:", "err")
        port = int(child.wait_for(":", "err")[:-1])
        client = GdbClient(port)
        client.send("c")
        client.interrupt()
        assert client.answer().startswith("T02")
        client.send("k")
        assert child.end()[0] == "" and child.status == 0
