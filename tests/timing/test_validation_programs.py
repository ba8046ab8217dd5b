"""The programs of published workloads: they run, their values are NumPy's, their cycles those of the rules."""

from __future__ import annotations

import pytest

from slimulator.validate import attacc, dramsim3
from slimulator.validate.points import Inexpressible, Point


@pytest.mark.parametrize(("config", "workload", "size", "cycles", "most"), [
    ("HBM2_8Gb_x128",           "stream read",               65536,    315, 0.01),
    ("DDR4_8Gb_x8_2400+bg_low", "stream write",             262144,  17128, 0.01),
    ("HBM2_8Gb_x128",           "random chunks of 1024 B",  262144,   1473, 0.10),
    ("GDDR6_8Gb_x16",           "random bursts",            262144,  14233, 0.10),
])
def test_programs_of_dramsim3(config, workload, size, cycles, most):
    outcome = dramsim3.execute(Point("DRAMsim3", config, workload, {"bytes": size}, cycles))
    assert not outcome.wrong
    assert outcome.cycles == pytest.approx(cycles, rel=most)
    assert outcome.events["bursts"] == size // dramsim3.memory_of(config)[0].burst_bytes


@pytest.mark.parametrize(("units", "heads", "tokens", "head_dim", "size", "cycles"), [
    ("BA",     84, 777, 128, 2,  9661),
    ("BA",    562, 128, 128, 1,  6518),
    ("BG",     20, 129, 160, 1,  None),
    ("BUFFER", 20, 129, 128, 2,  None),
])
def test_programs_of_attacc(units, heads, tokens, head_dim, size, cycles):
    point = Point("AttAcc", f"HBM3 5.2 Gb/s 16 channels, units at {units}, power limit True", "attention of one token",
                  {"heads": heads, "L": tokens, "head_dim": head_dim, "bytes_per_element": size}, cycles or 0)
    outcome = attacc.execute(point)
    assert not outcome.wrong
    assert outcome.events["macs"] == 2 * heads * tokens * head_dim
    if cycles:
        assert outcome.cycles == pytest.approx(cycles, rel=0.04)


def test_other_points_are_refused():
    with pytest.raises(Inexpressible, match="no workload 'pointer chase' of DRAMsim3; expected stream"):
        dramsim3.execute(Point("DRAMsim3", "GDDR6_8Gb_x16", "pointer chase", {"bytes": 1}, 1))
    with pytest.raises(Inexpressible, match="expected one of HBM2_8Gb_x128, "):
        dramsim3.memory_of("DDR5")
    with pytest.raises(Inexpressible, match="expected units at BA, BG or BUFFER"):
        attacc.memory_of("HBM3")
