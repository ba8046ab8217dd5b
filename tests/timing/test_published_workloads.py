"""Workloads of published simulators, executed as programs: right values, and cycles near those that were published.

Longer ones: tests/test_validate.py.
"""

from __future__ import annotations

import pytest

from slimulator.validate import aim, controller, pim_simulator, plain
from slimulator.validate.points import Point
from slimulator.validate.program import Mismatch, ValidationProgram, cycles_of, expect


@pytest.mark.parametrize(("workload", "cycles"), [
    ("gemv 512x64", 174), ("gemv 2048x80", 682), ("ewmul 16 x 64", 7996), ("wr_bias x 128", 291), ("wr_gb 64 x 32", 4131),
    ("bias mac af rd_af 32 cols x 16", 5616), ("mac_sbk 64 x 16 banks x 4 rows", 13250), ("wr_abk x 128 rows", 12897)])
def test_forms_of_aim(workload: str, cycles: int) -> None:
    program = aim.program_of(workload)
    assert program
    assert cycles_of(program) == cycles


@pytest.mark.parametrize(("program", "cycles"), [
    (pim_simulator.gemv(4096, 128), 750), (pim_simulator.gemv(8192, 256), 1945), (pim_simulator.elementwise("add", 262144), 1053),
    (pim_simulator.elementwise("mul", 131072), 731), (pim_simulator.elementwise("relu", 393216), 1021)])
def test_kernels_of_pim_simulator(program: ValidationProgram, cycles: int) -> None:
    assert cycles_of(program) == cycles


def test_adder_tree_of_pim_simulator() -> None:
    assert abs(cycles_of(pim_simulator.tree(4096, 1024)) / 4680 - 1) < 0.005


@pytest.mark.parametrize(("kib", "writes", "cycles"), [(8, False, 556), (16, True, 1048)])
def test_streams_of_pim_simulator(kib: int, writes: bool, cycles: int) -> None:
    assert abs(plain.cycles_of(plain.stream(kib, writes)) / cycles - 1) < 0.02


@pytest.mark.parametrize(("workload", "sizes", "cycles", "error"), [
    ("preload", (4096, 1024), 11368, 0.01), ("gemv after preload", (4096, 1024), 3702, 0.01),
    ("readback", (4096, 1024), 181, 0.08)])
def test_requests_in_the_order_of_a_controller(workload: str, sizes: tuple[int, int], cycles: int, error: float) -> None:
    program = controller.program_of(Point("PIMSimulator", "", workload, {"outputs": sizes[0], "inputs": sizes[1]}, cycles))
    assert program
    assert abs(cycles_of(program) / cycles - 1) < error


def test_unknown_workloads_have_no_program() -> None:
    assert aim.program_of("sort 64") is None
    for workload in ("preload", "readback", "gemv after preload"):
        assert pim_simulator.program_of(Point("PIMSimulator", "", workload, {}, 1)) is None
    assert plain.program_of(Point("PIMSimulator", "", "gemv", {}, 1)) is None


def test_wrong_values_are_told() -> None:
    expect("y", [1, 2], [1, 2])
    with pytest.raises(Mismatch, match="y: 1 of 2 values are wrong, first number 1: 2; expected 3"):
        expect("y", [1, 2], [1, 3])
