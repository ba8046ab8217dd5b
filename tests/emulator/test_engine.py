"""The fast engine runs whole programs as the reference engine does: registers, memory, counters, traps, output.

Hand-written programs: loops, loads and stores to every kind of place, CSRs, traps with and without a handler, code that changes
itself, jumps to data and to nowhere, runs that stop and go on. Random ones: test_fuzzing.py.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from both_engines import DRAM, FLASH, HBM, MMIO, SRAM, Pair, ProgramDone, run_program

import asm
from emulator.load_kernels import registered
from emulator.machine import Machine
from isa.csrs import CSRS
from isa.instruction import TABLE
from isa.preset import load_preset
from isa.program import Program, ProgramError, Section, Symbol
from isa.reference import ReferenceMachine
from isa.regions import REGIONS
from isa.traps import Cause

PROGRAMS = sorted((Path(__file__).parents[2] / "programs").glob("*.s"))
SEED = 1
EXIT = "\n li a7, 93\n ecall\n"
EDGES = (0, 1, 2, 3, 5, 7, 8, 31, 32, 33, 63, 64, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0x8000_0001,
         0xFFFF_FFFF, 1 << 32, (1 << 32) + 1, (1 << 62), (1 << 63) - 1, 1 << 63, (1 << 63) + 1, (1 << 64) - 2, (1 << 64) - 1)


def both(source: str, **options) -> ProgramDone:
    """Assemble and run on both engines."""
    return run_program(asm.assemble(source), **options)


def odd(random: np.random.Generator) -> int:
    """Any odd 64-bit number."""
    return int(random.integers(0, 1 << 63)) * 2 + 1


# ---------------------------------------------------------------------------------------------------- programs


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_programs_run_alike_and_leave_no_xslim_instruction_to_the_reference(path):
    done = run_program(asm.assemble(path), inline=tuple(registered()))
    assert done.results[-1].reason == "exit"


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_programs_that_stop_again_and_again(path):
    run_program(asm.assemble(path), max_instructions=[1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 1_000_000])


def test_a_run_is_cut_into_slices_that_do_not_show(monkeypatch):
    monkeypatch.setattr("emulator.machine.SLICE", 7)
    for path in PROGRAMS:
        assert run_program(asm.assemble(path)).results[-1].reason == "exit"


# ---------------------------------------------------------------------------------------------------- base instructions

BASE = [row for row in TABLE.values() if not row.is_xslim and row.unit != "zicsr"
        and row.mnemonic not in ("ecall", "ebreak", "fence", "fence.tso", "fence.i")]


@pytest.fixture(scope="module")
def pair():
    return Pair(flash=np.random.default_rng(SEED).bytes(4099))


@pytest.mark.parametrize("row", BASE, ids=lambda row: row.mnemonic)
def test_base_instructions_at_the_edges_of_their_operands(pair, row):
    random = np.random.default_rng((SEED, BASE.index(row)))
    pair.fresh()
    pair.place(SRAM, random.integers(0, 256, 64, np.uint8))
    size = {"b": 1, "h": 2, "w": 4, "d": 8}.get(row.mnemonic.strip("u")[-1], 1)
    places = [edge + offset for edge in (MMIO, MMIO + 0x18, MMIO + 0x1_0000, SRAM, SRAM + (16 << 20), DRAM, DRAM + 4096,
                                         DRAM + (16 << 30), FLASH, FLASH + 4099, HBM, HBM + (32 << 30), 0, 1 << 64)
              for offset in (-9, -8, -size, 1 - size, -1, 0, 1, 2, 4, 8, 16)]
    moves = row.mnemonic[0] in "ls" and row.format.name in ("LOAD", "S")
    for i in range(len(places) if moves else 60):
        registers = {}
        for operand in row.operands:
            if operand.is_register:
                registers[operand.name] = int(random.integers(0, 32)) if random.random() < 0.1 else 10 + row.operands.index(operand)
            else:
                field, step = operand.field, 4 if operand.role == "target" else 1
                registers[operand.name] = int(random.choice([field.minimum, 0, field.maximum // step * step,
                                                             int(random.integers(field.minimum, field.maximum)) // step * step]))
        values = {o.name: int(EDGES[random.integers(len(EDGES))]) if random.random() < 0.6 else odd(random)
                  for o in row.operands if o.is_register and o is not row.result}
        if moves:
            values["rs1"] = places[i] - registers["imm"]
            registers["rs1"] = 28
        # Devices and stores to the code page are for the reference engine.
        code = row.format.name == "S" and DRAM - 8 < places[i] < DRAM + 4096
        inline = not (moves and (MMIO <= places[i] < MMIO + 0x18 or code))
        pair.run(row.mnemonic, registers=registers, inline=inline, **values)


@pytest.mark.parametrize("mnemonic", ["csrrw", "csrrs", "csrrc", "csrrwi", "csrrsi", "csrrci"])
def test_every_csr(pair, mnemonic):
    random = np.random.default_rng(SEED)
    pair.fresh()
    pair.start_counts[:] = random.integers(0, 1 << 40, len(pair.start_counts))
    pair.start_counts[127] = 0
    for csr in [*CSRS.values(), None]:
        for _ in range(4):
            pair.set(**{other.name: odd(random) for other in CSRS.values() if other.writable and other.name != "mtvec"})
            source = 28 if random.random() < 0.7 else 0
            registers = {"csr": csr.address if csr else 0x7C0, "rd": 10 if random.random() < 0.8 else 0}
            plain = csr is not None and csr.writable == (1 << 64) - 1 and csr.name not in ("minstret", "mcycle")
            if mnemonic.endswith("i"):
                pair.run(mnemonic, inline=plain, registers=registers | {"zimm": source})
            else:
                pair.run(mnemonic, inline=plain, registers=registers | {"rs1": source}, rs1=odd(random))


def test_hot_loops_stay_in_the_loop():
    done = both("""
        .text
        .globl _start
        _start: li s0, 0x10000000
                li s1, 0x2000000000
                la s2, here
                la t0, handler
                csrw mtvec, t0
                li t1, 50
        again:  sd t1, 0(s0)
                ld t2, 0(s0)
                sw t2, 8(s1)
                lwu t3, 8(s1)
                sb t3, 1(s2)
                lbu t4, 1(s2)
                lw t5, 0(t0)
                csrw vec.cols, t1
                csrr t6, vec.cols
                csrrw t6, mscratch, t1
                fence
                fence.i
                call leaf
                addi t1, t1, -1
                bnez t1, again
                csrw mtvec, zero
    """ + EXIT + """
        leaf:   ret
                .balign 4
        handler: mret
                .data
        here:   .zero 64
                .text
        other:  nop
    """)
    assert done.fast.handed_over == {"ecall": 1}


# ---------------------------------------------------------------------------------------------------- code in unusual places


def words(*lines: str) -> bytes:
    """Machine code of some lines."""
    return asm.assemble("\n".join(lines)).section(".text").bytes()


def program(*sections: tuple[int, str, bytes], entry: int = DRAM, symbols: dict[str, int] | None = None) -> Program:
    return Program([Section(f".s{i}", flags, address, 1, [data]) for i, (address, flags, data) in enumerate(sections)],
                   [Symbol(name, value) for name, value in (symbols or {}).items()], [], entry)


STOP = ("li a7, 93", "ecall")


def test_code_in_two_sections_of_flash_of_odd_sizes():
    first = words("addi a0, a0, 1", "li t0, 0x1000000102", "addi t0, t0, 2", "jr t0")
    second = words("addi a0, a0, 2", *STOP)
    done = run_program(program((FLASH, "ax", first + b"\x13"), (FLASH + 0x104, "ax", second + b"\1\2\3"), entry=FLASH))
    assert done.results[0].exit_code == 3 and done.fast.handed_over == {"ecall": 1}


@pytest.mark.parametrize("start", [FLASH + 1, FLASH + 2, FLASH + 3])
def test_code_in_flash_that_starts_in_the_middle_of_a_word(start):
    whole = FLASH + 4
    code = bytes(whole - start) + words("addi a0, a0, 7", *STOP)
    done = run_program(program((start, "ax", code + b"\1"), entry=whole))
    assert done.results[0].exit_code == 7 and done.fast.handed_over == {"ecall": 1}
    assert run_program(program((start, "ax", code), entry=FLASH)).results[0].trap.cause == Cause.FETCH_ACCESS


@pytest.mark.parametrize(("entry", "cause"), [
    (FLASH, Cause.FETCH_ACCESS), (FLASH + 4096, Cause.FETCH_ACCESS), (MMIO, Cause.FETCH_ACCESS), (0, Cause.FETCH_ACCESS),
    ((1 << 64) - 4, Cause.FETCH_ACCESS), (1 << 63, Cause.FETCH_ACCESS), (DRAM + 2, Cause.FETCH_MISALIGNED),
    (DRAM + 1, Cause.FETCH_MISALIGNED), (HBM, Cause.ILLEGAL_INSTRUCTION), (DRAM - 4, Cause.FETCH_ACCESS)])
def test_a_start_where_there_is_no_code(entry, cause):
    done = run_program(program((DRAM, "ax", words(*STOP)), (FLASH + 64, "a", bytes(64)), entry=entry))
    assert done.results[0].trap.cause == cause and done.results[0].trap.pc == entry


def test_data_between_and_around_code_is_stored_to_in_the_loop():
    loop = words("li s0, 0x80000100", "li s1, 0x80000400", "li s2, 0x10001000", "li t0, 20", "again: sd t0, 0(s0)", "sd t0, 8(s1)",
                 "sd t0, 0(s2)", "addi t0, t0, -1", "bnez t0, again", "li t1, 0x10000000", "jr t1")
    assert len(loop) < 0x100
    done = run_program(program((DRAM, "ax", loop), (DRAM + 0x100, "aw", bytes(0x100)), (DRAM + 0x300, "ax", words("nop")),
                               (DRAM + 0x400, "aw", bytes(64)), (SRAM, "ax", words(*STOP))))
    assert done.fast.handed_over == {"ecall": 1}


def test_code_between_sections_runs_too():
    jump = words("li t0, 0x80000100", "jr t0")
    between = words("addi a0, a0, 9", *STOP)
    done = run_program(program((DRAM, "ax", jump), (DRAM + 0x100, "aw", between), (DRAM + 0x300, "ax", jump)))
    assert done.results[0].exit_code == 9


def test_code_that_is_written_first():
    code = ", ".join(f"{word:#x}" for word in np.frombuffer(words("addi a0, a0, 5", "ret"), "<u4"))
    for place in ("0x10000000", "0x80100000", "0x2000000000", "0x80000ff8"):
        done = both(f"""
            _start: la s0, code
                    li s1, {place}
                    ld t0, 0(s0)
                    sd t0, 0(s1)
                    fence.i
                    jalr s1
                    lw t1, 0(s1)                # and once more with another immediate
                    li t2, 0x00300000
                    add t1, t1, t2
                    sw t1, 0(s1)
                    jalr s1
            {EXIT}
            .data
            code:   .word {code}
        """)
        assert done.results[0].exit_code == 13


@pytest.mark.parametrize("barrier", ["", "fence.i"])
def test_an_instruction_that_changes_the_next_one(barrier):
    done = both(f"""
        _start: la t0, patch
                lw t1, 0(t0)
                li t2, 0x00100000
                li t3, 10
        again:  add t1, t1, t2
                sw t1, 0(t0)
                {barrier}
        patch:  addi a0, a0, 0
                addi t3, t3, -1
                bnez t3, again
        {EXIT}""")
    assert done.results[0].exit_code == 55


@pytest.mark.parametrize("store", [
    "sb t1, 3(t0)", "sh t1, 2(t0)", "sw t1, 1(t0)", "sd t1, -7(t0)", "sd t1, -4(t0)", "sd t1, 4(t0)"])
def test_stores_that_touch_a_part_of_an_instruction(store):
    done = both(f"""
        _start: la t0, patch
                la s0, handler
                csrw mtvec, s0
                li t1, 0x1122334455667788
                {store}
                nop
                nop
        patch:  addi a0, a0, 1
                addi a0, a0, 1
                addi a0, a0, 1
                csrw mtvec, zero
        {EXIT}
                .balign 4
        handler: csrr s1, mepc
                addi s1, s1, 4
                csrw mepc, s1
                mret""", max_instructions=200)
    assert done.fast.handed_over


def test_a_store_by_a_unit_to_code():
    done = both(f"""
        _start: la a0, patch
                la a1, new
                li a2, 4
                fetch.copy a0, a1, a2
                li a0, 0
        patch:  addi a0, a0, 1
        {EXIT}
        new:    addi a0, a0, 9""")
    assert done.results[0].exit_code == 9 and done.fast.handed_over == {"fetch.copy": 1, "ecall": 1}


def test_tohost_and_fromhost_as_symbols():
    for place in (DRAM + 0x1000, SRAM + 8):
        code = words(f"li t0, {place}", "li t1, 0x0101000000000041", "sd t1, 0(t0)", "ld t2, 0(t0)", "ld t3, 8(t0)",
                     "sw zero, 4(t0)", "sd t1, 8(t0)", "li t1, 7", "sb t1, 0(t0)", "nop")
        done = run_program(program((DRAM, "ax", code), symbols={"tohost": place, "fromhost": place + 8}))
        assert done.results[0].exit_code == 3 and done.fast.host.output == b"A"


@pytest.mark.parametrize("request_", [0x8000_0000_0000 - 8, 0x10, 0x8000_4000, DRAM + 0x100])
def test_a_request_to_tohost_that_names_no_memory_is_acknowledged_and_does_nothing(request_):
    call = np.array([64, 1, 1 << 50, 5], "<u8").tobytes()          # write: from nowhere
    code = words("li t0, 0x02000000", f"li t1, {request_}", "sd t1, 0(t0)", "ld a0, 0(t0)", *STOP)
    done = run_program(program((DRAM, "ax", code), (DRAM + 0x100, "aw", call)))
    assert done.results[0].exit_code == 0 and not done.fast.host.output


@pytest.mark.parametrize(("place", "size", "there"), [
    (0, 8, True), (8, 4, True), (0x10, 1, True), (0x17, 1, True), (0x10, 8, True),
    (0x18, 1, False), (0x14, 8, False), (4, 8, False), (0x800, 4, False), (0xFFF8, 8, False)])
def test_in_mmio_there_is_what_devices_have_and_nothing_else(place, size, there):
    letter = {1: "b", 4: "w", 8: "d"}[size]
    for verb, cause in (("l", Cause.LOAD_ACCESS), ("s", Cause.STORE_ACCESS)):
        code = words(f"li t0, {0x0200_0000 + place}", f"{verb}{letter} zero, 0(t0)", *STOP)
        done = run_program(program((DRAM, "ax", code)))
        trap = done.results[0].trap
        assert (trap is None) == there
        if trap:
            assert (trap.cause, trap.value) == (cause, 0x0200_0000 + place)
            assert trap.detail.startswith(f"no device has a register of {size} bytes at 0x2000") or place >= 0x18, trap.detail
            assert "tohost 0x2000000, fromhost 0x2000008, console 0x2000010" in trap.detail


def test_where_a_program_has_its_own_tohost_mmio_has_none():
    code = words("li t0, 0x02000000", "ld t1, 0(t0)", *STOP)
    done = run_program(program((DRAM, "ax", code), symbols={"tohost": DRAM + 0x100}))
    assert done.results[0].trap.cause == Cause.LOAD_ACCESS and "tohost 0x80000100" in done.results[0].trap.detail


def test_a_section_in_device_registers_is_refused_by_assembler_and_machine():
    with pytest.raises(asm.AssemblyError, match="placed at 0x2000000, where devices have their registers"):
        asm.assemble(".section .dev, \"aw\"\n.address 0x2000000\n.dword 1\n")
    with pytest.raises(ProgramError, match="lies in device registers"):
        Machine("slim").load(program((0x0200_0000, "aw", bytes(8))))


def test_a_device_that_answers_in_the_middle_of_code():
    code = words("li t0, 0x80000100", "li t1, 0x0101000000000041", "sd t1, 0(t0)", "jr t0")
    illegal = run_program(program((DRAM, "ax", code), (DRAM + 0x100, "ax", words("nop", "nop", "nop", *STOP)),
                                  symbols={"tohost": DRAM + 0x100, "fromhost": DRAM + 0x108}))
    assert illegal.results[0].trap.cause == Cause.ILLEGAL_INSTRUCTION


# ---------------------------------------------------------------------------------------------------- traps and limits

HANDLER = """
        .balign 4
handler: addi s11, s11, 1
        csrr s10, mcause
        csrr s9, mtval
        csrr s8, mepc
        addi s8, s8, 4
        csrw mepc, s8
        mret
"""


@pytest.mark.parametrize("trap", [
    "lw a0, 0(zero)", "sd a0, 0(zero)", "ecall", "ebreak", ".word 0", ".word 0xffffffff", "csrw cycle, a0", "csrr a0, 0x7c0",
    "jalr a0, 2(zero)", "sw a0, 0(s5)", "ld a0, -4(s5)", "li a0, 0\n sync.wait a0", "fetch.copy s5, a0, s5"])
def test_a_trap_in_a_loop_with_a_handler(trap):
    done = both(f"""
        _start: la t0, handler
                csrw mtvec, t0
                li s5, 0x1000000000
                li s0, 5
        again:  addi s1, s1, 3
                sd s1, -64(sp)
                {trap}
                ld s2, -64(sp)
                addi s0, s0, -1
                bnez s0, again
                csrw mtvec, zero
                li a0, 0
        {EXIT}{HANDLER}""", max_instructions=500)
    assert done.results[0].reason == "exit" and done.reference.x[27] == 5 and done.reference.counter("core.traps") == 5


@pytest.mark.parametrize("trap", ["lw a0, 0(zero)", "jr t0", ".word 0", "vec.exp.f32 a0, a0, t0"])
def test_a_trap_without_a_handler_ends_the_run_alike(trap):
    done = both(f"_start: li t0, 0x12345679\n li s0, 3\nagain: addi s0, s0, -1\n bnez s0, again\n nop\n {trap}\n")
    assert done.results[0].reason == "trap"


def test_a_handler_that_traps_comes_to_the_limit():
    done = both("_start: li t0, 4\n csrw mtvec, t0\n lw a0, 0(zero)\n", max_instructions=[10, 10])
    assert [result.reason for result in done.results] == ["limit", "limit"]
    assert done.reference.counter("core.traps") == 18


def test_a_limit_of_zero_does_nothing():
    assert both("_start: addi a0, a0, 1\n", max_instructions=[0, 0, 1]).reference.x[10] == 1


def test_loads_of_each_region():
    """Near, far, misaligned, at the last bytes of DRAM, where the loop is slower, and to a device."""
    end = load_preset("slim").region("dram").end
    done = both(f"""
            .section .flash, "a"
    table:  .dword 1, 2
            .text
    _start: la t0, table
            ld t1, (t0)
            lh t1, 5(t0)
            lbu t1, 15(t0)
            li s1, {DRAM + 0x10000}
            li s2, {end}
            li s3, {SRAM}
            li s4, {HBM}
            li s5, {MMIO + 16}
            li s0, 40
    again:  sd s0, (s1)
            ld t1, (s1)
            sw s0, 13(s1)
            sb s0, -1(s2)
            lw t1, -4(s2)
            sh s0, 1(s3)
            ld t1, (s3)
            lb t1, (s3)
            sb s0, 7(s4)
            addi s0, s0, -1
            bnez s0, again
            ld t1, (s5)
            sb t1, (s5)
            {EXIT}""")
    assert done.results[-1].reason == "exit" and done.fast.handed_over == {"ld": 1, "sb": 1, "ecall": 1}     # of the device
    counts = done.fast.counters
    assert {name: counts[f"{name}.loads"] for name in REGIONS} == {"mmio": 1, "sram": 80, "dram": 80, "flash": 3, "hbm": 0}
    assert counts["core.loads"] == sum(counts[f"{name}.loads"] for name in REGIONS)


def test_multiplications_and_divisions():
    """By powers of two and by zero, too; shifts are none."""
    names = ["mul", "mulh", "mulhsu", "mulhu", "mulw", "div", "divu", "rem", "remu", "divw", "divuw", "remw", "remuw"]
    lines = "".join(f" {name} t0, s0, a{i % 3}\n" * (i + 1) for i, name in enumerate(names))
    done = both(f"_start: li a0, 0\n li a1, 8\n li a2, -3\n li s0, 3\nagain:\n{lines} slli t0, t0, 1\n addi s0, s0, -1\n"
                f" bnez s0, again\n{EXIT}")
    counts = done.fast.counters
    assert (counts["core.multiplications"], counts["core.divisions"]) == (3 * sum(range(1, 6)), 3 * sum(range(6, 14)))


def test_counters_and_state_may_be_replaced_between_runs():
    machine = Machine("slim")
    machine.load(asm.assemble("_start: li a0, 5\n sync.signal.vec a0\n"
                              "again: lw t0, 0(sp)\n addi t1, t1, 1\n csrw vec.cols, t1\n j again\n"))
    machine.run(50)
    machine.counts, machine.csr_values = machine.counts.copy(), machine.csr_values.copy()
    machine.state = {name: array.copy() for name, array in machine.state.items()}
    machine.run(52)
    assert machine.counter("core.instructions") == 102 and machine.counter("core.loads") == 25
    assert machine.csr("vec.cols") == machine.x[6] and machine.state["sync.signalled"][5] == 1


@pytest.mark.parametrize("engine", [ReferenceMachine, Machine])
def test_loading_again_puts_sections_back_and_leaves_nothing_of_another_program(engine, tmp_path):
    def program(number):
        return asm.assemble(f"""
            .section .flash, "a"
            table:  .word {number}
            .bss
                    .zero 0x600000
            sum:    .zero 8
            .text
            _start: la   t0, sum
                    la   t1, table
                    lw   t1, 0(t1)
                    lw   a0, 0(t0)
                    add  a0, a0, t1
                    sw   a0, 0(t0)
                    li   a7, 93
                    ecall
            """)

    machine = engine("slim")
    for number in (7, 7, 9):
        program(number).save(tmp_path / "p.elf")
        machine.load(tmp_path / "p.elf")
        assert machine.run().exit_code == number
    assert machine.counter("core.instructions") > 20             # what was counted stays
    with pytest.raises(ProgramError, match="lies in no region"):
        machine.load(Program([Section(".a", "aw", 0x10, 1, [b"1"]), *program(7).sections]))
    assert machine.tensor("table", "i32[1]").tolist() == [9]        # nothing of what was refused is there


def test_unknown_names_are_told_the_nearest():
    machine = Machine("slim")
    with pytest.raises(KeyError, match=r"no CSR 'mepx'; did you mean 'mepc'"):
        machine.csr("mepx")
    with pytest.raises(KeyError, match=r"no counter 'lut.lookup'; did you mean 'lut.lookups'"):
        machine.counters["lut.lookup"]
    with pytest.raises(KeyError, match=r"no counter 'q'[^;]*$"):
        machine.counters["q"]
