"""The instruction mix against counts made by hand."""

from __future__ import annotations

import pytest

import asm
from emulator.machine import Machine
from emulator.observe.mix import instruction_mix
from isa.program import Line
from isa.reference import ReferenceMachine

PROGRAM = """
        .globl _start, work
_start: li a0, 0x10000000
        li a1, 4
        li t0, 6
work:   vec.relu.f32 a0, a0, a1
        mul t1, t0, t0
        addi t0, t0, -1
        bnez t0, work
        li a7, 93
        ecall
"""


@pytest.mark.parametrize("engine", [ReferenceMachine, Machine])
def test_histograms(engine, tmp_path):
    (tmp_path / "p.s").write_text(PROGRAM)
    machine = engine("slim")
    machine.load(asm.assemble(tmp_path / "p.s"))
    machine.profile()
    machine.run()
    mix = instruction_mix(machine)
    assert mix.instructions == machine.counter("core.instructions") == 3 + 4 * 6 + 2
    assert mix.mnemonics == {"lui": 1, "addi": 2 + 6 + 1, "vec.relu.f32": 6, "mul": 6, "bne": 6, "ecall": 1}
    assert mix.units == {"rv64i": 17, "vec": 6, "rv64m": 6}
    assert mix.symbols == {"_start": 3, "work": 26}
    assert mix.lines == {f"{tmp_path}/p.s:{line}": count
                         for line, count in zip(range(3, 12), (1, 1, 1, 6, 6, 6, 6, 1, 1), strict=True)}
    data = mix.as_json()
    assert data["instructions"] == 29 and next(iter(data["mnemonics"])) == "addi"
    assert data["units"] == mix.units
    table = list(mix.table())
    assert [line.split() for line in table[:2]] == [["mnemonics"], ["addi", "9", "31.0%"]]


def test_the_table_shows_the_hottest_lines():
    machine = Machine("slim")
    machine.load(asm.assemble("_start:\n" + "nop\n" * 30 + "li a7, 93\necall\n"))
    machine.profile()
    machine.run()
    table = list(instruction_mix(machine).table())
    assert table[-11] == "lines (the 10 highest of 32)"


def test_nothing_executed_is_no_error():
    machine = ReferenceMachine("slim")
    machine.load(asm.assemble("_start: nop\n"))
    machine.profile()
    assert list(instruction_mix(machine).table()) == ["mnemonics", "units", "symbols", "lines"]


def test_a_name_that_breaks_lines_is_one_line_of_the_table():
    machine = ReferenceMachine("slim")
    program = asm.assemble("_start:\n li a7, 93\n ecall\n")
    program.lines = [Line(line.address, "a\nb.s", line.line) for line in program.lines]
    machine.load(program)
    machine.profile()
    machine.run()
    assert [line.split()[0] for line in list(instruction_mix(machine).table())[-2:]] == [r"a\nb.s:2", r"a\nb.s:3"]
