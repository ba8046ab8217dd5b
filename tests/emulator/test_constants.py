"""What the fast engine remembers of weights in writable memory, packed ones too: forgotten as soon as anything can have changed
them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from asm import assemble
from compiler.measuring.measure import resident
from emulator.machine import Machine
from emulator.native.block import COUNTED_ENTRIES, COUNTED_WORDS
from isa.engine.memory import LEAST_CONSTANT
from isa.program import Program
from isa.reference import ReferenceMachine

COLS, ROWS = 256, LEAST_CONSTANT // 256
PROGRAM = f"""
    .text
    .globl _start
_start:
    la s0, weights
    la s1, x
    la s2, sums
    la s3, scale
    li s4, {COLS}
    li s5, {ROWS}
    lut.build.i8 s1, s3, s4
again:
    lut.mac.i8 s2, s0, s5
    addi s6, s6, 1
    {{change}}
after:
    li t0, 3
    blt s6, t0, again
    li a0, 0
    li a7, 93
    ecall
    .section .rodata.weights, "a"
    .balign 64
weights:
    .zero {LEAST_CONSTANT}, 1
    .section .rodata.more, "a"
    .balign 64
more:
    .zero {LEAST_CONSTANT}
    .data
    .balign 64
scale: .float 1.0
x:  .zero {COLS}, 1
zeros: .zero 64
    .bss
    .balign 64
sums: .zero {4 * ROWS}
"""
CHANGES = {
    "nothing": "",
    "a store": "sb zero, 5(s0)",
    "a store of many bytes": "la t1, zeros;  li t2, 64;  fetch.copy s0, t1, t2",
    "a store in front of it": "sd zero, -8(s0)",
    "a store that ends in it": "sw zero, -2(s0)",
    "a store at its end": f"li t1, {LEAST_CONSTANT};  add t1, s0, t1;  sb zero, -1(t1)",
}


def program_of(change: str) -> Program:
    return assemble(PROGRAM.format(change=change))


def finished(program: Program, engine: type[ReferenceMachine]) -> ReferenceMachine:
    machine = engine("slim")
    machine.load(program)
    assert machine.run().reason == "exit"
    return machine


@pytest.mark.parametrize("change", CHANGES)
def test_zeros_are_counted_again_where_a_program_has_written(change: str) -> None:
    program = program_of(CHANGES[change])
    fast, reference = finished(program, Machine), finished(program, ReferenceMachine)
    assert fast.counters == reference.counters
    assert (fast.tensor("sums", f"i32[{ROWS}]") == reference.tensor("sums", f"i32[{ROWS}]")).all()
    assert isinstance(fast, Machine) and ("lut.mac.i8" not in fast.handed_over)


def test_what_is_constant() -> None:
    """Sections that are not to be written, of some size, until something writes there or takes a view to write with."""
    machine = Machine("slim")
    machine.load(program_of(CHANGES["a store"]))
    weights, more = (machine.program.address(name) for name in ("weights", "more"))       # type: ignore[union-attr]
    assert machine.memory.constants == ((weights, weights + LEAST_CONSTANT), (more, more + LEAST_CONSTANT))
    machine.run()
    assert machine.memory.constants == ((more, more + LEAST_CONSTANT),)
    assert machine.handed_over["sb"] == 1               # the second store finds nothing to guard


@pytest.mark.parametrize("take", [
    lambda machine, at, size: machine.memory[at:at + size], lambda machine, at, size: machine.peek(at, size),
    lambda machine, at, size: machine.tensor("weights", f"i8[{size}]").view(np.uint8)])
def test_a_view_may_be_written_to_at_any_time(take: Callable[[Machine, int, int], np.ndarray]) -> None:
    program, counts = program_of(""), list[int]()
    for engine in (Machine, ReferenceMachine):
        machine = engine("slim")
        machine.load(program)
        view = take(machine, program.address("weights"), COLS)      # type: ignore[arg-type]
        machine.breakpoints = {program.address("after")}
        for values in (1, 0, 3):
            view[:] = values
            machine.run()
        counts.append(machine.counter("lut.macs_skipped"))
    assert counts[0] == counts[1] == COLS


def test_a_hook_may_write() -> None:
    program = program_of("")
    for engine in (Machine, ReferenceMachine):
        machine = engine("slim")
        machine.load(program)

        def write(runner: ReferenceMachine, _: object) -> None:
            runner.memory[program.address("weights"):program.address("weights") + 7] = 0

        machine.hook(write, lambda pc, row: pc == program.address("after"))
        machine.run()
        assert machine.counter("lut.macs_skipped") == 7 + 7


def test_a_view_from_before_the_program_keeps_its_place_from_being_constant() -> None:
    program = program_of("")
    machine = Machine("slim")
    at = program.address("weights")
    view = machine.memory[at:at + 1]
    machine.load(program)
    assert machine.memory.constants == ((program.address("more"), program.address("more") + LEAST_CONSTANT),)
    del view


def test_machines_one_after_the_other_take_no_more_memory() -> None:
    """The C library gives out again what an array has left, and fills it with zeros: no longer memory that costs nothing."""
    machine = Machine("slim")
    freed = np.ones(24 << 20, np.uint8)             # from then on the library keeps arrays of this size
    del freed
    before = resident()
    for _ in range(6):
        machine = Machine("slim")
    assert resident() - before < 12 << 20           # of twice 16 MB
    del machine


UNPACK = f"""
    .text
    .globl _start
_start:
    la s0, weights
    la t0, table
    csrw fetch.chunk_table, t0
    csrwi fetch.table_rows, 2
    csrwi fetch.chunk_bytes, 1
    li t0, 64
    csrw fetch.row_bytes, t0
    la s2, rows
    li s5, {ROWS}
again:
    fetch.unpack s7, s2, s0, s5
    addi s6, s6, 1
    {{change}}
after:
    li t0, 3
    blt s6, t0, again
    li a7, 93
    ecall
    .section .rodata.weights, "a"
    .balign 64
weights:
    .zero {LEAST_CONSTANT}, 0x11
    .data
table: .byte 5, 250
    .bss
rows: .zero {64 * ROWS}
"""


@pytest.mark.parametrize("change", ["", "li t0, 0x22;  sb t0, 0(s0)", "li t0, 0x22;  sb t0, 90(s0)"])
def test_packets_are_looked_at_again_where_a_program_has_written(change: str) -> None:
    """All bytes are 0x11: widths of one bit. A head of 0x22 makes a row of 17 bytes out of one of 9."""
    program = assemble(UNPACK.format(change=change))
    fast, reference = finished(program, Machine), finished(program, ReferenceMachine)
    assert fast.counters == reference.counters and fast.x[23] == reference.x[23]
    assert fast.x[23] - program.address("weights") == 9 * ROWS + 8 * bool(change)
    assert (fast.tensor("rows", f"u8[{64 * ROWS}]") == reference.tensor("rows", f"u8[{64 * ROWS}]")).all()
    assert isinstance(fast, Machine) and "fetch.unpack" not in fast.handed_over


def test_a_number_too_large_is_found_where_packets_were_sound() -> None:
    """Number 2 of a table of two, in packets that were unpacked before."""
    program = assemble(UNPACK.format(change="li t0, 0x2222;  sh t0, 90(s0);  li t0, 0xff;  sb t0, 95(s0)"))
    for engine in (Machine, ReferenceMachine):
        machine = engine("slim")
        machine.load(program)
        trap = machine.run().trap
        assert trap and "is number 2; the table has 2 chunks" in trap.detail
        assert machine.counter("fetch.ops") == 1


MANY = """
    .text
    .globl _start
_start:
    la s1, x
    li s3, 1
    la s2, scale
    li s4, 64
    la s0, weights
    la s5, sums
    li s6, {matrices}
    la t0, places
    csrw sp.meta, t0
    {unit}.build.i8 s1, s2, s4
again:
    {unit}.{multiply} s5, s0, s3
    {step}
    add s0, s0, t0
    addi s6, s6, -1
    bnez s6, again
    li a7, 93
    ecall
    .section .flash.weights, "a"
places:
    .fill 8, 1, 0x44            # of the first two of each four
    .balign 64
weights:
    .zero {matrices} * {room}
    .data
    .balign 4
scale: .float 1.0
x:  .zero 64, 1
sums: .word 0
"""


@pytest.mark.parametrize(("step", "room"), [("li t0, 64", 64), ("li t0, 1 << 14", 1 << 14), ("li t0, 1 << 18", 1 << 18),
                                            ("slli t0, s6, 6", 64 * 301)])
@pytest.mark.parametrize(("unit", "multiply", "matrices", "entries"), [("lut", "mac.t2", 300, 2), ("sp", "mac.nm.i8", 600, 1)])
def test_all_matrices_are_remembered(unit: str, multiply: str, matrices: int, entries: int, step: str, room: int) -> None:
    """Also where the addresses of some agree in many bits: what is counted of one must not take the place of another's. Of weights
    for look-up tables there are two entries: counts, and bits that switch."""
    machine = finished(assemble(MANY.format(matrices=matrices, step=step, room=room, unit=unit, multiply=multiply)), Machine)
    assert isinstance(machine, Machine)
    table = machine._counted[:COUNTED_ENTRIES * COUNTED_WORDS].reshape(COUNTED_ENTRIES, COUNTED_WORDS)
    assert np.count_nonzero(table[:, 0]) == entries * matrices
