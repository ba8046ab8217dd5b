"""SLIM: one layer of Llama2-7B in int8, whose neurons are predicted and fetched from flash, and the GPUs that it was compared with.

One program is executed, with several masks: its predictor is made so that its guess is 0 for the neurons that a mask leaves alone.
Clocks of other machines look at the same run: processors at channels, slower and faster memory, GPUs. The time of the flash
side is that in which flash is busy; the rest is the DRAM side.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from asm.assembler import assemble
from compiler.compile import Calibrated, compile_model
from compiler.formats.weight_format import WEIGHT_FORMATS
from compiler.frontends import load, need_tokenizer
from compiler.graph import PLAIN, Executor, build
from compiler.lowering.emit import POSITION
from compiler.model.model import Config, Model, Rope, roles
from compiler.passes.calibrate import FoundTensor
from compiler.passes.predict import LEVELS, rank_of
from compiler.running.parameters import set_parameters
from emulator.machine import Machine
from isa.energy import energy_of
from isa.preset import Preset, load_preset
from isa.program import Program
from isa.registers import NUMBER
from isa.services import Host
from isa.shipped import DEMO
from isa.timing.clock import Clock
from isa.timing.what_if import what_if
from slimulator.report.plots import Axis, Dot, Line, alone
from slimulator.validate.checks import Check
from slimulator.validate.layers import AlikeTensor
from slimulator.validate.points import MACHINES

LAYERS, DIM, HIDDEN, HEADS, POSITIONS = 32, 4096, 11008, 32, 2048       # Llama2-7B
BANDWIDTHS = (25, 50, 102, 131, 200)            # GB/s inside the DRAM; with 131 both sides take the same time
POWERS = (25, 50, 150, 450)                     # W of the GPU
FREE = "flash=1000000"                          # the DRAM side alone
CHANNEL, FASTER_CHANNEL = "flash.memory=nand-slc-channel", "flash.memory=nand-slc-channel,flash.speed=2"
MS = 1e3
Mask = npt.NDArray[np.bool_]

_NOTE = "SLIM, arXiv 2507.09201 (from a third-party reading note)"


# ------------------------------------------------------------------------------------------------ masks


def balanced() -> Mask:
    """Half of the 172 neurons of each of 64 dies."""
    mask: Mask = np.arange(HIDDEN) // 64 % 2 == 0
    return mask


def random() -> Mask:
    """Half of the neurons, drawn."""
    mask = np.zeros(HIDDEN, bool)
    mask[np.random.default_rng(7).permutation(HIDDEN)[:HIDDEN // 2]] = True
    return mask


def real(text: str = "Once upon a time, there was a little girl named Lily.") -> Mask:
    """Masks of the demo model side by side: of each layer and token the half of the gates with the largest magnitude."""
    model = load(DEMO)
    found: list[Mask] = []

    def look(_layer: int | None, op: Any, results: tuple[Any, ...]) -> None:
        if op.weights == ("layer.gate",):
            size = np.abs(results[0])
            found.append(size > np.median(size))

    executor = Executor(build(model.config), model, PLAIN, observe=look)
    for token in need_tokenizer(model).encode(text):
        if sum(map(len, found)) < HIDDEN:
            executor.step(token)
    return np.concatenate(found)[:HIDDEN]


# ------------------------------------------------------------------------------------------------ a run


@dataclass(frozen=True)
class Layer:
    """What one layer takes, and for how long of it flash is busy, by clock: "" is the machine's own. joules: of events; watts: of
    standing still."""

    seconds: Mapping[str, float]
    flash: Mapping[str, float]
    joules: float
    watts: float
    counters: Mapping[str, int]
    bytes: Mapping[str, int] = field(default_factory=dict)      # of the predictor, of all other matrices

    @property
    def dram(self) -> float:
        """Seconds of the DRAM side: what the flash leaves."""
        return self.seconds[""] - self.flash[""]


def _model() -> Model:
    """One layer, all of its matrices in int8 with one scale, and a predictor of zeros and ones."""
    config = Config("made up", 64, DIM, 1, HEADS, HEADS, DIM // HEADS, HIDDEN, POSITIONS, 1e-5,
                    rope=Rope.plain(DIM // HEADS, 1e4, adjacent=True), tied=True)
    tensors: dict[str, Any] = {
        role: AlikeTensor(role, shape, WEIGHT_FORMATS["i8" if role.startswith("layers.") and len(shape) == 2 else "f32"])
        for role, shape in roles(config)}
    rank = rank_of(DIM)
    for role, shape in (("predict_in", (rank, DIM)), ("predict_out", (HIDDEN, rank))):
        tensors[f"layers.0.{role}"] = AlikeTensor(f"layers.0.{role}", shape, WEIGHT_FORMATS["i8"])
    table = np.concatenate([np.arange(LEVELS) / LEVELS, np.zeros(LEVELS)]).astype(np.float32)
    tensors["layers.0.thresholds"] = FoundTensor.of("thresholds", table, Path("made up"))
    return Model(Path("layer"), config, tensors)


class Runs:
    """The layer compiled for a machine, to be run with masks."""

    def __init__(self, machine: str, folder: Path) -> None:
        compiled = compile_model(_model(), machine=machine, kv="i8", chunk=1, sparsity=Calibrated(0.5, predictor="i8"))
        self.path, self.preset = folder / f"{machine}.elf", compiled.machine
        compiled.save(self.path)
        self._out = compiled.layout.layers_at + compiled.layout.layer["predict_out"].offset
        sizes = {role: placed.rows * placed.row_bytes for role, placed in compiled.layout.layer.items() if placed.is_matrix}
        own = sizes.pop("predict_in") + sizes.pop("predict_out")
        self.bytes = {"predictor": own, "others": sum(sizes.values())}

    def layer(self, mask: Mask, clocks: Mapping[str, Preset]) -> Layer:
        """Run the token at the last position with a mask. Raises RuntimeError if it ends early, or with other neurons."""
        program = Program.load(self.path)
        runs = Machine(self.preset, Host([1]))
        runs.load(program)
        set_parameters(runs, max_tokens=1)
        at, rank = program.address("weights") + self._out, rank_of(DIM)
        runs.memory[at:at + HIDDEN * rank] = np.repeat(mask.astype(np.uint8), rank)
        runs.clocks += [Clock(preset) for preset in clocks.values()]
        runs.breakpoints = {program.address("token")}
        runs.run()
        for clock in runs.clocks:
            clock.start(runs.counts)
        before = dict(runs.counters)
        runs.breakpoints = set()
        runs.x[NUMBER[POSITION]] = POSITIONS - 1
        result = runs.run()
        counters = {name: count - before[name] for name, count in runs.counters.items()}
        if result.reason != "exit" or result.exit_code or counters["thr.passes"] != mask.sum():
            raise RuntimeError(f"a layer ended with {result.reason} {result.exit_code} {result.trap or ''}, "
                               f"{counters['thr.passes']} of {mask.sum()} neurons")
        times = {name: clock.time(runs.counts) for name, clock in zip(("", *clocks), runs.clocks, strict=True)}
        energy = energy_of(counters, self.preset, Fraction(1))
        assert energy is not None
        return Layer({name: time.seconds for name, time in times.items()},
                     {name: time.regions["flash"] / time.clock_hz for name, time in times.items()},
                     float(sum(energy.by_event.values())), float(sum(energy.static.values())), counters, self.bytes)


@cache
def figures() -> dict[str, Layer]:
    """The layer by mask, on slim-nsp and its TLC variant; "all": every neuron, with clocks of both GPUs."""
    near = load_preset("slim-nsp")
    clocks = {text: what_if(near, text) for text in (CHANNEL, FASTER_CHANNEL)}
    slower = {f"dram {rate}": what_if(near, f"{FREE},dram.bytes_per_cycle={rate}") for rate in BANDWIDTHS}
    gpus = {name: load_preset(MACHINES / f"{name}.toml") for name in ("ssd-gpu", "dram-gpu")}
    with TemporaryDirectory() as folder:
        slc = Runs("slim-nsp", Path(folder))
        found = {"balanced": slc.layer(balanced(), clocks | slower), "random": slc.layer(random(), clocks),
                 "real": slc.layer(real(), clocks), "all": slc.layer(np.ones(HIDDEN, bool), clocks | gpus)}
        tlc = Runs("slim-nsp-tlc", Path(folder))
        found["tlc"] = tlc.layer(balanced(), {})
    return found


# ------------------------------------------------------------------------------------------------ two sequences

_SIDES = """
    .section .flash, "a"
    .balign 4096
objects: .zero HIDDEN * OBJECT
    .section .bss
    .balign 4096
matrices: .zero ROWS * DIM                  # as many bytes as the DRAM side of a layer reads
    .section .sram, "aw"
    .balign 64
codes: .zero DIM
scale: .zero 4
result: .zero 4 * ROWS
list: .zero 4 * HIDDEN / 2                  # every second run of 64 neurons: as many in each die
rows: .zero HIDDEN / 2 * OBJECT
    .section .text
_start:
    la a0, list;  li a1, HIDDEN / 2;  li a2, 0
1:  srli a3, a2, 6;  slli a3, a3, 6;  add a3, a3, a2;  sw a3, 0(a0);  addi a0, a0, 4;  addi a2, a2, 1;  bltu a2, a1, 1b
    li t0, OBJECT;  csrw fetch.row_bytes, t0
    la s0, objects;  la s1, list;  la s2, rows;  la s3, matrices;  la s4, codes;  la s5, scale;  la s6, result
    li s7, HIDDEN / 2;  li s8, ROWS;  li s9, LAYERS;  li s10, DIM;  li t2, 3
    li t1, 1;  sync.signal.fetch t1;  li t1, 2;  sync.signal.fetch t1
layer:
    li t1, 1                                # the tag of a sequence, which its objects signal
sequence:
    sync.wait.lut t1                        # what its feed-forward layer before made
    lut.build.i8 s4, s5, s10
    lut.gemv.i8 s6, s3, s5, s8              # the DRAM side: attention, projections, predictor
    sync.signal.lut t2;  sync.wait.fetch t2
    csrw fetch.tag, t1
    fetch.rows s2, s0, s1, s7               # the flash side: its active neurons
    addi t1, t1, 1;  li t0, SEQUENCES;  bgeu t0, t1, sequence
    addi s9, s9, -1;  bnez s9, layer
    sync.fence
    li a0, 0;  li a7, 93;  ecall
"""
_TURNS = 4                                  # layers that are executed: the first has nothing to overlap with


@cache
def side_by_side(sequences: int, dram_bytes: int) -> float:
    """Seconds of a layer and a sequence where so many take turns: the DRAM side of one reads `dram_bytes` while the flash side of
    another fetches. Executed on slim-nsp: tags order the two queues."""
    defines = {"HIDDEN": HIDDEN, "DIM": DIM, "OBJECT": 3 * DIM, "ROWS": -(-dram_bytes // DIM), "SEQUENCES": sequences}

    def cycles(layers: int) -> Fraction:
        runs = Machine("slim-nsp")
        runs.load(assemble(_SIDES, machine="slim-nsp", defines=defines | {"LAYERS": layers}))
        result, time = runs.run(), runs.time
        if result.reason != "exit" or result.exit_code or time is None:
            raise RuntimeError(f"two sides ended with {result.reason} {result.exit_code} {result.trap or ''}")
        return Fraction(time.cycles, time.clock_hz)

    return float((cycles(_TURNS) - cycles(1)) / ((_TURNS - 1) * sequences))


# ------------------------------------------------------------------------------------------------ rows

_EXECUTED = f"1 of {LAYERS} layers of Llama2-7B in int8, position {POSITIONS}, times {LAYERS}"
_DIES = "64 dies, one page at a time in each"
_SOLVED = "102 GB/s inside the DRAM is solved from 17.6"
_TIMES = {"ssd-gpu": 17.6, "dram-gpu": 4.3}
_TWO = "two sequences, 102 GB/s inside the DRAM: {} / SLIM"
_FASTER = "speed-up of two sequences over SSD-GPU, with {} GB/s inside the DRAM"
_PUBLISHED_SPEED = f"{_NOTE}: 17.6x SSD-GPU and 4.3x DRAM-GPU, SLC dies, half of the neurons"


def checks() -> Iterator[Check]:
    """The rows of SLIM, in order."""
    found = figures()
    even, every = found["balanced"], found["all"]
    flash = {name: MS * LAYERS * layer.flash[""] for name, layer in found.items()}
    dram = MS * LAYERS * even.dram
    step = max(dram, flash["balanced"])
    yield Check("SLIM", "the predictor's share of a layer's bytes", "%", 0, 10,
                100 * even.bytes["predictor"] / even.bytes["others"], "the file of the compiled layer", "", "",
                f"{_NOTE}: less than 10 % of the model")
    for name, said in (("balanced", "half of the neurons, as many in each die"), ("random", "half of the neurons, drawn"),
                       ("real", "half of the neurons, by the gates of the demo model")):
        yield Check("SLIM", f"flash side, {said}", "ms a token", None, None, flash[name], _EXECUTED,
                    f"{_DIES}; the busiest die counts")
    yield Check("SLIM", "flash side, TLC, half of the neurons, as many in each die", "ms a token", None, None, flash["tlc"],
                _EXECUTED.replace("layers", "layers, on slim-nsp-tlc,", 1), _DIES)
    for clock, rate in ((CHANNEL, 1.2), (FASTER_CHANNEL, 2.4)):
        yield Check("SLIM", f"processors at channels of {rate} GB/s / at dies", "times", 1.6, 5,
                    MS * LAYERS * even.flash[clock] / flash["balanced"], f"{_EXECUTED}; half of the neurons, as many in each die",
                    "the rate of the channels: ONFI", "", f"{_NOTE}: 1.6 to 5 times")
    yield Check("SLIM", "DRAM side: attention, projections, predictor", "ms a token", None, None, dram, _EXECUTED, _SOLVED)
    moved = even.counters["dram.bytes_read"]
    for count, said in ((1, "one sequence: both sides, one after the other"), (2, "two sequences: the longer side")):
        yield Check("SLIM", said, "ms a token", None, None, MS * LAYERS * side_by_side(count, moved),
                    f"the transfers of {_TURNS} layers on slim-nsp, written by hand: {moved / 1e6:.1f} MB of DRAM and half of the "
                    "neurons for each layer and sequence", _SOLVED)
    gpu = {name: MS * LAYERS * every.seconds[name] for name in ("ssd-gpu", "dram-gpu")}
    for name, rate in (("ssd-gpu", 7.88), ("dram-gpu", 31.5)):
        yield Check(name.upper(), f"feed-forward layers over {rate} GB/s", "ms a token", None, None,
                    MS * LAYERS * every.flash[name], f"{_EXECUTED}; all neurons, {name}.toml",
                    "a link that is never idle")
    for name, times in _TIMES.items():
        yield Check("SLIM", _TWO.format(name.upper()), "times", times, times,
                    gpu[name] / step, f"{_EXECUTED}; a step is the longer of both sides",
                    "a roofline for the GPU; which model is meant is not in the note", _SOLVED, _PUBLISHED_SPEED)
    for rate in BANDWIDTHS:
        side = MS * LAYERS * even.seconds[f"dram {rate}"]
        yield Check("SLIM", _FASTER.format(rate), "times", None, None,
                    gpu["ssd-gpu"] / max(side, flash["balanced"]), f"{_EXECUTED}; a step is the longer of both sides",
                    f"DRAM side {side:.1f} ms, flash side {flash['balanced']:.1f} ms")
    joules = LAYERS * even.joules + even.watts * step / MS
    both = f"{_EXECUTED}; SLIM {1e3 * joules:.0f} mJ by its events, and standing still for a step of two sequences"
    yield Check("SLIM", "power, two sequences", "W", 15, 15, MS * joules / step, both, "nearly all energies of events", "",
                f"{_NOTE}: about 15 W for the whole system")
    for watts in POWERS:
        yield Check("SLIM", f"joules of a token, a GPU of {watts} W: DRAM-GPU / SLIM", "times", 8.8, 10.3,
                    watts * gpu["dram-gpu"] / MS / joules, both, "the power of the GPU: only one that is nearly idle gives the "
                    "published ratio", "", f"{_NOTE}: 8.8 to 10.3 times the efficiency of DRAM-GPU")


# ------------------------------------------------------------------------------------------------ a picture


def picture(rows: Iterable[Mapping[str, Any]]) -> str:
    """The speed-up of two sequences by the bandwidth inside the DRAM, with the published ratios, as an SVG file.

    rows    of published systems, as `slimulator validate --json` writes them
    """
    ours = {row["what"]: row["ours"] for row in rows if row["system"] == "SLIM"}
    quotient = ours[_TWO.format("DRAM-GPU")] / ours[_TWO.format("SSD-GPU")]
    over = [(float(rate), ours[_FASTER.format(rate)]) for rate in BANDWIDTHS]
    series = {"over SSD-GPU": over, "over DRAM-GPU": [(rate, quotient * times) for rate, times in over]}
    lines = [Line(points, name) for name, points in series.items()]
    for name, times in zip(series, _TIMES.values(), strict=True):
        lines.append(Line([(0, times), (_crossing(series[name], times), times)], name, f"published {times}", dashed=True))
    dots = [Dot(rate, times, name, f"{rate:g} GB/s: {times:.1f} times {name.removeprefix('over ')}")
            for name, points in series.items() for rate, times in points]
    return alone(Axis("GB/s inside the DRAM", ticks=(0, *BANDWIDTHS)), Axis("speed-up of two sequences"), dots, lines)


def _crossing(points: list[tuple[float, float]], times: float) -> float:
    """Where a line through these points comes to `times`."""
    rates, height = zip(*points, strict=True)
    return float(np.interp(times, height, rates))
