"""Which trap, and with which mtval, on both engines: every cause, and instructions with faults of several kinds at once.

What one Xslim instruction checks of its operands, in which order: tests/emulator/test_trap_order.py.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from both_engines import DRAM, FLASH, HBM, MMIO, SRAM, ProgramDone, run_program
from manual_tables import table

import asm
from emulator.machine import Machine
from isa.csrs import CSRS
from isa.effects import traps
from isa.instruction import LONGEST, TABLE
from isa.manual.trap_order import CORE
from isa.program import Program, Section
from isa.reference import ReferenceMachine
from isa.traps import Cause

WORD = (1 << 64) - 1
T = DRAM + 0x1000               # where the instruction stands whose trap is looked at


class Faulty(NamedTuple):
    """An instruction, what stands in front of it, and its trap. The mtval "word" is the instruction's bits."""

    setup: str
    instruction: str
    cause: Cause
    mtval: int | str
    machine: str = "slim"
    without_handler: bool = True        # it traps also while mtvec is 0
    with_handler: bool = True


def word(mnemonic: str, **values: int) -> str:
    """An instruction that the assembler would refuse."""
    return f".word {TABLE[mnemonic].encode(values):#x}"


def absent(mnemonic: str) -> Faulty:
    """An instruction of a unit that machine slim-llama lacks, with operands that are wrong in all ways."""
    registers = {operand.name: 10 + i % 2 for i, operand in enumerate(TABLE[mnemonic].operands)}
    return Faulty("li a0, -1\nli a1, 3\n", word(mnemonic, **registers), Cause.ILLEGAL_INSTRUCTION, "word", "slim-llama")


CASES = [
    # -------------------------------------------------- jumps: the target, after bit 0 of jalr is cleared; rd is not written
    Faulty("", word("jal", rd=10, imm=2), Cause.FETCH_MISALIGNED, T + 2),
    Faulty("li a0, 0x1001", "jalr a0, 2(a0)", Cause.FETCH_MISALIGNED, 0x1002),
    Faulty("li a0, -1", "jalr zero, 3(a0)", Cause.FETCH_MISALIGNED, 2),
    Faulty("li a0, 0x7ffffffffffffffd", "jalr ra, 5(a0)", Cause.FETCH_MISALIGNED, 1 << 63 | 2),
    Faulty("", word("beq", rs1=0, rs2=0, imm=-2), Cause.FETCH_MISALIGNED, T - 2),
    # -------------------------------------------------- words
    Faulty("", ".word 0", Cause.ILLEGAL_INSTRUCTION, 0),
    Faulty("", ".word 0xffffffff", Cause.ILLEGAL_INSTRUCTION, 0xFFFF_FFFF),
    Faulty("", ".word 0x00004501", Cause.ILLEGAL_INSTRUCTION, 0x4501),                  # c.li a0, 0
    Faulty("", ".word 0x10200073", Cause.ILLEGAL_INSTRUCTION, 0x1020_0073),             # sret
    absent("pim.wr_gb"), absent("pim.rd"), absent("attn.setm"), absent("attn.context.f32"),
    # -------------------------------------------------- CSRs: no such number, then a write to one that is read-only
    Faulty("", "csrrw a0, 0x7c0, a0", Cause.ILLEGAL_INSTRUCTION, "word"),
    Faulty("", "csrrs a0, 0xcff, zero", Cause.ILLEGAL_INSTRUCTION, "word"),
    Faulty("", "csrrw zero, cycle, zero", Cause.ILLEGAL_INSTRUCTION, "word"),
    Faulty("li a1, 0", "csrrs a0, core.loads, a1", Cause.ILLEGAL_INSTRUCTION, "word"),      # a register that holds 0 writes
    Faulty("", "csrrci a0, mhartid, 1", Cause.ILLEGAL_INSTRUCTION, "word"),
    # -------------------------------------------------- loads and stores
    Faulty("li a0, 0x10", "ld a1, -8(a0)", Cause.LOAD_ACCESS, 8),
    Faulty("li a0, 3", "lb a1, -4(a0)", Cause.LOAD_ACCESS, WORD),
    Faulty(f"li a0, {SRAM}", "lw a1, -1(a0)", Cause.LOAD_ACCESS, SRAM - 1),                 # misaligned, and half in no region
    Faulty(f"li a0, {MMIO + 0x18}", "lb a1, 0(a0)", Cause.LOAD_ACCESS, MMIO + 0x18),        # no device there
    Faulty(f"li a0, {FLASH}", "lb a1, 0(a0)", Cause.LOAD_ACCESS, FLASH),                    # no section there
    Faulty("li a0, 1", "sh a1, 4(a0)", Cause.STORE_ACCESS, 5),
    Faulty(f"li a0, {FLASH}", "sb a1, 1(a0)", Cause.STORE_ACCESS, FLASH + 1),
    Faulty(f"li a0, {MMIO}", "sd a1, 4(a0)", Cause.STORE_ACCESS, MMIO + 4),                 # in two registers
    # -------------------------------------------------- system
    Faulty("", "ebreak", Cause.BREAKPOINT, T),
    Faulty("li a7, 12345", "ecall", Cause.ENVIRONMENT_CALL, 0),
    Faulty("li a7, 93", "ecall", Cause.ENVIRONMENT_CALL, 0, without_handler=False),
    Faulty("li a7, 64\nli a0, 1\nli a1, 16\nli a2, 1", "ecall", Cause.LOAD_ACCESS, 16, with_handler=False),
    Faulty("li a7, 64\nli a0, 1\nli a1, 16\nli a2, 1", "ecall", Cause.ENVIRONMENT_CALL, 0, without_handler=False),
    # -------------------------------------------------- operations
    Faulty(f"li a0, {SRAM}\nli a1, {LONGEST + 1}", "vec.relu.f32 a0, zero, a1", Cause.CAPACITY, LONGEST + 1),
    Faulty(f"li a0, {SRAM + 1}\nli a1, 1", "vec.relu.f32 zero, a0, a1", Cause.MISALIGNED_OPERAND, SRAM + 1),
    Faulty(f"li a0, {MMIO}\nli a1, 1", "vec.relu.f32 zero, a0, a1", Cause.PORT, MMIO),
    Faulty(f"li a0, {SRAM}\nli a1, 1", "vec.relu.f32 zero, a0, a1", Cause.STORE_ACCESS, 0),
    Faulty(f"li a0, {SRAM}\nli a1, 1", "vec.relu.f32 a0, zero, a1", Cause.LOAD_ACCESS, 0),
    Faulty(f"li a0, {SRAM}\nli a1, 2", "thr.topk.f32 a0, a0, a1, s10\n", Cause.ILLEGAL_OPERAND, 2),
    Faulty("li a0, 64", "sync.wait a0", Cause.ILLEGAL_OPERAND, 64),
    Faulty("li a0, 63", "sync.wait.vec a0", Cause.NEVER_SIGNALLED, 63),
]


def trapping(case: Faulty, handler: bool) -> ProgramDone:
    """Run the instruction at T. A handler puts mcause, mtval, mepc and mstatus in s2..s5 and ends the run with ebreak."""
    install = "la t0, handler\ncsrw mtvec, t0\ncsrwi mstatus, 8\n" if handler else ""
    source = f"""
        .globl _start
        _start: li s10, 1
        {install}{case.setup}
        j at
        .section .at, "ax"
        .address {T}
        at: {case.instruction}
        .balign 4
        handler: csrr s2, mcause
        csrr s3, mtval
        csrr s4, mepc
        csrr s5, mstatus
        csrw mtvec, zero
        ebreak
    """
    return run_program(asm.assemble(source, machine=case.machine), max_instructions=100)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.cause.name}: {case.instruction.strip()}")
@pytest.mark.parametrize("handler", [False, True])
def test_cause_and_mtval(case: Faulty, handler: bool) -> None:
    if not (case.with_handler if handler else case.without_handler):
        return
    done = trapping(case, handler)
    trap = done.results[0].trap
    bits = int(done.reference.peek(T, 4).view("<u4")[0])
    mtval = bits if case.mtval == "word" else case.mtval
    assert trap is not None
    if handler:
        assert done.reference.x[18:22] == [case.cause, mtval, T, 0x1880]         # MPIE: interrupts were enabled; MIE is 0
        assert done.reference.counter("core.traps") == 2
    else:
        assert (trap.cause, trap.value, trap.pc) == (case.cause, mtval, T)
        assert [done.reference.csr(name) for name in ("mepc", "mcause", "mtval", "mstatus")] == [0, 0, 0, 0x1800]
        assert done.reference.counter("core.traps") == 1


def test_every_cause_has_a_case() -> None:
    assert {case.cause for case in CASES} == set(Cause) - {Cause.FETCH_ACCESS}           # that one below


# ---------------------------------------------------------------------------------------------------- fetching


@pytest.mark.parametrize(("pc", "cause"), [
    (DRAM + 2, Cause.FETCH_MISALIGNED), (2, Cause.FETCH_MISALIGNED), (MMIO + 1, Cause.FETCH_MISALIGNED),     # before the place
    (FLASH + 3, Cause.FETCH_MISALIGNED), (WORD, Cause.FETCH_MISALIGNED),
    (0, Cause.FETCH_ACCESS), (MMIO, Cause.FETCH_ACCESS), (FLASH, Cause.FETCH_ACCESS), (WORD - 3, Cause.FETCH_ACCESS),
    (DRAM - 4, Cause.FETCH_ACCESS), (SRAM, Cause.ILLEGAL_INSTRUCTION), (HBM, Cause.ILLEGAL_INSTRUCTION)])
def test_before_a_word_is_decoded_its_address_is_checked(pc: int, cause: Cause) -> None:
    done = run_program(Program([Section(".text", "ax", DRAM, 4, [bytes(16)])], [], [], pc))
    trap = done.results[0].trap
    assert trap is not None
    assert (trap.cause, trap.value, trap.pc) == (cause, 0 if cause is Cause.ILLEGAL_INSTRUCTION else pc, pc)


def test_a_jump_to_where_no_memory_is_retires_and_the_fetch_traps() -> None:
    done = run_program(asm.assemble("_start: li t0, 64\njalr ra, 0(t0)\nafter:"))
    trap, machine = done.results[0].trap, done.reference
    assert trap is not None
    assert (trap.cause, trap.value, trap.pc) == (Cause.FETCH_ACCESS, 64, 64)
    assert machine.x[1] == DRAM + 8 and machine.counter("core.instructions") == 2


def test_a_jump_that_traps_writes_no_link_and_a_branch_that_is_not_taken_does_not_trap() -> None:
    branch = word("bne", rs1=0, rs2=0, imm=2)
    done = run_program(asm.assemble(f"_start: li ra, 5\nli t0, 2\n{branch}\njalr ra, 0(t0)"))
    assert done.results[0].trap.cause is Cause.FETCH_MISALIGNED and done.reference.x[1] == 5
    assert done.reference.counters.core.branches == 1


# ---------------------------------------------------------------------------------------------------- the rest


def test_no_interrupt_ever_comes() -> None:
    done = run_program(asm.assemble("""
        _start: la t0, handler
                csrw mtvec, t0
                li t1, -1
                csrw mie, t1
                csrw mip, t1
                csrw mstatus, t1
                csrr s0, mie
                csrr s1, mip
                csrr s2, mstatus
                li t2, 1000
        again:  addi t2, t2, -1
                wfi
                bnez t2, again
                csrw mtvec, zero
                li a7, 93
                ecall
                .balign 4
        handler: j handler"""), max_instructions=10_000)
    assert done.results[0].reason == "exit" and done.reference.counter("core.traps") == 0
    assert done.reference.x[8:10] == [0x888, 0] and done.reference.x[18] == 0x1888


def test_a_trap_inside_a_handler_replaces_the_first_and_mret_goes_back_to_it() -> None:
    done = run_program(asm.assemble("""
        _start: la t0, handler
                csrw mtvec, t0
                csrwi mstatus, 8
                ebreak
        first:  li a7, 93
                csrw mtvec, zero
                ecall
                .balign 4
        handler: bnez s0, second
                li s0, 1
                csrr s1, mepc
                csrr s2, mstatus
        inner:  lw t1, 0(zero)
                csrw mepc, s1                   # the first was saved
                csrr t1, mepc
                addi t1, t1, 4
                csrw mepc, t1
                mret
        second: csrr s3, mepc
                csrr s4, mstatus
                csrr t1, mepc
                addi t1, t1, 4
                csrw mepc, t1
                mret"""), max_instructions=100)
    x, program = done.reference.x, done.reference.program
    assert done.results[0].reason == "exit" and done.reference.counter("core.traps") == 2
    assert x[9] == program.address("first") - 4 and x[19] == program.address("inner")
    assert (x[18], x[20]) == (0x1880, 0x1800)               # the second trap found MIE at 0
    assert done.reference.csr("mstatus") == 0x1888          # each mret sets MPIE, and the last gave it to MIE


def test_a_run_that_goes_on_after_a_trap_executes_the_same_instruction_again() -> None:
    program = asm.assemble("_start: li a0, 1\nld a1, 0(zero)")
    done = run_program(program, max_instructions=[1, 10])
    for machine in (done.reference, done.fast):
        pc = machine.pc
        again = machine.run(max_instructions=5)
        assert again.reason == "trap" and again.trap.pc == machine.pc == pc and machine.counter("core.traps") == 2


def test_a_write_to_misa_or_mip_is_legal_and_changes_nothing() -> None:
    done = run_program(asm.assemble("_start: csrwi misa, 0\ncsrwi mip, 31\ncsrr a0, misa\ncsrr a1, mip\nli a7, 93\necall"))
    assert done.results[0].reason == "exit" and done.reference.csr("misa") == 2 << 62 | 1 << 8 | 1 << 12
    assert done.reference.x[11] == 0


@pytest.mark.parametrize("name", ["mcycle", "minstret"])
def test_what_is_written_to_a_count_is_read_by_the_next_instruction(name: str) -> None:
    other = {"mcycle": "minstret", "minstret": "mcycle"}[name]
    done = run_program(asm.assemble(f"""
        _start: li t0, 1000
                csrw {name}, t0
                csrr a0, {name}
                csrr a1, {name}
                csrr a2, {other}
                li t0, -1
                csrw {name}, t0
                nop
                csrr a3, {name}"""), max_instructions=9)
    assert done.reference.x[10:14] == [1000, 1001, 4, 0]


@pytest.mark.parametrize("write", [False, True])
def test_every_number_of_a_csr(write: bool) -> None:
    """4,096 numbers: those that the manual lists can be read, and those of them that do not begin with 11 written."""
    words = np.array([TABLE["csrrw"].encode({"rd": 0, "csr": csr, "rs1": 10}) if write else
                      TABLE["csrrs"].encode({"rd": 11, "csr": csr, "rs1": 0}) for csr in range(4096)], "<u4")
    program = Program([Section(".text", "ax", DRAM, 4, [words.tobytes()])], [], [], DRAM)
    for engine in (ReferenceMachine, Machine):
        machine = engine("slim")
        machine.load(program)
        machine.x[10] = WORD
        legal = set()
        for csr in range(4096):
            if csr == CSRS["mtvec"].address and write:
                legal.add(csr)
                continue                                        # traps are to end the run
            machine.pc = DRAM + 4 * csr
            result = machine.run(max_instructions=1)
            if result.trap is None:
                legal.add(csr)
            else:
                assert (result.trap.cause, result.trap.value) == (Cause.ILLEGAL_INSTRUCTION, int(words[csr]))
        assert legal == {csr.address for csr in CSRS.values() if not write or csr.address >> 10 != 3}
        if write:
            for csr in CSRS.values():
                if csr.address in legal and csr.name not in ("mcycle", "minstret", "mtvec"):
                    assert machine.csr(csr.name) == csr.reset & ~csr.writable | csr.writable, csr.name


def test_the_manual_lists_what_instructions_of_the_core_check() -> None:
    """Each in one line of the table, with the traps that follow from its meaning; the others have none."""
    listed = {name: set(check.causes) for check in CORE for name in check.instructions}
    assert len(listed) == sum(len(check.instructions) for check in CORE)
    core = {row.mnemonic: set(traps(row)) for row in TABLE.values() if not row.is_xslim}
    assert {name: causes for name, causes in core.items() if causes} == listed
    page = {name: row["traps, in this order"] for row in table("traps", "instructions", "traps, in this order")
            for name in row["instructions"].split(", ")}
    assert {name: {Cause[cause] for cause in causes.split(", ")} for name, causes in page.items()} == listed
