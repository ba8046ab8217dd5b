"""The cases of docs/isa/ordering.md, judged by the hazard check on both engines, and instruction fetch behind writes."""

from __future__ import annotations

import pytest
from both_engines import DRAM, HBM, SRAM, run_program
from manual_tables import DOCS

import asm
from emulator.machine import Machine
from emulator.observe.hazards import HazardCheck
from isa.instruction import TABLE
from isa.manual.ordering import CASES, Case
from isa.queues import CORE, QUEUES, Order, queue_of
from isa.reference import ReferenceMachine

ENGINES = pytest.mark.parametrize("engine", [ReferenceMachine, Machine])
SETUP = f"""
    .globl _start
    _start: li s0, {SRAM}
            li s1, {SRAM + 0x1000}
            li s2, {SRAM + 0x2000}
            li s3, 16
            li s4, 64
            li s5, 1
            li s6, 2
            la a0, next
            la a1, other
            la a4, seven
"""
END = """
    next:   nop
            li a7, 93
            ecall
    other:  lw t6, 0(a4)                # the check looks at fetches where instructions touch memory
    seven:  .word 7
"""


@ENGINES
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.code.replace("\n", "; "))
def test_a_case(case: Case, engine: type[ReferenceMachine]) -> None:
    program = asm.assemble(SETUP + case.code + END)
    machine = engine("slim")
    machine.load(program)
    check = HazardCheck(machine, every=True)
    assert machine.run(max_instructions=1000).reason == "exit"
    assert [hazard.kind for hazard in check.hazards] == [case.hazard] * bool(case.hazard)
    assert (machine.x[31] == 7) == ("a0" in case.code)                      # the instruction that was brought has been executed


def test_the_page_shows_the_cases() -> None:
    text = (DOCS / "ordering.md").read_text(encoding="utf-8")
    assert all(f"```asm\n{case.code.strip()}\n```" in text and case.why in text for case in CASES)
    assert {case.hazard for case in CASES} >= {"", "read after write", "write after read"}


def test_the_page_names_what_holds_the_core() -> None:
    """An operation with a result: the core knows it, and all before it in its queue, when it goes on."""
    text = (DOCS / "ordering.md").read_text(encoding="utf-8")
    for row in TABLE.values():
        if queue_of(row) != CORE:
            order = Order()
            order.issue(queue_of(row))
            number = order.issue(queue_of(row))
            if row.result is not None:
                order.result(queue_of(row))
                assert order.knows(CORE, queue_of(row)) == number
            assert (f"`{row.mnemonic}`" in text) == (row.result is not None), row.mnemonic
    assert all(f"| {number} | {name} |" in text for number, name in enumerate(QUEUES))


# ---------------------------------------------------------------------------------------------------- instruction fetch

PLACES = {"the same page": DRAM + 0x200, "dram": DRAM + 0x10_0000, "sram": SRAM + 0x3000, "hbm": HBM + 0x40}
WRITES = {
    "a store": "lw t0, 0(a1)\nsw t0, 0(a0)",
    "stores of bytes": "\n".join(f"lb t0, {i}(a1)\nsb t0, {i}(a0)" for i in range(4)),
    "a store beside": "ld t0, -4(a1)\nsd t0, -4(a0)",
    "fetch.copy": "fetch.copy a0, a1, a2\nsync.fence",
    "vec.fill": "lw t0, 0(a1)\nli t1, 1\nvec.fill.32 a0, t0, t1\nsync.fence",
    "fetch.rows": "csrw fetch.row_bytes, a2\nfetch.rows a0, a1, s7, s8\nsync.fence",
}


@pytest.mark.parametrize("barrier", ["", "fence.i"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("write", WRITES)
def test_an_instruction_is_fetched_as_the_last_write_has_left_it(write: str, place: str, barrier: str) -> None:
    """The code at a place runs, is replaced while the program runs, and runs again, three times."""
    done = run_program(asm.assemble(f"""
        .globl _start
        _start: li a0, {PLACES[place]}
                li a2, 4
                la s7, zeros
                li s8, 1
                li s9, 3
                lw t0, ret
                sw t0, 4(a0)
                la a1, nothing
        again:  {WRITES[write]}
                {barrier}
                jalr a0
                slli s10, s10, 4
                add s10, s10, a5
                la a1, first
                andi t0, s9, 1
                bnez t0, odd
                la a1, second
        odd:    addi s9, s9, -1
                bgez s9, again
                li a7, 93
                ecall
                .balign 8
                nop
        nothing: li a5, 1
        ret:    ret
                nop
        first:  li a5, 2
                ret
                nop
        second: li a5, 3
                ret
        zeros:  .word 0
        """), max_instructions=1000)
    assert done.results[0].reason == "exit" and done.reference.x[26] == 0x1232
