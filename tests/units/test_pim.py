"""pim, level 1: bank commands and modes. Micro-programs are tested in test_pim_microprograms.py."""

import numpy as np
import pytest
from unit_bench import Bench, refused

from isa.traps import Cause

BASE = 0x20_0000_0000
ILLEGAL = Cause.ILLEGAL_OPERAND


def rows(bench):
    """Open row of each bank: (channels, banks)."""
    return bench.m.state["pim.open_row"].reshape(-1, bench.m.preset.banks.banks)


def place(channel, bank, row, column):
    """Linear address on `slim`: row | bank | channel | column | 32 bytes, with 16 banks, 64 channels, 32 columns."""
    return BASE + ((((row * 16 + bank) * 64 + channel) * 32 + column) << 5)


def data(count=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, count, np.uint8)


def test_banks_start_closed_in_single_bank_mode():
    bench = Bench()
    assert np.all(rows(bench) == -1)
    assert np.all(bench.m.state["pim.mode"] == 0)


def test_a_row_is_opened_in_the_selected_channels_and_closed():
    bench = Bench()
    bench.set(pim__channel_mask=0b101)
    assert bench.run("pim.act", bank=3, row=100).counts == {
        "core.instructions": 1, "pim.ops": 1, "pim.activations": 2, "pim.any_opening": 1}
    assert np.argwhere(rows(bench) == 100).tolist() == [[0, 3], [2, 3]]
    assert "bank 3 of channel 0 has row 100 open" in refused(ILLEGAL, bench, "pim.act", bank=3, row=7)
    bench.set(pim__channel_mask=0b001)
    assert bench.run("pim.pre", bank=3).counts["pim.precharges"] == 1
    assert bench.run("pim.pre", bank=3).counts.get("pim.precharges", 0) == 0        # nothing was open
    assert np.argwhere(rows(bench) == 100).tolist() == [[2, 3]]


def test_all_banks_at_once():
    bench = Bench()
    assert bench.run("pim.act.ab", row=5).counts["pim.activations"] == 16
    assert rows(bench)[0].tolist() == [5] * 16
    refused(ILLEGAL, bench, "pim.act.ab", row=5)
    assert bench.run("pim.pre.ab").counts["pim.precharges"] == 16
    assert np.all(rows(bench) == -1)


def test_a_written_column_is_where_the_mapping_says_and_is_read_back():
    bench, burst = Bench(), data()
    src, dst = bench.put(burst), bench.put(np.zeros(64, np.uint8))
    bench.set(pim__channel_mask=0b10010)                                            # channels 1 and 4
    bench.run("pim.act", bank=9, row=300)
    assert bench.run("pim.wr", src=src, bank=9, column=17).counts == {
        "core.instructions": 1, "pim.ops": 1, "pim.write_commands": 2, "pim.columns_written": 2, "pim.row_hits": 2,
        "pim.bytes_entered": 64, "pim.slots": 1, "sram.bytes_read": 32}
    for channel in (1, 4):
        assert np.array_equal(bench.get(place(channel, 9, 300, 17), "u1", 32), burst)
    assert not bench.get(place(0, 9, 300, 17), "u1", 32).any()
    bench.m.peek(place(4, 9, 300, 17), 1)[0] ^= 0xFF                                # a linear store to one of them
    assert bench.run("pim.rd", dst=dst, bank=9, column=17).counts == {
        "core.instructions": 1, "pim.ops": 1, "pim.read_commands": 2, "pim.columns_read": 2, "pim.row_hits": 2,
        "pim.bytes_left": 64, "pim.slots": 1, "sram.bytes_written": 64}
    expected = np.concatenate([burst, burst])
    expected[32] ^= 0xFF
    assert np.array_equal(bench.get(dst, "u1", 64), expected)


@pytest.mark.parametrize(("mnemonic", "operands", "says"), [
    ("pim.act", {"bank": 16, "row": 0}, "bank 16; slim has banks 0..15"),
    ("pim.act", {"bank": 0, "row": 32768}, "row 32768; slim has rows 0..32767"),
    ("pim.act", {"bank": (1 << 64) - 1, "row": 0}, "bank 18446744073709551615; slim has banks"),
    ("pim.act.ab", {"row": 1 << 40}, "row 1099511627776; slim has rows"),
    ("pim.pre", {"bank": 99}, "bank 99"),
    ("pim.rd", {"dst": 0x1000_0000, "bank": 0, "column": 0}, "bank 0 of channel 0 has no open row; pim.rd needs one: activate it"),
    ("pim.wr", {"src": 0x1000_0000, "bank": 5, "column": 0}, "bank 5 of channel 0 has no open row; pim.wr needs one"),
    ("pim.act.hab", {"parity": 0, "row": 0}, "channel 0 is in mode SB; pim.act.hab needs HAB or HAB_PIM"),
    ("pim.pre.hab", {"parity": 0}, "channel 0 is in mode SB; pim.pre.hab needs HAB or HAB_PIM"),
    ("pim.wr.hab", {"src": 0x1000_0000, "parity": 0, "column": 0}, "channel 0 is in mode SB; pim.wr.hab needs HAB"),
    ("pim.mode.hab_pim", {"zeroed": 0}, "channel 0 is in mode SB; pim.mode.hab_pim needs HAB"),
])
def test_commands_that_the_state_forbids(mnemonic, operands, says):
    assert says in refused(ILLEGAL, Bench(), mnemonic, **operands)


def test_column_and_parity_out_of_range():
    bench = Bench()
    bench.run("pim.act", bank=0, row=0)
    assert refused(ILLEGAL, bench, "pim.rd", dst=0x1000_0000, bank=0, column=32) == "column 32; slim has columns 0..31"
    bench.run("pim.pre.ab")
    bench.run("pim.mode.hab")
    assert "parity 2; slim has 2 banks for each block: expected 0, the even ones, or 1" in refused(
        ILLEGAL, bench, "pim.act.hab", parity=2, row=0)
    bench = Bench("hbm3-pim")
    bench.run("pim.mode.hab")
    assert "parity 1; hbm3-pim has 1 banks for each block: expected 0" in refused(ILLEGAL, bench, "pim.act.hab", parity=1, row=0)


def test_channels_out_of_range_and_no_channel():
    bench = Bench()
    bench.set(pim__channel_mask=0)
    assert "no channel is selected" in refused(ILLEGAL, bench, "pim.pre.ab")
    bench.set(pim__channel_mask=1, pim__channel_mask1=2)
    assert refused(ILLEGAL, bench, "pim.pre.ab") == "channel 65 is selected; slim has channels 0..63"


def test_operands_outside_memory_and_ports():
    bench = Bench()
    bench.run("pim.act", bank=0, row=0)
    refused(Cause.LOAD_ACCESS, bench, "pim.wr", src=8, bank=0, column=0)
    refused(Cause.PORT, bench, "pim.wr", src=0x0200_0000, bank=0, column=0)
    refused(Cause.STORE_ACCESS, bench, "pim.rd", dst=0x10_0000_0000, bank=0, column=0)


# ------------------------------------------------------------------------------------------------ HAB


@pytest.mark.parametrize("parity", [0, 1])
def test_a_write_in_hab_reaches_all_even_or_all_odd_banks(parity):
    bench, burst = Bench(), data()
    src = bench.put(burst)
    bench.run("pim.mode.hab")
    assert bench.run("pim.act.hab", parity=parity, row=7).counts["pim.activations"] == 8
    assert rows(bench)[0].tolist() == [7 if bank % 2 == parity else -1 for bank in range(16)]
    assert bench.run("pim.wr.hab", src=src, parity=parity, column=2).counts == {
        "core.instructions": 1, "pim.ops": 1, "pim.write_commands": 1, "pim.columns_written": 8, "pim.row_hits": 8,
        "pim.bytes_entered": 32, "pim.broadcasts": 1, "pim.slots": 1, "sram.bytes_read": 32}
    for bank in range(16):
        assert np.array_equal(bench.get(place(0, bank, 7, 2), "u1", 32), burst if bank % 2 == parity else np.zeros(32, np.uint8))
    assert bench.run("pim.pre.hab", parity=parity).counts["pim.precharges"] == 8
    assert "bank 1 of channel 0 has no open row" in refused(ILLEGAL, bench, "pim.wr.hab", src=src, parity=1, column=2)


# What may follow in which mode: the mode afterwards, None for a trap. All banks are closed.
MODES = {"SB":      {"pim.mode.sb": None, "pim.mode.hab": "HAB", "pim.mode.hab_pim": None},
         "HAB":     {"pim.mode.sb": "SB", "pim.mode.hab": None,  "pim.mode.hab_pim": "HAB_PIM"},
         "HAB_PIM": {"pim.mode.sb": None, "pim.mode.hab": "HAB", "pim.mode.hab_pim": None}}
MAY = {"pim.act": "SB", "pim.pre": "SB", "pim.rd": "SB", "pim.wr": "SB", "pim.wr.hab": "HAB", "pim.wr.crf": "HAB",
       "pim.act.ab": "SB HAB HAB_PIM", "pim.pre.ab": "SB HAB HAB_PIM", "pim.act.hab": "HAB HAB_PIM", "pim.pre.hab": "HAB HAB_PIM",
       "pim.wr.grf_a": "HAB HAB_PIM", "pim.wr.grf_b": "HAB HAB_PIM", "pim.wr.srf": "HAB HAB_PIM", "pim.rd.pim": "HAB_PIM",
       "pim.wr.pim": "HAB_PIM"}


def in_mode(mode):
    bench = Bench()
    for command in {"SB": (), "HAB": ("pim.mode.hab",), "HAB_PIM": ("pim.mode.hab", "pim.mode.hab_pim")}[mode]:
        bench.run(command)
    return bench


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("command", MODES["SB"])
def test_mode_switches(mode, command):
    bench, to = in_mode(mode), MODES[mode][command]
    if to is None:
        assert f"channel 0 is in mode {mode}; {command} needs" in refused(ILLEGAL, bench, command)
    else:
        assert bench.run(command).counts == {"core.instructions": 1, "pim.ops": 1, "pim.mode_switches": 1}
        assert list(MODES)[bench.m.state["pim.mode"][0]] == to
        assert np.all(bench.m.state["pim.mode"][1:] == 0)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("command", MAY)
def test_commands_in_each_mode(mode, command):
    bench = in_mode(mode)
    if command.split(".")[1] in ("rd", "wr"):
        bench.run("pim.act.ab", row=1)
    operands = {"src": 0x1000_0000} if command.startswith("pim.wr") and command != "pim.wr.pim" else {}
    operands |= {"dst": 0x1000_0000} if command == "pim.rd" else {}
    if mode in MAY[command].split():
        bench.run(command, **operands)
    else:
        assert f"channel 0 is in mode {mode}; {command} needs {MAY[command].replace(' ', ' or ')}" == refused(
            ILLEGAL, bench, command, **operands)


@pytest.mark.parametrize("command", ["pim.mode.hab", "pim.mode.sb"])
def test_modes_change_with_all_banks_closed(command):
    bench = in_mode("SB" if command == "pim.mode.hab" else "HAB")
    bench.run("pim.act.ab", row=4)
    says = refused(ILLEGAL, bench, command)
    assert says == f"bank 0 of channel 0 has row 4 open; {command} needs all banks closed: pim.pre.ab first"
    bench.run("pim.pre.ab")
    bench.run(command)


def test_a_mode_switch_needs_every_selected_channel_to_be_ready():
    bench = in_mode("HAB")
    bench.set(pim__channel_mask=3)
    assert "channel 1 is in mode SB; pim.mode.sb needs HAB" in refused(ILLEGAL, bench, "pim.mode.sb")
