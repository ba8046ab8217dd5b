"""The debugger: transcripts of its commands on both engines, its expressions, its errors, scripts, pipes and terminals."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from children import LIMIT, SLIMULATOR, Child

import asm
import slimulator
from emulator.debug import inspection
from emulator.debug.access import DebugError
from emulator.debug.debugger import Debugger
from emulator.debug.expressions import parse_expression
from emulator.debug.session import Session
from emulator.machine import Machine
from isa.numbers import FORMATS
from isa.program import Program
from isa.reference import ReferenceMachine
from isa.services import Host

ROOT = Path(__file__).parents[2]
ENGINES = pytest.mark.parametrize("engine", [ReferenceMachine, Machine])

LOOP = """\
        .globl _start
_start: li   t0, 0
        li   t1, 5
        la   t2, cell
again:  sw   t0, 0(t2)
        call twice
        addi t0, t0, 1
        blt  t0, t1, again
        la   a0, vector
        li   a1, 8
        vec.relu.f32 a0, a0, a1
        vec.max.f32 a2, a0, a1
        sync.fence
        li   a7, 93
        li   a0, 7
        ecall
twice:  addi sp, sp, -16
        sd   ra, 8(sp)
        call leaf
        call leaf
        ld   ra, 8(sp)
        addi sp, sp, 16
        ret
leaf:   slli s1, t0, 1
        ret
        .data
cell:   .dword 0
vector: .float -1, 2, -3, 4, 5, -6, 7, 8.5
"""
RECURSIVE = """\
_start: li   a0, 4
        call sum
        li   a7, 93
        ecall
        .type sum, @function
sum:    beqz a0, 1f
        addi sp, sp, -16
        sd   ra, 8(sp)
        sd   a0, 0(sp)
        addi a0, a0, -1
        call sum
        ld   t0, 0(sp)
        add  a0, a0, t0
        ld   ra, 8(sp)
        addi sp, sp, 16
1:      ret
"""
TRAPS = "_start: li a0, 3\n        ld a1, 0(a0)\n"
EXITS = "_start: li a7, 93\n        li a0, 3\n        ecall\n"
ENDLESS = "_start: li t0, 0\nagain: addi t0, t0, 1\n        j again\n"


@pytest.fixture
def debug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Debugger]:
    """A debugger on a program; what it says is in `.lines`."""
    monkeypatch.chdir(tmp_path)

    def make(source: str, engine: type[ReferenceMachine] = ReferenceMachine) -> Debugger:
        Path("p.s").write_text(source, encoding="utf-8")
        program = asm.assemble(Path("p.s"))

        def start() -> ReferenceMachine:
            machine = engine("slim")
            machine.load(program)
            return machine

        debugger = Debugger(Session(start))
        debugger.lines = []
        debugger.say = lambda text: debugger.lines.extend(text.split("\n"))
        return debugger
    return make


def said(debugger: Debugger, *commands: str) -> list[str]:
    """What the debugger answers to some commands."""
    debugger.lines.clear()
    for command in commands:
        debugger.execute(command)
    return list(debugger.lines)


def transcript(debugger: Debugger, text: str) -> None:
    """Commands with `> ` in front, below each its answer."""
    for block in re.split(r"^> ", text, flags=re.MULTILINE)[1:]:
        command, *expected = block.rstrip("\n").split("\n")
        assert said(debugger, command) == expected, command


# ------------------------------------------------------------------------------------------------ stopping and going on


@ENGINES
def test_breakpoints_conditions_and_hits(debug, engine) -> None:
    transcript(debug(LOOP, engine), """\
> break leaf if t0 == 2
breakpoint 1: 0x8000006c <leaf> (p.s:24) if t0 == 2
> tbreak p.s:7
temporary breakpoint 2: 0x8000001c <again+0xc> (p.s:7)
> continue
temporary breakpoint 2
0x8000001c <again+0xc> (p.s:7)
     7  addi t0, t0, 1
    =>  addi t0, t0, 1
> continue
breakpoint 1
0x8000006c <leaf> (p.s:24)
    24  leaf:   slli s1, t0, 1
    =>  slli s1, t0, 1
> print t0
t0 = 2
> break 12
breakpoint 3: 0x80000034 <again+0x24> (p.s:12)
> c
breakpoint 1
0x8000006c <leaf> (p.s:24)
    24  leaf:   slli s1, t0, 1
    =>  slli s1, t0, 1
> info breakpoints
breakpoint 1: 0x8000006c <leaf> (p.s:24) if t0 == 2, 2 hits
breakpoint 3: 0x80000034 <again+0x24> (p.s:12)
> delete 1
> continue
breakpoint 3
0x80000034 <again+0x24> (p.s:12)
    12  vec.max.f32 a2, a0, a1
    =>  vec.max.f32 a2, a0, a1
> delete
> info breakpoints
no breakpoints, no watchpoints
> continue
the program exited with 7 after 103 instructions
""")


@ENGINES
def test_watchpoints_say_old_new_and_who(debug, engine) -> None:
    transcript(debug(LOOP, engine), """\
> watch cell, 4
watchpoint 1: 4 bytes at 0x80001000 <cell>
> continue
watchpoint 1: cell was written by the instruction at 0x80000010 <again> (p.s:5)
    ->  sw t0, 0(t2)
    old 0x0 (0)
    new 0x0 (0), the same
0x80000014 <again+0x4> (p.s:6)
     6  call twice
    =>  auipc ra, 0x0
> delete
> watch cell, 4 if i32[cell] >= 3
watchpoint 2: 4 bytes at 0x80001000 <cell> if i32[cell] >= 3
> continue
watchpoint 2: cell was written by the instruction at 0x80000010 <again> (p.s:5)
    ->  sw t0, 0(t2)
    old 0x2 (2)
    new 0x3 (3)
0x80000014 <again+0x4> (p.s:6)
     6  call twice
    =>  auipc ra, 0x0
> delete
> watch vector, 32
watchpoint 3: 32 bytes at 0x80001008 <vector>
> continue
watchpoint 3: vector was written by the instruction at 0x80000030 <again+0x20> (p.s:11)
    ->  vec.relu.f32 a0, a0, a1
    6 of 32 bytes changed, the first at 0x8000100a
    old 80 bf 00 00 00 40 00 00 40 c0 00 00 80 40 00 00
    new 00 00 00 00 00 40 00 00 00 00 00 00 80 40 00 00
0x80000034 <again+0x24> (p.s:12)
    12  vec.max.f32 a2, a0, a1
    =>  vec.max.f32 a2, a0, a1
> continue
the program exited with 7 after 103 instructions
""")


@ENGINES
def test_a_breakpoint_behind_a_watched_write_is_not_passed(debug, engine) -> None:
    lines = said(debug(LOOP, engine), "watch cell, 4", "break again+4", "continue")
    assert "breakpoint 2" in lines and any(line.startswith("watchpoint 1: cell was written") for line in lines)
    assert lines[-3] == "0x80000014 <again+0x4> (p.s:6)"


@ENGINES
def test_step_line_next_until_finish(debug, engine) -> None:
    debugger = debug(LOOP, engine)
    session = debugger.session

    def at(*commands: str) -> str:
        said(debugger, *commands)
        return session.places.name(session.machine.pc)

    assert at("step") == "0x80000004 <_start+0x4> (p.s:3)"
    assert at("step 3") == "0x80000010 <again> (p.s:5)"
    assert at("line") == "0x80000014 <again+0x4> (p.s:6)"
    assert at("next") == "0x8000001c <again+0xc> (p.s:7)"               # over the call
    assert at("until again") == "0x80000010 <again> (p.s:5)"
    assert at("line", "line") == "0x80000048 <twice> (p.s:17)"          # into it
    assert at("until leaf") == "0x8000006c <leaf> (p.s:24)"
    assert at("finish") == "0x80000058 <twice+0x10> (p.s:20)"
    assert at("finish") == "0x8000001c <again+0xc> (p.s:7)"
    assert session.machine.x[5] == 1


@ENGINES
def test_steps_stop_at_breakpoints_and_count_instructions(debug, engine) -> None:
    debugger = debug(LOOP, engine)
    assert "breakpoint 1" in said(debugger, "break leaf", "step 1000")
    assert debugger.session.machine.counter("core.instructions") == 11      # 4, sw, 2 of call, 2 of twice, 2 of call
    said(debugger, "delete", "step 5")
    assert debugger.session.machine.counter("core.instructions") == 16


@ENGINES
def test_next_and_finish_stay_in_their_call_of_a_recursive_function(debug, engine) -> None:
    debugger = debug(RECURSIVE, engine)
    machine = debugger.session.machine
    said(debugger, "break 11 if a0 == 1", "continue")                       # the call in sum(2)
    said(debugger, "delete", "next")
    assert (debugger.session.places.name(machine.pc), machine.x[10]) == ("0x80000030 <sum+0x1c> (p.s:12)", 1)
    said(debugger, "finish")
    assert (debugger.session.places.name(machine.pc), machine.x[10]) == ("0x80000030 <sum+0x1c> (p.s:12)", 3)
    assert said(debugger, "backtrace") == [
        "#0   0x80000030 <sum+0x1c> (p.s:12) in sum", "#1   0x80000030 <sum+0x1c> (p.s:12) in sum",
        "#2   0x8000000c <_start+0xc> (p.s:3) in _start"]


def test_a_trace_ends_where_it_stops_being_certain(debug) -> None:
    debugger = debug("_start: call f\n li a7, 93\n ecall\nf: call g\n ret\ng: ret\n")
    assert said(debugger, "break 5", "continue", "backtrace")[-2:] == [
        "#0   0x80000018 <f+0x8> (p.s:5) in f",
        "the backtrace ends here: the function at 0x80000010 has not saved its return address"]
    with pytest.raises(DebugError, match="caller is not known: the function at 0x80000010 has not saved"):
        debugger.execute("finish")
    with pytest.raises(DebugError, match="the return address 0x0 does not follow a call"):
        said(debugger, "restart", "set pc = g", "finish")


def test_a_frame_pointer_is_followed(debug) -> None:
    """As gcc -O0 lays frames out; sp has moved since, by an amount that the code does not tell."""
    debugger = debug("""\
_start: li a0, 64
        call f
        li a7, 93
        ecall
f:      addi sp, sp, -32
        sd ra, 24(sp)
        sd s0, 16(sp)
        addi s0, sp, 32
        sub sp, sp, a0
        nop
        addi sp, s0, -32
        ld ra, 24(sp)
        ld s0, 16(sp)
        addi sp, sp, 32
        ret
""")
    assert said(debugger, "until 10", "backtrace")[-2:] == [
        "#0   0x80000028 <f+0x14> (p.s:10) in f", "#1   0x8000000c <_start+0xc> (p.s:3) in _start"]
    said(debugger, "finish")
    assert debugger.session.machine.pc == 0x8000000c


@ENGINES
def test_unit_operations(debug, engine) -> None:
    debugger = debug(LOOP, engine)
    assert said(debugger, "unit")[-1] == "    =>  vec.relu.f32 a0, a0, a1"
    assert debugger.session.machine.counter("vec.ops") == 0
    assert said(debugger, "unit vec")[-1] == "    =>  vec.max.f32 a2, a0, a1"
    assert [line.split() for line in said(debugger, "counters vec")] == [
        ["vec.ops", "+1", "instructions"], ["vec.elements", "+8", "elements"]]
    assert said(debugger, "unit sync")[-1] == "    =>  sync.fence"
    assert said(debugger, "unit sync") == ["the program exited with 7 after 103 instructions"]


@ENGINES
def test_the_end_a_trap_and_a_restart(debug, engine) -> None:
    debugger = debug(TRAPS, engine)
    lines = said(debugger, "continue")
    assert lines[:2] == ["trap 5 (load access) at pc 0x80000004 <_start+0x4> (p.s:2)",
                         "  instruction: ld rd=a1=0x0, imm=0, rs1=a0=0x3"]
    assert said(debugger, "set a0 = _start", "continue")[-4].startswith("trap 2 (illegal instruction) at pc 0x80000008")
    assert said(debugger, "restart", "print a0") == [
        "0x80000000 <_start> (p.s:1)", "     1  _start: li a0, 3", "    =>  li a0, 3", "a0 = 0"]
    debugger = debug(EXITS, engine)
    assert said(debugger, "break 2", "continue", "continue")[-1] == "the program exited with 3 after 3 instructions"
    for command in ("continue", "step", "line", "unit", "finish"):
        with pytest.raises(DebugError, match="the program has ended; `restart` starts it again"):
            debugger.execute(command)
    assert "breakpoint 1" in said(debugger, "restart", "continue")


def test_a_condition_that_cannot_be_evaluated_stops_and_says_so(debug) -> None:
    lines = said(debug(LOOP), "break again if u8[t0] == 1", "continue")
    assert lines[1:3] == ["condition `u8[t0] == 1` of 1: 1 bytes at 0x0 do not lie in one region", "breakpoint 1"]


def test_a_line_that_is_included_twice_breaks_at_both(debug, tmp_path: Path) -> None:
    (tmp_path / "twice.s").write_text("        nop\n        li t0, 1\n", encoding="utf-8")
    debugger = debug('_start: li t1, 0\n .include "twice.s"\n .include "twice.s"\n li a7, 93\n ecall\n')
    assert said(debugger, "break twice.s:1") == ["breakpoint 1: 0x80000004 <_start+0x4> (twice.s:1)",
                                                 "breakpoint 1: 0x8000000c <_start+0xc> (twice.s:1)"]
    for address in (0x80000004, 0x8000000c):
        assert said(debugger, "continue")[0] == "breakpoint 1"
        assert debugger.session.machine.pc == address


# ------------------------------------------------------------------------------------------------ expressions, set


@pytest.mark.parametrize(("text", "value"), [
    ("1 + 2 * 3", 7), ("(1 + 2) * 3", 9), ("-7 / 2", -3), ("-7 % 3", -1), ("1 << 4 | 1", 17), ("6 & 3 == 2", 1), ("~0", -1),
    ("!5", 0), ("'A'", 65), ("0xffffffffffffffff", -1), ("1 << 63", -(1 << 63)), ("0x8000000000000000 - 1", (1 << 63) - 1),
    ("a0", -1), ("x[a0]", -1), ("x10 == a0", 1), ("$a0 < 0", 1), ("x[10] >> 60", -1), ("pc", 0x80000000), ("a0 < 0 && pc > 1", 1),
    ("0 || 3", 1), ("0 && 1 / 0", 0), ("cell + 8", 0x80001008), ("vector - cell", 8), ("f32[vector + 4]", 2.0),
    ("f32[vector] * 2", -2.0), ("u16[vector + 2]", 0xBF80), ("i16[vector + 2]", 0xBF80 - 0x10000), ("i8[vector + 3]", -0x41),
    ("u64[vector]", 0x40000000_BF800000), ("f32(u32[vector])", -1.0), ("bits(1.5)", 0x3FC00000), ("bf16[vector + 2]", -1.0),
    ("f16(0x3c00)", 1.0), ("f32(bits(0.1)) == f32(0x3dcccccd)", 1), ("vec.cols", 64), ("core.instructions", 0), ("mstatus", 0x1800),
    ("0b101", 5), ("1_000", 1000), ("2.5e1 / 2", 12.5), ("007", 7)])
def test_expressions(debug, text: str, value: float) -> None:
    debugger = debug(LOOP)
    said(debugger, "set a0 = -1", "set vec.cols = 64")
    machine = debugger.session.machine
    assert parse_expression(text, machine.program).evaluate(machine) == value


@pytest.mark.parametrize(("text", "message"), [
    ("", "expected a value, got nothing"), ("1 +", "`1 +`: expected a value, got the end"), ("(1", "expected `)`, got the end"),
    ("1 2", "`1 2`: expected an operator or the end, got `2`"), ("x[99]", "expected a register or a number 0..31, got `99`"),
    ("agian", "`agian` is not a register, CSR, counter or symbol; did you mean `again`?"),
    ("lut.lokups", "`lut.lokups` is not a register, CSR, counter or symbol; did you mean `lut.lookups`?"),
    ("a0; import os", "`; import os` is not part of an expression"), ("__import__('os')", "`'os')` is not part of an expression"),
    ("1 / 0", "division by zero"), ("5 % (2 - 2)", "division by zero"), ("1 << 64", "shift by 64; expected 0..63"),
    ("1.5 & 1", "the left side of & is 1.5; expected an integer"), ("u8[0]", "1 bytes at 0x0 do not lie in one region"),
    ("i32[1.5]", "the address is 1.5; expected an integer"), ("(" * 300, "an expression of 300 words; expected at most 200"),
    ("0x", "expected an operator or the end, got `x`"), ("u8[sp", "`u8[sp`: expected `]`, got the end"),
    ("&5", "`&5`: expected a symbol, got `5`"),
    ("f33[0]", "expected x[...], or memory as i8, u8, i16, u16, i32, u32, i64, u64, f16, f32, bf16[...], got `f33[...]`"),
    ("sqrt(2)", "`sqrt(2)`: expected f16, f32, bf16 or bits(...), got `sqrt(...)`"),
    ("0x1_0000_0000_0000_0000", "`0x1_0000_0000_0000_0000` has more than 64 bits"), ("1__0", "`1__0` is not a number")])
def test_mistakes_in_expressions(debug, text: str, message: str) -> None:
    debugger = debug(LOOP)
    with pytest.raises(DebugError) as caught:
        parse_expression(text, debugger.session.machine.program).evaluate(debugger.session.machine)
    assert message in str(caught.value)


@ENGINES
def test_set_changes_registers_csrs_memory_and_code(debug, engine) -> None:
    debugger = debug(LOOP, engine)
    machine = debugger.session.machine
    assert said(debugger, "set a0 = cell + 8", "set vec.cols = 12", "set u8[cell] = 0xff", "set f32[vector] = 0.1",
                "set x[11] = -2") == [
        "a0 = 2147487752 (0x80001008) <vector>", "vec.cols = 12 (0xc)", "u8[cell] = 255 (0xff)",
        "f32[vector] = 0.10000000149011612", "x[11] = -2 (0xfffffffffffffffe)"]
    assert machine.x[11] == (1 << 64) - 2 and machine.csr("vec.cols") == 12
    assert machine.peek(0x80001008, 4).tobytes() == np.float32(0.1).tobytes()
    said(debugger, "step 4", "set minstret = 100")
    assert machine.csr("minstret") == 100 and machine.counter("core.instructions") == 4
    said(debugger, "set u32[again] = 0x00700293", "step")                   # li t0, 7
    assert machine.x[5] == 7
    assert "=>  0x80000014  auipc ra, 0x0" in said(debugger, "disassemble")
    assert said(debugger, "set pc = _start", "disassemble again, 1")[-2:] == ["again:", "    0x80000010  li t0, 7"]


@pytest.mark.parametrize(("command", "message"), [
    ("set a0", "expected `set PLACE = EXPRESSION`"), ("set a0 == 5", "expected `set PLACE = EXPRESSION`"),
    ("set zero = 1", "register zero is always 0"),
    ("set cell = 1", "`cell` cannot be set; registers, pc, CSRs and memory such as u64[cell]"),
    ("set u8[cell] = 256", "256 does not fit into u8"), ("set cycle = 1", "CSR cycle is read-only"),
    ("set lut.lookups = 1", "CSR lut.lookups is read-only"), ("set misa = 1", "CSR misa is read-only"),
    ("set a0 = 1.5", "the value is 1.5; expected an integer"), ("set u64[16] = 1", "8 bytes at 0x10 do not lie in one region"),
    ("brake main", "no command `brake`; did you mean `break`?"),
    ("frobnicate", "no command `frobnicate`; `help` lists all commands"),
    ("co", "`co` is ambiguous: continue or counters"), ("12", "`12` is not a command"),
    ("break nowhere", "`nowhere` is not a register"),
    ("break q.s:5", "no code is from a file q.s; did you mean p.s?"),
    ("counters veg", "`veg` has no counters; did you mean `vec`?"), ("counters foo", "`foo` has no counters; expected one of core"),
    ("break cell", "cell lies in .data, which has no code; use `*cell` to stop there anyway"), ("until vector+8", "lies in .data"),
    ("break p.s:99", "p.s has no code at line 99 or after it"), ("break _start+2", "0x80000002 is not a multiple of 4"),
    ("break *0x40", "4 bytes at 0x40 do not lie in one region"), ("break again if", "expected a value, got nothing"),
    ("break again if t9 > 1", "`t9` is not a register"), ("watch", "`watch` needs an address"),
    ("watch cell 8", "`cell 8`: expected ADDRESS[, BYTES], as in `cell, 16`"),
    ("x cell f32[2]", "`cell f32[2]`: expected ADDRESS[, BYTES], as in `cell, 16`"),
    ("print cell i32[2", "`cell i32[2`: expected `]`, got the end"),
    ("watch 0x40, 4", "4 bytes at 0x40"), ("watch cell, 0", "a watchpoint of 0 bytes"),
    ("delete 7", "there is no breakpoint or watchpoint 7; there are none"), ("step 0", "step 0; expected"),
    ("step now", "`now` is not a register"), ("unit lot", "no unit `lot`; expected one of vec, lut"),
    ("unit lut", "the program has no lut operation"), ("until", "`until` needs a place"),
    ("continue 5", "`5`: this command takes no operand"), ("step 18446744073709551616", "more than 64 bits"),
    ("finish", "this function's caller is not known: the program starts here"), ("print", "`print` needs an expression"),
    ("print pam", "`pam` is not a register"), ("x", "`x` needs an address"), ("x 0x40", "there is no memory at 0x40"),
    ("x cell, -1", "a dump of -1 bytes"), ("disassemble 0x40", "4 bytes at 0x40"),
    ("disassemble again, 0", "0 instructions; expected"), ("list 99", "p.s has no code at line 99"),
    ("info nonsense", "info nonsense: expected one of breakpoints, registers"),
    ("info s", "info s: expected one of symbols, sections"), ("source nowhere.txt", "nowhere.txt: No such file or directory"),
    ("help nonsense", "no command `nonsense`")])
def test_mistakes_in_commands(debug, command: str, message: str) -> None:
    debugger = debug(LOOP)
    with pytest.raises(DebugError) as caught:
        debugger.execute(command)
    assert message in str(caught.value)
    assert debugger.session.points == {}


# ------------------------------------------------------------------------------------------------ looking


@pytest.mark.parametrize("form", FORMATS)
def test_tensors_of_every_format(debug, form: str) -> None:
    debugger = debug(LOOP)
    machine = debugger.session.machine
    values = np.array([[-1, 1, 1, -1, 1, -1, 1], [1, -1, -1, 1, 1, 1, -1]])
    if form.startswith(("u", "c")):
        values = abs(values)
    packed = FORMATS[form].pack(values)
    machine.peek(0x10000100, packed.size)[:] = packed.reshape(-1)
    shown = said(debugger, f"print 0x10000100 {form}[2,7]")
    assert [float(number) for number in re.findall(r"-?\d+\.?", " ".join(shown))] == values.reshape(-1).tolist()
    assert len(shown) == 2


def test_tensors_by_symbol_and_expression(debug) -> None:
    debugger = debug(LOOP)
    assert said(debugger, "print vector f32[2,4]", "print cell + 8 f32[3]") == [
        "[[-1.   2.  -3.   4. ]", " [ 5.  -6.   7.   8.5]]", "[-1.  2. -3.]"]
    assert said(debugger, "print vector + 4 f32", "print 4 - i8[vector]") == ["2.", "4 - i8[vector] = 4"]
    for tensor in ("vector f33[2]", "vector f32[0x]", "vector f32[2,", "0x40 f32[2]", "vector f32[-1]", "vector f32[99999999999]"):
        with pytest.raises(DebugError):
            debugger.execute(f"print {tensor}")


def test_memory_registers_units_and_lists(debug) -> None:
    debugger = debug(LOOP)
    transcript(debugger, """\
> x vector, 20
0x80001008  00 00 80 bf 00 00 00 40  00 00 40 c0 00 00 80 40  |.......@..@....@|
0x80001018  00 00 a0 40                                       |...@|
> disassemble leaf, 2
leaf:
    0x8000006c  slli s1, t0, 1
    0x80000070  ret
> list leaf
      19          call leaf
      20          call leaf
      21          ld   ra, 8(sp)
      22          addi sp, sp, 16
      23          ret
      24  leaf:   slli s1, t0, 1
      25          ret
      26          .data
      27  cell:   .dword 0
      28  vector: .float -1, 2, -3, 4, 5, -6, 7, 8.5
> info symbols e
0x80000048  twice
0x8000006c  leaf
0x80001000  cell
0x80001008  vector
> print lut.codebook_i8
[0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0]
> counters
no counter has changed
> print counters
all counters are 0
""")
    registers = said(debugger, "info registers")
    assert registers[0] == "pc   0x80000000 <_start> (p.s:2)"
    assert " ".join(re.findall(r"(\w+) +0x[0-9a-f]{16}", " ".join(registers[1:]))) == (
        "zero ra sp gp tp t0 t1 t2 s0 s1 a0 a1 a2 a3 a4 a5 a6 a7 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 t3 t4 t5 t6")
    assert any(line.startswith("vec.cols ") for line in said(debugger, "print vec"))
    assert any(line.startswith("lut.activations ") for line in said(debugger, "print lut"))
    arrays = said(debugger, "print pim")
    assert any(re.match(r"pim\.\S+ +1,024 int32, all -1: ", line) for line in arrays), arrays
    debugger.session.machine.state["pim.open_row"][:2] = 7
    assert any(line.startswith("pim.open_row ") and " int32, 2 of them not -1: " in line for line in said(debugger, "print pim"))
    assert any(line.startswith("mstatus  ") and "0x1800" in line for line in said(debugger, "print csrs"))
    assert any("sram " in line for line in said(debugger, "info machine"))
    assert any(line.endswith(".data") for line in said(debugger, "info sections"))
    assert any(line.startswith("lut ") for line in said(debugger, "info units"))


def test_list_goes_on_and_marks_pc(debug) -> None:
    debugger = debug(LOOP)
    first = said(debugger, "list")
    assert first[1] == "=>     2  _start: li   t0, 0" and len(first) == 10
    debugger.lines.clear()
    debugger.onecmd("")
    assert debugger.lines[0].split() == ["11", "vec.relu.f32", "a0,", "a0,", "a1"]
    Path("p.s").unlink()
    without_source = Debugger(Session(debugger.session.start))
    with pytest.raises(DebugError, match=r"the source file p\.s is not there"):
        without_source.execute("list")


def test_help_explains_every_command_and_short_names_are_its_own(debug) -> None:
    debugger = debug(LOOP)
    listed = said(debugger, "help")
    for name in debugger.commands():
        assert any(re.match(rf"{name}( |$)", line) for line in listed), name
        shown = said(debugger, f"help {name}")
        assert shown[0].startswith(name) and len(shown) > 1 and shown[1].startswith("    ")
    short = {"b": "break", "bt": "backtrace", "c": "continue", "cou": "counters", "d": "delete", "dis": "disassemble", "l": "list",
             "lin": "line", "n": "next", "p": "print", "q": "quit", "re": "restart", "s": "step", "uni": "unit", "w": "watch"}
    assert {word: debugger.resolve(word) for word in short} == short
    with pytest.raises(DebugError, match="`li` is ambiguous: line or list"):
        debugger.resolve("li")


# ------------------------------------------------------------------------------------------------ scripts, pipes, terminals


def elf(source: str) -> Path:
    Path("p.s").write_text(source, encoding="utf-8")
    asm.assemble(Path("p.s")).save("p.elf")
    return Path("p.elf")


def process(*arguments: object, **options) -> Child:
    return Child(*SLIMULATOR, "debug", *arguments, cwd=Path.cwd(), **options)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_script_ends_at_its_first_error(here, capfd) -> None:
    Path("script").write_text("# comment\n\nprint 1\nsource more\nprint 3\n")
    Path("more").write_text("print 2\nprint nothing\n")
    assert slimulator.invoke(["debug", str(elf(EXITS)), "--engine", "reference", "--script", "script"]) == 1
    out, err = capfd.readouterr()
    assert out == "1 = 1\n2 = 2\n"
    assert err.startswith("more:2: error: `nothing` is not a register")


def test_a_script_that_reads_itself(here, capfd) -> None:
    Path("script").write_text("source script\n")
    assert slimulator.invoke(["debug", str(elf(EXITS)), "--engine", "reference", "--script", "script"]) == 1
    assert capfd.readouterr()[1] == "script:1: error: script is already being read: it would read itself without end\n"


def test_quit_ends_a_script_and_output_keeps_its_order(here, capfd) -> None:
    source = '_start: li a0, 1\n la a1, text\n li a2, 3\n li a7, 64\n ecall\n li a7, 0x5110\n ecall\n li a7, 0x5111\n ecall\n' \
             ' li a7, 93\n ecall\ntext: .ascii "hi\\n"\n'
    Path("script").write_text("print 1\ncontinue\nquit\nnonsense\n")
    assert slimulator.invoke(["debug", str(elf(source)), "--engine", "reference", "--script", "script", "--prompt", "42"]) == 0
    assert capfd.readouterr()[0] == "1 = 1\nhi\ntoken 42\nthe program exited with 42 after 14 instructions\n"


def test_scripts_that_cannot_be_read(here, capfd) -> None:
    assert slimulator.invoke(["debug", str(elf(EXITS)), "--script", "none"]) == 1
    assert "none: error: No such file or directory" in capfd.readouterr()[1]
    assert slimulator.invoke(["debug", "p.elf", "--script", "s", "--gdb", "0"]) == 2
    assert slimulator.invoke(["debug", "p.s"]) == 1
    assert "not an ELF file" in capfd.readouterr()[1]


def test_a_pipe_has_no_prompt(here) -> None:
    with process(elf(LOOP), "--engine", "reference", stdin=subprocess.PIPE) as child:
        child.send("break leaf\n\ncontinue\nprint t0\nprnt\n")
        out, err = child.end()
    assert out.splitlines() == ["breakpoint 1: 0x8000006c <leaf> (p.s:24)", "breakpoint 1", "0x8000006c <leaf> (p.s:24)",
                                "    24  leaf:   slli s1, t0, 1", "    =>  slli s1, t0, 1", "t0 = 0"]
    assert (child.status, err) == (1, "<stdin>:5: error: no command `prnt`; did you mean `print`?\n")


def test_a_line_of_a_terminal(debug) -> None:
    debugger = debug(LOOP)
    assert [debugger.onecmd(line) for line in ("step", "", "", "nonsense", "# words", "quit")] == [False] * 5 + [True]
    assert debugger.session.machine.counter("core.instructions") == 3
    assert debugger.lines[-1] == "error: no command `nonsense`; `help` lists all commands"
    debugger.onecmd("delete")
    count = len(debugger.lines)
    debugger.onecmd("")                                 # what changes something is not repeated
    assert len(debugger.lines) == count
    assert debugger.onecmd("EOF") is True
    assert debugger.completenames("st") == ["step"] and debugger.completedefault("le") == ["leaf"]


@pytest.mark.parametrize("engine", ["reference", "fast"])
def test_control_c_comes_back_to_the_prompt(here, engine: str) -> None:
    source = "_start: li a0, 1\n la a1, ready\n li a2, 7\n li a7, 64\n ecall\n li t0, 0\n" \
             "again: addi t0, t0, 1\n j again\nready: .ascii \"running\"\n"
    with process(elf(source), "--engine", engine, terminal=True) as child:
        child.wait_for("(slim) ")
        child.send("step 3\n")
        child.wait_for("(slim) ")
        child.send("continue\n")
        child.wait_for("running")                       # not before: at the prompt Ctrl-C is something else
        time.sleep(0.5)
        child.interrupt()
        child.wait_for("interrupted after ")
        child.wait_for("(slim) ")
        child.send("print t0 > 1000\n")
        child.wait_for("t0 > 1000 = 1")
        child.send("quit\n")
        child.end()
        assert child.status == 0


def test_a_conditional_breakpoint_that_never_holds_can_be_interrupted(debug) -> None:
    import threading
    debugger = debug(ENDLESS, Machine)
    timer = threading.Timer(0.5, debugger.session.machine.stop, ["interrupted"])
    timer.start()
    lines = said(debugger, "break again if t0 < 0", "continue")
    assert lines[1].startswith("interrupted after ")


# ------------------------------------------------------------------------------------------------ the guide


GUIDE = (ROOT / "docs" / "debugging.md").read_text(encoding="utf-8")
CONSOLE = re.findall(r"^```console\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def gemv(here, tmp_path: Path) -> Path:
    (tmp_path / "programs").symlink_to(ROOT / "programs")
    asm.assemble(Path("programs/ternary_gemv.s")).save("gemv.elf")
    return Path("gemv.elf")


@pytest.mark.parametrize("engine", [ReferenceMachine, Machine])
def test_the_session_in_the_guide(gemv, engine) -> None:
    shown = next(block for block in CONSOLE if "(slim) " in block)
    opening, *steps = re.split(r"^\(slim\) ", shown.partition("gemv.elf\n$ slimulator debug gemv.elf\n")[2], flags=re.MULTILINE)
    text: list[str] = []

    def start() -> ReferenceMachine:
        machine = engine("slim", Host(write=lambda file, data: text.append(data.decode())))
        machine.load(Program.load(gemv))
        return machine

    debugger = Debugger(Session(start), lambda line: text.append(f"{line}\n"))
    debugger.say_all(inspection.here(debugger.session))
    assert "".join(text) == opening
    assert len(steps) > 10
    for step in steps:
        command, _, expected = step.partition("\n")
        text.clear()
        debugger.execute(command)
        assert "".join(text) == expected, command


def test_the_pipe_in_the_guide(gemv) -> None:
    command, _, expected = next(block for block in CONSOLE if "printf" in block).removeprefix("$ ").partition("\n")
    done = subprocess.run(["bash", "-c", f"slimulator() {{ '{sys.executable}' -m slimulator \"$@\"; }}; {command}"],
                          capture_output=True, text=True, check=False, timeout=LIMIT)
    assert (done.stdout + done.stderr, done.returncode) == (expected, 1)


def test_the_server_in_the_guide(gemv) -> None:
    shown = next(block for block in CONSOLE if "--gdb" in block).partition("\n")[2]
    with process("gemv.elf", "--gdb", "0") as child:
        line = child.wait_for("waiting", "err")[-len("waiting"):] + child.line("err")      # behind what is said of compiling
        child.interrupt()
        assert child.end()[1] == "\ninterrupted\n" and child.status == 130
    assert re.sub(r":\d+", ":3333", line) == shown


def test_the_guide_knows_every_command(debug) -> None:
    table = GUIDE.partition("## Commands")[2].partition("**Places**")[0]
    assert [name for name in debug(EXITS).commands() if not re.search(rf"`{name}\b", table)] == []


BOTH = """\
_start: la   t0, gp
        li   t1, 7
        sw   t1, 0(t0)
        li   a7, 93
        ecall
        .data
        .type gp, @object
        .size gp, 4
gp:     .word 5
time:   .word 6
pc:     .word 7
lut:    .word 8
"""


@ENGINES
def test_a_name_of_a_register_and_of_a_symbol(debug, engine) -> None:
    """C has globals like these. The plain name means neither; $ is the machine's, & the program's."""
    debugger = debug(BOTH, engine)
    said(debugger, "step 3")
    for command, name, what in (("watch gp", "gp", "a register"), ("print gp + 1", "gp", "a register"),
                                ("x gp", "gp", "a register"),
                                ("set gp = 1", "gp", "a register"), ("break _start if gp == 0", "gp", "a register"),
                                ("print time", "time", "a CSR"), ("print pc", "pc", "a register"),
                                ("print lut", "lut", "what the machine has")):
        with pytest.raises(DebugError, match=f"`{name}` is {what} and a symbol of the program: expected \\${name} .* or &{name} "):
            said(debugger, command)
    with pytest.raises(DebugError, match="`gqq` is not a symbol"):
        said(debugger, "print &gqq")
    address = debugger.session.places.program.symbol("gp").value
    transcript(debugger, f"""\
> print $gp
$gp = 0
> print &gp == t0
&gp == t0 = 1
> print i32[&gp]
i32[&gp] = 5
> print &gp i32[2]
[5 6]
> x &gp
{address:#x}  05 00 00 00                                       |....|
> watch &gp
watchpoint 1: 4 bytes at {address:#x} <gp>
> continue
watchpoint 1: &gp was written by the instruction at 0x8000000c <_start+0xc> (p.s:3)
    ->  sw t1, 0(t0)
    old 0x5 (5)
    new 0x7 (7)
0x80000010 <_start+0x10> (p.s:4)
     4  li   a7, 93
    =>  li a7, 93
""")
    assert said(debugger, "print $lut")[0].startswith("LUT")


LAST = """\
_start: li   a0, 3
        call leave
        .type after, @function
after:  ret
        .type leave, @function
leave:  addi sp, sp, -16
        sd   ra, 8(sp)
        li   a7, 93
        ecall
"""


@ENGINES
def test_a_backtrace_at_the_exit(debug, engine) -> None:
    """Calls that never return, and the ecall that ends the program, may be the last instruction of a function and of the code."""
    debugger = debug(LAST, engine)
    said(debugger, "continue")
    transcript(debugger, """\
> backtrace
#0   0x80000020 <leave+0x10> (p.s:9) in leave
#1   0x8000000c <_start+0xc> (p.s:2) in _start
""")
