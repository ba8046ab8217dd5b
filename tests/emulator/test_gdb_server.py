"""The gdb server, spoken to by a client of our own over loopback: framing, packets, what runs, and clients that misbehave."""

from __future__ import annotations

import re
import socket
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from children import LIMIT, SLIMULATOR, Child, run
from gdb_client import GdbClient

import asm
from emulator.debug.gdb_packets import LARGEST, Arrival, Event, PacketReader, escape, frame, unescape
from emulator.debug.gdb_server import GdbServer
from emulator.debug.session import Session
from emulator.machine import Machine
from isa.csrs import CSRS
from isa.program import Line, Program, Section, Symbol
from isa.reference import ReferenceMachine

ROOT = Path(__file__).parents[2]

LOOP = """\
_start: li   t0, 0
        li   t1, 5
        la   t2, cell
again:  sw   t0, 0(t2)
        addi t0, t0, 1
        blt  t0, t1, again
        la   a0, cell
        li   a1, 2
        vec.relu.f32 a0, a0, a1
        li   a7, 93
        li   a0, 7
        ecall
        .data
cell:   .dword 0x2a242324237d
"""
ENDLESS = "_start: li t0, 0\nagain: addi t0, t0, 1\n        j again\n"
AGAIN, CELL = 0x80000010, 0x80001000


# ------------------------------------------------------------------------------------------------ framing


def events(*pieces: bytes) -> list[Event]:
    reader = PacketReader()
    return [event for piece in pieces for event in reader.feed(piece)]


def test_the_frame_of_a_packet_is_that_of_the_manual() -> None:
    assert frame(b"OK") == b"$OK#9a"                            # the sum in gdb's own examples
    assert frame(b"") == b"$#00"
    assert frame(b"g") == b"$g#67"


def test_packets_are_read_however_they_arrive() -> None:
    stream = b"+$m80000000,4#55-$g#67\x03$#00"
    whole = [Event(Arrival.ACKNOWLEDGED), Event(Arrival.PACKET, b"m80000000,4"), Event(Arrival.REPEAT), Event(Arrival.PACKET, b"g"),
             Event(Arrival.INTERRUPT), Event(Arrival.PACKET)]
    assert sum(b"m80000000,4") % 256 == 0x55
    assert events(stream) == events(*(bytes((byte,)) for byte in stream)) == whole


@pytest.mark.parametrize(("stream", "kinds"), [
    (b"$g#68", [Arrival.BAD_CHECKSUM]), (b"$g#zz", [Arrival.BAD_CHECKSUM]), (b"$g#6", []), (b"$ggg", []),
    (b"xy", [Arrival.GARBAGE] * 2), (b"$broken$g#67", [Arrival.PACKET]), (b"$g#6$g#67", [Arrival.PACKET]),
    (b"$" + b"a" * (LARGEST + 1) + b"#00", [Arrival.TOO_LONG]),
    (b"$" + b"a" * 10_000_000, []), (b"$" + b"\0" * LARGEST + b"#00", [Arrival.PACKET]), (b"\x80\xff\0", [Arrival.GARBAGE] * 3)])
def test_damaged_streams(stream: bytes, kinds: list[Arrival]) -> None:
    assert [event.kind for event in events(stream)] == kinds


def test_escapes() -> None:
    data = bytes(range(256))
    assert unescape(escape(data)) == data
    assert escape(b"a}b") == b"a}\x5db" and unescape(b"}\x03}\x04}\x5d}") == b"#$}"
    assert not set(escape(data)) & {ord("$"), ord("#"), ord("*")}


# ------------------------------------------------------------------------------------------------ a client


class Served:
    """A server in a thread: `.port`, `.said`, `.session`, and `.status` once it has ended."""

    def __init__(self, source: str, engine: type[ReferenceMachine]) -> None:
        program = asm.assemble(source)

        def start() -> ReferenceMachine:
            machine = engine("slim")
            machine.load(program)
            return machine

        self.session, self.said, self.status = Session(start), [], None
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.clients: list[GdbClient] = []
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        self.status = GdbServer(self.session, self.said.append).serve(self.listener)

    def client(self) -> GdbClient:
        self.clients.append(GdbClient(self.port))
        return self.clients[-1]

    def ended(self) -> int | None:
        """Wait for the end of the server."""
        self.thread.join(LIMIT)
        assert not self.thread.is_alive()
        return self.status


@pytest.fixture
def served() -> Iterator[Callable[..., Served]]:
    servers: list[Served] = []

    def make(source: str = LOOP, engine: type[ReferenceMachine] = ReferenceMachine) -> Served:
        servers.append(Served(source, engine))
        return servers[-1]
    yield make
    for server in servers:
        if server.thread.is_alive():                    # nobody may wait for ever
            for client in server.clients:
                client.socket.close()
            killer = server.client()
            killer.socket.sendall(frame(b"k"))
        server.ended()
        server.listener.close()


# ------------------------------------------------------------------------------------------------ packets


def test_what_is_supported_and_what_is_not(served) -> None:
    client = served().client()
    assert client.ask("qSupported:multiprocess+;swbreak+;vContSupported+").split(";") == [
        f"PacketSize={LARGEST:x}", "qXfer:features:read+", "vContSupported+", "swbreak+", "hwbreak+", "QStartNoAckMode+"]
    for packet in ("vMustReplyEmpty", "qTStatus", "Z3,80001000,4", "Z4,80001000,4", "z3,80001000,4", "vFile:x", ""):
        assert client.ask(packet) == "", packet
    for packet, reply in {"?": "T0520:0000008000000000;thread:1;", "qC": "QC1", "qfThreadInfo": "m1", "qsThreadInfo": "l",
                          "Hg0": "OK",
                          "Hc-1": "OK", "T1": "OK", "qAttached": "0", "qSymbol::": "OK", "vCont?": "vCont;c;C;s;S"}.items():
        assert client.ask(packet) == reply, packet


def test_the_description_names_every_register(served) -> None:
    client = served().client()
    text, start = "", 0
    while True:
        part = client.ask(f"qXfer:features:read:target.xml:{start:x},7f3")
        text += unescape(part[1:].encode("latin-1")).decode()
        start = len(text)
        if part[0] == "l":
            break
        assert part[0] == "m"
    features = {feature.get("name"): feature for feature in ElementTree.fromstring(text).iter("feature")}
    core = features["org.gnu.gdb.riscv.cpu"]
    assert [reg.get("name") for reg in core] == [
        "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "fp", "s1", "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "s2", "s3",
        "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6", "pc"]     # the names that gdb's manual asks for
    assert {reg.get("bitsize") for feature in features.values() for reg in feature} == {"64"}
    csrs = {reg.get("name"): int(reg.get("regnum", "")) for reg in features["org.gnu.gdb.riscv.csr"]}
    assert csrs == {csr.name.replace(".", "_"): 65 + csr.address for csr in CSRS.values()}
    groups = {reg.get("name"): reg.get("group") for reg in features["org.gnu.gdb.riscv.csr"]}
    assert [groups[name] for name in ("lut_lookups", "core_loads", "mepc")] == ["lut", "core", "csr"]
    assert groups["vec_cols"] == groups["vec_macs"] == "vec_unit"       # gdb takes `vec` as short for a group of its own, "vector"
    assert client.ask("qXfer:features:read:other.xml:0,100").startswith("E")


def test_registers(served) -> None:
    client = served().client()
    assert client.ask("P0a=efcdab8967452301") == "OK" and client.ask("pa") == "efcdab8967452301"
    registers = client.ask("g")
    assert len(registers) == 16 * 33 and registers[160:176] == "efcdab8967452301" and registers[-16:] == "0000008000000000"
    changed = registers[:176] + "0100000000000000" + registers[192:-16] + "0400008000000000"
    assert client.ask("G" + changed) == "OK" and client.ask("g") == changed
    number = 65 + CSRS["vec.cols"].address
    assert client.ask(f"P{number:x}=4000000000000000") == "OK" and client.ask(f"p{number:x}") == "4000000000000000"
    assert client.ask(f"P{65 + CSRS['cycle'].address:x}=4000000000000000") == "E.CSR cycle is read-only"
    for packet in ("p21", "pffffffff", "P21=00", "p", "pxy", "G00", "Pa=1", "Pa"):
        assert client.ask(packet).startswith("E"), packet


def test_memory(served) -> None:
    server = served()
    client = server.client()
    assert client.ask(f"m{CELL:x},8") == "7d232423242a0000"
    assert client.ask(f"M{CELL:x},2:0102") == "OK" and client.ask(f"X{CELL + 2:x},4:".encode() + b"}\x03}\x04}\x5d*") == "OK"
    assert server.session.machine.peek(CELL, 6).tobytes() == b"\x01\x02#$}*"
    assert client.ask("X10000000,0:") == "OK"
    assert client.ask("m10000000,0") == ""
    end = next(region.end for region in server.session.machine.preset.regions if region.name == "sram")
    assert client.ask(f"m{end - 4:x},10") == "00000000"         # as much as there is
    assert len(client.ask("m10000000,ffffffff")) == LARGEST
    for packet in ("m0,4", f"M{end - 1:x},2:0000", "M10000000,2:00", "M10000000,1:0", "M10000000,1", "X10000000,2:a", "m", "m1",
                   "m1,2,3", "m-1,4", "mffffffffffffffff,4", "mfffffffffffffffffffffff,4", "M1000000000,1:00"):
        assert client.ask(packet).startswith("E"), packet


@pytest.mark.parametrize("engine", [ReferenceMachine, Machine])
def test_breakpoints_steps_and_the_end(served, engine) -> None:
    server = served(engine=engine)
    client = server.client()
    client.ask("qSupported:swbreak+")
    assert client.ask(f"Z0,{AGAIN:x},4") == client.ask(f"Z0,{AGAIN:x},4") == "OK"
    for count in range(5):
        assert client.ask("vCont;c:1") == "T0520:1000008000000000;swbreak:;thread:1;"
        assert int(client.ask("p5")[:2], 16) == count
    assert client.ask("vCont;s:1") == "T0520:1400008000000000;thread:1;" == client.ask("?")
    assert client.ask(f"z0,{AGAIN:x},4") == "OK" and server.session.points == {}
    assert client.ask(f"Z1,{AGAIN + 8:x},4") == "OK"
    assert client.ask("c") == "T0520:1800008000000000;hwbreak:;thread:1;"
    for packet in ("Z0,80000002,4", "Z0,0,4", "Z0", "Z", "Z2,0,4", "Z2,80001000,0"):
        assert client.ask(packet).startswith("E"), packet
    assert client.ask("c") == "W07" == client.ask("?") == client.ask("s")
    client.socket.close()
    assert server.ended() == 7


@pytest.mark.parametrize("engine", [ReferenceMachine, Machine])
def test_a_watchpoint_is_told_as_gdb_expects_it(served, engine) -> None:
    """gdb for RISC-V takes the pc that it is told for that of the instruction that is about to write, and steps over it."""
    server = served(engine=engine)
    client = server.client()
    assert client.ask(f"Z2,{CELL:x},4") == "OK"
    for count in range(5):
        assert client.ask("c") == f"T0520:1000008000000000;watch:{CELL:x};thread:1;"
        assert client.pc() == AGAIN and client.ask("g")[-16:] == "1000008000000000"
        assert client.ask(f"Z0,{AGAIN + 4:x},4") == "OK"        # gdb steps with a breakpoint behind
        executed = server.session.machine.counter("core.instructions")
        assert client.ask("c") == "T0520:1400008000000000;thread:1;"
        assert server.session.machine.counter("core.instructions") == executed
        assert client.ask(f"m{CELL:x},4") == f"{count:02x}000000"
        assert client.ask(f"z0,{AGAIN + 4:x},4") == "OK"
    assert "watch:" in client.ask("c")                          # by vec.relu.f32
    assert client.ask("s") == "T0520:2c00008000000000;thread:1;"        # the step that is already done
    assert client.ask(f"z2,{CELL:x},4") == "OK"
    assert client.ask("c") == "W07"


def test_code_that_gdb_writes_is_executed(served) -> None:
    server = served(engine=Machine)
    client = server.client()
    assert client.ask(f"Z0,{AGAIN:x},4") == "OK" and client.ask("c").startswith("T05")
    assert client.ask(f"M{AGAIN + 4:x},4:93821200") == "OK"             # addi t0, t0, 1 as it was
    assert client.ask(f"M{AGAIN + 4:x},4:93825200") == "OK"             # addi t0, t0, 5
    client.ask(f"z0,{AGAIN:x},4")
    assert client.ask("c") == "W07"
    assert server.session.machine.x[5] == 5 and server.session.machine.counter("core.stores") == 1


@pytest.mark.parametrize(("source", "signal", "report"), [
    ("_start: ld a0, 0(zero)\n",     11, "trap 5 (load access)"),
    ("_start: .word 0\n",            4,  "trap 2 (illegal instruction)"),
    ("_start: ebreak\n",             5,  "trap 3 (breakpoint)"),
    ("_start: jr a0\n",              11, "trap 1 (fetch access)"),
    ("_start: li a0, 2\n jr a0\n",   10, "trap 0 (fetch misaligned)"),
    ("_start: li a7, 1\n ecall\n",   12, "trap 11 (environment call)")])
def test_traps_are_signals_with_a_report(served, source: str, signal: int, report: str) -> None:
    client = served(source).client()
    assert client.ask("c").startswith(f"T{signal:02x}20:")
    assert client.console.startswith(report) and "reason: " in client.console


@pytest.mark.parametrize("engine", [ReferenceMachine, Machine])
@pytest.mark.parametrize("together", [True, False])
def test_an_interrupt_stops_a_running_program(served, engine, together: bool) -> None:
    server = served(ENDLESS, engine)
    client = server.client()
    for _ in range(3):
        if together:                                            # it arrives before the program has started
            client.socket.sendall(frame(b"c") + b"\x03")
        else:
            client.socket.sendall(frame(b"c"))
            assert client.event().kind is Arrival.ACKNOWLEDGED
            client.socket.sendall(b"\x03")
        assert client.answer().startswith("T02")


@pytest.mark.parametrize("engine", [ReferenceMachine, Machine])
def test_an_interrupt_that_finds_the_program_standing_is_for_the_next_resume(served, engine) -> None:
    """Debugging with GDB, "Interrupts": it is queued. gdb asks for one again while it evaluates conditions between two stops."""
    server = served(ENDLESS, engine)
    client = server.client()
    for resume in ("c", "vCont;c:1", "s", "vCont;s:1"):
        client.interrupt()
        assert client.ask("qC") == "QC1"                        # no packet in between takes it
        pc = client.pc()
        assert client.ask(resume).startswith("T02") and client.pc() == pc
        assert client.ask("s").startswith("T05")                # it was for one resume
    client.ask(f"Z0,{0x80000004:x},4")
    client.ask("c")
    for _ in range(5):                                          # at a breakpoint, as gdb does where its condition is false
        client.interrupt()
        assert client.ask("c").startswith("T02")
        assert client.ask("c").startswith("T05")


@pytest.mark.parametrize("leave", ["close", "detach"])
def test_an_interrupt_is_of_its_client_alone(served, leave: str) -> None:
    server = served()
    client = server.client()
    client.interrupt()
    assert client.ask("qC") == "QC1"
    if leave == "detach":
        assert client.ask("D") == "OK" and server.ended() == 7
        return
    client.socket.close()
    assert server.client().ask("c") == "W07"


def test_a_second_client_is_told_why_it_is_refused(served) -> None:
    server = served(ENDLESS, Machine)
    first = server.client()
    assert first.ask("qC") == "QC1"
    for running in (False, True, False):
        if running:
            first.send("c")
            assert first.event().kind is Arrival.ACKNOWLEDGED
        second = server.client()
        assert second.ask("qSupported:swbreak+") == "E.slimulator: another gdb is connected"
        with pytest.raises(EOFError):
            second.event()
        if running:
            first.interrupt()
            assert first.answer().startswith("T02")
        assert first.ask("qC") == "QC1"
    assert server.said == ["another client was refused: another gdb is connected"] * 3
    first.socket.close()
    assert server.client().ask("qC") == "QC1"


def test_many_second_clients_are_hung_up_on(served) -> None:
    server = served()
    first = server.client()
    others = [server.client() for _ in range(40)]               # they say nothing
    assert first.ask("qC") == "QC1"
    closed = 0
    for other in others:
        try:
            other.event()
        except (EOFError, ConnectionError):
            closed += 1
    assert closed == 40 and first.ask("qC") == "QC1"


def test_who_comes_behind_detach_is_told_too(served) -> None:
    server = served(ENDLESS, Machine)
    client = server.client()
    assert client.ask("D") == "OK"
    assert server.client().ask("?") == "E.slimulator: the program runs on to its end"
    server.session.machine.stop("enough")
    assert server.ended() == 0


def test_breakpoints_by_the_thousand() -> None:
    """What they cost grows as they do: to set, to run with, to hit with a condition of our own, to remove."""
    program = asm.assemble("_start:\n.rept 20000\nnop\n.endr\n j _start\n")

    def start() -> ReferenceMachine:
        machine = Machine("slim")
        machine.load(program)
        return machine

    def seconds(count: int) -> float:
        server = GdbServer(Session(start), print)
        began = time.process_time()
        for number in range(count):
            assert server.answer(f"Z0,{0x80000100 + 4 * number:x},4".encode()) == b"OK"
        for _ in range(200):
            assert server.session.resume().reason == "breakpoint"
        for number in range(count):
            assert server.answer(f"z0,{0x80000100 + 4 * number:x},4".encode()) == b"OK"
        assert server.session.points == {}
        return time.process_time() - began

    seconds(100)
    few, many = (min(seconds(count) for _ in range(3)) for count in (1000, 8000))
    assert many < 24 * few                                      # in proportion 8, squared 64


def test_monitor_commands(served) -> None:
    client = served().client()
    assert client.monitor("print cell") == f"cell = {CELL} ({CELL:#x}) <cell>\n"
    assert client.monitor("unit vec") == "`continue` stops at the next vec operation\n"
    assert client.ask("c") == "T0520:2800008000000000;thread:1;"
    assert "=>  0x80000028  vec.relu.f32 a0, a0, a1" in client.monitor("disassemble")
    assert "vec.elements " not in client.monitor("counters")
    assert client.ask("s").startswith("T05")
    assert "vec.elements +2 elements" in [" ".join(line.split()) for line in client.monitor("counters vec").splitlines()]
    assert client.monitor("help unit").startswith("unit [NAME]\n")
    assert client.monitor("contners") == "error: no command `contners`; did you mean `counters`?\n"
    assert client.monitor("unit lut") == "error: the program has no lut operation\n"
    assert client.monitor("break again").startswith("error: no command `break`")        # those are gdb's own
    assert client.ask("qRcmd,0") == "E.malformed packet"
    assert len(client.monitor("x 0x80000000, 4096").splitlines()) == 256


# ------------------------------------------------------------------------------------------------ clients come and go


def test_no_acknowledgements(served) -> None:
    client = served().client()
    client.socket.sendall(frame(b"QStartNoAckMode"))
    assert client.answer() == "OK"
    client.socket.sendall(b"$qC#00")                            # nor are checksums looked at
    assert client.event() == Event(Arrival.PACKET, b"QC1")
    client.socket.sendall(frame(b"T1"))
    assert client.event() == Event(Arrival.PACKET, b"OK")


def test_damaged_packets_are_asked_for_again_and_answers_repeated(served) -> None:
    server = served()
    client = server.client()
    client.socket.sendall(b"$qC#00")
    assert client.event().kind is Arrival.REPEAT
    client.socket.sendall(frame(b"qC"))
    assert [client.event().kind, client.event().payload] == [Arrival.ACKNOWLEDGED, b"QC1"]
    client.socket.sendall(b"-")
    assert client.event().payload == b"QC1"
    client.socket.sendall(b"$qC#00" * 11)
    assert server.client().ask("qC") == "QC1"
    assert server.said == ["the client disconnected: 10 packets in a row were damaged; the program is stopped at "
                           "0x80000000 <_start> (<text>:1), waiting for the next client"]


@pytest.mark.parametrize("data", [b"", b"\0" * 1000, b"GET / HTTP/1.1\r\n\r\n", b"$", b"$m80000000,4", b"\x16\x03\x01\x02\0" * 50,
                                  b"$m" + b"f" * 100 + b",4#00", b"+" * 5000, b"\x03" * 5000])
def test_garbage_and_disconnects_leave_the_program_alone(served, data: bytes) -> None:
    server = served()
    first = server.client()
    first.ask(f"Z0,{AGAIN:x},4")
    first.ask("s")
    first.socket.sendall(data)
    first.socket.close()
    second = server.client()
    assert second.ask("?").startswith("T05") and second.pc() == 0x80000004
    assert server.session.points == {}
    assert server.said[-1].startswith("the client disconnected: ") and "waiting for the next client" in server.said[-1]
    assert second.ask("c") == "W07"


def test_floods_are_cut_off(served) -> None:
    for data, why in ((b"x" * 100_000, "it does not use gdb's protocol"),
                      (frame(b"qC") * 20_000, "it sends packets without waiting for answers")):
        server = served()
        client = server.client()
        try:
            client.socket.sendall(data)
            while client.socket.recv(65536):
                pass
        except OSError:                                         # cut off while sending
            pass
        assert server.client().ask("qC") == "QC1"
        assert any(why in line for line in server.said), server.said


def test_a_packet_that_is_too_long_is_refused(served) -> None:
    server = served()
    client = server.client()
    assert client.ask(b"M10000000,ffff:" + b"00" * 0xFFFF) == "E.packet too long"
    assert server.said == [f"gdb sent a packet of more than {LARGEST} bytes; it was refused"]
    assert client.ask("qC") == "QC1"


@pytest.mark.parametrize("engine", [ReferenceMachine, Machine])
def test_a_client_that_leaves_a_running_program_stops_it(served, engine) -> None:
    server = served(ENDLESS, engine)
    first = server.client()
    first.socket.sendall(frame(b"c"))
    assert first.event().kind is Arrival.ACKNOWLEDGED
    first.socket.close()
    second = server.client()
    assert second.ask("?").startswith("T02")
    assert "the client disconnected: " in server.said[0]


def test_detach_lets_the_program_run_to_its_end(served) -> None:
    server = served()
    client = server.client()
    client.ask(f"Z0,{AGAIN:x},4")
    assert client.ask("D") == "OK"
    assert server.ended() == 7 and server.session.machine.counter("core.stores") == 5
    server = served("_start: ebreak\n")
    assert server.client().ask("D") == "OK"
    assert server.ended() == 1 and "error: trap 3 (breakpoint)" in server.said[-1]


@pytest.mark.parametrize(("packet", "reply"), [("k", ""), ("vKill;1", "OK")])
def test_kill_ends_the_server(served, packet: str, reply: str) -> None:
    server = served()
    client = server.client()
    client.socket.sendall(frame(packet.encode()))
    if reply:
        assert client.answer() == reply
    assert server.ended() == 0 and server.said == ["gdb has killed the program"]


def test_the_command_prints_its_port_and_the_programs_output(tmp_path: Path) -> None:
    source = ('_start: li a0, 1\n la a1, text\n li a2, 3\n li a7, 64\n ecall\n li a7, 93\n li a0, 5\n ecall\n'
              'text: .ascii "hi\\n"\n')
    asm.assemble(source).save(tmp_path / "p.elf")
    command = [*SLIMULATOR, "debug", tmp_path / "p.elf", "--engine", "reference", "--gdb"]
    with Child(*command, "0") as child:
        line = child.line("err")
        found = re.fullmatch(r"waiting for gdb on 127\.0\.0\.1:(\d+): "
                             rf"gdb-multiarch {tmp_path}/p\.elf -ex 'target remote :\1'\n", line)
        assert found, line
        client = GdbClient(int(found[1]))
        taken = run(*command, found[1])
        assert (taken.returncode, taken.stderr) == (1, f"error: port {found[1]} of 127.0.0.1: Address already in use\n")
        assert client.ask("c") == "W05"
        client.socket.close()
        assert (*child.end(), child.status) == ("hi\n", "", 5)


def test_names_from_outside_do_not_speak_to_a_terminal(tmp_path: Path) -> None:
    """Neither the server's, in what it says, nor gdb's, in what it is given to print."""
    evil = "\x1b]52;c;aGk=\x07"
    program = Program([Section(".text", "ax", 0x8000_0000, 4, [bytes(4)])], [Symbol(evil, 0x8000_0000, section=".text")],
                      [Line(0x8000_0000, f"{evil}\udcff.s", 1)], 0x8000_0000)
    program.save(tmp_path / f"{evil}.elf")
    with Child(*SLIMULATOR, "debug", tmp_path / f"{evil}.elf", "--engine", "reference", "--gdb", "0") as child:
        said = child.line("err")
        client = GdbClient(int(said.partition("127.0.0.1:")[2].partition(":")[0]))
        printed = client.monitor("backtrace") + client.monitor(f"print &{evil}")
        client.ask("c")                                                 # the report of the trap
        printed += client.console
        client.socket.close()
        said += child.line("err")
    assert "the client disconnected" in said and "<\\x1b]52" in printed and "\\udcff.s:1" in printed and "trap 2" in printed
    assert re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", said + printed) is None
