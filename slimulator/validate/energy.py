"""Published energies: of executed programs, by the energies of their machine's events and what it takes to stand still.

    Slim-Llama    binary products from SRAM, one behind the other: the power of the chip
    GDDR6-AiM     the matrix-vector product of aim_simulator, on the clock of gddr6-aim
    DDR4          a stream through the dram of hpim, which is a channel of DDR4-2400
    AttAcc        the attention of one token at banks, at bank groups, at the buffer: AttAcc's own figures a bit, of the columns and
                  moves of the executed operations
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction

import numpy as np

from asm.assembler import assemble
from emulator.machine import Machine
from isa.energy import Energy, energy_of
from isa.preset import load_preset
from isa.regions import DRAM, SRAM
from isa.timing.figures import owner_of
from isa.timing.memories import MEMORIES, Dram
from slimulator.validate import aim, attacc, dramsim3
from slimulator.validate.checks import Check
from slimulator.validate.points import Point

PICO = 1e-12


def _spent(machine: Machine, seconds: Fraction | None = None) -> tuple[Energy, float]:
    """(energy of a run, its seconds), by the machine's own clock or in this time."""
    time = machine.time
    assert time is not None
    lasted = Fraction(time.cycles, time.clock_hz) if seconds is None else seconds
    energy = energy_of(machine.counters, machine.preset, lasted)
    assert energy is not None
    return energy, float(lasted)


def _parts(energy: Energy) -> dict[str, float]:
    return {name: joules for name, joules in energy.by_event.items() if joules} | {
        f"{name} standing still": joules for name, joules in energy.static.items() if joules}


def _part_of(energy: Energy, belongs: Callable[[str], bool]) -> float:
    """Joules of the events and of the standing still of some owners: the core, units, regions."""
    return (sum(joules for name, joules in energy.by_event.items() if belongs(owner_of(name)))
            + sum(joules for name, joules in energy.static.items() if belongs(name)))


def _run(text: str, machine: str, defines: Mapping[str, int], random: tuple[int, int] = (0, 0)) -> Machine:
    """A program that has run to its end; `random`: address and number of bytes that are random when it starts."""
    runs = Machine(machine)
    runs.load(assemble(text, machine=machine, defines=defines))
    if random[1]:
        runs.peek(*random)[:] = np.random.default_rng(1).integers(0, 256, random[1], np.uint8)
    result = runs.run()
    if result.reason != "exit" or result.exit_code:
        raise RuntimeError(f"a program for {machine} ended with {result.reason} {result.exit_code} {result.trap or ''}")
    return runs


# ------------------------------------------------------------------------------------------------ Slim-Llama

_PRODUCTS = """
.text
_start:
    li a0, SRAM
    li a1, SCALE
    li a2, COLUMNS
    lut.build.i8 a0, a1, a2
    li a0, SUMS
    li a1, WEIGHTS
    li a2, ROWS
    li a3, TIMES
1:  lut.mac.b1 a0, a1, a2
    addi a3, a3, -1
    bnez a3, 1b
    sync.fence
    li a0, 0
    li a7, 93
    ecall
"""
_COLUMNS, _ROWS, _TIMES = 8192, 448, 100        # seven rows for each of 64 cores
_ISSCC = "ISSCC 2025 paper 23.9 as published by KAIST and the press"
_FIT = "lut.steps of slim-llama with two bits that switch, 0.0458 pJ, is 4.69 mW at 25 MHz over 4,096 look-ups a cycle"
_AT_MOST = 8 * 4.69             # mW at 200 MHz and at equal voltage, without starts
_VOLTAGE = (f"a look-up takes what it takes at 25 MHz, {_AT_MOST:.1f} mW without starts: the supply voltages are not published. "
            f"The rest would be a ratio of {(82.07 / _AT_MOST) ** 0.5:.2f} between them, which no source has")


def slim_llama() -> Iterator[Check]:
    """The power of the chip while its tables never rest: binary weights in SRAM, at the lowest and the highest clock."""
    at = load_preset("slim-llama").region(SRAM).base
    sums = at + _COLUMNS + 64
    machine = _run(_PRODUCTS, "slim-llama", {
        "SRAM": at, "SCALE": at + _COLUMNS, "SUMS": sums, "WEIGHTS": sums + 4 * _ROWS, "COLUMNS": _COLUMNS, "ROWS": _ROWS,
        "TIMES": _TIMES}, random=(sums + 4 * _ROWS, _ROWS * _COLUMNS // 8))
    assert machine.time is not None
    steps = machine.counters["lut.steps"] / machine.time.cycles
    for hz, published, fitted, known in (
            (25_000_000, 4.69, _FIT, "less, since each operation has a start in which no table is read"),
            (200_000_000, 82.07, "", _VOLTAGE)):
        energy, seconds = _spent(machine, Fraction(machine.time.cycles, hz))
        joules = _part_of(energy, lambda owner: owner != DRAM)
        yield Check("Slim-Llama", f"the chip at {hz // 1_000_000} MHz", "mW", published, published, 1e3 * joules / seconds,
                    f"{_TIMES} products of {_ROWS} x {_COLUMNS} random binary weights in SRAM, {steps:,.0f} look-ups a cycle; "
                    "no dram",
                    known, fitted, f"{_ISSCC}: {published} mW at {hz // 1_000_000} MHz", _parts(energy), energy.joules)


# ------------------------------------------------------------------------------------------------ GDDR6-AiM

_OUTPUTS, _INPUTS = 4096, 1024


def gddr6_aim() -> Iterator[Check]:
    """What a MAC takes in a matrix-vector product, everything in the memory included."""
    program = aim.program_of(f"gemv {_OUTPUTS}x{_INPUTS}")
    assert program is not None
    machine = Machine(program.machine)
    machine.load(assemble(program.text))
    program.fill(machine)
    machine.run()
    program.check(machine)
    energy, _ = _spent(machine)
    controller = sum(energy.by_event[f"pim.{kind}_commands"] for kind in ("read", "write", "compute"))
    memory = _part_of(energy, lambda owner: owner in ("pim", "hbm"))
    macs = machine.counters["pim.macs"]
    source = "CENT's power model on the commands of aim_simulator: 1.475 uJ a channel, DQ and standing still in, controller out"
    executed = f"GEMV {_OUTPUTS} x {_INPUTS} on gddr6-aim: pim and hbm, without the host"
    for what, joules, out in (("without the controller", memory - controller, 11.3), ("with the controller", memory, None)):
        yield Check("GDDR6-AiM", f"a MAC of fp16, {what}", "pJ", out, out, joules / macs / PICO, executed,
                    "a row is open all the time. More, since the run ends when the core has all results" if out else "", "", source,
                    _parts(energy), energy.joules)


# ------------------------------------------------------------------------------------------------ DDR4

_STREAM = """
.text
_start:
    li a0, SRAM
    li a1, SOURCE
    li a2, BYTES
    fetch.copy a0, a1, a2
    sync.fence
    li a0, 0
    li a7, 93
    ecall
"""
_BYTES, _APART = 4 << 20, 64 << 20                           # of the stream; it begins so far behind the program
_CONFIG, _PRINTED = "DDR4_8Gb_x8_2400", 555_604_598         # what DRAMsim3 prints for the stream: mW x cycles


def ddr4() -> Iterator[Check]:
    """A bit of a long stream from DDR4-2400. DRAMsim3 prints mW x cycles; its clock makes pJ of these."""
    memory, preset = MEMORIES["DDR4-2400"], load_preset("hpim")
    assert isinstance(memory, Dram)
    cycle, bits = float(memory.period_ps) / 1000, 8 * _BYTES
    source = f"DRAMsim3, {_CONFIG}: {_PRINTED / bits:.1f} mW x cycles a bit, times {cycle:.2f} ns"
    published = _PRINTED * cycle / bits
    sram, dram = preset.region(SRAM).base, preset.region(DRAM).base
    machine = _run(_STREAM, "hpim", {"SRAM": sram, "SOURCE": dram + _APART, "BYTES": _BYTES})
    energy, _ = _spent(machine)
    joules = _part_of(energy, lambda owner: owner == DRAM)
    yield Check("DDR4-2400", "a bit of a stream, by the events of hpim's dram", "pJ", published, published, joules / bits / PICO,
                f"fetch.copy of {_BYTES >> 20} MiB on hpim: dram alone",
                "less, since the dram of hpim moves bytes at full bandwidth: DRAMsim3 has 5.2 cycles for a burst of 4", "", source,
                _parts(energy), energy.joules)
    outcome = dramsim3.execute(Point("DRAMsim3", _CONFIG, "stream read", {"bytes": _BYTES}, None))
    assert outcome.energy_pj is not None
    yield Check("DDR4-2400", "a bit of a stream, row by row", "pJ", published, published, outcome.energy_pj * cycle / bits,
                f"fetch.copy of {_BYTES >> 20} MiB, its rows and bursts by the rule of plain memories",
                "more, since all ranks are taken to be active all the time", "", source)


# ------------------------------------------------------------------------------------------------ AttAcc

_LADDER = {"BA": ("banks", 897), "BG": ("bank groups", 2507), "BUFFER": ("the buffer", 2641)}


def attacc_ladder() -> Iterator[Check]:
    """The attention of one token, with units in three places."""
    heads, tokens, dim = 188, 2048, 128
    for place, (name, published) in _LADDER.items():
        point = Point("AttAcc", f"HBM3 5.2 Gb/s 16 channels, units at {place}, power limit True", "attention of one token",
                      {"heads": heads, "L": tokens, "head_dim": dim, "bytes_per_element": 2}, None)
        outcome = attacc.execute(point)
        if outcome.wrong or outcome.energy_pj is None:
            raise RuntimeError(f"AttAcc, units at {name}: {'; '.join(outcome.wrong)}")
        yield Check("AttAcc", f"attention with units at {name}", "uJ", published, published, outcome.energy_pj / 1e6,
                    f"{heads} heads of {dim}, {tokens} tokens, fp16: columns and moves, without the units", "", "",
                    "AttAcc's result file and its table a bit (FGDRAM)")


def checks() -> Iterator[Check]:
    """All rows, in order."""
    for each in (slim_llama, gddr6_aim, ddr4, attacc_ladder):
        yield from each()
