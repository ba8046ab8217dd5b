"""Every way to stop, at random moments: in front of a run, while one is prepared, in its middle, between two, behind it.

A few times each, a whole command once; `make fuzz` does it SLIMULATOR_STOPS=200 times. What is lost shows as a run that goes on:
then the test fails, by the limit of what it waits for. SLIMULATOR_FUZZ_SEED gives other moments.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from children import SLIMULATOR, Child
from gdb_client import GdbClient

import asm
from emulator.debug.expressions import parse_expression
from emulator.debug.gdb_server import GdbServer
from emulator.debug.session import Session
from emulator.machine import Machine
from emulator.threads.workers import cores
from isa.reference import ReferenceMachine
from isa.services import Host

TIMES = int(os.environ.get("SLIMULATOR_STOPS", "5"))
MOMENTS = random.Random(int(os.environ.get("SLIMULATOR_FUZZ_SEED", "1")))
TOO_LONG = 300.0                        # seconds: whoever waits that long has lost a request
ENGINES = pytest.mark.parametrize("engine", [ReferenceMachine, Machine])

LOOP = "_start: li t0, 0\nagain: addi t0, t0, 1\n j again\n"
STORES = "_start: la t1, cell\nagain: sd t0, 0(t1)\n addi t0, t0, 1\n j again\n.data\ncell: .dword 0\n"
SERVICES = "_start: li a7, 0x5111\nagain: ecall\n j again\n"
KERNELS = "_start: li a0, 0x80100000\n li a1, 300000\nagain: vec.relu.f32 a0, a0, a1\n j again\n"
CODE = "_start: la t0, again\n lw t1, 0(t0)\nagain: nop\n sw t1, 0(t0)\n fence.i\n j again\n"
HELLO = "_start: li a7, 64\n li a0, 1\n la a1, word\n li a2, 1\n ecall\n"
PROGRAMS = {"loop": LOOP, "stores": STORES, "services": SERVICES, "kernels": KERNELS, "code": CODE}


def moment(longest: float = 0.02) -> float:
    """Seconds: often next to nothing."""
    return longest * MOMENTS.random() ** 3


def loaded(engine: type[ReferenceMachine], source: str, **options: int) -> ReferenceMachine:
    machine = engine("slim", Host(emit=lambda token: None), **options)
    machine.load(asm.assemble(source))
    return machine


@contextmanager
def later(what: Callable[[], object], longest: float = 0.02) -> Iterator[None]:
    """Have it done by another thread at a random moment, of which the block's start is one."""
    thread = threading.Thread(target=lambda pause: (time.sleep(pause), what()), args=(moment(longest),))
    thread.start()
    try:
        yield
    finally:
        thread.join(TOO_LONG)
        assert not thread.is_alive()


def control_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def interrupted(work: Callable[[], object]) -> object:
    """What the work comes to, at which Ctrl-C is aimed: "raised" where that found no run."""
    try:
        with later(control_c):
            return work()
    except KeyboardInterrupt:
        return "raised"


@ENGINES
@pytest.mark.parametrize("program", PROGRAMS)
def test_stop_from_another_thread(engine, program):
    machine = loaded(engine, PROGRAMS[program])
    for _ in range(TIMES):
        with later(lambda: machine.stop("told")):
            assert machine.run(timeout=TOO_LONG).reason == "told"
        assert machine.run(max_instructions=20).reason == "limit"


@pytest.mark.skipif(cores() < 2, reason="one core has no threads to share operations")
def test_stop_while_threads_share_an_operation():
    machine = loaded(Machine, KERNELS, threads=2)
    for _ in range(TIMES):
        with later(lambda: machine.stop("told")):
            assert machine.run(timeout=TOO_LONG).reason == "told"


@ENGINES
@pytest.mark.parametrize("program", PROGRAMS)
def test_control_c(engine, program):
    machine = loaded(engine, PROGRAMS[program])
    for _ in range(TIMES):
        assert interrupted(lambda: machine.run(timeout=TOO_LONG).reason) in ("interrupted", "raised")
        assert machine.run(max_instructions=20).reason == "limit"       # and nothing of it is left


@ENGINES
@pytest.mark.parametrize("program", PROGRAMS)
def test_control_c_at_the_end_of_a_run(engine, program):
    """Runs of a few instructions, one behind the other: it meets their ends and the gaps between them."""
    machine = loaded(engine, PROGRAMS[program])

    def work() -> str:
        while True:
            reason = machine.run(max_instructions=MOMENTS.randrange(1, 30)).reason
            if reason != "limit":
                return reason

    for _ in range(TIMES):
        assert interrupted(work) in ("interrupted", "raised")
        assert machine.run(max_instructions=20).reason == "limit"


@ENGINES
@pytest.mark.parametrize("program", PROGRAMS)
def test_time_limits(engine, program):
    machine = loaded(engine, PROGRAMS[program])
    for _ in range(TIMES):
        assert machine.run(timeout=moment()).reason == "timeout"
        assert machine.run(max_instructions=20).reason == "limit"


@ENGINES
def test_a_hook_stops(engine):
    machine = loaded(engine, STORES)
    for _ in range(TIMES):
        left = MOMENTS.randrange(1, 200)

        def hook(it: ReferenceMachine, step: object) -> None:
            nonlocal left
            left -= 1
            if not left:
                it.stop("enough")

        machine.hook(hook, where=lambda pc, row: row is not None and row.mnemonic == "addi")
        assert machine.run(timeout=TOO_LONG).reason == "enough" and left == 0
        machine.unhook(hook)


def points(session: Session) -> None:
    """Conditions that never hold."""
    never = parse_expression("t0 == -1", session.places.program)
    session.break_at("again", never)
    session.watch("cell", session.places.address("cell", session.machine), 8, never)


@ENGINES
@pytest.mark.parametrize("way", ["resume", "line", "finish", "unit"])
def test_the_debugger(engine, way):
    source = {"line": "_start: call f\n nop\nf: j f\n", "finish": "_start: call f\n nop\nf: j f\n",
              "unit": STORES.replace(".data", "vec.relu.f32 a0, a0, a1\n.data")}.get(way, STORES)
    session = Session(lambda: loaded(engine, source))
    if way == "resume":
        points(session)
    if way == "finish":
        session.resume(limit=2)
    ways = {"resume": session.resume, "line": lambda: session.line(over_calls=True), "finish": session.finish, "unit": session.unit}
    for _ in range(TIMES):
        if way == "line":
            session.machine.pc = session.machine.program.entry
        assert interrupted(lambda: session.advance(ways[way]).reason) in ("interrupted", "raised")
        assert session.advance(lambda: session.resume(limit=1)).reason in ("there", "breakpoint", "watchpoint")


# ------------------------------------------------------------------------------------------------ gdb


@contextmanager
def served(engine: type[ReferenceMachine], source: str) -> Iterator[GdbClient]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = GdbServer(Session(lambda: loaded(engine, source)), lambda line: None)
    thread = threading.Thread(target=server.serve, args=[listener], daemon=True)
    thread.start()
    client = GdbClient(listener.getsockname()[1])
    yield client
    client.send("k")
    thread.join(TOO_LONG)
    listener.close()
    assert not thread.is_alive()


@ENGINES
def test_gdb_asks(engine):
    with served(engine, STORES) as client:
        for _ in range(TIMES):
            with later(client.interrupt):
                assert client.ask("c").startswith("T02")
            assert client.ask("s").startswith("T05")


@ENGINES
@pytest.mark.parametrize("kind", ["Z0,80000008,4", "Z2,80001000,8"])
def test_gdb_asks_while_it_evaluates_a_condition(engine, kind):
    """As gdb does: continue, look at a register at each stop, go on; and a step over what it stopped at."""
    with served(engine, STORES) as client:
        client.ask("s"), client.ask("s")
        cell = int.from_bytes(bytes.fromhex(client.ask("p6")), "little")
        assert client.ask(kind.replace("80001000", f"{cell:x}")) == "OK"
        for _ in range(TIMES):
            with later(client.interrupt):
                until = time.monotonic() + TOO_LONG
                while not client.ask(MOMENTS.choice(["c", "c", "s"])).startswith("T02"):
                    assert client.ask("p5") and time.monotonic() < until


@ENGINES
def test_gdb_goes_away(engine):
    """In whatever moment: the program stands then, and the next client finds nothing of what the one before has asked."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = GdbServer(Session(lambda: loaded(engine, STORES)), lambda line: None)
    thread = threading.Thread(target=server.serve, args=[listener], daemon=True)
    thread.start()
    for _ in range(TIMES):
        client = GdbClient(listener.getsockname()[1])
        with later(client.socket.close if MOMENTS.random() < 0.5 else lambda it=client.socket: it.shutdown(socket.SHUT_RDWR)):
            try:
                client.send("Z0,80000008,4") if MOMENTS.random() < 0.3 else None
                client.send("c") if MOMENTS.random() < 0.7 else None
                client.interrupt() if MOMENTS.random() < 0.3 else None
            except OSError:
                pass
        with later(lambda: None):
            following = GdbClient(listener.getsockname()[1])
            assert following.ask("qC") == "QC1" and following.ask("s").startswith("T05")
            following.socket.close()
    server.session.machine.stop("enough")
    last = GdbClient(listener.getsockname()[1])
    last.send("k")
    thread.join(TOO_LONG)
    listener.close()
    assert not thread.is_alive()


# ------------------------------------------------------------------------------------------------ commands


@pytest.mark.parametrize("engine", ["reference", "fast"])
@pytest.mark.parametrize("command", ["run", "debug", "gdb", "generate"])
def test_commands(command, engine, tmp_path: Path):
    """From the moment on in which there is a first word of the program, or of the command. tests/compiler has those of models."""
    asm.assemble(f"{HELLO}{LOOP.removeprefix('_start:')}word: .ascii \"!\"\n").save(tmp_path / "p.elf")
    (tmp_path / "script").write_text("break again if t0 == -1\ncontinue\n")
    arguments, stream, first = {
        "run":      (["run", tmp_path / "p.elf"], "out", "!"),
        "debug":    (["debug", tmp_path / "p.elf", "--script", tmp_path / "script"], "out", "breakpoint"),
        "gdb":      (["debug", tmp_path / "p.elf", "--gdb", "0"], "err", "waiting"),
        "generate": (["generate", "Once upon a time", "-n", "200"], "out", "Once")}[command]
    for _ in range(TIMES if TIMES >= 200 else max(1, TIMES // 5)):
        with Child(*SLIMULATOR, *arguments, "--engine", engine) as child:
            child.wait_for(first, stream)
            time.sleep(moment(0.3))
            child.interrupt()
            out, err = child.end()
            assert "Traceback" not in err
            if command == "debug" and child.status == 0:                # it came while the program ran: the script goes on
                assert "interrupted after" in out
            elif command == "generate" and child.status in (0, -signal.SIGINT):
                assert "tokens after a prompt" in err                  # the story had come to its end, all was said
            else:
                assert child.status == 130 and "interrupted" in err, (out, err)
