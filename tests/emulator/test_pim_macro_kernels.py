"""pim macro forms: kernels against meanings, bit by bit, over mappings, odd sizes, special values, states of the banks.

Regular operands must never be left to the reference engine (Pair.run sees to it).
"""

import re
from functools import cache
from inspect import signature
from math import prod

import numba as nb
import numpy as np
import pytest
from both_engines import HBM, SMALL, SRAM, Pair

from emulator.units.pim import macs
from emulator.units.pim.processors import BF16, F16, I8
from isa.preset import Preset, preset_of

pytestmark = pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")      # test data overflows on purpose
OUT = SRAM + 0x8000


def machine(**banks) -> Preset:
    """SMALL with other banks."""
    data = SMALL.file.model_dump(exclude_none=True)
    data["region"]["hbm"]["size"]["value"] = prod(banks[name] for name in ("channels", "banks", "rows", "columns")) * 32
    for name, value in banks.items():
        data["unit"]["pim"]["parameters"][name]["value"] = value
    return preset_of(data)


# Columns of a row in one piece; in pieces of 8; one by one; banks that are not groups of four; bank groups that are too small for
# element-wise products.
MACHINES = {
    "whole":  machine(channels=4, bank_groups=1, banks=4, rows=4, columns=32, blocks=4, mapping="row bank channel column"),
    "pieces": SMALL,
    "apart":  machine(channels=2, bank_groups=2, banks=8, rows=4, columns=32, blocks=8, mapping="row column bank channel"),
    "odd":    machine(channels=2, bank_groups=2, banks=6, rows=4, columns=32, blocks=3, mapping="row channel bank column"),
    "pairs":  machine(channels=4, bank_groups=2, banks=4, rows=8, columns=16, blocks=4, mapping="channel bank row column"),
}


@cache
def pair_of(name: str) -> Pair:
    return Pair(MACHINES[name])


@pytest.fixture(params=MACHINES)
def pair(request) -> Pair:
    pair = pair_of(request.param)
    pair.fresh()
    return pair


def numbers(random, form: str, n: int) -> np.ndarray:
    """Weights as bytes: int8 of all sizes, 16-bit numbers most of them near 1 and some of any kind."""
    if form == "i8":
        return random.integers(0, 256, n * 2, np.uint8)
    plain = random.standard_normal(n, np.float32)
    bits = plain.astype(np.float16).view(np.uint16) if form == "f16" else (plain.view(np.uint32) >> 16).astype(np.uint16)
    return np.where(random.random(n) < 0.02, random.integers(0, 1 << 16, n, np.uint16), bits).view(np.uint8)


def start(pair: Pair, form: str, seed: int, masks: int) -> np.random.Generator:
    """Banks full of numbers, buffers and accumulators too, some rows open."""
    random = np.random.default_rng(seed)
    pair.place(HBM, numbers(random, form, pair.reference.preset.region("hbm").size // 2))
    reference = pair.reference.state
    pair.start_state = {
        "pim.global_buffer": numbers(random, form, len(reference["pim.global_buffer"]) // 2),
        "pim.open_row": random.integers(-1, 3, len(reference["pim.open_row"]), np.int32),
        "pim.accumulators": random.integers(0, 1 << 32, len(reference["pim.accumulators"]), np.uint32),
        "pim.af_tables": numbers(random, form, 8 * 1024).view(np.uint16),
    }
    if form == "bf16":
        words = random.standard_normal(len(reference["pim.accumulators"]), np.float32)
        pair.start_state["pim.accumulators"] = words.view(np.uint32)
    if form == "f16":
        pair.start_state["pim.accumulators"] &= np.uint32(0xFFFF_3FFF)
    pair.set(pim__channel_mask=masks)
    return random


@pytest.mark.parametrize("form", ["f16", "bf16", "i8"])
@pytest.mark.parametrize("masks", [1, 2, 3])
def test_macs(pair, form, masks):
    columns = pair.reference.preset.banks.columns
    for seed, opsize in enumerate((1, 2, 3, 7, 8, columns - 1, columns)):
        random = start(pair, form, seed, masks)
        first, second = random.integers(0, columns - opsize + 1, 2).tolist()
        pair.set(pim__column=first, pim__buffer_column=second)
        pair.run(f"pim.mac_abk.{form}", opsize=opsize, row=seed % 4)
        pair.run(f"pim.mac_sbk.{form}", opsize=opsize, bank=seed % pair.reference.preset.banks.banks, row=1)
        pair.set(pim__next_bank=1, pim__buffer_column=columns)
        pair.run(f"pim.mac_abk.{form}", opsize=opsize, row=seed % 4)
        pair.run(f"pim.mac_sbk.{form}", opsize=opsize, bank=-seed % pair.reference.preset.banks.banks, row=2)
        pair.set(pim__next_bank=0)
        pair.fresh()


@pytest.mark.parametrize("form", ["f16", "bf16", "i8"])
@pytest.mark.parametrize("mapping", ["row bank channel column", "row column bank channel"])
def test_macs_of_rows_longer_than_the_kernels_pieces(form, mapping):
    pair = Pair(machine(channels=2, bank_groups=1, banks=5, rows=4, columns=160, blocks=5, mapping=mapping))
    for opsize in (64, 65, 129, 160):
        start(pair, form, opsize, 3)
        for next_bank in (0, 1):
            pair.set(pim__next_bank=next_bank)
            pair.run(f"pim.mac_abk.{form}", opsize=opsize, row=3)
        pair.fresh()


@pytest.mark.parametrize("function", [macs.some_macs, macs.some_macs_of_pairs])
@pytest.mark.parametrize("form", [F16, BF16, I8])
def test_adding_to_accumulators_cannot_fail_when_it_has_begun(function, form):
    """A kernel that gives up is done once more by the reference engine: so what adds up may take no memory from the heap."""
    others = [nb.int64] * (len(signature(function.py_func).parameters) - 4)
    kinds = (nb.int64, nb.int64, nb.types.IntegerLiteral(form), *others, nb.boolean)
    function.compile(kinds)
    assert not re.search("NRT_(Allocate|MemInfo_alloc)", function.inspect_llvm(kinds))


@pytest.mark.parametrize("form", ["f16", "bf16", "i8"])
def test_into_and_out_of_accumulators(pair, form):
    start(pair, form, 1, 3)
    count = 2 * pair.reference.preset.banks.banks
    bias = pair.put(np.random.default_rng(2).integers(0, 256, 4 * count, np.uint8))
    pair.run(f"pim.wr_bias.{form}", bias=bias)
    pair.run(f"pim.rd_mac.{form}", dst=OUT)
    pair.run(f"pim.rd_mac.{form}", dst=OUT + 1)
    pair.run(f"pim.rd_mac.{form}", dst=0x100)


@pytest.mark.parametrize("form", ["f16", "bf16"])
def test_activations(pair, form):
    for seed in range(8):
        start(pair, form, seed, 3)
        pair.run(f"pim.af.{form}", mode=seed)
        pair.fresh()
    random = start(pair, form, 1, 2)
    pair.start_state["pim.af_results"] = random.integers(0, 1 << 16, len(pair.reference.state["pim.af_results"]), np.uint16)
    pair.run("pim.rd_af", dst=OUT)
    pair.run("pim.wr_aflut", table=HBM + 2048, mode=7)
    pair.run("pim.wr_aflut", table=HBM + 2048, mode=8)


@pytest.mark.parametrize("masks", [1, 2, 3])
def test_columns_and_buffers(pair, masks):
    organisation = pair.reference.preset.banks
    random = start(pair, "i8", 3, masks)
    x = pair.put(random.integers(0, 256, 1024, np.uint8), gap=3)
    for first, second, opsize in ((0, 0, organisation.columns), (3, 5, 7), (organisation.columns - 1, 0, 1)):
        pair.set(pim__column=first, pim__buffer_column=second)
        pair.run("pim.wr_gb", x=x, opsize=opsize)
        pair.run("pim.copy_bkgb", opsize=opsize, bank=1, row=2)
        pair.run("pim.copy_gbbk", opsize=opsize, bank=2, row=3)
        pair.run("pim.wr_sbk", x=x, bank=0, row=1)
        pair.run("pim.wr_abk", x=x, row=1)
        pair.run("pim.rd_sbk", dst=OUT + 1, bank=2, row=0)
    for dst in range(HBM, HBM + 4096, 32):                  # where the columns may lie that are read
        pair.run("pim.rd_sbk", dst=dst, bank=0, row=0, inline=False)
        pair.run("pim.wr_abk", x=dst + 5, row=0)


@pytest.mark.parametrize("form", ["f16", "bf16"])
def test_element_wise(pair, form):
    random = start(pair, form, 4, 3)
    groups_of = pair.reference.preset.banks.banks // pair.reference.preset.banks.bank_groups
    for mask in ((1 << 64) - 1, 1, 2, 0):
        pair.set(pim__group_mask=mask)
        done = pair.run(f"pim.ewmul.{form}", opsize=5, row=2)
        assert (done.trap is None) == (groups_of >= 3 and mask & (1 << pair.reference.preset.banks.bank_groups) - 1 != 0)
    y, x = (pair.put(numbers(random, form, 512)) for _ in range(2))
    for opsize in (0, 1, 2, 31):
        pair.run(f"pim.ewadd.{form}", y=y, x=x, opsize=opsize)
        pair.run(f"pim.ewadd.{form}", y=y, x=y, opsize=opsize)
        pair.run(f"pim.ewadd.{form}", y=y, x=y + 16, opsize=opsize, inline=False)


def test_states_that_forbid(pair):
    for form in ("f16", "i8"):
        start(pair, form, 5, 3)
        pair.start_state["pim.mode"] = np.array([0, 1], np.uint8)
        assert pair.run(f"pim.mac_abk.{form}", opsize=1, row=0).trap is not None
        pair.start_state["pim.mode"] = np.array([0, 0], np.uint8)
        for operands in ({"opsize": 0, "row": 0}, {"opsize": 33, "row": 0}, {"opsize": 1, "row": 99}, {"opsize": 1, "row": -1}):
            assert pair.run(f"pim.mac_abk.{form}", **operands).trap is not None
        assert pair.run(f"pim.mac_sbk.{form}", opsize=1, bank=99, row=0).trap is not None
        pair.set(pim__column=1 << 63)
        assert pair.run(f"pim.mac_abk.{form}", opsize=1, row=0).trap is not None
        pair.set(pim__column=0, pim__channel_mask=0)
        assert pair.run(f"pim.mac_abk.{form}", opsize=1, row=0).trap is not None
        pair.set(pim__channel_mask=1, pim__channel_mask3=1)
        assert pair.run(f"pim.mac_abk.{form}", opsize=1, row=0).trap is not None
        pair.fresh()
