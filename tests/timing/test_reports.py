"""What users see of time and energy: the report, further clocks, the timeline, the parts by operation, layer, line and phase."""

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from compiled_models import built, loaded

from asm.assembler import assemble
from emulator.machine import Machine
from emulator.observe.breakdown import Breakdown, Part
from emulator.observe.cost import Cost, Other, quantity
from emulator.observe.timeline import Timeline
from isa.energy import Energy
from isa.preset import PresetError, load_preset, preset_of
from isa.queues import QUEUES
from isa.reference import ReferenceMachine
from isa.regions import REGIONS
from isa.shipped import PROGRAMS
from isa.timing.clock import Clock, QueueTime, Time
from isa.timing.clock_rules import BANK_CYCLES, MACHINE_CYCLES
from isa.timing.memories import MEMORIES, Nand, PimDram
from isa.timing.what_if import what_if

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def elf(tmp_path: Path) -> Path:
    assemble(PROGRAMS / "sparse_ffn.s").save(tmp_path / "p.elf")
    return tmp_path / "p.elf"


def finished(name: str = "sparse_ffn") -> Machine:
    machine = Machine("slim")
    machine.load(assemble(PROGRAMS / f"{name}.s"))
    machine.run()
    return machine


def test_the_json_of_a_run(command: Command, elf: Path, tmp_path: Path) -> None:
    assert command("run", elf, "--json", tmp_path / "r.json", "--quiet")[0] == 0
    found = json.loads((tmp_path / "r.json").read_text())
    time, energy = found["time"], found["energy"]
    assert time["seconds"] == time["cycles"] / time["clock_hz"] and time["clock_hz"] == load_preset("slim").clock_hz
    for queue in time["queues"].values():
        assert queue["busy"] + sum(queue["waiting"].values()) + queue["idle"] == time["cycles"]
    assert sum(time["critical_path"].values()) == time["cycles"]
    assert sum(energy["by_unit"].values()) + energy["static_joules"] == energy["joules"] > 0
    assert sum(energy["by_event"].values()) == sum(energy["by_unit"].values())
    assert sum(energy["static"].values()) == energy["static_joules"]
    assert time["tokens_per_second"] is time["time_to_first_token"] is energy["joules_per_token"] is None


def test_without_a_clock(command: Command, elf: Path, tmp_path: Path) -> None:
    status, _, errors = command("run", elf, "--no-time", "--json", tmp_path / "r.json")
    found = json.loads((tmp_path / "r.json").read_text())
    assert status == 0 and "time on" not in errors and found["time"] is found["energy"] is None
    assert "time and energy: not known, no clock was kept" in errors
    for option in (["--what-if", "lut=2"], ["--timeline", str(tmp_path / "t")]):
        status, _, errors = command("run", elf, "--no-time", *option)
        assert status == 2 and "all need the clock" in errors
    status, _, errors = command("run", elf, "--no-time", "--by", "line")
    lines = errors[errors.index("by line:"):].splitlines()[1:]
    assert status == 0 and len(lines) > 2 and all(line.split()[:3] == ["-", "-", "-"] for line in lines)


def test_what_goes_on_from_a_snapshot_knows_its_time_or_says_so(command: Command, elf: Path, tmp_path: Path) -> None:
    snapshot, go_on = tmp_path / "s.slim", ("run", "--restore", tmp_path / "s.slim")
    assert command("run", elf, "--json", tmp_path / "whole.json", "--quiet")[0] == 0
    stopped = ("run", elf, "--max-instructions", 700, "--quiet", "--save-snapshot", snapshot)
    assert command(*stopped)[0] == 1
    assert command(*go_on, "--json", tmp_path / "rest.json", "--quiet")[0] == 0
    whole, rest = (json.loads((tmp_path / name).read_text()) for name in ("whole.json", "rest.json"))
    assert whole["time"] == rest["time"] and whole["energy"] == rest["energy"]
    status, _, errors = command(*go_on, "--what-if", "lut=2")
    assert status == 2 and "the snapshot has the clock of its machine alone" in errors
    assert command(*stopped, "--no-time")[0] == 1
    status, _, errors = command(*go_on, "--json", tmp_path / "rest.json", "--by", "line")
    assert status == 0 and "time and energy: not known, no clock was kept" in errors
    assert json.loads((tmp_path / "rest.json").read_text())["time"] is None
    status, _, errors = command(*go_on, "--timeline", tmp_path / "t.json")
    assert status == 2 and "--timeline needs the time of the machine: not known, no clock was kept" in errors


def test_a_machine_without_rates_is_not_modelled(tmp_path: Path) -> None:
    data: Any = load_preset("slim").file.model_dump(mode="json")
    data["core"], data["energy"], data["power"], data["name"] = {"rates": {}}, {}, {}, "bare"
    for table in data["unit"].values():
        table["rates"] = {}
    machine = ReferenceMachine(preset_of(data))
    machine.load(assemble(PROGRAMS / "hello.s"))
    machine.run()
    cost = Cost.of(machine)
    assert cost.as_json() == {"time": None, "energy": None, "what_if": {}}
    assert list(cost.lines()) == ["time and energy: not modelled, machine bare gives no rates"]
    with pytest.raises(PresetError, match="machine bare gives no rates"):
        what_if(machine.preset, "lut=2")


def test_further_clocks_agree_with_machines_of_these_rates() -> None:
    machine = Machine("slim")
    machine.load(assemble(PROGRAMS / "sparse_ffn.s"))
    texts = ["fetch=2", "flash.latency_cycles=1", "core=4,dram=2", "vec.queue_depth=1"]
    clocks = [Clock(what_if(machine.preset, text)) for text in texts]
    machine.clocks += clocks
    machine.run()
    for text, clock in zip(texts, clocks, strict=True):
        other = Machine(what_if(machine.preset, text))
        other.load(assemble(PROGRAMS / "sparse_ffn.s"))
        other.run()
        assert other.time == clock.time(machine.counts), text
    assert clocks[1].time(machine.counts).cycles < machine.time.cycles


def test_the_energy_of_other_rates() -> None:
    """Events take what they take, standing still as long as the run then lasts. Of another memory nothing is known."""
    machine = Machine("slim")
    machine.load(assemble(PROGRAMS / "sparse_ffn.s"))
    texts = ["core=4,dram=2", "dram.memory=LPDDR4-2400", "vec.queue_depth=1"]
    clocks = [(text, Clock(what_if(machine.preset, text))) for text in texts]
    machine.clocks += [clock for _, clock in clocks]
    machine.run()
    cost = Cost.of(machine, clocks)
    faster, unknown, _ = (cost.what_if[text] for text in texts)
    assert cost.time is not None and cost.energy is not None and faster.energy is not None
    assert faster.energy.dynamic_joules == pytest.approx(cost.energy.dynamic_joules, rel=1e-12)
    share = faster.time.cycles / cost.time.cycles
    assert faster.energy.static_joules == pytest.approx(cost.energy.static_joules * share, rel=1e-12)
    assert faster.energy.joules < cost.energy.joules and unknown.energy is None and unknown.time.cycles != cost.time.cycles
    data, lines = cost.as_json()["what_if"], [line for line in cost.lines() if "what if" in line]
    assert data[texts[0]]["joules"] == faster.energy.joules and data[texts[0]]["joules_per_token"] is None
    assert data[texts[1]]["joules"] is None and data[texts[2]]["joules"] > 0
    assert f"; {quantity(faster.energy.joules, 'J')}, 0." in lines[0] and "of the energy" in lines[0]
    assert "of the energy" not in lines[1] and "of the energy" in lines[2]


def test_a_named_memory_so_many_times_as_fast() -> None:
    """Its cycles are shorter, for what is read by address and for the banks of pim; nothing else is another."""
    hpim = load_preset("hpim")
    for text, speed in (("hbm=2", 2), ("hbm=0.25", Fraction(1, 4)), ("hbm=3,core=2", 3)):
        own, other = hpim.memory("hbm"), what_if(hpim, text).memory("hbm")
        assert isinstance(own, PimDram) and isinstance(other, PimDram)
        assert other == replace(own, period_ps=own.period_ps / speed)
        assert other.latency_ps() * speed == own.latency_ps() and other.byte_ps() * speed == own.byte_ps()
        before, after = Clock(hpim).figures, Clock(what_if(hpim, text)).figures
        assert Fraction(int(after[BANK_CYCLES]), int(after[MACHINE_CYCLES])) == speed * Fraction(
            int(before[BANK_CYCLES]), int(before[MACHINE_CYCLES]))
    slim = load_preset("slim")
    again = what_if(what_if(slim, "flash.memory=nand-slc"), "flash=2")
    slow, fast = MEMORIES["nand-slc"], again.memory("flash")
    assert isinstance(slow, Nand) and fast == replace(slow, read_ps=slow.read_ps // 2, bytes_per_second=2 * slow.bytes_per_second)
    assert pickle.loads(pickle.dumps(again)).memory("flash") == fast


def test_another_memory() -> None:
    slim = load_preset("slim")
    other = what_if(slim, "dram.memory=LPDDR4-2400")
    assert slim.memory("dram") is None and other.memory("dram") == MEMORIES["LPDDR4-2400"]
    assert what_if(slim, "dram.memory=HBM2,dram.channels=16").memory("dram") == replace(MEMORIES["HBM2"], channels=16)
    twice = what_if(what_if(slim, "dram.memory=HBM2,dram.channels=16,dram=2"), "dram=1.5").memory("dram")
    assert twice == replace(MEMORIES["HBM2"], channels=16, period_ps=MEMORIES["HBM2"].period_ps / 3)
    assert what_if(slim, "hbm.memory=GDDR6-AiM").memory("hbm") == MEMORIES["GDDR6-AiM"]


@pytest.mark.parametrize(("machine", "program", "texts"), [
    ("slim", "sparse_ffn", ["dram.memory=LPDDR4-2400", "dram.memory=HBM2", "flash.memory=nand-slc",
                            "flash.memory=nand-slc,flash=2"]),
    ("gddr6-aim", "pim_aim_gemv", ["hbm=2", "hbm=0.5", "hbm.memory=HBM3-PIM"]),
])
def test_further_clocks_of_memories_agree_with_machines_that_have_them(machine: str, program: str, texts: list[str]) -> None:
    own = Machine(machine)
    own.load(assemble(PROGRAMS / f"{program}.s"))
    clocks = [Clock(what_if(own.preset, text)) for text in texts]
    own.clocks += clocks
    own.run()
    for text, clock in zip(texts, clocks, strict=True):
        other = ReferenceMachine(what_if(own.preset, text))
        other.load(assemble(PROGRAMS / f"{program}.s"))
        other.run()
        assert other.time == clock.time(own.counts) != own.time, text
    if machine == "gddr6-aim":
        fast, slow, _ = (clock.time(own.counts).cycles for clock in clocks)
        assert own.time is not None and fast < own.time.cycles < slow < 2 * own.time.cycles


@pytest.mark.parametrize(("text", "says"), [
    ("lut", "'lut'; expected NAME=NUMBER"), ("lut=0", "expected NAME=NUMBER, the number above 0"), ("lut=-1", "above 0"),
    ("lut=x", "above 0"), ("lut=inf", "above 0"), ("lut=nan", "above 0"), ("", "expected NAME=NUMBER"),
    ("lutt=2", "unknown figure 'lutt'.*\n.*did you mean 'lut'"), ("lut.step_per_cycle=2", "did you mean 'lut.steps_per_cycle'"),
    ("hbm=x", "above 0"), ("hbm=0", "above 0"), ("hbm.speed=1.23456789012345", "speed.value: .*at most 12 digits"),
    ("dram.memory=LPDDR4-2400,dram=1.2345678901", "speed.value: .*fewer digits"),
    ("hbm.bytes_per_cycle=4", "hbm has the times of HBM2-PIM; expected hbm=X, X times as fast, or hbm.memory=NAME, one of"),
    ("hbm.memory=HBM2", "hbm.memory=HBM2: without processors at its banks.*expected one of HBM2-PIM, GDDR6-AiM, HBM3-PIM"),
    ("hbm.memory=HBM2-PIN", "unknown memory 'HBM2-PIN'.*did you mean 'HBM2-PIM'"),
    ("dram.memory=HBM2-PIM", "unknown memory"), ("sram.memory=HBM2", "for dram, hbm and flash, and only there"),
    ("flash.memory=nand-tlc", "got 4096; expected 16384, the page of nand-tlc"),
    ("hbm=2,hbm=1.5", "hbm.speed is changed by hbm=2 and by hbm=1.5; expected each figure once"),
    ("dram=2,dram.memory=HBM2", "dram.latency_cycles is changed by dram=2 and by dram.memory=HBM2; expected each figure once"),
    ("dram.channels=2", "unknown figure 'dram.channels'"), ("hbm.channels=2.5", "channels.value: got 2.5"),
    ("dram.mapping=RoBaRaCoCh", "dram.mapping: where an address lies is no.*; expected .* dram.memory=NAME; a machine file can"),
    ("dramm.memory=HBM2", "unknown figure 'dramm.memory'.*did you mean 'dram.memory'"),
    ("vec.queue_depth=2.5", "an integer"), ("vec.queue_depth=1000000", "an integer"),
    ("lut=2,lut=3", "lut.start_cycles is changed by lut=2 and by lut=3; expected each figure once"),
    ("lut=2, lut.steps_per_cycle=3", "lut.steps_per_cycle is changed by lut=2 and by lut.steps_per_cycle=3"),
    ("core=3.3e-308", "core.rates.taken_branch_cycles.value: got 6060"),
    ("core=1e300", "got 0; expected a number, greater than 0"),
    ("dram.bytes_per_cycle=0.12345678901234", "at most 12 digits"),
])
def test_what_if_refuses(text: str, says: str) -> None:
    with pytest.raises(PresetError, match=f"(?s){says}"):
        what_if(load_preset("slim"), text)


def test_what_if_changes_what_it_says() -> None:
    slim = load_preset("slim")
    twice = what_if(slim, "lut=2")
    assert slim.rates is not None and twice.rates is not None
    for name, rate in slim.rates.items():
        expected = rate
        if name.startswith("lut.") and name.endswith("_per_cycle"):
            expected = 2 * rate
        elif name == "lut.start_cycles":
            expected = Fraction(-(-rate.numerator // 2))
        assert twice.rates[name] == expected, name


def test_a_factor_that_no_decimals_hold_is_rounded() -> None:
    rates = what_if(load_preset("slim"), "core=3,dram=7").rates
    assert rates is not None
    assert rates["core.division_cycles"] == Fraction("10.333333333") and rates["core.instructions_per_cycle"] == 3
    assert rates["core.taken_branch_cycles"] == Fraction("0.66666666667") and rates["dram.bytes_per_cycle"] == Fraction("268.8")
    assert rates["dram.latency_cycles"] == 9


def tracks_of(events: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The slices of a timeline by track, each with "within", the names of those around it, and "end".

    And what a viewer relies on: on a track events stand in the order of time, to the last bit, and B and E are pairs. So slices
    nest or follow each other."""
    names = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names.values()}
    last: dict[int, float] = {}
    opened: dict[int, list[dict[str, Any]]] = {number: [] for number in names}
    for event in events:
        assert {"name", "ph", "ts", "pid", "tid"} <= event.keys() and event["tid"] in names
        number, kind, at = event["tid"], event["ph"], event["ts"]
        if kind == "M":
            continue
        assert at >= last.get(number, 0) and kind in "BE"
        last[number] = at
        if kind == "B":
            opened[number].append(event | {"within": [outer["name"] for outer in opened[number]]})
        else:
            begun = opened[number].pop()
            assert begun["name"] == event["name"]
            if "args" in begun:
                assert begun["args"]["cycles"] >= 0
                found[names[number]].append(begun | {"end": at})
    assert not any(opened.values())
    return found


def slices_of(path: Path) -> list[dict[str, Any]]:
    """The slices of all tracks of a timeline."""
    return [event for track in tracks_of(json.loads(path.read_text())).values() for event in track]


@pytest.mark.parametrize("chunk", [1, None])
def test_the_timeline_of_a_model(chunk: int | None, tmp_path: Path) -> None:
    """Positions, layers and operations are slices around instructions, and a track of their own that adds up to the run. What a
    chunk does belongs to the position of its last token, here 1."""
    made = built("plain", "i8", chunk=chunk)
    machine, _ = loaded(made, [1, 2], max_tokens=2)
    with Timeline(tmp_path / "t.json") as timeline:
        timeline.watch(machine)
        machine.run()
    tracks = tracks_of(json.loads((tmp_path / "t.json").read_text()))
    assert machine.time is not None and next(iter(tracks)) == "model"
    layers, again = made[1].meta["model"]["layers"], loaded(made, [1, 2], max_tokens=2)[0]
    breakdown = Breakdown(again, "operation")
    again.run()
    breakdown.finish()
    spent: dict[str, int] = {}
    for event in tracks["model"]:
        spent[event["name"]] = spent.get(event["name"], 0) + event["args"]["cycles"]
        assert event["within"][0].startswith("position ")
    for name, part in breakdown.parts.items():
        if name != "(the end)":
            assert spent.get(name, 0) == part.cycles, name
    positions = {event["within"][0] for event in tracks["model"]}
    assert positions == {f"position {number}" for number in range(len(positions))} and len(positions) >= 3
    for name in ("model", "queue lut", "queue vec"):
        depth = 2 if name == "model" else 3
        seen = {tuple(event["within"][:2]) for event in tracks[name] if len(event["within"]) == depth}
        computed = positions - ({"position 0"} if chunk is None else set())
        assert seen == {(position, f"layer {number}") for position in computed for number in range(layers)}, name
    for event in tracks["queue lut"]:
        assert event["within"][-1].startswith(("op.", "chunk.")) and event["args"]["line"]
    products = [event for event in tracks["queue lut"] if "lut.macs" in event["args"]]
    assert products and {"gemv" in event["within"][-1] for event in products} == {True}
    assert sum(event["args"].get("lut.macs", 0) for event in products) == machine.counter("lut.macs")
    assert sum(event["args"].get("lut.macs", 0) for event in tracks["model"]) == machine.counter("lut.macs")


def test_the_timeline(command: Command, elf: Path, tmp_path: Path) -> None:
    assert command("run", elf, "--timeline", tmp_path / "t.json", "--quiet")[0] == 0
    events = json.loads((tmp_path / "t.json").read_text())
    tracks = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert list(tracks.values()) == ["core", *(f"queue {name}" for name in QUEUES[1:]), *(f"memory {name}" for name in REGIONS)]
    machine = finished()
    assert machine.time is not None
    nested = tracks_of(events)
    slices = [event for track in nested.values() for event in track]
    for number, name in enumerate(QUEUES):                      # the slices are the time busy, each within its symbol
        own = nested[f"queue {name}" if number else "core"]
        assert all(len(event["within"]) == (1 if number else 0) for event in own)
        if number:
            busy = sum(event["args"]["cycles"] for event in own if event["name"].startswith(f"{name}."))
            assert busy == machine.time.queues[name].busy
        else:
            waited = {reason: sum(event["args"]["cycles"] for event in own if event["name"] == f"waits: {reason}")
                      for reason in machine.time.queues["core"].waiting}
            assert waited == machine.time.queues["core"].waiting
    for number, name in enumerate(REGIONS):                     # bytes move as operations begin, one after the other
        moves = [(event["ts"], event["end"]) for event in slices if event["tid"] == 100 + number]
        assert sum(event["args"]["cycles"] for event in slices if event["tid"] == 100 + number) == machine.time.regions[name]
        assert all(end <= start for (_, end), (start, _) in pairwise(sorted(moves)))
        for event in (event for event in slices if event["tid"] == 100 + number):
            assert any(other["name"] == event["name"] and other["tid"] < 100 and abs(other["ts"] - event["ts"]) < 1e-9
                       for other in slices), event
    lines = (PROGRAMS / "sparse_ffn.s").read_text().splitlines()
    for event in slices:
        if "line" in event["args"] and event["args"]["line"].rpartition(":")[0].endswith("sparse_ffn.s"):
            assert event["name"] in lines[int(event["args"]["line"].rpartition(":")[2]) - 1]
    gemv = next(event for event in slices if event["name"].startswith("vec.gemv"))
    assert gemv["args"]["line"].endswith(".s:" + gemv["args"]["line"].rpartition(":")[2]) and gemv["args"]["vec.macs"] > 0


def test_a_part_of_the_timeline(command: Command, elf: Path, tmp_path: Path) -> None:
    part = ("--timeline-from", 5000, "--timeline-for", 4000)
    assert command("run", elf, "--timeline", tmp_path / "t.json", *part, "--quiet")[0] == 0
    slices = slices_of(tmp_path / "t.json")
    assert slices and all(event["end"] >= 5 and event["ts"] <= 9 for event in slices)
    assert command("run", elf, "--timeline", tmp_path / "t.json", "--timeline-from", 2000, "--timeline-for", 500, "--quiet")[0] == 0
    slices = slices_of(tmp_path / "t.json")
    assert slices and all(event["end"] >= 2 and event["ts"] <= 2.5 for event in slices)
    assert command("run", elf, *part)[0] == 2
    status, _, errors = command("run", elf, "--timeline", tmp_path / "no" / "t.json")
    assert status == 1 and "does not exist" in errors


def test_a_timeline_has_a_limit_and_is_whole_when_the_run_is_cut_short(tmp_path: Path) -> None:
    machine = Machine("slim")
    machine.load(assemble(PROGRAMS / "sparse_ffn.s"))
    with Timeline(tmp_path / "t.json", limit=3) as timeline:
        timeline.watch(machine)
        machine.run(max_instructions=1500)
    events = json.loads((tmp_path / "t.json").read_text())
    assert sum(len(slices) for slices in tracks_of(events).values()) == 3
    assert (timeline.note() or "").endswith("t.json: note: the timeline ends after 3 slices, before the run does; "
                                            "--timeline-from N begins later")


def test_behind_its_part_a_timeline_leaves_the_run_at_full_speed(tmp_path: Path) -> None:
    machine = Machine("hbm2-pim")
    machine.load(assemble(PROGRAMS / "pim_crf_gemv.s"))
    with Timeline(tmp_path / "t.json", 0, 2000) as timeline:
        timeline.watch(machine)
        machine.run()
    handed_over = sum(times for name, times in machine.handed_over.items() if name.startswith("pim."))
    assert 0 < handed_over < machine.counter("pim.ops") / 4


@pytest.mark.parametrize("kind", ["operation", "layer", "line", "phase"])
def test_parts_add_up(kind: str) -> None:
    machine = Machine("slim")
    machine.load(assemble(PROGRAMS / "llama_layer.s"))
    breakdown = Breakdown(machine, kind)
    machine.run()
    breakdown.finish()
    time, parts = machine.time, breakdown.as_json()
    assert time is not None
    assert sum(part["cycles"] for part in parts.values()) == time.cycles
    for name, events in machine.counters.items():
        assert sum(part["counters"].get(name, 0) for part in parts.values()) == events
    whole = Cost.of(machine).energy
    assert whole is not None
    assert sum(part["joules"] for part in parts.values()) == pytest.approx(whole.joules, rel=1e-12)
    assert len(list(breakdown.table())) > 1


def test_parts_are_those_from_now_on() -> None:
    machine = Machine("slim")
    machine.load(assemble(PROGRAMS / "sparse_ffn.s"))
    machine.run(max_instructions=700)
    before, time = machine.counter("vec.ops"), machine.time
    breakdown = Breakdown(machine, "line")
    machine.run()
    breakdown.finish()
    parts = breakdown.as_json().values()
    assert time is not None and machine.time is not None and time.cycles > 0 and before > 0
    assert sum(part["cycles"] for part in parts) == machine.time.cycles - time.cycles
    assert sum(part["counters"].get("vec.ops", 0) for part in parts) == machine.counter("vec.ops") - before


def test_lines_have_the_time_of_their_own_instructions() -> None:
    machine = Machine("slim")
    machine.load(assemble("_start: li t0, 0x10000000\n li t1, 4096\n vec.sum.f32 t2, t0, t1\n vec.max.f32 t2, t0, t1\n"
                          " li t1, 4\n vec.min.f32 t2, t0, t1\n li a7, 93\n ecall\n"))
    breakdown = Breakdown(machine, "line")
    machine.run()
    breakdown.finish()
    parts = breakdown.as_json()
    assert [name.rpartition(":")[2] for name in parts] == ["3", "4", "6", "(the end)"]
    first, second, third, _ = (part["cycles"] for part in parts.values())
    assert first > 250 and second == first - 2 and third < 50           # `li` twice before the first; a smaller one


def test_a_part_begins_with_the_instruction_at_its_symbol() -> None:
    lines = "_start: li t0, 0x10000000\n li t1, 4096\nwork: vec.sum.f32 t2, t0, t1\nafter: li a7, 93\n ecall\n"
    for engine in (Machine, ReferenceMachine):
        machine = engine("slim")
        machine.load(assemble(lines))
        breakdown = Breakdown(machine, "operation")
        machine.run()
        breakdown.finish()
        parts = breakdown.as_json()
        assert list(parts) == ["_start", "work", "after"] and [part["times"] for part in parts.values()] == [1, 1, 1]
        assert parts["_start"]["counters"] == {"core.instructions": 2} and parts["work"]["counters"]["vec.ops"] == 1
        assert parts["work"]["cycles"] > 250 and parts["_start"]["cycles"] == 2


def test_phases_of_a_program_without_symbols_behind_its_tokens() -> None:
    lines = "_start: li a7, 0x5111\n ecall\n li t0, 50\n1: addi t0, t0, -1\n bnez t0, 1b\n ecall\n li a7, 93\n ecall\n"
    machine = Machine("slim")
    machine.load(assemble(lines))
    breakdown = Breakdown(machine, "phase")
    machine.run()
    breakdown.finish()
    parts, time = breakdown.as_json(), machine.time
    assert time is not None and list(parts) == ["prefill", "decode"] and parts["prefill"]["cycles"] == time.first_token
    assert parts["decode"]["counters"]["tokens.emitted"] == 1 and parts["decode"]["times"] == parts["prefill"]["times"] == 1


@pytest.mark.parametrize("chunk", [1, None])
def test_parts_of_the_program_of_a_model(chunk: int | None) -> None:
    made = built("plain", "i8", chunk=chunk)
    for kind in ("layer", "operation", "phase"):
        machine, _ = loaded(made, [1, 2], max_tokens=2)
        breakdown = Breakdown(machine, kind)
        machine.run()
        breakdown.finish()
        parts = breakdown.as_json()
        assert machine.time is not None and sum(part["cycles"] for part in parts.values()) == machine.time.cycles
        if kind == "layer":
            layers = made[1].meta["model"]["layers"]
            assert {name for name in parts if name.startswith("layer")} == {f"layer {number}" for number in range(layers)}
            assert [parts[f"layer {number}"]["times"] for number in range(layers)] == [3 if chunk else 2] * layers
            macs = [parts[f"layer {number}"]["counters"]["lut.macs"] for number in range(layers)]
            assert len(set(macs)) == 1 and macs[0] > 0                  # all layers have the same shapes
            assert len({parts[f"layer {number}"]["counters"]["vec.ops"] for number in range(layers)}) == 1
        elif kind == "phase":
            assert list(parts) == ["prefill", "decode"] and parts["prefill"]["counters"]["tokens.read"] == 2
        else:
            products = {name for name, part in parts.items() if part["counters"].get("lut.macs")}
            assert products and all(" gemv" in name or "mul" in name or "linear" in name for name in products), products


def by_hand() -> Cost:
    """A run of 2 ms on slim with three tokens, the first after 0.5 ms; half as long with a change."""
    core, lut = QueueTime(500_000, {"fence": 1_500_000}, 0), QueueTime(1_600_000, {"memory": 300_000}, 100_000)
    path = {"core": 400_000, "lut": 1_599_500, "dram": 500}
    time = Time(2_000_000, 10 ** 9, {"core": core, "lut": lut, "vec": QueueTime(0, {}, 2_000_000)}, {"sram": 0, "dram": 300_000},
                path, 3, 500_000, 1_300_000)
    energy = Energy({"lut.steps": 0.25, "lut.tables_built": 0.125, "dram.bytes_read": 0.125}, {"dram": 0.75, "core": 0.25})
    half = Time(1_000_000, 10 ** 9, {}, {}, {"dram": 1_000_000}, 3, 1, 2)
    less = Energy({"lut.steps": 0.25, "lut.tables_built": 0.125, "dram.bytes_read": 0.125}, {"dram": 0.375, "core": 0.125})
    return Cost(load_preset("slim"), time, energy, {"lut=4": Other(half, less), "dram.memory=HBM2": Other(half, None)})


def test_the_report_word_for_word() -> None:
    slim = load_preset("slim").file
    figures = [slim.clock_hz, *slim.rates.values(), *slim.energy.values(), *slim.power.values()]
    for region in slim.region.values():
        figures += [figure for figure in (region.latency_cycles, region.bytes_per_cycle, region.memory) if figure]
    assumed = sum(figure.source.startswith("assumed: ") for figure in figures)
    assert "\n".join(by_hand().lines()) == f"""\
time on slim: 2,000,000 cycles at 1 GHz = 2 ms
  tokens: 3, the first after 500 us, then 400 us each: 2,500 tokens/s; 500 mJ a token
  bottleneck: the lut unit: 80.0 % of the time; then core 20.0 %
           busy  waits for         idle
  core   25.0 %  fence 75.0 %     0.0 %
  lut    80.0 %  memory 15.0 %    5.0 %
  moving bytes: dram 15.0 %
  what if lut=4: 1 ms, 0.500 of the time; 1 J, 0.667 of the energy, 333.3 mJ a token; \
bottleneck: the dram memory: 100.0 % of the time
  what if dram.memory=HBM2: 1 ms, 0.500 of the time; bottleneck: the dram memory: 100.0 % of the time
energy on slim: 1.5 J: events 500 mJ, standing still 1 J
  events: lut 75.0 %, dram 25.0 %
  standing still: dram 75.0 %, core 25.0 %
  {assumed} of the {len(figures)} figures behind this are assumed; slimulator machines slim shows each"""


def test_the_json_of_tokens() -> None:
    found = by_hand().as_json()
    assert found["time"]["tokens_per_second"] == 2500 and found["time"]["time_to_first_token"] == 0.0005
    assert found["energy"]["joules_per_token"] == 0.5 and found["energy"]["static_joules"] == 1
    times = {"seconds": 0.001, "cycles": 1_000_000, "critical_path": {"dram": 1_000_000}}
    assert found["what_if"] == {"lut=4": times | {"joules": 1, "joules_per_token": 1 / 3},
                                "dram.memory=HBM2": times | {"joules": None, "joules_per_token": None}}


@pytest.mark.parametrize(("last", "says"), [
    (500_002, "1,000,000,000 tokens/s"), (500_000 + 2 * 81_000_000, "12.35 tokens/s"), (500_000 + 2 * 10 ** 12, "0.0010 tokens/s")])
def test_tokens_a_second_have_four_digits(last: int, says: str) -> None:
    cost = by_hand()
    assert cost.time is not None
    assert says in "\n".join(replace(cost, time=replace(cost.time, last_token=last)).lines())


def test_the_table_of_parts_shows_the_longest_first() -> None:
    machine = Machine("slim")
    machine.load(assemble(PROGRAMS / "sparse_ffn.s"))
    breakdown = Breakdown(machine, "line")
    machine.run()
    breakdown.finish()
    head, *rows = breakdown.table()
    shares = [float(row.split()[0]) for row in rows]
    assert head.startswith("by line:") and len(rows) == 19 and shares == sorted(shares, reverse=True) and shares[0] > 50
    breakdown.parts |= {f"further {number}": Part(number) for number in range(6)}
    assert list(breakdown.table())[-1] == "  and 5 more" and len(list(breakdown.table())) == 22


def test_quantities() -> None:
    assert [quantity(value, "s") for value in (0, 1, 1e-3, 1.23456e-5, 999.96, 2e-13)] == [
        "0 s", "1 s", "1 ms", "12.35 us", "1000 s", "2e-13 s"]
    assert quantity(1e9, "Hz") == "1 GHz" and quantity(216e6, "Hz") == "216 MHz"
