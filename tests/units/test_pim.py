"""pim: bank commands, micro-programs, macro forms."""

import numpy as np
import pytest
from bench import Bench, refused

from isa.traps import Cause


def rows(bench):
    """Open row of each bank: (channels, banks)."""
    return bench.m.state["pim.open_row"].reshape(-1, bench.m.machine.banks.banks)


def test_banks_start_closed_in_single_bank_mode():
    bench = Bench()
    assert np.all(rows(bench) == -1)
    assert np.all(bench.m.state["pim.mode"] == 0)


def test_a_row_is_opened_in_the_selected_channels_and_closed():
    bench = Bench()
    bench.set(pim__channel_mask=0b101)
    assert bench.run("pim.act", bank=3, row=100).counts == {"core.instructions": 1, "pim.ops": 1, "pim.activations": 2}
    assert np.argwhere(rows(bench) == 100).tolist() == [[0, 3], [2, 3]]
    assert "bank 3 of channel 0 has row 100 open" in refused(Cause.ILLEGAL_OPERAND, bench, "pim.act", bank=3, row=7)
    bench.set(pim__channel_mask=0b001)
    assert bench.run("pim.pre", bank=3).counts["pim.precharges"] == 1
    assert bench.run("pim.pre", bank=3).counts.get("pim.precharges", 0) == 0        # nothing was open
    assert np.argwhere(rows(bench) == 100).tolist() == [[2, 3]]


def test_all_banks_at_once():
    bench = Bench()
    assert bench.run("pim.act.ab", row=5).counts["pim.activations"] == 16
    assert rows(bench)[0].tolist() == [5] * 16
    refused(Cause.ILLEGAL_OPERAND, bench, "pim.act.ab", row=5)
    assert bench.run("pim.pre.ab").counts["pim.precharges"] == 16
    assert np.all(rows(bench) == -1)


@pytest.mark.parametrize(("operands", "says"), [
    ({"bank": 16, "row": 0}, "bank 16; slim has banks 0..15"),
    ({"bank": 0, "row": 32768}, "row 32768; slim has rows 0..32767"),
    ({"bank": (1 << 64) - 1, "row": 0}, "bank 18446744073709551615; slim has banks"),
])
def test_coordinates_out_of_range(operands, says):
    assert says in refused(Cause.ILLEGAL_OPERAND, Bench(), "pim.act", **operands)


def test_channels_out_of_range_and_no_channel():
    bench = Bench()
    bench.set(pim__channel_mask=0)
    assert "no channel is selected" in refused(Cause.ILLEGAL_OPERAND, bench, "pim.pre.ab")
    bench.set(pim__channel_mask=1, pim__channel_mask1=2)
    assert refused(Cause.ILLEGAL_OPERAND, bench, "pim.pre.ab") == "channel 65 is selected; slim has channels 0..63"
