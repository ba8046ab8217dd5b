"""docs/isa/reset.md held against both engines: power-up, loading a program, running again, restoring a snapshot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from both_engines import DRAM, HBM, MMIO, SRAM, machine_differences, memory_differences
from manual_tables import table

import asm
from emulator.machine import Machine
from isa.counters import COUNTERS
from isa.csrs import CSRS
from isa.preset import load_preset, preset_names
from isa.program import Program, Section
from isa.reference import ReferenceMachine
from isa.units import UNITS

ENGINES = pytest.mark.parametrize("engine", [ReferenceMachine, Machine])
RESET = {row["CSR"]: int(row["at power-up"], 0) for row in table("reset", "CSR", "at power-up")}
STATE = {row["array"]: row for row in table("reset", "array", "each element at power-up")}
SOURCE = """
    .globl _start
    _start: li t0, 1
            la t1, counter
            ld t2, 0(t1)
            add t2, t2, t0
            sd t2, 0(t1)
            la t3, cleared
            ld t4, 0(t3)
            sd t2, 0(t3)
            mv a0, t4
            li a7, 93
            ecall
            .data
    counter: .dword 41
            .bss
    cleared: .zero 16
"""


def at_power_up(machine: ReferenceMachine) -> list[str]:
    """What of CSRs, counters and unit state is not as the page says."""
    wrong = [name for name in CSRS if machine.csr(name) != (0 if name in COUNTERS else RESET.get(name, 0))]
    wrong += ["an unnamed counter"] * int(machine.counts.any())
    arrays = {name for name, row in STATE.items() if machine.preset.has_unit(row["unit"])}
    wrong += [f"there is {name}" for name in machine.state.keys() ^ arrays]
    for name in machine.state.keys() & arrays:
        array, row = machine.state[name], STATE[name]
        expected = np.full(machine.preset.length(int(row["length"]) if row["length"].isdecimal() else row["length"]),
                           int(row["each element at power-up"]), row["type"])
        wrong += [name] * (array.dtype != expected.dtype or array.tobytes() != expected.tobytes())
    return wrong


def spoil(machine: ReferenceMachine) -> None:
    """Give every register, CSR, counter, array inside a unit, and some memory, another value."""
    machine.x[1:] = [0x0101 * i for i in range(1, 32)]
    for i, csr in enumerate(CSRS.values()):
        if csr.writable and csr.name != "mtvec":
            machine.set_csr(csr.name, machine.csr(csr.name) ^ 0x0123_4567_89AB_CDEF * (i + 1) % (1 << 64))
    machine.counts[:] = np.arange(1, len(machine.counts) + 1)
    for array in machine.state.values():
        array[:] = 1                                        # which instructions could have left: two heads, the second is set
    machine.state["attn.model"][0] = 2
    machine.state["cim.held"].reshape(-1, 6)[:] = [2, 4, 1, 1, 0, 0]            # each macro a block of 4, without places,
    machine.state["cim.held"][:6] = [1, 0x0201, 64, 128, 0, 4096]               # but the first one, which has a tile of 1 of 2
    machine.state["cim.places"][4096:] = 0
    for address in (SRAM + 64, DRAM + 0x10_0000, HBM + 64, MMIO + 8):
        machine.peek(address, 8)[:] = 7


@ENGINES
@pytest.mark.parametrize("name", preset_names())
def test_power_up(engine: type[ReferenceMachine], name: str) -> None:
    machine = engine(name)
    assert at_power_up(machine) == []
    assert (machine.pc, machine.x, machine.exit_code) == (0, [0] * 32, None)
    for region, _, contents in machine.memory.spans():
        assert region.writable and not contents[:1 << 16].any() and not contents[-(1 << 16):].any()
    mmio = machine.preset.region("mmio").base
    assert (machine.devices.tohost, machine.devices.fromhost) == (mmio, mmio + 8)


def test_the_page_names_every_csr_and_array() -> None:
    assert {csr.name: csr.reset for csr in CSRS.values() if csr.reset and csr.name not in COUNTERS} == RESET
    assert STATE.keys() == {array.name for unit in UNITS.values() for array in unit.state}


@ENGINES
def test_a_first_program_sets_pc_and_sp_alone(engine: type[ReferenceMachine]) -> None:
    machine = engine("slim")
    machine.load(asm.assemble(SOURCE))
    dram = load_preset("slim").region("dram")
    assert at_power_up(machine) == [] and machine.pc == machine.program.entry
    assert machine.x == [0, 0, dram.end - 16, *[0] * 29]


@ENGINES
def test_loading_a_program_leaves_registers_csrs_counters_state_and_other_memory(engine: type[ReferenceMachine]) -> None:
    machine = engine("slim")
    machine.load(asm.assemble(SOURCE))
    assert machine.run().exit_code == 0
    spoil(machine)
    x, csrs, counts = list(machine.x), machine.csr_values.copy(), machine.counts.copy()
    state = {name: array.copy() for name, array in machine.state.items()}
    machine.load(asm.assemble(SOURCE))
    assert machine.pc == machine.program.entry and machine.exit_code is None
    assert machine.x == [*x[:2], machine.preset.region("dram").end - 16, *x[3:]]
    assert np.array_equal(machine.csr_values, csrs) and np.array_equal(machine.counts, counts)
    assert all(array.tobytes() == state[name].tobytes() for name, array in machine.state.items())
    assert all((machine.peek(address, 8) == 7).all() for address in (SRAM + 64, DRAM + 0x10_0000, HBM + 64, MMIO + 8))
    for name, value in (("counter", 41), ("cleared", 0)):               # sections, and .bss
        assert machine.peek(machine.program.address(name), 8).view("<u8")[0] == value
    assert machine.run().exit_code == 0


@ENGINES
def test_running_again_changes_nothing(engine: type[ReferenceMachine]) -> None:
    machine = engine("slim")
    machine.load(asm.assemble(SOURCE))
    machine.run(max_instructions=3)
    x = list(machine.x)
    spoil(machine)
    before = list(machine.x), machine.pc, machine.csr_values.copy(), machine.counts.copy()
    machine.run(max_instructions=0)
    assert (machine.x, machine.pc) == before[:2]
    assert np.array_equal(machine.csr_values, before[2]) and np.array_equal(machine.counts, before[3])
    machine.x[:] = x
    assert machine.run().reason == "exit"
    ended = machine.pc, list(machine.x), machine.counts.copy()
    assert machine.run().reason == "exit" and (machine.pc, machine.x) == ended[:2] and np.array_equal(machine.counts, ended[2])


@pytest.mark.parametrize("saver", [ReferenceMachine, Machine])
@pytest.mark.parametrize("reader", [ReferenceMachine, Machine])
def test_a_snapshot_has_all_of_it(saver: type[ReferenceMachine], reader: type[ReferenceMachine], tmp_path: Path) -> None:
    program = asm.assemble(SOURCE)
    program.save(tmp_path / "a.elf")
    machine = saver("slim")
    machine.load(tmp_path / "a.elf")
    machine.run(max_instructions=3)
    spoil(machine)
    machine.clocks[0].start(machine.counts)                   # a clock that belongs to these counters
    machine.save(tmp_path / "a.slim")
    again = reader.restore(tmp_path / "a.slim")
    assert machine_differences(machine, again) == [] and memory_differences(machine, again) == []


@ENGINES
def test_flash_holds_the_sections_of_the_last_program_alone(engine: type[ReferenceMachine]) -> None:
    machine = engine("slim")
    flash = machine.preset.region("flash").base
    text = Section(".text", "ax", DRAM, 4, [bytes(4)])
    first = [Section(".a", "a", flash, 1, [b"abcd"]), Section(".b", "a", flash + 4, 1, [b"efgh"])]
    machine.load(Program([text, *first], [], [], DRAM))
    assert bytes(machine.memory[flash:flash + 4]) == b"abcd"
    with pytest.raises(IndexError):                         # within one section
        machine.memory[flash + 2:flash + 6]
    machine.load(Program([text, Section(".b", "a", flash + 64, 1, [b"x"])], [], [], DRAM))
    with pytest.raises(IndexError):
        machine.memory[flash:flash + 1]


@ENGINES
def test_tohost_is_in_mmio_again_when_the_next_program_does_not_define_it(engine: type[ReferenceMachine]) -> None:
    own = asm.assemble("""
        .globl tohost
        .globl fromhost
        _start: la t0, tohost
                li t1, 7
                sd t1, 0(t0)
                .data
                .balign 8
        tohost: .dword 0
        fromhost: .dword 0""")
    plain = asm.assemble("_start: li t0, 0x2000000\nli t1, 11\nsd t1, 0(t0)")
    machine = engine("slim")
    for program, code in ((own, 3), (plain, 5), (own, 3), (plain, 5)):
        machine.load(program)
        assert machine.run().exit_code == code
