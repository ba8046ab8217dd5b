"""Prefill and decode apart: what each phase of a generation took, which adds up to the run."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tiny_checkpoint import write_checkpoint

from compiler.running.generate import Generated, Generation, Sampling, find_program, open_program
from emulator.machine import Machine
from emulator.observe.breakdown import Breakdown
from emulator.observe.cost import Cost
from isa.caches import PROGRAMS
from isa.preset import load_preset
from isa.reference import ReferenceMachine
from isa.services import Host


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """A program and its tokenizer."""
    monkeypatch.setattr(PROGRAMS, "root", tmp_path / "kept")
    return open_program(find_program(write_checkpoint(tmp_path / "model")))


def generation(made: tuple[Any, Any], tokens: int, engine: type[ReferenceMachine] = Machine, time: bool = True,
               machine: str = "slim") -> Generation:
    return Generation(*made, "abc", Sampling(tokens), partial(engine, time=time), load_preset(machine))


def run(whole: Generation) -> tuple[Generated, dict[str, Any]]:
    report = whole.run(lambda text: None)
    return report, report.as_json()


@pytest.mark.parametrize("tokens", [1, 2, 5])
def test_phases_add_up_and_are_those_of_by_phase_on_both_engines(made: tuple[Any, Any], tokens: int) -> None:
    found = []
    for engine in (Machine, ReferenceMachine):
        whole = generation(made, tokens, engine)
        split = Breakdown(whole.machine, "phase")
        report, written = run(whole)
        split.finish()
        prefill, decode = written["phases"]["prefill"], written["phases"]["decode"]
        assert list(written["phases"]) == ["prefill", "decode"]
        for name, events in written["counters"].items():
            assert prefill["counters"][name] + decode["counters"][name] == events, name
        cost = Cost.of(whole.machine)
        assert cost.time is not None and cost.energy is not None
        assert prefill["time"]["cycles"] + decode["time"]["cycles"] == cost.time.cycles
        assert prefill["time"]["cycles"] == cost.time.first_token
        assert prefill["energy"]["joules"] + decode["energy"]["joules"] == pytest.approx(cost.energy.joules, rel=1e-12)
        for name, part in split.as_json().items():
            assert part["counters"] == {key: count for key, count in written["phases"][name]["counters"].items() if count}
            assert (part["cycles"], part["joules"]) == (written["phases"][name]["time"]["cycles"],
                                                        written["phases"][name]["energy"]["joules"])
        assert (prefill["positions"], prefill["tokens"]) == (len(report.prompt), 1)
        assert (decode["positions"], decode["tokens"]) == (report.positions - len(report.prompt), tokens - 1)
        assert prefill["seconds"] == report.first and decode["seconds"] == report.seconds - report.first
        assert prefill["tokens_per_second"] == len(report.prompt) / report.first
        assert decode["tokens_per_second"] == (None if tokens == 1 else report.tokens_per_second)
        assert prefill["time"]["tokens_per_second"] == pytest.approx(len(report.prompt) / prefill["time"]["seconds"], rel=1e-12)
        found.append([(part["counters"], part["time"], part["energy"]) for part in (prefill, decode)])
    assert found[0] == found[1]
    (prefill, *_), (decode, *_) = found[0]
    assert (prefill["tokens.read"], prefill["tokens.emitted"]) == (5, 1)
    assert (decode["tokens.read"], decode["tokens.emitted"]) == (0, tokens - 1)


def test_without_a_clock_phases_have_no_time(made: tuple[Any, Any]) -> None:
    for phase in run(generation(made, 3, time=False))[1]["phases"].values():
        assert (phase["time"], phase["energy"]) == (None, None) and phase["counters"]["core.instructions"] > 0


def test_a_run_that_ends_before_its_first_token_is_all_prefill(made: tuple[Any, Any]) -> None:
    whole = generation(made, 3)
    machine = whole.machine
    machine.host.prompt = (machine.stop("interrupted") or token for token in whole.prompts[0])              # as by Ctrl-C
    report, written = run(whole)
    prefill, decode = written["phases"]["prefill"], written["phases"]["decode"]
    assert report.result.reason == "interrupted" and math.isnan(report.first) and prefill["positions"] == 1
    assert prefill["counters"] == written["counters"] and not any(decode["counters"].values())
    assert prefill["seconds"] == report.seconds and (decode["seconds"], decode["positions"], decode["tokens"]) == (0, 0, 0)
    assert decode["tokens_per_second"] is decode["time"]["tokens_per_second"] is None and decode["time"]["cycles"] == 0


def test_decode_is_watched_by_no_hook(made: tuple[Any, Any]) -> None:
    """A hook at each environment call would cost a small model a quarter of its speed."""
    hooks: list[int] = []
    whole = generation(made, 3)
    emit = whole._emit
    machine = whole.machine
    machine.host = Host(whole.prompts[0], emit=lambda token: (hooks.append(len(machine._hooks)), emit(token))[1])
    run(whole)
    assert hooks == [0, 0, 0] and machine._hooks == []
