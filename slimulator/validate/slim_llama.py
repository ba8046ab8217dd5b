"""Slim-Llama: the time of a token by how the weights are stored, and operations a second by how many of them are zero."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import comb
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from asm.assembler import assemble
from compiler.formats.recipe import Choice, Recipe
from compiler.formats.reuse import BUFFERED, COLUMNS
from compiler.formats.weight_format import WEIGHT_FORMATS
from compiler.measuring.shapes import SHAPES
from emulator.machine import Machine
from isa.numbers import FORMATS
from isa.preset import PRESETS, load_preset
from isa.regions import SRAM
from slimulator.validate.checks import Check
from slimulator.validate.layers import llama, token

MS = 1e3
_PAPER = "ISSCC 2025 paper 23.9 as published by KAIST and the press"
_ISSCC = f"{_PAPER}: 3 B parameters, 489 ms at 200 MHz and 1.6 GB/s"
_LINK = "what the link takes for {bits} a weight; table set-up and SRAM width of slim-llama"
_LAYERS, _DIM, _HIDDEN, _HEADS = 26, 3200, 7752, 32         # the shape 3b, a little narrower, so that it has 3.000e9 weights
_WEIGHTS = _LAYERS * (4 * _DIM * _DIM + 3 * _DIM * _HIDDEN)

# (what is stored, its bits; format of the checkpoint, of the program; columns of a piece; ms that were published)
_STORED = (
    ("ternary, two bits",                               "two bits",   "t2", "t2", 0,       489),
    ("binary, --reuse: differences of two bits",        "two bits",   "b1", "b1", COLUMNS, 489),
    ("binary, one bit",                                 "a bit",      "b1", "b1", 0,       None),
    ("ternary, base 3",                                 "1.6 bits",   "t2", "t5", 0,       None),
    ("ternary, --reuse: differences of three bits",     "three bits", "t2", "t2", COLUMNS, None),
)


def times() -> Iterator[Check]:
    """The time of a token of a Llama of 3.0e9 weights, by how they are stored; then of the shape 3b, which has more and a head."""
    for what, bits, form, stored, columns, published in _STORED:
        recipe = Recipe(Choice(WEIGHT_FORMATS[stored]), Choice(WEIGHT_FORMATS["i8"]), reuse=columns)
        one = token(llama(_DIM, _HIDDEN, _HEADS, form=form), "slim-llama", recipe)
        known = _LINK.format(bits=bits) + (", and a byte for each piece" if columns else "")
        yield Check("Slim-Llama", f"{_WEIGHTS / 1e9:.3f}e9 weights, {what}", "ms a token", published, published,
                    MS * _LAYERS * one.layer,
                    f"1 of {_LAYERS} layers of a Llama, {_DIM} x {_HIDDEN}, times {_LAYERS}, without a head", known, "",
                    _ISSCC if published else "")
    layers, dim, hidden, heads, vocab = SHAPES["3b"]
    with TemporaryDirectory() as folder:
        one = token(llama(dim, hidden, heads, vocab), str(_with_activations(hidden, Path(folder))),
                    Recipe(Choice(WEIGHT_FORMATS["t2"]), Choice(WEIGHT_FORMATS["i8"])))
    weights = layers * (4 * dim * dim + 3 * dim * hidden)
    yield Check("Slim-Llama", f"the shape 3b: {weights / 1e9:.2f}e9 weights, and a head of {vocab * dim / 1e6:.0f}e6 in int8",
                "ms a token", None, None, MS * (layers * one.layer + one.outside),
                f"1 of {layers} layers times {layers}, and the head",
                f"{_LINK.format(bits='two bits')}; a copy of slim-llama with {hidden:,} activations")


def _with_activations(count: int, folder: Path) -> Path:
    """A copy of slim-llama whose look-up tables hold so many activations."""
    text = (PRESETS / "slim-llama.toml").read_text(encoding="utf-8")
    changed = re.sub(r"^(parameters\.activations = { value = )\d+", rf"\g<1>{count}", text, count=1, flags=re.MULTILINE)
    path = folder / "slim-llama-wide.toml"
    path.write_text(changed.replace('name = "slim-llama"', f'name = "{path.stem}"', 1), encoding="utf-8")
    return path


# ------------------------------------------------------------------------------------------------ operations a second

_PRODUCT = """
.text
_start:
    li a0, SRAM
    li a1, SCALE
    li a2, COLUMNS
    csrwi lut.mode, 1
    lut.build.i8 a0, a1, a2
    li a0, SUMS
    li a1, WEIGHTS
    li a2, ROWS
    lut.mac.t2 a0, a1, a2
    sync.fence
    li a0, 0
    li a7, 93
    ecall
"""
_ROWS, _COLUMNS, _GROUP = 512, 2048, 8


def macs_of_a_step(zeros: float) -> float:
    """MACs that a step of buffer mode is expected to do: groups of eight, two weights that are not zero a step."""
    steps = sum(comb(_GROUP, n) * (1 - zeros) ** n * zeros ** (_GROUP - n) * -(-n // 2) for n in range(_GROUP + 1))
    return _GROUP / steps


def operations() -> Iterator[Check]:
    """Operations a second of random ternary matrices in buffer mode."""
    rng = np.random.default_rng(1)
    signs = rng.choice(np.array([-1, 1], np.int8), (_ROWS, _COLUMNS))
    some = signs * (rng.random(signs.shape) >= BUFFERED)
    two = signs * (np.argsort(rng.random((_ROWS, _COLUMNS // _GROUP, _GROUP)), axis=2) < 2).reshape(signs.shape)
    executed = f"a product of {_ROWS} x {_COLUMNS} random ternary weights in SRAM, {{what}}, in buffer mode: MACs a step"
    for matrix, what, published, known in (
            (some, f"{100 * BUFFERED:.0f} % zeros", 4.92,
             f"binomial: {macs_of_a_step(BUFFERED):.3f} MACs a step. 4.92 is 3 a step of 4,096 S-LUTs at 200 MHz"),
            (two, "six of eight zero", 13.1, "13.1 is 8 a step: two reads are all that a group of eight weights needs")):
        yield Check("Slim-Llama", f"operations, {what}", "TOPS", published, published, _tops(matrix), executed.format(what=what),
                    known, "4,096 S-LUTs: with 3 MACs a step they make the published 4.92", f"{_PAPER}; quantspar has 4.92 to 13.1")


def _tops(matrix: npt.NDArray[np.int8]) -> float:
    """Tera-operations a second if every S-LUT has a step in each cycle, two for a MAC."""
    preset = load_preset("slim-llama")
    at = preset.region(SRAM).base
    places = {"SRAM": at, "SCALE": at + _COLUMNS, "SUMS": at + _COLUMNS + 64, "WEIGHTS": at + _COLUMNS + 64 + 4 * _ROWS}
    machine = Machine(preset)
    machine.load(assemble(_PRODUCT, machine=preset, defines={**places, "ROWS": _ROWS, "COLUMNS": _COLUMNS}))
    packed = FORMATS["t2"].pack(matrix).reshape(-1)
    machine.peek(places["WEIGHTS"], len(packed))[:] = packed
    result = machine.run()
    if result.reason != "exit" or result.exit_code:
        raise RuntimeError(f"a product on slim-llama ended with {result.reason} {result.exit_code} {result.trap or ''}")
    assert preset.rates is not None and preset.clock_hz is not None
    steps = preset.rates["lut.steps_per_cycle"] * preset.parameter("lut.cores") * preset.clock_hz
    return float(2 * machine.counters["lut.macs"] / machine.counters["lut.steps"] * steps / 1e12)


def checks() -> Iterator[Check]:
    """All rows, in order."""
    yield from times()
    yield from operations()
