"""gdb-multiarch drives a program through the gdb server: what gdb prints is compared with what the program is known to do."""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from children import SLIMULATOR, Child, run

import asm

SOURCE = """\
        .globl _start
_start: li   t0, 0
        li   t1, 5
        la   t2, cell
again:  sw   t0, 0(t2)
        call twice
        addi t0, t0, 1
        blt  t0, t1, again
        la   a0, vector
        li   a1, 4
        csrw vec.cols, a1
        vec.relu.f32 a0, a0, a1
        li   a7, 93
        li   a0, 7
        ecall
        .type twice, @function
twice:  slli s1, t0, 1
        ret
        .data
cell:   .dword 0
vector: .float -1, 2, -3, 8.5
"""


@contextmanager
def connected(folder: Path, source: str, commands: str, engine: str = "fast") -> Iterator[tuple[Child, Child]]:
    """The server of a program, and gdb, which executes some commands on it and ends."""
    gdb = shutil.which("gdb-multiarch")
    if gdb is None:
        pytest.skip("gdb-multiarch is not installed")
    with contextlib.chdir(folder):                              # so that source lines bear the file's name alone
        Path("p.s").write_text(source, encoding="utf-8")
        asm.assemble(Path("p.s")).save("p.elf")
    with Child(*SLIMULATOR, "debug", "p.elf", "--gdb", "0", "--engine", engine, cwd=folder) as server:
        server.wait_for("waiting for gdb on 127.0.0.1:", "err")
        port = server.wait_for(":", "err").removesuffix(":")
        (folder / "script").write_text("set pagination off\nset confirm off\nset width 0\n"
                                       f"target remote 127.0.0.1:{port}\n{commands}", encoding="utf-8")
        with Child(gdb, "-batch", "-nx", "-x", "script", "p.elf", cwd=folder) as client:
            yield server, client


def session(folder: Path, source: str, commands: str, engine: str = "fast") -> tuple[str, int | None, str]:
    """What gdb prints for some commands on a program, the exit status of the server and what it printed."""
    with connected(folder, source, commands, engine) as (server, client):
        text = "".join(client.end())
        said = "".join(server.end())
        assert client.status == 0, text
        return text, server.status, said


@pytest.mark.parametrize("engine", ["fast", "reference"])
def test_a_session(tmp_path: Path, engine: str) -> None:
    text, status, _ = session(tmp_path, SOURCE, r"""
printf "start %#lx\n", $pc
break twice
break p.s:12
continue
printf "at twice %d %#lx\n", $t0, $ra
info line *$pc
finish
printf "back at %#lx\n", $pc
delete 1
watch *(int *)&cell if *(int *)&cell == 3
continue
printf "watched %d at %#lx\n", *(int *)&cell, $pc
delete 3
next
next
info symbol $pc
stepi
printf "after stepi %#lx\n", $pc
set $t0 = 4
continue
printf "cols %d relus %d cell %d stores %d\n", $vec_cols, $vec_ops, *(int *)&cell, $core_stores
x/4fw &vector
stepi
x/4fw &vector
printf "relus %d\n", $vec_ops
set *(float *)&vector = 1.5
set $vec_cols = 9
info registers vec_cols lut_lookups mstatus pc
echo group\n
info registers vec_unit
echo end of group\n
monitor print vector f32[4]
print/x *(unsigned int *)$pc
set *(unsigned int *)($pc + 4) = 0x02a00513
info threads
continue
""", engine)
    expected = [
        r"start 0x80000000", r"Breakpoint 1 at 0x80000044: file p\.s, line 17", r"Breakpoint 2 at 0x80000034: file p\.s, line 12",
        r"Breakpoint 1, twice \(\) at p\.s:17\n17\s+twice:  slli s1, t0, 1", r"at twice 0 0x8000001c", r"Line 17 of \"p\.s\"",
        r"back at 0x8000001c", r"Hardware watchpoint 3: \*\(int \*\)&cell\n\nOld value = 2\nNew value = 3",
        r"watched 3 at 0x80000014", r"again \+ 16 in section \.text", r"after stepi 0x80000010",
        r"Breakpoint 2, again \(\) at p\.s:12", r"cols 4 relus 0 cell 4 stores 5",
        r"0x80001008:\s+-1\s+2\s+-3\s+8\.5", r"0x80001008:\s+0\s+2\s+0\s+8\.5", r"relus 1",
        r"vec_cols +0x9\s+9", r"lut_lookups +0x0\s+0", r"mstatus +0x1800\s", r"pc +0x80000038\s+0x80000038 <again\+40>",
        r"group\n(vec_[a-z_0-9]+? *0x\w+\s+\d+\n){5,}end of group",
        r"= 0x5d00893", r"\* 1 +Thread 1", r"exited with code 052"]
    position = 0
    for pattern in expected:
        found = re.compile(pattern).search(text, position)
        assert found, f"{pattern} not behind {position}:\n{text}"
        position = found.end()
    assert "[1.5 2.  0.  8.5]\n" in text                        # gdb prints on its standard error what a monitor command says
    assert status == 42                                         # li a0, 42 has replaced li a0, 7


def test_traps_are_signals_and_reports(tmp_path: Path) -> None:
    text, status, said = session(tmp_path, "_start: li a0, 8\n        ld a1, 0(a0)\n", "continue\ninfo registers pc a0\ndetach\n")
    assert "Program received signal SIGSEGV, Segmentation fault." in text
    assert "trap 5 (load access) at pc 0x80000004 <_start+0x4> (p.s:2)" in text
    assert re.search(r"pc +0x80000004\s", text) and re.search(r"a0 +0x8\s+8", text)
    assert status == 1 and "error: trap 5 (load access)" in said


def test_detach_and_kill(tmp_path: Path) -> None:
    assert session(tmp_path, SOURCE, "break twice\ncontinue\ndetach\n")[1] == 7
    text, status, said = session(tmp_path, SOURCE, "break twice\ncontinue\nkill\n")
    assert "killed" in text and status == 0 and "gdb has killed the program" in said


def test_unit_operations_from_gdb(tmp_path: Path) -> None:
    commands = "monitor unit vec\ncontinue\nmonitor disassemble\nstepi\nmonitor counters vec\nkill\n"
    text, status, _ = session(tmp_path, SOURCE, commands)
    assert re.search(r"=>  0x80000034  vec\.relu\.f32 a0, a0, a1", text)
    assert re.search(r"vec\.elements +\+4 elements", text) and status == 0


STORES = """\
_start: la   t1, cell
again:  sd   t0, 0(t1)
        addi t0, t0, 1
        j    again
        .data
cell:   .dword 0
"""


@pytest.mark.parametrize("engine", ["fast", "reference"])
@pytest.mark.parametrize("point", ["break again if $t0 == -1", "watch *(long *)&cell if *(long *)&cell == -1",
                                   "watch *(int *)&cell"])
def test_ctrl_c_comes_through_while_gdb_evaluates_a_condition(tmp_path: Path, point: str, engine: str) -> None:
    """Again and again in one session, at whatever moment. (gdbserver on Linux: each time.)"""
    if not point.endswith("-1"):
        point = f"{point}\ncommand\nsilent\ncontinue\nend"              # gdb goes on by itself
    times = 4
    asked = 'echo going\\n\ncontinue\nprintf "stopped %d\\n", $pc >= (long)&_start\n' * times
    with connected(tmp_path, STORES, f"{point}\n{asked}kill\n", engine) as (server, client):
        for pause in (0.3, 0.01, 0.4, 0.05)[:times]:
            client.wait_for("going\n")
            time.sleep(pause)
            client.interrupt()
            client.wait_for("Program received signal SIGINT")
            client.wait_for("stopped 1\n")
        client.end()
        server.end()
        assert server.status == 0


def test_a_second_gdb_is_told_why_it_is_refused(tmp_path: Path) -> None:
    with connected(tmp_path, STORES, "echo there\\n\ncontinue\nkill\n") as (server, first):
        first.wait_for("there\n")
        second = run(shutil.which("gdb-multiarch"), "-batch", "-nx", "-x", "script", "p.elf", cwd=tmp_path)
        assert "slimulator: another gdb is connected" in second.stdout + second.stderr
        first.interrupt()
        first.wait_for("Program received signal SIGINT")
        first.end()
        assert "another client was refused" in "".join(server.end())
        assert server.status == 0


def test_gdb_detaches_and_disconnects_while_a_request_waits(tmp_path: Path) -> None:
    """`disconnect` leaves the program where it is; who connects again finds it standing, and it is run to its end."""
    text, status, _ = session(tmp_path, SOURCE, "break twice\ncontinue\ndisconnect\nshell sleep 0.2\necho gone\\n\n"
                              "python gdb.execute('target remote ' + open('script').read().split('target remote ')[1].split()[0])\n"
                              "delete\ninfo symbol $pc\ncontinue\n")
    assert "twice in section .text" in text and "exited with code 07" in text and status == 7
