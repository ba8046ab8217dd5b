"""The rule of banks: cycles that published simulators have for the same commands, and what must hold for any operations.

The numbers of PIMSimulator and aim_simulator were measured by running them; they are facts.
"""

from __future__ import annotations

from collections.abc import Iterator

import bank_orders as orders
import numpy as np
import pytest
from bank_orders import Channels, Operation

from isa.instruction import TABLE
from isa.preset import load_preset
from isa.regions import HBM
from isa.timing import bank_state as banks
from isa.timing.memories import MEMORIES, PimDram
from isa.units.pim.kinds import KINDS, PLACES

FIRST = 1           # PIMSimulator brings the first request to its command queue in a cycle of its own
BEHIND = 2          # aim_simulator: a cycle to decode the first form, and one to see that all is done


def _error(ours: int, published: int) -> float:
    return abs(ours - published) / published


# ------------------------------------------------------------------------------------------------ published cycles

GEMV = [(4096, 128, 1, 750), (4096, 256, 1, 1138), (4096, 384, 1, 1479), (4096, 512, 1, 1867), (8192, 128, 1, 1169),
        (8192, 256, 1, 1945), (12288, 256, 1, 3125), (4096, 768, 1, 2934), (8192, 512, 1, 3767), (4096, 1024, 1, 3662),
        (6400, 1000, 1, 7037), (4096, 1024, 4, 13389), (4096, 4096, 1, 13166)]
ELEMENTWISE = [(262144, 2, 1053), (524288, 2, 1697), (1048576, 2, 3349), (2097152, 2, 5926), (131072, 1, 613), (393216, 1, 1021),
               (524288, 1, 1225), (2097152, 1, 4037), (8388608, 1, 14906)]


@pytest.mark.parametrize(("outputs", "inputs", "batch", "cycles"), GEMV)
def test_pim_simulators_gemv(outputs: int, inputs: int, batch: int, cycles: int) -> None:
    assert _error(Channels("hbm2-pim", FIRST).total(orders.gemv(outputs, inputs, batch)), cycles) < 0.003


@pytest.mark.parametrize(("elements", "sources", "cycles"), ELEMENTWISE)
def test_pim_simulators_elementwise(elements: int, sources: int, cycles: int) -> None:
    assert _error(Channels("hbm2-pim", FIRST).total(orders.elementwise(elements, sources)), cycles) < 0.003


AIM: dict[str, tuple[Iterator[Operation], int]] = {
    "gemv 512x64":            (orders.aim_gemv(512, 64), 174),
    "gemv 512x1024":          (orders.aim_gemv(512, 1024), 414),
    "gemv 1000x1000":         (orders.aim_gemv(1000, 1000), 694),
    "gemv 2048x80":           (orders.aim_gemv(2048, 80), 682),
    "gemv 3072x768":          (orders.aim_gemv(3072, 768), 1620),
    "gemv 4096x1024":         (orders.aim_gemv(4096, 1024), 2416),
    "gemv 4096x4096":         (orders.aim_gemv(4096, 4096), 13056),
    "gemv 32000x2048":        (orders.aim_gemv(32000, 2048), 51660),
    "mac_abk, rows":          (orders.forms("pim.mac_abk.f16", range(128), opsize=64), 28887),
    "mac_abk, a row":         (orders.forms("pim.mac_abk.f16", range(1), opsize=8192), 16441),
    "ewmul":                  (orders.forms("pim.ewmul.f16", range(64), opsize=16), 7996),
    "wr_bias":                (orders.forms("pim.wr_bias.f16", range(128)), 291),
    "wr_gb":                  (orders.forms("pim.wr_gb", range(32), opsize=64), 4131),
    "bias mac af rd_af":      (orders.activations(64, 64), 26560),
    "bias mac af rd_af, 32":  (orders.activations(32, 16), 5616),
    "copies":                 (orders.copies(32), 19874),
    "mac_sbk":                (orders.macs_in_banks(64, 4), 13250),
    "wr_abk":                 (orders.forms("pim.wr_abk", range(128)), 12897),
}


@pytest.mark.parametrize("name", AIM)
def test_aim_simulator(name: str) -> None:
    operations, cycles = AIM[name]
    assert Channels("gddr6-aim").total(operations) + BEHIND == cycles


# ------------------------------------------------------------------------------------------------ tables


def test_every_pim_instruction_has_a_place_and_operands_of_that_name() -> None:
    rows = {row.mnemonic: row for row in TABLE.values() if row.unit == "pim"}
    assert set(PLACES) == set(rows)
    for name, place in PLACES.items():
        operands = {operand.name for operand in rows[name].operands}
        assert {place.bank, place.row, place.columns} - {""} <= operands, name
        assert place.kind in KINDS
    assert {place.kind for place in PLACES.values()} == set(KINDS)


def test_machines_with_banks_name_a_memory_with_the_figures_of_the_rule() -> None:
    for name in ("hbm2-pim", "gddr6-aim", "hpim"):
        memory = load_preset(name).memory(HBM)
        assert isinstance(memory, PimDram) and MEMORIES[memory.name].latency_ps() == memory.latency_ps()
        assert [name for name, _, _ in memory.figures()][-len(banks.FIGURES):] == list(banks.FIGURES)


# ------------------------------------------------------------------------------------------------ what holds for any operations


def test_a_run_of_columns_takes_as_long_as_its_columns_one_by_one() -> None:
    for refresh in (0, 1000):
        run, single = (Channels("gddr6-aim", tREFI=refresh, tREFI_FIRST=700, tRFC=210, tRTP=2) for _ in range(2))
        for length in (1, 64, 7, 64, 64, 33):
            ends = [single.ask("pim.mac_abk.f16", row=5, opsize=1) for _ in range(length)]
            assert run.ask("pim.mac_abk.f16", row=5, opsize=length) == ends[-1]


def test_a_run_across_many_refreshes_loses_the_same_for_each() -> None:
    run, single = (Channels("gddr6-aim", tREFI=1000, tREFI_FIRST=700, tRFC=210, tRTP=2) for _ in range(2))
    ends = [single.ask("pim.mac_abk.f16", row=5, opsize=1) for _ in range(5000)]
    assert run.ask("pim.mac_abk.f16", row=5, opsize=5000) == ends[-1]


def test_channels_with_different_pasts_are_timed_alone_and_joined_when_alike() -> None:
    """Against a rule for each channel by itself, whose operations begin when all selected channels are free."""
    random = np.random.default_rng(5)
    together = Channels("gddr6-aim")
    alone = [Channels("gddr6-aim") for _ in range(4)]
    for name, values in orders.random_operations(random, 300):
        mask = int(random.integers(1, 16)) if random.random() < 0.5 else 15
        if PLACES[name].every_channel:
            mask = 15
        selected = [channel for i, channel in enumerate(alone) if mask >> i & 1]
        start = int(together.state[banks.BEGAN])
        end = together.ask(name, mask, start, **values)
        began = int(together.state[banks.BEGAN])
        ends = [channel.ask(name, 1, began, **values) for channel in selected]
        assert [int(channel.state[banks.BEGAN]) for channel in selected] == [began] * len(selected)
        assert end == max(ends)
        for channel in alone:                           # a form that holds the host holds it for all
            channel.state[banks.HELD] = together.state[banks.HELD]
    for row in range(3):                                # long afterwards, alike again: one set, and the 28 channels never used
        together.ask("pim.mac_abk.f16", 15, 10**6 + 10**4 * row, row=row, opsize=64)
    assert together.state[banks.SETS] == 2


def test_operations_on_other_channels_overlap() -> None:
    channels = Channels("gddr6-aim")
    first = channels.ask("pim.mac_abk.f16", 1, 0, row=0, opsize=64)
    other = channels.ask("pim.mac_abk.f16", 2, 0, row=0, opsize=64)
    both = channels.ask("pim.mac_abk.f16", 3, 0, row=0, opsize=64)
    assert first == other < both == first + 2 * 64


def test_operations_that_come_late_find_the_refresh_done() -> None:
    busy, late = Channels("hbm2-pim"), Channels("hbm2-pim")
    for channels in (busy, late):
        channels.ask("pim.act", 1, 0, bank=0, row=7)
    free = busy.ask("pim.rd", 1, 1000, bank=0)
    assert free == 1000 + 20 + 2
    assert late.ask("pim.rd", 1, 10**6, bank=0) == 10**6 + 14 + 20 + 2          # opened again: a refresh has closed the row
    due = 1950 + 3900 * 5
    assert busy.ask("pim.rd", 1, due, bank=0) == due + 1 + 350 + 14 + 20 + 2    # just when it is due: behind it


def test_a_register_row_closes_the_row_of_its_bank_and_what_was_open_is_opened_again() -> None:
    channels = Channels("hbm2-pim", tREFI=0)
    channels.ask("pim.mode.hab", 1, 0)
    channels.ask("pim.act.hab", 1, 1000, parity=1, row=3)
    assert channels.ask("pim.rd.pim", 1, 1000, parity=1) == 1000 + 14 + 22
    last = channels.ask("pim.wr.grf_a", 1, 1001, index=0) - 10                  # tRAS, tRP, tRCDWR: the row is closed before
    assert last == 1000 + 33 + 14 + 10
    assert channels.ask("pim.rd.pim", 1, 1002, parity=1) == last + 26 + 14 + 14 + 22
    assert channels.ask("pim.rd.pim", 1, 1002, parity=1) == last + 26 + 14 + 14 + 22 + 4


def test_banks_one_by_one_then_all_then_one_by_one() -> None:
    channels = Channels("gddr6-aim")
    channels.ask("pim.mac_sbk.f16", 1, 0, bank=3, row=1, opsize=4)
    same = channels.ask("pim.mac_abk.f16", 1, 1000, row=1, opsize=1)            # the others are opened, bank 3 has the row
    assert same == 1000 + 56 + 1
    other = channels.ask("pim.mac_sbk.f16", 1, 2000, bank=9, row=2, opsize=1)   # only bank 9 changes its row
    assert other == 2000 + 32 + 1 - 1 + 56 + 1
    assert channels.ask("pim.mac_sbk.f16", 1, 3000, bank=8, row=1, opsize=1) == 3001
    assert channels.ask("pim.mac_abk.f16", 1, 4000, row=1, opsize=1) == 4000 + 32 + 56 + 1


def test_four_rows_are_opened_in_a_window() -> None:
    channels = Channels("hbm2-pim", tREFI=0, tXAW=100)
    ends = [channels.ask("pim.act", 1, 1000, bank=bank, row=1) for bank in (0, 4, 8, 12, 1, 5, 9, 13, 2)]
    opened = [end - 1 - 1000 for end in ends]
    assert opened == [0, 4, 8, 12, 100, 104, 108, 112, 200]


def test_a_refresh_comes_behind_a_precharge_of_each_open_bank() -> None:
    for count in (1, 2, 8):
        channels, due = Channels("hbm2-pim"), 1950 + 3900 * 5
        for bank in range(count):
            channels.ask("pim.act", 1, due - 1000 + 20 * bank, bank=bank, row=7)
        assert channels.ask("pim.rd", 1, due, bank=0) == due + count + 350 + 14 + 20 + 2
