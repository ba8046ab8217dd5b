"""Joules of a run: what each part takes, and that the parts make up the whole."""

from __future__ import annotations

import json
import math
import random
import re
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import pytest

from isa.counters import COUNTERS
from isa.energy import energy_of
from isa.preset import PRESETS, load_preset, preset_names

NOTHING = dict.fromkeys(COUNTERS, 0)


def test_events_cost_picojoules_and_time_costs_watts() -> None:
    machine = load_preset("gddr6-aim")
    spent = energy_of(NOTHING | {"pim.macs": 1_000_000, "pim.activations": 10, "vec.ops": 5}, machine, 0.25)
    assert spent is not None
    assert spent.by_event["pim.macs"] == pytest.approx(5.1346e-6) and spent.by_event["pim.activations"] == pytest.approx(29.623e-9)
    assert spent.by_event["vec.macs"] == 0 and "vec.ops" not in spent.by_event
    assert spent.static["hbm"] == pytest.approx(8.44 / 4) and {*spent.static} == {*machine.powers}
    assert spent.by_unit["pim"] == pytest.approx(5.1346e-6 + 29.623e-9)
    assert {*spent.by_unit} == {"core", "sram", "dram", "hbm", "vec", "fetch", "pim"}


def test_nothing_costs_nothing() -> None:
    spent = energy_of(NOTHING, load_preset("slim"), 0)
    assert spent is not None
    assert spent.joules == spent.static_joules == spent.dynamic_joules == 0
    assert {*spent.by_event.values(), *spent.static.values(), *spent.by_unit.values()} == {0.0}


def test_a_machine_without_energies_has_none(tmp_path: Path) -> None:
    text = (PRESETS / "slim.toml").read_text(encoding="utf-8")
    (tmp_path / "m.toml").write_text(re.sub(r"^\[(energy|power)\].*\n(?:.+\n)*", "", text, flags=re.MULTILINE), encoding="utf-8")
    assert energy_of(NOTHING, load_preset(tmp_path / "m.toml"), 1.0) is None


def exactly(parts: list[float]) -> Fraction:
    return sum(map(Fraction, parts), Fraction())


@pytest.mark.parametrize("name", preset_names())
def test_the_parts_make_up_the_whole_in_any_order(name: str) -> None:
    machine, generator = load_preset(name), random.Random(1)
    for _ in range(200):
        most = generator.randrange(64)
        counters = {counter: generator.randrange(1 << generator.randrange(most + 1)) for counter in COUNTERS}
        seconds = generator.random() * 10.0 ** generator.randrange(-9, 6)
        spent = energy_of(counters, machine, seconds)
        assert spent is not None
        events, standing, units = [*spent.by_event.values()], [*spent.static.values()], [*spent.by_unit.values()]
        whole = Fraction(spent.joules)
        assert whole == exactly(events) + exactly(standing) == exactly(units) + Fraction(spent.static_joules)
        parts = [*events, *standing]
        for _ in range(3):
            generator.shuffle(parts)
            *_, last = accumulate(parts)
            assert last == math.fsum(parts) == sum(parts) == spent.joules
        assert json.loads(json.dumps(parts)) == parts
        # Against the exact sum of products, part by part.
        assert machine.energies is not None and machine.powers is not None
        least = spent.joules * 2.0 ** -50
        for counter, joules in spent.by_event.items():
            assert joules == pytest.approx(counters[counter] * float(machine.energies[counter]) * 1e-12, abs=least)
        for part, joules in spent.static.items():
            assert joules == pytest.approx(float(machine.powers[part]) * seconds, abs=least)


def test_seconds_may_be_a_fraction() -> None:
    machine = load_preset("hbm3-pim")
    spent = energy_of(NOTHING, machine, Fraction(1000, machine.clock_hz))
    assert spent is not None and spent.static["hbm"] == pytest.approx(1.3 * 1000 / 1.3e9)
