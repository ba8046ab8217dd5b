"""DRAMsim3's workloads as programs of the fetch unit: streams that read or write, and gathers of pieces at random places.

DRAMsim3's driver offers a burst a channel and cycle, in order, and stops when the last one has been answered: a read when its data
have come, a write when the queue has taken it. Here one fetch.copy or fetch.rows moves the same bytes. The machine's clock counts
what the executed operation does in the memory; isa/timing/memory_rules.py makes cycles of it, from cycle 0 on as published.

Addresses of gathers: `addresses`, uniform over the pieces of a GiB. The published rows had other random places.

Energy: pJ of the events, from the currents of the same files as DRAMsim3 computes them: VDD * mA * cycles * chips. All ranks are
taken to be active all the time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from asm.assembler import assemble
from emulator.machine import Machine
from isa.preset import Preset, load_preset, preset_of
from isa.regions import DRAM, SRAM
from isa.timing import memory_rules as rules
from isa.timing.memories import MEMORIES, Dram
from slimulator.validate.points import MACHINES, Inexpressible, Outcome, Point

SIMULATOR = "DRAMsim3"
SEED = 1
MOST = 1 << 23                  # bytes of a workload: they lie beside a list of pieces in 16 MiB
SPACE = 1 << 30                 # bytes that gathers are spread over
OFFSET = 2 << 30                # of the data in the region: the program lies below. No bit of it but those of a row is set


@dataclass(frozen=True)
class Currents:
    """mA of a chip, and volts, of DRAMsim3's configs. `chips` of a rank."""

    vdd: float
    idd0: float
    idd2n: float
    idd3n: float
    idd4r: float
    idd4w: float
    idd5ab: float
    chips: int

    def pj(self, memory: Dram, opened: int, reads: int, writes: int, refreshes: int, cycles: int) -> float:
        """pJ of these events, and of standing still for so many cycles."""
        unit = self.vdd * self.chips
        return unit * (opened * (self.idd0 * memory.tRC - self.idd3n * memory.tRAS - self.idd2n * memory.tRP)
                       + memory.burst * (reads * (self.idd4r - self.idd3n) + writes * (self.idd4w - self.idd3n))
                       + refreshes * (self.idd5ab - self.idd3n) * memory.tRFC
                       + cycles * memory.channels * memory.ranks * self.idd3n)


CONFIGS = {
    "HBM2_8Gb_x128":       ("HBM2", Currents(1.2, 65, 40, 55, 390, 500, 250, 1)),
    "DDR4_8Gb_x8_2400":    ("DDR4-2400", Currents(1.2, 48, 34, 43, 135, 123, 250, 8)),
    "LPDDR4_8Gb_x16_2400": ("LPDDR4-2400", Currents(1.2, 80, 34, 47, 243, 228, 280, 4)),
    "GDDR6_8Gb_x16":       ("GDDR6", Currents(1.35, 71, 60, 61, 248, 231, 286, 8)),
}
VARIANTS = {"bg_low": {"HBM2": "row rank bank column channel group", "": "row channel rank bank column group"}}

COPY = """
.text
_start:
    li a0, DESTINATION
    li a1, SOURCE
    li a2, BYTES
    fetch.copy a0, a1, a2
    li a0, 0
    li a7, 93
    ecall
"""
GATHER = """
.text
_start:
    li t0, PIECE
    csrw fetch.row_bytes, t0
    li a0, DESTINATION
    li a1, SOURCE
    li a2, LIST
    li a3, COUNT
    fetch.rows a0, a1, a2, a3
    li a0, 0
    li a7, 93
    ecall
"""


def memory_of(config: str) -> tuple[Dram, Currents]:
    """The memory of a configuration: the name of DRAMsim3's file, and +bg_low, +1ch. Raises Inexpressible for others."""
    name, *variants = config.split("+")
    if name not in CONFIGS or not {*variants} <= {*VARIANTS, "1ch"}:
        raise Inexpressible(f"unknown configuration {config!r}; expected one of {', '.join(CONFIGS)}, "
                            f"then +{', +'.join((*VARIANTS, '1ch'))} or nothing")
    record, currents = CONFIGS[name]
    memory = MEMORIES[record]
    assert isinstance(memory, Dram)
    for variant in variants:
        if variant == "1ch":
            memory = replace(memory, channels=1)
        else:
            mappings = VARIANTS[variant]
            memory = replace(memory, mapping=mappings.get(memory.name, mappings[""]))
    return memory, currents


def piece_of(workload: str, memory: Dram) -> int | None:
    """Bytes of a piece of a gather; None: a stream. Raises Inexpressible for another workload."""
    words = workload.split()
    match words:
        case ["stream", "read" | "write"]: return None
        case ["random", "bursts"]: return memory.burst_bytes
        case ["random", "chunks", "of", size, "B"] if size.isascii() and size.isdecimal() and len(size) < 9 and int(size):
            return int(size)
    raise Inexpressible(f"no workload {workload!r} of DRAMsim3; expected stream read or write, random bursts, random chunks of N B")


def addresses(count: int, piece: int, seed: int = SEED) -> npt.NDArray[np.uint32]:
    """The places of the pieces of a gather: numpy.random.Generator(PCG64(seed)).integers over all pieces of SPACE."""
    return np.random.Generator(np.random.PCG64(seed)).integers(0, SPACE // piece, count, dtype=np.uint32)


def machine_of(memory: Dram) -> Preset:
    """The machine of the workloads, with this memory."""
    data: Any = load_preset(MACHINES / "dram.toml").file.model_dump(mode="json", exclude_none=True)
    region = data["region"][DRAM]
    for name in ("latency_cycles", "bytes_per_cycle"):
        del region[name]
    for name, value in (("memory", memory.name), ("channels", memory.channels), ("mapping", memory.mapping)):
        region[name] = {"value": value, "source": "assumed: what the workload names"}
    return preset_of(data)


@dataclass(frozen=True)
class Data:
    """The data of a workload: numbers of pieces, in their order, and the bytes that arrive."""

    numbers: npt.NDArray[np.uint32]
    expected: npt.NDArray[np.uint8]


@cache
def data_of(size: int, piece: int | None, seed: int = SEED) -> Data:
    """Random bytes: of a stream, or of the pieces of a gather. The same piece always has the same bytes."""
    random = np.random.Generator(np.random.PCG64(seed + 1))
    if not piece:
        return Data(np.zeros(0, np.uint32), random.integers(0, 256, size, dtype=np.uint8))
    numbers = addresses(size // piece, piece, seed)
    different, which = np.unique(numbers, return_inverse=True)
    rows = random.integers(0, 256, (len(different), piece), dtype=np.uint8)
    return Data(numbers, rows[which].reshape(-1))


def run(memory: Dram, size: int, piece: int | None, writes: bool) -> tuple[Machine, tuple[str, ...]]:
    """Run the program that moves so many bytes, side by side or as a gather of pieces. Returns the machine, and what was wrong."""
    preset = machine_of(memory)
    sram, far = preset.region(SRAM).base, preset.region(DRAM).base + OFFSET
    source, destination = (sram, far) if writes else (far, sram)
    symbols = {"SOURCE": source, "DESTINATION": destination, "BYTES": size, "LIST": sram + size,
               "PIECE": piece or 0, "COUNT": size // (piece or size)}
    machine = Machine(preset)
    machine.load(assemble(GATHER if piece else COPY, machine=str(MACHINES / "dram.toml"), defines=symbols))
    data = data_of(size, piece)
    if piece:
        machine.memory[sram + size:sram + size + data.numbers.nbytes] = data.numbers.view(np.uint8)
        for number, row in zip(data.numbers.tolist(), data.expected.reshape(-1, piece), strict=True):
            machine.memory[source + number * piece:source + (number + 1) * piece] = row
    else:
        machine.memory[source:source + size] = data.expected
    result = machine.run()
    wrong = [] if result.exit_code == 0 else [f"the run ended by {result.reason}"]
    if not np.array_equal(machine.memory[destination:destination + size], data.expected):
        wrong.append("the bytes at the destination")
    if machine.counters["fetch.bytes"] != size:
        wrong.append(f"fetch.bytes {machine.counters['fetch.bytes']}")
    return machine, tuple(wrong)


def execute(point: Point) -> Outcome:
    """Run a point's program. Raises Inexpressible."""
    memory, currents = memory_of(point.config)
    for name, own in (("channels", memory.channels), ("burst_bytes", memory.burst_bytes)):
        if point.parameters.get(name, own) != own:
            raise Inexpressible(f"{name} {point.parameters[name]}; {point.config} has {own}")
    piece = piece_of(point.workload, memory)
    size, writes = point.size("bytes", MOST, of=piece or 1), point.workload == "stream write"
    if piece and size + 4 * (size // piece) > load_preset(MACHINES / "dram.toml").region(SRAM).size:
        raise Inexpressible(f"{size // piece} pieces of {piece} bytes; expected these and a list of them within 16 MiB")
    machine, wrong = run(memory, size, piece, writes)
    figures, events = machine.clocks[0].memory(DRAM)
    if writes:
        cycles = int(rules.released(figures, events, OFFSET, 0))
    else:
        cycles = int(rules.finish(figures, events, -1 if piece else OFFSET, 0, 0))
    bursts, opened = int(events[rules.BURSTS]), int(events[rules.OPENED])
    refreshes = cycles // (memory.tREFI // memory.ranks) * memory.channels
    moved = bursts - int(rules.posted(figures, events)) * memory.channels if writes else bursts
    energy = currents.pj(memory, opened, 0 if writes else moved, moved if writes else 0, refreshes, cycles)
    return Outcome(cycles, energy, {"bursts": bursts, "slots": int(rules.slots(events, figures)), "rows_opened": opened,
                                    "rows_opened_worst_bank": int(events[rules.WORST]), "refreshes": refreshes}, wrong)
