"""Traps, traces, backtraces, the debugger and disassemblies name functions, also in files that keep the compiler's own labels."""

from __future__ import annotations

import re
from pathlib import Path

import gnu
import pytest
from logged_runs import run

from asm.disassembler import disassemble
from emulator.debug.debugger import Debugger
from emulator.debug.session import Session
from emulator.machine import Machine
from isa.program import Program
from isa.reference import ReferenceMachine

START = """
        .globl  _start
_start: la      sp, top
        call    main
.Lhang: j       .Lhang
        .bss
        .zero   4096
top:
"""
SOURCE = """
static volatile long sink;
int *volatile nowhere = (int *)8, cell = 4;
__attribute__((noinline)) int leaf(int *p) { for (int i = 0; i < 2; i++) sink += i; return *p + sink; }
__attribute__((noinline)) int middle(int *p) { int v = leaf(p) + 1; sink = v; return v; }
__attribute__((noreturn, noinline)) void leave(int code) {
    register long a0 __asm__("a0") = code, a7 __asm__("a7") = 93;
    __asm__ volatile("ecall" : : "r"(a0), "r"(a7));
    __builtin_unreachable();
}
__attribute__((noreturn, noinline)) void finish(int code) { sink = code; leave(code); }
__attribute__((noinline)) int after(void) { return sink; }
int main(void) { int t = middle((int *)&cell); if (TRAP) t += middle(nowhere); finish(t & 7); }
"""
ENGINES = pytest.mark.parametrize("engine", [ReferenceMachine, Machine])


def build(folder: Path, level: str, *options: str) -> Program:
    (folder / "start.s").write_text(START)
    (folder / "main.c").write_text(SOURCE)
    gnu.run("gcc", "-march=rv64im", "-mabi=lp64", "-mcmodel=medany", "-ffreestanding", "-nostdlib", level, *options,
            "-Wl,--no-relax,--emit-relocs,--discard-none,--no-warn-rwx-segments,--build-id=none,-Ttext=0x80000000",
            folder / "start.s", folder / "main.c", "-o", folder / "main.elf")
    assert " .L" in gnu.run("readelf", "-sW", folder / "main.elf")           # else nothing is tested
    return Program.load(folder / "main.elf")


def session(program: Program, engine: type[ReferenceMachine]) -> Session:
    def start() -> ReferenceMachine:
        machine = engine("slim")
        machine.load(program)
        return machine
    return Session(start)


@ENGINES
@pytest.mark.parametrize("options", [("-O0",), ("-O2",), ("-O2", "-g")])
def test_a_backtrace_behind_calls_that_never_return(engine: type[ReferenceMachine], options: tuple[str, ...],
                                                    tmp_path: Path) -> None:
    """At a breakpoint and at the exit, where pc is the start of another function already."""
    lines: list[str] = []
    debugger = Debugger(session(build(tmp_path, *options, "-DTRAP=0"), engine), lambda text: lines.extend(text.split("\n")))
    for command in ("break leave", "continue", "backtrace", "continue", "backtrace"):
        debugger.execute(command)
    frames = [re.fullmatch(r"#\d +0x\w+ <(\w+)(?:\+0x\w+)?>(?: \(.*\))? in (\w+)", line) for line in lines if line.startswith("#")]
    assert [frame and frame.groups() for frame in frames] == [
        (name, name) for name in ("leave", "finish", "main", "_start") * 2], "\n".join(lines)
    assert debugger.session.machine.program.symbol_at(debugger.session.machine.pc) == "finish"


@ENGINES
@pytest.mark.parametrize("level", ["-O0", "-O2"])
def test_traps_and_traces(engine: type[ReferenceMachine], level: str, tmp_path: Path) -> None:
    program = build(tmp_path, level, "-DTRAP=1")
    _, lines = run(engine, program, tmp_path / "trace")
    machine = engine("slim")
    machine.load(program)
    trap = machine.run().trap
    assert trap is not None
    assert trap.symbol.partition("+")[0] == "leaf"
    assert {line.split()[2].partition("+")[0] for line in lines} == {"_start", "main", "middle", "leaf"}
    assert not [line for line in lines if ".L" in line]


@pytest.mark.parametrize("level", ["-O0", "-O2"])
def test_a_disassembly_has_the_names_that_nm_prints(level: str, tmp_path: Path) -> None:
    program = build(tmp_path, level, "-DTRAP=1", "-g")
    labels = re.findall(r"^[0-9a-f]{16} <(.*)>:$", "\n".join(disassemble(program, section=".text")), re.M)
    assert sorted(labels) == sorted({"_start", "leaf", "middle", "leave", "finish", "after", "main"})
    assert not re.search(r"<\.L", "\n".join(disassemble(program)))
